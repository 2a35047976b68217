/* One file a keyset, in folders by its first byte. Nothing is ever removed here. */
#include "gateway/archive.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "gateway/gateway.h"

enum { FOLDER_MODE = 0700, FILE_MODE = 0600, NAME_LEN = 2 * SHA256_LEN + 1 };

struct archive_job {
    struct offload_job job;
    struct gateway *gateway;
    struct archive_job *next;    /* of gateway->archiving */
    struct buf folder, document; /* of all of them; what is written */
    char name[NAME_LEN];
    int error, why; /* errno */
};

static int make_folder(const char *path)
{
    return mkdir(path, FOLDER_MODE) == 0 || errno == EEXIST ? 0 : E_IO;
}

static int write_document(struct archive_job *j)
{
    AUTO(buf_fini) struct buf path = {0};

    TRY(make_folder(buf_cstr(&j->folder)));
    buf_printf(&path, "%s/%.2s", buf_cstr(&j->folder), j->name);
    TRY(make_folder(buf_cstr(&path)));
    buf_printf(&path, "/%s.json", j->name);
    if (access(buf_cstr(&path), F_OK) == 0)
        return 0;
    return file_replace(buf_cstr(&path), buf_span(&j->document), FILE_MODE);
}

static void archive_work(struct offload_job *job)
{
    struct archive_job *j = CONTAINER(job, struct archive_job, job);

    j->error = write_document(j);
    j->why = errno;
}

static void archive_free(struct archive_job *j)
{
    buf_fini(&j->folder);
    buf_fini(&j->document);
    free(j);
}

static void log_lost(const struct archive_job *j, const char *why)
{
    log_event(LOG_ERROR, "evidence_lost", "keyset=%s why=\"%s\"", j->name, why);
}

static bool is_under_way(const struct gateway *g, const char *name)
{
    for (const struct archive_job *j = g->archiving; j; j = j->next)
        if (strcmp(j->name, name) == 0)
            return true;
    return false;
}

static void archive_done(struct offload_job *job)
{
    struct archive_job *j = CONTAINER(job, struct archive_job, job);
    struct archive_job **at = &j->gateway->archiving;

    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    if (j->error < 0)
        log_lost(j, strerror(j->why));
    archive_free(j);
}

void archive_keep(struct gateway *g, const struct pool_evidence *e)
{
    const char *journal = ((const struct gateway_config *)g->started->values)->journal;
    char name[NAME_LEN];

    hex_encode(name, span_of(e->keyset_sha256, SHA256_LEN));
    if (!journal[0] || is_under_way(g, name))
        return;
    struct archive_job *j = mem_zero(sizeof(*j));
    j->job = (struct offload_job){.work = archive_work, .done = archive_done};
    j->gateway = g;
    memcpy(j->name, name, sizeof(name));
    buf_printf(&j->folder, "%s.evidence", journal);
    buf_append(&j->document, e->document);
    if (offload_submit(g->offload, &j->job) < 0) {
        log_lost(j, "busy");
        archive_free(j);
        return;
    }
    j->next = g->archiving;
    g->archiving = j;
}
