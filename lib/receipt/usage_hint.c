/* Reads what an unverified record names: whoever uses it verifies afterwards. */
#include "receipt/usage_record.h"

#include "base/encode.h"
#include "base/json.h"
#include "crypto/jws.h"

enum { PART_MAX = 16 * 1024 };

_Static_assert(sizeof(((struct usage_hint *)0)->kid) == JWS_KID_LEN + 1, "a key id with its NUL");

/* A base64url part that holds a JSON object. */
static int part_read(struct span part, json_t **doc)
{
    AUTO(buf_fini) struct buf text = {0};

    if (part.len > PART_MAX)
        return E_INVALID;
    TRY(base64url_decode(&text, part));
    return json_read(buf_span(&text), doc) < 0 ? E_INVALID : 0;
}

static int keyset_read(const json_t *payload, uint8_t out[static SHA256_LEN])
{
    AUTO(buf_fini) struct buf bytes = {0};
    struct span text;

    if (json_obj_string(payload, "ks", &text) < 0)
        return E_INVALID;
    TRY(base64url_decode(&bytes, text));
    if (bytes.len != SHA256_LEN)
        return E_INVALID;
    memcpy(out, bytes.data, SHA256_LEN);
    return 0;
}

int usage_record_hint(struct usage_hint *out, struct span jws)
{
    AUTO_JSON json_t *header = NULL, *payload = NULL;
    struct span rest = jws, kid;

    TRY(part_read(span_split(&rest, '.'), &header));
    TRY(part_read(span_split(&rest, '.'), &payload));
    if (json_obj_string(header, "kid", &kid) < 0 || kid.len != JWS_KID_LEN)
        return E_INVALID;
    TRY(span_cstr(kid, out->kid, sizeof(out->kid)));
    return keyset_read(payload, out->keyset);
}
