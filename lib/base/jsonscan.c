/* Walks JSON text as bytes: bounds what a parser would build, finds members, and edits them where
 * they stand, so that numbers, order and escapes of everything else stay as the sender wrote them.
 * Nothing here recurses or allocates by depth. */
#include "base/json.h"

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_structural(uint8_t c)
{
    return c == '{' || c == '}' || c == '[' || c == ']' || c == ',' || c == ':' || c == '"';
}

static size_t skip_space(struct span s, size_t at)
{
    while (at < s.len && is_space(s.data[at]))
        at++;
    return at;
}

static bool is_at(struct span s, size_t at, char c)
{
    return at < s.len && s.data[at] == (uint8_t)c;
}

/* A quote ends the string unless an odd number of backslashes stands before it. */
size_t json_string_end(struct span s, size_t at)
{
    const uint8_t *from = s.data + at + 1, *end = s.data + s.len;

    while (from < end) {
        const uint8_t *quote = memchr(from, '"', (size_t)(end - from));
        if (!quote)
            return 0;
        const uint8_t *text_end = quote;
        while (text_end > from && text_end[-1] == '\\')
            text_end--;
        if ((quote - text_end) % 2 == 0)
            return (size_t)(quote - s.data) + 1;
        from = quote + 1;
    }
    return 0;
}

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

/* Has its top bit set wherever a byte of word is 0. May be set above such a byte as well. */
static uint64_t zero_bytes(uint64_t word)
{
    return (word - UINT64_C(0x0101010101010101)) & ~word & UINT64_C(0x8080808080808080);
}

/* True when each of the eight bytes is plain. */
static bool all_plain(uint64_t word)
{
    const uint64_t quotes = zero_bytes(word ^ UINT64_C(0x2222222222222222));
    const uint64_t backslashes = zero_bytes(word ^ UINT64_C(0x5C5C5C5C5C5C5C5C));
    const uint64_t controls = zero_bytes(word & UINT64_C(0xE0E0E0E0E0E0E0E0));

    return (quotes | backslashes | controls) == 0;
}

size_t json_plain_run(struct span s)
{
    size_t i = 0;
    uint64_t word;

    for (; i + sizeof(word) <= s.len; i += sizeof(word)) {
        memcpy(&word, s.data + i, sizeof(word));
        if (!all_plain(word))
            break;
    }
    while (i < s.len && is_plain(s.data[i]))
        i++;
    return i;
}

// Offset behind a number or word; `at` itself when there is none.
static size_t scalar_end(struct span s, size_t at)
{
    while (at < s.len && !is_space(s.data[at]) && !is_structural(s.data[at]))
        at++;
    return at;
}

// ---- Bounds ----

/* The parser stops at the first error, and up to there it sees the same tokens as this walk; so
 * what it builds is never more than what is counted here. A string before a colon is a name, or an
 * error. */
int json_bound(struct span text, size_t max_depth, size_t max_values)
{
    size_t depth = 0, values = 0;

    for (size_t at = skip_space(text, 0); at < text.len; at = skip_space(text, at)) {
        const uint8_t c = text.data[at];
        bool counts = true;
        if (c == '"') {
            at = json_string_end(text, at);
            if (at == 0)
                return E_INVALID;
            at = skip_space(text, at);
            counts = !is_at(text, at, ':');
        } else if (!is_structural(c)) {
            at = scalar_end(text, at);
        } else {
            at++;
            counts = c == '{' || c == '[';
            if (counts && ++depth > max_depth)
                return E_TOO_COMPLEX;
            if ((c == '}' || c == ']') && depth-- == 0)
                return E_INVALID;
        }
        if (counts && ++values > max_values)
            return E_TOO_COMPLEX;
    }
    return depth == 0 ? 0 : E_INVALID;
}

// ---- Members and elements ----

// Offset behind the object or array that opens at `at`; 0 when it does not close.
static size_t container_end(struct span s, size_t at)
{
    size_t depth = 0;

    while (at < s.len) {
        const uint8_t c = s.data[at];
        if (c == '"') {
            at = json_string_end(s, at);
            if (at == 0)
                return 0;
            continue;
        }
        at++;
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            return at;
    }
    return 0;
}

