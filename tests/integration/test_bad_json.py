"""Bodies that are wrong in every way api.md names, and what reaches the engine of those that are right."""

import json

import pytest

from stack import chat

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
JSON = {"Content-Type": "application/json"}
GOOD = b'{"model":"fake-model","messages":[{"role":"user","content":"Hi"}]}'


@pytest.fixture(scope="module")
def strict(_chain):
    """A key that is told of every unknown parameter."""
    return _chain.key("--name", "strict", "--strict")


def check_error(a, status, code, param=None, kind="invalid_request_error"):
    assert a.status == status, (a.status, a.body[:500])
    assert set(a.error) == {"message", "type", "param", "code"}
    assert (a.error["code"], a.error["param"], a.error["type"]) == (code, param, kind), a.error
    assert isinstance(a.error["message"], str) and a.error["message"]


def post(raw, path, body):
    return raw.ask("POST", path, body if isinstance(body, bytes) else json.dumps(body).encode(), JSON)


# ---- Bodies that are no JSON object -------------------------------------------------------------------

def with_extra(extra):
    return GOOD[:-1] + b"," + extra + b"}"


@pytest.mark.parametrize("body", [
    b"", b" ", b"{", b'{"model": ', b"nonsense", b"'single'", b"[]", b"[{}]", b'"text"', b"null", b"true", b"17", b"-", b"NaN",
    b"\0", b"\xff\xfe{\0}\0", b"\xef\xbb\xbf" + GOOD, GOOD + b"x", GOOD + b"{}", GOOD + b"\0", b"\0" + GOOD, GOOD[:-1] + b",}",
    with_extra(b'"model":"fake-model"'), with_extra(b'"mod\\u0065l":"fake-model"'), with_extra(b'"x":{"a":1,"a":2}'),
    with_extra(b'"\xff":1'), with_extra(b'"x":"\xc0\x80"'), with_extra(b'"x":"\xed\xa0\x80"'),
    with_extra(b'"x":"\xf4\x90\x80\x80"'),
    with_extra(b'"x":"\xe2\x82"'), with_extra(b'"x":"\\ud800"'), with_extra(b'"x":"\\udc00\\ud800"'), with_extra(b'"x":"\\x"'),
    with_extra(b'"x":"\n"'), with_extra(b'"x":"\0"'), with_extra(b'"x":01'), with_extra(b'"x":1.'), with_extra(b'"x":.5'),
    with_extra(b'"x":+1'), with_extra(b'"x":0x10'), with_extra(b'"x":Infinity'), with_extra(b'"x":tru'), with_extra(b'"x":1e999'),
    with_extra(b"x:1"), with_extra(b'"x" 1'), with_extra(b"/* no */ \"x\":1"),
], ids=lambda b: repr(b[-40:])[:60])
def test_a_body_that_is_no_json_object_is_refused(raw, body):
    check_error(post(raw, CHAT, body), 400, None)
    assert raw.answer.error["message"].startswith("We could not parse the JSON body of your request. (HINT: ")
    assert post(raw, CHAT, GOOD).status == 200  # the connection is still good for the next


@pytest.mark.parametrize("path", [COMPLETIONS, EMBEDDINGS])
def test_the_other_endpoints_refuse_it_too(raw, path):
    check_error(post(raw, path, b'{"model"'), 400, None)
    check_error(post(raw, path, b"[]"), 400, None)


def nest(depth, opening=b"[", closing=b"]"):
    return with_extra(b'"x":' + opening * depth + closing * depth)


def test_depth_is_bounded(raw):
    assert post(raw, CHAT, nest(99)).status == 200
    check_error(post(raw, CHAT, nest(100)), 400, "json_too_complex")
    check_error(post(raw, CHAT, nest(100_000)), 400, "json_too_complex")  # and in the offload pool
    check_error(post(raw, CHAT, nest(200_000)), 400, "json_too_complex")
    check_error(post(raw, CHAT, b"[" * 1_000_000), 400, "json_too_complex")
    check_error(post(raw, CHAT, b'{"a":' * 300_000), 400, "json_too_complex")


def test_values_are_bounded(raw):
    few, many = b'"x":[' + b"0," * 99_000 + b"0]", b'"x":[' + b"[],".join([b""] * 100_001) + b"0]"
    assert post(raw, CHAT, with_extra(few)).status == 200
    check_error(post(raw, CHAT, with_extra(many)), 400, "json_too_complex")
    check_error(post(raw, CHAT, b"[],".join([b""] * 2_000_000)), 400, "json_too_complex")


