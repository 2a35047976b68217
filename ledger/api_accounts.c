/* Accounts and projects. */
#include "ledger/api.h"
#include "ledger/books/account.h"

int api_accounts_list(struct request *r)
{
    return api_list(r, accounts_list);
}

int api_account_show(struct request *r)
{
    return account_find(r->ledger->books, r->params[0], &r->out);
}

// What an account or project allows is copied into the records of its keys.
static void project(struct request *r, const char *account)
{
    if (json_object_get(r->json, "budgets"))
        projection_budgets(r->ledger->projection, account);
    projection_account(r->ledger->projection, account);
    projection_keys_of(r->ledger->projection, account);
}

int api_account_create(struct request *r)
{
    TRY(api_body(r));
    TRY(account_create(r->ledger->books, &r->actor, r->json, &r->out));
    project(r, record_text(r->out, "id", ""));
    return 0;
}

int api_account_change(struct request *r)
{
    TRY(api_body(r));
    TRY(account_change(r->ledger->books, &r->actor, r->params[0], r->json, &r->out));
    project(r, r->params[0]);
    return 0;
}

int api_projects_list(struct request *r)
{
    return api_list(r, projects_list);
}

int api_project_show(struct request *r)
{
    return project_find(r->ledger->books, r->params[0], r->params[1], &r->out);
}

int api_project_create(struct request *r)
{
    TRY(api_body(r));
    TRY(project_create(r->ledger->books, &r->actor, r->json, &r->out));
    project(r, record_text(r->out, "account", ""));
    return 0;
}

int api_project_change(struct request *r)
{
    TRY(api_body(r));
    TRY(project_change(r->ledger->books, &r->actor, r->params[0], r->params[1], r->json, &r->out));
    project(r, r->params[0]);
    return 0;
}
