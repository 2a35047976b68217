/* Finds out, one thing after another, what the keyset and the evidence will say. */
#include "worker/identity.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/notify.h"
#include "worker/secrecy.h"

/* SHA-256 of nothing. */
#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

enum { LOOK_MS = 500 };

static int refuse(const char *what, int error, const char *why)
{
    log_event(LOG_ERROR, "identity", "part=%s error=%s why=\"%s\"", what, error_name(error), why);
    return error;
}

/* ---- Quotes ---- */

static int find_source(struct identity *id, const struct worker_config *c)
{
    char why[QUOTE_WHY_LEN] = "";

    TRY(quote_source_read(&id->source, c->quote_provider));
    const int error = quote_source_check(&id->source, why);
    if (error < 0)
        return refuse("quote_provider", error, why);
    if (id->source.kind == QUOTE_TSM && secrecy_swap_on())
        return refuse("swap", E_DENIED,
                      "memory can be swapped out of the trust domain: swapoff -a");
    return 0;
}

/* ---- Digests ---- */

static int read_config_digest(struct identity *id, const char *file)
{
    char why[DIGESTS_WHY_LEN] = "";

    snprintf(id->config_sha256, sizeof(id->config_sha256), "%s", EMPTY_SHA256);
    if (!*file)
        return 0;
    const int error = digest_file(file, id->config_sha256, why);
    return error < 0 ? refuse("measured_config", error, why) : 0;
}

struct model_job {
    struct offload_job job;
    struct identity *id;
    const char *folder;
    int error;
    bool done;
    char why[DIGESTS_WHY_LEN];
};

static void model_work(struct offload_job *job)
{
    struct model_job *m = CONTAINER(job, struct model_job, job);

    m->error = digest_model(m->folder, &m->id->stop, m->id->model_digest, m->why);
}

static void model_done(struct offload_job *job)
{
    CONTAINER(job, struct model_job, job)->done = true;
}

static int read_model_digest(struct identity *id, const char *folder, struct loop *l,
                             struct offload *o)
{
    struct model_job m = {{.work = model_work, .done = model_done}, id, folder, 0, false, ""};
    const uint64_t began = clock_mono_ms();

    snprintf(id->model_digest, sizeof(id->model_digest), "sha256:%s", EMPTY_SHA256);
    if (!*folder)
        return 0;
    log_event(LOG_INFO, "model", "reading=%s", folder);
    TRY(offload_submit(o, &m.job));
    while (!m.done) {
        loop_turn(l, LOOK_MS);
        (void)!notify_send("EXTEND_TIMEOUT_USEC=10000000\nSTATUS=reading the model's files");
    }
    if (m.error < 0)
        return id->stop ? E_CLOSED : refuse("model_dir", m.error, m.why);
    log_event(LOG_INFO, "model", "digest=%s ms=%llu", id->model_digest,
              (unsigned long long)(clock_mono_ms() - began));
    return 0;
}

int identity_read(struct identity *id, const struct worker_config *c, struct loop *l,
                  struct offload *o)
{
    TRY(find_source(id, c));
    TRY(read_config_digest(id, c->measured_config));
    return read_model_digest(id, c->model_dir, l, o);
}

const char *identity_env(const struct identity *id, const struct worker_config *c)
{
    switch (id->source.kind) {
    case QUOTE_TSM:
        return "production";
    case QUOTE_SOCKET:
        return "insecure-dev";
    case QUOTE_NO_TEE:
        return "unattested";
    case QUOTE_UNSET:
        break;
    }
    return c->attestation;
}
