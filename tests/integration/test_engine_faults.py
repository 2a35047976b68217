"""Engines that fail, in every dialect: a clear error while the head is held, an error event and a broken end once it is out,
never a clean end of half an answer, never a hang, and the slot is free afterwards."""

import base64
import json
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from stack import SLOW, chat, script, wait_for

CHAT, TEXT, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
DIALECTS = ["llamacpp", "vllm", "sglang"]
SILENT_MS = 1000 * SLOW
PATIENCE = 5 * SLOW  # seconds for any answer here

# ---- What engines do that is nobody's built-in script -------------------------------------------------


async def error_after(x, events=0, total=0):
    """The second of several parts fails: the first ones are answered."""
    x.engine.parts = getattr(x.engine, "parts", 0) + 1
    if x.engine.parts % 3 == 2:
        await x.reply(500, x.dialect.error(500, "the second part exploded"))
    else:
        await x.head()
        await x.event(x.chunk(role="assistant"))
        await x.event(x.chunk(text="part "))
        await x.event(x.chunk(finish="stop"))
        await x.done()
        await x.end()


async def first_choice_only(x):
    """Several choices were asked for; the stream ends when the first is finished."""
    await x.head()
    for i in range(x.asked.get("n", 1)):
        await x.event(x.chunk(role="assistant", index=i))
        await x.event(x.chunk(text=f"choice{i} ", index=i))
    await x.event(x.chunk(finish="stop", index=0))
    await x.done()
    await x.end()


async def too_huge(x):
    """An event that never ends, beyond every bound."""
    await x.head()
    await x.event(x.chunk(role="assistant"))
    await x.event(x.chunk(text="word0 "))
    await x.write(b'data: {"choices":[{"index":0,"delta":{"content":"')
    for _ in range(10):
        await x.write(b"y" * (1 << 20))
    await x.gone(10)
    x.close()


async def short_length(x):
    """A length, and fewer bytes."""
    await x.head(200, "application/json", 5000)
    await x.raw(b'{"id":"x","choices":[')
    x.close()


async def bad_embeddings(x, how="missing"):
    given = x.asked["input"]
    data = [{"object": "embedding", "index": i, "embedding": [0.5, 0.25]} for i in range(len(given))]
    if how == "missing":
        data.pop()
    elif how == "text":
        data[0]["embedding"] = "!!! not base64 !!!"
    elif how == "null":
        data[0]["embedding"] = None
    elif how == "nan":
        return await x.reply(200, json.dumps({"object": "list", "data": data, "usage": {}}).replace("0.25", "NaN"))
    await x.reply(200, {"object": "list", "data": data, "model": x.model, "usage": {"prompt_tokens": 2, "total_tokens": 2}})


SCRIPTS = (error_after, first_choice_only, too_huge, short_length, bad_embeddings)


@pytest.fixture(scope="module")
def faulty():
    from conftest import live_stack
    for stack in live_stack("faulty"):
        stack.gateway(**{"timeouts.head_ms": 8000 * SLOW, "timeouts.silence_ms": 8000 * SLOW})
        for d in DIALECTS:
            engine = stack.engine(d, models=[d])
            for s in SCRIPTS:
                engine.script(s.__name__, s)
            stack.worker(engine, name="worker-" + d, **{"engine.silent_ms": SILENT_MS})
        yield stack.wait_ready()


@pytest.fixture(params=DIALECTS)
def dialect(request):
    return request.param


@pytest.fixture
def ask(faulty):
    """Sends a request on a connection of its own; the whole answer, and afterwards nothing may run any more."""
    def send(path, body):
        began = time.monotonic()
        with faulty.raw() as raw:
            raw.request("POST", path, body)
            raw.head()
            answer = raw.rest()
        assert time.monotonic() - began < PATIENCE
        return answer
    yield send
    nothing_runs(faulty)


def nothing_runs(stack):
    wait_for(lambda: all(w.status["running"] == 0 for w in stack.workers), "every worker's slots are free", 5)
    wait_for(lambda: all(e.running == 0 for e in stack.engines), "nothing runs at the engines", 5)
    gateway = stack.gateways[0]
    wait_for(lambda: gateway.status["calls"] == 0 and all(w["streams"] == 0 for w in gateway.status["workers"]), "no call is left", 5)


def is_error(answer, status, code, type=None):
    assert answer.status == status and answer.ending == "complete", (answer.status, answer.body)
    assert answer.header("content-type") == "application/json"
    error = answer.error
    assert set(answer.json) == {"error"} and set(error) == {"message", "type", "param", "code"}, error
    assert error["code"] == code and (type is None or error["type"] == type), error
    assert b"exploded" not in answer.body and b"something broke" not in answer.body and b"html" not in answer.body
    if status in (429, 503):
        assert int(answer.header("retry-after")) > 0 and float(answer.header("retry-after-ms")) > 0


