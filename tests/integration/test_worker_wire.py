"""The worker alone, between a scripted engine and a peer that plays the gateway with its own reading of wire.md."""

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from email.utils import formatdate

import pytest

pytest.importorskip("h2")
pytest.importorskip("cryptography")

import h2.settings  # noqa: E402

from fake_engine import FakeEngine  # noqa: E402
from tunnel_peer import Peer, Sealed, b64u, jws  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.abspath(os.environ.get("BIN", os.path.join(ROOT, "bin")))
SLOW = 4 if "asan" in BIN or "tsan" in BIN else 1
USAGE = {"cocoon-include-usage": "?1"}


def wait_for(what, seconds=10.0):
    until = time.monotonic() + seconds * SLOW
    while not what():
        assert time.monotonic() < until, "not in time"
        time.sleep(0.01)


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("worker")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


class Worker:
    """cocoon-worker with its settings, log and admin socket."""

    def __init__(self, folder, beside, peers, **overrides):
        self.folder = folder
        self.file, self.log = os.path.join(folder, "worker.yaml"), os.path.join(folder, "worker.log")
        self.socket = os.path.join(folder, "admin.sock")
        model = {"name": "fake-model", "context": 32768, "max_output": 8192, "endpoints": ["chat", "completions", "embeddings"]}
        self.settings = {"worker_id": "w-1", "payout": "0:" + "ab" * 32, "admin": "unix:" + self.socket, "log_level": "debug",
                         "operators": [{"name": f"op{i}", "gateways": [p.address], "pins": [p.pin]} for i, p in enumerate(peers)],
                         "models": [model], "engine": {"url": beside.url, "kind": "auto"},
                         "max_requests": 4, "drain_ms": 2000, **overrides}
        self.process = None

    def write(self, **overrides):
        self.settings.update(overrides)
        with open(self.file, "w") as f:
            json.dump(self.settings, f)  # JSON is YAML

    def start(self):
        self.write()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([os.path.join(BIN, "cocoon-worker"), "--config", self.file], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        wait_for(lambda: self.process.poll() is not None or (os.path.exists(self.socket) and self.accepting()))
        assert self.process.poll() is None, self.text
        return self

    def accepting(self):
        try:
            return self.status()["engine"]["up"]
        except OSError:
            return False

    def admin(self, method, path, body=None):
        c = Unix(self.socket)
        c.request(method, path, None if body is None else json.dumps(body))
        answer = c.getresponse()
        data = answer.read()
        c.close()
        return answer.status, data

    def status(self):
        return json.loads(self.admin("GET", "/status.json")[1])

    @property
    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10 * SLOW)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        assert "Sanitizer" not in self.text and "runtime error" not in self.text and "CHECK" not in self.text, self.text[-4000:]
        return self.process.returncode if self.process else None


class World:
    def __init__(self, folder):
        self.folder, self.peers, self.engines, self.workers = folder, [], [], []

    def engine(self, dialect="llamacpp", **kw):
        self.engines.append(FakeEngine(dialect, **kw).start())
        return self.engines[-1]

    def peer(self, name="peer"):
        self.peers.append(Peer(self.folder, name).start())
        return self.peers[-1]

    def worker(self, dialect="llamacpp", **overrides):
        """One of everything, in the easy case."""
        engine = self.engines[0] if self.engines else self.engine(dialect)
        if not self.peers:
            self.peer()
        self.workers.append(Worker(self.folder, engine, self.peers, **overrides).start())
        return self.workers[-1]

    def stop(self):
        try:
            for w in self.workers:
                assert w.stop() in (0, -signal.SIGKILL, None)
        finally:
            for p in self.peers:
                p.stop()
            for e in self.engines:
                e.stop()


@pytest.fixture
def world():
    with tempfile.TemporaryDirectory(prefix="cocoon-") as folder:
        w = World(folder)
        try:
            yield w
        finally:
            w.stop()


@pytest.fixture(scope="module")
def shared():
    """A worker for tests that break nothing: (tunnel, engine, worker)."""
    with tempfile.TemporaryDirectory(prefix="cocoon-") as folder:
        w = World(folder)
        worker = w.worker()
        yield w.peers[0].tunnel(), w.engines[0], worker
        w.stop()


def chat(text="Hi", **kw):
    return {"model": "fake-model", "messages": [{"role": "user", "content": text}], **kw}


def script(name, **arguments):
    return json.dumps({"script": name, **arguments})


# ---- What the worker says of itself ----------------------------------------------------------------

def test_the_documents_agree_with_each_other(shared):
    t, _, _ = shared
    keyset = t.keyset(fresh=True)
    assert keyset["tee"] == "none" and keyset["engine"] == "llamacpp" and keyset["models"] == ["fake-model"]
    assert keyset["not_after"] - keyset["not_before"] == 3600
    keys = t.get("/.well-known/ohttp-gateway")
    assert keys.headers["content-type"] == "application/ohttp-keys"
    assert keys.body == b"\0\x2d" + bytes.fromhex(keyset["hpke"][0])
    me = t.get("/v1/worker")
    assert me.json()["accepting"] is True and me.json()["reason"] is None and me.json()["ask"] == 1000
    again = t.get("/v1/worker", if_none_match=me.headers["etag"])
    assert again.status == 304 and again.body == b""
    for answer in (keys, me, again):
        assert answer.headers["cocoon-keyset"] == keyset["sha256"].hex()
        assert answer.headers["cocoon-load"].startswith("running=0,waiting=0,max=4,kv=")
        assert answer.headers["date"].endswith("GMT")


