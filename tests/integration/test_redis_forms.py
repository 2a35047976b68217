"""Redis as operators run it: with TLS and a password, behind Sentinels, as a Cluster. Whole stories through the gateway in each, a
fail-over under load, and servers that are slow, read-only, loading, or set back."""

import json
import os
import threading
import time

import pytest
import redis as redis_package

from ledger_stack import start_ledger
from redis_forms import Cluster, Proxy, Sentinel, Tls, use
from stack import SLOW, chat, wait_for

CHAT = "/v1/chat/completions"


def start(stack, form=None, **settings):
    if form:
        use(stack, form)
    stack.engine()
    stack.gateway(**settings)
    stack.worker()
    return stack.wait_ready()


def ask(stack, key=None):
    with stack.raw(key=key) as raw:
        return raw.ask("POST", CHAT, chat("Hi"))


def unavailable(answer):
    assert answer.status == 503 and answer.error["code"] == "service_unavailable", answer.body
    assert int(answer.header("retry-after")) >= 1
    return True


def served(stack, key, timeout=10):
    """Until the key is good; on the way nothing but 503 is said."""
    wait_for(lambda: (a := ask(stack, key)).status == 200 or not unavailable(a), "the key is good", timeout, 0.05)


# ---- Each form ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("form", [Tls, Sentinel, Cluster])
def test_everything_of_redis_works_in_each_form(stack, form):
    start(stack, form(stack))
    gateway, redis = stack.gateways[0], stack.redis
    key = stack.key("--name", "one")
    keys = [stack.key() for _ in range(5)]  # in a Cluster: of several nodes
    assert [ask(stack, k).status for k in (key, *keys)] == [200] * 6
    unknown = keys[0][:20] + ("a" if keys[0][20] != "a" else "b") + keys[0][21:]
    assert ask(stack, unknown).status == 401
    wait_for(lambda: gateway.metrics["cocoon_redis_subscribed"] == 1, "the subscriptions", 5)
    stack.ctl("keys", "revoke", "one")
    wait_for(lambda: ask(stack, key).status == 401, "the revocation is heard of", 1, 0.02)

    id = json.loads(stack.ctl("keys", "list", "--json").stdout)[-1]["id"]
    day = time.strftime("%Y%m%d", time.gmtime())
    wait_for(lambda: redis.client.hget(f"usage:{id}:{day}", "requests") == "1", "usage is counted", 5)
    iid = stack.workers[0].status["iid"]
    wait_for(lambda: redis.client.exists("gw:gateway") and redis.client.exists(f"worker:{iid}") and redis.client.hexists("load:gateway", iid),
             "the registry", 8)
    metrics = gateway.metrics
    assert metrics["cocoon_redis_primaries"] == (3 if form is Cluster else 1) and metrics["cocoon_redis_breaker_open"] == 0
    assert metrics["cocoon_redis_unsafe"] == (1 if form is Tls else 0)
    assert metrics['cocoon_redis_failures_total{why="lost"}'] == 0
    if form is Tls:
        assert not redis.client.execute_command("ACL LOG")  # nothing was denied
    gateway.stop()
    assert not redis.client.exists("gw:gateway")


def paid(stack, key):
    """What the answer says that it cost; 503 until money is open."""
    answer = wait_for(lambda: (a := ask(stack, key)).status == 200 and a or not unavailable(a), "money is open", 30, 0.1)
    return answer.json["usage"]["cost_nano"]


