/* A call's spans: one for the request, one for each attempt at a worker. Ids, times, codes, names
 * that are configured; never content, key, account or address. */
#ifndef GATEWAY_TRACE_H
#define GATEWAY_TRACE_H

#include "base/buf.h"
#include "base/trace_context.h"

struct call;
struct charge;

struct call_trace {
    bool judged;              /* whether it has one */
    bool known;               /* it has */
    bool recorded;            /* and its spans are exported */
    bool has_parent;          /* the caller's span */
    struct trace_context own; /* recorded: the request's span; else the caller's */
    uint8_t parent[TRACE_SPAN_LEN];
    uint64_t wall_us; /* added to a monotonic time */
    uint8_t attempt[TRACE_SPAN_LEN];
    uint64_t attempt_us; /* it began; 0: none is open */
    char passed[TRACEPARENT_LEN + 1];
};

/* Once it is known whose the call is: takes the caller's traceparent, or draws. Twice is once. */
void trace_begin(struct call *c);
/* An attempt begins: the traceparent that the worker gets; "": none. */
const char *trace_attempt(struct call *c);
/* It is over; error: why it failed, a constant; NULL: it did not. Nothing when none is open. */
void trace_attempt_end(struct call *c, const char *error);
/* The call is over. */
void trace_end(struct call *c);
/* Its charge too: now the tokens are known. */
void trace_charged(struct charge *ch);
/* 32 hex digits, or "-". */
const char *trace_id(const struct call *c, char text[static 2 * TRACE_ID_LEN + 1]);

#endif
