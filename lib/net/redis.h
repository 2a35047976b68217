/* Redis client: hiredis' reader over our own non-blocking sockets, one interface for a stand-alone
 * server, Sentinel and Cluster, with and without TLS. The slot key is given with every command; all
 * keys of a command or script are in that slot. Rules of lost connections: libraries.md §4. */
#ifndef NET_REDIS_H
#define NET_REDIS_H

#include "base/buf.h"
#include "base/redis_url.h"
#include "net/loop.h"
#include "net/offload.h"

struct redis;
struct redisReply;

enum { REDIS_RUN_ID_LEN = 40, REDIS_SLOTS = 16384 };

struct redis_options {
    struct redis_access at;  /* texts are copied */
    struct offload *offload; /* looks names up; NULL: addresses only */
    uint64_t command_ms;     /* a command without a reply for so long is abandoned: 50 */
    uint64_t dead_ms;        /* no reply at all for so long drops the connection: 500 */
    size_t queue_max;        /* commands in flight to one server; beyond: E_BUSY */
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
/* The id of a stream's entry, [id, fields], as XREAD answers it; data NULL: it is none. */
struct span redis_entry_id(const struct redisReply *entry);

/* Called exactly once for each accepted command, in the loop, never inside redis_command. error 0:
 * reply is valid during the call (an error reply too: check its type). E_TIMEOUT: abandoned,
 * outcome unknown. E_UNAVAILABLE: the connection was lost, outcome unknown; or the server cannot
 * take commands (it is loading, a replica, or the Cluster has nobody for the slot), and nothing
 * happened. */
typedef void redis_reply_fn(void *arg, int error, const struct redisReply *reply);
/* up: a primary has become usable; run_id tells a restarted or another server. In a Cluster it is
 * told for each primary. !up: the last one that was usable is lost, after the outstanding commands
 * got E_UNAVAILABLE; run_id is NULL. */
typedef void redis_state_fn(void *arg, bool up, const char *run_id);
/* A message of a subscribed channel. */
typedef void redis_message_fn(void *arg, struct span channel, struct span payload);

/* Connects at once and for ever (back-off with jitter, 50 ms … 2 s). E_INVALID for a bad URL, login
 * or unusable TLS files, or a name without `offload`; errors of file_read_secret. */
MUST_CHECK int redis_new(struct redis **out, struct loop *l, const struct redis_options *o,
                         redis_state_fn *state, void *arg);
/* Outstanding commands get E_UNAVAILABLE; state is not called. Allowed in callbacks. */
void redis_free(struct redis *r);
/* Some primary would take a command now: it is connected and no breaker is open (after 5 commands
 * in a row without a reply in time, until a PING comes back in time). */
bool redis_up(const struct redis *r);
/* The same of the primary that has this key: its run_id, or NULL. */
const char *redis_run_id(const struct redis *r, struct span slot_key);
/* Every slot has a primary that is connected. */
bool redis_whole(const struct redis *r);
/* The run_ids of all primaries; 0 while some slot has none that is usable, or there are more than
 * max. */
size_t redis_run_ids(const struct redis *r, char ids[][REDIS_RUN_ID_LEN + 1], size_t max);
bool redis_is_cluster(const struct redis *r);
/* The slot of a key: CRC-16/XMODEM of the part between the first '{' and the next '}', if that is
 * not empty, else of all (Redis Cluster specification, "Hash tags"). */
uint16_t redis_slot(struct span key);
/* A short tag of that slot; only of a Cluster. */
enum { REDIS_TAG_LEN = 8 };
void redis_slot_tag(const struct redis *r, uint16_t slot, char out[static REDIS_TAG_LEN]);
/* Commands that have no reply yet, abandoned ones too. */
size_t redis_in_flight(const struct redis *r);

/* argv as bytes; fn may be NULL. slot_key: the key that decides the slot. E_UNAVAILABLE while its
 * server is down, E_BUSY: fn is not called then. In a Cluster, redirects are followed within the
 * deadline. */
MUST_CHECK int redis_command(struct redis *r, struct span slot_key, const struct span *argv,
                             size_t argc, redis_reply_fn *fn, void *arg);
/* The same from a format of plain words and %s (C string), %b (struct span *), %lld: "HSET %s field
 * %b". Words split at spaces; the second one is the slot key. */
MUST_CHECK int redis_commandf(struct redis *r, redis_reply_fn *fn, void *arg, const char *fmt, ...);
/* All subscriptions share a connection of their own, which keeps them over reconnects; messages
 * sent meanwhile are lost. One channel a call. E_INVALID: no channel's name. */
MUST_CHECK int redis_subscribe(struct redis *r, const char *channel, redis_message_fn *fn,
                               void *arg);
/* The subscriptions' connection is up and Redis has confirmed all of them; checked by a PING every
 * dead_ms. */
bool redis_subscribed(const struct redis *r);

/* ---- Figures ---- */

enum { REDIS_LATENCY_BUCKETS = 9 };
extern const uint64_t redis_latency_bounds_us[REDIS_LATENCY_BUCKETS]; /* the last is 0: no bound */

struct redis_stats {
    uint64_t latency[REDIS_LATENCY_BUCKETS]; /* replies by bucket, late ones too */
    uint64_t latency_sum_us, latency_last_us;
    uint64_t timeouts;             /* commands abandoned */
    uint64_t refused;              /* commands that found no server */
    uint64_t lost;                 /* commands whose connection was lost, or not taken */
    uint64_t connects;             /* primaries that became usable */
    uint64_t breaker_opened;       /* how often */
    uint64_t moved, asked, loaded; /* followed: MOVED, ASK; scripts sent by their source */
    uint64_t maps;                 /* maps of a Cluster's slots, addresses of Sentinels taken */
    unsigned primaries;            /* usable now */
    unsigned broken;               /* of these: with an open breaker */
    unsigned unsafe;               /* of these: may evict, or keep no AOF */
};
void redis_stats(const struct redis *r, struct redis_stats *out);

#endif
