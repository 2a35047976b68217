/* ECDSA with an OpenSSL key and a signature as raw numbers; inside lib/crypto only. */
#ifndef CRYPTO_ECDSA_IMPL_H
#define CRYPTO_ECDSA_IMPL_H

#include <openssl/evp.h>

#include "base/error.h"
#include "base/span.h"

/* sig is r ‖ s, of equal length. E_AUTH when it does not fit. */
MUST_CHECK int ecdsa_pkey_verify(EVP_PKEY *key, const char *digest, struct span message,
                                 struct span sig);

#endif
