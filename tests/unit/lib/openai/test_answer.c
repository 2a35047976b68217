/* Answers: engines' events as literal data, in; the published contract, out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/json.h"
#include "openai/answer.h"

// ---- Tools of the tests ----

struct made {
    struct answer *a;
    struct buf out, usage_event, rest;
    struct usage usage;
    struct api_fault fault;
};

static struct answer_options chat_stream(void)
{
    return (struct answer_options){.endpoint = EP_CHAT,
                                   .kind = ENGINE_LLAMACPP,
                                   .public_model = SPAN("pub"),
                                   .stream = true,
                                   .top_logprobs = 2,
                                   .choices = 1};
}

static void begin(struct made *m, struct answer_options o)
{
    *m = (struct made){.a = answer_new(&o)};
}

static void done(struct made *m)
{
    answer_free(m->a);
    buf_fini(&m->out);
    buf_fini(&m->usage_event);
    buf_fini(&m->rest);
}

static int feed_at(struct made *m, const char *event, int64_t first)
{
    return answer_feed(m->a, span_str(event), first, &m->out, &m->fault);
}

static void feed(struct made *m, const char *event)
{
    assert_int_equal(feed_at(m, event, 0), 0);
}

static void finish(struct made *m)
{
    assert_true(answer_complete(m->a));
    assert_int_equal(answer_finish(m->a, &m->usage_event, &m->rest, &m->usage), 0);
}

static void assert_text(struct buf *b, const char *expected)
{
    assert_string_equal(buf_cstr(b), expected);
}

static void assert_has(struct buf *b, const char *part)
{
    if (!strstr(buf_cstr(b), part))
        fail_msg("%s is not in %s", part, buf_cstr(b));
}

static void assert_lacks(struct buf *b, const char *part)
{
    if (strstr(buf_cstr(b), part))
        fail_msg("%s is in %s", part, buf_cstr(b));
}

static json_t *event_json(struct span event)
{
    json_t *doc = NULL;

    assert_true(span_starts(event, SPAN("data: ")));
    if (json_read(span_from(event, 6), &doc) < 0)
        fail_msg("not JSON: %.*s", SPAN_FMT(event));
    return doc;
}

#define ID "\"id\":\"chatcmpl-35E9\",\"object\":\"chat.completion.chunk\",\"created\":1795317796"
#define HEAD                                                                                       \
    "data: {\"id\":\"chatcmpl-35E9\",\"object\":\"chat.completion.chunk\",\"created\":1795317796," \
    "\"model\":\"pub\",\"choices\":["
#define ROLE                                                                                       \
    HEAD "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},"      \
         "\"logprobs\":null,\"finish_reason\":null}]"
#define DELTA(delta, finish)                                                                       \
    "{\"choices\":[{\"finish_reason\":" finish ",\"index\":0,\"delta\":" delta "}]," ID            \
    ",\"model\":\"smollm2\",\"system_fingerprint\":\"b0-unknown\"}"
#define CHUNK(delta, finish)                                                                       \
    HEAD "{\"index\":0,\"delta\":" delta ",\"logprobs\":null,\"finish_reason\":" finish "}]"
#define USAGE                                                                                      \
    "{\"choices\":[]," ID ",\"usage\":{\"completion_tokens\":3,\"prompt_tokens\":27,"              \
    "\"total_tokens\":30,\"prompt_tokens_details\":{\"cached_tokens\":26}},\"timings\":{\"a\":1}}"

// ---- Streams ----

static void a_llamacpp_stream_becomes_the_published_one(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.include_usage = true;
    begin(&m, o);
    assert_false(answer_started(m.a));
    feed(&m, DELTA("{\"role\":\"assistant\",\"content\":null}", "null"));
    feed(&m, DELTA("{\"content\":\"The\"}", "null"));
    feed(&m, DELTA("{\"content\":\" cap\\u0000 \xc3\xa9\\/\"}", "null"));
    assert_true(answer_started(m.a));
    assert_false(answer_complete(m.a));
    feed(&m, DELTA("{}", "\"length\""));
    feed(&m, USAGE);
    feed(&m, "[DONE]");
    finish(&m);
    assert_text(
        &m.out, ROLE
        ",\"usage\":null}\n\n" CHUNK("{\"content\":\"The\"}", "null") ",\"usage\":null}\n\n" CHUNK(
            "{\"content\":\" cap\\u0000 \xc3\xa9\\/\"}",
            "null") ",\"usage\":null}\n\n" CHUNK("{}", "\"length\"") ",\"usage\":null}\n\n");
    assert_text(&m.usage_event, HEAD
                "],\"usage\":{\"prompt_tokens\":27,\"completion_tokens\":3,\"total_tokens\":30,"
                "\"prompt_tokens_details\":{\"cached_tokens\":26},\"completion_tokens_details\":{"
                "\"reasoning_tokens\":0}}}\n\n");
    assert_text(&m.rest, "data: [DONE]\n\n");
    assert_int_equal(m.usage.in, 27);
    assert_int_equal(m.usage.cached, 26);
    assert_int_equal(m.usage.out, 3);
    assert_true(answer_any_length(m.a));
    done(&m);
}

static void usage_is_told_only_when_asked_for(void **state)
{
    struct made m;

    (void)state;
    begin(&m, chat_stream());
    feed(&m, DELTA("{\"content\":\"x\"}", "\"stop\""));
    feed(&m, USAGE);
    finish(&m);
    assert_text(&m.out, ROLE "}\n\n" CHUNK("{\"content\":\"x\"}", "\"stop\"") "}\n\n");
    assert_int_equal(m.usage_event.len, 0);
    assert_int_equal(m.usage.in, 27);
    assert_false(answer_any_length(m.a));
    done(&m);
}

static void vllm_extras_are_dropped_but_reasoning(void **state)
{
    struct made m;

    (void)state;
    begin(&m, chat_stream());
    feed(&m,
         "{" ID ",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
         "\"logprobs\":null,\"finish_reason\":null}],\"prompt_token_ids\":[1]}");
    feed(&m, "{" ID ",\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"hm\"},\"logprobs\":null,"
             "\"finish_reason\":null,\"token_ids\":[7]}]}");
    feed(&m, "{" ID ",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":"
             "\"stop\",\"stop_reason\":null}]}");
    finish(&m);
    assert_text(&m.out, ROLE "}\n\n" CHUNK("{\"reasoning\":\"hm\"}", "null") "}\n\n" CHUNK(
                            "{\"content\":\"x\"}", "\"stop\"") "}\n\n");
    done(&m);
}

static void an_id_of_another_form_is_replaced_and_stays(void **state)
{
    struct made m;
    json_t *one, *two;

    (void)state;
    begin(&m, chat_stream());
    feed(&m, "{\"id\":\"0123abcd\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}");
    const size_t first = m.out.len;
    feed(&m,
         "{\"id\":\"other\",\"created\":5,\"choices\":[{\"index\":0,\"delta\":{\"content\":\"y\"},"
         "\"finish_reason\":\"stop\"}]}");
    one =
        event_json(span_cut(buf_span(&m.out), 0,
                            (size_t)(strstr(buf_cstr(&m.out), "\n\n") - (const char *)m.out.data)));
    two = event_json(span_from(buf_span(&m.out), first));
    const char *id = json_string_value(json_object_get(one, "id"));
    assert_int_equal(strncmp(id, "chatcmpl-", 9), 0);
    assert_int_equal(strlen(id), 9 + 32);
    assert_string_equal(id, json_string_value(json_object_get(two, "id")));
    assert_true(json_equal(json_object_get(one, "created"), json_object_get(two, "created")));
    assert_true(json_integer_value(json_object_get(one, "created")) > 1700000000);
    json_decref(one);
    json_decref(two);
    done(&m);
}

static void tool_calls_keep_their_index_and_id(void **state)
{
    struct made m;

    (void)state;
    begin(&m, chat_stream());
    feed(&m,
         DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"lAHA\",\"type\":\"function\",\"function\":{"
               "\"name\":\"get_weather\",\"arguments\":\"{\"}}]}",
               "null"));
    feed(&m, DELTA("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\"city\"}}]}",
                   "null"));
    feed(&m,
         DELTA("{\"tool_calls\":[{\"index\":1,\"id\":\"call_b\",\"function\":{\"name\":\"f\"}}]}",
               "null"));
    feed(&m, DELTA("{}", "\"tool_calls\""));
    finish(&m);
    assert_text(
        &m.out,
        ROLE "}\n\n" CHUNK(
            "{\"tool_calls\":[{\"index\":0,\"id\":\"call_lAHA\",\"type\":\"function\","
            "\"function\":{\"name\":\"get_weather\",\"arguments\":\"{\"}}]}",
            "null") "}\n\n" CHUNK("{\"tool_calls\":[{\"index\":0,\"function\":{"
                                  "\"arguments\":\"\\\"city\"}}]}",
                                  "null") "}\n\n" CHUNK("{\"tool_calls\":[{\"index\":1,\"id\":"
                                                        "\"call_b\",\"type\":\"function\","
                                                        "\"function\":{\"name\":\"f\","
                                                        "\"arguments\":\"\"}}]}",
                                                        "null") "}\n\n" CHUNK("{}",
                                                                              "\"tool_"
                                                                              "calls\"") "}\n"
                                                                                         "\n");
    done(&m);
}

/* Some engines give every call index 0, or none at all, or objects for arguments, or no id. */
static void sloppy_tool_calls_are_put_in_order(void **state)
{
    struct made m;

    (void)state;
    begin(&m, chat_stream());
    feed(&m, DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\","
                   "\"arguments\":\"{}\"}}]}",
                   "null"));
    feed(&m, DELTA("{\"tool_calls\":[{\"index\":0,\"id\":\"b\",\"function\":{\"name\":\"g\","
                   "\"arguments\":{\"x\":\"y\"}}}]}",
                   "null"));
    feed(&m, DELTA("{\"tool_calls\":[{\"function\":{\"arguments\":\"tail\"}}]}", "null"));
    feed(&m, DELTA("{}", "\"tool_calls\""));
    finish(&m);
    assert_has(&m.out, "{\"index\":0,\"id\":\"call_a\"");
    assert_has(&m.out,
               "{\"index\":1,\"id\":\"call_b\",\"type\":\"function\",\"function\":{\"name\":\"g\","
               "\"arguments\":\"{\\\"x\\\":\\\"y\\\"}\"}}");
    assert_has(&m.out, "{\"index\":1,\"function\":{\"arguments\":\"tail\"}}");
    done(&m);
}