@pytest.mark.parametrize("form", [Sentinel, Cluster])
def test_money_goes_through_each_form_and_comes_back_after_a_fail_over(stack, form):
    use(stack, form(stack))
    ledger = start_ledger(stack, **stack.redis.settings)
    ledger.prices()
    start(stack, **{"billing.journal": os.path.join(stack.folder, "gateway.journal")})
    accounts = [ledger.account(f"a{i}", 10**9) for i in range(4)]  # in a Cluster: in several slots
    keys = {a: ledger.key(a) for a in accounts}
    cost = {a: paid(stack, keys[a]) for a in accounts}
    assert all(c > 0 for c in cost.values())
    (stack.redis.nodes[0] if form is Cluster else stack.redis.primary).kill()
    for a in accounts:
        cost[a] += paid(stack, keys[a])
    wait_for(lambda: all(len(ledger.bills(a)) == 2 for a in accounts), "the bills in the books", 15)
    assert {a: ledger.balance(a) for a in accounts} == {a: 10**9 - cost[a] for a in accounts}
    ledger.verify()


class Load:
    """A known key all the time, and new keys, each until it was served once: what they were told and how long they took."""

    def __init__(self, stack, known, new):
        self.stack, self.over = stack, threading.Event()
        self.known, self.new = [], []
        self.threads = [threading.Thread(target=self.run, args=(self.known, [known], False)),
                        threading.Thread(target=self.run, args=(self.new, list(new), True))]

    def run(self, told, keys, once):
        while not self.over.is_set() and keys:
            began = time.monotonic()
            told.append((began, ask(self.stack, keys[0]), time.monotonic() - began))
            if once and told[-1][1].status == 200:
                keys.pop(0)
                time.sleep(0.2)  # some are left for what happens, also on a busy machine
            time.sleep(0.05)

    def __enter__(self):
        for t in self.threads:
            t.start()
        time.sleep(0.3)
        return self

    def __exit__(self, *exc):
        self.over.set()
        for t in self.threads:
            t.join()

    def wait_served(self):
        """Until a new key that asks from now on was served."""
        before = len(self.new)
        wait_for(lambda: any(a.status == 200 for _, a, _ in self.new[before + 1:]), "a new key is served", 10)

    def check(self):
        """No known key was refused, new ones were only told to come back. Seconds between the last one served before and the first one
        after what happened."""
        assert [a.status for _, a, _ in self.known if a.status != 200] == []
        good = [at for at, a, _ in self.new if a.status == 200 or not unavailable(a)]
        return max(b - a for a, b in zip(good, good[1:]))


@pytest.mark.parametrize("form", [Sentinel, Cluster])
def test_a_fail_over_costs_known_keys_nothing_and_new_ones_a_moment(stack, form):
    start(stack, form(stack))
    known = stack.key()
    new = [stack.key() for _ in range(20)]
    assert ask(stack, known).status == 200
    with Load(stack, known, new) as load:
        (stack.redis.nodes[0] if form is Cluster else stack.redis.primary).kill()
        time.sleep(2 * SLOW)
    pause = load.check()
    print(f"{form.__name__}: {pause * 1000:.0f} ms without a new key served")
    assert pause < 4 * SLOW  # of a loaded machine; make sim has the figure of an idle one
    served(stack, stack.key())
    wait_for(lambda: stack.gateways[0].metrics["cocoon_redis_subscribed"] == 1, "the subscriptions", 5)
    stack.ctl("keys", "revoke", json.loads(stack.ctl("keys", "list", "--json").stdout)[1]["id"])
    wait_for(lambda: ask(stack, known).status == 401, "the revocation is heard of", 1, 0.02)


# ---- Servers that do not do as they should --------------------------------------------------------------

def test_redis_stopped_under_load_costs_known_keys_nothing(stack):
    """The short form of the minute in make sim."""
    start(stack)
    known = stack.key()
    new = [stack.key() for _ in range(20)]
    assert ask(stack, known).status == 200
    gateway = stack.gateways[0]
    with Load(stack, known, new) as load:
        stack.redis.pause()
        time.sleep(4)
        away = gateway.metrics
        stack.redis.resume()
        load.wait_served()
    assert 3 < load.check() < 4 + 3 * SLOW
    assert any(a.status == 503 for _, a, _ in load.new) and load.new[-1][1].status == 200
    # The first commands wait 50 ms for nothing; then the breaker answers, and then the connection is gone.
    assert away["cocoon_redis_breaker_opened_total"] <= 2 and away['cocoon_redis_failures_total{why="timeout"}'] <= 30
    assert away['cocoon_redis_failures_total{why="away"}'] > 10
    late = sorted(took for at, a, took in load.known)[int(0.9 * len(load.known))]
    assert late < 0.5 * SLOW
    served(stack, stack.key())


