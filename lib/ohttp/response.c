/* Response encapsulation: keys from the request's exported secret and a fresh nonce, then chunks
 * under a counter. */
#include "ohttp/response.h"

enum { NONCE_MAX = AEAD_KEY_MAX };

#define CHUNKS_MAX (UINT64_C(1) << 32)

static const struct span LABEL = {(const uint8_t *)"message/bhttp chunked response", 30};

size_t response_nonce_len(enum aead_id id)
{
    size_t key_len = aead_key_len(id);

    return key_len > AEAD_NONCE_LEN ? key_len : AEAD_NONCE_LEN;
}

static struct span final_aad(bool final)
{
    return final ? SPAN("final") : SPAN("");
}

/* ---- Keys (RFC 9458 §4.4, with the chunked draft's label) ---- */

static int keys_expand(struct response_keys *k, enum aead_id id, struct span prk, bool sealing)
{
    uint8_t key[AEAD_KEY_MAX];
    size_t len = aead_key_len(id);
    int error = hkdf_expand(key, len, prk, SPAN("key"));

    if (error == 0)
        error = hkdf_expand(k->base_nonce, AEAD_NONCE_LEN, prk, SPAN("nonce"));
    if (error == 0)
        error = aead_new(&k->aead, id, span_of(key, len), sealing);
    crypto_wipe(key, sizeof(key));
    return error;
}

int response_keys_init(struct response_keys *k, const struct hpke_ctx *request, struct span nonce,
                       bool sealing)
{
    uint8_t secret[NONCE_MAX], salt[HPKE_ENC_LEN + NONCE_MAX], prk[SHA256_LEN];
    enum aead_id id = hpke_aead(request);
    int error;

    *k = (struct response_keys){0};
    if (nonce.len != response_nonce_len(id))
        return E_INVALID;
    memcpy(salt, hpke_enc(request).data, HPKE_ENC_LEN);
    memcpy(salt + HPKE_ENC_LEN, nonce.data, nonce.len);
    error = hpke_export(request, LABEL, secret, nonce.len);
    if (error == 0) {
        hkdf_extract(prk, span_of(salt, HPKE_ENC_LEN + nonce.len), span_of(secret, nonce.len));
        error = keys_expand(k, id, SPAN_OF(prk), sealing);
    }
    crypto_wipe(secret, sizeof(secret));
    crypto_wipe(prk, sizeof(prk));
    return error;
}

void response_keys_fini(struct response_keys *k)
{
    aead_free(k->aead);
    crypto_wipe(k, sizeof(*k));
}

/* ---- Chunks ---- */

int response_seal(struct response_keys *k, struct span plain, bool final, struct buf *out)
{
    uint8_t nonce[AEAD_NONCE_LEN];
    size_t before = out->len;
    int error;

    if (k->count >= CHUNKS_MAX)
        return E_TOO_LARGE;
    aead_nonce(nonce, k->base_nonce, k->count);
    framer_prefix(out, plain.len, final);
    error = aead_seal(k->aead, nonce, final_aad(final), plain, out);
    if (error < 0) {
        out->len = before;
        return error;
    }
    k->count++;
    return 0;
}

int response_open(struct response_keys *k, struct span sealed, bool final, struct buf *plain)
{
    uint8_t nonce[AEAD_NONCE_LEN];

    if (k->count >= CHUNKS_MAX)
        return E_TOO_LARGE;
    aead_nonce(nonce, k->base_nonce, k->count);
    TRY(aead_open(k->aead, nonce, final_aad(final), sealed, plain));
    k->count++;
    return 0;
}

/* ---- Reader ---- */

void response_reader_init(struct response_reader *r, const struct hpke_ctx *request,
                          size_t chunk_max)
{
    *r = (struct response_reader){.request = request, .framer = {.chunk_max = chunk_max}};
}

void response_reader_fini(struct response_reader *r)
{
    response_keys_fini(&r->keys);
    framer_fini(&r->framer);
    buf_wipe(&r->plain);
}

/* E_AGAIN while the nonce is not whole. */
static int nonce_collect(struct response_reader *r, struct span *in)
{
    size_t len = response_nonce_len(hpke_aead(r->request));
    struct span part = span_cut(*in, 0, len - r->nonce_have);

    if (part.len > 0)
        memcpy(r->nonce + r->nonce_have, part.data, part.len);
    r->nonce_have += part.len;
    *in = span_from(*in, part.len);
    if (r->nonce_have < len)
        return E_AGAIN;
    TRY(response_keys_init(&r->keys, r->request, span_of(r->nonce, len), false));
    r->state = RESPONSE_CHUNKS;
    return 0;
}

static int chunk_deliver(struct response_reader *r, struct span sealed, bool final,
                         response_chunk_fn *on_chunk, void *arg)
{
    buf_clear(&r->plain);
    TRY(response_open(&r->keys, sealed, final, &r->plain));
    if (final)
        r->state = RESPONSE_WHOLE;
    if (on_chunk)
        on_chunk(arg, buf_span(&r->plain), final);
    return 0;
}

static int feed(struct response_reader *r, struct span in, response_chunk_fn *on_chunk, void *arg)
{
    struct span sealed;

    if (r->state == RESPONSE_NONCE)
        TRY(nonce_collect(r, &in));
    if (r->state != RESPONSE_CHUNKS)
        return E_INVALID;
    for (;;) {
        TRY(framer_next(&r->framer, &in, &sealed));
        TRY(chunk_deliver(r, sealed, false, on_chunk, arg));
    }
}

int response_reader_feed(struct response_reader *r, struct span bytes, response_chunk_fn *on_chunk,
                         void *arg)
{
    int error = feed(r, bytes, on_chunk, arg);

    if (error == E_AGAIN)
        return 0;
    r->state = RESPONSE_BROKEN;
    return error;
}

int response_reader_end(struct response_reader *r, response_chunk_fn *on_chunk, void *arg)
{
    struct span sealed;
    int error = r->state == RESPONSE_CHUNKS ? framer_end(&r->framer, &sealed) : E_INVALID;

    if (error == 0)
        error = chunk_deliver(r, sealed, true, on_chunk, arg);
    if (error < 0)
        r->state = RESPONSE_BROKEN;
    return error;
}
