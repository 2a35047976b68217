"""What may be lost or killed around the ledger, one short case of each kind; afterwards the books and Redis are exact to the nano."""

import asyncio
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import httpx
import pytest

from ledger_stack import Ledger, start_ledger
from purse import amount
from stack import BIN, Process, chat, die_with_parent, script, wait_for
from test_upgrade import upgrade
from wall_clock import WallClock
from worker_peer import WorkerPeer, plain_answer

CHAT = "/v1/chat/completions"


def points(*names):
    """Fail points to be killed at: all of them in `make faults`, the last one in `make test`."""
    return names if os.environ.get("FAULTS") else names[-1:]


@pytest.fixture
def shop(stack):
    """A ledger, a gateway with a journal, a worker, an account with money and its key."""
    stack.ledger = start_ledger(stack)
    stack.ledger.prices()
    stack.engine()
    stack.gateway(**{"billing.journal": os.path.join(stack.folder, "gateway.journal")})
    stack.worker()
    stack.wait_ready()
    wait_for(lambda: stack.ledger.status["gateways"], "the ledger to know the gateway")
    stack.ledger.account("acme", 10**9)
    stack.metered = stack.ledger.key()
    stack.spent = 0
    return stack


def ask(shop, gateway=0):
    """One request; what it cost is added up."""
    with shop.raw(shop.gateways[gateway], key=shop.metered) as raw:
        a = raw.ask("POST", CHAT, chat())
    if a.status == 200:
        shop.spent += a.json["usage"]["cost_nano"]
    return a.status


def ask_until(shop, timeout=15):
    wait_for(lambda: ask(shop) == 200, "requests to be admitted again", timeout, step=0.1)


def journal(shop, sql, name="gateway"):
    """A number of the gateway's journal."""
    with sqlite3.connect(f"file:{shop.folder}/{name}.journal?mode=ro", uri=True) as db:
        return int(db.execute(sql).fetchone()[0])


def confirmed(shop):
    """What the gateway knows that the books have."""
    return journal(shop, "SELECT value FROM state WHERE name = 'acked'")


def wait_journal(shop, rows, name="gateway"):
    """Until so many bills are on the gateway's disk: what an answer cost is there some ms after it."""
    wait_for(lambda: journal(shop, "SELECT count(*) FROM bills", name) == rows, f"{rows} bills in the journal")


def check(shop, bills):
    wait_for(lambda: len(shop.ledger.bills()) == bills, f"{bills} bills in the books, not {len(shop.ledger.bills())}", 20, step=0.1)
    assert shop.ledger.balance() == 10**9 - shop.spent
    return shop.ledger.verify()


def test_an_emptied_redis_is_written_anew_from_the_books(shop):
    assert [ask(shop) for _ in range(3)] == [200] * 3
    wait_for(lambda: len(shop.ledger.bills()) == 3, "the bills")
    shop.redis.flush()
    ask_until(shop)
    checks = check(shop, 4)
    assert checks["I11"]["looked_at"] == 1 and int(shop.ledger.status["epoch"]) >= 2


def test_redis_that_comes_back_empty_loses_no_bill_that_was_not_in_the_books(shop):
    shop.ledger.pause()
    assert [ask(shop) for _ in range(3)] == [200] * 3  # only in the journal, and in Redis' stream
    shop.redis.kill()
    shop.ledger.resume()
    shop.redis.start()
    ask_until(shop, 30)
    check(shop, 4)


def test_budgets_do_not_begin_anew_with_an_emptied_redis(shop):
    shop.ledger.account("tight", 10**9, budgets={"day": "90000", "month": "80000", "total": "70000"})
    shop.ledger.good("POST", "/v1/projects", {"account": "tight", "id": "p1", "budgets": {"month": "60000"}})
    shop.metered = shop.ledger.key("tight", project="p1", budgets={"total": "50000"})
    ask_until(shop)
    assert [ask(shop) for _ in range(2)] == [200] * 2
    wait_for(lambda: len(shop.ledger.bills("tight")) == 3, "the bills")
    of_budgets = lambda: {k: v for k, v in shop.redis.client.hgetall("m1:acct:{tight}").items() if k[:2] in ("b:", "w:")}  # noqa: E731
    before = of_budgets()
    assert len(before) == 10 and {v for k, v in before.items() if k.startswith("b:")} == {str(shop.spent)}
    shop.redis.flush()
    recovered = lambda s: s["epoch_state"] == "open" and int(s["epoch"]) >= 2  # of one answer  # noqa: E731
    wait_for(lambda: recovered(shop.ledger.status), "the recovery", 20)
    assert of_budgets() == before


def set_back(redis, to):
    """Redis comes up again with an older dump."""
    redis.kill()
    shutil.copy(to, os.path.join(redis.stack.folder, "dump.rdb"))
    redis.start()


def dump(redis):
    """A dump of now, put aside."""
    redis.client.save()
    kept = os.path.join(redis.stack.folder, "kept.rdb")
    shutil.copy(os.path.join(redis.stack.folder, "dump.rdb"), kept)
    return kept


def test_redis_set_back_to_an_older_dump_is_written_anew_from_the_books(shop):
    assert [ask(shop) for _ in range(2)] == [200] * 2
    older = dump(shop.redis)
    assert [ask(shop) for _ in range(3)] == [200] * 3
    wait_for(lambda: len(shop.ledger.bills()) == 5, "the bills")
    set_back(shop.redis, older)
    ask_until(shop, 30)
    assert check(shop, 6)["I11"]["looked_at"] == 1


