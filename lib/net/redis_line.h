/* A connection to Redis that comes back: looks a name up, connects, says who we are, waits longer
 * after each failure. Only for lib/net: nodes, subscriptions and Sentinels have one each. */
#ifndef NET_REDIS_LINE_H
#define NET_REDIS_LINE_H

#include "base/redis_url.h"
#include "net/redis_conn.h"

/* Who we are for a kind of server. */
struct redis_login {
    char user[REDIS_LOGIN_LEN], password[REDIS_LOGIN_LEN]; /* "": none */
    char *file; /* read again once the server has refused us; "": the password above stays */
};

/* What all lines of a client share. */
struct redis_setup {
    struct loop *loop;
    struct offload *offload; /* NULL: addresses only */
    struct redis_tls *tls;   /* NULL: none */
    char *tls_name;          /* that certificates must carry; "": the host of the place */
    struct redis_login server, sentinel;
    uint64_t dead_ms;
    /* One name at a time: a resolver that hangs holds one thread of the pool. */
    struct redis_lookup *lookup;
    bool closed; /* the client is being freed: nothing starts any more */
};

struct redis_line;

struct redis_line_events {
    /* Where to connect to now; NULL: nowhere yet, tried again after the back-off. */
    const char *(*place)(void *arg);
    /* The connection is begun and AUTH queued: queue what else comes first. */
    void (*sign_in)(void *arg);
    void (*push)(void *arg, const struct redisReply *reply); /* as in redis_conn_events */
    /* Lost, refused, or not to be had, after outstanding commands got E_UNAVAILABLE. The line tries
     * again by itself; stopping it here is allowed. */
    void (*lost)(void *arg, int error);
};

/* Embedded by the owner, whose `arg` the events get. */
struct redis_line {
    struct redis_setup *setup;
    struct redis_login *login;
    const struct redis_line_events *ev;
    void *arg;
    struct redis_conn *conn; /* NULL while down */
    struct redis_lookup *lookup;
    struct loop_timer retry;
    uint64_t backoff_ms, backoff_max_ms;
    unsigned tries; /* since it was good */
    bool running;
};

void redis_line_init(struct redis_line *line, struct redis_setup *setup, struct redis_login *login,
                     const struct redis_line_events *ev, void *arg);
/* Connects now, dropping what there is; keeps trying from now on. */
void redis_line_start(struct redis_line *line);
/* Outstanding commands get E_UNAVAILABLE; `lost` is not called. */
void redis_line_stop(struct redis_line *line);
/* What the server said makes the connection useless; trying again later may help. step is one
 * word. */
void redis_line_refuse(struct redis_line *line, const char *step);
/* All is well: the next loss is the first again. */
void redis_line_calm(struct redis_line *line);
/* A command of one or two words of ours on a connection that has just begun; argument may be NULL;
 * fn gets the line's `arg`. */
void redis_line_ask(struct redis_line *line, const char *word, const char *argument,
                    redis_reply_fn *fn);

/* Before the setup is freed: nothing starts any more. */
void redis_setup_close(struct redis_setup *setup);

/* Reads the password's file; no file is no error. Errors of file_read_secret; E_TOO_LARGE. */
MUST_CHECK int redis_login_read(struct redis_login *login);

#endif
