/* Log-probabilities: rebuilt member by member, so that nothing of an engine's own comes through,
 * numbers and tokens as they were written; and the chat shape turned into the legacy one, which
 * llama.cpp lacks (engine.md §5). */
#include "openai/answer_state.h"
#include "openai/check.h"
#include "openai/event_text.h"

/* Members of one token's entry. */
struct entry {
    struct span token, logprob, bytes, top;
};

static int read_entry(struct span element, struct entry *e)
{
    const struct pick picks[] = {
        {"token", &e->token},
        {"logprob", &e->logprob},
        {"bytes", &e->bytes},
        {"top_logprobs", &e->top},
    };

    TRY(PICK(element, picks));
    return is_string(e->token) ? 0 : E_PROTOCOL;
}

/* What stands for "too unlikely to say", and for what is no number. */
static struct span logprob_or_least(struct span logprob)
{
    const bool number = logprob.len > 0 && (logprob.data[0] == '-' ||
                                            (logprob.data[0] >= '0' && logprob.data[0] <= '9'));

    return number && number_sound(logprob) ? logprob : SPAN("-9999.0");
}

static int each(struct span array, int (*fn)(void *to, struct span element), void *to)
{
    struct span element;
    size_t at = 0;
    int error;

    while ((error = json_element_next(array, &at, &element)) == 0)
        TRY(fn(to, element));
    return error == E_NOT_FOUND ? 0 : E_PROTOCOL;
}

// ---- Chat shape ----

static int check_byte(void *to, struct span element)
{
    (void)to;
    return integer_of(element, 256) < 256 ? 0 : E_PROTOCOL;
}

static int append_common(struct buf *out, const struct entry *e)
{
    buf_append_str(out, "{\"token\":");
    buf_append(out, e->token);
    buf_append_str(out, ",\"logprob\":");
    buf_append(out, logprob_or_least(e->logprob));
    buf_append_str(out, ",\"bytes\":");
    if (!e->bytes.data) {
        buf_append_str(out, "null");
        return 0;
    }
    TRY(each(e->bytes, check_byte, NULL));
    buf_append(out, e->bytes);
    return 0;
}

/* What is told beside one token, in the making. In the legacy shape it is an object, whose names
 * must be distinct; the likeliest comes first. */
struct tops {
    struct buf *out;
    size_t begin;
    size_t count, most;
};

static int append_top(void *to, struct span element)
{
    struct tops *t = to;
    struct entry e = {0};

    TRY(read_entry(element, &e));
    if (t->count == t->most)
        return 0;
    if (t->count++ > 0)
        buf_byte(t->out, ',');
    TRY(append_common(t->out, &e));
    buf_byte(t->out, '}');
    return 0;
}

/* Of a choice's tokens, into one of its lists. */
struct told_list {
    struct choice *choice;
    struct buf *out;
};

static int append_entry(void *to, struct span element)
{
    const struct told_list *l = to;
    struct tops tops = {.out = l->out, .most = l->choice->most_tops};
    struct entry e = {0};

    TRY(read_entry(element, &e));
    append_comma(l->out);
    TRY(append_common(l->out, &e));
    buf_append_str(l->out, ",\"top_logprobs\":[");
    if (e.top.data)
        TRY(each(e.top, append_top, &tops));
    buf_append_str(l->out, "]}");
    return 0;
}

int logprobs_take_chat(struct choice *c, struct span logprobs)
{
    struct span content = {0}, refusal = {0};
    const struct pick picks[] = {{"content", &content}, {"refusal", &refusal}};

    TRY(PICK(logprobs, picks));
    if (content.data)
        TRY(each(content, append_entry, &(struct told_list){c, &c->logprobs[LP_CONTENT]}));
    if (refusal.data)
        TRY(each(refusal, append_entry, &(struct told_list){c, &c->logprobs[LP_REFUSAL]}));
    c->has_logprobs = c->has_logprobs || content.data || refusal.data;
    return 0;
}

static void append_list(struct buf *out, const char *name, const struct buf *list)
{
    buf_append_str(out, name);
    buf_byte(out, '[');
    buf_append(out, buf_span(list));
    buf_byte(out, ']');
}

void logprobs_write_chat(const struct choice *c, struct buf *out)
{
    if (!c->has_logprobs) {
        buf_append_str(out, "null");
        return;
    }
    append_list(out, "{\"content\":", &c->logprobs[LP_CONTENT]);
    if (c->logprobs[LP_REFUSAL].len > 0)
        append_list(out, ",\"refusal\":", &c->logprobs[LP_REFUSAL]);
    else
        buf_append_str(out, ",\"refusal\":null");
    buf_byte(out, '}');
}

// ---- Legacy shape ----

/* Characters that a JSON string's inside stands for. */
size_t inside_chars(struct span inside)
{
    size_t chars = utf8_count(inside);

    for (size_t i = 0; i < inside.len; i++) {
        if (inside.data[i] != '\\')
            continue;
        const bool unicode = inside.data[i + 1] == 'u';
        const bool high = unicode && (inside.data[i + 2] | 0x20) == 'd' &&
                          strchr("89abAB", inside.data[i + 3]) != NULL;
        const size_t escape = high ? 12 : unicode ? 6 : 2; // a pair, \uXXXX, \n
        chars -= escape - 1;
        i += escape - 1;
    }
    return chars;
}

