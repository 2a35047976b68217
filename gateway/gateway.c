/* The gateway's parts brought up in order, reloaded, drained, and taken down in the reverse order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/archive.h"
#include "gateway/bots.h"
#include "gateway/call.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/log.h"
#include "base/random.h"
#include "gateway/counters.h"
#include "gateway/internal.h"
#include "gateway/money.h"
#include "gateway/decisions.h"
#include "gateway/peers.h"
#include "gateway/projection.h"
#include "gateway/receipts.h"
#include "gateway/trust.h"
#include "gateway/reply.h"
#include "gateway/scheduling.h"
#include "gateway/services.h"
#include "gateway/tracing.h"
#include "net/notify.h"
#include "net/socket.h"

enum { TURN_MS = 20, RECORDS_MS = 2000, CLOSE_MS = 3000, FLUSH_MS = 1000, HOLD_MS = 10000 };

/* ---- Start ---- */

static int bad(const char *what, int error)
{
    log_event(LOG_ERROR, "start_failed", "what=%s error=%s", what, error_name(error));
    return error;
}

static int read_cluster_secret(struct gateway *g, const struct gateway_config *s)
{
    AUTO(buf_wipe) struct buf text = {0};

    if (s->cluster_secret_file[0] == 0) {
        log_event(LOG_WARN, "cluster_secret_drawn",
                  "hint=set-cluster_secret_file-where-gateways-share-users");
        random_bytes(g->cluster_secret, sizeof(g->cluster_secret));
        return 0;
    }
    TRY(config_read_secret(s->cluster_secret_file, &text));
    return hex_decode(g->cluster_secret, sizeof(g->cluster_secret), buf_span(&text));
}

static void redis_state(void *arg, bool up, const char *run_id)
{
    struct gateway *g = arg;

    log_event(up ? LOG_INFO : LOG_WARN, up ? "redis_up" : "redis_away", "run_id=%s",
              up && run_id ? run_id : "-");
    if (g->money)
        money_connected(g->money, up);
    if (up && g->projection)
        projection_redis_back(g->projection);
    if (up && g->decisions) {
        if (!g->draining)
            peers_renew(g->peers);
        decisions_read(g->decisions);
    }
    if (up && g->counters)
        counters_redis_back(g->counters);
}

static int start_redis(struct gateway *g, const struct gateway_config *s)
{
    struct redis_options o = redis_defaults;
    const struct auth_options a = {
        .fresh_ms = (uint64_t)s->auth_fresh_ms,
        .stale_ms = (uint64_t)s->auth_stale_ms,
        .negative_ms = (uint64_t)s->auth_negative_ms,
        .failures_per_minute = (unsigned)s->auth_failures_per_minute,
        .cache_max = 100000,
    };

    o.at = s->redis;
    o.offload = g->offload;
    o.command_ms = (uint64_t)s->redis_command_ms;
    if (o.dead_ms < 2 * o.command_ms)
        o.dead_ms = 2 * o.command_ms;
    TRY(redis_new(&g->redis, g->loop, &o, redis_state, g));
    g->counters = counters_new(g->loop, g->redis);
    TRY(money_start(g));
    return auth_new(&g->auth, g->loop, g->redis, &a);
}

static int start_bots(struct gateway *g, const struct gateway_config *s)
{
    char why[BOTS_WHY_LEN];
    int error = bots_new(&g->bots, s, why);

    if (error < 0)
        log_event(LOG_ERROR, "telegram_refused", "why=\"%s\"", why);
    return error;
}

static int start_services(struct gateway *g, const struct gateway_config *s)
{
    char why[SERVICES_WHY_LEN];
    int error = services_new(&g->services, s, why);

    if (error < 0)
        log_event(LOG_ERROR, "service_tokens_refused", "why=\"%s\"", why);
    return error;
}

static int start_internal_list(struct gateway *g, const struct gateway_config *s)
{
    char why[INTERNAL_WHY_LEN];
    int error = internal_new(&g->internal, s, why);

    if (error < 0)
        log_event(LOG_ERROR, "internal_refused", "why=\"%s\"", why);
    return error;
}

