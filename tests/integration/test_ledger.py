"""cocoon-ledger with real gateways: money in, requests billed, books exact, whatever is lost or killed meanwhile."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import threading
import time

import pytest

from conftest import live_stack
from ledger_stack import PRICES, Ledger, start_ledger
from stack import BIN, SLOW, chat, script, wait_for

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def office():
    """A ledger, a gateway, a worker: for tests that break none of them; each has an account of its own."""
    for stack in live_stack("office"):
        stack.ledger = start_ledger(stack)
        stack.ledger.prices()
        stack.engine()
        stack.gateway(**{"billing.journal": os.path.join(stack.folder, "gateway.journal")})
        stack.worker()
        yield stack.wait_ready()


@pytest.fixture
def acme(office):
    name = "a" + os.urandom(4).hex()
    office.ledger.account(name, 10**9)
    return name


def ask(stack, key, body=None, gateway=0):
    with stack.raw(stack.gateways[gateway], key=key) as raw:
        return raw.ask("POST", CHAT, body or chat())


def get(stack, key, path):
    with stack.raw(key=key) as raw:
        return raw.ask("GET", path)


# ---- Shares ----

@pytest.mark.parametrize("slots, least, most", [(1, 17, 19), (4, 16, 20)])
def test_accounts_share_slots_by_their_weights(stack, slots, least, most):
    """Two accounts want more than a worker has: of 24 turns the one of weight 300 has three quarters."""
    ledger = stack.ledger = start_ledger(stack)
    ledger.prices()
    engine = stack.engine()
    gateway = stack.gateway(**{"billing.journal": os.path.join(stack.folder, "gateway.journal")})
    stack.worker(max_requests=slots)
    stack.wait_ready()
    for name in ("heavy", "light"):
        ledger.account(name, 10**9)
    keys = {name: ledger.key(name, name=name) for name in ("heavy", "light")}
    ledger.ctl("accounts", "set", "heavy", "--weight", "300")
    assert ledger.good("GET", "/v1/accounts/heavy")["weight"] == 300
    records = lambda: {r["account"]: r for r in map(json.loads, map(stack.redis.client.get, stack.redis.client.keys("key:*")))}  # noqa: E731
    wait_for(lambda: records()["heavy"].get("weight") == 300, "the key's record has it")
    assert "weight" not in records()["light"]
    stack.key("--account", "nobody", "--weight", "50")
    wait_for(lambda: records()["nobody"]["weight"] == 50, "without a ledger the key has it")

    def begin(account, seconds):
        raw = stack.raw(key=keys[account])
        raw.request("POST", CHAT, chat(script("late_head", seconds=seconds, marker=f"{account}.")))
        return raw
    raws = [begin("light", 1.5) for _ in range(slots)]
    wait_for(lambda: len(engine.requests) == slots, "all slots are taken")
    for _ in range(25):
        raws += [begin("light", 0.1), begin("heavy", 0.1)]
    wait_for(lambda: gateway.status["queue"] == 50, "all others wait")
    for raw in raws:
        assert raw.head().status == 200
        raw.rest()
        raw.close()
    turns = [b"heavy" in r.body for r in engine.requests[slots:slots + 24]]
    assert least <= sum(turns) <= most, "".join("h" if t else "l" for t in turns)
    for bad in ("0", "1001"):
        assert ledger.ctl("accounts", "set", "heavy", "--weight", bad, check=False).returncode != 0


# ---- A request's way into the books ----

def test_a_request_is_charged_billed_and_in_the_books_to_the_nano(office, acme):
    ledger, key = office.ledger, office.ledger.key(acme, name="k")
    costs = []
    for _ in range(3):
        a = ask(office, key)
        assert a.status == 200, a.body
        costs.append(a.json["usage"]["cost_nano"])
    wait_for(lambda: len(ledger.bills(acme)) == 3, "the bills in the books")
    assert ledger.balance(acme) == 10**9 - sum(costs)
    assert sorted(int(b["amount"]) for b in ledger.bills(acme)) == sorted(costs)
    assert all(int(b["fee"]) == int(b["amount"]) - int(b["amount"]) * 9500 // 10000 for b in ledger.bills(acme))
    ledger.verify()


def test_verifying_while_requests_run_finds_nothing_wrong(office, acme):
    ledger, key = office.ledger, office.ledger.key(acme)
    over = threading.Event()

    def many():
        while not over.is_set():
            ask(office, key)

    threads = [threading.Thread(target=many) for _ in range(3)]
    for t in threads:
        t.start()
    try:
        for _ in range(4):
            ledger.verify()
        wait_for(lambda: ledger.verify() and len(ledger.bills(acme)) > 5, "some bills, and nothing wrong", 30)
    finally:
        over.set()
        for t in threads:
            t.join()


def wrong_in_redis(office):
    """The checks that are not good, with their differences and the first sentence."""
    status, answer = office.ledger.api("GET", "/v1/verify")
    assert status == 200 and answer["good"] == all(c["good"] for c in answer["checks"])
    return {c["check"]: (c["difference"], c["detail"]) for c in answer["checks"] if not c["good"]}


def settled(office, account):
    """A call that was paid for and is in the books: its id, the account's key in Redis, the hold's."""
    assert ask(office, office.ledger.key(account)).status == 200
    wait_for(lambda: len(office.ledger.bills(account)) == 1, "the bill in the books", 30)
    call = office.ledger.bills(account)[0]["call"]
    return call, "m1:acct:{%s}" % account, "m1:hold:{%s}:%s" % (account, call)


def test_what_redis_says_wrong_is_named_alone(office, acme):
    """Each case is put right again before the next one."""
    redis = office.redis.client
    call, purse, hold = settled(office, acme)
    row, holds = redis.get(hold), "m1:holds:{%s}" % acme
    state, held, charged, attempt, rest = row.split("|", 4)
    assert state == "settled" and wrong_in_redis(office) == {}

    def says(name, change, back):
        change()
        wrong = wrong_in_redis(office)
        back()
        assert list(wrong) == [name], wrong
        return wrong[name]

    put = lambda *fields: redis.set(hold, "|".join((*fields, rest)), keepttl=True)
    right = lambda: redis.set(hold, row, keepttl=True)
    assert says("I3", lambda: redis.zadd(holds, {call: 2**52}), lambda: redis.zrem(holds, call)) == \
        (1, f"call {call} is not open and stands among those that are")
    assert says("I3", lambda: redis.zadd(holds, {"f" * 32: 2**52}), lambda: redis.zrem(holds, "f" * 32))[0] == 1  # no row at all
    assert says("I3", lambda: put(state, held, str(int(charged) + 1), attempt), right)[0] == 1
    assert says("I3", lambda: put(state, "0", charged, attempt), right) == (int(charged), f"call {call} is charged more than it held")
    assert says("I3", lambda: put(state, held, charged, "7"), right)[0] == 1
    assert says("I3", lambda: put("released", held, "0", attempt), right)[0] == int(charged)
    assert says("I3", lambda: put("open", held, "0", attempt), right)[0] == int(charged)
    assert says("I3", lambda: redis.set(hold, "settled", keepttl=True), right) == (1, f"the row of call {call} cannot be read")
    move = lambda n: redis.hincrby(purse, "available", n)
    assert says("I11", lambda: move(5), lambda: move(-5))[0] == 5
    assert says("I11", lambda: redis.hincrby(purse, "granted", 3), lambda: redis.hincrby(purse, "granted", -3))[0] > 0
    available = int(redis.hget(purse, "available"))

    def owe(by):
        """Below zero, and the sums fit: the rest is held."""
        redis.hincrby(purse, "available", -by)
        redis.set("m1:hold:{%s}:%s" % (acme, "e" * 32), "|".join(("open", str(by), "0", "0", rest)))
        redis.zadd(holds, {"e" * 32: 2**52})

    def own(by):
        redis.zrem(holds, "e" * 32)
        redis.delete("m1:hold:{%s}:%s" % (acme, "e" * 32))
        redis.hincrby(purse, "available", by)

    assert says("I2", lambda: owe(available + 9), lambda: own(available + 9))[0] == 9
    assert wrong_in_redis(office) == {}


def test_usage_costs_and_balance_are_told_in_openais_shape(office, acme):
    ledger = office.ledger
    ledger.good("POST", "/v1/projects", {"account": acme, "id": "web"})
    all_of_it, part = ledger.key(acme), ledger.key(acme, project="web")
    spent = [ask(office, k).json["usage"] for k in (all_of_it, all_of_it, part)]
    cost = sum(u["cost_nano"] for u in spent)
    start = int(time.time()) // 86400 * 86400 - 86400

    def usage(key=all_of_it, more=""):
        a = get(office, key, f"/v1/organization/usage/completions?start_time={start}{more}")
        assert a.status == 200, a.body
        return [r for b in a.json["data"] for r in b["results"]]

    wait_for(lambda: sum(r["num_model_requests"] for r in usage()) == 3, "the usage")
    assert sum(r["input_tokens"] for r in usage()) == sum(u["prompt_tokens"] for u in spent)
    by = usage(more="&group_by=project_id&group_by=model&bucket_width=1h&limit=48")
    assert {r["project_id"] for r in by} == {None, "web"} and {r["model"] for r in by} == {"fake-model"}
    assert sum(r["num_model_requests"] for r in usage(part)) == 1  # a project's key sees its project
    assert usage(part, "&project_ids=other") == [] and len(usage(part, "&project_ids=other,web")) == 1
    a = get(office, all_of_it, f"/v1/organization/costs?start_time={start}")
    assert sum(int(r["amount"]["nano"]) for b in a.json["data"] for r in b["results"]) == cost
    a = get(office, all_of_it, "/v1/billing/balance")
    assert a.status == 200 and str(a.json["available_nano"]) == str(10**9 - cost)
    assert get(office, all_of_it, "/v1/organization/costs").json["error"]["param"] == "start_time"


def test_statements_add_up_and_are_csv(office, acme):
    ledger, key = office.ledger, office.ledger.key(acme)
    cost = ask(office, key).json["usage"]["cost_nano"]
    wait_for(lambda: len(ledger.bills(acme)) == 1, "the bill")
    rows = json.loads(ledger.ctl("usage", "--account", acme, "--by", "hour,key,model", "--json").stdout)
    assert [(r["requests"], r["amount"], r["model"]) for r in rows] == [(1, str(cost), "fake-model")]
    head, row = ledger.ctl("usage", "--account", acme, "--by", "account,project,key,model,hour").stdout.splitlines()
    assert head.split()[:5] == ["account", "project", "key", "model", "time"] and acme in row and re.search(r"20\d\d-.*:00:00Z", row)
    lines = ledger.ctl("statements", acme, "--csv").stdout.splitlines()
    assert lines[0] == "project,key,model,time,requests,in,cached,out,reasoning,amount,fee" and f",{cost}," in lines[1]
    gone, siblings = ledger.ctl("statements", "nobody", check=False), ledger.ctl("receipts", "list", "nobody", check=False)
    assert gone.returncode == siblings.returncode > 0 and not gone.stdout and gone.stderr


def test_a_receipt_is_found_by_its_call(office, acme):
    ledger, key = office.ledger, office.ledger.key(acme)
    call = ask(office, key).header("cocoon-call")
    wait_for(lambda: len(ledger.bills(acme)) == 1, "the bill")
    receipt = json.loads(ledger.ctl("receipts", "show", call, "--json").stdout)
    taken = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(receipt["taken"]))
    assert re.search(rf"^taken +{taken}$", ledger.ctl("receipts", "show", call).stdout, re.M)
    assert receipt["account"] == acme and receipt["bill"].count(".") == 2 and receipt["proof"] is None
    payload = json.loads(base64.urlsafe_b64decode(receipt["bill"].split(".")[1] + "=="))
    assert payload["usage"] == base64.urlsafe_b64encode(hashlib.sha256(receipt["usage"].encode()).digest()).decode().rstrip("=")
    assert ledger.api("GET", f"/v1/accounts/other/receipts/{call}")[0] == 404


def test_cocoonctl_lists_an_accounts_bills_page_by_page(office, acme):
    ledger, key = office.ledger, office.ledger.key(acme)
    for i in range(3):
        ask(office, key)
        wait_for(lambda: len(ledger.bills(acme)) == i + 1, "the bill")
    page, seqs = (), []
    while page or not seqs:
        rows = json.loads(ledger.ctl("receipts", "list", acme, "--limit", "2", *page, "--json").stdout)
        seqs += [r["seq"] for r in rows]
        page = ("--before", str(seqs[-1])) if len(rows) == 2 else ()
    assert seqs == [b["seq"] for b in ledger.bills(acme)] and len(seqs) == 3


def with_two_gateways(stack):
    ledger = start_ledger(stack)
    ledger.prices()
    stack.engine()
    for name in ("one", "two"):
        stack.gateway(name, **{"billing.journal": os.path.join(stack.folder, name + ".journal")})
    stack.worker()
    stack.wait_ready()
    for gateway in stack.gateways:
        wait_for(lambda: gateway.accepting == 1, f"{gateway.name}: the worker", 10)
    return ledger


def test_every_gateway_lists_what_all_have_billed(stack):
    ledger = with_two_gateways(stack)
    key = (ledger.account(), ledger.key())[1]

    def listed(gateway, with_key=key):
        with stack.raw(gateway, key=with_key) as raw:
            a = raw.ask("GET", "/v1/billing/receipts")
            assert a.status == 200 and a.json["object"] == "list" and all(set(r) == {"call", "bill", "usage"} for r in a.json["data"])
            return [r["call"] for r in a.json["data"]]

    calls = []
    for i in range(6):
        gateway = stack.gateways[i % 2]
        with stack.raw(gateway, key=key) as raw:
            a = raw.ask("POST", "/v1/chat/completions", chat())
            assert a.status == 200
        calls.insert(0, a.header("cocoon-call"))
        wait_for(lambda: calls[0] in listed(gateway), "its own at once, also before the books have it", 5)
        wait_for(lambda: listed(stack.gateways[1 - i % 2]) == calls, "the other's too, the latest first, each once", 10)
        assert listed(gateway) == calls
    assert listed(stack.gateways[0], ledger.key(ledger.account("other"))) == []
    ledger.stop()
    assert listed(stack.gateways[0]) == calls[1::2]  # without the books: its own


def test_an_accounts_bills_are_listed_page_by_page_each_once(stack):
    ledger = with_two_gateways(stack)
    key = (ledger.account(), ledger.key())[1]

    def page(query, gateway=0, with_key=key):
        with stack.raw(stack.gateways[gateway], key=with_key) as raw:
            return raw.ask("GET", "/v1/billing/receipts" + query)

    def pages(limit, gateways=(0, 1)):
        calls, query = [], f"?limit={limit}"
        while query:
            a = page(query, gateways[len(calls) % len(gateways)])
            assert a.status == 200 and len(a.json["data"]) <= limit, a.body
            calls += [r["call"] for r in a.json["data"]]
            first, last = (a.json[name] and a.json[name].split(".")[0] for name in ("first_id", "last_id"))
            assert [first, last] == ([a.json["data"][i]["call"] for i in (0, -1)] if a.json["data"] else [None, None])
            query = a.json["has_more"] and f"?limit={limit}&after={a.json['last_id']}"
        return calls

    calls = []
    for i in range(5):
        calls.insert(0, ask(stack, key, gateway=i % 2).header("cocoon-call"))
        wait_for(lambda: len(ledger.bills()) == i + 1, "the books have it")
    assert [pages(limit) for limit in (1, 2, 5, 100)] == [calls] * 4
    assert page("").json["has_more"] is False
    redis, account = stack.redis.client, ledger.bills()[0]["account"]
    redis.xadd("m1:events", {"type": "receipts", "account": account, "call": "1" * 32})  # as a gateway without pages asks
    older = wait_for(lambda: redis.get("receipts:{%s}:%s" % (account, "1" * 32)), "the array that it knows")
    assert [r["call"] for r in json.loads(older)] == calls
    for query, param in (("?limit=0", "limit"), ("?limit=101", "limit"), ("?limit=x", "limit"), ("?after=" + "0" * 32, "after"),
                         ("?after=" + "0" * 31 + ".0", "after"), ("?after=" + "g" * 32 + ".0", "after"), ("?after=" + "A" * 32 + ".0", "after"), ("?after=" + "0" * 32 + ".x", "after"),
                         ("?after=" + "0" * 32 + "." + "0" * 20, "after"), ("?after=%22", "after")):
        refused = page(query)
        assert refused.status == 400 and refused.error["param"] == param, (query, refused.body)
    other = ledger.key(ledger.account("other"))
    for unknown, with_key in (("0" * 32 + ".0", key), (page("").json["last_id"], other)):  # it may be another gateway's that the books do not have yet
        later = page(f"?after={unknown}", with_key=with_key)
        assert later.status == 503 and later.error["param"] == "after" and "not yet" in later.error["message"] and later.header("retry-after") == "1"
    unbilled = page("?after=" + "0" * 32 + ".0", with_key=stack.key_for_all())
    assert unbilled.status == 200 and unbilled.json == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert page("?after=" + "0" * 32 + ".9999999999").status == 503  # well-formed, as described
    ledger.signal(signal.SIGSTOP)  # what the books lack is in front
    calls[:0] = [ask(stack, key).header("cocoon-call") for _ in range(3)][::-1]
    wait_for(lambda: [r["call"] for r in page("?limit=2").json["data"]] == calls[:2], "its own, without the books", 5)
    between, alone = page("?limit=2").json["last_id"], page("").json
    silent = [page("", with_key=other), page(f"?after={alone['last_id']}"), page("?after=" + "0" * 32 + ".0")]  # nobody knows now
    assert alone["has_more"] and all(s.status == 503 and s.error["param"] is None and "No such bill" not in s.error["message"] for s in silent)
    ledger.signal(signal.SIGCONT)
    wait_for(lambda: len(ledger.bills()) == len(calls), "the books have all")
    assert [r["call"] for r in page(f"?limit=3&after={between}", 1).json["data"]] == calls[2:5]
    assert [pages(limit) for limit in (1, 3, 100)] == [calls] * 3


def test_every_gateway_shows_a_receipt_and_its_proof_once_the_day_is_closed(stack):
    ledger = start_ledger(stack)
    ledger.prices()
    stack.engine()
    for name in ("one", "two"):
        stack.gateway(name, **{"billing.journal": os.path.join(stack.folder, name + ".journal")})
    stack.worker()
    stack.wait_ready()
    key = (ledger.account(), ledger.key())[1]
    call = ask(stack, key).header("cocoon-call")

    def receipt(gateway, more=""):
        with stack.raw(stack.gateways[gateway], key=key) as raw:
            return raw.ask("GET", f"/v1/billing/receipts/{call}{more}")

    own = wait_for(lambda: (a := receipt(0)).status == 200 and "bill" in a.json and a, "the receipt").json
    other = wait_for(lambda: (a := receipt(1)).status == 200 and a, "the other gateway's").json
    assert other["bill"] == own["bill"] and other["usage"] == own["usage"] and other["proof"] is None
    ledger.stop()
    with sqlite3.connect(ledger.settings["books"]) as db:  # the day is over
        db.execute("UPDATE days SET closed = 1")
    ledger.start()
    ledger.wait_ready()
    proven = wait_for(lambda: (a := receipt(0, "?proof=true")).json.get("proof") and a.json, "the proof", 15)
    leaf = hashlib.sha256(b"\0" + own["bill"].encode()).hexdigest()
    assert proven["bill"] == own["bill"] and proven["proof"]["leaves"] == 1 and proven["proof"]["root"] == leaf
    with stack.raw(stack.gateways[1], key=ledger.key()) as raw:
        assert raw.ask("GET", "/v1/billing/receipts/" + "0" * 32).status == 404
    other_account = ledger.account("other")
    with stack.raw(stack.gateways[1], key=ledger.key(other_account)) as raw:
        assert raw.ask("GET", f"/v1/billing/receipts/{call}").status == 404


# ---- What the operator changes, gateways know ----

def test_a_revoked_key_ends_and_a_new_one_works_at_once(office, acme):
    ledger = office.ledger
    made = ledger.good("POST", "/v1/keys", {"account": acme, "name": "short"})
    assert ask(office, made["key"]).status == 200
    ledger.good("POST", f"/v1/keys/{made['id']}/revoke")
    assert ask(office, made["key"]).status == 401
    assert ask(office, ledger.key(acme)).status == 200


def test_a_rotated_key_has_two_secrets_for_the_grace(office, acme):
    ledger = office.ledger
    made = ledger.good("POST", "/v1/keys", {"account": acme})
    new = ledger.good("POST", f"/v1/keys/{made['id']}/rotate", {"grace_s": 60})["key"]
    assert [ask(office, k).status for k in (made["key"], new)] == [200, 200]
    newest = ledger.good("POST", f"/v1/keys/{made['id']}/rotate", {"grace_s": 0})["key"]
    wait_for(lambda: [ask(office, k).status for k in (made["key"], new, newest)] == [401, 401, 200], "the end of the grace")


def test_limits_budgets_and_states_reach_the_gateway(office, acme):
    ledger, key = office.ledger, office.ledger.key(acme)
    cost = ask(office, key).json["usage"]["cost_nano"]
    ledger.good("PATCH", f"/v1/accounts/{acme}", {"budgets": {"day": str(cost + 1)}})
    a = ask(office, key)
    assert a.status == 429 and a.json["error"]["code"] == "insufficient_quota"
    ledger.good("PATCH", f"/v1/accounts/{acme}", {"budgets": None, "state": "suspended"})
    assert ask(office, key).json["error"]["code"] == "account_suspended"
    ledger.good("PATCH", f"/v1/accounts/{acme}", {"state": "active", "models": ["other"]})
    wait_for(lambda: ask(office, key).status == 403, "the model's scope", 8)
    ledger.good("PATCH", f"/v1/accounts/{acme}", {"models": None})
    wait_for(lambda: ask(office, key).status == 200, "the model", 8)


def test_limits_of_one_model_and_grants_are_set_and_taken_back_by_cocoonctl(office, acme):
    ledger, key = office.ledger, office.ledger.key(acme)

    def ctl(*words):
        return json.loads(ledger.ctl(*words, "--json").stdout)

    assert ctl("accounts", "limit", acme, "other/model", "--streams", "3")["per_model"] == {"other/model": {"streams": 3}}
    both = ctl("accounts", "limit", acme, "fake-model", "--requests-per-minute", "1")["per_model"]
    assert both == {"other/model": {"streams": 3}, "fake-model": {"requests_per_minute": 1}}
    assert [ask(office, key).status for _ in range(2)] == [200, 429]
    assert ctl("accounts", "limit", acme, "fake-model", "--requests-per-minute", "0", "--streams", "9")["per_model"]["fake-model"] == {
        "requests_per_minute": 0, "streams": 9}
    assert ask(office, key).status == 200
    for name, member in (("internal", "internal"), ("end-to-end-only", "end_to_end_only")):
        assert ctl("accounts", "set", acme, f"--{name}")[member] is True
        assert ctl("accounts", "set", acme, f"--no-{name}")[member] is False
        assert ledger.ctl("accounts", "set", acme, f"--{name}", f"--no-{name}", check=False).returncode == 2


@pytest.mark.parametrize("whose", ["account", "project", "key"])
@pytest.mark.parametrize("window", ["day", "month", "total"])
def test_a_budget_that_is_set_later_counts_what_was_spent_before(office, acme, whose, window):
    ledger = office.ledger
    ledger.good("POST", "/v1/projects", {"account": acme, "id": "web"})
    key = ledger.key(acme, project="web", name=acme)
    costs = [ask(office, key).json["usage"]["cost_nano"] for _ in range(2)]
    wait_for(lambda: len(ledger.bills(acme)) == 2, "the bills")
    path = {"account": f"/v1/accounts/{acme}", "project": f"/v1/projects/{acme}/web", "key": f"/v1/keys/{acme}"}[whose]
    ledger.good("PATCH", path, {"budgets": {window: str(10**8)}})
    wait_for(lambda: used(office, acme) == {sum(costs)}, "what was spent before")
    costs.append(ask(office, key).json["usage"]["cost_nano"])
    assert used(office, acme) == {sum(costs)}


def test_usage_from_a_duration_is_from_so_long_ago(office, acme):
    ask(office, office.ledger.key(acme))
    wait_for(lambda: office.ledger.bills(acme), "the bill")

    def count(*words):
        rows = json.loads(office.ledger.ctl("usage", "--account", acme, "--json", *words).stdout)
        return sum(r["requests"] for r in rows)

    assert [count("--from", "1d"), count("--to", "1d"), count("--from", "100000000d")] == [1, 0, 1]


def used(office, account):
    fields = office.redis.client.hgetall("m1:acct:{%s}" % account)
    return {int(v) for name, v in fields.items() if name.startswith("b:")}


def test_an_empty_account_is_refused_until_it_is_given_money(office):
    ledger = office.ledger
    name = ledger.account("p" + os.urandom(4).hex(), 0)
    key = ledger.key(name)
    a = ask(office, key)
    assert a.status == 429 and a.json["error"]["code"] == "insufficient_quota" and a.header("x-should-retry") == "false"
    ledger.credit(name, 10**8, "one")
    ledger.credit(name, 10**8, "one")  # told twice, given once
    assert ask(office, key).status == 200
    assert ledger.api("POST", "/v1/credit", {"account": name, "amount": "5", "id": "one"})[0] == 409
    ledger.verify()


def test_an_invitation_lets_a_developer_in_with_what_it_says(office):
    ledger = office.ledger
    code = ledger.ctl("invites", "create", "--credit", "0.5", "--streams", "2", "--model", "fake-model", "--quiet").stdout.strip()
    name = "dev" + os.urandom(4).hex()
    made = json.loads(ledger.ctl("invites", "redeem", code, name, "--json").stdout)
    assert made["balance"] == "500000000" and made["limits"] == {"streams": 2} and made["models"] == ["fake-model"]
    assert ask(office, ledger.key(name)).status == 200
    assert "has ended" in ledger.ctl("invites", "redeem", code, "again", check=False).stderr
    assert code not in str(ledger.good("GET", "/v1/invites")) + str(ledger.good("GET", "/v1/audit")) + ledger.log_text


# ---- What cocoonctl shows of it ----

def test_cocoonctl_lists_all_pages_and_shows_and_changes_the_one_thing_that_is_named(office, acme):
    ledger = office.ledger

    def rows(*words):
        return json.loads(ledger.ctl(*words, "--json").stdout)

    for i in range(501):
        ledger.good("POST", "/v1/projects", {"account": acme, "id": f"p{i:03}"})
    assert [p["id"] for p in rows("projects", "list", "--account", acme)] == [f"p{i:03}" for i in range(501)]
    assert {p["account"] for p in rows("projects", "list")} >= {acme}
    assert "p500" in ledger.ctl("projects", "show", acme, "p500").stdout
    for words in (("prices", "list"), ("prices", "show"), ("audit",)):  # people read dates
        assert re.search(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", ledger.ctl(*words).stdout), words
    assert rows("projects", "set", acme, "p500", "--state", "suspended")["state"] == "suspended"
    ledger.key(acme, name="one")
    key = rows("keys", "list", "--account", acme)[0]["id"]
    assert rows("keys", "set", key, "--name", "two")["name"] == rows("keys", "show", key)["name"] == "two"
    assert ledger.ctl("keys", "rotate", key, "--grace", "1h", "--quiet").stdout.startswith("sk-")
    assert rows("keys", "revoke", key)["state"] == "revoked"
    assert rows("accounts", "suspend", acme)["state"] == "suspended" and rows("accounts", "resume", acme)["state"] == "active"
    hook = rows("webhooks", "create", acme, "http://127.0.0.1:9/hook")["id"]
    assert [h["id"] for h in rows("webhooks", "list", "--account", acme)] == [hook] and rows("webhooks", "deliveries", hook) == []
    assert rows("prices", "show") == rows("prices", "show", str(rows("prices", "list")[0]["version"]))
    assert {t["credit"] for t in rows("ledger", "transfers", "--purse", f"client:{acme}")} == {f"client:{acme}"}
    assert rows("audit", "--object", acme) and rows("ledger", "purses") and rows("ledger", "status")["ready"]


@pytest.mark.parametrize("name", ["my laptop", "clé 鍵/ü", "a+b", "100%", "what?", "a#b&c=d", '"quoted"', "a/rotate"])
def test_a_key_is_found_by_whatever_name_it_has(office, acme, name):
    ledger = office.ledger
    ledger.key(acme, name=name)
    shown = json.loads(ledger.ctl("keys", "show", name, "--json").stdout)
    assert shown["name"] == name and shown["account"] == acme
    assert ledger.ctl("keys", "rotate", name, "--quiet").stdout.startswith("sk-")
    assert json.loads(ledger.ctl("keys", "revoke", name, "--json").stdout)["id"] == shown["id"]


@pytest.mark.parametrize("path", ["%", "%4", "%zz", "a%00b", "%ff", "%0a", "a%7f"])
def test_a_name_that_no_key_can_have_is_not_found(office, path):
    assert office.ledger.api("GET", f"/v1/keys/{path}")[0] == 404


def test_a_filter_that_a_list_does_not_have_is_refused_in_place_of_showing_all(office, acme):
    for group in ("accounts", "invites"):
        wrong = office.ledger.ctl(group, "list", "--account", acme, check=False)
        assert wrong.returncode == 2 and "--account" in wrong.stderr


def test_a_hangup_ends_no_ledger(office):
    before = office.ledger.good("GET", "/v1/status")["uptime_s"]
    office.ledger.signal(signal.SIGHUP)
    assert office.ledger.good("GET", "/v1/status")["uptime_s"] >= before and office.ledger.process.poll() is None


# ---- Who may ----

def test_the_socket_is_private_and_strangers_have_no_role(office):
    path = office.ledger.where[5:]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_each_role_may_do_its_own(stack):
    ledger = start_ledger(stack, roles=[{"user": "nobody", "role": "viewer"}, {"user": "daemon", "role": "support"},
                                        {"user": "bin", "role": "treasurer"}])
    os.chmod(stack.folder, 0o755)
    os.chmod(ledger.where[5:], 0o666)

    def as_user(user, method, path, body=None):
        script = ("import sys, json, http.client, socket\n"
                  "c = http.client.HTTPConnection('x'); c.sock = socket.socket(socket.AF_UNIX); c.sock.connect(sys.argv[1])\n"
                  "c.request(sys.argv[2], sys.argv[3], sys.argv[4] or None, {'Content-Type': 'application/json'}); r = c.getresponse()\n"
                  "print(r.status)")
        done = subprocess.run(["runuser", "-u", user, "--", "/usr/bin/python3", "-c", script, ledger.where[5:], method, path,
                               json.dumps(body) if body else ""], capture_output=True, text=True, timeout=30, cwd="/")
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    tries = [("GET", "/v1/accounts", None), ("POST", "/v1/accounts", {"id": "x"}),
             ("POST", "/v1/credit", {"account": "x", "amount": "1", "id": "c"}), ("POST", "/v1/recover", {"without": "gw-9"})]
    assert [as_user("daemon", *t) for t in tries] == [200, 200, 403, 403]
    assert [as_user("bin", *t) for t in tries] == [200, 403, 200, 403]
    assert [as_user("nobody", *t) for t in tries] == [200, 403, 403, 403]
    assert [as_user("games", *t) for t in tries] == [403, 403, 403, 403]
    who = [a["who"].split()[1] + " " + a["role"] for a in ledger.good("GET", "/v1/audit")["data"]]
    assert who == ["bin treasurer", "daemon support"]


@pytest.mark.parametrize("method, path, body, status", [
    ("GET", "/v1/nothing", None, 404), ("DELETE", "/v1/accounts", None, 405), ("POST", "/v1/accounts", "{", 400),
    ("POST", "/v1/accounts", "[]", 400), ("POST", "/v1/accounts", '{"id":"a","id":"b"}', 400),
    ("GET", "/v1/accounts?limit=0", None, 400), ("GET", "/v1/accounts?after=%00", None, 400),
    ("GET", "/v1/accounts?after=a&after=b", None, 400), ("GET", "/v1/accounts/" + "a" * 200, None, 404),
    ("GET", "/v1/usage?by=year", None, 400), ("POST", "/v1/keys/none/revoke", None, 404),
    ("GET", "/v1/usage?account=nobody", None, 404), ("GET", "/v1/usage?account=nobody&format=csv", None, 404),
    ("POST", "/v1/accounts", '{"id":"' + "x" * (1 << 20) + '"}', 413),
])
def test_what_is_wrong_with_a_request_is_said(office, method, path, body, status):
    got, answer = office.ledger.api(method, path, content=body, headers={"content-type": "application/json"})
    assert got == status and answer["error"]["code"] and answer["error"]["message"]


@pytest.mark.parametrize("change, said", [
    ({"amount": "9007199254740992"}, "2^53-1"), ({"amount": 5}, "decimal text"), ({"amount": "0"}, "2^53-1"), ({"amount": "-1"}, "decimal text"),
    ({"id": "a b"}, "id must be"), ({"id": "a\0b"}, "id must be"), ({"id": None}, "id 1 to 64"), ({"account": "nobody\0"}, "account must be"),
    ({"reference": "é" * 129}, "so long"), ({"reference": "a\nb"}, "control"), ({"reference": 7}, "a text"), ({"refernce": "x"}, "not known"),
])
def test_what_is_wrong_with_a_credit_is_said(office, acme, change, said):
    body = {"account": acme, "amount": "1", "id": "x", "reference": "", **change}
    status, answer = office.ledger.api("POST", "/v1/credit", body)
    assert status == 400 and said in answer["error"]["message"], answer
    assert office.ledger.balance(acme) == 10**9


def test_a_credit_of_an_empty_id_is_none(office, acme):
    """The id is a variable that was not set: one drawn for it would give the same payment twice."""
    done = office.ledger.ctl("credit", acme, "--ton", "1", "--id", "", check=False)
    assert (done.returncode, office.ledger.balance(acme)) == (2, 10**9) and "--id is empty" in done.stderr


# ---- Webhooks ----

class Receiver:
    """A webhook's other end: what came, answered with what `status` says."""

    def __init__(self):
        self.came, self.status = [], 200
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.came.append((dict(self.headers), body))
                self.send_response(outer.status)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *a):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def answer_of(s):
    """The status of what comes before the connection ends; empty: nothing."""
    came = b""
    try:
        while b"\r\n\r\n" not in came and (more := s.recv(65536)):
            came += more
    except ConnectionResetError:
        pass
    s.close()
    return came[9:12]


