/* The gateways' Redis as commands of cocoonctl use it: many commands on their way at once, waited
 * for together. */
#ifndef TOOLS_POOL_STORE_H
#define TOOLS_POOL_STORE_H

#include "base/json.h"
#include "net/redis.h"
#include "tools/command.h"
#include "tools/redis_flags.h"

struct pool_store;

/* Connects, within 3 s. E_UNAVAILABLE, E_INVALID (URL), E_AUTH, E_IO, E_TOO_LARGE (a file that
 * belongs to it). */
MUST_CHECK int pool_store_open(struct pool_store **out, const struct redis_access *at);
void pool_store_close(struct pool_store *s);
const struct redis *pool_store_redis(const struct pool_store *s);
AUTO_FREE(struct pool_store, pool_store_close)
/* argv[1] is the key. fn (may be NULL) is called for a good reply only, while the store is waited
 * for. */
typedef void pool_store_reply_fn(void *arg, const struct redisReply *reply);
void pool_store_send(struct pool_store *s, const struct span *argv, size_t argc,
                     pool_store_reply_fn *fn, void *arg);
/* Until at most so many replies are missing. The first error since the store was opened: E_DENIED:
 * Redis refused a command; E_TIMEOUT after 10 s. */
MUST_CHECK int pool_store_settle(struct pool_store *s, size_t most);
/* Appends what went wrong and what to look at, without a secret. */
void pool_store_explain(int error, struct buf *why);

/* ---- For a command ---- */

/* Says on stderr what went wrong; EXIT_FAILED. */
int pool_store_failure(const struct command *c, int error);
/* By what --redis and its kin say, which lives as long as the store. -1 and *out, or the command's
 * exit code after the reason was said. */
int pool_store_begin(const struct command *c, struct redis_flags *flags, struct pool_store **out);
/* Members of what was read, for showing: "" and 0 where they are not. */
const char *shown_text(const json_t *o, const char *name);
double shown_number(const json_t *o, const char *name);
uint64_t shown_time(const json_t *o, const char *name); /* seconds */

#endif
