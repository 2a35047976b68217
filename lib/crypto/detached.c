/* Detached signatures of published documents (attestation.md §6). */
#include "crypto/detached.h"

#include <string.h>

#include "base/encode.h"
#include "crypto/hash.h"

enum { KEY_ID_LEN = 16, MAX_LINES = 64 };

static void key_id(uint8_t out[static KEY_ID_LEN], struct span key)
{
    uint8_t digest[SHA256_LEN];

    sha256(digest, key);
    memcpy(out, digest, KEY_ID_LEN);
}

static void message_write(struct buf *out, const char *label, struct span bytes)
{
    buf_append_str(out, label);
    buf_byte(out, 0);
    buf_append(out, bytes);
}

/* Whether line is a signature of message by one of keys. */
static bool line_verifies(struct span line, struct span message, const struct span *keys,
                          size_t key_count)
{
    AUTO(buf_fini) struct buf id = {0}, sig = {0};
    const uint8_t *blank = line.len > 0 ? memchr(line.data, ' ', line.len) : NULL;
    const size_t at = blank ? (size_t)(blank - line.data) : 0;

    if (!blank || base64url_decode(&id, span_of(line.data, at)) < 0 ||
        base64url_decode(&sig, span_of(line.data + at + 1, line.len - at - 1)) < 0)
        return false;
    for (size_t i = 0; i < key_count; i++) {
        AUTO(ed25519_free) struct ed25519 *key = NULL;
        uint8_t mine[KEY_ID_LEN];

        key_id(mine, keys[i]);
        if (crypto_equal(buf_span(&id), SPAN_OF(mine)) && ed25519_from_public(&key, keys[i]) == 0 &&
            ed25519_verify(key, message, buf_span(&sig)) == 0)
            return true;
    }
    return false;
}

int detached_verify(const char *label, struct span bytes, struct span sig_file,
                    const struct span *keys, size_t key_count)
{
    AUTO(buf_fini) struct buf message = {0};

    message_write(&message, label, bytes);
    for (int lines = 0; sig_file.len > 0 && lines < MAX_LINES; lines++) {
        const uint8_t *end = memchr(sig_file.data, '\n', sig_file.len);
        const size_t len = end ? (size_t)(end - sig_file.data) : sig_file.len;
        const size_t taken = end ? len + 1 : len;

        if (line_verifies(span_of(sig_file.data, len), buf_span(&message), keys, key_count))
            return 0;
        sig_file = span_of(sig_file.data + taken, sig_file.len - taken);
    }
    return E_AUTH;
}

int detached_sign(const char *label, struct span bytes, const struct ed25519 *key, struct buf *out)
{
    AUTO(buf_fini) struct buf message = {0};
    uint8_t public[ED25519_KEY_LEN], id[KEY_ID_LEN], sig[ED25519_SIG_LEN];

    message_write(&message, label, bytes);
    TRY(ed25519_sign(key, buf_span(&message), sig));
    ed25519_public(key, public);
    key_id(id, SPAN_OF(public));
    base64url_encode(out, SPAN_OF(id));
    buf_byte(out, ' ');
    base64url_encode(out, SPAN_OF(sig));
    buf_byte(out, '\n');
    return 0;
}
