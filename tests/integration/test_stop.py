"""A gateway that is told to stop while something is still on its way: records, proofs, bodies being sealed. It loses no record
that a worker can still give, and ends by itself, at whatever moment it is told."""

import contextlib
import json
import signal
import threading
import time

import pytest

pytest.importorskip("h2")
pytest.importorskip("cryptography")

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402
import h2.exceptions  # noqa: E402

from purse import Till  # noqa: E402
from stack import SLOW, Process, chat, wait_for  # noqa: E402
from test_wire import World  # noqa: E402

CHAT = "/v1/chat/completions"


@pytest.fixture
def make(stack):
    """Makes a gateway with given settings, for workers of our own."""
    made = []

    def world(**overrides):
        made.append(World(stack, **overrides))
        return made[-1]
    yield world
    for w in made:
        w.stop()


def counted(stack):
    """What Redis says was used: requests and tokens."""
    rows = [stack.redis.client.hgetall(k) for k in stack.redis.client.keys("usage:*")]
    return sum(int(r.get("requests", 0)) for r in rows), sum(int(r.get("completion", 0)) for r in rows)


def later(seconds, function, *args):
    timer = threading.Timer(seconds, function, args)
    timer.daemon = True
    timer.start()


def ends_without_record(call):
    """A whole answer whose record is not in the trailer, but kept to be asked for."""
    call.head()
    call.event(call.chunk({"role": "assistant", "content": "Hi"}, "stop"))
    call.event("[DONE]")
    call.raw(call.seal(b"\0\0", True))
    call.worker.records.append(call.worker.sign(call.record(completion=3)))
    call.trailers(None)


def endless(call):
    call.head()
    call.event(call.chunk({"role": "assistant", "content": "Hi"}))
    call.cancelled.wait(30)


def slow_records(peer, seconds):
    """GET /v1/usage is answered so late."""
    serve = peer.serve

    def slowly(tunnel, stream, headers, body):
        if headers[":path"].startswith("/v1/usage?") and peer.calls:
            later(seconds, serve, tunnel, stream, headers, body)
        else:
            serve(tunnel, stream, headers, body)
    peer.serve = slowly


def begin(raw, text="Hi"):
    raw.request("POST", CHAT, chat(text, stream=True))
    assert raw.head().status == 200
    raw.until(b"Hi")
    return raw


def test_a_record_that_is_being_fetched_is_counted_and_acknowledged(make, stack):
    world = make()
    peer = world.peer()
    peer.answer = ends_without_record
    slow_records(peer, 0.4)
    with stack.raw() as raw:
        raw.request("POST", CHAT, chat(stream=True))
        raw.head()
        assert raw.rest().ending == "complete"
        peer.wait_asked("GET", "/v1/usage", 2)
    world.gateway.signal(signal.SIGTERM)
    assert world.gateway.wait(5) == 0
    assert counted(stack) == (1, 3)
    assert [a["result"] for a in peer.acks] == ["settled"]


def test_the_records_of_calls_that_it_breaks_off_are_counted_and_acknowledged(make, stack):
    world = make(**{"timeouts.drain_ms": 400})
    peer = world.peer()
    peer.answer = endless

    def record_late(call):
        later(0.3, call.trailers, call.worker.sign(call.record(completion=5, outcome="client_abort", final=False)))
    peer.on_cancel = record_late
    streams = [begin(stack.raw()) for _ in range(6)]
    world.gateway.signal(signal.SIGTERM)
    for raw in streams:
        answer = raw.rest()
        assert answer.ending != "complete" and json.loads(answer.events[-1])["error"]["code"] == "overloaded"
        assert "stopping" in json.loads(answer.events[-1])["error"]["message"]
    assert world.gateway.wait(5) == 0
    assert counted(stack) == (6, 30)
    assert [a["result"] for a in peer.acks] == ["settled"] * 6


def test_a_worker_that_never_gives_its_record_does_not_hold_it_up(make, stack):
    world = make(**{"timeouts.drain_ms": 200})
    peer = world.peer()
    peer.answer, peer.on_cancel = endless, lambda call: None
    with begin(stack.raw()) as raw:
        began = time.monotonic()
        world.gateway.signal(signal.SIGTERM)
        assert raw.rest().ending != "complete"
        assert world.gateway.wait(6) == 0
        assert time.monotonic() - began < 4 * SLOW
    assert counted(stack) == (1, 0)


def test_a_redis_that_is_silent_about_a_records_signer_does_not_hold_it_up(make, stack):
    world = make(**{"redis.command_ms": 10000})
    first = world.peer()
    assert world.ask().status == 200
    second = world.peer(dial=False)
    second.records = [second.sign({**first.calls[0].record(), "call": "cd" * 16}, key=Ed25519PrivateKey.generate())]
    stack.redis.pause()
    second.dial()
    second.wait_asked("GET", "/v1/usage")
    second.wait_asked("GET", "/v1/worker", 2)  # a second later: the records are read
    world.gateway.signal(signal.SIGTERM)
    began = time.monotonic()
    assert world.gateway.wait(8) == 0
    assert time.monotonic() - began < 5 * SLOW


def test_the_last_records_do_not_hold_up_the_end_of_a_gateway_whose_redis_is_silent(stack):
    """They come when it waits for records no longer than for moments more, and more at a time than one thread verifies by then."""
    calls = 60
    till = Till(stack, **{"timeouts.drain_ms": 0, "server.offload_threads": 1})
    cancelled, last = [], threading.Event()

    def give():
        with contextlib.suppress(h2.exceptions.ProtocolError, OSError):  # its tunnel ends meanwhile
            for call in cancelled:
                call.trailers(call.worker.sign(call.record(outcome="client_abort", final=False)))
        last.set()

    def keep(call):
        cancelled.append(call)
        if len(cancelled) == calls:
            later(1.95, give)
    till.worker.max, till.worker.answer, till.worker.on_cancel = 2 * calls, endless, keep
    wait_for(lambda: till.gateway.status["workers"][0]["max"] == 2 * calls, "it is known", 5)
    streams = [begin(till.raw()) for _ in range(calls)]
    stack.redis.pause()
    till.gateway.signal(signal.SIGTERM)
    assert till.gateway.wait(8) == 0 and last.wait(10)
    stack.redis.resume()
    till.worker.close()
    for raw in streams:
        raw.close()


MOMENTS = [0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3]


@pytest.mark.parametrize("moment", MOMENTS)
def test_it_stops_at_any_moment_of_its_workers_proofs_and_calls(stack, moment):
    stack.engine()
    gateway = stack.gateway(**{"timeouts.drain_ms": 0})
    workers = [stack.worker(start=False) for _ in range(3)]
    for w in workers:
        w.write_config()
        Process.start(w)  # not waited for
    wait_for(lambda: gateway.status["workers"], "the first tunnel", 10, step=0.001)
    clients = [stack.raw() for _ in range(4)]
    for i, raw in enumerate(clients):  # large ones are sealed by the threads
        raw.request("POST", CHAT, chat("x" * (700_000 if i % 2 else 10)))
    time.sleep(moment * SLOW)
    gateway.signal(signal.SIGTERM)
    assert gateway.wait(6) == 0
    for raw in clients:
        raw.close()
