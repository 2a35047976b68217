/* The three events of a transfer, kept. */
#include "net/http_whole.h"

static void on_head(void *arg, struct http_transfer *t, unsigned status, struct span type)
{
    struct http_whole *w = arg;

    (void)t;
    (void)type;
    w->status = status;
}

static void on_done(void *arg, struct http_transfer *t, int error)
{
    struct http_whole *w = arg;

    w->transfer = NULL;
    w->done(w->arg, t, error);
}

static void on_data(void *arg, struct http_transfer *t, struct span bytes)
{
    struct http_whole *w = arg;

    if (bytes.len <= w->max - w->body.len) {
        buf_append(&w->body, bytes);
        return;
    }
    buf_wipe(&w->body);
    http_transfer_cancel(t);
    on_done(w, t, E_TOO_LARGE);
}

int http_whole_start(struct http_whole *w, struct http_client *c, const struct http_fetch *f)
{
    static const struct http_transfer_events events = {on_head, on_data, on_done};

    CHECK(!w->transfer);
    buf_wipe(&w->body);
    w->status = 0;
    return http_client_start(c, f, &events, w, &w->transfer);
}

void http_whole_cancel(struct http_whole *w)
{
    if (w->transfer)
        http_transfer_cancel(w->transfer);
    w->transfer = NULL;
    buf_wipe(&w->body);
}
