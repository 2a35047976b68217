/* HPKE against RFC 9180's own numbers, the full vector file, and what a hostile peer may send. */
#include "tests/unit/lib/vectors.h"

#include "crypto/hpke.h"

/* RFC 9180 appendix A.1 (AES-128-GCM) and A.2 (ChaCha20-Poly1305), base mode. */
static const struct rfc {
    enum aead_id aead;
    const char *sk_e, *pk_r, *sk_r, *enc, *ct0, *ct1, *export_empty;
} RFC[] = {
    {AEAD_AES_128_GCM, "52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736",
     "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d",
     "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8",
     "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431",
     "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a",
     "af2d7e9ac9ae7e270f46ba1f975be53c09f8d875bdc8535458c2494e8a6eab251c03d0c22a56b8ca42c2063b84",
     "3853fe2b4035195a573ffc53856e77058e15d9ea064de3e59f4961d0095250ee"},
    {AEAD_CHACHA20_POLY1305, "f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600",
     "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a",
     "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb",
     "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
     "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
     "6b53c051e4199c518de79594e1c4ab18b96f081549d45ce015be002090bb119e85285337cc95ba5f59992dc98c",
     "4bbd6243b8bb54cec311fac9df81841b6fd61f56538a775e7c80a9f40160606e"},
};
static const char INFO[] = "4f6465206f6e2061204772656369616e2055726e";
static const char PLAIN[] = "Beauty is truth, truth beauty";

struct pair {
    struct hpke_private *private;
    struct hpke_public *public;
    struct hpke_ctx *sender, *receiver;
};

static void pair_free(struct pair *p)
{
    hpke_private_free(p->private);
    hpke_public_free(p->public);
    hpke_free(p->sender);
    hpke_free(p->receiver);
}
AUTO_FINI(struct pair, pair_free)

static void pair_from(struct pair *p, enum aead_id aead, const char *sk_r, const char *sk_e,
                      const char *info)
{
    AUTO(buf_fini) struct buf private = bytes_of_hex(sk_r), ephemeral = bytes_of_hex(sk_e);
    AUTO(buf_fini) struct buf about = bytes_of_hex(info);
    uint8_t public[HPKE_KEY_LEN];

    assert_int_equal(hpke_private_from(&p->private, buf_span(&private)), 0);
    hpke_private_public(p->private, public);
    assert_int_equal(hpke_public_from(&p->public, SPAN_OF(public)), 0);
    assert_int_equal(
        hpke_sender_from(&p->sender, p->public, aead, buf_span(&about), buf_span(&ephemeral)), 0);
    assert_int_equal(
        hpke_receiver_new(&p->receiver, p->private, aead, hpke_enc(p->sender), buf_span(&about)),
        0);
}

/* A sender and a receiver with fresh keys. */
static void pair_fresh(struct pair *p, enum aead_id aead)
{
    uint8_t public[HPKE_KEY_LEN];

    assert_int_equal(hpke_private_generate(&p->private), 0);
    hpke_private_public(p->private, public);
    assert_int_equal(hpke_public_from(&p->public, SPAN_OF(public)), 0);
    assert_int_equal(hpke_sender_new(&p->sender, p->public, aead, SPAN("about")), 0);
    assert_int_equal(
        hpke_receiver_new(&p->receiver, p->private, aead, hpke_enc(p->sender), SPAN("about")), 0);
}

static void rfc_9180_appendix_a_is_reproduced(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(RFC) / sizeof(RFC[0]); i++) {
        AUTO(pair_free) struct pair p = {0};
        AUTO(buf_fini) struct buf ct = {0}, pt = {0};
        uint8_t exported[32], public[HPKE_KEY_LEN];

        pair_from(&p, RFC[i].aead, RFC[i].sk_r, RFC[i].sk_e, INFO);
        hpke_private_public(p.private, public);
        assert_hex(SPAN_OF(public), RFC[i].pk_r);
        assert_hex(hpke_enc(p.sender), RFC[i].enc);
        assert_int_equal(hpke_seal(p.sender, SPAN("Count-0"), span_str(PLAIN), &ct), 0);
        assert_hex(buf_span(&ct), RFC[i].ct0);
        assert_int_equal(hpke_open(p.receiver, SPAN("Count-0"), buf_span(&ct), &pt), 0);
        assert_span(buf_span(&pt), span_str(PLAIN));
        buf_clear(&ct);
        assert_int_equal(hpke_seal(p.sender, SPAN("Count-1"), span_str(PLAIN), &ct), 0);
        assert_hex(buf_span(&ct), RFC[i].ct1);
        assert_int_equal(hpke_export(p.receiver, SPAN(""), exported, sizeof(exported)), 0);
        assert_hex(SPAN_OF(exported), RFC[i].export_empty);
    }
}

