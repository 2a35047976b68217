/* Quotes: foreign bytes as they are; and a dev platform's good quote with foreign bytes in it, past
 * which the signatures are all that guards. Input: layout, then where (two bytes) and what. */
#include "attest/tdx.h"
#include "devtee/issuer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    struct devtee_issuer *issuer;
    struct x509_cert *root;
    struct collateral collateral;
    struct collateral_cache *cache;
    struct buf quotes[DEVTEE_V5_TD15_EX + 1];
} dev;

static void dev_make(void)
{
    static const uint8_t seed[DEVTEE_SEED_LEN] = {1}, report_data[DEVTEE_REPORT_DATA_LEN] = {2};
    AUTO(buf_fini) struct buf pem = {0};

    dev.issuer = devtee_issuer_new(seed, "fuzz");
    devtee_root(dev.issuer, &pem);
    CHECK(x509_cert_read(&dev.root, buf_span(&pem)) == 0);
    devtee_collateral(dev.issuer, NULL, &dev.collateral);
    dev.cache = collateral_cache_new(1);
    for (int i = 0; i <= DEVTEE_V5_TD15_EX; i++) {
        const struct devtee_faults form = {.form = (enum devtee_form)i};

        devtee_quote(dev.issuer, &form, report_data, &dev.quotes[i]);
    }
}

static int judge(struct span bytes)
{
    struct attest_verdict v = {0};
    struct quote quote;
    uint8_t fmspc[6];
    bool platform_ca;
    const struct tdx_input in = {.quote = &quote,
                                 .collateral = &dev.collateral,
                                 .root = dev.root,
                                 .now_s = 1790000000,
                                 .cache = dev.cache};

    if (quote_parse(&quote, bytes) != ATTEST_OK)
        return E_INVALID;
    (void)tdx_platform(&quote, dev.root, 1790000000, fmspc, &platform_ca);
    const int error = tdx_verify(&in, &v);
    CHECK((error == 0) == (v.reason == ATTEST_OK));
    return error;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(buf_fini) struct buf bytes = {0};
    const struct buf *base;
    size_t at;

    if (!dev.issuer)
        dev_make();
    (void)judge(span_of(data, size));
    if (size < 4)
        return 0;
    base = &dev.quotes[data[0] % (DEVTEE_V5_TD15_EX + 1)];
    buf_append(&bytes, buf_span(base));
    at = (data[1] | (size_t)data[2] << 8) % bytes.len;
    for (size_t i = 3; i < size && at + i - 3 < bytes.len; i++)
        bytes.data[at + i - 3] = data[i];
    /* Bytes that nobody signs: the header is signed, so are body, report, keys and the leaf. */
    if (judge(buf_span(&bytes)) == 0)
        CHECK(memcmp(bytes.data, base->data, 632) == 0);
    return 0;
}
