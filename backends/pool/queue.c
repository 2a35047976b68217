/* Accounts with something to do are flows, one list a class; those that may have a turn in this
 * round stand in a heap, the others aside. Next is the flow that runs least for its weight; among
 * equals the one whose turn would end first in a virtual time that goes on with each turn
 * (self-clocked fair queueing: Golestani 1994). */
#include "backends/pool/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/heap.h"

enum { TAG_UNIT = 1 << 16, SERVED_ENOUGH = 8, FLOWS_KEPT = 4096, KEY_LEN = 80 };
/* Of a new observation in the mean time that a slot is taken. */
static const double weight_new = 0.1;

struct queue_flow {
    struct list link;      /* queue.busy[class] while something waits */
    struct heap_link turn; /* queue.turns[class] while one that waits was not yet passed over */
    struct list aside;     /* queue.aside while all that wait were passed over in this round */
    struct list items;     /* that wait, by deadline */
    struct queue *queue;
    enum service_class class;
    unsigned weight;
    size_t waiting, running;
    uint64_t entered_ms; /* the last one */
    uint64_t tag;        /* when, in virtual time, its next turn begins */
    uint64_t busy_since; /* of equals who has waited longest without a pause goes first */
    uint64_t passed_round;
    struct list *from; /* in round from_round all before it were passed over */
    uint64_t from_round;
    char key[KEY_LEN];
};

struct queue {
    struct map flows; /* class, account → struct queue_flow */
    struct list busy[CLASSES];
    struct heap turns[CLASSES]; /* whose turn it is first */
    struct list aside;          /* of all classes */
    uint64_t busy_count;        /* so often a flow has begun to wait */
    size_t waiting[CLASSES], running;
    uint64_t virtual_time; /* the end of the last turn */
    uint64_t round;
    struct window freed;
    double slot_ms; /* moving average; 0: unknown */
};

/* ---- Flows ---- */

static void flow_free(struct queue *q, struct queue_flow *f)
{
    (void)map_del(&q->flows, span_str(f->key));
    free(f);
}

/* Forgets accounts that have nothing to do, when there are many. */
static void flows_sweep(struct queue *q)
{
    struct span key;
    void *value;
    size_t at = 0;

    while (map_next(&q->flows, &at, &key, &value)) {
        struct queue_flow *f = value;
        if (f->waiting == 0 && f->running == 0)
            flow_free(q, f);
    }
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    CHECK(queue_length(q) == 0 && q->running == 0);
    flows_sweep(q);
    for (size_t i = 0; i < CLASSES; i++)
        heap_fini(&q->turns[i]);
    map_fini(&q->flows);
    free(q);
}

/* An account's name has at most 64 characters. */
static struct span flow_key(char out[static KEY_LEN], const struct queue_claim *claim)
{
    snprintf(out, KEY_LEN, "%d/%.*s", (int)claim->class, SPAN_FMT(claim->account));
    return span_str(out);
}

static unsigned weight_of(const struct queue_claim *claim)
{
    return claim->weight > 0 ? claim->weight : 1;
}

static struct queue_flow *flow_of(struct queue *q, const struct queue_claim *claim)
{
    char key[KEY_LEN];
    struct queue_flow *f = map_get(&q->flows, flow_key(key, claim));

    if (!f) {
        if (q->flows.len > 0 && q->flows.len % FLOWS_KEPT == 0)
            flows_sweep(q);
        f = mem_zero(sizeof(*f));
        f->queue = q;
        f->class = claim->class;
        f->tag = q->virtual_time;
        memcpy(f->key, key, KEY_LEN);
        list_init(&f->items);
        f->from = &f->items;
        map_put(&q->flows, span_str(f->key), f);
    }
    f->weight = weight_of(claim);
    return f;
}

/* ---- Whose turn is first ---- */

static uint64_t turn_end(const struct queue_flow *f)
{
    return f->tag + TAG_UNIT / f->weight;
}

static struct queue_flow *flow_at(struct heap_link *turn)
{
    return CONTAINER(turn, struct queue_flow, turn);
}

static bool goes_before(struct heap_link *x, struct heap_link *y)
{
    const struct queue_flow *a = flow_at(x), *b = flow_at(y);
    const uint64_t runs_a = (uint64_t)a->running * b->weight,
                   runs_b = (uint64_t)b->running * a->weight;
    const uint64_t end_a = turn_end(a), end_b = turn_end(b);

    if (runs_a != runs_b)
        return runs_a < runs_b;
    return end_a != end_b ? end_a < end_b : a->busy_since < b->busy_since;
}

/* After whatever changes a flow's order, or whether it may have a turn in this round. */
static void flow_settle(struct queue_flow *f)
{
    struct queue *q = f->queue;
    const bool passed = f->passed_round == q->round;

    list_del(&f->aside);
    if (f->waiting > 0 && !passed)
        heap_set(&q->turns[f->class], &f->turn);
    else
        heap_del(&q->turns[f->class], &f->turn);
    if (f->waiting > 0 && passed)
        list_push(&q->aside, &f->aside);
}

