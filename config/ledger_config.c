/* The table of cocoon-ledger's settings. */
#include "config/ledger_config.h"

#include "config/check.h"
#include "config/redis_config.h"

#define AT(s, field) .offset = offsetof(struct s, field)

#define TEXT(s, n, f, d, chk, h)                                                                   \
    {                                                                                              \
        .name = (n), .type = CONFIG_STRING, AT(s, f), .fallback = (d), .check = (chk), .help = (h) \
    }
#define NUMBER(n, f, d, lo, hi, h)                                                                 \
    {                                                                                              \
        .name = (n), .type = CONFIG_INT, AT(ledger_config, f), .fallback = (d), .min = (lo),       \
        .max = (hi), .help = (h)                                                                   \
    }

static const struct config_field role_fields[] = {
    TEXT(ledger_role, "user", user, NULL, setting_label, "a user of this machine, name or number"),
    TEXT(ledger_role, "role", role, NULL, setting_role, "viewer, support, treasurer or admin"),
};

static const struct config_table role_table = {
    .program = "role",
    .size = sizeof(struct ledger_role),
    .fields = role_fields,
    .count = sizeof(role_fields) / sizeof(role_fields[0]),
};

static const struct config_field fields[] = {
    TEXT(ledger_config, "books", books, NULL, setting_books,
         "a file of SQLite, absolute, or postgresql://..."),
    TEXT(ledger_config, "admin", admin, "unix:/run/cocoon-ledger/admin.sock", setting_unix,
         "socket of the admin API (0600)"),
    {.name = "roles",
     .type = CONFIG_LIST,
     AT(ledger_config, roles),
     .fallback = "",
     .item = &role_table,
     .min = 0,
     .max = 64,
     .help = "who may do what; the ledger's own user and root are admin"},
    CONFIG_REDIS_FIELDS(struct ledger_config, redis),
    TEXT(ledger_config, "log_level", log_level, "info", setting_log_level,
         "debug, info, warn or error"),
    NUMBER("usage_days", usage_days, "62", 1, 400, "days of usage that gateways can show"),
    {.name = "webhooks.insecure",
     .type = CONFIG_BOOL,
     AT(ledger_config, hooks_insecure),
     .fallback = "false",
     .help = "allow http:// and private addresses: for tests"},
    NUMBER("webhooks.timeout_ms", hooks_timeout_ms, "15000", 100, 60000, "of one delivery"),
};

const struct config_table ledger_config_table = {
    .program = "cocoon-ledger",
    .size = sizeof(struct ledger_config),
    .fields = fields,
    .count = sizeof(fields) / sizeof(fields[0]),
};
