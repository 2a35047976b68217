/* The error table, faults as bodies and events, and engines' errors as ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "openai/answer.h"

#define API_ERROR(id, ...) &ERR_##id,
static const struct api_error *const table[] = {
#include "openai/errors.def"
};
#undef API_ERROR
enum { ENTRIES = sizeof(table) / sizeof(table[0]) };

static void a_body_has_all_four_members(void **state)
{
    struct api_fault f;
    AUTO(buf_fini) struct buf out = {0};

    (void)state;
    assert_int_equal(api_fault_set(&f, &ERR_MODEL_NOT_FOUND, "model", "a\"b\x01"), E_INVALID);
    api_fault_body(&f, &out);
    assert_string_equal(
        buf_cstr(&out),
        "{\"error\":{\"message\":\"The model `a\\\"b?` does not exist or you do not have access to "
        "it.\",\"type\":\"invalid_request_error\",\"param\":\"model\",\"code\":\"model_not_found\"}"
        "}");
}

static void what_is_unset_is_null(void **state)
{
    struct api_fault f;
    AUTO(buf_fini) struct buf out = {0};

    (void)state;
    api_fault_set(&f, &ERR_INTERNAL, NULL, NULL);
    api_fault_event(&f, &out);
    assert_string_equal(
        buf_cstr(&out),
        "data: {\"error\":{\"message\":\"The server had an error while processing your "
        "request.\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n");
}

static void a_fault_that_was_never_set_is_our_own_bug(void **state)
{
    const struct api_fault f = {0};
    AUTO(buf_fini) struct buf out = {0};

    (void)state;
    api_fault_body(&f, &out);
    assert_non_null(strstr(buf_cstr(&out), "The server had an error"));
}

static void arguments_are_cut_and_cleaned(void **state)
{
    struct api_fault f;
    char longest[200];

    (void)state;
    memset(longest, 'x', sizeof(longest));
    longest[199] = '\0';
    api_fault_set(&f, &ERR_UNKNOWN_PARAMETER, longest, longest);
    assert_int_equal(strlen(f.message), strlen("Unknown parameter: ''.") + 64);
    assert_int_equal(strlen(f.param), sizeof(f.param) - 1);
    api_fault_text(&f, &ERR_INTERNAL, NULL, "%s\xc3\xa9", "ok ");
    assert_string_equal(f.message, "ok \xc3\xa9");
}

static void every_entry_is_fit_to_be_sent(void **state)
{
    (void)state;
    for (size_t i = 0; i < ENTRIES; i++) {
        const struct api_error *e = table[i];
        assert_in_range(e->status, 400, 599);
        assert_true(e->status != 402 && e->status != 422); // api.md §3: never sent
        assert_true(strlen(e->message) > 0 && strlen(e->message) < 400);
        assert_true(e->retry_after_ms <= 60000);
        assert_true(e->status != 501 || e->never_retry);
        if (e->status >= 500 && e->status != 501)
            assert_string_equal(e->type, "server_error");
    }
}

static void a_body_is_read_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < ENTRIES; i++) {
        struct api_fault f, back;
        AUTO(buf_fini) struct buf out = {0};
        api_fault_set(&f, table[i], table[i] == &ERR_STREAM_OPTIONS ? "stream_options" : "x", "y");
        api_fault_body(&f, &out);
        assert_int_equal(api_fault_parse(&back, table[i]->status, buf_span(&out)), 0);
        assert_int_equal(back.error->status, f.error->status);
        assert_string_equal(back.error->code ? back.error->code : "",
                            f.error->code ? f.error->code : "");
        assert_string_equal(back.message, f.message);
        assert_string_equal(back.param, f.param);
    }
}

static void what_is_not_ours_is_not_read_back(void **state)
{
    static const char *const bad[] = {
        "",
        "<html>",
        "{}",
        "{\"error\":\"x\"}",
        "{\"error\":{\"message\":\"x\"}}",
        "{\"error\":{\"message\":\"x\",\"type\":\"BadRequestError\",\"param\":null,\"code\":400}}",
        "{\"error\":{\"message\":\"x\",\"type\":\"server_error\",\"code\":\"zz\"}}",
    };
    struct api_fault f;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(api_fault_parse(&f, 400, span_str(bad[i])), E_NOT_FOUND);
}

// ---- Engines' errors ----

static void engines_errors_become_ours(void **state)
{
    static const struct {
        enum engine_kind kind;
        unsigned status;
        const char *body;
        const struct api_error *error;
        const char *param;
    } list[] = {
        {ENGINE_LLAMACPP, 400,
         "{\"error\":{\"code\":400,\"message\":\"request (20031 tokens) exceeds the available "
         "context size "
         "(2048 tokens), try increasing it\",\"type\":\"exceed_context_size_error\","
         "\"n_prompt_tokens\":20031,\"n_ctx\":2048}}",
         &ERR_CONTEXT_LENGTH, "messages"},
        {ENGINE_LLAMACPP, 500,
         "{\"error\":{\"code\":500,\"message\":\"image input is not supported - hint: if this is "
         "unexpected, you may need to provide the mmproj\",\"type\":\"server_error\"}}",
         &ERR_UNSUPPORTED_VALUE, "messages"},
        {ENGINE_LLAMACPP, 500,
         "{\"error\":{\"code\":500,\"message\":\"Failed to parse tools: Unsupported tool type: "
         "x\",\"type\":\"server_error\"}}",
         &ERR_INVALID_VALUE, "tools"},
        {ENGINE_LLAMACPP, 400,
         "{\"error\":{\"message\":\"Unable to generate parser for this template. Automatic parser "
         "generation failed: JSON schema error at #: unrecognized type wat\",\"code\":400}}",
         &ERR_INVALID_VALUE, ""},
        {ENGINE_LLAMACPP, 400,
         "{\"error\":{\"code\":400,\"message\":\"Field 'max_tokens': Value must be between -1 <= "
         "value <= "
         "2147483647, but got -5\",\"type\":\"invalid_request_error\"}}",
         &ERR_ENGINE_REFUSED, "max_tokens"},
        {ENGINE_LLAMACPP, 400,
         "{\"error\":{\"message\":\"[json.exception.parse_error.101] parse error at line "
         "1\",\"code\":400}}",
         &ERR_WORKER_ERROR, ""},
        {ENGINE_LLAMACPP, 404,
         "{\"error\":{\"message\":\"File Not Found\",\"type\":\"not_found_error\",\"code\":404}}",
         &ERR_WORKER_ERROR, ""},
        {ENGINE_LLAMACPP, 503,
         "{\"error\":{\"message\":\"Loading model\",\"type\":\"unavailable_error\",\"code\":503}}",
         &ERR_OVERLOADED, ""},
        {ENGINE_LLAMACPP, 501,
         "{\"error\":{\"code\":501,\"message\":\"This server does not support embeddings.\","
         "\"type\":\"not_supported_error\"}}",
         &ERR_UNSUPPORTED_VALUE, "model"},
        {ENGINE_LLAMACPP, 500,
         "{\"error\":{\"code\":500,\"message\":\"Failed to parse messages: Unsupported tool call "
         "type: {}\",\"type\":\"server_error\"}}",
         &ERR_INVALID_VALUE, "messages"},
        {ENGINE_LLAMACPP, 500,
         "{\"error\":{\"code\":500,\"message\":\"Failed to parse tool call arguments as JSON: "
         "[json.exception.parse_error.101] parse error at line 1, column 1: attempting to parse an "
         "empty input\",\"type\":\"server_error\"}}",
         &ERR_INVALID_VALUE, "messages"},
        {ENGINE_LLAMACPP, 500,
         "{\"error\":{\"code\":500,\"message\":\"\\n------------\\nError: Jinja Exception: "
         "Conversation roles must alternate\",\"type\":\"server_error\"}}",
         &ERR_INVALID_VALUE, "messages"},
        {ENGINE_LLAMACPP, 500,
         "{\"error\":{\"code\":500,\"message\":\"boom\",\"type\":\"server_error\"}}",
         &ERR_WORKER_ERROR, ""},
        {ENGINE_VLLM, 400,
         "{\"error\":{\"message\":\"This model's maximum context length is 10 tokens. However, "
         "your prompt "
         "contains 20 input "
         "tokens\",\"type\":\"BadRequestError\",\"param\":\"input_tokens\",\"code\":400}}",
         &ERR_CONTEXT_LENGTH, "messages"},
        {ENGINE_VLLM, 404,
         "{\"error\":{\"message\":\"The model `x` does not exist.\",\"type\":\"NotFoundError\","
         "\"param\":\"model\",\"code\":404}}",
         &ERR_WORKER_ERROR, ""},
        {ENGINE_VLLM, 400,
         "{\"error\":{\"message\":\"1 validation error(s):\\n  x\",\"type\":\"Bad "
         "Request\",\"param\":"
         "\"temperature\",\"code\":400}}",
         &ERR_ENGINE_REFUSED, "temperature"},
        {ENGINE_VLLM, 400,
         "{\"object\":\"error\",\"message\":\"\\\"auto\\\" tool choice requires "
         "--enable-auto-tool-choice "
         "and --tool-call-parser to be "
         "set\",\"type\":\"BadRequestError\",\"param\":null,\"code\":400}",
         &ERR_UNSUPPORTED_PARAMETER, "tools"},
        {ENGINE_SGLANG, 400,
         "{\"object\":\"error\",\"message\":\"The input (5 tokens) is longer than the model's "
         "context "
         "length (2 tokens).\",\"type\":\"BadRequestError\",\"param\":null,\"code\":400}",
         &ERR_CONTEXT_LENGTH, "messages"},
        {ENGINE_GENERIC, 401, "{\"error\":{\"message\":\"no key\"}}", &ERR_WORKER_ERROR, ""},
        {ENGINE_GENERIC, 403, "", &ERR_WORKER_ERROR, ""},
        {ENGINE_GENERIC, 429, "slow down", &ERR_OVERLOADED, ""},
        {ENGINE_GENERIC, 502, "<html><body>Bad Gateway</body></html>", &ERR_WORKER_ERROR, ""},
        {ENGINE_GENERIC, 400, "\xff\xfe{", &ERR_ENGINE_REFUSED, ""},
        {ENGINE_GENERIC, 400, "{\"error\":\"bad\"}", &ERR_ENGINE_REFUSED, ""},
        {ENGINE_GENERIC, 400, "{\"error\":[1]}", &ERR_ENGINE_REFUSED, ""},
        {ENGINE_GENERIC, 422, "{\"detail\":[{\"loc\":[\"body\"]}]}", &ERR_ENGINE_REFUSED, ""},
        {ENGINE_GENERIC, 413, "", &ERR_REQUEST_TOO_LARGE, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        struct api_fault f;
        engine_fault(list[i].kind, list[i].status, span_str(list[i].body), &f);
        if (f.error != list[i].error)
            fail_msg("%s: %s", list[i].body, f.error->name);
        assert_string_equal(f.param, list[i].param);
        assert_true(strlen(f.message) > 0);
    }
}

static void an_engines_own_words_are_never_shown(void **state)
{
    struct api_fault f;
    AUTO(buf_fini) struct buf out = {0};

    (void)state;
    engine_fault(
        ENGINE_VLLM, 400,
        SPAN("{\"error\":{\"message\":\"secret /srv/models/x\",\"type\":\"T\",\"param\":\"secret\","
             "\"code\":\"secret\"}}"),
        &f);
    api_fault_body(&f, &out);
    assert_null(strstr(buf_cstr(&out), "secret"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_has_all_four_members),
        cmocka_unit_test(what_is_unset_is_null),
        cmocka_unit_test(a_fault_that_was_never_set_is_our_own_bug),
        cmocka_unit_test(arguments_are_cut_and_cleaned),
        cmocka_unit_test(every_entry_is_fit_to_be_sent),
        cmocka_unit_test(a_body_is_read_back),
        cmocka_unit_test(what_is_not_ours_is_not_read_back),
        cmocka_unit_test(engines_errors_become_ours),
        cmocka_unit_test(an_engines_own_words_are_never_shown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
