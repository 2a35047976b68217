/* The settings redis.… of every program that has a Redis. */
#ifndef CONFIG_REDIS_CONFIG_H
#define CONFIG_REDIS_CONFIG_H

#include "base/redis_url.h"
#include "config/check.h"
#include "config/fields.h"

/* Rows of a table whose struct (FIELDS_OF) has a struct redis_access `member`. */
#define REDIS_FIELDS(member)                                                                       \
    TEXT("redis.url", member.url, "redis://127.0.0.1:6379", setting_redis_url,                     \
         "redis://host:port[/db], redis+sentinel://host:port,.../primary[/db], "                   \
         "redis+cluster://host:port,..., unix:/path[?db=n]; rediss: with TLS"),                    \
        TEXT("redis.user", member.user, "", setting_redis_user, "ACL user; empty: none"),          \
        PATH("redis.password_file", member.password_file, "",                                      \
             "file with the password; empty: none"),                                               \
        TEXT("redis.sentinel_user", member.sentinel_user, "", setting_redis_user,                  \
             "ACL user at the Sentinels; empty: none"),                                            \
        PATH("redis.sentinel_password_file", member.sentinel_password_file, "",                    \
             "file with the Sentinels' password; empty: none"),                                    \
        PATH("redis.ca_file", member.ca_file, "",                                                  \
             "PEM: whom rediss trusts; empty: the system's CAs"),                                  \
        PATH("redis.cert_file", member.cert_file, "",                                              \
             "PEM: our certificate for rediss; empty: none"),                                      \
        PATH("redis.key_file", member.key_file, "", "PEM: its key"),                               \
        TEXT("redis.tls_name", member.tls_name, "", setting_redis_tls_name,                        \
             "name that servers' certificates carry; empty: the host dialled"),                    \
        FLAG("redis.durable", member.durable, "false",                                             \
             "refuse a Redis that may evict keys or keeps no AOF, in place of a warning")

#endif