// Offset behind the value at `at`; 0 when there is none.
static size_t value_end(struct span s, size_t at)
{
    if (at >= s.len)
        return 0;
    if (s.data[at] == '"')
        return json_string_end(s, at);
    if (s.data[at] == '{' || s.data[at] == '[')
        return container_end(s, at);
    const size_t end = scalar_end(s, at);
    return end > at ? end : 0;
}

/* Moves *at to the next item of a container: behind `open` the first time, behind a comma later.
 * *at stays on `close` at the end. */
static int item_next(struct span s, size_t *at, char open, char close)
{
    const bool first = *at == 0;
    size_t i = skip_space(s, *at);

    if (first) {
        if (!is_at(s, i, open))
            return E_INVALID;
        i = skip_space(s, i + 1);
    }
    *at = i;
    if (is_at(s, i, close))
        return E_NOT_FOUND;
    if (!first) {
        if (!is_at(s, i, ','))
            return E_INVALID;
        *at = skip_space(s, i + 1);
    }
    return 0;
}

int json_member_next(struct span object, size_t *at, struct json_member *out)
{
    TRY(item_next(object, at, '{', '}'));
    const size_t name = *at;
    const size_t name_end = is_at(object, name, '"') ? json_string_end(object, name) : 0;
    if (name_end == 0)
        return E_INVALID;
    const size_t colon = skip_space(object, name_end);
    if (!is_at(object, colon, ':'))
        return E_INVALID;
    const size_t value = skip_space(object, colon + 1);
    const size_t end = value_end(object, value);
    if (end == 0)
        return E_INVALID;
    *out = (struct json_member){
        .name = span_cut(object, name + 1, name_end - name - 2),
        .value = span_cut(object, value, end - value),
        .whole = span_cut(object, name, end - name),
    };
    *at = end;
    return 0;
}

int json_element_next(struct span array, size_t *at, struct span *value)
{
    TRY(item_next(array, at, '[', ']'));
    const size_t end = value_end(array, *at);
    if (end == 0)
        return E_INVALID;
    *value = span_cut(array, *at, end - *at);
    *at = end;
    return 0;
}

// ---- Strings ----

// The four hex digits at `at`, or E_INVALID.
static int hex4(struct span s, size_t at)
{
    int value = 0;

    if (s.len < 4 || at > s.len - 4)
        return E_INVALID;
    for (size_t i = at; i < at + 4; i++) {
        const uint8_t c = s.data[i], letter = c | 0x20;
        if (c >= '0' && c <= '9')
            value = value << 4 | (c - '0');
        else if (letter >= 'a' && letter <= 'f')
            value = value << 4 | (letter - 'a' + 10);
        else
            return E_INVALID;
    }
    return value;
}

static void append_utf8(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_byte(out, (uint8_t)c);
        return;
    }
    const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = {0, 0xC0, 0xE0, 0xF0};
    buf_byte(out, (uint8_t)(lead[more] | c >> (6 * more)));
    for (int i = more - 1; i >= 0; i--)
        buf_byte(out, (uint8_t)(0x80 | (c >> (6 * i) & 0x3F)));
}

// Decodes the digits of a \u escape at *at, and the second half of a surrogate pair (RFC 8259 §7).
static int decode_unicode(struct span s, size_t *at, struct buf *out)
{
    const int unit = hex4(s, *at);

    TRY(unit);
    *at += 4;
    if (unit < 0xD800 || unit > 0xDFFF) {
        append_utf8(out, (uint32_t)unit);
        return 0;
    }
    if (unit > 0xDBFF || !is_at(s, *at, '\\') || !is_at(s, *at + 1, 'u'))
        return E_INVALID;
    const int low = hex4(s, *at + 2);
    if (low < 0xDC00 || low > 0xDFFF)
        return E_INVALID;
    *at += 6;
    append_utf8(out, 0x10000u + ((uint32_t)(unit - 0xD800) << 10) + (uint32_t)(low - 0xDC00));
    return 0;
}

// Decodes the escape whose backslash is at *at, and moves on.
static int decode_escape(struct span s, size_t *at, struct buf *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

    if (*at + 1 >= s.len)
        return E_INVALID;
    const uint8_t c = s.data[*at + 1];
    *at += 2;
    if (c == 'u')
        return decode_unicode(s, at, out);
    const char *found = memchr(from, c, sizeof(from) - 1);
    if (!found)
        return E_INVALID;
    buf_byte(out, (uint8_t)to[found - from]);
    return 0;
}

