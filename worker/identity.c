/* Finds out, one thing after another, what the keyset and the evidence will say. */
#include "worker/identity.h"

#include <stdio.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/notify.h"
#include "worker/rtmr.h"
#include "worker/secrecy.h"
#include "worker/verity.h"

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
    return error < 0 ? refuse("quote_provider", error, why) : 0;
}

/* ---- Rules inside a trust domain; elsewhere they are advice (attestation.md §9) ---- */

static int rule(const struct identity *id, const char *part, bool kept, const char *why)
{
    if (!kept && id->source.kind == QUOTE_TSM)
        return refuse(part, E_DENIED, why);
    if (!kept)
        log_event(LOG_WARN, "identity", "part=%s why=\"%s\"", part, why);
    return 0;
}

static bool is_read_only(const char *folder)
{
    struct statvfs fs;

    return statvfs(folder, &fs) == 0 && fs.f_flag & ST_RDONLY;
}

static int check_rules(const struct identity *id, const struct worker_config *c)
{
    TRY(rule(id, "swap", !secrecy_swap_on(), "memory can be swapped out: swapoff -a"));
    TRY(rule(id, "model_dir", !*c->model_dir || is_read_only(c->model_dir),
             "the model's folder is not on a read-only file system"));
    return rule(id, "measured_config", *c->measured_config || id->source.kind != QUOTE_TSM,
                "no measured_config is named: policies pin its digest");
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
    int error, contained;
    bool done;
    char why[DIGESTS_WHY_LEN];
};

static void model_work(struct offload_job *job)
{
    struct model_job *m = CONTAINER(job, struct model_job, job);

    m->error = digest_model(m->folder, &m->id->stop, m->id->model_digest, m->why);
    if (m->error == 0)
        m->contained = digest_model_contained(m->folder, m->why);
}

static void model_done(struct offload_job *job)
{
    CONTAINER(job, struct model_job, job)->done = true;
}

static int read_model_digest(struct identity *id, const char *folder, struct loop *l,
                             struct offload *o)
{
    struct model_job m = {
        .job = {.work = model_work, .done = model_done}, .id = id, .folder = folder};
    const uint64_t began = clock_mono_ms();

    snprintf(id->model_digest, sizeof(id->model_digest), "sha256:%s", EMPTY_SHA256);
    if (!*folder)
        return 0;
    log_event(LOG_INFO, "model", "reading=%s", folder);
    TRY(offload_submit(o, &m.job));
    while (!m.done) {
        loop_turn(l, LOOK_MS);
        notify_tell("EXTEND_TIMEOUT_USEC=10000000\nSTATUS=reading the model's files");
    }
    if (m.error < 0)
        return id->stop ? E_CLOSED : refuse("model_dir", m.error, m.why);
    TRY(rule(id, "model_dir", m.contained == 0, m.why));
    log_event(LOG_INFO, "model", "digest=%s ms=%llu", id->model_digest,
              (unsigned long long)(clock_mono_ms() - began));
    return 0;
}

/* The kernel holds each byte against the image's root hash when it is read. */
static int read_verity_root(struct identity *id, const struct worker_config *c)
{
    char why[VERITY_WHY_LEN] = "no model_dir is named";
    const int error = *c->model_dir ? verity_check(c->model_dir, c->model_verity, why) : E_INVALID;

    TRY(rule(id, "model_verity", error == 0, why));
    snprintf(id->model_digest, sizeof(id->model_digest), "verity:%s", c->model_verity);
    log_event(LOG_INFO, "model", "digest=%s", id->model_digest);
    return 0;
}

static int find_gpus(struct identity *id, const char *setting)
{
    AUTO(x509_cert_free) struct x509_cert *root = gpu_nvidia_root();
    char why[GPU_WHY_LEN] = "";

    if (strcmp(setting, "none") == 0)
        return 0;
    int error = gpu_open(&id->gpus, NULL, why);
    if (error == 0)
        error = gpu_make_ready(id->gpus, root, clock_wall_ms() / 1000, why);
    if (error < 0)
        return refuse("gpu", error, why);
    log_event(LOG_INFO, "gpu", "count=%u", (unsigned)gpu_count(id->gpus));
    return 0;
}

static int extend_rtmr3(const struct identity *id)
{
    char why[DIGESTS_WHY_LEN] = "";
    uint8_t value[SHA384_LEN];

    TRY(rtmr3_value(id->config_sha256, id->model_digest, value));
    const int error = rtmr3_extend(RTMR3_FILE, value, why);
    return error < 0 ? refuse("extend_rtmr3", error, why) : 0;
}

int identity_read(struct identity *id, const struct worker_config *c, struct loop *l,
                  struct offload *o)
{
    TRY(find_source(id, c));
    TRY(check_rules(id, c));
    TRY(read_config_digest(id, c->measured_config));
    if (*c->model_verity)
        TRY(read_verity_root(id, c));
    else
        TRY(read_model_digest(id, c->model_dir, l, o));
    TRY(find_gpus(id, c->gpu));
    return c->extend_rtmr3 ? extend_rtmr3(id) : 0;
}

void identity_fini(struct identity *id)
{
    gpu_close(id->gpus);
    id->gpus = NULL;
}

const char *identity_env(const struct identity *id)
{
    switch (id->source.kind) {
    case QUOTE_TSM:
        return "production";
    case QUOTE_SOCKET:
        return "insecure-dev";
    case QUOTE_NO_TEE:
        break;
    }
    return "unattested";
}
