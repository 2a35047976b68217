/* cocoon-gateway's settings. */
#ifndef CONFIG_GATEWAY_CONFIG_H
#define CONFIG_GATEWAY_CONFIG_H

#include "base/redis_url.h"
#include "config/config.h"

struct gateway_config {
    const char *listen;        /* public API: host:port, or unix:/path behind nginx or HAProxy */
    const char *admin;         /* admin listener: loopback or unix: */
    const char *tunnel_listen; /* where workers dial */
    const char *tunnel_public; /* what workers are told to dial; "" = tunnel_listen */
    const char *tunnel_chain;  /* PEM: leaf and CA */
    const char *tunnel_key;
    struct redis_access redis;
    int64_t redis_command_ms;
    const char
        *cluster_secret_file; /* 32 bytes as 64 hex digits, shared by the operator's gateways */
    const char *operator_key_file;    /* 64 hex digits; "": nothing is signed */
    const char *instance;             /* name of this instance; "" = host name and port */
    const char *log_level;            /* debug info warn error */
    bool accept_unattested;           /* attestation.… */
    const char *policy, *trust_state; /* "": none; "": beside the policy */
    struct config_strings release_keys;
    const char *collateral_url, *root_crl_url, *collateral_cache, *collateral_bundle;
    struct config_strings cors_origins;    /* "*" or origins */
    struct config_strings trusted_proxies; /* addresses; "unix" for UNIX peers */
    int64_t daemons, offload_threads;
    int64_t connections, header_bytes, body_bytes, bodies_in_flight_bytes;
    int64_t public_per_minute; /* calls without a key, of one address */
    int64_t header_ms, body_ms, body_ms_per_64k;
    int64_t idle_s;     /* keep-alive of client connections */
    int64_t head_ms;    /* worker silent before its first byte */
    int64_t silence_ms; /* worker silent between bytes (pings count) */
    int64_t total_ms;   /* whole call: default and most of the caller's `timeout` */
    int64_t stalled_ms; /* a client that does not read */
    int64_t drain_ms;
    int64_t ping_ms;                    /* cocoon-ping-ms given to workers */
    int64_t attempts;                   /* most workers tried for one call */
    int64_t queue_most, queue_ms;       /* calls that wait for a model, and for how long at most */
    int64_t retry_percent, retry_least; /* of a model's requests of a minute; not fewer than */
    int64_t slow_start_ms;              /* a new worker's share grows for so long */
    int64_t affinity_percent; /* of its slots: requests that a conversation's own worker may be
                                 behind */
    int64_t price_percent;    /* how much of a difference in price counts as one in time */
    int64_t prefill;          /* tokens of input that cost as much as one of output */
    int64_t reserve_internal_percent, reserve_interactive_percent; /* of a model's slots */
    int64_t standing_s;               /* how often a worker's standing is read */
    int64_t first_token_ms, token_ms; /* no event, whatever pings there are: the first, the next */
    int64_t default_output; /* completion tokens per choice where neither request nor key says */
    struct config_strings extras_allowed, extras_denied;
    int64_t tunnel_header_bytes, tunnel_streams, tunnel_settings_per_minute,
        tunnel_resets_per_second;
    int64_t template_allowance;   /* prompt tokens added to bytes for Cocoon-Max-Input */
    const char *journal;          /* "": metered keys are refused */
    bool billing_required;        /* keys that are not metered are refused */
    int64_t top_speed;            /* tokens a second of one sequence that are believed; 0: any */
    int64_t usual_margin;         /* percent above what is usual for an answer that are believed */
    int64_t hold_grace_ms;        /* of a hold, beyond the call's deadline */
    int64_t replay_bytes;         /* longest answer that is kept; 0: none is */
    int64_t replay_account_bytes; /* of an account's answers; the oldest go first */
    int64_t auth_fresh_ms, auth_stale_ms, auth_negative_ms, auth_failures_per_minute;
    const char *telegram_key;        /* Telegram's, 64 hex digits */
    struct config_list bots;         /* struct gateway_bot */
    struct config_list issuers;      /* struct gateway_issuer */
    const char *service_audience;    /* "": this gateway has no name in tokens */
    const char *internal_listen;     /* unix:/path; "": none */
    const char *internal_tls_listen; /* host:port; "": none */
    const char *internal_chain, *internal_key, *internal_client_ca; /* PEM */
    int64_t internal_connections;
    struct config_list internal_services; /* struct gateway_internal_service */
    int64_t attest_every_ms;              /* re-verification */
    const char *tracing_otlp;             /* a collector's URL; "": none, nothing is exported */
    const char *tracing_headers_file, *tracing_ca_file; /* "": none; the system's */
    int64_t tracing_one_in;     /* requests without a traceparent begin a trace; 0: none */
    int64_t tracing_per_second; /* requests recorded at most */
};

/* A bot whose Mini App's users may call. */
struct gateway_bot {
    int64_t id;
    const char *token_file; /* "": Telegram's signature is checked */
    const char *key_file;   /* the API key that pays */
    int64_t requests_per_minute;
};

/* An issuer of service tokens and an account that it may act for. */
struct gateway_issuer {
    const char *public_key, *account;
    const char *key_file; /* the API key that pays, of that account */
    bool internal;        /* its tokens may say class internal */
};

/* A service that calls on the internal listener. */
struct gateway_internal_service {
    int64_t uid;     /* whose processes it is; -1: it has a certificate */
    const char *san; /* "DNS:…", "URI:…" of its certificate; "": it is a user */
    const char *account;
    const char *key_file; /* the API key that pays, of that account */
    const char *class;    /* "": the key's */
};

extern const struct config_table gateway_config_table;

#endif