static void a_call_without_an_id_gets_one(void **state)
{
    struct made m;

    (void)state;
    begin(&m, chat_stream());
    feed(&m, DELTA("{\"tool_calls\":[{\"index\":0,\"id\":null,\"function\":{\"name\":\"f\"}}]}",
                   "\"tool_calls\""));
    const char *id = strstr(buf_cstr(&m.out), "\"call_");
    assert_non_null(id);
    assert_int_equal(strcspn(id + 1, "\""), 5 + 24);
    done(&m);
}

static void logprobs_are_copied_as_written_without_extras(void **state)
{
    struct made m;

    (void)state;
    begin(&m, chat_stream());
    feed(
        &m,
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"L\"},\"logprobs\":{\"content\":[{"
        "\"id\":60,\"token\":\"L\",\"bytes\":[76],\"logprob\":-1.8500000238418579,"
        "\"top_logprobs\":[{\"id\":60,\"token\":\"L\",\"bytes\":[76],\"logprob\":-0.10},{\"token\":"
        "\"\\n\",\"logprob\":-2}]}]},\"finish_reason\":\"stop\"}]}");
    assert_has(
        &m.out,
        "\"logprobs\":{\"content\":[{\"token\":\"L\",\"logprob\":-1.8500000238418579,"
        "\"bytes\":[76],\"top_logprobs\":[{\"token\":\"L\",\"logprob\":-0.10,\"bytes\":[76]},{"
        "\"token\":\"\\n\",\"logprob\":-2,\"bytes\":null}]}],\"refusal\":null},"
        "\"finish_reason\":\"stop\"}");
    assert_lacks(&m.out, "\"id\":60");
    done(&m);
}

/* vLLM lists the token itself beside as many as were asked for, llama.cpp twenty if no number was.
 */
