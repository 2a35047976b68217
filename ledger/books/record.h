/* JSON of our own making: members of objects, pages of lists, and settings as they are stored. */
#ifndef LEDGER_BOOKS_RECORD_H
#define LEDGER_BOOKS_RECORD_H

#include "base/json.h"
#include "ledger/books/db.h"

json_t *record_object(void);
void record_set(json_t *object, const char *name, json_t *take);
void record_set_text(json_t *object, const char *name, struct span text);
void record_set_int(json_t *object, const char *name, int64_t number);
/* Money is a decimal string: some readers of JSON have only doubles. */
void record_set_money(json_t *object, const char *name, int64_t nano);
/* A copy of every member of `from`, where `object` has none of that name. */
void record_merge(json_t *object, const json_t *from);

/* Members with what stands for their absence. */
int64_t record_int(const json_t *object, const char *name, int64_t absent);
const char *record_text(const json_t *object, const char *name, const char *absent);
/* Money of "a.b", or 0. */
int64_t record_money(const json_t *object, const char *name);
/* The member of a dotted name; NULL when it is absent or null. */
const json_t *record_at(const json_t *object, const char *name);

/* Compact text with sorted names, appended. */
void record_write(struct buf *out, const json_t *value);
/* What record_write wrote into the books. */
MUST_CHECK int record_read(struct span text, json_t **out);

typedef json_t *record_row_fn(const struct rows *rows);
/* The first of the rows. E_NOT_FOUND: there is none; *out stays as it was on an error. */
MUST_CHECK int record_one(struct rows *rows, record_row_fn *fn, json_t **out);
/* {data: […], has_more} of at most `limit` rows; the caller asked for limit + 1. */
MUST_CHECK int record_page(struct rows *rows, size_t limit, record_row_fn *fn, json_t **out);

/* A page of a list behind `after`; of an account, where the list has such, or ("") of all. */
struct books;
typedef int record_list_fn(struct books *b, const char *account, const char *after, size_t limit,
                           json_t **out);
/* Calls fn for each item of the list, which is read a page at a time: the next begins behind the
 * last one's id with this prefix. The list's errors; fn was called for the pages before then. */
typedef void record_item_fn(void *arg, const json_t *item);
MUST_CHECK int record_each(struct books *b, record_list_fn *list, const char *account,
                           const char *prefix, record_item_fn *fn, void *arg);

/* An id of [A-Za-z0-9._-], 1 to 64 of them: it may stand in keys of Redis and in purses' names. */
bool record_id_valid(struct span id);

#endif
