"""cocoon-client counts what an answer cost, by the operator's price book: as the gateway does in sealed mode, and never instead of an answer."""

import json
import os

import pytest

pytest.importorskip("h2")
pytest.importorskip("cryptography")

from client_peer import Client  # noqa: E402
from purse import Till  # noqa: E402
from stack import wait_for  # noqa: E402
from test_client_mitm import lied, place, tee  # noqa: E402, F401
from test_rotation import Tee  # noqa: E402

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


# ---- Beside a gateway that bills -----------------------------------------------------------------------

def test_client_and_gateway_count_the_same_and_the_bill_is_proven(stack):
    stack.engine()
    key_file = os.path.join(stack.folder, "published.key")
    operator_key = stack.ctl("operator", "key", key_file).stdout.strip()
    settings = {"operator_key_file": key_file, "limits.public_per_minute": 100000}
    till = Till(stack, worker=False, **settings)
    second = stack.gateway("second", **{"billing.journal": os.path.join(stack.folder, "second.journal"), **settings})
    stack.worker()
    stack.wait_ready()
    saved = os.path.join(stack.folder, "saved")
    cocoon = Client(stack.folder, f"http://{till.gateway.listen}", Tee, "--save-receipts", saved).start()
    try:
        sdk = cocoon.sdk(till.key)
        whole = sdk.chat.completions.with_raw_response.create(model="fake-model", messages=[{"role": "user", "content": "Hi"}])
        *_, last = sdk.chat.completions.create(model="fake-model", messages=[{"role": "user", "content": "Hi"}], stream=True,
                                               stream_options={"include_usage": True})
        till.settled(2)
        amounts = sorted(int(b["b"]["amount"]) for b in till.bills)
        shown = [json.loads(whole.text)["usage"]["cost_nano"], last.usage.model_extra["cost_nano"]]
        assert sorted(shown) == amounts and amounts[0] > 0 and whole.headers["cocoon-cost-nano"] == str(shown[0])
        call = whole.headers["cocoon-call"]
        wait_for(lambda: os.path.isdir(os.path.join(saved, call)), "saved files")
        files = [os.path.join(saved, call, name) for name in sorted(os.listdir(os.path.join(saved, call)))]
        with till.raw() as raw, stack.raw(second, till.key) as other:
            document = lambda r: r.ask("GET", "/.well-known/cocoon.json").body  # noqa: E731
            both = wait_for(lambda: len(json.loads(document(raw))["bill_keys"]) == 2 and document(raw), "both instances' keys", 22)
            wait_for(lambda: document(other) == both, "each gateway publishes the same", 22)
            assert {k["instance"] for k in json.loads(both)["bill_keys"]} == {g.settings["instance"] for g in (till.gateway, second)}
            signature = raw.ask("GET", "/.well-known/cocoon.json.sig").body
            assert other.ask("GET", "/.well-known/cocoon.json.sig").body == signature
            for name, path in (("handed.json", f"/v1/billing/receipts/{call}"), ("cocoon.json", "/.well-known/cocoon.json"),
                               ("prices.json", "/v1/prices/1")):
                files.append(os.path.join(stack.folder, name))
                with open(files[-1], "wb") as f:
                    f.write(raw.ask("GET", path).body)
    finally:
        cocoon.stop()
    signed = os.path.join(stack.folder, "cocoon.json.sig")
    with open(signed, "wb") as f:
        f.write(signature)
    told = json.loads(stack.ctl("receipts", "verify", "--json", "--policy", Tee.path("policy.json"), "--release-key",
                                Tee.read("release.pub").decode().strip(), *files).stdout)
    (bill,) = [f for f in told["files"] if f["kind"] == "bill"]
    assert bill["amount_nano"] == shown[0] and bill["usage_bound"] and bill["price_checked"] and bill["holds"]
    done = stack.ctl("receipts", "verify", "--policy", Tee.path("policy.json"), "--release-key", Tee.read("release.pub").decode().strip(), *files, check=False)
    assert done.returncode == 0 and "FAIL" not in done.stdout, done.stdout + done.stderr
    assert f"billed account {till.account} {shown[0]} nano for call {call}" in done.stdout and "no more than the book says" in done.stdout
    assert "for what the worker counted, or less" in done.stdout
    verify = ("receipts", "verify", "--policy", Tee.path("policy.json"), "--release-key", Tee.read("release.pub").decode().strip())
    assert "is the operator's" in done.stdout  # not proven
    done = stack.ctl(*verify, "--operator-key", operator_key, *files, signed, check=False)
    assert done.returncode == 0 and "is the operator's: " not in done.stdout and "The operator's key signed it." in done.stdout, done.stdout
    for key, given in ((operator_key, []), ("00" * 31 + "01", [signed]), (Tee.read("release.pub").decode().strip(), [signed])):
        assert stack.ctl(*verify, "--operator-key", key, *files, *given, check=False).returncode == 1
