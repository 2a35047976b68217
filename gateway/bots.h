/* Telegram's bots (auth.md): whose Mini Apps may call, who pays for their users, and how much each
 * user may ask. */
#ifndef GATEWAY_BOTS_H
#define GATEWAY_BOTS_H

#include "config/gateway_config.h"
#include "gateway/call.h"

struct bots;

enum { BOTS_WHY_LEN = 200 };
/* Reads the files that the settings name. On failure `why` says which bot's, without a value. */
MUST_CHECK int bots_new(struct bots **out, const struct gateway_config *s, char why[BOTS_WHY_LEN]);
void bots_free(struct bots *b);
/* A call with a token of ours goes on with the key of who pays: sets end_user and payer_key. False:
 * refused, c->fault says why. What is no token of ours is left as it is. */
bool bots_admit_user(struct call *c, struct span credential);

#endif
