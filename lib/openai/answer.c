/* The answer's frame: takes events in, finds their choices, and makes the end (api.md §2; wire.md
 * §5). */
#include "openai/answer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/random.h"
#include "openai/answer_state.h"
#include "openai/event_text.h"

// ---- Life ----

/* The legacy shape has room for the token itself too, where it is none of the likeliest. */
static void choices_new(struct answer *a)
{
    const struct answer_options *o = &a->o;
    const bool itself = o->endpoint == EP_COMPLETIONS && o->top_logprobs > 0;

    a->choices = mem_zero((size_t)a->count * sizeof(*a->choices));
    for (int64_t i = 0; i < a->count; i++) {
        a->choices[i].most_tops = (size_t)o->top_logprobs + itself;
        if (o->calls_in_text)
            a->choices[i].call_text.state = CALL_TEXT_LEAD;
    }
}

struct answer *answer_new(const struct answer_options *o)
{
    enum { MOST_CHOICES = 1 << 18 };
    struct answer *a = mem_zero(sizeof(*a));

    CHECK(o->choices <= MOST_CHOICES);
    a->o = *o;
    a->count = o->choices > 0 ? o->choices : 1;
    if (a->o.prompts < 1 || a->o.prompts > a->count)
        a->o.prompts = 1;
    utf8_repair(&a->public_model, o->public_model);
    utf8_repair(&a->service_tier, span_str(o->service_tier));
    buf_append(&a->echo, o->echo);
    if (o->endpoint != EP_EMBEDDINGS) // it has one stream, and no choices
        choices_new(a);
    a->streams = mem_zero((size_t)a->count * sizeof(*a->streams));
    return a;
}

static void choice_fini(struct choice *c)
{
    struct buf *const texts[] = {&c->text,      &c->refusal,
                                 &c->reasoning, &c->reasoning_content,
                                 &c->call_name, &c->call_arguments};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        buf_wipe(texts[i]);
    for (size_t i = 0; i < LP_LISTS; i++)
        buf_wipe(&c->logprobs[i]);
    buf_wipe(&c->call_text.held);
    tools_free(c);
}

void answer_free(struct answer *a)
{
    if (!a)
        return;
    for (int64_t i = 0; a->choices && i < a->count; i++)
        choice_fini(&a->choices[i]);
    free(a->choices);
    free(a->streams);
    buf_wipe(&a->public_model);
    buf_wipe(&a->service_tier);
    buf_wipe(&a->echo);
    buf_wipe(&a->head);
    buf_wipe(&a->scratch);
    buf_wipe(&a->data);
    free(a);
}

// ---- Reading an event ----

int pick_members(struct span object, const struct pick *picks, size_t count)
{
    struct json_member m;
    size_t at = 0;
    int error;

    while ((error = json_member_next(object, &at, &m)) == 0) {
        if (m.value.data[0] == 'n') // null
            continue;
        for (size_t i = 0; i < count; i++)
            if (span_is(m.name, picks[i].name))
                *picks[i].value = m.value;
    }
    return error == E_NOT_FOUND ? 0 : E_PROTOCOL;
}

int64_t integer_of(struct span value, int64_t otherwise)
{
    uint64_t number;

    return span_u64(value, INT32_MAX, &number) == 0 ? (int64_t)number : otherwise;
}

int take_text(struct buf *to, struct span value)
{
    if (!value.data)
        return 0;
    if (!is_string(value))
        return E_PROTOCOL;
    buf_append(to, string_inside(value));
    return 0;
}

/* What engines say, and the published word for it; NULL: the engine gave up. Anything else means
 * stop. */
static const struct {
    const char *says, *word;
} finish_words[] = {
    {"stop", "stop"},
    {"length", "length"},
    {"tool_calls", "tool_calls"},
    {"content_filter", "content_filter"},
    {"function_call", "function_call"},
    {"max_tokens", "length"},
    {"abort", NULL},
    {"error", NULL},
    {"cancelled", NULL},
};

int take_finish(struct answer *a, struct choice *c, struct span reason)
{
    const char *word = "stop";

    if (!reason.data || span_is(reason, "\"\""))
        return 0;
    if (!is_string(reason))
        return E_PROTOCOL;
    for (size_t i = 0; i < sizeof(finish_words) / sizeof(finish_words[0]); i++)
        if (span_is(string_inside(reason), finish_words[i].says))
            word = finish_words[i].word;
    if (!word)
        return E_UNAVAILABLE;
    c->finish = word;
    a->finished++;
    a->any_length = a->any_length || strcmp(word, "length") == 0;
    return 0;
}

// ---- What every event begins and ends with ----

