/* Collateral as text and bytes, and the floor. */
#include "tests/unit/lib/attest/dev_evidence.h"

static const char HEX_128[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
                              "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static void make_json(struct buf *out, const char *tcb_info, const char *signature, const char *crl)
{
    buf_printf(out,
               "{\"tcb_info\":\"%s\",\"tcb_info_signature\":\"%s\",\"tcb_info_issuer_chain\":\"A\","
               "\"qe_identity\":\"{}\",\"qe_identity_signature\":\"%s\","
               "\"qe_identity_issuer_chain\":\"B\",\"pck_crl\":\"%s\",\"root_ca_crl\":\"MAA=\"}",
               tcb_info, signature, HEX_128, crl);
}

static int read_json(const struct buf *json)
{
    struct collateral c;
    int error = collateral_read_bytes(&c, buf_span(json));

    collateral_fini(&c);
    return error;
}

static void lists_may_be_hex_base64_or_pem(void **state)
{
    static const char *const forms[][2] = {
        {"3000", "\x30"}, {"MAA=", "\x30"}, {"-----BEGIN X509 CRL-----\\n", "-"}};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        AUTO(buf_fini) struct buf json = {0};
        AUTO(collateral_fini) struct collateral c;

        make_json(&json, "{ \\\"a\\\":1}", HEX_128, forms[i][0]);
        assert_int_equal(collateral_read_bytes(&c, buf_span(&json)), 0);
        assert_int_equal(c.pck_crl.data[0], forms[i][1][0]);
        assert_hex(buf_span(&c.root_crl), "3000");
        assert_span(buf_span(&c.tcb_info), SPAN("{ \"a\":1}"));
        assert_hex(buf_span(&c.tcb_info_signature), HEX_128);
        assert_int_equal(c.pck_crl_chain.len, 0); /* need not be there */
    }
}

static void odd_collateral_is_refused(void **state)
{
    static const char *const bad[][3] = {
        {"{}", "00", "3000"}, {"{}", "zz", "3000"}, {"{}", HEX_128, "300"}, {"{}", HEX_128, "?"}};
    AUTO(buf_fini) struct buf empty = {0};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        AUTO(buf_fini) struct buf json = {0};

        make_json(&json, bad[i][0], bad[i][1], bad[i][2]);
        assert_int_equal(read_json(&json), E_INVALID);
    }
    assert_int_equal(read_json(&empty), E_INVALID);
    buf_append(&empty, SPAN("{\"tcb_info\":\"{}\"}"));
    assert_int_equal(read_json(&empty), E_INVALID);
    buf_clear(&empty);
    buf_append(&empty, SPAN("[]"));
    assert_int_equal(read_json(&empty), E_INVALID);
}

static void more_than_the_bound_is_too_large(void **state)
{
    AUTO(buf_fini) struct buf json = {0}, text = {0};

    (void)state;
    memset(buf_reserve(&text, COLLATERAL_MAX + 1), 'x', COLLATERAL_MAX + 1);
    text.len = COLLATERAL_MAX - 512;
    make_json(&json, buf_cstr(&text), HEX_128, "3000");
    assert_int_equal(read_json(&json), 0);
    buf_clear(&json);
    memset(text.data, 'x', COLLATERAL_MAX);
    text.len = COLLATERAL_MAX;
    make_json(&json, buf_cstr(&text), HEX_128, "3000");
    assert_int_equal(read_json(&json), E_TOO_LARGE);
}

static void what_is_written_reads_as_the_same(void **state)
{
    AUTO(dev_evidence_fini) struct dev_evidence e;
    AUTO(collateral_fini) struct collateral again;
    AUTO(buf_fini) struct buf json = {0};
    uint8_t a[SHA256_LEN], b[SHA256_LEN];

    (void)state;
    dev_evidence_make(&e, NULL);
    collateral_write(&e.collateral, &json);
    assert_int_equal(collateral_read_bytes(&again, buf_span(&json)), 0);
    collateral_digest(&e.collateral, a);
    collateral_digest(&again, b);
    assert_memory_equal(a, b, sizeof(a));
    again.root_crl.data[9] ^= 1;
    collateral_digest(&again, b);
    assert_memory_not_equal(a, b, sizeof(a));
}

