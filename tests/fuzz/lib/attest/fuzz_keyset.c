/* Keysets: what is accepted is written and read back to the same. */
#include "attest/keyset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(keyset_fini) struct keyset k = {0}, back = {0};
    AUTO(buf_fini) struct buf json = {0}, again = {0};
    char iid[IID_LEN + 1], wid[33];

    if (keyset_parse(&k, span_of(data, size)) < 0)
        return 0;
    CHECK(k.hpke_count >= 1 && k.model_count >= 1 && k.not_before < k.not_after);
    keyset_iid(&k, iid);
    keyset_wid(&k, NULL, wid);
    CHECK(keyset_valid_at(&k, k.not_before + 2 * 3600) == E_EXPIRED);
    keyset_write(&k, &json);
    if (json.len > KEYSET_MAX_BYTES) /* escapes may be longer than what came */
        return 0;
    CHECK(keyset_parse(&back, buf_span(&json)) == 0);
    keyset_write(&back, &again);
    CHECK(span_eq(buf_span(&json), buf_span(&again)));
    return 0;
}
