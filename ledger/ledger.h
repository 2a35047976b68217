/* cocoon-ledger as its files share it: one process, one loop, one writer of the books. */
#ifndef LEDGER_LEDGER_H
#define LEDGER_LEDGER_H

#include "config/ledger_config.h"
#include "ledger/books/bills.h"
#include "net/http_client.h"
#include "net/notify.h"
#include "net/offload.h"
#include "net/redis.h"

struct ledger_counters {
    uint64_t requests, refused;              /* of the admin API */
    uint64_t bills, known, conflicts;        /* taken in since the start */
    uint64_t projected, projection_failures; /* jobs */
    uint64_t webhooks_sent, webhooks_failed;
};

struct ledger {
    const char *config_file;
    struct config_snapshot *config;
    struct loop *loop;
    struct offload *offload;
    struct books *books;
    struct keyring *keyring;
    struct redis *redis;
    struct http_client *http; /* of webhooks: public addresses only */
    struct projection *projection;
    struct recovery *recovery;
    struct intake *intake;
    struct webhooks *webhooks;
    struct watch *watch;
    struct admin *admin;
    struct look *redis_look; /* of redis_verify.c; NULL: none */
    struct loop_timer housekeeping;
    struct watchdog watchdog;
    struct ledger_counters counters;
    uint64_t started_ms;
    bool stopping; /* its parts are being taken down: who asks now is refused */
};

static inline const struct ledger_config *ledger_settings(const struct ledger *l)
{
    return l->config->values;
}

#endif
