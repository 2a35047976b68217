/* Chunked OHTTP, both sides: published vectors, and that no change to an answer passes for the
 * answer. */
#include "tests/unit/lib/vectors.h"

#include <stdlib.h>

#include "base/random.h"
#include "ohttp/ohttp.h"

/* What on_chunk was told. */
struct got {
    struct buf plain;
    size_t chunks, lengths[512];
    bool final;
};

static void got_fini(struct got *g)
{
    buf_fini(&g->plain);
}
AUTO_FINI(struct got, got_fini)

static void got_chunk(void *arg, struct span plain, bool final)
{
    struct got *g = arg;

    assert_false(g->final);
    if (g->chunks < sizeof(g->lengths) / sizeof(g->lengths[0]))
        g->lengths[g->chunks] = plain.len;
    g->chunks++;
    g->final = final;
    buf_append(&g->plain, plain);
}

/* A worker's key, its configuration, and an exchange under it. */
struct exchange {
    struct hpke_private *private;
    struct hpke_public *public;
    struct key_config config;
    struct ohttp_client *client;
    struct ohttp_server *server;
};

static void exchange_fini(struct exchange *x)
{
    hpke_private_free(x->private);
    hpke_public_free(x->public);
    ohttp_client_free(x->client);
    ohttp_server_free(x->server);
}
AUTO_FINI(struct exchange, exchange_fini)

static void keys_take(struct exchange *x, struct hpke_private *private, uint8_t key_id)
{
    uint8_t public[HPKE_KEY_LEN], config[KEY_CONFIG_LEN];

    x->private = private;
    hpke_private_public(private, public);
    assert_int_equal(hpke_public_from(&x->public, SPAN_OF(public)), 0);
    key_config_make(config, key_id, public);
    assert_int_equal(key_config_parse(&x->config, SPAN_OF(config)), 0);
}

static void server_open(struct exchange *x, struct span request, struct buf *plain)
{
    struct ohttp_hdr hdr;

    assert_int_equal(ohttp_hdr_parse(&hdr, request), 0);
    assert_int_equal(hdr.key_id, x->config.key_id);
    assert_int_equal(ohttp_server_new(&x->server, &hdr, x->private), 0);
    assert_int_equal(ohttp_server_open(x->server, request, plain), 0);
}

/* A client that has sent its request, and a server that has opened it. */
static void exchange_begin(struct exchange *x, enum aead_id aead)
{
    AUTO(buf_fini) struct buf request = {0}, plain = {0};
    struct hpke_private *private;

    assert_int_equal(hpke_private_generate(&private), 0);
    keys_take(x, private, 9);
    assert_int_equal(ohttp_client_new(&x->client, &x->config, x->public, aead), 0);
    assert_int_equal(ohttp_client_seal(x->client, SPAN("question"), &request), 0);
    server_open(x, buf_span(&request), &plain);
    assert_span(buf_span(&plain), SPAN("question"));
}

/* A second client context with the same keys: answers can be opened again and again. */
static int answer_open(const struct exchange *x, struct span ephemeral, enum aead_id aead,
                       struct span answer, size_t step, struct got *got)
{
    AUTO(ohttp_client_free) struct ohttp_client *client = NULL;
    AUTO(buf_fini) struct buf request = {0};

    assert_int_equal(ohttp_client_from(&client, &x->config, x->public, aead, ephemeral), 0);
    assert_int_equal(ohttp_client_seal(client, SPAN("question"), &request), 0);
    for (size_t at = 0; at < answer.len; at += step)
        TRY(ohttp_client_open(client, span_cut(answer, at, step), got_chunk, got));
    return ohttp_client_end(client, got_chunk, got);
}

/* ---- Vectors of the profile ---- */

static enum aead_id aead_of(const json_t *v)
{
    return (enum aead_id)json_integer_value(json_object_get(v, "aead"));
}

static const json_t *vector_named(const json_t *doc, const char *name)
{
    const json_t *v;
    size_t i;

    json_array_foreach(json_object_get(doc, "vectors"), i, v) {
        if (strcmp(vector_text(v, "name"), name) == 0)
            return v;
    }
    fail_msg("no vector %s", name);
    return NULL;
}

