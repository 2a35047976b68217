/* Texts of usage records: acknowledgements from gateways, and lines of the worker's own file. */
#include <inttypes.h>

#include "base/encode.h"
#include "base/json.h"
#include "worker/usage.h"

enum { JWS_MAX = 16 * 1024, ATTEMPT_MAX = 1000000, PAY_DIGITS = 18 };

static int call_get(const json_t *obj, char out[static 33], uint32_t *attempt)
{
    struct span text = {0};
    uint8_t raw[16];
    int64_t number = 0;

    TRY(json_obj_string(obj, "call", &text));
    TRY(hex_decode(raw, sizeof(raw), text));
    hex_encode(out, SPAN_OF(raw));
    TRY(json_obj_int(obj, "attempt", 0, ATTEMPT_MAX, &number));
    *attempt = (uint32_t)number;
    return 0;
}

/* ---- Acknowledgements ---- */

static bool known_result(struct span text)
{
    static const char *const results[] = {"settled", "late_settled", "abandoned", "refused"};

    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
        if (span_is(text, results[i]))
            return true;
    return false;
}

static int ack_read(const json_t *item, struct usage_ack *ack)
{
    struct span text = {0};
    uint64_t pay = 0;

    TRY(call_get(item, ack->call, &ack->attempt));
    TRY(json_obj_string(item, "result", &text));
    if (!known_result(text))
        return E_INVALID;
    TRY(json_obj_string(item, "pay", &text));
    if (text.len > PAY_DIGITS)
        return E_INVALID;
    TRY(span_u64(text, INT64_MAX, &pay));
    ack->pay_nano = (int64_t)pay;
    return 0;
}

int usage_acks_read(struct span json, usage_ack_fn *fn, void *arg)
{
    AUTO_JSON json_t *doc = NULL;
    struct usage_ack ack;

    TRY(json_read(json, &doc));
    const json_t *list = json_object_get(doc, "acks");
    if (!json_is_array(list))
        return E_INVALID;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (ack_read(json_array_get(list, i), &ack) < 0)
            return E_INVALID;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (ack_read(json_array_get(list, i), &ack) == 0)
            fn(arg, &ack);
    return 0;
}

/* ---- The file ---- */

void usage_line_write(struct buf *out, const struct usage_record_line *line)
{
    char op[2 * SHA256_LEN + 1];

    hex_encode(op, SPAN_OF(line->key.op));
    buf_printf(out,
               "{\"seq\":%" PRIu64 ",\"t\":%" PRIu64
               ",\"op\":\"%s\",\"call\":\"%s\",\"attempt\":%" PRIu32 ",\"jws\":\"",
               line->seq, line->t_ms, op, line->key.call, line->key.attempt);
    buf_append(out, line->jws);
    buf_append_str(out, "\"}\n");
}

int usage_line_read(struct span text, usage_line_fn *fn, void *arg)
{
    AUTO_JSON json_t *doc = NULL;
    struct usage_record_line line = {0};
    struct span op = {0};
    int64_t seq = 0;
    int64_t t_ms = 0;

    TRY(json_read(text, &doc));
    if (json_obj_int(doc, "ack", 1, INT64_MAX, &seq) == 0) {
        fn(arg, NULL, (uint64_t)seq);
        return 0;
    }
    TRY(json_obj_int(doc, "seq", 1, INT64_MAX - 1, &seq));
    TRY(json_obj_int(doc, "t", 0, INT64_MAX, &t_ms));
    TRY(json_obj_string(doc, "op", &op));
    TRY(hex_decode(line.key.op, SHA256_LEN, op));
    TRY(call_get(doc, line.key.call, &line.key.attempt));
    TRY(json_obj_string(doc, "jws", &line.jws));
    if (!span_plain(line.jws, "-_.", JWS_MAX))
        return E_INVALID;
    line.seq = (uint64_t)seq;
    line.t_ms = (uint64_t)t_ms;
    fn(arg, &line, 0);
    return 0;
}
