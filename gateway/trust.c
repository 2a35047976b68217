/* Policy and state from their files. */
#include "gateway/trust.h"

#include <stdlib.h>

#include "attest/policy_files.h"
#include "base/clock.h"
#include "trust/state.h"

enum { DAY_S = 86400, ALARM_S = 14 * DAY_S };

_Static_assert((int)TRUST_STATE_WHY_LEN == (int)TRUST_WHY_LEN, "handed on");

struct trust {
    struct trust_state state; /* has a file once there is a policy */
    struct attest_policy *policy;
};

void trust_free(struct trust *t)
{
    if (!t)
        return;
    attest_policy_unref(t->policy);
    trust_state_fini(&t->state);
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

static void floor_raised(void *arg, const struct attest_floor *floor)
{
    struct gateway *g = arg;
    char why[TRUST_WHY_LEN];

    if (trust_state_raise(&g->trust->state, floor, why) < 0)
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

static int state_open(struct trust *t, const struct gateway_config *s,
                      char why[static TRUST_WHY_LEN])
{
    AUTO(buf_fini) struct buf name = {0};

    buf_printf(&name, "%s%s", s->trust_state[0] ? s->trust_state : s->policy,
               s->trust_state[0] ? "" : ".state");
    return trust_state_open(&t->state, buf_cstr(&name), why);
}

static int policy_load(struct trust *t, const struct gateway_config *s, struct attest_policy **out,
                       char why[static TRUST_WHY_LEN])
{
    AUTO(attest_policy_unref) struct attest_policy *p = NULL;

    if (s->policy[0] == 0)
        return 0;
    TRY(state_open(t, s, why));
    TRY(policy_files_load(&p, s->policy, s->release_keys.items, s->release_keys.count, why));
    TRY(trust_state_take(&t->state, p, why));
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
    pool_set_floor(g->pool, &g->trust->state.floor, floor_raised, g);
    pool_set_trust(g->pool, &trust);
    if (p)
        log_policy(p);
    return 0;
}
