/* A small request on a worker's tunnel whose whole answer is collected: attestation, description,
 * acknowledgements. */
#include <stdlib.h>

#include "backends/pool/pool_impl.h"

enum { FETCH_MS = 15000 };

struct fetch {
    struct pool_worker *worker;
    struct tunnel_stream *stream;
    struct loop_timer timer;
    link_answer_fn *fn;
    struct buf body;
    size_t max;
    int error;
};

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
    struct pool_worker *w = f->worker;
    struct link_answer a = {.error = f->error ? f->error : error};

    loop_timer_cancel(w->pool->loop, &f->timer);
    if (a.error == 0) {
        a.status = tunnel_stream_status(s);
        a.body = buf_span(&f->body);
        a.stream = s;
        link_observe(w, s);
    }
    f->fn(w, &a);
    pool_worker_unref(w);
    buf_fini(&f->body);
    free(f);
}

static const struct tunnel_stream_events fetch_events = {.data = fetch_data,
                                                         .closed = fetch_closed};

static void fetch_late(void *arg)
{
    struct fetch *f = arg;

    f->error = E_TIMEOUT;
    if (f->stream)
        tunnel_stream_reset(f->stream);
}

/* The request could not even be sent: told from the loop, like every other answer. */
static void fetch_unsent(void *arg)
{
    struct fetch *f = arg;
    struct pool_worker *w = f->worker;

    f->fn(w, &(struct link_answer){.error = E_CLOSED});
    pool_worker_unref(w);
    buf_fini(&f->body);
    free(f);
}

void link_fetch(struct pool_worker *w, const char *method, const char *path,
                const struct tunnel_field *fields, size_t count, struct buf *body, size_t max,
                link_answer_fn *fn)
{
    struct fetch *f = mem_zero(sizeof(*f));
    struct loop *l = w->pool->loop;

    f->worker = pool_worker_ref(w);
    f->fn = fn;
    f->max = max;
    if (!w->tunnel || tunnel_request(w->tunnel, method, path, fields, count, body, &fetch_events, f,
                                     &f->stream) < 0) {
        f->stream = NULL;
        loop_timer_set(l, &f->timer, 0, fetch_unsent, f);
        return;
    }
    loop_timer_set(l, &f->timer, FETCH_MS, fetch_late, f);
}
