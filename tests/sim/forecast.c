/* Runs an engine's calls in a copy that holds numbers only. Within a phase the batch stays as it
 * is; a call that ends in the middle of a prompt's chunks is taken to end with them. */
#include "tests/sim/forecast.h"

#include "base/error.h"

enum { CALLS_MAX = 4096 };

struct item {
    int64_t prefill, output, kv;
    bool decoding, ours;
};

struct copy {
    const struct model_spec *spec;
    struct item items[CALLS_MAX]; /* the first `running` of them run */
    size_t count, running;
    int64_t kv;
    double s;
    struct forecast found;
    const struct model *model;
};

static void copy_call(void *arg, const struct model_call *c)
{
    struct copy *k = arg;
    const int64_t made = model_made(k->model, c);

    if (k->count == CALLS_MAX)
        return;
    k->items[k->count++] = (struct item){
        .prefill = c->state == MODEL_WAITING ? c->prompt + made : c->prefill_left,
        .output = c->output - made,
        .kv = c->prompt + made,
        .decoding = c->state == MODEL_DECODE,
    };
    if (c->state != MODEL_WAITING) {
        k->running++;
        k->kv += c->prompt + made;
    }
}

static void admit(struct copy *k)
{
    while (k->running < k->count && k->running < k->spec->max_batch) {
        const struct item *next = &k->items[k->running];
        if (k->running > 0 && k->kv + next->kv + 1 > k->spec->kv_tokens)
            return;
        k->kv += next->kv;
        k->running++;
    }
}

static void drop(struct copy *k, size_t at)
{
    k->kv -= k->items[at].kv;
    k->running--;
    k->count--;
    for (size_t i = at; i < k->count; i++)
        k->items[i] = k->items[i + 1];
}

/* The first that is not yet decoding; `running` when all are. */
static size_t first_prompt(const struct copy *k)
{
    size_t i = 0;

    while (i < k->running && k->items[i].decoding)
        i++;
    return i;
}

/* Steps of this phase, and the prompt tokens that each takes in. */
static int64_t phase_steps(const struct copy *k, size_t prompt, double *chunk)
{
    const int64_t size = k->spec->chunk;
    int64_t steps = INT32_MAX;

    *chunk = 0;
    if (prompt < k->running) {
        const int64_t left = k->items[prompt].prefill;
        steps = left > 0 ? (left + size - 1) / size : 1;
        *chunk = (double)left / (double)steps;
        return steps;
    }
    for (size_t i = 0; i < k->running; i++)
        steps = k->items[i].output < steps ? k->items[i].output : steps;
    return steps > 0 ? steps : 1;
}

static void run_phase(struct copy *k)
{
    const size_t prompt = first_prompt(k);
    size_t decoding = 0;
    double chunk;
    const int64_t steps = phase_steps(k, prompt, &chunk);

    for (size_t i = 0; i < k->running; i++)
        decoding += k->items[i].decoding;
    k->s += (double)steps *
            ((k->spec->step_us + k->spec->step_each_us * (double)decoding) / 1e6 +
             chunk / k->spec->prefill_per_s) /
            k->spec->speed;
    for (size_t i = k->running; i > 0; i--) {
        struct item *it = &k->items[i - 1];
        if (!it->decoding && i - 1 != prompt)
            continue;
        const int64_t made = it->decoding ? steps : 1;
        if (i - 1 == prompt && it->ours)
            k->found.first_s = k->s;
        it->decoding = true;
        it->output -= made;
        it->kv += made;
        k->kv += made;
        if (it->output > 0)
            continue;
        if (it->ours)
            k->found.over_s = k->s;
        drop(k, i - 1);
    }
}

struct forecast forecast_call(const struct model *m, const struct model_call *c)
{
    static struct copy k; /* large, and its items need no zeroing */
    const struct model_spec *spec = model_spec(m);
    const int64_t hit = (int64_t)model_peek(m, c->blocks, c->block_count) * spec->block_tokens;

    k.spec = spec;
    k.model = m;
    k.count = k.running = 0;
    k.kv = 0;
    k.s = 0;
    k.found = (struct forecast){0};
    model_calls(m, copy_call, &k);
    if (k.count == CALLS_MAX)
        return (struct forecast){1e9, 1e9};
    k.items[k.count++] = (struct item){.prefill = hit < c->prompt ? c->prompt - hit : 1,
                                       .output = c->output,
                                       .kv = c->prompt,
                                       .ours = true};
    while (k.found.over_s <= 0) {
        admit(&k);
        run_phase(&k);
    }
    return k.found;
}
