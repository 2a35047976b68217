/* The scripts of billing/lua, ready to run. */
#ifndef BILLING_SCRIPTS_H
#define BILLING_SCRIPTS_H

#include "net/redis_script.h"

/* What each takes and answers stands at its beginning. */
struct billing_scripts {
    struct redis_script admit, settle, release, expire, due, attempt, assert, account, field, mark,
        keep, budgets;
};

void billing_scripts_init(struct billing_scripts *s);
/* The ledger's restore takes as many keys as there are holds: `numkeys` of them in this run. */
void billing_restore_init(struct redis_script *s, unsigned numkeys);

#endif
