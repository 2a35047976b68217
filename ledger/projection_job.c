/* What a job sends, and how its answers are counted. */
#include "ledger/projection_job.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "billing/layout.h"

static void answered(struct job *j, int error)
{
    if (error < 0 && j->error == 0)
        j->error = error;
    if (--j->pending == 0 && !j->running)
        job_step(j);
}

void job_replied(void *arg, int error, const struct redisReply *reply)
{
    if (error == 0 && redis_reply_type(reply) == REDIS_FAILURE)
        error = E_DENIED;
    answered(arg, error);
}

/* Scripts say ok, or why nothing changed. What is stale is right: something newer is there. */
void job_said(void *arg, int error, const struct redisReply *reply)
{
    struct job *j = arg;
    const struct span said = error == 0 ? redis_reply_text(reply) : SPAN("");

    if (error == 0 && redis_reply_type(reply) == REDIS_FAILURE)
        error = E_DENIED;
    else if (error == 0 && span_is(said, "moved"))
        j->again = true;
    else if (error == 0 && !span_is(said, "ok") && !span_is(said, "stale"))
        log_event(LOG_ERROR, "projection", "account=%s script=%.*s", j->name, SPAN_FMT(said));
    answered(j, error);
}

void job_count(struct job *j, int error)
{
    if (error == 0)
        j->pending++;
    else if (j->error == 0)
        j->error = error;
}

void job_command(struct job *j, const struct span *argv, size_t argc)
{
    job_count(j, redis_command(j->projection->ledger->redis, argv[1], argv, argc, job_replied, j));
}

void job_script(struct job *j, const struct redis_script *script, struct span key,
                const struct span *args, size_t argc)
{
    job_count(
        j, redis_script_run(j->projection->ledger->redis, script, &key, args, argc, job_said, j));
}

void job_field(struct job *j, const char *account, const char *name, int64_t version,
               const char *value)
{
    char key[LAYOUT_KEY_LEN], number[JOB_NUMBER_LEN];

    snprintf(key, sizeof(key), LAYOUT_ACCOUNT, account);
    snprintf(number, sizeof(number), "%" PRId64, version);
    const struct span args[] = {span_str(name), span_str(number), span_str(value)};
    job_script(j, &j->projection->scripts.field, span_str(key), args, 3);
}