@pytest.fixture
def receiver():
    r = Receiver()
    yield r
    r.server.shutdown()
    r.server.server_close()


def test_a_webhook_is_told_signed_once(office, acme, receiver):
    ledger = office.ledger
    hook = ledger.good("POST", "/v1/webhooks", {"account": acme, "url": receiver.url, "events": ["key.revoked"]})
    key = ledger.good("POST", "/v1/keys", {"account": acme, "name": "k"})
    ledger.good("POST", f"/v1/keys/{key['id']}/revoke")
    wait_for(lambda: receiver.came, "the webhook")
    headers, body = receiver.came[0]
    h = {k.lower(): v for k, v in headers.items()}
    signed = f"{h['webhook-id']}.{h['webhook-timestamp']}.".encode() + body
    mac = base64.b64encode(hmac.digest(base64.b64decode(hook["secret"][6:]), signed, "sha256")).decode()
    assert h["webhook-signature"] == "v1," + mac and abs(int(h["webhook-timestamp"]) - time.time()) < 30
    told = json.loads(body)
    assert told["type"] == "key.revoked" and told["data"]["key"] == key["id"] and "sk-cocoon" not in body.decode()
    wait_for(lambda: ledger.good("GET", f"/v1/webhooks/{hook['id']}/deliveries")["data"][0]["state"] == "done", "the end of it")
    assert len(receiver.came) == 1


