/* One request as libmicrohttpd's callbacks tell it, turned into the handler's steps: head, body,
 * body_end, gone, done. */
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "net/http_impl.h"

enum {
    LATE_ANSWER_MS = 100
}; /* how long an answer waits for the next part of a body that it overtook */

static struct http_server *server_of(const struct http_exchange *ex)
{
    return ex->conn->daemon->server;
}

/* ---- Reading ---- */

static bool is_token(struct span name)
{
    static const char others[] = "!#$%&'*+-.^_`|~";

    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!alnum && (c == 0 || !strchr(others, c)))
            return false;
    }
    return name.len > 0;
}

struct framing {
    unsigned lengths, encodings, hosts;
    bool malformed;
};

static void framing_look(void *arg, struct span name, struct span value)
{
    struct framing *f = arg;

    if (!is_token(name)) /* "Content-Length : 5": a proxy in front may read it differently */
        f->malformed = true;
    else if (span_ieq(name, SPAN("Content-Length")))
        f->lengths++;
    else if (span_ieq(name, SPAN("Host")))
        f->hosts++; /* that there is one in HTTP/1.1, MHD sees to */
    else if (span_ieq(name, SPAN("Transfer-Encoding"))) {
        f->encodings++;
        if (!span_ieq(value, SPAN("chunked")))
            f->malformed = true;
    }
}

/* RFC 9112 §6.3 and §3.2, strictly: what two readers may understand differently is refused. */
static int64_t content_length(const struct http_exchange *ex)
{
    struct framing f = {0};
    uint64_t length;

    http_headers_each(ex, framing_look, &f);
    if (f.malformed || f.lengths + f.encodings > 1 || f.hosts > 1)
        return -3;
    if (f.encodings)
        return -1;
    if (!f.lengths)
        return -2;
    if (span_u64(http_header(ex, "Content-Length"), INT64_MAX, &length) < 0)
        return -3;
    return (int64_t)length;
}

static struct http_exchange *exchange_new(struct http_conn *c, const char *method,
                                          const char *version)
{
    struct http_exchange *ex = mem_zero(sizeof(*ex));
    struct http_server *s = c->daemon->server;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

    ex->conn = c;
    c->ex = ex;
    ex->method = span_str(method);
    ex->chunked = strcmp(version, MHD_HTTP_VERSION_1_1) == 0;
    ex->header_bytes = info ? info->header_size : 0;
    ex->started_us = clock_mono_us();
    ex->content_length = content_length(ex);
    list_init(&ex->chunks);
    list_push(&s->exchanges, &ex->link);
    s->exchange_count++;
    loop_timer_cancel(s->loop, &c->header_timer);
    return ex;
}

static bool has_body(const struct http_exchange *ex)
{
    return ex->content_length > 0 || ex->content_length == -1 || ex->content_length == -3;
}

/* ---- The body's deadline ---- */

static void on_body_time(void *arg);

static void body_timer_start(struct http_exchange *ex)
{
    struct http_server *s = server_of(ex);

    ex->body_from_ms = loop_now(s->loop);
    loop_timer_set(s->loop, &ex->body_timer, s->o.body_ms, on_body_time, ex);
}

/* The socket is shut down, never closed: MHD sees the end and closes it. */
static void shut(struct http_exchange *ex)
{
    ex->shut = true;
    (void)shutdown(ex->conn->fd, SHUT_RDWR);
}

static void on_body_time(void *arg)
{
    struct http_exchange *ex = arg;
    struct http_server *s = server_of(ex);
    uint64_t due =
        ex->body_from_ms + s->o.body_ms + ex->received / (64 << 10) * s->o.body_ms_per_64k;

    if (loop_now(s->loop) < due) {
        loop_timer_set(s->loop, &ex->body_timer, due - loop_now(s->loop), on_body_time, ex);
        return;
    }
    ex->in_part = true; /* an answer given now is sent below */
    if (s->h.body_late)
        s->h.body_late(s->arg, ex);
    ex->in_part = false;
    if (ex->answered && !ex->stream) {
        http_write_raw(ex);
        shut(ex);
    } else {
        http_exchange_gone(ex);
    }
}

