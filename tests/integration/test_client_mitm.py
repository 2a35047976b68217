"""cocoon-client against a gateway, or a worker, that lies: each time an error that a user can read, nothing in clear, no second try that
nobody asked for."""

import base64
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("h2")
pytest.importorskip("cryptography")

from client_peer import Client  # noqa: E402
from evil_gateway import EvilGateway, finish, honest, say, wait_closed  # noqa: E402
from stack import BIN, SLOW, chat, wait_for  # noqa: E402
from test_devtee import DevTee, devtee  # noqa: E402
from tunnel_peer import certificate, pem  # noqa: E402
from worker_peer import Key, digest, plain_answer  # noqa: E402

CANARY = "the walrus sings at 4711"


@pytest.fixture(scope="module")
def tee():
    with tempfile.TemporaryDirectory(prefix="cocoon-") as folder:
        t = DevTee(folder).start()
        yield t
        t.stop()


class Place:
    def __init__(self, folder, tee):
        self.folder, self.tee, self.started = folder, tee, []

    def gateway(self, context=None, **kw):
        self.g = EvilGateway(self.folder, self.tee, **kw).start(context)
        return self.g

    def client(self, *options, **kw):
        self.c = Client(self.folder, self.g.url, self.tee, *options, **kw).start()
        self.started.append(self.c)
        return self.c

    def ask(self, text=CANARY, headers=(), path="/v1/chat/completions", **kw):
        with self.c.raw() as raw:
            return raw.ask("POST", path, chat(text, **kw), headers)

    def stream(self, text=CANARY, **kw):
        return self.ask(text, stream=True, **kw)

    def stop(self):
        for c in self.started:
            c.stop()
        self.g.stop()


@pytest.fixture
def place(tee):
    with tempfile.TemporaryDirectory(prefix="cocoon-") as folder:
        p = Place(folder, tee)
        try:
            yield p
        finally:
            p.stop()


@pytest.fixture
def lied(place):
    """A client before a gateway; afterwards nothing was seen in clear."""
    place.gateway()
    place.client()
    yield place
    assert not place.g.saw(b"walrus") and "walrus" not in place.c.text and "sk-test" not in place.c.text


def refused(answer, said, status=502, code="verification_failed"):
    assert answer.status == status, answer.body
    assert answer.error["code"] == code and said in answer.error["message"], answer.error
    assert set(answer.error) == {"message", "type", "param", "code"}
    return answer


def broken(answer, said, code="verification_failed"):
    """A stream that ended with an error event and never cleanly."""
    assert answer.status == 200 and answer.ending == "closed", (answer.ending, answer.body)
    error = json.loads(answer.events[-1])["error"]
    assert error["code"] == code and said in error["message"], error
    assert b"[DONE]" not in answer.body
    return answer


# ---- Honest ------------------------------------------------------------------------------------------

def test_an_honest_answer_passes_whole_and_streamed(lied):
    a = lied.ask()
    assert a.status == 200 and a.json["choices"][0]["message"]["content"] == "Hello there", a.body
    assert a.header("cocoon-privacy") == "end-to-end" and a.header("cocoon-attestation") == "insecure-dev"
    assert a.header("x-request-id") == "req_" + a.header("cocoon-call") and a.header("content-type") == "application/json"
    s = lied.stream(stream_options={"include_usage": True})
    assert s.text == "Hello there" and s.ending == "complete" and s.events[-1] == b"[DONE]"
    assert s.chunks[-1]["usage"]["total_tokens"] == 11
    with lied.c.raw() as raw:
        e = raw.ask("POST", "/v1/embeddings", {"model": "fake-model", "input": CANARY})
    assert e.status == 200 and e.json["data"][0]["embedding"] == [0.5]


def test_what_is_sealed_and_what_stands_outside_is_the_allowlist(lied):
    lied.ask(user="alice", headers={"X-Client-Request-Id": "mine-1", "Cookie": "secret=1", "User-Agent": "app/1", "X-Secret": "2"})
    call, outer = lied.g.calls[-1], lied.g.posts[-1]
    fields = dict(call.fields)
    assert list(fields) == ["content-type", "date", "cocoon-request-id", "cocoon-model", "cocoon-max-tokens", "cocoon-max-input",
                            "cocoon-public-model", "cocoon-include-usage", "cocoon-padding", "cocoon-ping-ms", "cocoon-cache-salt"]
    assert fields["cocoon-request-id"] == "mine-1" and fields["cocoon-padding"] == "64" and len(fields["cocoon-cache-salt"]) == 22
    assert len(call.plain) % 512 == 0 and "user" not in call.asked
    assert set(outer) == {"host", "content-length", "authorization", "content-type", "accept", "incremental", "cocoon-key", "cocoon-model",
                          "cocoon-max-tokens", "cocoon-max-input", "cocoon-stream", "cocoon-affinity"} | {"cocoon-call", "cocoon-attempt", "cocoon-price"}
    assert outer["authorization"] == "Bearer sk-test" and outer["cocoon-stream"] == "?0"
    assert outer["cocoon-affinity"] != fields["cocoon-cache-salt"]
    for name in ("max-tokens", "max-input", "model"):
        assert outer["cocoon-" + name] == fields["cocoon-" + name]
    assert not any(b"authorization" in h.lower() for h in lied.g.heard if b"/confidential/workers" in h or b"/attestation/" in h)


