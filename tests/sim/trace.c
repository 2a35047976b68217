/* Azure's 2023 traces (time, prompt, output) and Mooncake's (with hashes of blocks of 512 tokens),
 * or arrivals made up of bursts. */
#include "tests/sim/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "tests/sim/rng.h"

enum { LINE_MAX = 64 * 1024, MOONCAKE_BLOCK = 512, CHAT_BLOCK = 64 };

struct reader {
    struct trace *t;
    size_t cap, block_cap;
    uint32_t accounts;
    double skew, hog;
    uint64_t seed;
};

static struct arrival *append(struct reader *r)
{
    struct trace *t = r->t;

    if (t->count == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 4096;
        t->arrivals = mem_grow(t->arrivals, r->cap * sizeof(*t->arrivals));
    }
    t->arrivals[t->count] = (struct arrival){0};
    return &t->arrivals[t->count++];
}

static void append_block(struct reader *r, uint64_t hash)
{
    struct trace *t = r->t;

    if (t->block_count == r->block_cap) {
        r->block_cap = r->block_cap ? r->block_cap * 2 : 65536;
        t->blocks = mem_grow(t->blocks, r->block_cap * sizeof(*t->blocks));
    }
    t->blocks[t->block_count++] = hash;
}

static uint32_t account_of(const struct reader *r, uint64_t conversation)
{
    struct rng rng = {r->seed ^ rng_mix(conversation + 1)};
    const double hog = r->hog > 1 ? r->hog / (r->hog + r->accounts - 1) : 0;
    const double u = rng_unit(&rng);

    if (u < hog)
        return 0;
    return (uint32_t)(pow((u - hog) / (1 - hog), r->skew) * r->accounts);
}

/* Pointers into t->blocks, which has moved while it grew: block_count was summed up in order. */
static void link_blocks(struct trace *t)
{
    size_t at = 0;

    for (size_t i = 0; i < t->count; i++) {
        t->arrivals[i].blocks = t->blocks + at;
        at += t->arrivals[i].block_count;
    }
}

/* ---- Azure ---- */

/* "2023-11-16 18:15:46.6805900,374,44" */
static int azure_line(struct reader *r, const char *line, uint64_t *begin_ns)
{
    struct tm tm = {0};
    const char *rest = strptime(line, "%Y-%m-%d %H:%M:%S", &tm);
    double part = 0;
    long long prompt, output;

    if (!rest || sscanf(rest, "%lf,%lld,%lld", &part, &prompt, &output) != 3)
        return E_INVALID;
    const uint64_t at = (uint64_t)timegm(&tm) * 1000000000u + (uint64_t)(part * 1e9);
    if (r->t->count == 0)
        *begin_ns = at;
    struct arrival *a = append(r);
    a->at_ns = at - *begin_ns;
    a->prompt = prompt > 0 ? prompt : 1;
    a->output = output > 0 ? output : 1;
    a->conversation = r->t->count;
    a->account = account_of(r, a->conversation);
    return 0;
}

static int read_azure(struct reader *r, FILE *f)
{
    char line[256];
    uint64_t begin_ns = 0;

    while (fgets(line, sizeof(line), f))
        if (line[0] >= '0' && line[0] <= '9')
            TRY(azure_line(r, line, &begin_ns));
    return r->t->count > 0 ? 0 : E_INVALID;
}

/* ---- Mooncake ---- */

static int mooncake_line(struct reader *r, struct span line)
{
    AUTO_JSON json_t *doc = NULL;
    int64_t at_ms = 0, prompt = 0, output = 0;

    TRY(json_read(line, &doc));
    const json_t *ids = json_object_get(doc, "hash_ids");
    TRY(json_obj_int(doc, "timestamp", 0, INT32_MAX, &at_ms));
    TRY(json_obj_int(doc, "input_length", 0, INT32_MAX, &prompt));
    TRY(json_obj_int(doc, "output_length", 0, INT32_MAX, &output));
    struct arrival *a = append(r);
    const size_t count = json_array_size(ids), root = count > 1 ? 1 : 0;
    /* The first block is everybody's system prompt. */
    a->conversation = (uint64_t)json_integer_value(json_array_get(ids, root));
    a->at_ns = (uint64_t)at_ms * 1000000u;
    a->prompt = prompt > 0 ? prompt : 1;
    a->output = output > 0 ? output : 1;
    a->account = account_of(r, a->conversation);
    a->block_count =
        (size_t)(a->prompt / MOONCAKE_BLOCK) < count ? (size_t)(a->prompt / MOONCAKE_BLOCK) : count;
    for (size_t i = 0; i < a->block_count; i++)
        append_block(r, rng_mix((uint64_t)json_integer_value(json_array_get(ids, i)) ^
                                rng_mix(a->account + 1)));
    return 0;
}

static int read_mooncake(struct reader *r, FILE *f)
{
    char *line = mem_alloc(LINE_MAX);
    int error = 0;

    r->t->block_tokens = MOONCAKE_BLOCK;
    while (error == 0 && fgets(line, LINE_MAX, f))
        error = mooncake_line(r, span_trim(span_cut(span_str(line), 0, strcspn(line, "\n"))));
    free(line);
    return error < 0 || r->t->count > 0 ? error : E_INVALID;
}

/* ---- Made up ---- */

struct shape {
    const char *name;
    double gap_ms, burst_gap_ms; /* mean time between arrivals, outside and inside a burst */
    double calm_ms, burst_ms;    /* mean lengths */
    double prompt, prompt_sigma, output, output_sigma; /* medians; sigmas of the logarithms */
    size_t count;
};

