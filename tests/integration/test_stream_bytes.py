"""Streams byte by byte: what SDKs and proxies rely on and no JSON parser would notice."""

import json
import re
import time

import pytest

from stack import SLOW, chat, script, wait_for

CHAT = "/v1/chat/completions"
DIALECTS = ["llamacpp", "vllm", "sglang", "generic"]


@pytest.fixture(scope="module")
def dialects():
    """One stack with a worker an engine dialect: the models are named after them."""
    from conftest import live_stack
    for stack in live_stack("dialects"):
        engines = {d: stack.engine(d, models=[d]) for d in DIALECTS}
        stack.gateway()
        for d in DIALECTS:
            stack.worker(engines[d], name="worker-" + d)
        yield stack.wait_ready()


def stream(raw, text, **body):
    raw.request("POST", CHAT, {**chat(text, stream=True), **body})
    raw.head()
    return raw.rest()


def check_wire(a):
    """Every byte of a whole, good stream is a data event or a ping."""
    assert a.status == 200 and a.ending == "complete"
    rest = re.sub(rb"(?:: ping\n)*data: [^\r\n]+\n\n", b"", a.body)
    assert rest == b"", rest
    assert a.body.endswith(b"data: [DONE]\n\n") and a.body.count(b"[DONE]") == 1
    assert not re.search(rb"^(event|id|retry):", a.body, re.M)
    a.body.decode("utf-8")


def check_chunks(chunks, model, usage=False, choices=1):
    assert len({(c["id"], c["created"]) for c in chunks}) == 1
    seen = {i: [] for i in range(choices)}
    for c in chunks:
        assert c["object"] == "chat.completion.chunk" and c["model"] == model
        assert not set(c) & {"timings", "prompt_token_ids", "kv_transfer_params"}
        for choice in c["choices"]:
            assert {"index", "delta", "finish_reason", "logprobs"} <= set(choice)
            assert not set(choice) & {"stop_reason", "token_ids", "matched_stop", "text"}
            seen[choice["index"]].append(choice)
    for i, of_choice in seen.items():
        assert of_choice[0]["delta"]["role"] == "assistant" and of_choice[0]["delta"]["content"] == ""
        assert sum(c["finish_reason"] is not None for c in of_choice) == 1
        assert of_choice[-1]["finish_reason"] is not None
    with_usage = [c for c in chunks if c.get("usage")]
    if usage:
        assert with_usage == [chunks[-1]] and chunks[-1]["choices"] == []
        assert all(c["usage"] is None for c in chunks[:-1])
        assert list(chunks[-1])[-1] == "usage"
    else:
        assert with_usage == [] and all(c["choices"] for c in chunks)


def test_the_heads_bytes(raw):
    raw.request("POST", CHAT, chat(stream=True))
    a = raw.head()
    assert a.header("content-type") == "text/event-stream; charset=utf-8"
    assert a.header("cache-control") == "no-cache" and a.header("x-accel-buffering") == "no"
    assert a.header("transfer-encoding") == "chunked" and a.header("content-length") is None
    assert a.header("cocoon-cost-nano") is None
    assert raw.rest().ending == "complete"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("usage", [False, True])
def test_every_dialect_becomes_the_same_stream(dialects, dialect, usage):
    options = {"stream_options": {"include_usage": True}} if usage else {}
    with dialects.raw() as raw:
        a = stream(raw, "Hi", model=dialect, **options)
    check_wire(a)
    check_chunks(a.chunks, dialect, usage)
    assert a.text == "Hello! How can I help?"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialects_tool_calls_become_the_same(dialects, dialect):
    with dialects.raw() as raw:
        a = stream(raw, script("tool_call"), model=dialect,
                   tools=[{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}])
    check_wire(a)
    check_chunks(a.chunks, dialect)
    calls = [t for c in a.chunks for ch in c["choices"] for t in ch["delta"].get("tool_calls") or []]
    assert all(t["index"] == 0 for t in calls) and calls[0]["id"] and calls[0]["function"]["name"] == "get_weather"
    assert json.loads("".join(t["function"].get("arguments") or "" for t in calls)) == {"city": "Paris"}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialects_whole_answer_is_the_same(dialects, dialect):
    with dialects.raw() as raw:
        a = raw.ask("POST", CHAT, chat("Hi", model=dialect))
    assert a.status == 200 and set(a.json) >= {"id", "object", "created", "model", "choices", "usage"}
    assert list(a.json)[-1] == "usage" and "timings" not in a.json
    assert a.json["choices"] == [{"index": 0, "message": {"role": "assistant", "content": "Hello! How can I help?", "refusal": None},
                                  "logprobs": None, "finish_reason": "stop"}]


@pytest.mark.parametrize("n", [2, 3])
def test_choices_interleave_and_each_finishes_once(raw, n):
    a = stream(raw, "Hi", n=n, stream_options={"include_usage": True})
    check_wire(a)
    check_chunks(a.chunks, "fake-model", True, n)
    assert a.chunks[-1]["usage"]["completion_tokens"] == 7 * n


