"""Several gateways and workers as one pool: who finds whom, what one knows of another, and what the operator decides for all."""

import json
import os
import re
import subprocess
import time

import httpx
import pytest

from stack import BIN, SLOW, chat, script, wait_for

CHAT = "/v1/chat/completions"


def gateways_of(worker):
    return {g["address"]: g["state"] for g in worker.status["gateways"]}


def listed(gateway):
    return httpx.get(gateway.base_url + "/gateways").json()["gateways"]


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
        pool.ctl("drain", busy.status["iid"][:10], "--why", "too warm")
        for gateway in pool.gateways:
            wait_for(lambda: {w["iid"]: w["drained"] for w in gateway.status["workers"]}[busy.status["iid"]], "it is obeyed", 1)
        assert raw.rest().ending == "complete"  # what runs finishes
    row = next(line for line in pool.ctl("workers").stdout.splitlines() if line.startswith(busy.status["iid"][:12]))
    assert row.split()[2] == "drained"
    assert re.search(rf"^drain +{busy.status['iid']} .*too warm$", pool.ctl("decisions").stdout, re.M)
    pool.ctl("enable", busy.settings["worker_id"])
    pool.ctl("drain", iid)
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
    pool.ctl("enable", iid)
    wait_for(lambda: not any(w["drained"] for g in pool.gateways for w in g.status["workers"]), "it is enabled", 1)


def test_a_banned_machine_is_cut_off_everywhere_within_a_second(stack):
    stack.engine(slots=64)
    one, two = stack.gateway("one"), stack.gateway("two")
    worker = stack.worker(gateways=[one])
    stack.wait_ready()
    wait_for(lambda: two.accepting == 1, "both have it", 5)
    stack.wait_listed()
    wid = one.status["workers"][0]["wid"]
    with stack.raw(one) as raw:
        raw.request("POST", CHAT, chat(script("stall", events=2, marker="banned"), stream=True))
        raw.head()
        raw.until(b"word1")
        assert stack.ctl("ban", worker.status["iid"]).stdout == f"wid:{wid} banned.\n"
        began = time.monotonic()
        answer = raw.rest()
        assert time.monotonic() - began < 1 * SLOW
        assert answer.ending != "complete" and b'"error"' in answer.events[-1]
    wait_for(lambda: not one.status["workers"] and not two.status["workers"], "no tunnel is left", 1)
    worker.wait_log("event=refused .* code=banned", 3)
    wait_for(lambda: worker.log_text.count("code=banned") >= 4, "it is refused again when it comes back", 10)
    assert "1 banned" in stack.ctl("workers").stdout
    assert list(json.loads(stack.ctl("decisions", "--json").stdout)["ban"]) == ["wid:" + wid]
    assert stack.ctl("enable", worker.settings["worker_id"]).stdout == f"wid:{wid} enabled.\n"  # it is not here: the ban names it
    assert json.loads(stack.ctl("decisions", "--json").stdout) == {"drain": {}, "ban": {}}
    stack.ctl("ban", f"wid:{wid}")
    stack.ctl("enable", worker.status["iid"])  # it is not here, but known
    assert json.loads(stack.ctl("decisions", "--json").stdout) == {"drain": {}, "ban": {}}
    wait_for(lambda: one.accepting == 1, "it is let in again", 30)


@pytest.mark.parametrize("what", ["ppid", "measurement"])
def test_a_ban_of_a_machine_or_an_image(stack, what):
    stack.engine()
    gateway = stack.gateway()
    stack.worker()
    stack.wait_ready()
    key = "worker:" + stack.workers[0].status["iid"]
    entry = json.loads(wait_for(lambda: stack.redis.client.get(key), "its entry", 3))
    stack.ctl("ban", f"{what}:{entry[what]}")
    wait_for(lambda: not gateway.status["workers"], "its tunnel is closed", 5)


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


