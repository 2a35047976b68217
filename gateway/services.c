/* A service's token becomes the key of who pays, narrowed by what the token says. */
#include "gateway/services.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/service.h"
#include "base/clock.h"
#include "base/encode.h"
#include "gateway/payer.h"

/* One issuer's right to act for one account. */
struct grant {
    struct ed25519 *issuer;
    uint8_t public_key[ED25519_KEY_LEN];
    char account[65];
    struct buf key; /* of who pays */
    bool internal;
};

struct services {
    struct grant *all;
    size_t count;
    char *audience;
};

/* In the call's arena. */
struct service {
    struct service_claims claims;
    struct span account, class; /* class: empty, or with a NUL behind it */
    bool internal;              /* may use class internal */
};

// ---- Settings -----------------------------------------------------------------------------------

/* What is wrong, or NULL. */
static const char *grant_read(struct grant *g, const struct gateway_issuer *from)
{
    if (hex_decode(g->public_key, sizeof(g->public_key), span_str(from->public_key)) < 0 ||
        ed25519_from_public(&g->issuer, SPAN_OF(g->public_key)) < 0)
        return "public_key: not an Ed25519 key";
    (void)snprintf(g->account, sizeof(g->account), "%s", from->account);
    g->internal = from->internal;
    if (payer_read(from->key_file, &g->key) < 0)
        return "key_file: not a secret file (0600) with an API key";
    return NULL;
}

int services_new(struct services **out, const struct gateway_config *c, char why[SERVICES_WHY_LEN])
{
    const struct gateway_issuer *from = c->issuers.items;
    struct services *s = mem_zero(sizeof(*s));

    *out = NULL;
    s->audience = mem_strdup(c->service_audience);
    s->all = mem_zero((c->issuers.count + 1) * sizeof(*s->all));
    while (s->count < c->issuers.count) {
        const size_t i = s->count++;
        const char *problem = grant_read(&s->all[i], &from[i]);
        if (problem) {
            (void)snprintf(why, SERVICES_WHY_LEN, "service_tokens.issuers[%zu]: %s", i, problem);
            services_free(s);
            return E_INVALID;
        }
    }
    *out = s;
    return 0;
}

void services_free(struct services *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++) {
        ed25519_free(s->all[i].issuer);
        buf_wipe(&s->all[i].key);
    }
    free(s->all);
    free(s->audience);
    free(s);
}

// ---- Calls --------------------------------------------------------------------------------------

static bool same_issuer(const struct grant *a, const struct grant *b)
{
    return span_eq(SPAN_OF(a->public_key), SPAN_OF(b->public_key));
}

/* An issuer with several accounts is there once for each. */
static bool seen_before(const struct services *s, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (same_issuer(&s->all[k], &s->all[i]))
            return true;
    }
    return false;
}

/* Whose token it is: E_AUTH when nobody's. The header names one key, so one signature is verified.
 */
static int token_read(const struct services *s, struct span token, struct service_claims *claims,
                      const struct grant **issuer)
{
    int error = E_AUTH;

    for (size_t i = 0; i < s->count && error == E_AUTH; i++) {
        if (seen_before(s, i))
            continue;
        *issuer = &s->all[i];
        error = service_token_read(s->all[i].issuer, token, span_str(s->audience),
                                   clock_wall_ms() / 1000, claims);
    }
    return error;
}

static const struct grant *grant_find(const struct services *s, const struct grant *issuer,
                                      struct span account)
{
    for (size_t i = 0; i < s->count; i++) {
        if (same_issuer(&s->all[i], issuer) && span_is(account, s->all[i].account))
            return &s->all[i];
    }
    return NULL;
}

static bool refuse(struct call *c, const char *why)
{
    api_fault_text(&c->fault, &ERR_FORBIDDEN, NULL, "%s", why);
    return false;
}

bool services_admit(struct call *c, struct span credential)
{
    const struct services *s = c->gateway->services;
    const struct grant *issuer = NULL;
    struct service_claims claims;
    const int error = token_read(s, credential, &claims, &issuer);

    if (error == E_EXPIRED) {
        api_fault_set(&c->fault, &ERR_TOKEN_EXPIRED, NULL, NULL);
        return false;
    }
    if (error < 0)
        return true; /* refused as any credential that is none */
    c->service = arena_zero(&c->arena, sizeof(*c->service));
    c->service->claims = claims; /* until services_forget */
    c->service->account = claims.account;
    c->service->class = claims.class;
    const struct grant *grant = grant_find(s, issuer, claims.account);
    if (!grant)
        return refuse(c, "The token's issuer may not act for this account.");
    c->service->internal = grant->internal;
    log_event(LOG_DEBUG, "service_call", "call=%s account=%s jti=%.*s", c->id, grant->account,
              SPAN_FMT(claims.jti));
    c->payer_key = arena_copy(&c->arena, buf_span(&grant->key));
    return true;
}

void services_act(struct call *c, const char *account, const char *class, struct span key)
{
    c->service = arena_zero(&c->arena, sizeof(*c->service));
    c->service->account = span_str(arena_printf(&c->arena, "%s", account));
    c->service->class = span_str(arena_printf(&c->arena, "%s", class));
    c->service->internal = true;
    c->payer_key = arena_copy(&c->arena, key);
}

void services_forget(struct call *c)
{
    if (c->service)
        service_claims_fini(&c->service->claims);
    c->service = NULL;
}

bool services_confirm(struct call *c)
{
    if (!c->service)
        return true;
    if (!span_is(c->service->account, c->key->account))
        return refuse(c, "The service's account is not that of the key that pays.");
    if (!c->service->internal && strcmp(call_class(c), "internal") == 0)
        return refuse(c, "The token's issuer may not use the class internal.");
    return true;
}

// ---- What it may do -----------------------------------------------------------------------------

const char *call_class(const struct call *c)
{
    const struct span said = c->service ? c->service->class : SPAN("");

    return said.len > 0 ? (const char *)said.data : c->key->class;
}

bool call_allows_model(const struct call *c, struct span model)
{
    return key_allows_model(c->key, model) &&
           (!c->service || service_allows(&c->service->claims, "models", model));
}

bool call_allows_endpoint(const struct call *c, const char *endpoint)
{
    return key_allows_endpoint(c->key, endpoint) &&
           (!c->service || service_allows(&c->service->claims, "endpoints", span_str(endpoint)));
}