static void a_digest_tells_where_one_part_ends(void **state)
{
    AUTO(collateral_fini) struct collateral a = {0}, b = {0};
    uint8_t of_a[SHA256_LEN], of_b[SHA256_LEN];

    (void)state;
    buf_append(&a.tcb_info, SPAN("xy"));
    buf_append(&b.tcb_info, SPAN("x"));
    buf_append(&b.tcb_info_signature, SPAN("y"));
    collateral_digest(&a, of_a);
    collateral_digest(&b, of_b);
    assert_memory_not_equal(of_a, of_b, sizeof(of_a));
}

static int set_tcb(struct collateral *c, const char *value, const char *signature)
{
    AUTO(buf_fini) struct buf body = {0};

    buf_printf(&body, "%s,\"signature\":\"%s\"}", value, signature);
    return collateral_set_tcb_info(c, buf_span(&body), SPAN("PEM"));
}

static void an_answer_s_signed_value_is_cut_out_as_it_stands(void **state)
{
    AUTO(collateral_fini) struct collateral c = {0};
    AUTO(buf_fini) struct buf large = {0};

    (void)state;
    assert_int_equal(
        set_tcb(&c, "{\"x\":\"tcbInfo\", \"tcbInfo\" : { \"b\":1.0 , \"}\":[ ]} ", HEX_128), 0);
    assert_span(buf_span(&c.tcb_info), SPAN("{ \"b\":1.0 , \"}\":[ ]}"));
    assert_span(buf_span(&c.tcb_info_chain), SPAN("PEM"));
    assert_int_equal(set_tcb(&c, "{\"tcbInfo\":{},\"tcbInfo\":{}", HEX_128), E_INVALID);
    assert_int_equal(set_tcb(&c, "{\"tcbInfo\":{},\"tcb\\u0049nfo\":{}", HEX_128), E_INVALID);
    assert_int_equal(set_tcb(&c, "{\"tcbInfo\":\"{}\"", HEX_128), E_INVALID);
    assert_int_equal(set_tcb(&c, "{\"enclaveIdentity\":{}", HEX_128), E_INVALID);
    assert_int_equal(set_tcb(&c, "{\"tcbInfo\":{}", "00"), E_INVALID);
    assert_int_equal(collateral_set_tcb_info(&c, SPAN("{}"), SPAN("")), E_INVALID);
    assert_int_equal(collateral_set_qe_identity(&c, SPAN("nothing"), SPAN("")), E_INVALID);
    memset(buf_reserve(&large, COLLATERAL_MAX), ' ', COLLATERAL_MAX);
    large.len = COLLATERAL_MAX;
    assert_int_equal(collateral_set_tcb_info(&c, buf_span(&large), SPAN("x")), E_TOO_LARGE);
}

static void a_chain_may_stand_as_in_the_services_header(void **state)
{
    static const char PLAIN[] = "-----BEGIN CERTIFICATE-----\nA+/=\n-----END CERTIFICATE-----\n";
    static const char ENCODED[] =
        "-----BEGIN%20CERTIFICATE-----%0AA+/%3D%0a-----END%20CERTIFICATE-----%0A";
    AUTO(collateral_fini) struct collateral c = {0};

    (void)state;
    assert_int_equal(collateral_set_pck_crl(&c, SPAN("\x30\x80"), SPAN("")), E_INVALID);
    assert_int_equal(collateral_set_pck_crl(&c, SPAN("3003020100\n"), span_str(ENCODED)), 0);
    assert_span(buf_span(&c.pck_crl_chain), span_str(PLAIN));
    assert_span(buf_span(&c.pck_crl), SPAN("\x30\x03\x02\x01\x00"));
    assert_int_equal(collateral_set_pck_crl(&c, SPAN("MAMCAQA=\r\n"), span_str(PLAIN)), 0);
    assert_span(buf_span(&c.pck_crl_chain), span_str(PLAIN));
    assert_span(buf_span(&c.pck_crl), SPAN("\x30\x03\x02\x01\x00"));
    assert_int_equal(collateral_set_root_crl(&c, SPAN("\n-----BEGIN X509 CRL-----\nx")), 0);
    assert_span(buf_span(&c.root_crl), SPAN("-----BEGIN X509 CRL-----\nx"));
    /* Not text: what does not decode stays as it is and leads nowhere. */
    assert_int_equal(collateral_set_pck_crl(&c, SPAN("3000"), SPAN("-----BEGIN%20CERTIFICATE%ff")),
                     E_INVALID);
    assert_int_equal(collateral_set_pck_crl(&c, SPAN("3000"), SPAN("-----BEGIN%20CERTIFICATE%0")),
                     0);
    assert_int_equal(collateral_set_root_crl(&c, SPAN("300")), E_INVALID);
    assert_int_equal(collateral_set_root_crl(&c, SPAN("")), 0);
}

