/* Texts first: of another text the counts say nothing. */
#include "tools/canary_judge.h"

#include <stdlib.h>

#include "base/encode.h"
#include "base/json.h"

const char *canary_finding_name(enum canary_finding f)
{
    static const char *const names[] = {
        [CANARY_RIGHT] = "right",
        [CANARY_OTHER_TEXT] = "other text",
        [CANARY_OTHER_PROMPT] = "other prompt count",
        [CANARY_OTHER_COUNT] = "other answer count",
    };

    return names[f];
}

/* ---- The request, the answer ---- */

static void add_message(json_t *messages, const char *role, const char *text)
{
    if (*text)
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", role, "content", text));
}

void canary_body(const struct canary *c, int64_t max_coefficient, struct buf *out)
{
    json_t *messages = json_array();
    AUTO_JSON json_t *body =
        json_pack("{s:s, s:o, s:i, s:I}", "model", c->model, "messages", messages, "temperature", 0,
                  "max_tokens", (json_int_t)c->max_tokens);

    add_message(messages, "system", c->system);
    add_message(messages, "user", c->prompt);
    if (max_coefficient > 0)
        json_object_set_new(body, "max_coefficient", json_integer(max_coefficient));
    char *text = json_dumps(body, JSON_COMPACT);
    buf_append_str(out, text);
    free(text);
}

static bool is_white(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Engines differ in white space at the ends. */
static struct span trimmed(struct span s)
{
    while (s.len > 0 && is_white(s.data[0]))
        s = span_from(s, 1);
    while (s.len > 0 && is_white(s.data[s.len - 1]))
        s.len--;
    return s;
}

int canary_text(struct span body, struct buf *out)
{
    AUTO_JSON json_t *doc = NULL;
    struct span text;

    if (json_read(body, &doc) < 0)
        return E_INVALID;
    const json_t *choice = json_array_get(json_object_get(doc, "choices"), 0);
    const json_t *message = json_object_get(choice, "message");
    if (!json_is_object(message))
        return E_INVALID;
    const int error = json_obj_string(message, "content", &text);
    if (error == 0)
        buf_append(out, trimmed(text));
    return error == E_INVALID ? E_INVALID : 0;
}

/* ---- Judging ---- */

/* The first so many characters of UTF-8; 0: all. */
static struct span compared(struct span s, int64_t characters)
{
    size_t at = 0;

    s = trimmed(s);
    if (characters == 0)
        return s;
    for (; at < s.len && characters >= 0; at++)
        if ((s.data[at] & 0xc0) != 0x80 && characters-- == 0)
            break;
    return span_cut(s, 0, at);
}

static bool is_near(int64_t a, int64_t b, int64_t tolerance)
{
    return a > b ? a - b <= tolerance : b - a <= tolerance;
}

enum canary_finding canary_judge(const struct canary *c, struct span text, const struct usage *used)
{
    const struct span said = compared(text, c->prefix);
    bool known = false, counted = false;

    for (size_t i = 0; i < c->answers.count; i++) {
        const struct canary_answer *a = canary_answer_at(c, i);
        if (!span_eq(said, compared(span_str(a->text), c->prefix)))
            continue;
        known = true;
        counted = counted || is_near(used->out, a->tokens, c->tolerance);
    }
    if (!known)
        return CANARY_OTHER_TEXT;
    if (c->prompt_tokens > 0 && used->in != c->prompt_tokens)
        return CANARY_OTHER_PROMPT;
    return counted ? CANARY_RIGHT : CANARY_OTHER_COUNT;
}

/* ---- Its name ---- */

static void add_text(struct buf *b, struct span s)
{
    buf_u64be(b, s.len);
    buf_append(b, s);
}

void canary_tag(char out[static CANARY_TAG_LEN + 1], struct span key, const struct canary *c,
                struct span model_digest)
{
    AUTO(buf_wipe) struct buf b = {0};
    uint8_t mac[SHA256_LEN];

    add_text(&b, model_digest);
    add_text(&b, span_str(c->model));
    add_text(&b, span_str(c->system));
    add_text(&b, span_str(c->prompt));
    buf_u64be(&b, (uint64_t)c->max_tokens);
    buf_u64be(&b, (uint64_t)c->prompt_tokens);
    buf_u64be(&b, (uint64_t)c->prefix);
    buf_u64be(&b, (uint64_t)c->tolerance);
    for (size_t i = 0; i < c->answers.count; i++) {
        add_text(&b, span_str(canary_answer_at(c, i)->text));
        buf_u64be(&b, (uint64_t)canary_answer_at(c, i)->tokens);
    }
    hmac_sha256(mac, key, buf_span(&b));
    hex_encode(out, SPAN_OF(mac));
}
