/* The settings redis.… of every program that has a Redis. */
#ifndef CONFIG_REDIS_CONFIG_H
#define CONFIG_REDIS_CONFIG_H

#include "base/redis_url.h"
#include "config/check.h"
#include "config/config.h"

#define CONFIG_REDIS_PATH(owner, member, field, help_text)                                         \
    {                                                                                              \
        .name = "redis." #field, .type = CONFIG_PATH, .offset = offsetof(owner, member.field),     \
        .fallback = "", .help = (help_text)                                                        \
    }
#define CONFIG_REDIS_TEXT(owner, member, field, default_text, check_fn, help_text)                 \
    {                                                                                              \
        .name = "redis." #field, .type = CONFIG_STRING, .offset = offsetof(owner, member.field),   \
        .fallback = (default_text), .check = (check_fn), .help = (help_text)                       \
    }

/* The fields of a table whose struct `owner` has a struct redis_access `member`. */
#define CONFIG_REDIS_FIELDS(owner, member)                                                         \
    CONFIG_REDIS_TEXT(owner, member, url, "redis://127.0.0.1:6379", setting_redis_url,             \
                      "redis://host:port[/db], redis+sentinel://host:port,.../primary[/db], "      \
                      "redis+cluster://host:port,..., unix:/path[?db=n]; rediss: with TLS"),       \
        CONFIG_REDIS_TEXT(owner, member, user, "", setting_redis_user, "ACL user; empty: none"),   \
        CONFIG_REDIS_PATH(owner, member, password_file, "file with the password; empty: none"),    \
        CONFIG_REDIS_TEXT(owner, member, sentinel_user, "", setting_redis_user,                    \
                          "ACL user at the Sentinels; empty: none"),                               \
        CONFIG_REDIS_PATH(owner, member, sentinel_password_file,                                   \
                          "file with the Sentinels' password; empty: none"),                       \
        CONFIG_REDIS_PATH(owner, member, ca_file,                                                  \
                          "PEM: whom rediss trusts; empty: the system's CAs"),                     \
        CONFIG_REDIS_PATH(owner, member, cert_file,                                                \
                          "PEM: our certificate for rediss; empty: none"),                         \
        CONFIG_REDIS_PATH(owner, member, key_file, "PEM: its key"),                                \
        CONFIG_REDIS_TEXT(owner, member, tls_name, "", setting_redis_tls_name,                     \
                          "name that servers' certificates carry; empty: the host dialled"),       \
    {                                                                                              \
        .name = "redis.durable", .type = CONFIG_BOOL, .offset = offsetof(owner, member.durable),   \
        .fallback = "false",                                                                       \
        .help = "refuse a Redis that may evict keys or keeps no AOF, in place of a warning"        \
    }

#endif
