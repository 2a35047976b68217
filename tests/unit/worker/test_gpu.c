/* GPU evidence through a library that plays NVML (fake_nvml.c, built beside this program). */
#include "tests/unit/lib/attest/dev_gpu.h"

#include <dlfcn.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/json.h"
#include "tests/unit/worker/fake_nvml.h"
#include "worker/gpu.h"

static const uint8_t NONCE[GPU_NONCE_LEN] = {0xab, [31] = 0xcd};
static char library[512], why[GPU_WHY_LEN];
static struct fake_nvml *fake;

static int begin(void **state)
{
    (void)state;
    const ssize_t n = readlink("/proc/self/exe", library, sizeof(library) - 16);
    assert_true(n > 0);
    library[n] = '\0';
    strcpy(strrchr(library, '/'), "/fake_nvml.so");
    void *handle = dlopen(library, RTLD_NOW);
    assert_non_null(handle);
    fake = dlsym(handle, "fake_nvml");
    assert_non_null(fake);
    *fake = (struct fake_nvml){.gpus = 3, .cc_feature = 1};
    return 0;
}

static int open_error(void)
{
    struct gpu_reader *g = NULL;

    const int error = gpu_open(&g, library, why);
    assert_int_equal(fake->inits, fake->shutdowns + (error == 0));
    gpu_close(g);
    assert_int_equal(fake->inits, fake->shutdowns);
    return error;
}

static void expect_item(json_t *items, size_t i, const char *report, const char *chain)
{
    AUTO(buf_fini) struct buf bytes = {0};
    const json_t *item = json_array_get(items, i);
    struct span text;

    assert_int_equal(json_obj_string(item, "report", &text), 0);
    assert_int_equal(base64_decode(&bytes, text), 0);
    assert_string_equal(buf_cstr(&bytes), report);
    buf_clear(&bytes);
    assert_int_equal(json_obj_string(item, "chain", &text), 0);
    assert_int_equal(base64_decode(&bytes, text), 0);
    assert_string_equal(buf_cstr(&bytes), chain);
}

static void evidence_of_all_gpus_comes_in_pci_order_with_the_nonce(void **state)
{
    AUTO(gpu_close) struct gpu_reader *g = NULL;
    AUTO(buf_fini) struct buf evidence = {0};
    AUTO_JSON json_t *doc = NULL;

    (void)state;
    assert_int_equal(gpu_open(&g, library, why), 0);
    assert_int_equal(gpu_count(g), 3);
    assert_int_equal(gpu_evidence(g, NONCE, &evidence, why), 0);
    assert_int_equal(json_read(buf_span(&evidence), &doc), 0);
    json_t *items = json_object_get(doc, "items");
    assert_int_equal(json_array_size(items), 3);
    expect_item(items, 0, "report 102 nonce abcd", "chain 102");
    expect_item(items, 1, "report 101 nonce abcd", "chain 101");
    expect_item(items, 2, "report 100 nonce abcd", "chain 100");
}

static void without_confidential_computing_there_is_no_evidence(void **state)
{
    (void)state;
    fake->cc_feature = 0;
    assert_int_equal(open_error(), E_DENIED);
    assert_non_null(strstr(why, "is off"));
}

static void development_tools_mode_is_refused_whenever_it_comes_on(void **state)
{
    AUTO(gpu_close) struct gpu_reader *g = NULL;
    AUTO(buf_fini) struct buf evidence = {0};

    (void)state;
    fake->devtools_mode = 1;
    assert_int_equal(open_error(), E_DENIED);
    assert_non_null(strstr(why, "development tools"));
    fake->devtools_mode = 0;
    assert_int_equal(gpu_open(&g, library, why), 0);
    fake->devtools_mode = 1;
    assert_int_equal(gpu_evidence(g, NONCE, &evidence, why), E_DENIED);
    assert_int_equal(evidence.len, 0);
}

