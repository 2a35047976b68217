"""More of what a man in the middle may try on cocoon-client: exchanged answers, endless ones, HTTP's own ways of saying two things, and
keys that are none. See test_client_mitm.py for the rest."""

import base64
import gzip
import hashlib
import json
import threading
import time

import pytest

pytest.importorskip("h2")
pytest.importorskip("cryptography")

from evil_gateway import Wire, honest  # noqa: E402
from test_client_mitm import CANARY, lied, place, refused, send, tee, whole_answer  # noqa: E402, F401
from worker_peer import Key  # noqa: E402

# ---- Answers that are somebody else's ----------------------------------------------------------------

def test_answers_of_two_requests_that_change_places(lied):  # noqa: F811
    """Both are genuine, of the same worker and key, and under way together."""
    both, parts, met = threading.Barrier(2), {}, threading.Lock()

    def answer(call):
        mine = whole_answer(call)
        with met:
            parts[call] = mine
        both.wait(10)
        (other,) = [parts[c] for c in parts if c is not call]
        send(call, other)
    lied.g.answer = answer
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(lied.ask())) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(answers) == 2
    for a in answers:
        refused(a, "cut short or changed")


def test_the_record_of_another_call_is_put_beside_a_genuine_answer(lied):  # noqa: F811
    records = []

    def answer(call):
        head, sent, (a, kw) = whole_answer(call)
        records.append(a)
        send(call, (head, sent, (records[0], kw)))
    lied.g.answer = answer
    assert lied.ask().status == 200
    refused(lied.ask(), "another call")


def test_the_record_of_another_call_is_what_the_gateway_has_kept(lied):  # noqa: F811
    assert lied.ask().status == 200
    (old,) = lied.g.receipts.values()
    lied.g.usage_in_trailer = False

    def answer(call):
        honest(call)
        lied.g.receipts[call.tunnel.call] = old
    lied.g.answer = answer
    refused(lied.ask(), "another call")


def test_a_record_that_the_gateway_never_hands_over(lied):  # noqa: F811
    lied.g.usage_in_trailer = lied.g.serve_receipts = False
    refused(lied.ask(), "did not hand over")


def test_a_record_that_is_endless(lied):  # noqa: F811
    lied.g.usage_in_trailer = False

    def answer(call):
        honest(call)
        lied.g.receipts[call.tunnel.call] = "x" * (1 << 20)
    lied.g.answer = answer
    refused(lied.ask(), "did not hand over")


# ---- HTTP that says two things -------------------------------------------------------------------------

def raw_reply(head, body=b""):
    def post(wire, outer, sealed):
        wire.write(head.encode() + body)
        wire.cut()
    return post


@pytest.mark.parametrize("head", [
    "HTTP/1.1 200 OK\r\nContent-Type: message/ohttp-chunked-res\r\nCocoon-Call: {call}\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: message/ohttp-chunked-res\r\nCocoon-Call: {call}\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: message/ohttp-chunked-res\r\nCocoon-Call: {call}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: message/ohttp-chunked-res\r\nCocoon-Call: {call}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "HTTP/1.1 204 No\r\nContent-Type: message/ohttp-chunked-res\r\nCocoon-Call: {call}\r\n\r\n",
    "HTTP/1.0 200 OK\r\nContent-Type: message/ohttp-chunked-res\r\nCocoon-Call: {call}\r\n\r\n",
    "HTTP/0.9\r\n",
    "garbage\r\n\r\n",
    "",
])
def test_answers_of_the_gateway_that_are_none(lied, head):  # noqa: F811
    lied.g.post = raw_reply(head.replace("{call}", "ab" * 16))
    a = lied.ask()
    assert a.status == 502 and a.error["message"], a.body
    # A kept connection that dies without a byte is tried once more, with the same ciphertext, which a worker takes once.
    assert len(lied.g.posts) == 1 if head else len(lied.g.posts) <= 2


def test_interim_answers_say_nothing(lied):  # noqa: F811
    def answer(call):
        call.tunnel.write(b"HTTP/1.1 103 Early Hints\r\nCocoon-Call: " + b"ee" * 16 + b"\r\nContent-Type: application/json\r\n\r\n")
        honest(call)
    lied.g.answer = answer
    a = lied.ask()
    assert a.status == 200 and a.header("cocoon-call") != "ee" * 16


def test_an_encoding_on_top_is_not_undone(lied):  # noqa: F811
    """A bomb, or a way to change what is hashed: nobody asked for it."""
    lied.g.extra = [("Content-Encoding", "gzip")]

    def answer(call):
        head, sent, trailers = whole_answer(call)
        send(call, (head, [gzip.compress(b"".join(sent))], trailers))
    lied.g.answer = answer
    refused(lied.ask(), "cut short or changed")


def test_fields_of_the_gateway_cannot_become_others_here(lied):  # noqa: F811
    lied.g.extra = [("x-request-id", "a\tb\x0bSet-Cookie: x=1"), ("cocoon-next", "zz," * 300), ("Set-Cookie", "x=1"), ("retry-after", "9" * 2000),
                    ("Server", "evil")]
    a = lied.ask()
    assert a.status == 200 and a.header("set-cookie") is None and "evil" not in str(a.headers)
    assert lied.ask().status == 200


def test_a_call_that_is_named_twice_is_the_one_that_the_receipt_names(lied):  # noqa: F811
    def answer(call):
        call.tunnel.extra = [("Cocoon-Call", "ff" * 16)]
        honest(call)
    lied.g.answer = answer
    refused(lied.ask(), "another call")


# ---- Without end ---------------------------------------------------------------------------------------

