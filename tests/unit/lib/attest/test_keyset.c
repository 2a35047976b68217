/* Keysets: what is read back from what was written, and everything the strict form refuses. */
#include "tests/unit/lib/vectors.h"

#include "attest/keyset.h"
#include "base/json.h"

#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define CONFIG                                                                                     \
    "070020f480203d25c332ffc95c686e3acbc5b9e57459aea3fdcc194bf3300a1f7f0d050008000100020001"       \
    "0003"

static const char GOOD[] =
    "{\"format\":\"cgw/keyset/v1\",\"worker_id\":\"w-0001\",\"payout\":\"0:" HEX64 "\","
    "\"hpke\":[\"" CONFIG "\"],\"models\":[\"org/model\",\"other\"],\"tls_spki_sha256\":\"" HEX64
    "\",\"receipt_ed25519\":\"" HEX64 "\",\"model_digest\":\"sha256:" HEX64
    "\",\"config_sha256\":\"" HEX64 "\",\"engine\":\"vllm 0.10.1\",\"gpu\":\"nvidia-cc\","
    "\"gpu_count\":8,\"not_before\":1751328000,\"not_after\":1751331600}";

static void a_keyset_is_read(void **state)
{
    AUTO(keyset_fini) struct keyset k = {0};
    uint8_t digest[SHA256_LEN];

    (void)state;
    assert_int_equal(keyset_parse(&k, span_str(GOOD)), 0);
    assert_string_equal(k.worker_id, "w-0001");
    assert_string_equal(k.payout, "0:" HEX64);
    assert_int_equal(k.hpke_count, 1);
    assert_hex(k.hpke[0], CONFIG);
    assert_hex(SPAN_OF(k.tls_spki), HEX64);
    assert_hex(SPAN_OF(k.receipt_key), HEX64);
    assert_int_equal(k.model_count, 2);
    assert_span(k.models[0], SPAN("org/model"));
    assert_span(k.models[1], SPAN("other"));
    assert_span(k.model_digest, SPAN("sha256:" HEX64));
    assert_span(k.config_sha256, SPAN(HEX64));
    assert_span(k.engine, SPAN("vllm 0.10.1"));
    assert_true(k.gpu_nvidia);
    assert_int_equal(k.gpu_count, 8);
    assert_int_equal(k.not_before, 1751328000);
    assert_int_equal(k.not_after, 1751331600);
    assert_span(buf_span(&k.bytes), span_str(GOOD));
    sha256(digest, span_str(GOOD));
    assert_memory_equal(k.digest, digest, SHA256_LEN);
}

static void a_written_keyset_is_read_back(void **state)
{
    AUTO(keyset_fini) struct keyset k = {0}, back = {0};
    AUTO(buf_fini) struct buf json = {0}, again = {0};

    (void)state;
    assert_int_equal(keyset_parse(&k, span_str(GOOD)), 0);
    k.engine = SPAN("quo\"ted \\ \xc3\xa9");
    keyset_write(&k, &json);
    assert_int_equal(keyset_parse(&back, buf_span(&json)), 0);
    assert_span(back.engine, k.engine);
    assert_span(back.hpke[0], k.hpke[0]);
    keyset_write(&back, &again);
    assert_span(buf_span(&again), buf_span(&json));
}

static int parse_edited(struct keyset *k, const char *name, const char *value)
{
    AUTO(buf_fini) struct buf json = {0};
    const struct json_edit edit = {name, value ? span_str(value) : (struct span){0}};

    assert_int_equal(json_splice(span_str(GOOD), &edit, 1, &json), 0);
    return keyset_parse(k, buf_span(&json));
}

static void every_member_but_gpu_count_is_required(void **state)
{
    static const char *const NAMES[] = {
        "format",       "worker_id",       "payout",        "hpke",   "models", "tls_spki_sha256",
        "model_digest", "receipt_ed25519", "config_sha256", "engine", "gpu",    "not_before",
        "not_after"};
    AUTO(keyset_fini) struct keyset k = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        assert_int_equal(parse_edited(&k, NAMES[i], NULL), E_INVALID);
        assert_int_equal(parse_edited(&k, NAMES[i], "null"), E_INVALID);
    }
    assert_int_equal(parse_edited(&k, "gpu_count", NULL), 0);
    assert_int_equal(k.gpu_count, 1);
}