def test_many_gateways_write_a_workers_entry_hardly_more_often_than_one(stack):
    """Of a worker that does not change: and it goes on when those die that wrote it most often."""
    redis, count = stack.redis.client, 5
    stack.engine(slots=64)
    first = stack.gateway("g0")
    for i in range(1, count):
        stack.gateway(f"g{i}")
    for _ in range(2):
        stack.worker(gateways=[first])
    stack.wait_ready()
    for gateway in stack.gateways:
        wait_for(lambda: gateway.accepting == 2, f"{gateway.name}: both workers", 10)
    keys = ["worker:" + w.status["iid"] for w in stack.workers]

    def sets():
        return redis.info("commandstats")["cmdstat_set"]["calls"]

    time.sleep(1)  # what their coming changed is written
    before, began = sets(), time.monotonic()
    time.sleep(20)
    rounds = (time.monotonic() - began) / 5
    a_worker = (sets() - before - rounds * count) / len(keys)  # without gw:{instance}, one a round
    assert rounds - 1.5 <= a_worker <= 2.5 * rounds, (rounds, a_worker)  # each of them a round: 5 rounds; shared: 1.9
    for gateway in stack.gateways[1:]:
        gateway.kill()
    killed = time.time()
    redis.delete(*keys)
    for key in keys:  # at the latest when the dead are off the list
        wait_for(lambda: int(json.loads(redis.get(key) or '{"last_seen":0}')["last_seen"]) > killed + 5, "the last one goes on", 22)
    wait_for(lambda: len(redis.zrange("gateways", 0, -1)) == 1, "the dead are off the list", 16)
    time.sleep(6)
    for key in keys:
        assert time.time() - json.loads(redis.get(key))["last_seen"] < 7 * SLOW


def test_a_workers_standing_is_read_again_while_it_stays(stack):
    """What the other gateways count, and what Redis loses, is known here within scheduler.standing_s."""
    stack.engine()
    gateway = stack.gateway(**{"scheduler.standing_s": 2})
    worker = stack.worker()
    stack.wait_ready()
    row = lambda: next(w for w in gateway.status["workers"] if w["iid"] == worker.status["iid"])  # noqa: E731
    assert row()["standing"] == 1
    key = "standing:" + row()["wid"]
    stack.redis.client.hset(key, "canary_bad", 100)
    wait_for(lambda: row()["standing"] < 0.1, "it is as bad as others say", 4 * SLOW)
    stack.redis.client.delete(key)
    wait_for(lambda: row()["standing"] == 1, "and as good again", 4 * SLOW)
    assert gateway.accepting == 1


def test_a_newcomer_takes_over_what_others_have_measured(stack):
    stack.engine()
    one = stack.gateway("one")
    worker = stack.worker(gateways=[one])
    stack.wait_ready()
    for _ in range(3):
        with stack.raw(one) as raw:
            raw.ask("POST", CHAT, chat(stream=True))
    iid = worker.status["iid"]
    known = lambda: json.loads(stack.redis.client.hget("load:one", iid) or "{}")
    wait_for(lambda: known().get("served") == 3, "what was measured is in Redis", 3)
    two = stack.gateway("two")
    wait_for(lambda: two.accepting == 1, "the newcomer has the worker", 5)
    wait_for(lambda: two.status["workers"][0]["first_token_ms"] == known()["first_token_ms"], "it knows its speed", 2)


@pytest.mark.parametrize("version", [1, 2])
def test_only_what_is_understood_of_another_versions_measurements_is_taken(stack, version):
    """Numbers of a format that is not known may be of other units."""
    stack.engine()
    worker = stack.worker(gateways=[stack.gateway("one")])
    stack.wait_ready()
    redis = stack.redis.client
    redis.zadd("gateways", {"another 127.0.0.1:1": time.time() + 60})
    redis.hset("load:another", worker.status["iid"], json.dumps(
        {"format": f"cgw/load/v{version}", "state": "eligible", "first_token_ms": 77, "tokens_per_s": 1234, "of_later": [None]}))
    two = stack.gateway("two")
    wait_for(lambda: two.accepting == 1, "it has the worker", 5)
    taken = lambda: two.status["workers"][0]["first_token_ms"] == 77
    skipped = lambda: "event=format_unknown key=load:another" in two.log_text
    wait_for(taken if version == 1 else skipped, "it has looked", 3)
    assert taken() == (version == 1) and skipped() == (version == 2)