static void append_offset(struct choice *c, struct span token)
{
    struct buf *offsets = &c->logprobs[LP_OFFSETS];

    append_comma(offsets);
    buf_printf(offsets, "%zu", c->text_chars);
    c->text_chars += inside_chars(string_inside(token));
}

/* A name that any reader can hold. */
static bool name_sound(struct span inside)
{
    return span_find(inside, SPAN("\\u0000")) < 0;
}

static bool has_top(const struct tops *t, struct span name)
{
    struct json_member m;
    size_t at = 0;

    while (json_member_next(span_from(buf_span(t->out), t->begin), &at, &m) == 0)
        if (span_eq(m.name, name))
            return true;
    return false;
}

static int append_top_pair(void *to, struct span element)
{
    struct tops *t = to;
    struct entry e = {0};

    TRY(read_entry(element, &e));
    const struct span name = string_inside(e.token);
    if (t->count == t->most || !name_sound(name) || has_top(t, name))
        return 0;
    if (t->count++ > 0)
        buf_byte(t->out, ',');
    append_string(t->out, name);
    buf_byte(t->out, ':');
    buf_append(t->out, logprob_or_least(e.logprob));
    return 0;
}

static int append_legacy_entry(void *to, struct span element)
{
    struct choice *c = to;
    struct entry e = {0};
    struct tops tops = {.out = &c->logprobs[LP_TOP], .most = c->most_tops};

    TRY(read_entry(element, &e));
    append_comma(&c->logprobs[LP_TOKENS]);
    buf_append(&c->logprobs[LP_TOKENS], e.token);
    append_comma(&c->logprobs[LP_VALUES]);
    buf_append(&c->logprobs[LP_VALUES], logprob_or_least(e.logprob));
    append_offset(c, e.token);
    append_comma(tops.out);
    tops.begin = tops.out->len;
    buf_byte(tops.out, '{');
    if (e.top.data)
        TRY(each(e.top, append_top_pair, &tops));
    buf_byte(tops.out, '}');
    return 0;
}

static int append_token(void *to, struct span element)
{
    struct choice *c = to;

    if (!is_string(element))
        return E_PROTOCOL;
    append_comma(&c->logprobs[LP_TOKENS]);
    buf_append(&c->logprobs[LP_TOKENS], element);
    append_offset(c, element);
    return 0;
}

static int append_value(void *to, struct span element)
{
    struct choice *c = to;

    append_comma(&c->logprobs[LP_VALUES]);
    buf_append(&c->logprobs[LP_VALUES],
               span_is(element, "null") ? element : logprob_or_least(element));
    return 0;
}

static int append_top_object(void *to, struct span element)
{
    struct choice *c = to;
    struct buf *out = &c->logprobs[LP_TOP];
    struct json_member m;
    size_t at = 0, count = 0;
    int error;

    append_comma(out);
    if (span_is(element, "null")) {
        buf_append(out, element);
        return 0;
    }
    buf_byte(out, '{');
    while ((error = json_member_next(element, &at, &m)) == 0) {
        if (count == c->most_tops || !name_sound(m.name))
            continue;
        buf_append_str(out, count++ > 0 ? "," : "");
        append_string(out, m.name);
        buf_byte(out, ':');
        buf_append(out, logprob_or_least(m.value));
    }
    buf_byte(out, '}');
    return error == E_NOT_FOUND ? 0 : E_PROTOCOL;
}

int logprobs_take_legacy(struct choice *c, struct span logprobs)
{
    struct span content = {0}, tokens = {0}, values = {0}, top = {0};
    const struct pick picks[] = {{"content", &content},
                                 {"tokens", &tokens},
                                 {"token_logprobs", &values},
                                 {"top_logprobs", &top}};

    TRY(PICK(logprobs, picks));
    if (content.data)
        TRY(each(content, append_legacy_entry, c));
    if (tokens.data)
        TRY(each(tokens, append_token, c));
    if (values.data)
        TRY(each(values, append_value, c));
    if (top.data)
        TRY(each(top, append_top_object, c));
    c->has_logprobs = c->has_logprobs || content.data || tokens.data;
    return 0;
}

void logprobs_write_legacy(const struct choice *c, struct buf *out)
{
    if (!c->has_logprobs) {
        buf_append_str(out, "null");
        return;
    }
    append_list(out, "{\"tokens\":", &c->logprobs[LP_TOKENS]);
    append_list(out, ",\"token_logprobs\":", &c->logprobs[LP_VALUES]);
    append_list(out, ",\"top_logprobs\":", &c->logprobs[LP_TOP]);
    append_list(out, ",\"text_offset\":", &c->logprobs[LP_OFFSETS]);
    buf_byte(out, '}');
}
