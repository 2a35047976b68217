/* Ed25519: RFC 8032's numbers, Wycheproof, and many threads on one key. */
#include "tests/unit/lib/vectors.h"

#include <pthread.h>

#include "crypto/ed25519.h"

/* RFC 8032 §7.1, tests 1 and 2. */
static const struct {
    const char *seed, *public, *message, *sig;
} RFC[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
     "b46bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f1"
     "1d8c387b2eaeb4302aeeb00d291612bb0c00"},
};

static void rfc_8032_is_reproduced(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(RFC) / sizeof(RFC[0]); i++) {
        AUTO(buf_fini) struct buf seed = bytes_of_hex(RFC[i].seed);
        AUTO(buf_fini) struct buf raw = bytes_of_hex(RFC[i].public);
        AUTO(buf_fini) struct buf message = bytes_of_hex(RFC[i].message);
        AUTO(ed25519_free) struct ed25519 *key = NULL;
        AUTO(ed25519_free) struct ed25519 *public = NULL;
        uint8_t out[ED25519_KEY_LEN], sig[ED25519_SIG_LEN];

        assert_int_equal(ed25519_from_seed(&key, buf_span(&seed)), 0);
        ed25519_public(key, out);
        assert_hex(SPAN_OF(out), RFC[i].public);
        assert_int_equal(ed25519_sign(key, buf_span(&message), sig), 0);
        assert_hex(SPAN_OF(sig), RFC[i].sig);
        assert_int_equal(ed25519_from_public(&public, buf_span(&raw)), 0);
        assert_int_equal(ed25519_verify(public, buf_span(&message), SPAN_OF(sig)), 0);
        assert_int_equal(ed25519_verify(key, buf_span(&message), SPAN_OF(sig)), 0);
        sig[3] ^= 1;
        assert_int_equal(ed25519_verify(public, buf_span(&message), SPAN_OF(sig)), E_AUTH);
        assert_int_equal(ed25519_sign(public, buf_span(&message), sig), E_INVALID);
    }
}

static void a_shared_key_outlives_the_one_it_is_of(void **state)
{
    struct ed25519 *key = NULL;
    uint8_t sig[ED25519_SIG_LEN];

    (void)state;
    assert_int_equal(ed25519_generate(&key), 0);
    struct ed25519 *same = ed25519_share(key);
    assert_int_equal(ed25519_sign(key, SPAN("m"), sig), 0);
    ed25519_free(key);
    assert_int_equal(ed25519_verify(same, SPAN("m"), SPAN_OF(sig)), 0);
    ed25519_free(same);
}

static void wrong_lengths_are_refused(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = NULL;
    uint8_t sig[ED25519_SIG_LEN + 1] = {0};

    (void)state;
    assert_int_equal(ed25519_from_seed(&key, SPAN("short")), E_INVALID);
    assert_int_equal(ed25519_from_public(&key, SPAN("short")), E_INVALID);
    assert_int_equal(ed25519_generate(&key), 0);
    assert_int_equal(ed25519_sign(key, SPAN("m"), sig), 0);
    assert_int_equal(ed25519_verify(key, SPAN("m"), span_of(sig, 64)), 0);
    assert_int_equal(ed25519_verify(key, SPAN("m"), span_of(sig, 63)), E_AUTH);
    assert_int_equal(ed25519_verify(key, SPAN("m"), span_of(sig, 65)), E_AUTH);
}

static void wycheproof_ed25519(void **state)
{
    json_t *doc = vectors_load("wycheproof/ed25519_test.json");
    const json_t *group, *t;
    size_t g, i, seen = 0;

    (void)state;
    json_array_foreach(json_object_get(doc, "testGroups"), g, group) {
        AUTO(buf_fini) struct buf raw = vector_hex(json_object_get(group, "publicKey"), "pk");
        AUTO(ed25519_free) struct ed25519 *key = NULL;

        assert_int_equal(ed25519_from_public(&key, buf_span(&raw)), 0);
        json_array_foreach(json_object_get(group, "tests"), i, t) {
            AUTO(buf_fini) struct buf msg = vector_hex(t, "msg"), sig = vector_hex(t, "sig");
            bool valid = strcmp(vector_text(t, "result"), "valid") == 0;

            if (ed25519_verify(key, buf_span(&msg), buf_span(&sig)) != (valid ? 0 : E_AUTH))
                fail_msg("test %lld", json_integer_value(json_object_get(t, "tcId")));
            seen++;
        }
    }
    assert_int_equal(seen, 151);
    json_decref(doc);
}

static void *sign_and_verify(void *arg)
{
    const struct ed25519 *key = arg;
    uint8_t sig[ED25519_SIG_LEN];
    uintptr_t failures = 0;

    for (uint8_t i = 0; i < 50; i++) {
        if (ed25519_sign(key, span_of(&i, 1), sig) != 0 ||
            ed25519_verify(key, span_of(&i, 1), SPAN_OF(sig)) != 0 ||
            ed25519_verify(key, SPAN("other"), SPAN_OF(sig)) != E_AUTH)
            failures++;
    }
    return (void *)failures; // NOLINT: a count, not an address
}

static void many_threads_use_one_key(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = NULL;
    pthread_t threads[4];

    (void)state;
    assert_int_equal(ed25519_generate(&key), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sign_and_verify, key), 0);
    for (size_t i = 0; i < 4; i++) {
        void *failures = NULL;

        assert_int_equal(pthread_join(threads[i], &failures), 0);
        assert_null(failures);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc_8032_is_reproduced),
        cmocka_unit_test(a_shared_key_outlives_the_one_it_is_of),
        cmocka_unit_test(wrong_lengths_are_refused),
        cmocka_unit_test(wycheproof_ed25519),
        cmocka_unit_test(many_threads_use_one_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
