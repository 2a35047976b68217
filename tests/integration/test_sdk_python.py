"""The unmodified openai package of Python against the chain."""

import json

import openai
import pydantic
import pytest

from stack import SLOW, script, wait_for

MODEL = "fake-model"
TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "Current weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]


def user(text):
    return [{"role": "user", "content": text}]


def test_chat(client):
    answer = client.chat.completions.create(model=MODEL, messages=user("Hi"))
    assert answer.choices[0].message.content == "Hello! How can I help?"
    assert answer.choices[0].finish_reason == "stop" and answer.model == MODEL
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id.startswith("req_")


def test_stream(client):
    stream = client.chat.completions.create(model=MODEL, messages=user("Hi"), stream=True)
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello! How can I help?"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert len({(c.id, c.created) for c in chunks}) == 1


def test_stream_with_usage(client):
    chunks = list(client.chat.completions.create(model=MODEL, messages=user("Hi"), stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 7
    assert all(c.usage is None for c in chunks[:-1])


def test_stream_helper(client):
    with client.chat.completions.stream(model=MODEL, messages=user("Hi")) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == "Hello! How can I help?"


def test_more_than_one_choice(client):
    answer = client.chat.completions.create(model=MODEL, messages=user("Hi"), n=3)
    assert [c.index for c in answer.choices] == [0, 1, 2]
    assert {c.message.content for c in answer.choices} == {"Hello! How can I help?"}


def test_max_tokens_cuts(client):
    answer = client.chat.completions.create(model=MODEL, messages=user("Hi"), max_completion_tokens=2)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 2


def test_tool_call(client):
    answer = client.chat.completions.create(model=MODEL, messages=user(script("tool_call")), tools=TOOLS)
    (call,) = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.type == "function" and call.function.name == "get_weather" and call.id
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_streamed_tool_call(client):
    arguments, names, ids = "", [], []
    for chunk in client.chat.completions.create(model=MODEL, messages=user(script("tool_call")), tools=TOOLS, stream=True):
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.index == 0
            arguments += call.function.arguments or ""
            names += [call.function.name] if call.function.name else []
            ids += [call.id] if call.id else []
    assert json.loads(arguments) == {"city": "Paris"} and names == ["get_weather"] and len(ids) == 1


def test_tool_result_goes_back(client, engine):
    messages = user("weather-19aa") + [
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "22 degrees"}]
    client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    assert engine.find("weather-19aa").json["messages"] == messages


FUNCTIONS = [t["function"] for t in TOOLS]


def test_functions_the_older_form_of_tools(client, engine):
    """Engines know it no more: they are told tools, and what they call is told in the form that was asked for."""
    ask = dict(model=MODEL, functions=FUNCTIONS, function_call={"name": "get_weather"})
    choice = client.chat.completions.create(messages=user(script("tool_call", marker="older-3c1e.")), **ask).choices[0]
    call = choice.message.function_call
    assert choice.finish_reason == "function_call" and choice.message.tool_calls is None and choice.message.content is None
    assert call.name == "get_weather" and json.loads(call.arguments) == {"city": "Paris"}
    told = engine.find("older-3c1e").json
    assert told["tools"] == TOOLS and "functions" not in told and "function_call" not in told

    deltas = [c.choices[0] for c in client.chat.completions.create(messages=user(script("tool_call")), stream=True, **ask)]
    calls = [d.delta.function_call for d in deltas if d.delta.function_call]
    assert "".join(c.name or "" for c in calls) == "get_weather" and deltas[-1].finish_reason == "function_call"
    assert json.loads("".join(c.arguments or "" for c in calls)) == {"city": "Paris"} and not any(d.delta.tool_calls for d in deltas)

    client.chat.completions.create(model=MODEL, functions=FUNCTIONS, messages=user("older-9b70") + [
        choice.message, {"role": "function", "name": "get_weather", "content": "22 degrees"}])
    question, asked, result = engine.find("older-9b70").json["messages"]
    assert asked["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": call.arguments}
    assert result == {"role": "tool", "tool_call_id": asked["tool_calls"][0]["id"], "name": "get_weather", "content": "22 degrees"}


def test_none_is_what_was_not_said(client, engine):
    """As in the package's published examples, and in answers that applications keep as dictionaries."""
    kept = client.chat.completions.create(model=MODEL, messages=user("Hi")).choices[0].message.model_dump()
    assert kept["tool_calls"] is None
    answer = client.chat.completions.create(
        model=MODEL, messages=[*user("Hi"), kept, *user("kept-77b1")], tools=None, tool_choice=None, response_format=None, user=None,
        parallel_tool_calls=None, temperature=None, stop=None, max_completion_tokens=None)
    assert answer.choices[0].finish_reason == "stop"
    told = engine.find("kept-77b1").json
    assert not {"tools", "tool_choice", "response_format", "user", "temperature", "stop"} & set(told)
    assert told["messages"][1] == {"content": kept["content"], "role": "assistant"}
    assert client.embeddings.create(model=MODEL, input="x", dimensions=None, user=None).data[0].embedding


def test_json_by_schema(client, engine):
    class City(pydantic.BaseModel):
        city: str
        population: int

    text = script("answer", text='{"city":"Paris","population":2100000}', marker="schema-20b4")
    answer = client.chat.completions.parse(model=MODEL, messages=user(text), response_format=City)
    assert answer.choices[0].message.parsed == City(city="Paris", population=2100000)
    asked = engine.find("schema-20b4").json["response_format"]
    assert asked["type"] == "json_schema" and asked["json_schema"]["schema"]["required"] == ["city", "population"]


def test_completions(client):
    answer = client.completions.create(model=MODEL, prompt="Say hello")
    assert answer.choices[0].text == "Hello! How can I help?"
    text = "".join(c.choices[0].text for c in client.completions.create(model=MODEL, prompt="Say hello", stream=True))
    assert text == "Hello! How can I help?"


def test_embeddings(client):
    by_default = client.embeddings.create(model=MODEL, input=["a", "b"])  # the package asks for base64 and decodes it
    as_floats = client.embeddings.create(model=MODEL, input=["a", "b"], encoding_format="float")
    as_text = client.embeddings.create(model=MODEL, input=["a", "b"], encoding_format="base64")
    assert [list(d.embedding) for d in by_default.data] == [d.embedding for d in as_floats.data]
    assert isinstance(as_text.data[0].embedding, str)
    assert len(as_floats.data[0].embedding) == 8


def test_embeddings_have_the_dimensions_asked_for_or_there_are_none(client):
    assert len(client.embeddings.create(model=MODEL, input="a", dimensions=8).data[0].embedding) == 8
    with pytest.raises(openai.BadRequestError) as e:  # the engine knows no others, and says nothing
        client.embeddings.create(model=MODEL, input="a", dimensions=4)
    assert e.value.code == "unsupported_value" and e.value.param == "dimensions"


def test_the_tier_that_was_used_is_told_to_who_names_one(client):
    def ask(**more):
        return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}], **more)
    assert ask(service_tier="auto").service_tier == "default"
    assert {c.service_tier for c in ask(service_tier="flex", stream=True)} == {"default"}
    assert ask().service_tier is None


