/* The response's keys and chunks with AES-128-GCM, the suite of the published examples, which
 * production does not speak. */
#include "tests/unit/lib/vectors.h"

#include "ohttp/response.h"

struct example {
    struct hpke_private *private;
    struct hpke_public *public;
    struct hpke_ctx *sender, *receiver;
};

static void example_fini(struct example *x)
{
    hpke_private_free(x->private);
    hpke_public_free(x->public);
    hpke_free(x->sender);
    hpke_free(x->receiver);
}
AUTO_FINI(struct example, example_fini)

static void example_from(struct example *x, const json_t *v)
{
    AUTO(buf_fini) struct buf sk = vector_hex(v, "skR"), pk = vector_hex(v, "pkR");
    AUTO(buf_fini) struct buf ephemeral = vector_hex(v, "skE"), info = vector_hex(v, "info");

    assert_int_equal(hpke_private_from(&x->private, buf_span(&sk)), 0);
    assert_int_equal(hpke_public_from(&x->public, buf_span(&pk)), 0);
    assert_int_equal(hpke_sender_from(&x->sender, x->public, AEAD_AES_128_GCM, buf_span(&info),
                                      buf_span(&ephemeral)),
                     0);
    assert_hex(hpke_enc(x->sender), vector_text(v, "pkE"));
    assert_int_equal(hpke_receiver_new(&x->receiver, x->private, AEAD_AES_128_GCM,
                                       hpke_enc(x->sender), buf_span(&info)),
                     0);
}

static void secret_is_exported(const struct example *x, const json_t *v)
{
    uint8_t a[16], b[16];

    assert_int_equal(hpke_export(x->sender, span_str(vector_text(v, "export_label")), a, sizeof(a)),
                     0);
    assert_int_equal(
        hpke_export(x->receiver, span_str(vector_text(v, "export_label")), b, sizeof(b)), 0);
    assert_hex(SPAN_OF(a), vector_text(v, "secret"));
    assert_hex(SPAN_OF(b), vector_text(v, "secret"));
}

static void nonces_are_as_long_as_the_longer_of_key_and_nonce(void **state)
{
    (void)state;
    assert_int_equal(response_nonce_len(AEAD_AES_128_GCM), 16);
    assert_int_equal(response_nonce_len(AEAD_AES_256_GCM), 32);
    assert_int_equal(response_nonce_len(AEAD_CHACHA20_POLY1305), 32);
}

/* hdr ‖ enc ‖ chunks, as the example has them. */
static void draft_request(struct example *x, const json_t *v)
{
    const json_t *plains = json_object_get(v, "request_chunk_plaintexts");
    AUTO(buf_fini) struct buf request = {0}, plain = {0}, whole = vector_hex(v, "enc_request");
    AUTO(framer_fini) struct framer framer = {.chunk_max = 16384};
    struct span in = span_from(buf_span(&whole), 7 + HPKE_ENC_LEN), sealed;
    const json_t *p;
    size_t i;

    buf_append(&request, span_cut(buf_span(&whole), 0, 7));
    buf_append(&request, hpke_enc(x->sender));
    json_array_foreach(plains, i, p) {
        AUTO(buf_fini) struct buf text = bytes_of_hex(json_string_value(p));
        bool final = i + 1 == json_array_size(plains);

        framer_prefix(&request, text.len, final);
        assert_int_equal(
            hpke_seal(x->sender, final ? SPAN("final") : SPAN(""), buf_span(&text), &request), 0);
    }
    assert_span(buf_span(&request), buf_span(&whole));
    while (framer_next(&framer, &in, &sealed) == 0)
        assert_int_equal(hpke_open(x->receiver, SPAN(""), sealed, &plain), 0);
    assert_int_equal(framer_end(&framer, &sealed), 0);
    assert_int_equal(hpke_open(x->receiver, SPAN("final"), sealed, &plain), 0);
    assert_hex(buf_span(&plain), vector_text(v, "bhttp_request"));
}

static void draft_response_seal(struct example *x, const json_t *v)
{
    const json_t *plains = json_object_get(v, "response_chunk_plaintexts");
    AUTO(buf_fini) struct buf nonce = vector_hex(v, "response_nonce"), answer = {0};
    AUTO(response_keys_fini) struct response_keys keys = {0};
    const json_t *p;
    size_t i;

    assert_int_equal(response_keys_init(&keys, x->receiver, buf_span(&nonce), true), 0);
    assert_hex(SPAN_OF(keys.base_nonce), vector_text(v, "aead_base_nonce"));
    buf_append(&answer, buf_span(&nonce));
    json_array_foreach(plains, i, p) {
        AUTO(buf_fini) struct buf text = bytes_of_hex(json_string_value(p));

        assert_int_equal(
            response_seal(&keys, buf_span(&text), i + 1 == json_array_size(plains), &answer), 0);
    }
    assert_hex(buf_span(&answer), vector_text(v, "enc_response"));
}

static void got_chunk(void *arg, struct span plain, bool final)
{
    buf_append(arg, plain);
    buf_append_str(arg, final ? "." : ",");
}

