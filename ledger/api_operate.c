/* Running the ledger: audit, verification, webhooks, recovery. */
#include <stdio.h>
#include <stdlib.h>

#include "ledger/admin.h"
#include "ledger/api.h"
#include "ledger/books/hook.h"
#include "ledger/books/journal.h"
#include "ledger/books/verify.h"
#include "ledger/intake.h"
#include "ledger/keyring.h"
#include "ledger/pages.h"
#include "ledger/recovery.h"
#include "ledger/redis_verify.h"
#include "ledger/watch.h"
#include "ledger/webhooks.h"

int api_audit(struct request *r)
{
    char object[REQUEST_WORD];
    int64_t before;
    size_t limit;

    TRY(request_word(r, "object", object));
    TRY(request_number(r, "before", 0, INT64_MAX, 0, &before));
    TRY(api_limit(r, &limit));
    return audit_list(r->ledger->books, object, before, limit, &r->out);
}

int api_status(struct request *r)
{
    r->out = page_status(r->ledger);
    return 0;
}

// ---- Verification: everything is read, so a thread does it over a connection of its own ---------

struct verifying {
    struct offload_job job;
    struct request *request;
    const char *where;
    json_t *lines;
    bool good;
    int error;
};

static void note_line(void *arg, const struct verify_line *line)
{
    json_t *it = record_object();

    record_set_text(it, "check", span_str(line->name));
    record_set_text(it, "what", span_str(line->what));
    record_set(it, "good", json_boolean(line->good));
    record_set_int(it, "looked_at", line->looked_at);
    record_set_int(it, "difference", line->difference);
    record_set_text(it, "detail", span_str(line->detail));
    json_array_append_new(arg, it);
}

static void verify_work(struct offload_job *job)
{
    struct verifying *v = CONTAINER(job, struct verifying, job);
    AUTO(buf_fini) struct buf why = {0};
    AUTO(books_close) struct books *b = NULL;

    v->error = books_open(&b, v->where, false, &why);
    if (v->error < 0 || (v->error = books_begin(b)) < 0)
        return;
    v->error = books_end(b, books_verify(b, note_line, v->lines, &v->good));
}

static void verify_done(struct offload_job *job)
{
    struct verifying *v = CONTAINER(job, struct verifying, job);
    struct request *r = v->request;
    const int error = v->error;

    if (error == 0) {
        r->out = record_object();
        record_set(r->out, "good", json_boolean(v->good));
        record_set(r->out, "checks", json_incref(v->lines));
    }
    json_decref(v->lines);
    free(v);
    if (error == 0)
        redis_verify(r->ledger, r); /* what Redis says, then the answer */
    else
        admin_answer(r, error);
}

int api_verify(struct request *r)
{
    struct verifying *v = mem_zero(sizeof(*v));

    v->job = (struct offload_job){.work = verify_work, .done = verify_done};
    v->request = r;
    v->where = ledger_settings(r->ledger)->books;
    v->lines = json_array();
    const int error = offload_submit(r->ledger->offload, &v->job);
    if (error == 0)
        return E_AGAIN;
    json_decref(v->lines);
    free(v);
    return error;
}

// ---- Webhooks -----------------------------------------------------------------------------------

int api_hooks_list(struct request *r)
{
    return api_list(r, hooks_list);
}

int api_hook_create(struct request *r)
{
    AUTO(buf_wipe) struct buf secret = {0};

    TRY(api_body(r));
    TRY(hook_create(r->ledger->books, &r->actor, r->json,
                    ledger_settings(r->ledger)->hooks_insecure, &secret, &r->out));
    api_secret(r, "secret", &secret);
    return 0;
}

int api_hook_remove(struct request *r)
{
    return hook_remove(r->ledger->books, &r->actor, r->params[0], &r->out);
}

int api_hook_deliveries(struct request *r)
{
    size_t limit;

    TRY(api_limit(r, &limit));
    return hook_deliveries(r->ledger->books, r->params[0], limit, &r->out);
}

// ---- Whose bills --------------------------------------------------------------------------------

