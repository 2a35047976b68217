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

/* The table of these rows; `title` is the program, or what a list's item is. */
#define TABLE(title, rows)                                                                         \
    {                                                                                              \
        .program = (title), .size = sizeof(struct FIELDS_OF), .fields = (rows),                    \
        .count = sizeof(rows) / sizeof((rows)[0])                                                  \
    }

/* Where whoever judges evidence gets collateral: four paths and addresses, members of these names.
 */
#define COLLATERAL_FIELDS(prefix)                                                                  \
    TEXT(prefix "collateral_url", collateral_url, "", setting_service_url,                         \
         "certification service to fetch from; empty: workers bring their collateral"),            \
        TEXT(prefix "root_crl_url", root_crl_url,                                                  \
             "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",                  \
             setting_service_url, "where the root CA's revocation list is"),                       \
        PATH(prefix "collateral_cache", collateral_cache, "",                                      \
             "folder for fetched collateral; empty: in memory only"),                              \
        PATH(prefix "collateral_bundle", collateral_bundle, "",                                    \
             "file with collateral, for places without a network")

/* Of tunnels, on both ends. */
#define TUNNEL_LIMITS                                                                              \
    NUMBER("limits.tunnel_header_bytes", tunnel_header_bytes, "32768", 8192, 262144,               \
           "a header block on a tunnel"),                                                          \
        NUMBER("limits.tunnel_streams", tunnel_streams, "1000", 1, 100000,                         \
               "calls on a tunnel at a time"),                                                     \
        NUMBER("limits.tunnel_settings_per_minute", tunnel_settings_per_minute, "64", 4, 100000,   \
               "SETTINGS of a peer; more close its tunnel"),                                       \
        NUMBER("limits.tunnel_resets_per_second", tunnel_resets_per_second, "200", 1, 1000000,     \
               "streams that a peer resets; more close its tunnel")

/* Which members of requests pass beside those of the API, and which do not: two lists of these
 * names. */
#define EXTRAS_FIELDS                                                                              \
    TEXTS("extras.allowed", extras_allowed, "", 0, 256, setting_extra,                             \
          "members of requests that engines get beside the usual ones; NAME* for a beginning"),    \
        TEXTS("extras.denied", extras_denied, "", 0, 256, setting_denied,                          \
              "members that are refused, the API's too, whatever else allows them")

#endif
