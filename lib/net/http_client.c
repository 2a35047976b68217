/* HTTP/1.1 client over curl's multi_socket interface. Curl's callbacks only store what came; the
 * step LOOP_REAP delivers it, outside of curl, so that the owner's callbacks may start, pause and
 * cancel transfers (libraries.md §3). */
#include "net/http_client.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <strings.h>

#include "base/log.h"
#include "base/wiped.h"
#include "net/public.h"

enum {
    HEADER_MAX = 64 * 1024,   /* of an answer, trailers included */
    PENDING_MAX = 256 * 1024, /* stored and not delivered: beyond, curl is paused */
    IDLE_HANDLES = 64         /* easy handles kept for reuse */
};

struct watch {
    struct http_client *client;
    struct loop_fd fd;
    struct list link;
};

struct http_client {
    struct loop *loop;
    CURLM *multi;
    struct loop_timer timer; /* what curl asked for */
    struct loop_hook reap;
    struct list watches;
    struct list transfers;
    struct list ready; /* transfers with something to deliver */
    CURL *idle[IDLE_HANDLES];
    size_t idle_len;
    long max_connections;
    long connect_ms;
    bool public_only;
};

struct http_transfer {
    struct http_client *client;
    struct http_transfer_events ev;
    void *arg;
    CURL *easy; /* NULL once curl has no part in it */
    struct curl_slist *headers;
    struct buf body;
    struct list link, ready;

    struct buf pending; /* body bytes to deliver */
    struct buf content_type;
    struct buf fields, trailers; /* their lines, each with an LF behind */
    unsigned status;
    size_t header_len;
    bool head_complete, head_delivered;
    bool paused;      /* by the owner */
    bool curl_paused; /* the write callback refused bytes */
    bool finished;    /* curl is through, with `error` */
    bool ended;       /* `done` was called, or cancelled */
    int error;

    unsigned sends;   /* connections the request was put on */
    bool wants_fresh; /* the kept connection was dead and the next one is a kept one again */
    bool has_retried;

    struct loop_timer total, silent;
    uint64_t silent_ms, last_byte_ms;
    curl_off_t uploaded; /* at the last look of `silent` */
};

/* ---- Curl's wishes ---- */

static void mark_ready(struct http_transfer *t)
{
    if (list_empty(&t->ready))
        list_push(&t->client->ready, &t->ready);
}

static void fd_event(void *arg, uint32_t events)
{
    struct watch *w = arg;
    int mask = 0, running;

    if (events & EPOLLIN)
        mask |= CURL_CSELECT_IN;
    if (events & EPOLLOUT)
        mask |= CURL_CSELECT_OUT;
    if (events & (EPOLLERR | EPOLLHUP))
        mask |= CURL_CSELECT_ERR;
    curl_multi_socket_action(w->client->multi, w->fd.fd, mask, &running);
}

static void timer_due(void *arg)
{
    struct http_client *c = arg;
    int running;

    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

static void forget_watch(struct watch *w)
{
    loop_fd_del(w->client->loop, &w->fd);
    list_del(&w->link);
    loop_defer_free(w->client->loop, w, free);
}

static uint32_t epoll_mask(int what)
{
    return (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
}

static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
    struct http_client *c = arg;
    struct watch *w = assigned;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (w)
            forget_watch(w);
    } else if (w) {
        loop_fd_want(c->loop, &w->fd, epoll_mask(what));
    } else {
        w = mem_zero(sizeof(*w));
        w->client = c;
        list_push(&c->watches, &w->link);
        CHECK(loop_fd_add(c->loop, &w->fd, fd, epoll_mask(what), fd_event, w) == 0);
        curl_multi_assign(c->multi, fd, w);
    }
    return 0;
}

static int timer_wanted(CURLM *multi, long timeout_ms, void *arg)
{
    struct http_client *c = arg;

    (void)multi;
    if (timeout_ms < 0)
        loop_timer_cancel(c->loop, &c->timer);
    else
        loop_timer_set(c->loop, &c->timer, (uint64_t)timeout_ms, timer_due, c);
    return 0;
}

