/* Step route: a worker for this attempt, or a place in its model's queue until one has room. */
#include "gateway/call.h"
#include "base/clock.h"
#include "crypto/hash.h"
#include "gateway/lane.h"
#include "gateway/problem.h"
#include "gateway/services.h"

enum {
    RETRY_USUAL_MS = 2000, /* where nothing is known of the wait */
    RETRY_LEAST_MS = 250,
    RETRY_MOST_MS = 60000,
    BYTES_PER_TOKEN = 4, /* of input: a guess */
    TRIES_LEAST = 2,     /* of those who wait, when somebody may have room */
    TRIES_MAX = 64,
    ROOMY_MS = 1200, /* a little longer than until a worker says again how much it runs */
    CROWDED_MS = ROOMY_MS,
    PATIENCE_MS = 2500
};

static const struct gateway_config *settings(const struct call *c)
{
    return c->config->values;
}

static struct lane *lane_here(struct call *c)
{
    return lane_of(&c->gateway->lanes, buf_span(&c->rq.model));
}

static uint64_t now_ms(const struct call *c)
{
    return loop_now(c->gateway->loop);
}

/* ---- What is asked for ---- */

int64_t call_bid(const struct call *c)
{
    return c->rq.max_coefficient >= 0 ? c->rq.max_coefficient : c->key->max_coefficient;
}

/* The conversation's tag (pool.md §3): no account can aim at another's cache with it. What it is
 * made of is what the client says, where the gateway sees no text. */
