/* The price books that were applied: never changed, never removed; the newest version is the one in
 * force (from its valid_from on). */
#ifndef LEDGER_BOOKS_PRICES_H
#define LEDGER_BOOKS_PRICES_H

#include "ledger/books/audit.h"

/* Stores the book. The version must be above every one before; the same bytes again are a success
 * with *fresh false. `dry`: says what would be, stores nothing. *out: {version, sha256, fresh,
 * before, after}: books as objects, before null for the first. E_INVALID with books_why;
 * E_EXISTS: this or a higher version says something else. */
MUST_CHECK int prices_apply(struct books *b, const struct actor *a, struct span yaml, bool dry,
                            json_t **out);
/* version 0: the newest. {version, sha256, applied, who, book}. E_NOT_FOUND. */
MUST_CHECK int prices_find(struct books *b, int64_t version, json_t **out);
/* Newest first, without the books' contents. */
MUST_CHECK int prices_list(struct books *b, json_t **out);
/* The stored bytes, which are what was hashed. */
typedef void prices_book_fn(void *arg, int64_t version, struct span book);
MUST_CHECK int prices_each(struct books *b, prices_book_fn *fn, void *arg);

#endif
