/* The adapter against an engine that the test plays by hand, over a real socket on the same loop.
 */
#include "backends/engine/engine_run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"
#include "net/http_server.h"

enum { MAX_ASKED = 16 };

/* One request that the engine has received. */
struct asked {
    struct http_exchange *ex; /* NULL: over */
    struct buf body;
    bool whole, gone;
};

struct world {
    struct loop *loop;
    struct offload *offload;
    struct http_server *server;
    struct engine *engine;
    char url[80];
    unsigned changes;

    /* The engine's script. */
    unsigned health;
    const char *models, *metrics;
    unsigned metrics_asked;
    struct asked asked[MAX_ASKED];
    size_t asked_count;

    /* The run. */
    struct request request;
    struct engine_run *run;
    struct buf output;
    int ended, error;
    unsigned width;
    struct api_fault fault;
    bool finished; /* answer_finish succeeded */
    struct buf usage_event, rest;
    struct usage usage;
};

/* ---- The engine ---- */

static void reply(struct http_exchange *ex, unsigned status, const char *type, const char *text)
{
    const struct http_field field = {"Content-Type", type};
    struct buf body = {0};

    buf_append_str(&body, text);
    http_reply(ex, status, &field, 1, &body, false);
    buf_fini(&body);
}

static void on_head(void *arg, struct http_exchange *ex)
{
    struct world *w = arg;

    http_set_user(ex, NULL);
    if (span_is(http_path(ex), "/health")) {
        reply(ex, w->health, "application/json", "{}");
    } else if (span_is(http_path(ex), "/v1/models")) {
        reply(ex, 200, "application/json", w->models);
    } else if (span_is(http_path(ex), "/metrics") && w->metrics) {
        w->metrics_asked++;
        reply(ex, 200, "text/plain", w->metrics);
    } else if (span_is(http_method(ex), "POST")) {
        assert_true(w->asked_count < MAX_ASKED);
        struct asked *a = &w->asked[w->asked_count++];
        *a = (struct asked){.ex = ex};
        http_set_user(ex, a);
        http_receive(ex);
    } else {
        reply(ex, 404, "application/json", "{}");
    }
}

static void on_body(void *arg, struct http_exchange *ex, struct span part)
{
    struct asked *a = http_user(ex);

    (void)arg;
    buf_append(&a->body, part);
}

static void on_body_end(void *arg, struct http_exchange *ex)
{
    struct asked *a = http_user(ex);

    (void)arg;
    a->whole = true;
}

static void on_gone(void *arg, struct http_exchange *ex)
{
    struct asked *a = http_user(ex);

    (void)arg;
    if (a)
        a->gone = true;
}

static void on_done(void *arg, struct http_exchange *ex, bool complete)
{
    struct asked *a = http_user(ex);

    (void)arg;
    (void)complete;
    if (a)
        a->ex = NULL;
}

static const struct http_handler handler = {
    .head = on_head,
    .body = on_body,
    .body_end = on_body_end,
    .gone = on_gone,
    .done = on_done,
};

static void begin_stream(struct world *w, size_t i)
{
    const struct http_field field = {"Content-Type", "text/event-stream"};

    http_stream_begin(w->asked[i].ex, 200, &field, 1);
}

static void say(struct world *w, size_t i, const char *data)
{
    struct buf event = {0};

    buf_printf(&event, "data: %s\n\n", data);
    http_stream_write(w->asked[i].ex, buf_span(&event));
    buf_fini(&event);
    buf_fini(&event);
}

#define ENVELOPE "\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\""
#define ROLE                                                                                       \
    "{" ENVELOPE ",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}," \
    "\"finish_reason\":null}]}"
#define TEXT(t)                                                                                    \
    "{" ENVELOPE ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" t                          \
    "\"},\"finish_reason\":null}]}"
