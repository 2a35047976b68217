/* The tunnel's endpoints of usage records: an operator sees and acknowledges its own (wire.md §9).
 */
#ifndef WORKER_RECORDS_H
#define WORKER_RECORDS_H

#include "worker/exchange.h"

endpoint_fn records_list, records_ack;

#endif
