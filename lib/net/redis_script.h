/* Lua scripts that Redis keeps by their SHA-1: EVALSHA, and the source once where Redis does not
 * know it (after a restart, a fail-over, SCRIPT FLUSH, or on another node of a Cluster). */
#ifndef NET_REDIS_SCRIPT_H
#define NET_REDIS_SCRIPT_H

#include "net/redis.h"

enum { REDIS_SHA_LEN = 40 };

/* One script, made once and usable with any connection; static or embedded by the owner. Every key
 * it touches is among its keys, and all of them are in one slot ({tag}). */
struct redis_script {
    const char *name;   /* for metrics and logs: one word */
    const char *source; /* lives as long as the script */
    unsigned numkeys;   /* 1 or more; the first key decides the slot */
    char sha[REDIS_SHA_LEN + 1];
};

/* Fills sha; needed once, before the first run. */
void redis_script_init(struct redis_script *s, const char *name, const char *source,
                       unsigned numkeys);
/* keys[0..numkeys) are KEYS, args[0..argc) are ARGV. fn, its errors and its deadline are those of
 * redis_command: the deadline is one for both attempts, and a run that was abandoned before Redis
 * knew the script is not sent again. Redis runs nothing when it answers NOSCRIPT, so no run happens
 * twice; runs given in one order may happen in another while the script is being learnt. */
MUST_CHECK int redis_script_run(struct redis *r, const struct redis_script *s,
                                const struct span *keys, const struct span *args, size_t argc,
                                redis_reply_fn *fn, void *arg);

#endif
