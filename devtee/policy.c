/* The dev policy: what this issuer makes without faults, and nothing else. */
#include "devtee/issuer_impl.h"

#include "base/encode.h"

static void put_mr(struct buf *out, const char *name, const uint8_t *mr)
{
    char hex[2 * ATTEST_MR_LEN + 1];

    hex_encode(hex, span_of(mr, ATTEST_MR_LEN));
    buf_printf(out, ",\"%s\":\"%s\"", name, hex);
}

static void put_digests(struct buf *out, const char *name, const char *digest)
{
    buf_printf(out, ",\"%s\":[", name);
    if (digest)
        buf_printf(out, "\"%s\"", digest);
    buf_byte(out, ']');
}

static void put_measurement(struct buf *out, const struct devtee_issuer *issuer,
                            const struct devtee_policy *policy)
{
    char rtmr0[2 * ATTEST_MR_LEN + 1];

    hex_encode(rtmr0, SPAN_OF(issuer->rtmr[0]));
    buf_append_str(out, "{\"name\":\"insecure dev\"");
    put_mr(out, "mrtd", issuer->mrtd);
    buf_printf(out, ",\"rtmr0\":[\"%s\"]", rtmr0);
    put_mr(out, "rtmr1", issuer->rtmr[1]);
    put_mr(out, "rtmr2", issuer->rtmr[2]);
    buf_append_str(out, ",\"rtmr3\":\"zero\"");
    put_digests(out, "config_sha256", policy->config_sha256);
    put_digests(out, "model_digest", policy->model_digest);
    buf_byte(out, '}');
}

void devtee_policy_write(const struct devtee_issuer *issuer, const struct devtee_policy *policy,
                         struct buf *out)
{
    buf_printf(out,
               "{\"version\":1,\"environment\":\"dev\",\"sequence\":%llu,\"expires\":%llu,"
               "\"measurements\":[",
               (unsigned long long)policy->sequence, (unsigned long long)policy->expires);
    put_measurement(out, issuer, policy);
    buf_printf(out,
               "],\"tcb\":{\"accept\":[\"UpToDate\"],\"min_evaluation\":%d,\"exceptions\":[],"
               "\"ppid_sha256\":[]},\"gpu\":{\"require\":\"any\",\"pinned\":[]},"
               "\"insecure_dev_root\":\"",
               DEVTEE_EVALUATION);
    buf_json_escape(out, span_str(policy->root));
    buf_append_str(out, "\"}\n");
}
