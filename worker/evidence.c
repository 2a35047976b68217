/* A queue of asks; one's document at a time is made in the offload pool. */
#include "worker/evidence.h"

#include <stdlib.h>

#include "attest/collateral.h"
#include "attest/document.h"
#include "attest/event_log.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"

struct evidence_ask {
    struct list link;
    struct evidence *evidence;
    uint8_t nonce[EVIDENCE_NONCE_LEN];
    struct buf keyset;
    evidence_fn *done; /* NULL: told, or forgotten */
    void *arg;
    struct loop_timer timer;
};

struct evidence {
    struct loop *loop;
    struct offload *offload;
    struct quote_source source;
    struct gpu_reader *gpus;
    char *collateral_file, *event_log_file;
    struct list asks; /* those that wait */
    size_t count;     /* of all */

    /* Of the job while it runs. */
    struct evidence_ask *current; /* whose document is made; NULL: none is */
    struct offload_job job;
    struct buf document;
    int error;
    char why[QUOTE_WHY_LEN];
};

_Static_assert((int)QUOTE_WHY_LEN >= (int)GPU_WHY_LEN, "a reason of either fits");

const char *evidence_tee(const struct quote_source *source)
{
    switch (source->kind) {
    case QUOTE_TSM:
        return "tdx";
    case QUOTE_NO_TEE:
        return "none";
    case QUOTE_SOCKET:
        break;
    }
    return "insecure-dev";
}

/* ---- In a pool thread ---- */

/* A file that cannot be had is left out: it is convenience for the verifier. */
static bool read_staple(const char *path, size_t max, struct buf *out)
{
    if (!*path)
        return false;
    const int error = file_read(path, max, out);
    if (error == 0 && out->len > 0)
        return true;
    log_event(LOG_WARN, "staple", "file=%s left_out=%s", path,
              error == E_TOO_LARGE ? "too_large" : "unreadable");
    return false;
}

static void staple(struct evidence *e)
{
    AUTO(buf_fini) struct buf collateral = {0}, log = {0}, text = {0}, out = {0};
    AUTO_JSON json_t *json = NULL;
    struct json_edit edits[2];
    size_t count = 0;

    if (read_staple(e->collateral_file, COLLATERAL_MAX, &collateral)) {
        if (json_read(buf_span(&collateral), &json) == 0)
            edits[count++] = (struct json_edit){"collateral", span_trim(buf_span(&collateral))};
        else
            log_event(LOG_WARN, "staple", "file=%s left_out=no_json", e->collateral_file);
    }
    if (read_staple(e->event_log_file, EVENT_LOG_MAX, &log)) {
        buf_byte(&text, '"');
        base64_encode(&text, buf_span(&log));
        buf_byte(&text, '"');
        edits[count++] = (struct json_edit){"event_log", buf_span(&text)};
    }
    if (count == 0)
        return;
    CHECK(json_splice(buf_span(&e->document), edits, count, &out) == 0);
    buf_take(&e->document, &out);
}

static int make_document(struct evidence *e, const struct evidence_ask *ask)
{
    AUTO(buf_fini) struct buf devices = {0}, quote = {0};
    const struct span keyset = buf_span(&ask->keyset);
    uint8_t gpu_nonce[GPU_NONCE_LEN], report_data[QUOTE_REPORT_DATA_LEN];

    if (e->gpus) {
        attest_gpu_nonce(gpu_nonce, ask->nonce, keyset);
        TRY(gpu_evidence(e->gpus, gpu_nonce, &devices, e->why));
    }
    if (e->source.kind != QUOTE_NO_TEE) {
        attest_report_data(report_data, ask->nonce, keyset, buf_span(&devices));
        TRY(quote_get(&e->source, report_data, &quote, e->why));
    }
    attest_document_write(&e->document, evidence_tee(&e->source), ask->nonce, keyset,
                          buf_span(&devices), buf_span(&quote));
    staple(e);
    return 0;
}

