"""Money for tests without a ledger: an epoch, a price book, accounts and metered keys, put into Redis as the ledger does, and the books
that come back out of the gateways' streams."""

import base64
import hashlib
import json

from money_scripts import Scripts

PRICES = {"prompt": 1_000_000, "cached": 500_000, "completion": 4_000_000, "reasoning": 3_000_000, "per_request": 0, "minimum": 0}
BPS = 500


def amount(tokens, prices=PRICES, coefficient=1000):
    """money.md §2 by hand; tokens: in, cached, out, reasoning."""
    t_in, cached, out, reasoning = tokens
    p = prices
    s = (t_in - cached) * p["prompt"] + cached * p["cached"] + (out - reasoning) * p["completion"] + reasoning * p["reasoning"]
    return max(p["minimum"], -(-s * coefficient // 10**9) + p["per_request"])


def usage_amount(usage, prices=PRICES, coefficient=1000):
    """The same of an answer's `usage`."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0)
    return amount((usage["prompt_tokens"], cached, usage.get("completion_tokens", 0), reasoning), prices, coefficient)


def payload(jws):
    part = jws.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


class Purse:
    def __init__(self, stack):
        self.stack = stack
        self.redis = stack.redis.client
        self.scripts = Scripts(self.redis)
        self.version = 1
        self.granted = {}
        self.open_epoch(1)
        self.set_prices({"fake-model": PRICES})

    def open_epoch(self, n, state="open"):
        self.redis.hset("m1:epoch", mapping={"n": n, "run_id": self.redis.info("server")["run_id"], "state": state})
        self.epoch = n

    def set_prices(self, models, version=1, **more):
        book = {"commission_bps": BPS, "currency": "TON", "format": "cgw/prices/v1",
                "models": {m: {k: v if k == "context" else str(v) for k, v in p.items()} for m, p in models.items()},
                "version": version, **more}
        text = json.dumps(book, sort_keys=True, separators=(",", ":"))
        self.redis.set(f"prices:book:{version}", text)
        self.redis.set("prices:current", version)
        self.redis.publish("prices:changed", version)
        return hashlib.sha256(text.encode()).digest()

    def account(self, name="acme", granted=10**9, cfg="active||||||"):
        self.version += 1
        self.granted[name] = granted
        assert self.scripts.account(name, version=self.version, epoch=self.epoch, granted=granted, cfg=cfg) == "ok"
        return name

    def key(self, account="acme", metering="on", **members):
        """A key of this account; members: of its record (limits, budgets, max_coefficient)."""
        name = f"key-{self.version}-{len(self.redis.keys('key:*'))}"
        text = self.stack.key("--account", account, "--name", name)
        self.change(account, name, metering=metering, **members)
        return text

    def change(self, account, name, version=None, **members):
        for at in self.redis.keys("key:*"):
            record = json.loads(self.redis.get(at))
            if record.get("name") == name:
                record.update(members, version=version or record["version"] + 1)
                self.scripts.key(account, record["id"], record["version"])
                self.redis.set(at, json.dumps(record))
                self.redis.publish("keys:changed", at.split(":")[1].strip("{}"))
                return record
        raise AssertionError(f"no key named {name}")

    def available(self, account="acme"):
        return self.scripts.money(account)[0]

    def charged(self, account="acme"):
        return self.scripts.money(account)[1]

    def open_holds(self, account="acme"):
        return self.redis.zcard(f"m1:holds:{{{account}}}")

    def bills(self, instance="gateway"):
        """The stream to the books: a dict an entry, `bill` and `usage` opened too."""
        entries = [fields for _, fields in self.redis.xrange(f"bills:{{{instance}}}")]
        return [{**e, "b": payload(e["bill"]), "u": payload(e["usage"])} for e in entries]

    def acknowledge(self, instance="gateway"):
        bills = self.bills(instance)
        self.redis.hset("books:acked", instance, bills[-1]["n"] if bills else 0)
