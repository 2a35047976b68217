/* Reads the few answers that tell what an engine is and how busy it is. */
#include "backends/engine/facts.h"

#include <stdlib.h>

#include "base/json.h"

static const char *const kind_names[] = {
    [ENGINE_GENERIC] = "generic",
    [ENGINE_LLAMACPP] = "llamacpp",
    [ENGINE_VLLM] = "vllm",
    [ENGINE_SGLANG] = "sglang",
};

const char *engine_kind_name(enum engine_kind kind)
{
    return kind_names[kind];
}

static enum engine_kind kind_of(struct span owner)
{
    for (size_t i = 0; i < sizeof(kind_names) / sizeof(kind_names[0]); i++)
        if (span_ieq(owner, span_str(kind_names[i])))
            return (enum engine_kind)i;
    return ENGINE_GENERIC;
}

/* A short visible string, NUL-terminated; anything else leaves `out` empty. */
static bool copy_visible(char *out, size_t size, struct span s)
{
    out[0] = '\0';
    if (!span_visible(s, size - 1))
        return false;
    memcpy(out, s.data, s.len);
    out[s.len] = '\0';
    return true;
}

static void read_model(struct facts *f, const json_t *item)
{
    struct facts_model *m = &f->models[f->model_count];
    struct span text = {0};

    if (json_obj_string(item, "owned_by", &text) == 0 && f->kind == ENGINE_GENERIC)
        f->kind = kind_of(text);
    if (json_obj_string(item, "id", &text) < 0 || !copy_visible(m->name, sizeof(m->name), text))
        return;
    m->context = 0;
    if (json_obj_int(item, "max_model_len", 1, FACTS_MAX_TOKENS, &m->context) < 0)
        m->context = 0;
    f->model_count++;
}

int facts_read_models(struct facts *f, struct span body)
{
    AUTO_JSON json_t *doc = NULL;

    TRY(json_read(body, &doc));
    const json_t *list = json_object_get(doc, "data");
    if (!json_is_array(list))
        return E_INVALID;
    f->model_count = 0;
    f->kind = ENGINE_GENERIC;
    for (size_t i = 0; i < json_array_size(list) && f->model_count < FACTS_MAX_MODELS; i++)
        read_model(f, json_array_get(list, i));
    return 0;
}

int facts_read_props(struct facts *f, struct span body)
{
    AUTO_JSON json_t *doc = NULL;
    struct span build = {0};
    int64_t context = 0;

    TRY(json_read(body, &doc));
    const json_t *settings = json_object_get(doc, "default_generation_settings");
    if (json_obj_int(settings, "n_ctx", 1, FACTS_MAX_TOKENS, &context) == 0)
        f->slot_context = context;
    if (json_obj_string(doc, "build_info", &build) == 0)
        copy_visible(f->version, sizeof(f->version), build);
    return 0;
}

int facts_read_version(struct facts *f, struct span body)
{
    AUTO_JSON json_t *doc = NULL;
    struct span version = {0};

    TRY(json_read(body, &doc));
    TRY(json_obj_string(doc, "version", &version));
    copy_visible(f->version, sizeof(f->version), version);
    return 0;
}

/* ---- Counting ---- */

/* The answers are as long as prompts, so they are read without a tree: skips what is expected. */
static bool skip(struct span *rest, const char *what)
{
    *rest = span_trim(*rest);
    if (!span_starts(*rest, span_str(what)))
        return false;
    *rest = span_from(*rest, strlen(what));
    return true;
}

/* {"tokens":[1,2,3]} */
static int count_list(struct span rest, int64_t *tokens)
{
    int64_t n = 0;
    bool digit = false;

    if (!skip(&rest, "{") || !skip(&rest, "\"tokens\"") || !skip(&rest, ":") || !skip(&rest, "["))
        return E_INVALID;
    for (size_t i = 0; i < rest.len; i++) {
        uint8_t c = rest.data[i];
        if (c >= '0' && c <= '9') {
            digit = true;
        } else if (c == ',' || c == ']') {
            if (!digit && (c == ',' || n > 0))
                return E_INVALID;
            n += digit ? 1 : 0;
            digit = false;
            *tokens = n;
            if (c == ']')
                return 0;
        } else if (c != ' ' && c != '\n') {
            return E_INVALID;
        }
    }
    return E_INVALID;
}

