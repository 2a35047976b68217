/* Event logs: foreign bytes. */
#include "attest/event_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t rtmr[4][ATTEST_MR_LEN];
    const int error = event_log_replay(span_of(data, size), rtmr);

    CHECK(error == 0 || error == E_INVALID || error == E_TOO_LARGE);
    return 0;
}
