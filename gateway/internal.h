/* The internal listener (auth.md): the operator's own services are known by the connection that
 * they call on, so they bring no credential. Its settings say which account each acts for. */
#ifndef GATEWAY_INTERNAL_H
#define GATEWAY_INTERNAL_H

#include "config/gateway_config.h"
#include "gateway/call.h"

struct internal;

enum { INTERNAL_WHY_LEN = 200 };
/* Judges the list and reads the keys that it names. On failure `why` says what is wrong with which
 * setting, without a value. */
MUST_CHECK int internal_new(struct internal **out, const struct gateway_config *s,
                            char why[INTERNAL_WHY_LEN]);
void internal_free(struct internal *in);
/* Opens the listeners: sets g->internal_unix and g->internal_tls, or leaves them NULL where the
 * settings name none. */
MUST_CHECK int internal_start(struct gateway *g, const struct http_server_options *o);
/* The list and the certificates of another snapshot from now on; takes next. */
void internal_replace(struct gateway *g, struct internal *next);
/* Of both listeners, as the functions of http_server.h. */
void internal_hold(struct gateway *g, bool held);
void internal_quiesce(struct gateway *g);
void internal_let_go(struct gateway *g);
bool internal_listens(const struct gateway *g);
size_t internal_connections(const struct gateway *g);
void internal_stop(struct gateway *g);
/* A call on it goes on as the service that the peer is. False: refused, c->fault says why. */
bool internal_admit(struct call *c);
void internal_metrics_write(struct gateway *g, struct buf *out);

#endif
