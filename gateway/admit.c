/* Step admit: how much this call may use at most, and the charge that settle ends; of metered keys
 * the rates and the hold (admission.c). */
#include "gateway/money.h"
#include "gateway/replay.h"
#include "base/clock.h"

static const struct gateway_config *settings(const struct call *c)
{
    return c->config->values;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Completion tokens of one choice: the request's, or the key's default, at most the model's. */
static int64_t choice_cap(const struct call *c)
{
    int64_t most = c->model.workers ? c->model.model.max_output : INT32_MAX;
    int64_t own = c->key->max_output > 0 ? c->key->max_output : settings(c)->default_output;

    if (c->rq.endpoint == EP_EMBEDDINGS)
        return 0;
    return least(c->rq.cap >= 0 ? c->rq.cap : own, most);
}

/* The caller's own limit is like his leaving: no mark against the worker, or anybody could drive
 * workers out with short ones, and what was made until then counts. */
static void call_late(void *arg)
{
    struct call *c = arg;

    c->timed_out = c->dispatch != NULL;
    call_stop_attempt(c, CANCEL_CLIENT_GONE);
    route_late(c);
}

/* The caller's `timeout` caps the whole call. */
static void shorten_deadline(struct call *c)
{
    uint64_t spent = (clock_mono_us() - c->begun_us) / 1000;

    if (c->rq.timeout_ms == 0 || c->rq.timeout_ms >= (uint64_t)settings(c)->total_ms)
        return;
    uint64_t left = c->rq.timeout_ms > spent ? c->rq.timeout_ms - spent : 0;
    loop_timer_set(c->gateway->loop, &c->deadline, left, call_late, c);
}

static void set_ceilings(struct call *c)
{
    c->cap = choice_cap(c);
    c->max_tokens = c->cap * c->rq.sequences;
    c->max_input = (int64_t)c->body.len + settings(c)->template_allowance;
}

static void begin(struct call *c)
{
    if (!call_is_end_to_end(c)) /* there the client says it */
        set_ceilings(c);
    c->charge = charge_new(c);
    shorten_deadline(c);
}

/* The first with its Idempotency-Key, of which the step before could not know that. */
static bool is_unchecked(const struct call *c)
{
    return !c->admission && !c->charge->waiting && replay_may_come(c) && !replay_is_again(c);
}

/* The account lets it in; the answer that was given to the same request needs no worker. */
static enum step_result admit_metered(struct call *c)
{
    if (is_unchecked(c) && call_check_served(c) == STEP_FAIL)
        return STEP_FAIL;
    enum step_result r = money_admit(c);
    bool admitted = r == STEP_NEXT && c->admission; /* not to have its key read again */

    return admitted && replay_is_again(c) ? replay_give(c) : r;
}

/* A key is metered if its record says so, and then nothing but its account lets it in. */
static enum step_result admit(struct call *c)
{
    if (c->key->metered) {
        enum step_result first = idempotency_begin(c);
        return first == STEP_NEXT ? admit_metered(c) : first;
    }
    if (!settings(c)->billing_required)
        return STEP_NEXT;
    api_fault_text(&c->fault, &ERR_FORBIDDEN, NULL, "This API key has no account to pay from.");
    return STEP_FAIL;
}

enum step_result call_admit(struct call *c)
{
    if (!c->charge &&
        !auth_still_valid(c->gateway->auth, c->key)) { /* revoked while the body came in */
        api_fault_set(&c->fault, &ERR_INVALID_KEY, NULL, NULL);
        return STEP_FAIL;
    }
    if (!c->charge)
        begin(c);
    enum step_result r = admit(c);
    c->admitted_us = clock_mono_us();
    return r;
}
