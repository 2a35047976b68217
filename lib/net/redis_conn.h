/* One connection to one Redis server, below net/redis.h: commands and replies in order, deadlines,
 * loss. Only for lib/net; TLS, Sentinel and Cluster make several of these. */
#ifndef NET_REDIS_CONN_H
#define NET_REDIS_CONN_H

#include "net/redis.h"
#include "net/socket.h"

/* ---- Replies as hiredis reads them, bounded ---- */

struct redis_reader;

struct redis_reader *redis_reader_new(void);
void redis_reader_free(struct redis_reader *rd);
AUTO_FREE(struct redis_reader, redis_reader_free)
/* Adds bytes from the server. E_TOO_LARGE when one reply grows beyond 64 MiB. */
MUST_CHECK int redis_reader_feed(struct redis_reader *rd, struct span bytes);
/* The next whole reply, to be released with redis_reply_free. E_AGAIN: more bytes are needed;
 * E_PROTOCOL: what came is no reply. */
MUST_CHECK int redis_reader_next(struct redis_reader *rd, struct redisReply **out);
void redis_reply_free(struct redisReply *reply);
AUTO_FREE(struct redisReply, redis_reply_free)

enum { REDIS_RUN_ID_LEN = 40 };
/* The run_id of an answer to `INFO server`. E_PROTOCOL when there is none. */
MUST_CHECK int redis_info_run_id(struct span info, char out[static REDIS_RUN_ID_LEN + 1]);

/* ---- The connection ---- */

struct redis_conn;

struct redis_conn_events {
    /* A list without a command of ours (pub/sub). NULL: lists answer commands like any other reply.
     */
    void (*push)(void *arg, const struct redisReply *reply);
    /* Lost, after every outstanding command got its E_UNAVAILABLE. The last call. */
    void (*closed)(void *arg, int error);
};

/* Starts to connect; commands may be given at once. dead_ms: see redis_options; it bounds
 * connecting as well, once a command waits. */
MUST_CHECK int redis_conn_open(struct redis_conn **out, struct loop *l, const struct net_addr *to,
                               uint64_t dead_ms, const struct redis_conn_events *ev, void *arg);
/* Outstanding commands get E_UNAVAILABLE before it returns; `closed` is not called. Allowed in
 * callbacks. */
void redis_conn_close(struct redis_conn *c);
/* False from the moment the connection is lost, also while its commands are being failed. */
bool redis_conn_alive(const struct redis_conn *c);
/* Commands given from now on are abandoned after so long; 0 (at first): never. */
void redis_conn_set_command_ms(struct redis_conn *c, uint64_t command_ms);
/* fn as in redis_reply_fn. E_BUSY when too many bytes wait to be sent. */
MUST_CHECK int redis_conn_command(struct redis_conn *c, const struct span *argv, size_t argc,
                                  redis_reply_fn *fn, void *arg);
/* Sends without expecting a reply in order (pub/sub). */
void redis_conn_send(struct redis_conn *c, const struct span *argv, size_t argc);
/* Commands without a reply, abandoned ones too. */
size_t redis_conn_pending(const struct redis_conn *c);
uint64_t redis_conn_latency_us(const struct redis_conn *c);
/* Replies and pushes received so far. */
uint64_t redis_conn_heard(const struct redis_conn *c);

#endif
