/* A caller's demands: foreign text. */
#include "attest/require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct attest_verdict refused = {.reason = ATTEST_PCK_REVOKED};
    struct attest_require r;
    char why[120] = "";

    if (attest_require_read(&r, span_of(data, size), why) < 0)
        CHECK(why[0] != '\0');
    else
        CHECK(attest_require_any(&r) == (attest_require_unmet(&r, &refused) != NULL));
    return 0;
}
