/* Where money is in Redis: keys, hashes and streams, shared by gateways and the ledger. Everything
 * of one account is in one slot, by the literal braces around its name ({A}; {I} is an instance).
 * The scripts of billing/lua say what the fields hold.
 *
 * - m1:acct:{A}, hash: available, granted, charged (nano), version, epoch, cfg, kv:<key> (version
 * of a key), p:<project> and m:<model> (limits), v:<field> (versions), and what admission counts:
 * r:, t: (GCRA, us), s: (streams), w:, b: (window and nano of a budget). cfg and p: are
 *   state|requests|tokens|streams|day|month|total, m: is requests|tokens|streams.
 * - m1:hold:{A}:<call>, string: the row of a hold (common.lua).
 * - m1:holds:{A}, sorted set: open calls by the ms (Redis' clock) in which they expire.
 * - m1:call:<call>, string: the account, so that any instance can settle a record.
 * - m1:idem:{A}:<hash>, string: <hash of the body>|<run or done>|<call>; m1:answer:{A}:<hash>: the
 *   answer, sealed (gateway/kept.h), where the account has them kept, or `wait` while it is not
 *   charged yet (mark.lua); m1:answers:{A}, sorted set: their hashes by bytes (keep.lua).
 * - m1:accounts, set: accounts that ever had a hold.
 * - m1:sweeper, string: which instance sweeps.
 * - m1:epoch, hash: n, run_id, run:<run_id> of further primaries, state (open, recovering); the
 *   ledger's.
 * - m1:epoch:said, hash: instance → n for which it has put everything back; <instance>+<process
 * id>: the same of one of its processes, which another has taken over from.
 * - m1:events, stream of refusals for a budget: account, project, key, of (a, p, k), window (d, m,
 *   t).
 * - prices:current, string: version; prices:book:<version>: its bytes; channel prices:changed.
 * - bills:{I}, stream: n, call, attempt, bill, usage, account, project, key, kind, endpoint,
 *   epoch (of the account when it was charged; not there: not known).
 * - books:acked, hash: instance → n that the books have.
 * - bills:keys, hash: kid → 64 hex; bills:since, hash: kid → `<seconds> <instance>`;
 *   bills:vouched, hash: kid → the operator's word for it (billing/bill_claim.h); bills:instances,
 *   set. */
#ifndef BILLING_LAYOUT_H
#define BILLING_LAYOUT_H

#define LAYOUT_ACCOUNT     "m1:acct:{%s}"
#define LAYOUT_HOLD        "m1:hold:{%s}:%s"
#define LAYOUT_HOLDS       "m1:holds:{%s}"
#define LAYOUT_CALL        "m1:call:%s"
#define LAYOUT_IDEMPOTENCY "m1:idem:{%s}:%s"
#define LAYOUT_ANSWER      "m1:answer:{%s}:%s"
#define LAYOUT_ANSWERS     "m1:answers:{%s}"
#define LAYOUT_ACCOUNTS    "m1:accounts"
#define LAYOUT_SWEEPER     "m1:sweeper"
#define LAYOUT_EPOCH       "m1:epoch"
#define LAYOUT_SAID        "m1:epoch:said"
#define LAYOUT_CURRENT     "prices:current"
#define LAYOUT_BOOK        "prices:book:%lld"
#define LAYOUT_CHANGED     "prices:changed"
#define LAYOUT_BILLS       "bills:{%s}"
#define LAYOUT_ACKED       "books:acked"
#define LAYOUT_KEYS        "bills:keys"
#define LAYOUT_SINCE       "bills:since"
#define LAYOUT_VOUCHED     "bills:vouched"
#define LAYOUT_INSTANCES   "bills:instances"
/* stream of what gateways tell or ask the ledger: a budget that refused a request (account,
 * project, key, of: a, p, k, window: d, m, t), or a receipt (account, call), which is then in
 * LAYOUT_RECEIPT: its JSON, or "" when there is none; or a page of an account's receipts
 * (account, call: the id of the request that asks, instance, after, limit), which is then in
 * LAYOUT_RECEIPTS: a line "n found more" (the books have this instance's rows up to n; whether they
 * know `after`, else the page is the newest; whether older ones follow: 0 or 1), and a line
 * "call.attempt JSON" for each, newest first; without `limit`: a JSON array of the newest 100 */
#define LAYOUT_EVENTS   "m1:events"
#define LAYOUT_RECEIPT  "receipt:{%s}:%s"
#define LAYOUT_RECEIPTS "receipts:{%s}:%s"
#define LAYOUT_USAGE    "usage:{%s}:%s" /* account, date: the ledger's; billing/usage_query.h */

/* Names of accounts, projects and instances are [A-Za-z0-9._-]{1,64}; the longest key with its NUL.
 */
enum { LAYOUT_NAME_MAX = 64, LAYOUT_KEY_LEN = 160 };

/* Of a charge whose gateway named none, as those of before there were epochs: no recovery is judged
 * by it. */
#define LAYOUT_EPOCH_UNKNOWN INT64_MAX

/* Lives of rows, ms: a record may come so long after its hold's end; after its bill is in the
 * journal; and a tombstone. */
enum {
    LAYOUT_LATE_MS = 24 * 3600 * 1000,
    LAYOUT_SETTLED_MS = 26 * 3600 * 1000,
    LAYOUT_DONE_MS = 3600 * 1000
};

#endif
