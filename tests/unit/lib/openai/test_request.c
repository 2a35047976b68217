/* Requests: each row of the field tables, what is forwarded, and what the engine gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/json.h"
#include "openai/request.h"

static const struct request_rules plain = {0};
static const struct request_rules strict = {.strict = true};

#define MSG              "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define CHAT(rest)       "{\"model\":\"m\"," MSG rest "}"
#define TOOLS            "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]"
#define PROMPT(rest)     "{\"model\":\"m\",\"prompt\":\"p\"" rest "}"
#define USER(content)    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":" content "}]}"
#define MESSAGE(members) "{\"model\":\"m\",\"messages\":[{" members "}]}"

// ---- Refusals ----

struct refusal {
    const char *body;
    const struct api_error *error;
    const char *param;   /* NULL: none */
    const char *message; /* part of it; NULL: any */
};

static void refuse(enum endpoint e, const struct refusal *r, const struct request_rules *rules)
{
    struct request rq;
    struct api_fault f = {0};

    const int error = request_parse(&rq, e, span_str(r->body), rules, &f);
    if (error == 0)
        fail_msg("accepted: %s", r->body);
    assert_int_equal(error, E_INVALID);
    if (f.error != r->error)
        fail_msg("%s: %s (%s), expected %s", r->body, f.error->name, f.message, r->error->name);
    assert_string_equal(f.param, r->param ? r->param : "");
    if (r->message && !strstr(f.message, r->message))
        fail_msg("%s: message was: %s", r->body, f.message);
}

static void accept(enum endpoint e, const char *body, struct request *rq)
{
    struct api_fault f = {0};

    if (request_parse(rq, e, span_str(body), &plain, &f) < 0)
        fail_msg("refused: %s: %s", body, f.message);
}

#define REFUSE_ALL(endpoint, list, rules)                                                          \
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)                                    \
    refuse(endpoint, &(list)[i], rules)

static void a_body_that_is_not_json_is_refused(void **state)
{
    static const struct refusal list[] = {
        {"", &ERR_INVALID_JSON, NULL, "We could not parse the JSON body of your request. (HINT: "},
        {"{", &ERR_INVALID_JSON, NULL, NULL},
        {"[]", &ERR_INVALID_JSON, NULL, NULL},
        {"null", &ERR_INVALID_JSON, NULL, NULL},
        {CHAT("") "x", &ERR_INVALID_JSON, NULL, NULL},
        {CHAT(",\"a\":1,\"a\":2"), &ERR_INVALID_JSON, NULL, NULL},
        {CHAT(",\"\\u006dodel\":\"other\""), &ERR_INVALID_JSON, NULL, NULL},
        {USER("\"\xff\""), &ERR_INVALID_JSON, NULL, NULL},
        {USER("\"\xed\xa0\x80\""), &ERR_INVALID_JSON, NULL, NULL},
        {"{\"model\":NaN}", &ERR_INVALID_JSON, NULL, NULL},
    };

    (void)state;
    REFUSE_ALL(EP_CHAT, list, &plain);
}

static void a_nul_byte_is_refused_wherever_it_stands(void **state)
{
    static const char body[] = "{\"model\":\"m\"," MSG ",\"n\":1\0}";
    struct request rq;
    struct api_fault f;

    (void)state;
    assert_int_equal(request_parse(&rq, EP_CHAT, span_of(body, sizeof(body) - 1), &plain, &f),
                     E_INVALID);
    assert_ptr_equal(f.error, &ERR_INVALID_JSON);
}

static void a_body_too_deep_or_too_wide_is_refused(void **state)
{
    AUTO(buf_fini) struct buf deep = {0};
    AUTO(buf_fini) struct buf wide = {0};
    struct refusal r = {.error = &ERR_JSON_TOO_COMPLEX};

    (void)state;
    for (int i = 0; i < 200; i++)
        buf_append_str(&deep, "[");
    r.body = buf_cstr(&deep);
    refuse(EP_CHAT, &r, &plain);
    buf_append_str(&wide, "{\"a\":[0");
    for (int i = 0; i < 100001; i++)
        buf_append_str(&wide, ",0");
    buf_append_str(&wide, "]}");
    r.body = buf_cstr(&wide);
    refuse(EP_CHAT, &r, &plain);
}

static void what_is_required_must_be_there(void **state)
{
    static const struct refusal list[] = {
        {"{}", &ERR_MISSING_PARAMETER, "model", "Missing required parameter: 'model'."},
        {"{\"model\":\"m\"}", &ERR_MISSING_PARAMETER, "messages",
         "Missing required parameter: 'messages'."},
        {"{\"model\":\"m\",\"messages\":[]}", &ERR_EMPTY_ARRAY, "messages",
         "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an "
         "empty array instead."},
        {"{\"model\":null," MSG "}", &ERR_INVALID_TYPE, "model",
         "Invalid type for 'model': expected a string, but got null instead."},
        {"{\"model\":1," MSG "}", &ERR_INVALID_TYPE, "model",
         "Invalid type for 'model': expected a string, but got an integer instead."},
        {"{\"model\":\"\"," MSG "}", &ERR_INVALID_VALUE, "model", NULL},
        {"{\"model\":\"a\\u0000b\"," MSG "}", &ERR_INVALID_VALUE, "model", NULL},
        {"{\"model\":\"m\",\"messages\":{}}", &ERR_INVALID_TYPE, "messages", "expected an array"},
        {"{\"model\":\"m\",\"messages\":[1]}", &ERR_INVALID_TYPE, "messages[0]",
         "expected an object"},
        {"{\"model\":\"m\",\"messages\":[{}]}", &ERR_MISSING_PARAMETER, "messages[0].role",
         "Missing required parameter: 'messages[0].role'."},
    };

    (void)state;
    REFUSE_ALL(EP_CHAT, list, &plain);
}

static void numbers_have_types_and_ranges(void **state)
{
    static const struct refusal list[] = {
        {CHAT(",\"temperature\":200"), &ERR_DECIMAL_ABOVE_MAX, "temperature",
         "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 200 "
         "instead."},
        {CHAT(",\"temperature\":2.50"), &ERR_DECIMAL_ABOVE_MAX, "temperature",
         "but got 2.50 instead."},
        {CHAT(",\"temperature\":-0.1"), &ERR_DECIMAL_BELOW_MIN, "temperature",
         "Invalid 'temperature': decimal below minimum value. Expected a value >= 0, but got -0.1 "
         "instead."},
        {CHAT(",\"temperature\":\"hot\""), &ERR_INVALID_TYPE, "temperature",
         "expected a number, but got a string instead."},
        {CHAT(",\"top_p\":1.01"), &ERR_DECIMAL_ABOVE_MAX, "top_p", NULL},
        {CHAT(",\"top_p\":-1"), &ERR_DECIMAL_BELOW_MIN, "top_p", NULL},
        {CHAT(",\"frequency_penalty\":-3"), &ERR_DECIMAL_BELOW_MIN, "frequency_penalty", ">= -2"},
        {CHAT(",\"presence_penalty\":2.1"), &ERR_DECIMAL_ABOVE_MAX, "presence_penalty", NULL},
        {CHAT(",\"n\":0"), &ERR_INTEGER_BELOW_MIN, "n",
         "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0 instead."},
        {CHAT(",\"n\":129"), &ERR_INTEGER_ABOVE_MAX, "n", "<= 128"},
        {CHAT(",\"n\":1.0"), &ERR_INVALID_TYPE, "n",
         "Invalid type for 'n': expected an integer, but got a decimal number instead."},
        {CHAT(",\"max_tokens\":0"), &ERR_INTEGER_BELOW_MIN, "max_tokens", NULL},
        {CHAT(",\"max_completion_tokens\":-5"), &ERR_INTEGER_BELOW_MIN, "max_completion_tokens",
         NULL},
        {CHAT(",\"max_tokens\":9223372036854775807"), &ERR_INTEGER_ABOVE_MAX, "max_tokens", NULL},
        {CHAT(",\"seed\":1.5"), &ERR_INVALID_TYPE, "seed", NULL},
        {CHAT(",\"logprobs\":true,\"top_logprobs\":21"), &ERR_INTEGER_ABOVE_MAX, "top_logprobs",
         NULL},
        {CHAT(",\"logit_bias\":{\"50256\":101}"), &ERR_INTEGER_ABOVE_MAX, "logit_bias.50256", NULL},
        {CHAT(",\"logit_bias\":{\"1\":0.5}"), &ERR_INVALID_TYPE, "logit_bias.1", NULL},
        {CHAT(",\"logit_bias\":[]"), &ERR_INVALID_TYPE, "logit_bias", NULL},
        {CHAT(",\"timeout\":0"), &ERR_DECIMAL_BELOW_MIN, "timeout", NULL},
        {CHAT(",\"timeout\":\"1\""), &ERR_INVALID_TYPE, "timeout", NULL},
        {CHAT(",\"max_coefficient\":1000000000"), &ERR_INTEGER_ABOVE_MAX, "max_coefficient", NULL},
        {CHAT(",\"max_coefficient\":-1"), &ERR_INTEGER_BELOW_MIN, "max_coefficient", NULL},
    };

    (void)state;
    REFUSE_ALL(EP_CHAT, list, &plain);
}

