/* GPU reports: a real Hopper's, and what is refused of it; the bytes' form. */
#include "tests/unit/lib/attest/dev_gpu.h"

#include "attest/policy_impl.h"

enum { SIGNATURE_LEN = 96, NOW = 1750000000 };

struct hopper {
    struct buf bytes, pem;
    struct gpu_report report;
    struct x509_cert *root;
};

static void hopper_fini(struct hopper *h)
{
    buf_fini(&h->bytes);
    buf_fini(&h->pem);
    x509_cert_free(h->root);
}
AUTO_FINI(struct hopper, hopper_fini)

/* Skips the test where the vectors are not there. */
static void hopper_read(struct hopper *h)
{
    AUTO(buf_fini) struct buf hex = vectors_bytes("nvidia/hopperAttestationReport.txt");

    while (hex.len > 0 && hex.data[hex.len - 1] <= ' ')
        hex.len--;
    h->bytes = bytes_of_hex(buf_cstr(&hex));
    h->pem = vectors_bytes("nvidia/hopperCertChain.txt");
    h->root = gpu_nvidia_root();
    assert_int_equal(gpu_report_parse(&h->report, buf_span(&h->bytes)), 0);
}

static enum attest_reason judge(const struct hopper *h, const struct x509_cert *root)
{
    struct x509_chain chain = {.count = 0};
    const enum attest_reason reason =
        gpu_report_verify(&h->report, buf_span(&h->pem), root, NOW, &chain);

    x509_chain_fini(&chain);
    return reason;
}

static void a_real_report_verifies(void **state)
{
    AUTO(hopper_fini) struct hopper h = {.root = NULL};

    (void)state;
    hopper_read(&h);
    assert_int_equal(h.report.block_count, 64);
    assert_true(span_is(h.report.driver, "550.90.07"));
    assert_int_equal(h.report.fwid.len, 48);
    assert_int_equal(judge(&h, h.root), ATTEST_OK);
}

static void any_changed_byte_of_it_is_refused(void **state)
{
    AUTO(hopper_fini) struct hopper h = {.root = NULL};

    (void)state;
    hopper_read(&h);
    for (size_t at = 0; at < h.bytes.len; at += 97) {
        struct hopper other = h;

        h.bytes.data[at] ^= 1;
        if (gpu_report_parse(&other.report, buf_span(&h.bytes)) == 0)
            assert_int_not_equal(judge(&other, h.root), ATTEST_OK);
        h.bytes.data[at] ^= 1;
    }
}

static void a_signature_by_another_key_is_refused(void **state)
{
    AUTO(hopper_fini) struct hopper h = {.root = NULL};

    (void)state;
    hopper_read(&h);
    h.bytes.data[h.bytes.len - 1] ^= 1;
    assert_int_equal(judge(&h, h.root), ATTEST_GPU_SIGNATURE_INVALID);
}

static void another_firmware_than_the_certificates_is_refused(void **state)
{
    AUTO(hopper_fini) struct hopper h = {.root = NULL};

    (void)state;
    hopper_read(&h);
    h.report.fwid.len--;
    assert_int_equal(judge(&h, h.root), ATTEST_GPU_FWID_MISMATCH);
}

static void a_chain_to_another_root_is_refused(void **state)
{
    AUTO(hopper_fini) struct hopper h = {.root = NULL};
    AUTO(x509_chain_fini) struct x509_chain chain = {.count = 0};

    (void)state;
    hopper_read(&h);
    assert_int_equal(x509_chain_read_pem(&chain, buf_span(&h.pem)), 0);
    assert_int_equal(judge(&h, chain.certs[1]), ATTEST_GPU_CHAIN_INVALID);
    h.pem.len = 100;
    assert_int_equal(judge(&h, h.root), ATTEST_GPU_CHAIN_INVALID);
}

/* The whole evidence, for a nonce. */
static enum attest_reason verify(const struct hopper *h, const uint8_t *nonce, uint32_t count,
                                 size_t reports)
{
    AUTO(buf_fini) struct buf evidence = {0};
    const struct span items[2] = {buf_span(&h->bytes), buf_span(&h->bytes)};
    const struct span chains[2] = {buf_span(&h->pem), buf_span(&h->pem)};
    struct attest_verdict v = {0};

    gpu_evidence_write(&evidence, items, chains, reports);
    const struct gpu_input in = {.evidence = buf_span(&evidence),
                                 .nonce = nonce,
                                 .count = count,
                                 .root = h->root,
                                 .now_s = NOW};
    const int error = gpu_verify(&in, &v);
    assert_int_equal(error, v.reason == ATTEST_OK ? 0 : E_DENIED);
    return v.reason;
}

