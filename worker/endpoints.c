/* What a gateway may ask of a worker (wire.md §1): one table, which is the map of this program. */
#include <stdlib.h>

#include "worker/call.h"
#include "worker/describe.h"
#include "worker/exchange.h"
#include "worker/records.h"
#include "worker/tell.h"

enum body {
    BODY_NONE,  /* answered at once */
    BODY_SMALL, /* collected first, at most BODY_MAX */
    BODY_OWN    /* the endpoint reads the stream itself */
};
enum { BODY_MAX = 1 << 20 };

struct entry {
    const char *method, *path; /* a path that ends in '/' takes all below it */
    endpoint_fn *fn;
    enum body body;
};

static const struct entry table[] = {
    {"POST", "/ohttp", call_begin, BODY_OWN},
    {"DELETE", "/ohttp/", call_cancel_asked, BODY_NONE},
    {"GET", "/v1/worker", describe_worker, BODY_NONE},
    {"GET", "/v1/attestation", describe_attestation, BODY_NONE},
    {"GET", "/.well-known/ohttp-gateway", describe_keys, BODY_NONE},
    {"GET", "/v1/usage", records_list, BODY_NONE},
    {"POST", "/v1/usage/ack", records_ack, BODY_SMALL},
    {"GET", "/v1/voucher", tell_no_voucher, BODY_NONE},
    {"PUT", "/v1/voucher", tell_voucher_unknown, BODY_NONE},
    {"PUT", "/v1/gateways", tell_gateways, BODY_SMALL},
    {"POST", "/v1/drain", tell_drain, BODY_NONE},
    {"POST", "/v1/refused", tell_refused, BODY_SMALL},
};

static bool path_matches(const struct entry *e, struct span path)
{
    const struct span want = span_str(e->path);

    return span_ends(want, SPAN("/")) ? span_starts(path, want) : span_eq(path, want);
}

static const struct entry *find(struct span method, struct span path)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (span_is(method, table[i].method) && path_matches(&table[i], path))
            return &table[i];
    return NULL;
}

/* ---- Small bodies ---- */

struct collect {
    struct exchange x;
    const struct entry *endpoint;
    bool answered;
};

static void on_data(void *arg, struct tunnel_stream *s, struct span bytes)
{
    struct collect *c = arg;

    tunnel_stream_consume(s, bytes.len);
    if (c->answered)
        return;
    if (c->x.body.len + bytes.len > BODY_MAX) {
        c->answered = true;
        exchange_problem(&c->x, &problem_too_large);
        return;
    }
    buf_append(&c->x.body, bytes);
}

static void on_end(void *arg, struct tunnel_stream *s)
{
    struct collect *c = arg;

    (void)s;
    if (c->answered)
        return;
    c->answered = true;
    c->endpoint->fn(&c->x);
}

static void on_closed(void *arg, struct tunnel_stream *s, int error)
{
    struct collect *c = arg;

    (void)s;
    (void)error;
    buf_fini(&c->x.body);
    free(c);
}

static const struct tunnel_stream_events collect_events = {
    .data = on_data,
    .end = on_end,
    .closed = on_closed,
};

static void collect_begin(const struct exchange *x, const struct entry *e)
{
    struct collect *c = mem_zero(sizeof(*c));

    c->x = *x;
    c->endpoint = e;
    tunnel_stream_attach(x->stream, &collect_events, c);
}

/* ---- Dispatch ---- */

/* A body that nobody reads does not shut the window. */
static void discard(void *arg, struct tunnel_stream *s, struct span bytes)
{
    (void)arg;
    tunnel_stream_consume(s, bytes.len);
}

static const struct tunnel_stream_events discard_events = {.data = discard};

void endpoints_dispatch(struct worker *w, struct link *link, struct tunnel_stream *s)
{
    struct span query = tunnel_stream_path(s);
    const struct span path = span_split(&query, '?');
    const struct entry *e = find(tunnel_stream_method(s), path);
    struct exchange x = {.worker = w, .link = link, .stream = s, .query = query};

    tunnel_stream_attach(s, &discard_events, NULL);
    if (!e) {
        exchange_problem(&x, &problem_not_found);
        return;
    }
    x.rest = span_from(path, strlen(e->path));
    if (e->body == BODY_SMALL)
        collect_begin(&x, e);
    else
        e->fn(&x);
}
