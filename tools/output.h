/* How cocoonctl prints: tables with aligned columns, and JSON. */
#ifndef TOOLS_OUTPUT_H
#define TOOLS_OUTPUT_H

#include "base/json.h"

enum { TABLE_COLUMNS = 16 };

/* A copy of somebody else's text for the terminal, with NUL: control characters are '?'. */
char *text_shown(struct span text);

/* Rows of texts, printed once all widths are known. {0} is empty; cells are copied. */
struct table {
    char **cells;
    size_t count, columns;
};

/* cells: `columns` texts, the same number in each row; shown by text_shown. */
void table_row(struct table *t, size_t columns, const char *const *cells);
void table_print(struct table *t);
void table_free(struct table *t);
/* A table of objects: one column a (dotted) name, which is its head; lists joined by commas, times
 * as time_text writes them. */
void table_of(const json_t *rows, const char *const *columns, size_t count);

/* Indented JSON and a line's end. */
void json_print(const json_t *value);
/* "name  value" a line for each member; nested ones by dotted names, times as by time_text. */
void json_print_flat(json_t *value);
/* "2027-01-31T12:00:00Z", whatever the seconds since 1970; those that no date has, as a number. */
enum { TIME_TEXT_LEN = 32 };
void date_text(char out[static TIME_TEXT_LEN], uint64_t seconds);
/* The same, or "never" for 0 and behind the year 9999. */
void time_text(char out[static TIME_TEXT_LEN], uint64_t seconds);

#endif
