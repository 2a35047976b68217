/* A fake inference engine for measuring: one thread answers chat requests as vLLM does, at the pace
 * each request asks for, with so little work of its own that what stands in front is what is
 * measured.
 *
 * A request's `max_tokens` is its number of content events, its `seed` the microseconds between
 * them; 0 is the whole answer in one write. Both pass every layer untouched. Each content event
 * carries a stamp.h stamp. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "net/listener.h"
#include "net/socket.h"
#include "tests/bench/stamp.h"

enum {
    MAX_HEAD = 64 * 1024,
    MAX_BODY = 64 * 1024 * 1024,
    READ_LEN = 64 * 1024,
    MAX_EVENTS = 100 * 1000,
};

#define MODEL   "bench"
#define CONTEXT "1000000"
#define STREAM_EVT                                                                                 \
    "data: {\"id\":\"chatcmpl-%08x\",\"object\":\"chat.completion.chunk\","                        \
    "\"created\":1750000000,\"model\":\"" MODEL "\",\"choices\":["

struct server {
    struct loop *loop;
    struct net_listener *listener;
    struct list conns;
    size_t event_bytes;
    int64_t events, interval_us; /* where the request does not say */
    unsigned running, answers;
};

/* What the request asked for, and how far its answer is. */
struct answer {
    bool stream, usage;
    int64_t events, interval_us, sent;
    uint64_t due_ms;
    struct buf event; /* the chunk of a content event; only its stamp changes */
    size_t stamp_at;
};

struct conn {
    struct server *server;
    struct list link;
    int fd;
    struct loop_fd watch;
    struct loop_timer pace;
    struct buf in, out;
    size_t head_len, body_len; /* of the request being read; 0: its head is not whole */
    bool busy;                 /* an answer is under way: the next request waits */
    struct answer answer;
};

static void conn_free(void *obj)
{
    struct conn *c = obj;

    buf_fini(&c->in);
    buf_fini(&c->out);
    buf_fini(&c->answer.event);
    free(c);
}

static void conn_close(struct conn *c)
{
    if (c->fd < 0)
        return;
    loop_fd_del(c->server->loop, &c->watch);
    loop_timer_cancel(c->server->loop, &c->pace);
    close(c->fd);
    c->fd = -1;
    list_del(&c->link);
    c->server->running -= c->busy;
    loop_defer_free(c->server->loop, c, conn_free);
}

/* ---- Writing ---- */