def test_who_asks_while_the_ledger_stops_is_served_whole_or_not_at_all(stack, receiver):
    """More connections than it takes in a turn of its loop, so that some come in its last one."""
    ledger = start_ledger(stack)
    account = ledger.account()
    ledger.good("POST", "/v1/webhooks", {"account": account, "url": receiver.url, "events": ["key.revoked"]})
    keys = [ledger.good("POST", "/v1/keys", {"account": account, "name": f"k{i}"})["id"] for i in range(100)]
    ledger.signal(signal.SIGSTOP)
    asked = {}
    for key in keys:
        asked[key] = socket.socket(socket.AF_UNIX)
        asked[key].settimeout(30 * SLOW)
        asked[key].connect(ledger.where[5:])
        asked[key].sendall(b"POST /v1/keys/%s/revoke HTTP/1.1\r\nHost: l\r\nContent-Length: 0\r\n\r\n" % key.encode())
    ledger.signal(signal.SIGTERM)
    ledger.signal(signal.SIGCONT)
    told = {key: answer_of(s) for key, s in asked.items()}
    assert ledger.process.wait(30 * SLOW) == 0
    assert set(told.values()) <= {b"", b"200", b"503"}
    ledger.start().wait_ready()
    states = {k["id"]: k["state"] for k in ledger.good("GET", f"/v1/keys?account={account}&limit=1000")["data"]}
    assert all(states[key] == "revoked" for key in keys if told[key] == b"200")
    assert all(states[key] != "revoked" for key in keys if told[key] == b"503")


