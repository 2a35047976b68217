/* The issuer's keys from the seed, and its certificates and revocation lists. */
#include "devtee/issuer_impl.h"

#include <stdlib.h>

#include "devtee/cert.h"

static const char ROOT_CA[] = "Intel SGX Root CA", PLATFORM_CA[] = "Intel SGX PCK Platform CA",
                  PROCESSOR_CA[] = "Intel SGX PCK Processor CA",
                  PCK[] = "Intel SGX PCK Certificate", SIGNER[] = "Intel SGX TCB Signing";

enum { DAY_S = 86400 };
static const uint64_t EARLY_END = DEVTEE_NOT_BEFORE + DAY_S,
                      LATE_START = DEVTEE_NOT_AFTER - UINT64_C(366) * DAY_S;

/* ---- Made from the seed ---- */

static void digest_of(uint8_t out[static SHA256_LEN], const uint8_t *seed, const char *name)
{
    const struct span parts[] = {span_of(seed, DEVTEE_SEED_LEN), span_str(name)};

    sha256_parts(out, parts, 2);
}

static void measure(struct devtee_issuer *issuer, const char *build_id)
{
    AUTO(buf_fini) struct buf text = {0};

    buf_printf(&text, "cgw dev td%s", build_id);
    sha384(issuer->mrtd, buf_span(&text));
    sha384(issuer->mrseam, SPAN("cgw dev module"));
    event_log_make(&issuer->event_log, build_id, issuer->rtmr);
}

struct devtee_issuer *devtee_issuer_new(const uint8_t *seed, const char *build_id)
{
    struct devtee_issuer *issuer = mem_zero(sizeof(*issuer));
    uint8_t release[SHA256_LEN];

    issuer->root = devtee_key_new(seed, "root");
    issuer->other_root = devtee_key_new(seed, "another root");
    issuer->platform_ca = devtee_key_new(seed, "platform CA");
    issuer->pck = devtee_key_new(seed, "PCK");
    issuer->signer = devtee_key_new(seed, "TCB signer");
    issuer->attestation = devtee_key_new(seed, "attestation key");
    digest_of(release, seed, "release key");
    CHECK(ed25519_from_seed(&issuer->release, SPAN_OF(release)) == 0);
    crypto_wipe(release, sizeof(release));
    digest_of(issuer->qe_mrsigner, seed, "MRSIGNER of the quoting enclave");
    digest_of(issuer->mrenclave, seed, "MRENCLAVE of the quoting enclave");
    measure(issuer, build_id);
    return issuer;
}

void devtee_issuer_free(struct devtee_issuer *issuer)
{
    if (!issuer)
        return;
    devtee_key_free(issuer->root);
    devtee_key_free(issuer->other_root);
    devtee_key_free(issuer->platform_ca);
    devtee_key_free(issuer->pck);
    devtee_key_free(issuer->signer);
    devtee_key_free(issuer->attestation);
    ed25519_free(issuer->release);
    buf_fini(&issuer->event_log);
    free(issuer);
}

const uint8_t *devtee_mrtd(const struct devtee_issuer *issuer)
{
    return issuer->mrtd;
}

const uint8_t *devtee_rtmr(const struct devtee_issuer *issuer, size_t n)
{
    return issuer->rtmr[n];
}

struct span devtee_event_log(const struct devtee_issuer *issuer)
{
    return buf_span(&issuer->event_log);
}

const struct ed25519 *devtee_release_key(const struct devtee_issuer *issuer)
{
    return issuer->release;
}

void issuer_sign(struct buf *out, const struct devtee_key *key, struct span message, bool bad)
{
    uint8_t sig[DEVTEE_SIG_LEN];

    devtee_key_sign(key, message, sig);
    sig[DEVTEE_SIG_LEN - 1] ^= bad ? 1 : 0;
    buf_append(out, SPAN_OF(sig));
}

/* ---- Certificates ---- */

static const struct devtee_key *root_key(const struct devtee_issuer *issuer,
                                         const struct devtee_faults *f)
{
    return f->foreign_root ? issuer->other_root : issuer->root;
}

static void put_cert(struct buf *pem, const struct cert_form *form)
{
    AUTO(buf_fini) struct buf der = {0};

    cert_write(form, &der);
    pem_write(pem, buf_span(&der));
}

static void put_root(const struct devtee_key *key, struct buf *pem)
{
    put_cert(pem, &(struct cert_form){.subject = ROOT_CA,
                                      .issuer = ROOT_CA,
                                      .key = key,
                                      .issuer_key = key,
                                      .not_before = DEVTEE_NOT_BEFORE,
                                      .not_after = DEVTEE_NOT_AFTER,
                                      .ca = true});
}

void devtee_root(const struct devtee_issuer *issuer, struct buf *pem)
{
    put_root(issuer->root, pem);
}

static const char *pck_ca(const struct devtee_faults *f)
{
    return f->processor_ca ? PROCESSOR_CA : PLATFORM_CA;
}

