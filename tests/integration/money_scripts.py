"""The scripts of billing/lua on a real Redis, and an account as the design describes it, written without looking at them."""

import os
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DAY_MS = 24 * 3600 * 1000


def source(name):
    """As billing/scripts.c puts them together."""
    parts = (name,) if name in ("admit", "field", "budgets") else ("common", name)
    return "\n".join(open(os.path.join(ROOT, "billing", "lua", part + ".lua"), encoding="utf-8").read() for part in parts)


class Scripts:
    """The scripts as methods, keys and arguments as billing/layout.h has them."""

    def __init__(self, client):
        self.redis = client
        self.run = {name: client.register_script(source(name)) for name in
                    ("admit", "settle", "release", "expire", "attempt", "assert", "account", "field", "restore", "budgets")}

    @staticmethod
    def keys(account, call):
        return [f"m1:acct:{{{account}}}", f"m1:hold:{{{account}}}:{call}", f"m1:holds:{{{account}}}"]

    def account(self, name, version=1, epoch=1, granted=0, cfg="active||||||", charged=0):
        return self.run["account"](keys=[f"m1:acct:{{{name}}}"], args=[version, epoch, granted, cfg, charged])

    def field(self, account, name, version, value):
        return self.run["field"](keys=[f"m1:acct:{{{account}}}"], args=[name, version, value])

    def budgets(self, account, told):
        return self.run["budgets"](keys=[f"m1:acct:{{{account}}}"], args=[told])

    def key(self, account, key, version=1):
        return self.field(account, "kv:" + key, version, version)

    def admit(self, account, call, ceiling, epoch=1, key="k1", version=1, project="", model="m", life_ms=60000, tokens=0, limits="",
              budgets="", instance="gw"):
        return self.run["admit"](keys=self.keys(account, call), args=[call, ceiling, epoch, key, version, project, model, life_ms, tokens,
                                                                      limits, budgets, instance, 12, 1000, 100, 100])

    def settle(self, account, call, amount, attempt=0, tokens=0, life_ms=DAY_MS):
        """[result, charged]"""
        return self.run["settle"](keys=self.keys(account, call), args=[call, amount, attempt, tokens, life_ms])[:2]

    def release(self, account, call):
        return self.run["release"](keys=self.keys(account, call), args=[call, 3600000])[0]

    def expire(self, account, call):
        return self.run["expire"](keys=self.keys(account, call), args=[call, DAY_MS])[0]

    def attempt(self, account, call, attempt):
        return self.run["attempt"](keys=[self.keys(account, call)[1]], args=[attempt])[0]

    def restore(self, account, epoch, granted, charged, version=1, cfg="active||||||", billed=(), late=(), budgets=""):
        """billed: call -> (amount, attempt) as the books have it of open holds; late: the same of calls that were settled late."""
        acct, _, holds = self.keys(account, "")
        calls = self.redis.zrange(holds, 0, -1)
        rows = [part for c in calls for part in (c, *dict(billed).get(c, ("", "")))]
        rows += [part for c, of in dict(late).items() for part in (c, *of)]
        return self.run["restore"](keys=[acct, holds] + [self.keys(account, c)[1] for c in [*calls, *dict(late)]],
                                   args=[epoch, version, granted, charged, cfg, DAY_MS, budgets, len(calls), *rows])

    def older(self, account, call):
        """Makes the call's row one of before rows had an epoch: state|hold|charged|attempt|instance|…"""
        row = self.keys(account, call)[1]
        fields = (self.redis.get(row) or "").split("|")
        if len(fields) > 12 and fields[12].isdigit():  # of now: the tokens
            self.redis.set(row, "|".join(fields[:4] + fields[5:]), keepttl=True)

    def money(self, account):
        """available, charged, streams of the account."""
        values = self.redis.hmget(f"m1:acct:{{{account}}}", "available", "charged", "s:a")
        return tuple(int(v or 0) for v in values)


@dataclass
class Account:
    """What the design says an account does, in Python's integers."""
    granted: int = 0
    available: int = 0
    charged: int = 0
    streams_limit: int = 0
    budget: int = 0  # total, of the account
    used: int = 0
    calls: dict = field(default_factory=dict)  # call -> [state, hold, charged, attempt]

    def open(self):
        return sum(c[0] == "open" for c in self.calls.values())

    def grant(self, granted):
        if self.available + granted - self.granted < 0:
            return "short"
        self.available += granted - self.granted
        self.granted = granted
        return "ok"

    def admit(self, call, ceiling):
        if self.streams_limit and self.open() >= self.streams_limit:
            return "streams"
        if call in self.calls:
            return "exists"
        if self.budget and self.used + ceiling > self.budget:
            return "budget"
        if ceiling > self.available:
            return "balance"
        self.available -= ceiling
        self.used += ceiling
        self.calls[call] = ["open", ceiling, 0, 0]
        return "ok"

    def settle(self, call, amount, attempt):
        if call not in self.calls:
            return "unknown", 0
        c = self.calls[call]
        if c[0] in ("settled", "late_settled"):
            return ("again" if c[0] == "settled" else "again_late", c[2]) if c[3] == attempt else ("other", 0)
        if c[0] not in ("open", "expired"):
            return c[0], 0
        if attempt < c[3]:
            return "other", 0
        take = min(amount, c[1])
        if c[0] == "open":
            self.available += c[1]
            self.used -= c[1]
            c[0] = "settled"
        else:
            take = min(take, self.available)
            c[0] = "late_settled"
        self.available -= take
        self.charged += take
        self.used += take
        c[2], c[3] = take, attempt
        return c[0], take

    def end(self, call, state, without):
        if call not in self.calls:
            if without == "tomb":
                self.calls[call] = ["tomb", 0, 0, 0]
            return without
        c = self.calls[call]
        if c[0] == "open":
            c[0] = state
            self.available += c[1]
            self.used -= c[1]
        return c[0]

    def next_attempt(self, call, attempt):
        if call not in self.calls:
            return "unknown"
        c = self.calls[call]
        if c[0] == "open":
            c[3] = max(c[3], attempt)
        return c[0]
