/* Any bytes as the plaintext of a sealed request. */
#include "worker/opened.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct worker_model model = {
        .name = "m", .engine_name = "", .context = 2048, .max_output = 512};
    static const struct worker_config config = {.models = {&model, 1}, .body_bytes = 65536};
    const struct outer outer = {.model = "m", .max_tokens = 100, .max_input = 100};
    struct opened o;

    opened_read(&o, span_of(data, len), &outer, &config, 1795500000);
    if (!o.fault.error)
        CHECK(o.cap <= 100 && o.model == &model);
    opened_fini(&o);
    return 0;
}
