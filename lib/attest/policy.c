/* Reads a signed policy, strictly: an old program must not overlook a new restriction. */
#include "attest/policy_impl.h"

#include <stdio.h>
#include <stdlib.h>

#include "attest/tdx.h"
#include "base/encode.h"
#include "base/json.h"
#include "crypto/detached.h"

/* What a reader says of: the policy, and where its sentence goes. */
struct reading {
    struct attest_policy *policy;
    char *why; /* 200 bytes */
};

static int bad(const struct reading *r, const char *member, const char *what)
{
    snprintf(r->why, 200, "%s: %s", member, what);
    return E_INVALID;
}

/* ---- Members ---- */

/* names: every allowed member; the first `needed` of them must be there. */
static int members_check(const struct reading *r, const char *where, json_t *object,
                         const char *const *names, size_t count, size_t needed)
{
    const char *name;
    json_t *value;

    if (!json_is_object(object))
        return bad(r, where, "must be an object");
    json_object_foreach(object, name, value) {
        size_t i = 0;

        while (i < count && strcmp(names[i], name) != 0)
            i++;
        if (i == count)
            return bad(r, where, "has a member that this version does not know");
    }
    for (size_t i = 0; i < needed; i++)
        if (!json_object_get(object, names[i]))
            return bad(r, names[i], "is missing");
    return 0;
}

#define MEMBERS(r, where, object, needed, ...)                                                     \
    members_check((r), (where), (object), (const char *const[]){__VA_ARGS__},                      \
                  sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *), (needed))

static int list_get(const struct reading *r, const json_t *object, const char *name,
                    const json_t **out)
{
    *out = json_object_get(object, name);
    if (!json_is_array(*out))
        return bad(r, name, "must be a list");
    if (json_array_size(*out) > POLICY_LIST_MAX)
        return bad(r, name, "has too many entries");
    return 0;
}

static int text_at(const json_t *value, struct span *out)
{
    if (!json_is_string(value))
        return E_INVALID;
    *out = span_of(json_string_value(value), json_string_length(value));
    return 0;
}

static int hex_get(const struct reading *r, const json_t *object, const char *name, uint8_t *out,
                   size_t len)
{
    struct span text;

    if (json_obj_string(object, name, &text) < 0 || hex_decode(out, len, text) < 0)
        return bad(r, name, "must be lower-case hexadecimal digits of its length");
    return 0;
}

static int number_get(const struct reading *r, const json_t *object, const char *name, int64_t max,
                      int64_t *out)
{
    if (json_obj_int(object, name, 0, max, out) < 0)
        return bad(r, name, "must be a whole number from 0");
    return 0;
}

/* A list of hex values of len bytes, one after another in *out. */
static int hex_list_get(const struct reading *r, const json_t *object, const char *name, size_t len,
                        void **out, size_t *count)
{
    const json_t *list;
    uint8_t *bytes;

    TRY(list_get(r, object, name, &list));
    *count = json_array_size(list);
    *out = bytes = mem_zero(*count * len + 1);
    for (size_t i = 0; i < *count; i++) {
        struct span text;

        if (text_at(json_array_get(list, i), &text) < 0 ||
            hex_decode(bytes + i * len, len, text) < 0)
            return bad(r, name, "must hold lower-case hexadecimal digits of their length");
    }
    return 0;
}

/* ---- measurements ---- */

/* A list of texts of at most size - 1 bytes that `fits` allows, size bytes apart in *out. */
static int text_list_get(const struct reading *r, const json_t *object, const char *name,
                         bool (*fits)(struct span), size_t size, void **out, size_t *count)
{
    const json_t *list;
    char *texts;

    TRY(list_get(r, object, name, &list));
    *count = json_array_size(list);
    *out = texts = mem_zero(*count * size + 1);
    for (size_t i = 0; i < *count; i++) {
        struct span text;

        if (text_at(json_array_get(list, i), &text) < 0 || text.len >= size || !fits(text))
            return bad(r, name, "has an entry of the wrong form");
        memcpy(texts + i * size, text.data, text.len);
    }
    return 0;
}