/* ---- What comes back, inside curl: only stored ---- */

static void keep_line(struct buf *lines, struct span line)
{
    buf_append(lines, line);
    buf_byte(lines, '\n');
}

/* The continuation of a folded line has no name, and is never found. */
static struct span find_line(const struct buf *lines, const char *name)
{
    struct span rest = buf_span(lines);

    while (rest.len > 0) {
        struct span value = span_split(&rest, '\n');
        const struct span found = span_split(&value, ':');
        if (span_ieq(found, span_str(name)))
            return span_trim(value);
    }
    return (struct span){0};
}

bool http_transfer_is_out(const struct http_transfer *t)
{
    return t->sends > 0;
}

struct span http_transfer_field(const struct http_transfer *t, const char *name)
{
    return find_line(&t->fields, name);
}

struct span http_transfer_trailer(const struct http_transfer *t, const char *name)
{
    return find_line(&t->trailers, name);
}

static void read_header_line(struct http_transfer *t, struct span line)
{
    struct span value = line;
    struct span name = span_split(&value, ':');

    if (span_ieq(name, SPAN("content-type"))) {
        buf_clear(&t->content_type);
        buf_append(&t->content_type, span_trim(value));
    }
    keep_line(&t->fields, line);
}

/* Once an answer's head is there nothing is started over, and a body that has left is not needed.
 */
static void drop_sent_body(struct http_transfer *t)
{
    curl_off_t sent = 0;

    if (curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &sent) == CURLE_OK &&
        sent == (curl_off_t)t->body.len)
        buf_wipe(&t->body);
}

/* Interim answers (100, 103) come as heads of their own and are passed over. */
static void end_head(struct http_transfer *t)
{
    long status = 0;

    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200) {
        buf_clear(&t->content_type);
        buf_clear(&t->fields);
        return;
    }
    t->status = (unsigned)status;
    t->head_complete = true;
    drop_sent_body(t);
    mark_ready(t);
}

static size_t store_header(char *data, size_t size, size_t count, void *arg)
{
    struct http_transfer *t = arg;
    struct span line = span_of(data, size * count);

    t->last_byte_ms = loop_now(t->client->loop);
    t->header_len += line.len;
    if (t->header_len > HEADER_MAX)
        return 0;
    while (line.len > 0 && (line.data[line.len - 1] == '\r' || line.data[line.len - 1] == '\n'))
        line.len--;
    if (t->head_complete)
        keep_line(&t->trailers, line);
    else if (line.len == 0)
        end_head(t);
    else
        read_header_line(t, line);
    return size * count;
}

