/* The owner's own door: a UNIX socket with health, figures and settings, never content or keys
 * (ops.md). */
#ifndef WORKER_ADMIN_H
#define WORKER_ADMIN_H

#include "worker/worker.h"

struct admin;

MUST_CHECK int admin_new(struct admin **out, struct worker *w, const char *address);
void admin_free(struct admin *a);

#endif
