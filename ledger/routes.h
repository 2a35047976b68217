/* The admin API's table: which path does what, and who may (auth.md). */
#ifndef LEDGER_ROUTES_H
#define LEDGER_ROUTES_H

#include "ledger/request.h"

enum {
    MAY_VIEW = 1 << ROLE_VIEWER | 1 << ROLE_SUPPORT | 1 << ROLE_TREASURER | 1 << ROLE_ADMIN,
    MAY_SUPPORT = 1 << ROLE_SUPPORT | 1 << ROLE_ADMIN,
    MAY_TREASURE = 1 << ROLE_TREASURER | 1 << ROLE_ADMIN,
    MAY_ADMIN = 1 << ROLE_ADMIN
};

enum route_kind {
    ROUTE_READ,  /* in a transaction; answered at once */
    ROUTE_WRITE, /* the same; the answer waits until gateways know it, for a while */
    ROUTE_RAW    /* outside of any transaction: the handler begins its own, or answers later */
};

struct route {
    const char *method, *path; /* "{}" is a parameter */
    unsigned roles;
    enum route_kind kind;
    /* Fills r's answer; an error is answered by its kind and books_reason(). E_AGAIN (ROUTE_RAW):
     * the handler answers later with admin_answer. */
    int (*run)(struct request *r);
};

/* Fills r->route and r->params. E_NOT_FOUND; E_UNSUPPORTED: the path has other methods. */
MUST_CHECK int route_find(struct span method, struct span path, struct request *r);
/* Walks the table; NULL at its end. */
const struct route *route_at(size_t i);

/* Handlers of api_*.c. */
#define HANDLER(name) int name(struct request *r)
HANDLER(api_accounts_list);
HANDLER(api_account_create);
HANDLER(api_account_show);
HANDLER(api_account_change);
HANDLER(api_projects_list);
HANDLER(api_project_create);
HANDLER(api_project_show);
HANDLER(api_project_change);
HANDLER(api_keys_list);
HANDLER(api_key_create);
HANDLER(api_key_show);
HANDLER(api_key_change);
HANDLER(api_key_revoke);
HANDLER(api_key_rotate);
HANDLER(api_credit);
HANDLER(api_purses);
HANDLER(api_transfers);
HANDLER(api_prices_list);
HANDLER(api_prices_show);
HANDLER(api_prices_apply);
HANDLER(api_usage);
HANDLER(api_bills);
HANDLER(api_receipt);
HANDLER(api_days);
HANDLER(api_bill_keys);
HANDLER(api_bill_key_revoke);
HANDLER(api_bill_key_reinstate);
HANDLER(api_invites_list);
HANDLER(api_invite_create);
HANDLER(api_invite_revoke);
HANDLER(api_invite_redeem);
HANDLER(api_hooks_list);
HANDLER(api_hook_create);
HANDLER(api_hook_remove);
HANDLER(api_hook_deliveries);
HANDLER(api_audit);
HANDLER(api_verify);
HANDLER(api_status);
HANDLER(api_intake);
HANDLER(api_recover);
HANDLER(api_restore);
#undef HANDLER

#endif
