/* JSON bodies with integers that jansson cannot hold: legal in a tool's schema ("maximum":
 * 18446744073709551615), and nothing that we judge. They are judged as the largest one, while the
 * bytes that go on stay the caller's. */
#include "openai/check.h"
#include "openai/event_text.h"

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

int body_read(struct span body, json_t **doc)
{
    AUTO(buf_wipe) struct buf copy = {0};
    const int error = json_read(body, doc);

    if (error < 0 && error != E_INVALID)
        return error;
    if (json_strict(body, NULL) != 0) // jansson overlooks a NUL behind a number
        return E_INVALID;
    if (error == 0)
        return 0;
    buf_append(&copy, body);
    return clamp_integers(&copy) ? json_read(buf_span(&copy), doc) : error;
}

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
