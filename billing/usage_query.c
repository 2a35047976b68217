/* Money stays an integer to the last: a cost's decimal is written from its nano. */
#include "billing/usage_query.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/encode.h"
#include "base/map.h"
#include "billing/nano.h"

enum { WORD_MAX = 256, HOURS_MAX = 168, COST_DAYS_MAX = 180, USAGE_PAGE_DAYS_MAX = 31 };
#define TIME_MAX INT64_C(253402300799)

/* ---- Reading ---- */

static int decode(struct arena *a, struct span in, struct span *out)
{
    uint8_t *text = arena_alloc(a, WORD_MAX + 1);
    size_t len;

    TRY(form_decode(text, WORD_MAX, &len, in));
    text[len] = 0;
    *out = span_of(text, len);
    return 0;
}

static int read_number(struct span value, int64_t min, int64_t max, int64_t *out)
{
    uint64_t n;

    TRY(span_u64(value, (uint64_t)max, &n));
    *out = (int64_t)n;
    return *out >= min ? 0 : E_INVALID;
}

static int read_ids(struct span value, struct usage_ids *ids)
{
    while (value.len > 0) {
        if (ids->count == USAGE_IDS_MAX)
            return E_INVALID;
        ids->items[ids->count++] = span_split(&value, ',');
    }
    return 0;
}

static int read_groups(struct span value, bool costs, unsigned *groups)
{
    while (value.len > 0) {
        const struct span word = span_split(&value, ',');
        if (span_is(word, "project_id"))
            *groups |= USAGE_GROUP_PROJECT;
        else if (span_is(word, "api_key_id"))
            *groups |= USAGE_GROUP_KEY;
        else if (span_is(word, "model") || (costs && span_is(word, "line_item")))
            *groups |= USAGE_GROUP_MODEL;
        else
            return E_INVALID;
    }
    return 0;
}

static int read_width(struct span value, bool costs, int64_t *width)
{
    if (!span_is(value, "1d") && (costs || !span_is(value, "1h")))
        return E_INVALID;
    *width = span_is(value, "1d") ? USAGE_DAY_S : USAGE_HOUR_S;
    return 0;
}

static int read_page(struct span value, int64_t *start)
{
    if (!span_starts(value, SPAN("page_")))
        return E_INVALID;
    return read_number(span_from(value, 5), 0, TIME_MAX, start);
}

struct reading {
    struct usage_query *q;
    int64_t page;
};

static int read_value(struct reading *r, struct span name, struct span value)
{
    struct usage_query *q = r->q;

    if (span_is(name, "start_time"))
        return read_number(value, 0, TIME_MAX, &q->start);
    if (span_is(name, "end_time"))
        return read_number(value, 0, TIME_MAX, &q->end);
    if (span_is(name, "bucket_width"))
        return read_width(value, q->costs, &q->width);
    if (span_is(name, "limit"))
        return read_number(value, 1, COST_DAYS_MAX, &q->limit);
    if (span_is(name, "page"))
        return read_page(value, &r->page);
    if (span_is(name, "group_by"))
        return read_groups(value, q->costs, &q->groups);
    if (span_is(name, "project_ids"))
        return read_ids(value, &q->projects);
    if (span_is(name, "api_key_ids"))
        return read_ids(value, &q->keys);
    return span_is(name, "models") ? read_ids(value, &q->models) : E_NOT_FOUND;
}

static const char *known_name(struct span name)
{
    static const char *const names[] = {"start_time",  "end_time",    "bucket_width",
                                        "limit",       "page",        "group_by",
                                        "project_ids", "api_key_ids", "models"};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (span_is(name, names[i]))
            return names[i];
    return "query";
}

static int read_all(struct reading *r, struct arena *a, struct span query, const char **param)
{
    while (query.len > 0) {
        struct span raw = span_split(&query, '&'), name, value;
        *param = "query";
        TRY(decode(a, span_split(&raw, '='), &name));
        if (span_ends(name, SPAN("[]")))
            name.len -= 2;
        *param = known_name(name);
        TRY(decode(a, raw, &value));
        TRY(read_value(r, name, value));
    }
    return 0;
}

