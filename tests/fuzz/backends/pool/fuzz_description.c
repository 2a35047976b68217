/* Any bytes as what a worker says of itself: its description, and its load. */
#include "backends/pool/pool_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void description(struct span in)
{
    static struct description d; /* large */

    if (description_parse(&d, in) < 0)
        return;
    CHECK(d.model_count <= POOL_MAX_MODELS && d.max_requests >= 0 && d.ask >= 0);
    CHECK(strlen(d.worker_id) < sizeof(d.worker_id) && strlen(d.reason) < sizeof(d.reason));
    for (size_t i = 0; i < d.model_count; i++) {
        const struct pool_model *m = &d.models[i];
        CHECK(m->name[0] && strlen(m->name) <= POOL_NAME_LEN && m->endpoints != 0);
        CHECK(m->context > 0 && m->max_output >= 0);
    }
}

static void load(struct span in)
{
    struct load l;

    if (load_parse(&l, in) < 0)
        return;
    CHECK(l.running >= 0 && l.waiting >= 0 && l.max >= 0 && l.kv >= 0 && l.kv <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    description(span_of(data, len));
    load(span_of(data, len));
    return 0;
}