def test_what_is_not_there_is_said_so(shared):
    t, _, _ = shared
    assert t.get("/v1/secrets").status == 404
    assert t.get("/ohttp").status == 404
    assert t.get("/v1/attestation?nonce=12").status == 400
    assert t.get("/v1/usage?after=x").status == 400
    assert t.get("/v1/voucher").status == 404
    assert t.put("/v1/voucher", {}).status == 501
    assert t.put("/v1/gateways", []).status == 400
    assert t.post("/v1/usage/ack", b"{").status == 400
    assert t.post("/v1/usage/ack", b"x" * ((1 << 20) + 1)).status == 413
    assert t.request("DELETE", "/ohttp/" + "0" * 32 + "/0").wait_end().status == 404


# ---- Answers ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("aead", [2, 3])
def test_an_answer_in_one_piece(shared, aead):
    t, engine, _ = shared
    s = t.chat(chat("Hello"), aead=aead)
    assert s.status == 200 and s.headers["content-type"] == "message/ohttp-chunked-res" and s.sealed.complete
    assert s.headers["incremental"] == "?1" and s.headers["cache-control"] == "no-store"
    assert s.inner.status == 200 and s.inner.fields["content-type"] == "application/json"
    answer = json.loads(s.content)
    assert answer["model"] == "fake-model" and answer["choices"][0]["message"]["content"] == "Hello! How can I help?"
    assert list(answer)[-1] == "usage"
    assert s.usage["outcome"] == "stop" and s.usage["out"] == 7 and s.usage["price"] == "0;1000" and s.usage["env"] == "unattested"
    assert engine.requests[-1].json["stream"] is True


def test_a_stream_and_its_last_flight(shared):
    t, _, _ = shared
    s = t.chat(chat(script("slow", seconds=0.05, count=5), stream=True), inner={**USAGE, "cocoon-public-model": "shown"})
    assert s.inner.status == 200 and s.inner.fields["content-type"] == "text/event-stream; charset=utf-8"
    assert s.events[-1] == "[DONE]" and s.content.endswith(b"data: [DONE]\n\n")
    chunks = [json.loads(e) for e in s.events[:-1]]
    assert all(c["model"] == "shown" for c in chunks)
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]) == "t0 t1 t2 t3 t4 "
    closing = [p for p in s.inner.parts if b'"choices":[]' in p]
    assert len(closing) == 1 and closing[0].endswith(b"}}\n\n") and closing[0].count(b"data: ") == 1
    assert s.inner.parts[-1] == b"data: [DONE]\n\n" and s.inner.parts[-2] == closing[0]
    assert s.arrivals[-1] - s.arrivals[0] > 0.15 and s.ended_at - s.arrivals[-1] < 0.2 * SLOW
    assert s.usage["outcome"] == "stop"


def test_without_the_wish_there_is_no_usage_event(shared):
    t, _, _ = shared
    s = t.chat(chat(stream=True, stream_options={"include_usage": True}))
    assert b'"choices":[]' not in s.content and s.events[-1] == "[DONE]" and s.usage["out"] == 7


def test_the_cap_is_what_was_held_for(shared):
    t, engine, _ = shared
    s = t.chat(chat(script("answer")), inner={"cocoon-max-tokens": "3"})
    assert s.usage["outcome"] == "length" and s.usage["out"] == 3
    assert json.loads(s.content)["choices"][0]["finish_reason"] == "length"
    t.chat(chat(script("answer"), max_tokens=2))
    assert 2 in (engine.requests[-1].json.get("max_tokens"), engine.requests[-1].json.get("max_completion_tokens"))


def test_several_choices_are_asked_one_by_one_and_merged(shared):
    t, engine, _ = shared
    before = len(engine.requests)
    s = t.chat(chat(script("answer"), n=3, seed=5))
    assert len(engine.requests) == before + 3
    assert [c["index"] for c in json.loads(s.content)["choices"]] == [0, 1, 2]
    assert s.usage["out"] == 21 and sorted(r.json["seed"] for r in engine.requests[before:]) == [5, 6, 7]


def test_completions_and_embeddings(shared):
    t, _, _ = shared
    s = t.chat({"model": "fake-model", "prompt": script("answer")}, path="/v1/completions")
    assert json.loads(s.content)["choices"][0]["text"] == "Hello! How can I help?"
    s = t.chat({"model": "fake-model", "input": ["a", "b"]}, path="/v1/embeddings", inner={"cocoon-max-tokens": "0"})
    assert len(json.loads(s.content)["data"]) == 2 and s.usage["out"] == 0 and s.usage["in"] > 0


def test_a_long_request_is_opened_in_the_pool_and_comes_whole(shared):
    t, engine, _ = shared
    s = t.chat(chat("x" * 3_000_000), timeout=60)
    assert s.inner.status == 200 and len(engine.requests[-1].json["messages"][0]["content"]) == 3_000_000


def test_a_padded_request_is_a_request(shared):
    t, _, _ = shared
    assert t.chat(chat(), padding=300).inner.status == 200