static uint64_t affinity(struct call *c)
{
    const bool sealed_by_client = call_is_end_to_end(c);
    const struct span said =
        sealed_by_client ? span_str(c->affinity) : buf_span(&c->rq.conversation);
    const struct span parts[] = {SPAN("route"), span_str(c->key->account), SPAN("\0"), said};
    uint8_t mac[SHA256_LEN];
    uint64_t tag;

    if (said.len == 0)
        return 0;
    hmac_sha256_parts(mac, SPAN_OF(c->gateway->cluster_secret), parts,
                      sizeof(parts) / sizeof(*parts));
    memcpy(&tag, mac, sizeof(tag));
    return tag;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void fill_query(struct call *c)
{
    struct pool_query *q = &c->query;
    struct chooser_model_view load;

    q->roomy_ms = 0;
    if (q->model.data)
        return;
    (void)pool_model_load(c->gateway->pool, buf_span(&c->rq.model), &load);
    q->model = buf_span(&c->rq.model);
    q->endpoint = c->rq.endpoint;
    q->end_to_end = call_is_end_to_end(c);
    q->require = &c->require;
    q->coefficient = call_bid(c);
    q->class = service_class_of(span_str(call_class(c)));
    q->input = least((int64_t)c->body_len / BYTES_PER_TOKEN, c->model.model.context);
    q->output = least(c->max_tokens, (int64_t)load.output);
    q->affinity = affinity(c);
}

static struct queue_claim claim(const struct call *c)
{
    return (struct queue_claim){.class = c->query.class,
                                .account = span_str(c->key->account),
                                .weight = (unsigned)c->key->weight,
                                .deadline_ms = c->deadline.due_ms};
}

/* ---- Nobody ---- */

static unsigned retry_after(struct call *c)
{
    const struct queue_claim mine = claim(c);
    const uint64_t wait = queue_wait_ms(lane_here(c)->queue, &mine, now_ms(c));

    if (wait == 0)
        return RETRY_USUAL_MS;
    return (unsigned)(wait < RETRY_LEAST_MS  ? RETRY_LEAST_MS
                      : wait > RETRY_MOST_MS ? RETRY_MOST_MS
                                             : wait);
}

/* What the caller can change, or what waits for him. */
static void hint_write(struct call *c, const struct chooser_excluded *w, char out[static 120])
{
    out[0] = 0;
    const bool priced_out = w->price > 0 && w->full + w->tried + w->failing == 0;
    c->lowest_ask = priced_out ? w->lowest_ask : 0;
    if (priced_out)
        snprintf(out, 120, " The lowest price asked is %lld/1000.", (long long)w->lowest_ask);
    else if (w->full + w->failing > 0 || w->reserved)
        snprintf(out, 120, " %zu requests wait already.", queue_length(lane_here(c)->queue));
}

void route_no_capacity(struct call *c)
{
    struct pool_excluded why;
    const struct chooser_excluded *w = &why.by;
    char hint[120];

    fill_query(c);
    pool_explain(c->gateway->pool, &c->query, &why);
    if (w->evidence > 0 && w->draining + w->price + w->tried + w->full + w->failing == 0) {
        api_fault_text(&c->fault, &ERR_NO_ATTESTED_WORKER, NULL,
                       "No worker of this model has the evidence that is asked for: none has the "
                       "right %s.",
                       why.unmet);
        return;
    }
    hint_write(c, w, hint);
    api_fault_text(&c->fault, &ERR_NO_CAPACITY, NULL,
                   "No worker can take this request now: of %zu, %zu do not serve the model, %zu "
                   "are full, %zu are draining, %zu lack the evidence asked for, "
                   "%zu are not ready, %zu ask for more than it pays, %zu failed on this "
                   "request, %zu failed lately.%s",
                   w->total, w->model + w->endpoint + w->context, w->full, w->draining, w->evidence,
                   w->not_ready, w->price, w->tried, w->failing, hint);
    c->fault.retry_after_ms = retry_after(c);
}

bool route_may_retry(struct call *c)
{
    const struct budget_options o = {.percent = (unsigned)settings(c)->retry_percent,
                                     .least = (unsigned)settings(c)->retry_least};

    const bool may = budget_take(&lane_here(c)->budget, &o, now_ms(c));

    c->gateway->metrics.retries_refused += may ? 0 : 1;
    return may;
}

/* ---- Waiting ---- */

bool route_waits(const struct call *c)
{
    return c->place.place == QUEUE_WAITING;
}

static void note_queue_time(struct call *c)
{
    const uint64_t now = clock_mono_us();

    if (route_waits(c))
        c->queue_us += now - c->routed_us;
    c->routed_us = now;
}

void route_unqueue(struct call *c)
{
    if (!route_waits(c))
        return;
    note_queue_time(c);
    queue_leave(&c->place);
    loop_timer_cancel(c->gateway->loop, &c->queue_timer);
}

void route_done(struct call *c)
{
    route_unqueue(c);
    if (c->ended)
        queue_done(&c->place, now_ms(c));
    queue_leave(&c->place);
}

void route_late(struct call *c)
{
    if (c->ended) {
        c->cost_late = true;
        call_resume(c);
        return;
    }
    c->gateway->metrics.queue_late += route_waits(c) ? 1 : 0;
    if (route_waits(c))
        route_no_capacity(c);
    else
        api_fault_set(&c->fault, &ERR_UPSTREAM_TIMEOUT, NULL, NULL);
    call_fault(c);
}

static void have_turn(struct call *c)
{
    c->turn = true;
    call_resume(c);
    c->turn = false;
}

/* All that wait for the model have their turns, in order. */
static void ask_round(struct call *c)
{
    lane_here(c)->room = true;
    c->gateway->trying = true;
    loop_again(c->gateway->loop);
}

/* Ranks name workers that fail lately, too, behind all others. */
static bool somebody_takes_it(struct call *c)
{
    struct pool_worker *first;
    struct pool_excluded why;

    return pool_rank(c->gateway->pool, &c->query, false, &first, 1) > 0 &&
           pool_worker_eligible(first, &c->query, &why);
}

static void queue_due(void *arg);

/* No round comes to a call behind others that wait for a full worker: each looks at times whether
 * anybody is left for it. And that a worker has had room for a while, for whose sake an end-to-end
 * call may be sent elsewhere, is no event. */
static void queue_watch(struct call *c)
{
    const uint64_t now = now_ms(c), until = c->queue_until_ms;
    const uint64_t left = until > now ? until - now : 0;

    loop_timer_set(c->gateway->loop, &c->queue_timer, left > PATIENCE_MS ? PATIENCE_MS : left,
                   queue_due, c);
}

static void queue_due(void *arg)
{
    struct call *c = arg;

    if (now_ms(c) >= c->queue_until_ms) {
        route_late(c);
        return;
    }
    if (!pool_may_wait(c->gateway->pool, &c->query)) {
        have_turn(c); /* whatever its place: it takes nothing from those before it */
        if (!route_waits(c))
            return;
    } else if (call_is_end_to_end(c) && somebody_takes_it(c)) {
        ask_round(c);
    }
    queue_watch(c);
}

/* ---- No place ---- */

/* There is no place for it any more; end to end its client may still go to whom has room. */
static void crowd_out(struct call *c)
{
    route_unqueue(c);
    fill_query(c);
    if (call_is_end_to_end(c) && somebody_takes_it(c)) {
        (void)pass_elsewhere(c, true);
        return;
    }
    c->gateway->metrics.queue_refused++;
    route_no_capacity(c);
}

/* As many as have a place stay. True: self has none, and is not answered here. */
static bool cut(struct lane *lane, size_t most, const struct call *self)
{
    struct queue_item *it;

    while ((it = queue_excess(lane->queue, most)) != NULL) {
        struct call *c = CONTAINER(it, struct call, place);
        crowd_out(c);
        if (c == self)
            return true;
        call_fault(c);
    }
    return false;
}

/* Whom somebody has room for, or may have after what is under way, is not refused before that was
 * tried: the round's end cuts the queue. */
static bool is_cut_later(const struct call *c, const struct lane *lane, bool at_once)
{
    return at_once || lane->trying || lane->room || c->gateway->capacity;
}

/* ---- A place ---- */

/* A worker that turns the call away after a wait does not start the clock again. */
static enum step_result wait_for_room(struct call *c, bool at_once)
{
    const uint64_t longest = (uint64_t)settings(c)->queue_ms, waited = c->queue_us / 1000;
    const struct queue_options o = {.longest_ms = longest > waited ? longest - waited : 0,
                                    .at_once = at_once};
    const struct queue_claim mine = claim(c);
    struct lane *lane = lane_here(c);

    if (route_waits(c))
        return STEP_WAIT;
    queue_leave(&c->place); /* it ran, and its worker failed */
    if (queue_enter(lane->queue, &c->place, &mine, &o, now_ms(c)) != QUEUE_TAKEN) {
        c->gateway->metrics.queue_refused++;
        route_no_capacity(c);
        return STEP_FAIL;
    }
    c->routed_us = clock_mono_us();
    c->queue_until_ms = queue_leaves_ms(&c->place, &o);
    queue_watch(c);
    if (!is_cut_later(c, lane, at_once) && cut(lane, (size_t)settings(c)->queue_most, c))
        return STEP_FAIL;
    return STEP_WAIT;
}

/* Others came before, of a class that goes before or of its own, and it is not its turn. */
static bool must_line_up(struct call *c)
{
    return !c->turn && queue_before(lane_here(c)->queue, c->query.class) > 0;
}

static enum step_result line_up(struct call *c)
{
    const bool at_once = somebody_takes_it(c); /* maybe this one alone */

    if (at_once)
        ask_round(c);
    return wait_for_room(c, at_once);
}

/* ---- The step ---- */

static void set_worker(struct call *c, struct pool_worker *w)
{
    pool_worker_unref(c->worker);
    c->worker = pool_worker_ref(w);
    c->coefficient = pool_worker_ask(w);
}

static enum step_result take(struct call *c, struct pool_worker *w)
{
    const struct queue_claim mine = claim(c);

    c->fault = (struct api_fault){0};
    note_queue_time(c);
    loop_timer_cancel(c->gateway->loop, &c->queue_timer);
    if (c->place.place != QUEUE_RUNNING)
        queue_start(lane_here(c)->queue, &c->place, &mine, now_ms(c));
    set_worker(c, w);
    return STEP_NEXT;
}

/* Being sent to another worker costs the client one of its few tries. Who waits for a full one
 * stays for a while, and so does who comes when workers have turned calls away a moment ago: what
 * seems free then, others are after. */
static bool is_patient(struct call *c, const struct pool_excluded *own)
{
    const uint64_t until =
        route_waits(c) ? c->place.since_ms + PATIENCE_MS : lane_here(c)->crowded_until_ms;

    return own->by.full > 0 && now_ms(c) < until;
}

bool route_turned_away(struct call *c)
{
    struct lane *lane = lane_here(c);
    const bool again = now_ms(c) < lane->crowded_until_ms;

    lane->crowded_until_ms = now_ms(c) + CROWDED_MS;
    return again;
}

/* The client has chosen, by the key that it encrypted to; only if nobody else has room either is
 * there something to wait for. */
static enum step_result route_end_to_end(struct call *c)
{
    struct pool *p = c->gateway->pool;
    struct pool_worker *w = NULL;
    struct pool_excluded why;
    enum pool_key_state state = pool_key_find(p, c->kfp, &w);

    if (state == POOL_KEY_UNKNOWN ||
        (state == POOL_KEY_HELD && !pool_key_fits(w, c->kfp, buf_span(&c->body)))) {
        api_fault_set(&c->fault, &problem_ohttp_key, NULL, NULL);
        return STEP_FAIL;
    }
    if (state == POOL_KEY_AWAY)
        return pass_elsewhere(c, false);
    if (!pool_redeem(w, span_str(c->key->account)) && must_line_up(c) &&
        pool_may_wait(p, &c->query))
        return line_up(c);
    if (pool_worker_eligible(w, &c->query, &why))
        return take(c, w);
    c->query.roomy_ms = route_waits(c) ? ROOMY_MS : 0;
    if ((is_patient(c, &why) || !somebody_takes_it(c)) && pool_may_wait(p, &c->query))
        return wait_for_room(c, false);
    set_worker(c, w);
    relay_tried(c);
    return pass_elsewhere(c, why.by.full > 0);
}

static enum step_result route_sealed(struct call *c)
{
    struct pool *p = c->gateway->pool;
    const bool behind = must_line_up(c);
    struct pool_worker *w = behind ? NULL : pool_choose(p, &c->query);

    if (w)
        return take(c, w);
    if (pool_may_wait(p, &c->query))
        return behind ? line_up(c) : wait_for_room(c, false);
    if (!c->fault.error) /* the last attempt's own reason says more */
        route_no_capacity(c);
    return STEP_FAIL;
}

enum step_result call_route(struct call *c)
{
    if (route_waits(c) && !c->turn)
        return STEP_WAIT;
    fill_query(c);
    if (!c->routed_us)
        budget_note(&lane_here(c)->budget, now_ms(c));
    return call_is_end_to_end(c) ? route_end_to_end(c) : route_sealed(c);
}

/* ---- Turns ---- */

/* No worker of its model could take anything, or what they could is kept from its class and from
 * those that go after it: the others need not be tried. */
static bool is_packed(const struct call *c)
{
    struct chooser_model_view load;

    (void)pool_model_load(c->gateway->pool, c->query.model, &load);
    return load.open == 0 || load.reserved[c->query.class];
}

/* Those whose turn it is, as long as there is room for one of them. True: so many were passed over
 * that the round is to go on in the loop's next turn. It must not begin anew there: a crowd that
 * waits for one full worker would keep all behind it from the others. */
static bool lane_try(struct lane *lane)
{
    struct queue_item *it;
    size_t passed = 0;

    while ((it = queue_best(lane->queue)) != NULL) {
        struct call *c = CONTAINER(it, struct call, place);
        have_turn(c);
        if (!route_waits(c))
            continue;
        queue_pass(it);
        if (++passed >= TRIES_LEAST && is_packed(c))
            return false;
        if (passed >= TRIES_MAX)
            return true;
    }
    return false;
}

/* Room that comes while a round is under way asks for another after it. True: there is more to do.
 */
static bool lane_wake(struct lane *lane, size_t most)
{
    if (!lane->trying) {
        lane->room = false;
        queue_round(lane->queue);
    }
    lane->trying = lane_try(lane);
    if (!lane->trying)
        (void)cut(lane, most, NULL);
    return lane->trying || lane->room;
}

void route_wake(struct gateway *g, bool room)
{
    const struct gateway_config *s = g->config->values;

    lanes_sweep(&g->lanes);
    LIST_FOREACH(it, &g->lanes.all) {
        struct lane *lane = CONTAINER(it, struct lane, link);
        lane->room = (lane->room || room) && queue_length(lane->queue) > 0;
        if ((lane->trying || lane->room) && lane_wake(lane, (size_t)s->queue_most))
            g->trying = true;
    }
    if (g->trying)
        loop_again(g->loop);
}
