/* Probing: is the engine there, what is it, how busy is it. One question after the other, then a
 * rest; /metrics is asked every two seconds, since each question wakes llama.cpp (engine.md §4),
 * and more often only while a cancelled run lingers. */
#include <stdio.h>

#include "backends/engine/engine_impl.h"
#include "base/log.h"

enum {
    REST_DOWN_MS = 1000,
    REST_UP_MS = 2000,
    REST_LINGER_MS = 100, /* while a cancelled run's slot is not known to be free */
    ANSWER_MS = 2000,     /* for one question */
    MODELS_EVERY_MS = 30000,
    FAILURES_TO_DOWN = 3,  /* rounds without an answer; one that says no counts at once */
    LINGER_MAX_MS = 30000, /* figures that never come down are not waited for longer */
};

/* One round, in order. `take` reads a 200's body; `needed` ones must succeed for the engine to be
 * up. A step is asked only when `due` says so (NULL: always). */
struct step {
    const char *path;
    bool needed;
    bool (*due)(const struct engine *e);
    int (*take)(struct engine *e);
};

static bool health_ok(unsigned status)
{
    /* An engine that knows no /health (404, 405, 501) says with /v1/models whether it lives. */
    return status == 200 || status == 404 || status == 405 || status == 501;
}

static bool models_due(const struct engine *e)
{
    return !e->up || loop_now(e->loop) - e->models_ms >= MODELS_EVERY_MS;
}

static int models_take(struct engine *e)
{
    TRY(facts_read_models(&e->facts, buf_span(&e->probe_body)));
    e->models_ms = loop_now(e->loop);
    return 0;
}

static bool props_due(const struct engine *e)
{
    return !e->up && engine_kind(e) == ENGINE_LLAMACPP;
}

static int props_take(struct engine *e)
{
    return facts_read_props(&e->facts, buf_span(&e->probe_body));
}

static bool version_due(const struct engine *e)
{
    return !e->up && engine_kind(e) == ENGINE_VLLM;
}

static int version_take(struct engine *e)
{
    return facts_read_version(&e->facts, buf_span(&e->probe_body));
}

static bool metrics_due(const struct engine *e)
{
    return !e->up || e->has_metrics;
}

/* Cancelled requests are gone once the engine shows no more running than we have there. Figures
 * that were asked for before the cancel say nothing. */
static void settle_lingering(struct engine *e)
{
    const int64_t extra = e->load.running - (int64_t)e->live;

    if (e->lingering == 0 || e->probe_started_ms <= e->cancelled_ms)
        return;
    if (extra <= 0 || loop_now(e->loop) - e->cancelled_ms > LINGER_MAX_MS)
        e->lingering = 0;
    else if ((int64_t)e->lingering > extra)
        e->lingering = (unsigned)extra;
}

static int metrics_take(struct engine *e)
{
    facts_read_metrics(&e->load, buf_span(&e->probe_body));
    e->has_metrics = e->load.known;
    settle_lingering(e);
    return 0;
}

static const struct step steps[] = {
    {"/health", true, NULL, NULL},
    {"/v1/models", true, models_due, models_take},
    {"/props", false, props_due, props_take},
    {"/version", false, version_due, version_take},
    {"/metrics", false, metrics_due, metrics_take},
};
enum { STEPS = sizeof(steps) / sizeof(steps[0]) };

static void next_step(struct engine *e);

static void on_rest_over(void *arg)
{
    struct engine *e = arg;

    e->step = -1;
    next_step(e);
}

static void rest(struct engine *e)
{
    const uint64_t ms = !e->up ? REST_DOWN_MS : e->lingering ? REST_LINGER_MS : REST_UP_MS;

    loop_timer_set(e->loop, &e->probe_timer, ms, on_rest_over, e);
}

static void set_up(struct engine *e, bool up)
{
    if (e->up == up)
        return;
    e->up = up;
    if (up) {
        log_event(LOG_INFO, "engine_up", "kind=%s version=%s models=%zu metrics=%s",
                  engine_kind_name(engine_kind(e)), e->facts.version[0] ? e->facts.version : "-",
                  e->facts.model_count, e->has_metrics ? "yes" : "no");
    } else {
        log_event(LOG_WARN, "engine_down", "waiting=yes");
        e->load = (struct engine_load){0};
        e->lingering = 0;
    }
    e->changed(e->arg);
}

static void round_failed(struct engine *e, int error)
{
    e->probe_failures++;
    if (!e->up && e->probe_failures == 1 && !e->ever_up)
        log_event(LOG_INFO, "engine_wait", "step=%s status=%u error=%s", steps[e->step].path,
                  e->probe_status, error_name(error));
    if (error != E_TIMEOUT || e->probe_failures >= FAILURES_TO_DOWN)
        set_up(e, false);
    rest(e);
}

static void round_done(struct engine *e)
{
    e->probe_failures = 0;
    e->ever_up = true;
    set_up(e, true);
    rest(e);
}

/* What a step's answer was worth. */
static int step_result(struct engine *e, int error)
{
    const struct step *s = &steps[e->step];

    if (error < 0)
        return error;
    if (e->step == 0)
        return health_ok(e->probe_status) ? 0 : E_AGAIN;
    if (e->probe_status != 200)
        return E_AGAIN;
    return s->take(e);
}

static void on_head(void *arg, struct http_transfer *t, unsigned status, struct span content_type)
{
    struct engine *e = arg;

    (void)t;
    (void)content_type;
    e->probe_status = status;
}

static void on_data(void *arg, struct http_transfer *t, struct span bytes)
{
    struct engine *e = arg;

    (void)t;
    if (e->probe_body.len + bytes.len <= FACTS_MAX_BYTES) /* more: cut, and then not understood */
        buf_append(&e->probe_body, bytes);
}

static void on_done(void *arg, struct http_transfer *t, int error)
{
    struct engine *e = arg;

    (void)t;
    e->probe = NULL;
    error = step_result(e, error);
    if (error < 0 && steps[e->step].needed)
        round_failed(e, error);
    else
        next_step(e);
}

static const struct http_transfer_events probe_events = {
    .head = on_head,
    .data = on_data,
    .done = on_done,
};

static int ask(struct engine *e, const char *path)
{
    char url[ENGINE_URL_MAX + 32];
    struct http_fetch fetch = {.url = url, .unix_socket = e->unix_socket, .method = "GET"};

    snprintf(url, sizeof(url), "%s%s", e->base, path);
    fetch.total_ms = ANSWER_MS;
    buf_clear(&e->probe_body);
    e->probe_status = 0;
    e->probe_started_ms = loop_now(e->loop);
    return http_client_start(e->http, &fetch, &probe_events, e, &e->probe);
}

static void next_step(struct engine *e)
{
    do
        e->step++;
    while (e->step < STEPS && steps[e->step].due && !steps[e->step].due(e));
    if (e->step == STEPS) {
        round_done(e);
        return;
    }
    const int error = ask(e, steps[e->step].path);
    if (error < 0)
        round_failed(e, error);
}

void engine_probe_start(struct engine *e)
{
    loop_timer_set(e->loop, &e->probe_timer, 0, on_rest_over, e);
}

void engine_probe_stop(struct engine *e)
{
    loop_timer_cancel(e->loop, &e->probe_timer);
    if (e->probe)
        http_transfer_cancel(e->probe);
    e->probe = NULL;
}

void engine_probe_soon(struct engine *e)
{
    if (!e->probe)
        loop_timer_set(e->loop, &e->probe_timer, 0, on_rest_over, e);
}

void engine_probe_lingering(struct engine *e)
{
    if (!e->probe)
        rest(e);
}
