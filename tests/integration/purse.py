"""Money for tests without a ledger: an epoch, a price book, accounts and metered keys, put into Redis as the ledger does, and the books
that come back out of the gateways' streams."""

import base64
import contextlib
import hashlib
import json
import os
import time

from money_scripts import Scripts
from stack import SLOW, chat, wait_for
from worker_peer import WorkerPeer

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
        self.prices = models
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

    def change(self, account, name, version=None, told=True, **members):
        """told: the gateways hear of it; else they learn it from the account."""
        for at in self.redis.keys("key:*"):
            record = json.loads(self.redis.get(at))
            if record.get("name") == name:
                record.update(members, version=version or record["version"] + 1)
                self.scripts.key(account, record["id"], record["version"])
                self.redis.set(at, json.dumps(record))
                if told:
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
        """The stream to the books, as the books read it: each n once, and the same whenever it comes again. `bill` and `usage` opened
        too."""
        entries = {}
        for _, e in self.redis.xrange(f"bills:{{{instance}}}"):
            assert entries.setdefault(int(e["n"]), e) == e
        return [{**e, "b": payload(e["bill"]), "u": payload(e["usage"])} for _, e in sorted(entries.items())]

    def acknowledge(self, instance="gateway"):
        bills = self.bills(instance)
        self.redis.hset("books:acked", instance, bills[-1]["n"] if bills else 0)


def whole_and_recorded_later(call):
    """A worker's answer that is complete at once; its record is told to who asks for it (Till.late_records)."""
    call.head(content_type="application/json")
    call.write(json.dumps({"id": "x", "object": "chat.completion", "choices": [], "usage": {"prompt_tokens": 9}}))
    call.raw(call.seal(b"\0\0", True))
    call.worker.records = [call.worker.sign(call.record())]
    call.trailers(None)


class Till:
    """A gateway that bills, a worker of our own, and a purse with one account."""

    def __init__(self, stack, worker=True, **overrides):
        self.stack, self.purse = stack, Purse(stack)
        self.account = self.purse.account()
        self.journal = os.path.join(stack.folder, "gateway.journal")
        self.gateway = stack.gateway(**{"billing.journal": self.journal, "redis.command_ms": 1000 * SLOW, **overrides})
        self.worker = self.peer() if worker else None
        self.key = self.purse.key()

    def peer(self, about=None, payout=None, **more):
        """payout: another owner's, so another machine to the gateway."""
        w = WorkerPeer(self.stack.folder, self.gateway.tunnel, bytes.fromhex(self.stack.operator.pin), **more)
        w.about = about or {}
        w.settings = {"payout": payout} if payout else {}
        w.make_keyset()
        w.dial()
        wait_for(lambda: any(v["iid"] == w.iid and v["state"] == "ready" for v in self.gateway.status["workers"]), "the peer is ready", 5)
        return w

    def raw(self, key=None):
        return self.stack.raw(key=key or self.key)

    def ask(self, body=None, path="/v1/chat/completions", key=None, **kw):
        return self.raw(key).ask("POST", path, body or chat(**kw))

    @property
    def available(self):
        return self.purse.available(self.account)

    @property
    def charged(self):
        return self.purse.charged(self.account)

    @property
    def open_holds(self):
        return self.purse.open_holds(self.account)

    @property
    def bills(self):
        return [b for b in self.purse.bills() if b["account"] == self.account]

    def settled(self, calls):
        """So many are billed, nothing is held, and the money adds up."""
        wait_for(lambda: len(self.bills) == calls and self.open_holds == 0, f"{calls} bills")
        charged = sum(int(b["b"]["amount"]) for b in self.bills)
        assert self.charged == charged
        assert self.available == self.purse.granted[self.account] - charged
        return self.bills

    @contextlib.contextmanager
    def late_records(self, seconds):
        """Inside, who asks the worker for its records waits so long for them."""
        worker, serve = self.worker, self.worker.serve

        def late(tunnel, stream, headers, body):
            if headers[":path"].startswith("/v1/usage?"):
                time.sleep(seconds)
            serve(tunnel, stream, headers, body)
        worker.serve = late
        try:
            yield
        finally:
            worker.serve, worker.records = serve, []

    def nothing_charged(self):
        wait_for(lambda: self.open_holds == 0, "no hold is left")
        assert self.available == self.purse.granted[self.account] and self.charged == 0