def test_padding_makes_events_of_one_size(shared):
    t, _, _ = shared
    s = t.chat(chat(script("slow", seconds=0.02, count=6), stream=True), inner={"cocoon-padding": "64"})
    sizes = {len(p) for p in s.inner.parts[:-1]}
    assert all(size % 64 == 0 for size in sizes)


# ---- Refusals in plain text ------------------------------------------------------------------------

def code(s):
    assert s.headers["content-type"] == "application/problem+json", s.headers
    problem = s.json()
    assert problem["status"] == s.status and "cocoon-usage" not in s.trailers
    return s.status, problem["code"]


def test_a_message_is_taken_once(shared):
    t, engine, _ = shared
    sealed = t.seal(chat())
    first = t.post_sealed(sealed=sealed).wait_end()
    before = len(engine.requests)
    again = Sealed.__new__(Sealed)
    again.__dict__ = {**sealed.__dict__, "inner": None}
    assert code(t.post_sealed(sealed=again).wait_end()) == (409, "replay")
    other = t.post_sealed(chat(), outer={"cocoon-call": first.call}).wait_end()
    assert code(other) == (409, "replay")
    assert t.chat(chat(), outer={"cocoon-call": first.call, "cocoon-attempt": "1"}).inner.status == 200
    assert len(engine.requests) == before + 1


def test_unknown_keys_are_told_apart_from_bad_messages(shared):
    t, _, _ = shared
    config = bytes.fromhex(t.keyset()["hpke"][0])
    wrong_id = bytes([config[0] ^ 1]) + config[1:]
    assert code(t.post_sealed(chat(), key_config=wrong_id).wait_end()) == (400, "ohttp_key")
    assert code(t.post_sealed(chat(), outer={"cocoon-key": "00" * 32}).wait_end()) == (400, "ohttp_key")
    sealed = t.seal(chat())
    sealed.bytes = sealed.bytes[:4] + b"\0\x01" + sealed.bytes[6:]  # a suite that is not offered (AES-128-GCM is 1)
    sealed.bytes = sealed.bytes[:5] + b"\0\x01" + sealed.bytes[7:]
    assert code(t.post_sealed(sealed=sealed).wait_end()) == (400, "ohttp_key")


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "short", "extra"])
def test_a_damaged_message_is_refused_and_nothing_runs(shared, damage):
    t, engine, worker = shared
    before = len(engine.requests)
    sealed = t.seal(chat())
    b = sealed.bytes
    sealed.bytes = {"flip": b[:-1] + bytes([b[-1] ^ 1]), "cut": b[:-1], "empty": b"", "short": b[:20], "extra": b + b"x"}[damage]
    assert code(t.post_sealed(sealed=sealed).wait_end()) == (400, "bad_message")
    assert len(engine.requests) == before
    wait_for(lambda: worker.status()["running"] == 0)


@pytest.mark.parametrize("field, value", [
    ("cocoon-call", "XYZ"), ("cocoon-attempt", "-1"), ("cocoon-price", "1500"), ("cocoon-max-tokens", ""),
    ("content-type", "application/json"), ("cocoon-model", ""), ("cocoon-key", "ab")])
def test_bad_outer_fields_are_refused(shared, field, value):
    t, _, _ = shared
    assert code(t.post_sealed(chat(), outer={field: value}).wait_end()) == (400, "bad_message")


def test_refusals_come_before_the_body(world):
    worker = world.worker(max_requests=1, ask=1500)
    t = world.peers[0].tunnel()
    price = {"cocoon-price": "3;1500"}

    def head_only(**outer):
        sealed = t.seal(chat())
        headers = {"content-type": "message/ohttp-chunked-req", "cocoon-key": sealed.kfp, "cocoon-model": "fake-model",
                   "cocoon-max-tokens": "1000", "cocoon-max-input": "5000", "cocoon-call": os.urandom(16).hex(),
                   "cocoon-attempt": "0", **price, **outer}
        return code(t.request("POST", "/ohttp", list(headers.items()), end=False).wait_end())

    assert head_only(**{"cocoon-price": "3;1499"}) == (503, "price")
    running = t.post_sealed(chat(script("stall"), stream=True), outer=price).wait_chunks(2)
    assert head_only() == (503, "busy")
    t.cancel(running)
    wait_for(lambda: worker.status()["running"] == 0)
    assert worker.admin("POST", "/drain")[0] == 204
    assert head_only() == (503, "draining")
    assert t.get("/v1/worker").json()["reason"] == "drain"
    assert worker.admin("POST", "/resume")[0] == 204
    assert worker.admin("POST", "/settings", {"hours": {d: "" for d in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}})[0] == 204
    assert head_only() == (503, "draining") and t.get("/v1/worker").json()["reason"] == "hours"
    assert worker.admin("POST", "/settings", {"hours": {d: "always" for d in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}})[0] == 204
    assert worker.admin("POST", "/settings", {"ask": 1600, "colour": 1})[0] == 400
    assert worker.admin("POST", "/settings", {"max_requests": 2, "ask": 1400})[0] == 204
    me = t.get("/v1/worker").json()
    assert (me["accepting"], me["ask"], me["max_requests"]) == (True, 1400, 2)
    assert t.chat(chat(), outer={"cocoon-price": "3;1400"}).inner.status == 200


