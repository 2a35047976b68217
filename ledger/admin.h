/* The operator's door (ops.md): a UNIX socket whose peers the kernel names, each with a role. */
#ifndef LEDGER_ADMIN_H
#define LEDGER_ADMIN_H

#include "ledger/request.h"

struct admin;

/* Listens. E_NOT_FOUND: a role names a user that this machine has not; E_IO, E_INVALID. */
MUST_CHECK int admin_new(struct admin **out, struct ledger *l);
/* Reads the files of admin_tls anew, for who connects from now on: all of them, or none is taken.
 */
void admin_reload(struct admin *a);
void admin_free(struct admin *a);

/* Ends a request that its handler kept (E_AGAIN): error as a handler returns it. */
void admin_answer(struct request *r, int error);

#endif
