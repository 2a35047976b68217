/* Any body to any endpoint: what is accepted can be forwarded, is accepted again by the next hop,
 * and makes JSON for an engine. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"
#include "openai/event_text.h"
#include "openai/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_engine(const struct request *rq, int64_t choice, int64_t prompt)
{
    static const enum engine_kind kinds[] = {ENGINE_GENERIC, ENGINE_LLAMACPP, ENGINE_VLLM,
                                             ENGINE_SGLANG};
    AUTO(buf_fini) struct buf body = {0};
    AUTO_JSON json_t *doc = NULL;
    const struct engine_ask ask = {.kind = kinds[(size_t)rq->prompts % 4],
                                   .model = SPAN("engine \"model\""),
                                   .cap = 7,
                                   .cache_salt = SPAN("salt"),
                                   .choice = choice,
                                   .prompt = prompt};

    CHECK(request_engine(rq, &ask, &body) == 0);
    const int error = json_read(buf_span(&body), &doc);
    CHECK(error == 0 || json_strict(buf_span(&body), NULL) >= 0); // integers beyond 64 bits
}

static void check_forward(const struct request *rq, const struct request_rules *rules)
{
    AUTO(buf_fini) struct buf body = {0};
    AUTO(request_fini) struct request again = {0};
    AUTO(buf_fini) struct buf twice = {0};
    struct api_fault fault;

    CHECK(request_forward(rq, SPAN("served/\xc3\xa9"), &body) == 0);
    CHECK(request_parse(&again, rq->endpoint, buf_span(&body), rules, &fault) == 0);
    CHECK(span_is(buf_span(&again.model), "served/\xc3\xa9"));
    CHECK(again.cap == rq->cap && again.choices == rq->choices && again.sequences == rq->sequences);
    CHECK(request_forward(&again, SPAN("served/\xc3\xa9"), &twice) == 0);
    CHECK(span_eq(buf_span(&body), buf_span(&twice)));
}

/* Any list of dropped names that a worker may send becomes a header's value. */
static void check_ignored(const struct request *rq, struct span list)
{
    AUTO(buf_fini) struct buf names = {0}, again = {0};

    request_ignored(rq, list, &names);
    CHECK(names.len == 0 || span_visible(buf_span(&names), 32 * (64 + 1)));
    request_ignored(rq, buf_span(&names), &again);
    CHECK(span_eq(buf_span(&names), buf_span(&again)));
}

static const char *const own_allowed[] = {"grammar", "own_*", NULL};
static const char *const own_denied[] = {"top_k", "mirostat*", "stop", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    AUTO(request_fini) struct request rq = {0};
    struct api_fault fault = {0};

    if (len < 1)
        return 0;
    check_ignored(&rq, span_of(data, len));
    const struct request_rules rules = {.strict = data[0] & 4,
                                        .allowed = data[0] & 8 ? own_allowed : NULL,
                                        .denied = data[0] & 8 ? own_denied : NULL};
    const enum endpoint e = (enum endpoint)(data[0] % 3);
    if (request_parse(&rq, e, span_of(data + 1, len - 1), &rules, &fault) < 0) {
        AUTO(buf_fini) struct buf out = {0};
        CHECK(fault.error && fault.error->status >= 400);
        api_fault_body(&fault, &out);
        CHECK(api_fault_parse(&fault, fault.error->status, buf_span(&out)) == 0);
        return 0;
    }
    CHECK(rq.choices >= 1 && rq.sequences >= 1 && rq.sequences <= 2048 && rq.cap >= -1);
    check_ignored(&rq, span_of(data, len));
    check_forward(&rq, &rules);
    check_engine(&rq, -1, -1);
    check_engine(&rq, rq.choices - 1, rq.prompts - 1);
    return 0;
}
