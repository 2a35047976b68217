/* Any bytes as a service's token, and as the claims of one that its issuer did sign. */
#include <stdlib.h>

#include "auth/service.h"
#include "crypto/jws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { NOW = 1800000000 };

static void try_signed(const struct ed25519 *issuer, struct span claims)
{
    AUTO(buf_fini) struct buf token = {0};
    AUTO(service_claims_fini) struct service_claims c = {0};

    if (jws_sign(issuer, "cgw-service+jwt", claims, &token) < 0)
        return;
    if (service_token_read(issuer, buf_span(&token), SPAN(""), NOW, &c) < 0) {
        CHECK(c.doc == NULL);
        return;
    }
    CHECK(c.account.len > 0 && c.jti.len > 0);
    (void)service_allows(&c, "models", claims);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct ed25519 *issuer;
    const struct span in = span_of(data, len);
    struct service_claims c;

    if (!issuer)
        CHECK(ed25519_generate(&issuer) == 0);
    CHECK(service_token_read(issuer, in, SPAN(""), NOW, &c) < 0 && c.doc == NULL);
    (void)service_token_is(in);
    try_signed(issuer, in);
    return 0;
}
