/* cocoonctl canaries: prompts with known answers, sent to every worker as users' requests are, and
 * what comes of them in the workers' standing (pool.md §5). */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/process.h"
#include "tools/canary_record.h"
#include "tools/canary_round.h"
#include "tools/output.h"

enum { EXIT_WRONG = 3, EVERY_S = 1800, EVERY_MAX_S = 30 * 86400 };

/* ---- What both commands begin with ---- */

struct canaries {
    struct redis_flags redis;
    struct config_snapshot *snapshot;
    const struct canaries_config *file; /* of the snapshot */
    struct canary_client *client;
    bool stopped; /* in a round, by a signal */
};

static void canaries_fini(struct canaries *c)
{
    canary_client_close(c->client);
    if (c->snapshot)
        config_unref(c->snapshot);
    c->client = NULL;
    c->snapshot = NULL;
}

static void canaries_end(struct canaries *c)
{
    canaries_fini(c);
    redis_flags_fini(&c->redis);
}
AUTO_FINI(struct canaries, canaries_end)

static int finish_flags(const struct command *c, struct redis_flags *flags, const char *file)
{
    AUTO(buf_fini) struct buf why = {0};

    if (!file)
        return usage_error(c, "--file is missing");
    (void)process_guard(); /* prompts, answers and an API key */
    return redis_flags_finish(flags, &why) < 0 ? failure(c, "%s", buf_cstr(&why)) : -1;
}

/* Reads file and policy anew. -1, or EXIT_FAILED after the reason was said. */
static int load(const struct command *c, struct canaries *at, const char *file)
{
    AUTO(buf_fini) struct buf text = {0};
    char why[CANARY_WHY_LEN] = "";

    if (canary_file_load(&at->snapshot, file, &text) < 0)
        return failure(c, "the file of canaries is wrong:\n%s", buf_cstr(&text));
    at->file = at->snapshot->values;
    if (canary_client_open(&at->client, at->file, why) < 0)
        return failure(c, "%s", why);
    return -1;
}

/* ---- What a round prints ---- */

static const char *result_of(const struct canary_row *r)
{
    return r->judged ? canary_finding_name(r->finding) : r->mistaken ? "error" : "no answer";
}

static void print_table(const struct canary_round *r)
{
    static const char *const columns[] = {"worker", "iid",    "model", "canary",
                                          "result", "tokens", "mark",  "why"};
    struct table t = {0};

    table_row(&t, COUNT(columns), columns);
    for (size_t i = 0; i < r->count; i++) {
        const struct canary_row *row = &r->rows[i];
        char number[24], tokens[48] = "-";
        snprintf(number, sizeof(number), "%zu", row->number);
        if (row->judged)
            snprintf(tokens, sizeof(tokens), "%" PRId64 "+%" PRId64, row->used.in, row->used.out);
        const char *cells[COUNT(columns)] = {row->label,
                                             row->iid,
                                             row->model,
                                             row->canary ? number : "-",
                                             result_of(row),
                                             tokens,
                                             canary_mark_name(row->mark),
                                             row->why};
        table_row(&t, COUNT(columns), cells);
    }
    table_print(&t);
    table_free(&t);
}

static json_t *row_json(const struct canary_row *r)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s}", "worker", r->label, "iid", r->iid, "model",
                          r->model, "result", result_of(r), "mark", canary_mark_name(r->mark));

    if (r->canary)
        json_object_set_new(o, "canary", json_integer((json_int_t)r->number));
    if (r->judged) {
        json_object_set_new(o, "wid", json_string(r->wid));
        json_object_set_new(o, "prompt_tokens", json_integer(r->used.in));
        json_object_set_new(o, "completion_tokens", json_integer(r->used.out));
    } else {
        json_object_set_new(o, "why", json_string(r->why));
    }
    return o;
}

static void print_json(const struct canary_round *r, bool one_line)
{
    AUTO_JSON json_t *rows = json_array();

    for (size_t i = 0; i < r->count; i++)
        json_array_append_new(rows, row_json(&r->rows[i]));
    if (!one_line) {
        json_print(rows);
        return;
    }
    json_dumpf(rows, stdout, JSON_COMPACT);
    putchar('\n');
}

static int exit_of(const struct canary_round *r)
{
    bool failed = r->problems.len > 0, wrong = false, judged = false;

    for (size_t i = 0; i < r->count; i++) {
        const struct canary_row *row = &r->rows[i];
        failed = failed || row->mistaken || row->mark == MARK_UNPROVEN || row->mark == MARK_DOUBTED;
        wrong = wrong || row->mark == MARK_BAD;
        judged = judged || row->judged;
    }
    if (failed || !judged)
        return EXIT_FAILED;
    return wrong ? EXIT_WRONG : EXIT_DONE;
}

