/* cocoon-worker: sits beside an inference engine, dials gateways, opens sealed requests, runs them,
 * seals the answers. Options, start-up and the way down. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "config/program.h"
#include "net/notify.h"
#include "net/socket.h"
#include "worker/admin.h"
#include "worker/call.h"
#include "worker/describe.h"
#include "worker/gateways.h"
#include "worker/secrecy.h"
#include "worker/watts.h"

enum { SPARE_CONNECTIONS = 8 };

/* ---- Start ---- */

static void on_engine_changed(void *arg)
{
    struct worker *w = arg;

    if (w->keys) /* the keyset names the engine */
        keys_publish(w->keys);
}

static void on_signal(void *arg, int signo)
{
    struct worker *w = arg;

    if (!w->gateways) { /* still starting */
        w->stopping = w->stopping || signo != SIGHUP;
        w->identity.stop = w->stopping;
    } else if (signo == SIGHUP) {
        (void)!worker_reload(w);
    } else {
        worker_stop(w);
    }
}

static int start_engine(struct worker *w)
{
    const struct worker_config *c = worker_config(w);
    const struct engine_options options = {
        .url = c->engine_url,
        .kind = c->engine_kind,
        .silent_ms = (uint64_t)c->engine_silent_ms,
        .connections = (unsigned)c->max_requests + SPARE_CONNECTIONS,
        .offload = w->offload,
    };

    return engine_new(&w->engine, w->loop, &options, on_engine_changed, w);
}

static int start_keys(struct worker *w)
{
    uint8_t spki[TLS_SPKI_LEN];

    TRY(tls_client_new(&w->tls));
    tls_client_spki(w->tls, spki);
    return keys_new(&w->keys, w->loop, spki, (uint64_t)worker_config(w)->keyset_s, describe_keyset,
                    w);
}

static int start_signals(struct worker *w)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};

    return loop_signals(w->loop, signals, sizeof(signals) / sizeof(signals[0]), on_signal, w);
}

struct part {
    const char *name;
    int (*start)(struct worker *w);
};

static int start_loop(struct worker *w)
{
    TRY(loop_new(&w->loop));
    TRY(start_signals(w)); /* before threads: they inherit the mask */
    return offload_new(&w->offload, w->loop, (unsigned)worker_config(w)->offload_threads);
}

static int start_identity(struct worker *w)
{
    return identity_read(&w->identity, worker_config(w), w->loop, w->offload);
}

static int start_evidence(struct worker *w)
{
    const struct evidence_options options = {
        .source = w->identity.source,
        .gpus = w->identity.gpus,
        .collateral_file = worker_config(w)->collateral_file,
        .event_log_file = worker_config(w)->event_log_file,
    };

    return evidence_new(&w->evidence, w->loop, w->offload, &options);
}

static int start_usage(struct worker *w)
{
    return usage_open(&w->usage, w->loop, w->offload, worker_config(w)->usage_file);
}

static int start_limits(struct worker *w)
{
    TRY(settings_from_config(&w->settings, worker_config(w)));
    w->watts = watts_new(w->loop, w->offload, worker_config(w)->watts_command);
    watts_ceiling(w->watts, w->settings.max_watts);
    return 0;
}

static int start_admin(struct worker *w)
{
    return admin_new(&w->admin, w, worker_config(w)->admin);
}

static int start_gateways(struct worker *w)
{
    return gateways_new(&w->gateways, w);
}

static const struct part parts[] = {
    {"loop", start_loop},     {"identity", start_identity}, {"evidence", start_evidence},
    {"limits", start_limits}, {"usage_file", start_usage},  {"engine", start_engine},
    {"keys", start_keys},     {"gateways", start_gateways}, {"admin", start_admin},
};

static int start(struct worker *w)
{
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const int error = w->stopping ? E_CLOSED : parts[i].start(w);
        if (error == E_CLOSED && w->stopping)
            return error;
        if (error < 0) {
            log_event(LOG_ERROR, "start", "part=%s error=%s", parts[i].name, error_why(error));
            return error;
        }
    }
    return 0;
}

/* ---- The way down (libraries.md §6), each part as far as it was made ---- */

static void finish(struct worker *w)
{
    if (w->loop) /* a reload would dial, and ask an engine that is gone */
        loop_signals_end(w->loop);
    if (w->gateways)
        gateways_close(w->gateways);
    if (w->loop) /* the calls that were left end in this turn */
        loop_turn(w->loop, 0);
    admin_free(w->admin);
    if (w->watts)
        watts_stop(w->watts);
    if (w->usage)
        usage_stop(w->usage);
    if (w->offload)
        offload_stop(w->offload); /* what ends behind it may still ask, and is refused */
    engine_free(w->engine);
    keys_free(w->keys); /* a new keyset would name the engine */
    if (w->loop)
        loop_turn(w->loop, 0);
    evidence_free(w->evidence);
    identity_fini(&w->identity);
    usage_close(w->usage);
    watts_free(w->watts);
    gateways_free(w->gateways);
    offload_free(w->offload);
    watchdog_end(&w->watchdog);
    if (w->loop) {
        loop_timer_cancel(w->loop, &w->stop_timer);
        loop_free(w->loop);
    }
    tls_ctx_free(w->tls);
    config_unref(w->config);
}

static int run(struct worker *w)
{
    if (start(w) < 0) {
        finish(w);
        return w->stopping ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    log_event(LOG_INFO, "started", "version=%s commit=%s worker_id=%s attestation=%s files=%llu",
              cocoon_version, cocoon_commit, worker_config(w)->worker_id, worker_env(w),
              (unsigned long long)net_raise_nofile());
    if (strcmp(worker_env(w), "production") != 0)
        log_event(LOG_WARN, "attestation", "env=%s production=no", worker_env(w));
    watchdog_begin(&w->watchdog, w->loop);
    notify_tell("READY=1");
    loop_run(w->loop);
    finish(w);
    log_event(LOG_INFO, "stopped", "clean=yes");
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static const struct program program = {
        .usage = PROGRAM_OPTIONS(
            "cocoon-worker",
            "SIGHUP reads the settings again, SIGTERM finishes what runs and leaves."),
        .example = "config/worker.example.yaml",
        .settings = &worker_config_table,
    };
    struct worker w = {.started_ms = clock_mono_ms()};

    list_init(&w.calls);
    const int status = program_begin(&program, argc, argv, &w.config, &w.config_file);
    if (status >= 0)
        return status;
    log_init("worker", log_level_of(worker_config(&w)->log_level));
    secrecy_begin();
    return run(&w);
}
