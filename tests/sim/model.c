/* Steps: each takes in at most a chunk of prompts and one token of every call that decodes. As long
 * as the batch stays as it is, all steps take equally long, so many are done at once. */
#include "tests/sim/model.h"

#include <stdlib.h>

#include "base/error.h"
#include "tests/sim/prefix.h"

const struct model_spec model_default = {
    .prefill_per_s = 8000,
    .step_us = 18000,
    .step_each_us = 350,
    .speed = 1,
    .chunk = 2048,
    .kv_tokens = 120 * 1000,
    .block_tokens = 64,
    .max_batch = 24,
};

struct model {
    struct model_spec spec;
    bool each;
    model_tokens_fn *fn;
    void *arg;
    struct prefix_cache *prefix;
    struct list waiting, running; /* in the order in which they came */
    unsigned waiting_count, running_count, decoding;
    int64_t kv_used, chunk;  /* chunk: prompt tokens of the present step */
    uint64_t steps;          /* done */
    uint64_t end_ns, len_ns; /* of the present step; len_ns 0: nothing runs */
    uint64_t frozen_ns;
    struct model_figures figures;
};

struct model *model_new(const struct model_spec *spec, bool each, model_tokens_fn *fn, void *arg)
{
    struct model *m = mem_zero(sizeof(*m));

    *m = (struct model){.spec = *spec, .each = each, .fn = fn, .arg = arg};
    m->prefix = prefix_new((size_t)(spec->kv_tokens / spec->block_tokens));
    list_init(&m->waiting);
    list_init(&m->running);
    return m;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    prefix_free(m->prefix);
    free(m);
}

static struct model_call *call_of(struct list *link)
{
    return CONTAINER(link, struct model_call, link);
}

int64_t model_made(const struct model *m, const struct model_call *c)
{
    return c->state == MODEL_DECODE ? c->made + (int64_t)(m->steps - c->from_step) : c->made;
}

/* ---- Memory ---- */

static int64_t kv_of(const struct model *m, const struct model_call *c)
{
    return c->prompt + model_made(m, c);
}

static void take_kv(struct model *m, int64_t tokens)
{
    m->kv_used += tokens;
    const int64_t left = m->spec.kv_tokens - m->kv_used;
    prefix_limit(m->prefix, left > 0 ? (size_t)(left / m->spec.block_tokens) : 0);
}

/* ---- Coming and going ---- */

static bool admits(const struct model *m)
{
    if (list_empty(&m->waiting) || m->running_count >= m->spec.max_batch)
        return false;
    const struct model_call *c = call_of(m->waiting.next);
    return m->running_count == 0 || m->kv_used + c->prompt + c->made + 1 <= m->spec.kv_tokens;
}

static void admit(struct model *m)
{
    struct model_call *c = call_of(list_pop(&m->waiting));
    const int64_t found =
        (int64_t)prefix_match(m->prefix, c->blocks, c->block_count) * m->spec.block_tokens;
    const int64_t hit = found < c->prompt ? found : c->prompt - 1; /* its last token is computed */

    m->waiting_count--;
    if (c->evictions == 0) {
        c->cached = hit;
        m->figures.cached += hit;
    }
    c->prefill_left = c->prompt + c->made - hit;
    c->state = MODEL_PREFILL;
    list_push(&m->running, &c->link);
    m->running_count++;
    take_kv(m, kv_of(m, c));
}

static void leave(struct model *m, struct model_call *c)
{
    take_kv(m, -kv_of(m, c));
    c->made = model_made(m, c);
    m->decoding -= c->state == MODEL_DECODE;
    list_del(&c->link);
    m->running_count--;
}

/* What running took is lost, and is computed again once there is room. */
static void evict_last(struct model *m)
{
    struct model_call *c = call_of(m->running.prev);

    m->figures.wasted += c->prompt + model_made(m, c) - c->prefill_left;
    m->figures.evictions++;
    leave(m, c);
    c->evictions++;
    c->state = MODEL_WAITING;
    c->link = (struct list){.next = m->waiting.next, .prev = &m->waiting}; /* to the front */
    c->link.next->prev = &c->link;
    m->waiting.next = &c->link;
    m->waiting_count++;
}

/* ---- Steps ---- */

static int64_t chunk_of(const struct model *m)
{
    int64_t chunk = 0;

    LIST_FOREACH(it, &m->running) {
        if (call_of(it)->state == MODEL_PREFILL)
            chunk += call_of(it)->prefill_left;
        if (chunk >= m->spec.chunk)
            return m->spec.chunk;
    }
    return chunk;
}

static void plan(struct model *m, uint64_t now_ns)
{
    const struct model_spec *s = &m->spec;

    while (m->running_count > 1 && m->kv_used + m->decoding > s->kv_tokens)
        evict_last(m);
    while (admits(m))
        admit(m);
    m->len_ns = 0;
    if (m->running_count == 0)
        return;
    m->chunk = m->decoding < m->running_count ? chunk_of(m) : 0;
    const double us =
        s->step_us + s->step_each_us * m->decoding + (double)m->chunk * 1e6 / s->prefill_per_s;
    m->len_ns = (uint64_t)(us * 1000 / s->speed) + 1;
    m->end_ns = (now_ns > m->frozen_ns ? now_ns : m->frozen_ns) + m->len_ns;
}

static void tell(struct model *m, struct model_call *c, int64_t count, uint64_t at_ns)
{
    if (model_made(m, c) == c->output) {
        m->figures.made += c->output;
        leave(m, c);
        c->state = MODEL_OVER;
    }
    m->fn(m->arg, c, count, at_ns);
}