def is_broken(answer, text=None, code="worker_error"):
    """The head was out: what came before stands, then an error event, and no end that looks like one."""
    assert answer.status == 200 and answer.ending != "complete"
    assert b"[DONE]" not in answer.body and b"exploded" not in answer.body
    last = json.loads(answer.events[-1])
    assert set(last) == {"error"} and set(last["error"]) == {"message", "type", "param", "code"}
    assert last["error"]["code"] == code and last["error"]["type"] == "server_error"
    assert answer.body.endswith(b"}}\n\n") and b"\nevent:" not in answer.body
    answer.body.decode("utf-8")
    assert not any(c.get("usage") for c in answer.chunks[:-1])
    if text is not None:
        assert answer.text == text


# ---- Before the first event ---------------------------------------------------------------------------

REFUSALS = [
    (script("error", status=400), 400, "invalid_value"),
    (script("error", status=429), 503, "overloaded"),
    (script("error", status=500), 502, "worker_error"),
    (script("error", status=503), 503, "overloaded"),
    (script("overflow"), 400, "context_length_exceeded"),
    (script("html"), 502, "worker_error"),
    (script("html", status=200), 502, "worker_error"),
    (script("garbage"), 502, "worker_error"),
    (script("garbage", content_type="text/event-stream"), 502, "worker_error"),
    (script("garbage", status=500), 502, "worker_error"),
    (script("not_http"), 502, "worker_error"),
    (script("nothing"), 502, "worker_error"),
    (script("short_length"), 502, "worker_error"),
    (script("error_event", events=0), 502, "worker_error"),
    (script("error_event", events=0, done=True), 502, "worker_error"),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_refusal_is_an_error_of_the_table(ask, dialect, stream):
    for text, status, code in REFUSALS:
        is_error(ask(CHAT, chat(text, model=dialect, stream=stream)), status, code)


def test_the_same_for_completions_and_embeddings(ask, dialect):
    for text, status, code in REFUSALS:
        if "event" in text:
            continue
        is_error(ask(TEXT, {"model": dialect, "prompt": text}), status, code)
        is_error(ask(EMBED, {"model": dialect, "input": text}), status, code)


def together(function):
    """For all dialects at a time, as it takes long."""
    with ThreadPoolExecutor(len(DIALECTS)) as pool:
        for done in [pool.submit(function, d) for d in DIALECTS]:
            done.result()


def test_a_silent_engine_is_a_timeout(ask):
    together(lambda d: is_error(ask(CHAT, chat(script("mute"), model=d)), 504, "upstream_timeout", "server_error"))


# ---- After it -----------------------------------------------------------------------------------------

BREAKS = [
    script("half"), script("half", reset=True), script("clean_cut"), script("clean_cut", done=True), script("cut_in_event"),
    script("cut_in_event", clean=False), script("error_event", events=3), script("error_event", events=3, done=True),
]


def test_half_a_stream_breaks(ask, dialect):
    for text in BREAKS:
        is_broken(ask(CHAT, chat(text, model=dialect, stream=True, stream_options={"include_usage": True})), "word0 word1 word2 ")
    is_broken(ask(CHAT, chat(script("bad_json"), model=dialect, stream=True)), "word0 ")


def test_half_a_stream_is_an_error_where_one_answer_was_asked_for(ask, dialect):
    for text in (*BREAKS, script("bad_json")):
        is_error(ask(CHAT, chat(text, model=dialect)), 502, "worker_error")


def test_a_stall_breaks_the_stream_and_frees_the_engine(ask, faulty):
    def stalled(dialect):
        text = script("stall", events=2, marker="stalled")
        is_broken(ask(CHAT, chat(text, model=dialect, stream=True)), "word0 word1 ", "upstream_timeout")
        request = faulty.engines[DIALECTS.index(dialect)].find("stalled")
        wait_for(lambda: request.closed_at, "the engine's connection is closed", 2)
    together(stalled)


def test_an_event_without_end_is_given_up(ask, dialect):
    is_broken(ask(CHAT, chat(script("too_huge"), model=dialect, stream=True)), "word0 ")


def test_a_large_event_passes_whole(ask, dialect):
    answer = ask(CHAT, chat(script("huge", bytes=1 << 20), model=dialect, stream=True))
    assert answer.ending == "complete" and answer.text == "x" * (1 << 20) and answer.body.endswith(b"data: [DONE]\n\n")
    answer = ask(CHAT, chat(script("huge", bytes=1 << 20), model=dialect))
    assert answer.json["choices"][0]["message"]["content"] == "x" * (1 << 20)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_invalid_utf8_never_comes_through(ask, dialect, stream):
    answer = ask(CHAT, chat(script("invalid_utf8"), model=dialect, stream=stream))
    answer.body.decode("utf-8")
    if stream and answer.status == 200:
        assert answer.ending == "complete" if b"[DONE]" in answer.body else is_broken(answer) is None
    elif answer.status != 200:
        is_error(answer, 502, "worker_error")


def test_an_answer_without_the_mark_or_the_usage_is_whole(ask, dialect):
    for text in (script("no_done"), script("no_usage")):
        answer = ask(CHAT, chat(text, model=dialect, stream=True))
        assert answer.ending == "complete" and answer.body.endswith(b"data: [DONE]\n\n") and answer.text == "word0 word1 word2 "


# ---- Several choices, several prompts -----------------------------------------------------------------

def test_one_of_several_choices_that_fails_breaks_the_answer(ask, dialect):
    """llama.cpp is asked once a choice, the others once for all."""
    text = script("error_after") if dialect == "llamacpp" else script("first_choice_only")
    is_error(ask(CHAT, chat(text, model=dialect, n=3)), 502, "worker_error")
    answer = ask(CHAT, chat(text, model=dialect, n=3, stream=True))
    is_broken(answer) if answer.status == 200 else is_error(answer, 502, "worker_error")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_one_of_several_prompts_that_fails_breaks_the_answer(ask, dialect, stream):
    prompts = [script("error", status=500), "two", "three"]
    is_error(ask(TEXT, {"model": dialect, "prompt": prompts, "stream": stream}), 502, "worker_error")
    prompts = [script("half"), "two", "three"]
    answer = ask(TEXT, {"model": dialect, "prompt": prompts, "stream": stream})
    is_broken(answer) if stream else is_error(answer, 502, "worker_error")


def test_choices_and_prompts_that_go_well(ask, dialect):
    """The same ways, to see that the failures above are failures."""
    answer = ask(CHAT, chat("Hi", model=dialect, n=3))
    assert [c["index"] for c in answer.json["choices"]] == [0, 1, 2]
    if dialect != "llamacpp":  # the fake engine answers the first prompt of a list only
        return
    answer = ask(TEXT, {"model": dialect, "prompt": ["one", "two", "three"], "n": 2})
    assert [c["index"] for c in answer.json["choices"]] == list(range(6))
    assert all(c["text"] == "Hello! How can I help?" for c in answer.json["choices"])
    assert answer.json["usage"]["completion_tokens"] == 6 * 7


# ---- Embeddings ---------------------------------------------------------------------------------------

def test_both_encodings_hold_the_same_numbers(ask, dialect):
    floats = ask(EMBED, {"model": dialect, "input": ["a", "b"], "encoding_format": "float"}).json["data"]
    coded = ask(EMBED, {"model": dialect, "input": ["a", "b"], "encoding_format": "base64"}).json["data"]
    for f, c in zip(floats, coded):
        raw = base64.b64decode(c["embedding"], validate=True)
        assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == f["embedding"] and len(f["embedding"]) == 8


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings_that_are_none_are_an_error(faulty, ask, dialect, encoding):
    engine = faulty.engines[DIALECTS.index(dialect)]
    for how in ("missing", "text", "null", "nan"):
        async def broken(x):
            await bad_embeddings(x, how)
        engine.next = broken
        is_error(ask(EMBED, {"model": dialect, "input": ["a", "b"], "encoding_format": encoding}), 502, "worker_error")


# ---- The engine is not there --------------------------------------------------------------------------

def test_an_engine_that_refuses_connections_is_an_error_and_comes_back(stack):
    stack.gateway()
    engine = stack.engine()
    worker = stack.worker(engine)
    stack.wait_ready()
    engine.stop()
    for stream in (False, True):
        with stack.raw() as raw:
            answer = raw.ask("POST", CHAT, chat(stream=stream))
        assert answer.status in (502, 503) and answer.error["code"] in ("worker_error", "no_capacity")
    wait_for(lambda: worker.status["reason"] == "engine", "the worker notices", 5)
    wait_for(lambda: stack.gateways[0].accepting == 0, "the gateway hears of it", 5)
    with stack.raw() as raw:
        is_error(raw.ask("POST", CHAT, chat()), 503, "no_capacity", "server_error")
    engine.start()
    wait_for(lambda: stack.gateways[0].accepting == 1, "the worker is back", 10)
    with stack.raw() as raw:
        assert raw.ask("POST", CHAT, chat()).status == 200


def test_failing_engines_take_no_descriptors_and_no_memory_along(faulty, ask):
    for _ in range(20):
        ask(CHAT, chat(script("half"), model="llamacpp", stream=True))
    before = [(p.fds, p.rss_kib) for p in (*faulty.gateways, *faulty.workers)]
    for _ in range(60):
        ask(CHAT, chat(script("half"), model="llamacpp", stream=True))
        ask(CHAT, chat(script("error"), model="vllm"))
    for (fds, rss), p in zip(before, (*faulty.gateways, *faulty.workers)):
        wait_for(lambda: p.fds <= fds + 8, f"{p.name}'s descriptors are closed", 5)
        assert SLOW > 1 or p.rss_kib < rss + 4096, p.name