/* Sends what it can, keeps the rest for when the peer reads again. */
static void conn_flush(struct conn *c)
{
    while (c->out.len > 0) {
        ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            conn_close(c);
            return;
        }
        buf_consume(&c->out, (size_t)n);
    }
    loop_fd_want(c->server->loop, &c->watch, c->out.len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void put_chunk(struct buf *out, struct span body)
{
    buf_printf(out, "%zx\r\n", body.len);
    buf_append(out, body);
    buf_append(out, SPAN("\r\n"));
}

static void put_reply(struct conn *c, const char *status, const char *type, struct span body)
{
    buf_printf(&c->out, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", status,
               type, body.len);
    buf_append(&c->out, body);
}

static void put_json(struct conn *c, const char *status, const char *text)
{
    put_reply(c, status, "application/json", span_str(text));
}

/* ---- The answer ---- */

/* The content: a stamp, and as much after it as makes the event as long as asked. */
static void put_content(struct buf *out, size_t len)
{
    buf_append(out, SPAN(STAMP_BLANK));
    for (size_t i = STAMP_LEN; i < len; i++)
        buf_byte(out, 'x');
}

static void make_event(struct conn *c)
{
    static const char tail[] = "\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";
    AUTO(buf_fini) struct buf e = {0};
    struct answer *a = &c->answer;

    buf_printf(&e, STREAM_EVT "{\"index\":0,\"delta\":{\"content\":\"", c->server->answers);
    const size_t frame = e.len + strlen(tail), want = c->server->event_bytes;
    put_content(&e, want > frame ? want - frame : 0);
    buf_append_str(&e, tail);
    buf_clear(&a->event);
    put_chunk(&a->event, buf_span(&e));
    a->stamp_at = (size_t)span_find(buf_span(&a->event), SPAN("@"));
}

static void put_head(struct conn *c)
{
    AUTO(buf_fini) struct buf e = {0};

    buf_append(&c->out, SPAN("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                             "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"));
    buf_printf(&e,
               STREAM_EVT "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                          "\"logprobs\":null,\"finish_reason\":null}]}\n\n",
               c->server->answers);
    put_chunk(&c->out, buf_span(&e));
}

static void put_usage(struct conn *c, struct buf *out)
{
    const int64_t prompt = (int64_t)c->body_len / 4 + 1, done = c->answer.sent;

    buf_printf(out,
               "\"usage\":{\"prompt_tokens\":%ld,\"completion_tokens\":%ld,\"total_tokens\":%ld}}",
               prompt, done, prompt + done);
}

static void put_end(struct conn *c)
{
    AUTO(buf_fini) struct buf e = {0};

    buf_printf(&e,
               STREAM_EVT "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}"
                          "]}\n\n",
               c->server->answers);
    put_chunk(&c->out, buf_span(&e));
    if (c->answer.usage) {
        buf_clear(&e);
        buf_printf(&e, STREAM_EVT "],", c->server->answers);
        put_usage(c, &e);
        buf_append(&e, SPAN("\n\n"));
        put_chunk(&c->out, buf_span(&e));
    }
    put_chunk(&c->out, SPAN("data: [DONE]\n\n"));
    put_chunk(&c->out, SPAN(""));
}

static void put_event(struct conn *c)
{
    stamp_write(c->answer.event.data + c->answer.stamp_at, stamp_now());
    buf_append(&c->out, buf_span(&c->answer.event));
    c->answer.sent++;
}

static void put_whole(struct conn *c)
{
    AUTO(buf_fini) struct buf text = {0}, body = {0};
    const size_t len = (size_t)c->answer.events * c->server->event_bytes;

    c->answer.sent = c->answer.events;
    put_content(&text, len);
    stamp_write(text.data, stamp_now());
    buf_printf(
        &body,
        "{\"id\":\"chatcmpl-%08x\",\"object\":\"chat.completion\",\"created\":1750000000,"
        "\"model\":\"" MODEL "\",\"choices\":[{\"index\":0,\"message\":{\"role\":"
        "\"assistant\",\"content\":\"%.*s\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],",
        c->server->answers, SPAN_FMT(buf_span(&text)));
    put_usage(c, &body);
    put_reply(c, "200 OK", "application/json", buf_span(&body));
}

static void read_requests(struct conn *c);

static void answer_over(struct conn *c)
{
    c->busy = false;
    c->server->running--;
    conn_flush(c);
}

/* One event a turn at most: an engine that is late does not send two tokens in one write either. */
static void on_due(void *arg)
{
    struct conn *c = arg;
    struct answer *a = &c->answer;
    const uint64_t now = loop_now(c->server->loop);
    const uint64_t step_ms = (uint64_t)a->interval_us / 1000;

    put_event(c);
    conn_flush(c);
    if (c->fd < 0)
        return;
    if (a->sent == a->events) {
        put_end(c);
        answer_over(c);
        if (c->fd >= 0)
            read_requests(c);
        return;
    }
    a->due_ms = (a->due_ms + step_ms / 2 < now ? now : a->due_ms) + step_ms;
    loop_timer_set(c->server->loop, &c->pace, a->due_ms > now ? a->due_ms - now : 0, on_due, c);
}

static void answer_stream(struct conn *c)
{
    struct answer *a = &c->answer;

    make_event(c);
    put_head(c);
    if (a->interval_us == 0) {
        while (a->sent < a->events)
            put_event(c);
        put_end(c);
        answer_over(c);
        return;
    }
    a->due_ms = loop_now(c->server->loop);
    on_due(c);
}

/* ---- The request ---- */

static bool is_true(struct span value)
{
    return span_is(value, "true");
}

static int64_t number(struct span value, int64_t otherwise)
{
    uint64_t n;

    return span_u64(value, INT64_MAX, &n) < 0 ? otherwise : (int64_t)n;
}

/* Only the top level's members, in one walk: the prompt is never looked into. */
static int read_ask(struct conn *c, struct span body)
{
    struct answer *a = &c->answer;
    struct json_member m;
    size_t at = 0;
    int error;

    a->stream = a->usage = false;
    a->sent = 0;
    a->events = c->server->events;
    a->interval_us = c->server->interval_us;
    while ((error = json_member_next(body, &at, &m)) == 0) {
        if (span_is(m.name, "stream"))
            a->stream = is_true(m.value);
        else if (span_is(m.name, "max_tokens") || span_is(m.name, "max_completion_tokens"))
            a->events = number(m.value, a->events);
        else if (span_is(m.name, "seed"))
            a->interval_us = number(m.value, a->interval_us);
        else if (span_is(m.name, "stream_options"))
            a->usage = span_find(m.value, SPAN("true")) >= 0;
    }
    return error == E_NOT_FOUND && a->events > 0 && a->events <= MAX_EVENTS ? 0 : E_INVALID;
}

static void chat(struct conn *c, struct span body)
{
    if (read_ask(c, body) < 0) {
        put_json(c, "400 Bad Request",
                 "{\"error\":{\"message\":\"not understood\",\"type\":"
                 "\"BadRequestError\",\"param\":null,\"code\":400}}");
        return;
    }
    c->busy = true;
    c->server->running++;
    c->server->answers++;
    if (c->answer.stream) {
        answer_stream(c);
        return;
    }
    put_whole(c);
    answer_over(c);
}

static void metrics(struct conn *c)
{
    AUTO(buf_fini) struct buf text = {0};

    buf_printf(&text,
               "vllm:num_requests_running %u\nvllm:num_requests_waiting 0\n"
               "vllm:kv_cache_usage_perc 0\n",
               c->server->running);
    put_reply(c, "200 OK", "text/plain; version=0.0.4", buf_span(&text));
}

static void route(struct conn *c, struct span line, struct span body)
{
    const struct span method = span_split(&line, ' '), path = span_split(&line, ' ');

    if (span_is(method, "POST") && span_is(path, "/v1/chat/completions"))
        chat(c, body);
    else if (span_is(path, "/health"))
        put_reply(c, "200 OK", "text/plain", SPAN(""));
    else if (span_is(path, "/metrics"))
        metrics(c);
    else if (span_is(path, "/version"))
        put_json(c, "200 OK", "{\"version\":\"0.0.0\"}");
    else if (span_is(path, "/v1/models"))
        put_json(c, "200 OK",
                 "{\"object\":\"list\",\"data\":[{\"id\":\"" MODEL "\",\"object\":"
                 "\"model\",\"created\":1750000000,\"owned_by\":\"vllm\","
                 "\"max_model_len\":" CONTEXT "}]}");
    else
        put_json(c, "404 Not Found", "{\"detail\":\"Not Found\"}");
}

/* Learns the head's and the body's length once the head is whole. E_AGAIN, E_INVALID. */
static int read_head(struct conn *c)
{
    const struct span in = buf_span(&c->in);
    const ptrdiff_t end = span_find(in, SPAN("\r\n\r\n"));
    uint64_t length = 0;

    if (end < 0)
        return in.len > MAX_HEAD ? E_INVALID : E_AGAIN;
    struct span rest = span_cut(in, 0, (size_t)end);
    while (rest.len > 0) {
        struct span value = span_split(&rest, '\n');
        const struct span name = span_split(&value, ':');
        if (value.len > 0 && value.data[value.len - 1] == '\r')
            value.len--;
        if (span_ieq(name, SPAN("content-length")))
            TRY(span_u64(span_trim(value), MAX_BODY, &length));
        if (span_ieq(name, SPAN("expect")))
            buf_append(&c->out, SPAN("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    c->head_len = (size_t)end + 4;
    c->body_len = (size_t)length;
    return 0;
}

static int read_request(struct conn *c)
{
    if (c->head_len == 0)
        TRY(read_head(c));
    if (c->in.len < c->head_len + c->body_len)
        return E_AGAIN;
    const struct span in = buf_span(&c->in);
    struct span rest = in;
    route(c, span_split(&rest, '\r'), span_cut(in, c->head_len, c->body_len));
    buf_consume(&c->in, c->head_len + c->body_len);
    c->head_len = 0;
    return 0;
}

static void read_requests(struct conn *c)
{
    int error = 0;

    while (!c->busy && error == 0 && c->in.len > 0)
        error = read_request(c);
    if (error < 0 && error != E_AGAIN)
        conn_close(c);
    else if (c->fd >= 0)
        conn_flush(c);
}

static void on_socket(void *arg, uint32_t events)
{
    struct conn *c = arg;

    if (events & EPOLLOUT)
        conn_flush(c);
    if (c->fd < 0 || !(events & ~(uint32_t)EPOLLOUT))
        return;
    ssize_t n = recv(c->fd, buf_reserve(&c->in, READ_LEN), READ_LEN, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        conn_close(c);
        return;
    }
    c->in.len += (size_t)n;
    read_requests(c);
}

static void on_accept(void *arg, int fd, const struct net_addr *peer)
{
    struct conn *c = mem_zero(sizeof(*c));

    (void)peer;
    c->server = arg;
    c->fd = fd;
    if (loop_fd_add(c->server->loop, &c->watch, fd, EPOLLIN, on_socket, c) == 0) {
        list_push(&c->server->conns, &c->link);
        return;
    }
    close(fd);
    free(c);
}

/* ---- The program ---- */

static void on_signal(void *arg, int signo)
{
    (void)signo;
    loop_stop(arg);
}

static int usage(void)
{
    fputs("usage: engine --listen ADDRESS [--bytes N] [--rate N] [--events N]\n"
          "  --bytes N    of a content event (200)\n"
          "  --rate N     events a second of a stream whose request has no seed (10)\n"
          "  --events N   of a request without max_tokens (64)\n",
          stderr);
    return 2;
}

static bool read_options(struct server *s, const char **listen, int argc, char **argv)
{
    static const struct option options[] = {{"listen", required_argument, NULL, 'l'},
                                            {"bytes", required_argument, NULL, 'b'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"events", required_argument, NULL, 'e'},
                                            {0}};
    uint64_t n;
    int name;

    while ((name = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (name == 'l') {
            *listen = optarg;
            continue;
        }
        if (name == '?' || span_u64(span_str(optarg), 1000000, &n) < 0 || n == 0)
            return false;
        if (name == 'b')
            s->event_bytes = (size_t)n;
        else if (name == 'r')
            s->interval_us = 1000000 / (int64_t)n;
        else
            s->events = (int64_t)n;
    }
    return *listen && optind == argc;
}

static int serve(struct server *s, const char *listen)
{
    static const int signals[] = {SIGINT, SIGTERM};
    struct net_addr at;

    TRY(loop_new(&s->loop));
    TRY(loop_signals(s->loop, signals, 2, on_signal, s->loop));
    TRY(net_addr_parse(&at, listen));
    list_init(&s->conns);
    TRY(net_listen(&s->listener, s->loop, &at, on_accept, s));
    loop_run(s->loop);
    net_listener_free(s->listener);
    LIST_FOREACH_SAFE(it, &s->conns)
        conn_close(CONTAINER(it, struct conn, link));
    loop_free(s->loop);
    return 0;
}

int main(int argc, char **argv)
{
    struct server s = {.event_bytes = 200, .events = 64, .interval_us = 100000};
    const char *listen = NULL;

    if (!read_options(&s, &listen, argc, argv))
        return usage();
    net_raise_nofile();
    const int error = serve(&s, listen);
    if (error < 0)
        fprintf(stderr, "engine: %s: %s\n", listen, error_name(error));
    return error < 0;
}
