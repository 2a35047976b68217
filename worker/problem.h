/* What a worker answers while it has not decrypted anything: one text per code, nothing of the
 * request in it (wire.md §6). */
#ifndef WORKER_PROBLEM_H
#define WORKER_PROBLEM_H

#include "base/buf.h"

struct problem {
    unsigned status;
    const char *code, *type, *title;
};

extern const struct problem problem_key, problem_message, problem_too_large, problem_replay,
    problem_busy, problem_draining, problem_exposure, problem_price, problem_not_found,
    problem_not_implemented, problem_bad_request, problem_date, problem_no_quote,
    problem_quote_late;

/* Appends {"type":…,"title":…,"status":…,"code":…} (RFC 9457). */
void problem_write(const struct problem *p, struct buf *out);

#endif
