/* PCK certificates: the chain a quote carries, and what Intel's SGX extension says of the platform
 * (attestation.md §4). */
#ifndef ATTEST_PCK_H
#define ATTEST_PCK_H

#include "attest/verdict.h"
#include "crypto/x509.h"

enum { TCB_COMPONENTS = 16, PCK_CHAIN_LEN = 3 };

#define INTEL_ROOT_CN       "Intel SGX Root CA"
#define INTEL_TCB_SIGNER_CN "Intel SGX TCB Signing"

/* Values of the SGX extension. */
struct pck_extension {
    uint8_t ppid[16];
    uint8_t components[TCB_COMPONENTS];
    uint16_t pce_svn;
    uint8_t pce_id[2];
    uint8_t fmspc[6];
};

/* Strict: a member twice, one of PPID, TCB, PCEID, FMSPC missing, numbers out of range, other
 * lengths, bytes left over are E_INVALID. Members that Intel may add are passed over. */
MUST_CHECK int pck_extension_read(struct pck_extension *out, struct span value);
/* The same from its certificate; E_INVALID when it has none. */
MUST_CHECK int pck_extension_of(struct pck_extension *out, const struct x509_cert *leaf);

/* Three certificates of the right names, of which only the others are CAs: PCK, Platform or
 * Processor CA, root. Nothing is verified. E_INVALID; chain is empty then. known: certificates
 * that need not be parsed again. */
MUST_CHECK int pck_chain_read(struct x509_chain *chain, struct span pem,
                              const struct x509_cert *const *known, size_t known_count,
                              bool *platform_ca);

#endif