#define STOP "{" ENVELOPE ",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}"
#define USAGE(in, out)                                                                             \
    "{" ENVELOPE ",\"choices\":[],\"usage\":{\"prompt_tokens\":" #in                               \
    ",\"completion_tokens\":" #out "}}"

/* A whole answer with one word. */
static void say_all(struct world *w, size_t i, const char *word)
{
    char text[400];

    begin_stream(w, i);
    say(w, i, ROLE);
    snprintf(text, sizeof(text), TEXT("%s"), word);
    say(w, i, text);
    say(w, i, STOP);
    say(w, i, USAGE(9, 1));
    say(w, i, "[DONE]");
    http_stream_end(w->asked[i].ex, NULL, 0);
}

/* ---- The world ---- */

static void on_changed(void *arg)
{
    struct world *w = arg;

    w->changes++;
}

static void listen_free_port(struct world *w)
{
    struct net_addr at;
    char text[64];

    assert_int_equal(net_addr_parse(&at, "127.0.0.1:0"), 0);
    assert_int_equal(http_server_listen(w->server, &at, -1), 0);
    http_server_addr(w->server, 0, &at);
    net_addr_text(&at, text, sizeof(text));
    snprintf(w->url, sizeof(w->url), "http://%s", text);
}

static void start_engine(struct world *w, const char *kind, uint64_t silent_ms)
{
    const struct engine_options o = {w->url, kind, silent_ms, 8, w->offload};

    assert_int_equal(engine_new(&w->engine, w->loop, &o, on_changed, w), 0);
}

