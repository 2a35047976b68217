/* Attestation documents: foreign ones, and a good frame around a foreign keyset or quote; by the
 * verifier, under a dev policy and under none, and by what looks for collateral. Refusals have a
 * reason, acceptances none. */
#include "attest/verify.h"
#include "crypto/detached.h"
#include "devtee/issuer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
static const char KEYSET[] =
    "{\"format\":\"cgw/keyset/v1\",\"worker_id\":\"w-1\",\"payout\":\"0:" ZEROS "\","
    "\"hpke\":[\"07000000000000000000000000" ZEROS "\"],\"models\":[\"m\"],"
    "\"tls_spki_sha256\":\"" ZEROS "\",\"receipt_ed25519\":\"" ZEROS "\","
    "\"model_digest\":\"sha256:" ZEROS "\",\"config_sha256\":\"" ZEROS "\","
    "\"engine\":\"e 1\",\"gpu\":\"none\",\"not_before\":1751328000,\"not_after\":1751331600}";

static struct attest_policy *policy_make(void)
{
    static const uint8_t seed[DEVTEE_SEED_LEN] = {7};
    static const struct devtee_policy dev = {
        .root = "root.pem", .sequence = 1, .expires = 1800000000};
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_issuer_new(seed, "fuzz");
    AUTO(buf_fini) struct buf text = {0}, sig = {0}, pem = {0};
    struct attest_policy *policy = NULL;
    struct x509_cert *root = NULL;
    uint8_t key[ED25519_KEY_LEN];
    char why[200];

    devtee_policy_write(issuer, &dev, &text);
    ed25519_public(devtee_release_key(issuer), key);
    CHECK(detached_sign("cgw/policy/v1", buf_span(&text), devtee_release_key(issuer), &sig) == 0);
    CHECK(attest_policy_read(&policy, buf_span(&text), buf_span(&sig), &SPAN_OF(key), 1, why) == 0);
    devtee_root(issuer, &pem);
    CHECK(x509_cert_read(&root, buf_span(&pem)) == 0);
    attest_policy_set_dev_root(policy, root);
    return policy;
}

/* Nothing foreign is more than unattested, and that only where it is let in. */
static void verify(struct span document, const struct attest_policy *policy, bool accept_unattested)
{
    const struct attest_input in = {.document = document,
                                    .now_s = 1751328010,
                                    .policy = policy,
                                    .accept_unattested = accept_unattested};
    AUTO(keyset_fini) struct keyset k = {0};
    struct attest_verdict v;
    const int error = attest_verify(&in, &k, &v);

    CHECK(v.env == ATTEST_UNATTESTED);
    CHECK((error == 0) == (v.reason == ATTEST_OK));
    CHECK(error == 0 ? accept_unattested && k.bytes.len > 0 : k.bytes.len == 0);
}

static void verify_all(struct span document)
{
    static struct attest_policy *policy;
    struct attest_platform platform;

    if (!policy)
        policy = policy_make();
    verify(document, policy, false);
    verify(document, policy, true);
    verify(document, NULL, true);
    if (attest_document_platform(document, policy, 1790000000, &platform) < 0)
        return;
}

static void verify_framed(const char *tee, struct span keyset, struct span quote)
{
    static const uint8_t nonce[ATTEST_NONCE_LEN] = {1};
    AUTO(buf_fini) struct buf framed = {0};

    attest_document_write(&framed, tee, nonce, keyset, SPAN(""), quote);
    verify_all(buf_span(&framed));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span in = span_of(data, size);

    verify_all(in);
    verify_framed("none", in, SPAN(""));
    verify_framed("tdx", span_str(KEYSET), in);
    return 0;
}
