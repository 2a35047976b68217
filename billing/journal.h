/* The gateway's journal: every bill with its usage record, on disk before the worker's record is
 * acknowledged and before the books hear of it (money.md §1, §6). SQLite in a thread of the offload
 * pool, one transaction for all that came meanwhile; no answer waits for it. */
#ifndef BILLING_JOURNAL_H
#define BILLING_JOURNAL_H

#include "billing/layout.h"
#include "net/offload.h"
#include "receipt/bill.h"

struct journal;

enum journal_result {
    JOURNAL_WRITTEN,
    JOURNAL_KNOWN /* this attempt has a bill already, which stays */
};
typedef void journal_done_fn(void *arg, enum journal_result result);

/* One bill to write; made by the caller with mem_zero, owned by the journal from journal_add on. */
struct journal_entry {
    struct list link;
    struct bill bill; /* what is signed; its model is owned by its storage */
    struct buf usage; /* the worker's JWS */
    char project[LAYOUT_NAME_MAX + 1], key[LAYOUT_NAME_MAX + 1];
    const char *endpoint, *kind; /* constants: chat …; settled, late_settled */
    int64_t epoch;               /* of the account when Redis charged it */
    journal_done_fn *done;       /* once, in the loop, when it is on disk; never for what is not */
    void *arg;
    enum journal_result result;
};

/* Opens or makes the file, for one instance. key signs the bills and outlives the journal. E_IO: it
 * cannot be used; E_INVALID: it is another program's or another instance's; `why` says it. */
MUST_CHECK int journal_open(struct journal **out, struct loop *l, struct offload *o,
                            const char *path, const char *instance, const struct ed25519 *key,
                            struct buf *why);
/* After the offload pool has been stopped: what was not written is lost here; its worker still has
 * the records. */
void journal_free(struct journal *j);
void journal_add(struct journal *j, struct journal_entry *take);
/* The disk refuses what is to be written: it is kept in memory and tried again; nothing new may be
 * admitted meanwhile. */
bool journal_failing(const struct journal *j);
/* Everything that was added is on disk. */
bool journal_idle(const struct journal *j);
int64_t journal_last(const struct journal *j); /* the highest row on disk; 0: none */

/* ---- What leaves it ---- */

/* A row, borrowed during the call. */
struct journal_row {
    int64_t n, epoch; /* as in the entry, or LAYOUT_EPOCH_UNKNOWN */
    uint32_t attempt;
    struct span call, account, project, key, kind, endpoint, bill, usage;
};
/* Rows above `after` in order, at most `limit`; then called with NULL at the end, also on failure.
 */
typedef void journal_row_fn(void *arg, const struct journal_row *row);
void journal_read(struct journal *j, int64_t after, unsigned limit, journal_row_fn *fn, void *arg);
/* The newest bill of a call of this account: one row or none, then NULL. */
void journal_find(struct journal *j, struct span account, struct span call, journal_row_fn *fn,
                  void *arg);
/* The newest bills of an account, the latest first: at most `limit` rows, then NULL. */
void journal_recent(struct journal *j, struct span account, unsigned limit, journal_row_fn *fn,
                    void *arg);
/* The books have rows of this instance up to n, which an earlier file must have given them: numbers
 * go on above. */
void journal_raise(struct journal *j, int64_t n);
/* The books have every row up to n; they are kept for a week longer. */
void journal_acked(struct journal *j, int64_t n);
int64_t journal_acked_to(const struct journal *j);

#endif