static int setup(void **state)
{
    struct http_server_options options = http_server_defaults;
    struct world *w = calloc(1, sizeof(*w));

    options.daemons = 1;
    options.drain_ms = 0;
    w->health = 200;
    w->models = "{\"data\":[{\"id\":\"m\",\"owned_by\":\"llamacpp\"}]}";
    assert_int_equal(loop_new(&w->loop), 0);
    assert_int_equal(offload_new(&w->offload, w->loop, 1), 0);
    assert_int_equal(http_server_new(&w->server, w->loop, &options, &handler, w), 0);
    listen_free_port(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    struct usage none;

    if (w->run)
        engine_run_cancel(w->run, &none);
    request_fini(&w->request);
    http_server_free(w->server);
    offload_free(w->offload);
    engine_free(w->engine);
    for (size_t i = 0; i < w->asked_count; i++)
        buf_fini(&w->asked[i].body);
    loop_turn(w->loop, 0);
    loop_free(w->loop);
    buf_fini(&w->output);
    buf_fini(&w->usage_event);
    buf_fini(&w->rest);
    free(w);
    return 0;
}

#define UNTIL(w, cond)                                                                             \
    do {                                                                                           \
        const uint64_t until_ = clock_mono_ms() + 8000;                                            \
        while (!(cond)) {                                                                          \
            assert_true(clock_mono_ms() < until_);                                                 \
            loop_turn((w)->loop, 20);                                                              \
        }                                                                                          \
    } while (0)

static void turn_for(struct world *w, uint64_t ms)
{
    const uint64_t until = clock_mono_ms() + ms;

    while (clock_mono_ms() < until)
        loop_turn(w->loop, 10);
}

/* ---- The run ---- */

static void on_output(void *arg, struct buf *bytes)
{
    struct world *w = arg;

    buf_append(&w->output, buf_span(bytes));
}

static void on_narrowed(void *arg, unsigned width)
{
    struct world *w = arg;

    w->width = width;
}

static void on_end(void *arg, int error, const struct api_fault *fault, struct answer *answer)
{
    struct world *w = arg;

    w->run = NULL;
    w->ended++;
    w->error = error;
    w->fault = *fault;
    if (error == 0)
        w->finished = answer_finish(answer, &w->usage_event, &w->rest, &w->usage) == 0;
}

static const struct engine_run_events run_events = {on_output, on_narrowed, on_end};

static void start_run_at(struct world *w, enum endpoint endpoint, const char *body, unsigned width)
{
    const struct request_rules rules = {.max_n = 128};
    struct api_fault fault;

    assert_int_equal(request_parse(&w->request, endpoint, span_str(body), &rules, &fault), 0);
    const struct request *rq = &w->request;
    const struct answer_options answer = {
        .endpoint = endpoint,
        .kind = engine_kind(w->engine),
        .public_model = SPAN("public"),
        .stream = rq->stream,
        .include_usage = true,
        .choices = endpoint == EP_EMBEDDINGS ? rq->prompts : rq->prompts * rq->choices,
        .prompts = rq->prompts,
    };
    const struct engine_run_options o = {
        .request = rq,
        .take_answer = answer_new(&answer),
        .model = SPAN("engine-model"),
        .cap = 50,
        .cache_salt = SPAN("salt"),
        .width = width,
    };
    assert_int_equal(engine_run_start(&w->run, w->engine, &o, &run_events, w), 0);
}

#define CHAT(more) "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]" more "}"

static void start_run(struct world *w, const char *body)
{
    start_run_at(w, EP_CHAT, body, 1);
}

static void start_all(struct world *w)
{
    start_engine(w, "auto", 60000);
    UNTIL(w, engine_up(w->engine));
    start_run(w, CHAT(",\"stream\":true"));
    UNTIL(w, w->asked_count == 1 && w->asked[0].whole);
}

static bool output_has(const struct world *w, const char *text)
{
    return span_find(buf_span(&w->output), span_str(text)) >= 0;
}

/* ---- Probing ---- */

static void an_engine_that_still_loads_is_waited_for(void **state)
{
    struct world *w = *state;

    w->health = 503;
    start_engine(w, "auto", 60000);
    turn_for(w, 300);
    assert_false(engine_up(w->engine));
    w->health = 200;
    UNTIL(w, engine_up(w->engine));
    assert_int_equal(engine_kind(w->engine), ENGINE_LLAMACPP);
    assert_int_equal(w->changes, 1);
}

static void an_engine_without_health_page_lives_by_its_model_list(void **state)
{
    struct world *w = *state;

    w->health = 404;
    w->models = "{\"data\":[{\"id\":\"m\",\"owned_by\":\"library\"}]}";
    start_engine(w, "auto", 60000);
    UNTIL(w, engine_up(w->engine));
    assert_int_equal(engine_kind(w->engine), ENGINE_GENERIC);
}

static void a_kind_by_configuration_is_not_detected_away(void **state)
{
    struct world *w = *state;

    start_engine(w, "sglang", 60000);
    UNTIL(w, engine_up(w->engine));
    assert_int_equal(engine_kind(w->engine), ENGINE_SGLANG);
}

static void an_engine_that_dies_is_down_at_once_and_comes_back(void **state)
{
    struct world *w = *state;

    start_engine(w, "auto", 60000);
    UNTIL(w, engine_up(w->engine));
    w->health = 503;
    UNTIL(w, !engine_up(w->engine));
    w->health = 200;
    UNTIL(w, engine_up(w->engine));
    assert_int_equal(w->changes, 3);
}

static void load_is_read_at_most_every_two_seconds(void **state)
{
    struct world *w = *state;

    w->metrics = "llamacpp:requests_processing 2\nllamacpp:requests_deferred 5\n";
    start_engine(w, "auto", 60000);
    UNTIL(w, engine_up(w->engine));
    assert_int_equal(engine_load(w->engine)->running, 2);
    assert_int_equal(engine_load(w->engine)->waiting, 5);
    turn_for(w, 1500);
    assert_int_equal(w->metrics_asked, 1);
}

/* ---- Runs ---- */

static void the_engine_is_asked_for_a_stream_with_usage_and_its_own_model_name(void **state)
{
    struct world *w = *state;

    start_all(w);
    const struct span body = buf_span(&w->asked[0].body);
    assert_true(span_find(body, SPAN("\"stream\":true")) >= 0);
    assert_true(span_find(body, SPAN("\"include_usage\":true")) >= 0);
    assert_true(span_find(body, SPAN("engine-model")) >= 0);
}

static void events_go_out_as_they_come(void **state)
{
    struct world *w = *state;

    start_all(w);
    begin_stream(w, 0);
    say(w, 0, ROLE);
    say(w, 0, TEXT("one"));
    UNTIL(w, output_has(w, "one"));
    assert_int_equal(w->ended, 0);
    say(w, 0, TEXT("two"));
    UNTIL(w, output_has(w, "two"));
    say(w, 0, STOP);
    say(w, 0, USAGE(9, 2));
    say(w, 0, "[DONE]");
    http_stream_end(w->asked[0].ex, NULL, 0);
    UNTIL(w, w->ended == 1);
    assert_int_equal(w->error, 0);
    assert_true(w->finished);
    assert_int_equal(w->usage.in, 9);
    assert_int_equal(w->usage.out, 2);
    assert_true(span_ends(buf_span(&w->usage_event), SPAN("}}\n\n")));
    assert_true(span_is(buf_span(&w->rest), "data: [DONE]\n\n"));
    assert_true(output_has(w, "\"model\":\"public\""));
}

static void a_stream_that_breaks_off_is_never_complete(void **state)
{
    struct world *w = *state;

    start_all(w);
    begin_stream(w, 0);
    say(w, 0, ROLE);
    say(w, 0, TEXT("half"));
    UNTIL(w, output_has(w, "half"));
    http_stream_abort(w->asked[0].ex);
    UNTIL(w, w->ended == 1);
    assert_true(w->error < 0);
    assert_ptr_equal(w->fault.error, &ERR_WORKER_ERROR);
}

static void a_clean_end_without_finish_reason_is_a_break_too(void **state)
{
    struct world *w = *state;

    start_all(w);
    begin_stream(w, 0);
    say(w, 0, ROLE);
    say(w, 0, TEXT("half"));
    say(w, 0, "[DONE]");
    http_stream_end(w->asked[0].ex, NULL, 0);
    UNTIL(w, w->ended == 1);
    assert_true(w->error < 0);
}

static void an_error_as_first_event_is_the_engines_fault(void **state)
{
    struct world *w = *state;

    start_all(w);
    begin_stream(w, 0);
    say(w, 0, "{\"error\":{\"message\":\"secret words\",\"type\":\"server_error\",\"code\":500}}");
    http_stream_end(w->asked[0].ex, NULL, 0);
    UNTIL(w, w->ended == 1);
    assert_true(w->error < 0);
    assert_int_equal(w->output.len, 0);
    assert_null(strstr(w->fault.message, "secret"));
    assert_true(w->fault.error->status >= 500);
}

static void errors_of_the_engine_become_ours(void **state)
{
    static const struct {
        unsigned status;
        const char *type, *body;
        unsigned want;
    } cases[] = {
        {400, "application/json",
         "{\"error\":{\"code\":400,\"message\":\"too "
         "long\",\"type\":\"exceed_context_size_error\"}}",
         400},
        {500, "application/json",
         "{\"error\":{\"code\":500,\"message\":\"boom\",\"type\":\"server_error\"}}", 502},
        {502, "text/html", "<html>Bad Gateway</html>", 502},
        {200, "text/html", "<html>Hello</html>", 502},
    };
    struct world *w = *state;

    start_engine(w, "auto", 60000);
    UNTIL(w, engine_up(w->engine));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        start_run(w, CHAT(""));
        UNTIL(w, w->asked_count == i + 1 && w->asked[i].whole);
        reply(w->asked[i].ex, cases[i].status, cases[i].type, cases[i].body);
        UNTIL(w, w->ended == (int)i + 1);
        assert_true(w->error < 0);
        assert_int_equal(w->fault.error->status, cases[i].want);
        request_fini(&w->request);
    }
}

