/* Bills: exact members, round trips, and everything that must not pass for one. */
#include "tests/unit/lib/vectors.h"

#include "crypto/jws.h"
#include "receipt/bill.h"

#define WORKER "0:00000000000000000000000000000000000000000000000000000000000000aa"

static struct ed25519 *key_make(uint8_t first)
{
    const uint8_t seed[ED25519_KEY_LEN] = {first};
    struct ed25519 *key = NULL;

    assert_int_equal(ed25519_from_seed(&key, SPAN_OF(seed)), 0);
    return key;
}

static struct bill sample(void)
{
    struct bill b = {
        .call = "00112233445566778899aabbccddeeff",
        .attempt = 1,
        .account = "acme",
        .worker = WORKER,
        .model = SPAN("mod\"el"),
        .price = 12,
        .coefficient = 1500,
        .in = 9,
        .cached = 4,
        .out = 3,
        .reasoning = 1,
        .amount = 1234,
        .fee = 62,
        .t_ms = 1751328001470,
    };

    memset(b.price_sha256, 1, SHA256_LEN);
    memset(b.usage, 2, SHA256_LEN);
    return b;
}

static const char BILL_JSON[] =
    "{\"v\":1,\"call\":\"00112233445566778899aabbccddeeff\",\"attempt\":1,\"account\":\"acme\","
    "\"worker\":\"" WORKER "\",\"model\":\"mod\\\"el\",\"price\":12,"
    "\"price_sha256\":\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\",\"coefficient\":1500,"
    "\"in\":9,\"cached\":4,\"out\":3,\"reasoning\":1,\"total\":12,\"amount\":\"1234\",\"fee\":"
    "\"62\","
    "\"t\":1751328001470,\"usage\":\"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI\"}";

static void a_bill_says_exactly_its_members(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make(1);
    AUTO(buf_fini) struct buf jws = {0}, payload = {0};
    AUTO(bill_fini) struct bill back = {0};
    struct bill b = sample();

    (void)state;
    assert_int_equal(bill_sign(&b, key, &jws), 0);
    assert_int_equal(jws_verify(key, BILL_TYP, buf_span(&jws), &payload), 0);
    assert_string_equal(buf_cstr(&payload), BILL_JSON);
    assert_int_equal(bill_verify(&back, key, buf_span(&jws)), 0);
    assert_string_equal(back.worker, WORKER);
    assert_string_equal(back.account, "acme");
    assert_true(span_eq(back.model, b.model));
    assert_int_equal(back.amount, 1234);
    assert_int_equal(back.fee, 62);
    assert_memory_equal(back.usage, b.usage, SHA256_LEN);
}

static void nobody_elses_key_signs_a_bill(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make(1), *other = key_make(2);
    AUTO(buf_fini) struct buf jws = {0};
    struct bill b = sample(), back;

    (void)state;
    assert_int_equal(bill_sign(&b, key, &jws), 0);
    assert_int_equal(bill_verify(&back, other, buf_span(&jws)), E_AUTH);
}

static void every_flipped_byte_is_found(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make(1);
    AUTO(buf_fini) struct buf jws = {0};
    struct bill b = sample(), back;

    (void)state;
    assert_int_equal(bill_sign(&b, key, &jws), 0);
    for (size_t i = 0; i < jws.len; i++) {
        jws.data[i] ^= 1;
        assert_true(bill_verify(&back, key, buf_span(&jws)) < 0);
        jws.data[i] ^= 1;
    }
    assert_int_equal(bill_verify(&back, key, buf_span(&jws)), 0);
    bill_fini(&back);
}

static void what_does_not_add_up_is_not_signed(void **state)
{
    AUTO(ed25519_free) struct ed25519 *key = key_make(1);
    AUTO(buf_fini) struct buf jws = {0};

    (void)state;
#define REFUSED(change)                                                                            \
    do {                                                                                           \
        struct bill b = sample();                                                                  \
        change;                                                                                    \
        assert_int_equal(bill_sign(&b, key, &jws), E_INVALID);                                     \
    } while (0)
    REFUSED(b.fee = b.amount + 1);
    REFUSED(b.amount = -1);
    REFUSED(b.fee = -1);
    REFUSED(b.amount = INT64_C(9007199254740992));
    REFUSED(b.cached = b.in + 1);
    REFUSED(b.reasoning = b.out + 1);
    REFUSED(b.price = 0);
    REFUSED(b.coefficient = -1);
    REFUSED(b.call[0] = 'G');
    REFUSED(b.account[0] = 0);
    REFUSED(b.worker[3] = 'x');
    REFUSED(b.model = SPAN(""));
    assert_int_equal(jws.len, 0);
}

static void a_payload_with_a_member_missing_or_wrong_is_no_bill(void **state)
{
    static const char *const cuts[][2] = {{"\"v\":1", "\"v\":2"},
                                          {"\"amount\":\"1234\"", "\"amount\":1234"},
                                          {"\"fee\":\"62\"", "\"fee\":\"1235\""},
                                          {"\"total\":12", "\"total\":13"},
                                          {"\"fee\":\"62\"", "\"few\":\"62\""},
                                          {"\"attempt\":1", "\"attempt\":1.0"},
                                          {"\"amount\":\"1234\"", "\"amount\":\"01234\""}};
    AUTO(ed25519_free) struct ed25519 *key = key_make(1);
    struct bill back;

    (void)state;
    for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
        AUTO(buf_fini) struct buf text = {0}, jws = {0};
        struct span all = span_str(BILL_JSON);
        ptrdiff_t at = span_find(all, span_str(cuts[i][0]));
        assert_true(at >= 0);
        buf_append(&text, span_cut(all, 0, (size_t)at));
        buf_append_str(&text, cuts[i][1]);
        buf_append(&text, span_from(all, (size_t)at + strlen(cuts[i][0])));
        assert_int_equal(jws_sign(key, BILL_TYP, buf_span(&text), &jws), 0);
        assert_int_equal(bill_verify(&back, key, buf_span(&jws)), E_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bill_says_exactly_its_members),
        cmocka_unit_test(nobody_elses_key_signs_a_bill),
        cmocka_unit_test(every_flipped_byte_is_found),
        cmocka_unit_test(what_does_not_add_up_is_not_signed),
        cmocka_unit_test(a_payload_with_a_member_missing_or_wrong_is_no_bill),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
