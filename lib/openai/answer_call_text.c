/* A call that the engine wrote as its text, {"name":…,"arguments":{…}}, because a schema had it do
 * so (request_tools.c): told as a call, its arguments as they come. */
#include "base/json.h"
#include "openai/answer_state.h"
#include "openai/event_text.h"

/* Longer than this the beginning of a call is none: a name has 64 characters. */
enum { MOST_LEAD = 4096 };

// ---- The beginning ----

static struct span skip_blanks(struct span text)
{
    while (text.len > 0 && strchr(" \t\r\n", text.data[0]) && text.data[0])
        text = span_from(text, 1);
    return text;
}

static bool take_token(struct span *text, const char *token)
{
    const struct span rest = skip_blanks(*text);

    if (!span_starts(rest, span_str(token)))
        return false;
    *text = span_from(rest, strlen(token));
    return true;
}

static bool take_name(struct span *text, struct span *name)
{
    const struct span rest = skip_blanks(*text);
    const size_t end = rest.len > 0 && rest.data[0] == '"' ? json_string_end(rest, 0) : 0;

    *name = span_cut(rest, 0, end);
    if (end <= 2 || json_strict(*name, NULL) != 0)
        return false;
    *text = span_from(rest, end);
    return true;
}

/* Cuts off what stands before the arguments' value; false: it is not all there, or no call. */
static bool take_lead(struct span *text, struct span *name)
{
    if (!take_token(text, "{") || !take_token(text, "\"name\"") || !take_token(text, ":") ||
        !take_name(text, name) || !take_token(text, ",") || !take_token(text, "\"arguments\"") ||
        !take_token(text, ":"))
        return false;
    *text = skip_blanks(*text);
    return text->len > 0 && text->data[0] == '{';
}

static int begin_call(struct choice *c)
{
    struct call_text *t = &c->call_text;
    struct span rest = buf_span(&t->held), name;

    if (!take_lead(&rest, &name))
        return 0;
    t->tool = c->tool_count;
    TRY(tools_begin(c, string_inside(name)));
    t->state = CALL_TEXT_ARGUMENTS;
    buf_consume(&t->held, t->held.len - rest.len);
    return 0;
}

// ---- The arguments ----

/* Looks at one byte of the value, and notices its end. */
static void pass_byte(struct call_text *t, uint8_t b)
{
    if (t->escaped) {
        t->escaped = false;
    } else if (t->in_string) {
        t->escaped = b == '\\';
        t->in_string = b != '"';
    } else if (b == '"') {
        t->in_string = true;
    } else if (b == '{' || b == '[') {
        t->depth++;
    } else if ((b == '}' || b == ']') && --t->depth == 0) {
        t->state = CALL_TEXT_ENDED;
    }
}

static void move_arguments(struct choice *c)
{
    struct call_text *t = &c->call_text;
    struct tool *tool = &c->tools[t->tool];
    size_t len = 0;

    while (len < t->held.len && t->state == CALL_TEXT_ARGUMENTS)
        pass_byte(t, t->held.data[len++]);
    buf_json_escape(&tool->arguments, span_cut(buf_span(&t->held), 0, len));
    tool->pending = tool->pending || len > 0;
    buf_clear(&t->held);
}

// ---- Events ----

/* It is no call: nothing of it is lost. */
static void give_up(struct choice *c)
{
    c->call_text.state = CALL_TEXT_NONE;
    buf_json_escape(&c->text, buf_span(&c->call_text.held));
    buf_clear(&c->call_text.held);
}

int call_text_take(struct choice *c, struct span content)
{
    struct call_text *t = &c->call_text;

    if (!content.data)
        return 0;
    if (!is_string(content) || json_string_decode(content, &t->held) < 0)
        return E_PROTOCOL;
    if (t->state == CALL_TEXT_LEAD)
        TRY(begin_call(c));
    if (t->state != CALL_TEXT_LEAD)
        move_arguments(c);
    else if (t->held.len > MOST_LEAD)
        give_up(c);
    return 0;
}

void call_text_end(struct choice *c)
{
    if (c->call_text.state == CALL_TEXT_LEAD)
        give_up(c);
    else if (c->call_text.state == CALL_TEXT_ENDED && strcmp(c->finish, "stop") == 0)
        c->finish = "tool_calls";
}