def test_tags_are_the_same_in_every_turn_and_with_every_start(lied):
    seen = []
    for text in (CANARY, CANARY, "another"):
        lied.ask(text)
        seen.append((lied.g.posts[-1]["cocoon-affinity"], dict(lied.g.calls[-1].fields)["cocoon-cache-salt"]))
    assert seen[0] == seen[1] != seen[2]
    lied.c.stop()
    lied.c = Client(lied.folder, lied.g.url, lied.tee).start()
    lied.started.append(lied.c)
    lied.ask()
    assert lied.g.posts[-1]["cocoon-affinity"] == seen[0][0]
    assert os.stat(lied.c.key_file).st_mode & 0o777 == 0o600


# ---- Which worker ------------------------------------------------------------------------------------

def test_no_worker_at_all(lied):
    lied.g.workers_say = lambda listing: (200, {**listing, "workers": []})
    refused(lied.ask(), "No worker", 503, "no_capacity")
    assert not lied.g.posts


def test_a_worker_whose_quote_is_another(lied):
    quote = base64.b64encode(bytes(5000)).decode()
    lied.g.document_says = lambda d, kfp: {**d, "quote": quote}
    refused(lied.ask(), "could be verified, so nothing was sent", 503, "no_attested_worker")
    assert not lied.g.posts


def test_substituted_keys_in_the_document(lied):
    """The gateway puts a key of its own into the keyset: the quote is for another."""
    mine = Key(77)

    def swap(d, kfp):
        keyset = json.loads(base64.b64decode(d["keyset"]))
        keyset["hpke"] = [mine.config.hex()]
        return {**d, "keyset": base64.b64encode(json.dumps(keyset).encode()).decode()}
    lied.g.document_says = swap
    lied.g.workers_say = lambda listing: (200, {**listing, "workers": [{**listing["workers"][0], "kfp": mine.kfp.hex(), "key_config": mine.config.hex()}]})
    real = lied.g.workers[0]
    lied.g.document_says = lambda d, kfp: swap(real.attest(), kfp)
    refused(lied.ask(), "could be verified", 503, "no_attested_worker")
    assert not lied.g.posts


def test_a_genuine_document_that_is_for_other_keys_than_listed(lied):
    mine, real = Key(78), lied.g.workers[0]
    lied.g.workers_say = lambda listing: (200, {**listing, "workers": [{**listing["workers"][0], "kfp": mine.kfp.hex(), "key_config": mine.config.hex()}]})
    lied.g.document_says = lambda d, kfp: real.attest()
    refused(lied.ask(), "other keys than the gateway said", 503, "no_attested_worker")
    assert not lied.g.posts


def test_keys_that_are_over(lied):
    w = lied.g.workers[0]
    w.not_before = int(time.time()) - 2 * 3600
    w.make_keyset()
    refused(lied.ask(), "time", 503, "no_attested_worker")
    assert not lied.g.posts


def test_a_worker_that_does_not_serve_the_model(lied):
    lied.g.workers_say = lambda listing: (200, {**listing, "model": "another-model"})
    refused(lied.ask(), "does not name the model", 503, "no_attested_worker")
    assert not lied.g.posts


@pytest.mark.parametrize("say_", [(200, {"workers": "x"}), (200, {"model": "m"}), (302, {}), (200, {"model": "a b", "ttl": 1, "workers": []})])
def test_a_list_that_is_none(lied, say_):
    lied.g.workers_say = lambda listing: say_
    a = lied.ask()
    assert a.status == 502 and a.error["message"], a.body
    assert not lied.g.posts


def test_the_second_worker_serves_when_the_first_is_not_genuine(place):
    g = place.gateway(workers=2)
    bad = g.workers[0].keys[0].kfp.hex()
    g.document_says = lambda d, kfp: {**d, "quote": ""} if kfp == bad else d
    place.client()
    assert place.ask().status == 200
    assert g.calls[-1].worker is g.workers[1]


def test_cocoon_require_narrows_here_too(lied):
    a = refused(lied.ask(headers={"Cocoon-Require": "gpu=nvidia-cc"}), "Cocoon-Require", 503, "no_attested_worker")
    assert a.header("retry-after") == "60" and not lied.g.posts
    assert lied.ask(headers={"Cocoon-Require": "nonsense"}).status == 400


# ---- The answer in clear, downgraded, redirected ------------------------------------------------------

CLEAR = json.dumps({"id": "x", "object": "chat.completion", "choices": [{"message": {"role": "assistant", "content": "owned"}}]}).encode()


@pytest.mark.parametrize("status, kind", [(200, "application/json"), (201, "message/ohttp-chunked-res"), (200, "message/ohttp-res"),
                                          (200, "text/event-stream"), (206, "application/json")])
def test_a_2xx_that_is_not_sealed_is_thrown_away(lied, status, kind):
    lied.g.post = lambda wire, outer, body: wire.reply(None, status, CLEAR, kind)
    a = refused(lied.ask(), "without encryption")
    assert b"owned" not in a.body and a.header("x-should-retry") == "false" and len(lied.g.posts) == 1


def test_a_redirect_is_not_followed(lied):
    lied.g.post = lambda wire, outer, body: wire.reply(None, 307, b"", "text/plain", [("Location", "/v1/chat/completions")])
    a = lied.ask()
    assert a.status == 502 and "307" in a.error["message"] and len(lied.g.posts) == 1


def test_an_answer_without_a_call_id(lied):
    lied.g.extra = [("Cocoon-Call", None)]
    refused(lied.ask(), "names no call")


# ---- Chunks ------------------------------------------------------------------------------------------

