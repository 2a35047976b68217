"""End to end as the gateway sees it: a client of our own that encrypts, the real worker or one of our own that opens, and between
them the gateway, which relays what it cannot read. (cocoon-client's side: test_client_mitm.py.)"""

import base64
import hashlib
import json
import os
import threading
import time
from email.utils import formatdate

import pytest

pytest.importorskip("h2")
pytest.importorskip("cryptography")

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: E402

from stack import SLOW, chat, wait_for  # noqa: E402
from test_wire import World, world  # noqa: E402, F401
from tunnel_peer import Sealed, b64u, bhttp_request, jws  # noqa: E402
from worker_peer import plain_answer  # noqa: E402

OHTTP, PROBLEM, REPLY = "/v1/confidential/ohttp", "application/problem+json", "message/ohttp-chunked-res"


def unhex(s):
    return bytes.fromhex(s)


class Client:
    """Finds a key as cocoon-client does and encrypts to it."""

    def __init__(self, stack, key=None, gateway=None):
        self.stack, self.key, self.gateway = stack, key, gateway

    def get(self, path, key=""):
        with self.stack.raw(self.gateway, key=key) as raw:
            return raw.ask("GET", path)

    def workers(self, model="fake-model"):
        answer = self.get(f"/v1/confidential/workers?model={model}")
        assert answer.status == 200, answer.body
        return answer.json["workers"]

    def seal(self, body, worker=None, path="/v1/chat/completions", tokens=1000, inputs=5000, **fields):
        worker = worker or self.workers()[0]
        inner = {"content-type": "application/json", "date": formatdate(usegmt=True), "cocoon-request-id": "rid-1",
                 "cocoon-model": "fake-model", "cocoon-max-tokens": str(tokens), "cocoon-max-input": str(inputs),
                 "cocoon-public-model": "fake-model", "cocoon-include-usage": "?1", **{k.replace("_", "-"): v for k, v in fields.items()}}
        sealed = Sealed(unhex(worker["key_config"]), bhttp_request(path, inner.items(), json.dumps(body).encode()))
        sealed.worker = worker
        sealed.headers = {"Content-Type": "message/ohttp-chunked-req", "Accept": REPLY, "Incremental": "?1", "Cocoon-Key": worker["kfp"],
                          "Cocoon-Model": "fake-model", "Cocoon-Max-Tokens": str(tokens), "Cocoon-Max-Input": str(inputs),
                          "Cocoon-Stream": "?1" if body.get("stream") else "?0"}
        return sealed

    def start(self, sealed, headers=(), body=None):
        """The connection, with the request sent."""
        raw = self.stack.raw(self.gateway, key=self.key)
        raw.request("POST", OHTTP, sealed.bytes if body is None else body, {**sealed.headers, **dict(headers)})
        return raw

    def post(self, sealed, headers=(), body=None):
        raw = self.start(sealed, headers, body)
        answer = raw.head()
        raw.rest()
        raw.close()
        if answer.status == 200:
            sealed.feed(answer.body)
            if answer.ending == "complete":
                sealed.end()
        return answer

    def chat(self, text="Hi", headers=(), **more):
        sealed = self.seal(chat(text, **more))
        answer = self.post(sealed, headers)
        answer.sealed = sealed
        return answer


@pytest.fixture
def outside(chain):
    return Client(chain)


@pytest.fixture
def there(world):  # noqa: F811
    """A world with one peer, and a client of it."""
    world.w = world.peer()
    world.client = Client(world.stack)
    return world


def record_of(answer, document):
    keyset = json.loads(base64.b64decode(document["keyset"]))
    names = dict((k.lower(), v) for k, v in answer.trailers)
    return jws(names["cocoon-usage"], keyset["receipt_ed25519"], "cgw-usage+jwt")


def problem(answer, status, code):
    assert (answer.status, answer.header("content-type")) == (status, PROBLEM), (answer.status, answer.body)
    assert answer.json["code"] == code and answer.json["status"] == status and answer.json["type"] and answer.json["title"]
    return answer.json


# ---- What is published ---------------------------------------------------------------------------------

def test_the_list_of_workers_names_keys_with_their_evidence(outside):
    listed = outside.workers()
    assert len(listed) == 1
    w = listed[0]
    config = unhex(w["key_config"])
    assert len(config) == 45 and hashlib.sha256(config).hexdigest() == w["kfp"] and 0 <= w["load"] <= 1
    answer = outside.get(f"/v1/confidential/attestation/{w['kfp']}")
    assert answer.status == 200 and answer.header("content-type") == "application/vnd.cgw.attestation+json"
    assert hashlib.sha256(answer.body).hexdigest() == w["attestation_sha256"]
    keyset = base64.b64decode(answer.json["keyset"])
    assert hashlib.sha256(keyset).hexdigest() == w["keyset_sha256"]
    assert json.loads(keyset)["hpke"] == [w["key_config"]] and json.loads(keyset)["not_after"] == w["not_after"]


