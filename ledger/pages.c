/* Closed sets of labels; no account, key or name of one in a metric. */
#include "ledger/pages.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/version.h"
#include "ledger/books/record.h"
#include "ledger/intake.h"
#include "ledger/projection.h"
#include "ledger/recovery.h"

static const char *const states[] = {"away", "waiting", "restoring", "open"};

const char *page_missing(const struct ledger *l)
{
    switch (recovery_state(l->recovery)) {
    case RECOVERY_AWAY:
        return "redis";
    case RECOVERY_WAITING:
        return "gateways";
    case RECOVERY_RESTORING:
        return "restoring";
    case RECOVERY_OPEN:
        break;
    }
    return NULL;
}

json_t *page_status(struct ledger *l)
{
    AUTO(buf_fini) struct buf missing = {0};
    json_t *it = record_object();

    recovery_missing(l->recovery, &missing);
    record_set(it, "version", json_string(cocoon_version));
    record_set(it, "commit", json_string(cocoon_commit));
    record_set_int(it, "uptime_s", (int64_t)((clock_mono_ms() - l->started_ms) / 1000));
    record_set(it, "books", json_string(db_is_postgres(l->books->db) ? "postgresql" : "sqlite"));
    record_set(it, "ready", json_boolean(!page_missing(l)));
    record_set_text(it, "epoch_state", span_str(states[recovery_state(l->recovery)]));
    record_set_int(it, "epoch", recovery_number(l->recovery));
    record_set_text(it, "waits_for", buf_span(&missing));
    record_set_int(it, "projection_waiting", (int64_t)projection_waiting(l->projection));
    record_set_int(it, "intake_lag_ms", (int64_t)intake_lag_ms(l->intake));
    record_set_int(it, "bills", (int64_t)l->counters.bills);
    record_set_int(it, "conflicts", (int64_t)l->counters.conflicts);
    record_set(it, "gateways", intake_status(l->intake));
    return it;
}

static unsigned write_healthz(struct ledger *l, struct buf *out)
{
    (void)l;
    buf_append_str(out, "ok\n");
    return 200;
}

static unsigned write_readyz(struct ledger *l, struct buf *out)
{
    const char *what = page_missing(l);

    buf_printf(out, "%s\n", what ? what : "ready");
    return what ? 503 : 200;
}

static unsigned write_status_json(struct ledger *l, struct buf *out)
{
    AUTO_JSON json_t *it = page_status(l);

    record_write(out, it);
    buf_byte(out, '\n');
    return 200;
}

static unsigned write_status(struct ledger *l, struct buf *out)
{
    AUTO(buf_fini) struct buf missing = {0};

    recovery_missing(l->recovery, &missing);
    buf_printf(out, "ledger      %s\nbooks       %s\nepoch       %" PRId64 ", %s%s%s\n",
               cocoon_version, db_is_postgres(l->books->db) ? "postgresql" : "sqlite",
               recovery_number(l->recovery), states[recovery_state(l->recovery)],
               missing.len ? ", waits for " : "", buf_cstr(&missing));
    buf_printf(out,
               "projection  %zu jobs wait\nbills       %" PRIu64 " taken, %" PRIu64
               " refused, %" PRIu64 " ms behind\n",
               projection_waiting(l->projection), l->counters.bills, l->counters.conflicts,
               intake_lag_ms(l->intake));
    return 200;
}

static unsigned write_metrics(struct ledger *l, struct buf *out)
{
    const struct ledger_counters *c = &l->counters;
    const struct {
        const char *name, *type;
        uint64_t value;
    } rows[] = {
        {"admin_requests_total", "counter", c->requests},
        {"admin_refused_total", "counter", c->refused},
        {"bills_taken_total", "counter", c->bills},
        {"bills_known_total", "counter", c->known},
        {"bills_refused_total", "counter", c->conflicts},
        {"intake_lag_ms", "gauge", intake_lag_ms(l->intake)},
        {"projection_jobs_total", "counter", c->projected},
        {"projection_failures_total", "counter", c->projection_failures},
        {"projection_waiting", "gauge", projection_waiting(l->projection)},
        {"epoch", "gauge", (uint64_t)recovery_number(l->recovery)},
        {"epoch_open", "gauge", recovery_state(l->recovery) == RECOVERY_OPEN},
        {"webhooks_sent_total", "counter", c->webhooks_sent},
        {"webhooks_failed_total", "counter", c->webhooks_failed},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        buf_printf(out, "# TYPE cocoon_ledger_%s %s\ncocoon_ledger_%s %" PRIu64 "\n", rows[i].name,
                   rows[i].type, rows[i].name, rows[i].value);
    return 200;
}

static const struct page {
    const char *path, *type;
    unsigned (*write)(struct ledger *l, struct buf *out);
} pages[] = {
    {"/healthz", "text/plain; charset=utf-8", write_healthz},
    {"/readyz", "text/plain; charset=utf-8", write_readyz},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", write_metrics},
    {"/status", "text/plain; charset=utf-8", write_status},
    {"/status.json", "application/json", write_status_json},
};

int page_write(struct ledger *l, struct span path, unsigned *status, const char **type,
               struct buf *out)
{
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        if (!span_is(path, pages[i].path))
            continue;
        *status = pages[i].write(l, out);
        *type = pages[i].type;
        return 0;
    }
    return E_NOT_FOUND;
}