// Decodes what stands between the quotes.
static int decode_inside(struct span s, struct buf *out)
{
    for (size_t at = 0; at < s.len;) {
        const size_t plain = json_plain_run(span_from(s, at));
        buf_append(out, span_cut(s, at, plain));
        at += plain;
        if (at == s.len)
            break;
        if (s.data[at] != '\\')
            return E_INVALID;
        TRY(decode_escape(s, &at, out));
    }
    return 0;
}

int json_string_decode(struct span value, struct buf *out)
{
    const size_t before = out->len;

    if (value.len < 2 || !is_at(value, 0, '"') || !is_at(value, value.len - 1, '"') ||
        !span_utf8(value))
        return E_INVALID;
    const int error = decode_inside(span_cut(value, 1, value.len - 2), out);
    if (error < 0)
        out->len = before;
    return error;
}

// True when a name as written (without quotes) means `name`.
static bool name_is(struct span written, const char *name)
{
    AUTO(buf_fini) struct buf decoded = {0};

    if (written.len == 0 || !memchr(written.data, '\\', written.len))
        return span_is(written, name);
    return decode_inside(written, &decoded) == 0 && span_is(buf_span(&decoded), name);
}

int json_member_find(struct span object, const char *name, struct json_member *out)
{
    size_t at = 0;

    for (;;) {
        TRY(json_member_next(object, &at, out));
        if (name_is(out->name, name))
            return 0;
    }
}

// ---- Splicing ----

// The walk of one splice.
struct splice {
    struct span object;
    const struct json_edit *edits;
    size_t count;
    uint64_t seen; // bit i: edits[i] met its member
    size_t done;   // source bytes dealt with
    bool begun;    // the white space behind the brace was written
    bool any;      // a member was written
};

static const struct json_edit *edit_for(struct splice *s, struct span name)
{
    for (size_t i = 0; i < s->count; i++) {
        if (!name_is(name, s->edits[i].name))
            continue;
        s->seen |= UINT64_C(1) << i;
        return &s->edits[i];
    }
    return NULL;
}

// Each member takes the comma before it along, so a dropped one leaves none; the first written one
// takes the first's place.
static void splice_member(struct splice *s, const struct json_member *m, struct buf *out)
{
    const size_t begins = (size_t)(m->whole.data - s->object.data);
    const struct json_edit *edit = edit_for(s, m->name);
    const struct span gap = span_cut(s->object, s->done, begins - s->done);
    const bool dropped = edit && !edit->value.data;

    s->done = begins + m->whole.len;
    if (!s->begun || (s->any && !dropped))
        buf_append(out, gap);
    s->begun = true;
    if (dropped)
        return;
    s->any = true;
    const size_t name_len = (size_t)(m->value.data - m->whole.data); // with colon and white space
    buf_append(out, span_cut(m->whole, 0, name_len));
    buf_append(out, edit ? edit->value : m->value);
}

static void splice_absent(struct splice *s, struct buf *out)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->seen >> i & 1 || !s->edits[i].value.data)
            continue;
        buf_append_str(out, s->any ? ",\"" : "\"");
        buf_json_escape(out, span_str(s->edits[i].name));
        buf_append_str(out, "\":");
        buf_append(out, s->edits[i].value);
        s->any = true;
    }
}

int json_splice(struct span object, const struct json_edit *edits, size_t count, struct buf *out)
{
    struct splice s = {.object = object, .edits = edits, .count = count};
    struct json_member m;
    const size_t before = out->len;
    size_t at = 0;
    int error;

    CHECK(count <= 64);
    // Everything up to the brace; a text without one fails at the first step.
    s.done = skip_space(object, 0) + 1;
    buf_append(out, span_cut(object, 0, s.done));
    while ((error = json_member_next(object, &at, &m)) == 0)
        splice_member(&s, &m, out);
    if (error != E_NOT_FOUND) {
        out->len = before;
        return error;
    }
    splice_absent(&s, out);
    buf_append(out, span_from(object, s.done));
    return 0;
}
