/* The scheduler as the operator sees it: its settings, and its figures. */
#ifndef GATEWAY_SCHEDULING_H
#define GATEWAY_SCHEDULING_H

#include "gateway/gateway.h"

/* Choices are made by these settings from now on. */
void scheduling_set(struct gateway *g, const struct gateway_config *s);
/* Appends what waits, runs and is out, by model; and how choices were made. */
void scheduling_metrics(struct gateway *g, struct buf *out);

#endif