def test_an_oversized_body_is_refused_by_its_length_alone(chain):
    with chain.raw() as raw:
        raw.request("POST", CHAT, b"", {**JSON, "Content-Length": str((32 << 20) + 1)})
        assert raw.head().status == 413
        check_error(raw.rest(), 413, "request_too_large")
        assert raw.answer.header("connection") == "close"


# ---- Types and ranges ---------------------------------------------------------------------------------

S, I, N, B, A, O = "a string", 17, 0.5, True, [], {"a": 1}
NOT_INTEGER, NOT_NUMBER, NOT_BOOL = (S, N, B, A, O), (S, B, A, O), (S, I, N, A, O)
NOT_STRING, NOT_OBJECT, NOT_ARRAY = (I, N, B, A, O), (S, I, N, B, A), (S, I, N, B, O)
TOOL = {"type": "function", "function": {"name": "f"}}


def wrong_types(field, values, null=False, **with_):
    return [({field: v, **with_}, "invalid_type", field) for v in values] + ([({field: None, **with_}, "invalid_type",
            field)] if null else [])


def decimal(field, low, high):
    return [*wrong_types(field, NOT_NUMBER), ({field: high + 0.001}, "decimal_above_max_value", field),
            ({field: high + 1}, "decimal_above_max_value", field),
            ({field: low - 0.001}, "decimal_below_min_value", field), ({field: low - 1}, "decimal_below_min_value", field),
            ({field: 1e300}, "decimal_above_max_value", field), ({field: -(1 << 62)}, "decimal_below_min_value", field)]


def integer(field, low, high, **with_):
    rows = [*wrong_types(field, NOT_INTEGER, **with_), ({field: low - 1, **with_}, "integer_below_min_value", field),
            ({field: -(1 << 63), **with_}, "integer_below_min_value", field)]
    return rows + [({field: high + 1, **with_}, "integer_above_max_value", field),
                   ({field: (1 << 63) - 1, **with_}, "integer_above_max_value", field)]


