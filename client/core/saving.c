/* A folder a call, written off the loop; it has its name when all of it is there. */
#include "client/core/saving.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"

enum { SAVED_MAX = 64 * 1024 * 1024, FILES = 6 };

void saving_body(struct saving *s, struct span body)
{
    buf_wipe(&s->body);
    buf_append(&s->body, body);
}

void saving_answer(struct saving *s, struct span more)
{
    s->lost = s->lost || more.len > SAVED_MAX - s->answer.len;
    if (!s->lost)
        buf_append(&s->answer, more);
}

void saving_fini(struct saving *s)
{
    buf_wipe(&s->body);
    buf_wipe(&s->answer);
    *s = (struct saving){0};
}

/* Owns all it writes. */
struct save_job {
    struct offload_job job;
    struct buf folder, hidden; /* its last name, and the one while it is filled */
    const char *names[FILES];
    struct buf files[FILES];
    size_t count;
    const char *failed; /* name of the file; NULL: none */
    int reason;         /* errno */
};

static void add(struct save_job *j, const char *name, struct span bytes)
{
    if (bytes.len == 0)
        return;
    j->names[j->count] = name;
    buf_append(&j->files[j->count++], bytes);
}

static int write_file(struct save_job *j, size_t i)
{
    AUTO(buf_fini) struct buf path = {0};

    buf_printf(&path, "%s/%s", buf_cstr(&j->hidden), j->names[i]);
    return file_replace(buf_cstr(&path), buf_span(&j->files[i]), 0600);
}

static void fail(struct save_job *j, const char *what)
{
    j->failed = what;
    j->reason = errno;
}

static void save_work(struct offload_job *job)
{
    struct save_job *j = CONTAINER(job, struct save_job, job);

    if (mkdir(buf_cstr(&j->hidden), 0700) < 0 && errno != EEXIST)
        fail(j, "the folder");
    for (size_t i = 0; i < j->count && !j->failed; i++)
        if (write_file(j, i) < 0)
            fail(j, j->names[i]);
    if (!j->failed && rename(buf_cstr(&j->hidden), buf_cstr(&j->folder)) < 0)
        fail(j, "the folder");
}

static void save_done(struct offload_job *job)
{
    struct save_job *j = CONTAINER(job, struct save_job, job);

    if (j->failed)
        log_event(LOG_WARN, "receipt_unsaved", "folder=\"%s\" file=\"%s\" why=\"%s\"",
                  buf_cstr(&j->folder), j->failed, strerror(j->reason));
    buf_fini(&j->folder);
    buf_fini(&j->hidden);
    for (size_t i = 0; i < j->count; i++)
        buf_wipe(&j->files[i]);
    free(j);
}

void saving_write(struct client *c, struct saving *s, const struct saving_proof *proof)
{
    struct save_job *j = mem_zero(sizeof(*j));

    j->job = (struct offload_job){.work = save_work, .done = save_done};
    buf_printf(&j->folder, "%s/%s", c->save_receipts, proof->call);
    buf_printf(&j->hidden, "%s/.%s", c->save_receipts, proof->call);
    add(j, "request.json", buf_span(&s->body));
    if (s->lost)
        log_event(LOG_WARN, "receipt_unsaved", "call=%s why=\"the answer is too long\"",
                  proof->call);
    else
        add(j, proof->stream ? "answer.sse" : "answer.json", buf_span(&s->answer));
    add(j, "receipt.jws", proof->receipt);
    add(j, "usage.jws", proof->record);
    add(j, "attestation.json", buf_span(&proof->worker->document));
    add(j, "collateral.json", buf_span(&proof->worker->collateral));
    saving_fini(s);
    if (offload_submit(c->offload, &j->job) == 0)
        return;
    j->failed = "all";
    j->reason = EBUSY;
    save_done(&j->job);
}
