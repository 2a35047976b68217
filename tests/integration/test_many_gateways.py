"""Several gateways and workers as one pool: who finds whom, what one knows of another, and what the operator decides for all."""

import json
import time

import httpx
import pytest

from raw import Ended
from stack import SLOW, chat, script, wait_for

CHAT = "/v1/chat/completions"


def gateways_of(worker):
    return {g["address"]: g["state"] for g in worker.status["gateways"]}


def listed(gateway):
    return httpx.get(gateway.base_url + "/gateways").json()["gateways"]


def decide(stack, kind, name, why="a test"):
    """What `cocoonctl drain` and `cocoonctl ban` write."""
    redis = stack.redis.client
    redis.hset(kind, mapping={"epoch": "1", name: json.dumps({"format": "cgw/decision/v1", "why": why, "at": int(time.time())})})
    redis.publish("pool:changed", name)


def undo(stack, kind, name):
    stack.redis.client.hdel(kind, name)
    stack.redis.client.publish("pool:changed", name)


@pytest.fixture
def pool(stack):
    """Three gateways; two workers that are told of the first only."""
    stack.engine(slots=64)
    first = stack.gateway("one")
    stack.gateway("two"), stack.gateway("three")
    stack.worker(gateways=[first]), stack.worker(gateways=[first])
    stack.wait_ready()
    for gateway in stack.gateways:
        wait_for(lambda: gateway.accepting == 2, f"{gateway.name}: both workers", 10)
    return stack


def test_workers_dial_every_gateway_that_lives(pool):
    tunnels = sorted(g.tunnel for g in pool.gateways)
    for gateway in pool.gateways:
        assert listed(gateway) == tunnels
        with pool.raw(gateway) as raw:
            assert raw.ask("POST", CHAT, chat()).status == 200
    for worker in pool.workers:
        assert gateways_of(worker) == dict.fromkeys(tunnels, "eligible")
    four = pool.gateway("four")  # one that comes later
    wait_for(lambda: four.accepting == 2, "both workers dial the newcomer", 5)
    four.stop()
    wait_for(lambda: listed(pool.gateways[0]) == tunnels, "one that leaves is not named any more", 3)
    for worker in pool.workers:
        wait_for(lambda: four.tunnel not in gateways_of(worker), "and given up", 10)


def test_a_killed_gateway_ends_its_own_streams_only_and_leaves_nothing(pool):
    one, two, three = pool.gateways
    redis, engine = pool.redis.client, pool.engines[0]
    streams = [pool.raw(g) for g in (two, three)]
    for raw in streams:
        raw.request("POST", CHAT, chat(script("slow", seconds=0.2, count=10), stream=True))
        assert raw.head().status == 200
        raw.until(b"t0")
    three.kill()
    killed = time.monotonic()
    answer = streams[1].rest()
    assert answer.ending in ("closed", "reset") and b"[DONE]" not in answer.body
    for i in range(40):
        for gateway in (one, two):
            with pool.raw(gateway) as raw:
                assert raw.ask("POST", CHAT, chat(f"after {i}")).status == 200
    answer = streams[0].rest()
    assert answer.ending == "complete" and answer.text == "".join(f"t{i} " for i in range(10))
    wait_for(lambda: all(w.status["running"] == 0 for w in pool.workers), "its slots are free", 5)
    wait_for(lambda: not redis.exists("gw:three", "load:three"), "its keys have ended", 16)
    wait_for(lambda: not [m for m in redis.zrange("gateways", 0, -1) if m.startswith("three ")], "nobody names it", 3)
    assert time.monotonic() - killed < 17
    for gateway in (one, two):
        wait_for(lambda: three.tunnel not in listed(gateway), "nor do the gateways", 3)
    assert not [k for k in redis.keys("*") if "three" in k]
    for raw in streams:
        raw.close()


def test_a_drained_worker_gets_nothing_new_from_any_gateway(pool):
    first, second = pool.workers
    iid = first.status["iid"]
    with pool.raw(pool.gateways[1]) as raw:
        raw.request("POST", CHAT, chat(script("slow", seconds=0.1, count=15), stream=True))
        raw.head()
        raw.until(b"t0")
        busy = next(w for w in pool.workers if w.status["running"])
        decide(pool, "drain", busy.status["iid"])
        for gateway in pool.gateways:
            wait_for(lambda: {w["iid"]: w["drained"] for w in gateway.status["workers"]}[busy.status["iid"]], "it is obeyed", 1)
        assert raw.rest().ending == "complete"  # what runs finishes
    undo(pool, "drain", busy.status["iid"])
    decide(pool, "drain", iid)
    wait_for(lambda: all(g.accepting == 2 and sum(w["drained"] for w in g.status["workers"]) == 1 for g in pool.gateways), "the other", 2)
    before = first.status["calls"]
    for gateway in pool.gateways:
        for _ in range(6):
            with pool.raw(gateway) as raw:
                assert raw.ask("POST", CHAT, chat()).status == 200
    assert first.status["calls"] == before
    pool.redis.flush()  # a Redis that has lost everything takes nothing back
    pool.key_for_all()
    wait_for(lambda: pool.redis.client.hexists("drain", iid), "it is written again", 12)
    assert all({w["iid"]: w["drained"] for w in g.status["workers"]}[iid] for g in pool.gateways)
    undo(pool, "drain", iid)
    wait_for(lambda: not any(w["drained"] for g in pool.gateways for w in g.status["workers"]), "it is enabled", 1)