def test_the_document_is_given_as_the_worker_gave_it(there):
    there.w.document = {"note": "spaces  and \\u0041 stay"}
    kfp = there.w.keys[0].kfp.hex()
    there.w.rotate()
    wait_for(lambda: there.client.workers()[0]["kfp"] != kfp, "the new key")
    kfp = there.client.workers()[0]["kfp"]
    assert there.client.get(f"/v1/confidential/attestation/{kfp}").body == there.w.documents[-1]


def test_evidence_outlives_its_worker_here_and_in_redis(there):
    w = there.client.workers()[0]
    there.w.close()
    wait_for(lambda: not there.client.workers(), "the worker is gone")
    document = there.client.get(f"/v1/confidential/attestation/{w['kfp']}").body
    assert hashlib.sha256(document).hexdigest() == w["attestation_sha256"]
    redis = there.stack.redis.client
    assert redis.get("evidence:" + w["attestation_sha256"]).encode() == document
    assert hashlib.sha256(redis.get("evidence:" + w["keyset_sha256"]).encode()).hexdigest() == w["keyset_sha256"]


def test_the_status_says_what_is_offered(outside):
    status = outside.get("/v1/confidential/status").json
    assert status["modes"] == ["sealed", "end-to-end"] and status["environment"] == "dev"
    assert {"model": "fake-model", "workers": 1, "attested": 0, "gpu": 0} in status["models"]


def test_what_is_not_there_is_a_problem_document(outside):
    problem(outside.get("/v1/confidential/workers?model=nothing"), 404, "model_not_found")
    problem(outside.get("/v1/confidential/workers?model=%ff%00"), 404, "model_not_found")
    problem(outside.get("/v1/confidential/workers"), 400, "missing_required_parameter")
    for tail in ("0" * 64, "0" * 63, "x"):
        problem(outside.get("/v1/confidential/attestation/" + tail), 404, "not_found")


def test_calls_without_a_key_are_limited_by_address(stack):
    stack.gateway(**{"limits.public_per_minute": 3})
    client = Client(stack)
    for _ in range(3):
        assert client.get("/v1/confidential/status").status == 200
    answer = client.get("/v1/confidential/workers?model=m")
    problem(answer, 429, "rate_limit_exceeded")
    assert answer.header("retry-after") == "60"
    assert client.get("/v1/models", key=stack.key_for_all()).status == 200


# ---- The way there and back ----------------------------------------------------------------------------

@pytest.mark.parametrize("stream", [True, False])
def test_a_chat_goes_to_the_worker_and_back_unread(outside, stream):
    sealed = outside.seal(chat("an end-to-end greeting", stream=stream))
    answer = outside.post(sealed)
    assert answer.status == 200 and answer.ending == "complete" and sealed.complete
    assert answer.header("content-type") == REPLY and answer.header("cache-control") == "no-store"
    assert answer.header("incremental") == "?1" and answer.header("trailer").lower() == "cocoon-usage"
    assert answer.header("cocoon-privacy") == "end-to-end" and answer.header("cocoon-attestation") == "insecure-dev"
    assert answer.header("cocoon-keyset") == sealed.worker["keyset_sha256"] and answer.header("cocoon-price") == "0;1000"
    assert answer.header("cocoon-next") == sealed.worker["kfp"]
    assert sealed.inner.status == 200 and sealed.inner.fields["cocoon-request-id"] == "rid-1"
    assert (b"data: [DONE]" in sealed.inner.content) == stream
    document = outside.get(f"/v1/confidential/attestation/{sealed.worker['kfp']}").json
    record = record_of(answer, document)
    assert record["call"] == answer.header("cocoon-call") and record["attempt"] == 0 and record["final"] is True
    assert record["req"] == b64u(hashlib.sha256(sealed.bytes).digest()) and record["resp"] == b64u(hashlib.sha256(answer.body).digest())
    assert record["price"] == "0;1000" and record["out"] > 0


