"""What the gateway keeps in Redis, and what becomes of requests when Redis is slow, absent, restarted or emptied."""

import base64
import hashlib
import json
import threading
import time

import pytest

from stack import SLOW, PAYOUT, chat, script, wait_for

CHAT = "/v1/chat/completions"
QUICK = 2 * SLOW  # seconds within which anything is answered, whatever Redis does


@pytest.fixture
def trio(stack):
    stack.engine(models=["fake-model", "other-model"])
    stack.gateway()
    stack.worker()
    return stack.wait_ready()


def ask(stack, key=None, text="Hi", path=CHAT, **more):
    began = time.monotonic()
    with stack.raw(key=key) as raw:
        answer = raw.ask("POST", path, chat(text, **more))
    assert time.monotonic() - began < QUICK
    return answer


def unavailable(answer):
    assert answer.status == 503 and answer.error["code"] == "service_unavailable" and answer.error["type"] == "server_error"
    assert int(answer.header("retry-after")) >= 1 and float(answer.header("retry-after-ms")) > 0
    assert answer.header("www-authenticate") is None
    return True


def served(stack, key, timeout=10):
    """Until the key is good again; on the way nothing but 503 is said."""
    def check():
        answer = ask(stack, key)
        return answer.status == 200 or not unavailable(answer)
    wait_for(check, "the key is good", timeout, 0.1)


# ---- Redis that does not do its work -------------------------------------------------------------------

def test_a_redis_that_hangs_stops_only_new_keys(trio):
    known, new = trio.key(), trio.key()
    assert ask(trio, known).status == 200
    trio.redis.pause()
    try:
        for _ in range(3):
            assert ask(trio, known).status == 200
            unavailable(ask(trio, new))
            unavailable(ask(trio, "sk-cocoon-" + new[10:]))
        with trio.raw(key=known) as raw:
            raw.request("POST", CHAT, chat(script("slow", seconds=0.1, count=5), stream=True))
            raw.head()
            assert raw.rest().body.endswith(b"data: [DONE]\n\n")
        assert ask(trio, "sk-cocoon-mistyped").status == 401  # needs no look-up
        wait_for(lambda: trio.gateways[0].status["redis"] is False, "the gateway notices", 5)
    finally:
        trio.redis.resume()
    served(trio, new)
    wait_for(lambda: trio.gateways[0].ready, "it is ready again", 5)


def test_a_redis_that_is_slow_costs_no_answer(trio):
    """It stops and goes on all the time."""
    keys = [trio.key() for _ in range(4)]
    assert ask(trio, keys[0]).status == 200
    over = threading.Event()

    def stutter():
        while not over.is_set():
            trio.redis.pause()
            time.sleep(0.08)
            trio.redis.resume()
            time.sleep(0.04)
    thread = threading.Thread(target=stutter)
    thread.start()
    try:
        until = time.monotonic() + 2
        while time.monotonic() < until:
            assert ask(trio, keys[0]).status == 200
            for key in keys[1:]:
                answer = ask(trio, key)
                assert answer.status == 200 or unavailable(answer)
    finally:
        over.set()
        thread.join()
    for key in keys:
        served(trio, key)


def test_a_gateway_starts_without_redis_and_heals(stack):
    stack.engine()
    stack.key_for_all()
    key = stack.key()
    stack.redis.stop()
    gateway = stack.gateway()
    stack.worker()
    wait_for(lambda: gateway.accepting == 1, "the worker needs no Redis", 10)
    unavailable(ask(stack, key))
    stack.redis.start()
    wait_for(lambda: gateway.status["redis"], "Redis is there", 10)
    unavailable(ask(stack, key))  # there, but empty: nothing is known of any key
    stack.ctl("keys", "restore")
    served(stack, key)
    assert ask(stack, forged(key)).status == 401


def forged(key):
    """A key of good form that nobody made."""
    import zlib
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    number = 0
    for c in key[len("sk-cocoon-"):]:
        number = number * 62 + alphabet.index(c)
    raw = bytearray(number.to_bytes(42, "big"))
    assert zlib.crc32(bytes(raw[:-4])) == int.from_bytes(raw[-4:], "big")
    raw[20] ^= 1
    number, out = int.from_bytes(raw[:-4] + zlib.crc32(bytes(raw[:-4])).to_bytes(4, "big"), "big"), ""
    while number:
        number, digit = divmod(number, 62)
        out = alphabet[digit] + out
    return "sk-cocoon-" + out.rjust(len(key) - 10, "0")