static void garbage_is_a_failure(void **state)
{
    struct world *w = *state;

    start_all(w);
    begin_stream(w, 0);
    say(w, 0, "{{{ not json");
    UNTIL(w, w->ended == 1);
    assert_true(w->error < 0);
    assert_int_equal(w->output.len, 0);
    UNTIL(w, w->asked[0].gone);
}

static void a_silent_engine_is_given_up(void **state)
{
    struct world *w = *state;

    start_engine(w, "auto", 300);
    UNTIL(w, engine_up(w->engine));
    start_run(w, CHAT(",\"stream\":true"));
    UNTIL(w, w->ended == 1);
    assert_int_equal(w->error, E_TIMEOUT);
    assert_ptr_equal(w->fault.error, &ERR_UPSTREAM_TIMEOUT);
}

static void cancel_closes_the_engines_connection_and_tells_the_counts(void **state)
{
    struct world *w = *state;
    struct usage so_far;

    start_all(w);
    begin_stream(w, 0);
    say(w, 0, ROLE);
    say(w, 0, TEXT("one"));
    say(w, 0, TEXT("two"));
    UNTIL(w, output_has(w, "two"));
    engine_run_cancel(w->run, &so_far);
    w->run = NULL;
    assert_int_equal(so_far.out, 2);
    UNTIL(w, w->asked[0].gone);
    assert_int_equal(w->ended, 0);
}

