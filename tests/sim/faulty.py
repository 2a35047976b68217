"""Scenarios of a real pool in which something goes wrong under load. Each returns its checks."""

import time

import virtual
from figures import Check, percentile, summary
from pool import Pool

HEAD_MS, SILENCE_MS, TOTAL_MS = 2000, 3000, 20000
TIMEOUTS = {"timeouts.head_ms": HEAD_MS, "timeouts.silence_ms": SILENCE_MS, "timeouts.total_ms": TOTAL_MS}
RATE = 22  # requests a second: over half of what four engines of speed 2 carry with these answers
SPEEDS = [2, 2, 2, 2]
SLACK_S = 0.5  # the replay's clock begins when it has read its trace


def engine_figures(pool, before=None):
    found = []
    for i, engine in enumerate(pool.engines):
        f = {**engine.figures, "speed": float(engine.argv[engine.argv.index("--speed") + 1])}
        if before:
            f["wasted"] -= before[i]["wasted"]
        found.append(f)
    return found


def judged(requests, allowed_ms=TOTAL_MS):
    """The lines of "Done means": nothing fails but streams that had begun, and those say so; nothing takes too long."""
    failed = [r for r in requests if not r.ok]
    return [
        Check("requests not begun that failed", sum(not r.began for r in failed), most=0),
        Check("streams that broke off without an error event", sum(r.began and r.end != "error" for r in failed), most=0),
        Check("longest request", max(r.over_ms for r in requests) / 1000, most=allowed_ms / 1000, unit="s", digits=1),
    ]


def wounded(args, wound, heal=None, seconds=12, check=None):
    """Four workers, one of them wounded a third through."""
    pool = Pool(args.programs, speeds=SPEEDS, settings=TIMEOUTS, max_requests=16)
    try:
        pool.warm()
        before = engine_figures(pool)
        with pool.replay(rate=RATE, count=RATE * seconds, seed=args.seed) as run:
            run.until(seconds / 3)
            wound(pool)
            run.until(seconds * 2 / 3)
            if heal:
                heal(pool)
        checks = judged(run.requests) + (check(pool, run, seconds) if check else [])
        return run.trace, checks + summary(run.requests, engine_figures(pool, before), seconds)
    finally:
        trouble = pool.stop()
        if trouble:
            print(trouble)


def worker_killed(args):
    """One of four workers is killed under load"""
    return wounded(args, lambda pool: pool.workers[0].kill(), check=out)


def worker_stalled(args):
    """One of four workers stops answering under load (SIGSTOP), and goes on later"""
    return wounded(args, lambda pool: pool.workers[0].pause(), lambda pool: pool.workers[0].resume(), check=out)


def engine_stalled(args):
    """One of four engines makes no tokens for 4 s"""
    return wounded(args, lambda pool: pool.engines[0].fault(stall_ms=4000))


def out(pool, run, seconds):
    """So that a wound that hurts nobody shows: w1 answers nothing while it is away, but what it had and finishes later."""
    away = [r for r in run.requests if r.ok and seconds / 3 + 0.5 < r.at < seconds * 2 / 3 - 0.5]
    return [Check("requests that it answered meanwhile", sum(r.engine == "w1" for r in away), most=3)]


def late_share(pool, run, seconds):
    """Errors never attract: whoever fails fast or is slow gets less, not more."""
    late = [r for r in run.requests if r.engine and r.at > seconds * 2 / 3]
    return [Check("its share of the last third's requests", sum(r.engine == "w1" for r in late) / len(late), most=0.15)]


def engine_slowed(args):
    """One of four engines is slowed to a tenth"""
    return wounded(args, lambda pool: pool.engines[0].fault(speed=0.1), check=late_share)


def engine_errors(args):
    """One of four engines answers 500"""
    return wounded(args, lambda pool: pool.engines[0].fault(status={"500": 1}), check=out)


def engine_dies(args):
    """One of four engines cuts every stream off behind its third token"""
    return wounded(args, lambda pool: pool.engines[0].fault(die=1), check=late_share)


def worker_rejoins(args):
    """One of four workers is killed under load, and comes back"""
    def heal(pool):
        pool.workers[0].start()

    def share(pool, run, seconds):
        late = [r for r in run.requests if r.ok and r.at > seconds * 2 / 3 + 2]
        return [Check("requests that it took after it came back", sum(r.engine == "w1" for r in late), least=1)]
    return wounded(args, lambda pool: pool.workers[0].kill(), heal, seconds=15, check=share)


