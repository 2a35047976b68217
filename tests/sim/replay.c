/* Sends a trace's requests when they are due, whatever happened to those before, reads their
 * streams, and writes a line for each: time, account, conversation, gateway, how it ended, times in
 * ms, the engine that answered, tokens. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "net/socket.h"
#include "tests/bench/call.h"
#include "tests/bench/stamp.h"
#include "tests/sim/prompt.h"

enum { GATEWAYS_MAX = 16, KEYS_MAX = 1 << 20, NAME_LEN = 32 };

struct options {
    const char *trace, *keys, *log;
    double rate; /* requests a second, on average; 0: as the trace has it */
    uint64_t count, first, timeout_ms;
    int64_t prompt_max, output_max; /* tokens; 0: as the trace says */
    struct trace_options asks;
};

struct replay {
    struct options o;
    struct loop *loop;
    struct trace trace;
    struct calls calls[GATEWAYS_MAX];
    size_t gateways;
    const char *hosts[GATEWAYS_MAX];
    struct buf keys;
    struct span *key; /* one a line */
    size_t key_count;
    FILE *log;
    int timer_fd;
    struct loop_fd timer;
    struct loop_timer deadline;
    uint64_t start_ns;
    size_t next, over;
};

/* One request on its way; freed when it is over. */
struct ask {
    struct replay *replay;
    const struct arrival *arrival;
    size_t gateway;
    struct buf request;
    char engine[NAME_LEN];
    int64_t prompt, made, cached; /* as usage says */
};

/* ---- What comes ---- */

/* "@…#w1 was was": the name behind the stamp. */
static void read_engine(struct ask *a, struct span data)
{
    const ptrdiff_t at = span_find(data, SPAN("#"));
    struct span rest = span_from(data, (size_t)at + 1);
    const struct span name = span_split(&rest, ' ');

    if (at >= 0 && stamp_read(data) != 0 && span_cstr(name, a->engine, NAME_LEN) < 0)
        a->engine[0] = 0;
}

/* The number of a member whose name stands in data with its quotes; 0 where it does not. */
static int64_t number_of(struct span data, struct span name)
{
    const ptrdiff_t at = span_find(data, name);
    struct span rest = span_from(data, (size_t)at + name.len);
    int64_t n = 0;

    if (at < 0)
        return 0;
    while (rest.len > 0 && (rest.data[0] == ':' || rest.data[0] == ' '))
        rest = span_from(rest, 1);
    for (; rest.len > 0 && rest.data[0] >= '0' && rest.data[0] <= '9'; rest = span_from(rest, 1))
        n = n * 10 + (rest.data[0] - '0');
    return n;
}

static void on_event(void *user, struct span data)
{
    struct ask *a = user;

    if (a->engine[0] == 0)
        read_engine(a, data);
    if (span_find(data, SPAN("\"completion_tokens\"")) < 0)
        return;
    a->prompt = number_of(data, SPAN("\"prompt_tokens\""));
    a->made = number_of(data, SPAN("\"completion_tokens\""));
    a->cached = number_of(data, SPAN("\"cached_tokens\""));
}

/* ---- The log ---- */

static const char *ending(const struct call_end *e)
{
    static const char *const losses[LOST_KINDS] = {"connect", "closed", "protocol",
                                                   "status",  "short",  "timeout"};

    if (e->ok)
        return "ok";
    return e->error_event ? "error" : losses[e->loss];
}

static double ms_since(const struct call_end *e, uint64_t ns)
{
    return ns == 0 ? -1 : (double)(ns - e->scheduled_ns) / 1e6;
}

/* The machine's name of the error, of an answer that is one. */
static struct span code_of(struct span body)
{
    const ptrdiff_t at = span_find(body, SPAN("\"code\":\""));
    struct span rest = span_from(body, (size_t)at + 8);

    return at < 0 ? SPAN("") : span_split(&rest, '"');
}

static void on_over(void *user, const struct call_end *e)
{
    struct ask *a = user;
    struct replay *r = a->replay;

    fprintf(r->log,
            "{\"at\":%.3f,\"account\":%u,\"conversation\":\"%lx\",\"gateway\":%zu,\"end\":\"%s\","
            "\"status\":%u,\"code\":\"%.*s\",\"first_ms\":%.2f,\"over_ms\":%.2f,\"gap_ms\":%.1f,"
            "\"events\":%lu,\"engine\":\"%s\",\"prompt\":%ld,\"made\":%ld,\"cached\":%ld}\n",
            (double)(e->scheduled_ns - r->start_ns) / 1e9, a->arrival->account,
            a->arrival->conversation, a->gateway, ending(e), e->status, SPAN_FMT(code_of(e->body)),
            ms_since(e, e->first_ns), ms_since(e, e->end_ns), (double)e->gap_ns / 1e6, e->events,
            a->engine, a->prompt, a->made, a->cached);
    r->over++;
    buf_fini(&a->request);
    free(a);
}

static const struct call_watch watch = {.event = on_event, .over = on_over};

