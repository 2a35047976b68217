/* What engines say about themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "backends/engine/facts.h"

static void a_vllm_is_known_by_its_model_list(void **state)
{
    struct facts f = {0};

    (void)state;
    assert_int_equal(
        facts_read_models(
            &f, SPAN("{\"object\":\"list\",\"data\":[{\"id\":\"org/m\",\"owned_by\":\"vllm\","
                     "\"max_model_len\":32768},{\"id\":\"lora\",\"owned_by\":\"vllm\"}]}")),
        0);
    assert_int_equal(f.kind, ENGINE_VLLM);
    assert_int_equal(f.model_count, 2);
    assert_int_equal(facts_context(&f, SPAN("org/m")), 32768);
    assert_int_equal(facts_context(&f, SPAN("lora")), 0);
    assert_int_equal(facts_read_version(&f, SPAN("{\"version\":\"0.10.1\"}")), 0);
    assert_string_equal(f.version, "0.10.1");
}

static void a_llamacpp_tells_the_context_of_a_slot(void **state)
{
    struct facts f = {0};

    (void)state;
    assert_int_equal(facts_read_models(&f, SPAN("{\"models\":[{\"name\":\"m\"}],\"data\":[{\"id\":"
                                                "\"m\",\"owned_by\":\"llamacpp\"}]}")),
                     0);
    assert_int_equal(f.kind, ENGINE_LLAMACPP);
    assert_int_equal(
        facts_read_props(
            &f, SPAN("{\"default_generation_settings\":{\"n_ctx\":2048},\"build_info\":\"b1-x\"}")),
        0);
    assert_int_equal(facts_context(&f, SPAN("m")), 2048);
    assert_string_equal(f.version, "b1-x");
}

static void anything_else_is_generic_and_garbage_is_refused(void **state)
{
    static const char *const bad[] = {"", "[]", "{}", "{\"data\":1}", "{\"data\":[", "<html>"};
    struct facts f = {0};

    (void)state;
    assert_int_equal(facts_read_models(&f, SPAN("{\"data\":[{\"id\":\"m\",\"owned_by\":\"library\"}"
                                                ",{\"id\":7},1,{\"id\":\"a b\"}]}")),
                     0);
    assert_int_equal(f.kind, ENGINE_GENERIC);
    assert_int_equal(f.model_count, 1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_true(facts_read_models(&f, span_str(bad[i])) < 0);
    assert_int_equal(f.model_count, 1);
}

static void load_is_read_by_each_engines_names(void **state)
{
    static const struct {
        const char *text;
        int64_t running, waiting;
        double kv;
    } cases[] = {
        {"# HELP x y\n# TYPE x gauge\nllamacpp:requests_processing 3\nllamacpp:requests_deferred "
         "1\n",
         3, 1, 0},
        {"vllm:num_requests_running{engine=\"0\",model_name=\"a } b\"} 2.0\n"
         "vllm:num_requests_running{engine=\"1\",model_name=\"m\"} 1.0\n"
         "vllm:num_requests_waiting{engine=\"0\"} 5.0 1795500000000\n"
         "vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\nvllm:kv_cache_usage_perc{engine=\"1\"} "
         "0.5\n",
         3, 5, 0.5},
        {"sglang:num_running_reqs{m=\"x\"} 4\nsglang:num_queue_reqs 2\nsglang:token_usage "
         "0.75\n",
         4, 2, 0.75},
        {"vllm:kv_cache_usage_perc 7\nvllm:num_requests_running -1\nvllm:num_requests_running nan\n"
         "vllm:num_requests_running\nvllm:num_requests_running{ 5\nvllm:num_requests_runningx 5\n",
         0, 0, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct engine_load load;
        facts_read_metrics(&load, span_str(cases[i].text));
        assert_true(load.known);
        assert_int_equal(load.running, cases[i].running);
        assert_int_equal(load.waiting, cases[i].waiting);
        assert_true(load.kv == cases[i].kv);
    }
}

static void a_count_of_tokens_is_read_by_each_engines_form(void **state)
{
    static const struct {
        enum engine_kind kind;
        const char *text;
        int64_t tokens; /* -1: refused */
    } cases[] = {
        {ENGINE_LLAMACPP, "{\"tokens\":[1,22,333]}", 3},
        {ENGINE_LLAMACPP, " { \"tokens\" : [ 1 , 2 ] }", 2},
        {ENGINE_LLAMACPP, "{\"tokens\":[]}", 0},
        {ENGINE_LLAMACPP, "{\"tokens\":[1,2", -1},
        {ENGINE_LLAMACPP, "{\"tokens\":[1,,2]}", -1},
        {ENGINE_LLAMACPP, "{\"tokens\":[1,]}", -1},
        {ENGINE_LLAMACPP, "{\"tokens\":[{\"id\":1}]}", -1},
        {ENGINE_LLAMACPP, "{\"error\":{\"code\":404}}", -1},
        {ENGINE_LLAMACPP, "", -1},
        {ENGINE_VLLM, "{\"count\":5,\"max_model_len\":4096,\"tokens\":[1,2,3,4,5]}", 5},
        {ENGINE_VLLM, "{\"tokens\":[7], \"count\" : 1}", 1},
        {ENGINE_VLLM, "{\"count\":-1}", -1},
        {ENGINE_VLLM, "{\"count\":99999999999999999999}", -1},
        {ENGINE_VLLM, "{\"count\"", -1},
        {ENGINE_VLLM, "<html>", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t tokens = 0;
        const int error = facts_read_count(cases[i].kind, span_str(cases[i].text), &tokens);
        if (cases[i].tokens < 0 ? error == 0 : error < 0 || tokens != cases[i].tokens)
            fail_msg("%s: %d", cases[i].text, (int)tokens);
    }
}

static void the_prompt_of_a_template_is_taken_as_it_is_written(void **state)
{
    static const char *const bad[] = {
        "", "{}", "{\"prompt\":7}", "{\"prompt\":\"a\"", "{\"prompt\":\"}", "{\"prompts\":\"a\"}"};
    struct span json = {0};

    (void)state;
    assert_int_equal(facts_read_prompt(SPAN("{\"prompt\": \"a\\n\\u0000\\\"b\" } "), &json), 0);
    assert_true(span_is(json, "\"a\\n\\u0000\\\"b\""));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(facts_read_prompt(span_str(bad[i]), &json), E_INVALID);
}

static void an_engine_without_figures_is_not_known(void **state)
{
    struct engine_load load;

    (void)state;
    facts_read_metrics(&load, SPAN("<html>nothing</html>"));
    assert_false(load.known);
    assert_false(load.has_running);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vllm_is_known_by_its_model_list),
        cmocka_unit_test(a_llamacpp_tells_the_context_of_a_slot),
        cmocka_unit_test(anything_else_is_generic_and_garbage_is_refused),
        cmocka_unit_test(load_is_read_by_each_engines_names),
        cmocka_unit_test(a_count_of_tokens_is_read_by_each_engines_form),
        cmocka_unit_test(the_prompt_of_a_template_is_taken_as_it_is_written),
        cmocka_unit_test(an_engine_without_figures_is_not_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
