/* Chunked OHTTP: raw bytes as an answer and as a request; and good answers, changed in one place,
 * which must not pass. First byte: what is done; second: seed of the cuts. */
#include "ohttp/ohttp.h"
#include "ohttp/response.h"

enum { CHUNK_MAX = 100, LEAD = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One exchange, kept: its contexts are what costs time. */
static struct hpke_private *private;
static struct hpke_ctx *sender, *receiver;
static uint8_t public[HPKE_KEY_LEN];

static void exchange_make(void)
{
    static const uint8_t raw[HPKE_KEY_LEN] = {5};
    AUTO(hpke_public_free) struct hpke_public *to = NULL;

    CHECK(hpke_private_from(&private, SPAN_OF(raw)) == 0);
    hpke_private_public(private, public);
    CHECK(hpke_public_from(&to, SPAN_OF(public)) == 0);
    CHECK(hpke_sender_from(&sender, to, AEAD_AES_256_GCM, SPAN("i"), SPAN_OF(public)) == 0);
    CHECK(hpke_receiver_new(&receiver, private, AEAD_AES_256_GCM, hpke_enc(sender), SPAN("i")) ==
          0);
}

struct got {
    struct buf plain;
    bool final;
};

static void got_chunk(void *arg, struct span plain, bool final)
{
    struct got *g = arg;

    CHECK(!g->final && plain.len <= CHUNK_MAX && (final || plain.len > 0));
    g->final = final;
    buf_append(&g->plain, plain);
}

static int answer_read(struct span in, unsigned cuts, struct got *g)
{
    AUTO(response_reader_fini) struct response_reader r;

    response_reader_init(&r, sender, CHUNK_MAX);
    while (in.len > 0) {
        size_t step = cuts == 0 ? in.len : 1 + cuts % 29;

        TRY(response_reader_feed(&r, span_cut(in, 0, step), got_chunk, g));
        in = span_from(in, step);
        cuts = cuts * 1103515245U + 12345U;
        cuts += cuts == 0;
    }
    TRY(response_reader_end(&r, got_chunk, g));
    CHECK(g->final);
    return 0;
}

/* Whole and cut must tell the same. */
static int answer_both(struct span in, unsigned cuts, struct got *whole)
{
    struct got cut = {0};
    int a = answer_read(in, 0, whole), b = answer_read(in, 1 + cuts, &cut);

    CHECK(a == b && whole->final == cut.final && whole->final == (a == 0));
    CHECK(span_eq(buf_span(&whole->plain), buf_span(&cut.plain)));
    buf_fini(&cut.plain);
    return a;
}

/* data: plaintext, cut into chunks by its own bytes. */
static void answer_make(struct span data, struct buf *out)
{
    static const uint8_t nonce[OHTTP_RESPONSE_NONCE_LEN] = {7};
    AUTO(response_keys_fini) struct response_keys keys = {0};

    CHECK(response_keys_init(&keys, receiver, SPAN_OF(nonce), true) == 0);
    buf_append(out, SPAN_OF(nonce));
    while (data.len > 0 && data.data[0] % CHUNK_MAX < data.len) {
        size_t len = 1 + data.data[0] % CHUNK_MAX;

        CHECK(response_seal(&keys, span_cut(data, 0, len), false, out) == 0);
        data = span_from(data, len);
    }
    CHECK(response_seal(&keys, span_cut(data, 0, CHUNK_MAX), true, out) == 0);
}

/* An answer with one byte changed, its end cut off, or nothing done to it (place beyond its end).
 */
static void answer_changed(struct span data, const uint8_t *lead)
{
    AUTO(buf_fini) struct buf answer = {0};
    struct got got = {0};
    size_t place = (size_t)lead[2] << 2 | (lead[3] & 3);
    bool changed;

    answer_make(data, &answer);
    changed = place < answer.len;
    if (changed && (lead[0] & 8))
        answer.len = place;
    else if (changed)
        answer.data[place] ^= (uint8_t)(1 | lead[3]);
    CHECK((answer_both(buf_span(&answer), lead[1], &got) < 0) == changed);
    CHECK(span_eq(buf_span(&got.plain), span_cut(data, 0, got.plain.len)));
    buf_fini(&got.plain);
}

static void request_raw(struct span in)
{
    AUTO(ohttp_server_free) struct ohttp_server *server = NULL;
    AUTO(buf_fini) struct buf plain = {0};
    struct ohttp_hdr hdr;

    if (ohttp_hdr_parse(&hdr, in) < 0 || ohttp_server_new(&server, &hdr, private) < 0)
        return;
    CHECK(ohttp_server_open(server, in, &plain) < 0 && plain.len == 0);
}

/* A good request, changed in one place or not at all. */
static void request_changed(struct span data, const uint8_t *lead)
{
    AUTO(ohttp_client_free) struct ohttp_client *client = NULL;
    AUTO(ohttp_server_free) struct ohttp_server *server = NULL;
    AUTO(hpke_public_free) struct hpke_public *to = NULL;
    AUTO(buf_fini) struct buf request = {0}, plain = {0};
    size_t place = (size_t)lead[2] << 2 | (lead[3] & 3);
    uint8_t config[KEY_CONFIG_LEN];
    struct key_config parsed;
    struct ohttp_hdr hdr;

    key_config_make(config, lead[1], public);
    CHECK(key_config_parse(&parsed, SPAN_OF(config)) == 0);
    CHECK(hpke_public_from(&to, SPAN_OF(public)) == 0);
    CHECK(ohttp_client_from(&client, &parsed, to, AEAD_CHACHA20_POLY1305, SPAN_OF(public)) == 0);
    ohttp_client_set_chunk_max(client, CHUNK_MAX);
    CHECK(ohttp_client_seal(client, data, &request) == 0);
    if (place < request.len)
        request.data[place] ^= (uint8_t)(1 | lead[3]);
    CHECK(ohttp_hdr_parse(&hdr, buf_span(&request)) == 0);
    if (ohttp_server_new(&server, &hdr, private) < 0)
        return;
    ohttp_server_set_chunk_max(server, CHUNK_MAX);
    CHECK((ohttp_server_open(server, buf_span(&request), &plain) == 0) == (place >= request.len));
    CHECK(span_eq(buf_span(&plain), place < request.len ? SPAN("") : data));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span in = span_from(span_of(data, size), LEAD);
    struct got got = {0};

    if (!private)
        exchange_make();
    if (size < LEAD)
        return 0;
    switch (data[0] & 7) {
    case 0:
        CHECK(answer_both(in, data[1], &got) < 0 && got.plain.len == 0);
        break;
    case 1:
        request_raw(in);
        break;
    case 2:
        request_changed(in, data);
        break;
    default:
        answer_changed(in, data);
        break;
    }
    buf_fini(&got.plain);
    return 0;
}