def test_answers_are_kept_for_the_account_that_asked_for_it_until_it_does_not(office, acme):
    ledger, key = office.ledger, office.ledger.key(acme)

    def twice():
        with office.raw(key=key) as raw:
            header = {"Idempotency-Key": os.urandom(8).hex()}
            first = raw.ask("POST", CHAT, chat(), header)
            assert first.status == 200
            wait_for(lambda: office.redis.client.zcard(f"m1:holds:{{{acme}}}") == 0, "it is settled")
            again = raw.ask("POST", CHAT, chat(), header)
        return again.status == 200 and again.body == first.body and again.header("cocoon-replayed") == "true" or again.error["code"]
    assert twice() == "idempotency_no_replay"
    shown = ledger.ctl("accounts", "set", acme, "--replay-answers", "on", "--json").stdout
    assert json.loads(shown)["replay_answers"] is True
    wait_for(lambda: twice() is True, "it is on")
    done = ledger.ctl("accounts", "set", acme, "--replay-answers", "maybe", check=False)
    assert done.returncode == 2 and "on or off" in done.stderr
    ledger.ctl("accounts", "set", acme, "--replay-answers", "off")
    wait_for(lambda: twice() == "idempotency_no_replay", "it is off")
    wait_for(lambda: len(ledger.bills(acme)) >= 2, "the books have them")
    assert ledger.good("GET", f"/v1/accounts/{acme}")["replay_answers"] is False
    ledger.verify()


