/* Holds what was verified against the policy (attestation.md §6), and the quote against the keys it
 * speaks for. */
#include "attest/event_log.h"
#include "attest/policy_impl.h"

#include "base/encode.h"

/* ---- Status ---- */

static bool advisory_covered(const struct policy_exception *e, const char *advisory)
{
    for (size_t i = 0; i < e->advisory_count; i++)
        if (strcmp(e->advisories[i], advisory) == 0)
            return true;
    return false;
}

/* An advised relaunch is an old module of which it is known that a restart helps: who accepts the
 * one accepts the other. */
static enum tcb_status without_advice(enum tcb_status status)
{
    if (status == TCB_TD_RELAUNCH_ADVISED)
        return TCB_OUT_OF_DATE;
    if (status == TCB_TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED)
        return TCB_OUT_OF_DATE_CONFIGURATION_NEEDED;
    return status;
}

static bool exception_covers(const struct policy_exception *e, const struct attest_verdict *v,
                             uint64_t now_s)
{
    if (memcmp(e->fmspc, v->fmspc, sizeof(e->fmspc)) != 0 || now_s >= e->until ||
        (e->status != v->status && e->status != without_advice(v->status)))
        return false;
    if (v->advisory_count == ATTEST_MAX_ADVISORIES) /* there may be more */
        return false;
    for (size_t i = 0; i < v->advisory_count; i++)
        if (!advisory_covered(e, v->advisories[i]))
            return false;
    return true;
}

static int judge_status(const struct attest_policy *p, uint64_t now_s, struct attest_verdict *v)
{
    const uint32_t fits = UINT32_C(1) << v->status | UINT32_C(1) << without_advice(v->status);

    if (p->accepted & fits)
        return 0;
    for (size_t i = 0; i < p->exception_count; i++)
        if (exception_covers(&p->exceptions[i], v, now_s)) {
            attest_until(v, p->exceptions[i].until);
            return 0;
        }
    return attest_refuse(v, ATTEST_STEP_POLICY, ATTEST_POLICY_TCB_STATUS, "status %s",
                         tcb_status_name(v->status));
}

/* ---- Attributes ---- */

/* TDATTRIBUTES: SEPT_VE_DISABLE must be set; PKS and KL may; everything else, DEBUG first, must
 * not. XFAM: x87 and SSE must be set, nothing beyond what TDX 1.5 defines. */
#define SEPT_VE_DISABLE (UINT64_C(1) << 28)
#define PKS_AND_KL      (UINT64_C(3) << 30)
#define XFAM_NEEDED     UINT64_C(3)
#define XFAM_ALLOWED    UINT64_C(0x0006DBE7)

