/* cocoon-ledger: the system of record of accounts, keys, prices and bills, with the operator's
 * admin API. Options, start-up and the way down. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/process.h"
#include "base/version.h"
#include "config/program.h"
#include "ledger/admin.h"
#include "ledger/intake.h"
#include "ledger/keyring.h"
#include "ledger/projection.h"
#include "ledger/recovery.h"
#include "ledger/redis_verify.h"
#include "ledger/watch.h"
#include "ledger/webhooks.h"
#include "net/notify.h"
#include "net/socket.h"

enum { HOUSE_MS = 10000, COMMAND_MS = 2000, DEAD_MS = 5000 };

/* ---- Start ---- */

static void on_signal(void *arg, int signo)
{
    struct ledger *l = arg;

    if (signo != SIGHUP)
        loop_stop(l->loop);
    else if (l->admin)
        admin_reload(l->admin);
}

/* Closes the days that are over. */
static void on_housekeeping(void *arg)
{
    struct ledger *l = arg;
    size_t closed = 0;

    loop_timer_set(l->loop, &l->housekeeping, HOUSE_MS, on_housekeeping, l);
    int error = books_begin(l->books);
    if (error == 0)
        error = books_end(l->books, bill_days_close(l->books, &closed));
    if (closed > 0)
        log_event(LOG_INFO, "day_closed", "days=%zu", closed);
    if (error < 0)
        log_event(LOG_ERROR, "housekeeping", "error=%s", error_name(error));
}

static void on_redis(void *arg, bool up, const char *run_id)
{
    (void)arg, (void)run_id;
    log_event(up ? LOG_INFO : LOG_WARN, "redis", "up=%s", up ? "yes" : "no");
}

static int start_loop(struct ledger *l)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP};

    TRY(loop_new(&l->loop));
    /* before threads: they inherit the mask */
    TRY(loop_signals(l->loop, signals, sizeof(signals) / sizeof(signals[0]), on_signal, l));
    return offload_new(&l->offload, l->loop, 2);
}

static int start_books(struct ledger *l)
{
    AUTO(buf_fini) struct buf why = {0};
    const int error = books_open(&l->books, ledger_settings(l)->books, true, &why);

    if (error < 0)
        fprintf(stderr, "cocoon-ledger: %s\n", buf_cstr(&why));
    return error;
}

static int start_redis(struct ledger *l)
{
    const struct redis_options o = {.at = ledger_settings(l)->redis,
                                    .offload = l->offload,
                                    .command_ms = COMMAND_MS,
                                    .dead_ms = DEAD_MS,
                                    .queue_max = 100000};

    return redis_new(&l->redis, l->loop, &o, on_redis, l);
}

static int start_http(struct ledger *l)
{
    const struct http_client_options o = {.connect_ms = 5000,
                                          .public_only = !ledger_settings(l)->hooks_insecure};

    return http_client_new(&l->http, l->loop, &o);
}

static int start_projection(struct ledger *l)
{
    return projection_new(&l->projection, l);
}

static int start_keyring(struct ledger *l)
{
    return keyring_new(&l->keyring, l);
}

static int start_intake(struct ledger *l)
{
    return intake_new(&l->intake, l);
}

static int start_recovery(struct ledger *l)
{
    return recovery_new(&l->recovery, l);
}

static int start_webhooks(struct ledger *l)
{
    return webhooks_new(&l->webhooks, l);
}

static int start_watch(struct ledger *l)
{
    return watch_new(&l->watch, l);
}

static int start_admin(struct ledger *l)
{
    return admin_new(&l->admin, l);
}

static const struct part {
    const char *name;
    int (*start)(struct ledger *l);
} parts[] = {
    {"loop", start_loop},     {"books", start_books},           {"redis", start_redis},
    {"http", start_http},     {"projection", start_projection}, {"keyring", start_keyring},
    {"intake", start_intake}, {"recovery", start_recovery},     {"webhooks", start_webhooks},
    {"watch", start_watch},   {"admin", start_admin},
};

static int start(struct ledger *l)
{
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const int error = parts[i].start(l);
        if (error < 0) {
            log_event(LOG_ERROR, "start", "part=%s error=%s", parts[i].name, error_why(error));
            return error;
        }
    }
    return 0;
}

/* ---- The way down: who waits is told, Redis ends, then what its answers may still name ---- */

static void finish(struct ledger *l)
{
    l->stopping = true;
    webhooks_free(l->webhooks);
    if (l->recovery)
        recovery_stop(l->recovery);
    if (l->intake)
        intake_stop(l->intake);
    if (l->keyring)
        keyring_stop(l->keyring);
    redis_verify_stop(l);
    if (l->watch)
        watch_stop(l->watch);
    if (l->projection)
        projection_stop(l->projection);
    if (l->offload)
        offload_stop(l->offload); /* a verification that runs is answered */
    if (l->redis)
        redis_free(l->redis);
    if (l->loop)
        loop_turn(l->loop, 0);
    admin_free(l->admin);
    recovery_free(l->recovery);
    intake_free(l->intake);
    watch_free(l->watch);
    projection_free(l->projection);
    http_client_free(l->http);
    offload_free(l->offload);
    keyring_free(l->keyring);
    books_close(l->books);
    watchdog_end(&l->watchdog);
    if (l->loop) {
        loop_timer_cancel(l->loop, &l->housekeeping);
        loop_free(l->loop);
    }
    config_unref(l->config);
}

static int run(struct ledger *l)
{
    if (start(l) < 0) {
        finish(l);
        return EXIT_FAILURE;
    }
    log_event(LOG_INFO, "started", "version=%s commit=%s books=%s files=%llu", cocoon_version,
              cocoon_commit, db_is_postgres(l->books->db) ? "postgresql" : "sqlite",
              (unsigned long long)net_raise_nofile());
    on_housekeeping(l);
    watchdog_begin(&l->watchdog, l->loop);
    notify_tell("READY=1");
    loop_run(l->loop);
    finish(l);
    log_event(LOG_INFO, "stopped", "clean=yes");
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static const struct program program = {
        .usage = PROGRAM_OPTIONS(
            "cocoon-ledger",
            "SIGTERM ends it; whatever it was at is done again after the next start. SIGHUP reads\n"
            "the files of admin_tls anew, all or none."),
        .example = "config/ledger.example.yaml",
        .settings = &ledger_config_table,
    };
    struct ledger l = {.started_ms = clock_mono_ms()};
    const int status = program_begin(&program, argc, argv, &l.config, &l.config_file);

    if (status >= 0)
        return status;
    log_init("ledger", log_level_of(ledger_settings(&l)->log_level));
    process_guard();
    return run(&l);
}