static void no_more_is_told_beside_a_token_than_was_asked_for(void **state)
{
    static const char *const beside[] = {"[]", "[{\"token\":\"a\",\"logprob\":-1,\"bytes\":null}]"};
    static const char *const legacy[] = {"[{}]", "[{\"a\":-1,\"b\":-2}]"};
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    for (int64_t most = 0; most < 2; most++) {
        AUTO(buf_fini) struct buf expected = {0};
        o.top_logprobs = most;
        o.endpoint = EP_CHAT;
        begin(&m, o);
        feed(&m,
             "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"logprobs\":{\"content\":[{"
             "\"token\":\"a\",\"logprob\":-1,\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-1},"
             "{\"token\":\"b\",\"logprob\":-2},{\"token\":\"c\",\"logprob\":-3}]}]}}]}");
        buf_printf(&expected,
                   "\"content\":[{\"token\":\"a\",\"logprob\":-1,\"bytes\":null,"
                   "\"top_logprobs\":%s}]",
                   beside[most]);
        assert_has(&m.out, buf_cstr(&expected));
        done(&m);
        o.endpoint = EP_COMPLETIONS;
        begin(&m, o);
        feed(&m, "{\"choices\":[{\"index\":0,\"text\":\"a\",\"logprobs\":{\"tokens\":[\"a\"],"
                 "\"token_logprobs\":[-1],\"top_logprobs\":[{\"a\":-1,\"b\":-2,\"c\":-3}]}}]}");
        buf_clear(&expected);
        buf_printf(&expected, "\"top_logprobs\":%s,\"text_offset\":[0]", legacy[most]);
        assert_has(&m.out, buf_cstr(&expected));
        done(&m);
    }
}

static void choices_of_several_requests_are_told_apart(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.choices = 2;
    begin(&m, o);
    assert_int_equal(feed_at(&m, DELTA("{\"content\":\"b\"}", "null"), 1), 0);
    assert_int_equal(feed_at(&m, DELTA("{\"content\":\"a\"}", "\"stop\""), 0), 0);
    assert_false(answer_complete(m.a));
    assert_int_equal(feed_at(&m, DELTA("{}", "\"length\""), 1), 0);
    assert_int_equal(feed_at(&m, USAGE, 0), 0);
    assert_int_equal(feed_at(&m, USAGE, 1), 0);
    finish(&m);
    assert_has(&m.out, "{\"index\":1,\"delta\":{\"role\"");
    assert_has(&m.out, "{\"index\":1,\"delta\":{\"content\":\"b\"}");
    assert_has(&m.out, "{\"index\":0,\"delta\":{\"content\":\"a\"}");
    assert_int_equal(m.usage.in, 27); // the prompt is the same: it counts once
    assert_int_equal(m.usage.out, 6);
    assert_true(answer_any_length(m.a));
    done(&m);
}

static void prompts_of_their_own_all_count(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.endpoint = EP_COMPLETIONS;
    o.choices = 4;
    o.prompts = 2;
    begin(&m, o);
    for (int64_t i = 0; i < 4; i++) {
        assert_int_equal(
            feed_at(&m,
                    "{\"choices\":[{\"text\":\"x\",\"finish_reason\":\"stop\"}],\"usage\":{"
                    "\"prompt_tokens\":10,\"completion_tokens\":1}}",
                    i),
            0);
    }
    finish(&m);
    assert_int_equal(m.usage.in, 20);
    assert_int_equal(m.usage.out, 4);
    done(&m);
}

/* llama.cpp reports one choice's tokens for all of them (engine.md §5). */
static void llamacpp_choices_are_counted_by_us(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.choices = 2;
    begin(&m, o);
    for (int i = 0; i < 4; i++) {
        feed(&m, "{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"b\"}}]}");
        feed(&m, "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"}}]}");
    }
    feed(&m, "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"},{\"index\":1,"
             "\"delta\":{},"
             "\"finish_reason\":\"stop\"}]}");
    feed(&m, "{\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}");
    finish(&m);
    assert_int_equal(m.usage.out, 8);
    done(&m);
}

static void what_was_not_reported_is_counted_an_event_a_token(void **state)
{
    struct made m;
    struct usage u;

    (void)state;
    begin(&m, chat_stream());
    feed(&m, DELTA("{\"role\":\"assistant\",\"content\":null}", "null"));
    feed(&m, DELTA("{\"content\":\"a\"}", "null"));
    feed(&m, DELTA("{\"content\":\"b\"}", "null"));
    answer_usage(m.a, &u);
    assert_int_equal(u.out, 2);
    assert_int_equal(u.in, 0);
    done(&m);
}

static void usage_is_never_contradictory(void **state)
{
    struct made m;

    (void)state;
    begin(&m, chat_stream());
    feed(&m, DELTA("{\"content\":\"x\"}", "\"stop\""));
    feed(&m, "{\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,"
             "\"prompt_tokens_details\":{\"cached_tokens\":9},\"completion_tokens_details\":{"
             "\"reasoning_tokens\":7}}}");
    finish(&m);
    assert_int_equal(m.usage.cached, 5);
    assert_int_equal(m.usage.reasoning, 2);
    done(&m);
}

static void usage_in_decimals_counts_when_it_is_whole(void **state)
{
    struct made m;

    (void)state;
    begin(&m, chat_stream());
    feed(&m, DELTA("{\"content\":\"x\"}", "\"stop\""));
    feed(&m, "{\"choices\":[],\"usage\":{\"prompt_tokens\":5.0,\"completion_tokens\":20.00,"
             "\"prompt_tokens_details\":{\"cached_tokens\":3.5},\"completion_tokens_details\":{"
             "\"reasoning_tokens\":7.0}}}");
    finish(&m);
    assert_int_equal(m.usage.in, 5);
    assert_int_equal(m.usage.out, 20);
    assert_int_equal(m.usage.cached, 0);
    assert_int_equal(m.usage.reasoning, 7);
    done(&m);
}

// ---- Padding ----

static size_t event_len(const char *text)
{
    return (size_t)(strstr(text, "\n\n") + 2 - text);
}

static void every_event_is_padded(enum answer_padding padding)
{
    struct made m;
    struct answer_options o = chat_stream();

    o.padding = padding;
    o.include_usage = true;
    begin(&m, o);
    for (int i = 0; i < 100; i++) {
        char event[512];
        snprintf(
            event, sizeof(event), "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%.*s\"}}]}",
            i,
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            "aaaaaaaaaaaaaaaa");
        feed(&m, event);
    }
    feed(&m, DELTA("{}", "\"stop\""));
    feed(&m, USAGE);
    finish(&m);
    for (const char *at = buf_cstr(&m.out); *at; at += event_len(at)) {
        const size_t len = event_len(at);
        json_t *doc = event_json(span_of(at, len));
        assert_true(json_is_string(json_object_get(doc, "obfuscation")));
        json_decref(doc);
        assert_int_equal(padding == PADDING_64 ? len % 64 : len & (len - 1), 0);
    }
    assert_int_equal(padding == PADDING_64 ? m.usage_event.len % 64
                                           : m.usage_event.len & (m.usage_event.len - 1),
                     0);
    assert_true(span_ends(buf_span(&m.usage_event), SPAN("}}\n\n")));
    json_t *doc = event_json(buf_span(&m.usage_event));
    json_decref(doc);
    assert_true(strstr(buf_cstr(&m.usage_event), "obfuscation") <
                strstr(buf_cstr(&m.usage_event), "\"usage\""));
    done(&m);
}

