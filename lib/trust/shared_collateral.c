/* What collateral says of itself, read and not verified, and who shares it. */
#include "trust/collaterals_impl.h"

#include <stdlib.h>

#include "attest/intel_json.h"

struct shared_collateral *shared_collateral_ref(struct shared_collateral *c)
{
    c->refs++;
    return c;
}

void shared_collateral_unref(struct shared_collateral *c)
{
    if (!c || --c->refs > 0)
        return;
    collateral_fini(&c->parts);
    free(c);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Ends of both lists; one that names none does not verify. */
static int lists_until(const struct shared_collateral *c, uint64_t *until_s)
{
    AUTO(x509_crl_free) struct x509_crl *pck = NULL, *root = NULL;

    TRY(x509_crl_read(&pck, buf_span(&c->parts.pck_crl)));
    TRY(x509_crl_read(&root, buf_span(&c->parts.root_crl)));
    *until_s = earlier(x509_crl_next_update(pck), x509_crl_next_update(root));
    return 0;
}

/* Dates and number of the TCB Info, and the first end of all. Read, not verified. */
static int shared_date(struct shared_collateral *c)
{
    AUTO_JSON json_t *tcb = NULL, *qe = NULL;
    uint64_t qe_until = 0, crl_until = 0;

    TRY(json_read(buf_span(&c->parts.tcb_info), &tcb));
    TRY(json_read(buf_span(&c->parts.qe_identity), &qe));
    TRY(intel_date_read(tcb, "issueDate", &c->issued_s));
    TRY(intel_date_read(tcb, "nextUpdate", &c->until_s));
    TRY(intel_date_read(qe, "nextUpdate", &qe_until));
    TRY(json_obj_int(tcb, "tcbEvaluationDataNumber", 0, UINT32_MAX, &c->evaluation));
    TRY(lists_until(c, &crl_until));
    c->until_s = earlier(c->until_s, earlier(qe_until, crl_until));
    return 0;
}

int shared_collateral_platform(const struct shared_collateral *c, struct attest_platform *out)
{
    AUTO(x509_crl_free) struct x509_crl *list = NULL;
    AUTO_JSON json_t *tcb = NULL;

    TRY(json_read(buf_span(&c->parts.tcb_info), &tcb));
    TRY(x509_crl_read(&list, buf_span(&c->parts.pck_crl)));
    out->platform_ca = x509_crl_issuer_is(list, "Intel SGX PCK Platform CA");
    return intel_hex_read(tcb, "fmspc", out->fmspc, sizeof(out->fmspc));
}

bool shared_collateral_is_for(const struct shared_collateral *c, const struct attest_platform *of)
{
    struct attest_platform is;

    return shared_collateral_platform(c, &is) == 0 && is.platform_ca == of->platform_ca &&
           memcmp(is.fmspc, of->fmspc, sizeof(is.fmspc)) == 0;
}

struct shared_collateral *shared_collateral_of(struct collateral *take, bool fetched)
{
    struct shared_collateral *c = mem_zero(sizeof(*c));

    c->refs = 1;
    c->fetched = fetched;
    c->parts = *take;
    *take = (struct collateral){0};
    if (shared_date(c) == 0)
        return c;
    shared_collateral_unref(c);
    return NULL;
}

/* Only what does not depend on the quote that came with it: a worker must not spoil collateral for
 * the others. */
void collaterals_judged(struct shared_collateral *c, const struct attest_verdict *v)
{
    static const enum attest_reason own[] = {
        ATTEST_COLLATERAL_INVALID,
        ATTEST_TCB_INFO_CHAIN_INVALID,
        ATTEST_TCB_INFO_INVALID,
        ATTEST_TCB_INFO_SIGNATURE_INVALID,
        ATTEST_QE_IDENTITY_INVALID,
        ATTEST_QE_IDENTITY_CHAIN_INVALID,
        ATTEST_ROOT_CRL_INVALID,
        ATTEST_QE_IDENTITY_SIGNATURE_INVALID,
        ATTEST_TCB_EVAL_DATA_NUMBER_TOO_LOW,
    };

    for (size_t i = 0; c && i < sizeof(own) / sizeof(own[0]); i++)
        c->refused = c->refused || v->reason == own[i];
}
