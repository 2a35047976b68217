/* Both sides of one chunked OHTTP exchange: a request sealed whole, a response opened or sealed as
 * it comes. */
#include "ohttp/ohttp.h"

#include <stdlib.h>

#include "base/random.h"
#include "ohttp/framer.h"
#include "ohttp/response.h"

static const char REQUEST_LABEL[] =
    "message/bhttp chunked request"; /* its NUL separates it from hdr */

enum { INFO_LEN = sizeof(REQUEST_LABEL) + OHTTP_HDR_LEN, HEAD_LEN = OHTTP_HDR_LEN + HPKE_ENC_LEN };

static void hdr_make(uint8_t out[static OHTTP_HDR_LEN], uint8_t key_id, unsigned aead)
{
    const uint8_t hdr[] = {
        key_id, 0, HPKE_KEM_X25519, 0, HPKE_KDF_SHA256, (uint8_t)(aead >> 8), (uint8_t)aead};

    memcpy(out, hdr, sizeof(hdr));
}

static void info_make(uint8_t out[static INFO_LEN], const uint8_t hdr[static OHTTP_HDR_LEN])
{
    memcpy(out, REQUEST_LABEL, sizeof(REQUEST_LABEL));
    memcpy(out + sizeof(REQUEST_LABEL), hdr, OHTTP_HDR_LEN);
}

/* ---- Client ---- */

struct ohttp_client {
    uint8_t hdr[OHTTP_HDR_LEN];
    struct hpke_ctx *hpke;
    bool sealed;
    size_t chunk_max;
    struct response_reader response;
};

/* Takes *hpke. */
static void client_take(struct ohttp_client **out, struct hpke_ctx **hpke,
                        const uint8_t hdr[static OHTTP_HDR_LEN])
{
    struct ohttp_client *c = mem_zero(sizeof(*c));

    memcpy(c->hdr, hdr, OHTTP_HDR_LEN);
    c->hpke = *hpke;
    *hpke = NULL;
    c->chunk_max = OHTTP_CHUNK_MAX;
    response_reader_init(&c->response, c->hpke, c->chunk_max);
    *out = c;
}

/* An empty ephemeral means a fresh one. */
static int client_make(struct ohttp_client **out, const struct key_config *to,
                       const struct hpke_public *key, enum aead_id aead, struct span ephemeral)
{
    AUTO(hpke_free) struct hpke_ctx *hpke = NULL;
    uint8_t hdr[OHTTP_HDR_LEN], info[INFO_LEN];

    if (!key_config_offers(to, HPKE_KEM_X25519, HPKE_KDF_SHA256, aead))
        return E_UNSUPPORTED;
    hdr_make(hdr, to->key_id, aead);
    info_make(info, hdr);
    if (ephemeral.len > 0)
        TRY(hpke_sender_from(&hpke, key, aead, SPAN_OF(info), ephemeral));
    else
        TRY(hpke_sender_new(&hpke, key, aead, SPAN_OF(info)));
    client_take(out, &hpke, hdr);
    return 0;
}

int ohttp_client_new(struct ohttp_client **out, const struct key_config *to,
                     const struct hpke_public *key, enum aead_id aead)
{
    return client_make(out, to, key, aead, SPAN(""));
}

int ohttp_client_from(struct ohttp_client **out, const struct key_config *to,
                      const struct hpke_public *key, enum aead_id aead, struct span ephemeral32)
{
    return ephemeral32.len == 0 ? E_INVALID : client_make(out, to, key, aead, ephemeral32);
}

void ohttp_client_free(struct ohttp_client *c)
{
    if (!c)
        return;
    response_reader_fini(&c->response);
    hpke_free(c->hpke);
    free(c);
}

void ohttp_client_set_chunk_max(struct ohttp_client *c, size_t len)
{
    CHECK(len > 0);
    c->chunk_max = len;
    c->response.framer.chunk_max = len;
}

int ohttp_client_seal(struct ohttp_client *c, struct span bhttp, struct buf *out)
{
    size_t chunks = bhttp.len / c->chunk_max + 1;

    if (c->sealed)
        return E_EXISTS;
    c->sealed = true;
    buf_reserve(out, HEAD_LEN + bhttp.len + chunks * (AEAD_TAG_LEN + VARINT_MAX_LEN));
    buf_append(out, SPAN_OF(c->hdr));
    buf_append(out, hpke_enc(c->hpke));
    for (; bhttp.len > c->chunk_max; bhttp = span_from(bhttp, c->chunk_max)) {
        framer_prefix(out, c->chunk_max, false);
        TRY(hpke_seal(c->hpke, SPAN(""), span_cut(bhttp, 0, c->chunk_max), out));
    }
    framer_prefix(out, bhttp.len, true);
    return hpke_seal(c->hpke, SPAN("final"), bhttp, out);
}

int ohttp_client_open(struct ohttp_client *c, struct span bytes, ohttp_chunk_fn *on_chunk,
                      void *arg)
{
    return c->sealed ? response_reader_feed(&c->response, bytes, on_chunk, arg) : E_INVALID;
}

int ohttp_client_end(struct ohttp_client *c, ohttp_chunk_fn *on_chunk, void *arg)
{
    return c->sealed ? response_reader_end(&c->response, on_chunk, arg) : E_INVALID;
}

/* ---- Server ---- */

