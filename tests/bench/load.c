/* An open-loop load generator: sends chat requests on a fixed schedule, whatever happened to those
 * before, reads their streams, and prints one line of JSON. Times count from the schedule, not from
 * the send. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "net/socket.h"
#include "tests/bench/call.h"
#include "tests/bench/stamp.h"
#include "tests/bench/watch.h"

struct options {
    const char *to, *key;
    uint64_t rate, count;  /* requests a second, requests in all */
    uint64_t prompt_bytes; /* of the only message's text */
    uint64_t events;       /* content events an answer */
    uint64_t interval_us;  /* between them; 0: at once */
    uint64_t from_ms,
        until_ms;        /* the window measured; 0: from the first request, to the last's end */
    uint64_t timeout_ms; /* from the last request's schedule to its end */
    uint64_t late_us;
    bool whole, hold; /* not streamed; streams are let go at the window's end */
};

struct load {
    struct options o;
    struct loop *loop;
    struct calls calls;
    struct watch watch;
    int timer_fd;
    struct loop_fd timer;
    struct loop_timer from, until, deadline;
    uint64_t start_ns, next; /* request to be sent next */
    uint64_t window_begin_ns, window_ns;
    bool ending, watched; /* watched: every process lived through the window */
};

/* ---- The window ---- */

static void window_begin(void *arg)
{
    struct load *l = arg;

    l->watched = watch_begin(&l->watch) == 0;
    l->window_begin_ns = stamp_now();
    l->calls.measuring = true;
}

static void window_end(struct load *l)
{
    if (!l->calls.measuring)
        return;
    l->calls.measuring = false;
    l->window_ns = stamp_now() - l->window_begin_ns;
    l->watched = watch_end(&l->watch) == 0 && l->watched;
}

static void on_until(void *arg)
{
    struct load *l = arg;

    window_end(l);
    if (!l->o.hold)
        return;
    l->ending = true;
    calls_release(&l->calls);
    loop_stop(l->loop);
}

static void on_deadline(void *arg)
{
    struct load *l = arg;

    l->ending = true;
    window_end(l);
    calls_give_up(&l->calls);
    loop_stop(l->loop);
}

static void on_ended(void *arg)
{
    struct load *l = arg;

    if (l->ending || calls_over(&l->calls) < l->o.count)
        return;
    window_end(l);
    loop_stop(l->loop);
}

/* ---- The schedule ---- */

static uint64_t due_ns(const struct load *l, uint64_t request)
{
    return l->start_ns + request * 1000000000u / l->o.rate;
}

static void arm(struct load *l)
{
    const uint64_t at = due_ns(l, l->next);
    const struct itimerspec spec = {
        .it_value = {.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u)}};

    CHECK(timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL) == 0);
}

static void on_schedule(void *arg, uint32_t events)
{
    struct load *l = arg;
    uint64_t expired;

    (void)events;
    if (read(l->timer_fd, &expired, sizeof(expired)) < 0)
        return;
    while (l->next < l->o.count && due_ns(l, l->next) <= stamp_now()) {
        calls_start(&l->calls, due_ns(l, l->next));
        l->next++;
    }
    if (l->next < l->o.count)
        arm(l);
    else
        loop_timer_set(l->loop, &l->deadline, l->o.timeout_ms, on_deadline, l);
}

static void stop(struct load *l)
{
    loop_fd_del(l->loop, &l->timer);
    close(l->timer_fd);
    loop_timer_cancel(l->loop, &l->from);
    loop_timer_cancel(l->loop, &l->until);
    loop_timer_cancel(l->loop, &l->deadline);
    calls_fini(&l->calls);
    loop_free(l->loop);
}

static void start(struct load *l)
{
    const uint64_t lead_ns = 10 * 1000 * 1000;

    l->start_ns = stamp_now() + lead_ns;
    if (l->o.from_ms == 0)
        window_begin(l);
    else
        loop_timer_set(l->loop, &l->from, l->o.from_ms, window_begin, l);
    if (l->o.until_ms > 0)
        loop_timer_set(l->loop, &l->until, l->o.until_ms, on_until, l);
    arm(l);
}

/* ---- The request ---- */

/* Words, with a line's end now and then, as a prompt has. */
static void put_prompt(struct buf *out, uint64_t len)
{
    static const char words[] = "Tell me what the weather was like on the day the bridge opened, "
                                "and who was there.\\n";

    for (uint64_t i = 0; i < len; i += sizeof(words) - 1)
        buf_append(out, span_cut(span_str(words), 0, sizeof(words) - 1));
}