def test_a_low_balance_is_told_once_until_it_was_topped_up(office, receiver):
    ledger = office.ledger
    name = ledger.account("w" + os.urandom(4).hex(), 10**8, low_balance=str(10**8))
    ledger.good("POST", "/v1/webhooks", {"account": name, "url": receiver.url, "events": ["balance.low"]})
    key = ledger.key(name)
    ask(office, key)
    wait_for(lambda: len(receiver.came) == 1, "the first webhook")
    ask(office, key)
    ledger.credit(name, 1, "top-up")
    ask(office, key)
    wait_for(lambda: len(receiver.came) == 2, "the webhook after the top-up")
    assert [json.loads(b)["type"] for _, b in receiver.came] == ["balance.low"] * 2
    assert int(json.loads(receiver.came[0][1])["data"]["balance"]) < 10**8


def test_a_reached_budget_is_told_once_a_window(office, acme, receiver):
    ledger, key = office.ledger, office.ledger.key(acme, budgets={"day": "1"})
    ledger.good("POST", "/v1/webhooks", {"account": acme, "url": receiver.url, "events": ["budget.reached"]})
    for _ in range(3):
        assert ask(office, key).status == 429
    wait_for(lambda: receiver.came, "the webhook")
    time.sleep(0.5)
    assert len(receiver.came) == 1
    told = json.loads(receiver.came[0][1])
    assert told["type"] == "budget.reached" and told["data"]["of"] == "key" and told["data"]["window"] == "day"


