/* Budgets after a loss: what the books have charged in each window that runs now, so that a budget
 * does not begin anew with Redis. */
#include <inttypes.h>
#include <time.h>

#include "ledger/books/account.h"
#include "ledger/books/key.h"
#include "ledger/books/record.h"
#include "ledger/books/usage.h"
#include "ledger/projection_job.h"

enum { HOUR_S = 3600, DAY_HOURS = 24, MONTHS = 12 };

/* The windows of now, as admit.lua names them. */
struct windows {
    int64_t day, month, month_hour; /* days and months since 1970; the month's first hour */
};

static struct windows windows_at(uint64_t now_s)
{
    const time_t now = (time_t)now_s;
    struct tm tm = {0};

    CHECK(gmtime_r(&now, &tm) != NULL);
    struct windows w = {.day = (int64_t)(now_s / HOUR_S / DAY_HOURS),
                        .month = (int64_t)(tm.tm_year - 70) * MONTHS + tm.tm_mon};
    tm.tm_mday = 1;
    tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
    w.month_hour = (int64_t)timegm(&tm) / HOUR_S;
    return w;
}

/* Whose budgets they are: an account's, or a project's or key's of it. */
struct owner {
    const char *account, *project, *key;
    char prefix; /* of its name in Redis: a, p, k */
};

static int window_write(struct books *b, const struct owner *o, const char *window,
                        int64_t from_hour, struct buf *out)
{
    int64_t nano;

    TRY(usage_charged(b, o->account, o->project, o->key, from_hour, &nano));
    buf_printf(out, "%c", o->prefix);
    if (o->prefix != 'a')
        buf_printf(out, ":%s", o->prefix == 'p' ? o->project : o->key);
    buf_printf(out, ":%c,%s,%" PRId64 ";", window[0], window, nano);
    return 0;
}

static int owner_write(struct books *b, const struct owner *o, const json_t *settings,
                       struct buf *out)
{
    const struct windows w = windows_at(b->now_s);
    char day[JOB_NUMBER_LEN], month[JOB_NUMBER_LEN];

    snprintf(day, sizeof(day), "d%" PRId64, w.day);
    snprintf(month, sizeof(month), "m%" PRId64, w.month);
    if (record_money(settings, "budgets.day") > 0)
        TRY(window_write(b, o, day, w.day * DAY_HOURS, out));
    if (record_money(settings, "budgets.month") > 0)
        TRY(window_write(b, o, month, w.month_hour, out));
    if (record_money(settings, "budgets.total") > 0)
        TRY(window_write(b, o, "t", 0, out));
    return 0;
}

static int projects_write(struct books *b, const char *account, struct buf *out)
{
    char after[2 * JOB_NAME_LEN] = "";
    bool more = true;

    while (more) {
        AUTO_JSON json_t *page = NULL;
        TRY(projects_list(b, account, after, JOB_PAGE, &page));
        const json_t *data = json_object_get(page, "data");
        for (size_t i = 0; i < json_array_size(data); i++) {
            const json_t *project = json_array_get(data, i);
            const char *id = record_text(project, "id", "");
            TRY(owner_write(b, &(struct owner){account, id, "", 'p'}, project, out));
            snprintf(after, sizeof(after), "%s/%s", account, id);
        }
        more = json_is_true(json_object_get(page, "has_more"));
    }
    return 0;
}

static int keys_write(struct books *b, const char *account, struct buf *out)
{
    char after[JOB_NAME_LEN] = "";
    bool more = true;

    while (more) {
        AUTO_JSON json_t *page = NULL;
        TRY(keys_list(b, account, after, JOB_PAGE, &page));
        const json_t *data = json_object_get(page, "data");
        for (size_t i = 0; i < json_array_size(data); i++) {
            const json_t *key = json_array_get(data, i);
            const char *id = record_text(key, "id", "");
            TRY(owner_write(b, &(struct owner){account, "", id, 'k'}, key, out));
            snprintf(after, sizeof(after), "%s", id);
        }
        more = json_is_true(json_object_get(page, "has_more"));
    }
    return 0;
}

int budgets_write(struct books *b, const json_t *account, struct buf *out)
{
    const char *id = record_text(account, "id", "");

    TRY(owner_write(b, &(struct owner){id, "", "", 'a'}, account, out));
    TRY(projects_write(b, id, out));
    return keys_write(b, id, out);
}
