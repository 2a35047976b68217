/* Usage records and receipts: foreign payloads under a good signature. What is accepted can be
 * signed again and says the same. */
#include "receipt/usage_record.h"

#include "crypto/jws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ed25519 *key_make(void)
{
    static const uint8_t seed[ED25519_KEY_LEN] = {1};
    struct ed25519 *key = NULL;

    CHECK(ed25519_from_seed(&key, SPAN_OF(seed)) == 0);
    return key;
}

static void record(const struct ed25519 *key, struct span payload)
{
    AUTO(buf_fini) struct buf jws = {0}, again = {0};
    AUTO(usage_record_fini) struct usage_record u = {0}, back = {0};

    if (jws_sign(key, USAGE_TYP, payload, &jws) < 0 ||
        usage_record_verify(&u, key, buf_span(&jws)) < 0)
        return;
    CHECK(u.cached <= u.in && u.reasoning <= u.out && u.in >= 0 && u.out >= 0);
    CHECK(usage_record_sign(&u, key, &again) == 0);
    CHECK(usage_record_verify(&back, key, buf_span(&again)) == 0);
    CHECK(u.in == back.in && u.out == back.out && span_eq(u.model, back.model));
}

static void receipt(const struct ed25519 *key, struct span payload)
{
    AUTO(buf_fini) struct buf jws = {0}, again = {0};
    AUTO(usage_record_fini) struct usage_record u = {0}, back = {0};
    struct receipt_extra extra, extra_back;

    if (jws_sign(key, RECEIPT_TYP, payload, &jws) < 0 ||
        receipt_verify(&u, &extra, key, buf_span(&jws)) < 0)
        return;
    CHECK(receipt_sign(&u, &extra, key, &again) == 0);
    CHECK(receipt_verify(&back, &extra_back, key, buf_span(&again)) == 0);
    CHECK(span_eq(extra.rid, extra_back.rid) && span_eq(u.model, back.model));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ed25519 *key;
    struct usage_hint hint;

    if (usage_record_hint(&hint, span_of(data, size)) == 0)
        CHECK(strlen(hint.kid) == JWS_KID_LEN);
    key = key ? key : key_make();
    record(key, span_of(data, size));
    receipt(key, span_of(data, size));
    return 0;
}