def test_a_slow_redis_opens_the_breaker_and_closes_it_again(stack):
    proxy = Proxy(stack.redis.port)
    try:
        start(stack, **{"redis.url": f"redis://127.0.0.1:{proxy.port}", "auth.fresh_ms": 0})
        known, new, gateway = stack.key(), stack.key(), stack.gateways[0]
        assert ask(stack, known).status == 200
        proxy.delay = 0.12
        for _ in range(20):
            assert ask(stack, known).status == 200
            unavailable(ask(stack, new))
        assert gateway.metrics["cocoon_redis_breaker_opened_total"] >= 1
        refused = gateway.metrics['cocoon_redis_failures_total{why="away"}']
        began = time.monotonic()
        unavailable(ask(stack, new))
        assert gateway.metrics['cocoon_redis_failures_total{why="away"}'] > refused and time.monotonic() - began < 2 * SLOW
        proxy.delay = 0
        served(stack, new)
        wait_for(lambda: gateway.metrics["cocoon_redis_breaker_open"] == 0, "the breaker is closed", 5)
    finally:
        proxy.close()


def test_a_redis_that_loads_or_is_a_replica_is_away(stack):
    proxy = Proxy(stack.redis.port)
    try:
        start(stack, **{"redis.url": f"redis://127.0.0.1:{proxy.port}"})
        known, gateway = stack.key(), stack.gateways[0]
        assert ask(stack, known).status == 200
        for says in (b"-LOADING Redis is loading the dataset in memory\r\n",
                     b"-READONLY You can't write against a read only replica.\r\n"):
            proxy.says = says
            wait_for(lambda: unavailable(ask(stack, stack.key())) and not gateway.status["redis"], "it is away", 5)
            assert ask(stack, known).status == 200
            proxy.says = None
            served(stack, stack.key())
        stack.redis.client.replicaof("127.0.0.1", "1")  # a write turns the gateway away
        wait_for(lambda: not gateway.status["redis"], "it is away", 8)
        assert ask(stack, known).status == 200
        stack.redis.client.replicaof("NO", "ONE")
        served(stack, stack.key())
    finally:
        proxy.close()


def test_a_redis_that_was_set_back_refuses_no_key(stack):
    start(stack)
    old = stack.key()
    before = {k: stack.redis.client.get(k) for k in stack.redis.client.scan_iter("key*")}
    new = [stack.key(), stack.key()]
    assert [ask(stack, k).status for k in (old, new[0])] == [200, 200]
    for k in stack.redis.client.scan_iter("key*"):
        stack.redis.client.delete(k)
    stack.redis.client.mset(before)
    unavailable(ask(stack, new[1]))  # never 401
    assert [ask(stack, k).status for k in (old, new[0])] == [200, 200]
    stack.ctl("keys", "restore")
    served(stack, new[1])


def test_one_primary_of_a_cluster_that_was_emptied_refuses_no_key(stack):
    start(stack, Cluster(stack))
    known, new = stack.key(), [stack.key() for _ in range(12)]
    assert ask(stack, known).status == 200
    for port in (n.port for n in stack.redis.nodes[:3]):
        client = redis_package.Redis(port=port, decode_responses=True)
        if client.keys("key:*"):
            client.flushall()
            break
    told = [ask(stack, k) for k in new]
    assert {a.status for a in told} == {200, 503}  # never 401
    assert ask(stack, known).status == 200
    stack.ctl("keys", "restore")
    for k in new:
        served(stack, k)
