/* OpenSSL's secure heap. */
#include "crypto/secure_heap.h"

#include <openssl/crypto.h>
#include <openssl/err.h>

enum { MADE = 1, MADE_UNLOCKED = 2, LEAST = 64 };

int secure_heap_begin(void)
{
    const int made = CRYPTO_secure_malloc_init(SECURE_HEAP_LEN, LEAST);

    ERR_clear_error();
    if (made == MADE)
        return 0;
    return made == MADE_UNLOCKED ? E_DENIED : E_CRYPTO;
}
