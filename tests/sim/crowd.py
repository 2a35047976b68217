"""Many workers on one gateway: what their being there costs."""

import time

from faulty import engine_figures
from figures import Check, summary
from pool import Pool, wait_for
from stack import Process


def cpu_s(process):
    """User and system time of a process, all its threads: its CPU clock (clock_getcpuclockid(3)), exact where /proc counts 10 ms."""
    return time.clock_gettime((~process.pid << 3) | 2)


def share_of_core(process, seconds):
    begun, before = time.monotonic(), cpu_s(process)
    time.sleep(seconds)
    return (cpu_s(process) - before) / (time.monotonic() - begun)


def add_workers(pool, count, batch=50):
    """Real workers, all beside the first engine; a batch at a time, as the machine is small."""
    gateway, more = pool.gateways[0], []
    for i in range(count):
        worker = pool.stack.worker(pool.engines[0], pool.gateways, name=f"more-{i}", log_level="warn", start=False, max_requests=4)
        worker.write_config()
        pool.stack.processes.append(Process.start(worker))
        more.append(worker)
        if len(more) % batch == 0 or len(more) == count:
            wait_for(lambda: gateway.accepting >= len(more) + 1, f"{len(more)} more workers", 120, 0.2)
    return more


def tunnels(args, count, seconds):
    pool = Pool(args.programs, speeds=[8], max_requests=64)
    try:
        gateway = pool.gateways[0]
        pool.warm()
        time.sleep(1)
        alone, rss = share_of_core(gateway, seconds), gateway.rss_kib
        begun = time.monotonic()
        add_workers(pool, count)
        joined = time.monotonic() - begun
        time.sleep(2)
        crowd = share_of_core(gateway, seconds)
        grown = (gateway.rss_kib - rss) / count
        before = engine_figures(pool)
        with pool.replay(rate=20, count=20 * 5, seed=args.seed) as run:
            pass
        return run.trace, [
            Check(f"share of a core that {count} workers' heartbeats take", crowd - alone, most=0.05, digits=4),
            Check("the gateway with one worker", alone, digits=4),
            Check("its memory for a worker", grown, unit="KiB", digits=1),
            Check("all had joined after", joined, unit="s", digits=1),
            Check("requests that failed among so many", sum(not r.ok for r in run.requests), most=0),
        ] + summary(run.requests, engine_figures(pool, before), 5)
    finally:
        trouble = pool.stop()
        if trouble:
            print(trouble)


def five_hundred_tunnels(args):
    """500 real workers on one gateway: what their heartbeats cost"""
    return tunnels(args, 500, 10)


# ---- What docs/scale.md is computed from ---------------------------------------------------------------

def redis_commands(pool):
    return pool.stack.redis.client.info("stats")["total_commands_processed"]


def at_rest(pool, seconds):
    """Shares of a core of the gateway, its first worker and Redis, and Redis' commands a second, while nobody asks."""
    gateway, worker, redis = pool.gateways[0], pool.workers[0], pool.stack.redis
    begun, commands, before = time.monotonic(), redis_commands(pool), [cpu_s(p) for p in (gateway, worker, redis)]
    time.sleep(seconds)
    took = time.monotonic() - begun
    shares = [(cpu_s(p) - b) / took for p, b in zip((gateway, worker, redis), before)]
    return shares, (redis_commands(pool) - commands - 1) / took


def busy(pool, rate, seconds, seed, **options):
    """The same over a replay, and the replay."""
    gateway, redis = pool.gateways[0], pool.stack.redis
    commands, before = redis_commands(pool), [cpu_s(gateway), sum(cpu_s(w) for w in pool.workers[:len(pool.engines)]), cpu_s(redis)]
    with pool.replay(rate=rate, count=rate * seconds, seed=seed, **options) as run:
        pass
    after = [cpu_s(gateway), sum(cpu_s(w) for w in pool.workers[:len(pool.engines)]), cpu_s(redis)]
    return run, [a - b for a, b in zip(after, before)], redis_commands(pool) - commands - 1


