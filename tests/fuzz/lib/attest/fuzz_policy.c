/* Policies: foreign bytes with a good signature, since the form is judged after it; and foreign
 * signature files. */
#include "attest/policy.h"
#include "crypto/detached.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_one(struct span text, struct span sig, const struct span *key)
{
    struct attest_policy *policy = NULL;
    char why[200] = "";

    if (attest_policy_read(&policy, text, sig, key, 1, why) < 0)
        CHECK(why[0] != '\0');
    attest_policy_unref(policy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ed25519 *release;
    static const uint8_t seed[32] = {3};
    AUTO(buf_fini) struct buf sig = {0};
    uint8_t public[ED25519_KEY_LEN];
    const struct span key = SPAN_OF(public), text = span_of(data, size);

    if (!release)
        CHECK(ed25519_from_seed(&release, SPAN_OF(seed)) == 0);
    ed25519_public(release, public);
    CHECK(detached_sign("cgw/policy/v1", text, release, &sig) == 0);
    read_one(text, buf_span(&sig), &key);
    read_one(SPAN("{}"), text, &key);
    return 0;
}
