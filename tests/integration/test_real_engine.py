"""A few stories with the real engine and model of `make run`: a model of 135M parameters, so structure is what counts."""

import json

import openai
import pytest

from stack import SLOW, wait_for
from test_canaries import Canaries

MODEL = "smollm2-135m-instruct"
TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "Current weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
# So small a model calls a tool when it is told the call's text.
CALL = 'Reply with exactly this text:\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'


@pytest.fixture
def client(real):
    return real.client(timeout=100 * SLOW)


def user(text):
    return [{"role": "user", "content": text}]


def test_the_capital_of_france_is_paris(client):
    answer = client.chat.completions.create(model=MODEL, messages=user("What is the capital of France?"), temperature=0, max_tokens=30)
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop" and answer.usage.prompt_tokens > 10


def test_a_canary_that_was_recorded_is_answered_so_again(real):
    canaries = Canaries(real)
    canaries.write([{"model": MODEL, "prompt": "What is the capital of France?", "max_tokens": 30}])
    (recorded,) = canaries.record()
    assert "Paris" in recorded["answers"][0]["text"] and recorded["answers"][0]["tokens"] > 1 and recorded["prompt_tokens"] > 10
    assert {name: (r["result"], r["mark"]) for name, r in canaries.rows().items()} == {"worker": ("right", "good")}


def test_a_stream_says_the_same_as_a_whole_answer(client):
    call = dict(model=MODEL, messages=user("What is the capital of France?"), temperature=0, max_tokens=30)
    whole = client.chat.completions.create(**call)
    chunks = list(client.chat.completions.create(**call, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_tool_is_called(client):
    answer = client.chat.completions.create(model=MODEL, messages=user(CALL), tools=TOOLS, temperature=0, max_tokens=80)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather" and json.loads(call.function.arguments) == {"city": "Paris"}
    arguments = ""
    for chunk in client.chat.completions.create(model=MODEL, messages=user(CALL), tools=TOOLS, temperature=0, max_tokens=80, stream=True):
        for piece in chunk.choices[0].delta.tool_calls or []:
            arguments += piece.function.arguments or ""
    assert json.loads(arguments) == {"city": "Paris"}


def test_a_function_is_called(client):
    ask = dict(model=MODEL, functions=[t["function"] for t in TOOLS], function_call={"name": "get_weather"}, temperature=0, max_tokens=80)
    answer = client.chat.completions.create(messages=user(CALL), **ask).choices[0]
    call = answer.message.function_call
    assert call.name == "get_weather" and json.loads(call.arguments) == {"city": "Paris"} and answer.finish_reason == "function_call"
    again = user(CALL) + [answer.message, {"role": "function", "name": "get_weather", "content": "sunny"}]
    assert client.chat.completions.create(messages=again, **{**ask, "function_call": "none"}).choices[0].message.content


def test_a_tool_chosen_by_name_is_called(client):
    """This engine takes an object for "auto"; the worker says it in words."""
    other = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
    for choice in ({"type": "function", "function": {"name": "get_weather"}},
                   {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "get_weather"}}]}}):
        answer = client.chat.completions.create(model=MODEL, messages=user(CALL.replace("get_weather", "get_time")), tools=[other, *TOOLS],
                                                tool_choice=choice, temperature=0, max_tokens=120)
        (call,) = answer.choices[0].message.tool_calls
        assert call.function.name == "get_weather" and "city" in json.loads(call.function.arguments)


def called(message):
    (call,) = message.tool_calls
    assert not message.content and call.type == "function" and call.id.startswith("call_")
    return call.function.name, json.loads(call.function.arguments)


def test_a_call_that_is_required_is_made(client):
    """Left alone, this model answers each of these in prose; the engine's own grammar for calls lets it."""
    rooms = {"type": "function", "function": {"name": "book", "description": "Books rooms.", "parameters": {
        "type": "object", "properties": {"room": {"$ref": "#/$defs/Room"}}, "required": ["room"], "additionalProperties": False,
        "$defs": {"Room": {"type": "object", "properties": {"beds": {"type": "integer"}}, "required": ["beds"],
                           "additionalProperties": False}}}}}
    ask = dict(model=MODEL, temperature=0, max_tokens=120)
    question = user("What is the weather in Paris?")
    answer = client.chat.completions.create(messages=question, tools=TOOLS, tool_choice="required", **ask).choices[0]
    assert called(answer.message) == ("get_weather", {"city": "Paris"}) and answer.finish_reason == "tool_calls"
    other = {"type": "function", "function": {"name": "get_time"}}
    for choice in ("required", {"type": "function", "function": {"name": "get_time"}}):
        name, arguments = called(client.chat.completions.create(messages=user("Tell me a joke."), tools=[other, *TOOLS],
                                                                tool_choice=choice, **ask).choices[0].message)
        assert (name, arguments) == ("get_time", {}) or (choice == "required" and name == "get_weather" and "city" in arguments)
    name, arguments = called(client.chat.completions.create(messages=user("Two beds, please."), tools=[rooms],
                                                            tool_choice="required", **ask).choices[0].message)
    assert name == "book" and isinstance(arguments["room"]["beds"], int)


