/* Text decoders: what one accepts must be what its encoder writes, and everything encodes. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

typedef int decode_fn(struct buf *out, struct span in);
typedef void encode_fn(struct buf *out, struct span in);

static void both_ways(struct span in, encode_fn *encode, decode_fn *decode)
{
    AUTO(buf_fini) struct buf bytes = {0}, text = {0};

    if (decode(&bytes, in) == 0) {
        encode(&text, buf_span(&bytes));
        CHECK(span_eq(buf_span(&text), in));
    } else {
        CHECK(bytes.len == 0);
    }
    buf_clear(&bytes);
    buf_clear(&text);
    encode(&text, in);
    CHECK(decode(&bytes, buf_span(&text)) == 0);
    CHECK(span_eq(buf_span(&bytes), in));
}

static void hex(struct span in)
{
    const size_t len = in.len / 2;
    uint8_t *bytes = mem_alloc(len);
    char *text = mem_alloc(2 * len + 1);

    if (hex_decode(bytes, len, in) == 0) {
        hex_encode(text, span_of(bytes, len));
        CHECK(span_ieq(span_str(text), in));
    }
    free(bytes);
    free(text);
}

static void base62(struct span in)
{
    AUTO(buf_fini) struct buf text = {0};
    uint8_t bytes[64];

    for (size_t len = 0; len <= sizeof(bytes); len++) {
        if (base62_decode(bytes, len, in) < 0)
            continue;
        buf_clear(&text);
        base62_encode(&text, span_of(bytes, len));
        CHECK(span_eq(buf_span(&text), in));
    }
    buf_clear(&text);
    in = span_cut(in, 0, sizeof(bytes));
    base62_encode(&text, in);
    CHECK(base62_decode(bytes, in.len, buf_span(&text)) == 0);
    CHECK(span_eq(span_of(bytes, in.len), in));
}

static void date(struct span in)
{
    char text[CLOCK_HTTP_LEN];
    time_t t;

    if (clock_http_parse(in, &t) < 0)
        return;
    clock_http_format(text, t);
    CHECK(span_is(in, text));
}

static void json_text(struct span in)
{
    AUTO(buf_fini) struct buf text = {0}, back = {0};

    buf_byte(&text, '"');
    buf_json_escape(&text, in);
    buf_byte(&text, '"');
    const int error = json_string_decode(buf_span(&text), &back);
    CHECK(error == (span_utf8(in) ? 0 : E_INVALID));
    CHECK(error < 0 || span_eq(buf_span(&back), in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const struct span in = span_of(data, len);

    both_ways(in, base64_encode, base64_decode);
    both_ways(in, base64url_encode, base64url_decode);
    hex(in);
    base62(in);
    date(in);
    json_text(in);
    return 0;
}