static void events_are_padded_to_64(void **state)
{
    (void)state;
    every_event_is_padded(PADDING_64);
}

static void events_are_padded_to_powers_of_two(void **state)
{
    (void)state;
    every_event_is_padded(PADDING_POW2);
}

// ---- Bodies ----

static void deltas_become_a_body(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.stream = false;
    o.service_tier = "default";
    begin(&m, o);
    feed(&m, DELTA("{\"role\":\"assistant\",\"content\":null}", "null"));
    feed(&m, DELTA("{\"reasoning_content\":\"hm\"}", "null"));
    feed(&m, DELTA("{\"content\":\"The \\u00e9\"}", "null"));
    feed(&m, DELTA("{\"content\":\"\\n\xc3\xa9\"}", "null"));
    feed(&m, DELTA("{}", "\"stop\""));
    feed(&m, USAGE);
    assert_int_equal(m.out.len, 0);
    assert_true(answer_started(m.a));
    finish(&m);
    assert_text(
        &m.usage_event,
        "{\"id\":\"chatcmpl-35E9\",\"object\":\"chat.completion\",\"created\":1795317796,"
        "\"model\":\"pub\",\"service_tier\":\"default\",\"choices\":[{\"index\":0,\"message\":{"
        "\"role\":\"assistant\",\"content\":\"The \\u00e9\\n\xc3\xa9\",\"refusal\":null,"
        "\"reasoning_content\":\"hm\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":27,\"completion_tokens\":3,\"total_tokens\":30,"
        "\"prompt_tokens_details\":{\"cached_tokens\":26},\"completion_tokens_details\":{"
        "\"reasoning_tokens\":0}}}");
    assert_int_equal(m.rest.len, 0);
    done(&m);
}

static void tool_calls_become_a_body_with_null_content(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.stream = false;
    begin(&m, o);
    feed(&m,
         DELTA(
             "{\"content\":\"\",\"tool_calls\":[{\"index\":0,\"id\":\"G8rF\",\"type\":\"function\","
             "\"function\":{\"name\":\"get_weather\",\"arguments\":\"{\\\"city\\\":\"}}]}",
             "null"));
    feed(&m,
         DELTA("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\" \\\"Paris\\\"}\"}}]}",
               "null"));
    feed(&m, DELTA("{}", "\"tool_calls\""));
    finish(&m);
    assert_has(
        &m.usage_event,
        "\"message\":{\"role\":\"assistant\",\"content\":null,\"refusal\":null,\"tool_calls\":[{"
        "\"id\":\"call_G8rF\",\"type\":\"function\",\"function\":{\"name\":\"get_weather\","
        "\"arguments\":\"{\\\"city\\\": \\\"Paris\\\"}\"}}]},\"logprobs\":null,"
        "\"finish_reason\":\"tool_calls\"}");
    assert_int_equal(m.usage.out, 2);
    done(&m);
}

static void an_empty_answer_has_an_empty_text(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.stream = false;
    begin(&m, o);
    feed(&m, DELTA("{}", "\"stop\""));
    finish(&m);
    assert_has(&m.usage_event, "\"content\":\"\",\"refusal\":null}");
    done(&m);
}

static void logprobs_refusals_and_legacy_calls_are_collected(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.stream = false;
    begin(&m, o);
    for (int i = 0; i < 2; i++)
        feed(&m,
             "{\"choices\":[{\"index\":0,\"delta\":{\"refusal\":\"no\",\"function_call\":{\"name\":"
             "\"f\","
             "\"arguments\":\"x\"}},\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-1}],"
             "\"refusal\":null}}]}");
    feed(&m, DELTA("{}", "\"function_call\""));
    finish(&m);
    assert_has(&m.usage_event, "\"refusal\":\"nono\"");
    assert_has(&m.usage_event, "\"content\":null");
    assert_has(&m.usage_event,
               "\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-1,\"bytes\":null,"
               "\"top_logprobs\":[]},{\"token\":\"a\"");
    assert_has(&m.usage_event, "\"arguments\":\"xx\"}");
    done(&m);
}

#define CALL_PIECE(index, id, name, arguments)                                                     \
    DELTA("{\"tool_calls\":[{\"index\":" index ",\"id\":\"" id "\",\"function\":{\"name\":\"" name \
          "\",\"arguments\":\"" arguments "\"}}]}",                                                \
          "null")

static void a_caller_who_asked_in_the_older_form_is_told_a_call_in_it(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.as_function = true;
    begin(&m, o);
    feed(&m, CALL_PIECE("0", "x", "f", ""));
    assert_has(&m.out, "\"delta\":{\"function_call\":{\"name\":\"f\"}}");
    buf_clear(&m.out);
    feed(&m, CALL_PIECE("0", "", "", "{\\\"a"));
    assert_has(&m.out, "\"delta\":{\"function_call\":{\"arguments\":\"{\\\"a\"}}");
    feed(&m, CALL_PIECE("1", "y", "g", "{}"));
    feed(&m, DELTA("{}", "\"tool_calls\""));
    finish(&m);
    assert_has(&m.out, "\"finish_reason\":\"function_call\"");
    assert_lacks(&m.out, "tool_calls");
    assert_lacks(&m.out, "\"g\"");
    done(&m);

    o.stream = false;
    begin(&m, o);
    feed(&m, CALL_PIECE("0", "x", "f", "{\\\"a"));
    feed(&m, CALL_PIECE("0", "", "", "\\\":1}"));
    feed(&m, DELTA("{}", "\"tool_calls\""));
    finish(&m);
    assert_has(&m.usage_event, "\"content\":null");
    assert_has(&m.usage_event,
               "\"function_call\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}");
    assert_has(&m.usage_event, "\"finish_reason\":\"function_call\"");
    assert_lacks(&m.usage_event, "tool_calls");
    done(&m);
}