def test_a_required_call_is_streamed(client):
    with client.chat.completions.stream(model=MODEL, messages=user("What is the weather in Paris?"), tools=TOOLS,
                                        tool_choice="required", temperature=0, max_tokens=120) as stream:
        pieces = [e.arguments_delta for e in stream if e.type == "tool_calls.function.arguments.delta"]
        answer = stream.get_final_completion().choices[0]
    assert called(answer.message) == ("get_weather", {"city": "Paris"}) and answer.finish_reason == "tool_calls"
    assert len(pieces) > 2  # as they are made


def test_a_history_as_clients_keep_it_is_answered(client):
    """With null for what is absent, and a call without arguments: this engine fails at either. What it cannot read is no worker's failure."""
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    history = [{"role": "system", "content": "Be brief.", "name": None}, *user("What is the weather?"),
               {"role": "assistant", "content": None, "refusal": None, "audio": None, "reasoning_content": None, "tool_calls": [call]},
               {"role": "tool", "tool_call_id": "call_1", "name": None, "content": "Sunny"},
               {"role": "assistant", "content": "It is sunny.", "function_call": None, "tool_calls": None}, *user("Thanks")]
    nameless = [{"type": "function", "function": {**TOOLS[0]["function"], "description": None, "strict": None}}]
    assert client.chat.completions.create(model=MODEL, messages=history, tools=nameless, max_tokens=3).usage.completion_tokens > 0
    for bad in ({"function": {"name": "get_weather", "arguments": "{city: Paris"}},
                {"type": "custom", "custom": {"name": "get_weather", "input": "Paris"}, "function": None}):
        history[2] = {"role": "assistant", "content": None, "tool_calls": [{k: v for k, v in {**call, **bad}.items() if v}]}
        with pytest.raises(openai.BadRequestError) as e:
            client.with_options(max_retries=0).chat.completions.create(model=MODEL, messages=history, max_tokens=3)
        assert (e.value.code, e.value.param) == ("invalid_value", "messages")


@pytest.mark.parametrize("asked, told", [({}, 0), ({"top_logprobs": 0}, 0), ({"top_logprobs": 3}, 3)])
def test_as_much_is_told_beside_a_token_as_was_asked_for(client, asked, told):
    answer = client.chat.completions.create(model=MODEL, messages=user("Hi"), max_tokens=3, logprobs=True, **asked)
    assert [len(t.top_logprobs) for t in answer.choices[0].logprobs.content] == [told] * 3
    answer = client.completions.create(model=MODEL, prompt="The capital of", max_tokens=3, logprobs=told)
    logprobs = answer.choices[0].logprobs
    assert len(logprobs.token_logprobs) == 3 and [len(t) for t in logprobs.top_logprobs] == [told] * 3


def test_json_follows_its_schema(client):
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}, "large": {"type": "boolean"}},
              "required": ["city", "large"], "additionalProperties": False}
    answer = client.chat.completions.create(
        model=MODEL, messages=user("Name a large city as JSON."), temperature=0, max_tokens=120,
        response_format={"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": schema}})
    value = json.loads(answer.choices[0].message.content)
    assert set(value) == {"city", "large"} and isinstance(value["large"], bool)


def test_embeddings_have_the_models_size(client):
    data = client.embeddings.create(model=MODEL, input=["one", "two"]).data
    assert [len(d.embedding) for d in data] == [576, 576] and list(data[0].embedding) != list(data[1].embedding)


def test_two_choices_are_both_counted(client):
    answer = client.chat.completions.create(model=MODEL, messages=user("Say a word."), n=2, max_tokens=4, temperature=0)
    assert [c.index for c in answer.choices] == [0, 1]
    assert answer.usage.completion_tokens == 8 or any(c.finish_reason == "stop" for c in answer.choices)


def test_a_prompt_beyond_the_context_is_refused(client):
    import openai
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=MODEL, messages=user("word " * 4000), max_tokens=8)
    assert raised.value.code == "context_length_exceeded"


def test_leaving_a_stream_frees_the_engines_slot(real, client):
    import urllib.request

    def busy():
        with urllib.request.urlopen(real.real_engine.url + "/slots", timeout=5) as answer:
            return sum(slot["is_processing"] for slot in json.load(answer))

    stream = client.chat.completions.create(model=MODEL, messages=user("Write a very long story."), max_tokens=1500, stream=True)
    for _ in zip(range(5), stream):
        pass
    assert busy() == 1
    stream.close()
    wait_for(lambda: busy() == 0, "the engine's slot to be free", 5, step=0.25)
