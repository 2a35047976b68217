/* The gateways' Redis as commands of cocoonctl use it: many commands on their way at once, waited
 * for together. */
#ifndef TOOLS_STORE_H
#define TOOLS_STORE_H

#include "base/json.h"
#include "net/redis.h"
#include "tools/command.h"
#include "tools/redis_flags.h"

struct store;

/* Connects, within 3 s. E_UNAVAILABLE, E_INVALID (URL), E_AUTH, E_IO, E_TOO_LARGE (a file that
 * belongs to it). */
MUST_CHECK int store_open(struct store **out, const struct redis_access *at);
void store_close(struct store *s);
AUTO_FREE(struct store, store_close)
/* argv[1] is the key. fn (may be NULL) is called for a good reply only, while the store is waited
 * for. */
typedef void store_reply_fn(void *arg, const struct redisReply *reply);
void store_send(struct store *s, const struct span *argv, size_t argc, store_reply_fn *fn,
                void *arg);
/* Until at most so many replies are missing. The first error since the store was opened: E_DENIED:
 * Redis refused a command; E_TIMEOUT after 10 s. */
MUST_CHECK int store_settle(struct store *s, size_t most);
/* Appends what went wrong and what to look at, without a secret. */
void store_explain(int error, struct buf *why);

/* ---- For a command ---- */

/* Says on stderr what went wrong; EXIT_FAILED. */
int store_failure(const struct command *c, int error);
/* By what --redis and its kin say, which lives as long as the store. -1 and *out, or the command's
 * exit code after the reason was said. */
int store_begin(const struct command *c, struct redis_flags *flags, struct store **out);
/* Members of what was read, for showing: "" and 0 where they are not. */
const char *shown_text(const json_t *o, const char *name);
double shown_number(const json_t *o, const char *name);

#endif
