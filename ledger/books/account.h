/* Accounts, who pay, and projects, parts of an account: what they may spend and use. */
#ifndef LEDGER_BOOKS_ACCOUNT_H
#define LEDGER_BOOKS_ACCOUNT_H

#include "ledger/books/audit.h"
#include "ledger/books/record.h"

/* Both are shown as {id, version, state, created, …settings}, an account also with granted, charged
 * and balance (nano as text, as the books have them), chain_seq and chain_head; a project with its
 * account. `version` grows with every change, `state` is active or suspended.
 *
 * Settings of both, all optional: name, limits {requests_per_minute, tokens_per_minute, streams},
 * budgets {day, month, total}, models [..], max_coefficient, max_output, end_to_end_only. An
 * account's also: low_balance, internal (its keys may have that class), replay_answers (to requests
 * with an Idempotency-Key: kept, sealed, for a day), weight (its share where calls wait), per_model
 * {model: limits}.
 *
 * Errors of all: E_INVALID (books_why says what), E_NOT_FOUND, E_EXISTS, E_IO. *out may be NULL
 * where a caller does not look. */

MUST_CHECK int account_create(struct books *b, const struct actor *a, const json_t *body,
                              json_t **out);
MUST_CHECK int account_change(struct books *b, const struct actor *a, const char *id,
                              const json_t *body, json_t **out);
MUST_CHECK int account_find(struct books *b, const char *id, json_t **out);
/* Whether an account could be made with these settings. E_INVALID. Pure. */
MUST_CHECK int account_settings_check(const json_t *settings);
/* In the order of their ids, behind `after`: {data, has_more}. `account` is not looked at. */
MUST_CHECK int accounts_list(struct books *b, const char *account, const char *after, size_t limit,
                             json_t **out);
MUST_CHECK int accounts_each(struct books *b, record_item_fn *fn, void *arg);

/* body has `account` and `id`. */
MUST_CHECK int project_create(struct books *b, const struct actor *a, const json_t *body,
                              json_t **out);
MUST_CHECK int project_change(struct books *b, const struct actor *a, const char *account,
                              const char *id, const json_t *body, json_t **out);
MUST_CHECK int project_find(struct books *b, const char *account, const char *id, json_t **out);
/* Of one account, or of all when account is ""; behind "account/project" `after`. */
MUST_CHECK int projects_list(struct books *b, const char *account, const char *after, size_t limit,
                             json_t **out);
MUST_CHECK int projects_each(struct books *b, const char *account, record_item_fn *fn, void *arg);

/* Money that the operator gives: world -> client. `id` names the event: the same again changes
 * nothing (*fresh false), with other content it is E_EXISTS. amount in nano, 1 … 2^53-1; what the
 * account was ever given stays below 2^53 (money.md §5): E_TOO_LARGE. *out: the transfer. */
MUST_CHECK int account_credit(struct books *b, const struct actor *a, const char *account,
                              int64_t amount, const char *id, struct span reference, bool *fresh,
                              json_t **out);

#endif
