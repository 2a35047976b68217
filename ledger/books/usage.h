/* What was used and what it cost, summed from the bills: statements for people, hours for gateways.
 */
#ifndef LEDGER_BOOKS_USAGE_H
#define LEDGER_BOOKS_USAGE_H

#include "ledger/books/books.h"

enum usage_by {
    USAGE_BY_ACCOUNT = 1,
    USAGE_BY_PROJECT = 2,
    USAGE_BY_KEY = 4,
    USAGE_BY_MODEL = 8,
    USAGE_BY_HOUR = 16,
    USAGE_BY_DAY = 32
};
/* "hour,key,model" as a set; E_INVALID for another word, or hour and day together. */
MUST_CHECK int usage_by_read(struct span words, unsigned *by);

struct usage_filter {
    const char *account, *project, *key, *model; /* "": any */
    int64_t from_hour, to_hour;                  /* UTC hours since 1970, from ≤ h < to */
    unsigned by;
};
/* [{account?, project?, key?, model?, time?, requests, in, cached, out, reasoning, amount, fee}],
 * in the order of those columns; time is the beginning of the hour or day, Unix seconds.
 * E_TOO_LARGE: more than 100,000 rows. */
MUST_CHECK int usage_read(struct books *b, const struct usage_filter *f, json_t **out);
/* The same rows as CSV (RFC 4180) with a head line; cells that a spreadsheet would run as a formula
 * get an apostrophe in front. */
void usage_csv(struct buf *out, const json_t *rows, unsigned by);

/* What an account was charged from each of these UTC hours on, in nano (INT64_MAX: nobody asks, 0),
 * added up by project and key; no bill before the earliest is looked at. */
enum { USAGE_SPANS = 3 };
typedef void usage_charged_fn(void *arg, const char *project, const char *key,
                              const int64_t nano[static USAGE_SPANS]);
MUST_CHECK int usage_charged(struct books *b, const char *account,
                             const int64_t from_hour[static USAGE_SPANS], usage_charged_fn *fn,
                             void *arg);

/* An account's UTC day as gateways read it: field "<hour>|<project>|<key>|<model>" -> value
 * "requests,in,cached,out,reasoning,amount". */
typedef void usage_field_fn(void *arg, struct span field, struct span value);
MUST_CHECK int usage_day(struct books *b, const char *account, int64_t day, usage_field_fn *fn,
                         void *arg);
/* Calls fn for each (account, day) that has bills of that day or later. */
typedef void usage_days_fn(void *arg, const char *account, int64_t day);
MUST_CHECK int usage_days(struct books *b, int64_t from_day, usage_days_fn *fn, void *arg);

#endif
