/* The parts around a client that has nobody else's loop, taken down in the order that they need. */
#include "client/core/alone.h"

#include <stdio.h>

enum { THREADS = 1, TURNS_AT_END = 2 };

int client_alone_open(struct client_alone *a, const struct client_options *options,
                      char why[static 300])
{
    *a = (struct client_alone){0};
    snprintf(why, 300, "The event loop could not be started.");
    TRY(loop_new(&a->loop));
    TRY(offload_new(&a->offload, a->loop, THREADS));
    return client_new(&a->client, a->loop, a->offload, options, why);
}

void client_alone_close(struct client_alone *a)
{
    for (int i = 0; a->loop && i < TURNS_AT_END; i++) /* what was deferred */
        loop_turn(a->loop, 0);
    if (a->offload)
        offload_stop(a->offload);
    client_free(a->client);
    offload_free(a->offload);
    if (a->loop)
        loop_free(a->loop);
    *a = (struct client_alone){0};
}
