"""Which keys' bills the books take: those that an operator's key vouches for, or that the settings name; Redis alone is no reason."""

import hashlib
import json
import os
import sqlite3
import time
from contextlib import closing

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger_stack import start_ledger
from stack import SLOW, chat, wait_for
from tunnel_peer import b64u

CHAT = "/v1/chat/completions"


def begin(stack, **gateway):
    """A gateway with a journal, a worker, and a call that was paid for."""
    stack.engine()
    stack.gateway(**{"billing.journal": os.path.join(stack.folder, "gateway.journal"), **gateway})
    stack.worker()
    stack.wait_ready()
    stack.ledger.account("acme", 10**9)
    key = stack.ledger.key()
    with stack.raw(key=key) as raw:
        answer = wait_for(lambda: (a := raw.ask("POST", CHAT, chat())).status == 200 and a, "an answer", 30)
    return answer.json["usage"]["cost_nano"]


def bill_key(stack, others=()):
    kids = {kid: key for kid, key in stack.redis.client.hgetall("bills:keys").items() if kid not in others}
    assert len(kids) == 1
    return next(iter(kids.items()))


def vouch(stack, public):
    """Kid and word, by the operator's key, of a gateway that is no more."""
    with open(os.path.join(stack.folder, "operator.key")) as file:
        operator = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(file.read().strip()))
    kid, signer = (b64u(hashlib.sha256(bytes.fromhex(key)).digest()[:16]) for key in (public, stack.operator_key))
    claim = f"{public} 1796000000 retired"
    return kid, f"{claim}\n{signer} {b64u(operator.sign(b'cgw/bill-key/v1' + bytes(1) + claim.encode()))}\n"


def waits(stack, kid):
    return [g for g in stack.ledger.status["gateways"] if g["unknown_key"] == kid]


@pytest.mark.parametrize("others", [0, 64])
def test_a_key_that_nobody_vouches_for_makes_its_bills_wait_until_it_is_pinned(stack, others):
    """However many others Redis names."""
    stack.ledger = start_ledger(stack)
    stack.ledger.prices()
    names = [b64u(hashlib.sha256(bytes([i])).digest()[:16]) for i in range(others)]
    for name in names:
        stack.redis.client.hset("bills:keys", name, "ab" * 32)
    cost = begin(stack, operator_key_file="")
    kid, public = bill_key(stack, names)
    wait_for(lambda: waits(stack, kid), "the bill to wait for its key", 30)
    assert waits(stack, kid)[0]["waiting"] == 1 and stack.ledger.log_text.count("event=bill_key_unknown") == 1
    assert not stack.ledger.bills() and stack.ledger.status["conflicts"] == 0

    status, answer = stack.ledger.api("POST", "/v1/intake", {"path": os.path.join(stack.folder, "gateway.journal")})
    assert status == 409 and kid in answer["error"]["message"]
    assert not stack.ledger.bills() and stack.ledger.status["conflicts"] == 0
    stack.ledger.stop()
    stack.ledger.settings["bill_keys"] = {"pinned": [public]}
    stack.ledger.start()
    wait_for(lambda: len(stack.ledger.bills()) == 1, "the bill in the books", 30)
    assert stack.ledger.balance() == 10**9 - cost and not waits(stack, kid)
    stack.ledger.wait_ready()
    stack.ledger.verify()


def test_a_gateway_whose_bills_wait_is_looked_at_once_a_second_and_nothing_is_written(stack):
    stack.ledger = start_ledger(stack)
    stack.ledger.prices()
    begin(stack, operator_key_file="")
    kid, _ = bill_key(stack)
    wait_for(lambda: "event=bill_key_unknown" in stack.ledger.log_text, "the bill to wait for its key", 30)
    books = sqlite3.connect(f"file:{stack.ledger.settings['books']}?mode=ro", uri=True)
    version = lambda: books.execute("PRAGMA data_version").fetchone()[0]  # noqa: E731
    before, seen = version(), []
    with stack.redis.client.monitor() as monitor:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            seen.append(monitor.next_command()["command"])
    looks = [c for c in seen if c.startswith("XREAD") and "bills:{gateway}" in c]
    assert 2 <= len(looks) <= 5 and version() == before
    assert waits(stack, kid) and not stack.ledger.bills()