SAMPLERS = [
    *wrong_types("stream", NOT_BOOL), *wrong_types("stream_options", NOT_OBJECT, stream=True),
    ({"stream_options": {}}, None, "stream_options"), ({"stream_options": {"include_usage": True}, "stream": False}, None,
                                                       "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "invalid_type", "stream_options.include_usage"),
    ({"stream": True, "stream_options": {"include_obfuscation": "yes"}}, "invalid_type", "stream_options.include_obfuscation"),
    *decimal("temperature", 0, 2), *decimal("top_p", 0, 1), *decimal("frequency_penalty", -2, 2),
    *decimal("presence_penalty", -2, 2),
    *integer("n", 1, 128),
    *wrong_types("stop", (I, N, B, O)), ({"stop": []}, "empty_array", "stop"),
    ({"stop": ["a"] * 5}, "array_above_max_length", "stop"),
    ({"stop": ["a", 1]}, "invalid_type", "stop[1]"), ({"stop": [None]}, "invalid_type", "stop[0]"),
    *wrong_types("seed", NOT_INTEGER), ({"seed": 1 << 63}, "integer_above_max_value", "seed"),
    ({"seed": -(1 << 63) - 1}, "integer_below_min_value", "seed"), ({"n": 10 ** 30}, "integer_above_max_value", "n"),
    *wrong_types("logit_bias", NOT_OBJECT), ({"logit_bias": {"50256": 101}}, "integer_above_max_value", "logit_bias.50256"),
    ({"logit_bias": {"50256": -101}}, "integer_below_min_value", "logit_bias.50256"),
    ({"logit_bias": {"50256": "1"}}, "invalid_type", "logit_bias.50256"),
    ({"logit_bias": {str(i): 1 for i in range(1025)}}, "invalid_value", "logit_bias"),
    *wrong_types("user", NOT_STRING), *integer("max_coefficient", 0, 999_999_999),
    *wrong_types("timeout", NOT_NUMBER), ({"timeout": 0}, "decimal_below_min_value", "timeout"),
    ({"timeout": -1.5}, "decimal_below_min_value", "timeout"),
]

CHAT_ROWS = [
    *SAMPLERS,
    *integer("max_completion_tokens", 1, 2147483647), *integer("max_tokens", 1, 2147483647),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "invalid_parameter_combination", "max_tokens"),
    *wrong_types("logprobs", NOT_BOOL), *integer("top_logprobs", 0, 20, logprobs=True),
    ({"top_logprobs": 2}, "invalid_value", "top_logprobs"),
    ({"top_logprobs": 2, "logprobs": False}, "invalid_value", "top_logprobs"),
    *wrong_types("response_format", NOT_OBJECT), ({"response_format": {}}, "missing_required_parameter", "response_format.type"),
    ({"response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
    ({"response_format": {"type": 1}}, "invalid_type", "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "missing_required_parameter", "response_format.json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "missing_required_parameter",
     "response_format.json_schema.name"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}}, "invalid_value",
     "response_format.json_schema.name"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": ""}}}, "invalid_value",
     "response_format.json_schema.name"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a" * 65}}}, "string_above_max_length",
     "response_format.json_schema.name"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": []}}}, "invalid_type",
     "response_format.json_schema.schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": "yes"}}}, "invalid_type",
     "response_format.json_schema.strict"),
    *wrong_types("tools", NOT_ARRAY), ({"tools": []}, "empty_array", "tools"), ({"tools": [1]}, "invalid_type", "tools[0]"),
    ({"tools": [{}]}, "missing_required_parameter", "tools[0].type"),
    ({"tools": [{"type": "code"}]}, "invalid_value", "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].function"),
    ({"tools": [{"type": "function", "function": {}}]}, "missing_required_parameter", "tools[0].function.name"),
    ({"tools": [TOOL, {"type": "function", "function": {"name": "f" * 65}}]}, "string_above_max_length", "tools[1].function.name"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": "x"}}]}, "invalid_type",
     "tools[0].function.parameters"),
    ({"tools": [{"type": "custom", "custom": {}}]}, "missing_required_parameter", "tools[0].custom.name"),
    ({"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "grammar"}}}]}, "missing_required_parameter",
     "tools[0].custom.format.grammar"),
    ({"tools": [{"type": "custom", "custom": {"name": "c",
                                              "format": {"type": "grammar", "grammar": {"definition": "x", "syntax": "ebnf"}}}}]},
     "invalid_value", "tools[0].custom.format.grammar.syntax"),
    *wrong_types("tool_choice", (I, N, B, A), tools=[TOOL]),
    ({"tool_choice": "maybe", "tools": [TOOL]}, "invalid_value", "tool_choice"),
    ({"tool_choice": "auto"}, "invalid_value", "tool_choice"),
    *[({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools}}, "tools": [TOOL]}, code,
       "tool_choice" + param) for tools, code, param in (
           ([5], "invalid_type", ".allowed_tools.tools[0]"), ([TOOL, {}], "missing_required_parameter", ".allowed_tools.tools[1].type"),
           ([{"type": "mcp"}], "invalid_value", ".allowed_tools.tools[0].type"),
           ([{"type": "function"}], "missing_required_parameter", ".allowed_tools.tools[0].function"),
           ([{"type": "custom", "custom": {}}], "missing_required_parameter", ".allowed_tools.tools[0].custom.name"),
           ([TOOL, {"type": "function", "function": {"name": "other"}}], "invalid_value", ""),
           ([{"type": "custom", "custom": {"name": TOOL["function"]["name"]}}], "invalid_value", ""))],
    ({"tool_choice": {"type": "function"}, "tools": [TOOL]}, "missing_required_parameter", "tool_choice.function"),
    ({"tool_choice": {"type": "function", "function": {}}, "tools": [TOOL]}, "missing_required_parameter",
     "tool_choice.function.name"),
    ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": [TOOL]}}, "tools": [TOOL]},
     "invalid_value",
     "tool_choice.allowed_tools.mode"),
    *wrong_types("parallel_tool_calls", NOT_BOOL),
    *wrong_types("functions", NOT_ARRAY), ({"functions": []}, "empty_array", "functions"),
    ({"functions": [{"name": f"f{i}"} for i in range(129)]}, "array_above_max_length", "functions"),
    ({"functions": [{}]}, "missing_required_parameter", "functions[0].name"),
    *wrong_types("function_call", (I, N, B, A), functions=[{"name": "f"}]),
    ({"function_call": "required", "functions": [{"name": "f"}]}, "invalid_value", "function_call"),
    ({"function_call": "auto"}, "invalid_value", "function_call"),
    *wrong_types("reasoning_effort", NOT_STRING), ({"reasoning_effort": "extreme"}, "invalid_value", "reasoning_effort"),
    *wrong_types("verbosity", NOT_STRING), ({"verbosity": "loud"}, "invalid_value", "verbosity"),
    *wrong_types("service_tier", NOT_STRING), ({"service_tier": "gold"}, "invalid_value", "service_tier"),
    *wrong_types("store", NOT_BOOL),
    *wrong_types("metadata", NOT_OBJECT), ({"metadata": {str(i): "" for i in range(17)}}, "invalid_value", "metadata"),
    ({"metadata": {"k" * 65: "v"}}, "string_above_max_length", "metadata"),
    ({"metadata": {"k": "v" * 513}}, "string_above_max_length", "metadata.k"),
    ({"metadata": {"k": 1}}, "invalid_type", "metadata.k"),
    *wrong_types("safety_identifier", NOT_STRING), ({"safety_identifier": "x" * 65}, "string_above_max_length",
                                                    "safety_identifier"),
    *wrong_types("prompt_cache_key", NOT_STRING),
    ({"moderation": {"model": "m"}}, "unsupported_parameter", "moderation"),
    *wrong_types("modalities", NOT_ARRAY), ({"modalities": ["text", "audio"]}, "unsupported_value", "modalities[1]"),
    ({"modalities": ["smell"]}, "invalid_value", "modalities[0]"),
    ({"audio": {"voice": "alloy", "format": "wav"}}, "unsupported_parameter", "audio"),
    *wrong_types("prediction", NOT_OBJECT), ({"prediction": {}}, "missing_required_parameter", "prediction.type"),
    ({"prediction": {"type": "x", "content": "x"}}, "invalid_value", "prediction.type"),
    ({"prediction": {"type": "content"}}, "missing_required_parameter", "prediction.content"),
    ({"prediction": {"type": "content", "content": 5}}, "invalid_type", "prediction.content"),
    ({"prediction": {"type": "content", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}}, "invalid_value",
     "prediction.content[0].type"),
    ({"web_search_options": {}}, "unsupported_parameter", "web_search_options"),
    *wrong_types("model", NOT_STRING, null=True), ({"model": ""}, "invalid_value", "model"),
    ({"model": "x" * 257}, "invalid_value", "model"), ({"model": "fake-model\0"}, "invalid_value", "model"),
    *wrong_types("messages", NOT_ARRAY, null=True), ({"messages": []}, "empty_array", "messages"),
]


