/* What the worker says of itself to a gateway: keys, evidence, models and price. */
#ifndef WORKER_DESCRIBE_H
#define WORKER_DESCRIBE_H

#include "worker/exchange.h"

endpoint_fn describe_keys, describe_attestation, describe_worker;

/* Fills in a keyset's members beside keys and times. */
void describe_keyset(void *arg, struct keyset *k);

#endif