def whole_answer(call):
    """Sent bytes of an honest answer, collected instead of sent."""
    sent = []
    call.tunnel.data = lambda stream, data: sent.append(data)
    headers, trailers = [], []
    call.tunnel.headers = lambda *a, **kw: headers.append((a, kw))
    call.tunnel.trailers = lambda *a, **kw: trailers.append((a, kw))
    honest(call)
    for name in ("data", "headers", "trailers"):
        delattr(call.tunnel, name)
    return headers[0], sent, trailers[0]


def send(call, parts):
    (a, kw), sent, (b, kw2) = parts
    call.tunnel.headers(*a, **kw)
    for s in sent:
        call.tunnel.data(*[None, s])
    call.tunnel.trailers(*b, **kw2)


@pytest.mark.parametrize("change", [
    lambda s: s[:-1],                      # without its final chunk
    lambda s: s[:3] + s[4:],               # an event is stripped
    lambda s: s[:2] + [s[3], s[2]] + s[4:],  # two change places
    lambda s: s[:3] + [s[2]] + s[3:],      # one comes twice
    lambda s: s[:-1] + [s[-1][:-3]],       # the end is cut
    lambda s: s + [b"\x05hello"],          # something follows
    lambda s: s[:2] + [s[2][:-1] + bytes([s[2][-1] ^ 1])] + s[3:],  # a bit is flipped
    lambda s: s[:1],
    lambda s: [],
    lambda s: [bytes(32)] + s[1:],
])
def test_stripped_truncated_and_reordered_chunks(lied, change):
    def answer(call):
        head, sent, trailers = whole_answer(call)
        send(call, (head, change(sent), trailers))
    lied.g.answer = answer
    a = lied.stream()
    if a.status == 200:
        broken(a, "cut short or changed")
    else:
        refused(a, "cut short or changed")
    assert len(lied.g.posts) == 1


@pytest.mark.parametrize("change", [lambda s: s[:-1], lambda s: [s[0], s[2]], lambda s: [s[0], s[1], s[1], s[2]], lambda s: [s[1], s[0], s[2]]])
def test_an_answer_in_one_piece_that_was_tampered_with(lied, change):
    def answer(call):
        head, sent, trailers = whole_answer(call)
        send(call, (head, change(sent), trailers))
    lied.g.answer = answer
    refused(lied.ask(), "cut short or changed")
    assert len(lied.g.posts) == 1


def test_a_connection_cut_in_the_middle(lied):
    def answer(call):
        call.head()
        call.event(call.chunk({"role": "assistant", "content": "Hel"}))
        time.sleep(0.2)
        call.tunnel.cut()
    lied.g.answer = answer
    a = broken(lied.stream(), "cut short")
    assert a.text == "Hel"


def test_a_cancelled_answer_passed_off_as_complete(lied):
    """The worker ended its stream without a final chunk; the gateway ends its own as if nothing were amiss."""
    def answer(call):
        call.head()
        call.event(call.chunk({"role": "assistant", "content": "Hel"}))
        finish(call, final=False, in_record={"outcome": "client_abort"})
    lied.g.answer = answer
    assert broken(lied.stream(), "cut short").text == "Hel"


def test_an_old_answer_is_replayed(lied):
    kept = []

    def answer(call):
        if not kept:
            kept.append(whole_answer(call))
        send(call, kept[0])
    lied.g.answer = answer
    assert lied.ask().status == 200
    refused(lied.ask(), "cut short or changed")


# ---- Receipt and record ------------------------------------------------------------------------------

def one(**kw):
    def answer(call):
        say(call)
        finish(call, **kw)
    return answer


OTHER = digest(b"something else")


@pytest.mark.parametrize("kw, said", [
    ({"with_receipt": False}, "no receipt"),
    ({"in_receipt": {"rid": "another"}}, "another request"),
    ({"in_receipt": {"call": "0" * 32}}, "another call"),
    ({"in_receipt": {"attempt": 1}}, "another call"),
    ({"in_receipt": {"model": "cheaper-model"}}, "another model"),
    ({"in_receipt": {"req_body": OTHER}}, "another request"),
    ({"in_receipt": {"resp_body": OTHER}}, "another answer"),
    ({"in_receipt": {"req": OTHER}}, "another request"),
    ({"in_receipt": {"kfp": OTHER}}, "another request"),
    ({"in_receipt": {"model_digest": "sha256:" + "1" * 64}}, "another model or configuration"),
    ({"in_receipt": {"config_sha256": "1" * 64}}, "another model or configuration"),
    ({"in_receipt": {"env": "production"}}, "another environment"),
    ({"in_receipt": {"price": "3;2000"}}, "another price"),
    ({"in_receipt": {"outcome": "error"}}, "not complete"),
    ({"in_receipt": {"t0": 1000, "t1": 2000}}, "times"),
    ({"in_receipt": {"t0": int(time.time() * 1000) + 10**7, "t1": int(time.time() * 1000) + 10**7}}, "times"),
    ({"in_receipt": {"in": 900}}, "other tokens"),
    ({"in_receipt": {"out": 900}}, "other tokens"),
    ({"in_record": {"in": 900}}, "different tokens"),
    ({"in_record": {"call": "0" * 32}}, "another call"),
    ({"in_record": {"resp": OTHER}}, "another answer"),
    ({"in_record": {"req": OTHER}}, "another request"),
    ({"in_record": {"model": "dearer-model"}}, "another model"),
    ({"in_record": {"outcome": "length"}}, "different tokens"),
    ({"with_record": False}, "did not hand over"),
])
def test_receipts_and_records_that_do_not_fit(lied, kw, said):
    lied.g.answer = one(**kw)
    refused(lied.ask(), said)
    a = broken(lied.stream(stream_options={"include_usage": True}), said)
    assert a.text == "Hello there" and b'"usage":{' not in a.body  # counts that are not proven are not shown
    assert len(lied.g.posts) == 2