@pytest.mark.parametrize("fields, code, param", CHAT_ROWS, ids=lambda v: str(v)[:50] if isinstance(v, dict) else "")
def test_chat_fields(raw, engine, fields, code, param):
    before = len(engine.requests)
    check_error(post(raw, CHAT, {**chat("never at the engine"), **fields}), 400, code, param)
    assert len(engine.requests) == before or all(b"never at" not in r.body for r in engine.requests[before:])


USER = {"role": "user", "content": "Hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


def image(url):
    return {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.parametrize("messages, code, param", [
    ([1], "invalid_type", "messages[0]"), ([USER, []], "invalid_type", "messages[1]"), ([None], "invalid_type", "messages[0]"),
    ([{"content": "x"}], "missing_required_parameter", "messages[0].role"),
    ([{"role": 1, "content": "x"}], "invalid_type", "messages[0].role"),
    ([USER, {"role": "robot", "content": "x"}], "invalid_value", "messages[1].role"),
    ([{"role": "user"}], "missing_required_parameter", "messages[0].content"),
    ([{"role": "user", "content": None}], "invalid_type", "messages[0].content"),
    ([{"role": "user", "content": 7}], "invalid_type", "messages[0].content"),
    ([{"role": "system"}], "missing_required_parameter", "messages[0].content"),
    ([{"role": "developer", "content": {}}], "invalid_type", "messages[0].content"),
    ([{"role": "assistant"}], "missing_required_parameter", "messages[0].content"),
    ([USER, {"role": "assistant", "content": None, "tool_calls": []}], "empty_array", "messages[1].tool_calls"),
    ([USER, {"role": "assistant", "tool_calls": [{**CALL, "id": None}]}], "invalid_type", "messages[1].tool_calls[0].id"),
    ([USER, {"role": "assistant", "tool_calls": [{**CALL, "type": "x"}]}], "invalid_value", "messages[1].tool_calls[0].type"),
    ([USER, {"role": "assistant", "tool_calls": [{"id": "a", "type": "function"}]}], "missing_required_parameter",
     "messages[1].tool_calls[0].function"),
    ([USER, {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {}}}]}], "invalid_type",
     "messages[1].tool_calls[0].function.arguments"),
    ([USER, {"role": "tool", "content": "x"}], "missing_required_parameter", "messages[1].tool_call_id"),
    ([USER, {"role": "function", "content": "x"}], "missing_required_parameter", "messages[1].name"),
    (user(), "empty_array", "messages[0].content"), (user("text"), "invalid_type", "messages[0].content[0]"),
    (user({"text": "x"}), "missing_required_parameter", "messages[0].content[0].type"),
    (user({"type": "video", "video": 1}), "invalid_value", "messages[0].content[0].type"),
    (user({"type": "refusal", "refusal": "no"}), "invalid_value", "messages[0].content[0].type"),
    (user({"type": "text"}), "missing_required_parameter", "messages[0].content[0].text"),
    (user({"type": "text", "text": 1}), "invalid_type", "messages[0].content[0].text"),
    (user({"type": "image_url"}), "missing_required_parameter", "messages[0].content[0].image_url"),
    (user({"type": "image_url", "image_url": "data:x"}), "invalid_type", "messages[0].content[0].image_url"),
    (user({"type": "image_url", "image_url": {}}), "missing_required_parameter", "messages[0].content[0].image_url.url"),
    (user({"type": "image_url", "image_url": {"url": "data:x", "detail": "max"}}), "invalid_value",
     "messages[0].content[0].image_url.detail"),
    (user({"type": "text", "text": "x"}, image("https://example.com/a.png")), "invalid_image_url",
     "messages[0].content[1].image_url"),
    (user(image("http://169.254.169.254/")), "invalid_image_url", "messages[0].content[0].image_url"),
    (user(image("file:///etc/passwd")), "invalid_image_url", "messages[0].content[0].image_url"),
    (user(image("")), "invalid_image_url", "messages[0].content[0].image_url"),
    (user({"type": "text", "text": "x", "image_url": {"url": "http://x"}}), "invalid_image_url",
     "messages[0].content[0].image_url"),
    (user({"type": "input_audio", "input_audio": {"data": "AA==", "format": "ogg"}}), "invalid_value",
     "messages[0].content[0].input_audio.format"),
    (user({"type": "input_audio", "input_audio": {"data": "http://x/a.wav", "format": "wav"}}), "invalid_value",
     "messages[0].content[0].input_audio.data"),
    (user({"type": "file", "file": {"file_id": "file-1"}}), "unsupported_value", "messages[0].content[0].file.file_id"),
    (user({"type": "text", "text": "x", "video_url": {"url": "http://x"}}), "unsupported_parameter",
     "messages[0].content[0].video_url"),
    ([{"role": "system", "content": [image("data:image/png;base64,AA==")]}], "invalid_value", "messages[0].content[0].type"),
    ([USER, {"role": "tool", "tool_call_id": "a", "content": [image("data:image/png;base64,AA==")]}], "invalid_value",
     "messages[1].content[0].type"),
    ([USER, {"role": "assistant", "content": "x", "audio": {"id": "a"}}], "unsupported_parameter", "messages[1].audio"),
], ids=lambda v: str(v)[:60] if isinstance(v, list) else "")
def test_messages(raw, messages, code, param):
    check_error(post(raw, CHAT, {"model": "fake-model", "messages": messages}), 400, code, param)