static void a_canned_or_foreign_nonce_is_refused(void **state)
{
    AUTO(hopper_fini) struct hopper h = {.root = NULL};
    static const uint8_t other[GPU_NONCE_LEN] = {1};

    (void)state;
    hopper_read(&h); /* its nonce is the canned one */
    assert_int_equal(verify(&h, h.report.nonce, 1, 1), ATTEST_GPU_NONCE_MISMATCH);
    assert_int_equal(verify(&h, other, 1, 1), ATTEST_GPU_NONCE_MISMATCH);
}

static void the_keyset_says_how_many_there_are(void **state)
{
    AUTO(hopper_fini) struct hopper h = {.root = NULL};

    (void)state;
    hopper_read(&h);
    assert_int_equal(verify(&h, h.report.nonce, 2, 1), ATTEST_GPU_COUNT_MISMATCH);
    assert_int_equal(verify(&h, h.report.nonce, 1, 2), ATTEST_GPU_COUNT_MISMATCH);
    assert_int_equal(verify(&h, h.report.nonce, 0, 0), ATTEST_GPU_COUNT_MISMATCH);
}

/* ---- GPUs of our own ---- */

/* What two GPUs, the second sharing so many certificates with the first, are told; both begin with
 * what else their reports hold. */
static enum attest_reason verify_both(struct dev_gpu first_gpu, struct dev_gpu second_gpu, int kept,
                                      const struct gpu_pin *pins, uint8_t second_fill,
                                      struct attest_verdict *v)
{
    static const uint8_t nonce[GPU_NONCE_LEN] = {5};
    AUTO(dev_gpu_fini) struct dev_gpu a = first_gpu, b = second_gpu;
    AUTO(buf_fini) struct buf first = {0}, second = {0}, pem = {0}, pem_2 = {0};
    AUTO(buf_fini) struct buf evidence = {0};
    AUTO(x509_chain_fini) struct x509_chain chain = {.count = 0};

    dev_gpu_make(&a, NULL, 0);
    dev_gpu_make(&b, &a, kept);
    dev_gpu_report(&a, nonce, 7, &first);
    dev_gpu_report(&b, nonce, second_fill, &second);
    dev_gpu_chain(&a, &pem);
    dev_gpu_chain(&b, &pem_2);
    assert_int_equal(x509_chain_read_pem(&chain, buf_span(&pem)), 0);
    gpu_evidence_write(&evidence, (struct span[]){buf_span(&first), buf_span(&second)},
                       (struct span[]){buf_span(&pem), buf_span(&pem_2)}, 2);
    const struct gpu_input in = {.evidence = buf_span(&evidence),
                                 .nonce = nonce,
                                 .count = 2,
                                 .root = chain.certs[DEV_GPU_CERTS - 1],
                                 .pins = pins,
                                 .pin_count = pins ? 1 : 0,
                                 .now_s = NOW};
    *v = (struct attest_verdict){0};
    const int error = gpu_verify(&in, v);
    assert_int_equal(error, v->reason == ATTEST_OK ? 0 : E_DENIED);
    return v->reason;
}

static enum attest_reason verify_two(int kept, const struct gpu_pin *pins, uint8_t second_fill,
                                     struct attest_verdict *v)
{
    const struct dev_gpu plain = {.keys = {NULL}};

    return verify_both(plain, plain, kept, pins, second_fill, v);
}

static void two_gpus_of_one_root_are_two(void **state)
{
    struct attest_verdict v;

    (void)state;
    assert_int_equal(verify_two(3, NULL, 7, &v), ATTEST_OK);
    assert_int_equal(v.gpu_count, 2);
    assert_string_equal(v.gpu_driver, "550.1");
    assert_string_equal(v.gpu_vbios, "96.00.9F.00.01");
    assert_int_equal(v.steps[ATTEST_STEP_GPU], ATTEST_PASSED);
    assert_int_equal(v.valid_until, 1900000000); /* their certificates' end */
}