static int rtmr3_get(const struct reading *r, const json_t *object, struct policy_measurement *m)
{
    struct span text;

    if (json_obj_string(object, "rtmr3", &text) < 0)
        return bad(r, "rtmr3", "must be \"zero\", \"event-log\" or hexadecimal digits");
    m->rtmr3_rule = RTMR3_ZERO;
    if (span_is(text, "zero"))
        return 0;
    m->rtmr3_rule = RTMR3_EVENT_LOG;
    if (span_is(text, "event-log"))
        return 0;
    m->rtmr3_rule = RTMR3_PINNED;
    return hex_get(r, object, "rtmr3", m->rtmr3, sizeof(m->rtmr3));
}

static int pinned_get(const struct reading *r, const json_t *object, const char *name,
                      uint8_t out[static ATTEST_MR_LEN])
{
    return json_object_get(object, name) ? hex_get(r, object, name, out, ATTEST_MR_LEN) : 0;
}

static int digests_get(const struct reading *r, const json_t *object, struct policy_measurement *m)
{
    TRY(text_list_get(r, object, "config_sha256", keyset_config_good, sizeof(m->configs[0]),
                      (void **)&m->configs, &m->config_count));
    TRY(text_list_get(r, object, "model_digest", keyset_model_digest_good, sizeof(m->models[0]),
                      (void **)&m->models, &m->model_count));
    if (r->policy->production && (m->config_count == 0 || m->model_count == 0))
        return bad(r, "measurements", "a production policy pins config_sha256 and model_digest");
    return 0;
}

static int measurement_get(const struct reading *r, json_t *object, struct policy_measurement *m)
{
    struct span name;

    TRY(MEMBERS(r, "measurements", object, 8, "name", "mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3",
                "config_sha256", "model_digest", "mrconfigid", "mrowner", "mrownerconfig"));
    if (json_obj_string(object, "name", &name) < 0 || name.len == 0 || name.len > 64)
        return bad(r, "name", "must be a text of 1 to 64 bytes");
    memcpy(m->name, name.data, name.len);
    TRY(hex_get(r, object, "mrtd", m->mrtd, sizeof(m->mrtd)));
    TRY(hex_list_get(r, object, "rtmr0", ATTEST_MR_LEN, (void **)&m->rtmr0, &m->rtmr0_count));
    TRY(hex_get(r, object, "rtmr1", m->rtmr1, sizeof(m->rtmr1)));
    TRY(hex_get(r, object, "rtmr2", m->rtmr2, sizeof(m->rtmr2)));
    TRY(rtmr3_get(r, object, m));
    TRY(pinned_get(r, object, "mrconfigid", m->mrconfigid));
    TRY(pinned_get(r, object, "mrowner", m->mrowner));
    TRY(pinned_get(r, object, "mrownerconfig", m->mrownerconfig));
    return digests_get(r, object, m);
}

static int measurements_get(const struct reading *r, const json_t *root)
{
    struct attest_policy *p = r->policy;
    const json_t *list;

    TRY(list_get(r, root, "measurements", &list));
    p->measurements = mem_zero((json_array_size(list) + 1) * sizeof(p->measurements[0]));
    for (size_t i = 0; i < json_array_size(list); i++) {
        p->measurement_count++;
        TRY(measurement_get(r, json_array_get(list, i), &p->measurements[i]));
    }
    return 0;
}

/* ---- tcb ---- */

static int status_get(const struct reading *r, const char *name, const json_t *value,
                      enum tcb_status *out)
{
    static const enum tcb_status DERIVED[] = {TCB_TD_RELAUNCH_ADVISED,
                                              TCB_TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED};
    struct span text;

    if (text_at(value, &text) < 0)
        return bad(r, name, "must be a TCB status");
    for (size_t i = 0; i < 2; i++)
        if (span_is(text, tcb_status_name(DERIVED[i]))) {
            *out = DERIVED[i];
            return 0;
        }
    if (tcb_status_read(text, out) < 0)
        return bad(r, name, "is not a TCB status");
    if (*out == TCB_REVOKED)
        return bad(r, name, "a revoked platform cannot be accepted");
    return 0;
}

static bool is_advisory(struct span s)
{
    return s.len > 0;
}

static int exception_get(const struct reading *r, json_t *object, struct policy_exception *e)
{
    int64_t until;

    TRY(MEMBERS(r, "exceptions", object, 4, "fmspc", "status", "advisories", "until"));
    TRY(hex_get(r, object, "fmspc", e->fmspc, sizeof(e->fmspc)));
    TRY(status_get(r, "status", json_object_get(object, "status"), &e->status));
    TRY(text_list_get(r, object, "advisories", is_advisory, ATTEST_ADVISORY_LEN,
                      (void **)&e->advisories, &e->advisory_count));
    TRY(number_get(r, object, "until", INT64_MAX, &until));
    e->until = (uint64_t)until;
    return 0;
}