def test_receipt_or_record_signed_by_somebody_else(lied):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    stranger = Ed25519PrivateKey.generate()
    lied.g.answer = one(signer=stranger)
    refused(lied.ask(), "not signed by the attested worker")
    lied.g.answer = one(record_signer=stranger)
    refused(lied.ask(), "not signed by the attested worker")


def test_a_malicious_worker_that_answers_another_request_id(lied):
    def answer(call):
        call.fields = [(k, "other" if k == "cocoon-request-id" else v) for k, v in call.fields]
        say(call)
        finish(call)
    lied.g.answer = answer
    refused(lied.ask(), "another request")


def test_a_receipt_that_says_nothing_readable(lied):
    lied.g.answer = plain_answer  # its receipt is "not.read.here"
    refused(lied.ask(), "not signed by the attested worker")


def test_trailers_lost_on_the_way_are_fetched(lied):
    lied.g.usage_in_trailer = False
    assert lied.ask().status == 200
    assert any(p.startswith("/v1/billing/receipts/") for _, p in lied.g.asked)
    assert lied.stream().ending == "complete"
    lied.g.serve_receipts = False
    refused(lied.ask(), "did not hand over")


# ---- What the gateway changes of the request -----------------------------------------------------------

def test_a_worker_told_another_model_refuses_and_it_is_said(lied):
    def answer(call):
        error = {"error": {"message": "Invalid value for the header 'cocoon-model'.", "type": "invalid_request_error", "param": None,
                           "code": "invalid_header"}}
        call.head(400, "application/json")
        call.write(json.dumps(error))
        finish(call, in_receipt={"outcome": "binding_mismatch"}, in_record={"outcome": "binding_mismatch"})
    lied.g.answer = answer
    refused(lied.ask(), "something else about this request")
    refused(lied.stream(), "something else about this request")


