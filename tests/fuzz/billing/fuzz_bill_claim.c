/* The operator's word for a bill key: foreign bytes as the whole, and as the text under a good
 * signature, past which nothing else guards. */
#include "billing/bill_claim.h"

#include "crypto/detached.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ed25519 *key_make(uint8_t public_key[static ED25519_KEY_LEN])
{
    static const uint8_t seed[ED25519_KEY_LEN] = {1};
    struct ed25519 *key = NULL;

    CHECK(ed25519_from_seed(&key, SPAN_OF(seed)) == 0);
    ed25519_public(key, public_key);
    return key;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t public_key[ED25519_KEY_LEN];
    static const struct ed25519 *key;
    AUTO(buf_fini) struct buf text = {0};
    const struct span in = span_of(data, size), by = SPAN_OF(public_key);
    struct bill_claim claim;

    key = key ? key : key_make(public_key);
    CHECK(bill_claim_read(&claim, in, &by, 1) < 0); /* nobody else has the key */
    buf_append(&text, in);
    buf_byte(&text, '\n');
    CHECK(detached_sign("cgw/bill-key/v1", in, key, &text) == 0);
    if (bill_claim_read(&claim, buf_span(&text), &by, 1) == 0)
        CHECK(strlen(claim.instance) < sizeof(claim.instance));
    return 0;
}
