/* Times of single operations of lib/crypto and of the verification of a quote on this machine now:
 * what the other figures are to be judged beside, as the machine's speed changes within a day.
 * Prints one line of JSON, in microseconds. */
#include <stdio.h>
#include <stdlib.h>

#include "attest/tdx.h"
#include "crypto/aead.h"
#include "crypto/ecdsa.h"
#include "crypto/ed25519.h"
#include "crypto/hash.h"
#include "crypto/hpke.h"
#include "devtee/issuer.h"
#include "tests/bench/stamp.h"

enum { ROUNDS = 9, ROUND_NS = 8 * 1000 * 1000 };

struct bench {
    struct hpke_public *worker;
    struct ed25519 *key;
    uint8_t sig[ED25519_SIG_LEN];
    struct aead *aead;
    struct buf sealed;
    uint8_t bytes[1024];

    struct buf quote_bytes;
    struct quote quote;
    struct collateral collateral;
    struct collateral_cache *cache;
    struct x509_cert *root;
};

static void encapsulate(struct bench *b)
{
    AUTO(hpke_free) struct hpke_ctx *ctx = NULL;

    CHECK(hpke_sender_new(&ctx, b->worker, AEAD_AES_256_GCM, SPAN("bench")) == 0);
}

static void verify(struct bench *b)
{
    CHECK(ed25519_verify(b->key, SPAN_OF(b->bytes), SPAN_OF(b->sig)) == 0);
}

static void seal(struct bench *b)
{
    static const uint8_t nonce[AEAD_NONCE_LEN];

    buf_clear(&b->sealed);
    CHECK(aead_seal(b->aead, nonce, SPAN(""), span_of(b->bytes, 256), &b->sealed) == 0);
}

static void hash(struct bench *b)
{
    uint8_t out[SHA256_LEN];

    sha256(out, SPAN_OF(b->bytes));
}

/* What a verification consists of: one of its ten signatures and more. */
static void verify_p256(struct bench *b)
{
    CHECK(ecdsa_p256_verify(b->quote.attestation_key, b->quote.signed_bytes, b->quote.signature) ==
          0);
}

static void verify_quote(struct bench *b, struct collateral_cache *cache)
{
    struct attest_verdict v = {0};
    struct quote quote;
    const struct tdx_input in = {.quote = &quote,
                                 .collateral = &b->collateral,
                                 .root = b->root,
                                 .now_s = (DEVTEE_NOT_BEFORE + DEVTEE_NOT_AFTER) / 2,
                                 .cache = cache};

    CHECK(quote_parse(&quote, buf_span(&b->quote_bytes)) == ATTEST_OK);
    CHECK(tdx_verify(&in, &v) == 0);
}

static void verify_all(struct bench *b)
{
    verify_quote(b, NULL);
}

static void verify_cached(struct bench *b)
{
    verify_quote(b, b->cache);
}

static const struct {
    const char *name;
    void (*run)(struct bench *b);
} operations[] = {
    {"hpke_encapsulate", encapsulate},    {"ed25519_verify", verify},
    {"aes_256_gcm_seal_256", seal},       {"sha256_1024", hash},
    {"p256_verify", verify_p256},         {"tdx_verify", verify_all},
    {"tdx_verify_cached", verify_cached},
};
enum { OPERATIONS = sizeof(operations) / sizeof(operations[0]) };

static void prepare_evidence(struct bench *b)
{
    static const uint8_t seed[DEVTEE_SEED_LEN] = {1}, report_data[DEVTEE_REPORT_DATA_LEN] = {2};
    AUTO(devtee_issuer_free) struct devtee_issuer *issuer = devtee_issuer_new(seed, "bench");
    AUTO(buf_fini) struct buf pem = {0};

    devtee_root(issuer, &pem);
    CHECK(x509_cert_read(&b->root, buf_span(&pem)) == 0);
    devtee_collateral(issuer, NULL, &b->collateral);
    devtee_quote(issuer, NULL, report_data, &b->quote_bytes);
    CHECK(quote_parse(&b->quote, buf_span(&b->quote_bytes)) == ATTEST_OK);
    b->cache = collateral_cache_new(1);
}

static void prepare(struct bench *b)
{
    AUTO(hpke_private_free) struct hpke_private *key = NULL;
    uint8_t public[HPKE_KEY_LEN];

    CHECK(hpke_private_generate(&key) == 0);
    hpke_private_public(key, public);
    CHECK(hpke_public_from(&b->worker, SPAN_OF(public)) == 0);
    CHECK(ed25519_generate(&b->key) == 0);
    CHECK(ed25519_sign(b->key, SPAN_OF(b->bytes), b->sig) == 0);
    CHECK(aead_new(&b->aead, AEAD_AES_256_GCM, span_of(b->bytes, 32), true) == 0);
    prepare_evidence(b);
}

/* Microseconds each, over one round. */
static double time_round(struct bench *b, void (*run)(struct bench *b))
{
    const uint64_t begin = stamp_now();
    uint64_t count = 0, now = begin;

    while (now - begin < ROUND_NS) {
        for (int i = 0; i < 16; i++)
            run(b);
        count += 16;
        now = stamp_now();
    }
    return (double)(now - begin) / (double)count / 1000.0;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double time_operation(struct bench *b, void (*run)(struct bench *b))
{
    double us[ROUNDS];

    for (int i = 0; i < ROUNDS; i++)
        us[i] = time_round(b, run);
    qsort(us, ROUNDS, sizeof(us[0]), compare);
    return us[ROUNDS / 2];
}

int main(void)
{
    struct bench b = {0};

    prepare(&b);
    for (int i = 0; i < OPERATIONS; i++)
        printf("%s\"%s\":%.3f", i ? "," : "{", operations[i].name,
               time_operation(&b, operations[i].run));
    puts("}");
    hpke_public_free(b.worker);
    ed25519_free(b.key);
    aead_free(b.aead);
    buf_fini(&b.sealed);
    buf_fini(&b.quote_bytes);
    collateral_fini(&b.collateral);
    collateral_cache_free(b.cache);
    x509_cert_free(b.root);
    return 0;
}