static int start_tracing(struct gateway *g, const struct gateway_config *s)
{
    struct tracing_headers *headers = NULL;
    char why[TRACING_WHY_LEN];
    int error = tracing_headers_read(&headers, s, why);

    if (error < 0) {
        log_event(LOG_ERROR, "tracing_refused", "why=\"%s\"", why);
        return error;
    }
    return tracing_new(&g->tracing, g, headers);
}

static void capacity_changed(void *arg)
{
    struct gateway *g = arg;

    g->capacity = true;
    loop_again(g->loop);
}

static void wake(void *arg)
{
    struct gateway *g = arg;
    const bool room = g->capacity;

    if (!room && !g->trying)
        return;
    g->capacity = g->trying = false;
    if (room)
        projection_changed(g->projection);
    route_wake(g, room);
}

static void keep_evidence(void *arg, const struct pool_evidence *e)
{
    struct gateway *g = arg;

    projection_evidence(g->projection, e);
    archive_keep(g, e);
}

static int find_evidence(void *look_arg, const uint8_t sha256[static SHA256_LEN], pool_kept_fn *fn,
                         void *arg)
{
    const struct gateway *g = look_arg;

    return g->projection ? projection_find(g->projection, sha256, fn, arg) : E_UNAVAILABLE;
}

static int start_trust(struct gateway *g, const struct gateway_config *s)
{
    char why[TRUST_WHY_LEN];
    int error = trust_load(g, s, why);

    if (error < 0)
        log_event(LOG_ERROR, "policy_refused", "why=\"%s\"", why);
    return error;
}

static int start_pool(struct gateway *g, const struct gateway_config *s)
{
    struct net_addr at;
    struct tunnel_limits limits = tunnel_gateway_limits;

    limits.header_max = (size_t)s->tunnel_header_bytes;
    limits.streams = (unsigned)s->tunnel_streams + TUNNEL_SMALL_STREAMS;
    limits.settings_per_minute = (unsigned)s->tunnel_settings_per_minute;
    limits.resets_per_second = (unsigned)s->tunnel_resets_per_second;
    const struct pool_options o = {
        .tunnel_limits = limits,
        .tunnel_chain = s->tunnel_chain,
        .tunnel_key = s->tunnel_key,
        .tunnel_public = peers_own_address(s),
        .attest_every_ms = (uint64_t)s->attest_every_ms,
        .collateral = {.url = s->collateral_url,
                       .root_crl_url = s->root_crl_url,
                       .cache = s->collateral_cache,
                       .bundle = s->collateral_bundle},
    };

    TRY(net_addr_parse(&at, s->tunnel_listen));
    TRY(pool_new(&g->pool, g->loop, g->offload, &o));
    scheduling_set(g, s);
    pool_on_capacity(g->pool, capacity_changed, g);
    pool_on_evidence(g->pool, keep_evidence, g);
    pool_on_record(g->pool, stray_record, g->money);
    pool_on_missing(g->pool, find_evidence, g);
    TRY(start_trust(g, s));
    g->wake = (struct loop_hook){.step = LOOP_WAKE, .run = wake, .arg = g};
    loop_hook_add(g->loop, &g->wake);
    g->peers = peers_new(g, o.tunnel_public);
    g->projection = projection_new(g->loop, g->redis, g->pool, g->peers, g->instance,
                                   o.tunnel_public, s->connections);
    TRY(decisions_new(&g->decisions, g->loop, g->redis, g->pool));
    const int fd = gateway_given(g, "tunnel", 0);
    return fd >= 0 ? pool_listen_fd(g->pool, fd) : pool_listen(g->pool, &at);
}

/* Until this instance could serve, clients wait in the socket that it was given, or others behind
 * the same port serve them. */
static void hold_look(void *arg)
{
    struct gateway *g = arg;

    if (gateway_unready(g) && clock_mono_ms() - g->started_ms < HOLD_MS)
        loop_timer_set(g->loop, &g->hold_timer, TURN_MS, hold_look, g);
    else
        gateway_takeover(g);
}

