"""The gateway as a worker sees it: a worker of our own, with its own reading of the wire format, that keeps the rules or breaks
them. (The worker as a gateway sees it: test_worker_wire.py.)"""

import base64
import json
import re
import threading
import time
from email.utils import parsedate_to_datetime

import pytest

pytest.importorskip("h2")
pytest.importorskip("cryptography")

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402

from stack import SLOW, Evidence, chat, wait_for  # noqa: E402
from tunnel_peer import b64u  # noqa: E402
from worker_peer import Key, WorkerPeer, plain_answer  # noqa: E402

CHAT, TEXT, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"


class World:
    def __init__(self, stack, **overrides):
        self.stack, self.peers = stack, []
        self.gateway = stack.gateway(**overrides)

    def peer(self, dial=True, **more):
        w = WorkerPeer(self.stack.folder, self.gateway.tunnel, bytes.fromhex(self.stack.operator.pin), **more)
        self.peers.append(w)
        if dial:
            w.dial()
            wait_for(lambda: any(v["iid"] == w.iid and v["state"] == "ready" for v in self.gateway.status["workers"]), "the peer is ready", 5)
        return w

    def view(self, w):
        return next((v for v in self.gateway.status["workers"] if v["iid"] == w.iid), None)

    def ask(self, text="Hi", path=CHAT, key=None, headers=(), **more):
        body = chat(text, **more) if path == CHAT else {"model": "fake-model", **({"prompt": text} if path == TEXT else {"input": text}), **more}
        with self.stack.raw(key=key) as raw:
            return raw.ask("POST", path, body, headers)

    def stop(self):
        for w in self.peers:
            w.close()


@pytest.fixture
def world(stack):
    w = World(stack)
    yield w
    w.stop()


@pytest.fixture(scope="module")
def shared():
    """For tests that break nothing: (world, peer)."""
    from conftest import live_stack
    for stack in live_stack("shared"):
        w = World(stack, **{"timeouts.head_ms": 5000 * SLOW, "timeouts.silence_ms": 5000 * SLOW})
        yield w, w.peer()
        w.stop()


@pytest.fixture
def peer(shared):
    world, w = shared
    yield w
    w.answer, w.on_cancel = plain_answer, w.plain_cancel
    wait_for(lambda: world.gateway.status["calls"] == 0 and world.view(w)["streams"] == 0, "all is over", 5)


def broken(answer):
    assert answer.status == 200 and answer.ending != "complete" and b"[DONE]" not in answer.body
    assert json.loads(answer.events[-1])["error"]["code"] == "worker_error"


# ---- What the gateway asks and sends ------------------------------------------------------------------

def test_it_asks_for_evidence_first_and_then_looks_every_second(world):
    w = world.peer()
    w.wait_asked("GET", "/v1/worker", 3)
    order = [(m, re.sub(r"\?.*", "", p)) for m, p, _ in w.asked]
    assert order[:2] == [("GET", "/v1/attestation"), ("GET", "/v1/worker")]
    assert set(order[2:4]) == {("GET", "/v1/usage"), ("PUT", "/v1/gateways")} and set(order[4:]) == {("GET", "/v1/worker")}
    assert re.fullmatch(r"/v1/attestation\?nonce=[0-9a-f]{64}", w.asked[0][1])
    times = [t for m, p, t in w.asked if p == "/v1/worker"]
    assert all(0.8 < b - a < 1.5 * SLOW for a, b in zip(times, times[1:])), times
    assert w.etags[0] is None and all(w.etags[1:])
    assert ("\"gateways\":[\"" + world.gateway.tunnel).encode() in w.text


OUTER = {":method", ":scheme", ":authority", ":path", "content-type", "accept", "incremental", "cocoon-key", "cocoon-model",
         "cocoon-max-tokens", "cocoon-max-input", "cocoon-call", "cocoon-attempt", "cocoon-price"}