static void words_and_shapes_are_checked(void **state)
{
    static const struct refusal list[] = {
        {CHAT(",\"stream\":\"yes\""), &ERR_INVALID_TYPE, "stream", "expected a boolean"},
        {CHAT(",\"stop\":[]"), &ERR_EMPTY_ARRAY, "stop", NULL},
        {CHAT(",\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"]"), &ERR_ARRAY_TOO_LONG, "stop", NULL},
        {CHAT(",\"stop\":[1]"), &ERR_INVALID_TYPE, "stop[0]", NULL},
        {CHAT(",\"stop\":1"), &ERR_INVALID_TYPE, "stop", NULL},
        {CHAT(",\"reasoning_effort\":\"huge\""), &ERR_INVALID_VALUE, "reasoning_effort",
         "Supported values are: 'none', 'minimal', 'low', 'medium', 'high', 'xhigh' and 'max'."},
        {CHAT(",\"verbosity\":\"none\""), &ERR_INVALID_VALUE, "verbosity", NULL},
        {CHAT(",\"service_tier\":\"gold\""), &ERR_INVALID_VALUE, "service_tier", NULL},
        {CHAT(",\"metadata\":{\"a\":1}"), &ERR_INVALID_TYPE, "metadata.a", NULL},
        {CHAT(",\"metadata\":\"x\""), &ERR_INVALID_TYPE, "metadata", NULL},
        {CHAT(",\"modalities\":[\"text\",\"audio\"]"), &ERR_UNSUPPORTED_VALUE, "modalities[1]",
         NULL},
        {CHAT(",\"audio\":{\"voice\":\"x\"}"), &ERR_UNSUPPORTED_PARAMETER, "audio", NULL},
        {CHAT(",\"moderation\":{\"model\":\"x\"}"), &ERR_UNSUPPORTED_PARAMETER, "moderation", NULL},
        {CHAT(",\"web_search_options\":{}"), &ERR_UNSUPPORTED_PARAMETER, "web_search_options",
         NULL},
        {CHAT(",\"response_format\":{\"type\":\"xml\"}"), &ERR_INVALID_VALUE,
         "response_format.type", "'text', 'json_object' and 'json_schema'"},
        {CHAT(",\"response_format\":{\"type\":\"json_schema\"}"), &ERR_MISSING_PARAMETER,
         "response_format.json_schema", NULL},
        {CHAT(",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}}"),
         &ERR_MISSING_PARAMETER, "response_format.json_schema.name", NULL},
        {CHAT(",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a b\"}}"),
         &ERR_INVALID_VALUE, "response_format.json_schema.name", NULL},
    };

    (void)state;
    REFUSE_ALL(EP_CHAT, list, &plain);
}

static void messages_and_parts_are_checked(void **state)
{
    static const struct refusal list[] = {
        {MESSAGE("\"role\":\"king\",\"content\":\"x\""), &ERR_INVALID_VALUE, "messages[0].role",
         "'developer', 'system', 'user', 'assistant', 'tool' and 'function'"},
        {MESSAGE("\"role\":\"user\""), &ERR_MISSING_PARAMETER, "messages[0].content", NULL},
        {MESSAGE("\"role\":\"user\",\"content\":null"), &ERR_INVALID_TYPE, "messages[0].content",
         NULL},
        {MESSAGE("\"role\":\"assistant\""), &ERR_MISSING_PARAMETER, "messages[0].content", NULL},
        {MESSAGE("\"role\":\"assistant\",\"content\":null"), &ERR_INVALID_TYPE,
         "messages[0].content", NULL},
        {MESSAGE("\"role\":\"assistant\",\"content\":null,\"tool_calls\":null"), &ERR_INVALID_TYPE,
         "messages[0].content", NULL},
        {MESSAGE("\"role\":\"assistant\",\"tool_calls\":null"), &ERR_MISSING_PARAMETER,
         "messages[0].content", NULL},
        {MESSAGE("\"role\":\"tool\",\"content\":\"x\",\"tool_call_id\":null"), &ERR_INVALID_TYPE,
         "messages[0].tool_call_id", NULL},
        {USER("[{\"type\":\"image_url\",\"image_url\":null}]"), &ERR_INVALID_TYPE,
         "messages[0].content[0].image_url", NULL},
        {MESSAGE("\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":[]"), &ERR_EMPTY_ARRAY,
         "messages[0].tool_calls", NULL},
        {MESSAGE("\"role\":\"assistant\",\"tool_calls\":[{\"type\":\"function\"}]"),
         &ERR_MISSING_PARAMETER, "messages[0].tool_calls[0].id", NULL},
        {MESSAGE("\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\"}]"),
         &ERR_MISSING_PARAMETER, "messages[0].tool_calls[0].function", NULL},
        {MESSAGE("\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\","
                 "\"function\":{\"name\":\"f\",\"arguments\":{}}}]"),
         &ERR_INVALID_TYPE, "messages[0].tool_calls[0].function.arguments", NULL},
        {MESSAGE("\"role\":\"tool\",\"content\":\"x\""), &ERR_MISSING_PARAMETER,
         "messages[0].tool_call_id", NULL},
        {MESSAGE("\"role\":\"function\",\"content\":\"x\""), &ERR_MISSING_PARAMETER,
         "messages[0].name", NULL},
        {USER("1"), &ERR_INVALID_TYPE, "messages[0].content",
         "expected a string or an array of objects, but got an integer instead."},
        {USER("[]"), &ERR_EMPTY_ARRAY, "messages[0].content", NULL},
        {USER("[\"x\"]"), &ERR_INVALID_TYPE, "messages[0].content[0]", NULL},
        {USER("[{\"text\":\"x\"}]"), &ERR_MISSING_PARAMETER, "messages[0].content[0].type", NULL},
        {USER("[{\"type\":\"text\"}]"), &ERR_MISSING_PARAMETER, "messages[0].content[0].text",
         NULL},
        {USER("[{\"type\":\"refusal\",\"refusal\":\"no\"}]"), &ERR_INVALID_VALUE,
         "messages[0].content[0].type", NULL},
        {USER("[{\"type\":\"video_url\",\"video_url\":{\"url\":\"http://a\"}}]"),
         &ERR_INVALID_VALUE, "messages[0].content[0].type", NULL},
        {MESSAGE("\"role\":\"system\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":"
                 "\"data:,\"}}]"),
         &ERR_INVALID_VALUE, "messages[0].content[0].type", NULL},
        {USER(
             "[{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AA==\",\"format\":\"ogg\"}}]"),
         &ERR_INVALID_VALUE, "messages[0].content[0].input_audio.format", NULL},
        {USER("[{\"type\":\"file\",\"file\":{\"file_id\":\"file-1\"}}]"), &ERR_UNSUPPORTED_VALUE,
         "messages[0].content[0].file.file_id", NULL},
    };

    (void)state;
    REFUSE_ALL(EP_CHAT, list, &plain);
}

/* Whatever the part calls itself: an engine in an enclave must fetch nothing. */
static void addresses_never_reach_an_engine(void **state)
{
    static const struct refusal list[] = {
        {USER("[{\"type\":\"text\",\"text\":\"x\"},{\"type\":\"image_url\",\"image_url\":{\"url\":"
              "\"https://example.com/a.png\"}}]"),
         &ERR_INVALID_IMAGE_URL, "messages[0].content[1].image_url", "only data: URLs"},
        {USER("[{\"type\":\"image_url\",\"image_url\":{\"url\":\"file:///etc/passwd\"}}]"),
         &ERR_INVALID_IMAGE_URL, "messages[0].content[0].image_url", NULL},
        {USER("[{\"type\":\"image_url\",\"image_url\":{\"url\":\" data:,\"}}]"),
         &ERR_INVALID_IMAGE_URL, "messages[0].content[0].image_url", NULL},
        {USER("[{\"type\":\"image_url\",\"image_url\":\"http://a\"}]"), &ERR_INVALID_TYPE,
         "messages[0].content[0].image_url", NULL},
        {USER("[{\"type\":\"text\",\"text\":\"x\",\"image_url\":{\"url\":\"http://a\"}}]"),
         &ERR_INVALID_IMAGE_URL, "messages[0].content[0].image_url", NULL},
        {USER("[{\"type\":\"text\",\"text\":\"x\",\"audio_url\":{\"url\":\"http://a\"}}]"),
         &ERR_UNSUPPORTED_PARAMETER, "messages[0].content[0].audio_url", NULL},
        {USER("[{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"http://"
              "a\",\"format\":\"wav\"}}]"),
         &ERR_INVALID_VALUE, "messages[0].content[0].input_audio.data", NULL},
        {USER("[{\"type\":\"file\",\"file\":{\"file_data\":\"https://a/b.pdf\"}}]"),
         &ERR_INVALID_VALUE, "messages[0].content[0].file.file_data", NULL},
    };

    (void)state;
    REFUSE_ALL(EP_CHAT, list, &plain);
}

static void tools_are_checked(void **state)
{
    static const struct refusal list[] = {
        {CHAT(",\"tools\":[]"), &ERR_EMPTY_ARRAY, "tools", NULL},
        {CHAT(",\"tools\":[null]"), &ERR_INVALID_TYPE, "tools[0]", NULL},
        {CHAT(",\"tools\":null,\"tool_choice\":\"auto\""), &ERR_INVALID_VALUE, "tool_choice", NULL},
        {CHAT(",\"functions\":null,\"function_call\":\"auto\""), &ERR_INVALID_VALUE,
         "function_call", NULL},
        {CHAT(",\"tools\":[{\"type\":\"retrieval\"}]"), &ERR_INVALID_VALUE, "tools[0].type",
         "'function' and 'custom'"},
        {CHAT(",\"tools\":[{\"type\":\"function\"}]"), &ERR_MISSING_PARAMETER, "tools[0].function",
         NULL},
        {CHAT(",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"\"}}]"),
         &ERR_INVALID_VALUE, "tools[0].function.name", NULL},
        {CHAT(",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":"
              "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}}]"),
         &ERR_STRING_TOO_LONG, "tools[0].function.name", "maximum length 64"},
        {CHAT(
             ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":1}}]"),
         &ERR_INVALID_TYPE, "tools[0].function.parameters", NULL},
        {CHAT(",\"tools\":[{\"type\":\"custom\",\"custom\":{\"name\":\"f\",\"format\":{\"type\":"
              "\"grammar\",\"grammar\":{\"definition\":\"x\",\"syntax\":\"bnf\"}}}}]"),
         &ERR_INVALID_VALUE, "tools[0].custom.format.grammar.syntax", NULL},
        {CHAT(",\"tool_choice\":\"auto\""), &ERR_INVALID_VALUE, "tool_choice", "'tools'"},
        {CHAT("," TOOLS ",\"tool_choice\":\"any\""), &ERR_INVALID_VALUE, "tool_choice", NULL},
        {CHAT("," TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"g\"}}"),
         &ERR_INVALID_VALUE, "tool_choice", "none of 'tools'"},
        {CHAT("," TOOLS ",\"tool_choice\":{\"type\":\"custom\",\"custom\":{\"name\":\"f\"}}"),
         &ERR_INVALID_VALUE, "tool_choice", "none of 'tools'"},
        {CHAT(",\"functions\":[{\"name\":\"f\"}],\"function_call\":{\"name\":\"g\"}"),
         &ERR_INVALID_VALUE, "function_call", "none of 'functions'"},
        {CHAT("," TOOLS ",\"tool_choice\":{\"type\":\"function\"}"), &ERR_MISSING_PARAMETER,
         "tool_choice.function", NULL},
        {CHAT("," TOOLS ",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":"
              "\"none\",\"tools\":[{}]}}"),
         &ERR_INVALID_VALUE, "tool_choice.allowed_tools.mode", NULL},
        {CHAT(",\"functions\":[]"), &ERR_EMPTY_ARRAY, "functions", NULL},
        {CHAT(",\"functions\":[{\"name\":\"f\"}]," TOOLS), &ERR_PARAMETER_COMBINATION, "functions",
         "'functions' and 'tools'"},
        {CHAT(",\"functions\":[{}]"), &ERR_MISSING_PARAMETER, "functions[0].name", NULL},
        {CHAT(",\"function_call\":\"auto\""), &ERR_INVALID_VALUE, "function_call", NULL},
    };

    (void)state;
    REFUSE_ALL(EP_CHAT, list, &plain);
}

static void members_that_contradict_each_other_are_refused(void **state)
{
    static const struct refusal list[] = {
        {CHAT(",\"max_tokens\":1,\"max_completion_tokens\":1"), &ERR_PARAMETER_COMBINATION,
         "max_tokens",
         "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."},
        {CHAT(",\"stream_options\":{\"include_usage\":true}"), &ERR_STREAM_OPTIONS,
         "stream_options",
         "The 'stream_options' parameter is only allowed when 'stream' is enabled."},
        {CHAT(",\"stream\":false,\"stream_options\":{}"), &ERR_STREAM_OPTIONS, "stream_options",
         NULL},
        {CHAT(",\"stream\":true,\"stream_options\":{\"include_usage\":1}"), &ERR_INVALID_TYPE,
         "stream_options.include_usage", NULL},
        {CHAT(",\"top_logprobs\":3"), &ERR_INVALID_VALUE, "top_logprobs", NULL},
    };

    (void)state;
    REFUSE_ALL(EP_CHAT, list, &plain);
}

static void denied_extras_are_named(void **state)
{
    static const char *const names[] = {
        "chat_template",
        "mm_processor_kwargs",
        "media_io_kwargs",
        "kv_transfer_params",
        "vllm_xargs",
        "request_id",
        "session_id",
        "priority",
        "cache_salt",
        "prompt_logprobs",
        "echo",
        "documents",
        "return_token_ids",
        "return_prompt_text",
        "allowed_token_ids",
        "id_slot",
        "cache_prompt",
        "lora",
        "grammar",
        "ec_transfer_params",
    };
    char body[256];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(body, sizeof(body), CHAT(",\"%s\":1"), names[i]);
        refuse(EP_CHAT, &(struct refusal){body, &ERR_UNSUPPORTED_PARAMETER, names[i], names[i]},
               &plain);
    }
    static const struct refusal list[] = {
        {CHAT(",\"chat_template_kwargs\":{\"x\":true}"), &ERR_UNSUPPORTED_PARAMETER,
         "chat_template_kwargs.x", NULL},
        {CHAT(",\"chat_template_kwargs\":{\"thinking\":\"x\"}"), &ERR_INVALID_TYPE,
         "chat_template_kwargs.thinking", NULL},
    };
    REFUSE_ALL(EP_CHAT, list, &plain);
}

static void strict_callers_hear_of_unknown_members(void **state)
{
    static const struct refusal list[] = {
        {CHAT(",\"tomorrow\":1"), &ERR_UNKNOWN_PARAMETER, "tomorrow",
         "Unknown parameter: 'tomorrow'."},
        {CHAT(",\"a\\nb\":1"), &ERR_UNKNOWN_PARAMETER, "a?b", NULL},
        {CHAT(",\"store\":true"), &ERR_UNSUPPORTED_VALUE, "store", NULL},
    };

    (void)state;
    REFUSE_ALL(EP_CHAT, list, &strict);
}

static void completions_have_their_own_rules(void **state)
{
    static const struct refusal list[] = {
        {"{\"model\":\"m\",\"prompt\":[]}", &ERR_EMPTY_ARRAY, "prompt", NULL},
        {"{\"model\":\"m\",\"prompt\":1}", &ERR_INVALID_TYPE, "prompt", NULL},
        {"{\"model\":\"m\",\"prompt\":[true]}", &ERR_INVALID_TYPE, "prompt[0]", NULL},
        {"{\"model\":\"m\",\"prompt\":[\"a\",1]}", &ERR_INVALID_TYPE, "prompt[1]", NULL},
        {"{\"model\":\"m\",\"prompt\":[1,\"a\"]}", &ERR_INVALID_TYPE, "prompt[1]", NULL},
        {"{\"model\":\"m\",\"prompt\":[[1],[]]}", &ERR_EMPTY_ARRAY, "prompt[1]", NULL},
        {"{\"model\":\"m\",\"prompt\":[[1],[-2]]}", &ERR_INTEGER_BELOW_MIN, "prompt[1][0]", NULL},
        {PROMPT(",\"best_of\":21"), &ERR_INTEGER_ABOVE_MAX, "best_of", NULL},
        {PROMPT(",\"best_of\":2,\"n\":3"), &ERR_INVALID_VALUE, "best_of", NULL},
        {PROMPT(",\"best_of\":2,\"stream\":true"), &ERR_INVALID_VALUE, "best_of", NULL},
        {PROMPT(",\"logprobs\":6"), &ERR_INTEGER_ABOVE_MAX, "logprobs", NULL},
        {PROMPT(",\"logprobs\":true"), &ERR_INVALID_TYPE, "logprobs", NULL},
        {PROMPT(",\"echo\":1"), &ERR_INVALID_TYPE, "echo", NULL},
        {PROMPT(",\"suffix\":1"), &ERR_INVALID_TYPE, "suffix", NULL},
        {PROMPT(",\"max_tokens\":-1"), &ERR_INTEGER_BELOW_MIN, "max_tokens", NULL},
        {PROMPT(",\"n\":129"), &ERR_INTEGER_ABOVE_MAX, "n", NULL},
    };

    (void)state;
    REFUSE_ALL(EP_COMPLETIONS, list, &plain);
}

static void embeddings_have_their_own_rules(void **state)
{
    static const struct refusal list[] = {
        {"{\"model\":\"m\"}", &ERR_MISSING_PARAMETER, "input", NULL},
        {"{\"model\":\"m\",\"input\":null}", &ERR_INVALID_TYPE, "input", NULL},
        {"{\"model\":\"m\",\"input\":\"\"}", &ERR_INVALID_VALUE, "input", NULL},
        {"{\"model\":\"m\",\"input\":[]}", &ERR_EMPTY_ARRAY, "input", NULL},
        {"{\"model\":\"m\",\"input\":[1.5]}", &ERR_INVALID_TYPE, "input[0]", NULL},
        {"{\"model\":\"m\",\"input\":\"a\",\"encoding_format\":\"hex\"}", &ERR_INVALID_VALUE,
         "encoding_format", "'float' and 'base64'"},
        {"{\"model\":\"m\",\"input\":\"a\",\"dimensions\":0}", &ERR_INTEGER_BELOW_MIN, "dimensions",
         NULL},
    };

    (void)state;
    REFUSE_ALL(EP_EMBEDDINGS, list, &plain);
    refuse(EP_EMBEDDINGS,
           &(struct refusal){"{\"model\":\"m\",\"input\":\"a\",\"top_k\":1}",
                             &ERR_UNKNOWN_PARAMETER, "top_k", NULL},
           &strict);
}

static void an_array_of_inputs_has_a_limit(void **state)
{
    AUTO(buf_fini) struct buf body = {0};

    (void)state;
    buf_append_str(&body, "{\"model\":\"m\",\"input\":[\"a\"");
    for (int i = 1; i < 2049; i++)
        buf_append_str(&body, ",\"a\"");
    buf_append_str(&body, "]}");
    const struct refusal r = {buf_cstr(&body), &ERR_ARRAY_TOO_LONG, "input", NULL};
    refuse(EP_EMBEDDINGS, &r, &plain);
}

// ---- What is accepted ----

static void legal_requests_pass(void **state)
{
    static const char *const chats[] = {
        CHAT(",\"temperature\":null,\"top_p\":null,\"n\":null,\"stop\":null,\"seed\":null,"
             "\"stream\":null,\"stream_options\":null,\"logit_bias\":null,\"logprobs\":null,"
             "\"top_logprobs\":null,\"max_tokens\":null,\"max_completion_tokens\":null,"
             "\"reasoning_effort\":null,\"verbosity\":null,\"service_tier\":null,\"store\":null,"
             "\"metadata\":null,\"modalities\":null,\"audio\":null,\"prediction\":null,"
             "\"tools\":null,\"tool_choice\":null,\"parallel_tool_calls\":null,\"functions\":null,"
             "\"function_call\":null,\"response_format\":null,\"user\":null,"
             "\"safety_identifier\":null,\"prompt_cache_key\":null,\"timeout\":null,"
             "\"max_coefficient\":null,\"moderation\":null,\"web_search_options\":null,"
             "\"chat_template_kwargs\":null"),
        CHAT(",\"max_tokens\":5,\"max_completion_tokens\":null"),
        CHAT("," TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}"),
        CHAT(",\"functions\":[{\"name\":\"f\"}],\"function_call\":{\"name\":\"f\"}"),
        CHAT(",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a-b_1\","
             "\"strict\":null,\"schema\":{\"type\":\"object\"}}}"),
        CHAT(",\"chat_template_kwargs\":{\"enable_thinking\":false}"),
        USER("[{\"type\":\"text\",\"text\":\"x\"},{\"type\":\"image_url\",\"image_url\":{\"url\":"
             "\"data:image/png;base64,AA==\",\"detail\":\"low\"}}]"),
        USER("[{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AA==\",\"format\":\"wav\"}}]"),
        USER("[{\"type\":\"file\",\"file\":{\"file_data\":\"data:application/pdf;base64,AA==\"}}]"),
        MESSAGE("\"role\":\"assistant\",\"content\":null,\"function_call\":{\"name\":\"f\","
                "\"arguments\":\"{}\"}"),
        MESSAGE("\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\","
                "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]"),
        MESSAGE("\"role\":\"assistant\",\"content\":null,\"refusal\":\"no\""),
        MESSAGE("\"role\":\"assistant\",\"content\":[{\"type\":\"refusal\",\"refusal\":\"no\"}]"),
        MESSAGE("\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":[{\"type\":\"text\",\"text\":"
                "\"x\"}]"),
        MESSAGE("\"role\":\"function\",\"name\":\"f\",\"content\":null"),
        MESSAGE("\"role\":\"assistant\",\"content\":\"x\",\"name\":null,\"refusal\":null,"
                "\"annotations\":null,\"audio\":null,\"function_call\":null,\"tool_calls\":null"),
        USER("[{\"type\":\"text\",\"text\":\"x\",\"image_url\":null,\"input_audio\":null,"
             "\"file\":null,\"video_url\":null}]"),
        USER("[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:,\",\"detail\":null}}]"),
        CHAT(",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
             "\"description\":null,\"parameters\":null,\"strict\":null}},"
             "{\"type\":\"custom\",\"custom\":{\"name\":\"g\",\"format\":null}}]"),
        CHAT(",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\","
             "\"description\":null,\"schema\":null}}"),
        CHAT(",\"chat_template\":null,\"cache_salt\":null,\"echo\":null,\"documents\":null"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(chats) / sizeof(chats[0]); i++) {
        AUTO(request_fini) struct request rq = {0};
        accept(EP_CHAT, chats[i], &rq);
    }
}

static void what_we_act_on_is_read(void **state)
{
    AUTO(request_fini) struct request rq = {0};

    (void)state;
    accept(
        EP_CHAT,
        CHAT(",\"stream\":true,\"stream_options\":{\"include_usage\":true,"
             "\"include_obfuscation\":true},\"n\":3,\"max_completion_tokens\":7,\"logprobs\":true,"
             "\"timeout\":1.5,\"max_coefficient\":1200," TOOLS),
        &rq);
    assert_string_equal((const char *)rq.model.data, "m");
    assert_true(rq.stream && rq.include_usage && rq.include_obfuscation && rq.logprobs);
    assert_true(rq.has_tools);
    assert_int_equal(rq.choices, 3);
    assert_int_equal(rq.sequences, 3);
    assert_int_equal(rq.cap, 7);
    assert_int_equal(rq.max_coefficient, 1200);
    assert_in_range(rq.timeout_ms, 1500, 1501);
}

static void defaults_are_those_of_the_api(void **state)
{
    AUTO(request_fini) struct request chat = {0};
    AUTO(request_fini) struct request completions = {0};

    (void)state;
    accept(EP_CHAT, CHAT(""), &chat);
    assert_false(chat.stream || chat.include_usage || chat.logprobs || chat.has_tools);
    assert_int_equal(chat.cap, -1);
    assert_int_equal(chat.choices, 1);
    assert_int_equal(chat.max_coefficient, -1);
    assert_int_equal(chat.timeout_ms, 0);
    accept(EP_COMPLETIONS, "{\"model\":\"m\"}", &completions);
    assert_int_equal(completions.cap, 16);
    assert_int_equal(completions.prompts, 1);
}

static void null_is_what_is_not_there(void **state)
{
    AUTO(request_fini) struct request chat = {0};
    AUTO(request_fini) struct request embeddings = {0};
    AUTO(buf_fini) struct buf out = {0};
    static const struct engine_ask ask = {.cap = 9, .choice = -1, .prompt = -1};

    (void)state;
    accept(EP_CHAT,
           CHAT(",\"user\":null,\"safety_identifier\":\"s\",\"timeout\":null,\"tools\":null,"
                "\"max_coefficient\":null,\"response_format\":null"),
           &chat);
    assert_false(chat.has_tools);
    assert_int_equal(chat.timeout_ms, 0);
    assert_int_equal(chat.max_coefficient, -1);
    assert_string_equal((const char *)chat.conversation.data, "s");
    assert_int_equal(request_engine(&chat, &ask, &out), 0);
    assert_null(strstr(buf_cstr(&out), "null"));
    accept(EP_EMBEDDINGS,
           "{\"model\":\"m\",\"input\":\"x\",\"encoding_format\":null,\"dimensions\":null,"
           "\"user\":null,\"timeout\":null}",
           &embeddings);
    assert_false(embeddings.base64);
    assert_int_equal(embeddings.dimensions, 0);
}

static void what_is_named_as_ignored_has_no_effect(void **state)
{
    static const char *const values[] = {"3", "0", "-5", "\"x\""};
    AUTO(buf_fini) struct buf body = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        AUTO(request_fini) struct request rq = {0};
        buf_clear(&body);
        buf_printf(&body, "{\"model\":\"m\",\"max_tokens\":9,\"max_completion_tokens\":%s}",
                   values[i]);
        accept(EP_COMPLETIONS, buf_cstr(&body), &rq);
        assert_string_equal(buf_cstr(&rq.ignored), "max_completion_tokens");
        assert_int_equal(rq.cap, 9);
    }
}

static void prompts_and_inputs_are_counted(void **state)
{
    static const struct {
        enum endpoint e;
        const char *body;
        int64_t prompts, sequences;
    } list[] = {
        {EP_COMPLETIONS, "{\"model\":\"m\",\"prompt\":[\"a\",\"b\"],\"n\":2,\"best_of\":5}", 2, 10},
        {EP_COMPLETIONS, "{\"model\":\"m\",\"prompt\":[1,2,3]}", 1, 1},
        {EP_COMPLETIONS, "{\"model\":\"m\",\"prompt\":[[1,2],[3]],\"n\":3}", 2, 6},
        {EP_EMBEDDINGS, "{\"model\":\"m\",\"input\":[\"a\",\"b\",\"c\"]}", 3, 3},
        {EP_EMBEDDINGS, "{\"model\":\"m\",\"input\":[1,2,3]}", 1, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        AUTO(request_fini) struct request rq = {0};
        accept(list[i].e, list[i].body, &rq);
        assert_int_equal(rq.prompts, list[i].prompts);
        assert_int_equal(rq.sequences, list[i].sequences);
    }
}

static void bodies_that_hide_what_is_made_are_known(void **state)
{
    static const struct {
        enum endpoint e;
        const char *more;
        bool other;
    } list[] = {
        {EP_CHAT, "", false},
        {EP_CHAT, ",\"include_reasoning\":true,\"ignore_eos\":false", false},
        {EP_CHAT, ",\"include_reasoning\":false", true},
        {EP_CHAT, ",\"ignore_eos\":true", true},
        {EP_COMPLETIONS, ",\"echo\":true", true},
        {EP_COMPLETIONS, ",\"echo\":false", false},
    };
    AUTO(buf_fini) struct buf body = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        AUTO(request_fini) struct request rq = {0};
        buf_clear(&body);
        buf_printf(&body, "{\"model\":\"m\",%s%s}",
                   list[i].e == EP_CHAT ? "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"
                                        : "\"prompt\":\"x\"",
                   list[i].more);
        accept(list[i].e, buf_cstr(&body), &rq);
        assert_int_equal(rq.shows_other, list[i].other);
    }
}

static void ignored_members_are_named(void **state)
{
    AUTO(request_fini) struct request rq = {0};

    (void)state;
    accept(EP_CHAT,
           "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
           "\"text\":\"x\",\"prompt_cache_breakpoint\":{\"mode\":\"explicit\"}}]}],"
           "\"tomorrow\":1,\"store\":true,\"verbosity\":\"low\",\"prompt_cache_options\":{},"
           "\"a,b\":1,\"prediction\":null,\"metadata\":{\"a\":\"b\"},\"user\":\"u\"}",
           &rq);
    assert_string_equal(buf_cstr(&rq.ignored),
                        "messages[0].content[0].prompt_cache_breakpoint,store,tomorrow,verbosity,"
                        "prompt_cache_options,?");
}

static void at_most_32_names_are_told(void **state)
{
    AUTO(buf_fini) struct buf body = {0};
    AUTO(request_fini) struct request rq = {0};
    size_t commas = 0;

    (void)state;
    buf_append_str(&body, "{\"model\":\"m\"," MSG);
    for (int i = 0; i < 1000; i++)
        buf_printf(&body, ",\"x%d\":0", i);
    buf_append_str(&body, "}");
    accept(EP_CHAT, buf_cstr(&body), &rq);
    for (size_t i = 0; i < rq.ignored.len; i++)
        commas += rq.ignored.data[i] == ',';
    assert_int_equal(commas, 31);
}

static void the_conversation_stays_the_same_in_every_turn(void **state)
{
    AUTO(request_fini) struct request one = {0};
    AUTO(request_fini) struct request two = {0};
    static const char first[] = "{\"role\":\"system\",\"content\":\"s\"}, {\"role\":\"user\","
                                "\"content\":\"hi\"}";
    char body[512];

    (void)state;
    snprintf(body, sizeof(body),
             "{\"user\":\"u\",\"prompt_cache_key\":\"k\",\"model\":\"m\",\"messages\":[%s]}",
             first);
    accept(EP_CHAT, body, &one);
    snprintf(
        body, sizeof(body),
        "{\"model\":\"m\",\"messages\":[%s,{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":"
        "\"user\",\"content\":\"b\"}],\"prompt_cache_key\":\"k\",\"safety_identifier\":\"u\"}",
        first);
    accept(EP_CHAT, body, &two);
    assert_int_equal(one.conversation.len, 4 + 1 + strlen(first));
    assert_memory_equal(one.conversation.data, "u\0k\0[{\"role\"", 12);
    assert_true(span_eq(buf_span(&one.conversation), buf_span(&two.conversation)));
}

// ---- What goes on ----

static void forwards(enum endpoint e, const char *body, const char *expected)
{
    AUTO(request_fini) struct request rq = {0};
    AUTO(buf_fini) struct buf out = {0};

    accept(e, body, &rq);
    assert_int_equal(request_forward(&rq, SPAN("served"), &out), 0);
    assert_string_equal(buf_cstr(&out), expected);
}

static void what_is_ours_is_not_forwarded(void **state)
{
    (void)state;
    forwards(EP_CHAT,
             "{\"user\":\"u\",\"model\":\"m\",\"metadata\":{\"a\":\"b\"},\"store\":false,"
             "\"timeout\":3,\"max_coefficient\":1,\"safety_identifier\":\"s\",\"prompt_cache_key\":"
             "\"k\","
             "\"tomorrow\":{\"x\":[1]},\"verbosity\":\"low\"," MSG ",\"moderation\":null}",
             "{\"model\":\"served\"," MSG "}");
    forwards(EP_EMBEDDINGS,
             "{\"input\":[\"a\"],\"model\":\"m\",\"stream\":true,\"user\":\"u\","
             "\"encoding_format\":\"base64\"}",
             "{\"input\":[\"a\"],\"model\":\"served\",\"encoding_format\":\"base64\"}");
}

static void bytes_stay_as_they_came(void **state)
{
    (void)state;
    forwards(
        EP_CHAT,
        "{ \"model\" : \"m\" , \"seed\" : -9007199254740991, \"temperature\": 0.70 ,"
        "\"messages\":[ {\"content\":\"\\u0000\\/\\u00e9 \xc3\xa9\",\"role\":\"user\"} ],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"z\":1e2,"
        "\"a\":0.7, \"maximum\":9223372036854775807}}}] }",
        "{\"model\":\"served\",\"seed\" : -9007199254740991,\"temperature\": 0.70,"
        "\"messages\":[ {\"content\":\"\\u0000\\/\\u00e9 \xc3\xa9\",\"role\":\"user\"} ],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"z\":1e2,"
        "\"a\":0.7, \"maximum\":9223372036854775807}}}]}");
}

/* A tool's schema may speak of integers that nobody here can hold. */
static void integers_beyond_64_bits_pass_where_nobody_reads_them(void **state)
{
    static const struct refusal list[] = {
        {CHAT(",\"seed\":18446744073709551615"), &ERR_INTEGER_ABOVE_MAX, "seed", NULL},
        {CHAT(",\"seed\":-18446744073709551615"), &ERR_INTEGER_BELOW_MIN, "seed", NULL},
        {CHAT(",\"n\":18446744073709551616"), &ERR_INTEGER_ABOVE_MAX, "n",
         "got 18446744073709551616"},
        {CHAT(",\"seed\":99999999999999999999,"), &ERR_INVALID_JSON, NULL, NULL},
        {CHAT(",\"temperature\":1e999"), &ERR_INVALID_JSON, NULL, NULL},
    };

    (void)state;
    forwards(
        EP_CHAT,
        "{\"model\":\"m\"," MSG ",\"seed\":-9223372036854775807,\"tools\":[{\"type\":\"function\","
        "\"function\":{\"name\":\"f\",\"description\":\"\\\"99999999999999999999\",\"parameters\":{"
        "\"maximum\":18446744073709551615,\"minimum\":-99999999999999999999}}}]}",
        "{\"model\":\"served\"," MSG
        ",\"seed\":-9223372036854775807,\"tools\":[{\"type\":\"function\","
        "\"function\":{\"name\":\"f\",\"description\":\"\\\"99999999999999999999\",\"parameters\":{"
        "\"maximum\":18446744073709551615,\"minimum\":-99999999999999999999}}}]}");
    REFUSE_ALL(EP_CHAT, list, &plain);
}

static void extras_follow_the_configured_lists(void **state)
{
    static const char *const allowed[] = {"speed", "grammar", "own_*", "mirostat_tau", NULL};
    static const char *const denied[] = {"top_k", "mirostat*", NULL};
    const struct request_rules own = {.allowed = allowed, .denied = denied, .max_n = 2};
    AUTO(request_fini) struct request rq = {0};
    AUTO(buf_fini) struct buf out = {0};
    struct api_fault f;

    (void)state;
    forwards(EP_CHAT, CHAT(",\"top_k\":5,\"dry_base\":1,\"mirostat\":2,\"sse_ping_interval\":1"),
             "{\"model\":\"served\"," MSG ",\"top_k\":5,\"dry_base\":1,\"mirostat\":2}");
    refuse(EP_CHAT,
           &(struct refusal){CHAT(",\"top_k\":5"), &ERR_UNSUPPORTED_PARAMETER, "top_k", NULL},
           &own);
    refuse(EP_CHAT, &(struct refusal){CHAT(",\"n\":3"), &ERR_INTEGER_ABOVE_MAX, "n", "<= 2"}, &own);
    refuse(EP_CHAT,
           &(struct refusal){CHAT(",\"mirostat_tau\":1"), &ERR_UNSUPPORTED_PARAMETER,
                             "mirostat_tau", NULL},
           &own);
    refuse(EP_CHAT,
           &(struct refusal){CHAT(",\"lora\":[]"), &ERR_UNSUPPORTED_PARAMETER, "lora", NULL}, &own);
    assert_int_equal(
        request_parse(&rq, EP_CHAT,
                      SPAN(CHAT(",\"speed\":1,\"min_p\":1,\"grammar\":\"g\",\"own_x\":2,\"x\":3")),
                      &own, &f),
        0);
    assert_int_equal(request_forward(&rq, SPAN("s"), &out), 0);
    assert_string_equal(buf_cstr(&out), "{\"model\":\"s\"," MSG ",\"speed\":1,\"min_p\":1,"
                                        "\"grammar\":\"g\",\"own_x\":2}");
    assert_string_equal(buf_cstr(&rq.ignored), "x");
}

static void denied_members_of_the_api_are_refused(void **state)
{
    static const char *const denied[] = {"logit_bias", "st*", "user", "verbosity", "tools", NULL};
    static const struct refusal list[] = {
        {CHAT(",\"functions\":[{\"name\":\"f\"}]"), &ERR_UNSUPPORTED_PARAMETER, "functions", NULL},
        {CHAT(",\"logit_bias\":{}"), &ERR_UNSUPPORTED_PARAMETER, "logit_bias", NULL},
        {CHAT(",\"stop\":\"x\""), &ERR_UNSUPPORTED_PARAMETER, "stop", NULL},
        {CHAT(",\"stream\":false"), &ERR_UNSUPPORTED_PARAMETER, "stream", NULL},
        {CHAT(",\"user\":\"u\""), &ERR_UNSUPPORTED_PARAMETER, "user", NULL},
        {CHAT(",\"verbosity\":\"low\""), &ERR_UNSUPPORTED_PARAMETER, "verbosity", NULL},
    };
    const struct request_rules own = {.denied = denied, .max_n = 2};
    AUTO(request_fini) struct request rq = {0};
    struct api_fault f;

    (void)state;
    REFUSE_ALL(EP_CHAT, list, &own);
    assert_int_equal(
        request_parse(&rq, EP_CHAT, SPAN(CHAT(",\"logit_bias\":null,\"seed\":1")), &own, &f), 0);
}

static void what_was_dropped_here_and_by_the_next_is_named_once(void **state)
{
    AUTO(request_fini) struct request rq = {0};
    AUTO(buf_fini) struct buf out = {0}, many = {0};
    struct api_fault f;

    (void)state;
    assert_int_equal(request_parse(&rq, EP_CHAT, SPAN(CHAT(",\"speed\":1,\"x y\":1")), &plain, &f),
                     0);
    request_ignored(&rq, (struct span){0}, &out);
    assert_string_equal(buf_cstr(&out), "speed,?");
    buf_clear(&out);
    request_ignored(&rq, SPAN("spee,speed, own_a ,own_a,,\xc3\xa9,a\tb,m[0].b"), &out);
    assert_string_equal(buf_cstr(&out), "speed,?,spee,own_a,m[0].b");
    assert_string_equal(buf_cstr(&rq.ignored), "speed,?");
    for (int i = 0; i < 100; i++)
        buf_printf(&many, "n%d,", i);
    buf_clear(&out);
    request_ignored(&rq, buf_span(&many), &out);
    assert_true(span_ends(buf_span(&out), SPAN(",n28,n29")));
    request_fini(&rq);
    buf_clear(&out);
    accept(EP_CHAT, CHAT(""), &rq);
    request_ignored(&rq, SPAN("a,?,?"), &out);
    assert_string_equal(buf_cstr(&out), "a,?");
}

static void embeddings_take_the_extras_that_are_configured_alone(void **state)
{
    static const char *const allowed[] = {"input_type", NULL};
    const struct request_rules own = {.allowed = allowed, .max_n = 2};
    AUTO(request_fini) struct request rq = {0};
    AUTO(buf_fini) struct buf out = {0};
    struct api_fault f;

    (void)state;
    assert_int_equal(request_parse(&rq, EP_EMBEDDINGS,
                                   SPAN("{\"model\":\"m\",\"input\":\"x\",\"input_type\":\"query\","
                                        "\"top_k\":1}"),
                                   &own, &f),
                     0);
    assert_int_equal(request_forward(&rq, SPAN("s"), &out), 0);
    assert_string_equal(buf_cstr(&out),
                        "{\"model\":\"s\",\"input\":\"x\",\"input_type\":\"query\"}");
    assert_string_equal(buf_cstr(&rq.ignored), "top_k");
}

static void asks(enum endpoint e, const char *body, struct engine_ask ask, const char *expected)
{
    AUTO(request_fini) struct request rq = {0};
    AUTO(buf_fini) struct buf out = {0};
    AUTO_JSON json_t *doc = NULL;

    accept(e, body, &rq);
    assert_int_equal(request_engine(&rq, &ask, &out), 0);
    assert_string_equal(buf_cstr(&out), expected);
    assert_int_equal(json_read(buf_span(&out), &doc), 0);
    for (enum engine_kind kind = ENGINE_GENERIC; kind <= ENGINE_SGLANG; kind++) {
        buf_clear(&out); /* prepared for it or for another */
        request_prepare(&rq, kind);
        assert_int_equal(request_engine(&rq, &ask, &out), 0);
        assert_string_equal(buf_cstr(&out), expected);
    }
}

#define STREAMED "\"stream\":true,\"stream_options\":{\"include_usage\":true}"

#define CHATTED(messages, more) "{\"model\":\"m\",\"messages\":[" messages "]" more "}"

static void the_engine_gets_our_stream_cap_and_name(void **state)
{
    const struct engine_ask ask = {
        .kind = ENGINE_LLAMACPP, .model = SPAN("e"), .cap = 9, .choice = -1, .prompt = -1};
    struct engine_ask salted = ask;

    (void)state;
    asks(EP_CHAT,
         CHAT(",\"max_completion_tokens\":500,\"stream\":false,\"n\":2,\"temperature\":null,"
              "\"service_tier\":\"auto\",\"seed\":7"),
         ask, "{\"model\":\"e\"," MSG ",\"n\":2,\"seed\":7,\"max_tokens\":9," STREAMED "}");
    salted.kind = ENGINE_VLLM;
    salted.cache_salt = SPAN("abc");
    salted.model = (struct span){0};
    asks(EP_CHAT, CHAT(""), salted,
         "{\"model\":\"m\"," MSG ",\"max_tokens\":9," STREAMED ",\"cache_salt\":\"abc\"}");
}

/* One engine fails at a null for a string, another at arguments that are no JSON. What is inside a
 * schema, a text or a member that nobody knows is the caller's. */
static void what_says_nothing_is_kept_from_the_engine(void **state)
{
    static const struct engine_ask ask = {.model = SPAN("e"), .cap = 9, .choice = -1, .prompt = -1};
    static const char body[] =
        CHATTED("{\"role\":\"user\",\"name\":null,\"content\":[{\"type\":\"text\", "
                "\"text\":\"null\",\"image_url\":null}, {\"type\":\"image_url\",\"image_url\":"
                "{\"detail\":null,\"url\":\"data:,\"}}]},"
                "{ \"content\" : null ,\"role\":\"assistant\",\"refusal\":null,"
                "\"own\":{\"x\":null},\"tool_calls\":[{\"index\":null,\"id\":\"a\","
                "\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]},"
                "{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":\"\",\"name\":null}",
                ",\"tools\":[{\"type\":\"function\",\"function\":{\"description\":null,"
                "\"name\":\"f\",\"parameters\":{\"default\":null, \"arguments\":\"\"}}}]");
    static const char told[] =
        "{\"model\":\"e\",\"messages\":["
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"null\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:,\"}}]},"
        "{\"content\" : null,\"role\":\"assistant\",\"own\":{\"x\":null},"
        "\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\","
        "\"arguments\":\"{}\"}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":\"\"}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":"
        "{\"default\":null, \"arguments\":\"\"}}}],\"max_tokens\":9," STREAMED "}";

    (void)state;
    asks(EP_CHAT, body, ask, told);
    asks(EP_CHAT, CHATTED("{ \"role\":\"user\", \"content\":\"null\" }", ""), ask,
         "{\"model\":\"e\",\"messages\":[{ \"role\":\"user\", \"content\":\"null\" }],"
         "\"max_tokens\":9," STREAMED "}");
}

/* llama.cpp tells nothing of a token beside which nothing is to be told, and lists twenty unasked.
 */
static void what_is_told_beside_a_token_is_asked_for_by_number(void **state)
{
    static const char *const chats[][2] = {
        {",\"logprobs\":true", ",\"logprobs\":true,\"top_logprobs\":1"},
        {",\"top_logprobs\":0,\"logprobs\":true", ",\"logprobs\":true,\"top_logprobs\":1"},
        {",\"logprobs\":true,\"top_logprobs\":3", ",\"logprobs\":true,\"top_logprobs\":3"},
        {",\"logprobs\":false", ",\"logprobs\":false"},
    };
    struct engine_ask ask = {
        .kind = ENGINE_LLAMACPP, .model = SPAN("e"), .cap = 9, .choice = -1, .prompt = -1};

    (void)state;
    for (size_t i = 0; i < sizeof(chats) / sizeof(chats[0]); i++) {
        AUTO(buf_fini) struct buf body = {0};
        AUTO(buf_fini) struct buf told = {0};
        buf_printf(&body, "{\"model\":\"m\"," MSG "%s}", chats[i][0]);
        buf_printf(&told, "{\"model\":\"e\"," MSG "%s,\"max_tokens\":9," STREAMED "}", chats[i][1]);
        asks(EP_CHAT, buf_cstr(&body), ask, buf_cstr(&told));
    }
    asks(EP_COMPLETIONS, "{\"model\":\"m\",\"prompt\":\"x\",\"logprobs\":0}", ask,
         "{\"model\":\"e\",\"logprobs\":1,\"prompt\":\"x\",\"max_tokens\":9," STREAMED "}");
    ask.kind = ENGINE_VLLM;
    asks(EP_CHAT, CHAT(",\"logprobs\":true"), ask,
         "{\"model\":\"e\"," MSG ",\"logprobs\":true,\"max_tokens\":9," STREAMED "}");
}

#define TOOL(name)  "{\"type\":\"function\",\"function\":{\"name\":\"" name "\",\"parameters\":{}}}"
#define NAMED(name) "{\"type\":\"function\",\"function\":{\"name\":\"" name "\"}}"
#define TOOLED(choice)                                                                             \
    CHAT(",\"tools\":[" TOOL("a") ", " TOOL("b") "," TOOL("c") "],\"tool_choice\":" choice)
#define TOLD(members) "{\"model\":\"e\"," members MSG ",\"max_tokens\":9," STREAMED "}"
#define ALLOWED(mode)                                                                              \
    "{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"" mode                              \
    "\",\"tools\":[" NAMED("c") "," NAMED("\\u0061") "]}}"

/* llama.cpp takes a choice that is an object for "auto". */
static void a_tool_is_chosen_in_words_for_an_engine_that_reads_no_others(void **state)
{
    struct engine_ask ask = {
        .kind = ENGINE_LLAMACPP, .model = SPAN("e"), .cap = 9, .choice = -1, .prompt = -1};

    (void)state;
    asks(EP_CHAT, TOOLED(ALLOWED("auto")), ask,
         TOLD("\"tools\":[" TOOL("a") "," TOOL("c") "],\"tool_choice\":\"auto\","));
    asks(EP_CHAT, TOOLED("\"auto\""), ask,
         "{\"model\":\"e\"," MSG ",\"tools\":[" TOOL("a") ", " TOOL("b") "," TOOL(
             "c") "],\"tool_choice\":\"auto\",\"max_tokens\":9," STREAMED "}");
    ask.kind = ENGINE_VLLM;
    asks(EP_CHAT, TOOLED(NAMED("b")), ask,
         "{\"model\":\"e\"," MSG ",\"tools\":[" TOOL("a") ", " TOOL("b") "," TOOL(
             "c") "],\"tool_choice\":" NAMED("b") ",\"max_tokens\":9," STREAMED "}");
}

#define NOTHING "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}"
#define CALLS(name, arguments)                                                                     \
    "{\"type\":\"object\",\"properties\":{\"name\":{\"const\":\"" name                             \
    "\"},\"arguments\":" arguments                                                                 \
    "},\"required\":[\"name\",\"arguments\"],\"additionalProperties\":false"
#define FORCED(tools, schema)                                                                      \
    TOLD("\"tools\":[" tools "],\"tool_choice\":\"none\",\"response_format\":{\"type\":"           \
         "\"json_schema\",\"json_schema\":{\"name\":\"call\",\"schema\":" schema "}},")

/* Its grammar for calls lets any prose come before one, which is all that a small model says. */
static void a_call_that_must_be_made_is_a_schema_for_an_engine_that_lets_it_be(void **state)
{
    const struct engine_ask ask = {
        .kind = ENGINE_LLAMACPP, .model = SPAN("e"), .cap = 9, .choice = -1, .prompt = -1};

    (void)state;
    asks(EP_CHAT, TOOLED(NAMED("b")), ask, FORCED(TOOL("b"), CALLS("b", NOTHING) "}"));
    asks(EP_CHAT, TOOLED(ALLOWED("required") ",\"response_format\":{\"type\":\"text\"}"), ask,
         FORCED(TOOL("a") "," TOOL("c"),
                "{\"anyOf\":[" CALLS("a", NOTHING) "}," CALLS("c", NOTHING) "}]}"));
    asks(EP_CHAT, TOOLED("\"required\""), ask,
         FORCED(TOOL("a") ", " TOOL("b") "," TOOL("c"),
                "{\"anyOf\":[" CALLS("a", NOTHING) "}," CALLS("b", NOTHING) "}," CALLS(
                    "c", NOTHING) "}]}"));
}

#define WITH(parameters)                                                                           \
    "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":" parameters "}}"
#define MUST(tools)   CHAT(",\"tools\":[" tools "],\"tool_choice\":\"required\"")
#define LEFT(tools)   TOLD("\"tools\":[" tools "],\"tool_choice\":\"required\",")
#define DEFS          "\"$defs\":{\"B\":{\"maximum\":0.70 }}"
#define REFERS(where) "{\"properties\":{\"b\":{\"$ref\":\"" where "\"}}," DEFS "}"

static void its_schema_says_what_the_tools_say_or_is_none(void **state)
{
    const struct engine_ask ask = {
        .kind = ENGINE_LLAMACPP, .model = SPAN("e"), .cap = 9, .choice = -1, .prompt = -1};

    (void)state;
    asks(EP_CHAT, MUST(WITH(REFERS("#/$defs/B"))), ask,
         FORCED(WITH(REFERS("#/$defs/B")), CALLS("f", REFERS("#/$defs/B")) "," DEFS "}"));
    asks(EP_CHAT, MUST(WITH(REFERS("#/properties/b"))), ask, LEFT(WITH(REFERS("#/properties/b"))));
    asks(EP_CHAT, MUST(WITH(REFERS("#/$defs/B")) "," TOOL("a")), ask,
         LEFT(WITH(REFERS("#/$defs/B")) "," TOOL("a")));
    asks(EP_CHAT, MUST(WITH("{\"properties\":{\"$ref\":{}}}")), ask,
         FORCED(WITH("{\"properties\":{\"$ref\":{}}}"),
                CALLS("f", "{\"properties\":{\"$ref\":{}}}") "}"));
    asks(EP_CHAT, MUST("{\"type\":\"custom\",\"custom\":{\"name\":\"f\"}}"), ask,
         LEFT("{\"type\":\"custom\",\"custom\":{\"name\":\"f\"}}"));
}

#define F(name)           "{\"name\":\"" name "\",\"parameters\":{}}"
#define FUNCTIONS         ",\"functions\":[" F("a") ", " F("b") "]"
#define ALL_FUNCTIONS     "\"tools\":[" TOOL("a") "," TOOL("b") "],"
#define ONE_CALL          "\"parallel_tool_calls\":false,"
#define ASKED_AS(members) TOLD(members ONE_CALL)

/* Engines read no other form than tools, and pass over the older one without a word. */
static void functions_are_told_to_an_engine_as_tools(void **state)
{
    static const enum engine_kind kinds[] = {ENGINE_GENERIC, ENGINE_VLLM, ENGINE_SGLANG,
                                             ENGINE_LLAMACPP};
    struct engine_ask ask = {.model = SPAN("e"), .cap = 9, .choice = -1, .prompt = -1};

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        ask.kind = kinds[i];
        asks(EP_CHAT, CHAT(FUNCTIONS ",\"parallel_tool_calls\":true"), ask,
             ASKED_AS(ALL_FUNCTIONS));
        asks(EP_CHAT, CHAT(FUNCTIONS ",\"function_call\":null"), ask, ASKED_AS(ALL_FUNCTIONS));
        asks(EP_CHAT, CHAT(FUNCTIONS ",\"function_call\":\"auto\""), ask,
             ASKED_AS(ALL_FUNCTIONS "\"tool_choice\":\"auto\","));
        asks(EP_CHAT, CHAT(",\"function_call\":\"none\"" FUNCTIONS), ask,
             ASKED_AS(ALL_FUNCTIONS "\"tool_choice\":\"none\","));
        if (ask.kind != ENGINE_LLAMACPP)
            asks(EP_CHAT, CHAT(FUNCTIONS ",\"function_call\":{\"name\":\"b\"}"), ask,
                 ASKED_AS(ALL_FUNCTIONS "\"tool_choice\":" NAMED("b") ","));
    }
    asks(EP_CHAT, CHAT(FUNCTIONS ",\"function_call\":{\"name\":\"b\"}"), ask,
         ASKED_AS(
             "\"tools\":[" TOOL("b") "],\"tool_choice\":\"none\",\"response_format\":"
                                     "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"call\","
                                     "\"schema\":" CALLS("b", NOTHING) "}}},"));
}