static int64_t default_limit(const struct usage_query *q)
{
    return q->width == USAGE_HOUR_S ? 24 : 7;
}

static int64_t most_limit(const struct usage_query *q)
{
    if (q->costs)
        return COST_DAYS_MAX;
    return q->width == USAGE_HOUR_S ? HOURS_MAX : USAGE_PAGE_DAYS_MAX;
}

int usage_query_read(struct usage_query *q, struct arena *a, struct span query, bool costs,
                     int64_t now, const char **param)
{
    struct reading r = {.q = q, .page = -1};

    *q = (struct usage_query){.costs = costs, .start = -1, .end = -1, .width = USAGE_DAY_S};
    if (read_all(&r, a, query, param) < 0)
        return E_INVALID;
    *param = "start_time";
    if (q->start < 0 || (q->end < 0 && q->start > now))
        return E_INVALID;
    if (q->end < 0)
        q->end = now + 1; /* this second is among them */
    *param = "end_time";
    if (q->end <= q->start)
        return E_INVALID;
    *param = "limit";
    if (q->limit > most_limit(q))
        return E_INVALID;
    if (q->limit == 0)
        q->limit = default_limit(q);
    *param = "page";
    if (r.page >= 0 && (r.page < q->start - q->width || r.page >= q->end || r.page % q->width))
        return E_INVALID;
    q->start = r.page >= 0 ? r.page : q->start - q->start % q->width;
    q->end += (q->width - q->end % q->width) % q->width;
    return 0;
}

static bool wanted(const struct usage_ids *ids, struct span id)
{
    for (size_t i = 0; i < ids->count; i++)
        if (span_eq(ids->items[i], id))
            return true;
    return ids->count == 0;
}

void usage_query_confine(struct usage_query *q, struct span project)
{
    q->nothing = !wanted(&q->projects, project);
    q->projects.items[0] = project;
    q->projects.count = 1;
}

/* ---- Summing ---- */

enum { REQUESTS, IN, CACHED, OUT, REASONING, NANO, SUMS };

struct cell {
    int64_t bucket;
    struct span project, key, model; /* empty: not grouped by it */
    int64_t sums[SUMS];
    struct cell *next;
};

struct usage_sums {
    struct usage_query q;
    struct arena arena;
    struct map by_name;
    struct cell *first, **last;
};

struct usage_sums *usage_sums_new(const struct usage_query *q)
{
    struct usage_sums *s = mem_zero(sizeof(*s));

    s->q = *q;
    s->last = &s->first;
    return s;
}

void usage_sums_free(struct usage_sums *s)
{
    if (!s)
        return;
    map_fini(&s->by_name);
    arena_fini(&s->arena);
    free(s);
}

static int64_t page_end(const struct usage_query *q)
{
    const int64_t most = q->start + q->limit * q->width;

    return q->end < most ? q->end : most;
}

static struct cell *find_cell(struct usage_sums *s, int64_t bucket, struct span project,
                              struct span key, struct span model)
{
    AUTO(buf_fini) struct buf name = {0};

    buf_printf(&name, "%" PRId64 "|%.*s|%.*s|%.*s", bucket, SPAN_FMT(project), SPAN_FMT(key),
               SPAN_FMT(model));
    struct cell *c = map_get(&s->by_name, buf_span(&name));
    if (c)
        return c;
    c = arena_zero(&s->arena, sizeof(*c));
    c->bucket = bucket;
    c->project = arena_copy(&s->arena, project);
    c->key = arena_copy(&s->arena, key);
    c->model = arena_copy(&s->arena, model);
    *s->last = c;
    s->last = &c->next;
    map_put(&s->by_name, buf_span(&name), c);
    return c;
}

static int read_sums(struct span value, int64_t sums[static SUMS])
{
    for (size_t i = 0; i < SUMS; i++)
        TRY(nano_parse(span_split(&value, ','), &sums[i]));
    return value.len == 0 ? 0 : E_INVALID;
}

