/* Lines: one back-off, one way to sign in, whatever the connection is for. */
#include "net/redis_line.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "base/random.h"

enum { BACKOFF_MIN_MS = 50, BACKOFF_MAX_MS = 2000 };

/* A look-up cannot be cancelled: it outlives a line that has stopped. */
struct redis_lookup {
    struct redis_line *line;   /* NULL: nobody waits */
    struct redis_setup *setup; /* NULL: the client is gone */
    char host[REDIS_PLACE_LEN];
};

/* ---- Back-off ---- */

static void connect_now(void *arg);

/* Half of the wait is random, so that many gateways don't come back in step. */
static void try_later(struct redis_line *line)
{
    const uint64_t half = line->backoff_ms / 2;

    loop_timer_set(line->setup->loop, &line->retry, half + random_below(half + 1), connect_now,
                   line);
    line->backoff_ms =
        2 * line->backoff_ms < line->backoff_max_ms ? 2 * line->backoff_ms : line->backoff_max_ms;
}

void redis_line_calm(struct redis_line *line)
{
    line->backoff_ms = BACKOFF_MIN_MS;
    line->tries = 0;
}

static void lost(struct redis_line *line, int error)
{
    line->conn = NULL;
    try_later(line);
    line->ev->lost(line->arg, error);
}

static void closed(void *arg, int error)
{
    struct redis_line *line = arg;

    if (error == E_AUTH)
        log_event(LOG_WARN, "redis_refused", "step=certificate");
    lost(line, error);
}

static void push(void *arg, const struct redisReply *reply)
{
    struct redis_line *line = arg;

    line->ev->push(line->arg, reply);
}

/* ---- Signing in ---- */

int redis_login_read(struct redis_login *login)
{
    AUTO(buf_wipe) struct buf text = {0};

    if (!login->file || !*login->file)
        return 0;
    TRY(file_read_secret_line(login->file, sizeof(login->password), &text));
    return span_cstr(buf_span(&text), login->password, sizeof(login->password)) < 0 ? E_TOO_LARGE
                                                                                    : 0;
}

void redis_line_refuse(struct redis_line *line, const char *step)
{
    struct redis_conn *conn = line->conn;

    if (!conn)
        return; /* being stopped, or lost already */
    log_event(LOG_WARN, "redis_refused", "step=%s", step);
    line->conn = NULL;
    redis_conn_close(conn);
    if (line->running && !line->conn)
        lost(line, E_DENIED);
}

/* The password may have been changed in its file meanwhile. */
static void got_auth(void *arg, int error, const struct redisReply *reply)
{
    struct redis_line *line = arg;

    if (error < 0 || redis_reply_type(reply) == REDIS_STATUS)
        return;
    if (redis_login_read(line->login) < 0)
        log_event(LOG_WARN, "redis_password_file_unusable", "step=auth");
    redis_line_refuse(line, "auth");
}

static void sign_in(struct redis_line *line)
{
    const struct redis_login *login = line->login;
    const bool user = login->user[0];
    const struct span argv[] = {SPAN("AUTH"), span_str(login->user), span_str(login->password)};
    const struct span old[] = {argv[0], argv[2]}; /* before Redis 6 there are no users */

    if (user || login->password[0]) {
        /* A fresh connection has room for these few bytes. */
        CHECK(redis_conn_command(line->conn, user ? argv : old, user ? 3 : 2, got_auth, line) == 0);
    }
    line->ev->sign_in(line->arg);
}

void redis_line_ask(struct redis_line *line, const char *word, const char *argument,
                    redis_reply_fn *fn)
{
    const struct span argv[] = {span_str(word), span_str(argument)};

    CHECK(redis_conn_command(line->conn, argv, argument ? 2 : 1, fn, line->arg) == 0);
}

/* ---- Connecting ---- */