/* ---- What goes ---- */

static int64_t at_most(int64_t n, int64_t most)
{
    return most > 0 && n > most ? most : n;
}

static void make_request(struct ask *a, uint64_t serial)
{
    const struct replay *r = a->replay;
    AUTO(buf_fini) struct buf body = {0};
    struct arrival arrival = *a->arrival;
    const struct span key = r->key_count > 0 ? r->key[arrival.account % r->key_count] : SPAN("");

    arrival.prompt = at_most(arrival.prompt, r->o.prompt_max);
    if (r->trace.block_tokens > 0 &&
        (size_t)(arrival.prompt / r->trace.block_tokens) < arrival.block_count)
        arrival.block_count = (size_t)(arrival.prompt / r->trace.block_tokens);
    buf_append_str(&body, "{\"model\":\"sim\",\"messages\":[{\"role\":\"user\",\"content\":\"");
    prompt_put(&r->trace, &arrival, serial, &body);
    buf_printf(&body,
               "\"}],\"seed\":%ld,\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
               at_most(arrival.output, r->o.output_max));
    buf_printf(&a->request, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\n",
               r->hosts[a->gateway]);
    if (key.len > 0)
        buf_printf(&a->request, "Authorization: Bearer %.*s\r\n", SPAN_FMT(key));
    buf_printf(&a->request, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
               body.len);
    buf_append(&a->request, buf_span(&body));
}

static uint64_t due_ns(const struct replay *r, size_t i)
{
    return r->start_ns + r->trace.arrivals[i].at_ns - r->trace.arrivals[r->o.first].at_ns;
}

static void send_one(struct replay *r)
{
    struct ask *a = mem_zero(sizeof(*a));
    const size_t i = r->next++;

    a->replay = r;
    a->arrival = &r->trace.arrivals[i];
    a->gateway = i % r->gateways;
    make_request(a, i ^ r->o.asks.seed << 32);
    calls_send(&r->calls[a->gateway], buf_span(&a->request), due_ns(r, i), a);
}

static void arm(struct replay *r)
{
    const uint64_t at = due_ns(r, r->next);
    const struct itimerspec spec = {
        .it_value = {.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u)}};

    CHECK(timerfd_settime(r->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL) == 0);
}

static void on_deadline(void *arg)
{
    struct replay *r = arg;

    for (size_t i = 0; i < r->gateways; i++)
        calls_give_up(&r->calls[i]);
    loop_stop(r->loop);
}

static void on_due(void *arg, uint32_t events)
{
    struct replay *r = arg;
    const uint64_t now = stamp_now();
    uint64_t expired;

    (void)events;
    (void)!read(r->timer_fd, &expired, sizeof(expired));
    while (r->next < r->trace.count && due_ns(r, r->next) <= now)
        send_one(r);
    if (r->next < r->trace.count)
        arm(r);
    else if (!loop_timer_is_set(&r->deadline))
        loop_timer_set(r->loop, &r->deadline, r->o.timeout_ms, on_deadline, r);
}

static void on_ended(void *arg)
{
    struct replay *r = arg;

    if (r->next == r->trace.count && r->over == r->trace.count - r->o.first)
        loop_stop(r->loop);
}

/* ---- The program ---- */

static const char usage_text[] =
    "usage: replay --to HOST:PORT --trace NAME --log FILE [options]\n"
    "  --to HOST:PORT   a gateway; several take turns\n"
    "  --trace NAME     a file azure_*.csv or mooncake_*.jsonl, or conv, code, chat\n"
    "  --log FILE       a line of JSON a request\n"
    "  --keys FILE      API keys, one a line: account i has the i-th\n"
    "  --rate X         requests a second, on average (as the trace has it)\n"
    "  --first N        the trace's first request (0)\n"
    "  --count N        requests (all)\n"
    "  --accounts N     that ask (100)\n"
    "  --skew X         2: the first accounts ask more often (1)\n"
    "  --prompt-max N   tokens of a prompt\n"
    "  --output-max N   tokens of an answer\n"
    "  --timeout-ms N   for the last request's end (60000)\n"
    "  --seed N         of accounts and made up traces (1)\n";

static int usage(void)
{
    fputs(usage_text, stderr);
    return 2;
}

enum { OPT_TO = 1, OPT_TRACE, OPT_LOG, OPT_KEYS, OPT_RATE, OPT_SKEW, OPT_NUMBERS };

static const struct option long_options[] = {
    {"to", required_argument, NULL, OPT_TO},
    {"trace", required_argument, NULL, OPT_TRACE},
    {"log", required_argument, NULL, OPT_LOG},
    {"keys", required_argument, NULL, OPT_KEYS},
    {"rate", required_argument, NULL, OPT_RATE},
    {"skew", required_argument, NULL, OPT_SKEW},
    {"first", required_argument, NULL, OPT_NUMBERS},
    {"count", required_argument, NULL, OPT_NUMBERS + 1},
    {"timeout-ms", required_argument, NULL, OPT_NUMBERS + 2},
    {"seed", required_argument, NULL, OPT_NUMBERS + 3},
    {"prompt-max", required_argument, NULL, OPT_NUMBERS + 4},
    {"output-max", required_argument, NULL, OPT_NUMBERS + 5},
    {"accounts", required_argument, NULL, OPT_NUMBERS + 6},
    {0}};

