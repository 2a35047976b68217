/* The signature is judged first: but for the length, nothing of the text is looked at without it.
 */
#include "billing/bill_claim.h"

#include <string.h>

#include "base/encode.h"
#include "crypto/detached.h"

static const char label[] = "cgw/bill-key/v1";

int bill_claim_sign(const struct bill_claim *c, const struct ed25519 *operator_key, struct buf *out)
{
    AUTO(buf_fini) struct buf text = {0};
    char hex[2 * ED25519_KEY_LEN + 1];

    hex_encode(hex, SPAN_OF(c->key));
    buf_printf(&text, "%s %llu %s", hex, (unsigned long long)c->since_s, c->instance);
    buf_append(out, buf_span(&text));
    buf_byte(out, '\n');
    return detached_sign(label, buf_span(&text), operator_key, out);
}

int bill_claim_read(struct bill_claim *out, struct span text, const struct span *operator_keys,
                    size_t count)
{
    struct span claim;

    *out = (struct bill_claim){.since_s = 0};
    if (text.len > BILL_CLAIM_MAX)
        return E_INVALID;
    claim = span_split(&text, '\n');
    TRY(detached_verify(label, claim, text, operator_keys, count));
    TRY(hex_decode(out->key, sizeof(out->key), span_split(&claim, ' ')));
    TRY(span_u64(span_split(&claim, ' '), INT64_MAX, &out->since_s));
    return span_cstr(claim, out->instance, sizeof(out->instance));
}