/* Keys, and a client that has sealed the vector's request byte for byte. */
static void exchange_from(struct exchange *x, const json_t *doc, const json_t *v)
{
    AUTO(buf_fini) struct buf sk = vector_hex(doc, "skR"), ephemeral = vector_hex(v, "skE");
    AUTO(buf_fini) struct buf bhttp = vector_hex(v, "bhttp_request"), request = {0};
    const json_t *lengths = json_object_get(v, "request_chunk_lengths");
    struct hpke_private *private;

    assert_int_equal(hpke_private_from(&private, buf_span(&sk)), 0);
    keys_take(x, private, (uint8_t)json_integer_value(json_object_get(v, "key_id")));
    assert_int_equal(
        ohttp_client_from(&x->client, &x->config, x->public, aead_of(v), buf_span(&ephemeral)), 0);
    if (json_array_size(lengths) > 1)
        ohttp_client_set_chunk_max(x->client,
                                   (size_t)json_integer_value(json_array_get(lengths, 0)));
    assert_int_equal(ohttp_client_seal(x->client, buf_span(&bhttp), &request), 0);
    assert_hex(buf_span(&request), vector_text(v, "enc_request"));
    ohttp_client_set_chunk_max(x->client, OHTTP_CHUNK_MAX);
}

static void answer_reproduce(struct exchange *x, const json_t *v, struct span bhttp)
{
    AUTO(buf_fini) struct buf nonce = vector_hex(v, "response_nonce"), answer = {0};
    const json_t *lengths = json_object_get(v, "response_chunk_plaintext_lengths");
    const json_t *length;
    size_t i, at = 0;

    ohttp_server_set_nonce(x->server, nonce.data);
    json_array_foreach(lengths, i, length) {
        size_t len = (size_t)json_integer_value(length);
        bool final = i + 1 == json_array_size(lengths);

        assert_int_equal(ohttp_server_seal(x->server, span_cut(bhttp, at, len), final, &answer), 0);
        at += len;
    }
    assert_int_equal(at, bhttp.len);
    assert_hex(buf_span(&answer), vector_text(v, "enc_response"));
}

static void the_profile_is_reproduced_in_both_directions(void **state)
{
    json_t *doc = vectors_load("proposed/profile_s.json");
    const json_t *v;
    size_t i, seen = 0;

    (void)state;
    json_array_foreach(json_object_get(doc, "vectors"), i, v) {
        AUTO(exchange_fini) struct exchange x = {0};
        AUTO(got_fini) struct got got = {0};
        AUTO(buf_fini) struct buf request = vector_hex(v, "enc_request");
        AUTO(buf_fini) struct buf answer = vector_hex(v, "enc_response"), plain = {0};
        AUTO(buf_fini) struct buf bhttp = vector_hex(v, "bhttp_response");

        exchange_from(&x, doc, v);
        server_open(&x, buf_span(&request), &plain);
        assert_hex(buf_span(&plain), vector_text(v, "bhttp_request"));
        answer_reproduce(&x, v, buf_span(&bhttp));
        assert_int_equal(ohttp_client_open(x.client, buf_span(&answer), got_chunk, &got), 0);
        assert_false(got.final);
        assert_int_equal(ohttp_client_end(x.client, got_chunk, &got), 0);
        assert_true(got.final);
        assert_span(buf_span(&got.plain), buf_span(&bhttp));
        seen++;
    }
    assert_int_equal(seen, 3);
    json_decref(doc);
}

static void every_negative_answer_is_refused(void **state)
{
    json_t *doc = vectors_load("proposed/profile_s.json");
    const json_t *n;
    size_t i, seen = 0;

    (void)state;
    json_array_foreach(json_object_get(doc, "negative_responses"), i, n) {
        AUTO(exchange_fini) struct exchange x = {0};
        AUTO(got_fini) struct got got = {0};
        AUTO(buf_fini) struct buf answer = vector_hex(n, "enc_response");
        int error;

        exchange_from(&x, doc, vector_named(doc, vector_text(n, "applies_to")));
        error = ohttp_client_open(x.client, buf_span(&answer), got_chunk, &got);
        if (error == 0)
            error = ohttp_client_end(x.client, got_chunk, &got);
        if (error == 0 || got.final)
            fail_msg("%s was accepted", vector_text(n, "name"));
        /* And it stays refused. */
        assert_true(ohttp_client_open(x.client, SPAN("more"), got_chunk, &got) < 0);
        assert_true(ohttp_client_end(x.client, got_chunk, &got) < 0);
        assert_false(got.final);
        seen++;
    }
    assert_int_equal(seen, 15);
    json_decref(doc);
}