/* Means, medians and bursts close to those of the Azure traces. */
static const struct shape shapes[] = {
    {"conv", 260, 70, 60000, 12000, 900, 0.8, 130, 1.0, 12000},
    {"code", 700, 90, 40000, 12000, 1450, 0.9, 13, 1.0, 8000},
    {"chat", 400, 120, 60000, 12000, 350, 0.8, 110, 0.8, 8000},
};

static int64_t draw(struct rng *rng, double median, double sigma, int64_t max)
{
    const double x = rng_lognormal(rng, median, sigma);

    return x < 1 ? 1 : x > (double)max ? max : (int64_t)x;
}

/* Calm and bursts by turns, each as long as chance says. */
struct pace {
    struct rng *rng;
    const struct shape *shape;
    double at_ms, until_ms;
    bool burst;
};

static uint64_t pace_next(struct pace *p)
{
    p->at_ms += rng_exponential(p->rng, p->burst ? p->shape->burst_gap_ms : p->shape->gap_ms);
    if (p->at_ms >= p->until_ms) {
        p->burst = !p->burst;
        p->until_ms =
            p->at_ms + rng_exponential(p->rng, p->burst ? p->shape->burst_ms : p->shape->calm_ms);
    }
    return (uint64_t)(p->at_ms * 1e6);
}

/* A conversation that goes on: its next prompt is all that was said, and something new. */
struct talk {
    uint64_t id;
    int64_t said; /* tokens */
    unsigned turns;
};

enum { TALKS = 64, TURNS_MAX = 12 };

static void take_turn(struct reader *r, struct arrival *a, struct talk *talk, struct rng *rng)
{
    if (talk->turns == 0)
        *talk = (struct talk){
            .id = rng_next(rng), .said = 600, .turns = 1 + (unsigned)rng_below(rng, TURNS_MAX)};
    talk->turns--;
    a->conversation = talk->id;
    a->account = account_of(r, talk->id);
    a->prompt += talk->said;
    a->block_count = (size_t)(a->prompt / CHAT_BLOCK);
    for (size_t i = 0; i < a->block_count; i++)
        append_block(r, rng_mix(talk->id + i + 1));
    talk->said = a->prompt + a->output;
}

static void generate(struct reader *r, const struct shape *shape)
{
    struct rng rng = {r->seed};
    struct pace pace = {.rng = &rng, .shape = shape, .until_ms = shape->calm_ms};
    const bool chat = strcmp(shape->name, "chat") == 0;
    struct talk talks[TALKS] = {0};

    r->t->generated = true;
    r->t->block_tokens = chat ? CHAT_BLOCK : 0;
    while (r->t->count < shape->count) {
        struct arrival *a = append(r);
        a->at_ns = pace_next(&pace);
        a->prompt = draw(&rng, shape->prompt, shape->prompt_sigma, 14000);
        a->output = draw(&rng, shape->output, shape->output_sigma, 1900);
        a->conversation = r->t->count;
        a->account = account_of(r, a->conversation);
        if (chat)
            take_turn(r, a, &talks[rng_below(&rng, TALKS)], &rng);
    }
}

/* ---- All of them ---- */

static int read_file(struct reader *r, const char *name)
{
    FILE *f = fopen(name, "re");

    if (!f)
        return E_NOT_FOUND;
    const int error =
        span_ends(span_str(name), SPAN(".csv")) ? read_azure(r, f) : read_mooncake(r, f);
    fclose(f);
    return error;
}

int trace_read(struct trace *t, const char *name, const struct trace_options *o)
{
    struct reader r = {
        .t = t, .accounts = o->accounts, .skew = o->skew, .hog = o->hog, .seed = o->seed};
    const char *base = strrchr(name, '/');

    *t = (struct trace){0};
    snprintf(t->name, sizeof(t->name), "%s", base ? base + 1 : name);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        if (strcmp(name, shapes[i].name) == 0)
            generate(&r, &shapes[i]);
    const int error = t->generated ? 0 : read_file(&r, name);
    if (error < 0)
        trace_fini(t);
    else
        link_blocks(t);
    return error;
}

void trace_fini(struct trace *t)
{
    free(t->arrivals);
    free(t->blocks);
    *t = (struct trace){0};
}

/* The n-th time over it is somebody else's conversation. Its prefixes are, too, but for the copies'
 * sake the blocks stay: a worker's cache may then hit where a real one would not, for every policy
 * alike. */
void trace_resize(struct trace *t, size_t count)
{
    const size_t once = t->count;
    const uint64_t period = t->arrivals[once - 1].at_ns + t->arrivals[once - 1].at_ns / once;

    t->arrivals = mem_grow(t->arrivals, count * sizeof(*t->arrivals));
    for (size_t i = once; i < count; i++) {
        t->arrivals[i] = t->arrivals[i % once];
        t->arrivals[i].at_ns += period * (i / once);
        t->arrivals[i].conversation ^= rng_mix(i / once);
    }
    t->count = count;
}

void trace_hurry(struct trace *t, double factor)
{
    for (size_t i = 0; i < t->count; i++)
        t->arrivals[i].at_ns = (uint64_t)((double)t->arrivals[i].at_ns / factor);
}

double trace_s(const struct trace *t)
{
    return (double)(t->arrivals[t->count - 1].at_ns - t->arrivals[0].at_ns) / 1e9;
}
