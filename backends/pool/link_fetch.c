/* A small request on a worker's tunnel whose whole answer is collected: attestation, description,
 * acknowledgements. */
#include <stdlib.h>

#include "backends/pool/pool_impl.h"
#include "base/arena.h"

enum { FETCH_MS = 15000 };

struct fetch {
    struct pool_worker *worker;
    struct list link; /* pool_worker.waiting: the tunnel had no stream to spare */
    struct arena arena;
    const char *method, *path;
    struct tunnel_field *fields;
    size_t field_count;
    struct buf request;
    struct tunnel_stream *stream;
    struct loop_timer timer;
    link_answer_fn *fn;
    struct buf body;
    size_t max;
    int error;
};

/* The last of a fetch: its answer is told, and it is gone. */
static void fetch_end(struct fetch *f, const struct link_answer *a)
{
    struct pool_worker *w = f->worker;

    loop_timer_cancel(w->pool->loop, &f->timer);
    list_del(&f->link);
    f->fn(w, a);
    pool_worker_unref(w);
    buf_fini(&f->body);
    buf_fini(&f->request);
    arena_fini(&f->arena);
    free(f);
}

static void fetch_data(void *arg, struct tunnel_stream *s, struct span bytes)
{
    struct fetch *f = arg;

    tunnel_stream_consume(s, bytes.len);
    if (f->error == 0 && f->body.len + bytes.len > f->max) {
        f->error = E_TOO_LARGE;
        tunnel_stream_reset(s);
    }
    if (f->error == 0)
        buf_append(&f->body, bytes);
}

static void fetch_closed(void *arg, struct tunnel_stream *s, int error)
{
    struct fetch *f = arg;
    struct pool_worker *w = pool_worker_ref(f->worker);
    struct link_answer a = {.error = f->error ? f->error : error};

    if (a.error == 0) {
        a.status = tunnel_stream_status(s);
        a.body = buf_span(&f->body);
        a.stream = s;
        link_observe(w, s);
    }
    bool was_full = w->tunnel && tunnel_room(w->tunnel) == 1;
    fetch_end(f, &a);
    link_fetch_waiting(w);
    if (was_full && w->tunnel && tunnel_room(w->tunnel) > 0)
        link_capacity(w->pool);
    pool_worker_unref(w);
}

static const struct tunnel_stream_events fetch_events = {.data = fetch_data,
                                                         .closed = fetch_closed};

/* Too late, or it could not be sent at all: told from the loop, like every other answer. */
static void fetch_late(void *arg)
{
    struct fetch *f = arg;

    if (f->error == 0)
        f->error = E_TIMEOUT;
    if (f->stream)
        tunnel_stream_reset(f->stream);
    else
        fetch_end(f, &(struct link_answer){.error = f->error});
}

static int fetch_send(struct fetch *f)
{
    struct pool_worker *w = f->worker;

    if (!w->tunnel)
        return E_CLOSED;
    return tunnel_request(w->tunnel, f->method, f->path, f->fields, f->field_count,
                          f->request.len > 0 ? &f->request : NULL, &fetch_events, f, &f->stream);
}

/* Sends; what finds no free stream waits for one, anything else ends. */
static void fetch_start(struct fetch *f)
{
    int error = fetch_send(f);

    if (error == 0)
        return;
    f->stream = NULL;
    if (error == E_BUSY) {
        list_push(&f->worker->waiting, &f->link);
        return;
    }
    f->error = error;
    loop_timer_set(f->worker->pool->loop, &f->timer, 0, fetch_late, f);
}

void link_fetch_waiting(struct pool_worker *w)
{
    struct list waiting;

    list_init(&waiting);
    for (struct list *it; (it = list_pop(&w->waiting));)
        list_push(&waiting, it);
    for (struct list *it; (it = list_pop(&waiting));)
        fetch_start(CONTAINER(it, struct fetch, link));
}

static void fetch_copy(struct fetch *f, const struct tunnel_field *fields, size_t count)
{
    f->fields = arena_alloc(&f->arena, (count + 1) * sizeof(*fields));
    f->field_count = count;
    for (size_t i = 0; i < count; i++)
        f->fields[i] = (struct tunnel_field){arena_copy(&f->arena, fields[i].name),
                                             arena_copy(&f->arena, fields[i].value)};
}

void link_fetch(struct pool_worker *w, const char *method, const char *path,
                const struct tunnel_field *fields, size_t count, struct buf *body, size_t max,
                link_answer_fn *fn)
{
    struct fetch *f = mem_zero(sizeof(*f));

    f->worker = pool_worker_ref(w);
    f->fn = fn;
    f->max = max;
    f->method = method;
    f->path = arena_strdup(&f->arena, span_str(path));
    fetch_copy(f, fields, count);
    if (body)
        buf_take(&f->request, body);
    loop_timer_set(w->pool->loop, &f->timer, FETCH_MS, fetch_late, f);
    fetch_start(f);
}
