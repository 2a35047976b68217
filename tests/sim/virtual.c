/* The pool in virtual time: one trace through several policies, a line of JSON for each. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "tests/sim/baselines.h"
#include "tests/sim/chooser_policy.h"
#include "tests/sim/seed.h"

enum { SPEEDS_MAX = 64, SHARES_MAX = 64 };

struct options {
    const char *trace, *policies;
    double load, speeds[SPEEDS_MAX];
    uint64_t count;
    struct trace_options asks;
    struct model_spec spec;
    struct vpool_options pool;
};

static const struct vpolicy *const policies[] = {
    &policy_oracle, &policy_oracle_first, &policy_perfect_affinity, &policy_round_robin,
    &policy_random, &policy_chooser,      &policy_chooser_blind,
};

/* ---- The report ---- */

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Jain's index of what accounts got beside what they asked for: 1 is fair. */
static double jain(const struct vpool *p)
{
    double *asked = mem_zero(p->accounts * sizeof(*asked)), sum = 0, squares = 0;
    uint32_t n = 0;

    for (size_t i = p->trace->count / 10; i < p->trace->count; i++)
        asked[p->trace->arrivals[i].account] += (double)p->trace->arrivals[i].output;
    for (uint32_t i = 0; i < p->accounts; i++) {
        if (asked[i] <= 0)
            continue;
        const double got = p->figures.account_tokens[i] / asked[i];
        n++;
        sum += got;
        squares += got * got;
    }
    free(asked);
    return squares > 0 ? sum * sum / (n * squares) : 0;
}

/* Of each worker: tokens made beside what its speed would have made of all. */
static void put_shares(const struct vpool *p, struct buf *out)
{
    double speed = 0, tokens = 0;

    for (uint32_t i = 0; i < p->count; i++) {
        speed += p->workers[i].speed;
        tokens += (double)p->workers[i].tokens;
    }
    for (uint32_t i = 0; i < p->count && i < SHARES_MAX; i++)
        buf_printf(out, "%s%.3f", i ? "," : "",
                   (double)p->workers[i].tokens / tokens / (p->workers[i].speed / speed));
}

static double p99_ms(struct samples *s)
{
    if (s->count == 0)
        return 0;
    qsort(s->ns, s->count, sizeof(*s->ns), compare);
    return (double)s->ns[(s->count - 1) * 99 / 100] / 1e6;
}

/* The first account's p99, and that of all others together. */
static void put_accounts(struct vpool *p, struct buf *out)
{
    AUTO(samples_fini) struct samples others = {0};

    for (uint32_t i = 1; i < p->accounts; i++)
        for (size_t k = 0; k < p->figures.account_first[i].count; k++)
            samples_add(&others, p->figures.account_first[i].ns[k]);
    buf_printf(out, "\"first_account_p99_ms\":%.1f,\"others_p99_ms\":%.1f,",
               p99_ms(&p->figures.account_first[0]), p99_ms(&others));
}

static void report(struct vpool *p)
{
    AUTO(buf_fini) struct buf out = {0};
    struct vfigures *f = &p->figures;
    int64_t wasted = 0;

    for (uint32_t i = 0; i < p->count; i++)
        wasted += model_figures(p->workers[i].model)->wasted;
    buf_printf(&out,
               "{\"policy\":\"%s\",\"trace\":\"%s\",\"generated\":%s,\"workers\":%u,\"served\":%lu,"
               "\"refused\":%lu,\"rate\":%.3f,\"virtual_s\":%.1f,\"tokens_per_s\":%.1f,\"wasted_"
               "tokens\":%ld,",
               p->policy->name, p->trace->name, p->trace->generated ? "true" : "false", p->count,
               f->served, f->refused, (double)p->trace->count / trace_s(p->trace), f->s,
               (double)f->tokens / f->s, wasted);
    buf_printf(
        &out, "\"jain\":%.4f,\"turns\":%lu,\"moves\":%lu,\"hit_ratio\":%.4f,\"choice_us\":%.3f,",
        jain(p), f->turns, f->moves, f->prompt > 0 ? (double)f->cached / (double)f->prompt : 0,
        (double)f->choice_ns / 1e3 / (double)f->choices);
    put_accounts(p, &out);
    buf_append(&out, SPAN("\"share\":["));
    put_shares(p, &out);
    buf_append(&out, SPAN("],\"first_us\":"));
    samples_json(&f->first, &out);
    buf_append(&out, SPAN(",\"over_us\":"));
    samples_json(&f->over, &out);
    buf_append(&out, SPAN("}\n"));
    fwrite(out.data, 1, out.len, stdout);
    fflush(stdout);
}

/* ---- The program ---- */

static const char usage_text[] =
    "usage: virtual [options]\n"
    "  --trace NAME     a file azure_*.csv or mooncake_*.jsonl, or conv, code, chat (conv)\n"
    "  --policy LIST    of oracle, perfect affinity, round robin, random (all)\n"
    "  --workers N      engines (4)\n"
    "  --speeds LIST    theirs, by turns (1,2,4,8)\n"
    "  --load X         of the pool's capacity (0.8)\n"
    "  --count N        requests; 0: those of the trace once (0)\n"
    "  --accounts N     that ask (100)\n"
    "  --skew X         2: the first accounts ask more often (1)\n"
    "  --hog X          the first account asks for so many times its share (1)\n"
    "  --affinity-percent N  what a warm cache is worth (as shipped)\n"
    "  --max N          requests of an engine at a time (its batch)\n"
    "  --batch N        calls that an engine runs at a time (24)\n"
    "  --kv N           tokens in an engine's memory (120000)\n"
    "  --queue-ms N     longest wait (20000)\n"
    "  --seed N         of accounts, made up traces and choices (1)\n";

