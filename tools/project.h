/* Brings what the keys file says into Redis, and tells the gateways. */
#ifndef TOOLS_PROJECT_H
#define TOOLS_PROJECT_H

#include "auth/keys_file.h"
#include "base/redis_url.h"

/* key NULL, or Redis not holding the file as it was before this change: every key is written; else
 * only `key`. The markers (auth/marker.h) come last. On failure `why` says what to do about it,
 * without a secret. *written counts records. E_UNAVAILABLE, E_INVALID (what `at` says). */
MUST_CHECK int project_keys(struct keys_file *f, json_t *key, const struct redis_access *at,
                            size_t *written, struct buf *why);

#endif