static void draft_response_open(struct example *x, const json_t *v)
{
    AUTO(buf_fini) struct buf answer = vector_hex(v, "enc_response");

    for (size_t step = 1; step <= answer.len; step++) {
        AUTO(response_reader_fini) struct response_reader r;
        AUTO(buf_fini) struct buf got = {0};

        response_reader_init(&r, x->sender, 16384);
        for (size_t at = 0; at < answer.len; at += step)
            assert_int_equal(
                response_reader_feed(&r, span_cut(buf_span(&answer), at, step), got_chunk, &got),
                0);
        assert_int_equal(response_reader_end(&r, got_chunk, &got), 0);
        assert_span(buf_span(&got), SPAN("\x01,\x40\xc8,."));
    }
}

static void the_chunked_draft_is_reproduced(void **state)
{
    json_t *v = vectors_load("ohttp/chunked_ohttp_draft_example.json");
    AUTO(example_fini) struct example x = {0};

    (void)state;
    example_from(&x, v);
    secret_is_exported(&x, v);
    draft_request(&x, v);
    draft_response_seal(&x, v);
    draft_response_open(&x, v);
    json_decref(v);
}

/* RFC 9458 has one message instead of chunks: its keys come the same way, but for the label. */
static void the_keys_of_rfc_9458_are_derived(void **state)
{
    json_t *v = vectors_load("ohttp/rfc9458_appendix_a.json");
    AUTO(buf_fini) struct buf whole = vector_hex(v, "enc_request"), plain = {0};
    AUTO(buf_fini) struct buf salt = vector_hex(v, "salt"), secret = vector_hex(v, "secret");
    AUTO(example_fini) struct example x = {0};
    uint8_t prk[SHA256_LEN], key[16], nonce[AEAD_NONCE_LEN];
    AUTO(aead_free) struct aead *open = NULL;
    struct span answer;
    AUTO(buf_fini) struct buf encapsulated = vector_hex(v, "enc_response"), got = {0};

    (void)state;
    example_from(&x, v);
    secret_is_exported(&x, v);
    assert_int_equal(
        hpke_open(x.receiver, SPAN(""), span_from(buf_span(&whole), 7 + HPKE_ENC_LEN), &plain), 0);
    assert_hex(buf_span(&plain), vector_text(v, "bhttp_request"));
    hkdf_extract(prk, buf_span(&salt), buf_span(&secret));
    assert_hex(SPAN_OF(prk), vector_text(v, "prk"));
    assert_int_equal(hkdf_expand(key, sizeof(key), SPAN_OF(prk), SPAN("key")), 0);
    assert_int_equal(hkdf_expand(nonce, sizeof(nonce), SPAN_OF(prk), SPAN("nonce")), 0);
    assert_hex(SPAN_OF(key), vector_text(v, "aead_key"));
    assert_hex(SPAN_OF(nonce), vector_text(v, "aead_nonce"));
    answer = span_from(buf_span(&encapsulated), 16);
    assert_int_equal(aead_new(&open, AEAD_AES_128_GCM, SPAN_OF(key), false), 0);
    assert_int_equal(aead_open(open, nonce, SPAN(""), answer, &got), 0);
    assert_hex(buf_span(&got), vector_text(v, "bhttp_response"));
    json_decref(v);
}

static void the_chunk_count_is_bounded(void **state)
{
    static const uint8_t raw[HPKE_KEY_LEN] = {9}, nonce[32] = {1};
    AUTO(hpke_private_free) struct hpke_private *key = NULL;
    AUTO(hpke_free) struct hpke_ctx *ctx = NULL;
    AUTO(response_keys_fini) struct response_keys seal = {0}, open = {0};
    AUTO(buf_fini) struct buf out = {0}, plain = {0};

    (void)state;
    assert_int_equal(hpke_private_generate(&key), 0);
    assert_int_equal(hpke_receiver_new(&ctx, key, AEAD_AES_256_GCM, SPAN_OF(raw), SPAN("")), 0);
    assert_int_equal(response_keys_init(&seal, ctx, SPAN_OF(nonce), true), 0);
    assert_int_equal(response_keys_init(&open, ctx, SPAN_OF(nonce), false), 0);
    seal.count = open.count = (UINT64_C(1) << 32) - 1;
    assert_int_equal(response_seal(&seal, SPAN("x"), false, &out), 0);
    assert_int_equal(response_open(&open, span_from(buf_span(&out), 1), false, &plain), 0);
    assert_int_equal(response_seal(&seal, SPAN("x"), false, &out), E_TOO_LARGE);
    assert_int_equal(response_open(&open, buf_span(&out), false, &plain), E_TOO_LARGE);
    assert_int_equal(out.len, 18);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nonces_are_as_long_as_the_longer_of_key_and_nonce),
        cmocka_unit_test(the_chunked_draft_is_reproduced),
        cmocka_unit_test(the_keys_of_rfc_9458_are_derived),
        cmocka_unit_test(the_chunk_count_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
