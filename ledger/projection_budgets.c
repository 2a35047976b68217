/* Budgets after a loss: what the books have charged in each window that runs now, so that a budget
 * does not begin anew with Redis. An account's bills are read once, however many have a budget. */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "ledger/books/account.h"
#include "ledger/books/key.h"
#include "ledger/books/record.h"
#include "ledger/books/usage.h"
#include "ledger/projection_job.h"

enum { HOUR_S = 3600, DAY_HOURS = 24, MONTHS = 12 };
enum { DAY, MONTH, TOTAL, WINDOWS };
enum { OWNER_LEN = JOB_NAME_LEN + 2 };

static const char *const budgets[WINDOWS] = {"budgets.day", "budgets.month", "budgets.total"};

/* An account (a), or a project (p:<id>) or key (k:<id>) of it, that has a budget. */
struct owner {
    bool has[WINDOWS];
    int64_t nano[WINDOWS]; /* charged */
};

struct tally {
    struct map owners;                    /* by name */
    int64_t first_hour[WINDOWS];          /* of the windows of now */
    int64_t from_hour[WINDOWS];           /* the same; INT64_MAX: nobody has such a budget */
    char window[WINDOWS][JOB_NUMBER_LEN]; /* as admit.lua names them */
};

/* Days and months are counted since 1970. */
static void tally_init(struct tally *t, uint64_t now_s)
{
    const time_t now = (time_t)now_s;
    const int64_t day = (int64_t)(now_s / HOUR_S / DAY_HOURS);
    struct tm tm = {0};

    CHECK(gmtime_r(&now, &tm) != NULL);
    *t = (struct tally){.from_hour = {INT64_MAX, INT64_MAX, INT64_MAX}, .window = {[TOTAL] = "t"}};
    snprintf(t->window[DAY], JOB_NUMBER_LEN, "d%" PRId64, day);
    snprintf(t->window[MONTH], JOB_NUMBER_LEN, "m%d", (tm.tm_year - 70) * MONTHS + tm.tm_mon);
    tm.tm_mday = 1;
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    t->first_hour[DAY] = day * DAY_HOURS;
    t->first_hour[MONTH] = (int64_t)timegm(&tm) / HOUR_S;
}

static void tally_fini(struct tally *t)
{
    struct span name;
    size_t at = 0;
    void *owner;

    while (map_next(&t->owners, &at, &name, &owner))
        free(owner);
    map_fini(&t->owners);
}
AUTO_FINI(struct tally, tally_fini)

/* As Redis has it; returns out. */
static const char *owner_name(char out[static OWNER_LEN], char prefix, const char *id)
{
    snprintf(out, OWNER_LEN, "%c:%s", prefix, id);
    return out;
}

// ---- Who has a budget ---------------------------------------------------------------------------

static void owner_add(struct tally *t, const char *name, const json_t *settings)
{
    struct owner owner = {0}, *added;
    bool any = false;

    for (size_t w = 0; w < WINDOWS; w++) {
        owner.has[w] = record_money(settings, budgets[w]) > 0;
        if (owner.has[w])
            t->from_hour[w] = t->first_hour[w];
        any = any || owner.has[w];
    }
    if (!any)
        return;
    added = mem_zero(sizeof(*added));
    *added = owner;
    CHECK(map_put(&t->owners, span_str(name), added) == NULL);
}

static void project_add(void *arg, const json_t *project)
{
    char name[OWNER_LEN];

    owner_add(arg, owner_name(name, 'p', record_text(project, "id", "")), project);
}

static void key_add(void *arg, const json_t *key)
{
    char name[OWNER_LEN];

    owner_add(arg, owner_name(name, 'k', record_text(key, "id", "")), key);
}

// ---- What they were charged ---------------------------------------------------------------------

/* No sum is above what the account's purse counts. */
static void owner_charge(struct tally *t, const char *name, const int64_t *nano)
{
    struct owner *owner = map_get(&t->owners, span_str(name));

    for (size_t w = 0; owner && w < WINDOWS; w++)
        owner->nano[w] += nano[w];
}

static void on_charged(void *arg, const char *project, const char *key,
                       const int64_t nano[static USAGE_SPANS])
{
    char name[OWNER_LEN];

    owner_charge(arg, "a", nano);
    owner_charge(arg, owner_name(name, 'p', project), nano);
    owner_charge(arg, owner_name(name, 'k', key), nano);
}

static void tally_write(const struct tally *t, struct buf *out)
{
    struct span name;
    size_t at = 0;
    void *value;

    while (map_next(&t->owners, &at, &name, &value)) {
        const struct owner *owner = value;
        for (size_t w = 0; w < WINDOWS; w++)
            if (owner->has[w])
                buf_printf(out, "%.*s:%c,%s,%" PRId64 ";", SPAN_FMT(name), t->window[w][0],
                           t->window[w], owner->nano[w]);
    }
}

int budgets_write(struct books *b, const json_t *account, struct buf *out)
{
    const char *id = record_text(account, "id", "");
    AUTO(tally_fini) struct tally t;

    tally_init(&t, b->now_s);
    owner_add(&t, "a", account);
    TRY(projects_each(b, id, project_add, &t));
    TRY(keys_each(b, id, key_add, &t));
    if (t.owners.len > 0)
        TRY(usage_charged(b, id, t.from_hour, on_charged, &t));
    tally_write(&t, out);
    return 0;
}