def test_a_killed_redis_comes_back_empty_and_is_filled_again(trio):
    known, new = trio.key(), trio.key()
    assert ask(trio, known).status == 200
    trio.redis.kill()
    assert ask(trio, known).status == 200
    unavailable(ask(trio, new))
    trio.redis.start()
    wait_for(lambda: trio.gateways[0].status["redis"], "Redis is there", 10)
    assert ask(trio, known).status == 200
    unavailable(ask(trio, new))
    wait_for(lambda: trio.redis.client.exists("gw:gateway", "load:gateway") == 2, "the registry is written again", 3)
    trio.ctl("keys", "restore")
    served(trio, new)
    assert ask(trio, forged(new)).status == 401


def test_an_emptied_redis_is_filled_again(trio):
    known, new = trio.key(), trio.key()
    assert ask(trio, known).status == 200
    trio.redis.flush()
    for _ in range(3):
        assert ask(trio, known).status == 200
        unavailable(ask(trio, new))
    worker = "worker:" + trio.workers[0].status["iid"]
    wait_for(lambda: trio.redis.client.exists("gw:gateway", "load:gateway", worker) == 3, "the registry is written again", 8)
    trio.ctl("keys", "restore")
    served(trio, new)


def test_evidence_comes_to_a_redis_that_was_away_or_lost_it(stack):
    """Records that other gateways find later are verified with it."""
    stack.engine()
    gateway = stack.gateway()
    first = stack.worker()
    stack.wait_ready()
    redis = stack.redis.client
    known = lambda w: redis.exists("evidence:" + w.status["keyset"]["sha256"])
    wait_for(lambda: known(first), "the evidence", 3)
    stack.redis.kill()
    second = stack.worker()
    wait_for(lambda: sum(w["state"] == "ready" for w in gateway.status["workers"]) == 2, "the second worker", 10)
    stack.redis.start()
    wait_for(lambda: gateway.status["redis"], "Redis is there", 10)
    wait_for(lambda: known(first) and known(second), "the evidence of both", 3)
    documents = [json.loads(text) for text in redis.mget(redis.keys("evidence:*")) if '"nonce"' in text]
    assert len(documents) == 2
    assert all(100000 < redis.ttl(key) <= 2 * 86400 for key in redis.keys("evidence:*"))


def named_evidence(redis, worker):
    """The document that the worker's entry names, when it and the keyset are there."""
    entry = json.loads(redis.get("worker:" + worker.status["iid"]) or "{}")
    keys = [f"evidence:{entry.get(what)}" for what in ("document", "keyset")]
    return redis.exists(*keys) == 2 and json.loads(redis.get(keys[0]))


def test_evidence_comes_to_a_redis_that_was_emptied_under_way(stack):
    """No connection is lost with it: the next who writes the worker's entry sees that it is gone."""
    stack.engine()
    stack.gateway(**{"attestation.every_ms": 1000})
    worker = stack.worker()
    stack.wait_ready()
    redis = stack.redis.client
    first = wait_for(lambda: named_evidence(redis, worker), "the evidence", 8)
    stack.redis.flush()
    again = wait_for(lambda: named_evidence(redis, worker), "the evidence is there again", 15)
    assert first["keyset"] == again["keyset"]
    before = redis.keys("evidence:*")
    seen = lambda: json.loads(redis.get("worker:" + worker.status["iid"]))["last_seen"]  # noqa: E731
    now = seen()
    wait_for(lambda: seen() >= now + 5, "more proofs", 15)
    assert sorted(redis.keys("evidence:*")) == sorted(before)


def test_an_entry_of_an_older_gateway_is_no_sign_of_a_redis_that_was_emptied(stack):
    """Its entries name no document. Where versions run side by side all evidence was told again with each of them."""
    stack.engine()
    for name in ("one", "two"):
        stack.gateway(name)
    wait_for(lambda: all(g.status["gateways"] == 2 for g in stack.gateways), "they know of each other", 10)
    worker = stack.worker()
    stack.wait_ready()
    redis = stack.redis.client
    key = "worker:" + worker.status["iid"]
    entry = lambda: json.loads(redis.get(key))  # noqa: E731
    wait_for(lambda: named_evidence(redis, worker), "the evidence", 8)
    known = redis.keys("evidence:*")
    for at in known:
        redis.expire(at, 3600)  # who tells it again gives it its whole life
    for slots in (7, 6, 5, 4):
        older = {name: value for name, value in entry().items() if name not in ("document", "valid_until")}
        redis.set(key, json.dumps(older, separators=(",", ":")))
        worker.reload(max_requests=slots)  # both write the entry
        wait_for(lambda: entry()["max"] == slots and named_evidence(redis, worker), "the entry names it again", 15)
    assert sorted(redis.keys("evidence:*")) == sorted(known)
    assert all(redis.ttl(at) <= 3600 for at in known)


