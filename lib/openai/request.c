/* Reads a request: judges it with jansson, then notes which of its bytes go on (api.md §1.2, §1.4).
 */
#include "openai/request.h"

#include <stdio.h>

#include "openai/check.h"

static const char *const paths[] = {
    [EP_CHAT] = "/v1/chat/completions",
    [EP_COMPLETIONS] = "/v1/completions",
    [EP_EMBEDDINGS] = "/v1/embeddings",
};
enum { ENDPOINTS = sizeof(paths) / sizeof(paths[0]) };

const char *endpoint_path(enum endpoint e)
{
    return paths[e];
}

int endpoint_of(struct span path, enum endpoint *out)
{
    for (size_t i = 0; i < ENDPOINTS; i++) {
        if (!span_is(path, paths[i]))
            continue;
        *out = (enum endpoint)i;
        return 0;
    }
    return E_NOT_FOUND;
}

// ---- Which members go on ----

static int fault_name(struct check *c, const struct api_error *e, struct span name)
{
    char text[AT_TEXT_LEN];
    struct at at = {.name = text};

    snprintf(text, sizeof(text), "%.*s", (int)(name.len < 64 ? name.len : 64),
             (const char *)name.data);
    return fault_at(c, e, &at);
}

/* What the older form of tools says is what the newer one does. */
static struct span newer_name(struct span name)
{
    if (span_is(name, "functions"))
        return SPAN("tools");
    return span_is(name, "function_call") ? SPAN("tool_choice") : name;
}

static bool is_denied(const struct check *c, struct span name)
{
    return c->rules->denied &&
           (list_has(c->rules->denied, name) || list_has(c->rules->denied, newer_name(name)));
}

/* A member that is in no table: an engine extra, or something we do not know. */
static int sort_extra(struct check *c, struct span name, bool null, bool *keep)
{
    const bool allowed = c->rules->allowed && list_has(c->rules->allowed, name);
    const bool denied = is_denied(c, name) || (!allowed && list_has(extras_denied, name));

    *keep =
        allowed || (c->rq->endpoint != EP_EMBEDDINGS && !denied && list_has(extras_allowed, name));
    if (denied && !null)
        return fault_name(c, &ERR_UNSUPPORTED_PARAMETER, name);
    if (*keep)
        return 0;
    if (c->rules->strict)
        return fault_name(c, &ERR_UNKNOWN_PARAMETER, name);
    ignore_name(c->rq, name);
    return 0;
}

static int sort_member(struct check *c, const struct json_member *m, struct span name)
{
    struct kept kept = {.member = *m, .rule = rule_find(rules_of(c->rq->endpoint), name)};
    const bool null = span_is(m->value, "null");
    bool keep = kept.rule && (kept.rule->use == PASS || kept.rule->use == REWRITE);

    if (!kept.rule)
        TRY(sort_extra(c, name, null, &keep));
    else if (!null && is_denied(c, name))
        return fault_name(c, &ERR_UNSUPPORTED_PARAMETER, name);
    else if (!null && kept.rule->use == NAMED)
        ignore_name(c->rq, name);
    if (keep)
        buf_append(&c->rq->kept, span_of(&kept, sizeof(kept)));
    return 0;
}

static int sort_members(struct check *c)
{
    AUTO(buf_fini) struct buf name = {0};
    struct json_member m;
    size_t at = 0;
    int error;

    while ((error = json_member_next(c->rq->body, &at, &m)) == 0) {
        buf_clear(&name);
        TRY(json_string_decode(span_of(m.name.data - 1, m.name.len + 2), &name));
        TRY(sort_member(c, &m, buf_span(&name)));
    }
    return error == E_NOT_FOUND ? 0 : error;
}

// ---- What we act on ----

static int64_t integer_or(json_t *doc, const char *name, int64_t otherwise)
{
    json_t *value = present(doc, name);

    return value ? json_integer_value(value) : otherwise;
}

static uint64_t milliseconds(json_t *seconds)
{
    const double most = 1e9; /* thirty years: far above what an operator allows */
    const double value = json_number_value(seconds);

    if (!seconds || value <= 0)
        return 0;
    return value >= most ? (uint64_t)(most * 1000) : (uint64_t)(value * 1000) + 1;
}

static void take_options(struct request *rq, json_t *doc)
{
    json_t *options = json_object_get(doc, "stream_options");

    rq->stream = rq->endpoint != EP_EMBEDDINGS && json_is_true(json_object_get(doc, "stream"));
    rq->include_usage = rq->stream && json_is_true(json_object_get(options, "include_usage"));
    rq->include_obfuscation =
        rq->stream && json_is_true(json_object_get(options, "include_obfuscation"));
    rq->shows_other = json_is_false(json_object_get(doc, "include_reasoning")) ||
                      json_is_true(json_object_get(doc, "ignore_eos")) ||
                      json_is_true(json_object_get(doc, "echo"));
    rq->base64 = span_is(string_of(json_object_get(doc, "encoding_format")), "base64");
    rq->dimensions = json_integer_value(json_object_get(doc, "dimensions"));
    rq->timeout_ms = milliseconds(json_object_get(doc, "timeout"));
    rq->max_coefficient = integer_or(doc, "max_coefficient", -1);
}

