/* The SGX extension of a PCK certificate (attestation.md §4): FMSPC 00DEC0DE0000, a PPID of zeroes.
 */
#include "devtee/asn1.h"
#include "devtee/issuer_impl.h"
#include "devtee/levels.h"

static const char BASE[] = "1.2.840.113741.1.13.1";

const uint8_t level_svns[LEVELS + 1][COMPONENTS] = {
    {3, 3, 2, 2, 4, 1, 0, 5},
    {2, 2, 2, 2, 3, 1, 0, 5},
    {1, 1, 2, 2, 2, 1, 0, 4},
    {0, 1, 1, 1, 1, 1, 0, 3},
};

static void put_arc(struct buf *out, const char *arc)
{
    char oid[64];

    snprintf(oid, sizeof(oid), "%s.%s", BASE, arc);
    asn1_oid(out, oid);
}

static void put_value(struct buf *out, const char *arc, uint8_t tag, struct span value)
{
    const size_t mark = out->len;

    put_arc(out, arc);
    asn1_put(out, tag, value);
    asn1_close(out, ASN1_SEQUENCE, mark);
}

static void put_svn(struct buf *out, unsigned number, unsigned svn)
{
    const size_t mark = out->len;
    char arc[16];

    snprintf(arc, sizeof(arc), "2.%u", number);
    put_arc(out, arc);
    asn1_uint(out, svn);
    asn1_close(out, ASN1_SEQUENCE, mark);
}

static void put_components(struct buf *out, const struct devtee_faults *f, const uint8_t *svns)
{
    put_svn(out, 1, f->sgx == DEVTEE_SGX_BIG_SVN ? 256 : svns[0]);
    if (f->sgx == DEVTEE_SGX_NEGATIVE_SVN)
        put_value(out, "2.2", ASN1_INTEGER, SPAN("\xff"));
    else
        put_svn(out, 2, svns[1]);
    for (unsigned i = 2; i < COMPONENTS; i++)
        put_svn(out, i + 1, svns[i]);
}

static void put_tcb(struct buf *out, const struct devtee_faults *f)
{
    const uint8_t *svns = level_svns[f->pck_level < LEVELS ? f->pck_level : LEVELS];
    const size_t mark = out->len;

    put_arc(out, "2");
    const size_t inner = out->len;
    put_components(out, f, svns);
    put_svn(out, COMPONENTS + 1, PCE_SVN);
    put_value(out, "2.18", ASN1_OCTET_STRING, span_of(svns, COMPONENTS));
    asn1_close(out, ASN1_SEQUENCE, inner);
    asn1_close(out, ASN1_SEQUENCE, mark);
}

/* Of the Platform CA alone: dynamic platform, cached keys, SMT. */
static void put_configuration(struct buf *out)
{
    static const char *const arcs[] = {"7.1", "7.2", "7.3"};
    const size_t mark = out->len;

    put_arc(out, "7");
    const size_t inner = out->len;
    for (size_t i = 0; i < 3; i++) {
        const size_t each = out->len;
        put_arc(out, arcs[i]);
        asn1_true(out);
        asn1_close(out, ASN1_SEQUENCE, each);
    }
    asn1_close(out, ASN1_SEQUENCE, inner);
    asn1_close(out, ASN1_SEQUENCE, mark);
}

void sgx_extension_write(const struct devtee_faults *f, struct buf *der)
{
    static const uint8_t zeroes[17];
    static const uint8_t fmspc[] = {0x00, 0xde, 0xc0, 0xde, 0x00, 0x00};
    const size_t mark = der->len;

    if (f->sgx == DEVTEE_SGX_NONE)
        return;
    put_value(der, "1", ASN1_OCTET_STRING,
              span_of(zeroes, f->sgx == DEVTEE_SGX_LONG_PPID ? 17 : 16));
    if (f->sgx != DEVTEE_SGX_NO_TCB)
        put_tcb(der, f);
    put_value(der, "3", ASN1_OCTET_STRING, span_of(zeroes, 2));
    if (f->sgx != DEVTEE_SGX_NO_FMSPC)
        put_value(der, "4", ASN1_OCTET_STRING, SPAN_OF(fmspc));
    if (f->sgx == DEVTEE_SGX_FMSPC_TWICE)
        put_value(der, "4", ASN1_OCTET_STRING, SPAN_OF(fmspc));
    put_value(der, "5", ASN1_ENUMERATED, SPAN("\x01"));
    if (!f->processor_ca) {
        put_value(der, "6", ASN1_OCTET_STRING, span_of(zeroes, 16));
        put_configuration(der);
    }
    asn1_close(der, ASN1_SEQUENCE, mark);
    if (f->sgx == DEVTEE_SGX_TRAILING)
        buf_append(der, SPAN("\x05\x00"));
}