INNER = {"content-type", "date", "cocoon-request-id", "cocoon-model", "cocoon-max-tokens", "cocoon-max-input", "cocoon-public-model",
         "cocoon-include-usage", "cocoon-padding", "cocoon-ping-ms", "cocoon-cache-salt"}


def test_fields_outside_and_inside_are_those_of_the_table(shared, peer):
    world, _ = shared
    answer = world.ask(headers={"X-Client-Request-Id": "my-id-1", "Cookie": "a=b", "X-Secret": "s", "User-Agent": "u"}, max_tokens=5, n=2,
                       stream=True, stream_options={"include_usage": True, "include_obfuscation": True})
    call = peer.calls[-1]
    outer, inner = call.outer, dict(call.fields)
    assert set(outer) == OUTER and set(inner) == INNER and len(inner) == len(call.fields)
    assert (call.method, call.scheme, call.authority, call.path) == ("POST", "https", "worker", CHAT)
    assert outer["content-type"] == "message/ohttp-chunked-req" and outer["accept"] == "message/ohttp-chunked-res" and outer["incremental"] == "?1"
    assert outer["cocoon-key"] == peer.keys[0].kfp.hex() and outer["cocoon-price"] == "0;1000" and outer["cocoon-attempt"] == "0"
    assert outer["cocoon-call"] == answer.header("cocoon-call") and answer.header("x-request-id") == "req_" + outer["cocoon-call"]
    for name in ("cocoon-model", "cocoon-max-tokens", "cocoon-max-input"):
        assert outer[name] == inner[name]
    assert inner["cocoon-max-tokens"] == "10" and int(inner["cocoon-max-input"]) >= 30
    assert inner["cocoon-request-id"] == "my-id-1" and inner["cocoon-include-usage"] == "?1" and inner["cocoon-padding"] == "64"
    assert inner["cocoon-public-model"] == "fake-model" and inner["content-type"] == "application/json"
    assert abs(parsedate_to_datetime(inner["date"]).timestamp() - time.time()) < 5
    assert answer.header("cocoon-privacy") == "sealed" and answer.header("cocoon-attestation") == "insecure-dev"


def test_the_callers_bytes_come_as_they_were(shared, peer):
    world, _ = shared
    body = ('{ "seed":-9007199254740993,  "messages":[{"role":"user","content":"\\u0000 \\ud83c\\udf0d ü"}], "temperature":0.70,'
            '"model":"fake-model","user":"whoever","metadata":{"a":"b"} }')
    with world.stack.raw() as raw:
        assert raw.ask("POST", CHAT, body.encode(), {"Content-Type": "application/json"}).status == 200
    sealed = peer.calls[-1].body.decode()
    for part in ('"seed":-9007199254740993', '"messages":[{"role":"user","content":"\\u0000 \\ud83c\\udf0d ü"}]', '"temperature":0.70'):
        assert part in sealed
    assert "whoever" not in sealed and "metadata" not in sealed


def test_each_request_is_sealed_afresh_and_bodies_are_cut_into_chunks(shared, peer):
    world, _ = shared
    for _ in range(2):
        assert world.ask("the same").status == 200
    one, two = peer.calls[-2:]
    assert one.sealed[7:39] != two.sealed[7:39] and one.outer["cocoon-call"] != two.outer["cocoon-call"]
    for size in (16_000, 16_384, 40_000, 1_000_000):
        assert world.ask("z" * size).status == 200
        assert peer.calls[-1].message == "z" * size
    assert len(peer.calls[-1].sealed) < 1_000_000 + 3000