static void a_whole_message_is_taken_too(void **state)
{
    struct made m;

    (void)state;
    begin(&m, chat_stream());
    feed(
        &m,
        "{\"choices\":[{\"finish_reason\":\"stop\",\"index\":0,\"message\":{\"role\":\"assistant\","
        "\"content\":\"Paris.\"}}],\"created\":1795317796,\"id\":\"chatcmpl-35E9\"}");
    finish(&m);
    assert_text(&m.out, ROLE "}\n\n" CHUNK("{\"content\":\"Paris.\"}", "\"stop\"") "}\n\n");
    done(&m);
}

// ---- Completions ----

#define CALL_TEXT      "{ \"name\":\"f\\u00e9\",\n\"arguments\" : {\"a\":\"}\\\"]\",\"b\":[{}]} } "
#define CALL_ARGUMENTS "{\\\"a\\\":\\\"}\\\\\\\"]\\\",\\\"b\\\":[{}]}"

/* The text in pieces of so many bytes, then the finish. */
static void feed_call_text(struct made *m, const char *text, size_t piece, const char *finish)
{
    for (size_t at = 0; at < strlen(text); at += piece) {
        AUTO(buf_fini) struct buf event = {0};
        buf_append_str(&event, "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"");
        buf_json_escape(&event, span_cut(span_str(text), at, piece));
        buf_append_str(&event, "\"}}]}");
        feed(m, buf_cstr(&event));
    }
    feed(m, finish);
}

static void a_call_that_comes_as_text_is_told_as_a_call(void **state)
{
    struct answer_options o = chat_stream();

    (void)state;
    o.calls_in_text = true;
    for (size_t piece = 1; piece <= strlen(CALL_TEXT); piece++) {
        struct made m;
        o.stream = false;
        begin(&m, o);
        feed_call_text(&m, CALL_TEXT, piece, DELTA("{}", "\"stop\""));
        finish(&m);
        assert_has(&m.usage_event, "\"content\":null,");
        assert_has(&m.usage_event, "\"type\":\"function\",\"function\":{\"name\":\"f\\u00e9\","
                                   "\"arguments\":\"" CALL_ARGUMENTS "\"}}]}");
        assert_has(&m.usage_event, "\"finish_reason\":\"tool_calls\"");
        assert_int_equal(m.usage.out, (strlen(CALL_TEXT) + piece - 1) / piece);
        done(&m);
    }
}

static void such_a_call_is_streamed_as_it_comes(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.calls_in_text = true;
    begin(&m, o);
    feed(&m, DELTA("{\"content\":\"{\\\"name\\\": \\\"f\"}", "null"));
    assert_lacks(&m.out, "name");
    feed(&m, DELTA("{\"content\":\"\\\", \\\"arguments\\\": {\\n\"}", "null"));
    assert_has(&m.out, "\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_");
    assert_has(&m.out, "\"function\":{\"name\":\"f\",\"arguments\":\"{\\n\"}}]}");
    buf_clear(&m.out);
    feed(&m, DELTA("{\"content\":\"\\\"a\\\":1\"}", "null"));
    assert_has(&m.out,
               "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\"a\\\":1\"}}]}");
    buf_clear(&m.out);
    feed(&m, DELTA("{\"content\":\"}}\"}", "null"));
    assert_has(&m.out, "{\"arguments\":\"}\"}");
    feed(&m, DELTA("{}", "\"stop\""));
    assert_has(&m.out, "\"delta\":{},\"logprobs\":null,\"finish_reason\":\"tool_calls\"");
    finish(&m);
    assert_int_equal(m.usage.out, 4);
    done(&m);
}

/* By the limit, or by one of the request's `stop` inside the arguments. */
static void a_call_cut_short_says_so(void **state)
{
    static const char *const finishes[][2] = {
        {DELTA("{}", "\"length\""), "\"finish_reason\":\"length\""},
        {DELTA("{}", "\"stop\""), "\"finish_reason\":\"stop\""}};
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.calls_in_text = true;
    o.stream = false;
    for (size_t i = 0; i < 2; i++) {
        begin(&m, o);
        feed_call_text(&m, "{\"name\":\"f\",\"arguments\":{\"a", 3, finishes[i][0]);
        finish(&m);
        assert_has(&m.usage_event, "{\"name\":\"f\",\"arguments\":\"{\\\"a\"}");
        assert_has(&m.usage_event, finishes[i][1]);
        done(&m);
    }
}

static void text_behind_a_call_counts_though_it_is_not_told(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.calls_in_text = true;
    begin(&m, o);
    feed_call_text(&m, "{\"name\":\"f\",\"arguments\":{}", 100,
                   DELTA("{\"content\":\"}\"}", "null"));
    buf_clear(&m.out);
    for (int i = 0; i < 10; i++)
        feed(&m, DELTA("{\"content\":\" more\"}", "null"));
    feed(&m, DELTA("{\"content\":\"\"}", "null"));
    assert_text(&m.out, "");
    feed(&m, DELTA("{}", "\"stop\""));
    assert_has(&m.out, "\"finish_reason\":\"tool_calls\"");
    finish(&m);
    assert_int_equal(m.usage.out, 12);
    done(&m);
}

static void a_text_that_is_no_call_stays_one(void **state)
{
    static char endless[9000];
    const char *const texts[] = {"Hello \"you\"",
                                 "{\"name\":\"f",
                                 "{\"name\":\"a\\q\",\"arguments\":{}}",
                                 "{\"name\":\"\",\"arguments\":{}}",
                                 "{\"name\":\"f\",\"arguments\":[]}",
                                 "{\"arguments\":{},\"name\":\"f\"}",
                                 endless};
    struct answer_options o = chat_stream();

    (void)state;
    memset(endless, ' ', sizeof(endless) - 1);
    o.calls_in_text = true;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        AUTO(buf_fini) struct buf expected = {0};
        struct made m;
        o.stream = i == 6;
        begin(&m, o);
        feed_call_text(&m, texts[i], o.stream ? 4500 : 4, DELTA("{}", "\"stop\""));
        finish(&m);
        buf_append_str(&expected, "\"content\":\"");
        buf_json_escape(&expected, span_cut(span_str(texts[i]), 0, 4500));
        buf_byte(&expected, '"');
        assert_has(o.stream ? &m.out : &m.usage_event, buf_cstr(&expected));
        assert_has(o.stream ? &m.out : &m.usage_event, "\"finish_reason\":\"stop\"");
        assert_lacks(o.stream ? &m.out : &m.usage_event, "tool_calls");
        done(&m);
    }
}

