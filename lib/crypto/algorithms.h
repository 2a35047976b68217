/* OpenSSL's algorithms, fetched once per process: every fetch takes a global lock in OpenSSL 3.0.
 * Inside lib/crypto only. */
#ifndef CRYPTO_ALGORITHMS_H
#define CRYPTO_ALGORITHMS_H

#include <openssl/evp.h>

struct algorithms {
    EVP_MD *sha256, *sha384;
    EVP_MAC_CTX *hmac_sha256; /* to be dup'ed: a context with the digest set and an empty key */
    EVP_CIPHER *aes_128_gcm;
    EVP_CIPHER *aes_256_gcm;
    EVP_CIPHER *chacha20_poly1305;
};

/* Any thread; aborts when the default provider lacks one of them. */
const struct algorithms *crypto_algorithms(void);

#endif
