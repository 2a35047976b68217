/* Accounts with their models' limits and projects; after a loss their money, beside the open holds.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "billing/layout.h"
#include "ledger/books/account.h"
#include "ledger/books/bills.h"
#include "ledger/books/record.h"
#include "ledger/projection_job.h"
#include "ledger/recovery.h"

static void put_limits(struct buf *out, const json_t *settings)
{
    buf_printf(out, "%" PRId64 "|%" PRId64 "|%" PRId64,
               record_int(settings, "limits.requests_per_minute", 0),
               record_int(settings, "limits.tokens_per_minute", 0),
               record_int(settings, "limits.streams", 0));
}

/* state|requests|tokens|streams|day|month|total (billing/layout.h) */
static void put_cfg(struct buf *out, const json_t *it)
{
    buf_printf(out, "%s|", record_text(it, "state", "suspended"));
    put_limits(out, it);
    buf_printf(out, "|%s|%s|%s", record_text(it, "budgets.day", "0"),
               record_text(it, "budgets.month", "0"), record_text(it, "budgets.total", "0"));
}

static void send_account(struct job *j, const json_t *account)
{
    AUTO(buf_fini) struct buf cfg = {0};
    char key[LAYOUT_KEY_LEN], version[JOB_NUMBER_LEN], epoch[JOB_NUMBER_LEN];

    put_cfg(&cfg, account);
    snprintf(key, sizeof(key), LAYOUT_ACCOUNT, j->name);
    snprintf(version, sizeof(version), "%" PRId64, record_int(account, "version", 0));
    snprintf(epoch, sizeof(epoch), "%" PRId64, recovery_number(j->projection->ledger->recovery));
    const struct span args[] = {span_str(version), span_str(epoch),
                                span_str(record_text(account, "granted", "0")), buf_span(&cfg),
                                span_str(record_text(account, "charged", "0"))};
    job_script(j, &j->projection->scripts.account, span_str(key), args, 5);
}

static void send_models(struct job *j, const json_t *account)
{
    const char *model;
    json_t *limits;

    json_object_foreach(json_object_get(account, "per_model"), model, limits) {
        AUTO(buf_fini) struct buf name = {0};
        AUTO(buf_fini) struct buf value = {0};
        buf_printf(&name, "m:%s", model);
        buf_printf(&value, "%" PRId64 "|%" PRId64 "|%" PRId64,
                   record_int(limits, "requests_per_minute", 0),
                   record_int(limits, "tokens_per_minute", 0), record_int(limits, "streams", 0));
        job_field(j, j->name, buf_cstr(&name), record_int(account, "version", 0), buf_cstr(&value));
    }
}

static void send_project(void *arg, const json_t *project)
{
    AUTO(buf_fini) struct buf cfg = {0};
    char name[JOB_NAME_LEN + 2];
    struct job *j = arg;

    put_cfg(&cfg, project);
    snprintf(name, sizeof(name), "p:%s", record_text(project, "id", ""));
    job_field(j, j->name, name, record_int(project, "version", 0), buf_cstr(&cfg));
}

/* Ahead of the limits: nothing is admitted by a budget that has not been told. */
static int send_budgets(struct job *j, struct books *b, const json_t *account)
{
    AUTO(buf_fini) struct buf budgets = {0};
    char key[LAYOUT_KEY_LEN];

    TRY(budgets_write(b, account, &budgets));
    snprintf(key, sizeof(key), LAYOUT_ACCOUNT, j->name);
    const struct span args[] = {buf_span(&budgets)};
    if (budgets.len > 0)
        job_script(j, &j->projection->scripts.budgets, span_str(key), args, 1);
    return 0;
}

int job_account(struct job *j, struct books *b)
{
    AUTO_JSON json_t *account = NULL;

    TRY(account_find(b, j->name, &account));
    if (j->budgets)
        TRY(send_budgets(j, b, account));
    if (j->kind == JOB_ACCOUNT)
        send_account(j, account);
    send_models(j, account);
    return projects_each(b, j->name, send_project, j);
}

/* ---- Restoring an account: the open holds are read first ---- */

static void on_holds(void *arg, int error, const struct redisReply *reply)
{
    struct job *j = arg;

    json_decref(j->calls);
    j->calls = json_array();
    for (size_t i = 0; error == 0 && i < redis_reply_count(reply); i++) {
        const struct span call = redis_reply_text(redis_reply_at(reply, i));
        json_array_append_new(j->calls, json_stringn((const char *)call.data, call.len));
    }
    job_replied(j, error, reply);
}

static void read_holds(struct job *j)
{
    char key[LAYOUT_KEY_LEN];

    snprintf(key, sizeof(key), LAYOUT_HOLDS, j->name);
    const struct span argv[] = {SPAN("ZRANGE"), span_str(key), SPAN("0"), SPAN("-1")};
    job_count(j, redis_command(j->projection->ledger->redis, argv[1], argv, 4, on_holds, j));
}