static void first_token(struct model *m, struct model_call *c, uint64_t at_ns)
{
    prefix_put(m->prefix, c->blocks, c->block_count);
    c->state = MODEL_DECODE;
    c->from_step = m->steps;
    c->made++;
    m->decoding++;
    take_kv(m, 1);
    tell(m, c, 1, at_ns);
}

static void prefill(struct model *m, int64_t tokens, uint64_t at_ns)
{
    m->figures.prefilled += tokens;
    LIST_FOREACH_SAFE(it, &m->running) {
        struct model_call *c = call_of(it);
        if (c->state != MODEL_PREFILL)
            continue;
        const int64_t part = tokens < c->prefill_left ? tokens : c->prefill_left;
        c->prefill_left -= part;
        tokens -= part;
        if (c->prefill_left == 0)
            first_token(m, c, at_ns);
        if (tokens == 0)
            return;
    }
}

static void decode(struct model *m, uint64_t steps, uint64_t at_ns)
{
    m->steps += steps;
    take_kv(m, (int64_t)(m->decoding * steps));
    LIST_FOREACH_SAFE(it, &m->running) {
        struct model_call *c = call_of(it);
        if (c->state != MODEL_DECODE)
            continue;
        if (m->each || model_made(m, c) == c->output)
            tell(m, c, (int64_t)steps, at_ns);
    }
}

/* How many steps stay as long as the present one: none but the last ends a call or a prompt's whole
 * chunks, none fills the memory. */
static uint64_t stable_steps(const struct model *m)
{
    const bool whole_chunks = m->chunk == m->spec.chunk;
    int64_t most = INT32_MAX;
    bool prefilling = false;

    if (admits(m) || (m->chunk > 0 && !whole_chunks))
        return 1;
    LIST_FOREACH(it, &m->running) {
        const struct model_call *c = call_of(it);
        int64_t left = most;
        if (c->state == MODEL_DECODE)
            left = c->output - model_made(m, c);
        else if (!prefilling) /* the others' turn comes when it has less than a chunk left */
            left = c->prefill_left / m->spec.chunk;
        prefilling = prefilling || c->state == MODEL_PREFILL;
        most = left < most ? left : most;
    }
    if (m->decoding > 0 && m->running_count > 1) {
        const int64_t room = (m->spec.kv_tokens - m->kv_used) / m->decoding;
        most = room < most ? room : most;
    }
    return most > 1 && prefilling == whole_chunks ? (uint64_t)most : 1;
}

static void run_steps(struct model *m, uint64_t steps)
{
    const uint64_t at_ns = m->end_ns + (steps - 1) * m->len_ns;
    const int64_t chunk = m->chunk;

    m->figures.busy_ns += steps * m->len_ns;
    if (m->decoding > 0)
        decode(m, steps, at_ns);
    else
        m->steps += steps;
    if (chunk > 0)
        prefill(m, chunk * (int64_t)steps, at_ns);
    plan(m, at_ns);
}

void model_advance(struct model *m, uint64_t now_ns)
{
    while (m->len_ns > 0 && m->end_ns <= now_ns) {
        const uint64_t by_time = (now_ns - m->end_ns) / m->len_ns + 1;
        const uint64_t stable = by_time > 1 ? stable_steps(m) : 1;
        run_steps(m, by_time < stable ? by_time : stable);
    }
}

uint64_t model_next(const struct model *m)
{
    if (m->len_ns == 0)
        return UINT64_MAX;
    return m->each ? m->end_ns : m->end_ns + (stable_steps(m) - 1) * m->len_ns;
}

/* ---- What the owner does ---- */

void model_add(struct model *m, struct model_call *c, uint64_t now_ns)
{
    CHECK(c->prompt > 0 && c->output > 0);
    model_advance(m, now_ns);
    c->state = MODEL_WAITING;
    list_push(&m->waiting, &c->link);
    m->waiting_count++;
    if (m->len_ns == 0)
        plan(m, now_ns);
}

void model_cancel(struct model *m, struct model_call *c, uint64_t now_ns)
{
    model_advance(m, now_ns);
    if (c->state == MODEL_OVER)
        return;
    if (c->state == MODEL_WAITING) {
        list_del(&c->link);
        m->waiting_count--;
    } else {
        m->figures.wasted += c->prompt - c->cached - c->prefill_left + model_made(m, c);
        leave(m, c);
    }
    c->state = MODEL_OVER;
    if (m->running_count == 0)
        plan(m, now_ns);
}

void model_set_speed(struct model *m, double speed)
{
    m->spec.speed = speed;
}

void model_freeze(struct model *m, uint64_t until_ns)
{
    m->frozen_ns = until_ns;
    if (m->len_ns > 0 && m->end_ns < until_ns)
        m->end_ns = until_ns;
}

/* ---- What is told ---- */

unsigned model_running(const struct model *m)
{
    return m->running_count;
}

unsigned model_waiting(const struct model *m)
{
    return m->waiting_count;
}

double model_kv(const struct model *m)
{
    const double used = (double)m->kv_used / (double)m->spec.kv_tokens;

    return used < 1 ? used : 1;
}

const struct model_spec *model_spec(const struct model *m)
{
    return &m->spec;
}

const struct model_figures *model_figures(const struct model *m)
{
    return &m->figures;
}

size_t model_peek(const struct model *m, const uint64_t *blocks, size_t count)
{
    return prefix_peek(m->prefix, blocks, count);
}

void model_calls(const struct model *m, model_call_fn *fn, void *arg)
{
    LIST_FOREACH(it, &m->running)
        fn(arg, call_of(it));
    LIST_FOREACH(it, &m->waiting)
        fn(arg, call_of(it));
}
