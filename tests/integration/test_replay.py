"""Answers of requests with an Idempotency-Key that are kept, sealed, for the account that turned it on, and given again: to the same
request with the same API key, at any gateway, for nothing; and when there is nothing to give."""

import contextlib
import json
import os
import time

import pytest
import redis as redis_package

from conftest import live_stack
from purse import Till, whole_and_recorded_later
from stack import SLOW, chat, wait_for
from worker_peer import WorkerPeer, plain_answer

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
BYTES, SHARE = 20_000, 1 << 20
PROMPT, ANSWER = "planted-prompt-91c4-ибис", "planted-answer-3e07-цапля-🦩"
SETTINGS = {"billing.replay_bytes": BYTES, "billing.replay_account_bytes": SHARE}


@pytest.fixture(scope="module")
def shop():
    """Two gateways over one Redis, a worker of the tests' own at each."""
    for stack in live_stack("shop"):
        till = Till(stack, **SETTINGS)
        till.second = stack.gateway("second", **{"billing.journal": os.path.join(stack.folder, "second.journal"),
                                                 "redis.command_ms": 1000 * SLOW, **SETTINGS})
        other = WorkerPeer(stack.folder, till.second.tunnel, bytes.fromhex(stack.operator.pin), name="other")
        other.dial()
        wait_for(lambda: any(v["state"] == "ready" for v in till.second.status["workers"]), "the second peer is ready", 5)
        till.bytes = redis_package.Redis(port=stack.redis.port, socket_timeout=5)
        till.workers = [till.worker, other]
        yield till
        for w in till.workers:
            w.close()


@pytest.fixture
def till(shop):
    shop.account = shop.purse.account("r" + os.urandom(4).hex())
    shop.key = shop.purse.key(shop.account, replay_answers=True)
    for w in shop.workers:
        w.answer, w.on_cancel = plain_answer, w.plain_cancel
        w.calls.clear()
    return shop


def ask(till, name, body=None, key=None, gateway=None, path=CHAT, **headers):
    with till.stack.raw(gateway, key=key or till.key) as raw:
        return raw.ask("POST", path, body or chat(PROMPT), {"Idempotency-Key": name, **headers})


WAITS = b"wait"
LATE = 3 * SLOW  # after the 2.5 s that an answer waits for its cost


def answers(till):
    """What stands in Redis in their places."""
    return {k: till.bytes.get(k) for k in till.bytes.keys(f"m1:answer:{{{till.account}}}:*")}


def kept(till):
    """What Redis keeps of the account's answers."""
    return {k: v for k, v in answers(till).items() if v != WAITS}


def wait_kept(till, count=1):
    return wait_for(lambda: (k := kept(till)) and len(k) == count and k, f"{count} kept answers")


def ran(till):
    return sum(len(w.calls) for w in till.workers)


def no_replay(a):
    assert (a.status, a.error["code"], a.header("x-should-retry")) == (409, "idempotency_no_replay", "false"), a.body
    assert a.header("cocoon-replayed") is None
    return True