void issuer_pck_crl_chain(const struct devtee_issuer *issuer, const struct devtee_faults *f,
                          struct buf *pem)
{
    put_cert(pem, &(struct cert_form){.subject = pck_ca(f),
                                      .issuer = ROOT_CA,
                                      .key = issuer->platform_ca,
                                      .issuer_key = root_key(issuer, f),
                                      .not_before = DEVTEE_NOT_BEFORE,
                                      .not_after = DEVTEE_NOT_AFTER,
                                      .ca = true});
    put_root(root_key(issuer, f), pem);
}

static void put_pck(const struct devtee_issuer *issuer, const struct devtee_faults *f,
                    struct buf *pem)
{
    AUTO(buf_fini) struct buf sgx = {0};

    sgx_extension_write(f, &sgx);
    put_cert(pem, &(struct cert_form){
                      .subject = f->wrong_pck_name ? "Intel SGX PCK" : PCK,
                      .issuer = pck_ca(f),
                      .key = issuer->pck,
                      .issuer_key = issuer->platform_ca,
                      .not_before = f->pck_future ? LATE_START : DEVTEE_NOT_BEFORE,
                      .not_after = f->pck_expired ? EARLY_END : DEVTEE_NOT_AFTER,
                      .ca = f->pck_is_ca,
                      .sgx = buf_span(&sgx),
                  });
}

static void put_garbage(struct buf *pem)
{
    pem_write(pem, SPAN("no certificate at all"));
}

/* Drops the last certificate. */
static void shorten(struct buf *pem)
{
    size_t last = pem->len;

    while (last > 0 && !span_starts(span_from(buf_span(pem), last), SPAN("-----BEGIN")))
        last--;
    pem->len = last;
}

void issuer_pck_chain(const struct devtee_issuer *issuer, const struct devtee_faults *f,
                      struct buf *pem)
{
    if (f->bad_pck_certificate)
        put_garbage(pem);
    else
        put_pck(issuer, f, pem);
    issuer_pck_crl_chain(issuer, f, pem);
    if (f->short_pck_chain)
        shorten(pem);
}

static void put_signer(const struct devtee_issuer *issuer, const struct devtee_faults *f,
                       const struct signer_form *form, struct buf *pem)
{
    put_cert(pem, &(struct cert_form){
                      .subject = SIGNER,
                      .issuer = ROOT_CA,
                      .key = issuer->signer,
                      .issuer_key = root_key(issuer, f),
                      .not_before = DEVTEE_NOT_BEFORE,
                      .not_after = form->expired ? EARLY_END : DEVTEE_NOT_AFTER,
                      .ca = form->ca,
                  });
}

const struct devtee_key *issuer_signer_chain(const struct devtee_issuer *issuer,
                                             const struct devtee_faults *f,
                                             const struct signer_form *form, struct buf *pem)
{
    if (form->pck) {
        issuer_pck_chain(issuer, f, pem);
        return issuer->pck;
    }
    if (form->garbage)
        put_garbage(pem);
    else
        put_signer(issuer, f, form, pem);
    if (!form->only_leaf)
        put_root(root_key(issuer, f), pem);
    return issuer->signer;
}

/* ---- Revocation lists ---- */

void issuer_pck_crl(const struct devtee_issuer *issuer, const struct devtee_faults *f,
                    struct buf *der)
{
    uint8_t serial[CERT_SERIAL_LEN];

    cert_serial(PCK, issuer->pck, serial);
    crl_write(&(struct crl_form){.issuer = f->other_pck_crl_issuer ? PROCESSOR_CA : pck_ca(f),
                                 .issuer_key = issuer->platform_ca,
                                 .this_update = f->pck_crl_future ? LATE_START : DEVTEE_NOT_BEFORE,
                                 .next_update = f->pck_crl_expired ? EARLY_END : DEVTEE_NOT_AFTER,
                                 .revoked = f->pck_revoked ? serial : NULL,
                                 .bad_signature = f->bad_pck_crl},
              der);
}

void issuer_root_crl(const struct devtee_issuer *issuer, const struct devtee_faults *f,
                     struct buf *der)
{
    uint8_t serial[CERT_SERIAL_LEN];

    if (f->tcb_signer_revoked)
        cert_serial(SIGNER, issuer->signer, serial);
    else
        cert_serial(pck_ca(f), issuer->platform_ca, serial);
    crl_write(&(struct crl_form){.issuer = ROOT_CA,
                                 .issuer_key = root_key(issuer, f),
                                 .this_update = f->root_crl_future ? LATE_START : DEVTEE_NOT_BEFORE,
                                 .next_update = f->root_crl_expired ? EARLY_END : DEVTEE_NOT_AFTER,
                                 .revoked = f->tcb_signer_revoked || f->intermediate_revoked
                                                ? serial
                                                : NULL,
                                 .bad_signature = f->bad_root_crl},
              der);
}
