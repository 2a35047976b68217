/* The text of an API key: prefix, then base62 of public id, secret, and CRC-32 of both. */
#include "auth/keys.h"

#include "base/encode.h"
#include "base/random.h"

enum {
    PREFIX_LEN = sizeof(KEY_PREFIX) - 1,
    BODY_LEN = KEY_ID_LEN + KEY_SECRET_LEN,
    RAW_LEN = BODY_LEN + 4,
    BASIC_MAX = 4096
};

static void put_crc(uint8_t raw[static RAW_LEN])
{
    const uint32_t crc = crc32_of(span_of(raw, BODY_LEN));

    for (int i = 0; i < 4; i++)
        raw[BODY_LEN + i] = (uint8_t)(crc >> (24 - 8 * i));
}

void api_key_make(struct api_key *out, struct buf *text)
{
    uint8_t id[KEY_ID_LEN];

    random_bytes(id, sizeof(id));
    api_key_remake(out, id, text);
}

void api_key_remake(struct api_key *out, const uint8_t id[static KEY_ID_LEN], struct buf *text)
{
    uint8_t raw[RAW_LEN];

    memcpy(out->id, id, KEY_ID_LEN);
    random_bytes(out->secret, sizeof(out->secret));
    memcpy(raw, out->id, KEY_ID_LEN);
    memcpy(raw + KEY_ID_LEN, out->secret, KEY_SECRET_LEN);
    put_crc(raw);
    buf_append_str(text, KEY_PREFIX);
    base62_encode(text, SPAN_OF(raw));
    crypto_wipe(raw, sizeof(raw));
}

static int parse_raw(uint8_t raw[static RAW_LEN], struct span text)
{
    uint8_t expected[RAW_LEN];

    if (!span_starts(text, SPAN(KEY_PREFIX)))
        return E_INVALID;
    TRY(base62_decode(raw, RAW_LEN, span_from(text, PREFIX_LEN)));
    memcpy(expected, raw, BODY_LEN);
    put_crc(expected);
    const bool same = crypto_equal(SPAN_OF(expected), span_of(raw, RAW_LEN));
    crypto_wipe(expected, sizeof(expected));
    return same ? 0 : E_INVALID;
}

int api_key_parse(struct api_key *out, struct span text)
{
    uint8_t raw[RAW_LEN] = {0};
    const int error = parse_raw(raw, text);

    if (error == 0) {
        memcpy(out->id, raw, KEY_ID_LEN);
        memcpy(out->secret, raw + KEY_ID_LEN, KEY_SECRET_LEN);
    }
    crypto_wipe(raw, sizeof(raw));
    return error;
}

void api_key_lookup(const struct api_key *k, char out[static 2 * KEY_LOOKUP_LEN + 1])
{
    uint8_t hash[SHA256_LEN];

    sha256(hash, SPAN_OF(k->secret));
    hex_encode(out, span_of(hash, KEY_LOOKUP_LEN));
}

struct span credential_of(struct span field, struct span scheme)
{
    field = span_trim(field);
    const struct span behind = span_from(field, scheme.len);

    if (!span_ieq(span_cut(field, 0, scheme.len), scheme) || behind.len == 0 ||
        (behind.data[0] != ' ' && behind.data[0] != '\t'))
        return SPAN("");
    return span_trim(behind);
}

// Some tools put the key into the user, some into the password, next to a word of their own.
static struct span basic_value(struct span encoded, struct buf *scratch)
{
    if (encoded.len == 0 || encoded.len > BASIC_MAX)
        return SPAN("");
    buf_clear(scratch);
    if (base64_decode(scratch, encoded) < 0)
        return SPAN("");
    struct span password = buf_span(scratch);
    const struct span user = span_split(&password, ':');
    if (span_starts(user, SPAN(KEY_PREFIX)) || password.len == 0)
        return user;
    return password;
}

struct span api_key_credential(struct span authorization, struct span x_api_key,
                               struct buf *scratch)
{
    const struct span direct = span_trim(x_api_key);
    struct span found = credential_of(authorization, SPAN("Bearer"));

    if (found.len == 0)
        found = basic_value(credential_of(authorization, SPAN("Basic")), scratch);
    return found.len > 0 ? found : direct;
}