#define TEXT(text, finish)                                                                         \
    "{\"choices\":[{\"text\":\"" text "\",\"index\":0,\"logprobs\":null,\"finish_reason\":" finish \
    "}],\"created\":7,\"id\":\"chatcmpl-x\",\"object\":\"text_completion\"}"

static void completions_are_streamed_as_text(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.endpoint = EP_COMPLETIONS;
    o.include_usage = true;
    begin(&m, o);
    feed(&m, TEXT("a\\n", "null"));
    feed(
        &m,
        "{\"choices\":[{\"text\":\"\",\"index\":0,\"logprobs\":null,\"finish_reason\":\"length\"}],"
        "\"usage\":{\"completion_tokens\":1,\"prompt_tokens\":2,\"total_tokens\":3},\"timings\":{}"
        "}");
    finish(&m);
    assert_has(&m.out, "data: {\"id\":\"cmpl-");
    assert_has(&m.out,
               "\"object\":\"text_completion\",\"created\":7,\"model\":\"pub\",\"choices\":[{"
               "\"text\":\"a\\n\",\"index\":0,\"logprobs\":null,\"finish_reason\":null}],"
               "\"usage\":null}\n\n");
    assert_has(&m.out,
               "{\"text\":\"\",\"index\":0,\"logprobs\":null,\"finish_reason\":\"length\"}]");
    assert_lacks(&m.out, "prompt_tokens");
    assert_has(&m.usage_event, "\"choices\":[],\"usage\":{\"prompt_tokens\":2,");
    done(&m);
}

static void a_prompt_is_given_before_its_texts_when_it_is_to_be_echoed(void **state)
{
    static const char *const prompts[] = {"[\"one \\n\",\"two \"]", "[[1],[2]]", "[1,2]",
                                          "\"one\""};
    static const char *const texts[] = {"one \\nab", "ab", "ab", "oneab"};
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.endpoint = EP_COMPLETIONS;
    o.choices = 4;
    for (size_t i = 0; i < 4; i++) {
        char first[64];
        o.stream = i % 2;
        o.prompts = i < 2 ? 2 : 1;
        o.echo = span_str(prompts[i]);
        begin(&m, o);
        for (int64_t k = 0; k < 4; k++) {
            assert_int_equal(feed_at(&m, "{\"choices\":[{\"text\":\"a\",\"index\":0}]}", k), 0);
            assert_int_equal(feed_at(&m,
                                     "{\"choices\":[{\"text\":\"b\",\"index\":0,\"finish_reason\":"
                                     "\"stop\"}]}",
                                     k),
                             0);
        }
        finish(&m);
        snprintf(first, sizeof(first), "{\"text\":\"%s\",\"index\":1,", texts[i]);
        if (o.stream)
            first[strlen(first) - strlen("b\",\"index\":1,")] = 0;
        assert_has(o.stream ? &m.out : &m.usage_event, first);
        assert_has(o.stream ? &m.out : &m.usage_event,
                   i == 0 ? "\"text\":\"two ab\",\"index\":2" : "\"index\":2");
        done(&m);
    }
}

static void of_no_token_there_is_the_prompt_alone(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.endpoint = EP_COMPLETIONS;
    o.stream = false;
    o.mute = true;
    o.echo = SPAN("\"one\"");
    begin(&m, o);
    feed(&m, "{\"choices\":[{\"text\":\"a\",\"index\":0,\"finish_reason\":\"stop\"}],"
             "\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":1,\"total_tokens\":3}}");
    finish(&m);
    assert_has(&m.usage_event, "\"text\":\"one\",\"index\":0,\"logprobs\":null,\"finish_reason\":"
                               "\"length\"");
    assert_has(&m.usage_event, "\"completion_tokens\":0,\"total_tokens\":2,");
    assert_int_equal(m.usage.in, 2);
    assert_int_equal(m.usage.out, 0);
    done(&m);
}

static void chat_logprobs_become_legacy_ones(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.endpoint = EP_COMPLETIONS;
    o.stream = false;
    begin(&m, o);
    feed(
        &m,
        "{\"choices\":[{\"text\":\"\\u00e9\xc3\xa9\\n\",\"logprobs\":{\"content\":[{\"id\":1,"
        "\"token\":"
        "\"\\u00e9\xc3\xa9\\n\",\"bytes\":[1],\"logprob\":-0.50,\"top_logprobs\":[{\"token\":\"a\","
        "\"logprob\":-0.5},{\"token\":\"a\",\"logprob\":-9},{\"token\":\"b\",\"logprob\":-1e-3}]}]}"
        ","
        "\"finish_reason\":null}]}");
    feed(&m, "{\"choices\":[{\"text\":\"z\",\"logprobs\":{\"content\":[{\"token\":\"z\","
             "\"logprob\":null}]},"
             "\"finish_reason\":\"stop\"}]}");
    finish(&m);
    assert_has(&m.usage_event,
               "\"logprobs\":{\"tokens\":[\"\\u00e9\xc3\xa9\\n\",\"z\"],\"token_logprobs\":[-0.50,"
               "-9999.0],\"top_logprobs\":[{\"a\":-0.5,\"b\":-1e-3},{}],\"text_offset\":[0,3]}");
    assert_has(&m.usage_event, "\"text\":\"\\u00e9\xc3\xa9\\nz\"");
    done(&m);
}

static void legacy_logprobs_stay_legacy(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();

    (void)state;
    o.endpoint = EP_COMPLETIONS;
    begin(&m, o);
    feed(&m, "{\"choices\":[{\"text\":\"ab\",\"logprobs\":{\"text_offset\":[0,1],\"token_"
             "logprobs\":[null,-1.0],"
             "\"tokens\":[\"a\",\"b\"],\"top_logprobs\":[null,{\"b\":-1.0}]},\"finish_reason\":"
             "\"stop\"}]}");
    assert_has(&m.out, "\"logprobs\":{\"tokens\":[\"a\",\"b\"],\"token_logprobs\":[null,-1.0],"
                       "\"top_logprobs\":[null,{\"b\":-1.0}],\"text_offset\":[0,1]}");
    done(&m);
}

// ---- Embeddings ----

