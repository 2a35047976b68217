/* Any engine's bytes, one event a line: every client event is UTF-8 and JSON, and so is the body.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"
#include "openai/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_json(struct span text)
{
    json_error_t error;
    json_t *doc = json_loadb((const char *)text.data, text.len,
                             JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);

    CHECK(json_is_object(doc));
    json_decref(doc);
}

static void check_events(struct span all, enum answer_padding padding)
{
    CHECK(span_utf8(all));
    while (all.len > 0) {
        const ptrdiff_t end = span_find(all, SPAN("\n\n"));
        CHECK(end > 0 && span_starts(all, SPAN("data: ")));
        CHECK(padding != PADDING_64 || (end + 2) % 64 == 0);
        check_json(span_cut(all, 6, (size_t)end - 6));
        all = span_from(all, (size_t)end + 2);
    }
}

static void check_end(struct answer *a, const struct answer_options *o)
{
    AUTO(buf_fini) struct buf usage_event = {0};
    AUTO(buf_fini) struct buf rest = {0};
    struct usage u;

    const int error = answer_finish(a, &usage_event, &rest, &u);
    CHECK((error == 0) == answer_complete(a));
    CHECK(u.in >= 0 && u.out >= 0 && u.cached >= 0 && u.cached <= u.in);
    CHECK(u.reasoning >= 0 && u.reasoning <= u.out);
    if (error < 0)
        return;
    CHECK(span_utf8(buf_span(&usage_event)));
    if (o->stream && o->endpoint != EP_EMBEDDINGS) {
        CHECK(o->include_usage == (usage_event.len > 0));
        check_events(buf_span(&usage_event), o->padding);
        CHECK(!o->include_usage || span_ends(buf_span(&usage_event), SPAN("}}\n\n")));
        return;
    }
    CHECK(span_ends(buf_span(&usage_event), SPAN("}}")));
    check_json(buf_span(&usage_event));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 2)
        return 0;
    const struct answer_options o = {
        .endpoint = (enum endpoint)(data[0] % 3),
        .kind = (enum engine_kind)(data[1] & 3),
        .public_model = SPAN("p\"\xc3\xa9\xff"),
        .stream = data[0] & 4,
        .include_usage = data[0] & 8,
        .base64 = data[0] & 16,
        .padding = (enum answer_padding)((data[0] >> 5) % 3),
        .choices = 1 + (data[1] >> 2 & 3),
        .prompts = 1 + (data[1] >> 4 & 1),
        .top_logprobs = data[1] & 128 ? 1 : 20,
        .calls_in_text = data[1] & 64,
        .as_function = data[1] & 128,
        .service_tier = data[1] & 32 ? "default" : NULL,
    };
    struct answer *a = answer_new(&o);
    struct span rest = span_of(data + 2, len - 2);
    int error = 0;

    for (int64_t i = 0; error == 0 && rest.len > 0; i++) {
        AUTO(buf_fini) struct buf out = {0};
        struct api_fault fault = {0};
        const struct span line = span_split(&rest, '\n');
        error = answer_feed(a, line, i % 2, &out, &fault);
        CHECK(error != E_UNAVAILABLE || fault.error);
        check_events(buf_span(&out), o.padding);
    }
    if (error == 0)
        check_end(a, &o);
    answer_free(a);
    return 0;
}