def test_above_the_ceiling_of_watts_nothing_new_is_taken(world):
    worker = world.worker(max_watts=300, watts_command="echo 412.5 W")
    t = world.peers[0].tunnel()
    wait_for(lambda: worker.status()["watts"] == 413)
    assert t.get("/v1/worker").json()["reason"] == "watts"
    assert code(t.post_sealed(chat()).wait_end()) == (503, "draining")
    assert worker.admin("POST", "/settings", {"max_watts": 500})[0] == 204
    assert t.get("/v1/worker").json()["accepting"] is True


def test_a_body_above_the_limit_is_refused(world):
    world.worker(**{"limits": {"body_bytes": 100000}})
    t = world.peers[0].tunnel()
    assert code(t.post_sealed(chat("x" * 200000)).wait_end()) == (413, "request_too_large")
    assert t.chat(chat()).inner.status == 200


# ---- Refusals inside the channel -------------------------------------------------------------------

def inner_code(s):
    assert s.status == 200 and s.sealed.complete
    return s.inner.status, json.loads(s.content)["error"]["code"]


@pytest.mark.parametrize("inner", [{"cocoon-model": "other"}, {"cocoon-max-tokens": "999"}, {"cocoon-max-input": "1"}])
def test_what_is_bound_must_be_the_same_inside(shared, inner):
    t, engine, _ = shared
    before = len(engine.requests)
    s = t.chat(chat(), sealed=t.seal(chat(), inner=inner))
    assert s.inner.status == 400 and s.usage["outcome"] == "binding_mismatch" and s.usage["total"] == 0
    assert len(engine.requests) == before


@pytest.mark.parametrize("dialect", ["llamacpp", "vllm"])
def test_a_prompt_above_the_declared_tokens_is_counted_and_refused(world, dialect):
    w = world.worker(dialect)
    engine, t = world.engines[0], world.peers[0].tunnel()
    ways = [("/v1/chat/completions", lambda text: chat(text)),
            ("/v1/completions", lambda text: {"model": "fake-model", "prompt": text, "stream": True}),
            ("/v1/embeddings", lambda text: {"model": "fake-model", "input": text})]

    def asked(path, body, most):
        del engine.everything[:]
        s = t.chat(body, path=path, inner={"cocoon-max-input": str(most)})
        return s, [r.path for r in engine.everything if r.path in ("/apply-template", "/tokenize")], len(engine.requests)
    for path, make in ways:
        for counts in (True, False):
            engine.counts = counts
            s, counted, ran = asked(path, make("word " * 50), 49)
            if counts:
                assert inner_code(s) == (400, "context_length_exceeded")
                assert s.usage["outcome"] == "rejected" and s.usage["total"] == 0 and ran == 0
            else:  # an engine that cannot tell
                assert s.inner.status == 200 and ran == 1
            assert counted[0] == ("/apply-template" if dialect == "llamacpp" and "chat" in path else "/tokenize")
        engine.counts = True
        s, counted, ran = asked(path, make("word " * 50), 60)
        assert s.inner.status == 200 and counted and ran == 1
        s, counted, ran = asked(path, make("word " * 50), 2000)  # no more bytes than tokens: nothing to ask
        assert s.inner.status == 200 and not counted and ran == 1
    if dialect == "llamacpp":
        s, counted, ran = asked("/v1/embeddings", {"model": "fake-model", "input": ["word " * 30, "word " * 30]}, 49)
        assert inner_code(s) == (400, "context_length_exceeded") and ran == 0


def test_a_cancel_stops_the_count(world):
    world.worker()
    engine, t = world.engines[0], world.peers[0].tunnel()
    engine.counts = True
    engine.slow_count = 20
    s = t.post_sealed(chat("word " * 50), inner={"cocoon-max-input": "10"})
    wait_for(lambda: any(r.path == "/apply-template" for r in engine.everything))
    assert t.cancel(s).status == 204
    s.wait_end()
    assert s.usage["outcome"] == "client_abort" and s.usage["total"] == 0 and not engine.requests


def test_the_body_names_the_bound_model(shared):
    t, _, _ = shared
    s = t.chat({**chat(), "model": "other"})
    assert s.inner.status == 400 and s.usage["outcome"] == "binding_mismatch"


def test_a_date_too_far_is_a_problem_of_its_own(shared):
    t, _, _ = shared
    s = t.chat(chat(), sealed=t.seal(chat(), inner={"date": formatdate(time.time() - 310, usegmt=True)}))
    problem = json.loads(s.content)
    assert s.inner.status == 400 and problem["type"] == "https://iana.org/assignments/http-problem-types#date"
    assert "date" in s.inner.fields and s.usage["outcome"] == "rejected"
    assert t.chat(chat(), sealed=t.seal(chat(), inner={"date": formatdate(time.time() - 290, usegmt=True)})).inner.status == 200


def test_bad_requests_are_refused_inside(shared):
    t, _, _ = shared
    s = t.chat({**chat(), "messages": []})
    assert inner_code(s) == (400, "empty_array") and s.usage["outcome"] == "rejected" and s.usage["total"] == 0
    assert inner_code(t.chat(b"{nonsense")) == (400, None)
    assert inner_code(t.chat(chat(), path="/v1/foo")) == (404, "unknown_url")
    garbage = Sealed(bytes.fromhex(t.keyset()["hpke"][0]), b"\x07nonsense")
    garbage.request_body, garbage.kfp = b"", hashlib.sha256(bytes.fromhex(t.keyset()["hpke"][0])).hexdigest()
    s = t.post_sealed(sealed=garbage).wait_end()
    assert s.status == 200 and s.inner.status == 400 and s.usage["outcome"] == "rejected"


