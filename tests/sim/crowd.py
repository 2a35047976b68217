"""Many workers on one gateway: what their being there costs."""

import os
import time

from faulty import engine_figures
from figures import Check, summary
from pool import Pool, wait_for
from stack import Process

TICK = os.sysconf("SC_CLK_TCK")


def cpu_s(process):
    """User and system time of a process, all its threads."""
    with open(f"/proc/{process.pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


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