#define LEGACY(name, arguments)                                                                    \
    "\"function_call\":{\"name\":\"" name "\",\"arguments\":\"" arguments "\"}"
#define CALL_AS(id, name, arguments)                                                               \
    "\"tool_calls\":[{\"id\":\"call_" id "\",\"type\":\"function\",\"function\":"                  \
    "{\"name\":\"" name "\",\"arguments\":\"" arguments "\"}}]"
#define RESULT_AS(id, content)                                                                     \
    "{\"role\":\"tool\",\"name\":\"f\",\"content\":" content ",\"tool_call_id\":\"call_" id "\"}"
#define PARTS           "[{\"type\":\"text\",\"text\":\"2\"}]"
#define RESULT(content) "{\"role\":\"function\",\"name\":\"f\",\"content\":" content "}"
#define HEARD(messages)                                                                            \
    "{\"model\":\"e\",\"messages\":[" messages "],\"max_tokens\":9," STREAMED "}"
#define ASSISTANT(members) "{\"role\":\"assistant\"," members "}"

static void calls_in_the_older_form_are_told_to_an_engine_in_the_newer(void **state)
{
    const struct engine_ask ask = {.model = SPAN("e"), .cap = 9, .choice = -1, .prompt = -1};

    (void)state;
    asks(EP_CHAT,
         CHATTED(ASSISTANT(LEGACY("f", "{}")) "," RESULT("\"1\"") ", " ASSISTANT(
                     "\"content\":\"x\"," LEGACY("f", "{ }")) "," RESULT(PARTS), ),
         ask,
         HEARD(ASSISTANT(CALL_AS("1", "f", "{}")) "," RESULT_AS("1", "\"1\"") "," ASSISTANT(
             "\"content\":\"x\"," CALL_AS("2", "f", "{ }")) "," RESULT_AS("2", PARTS)));
    asks(EP_CHAT, CHATTED(RESULT("null"), ), ask, HEARD(RESULT_AS("0", "\"\"")));
    asks(EP_CHAT, CHATTED(ASSISTANT("\"content\":null,\"tool_calls\":null," LEGACY("f", "")), ),
         ask, HEARD(ASSISTANT("\"content\":null," CALL_AS("1", "f", "{}"))));
    asks(EP_CHAT, CHATTED(ASSISTANT(CALL_AS("9", "f", "{}") "," LEGACY("f", "{}")), ), ask,
         HEARD(ASSISTANT(CALL_AS("9", "f", "{}"))));
}