def costs(args, workers=100, seconds=10):
    """What requests, events, workers and tunnels cost: figures of docs/scale.md"""
    pool = Pool(args.programs, gateways=3, speeds=[8, 8, 8, 8], max_requests=64)
    try:
        pool.warm()
        time.sleep(1)
        (gateway, three, redis), commands = at_rest(pool, seconds)
        one_gateway = pool.gateways[:1]
        lean = pool.stack.worker(pool.engines[0], one_gateway, name="lean", log_level="warn")
        lean.wait_ready()
        before = cpu_s(lean)
        time.sleep(seconds)
        one = (cpu_s(lean) - before) / seconds
        whole = {"gateways": one_gateway, "prompt-max": 256}
        _, short_cpu, short_commands = busy(pool, 100, seconds, args.seed, **whole, **{"output-max": 1})
        run, long_cpu, _ = busy(pool, 40, seconds, args.seed, **whole, **{"output-max": 100})
        requests, events = 100 * seconds, sum(r.events for r in run.requests)
        a_request = (short_cpu[0] - gateway * seconds) / requests
        add_workers(pool, workers)
        time.sleep(2)
        (crowded, _, crowded_redis), crowded_commands = at_rest(pool, seconds)
        return run.trace, [
            Check("gateway at rest, share of a core", gateway, digits=4),
            Check(f"each of {workers} more workers, share of a core", (crowded - gateway) / workers, digits=6),
            Check("a request with one event, CPU of the gateway", a_request * 1e6, unit="µs", digits=0),
            Check("an event, CPU of the gateway", (long_cpu[0] - gateway * seconds - a_request * 40 * seconds) / events * 1e6, unit="µs",
                  digits=1),
            Check("a request with one event, CPU of the worker", (short_cpu[1] - 4 * three * seconds) / requests * 1e6, unit="µs", digits=0),
            Check("worker at rest with one tunnel, share of a core", one, digits=5),
            Check("worker at rest with three, share of a core", three, digits=5),
            Check("Redis' commands a second at rest, three gateways and four workers", commands, digits=1),
            Check(f"and with {workers} more workers", crowded_commands, digits=1),
            Check("Redis at rest, share of a core", redis, digits=4),
            Check(f"and with {workers} more workers", crowded_redis, digits=4),
            Check("Redis' commands a request beyond that", (short_commands - commands * seconds) / requests, digits=2),
            Check("requests that failed", sum(not r.ok for r in run.requests), most=0),
        ]
    finally:
        trouble = pool.stop()
        if trouble:
            print(trouble)


costs.repeats = 1


def many_gateways(args, gateways=12, seconds=10):
    """Twelve gateways, each with tunnels to the same two workers: figures of docs/scale.md"""
    found = []
    for count in (1, gateways):
        pool = Pool(args.programs, gateways=count, speeds=[8, 8])
        try:
            time.sleep(2)
            (gateway, worker, redis), commands = at_rest(pool, seconds)
            found.append((gateway, worker, redis, commands, pool.workers[0].rss_kib, pool.gateways[0].rss_kib))
            with pool.replay(rate=20, count=20 * 4, seed=args.seed) as run:
                pass
        finally:
            trouble = pool.stop()
            if trouble:
                print(trouble)
    one, many = found
    more = gateways - 1
    return run.trace, [
        Check("a gateway at rest among twelve, share of a core", many[0], digits=4),
        Check("each tunnel more, share of a core of the worker", (many[1] - one[1]) / more, digits=6),
        Check("each tunnel more, memory of the worker", (many[4] - one[4]) / more, unit="KiB", digits=1),
        Check("each gateway more, memory of a gateway", (many[5] - one[5]) / more, unit="KiB", digits=1),
        Check("each gateway more, Redis' commands a second", (many[3] - one[3]) / more, digits=2),
        Check("each gateway more, share of a core of Redis", (many[2] - one[2]) / more, digits=5),
        Check("requests that failed", sum(not r.ok for r in run.requests), most=0),
    ]


many_gateways.repeats = 1
