"""Scenarios in virtual time: the program `virtual` runs the pool's own chooser and queue, an oracle, round robin and chance through the
same trace."""

import json
import os
import subprocess

from figures import Check
from pool import trace

UNBOUNDED_MS = 3600 * 1000
finished = []  # reports of each run, for pictures


def run(args, source, policies, **options):
    """Reports by policy, and the trace's name."""
    name, shown = trace(source)
    argv = [os.path.join(args.programs, "virtual"), "--trace", name, "--policy", ",".join(policies), "--seed", str(args.seed)]
    for option, value in options.items():
        argv += [f"--{option.replace('_', '-')}", str(value)]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, timeout=900)
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    finished.append(reports)
    return {r["policy"]: r for r in reports}, shown


def first(report, rank):
    return report["first_us"][rank] / 1000


def lines(report):
    """What every run prints of a policy."""
    name = report["policy"]
    shown = [Check(f"{name}: time to first token {rank}", first(report, rank), unit="ms", digits=0) for rank in ("p50", "p95", "p99")]
    shown.append(Check(f"{name}: tokens a second", report["tokens_per_s"], digits=0))
    shown.append(Check(f"{name}: wasted tokens", report["wasted_tokens"]))
    shown.append(Check(f"{name}: refused", report["refused"]))
    shown.append(Check(f"{name}: Jain's index among accounts", report["jain"], digits=3))
    if report["turns"]:
        shown.append(Check(f"{name}: moves of affinity, of {report['turns']} turns", report["moves"]))
    for i, share in enumerate(report["share"][:4]):
        shown.append(Check(f"{name}: w{i + 1}'s tokens beside its share of the speed", share))
    return shown


def mixed(args, source, times, count=0):
    """Every request an account of its own: what fairness costs is measured elsewhere. count: only the trace's first ones, whose
    p99 is not the whole trace's: the greedy oracle of the requirement is judged there too, the one of first tokens only shown."""
    found, shown = run(args, source, ["oracle", "oracle of first tokens", "round robin", "random", "chooser"], speeds="1,2,4,8",
                       workers=4, load=0.8, accounts=1000000, queue_ms=UNBOUNDED_MS, count=count)
    ours, oracle, robin = found["chooser"], found["oracle"], found["round robin"]
    return shown, [
        Check("p99 of the first token beside the oracle's", first(ours, "p99") / first(oracle, "p99"), most=times, unit="×"),
        Check("and beside round robin's", first(ours, "p99") / first(robin, "p99"), most=0.5, unit="×", digits=4),
        Check("and beside an oracle's that minds nothing but first tokens",
              first(ours, "p99") / first(found["oracle of first tokens"], "p99"), most=None if count else times, unit="×"),
    ] + [line for r in found.values() for line in lines(r)]


def mixed_conversation(args):
    """Speeds 1:2:4:8 at 80 % of capacity, conversations"""
    return mixed(args, "azure_conv.csv", 1.25)


def mixed_code(args):
    """Speeds 1:2:4:8 at 80 % of capacity, code completion"""
    return mixed(args, "azure_code.csv", 1.75)


def above_capacity(args, count=0):
    """Speeds 1:2:4:8 with a third more than they can do"""
    found, shown = run(args, "azure_conv.csv", ["chooser"], speeds="1,2,4,8", workers=4, load=1.33, accounts=100, count=count)
    ours = found["chooser"]
    worst = max(abs(share - 1) for share in ours["share"])
    return shown, [Check("farthest that a worker's tokens a second are from its share", worst, most=0.10)] + lines(ours)


def warm_prefixes(args):
    """Conversations replayed on eight equal engines with prefix caches"""
    found, shown = run(args, "mooncake_conv.jsonl", ["perfect affinity", "chooser", "chooser without affinity"], speeds="1", workers=8,
                       load=0.6, kv=4000000, accounts=200, queue_ms=UNBOUNDED_MS)
    ours, perfect, blind = found["chooser"], found["perfect affinity"], found["chooser without affinity"]
    return shown, [
        Check("hit ratio of perfect affinity", perfect["hit_ratio"], digits=3),
        Check("ours beside it", ours["hit_ratio"] / perfect["hit_ratio"], least=0.90),
        Check("p99 of the first token beside the choice without affinity", first(ours, "p99") / first(blind, "p99"), most=1.05, unit="×"),
    ] + [line for r in (ours, perfect, blind) for line in lines(r)]


def greedy_account(args):
    """One of twenty accounts asks for ten times its share"""
    options = {"speeds": "1,2,4,8", "workers": 4, "load": 0.8, "accounts": 20, "queue_ms": UNBOUNDED_MS}
    greedy, shown = run(args, "azure_conv.csv", ["chooser"], hog=10, **options)
    fair, _ = run(args, "azure_conv.csv", ["chooser"], hog=1, **options)
    greedy, fair = greedy["chooser"], fair["chooser"]
    return shown, [
        Check("p99 of the others' first tokens, all at their share", fair["others_p99_ms"], unit="ms", digits=0),
        Check("with the greedy one, beside that", greedy["others_p99_ms"] / fair["others_p99_ms"], most=1.10, unit="×"),
        Check("the greedy one's own p99", greedy["first_account_p99_ms"], unit="ms", digits=0),
    ] + lines(greedy)


def five_hundred(args):
    """500 workers: what a choice costs"""
    found, shown = run(args, "azure_conv.csv", ["chooser", "chooser without affinity"], speeds="1,2,4,8", workers=500, load=0.8,
                       count=100000, accounts=1000)
    return shown, [Check("a choice", found["chooser"]["choice_us"], most=5.0, unit="µs")] + [
        line for r in found.values() for line in lines(r)]


def ten_thousand(args):
    """10,000 workers and a million requests"""
    found, shown = run(args, "azure_conv.csv", ["chooser", "chooser without affinity", "random", "round robin"], speeds="1,2,4,8",
                       workers=10000, load=0.8, count=1000000, accounts=10000)
    ours, robin = found["chooser"], found["round robin"]
    return shown, [
        Check("p99 of the first token beside round robin's", first(ours, "p99") / first(robin, "p99"), most=0.5, unit="×", digits=4),
        Check("a choice", ours["choice_us"], unit="µs"),
        Check("refused", ours["refused"], most=0),
    ] + [line for r in found.values() for line in lines(r)]


ten_thousand.repeats = 1