static int exceptions_get(const struct reading *r, const json_t *tcb)
{
    struct attest_policy *p = r->policy;
    const json_t *list;

    TRY(list_get(r, tcb, "exceptions", &list));
    p->exceptions = mem_zero((json_array_size(list) + 1) * sizeof(p->exceptions[0]));
    for (size_t i = 0; i < json_array_size(list); i++) {
        p->exception_count++;
        TRY(exception_get(r, json_array_get(list, i), &p->exceptions[i]));
    }
    return 0;
}

static int tcb_get(const struct reading *r, const json_t *root)
{
    struct attest_policy *p = r->policy;
    json_t *tcb = json_object_get(root, "tcb");
    const json_t *accept;
    int64_t evaluation;

    TRY(MEMBERS(r, "tcb", tcb, 4, "accept", "min_evaluation", "exceptions", "ppid_sha256"));
    TRY(list_get(r, tcb, "accept", &accept));
    for (size_t i = 0; i < json_array_size(accept); i++) {
        enum tcb_status status;

        TRY(status_get(r, "accept", json_array_get(accept, i), &status));
        p->accepted |= UINT32_C(1) << status;
    }
    TRY(number_get(r, tcb, "min_evaluation", UINT32_MAX, &evaluation));
    p->min_evaluation = (uint32_t)evaluation;
    TRY(exceptions_get(r, tcb));
    return hex_list_get(r, tcb, "ppid_sha256", SHA256_LEN, (void **)&p->ppids, &p->ppid_count);
}

/* ---- gpu ---- */

static int pin_text_get(const struct reading *r, const json_t *object, const char *name,
                        char out[static 32])
{
    struct span text;

    if (json_obj_string(object, name, &text) < 0 || text.len == 0 || text.len > 31)
        return bad(r, name, "must be a text of 1 to 31 bytes");
    memcpy(out, text.data, text.len);
    return 0;
}

static int pins_get(const struct reading *r, const json_t *gpu)
{
    struct attest_policy *p = r->policy;
    const json_t *list;

    TRY(list_get(r, gpu, "pinned", &list));
    p->pins = mem_zero((json_array_size(list) + 1) * sizeof(p->pins[0]));
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *pin = json_array_get(list, i);
        struct gpu_pin *out = &p->pins[p->pin_count++];

        TRY(MEMBERS(r, "pinned", pin, 3, "driver", "vbios", "blocks"));
        TRY(pin_text_get(r, pin, "driver", out->driver));
        TRY(pin_text_get(r, pin, "vbios", out->vbios));
        TRY(hex_list_get(r, pin, "blocks", sizeof(out->blocks[0]), (void **)&out->blocks,
                         &out->block_count));
    }
    return 0;
}

/* As certificates have them: positive, without a leading zero. */
static bool is_serial(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] == 0 || !strchr("0123456789abcdef", s.data[i]))
            return false;
    return s.len > 0 && s.len % 2 == 0 && !span_starts(s, SPAN("00"));
}

static int gpu_get(const struct reading *r, const json_t *root)
{
    json_t *gpu = json_object_get(root, "gpu");
    struct span require;

    TRY(MEMBERS(r, "gpu", gpu, 2, "require", "pinned", "revoked"));
    if (json_obj_string(gpu, "require", &require) < 0)
        require = SPAN("");
    if (span_is(require, "nvidia-cc"))
        r->policy->gpu = POLICY_GPU_NVIDIA;
    else if (span_is(require, "none"))
        r->policy->gpu = POLICY_GPU_NONE;
    else if (!span_is(require, "any"))
        return bad(r, "require", "must be nvidia-cc, none or any");
    if (json_object_get(gpu, "revoked"))
        TRY(text_list_get(r, gpu, "revoked", is_serial, ATTEST_SERIAL_LEN,
                          (void **)&r->policy->gpu_revoked, &r->policy->gpu_revoked_count));
    return pins_get(r, gpu);
}

/* ---- The whole ---- */