static void a_cancelled_slot_is_free_when_the_engines_figures_say_so(void **state)
{
    struct world *w = *state;
    struct usage so_far;

    w->metrics = "llamacpp:requests_processing 1\n";
    start_all(w);
    engine_run_cancel(w->run, &so_far);
    w->run = NULL;
    assert_int_equal(engine_lingering(w->engine), 1);
    turn_for(w, 2500);
    assert_int_equal(engine_lingering(w->engine), 1);
    w->metrics = "llamacpp:requests_processing 0\n";
    UNTIL(w, engine_lingering(w->engine) == 0);
}

static void choices_are_asked_one_by_one_within_the_width(void **state)
{
    struct world *w = *state;

    start_engine(w, "auto", 60000);
    UNTIL(w, engine_up(w->engine));
    start_run_at(w, EP_CHAT, CHAT(",\"n\":3"), 2);
    assert_int_equal(engine_run_parts(w->engine, &w->request), 3);
    UNTIL(w, w->asked_count == 2 && w->asked[0].whole && w->asked[1].whole);
    turn_for(w, 100);
    assert_int_equal(w->asked_count, 2);
    say_all(w, 1, "second");
    UNTIL(w, w->asked_count == 3 && w->asked[2].whole);
    say_all(w, 0, "first");
    UNTIL(w, w->width == 1);
    assert_int_equal(w->ended, 0);
    say_all(w, 2, "third");
    UNTIL(w, w->ended == 1);
    assert_int_equal(w->error, 0);
    assert_true(w->finished);
    assert_int_equal(w->usage.out, 3);
    assert_int_equal(w->usage.in, 9);
    assert_true(span_find(buf_span(&w->usage_event), SPAN("\"index\":2")) >= 0);
    assert_true(span_find(buf_span(&w->asked[0].body), SPAN("\"n\":3")) < 0);
}

static void one_choice_that_fails_ends_the_others(void **state)
{
    struct world *w = *state;

    start_engine(w, "auto", 60000);
    UNTIL(w, engine_up(w->engine));
    start_run_at(w, EP_CHAT, CHAT(",\"n\":2,\"stream\":true"), 2);
    UNTIL(w, w->asked_count == 2 && w->asked[0].whole && w->asked[1].whole);
    begin_stream(w, 0);
    say(w, 0, ROLE);
    reply(w->asked[1].ex, 500, "application/json", "{}");
    UNTIL(w, w->ended == 1);
    assert_true(w->error < 0);
    UNTIL(w, w->asked[0].gone);
}