static int usage(void)
{
    fputs(usage_text, stderr);
    return 2;
}

static const struct option long_options[] = {{"trace", required_argument, NULL, 't'},
                                             {"policy", required_argument, NULL, 'p'},
                                             {"workers", required_argument, NULL, 'w'},
                                             {"speeds", required_argument, NULL, 's'},
                                             {"load", required_argument, NULL, 'l'},
                                             {"count", required_argument, NULL, 'c'},
                                             {"accounts", required_argument, NULL, 'a'},
                                             {"max", required_argument, NULL, 'm'},
                                             {"batch", required_argument, NULL, 'b'},
                                             {"kv", required_argument, NULL, 'k'},
                                             {"queue-ms", required_argument, NULL, 'q'},
                                             {"seed", required_argument, NULL, 'r'},
                                             {"skew", required_argument, NULL, 'x'},
                                             {"hog", required_argument, NULL, 'h'},
                                             {"affinity-percent", required_argument, NULL, 'd'},
                                             {0}};

static bool read_speeds(struct options *o, const char *text)
{
    char *end;

    o->pool.speed_count = 0;
    do {
        if (o->pool.speed_count == SPEEDS_MAX)
            return false;
        const double speed = strtod(text, &end);
        o->speeds[o->pool.speed_count++] = speed;
        if (speed <= 0 || (*end != ',' && *end != 0))
            return false;
        text = end + 1;
    } while (*end == ',');
    return true;
}

static bool read_option(struct options *o, int name)
{
    uint64_t n = 0;

    switch (name) {
    case 't':
        o->trace = optarg;
        return true;
    case 'p':
        o->policies = optarg;
        return true;
    case 's':
        return read_speeds(o, optarg);
    case 'h':
        o->asks.hog = strtod(optarg, NULL);
        return o->asks.hog > 0;
    case 'x':
        o->asks.skew = strtod(optarg, NULL);
        return o->asks.skew > 0;
    case 'l':
        o->load = strtod(optarg, NULL);
        return o->load > 0;
    default:
        break;
    }
    if (name == '?' || span_u64(span_str(optarg), UINT32_MAX, &n) < 0)
        return false;
    switch (name) {
    case 'w':
        o->pool.workers = (uint32_t)n;
        return n > 0;
    case 'c':
        o->count = n;
        return true;
    case 'a':
        o->pool.accounts = o->asks.accounts = (uint32_t)n;
        return n > 0;
    case 'm':
        o->pool.max = (unsigned)n;
        return n > 0;
    case 'b':
        o->spec.max_batch = (unsigned)n;
        return n > 0;
    case 'k':
        o->spec.kv_tokens = (int64_t)n;
        return n > 0;
    case 'd':
        chooser_policy_affinity((unsigned)n);
        return true;
    case 'q':
        o->pool.queue_s = (double)n / 1000;
        return true;
    default:
        o->asks.seed = n;
        return true;
    }
}

static bool wanted(const struct options *o, const struct vpolicy *p)
{
    struct span rest = span_str(o->policies);

    if (!o->policies)
        return true;
    while (rest.len > 0)
        if (span_is(span_trim(span_split(&rest, ',')), p->name))
            return true;
    return false;
}

/* So that the work of all arrivals is that share of what the pool can do. */
static void set_load(const struct options *o, struct trace *t)
{
    double speed = 0;

    for (uint32_t i = 0; i < o->pool.workers; i++)
        speed += o->speeds[i % o->pool.speed_count];
    const double capacity = vpool_capacity(&o->spec, t) * speed;
    trace_hurry(t, o->load * capacity / ((double)t->count / trace_s(t)));
}

static int run(struct options *o)
{
    AUTO(trace_fini) struct trace t = {0};

    TRY(trace_read(&t, o->trace, &o->asks));
    if (o->count > 0)
        trace_resize(&t, o->count);
    if (t.block_tokens > 0)
        o->spec.block_tokens = t.block_tokens;
    set_load(o, &t);
    o->pool.spec = &o->spec;
    o->pool.speeds = o->speeds;
    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
        struct vpool p;
        if (!wanted(o, policies[i]))
            continue;
        random_seed(o->asks.seed);
        vpool_run(&p, &o->pool, &t, policies[i]);
        report(&p);
        vpool_fini(&p);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {.trace = "conv",
                        .load = 0.8,
                        .speeds = {1, 2, 4, 8},
                        .asks = {.accounts = 100, .skew = 1, .seed = 1},
                        .spec = model_default,
                        .pool = {.workers = 4, .speed_count = 4, .accounts = 100, .queue_s = 20}};
    int name;

    while ((name = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        if (!read_option(&o, name))
            return usage();
    if (optind != argc)
        return usage();
    const int error = run(&o);
    if (error < 0)
        fprintf(stderr, "virtual: %s: %s\n", o.trace, error_name(error));
    return error < 0;
}
