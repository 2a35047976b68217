/* Rows of a table of settings (config.h). FIELDS_OF names the struct that the table's settings are
 * read into; a file with several tables defines it anew for each. In each row: the setting's name,
 * the struct's member, the default as text (NULL: required), bounds, a check of one value, help. */
#ifndef CONFIG_FIELDS_H
#define CONFIG_FIELDS_H

#include <stddef.h>

#include "config/config.h"

#define FIELD_AT(f) .offset = offsetof(struct FIELDS_OF, f)

#define TEXT(n, f, d, chk, h)                                                                      \
    {                                                                                              \
        .name = (n), .type = CONFIG_STRING, FIELD_AT(f), .fallback = (d), .check = (chk),          \
        .help = (h)                                                                                \
    }
#define PATH(n, f, d, h)                                                                           \
    {                                                                                              \
        .name = (n), .type = CONFIG_PATH, FIELD_AT(f), .fallback = (d), .help = (h)                \
    }
#define FLAG(n, f, d, h)                                                                           \
    {                                                                                              \
        .name = (n), .type = CONFIG_BOOL, FIELD_AT(f), .fallback = (d), .help = (h)                \
    }
#define NUMBER(n, f, d, lo, hi, h)                                                                 \
    {                                                                                              \
        .name = (n), .type = CONFIG_INT, FIELD_AT(f), .fallback = (d), .min = (lo), .max = (hi),   \
        .help = (h)                                                                                \
    }
#define TEXTS(n, f, d, lo, hi, chk, h)                                                             \
    {                                                                                              \
        .name = (n), .type = CONFIG_STRINGS, FIELD_AT(f), .fallback = (d), .min = (lo),            \
        .max = (hi), .check = (chk), .help = (h)                                                   \
    }
#define LIST(n, f, d, lo, hi, table, h)                                                            \
    {                                                                                              \
        .name = (n), .type = CONFIG_LIST, FIELD_AT(f), .fallback = (d), .min = (lo), .max = (hi),  \
        .item = (table), .help = (h)                                                               \
    }

#endif