def test_salts_belong_to_a_conversation_of_an_account(shared, peer):
    world, _ = shared
    other = world.stack.key("--account", "another")

    def salt(messages, key=None, **more):
        with world.stack.raw(key=key) as raw:
            assert raw.ask("POST", CHAT, {"model": "fake-model", "messages": messages, **more}).status == 200
        return dict(peer.calls[-1].fields)["cocoon-cache-salt"]

    first = [{"role": "system", "content": "You"}, {"role": "user", "content": "Question one"}]
    later = first + [{"role": "assistant", "content": "A"}, {"role": "user", "content": "And?"}]
    assert salt(first) == salt(later) and re.fullmatch(r"[A-Za-z0-9_-]{22}", salt(first))
    different = {salt(first), salt(first, other), salt(first, user="u1"), salt(first, user="u2"), salt([{"role": "user", "content": "No"}]),
                 salt(first, prompt_cache_key="p")}
    assert len(different) == 6


def test_every_endpoint_has_its_path(shared, peer):
    world, _ = shared
    assert world.ask(path=EMBED).json["data"][0]["embedding"] == [0.5]
    assert peer.calls[-1].path == EMBED and dict(peer.calls[-1].fields)["cocoon-max-tokens"] == "0"
    with world.stack.raw() as raw:
        raw.ask("POST", "/completions", {"model": "fake-model", "prompt": ["a", "b"], "n": 2, "best_of": 3, "max_tokens": 7})
    assert peer.calls[-1].path == TEXT and dict(peer.calls[-1].fields)["cocoon-max-tokens"] == str(2 * 3 * 7)


# ---- What it makes of an answer -----------------------------------------------------------------------

def test_the_workers_bytes_pass_untouched(shared, peer):
    world, _ = shared
    answer = world.ask(stream=True)
    assert answer.ending == "complete" and answer.body == peer.calls[-1].content
    answer = world.ask()
    assert answer.body == peer.calls[-1].content


