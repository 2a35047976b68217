/* The gateway as one object: what a process of it holds. Every part is used from the loop's thread
 * only. */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include "auth/failures.h"
#include "auth/keys.h"
#include "backends/pool/pool.h"
#include "base/log.h"
#include "config/gateway_config.h"
#include "gateway/lane.h"
#include "gateway/metrics.h"
#include "net/http_server.h"

struct counters;
struct decisions;
struct peers;
struct money;
struct projection;
struct receipts;
struct trust;

struct gateway {
    const char *config_file;
    struct config_snapshot *config;
    struct config_snapshot *started; /* kept: what needs a restart points into it */
    struct loop *loop;
    struct offload *offload;
    struct redis *redis;
    struct auth *auth;
    struct pool *pool;
    struct counters *counters;
    struct money *money;
    struct projection *projection;
    struct peers *peers;
    struct decisions *decisions;
    struct receipts *receipts;
    struct trust *trust;
    struct failures public_calls; /* without a key, by address */
    struct http_server *api, *admin;
    struct buf full_answer; /* of api, above its limit of connections */
    struct metrics metrics;
    char instance[128];
    uint8_t cluster_secret[32];
    struct list calls;     /* struct call.link */
    struct lanes lanes;    /* by model: who waits for a worker */
    struct loop_hook wake; /* tries the queue again after capacity changed */
    bool capacity, draining;
    size_t call_count;
    size_t bodies_in_flight; /* bytes of request bodies held by calls */
    uint64_t started_ms, drain_until_ms;
    struct loop_timer drain_timer, watchdog_timer, hold_timer;
};

/* The snapshot's settings at this moment; a call keeps the snapshot it began with. */
static inline const struct gateway_config *gateway_settings(const struct gateway *g)
{
    return g->config->values;
}

/* Opens everything by the configuration; what failed is logged. */
MUST_CHECK int gateway_start(struct gateway *g);
/* Tells the service manager, now and as often as it wants to hear it. */
void gateway_ready(struct gateway *g);
/* SIGHUP: the whole file or nothing. */
void gateway_reload(struct gateway *g);
/* SIGTERM: not ready any more, no new connections; running calls finish or end with an error at the
 * deadline. Then the loop stops. */
void gateway_drain(struct gateway *g);
void gateway_stop(struct gateway *g);

/* Being run without a service manager is fine: there is nobody to tell then. */
static inline void manager_told(int error)
{
    if (error < 0 && error != E_NOT_FOUND)
        log_event(LOG_WARN, "manager_unheard", "error=%s", error_name(error));
}

/* NULL when it would serve now, else what is missing, as a constant. */
const char *gateway_unready(const struct gateway *g);

/* The admin listener: /healthz, /readyz, /metrics, /status, /status.json. */
MUST_CHECK int admin_start(struct gateway *g);

#endif
