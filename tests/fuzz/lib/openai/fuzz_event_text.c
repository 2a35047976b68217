/* The strict scanner beside jansson: what jansson reads passes as it is; what passes is UTF-8 and
 * passes again unchanged. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"
#include "openai/event_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    AUTO(buf_fini) struct buf one = {0};
    AUTO(buf_fini) struct buf two = {0};
    AUTO_JSON json_t *doc = NULL;
    struct span text, again;
    const int error = event_text(span_of(data, len), &one, &text);

    /* jansson overlooks a NUL behind a number. */
    if (!memchr(data, '\0', len) && json_read(span_of(data, len), &doc) == 0)
        CHECK(error == 0 && text.data == data && text.len == len);
    if (error < 0)
        return 0;
    CHECK(span_utf8(text));
    CHECK(event_text(text, &two, &again) == 0 && again.data == text.data && again.len == text.len);
    return 0;
}