static struct answer_options embeddings(bool base64, int64_t choices)
{
    return (struct answer_options){.endpoint = EP_EMBEDDINGS,
                                   .public_model = SPAN("pub"),
                                   .base64 = base64,
                                   .choices = choices};
}

#define EMBEDDED                                                                                   \
    "{\"model\":\"x\",\"object\":\"list\",\"usage\":{\"prompt_tokens\":1,\"total_tokens\":1},"     \
    "\"data\":[{"                                                                                  \
    "\"embedding\":[1.0,-2.50],\"index\":0,\"object\":\"embedding\"},{\"embedding\":[0,3e-5],"     \
    "\"index\":1}]}"

static void vectors_are_copied_as_written(void **state)
{
    struct made m;

    (void)state;
    begin(&m, embeddings(false, 2));
    feed(&m, EMBEDDED);
    finish(&m);
    assert_text(&m.usage_event,
                "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,"
                "\"embedding\":[1.0,-2.50]},"
                "{\"object\":\"embedding\",\"index\":1,\"embedding\":[0,3e-5]}],\"model\":\"pub\","
                "\"usage\":{\"prompt_tokens\":1,\"total_tokens\":1}}");
    assert_int_equal(m.usage.in, 1);
    assert_int_equal(m.usage.out, 0);
    done(&m);
}

static void vectors_are_given_in_the_form_asked_for(void **state)
{
    struct made m;

    (void)state;
    begin(&m, embeddings(true, 2));
    feed(&m, EMBEDDED);
    finish(&m);
    assert_has(&m.usage_event, "\"embedding\":\"AACAPwAAIMA=\"}"); // 1.0f, -2.5f
    done(&m);
    begin(&m, embeddings(false, 1));
    feed(&m, "{\"data\":[{\"embedding\":\"AACAPwAAIMA=\",\"index\":0}]}");
    finish(&m);
    assert_has(&m.usage_event, "\"embedding\":[1,-2.5]}");
    done(&m);
    begin(&m, embeddings(true, 1));
    feed(&m, "{\"data\":[{\"embedding\":\"AACAPwAAIMA=\",\"index\":0}]}");
    finish(&m);
    assert_has(&m.usage_event, "\"embedding\":\"AACAPwAAIMA=\"}");
    done(&m);
}

static void vectors_of_other_dimensions_than_asked_for_are_the_requests_fault(void **state)
{
    static const char *const short_ones[] = {
        "{\"data\":[{\"embedding\":[1,2,3],\"index\":0}]}",
        "{\"data\":[{\"embedding\":\"AACAPwAAIMAAAIA/\",\"index\":0}]}",
    };
    struct made m;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct answer_options o = embeddings(i > 1, 1);
        o.dimensions = 3;
        begin(&m, o);
        feed(&m, short_ones[i % 2]);
        finish(&m);
        done(&m);
        o.dimensions = 2;
        begin(&m, o);
        assert_int_equal(feed_at(&m, short_ones[i % 2], 0), E_UNAVAILABLE);
        assert_ptr_equal(m.fault.error, &ERR_UNSUPPORTED_VALUE);
        assert_string_equal(m.fault.param, "dimensions");
        assert_false(answer_complete(m.a));
        done(&m);
    }
}

static void vectors_that_are_none_are_refused(void **state)
{
    static const char *const bad[] = {
        "{\"data\":[]}",
        "{\"data\":[{\"embedding\":[1],\"index\":1}]}",
        "{\"data\":[{\"embedding\":[[1]],\"index\":0}]}",
        "{\"data\":[{\"embedding\":[\"x\"],\"index\":0}]}",
        "{\"data\":[{\"embedding\":\"AAA=\",\"index\":0}]}",
        "{\"data\":[{\"embedding\":\"AADAfw==\",\"index\":0}]}", // NaN
        "{\"data\":[{\"embedding\":null,\"index\":0}]}",
        "{\"data\":[{\"embedding\":[1],\"index\":0},{\"embedding\":[1],\"index\":1}]}",
        "{\"choices\":[]}",
    };
    struct made m;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        begin(&m, embeddings(false, 1));
        assert_int_equal(feed_at(&m, bad[i], 0), E_PROTOCOL);
        assert_false(answer_complete(m.a));
        done(&m);
    }
}

// ---- What engines must not send ----

static void broken_events_are_protocol_errors(void **state)
{
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "{",
        "{\"choices\":1}",
        "{\"choices\":[1]}",
        "{\"choices\":[{\"index\":1,\"delta\":{}}]}",
        "{\"choices\":[{\"index\":-1,\"delta\":{}}]}",
        "{\"choices\":[{\"index\":\"0\",\"delta\":{}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":1}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":NaN}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\n\"}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\x\"}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":-1}]}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":1}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{}}]} x",
    };
    struct made m;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        begin(&m, chat_stream());
        if (feed_at(&m, bad[i], 0) != E_PROTOCOL)
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(m.out.len, 0);
        done(&m);
    }
}

static void text_is_always_well_formed(void **state)
{
    struct made m;

    (void)state;
    begin(&m, chat_stream());
    feed(&m, DELTA("{\"content\":\"a\xff\xc3(\xed\xa0\x80\\ud83d\\ude00\\ud83dz\\udc00\"}",
                   "\"stop\""));
    assert_true(span_utf8(buf_span(&m.out)));
    assert_has(&m.out,
               "\"a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\\ud83d\\ude00"
               "\\ufffdz\\ufffd\"");
    done(&m);
}

static void a_finish_is_told_once(void **state)
{
    struct made m;

    (void)state;
    begin(&m, chat_stream());
    feed(&m, DELTA("{\"content\":\"x\"}", "\"stop\""));
    const size_t len = m.out.len;
    feed(&m, DELTA("{}", "\"stop\""));
    assert_int_equal(m.out.len, len);
    assert_int_equal(feed_at(&m, DELTA("{\"content\":\"y\"}", "null"), 0), E_PROTOCOL);
    done(&m);
}

/* LocalAI says so in every event but the last. */
static void an_empty_reason_finishes_nothing(void **state)
{
    struct made m;

    (void)state;
    begin(&m, chat_stream());
    feed(&m, "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":\"\"}]}");
    assert_false(answer_complete(m.a));
    feed(&m, "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"},\"finish_reason\":\"\"}]}");
    feed(&m, "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}");
    assert_has(&m.out, "{\"content\":\"b\"},\"logprobs\":null,\"finish_reason\":null}");
    assert_has(&m.out, "\"finish_reason\":\"length\"}");
    finish(&m);
    done(&m);
}

