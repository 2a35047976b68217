/* A job of the projection: one thing of the books on its way to Redis. For the projection's own
 * files: projection.c keeps the jobs, projection_job.c sends, the others know what. */
#ifndef LEDGER_PROJECTION_JOB_H
#define LEDGER_PROJECTION_JOB_H

#include "base/list.h"
#include "base/map.h"
#include "billing/scripts.h"
#include "ledger/ledger.h"
#include "ledger/projection.h"

enum { JOB_NAME_LEN = 96, JOB_NUMBER_LEN = 24 };

enum kind {
    JOB_ALL,
    JOB_ACCOUNT,
    JOB_RESTORE,
    JOB_KEYS_OF,
    JOB_KEY,
    JOB_PRICES,
    JOB_USAGE,
    JOB_MARKER
};

struct job {
    struct projection *projection;
    enum kind kind;
    char name[JOB_NAME_LEN]; /* account, key; "" */
    int64_t day;
    uint64_t seq;
    struct list link;
    unsigned phase, pending;
    int error;
    bool running, again;         /* in its phase; the phase is to be done once more */
    bool budgets;                /* JOB_ACCOUNT: with what they have used */
    struct redis_script restore; /* with as many keys as there are holds */
    json_t *calls;               /* JOB_RESTORE: of the open holds */
};

struct projection {
    struct ledger *ledger;
    struct billing_scripts scripts;
    struct list waiting, flying, waiters;
    struct map by_name; /* of what waits: kind and name -> job */
    size_t waiting_count, flying_count;
    uint64_t seq;
    struct loop_timer timer;
    bool held, stopped;
};

/* Goes on until something is to be answered; j may be gone then. projection.c */
void job_step(struct job *j);

/* ---- projection_job.c: commands. What cannot be sent, or fails, is the job's error ---- */

/* A command was sent (0), and its callback will call job_replied or job_said; or it was not. */
void job_count(struct job *j, int error);
/* The first argument behind the name is the command's key. */
void job_command(struct job *j, const struct span *argv, size_t argc);
#define JOB_SEND(j, ...)                                                                           \
    job_command(j, (const struct span[]){__VA_ARGS__},                                             \
                sizeof((const struct span[]){__VA_ARGS__}) / sizeof(struct span))

/* A script whose answer job_said judges. */
void job_script(struct job *j, const struct redis_script *script, struct span key,
                const struct span *args, size_t argc);
/* A field of the account's hash, unless a newer version stands there. */
void job_field(struct job *j, const char *account, const char *name, int64_t version,
               const char *value);
/* Callbacks; arg: the job. */
void job_replied(void *arg, int error, const struct redisReply *reply);
void job_said(void *arg, int error, const struct redisReply *reply);

/* ---- The kinds: each sends what its phase j->phase has to say, and returns ---- */

/* projection_accounts.c: of the account's hash. */
MUST_CHECK int job_account(struct job *j, struct books *b);
MUST_CHECK int job_restore(struct job *j, struct books *b);
/* projection_budgets.c: appends what restore.lua and budgets.lua are told of the budgets of an
 * account, its projects and its keys. E_IO. */
MUST_CHECK int budgets_write(struct books *b, const json_t *account, struct buf *out);
/* projection_keys.c: the records. The marker says that all of them are there. */
MUST_CHECK int job_key(struct job *j, struct books *b);
MUST_CHECK int job_keys_of(struct job *j, struct books *b);
MUST_CHECK int job_marker(struct job *j, struct books *b);
/* projection_prices.c, projection_usage.c. */
MUST_CHECK int job_prices(struct job *j, struct books *b);
MUST_CHECK int job_usage(struct job *j, struct books *b);
/* The first day (since 1970) whose usage is kept in Redis. */
int64_t usage_first_day(const struct job *j);

#endif