static bool is_zero(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static bool has_service_td(const struct quote *q)
{
    return (q->mrservicetd && !is_zero(q->mrservicetd, ATTEST_MR_LEN)) ||
           (q->init_service_td && !is_zero(q->init_service_td, QUOTE_SERVICE_TD_LEN)) ||
           (q->service_td_now && !is_zero(q->service_td_now, QUOTE_SERVICE_TD_LEN));
}

static int judge_attributes(const struct quote *q, struct attest_verdict *v)
{
    if ((q->td_attributes & ~PKS_AND_KL) != SEPT_VE_DISABLE)
        return attest_refuse(v, ATTEST_STEP_POLICY, ATTEST_POLICY_TD_ATTRIBUTES,
                             "TDATTRIBUTES %016llx", (unsigned long long)q->td_attributes);
    if ((q->xfam & XFAM_NEEDED) != XFAM_NEEDED || (q->xfam & ~XFAM_ALLOWED) != 0)
        return attest_refuse(v, ATTEST_STEP_POLICY, ATTEST_POLICY_TD_ATTRIBUTES, "XFAM %016llx",
                             (unsigned long long)q->xfam);
    if (has_service_td(q))
        return attest_refuse(v, ATTEST_STEP_POLICY, ATTEST_POLICY_TD_ATTRIBUTES,
                             "a service TD is bound");
    if (q->vm_index != 0) /* it runs what no register of the quote has measured */
        return attest_refuse(v, ATTEST_STEP_POLICY, ATTEST_POLICY_TD_ATTRIBUTES, "partition %u",
                             q->vm_index);
    return 0;
}

static int judge_machine(const struct attest_policy *p, struct attest_verdict *v)
{
    uint8_t digest[SHA256_LEN];

    if (p->ppid_count == 0)
        return 0;
    sha256(digest, SPAN_OF(v->ppid));
    for (size_t i = 0; i < p->ppid_count; i++)
        if (memcmp(p->ppids[i], digest, sizeof(digest)) == 0)
            return 0;
    return attest_refuse(v, ATTEST_STEP_POLICY, ATTEST_POLICY_PPID, "%s", "");
}

static int judge_time(const struct attest_policy *p, uint64_t now_s, struct attest_verdict *v)
{
    if (now_s >= p->expires)
        return attest_refuse(v, ATTEST_STEP_POLICY, ATTEST_POLICY_EXPIRED, "%s", "");
    attest_until(v, p->expires);
    return 0;
}

int attest_policy_judge_unattested(const struct attest_policy *p, uint64_t now_s,
                                   struct attest_verdict *v)
{
    if (p->production)
        return attest_refuse(v, ATTEST_STEP_DOCUMENT, ATTEST_UNATTESTED_REFUSED, "%s", "");
    return judge_time(p, now_s, v);
}

static int judge_platform(const struct attest_policy *p, const struct quote *q, uint64_t now_s,
                          struct attest_verdict *v)
{
    TRY(judge_time(p, now_s, v));
    TRY(judge_status(p, now_s, v));
    TRY(judge_attributes(q, v));
    TRY(judge_machine(p, v));
    v->steps[ATTEST_STEP_POLICY] = ATTEST_PASSED;
    return 0;
}

/* ---- Measurements ---- */

static bool same(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, ATTEST_MR_LEN) == 0;
}

static bool rtmr0_listed(const struct policy_measurement *m, const uint8_t *rtmr0)
{
    for (size_t i = 0; i < m->rtmr0_count; i++)
        if (same(m->rtmr0[i], rtmr0))
            return true;
    return false;
}

/* The registers alone; a log where the entry asks for one is looked at later. */
static bool image_matches(const struct policy_measurement *m, const struct quote *q)
{
    return same(m->mrtd, q->mrtd) && rtmr0_listed(m, q->rtmr[0]) && same(m->rtmr1, q->rtmr[1]) &&
           same(m->rtmr2, q->rtmr[2]) &&
           (m->rtmr3_rule == RTMR3_EVENT_LOG || same(m->rtmr3, q->rtmr[3])) &&
           same(m->mrconfigid, q->mrconfigid) && same(m->mrowner, q->mrowner) &&
           same(m->mrownerconfig, q->mrownerconfig);
}

static bool text_listed(const char *texts, size_t size, size_t count, struct span text)
{
    for (size_t i = 0; i < count; i++)
        if (span_is(text, texts + i * size))
            return true;
    return count == 0;
}

/* ATTEST_OK, or what of the entry does not fit. */
static enum attest_reason measurement_judge(const struct policy_measurement *m,
                                            const struct quote *q, const struct keyset *k,
                                            bool log_replays)
{
    if (!image_matches(m, q))
        return ATTEST_POLICY_MEASUREMENT;
    if (m->rtmr3_rule == RTMR3_EVENT_LOG && !log_replays)
        return ATTEST_EVENT_LOG_INVALID;
    if (!text_listed(m->configs ? m->configs[0] : NULL, sizeof(m->configs[0]), m->config_count,
                     k->config_sha256))
        return ATTEST_POLICY_CONFIG;
    if (!text_listed(m->models ? m->models[0] : NULL, sizeof(m->models[0]), m->model_count,
                     k->model_digest))
        return ATTEST_POLICY_MODEL;
    return ATTEST_OK;
}

/* How many of the quote's registers, from RTMR0 on, the log leads to. */
static size_t registers_replayed(struct span log, const struct quote *q)
{
    uint8_t rtmr[4][ATTEST_MR_LEN];
    size_t count = 0;

    if (log.len == 0 || event_log_replay(log, rtmr) < 0)
        return 0;
    while (count < 4 && same(rtmr[count], q->rtmr[count]))
        count++;
    return count;
}