/* The engine's id where it has the endpoint's form, else one of our own. */
static void append_id(struct answer *a, struct span engine, struct buf *out)
{
    const char *prefix = a->o.endpoint == EP_CHAT ? "chatcmpl-" : "cmpl-";
    const struct span id = is_string(engine) ? string_inside(engine) : (struct span){0};
    uint8_t random[16];

    if (span_starts(id, span_str(prefix)) && span_plain(id, "-_", 64)) {
        buf_append(out, id);
        return;
    }
    random_bytes(random, sizeof(random));
    buf_append_str(out, prefix);
    for (size_t i = 0; i < sizeof(random); i++)
        buf_printf(out, "%02x", random[i]);
}

static const char *object_name(const struct answer *a)
{
    if (a->o.endpoint == EP_COMPLETIONS)
        return "text_completion";
    return a->o.stream ? "chat.completion.chunk" : "chat.completion";
}

static void append_created(struct span engine, struct buf *out)
{
    uint64_t created;

    if (span_u64(engine, UINT64_C(99999999999), &created) < 0 || created == 0)
        created = clock_wall_ms() / 1000;
    buf_printf(out, "%llu", (unsigned long long)created);
}

static void make_head(struct answer *a, struct span id, struct span created)
{
    struct buf *head = &a->head;

    if (head->len > 0)
        return;
    buf_append_str(head, a->o.stream ? "data: {\"id\":\"" : "{\"id\":\"");
    append_id(a, id, head);
    buf_printf(head, "\",\"object\":\"%s\",\"created\":", object_name(a));
    append_created(created, head);
    buf_append_str(head, ",\"model\":\"");
    buf_json_escape(head, buf_span(&a->public_model));
    if (a->service_tier.len > 0) {
        buf_append_str(head, "\",\"service_tier\":\"");
        buf_json_escape(head, buf_span(&a->service_tier));
    }
    buf_append_str(head, "\",\"choices\":[");
}

void write_finish(const char *finish, struct buf *out)
{
    buf_append_str(out, "\"finish_reason\":");
    if (finish)
        append_string(out, span_str(finish));
    else
        buf_append_str(out, "null");
}

size_t event_begin(const struct answer *a, struct buf *out)
{
    const size_t start = out->len;

    buf_append(out, buf_span(&a->head));
    return start;
}

/* The length that an event of len bytes is padded to (wire.md §10). */
static size_t padded_len(enum answer_padding padding, size_t len)
{
    size_t to = 64;

    if (padding == PADDING_64)
        return (len + 63) / 64 * 64;
    while (to < len)
        to *= 2;
    return to;
}

/* Writes the member that brings an event, so far from start, to its length; `rest` bytes are still
 * to come. */
static void append_padding(const struct answer *a, size_t start, size_t rest, struct buf *out)
{
    static const char open[] = ",\"obfuscation\":\"", close[] = "\"";

    if (a->o.padding == PADDING_NONE)
        return;
    const size_t len = out->len - start + sizeof(open) - 1 + sizeof(close) - 1 + rest;
    const size_t fill = padded_len(a->o.padding, len) - len;
    buf_append_str(out, open);
    memset(buf_reserve(out, fill), 'x', fill);
    out->len += fill;
    buf_append_str(out, close);
}

void event_end(const struct answer *a, size_t start, struct buf *out)
{
    const char *tail = a->o.include_usage ? ",\"usage\":null}\n\n" : "}\n\n";

    buf_byte(out, ']');
    append_padding(a, start, strlen(tail), out);
    buf_append_str(out, tail);
}

static void append_usage_event(const struct answer *a, const struct usage *u, struct buf *out)
{
    AUTO(buf_fini) struct buf tail = {0};
    const size_t start = event_begin(a, out);

    buf_append_str(&tail, ",\"usage\":");
    usage_write(a, u, &tail);
    buf_append_str(&tail, "}\n\n");
    buf_byte(out, ']');
    append_padding(a, start, tail.len, out);
    buf_append(out, buf_span(&tail));
}

// ---- Feeding ----

/* Members of an engine's event. */
struct event {
    struct span id, created, object, choices, data, usage, error;
};

static int read_event(struct span text, struct event *e)
{
    const struct pick picks[] = {
        {"id", &e->id},           {"created", &e->created}, {"object", &e->object},
        {"choices", &e->choices}, {"data", &e->data},       {"usage", &e->usage},
        {"error", &e->error},
    };

    return PICK(text, picks);
}

/* An error sent as an event: its own status where it names one. */
static int event_fault(const struct answer *a, struct span text, const struct event *e,
                       struct api_fault *fault)
{
    struct span code = {0};
    const struct pick picks[] = {{"code", &code}};
    const struct span object = e->error.data && e->error.data[0] == '{' ? e->error : text;

    if (pick_members(object, picks, 1) < 0)
        return E_PROTOCOL;
    if (is_string(code))
        code = string_inside(code);
    const int64_t status = integer_of(code, 500);
    engine_fault(a->o.kind, status >= 400 && status <= 599 ? (unsigned)status : 500, text, fault);
    return E_UNAVAILABLE;
}