def test_evidence_that_redis_refused_is_told_by_a_later_proof(stack):
    stack.engine()
    redis = stack.redis.client
    stack.gateway(**{"attestation.every_ms": 1000})
    redis.config_set("maxmemory", 1)
    worker = stack.worker()
    stack.wait_ready()
    assert not redis.keys("evidence:*")
    redis.config_set("maxmemory", 0)
    wait_for(lambda: named_evidence(redis, worker), "the evidence", 8)


def test_a_key_whose_time_in_the_cache_is_over_is_not_free(stack):
    stack.engine()
    stack.gateway(**{"auth.stale_ms": 1000, "auth.fresh_ms": 100})
    stack.worker()
    stack.wait_ready()
    key = stack.key()
    assert ask(stack, key).status == 200
    stack.redis.stop()
    assert ask(stack, key).status == 200
    time.sleep(1.1)
    unavailable(ask(stack, key))


# ---- What is in it ------------------------------------------------------------------------------------

def test_the_registry_tells_who_is_there(trio):
    redis, worker = trio.redis.client, trio.workers[0].status
    entry = json.loads(wait_for(lambda: redis.get("gw:gateway"), "the gateway's entry", 5))
    assert entry["tunnel"] == trio.gateways[0].tunnel and entry["version"] and abs(entry["seen"] - time.time()) < 10
    assert entry["capacity"] == 10000
    assert 10 < redis.ttl("gw:gateway") <= 15
    wait_for(lambda: '"accepting":true' in (redis.get("worker:" + worker["iid"]) or ""), "the worker's entry follows", 1)
    w = json.loads(redis.get("worker:" + worker["iid"]))
    assert w["label"] == "worker" and w["payout"] == PAYOUT and w["models"] == ["fake-model", "other-model"]
    assert w["ask"] == 1000 and w["max"] == 8 and w["attestation"] == "insecure-dev" and w["keyset"] == worker["keyset"]["sha256"]
    assert len(w["wid"]) == 32 and w["hours"] == dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), "always")
    assert abs(w["first_seen"] - time.time()) < 60
    document = json.loads(redis.get("evidence:" + w["document"]))
    assert hashlib.sha256(base64.b64decode(document["keyset"])).hexdigest() == w["keyset"]
    assert time.time() < w["valid_until"] <= worker["keyset"]["not_after"]
    redis.set("worker:" + worker["iid"], '{"first_seen":12345}')  # another gateway saw it before
    trio.workers[0].reload(max_requests=7)
    again = wait_for(lambda: (e := json.loads(redis.get("worker:" + worker["iid"]))).get("max") == 7 and e, "it is written anew", 8)
    assert again["first_seen"] == 12345
    trio.workers[0].reload(max_requests=8)
    wait_for(lambda: json.loads(redis.get("worker:" + worker["iid"])).get("max") == 8, "it is as before", 8)
    assert redis.ttl("worker:" + worker["iid"]) > 3600
    load = json.loads(wait_for(lambda: redis.hget("load:gateway", worker["iid"]), "the load", 5))
    assert load["max"] == 8 and {"in_flight", "running", "first_token_ms", "tokens_per_s", "failures", "rtt_ms"} <= set(load)
    assert 10 < redis.ttl("load:gateway") <= 15


def test_the_registry_names_the_document_that_it_has(stack):
    """Each proof has a document of its own, and of a keyset only the first is kept there."""
    stack.engine()
    gateway = stack.gateway(**{"attestation.every_ms": 1000})
    iid = stack.worker().status["iid"]
    stack.wait_ready()
    redis = stack.redis.client
    key = "worker:" + iid

    def follows(proofs):
        seen = json.loads(redis.get(key))["last_seen"]
        wait_for(lambda: json.loads(redis.get(key))["last_seen"] >= seen + proofs, "it is written again", 15)
        w = json.loads(redis.get(key))
        document = json.loads(redis.get("evidence:" + w["document"]))
        assert hashlib.sha256(base64.b64decode(document["keyset"])).hexdigest() == w["keyset"] and w["first_seen"] > 0
        return w["document"]

    wait_for(lambda: redis.exists(key), "the entry", 8)
    first = follows(2)
    stack.redis.kill()
    stack.redis.start()
    wait_for(lambda: gateway.status["redis"], "Redis is there", 10)
    wait_for(lambda: redis.exists(key), "the entry is there again", 8)
    assert follows(0) and follows(2) != first  # what it has lost is told anew, by the newest


