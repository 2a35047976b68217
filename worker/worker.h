/* cocoon-worker's parts, and what they all know: one object, made in main, passed everywhere. */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "backends/engine/engine.h"
#include "config/worker_config.h"
#include "net/notify.h"
#include "net/offload.h"
#include "net/tls.h"
#include "receipt/usage_record.h"
#include "worker/identity.h"
#include "worker/keys.h"
#include "worker/settings.h"
#include "worker/usage.h"

struct gateways; /* gateways.h */
struct watts;    /* watts.h */
struct admin;    /* admin.h */

struct worker_counters {
    uint64_t calls[USAGE_REJECTED + 1]; /* ended, by outcome */
    uint64_t busy, closed,
        price; /* refused on the header block: at the limit, taking nothing, below the ask */
    uint64_t bad_key, bad_message, replay;
    uint64_t tokens_in, tokens_cached, tokens_out;
    uint64_t events; /* chunks of answers */
    uint64_t acknowledged;
    int64_t earned_nano; /* sum of `pay` */
};

struct worker {
    struct loop *loop;
    struct offload *offload;
    struct tls_ctx *tls;
    const char *config_file;
    struct config_snapshot *config;
    struct settings settings; /* the configuration's, until the owner changes them */
    struct engine *engine;
    struct identity identity;
    struct evidence *evidence;
    struct keys *keys;
    struct usage_store *usage;
    struct gateways *gateways;
    struct watts *watts;
    struct admin *admin;

    struct list calls; /* struct call */
    unsigned slots;    /* of the engine, taken by calls */
    bool drained;      /* the owner wants nothing new */
    bool stopping;     /* SIGTERM: the same, and then the end */
    struct loop_timer stop_timer;
    struct watchdog watchdog;
    uint64_t stop_deadline_ms;
    struct worker_counters counters;
    uint64_t started_ms;
};

static inline const struct worker_config *worker_config(const struct worker *w)
{
    return w->config->values;
}

/* "production", "insecure-dev" or "unattested": what usage records and the worker's own view say.
 */
const char *worker_env(const struct worker *w);
/* The slots in use, those the engine has not given back yet among them. */
unsigned worker_running(const struct worker *w);
/* Why nothing new is taken: drain, hours, watts, exposure, engine; NULL while it is. */
const char *worker_reason(const struct worker *w);
/* Reads the configuration file again: all or nothing (SIGHUP). */
MUST_CHECK int worker_reload(struct worker *w);
/* Takes nothing new, finishes what runs, then leaves (SIGTERM). */
void worker_stop(struct worker *w);

#endif