def test_the_ciphertext_reaches_the_worker_as_it_is_with_the_tables_headers_alone(there):
    sealed = there.client.seal(chat("Hi", stream=True))
    answer = there.client.post(sealed, {"Cocoon-Call": "f" * 32, "Cocoon-Attempt": "7", "Cocoon-Price": "9;1", "X-Secret": "s",
                                        "Cocoon-Affinity": "tag", "Cookie": "c=1"})
    assert answer.status == 200 and sealed.complete
    call = there.w.calls[-1]
    assert call.sealed == sealed.bytes
    assert {k for k in call.outer if not k.startswith(":")} == {
        "content-type", "accept", "incremental", "cocoon-key", "cocoon-model", "cocoon-max-tokens", "cocoon-max-input", "cocoon-call",
        "cocoon-attempt", "cocoon-price"}
    assert call.outer["cocoon-call"] == answer.header("cocoon-call") != "f" * 32
    assert call.outer["cocoon-attempt"] == "0" and call.outer["cocoon-price"] == "0;1000"
    wait_for(lambda: there.w.acks, "the acknowledgement")
    assert there.w.acks[0] == {"call": call.outer["cocoon-call"], "attempt": 0, "result": "settled", "pay": "0"}


def test_a_large_message_arrives_whole(there):
    sealed = there.client.seal(chat("x" * 3_000_000, stream=True))
    assert there.client.post(sealed).status == 200 and sealed.complete
    assert there.w.calls[-1].sealed == sealed.bytes


def test_what_was_used_is_counted_once(there):
    before = there.gateway.metric("cocoon_tokens_total")
    assert there.client.chat(stream=True).sealed.complete
    wait_for(lambda: there.gateway.metric("cocoon_tokens_total") == before + 11, "9 and 2 tokens")
    assert there.gateway.metric("cocoon_end_to_end_total") == 1


def test_the_record_can_be_fetched_by_the_same_key_alone(there):
    answer = there.client.chat()
    call = answer.header("cocoon-call")
    fetched = there.client.get(f"/v1/billing/receipts/{call}", key=there.stack.key_for_all())
    assert fetched.status == 200 and fetched.json == {"usage": dict(answer.trailers)["Cocoon-Usage"]}
    assert there.client.get(f"/v1/billing/receipts/{call}", key=there.stack.key()).status == 404
    assert there.client.get(f"/v1/billing/receipts/{call}").status == 401
    assert there.client.get(f"/v1/billing/receipts/{'0' * 32}", key=there.stack.key_for_all()).status == 404


def test_an_answer_without_a_record_has_no_trailer_and_the_late_record_can_be_fetched(there):
    def late(call):
        call.head()
        call.event("[DONE]")
        call.raw(call.seal(b"\0\0", True))
        there.w.records = [there.w.sign(call.record())]
        call.trailers(None)
    there.w.answer = late
    answer = there.client.chat(stream=True)
    assert answer.status == 200 and answer.trailers == [] and answer.sealed.complete
    path = f"/v1/billing/receipts/{answer.header('cocoon-call')}"
    wait_for(lambda: there.client.get(path, key=there.stack.key_for_all()).status == 200, "the record")


def test_events_arrive_as_they_are_made(there):
    go = threading.Event()

    def answer(call):
        call.head()
        call.event(call.chunk({"content": "first"}))
        go.wait(10)
        call.event("[DONE]")
        call.finish()
    there.w.answer = answer
    sealed = there.client.seal(chat("Hi", stream=True))
    raw = there.client.start(sealed)
    raw.head()
    while b"first" not in sealed.inner.content:
        sealed.feed(raw.piece())
    assert not sealed.complete
    go.set()
    at = len(raw.answer.body)
    raw.rest()
    sealed.feed(raw.answer.body[at:])
    sealed.end()
    assert sealed.complete and b"[DONE]" in sealed.inner.content


def test_a_client_of_http_1_0_gets_the_answer_without_trailers_and_fetches_the_record(there):
    sealed = there.client.seal(chat(stream=True))
    lines = [f"POST {OHTTP} HTTP/1.0", f"Authorization: Bearer {there.stack.key_for_all()}", f"Content-Length: {len(sealed.bytes)}",
             *(f"{k}: {v}" for k, v in sealed.headers.items())]
    with there.stack.raw() as raw:
        raw.send("\r\n".join(lines).encode() + b"\r\n\r\n" + sealed.bytes)
        answer = raw.head()
        assert answer.status == 200 and answer.header("trailer") is None and answer.header("transfer-encoding") is None
        sealed.feed(raw.rest().body)
    sealed.end()
    assert sealed.complete
    path = f"/v1/billing/receipts/{answer.header('cocoon-call')}"
    assert there.client.get(path, key=there.stack.key_for_all()).status == 200


