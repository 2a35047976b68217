/* What stands outside of a sealed request, by the allowlist of wire.md §6: for the gateway to
 * route, charge and time by; the worker holds it against what is inside. Pure. */
#ifndef CLIENT_CORE_OUTER_H
#define CLIENT_CORE_OUTER_H

#include "base/arena.h"
#include "client/core/inner.h"
#include "ohttp/key_config.h"

enum { OUTER_MAX = 16 };

/* "Name: value", each; {0} is none. */
struct outer_lines {
    struct arena arena;
    const char *at[OUTER_MAX];
    size_t count;
};

/* The lines of a request that is sealed to the key kfp as `inner` says. authorization and require:
 * whole lines, borrowed; NULL: none. traceparent: its value; "": none. */
void outer_write(struct outer_lines *out, const struct inner_ask *inner,
                 const uint8_t kfp[static KFP_LEN], const char *authorization, const char *require,
                 const char *traceparent);
void outer_fini(struct outer_lines *l);
AUTO_FINI(struct outer_lines, outer_fini)

#endif
