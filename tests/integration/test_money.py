"""Metered keys: every request priced, held, charged once, billed and told; and what is refused. A worker of the tests' own says what was
used."""

import base64
import hashlib
import json
import os
import re
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from conftest import live_stack
from purse import PRICES, Till, amount, usage_amount, whole_and_recorded_later
from stack import chat, wait_for
from worker_peer import plain_answer

CHAT = "/v1/chat/completions"
RICH = 10**9


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def new_prices(till, models):
    till.prices += 1
    till.purse.set_prices(models, version=till.prices)
    till.gateway.wait_log(f"prices version={till.prices}")


@pytest.fixture(scope="module")
def shop():
    """One gateway and one worker for the tests that break neither; each has an account of its own."""
    for stack in live_stack("shop"):
        till = Till(stack)
        till.prices = 1
        yield till
        till.worker.close()


@pytest.fixture
def till(shop):
    if shop.purse.prices != {"fake-model": PRICES}:
        new_prices(shop, {"fake-model": PRICES})
    shop.account = shop.purse.account("a" + os.urandom(4).hex())
    shop.key = shop.purse.key(shop.account)
    shop.worker.answer, shop.worker.on_cancel, shop.worker.max = plain_answer, shop.worker.plain_cancel, 8
    return shop


# ---- What is charged ----