void usage_sums_add(struct usage_sums *s, int64_t day, struct span field, struct span value)
{
    const struct usage_query *q = &s->q;
    int64_t sums[SUMS];
    uint64_t hour;

    if (span_u64(span_split(&field, '|'), 23, &hour) < 0 || read_sums(value, sums) < 0)
        return;
    const int64_t at = day * USAGE_DAY_S + (int64_t)hour * USAGE_HOUR_S;
    const struct span project = span_split(&field, '|'), key = span_split(&field, '|');
    if (q->nothing || at < q->start || at >= page_end(q) || !wanted(&q->projects, project) ||
        !wanted(&q->keys, key) || !wanted(&q->models, field))
        return;
    struct cell *c =
        find_cell(s, at - at % q->width, q->groups & USAGE_GROUP_PROJECT ? project : SPAN(""),
                  q->groups & USAGE_GROUP_KEY ? key : SPAN(""),
                  q->groups & USAGE_GROUP_MODEL ? field : SPAN(""));
    for (size_t i = 0; i < SUMS; i++)
        if (__builtin_add_overflow(c->sums[i], sums[i], &c->sums[i]))
            c->sums[i] = INT64_MAX;
}

/* ---- Writing ---- */

static void put_id(struct buf *out, const char *name, struct span id)
{
    buf_printf(out, ",\"%s\":", name);
    if (id.len == 0) {
        buf_append_str(out, "null");
        return;
    }
    buf_byte(out, '"');
    buf_json_escape(out, span_utf8(id) ? id : SPAN("?"));
    buf_byte(out, '"');
}

static void put_usage(struct buf *out, const struct cell *c)
{
    buf_printf(
        out,
        "{\"object\":\"organization.usage.completions.result\",\"input_tokens\":%" PRId64
        ",\"output_tokens\":%" PRId64 ",\"input_cached_tokens\":%" PRId64
        ",\"input_audio_tokens\":0,\"output_audio_tokens\":0,\"output_reasoning_tokens\":%" PRId64
        ",\"num_model_requests\":%" PRId64,
        c->sums[IN], c->sums[OUT], c->sums[CACHED], c->sums[REASONING], c->sums[REQUESTS]);
    put_id(out, "project_id", c->project);
    put_id(out, "user_id", SPAN(""));
    put_id(out, "api_key_id", c->key);
    put_id(out, "model", c->model);
    put_id(out, "batch", SPAN(""));
    buf_byte(out, '}');
}

static void put_cost(struct buf *out, const struct cell *c)
{
    char coins[NANO_COIN_LEN], nano[NANO_LEN];

    buf_printf(out,
               "{\"object\":\"organization.costs.result\",\"amount\":{\"value\":%s,\"currency\":"
               "\"ton\",\"nano\":\"%s\"}",
               nano_coins(coins, c->sums[NANO]), nano_text(nano, c->sums[NANO]));
    put_id(out, "line_item", c->model);
    put_id(out, "project_id", c->project);
    put_id(out, "api_key_id", c->key);
    buf_byte(out, '}');
}

static void put_bucket(const struct usage_sums *s, struct buf *out, int64_t bucket)
{
    const char *separator = "";

    buf_printf(out,
               "{\"object\":\"bucket\",\"start_time\":%" PRId64 ",\"end_time\":%" PRId64
               ",\"results\":[",
               bucket, bucket + s->q.width);
    for (const struct cell *c = s->first; c; c = c->next) {
        if (c->bucket != bucket)
            continue;
        buf_append_str(out, separator);
        separator = ",";
        if (s->q.costs)
            put_cost(out, c);
        else
            put_usage(out, c);
    }
    buf_append_str(out, "]}");
}

void usage_sums_write(const struct usage_sums *s, struct buf *out)
{
    const int64_t end = page_end(&s->q);

    buf_append_str(out, "{\"object\":\"page\",\"data\":[");
    for (int64_t bucket = s->q.start; bucket < end; bucket += s->q.width) {
        buf_append_str(out, bucket == s->q.start ? "" : ",");
        put_bucket(s, out, bucket);
    }
    buf_printf(out, "],\"has_more\":%s,\"next_page\":", end < s->q.end ? "true" : "false");
    if (end < s->q.end)
        buf_printf(out, "\"page_%" PRId64 "\"}", end);
    else
        buf_append_str(out, "null}");
}