static void members_out_of_form_are_refused(void **state)
{
    static const struct {
        const char *name, *value;
    } BAD[] = {
        {"format", "\"cgw/keyset/v2\""},
        {"worker_id", "\"\""},
        {"worker_id", "\"a b\""},
        {"worker_id", "\"" HEX64 "0\""},
        {"payout", "\"1:" HEX64 "\""},
        {"payout", "\"0:" HEX64 "0\""},
        {"payout", "\"0:00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff\""},
        {"payout", "\"-1:" HEX64 "ff\""},
        {"payout", "\"" HEX64 "\""},
        {"hpke", "[]"},
        {"hpke", "\"" CONFIG "\""},
        {"hpke", "[1]"},
        {"hpke", "[\"07\"]"},
        {"hpke", "[\"" CONFIG "00\"]"},
        {"hpke", "[\"" CONFIG "\",\"" CONFIG "\"]"},
        {"models", "[]"},
        {"models", "[\"\"]"},
        {"models", "[\"a\",\"a\"]"},
        {"models", "[\"a\\u0000\"]"},
        {"models", "[\"a\\n\"]"},
        {"models", "[null]"},
        {"models", "{}"},
        {"tls_spki_sha256", "\"00\""},
        {"receipt_ed25519", "\"" HEX64 "00\""},
        {"model_digest", "\"" HEX64 "\""},
        {"model_digest", "\"sha256:00\""},
        {"model_digest", "\"verity:00\""},
        {"model_digest", "\"sha512:" HEX64 "\""},
        {"model_digest", "\"sha256:" HEX64 "00\""},
        {"config_sha256", "\"00\""},
        {"engine", "\"\""},
        {"engine", "\"a\\tb\""},
        {"gpu", "\"amd\""},
        {"gpu", "\"none\""}, /* with gpu_count 8 */
        {"gpu_count", "0"},
        {"gpu_count", "65"},
        {"gpu_count", "-1"},
        {"gpu_count", "1.0"},
        {"not_before", "-1"},
        {"not_before", "1751331600"},
        {"not_before", "\"1\""},
        {"not_after", "1.5"},
        {"not_after", "253402300800"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        AUTO(keyset_fini) struct keyset k = {0};

        if (parse_edited(&k, BAD[i].name, BAD[i].value) != E_INVALID)
            fail_msg("%s = %s was taken", BAD[i].name, BAD[i].value);
        assert_null(k.bytes.data);
    }
}

static void variants_of_form_are_accepted(void **state)
{
    static const struct {
        const char *name, *value;
    } FINE[] = {
        {"payout", "\"-1:" HEX64 "\""},
        {"unknown", "{\"a\":[1,2.5,null]}"},
        {"gpu_count", "64"},
        {"model_digest", "\"verity:" HEX64 "\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(FINE) / sizeof(FINE[0]); i++) {
        AUTO(keyset_fini) struct keyset k = {0};

        assert_int_equal(parse_edited(&k, FINE[i].name, FINE[i].value), 0);
    }
}

static void duplicate_names_and_long_texts_are_refused(void **state)
{
    AUTO(keyset_fini) struct keyset k = {0};
    AUTO(buf_fini) struct buf twice = {0}, padded = {0};

    (void)state;
    buf_append_str(&twice, "{\"gpu\":\"none\",");
    buf_append(&twice, span_from(span_str(GOOD), 1));
    assert_int_equal(keyset_parse(&k, buf_span(&twice)), E_INVALID);
    buf_append_str(&padded, GOOD);
    while (padded.len < KEYSET_MAX_BYTES)
        buf_byte(&padded, ' ');
    assert_int_equal(keyset_parse(&k, buf_span(&padded)), 0);
    buf_byte(&padded, ' ');
    keyset_fini(&k);
    assert_int_equal(keyset_parse(&k, buf_span(&padded)), E_TOO_LARGE);
    assert_int_equal(keyset_parse(&k, SPAN("")), E_INVALID);
    assert_int_equal(keyset_parse(&k, SPAN("[]")), E_INVALID);
}

static void validity_has_its_edges_where_they_should_be(void **state)
{
    const uint64_t from = 1751328000;
    struct keyset k = {.not_before = from, .not_after = from + 3600};

    (void)state;
    assert_int_equal(keyset_valid_at(&k, from - 61), E_EXPIRED);
    assert_int_equal(keyset_valid_at(&k, from - 60), 0);
    assert_int_equal(keyset_valid_at(&k, from + 3660), 0);
    assert_int_equal(keyset_valid_at(&k, from + 3661), E_EXPIRED);
    k.not_after = from + 24 * 3600;
    assert_int_equal(keyset_valid_at(&k, from + 70 * 60), 0);
    assert_int_equal(keyset_valid_at(&k, from + 70 * 60 + 1), E_EXPIRED);
    assert_int_equal(keyset_valid_at(&k, from), 0);
    assert_int_equal(keyset_valid_at(&k, from - 1), E_EXPIRED); /* ends more than 24 h ahead */
    assert_int_equal(keyset_valid_at(&k, UINT64_MAX), E_EXPIRED);
    assert_int_equal(keyset_valid_at(&k, 0), E_EXPIRED);
}

static void a_machine_is_the_same_whoever_is_paid_for_it(void **state)
{
    AUTO(keyset_fini) struct keyset k = {0};
    uint8_t ppid[16] = {1};
    char one[33], other[33], wid[33];

    (void)state;
    assert_int_equal(keyset_parse(&k, span_str(GOOD)), 0);
    keyset_machine(&k, ppid, one);
    keyset_wid(&k, ppid, wid);
    assert_string_not_equal(one, wid);
    k.payout[2] = k.payout[2] == '1' ? '2' : '1';
    keyset_machine(&k, ppid, other);
    assert_string_equal(one, other);
    ppid[15] = 1;
    keyset_machine(&k, ppid, other);
    assert_string_not_equal(one, other);
    memset(ppid, 0, sizeof(ppid)); /* no quote says: by its owner */
    keyset_machine(&k, ppid, one);
    keyset_wid(&k, ppid, wid);
    assert_string_equal(one, wid);
}

static void a_running_worker_and_its_owner_have_names(void **state)
{
    AUTO(keyset_fini) struct keyset k = {0};
    uint8_t ppid[16] = {1}, digest[SHA256_LEN];
    char iid[IID_LEN + 1], with[33], without[33], want[33];
    struct span parts[2];

    (void)state;
    assert_int_equal(keyset_parse(&k, span_str(GOOD)), 0);
    keyset_iid(&k, iid);
    assert_string_equal(iid, "00112233445566778899aabbccddeeff");
    keyset_wid(&k, ppid, with);
    keyset_wid(&k, NULL, without);
    assert_string_not_equal(with, without);
    memset(ppid, 0, sizeof(ppid));
    parts[0] = SPAN_OF(ppid);
    parts[1] = SPAN("0:" HEX64);
    sha256_parts(digest, parts, 2);
    hex_encode(want, span_of(digest, 16));
    assert_string_equal(without, want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_keyset_is_read),
        cmocka_unit_test(a_written_keyset_is_read_back),
        cmocka_unit_test(every_member_but_gpu_count_is_required),
        cmocka_unit_test(members_out_of_form_are_refused),
        cmocka_unit_test(variants_of_form_are_accepted),
        cmocka_unit_test(duplicate_names_and_long_texts_are_refused),
        cmocka_unit_test(validity_has_its_edges_where_they_should_be),
        cmocka_unit_test(a_machine_is_the_same_whoever_is_paid_for_it),
        cmocka_unit_test(a_running_worker_and_its_owner_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