static void a_stream_without_a_finish_is_broken(void **state)
{
    struct made m;

    (void)state;
    begin(&m, chat_stream());
    feed(&m, DELTA("{\"content\":\"x\"}", "null"));
    feed(&m, "[DONE]");
    assert_int_equal(answer_finish(m.a, &m.usage_event, &m.rest, &m.usage), E_PROTOCOL);
    assert_int_equal(m.rest.len, 0);
    assert_int_equal(m.usage.out, 1);
    done(&m);
}

static void an_error_event_is_a_fault(void **state)
{
    struct made m;

    (void)state;
    begin(&m, chat_stream());
    assert_int_equal(
        feed_at(&m,
                "{\"error\":{\"code\":400,\"message\":\"request (20031 tokens) exceeds the "
                "available context size (2048 tokens), try increasing it\",\"type\":"
                "\"exceed_context_size_error\",\"n_prompt_tokens\":20031,\"n_ctx\":2048}}",
                0),
        E_UNAVAILABLE);
    assert_ptr_equal(m.fault.error, &ERR_CONTEXT_LENGTH);
    assert_int_equal(feed_at(&m, "{\"object\":\"error\",\"message\":\"boom\",\"code\":\"500\"}", 0),
                     E_UNAVAILABLE);
    assert_ptr_equal(m.fault.error, &ERR_WORKER_ERROR);
    assert_int_equal(feed_at(&m, DELTA("{}", "\"abort\""), 0), E_UNAVAILABLE);
    assert_ptr_equal(m.fault.error, &ERR_WORKER_ERROR);
    assert_false(answer_started(m.a));
    done(&m);
}

static void what_is_collected_has_a_bound(void **state)
{
    struct made m;
    struct answer_options o = chat_stream();
    AUTO(buf_fini) struct buf event = {0};
    int error = 0, rounds = 0;

    (void)state;
    buf_append_str(&event, "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"");
    for (int i = 0; i < (4 << 20) / 16; i++)
        buf_append_str(&event, "0123456789abcdef");
    buf_append_str(&event, "\"}}]}");
    o.stream = false;
    begin(&m, o);
    for (; error == 0 && rounds < 100; rounds++)
        error = answer_feed(m.a, buf_span(&event), 0, &m.out, &m.fault);
    assert_int_equal(error, E_TOO_LARGE);
    assert_in_range(rounds, 10, 17);
    done(&m);
}

/* Not an assertion on speed, which a busy machine would break; it prints what an event costs. */
static void an_event_is_cheap(void **state)
{
    enum { ROUNDS = 200000 };
    struct made m;
    struct answer_options o = chat_stream();
    const char *event = DELTA("{\"content\":\" token\"}", "null");

    (void)state;
    o.padding = PADDING_64;
    o.include_usage = true;
    begin(&m, o);
    const uint64_t t0 = clock_mono_us();
    for (int i = 0; i < ROUNDS; i++) {
        buf_clear(&m.out);
        feed(&m, event);
    }
    print_message("%.2f us an event of %zu bytes\n", (double)(clock_mono_us() - t0) / ROUNDS,
                  strlen(event));
    done(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_llamacpp_stream_becomes_the_published_one),
        cmocka_unit_test(usage_is_told_only_when_asked_for),
        cmocka_unit_test(vllm_extras_are_dropped_but_reasoning),
        cmocka_unit_test(an_id_of_another_form_is_replaced_and_stays),
        cmocka_unit_test(tool_calls_keep_their_index_and_id),
        cmocka_unit_test(sloppy_tool_calls_are_put_in_order),
        cmocka_unit_test(a_call_without_an_id_gets_one),
        cmocka_unit_test(logprobs_are_copied_as_written_without_extras),
        cmocka_unit_test(no_more_is_told_beside_a_token_than_was_asked_for),
        cmocka_unit_test(choices_of_several_requests_are_told_apart),
        cmocka_unit_test(prompts_of_their_own_all_count),
        cmocka_unit_test(llamacpp_choices_are_counted_by_us),
        cmocka_unit_test(what_was_not_reported_is_counted_an_event_a_token),
        cmocka_unit_test(usage_is_never_contradictory),
        cmocka_unit_test(usage_in_decimals_counts_when_it_is_whole),
        cmocka_unit_test(events_are_padded_to_64),
        cmocka_unit_test(events_are_padded_to_powers_of_two),
        cmocka_unit_test(deltas_become_a_body),
        cmocka_unit_test(tool_calls_become_a_body_with_null_content),
        cmocka_unit_test(an_empty_answer_has_an_empty_text),
        cmocka_unit_test(logprobs_refusals_and_legacy_calls_are_collected),
        cmocka_unit_test(a_caller_who_asked_in_the_older_form_is_told_a_call_in_it),
        cmocka_unit_test(a_whole_message_is_taken_too),
        cmocka_unit_test(a_call_that_comes_as_text_is_told_as_a_call),
        cmocka_unit_test(such_a_call_is_streamed_as_it_comes),
        cmocka_unit_test(a_call_cut_short_says_so),
        cmocka_unit_test(text_behind_a_call_counts_though_it_is_not_told),
        cmocka_unit_test(a_text_that_is_no_call_stays_one),
        cmocka_unit_test(completions_are_streamed_as_text),
        cmocka_unit_test(a_prompt_is_given_before_its_texts_when_it_is_to_be_echoed),
        cmocka_unit_test(of_no_token_there_is_the_prompt_alone),
        cmocka_unit_test(chat_logprobs_become_legacy_ones),
        cmocka_unit_test(legacy_logprobs_stay_legacy),
        cmocka_unit_test(vectors_are_copied_as_written),
        cmocka_unit_test(vectors_are_given_in_the_form_asked_for),
        cmocka_unit_test(vectors_of_other_dimensions_than_asked_for_are_the_requests_fault),
        cmocka_unit_test(vectors_that_are_none_are_refused),
        cmocka_unit_test(broken_events_are_protocol_errors),
        cmocka_unit_test(text_is_always_well_formed),
        cmocka_unit_test(a_finish_is_told_once),
        cmocka_unit_test(an_empty_reason_finishes_nothing),
        cmocka_unit_test(a_stream_without_a_finish_is_broken),
        cmocka_unit_test(an_error_event_is_a_fault),
        cmocka_unit_test(what_is_collected_has_a_bound),
        cmocka_unit_test(an_event_is_cheap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
