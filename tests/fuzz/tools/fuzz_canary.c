/* A worker's answer to a canary, and counts of any size: judged, and never right by accident. */
#include "tools/canary_judge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct canary_answer known[] = {{"known", 1}};
    AUTO(buf_fini) struct buf text = {0};
    struct canary c = {.model = "m", .system = "", .prompt = "p", .answers = {known, 1}};
    const struct usage used = {.in = (int64_t)size, .out = size > 0 ? data[0] : 0};

    if (canary_text(span_of(data, size), &text) < 0)
        CHECK(text.len == 0);
    c.prefix = size > 1 ? data[1] : 0;
    c.tolerance = size > 2 ? data[2] : 0;
    const enum canary_finding f = canary_judge(&c, buf_span(&text), &used);
    CHECK(canary_finding_name(f) != NULL);
    if (c.prefix == 0 || c.prefix > 5)
        CHECK((f == CANARY_OTHER_TEXT) == !span_is(buf_span(&text), "known"));
    return 0;
}
