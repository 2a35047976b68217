/* Where cocoonctl finds the gateways' Redis: options, the environment, or a gateway's settings. */
#include "tools/redis_flags.h"

#include <stdlib.h>

#include "config/gateway_config.h"

struct redis_flags redis_flags_default(void)
{
    const char *url = getenv("REDIS_URL");

    return (struct redis_flags){.at.url = url && *url ? url : "redis://127.0.0.1:6379"};
}

void redis_flags_fini(struct redis_flags *f)
{
    if (f->snapshot)
        config_unref(f->snapshot);
    f->snapshot = NULL;
}

static int take_config(struct redis_flags *f, struct buf *why)
{
    const struct gateway_config *settings;

    TRY(config_load(&f->snapshot, &gateway_config_table, f->gateway_config, why));
    settings = f->snapshot->values;
    f->at = settings->redis;
    return 0;
}

/* Arguments and the environment are seen by others on this machine. */
static bool shows_password(const char *text)
{
    struct redis_url url;
    const bool shows = redis_url_parse(&url, text) == 0 && url.password[0];

    explicit_bzero(&url, sizeof(url));
    return shows;
}

int redis_flags_finish(struct redis_flags *f, struct buf *why)
{
    if (f->gateway_config)
        return take_config(f, why) < 0 ? E_INVALID : 0;
    if (!shows_password(f->at.url))
        return 0;
    buf_append_str(why, "a password does not belong into --redis or REDIS_URL, where others can "
                        "see it: --redis-password-file names a file (0600) with it");
    return E_INVALID;
}
