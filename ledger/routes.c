/* Reading the table is reading the API; openapi-admin.yaml says the same to others. */
#include "ledger/routes.h"

#include "base/encode.h"

static const struct route table[] = {
    {"GET", "/v1/accounts", MAY_VIEW, ROUTE_READ, api_accounts_list},
    {"POST", "/v1/accounts", MAY_SUPPORT, ROUTE_WRITE, api_account_create},
    {"GET", "/v1/accounts/{}", MAY_VIEW, ROUTE_READ, api_account_show},
    {"PATCH", "/v1/accounts/{}", MAY_SUPPORT, ROUTE_WRITE, api_account_change},
    {"GET", "/v1/accounts/{}/bills", MAY_VIEW, ROUTE_READ, api_bills},
    {"GET", "/v1/accounts/{}/receipts/{}", MAY_VIEW, ROUTE_READ, api_receipt},
    {"GET", "/v1/projects", MAY_VIEW, ROUTE_READ, api_projects_list},
    {"POST", "/v1/projects", MAY_SUPPORT, ROUTE_WRITE, api_project_create},
    {"GET", "/v1/projects/{}/{}", MAY_VIEW, ROUTE_READ, api_project_show},
    {"PATCH", "/v1/projects/{}/{}", MAY_SUPPORT, ROUTE_WRITE, api_project_change},
    {"GET", "/v1/keys", MAY_VIEW, ROUTE_READ, api_keys_list},
    {"POST", "/v1/keys", MAY_SUPPORT, ROUTE_WRITE, api_key_create},
    {"GET", "/v1/keys/{}", MAY_VIEW, ROUTE_READ, api_key_show},
    {"PATCH", "/v1/keys/{}", MAY_SUPPORT, ROUTE_WRITE, api_key_change},
    {"POST", "/v1/keys/{}/revoke", MAY_SUPPORT, ROUTE_WRITE, api_key_revoke},
    {"POST", "/v1/keys/{}/rotate", MAY_SUPPORT, ROUTE_WRITE, api_key_rotate},
    {"POST", "/v1/credit", MAY_TREASURE, ROUTE_WRITE, api_credit},
    {"GET", "/v1/purses", MAY_VIEW, ROUTE_READ, api_purses},
    {"GET", "/v1/transfers", MAY_VIEW, ROUTE_READ, api_transfers},
    {"GET", "/v1/prices", MAY_VIEW, ROUTE_READ, api_prices_list},
    {"GET", "/v1/prices/{}", MAY_VIEW, ROUTE_READ, api_prices_show},
    {"POST", "/v1/prices", MAY_TREASURE, ROUTE_WRITE, api_prices_apply},
    {"GET", "/v1/usage", MAY_VIEW, ROUTE_READ, api_usage},
    {"GET", "/v1/receipts/{}", MAY_VIEW, ROUTE_READ, api_receipt},
    {"GET", "/v1/days", MAY_VIEW, ROUTE_READ, api_days},
    {"GET", "/v1/bill-keys", MAY_VIEW, ROUTE_READ, api_bill_keys},
    {"POST", "/v1/bill-keys/{}/revoke", MAY_ADMIN, ROUTE_RAW, api_bill_key_revoke},
    {"POST", "/v1/bill-keys/{}/reinstate", MAY_ADMIN, ROUTE_RAW, api_bill_key_reinstate},
    {"GET", "/v1/invites", MAY_VIEW, ROUTE_READ, api_invites_list},
    {"POST", "/v1/invites", MAY_SUPPORT, ROUTE_WRITE, api_invite_create},
    {"POST", "/v1/invites/redeem", MAY_SUPPORT, ROUTE_WRITE, api_invite_redeem},
    {"POST", "/v1/invites/{}/revoke", MAY_SUPPORT, ROUTE_WRITE, api_invite_revoke},
    {"GET", "/v1/webhooks", MAY_VIEW, ROUTE_READ, api_hooks_list},
    {"POST", "/v1/webhooks", MAY_SUPPORT, ROUTE_WRITE, api_hook_create},
    {"DELETE", "/v1/webhooks/{}", MAY_SUPPORT, ROUTE_WRITE, api_hook_remove},
    {"GET", "/v1/webhooks/{}/deliveries", MAY_VIEW, ROUTE_READ, api_hook_deliveries},
    {"GET", "/v1/audit", MAY_VIEW, ROUTE_READ, api_audit},
    {"GET", "/v1/status", MAY_VIEW, ROUTE_READ, api_status},
    {"GET", "/v1/verify", MAY_VIEW, ROUTE_RAW, api_verify},
    {"POST", "/v1/intake", MAY_ADMIN, ROUTE_RAW, api_intake},
    {"POST", "/v1/recover", MAY_ADMIN, ROUTE_RAW, api_recover},
    {"POST", "/v1/restore", MAY_SUPPORT, ROUTE_WRITE, api_restore},
};
enum { ROUTES = sizeof(table) / sizeof(table[0]) };

const struct route *route_at(size_t i)
{
    return i < ROUTES ? &table[i] : NULL;
}

// The names of keys have spaces and slashes; no name is empty.
static bool take_param(char out[static REQUEST_WORD], struct span segment)
{
    size_t len = 0;

    if (segment_decode((uint8_t *)out, REQUEST_WORD - 1, &len, segment) < 0)
        return false;
    out[len] = '\0';
    return len > 0;
}

// A segment of the request's path against one of the pattern; what "{}" stood for goes into params.
static bool segment_matches(struct span pattern, struct span segment, struct request *r,
                            size_t *params)
{
    if (!span_is(pattern, "{}"))
        return span_eq(pattern, segment);
    return *params < REQUEST_PARAMS && take_param(r->params[(*params)++], segment);
}

static bool path_matches(const char *path, struct span wanted, struct request *r)
{
    struct span pattern = span_str(path);
    size_t params = 0;

    while (pattern.len > 0 && wanted.len > 0)
        if (!segment_matches(span_split(&pattern, '/'), span_split(&wanted, '/'), r, &params))
            return false;
    return pattern.len == 0 && wanted.len == 0;
}

int route_find(struct span method, struct span path, struct request *r)
{
    int error = E_NOT_FOUND;

    if (span_ends(path, SPAN("/")))
        return E_NOT_FOUND;
    for (size_t i = 0; i < ROUTES; i++) {
        if (!path_matches(table[i].path, path, r))
            continue;
        error = E_UNSUPPORTED;
        if (span_is(method, table[i].method)) {
            r->route = &table[i];
            return 0;
        }
    }
    return error;
}