static unsigned u16_at(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

int ohttp_hdr_parse(struct ohttp_hdr *out, struct span bytes)
{
    uint8_t digest[SHA256_LEN];

    if (bytes.len < HEAD_LEN)
        return E_AGAIN;
    out->key_id = bytes.data[0];
    out->kem = u16_at(bytes.data + 1);
    out->kdf = u16_at(bytes.data + 3);
    out->aead = u16_at(bytes.data + 5);
    memcpy(out->enc, bytes.data + OHTTP_HDR_LEN, HPKE_ENC_LEN);
    sha256(digest, span_cut(bytes, 0, HEAD_LEN));
    memcpy(out->replay, digest, sizeof(out->replay));
    return 0;
}

struct ohttp_server {
    uint8_t hdr[OHTTP_HDR_LEN];
    struct hpke_ctx *hpke;
    size_t chunk_max;
    uint8_t nonce[OHTTP_RESPONSE_NONCE_LEN];
    struct response_keys response;
    enum { SERVER_NEW, SERVER_REFUSED, SERVER_OPENED, SERVER_SEALING, SERVER_ENDED } state;
};

int ohttp_server_new(struct ohttp_server **out, const struct ohttp_hdr *hdr,
                     const struct hpke_private *key)
{
    static const struct key_config all = {.aes_256_gcm = true, .chacha20_poly1305 = true};
    AUTO(ohttp_server_free) struct ohttp_server *s = NULL;
    uint8_t info[INFO_LEN];

    if (!key_config_offers(&all, hdr->kem, hdr->kdf, hdr->aead))
        return E_UNSUPPORTED;
    s = mem_zero(sizeof(*s));
    s->chunk_max = OHTTP_CHUNK_MAX;
    random_bytes(s->nonce, sizeof(s->nonce));
    hdr_make(s->hdr, hdr->key_id, hdr->aead);
    info_make(info, s->hdr);
    TRY(hpke_receiver_new(&s->hpke, key, (enum aead_id)hdr->aead, SPAN_OF(hdr->enc),
                          SPAN_OF(info)));
    *out = s;
    s = NULL;
    return 0;
}

void ohttp_server_free(struct ohttp_server *s)
{
    if (!s)
        return;
    response_keys_fini(&s->response);
    hpke_free(s->hpke);
    free(s);
}

void ohttp_server_set_chunk_max(struct ohttp_server *s, size_t len)
{
    CHECK(len > 0);
    s->chunk_max = len;
}

void ohttp_server_set_nonce(struct ohttp_server *s,
                            const uint8_t nonce[static OHTTP_RESPONSE_NONCE_LEN])
{
    memcpy(s->nonce, nonce, OHTTP_RESPONSE_NONCE_LEN);
}

static int chunks_open(struct ohttp_server *s, struct framer *f, struct span in, struct buf *plain)
{
    struct span sealed;
    int error;

    while ((error = framer_next(f, &in, &sealed)) == 0)
        TRY(hpke_open(s->hpke, SPAN(""), sealed, plain));
    if (error != E_AGAIN)
        return error;
    TRY(framer_end(f, &sealed));
    return hpke_open(s->hpke, SPAN("final"), sealed, plain);
}

static bool head_is_ours(const struct ohttp_server *s, struct span whole)
{
    return span_eq(span_cut(whole, 0, OHTTP_HDR_LEN), SPAN_OF(s->hdr)) &&
           span_eq(span_cut(whole, OHTTP_HDR_LEN, HPKE_ENC_LEN), hpke_enc(s->hpke));
}

int ohttp_server_open(struct ohttp_server *s, struct span whole, struct buf *plain)
{
    AUTO(framer_fini) struct framer framer = {.chunk_max = s->chunk_max};
    size_t before = plain->len;
    int error;

    if (s->state != SERVER_NEW || !head_is_ours(s, whole))
        return E_INVALID;
    buf_reserve(plain, whole.len);
    error = chunks_open(s, &framer, span_from(whole, HEAD_LEN), plain);
    s->state = error < 0 ? SERVER_REFUSED : SERVER_OPENED;
    if (error < 0) {
        crypto_wipe(plain->data + before, plain->len - before);
        plain->len = before;
    }
    return error;
}

static int nonce_send(struct ohttp_server *s, struct buf *out)
{
    TRY(response_keys_init(&s->response, s->hpke, SPAN_OF(s->nonce), true));
    buf_append(out, SPAN_OF(s->nonce));
    s->state = SERVER_SEALING;
    return 0;
}

static int chunks_seal(struct ohttp_server *s, struct span plain, bool final, struct buf *out)
{
    for (; plain.len > s->chunk_max; plain = span_from(plain, s->chunk_max))
        TRY(response_seal(&s->response, span_cut(plain, 0, s->chunk_max), false, out));
    return plain.len > 0 || final ? response_seal(&s->response, plain, final, out) : 0;
}

int ohttp_server_seal(struct ohttp_server *s, struct span plain, bool final, struct buf *out)
{
    if (s->state != SERVER_OPENED && s->state != SERVER_SEALING)
        return E_INVALID;
    if (s->state == SERVER_OPENED)
        TRY(nonce_send(s, out));
    TRY(chunks_seal(s, plain, final, out));
    if (final)
        s->state = SERVER_ENDED;
    return 0;
}