@pytest.fixture
def peered(stack):
    """The same with a worker of our own, which keeps its records."""
    stack.ledger = start_ledger(stack)
    stack.ledger.prices()
    stack.gateway(**{"billing.journal": os.path.join(stack.folder, "gateway.journal")})
    stack.peer = w = WorkerPeer(stack.folder, stack.gateways[0].tunnel, bytes.fromhex(stack.operator.pin)).dial()
    wait_for(lambda: stack.gateways[0].accepting == 1, "its worker is ready")
    wait_for(lambda: stack.ledger.status["gateways"], "the ledger to know the gateway")
    stack.ledger.account("acme", 10**9)
    stack.metered = stack.ledger.key()
    stack.spent = 0
    yield stack
    w.close()


def offer_again(peer, *records):
    """A connection anew, on which the gateway is handed these; what it says of them."""
    peer.records, told = list(records), len(peer.acks)
    peer.close()
    peer.dial()
    wait_for(lambda: len(peer.acks) >= told + len(records), "the worker to be told", 30)
    return peer.acks[told:]


def test_a_record_that_comes_again_after_redis_was_set_back_is_charged_once(peered):
    """The dump has the hold of a call open that was billed since."""
    peer, parked = peered.peer, []
    peer.answer = parked.append
    with peered.raw(key=peered.metered) as raw:
        raw.request("POST", CHAT, chat())
        (call,) = wait_for(lambda: list(parked), "one runs")
        older = dump(peered.redis)
        plain_answer(call)
        raw.head()
        peered.spent += raw.rest().json["usage"]["cost_nano"]
    wait_for(lambda: len(peered.ledger.bills()) == 1 and peer.acks, "its bill")
    set_back(peered.redis, older)
    peer.answer = plain_answer
    ask_until(peered, 30)
    check(peered, 2)
    peered.gateways[0].stop()  # it forgets what it has told the worker
    peered.gateways[0].start()
    (told,) = offer_again(peer, peer.sign(call.record()))
    check(peered, 2)
    assert told["pay"] == peer.acks[0]["pay"]


def test_a_record_that_comes_again_late_after_redis_was_set_back_is_charged_once(peered):
    """The dump has the hold of a call expired whose record was charged and billed since."""
    gateway, peer, parked, redis = peered.gateways[0], peered.peer, [], peered.redis.client
    peer.answer = parked.append
    with peered.raw(key=peered.metered) as raw:
        raw.request("POST", CHAT, chat())
        (call,) = wait_for(lambda: list(parked), "one runs")
        gateway.kill()
        peer.close()
    (id,) = redis.zrange("m1:holds:{acme}", 0, -1)
    redis.zadd("m1:holds:{acme}", {id: 1})
    gateway.start()
    wait_for(lambda: redis.get("m1:hold:{acme}:" + id).startswith("expired|"), "the sweeper", 30)
    older = dump(peered.redis)
    call.content = b""
    record = peer.sign(call.record())
    (told,) = offer_again(peer, record)
    assert told["result"] == "late_settled"
    (bill,) = wait_for(lambda: peered.ledger.bills(), "its bill", 20)
    peered.spent = int(bill["amount"])
    set_back(peered.redis, older)
    peer.answer = plain_answer
    ask_until(peered, 30)
    gateway.stop()  # it forgets what it has told the worker
    gateway.start()
    assert offer_again(peer, record)[0]["pay"] == told["pay"]
    check(peered, 2)


def test_a_call_that_runs_while_redis_is_emptied_counts_in_its_budgets(peered):
    """From the recovery on what it holds, in the end what it cost."""
    peer, parked, redis, ledger = peered.peer, [], peered.redis.client, peered.ledger
    ledger.account("tight", 10**9, budgets={"month": "80000000"})
    key = ledger.key("tight", budgets={"total": "50000000"})
    counted = lambda: {v for k, v in redis.hgetall("m1:acct:{tight}").items() if k.startswith("b:")}  # noqa: E731
    peer.answer = parked.append
    epoch = int(ledger.status["epoch"])
    with peered.raw(key=key) as raw:
        wait_for(lambda: ledger.status["projection_waiting"] == 0, "the key at the gateway", 20)
        raw.request("POST", CHAT, chat())
        (call,) = wait_for(lambda: list(parked), "one runs")
        (held,) = counted()
        assert int(held) > 0
        redis.flushall()
        wait_for(lambda: recovered(ledger, epoch), "the recovery", 20)
        assert counted() == {held}
        plain_answer(call)
        raw.head()
        cost = raw.rest().json["usage"]["cost_nano"]
    wait_for(lambda: counted() == {str(cost)}, "what it cost to be counted, not what it held", 20)


def recover(ledger, *words):
    """An operator's recovery, until it is over."""
    epoch = int(ledger.status["epoch"])
    ledger.ctl("ledger", "recover", *words)
    wait_for(lambda: recovered(ledger, epoch), "the recovery", 20)


def recovered(ledger, epoch):
    status = ledger.status  # of one answer
    return status["epoch_state"] == "open" and int(status["epoch"]) > epoch


def unseen(peered):
    """A charge that a recovery could not see: its gateway died before the journal. Its record, which the worker keeps."""
    gateway, peer = peered.gateways[0], peered.peer
    gateway.stop()
    gateway.env = {"COCOON_FAIL_AT": "settle.charged"}
    gateway.start()
    peer.close()
    peer.dial()
    wait_for(lambda: gateway.accepting == 1, "its worker is ready")
    with peered.raw(key=peered.metered) as raw:
        raw.request("POST", CHAT, chat())
        wait_for(lambda: not gateway.alive, "its end")
    peer.close()
    gateway.env = None
    gateway.start()
    recover(peered.ledger)
    assert peered.ledger.balance() == 10**9
    peered.spent = amount((9, 0, 2, 0))
    return peer.sign(peer.calls[-1].record())


