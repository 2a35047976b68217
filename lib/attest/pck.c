/* Reads PCK chains and their SGX extension. All its members are pairs of an OID below Intel's and a
 * value, so one walk serves the extension, its TCB and its configuration. */
#include "attest/pck.h"

#include "crypto/der.h"

#define PCK_CN          "Intel SGX PCK Certificate"
#define PLATFORM_CA_CN  "Intel SGX PCK Platform CA"
#define PROCESSOR_CA_CN "Intel SGX PCK Processor CA"

static const char EXTENSION_OID[] = "1.2.840.113741.1.13.1";
/* The same as content bytes. */
#define OID_PREFIX "\x2a\x86\x48\x86\xf8\x4d\x01\x0d\x01"

enum { PPID = 1, TCB, PCE_ID, FMSPC, SGX_TYPE, INSTANCE_ID, CONFIGURATION };
enum { PCE_SVN = TCB_COMPONENTS + 1, CPU_SVN, TCB_MEMBERS = CPU_SVN };
enum { CPU_SVN_LEN = 16, INSTANCE_ID_LEN = 16, CONFIGURATION_MEMBERS = 3, MAX_ARC = 31 };

/* One pair. */
struct member {
    unsigned arc; /* last number of the OID */
    uint8_t tag;
    struct span value;
};

/* The next pair of rest, whose OID is prefix and one number more. seen has a bit for each number
 * that came before. */
static int member_next(struct span *rest, struct span prefix, uint32_t *seen, struct member *out)
{
    struct span pair, oid;
    uint8_t tag;

    TRY(der_next(rest, &tag, &pair));
    if (tag != TAG_SEQUENCE)
        return E_INVALID;
    TRY(der_take(&pair, TAG_OID, &oid));
    if (der_next(&pair, &out->tag, &out->value) < 0 || pair.len > 0)
        return E_INVALID;
    if (!span_starts(oid, prefix) || oid.len != prefix.len + 1)
        return E_INVALID;
    out->arc = oid.data[prefix.len];
    if (out->arc == 0 || out->arc > MAX_ARC || *seen & UINT32_C(1) << out->arc)
        return E_INVALID;
    *seen |= UINT32_C(1) << out->arc;
    return 0;
}

static int octets_read(const struct member *m, uint8_t *out, size_t len)
{
    if (m->tag != TAG_OCTET_STRING || m->value.len != len)
        return E_INVALID;
    memcpy(out, m->value.data, len);
    return 0;
}

static int number_read(const struct member *m, uint8_t tag, uint32_t max, uint32_t *out)
{
    return m->tag == tag ? der_number(m->value, max, out) : E_INVALID;
}

static int tcb_member_read(struct pck_extension *out, const struct member *m)
{
    uint8_t cpu_svn[CPU_SVN_LEN];
    uint32_t value;

    if (m->arc == CPU_SVN)
        return octets_read(m, cpu_svn, sizeof(cpu_svn));
    if (m->arc > CPU_SVN)
        return E_INVALID;
    TRY(number_read(m, TAG_INTEGER, m->arc == PCE_SVN ? UINT16_MAX : UINT8_MAX, &value));
    if (m->arc == PCE_SVN)
        out->pce_svn = (uint16_t)value;
    else
        out->components[m->arc - 1] = (uint8_t)value;
    return 0;
}

static int tcb_read(struct pck_extension *out, const struct member *tcb)
{
    struct span rest = tcb->value;
    uint32_t seen = 0;
    struct member m;
    int error;

    if (tcb->tag != TAG_SEQUENCE)
        return E_INVALID;
    while ((error = member_next(&rest, SPAN(OID_PREFIX "\x02"), &seen, &m)) == 0)
        TRY(tcb_member_read(out, &m));
    if (error != E_NOT_FOUND)
        return E_INVALID;
    return seen == (UINT32_C(1) << (TCB_MEMBERS + 1)) - 2 ? 0 : E_INVALID; /* bits 1 to 18 */
}

/* Nothing of it is used; it must be what it says all the same. */
static int configuration_check(const struct member *configuration)
{
    struct span rest = configuration->value;
    uint32_t seen = 0;
    struct member m;
    int error;

    if (configuration->tag != TAG_SEQUENCE)
        return E_INVALID;
    while ((error = member_next(&rest, SPAN(OID_PREFIX "\x07"), &seen, &m)) == 0)
        if (m.arc <= CONFIGURATION_MEMBERS && (m.tag != TAG_BOOLEAN || m.value.len != 1))
            return E_INVALID;
    return error == E_NOT_FOUND ? 0 : E_INVALID;
}

static int extension_member_read(struct pck_extension *out, const struct member *m)
{
    uint8_t instance[INSTANCE_ID_LEN];
    uint32_t ignored;

    switch (m->arc) {
    case PPID:
        return octets_read(m, out->ppid, sizeof(out->ppid));
    case TCB:
        return tcb_read(out, m);
    case PCE_ID:
        return octets_read(m, out->pce_id, sizeof(out->pce_id));
    case FMSPC:
        return octets_read(m, out->fmspc, sizeof(out->fmspc));
    case SGX_TYPE:
        return number_read(m, TAG_ENUMERATED, UINT8_MAX, &ignored);
    case INSTANCE_ID:
        return octets_read(m, instance, sizeof(instance));
    case CONFIGURATION:
        return configuration_check(m);
    default:
        return 0;
    }
}

int pck_extension_read(struct pck_extension *out, struct span value)
{
    const uint32_t required = 1U << PPID | 1U << TCB | 1U << PCE_ID | 1U << FMSPC;
    struct span rest;
    uint32_t seen = 0;
    struct member m;
    int error;

    *out = (struct pck_extension){0};
    TRY(der_take(&value, TAG_SEQUENCE, &rest));
    if (value.len > 0)
        return E_INVALID;
    while ((error = member_next(&rest, SPAN(OID_PREFIX), &seen, &m)) == 0)
        TRY(extension_member_read(out, &m));
    return error == E_NOT_FOUND && (seen & required) == required ? 0 : E_INVALID;
}

int pck_extension_of(struct pck_extension *out, const struct x509_cert *leaf)
{
    struct span value;

    if (x509_cert_extension(leaf, EXTENSION_OID, &value) < 0)
        return E_INVALID;
    return pck_extension_read(out, value);
}

static bool chain_is_pck(const struct x509_chain *chain, bool platform_ca)
{
    const struct x509_cert *leaf = chain->certs[0], *ca = chain->certs[1], *root = chain->certs[2];
    const char *ca_cn = platform_ca ? PLATFORM_CA_CN : PROCESSOR_CA_CN;

    return x509_cert_subject_is(leaf, PCK_CN) && x509_cert_issuer_is(leaf, ca_cn) &&
           x509_cert_subject_is(ca, ca_cn) && x509_cert_issuer_is(ca, INTEL_ROOT_CN) &&
           x509_cert_subject_is(root, INTEL_ROOT_CN) && !x509_cert_is_ca(leaf);
}

int pck_chain_read(struct x509_chain *chain, struct span pem, const struct x509_cert *const *known,
                   size_t known_count, bool *platform_ca)
{
    TRY(x509_chain_read_known(chain, pem, known, known_count));
    if (chain->count == PCK_CHAIN_LEN) {
        *platform_ca = x509_cert_issuer_is(chain->certs[0], PLATFORM_CA_CN);
        if (chain_is_pck(chain, *platform_ca))
            return 0;
    }
    x509_chain_fini(chain);
    return E_INVALID;
}