def test_bills_that_wait_for_their_key_stop_no_recovery(stack):
    """Other gateways' customers are served; the bill that comes later is on Redis all the same."""
    stack.ledger = start_ledger(stack)
    stack.ledger.prices()
    cost = begin(stack, operator_key_file="")
    kid, public = bill_key(stack)
    wait_for(lambda: waits(stack, kid), "the bill to wait for its key", 30)
    epoch = int(stack.ledger.status["epoch"])
    opened = lambda: (s := stack.ledger.status)["epoch_state"] == "open" and int(s["epoch"]) > epoch  # noqa: E731
    stack.ledger.ctl("ledger", "recover")
    wait_for(opened, "the recovery", 30)
    assert waits(stack, kid)[0]["waiting"] and not stack.ledger.bills()
    stack.ledger.stop()
    stack.ledger.settings["bill_keys"] = {"pinned": [public]}
    epoch = int(stack.redis.client.hget("m1:epoch", "n"))
    stack.ledger.start()
    wait_for(opened, "the recovery for the bill that came late", 30)
    assert stack.ledger.balance() == 10**9 - cost
    stack.ledger.verify()


def test_another_operators_word_counts_for_nothing_and_the_own_ones_for_what_it_says(stack):
    stack.ledger = start_ledger(stack)
    stack.ledger.prices()
    other = os.path.join(stack.folder, "other.key")
    stack.ctl("operator", "key", other)
    cost = begin(stack, operator_key_file=other)
    kid, _ = bill_key(stack)
    wait_for(lambda: waits(stack, kid), "the bill to wait for its key", 30)

    gateway = stack.gateways[0]
    gateway.stop()
    gateway.settings["operator_key_file"] = os.path.join(stack.folder, "operator.key")
    gateway.start()
    wait_for(lambda: len(stack.ledger.bills()) == 1, "the bill in the books", 30)
    assert stack.ledger.balance() == 10**9 - cost
    claim = stack.redis.client.hget("bills:vouched", kid)
    assert claim.split()[2] == "gateway"


def test_what_the_operator_has_signed_counts_for_that_key_only(stack):
    """A claim that names another key, and one that is whole but stands under another key's name."""
    stack.ledger = start_ledger(stack)
    stack.ledger.prices()
    begin(stack, **{"limits.public_per_minute": 100000})
    wait_for(lambda: len(stack.ledger.bills()) == 1, "the bill in the books", 30)
    redis = stack.redis.client
    kid, public = bill_key(stack)
    claim = redis.hget("bills:vouched", kid)
    forged = {}
    for name, text in ("one", claim.replace(public, "ab" * 32)), ("two", claim):
        key = "ab" * 32 if name == "one" else "cd" * 32
        forged[name] = b64u(hashlib.sha256(bytes.fromhex(key)).digest()[:16])
        redis.hset("bills:keys", forged[name], key)
        redis.hset("bills:vouched", forged[name], text)
        redis.sadd("bills:instances", name)
        header = b64u(json.dumps({"alg": "EdDSA", "kid": forged[name], "typ": "cgw-bill+jwt"}).encode())
        redis.xadd("bills:{%s}" % name, {"n": 1, "bill": header + ".e30.AA", "usage": "x", "kind": "settled"})
    for name in forged:
        wait_for(lambda: waits(stack, forged[name]), "the forged bill to wait", 30)
    assert stack.ledger.status["conflicts"] == 0 and len(stack.ledger.bills()) == 1
    assert "event=bill_key_refused" not in stack.ledger.log_text

    stack.gateway("second", **{"billing.journal": os.path.join(stack.folder, "second.journal")})
    with stack.raw(key="") as raw:
        keys = lambda: {k["kid"]: k["instance"] for k in raw.ask("GET", "/.well-known/cocoon.json").json["bill_keys"]}
        wait_for(lambda: "second" in keys().values(), "the second gateway's key to be published", 40)
        assert len(keys()) == 2 and keys()[kid] == "gateway"


