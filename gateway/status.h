/* The state of this instance and its pool: a page for people, the same for programs, and figures.
 */
#ifndef GATEWAY_STATUS_H
#define GATEWAY_STATUS_H

#include "gateway/gateway.h"

void status_page(struct gateway *g, struct buf *out);
void status_json(struct gateway *g, struct buf *out);
/* Workers by state, models, live gateways, decisions, as Prometheus text. */
void pool_metrics_write(struct gateway *g, struct buf *out);

#endif