/* What stands before the port, without brackets; of a UNIX socket nothing. */
static void host_of(const char *place, char out[static REDIS_PLACE_LEN])
{
    struct span host = span_str(place);

    out[0] = 0;
    if (span_starts(host, SPAN("unix:")) || !strrchr(place, ':'))
        return;
    host.len = (size_t)(strrchr(place, ':') - place);
    if (span_starts(host, SPAN("[")))
        host = span_cut(host, 1, host.len - 2);
    if (span_cstr(host, out, REDIS_PLACE_LEN) < 0)
        out[0] = 0;
}

static void connect_to(struct redis_line *line, const struct net_addr *addr, const char *host)
{
    const struct redis_setup *s = line->setup;
    const struct redis_conn_options o = {
        .dead_ms = s->dead_ms, .tls = s->tls, .host = *s->tls_name ? s->tls_name : host};
    const struct redis_conn_events ev = {.push = line->ev->push ? push : NULL, .closed = closed};
    const int error = redis_conn_open(&line->conn, s->loop, addr, &o, &ev, line);

    line->tries++;
    if (error == 0) {
        sign_in(line);
        return;
    }
    line->conn = NULL;
    lost(line, error);
}

static void looked_up(void *arg, int error, const struct net_addr *addr)
{
    struct redis_lookup *lookup = arg;
    struct redis_line *line = lookup->line;

    if (lookup->setup)
        lookup->setup->lookup = NULL;
    if (line) {
        line->lookup = NULL;
        if (error < 0) {
            log_event(line->tries++ ? LOG_DEBUG : LOG_WARN, "redis_name_unknown", "error=%s",
                      error_name(error));
            lost(line, error);
        } else {
            connect_to(line, addr, lookup->host);
        }
    }
    free(lookup);
}

static void look_up(struct redis_line *line, const char *place)
{
    struct redis_setup *setup = line->setup;
    int error = E_UNSUPPORTED;

    if (setup->lookup) {
        try_later(line);
        return;
    }
    struct redis_lookup *lookup = mem_zero(sizeof(*lookup));
    lookup->line = line;
    lookup->setup = setup;
    host_of(place, lookup->host);
    if (setup->offload)
        error = net_resolve_nth(setup->offload, place, line->tries, looked_up, lookup);
    if (error == 0) {
        line->lookup = setup->lookup = lookup;
        return;
    }
    free(lookup);
    lost(line, error);
}

static void connect_now(void *arg)
{
    struct redis_line *line = arg;
    const char *place = line->ev->place(line->arg);
    char host[REDIS_PLACE_LEN];
    struct net_addr addr;

    if (!place) {
        try_later(line);
        return;
    }
    const int error = net_addr_parse(&addr, place);
    host_of(place, host);
    if (error == 0)
        connect_to(line, &addr, host);
    else
        look_up(line, place);
}

/* ---- Life ---- */

void redis_setup_close(struct redis_setup *setup)
{
    setup->closed = true;
    if (setup->lookup)
        setup->lookup->setup = NULL;
    setup->lookup = NULL;
}

void redis_line_init(struct redis_line *line, struct redis_setup *setup, struct redis_login *login,
                     const struct redis_line_events *ev, void *arg)
{
    *line = (struct redis_line){.setup = setup,
                                .login = login,
                                .ev = ev,
                                .arg = arg,
                                .backoff_ms = BACKOFF_MIN_MS,
                                .backoff_max_ms = BACKOFF_MAX_MS};
}

void redis_line_stop(struct redis_line *line)
{
    struct redis_conn *conn = line->conn;

    line->running = false;
    line->conn = NULL;
    if (line->lookup)
        line->lookup->line = NULL;
    line->lookup = NULL;
    if (line->setup)
        loop_timer_cancel(line->setup->loop, &line->retry);
    redis_conn_close(conn);
}

void redis_line_start(struct redis_line *line)
{
    redis_line_stop(line);
    if (line->setup->closed || line->running)
        return; /* who was told of the loss has freed the client, or started the line already */
    line->running = true;
    connect_now(line);
}
