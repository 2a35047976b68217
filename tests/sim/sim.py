#!/usr/bin/env python3
"""`make sim`: scenarios of the pool, each with its figures and what they must be. Exit code 1 when one falls short."""

import argparse
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)


def parse():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--bin", default=os.path.join(ROOT, "bin"))
    a.add_argument("--programs", default=os.path.join(ROOT, "build/release/tests/sim"))
    a.add_argument("--scenario", default="", help="names, with commas; all when empty")
    a.add_argument("--repeat", type=int, default=5)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--plot", help="folder for pictures")
    a.add_argument("--list", action="store_true")
    args = a.parse_args()
    args.bin, args.programs = os.path.abspath(args.bin), os.path.abspath(args.programs)
    return args


ARGS = parse()
os.environ["BIN"] = ARGS.bin

import crowd  # noqa: E402  (the stack reads BIN)
import faulty  # noqa: E402
import plot  # noqa: E402
import pool  # noqa: E402
import shared  # noqa: E402
import soak  # noqa: E402
import virtual  # noqa: E402

SCENARIOS = [
    virtual.mixed_conversation, virtual.mixed_code, virtual.above_capacity, virtual.warm_prefixes, virtual.greedy_account,
    virtual.five_hundred, virtual.ten_thousand,
    faulty.worker_killed, faulty.worker_stalled, faulty.engine_stalled, faulty.engine_slowed, faulty.engine_errors, faulty.engine_dies,
    faulty.worker_rejoins, faulty.gateway_killed, faulty.mixed_real, faulty.overloaded,
    shared.redis_stopped, shared.sentinel_failover, crowd.five_hundred_tunnels, crowd.costs, crowd.many_gateways, soak.soak,
]


def name_of(scenario):
    return scenario.__name__.replace("_", "-")


def chosen():
    wanted = [n for n in ARGS.scenario.split(",") if n]
    unknown = set(wanted) - {name_of(s) for s in SCENARIOS}
    if unknown:
        sys.exit(f"sim: no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(map(name_of, SCENARIOS))}")
    return [s for s in SCENARIOS if not wanted or name_of(s) in wanted]


def run_one(scenario, repeat):
    args = argparse.Namespace(**{**vars(ARGS), "seed": ARGS.seed + repeat, "repeat": repeat})
    begun = time.monotonic()
    pool.Replay.finished.clear()
    virtual.finished.clear()
    trace, checks = scenario(args)
    print(f"\n{name_of(scenario)} ({repeat + 1}): {scenario.__doc__.splitlines()[0]}\n"
          f"  trace {trace}, seed {args.seed}, {time.monotonic() - begun:.0f} s")
    for check in checks:
        print(check)
    if args.plot:
        made = plot.plot_all(args.plot, f"{name_of(scenario)}-{repeat + 1}", pool.Replay.finished, virtual.finished)
        print("  pictures: " + ", ".join(made))
    sys.stdout.flush()
    return [(name_of(scenario), repeat, c) for c in checks if not c.ok]


def main():
    if ARGS.list:
        print("\n".join(f"{name_of(s):<20} {s.__doc__.splitlines()[0]}" for s in SCENARIOS))
        return
    short, runs = [], 0
    for scenario in chosen():
        for repeat in range(min(ARGS.repeat, getattr(scenario, "repeats", ARGS.repeat))):
            short += run_one(scenario, repeat)
            runs += 1
    print(f"\n{runs} runs, {len(short)} figures fell short")
    for name, repeat, check in short:
        print(f"{name} ({repeat + 1}):{check}")
    sys.exit(1 if short else 0)


if __name__ == "__main__":
    main()