def test_usage_and_the_end_mark_wait_for_the_authenticated_end(shared, peer):
    world, _ = shared
    go = threading.Event()

    def held(call):
        call.head()
        call.event(call.chunk({"role": "assistant", "content": "text"}))
        call.event(call.chunk({}, "stop"))
        call.event(call.chunk(usage={"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}))
        call.event("[DONE]")
        go.wait(10)
        call.finish()
    peer.answer = held
    with world.stack.raw() as raw:
        raw.request("POST", CHAT, chat(stream=True, stream_options={"include_usage": True}))
        raw.head()
        raw.until(b'"finish_reason":"stop"')
        raw.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            raw.piece()
        assert b"[DONE]" not in raw.answer.body + raw.buffer and b"prompt_tokens" not in raw.answer.body + raw.buffer
        go.set()
        raw.socket.settimeout(5)
        answer = raw.rest()
    assert answer.ending == "complete" and answer.body.endswith(b"data: [DONE]\n\n") and b'"total_tokens":11' in answer.body


def cut(call):
    call.trailers(call.worker.sign(call.record()))


def flipped(call):
    sealed = bytearray(call.seal(b"\0\0", True))
    sealed[-1] ^= 1
    call.raw(bytes(sealed))
    call.trailers(call.worker.sign(call.record()))


def flipped_chunk(call):
    sealed = bytearray(call.seal(b"\x05hello"))
    sealed[-1] ^= 1
    call.raw(bytes(sealed))
    call.finish()


def repeated(call):
    sealed = call.seal(b"\x05hello")
    call.raw(sealed + sealed)
    call.finish()


def final_as_chunk(call):
    sealed = call.aes.encrypt(b"\0" * 12, b"\0\0", b"final")
    call.raw(b"\x12" + sealed)
    call.finish()


def too_long(call):
    call.raw(b"\x80\x00\x50\x00" + b"x" * 20480)
    call.finish()


def bad_bhttp(call):
    call.raw(call.seal(b"\xff" * 50, True))
    call.trailers(call.worker.sign(call.record()))


def reset(call):
    call.reset()


def hang_up(call):
    call.tunnel.close()


ENDS = [cut, flipped, flipped_chunk, repeated, final_as_chunk, too_long, bad_bhttp, reset]


@pytest.mark.parametrize("end", ENDS, ids=lambda f: f.__name__)
def test_an_end_that_is_none_breaks_the_answer(shared, peer, end):
    world, _ = shared

    def half(call):
        if call.asked.get("stream"):
            call.head()
            call.event(call.chunk({"role": "assistant", "content": "half"}))
            call.event(call.chunk({}, "stop"))
            call.event("[DONE]")
        else:
            call.head(content_type="application/json")
            call.write('{"id":"x","choices":[')
        end(call)
    peer.answer = half
    answer = world.ask(stream=True)
    broken(answer)
    assert b"half" in answer.body
    answer = world.ask()
    assert answer.status == 502 and answer.error["code"] == "worker_error" and b'"choices"' not in answer.body


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_answers_that_are_not_sealed_are_refused(shared, peer, stream):
    world, _ = shared

    def plain(call):
        call.tunnel.reply(call.stream, 200, b'{"choices":[{"message":{"content":"unsealed"}}]}', "application/json")

    def event_stream(call):
        call.tunnel.reply(call.stream, 200, b'data: {"choices":[]}\n\ndata: [DONE]\n\n', "text/event-stream")

    def not_chunked(call):
        call.tunnel.reply(call.stream, 200, b"x" * 100, "message/ohttp-res")

    def empty(call):
        call.tunnel.reply(call.stream, 200)

    def no_content(call):
        call.tunnel.reply(call.stream, 204)
    for function in (plain, event_stream, not_chunked, empty, no_content):
        peer.answer = function
        answer = world.ask(stream=stream)
        assert answer.status == 502 and answer.error["code"] == "worker_error" and b"unsealed" not in answer.body, function.__name__


def test_a_lost_tunnel_breaks_the_answer(world):
    w = world.peer()

    def half(call):
        call.head()
        call.event(call.chunk({"role": "assistant", "content": "half"}))
        hang_up(call)
    w.answer = half
    broken(world.ask(stream=True))
    wait_for(lambda: world.view(w) is None, "the worker is gone", 5)


# ---- Another worker -----------------------------------------------------------------------------------

REFUSALS = {
    "busy": lambda c: c.problem(503, "busy"), "draining": lambda c: c.problem(503, "draining"), "replay": lambda c: c.problem(409, "replay"),
    "bad_message": lambda c: c.problem(400, "bad_message"), "odd": lambda c: c.problem(500, "odd"), "reset": lambda c: c.reset(), "cut": lambda c: (c.head(), cut(c))}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_before_the_first_event_goes_to_another_worker(world, what):
    one, two = world.peer(name="one"), world.peer(name="two")
    seen = []

    def first_refuses(call):
        seen.append(call)
        REFUSALS[what](call) if len(seen) == 1 else plain_answer(call)
    one.answer = two.answer = first_refuses
    answer = world.ask(stream=True)
    assert answer.status == 200 and answer.body.endswith(b"data: [DONE]\n\n")
    assert [c.outer["cocoon-attempt"] for c in seen] == ["0", "1"] and seen[0].worker is not seen[1].worker
    assert seen[0].outer["cocoon-call"] == seen[1].outer["cocoon-call"] == answer.header("cocoon-call")
    assert seen[0].receiver.enc != seen[1].receiver.enc and seen[0].body == seen[1].body


def test_a_worker_that_turns_all_away_is_not_asked_in_a_circle(world):
    w = world.peer()
    w.answer = lambda c: c.problem(503, "draining")
    with world.stack.raw() as raw:
        raw.request("POST", CHAT, chat())
        time.sleep(2.2)
        assert 1 <= len(w.calls) <= 5
        w.answer = plain_answer
        assert raw.head().status == 200
        raw.rest()


def test_busy_is_no_mark_against_a_worker(world):
    one, two = world.peer(name="one"), world.peer(name="two")
    one.answer = lambda c: c.problem(503, "busy")
    for _ in range(6):
        assert world.ask().status == 200
    assert world.view(one)["failures"] == 0


def test_a_failed_attempt_is_acknowledged_as_abandoned(world):
    one, two = world.peer(name="one"), world.peer(name="two")
    seen = []

    def fail(call):
        seen.append(call)
        if len(seen) > 1:
            return plain_answer(call)
        call.head(status=502, content_type="application/json")
        call.write('{"error":{"message":"m","type":"server_error","param":null,"code":"worker_error"}}')
        call.finish(prompt=0, completion=0, outcome="error")
    one.answer = two.answer = fail
    answer = world.ask()
    assert answer.status == 200
    acks = wait_for(lambda: len(one.acks + two.acks) == 2 and one.acks + two.acks, "both are acknowledged", 5)
    assert {(a["attempt"], a["result"]) for a in acks} == {(0, "abandoned"), (1, "settled")}
    assert {a["call"] for a in acks} == {answer.header("cocoon-call")} and {a["pay"] for a in acks} == {"0"}


def test_once_an_event_was_sent_no_other_worker_takes_over(world):
    one, two = world.peer(name="one"), world.peer(name="two")

    def half(call):
        call.head()
        call.event(call.chunk({"role": "assistant", "content": "half"}))
        call.reset()
    one.answer = two.answer = half
    broken(world.ask(stream=True))
    assert len(one.calls) + len(two.calls) == 1


def test_pings_are_no_events(world):
    one, two = world.peer(name="one"), world.peer(name="two")
    seen = []

    def ping_and_die(call):
        seen.append(call)
        if len(seen) > 1:
            return plain_answer(call)
        call.head()
        call.write(": ping\n")
        time.sleep(0.2)
        call.reset()
    one.answer = two.answer = ping_and_die
    answer = world.ask(stream=True)
    assert answer.body.startswith(b": ping\ndata: ") and answer.body.endswith(b"data: [DONE]\n\n") and answer.ending == "complete"


# ---- Records ------------------------------------------------------------------------------------------

def twisted(**members):
    return lambda call: call.finish(**members)


RECORDS = {
    "none": lambda c: c.finish(usage=False),
    "garbage": lambda c: c.finish(jws="a.b.c"),
    "of a stranger": lambda c: c.finish(jws=c.worker.sign(c.record(), key=Ed25519PrivateKey.generate())),
    "of another type": lambda c: c.finish(jws=c.worker.sign(c.record(), typ="cgw-receipt+jwt")),
    "unsigned": lambda c: c.finish(jws=c.worker.sign(c.record(), header='{"alg":"none","typ":"cgw-usage+jwt"}').rsplit(".", 1)[0] + "."),
    "another call": twisted(call="0" * 32),
    "another attempt": twisted(attempt=3),
    "another operator": twisted(op=b64u(b"o" * 32)),
    "another key": twisted(kfp=b64u(b"k" * 32)),
    "another keyset": twisted(ks=b64u(b"k" * 32)),
    "another model": twisted(model="other"),
    "another price": twisted(price="1;1"),
    "another request": twisted(req=b64u(b"r" * 32)),
    "not final": twisted(final=False),
    "a wrong sum": twisted(total=5),
    "more cached than read": twisted(cached=100),
    "negative": twisted(completion=-5),
    "a fraction": twisted(cached=0.5),
    "a member missing": lambda c: c.finish(record={k: v for k, v in c.record().items() if k != "resp"}),
}


def test_a_record_that_is_not_right_is_not_settled(shared, peer):
    world, _ = shared
    tokens, first = world.gateway.metric("cocoon_tokens_total"), len(peer.calls)

    def missing():
        return world.gateway.metric("cocoon_usage_missing_total")
    for what, end in RECORDS.items():
        def answer_with(call):
            call.head(content_type="application/json")
            call.write('{"id":"x","object":"chat.completion","choices":[],"usage":{"prompt_tokens":9}}')
            end(call)
        peer.answer, before = answer_with, missing()
        assert world.ask().status == 200, what  # the answer is good all the same
        wait_for(lambda: missing() == before + 1, f"a record {what} is counted as missing", 3)
    time.sleep(0.4)
    mine = {c.outer["cocoon-call"] for c in peer.calls[first:]}
    assert world.gateway.metric("cocoon_tokens_total") == tokens
    assert {a["result"] for a in peer.acks if a["call"] in mine} <= {"refused"}  # that ends the matter too, without pay


def test_the_hash_of_the_answer_is_checked(shared, peer):
    """`resp` is of the bytes that came, so it is made before the last ones are sent."""
    world, _ = shared
    missing = world.gateway.metric("cocoon_usage_missing_total")

    def early(call):
        call.head(content_type="application/json")
        wrong = call.worker.sign(call.record())
        call.write('{"id":"x","choices":[],"usage":{}}')
        call.finish(jws=wrong)
    peer.answer = early
    assert world.ask().status == 200
    wait_for(lambda: world.gateway.metric("cocoon_usage_missing_total") == missing + 1, "it is counted as missing", 3)


def test_a_good_record_is_settled_once(shared, peer):
    world, _ = shared
    tokens = world.gateway.metric("cocoon_tokens_total", **{"class": "completion"})
    answer = world.ask()
    ack = wait_for(lambda: [a for a in peer.acks if a["call"] == answer.header("cocoon-call")], "the acknowledgement", 3)
    assert ack == [{"call": answer.header("cocoon-call"), "attempt": 0, "result": "settled", "pay": "0"}]
    assert world.gateway.metric("cocoon_tokens_total", **{"class": "completion"}) == tokens + 2


def test_records_kept_from_before_are_fetched_and_acknowledged(world):
    w = world.peer(dial=False)
    old = {"v": 1, "call": "ab" * 16, "attempt": 2, "op": b64u(w.op), "kfp": b64u(w.keys[0].kfp), "ks": b64u(b"k" * 32), "model": "m", "in": 1,
           "cached": 0, "out": 1, "reasoning": 0, "total": 2, "price": "0;1000", "outcome": "stop", "req": b64u(b"r" * 32),
           "resp": b64u(b"r" * 32), "final": True, "t0": 1, "t1": 2, "env": "insecure-dev"}
    w.records = [w.sign(old), "not.a.record", w.sign({**old, "call": "cd" * 16}, key=Ed25519PrivateKey.generate())]
    w.dial()
    acks = wait_for(lambda: w.acks, "the acknowledgement", 5)
    assert [a["call"] for a in acks] == ["ab" * 16] and acks[0]["attempt"] == 2
    assert world.gateway.metric("cocoon_tokens_total") == 0  # the call is not one of this process


# ---- Cancel -------------------------------------------------------------------------------------------

def test_a_client_that_leaves_is_told_to_the_worker_at_once(shared, peer):
    world, _ = shared

    def endless(call):
        call.head()
        call.event(call.chunk({"role": "assistant", "content": "first"}))
        call.cancelled.wait(10)
    peer.answer = endless
    with world.stack.raw() as raw:
        raw.request("POST", CHAT, chat(stream=True))
        raw.head()
        raw.until(b"first")
        call = peer.calls[-1]
    left = time.monotonic()
    path = f"/ohttp/{call.outer['cocoon-call']}/0"
    assert peer.wait_asked("DELETE", path)[0][2] - left < 0.1 * SLOW
    acks = wait_for(lambda: [a for a in peer.acks if a["call"] == call.outer["cocoon-call"]], "its record is acknowledged", 3)
    assert acks[0]["result"] == "settled"
    assert len(peer.wait_asked("DELETE", path)) == 1


def test_a_worker_that_does_not_obey_is_reset(shared, peer):
    world, _ = shared
    peer.on_cancel = lambda call: None

    def endless(call):
        call.head()
        while True:
            call.event(call.chunk({"content": "and so on "}))
            time.sleep(0.01)
    peer.answer = endless
    with world.stack.raw() as raw:
        raw.request("POST", CHAT, chat(stream=True))
        raw.head()
        raw.until(b"and so on")
        call = peer.calls[-1]
    left = time.monotonic()
    wait_for(lambda: any(s == call.stream for s, _ in peer.tunnel.resets), "the stream is reset", 5)
    at = next(t for s, t in peer.tunnel.resets if s == call.stream)
    assert 1.5 < at - left < 3 * SLOW


def test_a_call_that_is_cancelled_before_its_head_ends_too(shared, peer):
    world, _ = shared
    peer.answer = lambda call: call.cancelled.wait(10)

    def head_and_trailers(call):
        call.tunnel.headers(call.stream, 200, [("content-type", "message/ohttp-chunked-res")])
        call.plain = None
        call.trailers(call.worker.sign(call.record(prompt=0, completion=0, outcome="client_abort", final=False)))
    peer.on_cancel = head_and_trailers
    before = len(peer.calls)
    with world.stack.raw() as raw:
        raw.request("POST", CHAT, chat())
        wait_for(lambda: len(peer.calls) > before, "the call came", 3)
    call = peer.calls[-1]
    peer.wait_asked("DELETE", f"/ohttp/{call.outer['cocoon-call']}/0")
    wait_for(lambda: [a for a in peer.acks if a["call"] == call.outer["cocoon-call"]], "its record is acknowledged", 3)


# ---- Evidence, keys, clocks ---------------------------------------------------------------------------

def far(seconds):
    return lambda w: setattr(w, "not_before", int(time.time()) + seconds)


TWISTS = {
    "an old keyset": far(-3700),
    "a keyset of tomorrow": far(86400),
    "another certificate": lambda w: w.settings.update(tls_spki_sha256="00" * 32),
    "another nonce": lambda w: w.document.update(nonce="00" * 32),
    "a tee that is not accepted": lambda w: w.document.update(tee="sgx"),
    "no quote": lambda w: w.document.update(quote=""),
    "a quote for other keys": lambda w: w.document.update(quote=base64.b64encode(Evidence.shared().quote(bytes(64))).decode()),
    "no evidence": lambda w: w.document.update(tee="none", quote=""),
    "no key": lambda w: w.settings.update(hpke=[]),
    "a broken key": lambda w: w.settings.update(hpke=["00" * 45]),
    "no receipt key": lambda w: w.settings.update(receipt_ed25519="zz"),
    "no payout": lambda w: w.settings.update(payout="none"),
}


@pytest.mark.parametrize("what", TWISTS)
def test_a_worker_whose_evidence_is_not_right_is_told_why_and_closed(shared, what):
    world, _ = shared
    w = WorkerPeer(world.stack.folder, world.gateway.tunnel, bytes.fromhex(world.stack.operator.pin))
    TWISTS[what](w)
    w.make_keyset()
    w.dial()
    wait_for(lambda: w.refused and w.tunnel.closed, "it is refused and closed", 5)
    assert w.refused[0]["code"] and w.refused[0]["status"] and not w.calls
    assert f"reason={w.refused[0]['code']}" in world.gateway.log_text
    assert world.view(w) is None or world.view(w)["state"] != "ready"


def test_a_worker_whose_clock_is_off_gets_nothing_until_it_agrees(world):
    w = world.peer()
    assert world.ask().status == 200
    w.date_offset = 90
    wait_for(lambda: world.view(w)["clock_skewed"], "the gateway notices", 3)
    calls = len(w.calls)
    answer = world.ask()
    assert answer.status == 503 and answer.error["code"] == "no_capacity" and len(w.calls) == calls
    assert not world.gateway.ready or world.view(w)["clock_skewed"]
    w.date_offset = -50
    wait_for(lambda: not world.view(w)["clock_skewed"], "it agrees again", 3)
    assert world.ask().status == 200
    w.date_offset = -90
    wait_for(lambda: world.view(w)["clock_skewed"], "the other way too", 3)


def test_a_changed_keyset_is_attested_before_its_key_is_used(world):
    w = world.peer()
    assert world.ask().status == 200
    old = w.keys[0]
    w.rotate()
    assert w.keys[0] is not old
    before = len(w.wait_asked("GET", "/v1/attestation"))
    w.wait_asked("GET", "/v1/attestation", before + 1, 3)
    wait_for(lambda: world.ask().status == 200 and w.calls[-1].key is w.keys[0], "the new key is used", 3)
    nonces = [p for _, p, _ in w.wait_asked("GET", "/v1/attestation")]
    assert len(set(nonces)) == len(nonces)


def test_keys_that_rotate_while_requests_fly_cost_none(world):
    w = world.peer()
    over, answers = threading.Event(), []

    def load():
        while not over.is_set():
            answers.append(world.ask(stream=len(answers) % 2 == 0))
    threads = [threading.Thread(target=load) for _ in range(4)]
    for t in threads:
        t.start()
    for _ in range(2):
        time.sleep(1.2)  # evidence is asked for once a second at most
        w.rotate()
    time.sleep(1.2)
    over.set()
    for t in threads:
        t.join()
    assert len(answers) > 40 and all(a.status == 200 and a.ending == "complete" for a in answers)
    assert len({c.key.kfp for c in w.calls}) == 3
    assert "event=usage_refused" not in world.gateway.log_text


def test_a_key_that_is_gone_is_asked_for_again(world):
    """The worker has thrown the old key away: 400 ohttp_key, then a new attestation, and the call is served."""
    w = world.peer()
    assert world.ask().status == 200
    keyset = w.keyset
    w.keys = [Key(99)]
    w.not_before = int(time.time()) - 1
    w.make_keyset()
    fresh, w.keyset = w.keyset, keyset  # still says the old one in its headers
    before = len(w.wait_asked("GET", "/v1/attestation"))
    answer = world.ask()
    assert answer.status in (200, 502, 503)
    w.keyset = fresh
    w.wait_asked("GET", "/v1/attestation", before + 1, 3)
    wait_for(lambda: world.ask().status == 200, "it is served with the new key", 5)
    assert w.calls[-1].key is w.keys[0]


def test_a_rotation_to_a_bad_keyset_closes_the_worker(world):
    w = world.peer()
    w.settings = {"tls_spki_sha256": "11" * 32}
    w.rotate()
    wait_for(lambda: w.refused and w.tunnel.closed, "it is refused and closed", 5)
    assert world.ask().status == 503


def test_a_description_that_changes_is_followed(world):
    w = world.peer()
    w.about = {"accepting": False, "reason": "watts"}
    wait_for(lambda: world.view(w)["reason"] == "watts", "the gateway follows", 3)
    assert world.ask().error["code"] == "no_capacity"
    w.about = {}
    w.models = ["fake-model", "another"]
    wait_for(lambda: world.view(w)["models"] == ["fake-model", "another"], "the gateway follows", 3)
    assert world.ask(model="another").status == 200
    w.about = {"models": "none"}
    wait_for(lambda: w.refused and w.tunnel.closed, "nonsense is refused", 3)


def test_a_worker_that_says_it_is_full_gets_nothing(world):
    w = world.peer()
    w.max, w.running = 2, 2
    wait_for(lambda: world.view(w)["running"] == 2, "the gateway hears of it", 3)
    calls = len(w.calls)
    with world.stack.raw() as raw:
        raw.request("POST", CHAT, chat())
        wait_for(lambda: world.gateway.status["queue"] == 1, "the call waits", 3)
        assert len(w.calls) == calls
        w.running = 0
        assert raw.head().status == 200
        raw.rest()
