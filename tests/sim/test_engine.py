"""The simulated engine and the replay tell the truth: times, usage, prefixes, faults, and how requests ended."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from pool import ROOT, Engine, Replay, Stack

SIM = os.path.abspath(os.environ.get("SIM", os.path.join(ROOT, "build/release/tests/sim")))


@pytest.fixture
def stack():
    stack = Stack("sim")
    yield stack
    stack.stop()
    stack.remove()


@pytest.fixture
def engine(stack):
    return stack.start(Engine(stack, SIM, "w1", speed=8))


def chat(engine, text="Hi", tokens=4, stream=False, **more):
    body = {"model": "sim", "messages": [{"role": "user", "content": text}], "seed": tokens, "stream": stream, **more}
    request = urllib.request.Request(f"{engine.url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def usage(text):
    return json.loads(text)["usage"]


def status(engine, **more):
    try:
        chat(engine, **more)
    except urllib.error.HTTPError as e:
        return e.code
    return 200


def test_as_many_tokens_as_the_seed_says_and_no_more_than_max_tokens(engine):
    assert usage(chat(engine, tokens=7))["completion_tokens"] == 7
    assert usage(chat(engine, tokens=7, max_tokens=3))["completion_tokens"] == 3


def test_tokens_come_at_the_models_pace(engine):
    begun = time.monotonic()
    chat(engine, tokens=100)
    # A step of a lone call takes (18 + 0.35) / 8 ms.
    assert time.monotonic() - begun >= 99 * 18.35 / 8 / 1000


def test_a_prompt_that_came_before_is_cached_and_another_tenants_is_not(engine):
    text = "word " * 400
    assert usage(chat(engine, text, cache_salt="a"))["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage(chat(engine, text, cache_salt="a"))["prompt_tokens_details"]["cached_tokens"] > 400
    assert usage(chat(engine, text, cache_salt="b"))["prompt_tokens_details"]["cached_tokens"] == 0


def test_a_stream_ends_with_its_usage(engine):
    events = chat(engine, tokens=3, stream=True, stream_options={"include_usage": True}).split("\n\n")
    assert events[-2] == "data: [DONE]"
    assert json.loads(events[-3][6:])["usage"]["completion_tokens"] == 3
    assert sum(e.count(" was") for e in events) == 3


def test_faults_do_what_they_say(engine):
    engine.fault(status={"500": 1})
    assert status(engine) == 500
    engine.fault(clear=True, lie=3)
    assert usage(chat(engine, tokens=4))["completion_tokens"] == 12
    engine.fault(clear=True, slow_start_ms=60000)
    assert status(engine) == 503
    engine.fault(clear=True, refuse=True)
    with pytest.raises(OSError):
        chat(engine)
    with pytest.raises(urllib.error.HTTPError):
        engine.fault(what_is_this=1)


def test_a_stalled_engine_goes_on_later(engine):
    engine.fault(stall_ms=400)
    begun = time.monotonic()
    assert usage(chat(engine))["completion_tokens"] == 4
    assert time.monotonic() - begun > 0.35


def test_a_script_brings_faults_when_they_are_due(stack):
    path = os.path.join(stack.folder, "script")
    with open(path, "w") as f:
        f.write('{"at_ms": 0, "status": {"500": 1}}\n{"at_ms": 700, "clear": true}\n')
    engine = stack.start(Engine(stack, SIM, "w1", script=path))
    assert status(engine) == 500
    time.sleep(0.8)
    assert status(engine) == 200


class Alone:
    """As Replay wants a pool: the engine itself in place of a gateway."""

    def __init__(self, stack, engine):
        self.stack, self.programs, self.keys, self.keys_file = stack, SIM, [""], os.path.join(stack.folder, "keys")
        with open(self.keys_file, "w") as f:
            f.write("none\n")
        engine.listen = engine.url.removeprefix("http://")
        self.gateways = [engine]


def test_the_replay_tells_how_each_request_ended(stack, engine):
    alone = Alone(stack, engine)
    with Replay(alone, rate=50, count=20) as run:
        pass
    assert [r.end for r in run.requests] == ["ok"] * 20
    assert all(r.engine == "w1" and r.made >= r.events > 0 and r.first_ms > 0 and r.prompt > 0 for r in run.requests)
    engine.fault(die=1, die_after=2)
    with Replay(alone, rate=50, count=10, **{"output-max": 50}) as run:
        pass
    long = [r for r in run.requests if r.end != "ok"]
    assert long and all(r.end == "closed" and r.began for r in long)
    engine.fault(clear=True, status={"503": 1})
    with Replay(alone, rate=50, count=5) as run:
        pass
    assert [(r.end, r.status, r.began) for r in run.requests] == [("status", 503, False)] * 5


def test_a_trace_that_is_not_there_is_an_error(stack, engine):
    done = subprocess.run([os.path.join(SIM, "replay"), "--to", engine.url.removeprefix("http://"), "--trace", "no.csv", "--log", "/dev/null"],
                          capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "no.csv" in done.stderr