static void an_engine_that_says_done_and_stays_is_not_waited_for(void **state)
{
    struct world *w = *state;

    start_all(w);
    begin_stream(w, 0);
    say(w, 0, ROLE);
    say(w, 0, STOP);
    say(w, 0, USAGE(3, 1));
    say(w, 0, "[DONE]");
    UNTIL(w, w->ended == 1);
    assert_int_equal(w->error, 0);
    assert_true(w->finished);
}

static void embeddings_come_in_one_piece_long_ones_through_the_pool(void **state)
{
    struct world *w = *state;
    AUTO(buf_fini) struct buf long_vector = {0};

    start_engine(w, "auto", 60000);
    UNTIL(w, engine_up(w->engine));
    buf_append_str(&long_vector,
                   "{\"object\":\"list\",\"model\":\"x\",\"usage\":{\"prompt_tokens\":4,"
                   "\"total_tokens\":4},\"data\":[{\"object\":\"embedding\",\"index\":0,"
                   "\"embedding\":[0.5");
    for (int i = 0; i < 60000; i++)
        buf_append_str(&long_vector, ",0.125");
    buf_append_str(&long_vector, "]}]}");
    start_run_at(w, EP_EMBEDDINGS, "{\"model\":\"m\",\"input\":\"Hi\"}", 1);
    UNTIL(w, w->asked_count == 1 && w->asked[0].whole);
    reply(w->asked[0].ex, 200, "application/json", buf_cstr(&long_vector));
    UNTIL(w, w->ended == 1);
    assert_int_equal(w->error, 0);
    assert_true(w->finished);
    assert_int_equal(w->usage.in, 4);
    assert_int_equal(w->usage.out, 0);
}

static void a_refused_connection_is_a_failure_before_the_first_byte(void **state)
{
    struct world *w = *state;

    start_engine(w, "auto", 60000);
    UNTIL(w, engine_up(w->engine));
    http_server_quiesce(w->server);
    turn_for(w, 100);
    start_run(w, CHAT(",\"stream\":true"));
    w->health = 503; /* on a kept connection it may still answer */
    UNTIL(w, w->ended == 1 || w->asked_count > 0);
    if (w->asked_count > 0) {
        UNTIL(w, w->asked[0].whole);
        begin_stream(w, 0);
        http_stream_abort(w->asked[0].ex);
        UNTIL(w, w->ended == 1);
    }
    assert_true(w->error < 0);
    assert_int_equal(w->output.len, 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_engine_that_still_loads_is_waited_for),
        CASE(an_engine_without_health_page_lives_by_its_model_list),
        CASE(a_kind_by_configuration_is_not_detected_away),
        CASE(an_engine_that_dies_is_down_at_once_and_comes_back),
        CASE(load_is_read_at_most_every_two_seconds),
        CASE(the_engine_is_asked_for_a_stream_with_usage_and_its_own_model_name),
        CASE(events_go_out_as_they_come),
        CASE(a_stream_that_breaks_off_is_never_complete),
        CASE(a_clean_end_without_finish_reason_is_a_break_too),
        CASE(an_error_as_first_event_is_the_engines_fault),
        CASE(errors_of_the_engine_become_ours),
        CASE(garbage_is_a_failure),
        CASE(a_silent_engine_is_given_up),
        CASE(cancel_closes_the_engines_connection_and_tells_the_counts),
        CASE(a_cancelled_slot_is_free_when_the_engines_figures_say_so),
        CASE(choices_are_asked_one_by_one_within_the_width),
        CASE(one_choice_that_fails_ends_the_others),
        CASE(an_engine_that_says_done_and_stays_is_not_waited_for),
        CASE(embeddings_come_in_one_piece_long_ones_through_the_pool),
        CASE(a_refused_connection_is_a_failure_before_the_first_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
