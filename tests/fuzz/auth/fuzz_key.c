/* Any bytes as a key, a record of Redis, a credential header, an address range. */
#include <stdlib.h>

#include "auth/cidr.h"
#include "auth/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void try_record(struct span in)
{
    struct key_record *r;

    if (key_record_parse(&r, in) < 0) {
        CHECK(r == NULL);
        return;
    }
    CHECK(r->version > 0 && r->account[0] && strlen(r->id) == 2 * KEY_ID_LEN);
    (void)key_allows_address(r, SPAN("10.0.0.1"));
    (void)key_allows_model(r, in);
    key_record_unref(r);
}

static void try_credential(struct span in)
{
    AUTO(buf_wipe) struct buf scratch = {0};
    struct span field = in;
    const struct span first = span_split(&field, '\n');
    const struct span found = api_key_credential(first, field, &scratch);

    CHECK(found.len <= in.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const struct span in = span_of(data, len);
    struct api_key key;
    struct cidr range;

    if (api_key_parse(&key, in) == 0)
        CHECK(len > KEY_ID_LEN + KEY_SECRET_LEN);
    try_record(in);
    try_credential(in);
    if (cidr_parse(&range, in) == 0)
        CHECK(cidr_contains(&range, &range));
    return 0;
}
