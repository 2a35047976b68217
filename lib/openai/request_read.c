/* Reads a body with jansson, which gets a copy: without what it cannot hold and without what nobody
 * judges, while the bytes that go on stay the caller's. */
#include "openai/check.h"
#include "openai/event_text.h"

// ---- Large integers ----

/* Integers beyond 64 bits are legal in a tool's schema ("maximum": 18446744073709551615), and
 * nothing that we judge: they are read as the largest one. */
static const char largest[] = "9223372036854775807";
enum { LARGEST_LEN = sizeof(largest) - 1 };

static bool is_digit(uint8_t b)
{
    return b >= '0' && b <= '9';
}

static bool in_number(uint8_t b)
{
    return is_digit(b) || b == '-' || b == '+' || b == '.' || (b | 0x20) == 'e';
}

/* Overwrites the integer in [from, to) when it is too large; the rest of its place becomes white
 * space. */
static bool clamp_integer(struct buf *text, size_t from, size_t to)
{
    uint64_t ignored;

    from += text->data[from] == '-';
    for (size_t i = from; i < to; i++)
        if (!is_digit(text->data[i]))
            return false;
    if (to - from < LARGEST_LEN || text->data[from] == '0' ||
        span_u64(span_of(text->data + from, to - from), INT64_MAX, &ignored) == 0)
        return false;
    memcpy(text->data + from, largest, LARGEST_LEN);
    memset(text->data + from + LARGEST_LEN, ' ', to - from - LARGEST_LEN);
    return true;
}

static bool clamp_integers(struct buf *text)
{
    bool any = false;

    for (size_t at = 0; at < text->len;) {
        const uint8_t b = text->data[at];
        size_t end = at + 1;
        if (b == '"')
            end = json_string_end(buf_span(text), at);
        else if (is_digit(b) || b == '-') {
            while (end < text->len && in_number(text->data[end]))
                end++;
            any |= clamp_integer(text, at, end);
        }
        at = end;
    }
    return any;
}

// ---- Long texts ----

/* jansson decodes byte by byte, which takes ten times as long as all else that is done to a body.
 * The texts under these names, in these members of the body, may be as long as a prompt, and no
 * rule looks at more than their beginning: jansson gets no more either. Whatever stands under
 * another name, or under one written with escapes, stays whole. */
static const char *const long_members[] = {"messages", "prompt", "input", NULL};
static const char *const long_texts[] = {"content", "text",  "url", "arguments",
                                         "prompt",  "input", NULL};

/* Bytes of the character or escape at `at`; both halves of an escaped surrogate pair. */
static size_t unit_len(struct span inside, size_t at)
{
    static const uint8_t high_half[] = {'8', '9', 'a', 'b'};
    size_t len = 1;

    if (inside.data[at] == '\\') {
        const uint8_t *digits = inside.data + at + 2;
        if (inside.data[at + 1] != 'u')
            return 2;
        return (digits[0] | 0x20) == 'd' && memchr(high_half, digits[1] | 0x20, sizeof(high_half))
                   ? 12
                   : 6;
    }
    while (at + len < inside.len && (inside.data[at + len] & 0xC0) == 0x80)
        len++;
    return len;
}

/* Length of a valid text's beginning that is valid itself. */
static size_t beginning(struct span inside)
{
    size_t at = 0;

    while (at < BODY_TEXT_KEPT)
        at += unit_len(inside, at);
    return at;
}

static bool is_name(struct span text, size_t string_end)
{
    static const uint8_t blanks[] = {' ', '\t', '\n', '\r'};
    const struct span rest = span_from(text, string_end);
    size_t at = 0;

    while (at < rest.len && memchr(blanks, rest.data[at], sizeof(blanks)))
        at++;
    return at < rest.len && rest.data[at] == ':';
}

/* Appends a member, name and value, with its long texts cut. */
static void append_cut(struct buf *out, struct span member)
{
    bool cuts = false; /* by the last name */
    size_t done = 0, at = 0;
    const uint8_t *quote;

    while ((quote = memchr(member.data + at, '"', member.len - at)) != NULL) {
        const size_t begins = (size_t)(quote + 1 - member.data);
        at = json_string_end(member, begins - 1);
        const struct span inside = span_cut(member, begins, at - 1 - begins);
        if (is_name(member, at)) {
            cuts = list_has(long_texts, inside);
        } else if (cuts && inside.len > BODY_TEXT_LONG) {
            buf_append(out, span_cut(member, done, begins + beginning(inside) - done));
            done = at - 1;
        }
    }
    buf_append(out, span_from(member, done));
}

/* Appends a body that is valid JSON, with its long texts cut. */
static void append_short(struct buf *out, struct span body)
{
    struct json_member m;
    size_t done = 0, at = 0;

    while (json_member_next(body, &at, &m) == 0) {
        if (!list_has(long_members, m.name))
            continue;
        buf_append(out, span_cut(body, done, at - m.whole.len - done));
        append_cut(out, m.whole);
        done = at;
    }
    buf_append(out, span_from(body, done));
}

// ---- The body ----

/* What jansson does not see of it is judged here. */
int body_read(struct span body, json_t **doc)
{
    AUTO(buf_wipe) struct buf copy = {0};

    *doc = NULL;
    TRY(json_bound(body, JSON_MAX_DEPTH, JSON_MAX_VALUES));
    if (!span_utf8(body) || json_strict(body, NULL) != 0)
        return E_INVALID;
    append_short(&copy, body);
    const int error = json_read(buf_span(&copy), doc);
    return error == E_INVALID && clamp_integers(&copy) ? json_read(buf_span(&copy), doc) : error;
}

// ---- Seeds ----

/* A seed is used, so the caller must mean the number that we read. */
int check_seed(struct check *c, const struct at *at, json_t *value)
{
    struct json_member m;
    const bool above = json_integer_value(value) == INT64_MAX;

    if (!above && json_integer_value(value) != -INT64_MAX)
        return 0;
    if (json_member_find(c->rq->body, at->name, &m) == 0 &&
        span_is(span_from(m.value, !above), largest))
        return 0;
    return fault_says(c, above ? &ERR_INTEGER_ABOVE_MAX : &ERR_INTEGER_BELOW_MIN, at,
                      "Invalid 'seed': it does not fit into 64 bits.");
}