static bool add_gateway(struct replay *r, const char *text)
{
    if (r->gateways == GATEWAYS_MAX)
        return false;
    r->hosts[r->gateways] = text;
    return net_addr_parse(&r->calls[r->gateways++].to, text) == 0;
}

static bool read_number(struct options *o, int name)
{
    uint64_t n;

    if (name == '?' || span_u64(span_str(optarg), INT32_MAX, &n) < 0)
        return false;
    switch (name - OPT_NUMBERS) {
    case 0:
        o->first = n;
        return true;
    case 1:
        o->count = n;
        return true;
    case 2:
        o->timeout_ms = n;
        return true;
    case 3:
        o->asks.seed = n;
        return true;
    case 4:
        o->prompt_max = (int64_t)n;
        return true;
    case 5:
        o->output_max = (int64_t)n;
        return true;
    default:
        o->asks.accounts = (uint32_t)n;
        return n > 0;
    }
}

static bool read_option(struct replay *r, int name)
{
    switch (name) {
    case OPT_TO:
        return add_gateway(r, optarg);
    case OPT_TRACE:
        r->o.trace = optarg;
        return true;
    case OPT_LOG:
        r->o.log = optarg;
        return true;
    case OPT_KEYS:
        r->o.keys = optarg;
        return true;
    case OPT_RATE:
        r->o.rate = strtod(optarg, NULL);
        return r->o.rate > 0;
    case OPT_SKEW:
        r->o.asks.skew = strtod(optarg, NULL);
        return r->o.asks.skew > 0;
    default:
        return read_number(&r->o, name);
    }
}

static int read_keys(struct replay *r)
{
    if (!r->o.keys)
        return 0;
    TRY(file_read(r->o.keys, KEYS_MAX, &r->keys));
    r->key = mem_zero((r->keys.len + 1) * sizeof(*r->key));
    for (struct span rest = buf_span(&r->keys); rest.len > 0;) {
        const struct span line = span_trim(span_split(&rest, '\n'));
        if (line.len > 0)
            r->key[r->key_count++] = line;
    }
    return r->key_count > 0 ? 0 : E_INVALID;
}

static int prepare(struct replay *r)
{
    TRY(trace_read(&r->trace, r->o.trace, &r->o.asks));
    if (r->o.count > 0)
        trace_resize(&r->trace, r->o.first + r->o.count);
    if (r->o.first >= r->trace.count)
        return E_INVALID;
    if (r->o.rate > 0) {
        const struct arrival *a = r->trace.arrivals;
        const double s = (double)(a[r->trace.count - 1].at_ns - a[r->o.first].at_ns) / 1e9;
        trace_hurry(&r->trace, r->o.rate * s / (double)(r->trace.count - r->o.first));
    }
    r->next = r->o.first;
    return read_keys(r);
}

static void start_calls(struct replay *r, struct calls *c)
{
    c->loop = r->loop;
    c->stream = true;
    c->watch = &watch;
    c->ended = on_ended;
    c->arg = r;
    calls_init(c);
}

static int run(struct replay *r)
{
    TRY(prepare(r));
    TRY(loop_new(&r->loop));
    for (size_t i = 0; i < r->gateways; i++)
        start_calls(r, &r->calls[i]);
    r->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (r->timer_fd < 0)
        return E_IO;
    TRY(loop_fd_add(r->loop, &r->timer, r->timer_fd, EPOLLIN, on_due, r));
    r->start_ns = stamp_now();
    arm(r);
    loop_run(r->loop);
    return 0;
}

static void stop(struct replay *r)
{
    loop_timer_cancel(r->loop, &r->deadline);
    loop_fd_del(r->loop, &r->timer);
    close(r->timer_fd);
    for (size_t i = 0; i < r->gateways; i++)
        calls_fini(&r->calls[i]);
    loop_free(r->loop);
    trace_fini(&r->trace);
    buf_fini(&r->keys);
    free(r->key);
}

int main(int argc, char **argv)
{
    struct replay r = {.o = {.timeout_ms = 60000, .asks = {.accounts = 100, .skew = 1, .seed = 1}}};
    int name;

    while ((name = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        if (!read_option(&r, name))
            return usage();
    if (optind != argc || r.gateways == 0 || !r.o.trace || !r.o.log)
        return usage();
    net_raise_nofile();
    r.log = fopen(r.o.log, "we");
    const int error = r.log ? run(&r) : E_IO;
    if (error < 0)
        fprintf(stderr, "replay: %s: %s\n", r.o.trace, error_name(error));
    else
        stop(&r);
    if (r.log && fclose(r.log) != 0)
        return 1;
    return error < 0;
}