/* What restore.lua is told of a call. */
struct told {
    char row[LAYOUT_KEY_LEN], amount[JOB_NUMBER_LEN], attempt[JOB_NUMBER_LEN];
};

static int tell_call(struct books *b, const char *account, const char *call, struct told *t)
{
    int64_t amount, attempt;
    bool billed;

    snprintf(t->row, sizeof(t->row), LAYOUT_HOLD, account, call);
    TRY(bill_charged(b, call, &billed, &amount, &attempt));
    if (!billed)
        return 0;
    snprintf(t->amount, sizeof(t->amount), "%" PRId64, amount);
    snprintf(t->attempt, sizeof(t->attempt), "%" PRId64, attempt);
    return 0;
}

/* The script with the account as the books have it, and calls: its open holds, and then others. */
static void run_restore(struct job *j, const json_t *account, struct span budgets,
                        const json_t *calls, const struct told *told)
{
    enum { FIXED_KEYS = 2, FIXED_ARGS = 8, ARGS_OF_A_HOLD = 3 };
    AUTO(buf_fini) struct buf cfg = {0};
    const size_t holds = json_array_size(calls), argc = FIXED_ARGS + ARGS_OF_A_HOLD * holds;
    char version[JOB_NUMBER_LEN], epoch[JOB_NUMBER_LEN], life[JOB_NUMBER_LEN];
    char held[JOB_NUMBER_LEN];
    char acct[LAYOUT_KEY_LEN], open[LAYOUT_KEY_LEN];
    struct span *keys = mem_zero((holds + FIXED_KEYS) * sizeof(*keys));
    struct span *args = mem_zero(argc * sizeof(*args));

    snprintf(acct, sizeof(acct), LAYOUT_ACCOUNT, j->name);
    snprintf(open, sizeof(open), LAYOUT_HOLDS, j->name);
    put_cfg(&cfg, account);
    snprintf(version, sizeof(version), "%" PRId64, record_int(account, "version", 0));
    snprintf(epoch, sizeof(epoch), "%" PRId64, recovery_number(j->projection->ledger->recovery));
    snprintf(life, sizeof(life), "%d", LAYOUT_SETTLED_MS);
    snprintf(held, sizeof(held), "%zu", json_array_size(j->calls));
    keys[0] = span_str(acct);
    keys[1] = span_str(open);
    args[0] = span_str(epoch);
    args[1] = span_str(version);
    args[2] = span_str(record_text(account, "granted", "0"));
    args[3] = span_str(record_text(account, "charged", "0"));
    args[4] = buf_span(&cfg);
    args[5] = span_str(life);
    args[6] = budgets;
    args[7] = span_str(held);
    for (size_t i = 0; i < holds; i++) {
        struct span *of = args + FIXED_ARGS + ARGS_OF_A_HOLD * i;
        keys[FIXED_KEYS + i] = span_str(told[i].row);
        of[0] = span_str(json_string_value(json_array_get(calls, i)));
        of[1] = span_str(told[i].amount);
        of[2] = span_str(told[i].attempt);
    }
    billing_restore_init(&j->restore, (unsigned)holds + FIXED_KEYS);
    job_count(j, redis_script_run(j->projection->ledger->redis, &j->restore, keys, args, argc,
                                  job_said, j));
    free(keys);
    free(args);
}

/* Rows of calls that were settled late live no longer in any state that Redis may come back with.
 */
static int64_t late_since(const struct books *b)
{
    return ((int64_t)b->now_s - LAYOUT_SETTLED_MS / 1000) / 3600;
}

static int send_restore(struct job *j, struct books *b)
{
    AUTO_JSON json_t *account = NULL;
    AUTO_JSON json_t *calls = json_copy(j->calls);
    AUTO(buf_fini) struct buf budgets = {0};
    int error = 0;

    TRY(account_find(b, j->name, &account));
    TRY(budgets_write(b, account, &budgets));
    TRY(bills_late(b, j->name, late_since(b), calls));
    const size_t count = json_array_size(calls);
    struct told *told = mem_zero((count + 1) * sizeof(*told));
    for (size_t i = 0; i < count && error == 0; i++)
        error = tell_call(b, j->name, json_string_value(json_array_get(calls, i)), told + i);
    if (error == 0)
        run_restore(j, account, buf_span(&budgets), calls, told);
    free(told);
    return error;
}

int job_restore(struct job *j, struct books *b)
{
    switch (j->phase) {
    case 1:
        read_holds(j);
        return 0;
    case 2:
        j->again = false;
        return send_restore(j, b);
    case 3:
        if (j->again) {
            j->phase = 1;
            read_holds(j);
            return 0;
        }
        return job_account(j, b);
    default:
        return E_NOT_FOUND;
    }
}