static size_t store_body(char *data, size_t size, size_t count, void *arg)
{
    struct http_transfer *t = arg;

    t->last_byte_ms = loop_now(t->client->loop);
    if (t->paused || t->pending.len >= PENDING_MAX) {
        t->curl_paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    buf_append(&t->pending, span_of(data, size * count));
    mark_ready(t);
    return size * count;
}

/* Called when a connection is chosen, before the request goes out. Curl itself retries after a dead
 * kept connection, up to five times and on kept ones again; here the second try must be a fresh
 * one. */
static int before_request(void *arg, char *ip, char *local_ip, int port, int local_port)
{
    struct http_transfer *t = arg;
    long connects = 0;

    (void)ip;
    (void)local_ip;
    (void)port;
    (void)local_port;
    t->header_len = 0;
    if (++t->sends == 1 || t->has_retried)
        return CURL_PREREQFUNC_OK;
    t->has_retried = true;
    curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &connects);
    t->wants_fresh = connects == 0;
    return t->wants_fresh ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* Judged where the socket is opened: no later look-up can lead elsewhere. */
static curl_socket_t open_public(void *arg, curlsocktype purpose, struct curl_sockaddr *to)
{
    (void)arg;
    (void)purpose;
    if (!net_address_is_public(&to->addr))
        return CURL_SOCKET_BAD;
    return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

/* ---- Delivery, outside of curl ---- */

static void recycle_easy(struct http_client *c, CURL *easy)
{
    if (c->idle_len == IDLE_HANDLES) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_reset(easy);
    c->idle[c->idle_len++] = easy;
}

/* Takes the transfer from curl; a connection with an unfinished answer is closed by that. */
static void leave_curl(struct http_transfer *t)
{
    if (!t->easy)
        return;
    curl_multi_remove_handle(t->client->multi, t->easy);
    recycle_easy(t->client, t->easy);
    t->easy = NULL;
    curl_slist_free_all(t->headers);
    t->headers = NULL;
}

static void free_transfer(void *obj)
{
    struct http_transfer *t = obj;

    buf_wipe(&t->body);
    buf_wipe(&t->pending);
    buf_fini(&t->content_type);
    buf_fini(&t->fields);
    buf_fini(&t->trailers);
    free(t);
}

/* Nothing is called back any more. */
static void end_transfer(struct http_transfer *t)
{
    t->ended = true;
    leave_curl(t);
    loop_timer_cancel(t->client->loop, &t->total);
    loop_timer_cancel(t->client->loop, &t->silent);
    list_del(&t->link);
    list_del(&t->ready);
    loop_defer_free(t->client->loop, t, free_transfer);
}

static void finish(struct http_transfer *t, int error)
{
    t->finished = true;
    t->error = error;
    leave_curl(t);
    mark_ready(t);
}

static void deliver_data(struct http_transfer *t)
{
    AUTO(buf_wipe) struct buf bytes = {0};

    buf_take(&bytes, &t->pending);
    t->ev.data(t->arg, t, buf_span(&bytes));
}

/* May call curl_easy_pause, which hands the refused bytes to store_body before it returns. */
static void unpause(struct http_transfer *t)
{
    if (!t->curl_paused || !t->easy)
        return;
    t->curl_paused = false;
    t->last_byte_ms = loop_now(t->client->loop);
    curl_easy_pause(t->easy, CURLPAUSE_CONT);
}

/* A deadline does not wait for an owner that has paused: what is stored is dropped. */
static bool must_wait(const struct http_transfer *t)
{
    return t->paused && !(t->finished && t->error == E_TIMEOUT);
}

/* Each callback may pause or cancel, so each step looks anew. */
static void deliver(struct http_transfer *t)
{
    if (t->head_complete && !t->head_delivered && !t->paused) {
        t->head_delivered = true;
        t->ev.head(t->arg, t, t->status, buf_span(&t->content_type));
    }
    if (!t->ended && !t->paused && t->pending.len > 0)
        deliver_data(t);
    if (t->ended || must_wait(t))
        return;
    unpause(t);
    if (t->finished) {
        end_transfer(t);
        t->ev.done(t->arg, t, t->error);
    }
}

static int error_of(const struct http_transfer *t, CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return t->head_complete ? 0 : E_CLOSED; /* cut short in its head */
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_OPERATION_TIMEDOUT: /* of the connecting: the other limits are ours */
        return E_UNAVAILABLE;
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        return E_CLOSED;
    default:
        return E_PROTOCOL;
    }
}

/* The transfer starts over on a connection that nobody has used. */
static void retry_fresh(struct http_transfer *t)
{
    t->wants_fresh = false;
    curl_multi_remove_handle(t->client->multi, t->easy);
    curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, 1L);
    if (curl_multi_add_handle(t->client->multi, t->easy) != CURLM_OK)
        finish(t, E_UNAVAILABLE);
}

static void read_finished(struct http_client *c)
{
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(c->multi, &left))) {
        struct http_transfer *t = NULL;
        CURLcode code = msg->data.result;

        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        if (t->wants_fresh)
            retry_fresh(t);
        else
            finish(t, error_of(t, code));
    }
}