def test_a_banned_machine_is_cut_off_everywhere_within_a_second(stack):
    stack.engine(slots=64)
    one, two = stack.gateway("one"), stack.gateway("two")
    worker = stack.worker(gateways=[one])
    stack.wait_ready()
    wait_for(lambda: two.accepting == 1, "both have it", 5)
    wid = one.status["workers"][0]["wid"]
    with stack.raw(one) as raw:
        raw.request("POST", CHAT, chat(script("stall", events=2, marker="banned"), stream=True))
        raw.head()
        raw.until(b"word1")
        began = time.monotonic()
        decide(stack, "ban", "wid:" + wid)
        answer = raw.rest()
        assert time.monotonic() - began < 1 * SLOW
        assert answer.ending != "complete" and b'"error"' in answer.events[-1]
    wait_for(lambda: not one.status["workers"] and not two.status["workers"], "no tunnel is left", 1)
    assert time.monotonic() - began < 1.2 * SLOW
    worker.wait_log("event=refused .* code=banned", 3)
    wait_for(lambda: worker.log_text.count("code=banned") >= 4, "it is refused again when it comes back", 10)
    undo(stack, "ban", "wid:" + wid)
    wait_for(lambda: one.accepting == 1, "it is let in again", 30)


@pytest.mark.parametrize("what", ["ppid", "measurement"])
def test_a_ban_of_a_machine_or_an_image(stack, what):
    stack.engine()
    gateway = stack.gateway()
    stack.worker()
    stack.wait_ready()
    key = "worker:" + stack.workers[0].status["iid"]
    entry = json.loads(wait_for(lambda: stack.redis.client.get(key), "its entry", 3))
    decide(stack, "ban", f"{what}:{entry[what]}")
    wait_for(lambda: not gateway.status["workers"], "its tunnel is closed", 1)


def test_what_a_newer_gateway_writes_does_no_harm(stack):
    """Two versions side by side: entries with another format, and members that nobody knows here."""
    redis = stack.redis.client
    redis.zadd("gateways", {"newer 127.0.0.1:1": time.time() + 60, "odd": time.time() + 60, "a b c": time.time() + 60,
                            "x not-an-address": time.time() + 60, "\xff\xfe": time.time() + 60})
    redis.set("gw:newer", '{"format":"cgw/gateway-entry/v2"}')
    redis.hset("load:newer", "0" * 32, '{"format":"cgw/load/v2","tokens_per_s":"fast"}')
    redis.hset("drain", mapping={"epoch": "1", "f" * 32: "not even JSON"})
    redis.hset("ban", mapping={"later:thing": '{"format":"cgw/decision/v2"}', "wid:" + "0" * 32: ""})
    stack.engine()
    gateway = stack.gateway()
    stack.worker()
    stack.wait_ready()
    wait_for(lambda: listed(gateway) == sorted(["127.0.0.1:1", gateway.tunnel]), "what is an address is told", 3)
    with stack.raw() as raw:
        assert raw.ask("POST", CHAT, chat()).status == 200


def test_a_newcomer_takes_over_what_others_have_measured(stack):
    stack.engine()
    one = stack.gateway("one")
    worker = stack.worker(gateways=[one])
    stack.wait_ready()
    for _ in range(3):
        with stack.raw(one) as raw:
            raw.ask("POST", CHAT, chat(stream=True))
    iid = worker.status["iid"]
    known = wait_for(lambda: (r := stack.redis.client.hget("load:one", iid)) and json.loads(r)["first_token_ms"] > 0 and json.loads(r),
                     "what was measured is in Redis", 3)
    two = stack.gateway("two")
    wait_for(lambda: two.accepting == 1, "the newcomer has the worker", 5)
    wait_for(lambda: two.status["workers"][0]["first_token_ms"] == known["first_token_ms"], "it knows its speed", 2)


def test_a_gateway_that_listens_on_any_address_names_none(stack):
    stack.engine()
    port = stack.gateway(start=False).tunnel.rsplit(":", 1)[1]
    gateway = stack.gateway("any", **{"tunnel.listen": f"0.0.0.0:{port}"})
    stack.gateways = [gateway]
    stack.worker(operators=[{"name": "test", "gateways": [f"127.0.0.1:{port}"], "pins": [stack.operator.pin]}])
    wait_for(lambda: gateway.accepting == 1, "the worker", 5)
    assert listed(gateway) == []
    assert "event=tunnel_unannounced" in gateway.log_text