# ---- The engine's failures -------------------------------------------------------------------------

@pytest.mark.parametrize("name, arguments, status, code_, outcome", [
    ("overflow", {}, 400, "context_length_exceeded", "rejected"),
    ("error", {"status": 500}, 502, "worker_error", "error"),
    ("html", {"status": 502}, 502, "worker_error", "error"),
    ("html", {"status": 200}, 502, "worker_error", "error"),
    ("garbage", {}, 502, "worker_error", "error"),
    ("not_http", {}, 502, "worker_error", "error"),
    ("nothing", {}, 502, "worker_error", "error"),
    ("error_event", {}, 502, "worker_error", "error")])
@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_event_is_an_error_answer(shared, name, arguments, status, code_, outcome, stream):
    t, _, _ = shared
    s = t.chat(chat(script(name, **arguments), stream=stream))
    assert inner_code(s) == (status, code_) and s.usage["outcome"] == outcome
    assert s.inner.fields["content-type"] == "application/json" and s.usage["final"] is True


def test_half_an_answer_in_one_piece_is_an_error_answer(shared):
    t, _, _ = shared
    s = t.chat(chat(script("half")))
    assert inner_code(s) == (502, "worker_error") and s.usage["outcome"] == "error" and s.usage["out"] == 3


@pytest.mark.parametrize("name, arguments", [
    ("half", {}), ("half", {"reset": True}), ("clean_cut", {}), ("clean_cut", {"done": True}), ("cut_in_event", {}),
    ("error_event", {"events": 3}), ("bad_json", {})])
def test_a_failure_after_it_is_an_error_event_and_never_a_clean_end(shared, name, arguments):
    t, _, _ = shared
    s = t.chat(chat(script(name, **arguments), stream=True), inner=USAGE)
    assert s.inner.status == 200 and s.sealed.complete
    assert "[DONE]" not in s.events and "error" in json.loads(s.events[-1])
    assert s.content.endswith(b"}}\n\n") and s.usage["outcome"] == "error" and s.usage["final"] is True
    assert s.usage["out"] >= 1


def test_an_engine_on_a_unix_socket_that_counts_all_choices_itself(world):
    engine = world.engine("vllm", unix=os.path.join(world.folder, "engine.sock"))
    world.worker()
    t = world.peers[0].tunnel()
    assert t.keyset()["engine"] == "vllm"
    s = t.chat(chat(script("answer"), n=2), inner={"cocoon-cache-salt": "0123456789012345678901"})
    assert s.usage["out"] == 14 and len(engine.requests) == 1 and engine.requests[0].json["n"] == 2
    assert engine.requests[0].json["cache_salt"] == "0123456789012345678901"
    assert ",kv=0.25" in t.get("/v1/worker").headers["cocoon-load"]


def test_an_engine_that_is_down_takes_no_work_and_comes_back(world):
    worker = world.worker()
    t = world.peers[0].tunnel()
    world.engines[0].stop()
    wait_for(lambda: t.get("/v1/worker").json()["reason"] == "engine")
    assert code(t.post_sealed(chat()).wait_end()) == (503, "draining")
    world.engines[0].start()
    wait_for(lambda: t.get("/v1/worker").json()["accepting"])
    assert t.chat(chat()).inner.status == 200
    assert worker.text.count("event=engine_down") == 1


def test_a_silent_engine_is_given_up(world):
    world.worker(engine={"url": world.engine().url, "silent_ms": 1000}, head_ms=300)
    t = world.peers[0].tunnel()
    s = t.chat(chat(script("mute")))
    assert inner_code(s) == (504, "upstream_timeout") and s.usage["outcome"] == "error"
    s = t.chat(chat(script("stall"), stream=True))
    assert "error" in json.loads(s.events[-1]) and s.usage["outcome"] == "error" and s.usage["out"] == 3


# ---- The held head, and pings ----------------------------------------------------------------------

def test_the_head_is_held_for_a_while_and_then_pings_prove_life(world):
    world.worker(head_ms=300)
    t = world.peers[0].tunnel()
    began = time.monotonic()
    s = t.post_sealed(chat(script("late_head", seconds=3), stream=True), inner={"cocoon-ping-ms": "1000"})
    s.wait_head()
    assert 0.25 < s.head_at - began < 1.5 * SLOW
    s.wait_end()
    assert s.inner.parts[0] == b": ping\n" and 2 <= s.content.count(b": ping\n") <= 4
    assert s.content.split(b": ping\n")[-1].startswith(b"data: ") and s.usage["outcome"] == "stop"
    s = t.chat(chat(script("late_head", seconds=1), stream=True))  # nobody asked for pings
    assert b": ping" not in s.content


def test_an_answer_in_one_piece_shows_only_its_outer_head(world):
    world.worker(head_ms=300)
    t = world.peers[0].tunnel()
    s = t.post_sealed(chat(script("late_head", seconds=1)), inner={"cocoon-ping-ms": "1000"}).wait_head()
    assert s.status == 200 and s.body == b""
    s.wait_end()
    assert s.inner.status == 200 and b"ping" not in s.content


