/* The tables of cocoon-worker's settings. */
#include "config/worker_config.h"

#include "config/check.h"

#define AT(s, field) .offset = offsetof(struct s, field)

#define TEXT(s, n, f, d, chk, h)                                                                   \
    {                                                                                              \
        .name = (n), .type = CONFIG_STRING, AT(s, f), .fallback = (d), .check = (chk), .help = (h) \
    }
#define PATH(s, n, f, d, h)                                                                        \
    {                                                                                              \
        .name = (n), .type = CONFIG_PATH, AT(s, f), .fallback = (d), .help = (h)                   \
    }
#define NUMBER(s, n, f, d, lo, hi, h)                                                              \
    {                                                                                              \
        .name = (n), .type = CONFIG_INT, AT(s, f), .fallback = (d), .min = (lo), .max = (hi),      \
        .help = (h)                                                                                \
    }
#define FLAG(s, n, f, d, h)                                                                        \
    {                                                                                              \
        .name = (n), .type = CONFIG_BOOL, AT(s, f), .fallback = (d), .help = (h)                   \
    }
#define TEXTS(s, n, f, d, lo, hi, chk, h)                                                          \
    {                                                                                              \
        .name = (n), .type = CONFIG_STRINGS, AT(s, f), .fallback = (d), .min = (lo), .max = (hi),  \
        .check = (chk), .help = (h)                                                                \
    }
#define LIST(s, n, f, table, h)                                                                    \
    {                                                                                              \
        .name = (n), .type = CONFIG_LIST, AT(s, f), .item = (table), .min = 1, .max = 64,          \
        .help = (h)                                                                                \
    }

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, TOKENS_MAX = 100000000 };

static const struct config_field operator_fields[] = {
    TEXT(worker_operator, "name", name, NULL, setting_label, "the operator's label"),
    TEXTS(worker_operator, "gateways", gateways, NULL, 1, 64, setting_host_port,
          "host:port of its gateways' tunnel ports"),
    TEXTS(worker_operator, "pins", pins, NULL, 1, 8, setting_pin,
          "SHA-256 of its CA's public key (cocoonctl operator pin)"),
};

static const struct config_table operator_table = {
    .program = "operator",
    .size = sizeof(struct worker_operator),
    .fields = operator_fields,
    .count = sizeof(operator_fields) / sizeof(operator_fields[0]),
};

static const struct config_field model_fields[] = {
    TEXT(worker_model, "name", name, NULL, setting_model, "the name that callers use"),
    TEXT(worker_model, "engine_name", engine_name, "", setting_model,
         "the engine's own name; empty: the same"),
    NUMBER(worker_model, "context", context, NULL, 1, TOKENS_MAX, "tokens of prompt and answer"),
    NUMBER(worker_model, "max_output", max_output, NULL, 1, TOKENS_MAX, "tokens of an answer"),
    TEXTS(worker_model, "endpoints", endpoints, "", 0, 8, setting_endpoint,
          "chat, completions, embeddings; empty: the first two"),
};

static const struct config_table model_table = {
    .program = "model",
    .size = sizeof(struct worker_model),
    .fields = model_fields,
    .count = sizeof(model_fields) / sizeof(model_fields[0]),
};

#define DAY(day)                                                                                   \
    TEXT(worker_config, "hours." #day, hours_##day, "always", setting_hours,                       \
         "local time: always, HH:MM-HH:MM,... or empty: never")

static const struct config_field fields[] = {
    TEXT(worker_config, "worker_id", worker_id, NULL, setting_label, "a label for people"),
    TEXT(worker_config, "payout", payout, NULL, setting_payout, "the owner's raw TON address"),
    TEXT(worker_config, "admin", admin, "unix:/run/cocoon-worker/admin.sock", setting_unix,
         "socket of cocoonctl worker"),
    TEXT(worker_config, "log_level", log_level, "info", setting_log_level,
         "debug, info, warn or error"),
    LIST(worker_config, "operators", operators, &operator_table, "whom this worker serves"),
    LIST(worker_config, "models", models, &model_table, "what this worker serves"),
    TEXT(worker_config, "engine.url", engine_url, NULL, setting_engine_url,
         "http://127.0.0.1:port or unix:/path"),
    TEXT(worker_config, "engine.kind", engine_kind, "auto", setting_engine_kind,
         "auto, llamacpp, vllm, sglang or generic"),
    NUMBER(worker_config, "engine.silent_ms", engine_silent_ms, "600000", SECOND, HOUR,
           "an engine silent for so long is given up"),
    TEXT(worker_config, "quote_provider", quote_provider, "none", setting_quote_provider,
         "who makes quotes: tsm (the kernel), socket:/path, or none: no evidence"),
    TEXT(worker_config, "gpu", gpu, "none", setting_gpu,
         "nvidia-cc: evidence of the GPUs through NVIDIA's library; or none"),
    PATH(worker_config, "collateral_file", collateral_file, "",
         "stapled to attestation documents; empty: none"),
    PATH(worker_config, "event_log_file", event_log_file, "",
         "the same; /sys/firmware/acpi/tables/data/CCEL in a trust domain"),
    PATH(worker_config, "measured_config", measured_config, "",
         "the image's settings, whose SHA-256 the keyset names"),
    PATH(worker_config, "model_dir", model_dir, "",
         "the model's folder, whose digest the keyset names; every byte is read at start"),
    TEXT(worker_config, "model_verity", model_verity, "", setting_verity,
         "root hash of the dm-verity image that model_dir lies on: the keyset names it, no file is "
         "read; empty: files are read"),
    FLAG(worker_config, "extend_rtmr3", extend_rtmr3, "false",
         "extend RTMR3 by both digests at start (Linux 6.16 and later)"),
    NUMBER(worker_config, "max_requests", max_requests, "4", 1, 10000,
           "requests at a time, all gateways together"),
    NUMBER(worker_config, "ask", ask, "1000", 0, 1000000, "price asked, in 1/1000 of the book"),
    DAY(mon),
    DAY(tue),
    DAY(wed),
    DAY(thu),
    DAY(fri),
    DAY(sat),
    DAY(sun),
    NUMBER(worker_config, "max_watts", max_watts, "0", 0, 1000000, "drain above; 0: no ceiling"),
    TEXT(worker_config, "watts_command", watts_command, "", NULL, "prints the present watts"),
    PATH(worker_config, "usage_file", usage_file, "",
         "keeps usage records over restarts; empty: memory only"),
    NUMBER(worker_config, "limits.body_bytes", body_bytes, "33619968", 1024, 1 << 30,
           "a sealed request"),
    NUMBER(worker_config, "head_ms", head_ms, "10000", 0, 10 * MINUTE,
           "longest hold of an answer's head while the engine is silent"),
    NUMBER(worker_config, "drain_ms", drain_ms, "30000", 0, HOUR, "time to finish after SIGTERM"),
    NUMBER(worker_config, "keyset_s", keyset_s, "3600", 12, 3600,
           "validity of a set of keys; they rotate a sixth of it earlier"),
    NUMBER(worker_config, "offload_threads", offload_threads, "2", 1, 64,
           "threads for cryptography"),
};

const struct config_table worker_config_table = {
    .program = "cocoon-worker",
    .size = sizeof(struct worker_config),
    .fields = fields,
    .count = sizeof(fields) / sizeof(fields[0]),
};