@pytest.mark.parametrize("fields, code, param", [
    *SAMPLERS, *integer("max_tokens", 0, 2147483647), *integer("best_of", 0, 20), *wrong_types("echo", NOT_BOOL),
    *integer("logprobs", 0, 5), *wrong_types("suffix", NOT_STRING),
    *wrong_types("prompt", (I, N, B, O)), ({"prompt": []}, "empty_array", "prompt"),
    ({"prompt": [1, "a"]}, "invalid_type", "prompt[1]"),
    ({"prompt": ["a", 1]}, "invalid_type", "prompt[1]"), ({"prompt": [[1], []]}, "empty_array", "prompt[1]"),
    ({"prompt": [-1]}, "integer_below_min_value", "prompt[0]"), ({"prompt": [[1, None]]}, "invalid_type", "prompt[0][1]"),
    ({"prompt": [True]}, "invalid_type", "prompt[0]"), ({"prompt": ["a"] * 2049}, "array_above_max_length", "prompt"),
    ({"n": 3, "best_of": 2}, "invalid_value", "best_of"), ({"n": 1, "best_of": 2, "stream": True}, "invalid_value", "best_of"),
    ({"prompt": ["a"] * 20, "n": 128}, "invalid_value", "prompt"),
    *wrong_types("model", NOT_STRING, null=True),
], ids=lambda v: str(v)[:50] if isinstance(v, dict) else "")
def test_completions_fields(raw, fields, code, param):
    check_error(post(raw, COMPLETIONS, {"model": "fake-model", "prompt": "Hi", **fields}), 400, code, param)