def test_a_bill_whose_key_redis_does_not_name_waits_as_well(stack):
    """A Redis that was emptied meanwhile names none: refused, the bill would be lost for good."""
    stack.ledger = start_ledger(stack)
    kid = b64u(hashlib.sha256(b"never named").digest()[:16])
    header = b64u(json.dumps({"alg": "EdDSA", "kid": kid, "typ": "cgw-bill+jwt"}).encode())
    stack.redis.client.sadd("bills:instances", "gateway")
    stack.redis.client.xadd("bills:{gateway}", {"n": 1, "bill": header + ".e30.AA", "usage": "x", "kind": "settled"})
    wait_for(lambda: waits(stack, kid), "the bill to wait", 30)
    time.sleep(2)
    assert waits(stack, kid)[0]["waiting"] == 1 and stack.ledger.status["conflicts"] == 0


def test_no_bill_of_a_key_that_was_revoked_is_taken_and_those_before_stay(stack):
    """By the stream, by the journal, after a restart; its gateway goes on with another key; what waited comes when the key counts again."""
    stack.ledger = ledger = start_ledger(stack)
    ledger.prices()
    cost = begin(stack)
    kid, gateway, journal = bill_key(stack)[0], stack.gateways[0], os.path.join(stack.folder, "gateway.journal")
    wait_for(lambda: len(ledger.bills()) == 1, "the bill in the books", 30)
    metered = ledger.key()

    def ask():
        with stack.raw(key=metered) as raw:
            assert wait_for(lambda: (a := raw.ask("POST", CHAT, chat())).status == 200 and a, "an answer", 30).json["usage"]["cost_nano"] == cost

    assert ledger.ctl("ledger", "revoke-key", kid).returncode == 0 and kid in ledger.ctl("ledger", "bill-keys").stdout
    ask()
    passed_over = lambda: [g for g in ledger.status["gateways"] if g["revoked_key"] == kid]  # noqa: E731
    wait_for(passed_over, "the bill to be passed over", 30)
    assert "event=bill_key_revoked" in ledger.log_text and passed_over()[0]["unknown_key"] == ""
    ledger.stop()
    ledger.start()
    ledger.wait_ready()
    wait_for(passed_over, "the bill to be passed over after a restart", 30)
    status, answer = ledger.api("POST", "/v1/intake", {"path": journal})
    assert status == 409 and "revoked" in answer["error"]["message"]
    assert len(ledger.bills()) == 1 and ledger.status["conflicts"] == 0

    gateway.stop()
    old = os.path.join(stack.folder, "old.journal")
    os.rename(journal, old)
    os.unlink(journal + ".key")
    taken = ledger.ctl("ledger", "intake", "--revoked", old).stdout.splitlines()
    assert taken == ["instance  gateway", "taken     1", "known     1", "refused   0"]
    assert len(ledger.bills()) == 2
    gateway.start()
    stack.wait_ready()
    ask()
    wait_for(lambda: len(ledger.bills()) == 3 and not passed_over(), "the bill by the new key", 30)
    assert ledger.balance() == 10**9 - 3 * cost
    ledger.verify()