static void on_answer_waited(void *arg)
{
    struct http_exchange *ex = arg;

    http_write_raw(ex);
    shut(ex);
}

void http_body_answered(struct http_exchange *ex)
{
    loop_timer_set(server_of(ex)->loop, &ex->body_timer, LATE_ANSWER_MS, on_answer_waited, ex);
}

/* ---- Steps ---- */

static void park(struct http_exchange *ex)
{
    ex->suspended = true;
    MHD_suspend_connection(ex->conn->mhd);
}

static void head_step(struct http_exchange *ex)
{
    struct http_server *s = server_of(ex);

    ex->headed = true;
    s->h.head(s->arg, ex);
}

/* Called once more with nothing when MHD resumes: it is still the head step then. */
static enum MHD_Result at_headers(struct http_exchange *ex)
{
    if (!ex->headed)
        head_step(ex);
    if (ex->answered) {
        ex->early = true;
        return http_queue(ex);
    }
    if (ex->receive) {
        ex->at = HTTP_AT_BODY;
        body_timer_start(ex);
    } else {
        park(ex);
    }
    return MHD_YES;
}

static enum MHD_Result at_part(struct http_exchange *ex, struct span part)
{
    struct http_server *s = server_of(ex);

    ex->received += part.len;
    if (!ex->answered) {
        ex->in_part = true;
        if (s->h.body)
            s->h.body(s->arg, ex, part);
        ex->in_part = false;
    }
    if (!ex->answered || ex->stream)
        return MHD_YES;
    if (ex->content_length >= 0 && ex->received >= (uint64_t)ex->content_length)
        return MHD_YES; /* the request ends here, so the answer can take its ordinary way */
    http_write_raw(ex);
    return MHD_NO;
}

static enum MHD_Result at_end(struct http_exchange *ex)
{
    struct http_server *s = server_of(ex);

    loop_timer_cancel(s->loop, &ex->body_timer);
    if (!ex->headed)
        head_step(ex);
    if (ex->receive && !ex->body_ended && !ex->answered) {
        ex->body_ended = true;
        if (s->h.body_end)
            s->h.body_end(s->arg, ex);
    }
    if (ex->answered)
        return http_queue(ex);
    park(ex);
    return MHD_YES;
}

enum MHD_Result http_on_request(void *cls, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **con_cls)
{
    struct http_exchange *ex = *con_cls;
    struct span part = span_of(data, *size);

    (void)cls;
    (void)url;
    *size = 0;
    if (!ex) {
        struct http_conn *c =
            MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
        if (c->gone)
            return MHD_NO;
        *con_cls = ex = exchange_new(c, method, version);
        if (!has_body(ex)) {
            /* An answer queued now would close the connection; the next call comes at once. */
            ex->at = HTTP_AT_END;
            return MHD_YES;
        }
    }
    if (ex->gone || ex->raw || (ex->aborted && !ex->answered))
        return MHD_NO;
    if (part.len > 0)
        return at_part(ex, part);
    if (ex->at == HTTP_AT_HEADERS)
        return at_headers(ex);
    ex->at = HTTP_AT_END;
    return at_end(ex);
}

/* ---- The end ---- */

void http_exchange_gone(struct http_exchange *ex)
{
    struct http_server *s = server_of(ex);

    if (ex->gone || ex->raw)
        return;
    ex->gone = true;
    loop_timer_cancel(s->loop, &ex->body_timer);
    shut(ex);
    http_wake(ex);
    if (s->h.gone)
        s->h.gone(s->arg, ex);
}

static void exchange_free(struct http_exchange *ex)
{
    struct http_server *s = server_of(ex);

    ex->conn->ex = NULL;
    loop_timer_cancel(s->loop, &ex->body_timer);
    list_del(&ex->link);
    s->exchange_count--;
    http_answer_free(ex);
    free(ex);
}