def test_a_client_that_does_not_read_stops_its_worker(there):
    sent = []

    def flood(call):
        call.head()
        for _ in range(400):
            call.event(call.chunk({"content": "x" * 16000}))
            sent.append(16000)
        call.event("[DONE]")
        call.finish()
    there.w.answer = flood
    sealed = there.client.seal(chat("Hi", stream=True))
    raw = there.stack.raw(key=there.stack.key_for_all(), receive_buffer=65536)
    raw.request("POST", OHTTP, sealed.bytes, sealed.headers)
    raw.head()
    wait_for(lambda: sent, "the first event")
    last = -1
    while last != len(sent):
        last = len(sent)
        time.sleep(0.5)
    assert len(sent) < 400, "nothing held the worker back"
    raw.rest()
    sealed.feed(raw.answer.body)
    sealed.end()
    assert sealed.complete and raw.answer.ending == "complete"


# ---- Refusals ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("header", ["Cocoon-Key", "Cocoon-Model", "Cocoon-Max-Tokens", "Cocoon-Max-Input", "Cocoon-Stream"])
@pytest.mark.parametrize("value", [None, "", "?2", "-1", "x" * 200])
def test_an_outer_header_that_is_missing_or_wrong_is_named(outside, header, value):
    if header == "Cocoon-Model" and value in ("?2", "-1"):
        pytest.skip("a name like any other")
    told = problem(outside.post(outside.seal(chat()), {header: value}), 400, "invalid_header")
    assert header in told["detail"]


@pytest.mark.parametrize("header, value", [("Cocoon-Timeout", "soon"), ("Cocoon-Timeout", "-1"), ("Cocoon-Max-Coefficient", "1.5"),
                                           ("Cocoon-Affinity", "two words"), ("Cocoon-Affinity", "x" * 65)])
def test_an_optional_header_that_is_wrong_is_named(outside, header, value):
    assert header in problem(outside.post(outside.seal(chat()), {header: value}), 400, "invalid_header")["detail"]


def test_the_content_type_must_be_that_of_chunked_messages(outside):
    for wrong in ("application/json", "message/ohttp-req", None):
        problem(outside.post(outside.seal(chat()), {"Content-Type": wrong}), 415, "unsupported_media_type")


def test_without_a_good_key_nothing_goes_through(chain):
    problem(Client(chain, key="").chat(), 401, "no_api_key")
    problem(Client(chain, key="sk-cocoon-nonsense").chat(), 401, "invalid_api_key")


def test_a_key_for_some_models_is_held_to_the_outer_name(chain):
    problem(Client(chain, key=chain.key("--model", "other-model")).chat(), 403, "model_not_allowed")


def test_a_key_for_some_endpoints_cannot_be_used_where_the_endpoint_is_sealed(chain):
    problem(Client(chain, key=chain.key("--endpoint", "chat")).chat(), 403, "endpoint_not_allowed")


def test_a_key_that_is_end_to_end_only_is_refused_where_the_gateway_would_read(chain):
    key = chain.key("--end-to-end-only")
    with chain.raw(key=key) as raw:
        answer = raw.ask("POST", "/v1/chat/completions", chat("Hi"))
        assert answer.status == 403 and answer.error["code"] == "end_to_end_only"
    assert Client(chain, key=key).chat().sealed.complete


def test_an_unknown_fingerprint_or_another_key_id_asks_for_fresh_keys(outside):
    sealed = outside.seal(chat())
    told = problem(outside.post(sealed, {"Cocoon-Key": "0" * 64}), 400, "ohttp_key")
    assert told["type"] == "https://iana.org/assignments/http-problem-types#ohttp-key"
    other = bytes([sealed.bytes[0] ^ 1]) + sealed.bytes[1:]
    problem(outside.post(sealed, body=other), 400, "ohttp_key")
    problem(outside.post(sealed, body=sealed.bytes[:20]), 400, "ohttp_key")


def test_a_message_that_does_not_open_is_the_clients_fault_alone(outside, chain):
    before = chain.gateways[0].status["workers"][0]["failures"]
    sealed = outside.seal(chat())
    problem(outside.post(sealed, body=sealed.bytes[:-1] + bytes([sealed.bytes[-1] ^ 1])), 400, "bad_message")
    problem(outside.post(sealed), 409, "replay")
    assert outside.chat().sealed.complete
    assert chain.gateways[0].status["workers"][0]["failures"] == before


def test_inner_and_outer_must_agree(outside):
    sealed = outside.seal(chat())
    answer = outside.post(sealed, {"Cocoon-Max-Tokens": "999"})
    assert answer.status == 200 and sealed.complete and sealed.inner.status == 400


def test_methods_and_sizes_are_refused_with_problems(outside, chain):
    problem(outside.get(OHTTP, key=chain.key_for_all()), 405, "method_not_supported")
    sealed = outside.seal(chat())
    problem(outside.post(sealed, body=bytes(34 << 20)), 413, "request_too_large")


