/* Spans on their way to a collector: OTLP over HTTP in JSON, in batches, behind nobody's back and
 * in nobody's way. Where none is configured nothing is recorded. */
#ifndef GATEWAY_TRACING_H
#define GATEWAY_TRACING_H

#include "gateway/gateway.h"

struct tracing;
/* The collector's own headers: a token, mostly. */
struct tracing_headers;

enum { TRACING_WHY_LEN = 120 };
/* Reads tracing.headers_file. On failure `why` says what is wrong, without a value. */
MUST_CHECK int tracing_headers_read(struct tracing_headers **out, const struct gateway_config *s,
                                    char why[TRACING_WHY_LEN]);
void tracing_headers_free(struct tracing_headers *h);

/* Takes the headers, also on failure. */
MUST_CHECK int tracing_new(struct tracing **out, struct gateway *g, struct tracing_headers *take);
void tracing_free(struct tracing *t);
/* The settings have changed. */
void tracing_replace(struct tracing *t, struct tracing_headers *take);

/* A request that nobody began a trace for begins one: so many, by chance. */
bool tracing_draws(const struct tracing *t);
/* A request's spans are recorded: as long as there are not too many in this second. */
bool tracing_admits(struct tracing *t);
/* Appends a text attribute of a span or a resource, in JSON. */
void tracing_attribute(struct buf *out, const char *name, const char *value);
/* A whole span, in JSON. Never waits: what a collector that is behind leaves no room for is
 * dropped. t may be NULL: nobody exports any more. */
void tracing_add(struct tracing *t, struct span json);

/* The end is near: everything goes out as fast as it can. */
void tracing_flush(struct tracing *t);
bool tracing_flushed(const struct tracing *t);
void tracing_metrics_write(const struct tracing *t, struct buf *out);

#endif
