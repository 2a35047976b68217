/* Any bytes as a kept answer: from Redis, and as what stands inside of a seal. */
#include "gateway/kept.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(const struct kept_answer *a, struct span plain)
{
    CHECK(a->bytes.len < plain.len && a->cost_nano >= 0 && a->attestation >= -1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct kept_place place = {"acme", "n", "b", "/v1/chat/completions", "", "c"};
    static const uint8_t key[KEPT_KEY_LEN] = {1};
    AUTO(buf_wipe) struct buf plain = {0}, sealed = {0}, opened = {0};
    struct span in = span_of(data, len);
    struct kept_answer a = {0}, again;

    CHECK(kept_open(key, &place, in, &a, &plain) < 0); /* nobody guesses a tag */
    if (kept_read(in, &a) < 0)
        return 0;
    check(&a, in);
    CHECK(kept_seal(key, &place, &a, &sealed) == 0);
    CHECK(kept_open(key, &place, buf_span(&sealed), &again, &opened) == 0);
    CHECK(span_eq(buf_span(&opened), in));
    return 0;
}