@pytest.mark.parametrize("size", [1, 3, 7, 64])
def test_the_engines_splits_do_not_show(raw, size):
    a = stream(raw, script("pieces", size=size))
    check_wire(a)
    assert a.text == "Grüße aus Köln 🌍"


def test_many_events_in_one_read_come_out_whole(raw):
    a = stream(raw, script("one_write"))
    check_wire(a)
    assert a.text == "Hello! How can I help?"


def test_the_engines_comments_and_fields_do_not_pass(raw):
    a = stream(raw, script("comments"))
    check_wire(a)
    assert a.text == "ok"


def test_invalid_utf8_never_reaches_the_client(raw):
    a = stream(raw, script("invalid_utf8"))
    a.body.decode("utf-8")
    assert b"\xff" not in a.body


def test_a_big_event_passes(raw):
    a = stream(raw, script("huge", bytes=300_000))
    check_wire(a)
    assert a.text == "x" * 300_000


def test_each_event_leaves_as_soon_as_it_is_there(raw):
    raw.request("POST", CHAT, chat(script("slow", seconds=0.2, count=5), stream=True))
    raw.head()
    times = []
    for i in range(5):
        raw.until(b"t%d " % i)
        times.append(time.monotonic())
    gaps = [b - a for a, b in zip(times, times[1:])]
    assert all(0.05 < g < 1 * SLOW for g in gaps), gaps  # 0.2 s each, had none waited for another


@pytest.mark.parametrize("failure", [
    script("half", events=3), script("half", events=3, reset=True), script("clean_cut", events=3), script("clean_cut", events=3, done=True),
    script("cut_in_event", events=3), script("cut_in_event", events=3, clean=False), script("error_event", events=3),
    script("error_event", events=3, done=True)])
def test_a_stream_that_breaks_ends_with_an_error_event_and_without_done(raw, failure):
    a = stream(raw, failure)
    assert a.status == 200
    assert a.text == "word0 word1 word2 "
    assert set(json.loads(a.events[-1])) == {"error"}
    assert set(json.loads(a.events[-1])["error"]) == {"message", "type", "param", "code"}
    assert b"[DONE]" not in a.body and b"exploded" not in a.body
    assert a.body.endswith(b"\n\n") and not re.search(rb"^event:", a.body, re.M)


@pytest.mark.parametrize("failure, status", [
    (script("nothing"), 502), (script("half", events=0), None), (script("error_event"), 502), (script("html"), 502),
    (script("garbage"), 502), (script("not_http"), 502), (script("error", status=429), None), (script("error", status=503), None)])
def test_a_failure_before_the_first_event_is_an_http_error(raw, failure, status):
    raw.request("POST", CHAT, chat(failure, stream=True))
    a = raw.head()
    raw.rest()
    if a.status == 200:  # a role event was already on its way
        assert status is None and set(json.loads(a.events[-1])) == {"error"} and b"[DONE]" not in a.body
        return
    assert a.status == status or status is None and a.status >= 429
    assert a.header("content-type") == "application/json" and set(a.error) == {"message", "type", "param", "code"}


def test_finished_without_done_is_whole(raw):
    a = stream(raw, script("no_done", events=3))
    check_wire(a)
    assert a.text == "word0 word1 word2 "


def test_a_whole_answer_that_breaks_is_an_error(raw):
    a = raw.ask("POST", CHAT, chat(script("half", events=3)))
    assert a.status == 502 and a.error["code"] == "worker_error"


def test_pings_are_comment_lines_in_idle_streams(stack):
    stack.engine()
    stack.gateway(ping_ms=1000)
    stack.worker()
    stack.wait_ready()
    with stack.raw() as raw:
        raw.request("POST", CHAT, chat(script("slow", seconds=2.4, count=2), stream=True))
        raw.head()
        a = raw.rest()
    check_wire(a)
    assert a.body.count(b": ping\n") == 2 and b": ping\n\n" not in a.body
    assert a.text == "t0 t1 "


def test_the_request_is_forgotten_once_an_event_is_out(chain, raw):
    held = lambda: chain.gateways[0].metric("cocoon_bodies_bytes")
    raw.request("POST", CHAT, chat(script("mute", marker="x" * 50_000), stream=True))
    wait_for(lambda: held() > 50_000, "the body is held", 3)
    with chain.raw() as another:
        another.request("POST", CHAT, chat(script("stall", events=2, marker="y" * 70_000), stream=True))
        another.head()
        another.until(b"word1")
        assert 50_000 < held() < 70_000


def test_keep_alive_serves_stream_after_stream(raw):
    for i in range(5):
        assert stream(raw, f"Hi {i}").text == "Hello! How can I help?"
    assert raw.ask("GET", "/v1/models").status == 200