def test_models(client):
    assert {m.id for m in client.models.list()} == {MODEL, "org/model:tag-v1"}
    assert client.models.retrieve("org/model:tag-v1").id == "org/model:tag-v1"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no/such model")


def test_raw_response_headers(client):
    answer = client.chat.completions.with_raw_response.create(model=MODEL, messages=user("Hi"))
    assert answer.headers["x-request-id"] == "req_" + answer.headers["cocoon-call"]
    assert answer.parse().choices[0].message.content


@pytest.mark.parametrize("call, error, code, param", [
    (dict(model="nope", messages=user("Hi")), openai.NotFoundError, "model_not_found", "model"),
    (dict(model=MODEL, messages=[]), openai.BadRequestError, "empty_array", "messages"),
    (dict(model=MODEL, messages=user("Hi"), temperature=200), openai.BadRequestError, "decimal_above_max_value", "temperature"),
    (dict(model=MODEL, messages=user("Hi"), stream_options={"include_usage": True}), openai.BadRequestError, None, "stream_options"),
    (dict(model=MODEL, messages=user("Hi"), max_tokens=3, max_completion_tokens=3), openai.BadRequestError,
     "invalid_parameter_combination", "max_tokens"),
    (dict(model=MODEL, messages=user(script("error", status=500))), openai.InternalServerError, "worker_error", None),
])
def test_errors_become_the_packages_classes(client, call, error, code, param):
    with pytest.raises(error) as raised:
        client.chat.completions.create(**call)
    e = raised.value
    assert e.code == code and e.param == param and e.request_id.startswith("req_") and e.type


def test_wrong_key(chain):
    with pytest.raises(openai.AuthenticationError) as raised:
        chain.client(key="sk-cocoon-wrong").models.list()
    assert raised.value.code == "invalid_api_key"


def test_error_in_a_stream_is_raised(client):
    with pytest.raises(openai.APIError) as raised:
        for _ in client.chat.completions.create(model=MODEL, messages=user(script("half", events=3)), stream=True):
            pass
    assert raised.value.type == "server_error" and raised.value.code


def test_closing_a_stream_frees_the_engine(client, engine):
    text = script("endless", marker="closing-63de")
    stream = client.chat.completions.create(model=MODEL, messages=user(text), stream=True)
    for _ in zip(range(5), stream):
        pass
    stream.close()
    request = engine.find("closing-63de")
    wait_for(lambda: request.closed_at, "the engine's connection to close", 2 * SLOW)
    assert request.aborted


def test_unknown_extras_are_dropped_and_named(client, engine):
    answer = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=user("extras-0c5f"), extra_body={"tomorrows_parameter": 1})
    assert answer.headers["cocoon-ignored"] == "tomorrows_parameter"
    assert "tomorrows_parameter" not in engine.find("extras-0c5f").json


def test_async_client(chain):
    import asyncio

    async def ask():
        async with openai.AsyncOpenAI(base_url=chain.gateways[0].base_url, api_key=chain.key_for_all(), max_retries=0) as client:
            async def one(i):
                stream = await client.chat.completions.create(model=MODEL, messages=user(f"Hi {i}"), stream=True)
                return "".join([c.choices[0].delta.content or "" async for c in stream])
            return await asyncio.gather(*(one(i) for i in range(20)))

    assert set(asyncio.run(ask())) == {"Hello! How can I help?"}