@pytest.mark.parametrize("fields, code, param", [
    *wrong_types("input", (I, N, B, O), null=True), ({"input": ""}, "invalid_value", "input"),
    ({"input": []}, "empty_array", "input"),
    ({"input": ["a"] * 2049}, "array_above_max_length", "input"), ({"input": ["a", ""]}, "invalid_value", "input[1]"),
    ({"input": ["a", 1]}, "invalid_type", "input[1]"), ({"input": [1, "a"]}, "invalid_type", "input[1]"),
    ({"input": [[]]}, "empty_array", "input[0]"), ({"input": [1] * 2049}, "array_above_max_length", "input"),
    *wrong_types("encoding_format", NOT_STRING), ({"encoding_format": "int8"}, "invalid_value", "encoding_format"),
    ({"dimensions": 0}, "integer_below_min_value", "dimensions"), *wrong_types("dimensions", NOT_INTEGER),
    *wrong_types("user", NOT_STRING), *wrong_types("model", NOT_STRING, null=True),
], ids=lambda v: str(v)[:50] if isinstance(v, dict) else "")
def test_embeddings_fields(raw, fields, code, param):
    check_error(post(raw, EMBEDDINGS, {"model": "fake-model", "input": "Hi", **fields}), 400, code, param)


@pytest.mark.parametrize("path, body, param", [
    (CHAT, {}, "model"), (CHAT, {"model": "fake-model"}, "messages"), (CHAT, {"messages": [USER]}, "model"),
    (COMPLETIONS, {"prompt": "x"}, "model"), (EMBEDDINGS, {"model": "fake-model"}, "input"), (EMBEDDINGS, {"input": "x"}, "model")])
def test_what_is_missing_is_named(raw, path, body, param):
    check_error(post(raw, path, body), 400, "missing_required_parameter", param)
    assert raw.answer.error["message"] == f"Missing required parameter: '{param}'."


@pytest.mark.parametrize("fields", [
    {"temperature": 0}, {"temperature": 2}, {"temperature": 2.0}, {"temperature": None}, {"top_p": 0}, {"top_p": 1}, {"n": None},
    {"frequency_penalty": -2}, {"presence_penalty": 2.0}, {"stop": None}, {"stop": "x"}, {"stop": ["x"] * 4}, {"seed": None},
    {"seed": -(1 << 63)}, {"seed": (1 << 63) - 1}, {"logit_bias": None}, {"logit_bias": {"1": -100, "2": 100}}, {"logprobs": None},
    {"logprobs": True, "top_logprobs": 20}, {"max_tokens": None, "max_completion_tokens": 1},
    {"stream": None, "stream_options": None},
    {"response_format": {"type": "text"}}, {"response_format": {"type": "json_schema",
                                                                "json_schema": {"name": "a-B_9", "strict": None}}},
    {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TOOL]}}},
    {"tools": [{"type": "custom", "custom": {"name": "c",
                                             "format": {"type": "grammar", "grammar": {"definition": "x", "syntax": "lark"}}}}]},
    {"functions": [{"name": "f"}], "function_call": {"name": "f"}}, {"reasoning_effort": None}, {"reasoning_effort": "max"},
    {"service_tier": "flex"}, {"store": False}, {"metadata": {"k" * 64: "v" * 512}}, {"safety_identifier": "x" * 64},
    {"modalities": ["text"]}, {"modalities": None}, {"max_coefficient": 999_999_999}, {"timeout": 0.5},
    {"parallel_tool_calls": False},
    {"audio": None}, {"chat_template_kwargs": {"enable_thinking": False}},
], ids=str)
def test_the_edges_of_each_range_pass(raw, fields):
    a = post(raw, CHAT, {**chat(), **fields})
    assert a.status == 200 and a.header("cocoon-ignored") is None, a.body