void gateway_takeover(struct gateway *g)
{
    http_server_hold(g->api, false);
    internal_hold(g, false);
    http_server_hold(g->admin, false);
}

int gateway_listen(struct gateway *g, struct http_server *s, const char *role,
                   const struct net_addr *at)
{
    const bool given = gateway_given(g, role, 0) >= 0;

    if (!given && !net_is_served(at))
        return http_server_listen(s, at, -1);
    if (!given)
        TRY(http_server_bind(s, at));
    for (int i = 0, fd; (fd = gateway_given(g, role, i)) >= 0; i++)
        TRY(http_server_listen(s, at, fd));
    http_server_hold(s, true);
    g->held = true;
    return 0;
}

static struct http_server_options api_options(struct gateway *g, const struct gateway_config *s)
{
    struct http_server_options o = http_server_defaults;

    o.daemons = (unsigned)s->daemons;
    o.connection_limit = (unsigned)s->connections;
    o.full_answer = buf_span(&g->full_answer);
    o.header_max = (size_t)s->header_bytes;
    o.header_ms = (uint64_t)s->header_ms;
    o.body_ms = (uint64_t)s->body_ms;
    o.body_ms_per_64k = (uint64_t)s->body_ms_per_64k;
    o.idle_s = (unsigned)s->idle_s;
    return o;
}

static int start_api(struct gateway *g, const struct gateway_config *s)
{
    const struct http_server_options o = api_options(g, s);
    struct net_addr at;

    TRY(net_addr_parse(&at, s->listen));
    TRY(http_server_new(&g->api, g->loop, &o, &call_handler, g));
    return gateway_listen(g, g->api, "api", &at);
}

static int start_internal(struct gateway *g, const struct gateway_config *s)
{
    const struct http_server_options o = api_options(g, s);

    return internal_start(g, &o);
}

static void begin_to_serve(struct gateway *g)
{
    if (upgrade_has_predecessor(g))
        upgrade_begin(g);
    else if (g->held)
        hold_look(g);
}

/* Descriptors for the connections, as many tunnels again, and our own files. */
static int check_descriptors(const struct gateway_config *s)
{
    uint64_t have = net_raise_nofile(), need = 1024 + (uint64_t)s->connections;

    if (s->internal_listen[0])
        need += (uint64_t)s->internal_connections;
    if (s->internal_tls_listen[0])
        need += 3 * (uint64_t)s->internal_connections; /* its socket, and a pair */

    log_event(LOG_INFO, "descriptors", "have=%llu need=%llu", (unsigned long long)have,
              (unsigned long long)need);
    return have >= need ? 0 : E_TOO_LARGE;
}

static void name_instance(struct gateway *g, const struct gateway_config *s)
{
    char host[64] = "gateway";

    if (s->instance[0]) {
        snprintf(g->instance, sizeof(g->instance), "%s", s->instance);
        return;
    }
    if (gethostname(host, sizeof(host) - 1) < 0)
        host[0] = 0;
    snprintf(g->instance, sizeof(g->instance), "%s-%d", host, (int)getpid());
}

static void announce(struct gateway *g, const struct gateway_config *s)
{
    struct net_addr a;
    char api[160], tunnel[160];

    http_server_addr(g->api, 0, &a);
    net_addr_text(&a, api, sizeof(api));
    pool_addr(g->pool, &a);
    net_addr_text(&a, tunnel, sizeof(tunnel));
    log_event(LOG_INFO, "listening", "api=%s tunnel=%s admin=%s internal=%s,%s instance=%s", api,
              tunnel, s->admin, s->internal_listen[0] ? s->internal_listen : "-",
              s->internal_tls_listen[0] ? s->internal_tls_listen : "-", g->instance);
    if (trust_is_dev(g))
        log_event(LOG_WARN, "insecure_dev", "note=nothing-here-is-confidential");
}

