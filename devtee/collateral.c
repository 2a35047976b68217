/* TCB Info v3 and the identity of the quoting enclave v2, signed as Intel signs them. */
#include "devtee/issuer_impl.h"

#include "base/encode.h"
#include "devtee/levels.h"

#define ZERO_MR                                                                                    \
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000" \
    "0000"
#define MODULE_SIGNER                                                                              \
    "\"mrsigner\":\"" ZERO_MR "\",\"attributes\":\"0000000000000000\","                            \
    "\"attributesMask\":\"FFFFFFFFFFFFFFFF\""

static const char tcb_info_head[] =
    "{\"id\":\"TDX\",\"version\":3,\"issueDate\":\"" SINCE "\",\"nextUpdate\":\"" UNTIL "\","
    "\"fmspc\":\"" FMSPC "\",\"pceId\":\"0000\",\"tcbType\":0," EVALUATION ","
    "\"tdxModule\":{" MODULE_SIGNER "},"
    "\"tdxModuleIdentities\":[{\"id\":\"TDX_03\"," MODULE_SIGNER ",\"tcbLevels\":["
    "{\"tcb\":{\"isvsvn\":3},\"tcbDate\":\"2024-11-13T00:00:00Z\",\"tcbStatus\":\"UpToDate\"}]},"
    "{\"id\":\"TDX_01\"," MODULE_SIGNER ",\"tcbLevels\":["
    "{\"tcb\":{\"isvsvn\":6},\"tcbDate\":\"2024-11-13T00:00:00Z\",\"tcbStatus\":\"UpToDate\"},"
    "{\"tcb\":{\"isvsvn\":4},\"tcbDate\":\"2023-08-09T00:00:00Z\",\"tcbStatus\":\"OutOfDate\","
    "\"advisoryIDs\":[\"DEV-SA-00002\"]},"
    "{\"tcb\":{\"isvsvn\":2},\"tcbDate\":\"2023-02-15T00:00:00Z\",\"tcbStatus\":\"Revoked\"}]}],"
    "\"tcbLevels\":[";

static const struct level {
    const char *tdx, *status, *advisories;
    unsigned pce_svn;
} levels[LEVELS] = {
    {NEWEST_TDX, NEWEST_STATUS "UpToDate\"", "", PCE_SVN},
    {"{\"svn\":4},{\"svn\":0},{\"svn\":1}," ZEROES_13, OLD_STATUS "OutOfDate\"",
     ",\"advisoryIDs\":[\"DEV-SA-00001\",\"DEV-SA-00002\"]", PCE_SVN},
    {"{\"svn\":2},{\"svn\":0},{\"svn\":1}," ZEROES_13, OLDEST_STATUS "Revoked\"",
     ",\"advisoryIDs\":[\"DEV-SA-00001\",\"DEV-SA-00002\",\"DEV-SA-00003\"]", 5},
};

static void put_level(struct buf *out, const struct level *level, const uint8_t *svns)
{
    buf_append_str(out, "{\"tcb\":{\"sgxtcbcomponents\":[");
    for (int i = 0; i < COMPONENTS; i++)
        buf_printf(out, "%s{\"svn\":%d%s}", i ? "," : "", svns[i],
                   i == 7 ? ",\"category\":\"OS/VMM\",\"type\":\"SEAMLDR ACM\"" : "");
    buf_printf(out, "],\"pcesvn\":%u,\"tdxtcbcomponents\":[%s]},%s%s}", level->pce_svn, level->tdx,
               level->status, level->advisories);
}

static void put_tcb_info(struct buf *out)
{
    buf_append_str(out, tcb_info_head);
    for (int i = 0; i < LEVELS; i++) {
        if (i > 0)
            buf_byte(out, ',');
        put_level(out, &levels[i], level_svns[i]);
    }
    buf_append_str(out, "]}");
}

static void put_qe_identity(struct buf *out, const struct devtee_issuer *issuer)
{
    char mrsigner[2 * 32 + 1];

    hex_encode(mrsigner, SPAN_OF(issuer->qe_mrsigner));
    buf_printf(
        out,
        "{\"id\":\"TD_QE\",\"version\":2,\"issueDate\":\"" SINCE "\",\"nextUpdate\":\"" UNTIL
        "\"," EVALUATION ",\"miscselect\":\"00000000\",\"miscselectMask\":\"FFFFFFFF\","
        "\"attributes\":\"11000000000000000000000000000000\","
        "\"attributesMask\":\"FBFFFFFFFFFFFFFF0000000000000000\","
        "\"mrsigner\":\"%s\",\"isvprodid\":2,\"tcbLevels\":["
        "{\"tcb\":{\"isvsvn\":6},\"tcbDate\":\"2024-09-11T00:00:00Z\",\"tcbStatus\":\"UpToDate\"},"
        "{\"tcb\":{\"isvsvn\":4},\"tcbDate\":\"2022-09-14T00:00:00Z\",\"tcbStatus\":\"OutOfDate\","
        "\"advisoryIDs\":[\"DEV-SA-00004\"]},"
        "{\"tcb\":{\"isvsvn\":2},\"tcbDate\":\"2021-09-15T00:00:00Z\",\"tcbStatus\":\"Revoked\"}]}",
        mrsigner);
}

static void apply_edits(struct buf *text, const struct devtee_edits *edits)
{
    for (size_t i = 0; i < edits->count; i++) {
        const struct devtee_edit *e = &edits->items[i];
        struct buf edited = {0};
        const ptrdiff_t at = span_find(buf_span(text), span_str(e->from));

        CHECK(at >= 0); // an edit names what is there
        buf_append(&edited, span_cut(buf_span(text), 0, (size_t)at));
        buf_append_str(&edited, e->to);
        buf_append(&edited, span_from(buf_span(text), (size_t)at + strlen(e->from)));
        buf_take(text, &edited);
    }
}

void devtee_collateral(const struct devtee_issuer *issuer, const struct devtee_faults *faults,
                       struct collateral *out)
{
    static const struct devtee_faults none;
    const struct devtee_faults *f = faults ? faults : &none;
    const struct signer_form tcb = {f->short_tcb_chain, f->bad_tcb_certificate, f->tcb_signer_is_ca,
                                    f->tcb_signed_by_pck, f->tcb_signer_expired};
    const struct signer_form qe = {f->short_qe_chain, f->bad_qe_certificate, f->qe_signer_is_ca,
                                   f->qe_signed_by_pck, false};
    const struct devtee_key *key;

    put_tcb_info(&out->tcb_info);
    apply_edits(&out->tcb_info, &f->tcb_info);
    key = issuer_signer_chain(issuer, f, &tcb, &out->tcb_info_chain);
    issuer_sign(&out->tcb_info_signature, key, buf_span(&out->tcb_info), f->bad_tcb_info_signature);
    put_qe_identity(&out->qe_identity, issuer);
    apply_edits(&out->qe_identity, &f->qe_identity);
    key = issuer_signer_chain(issuer, f, &qe, &out->qe_identity_chain);
    issuer_sign(&out->qe_identity_signature, key, buf_span(&out->qe_identity),
                f->bad_qe_identity_signature);
    issuer_pck_crl(issuer, f, &out->pck_crl);
    issuer_pck_crl_chain(issuer, f, &out->pck_crl_chain);
    issuer_root_crl(issuer, f, &out->root_crl);
}
