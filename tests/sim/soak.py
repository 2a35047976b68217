"""Ten minutes of faults that chance picks from a seed: nothing may be stuck, starved or driven into one place."""

import collections
import random
import statistics
import time

from faulty import TIMEOUTS, TOTAL_MS, engine_figures
from figures import Check, percentile, summary
from pool import Pool, wait_for

SPEEDS = [1, 2, 2, 4, 4, 8]
RATE = 22
SLOTS = 16  # of an engine


class Wounds:
    """So many of the workers at most have a fault at a time."""

    def __init__(self, pool, most, seed):
        self.pool, self.most, self.rng = pool, most, random.Random(seed)
        self.open = {}  # worker's number -> (heals at, how)
        self.count = collections.Counter()

    def engine_fault(self, **fault):
        return lambda i: self.pool.engines[i].fault(**fault), lambda i: self.pool.engines[i].fault(clear=True)

    def kinds(self):
        workers = self.pool.workers
        return {
            "worker killed": (lambda i: workers[i].kill(), lambda i: workers[i].start()),
            "worker stopped": (lambda i: workers[i].pause(), lambda i: workers[i].resume()),
            "worker drained": (lambda i: workers[i].stop(), lambda i: workers[i].start()),
            "stall": self.engine_fault(stall_ms=self.rng.randrange(500, 4000)),
            "slow": self.engine_fault(speed=self.rng.choice([0.1, 0.3, 0.5])),
            "errors": self.engine_fault(status={"500": self.rng.choice([0.2, 1.0])}),
            "mixed": self.engine_fault(status={"429": 0.1, "400": 0.05, "503": 0.2}),
            "dies": self.engine_fault(die=self.rng.choice([0.2, 1.0])),
            "garbage": self.engine_fault(garbage=0.5),
            "refuses": self.engine_fault(refuse=True),
            "slow start": self.engine_fault(slow_start_ms=3000),
        }

    def heal(self, now):
        for i, (until, how) in list(self.open.items()):
            if now >= until:
                how(i)
                del self.open[i]

    def wound(self, now):
        healthy = [i for i in range(len(self.pool.workers)) if i not in self.open]
        i = self.rng.choice(healthy)
        name, (hurt, heal) = self.rng.choice(sorted(self.kinds().items()))
        self.count[name] += 1
        hurt(i)
        self.open[i] = (now + self.rng.uniform(2, 8), heal)

    def step(self, now):
        self.heal(now)
        if len(self.open) < self.most and self.rng.random() < 0.5:
            self.wound(now)


def herd(requests, slots):
    """Share of the requests that went to an engine with all slots but one taken while over half of the pool's were free."""
    running, turns = collections.Counter(), []
    for r in requests:
        if r.engine:
            turns += [(r.at, 1, r.engine), (r.over_at, -1, r.engine)]
    crowded = 0
    for _, step, engine in sorted(turns):
        running[engine] += step
        crowded += step > 0 and running[engine] >= slots and sum(running.values()) < slots * len(SPEEDS) / 2
    return crowded / max(1, len(turns) / 2)


def quiet(pool):
    """Nothing runs anywhere; what says otherwise."""
    gateways = [g.status for g in pool.gateways]
    running = sum(e.figures["running"] + e.figures["waiting"] for e in pool.engines)
    return sum(pool.in_flight().values()), running, sum(s["queue"] for s in gateways), sum(s["calls"] for s in gateways)


def settled(pool):
    try:
        wait_for(lambda: quiet(pool) == (0, 0, 0, 0), "", 10, 0.2)
    except AssertionError:
        pass
    return quiet(pool)


ACCOUNT_S = 60  # so long a run has enough requests of each account that their times can be compared


def soaked(args, seconds, gateways=2, speeds=SPEEDS, accounts=12, rate=RATE):
    pool = Pool(args.programs, gateways=gateways, speeds=speeds, accounts=accounts, max_requests=SLOTS, settings=TIMEOUTS)
    try:
        pool.warm()
        before = engine_figures(pool)
        wounds = Wounds(pool, len(speeds) // 3, args.seed)
        with pool.replay(rate=rate, count=rate * seconds, seed=args.seed) as run:
            while time.monotonic() - run.begun < seconds - 2:
                time.sleep(1)
                wounds.step(time.monotonic())
        wounds.heal(float("inf"))
        slots, running, queued, calls = settled(pool)
        requests = run.requests
        firsts = [percentile([r.first_ms for r in requests if r.account == a and r.ok], 95) for a in range(len(pool.keys))]
        failed = sum(not r.ok and not r.began for r in requests)
        starved = Check("slowest account's p95 of the first token beside the median one's", max(firsts) / statistics.median(firsts),
                        most=3.0 if seconds >= ACCOUNT_S else None, unit="×")
        return run.trace + "; " + ", ".join(f"{n} × {name}" for name, n in wounds.count.most_common()), [
            Check("slots still taken when nothing runs", slots, most=0),
            Check("requests still in engines", running, most=0),
            Check("still queued", queued, most=0),
            Check("calls still open", calls, most=0),
            Check("longest request", max(r.over_ms for r in requests) / 1000, most=TOTAL_MS / 1000, unit="s", digits=1),
            Check("streams that broke off without an error event", sum(r.began and r.end not in ("ok", "error") for r in requests), most=0),
            Check("requests to an engine that they filled, while half the pool's slots were free", herd(requests, SLOTS), most=0.05,
                  digits=4),
            Check("requests not begun that failed, of all", failed / len(requests), most=0.01, digits=4),
            starved,
        ] + summary(requests, engine_figures(pool, before), seconds)
    finally:
        trouble = pool.stop()
        if trouble:
            print(trouble)


def soak(args):
    """Ten minutes of random faults with a fixed seed"""
    return soaked(args, 600)


soak.repeats = 1