def test_a_workers_own_refusal_is_handed_on(lied):
    def answer(call):
        error = {"error": {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}
        call.head(400, "application/json")
        call.write(json.dumps(error))
        finish(call)
    lied.g.answer = answer
    refused(lied.ask(), "too long", 400, "context_length_exceeded")


# ---- Going elsewhere ---------------------------------------------------------------------------------

def test_retry_other_worker_seals_again_for_the_next_at_most_three_times(place):
    g = place.gateway(workers=5)
    place.client()
    nexts = ",".join(w.keys[0].kfp.hex() for w in g.workers)
    g.post = lambda wire, outer, body: wire.problem(503, "retry_other_worker", [("Cocoon-Next", nexts)])
    a = place.ask()
    assert a.status == 503 and a.error["code"] == "no_capacity" and "retry_other_worker" not in a.body.decode()
    keys = [p["cocoon-key"] for p in g.posts]
    assert len(keys) == 4 and len(set(keys)) == 4
    del g.posts[:]
    first = []

    def once(wire, outer, body):
        if not first:
            first.append(outer["cocoon-key"])
            return wire.problem(503, "retry_other_worker", [("Cocoon-Next", g.workers[3].keys[0].kfp.hex())])
        g.post = None
        g.posts.pop()
        return g.take(wire, wire.handler, body)
    g.post = once
    assert place.ask().status == 200 and g.calls[-1].outer["cocoon-key"] != first[0]


def test_each_conversation_goes_where_its_own_last_answer_said(place):
    g = place.gateway(workers=3)
    place.client()
    keys = [w.keys[0].kfp.hex() for w in g.workers]
    nexts = {"first": keys[1], "second": keys[2], "third": keys[0]}
    for _ in range(2):  # in the first it may be that not all keys are verified yet
        for text, key in nexts.items():
            g.extra = [("Cocoon-Next", key)]
            assert place.ask(text).status == 200
    g.extra = []
    for text, key in nexts.items():
        assert place.ask(text).status == 200 and g.calls[-1].outer["cocoon-key"] == key


def test_a_next_worker_that_is_not_genuine_gets_nothing(place):
    g = place.gateway(workers=2)
    good, bad = (w.keys[0].kfp.hex() for w in g.workers)
    g.document_says = lambda d, kfp: {**d, "quote": ""} if kfp == bad else d
    place.client()
    g.post = lambda wire, outer, body: wire.problem(503, "retry_other_worker", [("Cocoon-Next", bad)])
    a = place.ask()
    assert a.status == 503 and [p["cocoon-key"] for p in g.posts] == [good]


def test_a_rotated_key_is_fetched_again_once(lied):
    assert lied.ask().status == 200
    w = lied.g.workers[0]
    w.rotate()
    w.keys = w.keys[:1]
    assert lied.ask().status == 200
    assert len(lied.g.posts) == 3 and lied.g.posts[1]["cocoon-key"] != lied.g.posts[2]["cocoon-key"]
    lied.g.post = lambda wire, outer, body: wire.problem(400, "ohttp_key")
    a = lied.ask()
    assert a.status == 502 and "ohttp_key" in a.error["message"] and len(lied.g.posts) == 5


@pytest.mark.parametrize("status, code, expected", [(401, "invalid_api_key", "invalid_api_key"), (403, "end_to_end_only", None),
                                                    (429, "insufficient_quota", "insufficient_quota"), (409, "replay", "worker_error"),
                                                    (429, "rate_limit_exceeded", "rate_limit_exceeded"), (503, "no_capacity", "no_capacity")])
def test_refusals_of_the_gateway_become_the_apis_errors(lied, status, code, expected):
    lied.g.post = lambda wire, outer, body: wire.problem(status, code, [("Retry-After", "7"), ("retry-after-ms", "7000")])
    a = lied.ask()
    assert a.status == (502 if status == 409 else status) and a.error["code"] == expected, a.body
    assert len(lied.g.posts) == 1
    if status in (429, 503):
        assert a.header("retry-after") == "7" and a.header("retry-after-ms") == "7000"


# ---- Delay, disconnect, back-pressure ------------------------------------------------------------------

def test_silence_and_dribbling_end_in_an_error(place):
    place.gateway()
    place.client(settings="timeouts:\n  silence_ms: 700\n  total_ms: 20000\n")

    def dribble(call):
        call.head()
        for _ in range(100):
            call.tunnel.data(None, b"\x40")  # a length's first byte, again and again: nothing authenticated
            time.sleep(0.05)
    place.g.answer = dribble
    began = time.monotonic()
    a = place.stream()
    assert time.monotonic() - began < 5 * SLOW
    assert a.status in (502, 504) or a.ending == "closed"
    place.g.answer = lambda call: time.sleep(3)
    assert place.ask().status == 504


def says_nothing(call):
    assert wait_closed(call.tunnel.handler, 60 * SLOW)


def says_a_head(call):
    call.head(content_type="application/json")
    says_nothing(call)


def says_blanks(call):
    call.head(content_type="application/json")
    while not wait_closed(call.tunnel.handler, 0.05):
        call.write(" ")


SILENCE, TOTAL = f"timeouts:\n  silence_ms: {700 * SLOW}\n", f"timeouts:\n  total_ms: {1500 * SLOW}\n"


@pytest.mark.parametrize("settings, answer, status", [
    ("", lambda call: call.tunnel.cut(), 502), (SILENCE, says_nothing, 504), (SILENCE, says_a_head, 504), (TOTAL, says_nothing, 504),
    (TOTAL, says_blanks, 504)])
def test_what_the_gateway_had_and_did_not_refuse_runs_no_second_time(place, settings, answer, status):
    """A worker may have been at it, and is paid then: the same Idempotency-Key asks for nothing more."""
    place.gateway()
    place.client(settings=settings)
    assert place.ask().status == 200
    place.g.answer = answer
    assert place.ask(headers={"Idempotency-Key": "lost"}).status == status
    place.g.answer, posts = honest, len(place.g.posts)
    a = place.ask(headers={"Idempotency-Key": "lost"})
    assert a.status == 409 and a.error["code"] == "idempotency_no_replay" and a.header("x-should-retry") == "false"
    assert len(place.g.posts) == posts


def test_what_never_reached_the_gateway_may_come_again_with_its_key(place):
    place.gateway()
    place.g.keep_alive = False
    place.client()
    assert place.ask().status == 200
    place.g.stop()
    for _ in range(2):
        refused(place.ask(headers={"Idempotency-Key": "unreached"}), "cannot be reached", 502, "gateway_unreachable")
    assert len(place.g.posts) == 1


@pytest.mark.parametrize("leaves", [False, True])
def test_what_was_refused_may_come_again_though_it_ended_while_it_looked_for_another_worker(place, leaves):
    g = place.gateway()
    place.client()
    assert place.ask().status == 200
    key, asked, listed = {"Idempotency-Key": "refused"}, threading.Event(), threading.Event()

    def slow_list(listing):
        asked.set()
        listed.wait(60 * SLOW)
        return 200, listing

    def other_key(wire, outer, body):
        g.workers_say = slow_list
        return wire.problem(400, "ohttp_key")
    g.post = other_key
    with place.c.raw() as raw:
        raw.request("POST", "/v1/chat/completions", chat(CANARY, timeout=2 * SLOW), key)
        assert asked.wait(60 * SLOW)
        if not leaves:
            assert raw.head().status == 504
    g.post = g.workers_say = None
    listed.set()
    wait_for(lambda: place.ask(headers=key, timeout=2 * SLOW).status == 200, "nothing has run", 20)


def test_pings_keep_a_slow_answer_alive(place):
    place.gateway()
    place.client(settings="timeouts:\n  silence_ms: 700\n")

    def slow(call):
        call.head()
        for _ in range(6):
            call.write(": ping\n")
            time.sleep(0.2)
        call.event(call.chunk({"role": "assistant", "content": "late"}, "stop"))
        call.event("[DONE]")
        finish(call)
    place.g.answer = slow
    a = place.stream()
    assert a.text == "late" and a.ending == "complete" and b": ping\n" in a.body


def test_an_application_that_leaves_cancels(lied):
    left = []

    def endless(call):
        call.head()
        call.event(call.chunk({"role": "assistant", "content": "x"}))
        left.append(wait_closed(call.tunnel.handler))
    lied.g.answer = endless
    raw = lied.c.raw()
    raw.request("POST", "/v1/chat/completions", chat(CANARY, stream=True))
    raw.head()
    raw.until(b'"x"')
    raw.close()
    wait_for(lambda: left == [True], "the gateway saw the connection close")


def test_an_application_that_does_not_read_stops_its_own_stream_only(lied):
    sent = []

    def flood(call):
        if "flood" not in call.message:
            return honest(call)
        call.head()
        for _ in range(4000):
            call.event(call.chunk({"content": "y" * 4000}))
            sent.append(1)
        call.event(call.chunk({}, "stop"))
        call.event("[DONE]")
        finish(call)
    lied.g.answer = flood
    raw = lied.c.raw(receive_buffer=8192)
    raw.request("POST", "/v1/chat/completions", chat("flood", stream=True))
    raw.head()
    wait_for(lambda: len(sent) and (lambda n: (time.sleep(0.5), len(sent) == n)[1])(len(sent)), "the stream stands", 20)
    assert len(sent) < 3900
    assert lied.ask().status == 200
    answer = raw.rest()
    assert answer.ending == "complete" and len(answer.text) == 16_000_000


def test_a_broken_engine_is_told_and_the_stream_breaks_off(lied):
    def answer(call):
        call.head()
        call.event(call.chunk({"role": "assistant", "content": "Hel"}))
        call.event({"error": {"message": "the engine failed", "type": "server_error", "param": None, "code": "worker_error"}})
        finish(call, in_receipt={"outcome": "error"}, in_record={"outcome": "error"})
    lied.g.answer = answer
    a = broken(lied.stream(), "the engine failed", "worker_error")
    assert len([e for e in a.events if b'"error"' in e]) == 1


# ---- Start -------------------------------------------------------------------------------------------

def test_check_leaves_the_endpoint_of_a_running_client_alone(place):
    place.gateway()
    path = os.path.join(place.folder, "app.sock")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
    done = Client(place.folder, place.g.url, place.tee, "--check", "--listen", "unix:" + path).run()
    assert (done.returncode, done.stdout) == (0, "ok\n") and os.path.exists(path), done.stderr


def test_where_somebody_listens_already_it_does_not_start(place):
    """It shared the port with whoever else would (SO_REUSEPORT): part of the applications' connections was the other's."""
    place.gateway()
    running = place.client()
    path = os.path.join(place.folder, "app.sock")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
        s.listen()
        for at in (f"127.0.0.1:{running.port}", "unix:" + path):
            done = Client(place.folder, place.g.url, place.tee, "--listen", at).run()
            assert (done.returncode, done.stderr.splitlines()[-1]) == (1, f"cocoon-client: {at}: Address already in use")
    assert place.ask().status == 200 and os.path.exists(path)


def test_of_two_that_start_at_once_one_serves(place):
    """The first has the port to itself from the moment it listens: whoever had looked before it did comes too late."""
    place.gateway()
    with socket.socket() as other:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            other.setsockopt(socket.SOL_SOCKET, option, 1)
        client = Client(place.folder, place.g.url, place.tee)
        other.bind(("127.0.0.1", client.port))
        client.start()
        try:
            with pytest.raises(OSError, match="Address already in use"):
                other.listen()
            assert Client(place.folder, place.g.url, place.tee, "--listen", f"127.0.0.1:{client.port}").run().returncode == 1
        finally:
            client.stop()


def test_a_dev_policy_needs_insecure_dev(place):
    place.gateway()
    done = Client(place.folder, place.g.url, place.tee, "--production").run()
    assert done.returncode == 1 and "--insecure-dev" in done.stderr


def test_policies_that_are_not_loaded(place, tee):
    place.gateway()

    class Other:
        def __init__(self, policy, sig):
            self.folder = os.path.join(place.folder, os.urandom(4).hex())
            os.mkdir(self.folder)
            for name, content in (("policy.json", policy), ("policy.json.sig", sig)):
                with open(self.path(name), "wb") as f:
                    f.write(content)

        def path(self, name):
            return os.path.join(self.folder, name)

        def read(self, name):
            return tee.read(name)
    policy, sig = tee.read("policy.json"), tee.read("policy.json.sig")
    for p, s in ((policy.replace(b'"gpu"', b'"gqu"'), sig), (policy + b" ", sig), (policy, b""), (policy, b"x y\n")):
        done = Client(place.folder, place.g.url, Other(p, s)).run()
        assert done.returncode == 1 and "policy" in done.stderr, done.stderr
    assert not place.g.asked


def test_an_older_policy_than_one_seen_is_refused(place):
    place.gateway()
    c = place.client()
    c.stop()
    with open(c.key_file + ".trust") as f:
        assert json.load(f) == {"sequence": json.loads(place.tee.read("policy.json"))["sequence"], "floor": {"tcb": {}, "qe": 0}}
    for text, why in (('{"sequence":99999999999,"floor":{"tcb":{},"qe":0}}', "older policy"), ("", "sequence and floor")):
        with open(c.key_file + ".trust", "w") as f:
            f.write(text)
        done = Client(place.folder, place.g.url, place.tee).run()
        assert done.returncode == 1 and why in done.stderr


class OwnPolicy:
    """A policy in a folder of its own, by the issuer whose evidence the workers have."""

    def __init__(self, folder, tee):
        self.tee, self.folder = tee, os.path.join(folder, "policy")
        os.mkdir(self.folder)
        self.write()

    def write(self, *options):
        done = devtee("init", "--seed-file", self.tee.seed, "--out", self.folder, *options)
        assert done.returncode == 0, done.stderr

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()


def watch_policy(place, settings=""):
    place.gateway()
    place.own = OwnPolicy(place.folder, place.tee)
    place.c = Client(place.folder, place.g.url, place.own, settings="log_level: info\n" + settings).start()
    place.started.append(place.c)


@pytest.fixture
def reloading(place):
    watch_policy(place)
    return place


def hang_up(place, event):
    seen = place.c.text.count(event)
    place.c.process.send_signal(signal.SIGHUP)
    wait_for(lambda: place.c.text.count(event) > seen, event)


def test_a_hangup_reads_the_policy_again_and_nothing_more_goes_to_who_fell_out_of_it(reloading):
    assert reloading.ask().status == 200
    reloading.own.write("--model-digest", "sha256:" + "7" * 64)
    hang_up(reloading, "event=reloaded")
    refused(reloading.ask(), "POLICY_MODEL", 503, "no_attested_worker")
    assert len(reloading.g.posts) == 1
    reloading.own.write()
    hang_up(reloading, "event=reloaded")  # and who fits again is not left waiting for the end of its refusal
    assert reloading.ask().status == 200 and len(reloading.g.posts) == 2


def test_what_runs_when_the_policy_is_read_again_ends_as_it_began(reloading):
    begun, go = threading.Event(), threading.Event()

    def slow(call):
        begun.set()
        assert go.wait(30 * SLOW)
        honest(call)
    reloading.g.answer = slow
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(reloading.ask)
        assert begun.wait(30 * SLOW)
        reloading.own.write("--model-digest", "sha256:" + "7" * 64)
        hang_up(reloading, "event=reloaded")
        go.set()
        assert answer.result(30 * SLOW).status == 200


def test_a_verdict_of_the_policy_before_counts_for_nothing(place):
    asked, go = threading.Event(), threading.Event()

    class Service(BaseHTTPRequestHandler):
        """It has no collateral, and takes its time to say so: the look at the worker waits in the middle."""

        def do_GET(self):
            asked.set()
            assert go.wait(30 * SLOW)
            self.send_error(404)

        def log_message(self, *_):
            pass
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as service, ThreadPoolExecutor(2) as pool:
        pool.submit(service.serve_forever)
        url = f"http://127.0.0.1:{service.server_address[1]}"
        try:
            watch_policy(place, f"collateral_url: {url}\nroot_crl_url: {url}/root\n")
            answer = pool.submit(place.ask)
            assert asked.wait(30 * SLOW)
            place.own.write("--model-digest", "sha256:" + "7" * 64)
            hang_up(place, "event=reloaded")
            go.set()
            refused(answer.result(60 * SLOW), "POLICY_MODEL", 503, "no_attested_worker")
        finally:
            go.set()
            service.shutdown()
    assert not place.g.posts


@pytest.mark.parametrize("spoil", ["signature", "json", "missing", "older"])
def test_a_policy_that_is_refused_at_a_hangup_leaves_the_one_before(reloading, spoil):
    assert reloading.ask().status == 200
    path = reloading.own.path("policy.json")
    if spoil == "missing":
        os.unlink(path)
    elif spoil == "older":
        newest = json.loads(reloading.own.read("policy.json"))["sequence"]
        before = {name: reloading.own.read(name) for name in ("policy.json", "policy.json.sig")}

        def newer():
            reloading.own.write()
            return json.loads(reloading.own.read("policy.json"))["sequence"] > newest
        wait_for(newer, "a later second", step=0.2)
        hang_up(reloading, "event=reloaded")
        for name, content in before.items():
            with open(reloading.own.path(name), "wb") as f:
                f.write(content)
    else:
        with open(path, "a" if spoil == "signature" else "w") as f:
            f.write("\n" if spoil == "signature" else "{}")
    hang_up(reloading, "event=reload_refused")
    assert reloading.ask().status == 200


def test_a_key_file_that_others_read_is_refused(place):
    place.gateway()
    c = Client(place.folder, place.g.url, place.tee)
    with open(c.key_file, "w") as f:
        f.write("ab" * 32 + "\n")
    os.chmod(c.key_file, 0o644)
    done = c.run()
    assert done.returncode == 1 and "chmod 600" in done.stderr


def test_https_is_checked_against_the_given_cas(place):
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography import x509
    import ipaddress
    import datetime
    from cryptography.hazmat.primitives import hashes
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = certificate("test CA", None, ca_key, ca_key, True)
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    leaf = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(ca.subject).public_key(key.public_key()).serial_number(5)
    leaf = leaf.not_valid_before(now - day).not_valid_after(now + day)
    leaf = leaf.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=True)
    leaf = leaf.sign(ca_key, hashes.SHA256())
    chain, ca_file = os.path.join(place.folder, "chain.pem"), os.path.join(place.folder, "ca.pem")
    with open(chain, "wb") as f:
        f.write(pem(leaf) + pem(key))
    with open(ca_file, "wb") as f:
        f.write(pem(ca))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    place.gateway(context)
    place.client(settings=f"ca_file: {ca_file}\n")
    assert place.ask().status == 200
    place.client(name="stranger")
    refused(place.ask(), "certificate", 502, "gateway_unreachable")
    place.c = Client(place.folder, place.g.url.replace("127.0.0.1", "localhost"), place.tee, name="misled", settings=f"ca_file: {ca_file}\n")
    place.started.append(place.c.start())
    refused(place.ask(), "certificate", 502, "gateway_unreachable")  # it is for another name
    assert len(place.g.posts) == 1


