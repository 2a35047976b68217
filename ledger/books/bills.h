/* Bills as the books take them in (money.md §7): once each, chained per account, a leaf of the
 * day's tree, with the two transfers that pay for them. */
#ifndef LEDGER_BOOKS_BILLS_H
#define LEDGER_BOOKS_BILLS_H

#include "ledger/books/bill_keys.h"

/* What a gateway says of one settled call: an entry of its stream, or a row of its journal.
 * Borrowed.
 */
struct bill_entry {
    struct span instance;
    int64_t epoch; /* in which Redis charged it; 0: one that is over; or LAYOUT_EPOCH_UNKNOWN */
    int64_t n;     /* its journal's number, from 1 without gaps */
    struct span bill, usage; /* JWS */
    struct span project, key, kind, endpoint;
};

enum bill_result {
    BILL_TAKEN,
    BILL_KNOWN,  /* the same was there already: nothing changed */
    BILL_REFUSED /* noted in `conflicts`: bad signature, another bill of that call, no such account
                  */
};

/* Takes one in; in a transaction. *hour (UTC hours since 1970) and account tell whose usage changed
 * when it was taken. E_IO; whatever a gateway may have written is BILL_REFUSED, never an error. */
struct bill_outcome {
    enum bill_result result;
    const char *reason; /* of a refusal */
    char account[65];
    char key[16];
    int64_t hour;
};
MUST_CHECK int bill_take(struct books *b, const struct bill_keys *keys, const struct bill_entry *e,
                         struct bill_outcome *out);

/* How far a gateway's bills were taken in: the number behind which they go on. 0: none were. */
MUST_CHECK int bill_cursor(struct books *b, struct span instance, int64_t *n);
/* Of one that is there, or by its stream: a recovery waits for that gateway. */
MUST_CHECK int bill_cursor_set(struct books *b, struct span instance, int64_t n);
/* By another way, never back: whether one waits for it stays as it was, and none does at first. */
MUST_CHECK int bill_cursor_raise(struct books *b, struct span instance, int64_t n);
/* No recovery waits for it until its stream brings bills; the number is kept. */
MUST_CHECK int bill_cursor_drop(struct books *b, struct span instance);

/* Closes every day before the present one: its root is fixed. *closed: how many. */
MUST_CHECK int bill_days_close(struct books *b, size_t *closed);
/* {data: [{day: "2027-01-31", leaves, root, closed}]}, newest first. */
MUST_CHECK int bill_days_list(struct books *b, size_t limit, json_t **out);

/* {call, attempt, account, seq, head, kind, bill, usage, proof}: proof {day, leaf, leaves, root,
 * path [..]} once the day is closed, else null. account "" is any. E_NOT_FOUND. */
MUST_CHECK int bill_find(struct books *b, const char *account, const char *call, json_t **out);
/* What the books have charged for a call, in nano, and of which attempt; *billed false: none of its
 * attempts has a bill. */
MUST_CHECK int bill_charged(struct books *b, const char *call, bool *billed, int64_t *amount,
                            int64_t *attempt);
/* Appends the calls of an account that were settled after their holds' end, in this UTC hour (since
 * 1970) and later. */
MUST_CHECK int bills_late(struct books *b, const char *account, int64_t hour, json_t *calls);
/* An account's, newest first, before seq `before` (0: newest): {data: [...], has_more}, without the
 * JWS and proofs. */
MUST_CHECK int bills_list(struct books *b, const char *account, int64_t before, size_t limit,
                          json_t **out);
/* An account's with their JWS, newest first, those older than `after` ("call.attempt"; "": newest):
 * {data: [{call, attempt, bill, usage}], has_more}. E_NOT_FOUND: it has no such bill. */
MUST_CHECK int bills_signed(struct books *b, const char *account, struct span after, size_t limit,
                            json_t **out);

#endif