#define WITH_IDS(id)                                                                               \
    ASSISTANT("\"tool_calls\":[{\"id\":\"" id "\",\"type\":\"function\",\"function\":"             \
              "{\"name\":\"f\",\"arguments\":\"{}\"}}]")                                           \
    ",{\"role\":\"tool\",\"content\":\"1\",\"tool_call_id\":\"" id "\"},"

#define ODD "{\"role\":\"user\",\"content\":\"1\",\"tool_calls\":[5,{\"id\":6}],\"tool_call_id\":7}"

/* An engine that looks a result's call up by its id would find another call. */
static void calls_in_the_older_form_take_no_id_of_another(void **state)
{
    const struct engine_ask ask = {.model = SPAN("e"), .cap = 9, .choice = -1, .prompt = -1};

    (void)state;
    asks(EP_CHAT, CHATTED(WITH_IDS("call_1") ASSISTANT(LEGACY("f", "{}")) "," RESULT("\"2\""), ),
         ask,
         HEARD(WITH_IDS("call_1") ASSISTANT(CALL_AS("3", "f", "{}")) "," RESULT_AS("3", "\"2\"")));
    asks(EP_CHAT,
         CHATTED(ASSISTANT(LEGACY("f", "{}")) "," WITH_IDS("c\\u0061ll_40") RESULT("\"2\""), ), ask,
         HEARD(ASSISTANT(CALL_AS("42", "f", "{}")) "," WITH_IDS("c\\u0061ll_40")
                   RESULT_AS("42", "\"2\"")));
    asks(EP_CHAT, /* nobody looks at these members of a user's message */
         CHATTED(ODD "," ASSISTANT(LEGACY("f", "{}")), ), ask,
         HEARD(ODD "," ASSISTANT(CALL_AS("1", "f", "{}"))));
    asks(EP_CHAT, CHATTED(WITH_IDS("call_0") RESULT("\"2\""), ), ask,
         HEARD(WITH_IDS("call_0") RESULT_AS("1", "\"2\"")));
    asks(EP_CHAT, CHATTED(WITH_IDS("call_1x") ASSISTANT(LEGACY("f", "{}")), ), ask,
         HEARD(WITH_IDS("call_1x") ASSISTANT(CALL_AS("1", "f", "{}"))));
}

