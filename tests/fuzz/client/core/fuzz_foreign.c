/* What the gateway says in clear: lists of workers, the next ones, records, refusals; and the
 * counts of an answer. The first byte chooses. */
#include <stdlib.h>

#include "client/core/foreign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_list(struct span in)
{
    struct worker_list list;

    if (worker_list_read(&list, in) == 0 &&
        (list.count > LISTED_MAX || list.ttl_s < 1 || list.model[0] == '\0'))
        abort();
}

static void read_record(struct span in)
{
    AUTO(buf_fini) struct buf jws = {0};

    if (receipts_read(in, &jws) == 0 && !span_visible(buf_span(&jws), 16 * 1024))
        abort();
}

static void read_refusal(struct span in)
{
    AUTO(buf_fini) struct buf body = {0};
    struct api_fault fault = {0};

    if (in.len < 2)
        return;
    refusal_read(100 + (unsigned)(in.data[0] << 8 | in.data[1]) % 500, span_from(in, 2), "m",
                 &fault);
    if (!fault.error)
        abort();
    api_fault_body(&fault, &body);
    (void)refusal_is(span_from(in, 2), "ohttp_key");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t next[NEXT_MAX][KFP_LEN];
    struct usage counts;

    if (size == 0)
        return 0;
    const struct span in = span_of(data + 1, size - 1);
    switch (data[0] % 5) {
    case 0:
        read_list(in);
        break;
    case 1:
        if (next_read(next, in) > NEXT_MAX)
            abort();
        break;
    case 2:
        read_record(in);
        break;
    case 3:
        read_refusal(in);
        break;
    default:
        if (counts_read(in, &counts) == 0 && (counts.in < 0 || counts.out < 0 || counts.cached < 0))
            abort();
    }
    return 0;
}
