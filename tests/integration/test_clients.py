"""Clients that leave, stall, dawdle, crowd or wait: what it costs the engine, the others and the gateway."""

import asyncio
import contextlib
import json
import threading
import time

import pytest

from conftest import live_stack
from raw import Ended
from stack import SLOW, chat, script, wait_for

CHAT = "/v1/chat/completions"
LEAVE = ["close", "reset", "finish_sending"]
LEAVERS = 15  # of whom most must be heard at once


def begin(raw, text, until=None, **body):
    raw.request("POST", CHAT, chat(text, stream=True, **body))
    if until:
        assert raw.head().status == 200
        raw.until(until)
    return raw


def idle(stack):
    """Whether neither gateway nor worker has anything under way."""
    gateway, worker = stack.gateways[0].status, stack.workers[0].status
    mine = gateway["workers"][0]
    return gateway["calls"] == gateway["queue"] == 0 and mine["streams"] == mine["running"] == 0 and worker["running"] == 0


def wait_idle(stack, timeout=5):
    wait_for(lambda: idle(stack), "all slots are free", timeout)


@pytest.fixture(scope="module")
def many():
    """A chain with room for everybody."""
    for stack in live_stack("many"):
        engine = stack.engine(slots=400)
        engine.script("stamps", stamps)
        engine.script("bulk", bulk)
        stack.gateway()
        stack.worker(max_requests=300)
        yield stack.wait_ready()


@pytest.fixture(scope="module")
def hasty():
    """Every time limit is short."""
    for stack in live_stack("hasty"):
        engine = stack.engine(slots=64)
        engine.script("bulk", bulk)
        stack.gateway(**{"timeouts.head_ms": 700, "timeouts.silence_ms": 1200, "timeouts.total_ms": 1500,
                         "timeouts.stalled_ms": 600,
                         "ping_ms": 1000, "server.idle_s": 2})
        stack.worker(max_requests=32)
        yield stack.wait_ready()


@pytest.fixture
def narrow(stack):
    """Two slots."""
    stack.engine(slots=2)
    stack.gateway()
    stack.worker(max_requests=2)
    return stack.wait_ready()


async def stamps(x, seconds=3.0, pause=0.05):
    """Events that say when they were made."""
    await x.head()
    await x.event(x.chunk(role="assistant"))
    until = time.monotonic() + seconds
    while time.monotonic() < until and not x.request.closed_at:
        await x.event(x.chunk(text=f"{time.monotonic():.6f} "))
        await asyncio.sleep(pause)
    await x.event(x.chunk(finish="stop"))
    await x.done()
    await x.end()


async def bulk(x, events=64, size=16384, pause=0.0):
    """Much, at once."""
    await x.head()
    await x.event(x.chunk(role="assistant"))
    for _ in range(events):
        if x.request.closed_at:
            return x.close()
        await x.event(x.chunk(text="b" * size))
        await asyncio.sleep(pause)
    await x.event(x.chunk(finish="stop"))
    await x.done()
    await x.end()


# ---- Leaving ------------------------------------------------------------------------------------------