/* {"count":3,"max_model_len":4096,"tokens":[1,2,3]}, in any order; there are no texts in it. */
static int count_told(struct span rest, int64_t *tokens)
{
    static const char name[] = "\"count\"";
    const ptrdiff_t at = span_find(rest, span_str(name));
    uint64_t n = 0;
    size_t len = 0;

    if (at < 0)
        return E_INVALID;
    rest = span_from(rest, (size_t)at + sizeof(name) - 1);
    if (!skip(&rest, ":"))
        return E_INVALID;
    rest = span_trim(rest);
    while (len < rest.len && rest.data[len] >= '0' && rest.data[len] <= '9')
        len++;
    TRY(span_u64(span_cut(rest, 0, len), FACTS_MAX_TOKENS, &n));
    *tokens = (int64_t)n;
    return 0;
}

int facts_read_count(enum engine_kind kind, struct span body, int64_t *tokens)
{
    *tokens = 0;
    return kind == ENGINE_LLAMACPP ? count_list(body, tokens) : count_told(body, tokens);
}

int facts_read_prompt(struct span body, struct span *json)
{
    if (!skip(&body, "{") || !skip(&body, "\"prompt\"") || !skip(&body, ":"))
        return E_INVALID;
    body = span_trim(body);
    if (!span_ends(body, SPAN("}")))
        return E_INVALID;
    body = span_trim(span_cut(body, 0, body.len - 1));
    if (body.len < 2 || body.data[0] != '"' || body.data[body.len - 1] != '"')
        return E_INVALID;
    *json = body;
    return 0;
}

int64_t facts_context(const struct facts *f, struct span model)
{
    for (size_t i = 0; i < f->model_count; i++)
        if (span_is(model, f->models[i].name) && f->models[i].context > 0)
            return f->models[i].context;
    return f->slot_context;
}

/* ---- Metrics ---- */

enum metric { METRIC_RUNNING, METRIC_WAITING, METRIC_KV };

static const struct {
    const char *name;
    enum metric metric;
} metrics[] = {
    {"llamacpp:requests_processing", METRIC_RUNNING},
    {"llamacpp:requests_deferred", METRIC_WAITING},
    {"llamacpp:kv_cache_usage_ratio", METRIC_KV},
    {"vllm:num_requests_running", METRIC_RUNNING},
    {"vllm:num_requests_waiting", METRIC_WAITING},
    {"vllm:kv_cache_usage_perc", METRIC_KV},
    {"vllm:gpu_cache_usage_perc", METRIC_KV},
    {"sglang:num_running_reqs", METRIC_RUNNING},
    {"sglang:num_queue_reqs", METRIC_WAITING},
    {"sglang:token_usage", METRIC_KV},
};

/* The number behind a series' name and labels; false when there is none that makes sense. */
static bool value_of(struct span text, double *out)
{
    char copy[40];

    text = span_trim(text);
    struct span number = span_split(&text, ' '); // a time may follow
    if (number.len == 0 || number.len >= sizeof(copy))
        return false;
    memcpy(copy, number.data, number.len);
    copy[number.len] = '\0';
    char *end = NULL;
    *out = strtod(copy, &end);
    return *end == '\0' && *out >= 0 && *out <= 1e9;
}

static void add_metric(struct engine_load *load, enum metric metric, double value)
{
    load->known = true;
    if (metric == METRIC_RUNNING) {
        load->running += (int64_t)value;
        load->has_running = true;
    } else if (metric == METRIC_WAITING) {
        load->waiting += (int64_t)value;
    } else if (value > load->kv) {
        load->kv = value > 1 ? 1 : value;
    }
}

static void read_line(struct engine_load *load, struct span line)
{
    size_t end = 0;
    double value = 0;

    while (end < line.len && line.data[end] != '{' && line.data[end] != ' ')
        end++;
    const struct span name = span_cut(line, 0, end);
    struct span rest = span_from(line, end);
    if (rest.len > 0 && rest.data[0] == '{') {
        const uint8_t *close = memrchr(rest.data, '}', rest.len);
        if (!close)
            return;
        rest = span_from(rest, (size_t)(close - rest.data) + 1);
    }
    for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++)
        if (span_is(name, metrics[i].name) && value_of(rest, &value))
            add_metric(load, metrics[i].metric, value);
}

void facts_read_metrics(struct engine_load *out, struct span text)
{
    *out = (struct engine_load){0};
    while (text.len > 0) {
        struct span line = span_split(&text, '\n');
        if (line.len > 0 && line.data[0] != '#')
            read_line(out, span_trim(line));
    }
}
