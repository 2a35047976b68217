/* Operators and their gateways: who may send work, and the tunnels to them. */
#ifndef WORKER_GATEWAYS_H
#define WORKER_GATEWAYS_H

#include "base/map.h"
#include "config/worker_config.h"
#include "net/tunnel.h"
#include "worker/usage.h"

struct worker;
struct gateways;
struct operator_entry;

enum {
    LINK_ADDRESS_MAX = 280,
    OPERATOR_MAX_LEARNT = 256,
    OPERATOR_MAX_LINKS = 2 * OPERATOR_MAX_LEARNT /* all of them may be replaced at once */
};

/* A gateway instance that we dial, and its tunnel while there is one. */
struct link {
    struct list link;
    struct operator_entry *owner;
    struct worker *worker;
    char address[LINK_ADDRESS_MAX]; /* host:port as configured or learnt */
    char resolved[64];              /* as dialled last */
    struct tunnel *tunnel;
    bool configured, learnt;
    struct map told; /* addresses that this gateway names; as long as it is eligible */
    bool resolving, removed;
    bool replaced; /* another process listens there, and has a link of its own; this one ends with
                      its tunnel */
    bool eligible; /* it sent PUT /v1/gateways: it has accepted us */
    bool draining; /* it asked for it: nothing new through this tunnel */
    unsigned failures;
    struct loop_timer timer;
};

/* Starts dialling every configured gateway. */
MUST_CHECK int gateways_new(struct gateways **out, struct worker *w);
/* A changed configuration: new ones are dialled, those gone finish what runs. */
void gateways_update(struct gateways *g, const struct worker_config *c);
/* PUT /v1/gateways on that link: addresses to dial under the same operator's pins. One that was
 * only learnt is given up once it has no tunnel and no gateway names it any more. */
void gateways_learn(struct link *link, const struct config_strings *addresses);
/* The gateway is being replaced: its address is dialled anew beside the tunnel that there is; where
 * the operator has OPERATOR_MAX_LINKS already, when that tunnel has ended. */
void gateways_again(struct link *link);
/* Reads {"gateways":["host:port",…],"again":true}: strings that are no address are left out, at
 * most OPERATOR_MAX_LEARNT; `again` may be absent. E_INVALID. The strings live in the arena. */
MUST_CHECK int gateways_read(struct span json, struct arena *arena, struct config_strings *out,
                             bool *again);
/* GOAWAY on every tunnel, and no more dialling. */
void gateways_goaway(struct gateways *g);
/* Closes every tunnel; they are gone at the end of this turn. */
void gateways_close(struct gateways *g);
/* Streams open on all tunnels. */
size_t gateways_streams(const struct gateways *g);
/* After gateways_close and a turn. */
void gateways_free(struct gateways *g);

struct usage_owner link_owner(const struct link *link);
const char *link_operator_name(const struct link *link);
typedef void gateways_each_fn(void *arg, const struct link *link);
void gateways_each(const struct gateways *g, gateways_each_fn *fn, void *arg);

#endif
