/* What a gateway tells its worker: who else serves the operator, to drain, that it was refused,
 * what was paid. */
#ifndef WORKER_TELL_H
#define WORKER_TELL_H

#include "worker/exchange.h"

endpoint_fn tell_gateways, tell_drain, tell_refused, tell_no_voucher, tell_voucher_unknown;

#endif
