/* Options of the commands that talk to the gateways' Redis themselves. */
#ifndef TOOLS_REDIS_FLAGS_H
#define TOOLS_REDIS_FLAGS_H

#include "base/redis_url.h"
#include "config/config.h"
#include "tools/command.h"

struct redis_flags {
    struct redis_access at;
    const char *gateway_config; /* a gateway's settings file: what it says of Redis is taken */
    struct config_snapshot *snapshot;
};

/* $REDIS_URL, else the server of this machine. */
struct redis_flags redis_flags_default(void);
void redis_flags_fini(struct redis_flags *f);
AUTO_FINI(struct redis_flags, redis_flags_fini)

#define REDIS_FLAGS(f)                                                                             \
    {"redis", OPTION_TEXT, &(f).at.url, "the gateways' Redis ($REDIS_URL)"},                       \
        {"redis-user", OPTION_TEXT, &(f).at.user, "ACL user there"},                               \
        {"redis-password-file", OPTION_TEXT, &(f).at.password_file,                                \
         "a file (0600) with its password"},                                                       \
        {"redis-ca", OPTION_TEXT, &(f).at.ca_file, "a PEM file: whom rediss:// trusts"},           \
        {"gateway-config", OPTION_TEXT, &(f).gateway_config,                                       \
         "take all of that from a gateway's settings file"},

/* After the options were read. E_INVALID, with the reason appended to `why`: a settings file that
 * cannot be read, or a password where others can see it. */
MUST_CHECK int redis_flags_finish(struct redis_flags *f, struct buf *why);

#endif