/* Transfers that become ready by what is called here come next turn; a paused one comes back when
 * it goes on. */
static void reap(void *arg)
{
    struct http_client *c = arg;
    struct list batch, *link;

    read_finished(c);
    list_init(&batch);
    while ((link = list_pop(&c->ready)))
        list_push(&batch, link);
    while ((link = list_pop(&batch)))
        deliver(CONTAINER(link, struct http_transfer, ready));
}

static int reap_wait(void *arg)
{
    const struct http_client *c = arg;

    return list_empty(&c->ready) ? -1 : 0;
}

/* ---- Deadlines ---- */

static void total_due(void *arg)
{
    struct http_transfer *t = arg;

    if (!t->finished)
        finish(t, E_TIMEOUT);
}

/* Set anew only when due: a stream of tokens costs no timer each. A paused transfer is waiting for
 * us, not for its peer. */
static void silent_due(void *arg)
{
    struct http_transfer *t = arg;
    uint64_t now = loop_now(t->client->loop);
    curl_off_t uploaded = 0;

    if (t->finished)
        return;
    curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
    if (t->paused || t->curl_paused || uploaded != t->uploaded)
        t->last_byte_ms = now;
    t->uploaded = uploaded;
    if (now - t->last_byte_ms >= t->silent_ms)
        finish(t, E_TIMEOUT);
    else
        loop_timer_set(t->client->loop, &t->silent, t->last_byte_ms + t->silent_ms - now,
                       silent_due, t);
}

/* ---- Starting ---- */

static int check_url(const char *url)
{
    CURLU *parsed = curl_url();
    char *scheme = NULL;
    int error = E_INVALID;

    if (curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0))
        error = 0;
    curl_free(scheme);
    curl_url_cleanup(parsed);
    return error;
}

static bool is_token(const char *s)
{
    return span_visible(span_str(s), 32) && !strpbrk(s, "()<>@,;:\\\"/[]?={}");
}

static int check_fetch(const struct http_fetch *f)
{
    for (size_t i = 0; i < f->header_count; i++)
        if (strpbrk(f->headers[i], "\r\n") || !strchr(f->headers[i], ':'))
            return E_INVALID;
    if (!is_token(f->method))
        return E_INVALID;
    return check_url(f->url);
}

static void add_header(struct http_transfer *t, const char *line)
{
    struct curl_slist *longer = curl_slist_append(t->headers, line);

    CHECK(longer);
    t->headers = longer;
}

static void set_method(struct http_transfer *t, const struct http_fetch *f)
{
    bool has_body = f->take_body != NULL;

    if (has_body) {
        buf_take(&t->body, f->take_body);
        curl_easy_setopt(t->easy, CURLOPT_POST, 1L);
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS,
                         t->body.len > 0 ? (const char *)t->body.data : "");
        curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body.len);
    } else {
        curl_easy_setopt(t->easy, CURLOPT_HTTPGET, 1L);
    }
    if (strcmp(f->method, "HEAD") == 0)
        curl_easy_setopt(t->easy, CURLOPT_NOBODY, 1L);
    else if (strcmp(f->method, has_body ? "POST" : "GET") != 0)
        curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, f->method);
}

/* Names curl would add by itself are dropped by an empty one; Expect would delay large bodies. */
static void set_headers(struct http_transfer *t, const struct http_fetch *f)
{
    add_header(t, "Expect:");
    add_header(t, "Accept:");
    bool typed = false;
    for (size_t i = 0; i < f->header_count; i++) {
        add_header(t, f->headers[i]);
        typed = typed || strncasecmp(f->headers[i], "content-type:", 13) == 0;
    }
    if (!typed)
        add_header(t, "Content-Type:");
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
}

