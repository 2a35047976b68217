/* Server-sent events read from bytes however they are split (WHATWG HTML §9.2): data lines only,
 * bounded. */
#ifndef NET_SSE_H
#define NET_SSE_H

#include "base/buf.h"

/* Embedded by callers; {0} and a limit is ready. */
struct sse_parser {
    struct buf line, data;
    size_t max_event; /* bytes of one event's data */
    bool has_data, skip_lf, past_bom;
    struct buf name; /* of the `event:` field */
};

/* One event: name (empty when none) and data lines joined by LF. Return < 0 to stop. */
typedef int sse_event_fn(void *arg, struct span name, struct span data);
/* E_TOO_LARGE, or what fn returned; after either the parser is of no further use. A line is bounded
 * like an event's data, comments too; an event without its blank line is no event. */
MUST_CHECK int sse_feed(struct sse_parser *p, struct span bytes, sse_event_fn *fn, void *arg);
/* Wipes and frees. */
void sse_fini(struct sse_parser *p);

#endif
