/* A client with a loop of its own, turned only while its caller waits. */
#ifndef CLIENT_CORE_ALONE_H
#define CLIENT_CORE_ALONE_H

#include "client/core/client.h"

struct client_alone {
    struct loop *loop;
    struct offload *offload;
    struct client *client;
};

/* E_… with a sentence in why. *a is the caller's to close whatever is returned. */
MUST_CHECK int client_alone_open(struct client_alone *a, const struct client_options *options,
                                 char why[static 300]);
/* Every exchange must be over. Takes {0}, and what was opened in part. */
void client_alone_close(struct client_alone *a);

#endif