static void a_chain_is_five_certificates(void **state)
{
    static const uint8_t nonce[GPU_NONCE_LEN] = {5};
    AUTO(dev_gpu_fini) struct dev_gpu g = {.keys = {NULL}};
    AUTO(buf_fini) struct buf bytes = {0}, pem = {0};
    AUTO(x509_chain_fini) struct x509_chain five = {.count = 0}, four = {.count = 0};
    struct gpu_report report;

    (void)state;
    dev_gpu_make(&g, NULL, 0);
    dev_gpu_report(&g, nonce, 7, &bytes);
    dev_gpu_chain(&g, &pem);
    assert_int_equal(gpu_report_parse(&report, buf_span(&bytes)), 0);
    assert_int_equal(x509_chain_read_pem(&five, buf_span(&pem)), 0);
    const struct x509_cert *root = five.certs[DEV_GPU_CERTS - 1];
    struct x509_chain chain = {.count = 0};
    assert_int_equal(gpu_report_verify(&report, buf_span(&pem), root, NOW, &chain), ATTEST_OK);
    x509_chain_fini(&chain);
    size_t last = pem.len; /* the root, which would be left out */
    while (last > 0 && !span_starts(span_from(buf_span(&pem), last), SPAN("-----BEGIN")))
        last--;
    pem.len = last;
    assert_int_equal(gpu_report_verify(&report, buf_span(&pem), root, NOW, &four),
                     ATTEST_GPU_CHAIN_INVALID);
}

/* One GPU's report, judged by its own root under a policy that pins nothing. */
static enum attest_reason judge_under(struct attest_policy policy, const struct dev_gpu *g,
                                      struct span report, struct attest_verdict *v)
{
    AUTO(buf_fini) struct buf pem = {0}, evidence = {0};
    AUTO(x509_chain_fini) struct x509_chain chain = {.count = 0};
    const struct keyset keyset = {.gpu_nvidia = true, .gpu_count = 1};

    dev_gpu_chain(g, &pem);
    assert_int_equal(x509_chain_read_pem(&chain, buf_span(&pem)), 0);
    const struct span chain_pem = buf_span(&pem);
    gpu_evidence_write(&evidence, &report, &chain_pem, 1);
    policy.gpu_root = chain.certs[DEV_GPU_CERTS - 1];
    *v = (struct attest_verdict){0};
    const int error =
        attest_policy_judge_gpu(&policy, &keyset, buf_span(&evidence), report.data + 4, NOW, v);
    assert_int_equal(error, v->reason == ATTEST_OK ? 0 : E_DENIED);
    return v->reason;
}

static enum attest_reason judge_one(const struct dev_gpu *g, struct span report)
{
    struct attest_verdict v;

    return judge_under((struct attest_policy){.gpu = POLICY_GPU_NVIDIA}, g, report, &v);
}

static const uint8_t SOME_NONCE[GPU_NONCE_LEN] = {5};

static void a_blackwells_certificate_names_its_firmware_elsewhere(void **state)
{
    AUTO(dev_gpu_fini) struct dev_gpu g = {.blackwell = true};
    AUTO(buf_fini) struct buf report = {0}, other = {0};

    (void)state;
    dev_gpu_make(&g, NULL, 0);
    dev_gpu_report(&g, SOME_NONCE, 7, &report);
    assert_int_equal(judge_one(&g, buf_span(&report)), ATTEST_OK);
    /* Zeros, the second FWID there, are not the firmware's. */
    g.blackwell = false;
    dev_gpu_report(&g, SOME_NONCE, 7, &other);
    assert_int_equal(judge_one(&g, buf_span(&other)), ATTEST_GPU_FWID_MISMATCH);
}

static enum attest_reason judge_with(struct span opaque)
{
    AUTO(dev_gpu_fini) struct dev_gpu g = {.opaque = opaque};
    AUTO(buf_fini) struct buf report = {0};

    dev_gpu_make(&g, NULL, 0);
    dev_gpu_report(&g, SOME_NONCE, 7, &report);
    return judge_one(&g, buf_span(&report));
}

