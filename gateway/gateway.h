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
#include "net/listener.h"
#include "net/notify.h"

struct bots;
struct counters;
struct upgrade;
struct decisions;
struct internal;
struct peers;
struct money;
struct projection;
struct receipts;
struct services;
struct tracing;
struct trust;
struct usual;

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
    struct archive_job *archiving; /* evidence on its way to the disk */
    struct peers *peers;
    struct decisions *decisions;
    struct receipts *receipts;
    struct usual *usual; /* what answers usually cost, by model */
    struct trust *trust;
    struct bots *bots;
    struct services *services;
    struct tracing *tracing;
    struct internal *internal;    /* who may call on the internal listener */
    struct failures public_calls; /* without a key, by address */
    struct http_server *api, *admin;
    struct http_server *internal_unix, *internal_tls; /* NULL: there is none */
    struct buf full_answer;                           /* of api, above its limit of connections */
    struct metrics metrics;
    char instance[128];
    uint8_t cluster_secret[32];
    struct net_inherited given; /* sockets of a service manager or a predecessor */
    char **argv;                /* as this process was started */
    struct upgrade *upgrade;
    pid_t predecessor;     /* 0: none */
    bool succeeded;        /* draining, and another process of this instance's name serves */
    struct list calls;     /* struct call.link */
    struct lanes lanes;    /* by model: who waits for a worker */
    struct loop_hook wake; /* tries the queue again after capacity changed */
    bool capacity, trying, draining; /* trying: not all who wait were tried yet */
    bool held; /* clients wait in the sockets until this process could serve */
    size_t call_count;
    size_t bodies_in_flight; /* bytes of request bodies held by calls */
    uint64_t started_ms, drain_until_ms, quiet_ms;
    struct histogram loop_lag;
    uint64_t lag_due_us;
    struct loop_timer drain_timer, hold_timer, lag_timer;
    struct watchdog watchdog;
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
/* drain.c. SIGTERM: not ready any more, no new connections; running calls, and those that still
 * come on connections that are there, finish or end with an error at the deadline. Then the loop
 * stops. successor: another process of this instance serves on, with the same sockets. */
void gateway_drain(struct gateway *g, bool successor);
/* upgrade.c. SIGUSR2: the program is started anew, as it now is on the disk, and takes the
 * listening sockets over; nobody is refused meanwhile. This process goes on alone when that fails.
 */
void gateway_upgrade(struct gateway *g);
/* In a process that was started so: tells the predecessor once this one could serve. */
void upgrade_begin(struct gateway *g);
/* It is never to be waited for any more: SIGTERM, or the end. */
void upgrade_end(struct gateway *g);
/* Sockets come from a predecessor, who serves until we do. */
bool upgrade_has_predecessor(const struct gateway *g);
/* The process that this one took over from still finishes its calls, as the same instance. */
bool upgrade_predecessor_lives(const struct gateway *g);
/* The i-th socket that was given for `role`: "api", "internal", "internal-tls", "tunnel", "admin",
 * "predecessor"; -1: there is none. Whatever has another name is the API's, as systemd names it by
 * its unit. */
int gateway_given(const struct gateway *g, const char *role, int i);
/* Listens on the sockets that were given for the role, or on one of our own; where clients must
 * wait until this process could serve, until gateway_takeover. */
MUST_CHECK int gateway_listen(struct gateway *g, struct http_server *s, const char *role,
                              const struct net_addr *at);
/* Takes clients and admin's callers, who waited, or whom the predecessor served until now. */
void gateway_takeover(struct gateway *g);
void gateway_stop(struct gateway *g);

/* lag.c. Looks each second how late the loop is. */
void lag_start(struct gateway *g);
void lag_stop(struct gateway *g);

/* NULL when it would serve now, else what is missing, as a constant. */
const char *gateway_unready(const struct gateway *g);

/* The admin listener: /healthz, /readyz, /metrics, /status, /status.json. */
MUST_CHECK int admin_start(struct gateway *g);

#endif
