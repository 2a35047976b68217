"""Metered keys: every request priced, held, charged once, billed and told."""

import os

import pytest

from purse import PRICES, Purse, amount, usage_amount
from stack import chat, script, wait_for

CHAT = "/v1/chat/completions"


@pytest.fixture
def money(stack):
    """A stack whose gateway bills, and a purse with one account."""
    purse = Purse(stack)
    purse.account()
    stack.engine()
    stack.gateway(**{"billing.journal": os.path.join(stack.folder, "gateway.journal"), "redis.command_ms": 2000})
    stack.worker()
    stack.wait_ready()
    return purse


def settled(purse, calls, account="acme"):
    """All calls are billed and nothing is held any more."""
    wait_for(lambda: len(purse.bills()) == calls and purse.open_holds(account) == 0, f"{calls} bills")
    return purse.bills()


def test_an_answer_says_what_it_cost_and_the_account_has_paid_it(stack, money):
    raw = stack.raw(key=money.key())
    a = raw.ask("POST", CHAT, chat("Hello there"))
    assert a.status == 200, a.body
    usage = a.json["usage"]
    cost = usage_amount(usage)
    assert cost > 0 and usage["cost_nano"] == cost
    assert usage["cost"] == f"{cost / 1e9:.9f}".rstrip("0").rstrip(".")
    assert a.header("cocoon-cost-nano") == str(cost)
    (bill,) = settled(money, 1)
    assert money.available() == 10**9 - cost and money.charged() == cost
    b, u = bill["b"], bill["u"]
    assert b["call"] == a.header("cocoon-call") == bill["call"] and b["account"] == "acme"
    assert b["amount"] == str(cost) and b["fee"] == str(cost - cost * 9500 // 10000)
    assert (b["in"], b["out"], b["price"], b["coefficient"]) == (u["in"], u["out"], 1, 1000)
    assert u["price"] == "1;1000" and bill["kind"] == "settled" and bill["n"] == "1" and bill["endpoint"] == "chat"
