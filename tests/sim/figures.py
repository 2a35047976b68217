"""Figures of a run: percentiles, fairness, shares; and the lines that say what they must be."""

import math


def percentile(values, percent):
    """Nearest rank; nan of nothing."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) * percent // 100] if ordered else math.nan


def jain(values):
    """1: all alike … 1/n: one has everything."""
    values = list(values)
    squares = sum(v * v for v in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else math.nan


def moves(requests):
    """How often a conversation's next turn was answered by another engine, and of how many turns."""
    last, moved, turns = {}, 0, 0
    for r in sorted(requests, key=lambda r: r.at):
        if not r.engine:
            continue
        if r.conversation in last:
            turns += 1
            moved += last[r.conversation] != r.engine
        last[r.conversation] = r.engine
    return moved, turns


class Check:
    """One figure and what it must be."""

    def __init__(self, name, value, least=None, most=None, unit="", digits=2):
        self.name, self.value, self.least, self.most, self.unit, self.digits = name, value, least, most, unit, digits

    @property
    def ok(self):
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def judged(self):
        return self.least is not None or self.most is not None

    def number(self, value):
        text = f"{value:,.{self.digits}f}" if isinstance(value, float) else f"{value:,}"
        return f"{text} {self.unit}".strip()

    @property
    def required(self):
        bounds = [f"≥ {self.number(self.least)}"] if self.least is not None else []
        bounds += [f"≤ {self.number(self.most)}"] if self.most is not None else []
        return ", ".join(bounds)

    def __str__(self):
        mark = "" if not self.judged else "ok" if self.ok else "SHORT"
        return f"  {self.name:<66} {self.number(self.value):>16}  {self.required:<22} {mark}".rstrip()


def summary(requests, engines, seconds):
    """The lines that every run of a real pool prints. engines: figures of each (with its speed) at the run's end, of the run alone."""
    good = [r for r in requests if r.ok]
    firsts = [r.first_ms for r in good]
    lines = [Check(f"time to first token {name}", float(percentile(firsts, p)), unit="ms", digits=1)
             for name, p in (("p50", 50), ("p95", 95), ("p99", 99))]
    lines.append(Check("tokens a second", sum(r.made for r in good) / seconds, digits=0))
    lines.append(Check("requests", len(requests)))
    lines.append(Check("requests that failed before their first event", sum(not r.ok and not r.began for r in requests)))
    lines.append(Check("streams that ended with an error event", sum(r.end == "error" and r.began for r in requests)))
    lines.append(Check("wasted tokens", sum(e["wasted"] for e in engines)))
    made, speed = sum(r.made for r in good), sum(e["speed"] for e in engines)
    for e in engines:
        own = sum(r.made for r in good if r.engine == e["name"])
        lines.append(Check(f"{e['name']}: share of the tokens beside its share of the speed", own / max(made, 1) / (e["speed"] / speed)))
    accounts = {r.account for r in requests}
    got = [sum(r.made for r in good if r.account == a) / max(1, sum(1 for r in requests if r.account == a)) for a in accounts]
    lines.append(Check("Jain's index, tokens a request among accounts", jain(got), digits=3))
    moved, turns = moves(good)
    if turns:
        lines.append(Check(f"moves of affinity, of {turns} turns", moved))
        lines.append(Check("prompt tokens found in prefix caches", sum(r.cached for r in good) / max(1, sum(r.prompt for r in good))))
    return lines