/* What is between the GPUs then belongs to what must be believed, and shows nothing here. */
static void gpus_behind_switches_that_show_no_evidence_are_refused(void **state)
{
    static const struct {
        unsigned mode;
        int error; /* NVML's own for what it does not support is 3 */
        int result;
    } cases[] = {
        {0, 0, 0},        /* none */
        {1, 0, E_DENIED}, /* Protected PCIe */
        {2, 0, 0},        /* NVLink encrypted by the GPUs */
        {3, 0, E_DENIED}, /* whatever comes later */
        {1, 3, 0},        /* a driver that knows no modes */
        {0, 999, E_UNSUPPORTED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(gpu_close) struct gpu_reader *g = NULL;

        fake->multi_gpu_mode = cases[i].mode;
        fake->settings_error = cases[i].error;
        if (gpu_open(&g, library, why) != cases[i].result)
            fail_msg("case %zu: %s", i, why);
        if (cases[i].result == E_DENIED)
            assert_non_null(strstr(why, "switches"));
    }
}

static void sizes_beyond_the_librarys_own_arrays_are_refused(void **state)
{
    AUTO(gpu_close) struct gpu_reader *g = NULL;
    AUTO(buf_fini) struct buf evidence = {0};

    (void)state;
    assert_int_equal(gpu_open(&g, library, why), 0);
    fake->report_size = 0x2001;
    assert_int_equal(gpu_evidence(g, NONCE, &evidence, why), E_INVALID);
    fake->report_size = 0;
    fake->chain_size = 0x1401;
    assert_int_equal(gpu_evidence(g, NONCE, &evidence, why), E_INVALID);
    assert_int_equal(evidence.len, 0);
}

static void an_error_of_the_library_is_told_in_its_words(void **state)
{
    AUTO(gpu_close) struct gpu_reader *g = NULL;
    AUTO(buf_fini) struct buf evidence = {0};

    (void)state;
    assert_int_equal(gpu_open(&g, library, why), 0);
    fake->report_error = 999;
    assert_int_equal(gpu_evidence(g, NONCE, &evidence, why), E_UNSUPPORTED);
    assert_non_null(strstr(why, "Unknown Error"));
}

static void no_gpu_and_too_many_are_refused(void **state)
{
    (void)state;
    fake->gpus = 0;
    assert_int_equal(open_error(), E_UNSUPPORTED);
    fake->gpus = GPU_MAX + 1;
    assert_int_equal(open_error(), E_UNSUPPORTED);
    fake->gpus = GPU_MAX;
    assert_int_equal(open_error(), 0);
}

static void a_missing_library_is_told(void **state)
{
    struct gpu_reader *g = NULL;

    (void)state;
    assert_int_equal(gpu_open(&g, "libcocoon-no-such.so", why), E_UNSUPPORTED);
    assert_non_null(strstr(why, "libcocoon-no-such.so"));
    assert_null(g);
}

/* ---- Letting them take work ---- */

static struct dev_gpu gpus[2];
static bool stale; /* reports for another nonce */

static unsigned put(const struct buf *made, unsigned char *out, unsigned max)
{
    assert_true(made->len <= max);
    memcpy(out, made->data, made->len);
    return (unsigned)made->len;
}

static unsigned make_report(int gpu, const unsigned char *nonce, unsigned char *out, unsigned max)
{
    AUTO(buf_fini) struct buf made = {0};
    uint8_t used[GPU_NONCE_LEN];

    memcpy(used, nonce, sizeof(used));
    used[3] ^= stale;
    dev_gpu_report(&gpus[gpu - 100], used, 1, &made);
    return put(&made, out, max);
}

static unsigned make_chain(int gpu, unsigned char *out, unsigned max)
{
    AUTO(buf_fini) struct buf made = {0};

    dev_gpu_chain(&gpus[gpu - 100], &made);
    return put(&made, out, max);
}

/* NVIDIA's root is not the one of these GPUs: they are judged by theirs. */
static struct x509_cert *root_of(const struct dev_gpu *g)
{
    struct x509_cert *root = NULL;
    unsigned char *der = NULL;
    const int len = i2d_X509(g->certs[DEV_GPU_CERTS - 1], &der);

    assert_true(len > 0);
    assert_int_equal(x509_cert_read(&root, span_of(der, (size_t)len)), 0);
    OPENSSL_free(der);
    return root;
}

static int begin_ready(void **state)
{
    const int error = begin(state);

    dev_gpu_make(&gpus[0], NULL, 0);
    dev_gpu_make(&gpus[1], &gpus[0], 2);
    stale = false;
    fake->gpus = 2;
    fake->make_report = make_report;
    fake->make_chain = make_chain;
    return error;
}

static int end_ready(void **state)
{
    (void)state;
    dev_gpu_fini(&gpus[0]);
    dev_gpu_fini(&gpus[1]);
    return 0;
}

static int make_ready(const struct x509_cert *root)
{
    AUTO(gpu_close) struct gpu_reader *g = NULL;

    assert_int_equal(gpu_open(&g, library, why), 0);
    assert_int_equal(fake->ready, 0);
    return gpu_make_ready(g, root, 1750000000, why);
}

static void gpus_that_verify_may_take_work(void **state)
{
    AUTO(x509_cert_free) struct x509_cert *root = root_of(&gpus[0]);

    (void)state;
    assert_int_equal(make_ready(root), 0);
    assert_int_equal(fake->ready, 1);
}

static void gpus_of_another_root_or_an_old_report_may_not(void **state)
{
    AUTO(x509_cert_free) struct x509_cert *root = root_of(&gpus[0]), *nvidia = gpu_nvidia_root();

    (void)state;
    assert_int_equal(make_ready(nvidia), E_DENIED);
    assert_non_null(strstr(why, "does not verify"));
    stale = true;
    assert_int_equal(make_ready(root), E_DENIED);
    assert_int_equal(fake->ready, 0);
}

static void one_gpu_shown_twice_may_not(void **state)
{
    AUTO(x509_cert_free) struct x509_cert *root = root_of(&gpus[0]);

    (void)state;
    dev_gpu_fini(&gpus[1]);
    dev_gpu_make(&gpus[1], &gpus[0], DEV_GPU_CERTS);
    assert_int_equal(make_ready(root), E_DENIED);
    assert_int_equal(fake->ready, 0);
}

static void a_driver_that_refuses_is_told(void **state)
{
    AUTO(x509_cert_free) struct x509_cert *root = root_of(&gpus[0]);

    (void)state;
    fake->ready_error = 999;
    assert_int_equal(make_ready(root), E_UNSUPPORTED);
    assert_non_null(strstr(why, "Unknown Error"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(evidence_of_all_gpus_comes_in_pci_order_with_the_nonce, begin),
        cmocka_unit_test_setup(without_confidential_computing_there_is_no_evidence, begin),
        cmocka_unit_test_setup(development_tools_mode_is_refused_whenever_it_comes_on, begin),
        cmocka_unit_test_setup(gpus_behind_switches_that_show_no_evidence_are_refused, begin),
        cmocka_unit_test_setup(sizes_beyond_the_librarys_own_arrays_are_refused, begin),
        cmocka_unit_test_setup(an_error_of_the_library_is_told_in_its_words, begin),
        cmocka_unit_test_setup(no_gpu_and_too_many_are_refused, begin),
        cmocka_unit_test(a_missing_library_is_told),
        cmocka_unit_test_setup_teardown(gpus_that_verify_may_take_work, begin_ready, end_ready),
        cmocka_unit_test_setup_teardown(gpus_of_another_root_or_an_old_report_may_not, begin_ready,
                                        end_ready),
        cmocka_unit_test_setup_teardown(one_gpu_shown_twice_may_not, begin_ready, end_ready),
        cmocka_unit_test_setup_teardown(a_driver_that_refuses_is_told, begin_ready, end_ready),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