def test_the_registry_follows_soon(trio):
    redis, iid = trio.redis.client, trio.workers[0].status["iid"]
    with trio.raw() as raw:
        raw.request("POST", CHAT, chat(script("stall", events=1), stream=True))
        raw.head()
        wait_for(lambda: json.loads(redis.hget("load:gateway", iid) or "{}").get("in_flight") == 1, "a call in flight is seen", 7)
    trio.workers[0].stop()
    wait_for(lambda: not redis.hexists("load:gateway", iid), "a worker that left is gone from the load", 7)
    trio.gateways[0].stop()
    assert not redis.exists("gw:gateway", "load:gateway")


def test_usage_and_demand_are_counted_once(trio):
    redis = trio.redis.client
    key = trio.key("--name", "counted")
    id = json.loads(trio.ctl("keys", "show", "counted", "--json").stdout)["id"]
    day, hour = time.strftime("%Y%m%d", time.gmtime()), time.strftime("%Y%m%d%H", time.gmtime())
    numbers = {"prompt": 100, "cached": 40}
    for stream in (False, True):
        answer = ask(trio, key, script("answer", **numbers), stream=stream)
        assert answer.status == 200
    assert ask(trio, key, script("answer", **numbers), n=2).json["usage"]["completion_tokens"] == 14
    assert ask(trio, key, script("overflow")).status == 400
    assert ask(trio, key, script("error")).status == 502
    assert ask(trio, key, model="nobody's").status == 404
    assert ask(trio, key, "Hi", model="other-model").status == 200
    other = dict(redis.hgetall(f"demand:other-model:{hour}"))

    def counted(name):
        return {k: int(v) for k, v in redis.hgetall(name).items()}

    # Four good answers of 7, 7, 14 and 7 tokens; the prompt of two choices is one prompt.
    wait_for(lambda: counted(f"usage:{id}:{day}").get("completion", 0) >= 35 and
             counted(f"usage:{id}:{day}").get("requests", 0) >= 6, "the counters", 5)
    time.sleep(0.6)  # and not once more
    usage, demand = counted(f"usage:{id}:{day}"), counted(f"demand:fake-model:{hour}")
    assert usage["completion"] == 35 and demand["completion"] == 28
    assert demand["cached"] in (120, 160) and usage["cached"] == demand["cached"]  # llama.cpp is asked once a choice
    assert demand["prompt"] in (300, 400) and usage["prompt"] > demand["prompt"]
    assert demand["requests"] == 5 and usage["requests"] == 6
    assert counted(f"demand:other-model:{hour}")["requests"] == 1 and other is not None
    assert 0 < redis.ttl(f"usage:{id}:{day}") <= 400 * 86400 and 0 < redis.ttl(f"demand:fake-model:{hour}") <= 35 * 86400


def test_a_refusal_for_want_of_capacity_is_demand(stack):
    stack.engine()
    stack.gateway()
    worker = stack.worker()
    stack.wait_ready()
    stack.ctl("worker", "drain", COCOON_WORKER_ADMIN=worker.admin_socket)
    wait_for(lambda: stack.gateways[0].accepting == 0, "the worker drains", 5)
    assert ask(stack).error["code"] == "no_capacity"
    hour = time.strftime("%Y%m%d%H", time.gmtime())
    wait_for(lambda: stack.redis.client.hget(f"demand:fake-model:{hour}", "refused") == "1", "the refusal is counted", 5)


def test_counts_of_the_time_without_redis_are_not_lost(trio):
    key = trio.key("--name", "away")
    id = json.loads(trio.ctl("keys", "show", "away", "--json").stdout)["id"]
    assert ask(trio, key).status == 200
    name = f"usage:{id}:{time.strftime('%Y%m%d', time.gmtime())}"
    wait_for(lambda: trio.redis.client.hget(name, "completion") == "7", "the first is counted", 5)
    trio.redis.stop()
    wait_for(lambda: not trio.gateways[0].status["redis"], "the gateway notices", 5)
    for _ in range(3):
        assert ask(trio, key).status == 200
    time.sleep(0.5)
    trio.redis.start()  # empty
    wait_for(lambda: trio.redis.client.hget(name, "completion") == "21" and trio.redis.client.hget(name, "requests") == "3",
             "the three are counted", 10)