static void take_counts(struct request *rq, json_t *doc)
{
    enum { LEGACY_CAP = 16 };
    const bool embeddings = rq->endpoint == EP_EMBEDDINGS;
    const int64_t best_of = rq->endpoint == EP_COMPLETIONS ? integer_or(doc, "best_of", 0) : 0;
    const int64_t cap =
        integer_or(doc, "max_tokens", rq->endpoint == EP_COMPLETIONS ? LEGACY_CAP : -1);
    const bool chat = rq->endpoint == EP_CHAT;

    rq->choices = embeddings ? 1 : integer_or(doc, "n", 1);
    rq->sequences = rq->prompts * (best_of > rq->choices ? best_of : rq->choices);
    rq->cap = embeddings ? 0 : chat ? integer_or(doc, "max_completion_tokens", cap) : cap;
    rq->logprobs = chat ? json_is_true(json_object_get(doc, "logprobs"))
                        : !embeddings && present(doc, "logprobs");
    rq->top_logprobs = rq->logprobs ? integer_or(doc, chat ? "top_logprobs" : "logprobs", 0) : 0;
    rq->has_functions = chat && present(doc, "functions");
    rq->has_tools = chat && (present(doc, "tools") || rq->has_functions);
    rq->has_function_calls = chat && functions_in_messages(json_object_get(doc, "messages"));
    rq->has_empty = chat && (bare_needed(json_object_get(doc, "messages")) ||
                             bare_needed(json_object_get(doc, "functions")) ||
                             bare_needed(json_object_get(doc, "tools")));
}

/* The bytes of `messages` up to the end of the first user message; all of them when there is none.
 */
static struct span first_messages(struct span messages)
{
    struct json_member role;
    struct span message;
    AUTO(buf_fini) struct buf name = {0};
    size_t at = 0;

    while (json_element_next(messages, &at, &message) == 0) {
        buf_clear(&name);
        if (json_member_find(message, "role", &role) == 0 &&
            json_string_decode(role.value, &name) == 0 && span_is(buf_span(&name), "user"))
            return span_cut(messages, 0, (size_t)(message.data + message.len - messages.data));
    }
    return messages;
}

/* wire.md §10. */
static void take_conversation(struct request *rq, json_t *doc)
{
    enum { MOST = 1024 };
    static const char *const texts[] = {
        [EP_CHAT] = "messages", [EP_COMPLETIONS] = "prompt", [EP_EMBEDDINGS] = "input"};
    json_t *user = present(doc, "user");
    struct json_member m;
    struct span text = {0};

    if (json_member_find(rq->body, texts[rq->endpoint], &m) == 0)
        text = rq->endpoint == EP_CHAT ? first_messages(m.value) : m.value;
    if (!user && rq->endpoint == EP_CHAT)
        user = json_object_get(doc, "safety_identifier");
    buf_append(&rq->conversation, string_of(user));
    buf_byte(&rq->conversation, 0);
    if (rq->endpoint == EP_CHAT)
        buf_append(&rq->conversation, string_of(json_object_get(doc, "prompt_cache_key")));
    buf_byte(&rq->conversation, 0);
    buf_append(&rq->conversation, span_cut(text, 0, MOST));
}

static int check_body(struct check *c)
{
    struct request *rq = c->rq;

    rq->prompts = 1;
    TRY(check_object(c, NULL, c->doc, rules_of(rq->endpoint)));
    buf_append(&rq->model, string_of(json_object_get(c->doc, "model")));
    buf_cstr(&rq->model);
    take_options(rq, c->doc);
    take_counts(rq, c->doc);
    if (rq->endpoint == EP_CHAT)
        TRY(check_chat_combination(c));
    if (rq->endpoint == EP_COMPLETIONS)
        TRY(check_completions_combination(c));
    TRY(sort_members(c));
    take_conversation(rq, c->doc);
    return 0;
}

int request_parse(struct request *out, enum endpoint endpoint, struct span body,
                  const struct request_rules *rules, struct api_fault *fault)
{
    AUTO_JSON json_t *doc = NULL;
    const int error = body_read(body, &doc);
    struct check c = {.rq = out, .rules = rules, .fault = fault, .doc = doc};

    *out = (struct request){.endpoint = endpoint, .body = body, .strict = rules->strict};
    if (error < 0)
        return api_fault_set(
            fault, error == E_TOO_COMPLEX ? &ERR_JSON_TOO_COMPLEX : &ERR_INVALID_JSON, NULL, NULL);
    if (check_body(&c) == 0)
        return 0;
    request_fini(out);
    return E_INVALID;
}

void request_forget_body(struct request *rq)
{
    request_told_forget(&rq->told);
    buf_wipe(&rq->conversation);
    buf_wipe(&rq->kept);
    rq->body = (struct span){0};
}

void request_fini(struct request *rq)
{
    request_told_forget(&rq->told);
    buf_wipe(&rq->model);
    buf_wipe(&rq->conversation);
    buf_wipe(&rq->ignored);
    buf_wipe(&rq->kept);
}
