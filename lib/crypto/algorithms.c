/* The one table of fetched algorithms; made at its first use, never changed afterwards. */
#include "crypto/algorithms.h"

#include <pthread.h>
#include <openssl/core_names.h>

#include "base/error.h"

static struct algorithms table;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static EVP_MAC_CTX *hmac_make(void)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;

    EVP_MAC_free(mac); /* the context holds its own reference */
    CHECK(ctx != NULL);
    /* A context without a key cannot be dup'ed in OpenSSL 3.0. */
    CHECK(EVP_MAC_init(ctx, (const unsigned char *)"", 0, params) == 1);
    return ctx;
}

static void table_make(void)
{
    table.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    table.sha384 = EVP_MD_fetch(NULL, "SHA384", NULL);
    table.hmac_sha256 = hmac_make();
    table.aes_128_gcm = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
    table.aes_256_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    table.chacha20_poly1305 = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
    CHECK(table.sha256 && table.sha384 && table.aes_128_gcm && table.aes_256_gcm &&
          table.chacha20_poly1305);
}

const struct algorithms *crypto_algorithms(void)
{
    CHECK(pthread_once(&once, table_make) == 0);
    return &table;
}
