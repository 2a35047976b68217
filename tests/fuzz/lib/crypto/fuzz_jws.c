/* JWS: foreign bytes as the whole, and as header and payload under a good signature (past which the
 * header is all that guards). */
#include "crypto/jws.h"

#include "base/encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ed25519 *key_make(void)
{
    static const uint8_t seed[ED25519_KEY_LEN] = {1};
    struct ed25519 *key = NULL;

    CHECK(ed25519_from_seed(&key, SPAN_OF(seed)) == 0);
    return key;
}

/* header NUL payload, signed. */
static void sign_parts(const struct ed25519 *key, struct span in, struct buf *jws)
{
    uint8_t sig[ED25519_SIG_LEN];
    struct span rest = in;

    base64url_encode(jws, span_split(&rest, '\0'));
    buf_byte(jws, '.');
    base64url_encode(jws, rest);
    CHECK(ed25519_sign(key, buf_span(jws), sig) == 0);
    buf_byte(jws, '.');
    base64url_encode(jws, SPAN_OF(sig));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ed25519 *key;
    AUTO(buf_fini) struct buf jws = {0}, payload = {0};
    struct span in = span_of(data, size);

    key = key ? key : key_make();
    if (size == 0)
        return 0;
    if (data[0] == '!')
        sign_parts(key, span_from(in, 1), &jws);
    else
        buf_append(&jws, in);
    char kid[JWS_KID_LEN + 1], own[JWS_KID_LEN + 1];
    uint8_t public_key[ED25519_KEY_LEN];
    ed25519_public(key, public_key);
    jws_kid(own, public_key);
    const bool named = jws_named_kid(kid, buf_span(&jws)) == 0;
    CHECK(!named || strlen(kid) == JWS_KID_LEN);
    if (jws_verify(key, "t", buf_span(&jws), &payload) < 0)
        CHECK(payload.len == 0);
    else
        CHECK(data[0] == '!' && named && strcmp(kid, own) == 0); /* nobody else has the key */
    return 0;
}
