/* The outer fields: exactly those of the table. */
#include "client/core/outer.h"

#include <stdio.h>

#include "base/encode.h"

static void line(struct outer_lines *l, const char *text)
{
    if (!text)
        return;
    CHECK(l->count < OUTER_MAX);
    l->at[l->count++] = text;
}

static void number(struct outer_lines *l, const char *name, int64_t n)
{
    line(l, arena_printf(&l->arena, "%s: %lld", name, (long long)n));
}

void outer_write(struct outer_lines *l, const struct inner_ask *inner,
                 const uint8_t kfp[static KFP_LEN], const char *authorization, const char *require,
                 const char *traceparent)
{
    const struct request *rq = inner->rq;
    char hex[2 * KFP_LEN + 1];

    hex_encode(hex, span_of(kfp, KFP_LEN));
    line(l, authorization);
    line(l, "Content-Type: message/ohttp-chunked-req");
    line(l, "Accept: message/ohttp-chunked-res");
    line(l, "Incremental: ?1");
    line(l, arena_printf(&l->arena, "Cocoon-Key: %s", hex));
    line(l, arena_printf(&l->arena, "Cocoon-Model: %.*s", SPAN_FMT(inner->served_model)));
    number(l, "Cocoon-Max-Tokens", inner->bounds.max_tokens);
    number(l, "Cocoon-Max-Input", inner->bounds.max_input);
    line(l, rq->stream ? "Cocoon-Stream: ?1" : "Cocoon-Stream: ?0");
    line(l, arena_printf(&l->arena, "Cocoon-Affinity: %s", inner->affinity));
    if (rq->max_coefficient >= 0)
        number(l, "Cocoon-Max-Coefficient", rq->max_coefficient);
    if (rq->timeout_ms > 0)
        number(l, "Cocoon-Timeout", (int64_t)((rq->timeout_ms + 999) / 1000));
    line(l, require);
    if (traceparent[0])
        line(l, arena_printf(&l->arena, "traceparent: %s", traceparent));
}

void outer_fini(struct outer_lines *l)
{
    arena_fini(&l->arena);
}
