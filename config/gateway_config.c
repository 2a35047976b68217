/* The table of cocoon-gateway's settings. */
#include "config/gateway_config.h"

#include "config/check.h"
#include "config/fields.h"
#include "config/redis_config.h"

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, MIB = 1 << 20 };

#define FIELDS_OF gateway_bot

static const struct config_field bot_fields[] = {
    NUMBER("id", id, NULL, 1, INT64_C(1) << 52, "the number before the colon of the bot's token"),
    PATH("token_file", token_file, "", "its token; empty: Telegram's signature is checked"),
    PATH("key_file", key_file, NULL, "an API key of the account that pays"),
    NUMBER("requests_per_minute", requests_per_minute, "20", 1, 1000000, "of each user"),
};

static const struct config_table bot_table = TABLE("bot", bot_fields);

#undef FIELDS_OF
#define FIELDS_OF gateway_issuer

static const struct config_field issuer_fields[] = {
    TEXT("public_key", public_key, NULL, setting_pin, "Ed25519, 64 hex digits"),
    TEXT("account", account, NULL, setting_label, "that it may act for; several: an item each"),
    PATH("key_file", key_file, NULL, "an API key of that account"),
    FLAG("internal", internal, "false", "its tokens may say class internal"),
};

static const struct config_table issuer_table = TABLE("issuer", issuer_fields);

#undef FIELDS_OF
#define FIELDS_OF gateway_internal_service

static const struct config_field internal_fields[] = {
    NUMBER("uid", uid, "-1", -1, UINT32_MAX - 1, "the user of its processes; -1: none, but san"),
    TEXT("san", san, "", setting_san, "a name in its certificate: DNS:name or URI:uri"),
    TEXT("account", account, NULL, setting_label, "that pays"),
    PATH("key_file", key_file, NULL, "an API key of that account"),
    TEXT("class", class, "", setting_class, "of its calls; empty: the key's"),
};

static const struct config_table internal_table = TABLE("service", internal_fields);

#undef FIELDS_OF
#define FIELDS_OF gateway_config

