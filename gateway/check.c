/* Step check: JSON, fields, and the model. Long bodies are read in the offload pool. */
#include <stdlib.h>

#include "gateway/replay.h"
#include "gateway/services.h"
#include "base/clock.h"
#include "openai/request_reading.h"

/* Owns what it reads, so that the call may die meanwhile. */
struct check_job {
    struct offload_job job;
    struct call *call;              /* NULL: nobody waits any more */
    struct config_snapshot *config; /* has the rules' lists */
    struct request_reading reading;
};

static void job_free(struct check_job *j)
{
    request_reading_fini(&j->reading);
    config_unref(j->config);
    free(j);
}

static void job_work(struct offload_job *job)
{
    request_reading_run(&CONTAINER(job, struct check_job, job)->reading);
}

static void job_done(struct offload_job *job)
{
    struct check_job *j = CONTAINER(job, struct check_job, job);
    struct call *c = j->call;

    if (c) {
        c->check_job = NULL;
        c->parsed = request_reading_take(&j->reading, &c->body, &c->rq, &c->fault) == 0;
    }
    job_free(j);
    if (c)
        call_resume(c);
}

void check_forget(struct call *c)
{
    if (c->check_job)
        c->check_job->call = NULL;
    c->check_job = NULL;
}

static enum step_result check_later(struct call *c, const struct request_rules *rules)
{
    struct check_job *j = mem_zero(sizeof(*j));

    j->job = (struct offload_job){.work = job_work, .done = job_done};
    j->call = c;
    j->config = config_ref(c->config);
    request_reading_init(&j->reading, c->route->endpoint, rules, &c->body);
    if (offload_submit(c->gateway->offload, &j->job) < 0) {
        job_free(j);
        api_fault_set(&c->fault, &ERR_OVERLOADED, NULL, NULL);
        return STEP_FAIL;
    }
    c->check_job = j;
    return STEP_WAIT;
}

static enum step_result refuse_model(struct call *c, const struct api_error *e)
{
    struct span name = buf_span(&c->rq.model);
    char shown[80];

    snprintf(shown, sizeof(shown), "%.*s", (int)(name.len > 64 ? 64 : name.len),
             (const char *)name.data);
    api_fault_set(&c->fault, e, "model", shown);
    return STEP_FAIL;
}

enum step_result call_check_served(struct call *c)
{
    struct span name = buf_span(&c->rq.model);
    bool served = pool_model(c->gateway->pool, name, &c->model);
    if (!served && !pool_any_ready(c->gateway->pool)) { /* just started, or all gone: not a 404 */
        api_fault_set(&c->fault, &ERR_NO_CAPACITY, NULL, NULL);
        return STEP_FAIL;
    }
    if (!served && !pool_model_known(c->gateway->pool, name))
        return refuse_model(c, &ERR_MODEL_NOT_FOUND);
    if (served && !call_is_end_to_end(c) && !(c->model.model.endpoints & (1u << c->rq.endpoint)))
        return refuse_model(c, &ERR_MODEL_UNSUPPORTED_ENDPOINT);
    return STEP_NEXT;
}

enum step_result call_check_model(struct call *c)
{
    struct span name = buf_span(&c->rq.model);

    if (!call_allows_model(c, name))
        return refuse_model(c, &ERR_MODEL_NOT_ALLOWED);
    if (!replay_may_come(c))
        return call_check_served(c);
    (void)pool_model(c->gateway->pool, name, &c->model); /* it may need none (admit.c) */
    return STEP_NEXT;
}

static enum step_result unattested(struct call *c, const char *why)
{
    api_fault_text(&c->fault, &ERR_NO_ATTESTED_WORKER, NULL, "%s", why);
    return STEP_FAIL;
}

/* The demands on the worker's evidence: the key's, and the caller's own on top. */
enum step_result check_require(struct call *c)
{
    struct span text = http_header(c->ex, "cocoon-require");
    struct attest_require own = {0};
    char why[120];

    if (attest_require_read(&c->require, span_str(c->key->require), why) < 0)
        return unattested(c, "This key demands evidence that is not known here.");
    if (text.data && (http_header_count(c->ex, "cocoon-require") > 1 ||
                      attest_require_read(&own, text, why) < 0)) {
        api_fault_set(&c->fault, &ERR_INVALID_HEADER, NULL, "Cocoon-Require");
        return STEP_FAIL;
    }
    if (attest_require_merge(&c->require, &own) < 0)
        return unattested(c, "No worker has both measurements that key and request demand.");
    return STEP_NEXT;
}

enum step_result call_check(struct call *c)
{
    const struct gateway_config *own = c->config->values;
    const struct request_rules rules = {.strict = c->key->strict,
                                        .allowed = (const char *const *)own->extras_allowed.items,
                                        .denied = (const char *const *)own->extras_denied.items,
                                        .max_n = 128};

    if (call_is_end_to_end(c))
        return outer_check(c);
    if (c->fault.error)
        return STEP_FAIL;
    if (!c->parsed && c->check_job)
        return STEP_WAIT;
    if (!c->parsed && c->body.len > REQUEST_LONG)
        return check_later(c, &rules);
    if (!c->parsed &&
        request_parse(&c->rq, c->route->endpoint, buf_span(&c->body), &rules, &c->fault) < 0)
        return STEP_FAIL;
    c->parsed = true;
    if (check_require(c) == STEP_FAIL)
        return STEP_FAIL;
    return call_check_model(c);
}
