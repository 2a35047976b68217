/* One pass over an engine's JSON. Bounded recursion: containers nest at most MOST_DEPTH deep. */
#include "openai/event_text.h"

#include "base/json.h"

enum { MOST_DEPTH = 100 };

struct scan {
    struct span text;
    size_t at;
    uint8_t *fix; // the same bytes, writable; NULL: only look
    int lone;     // surrogate halves seen
};

// ---- Small tokens ----

static int peek(const struct scan *s)
{
    return s->at < s->text.len ? s->text.data[s->at] : -1;
}

static void skip_space(struct scan *s)
{
    while (peek(s) == ' ' || peek(s) == '\n' || peek(s) == '\r' || peek(s) == '\t')
        s->at++;
}

static bool take(struct scan *s, int c)
{
    if (peek(s) != c)
        return false;
    s->at++;
    return true;
}

static bool take_digits(struct scan *s)
{
    const size_t before = s->at;

    while (peek(s) >= '0' && peek(s) <= '9')
        s->at++;
    return s->at > before;
}

static int scan_number(struct scan *s)
{
    take(s, '-');
    if (!take(s, '0') && !take_digits(s))
        return E_PROTOCOL;
    if (take(s, '.') && !take_digits(s))
        return E_PROTOCOL;
    if (take(s, 'e') || take(s, 'E')) {
        if (!take(s, '+'))
            take(s, '-');
        return take_digits(s) ? 0 : E_PROTOCOL;
    }
    return 0;
}

static int scan_word(struct scan *s, const char *word)
{
    const size_t len = strlen(word);

    if (!span_is(span_cut(s->text, s->at, len), word))
        return E_PROTOCOL;
    s->at += len;
    return 0;
}

// ---- Strings ----

static int hex4(const struct scan *s, size_t at)
{
    int value = 0;

    if (at > s->text.len || s->text.len - at < 4)
        return E_PROTOCOL;
    for (size_t i = at; i < at + 4; i++) {
        const uint8_t c = s->text.data[i], letter = c | 0x20;
        if (c >= '0' && c <= '9')
            value = value << 4 | (c - '0');
        else if (letter >= 'a' && letter <= 'f')
            value = value << 4 | (letter - 'a' + 10);
        else
            return E_PROTOCOL;
    }
    return value;
}

static bool low_half_follows(const struct scan *s)
{
    if (!span_is(span_cut(s->text, s->at, 2), "\\u"))
        return false;
    const int unit = hex4(s, s->at + 2);
    return unit >= 0xDC00 && unit <= 0xDFFF;
}

// s->at is at the four digits.
static int scan_unicode(struct scan *s)
{
    const size_t digits = s->at;
    const int unit = hex4(s, digits);

    TRY(unit);
    s->at += 4;
    if (unit < 0xD800 || unit > 0xDFFF)
        return 0;
    if (unit <= 0xDBFF && low_half_follows(s)) {
        s->at += 6;
        return 0;
    }
    s->lone = 1;
    if (s->fix)
        memcpy(s->fix + digits, "fffd", 4);
    return 0;
}

// s->at is behind the backslash.
static int scan_escape(struct scan *s)
{
    const int c = peek(s);

    if (c <= 0 || !strchr("\"\\/bfnrtu", c))
        return E_PROTOCOL;
    s->at++;
    return c == 'u' ? scan_unicode(s) : 0;
}

static int scan_string(struct scan *s)
{
    if (!take(s, '"'))
        return E_PROTOCOL;
    for (;;) {
        s->at += json_plain_run(span_from(s->text, s->at));
        if (take(s, '"'))
            return 0;
        if (!take(s, '\\'))
            return E_PROTOCOL;
        TRY(scan_escape(s));
    }
}

// ---- Values ----

static int scan_value(struct scan *s, unsigned depth);

static int scan_member(struct scan *s, unsigned depth)
{
    TRY(scan_string(s));
    skip_space(s);
    if (!take(s, ':'))
        return E_PROTOCOL;
    skip_space(s);
    return scan_value(s, depth);
}

static int scan_container(struct scan *s, unsigned depth, int close)
{
    if (depth == MOST_DEPTH)
        return E_PROTOCOL;
    s->at++;
    skip_space(s);
    if (take(s, close))
        return 0;
    for (;;) {
        TRY(close == '}' ? scan_member(s, depth + 1) : scan_value(s, depth + 1));
        skip_space(s);
        if (take(s, close))
            return 0;
        if (!take(s, ','))
            return E_PROTOCOL;
        skip_space(s);
    }
}

static int scan_value(struct scan *s, unsigned depth)
{
    switch (peek(s)) {
    case '{':
        return scan_container(s, depth, '}');
    case '[':
        return scan_container(s, depth, ']');
    case '"':
        return scan_string(s);
    case 't':
        return scan_word(s, "true");
    case 'f':
        return scan_word(s, "false");
    case 'n':
        return scan_word(s, "null");
    default:
        return scan_number(s);
    }
}

int json_strict(struct span text, uint8_t *fix)
{
    struct scan s = {.text = text, .fix = fix};

    skip_space(&s);
    TRY(scan_value(&s, 0));
    skip_space(&s);
    return s.at == text.len ? s.lone : E_PROTOCOL;
}

// ---- Repair ----

// Bytes of the well-formed character that s begins with; 0 when it begins with none.
static size_t char_len(struct span s)
{
    for (size_t len = 1; len <= 4 && len <= s.len; len++)
        if (span_utf8(span_cut(s, 0, len)))
            return len;
    return 0;
}

void utf8_repair(struct buf *out, struct span in)
{
    for (size_t at = 0; at < in.len;) {
        const size_t len = char_len(span_from(in, at));
        buf_append(out, len ? span_cut(in, at, len) : SPAN("\xef\xbf\xbd"));
        at += len ? len : 1;
    }
}

int event_text(struct span in, struct buf *scratch, struct span *out)
{
    *out = in;
    buf_clear(scratch);
    if (!span_utf8(in)) {
        utf8_repair(scratch, in);
        *out = buf_span(scratch);
    }
    const int lone = json_strict(*out, NULL);
    TRY(lone);
    if (lone == 0)
        return 0;
    if (scratch->len == 0)
        buf_append(scratch, in);
    *out = buf_span(scratch);
    return json_strict(*out, scratch->data) < 0 ? E_PROTOCOL : 0;
}

bool number_sound(struct span number)
{
    enum { MOST_CHARS = 40, MOST_DIGITS = 18, MOST_EXPONENT_DIGITS = 2 };
    size_t digits = 0, at = 0;

    if (number.len == 0 || number.len > MOST_CHARS)
        return false;
    at += number.data[0] == '-';
    while (at + digits < number.len && number.data[at + digits] >= '0' &&
           number.data[at + digits] <= '9')
        digits++;
    if (digits == 0 || digits > MOST_DIGITS)
        return false;
    while (at < number.len && (number.data[at] | 0x20) != 'e')
        at++;
    at++;
    at += at < number.len && (number.data[at] == '-' || number.data[at] == '+');
    return number.len <= at + MOST_EXPONENT_DIGITS;
}

bool is_string(struct span value)
{
    return value.len >= 2 && value.data[0] == '"';
}

struct span string_inside(struct span value)
{
    return span_cut(value, 1, value.len - 2);
}
