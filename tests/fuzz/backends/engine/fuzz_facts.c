/* Any bytes as what an engine says about itself. */
#include "backends/engine/facts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct facts f; /* large */
    const struct span in = span_of(data, len);
    struct engine_load load;

    f = (struct facts){0};
    (void)!facts_read_models(&f, in);
    (void)!facts_read_props(&f, in);
    (void)!facts_read_version(&f, in);
    CHECK(f.model_count <= FACTS_MAX_MODELS && facts_context(&f, in) >= 0);
    for (int kind = ENGINE_LLAMACPP; kind <= ENGINE_VLLM; kind++) {
        int64_t tokens;
        struct span prompt;
        if (facts_read_count((enum engine_kind)kind, in, &tokens) == 0)
            CHECK(tokens >= 0 && (size_t)tokens <= (kind == ENGINE_VLLM ? FACTS_MAX_TOKENS : len));
        if (facts_read_prompt(in, &prompt) == 0)
            CHECK(prompt.len >= 2 && prompt.len < len);
    }
    facts_read_metrics(&load, in);
    CHECK(load.running >= 0 && load.waiting >= 0 && load.kv >= 0 && load.kv <= 1);
    return 0;
}
