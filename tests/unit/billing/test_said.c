/* What an answer has said is counted from the bytes that clients get, however they are cut. */
#include "tests/unit/lib/vectors.h"

#include "billing/said.h"

static struct said read_in(const char *answer, size_t step)
{
    struct said s = {0};
    struct span rest = span_str(answer);

    for (; rest.len > 0; rest = span_from(rest, step))
        said_feed(&s, span_cut(rest, 0, step));
    return s;
}

#define EVENT(delta)                                                                               \
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,"             \
    "\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":" delta                                   \
    ",\"logprobs\":null,\"finish_reason\":null}]}\n\n"

/* However it is cut: the same. */
static struct said read_any(const char *answer)
{
    const struct said whole = read_in(answer, strlen(answer) + 1);

    for (size_t step = 1; step < 40; step++) {
        struct said cut = read_in(answer, step);
        assert_int_equal(cut.pieces, whole.pieces);
        assert_int_equal(cut.bytes, whole.bytes);
        assert_int_equal(cut.reasoning, whole.reasoning);
        assert_int_equal(cut.tools, whole.tools);
        assert_int_equal(said_kind(&cut), said_kind(&whole));
    }
    return whole;
}

static void a_stream_has_a_piece_in_each_event_with_text(void **state)
{
    (void)state;
    const struct said s = read_any(
        EVENT("{\"role\":\"assistant\",\"content\":\"\"}") ": ping\n\n" EVENT(
            "{\"content\":\"Hello\"}") EVENT("{\"content\":\" there\"}")
            EVENT("{}") "data: "
                        "{\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}"
                        "\n\ndata: [DONE]\n\n");

    assert_int_equal(s.pieces, 2);
    assert_int_equal(s.bytes, 11);
    assert_int_equal(s.reasoning, 0);
    assert_int_equal(s.tools, 0);
}

static void escapes_are_what_they_stand_for(void **state)
{
    (void)state;
    const struct said s = read_any("{\"content\": \"a\\n\\\"\\\\\\u0041\\u043f\\u4f60\\ud83d"
                                   "\\ude00\", \"usage\": {}}");

    assert_int_equal(s.bytes, 1 + 1 + 1 + 1 + 1 + 2 + 3 + 4);
    assert_int_equal(s.two, 2);
    assert_int_equal(s.wide, 3 + 4);
    assert_int_equal(s.pieces, 1);
}

static void reasoning_and_calls_of_tools_are_text_and_told_apart(void **state)
{
    (void)state;
    const struct said s =
        read_any(EVENT("{\"reasoning_content\":\"Hm\"}") EVENT(
            "{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\"function\":{"
            "\"name\":\"look\",\"arguments\":\"\"}}]}")
                     EVENT("{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":"
                           "\"{\\\"a\\\":1}\"}}]}"));

    assert_int_equal(s.reasoning, 2);
    assert_int_equal(s.tools, 1);
    assert_int_equal(s.bytes, 2 + 4 + 7);
    assert_int_equal(s.pieces, 3);
}

static void what_a_tool_of_free_text_is_told_is_text(void **state)
{
    (void)state;
    const struct said s = read_any(
        EVENT("{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"custom\",\"custom\":{"
              "\"name\":\"run\",\"input\":\"ls -l\"}}]}"));

    assert_int_equal(s.tools, 1);
    assert_int_equal(s.bytes, 3 + 5);
    assert_int_equal(s.pieces, 2);
}

static void what_is_not_said_does_not_count(void **state)
{
    (void)state;
    /* Padding, log probabilities, a text that speaks of texts, and members named like values. */
    const struct said s =
        read_any("{\"obfuscation\":\"xxxxxxxx\",\"choices\":[{\"logprobs\":{\"content\":[{"
                 "\"token\":\"Hi\",\"bytes\":[72,105]}]},\"message\":{\"role\":\"assistant\","
                 "\"content\":\"\\\"content\\\":\\\"x\\\"\"},\"finish_reason\":\"content\"}]}");

    assert_int_equal(s.bytes, 13);
    assert_int_equal(s.pieces, 1);
}

static enum said_kind kind_of(const char *text)
{
    char answer[600];

    snprintf(answer, sizeof(answer), "{\"text\":\"%s\"}", text);
    const struct said s = read_any(answer);
    return said_kind(&s);
}

static void kinds_of_text_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(kind_of("The capital of France is Paris, which lies on the river Seine."),
                     SAID_PLAIN);
    assert_int_equal(kind_of("Der größte See Österreichs wäre schöner, hätte er mehr Fische."),
                     SAID_ACCENTED);
    assert_int_equal(kind_of("for (i = 0; i < n; i++) { sum += a[i] * b[i]; }"), SAID_SYMBOLS);
    assert_int_equal(kind_of("1024 2048 4096 8192 16384 32768 65536"), SAID_DIGITS);
    assert_int_equal(kind_of("Столица Франции — Париж, он стоит на Сене."), SAID_TWO);
    assert_int_equal(kind_of("法国的首都是巴黎，位于塞纳河畔。"), SAID_WIDE);
    assert_int_equal(kind_of(""), SAID_PLAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_has_a_piece_in_each_event_with_text),
        cmocka_unit_test(escapes_are_what_they_stand_for),
        cmocka_unit_test(reasoning_and_calls_of_tools_are_text_and_told_apart),
        cmocka_unit_test(what_a_tool_of_free_text_is_told_is_text),
        cmocka_unit_test(what_is_not_said_does_not_count),
        cmocka_unit_test(kinds_of_text_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