# ---- Another worker ------------------------------------------------------------------------------------

def two(there):
    """(first on the list, the other), as peers."""
    there.peer(name="peer-two")
    wait_for(lambda: len(there.client.workers()) == 2, "both on the list")
    by_key = {p.keys[0].kfp.hex(): p for p in there.peers}
    return [by_key[w["kfp"]] for w in there.client.workers()], {p: w for w in there.client.workers() for p in [by_key[w["kfp"]]]}


@pytest.mark.parametrize("fault", ["busy", "draining", "price", "reset", "wrong type", "empty"])
def test_a_worker_that_fails_before_its_first_byte_costs_another_encapsulation(there, fault):
    (first, second), listed = two(there)

    def fail(call):
        if fault in ("busy", "draining", "price"):
            return call.problem(503, fault)
        if fault == "reset":
            return call.reset()
        if fault == "empty":
            call.tunnel.headers(call.stream, 200, [("content-type", REPLY)])
            return call.trailers(None)
        call.tunnel.reply(call.stream, 200, b"{}", "application/json")
    first.answer = fail
    sealed = there.client.seal(chat(stream=True), listed[first])
    answer = there.client.post(sealed)
    problem(answer, 503, "retry_other_worker")
    assert answer.header("cocoon-next") == listed[second]["kfp"]
    assert len(first.calls) == 1 and len(second.calls) == 0
    again = there.client.seal(chat(stream=True), listed[second])
    assert there.client.post(again).status == 200 and again.complete
    assert len(second.calls) == 1 and second.calls[0].sealed == again.bytes


def test_the_bid_stands_outside_and_the_ask_is_what_is_paid(there):
    there.w.about["ask"] = 1500
    sealed = there.client.seal(chat(stream=True))  # the list has it whatever it asks for
    wait_for(lambda: there.client.post(sealed).status == 503, "its ask is known")
    count = len(there.w.calls)
    answer = there.client.post(sealed, {"Cocoon-Max-Coefficient": "1499"})
    problem(answer, 503, "no_capacity")
    assert "1500/1000" in answer.json["detail"] and answer.json["lowest_ask"] == 1500 and len(there.w.calls) == count
    answer = there.client.post(sealed, {"Cocoon-Max-Coefficient": "2000"})
    assert answer.status == 200 and sealed.complete and answer.header("cocoon-price") == "0;1500"
    assert there.w.calls[-1].outer["cocoon-price"] == "0;1500"


CONVERSATIONS = 12


def test_the_next_key_follows_the_conversation(there):
    for name in ("two", "three", "four"):
        there.peer(name=f"peer-{name}")
    wait_for(lambda: len(there.client.workers()) == 4, "all on the list")
    listed = there.client.workers()
    rounds = [[], [], []]
    for nexts in rounds:  # in the first their speeds become known
        for i in range(CONVERSATIONS):
            sealed = there.client.seal(chat(stream=True), listed[i % 4])
            answer = there.client.post(sealed, {"Cocoon-Affinity": f"conversation-{i}"})
            assert answer.status == 200
            nexts.append(answer.header("cocoon-next").split(",")[0])
    # By chance a quarter of them would; a speed that is measured anew moves some.
    stayed = sum(a == b for a, b in zip(rounds[1], rounds[2]))
    assert stayed >= CONVERSATIONS * 2 // 3 and len(set(rounds[2])) > 1


def test_a_busy_worker_is_sealed_for_again_where_there_is_no_other(there):
    there.w.answer = lambda call: call.problem(503, "busy")
    answer = there.client.chat(stream=True)
    problem(answer, 503, "retry_other_worker")
    assert answer.header("cocoon-next") == there.w.keys[0].kfp.hex()
    assert len(there.w.calls) == 1  # never the same ciphertext twice
    there.w.answer = plain_answer
    assert there.client.chat(stream=True).status == 200  # waits until the worker is known to have room


def test_when_there_is_no_other_worker_it_says_so(there):
    there.w.answer = lambda call: call.reset()
    answer = there.client.chat(stream=True)
    problem(answer, 503, "no_capacity")
    assert answer.header("retry-after") and answer.header("cocoon-next") is None
    assert len(there.w.calls) == 1


def holding():
    """An event, and a worker's answer that runs until it is set."""
    hold = threading.Event()

    def held(call):
        call.head()
        hold.wait(20 * SLOW)
        call.event("[DONE]")
        call.finish()
    return hold, held


