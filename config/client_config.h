/* cocoon-client's settings: which gateway, whose policy, and where applications reach it. */
#ifndef CONFIG_CLIENT_CONFIG_H
#define CONFIG_CLIENT_CONFIG_H

#include "config/config.h"

struct client_config {
    const char *listen;                 /* this machine only */
    const char *gateway;                /* http://, https:// or unix:/path */
    const char *ca_file;                /* "" = the system's CAs */
    const char *policy;                 /* its signature stands in the same name with .sig */
    struct config_strings release_keys; /* 64 hex */
    const char *collateral_url, *root_crl_url, *collateral_cache, *collateral_bundle;
    bool insecure_dev;         /* accept a policy for development */
    const char *key_file;      /* this client's own secret; made when it is not there */
    const char *save_receipts; /* a folder; "" = nothing is kept */
    const char *log_level;
    struct config_strings cors_origins; /* of web pages that may use it; empty: none */
    const char *padding;                /* none, pow2, 64 */
    bool strict;                        /* unknown members are refused, not dropped */
    int64_t ping_ms, silence_ms, total_ms, stalled_ms, drain_ms;
    int64_t default_output, template_allowance;
    struct config_strings extras_allowed, extras_denied;
    int64_t connections, header_bytes, body_bytes;
    int64_t replay_bytes; /* of answers in memory, for their Idempotency-Key; 0: none */
    int64_t offload_threads;
};

extern const struct config_table client_config_table;

#endif
