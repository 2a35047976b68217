"""cocoon-ledger for tests: started on a stack's Redis, spoken to through its admin socket and through cocoonctl."""

import json
import os

import httpx

from stack import BIN, SLOW, Program, nested, wait_for

PRICES = """\
version: 1
commission_bps: 500
models:
  fake-model: {prompt: 1000000, cached: 500000, completion: 4000000, reasoning: 3000000}
"""


class Ledger(Program):
    def __init__(self, stack, **overrides):
        settings = nested({
            "books": os.path.join(stack.folder, "books.sqlite"),
            "admin": f"unix:{stack.folder}/ledger.sock",
            "redis": {"url": stack.redis.url},
            "bill_keys": {"operators": [stack.operator_key]},
            "log_level": "debug",
            "webhooks": {"insecure": True, "timeout_ms": 2000},
        }, overrides)
        super().__init__(stack, "ledger", "cocoon-ledger", settings)

    @property
    def where(self):
        return self.settings["admin"]

    def api(self, method, path, body=None, **kw):
        """One request; (status, answer)."""
        with httpx.Client(transport=httpx.HTTPTransport(uds=self.where[5:], verify=False)) as c:
            a = c.request(method, "http://ledger" + path, json=body, timeout=30 * SLOW, **kw)
        return a.status_code, a.json() if a.headers.get("content-type") == "application/json" else a.text

    def good(self, method, path, body=None, **kw):
        status, answer = self.api(method, path, body, **kw)
        assert status == 200, (status, answer)
        return answer

    def ctl(self, *words, check=True):
        return self.stack.ctl(*words, check=check, COCOON_LEDGER=self.where)

    def prices(self, text=PRICES):
        return self.good("POST", "/v1/prices", content=text, headers={"content-type": "application/yaml"})

    def account(self, name="acme", nano=10**9, **settings):
        self.good("POST", "/v1/accounts", {"id": name, **settings})
        if nano:
            self.credit(name, nano, "first")
        return name

    def credit(self, account, nano, name):
        return self.good("POST", "/v1/credit", {"account": account, "amount": str(nano), "id": name})

    def key(self, account="acme", **settings):
        return self.good("POST", "/v1/keys", {"account": account, **settings})["key"]

    def balance(self, account="acme"):
        return int(self.good("GET", f"/v1/accounts/{account}")["balance"])

    def bills(self, account="acme"):
        return self.good("GET", f"/v1/accounts/{account}/bills?limit=1000")["data"]

    def verify(self):
        """Every check; what is wrong fails the test."""
        answer = wait_for(lambda: (v := self.api("GET", "/v1/verify"))[0] == 200 and v[1], "a verification", 20)
        wrong = [c for c in answer["checks"] if not c["good"]]
        assert answer["good"] and not wrong, json.dumps(wrong, indent=1)
        return {c["check"]: c for c in answer["checks"]}


def start_ledger(stack, **overrides):
    ledger = stack.start(Ledger(stack, **overrides))
    assert os.path.exists(os.path.join(BIN, "cocoon-ledger"))
    return ledger.wait_ready()