/* As a worker does: find the key and the suite, look for a replay, open. */
static int worker_takes(const struct exchange *x, struct span request, uint8_t replay[static 16])
{
    AUTO(ohttp_server_free) struct ohttp_server *server = NULL;
    AUTO(buf_fini) struct buf plain = {0};
    struct ohttp_hdr hdr;
    int error;

    TRY(ohttp_hdr_parse(&hdr, request));
    if (hdr.key_id != x->config.key_id)
        return E_NOT_FOUND;
    if (!key_config_offers(&x->config, hdr.kem, hdr.kdf, hdr.aead))
        return E_UNSUPPORTED;
    if (memcmp(replay, hdr.replay, 16) == 0)
        return E_EXISTS;
    memcpy(replay, hdr.replay, 16);
    TRY(ohttp_server_new(&server, &hdr, x->private));
    error = ohttp_server_open(server, request, &plain);
    assert_true(error == 0 || plain.len == 0);
    return error;
}

static int negative_request_error(const char *name)
{
    static const struct {
        const char *name;
        int error;
    } KNOWN[] = {
        {"unknown-key-id", E_NOT_FOUND},
        {"unknown-kem", E_UNSUPPORTED},
        {"aead-not-offered", E_UNSUPPORTED},
        {"aead-swapped", E_AUTH},
        {"enc-all-zero", E_AUTH},
        {"enc-low-order", E_AUTH},
        {"header-only", E_INVALID},
        {"truncated", E_AUTH},
        {"bit-flip", E_AUTH},
        {"replay", E_EXISTS},
    };

    for (size_t i = 0; i < sizeof(KNOWN) / sizeof(KNOWN[0]); i++)
        if (strcmp(KNOWN[i].name, name) == 0)
            return KNOWN[i].error;
    fail_msg("unknown negative %s", name);
    return 0;
}

static void every_negative_request_is_refused_for_its_reason(void **state)
{
    json_t *doc = vectors_load("proposed/profile_s.json");
    const json_t *n;
    size_t i, seen = 0;

    (void)state;
    json_array_foreach(json_object_get(doc, "negative_requests"), i, n) {
        AUTO(exchange_fini) struct exchange x = {0};
        const json_t *v = vector_named(doc, vector_text(n, "applies_to"));
        AUTO(buf_fini) struct buf request = vector_hex(n, "enc_request");
        AUTO(buf_fini) struct buf good = vector_hex(v, "enc_request");
        uint8_t replay[16] = {0};

        exchange_from(&x, doc, v);
        if (strcmp(vector_text(n, "name"), "replay") == 0)
            assert_int_equal(worker_takes(&x, buf_span(&good), replay), 0);
        assert_int_equal(worker_takes(&x, buf_span(&request), replay),
                         negative_request_error(vector_text(n, "name")));
        seen++;
    }
    assert_int_equal(seen, 10);
    json_decref(doc);
}

/* ---- Framing stress ---- */

static struct buf stress_plain(size_t *lengths, size_t *count)
{
    static const size_t LAST[] = {47, 48, 16367, 16368, 16384, 20000};
    struct buf out = {0};

    *count = 0;
    for (size_t i = 0; i < 300; i++) {
        lengths[*count] = 1 + (37 * i) % 200;
        memset(buf_reserve(&out, lengths[*count]), (int)(i & 0xFF), lengths[*count]);
        out.len += lengths[(*count)++];
    }
    for (size_t i = 0; i < sizeof(LAST) / sizeof(LAST[0]); i++) {
        lengths[*count] = LAST[i];
        memset(buf_reserve(&out, LAST[i]), 'A' + (int)i, LAST[i]);
        out.len += lengths[(*count)++];
    }
    return out;
}