def test_a_late_engine_error_is_an_event_once_the_head_is_out(world):
    world.worker(head_ms=200)
    t = world.peers[0].tunnel()

    async def late_error(x):
        import asyncio
        await asyncio.sleep(1)
        await x.reply(500, x.dialect.error(500, "late"))

    s = t.chat(chat(world.engines[0].script("late_error", late_error), stream=True))
    assert s.inner.status == 200 and "error" in json.loads(s.events[-1]) and s.usage["outcome"] == "error"


# ---- Cancel ----------------------------------------------------------------------------------------

def test_cancel_stops_the_engine_and_ends_without_a_final_chunk(world):
    worker = world.worker()
    t, engine = world.peers[0].tunnel(), world.engines[0]
    s = t.post_sealed(chat(script("stall", events=3), stream=True)).wait_chunks(2)
    wait_for(lambda: b"word2" in s.content)
    asked = time.monotonic()
    assert t.cancel(s).status == 204
    s.wait_end()
    wait_for(lambda: engine.requests[-1].closed_at is not None)
    assert engine.requests[-1].closed_at - asked < 0.1 * SLOW
    assert not s.sealed.complete and not s.sealed.final_begun
    u = s.usage
    assert u["outcome"] == "client_abort" and u["final"] is False and u["out"] == 3
    assert u["resp"] == b64u(hashlib.sha256(s.body).digest())
    assert t.cancel(s).status == 404
    wait_for(lambda: worker.status()["running"] == 0)


def test_cancel_before_the_head_gives_a_head_no_body_and_the_record(world):
    world.worker()
    t = world.peers[0].tunnel()
    s = t.post_sealed(chat(script("mute"), stream=True))
    wait_for(lambda: len(world.engines[0].requests) == 1)
    t.cancel(s)
    s.wait_end()
    assert s.status == 200 and s.body == b"" and s.usage["outcome"] == "client_abort" and s.usage["total"] == 0


def test_a_cancelled_flood_ends_with_what_was_sent(world):
    """The queue is dropped, and the hash covers exactly the bytes that came."""
    world.worker()
    t = world.peers[0].tunnel()
    s = t.post_sealed(chat(script("endless", pause=0), stream=True), consume=False)
    wait_for(lambda: s.unconsumed >= 60000)
    time.sleep(0.5)
    t.cancel(s)
    s.consume = True
    t.consumed(s)
    s.wait_end()
    assert not s.sealed.complete and s.usage["resp"] == b64u(hashlib.sha256(s.body).digest())
    assert len(s.body) < 200_000


def test_a_reset_means_the_same_and_the_record_waits(world):
    world.worker()
    t, engine = world.peers[0].tunnel(), world.engines[0]
    s = t.post_sealed(chat(script("stall", events=2), stream=True)).wait_chunks(2)
    wait_for(lambda: b"word1" in s.content)
    t.reset(s)
    wait_for(lambda: engine.requests[-1].closed_at is not None, 2)
    wait_for(lambda: t.get("/v1/usage?after=0").json()["records"], 2)
    record = jws(t.get("/v1/usage?after=0").json()["records"][0]["jws"], t.keyset()["receipt_ed25519"], "cgw-usage+jwt")
    assert record["call"] == s.call and record["outcome"] == "client_abort" and record["out"] == 2


def test_a_lost_tunnel_stops_the_work_and_the_records_are_fetched_after_it_came_back(world):
    world.worker()
    peer, engine = world.peers[0], world.engines[0]
    t = peer.tunnel()
    t.put("/v1/gateways", {"gateways": []})
    s = t.post_sealed(chat(script("stall", events=2), stream=True)).wait_chunks(2)
    t.close()
    wait_for(lambda: engine.requests[-1].closed_at is not None, 2)
    t = peer.tunnel()
    records = t.get("/v1/usage?after=0").json()["records"]
    assert [jws(r["jws"], t.keyset()["receipt_ed25519"], "cgw-usage+jwt")["call"] for r in records] == [s.call]


# ---- Back-pressure ---------------------------------------------------------------------------------

def test_a_slow_reader_stops_its_own_engine_stream_and_nobody_elses(world):
    world.worker()
    t, engine = world.peers[0].tunnel(), world.engines[0]
    made = []

    async def flood(x):
        await x.head()
        await x.event(x.chunk(role="assistant"))
        for i in range(3000):
            await x.event(x.chunk(text="y" * 4000))
            made.append(i)
        await x.event(x.chunk(finish="stop"))
        await x.event(x.chunk(usage=x.dialect.usage(5, 3000)))
        await x.done()
        await x.end()

    s = t.post_sealed(chat(engine.script("flood", flood), stream=True, max_tokens=5000), consume=False,
                      inner={"cocoon-max-tokens": "5000"})
    wait_for(lambda: s.unconsumed >= 60000)
    last = -1
    while last != len(made):
        last = len(made)
        time.sleep(0.7)
    assert len(made) < 2500  # 12 MB would be 3000
    assert t.chat(chat()).inner.status == 200
    while not s.over:
        t.consumed(s)
        time.sleep(0.001)
    assert s.sealed.complete and s.usage["out"] == 3000 and s.events[-1] == "[DONE]"