static int environment_get(const struct reading *r, const json_t *root)
{
    struct span environment, path;

    if (json_obj_string(root, "environment", &environment) < 0)
        environment = SPAN("");
    r->policy->production = span_is(environment, "production");
    if (!r->policy->production && !span_is(environment, "dev"))
        return bad(r, "environment", "must be production or dev");
    if (!json_object_get(root, "insecure_dev_root"))
        return 0;
    if (r->policy->production)
        return bad(r, "insecure_dev_root", "has no place in a production policy");
    if (json_obj_string(root, "insecure_dev_root", &path) < 0 || path.len == 0 ||
        memchr(path.data, 0, path.len))
        return bad(r, "insecure_dev_root", "must be a path");
    r->policy->dev_root = mem_zero(path.len + 1);
    memcpy(r->policy->dev_root, path.data, path.len);
    return 0;
}

static int root_get(const struct reading *r, json_t *root)
{
    int64_t version, sequence, expires;

    TRY(MEMBERS(r, "policy", root, 7, "version", "environment", "sequence", "expires",
                "measurements", "tcb", "gpu", "insecure_dev_root"));
    TRY(number_get(r, root, "version", INT64_MAX, &version));
    if (version != 1)
        return bad(r, "version", "is not one that this program knows");
    TRY(environment_get(r, root));
    TRY(number_get(r, root, "sequence", INT64_MAX, &sequence));
    TRY(number_get(r, root, "expires", INT64_MAX, &expires));
    r->policy->sequence = (uint64_t)sequence;
    r->policy->expires = (uint64_t)expires;
    TRY(measurements_get(r, root));
    TRY(tcb_get(r, root));
    return gpu_get(r, root);
}

int attest_policy_read(struct attest_policy **out, struct span bytes, struct span sig_file,
                       const struct span *keys, size_t key_count, char why[static 200])
{
    AUTO(attest_policy_unref) struct attest_policy *p = NULL;
    AUTO_JSON json_t *root = NULL;

    why[0] = '\0';
    if (bytes.len > POLICY_MAX_BYTES) {
        snprintf(why, 200, "the policy is longer than %d bytes", POLICY_MAX_BYTES);
        return E_INVALID;
    }
    if (detached_verify(POLICY_LABEL, bytes, sig_file, keys, key_count) < 0) {
        snprintf(why, 200, "no signature by a release key");
        return E_AUTH;
    }
    if (json_read(bytes, &root) < 0) {
        snprintf(why, 200, "not JSON, or a name twice");
        return E_INVALID;
    }
    p = mem_zero(sizeof(*p));
    atomic_init(&p->refs, 1);
    TRY(root_get(&(struct reading){.policy = p, .why = why}, root));
    p->root = p->dev_root ? NULL : tdx_intel_root();
    p->gpu_root = gpu_nvidia_root();
    *out = p;
    p = NULL;
    return 0;
}

struct attest_policy *attest_policy_ref(struct attest_policy *p)
{
    atomic_fetch_add(&p->refs, 1);
    return p;
}

void attest_policy_unref(struct attest_policy *p)
{
    if (!p || atomic_fetch_sub(&p->refs, 1) > 1)
        return;
    for (size_t i = 0; i < p->measurement_count; i++) {
        free(p->measurements[i].rtmr0);
        free(p->measurements[i].configs);
        free(p->measurements[i].models);
    }
    for (size_t i = 0; i < p->exception_count; i++)
        free(p->exceptions[i].advisories);
    for (size_t i = 0; i < p->pin_count; i++)
        free(p->pins[i].blocks);
    free(p->measurements);
    free(p->exceptions);
    free(p->pins);
    free(p->gpu_revoked);
    free(p->ppids);
    free(p->dev_root);
    x509_cert_free(p->root);
    x509_cert_free(p->gpu_root);
    free(p);
}

bool attest_policy_production(const struct attest_policy *p)
{
    return p->production;
}

uint64_t attest_policy_sequence(const struct attest_policy *p)
{
    return p->sequence;
}

uint64_t attest_policy_expires(const struct attest_policy *p)
{
    return p->expires;
}

uint32_t attest_policy_min_evaluation(const struct attest_policy *p)
{
    return p->min_evaluation;
}

const char *attest_policy_dev_root(const struct attest_policy *p)
{
    return p->dev_root;
}

void attest_policy_set_dev_root(struct attest_policy *p, struct x509_cert *root)
{
    CHECK(p->dev_root && !p->root);
    p->root = root;
}

const struct x509_cert *attest_policy_root(const struct attest_policy *p)
{
    return p->root;
}
