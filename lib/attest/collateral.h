/* Collateral of a TDX platform: what Intel says of its TCB, as the verbatim bytes that were signed
 * (attestation.md §5, §7; member names as in wire.md §2). */
#ifndef ATTEST_COLLATERAL_H
#define ATTEST_COLLATERAL_H

#include "attest/verdict.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "crypto/x509.h"

enum { COLLATERAL_MAX = 256 * 1024 };

/* As received; nothing of it is trusted. All owned. */
struct collateral {
    struct buf tcb_info, tcb_info_signature, tcb_info_chain; /* JSON value; 64 bytes; PEM */
    struct buf qe_identity, qe_identity_signature, qe_identity_chain;
    struct buf pck_crl, pck_crl_chain, root_crl; /* DER or PEM; PEM; DER or PEM */
};
void collateral_fini(struct collateral *c);
AUTO_FINI(struct collateral, collateral_fini)

/* From and to the `collateral` object of an attestation document. Also reads dcap-qvl's
 * QuoteCollateralV3 JSON (CRLs as hex). E_INVALID, E_TOO_LARGE (COLLATERAL_MAX in all). */
MUST_CHECK int collateral_read(struct collateral *out, const json_t *object);
MUST_CHECK int collateral_read_bytes(struct collateral *out, struct span json);
void collateral_write(const struct collateral *c, struct buf *out);
/* From the answers of the certification service: the whole JSON bodies ({"tcbInfo":…,"signature":
 * …}), whose signed value is cut out verbatim; chains are PEM, percent-encoded as in the answers'
 * headers or plain. E_INVALID, E_TOO_LARGE. */
MUST_CHECK int collateral_set_tcb_info(struct collateral *c, struct span body, struct span chain);
MUST_CHECK int collateral_set_qe_identity(struct collateral *c, struct span body,
                                          struct span chain);
/* The lists as services give them: DER, PEM, or either of them as text (hex, base64). E_INVALID,
 * E_TOO_LARGE. */
MUST_CHECK int collateral_set_pck_crl(struct collateral *c, struct span body, struct span chain);
MUST_CHECK int collateral_set_root_crl(struct collateral *c, struct span body);
/* SHA-256 over all parts with their lengths. */
void collateral_digest(const struct collateral *c, uint8_t out[static SHA256_LEN]);

/* The highest evaluation numbers known (attestation.md §5 Floor); the caller stores it. */
enum { FLOOR_MAX = 64 };
struct attest_floor {
    struct {
        uint8_t fmspc[6];
        uint32_t evaluation;
    } tcb[FLOOR_MAX];
    size_t count;
    uint32_t qe;
};
uint32_t attest_floor_tcb(const struct attest_floor *floor, const uint8_t fmspc[static 6]);
/* Raises; true when something changed. Full: the lowest entry goes. Only for collateral that was
 * fetched from the configured source and verified. */
bool attest_floor_raise(struct attest_floor *floor, const struct attest_verdict *v);
/* {"tcb":{"<fmspc>":18},"qe":18} */
MUST_CHECK int attest_floor_read(struct attest_floor *out, struct span json);
void attest_floor_write(const struct attest_floor *floor, struct buf *out);

#endif