# ---- Records ---------------------------------------------------------------------------------------

def test_records_are_kept_until_their_operator_acknowledges_them(world):
    world.engine(), world.peer("a"), world.peer("b")
    worker = world.worker()
    ta, tb = world.peers[0].tunnel(), world.peers[1].tunnel()
    sa, sb = ta.chat(chat()), tb.chat(chat())
    listed = lambda t: t.get("/v1/usage?after=0").json()["records"]
    assert len(listed(ta)) == 1 and len(listed(tb)) == 1
    ack = lambda s, **kw: {"acks": [{"call": s.call, "attempt": 0, "result": "settled", "pay": "1234", **kw}]}
    assert tb.post("/v1/usage/ack", ack(sa)).status == 204  # not its own: nothing happens
    assert len(listed(ta)) == 1
    assert ta.post("/v1/usage/ack", ack(sa, result="vanished")).status == 400
    assert ta.post("/v1/usage/ack", ack(sa)).status == 204
    assert listed(ta) == [] and len(listed(tb)) == 1
    assert tb.post("/v1/usage/ack", ack(sb)).status == 204
    assert worker.status()["usage"] == {"unacknowledged": 0, "acknowledged": 2, "earned_nano": "2468"}


def test_one_operator_cannot_cancel_for_another(world):
    world.engine(), world.peer("a"), world.peer("b")
    world.worker()
    ta, tb = world.peers[0].tunnel(), world.peers[1].tunnel()
    s = ta.post_sealed(chat(script("stall"), stream=True)).wait_chunks(2)
    assert tb.cancel(s).status == 404 and not s.over
    assert ta.cancel(s).status == 204


def test_records_in_a_file_survive_a_crash(world):
    worker = world.worker(usage_file=os.path.join(world.folder, "usage"))
    t = world.peers[0].tunnel()
    first, second = t.chat(chat()), t.chat(chat())
    t.post("/v1/usage/ack", {"acks": [{"call": first.call, "attempt": 0, "result": "settled", "pay": "0"}]})
    old_key = t.keyset()["receipt_ed25519"]
    time.sleep(0.5)
    worker.process.kill()
    worker.process.wait()
    os.unlink(worker.socket)
    worker.start()
    t = world.peers[0].tunnel()
    records = t.get("/v1/usage?after=0").json()["records"]
    assert [jws(r["jws"], old_key, "cgw-usage+jwt")["call"] for r in records] == [second.call]


# ---- Gateways come and go --------------------------------------------------------------------------

def test_learnt_gateways_are_dialled_under_the_same_pins(world):
    worker = world.worker()
    peer = world.peers[0]
    second = twin_of(peer)
    stranger = Peer(world.folder, "stranger").start()
    world.peers += [second, stranger]
    t = peer.tunnel()
    assert worker.admin("GET", "/readyz")[0] == 503
    assert t.put("/v1/gateways", {"gateways": [peer.address, second.address, stranger.address, "nonsense", 7]}).status == 204
    assert worker.admin("GET", "/readyz")[0] == 200
    assert second.tunnel().chat(chat()).inner.status == 200
    wait_for(lambda: stranger.dialled >= 1)
    wait_for(lambda: "error=E_AUTH" in worker.text)
    assert all(x.closed or not x.streams for x in stranger.tunnels)


def twin_of(peer):
    """Another instance of the same operator."""
    twin = Peer.__new__(Peer)
    twin.__dict__ = {**peer.__dict__, "tunnels": [], "dialled": 0, "new": threading.Condition()}
    return twin.start()


def test_a_learnt_gateway_is_given_up_once_it_is_gone_and_nobody_names_it(world):
    worker = world.worker()
    first = world.peers[0]
    world.peers.append(twin_of(first))
    second = world.peers[1]
    addresses = lambda: {g["address"]: g["state"] for g in worker.status()["gateways"]}
    t = first.tunnel()
    t.put("/v1/gateways", {"gateways": [first.address, second.address]})
    second.tunnel().put("/v1/gateways", {"gateways": []})
    assert t.put("/v1/gateways", {"gateways": [first.address]}).status == 204
    time.sleep(0.3)
    assert addresses()[second.address] == "eligible"  # a tunnel that works stays
    second.tunnel().close()
    wait_for(lambda: second.address not in addresses())
    assert addresses()[first.address] == "eligible" and second.dialled == 1
    t.put("/v1/gateways", {"gateways": [first.address, second.address]})  # named again
    wait_for(lambda: second.dialled == 2)
    second.tunnel().close()
    wait_for(lambda: second.dialled == 3)  # as long as it is named


def test_a_gateway_that_is_replaced_is_dialled_anew_beside_its_tunnel(world):
    worker = world.worker()
    peer = world.peers[0]
    old = peer.tunnel()
    stream = old.post_sealed(chat(script("slow", seconds=0.1, count=10), stream=True)).wait_chunks(1)
    assert old.put("/v1/gateways", {"gateways": [peer.address], "again": "yes"}).status == 400
    for _ in range(2):  # once is enough
        assert old.put("/v1/gateways", {"gateways": [peer.address], "again": True}).status == 204
    new = peer.tunnel(1)
    assert new.chat(chat()).inner.status == 200 and old.chat(chat()).inner.status == 200  # both serve
    assert new.put("/v1/gateways", {"gateways": [peer.address]}).status == 204
    stream.wait_end()
    assert stream.sealed.complete
    old.close()
    wait_for(lambda: len(worker.status()["gateways"]) == 1)
    time.sleep(1.6)  # its tunnel is not missed
    assert peer.dialled == 2
    new.close()
    wait_for(lambda: peer.dialled == 3)