def say(text):
    """A worker's answer in UTF-8, as engines write it."""
    def answer(call):
        usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
        if not call.asked.get("stream"):
            call.head(content_type="application/json")
            message = {"role": "assistant", "content": text, "refusal": None}
            whole = json.dumps({"id": "chatcmpl-peer", "object": "chat.completion", "created": 1, "model": "fake-model", "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}], "usage": usage}, ensure_ascii=False).encode()
            for i in range(0, len(whole), 5000):
                call.write(whole[i:i + 5000])
            return call.finish()
        call.head()
        pieces = [{"content": text[i:i + 1000]} for i in range(0, len(text), 1000)]
        for delta, end in (({"role": "assistant", "content": ""}, None), *((p, None) for p in pieces), ({}, "stop")):
            call.event(json.dumps(call.chunk(delta, end), ensure_ascii=False))
        if dict(call.fields)["cocoon-include-usage"] == "?1":
            call.event(json.dumps(call.chunk(usage=usage)))
        call.event("[DONE]")
        return call.finish()
    return answer


# ---- What is given again ----

def test_a_whole_answer_is_given_again_and_costs_nothing(till):
    till.worker.answer = say(ANSWER)
    first = ask(till, "a")
    assert first.status == 200 and ANSWER in first.body.decode() and first.header("cocoon-replayed") is None
    till.settled(1)
    wait_kept(till)
    for gateway in (till.gateway, till.second):
        a = ask(till, "a", gateway=gateway)
        assert (a.status, a.body, a.header("cocoon-replayed")) == (200, first.body, "true")
        for same in ("content-type", "cocoon-call", "cocoon-cost-nano", "cocoon-attestation", "cocoon-privacy"):
            assert a.header(same) == first.header(same), same
        assert a.header("x-request-id") != first.header("x-request-id")
        assert a.header("content-length") == str(len(first.body))
    till.settled(1)
    assert ran(till) == 1
    assert till.gateway.metric("cocoon_replays_total") >= 1 and till.gateway.metric("cocoon_answers_kept_total") >= 1


@pytest.mark.parametrize("usage", (False, True))
def test_a_stream_is_given_again_as_a_stream_to_the_byte(till, usage):
    till.worker.answer = say(ANSWER * 20)
    body = chat(PROMPT, stream=True, **({"stream_options": {"include_usage": True}} if usage else {}))
    first = ask(till, "s", body)
    assert first.status == 200 and first.ending == "complete" and first.events[-1] == b"[DONE]"
    cost = till.settled(1)[0]["b"]["amount"]
    wait_kept(till)
    for gateway in (till.gateway, till.second):
        a = ask(till, "s", body, gateway=gateway)
        assert (a.status, a.ending, a.body) == (200, "complete", first.body)
        assert a.header("content-type") == first.header("content-type") == "text/event-stream; charset=utf-8"
        assert (a.header("cocoon-replayed"), a.header("cocoon-call")) == ("true", first.header("cocoon-call"))
        assert a.header("cocoon-cost-nano") == cost and a.header("transfer-encoding") == "chunked"
    till.settled(1)
    assert ran(till) == 1


def test_another_body_is_another_body_and_another_path_has_no_answer(till):
    body = {**chat(PROMPT), "prompt": PROMPT}
    assert ask(till, "b", body).status == 200
    wait_kept(till)
    a = ask(till, "b", {**body, "stream": True})
    assert (a.status, a.error["code"]) == (400, "idempotency_key_reused")
    assert no_replay(ask(till, "b", body, path=TEXT))
    assert ask(till, "b", body).status == 200
    till.settled(1)


def test_who_demands_more_of_the_worker_is_not_given_what_was_made_for_less(till):
    assert ask(till, "z").status == 200
    till.settled(1)
    wait_kept(till)
    assert no_replay(ask(till, "z", **{"Cocoon-Require": "tee=tdx"}))
    assert ask(till, "z").header("cocoon-replayed") == "true"


def test_a_replay_is_a_request_of_its_minute(till):
    key = till.purse.key(till.account, replay_answers=True, limits={"requests_per_minute": 3, "tokens_per_minute": 20_000})
    first = ask(till, "m", {**chat(PROMPT), "max_tokens": 5}, key)
    assert first.status == 200 and first.header("x-ratelimit-remaining-requests") == "2"
    till.settled(1)
    wait_kept(till)
    again = [ask(till, "m", {**chat(PROMPT), "max_tokens": 5}, key) for _ in range(3)]
    assert [a.status for a in again] == [200, 200, 429] and again[2].error["code"] == "rate_limit_exceeded"
    assert [a.header("x-ratelimit-remaining-requests") for a in again[:2]] == ["1", "0"]
    assert again[1].header("x-ratelimit-remaining-tokens") >= first.header("x-ratelimit-remaining-tokens")
    till.settled(1)


def test_an_account_without_money_is_given_what_it_has_paid(till):
    first = ask(till, "p")
    assert first.status == 200
    cost = int(first.header("cocoon-cost-nano"))
    till.settled(1)
    wait_kept(till)
    till.purse.account(till.account, granted=cost)
    assert till.available == 0 and ask(till, "other").status == 429
    assert ask(till, "p").body == first.body
    till.purse.account(till.account, cfg="suspended||||||", granted=cost)
    assert ask(till, "p").status == 403


def test_an_answer_whose_caller_left_before_its_last_bytes_is_there_for_him(till):
    """The record comes late, the caller leaves meanwhile: the answer was complete, and is paid."""
    held = []

    def answer(call):
        whole_and_recorded_later(call)
        held.append(call)
    till.worker.answer = answer
    with till.late_records(0.6):
        raw = till.stack.raw(key=till.key)
        raw.request("POST", CHAT, chat(PROMPT), {"Idempotency-Key": "left"})
        wait_for(lambda: held, "the answer is there")
        time.sleep(0.1)
        raw.reset()
        wait_for(lambda: till.gateway.status["calls"] == 0, "the caller has left")
        bill = till.settled(1)[0]["b"]
        wait_kept(till)
        a = ask(till, "left")
        assert a.status == 200 and a.json["id"] == "x" and a.header("cocoon-cost-nano") == bill["amount"]
        assert ran(till) == 1


@contextlib.contextmanager
def streams_now_and_is_recorded_later(till, record, after):
    """Inside, an answer's record (False: none) comes so many seconds after its stream has ended."""
    def answer(call):
        call.head()
        call.event(call.chunk({"role": "assistant", "content": "Hello"}))
        call.event(call.chunk({}, "stop"))
        call.event("[DONE]")
        call.raw(call.seal(b"\0\0", True))
        call.worker.records = [call.worker.sign(call.record())] if record else []
        call.trailers(None)
    till.worker.answer = answer
    with till.late_records(after):
        yield


def in_progress(a):
    assert (a.status, a.error["code"]) == (409, "idempotency_in_progress"), a.body
    assert a.header("x-should-retry") != "false" and a.header("retry-after-ms") == "1000"
    return True


def test_between_its_end_and_its_charge_an_answer_is_worth_waiting_for(till):
    with streams_now_and_is_recorded_later(till, record=True, after=2.5 + LATE):
        body = chat(PROMPT, stream=True)
        first = ask(till, "between", body)
        assert first.status == 200 and first.events[-1] == b"[DONE]"
        (place, value), = wait_for(lambda: answers(till).items(), "its place")
        assert value == WAITS and 0 < till.bytes.pttl(place) <= 60_000
        at, = till.purse.redis.keys(f"m1:idem:{{{till.account}}}:*")
        assert till.purse.redis.get(at).split("|")[1] == "done" and till.purse.redis.pttl(at) > 23 * 3600 * 1000
        for gateway in (till.gateway, till.second):
            assert in_progress(ask(till, "between", body, gateway=gateway))
        till.settled(1)
        wait_kept(till)
        for gateway in (till.gateway, till.second):
            assert ask(till, "between", body, gateway=gateway).body == first.body
        assert ran(till) == 1


def test_an_answer_that_will_never_be_charged_is_not_waited_for(till):
    with streams_now_and_is_recorded_later(till, record=False, after=2.5 + LATE):
        body = chat(PROMPT, stream=True)
        assert ask(till, "never", body).status == 200
        assert in_progress(ask(till, "never", body))
        till.nothing_charged()
        assert no_replay(ask(till, "never", body)) and not answers(till) and ran(till) == 1


@pytest.mark.parametrize("how", ("killed", "stopped"))
def test_a_gateway_that_ends_before_the_charge_leaves_no_one_waiting_for_long(till, how):
    """It says so, or its place in Redis ends by itself; the key itself stays known as run."""
    third = till.stack.gateway(how, **{"billing.journal": os.path.join(till.stack.folder, f"{how}.journal"),
                                       "redis.command_ms": 1000 * SLOW, **SETTINGS})
    peer = WorkerPeer(till.stack.folder, third.tunnel, bytes.fromhex(till.stack.operator.pin), name=how)
    peer.dial()
    wait_for(lambda: any(v["state"] == "ready" for v in third.status["workers"]), "the peer is ready", 5)
    mine, till.worker = till.worker, peer
    try:
        with streams_now_and_is_recorded_later(till, record=True, after=30):
            body = chat(PROMPT, stream=True)
            assert ask(till, "brief", body, gateway=third).status == 200
            wait_for(lambda: answers(till), "its place")
            if how == "killed":
                third.kill()
                assert in_progress(ask(till, "brief", body, gateway=till.second))
                (place, value), = answers(till).items()
                assert value == WAITS and 0 < till.bytes.pttl(place) <= 60_000
                till.bytes.pexpire(place, 1)
            else:
                assert third.stop(20) == 0
            assert wait_for(lambda: not answers(till), "its place has ended", 2) and no_replay(ask(till, "brief", body))
    finally:
        till.worker = mine
        peer.close()


def test_where_nobody_serves_the_model_any_more_its_answer_is_given_all_the_same(till):
    first = ask(till, "alone")
    till.settled(1)
    wait_kept(till)
    third = till.stack.gateway("third", **{"billing.journal": os.path.join(till.stack.folder, "third.journal"),
                                           "redis.command_ms": 1000 * SLOW, **SETTINGS})
    a = wait_for(lambda: (a := ask(till, "alone", gateway=third)) and a.status != 503 and a, "it is open")
    assert (a.status, a.body, a.header("cocoon-replayed")) == (200, first.body, "true")
    for _ in range(2):  # what was refused may come again
        a = ask(till, "nobody", gateway=third)
        assert (a.status, a.error["code"]) == (503, "no_capacity")
    assert ask(till, "nobody").status == 200
    till.settled(2)


def test_an_answer_costs_nothing_where_its_model_has_no_price_any_more(till):
    first = ask(till, "priced")
    till.settled(1)
    wait_kept(till)
    prices = till.purse.prices
    try:
        till.purse.set_prices({"other": next(iter(prices.values()))}, version=2)
        wait_for(lambda: ask(till, f"unpriced-{time.monotonic()}").status != 200, "the price is gone")
        a = ask(till, "priced")
        assert (a.status, a.body, a.header("cocoon-cost-nano")) == (200, first.body, first.header("cocoon-cost-nano"))
    finally:
        till.purse.set_prices(prices, version=3)
        wait_for(lambda: ask(till, f"priced-{time.monotonic()}").status == 200, "the price is back")


# ---- What is not ----

def test_nothing_is_kept_where_the_account_did_not_ask_for_it(till):
    key = till.purse.key(till.account)
    assert ask(till, "o", key=key).status == 200
    till.settled(1)
    assert no_replay(ask(till, "o", key=key)) and no_replay(ask(till, "o"))
    assert not kept(till)


def key_name(till):
    redis = till.purse.redis
    record, = [r for r in map(json.loads, map(redis.get, redis.keys("key:*"))) if r["account"] == till.account]
    return record["name"]


def test_turned_off_there_is_no_replay_and_on_again_there_is(till):
    name = key_name(till)
    first = ask(till, "t")
    till.settled(1)
    wait_kept(till)
    till.purse.change(till.account, name, replay_answers=False)
    wait_for(lambda: ask(till, "t").status == 409 and no_replay(ask(till, "t")), "it is off")
    till.purse.change(till.account, name, replay_answers=True)
    wait_for(lambda: ask(till, "t").body == first.body, "it is on again")


def test_turned_off_unheard_nothing_more_is_kept(till):
    """The call begins as one whose answer is kept; that it is not, it hears from the account."""
    assert ask(till, "heard").status == 200
    till.settled(1)
    wait_kept(till)
    till.purse.change(till.account, key_name(till), told=False, replay_answers=False)
    assert ask(till, "unheard").status == 200
    till.settled(2)
    redis, values = till.purse.redis, f"m1:idem:{{{till.account}}}:*"
    wait_for(lambda: [v.split("|")[1] for v in redis.mget(redis.keys(values))] == ["done"] * 2, "both have ended")
    assert no_replay(ask(till, "unheard")) and len(answers(till)) == 1


def test_turned_off_unheard_nothing_more_is_given(till):
    assert ask(till, "given").status == 200
    till.settled(1)
    wait_kept(till)
    till.purse.change(till.account, key_name(till), told=False, replay_answers=False)
    assert no_replay(ask(till, "given"))


def test_another_secret_of_the_account_opens_nothing(till):
    first = ask(till, "k")
    till.settled(1)
    wait_kept(till)
    other = till.purse.key(till.account, replay_answers=True)
    for gateway in (till.gateway, till.second):
        assert no_replay(ask(till, "k", key=other, gateway=gateway))
    assert ask(till, "k").body == first.body


def test_an_answer_above_the_bound_is_not_kept_and_one_below_is(till):
    name = "n"
    till.worker.answer = say("x" * BYTES)
    for body in (chat(PROMPT), chat(PROMPT, stream=True)):
        name += "n"
        a = ask(till, name, body)
        assert a.status == 200 and len(a.body) > BYTES
        assert no_replay(ask(till, name, body))
    till.settled(2)
    till.worker.answer = say("x" * (BYTES - 2000))
    assert ask(till, "below").status == 200
    till.settled(3)
    wait_kept(till, 1)
    assert ask(till, "below").header("cocoon-replayed") == "true"


def test_an_account_keeps_its_share_and_the_oldest_go_first(till):
    till.worker.answer = say("x" * (BYTES - 2000))
    most = SHARE // (BYTES - 2000)
    names = [f"f{i}" for i in range(most + 8)]
    for name in names:
        assert ask(till, name).status == 200
    till.settled(len(names))

    def settled():
        sizes = [len(v) for v in kept(till).values()]
        return sum(sizes) <= SHARE + BYTES and len(sizes)
    count = wait_for(lambda: settled(), "the oldest have gone")
    assert most - 3 <= count <= most + 1
    assert no_replay(ask(till, names[0])) and no_replay(ask(till, names[3]))
    assert all(ask(till, n).status == 200 for n in names[-3:])
    assert ran(till) == len(names)
    line = f"m1:answers:{{{till.account}}}"
    assert till.bytes.zcard(line) <= count + 1 and 0 < till.bytes.pttl(line) <= 24 * 3600 * 1000


@pytest.mark.parametrize("how", ("flipped", "cut", "short", "empty", "other", "removed"))
def test_what_redis_has_been_made_to_say_is_never_an_answer(till, how):
    assert ask(till, "x").status == 200
    (at, was), = wait_kept(till).items()
    assert ask(till, "y").status == 200
    till.settled(2)
    (_, other), = [(k, v) for k, v in wait_kept(till, 2).items() if k != at]
    value = {"flipped": was[:40] + bytes([was[40] ^ 1]) + was[41:], "cut": was[:-1], "short": was[:20], "empty": b"", "other": other}.get(how)
    if value is None:
        till.bytes.delete(at)
    else:
        till.bytes.set(at, value)
    for gateway in (till.gateway, till.second):
        assert no_replay(ask(till, "x", gateway=gateway))
    till.bytes.set(at, was)
    assert ask(till, "x").status == 200
    assert ran(till) == 2


def test_an_answer_under_the_name_of_another_call_does_not_open(till):
    """Whoever writes Redis changes the value beside it: another call, another body."""
    assert ask(till, "v").status == 200
    till.settled(1)
    wait_kept(till)
    at, = till.purse.redis.keys(f"m1:idem:{{{till.account}}}:*")
    body, state, call = till.purse.redis.get(at).split("|")
    for bad in (f"{body}|{state}|{'0' * 32}", f"{body}|{state}|", f"{body}|{state}|{'0' * 99}"):
        till.purse.redis.set(at, bad)
        assert no_replay(ask(till, "v"))
    till.purse.redis.set(at, f"{body}|{state}|{call}")
    assert ask(till, "v").status == 200


def test_a_broken_stream_is_not_kept(till):
    def breaks(call):
        call.head()
        call.event(call.chunk({"role": "assistant", "content": "Hel"}))
        call.event({"error": {"message": "x", "type": "server_error", "param": None, "code": "worker_error"}})
        call.event("[DONE]")
        call.finish()

    def stops(call):
        call.head()
        call.event(call.chunk({"role": "assistant", "content": "Hel"}))
        time.sleep(0.1)
        call.reset()
    for name, answer in (("e1", breaks), ("e2", stops)):
        till.worker.answer = answer
        a = ask(till, name, chat(PROMPT, stream=True))
        assert a.status == 200 and a.ending != "complete"
        till.worker.answer = plain_answer
        assert no_replay(ask(till, name, chat(PROMPT, stream=True)))
    wait_for(lambda: till.open_holds == 0, "all is settled")
    assert not kept(till)


def test_a_caller_who_leaves_in_the_middle_pays_once_and_nothing_runs_again(till):
    def part(call):
        call.head()
        call.event(call.chunk({"role": "assistant", "content": "Hel"}))

    def cancelled(call):
        with call.tunnel.lock:
            call.trailers(call.worker.sign(call.record(prompt=9, completion=5, outcome="client_abort", final=False)))
    till.worker.answer, till.worker.on_cancel = part, cancelled
    raw = till.stack.raw(key=till.key)
    raw.request("POST", CHAT, chat(PROMPT, stream=True), {"Idempotency-Key": "mid"})
    raw.head()
    raw.until(b"Hel")
    raw.reset()
    till.settled(1)
    assert no_replay(ask(till, "mid", chat(PROMPT, stream=True)))
    assert not kept(till) and ran(till) == 1


def test_an_answer_without_a_record_is_not_kept(till):
    def free(call):
        call.head(content_type="application/json")
        call.write(json.dumps({"id": "x", "object": "chat.completion", "choices": [], "usage": {"prompt_tokens": 9}}))
        call.finish(usage=False)
    till.worker.answer = free
    assert ask(till, "free").status == 200
    till.nothing_charged()
    assert no_replay(ask(till, "free")) and not kept(till)


def test_a_body_that_is_known_by_its_ends_alone_has_no_answer_kept(till):
    body = chat("a" * 600_000 + "b" * 600_000)
    assert ask(till, "long", body).status == 200
    till.settled(1)
    assert no_replay(ask(till, "long", body)) and not kept(till)


# ---- Redis ----

def test_who_reads_redis_or_the_logs_finds_neither_prompt_nor_answer(till):
    till.worker.answer = say(ANSWER)
    for name, body in (("w", chat(PROMPT)), ("st", chat(PROMPT, stream=True))):
        assert ask(till, name, body).status == 200
    till.settled(2)
    sealed = wait_kept(till, 2)
    for name, body in (("w", chat(PROMPT)), ("st", chat(PROMPT, stream=True))):
        assert ask(till, name, body).header("cocoon-replayed") == "true"
    words = [form for w in (PROMPT, ANSWER) for form in (w.encode(), json.dumps(w)[1:-1].encode(), w.encode().hex().encode())]
    words += [b"planted-", b"chat.completion", till.key[10:].encode(), till.key[20:40].encode()]
    till.bytes.config_set("save", "")
    till.bytes.config_set("rdbcompression", "no")
    till.bytes.save()
    with open(os.path.join(till.stack.folder, "dump.rdb"), "rb") as f:
        dump = f.read()
    assert all(v in dump for v in sealed.values())
    for place, data in {"redis": dump, **{p.name: p.log_text.encode() for p in till.stack.processes}}.items():
        assert [w for w in words if w in data] == [], place


def test_an_answer_lives_as_long_as_the_key_s_value(till):
    assert ask(till, "ttl").status == 200
    wait_kept(till)
    lives = [till.bytes.pttl(k) for k in (*kept(till), *till.bytes.keys(f"m1:idem:{{{till.account}}}:*"))]
    assert len(lives) == 2 and all(24 * 3600 * 1000 - 60_000 < v <= 24 * 3600 * 1000 for v in lives)
    till.settled(1)


def test_a_redis_that_does_not_say_is_asked_again_later(till):
    first = ask(till, "q")
    till.settled(1)
    (at, was), = wait_kept(till).items()
    till.bytes.delete(at)
    till.bytes.rpush(at, b"refuses to be read")
    a = ask(till, "q")
    assert a.status == 503 and a.error["code"] == "service_unavailable" and int(a.header("retry-after-ms")) > 0
    till.bytes.delete(at)
    till.bytes.set(at, was)
    assert ask(till, "q").body == first.body


def test_an_answer_that_redis_refuses_is_given_and_charged_and_not_kept(till):
    line = f"m1:answers:{{{till.account}}}"
    till.bytes.set(line, b"refuses to be written")
    a = ask(till, "r")
    assert a.status == 200
    till.settled(1)
    till.gateway.wait_log(f"answer_not_kept call={a.header('cocoon-call')} why=refused")
    assert no_replay(ask(till, "r")) and not kept(till)
    till.bytes.delete(line)
    assert ask(till, "r2").status == 200
    wait_kept(till)
    till.settled(2)


def test_an_answer_whose_value_is_another_s_by_then_is_not_kept(till):
    """As after a Redis that was emptied while the call ran."""
    parked = []
    till.worker.answer = parked.append
    raw = till.stack.raw(key=till.key)
    raw.request("POST", CHAT, chat(PROMPT), {"Idempotency-Key": "gone"})
    wait_for(lambda: parked, "it runs")
    at, = till.bytes.keys(f"m1:idem:{{{till.account}}}:*")
    till.bytes.set(at, "another's")
    plain_answer(parked[0])
    assert raw.head().status == 200
    call = raw.rest().header("cocoon-call")
    till.settled(1)
    till.gateway.wait_log(f"answer_not_kept call={call} why=other")
    assert not kept(till) and till.bytes.get(at) == b"another's"


def test_all_that_run_together_take_no_more_memory_than_there_is_for_answers(stack):
    """Streams that are open at the same time: what has no room is not kept, and is given all the same."""
    till = Till(stack, worker=False, **{"billing.replay_bytes": 1024})
    crowd, parked, peers = 320, [], []
    for i in range(4):  # a tunnel carries a hundred at a time
        w = WorkerPeer(stack.folder, till.gateway.tunnel, bytes.fromhex(stack.operator.pin), name=f"peer-{i}")
        w.max, w.answer = 100, parked.append
        peers.append(w.dial())
    wait_for(lambda: till.gateway.accepting == 4, "the peers are ready")
    try:
        till.key = till.purse.key(till.account, replay_answers=True)
        raws = [till.raw() for _ in range(crowd)]
        for i, raw in enumerate(raws):
            raw.request("POST", CHAT, chat(stream=True), {"Idempotency-Key": f"crowd-{i}"})
        wait_for(lambda: len(parked) == crowd, "all run", 20)
        for call in list(parked):
            call.head()
            call.event(call.chunk({"role": "assistant", "content": "x" * 700}))
        for raw in raws:
            raw.head()
            raw.until(b"xxx")
        for call in list(parked):
            call.event("[DONE]")
            call.finish()
        answers = [raw.rest() for raw in raws]
        assert all(a.status == 200 and a.ending == "complete" and a.events[-1] == b"[DONE]" for a in answers)
        most = 256 * 1024 // (len(answers[0].body) - len(b"data: [DONE]\n\n"))
        assert most < crowd
        till.settled(crowd)
        kept = wait_for(lambda: till.gateway.metric("cocoon_answers_kept_total") >= most - 20 and till.gateway.metric("cocoon_answers_kept_total"), "kept")
        assert kept <= most
        again = till.raw().ask("POST", CHAT, chat(stream=True), {"Idempotency-Key": "crowd-0"})
        assert again.status == 200 and again.body == answers[0].body
        # There is room again.
        for w in peers:
            w.answer = plain_answer
        assert till.raw().ask("POST", CHAT, chat(), {"Idempotency-Key": "later"}).status == 200
        wait_for(lambda: till.gateway.metric("cocoon_answers_kept_total") == kept + 1, "the next is kept")
    finally:
        for w in peers:
            w.close()
