/* Chunks to Binary HTTP to the events of a stream, each looked at before the next is. */
#include "client/core/sealed_answer.h"

#include "openai/stream.h"

enum {
    REFUSAL_MAX = 64 * 1024,
    INNER_MAX = 256 * 1024 * 1024, /* of what is kept */
    ANSWER_MAX = 1 << 30
};

/* What came cannot be used; the first reason counts. */
static void spoil(struct sealed_answer *a, const struct api_error *e, const char *text)
{
    if (!a->fault.error)
        api_fault_text(&a->fault, e, NULL, "%s", text);
}

/* ---- The inner answer ---- */

static void take_head(struct sealed_answer *a)
{
    const struct bhttp_head *h = bhttp_head_of(a->reader);
    struct span type = SPAN(""), ignored = SPAN(""), rid;

    a->status = h->status;
    (void)!bhttp_field_get(h->fields, h->count, "content-type", &type);
    (void)!bhttp_field_get(h->fields, h->count, "cocoon-ignored", &ignored);
    buf_append(&a->ignored, ignored);
    a->whole = h->status != 200 || !a->stream || !span_starts(type, SPAN("text/event-stream"));
    if (h->status != 200)
        return;
    if (bhttp_field_get(h->fields, h->count, "cocoon-request-id", &rid) < 0 ||
        !span_is(rid, a->rid))
        spoil(a, &ERR_VERIFICATION_FAILED, "The answer is one to another request.");
    if (a->whole && a->stream)
        spoil(a, &ERR_VERIFICATION_FAILED, "A stream was asked for, and something else came.");
}

static void take_events(struct sealed_answer *a, struct span bytes)
{
    const bool error = stream_has_error(bytes);

    a->broken = a->broken || error;
    if (a->kept.len > 0 || stream_is_closing(bytes)) {
        if (stream_is_usage(bytes) && a->usage.len == 0)
            buf_append(&a->usage, bytes);
        buf_append(&a->kept, bytes);
        return;
    }
    a->told = a->told || error;
    a->content(a->arg, bytes);
}

static void take_content(struct sealed_answer *a, struct span bytes)
{
    const size_t most = a->status == 200 ? INNER_MAX : REFUSAL_MAX;

    sha256_update(a->content_hash, bytes);
    if (bytes.len > most - a->kept.len)
        spoil(a, &ERR_WORKER_ERROR, "The answer is too long.");
    else if (a->whole)
        buf_append(&a->kept, bytes);
    else
        take_events(a, bytes);
}

static void take_trailers(struct sealed_answer *a)
{
    size_t count = 0;
    const struct bhttp_field *fields = bhttp_trailers_of(a->reader, &count);
    struct span jws;

    if (bhttp_field_get(fields, count, "cocoon-receipt", &jws) == 0)
        buf_append(&a->receipt, jws);
}

static void read_inner(struct sealed_answer *a)
{
    enum bhttp_event event = BHTTP_NEED_MORE;
    struct span content;

    while (!a->fault.error) {
        if (bhttp_next(a->reader, &event, &content) < 0) {
            spoil(a, &ERR_VERIFICATION_FAILED, "What the worker sealed is no answer.");
            return;
        }
        if (event == BHTTP_NEED_MORE || event == BHTTP_END)
            return;
        if (event == BHTTP_HEAD)
            take_head(a);
        else if (event == BHTTP_CONTENT)
            take_content(a, content);
        else
            take_trailers(a);
    }
}

static void on_chunk(void *arg, struct span plain, bool final)
{
    struct sealed_answer *a = arg;

    (void) final;
    a->chunks++;
    if (a->fault.error)
        return;
    bhttp_feed(a->reader, plain);
    read_inner(a);
}

/* ---- The end ---- */

/* The worker's own refusal, authenticated. A complaint about the fields that stand outside as well
 * means that they were changed on the way. */
static void refusal(struct sealed_answer *a)
{
    if (api_fault_parse(&a->fault, a->status, buf_span(&a->kept)) < 0)
        api_fault_set(&a->fault, &ERR_WORKER_ERROR, NULL, NULL);
    if (a->fault.error == &ERR_INVALID_HEADER)
        api_fault_text(&a->fault, &ERR_VERIFICATION_FAILED, NULL,
                       "The worker was told something else about this request than what is sealed "
                       "in it (model, limits or date), and refused it.");
}

static void look_at_end(struct sealed_answer *a)
{
    const bool done = a->whole || span_ends(buf_span(&a->kept), SPAN("data: [DONE]\n\n"));

    if (a->status == 0)
        spoil(a, &ERR_VERIFICATION_FAILED, "The worker's answer is empty.");
    else if (a->status != 200)
        refusal(a);
    else if (a->broken || !done)
        api_fault_set(&a->fault, &ERR_STREAM_BROKEN, NULL, NULL);
}

/* ---- The whole ---- */

void sealed_answer_begin(struct sealed_answer *a, struct ohttp_client *take, const char *rid,
                         bool stream, void (*content)(void *arg, struct span bytes), void *arg)
{
    *a = (struct sealed_answer){
        .ohttp = take,
        .reader = bhttp_reader_new(false, ANSWER_MAX),
        .sealed_hash = sha256_new(),
        .content_hash = sha256_new(),
        .rid = rid,
        .stream = stream,
        .content = content,
        .arg = arg,
    };
}

int sealed_answer_feed(struct sealed_answer *a, struct span bytes)
{
    sha256_update(a->sealed_hash, bytes);
    if (ohttp_client_open(a->ohttp, bytes, on_chunk, a) < 0)
        spoil(a, &ERR_VERIFICATION_FAILED, SEALED_ANSWER_CUT);
    return a->fault.error ? E_INVALID : 0;
}

int sealed_answer_end(struct sealed_answer *a)
{
    if (ohttp_client_end(a->ohttp, on_chunk, a) < 0)
        spoil(a, &ERR_VERIFICATION_FAILED, SEALED_ANSWER_CUT);
    bhttp_finish(a->reader);
    read_inner(a);
    sha256_final(a->sealed_hash, a->sealed);
    sha256_final(a->content_hash, a->opened);
    if (!a->fault.error)
        look_at_end(a);
    return a->fault.error ? E_INVALID : 0;
}

void sealed_answer_fini(struct sealed_answer *a)
{
    ohttp_client_free(a->ohttp);
    bhttp_reader_free(a->reader);
    sha256_free(a->sealed_hash);
    sha256_free(a->content_hash);
    buf_wipe(&a->kept);
    buf_fini(&a->usage);
    buf_fini(&a->receipt);
    buf_fini(&a->ignored);
    *a = (struct sealed_answer){0};
}