def test_a_refused_worker_comes_back_later(world):
    worker = world.worker()
    t = world.peers[0].tunnel()
    refused = json.dumps({"type": "about:blank", "status": 403, "code": "tee_unsupported"}).encode()
    assert t.post("/v1/refused", refused).status == 204
    t.close()
    assert "event=refused" in worker.text and "code=tee_unsupported" in worker.text
    began = time.monotonic()
    world.peers[0].tunnel()
    assert time.monotonic() - began > 0.5


def test_a_gateway_may_drain_its_own_tunnel(world):
    world.engine(), world.peer("a"), world.peer("b")
    world.worker()
    ta, tb = world.peers[0].tunnel(), world.peers[1].tunnel()
    assert ta.post("/v1/drain").status == 204
    assert code(ta.post_sealed(chat()).wait_end()) == (503, "draining")
    assert ta.get("/v1/worker").json()["reason"] == "drain"
    assert tb.chat(chat()).inner.status == 200


# ---- Reload and stop -------------------------------------------------------------------------------

def test_a_reload_is_all_or_nothing(world):
    worker = world.worker()
    t = world.peers[0].tunnel()
    before = t.keyset()
    models = worker.settings["models"] + [{"name": "second", "engine_name": "fake-model", "context": 2048, "max_output": 99}]
    worker.write(models=models, ask=2000, max_requests=0)
    worker.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "event=reload" in worker.text)
    assert t.get("/v1/worker").json()["ask"] == 1000 and t.keyset(fresh=True) == before
    worker.write(max_requests=3)
    worker.process.send_signal(signal.SIGHUP)
    wait_for(lambda: t.get("/v1/worker").json()["ask"] == 2000)
    me = t.get("/v1/worker").json()
    assert [m["name"] for m in me["models"]] == ["fake-model", "second"] and me["max_requests"] == 3
    fresh = t.keyset(fresh=True)
    assert fresh["models"] == ["fake-model", "second"] and fresh["hpke"] == before["hpke"]
    s = t.chat({**chat(), "model": "second"}, inner={"cocoon-model": "second"}, outer={"cocoon-price": "0;2000"})
    assert s.inner.status == 200 and world.engines[0].requests[-1].json["model"] == "fake-model"


def test_the_limits_of_its_tunnels_are_its_owners(world):
    world.worker(limits={"tunnel_streams": 3, "tunnel_header_bytes": 16384, "tunnel_settings_per_minute": 4})
    t = world.peers[0].tunnel()
    t.get("/v1/worker")
    with t.lock:
        told = t.h2.remote_settings
        assert told.max_concurrent_streams == 3 + 64 and told.max_header_list_size == 16384
        for _ in range(6):
            t.h2.update_settings({h2.settings.SettingCodes.MAX_FRAME_SIZE: 16384})
        t.flush()
    wait_for(lambda: t.closed)  # too many SETTINGS


def test_stopping_finishes_what_runs(world):
    worker = world.worker()
    t = world.peers[0].tunnel()
    s = t.post_sealed(chat(script("slow", seconds=0.2, count=5), stream=True)).wait_chunks(2)
    worker.process.send_signal(signal.SIGTERM)
    wait_for(lambda: t.goaway)
    s.wait_end()
    assert s.sealed.complete and s.events[-1] == "[DONE]"
    assert worker.process.wait(5 * SLOW) == 0


def test_stopping_ends_what_does_not_finish_with_an_error(world):
    worker = world.worker(drain_ms=500)
    t = world.peers[0].tunnel()
    s = t.post_sealed(chat(script("stall"), stream=True)).wait_chunks(2)
    worker.process.send_signal(signal.SIGTERM)
    s.wait_end()
    assert s.sealed.complete and "error" in json.loads(s.events[-1]) and s.usage["outcome"] == "error"
    assert worker.process.wait(5 * SLOW) == 0


# ---- Secrecy ---------------------------------------------------------------------------------------

def test_neither_prompt_nor_answer_reaches_the_log(world):
    worker = world.worker()
    t = world.peers[0].tunnel()
    world.engines[0].default = world.engines[0].scripts["echo"]
    for stream in (False, True):
        s = t.chat(chat("tell nobody: wallaby-7731", stream=stream), inner={"cocoon-model": "fake-model"})
        assert b"wallaby-7731" in s.content
    t.chat(chat(script("error", status=500, message="wallaby-7731")))
    t.chat({**chat(), "wallaby-7731": 1, "temperature": "wallaby-7731"})
    t.post_sealed(chat(), outer={"cocoon-model": "control-4412"}).wait_end()
    assert "wallaby" not in worker.text
    assert "control-4412" in worker.text  # the same look does find an outer header


def test_the_process_leaves_no_core(world):
    worker = world.worker()
    with open(f"/proc/{worker.process.pid}/limits") as f:
        core = next(line for line in f if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