/* ---- run ---- */

struct running {
    const char *file;
    bool json, once;
    uint64_t every_s;
};

static void complain(const struct command *c, struct canary_round *r)
{
    struct span rest = buf_span(&r->problems);

    while (rest.len > 0) {
        const struct span line = span_split(&rest, '\n');
        (void)failure(c, "%.*s", SPAN_FMT(line));
    }
    for (size_t i = 0; i < r->count; i++)
        if (r->rows[i].mark == MARK_UNPROVEN || r->rows[i].mark == MARK_DOUBTED) {
            (void)failure(c,
                          "wrong answers that are in doubt marked nobody: has the model changed, "
                          "or is the file wrong? (cocoonctl canaries record)");
            return;
        }
}

/* Of what was loaded. */
static int one_round(const struct command *c, struct canaries *at, const struct running *o)
{
    AUTO(canary_round_fini)
    struct canary_round r = {.redis = &at->redis.at,
                             .file = at->file,
                             .client = at->client,
                             .spread_s = o->once ? 0 : o->every_s};

    canary_round_run(&r);
    at->stopped = r.stopped;
    if (o->json)
        print_json(&r, !o->once);
    else
        print_table(&r);
    complain(c, &r);
    return exit_of(&r);
}

/* Until a signal ends it. A file that is wrong at first does so too; what is wrong later is said,
 * and may be right the next time. */
static int rounds(const struct command *c, struct canaries *at, const struct running *o)
{
    const uint64_t every = o->every_s * 1000;
    uint64_t took = 0;

    canary_wait_prepare();
    for (bool first = true; first || !canary_wait(took < every ? every - took : 0); first = false) {
        const uint64_t begun = clock_mono_ms();
        const int code = load(c, at, o->file);
        if (code >= 0 && first)
            return code;
        if (code < 0)
            (void)one_round(c, at, o);
        canaries_fini(at);
        if (at->stopped || fflush(stdout) != 0)
            break; /* or nobody reads any more */
        took = clock_mono_ms() - begun;
    }
    return EXIT_DONE;
}

static int canaries_run(const struct command *c, int argc, char **argv)
{
    AUTO(canaries_end) struct canaries at = {.redis = redis_flags_default()};
    struct running o = {.every_s = EVERY_S};
    const struct option options[] = {
        {"file", OPTION_TEXT, &o.file, "canaries, and whom to ask through (YAML)"},
        {"every", OPTION_DURATION, &o.every_s,
         "each worker is asked about once in this time (30m)"},
        {"once", OPTION_FLAG, &o.once, "ask each worker now, and leave"},
        {"json", OPTION_FLAG, &o.json, "print JSON; without --once a line a round"},
        REDIS_FLAGS(at.redis)};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);

    if (code < 0)
        code = finish_flags(c, &at.redis, o.file);
    if (code >= 0)
        return code;
    if (o.every_s < 1 || o.every_s > EVERY_MAX_S)
        return usage_error(c, "--every must be from 1s to 30d");
    if (!o.once)
        return rounds(c, &at, &o);
    code = load(c, &at, o.file);
    return code < 0 ? one_round(c, &at, &o) : code;
}

/* ---- record ---- */

static int canaries_record(const struct command *c, int argc, char **argv)
{
    AUTO(canaries_end) struct canaries at = {.redis = redis_flags_default()};
    const char *file = NULL, *worker = NULL;
    const struct option options[] = {
        {"file", OPTION_TEXT, &file, "canaries, and whom to ask through (YAML)"},
        {"worker", OPTION_TEXT, &worker,
         "one that you trust: its iid, the beginning of it, or its label"},
        REDIS_FLAGS(at.redis)};
    struct operands operands;
    int code = options_parse(c, options, COUNT(options), argc, argv, 0, 0, &operands);

    if (code < 0 && !worker)
        code = usage_error(c, "--worker is missing");
    if (code < 0)
        code = finish_flags(c, &at.redis, file);
    if (code < 0)
        code = load(c, &at, file);
    if (code >= 0)
        return code;
    const struct canary_recording r = {c, at.file, &at.redis.at, at.client};
    return canary_record(&r, worker) ? EXIT_DONE : EXIT_FAILED;
}

const struct command canary_commands[] = {
    {"canaries", "run", "", "Ask every worker what its model must know; wrong answers lower it.",
     canaries_run},
    {"canaries", "record", "", "Print the file's canaries with a trusted worker's answers.",
     canaries_record},
    {NULL, NULL, NULL, NULL, NULL},
};
