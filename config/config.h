/* Configuration: one table a program, read from YAML into an immutable snapshot. Errors name file,
 * line, column and the setting, never a value. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdio.h>

#include "base/arena.h"
#include "base/buf.h"

enum config_type {
    CONFIG_STRING,  /* const char * */
    CONFIG_PATH,    /* const char *: relative paths are taken from the file's folder */
    CONFIG_INT,     /* int64_t, min ≤ v ≤ max */
    CONFIG_BOOL,    /* bool */
    CONFIG_STRINGS, /* struct config_strings */
    CONFIG_LIST     /* struct config_list of `item`-table structs */
};

struct config_strings {
    const char **items; /* NULL behind the last */
    size_t count;
};
struct config_list {
    void *items; /* count structs of the item table's size */
    size_t count;
};

/* One setting. `name` is dotted for nested maps: "tunnel.listen". */
struct config_field {
    const char *name;
    enum config_type type;
    size_t offset; /* in the program's struct */
    const char
        *fallback;    /* default as text; NULL: the setting is required; for lists "" is empty */
    int64_t min, max; /* CONFIG_INT; CONFIG_STRINGS and CONFIG_LIST: how many */
    const char *help; /* one line for --help and the example file */
    const struct config_table *item; /* CONFIG_LIST */
    /* A further check of one value (an address, a time range); NULL: none. Returns NULL, or what is
     * wrong, as a constant. */
    const char *(*check)(const char *text);
};

struct config_table {
    const char *program;
    size_t size; /* of the struct */
    const struct config_field *fields;
    size_t count;
};

/* Everything a snapshot points to lives in its arena. Reference-counted: a call keeps the snapshot
 * it began with. */
struct config_snapshot {
    void *values; /* the program's struct */
    struct arena arena;
    unsigned refs;
};

/* Reads and checks the whole file. On failure `why` holds "file:line:column: setting: what is
 * wrong" (every problem, a line each, at most 20) and nothing is returned: a reload is all or
 * nothing. E_IO, E_INVALID. */
MUST_CHECK int config_load(struct config_snapshot **out, const struct config_table *t,
                           const char *file, struct buf *why);
struct config_snapshot *config_ref(struct config_snapshot *s);
void config_unref(struct config_snapshot *s);
/* "name  type  default  range  help", a line each: for --help. */
void config_help(const struct config_table *t, FILE *out);

/* A secret from a file (or a systemd credential's path): the first line without its end. E_IO;
 * E_DENIED when others than the owner may read it; E_TOO_LARGE above 64 KiB. Wipe `out` after use.
 */
MUST_CHECK int config_read_secret(const char *file, struct buf *out);

#endif
