/* What the parts of the Redis client share: the client, its nodes, its requests. Only for
 * redis*.c. */
#ifndef NET_REDIS_IMPL_H
#define NET_REDIS_IMPL_H

#include "net/redis_line.h"
#include "net/redis_parse.h"
#include "net/redis_script.h"

enum { REDIS_CHANNEL_MAX = 512 };

/* One data server: the stand-alone one, Sentinel's primary, or a member of a Cluster. */
struct redis_node {
    struct list link; /* in redis.nodes */
    struct redis *redis;
    struct redis_line line;
    char place[REDIS_PLACE_LEN]; /* "": Sentinel has not said yet */
    struct redis_info info;      /* of this connection, once signed_in */
    bool signed_in;
    bool told;         /* the state callback knows it as usable */
    bool gone;         /* dropped; freed at the end of the turn */
    unsigned slots;    /* Cluster: how many it has by the map; else 1 */
    unsigned misses;   /* commands in a row without a reply in time */
    bool broken;       /* the breaker is open */
    uint64_t probe_us; /* when the probe on its way was sent */
    struct loop_timer probe;
};

struct redis_pubsub {
    struct redis_line line;
    struct list subscriptions;
    size_t asked, confirmed; /* on the present connection */
    struct loop_timer check;
    uint64_t heard_before;
    char place[REDIS_PLACE_LEN];
    char echo[32];       /* a channel of this client alone */
    unsigned until_echo; /* checks until it is used again */
    bool echo_due;       /* published, and not heard yet */
};

struct redis {
    struct loop *loop;
    struct redis_setup setup;
    struct redis_url url; /* without login */
    bool durable;
    uint64_t command_ms;
    size_t queue_max;
    redis_state_fn *state;
    void *arg;
    bool freed;

    struct list nodes;
    struct redis_node *only; /* the one node, but in a Cluster */
    struct redis_sentinel *sentinel;
    struct redis_cluster *cluster;
    struct redis_pubsub pubsub;

    struct list live; /* requests with a deadline, in the order given */
    struct list held; /* requests that are to be sent again a little later */
    size_t in_flight; /* all requests, abandoned ones too */
    struct loop_hook flush;
    struct loop_timer deadline, again;
    struct redis_stats stats;
};

/* ---- Nodes (redis_node.c) ---- */

struct redis_node *redis_node_new(struct redis *r, const char *place);
/* Connects, or connects again: to another place when that has changed. */
void redis_node_start(struct redis_node *n);
/* Outstanding commands get E_UNAVAILABLE; the node dies at the end of the turn. */
void redis_node_drop(struct redis_node *n);
/* Signed in, and by what is known the primary of something. */
bool redis_node_usable(const struct redis_node *n);
/* Usable, and no breaker is open: takes commands. */
bool redis_node_ready(const struct redis_node *n);
/* Tells the owner of the client when the node has become usable or is no longer. */
void redis_node_tell(struct redis_node *n);
/* A reply came in time, or none did. */
void redis_node_hit(struct redis_node *n);
void redis_node_miss(struct redis_node *n);

/* ---- Requests (redis_request.c) ---- */

struct redis_words {
    const struct redis_script *script; /* NULL: argv is the whole command */
    const struct span *argv;           /* behind a script: numkeys, keys, arguments */
    size_t argc;
};

MUST_CHECK int redis_request_give(struct redis *r, struct span slot_key, struct redis_words words,
                                  redis_reply_fn *fn, void *arg);
/* For redis_free: what waits to be sent again gets E_UNAVAILABLE. */
void redis_request_end_held(struct redis *r);
void redis_request_flush(void *redis);

/* ---- Sentinel (redis_sentinel.c) ---- */

void redis_sentinel_start(struct redis *r);
/* The primary was lost, or is none: ask at once. */
void redis_sentinel_ask(struct redis *r);
/* The primary is late: look around, without leaving it. */
void redis_sentinel_doubt(struct redis *r);
/* A scout has found a replica that is a primary now. */
void redis_sentinel_promoted(struct redis *r, const char *place);
/* The place of the primary was confirmed a moment ago, so that it is worth connecting to. */
bool redis_sentinel_said(const struct redis *r);
void redis_sentinel_free(struct redis *r);

/* ---- Scouts among the replicas (redis_scout.c) ---- */

struct redis_scouts *redis_scouts_new(struct redis *r);
/* To the replicas that `SENTINEL REPLICAS` lists, as far as none is there yet. */
void redis_scouts_send(struct redis_scouts *scouts, const struct redisReply *replicas);
void redis_scouts_recall(struct redis_scouts *scouts);
void redis_scouts_free(struct redis_scouts *scouts);

/* ---- Cluster (redis_cluster.c) ---- */

void redis_cluster_start(struct redis *r);
void redis_cluster_free(struct redis *r);
/* The node that has a slot; NULL when nobody is known. */
struct redis_node *redis_cluster_node(const struct redis *r, uint16_t slot);
/* A server says that another has the slot from now on (moved) or for one command. Returns that
 * other one; NULL when there are too many. */
struct redis_node *redis_cluster_moved(struct redis *r, uint16_t slot, const char *place);
struct redis_node *redis_cluster_asked(struct redis *r, const char *place);
/* Something is wrong with the map, or a node came or went: ask for a new one soon. */
void redis_cluster_doubt(struct redis *r);
void redis_cluster_joined(struct redis_node *n);

/* ---- Subscriptions (redis_pubsub.c) ---- */

void redis_pubsub_init(struct redis *r);
/* The server that was subscribed at is no longer the one: subscribe at the present one. */
void redis_pubsub_move(struct redis *r);
void redis_pubsub_stop(struct redis *r);
void redis_pubsub_fini(struct redis *r);

#endif
