/* Step auth: whose key it is and whether it may come here. */
#include "gateway/call.h"
#include "auth/service.h"
#include "auth/telegram.h"
#include "base/clock.h"
#include "gateway/bots.h"
#include "gateway/internal.h"
#include "gateway/services.h"

static enum step_result refuse(struct call *c, const struct api_error *e)
{
    api_fault_set(&c->fault, e, NULL, NULL);
    return STEP_FAIL;
}

/* An address that guesses keys waits for each answer. */
static void slowed(void *arg)
{
    call_resume(arg);
}

static void judged(void *arg, enum auth_result result, struct key_record *record)
{
    struct call *c = arg;

    c->auth_wait = NULL;
    c->key = record;
    if (result == AUTH_UNAVAILABLE)
        api_fault_set(&c->fault, &ERR_SERVICE_UNAVAILABLE, NULL, NULL);
    else if (result != AUTH_OK)
        api_fault_set(&c->fault, &ERR_INVALID_KEY, NULL, NULL);
    if (result == AUTH_SLOW)
        loop_timer_set(c->gateway->loop, &c->slow, AUTH_SLOW_MS, slowed, c);
    else
        call_resume(c);
}

/* A bot's user or a service asks models; what the account has and does is not for them. */
static bool is_for_owner(const struct call *c)
{
    return !c->route->scope && c->route->kind != ROUTE_END_TO_END;
}

/* What the key's scopes say of this address and path. */
static enum step_result check_scopes(struct call *c)
{
    c->auth_us = clock_mono_us();
    trace_begin(c);
    if (!key_allows_address(c->key, span_str(c->client)))
        return refuse(c, &ERR_FORBIDDEN);
    if (!services_confirm(c))
        return STEP_FAIL;
    if (c->payer_key.len > 0 && is_for_owner(c))
        return refuse(c, &ERR_ENDPOINT_NOT_ALLOWED);
    if (c->route->scope && !call_allows_endpoint(c, c->route->scope))
        return refuse(c, &ERR_ENDPOINT_NOT_ALLOWED);
    if (c->route->kind == ROUTE_INFERENCE && c->key->end_to_end_only)
        return refuse(c, &ERR_END_TO_END_ONLY);
    if (c->route->kind != ROUTE_SERVE)
        return STEP_NEXT;
    c->route->serve(c);
    return STEP_OVER;
}

/* No key: so many a minute for each address, but for services, who are known. */
static enum step_result serve_public(struct call *c)
{
    if (!c->internal &&
        failures_add(&c->gateway->public_calls, span_str(c->client), loop_now(c->gateway->loop))) {
        api_fault_set(&c->fault, &ERR_RATE_LIMIT, NULL, "a minute");
        c->fault.retry_after_ms = 60000;
        return STEP_FAIL;
    }
    c->route->serve(c);
    return STEP_OVER;
}

struct span call_credential(const struct call *c, struct buf *scratch)
{
    return c->payer_key.len > 0 ? c->payer_key
                                : api_key_credential(http_header(c->ex, "authorization"),
                                                     http_header(c->ex, "x-api-key"), scratch);
}

/* A token's call goes on with the key of who pays; anything else as it is. False: refused. */
static bool admit_token(struct call *c, struct span credential)
{
    if (telegram_token_is(credential))
        return bots_admit_user(c, credential);
    return !service_token_is(credential) || services_admit(c, credential);
}

/* Asks whose the credential is. */
static enum step_result begin(struct call *c)
{
    AUTO(buf_wipe) struct buf scratch = {0};
    struct span credential = call_credential(c, &scratch);

    if (credential.len == 0)
        return refuse(c, &ERR_NO_KEY);
    if (c->payer_key.len == 0 && !admit_token(c, credential))
        return STEP_FAIL;
    if (c->payer_key.len > 0)
        credential = c->payer_key;
    c->auth_wait = auth_check(c->gateway->auth, credential, span_str(c->client), judged, c);
    return STEP_WAIT;
}

enum step_result call_auth(struct call *c)
{
    if (c->internal && !c->service && !internal_admit(c))
        return STEP_FAIL;
    if (c->route->kind == ROUTE_PUBLIC || c->route->kind == ROUTE_SIGN_IN)
        return serve_public(c);
    if (c->key)
        return check_scopes(c);
    if (c->auth_wait || loop_timer_is_set(&c->slow))
        return STEP_WAIT;
    if (c->fault.error)
        return STEP_FAIL;
    return begin(c);
}
