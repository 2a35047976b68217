"""cocoon-client counts what an answer cost, by the operator's price book: as the gateway does in sealed mode, and never instead of an answer."""

import json

import pytest

pytest.importorskip("h2")
pytest.importorskip("cryptography")

from test_client_mitm import lied, place, tee  # noqa: E402, F401

MODEL = {"prompt": "1000000", "cached": "500000", "completion": "4000000", "reasoning": "4000000", "per_request": "5", "minimum": "0"}
NANO = 9 * 1 + 2 * 4 + 5  # of 9 prompt and 2 completion tokens, at a coefficient of 1000


def book(version=3, **models):
    return json.dumps({"commission_bps": 500, "currency": "TON", "format": "cgw/prices/v1", "models": models or {"fake-model": MODEL},
                       "version": version}, separators=(",", ":"), sort_keys=True).encode()


def test_whole_answers_streams_and_headers_show_the_cost(lied):  # noqa: F811
    lied.g.prices["3"] = book()
    a = lied.ask()
    assert a.status == 200 and a.json["usage"]["cost_nano"] == NANO and a.json["usage"]["cost"] == "0.000000022", a.body
    assert a.header("cocoon-cost-nano") == str(NANO)
    s = lied.stream(stream_options={"include_usage": True})
    assert s.ending == "complete" and s.chunks[-1]["usage"]["cost_nano"] == NANO and s.events[-1] == b"[DONE]"
    assert lied.stream().ending == "complete"  # none is shown where no usage is
    assert len([p for m, p in lied.g.asked if "/prices/" in p]) == 1


def test_the_first_answer_waits_a_moment_for_its_prices(lied):  # noqa: F811
    lied.g.prices, lied.g.prices_take = {"3": book()}, 0.4
    assert lied.ask().json["usage"]["cost_nano"] == NANO


@pytest.mark.parametrize("prices", [{}, {"3": b"{}"}, {"3": b"x" * (5 << 20)}, {"3": book(version=4)}, {"3": book(other=MODEL)}])
def test_without_prices_the_answer_goes_without_its_cost(lied, prices):  # noqa: F811
    lied.g.prices = prices
    a = lied.ask()
    assert a.status == 200 and "cost" not in a.json["usage"] and "cost_nano" not in a.json["usage"] and a.header("cocoon-cost-nano") is None
    assert lied.stream(stream_options={"include_usage": True}).ending == "complete"


def test_prices_that_never_come_do_not_hold_the_answer_up(lied):  # noqa: F811
    lied.g.prices, lied.g.prices_take = {"3": book()}, 8
    a = lied.ask()
    assert a.status == 200 and "cost_nano" not in a.json["usage"]
