/* Policy and state from their files. */
#include "gateway/trust.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "attest/policy_files.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"

enum { STATE_MAX = 64 * 1024, DAY_S = 86400, ALARM_S = 14 * DAY_S };

struct trust {
    char *state_file; /* NULL: nothing to remember before there is a policy */
    struct attest_policy *policy;
    uint64_t sequence;
    struct attest_floor floor;
};

void trust_free(struct trust *t)
{
    if (!t)
        return;
    attest_policy_unref(t->policy);
    free(t->state_file);
    free(t);
}

const struct attest_policy *trust_policy(const struct trust *t)
{
    return t ? t->policy : NULL;
}

bool trust_is_dev(const struct gateway *g)
{
    const struct attest_policy *p = trust_policy(g->trust);

    return p ? !attest_policy_production(p) : gateway_settings(g)->accept_unattested;
}

/* ---- State ---- */

static int complain(const char *file, char why[static TRUST_WHY_LEN])
{
    snprintf(why, TRUST_WHY_LEN, "%.300s: %s", file, strerror(errno));
    return E_IO;
}

static int state_parse(struct trust *t, struct span json)
{
    AUTO_JSON json_t *doc = NULL;
    struct json_member floor;
    int64_t sequence = 0;

    TRY(json_read(json, &doc));
    TRY(json_obj_int(doc, "sequence", 0, INT64_MAX, &sequence));
    TRY(json_member_find(json, "floor", &floor));
    t->sequence = (uint64_t)sequence;
    return attest_floor_read(&t->floor, floor.value);
}

/* A file that is not there is a first start; one that cannot be read is none. */
static int state_read(struct trust *t, char why[static TRUST_WHY_LEN])
{
    AUTO(buf_fini) struct buf text = {0};
    const int error = file_read(t->state_file, STATE_MAX, &text);

    if (error == E_IO)
        return errno == ENOENT ? 0 : complain(t->state_file, why);
    if (error == 0 && state_parse(t, buf_span(&text)) == 0)
        return 0;
    snprintf(why, TRUST_WHY_LEN, "%.300s: not the state of a gateway", t->state_file);
    return E_INVALID;
}

static int state_write(const struct trust *t, uint64_t sequence, const struct attest_floor *floor,
                       char why[static TRUST_WHY_LEN])
{
    AUTO(buf_fini) struct buf text = {0};

    buf_printf(&text, "{\"sequence\":%llu,\"floor\":", (unsigned long long)sequence);
    attest_floor_write(floor, &text);
    buf_append_str(&text, "}\n");
    return file_replace(t->state_file, buf_span(&text), 0644) < 0 ? complain(t->state_file, why)
                                                                  : 0;
}

static void floor_raised(void *arg, const struct attest_floor *floor)
{
    struct gateway *g = arg;
    char why[TRUST_WHY_LEN];

    g->trust->floor = *floor;
    if (state_write(g->trust, g->trust->sequence, floor, why) < 0)
        log_event(LOG_ERROR, "trust_state_unwritten", "why=\"%s\"", why);
}

/* ---- Policy ---- */

static void log_policy(const struct attest_policy *p)
{
    const uint64_t now = clock_wall_ms() / 1000, end = attest_policy_expires(p);
    const bool ending = end < now + ALARM_S;

    log_event(ending ? LOG_ERROR : LOG_INFO, "policy",
              "environment=%s sequence=%llu days_left=%llu",
              attest_policy_production(p) ? "production" : "dev",
              (unsigned long long)attest_policy_sequence(p),
              (unsigned long long)(end > now ? (end - now) / DAY_S : 0));
}

/* An older policy, though signed, may accept what a newer one has withdrawn. */
static int sequence_take(struct trust *t, const struct attest_policy *p,
                         char why[static TRUST_WHY_LEN])
{
    const uint64_t new = attest_policy_sequence(p);

    if (new < t->sequence) {
        snprintf(why, TRUST_WHY_LEN, "the policy's sequence is %llu, and %llu was loaded before",
                 (unsigned long long)new, (unsigned long long)t->sequence);
        return E_EXPIRED;
    }
    if (new > t->sequence)
        TRY(state_write(t, new, &t->floor, why));
    t->sequence = new;
    return 0;
}

static int state_open(struct trust *t, const struct gateway_config *s,
                      char why[static TRUST_WHY_LEN])
{
    AUTO(buf_fini) struct buf name = {0};

    if (t->state_file)
        return 0;
    buf_printf(&name, "%s%s", s->trust_state[0] ? s->trust_state : s->policy,
               s->trust_state[0] ? "" : ".state");
    t->state_file = mem_strdup(buf_cstr(&name));
    const int error = state_read(t, why);
    if (error < 0) {
        free(t->state_file);
        t->state_file = NULL;
    }
    return error;
}

static int policy_load(struct trust *t, const struct gateway_config *s, struct attest_policy **out,
                       char why[static TRUST_WHY_LEN])
{
    AUTO(attest_policy_unref) struct attest_policy *p = NULL;

    if (s->policy[0] == 0)
        return 0;
    TRY(state_open(t, s, why));
    TRY(policy_files_load(&p, s->policy, s->release_keys.items, s->release_keys.count, why));
    TRY(sequence_take(t, p, why));
    *out = attest_policy_ref(p);
    return 0;
}

int trust_load(struct gateway *g, const struct gateway_config *s, char why[static TRUST_WHY_LEN])
{
    struct attest_policy *p = NULL;

    if (!g->trust)
        g->trust = mem_zero(sizeof(*g->trust));
    TRY(policy_load(g->trust, s, &p, why));
    attest_policy_unref(g->trust->policy);
    g->trust->policy = p;
    const struct pool_trust trust = {.policy = p, .accept_unattested = s->accept_unattested};
    pool_set_floor(g->pool, &g->trust->floor, floor_raised, g);
    pool_set_trust(g->pool, &trust);
    if (p)
        log_policy(p);
    return 0;
}