static const struct config_field fields[] = {
    TEXT("listen", listen, "127.0.0.1:8080", setting_listen,
         "public API; unix:/path behind nginx or HAProxy"),
    TEXT("admin", admin, "127.0.0.1:9090", setting_listen_local,
         "health, metrics and status; this machine only"),
    TEXT("tunnel.listen", tunnel_listen, "0.0.0.0:8443", setting_listen, "where workers dial"),
    TEXT("tunnel.public", tunnel_public, "", setting_host_port,
         "what workers are told to dial; empty: tunnel.listen"),
    PATH("tunnel.chain", tunnel_chain, NULL, "PEM: certificate and CA (cocoonctl operator init)"),
    PATH("tunnel.key", tunnel_key, NULL, "PEM: key of the certificate"),
    REDIS_FIELDS(redis),
    NUMBER("redis.command_ms", redis_command_ms, "50", 1, 10000,
           "a command unanswered for so long is abandoned"),
    PATH("cluster_secret_file", cluster_secret_file, NULL,
         "64 hex digits shared by the operator's gateways"),
    TEXT("instance", instance, "", setting_label, "name of this instance; empty: host and port"),
    TEXT("log_level", log_level, "info", setting_log_level, "debug, info, warn or error"),
    FLAG("attestation.accept_unattested", accept_unattested, "false",
         "accept workers that say they have no evidence; never with a production policy"),
    PATH("operator_key_file", operator_key_file, "",
         "signs /.well-known/cocoon.json and vouches for the bill key (cocoonctl operator key)"),
    PATH("attestation.policy", policy, "", "which evidence is accepted; its signature in FILE.sig"),
    TEXTS("attestation.release_keys", release_keys, "", 0, 16, setting_pin,
          "one of these must have signed the policy: 64 hex digits each"),
    PATH("attestation.state", trust_state, "",
         "file for the highest sequence and numbers seen; empty: beside the policy"),
    COLLATERAL_FIELDS("attestation."),
    NUMBER("attestation.every_ms", attest_every_ms, "600000", SECOND, 24 * HOUR,
           "workers are attested again so often"),
    TEXTS("cors_origins", cors_origins, "*", 0, 256, setting_origin,
          "origins of web pages; * for any"),
    TEXTS("trusted_proxies", trusted_proxies, "", 0, 256, setting_proxy,
          "whose Forwarded or X-Forwarded-For is believed: addresses, ranges, unix"),
    NUMBER("server.daemons", daemons, "64", 1, 256, "HTTP daemons that share the connections"),
    NUMBER("server.offload_threads", offload_threads, "2", 1, 64, "threads for cryptography"),
    NUMBER("server.idle_s", idle_s, "75", 1, 3600, "keep-alive of clients' connections"),
    NUMBER("limits.connections", connections, "10000", 1, 1000000, "clients' connections"),
    NUMBER("limits.header_bytes", header_bytes, "32768", 1024, 262144, "a request's header block"),
    NUMBER("limits.body_bytes", body_bytes, "33554432", 1024, 1024 * MIB, "a request's body"),
    NUMBER("limits.bodies_in_flight_bytes", bodies_in_flight_bytes, "536870912", 1024, 1LL << 40,
           "all bodies held at a time"),
    TUNNEL_LIMITS,
    NUMBER("limits.public_per_minute", public_per_minute, "600", 1, 1000000,
           "calls of one address that need no key (/v1/confidential)"),
    NUMBER("limits.header_ms", header_ms, "10000", 100, 10 * MINUTE, "time for a header block"),
    NUMBER("limits.body_ms", body_ms, "30000", 100, HOUR, "time for a body: this ..."),
    NUMBER("limits.body_ms_per_64k", body_ms_per_64k, "1000", 0, MINUTE,
           "... and this for each 64 KiB received"),
    NUMBER("timeouts.head_ms", head_ms, "60000", 100, HOUR, "worker silent before its first byte"),
    NUMBER("timeouts.silence_ms", silence_ms, "60000", 100, HOUR,
           "worker silent between bytes, pings included"),
    NUMBER("timeouts.first_token_ms", first_token_ms, "300000", 100, 24 * HOUR,
           "no first event of a stream, whatever pings come"),
    NUMBER("timeouts.token_ms", token_ms, "300000", 100, 24 * HOUR,
           "no further event of a stream, whatever pings come"),
    NUMBER("timeouts.queue_ms", queue_ms, "20000", 0, 10 * MINUTE,
           "a call waits for a worker with room"),
    NUMBER("timeouts.total_ms", total_ms, "2100000", SECOND, 24 * HOUR, "a whole call"),
    NUMBER("timeouts.stalled_ms", stalled_ms, "120000", 100, HOUR, "a client that does not read"),
    NUMBER("timeouts.drain_ms", drain_ms, "30000", 0, HOUR, "time to finish after SIGTERM"),
    NUMBER("ping_ms", ping_ms, "15000", 1000, 10 * MINUTE, "pings in silent streams"),
    NUMBER("attempts", attempts, "3", 1, 10, "most workers tried for one call"),
    NUMBER("scheduler.queue", queue_most, "1000", 0, 100000, "calls of one model that wait"),
    NUMBER("scheduler.retry_percent", retry_percent, "10", 0, 100,
           "of a model's requests of the last minute that are tried again"),
    NUMBER("scheduler.retry_least", retry_least, "10", 0, 100000,
           "that may be tried again in a minute, however few there were"),
    NUMBER("scheduler.slow_start_ms", slow_start_ms, "60000", 0, HOUR,
           "a new worker's share grows for so long"),
    NUMBER("scheduler.affinity_percent", affinity_percent, "50", 0, 1000,
           "of its slots: how many requests a conversation's own worker may be behind the best"),
    NUMBER("scheduler.price_percent", price_percent, "50", 0, 1000,
           "how much of a difference in price counts as one in time"),
    NUMBER("scheduler.prefill", prefill, "8", 1, 1000,
           "tokens of input that cost as much as one of output"),
    NUMBER("scheduler.reserve_internal_percent", reserve_internal_percent, "2", 0, 100,
           "of a model's slots, kept free for keys of class internal"),
    NUMBER("scheduler.reserve_interactive_percent", reserve_interactive_percent, "20", 0, 100,
           "of a model's slots, kept free for keys of class interactive"),
    NUMBER("scheduler.standing_s", standing_s, "60", 1, 3600,
           "how often what all gateways count of a worker is read"),
    NUMBER("default_output", default_output, "4096", 1, 10000000,
           "completion tokens a choice where nobody says"),
    EXTRAS_FIELDS,
    NUMBER("template_allowance", template_allowance, "1024", 0, 1000000,
           "prompt tokens added for the chat template"),
    PATH("billing.journal", journal, "",
         "file for bills (SQLite), its key beside it in FILE.key; empty: metered keys are refused"),
    FLAG("billing.required", billing_required, "false", "refuse keys that are not metered"),
    NUMBER("billing.top_speed", top_speed, "2000", 0, 1000000,
           "tokens a second of one sequence that are believed; 0: any"),
    NUMBER("billing.usual_margin", usual_margin, "25", 0, 100000,
           "percent above the tokens that are usual for such an answer that are believed"),
    NUMBER("billing.grace_ms", hold_grace_ms, "60000", SECOND, 24 * HOUR,
           "a hold lives as long as its call may last, and so long"),
    NUMBER("billing.replay_bytes", replay_bytes, "262144", 0, 16 * MIB,
           "longest answer that is kept for its Idempotency-Key, sealed, in Redis; 0: none"),
    NUMBER("billing.replay_account_bytes", replay_account_bytes, "16777216", MIB, 1024 * MIB,
           "most of these of one account; the oldest go first"),
    NUMBER("auth.fresh_ms", auth_fresh_ms, "5000", 0, 10 * MINUTE, "a known key is not looked up"),
    NUMBER("auth.stale_ms", auth_stale_ms, "600000", 0, 24 * HOUR,
           "a known key is good while Redis is away"),
    NUMBER("auth.negative_ms", auth_negative_ms, "2000", 0, MINUTE,
           "an unknown key is not looked up"),
    NUMBER("auth.failures_per_minute", auth_failures_per_minute, "20", 1, 100000,
           "failures of an address before it is slowed down"),
    TEXT("telegram.public_key", telegram_key,
         "e7bf03a2fa4602af4580703d88dda5bb59f32ed8b02a56c187fe7d34caed242d", setting_pin,
         "Telegram's Ed25519 key for third parties"),
    LIST("telegram.bots", bots, "", 0, 64, &bot_table, "bots whose Mini Apps' users may call"),
    LIST("service_tokens.issuers", issuers, "", 0, 64, &issuer_table,
         "who signs tokens for services"),
    TEXT("service_tokens.audience", service_audience, "", setting_model,
         "what they must name in aud; empty: then none may have one"),
    TEXT("internal.listen", internal_listen, "", setting_unix,
         "where services call that the kernel knows by their user; empty: nowhere"),
    TEXT("internal.tls.listen", internal_tls_listen, "", setting_listen_tcp,
         "where they call with client certificates; empty: nowhere"),
    PATH("internal.tls.chain", internal_chain, "", "PEM: our certificate there, and its CAs"),
    PATH("internal.tls.key", internal_key, "", "PEM: key of the certificate"),
    PATH("internal.tls.client_ca", internal_client_ca, "", "PEM: CAs that sign services' own"),
    NUMBER("internal.connections", internal_connections, "1000", 1, 1000000, "theirs"),
    LIST("internal.services", internal_services, "", 0, 256, &internal_table, "who they are"),
    TEXT("tracing.otlp", tracing_otlp, "", setting_service_url,
         "where spans are sent (OTLP/HTTP, JSON): http://127.0.0.1:4318/v1/traces; empty: nowhere"),
    PATH("tracing.headers_file", tracing_headers_file, "",
         "secret file of headers for it, Name: value a line; empty: none"),
    PATH("tracing.ca_file", tracing_ca_file, "",
         "PEM: CAs of its certificate; empty: the system's"),
    NUMBER("tracing.one_in", tracing_one_in, "100", 0, 1000000000,
           "of so many requests without a traceparent one begins a trace; 0: none"),
    NUMBER("tracing.per_second", tracing_per_second, "100", 1, 100000,
           "requests whose spans are recorded at most"),
};

const struct config_table gateway_config_table = TABLE("cocoon-gateway", fields);
