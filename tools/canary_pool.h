/* What Redis says of the workers that canaries go to, and what it is told of them afterwards. Each
 * function connects anew: minutes may lie between two. */
#ifndef TOOLS_CANARY_POOL_H
#define TOOLS_CANARY_POOL_H

#include "ohttp/key_config.h"
#include "tools/canary_marks.h"
#include "tools/registry.h"

/* The registry (tools/registry.h). Its errors, and pool_store_open's. */
MUST_CHECK int canary_pool_read(const struct redis_access *at, json_t **registry);
/* The key that the worker is encrypted to, as of now. E_NOT_FOUND: it is not here, or Redis has
 * lost its keyset; else as above. */
MUST_CHECK int canary_pool_key(const struct redis_access *at, const char *iid,
                               uint8_t kfp[static KFP_LEN]);
/* Sets every row's mark (whole: canary_marks_set), and writes the good and the bad ones to
 * standing:{wid}. All or nothing cannot be had: an error tells that some may be missing. */
MUST_CHECK int canary_pool_mark(const struct redis_access *at, struct canary_row *rows,
                                size_t count, bool whole);
/* The known answer was given: canary:{tag}, for a week. */
MUST_CHECK int canary_pool_prove(const struct redis_access *at, const char *tag);

#endif
