/* cocoon-worker's settings: what its owner gives, and to whom. */
#ifndef CONFIG_WORKER_CONFIG_H
#define CONFIG_WORKER_CONFIG_H

#include "config/config.h"

struct worker_operator {
    const char *name;
    struct config_strings gateways; /* host:port */
    struct config_strings pins;     /* 64 hex: SHA-256 of a CA's SPKI */
};

struct worker_model {
    const char *name;            /* served name */
    const char *engine_name;     /* the engine's own; "" = name */
    int64_t context, max_output; /* tokens */
    struct config_strings
        endpoints; /* chat, completions, embeddings; empty: chat and completions */
};

struct worker_config {
    const char *worker_id; /* a label for people */
    const char *payout;    /* owner's raw TON address */
    const char *admin;     /* "unix:/path": socket of the owner's controls */
    const char *log_level;
    struct config_list operators; /* struct worker_operator */
    struct config_list models;    /* struct worker_model */
    const char *engine_url;       /* http://127.0.0.1:port or unix:/path: loopback only */
    const char *engine_kind;      /* auto llamacpp vllm sglang generic */
    const char *quote_provider;   /* none, tsm or socket:/path */
    const char *gpu;              /* none or nvidia-cc */
    const char *collateral_file;  /* stapled to attestation documents; "": none */
    const char *event_log_file;   /* the same */
    const char *measured_config;  /* file whose SHA-256 is the keyset's config_sha256; "": none */
    const char *model_dir;        /* folder of the keyset's model_digest; "": none */
    const char *model_verity;     /* root hash of the image that it lies on, 64 hex; "": none */
    bool extend_rtmr3;            /* by both digests, once a boot, before a port opens */
    struct config_strings extras_allowed, extras_denied;
    int64_t tunnel_header_bytes, tunnel_streams, tunnel_settings_per_minute,
        tunnel_resets_per_second;
    int64_t max_requests; /* 1 … 10,000 at a time, all gateways together */
    int64_t ask;          /* 1/1000 */
    const char *hours_mon, *hours_tue, *hours_wed, *hours_thu, *hours_fri, *hours_sat,
        *hours_sun;            /* "HH:MM-HH:MM,…"; "" never; "always" */
    int64_t max_watts;         /* 0: no ceiling */
    const char *watts_command; /* prints the present watts */
    const char *usage_file;    /* "" = usage records in memory only */
    int64_t body_bytes;        /* largest request */
    int64_t head_ms; /* longest hold of the answer's head while the engine is silent: 10 s */
    int64_t engine_silent_ms; /* engine silent for so long: given up */
    int64_t drain_ms;
    int64_t keyset_s; /* a keyset's validity; keys rotate a sixth of it earlier */
    int64_t offload_threads;
};

extern const struct config_table worker_config_table;

#endif
