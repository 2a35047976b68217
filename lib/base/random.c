/* The kernel's randomness; for choices it is fetched in batches, one batch a thread. */
#include "base/random.h"

#include <errno.h>
#include <sys/random.h>

#include "base/error.h"

void random_bytes(void *out, size_t len)
{
    uint8_t *to = out;

    while (len > 0) {
        const ssize_t got = getrandom(to, len, 0);
        CHECK(got > 0 || errno == EINTR);
        if (got > 0) {
            to += got;
            len -= (size_t)got;
        }
    }
}

static uint64_t next_word(void)
{
    static _Thread_local struct {
        uint64_t words[32];
        size_t left;
    } batch;

    if (batch.left == 0) {
        random_bytes(batch.words, sizeof(batch.words));
        batch.left = sizeof(batch.words) / sizeof(batch.words[0]);
    }
    return batch.words[--batch.left];
}

uint64_t random_below(uint64_t below)
{
    CHECK(below > 0);
    const uint64_t excess =
        -below % below; // 2^64 mod below: that many words would favour small values
    uint64_t word;
    do
        word = next_word();
    while (word < excess);
    return word % below;
}
