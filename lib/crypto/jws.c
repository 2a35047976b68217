/* Compact JWS: the algorithm is fixed by the key, the header is compared and never trusted. */
#include "crypto/jws.h"

#include "base/encode.h"
#include "base/json.h"
#include "crypto/hash.h"

enum { JWS_MAX = 16 * 1024, KID_BYTES = 16, JWS_HEADER_MEMBERS = 3 };

static void kid_make(char out[static JWS_KID_LEN + 1], const struct ed25519 *key)
{
    uint8_t public_key[ED25519_KEY_LEN];

    ed25519_public(key, public_key);
    jws_kid(out, public_key);
}

void jws_kid(char out[static JWS_KID_LEN + 1], const uint8_t public_key[static ED25519_KEY_LEN])
{
    AUTO(buf_fini) struct buf text = {0};
    uint8_t digest[SHA256_LEN];

    sha256(digest, span_of(public_key, ED25519_KEY_LEN));
    base64url_encode(&text, span_of(digest, KID_BYTES));
    CHECK(text.len == JWS_KID_LEN);
    memcpy(out, text.data, JWS_KID_LEN);
    out[JWS_KID_LEN] = '\0';
}

int jws_sign(const struct ed25519 *key, const char *typ, struct span payload, struct buf *out)
{
    AUTO(buf_fini) struct buf header = {0};
    AUTO(buf_fini) struct buf jws = {0};
    uint8_t sig[ED25519_SIG_LEN];
    char kid[JWS_KID_LEN + 1];

    kid_make(kid, key);
    buf_printf(&header, "{\"alg\":\"EdDSA\",\"kid\":\"%s\",\"typ\":\"%s\"}", kid, typ);
    base64url_encode(&jws, buf_span(&header));
    buf_byte(&jws, '.');
    base64url_encode(&jws, payload);
    TRY(ed25519_sign(key, buf_span(&jws), sig));
    buf_byte(&jws, '.');
    base64url_encode(&jws, SPAN_OF(sig));
    if (jws.len > JWS_MAX)
        return E_TOO_LARGE;
    buf_append(out, buf_span(&jws));
    return 0;
}

static bool member_is(const json_t *object, const char *name, const char *value)
{
    const json_t *member = json_object_get(object, name);

    return json_is_string(member) &&
           span_is(span_of(json_string_value(member), json_string_length(member)), value);
}

int jws_named_kid(char out[static JWS_KID_LEN + 1], struct span jws)
{
    AUTO(buf_fini) struct buf text = {0};
    AUTO_JSON json_t *header = NULL;
    struct span kid;

    if (jws.len > JWS_MAX)
        return E_INVALID;
    TRY(base64url_decode(&text, span_split(&jws, '.')));
    if (json_read(buf_span(&text), &header) < 0 || json_obj_string(header, "kid", &kid) < 0 ||
        kid.len != JWS_KID_LEN)
        return E_INVALID;
    return span_cstr(kid, out, JWS_KID_LEN + 1);
}

/* Exactly the three members: nothing such as `crit` or `jwk` can ask for another treatment. */
static int header_check(const struct ed25519 *key, const char *typ, struct span part)
{
    AUTO(buf_fini) struct buf text = {0};
    AUTO_JSON json_t *header = NULL;
    char kid[JWS_KID_LEN + 1];

    TRY(base64url_decode(&text, part));
    if (json_read(buf_span(&text), &header) < 0)
        return E_INVALID;
    kid_make(kid, key);
    if (json_object_size(header) != JWS_HEADER_MEMBERS || !member_is(header, "alg", "EdDSA") ||
        !member_is(header, "kid", kid) || !member_is(header, "typ", typ))
        return E_AUTH;
    return 0;
}

int jws_verify(const struct ed25519 *key, const char *typ, struct span jws, struct buf *payload)
{
    AUTO(buf_fini) struct buf sig = {0};
    struct span rest = jws, header, body, covered;

    if (jws.len > JWS_MAX || jws.len == 0)
        return E_INVALID;
    header = span_split(&rest, '.');
    body = span_split(&rest, '.');
    covered = span_cut(jws, 0, header.len + 1 + body.len);
    /* Two dots, no more, or the lengths don't add up. */
    if (header.len == 0 || rest.len == 0 || covered.len + 1 + rest.len != jws.len ||
        memchr(rest.data, '.', rest.len))
        return E_INVALID;
    TRY(header_check(key, typ, header));
    TRY(base64url_decode(&sig, rest));
    TRY(ed25519_verify(key, covered, buf_span(&sig)));
    return base64url_decode(payload, body);
}
