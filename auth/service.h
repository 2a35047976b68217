/* Service tokens (auth.md): a JWT that an issuer of the operator's signs for a service that keeps
 * no API key. Pure. */
#ifndef AUTH_SERVICE_H
#define AUTH_SERVICE_H

#include "base/json.h"
#include "crypto/ed25519.h"

enum { SERVICE_LIFE_S = 600, SERVICE_SKEW_S = 60 };

/* What a token says; good as long as doc is. Embedded; {0} is empty. */
struct service_claims {
    json_t *doc;
    struct span account, jti, class; /* class: data NULL where the token names none */
};
void service_claims_fini(struct service_claims *c);
AUTO_FINI(struct service_claims, service_claims_fini)

/* The text looks like a JWT, which no API key does. */
bool service_token_is(struct span text);
/* Compact JWS of EdDSA with kid and typ "cgw-service+jwt" (crypto/jws.h) by this issuer. Members:
 *   account, jti (visible ASCII), iat, exp (Unix seconds, at most SERVICE_LIFE_S apart): required;
 *   class (interactive, batch, internal), scopes {models, endpoints} (lists; absent: all);
 *   nbf (Unix seconds); aud (a text, or a list of texts): has to name audience, which is what this
 *   gateway calls itself; where it has no name (empty), a token with aud is somebody else's.
 * E_AUTH: not this issuer's. E_INVALID: not understood; a scope is never widened by a mistake.
 * E_EXPIRED: over, or from the future. Fails with *out empty. */
MUST_CHECK int service_token_read(const struct ed25519 *issuer, struct span token,
                                  struct span audience, uint64_t now_s, struct service_claims *out);
/* The list of that name ("models", "endpoints") has the word, or there is no such list. */
bool service_allows(const struct service_claims *c, const char *list, struct span word);

#endif
