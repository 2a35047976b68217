/* What a client sees when something is refused: one constant a line of errors.def, rendered in
 * OpenAI's shape (api.md §3). */
#ifndef OPENAI_ERROR_H
#define OPENAI_ERROR_H

#include "base/buf.h"

struct api_error {
    const char *name;        /* ERR_… without the prefix, for logs and metrics */
    unsigned status;         /* HTTP */
    const char *type;        /* invalid_request_error, server_error, requests, … */
    const char *code;        /* NULL: null */
    const char *message;     /* default text; {} stands for the fault's argument */
    bool never_retry;        /* x-should-retry: false */
    unsigned retry_after_ms; /* default Retry-After; 0: none */
};

#define API_ERROR(name, ...) extern const struct api_error ERR_##name;
#include "openai/errors.def"
#undef API_ERROR

/* One refusal: which error, about what. Embedded; {0} is none. */
struct api_fault {
    const struct api_error *error;
    char param[160];   /* field path, e.g. messages[1].content[0].image_url; empty: null */
    char message[400]; /* final text, ours alone: never a library's or an engine's */
    unsigned retry_after_ms;
};

/* Sets error and param (NULL: none) and makes the message from the error's text with arg in place
 * of {} (NULL: ""); what of arg is not printable ASCII shows as '?', and it is cut at 64
 * characters. Returns E_INVALID, so that validators can `return api_fault_set(…)`. */
int api_fault_set(struct api_fault *f, const struct api_error *e, const char *param,
                  const char *arg);
/* The same with a message of its own. */
int api_fault_text(struct api_fault *f, const struct api_error *e, const char *param,
                   const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Appends {"error":{"message":…,"type":…,"param":…,"code":…}}. */
void api_fault_body(const struct api_fault *f, struct buf *out);
/* Appends `data: {"error":{…}}\n\n` (api.md §0 rule 2). */
void api_fault_event(const struct api_fault *f, struct buf *out);
/* Parses an error body of ours back (a worker's inner error, for relaying and logs): finds the
 * table's entry by status and code. E_NOT_FOUND when it is none of ours; then the caller uses
 * ERR_WORKER_ERROR. */
MUST_CHECK int api_fault_parse(struct api_fault *f, unsigned status, struct span body);

#endif
