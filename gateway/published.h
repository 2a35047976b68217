/* What the operator publishes of itself, /.well-known/cocoon.json, and its signature (wire.md §12).
 */
#ifndef GATEWAY_PUBLISHED_H
#define GATEWAY_PUBLISHED_H

#include "gateway/gateway.h"

struct published;

/* Signed where the operator's key is there: then it shows only keys that this key has vouched for.
 * Money is there, and both live as long as it does. */
struct published *published_new(struct money *m);
/* Asks nothing more. Then free Redis, turn the loop once, and free this. */
void published_stop(struct published *p);
void published_free(struct published *p);

#endif