int gateway_start(struct gateway *g)
{
    const struct gateway_config *s = gateway_settings(g);
    int error;

    g->started = config_ref(g->config);
    list_init(&g->calls);
    lanes_init(&g->lanes);
    reply_full(&g->full_answer);
    failures_init(&g->public_calls, (unsigned)s->public_per_minute);
    g->receipts = receipts_new();
    g->usual = usual_new();
    g->started_ms = clock_mono_ms();
    (void)net_inherited(&g->given);
    name_instance(g, s);
    if ((error = check_descriptors(s)) < 0)
        return bad("limits.connections: too few file descriptors", error);
    if ((error = read_cluster_secret(g, s)) < 0)
        return bad("cluster_secret_file", error);
    if ((error = start_bots(g, s)) < 0)
        return bad("telegram", error);
    if ((error = start_services(g, s)) < 0)
        return bad("service_tokens", error);
    if ((error = start_internal_list(g, s)) < 0)
        return bad("internal", error);
    if ((error = loop_new(&g->loop)) < 0)
        return bad("event loop", error);
    if ((error = offload_new(&g->offload, g->loop, (unsigned)s->offload_threads)) < 0)
        return bad("offload pool", error);
    if ((error = start_tracing(g, s)) < 0)
        return bad("tracing", error);
    if ((error = start_redis(g, s)) < 0)
        return bad("redis", error);
    if ((error = start_pool(g, s)) < 0)
        return bad("tunnel", error);
    if ((error = admin_start(g)) < 0)
        return bad("admin", error);
    if ((error = start_api(g, s)) < 0)
        return bad("listen", error);
    if ((error = start_internal(g, s)) < 0)
        return bad("internal.listen", error);
    begin_to_serve(g);
    announce(g, s);
    lag_start(g);
    return 0;
}

const char *gateway_unready(const struct gateway *g)
{
    if (g->draining)
        return "draining";
    if (!redis_up(g->redis))
        return "redis is away";
    return pool_any_ready(g->pool) ? NULL : "no worker is ready";
}

/* ---- Reload ---- */

/* Everything that may be refused is read before anything is changed. */
static int reload_with(struct gateway *g, struct config_snapshot *next)
{
    struct bots *bots = NULL;
    struct services *services = NULL;
    struct internal *internal = NULL;
    struct tracing_headers *headers = NULL;
    char why[TRUST_WHY_LEN + BOTS_WHY_LEN + SERVICES_WHY_LEN + INTERNAL_WHY_LEN + TRACING_WHY_LEN];

    if (bots_new(&bots, next->values, why) < 0 || services_new(&services, next->values, why) < 0 ||
        internal_new(&internal, next->values, why) < 0 ||
        tracing_headers_read(&headers, next->values, why) < 0 ||
        trust_load(g, next->values, why) < 0) {
        log_event(LOG_ERROR, "reload_refused", "why=\"%s\"", why);
        bots_free(bots);
        services_free(services);
        internal_free(internal);
        tracing_headers_free(headers);
        return E_INVALID;
    }
    bots_free(g->bots);
    g->bots = bots;
    services_free(g->services);
    g->services = services;
    internal_replace(g, internal);
    tracing_replace(g->tracing, headers);
    return 0;
}

void gateway_reload(struct gateway *g)
{
    struct buf why = {0};
    struct config_snapshot *next = NULL;

    if (config_load(&next, &gateway_config_table, g->config_file, &why) < 0) {
        log_event(LOG_ERROR, "reload_refused", "why=%.*s", SPAN_FMT(buf_span(&why)));
    } else if (reload_with(g, next) < 0) {
        config_unref(next);
    } else {
        config_unref(g->config);
        g->config = next;
        scheduling_set(g, next->values);
        log_event(LOG_INFO, "reloaded",
                  "note=listeners-tunnel-certificates-and-redis-need-a-restart");
    }
    buf_fini(&why);
}

/* ---- The service manager ---- */

void gateway_ready(struct gateway *g)
{
    notify_tell("READY=1");
    watchdog_begin(&g->watchdog, g->loop);
}

