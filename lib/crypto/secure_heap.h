/* Memory for private keys: locked, left out of core dumps, between guard pages. */
#ifndef CRYPTO_SECURE_HEAP_H
#define CRYPTO_SECURE_HEAP_H

#include "base/error.h"

enum { SECURE_HEAP_LEN = 256 * 1024 };

/* From now on OpenSSL keeps the private keys there that it makes or reads from PEM (not those given
 * as raw bytes), 64 bytes each; when it is full, making one fails. Once a process, before the first
 * key and before threads. E_DENIED: made, but the system would not lock it or leave it out of dumps
 * (RLIMIT_MEMLOCK); E_CRYPTO: not made, keys stay in ordinary memory. */
MUST_CHECK int secure_heap_begin(void);

#endif