static void stress_begin(struct exchange *x, const json_t *v)
{
    AUTO(buf_fini) struct buf sk = vector_hex(v, "skR"), ephemeral = vector_hex(v, "skE");
    AUTO(buf_fini) struct buf nonce = vector_hex(v, "response_nonce"), request = {0}, plain = {0};
    struct hpke_private *private;

    assert_int_equal(hpke_private_from(&private, buf_span(&sk)), 0);
    keys_take(x, private, 7);
    assert_int_equal(ohttp_client_from(&x->client, &x->config, x->public, AEAD_AES_256_GCM,
                                       buf_span(&ephemeral)),
                     0);
    assert_int_equal(ohttp_client_seal(x->client, SPAN(""), &request), 0);
    server_open(x, buf_span(&request), &plain);
    ohttp_server_set_nonce(x->server, nonce.data);
    ohttp_server_set_chunk_max(x->server, 20000);
}

/* Byte for byte the vector's answer. */
static struct buf stress_answer(struct exchange *x, const json_t *v)
{
    struct buf answer = {0};
    size_t lengths[310], count, at = 0;
    AUTO(buf_fini) struct buf plain = stress_plain(lengths, &count);
    uint8_t digest[SHA256_LEN];

    for (size_t i = 0; i < count; i++) {
        struct span part = span_cut(buf_span(&plain), at, lengths[i]);

        assert_int_equal(ohttp_server_seal(x->server, part, false, &answer), 0);
        at += lengths[i];
    }
    assert_int_equal(ohttp_server_seal(x->server, SPAN(""), true, &answer), 0);
    assert_int_equal(answer.len, json_integer_value(json_object_get(v, "enc_response_len")));
    sha256(digest, buf_span(&answer));
    assert_hex(SPAN_OF(digest), vector_text(v, "enc_response_sha256"));
    return answer;
}

static void the_stress_answer_is_read_with_the_cap_raised(void **state)
{
    json_t *v = vectors_load("proposed/framing_stress.json");
    static const size_t STEPS[] = {1, 7, 4096, 1 << 20};

    (void)state;
    for (size_t s = 0; s < sizeof(STEPS) / sizeof(STEPS[0]); s++) {
        AUTO(exchange_fini) struct exchange x = {0};
        AUTO(got_fini) struct got got = {0};
        AUTO(buf_fini) struct buf answer = {0};
        uint8_t digest[SHA256_LEN];

        stress_begin(&x, v);
        answer = stress_answer(&x, v);
        ohttp_client_set_chunk_max(x.client, 20000);
        for (size_t at = 0; at < answer.len; at += STEPS[s])
            assert_int_equal(ohttp_client_open(x.client, span_cut(buf_span(&answer), at, STEPS[s]),
                                               got_chunk, &got),
                             0);
        assert_int_equal(ohttp_client_end(x.client, got_chunk, &got), 0);
        assert_int_equal(got.chunks, json_integer_value(json_object_get(v, "n_chunks")));
        sha256(digest, buf_span(&got.plain));
        assert_hex(SPAN_OF(digest), vector_text(v, "plaintext_sha256"));
    }
    json_decref(v);
}

static void the_stress_answer_is_refused_at_the_default_cap(void **state)
{
    json_t *v = vectors_load("proposed/framing_stress.json");
    AUTO(exchange_fini) struct exchange x = {0};
    AUTO(got_fini) struct got got = {0};
    AUTO(buf_fini) struct buf answer = {0};

    (void)state;
    stress_begin(&x, v);
    answer = stress_answer(&x, v);
    assert_int_equal(ohttp_client_open(x.client, buf_span(&answer), got_chunk, &got), E_INVALID);
    assert_int_equal(got.chunks,
                     305); /* all but the one of 20,000 bytes, which was never collected */
    assert_int_equal(ohttp_client_end(x.client, got_chunk, &got), E_INVALID);
    json_decref(v);
}

/* ---- Properties ---- */

/* An answer of several chunks, one of each varint length, and the client's ephemeral key to open it
 * with again. */
static struct buf sample_answer(struct exchange *x, enum aead_id aead, uint8_t ephemeral[static 32])
{
    AUTO(ohttp_client_free) struct ohttp_client *client = NULL;
    AUTO(buf_fini) struct buf request = {0}, plain = {0};
    struct hpke_private *private;
    struct buf answer = {0};

