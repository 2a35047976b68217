/* What the operator publishes of itself, /.well-known/cocoon.json, and its signature (wire.md §12).
 */
#ifndef GATEWAY_PUBLISHED_H
#define GATEWAY_PUBLISHED_H

#include "gateway/gateway.h"

struct published;

/* path: the key that signs it, in a file of its owner alone; "": it is not signed. E_IO, E_DENIED,
 * E_INVALID: no such key. Money is there, and both live as long as it does. */
MUST_CHECK int published_new(struct published **out, struct money *m, const char *path);
/* Asks nothing more. Then free Redis, turn the loop once, and free this. */
void published_stop(struct published *p);
void published_free(struct published *p);

#endif