static void make_request(const struct options *o, struct buf *out)
{
    AUTO(buf_fini) struct buf body = {0};

    buf_append_str(&body, "{\"model\":\"bench\",\"messages\":[{\"role\":\"user\",\"content\":\"");
    put_prompt(&body, o->prompt_bytes);
    buf_printf(&body, "\"}],\"max_tokens\":%lu,\"seed\":%lu,\"stream\":%s}", o->events,
               o->interval_us, o->whole ? "false" : "true");
    buf_printf(out, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\n", o->to);
    if (o->key)
        buf_printf(out, "Authorization: Bearer %s\r\n", o->key);
    buf_printf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n", body.len);
    buf_append(out, buf_span(&body));
}

/* ---- The program ---- */

static const char usage_text[] =
    "usage: load --to HOST:PORT --rate N --count N [options]\n"
    "  --rate N          requests a second, on a fixed schedule\n"
    "  --count N         requests in all\n"
    "  --key KEY         API key\n"
    "  --prompt-bytes N  length of the prompt (1024)\n"
    "  --events N        content events an answer (1)\n"
    "  --interval-us N   between them; 0: all at once (0)\n"
    "  --from-ms N       begin of the window measured (the first request)\n"
    "  --until-ms N      its end (the end of the last)\n"
    "  --timeout-ms N    for the last request's end (10000)\n"
    "  --late-us N       an event that took longer is late (25000)\n"
    "  --watch NAME=PID  report CPU time and memory of this process; up to 7 times\n"
    "  --whole           answers that are not streamed\n"
    "  --hold            let the streams go at the window's end\n";

static int usage(void)
{
    fputs(usage_text, stderr);
    return 2;
}

enum { OPT_TO = 1, OPT_KEY, OPT_WATCH, OPT_WHOLE, OPT_HOLD, OPT_NUMBERS };

static const struct option long_options[] = {
    {"to", required_argument, NULL, OPT_TO},
    {"key", required_argument, NULL, OPT_KEY},
    {"watch", required_argument, NULL, OPT_WATCH},
    {"whole", no_argument, NULL, OPT_WHOLE},
    {"hold", no_argument, NULL, OPT_HOLD},
    {"rate", required_argument, NULL, OPT_NUMBERS},
    {"count", required_argument, NULL, OPT_NUMBERS + 1},
    {"prompt-bytes", required_argument, NULL, OPT_NUMBERS + 2},
    {"events", required_argument, NULL, OPT_NUMBERS + 3},
    {"interval-us", required_argument, NULL, OPT_NUMBERS + 4},
    {"from-ms", required_argument, NULL, OPT_NUMBERS + 5},
    {"until-ms", required_argument, NULL, OPT_NUMBERS + 6},
    {"timeout-ms", required_argument, NULL, OPT_NUMBERS + 7},
    {"late-us", required_argument, NULL, OPT_NUMBERS + 8},
    {0}};

static bool read_option(struct load *l, int name)
{
    struct options *o = &l->o;
    uint64_t *const numbers[] = {&o->rate,     &o->count,       &o->prompt_bytes,
                                 &o->events,   &o->interval_us, &o->from_ms,
                                 &o->until_ms, &o->timeout_ms,  &o->late_us};

    switch (name) {
    case OPT_TO:
        o->to = optarg;
        return net_addr_parse(&l->calls.to, optarg) == 0;
    case OPT_KEY:
        o->key = optarg;
        return true;
    case OPT_WATCH:
        return watch_add(&l->watch, optarg) == 0;
    case OPT_WHOLE:
        return o->whole = true;
    case OPT_HOLD:
        return o->hold = true;
    case '?':
        return false;
    default:
        return span_u64(span_str(optarg), UINT32_MAX, numbers[name - OPT_NUMBERS]) == 0;
    }
}

static bool read_options(struct load *l, int argc, char **argv)
{
    int name;

    while ((name = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        if (!read_option(l, name))
            return false;
    return optind == argc && l->o.to && l->o.rate > 0 && l->o.count > 0 && l->o.events > 0;
}

static void report(struct load *l)
{
    AUTO(buf_fini) struct buf line = {0};

    buf_byte(&line, '{');
    calls_json(&l->calls, &line);
    buf_printf(&line, ",\"window_s\":%.3f,\"watched\":%s,\"machine\":", (double)l->window_ns / 1e9,
               l->watched ? "true" : "false");
    watch_json(&l->watch, &line);
    buf_append(&line, SPAN("}\n"));
    fwrite(line.data, 1, line.len, stdout);
}

/* Its own cost counts too: everything runs on one machine. */
static int watch_self(struct watch *w)
{
    char text[32];

    snprintf(text, sizeof(text), "load=%d", (int)getpid());
    return watch_add(w, text);
}

static int run(struct load *l)
{
    AUTO(buf_fini) struct buf request = {0};

    make_request(&l->o, &request);
    TRY(loop_new(&l->loop));
    l->calls.loop = l->loop;
    l->calls.request = buf_span(&request);
    l->calls.stream = !l->o.whole;
    l->calls.events = l->o.events;
    l->calls.late_ns = l->o.late_us * 1000;
    l->calls.ended = on_ended;
    l->calls.arg = l;
    calls_init(&l->calls);
    l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l->timer_fd < 0)
        return E_IO;
    TRY(loop_fd_add(l->loop, &l->timer, l->timer_fd, EPOLLIN, on_schedule, l));
    start(l);
    loop_run(l->loop);
    report(l);
    stop(l);
    return 0;
}

int main(int argc, char **argv)
{
    struct load l = {
        .o = {.prompt_bytes = 1024, .events = 1, .timeout_ms = 10000, .late_us = 25000}};

    if (!read_options(&l, argc, argv) || watch_self(&l.watch) < 0)
        return usage();
    net_raise_nofile();
    const int error = run(&l);
    if (error < 0)
        fprintf(stderr, "load: %s\n", error_name(error));
    return error < 0;
}
