/* Inside: a byte of form, a byte of attestation (its number and one), eight of the cost (big
 * endian), the answer. Outside: a random nonce before, the tag behind; the place is associated
 * data. */
#include "gateway/kept.h"

#include "attest/verdict.h"
#include "base/random.h"
#include "crypto/aead.h"
#include "crypto/hash.h"

enum { FORM_WHOLE = 1, FORM_STREAM = 2, COST_LEN = 8, HEAD_LEN = 2 + COST_LEN };

#define LABEL "cocoon kept answer v1"

void kept_key(uint8_t out[static KEPT_KEY_LEN], struct span secret, const struct kept_place *p)
{
    const struct span info[] = {span_str(p->account), SPAN("\0"), span_str(p->name), SPAN("\0"),
                                span_str(p->call)};
    uint8_t prk[SHA256_LEN];

    hkdf_extract(prk, SPAN(LABEL), secret);
    CHECK(hkdf_expand_parts(out, KEPT_KEY_LEN, SPAN_OF(prk), info, sizeof(info) / sizeof(*info)) ==
          0);
    crypto_wipe(prk, sizeof(prk));
}

static void place_write(const struct kept_place *p, struct buf *out)
{
    const char *const texts[] = {p->account, p->name, p->body, p->path, p->require, p->call};

    buf_append(out, SPAN(LABEL));
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        buf_byte(out, 0);
        buf_append_str(out, texts[i]);
    }
}

int kept_seal(const uint8_t key[static KEPT_KEY_LEN], const struct kept_place *p,
              const struct kept_answer *a, struct buf *out)
{
    AUTO(aead_free) struct aead *aead = NULL;
    AUTO(buf_fini) struct buf place = {0};
    AUTO(buf_wipe) struct buf plain = {0};
    uint8_t nonce[AEAD_NONCE_LEN];

    TRY(aead_new(&aead, AEAD_AES_256_GCM, span_of(key, KEPT_KEY_LEN), true));
    (void)buf_reserve(&plain, HEAD_LEN + a->bytes.len);
    buf_byte(&plain, a->stream ? FORM_STREAM : FORM_WHOLE);
    buf_byte(&plain, (uint8_t)(a->attestation + 1));
    buf_u64be(&plain, (uint64_t)a->cost_nano);
    buf_append(&plain, a->bytes);
    place_write(p, &place);
    random_bytes(nonce, sizeof(nonce));
    buf_append(out, SPAN_OF(nonce));
    return aead_seal(aead, nonce, buf_span(&place), buf_span(&plain), out);
}

int kept_read(struct span plain, struct kept_answer *a)
{
    uint64_t cost = 0;

    if (plain.len < HEAD_LEN || (plain.data[0] != FORM_WHOLE && plain.data[0] != FORM_STREAM))
        return E_INVALID;
    for (size_t i = 0; i < COST_LEN; i++)
        cost = cost << 8 | plain.data[2 + i];
    if (cost > INT64_MAX || plain.data[1] > ATTEST_UNATTESTED + 1)
        return E_INVALID;
    a->stream = plain.data[0] == FORM_STREAM;
    a->attestation = plain.data[1] - 1;
    a->cost_nano = (int64_t)cost;
    a->bytes = span_from(plain, HEAD_LEN);
    return 0;
}

int kept_open(const uint8_t key[static KEPT_KEY_LEN], const struct kept_place *p,
              struct span sealed, struct kept_answer *a, struct buf *plain)
{
    AUTO(aead_free) struct aead *aead = NULL;
    AUTO(buf_fini) struct buf place = {0};
    uint8_t nonce[AEAD_NONCE_LEN];

    if (sealed.len < AEAD_NONCE_LEN + AEAD_TAG_LEN)
        return E_INVALID;
    memcpy(nonce, sealed.data, sizeof(nonce));
    place_write(p, &place);
    TRY(aead_new(&aead, AEAD_AES_256_GCM, span_of(key, KEPT_KEY_LEN), false));
    TRY(aead_open(aead, nonce, buf_span(&place), span_from(sealed, AEAD_NONCE_LEN), plain));
    return kept_read(buf_span(plain), a);
}
