/* Any error body of an engine becomes one of ours, fit to be sent and read back. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"
#include "openai/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const unsigned statuses[] = {400, 401, 403, 404, 408, 413, 422,
                                        429, 500, 501, 502, 503, 504, 599};
    AUTO(buf_fini) struct buf out = {0};
    AUTO_JSON json_t *doc = NULL;
    struct api_fault fault, back;

    if (len < 1)
        return 0;
    engine_fault((enum engine_kind)(data[0] & 3), statuses[(data[0] >> 2) % 14],
                 span_of(data + 1, len - 1), &fault);
    CHECK(fault.error && fault.message[0] != '\0');
    CHECK(fault.error->status != 401 && fault.error->status != 403 && fault.error->status != 404);
    api_fault_body(&fault, &out);
    CHECK(json_read(buf_span(&out), &doc) == 0);
    CHECK(api_fault_parse(&back, fault.error->status, buf_span(&out)) == 0);
    (void)!api_fault_parse(&back, 400, span_of(data + 1, len - 1));
    return 0;
}
