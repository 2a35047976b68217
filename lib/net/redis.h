/* Redis client: hiredis' reader and formatter over our own non-blocking socket, one interface for
 * stand-alone now, TLS, Sentinel and Cluster later (the slot key is given with every command).
 * Rules of lost connections: libraries.md §4. */
#ifndef NET_REDIS_H
#define NET_REDIS_H

#include "base/buf.h"
#include "net/loop.h"

struct redis;
struct redisReply;

struct redis_options {
    /* redis://[:password@]127.0.0.1:6379[/db] or unix:[:password@]/path[?db=n]; the password stands
     * as it is, up to the last '@'. Addresses only, no names. */
    char url[256];
    uint64_t command_ms; /* a command without a reply for so long is abandoned: 50 */
    uint64_t dead_ms;    /* no reply at all for so long drops the connection: 500 */
    size_t queue_max;    /* commands in flight; beyond: E_BUSY */
};
extern const struct redis_options redis_defaults;

/* Reading a reply without hiredis' header. */
enum redis_type { REDIS_BULK, REDIS_STATUS, REDIS_FAILURE, REDIS_NUMBER, REDIS_NULL, REDIS_LIST };
enum redis_type redis_reply_type(const struct redisReply *reply);
/* Bytes of a bulk string, status or error; data NULL for any other type. An error's text may quote
 * arguments: log at most its first word. */
struct span redis_reply_text(const struct redisReply *reply);
int64_t redis_reply_number(const struct redisReply *reply); /* 0 when it is no number */
/* Elements of a list: their count (0 when it is none), and the i-th, i < count. */
size_t redis_reply_count(const struct redisReply *reply);
const struct redisReply *redis_reply_at(const struct redisReply *reply, size_t i);

/* Called exactly once for each accepted command, in the loop, never inside redis_command. error 0:
 * reply is valid during the call (an error reply too: check its type). E_TIMEOUT: abandoned,
 * outcome unknown. E_UNAVAILABLE: connection lost, unknown. */
typedef void redis_reply_fn(void *arg, int error, const struct redisReply *reply);
/* up: usable (after AUTH, SELECT, PING and `INFO server`; run_id tells a restarted server), not
 * while it is loading. !up: lost, after the outstanding commands got E_UNAVAILABLE; run_id is NULL.
 */
typedef void redis_state_fn(void *arg, bool up, const char *run_id);
/* A message of a subscribed channel. */
typedef void redis_message_fn(void *arg, struct span channel, struct span payload);

/* Connects at once and for ever (back-off with jitter, 50 ms … 2 s). E_INVALID for a bad URL. */
MUST_CHECK int redis_new(struct redis **out, struct loop *l, const struct redis_options *o,
                         redis_state_fn *state, void *arg);
/* Outstanding commands get E_UNAVAILABLE; state is not called. Allowed in callbacks. */
void redis_free(struct redis *r);
bool redis_up(const struct redis *r);
uint64_t redis_latency_us(const struct redis *r); /* of the last reply */

/* argv as bytes; fn may be NULL. slot_key: the key that decides the slot. E_UNAVAILABLE while down,
 * E_BUSY: fn is not called then. */
MUST_CHECK int redis_command(struct redis *r, struct span slot_key, const struct span *argv,
                             size_t argc, redis_reply_fn *fn, void *arg);
/* The same from a format of plain words and %s (C string), %b (struct span *), %lld: "HSET %s field
 * %b". Words split at spaces. */
MUST_CHECK int redis_commandf(struct redis *r, redis_reply_fn *fn, void *arg, const char *fmt, ...);
/* All subscriptions share a connection of their own, which keeps them over reconnects; messages
 * sent meanwhile are lost. One channel a call. E_INVALID: no channel's name. */
MUST_CHECK int redis_subscribe(struct redis *r, const char *channel, redis_message_fn *fn,
                               void *arg);
/* The subscriptions' connection is up and Redis has confirmed all of them; checked by a PING every
 * dead_ms. */
bool redis_subscribed(const struct redis *r);

#endif