    random_bytes(ephemeral, 32);
    assert_int_equal(hpke_private_generate(&private), 0);
    keys_take(x, private, 3);
    assert_int_equal(
        ohttp_client_from(&client, &x->config, x->public, aead, span_of(ephemeral, 32)), 0);
    assert_int_equal(ohttp_client_seal(client, SPAN("question"), &request), 0);
    server_open(x, buf_span(&request), &plain);
    assert_int_equal(ohttp_server_seal(x->server, SPAN("x"), false, &answer), 0);
    assert_int_equal(ohttp_server_seal(x->server,
                                       SPAN("data: {\"a\":\"event of some length, so "
                                            "that its prefix has two bytes\"}\n\n"),
                                       false, &answer),
                     0);
    assert_int_equal(ohttp_server_seal(x->server, SPAN("the end"), true, &answer), 0);
    return answer;
}

static void any_split_gives_the_same(void **state)
{
    AUTO(exchange_fini) struct exchange x = {0};
    uint8_t ephemeral[32];
    AUTO(buf_fini) struct buf answer = sample_answer(&x, AEAD_AES_256_GCM, ephemeral);
    AUTO(got_fini) struct got whole = {0};

    (void)state;
    assert_int_equal(answer_open(&x, SPAN_OF(ephemeral), AEAD_AES_256_GCM, buf_span(&answer),
                                 answer.len, &whole),
                     0);
    assert_int_equal(whole.chunks, 3);
    for (size_t step = 1; step < answer.len; step++) {
        AUTO(got_fini) struct got got = {0};

        assert_int_equal(
            answer_open(&x, SPAN_OF(ephemeral), AEAD_AES_256_GCM, buf_span(&answer), step, &got),
            0);
        assert_span(buf_span(&got.plain), buf_span(&whole.plain));
        assert_int_equal(got.chunks, whole.chunks);
        assert_memory_equal(got.lengths, whole.lengths, 3 * sizeof(size_t));
    }
}