static void a_gpu_behind_switches_is_not_vouched_for_by_its_report(void **state)
{
    (void)state;
    assert_int_equal(judge_with(SPAN("\x15\0\x01\0\x55")), ATTEST_OK); /* as a Hopper alone */
    assert_int_equal(judge_with(SPAN("\x15\0\x01\0\xaa")), ATTEST_GPU_MODE);
    assert_int_equal(judge_with(SPAN("\x15\0\0\0")), ATTEST_GPU_MODE);
    assert_int_equal(judge_with(SPAN("\x24\0\x01\0\0")), ATTEST_OK);   /* one GPU */
    assert_int_equal(judge_with(SPAN("\x24\0\x01\0\x01")), ATTEST_OK); /* several, NVLink sealed */
    assert_int_equal(judge_with(SPAN("\x24\0\x04\0\x02\0\0\0")), ATTEST_GPU_MODE);
    assert_int_equal(judge_with(SPAN("\x24\0\x04\0\x01\0\0\x01")), ATTEST_GPU_MODE);
}

/* NVIDIA's rule: who seals links has somebody on the other side, who must be among them. */
static void gpus_are_linked_all_or_none(void **state)
{
    const struct span told[] = {SPAN(""), SPAN("\x24\0\x01\0\0"), SPAN("\x24\0\x01\0\x01")};
    struct attest_verdict v;

    (void)state;
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 3; k++) {
            const struct dev_gpu a = {.opaque = told[i]}, b = {.opaque = told[k]};

            assert_int_equal(verify_both(a, b, 3, NULL, 7, &v),
                             i + k == 3 ? ATTEST_GPU_MODE : ATTEST_OK);
        }
}

/* The same chains and reports as a GPU's, but no driver runs it. */
static void a_switch_is_no_gpu(void **state)
{
    AUTO(dev_gpu_fini) struct dev_gpu g = {.keys = {NULL}};
    AUTO(buf_fini) struct buf report = {0};

    (void)state;
    dev_gpu_make(&g, NULL, 0);
    dev_gpu_report(&g, SOME_NONCE, 7, &report);
    const ptrdiff_t driver = span_find(buf_span(&report), SPAN("\x03\0\x06\0"));
    assert_true(driver > 0);
    report.data[driver] = 0x16; /* SWITCH_PDI */
    report.len -= SIGNATURE_LEN;
    dev_gpu_sign(&g, &report);
    assert_int_equal(judge_one(&g, buf_span(&report)), ATTEST_GPU_EVIDENCE_INVALID);
}

static void a_policy_withdraws_any_certificate_by_its_serial_number(void **state)
{
    AUTO(dev_gpu_fini) struct dev_gpu g = {.keys = {NULL}};
    AUTO(buf_fini) struct buf report = {0};
    static char serials[][ATTEST_SERIAL_LEN] = {"07d0", "03e8"};
    struct attest_policy policy = {.gpu_revoked = serials, .gpu_revoked_count = 2};
    struct attest_verdict v;

    (void)state;
    dev_gpu_make(&g, NULL, 0); /* 1000 and on, from its leaf */
    dev_gpu_report(&g, SOME_NONCE, 7, &report);
    for (int i = 0; i < DEV_GPU_CERTS; i++) {
        snprintf(serials[1], sizeof(serials[1]), "%04x", 1000 + i);
        assert_int_equal(judge_under(policy, &g, buf_span(&report), &v), ATTEST_GPU_REVOKED);
        assert_non_null(strstr(v.detail, serials[1]));
    }
    policy.gpu_revoked_count = 1;
    assert_int_equal(judge_under(policy, &g, buf_span(&report), &v), ATTEST_OK);
    assert_string_equal(v.gpu_serials[0], "03e9"); /* the device's, which an operator would list */
}

static void one_gpu_is_not_two(void **state)
{
    struct attest_verdict v;

    (void)state;
    assert_int_equal(verify_two(5, NULL, 7, &v), ATTEST_GPU_COUNT_MISMATCH);
    /* The same device under another key of its firmware. */
    assert_int_equal(verify_two(4, NULL, 7, &v), ATTEST_GPU_COUNT_MISMATCH);
}

static void firmware_is_held_against_the_pins(void **state)
{
    uint8_t blocks[1][48];
    struct gpu_pin pin = {
        .driver = "550.1", .vbios = "96.00.9F.00.01", .blocks = blocks, .block_count = 1};
    struct attest_verdict v;

    (void)state;
    memset(blocks, 7, sizeof(blocks));
    assert_int_equal(verify_two(3, &pin, 7, &v), ATTEST_OK);
    assert_int_equal(verify_two(3, &pin, 8, &v), ATTEST_GPU_MEASUREMENT);
    pin.driver[0] = '6';
    assert_int_equal(verify_two(3, &pin, 7, &v), ATTEST_GPU_MEASUREMENT);
    pin.driver[0] = '5';
    memset(blocks, 0, sizeof(blocks)); /* not judged */
    assert_int_equal(verify_two(3, &pin, 8, &v), ATTEST_OK);
}

