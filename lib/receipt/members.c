/* Texts, digests and integers of signed payloads. */
#include "receipt/members.h"

#include "base/encode.h"
#include "base/json.h"
#include "crypto/jws.h"

bool member_call_good(struct span call)
{
    for (size_t i = 0; i < call.len; i++)
        if (!(call.data[i] >= '0' && call.data[i] <= '9') &&
            !(call.data[i] >= 'a' && call.data[i] <= 'f'))
            return false;
    return call.len == MEMBER_CALL_LEN;
}

bool member_model_good(struct span model)
{
    for (size_t i = 0; i < model.len; i++)
        if (model.data[i] < 0x20 || model.data[i] == 0x7F)
            return false;
    return model.len >= 1 && model.len <= MEMBER_MODEL_MAX && span_utf8(model);
}

void member_text_write(struct buf *out, const char *name, struct span value)
{
    buf_printf(out, ",\"%s\":\"", name);
    buf_json_escape(out, value);
    buf_byte(out, '"');
}

void member_digest_write(struct buf *out, const char *name, const uint8_t digest[static SHA256_LEN])
{
    buf_printf(out, ",\"%s\":\"", name);
    base64url_encode(out, span_of(digest, SHA256_LEN));
    buf_byte(out, '"');
}

int member_text_read(const json_t *doc, const char *name, struct span *out)
{
    const json_t *value = json_object_get(doc, name);

    if (!json_is_string(value))
        return E_INVALID;
    *out = span_of(json_string_value(value), json_string_length(value));
    return 0;
}

int member_chars_read(const json_t *doc, const char *name, char *out, size_t size)
{
    struct span text;

    TRY(member_text_read(doc, name, &text));
    return span_cstr(text, out, size);
}

int member_digest_read(const json_t *doc, const char *name, uint8_t out[static SHA256_LEN])
{
    AUTO(buf_fini) struct buf bytes = {0};
    struct span text;

    TRY(member_text_read(doc, name, &text));
    TRY(base64url_decode(&bytes, text));
    if (bytes.len != SHA256_LEN)
        return E_INVALID;
    memcpy(out, bytes.data, SHA256_LEN);
    return 0;
}

int member_integer_read(const json_t *doc, const char *name, int64_t max, int64_t *out)
{
    const json_t *value = json_object_get(doc, name);

    if (!json_is_integer(value) || !member_count_good(json_integer_value(value), max))
        return E_INVALID;
    *out = json_integer_value(value);
    return 0;
}

int member_version_check(const json_t *doc)
{
    int64_t version;

    TRY(member_integer_read(doc, "v", INT64_MAX, &version));
    return version == 1 ? 0 : E_INVALID;
}

int member_payload_read(const struct ed25519 *key, const char *typ, struct span jws, json_t **doc)
{
    AUTO(buf_fini) struct buf payload = {0};

    TRY(jws_verify(key, typ, jws, &payload));
    return json_read(buf_span(&payload), doc) < 0 ? E_INVALID : 0;
}

void member_own(struct buf *storage, struct span *s)
{
    size_t at = storage->len;

    buf_append(storage, *s);
    *s = span_of(storage->data + at, s->len);
}