static void any_flipped_bit_is_refused(void **state)
{
    static const enum aead_id SUITES[] = {AEAD_AES_256_GCM, AEAD_CHACHA20_POLY1305};

    (void)state;
    for (size_t s = 0; s < 2; s++) {
        AUTO(exchange_fini) struct exchange x = {0};
        uint8_t ephemeral[32];
        AUTO(buf_fini) struct buf answer = sample_answer(&x, SUITES[s], ephemeral);

        for (size_t bit = 0; bit < 8 * answer.len; bit += 1 + bit % 3) {
            AUTO(got_fini) struct got got = {0};

            answer.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_true(answer_open(&x, SPAN_OF(ephemeral), SUITES[s], buf_span(&answer),
                                    answer.len, &got) < 0);
            assert_false(got.final);
            answer.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
}

static void a_truncated_answer_is_never_whole(void **state)
{
    AUTO(exchange_fini) struct exchange x = {0};
    uint8_t ephemeral[32];
    AUTO(buf_fini) struct buf answer = sample_answer(&x, AEAD_CHACHA20_POLY1305, ephemeral);

    (void)state;
    for (size_t len = 0; len < answer.len; len++) {
        AUTO(got_fini) struct got got = {0};

        assert_true(answer_open(&x, SPAN_OF(ephemeral), AEAD_CHACHA20_POLY1305,
                                span_cut(buf_span(&answer), 0, len), 13, &got) < 0);
        assert_false(got.final);
    }
}

static void a_missing_or_added_byte_is_refused(void **state)
{
    AUTO(exchange_fini) struct exchange x = {0};
    uint8_t ephemeral[32];
    AUTO(buf_fini) struct buf answer = sample_answer(&x, AEAD_AES_256_GCM, ephemeral);

    (void)state;
    for (size_t at = 0; at <= answer.len; at++) {
        AUTO(got_fini) struct got less = {0}, more = {0};
        AUTO(buf_fini) struct buf changed = {0};

        buf_append(&changed, span_cut(buf_span(&answer), 0, at));
        buf_append(&changed, span_from(buf_span(&answer), at + 1));
        if (at < answer.len)
            assert_true(answer_open(&x, SPAN_OF(ephemeral), AEAD_AES_256_GCM, buf_span(&changed),
                                    changed.len, &less) < 0);
        buf_clear(&changed);
        buf_append(&changed, span_cut(buf_span(&answer), 0, at));
        buf_byte(&changed, 0);
        buf_append(&changed, span_from(buf_span(&answer), at));
        assert_true(answer_open(&x, SPAN_OF(ephemeral), AEAD_AES_256_GCM, buf_span(&changed),
                                changed.len, &more) < 0);
        assert_false(less.final || more.final);
    }
}

static void any_changed_request_leaves_no_plaintext(void **state)
{
    AUTO(exchange_fini) struct exchange x = {0};
    AUTO(ohttp_client_free) struct ohttp_client *client = NULL;
    AUTO(buf_fini) struct buf request = {0}, plain = {0};
    struct hpke_private *private;

    (void)state;
    assert_int_equal(hpke_private_generate(&private), 0);
    keys_take(&x, private, 1);
    assert_int_equal(ohttp_client_new(&client, &x.config, x.public, AEAD_AES_256_GCM), 0);
    ohttp_client_set_chunk_max(client, 5);
    assert_int_equal(ohttp_client_seal(client, SPAN("a request in chunks"), &request), 0);
    buf_append_str(&plain, "before");
    for (size_t i = 0; i < request.len; i++) {
        AUTO(ohttp_server_free) struct ohttp_server *flipped = NULL, *cut = NULL;
        struct ohttp_hdr hdr;

        request.data[i] ^= 1;
        assert_int_equal(ohttp_hdr_parse(&hdr, buf_span(&request)), 0);
        if (ohttp_server_new(&flipped, &hdr, x.private) == 0)
            assert_true(ohttp_server_open(flipped, buf_span(&request), &plain) < 0);
        request.data[i] ^= 1;
        assert_int_equal(ohttp_hdr_parse(&hdr, buf_span(&request)), 0);
        assert_int_equal(ohttp_server_new(&cut, &hdr, x.private), 0);
        assert_true(ohttp_server_open(cut, span_cut(buf_span(&request), 0, i), &plain) < 0);
        assert_span(buf_span(&plain), SPAN("before"));
    }
}

static void a_request_is_sealed_and_opened_once(void **state)
{
    AUTO(exchange_fini) struct exchange x = {0};
    AUTO(buf_fini) struct buf again = {0};

    (void)state;
    exchange_begin(&x, AEAD_AES_256_GCM);
    assert_int_equal(ohttp_client_seal(x.client, SPAN("other"), &again), E_EXISTS);
    assert_int_equal(ohttp_server_open(x.server, SPAN("other"), &again), E_INVALID);
    assert_int_equal(again.len, 0);
}

static void long_messages_are_cut_into_full_chunks(void **state)
{
    AUTO(exchange_fini) struct exchange x = {0};
    AUTO(ohttp_client_free) struct ohttp_client *client = NULL;
    AUTO(buf_fini) struct buf big = {0}, request = {0}, plain = {0}, answer = {0};
    AUTO(got_fini) struct got got = {0};
    struct hpke_private *private;
    const size_t len = 3 * OHTTP_CHUNK_MAX;

    (void)state;
    random_bytes(buf_reserve(&big, len), len);
    big.len = len;
    assert_int_equal(hpke_private_generate(&private), 0);
    keys_take(&x, private, 1);
    assert_int_equal(ohttp_client_new(&client, &x.config, x.public, AEAD_AES_256_GCM), 0);
    assert_int_equal(ohttp_client_seal(client, buf_span(&big), &request), 0);
    server_open(&x, buf_span(&request), &plain);
    assert_span(buf_span(&plain), buf_span(&big));
    assert_int_equal(ohttp_server_seal(x.server, buf_span(&big), true, &answer), 0);
    assert_int_equal(ohttp_client_open(client, buf_span(&answer), got_chunk, &got), 0);
    assert_int_equal(ohttp_client_end(client, got_chunk, &got), 0);
    assert_int_equal(got.chunks, 3); /* two full ones, and the final one is full too */
    assert_span(buf_span(&got.plain), buf_span(&big));
}

static void nothing_is_sealed_after_the_final_chunk_or_before_the_request(void **state)
{
    AUTO(exchange_fini) struct exchange x = {0};
    AUTO(ohttp_server_free) struct ohttp_server *fresh = NULL;
    AUTO(buf_fini) struct buf answer = {0};
    struct ohttp_hdr hdr = {.kem = 0x20, .kdf = 1, .aead = 2, .enc = {9}};
    size_t len;

    (void)state;
    exchange_begin(&x, AEAD_AES_256_GCM);
    assert_int_equal(ohttp_server_seal(x.server, SPAN(""), false, &answer), 0);
    assert_int_equal(answer.len, OHTTP_RESPONSE_NONCE_LEN); /* empty: no chunk */
    assert_int_equal(ohttp_server_seal(x.server, SPAN("end"), true, &answer), 0);
    len = answer.len;
    assert_int_equal(ohttp_server_seal(x.server, SPAN("more"), false, &answer), E_INVALID);
    assert_int_equal(ohttp_server_new(&fresh, &hdr, x.private), 0);
    assert_int_equal(ohttp_server_seal(fresh, SPAN("x"), false, &answer), E_INVALID);
    assert_int_equal(answer.len, len);
}

static void the_answer_to_another_request_is_refused(void **state)
{
    AUTO(exchange_fini) struct exchange a = {0}, b = {0};
    AUTO(buf_fini) struct buf answer = {0};

    (void)state;
    exchange_begin(&a, AEAD_AES_256_GCM);
    exchange_begin(&b, AEAD_AES_256_GCM);
    assert_int_equal(ohttp_server_seal(a.server, SPAN("for a"), false, &answer), 0);
    assert_int_equal(ohttp_client_open(b.client, buf_span(&answer), NULL, NULL), E_AUTH);
    assert_int_equal(ohttp_client_open(a.client, buf_span(&answer), NULL, NULL), 0);
}

static void suites_that_the_key_does_not_offer_are_refused(void **state)
{
    AUTO(exchange_fini) struct exchange x = {0};
    AUTO(ohttp_server_free) struct ohttp_server *server = NULL;
    AUTO(ohttp_client_free) struct ohttp_client *client = NULL;
    struct ohttp_hdr hdr = {.kem = 0x20, .kdf = 1, .aead = AEAD_AES_128_GCM, .enc = {9}};

    (void)state;
    exchange_begin(&x, AEAD_AES_256_GCM);
    assert_int_equal(ohttp_server_new(&server, &hdr, x.private), E_UNSUPPORTED);
    hdr.aead = AEAD_EXPORT_ONLY;
    assert_int_equal(ohttp_server_new(&server, &hdr, x.private), E_UNSUPPORTED);
    assert_int_equal(ohttp_client_new(&client, &x.config, x.public, AEAD_AES_128_GCM),
                     E_UNSUPPORTED);
    x.config.chacha20_poly1305 = false;
    assert_int_equal(ohttp_client_new(&client, &x.config, x.public, AEAD_CHACHA20_POLY1305),
                     E_UNSUPPORTED);
}

static void the_header_needs_39_bytes(void **state)
{
    uint8_t bytes[40] = {1, 0, 0x20, 0, 1, 0, 2};
    struct ohttp_hdr hdr;

    (void)state;
    assert_int_equal(ohttp_hdr_parse(&hdr, span_of(bytes, 38)), E_AGAIN);
    assert_int_equal(ohttp_hdr_parse(&hdr, span_of(bytes, 39)), 0);
    assert_int_equal(hdr.aead, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_profile_is_reproduced_in_both_directions),
        cmocka_unit_test(every_negative_answer_is_refused),
        cmocka_unit_test(every_negative_request_is_refused_for_its_reason),
        cmocka_unit_test(the_stress_answer_is_read_with_the_cap_raised),
        cmocka_unit_test(the_stress_answer_is_refused_at_the_default_cap),
        cmocka_unit_test(any_split_gives_the_same),
        cmocka_unit_test(any_flipped_bit_is_refused),
        cmocka_unit_test(a_truncated_answer_is_never_whole),
        cmocka_unit_test(a_missing_or_added_byte_is_refused),
        cmocka_unit_test(any_changed_request_leaves_no_plaintext),
        cmocka_unit_test(a_request_is_sealed_and_opened_once),
        cmocka_unit_test(long_messages_are_cut_into_full_chunks),
        cmocka_unit_test(nothing_is_sealed_after_the_final_chunk_or_before_the_request),
        cmocka_unit_test(the_answer_to_another_request_is_refused),
        cmocka_unit_test(suites_that_the_key_does_not_offer_are_refused),
        cmocka_unit_test(the_header_needs_39_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