def test_where_all_others_are_full_a_call_that_failed_is_waited_with(there):
    (first, second), listed = two(there)
    hold, held = holding()
    second.answer, second.max = held, 1
    running = there.client.start(there.client.seal(chat(stream=True), listed[second]))
    running.head()
    wait_for(lambda: there.gateway.metric("cocoon_slots", model="fake-model", state="all") == first.max + 1, "its one slot is known", 10)
    first.answer = lambda call: call.reset()
    answer = there.client.post(there.client.seal(chat(stream=True), listed[first]))
    problem(answer, 503, "retry_other_worker")
    assert answer.header("cocoon-next") == listed[second]["kfp"]
    waiting = there.client.start(there.client.seal(chat(stream=True), listed[second]))
    first.close()
    wait_for(lambda: there.gateway.metric("cocoon_queue") == 1, "it waits", 10)
    second.answer = plain_answer
    hold.set()
    assert running.rest().ending == "complete" and waiting.head().status == 200 and waiting.rest().ending == "complete"


def test_one_free_slot_is_named_to_one_caller(there):
    """The others wait for the worker that they encrypted to."""
    (first, second), listed = two(there)
    hold, held = holding()
    for w in (first, second):
        w.answer, w.max = held, 1
    running = there.client.start(there.client.seal(chat(stream=True), listed[first]))
    running.head()
    wait_for(lambda: there.gateway.metric("cocoon_slots", model="fake-model", state="all") == 2, "two slots in all", 10)
    crowd = [there.client.start(there.client.seal(chat(stream=True), listed[first])) for _ in range(6)]
    wait_for(lambda: there.gateway.metric("cocoon_queue") == 5, "five wait", 10)
    for w in (first, second):
        w.answer = plain_answer
    hold.set()
    heads = [raw.head() for raw in crowd]
    assert sorted(h.status for h in heads) == [200] * 5 + [503]
    moved = next(h for h in heads if h.status == 503)
    assert moved.header("cocoon-next").split(",")[0] == listed[second]["kfp"]
    assert all(raw.rest().ending == "complete" for raw in [running, *crowd])


def test_room_that_is_found_after_a_while_goes_to_the_class_that_goes_before(there):
    """Whoever of those that wait looks first: batch's turn to look comes when the other is as ready to move."""
    (first, second), listed = two(there)
    busy, held = holding()
    free, held_shortly = holding()
    kept, held_on = holding()
    first.answer, second.answer = held, held_shortly
    first.max = second.max = 1
    running = [there.client.start(there.client.seal(chat(stream=True), listed[w])) for w in (first, second)]
    assert [raw.head().status for raw in running] == [200, 200]
    wait_for(lambda: there.gateway.metric("cocoon_slots", model="fake-model", state="busy") == 2, "both are full", 10)
    usual = there.client.start(there.client.seal(chat(stream=True), listed[first]))
    wait_for(lambda: there.gateway.metric("cocoon_queue") == 1, "it waits", 10)
    time.sleep(1)  # the gateway's clock: each looks 2.5 s after it came, and again
    batch = Client(there.stack, there.stack.key("--class", "batch"))
    late = batch.start(batch.seal(chat(stream=True), listed[first]))
    wait_for(lambda: there.gateway.metric("cocoon_queue") == 2, "both wait", 10)
    time.sleep(1)
    second.answer = held_on
    free.set()  # the other worker has room for both to see at 3.2 s; batch looks at 3.5 s, the other at 5 s
    assert usual.head().status == 503 and usual.answer.header("cocoon-next").split(",")[0] == listed[second]["kfp"]
    moved = there.client.start(there.client.seal(chat(stream=True), listed[second]))
    assert moved.head().status == 200
    assert there.gateway.metric("cocoon_queue_waiting", **{"class": "batch"}) == 1
    first.answer = plain_answer
    busy.set()
    assert late.head().status == 200
    kept.set()
    assert all(raw.rest().ending == "complete" for raw in (*running, moved, late))
    usual.close()


