/* What servers, Sentinels and Clusters say about themselves and each other, read with care. Pure
 * functions; only for lib/net. */
#ifndef NET_REDIS_PARSE_H
#define NET_REDIS_PARSE_H

#include "base/redis_url.h"
#include "net/redis.h"

/* What `INFO` says of a server that matters here. */
struct redis_info {
    char run_id[REDIS_RUN_ID_LEN + 1];
    bool sentinel; /* it is no data server at all */
    bool cluster;
    bool replica;
    bool loading;
    bool noeviction, aof; /* what money needs of it (money.md §5) */
};
/* E_PROTOCOL without a usable run_id. */
MUST_CHECK int redis_info_read(struct redis_info *out, struct span text);

enum redis_redirect { REDIS_NO_REDIRECT, REDIS_MOVED, REDIS_ASK };
/* The text of an error: "MOVED 3999 127.0.0.1:6381", "ASK …". `from` is the place that answered:
 * an empty host stands for its host. place is set for a redirect only; a malformed one is none. */
enum redis_redirect redis_redirect_read(struct span text, const char *from, uint16_t *slot,
                                        char place[static REDIS_PLACE_LEN]);

/* One range of slots and its primary, as `CLUSTER SLOTS` lists them. */
struct redis_range {
    uint16_t first, last;
    char place[REDIS_PLACE_LEN]; /* "": not known to the node that was asked */
};
/* The i-th entry of the reply of `from`. E_PROTOCOL. */
MUST_CHECK int redis_range_read(struct redis_range *out, const struct redisReply *reply, size_t i,
                                const char *from);

/* The reply to `SENTINEL get-master-addr-by-name`. E_NOT_FOUND: no such name; E_PROTOCOL. */
MUST_CHECK int redis_master_read(char place[static REDIS_PLACE_LEN],
                                 const struct redisReply *reply);

/* One entry of the reply to `SENTINEL REPLICAS`: names and values in turn. E_PROTOCOL. */
MUST_CHECK int redis_replica_read(char place[static REDIS_PLACE_LEN],
                                  const struct redisReply *entry);

#endif