def test_a_record_of_a_newer_version_lets_nobody_in_and_says_so(stack):
    stack.engine()
    gateway = stack.gateway()
    stack.worker()
    stack.wait_ready()
    redis, key = stack.redis.client, stack.key()
    (name,) = [k for k in redis.keys("key:*") if redis.get(k) and json.loads(redis.get(k))["id"] == json.loads(
        stack.ctl("keys", "list", "--json").stdout)[-1]["id"]]
    redis.set(name, redis.get(name).replace("cgw/key/v1", "cgw/key/v2"))
    with stack.raw(key=key) as raw:
        answer = raw.ask("POST", CHAT, chat())
    assert answer.status == 503 and answer.error["code"] == "service_unavailable", answer.body
    assert "event=key_record_invalid" in gateway.log_text
    with stack.raw() as raw:
        assert raw.ask("POST", CHAT, chat()).status == 200


def test_a_gateway_that_listens_on_any_address_names_none(stack):
    stack.engine()
    port = stack.gateway(start=False).tunnel.rsplit(":", 1)[1]
    gateway = stack.gateway("any", **{"tunnel.listen": f"0.0.0.0:{port}"})
    stack.gateways = [gateway]
    stack.worker(operators=[{"name": "test", "gateways": [f"127.0.0.1:{port}"], "pins": [stack.operator.pin]}])
    wait_for(lambda: gateway.accepting == 1, "the worker", 5)
    assert listed(gateway) == []
    assert "event=tunnel_unannounced" in gateway.log_text


def test_the_operator_sees_all_workers_over_all_gateways(pool):
    for gateway in pool.gateways:
        with pool.raw(gateway) as raw:
            for _ in range(4):
                assert raw.ask("POST", CHAT, chat(stream=True)).status == 200
    served = lambda: sum(w["served"] for w in json.loads(pool.ctl("workers", "--json").stdout))
    wait_for(lambda: served() == 12, "what all gateways have served", 10)
    for w in json.loads(pool.ctl("workers", "--json").stdout):
        assert w["state"] == "ready" and sorted(w["gateways"]) == ["one", "three", "two"] and w["max"] == 8 and w["ask"] == 1000
        assert w["models"] == ["fake-model"] and w["hours"]["mon"] == "always" and not w["drained"]
    assert any(w.get("first_token_ms", 0) > 0 for w in json.loads(pool.ctl("workers", "--json").stdout))
    lines = pool.ctl("workers").stdout.splitlines()
    assert len(lines) == 3 and lines[0].split() == ["iid", "label", "state", "models", "attestation", "load", "waiting", "kv", "first_ms",
                                                    "tokens_per_s", "served", "errors", "ask", "hours", "gateways"]
    lines = pool.ctl("gateways").stdout.splitlines()
    assert [line.split()[:2] for line in sorted(lines[1:])] == sorted([g.settings["instance"], g.tunnel] for g in pool.gateways)
    assert all(line.split()[3] == "2" for line in lines[1:])
    standing = wait_for(lambda: (s := json.loads(pool.ctl("standing", "--json").stdout)) and
                        sum(r["completed"] for r in s.values()) == 12 and s, "it is counted for good", 10)
    assert all(r["failed"] == 0 for r in standing.values())
    for words, says in ((("drain", "nobody"), "no worker here"), (("drain", "worker"), ""), (("ban", "wid:xyz"), "32 hexadecimal"),
                        (("enable", "ffff"), "nothing is decided"), (("workers", "--redis", "redis://127.0.0.1:1"), "does not answer")):
        done = pool.ctl(*words, check=False)
        assert says in done.stderr and (done.returncode == 0) == (says == ""), done.stderr