static void so_many_tools_that_reading_them_again_takes_long_are_left_to_the_engine(void **state)
{
    static char filler[256 * 1024];
    AUTO(request_fini) struct request rq = {0};
    AUTO(buf_fini) struct buf body = {0};

    (void)state;
    memset(filler, 'x', sizeof(filler) - 1);
    for (size_t i = 0; i < 2; i++) {
        buf_clear(&body);
        buf_printf(&body,
                   "{\"model\":\"m\"," MSG
                   ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":"
                   "\"f\",\"description\":\"%s\"}}],\"tool_choice\":\"required\"}",
                   filler + (i == 0 ? sizeof(filler) / 2 : 0));
        accept(EP_CHAT, buf_cstr(&body), &rq);
        request_prepare(&rq, ENGINE_VLLM);
        assert_false(request_calls_in_text(&rq));
        request_prepare(&rq, ENGINE_LLAMACPP);
        assert_int_equal(request_calls_in_text(&rq), i == 0);
        request_fini(&rq);
    }
}

static void a_choice_can_be_asked_for_alone(void **state)
{
    const struct engine_ask ask = {.model = SPAN("e"), .cap = 1, .choice = 2, .prompt = 1};

    (void)state;
    asks(EP_COMPLETIONS,
         "{\"model\":\"m\",\"prompt\":[\"a\", \"\\u0062\"],\"n\":3,\"best_of\":4,\"seed\":40}", ask,
         "{\"model\":\"e\",\"prompt\":\"\\u0062\",\"seed\":42,\"max_tokens\":1," STREAMED "}");
    asks(
        EP_COMPLETIONS, "{\"model\":\"m\",\"prompt\":[[1],[2,3]],\"seed\":9223372036854775807}",
        ask,
        "{\"model\":\"e\",\"prompt\":[2,3],\"seed\":-9223372036854775807,\"max_tokens\":1," STREAMED
        "}");
}