static void work(struct offload_job *job)
{
    struct evidence *e = CONTAINER(job, struct evidence, job);

    e->error = make_document(e, e->current);
}

/* ---- In the loop ---- */

static void ask_free(struct evidence_ask *ask)
{
    loop_timer_cancel(ask->evidence->loop, &ask->timer);
    list_del(&ask->link);
    ask->evidence->count--;
    buf_fini(&ask->keyset);
    free(ask);
}

/* The one under way stays until its job is done, which reads it. */
void evidence_forget(struct evidence_ask *ask)
{
    ask->done = NULL;
    loop_timer_cancel(ask->evidence->loop, &ask->timer);
    if (ask != ask->evidence->current)
        ask_free(ask);
}

static void tell(struct evidence_ask *ask, int error, struct buf *document)
{
    evidence_fn *done = ask->done;
    void *arg = ask->arg;

    evidence_forget(ask);
    if (done)
        done(arg, error, document);
}

static void on_late(void *arg)
{
    tell(arg, E_TIMEOUT, NULL);
}

static void go_on(struct evidence *e);

/* The next one is begun first: who is told may ask again. */
static void on_done(struct offload_job *job)
{
    struct evidence *e = CONTAINER(job, struct evidence, job);
    struct evidence_ask *ask = e->current;
    AUTO(buf_fini) struct buf document = {0};
    const int error = e->error;

    if (error < 0)
        log_event(LOG_ERROR, "evidence", "error=%s why=\"%s\"", error_name(error), e->why);
    buf_take(&document, &e->document);
    e->current = NULL;
    go_on(e);
    tell(ask, error, error < 0 ? NULL : &document);
}

static int begin(struct evidence *e, struct evidence_ask *ask)
{
    e->why[0] = '\0';
    e->job = (struct offload_job){.work = work, .done = on_done};
    e->current = ask; /* before the thread looks */
    const int error = offload_submit(e->offload, &e->job);
    if (error < 0)
        e->current = NULL;
    return error;
}

static void go_on(struct evidence *e)
{
    struct list *link;

    while (!e->current && (link = list_pop(&e->asks))) {
        struct evidence_ask *ask = CONTAINER(link, struct evidence_ask, link);
        const int error = begin(e, ask);
        if (error < 0)
            tell(ask, error, NULL);
    }
}

int evidence_ask(struct evidence *e, const uint8_t nonce[static EVIDENCE_NONCE_LEN],
                 struct span keyset, evidence_fn *done, void *arg, struct evidence_ask **out)
{
    if (e->count == EVIDENCE_WAITING_MAX)
        return E_BUSY;
    struct evidence_ask *ask = mem_zero(sizeof(*ask));

    ask->evidence = e;
    memcpy(ask->nonce, nonce, EVIDENCE_NONCE_LEN);
    buf_append(&ask->keyset, keyset);
    ask->done = done;
    ask->arg = arg;
    e->count++;
    loop_timer_set(e->loop, &ask->timer, QUOTE_WAIT_MS, on_late, ask);
    int error = 0;
    if (e->current)
        list_push(&e->asks, &ask->link);
    else
        error = begin(e, ask);
    if (error < 0)
        ask_free(ask);
    else
        *out = ask;
    return error;
}

int evidence_new(struct evidence **out, struct loop *l, struct offload *o,
                 const struct evidence_options *options)
{
    struct evidence *e = mem_zero(sizeof(*e));

    *e = (struct evidence){.loop = l,
                           .offload = o,
                           .source = options->source,
                           .gpus = options->gpus,
                           .collateral_file = mem_strdup(options->collateral_file),
                           .event_log_file = mem_strdup(options->event_log_file)};
    list_init(&e->asks);
    *out = e;
    return 0;
}

void evidence_free(struct evidence *e)
{
    if (!e)
        return;
    LIST_FOREACH_SAFE(it, &e->asks)
        ask_free(CONTAINER(it, struct evidence_ask, link));
    buf_fini(&e->document);
    free(e->collateral_file);
    free(e->event_log_file);
    free(e);
}
