/* Services that call with a token of an issuer whom the operator trusts (auth.md). */
#ifndef GATEWAY_SERVICES_H
#define GATEWAY_SERVICES_H

#include "config/gateway_config.h"
#include "gateway/call.h"

struct services;

enum { SERVICES_WHY_LEN = 200 };
/* Reads the keys that the settings name. On failure `why` says which issuer's, without a value. */
MUST_CHECK int services_new(struct services **out, const struct gateway_config *s,
                            char why[SERVICES_WHY_LEN]);
void services_free(struct services *s);
/* A call with a token of an issuer goes on with the key of who pays: sets service and payer_key.
 * False: refused, c->fault says why. What is no such token is left as it is. */
bool services_admit(struct call *c, struct span credential);
/* A call goes on as a service whose connection, not its request, says which one it is: account and
 * class ("": the key's) are the operator's words, key answers for it. All are copied. */
void services_act(struct call *c, const char *account, const char *class, struct span key);
void services_forget(struct call *c);
/* Once the payer's key is known: the account is the service's, and its class granted. False: it is
 * refused. */
bool services_confirm(struct call *c);

/* What the key's record and a service's token say together. */
const char *call_class(const struct call *c);
bool call_allows_model(const struct call *c, struct span model);
bool call_allows_endpoint(const struct call *c, const char *endpoint);

#endif