def test_an_answer_says_what_it_cost_and_the_account_has_paid_it(till):
    a = till.ask()
    assert a.status == 200, a.body
    usage = a.json["usage"]
    cost = amount((9, 0, 2, 0))
    assert usage["cost_nano"] == cost == usage_amount(usage)
    assert usage["cost"] == f"{cost / 1e9:.9f}".rstrip("0").rstrip(".")
    assert a.header("cocoon-cost-nano") == str(cost)
    (bill,) = till.settled(1)
    b, u = bill["b"], bill["u"]
    assert b["call"] == a.header("cocoon-call") == bill["call"] and b["account"] == bill["account"] == till.account
    assert b["amount"] == str(cost) and b["fee"] == str(cost - cost * 9500 // 10000)
    assert (b["in"], b["out"], b["price"], b["coefficient"], b["worker"]) == (9, 2, till.prices, 1000, "0:" + "ab" * 32)
    assert u["price"] == f"{till.prices};1000" and bill["kind"] == "settled" and bill["endpoint"] == "chat"
    ack = wait_for(lambda: next((k for k in till.worker.acks if k["call"] == b["call"]), None), "the worker is told")
    assert ack == {"call": b["call"], "attempt": 0, "result": "settled", "pay": str(cost * 9500 // 10000)}


def test_the_cost_stands_at_the_end_of_a_streams_usage_event(till):
    raw = till.raw()
    raw.request("POST", CHAT, chat(stream=True, stream_options={"include_usage": True}))
    assert raw.head().status == 200
    a = raw.rest()
    assert a.ending == "complete" and a.events[-1] == b"[DONE]"
    usage = json.loads(a.events[-2])["usage"]
    cost = amount((9, 0, 2, 0))
    assert list(usage)[-2:] == ["cost_nano", "cost"] and usage["cost_nano"] == cost
    till.settled(1)


def test_a_stream_that_did_not_ask_for_usage_costs_the_same(till):
    raw = till.raw()
    raw.request("POST", CHAT, chat(stream=True))
    raw.head()
    assert raw.rest().events[-1] == b"[DONE]"
    assert till.settled(1)[0]["b"]["amount"] == str(amount((9, 0, 2, 0)))


@pytest.mark.parametrize("tokens", [(100, 60, 5, 0), (9, 0, 40, 30), (9, 9, 7, 7)])
def test_cached_and_reasoning_tokens_have_prices_of_their_own(till, tokens):
    t_in, cached, out, reasoning = tokens

    def answer(call):
        call.head(content_type="application/json")
        call.write(json.dumps({"id": "x", "object": "chat.completion", "choices": [], "usage": {"prompt_tokens": t_in}}))
        call.finish(prompt=t_in, completion=out, cached=cached, reasoning=reasoning)
    till.worker.answer = answer
    a = till.ask(chat("x" * 200))
    assert a.json["usage"]["cost_nano"] == amount(tokens)
    b = till.settled(1)[0]["b"]
    assert (b["in"], b["cached"], b["out"], b["reasoning"]) == tokens


def test_embeddings_are_charged_for_their_input(till):
    a = till.ask({"model": "fake-model", "input": "some text"}, "/v1/embeddings")
    assert a.status == 200 and a.json["usage"]["cost_nano"] == amount((3, 0, 0, 0)) > 0
    bill = till.settled(1)[0]
    assert bill["endpoint"] == "embeddings" and bill["b"]["out"] == 0


def test_several_choices_hold_for_all_of_them(till):
    seen = []

    def answer(call):
        seen.append(till.available)
        plain_answer(call)
    till.worker.answer = answer
    till.ask(n=3, max_tokens=100)
    till.settled(1)
    till.ask({"model": "fake-model", "prompt": ["a", "b"], "n": 2, "best_of": 4, "max_tokens": 100}, "/v1/completions")
    held = [RICH - seen[0], RICH - till.charged // 2 - seen[1]]
    assert amount((0, 0, 300, 0)) < held[0] < amount((0, 0, 300, 0)) + amount((1200, 0, 0, 0))
    assert amount((0, 0, 800, 0)) < held[1] < amount((0, 0, 800, 0)) + amount((1300, 0, 0, 0))


@pytest.mark.parametrize("outcome, tokens, charged", [
    ("rejected", (9, 0), 0),
    ("binding_mismatch", (9, 5), 0),
    ("stop", (9, 0), 0),  # generated nothing
    ("error", (9, 4), amount((9, 0, 4, 0))),
    ("length", (9, 4), amount((9, 0, 4, 0))),
])
def test_what_made_nothing_costs_nothing(till, outcome, tokens, charged):
    def answer(call):
        plain = json.dumps({"id": "x", "object": "chat.completion", "choices": [], "usage": {"prompt_tokens": 9}})
        call.head(content_type="application/json")
        call.write(plain)
        call.finish(prompt=tokens[0], completion=tokens[1], outcome=outcome)
    till.worker.answer = answer
    assert till.ask().json["usage"]["cost_nano"] == charged
    assert till.settled(1)[0]["b"]["amount"] == str(charged)


def test_a_minimum_is_charged(till):
    new_prices(till, {"fake-model": {**PRICES, "minimum": 5000, "per_request": 7}})
    assert till.ask().json["usage"]["cost_nano"] == 5000
    till.settled(1)


def test_what_the_worker_asks_multiplies_the_price_up_to_the_callers_bid(till):
    dear = till.peer(name="dearer", models=["dear-model"], about={"ask": 2500})
    try:
        new_prices(till, {"fake-model": PRICES, "dear-model": {**PRICES, "per_request": 7}})
        assert till.ask({**chat(), "model": "dear-model"}).status == 503  # the default bid is the price itself
        till.nothing_charged()
        a = till.ask({**chat(), "model": "dear-model", "max_coefficient": 3000})
        assert a.json["usage"]["cost_nano"] == amount((9, 0, 2, 0), {**PRICES, "per_request": 7}, 2500)
        assert till.settled(1)[0]["b"]["coefficient"] == 2500
    finally:
        dear.close()


# ---- What is not charged ----

def test_without_a_record_the_answer_is_given_and_costs_nothing(till):
    def answer(call):
        call.head(content_type="application/json")
        call.write(json.dumps({"id": "x", "object": "chat.completion", "choices": [], "usage": {"prompt_tokens": 9}}))
        call.finish(usage=False)
    till.worker.answer = answer
    a = till.ask()
    assert a.status == 200 and "cost_nano" not in a.json["usage"] and a.header("cocoon-cost-nano") is None
    till.nothing_charged()
    assert till.bills == []


@pytest.mark.parametrize("twist", ["signature", "call", "price", "resp"])
def test_a_record_that_is_not_of_this_answer_charges_nothing(till, twist):
    def answer(call):
        call.head(content_type="application/json")
        call.write(json.dumps({"id": "x", "object": "chat.completion", "choices": [], "usage": {"prompt_tokens": 9}}))
        more = {"signature": {}, "call": {"call": "0" * 32}, "price": {"price": "1;999999"}, "resp": {"resp": "A" * 43}}[twist]
        record = call.record(**more)
        jws = call.worker.sign({**call.record(), **more})
        if twist in ("signature", "call", "price"):
            call.raw(call.seal(b"\0\0", True))
            jws = call.worker.sign({**call.record(), **more})
        call.trailers(jws[:-4] + "AAAA" if twist == "signature" else jws) if twist != "resp" else call.finish(record={**record, **more})
    till.worker.answer = answer
    till.ask()
    till.nothing_charged()


def test_a_worker_that_dies_in_the_middle_is_paid_nothing(till):
    def answer(call):
        call.head()
        call.event(call.chunk({"content": "Hel"}))
        time.sleep(0.1)
        call.reset()
    till.worker.answer = answer
    raw = till.raw()
    raw.request("POST", CHAT, chat(stream=True))
    raw.head()
    assert raw.rest().ending != "complete"
    till.nothing_charged()


def test_a_call_that_nobody_takes_gives_its_hold_back(till):
    new_prices(till, {"fake-model": PRICES, "no-such-model": PRICES})
    assert till.ask(max_coefficient=1).status == 503  # nobody asks for so little
    till.nothing_charged()


def test_the_attempt_that_answered_is_charged_and_no_other(till):
    seen = []

    def answer(call):
        seen.append(call)
        if len(seen) == 1:
            call.head()
            return call.event({"error": {"message": "x", "type": "server_error", "param": None, "code": None}})
        return plain_answer(call)
    till.worker.answer = answer
    other = till.peer(name="other")
    other.answer = answer
    try:
        raw = till.raw()
        raw.request("POST", CHAT, chat(stream=True))
        raw.head()
        assert raw.rest().events[-1] == b"[DONE]"
        bill = till.settled(1)[0]
        assert bill["attempt"] == "1" and bill["b"]["attempt"] == 1
    finally:
        other.close()


def test_a_caller_who_leaves_pays_for_what_was_made(till):
    def answer(call):
        call.head()
        call.event(call.chunk({"content": "Hel"}))

    def cancelled(call):
        call.trailers(call.worker.sign(call.record(prompt=9, completion=5, outcome="client_abort", final=False)))
    till.worker.answer, till.worker.on_cancel = answer, cancelled
    raw = till.raw()
    raw.request("POST", CHAT, chat(stream=True))
    raw.head()
    raw.until(b"Hel")
    raw.close()
    assert till.settled(1)[0]["b"]["amount"] == str(amount((9, 0, 5, 0)))


# ---- A worker that lies ----

@pytest.mark.parametrize("claim, paid", [((2, 10**9), None), ((10**9, 2), None), ((9, 2), (9, 2))])
def test_nobody_is_paid_above_what_passed_through(till, claim, paid):
    body = chat("x" * 100, max_tokens=50)

    def answer(call):
        call.head(content_type="application/json")
        call.write(json.dumps({"id": "x", "object": "chat.completion", "choices": [], "usage": {"prompt_tokens": 9}}))
        call.finish(prompt=claim[0], completion=claim[1])
    till.worker.answer = answer
    a = till.ask(body)
    bill = till.settled(1)[0]
    b = bill["b"]
    most_in = len(json.dumps(body)) + 1024
    assert b["in"] <= most_in and b["out"] <= 50 and a.json["usage"]["cost_nano"] == int(b["amount"])
    assert (bill["u"]["in"], bill["u"]["out"]) == claim  # both numbers are kept
    if paid:
        assert (b["in"], b["out"]) == paid
    else:
        till.gateway.wait_log("event=usage_bounded")
        counted = lambda: any(till.purse.redis.hget(k, "usage_mismatches") for k in till.purse.redis.keys("standing:*"))  # noqa: E731
        wait_for(counted, "its standing falls")


# ---- What is refused ----

def test_an_empty_account_is_told_so_and_not_to_try_again(till):
    till.account = till.purse.account("poor", granted=100)
    a = till.ask(key=till.purse.key("poor"))
    assert a.status == 429 and a.error["code"] == a.error["type"] == "insufficient_quota"
    assert a.header("x-should-retry") == "false" and a.header("retry-after") is None
    till.nothing_charged()


def test_exactly_as_many_run_as_there_is_money_for(till):
    parked = []
    till.worker.answer = parked.append
    first = till.raw()
    first.request("POST", CHAT, chat())
    wait_for(lambda: parked, "it is held")
    ceiling = RICH - till.available
    till.account = till.purse.account("few", granted=3 * ceiling + ceiling // 2)
    key = till.purse.key("few")
    raws = [till.raw(key) for _ in range(7)]
    for raw in raws:
        raw.request("POST", CHAT, chat())
    wait_for(lambda: len(parked) == 4, "three more run")
    for call in parked:
        plain_answer(call)
    assert sorted(raw.head().status for raw in raws) == [200] * 3 + [429] * 4
    till.settled(3)


def test_rate_limits_are_openais(till):
    key = till.purse.key(till.account, limits={"requests_per_minute": 2, "tokens_per_minute": 100000})
    first, second, third = (till.ask(key=key, max_tokens=10) for _ in range(3))
    for a, left in ((first, "1"), (second, "0")):
        assert a.status == 200
        assert a.header("x-ratelimit-limit-requests") == "2" and a.header("x-ratelimit-remaining-requests") == left
        assert a.header("x-ratelimit-limit-tokens") == "100000" and int(a.header("x-ratelimit-remaining-tokens")) < 100000
    assert re.fullmatch(r"\d+(\.\d+)?s", first.header("x-ratelimit-reset-requests"))
    assert 25 < float(first.header("x-ratelimit-reset-requests")[:-1]) <= 30
    assert third.status == 429 and third.error["code"] == "rate_limit_exceeded" and third.error["type"] == "requests"
    assert third.header("x-ratelimit-remaining-requests") == "0"
    ms = int(third.header("retry-after-ms"))
    assert 25000 < ms <= 30000 and third.header("retry-after") == str(-(-ms // 1000))
    assert re.search(r"Please try again in 2\d(\.\d+)?s\.", third.error["message"])
    till.settled(2)


def test_tokens_of_a_minute_are_limited_and_those_not_used_come_back(till):
    key, parked = till.purse.key(till.account, limits={"tokens_per_minute": 1500}), []
    till.worker.answer = parked.append
    raw = till.raw(key)
    raw.request("POST", CHAT, chat(max_tokens=600))
    wait_for(lambda: parked, "one runs")
    a = till.ask(key=key, max_tokens=600)
    assert a.status == 429 and a.error["type"] == "tokens" and a.error["code"] == "rate_limit_exceeded"
    assert 5000 < int(a.header("retry-after-ms")) < 15000
    plain_answer(parked[0])
    till.settled(1)
    till.worker.answer = plain_answer
    assert till.ask(key=key, max_tokens=600).status == 200
    big = till.ask(key=key, max_tokens=1023, n=2)
    assert big.status == 429 and "too large" in big.error["message"] and big.header("x-should-retry") == "false"
    assert big.header("x-ratelimit-limit-tokens") == "1500" and 0 < int(big.header("x-ratelimit-remaining-tokens")) < 1500
    assert re.fullmatch(r"\d+(\.\d+)?m?s", big.header("x-ratelimit-reset-tokens")) and not big.header("retry-after")


def test_streams_at_a_time_are_limited(till):
    key = till.purse.key(till.account, limits={"streams": 1})
    till.worker.answer = lambda call: call.head()
    raw = till.raw(key)
    raw.request("POST", CHAT, chat(stream=True))
    wait_for(lambda: till.open_holds == 1, "one runs")
    a = till.ask(key=key)
    assert a.status == 429 and "at a time" in a.error["message"] and int(a.header("retry-after-ms")) == 1000
    raw.close()
    till.worker.answer = plain_answer
    wait_for(lambda: till.open_holds == 0, "it has ended")
    assert till.ask(key=key).status == 200


def test_a_used_up_budget_says_whose_it_is(till):
    key = till.purse.key(till.account, budgets={"day": "1000"})
    a = till.ask(key=key)
    assert a.status == 429 and a.error["code"] == "insufficient_quota" and "key's budget for today" in a.error["message"]
    assert a.header("x-should-retry") == "false"
    (_, event), = till.purse.redis.xrange("m1:events")
    assert (event["account"], event["of"], event["window"]) == (till.account, "k", "d") and len(event["key"]) == 12
    till.nothing_charged()


def record_of(till):
    records = map(json.loads, map(till.purse.redis.get, till.purse.redis.keys("key:*")))
    return next(r for r in records if r["account"] == till.account)


def test_a_revoked_key_stops_with_the_next_request(till):
    assert till.ask().status == 200
    record = record_of(till)
    till.purse.scripts.key(till.account, record["id"], record["version"] + 1)  # the slot knows it first
    at = next(k for k in till.purse.redis.keys("key:*") if json.loads(till.purse.redis.get(k))["id"] == record["id"])
    till.purse.redis.set(at, json.dumps({**record, "state": "revoked", "version": record["version"] + 1}))
    assert till.ask().status == 401  # no word on the channel, and the cache was fresh
    till.settled(1)


def test_a_key_with_new_limits_goes_on_with_them(till):
    assert till.ask().status == 200
    record = record_of(till)
    at = next(k for k in till.purse.redis.keys("key:*") if json.loads(till.purse.redis.get(k))["id"] == record["id"])
    till.purse.scripts.key(till.account, record["id"], record["version"] + 1)
    till.purse.redis.set(at, json.dumps({**record, "limits": {"requests_per_minute": 7}, "version": record["version"] + 1}))
    assert till.ask().header("x-ratelimit-limit-requests") == "7"


def test_a_model_without_a_price_is_not_for_sale(till):
    new_prices(till, {"another": PRICES})
    a = till.ask()
    assert a.status == 503 and a.error["code"] == "no_price" and a.header("retry-after") == "60"
    assert till.ask(key=till.stack.key_for_all()).status == 200


def test_a_suspended_account_is_told_so(till):
    till.purse.account(till.account, cfg="suspended||||||")
    a = till.ask()
    assert a.status == 403 and a.error["code"] == "account_suspended"


# ---- What can be asked ----

def test_a_bill_can_be_fetched_by_its_account_and_nobody_else(till):
    calls = [till.ask().header("cocoon-call") for _ in range(2)]
    first, second = till.settled(2)
    raw = till.raw()
    got = raw.ask("GET", f"/v1/billing/receipts/{calls[0]}").json
    assert got == {"call": calls[0], "bill": first["bill"], "usage": first["usage"]}
    listed = raw.ask("GET", "/v1/billing/receipts").json
    assert listed["object"] == "list" and [r["call"] for r in listed["data"]] == [calls[1], calls[0]]
    assert listed["data"][0]["bill"] == second["bill"]
    stranger = till.purse.key(till.purse.account("stranger"))
    assert till.raw(stranger).ask("GET", f"/v1/billing/receipts/{calls[0]}").status == 404
    assert till.raw(stranger).ask("GET", "/v1/billing/receipts").json["data"] == []
    assert till.raw(till.stack.key_for_all()).ask("GET", f"/v1/billing/receipts/{calls[0]}").status == 404


def test_the_workers_content_receipt_stands_beside_the_bill_for_a_key_that_has_it_kept(till):
    key = till.purse.key(till.account, receipts=True)
    calls = [till.ask(key=key).header("cocoon-call")]
    till.worker.content_receipt = 'a","bill":"b'  # of a worker that writes what is no JWS
    calls.append(till.ask(key=key).header("cocoon-call"))
    bills = till.settled(2)
    got = [till.raw(key).ask("GET", f"/v1/billing/receipts/{call}").json for call in calls]
    assert got == [{"call": calls[0], "bill": bills[0]["bill"], "usage": bills[0]["usage"], "receipt": "not.read.here"},
                   {"call": calls[1], "bill": bills[1]["bill"], "usage": bills[1]["usage"]}]


def test_the_evidence_behind_a_bill_stays_on_disk_beside_the_journal(till):
    settled = till.gateway.metric("cocoon_holds_settled_total")
    till.ask()
    wait_for(lambda: till.gateway.metric("cocoon_holds_settled_total") == settled + 1, "one more was settled", 3)
    usage = json.loads(unb64(till.settled(1)[0]["usage"].split(".")[1]))
    ks = unb64(usage["ks"]).hex()
    path = os.path.join(till.journal + ".evidence", ks[:2], ks + ".json")
    with open(path, "rb") as f:
        document = f.read()
    assert document in till.worker.documents and hashlib.sha256(base64.b64decode(json.loads(document)["keyset"])).hexdigest() == ks
    assert os.stat(path).st_mode & 0o777 == 0o600 and os.stat(till.journal + ".evidence").st_mode & 0o777 == 0o700
    kept = lambda: {f for _, _, files in os.walk(till.journal + ".evidence") for f in files}  # noqa: E731
    before = kept()
    till.purse.redis.delete(*till.purse.redis.keys("evidence:*"))
    till.worker.close()
    till.worker = till.peer()  # another keyset; the tests that follow have it
    wait_for(lambda: kept() > before, "both", 3)


def test_evidence_that_the_disk_does_not_take_is_told_and_ends_nothing(stack):
    with open(os.path.join(stack.folder, "gateway.journal.evidence"), "w"):
        pass  # a file where the folder should be
    till = Till(stack)
    assert till.ask().status == 200
    till.gateway.wait_log("evidence_lost")


def test_evidence_that_the_disk_refused_once_is_written_by_a_later_proof(stack):
    folder = os.path.join(stack.folder, "gateway.journal.evidence")
    with open(folder, "w"):
        pass
    till = Till(stack, **{"attestation.every_ms": 1000})
    till.gateway.wait_log("evidence_lost")
    os.unlink(folder)
    kept = lambda: [f for _, _, files in os.walk(folder) for f in files if f.endswith(".json")]  # noqa: E731
    (name,) = wait_for(kept, "the evidence", 8)
    path = os.path.join(folder, name[:2], name)
    with open(path, "rb") as f:
        document = json.loads(f.read())
    assert hashlib.sha256(base64.b64decode(document["keyset"])).hexdigest() + ".json" == name
    first, proofs = os.stat(path), len(till.worker.documents)
    wait_for(lambda: len(till.worker.documents) > proofs + 1, "more proofs", 8)
    assert kept() == [name] and os.stat(path).st_mtime_ns == first.st_mtime_ns


def test_a_bill_is_signed_by_the_published_key_over_the_published_prices(till):
    till.ask()
    bill = till.settled(1)[0]
    published = till.raw("").ask("GET", "/.well-known/cocoon.json").json
    (key,) = published["bill_keys"]
    assert key["instance"] == till.gateway.settings["instance"] and abs(key["since"] - os.stat(till.journal + ".key").st_mtime) <= 1
    assert published["price_books"][0] == published["prices"]
    assert till.raw("").ask("GET", "/.well-known/cocoon.json.sig").status == 404  # nobody has made a key for it
    header, body, signature = bill["bill"].split(".")
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(key["ed25519"])).verify(unb64(signature), f"{header}.{body}".encode())
    assert json.loads(unb64(header)) == {"alg": "EdDSA", "kid": key["kid"], "typ": "cgw-bill+jwt"}
    assert till.purse.redis.hget("bills:keys", key["kid"]) == key["ed25519"]
    book = till.raw("").ask("GET", "/v1/prices")
    digest = hashlib.sha256(book.body)
    assert published["prices"] == {"version": till.prices, "sha256": digest.hexdigest()}
    assert unb64(bill["b"]["price_sha256"]) == digest.digest()
    assert unb64(bill["b"]["usage"]) == hashlib.sha256(bill["usage"].encode()).digest()
    assert till.raw("").ask("GET", f"/v1/prices/{till.prices}").body == book.body
    for version in ("999999", "0", "x"):
        assert till.raw("").ask("GET", f"/v1/prices/{version}").status == 404
    for _ in range(17):
        new_prices(till, {"fake-model": PRICES})
    version = till.prices
    raw = till.raw("")
    books = lambda: raw.ask("GET", "/.well-known/cocoon.json").json["price_books"]  # noqa: E731
    wait_for(lambda: time.sleep(0.1) or [b["version"] for b in books()] == list(range(version, version - 16, -1)), "the last sixteen", 10)
    for b in books():
        assert b["sha256"] == hashlib.sha256(raw.ask("GET", f"/v1/prices/{b['version']}").body).hexdigest()


def test_a_balance_says_what_is_there_and_what_is_held(till):
    parked = []
    till.worker.answer = parked.append
    raw = till.raw()
    raw.request("POST", CHAT, chat())
    wait_for(lambda: parked, "one runs")
    b = till.raw().ask("GET", "/v1/billing/balance").json
    assert b["available_nano"] == till.available and b["available_nano"] + b["held_nano"] == RICH and b["charged_nano"] == 0
    plain_answer(parked[0])
    till.settled(1)
    b = till.raw().ask("GET", "/v1/billing/balance").json
    assert b == {"object": "billing.balance", "available_nano": till.available, "available": f"{till.available / 1e9:.9f}".rstrip("0"),
                 "held_nano": 0, "charged_nano": RICH - till.available}
    assert till.raw(till.stack.key_for_all()).ask("GET", "/v1/billing/balance").status == 404


def test_models_say_their_prices(till):
    (model,) = [m for m in till.raw().ask("GET", "/v1/models").json["data"] if m["id"] == "fake-model"]
    assert model["cocoon"]["prices"] == {"version": till.prices, **{k: str(v) for k, v in PRICES.items()}}


def test_the_admin_listener_counts_money(till):
    assert till.gateway.metric("cocoon_money_open") == 1
    till.ask()
    till.settled(1)
    assert till.gateway.metric("cocoon_holds") == 0
    assert till.gateway.metric("cocoon_bills_unconfirmed") >= 1
    assert till.gateway.metric("cocoon_journal_failing") == 0


# ---- Idempotency-Key ----

def again(till, name, body=None, key=None):
    return till.raw(key).ask("POST", CHAT, body or chat("Once"), [("Idempotency-Key", name)])


def test_the_same_request_runs_and_is_charged_once(till):
    assert again(till, "a").status == 200
    till.settled(1)
    a = again(till, "a")
    assert a.status == 409 and a.error["code"] == "idempotency_no_replay" and a.header("x-should-retry") == "false"
    b = again(till, "a", chat("Another"))
    assert b.status == 400 and b.error["code"] == "idempotency_key_reused"
    assert again(till, "b").status == 200
    till.settled(2)
    value = till.purse.redis.keys(f"m1:idem:{{{till.account}}}:*")
    assert len(value) == 2 and all(0 < till.purse.redis.pttl(v) <= 24 * 3600 * 1000 for v in value)


def test_who_reads_redis_cannot_try_prompts_against_what_is_kept(till):
    body, name = json.dumps(chat("Once")).encode(), "9d0c6b1e-5a4f"
    assert again(till, name).status == 200
    kept, = [till.purse.redis.get(v) for v in till.purse.redis.keys(f"m1:idem:{{{till.account}}}:*")]
    kept = kept if isinstance(kept, str) else kept.decode()
    for plain in (body, str(len(body)).encode() + body):
        assert hashlib.sha256(plain).hexdigest() not in kept
    assert name not in kept
    till.settled(1)


def test_while_the_first_runs_the_second_is_told_to_wait(till):
    parked = []
    till.worker.answer = parked.append
    raw = till.raw()
    raw.request("POST", CHAT, chat("Once"), [("Idempotency-Key", "c")])
    wait_for(lambda: parked, "the first runs")
    a = again(till, "c")
    assert a.status == 409 and a.error["code"] == "idempotency_in_progress" and int(a.header("retry-after-ms")) == 1000
    plain_answer(parked[0])
    assert raw.head().status == 200
    till.settled(1)


def test_what_did_not_run_may_come_again_and_accounts_do_not_meet(till):
    poor = till.purse.account("poor" + till.account, granted=10)
    key = till.purse.key(poor)
    assert again(till, "d", key=key).status == 429
    till.purse.account(poor, granted=RICH)
    wait_for(lambda: again(till, "d", key=key).status == 200, "it runs now")
    assert again(till, "d").status == 200  # another account's
    for bad in ("", "x" * 256, "a b"):
        assert again(till, bad).status == 400


def test_what_ran_until_its_own_time_was_over_is_charged_once(till):
    """The tokens made until then are paid for, so the same key does not run and pay again."""
    def cancelled(call):
        with call.tunnel.lock:
            call.begin()
            call.trailers(call.worker.sign(call.record(prompt=9, completion=5, outcome="client_abort", final=False)))
    till.worker.answer, till.worker.on_cancel = lambda call: None, cancelled
    body = {**chat("Once"), "timeout": 0.5}
    assert again(till, "e", body).status == 504
    assert till.settled(1)[0]["b"]["amount"] == str(amount((9, 0, 5, 0)))
    a = again(till, "e", body)
    assert a.status == 409 and a.error["code"] == "idempotency_no_replay"
    till.settled(1)


def test_a_whole_answer_is_given_though_its_time_ends_while_it_waits_for_its_cost(till):
    till.worker.answer = whole_and_recorded_later
    with till.late_records(1):
        assert again(till, "f", {**chat("Once"), "timeout": 0.5}).status == 200
        till.settled(1)