def test_a_full_queue_keeps_nobody_from_a_worker_that_has_room(stack):
    """Who has encrypted to it is served, who has not is sent there."""
    there = World(stack, **{"scheduler.queue": 1})
    there.peer()
    there.client = Client(stack)
    (first, second), listed = two(there)
    hold, held = holding()
    first.answer, first.max, second.about["ask"] = held, 1, 1500
    wait_for(lambda: there.client.post(there.client.seal(chat(), listed[second])).status == 503, "its ask is known")
    running = there.client.start(there.client.seal(chat(stream=True), listed[first]))
    running.head()
    wait_for(lambda: there.gateway.metric("cocoon_slots", model="fake-model", state="all") == second.max + 1, "its one slot is known", 10)
    narrow = there.client.start(there.client.seal(chat(stream=True), listed[first]))
    wait_for(lambda: there.gateway.metric("cocoon_queue") == 1, "one in the queue")
    other = Client(stack, stack.key("--account", "other"))
    bid = {"Cocoon-Max-Coefficient": "2000"}
    assert other.post(other.seal(chat(stream=True), listed[second]), bid).status == 200
    answer = other.post(other.seal(chat(stream=True), listed[first]), bid)
    problem(answer, 503, "retry_other_worker")
    assert answer.header("cocoon-next").split(",")[0] == listed[second]["kfp"]
    first.answer = plain_answer
    hold.set()
    assert running.rest().ending == "complete" and narrow.head().status == 200 and narrow.rest().ending == "complete"


@pytest.mark.parametrize("why", ["its price", "its worker left"])
def test_a_slot_is_kept_only_for_who_found_none(there, why):
    """Whoever is sent away for another reason, which he may have chosen, keeps nobody from the next one."""
    (first, second), listed = two(there)
    sealed, second.max = there.client.seal(chat(), listed[first]), 1
    if why == "its price":
        first.about["ask"] = 1500
        wait_for(lambda: there.client.post(sealed).status == 503, "its ask is known")
    else:
        first.close()
        wait_for(lambda: len(there.client.workers()) == 1, "one is gone")
    slots = 1 if why == "its worker left" else first.max + 1
    wait_for(lambda: there.gateway.metric("cocoon_slots", model="fake-model", state="all") == slots, "its one slot is known", 10)
    other = Client(there.stack, there.stack.key("--account", "other"))
    served = other.seal(chat(stream=True), listed[second])
    problem(there.client.post(sealed), 503, "retry_other_worker")
    answer = other.post(served)
    timing = dict(part.split(";dur=") for part in answer.header("server-timing").split(", "))
    assert answer.status == 200 and float(timing["queue"]) == 0, timing


def test_the_key_of_a_worker_that_left_leads_to_the_next(there):
    (first, second), listed = two(there)
    sealed = there.client.seal(chat(), listed[first])
    first.close()
    wait_for(lambda: len(there.client.workers()) == 1, "one is gone")
    answer = there.client.post(sealed)
    problem(answer, 503, "retry_other_worker")
    assert answer.header("cocoon-next") == listed[second]["kfp"] and not second.calls


@pytest.mark.parametrize("how", ["end to end", "by the gateway"])
def test_who_waits_behind_others_for_a_worker_that_has_gone_is_told_soon(there, how):
    """Those before it may wait for another worker, and while all are full a round of the queue ends with the first of them."""
    (first, second), listed = two(there)
    first.about["ask"] = 1500
    for w in (first, second):
        w.max = w.running = 1
    wait_for(lambda: there.gateway.metric("cocoon_slots", model="fake-model", state="busy") == 2, "both are full", 10)
    wait_for(lambda: there.view(first)["ask"] == 1500, "its ask is known", 10)
    stack = there.stack
    keys = [stack.key("--account", "same", "--max-coefficient", most) for most in ("2000", "2000", "1200")]
    calls = []
    for n, key in enumerate(keys, 1):
        if how == "end to end":
            client = Client(stack, key)
            calls.append(client.start(client.seal(chat(), listed[second if n == 3 else first])))
        else:
            calls.append(stack.raw(key=key))
            calls[-1].request("POST", "/v1/chat/completions", chat())
        wait_for(lambda: there.gateway.metric("cocoon_queue") == n, f"{n} in the queue", 10)
    second.close()
    left = time.monotonic()
    assert calls[2].head().status == 503
    assert time.monotonic() - left < 10  # of the 20 s that it may wait
    assert there.gateway.metric("cocoon_queue") == 2
    for raw in calls:
        raw.close()


def test_a_full_worker_is_waited_for_only_where_nobody_else_has_room(there):
    hold, held = holding()
    there.w.max = 1
    there.w.answer = held
    running = there.client.start(there.client.seal(chat(stream=True)))
    running.head()
    there.w.answer = plain_answer
    waiting = there.client.start(there.client.seal(chat(stream=True)))
    wait_for(lambda: there.gateway.metric("cocoon_queue") == 1, "one in the queue")
    hold.set()
    assert running.rest().ending == "complete" and waiting.head().status == 200 and waiting.rest().ending == "complete"


