/* Usage: a day of an account, for as many days as gateways show. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "billing/layout.h"
#include "ledger/books/usage.h"
#include "ledger/projection_job.h"

enum { USAGE_DAY_S = 86400 };

struct fields {
    struct job *job;
    struct span key;
};

static void send_usage_field(void *arg, struct span field, struct span value)
{
    const struct fields *f = arg;

    JOB_SEND(f->job, SPAN("HSET"), f->key, field, value);
}

static void usage_key(char out[static LAYOUT_KEY_LEN], const char *account, int64_t day)
{
    const time_t at = (time_t)day * USAGE_DAY_S;
    char date[16] = "";
    struct tm tm;

    if (gmtime_r(&at, &tm))
        strftime(date, sizeof(date), "%Y-%m-%d", &tm);
    snprintf(out, LAYOUT_KEY_LEN, LAYOUT_USAGE, account, date);
}

int64_t usage_first_day(const struct job *j)
{
    return (int64_t)(clock_wall_ms() / 1000 / USAGE_DAY_S) -
           ledger_settings(j->projection->ledger)->usage_days;
}

int job_usage(struct job *j, struct books *b)
{
    char key[LAYOUT_KEY_LEN], seconds[JOB_NUMBER_LEN];
    struct fields f = {j, {NULL, 0}};

    if (j->day < usage_first_day(j))
        return 0;
    usage_key(key, j->name, j->day);
    f.key = span_str(key);
    snprintf(seconds, sizeof(seconds), "%" PRId64, (j->day - usage_first_day(j) + 1) * USAGE_DAY_S);
    TRY(usage_day(b, j->name, j->day, send_usage_field, &f));
    JOB_SEND(j, SPAN("EXPIRE"), f.key, span_str(seconds));
    return 0;
}