def endless(wire, kind, first=b""):
    wire.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    try:
        for _ in range(4000):
            wire.write(b"10000\r\n" + first.ljust(65536) + b"\r\n")
    except OSError:
        wire.gateway.gone.set()


@pytest.mark.parametrize("what", ["workers", "attestation"])
def test_a_list_or_document_without_end_is_cut_off(lied, what):  # noqa: F811
    serve = lied.g.serve

    def forever(handler, body):
        if f"/confidential/{what}" in handler.path:
            return endless(Wire(handler, lied.g, lied.g.workers[0]), "application/json", b"{")
        return serve(handler, body)
    lied.g.serve = forever
    a = lied.ask()
    assert a.status in (502, 503) and a.error["message"] and not lied.g.posts
    assert lied.g.gone.wait(10)
    assert rss_kib(lied.c) < 100 * 1024


def rss_kib(client):
    with open(f"/proc/{client.process.pid}/status") as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1])


def test_a_refusal_without_end_is_not_kept(place):  # noqa: F811
    place.gateway()
    place.client(settings="timeouts:\n  silence_ms: 1500\n")

    def post(wire, outer, body):
        wire.write(b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                wire.write(b"4000\r\n" + bytes(0x4000) + b"\r\n")
                time.sleep(0.001)
        except OSError:
            place.g.gone.set()
    place.g.post = post
    began = time.monotonic()
    a = place.ask()
    assert a.status in (502, 504) and a.error["message"] and time.monotonic() - began < 10
    assert place.g.gone.wait(10) and rss_kib(place.c) < 100 * 1024


def test_a_list_of_very_many_workers_costs_a_few_verifications(lied):  # noqa: F811
    real = lied.g.workers[0]

    def many(listing):
        fake = [{**listing["workers"][0], "kfp": f"{i:064x}"} for i in range(100)]
        return 200, {**listing, "workers": [*fake, listing["workers"][0]]}
    lied.g.ttl = 1
    lied.g.workers_say = many
    a = lied.ask()
    asked = [p for m, p in lied.g.asked if "/attestation/" in p]
    assert a.status == 503 and len(asked) <= 16 and not lied.g.posts, len(asked)
    # Junk that fits does not hide the genuine one.
    lied.g.workers_say = lambda listing: (200, {**listing, "workers": [{"kfp": 7}, {}, "x", *listing["workers"] * 3]})
    real.rotate()
    wait_until(lambda: lied.ask().status == 200)


def wait_until(check, seconds=35):
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until
        time.sleep(0.5)


# ---- Keys that are none ----------------------------------------------------------------------------------

def test_a_key_of_low_order_gets_nothing(lied):  # noqa: F811
    """With it the shared secret would be zero: anybody could open the request. The worker is attested all the same."""
    w = lied.g.workers[0]
    key = Key(9)
    key.config = key.config[:3] + bytes(32) + key.config[35:]
    key.kfp = hashlib.sha256(key.config).digest()
    w.keys = [key]
    w.make_keyset()
    a = lied.ask()
    assert a.status in (500, 502, 503) and a.error["message"] and not lied.g.posts, a.body


@pytest.mark.parametrize("change", [
    {"models": []}, {"hpke": []}, {"not_after": 1 << 62}, {"receipt_ed25519": "00"}, {"gpu": "nvidia-cc", "gpu_count": 1}, {"payout": "nowhere"},
    {"tls_spki_sha256": None}, {"format": "cgw/keyset/v2"},
])
def test_keysets_of_another_form_though_quoted(lied, change):  # noqa: F811
    w = lied.g.workers[0]
    keyset = {k: v for k, v in {**json.loads(w.keyset), **change}.items() if v is not None}
    w.keyset = json.dumps(keyset).encode()
    refused(lied.ask(), "", 503, "no_attested_worker")
    assert not lied.g.posts


@pytest.mark.parametrize("change", [
    {"tee": "sev-snp"}, {"tee": "none"}, {"tee": "none", "quote": ""}, {"quote": ""}, {"collateral": None}, {"nonce": "00" * 32},
    {"device_evidence": base64.b64encode(b"x").decode()}, {"format": "cgw/attestation/v2"}, {"event_log": base64.b64encode(b"junk").decode()},
])
def test_documents_that_were_changed_on_the_way(lied, change):  # noqa: F811
    lied.g.document_says = lambda d, kfp: {k: v for k, v in {**d, **change}.items() if v is not None}
    refused(lied.ask(), "", 503, "no_attested_worker")
    assert not lied.g.posts


def test_a_worker_that_is_good_only_for_a_while_is_verified_again(lied):  # noqa: F811
    """What was verified once is not believed beyond its keys' time: the next request asks anew."""
    w = lied.g.workers[0]
    keyset = json.loads(w.keyset)
    now = int(time.time())
    keyset.update(not_before=now - 3590, not_after=now + 2)
    w.keyset = json.dumps(keyset).encode()
    assert lied.ask().status == 200
    time.sleep(3)
    asked = len([p for m, p in lied.g.asked if "/attestation/" in p])
    w.not_before = now
    w.make_keyset()
    assert lied.ask().status == 200
    assert len([p for m, p in lied.g.asked if "/attestation/" in p]) == asked + 1


def test_the_gateway_learns_no_more_of_a_request_than_its_padded_size(lied):  # noqa: F811
    sizes = set()
    for text in (CANARY, CANARY + "a", CANARY + "b" * 37):
        assert lied.ask(text).status == 200
        sizes.add(lied.g.posts[-1]["content-length"])
    assert len(sizes) == 1

