/* The table of cocoon-ledger's settings. */
#include "config/ledger_config.h"

#include "config/check.h"
#include "config/fields.h"
#include "config/redis_config.h"

#define FIELDS_OF ledger_role

static const struct config_field role_fields[] = {
    TEXT("user", user, "", setting_label, "a user of this machine, name or number"),
    TEXT("san", san, "", setting_san,
         "in place of it a name in a certificate: DNS:name or URI:uri"),
    TEXT("role", role, NULL, setting_role, "viewer, support, treasurer or admin"),
};

static const struct config_table role_table = TABLE("role", role_fields);

#undef FIELDS_OF
#define FIELDS_OF ledger_config

static const struct config_field fields[] = {
    TEXT("books", books, NULL, setting_books, "a file of SQLite, absolute, or postgresql://..."),
    TEXT("admin", admin, "unix:/run/cocoon-ledger/admin.sock", setting_unix,
         "socket of the admin API (0600)"),
    TEXT("admin_group", admin_group, "", setting_label,
         "whose members may connect to it, too (0660); empty: nobody else"),
    TEXT("admin_tls.listen", tls_listen, "", setting_listen_tcp,
         "the admin API with client certificates; empty: nowhere"),
    PATH("admin_tls.chain", tls_chain, "", "PEM: our certificate there, and its CAs"),
    PATH("admin_tls.key", tls_key, "", "PEM: key of the certificate"),
    PATH("admin_tls.client_ca", tls_client_ca, "", "PEM: CAs that sign the operators' own"),
    LIST("roles", roles, "", 0, 64, &role_table,
         "who may do what; the ledger's own user and root are admin"),
    REDIS_FIELDS(redis),
    TEXTS("bill_keys.operators", operators, "", 0, 16, setting_pin,
          "a gateway's key counts when one of these has signed it (cocoonctl operator key)"),
    TEXTS("bill_keys.pinned", pinned, "", 0, 256, setting_pin,
          "gateways' keys that count without that: 64 hex digits each"),
    TEXT("log_level", log_level, "info", setting_log_level, "debug, info, warn or error"),
    NUMBER("usage_days", usage_days, "62", 1, 400, "days of usage that gateways can show"),
    FLAG("webhooks.insecure", hooks_insecure, "false",
         "allow http:// and private addresses: for tests"),
    NUMBER("webhooks.timeout_ms", hooks_timeout_ms, "15000", 100, 60000, "of one delivery"),
};

const struct config_table ledger_config_table = TABLE("cocoon-ledger", fields);