def test_the_caps_message_is_the_published_one(raw):
    a = post(raw, CHAT, chat(temperature=200))
    assert a.error["message"] == "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 200 instead."
    a = post(raw, CHAT, chat(max_tokens=1, max_completion_tokens=1))
    assert a.error["message"] == "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
    a = post(raw, CHAT, chat(stream_options={}))
    assert a.error["message"] == "The 'stream_options' parameter is only allowed when 'stream' is enabled."


# ---- Fields nobody knows, and engine extras -----------------------------------------------------------

def test_unknown_fields_are_dropped_and_named(raw, engine):
    a = post(raw, CHAT, chat("dropped-1", tomorrow=1, **{"next.year[0]": 2, "two words": 3, "": 4, "é": 5, "a\r\nx-evil: 1": 6,
                                                         "l" * 65: 7}))
    assert a.status == 200 and a.header("cocoon-ignored") == "tomorrow,next.year[0],?,?,?,?,?" and a.header("x-evil") is None
    assert set(engine.find("dropped-1").json) <= {"model", "messages", "stream", "stream_options", "max_tokens",
                                                  "max_completion_tokens", "seed",
                                                  "cache_prompt", "n", "cache_salt"}


def test_at_most_32_are_named(raw):
    a = post(raw, CHAT, chat(**{f"new{i}": i for i in range(200)}))
    assert a.status == 200 and a.header("cocoon-ignored").split(",") == [f"new{i}" for i in range(32)]


def test_what_has_no_effect_is_named(raw, engine):
    a = post(raw, CHAT, chat("named-1", store=True, verbosity="low", prediction={"type": "content", "content": "x"},
                             prompt_cache_options={"mode": "implicit"}, prompt_cache_retention="24h", messages=[
                                 {"role": "user", "content": [{"type": "text", "text": "named-1",
                                                               "prompt_cache_breakpoint": {"mode": "explicit"}}]}]))
    assert a.status == 200
    assert set(a.header("cocoon-ignored").split(",")) == {"store", "verbosity", "prediction", "prompt_cache_options",
                                                          "prompt_cache_retention",
                                                          "messages[0].content[0].prompt_cache_breakpoint"}
    assert not {"store", "verbosity", "prediction", "prompt_cache_options"} & set(engine.find("named-1").json)


def test_private_fields_never_reach_the_engine(raw, engine):
    a = post(raw, CHAT, chat("private-1", user="planted-user", safety_identifier="planted-id", prompt_cache_key="planted-key",
                             metadata={"planted-meta": "planted"}, max_coefficient=7000, timeout=20, store=False))
    assert a.status == 200 and a.header("cocoon-ignored") is None
    assert b"planted" not in engine.find("private-1").body and b"coefficient" not in engine.find("private-1").body


def test_a_strict_key_is_told(chain, strict):
    with chain.raw(key=strict) as raw:
        check_error(post(raw, CHAT, chat(tomorrow=1)), 400, "unknown_parameter", "tomorrow")
        assert raw.answer.error["message"] == "Unknown parameter: 'tomorrow'."
        check_error(post(raw, CHAT, chat(store=True)), 400, "unsupported_value", "store")
        check_error(post(raw, EMBEDDINGS, {"model": "fake-model", "input": "x", "top_k": 1}), 400, "unknown_parameter", "top_k")
        assert post(raw, CHAT, chat(top_k=3, user="x", metadata={})).status == 200


@pytest.mark.parametrize("name", [
    "chat_template", "mm_processor_kwargs", "media_io_kwargs", "kv_transfer_params", "ec_transfer_params", "vllm_xargs",
    "request_id",
    "session_id", "priority", "cache_salt", "prompt_logprobs", "return_token_ids", "return_prompt_text", "echo", "documents",
    "allowed_token_ids", "id_slot", "cache_prompt", "lora", "grammar"])
def test_denied_extras_are_refused_by_name(raw, name):
    check_error(post(raw, CHAT, chat(**{name: 1})), 400, "unsupported_parameter", name)
    check_error(post(raw, CHAT, json.dumps(chat(**{name: 1})).replace(f'"{name}"',
                                                                      f'"\\u00{ord(name[0]):02x}{name[1:]}"').encode()), 400,
                "unsupported_parameter", name)


def test_of_template_arguments_only_thinking_passes(raw):
    check_error(post(raw, CHAT, chat(chat_template_kwargs={"tools": "x"})), 400, "unsupported_parameter",
                "chat_template_kwargs.tools")
    check_error(post(raw, CHAT, chat(chat_template_kwargs={"thinking": "x"})), 400, "invalid_type", "chat_template_kwargs.thinking")