def test_watching_the_pool_goes_on(chain):
    watch = subprocess.Popen([os.path.join(BIN, "cocoonctl"), "workers", "--watch", "--json"], stdout=subprocess.PIPE, text=True,
                             env={**os.environ, "REDIS_URL": chain.redis.url})
    try:
        lines = [json.loads(watch.stdout.readline()) for _ in range(4)]
        assert lines[-1][0]["state"] == "ready"
    finally:
        watch.kill()
        watch.wait()


def test_demand_tells_what_was_asked_for_and_what_was_refused(stack):
    stack.engine(models=["cheap", "dear"])
    gateway = stack.gateway()
    stack.worker(models=["cheap"])
    stack.worker(models=["dear"], ask=3000)
    stack.wait_ready()
    with stack.raw() as raw:
        assert raw.ask("POST", CHAT, {**chat(), "model": "cheap"}).status == 200
    with stack.raw() as raw:
        assert raw.ask("POST", CHAT, {**chat(), "model": "dear"}).error["code"] == "no_capacity"
    stack.wait_listed()
    stack.ctl("drain", next(w["iid"] for w in gateway.status["workers"] if w["models"] == ["cheap"]))
    wait_for(lambda: any(w["drained"] for w in gateway.status["workers"]), "the drain", 2)
    with stack.raw() as raw:
        assert raw.ask("POST", CHAT, {**chat(), "model": "cheap"}).error["code"] == "no_capacity"
    read = lambda *words: {r["model"]: r for r in json.loads(stack.ctl("demand", "--json", *words).stdout)}
    demand = wait_for(lambda: (d := read()).get("cheap", {}).get("requests") == 2 and "dear" in d and d, "it is counted", 3)
    cheap, dear = demand["cheap"], demand["dear"]
    assert cheap["prompt"] > 0 and cheap["completion"] > 0 and (cheap["refused_capacity"], cheap["refused_bid"]) == (1, 0)
    assert dear["requests"] == 1 and (dear["refused_capacity"], dear["refused_bid"]) == (0, 1)
    assert len(read("--by-hour", "--model", "dear")["dear"]["hour"]) == 10
    assert re.search(r"^dear +all +1 ", stack.ctl("demand", "--hours", "2").stdout, re.M)


def test_many_gateways_keep_one_document_of_a_keyset_in_redis(stack):
    """Each has one of its own; Redis would hold as many as there are gateways, anew with each hour's keyset."""
    stack.engine()
    for name in ("one", "two", "three", "four", "five"):
        stack.gateway(name)
    wait_for(lambda: all(g.status["gateways"] == 5 for g in stack.gateways), "they know of each other", 10)
    worker = stack.worker()
    wait_for(lambda: all(any(w["state"] == "ready" for w in g.status["workers"]) for g in stack.gateways), "the worker is everywhere", 20)
    redis = stack.redis.client
    keys = wait_for(lambda: len(k := redis.keys("evidence:*")) > 1 and k, "the evidence", 3)
    time.sleep(0.5)
    assert "evidence:" + worker.status["keyset"]["sha256"] in keys and len(redis.keys("evidence:*")) == 2
    entry = "worker:" + worker.status["iid"]
    named = lambda: (json.loads(redis.get(entry))["document"])  # noqa: E731
    document = wait_for(named, "the entry names it", 3)
    assert "evidence:" + document in keys
    worker.reload(max_requests=7)  # all of them write the entry
    wait_for(lambda: json.loads(redis.get(entry))["max"] == 7, "it is written anew", 8)
    for _ in range(10):
        time.sleep(0.1)
        assert named() == document
