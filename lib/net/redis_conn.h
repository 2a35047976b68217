/* One connection to one Redis server, below net/redis.h: commands and replies in order, TLS, loss.
 * Only for lib/net; a client of a Cluster has several of these. */
#ifndef NET_REDIS_CONN_H
#define NET_REDIS_CONN_H

#include "net/redis.h"
#include "net/redis_tls.h"
#include "net/addr.h"

struct redis_conn;

struct redis_conn_events {
    /* A list without a command of ours (pub/sub). NULL: lists answer commands like any other reply.
     */
    void (*push)(void *arg, const struct redisReply *reply);
    /* Lost, after every outstanding command got its E_UNAVAILABLE. The last call. */
    void (*closed)(void *arg, int error);
};

struct redis_conn_options {
    /* No reply at all for so long drops the connection: E_TIMEOUT. It bounds connecting as well,
     * once a command waits. */
    uint64_t dead_ms;
    const struct redis_tls *tls; /* NULL: none */
    const char *host;            /* that the server's certificate must carry */
};

/* Starts to connect; commands may be given at once. */
MUST_CHECK int redis_conn_open(struct redis_conn **out, struct loop *l, const struct net_addr *to,
                               const struct redis_conn_options *o,
                               const struct redis_conn_events *ev, void *arg);
/* Outstanding commands get E_UNAVAILABLE before it returns; `closed` is not called. Allowed in
 * callbacks. */
void redis_conn_close(struct redis_conn *c);
/* False from the moment the connection is lost, also while its commands are being failed. */
bool redis_conn_alive(const struct redis_conn *c);
/* Appends argv as Redis reads it: words without the count that stands before them. */
void redis_words_append(struct buf *out, const struct span *argv, size_t argc);
/* fn as in redis_reply_fn, but no deadline of its own. E_BUSY when too many bytes wait. */
MUST_CHECK int redis_conn_command(struct redis_conn *c, const struct span *argv, size_t argc,
                                  redis_reply_fn *fn, void *arg);
/* The same for a command of which `head` is given as words, and `rest_argc` more as bytes of
 * redis_words_append. */
MUST_CHECK int redis_conn_words(struct redis_conn *c, const struct span *head, size_t head_argc,
                                struct span rest, size_t rest_argc, redis_reply_fn *fn, void *arg);
/* Sends without expecting a reply in order (pub/sub). */
void redis_conn_send(struct redis_conn *c, const struct span *argv, size_t argc);
/* Commands without a reply. */
size_t redis_conn_pending(const struct redis_conn *c);
/* Replies and pushes received so far. */
uint64_t redis_conn_heard(const struct redis_conn *c);

#endif
