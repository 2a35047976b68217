/* The table of cocoon-client's settings. */
#include "config/client_config.h"

#include "config/check.h"
#include "config/fields.h"

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, MIB = 1 << 20 };

#define FIELDS_OF client_config

static const struct config_field fields[] = {
    TEXT("listen", listen, "127.0.0.1:10000", setting_listen_local,
         "where applications reach it; this machine only"),
    TEXT("gateway", gateway, "", setting_gateway_url,
         "https://host, http://host:port or unix:/path"),
    PATH("ca_file", ca_file, "", "PEM: CAs of the gateway's certificate; empty: the system's"),
    PATH("policy", policy, "", "which workers are accepted; signed in the same name with .sig"),
    TEXTS("release_keys", release_keys, "", 0, 16, setting_pin,
          "public keys; one of them must have signed the policy"),
    COLLATERAL_FIELDS(""),
    FLAG("insecure_dev", insecure_dev, "false",
         "accept a policy for development: nothing is confidential then"),
    PATH("key_file", key_file, "",
         "this client's own secret, made when it is not there; empty: ~/.cocoon-client.key"),
    PATH("save_receipts", save_receipts, "",
         "a folder for requests, answers and what proves them (cocoonctl receipts verify); they "
         "stand there in clear; empty: nothing is kept"),
    TEXT("log_level", log_level, "warn", setting_log_level, "debug, info, warn or error"),
    TEXTS("cors_origins", cors_origins, "", 0, 256, setting_origin,
          "origins of web pages that may use it"),
    TEXT("padding", padding, "64", setting_padding, "hides the length of tokens: none, pow2 or 64"),
    FLAG("strict", strict, "false", "refuse unknown members of requests instead of dropping them"),
    NUMBER("ping_ms", ping_ms, "15000", 1000, 10 * MINUTE, "the worker's pings in silent streams"),
    NUMBER("timeouts.silence_ms", silence_ms, "120000", 100, HOUR,
           "nothing authenticated for so long ends a request"),
    NUMBER("timeouts.total_ms", total_ms, "2100000", SECOND, 24 * HOUR, "a whole request"),
    NUMBER("timeouts.stalled_ms", stalled_ms, "120000", 100, HOUR,
           "an application that does not read"),
    NUMBER("timeouts.drain_ms", drain_ms, "5000", 0, HOUR, "time to finish after SIGTERM"),
    NUMBER("default_output", default_output, "4096", 1, 10000000,
           "completion tokens a choice where the request says nothing"),
    EXTRAS_FIELDS,
    NUMBER("template_allowance", template_allowance, "1024", 0, 1000000,
           "prompt tokens added for the chat template"),
    NUMBER("limits.connections", connections, "1000", 1, 100000, "applications' connections"),
    NUMBER("limits.header_bytes", header_bytes, "32768", 1024, 262144, "a request's header block"),
    NUMBER("limits.body_bytes", body_bytes, "33554432", 1024, 1024 * MIB, "a request's body"),
    NUMBER("limits.replay_bytes", replay_bytes, "0", 0, 1024 * MIB,
           "answers kept in memory for their Idempotency-Key, all together, for a day; 0: none"),
    NUMBER("offload_threads", offload_threads, "2", 1, 64, "threads for verification"),
};

const struct config_table client_config_table = TABLE("cocoon-client", fields);