/* ---- Stop ---- */

static bool settled(const struct gateway *g)
{
    return money_idle(g->money) && pool_settle(g->pool);
}

static bool idle(const struct gateway *g)
{
    return pool_idle(g->pool);
}

static bool flushed(const struct gateway *g)
{
    return counters_flushed(g->counters) && (!redis_up(g->redis) || redis_in_flight(g->redis) == 0);
}

/* By the clock: turns may be short. */
static void turn_until(struct gateway *g, bool (*done)(const struct gateway *g),
                       uint64_t at_most_ms)
{
    const uint64_t until = clock_mono_ms() + at_most_ms;

    while (!done(g) && clock_mono_ms() < until)
        loop_turn(g->loop, TURN_MS);
}

static bool traced(const struct gateway *g)
{
    return tracing_flushed(g->tracing);
}

/* After the pool: its last records end the last spans. */
static void stop_tracing(struct gateway *g)
{
    tracing_flush(g->tracing);
    turn_until(g, traced, FLUSH_MS);
    tracing_free(g->tracing);
    g->tracing = NULL; /* what is released later is not exported */
}

/* What reads of the pool, or tells it what Redis says. */
static void forget_pool(struct gateway *g)
{
    if (g->projection)
        projection_stop(g->projection);
    if (g->peers)
        peers_stop(g->peers);
    if (g->decisions)
        decisions_stop(g->decisions);
}

/* Attempts first get the time to bring their records (wire.md §9); then the tunnels end, and with
 * the threads the last that was theirs to judge. */
static void stop_pool(struct gateway *g)
{
    pool_drain(g->pool);
    loop_turn(g->loop, TURN_MS);
    turn_until(g, settled, RECORDS_MS);
    money_leave(g->money);
    if (g->projection)
        projection_find_no_more(g->projection);
    pool_close(g->pool);
    turn_until(g, idle, CLOSE_MS);
    offload_stop(g->offload);
    turn_until(g, idle, CLOSE_MS);
    loop_hook_del(g->loop, &g->wake);
    forget_pool(g);
    pool_free(g->pool);
    projection_free(g->projection);
    g->projection = NULL; /* Redis may come up in any turn from here on */
}

/* What the pool's records are written to ends after it, and Redis after that. */
static void stop_writers(struct gateway *g)
{
    if (g->counters) {
        counters_flush(g->counters);
        loop_turn(g->loop, TURN_MS); /* sends it, and that this instance is no more */
        turn_until(g, flushed, FLUSH_MS);
    }
    auth_free(g->auth);
    money_stop(g->money);
    redis_free(g->redis);
    if (g->loop)
        loop_turn(g->loop, 0); /* Redis gives its last answers */
    counters_free(g->counters);
    g->counters = NULL; /* what money releases at its end counts nothing */
    money_free(g->money);
    peers_free(g->peers);
    decisions_free(g->decisions);
}

void gateway_stop(struct gateway *g)
{
    upgrade_end(g);
    watchdog_end(&g->watchdog);
    if (g->loop) {
        loop_signals_end(g->loop); /* a reload would name what is gone */
        lag_stop(g);
    }
    http_server_free(g->admin); /* first: its pages show the others */
    http_server_free(g->api);
    internal_stop(g);
    buf_fini(&g->full_answer);
    if (g->pool)
        stop_pool(g);
    if (g->tracing)
        stop_tracing(g);
    stop_writers(g);
    offload_free(g->offload);
    if (g->loop)
        loop_free(g->loop);
    lanes_fini(&g->lanes);
    receipts_free(g->receipts);
    usual_free(g->usual);
    trust_free(g->trust);
    bots_free(g->bots);
    services_free(g->services);
    internal_free(g->internal);
    failures_fini(&g->public_calls);
    metrics_fini(&g->metrics);
    config_unref(g->config);
    config_unref(g->started);
    explicit_bzero(g->cluster_secret, sizeof(g->cluster_secret));
}
