/* W3C Trace Context: the header `traceparent`, by which systems that a request passes through name
 * its trace and what each of them did for it. */
#ifndef BASE_TRACE_CONTEXT_H
#define BASE_TRACE_CONTEXT_H

#include "base/error.h"
#include "base/span.h"

enum { TRACE_ID_LEN = 16, TRACE_SPAN_LEN = 8, TRACEPARENT_LEN = 55 };

struct trace_context {
    uint8_t trace[TRACE_ID_LEN];  /* never all zero */
    uint8_t span[TRACE_SPAN_LEN]; /* of who sends it; never all zero */
    bool sampled;                 /* the sender records it */
};

/* A value of version 00, or of a later one as far as 00 knows it (Trace Context §3.2, §4.3).
 * E_INVALID: the header is to be treated as if it were absent; *out is undefined. */
MUST_CHECK int trace_context_parse(struct trace_context *out, struct span text);
/* As version 00, with its NUL. */
void trace_context_write(const struct trace_context *t, char out[static TRACEPARENT_LEN + 1]);
/* What may be passed on of a value that a stranger sent: the same as version 00; "": nothing. */
void trace_context_pass(char out[static TRACEPARENT_LEN + 1], struct span text);

#endif
