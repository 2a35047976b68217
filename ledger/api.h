/* What the handlers of the admin API share. */
#ifndef LEDGER_API_H
#define LEDGER_API_H

#include "ledger/books/record.h"
#include "ledger/projection.h"
#include "ledger/routes.h"

/* `limit` of the query: 1 … PAGE_MAX, 100 without it. */
MUST_CHECK int api_limit(const struct request *r, size_t *out);
/* The body, which must be a JSON object. E_INVALID. */
MUST_CHECK int api_body(const struct request *r);
/* Puts a secret that is shown this once into the answer; wipes it. */
void api_secret(struct request *r, const char *name, struct buf *secret);

/* A resource's list behind `after`: `list` of an account ("" : of all). */
MUST_CHECK int api_list(struct request *r, record_list_fn *list);

#endif
