/* Bills: foreign payloads under a good signature. What is accepted can be signed again and says the
 * same. */
#include "receipt/bill.h"

#include "crypto/jws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ed25519 *key_make(void)
{
    static const uint8_t seed[ED25519_KEY_LEN] = {1};
    struct ed25519 *key = NULL;

    CHECK(ed25519_from_seed(&key, SPAN_OF(seed)) == 0);
    return key;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ed25519 *key;
    AUTO(buf_fini) struct buf jws = {0}, again = {0};
    AUTO(bill_fini) struct bill b = {0}, back = {0};

    key = key ? key : key_make();
    if (jws_sign(key, BILL_TYP, span_of(data, size), &jws) < 0 ||
        bill_verify(&b, key, buf_span(&jws)) < 0)
        return 0;
    CHECK(b.fee <= b.amount && b.fee >= 0 && b.cached <= b.in && b.reasoning <= b.out);
    CHECK(bill_sign(&b, key, &again) == 0);
    CHECK(bill_verify(&back, key, buf_span(&again)) == 0);
    CHECK(b.amount == back.amount && b.fee == back.fee && span_eq(b.model, back.model));
    return 0;
}