struct queue *queue_new(void)
{
    struct queue *q = mem_zero(sizeof(*q));

    for (size_t i = 0; i < CLASSES; i++) {
        list_init(&q->busy[i]);
        q->turns[i].before = goes_before;
    }
    list_init(&q->aside);
    return q;
}

/* ---- Waiting ---- */

static struct queue_item *item_at(struct list *at)
{
    return CONTAINER(at, struct queue_item, link);
}

/* A newcomer that goes before those who are still to be looked at is the first of them. */
static void note_new(struct queue_flow *f, struct queue_item *it)
{
    if (f->from_round != f->queue->round)
        return;
    if (f->from == &f->items || item_at(f->from)->deadline_ms > it->deadline_ms)
        f->from = &it->link;
}

static void flow_add(struct queue_flow *f, struct queue_item *it)
{
    struct list *at = f->items.prev;

    while (at != &f->items && item_at(at)->deadline_ms > it->deadline_ms)
        at = at->prev;
    list_push(at->next, &it->link); /* before what follows `at` */
    note_new(f, it);
    if (f->waiting++ == 0) {
        f->tag = f->tag > f->queue->virtual_time ? f->tag : f->queue->virtual_time;
        f->busy_since = ++f->queue->busy_count;
        list_push(&f->queue->busy[f->class], &f->link);
    }
    f->entered_ms = it->since_ms;
    f->queue->waiting[f->class]++;
    flow_settle(f);
}

/* The first that was not yet passed over in this round. Each is walked past once a round, and once
 * more for each newcomer that goes before it. */
static struct queue_item *flow_best(struct queue_flow *f)
{
    struct list *at = f->from_round == f->queue->round ? f->from : f->items.next;

    while (at != &f->items && item_at(at)->round == f->queue->round)
        at = at->next;
    f->from = at;
    f->from_round = f->queue->round;
    return at == &f->items ? NULL : item_at(at);
}

/* Once all that wait in it were passed over, it has no turn before the next round. */
static void note_passed(struct queue_flow *f)
{
    if (!flow_best(f))
        f->passed_round = f->queue->round;
    flow_settle(f);
}