def gateway_killed(args):
    """kill -9 of one of three gateways under load"""
    seconds = 12
    pool = Pool(args.programs, gateways=3, speeds=SPEEDS, settings=TIMEOUTS, max_requests=16)
    try:
        pool.warm()
        before = engine_figures(pool)
        with pool.replay(rate=RATE, count=RATE * seconds, seed=args.seed, **{"prompt-max": 200}) as run:  # alike, to be compared
            run.until(seconds / 2)
            killed_at = time.monotonic() - run.begun - SLACK_S
            pool.gateways[1].kill()
        others = [r for r in run.requests if r.gateway != 1]
        open_there = [r for r in run.requests if r.gateway == 1 and r.over_at < killed_at]
        early = percentile([r.first_ms for r in others if r.ok and r.at < killed_at - 1], 50)
        late = percentile([r.first_ms for r in others if r.ok and r.at > killed_at + SLACK_S], 50)
        time.sleep(1)
        return run.trace, [
            Check("requests at the other gateways that failed", sum(not r.ok for r in others), most=0),
            Check("requests at the dead one that were lost", sum(r.gateway == 1 and not r.ok for r in run.requests), least=1),
            Check("requests at the dead one that were over before and failed", sum(not r.ok for r in open_there), most=0),
            Check("p50 of the first token at the others, before", early, unit="ms", digits=1),
            Check("and after, beside it", late / early, most=1.5, unit="×"),
            Check("slots still taken when nothing runs", sum(pool.in_flight().values()), most=0),
        ] + summary(run.requests, engine_figures(pool, before), seconds)
    finally:
        trouble = pool.stop()
        if trouble:
            print(trouble)


def overloaded(args):
    """A real pool of speeds 1:2:4:8 with more than it can do"""
    seconds, settle, rate = 20, 6, 90
    pool = Pool(args.programs, speeds=[0.5, 1, 2, 4], settings=TIMEOUTS, max_requests=16)
    try:
        pool.warm(rate=8, count=40)
        before = engine_figures(pool)
        options = {"seed": args.seed, "prompt-max": 300, "output-max": 60}
        with pool.replay(rate=rate, count=rate * seconds, **options) as run:
            pass
        engines = engine_figures(pool, before)
        speed = sum(e["speed"] for e in engines)
        made = {e["name"]: sum(r.made for r in run.requests if r.ok and r.engine == e["name"] and settle < r.over_at < seconds)
                for e in engines}
        shares = [made[e["name"]] / sum(made.values()) / (e["speed"] / speed) for e in engines]
        refused = [r for r in run.requests if not r.ok and not r.began]
        return run.trace, [
            Check("farthest that a worker's tokens a second are from its share", max(abs(s - 1) for s in shares), most=0.10),
            Check("requests that were refused", len(refused)),
            Check("of them otherwise than with 503 no_capacity", sum((r.status, r.code) != (503, "no_capacity") for r in refused), most=0),
        ] + summary(run.requests, engines, seconds)
    finally:
        trouble = pool.stop()
        if trouble:
            print(trouble)


def mixed_real(args):
    """A real pool of speeds 1:2:4:8 at 80 % of its capacity, beside an oracle in virtual time"""
    speeds, count = [0.25, 0.5, 1, 2], 1000
    found, _ = virtual.run(args, "azure_conv.csv", ["oracle"], speeds=",".join(map(str, speeds)), workers=4, load=0.8, count=count,
                           accounts=8)
    oracle = found["oracle"]
    pool = Pool(args.programs, speeds=speeds, max_requests=24)
    try:
        pool.warm(rate=3, count=30)
        before = engine_figures(pool)
        options = {"seed": args.seed, "prompt-max": 0, "output-max": 0, "timeout-ms": 120000}
        with pool.replay(rate=oracle["rate"], count=count, **options) as run:
            pass
        seconds = max(r.over_at for r in run.requests)
        late = [r.first_ms for r in sorted(run.requests, key=lambda r: r.at)[count // 10:] if r.ok]
        return run.trace, [
            Check("p99 of the first token, oracle", virtual.first(oracle, "p99"), unit="ms", digits=0),
            Check("ours beside it", percentile(late, 99) / virtual.first(oracle, "p99"), most=1.25, unit="×"),
            Check("requests that failed", sum(not r.ok for r in run.requests), most=0),
        ] + summary(run.requests, engine_figures(pool, before), seconds)
    finally:
        trouble = pool.stop()
        if trouble:
            print(trouble)