static void embeddings_are_asked_for_as_they_came(void **state)
{
    const struct engine_ask ask = {.model = SPAN("e"), .choice = -1, .prompt = -1};

    (void)state;
    asks(EP_EMBEDDINGS, "{\"model\":\"m\",\"input\":[1,2],\"encoding_format\":\"base64\"}", ask,
         "{\"model\":\"e\",\"input\":[1,2],\"encoding_format\":\"base64\"}");
}

static void paths_name_endpoints(void **state)
{
    enum endpoint e;

    (void)state;
    assert_int_equal(endpoint_of(SPAN("/v1/embeddings"), &e), 0);
    assert_int_equal(e, EP_EMBEDDINGS);
    assert_int_equal(endpoint_of(SPAN("/v1/embeddings/"), &e), E_NOT_FOUND);
    assert_string_equal(endpoint_path(EP_CHAT), "/v1/chat/completions");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_that_is_not_json_is_refused),
        cmocka_unit_test(a_nul_byte_is_refused_wherever_it_stands),
        cmocka_unit_test(a_body_too_deep_or_too_wide_is_refused),
        cmocka_unit_test(what_is_required_must_be_there),
        cmocka_unit_test(numbers_have_types_and_ranges),
        cmocka_unit_test(words_and_shapes_are_checked),
        cmocka_unit_test(messages_and_parts_are_checked),
        cmocka_unit_test(addresses_never_reach_an_engine),
        cmocka_unit_test(tools_are_checked),
        cmocka_unit_test(members_that_contradict_each_other_are_refused),
        cmocka_unit_test(denied_extras_are_named),
        cmocka_unit_test(strict_callers_hear_of_unknown_members),
        cmocka_unit_test(completions_have_their_own_rules),
        cmocka_unit_test(embeddings_have_their_own_rules),
        cmocka_unit_test(an_array_of_inputs_has_a_limit),
        cmocka_unit_test(legal_requests_pass),
        cmocka_unit_test(what_we_act_on_is_read),
        cmocka_unit_test(defaults_are_those_of_the_api),
        cmocka_unit_test(null_is_what_is_not_there),
        cmocka_unit_test(what_is_named_as_ignored_has_no_effect),
        cmocka_unit_test(prompts_and_inputs_are_counted),
        cmocka_unit_test(bodies_that_hide_what_is_made_are_known),
        cmocka_unit_test(ignored_members_are_named),
        cmocka_unit_test(at_most_32_names_are_told),
        cmocka_unit_test(the_conversation_stays_the_same_in_every_turn),
        cmocka_unit_test(what_is_ours_is_not_forwarded),
        cmocka_unit_test(bytes_stay_as_they_came),
        cmocka_unit_test(integers_beyond_64_bits_pass_where_nobody_reads_them),
        cmocka_unit_test(extras_follow_the_configured_lists),
        cmocka_unit_test(denied_members_of_the_api_are_refused),
        cmocka_unit_test(what_was_dropped_here_and_by_the_next_is_named_once),
        cmocka_unit_test(embeddings_take_the_extras_that_are_configured_alone),
        cmocka_unit_test(the_engine_gets_our_stream_cap_and_name),
        cmocka_unit_test(what_says_nothing_is_kept_from_the_engine),
        cmocka_unit_test(what_is_told_beside_a_token_is_asked_for_by_number),
        cmocka_unit_test(a_tool_is_chosen_in_words_for_an_engine_that_reads_no_others),
        cmocka_unit_test(a_call_that_must_be_made_is_a_schema_for_an_engine_that_lets_it_be),
        cmocka_unit_test(its_schema_says_what_the_tools_say_or_is_none),
        cmocka_unit_test(functions_are_told_to_an_engine_as_tools),
        cmocka_unit_test(calls_in_the_older_form_are_told_to_an_engine_in_the_newer),
        cmocka_unit_test(calls_in_the_older_form_take_no_id_of_another),
        cmocka_unit_test(so_many_tools_that_reading_them_again_takes_long_are_left_to_the_engine),
        cmocka_unit_test(a_choice_can_be_asked_for_alone),
        cmocka_unit_test(embeddings_are_asked_for_as_they_came),
        cmocka_unit_test(paths_name_endpoints),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