void http_on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
                       enum MHD_RequestTerminationCode toe)
{
    struct http_exchange *ex = *con_cls;
    struct http_server *s = ((struct http_daemon *)cls)->server;

    (void)mhd;
    if (!ex)
        return;
    bool complete =
        ex->raw || (toe == MHD_REQUEST_TERMINATED_COMPLETED_OK && ex->queued && !ex->gone);
    ex->suspended = false; /* MHD has done with it */
    if (!complete && !ex->gone && !ex->aborted) {
        ex->gone = true;
        if (s->h.gone)
            s->h.gone(s->arg, ex);
    }
    if (ex->early && !ex->shut)
        http_linger(s, ex->conn->fd);
    /* MHD closes the socket with its daemon's next run, which nothing else may bring for long. */
    if (!complete || ex->aborted || ex->early ||
        span_ieq(http_header(ex, "connection"), SPAN("close")))
        ex->conn->daemon->due = true;
    if (s->h.done)
        s->h.done(s->arg, ex, complete);
    exchange_free(ex);
    *con_cls = NULL;
}

/* ---- What the handler asks ---- */

void http_receive(struct http_exchange *ex)
{
    ex->receive = true;
    http_wake(ex);
}

void http_set_user(struct http_exchange *ex, void *user)
{
    ex->user = user;
}

void *http_user(const struct http_exchange *ex)
{
    return ex->user;
}

struct span http_method(const struct http_exchange *ex)
{
    return ex->method;
}

struct span http_path(const struct http_exchange *ex)
{
    struct span rest = buf_span(&ex->conn->uri);

    return span_split(&rest, '?');
}

struct span http_query(const struct http_exchange *ex)
{
    struct span rest = buf_span(&ex->conn->uri);

    (void)span_split(&rest, '?');
    return rest;
}

struct span http_header(const struct http_exchange *ex, const char *name)
{
    const char *value = NULL;
    size_t len = 0;

    if (MHD_lookup_connection_value_n(ex->conn->mhd, MHD_HEADER_KIND, name, strlen(name), &value,
                                      &len) != MHD_YES)
        return (struct span){0};
    return span_of(value ? value : "", value ? len : 0);
}

struct each {
    http_header_fn *fn;
    void *arg;
};

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                 size_t name_len, const char *value, size_t value_len)
{
    struct each *e = cls;

    (void)kind;
    e->fn(e->arg, span_of(name, name_len), span_of(value ? value : "", value ? value_len : 0));
    return MHD_YES;
}

void http_headers_each(const struct http_exchange *ex, http_header_fn *fn, void *arg)
{
    struct each e = {fn, arg};

    (void)MHD_get_connection_values_n(ex->conn->mhd, MHD_HEADER_KIND, on_header, &e);
}

struct counting {
    struct span name;
    size_t count;
};

static void count_one(void *arg, struct span name, struct span value)
{
    struct counting *c = arg;

    (void)value;
    c->count += span_ieq(name, c->name);
}

size_t http_header_count(const struct http_exchange *ex, const char *name)
{
    struct counting c = {span_str(name), 0};

    http_headers_each(ex, count_one, &c);
    return c.count;
}

size_t http_header_bytes(const struct http_exchange *ex)
{
    return ex->header_bytes;
}

int64_t http_content_length(const struct http_exchange *ex)
{
    return ex->content_length;
}

const struct net_addr *http_peer(const struct http_exchange *ex)
{
    return &ex->conn->from.peer;
}

int64_t http_peer_uid(const struct http_exchange *ex)
{
    return ex->conn->from.uid;
}

const struct tls_client *http_peer_tls(const struct http_exchange *ex)
{
    return ex->conn->from.client;
}

uint64_t http_started_us(const struct http_exchange *ex)
{
    return ex->started_us;
}

bool http_is_chunked(const struct http_exchange *ex)
{
    return ex->chunked;
}

bool http_is_head_request(const struct http_exchange *ex)
{
    return span_is(ex->method, "HEAD");
}