/* A pin that is written from a report is one that it fits. */
static void a_report_tells_its_own_pin(void **state)
{
    AUTO(dev_gpu_fini) struct dev_gpu g = {.keys = {NULL}};
    AUTO(buf_fini) struct buf bytes = {0}, pem = {0}, evidence = {0}, pins = {0};
    char want[200];

    (void)state;
    dev_gpu_make(&g, NULL, 0);
    dev_gpu_report(&g, SOME_NONCE, 7, &bytes);
    dev_gpu_chain(&g, &pem);
    const struct span reports[] = {buf_span(&bytes), buf_span(&bytes)};
    const struct span chains[] = {buf_span(&pem), buf_span(&pem)};
    gpu_evidence_write(&evidence, reports, chains, 2);
    assert_int_equal(gpu_evidence_pins(buf_span(&evidence), &pins), 0);
    snprintf(want, sizeof(want),
             "{\"driver\":\"550.1\",\"vbios\":\"96.00.9F.00.01\",\"blocks\":[\"%s\"]}\n",
             "070707070707070707070707070707070707070707070707"
             "070707070707070707070707070707070707070707070707");
    assert_int_equal(pins.len, 2 * strlen(want));
    assert_memory_equal(pins.data, want, strlen(want));
    evidence.data[20] = '!';
    assert_int_equal(gpu_evidence_pins(buf_span(&evidence), &pins), E_INVALID);
}

/* A report of one block, which nobody signed. */
static void report_make(struct buf *out)
{
    uint8_t zeros[SIGNATURE_LEN] = {0};

    buf_append(out, SPAN("\x11\xe0\x01\xff"));
    buf_append(out, span_of(zeros, 33));
    buf_append(out, SPAN("\x11\x60\0\0\x01"));
    buf_append(out, SPAN("\x37\0\0"));
    buf_append(out, SPAN("\x01\x01\x33\0\0\x30\0"));
    buf_append(out, span_of(zeros, 48));
    buf_append(out, span_of(zeros, 32));
    buf_append(out, SPAN("\x0a\0\x03\0\x06\0"
                         "550.1\0"));
    buf_append(out, SPAN_OF(zeros));
}

static void a_report_has_its_form(void **state)
{
    AUTO(buf_fini) struct buf bytes = {0};
    struct gpu_report report;

    (void)state;
    report_make(&bytes);
    assert_int_equal(gpu_report_parse(&report, buf_span(&bytes)), 0);
    assert_int_equal(report.block_count, 1);
    assert_int_equal(report.blocks[0].len, 48);
    assert_true(span_is(report.driver, "550.1"));
    for (size_t len = 0; len < bytes.len; len++)
        assert_int_equal(gpu_report_parse(&report, span_of(bytes.data, len)), E_INVALID);
    buf_byte(&bytes, 0);
    assert_int_equal(gpu_report_parse(&report, buf_span(&bytes)), E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_real_report_verifies),
        cmocka_unit_test(any_changed_byte_of_it_is_refused),
        cmocka_unit_test(a_signature_by_another_key_is_refused),
        cmocka_unit_test(another_firmware_than_the_certificates_is_refused),
        cmocka_unit_test(a_chain_to_another_root_is_refused),
        cmocka_unit_test(a_canned_or_foreign_nonce_is_refused),
        cmocka_unit_test(the_keyset_says_how_many_there_are),
        cmocka_unit_test(two_gpus_of_one_root_are_two),
        cmocka_unit_test(a_chain_is_five_certificates),
        cmocka_unit_test(a_blackwells_certificate_names_its_firmware_elsewhere),
        cmocka_unit_test(a_gpu_behind_switches_is_not_vouched_for_by_its_report),
        cmocka_unit_test(gpus_are_linked_all_or_none),
        cmocka_unit_test(a_switch_is_no_gpu),
        cmocka_unit_test(a_policy_withdraws_any_certificate_by_its_serial_number),
        cmocka_unit_test(one_gpu_is_not_two),
        cmocka_unit_test(firmware_is_held_against_the_pins),
        cmocka_unit_test(a_report_tells_its_own_pin),
        cmocka_unit_test(a_report_has_its_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