int api_bill_keys(struct request *r)
{
    return api_list(r, bill_keys_list);
}

static int change_bill_key(struct request *r, bool revoked)
{
    struct books *b = r->ledger->books;

    TRY(books_begin(b));
    keyring_changed(r->ledger->keyring); /* also when nobody can say whether this was committed */
    return books_end(b, bill_key_revoke(b, &r->actor, r->params[0], revoked, &r->out));
}

int api_bill_key_revoke(struct request *r)
{
    return change_bill_key(r, true);
}

int api_bill_key_reinstate(struct request *r)
{
    return change_bill_key(r, false);
}

// ---- After a loss -------------------------------------------------------------------------------

static int on_taken(void *arg, const struct bill_outcome *out)
{
    struct ledger *l = arg;

    projection_usage(l->projection, out->account, out->hour / 24);
    return watch_balance(l, out->account);
}

static int take_journal(struct request *r, struct journal_result *result)
{
    AUTO(bill_keys_fini) struct bill_keys keys = {0};
    struct ledger *l = r->ledger;

    TRY(bill_keys_read(l->books, json_is_true(json_object_get(r->json, "revoked")), &keys));
    TRY(journal_take(l->books, &keys, record_text(r->json, "path", ""), on_taken, l, result));
    r->out = record_object();
    record_set_text(r->out, "instance", span_str(result->instance));
    record_set_int(r->out, "taken", result->taken);
    record_set_int(r->out, "known", result->known);
    record_set_int(r->out, "refused", result->refused);
    TRY(recovery_charged(l->recovery, result->epoch));
    return audit_note(l->books, &r->actor, "intake", result->instance, NULL, r->out);
}

// A gateway's journal, read from a path of the ledger's machine.
int api_intake(struct request *r)
{
    struct books *b = r->ledger->books;
    struct journal_result result = {.epoch = 0};

    TRY(api_body(r));
    TRY(books_begin(b));
    TRY(books_end(b, take_journal(r, &result)));
    intake_known(r->ledger->intake, result.instance, result.n);
    return 0;
}

static int begin_recovery(struct request *r)
{
    TRY(recovery_begin(r->ledger->recovery));
    return audit_note(r->ledger->books, &r->actor, "recover", "", NULL, r->out);
}

static const char *without(const struct request *r)
{
    return record_text(r->json, "without", "");
}

static int drop_cursor(struct request *r)
{
    TRY(bill_cursor_drop(r->ledger->books, span_str(without(r))));
    return audit_note(r->ledger->books, &r->actor, "recover", without(r), NULL, r->out);
}

// Redis first: one that it goes on to name would be waited for again.
static void on_unnamed(void *arg, int error, const struct redisReply *reply)
{
    struct request *r = arg;
    struct books *b = r->ledger->books;

    books_why("%s", "");
    if (error == 0 && redis_reply_type(reply) == REDIS_FAILURE)
        error = E_UNAVAILABLE;
    if (error == 0)
        error = books_begin(b);
    if (error == 0)
        error = books_end(b, drop_cursor(r));
    if (error == 0)
        recovery_left_out(r->ledger->recovery, without(r));
    admin_answer(r, error);
}

// Everything anew, or on without a gateway that will not come back.
int api_recover(struct request *r)
{
    struct books *b = r->ledger->books;

    if (*without(r) && !record_id_valid(span_str(without(r)))) {
        books_why("without must be an instance's name");
        return E_INVALID;
    }
    r->out = record_object();
    record_set_text(r->out, "without", span_str(without(r)));
    if (*without(r)) {
        TRY(recovery_without(r->ledger->recovery, without(r), on_unnamed, r));
        return E_AGAIN;
    }
    TRY(books_begin(b));
    return books_end(b, begin_recovery(r));
}

// Everything is projected anew.
int api_restore(struct request *r)
{
    projection_all(r->ledger->projection, false);
    r->out = record_object();
    record_set_int(r->out, "jobs", (int64_t)projection_waiting(r->ledger->projection));
    return audit_note(r->ledger->books, &r->actor, "restore", "redis", NULL, NULL);
}