def test_a_gateway_on_a_unix_socket(place):
    """The gateway behind a socket of this machine: bytes are passed between it and the TCP one."""
    g = place.gateway()
    path = os.path.join(place.folder, "gw.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)

    def pump(a, b):
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                a, b = listener.accept()[0], socket.create_connection(("127.0.0.1", g.port))
                for pair in ((a, b), (b, a)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    place.c = Client(place.folder, "unix:" + path, place.tee).start()
    place.started.append(place.c)
    assert place.ask().status == 200 and place.stream().ending == "complete"
    listener.close()


# ---- The local endpoint ------------------------------------------------------------------------------

def test_only_names_of_this_machine_are_answered(lied):
    with lied.c.raw() as raw:
        a = raw.ask("POST", "/v1/chat/completions", chat(CANARY), {"Host": "evil.example.org"})
        assert a.status == 403 and "localhost" in a.error["message"]
    for name in ("127.evil.example.org", "127.0.0.1.evil.example.org:1", "localhost.evil.example.org", "[::1].evil.example.org"):
        with lied.c.raw() as raw:
            assert raw.ask("GET", "/v1/models", None, {"Host": name}).status == 403, name
    with lied.c.raw() as raw:
        assert raw.ask("GET", "/v1/models", None, {"Host": "localhost:1"}).status == 200
        assert raw.ask("GET", "/v1/models", None, {"Host": "127.8.9.10:1"}).status == 200
    for lines in ("Host: localhost\r\nHost: evil.example.org\r\n", "Host: localhost\r\nHost: localhost\r\n", "X-Other: 1\r\n"):
        with lied.c.raw() as raw:
            raw.send(f"GET /v1/models HTTP/1.1\r\n{lines}\r\n")
            assert raw.head().status == 400, lines
            raw.rest()
            assert not raw.is_open(1), lines
    assert not lied.g.posts


def test_pages_of_elsewhere_get_no_cors(place):
    place.gateway()
    place.client(settings='cors_origins: ["https://app.example.org"]\n')
    for origin, allowed in (("https://app.example.org", True), ("https://evil.example.org", False)):
        with place.c.raw() as raw:
            a = raw.ask("OPTIONS", "/v1/chat/completions", None, {"Origin": origin})
            assert a.status == 204 and (a.header("access-control-allow-origin") == origin) is allowed
        with place.c.raw() as raw:
            a = raw.ask("POST", "/v1/chat/completions", {}, {"Origin": origin})
            assert a.status == 400 and (a.header("access-control-allow-origin") == origin) is allowed


@pytest.mark.parametrize("method, path, status, code", [
    ("GET", "/v1/chat/completions", 405, "method_not_supported"), ("POST", "/v1/models", 405, "method_not_supported"),
    ("POST", "/v1/responses", 501, "not_implemented"), ("GET", "/v1/responses/r1", 404, "not_stored"), ("GET", "/v1/files", 404, "unsupported_endpoint"),
    ("GET", "/v1/confidential/workers", 404, "unknown_url"), ("POST", "/v1/foo", 404, "unknown_url"), ("GET", "/", 404, "unknown_url"),
    ("POST", "/v1/confidential/ohttp", 404, "unknown_url"), ("GET", "/metrics", 404, "unknown_url")])
def test_everything_else_is_an_explicit_error(lied, method, path, status, code):
    with lied.c.raw() as raw:
        a = raw.ask(method, path, chat(CANARY) if method == "POST" else None)
    assert (a.status, a.error["code"]) == (status, code) and not lied.g.asked
    if status == 405:
        assert a.header("allow")


def test_requests_are_checked_here_as_at_the_gateway(lied):
    with lied.c.raw() as raw:
        for body, code in ((b"{", None), ({"model": "m"}, "missing_required_parameter"), (chat(CANARY, temperature=9), "decimal_above_max_value"),
                           (chat(CANARY, cache_salt="x"), "unsupported_parameter")):
            a = raw.ask("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            assert a.status == 400 and a.error["code"] == code, a.body
        a = raw.ask("POST", "/v1/chat/completions", chat(CANARY, shiny_new=1))
        assert a.status == 200 and a.header("cocoon-ignored") == "shiny_new"
    with lied.c.raw() as raw:
        assert raw.ask("POST", "/v1/chat/completions", b"x", {"Content-Type": "text/plain"}).status == 415
    a = lied.ask("x" * 400_000)  # parsed off the loop
    assert a.status == 200


def test_nobody_at_the_gateways_address(place):
    place.gateway()
    place.client()
    place.g.stop()
    a = refused(place.ask(), "cannot be reached", 502, "gateway_unreachable")
    assert a.header("x-request-id").startswith("req_")
    with place.c.raw() as raw:
        assert raw.ask("GET", "/v1/models").status == 502


# ---- The library -------------------------------------------------------------------------------------

EXAMPLE = os.path.join(BIN, "example-chat")


def test_the_example_program_chats_through_the_library(place):
    g = place.gateway()
    env = {**os.environ, "COCOON_API_KEY": "sk-test", "COCOON_INSECURE_DEV": "1"}
    argv = [EXAMPLE, g.url, place.tee.path("policy.json"), place.tee.read("release.pub").decode().strip(), "fake-model", CANARY + ' "quoted"\n']
    run = lambda **kw: subprocess.run(argv, capture_output=True, text=True, env={**env, **kw}, cwd=place.folder, timeout=30 * SLOW)  # noqa: E731
    done = run()
    assert done.returncode == 0, done.stderr
    assert "Hello" in done.stdout and done.stdout.endswith("data: [DONE]\n\n") and "insecure-dev" in done.stderr
    assert g.calls[-1].message == CANARY + ' "quoted"\n' and not g.saw(b"walrus")
    g.answer = one(with_receipt=False)
    done = run()
    assert done.returncode == 1 and "verification_failed" in done.stderr and "[DONE]" not in done.stdout
    g.document_says = lambda d, kfp: {**d, "quote": ""}
    done = run()
    assert done.returncode == 1 and "could be verified" in done.stderr and done.stdout == ""
    del env["COCOON_INSECURE_DEV"]
    done = run()
    assert done.returncode == 1 and "development" in done.stderr
