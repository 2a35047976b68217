/* A body read with its long texts cut gets the verdict of a reading of the whole, and is the same
 * but for what is cut. '~' and '^' in the input stand for long and very long runs. */
#include "openai/check.h"
#include "openai/event_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void append_run(struct buf *out, size_t len)
{
    memset(buf_reserve(out, len), 'x', len);
    out->len += len;
}

static void expand(struct span in, struct buf *out)
{
    for (size_t i = 0; i < in.len; i++) {
        if (in.data[i] == '~')
            append_run(out, BODY_TEXT_KEPT - 4);
        else if (in.data[i] == '^')
            append_run(out, BODY_TEXT_LONG - 4);
        else
            buf_byte(out, in.data[i]);
    }
}

static void compare_strings(json_t *whole, json_t *cut)
{
    const size_t len = json_string_length(whole), kept = json_string_length(cut);

    CHECK(memcmp(json_string_value(whole), json_string_value(cut), kept) == 0);
    CHECK(kept == len || (kept < len && kept >= BODY_TEXT_KEPT / 6)); /* six bytes make one */
}

static void compare(json_t *whole, json_t *cut)
{
    const char *name;
    json_t *item;
    size_t i;

    CHECK(json_typeof(whole) == json_typeof(cut));
    if (json_is_string(whole)) {
        compare_strings(whole, cut);
    } else if (json_is_array(whole)) {
        CHECK(json_array_size(whole) == json_array_size(cut));
        json_array_foreach(whole, i, item) {
            compare(item, json_array_get(cut, i));
        }
    } else if (json_is_object(whole)) {
        CHECK(json_object_size(whole) == json_object_size(cut));
        json_object_foreach(whole, name, item) {
            compare(item, json_object_get(cut, name));
        }
    } else {
        CHECK(json_equal(whole, cut));
    }
}

/* Enough digits in a row for an integer that jansson cannot hold. */
static bool has_large_integer(struct span text)
{
    size_t run = 0;

    for (size_t i = 0; i < text.len; i++) {
        run = text.data[i] >= '0' && text.data[i] <= '9' ? run + 1 : 0;
        if (run >= 19)
            return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    AUTO(buf_fini) struct buf text = {0};
    AUTO_JSON json_t *whole = NULL;
    AUTO_JSON json_t *cut = NULL;

    expand(span_of(data, len), &text);
    const int expected = json_read(buf_span(&text), &whole);
    const int error = body_read(buf_span(&text), &cut);
    CHECK(error == expected ||
          (error == 0 && expected == E_INVALID && has_large_integer(buf_span(&text))));
    CHECK((error == 0) == (cut != NULL));
    if (whole && cut)
        compare(whole, cut);
    return 0;
}
