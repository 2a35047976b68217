/* The tables of cocoon-worker's settings. */
#include "config/worker_config.h"

#include "config/check.h"
#include "config/fields.h"

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, TOKENS_MAX = 100000000 };

#define FIELDS_OF worker_operator

static const struct config_field operator_fields[] = {
    TEXT("name", name, NULL, setting_label, "the operator's label"),
    TEXTS("gateways", gateways, NULL, 1, 64, setting_host_port,
          "host:port of its gateways' tunnel ports"),
    TEXTS("pins", pins, NULL, 1, 8, setting_pin,
          "SHA-256 of its CA's public key (cocoonctl operator pin)"),
};

static const struct config_table operator_table = TABLE("operator", operator_fields);

#undef FIELDS_OF
#define FIELDS_OF worker_model

static const struct config_field model_fields[] = {
    TEXT("name", name, NULL, setting_model, "the name that callers use"),
    TEXT("engine_name", engine_name, "", setting_model, "the engine's own name; empty: the same"),
    NUMBER("context", context, NULL, 1, TOKENS_MAX, "tokens of prompt and answer"),
    NUMBER("max_output", max_output, NULL, 1, TOKENS_MAX, "tokens of an answer"),
    TEXTS("endpoints", endpoints, "", 0, 8, setting_endpoint,
          "chat, completions, embeddings; empty: the first two"),
};

static const struct config_table model_table = TABLE("model", model_fields);

#undef FIELDS_OF
#define FIELDS_OF worker_config

#define DAY(day)                                                                                   \
    TEXT("hours." #day, hours_##day, "always", setting_hours,                                      \
         "local time: always, HH:MM-HH:MM,... or empty: never")

static const struct config_field fields[] = {
    TEXT("worker_id", worker_id, NULL, setting_label, "a label for people"),
    TEXT("payout", payout, NULL, setting_payout, "the owner's raw TON address"),
    TEXT("admin", admin, "unix:/run/cocoon-worker/admin.sock", setting_unix,
         "socket of cocoonctl worker"),
    TEXT("log_level", log_level, "info", setting_log_level, "debug, info, warn or error"),
    LIST("operators", operators, NULL, 1, 64, &operator_table, "whom this worker serves"),
    LIST("models", models, NULL, 1, 64, &model_table, "what this worker serves"),
    TEXT("engine.url", engine_url, NULL, setting_engine_url, "http://127.0.0.1:port or unix:/path"),
    TEXT("engine.kind", engine_kind, "auto", setting_engine_kind,
         "auto, llamacpp, vllm, sglang or generic"),
    NUMBER("engine.silent_ms", engine_silent_ms, "600000", SECOND, HOUR,
           "an engine silent for so long is given up"),
    TEXT("quote_provider", quote_provider, "none", setting_quote_provider,
         "who makes quotes: tsm (the kernel), socket:/path, or none: no evidence"),
    TEXT("gpu", gpu, "none", setting_gpu,
         "nvidia-cc: evidence of the GPUs through NVIDIA's library; or none"),
    PATH("collateral_file", collateral_file, "", "stapled to attestation documents; empty: none"),
    PATH("event_log_file", event_log_file, "",
         "the same; /sys/firmware/acpi/tables/data/CCEL in a trust domain"),
    PATH("measured_config", measured_config, "",
         "the image's settings, whose SHA-256 the keyset names"),
    PATH("model_dir", model_dir, "",
         "the model's folder, whose digest the keyset names; every byte is read at start"),
    TEXT("model_verity", model_verity, "", setting_verity,
         "root hash of the dm-verity image that model_dir lies on: the keyset names it, no file is "
         "read; empty: files are read"),
    FLAG("extend_rtmr3", extend_rtmr3, "false",
         "extend RTMR3 by both digests at start (Linux 6.16 and later)"),
    EXTRAS_FIELDS,
    NUMBER("max_requests", max_requests, "4", 1, 10000,
           "requests at a time, all gateways together"),
    NUMBER("ask", ask, "1000", 0, 1000000, "price asked, in 1/1000 of the book"),
    DAY(mon),
    DAY(tue),
    DAY(wed),
    DAY(thu),
    DAY(fri),
    DAY(sat),
    DAY(sun),
    NUMBER("max_watts", max_watts, "0", 0, 1000000, "drain above; 0: no ceiling"),
    TEXT("watts_command", watts_command, "", NULL, "prints the present watts"),
    PATH("usage_file", usage_file, "", "keeps usage records over restarts; empty: memory only"),
    NUMBER("limits.body_bytes", body_bytes, "33619968", 1024, 1 << 30, "a sealed request"),
    TUNNEL_LIMITS,
    NUMBER("head_ms", head_ms, "10000", 0, 10 * MINUTE,
           "longest hold of an answer's head while the engine is silent"),
    NUMBER("drain_ms", drain_ms, "30000", 0, HOUR, "time to finish after SIGTERM"),
    NUMBER("keyset_s", keyset_s, "3600", 12, 3600,
           "validity of a set of keys; they rotate a sixth of it earlier"),
    NUMBER("offload_threads", offload_threads, "2", 1, 64, "threads for cryptography"),
};

const struct config_table worker_config_table = TABLE("cocoon-worker", fields);