static int judge_measurements(const struct attest_policy *p, const struct quote *q,
                              const struct keyset *k, struct span log, struct attest_verdict *v)
{
    const size_t replayed = registers_replayed(log, q);
    enum attest_reason nearest = ATTEST_POLICY_MEASUREMENT;

    /* What extends RTMR3 while the trust domain runs may stand in no log. */
    if (log.len > 0 && replayed < 3)
        return attest_refuse(v, ATTEST_STEP_MEASUREMENT, ATTEST_EVENT_LOG_INVALID, "%s", "");
    for (size_t i = 0; i < p->measurement_count; i++) {
        const struct policy_measurement *m = &p->measurements[i];
        const enum attest_reason reason = measurement_judge(m, q, k, replayed == 4);

        if (reason == ATTEST_OK) {
            memcpy(v->measurement, m->name, sizeof(v->measurement));
            v->steps[ATTEST_STEP_MEASUREMENT] = ATTEST_PASSED;
            return 0;
        }
        if (reason != ATTEST_POLICY_MEASUREMENT)
            nearest = reason;
    }
    return attest_refuse(v, ATTEST_STEP_MEASUREMENT, nearest, "%s", "");
}

int attest_policy_judge(const struct attest_policy *p, const struct quote *q,
                        const struct keyset *keyset,
                        const uint8_t report_data[static QUOTE_REPORT_DATA_LEN], struct span log,
                        uint64_t now_s, struct attest_verdict *v)
{
    TRY(judge_platform(p, q, now_s, v));
    if (memcmp(q->report_data, report_data, QUOTE_REPORT_DATA_LEN) != 0)
        return attest_refuse(v, ATTEST_STEP_REPORT_DATA, ATTEST_REPORT_DATA_MISMATCH, "%s", "");
    v->steps[ATTEST_STEP_REPORT_DATA] = ATTEST_PASSED;
    TRY(judge_measurements(p, q, keyset, log, v));
    if (keyset_valid_at(keyset, now_s) < 0)
        return attest_refuse(v, ATTEST_STEP_KEYSET, ATTEST_KEYSET_EXPIRED, "%s", "");
    attest_until(v, keyset_until(keyset));
    v->steps[ATTEST_STEP_KEYSET] = ATTEST_PASSED;
    return 0;
}

int attest_policy_judge_gpu(const struct attest_policy *p, const struct keyset *keyset,
                            struct span evidence, const uint8_t nonce[static GPU_NONCE_LEN],
                            uint64_t now_s, struct attest_verdict *v)
{
    const struct gpu_input in = {.evidence = evidence,
                                 .nonce = nonce,
                                 .count = keyset->gpu_count,
                                 .root = p->gpu_root,
                                 .pins = p->pins,
                                 .pin_count = p->pin_count,
                                 .revoked = p->gpu_revoked,
                                 .revoked_count = p->gpu_revoked_count,
                                 .now_s = now_s};

    if (p->gpu == POLICY_GPU_NVIDIA && !keyset->gpu_nvidia)
        return attest_refuse(v, ATTEST_STEP_GPU, ATTEST_POLICY_GPU, "the keyset says none");
    if (p->gpu == POLICY_GPU_NONE && keyset->gpu_nvidia)
        return attest_refuse(v, ATTEST_STEP_GPU, ATTEST_POLICY_GPU, "the keyset says nvidia-cc");
    if (!keyset->gpu_nvidia) {
        if (evidence.len > 0)
            return attest_refuse(v, ATTEST_STEP_GPU, ATTEST_GPU_EVIDENCE_INVALID,
                                 "evidence of GPUs that the keyset does not have");
        v->steps[ATTEST_STEP_GPU] = ATTEST_NOT_NEEDED;
        return 0;
    }
    if (p->production && p->pin_count == 0)
        return attest_refuse(v, ATTEST_STEP_GPU, ATTEST_GPU_MEASUREMENT,
                             "the policy pins no firmware");
    return gpu_verify(&in, v);
}