def revoke_keys(ledger, account, count):
    for key in [ledger.good("POST", "/v1/keys", {"account": account}) for _ in range(count)]:
        ledger.good("POST", f"/v1/keys/{key['id']}/revoke")


def test_an_endpoint_that_never_answers_holds_up_no_other_account(stack, receiver):
    ledger = start_ledger(stack, **{"webhooks.timeout_ms": 60000})
    silent = ledger.account("silent", 0)
    ledger.account("acme", 0)
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = f"http://127.0.0.1:{hole.getsockname()[1]}/hook"
        hook = ledger.good("POST", "/v1/webhooks", {"account": silent, "url": url, "events": ["key.revoked"]})["id"]
        ledger.good("POST", "/v1/webhooks", {"account": "acme", "url": receiver.url, "events": ["key.revoked"]})
        revoke_keys(ledger, silent, 3)
        hole.settimeout(10 * SLOW)
        with hole.accept()[0] as first:
            assert first.recv(4) == b"POST"
            revoke_keys(ledger, "acme", 2)
            wait_for(lambda: len(receiver.came) == 2, "the other account's webhooks")
            queued = ledger.good("GET", f"/v1/webhooks/{hook}/deliveries")["data"]
            assert sorted(d["tries"] for d in queued) == [0, 0, 1], queued  # one at a time
            assert ledger.stop() == 0


def test_redirects_are_not_followed_and_private_addresses_not_dialled(stack, receiver):
    ledger = start_ledger(stack, **{"webhooks.insecure": False})
    ledger.account("acme", 0)
    assert ledger.api("POST", "/v1/webhooks", {"account": "acme", "url": receiver.url, "events": ["key.revoked"]})[0] == 400
    private = f"https://127.0.0.1:{receiver.server.server_port}/hook"
    hook = ledger.good("POST", "/v1/webhooks", {"account": "acme", "url": private, "events": ["key.revoked"]})
    key = ledger.good("POST", "/v1/keys", {"account": "acme"})
    ledger.good("POST", f"/v1/keys/{key['id']}/revoke")
    tried = wait_for(lambda: [d for d in ledger.good("GET", f"/v1/webhooks/{hook['id']}/deliveries")["data"] if d["tries"]], "the try")
    assert tried[0]["status"] == 0 and tried[0]["state"] == "waiting" and not receiver.came