static void flow_remove(struct queue_flow *f, struct queue_item *it)
{
    if (f->from == &it->link)
        f->from = it->link.next;
    list_del(&it->link);
    f->queue->waiting[f->class]--;
    if (--f->waiting > 0) {
        note_passed(f);
        return;
    }
    list_del(&f->link);
    flow_settle(f);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t queue_leaves_ms(const struct queue_item *it, const struct queue_options *o)
{
    return least(it->deadline_ms, it->since_ms + o->longest_ms);
}

enum queue_verdict queue_enter(struct queue *q, struct queue_item *it,
                               const struct queue_claim *claim, const struct queue_options *o,
                               uint64_t now_ms)
{
    const uint64_t left = claim->deadline_ms > now_ms ? claim->deadline_ms - now_ms : 0;

    CHECK(it->place == QUEUE_NOWHERE);
    if (!o->at_once && queue_wait_ms(q, claim, now_ms) > least(left, o->longest_ms))
        return QUEUE_HOPELESS;
    *it = (struct queue_item){.queue = q,
                              .flow = flow_of(q, claim),
                              .place = QUEUE_WAITING,
                              .deadline_ms = claim->deadline_ms,
                              .since_ms = now_ms};
    flow_add(it->flow, it);
    return QUEUE_TAKEN;
}

void queue_leave(struct queue_item *it)
{
    if (it->place == QUEUE_WAITING)
        flow_remove(it->flow, it);
    if (it->place == QUEUE_RUNNING) {
        it->flow->running--;
        it->queue->running--;
        flow_settle(it->flow);
    }
    it->place = QUEUE_NOWHERE;
    it->flow = NULL;
}

/* ---- Too many ---- */

static struct queue_item *flow_newest(const struct queue_flow *f)
{
    struct queue_item *newest = NULL;

    LIST_FOREACH(at, &f->items) {
        struct queue_item *it = item_at(at);
        if (!newest || it->since_ms >= newest->since_ms)
            newest = it;
    }
    return newest;
}

/* Of equals the one that came last. */
static bool has_more(const struct queue_flow *a, const struct queue_flow *b)
{
    const uint64_t waits_a = (uint64_t)a->waiting * b->weight,
                   waits_b = (uint64_t)b->waiting * a->weight;

    return waits_a != waits_b ? waits_a > waits_b : a->entered_ms >= b->entered_ms;
}

static const struct queue_flow *flow_most(const struct queue *q, size_t class)
{
    const struct queue_flow *most = NULL;

    LIST_FOREACH(at, &q->busy[class]) {
        const struct queue_flow *f = CONTAINER(at, struct queue_flow, link);
        if (!most || has_more(f, most))
            most = f;
    }
    return most;
}

struct queue_item *queue_excess(struct queue *q, size_t most)
{
    const struct queue_flow *worst = NULL;

    if (queue_length(q) <= most)
        return NULL;
    for (size_t class = 0; class < CLASSES; class ++) {
        const struct queue_flow *f = flow_most(q, class);
        if (f && f->waiting > most - most / 4)
            return flow_newest(f);
        worst = f ? f : worst;
    }
    return worst ? flow_newest(worst) : NULL;
}

/* ---- Turns ---- */

void queue_round(struct queue *q)
{
    q->round++;
    for (struct list *at; (at = list_pop(&q->aside)) != NULL;)
        flow_settle(CONTAINER(at, struct queue_flow, aside));
}

struct queue_item *queue_best(struct queue *q)
{
    for (size_t class = 0; class < CLASSES; class ++) {
        struct heap_link *first = heap_first(&q->turns[class]);
        if (first)
            return flow_best(flow_at(first));
    }
    return NULL;
}

void queue_pass(struct queue_item *it)
{
    it->round = it->queue->round;
    if (it->flow)
        note_passed(it->flow);
}

/* ---- Running ---- */

void queue_start(struct queue *q, struct queue_item *it, const struct queue_claim *claim,
                 uint64_t now_ms)
{
    struct queue_flow *f = it->flow ? it->flow : flow_of(q, claim);

    CHECK(it->place != QUEUE_RUNNING);
    if (it->place == QUEUE_WAITING)
        flow_remove(f, it);
    else
        f->tag = f->tag > q->virtual_time ? f->tag : q->virtual_time;
    f->tag = turn_end(f);
    q->virtual_time = f->tag > q->virtual_time ? f->tag : q->virtual_time;
    *it = (struct queue_item){.queue = q,
                              .flow = f,
                              .place = QUEUE_RUNNING,
                              .deadline_ms = claim->deadline_ms,
                              .since_ms = now_ms};
    f->running++;
    q->running++;
    flow_settle(f);
}

void queue_done(struct queue_item *it, uint64_t now_ms)
{
    struct queue *q = it->queue;
    const double took = (double)(now_ms - it->since_ms);

    if (it->place != QUEUE_RUNNING)
        return;
    window_add(&q->freed, now_ms);
    q->slot_ms = q->slot_ms > 0 ? q->slot_ms + weight_new * (took - q->slot_ms) : took;
    queue_leave(it);
}

/* ---- The estimate ---- */

/* Those who would go before one more of this claim: all of better classes, and of its own class
 * what of each account has its turn before. */
static size_t ahead_of(struct queue *q, const struct queue_claim *claim)
{
    char key[KEY_LEN];
    size_t ahead = 0, turns = 1;

    for (size_t class = 0; class < (size_t)claim->class; class ++)
        ahead += q->waiting[class];
    const struct queue_flow *own = map_get(&q->flows, flow_key(key, claim));
    turns += own ? own->waiting : 0;
    LIST_FOREACH(at, &q->busy[claim->class]) {
        const struct queue_flow *f = CONTAINER(at, struct queue_flow, link);
        const size_t most = f == own ? f->waiting : turns * f->weight / weight_of(claim);
        ahead += f->waiting < most ? f->waiting : most;
    }
    return ahead;
}

/* Slots that become free in a second: as in the last minute, or as what runs now will end; the
 * first is too few when the rush has only begun, the second when little runs. Where all slots are
 * other gateways' at the moment, one will be ours. */
static double freed_per_s(struct queue *q, uint64_t now_ms)
{
    const double seen = (double)window_count(&q->freed, now_ms) / WINDOW_S;
    const double running = q->running > 0 ? (double)q->running : 1;
    const double due = q->slot_ms > 0 ? running * 1000 / q->slot_ms : 0;

    return seen > due ? seen : due;
}

uint64_t queue_wait_ms(struct queue *q, const struct queue_claim *claim, uint64_t now_ms)
{
    const size_t ahead = ahead_of(q, claim);

    if (ahead == 0 || window_count(&q->freed, now_ms) < SERVED_ENOUGH)
        return 0;
    const double rate = freed_per_s(q, now_ms);
    return rate > 0 ? (uint64_t)((double)(ahead + 1) * 1000 / rate) : 0;
}

size_t queue_waiting(const struct queue *q, enum service_class class)
{
    return q->waiting[class];
}

size_t queue_before(const struct queue *q, enum service_class class)
{
    size_t count = 0;

    for (size_t i = 0; i <= (size_t) class; i++)
        count += q->waiting[i];
    return count;
}

size_t queue_length(const struct queue *q)
{
    return queue_before(q, CLASSES - 1);
}

size_t queue_running(const struct queue *q)
{
    return q->running;
}

size_t queue_accounts(const struct queue *q)
{
    return q->flows.len;
}