def most_are_at_once(times, within=0.1):
    """It takes 10 ms at most; the machine may be busy, and one of them late."""
    assert sorted(times)[len(times) // 2] < within * SLOW, times


def seconds_to_the_engine(raw, how, request):
    """From the client's leaving until its engine's connection is closed."""
    left = time.monotonic()
    getattr(raw, how)()
    return wait_for(lambda: request.closed_at, "the engine's connection closes", 3) - left


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_leaving_before_the_first_token_stops_the_engine(many, how, stream):
    times = []
    for i in range(LEAVERS):
        marker = f"before-{how}-{stream}-{i}."
        with many.raw() as raw:
            raw.request("POST", CHAT, chat(script("mute", marker=marker), stream=stream))
            request = many.engines[0].find(marker)
            time.sleep(0.02)
            times.append(seconds_to_the_engine(raw, how, request))
    most_are_at_once(times)
    wait_idle(many)


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("name", ["stall", "endless"])
def test_leaving_after_the_first_token_stops_the_engine(many, how, name):
    times = []
    for i in range(LEAVERS):
        marker = f"after-{how}-{name}-{i}."
        with begin(many.raw(), script(name, marker=marker), b"1 ") as raw:
            times.append(seconds_to_the_engine(raw, how, many.engines[0].find(marker)))
    most_are_at_once(times)
    wait_idle(many)


@pytest.mark.parametrize("how", LEAVE)
def test_leaving_at_every_moment_leaves_nothing_behind(many, how):
    """Each time a little later: in the head, in the body, in check, seal, send, relay, at the end."""
    body = json.dumps(chat(script("answer", pieces=["a", "b", "c"], delay=0.002), stream=True))
    data = (f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {many.key_for_all()}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()
    for i in range(0, len(data), 11):
        with many.raw() as raw:
            raw.send(data[:i])
            getattr(raw, how)()
    for i in range(60):
        with many.raw() as raw:
            raw.send(data)
            time.sleep(i * 0.0004)
            getattr(raw, how)()
    wait_idle(many)
    with many.raw() as raw:
        assert raw.ask("POST", CHAT, chat()).status == 200


def test_leaving_a_large_upload_leaves_nothing_behind(many):
    gateway = many.gateways[0]
    for _ in range(20):
        with many.raw() as raw:
            raw.request("POST", CHAT, b"x" * 300_000, {"Content-Type": "application/json", "Content-Length": "20000000"})
    wait_for(lambda: gateway.metric("cocoon_bodies_bytes") == 0 and gateway.status["calls"] == 0, "the bodies are forgotten", 3)


def test_a_connection_that_asked_twice_and_leaves_ends_both(many):
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {many.key_for_all()}\r\n"
    body = json.dumps(chat(script("stall", marker="piped-stall"), stream=True))
    with many.raw() as raw:
        raw.send(f"{head}Content-Length: {len(body)}\r\n\r\n{body}" * 2)
        raw.head()
        raw.until(b"word1")
        request = many.engines[0].find("piped-stall")
    left = time.monotonic()
    wait_for(lambda: request.closed_at, "the engine's connection closes", 3)
    assert request.closed_at - left < 0.1 * SLOW
    wait_idle(many)


# ---- Broken answers -----------------------------------------------------------------------------------

@pytest.mark.parametrize("what", [
    script("half", events=3), script("half", events=3, reset=True), script("clean_cut", events=3), script("cut_in_event", events=3),
    script("error_event", events=3), script("error_event", events=3, done=True), script("bad_json"), script("half", events=200)])
def test_a_broken_stream_never_ends_cleanly(many, what):
    """However its events fall into pieces on their way."""
    for _ in range(8):
        with begin(many.raw(), what) as raw:
            assert raw.head().status == 200
            a = raw.rest()
            assert a.ending != "complete" and b"[DONE]" not in a.body
            assert json.loads(a.events[-1])["error"]["type"] == "server_error"


# ---- Reuse and crowds ---------------------------------------------------------------------------------

def test_a_connection_is_used_again_and_again(many):
    gateway = many.gateways[0]
    with many.raw() as raw:
        before = gateway.status["connections"]
        for i in range(40):
            raw.request("POST", CHAT, chat(f"again {i}", stream=i % 2 == 0))
            assert raw.head().status == 200 and raw.rest().ending == "complete"
            assert raw.ask("POST", CHAT, "{").status == 400
            assert raw.ask("GET", "/v1/foo").status == 404
        assert gateway.status["connections"] == before and raw.answer.header("connection") in (None, "Keep-Alive")


def test_200_streams_at_a_time_each_get_their_own(many):
    everybody = []
    for i in range(200):
        raw = many.raw()
        raw.request("POST", CHAT, chat(script("answer", pieces=[f"me{i}-{k} " for k in range(5)], delay=0.1), stream=True))
        everybody.append(raw)
    wait_for(lambda: many.gateways[0].status["calls"] > 150 or None, "many are under way at a time", 5)
    for i, raw in enumerate(everybody):
        assert raw.head().status == 200
        a = raw.rest()
        assert a.ending == "complete" and a.body.endswith(b"data: [DONE]\n\n")
        assert a.text == "".join(f"me{i}-{k} " for k in range(5))
        raw.close()
    wait_idle(many)


def read_stamps(raw, delays):
    assert raw.head().status == 200
    seen = 0
    with contextlib.suppress(Ended):
        while True:
            raw.piece()
            now, words = time.monotonic(), raw.answer.text.split()
            delays.extend(now - float(w) for w in words[seen:])
            seen = len(words)


def fast_ones(stack, count, seconds):
    """The delays of every event of so many streams at a time."""
    raws = [stack.raw() for _ in range(count)]
    delays = [[] for _ in raws]
    for raw in raws:
        raw.request("POST", CHAT, chat(script("stamps", seconds=seconds), stream=True))
    threads = [threading.Thread(target=read_stamps, args=(r, d)) for r, d in zip(raws, delays)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(seconds + 15 * SLOW)
    for raw in raws:
        assert raw.answer.ending == "complete" and raw.answer.events[-1] == b"[DONE]"
        raw.close()
    return sorted(d for one in delays for d in one)


@pytest.fixture
def tight(stack):
    """The API on a UNIX socket, whose kernel buffers are small."""
    engine = stack.engine(slots=400)
    engine.script("stamps", stamps)
    engine.script("bulk", bulk)
    stack.gateway(listen=f"unix:{stack.folder}/api.sock")
    stack.worker(max_requests=300)
    return stack.wait_ready()


def has_settled(gateway):
    before = gateway.metric("cocoon_events_total")
    time.sleep(0.4)
    return gateway.metric("cocoon_events_total") == before > 0


@pytest.mark.alone
def test_100_slow_readers_do_not_disturb_20_fast_ones(tight):
    gateway, worker = tight.gateways[0], tight.workers[0]
    alone = fast_ones(tight, 20, 0.8)
    before = gateway.rss_kib, worker.rss_kib
    slow = [tight.raw() for _ in range(100)]
    for raw in slow:
        raw.request("POST", CHAT, chat(script("bulk", events=160, size=16384), stream=True))
    wait_for(lambda: gateway.status["calls"] == 100 and has_settled(gateway), "nothing moves any more", 10)
    assert gateway.status["calls"] == 100
    beside = fast_ones(tight, 20, 0.8)
    assert len(beside) > 0.7 * len(alone) > 0
    middle, late = beside[len(beside) // 2], beside[len(beside) * 95 // 100]
    assert middle < max(20 * alone[len(alone) // 2], 0.1 * SLOW) and late < max(40 * alone[len(alone) * 95 // 100],
            0.5 * SLOW), (middle, late)
    grown = gateway.rss_kib - before[0], worker.rss_kib - before[1]
    assert grown[0] < 100 * 400 * SLOW and grown[1] < 100 * 1800 * SLOW, f"{grown} KiB for 100 slow readers of 2.5 MiB each"
    for raw in slow[:90]:
        raw.close()
    for raw in slow[90:]:  # who reads at last gets everything
        assert raw.head().status == 200
        a = raw.rest()
        assert a.ending == "complete" and len(a.body) > 160 * 16384 and a.body.endswith(b"data: [DONE]\n\n")
        raw.close()
    wait_idle(tight, 10)


# ---- Stalling -----------------------------------------------------------------------------------------

def test_a_client_that_stops_reading_is_let_go(hasty):
    gateway = hasty.gateways[0]
    with hasty.raw(receive_buffer=4096) as stalled:
        begin(stalled, script("bulk", events=500, size=16384, marker="stalled"))
        request = hasty.engines[0].find("stalled")
        began, times = time.monotonic(), []
        while request.closed_at is None:
            assert time.monotonic() - began < 2.5 * SLOW, "the engine works on for nobody"
            with hasty.raw() as raw:
                asked = time.monotonic()
                assert raw.ask("POST", CHAT, chat()).status == 200
                times.append(time.monotonic() - asked)
        assert sorted(times)[len(times) // 2] < 0.3 * SLOW, times  # most: the machine may be busy for a moment
        assert request.closed_at - began > 0.3
        wait_for(lambda: gateway.status["calls"] == 0 and gateway.status["connections"] == 0, "its connection is closed", 2)
        with contextlib.suppress(Ended):
            stalled.head()
        a = stalled.rest()
        assert a.ending != "complete" and b"[DONE]" not in a.body
    wait_idle(hasty)


def test_a_client_that_stops_reading_a_whole_answer_is_let_go(hasty):
    gateway = hasty.gateways[0]
    with hasty.raw(receive_buffer=4096) as stalled:
        stalled.request("POST", CHAT, chat(script("bulk", events=400, size=16384)))
        wait_for(lambda: gateway.status["calls"] == 1, "it is under way", 2)
        began = time.monotonic()
        wait_for(lambda: gateway.status["calls"] == 0, "its connection is closed", 8)
        assert time.monotonic() - began > 1
        assert stalled.head().status == 200 and stalled.rest().ending != "complete"
    wait_idle(hasty)


def test_a_client_that_stalls_at_the_very_end_is_let_go(hasty):
    """The worker has said everything; only the client's socket is full."""
    gateway = hasty.gateways[0]
    with hasty.raw(receive_buffer=4096) as stalled:
        begin(stalled, script("bulk", events=200, size=16384))
        wait_for(lambda: gateway.status["calls"] == 1, "it is under way", 2)
        wait_for(lambda: gateway.status["calls"] == 0, "its connection is closed", 5)
    wait_idle(hasty)


def test_a_slow_reader_within_the_limit_is_kept(hasty):
    with hasty.raw(receive_buffer=4096) as raw:
        begin(raw, script("bulk", events=20, size=16384))
        assert raw.head().status == 200
        began = time.monotonic()
        with contextlib.suppress(Ended):
            while True:
                raw.piece()
                if time.monotonic() - began < 0.8:
                    time.sleep(0.1)
        assert raw.answer.ending == "complete" and raw.answer.events[-1] == b"[DONE]"


def test_connections_of_broken_streams_are_put_away_at_once(stack):
    stack.engine()
    gateway = stack.gateway()
    stack.worker()
    stack.wait_ready()
    for _ in range(30):
        with stack.raw() as raw:
            raw.request("POST", CHAT, chat(script("half"), stream=True))
            raw.head()
            assert raw.rest().ending != "complete"
    wait_for(lambda: gateway.metric("cocoon_connections") == 0, "no connection is left", 2)


# ---- Time ---------------------------------------------------------------------------------------------

def is_timeout(error):
    return error["code"] == "upstream_timeout" and error["type"] == "server_error"


def took(raw, body):
    began = time.monotonic()
    raw.request("POST", CHAT, body)
    raw.head()
    raw.rest()
    return time.monotonic() - began


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("seconds", [0.3])
def test_the_timeout_field_ends_a_call_before_the_head(many, stream, seconds):
    marker = f"timeout-{stream}-{seconds}"
    with many.raw() as raw:
        t = took(raw, chat(script("mute", marker=marker), stream=stream, timeout=seconds))
        assert raw.answer.status == 504 and is_timeout(raw.answer.error)
        assert seconds - 0.02 < t < seconds + 0.3 * SLOW
        request = many.engines[0].find(marker)
        wait_for(lambda: request.closed_at, "the engine is stopped", 2)
    wait_idle(many)


@pytest.mark.parametrize("name", ["stall", "endless"])
def test_the_timeout_field_ends_a_stream(many, name):
    with many.raw() as raw:
        t = took(raw, chat(script(name, marker="timeout-" + name), stream=True, timeout=0.5))
        a = raw.answer
        assert 0.45 < t < 0.5 + 0.3 * SLOW and a.status == 200 and a.ending != "complete"
        assert is_timeout(json.loads(a.events[-1])["error"]) and b"[DONE]" not in a.body
        request = many.engines[0].find("timeout-" + name)
        wait_for(lambda: request.closed_at, "the engine is stopped", 2)
    wait_idle(many)


def test_the_timeout_field_of_a_caller_is_no_mark_against_the_worker(many):
    failures = [w["failures"] for w in many.gateways[0].status["workers"]]
    for stream in (False, True):
        with many.raw() as raw:
            took(raw, chat(script("stall", events=1), stream=stream, timeout=0.2))
    wait_idle(many)
    assert [w["failures"] for w in many.gateways[0].status["workers"]] == failures


def test_a_timeout_above_the_operators_is_the_operators(stack):
    engine = stack.engine()
    stack.gateway(**{"timeouts.head_ms": 700, "timeouts.total_ms": 1500})
    stack.worker(head_ms=200)  # a whole answer's only sign of life comes in time
    stack.wait_ready()
    with stack.raw() as raw:
        t = took(raw, chat(script("mute"), timeout=1e9))
        assert raw.answer.status == 504 and is_timeout(raw.answer.error) and 1.4 < t < 1.9 * SLOW
    wait_for(lambda: engine.requests[0].closed_at, "the engine is stopped", 2)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_worker_that_says_nothing_is_left_after_head_ms(hasty, stream):
    with hasty.raw() as raw:
        t = took(raw, chat(script("mute"), stream=stream))
        assert raw.answer.status == 504 and is_timeout(raw.answer.error) and 0.6 < t < 1.5 * SLOW
    wait_idle(hasty)


def test_a_worker_that_falls_silent_is_left_after_silence_ms(hasty):
    worker = hasty.workers[0]
    with begin(hasty.raw(), script("stall"), b"word1") as raw:
        began = time.monotonic()
        worker.pause()
        try:
            a = raw.rest()
        finally:
            worker.resume()
        assert 1.0 < time.monotonic() - began < 2.5 * SLOW
        assert a.ending != "complete" and is_timeout(json.loads(a.events[-1])["error"])
    wait_idle(hasty, 10)


def test_pings_show_that_a_silent_worker_lives_until_the_deadline(hasty):
    with hasty.raw() as raw:
        t = took(raw, chat(script("stall"), stream=True))
        a = raw.answer
        assert 1.4 < t < 1.9 * SLOW and a.body.count(b": ping\n") >= 1 and is_timeout(json.loads(a.events[-1])["error"])
    wait_idle(hasty)


@pytest.mark.parametrize("body", [chat(script("endless"), stream=True), chat(script("mute"))], ids=["endless", "mute"])
def test_no_call_outlives_the_deadline(hasty, body):
    with hasty.raw() as raw:
        t = took(raw, body)
        a = raw.answer
        assert t < 1.9 * SLOW
        error = a.error if a.status != 200 else json.loads(a.events[-1])["error"]
        assert is_timeout(error) and a.status in (200, 504)
    wait_idle(hasty)


# ---- Queue --------------------------------------------------------------------------------------------

def test_more_requests_than_slots_wait_and_are_served_in_order(narrow):
    gateway, engine = narrow.gateways[0], narrow.engines[0]
    raws = []
    for i in range(8):
        raw = narrow.raw()
        raw.request("POST", CHAT, chat(script("late_head", seconds=0.3, marker=f"queue-{i}."), stream=i % 2 == 0))
        raws.append(raw)
        time.sleep(0.01)
    wait_for(lambda: gateway.status["queue"] == 6, "six wait", 2)
    for i, raw in enumerate(raws):
        assert raw.head().status == 200
        assert raw.rest().ending == "complete"
        queue = dict(p.split(";dur=") for p in raw.answer.header("server-timing").split(", "))["queue"]
        assert float(queue) > 50 if i >= 3 else True
        raw.close()
    order = [r.body.split(b"queue-")[1][:1] for r in engine.requests]
    assert sorted(order[:2]) == [b"0", b"1"] and sorted(order[-2:]) == [b"6", b"7"]
    assert most_at_a_time(engine) <= 2
    wait_idle(narrow)


def most_at_a_time(engine):
    """How many requests the engine had at a time."""
    moments = sorted([(r.arrived_at, 1) for r in engine.requests] + [(r.answered_at or r.closed_at or 1e18,
                                                                      -1) for r in engine.requests])
    most = now = 0
    for _, step in moments:
        now += step
        most = max(most, now)
    return most


@pytest.mark.parametrize("how", LEAVE)
def test_who_leaves_the_queue_frees_the_place(narrow, how):
    gateway, engine = narrow.gateways[0], narrow.engines[0]
    holders = [begin(narrow.raw(), script("stall", marker=f"holder-{i}"), b"word1") for i in range(2)]
    waiting = [begin(narrow.raw(), f"never-{i}") for i in range(5)]
    last = begin(narrow.raw(), "at-last")
    wait_for(lambda: gateway.status["queue"] == 6, "six wait", 3)
    for raw in waiting:
        getattr(raw, how)()
    wait_for(lambda: gateway.status["queue"] == 1 and gateway.status["calls"] == 3, "one waits", 1)
    left = time.monotonic()
    holders[0].close()
    assert last.head().status == 200 and last.rest().ending == "complete"
    assert time.monotonic() - left < 1.5 * SLOW
    assert not [r for r in engine.requests if b"never-" in r.body]
    for raw in [*waiting, *holders, last]:
        raw.close()
    wait_idle(narrow)


@pytest.mark.parametrize("how", LEAVE)
def test_who_leaves_the_queue_is_out_of_it_at_once(narrow, how):
    gateway, times = narrow.gateways[0], []
    holders = [begin(narrow.raw(), script("stall"), b"word1") for _ in range(2)]

    def has_left():
        now = gateway.status  # itself takes some 20 ms
        return now["queue"] == 0 and now["calls"] == 2
    for _ in range(LEAVERS):
        with begin(narrow.raw(), "waits") as raw:
            wait_for(lambda: gateway.status["queue"] == 1, "it waits", 3)
            left = time.monotonic()
            getattr(raw, how)()
            wait_for(has_left, "it has left", 3, step=0.001)
            times.append(time.monotonic() - left)
    most_are_at_once(times, 0.5)  # with the time that it takes to look
    assert len(narrow.engines[0].requests) == 2
    for raw in holders:
        raw.close()
    wait_idle(narrow)


def test_a_deadline_holds_in_the_queue_too(narrow):
    holders = [begin(narrow.raw(), script("stall"), b"word1") for _ in range(2)]
    for stream in (True, False):
        with narrow.raw() as raw:
            t = took(raw, chat("never", stream=stream, timeout=0.4))
            assert raw.answer.status in (503, 504) and 0.35 < t < 0.4 + 0.4 * SLOW
            assert raw.answer.error["type"] == "server_error"
    for raw in holders:
        raw.close()
    wait_idle(narrow)
