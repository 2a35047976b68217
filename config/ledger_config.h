/* cocoon-ledger's settings. */
#ifndef CONFIG_LEDGER_CONFIG_H
#define CONFIG_LEDGER_CONFIG_H

#include "base/redis_url.h"
#include "config/config.h"

struct ledger_role {
    const char *user; /* a name or number of this machine; "": there is a san */
    const char *san;  /* "DNS:…" or "URI:…" of a certificate; "": there is a user */
    const char *role; /* viewer support treasurer admin */
};

struct ledger_config {
    const char *books;       /* path, or postgresql://… */
    const char *admin;       /* "unix:/path" */
    const char *admin_group; /* "": none */
    const char *tls_listen;  /* host:port; "": none */
    const char *tls_chain, *tls_key, *tls_client_ca;
    struct config_list roles; /* struct ledger_role */
    struct redis_access redis;
    struct config_strings operators; /* 64 hex: whose word for a bill key counts */
    struct config_strings pinned;    /* 64 hex: bill keys that count */
    const char *log_level;
    int64_t usage_days;  /* kept in Redis for gateways */
    bool hooks_insecure; /* http:// and private addresses: for tests */
    int64_t hooks_timeout_ms;
};

extern const struct config_table ledger_config_table;

#endif