static void check_encryptions(struct pair *p, const json_t *list)
{
    const json_t *e;
    size_t i;

    json_array_foreach(list, i, e) {
        AUTO(buf_fini) struct buf aad = vector_hex(e, "aad"), plain = vector_hex(e, "pt");
        AUTO(buf_fini) struct buf ct = {0}, pt = {0};

        assert_int_equal(hpke_seal(p->sender, buf_span(&aad), buf_span(&plain), &ct), 0);
        assert_hex(buf_span(&ct), vector_text(e, "ct"));
        assert_int_equal(hpke_open(p->receiver, buf_span(&aad), buf_span(&ct), &pt), 0);
        assert_span(buf_span(&pt), buf_span(&plain));
    }
}

static void check_exports(struct pair *p, const json_t *list)
{
    const json_t *e;
    size_t i;

    json_array_foreach(list, i, e) {
        AUTO(buf_fini) struct buf label = vector_hex(e, "exporter_context");
        uint8_t out[512];
        size_t len = (size_t)json_integer_value(json_object_get(e, "L"));

        assert_true(len <= sizeof(out));
        assert_int_equal(hpke_export(p->sender, buf_span(&label), out, len), 0);
        assert_hex(span_of(out, len), vector_text(e, "exported_value"));
        assert_int_equal(hpke_export(p->receiver, buf_span(&label), out, len), 0);
        assert_hex(span_of(out, len), vector_text(e, "exported_value"));
    }
}

static void every_vector_of_our_suites_is_reproduced(void **state)
{
    json_t *all = vectors_load("hpke/vectors_rfc9180_5f503c5.json.gz");
    const json_t *v;
    size_t i, seen = 0;

    (void)state;
    json_array_foreach(all, i, v) {
        AUTO(pair_free) struct pair p = {0};

        if (json_integer_value(json_object_get(v, "mode")) != 0 ||
            json_integer_value(json_object_get(v, "kem_id")) != HPKE_KEM_X25519 ||
            json_integer_value(json_object_get(v, "kdf_id")) != HPKE_KDF_SHA256)
            continue;
        pair_from(&p, (enum aead_id)json_integer_value(json_object_get(v, "aead_id")),
                  vector_text(v, "skRm"), vector_text(v, "skEm"), vector_text(v, "info"));
        assert_hex(hpke_enc(p.sender), vector_text(v, "enc"));
        check_encryptions(&p, json_object_get(v, "encryptions"));
        check_exports(&p, json_object_get(v, "exports"));
        seen++;
    }
    assert_int_equal(seen, 4); /* AEAD 1, 2, 3 and export-only */
    json_decref(all);
}

static void export_only_exports_and_refuses_to_seal(void **state)
{
    AUTO(pair_free) struct pair p = {0};
    AUTO(buf_fini) struct buf out = {0};
    uint8_t a[32], b[32];

    (void)state;
    pair_fresh(&p, AEAD_EXPORT_ONLY);
    assert_int_equal(hpke_seal(p.sender, SPAN(""), SPAN("x"), &out), E_UNSUPPORTED);
    assert_int_equal(hpke_open(p.receiver, SPAN(""), SPAN("0123456789abcdefg"), &out),
                     E_UNSUPPORTED);
    assert_int_equal(out.len, 0);
    assert_int_equal(hpke_export(p.sender, SPAN("label"), a, 32), 0);
    assert_int_equal(hpke_export(p.receiver, SPAN("label"), b, 32), 0);
    assert_memory_equal(a, b, 32);
}

/* The points of order 1, 2, 4 and 8 and their non-canonical twins: every one gives an all-zero
 * result. */