@pytest.mark.parametrize("vouched", [False, True])
def test_a_key_that_is_reinstated_brings_what_was_passed_over(stack, vouched):
    """Its word in Redis, or its name in the settings, does not do that before."""
    stack.ledger = ledger = start_ledger(stack)
    ledger.prices()
    cost = begin(stack)
    kid, public = bill_key(stack)
    wait_for(lambda: len(ledger.bills()) == 1, "the bill in the books", 30)
    ledger.ctl("ledger", "revoke-key", kid)
    if not vouched:
        ledger.stop()
        ledger.settings["bill_keys"] = {"pinned": [public]}
        ledger.start()
        ledger.wait_ready()
    metered = ledger.key()
    with stack.raw(key=metered) as raw:
        wait_for(lambda: raw.ask("POST", CHAT, chat()).status == 200, "an answer", 30)
    wait_for(lambda: [g for g in ledger.status["gateways"] if g["revoked_key"] == kid], "the bill to be passed over", 30)
    time.sleep(2)
    assert len(ledger.bills()) == 1
    ledger.ctl("ledger", "reinstate-key", kid)
    wait_for(lambda: len(ledger.bills()) == 2, "the bill", 30)
    assert ledger.balance() == 10**9 - 2 * cost
    ledger.verify()


def test_a_revoked_key_does_not_count_again_because_the_books_could_not_be_read(stack):
    """A key that was vouched for meanwhile is taken when they can be, and what Redis says of the revoked one changes nothing."""
    stack.ledger = ledger = start_ledger(stack)
    ledger.prices()
    begin(stack)
    kid = bill_key(stack)[0]
    wait_for(lambda: len(ledger.bills()) == 1, "the bill in the books", 30)
    ledger.ctl("ledger", "revoke-key", kid)
    metered = ledger.key()
    rename = lambda old, new: books.execute(f"ALTER TABLE {old} RENAME TO {new}")  # noqa: E731
    with closing(sqlite3.connect(ledger.settings["books"], timeout=30, isolation_level=None)) as books:
        rename("bill_keys", "away")
        later, word = vouch(stack, "07" * 32)
        stack.redis.client.hset("bills:vouched", later, word)
        wait_for(lambda: "event=bill_keys read=no" in ledger.log_text, "a reading that fails", 30)
        assert stack.redis.client.hexists("bills:vouched", kid)
        rename("away", "bill_keys")
    wait_for(lambda: f"event=bill_key kid={later}" in ledger.log_text, "the key to be added", 30)
    with stack.raw(key=metered) as raw:
        wait_for(lambda: raw.ask("POST", CHAT, chat()).status == 200, "an answer", 30)
    wait_for(lambda: len(ledger.bills()) > 1 or [g for g in ledger.status["gateways"] if g["revoked_key"] == kid], "the bill to be passed over", 30)
    assert len(ledger.bills()) == 1 and ledger.status["conflicts"] == 0


def test_words_that_nobody_gave_hold_up_no_gateway(stack):
    """Thousands of claims, each with many signatures that are none: whoever writes Redis stops no request."""
    stack.ledger = start_ledger(stack)
    gateway = stack.gateway(**{"billing.journal": os.path.join(stack.folder, "gateway.journal"), "limits.public_per_minute": 100000})
    redis = stack.redis.client
    retired, word = vouch(stack, "07" * 32)
    redis.hset("bills:vouched", retired, word)
    slowest = 0

    def shown():
        nonlocal slowest
        begun = time.monotonic()
        with stack.raw(gateway, key="", timeout=120 * SLOW) as raw:
            names = {k["instance"] for k in raw.ask("GET", "/.well-known/cocoon.json").json["bill_keys"]}
        slowest = max(slowest, time.monotonic() - begun)
        return names

    wait_for(lambda: "retired" in shown(), "the key that was vouched for", 40, step=0.1)
    claim, signature = word.splitlines()
    forged = f"{signature.split()[0]} {b64u(bytes(64))}\n" * 60
    with redis.pipeline() as at_once:
        at_once.hdel("bills:vouched", retired)
        for i in range(4000):
            at_once.hset("bills:vouched", f"forged-{i}", f"{claim}\n{forged}")
        at_once.execute()
    wait_for(lambda: "retired" not in shown(), "the key to be shown no more", 60, step=0.1)
    assert slowest < 5 * SLOW and shown() == {"gateway"}