static int feed_choice(struct answer *a, struct span element, int64_t first, struct buf *out)
{
    struct span index = {0};
    const struct pick picks[] = {{"index", &index}};

    TRY(PICK(element, picks));
    const int64_t at = first + (index.data ? integer_of(index, a->count) : 0);
    if (at >= a->count)
        return E_PROTOCOL;
    struct stream *s = &a->streams[first];
    return a->o.endpoint == EP_CHAT ? chat_feed(a, at, s, element, out)
                                    : completions_feed(a, at, s, element, out);
}

static int feed_choices(struct answer *a, const struct event *e, int64_t first, struct buf *out)
{
    struct span element;
    size_t at = 0;
    int error;

    make_head(a, e->id, e->created);
    while ((error = json_element_next(e->choices, &at, &element)) == 0) {
        TRY(feed_choice(a, element, first, out));
        a->started = true;
    }
    return error == E_NOT_FOUND ? 0 : E_PROTOCOL;
}

static int feed_vectors(struct answer *a, struct span data, struct api_fault *fault)
{
    const int error = embeddings_feed(a, data);

    if (error != E_INVALID)
        return error;
    api_fault_text(fault, &ERR_UNSUPPORTED_VALUE, "dimensions",
                   "This model does not support specifying dimensions.");
    return E_UNAVAILABLE;
}

static int feed_event(struct answer *a, struct span text, int64_t first, struct buf *out,
                      struct api_fault *fault)
{
    struct event e = {0};

    TRY(read_event(text, &e));
    if (e.error.data || span_is(e.object, "\"error\""))
        return event_fault(a, text, &e, fault);
    if (e.usage.data)
        TRY(usage_take(&a->streams[first], e.usage));
    if (a->o.endpoint == EP_EMBEDDINGS)
        return e.data.data ? feed_vectors(a, e.data, fault) : E_PROTOCOL;
    const int error = e.choices.data ? feed_choices(a, &e, first, out) : 0;
    if (error == E_UNAVAILABLE)
        api_fault_set(fault, &ERR_WORKER_ERROR, NULL, NULL);
    return error;
}

/* Bounds one event, and all of them where the answer is collected. */
static int count_bytes(struct answer *a, size_t len)
{
    const bool collects = !a->o.stream || a->o.endpoint == EP_EMBEDDINGS;

    if (len > (a->o.endpoint == EP_EMBEDDINGS ? MOST_COLLECTED : MOST_EVENT))
        return E_TOO_LARGE;
    a->collected += collects ? len : 0;
    return a->collected > MOST_COLLECTED ? E_TOO_LARGE : 0;
}

int answer_feed(struct answer *a, struct span event, int64_t first_choice, struct buf *out,
                struct api_fault *fault)
{
    const size_t before = out->len;
    struct span text;

    if (span_is(span_trim(event), "[DONE]"))
        return 0;
    if (first_choice < 0 || first_choice >= a->count)
        return E_INVALID;
    TRY(count_bytes(a, event.len));
    TRY(event_text(event, &a->scratch, &text));
    const int error = feed_event(a, text, first_choice, out, fault);
    if (error < 0)
        out->len = before;
    return error;
}

// ---- The end ----

bool answer_complete(const struct answer *a)
{
    return a->o.endpoint == EP_EMBEDDINGS ? a->has_data : a->finished == a->count;
}

bool answer_started(const struct answer *a)
{
    return a->started;
}

bool answer_any_length(const struct answer *a)
{
    return a->any_length;
}

static void append_choices(const struct answer *a, struct buf *out)
{
    for (int64_t i = 0; i < a->count; i++) {
        if (i > 0)
            buf_byte(out, ',');
        if (a->o.endpoint == EP_CHAT)
            chat_body(a, i, out);
        else
            completions_body(a, i, out);
    }
}

static void append_body(const struct answer *a, const struct usage *u, struct buf *out)
{
    if (a->o.endpoint == EP_EMBEDDINGS) {
        buf_append_str(out, "{\"object\":\"list\",\"data\":[");
        buf_append(out, buf_span(&a->data));
        buf_append_str(out, "],\"model\":\"");
        buf_json_escape(out, buf_span(&a->public_model));
        buf_append_str(out, "\",\"usage\":");
    } else {
        buf_append(out, buf_span(&a->head));
        append_choices(a, out);
        buf_append_str(out, "],\"usage\":");
    }
    usage_write(a, u, out);
    buf_byte(out, '}');
}

int answer_finish(struct answer *a, struct buf *usage_event, struct buf *rest, struct usage *usage)
{
    answer_usage(a, usage);
    if (!answer_complete(a))
        return E_PROTOCOL;
    if (!a->o.stream || a->o.endpoint == EP_EMBEDDINGS) {
        append_body(a, usage, usage_event);
        return 0;
    }
    if (a->o.include_usage)
        append_usage_event(a, usage, usage_event);
    buf_append_str(rest, "data: [DONE]\n\n");
    return 0;
}