def test_a_charge_that_a_recovery_could_not_see_is_on_redis_when_its_bill_has_come(peered):
    """The worker is back only after every balance was written without it."""
    (told,) = offer_again(peered.peer, unseen(peered))
    assert told["result"] == "settled" and told["pay"] == str(peered.spent * 9500 // 10000)
    ask_until(peered, 30)
    check(peered, 2)


@pytest.mark.parametrize("point", points("books.bills.after", "recovery.numbered", "recovery.begin"))
def test_a_ledger_killed_behind_a_late_bill_recovers_all_the_same(peered, point):
    """The gateway is told that the books have the bill, and does not send it again."""
    late, ledger = unseen(peered), peered.ledger
    epoch = int(ledger.status["epoch"])
    ledger.stop()
    ledger.env = {"COCOON_FAIL_AT": point}
    ledger.start()
    offer_again(peered.peer, late)
    wait_for(lambda: not ledger.alive, f"the end at {point}", 20)
    ledger.env = None
    ledger.start()
    wait_for(lambda: recovered(ledger, epoch), "the recovery", 20)
    check(peered, 1)


@pytest.mark.parametrize("point", points("books.bills.before", "books.bills.after"))
def test_a_ledger_killed_around_a_commit_takes_each_bill_once(shop, point):
    shop.ledger.stop()
    shop.ledger.env = {"COCOON_FAIL_AT": point}
    shop.ledger.start()
    assert [ask(shop) for _ in range(3)] == [200] * 3  # it is not needed for requests
    wait_for(lambda: not shop.ledger.alive, f"the end at {point}")
    assert shop.ledger.process.returncode == -signal.SIGKILL
    shop.ledger.env = None
    shop.ledger.start()
    shop.ledger.wait_ready()
    assert ask(shop) == 200
    check(shop, 4)


@pytest.mark.parametrize("point", points("books.admin.before", "projection.phase:2", "projection.phase:4", "books.admin.after"))
def test_a_ledger_killed_in_a_credit_gives_it_once(shop, point):
    shop.ledger.stop()
    shop.ledger.start()
    shop.ledger.wait_ready()
    wait_for(lambda: shop.ledger.status["projection_waiting"] == 0, "the projection")
    shop.ledger.stop()
    shop.ledger.env = {"COCOON_FAIL_AT": point}
    shop.ledger.start()

    def credit():
        try:
            return shop.ledger.api("POST", "/v1/credit", {"account": "acme", "amount": "1000", "id": "again"})[0]
        except httpx.HTTPError:
            return 0  # it was killed

    wait_for(lambda: credit() != 200 or not shop.ledger.alive, f"the end at {point}")
    wait_for(lambda: not shop.ledger.alive, f"the end at {point}")
    shop.ledger.env = None
    shop.ledger.start()
    shop.ledger.wait_ready()
    assert credit() == 200 and credit() == 200
    assert shop.ledger.balance() == 10**9 + 1000
    shop.ledger.verify()


def test_a_ledger_killed_before_redis_knows_of_a_budget_counts_what_was_spent_before(shop):
    assert [ask(shop) for _ in range(2)] == [200] * 2
    wait_for(lambda: len(shop.ledger.bills()) == 2, "the bills")
    shop.ledger.stop()
    shop.ledger.env = {"COCOON_FAIL_AT": "books.admin.after"}
    shop.ledger.start()
    with pytest.raises(httpx.HTTPError):  # it was killed
        wait_for(lambda: shop.ledger.api("PATCH", "/v1/accounts/acme", {"budgets": {"total": str(10**8)}})[0] == 200, "the end")
    wait_for(lambda: not shop.ledger.alive, "the end")
    shop.ledger.env = None
    shop.ledger.start()
    shop.ledger.wait_ready()
    used = lambda: shop.redis.client.hget("m1:acct:{acme}", "b:a:t")  # noqa: E731
    wait_for(lambda: used() == str(shop.spent), "what was spent before")
    assert ask(shop) == 200 and used() == str(shop.spent)


# What becomes of the entries of a gateway's stream before the books read them; the gateway sends again what they do not confirm.
ORDERS = {"missing": lambda e: [e[0], e[2], e[4]], "reversed": lambda e: e[::-1], "none": lambda e: [],
          "twice": lambda e: [e[0], e[0], e[1], e[2], e[1], e[3], e[4], e[4]],
          "of the version before": lambda e: [{k: v for k, v in x.items() if k != "epoch"} for x in e]}


@pytest.mark.parametrize("order", points("missing", "reversed", "none", "twice", "of the version before"))
def test_bills_that_come_twice_or_out_of_order_or_not_are_taken_once(shop, order):
    bills, redis, epoch = "bills:{gateway}", shop.redis.client, shop.ledger.status["epoch"]
    shop.ledger.pause()
    assert [ask(shop) for _ in range(5)] == [200] * 5
    wait_for(lambda: redis.xlen(bills) == 5, "the entries")
    entries = [fields for _, fields in redis.xrange(bills)]
    with redis.pipeline(transaction=True) as all_at_once:
        all_at_once.delete(bills)
        for fields in ORDERS[order](entries):
            all_at_once.xadd(bills, fields)
        all_at_once.execute()
    shop.ledger.resume()
    check(shop, 5)
    assert shop.ledger.status["epoch"] == epoch and "late_bill" not in shop.ledger.log_text


@pytest.mark.parametrize("what", points("slow", "read-only"))
def test_a_redis_that_is_slow_or_takes_no_writes_moves_no_money(shop, what):
    """Requests and a credit meanwhile; what was not applied is refused, or applied once when it is over."""
    redis, asked = shop.redis, []
    assert ask(shop) == 200

    def credit(name):
        status = shop.ledger.api("POST", "/v1/credit", {"account": "acme", "amount": "1000", "id": name})[0]
        assert status in (200, 503)

    if what == "read-only":
        redis.client.config_set("min-replicas-to-write", 1)
        asked += [ask(shop) for _ in range(3)]
        credit("meanwhile")
        assert asked == [503] * 3
        redis.client.config_set("min-replicas-to-write", 0)
    else:
        for i in range(8):
            redis.pause()
            threading.Timer(0.3, redis.resume).start()
            asked.append(ask(shop))
            credit(f"meanwhile-{i % 3}")
        assert set(asked) <= {200, 503}
    for name in ("meanwhile", "meanwhile-0", "meanwhile-1", "meanwhile-2"):
        wait_for(lambda n=name: shop.ledger.api("POST", "/v1/credit", {"account": "acme", "amount": "1000", "id": n})[0] == 200, "its credit", 20)
        shop.spent -= 1000
    ask_until(shop, 30)
    check(shop, 2 + asked.count(200))
    wait_for(lambda: redis.client.zcard("m1:holds:{acme}") == 0, "what was abandoned is given back", 20)


DAY = 86400


@pytest.mark.parametrize("who, off", points(("gateway", -3 * DAY), ("ledger", -3 * DAY), ("ledger", 3 * DAY), ("gateway", 3 * DAY)))
def test_a_clock_that_jumps_and_comes_back_moves_no_money(shop, who, off):
    program = shop.ledger if who == "ledger" else shop.gateways[0]
    program.stop()
    clock = WallClock(program)
    program.start()
    shop.ledger.wait_ready()
    ask_until(shop)
    clock.jump(off)
    asked = [ask(shop) for _ in range(3)]  # a gateway does not use a worker whose clock is not its own
    assert set(asked) <= ({200} if who == "ledger" else {200, 502, 503}), asked
    shop.ledger.credit("acme", 1000, "meanwhile")
    shop.spent -= 1000
    shop.redis.flush()  # everything is written anew under that clock
    wait_for(lambda: shop.ledger.ready and int(shop.ledger.status["epoch"]) >= 2, "the recovery", 20)
    check(shop, 1 + asked.count(200))
    clock.jump(0)
    ask_until(shop, 30)
    shop.ledger.credit("acme", 1000, "after")
    shop.spent -= 1000
    check(shop, 2 + asked.count(200))


def kill_at(shop, point):
    """The gateway in a request, at this point; up again."""
    gateway = shop.gateways[0]
    gateway.stop()
    gateway.env = {"COCOON_FAIL_AT": point}
    gateway.start()
    wait_for(lambda: gateway.accepting == 1, "its worker is ready", 15)
    with shop.raw(key=shop.metered) as raw:
        raw.request("POST", CHAT, chat())
        wait_for(lambda: not gateway.alive, f"the end at {point}")
    gateway.env = None
    return gateway


@pytest.mark.parametrize("point", points("settle.before", "journal.commit.before", "journal.commit.after", "settle.journaled", "settle.charged"))
def test_a_gateway_killed_around_its_charge_has_it_on_the_books_once(shop, point):
    kill_at(shop, point).start()
    (bill,) = wait_for(lambda: shop.ledger.bills(), "the bill, from the worker's record", 30)
    shop.spent = int(bill["amount"])
    ask_until(shop)
    check(shop, 2)


@pytest.mark.skipif(not os.environ.get("FAULTS"), reason="a verification that finds something takes its time")
def test_a_charge_that_gateway_and_worker_took_with_them_is_shown_and_given_back(shop):
    gateway = kill_at(shop, "settle.charged")
    shop.workers[0].kill()
    gateway.start()
    shop.workers[0].start()
    ask_until(shop, 30)
    wait_for(lambda: len(shop.ledger.bills()) == 1, "the bill of the second")
    (wrong,) = [c for c in shop.ledger.api("GET", "/v1/verify")[1]["checks"] if not c["good"]]
    assert wrong["check"] == "I11" and wrong["difference"] == shop.spent  # both cost the same
    epoch = int(shop.ledger.status["epoch"])
    shop.ledger.ctl("ledger", "recover")
    wait_for(lambda: int(shop.ledger.status["epoch"]) > epoch and shop.ledger.ready, "the recovery", 20)
    check(shop, 1)


@pytest.mark.skipif(not os.environ.get("FAULTS"), reason="two faults at once")
def test_a_redis_that_is_emptied_while_a_gateway_hands_over_has_the_holds_of_both_processes(shop):
    """They are one instance: balances are written when both have put back what they hold."""
    gateway, finish = shop.gateways[0], []

    async def parked(x):
        await x.head()
        await x.event(x.chunk(text="t0 "))
        while not finish:
            await asyncio.sleep(0.01)
        await x.event(x.chunk(finish="stop"))
        await x.event(x.chunk(usage=x.dialect.usage(3, 4)))
        await x.done()
        await x.end()
    shop.engines[0].script("parked", parked)
    gateway.stop()
    gateway.settings["timeouts"]["drain_ms"] = 60000
    gateway.start()
    shop.wait_ready()
    with shop.raw(key=shop.metered) as raw:
        raw.request("POST", CHAT, chat(script("parked"), stream=True))
        raw.head()
        raw.until(b"t0")
        successor = upgrade(gateway, gateway.pid, 1)
        try:
            gateway.pause()
            shop.redis.flush()
            wait_for(lambda: "gateway" in shop.ledger.status["waits_for"], "the ledger to wait", 20)
            threading.Timer(1, gateway.resume).start()
            ask_until(shop, 30)
            assert gateway.alive and shop.redis.client.zcard("m1:holds:{acme}") == 1
            finish.append(True)
            assert raw.rest().ending == "complete"
            wait_for(lambda: len(shop.ledger.bills()) == 2, "both bills", 20)
            shop.spent = sum(int(b["amount"]) for b in shop.ledger.bills())
            check(shop, 2)
        finally:
            successor.end()


@pytest.mark.parametrize("point", points("record.signed", "record.sent", "record.file.before", "record.file.after", "record.ack.before",
                                         "record.ack.after", "record.kept"))
def test_a_worker_killed_around_its_record_is_paid_once_or_not_at_all(shop, point):
    """What the answer said it cost is what the books have, whatever the worker still has of it when it is back."""
    worker = shop.workers[0]
    worker.stop()
    worker.settings["usage_file"] = os.path.join(shop.folder, "usage.jsonl")
    worker.env = {"COCOON_FAIL_AT": point}
    worker.start()
    shop.wait_ready()
    with shop.raw(key=shop.metered) as raw:
        raw.request("POST", CHAT, chat())
        wait_for(lambda: not worker.alive, f"the end at {point}")
        assert worker.process.returncode == -signal.SIGKILL
        worker.env = None
        worker.start()
        raw.head()
        answer = raw.rest()
    billed = answer.status == 200
    shop.spent = answer.json["usage"]["cost_nano"] if billed else 0
    ask_until(shop)
    check(shop, billed + 1)
    wait_for(lambda: worker.status["usage"]["unacknowledged"] == 0, "the worker to be told of every record")


def unwritable(shop, account):
    """Its row in Redis is none until it is deleted: restoring it fails and is tried again."""
    row = "m1:acct:{%s}" % account
    shop.ledger.account(account, 1000)
    shop.redis.client.delete(row)
    shop.redis.client.set(row, "")
    return lambda: shop.redis.client.delete(row)


def failed(shop, more):
    """So many more restores have failed."""
    before = shop.ledger.log_text.count("event=projection kind=")
    wait_for(lambda: shop.ledger.log_text.count("event=projection kind=") >= before + more, "restores that fail", 20)


def test_an_epoch_opens_when_the_last_account_is_written_however_often_it_failed(shop):
    epoch, mend = int(shop.ledger.status["epoch"]), unwritable(shop, "other")
    shop.ledger.ctl("ledger", "recover")
    wait_for(lambda: shop.ledger.status["epoch_state"] == "restoring", "the restoring", 20)
    failed(shop, 3)
    assert shop.ledger.status["epoch_state"] == "restoring"
    mend()
    wait_for(lambda: recovered(shop.ledger, epoch), "the recovery", 20)
    ask_until(shop)
    check(shop, 1)


def restore_again(shop, why):
    """The restoring under way is given up for another one."""
    ledger = shop.ledger
    if why == "recover":
        epoch = int(ledger.status["epoch"])
        ledger.ctl("ledger", "recover")
        again = lambda: int(ledger.status["epoch"]) > epoch  # noqa: E731
    else:
        shop.redis.pause()
        wait_for(lambda: ledger.status["epoch_state"] == "away", "the ledger to miss Redis", 30)
        shop.redis.resume()
        again = lambda: True  # noqa: E731
    wait_for(lambda: again() and ledger.status["epoch_state"] == "restoring", "the next restoring", 30)


@pytest.mark.parametrize("why", ["recover", "away"])
def test_a_restoring_begun_anew_opens_when_its_own_accounts_are_written(shop, why):
    """What was left of the one before is written first, and says nothing of the others."""
    ledger, mend, epoch = shop.ledger, unwritable(shop, "other"), int(shop.ledger.status["epoch"])
    ledger.ctl("ledger", "recover")
    wait_for(lambda: ledger.status["epoch_state"] == "restoring", "the restoring", 20)
    failed(shop, 1)
    mend_second = unwritable(shop, "second")
    restore_again(shop, why)
    mend()
    wait_for(lambda: shop.redis.client.hget("m1:acct:{other}", "epoch"), "the account that was left", 20)
    failed(shop, 3)
    assert ledger.status["epoch_state"] == "restoring"
    mend_second()
    wait_for(lambda: recovered(ledger, epoch), "the recovery", 20)
    ask_until(shop)
    check(shop, 1)


@pytest.mark.parametrize("point", points("recovery.restore", "recovery.open"))
def test_a_ledger_killed_in_a_recovery_does_it_again(shop, point):
    assert ask(shop) == 200
    wait_for(lambda: len(shop.ledger.bills()) == 1, "the bill")
    shop.ledger.stop()
    shop.ledger.env = {"COCOON_FAIL_AT": point}
    shop.redis.flush()
    shop.ledger.process = None
    Process.start(shop.ledger)
    wait_for(lambda: not shop.ledger.alive, f"the end at {point}", 20)
    shop.ledger.env = None
    shop.ledger.start()
    shop.ledger.wait_ready()
    ask_until(shop)
    check(shop, 2)


def test_a_gateway_killed_with_bills_that_the_books_have_not(shop):
    shop.ledger.pause()
    assert [ask(shop) for _ in range(3)] == [200] * 3
    wait_journal(shop, 3)
    shop.gateways[0].kill()
    shop.redis.flush()
    shop.ledger.resume()
    wait_for(lambda: shop.ledger.status["epoch_state"] == "waiting" and shop.ledger.status["waits_for"], "the ledger to wait", 15)
    shop.gateways[0].start()
    shop.wait_ready()
    ask_until(shop)
    check(shop, 4)


@pytest.mark.parametrize("ahead", points(-50, 0, 50))
def test_bills_of_a_gateway_that_a_recovery_did_not_know_are_not_lost_on_redis(shop, ahead):
    """The ledger hears of the second gateway only after Redis, in which that one had charged, is lost; whatever that one's clock says."""
    shop.ledger.pause()
    new = shop.gateway("new", start=False, **{"billing.journal": os.path.join(shop.folder, "new.journal")})
    WallClock(new).jump(ahead)
    shop.start(new)
    shop.workers[0].stop()
    shop.worker(gateways=shop.gateways, name="both")
    wait_for(lambda: shop.gateways[1].accepting, "the worker at the new gateway")
    assert [ask(shop, 1) for _ in range(3)] == [200] * 3
    wait_journal(shop, 3, "new")
    shop.gateways[1].kill()
    shop.redis.flush()
    shop.ledger.resume()
    ask_until(shop)  # the old gateway is enough for a recovery
    shop.gateways[1].start()
    wait_for(lambda: len(shop.ledger.bills()) == 4, "the new gateway's bills", 20)
    ask_until(shop)
    check(shop, 5)


def go_missing(shop):
    """Two calls of which only the journal knows; the gateway is gone, Redis empty, and the ledger waits for both."""
    shop.ledger.pause()
    assert [ask(shop) for _ in range(2)] == [200] * 2
    wait_journal(shop, 2)
    shop.gateways[0].kill()
    shop.redis.flush()
    shop.ledger.resume()
    wait_for(lambda: "gateway" in shop.ledger.status["waits_for"], "the ledger to wait", 15)


def test_a_gateway_that_never_billed_is_waited_for_when_the_ledger_and_redis_come_back_together(shop):
    """What it brings first is only in its journal: neither the new ledger's Redis nor a bill in the books names it."""
    shop.ledger.pause()
    assert ask(shop) == 200
    wait_journal(shop, 1)
    shop.gateways[0].kill()
    shop.ledger.kill()
    shop.redis.flush()
    Process.start(shop.ledger)  # it is not ready
    wait_for(lambda: "gateway" in shop.ledger.status["waits_for"], "the ledger to wait", 15)
    shop.gateways[0].start()
    shop.wait_ready()
    ask_until(shop)
    check(shop, 2)


def test_a_redis_that_is_emptied_again_while_a_gateway_is_waited_for_is_recovered(shop):
    go_missing(shop)
    epoch = int(shop.ledger.status["epoch"])
    shop.redis.flush()
    wait_for(lambda: int(shop.redis.client.hget("m1:epoch", "n") or 0) > epoch, "the next recovery", 20)
    shop.gateways[0].start()
    wait_for(lambda: recovered(shop.ledger, epoch), "the recovery", 30)
    ask_until(shop, 30)
    check(shop, 3)


def test_a_gateway_that_never_comes_back_is_left_out_and_its_journal_read(shop):
    go_missing(shop)
    taken = shop.ledger.ctl("ledger", "intake", os.path.join(shop.folder, "gateway.journal")).stdout
    assert taken.splitlines() == ["instance  gateway", "taken     2", "known     0", "refused   0"]
    shop.ledger.ctl("ledger", "recover", "--without", "gateway")
    shop.ledger.wait_ready()
    check(shop, 2)


def test_who_leaves_a_gateway_out_is_told_when_redis_did_not_take_that(shop):
    """It would be waited for again as soon as Redis names it."""
    go_missing(shop)
    shop.redis.client.config_set("min-replicas-to-write", 1)
    status, answer = shop.ledger.api("POST", "/v1/recover", {"without": "gateway"})
    assert status == 503 and answer["error"]["code"] == "unavailable"
    shop.redis.client.config_set("min-replicas-to-write", 0)
    assert "gateway" in shop.ledger.status["waits_for"]
    assert shop.ledger.good("POST", "/v1/recover", {"without": "gateway"}) == {"without": "gateway"}
    shop.ledger.wait_ready()
    assert [row["action"] for row in shop.ledger.good("GET", "/v1/audit?object=gateway")["data"]] == ["recover"]


def test_a_dead_gateways_journal_that_redis_has_charged_stops_nobody(shop):
    """Its charges are in the epoch of now: no recovery is begun, which would wait for it."""
    bills, redis, epoch = "bills:{gateway}", shop.redis.client, shop.ledger.status["epoch"]
    shop.ledger.pause()
    assert [ask(shop) for _ in range(2)] == [200] * 2
    wait_journal(shop, 2)
    shop.gateways[0].kill()
    redis.delete(bills)
    shop.ledger.resume()
    taken = shop.ledger.good("POST", "/v1/intake", {"path": os.path.join(shop.folder, "gateway.journal")})
    assert (taken["taken"], taken["refused"]) == (2, 0)
    time.sleep(1)
    assert shop.ledger.status["epoch_state"] == "open" and shop.ledger.status["epoch"] == epoch
    check(shop, 2)
    of_today = lambda: [k for k in redis.keys("usage:{acme}:*")]  # noqa: E731
    wait_for(of_today, "the usage that accounts are shown", 10)


def leave_out(shop):
    """An epoch is open without the calls of which only the journal knows."""
    go_missing(shop)
    shop.ledger.ctl("ledger", "recover", "--without", "gateway")
    shop.ledger.wait_ready()


def test_a_journal_that_turns_up_after_its_gateway_was_left_out_is_charged_on_redis_too(shop):
    leave_out(shop)
    epoch = int(shop.ledger.status["epoch"])
    shop.ledger.ctl("ledger", "intake", os.path.join(shop.folder, "gateway.journal"))
    wait_for(lambda: recovered(shop.ledger, epoch), "the recovery", 20)
    check(shop, 2)


@pytest.mark.parametrize("lost", [False, True])
def test_a_gateway_that_was_left_out_and_comes_back_bills_again(shop, lost):
    """Its bills go on behind what the books had of it, in a new journal, too."""
    assert ask(shop) == 200
    wait_for(lambda: len(shop.ledger.bills()) == 1, "the bill")
    wait_for(lambda: confirmed(shop) == 1, "the gateway to be told")
    shop.gateways[0].stop()
    shop.redis.flush()
    wait_for(lambda: "gateway" in shop.ledger.status["waits_for"], "the ledger to wait", 15)
    shop.ledger.ctl("ledger", "recover", "--without", "gateway")
    shop.ledger.wait_ready()
    shop.ledger.stop()
    shop.ledger.start()
    shop.ledger.wait_ready()
    assert not shop.ledger.status["gateways"]
    if lost:
        for end in ("", "-wal", "-shm"):
            if os.path.exists(shop.folder + "/gateway.journal" + end):
                os.unlink(shop.folder + "/gateway.journal" + end)
    shop.gateways[0].start()
    shop.wait_ready()
    ask_until(shop, 30)
    check(shop, 2)
    assert journal(shop, "SELECT max(n) FROM bills") == 2


def test_books_set_back_to_a_copy_catch_up_from_the_journal(shop):
    assert ask(shop) == 200
    wait_for(lambda: len(shop.ledger.bills()) == 1, "the bill")
    shop.ledger.stop()
    books = shop.ledger.settings["books"]
    copy = os.path.join(shop.folder, "copy.sqlite")
    shutil.copy(books, copy)
    shop.ledger.start()
    shop.ledger.wait_ready()
    assert [ask(shop) for _ in range(2)] == [200] * 2
    wait_for(lambda: len(shop.ledger.bills()) == 3, "the bills")
    shop.ledger.kill()
    for end in ("-wal", "-shm"):
        if os.path.exists(books + end):
            os.unlink(books + end)
    shutil.copy(copy, books)
    shop.ledger.start()
    shop.ledger.wait_ready()
    shop.ledger.ctl("ledger", "intake", os.path.join(shop.folder, "gateway.journal"))
    shop.ledger.ctl("ledger", "recover")
    wait_for(lambda: shop.ledger.ready, "the recovery", 15)
    check(shop, 3)


def test_a_copy_of_the_books_is_verified_offline_and_a_flipped_byte_is_found(shop):
    assert [ask(shop) for _ in range(3)] == [200] * 3
    check(shop, 3)
    shop.ledger.stop()
    copy = os.path.join(shop.folder, "copy.sqlite")
    shutil.copy(shop.ledger.settings["books"], copy)
    verify = lambda: subprocess.run([os.path.join(BIN, "cocoonctl"), "ledger", "verify", "--books", copy], capture_output=True, text=True)
    done = verify()
    assert done.returncode == 0 and "ok   I10         3" in done.stdout, done.stdout + done.stderr
    with open(copy, "r+b") as f:
        data = f.read()
        at = data.index(b"eyJ")  # a bill's header
        f.seek(at + 200)
        byte = f.read(1)
        f.seek(at + 200)
        f.write(b"A" if byte != b"A" else b"B")
    done = verify()
    assert done.returncode == 1 and "BAD  I10" in done.stdout, done.stdout


def test_a_charge_that_a_journal_has_and_copied_books_have_not_is_named_alone(shop):
    assert [ask(shop) for _ in range(2)] == [200] * 2
    check(shop, 2)
    shop.ledger.stop()
    copy, journal = os.path.join(shop.folder, "copy.sqlite"), os.path.join(shop.folder, "gateway.journal")
    shutil.copy(shop.ledger.settings["books"], copy)
    verify = lambda *more: shop.ctl("ledger", "verify", "--books", copy, *more, check=False)
    done = verify("--journal", journal)
    assert done.returncode == 0 and "ok   I8          2  every charge of the journal" in done.stdout, done.stdout + done.stderr
    before = shop.spent
    assert ask(shop) == 200
    wait_journal(shop, 3)
    done = verify("--journal", journal)
    bad = [line for line in done.stdout.splitlines() if line.startswith("BAD")]
    assert done.returncode == 1 and len(bad) == 1 and bad[0].startswith("BAD  I8          3"), done.stdout
    assert f"difference {shop.spent - before}: not in the books: call " in bad[0]
    assert verify("--journal", copy).returncode == 1 and "journal" in verify("--journal", copy).stderr
    assert shop.ctl("ledger", "verify", "--journal", journal, check=False).returncode == 2


def test_a_full_disk_loses_no_bill_and_says_so(shop):
    assert ask(shop) == 200
    wait_for(lambda: len(shop.ledger.bills()) == 1, "the bill")
    no_more = (0, resource.RLIM_INFINITY)
    resource.prlimit(shop.ledger.pid, resource.RLIMIT_FSIZE, no_more)
    assert [ask(shop) for _ in range(2)] == [200] * 2  # they wait in Redis' stream
    wait_for(lambda: shop.ledger.status["gateways"][0]["waiting"] == 2, "the bills that wait")
    assert len(shop.ledger.bills()) == 1
    status, answer = shop.ledger.api("POST", "/v1/credit", {"account": "acme", "amount": "5", "id": "x"})
    assert status == 503 and answer["error"]["code"] == "books"
    resource.prlimit(shop.ledger.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    check(shop, 3)


def test_two_gateways_and_many_requests_at_once_leave_exact_books(shop):
    shop.gateway(**{"billing.journal": os.path.join(shop.folder, "gateway-2.journal")})
    shop.workers[0].stop()
    shop.worker(gateways=shop.gateways, name="both")
    shop.wait_ready()
    done, lock = [], threading.Lock()

    def many(gateway):
        for _ in range(10):
            with shop.raw(shop.gateways[gateway], key=shop.metered) as raw:
                a = raw.ask("POST", CHAT, chat())
            with lock:
                done.append(a.json["usage"]["cost_nano"] if a.status == 200 else a.status)

    threads = [threading.Thread(target=many, args=(i % 2,)) for i in range(4)]
    for t in threads:
        t.start()
    time.sleep(0.3)
    shop.redis.client.xadd("bills:{gateway}", {"n": "1", "bill": "x", "usage": "y", "kind": "settled"})  # from nobody
    for t in threads:
        t.join()
    assert len(done) == 40 and not [d for d in done if d in (401, 429, 503)], done
    shop.spent += sum(done)
    wait_for(lambda: len(shop.ledger.bills()) == 40, "the bills", 20)
    assert shop.ledger.balance() == 10**9 - shop.spent
    wrong = wait_for(lambda: [c for c in shop.ledger.api("GET", "/v1/verify")[1]["checks"] if not c["good"]], "the refused one")
    assert [c["check"] for c in wrong] == ["C1"] and wrong[0]["difference"] == 1  # what came from nobody is kept for people


@pytest.fixture
def postgres(tmp_path):
    """A PostgreSQL server of the test's own, on a UNIX socket, as a user that is not root."""
    import pwd
    import tempfile

    folder = tempfile.mkdtemp(prefix="cocoon-pg-")
    home = "/usr/lib/postgresql/15/bin/"
    user = pwd.getpwnam("postgres")
    root = os.geteuid() == 0
    if root:
        os.chown(folder, user.pw_uid, user.pw_gid)

    def as_user():
        if root:
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
        die_with_parent()
    subprocess.run([home + "initdb", "-D", folder + "/d", "-N", "-U", "cocoon", "-A", "trust", "-E", "UTF8", "--locale=C"], check=True,
                   preexec_fn=as_user, stdout=subprocess.DEVNULL, cwd="/")
    os.chmod(folder, 0o755)
    running = []

    def stop():
        running[-1].send_signal(signal.SIGINT)
        running[-1].wait(20)

    def start():
        running.append(subprocess.Popen([home + "postgres", "-D", folder + "/d", "-k", folder, "-h", ""], preexec_fn=as_user, cwd="/",
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        ask = [home + "pg_isready", "-q", "-h", folder]  # its socket is there before it takes anybody
        wait_for(lambda: subprocess.run(ask, cwd="/").returncode == 0, "PostgreSQL", 20, step=0.05)

    def restart():
        stop()
        start()

    start()
    yield f"postgresql://cocoon@/postgres?host={folder}", restart
    stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_books_on_postgresql_are_kept_over_a_killed_ledger(stack, postgres):
    where, restart = postgres
    stack.ledger = ledger = stack.start(Ledger(stack, books=where))
    ledger.wait_ready()
    ledger.prices()
    stack.engine()
    stack.gateway(**{"billing.journal": os.path.join(stack.folder, "gateway.journal")})
    stack.worker()
    stack.wait_ready()
    ledger.account("acme", 10**9, budgets={"day": str(10**9)})
    stack.metered, stack.spent = ledger.key(), 0
    assert [ask(stack) for _ in range(3)] == [200] * 3
    ledger.kill()
    assert [ask(stack) for _ in range(2)] == [200] * 2
    ledger.start()
    ledger.wait_ready()
    assert ledger.status["books"] == "postgresql"
    check(stack, 5)
    restart()  # PostgreSQL goes away and comes back: the ledger connects, and locks, anew
    assert ask(stack) == 200
    check(stack, 6)
    stack.redis.flush()
    ask_until(stack, 30)
    check(stack, 7)
    assert stack.redis.client.hget("m1:acct:{acme}", "b:a:d") == str(stack.spent)


def test_a_name_with_a_nul_in_redis_does_not_end_the_ledger(shop):
    ledger = shop.ledger
    named = lambda: sorted(g["instance"] for g in ledger.status["gateways"])  # noqa: E731
    shop.redis.client.sadd("bills:instances", b"gate\0way", "later")  # at once: who knows the one has read the other
    wait_for(lambda: not ledger.alive or "later" in named(), "the set to be read", 30)
    assert ledger.alive and named() == ["gateway", "later"]


# ---- A Redis that lies ----

def bulk(data):
    return b"$%d\r\n%s\r\n" % (len(data), data)


def lie(connection, entry, streams):
    """Answers as an empty Redis, but each stream that is read has one entry that is none."""
    info = b"run_id:" + b"0" * 40 + b"\r\nredis_mode:standalone\r\nrole:master\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n"
    answers = {b"INFO": lambda a: bulk(info), b"SMEMBERS": lambda a: b"*1\r\n" + bulk(b"gateway"), b"HGETALL": lambda a: b"*0\r\n",
               b"SUBSCRIBE": lambda a: b"*3\r\n" + bulk(b"subscribe") + bulk(a[1]) + b":1\r\n",
               b"XREAD": lambda a: b"*1\r\n*2\r\n" + bulk(a[4]) + b"*1\r\n" + entry}
    with connection, connection.makefile("rb") as lines:
        while head := lines.readline():
            words = []
            for _ in range(int(head[1:])):
                words.append(lines.read(int(lines.readline()[1:])))
                lines.read(2)
            if words[0] == b"XREAD":
                streams.append(words[4])
            connection.sendall(answers.get(words[0], lambda a: b"+OK\r\n")(words))


def take_all(server, *about):
    while True:
        try:
            connection = server.accept()[0]
        except OSError:
            return
        threading.Thread(target=lie, args=(connection, *about), daemon=True).start()


@pytest.mark.parametrize("entry", [b"*0\r\n", b":1\r\n"])
def test_entries_that_are_none_do_not_end_the_ledger(stack, entry):
    streams = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=take_all, args=(server, entry, streams), daemon=True).start()
        ledger = stack.start(Ledger(stack, **{"redis.url": f"redis://127.0.0.1:{server.getsockname()[1]}"}))
        wait_for(lambda: len(streams) > 8 and len(set(streams)) == 2 or not ledger.alive, "bills and events to be read")
        assert ledger.alive and ledger.api("GET", "/v1/status")[0] == 200
