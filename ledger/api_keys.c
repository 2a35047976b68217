/* Keys and invitations: what is shown once is in the answer and nowhere else. */
#include <stdio.h>

#include "ledger/api.h"
#include "ledger/books/hook.h"
#include "ledger/books/invite.h"
#include "ledger/books/key.h"
#include "ledger/webhooks.h"

enum { GRACE_S = 86400, GRACE_MAX_S = 90 * 86400 };

int api_keys_list(struct request *r)
{
    return api_list(r, keys_list);
}

int api_key_show(struct request *r)
{
    return key_find(r->ledger->books, r->params[0], &r->out);
}

static void project(struct request *r)
{
    projection_key(r->ledger->projection, record_text(r->out, "id", ""));
}

int api_key_create(struct request *r)
{
    AUTO(buf_wipe) struct buf text = {0};

    TRY(api_body(r));
    TRY(key_create(r->ledger->books, &r->actor, r->json, &text, &r->out));
    project(r);
    api_secret(r, "key", &text);
    return 0;
}

int api_key_change(struct request *r)
{
    TRY(api_body(r));
    TRY(key_change(r->ledger->books, &r->actor, r->params[0], r->json, &r->out));
    if (json_object_get(r->json, "budgets"))
        projection_budgets(r->ledger->projection, record_text(r->out, "account", ""));
    project(r);
    return 0;
}

static int tell_revoked(struct request *r)
{
    AUTO_JSON json_t *data = record_object();
    const char *id = record_text(r->out, "id", "");
    char what[64];
    size_t queued;

    record_set_text(data, "key", span_str(id));
    record_set_text(data, "name", span_str(record_text(r->out, "name", "")));
    record_set_text(data, "project", span_str(record_text(r->out, "project", "")));
    snprintf(what, sizeof(what), "key/%s", id);
    TRY(hook_tell(r->ledger->books, record_text(r->out, "account", ""), "key.revoked", what, data,
                  &queued));
    webhooks_wake(r->ledger->webhooks);
    return 0;
}

int api_key_revoke(struct request *r)
{
    TRY(key_revoke(r->ledger->books, &r->actor, r->params[0], &r->out));
    project(r);
    return tell_revoked(r);
}

int api_key_rotate(struct request *r)
{
    AUTO(buf_wipe) struct buf text = {0};
    int64_t grace = GRACE_S;

    if (json_obj_int(r->json, "grace_s", 0, GRACE_MAX_S, &grace) == E_INVALID) {
        books_why("grace_s must be 0 to %d seconds", GRACE_MAX_S);
        return E_INVALID;
    }
    TRY(key_rotate(r->ledger->books, &r->actor, r->params[0], (uint64_t)grace, &text, &r->out));
    project(r);
    api_secret(r, "key", &text);
    return 0;
}

// ---- Invitations --------------------------------------------------------------------------------

int api_invites_list(struct request *r)
{
    return api_list(r, invites_list);
}

int api_invite_create(struct request *r)
{
    AUTO(buf_wipe) struct buf code = {0};

    TRY(api_body(r));
    TRY(invite_create(r->ledger->books, &r->actor, r->json, &code, &r->out));
    api_secret(r, "code", &code);
    return 0;
}

int api_invite_revoke(struct request *r)
{
    return invite_revoke(r->ledger->books, &r->actor, r->params[0], &r->out);
}

int api_invite_redeem(struct request *r)
{
    TRY(api_body(r));
    TRY(invite_redeem(r->ledger->books, &r->actor, r->json, &r->out));
    projection_account(r->ledger->projection, record_text(r->out, "id", ""));
    return 0;
}
