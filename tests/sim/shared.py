"""Scenarios in which Redis goes away under load, for a while or for another."""

import json
import os
import statistics
import subprocess
import threading
import time
import urllib.error
import urllib.request

from faulty import TIMEOUTS, engine_figures, judged
from figures import Check, percentile, summary
from pool import Pool, free_port
from stack import Process, wait_for

RATE = 12
FRESH_EVERY_S = 0.1  # a request with a key that this gateway has not seen


def ask(gateway, key):
    """Status and code of a short request; 0 and the reason when there was no answer."""
    body = json.dumps({"model": "sim", "messages": [{"role": "user", "content": "Hi"}], "seed": 1}).encode()
    request = urllib.request.Request(f"{gateway.base_url}/chat/completions", body,
                                     {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as e:
        return e.code, json.loads(e.read())["error"]["code"]
    except OSError as e:
        return 0, str(e)


class Strangers:
    """Asks with one key after the other that the gateway has not looked up yet, beside the replay."""

    def __init__(self, pool, keys):
        self.pool, self.keys, self.seen = pool, keys, []  # (time, status, code)
        self.slowest = 0.0  # seconds
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.stopping = threading.Event()

    def run(self):
        for key in self.keys:
            begun = time.monotonic()
            self.seen.append((begun, *ask(self.pool.gateways[0], key)))
            self.slowest = max(self.slowest, time.monotonic() - begun)
            if self.stopping.wait(max(0.0, begun + FRESH_EVERY_S - time.monotonic())):
                return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(20)

    def between(self, begin, end):
        return [(status, code) for at, status, code in self.seen if begin < at < end]


def first_tokens(run, begin, end):
    return [r.first_ms for r in run.requests if r.ok and begin < run.begun + r.at < end]


def redis_stopped(args, away=60.0, around=8.0):
    """Redis stopped for 60 s under load, and started again"""
    pool = Pool(args.programs, speeds=[4, 4, 4, 4], settings=TIMEOUTS)
    try:
        seconds = away + 2 * around
        keys = [pool.stack.key() for _ in range(int(seconds / FRESH_EVERY_S))]
        pool.warm()
        before = engine_figures(pool)
        options = {"seed": args.seed, "prompt-max": 100, "output-max": 20}  # nearly all alike, so that times can be compared
        with pool.replay(rate=RATE, count=int(RATE * seconds), **options) as run, Strangers(pool, keys) as strangers:
            run.until(around)
            stopped_at = time.monotonic()
            pool.stack.redis.client.shutdown(save=True)
            pool.stack.redis.wait()
            run.until(around + away)
            started_at = time.monotonic()
            pool.stack.redis.start()
            recovered = wait_for(lambda: ask(pool.gateways[0], keys[-1])[0] == 200 and time.monotonic(), "a new key is served", 20)
        with_redis = first_tokens(run, run.begun + 1, stopped_at) + first_tokens(run, recovered + 1, recovered + around)
        without = first_tokens(run, stopped_at + 0.5, started_at)
        refused = strangers.between(stopped_at + 0.2, started_at - 0.2)
        return run.trace, judged(run.requests) + [
            Check("requests of cached keys that failed", sum(not r.ok for r in run.requests), most=0),
            Check("time to first token p50, with Redis", statistics.median(with_redis), unit="ms", digits=1),
            Check("added without Redis, p50", statistics.median(without) - statistics.median(with_redis), most=5.0, unit="ms"),
            Check("added without Redis, p95", percentile(without, 95) - percentile(with_redis, 95), unit="ms"),
            Check("requests of new keys, without Redis", len(refused), least=1),
            Check("of them answered otherwise than 503 service_unavailable", sum(r != (503, "service_unavailable") for r in refused), most=0),
            Check("from Redis' start to a new key's first answer", recovered - started_at, most=10.0, unit="s"),
        ] + summary(run.requests, engine_figures(pool, before), seconds)
    finally:
        trouble = pool.stop()
        if trouble:
            print(trouble)


# ---- Sentinel ------------------------------------------------------------------------------------------

class Sentinels:
    """A primary, a replica and three sentinels; stands in for the stack's Redis."""

    def __init__(self, stack):
        self.stack = stack
        self.ports = [free_port() for _ in range(5)]
        self.servers = [self.server(0, []), self.server(1, ["--replicaof", "127.0.0.1", str(self.ports[0])])]
        self.sentinels = [self.sentinel(i) for i in range(2, 5)]
        self.url = f"redis+sentinel://{','.join(f'127.0.0.1:{p}' for p in self.ports[2:])}/pool"
        wait_for(self.complete, "a replica and three sentinels", 20, 0.1)

    def process(self, name, argv):
        return self.stack.start(Process(self.stack, name, argv))

    def server(self, i, more):
        return self.process(f"redis-{i}", ["redis-server", "--port", str(self.ports[i]), "--bind", "127.0.0.1", "--save", "",
                                           "--repl-diskless-sync-delay", "0", "--dir", self.stack.folder, *more])

    def sentinel(self, i):
        folder = os.path.join(self.stack.folder, f"sentinel-{i}")
        os.mkdir(folder)
        path = os.path.join(folder, "sentinel.conf")
        with open(path, "w") as f:
            f.write(f"port {self.ports[i]}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor pool 127.0.0.1 {self.ports[0]} 2\n"
                    "sentinel down-after-milliseconds pool 200\nsentinel failover-timeout pool 5000\n"
                    "sentinel parallel-syncs pool 1\n")
        return self.process(f"sentinel-{i}", ["redis-server", path, "--sentinel"])

    def cli(self, port, *words):
        return subprocess.run(["redis-cli", "-p", str(port), *words], capture_output=True, text=True, timeout=5).stdout

    def complete(self):
        told = self.cli(self.ports[2], "sentinel", "master", "pool").split("\n")
        if "num-other-sentinels" not in told:
            return False
        return told[told.index("num-other-sentinels") + 1] == "2" and told[told.index("num-slaves") + 1] == "1" and \
            "master_link_status:up" in self.cli(self.ports[1], "info", "replication")

    def fail_over(self):
        """Kills the present primary: on a busy machine Sentinel may have promoted the replica before."""
        port = int(self.cli(self.ports[2], "sentinel", "get-master-addr-by-name", "pool").split()[1])
        self.servers[self.ports.index(port)].kill()


def sentinel_failover(args):
    """A primary of Redis is killed under load; Sentinel promotes its replica"""
    made = []

    def redis(stack):
        made.append(Sentinels(stack))
        stack._redis = made[0]  # in place of the one that it would start

    pool = Pool(args.programs, speeds=[4, 4, 4, 4], settings=TIMEOUTS, redis=redis)
    try:
        seconds = 14
        keys = [pool.stack.key() for _ in range(int(seconds / FRESH_EVERY_S))]
        pool.warm()
        before = engine_figures(pool)
        with pool.replay(rate=RATE, count=RATE * seconds, seed=args.seed) as run, Strangers(pool, keys) as strangers:
            run.until(4)
            killed_at = time.monotonic()
            made[0].fail_over()
            run.until(seconds)
        later = [(at, status, code) for at, status, code in strangers.seen if at > killed_at]
        lost = [at for at, status, _ in later if status != 200]
        pause = next((at for at, status, _ in later if status == 200 and at > lost[-1]), float("inf")) - killed_at if lost else 0.0
        return run.trace, judged(run.requests) + [
            Check("requests of cached keys that failed", sum(not r.ok for r in run.requests), most=0),
            Check("pause until a new key was served again", pause, most=1.0, unit="s"),
            Check("new keys asked with after the kill", len(later), least=50),
            Check("slowest answer to a new key", strangers.slowest, most=1.0, unit="s"),
            Check("the replica was promoted", int("role:master" in made[0].cli(made[0].ports[1], "info", "replication")), least=1),
            Check("answers in it other than 503 service_unavailable",
                  sum((status, code) not in ((200, ""), (503, "service_unavailable")) for _, status, code in later), most=0),
        ] + summary(run.requests, engine_figures(pool, before), seconds)
    finally:
        trouble = pool.stop()
        if trouble:
            print(trouble)
