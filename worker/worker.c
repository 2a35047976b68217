/* What the worker's parts ask the whole: may it take work, what does it serve, reload, stop. */
#include "worker/worker.h"

#include <inttypes.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/notify.h"
#include "worker/call.h"
#include "worker/gateways.h"
#include "worker/watts.h"

enum { LAST_WORDS_MS = 2000, LOOK_MS = 20 };

const char *worker_env(const struct worker *w)
{
    return identity_env(&w->identity);
}

unsigned worker_running(const struct worker *w)
{
    return w->slots + engine_lingering(w->engine);
}

static bool within_hours(const struct worker *w)
{
    const time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm local = {0};

    return localtime_r(&now, &local) && hours_open_at(&w->settings.hours, &local);
}

const char *worker_reason(const struct worker *w)
{
    if (w->drained || w->stopping)
        return "drain";
    if (!within_hours(w))
        return "hours";
    if (watts_over(w->watts))
        return "watts";
    if (usage_full(w->usage))
        return "exposure";
    return engine_up(w->engine) ? NULL : "engine";
}

/* ---- Reload ---- */

/* Settings that live with the process: changing them needs a restart. */
static bool same_for_life(const struct worker_config *a, const struct worker_config *b)
{
    return strcmp(a->admin, b->admin) == 0 && strcmp(a->engine_url, b->engine_url) == 0 &&
           strcmp(a->engine_kind, b->engine_kind) == 0 && strcmp(a->payout, b->payout) == 0 &&
           strcmp(a->usage_file, b->usage_file) == 0 &&
           strcmp(a->quote_provider, b->quote_provider) == 0 && strcmp(a->gpu, b->gpu) == 0 &&
           strcmp(a->collateral_file, b->collateral_file) == 0 &&
           strcmp(a->event_log_file, b->event_log_file) == 0 &&
           strcmp(a->measured_config, b->measured_config) == 0 &&
           strcmp(a->model_verity, b->model_verity) == 0 &&
           strcmp(a->model_dir, b->model_dir) == 0 && a->extend_rtmr3 == b->extend_rtmr3;
}

int worker_reload(struct worker *w)
{
    AUTO(buf_fini) struct buf why = {0};
    struct config_snapshot *fresh = NULL;
    struct settings settings;

    int error = config_load(&fresh, &worker_config_table, w->config_file, &why);
    if (!error)
        error = settings_from_config(&settings, fresh->values);
    if (error) {
        log_event(LOG_ERROR, "reload", "error=%s why=%s", error_name(error), buf_cstr(&why));
        if (fresh)
            config_unref(fresh);
        return error;
    }
    if (!same_for_life(worker_config(w), fresh->values))
        log_event(LOG_WARN, "reload", "restart_needed=yes");
    config_unref(w->config);
    w->config = fresh;
    w->settings = settings;
    watts_command(w->watts, worker_config(w)->watts_command);
    watts_ceiling(w->watts, settings.max_watts);
    gateways_update(w->gateways, worker_config(w));
    keys_publish(w->keys);
    log_event(LOG_INFO, "reload", "models=%zu max_requests=%" PRId64 " ask=%" PRId64,
              worker_config(w)->models.count, settings.max_requests, settings.ask);
    return 0;
}

/* ---- Stopping ---- */

static void on_last_words(void *arg)
{
    struct worker *w = arg;
    const uint64_t deadline = w->stop_deadline_ms + LAST_WORDS_MS;

    if (gateways_streams(w->gateways) > 0 && loop_now(w->loop) < deadline)
        loop_timer_set(w->loop, &w->stop_timer, LOOK_MS, on_last_words, w);
    else
        loop_stop(w->loop);
}

static void on_look(void *arg)
{
    struct worker *w = arg;

    if (!list_empty(&w->calls) && loop_now(w->loop) < w->stop_deadline_ms) {
        loop_timer_set(w->loop, &w->stop_timer, LOOK_MS, on_look, w);
        return;
    }
    if (loop_now(w->loop) < w->stop_deadline_ms)
        w->stop_deadline_ms = loop_now(w->loop);
    call_end_all(w);
    on_last_words(w);
}

void worker_stop(struct worker *w)
{
    if (w->stopping) { /* asked twice: now */
        w->stop_deadline_ms = loop_now(w->loop);
        return;
    }
    log_event(LOG_INFO, "stopping", "streams=%zu", gateways_streams(w->gateways));
    notify_tell("STOPPING=1");
    w->stopping = true;
    w->stop_deadline_ms = loop_now(w->loop) + (uint64_t)worker_config(w)->drain_ms;
    gateways_goaway(w->gateways);
    on_look(w);
}
