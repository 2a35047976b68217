/* Embeddings: the vectors in the form that the caller asked for, whichever the engine sent (api.md
 * §1.3). */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/encode.h"
#include "openai/answer_state.h"
#include "openai/event_text.h"

enum { FLOAT_LEN = 4 };

static int check_numbers(struct span array, int64_t *count)
{
    struct span number;
    size_t at = 0;
    int error;

    for (*count = 0; (error = json_element_next(array, &at, &number)) == 0; ++*count)
        if (!number_sound(number))
            return E_PROTOCOL;
    return error == E_NOT_FOUND ? 0 : E_PROTOCOL;
}

static int append_float(struct buf *raw, struct span number)
{
    char text[48];
    uint32_t bits;

    if (!number_sound(number))
        return E_PROTOCOL;
    TRY(span_cstr(number, text, sizeof(text))); // number_sound: at most 40 characters
    const float value = strtof(text, NULL);
    memcpy(&bits, &value, sizeof(bits));
    for (unsigned i = 0; i < FLOAT_LEN; i++)
        buf_byte(raw, (uint8_t)(bits >> 8 * i)); // little-endian
    return 0;
}

static int floats_to_base64(struct span array, struct buf *out, int64_t *count)
{
    AUTO(buf_wipe) struct buf raw = {0};
    struct span number;
    size_t at = 0;
    int error;

    while ((error = json_element_next(array, &at, &number)) == 0)
        TRY(append_float(&raw, number));
    if (error != E_NOT_FOUND)
        return E_PROTOCOL;
    *count = (int64_t)(raw.len / FLOAT_LEN);
    buf_byte(out, '"');
    base64_encode(out, buf_span(&raw));
    buf_byte(out, '"');
    return 0;
}

static int decode_floats(struct span string, struct buf *raw)
{
    TRY(base64_decode(raw, string_inside(string)));
    return raw->len % FLOAT_LEN == 0 ? 0 : E_PROTOCOL;
}

static int base64_to_floats(struct span string, struct buf *out, int64_t *count)
{
    AUTO(buf_wipe) struct buf raw = {0};

    TRY(decode_floats(string, &raw) < 0 ? E_PROTOCOL : 0);
    *count = (int64_t)(raw.len / FLOAT_LEN);
    buf_byte(out, '[');
    for (size_t i = 0; i < raw.len; i += FLOAT_LEN) {
        uint32_t bits = 0;
        float value;
        for (unsigned k = 0; k < FLOAT_LEN; k++)
            bits |= (uint32_t)raw.data[i + k] << 8 * k;
        memcpy(&value, &bits, sizeof(value));
        if (!isfinite(value))
            return E_PROTOCOL;
        buf_printf(out, "%s%.9g", i > 0 ? "," : "", (double)value);
    }
    buf_byte(out, ']');
    return 0;
}

static int check_base64(struct span string, int64_t *count)
{
    AUTO(buf_wipe) struct buf raw = {0};

    TRY(decode_floats(string, &raw) < 0 ? E_PROTOCOL : 0);
    *count = (int64_t)(raw.len / FLOAT_LEN);
    return 0;
}

static int append_form(const struct answer *a, struct span vector, struct buf *out, int64_t *count)
{
    if (is_string(vector) && !a->o.base64)
        return base64_to_floats(vector, out, count);
    if (!is_string(vector) && a->o.base64)
        return floats_to_base64(vector, out, count);
    TRY(is_string(vector) ? check_base64(vector, count) : check_numbers(vector, count));
    buf_append(out, vector);
    return 0;
}

/* An engine that does not know `dimensions` ignores it: its vector would pass for a short one. */
static int append_vector(const struct answer *a, struct span vector, struct buf *out)
{
    int64_t count = 0;

    TRY(append_form(a, vector, out, &count));
    return a->o.dimensions == 0 || count == a->o.dimensions ? 0 : E_INVALID;
}

static int append_element(struct answer *a, struct span element, int64_t position)
{
    struct span index = {0}, vector = {0};
    const struct pick picks[] = {{"index", &index}, {"embedding", &vector}};

    TRY(PICK(element, picks));
    if (!vector.data || (index.data && integer_of(index, -1) != position))
        return E_PROTOCOL;
    append_comma(&a->data);
    buf_printf(&a->data,
               "{\"object\":\"embedding\",\"index\":%" PRId64 ",\"embedding\":", position);
    TRY(append_vector(a, vector, &a->data));
    buf_byte(&a->data, '}');
    return 0;
}

int embeddings_feed(struct answer *a, struct span data)
{
    struct span element;
    size_t at = 0;
    int64_t count = 0;
    int error;

    if (a->has_data)
        return E_PROTOCOL;
    while ((error = json_element_next(data, &at, &element)) == 0)
        TRY(append_element(a, element, count++));
    if (error != E_NOT_FOUND || count != a->count)
        return E_PROTOCOL;
    a->has_data = a->started = true;
    return 0;
}
