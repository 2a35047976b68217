/* The one verifier of gateway, client and cocoonctl (attestation.md): an attestation document
 * against policy, collateral, floor and clock. No I/O; keeps nothing. */
#ifndef ATTEST_VERIFY_H
#define ATTEST_VERIFY_H

#include "attest/document.h"
#include "attest/policy.h"
#include "attest/tdx.h"

struct attest_input {
    struct span document;
    const uint8_t *nonce;    /* ATTEST_NONCE_LEN that it must answer; NULL: the one it names */
    const uint8_t *tls_spki; /* SHA256_LEN of the tunnel's certificate; NULL: not looked at */
    uint64_t now_s;
    const struct attest_policy *policy;  /* NULL: none is loaded, only unattested can pass */
    const struct attest_floor *floor;    /* NULL: none */
    const struct collateral *collateral; /* used before what the document staples; NULL: none */
    struct collateral_cache *cache;      /* NULL: none */
    bool accept_unattested;              /* tee "none" passes; never with a production policy */
};

/* Judges a document of any worker. 0: accepted, *keyset owned by the caller. E_DENIED with
 * v->reason: refused; v then still says what was seen. Takes 1 ms of CPU and more: for the offload
 * pool. Any thread. The member `tee` is a hint alone: "none" names a worker without evidence,
 * "tdx" and "insecure-dev" are judged by the quote, anything else is TEE_UNSUPPORTED. */
MUST_CHECK int attest_verify(const struct attest_input *in, struct keyset *keyset,
                             struct attest_verdict *v);

/* What a document would need: the platform of its quote, to find collateral; stapled: whether it
 * brings collateral itself. E_INVALID: no readable quote, or of no platform that the policy's root
 * vouches for. For the offload pool. */
struct attest_platform {
    uint8_t fmspc[6];
    bool platform_ca, stapled;
};
MUST_CHECK int attest_document_platform(struct span document, const struct attest_policy *policy,
                                        uint64_t now_s, struct attest_platform *out);

#endif