/* ---- Floor ---- */

static bool raise_to(struct attest_floor *floor, uint8_t platform, uint32_t tcb, uint32_t qe)
{
    const struct attest_verdict v = {
        .fmspc = {platform}, .tcb_evaluation = tcb, .qe_evaluation = qe};

    return attest_floor_raise(floor, &v);
}

static void a_floor_only_rises(void **state)
{
    struct attest_floor floor = {0};
    const uint8_t one[6] = {1}, two[6] = {2};

    (void)state;
    assert_true(raise_to(&floor, 1, 17, 16));
    assert_false(raise_to(&floor, 1, 17, 16));
    assert_false(raise_to(&floor, 1, 12, 12));
    assert_true(raise_to(&floor, 1, 16, 17)); /* the enclave's alone */
    assert_int_equal(attest_floor_tcb(&floor, one), 17);
    assert_int_equal(floor.qe, 17);
    assert_int_equal(attest_floor_tcb(&floor, two), 0);
}

static void a_full_floor_forgets_the_lowest(void **state)
{
    struct attest_floor floor = {0};
    const uint8_t lowest[6] = {5}, added[6] = {200};

    (void)state;
    for (uint8_t i = 0; i < FLOOR_MAX; i++)
        assert_true(raise_to(&floor, i, i == 5 ? 3 : 10, 1));
    assert_int_equal(floor.count, FLOOR_MAX);
    assert_true(raise_to(&floor, 200, 20, 1));
    assert_int_equal(floor.count, FLOOR_MAX);
    assert_int_equal(attest_floor_tcb(&floor, lowest), 0);
    assert_int_equal(attest_floor_tcb(&floor, added), 20);
}

static void a_floor_survives_being_written_and_read(void **state)
{
    struct attest_floor floor = {0}, again;
    AUTO(buf_fini) struct buf json = {0};
    const uint8_t one[6] = {1};

    (void)state;
    raise_to(&floor, 1, 18, 17);
    attest_floor_write(&floor, &json);
    assert_span(buf_span(&json), SPAN("{\"tcb\":{\"010000000000\":18},\"qe\":17}"));
    assert_int_equal(attest_floor_read(&again, buf_span(&json)), 0);
    assert_int_equal(attest_floor_tcb(&again, one), 18);
    assert_int_equal(again.qe, 17);
}

static void an_odd_floor_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "{}",
                                      "{\"tcb\":{}}",
                                      "{\"tcb\":[],\"qe\":1}",
                                      "{\"tcb\":{},\"qe\":-1}",
                                      "{\"tcb\":{},\"qe\":1,\"x\":1}",
                                      "{\"tcb\":{\"01\":1},\"qe\":1}",
                                      "{\"tcb\":{\"010000000000\":-1},\"qe\":1}",
                                      "{\"tcb\":{\"010000000000\":\"1\"},\"qe\":1}",
                                      "{\"tcb\":{\"0a0000000000\":1,\"0A0000000000\":2},\"qe\":1}",
                                      "{\"tcb\":{\"010000000000\":4294967296},\"qe\":1}"};
    struct attest_floor floor = {.qe = 7};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(attest_floor_read(&floor, span_str(bad[i])), E_INVALID);
    assert_int_equal(floor.qe, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_may_be_hex_base64_or_pem),
        cmocka_unit_test(odd_collateral_is_refused),
        cmocka_unit_test(more_than_the_bound_is_too_large),
        cmocka_unit_test(what_is_written_reads_as_the_same),
        cmocka_unit_test(a_digest_tells_where_one_part_ends),
        cmocka_unit_test(an_answer_s_signed_value_is_cut_out_as_it_stands),
        cmocka_unit_test(a_chain_may_stand_as_in_the_services_header),
        cmocka_unit_test(a_floor_only_rises),
        cmocka_unit_test(a_full_floor_forgets_the_lowest),
        cmocka_unit_test(a_floor_survives_being_written_and_read),
        cmocka_unit_test(an_odd_floor_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