def test_a_key_before_the_last_rotation_still_goes_to_its_worker(there):
    sealed = there.client.seal(chat(stream=True))
    there.w.rotate()
    wait_for(lambda: there.client.workers()[0]["kfp"] != sealed.worker["kfp"], "the new key")
    answer = there.client.post(sealed)
    assert answer.status == 200 and sealed.complete
    assert answer.header("cocoon-next") == there.client.workers()[0]["kfp"]
    wait_for(lambda: [a for a in there.w.acks if a["result"] == "settled"], "settled under the old key")


# ---- Ends ----------------------------------------------------------------------------------------------

def test_a_stream_that_breaks_is_broken_off_here_too(there):
    def half(call):
        call.head()
        call.event(call.chunk({"content": "half"}))
        time.sleep(0.1)
        call.reset()
    there.w.answer = half
    sealed = there.client.seal(chat(stream=True))
    raw = there.client.start(sealed)
    assert raw.head().status == 200
    answer = raw.rest()
    assert answer.ending in ("closed", "reset") and answer.trailers == []
    sealed.feed(answer.body)
    assert b"half" in sealed.inner.content and not sealed.complete and b"error" not in answer.body


def test_a_client_that_leaves_stops_the_worker_and_is_charged_for_what_was_made(there):
    there.w.on_cancel = lambda call: call.trailers(there.w.sign(call.record(completion=3, outcome="client_abort", final=False)))

    def slow(call):
        call.head()
        call.event(call.chunk({"content": "one"}))
        call.cancelled.wait(10)
    there.w.answer = slow
    before = there.gateway.metric("cocoon_tokens_total")
    raw = there.client.start(there.client.seal(chat(stream=True)))
    call = raw.head().header("cocoon-call")
    raw.piece()
    raw.close()
    there.w.wait_asked("DELETE", f"/ohttp/{call}/0")
    wait_for(lambda: there.gateway.metric("cocoon_tokens_total") == before + 12, "9 and 3 tokens")
    path = f"/v1/billing/receipts/{call}"
    wait_for(lambda: there.client.get(path, key=there.stack.key_for_all()).status == 200, "its record")


def test_a_cancelled_answer_that_is_passed_off_as_whole_has_no_final_chunk_here_either(there):
    def cut(call):
        call.head()
        call.event(call.chunk({"content": "one"}))
        call.trailers(there.w.sign(call.record(outcome="client_abort", final=False)))
    there.w.answer = cut
    sealed = there.client.seal(chat(stream=True))
    raw = there.client.start(sealed)
    raw.head()
    sealed.feed(raw.rest().body)
    assert not sealed.final_begun


def test_a_worker_that_is_silent_is_given_up(stack):
    w = World(stack, **{"timeouts.head_ms": 500, "timeouts.silence_ms": 500})
    try:
        w.peer().answer = lambda call: call.cancelled.wait(10)
        answer = Client(stack).chat(stream=True)
        problem(answer, 503, "no_capacity")
        w.peers[0].wait_asked("DELETE", "/ohttp/")
    finally:
        w.stop()


def test_silent_workers_cost_no_more_second_encryptions_than_the_budget_has(stack):
    w = World(stack, **{"timeouts.head_ms": 500, "timeouts.silence_ms": 500, "scheduler.retry_percent": 0, "scheduler.retry_least": 1})
    try:
        for name in ("one", "two", "three"):
            w.peer(name=f"peer-{name}").answer = lambda call: call.cancelled.wait(10 * SLOW)
        client = Client(stack)
        wait_for(lambda: len(client.workers()) == 3, "all on the list", 10)
        problem(client.chat(stream=True), 503, "retry_other_worker")
        problem(client.chat(stream=True), 503, "no_capacity")
        assert w.gateway.metric("cocoon_retries_refused_total") == 1
    finally:
        w.stop()


def test_nothing_of_the_text_is_in_the_gateways_log(there):
    canary = "CANARY" + os.urandom(8).hex()
    assert there.client.chat(canary, stream=True).sealed.complete
    assert canary not in there.gateway.log_text and canary.encode() not in there.w.text


def test_a_record_from_before_its_worker_was_started_again_is_verified_by_the_key_of_that_time(there):
    assert there.client.chat(stream=True).sealed.complete
    old = there.w
    record = {**old.calls[-1].record(), "call": "ab" * 16}
    old.close()
    fresh = there.peer(name="again", dial=False)
    fresh.records = [old.sign(record), fresh.sign({**record, "call": "cd" * 16}), old.sign({**record, "call": "ef" * 16}, key=Ed25519PrivateKey.generate())]
    fresh.dial()
    wait_for(lambda: len(fresh.acks) >= 2, "the acknowledgements")
    time.sleep(0.3)
    assert {a["call"]: a["result"] for a in fresh.acks} == {"ab" * 16: "settled", "cd" * 16: "settled"}

