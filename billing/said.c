/* A lexer of JSON strings: whose member is a text, its bytes are counted. */
#include "billing/said.h"

/* Shares of the text's bytes from which on it is of a kind, in 1/100. */
enum { FOREIGN = 33, DIGITS = 20, SYMBOLS = 17, ACCENTED = 2 };

/* ---- Which strings are text ---- */

static bool is_named(const struct said *s, const char *name)
{
    return span_is(span_of(s->name, s->name_len), name);
}

static bool is_thought(const struct said *s)
{
    return is_named(s, "reasoning_content") || is_named(s, "reasoning");
}

/* Members of choices, messages, deltas, and of calls of tools. */
static bool is_text(const struct said *s)
{
    return is_named(s, "content") || is_named(s, "text") || is_named(s, "refusal") ||
           is_named(s, "arguments") || is_named(s, "input") || is_named(s, "name") || is_thought(s);
}

static void string_begin(struct said *s)
{
    s->state = SAID_STRING;
    s->is_value = s->colon;
    s->text = s->is_value && is_text(s);
    s->thought = s->text && is_thought(s);
    s->begun = false;
    s->colon = false;
    if (!s->is_value)
        s->name_len = 0;
}

static void string_end(struct said *s)
{
    s->state = SAID_OUTSIDE;
    s->pieces += s->begun ? 1 : 0;
    s->tools += s->begun && is_named(s, "name") ? 1 : 0;
    if (s->is_value)
        s->name_len = 0;
}

/* ---- What a text is made of ---- */

static void count(struct said *s, uint64_t *kind, unsigned bytes)
{
    s->bytes += bytes;
    s->reasoning += s->thought ? bytes : 0;
    if (kind)
        *kind += bytes;
    s->begun = true;
}

/* Of an escape, by its code unit: half of what a surrogate pair has. */
static void unit_count(struct said *s, unsigned unit)
{
    if (unit < 0x80)
        count(s, &s->symbols, 1);
    else if (unit < 0x800)
        count(s, &s->two, 2);
    else if (unit >= 0xD800 && unit <= 0xDFFF)
        count(s, &s->wide, 2);
    else
        count(s, &s->wide, 3);
}

/* Of UTF-8, by its first byte; those that follow are counted with it. */
static void byte_count(struct said *s, uint8_t b)
{
    if ((b >= 'a' && b <= 'z') || b == ' ')
        count(s, NULL, 1);
    else if (b >= '0' && b <= '9')
        count(s, &s->digits, 1);
    else if (b < 0x80)
        count(s, &s->symbols, 1);
    else if (b >= 0xF0)
        count(s, &s->wide, 4);
    else if (b >= 0xE0)
        count(s, &s->wide, 3);
    else if (b >= 0xC0)
        count(s, &s->two, 2);
}

static void escape_read(struct said *s, uint8_t b)
{
    s->escaped = false;
    if (b == 'u') {
        s->hex_left = 4;
        s->hex = 0;
    } else if (s->text) {
        count(s, b == 'n' ? NULL : &s->symbols, 1);
    }
}

static unsigned hex_digit(uint8_t b)
{
    return b <= '9' ? b & 0xFU : (b & 0xFU) + 9;
}

static void hex_read(struct said *s, uint8_t b)
{
    s->hex = s->hex << 4 | hex_digit(b);
    if (--s->hex_left == 0 && s->text)
        unit_count(s, s->hex);
}

/* ---- The lexer ---- */

static void name_read(struct said *s, uint8_t b)
{
    if (s->name_len < SAID_NAME_MAX)
        s->name[s->name_len++] = (char)b;
}

static void string_read(struct said *s, uint8_t b)
{
    if (s->hex_left > 0)
        hex_read(s, b);
    else if (s->escaped)
        escape_read(s, b);
    else if (b == '\\')
        s->escaped = true;
    else if (b == '"')
        string_end(s);
    else if (!s->is_value)
        name_read(s, b);
    else if (s->text)
        byte_count(s, b);
}

static void outside_read(struct said *s, uint8_t b)
{
    if (b == '"')
        string_begin(s);
    else if (b == ':')
        s->colon = true;
    else if (b != ' ')
        s->colon = false;
}

void said_feed(struct said *s, struct span bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        if (s->state == SAID_STRING)
            string_read(s, bytes.data[i]);
        else
            outside_read(s, bytes.data[i]);
    }
}

enum said_kind said_kind(const struct said *s)
{
    const uint64_t foreign = s->two + s->wide;

    if (foreign * 100 > s->bytes * FOREIGN)
        return s->two > s->wide ? SAID_TWO : SAID_WIDE;
    if (s->digits * 100 > s->bytes * DIGITS)
        return SAID_DIGITS;
    if (s->symbols * 100 > s->bytes * SYMBOLS)
        return SAID_SYMBOLS;
    return foreign * 100 > s->bytes * ACCENTED ? SAID_ACCENTED : SAID_PLAIN;
}