def test_echo_is_legal_for_completions(raw):
    answer = post(raw, COMPLETIONS, {"model": "fake-model", "prompt": "Say: ", "echo": True})
    assert answer.status == 200 and answer.json["choices"][0]["text"].startswith("Say: Hello")  # the engine takes no notice


def test_of_no_token_there_is_none(raw):
    answer = post(raw, COMPLETIONS, {"model": "fake-model", "prompt": ["a", "b"], "echo": True, "max_tokens": 0})
    assert [(c["text"], c["finish_reason"]) for c in answer.json["choices"]] == [("a", "length"), ("b", "length")]
    assert answer.json["usage"]["completion_tokens"] == 0


# ---- Bytes stay as they came --------------------------------------------------------------------------

EXTRAS = [b'"top_k":40', b'"min_p":0.05', b'"repetition_penalty":1.10', b'"ignore_eos":false', b'"stop_token_ids":[1,2]',
          b'"mirostat_tau":5.0',
          b'"dry_multiplier":0.8', b'"xtc_probability":1e-1']
SCHEMA = (b'{"type":"object","zebra":1,"alpha":{"maximum":0.7,"minimum":-0.0,"multipleOf":1E-5,'
          b'"enum":["\\u0000","\\ud83d\\ude00","\xc3\xa9","\\/"]},"beta":[ 1 , 2.50 ]}')


def sent(raw, engine, members, marker):
    body = b'{"messages":[{"content":"' + marker + b'","role":"user"}],' + members + b',"model":"fake-model"}'
    a = post(raw, CHAT, body)
    assert a.status == 200, a.body
    return engine.find(marker.decode()).body


@pytest.mark.parametrize("member", [
    b'"seed":-9007199254740991', b'"seed":9223372036854775807', b'"seed":-9223372036854775808', b'"temperature":0.7',
    b'"temperature":1e0',
    b'"temperature":0.70000000000000001', b'"top_p":1.0', b'"stop":["\\u0000","\xe2\x82\xac"]', b'"logit_bias":{"2":1,"1":-1}',
    b'"tools":[{"type":"function","function":{"parameters":' + SCHEMA + b',"name":"f"}}]',
    b'"response_format":{"type":"json_schema","json_schema":{"schema":' + SCHEMA + b',"name":"s"}}', *EXTRAS],
                         ids=lambda b: repr(b)[:40])
def test_members_reach_the_engine_byte_for_byte(raw, engine, member):
    marker = b"bytes-%d" % abs(hash(member))
    assert member in sent(raw, engine, member, marker)


def test_names_written_with_escapes_still_mean_the_same(raw, engine):
    got = sent(raw, engine, b'"temperatur\\u0065":0.7', b"escaped-name")
    assert json.loads(got)["temperature"] == 0.7


def test_the_order_of_keys_stays(raw, engine):
    got = sent(raw, engine, b'"zz":1,"top_p":0.9,"min_p":0.1,"temperature":0.3,"seed":5,"frequency_penalty":0.25', b"order-1")
    wanted = [b'"messages"', b'"top_p":0.9', b'"min_p":0.1', b'"temperature":0.3', b'"frequency_penalty":0.25']
    places = [got.index(w) for w in wanted]
    assert places == sorted(places) and b'"zz"' not in got


def test_a_large_tool_schema_passes_whole(raw, engine):
    schema = json.dumps({"type": "object", "properties": {f"z{i * 7919 % 20011}": {"description": "x" * 50,
            "maximum": i / 10} for i in range(8000)}}).encode()
    assert len(schema) > 600_000  # through the offload pool
    assert schema in sent(raw, engine, b'"tools":[{"type":"function","function":{"name":"f","parameters":' + schema + b"}}]",
                          b"large-schema")


def test_text_of_every_kind_passes(raw, engine):
    content = b'"content":"text-all \\u0000\\u001f\\b\\t\\n\\"\\\\\\/ \xf0\x9f\x98\x80 \\ud83d\\ude00 \x7f \xe2\x80\xa8"'
    a = post(raw, CHAT, b'{"model":"fake-model","messages":[{"role":"user",' + content + b"}]}")
    assert a.status == 200 and content in engine.find("text-all").body


def test_whitespace_around_and_within_is_no_matter(raw):
    assert post(raw, CHAT, b" \t\r\n" + GOOD.replace(b",", b" ,\n\t").replace(b":", b" : ") + b"\r\n ").status == 200