static void low_order_points_are_refused_by_both_sides(void **state)
{
    static const char *const LOW[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "0000000000000000000000000000000000000000000000000000000000000080",
    };
    AUTO(hpke_private_free) struct hpke_private *key = NULL;

    (void)state;
    assert_int_equal(hpke_private_generate(&key), 0);
    for (size_t i = 0; i < sizeof(LOW) / sizeof(LOW[0]); i++) {
        AUTO(buf_fini) struct buf point = bytes_of_hex(LOW[i]);
        AUTO(hpke_public_free) struct hpke_public *peer = NULL;
        AUTO(hpke_free) struct hpke_ctx *ctx = NULL;

        assert_int_equal(hpke_receiver_new(&ctx, key, AEAD_AES_256_GCM, buf_span(&point), SPAN("")),
                         E_AUTH);
        assert_int_equal(hpke_public_from(&peer, buf_span(&point)), 0);
        assert_int_equal(hpke_sender_new(&ctx, peer, AEAD_AES_256_GCM, SPAN("")), E_AUTH);
        assert_null(ctx);
    }
}

/* RFC 7748 §5.2, first example. */
static void x25519_gives_the_number_of_rfc_7748(void **state)
{
    AUTO(buf_fini)
    struct buf a = bytes_of_hex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
    AUTO(buf_fini)
    struct buf b = bytes_of_hex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
    AUTO(hpke_private_free) struct hpke_private *mine = NULL;
    AUTO(hpke_public_free) struct hpke_public *peer = NULL;
    uint8_t out[HPKE_KEY_LEN];

    (void)state;
    assert_int_equal(hpke_private_from(&mine, buf_span(&a)), 0);
    assert_int_equal(hpke_public_from(&peer, buf_span(&b)), 0);
    assert_int_equal(hpke_dh(mine, peer, out), 0);
    assert_hex(SPAN_OF(out), "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
}

static void wycheproof_x25519(void **state)
{
    json_t *doc = vectors_load("wycheproof/x25519_test.json");
    const json_t *tests =
        json_object_get(json_array_get(json_object_get(doc, "testGroups"), 0), "tests");
    const json_t *t;
    size_t i, zero = 0;

    (void)state;
    json_array_foreach(tests, i, t) {
        AUTO(buf_fini) struct buf a = vector_hex(t, "private"), b = vector_hex(t, "public");
        AUTO(hpke_private_free) struct hpke_private *mine = NULL;
        AUTO(hpke_public_free) struct hpke_public *peer = NULL;
        const char *shared = vector_text(t, "shared");
        uint8_t out[HPKE_KEY_LEN];
        int error;

        assert_int_equal(hpke_private_from(&mine, buf_span(&a)), 0);
        assert_int_equal(hpke_public_from(&peer, buf_span(&b)), 0);
        error = hpke_dh(mine, peer, out);
        if (strspn(shared, "0") == 2 * HPKE_KEY_LEN) {
            assert_int_equal(error, E_AUTH);
            zero++;
            continue;
        }
        assert_int_equal(error, 0);
        assert_hex(SPAN_OF(out), shared);
    }
    assert_int_equal(i, 518);
    assert_int_equal(zero, 31);
    json_decref(doc);
}

static void a_re_encoded_enc_gives_other_keys(void **state)
{
    AUTO(pair_free) struct pair p = {0};
    AUTO(hpke_free) struct hpke_ctx *other = NULL;
    AUTO(buf_fini) struct buf ct = {0}, pt = {0};
    uint8_t enc[HPKE_ENC_LEN];

    (void)state;
    pair_fresh(&p, AEAD_AES_256_GCM);
    assert_int_equal(hpke_seal(p.sender, SPAN(""), SPAN("text"), &ct), 0);
    memcpy(enc, hpke_enc(p.sender).data, sizeof(enc));
    enc[31] |= 0x80; /* the same point: X25519 masks this bit */
    assert_int_equal(
        hpke_receiver_new(&other, p.private, AEAD_AES_256_GCM, SPAN_OF(enc), SPAN("about")), 0);
    assert_int_equal(hpke_open(other, SPAN(""), buf_span(&ct), &pt), E_AUTH);
    assert_int_equal(pt.len, 0);
}

static void a_failed_open_does_not_count(void **state)
{
    AUTO(pair_free) struct pair p = {0};
    AUTO(buf_fini) struct buf ct = {0}, pt = {0};

    (void)state;
    pair_fresh(&p, AEAD_CHACHA20_POLY1305);
    assert_int_equal(hpke_seal(p.sender, SPAN("a"), SPAN("text"), &ct), 0);
    assert_int_equal(hpke_open(p.receiver, SPAN("b"), buf_span(&ct), &pt), E_AUTH);
    assert_int_equal(pt.len, 0);
    assert_int_equal(hpke_open(p.receiver, SPAN("a"), buf_span(&ct), &pt), 0);
    assert_span(buf_span(&pt), SPAN("text"));
    assert_int_equal(hpke_open(p.receiver, SPAN("a"), buf_span(&ct), &pt), E_AUTH); /* a replay */
}

static void info_suite_and_key_are_bound(void **state)
{
    AUTO(pair_free) struct pair p = {0};
    AUTO(hpke_free) struct hpke_ctx *info = NULL, *suite = NULL, *key = NULL;
    AUTO(hpke_private_free) struct hpke_private *stranger = NULL;
    AUTO(buf_fini) struct buf ct = {0}, pt = {0};
    struct span enc;

    (void)state;
    pair_fresh(&p, AEAD_AES_256_GCM);
    enc = hpke_enc(p.sender);
    assert_int_equal(hpke_seal(p.sender, SPAN(""), SPAN("text"), &ct), 0);
    assert_int_equal(hpke_private_generate(&stranger), 0);
    assert_int_equal(hpke_receiver_new(&info, p.private, AEAD_AES_256_GCM, enc, SPAN("else")), 0);
    assert_int_equal(
        hpke_receiver_new(&suite, p.private, AEAD_CHACHA20_POLY1305, enc, SPAN("about")), 0);
    assert_int_equal(hpke_receiver_new(&key, stranger, AEAD_AES_256_GCM, enc, SPAN("about")), 0);
    assert_int_equal(hpke_open(info, SPAN(""), buf_span(&ct), &pt), E_AUTH);
    assert_int_equal(hpke_open(suite, SPAN(""), buf_span(&ct), &pt), E_AUTH);
    assert_int_equal(hpke_open(key, SPAN(""), buf_span(&ct), &pt), E_AUTH);
    assert_int_equal(pt.len, 0);
}

static void wrong_lengths_and_suites_are_refused(void **state)
{
    AUTO(hpke_private_free) struct hpke_private *key = NULL, *none = NULL;
    AUTO(hpke_public_free) struct hpke_public *public = NULL;
    AUTO(hpke_free) struct hpke_ctx *ctx = NULL;
    uint8_t raw[HPKE_KEY_LEN], out[1];

    (void)state;
    assert_int_equal(hpke_private_generate(&key), 0);
    hpke_private_public(key, raw);
    assert_int_equal(hpke_private_from(&none, span_of(raw, 31)), E_INVALID);
    assert_int_equal(hpke_public_from(&public, span_of(raw, 31)), E_INVALID);
    assert_int_equal(hpke_receiver_new(&ctx, key, AEAD_AES_256_GCM, SPAN("short"), SPAN("")),
                     E_INVALID);
    assert_int_equal(hpke_public_from(&public, SPAN_OF(raw)), 0);
    assert_int_equal(hpke_sender_new(&ctx, public, (enum aead_id)4, SPAN("")), E_UNSUPPORTED);
    assert_int_equal(hpke_sender_new(&ctx, public, AEAD_AES_256_GCM, SPAN("")), 0);
    assert_int_equal(hpke_export(ctx, SPAN(""), out, 255 * 32 + 1), E_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc_9180_appendix_a_is_reproduced),
        cmocka_unit_test(every_vector_of_our_suites_is_reproduced),
        cmocka_unit_test(export_only_exports_and_refuses_to_seal),
        cmocka_unit_test(x25519_gives_the_number_of_rfc_7748),
        cmocka_unit_test(wycheproof_x25519),
        cmocka_unit_test(low_order_points_are_refused_by_both_sides),
        cmocka_unit_test(a_re_encoded_enc_gives_other_keys),
        cmocka_unit_test(a_failed_open_does_not_count),
        cmocka_unit_test(info_suite_and_key_are_bound),
        cmocka_unit_test(wrong_lengths_and_suites_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