static void set_options(struct http_transfer *t, const struct http_fetch *f)
{
    CURL *e = t->easy;

    curl_easy_setopt(e, CURLOPT_PRIVATE, t);
    curl_easy_setopt(e, CURLOPT_URL, f->url);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
    if (f->ca_file)
        curl_easy_setopt(e, CURLOPT_CAINFO, f->ca_file);
    if (f->cert_file && f->key_file) {
        curl_easy_setopt(e, CURLOPT_SSLCERT, f->cert_file);
        curl_easy_setopt(e, CURLOPT_SSLKEY, f->key_file);
    }
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* a cancel does not wait for a name look-up */
    curl_easy_setopt(e, CURLOPT_PROXY, "");
    curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, t->client->connect_ms);
    curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, f->unix_socket);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, store_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, store_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, before_request);
    curl_easy_setopt(e, CURLOPT_PREREQDATA, t);
    if (t->client->public_only)
        curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_public);
    curl_easy_setopt(e, CURLOPT_FORBID_REUSE, t->client->max_connections == 0 ? 1L : 0L);
    set_headers(t, f);
    set_method(t, f);
}

int http_client_start(struct http_client *c, const struct http_fetch *f,
                      const struct http_transfer_events *ev, void *arg, struct http_transfer **out)
{
    TRY(check_fetch(f));
    CURL *easy = c->idle_len > 0 ? c->idle[--c->idle_len] : curl_easy_init();
    CHECK(easy);

    struct http_transfer *t = mem_zero(sizeof(*t));
    t->client = c;
    t->ev = *ev;
    t->arg = arg;
    t->easy = easy;
    t->last_byte_ms = loop_now(c->loop);
    list_push(&c->transfers, &t->link);
    set_options(t, f);
    if (f->total_ms > 0)
        loop_timer_set(c->loop, &t->total, f->total_ms, total_due, t);
    t->silent_ms = f->silent_ms;
    if (f->silent_ms > 0)
        loop_timer_set(c->loop, &t->silent, f->silent_ms, silent_due, t);
    CHECK(curl_multi_add_handle(c->multi, easy) == CURLM_OK);
    *out = t;
    return 0;
}

void http_transfer_cancel(struct http_transfer *t)
{
    if (!t->ended)
        end_transfer(t);
}

void http_transfer_pause(struct http_transfer *t, bool paused)
{
    if (t->ended || t->paused == paused)
        return;
    t->paused = paused;
    if (!paused)
        mark_ready(t);
}

/* ---- The client ---- */

int http_client_new(struct http_client **out, struct loop *l, const struct http_client_options *o)
{
    /* Its buffers hold what is sent to an engine. */
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiped_free, wiped_realloc, strdup,
                             calloc) != CURLE_OK)
        return E_UNAVAILABLE;
    struct http_client *c = mem_zero(sizeof(*c));
    c->loop = l;
    c->max_connections = (long)o->max_connections;
    c->connect_ms = (long)o->connect_ms;
    c->public_only = o->public_only;
    list_init(&c->watches);
    list_init(&c->transfers);
    list_init(&c->ready);
    c->multi = curl_multi_init();
    CHECK(c->multi);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, c->max_connections);
    curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    c->reap =
        (struct loop_hook){.step = LOOP_REAP, .run = reap, .before_wait = reap_wait, .arg = c};
    loop_hook_add(l, &c->reap);
    *out = c;
    return 0;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    while (!list_empty(&c->transfers))
        http_transfer_cancel(CONTAINER(c->transfers.next, struct http_transfer, link));
    while (c->idle_len > 0)
        curl_easy_cleanup(c->idle[--c->idle_len]);
    curl_multi_cleanup(c->multi);
    while (!list_empty(&c->watches))
        forget_watch(CONTAINER(c->watches.next, struct watch, link));
    loop_timer_cancel(c->loop, &c->timer);
    loop_hook_del(c->loop, &c->reap);
    loop_defer_free(c->loop, c, free);
    curl_global_cleanup();
}
