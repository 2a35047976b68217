"""The admission script and its kin against a model of the design, in random order; and what each refuses."""

import os
import random
import threading
import time

import pytest
import redis as redis_package

from money_scripts import Account, Scripts

MOST = 2**53 - 1


@pytest.fixture
def scripts(stack):
    return Scripts(stack.redis.client)


def opened(scripts, account="acme", granted=1000, **kw):
    assert scripts.account(account, granted=granted, **kw) == "ok"
    assert scripts.key(account, "k1") == "ok"
    return account


@pytest.mark.parametrize("seed", range(60 if os.environ.get("FAULTS") else 4))
def test_every_interleaving_is_what_the_model_says(scripts, seed):
    rng = random.Random(seed)
    upgraded = seed % 2
    scale = rng.choice([10, 10**6, MOST // 40])
    model = Account(streams_limit=rng.choice([0, 0, 4]), budget=rng.choice([0, 0, 15 * scale]))
    cfg = f"active|||{model.streams_limit or ''}|||{model.budget or ''}"
    assert scripts.account("acme", granted=0, cfg=cfg) == "ok"
    scripts.key("acme", "k1")
    calls = [f"{i:032x}" for i in range(12)]
    for step in range(400):
        call, amount = rng.choice(calls), rng.choice([0, 1, scale, rng.randint(0, 3 * scale)])
        what = rng.randrange(11)
        if upgraded and rng.random() < 0.2:
            scripts.older("acme", call)  # says the same
        if what == 0:
            granted = min(MOST, max(0, model.granted + rng.randint(-scale, 2 * scale)))
            assert scripts.account("acme", version=step + 1, granted=granted, cfg=cfg) == model.grant(granted)
        elif what < 5:
            assert scripts.admit("acme", call, amount, life_ms=0)[0] == model.admit(call, amount), step
        elif what < 8:
            attempt = rng.choice([0, 0, 1])
            got = scripts.settle("acme", call, amount, attempt)
            assert (got[0], int(got[1])) == model.settle(call, amount, attempt), step
        elif what == 8:
            assert scripts.release("acme", call) == model.end(call, "released", "tomb")
        elif what == 9:
            assert scripts.expire("acme", call) == model.end(call, "expired", "unknown")
        else:
            assert scripts.attempt("acme", call, 1) == model.next_attempt(call, 1)
        assert scripts.money("acme") == (model.available, model.charged, model.open() if model.streams_limit else 0), step
        assert model.available >= 0
        held = sum(c[1] for c in model.calls.values() if c[0] == "open")
        assert model.available + held + model.charged == model.granted
        if model.budget:
            assert int(scripts.redis.hget("m1:acct:{acme}", "b:a:t") or 0) == model.used
        if all(c in model.calls and model.calls[c][0] != "open" for c in calls):
            calls = [f"{step:016x}{i:016x}" for i in range(12)]
    assert set(scripts.redis.zrange("m1:holds:{acme}", 0, -1)) == {k for k, c in model.calls.items() if c[0] == "open"}


def test_of_1000_parallel_holds_exactly_as_many_succeed_as_there_is_money_for(stack, scripts):
    opened(scripts, granted=137 * 7 + 3)
    results, lock, go = [], threading.Lock(), threading.Event()

    def work(n):
        own = Scripts(redis_package.Redis(port=stack.redis.port, decode_responses=True))
        go.wait()
        for i in range(n, 1000, 20):
            got = own.admit("acme", f"{i:032x}", 7)[0]
            with lock:
                results.append(got)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
    for t in threads:
        t.start()
    go.set()
    for t in threads:
        t.join()
    assert results.count("ok") == 137
    assert results.count("balance") == 863
    assert scripts.money("acme")[0] == 3


def test_numbers_that_a_double_cannot_hold_are_exact(scripts):
    opened(scripts, granted=MOST)
    assert scripts.admit("acme", "a", MOST)[0] == "ok"
    assert scripts.money("acme")[0] == 0
    assert scripts.settle("acme", "a", MOST - 1) == ["settled", str(MOST - 1)]
    assert scripts.money("acme")[:2] == (1, MOST - 1)
    assert scripts.account("acme", version=2, granted=MOST + 1) == "overflow"
    assert scripts.money("acme")[0] == 1


def test_a_hold_that_comes_after_its_release_never_applies(scripts):
    opened(scripts)
    assert scripts.release("acme", "a") == "tomb"
    assert scripts.admit("acme", "a", 10)[:2] == ["exists", "tomb"]
    assert scripts.settle("acme", "a", 10) == ["tomb", "0"]
    assert scripts.money("acme")[0] == 1000


def test_a_late_record_charges_what_is_there_once(scripts):
    opened(scripts)
    assert scripts.admit("acme", "a", 600, life_ms=0)[0] == "ok"
    assert scripts.expire("acme", "a") == "expired"
    assert scripts.admit("acme", "b", 900)[0] == "ok"
    assert scripts.settle("acme", "a", 500) == ["late_settled", "100"]
    assert scripts.settle("acme", "a", 500) == ["again_late", "100"]
    assert scripts.money("acme")[:2] == (0, 100)


def test_a_hold_does_not_expire_before_its_time(scripts):
    opened(scripts)
    assert scripts.admit("acme", "a", 600, life_ms=60000)[0] == "ok"
    assert scripts.expire("acme", "a") == "early"
    assert scripts.money("acme")[0] == 400


def test_rows_of_the_past_end_and_open_ones_do_not(scripts):
    opened(scripts)
    row = scripts.keys("acme", "a")[1]
    scripts.admit("acme", "a", 10)
    assert scripts.redis.pttl(row) == -1
    scripts.attempt("acme", "a", 1)
    assert scripts.redis.pttl(row) == -1
    scripts.settle("acme", "a", 10, attempt=1)
    assert 0 < scripts.redis.pttl(row) <= 24 * 3600 * 1000
    scripts.release("acme", "b")
    assert 0 < scripts.redis.pttl(scripts.keys("acme", "b")[1]) <= 3600000


def test_what_is_not_known_is_refused(scripts):
    assert scripts.admit("acme", "a", 1)[:2] == ["absent", "account"]
    opened(scripts)
    assert scripts.admit("acme", "a", 1, key="k2")[:2] == ["absent", "key"]
    assert scripts.admit("acme", "a", 1, epoch=2)[0] == "epoch"
    scripts.account("acme", version=2, granted=1000, cfg="suspended||||||")
    assert scripts.admit("acme", "a", 1)[:2] == ["suspended", "account"]
    assert scripts.money("acme")[0] == 1000


def test_a_revoked_key_never_comes_back(scripts):
    opened(scripts)
    assert scripts.key("acme", "k1", 3) == "ok"
    assert scripts.admit("acme", "a", 1, version=2)[:2] == ["stale", "3"]
    assert scripts.key("acme", "k1", 2) == "stale"
    assert scripts.admit("acme", "a", 1, version=3)[0] == "ok"


def test_an_older_projection_changes_nothing(scripts):
    opened(scripts)
    assert scripts.account("acme", version=5, granted=2000) == "ok"
    assert scripts.account("acme", version=4, granted=9000) == "stale"
    assert scripts.account("acme", version=5, granted=2000) == "ok"
    assert scripts.money("acme")[0] == 2000
    scripts.admit("acme", "a", 1500)
    assert scripts.account("acme", version=6, granted=1000) == "short"
    assert scripts.money("acme")[0] == 500


def test_an_account_that_this_redis_never_saw_begins_with_what_the_books_left(scripts):
    assert scripts.account("acme", granted=1000, charged=400) == "ok"
    assert scripts.money("acme")[:2] == (600, 400)


def test_requests_of_a_minute_are_counted_and_told(scripts):
    opened(scripts)
    for left in (2, 1, 0):
        got = scripts.admit("acme", f"a{left}", 1, limits="3|1000|0", tokens=100)
        assert got[0] == "ok" and got[3:5] == [3, left], got
        assert got[6:8] == [1000, 1000 - (3 - left) * 100]
        assert 0 < got[5] <= (3 - left) * 20000
    got = scripts.admit("acme", "b", 1, limits="3|1000|0", tokens=100)
    assert got[:2] == ["requests", "k:k1"]
    assert 19000 < got[2] <= 20000
    assert got[3:5] == [3, 0] and got[6:8] == [1000, 700]
    assert scripts.money("acme")[0] == 997


def test_the_tightest_bucket_is_told(scripts):
    opened(scripts, cfg="active|2|||||")
    assert scripts.admit("acme", "a", 1, limits="5|0|0", project="p")[3:5] == [2, 1]
    scripts.field("acme", "p:p", 1, "active|1|||||")
    assert scripts.admit("acme", "b", 1, limits="5|0|0", project="p")[3:5] == [2, 0]
    got = scripts.admit("acme", "c", 1, limits="5|0|0", project="p")
    assert got[0] == "requests"


def test_tokens_expected_become_tokens_used(scripts):
    opened(scripts)
    assert scripts.admit("acme", "a", 1, limits="0|1000|0", tokens=900)[6:8] == [1000, 100]
    got = scripts.admit("acme", "b", 1, limits="0|1000|0", tokens=900)
    assert got[0] == "tokens" and 47000 < got[2] <= 48000
    assert scripts.settle("acme", "a", 1, tokens=50)[0] == "settled"
    assert scripts.admit("acme", "b", 1, limits="0|1000|0", tokens=900)[6:8] == [1000, 50]
    scripts.release("acme", "b")
    assert scripts.admit("acme", "c", 1, limits="0|1000|0", tokens=0)[7] == 950
    # What never passes says how things stand as well, and whatever else would have to be waited for says nothing.
    got = scripts.admit("acme", "d", 1, limits="0|1000|0", tokens=1001)
    assert got[:6] == ["tokens_size", "1000", 0, -1, -1, -1] and got[6:8] == [1000, 950] and 0 < got[8] <= 3000
    assert scripts.admit("acme", "e", 1, limits="1|1000|0", tokens=0)[0] == "ok"
    got = scripts.admit("acme", "f", 1, limits="1|1000|0", tokens=1001)
    assert got[:5] == ["tokens_size", "1000", 0, 1, 0] and got[6] == 1000


def test_a_clock_that_went_back_does_not_lock_anybody_out(scripts):
    opened(scripts)
    seconds, us = scripts.redis.time()
    scripts.redis.hset("m1:acct:{acme}", "r:k:k1", (seconds + 86400) * 10**6 + us)
    got = scripts.admit("acme", "a", 1, limits="60|0|0")
    assert got[0] == "requests" and got[2] <= 1000


def test_streams_at_a_time_are_bounded_and_come_back(scripts):
    opened(scripts)
    scripts.field("acme", "m:mod,el|;", 1, "||2")
    for call in "ab":
        assert scripts.admit("acme", call, 1, model="mod,el|;")[0] == "ok"
    assert scripts.admit("acme", "c", 1, model="mod,el|;")[:3] == ["streams", "m", 1000]
    assert scripts.admit("acme", "d", 1, model="other")[0] == "ok"
    assert scripts.settle("acme", "a", 1)[0] == "settled"
    assert scripts.admit("acme", "c", 1, model="mod,el|;")[0] == "ok"


def test_budgets_are_windows_of_money(scripts):
    opened(scripts, cfg="active||||100||")
    scripts.field("acme", "p:p", 1, "active|||||200|")
    assert scripts.admit("acme", "a", 60, project="p", budgets="||70")[0] == "ok"
    assert scripts.admit("acme", "b", 11, project="p", budgets="||70")[:2] == ["budget", "k:k1:t"]
    assert scripts.settle("acme", "a", 20)[0] == "settled"
    assert scripts.admit("acme", "b", 50, project="p", budgets="||70")[0] == "ok"
    assert scripts.admit("acme", "c", 31, project="p")[:2] == ["budget", "a:d"]
    acct = scripts.redis.hgetall("m1:acct:{acme}")
    assert (acct["b:a:d"], acct["b:p:p:m"], acct["b:k:k1:t"]) == ("70", "70", "70")
    now = time.gmtime(scripts.redis.time()[0])
    assert acct["w:p:p:m"] == f"m{(now.tm_year - 1970) * 12 + now.tm_mon - 1}"
    assert scripts.money("acme")[0] == 1000 - 20 - 50


def test_a_budget_that_is_set_later_counts_what_was_spent_before(scripts):
    opened(scripts)
    scripts.admit("acme", "a", 100)
    scripts.settle("acme", "a", 60)
    day = scripts.redis.time()[0] // 86400
    assert scripts.budgets("acme", f"a:d,d{day},60;a:t,t,60;") == "ok"
    scripts.account("acme", version=2, granted=1000, cfg="active||||100||100")
    assert scripts.admit("acme", "b", 41)[0] == "budget" and scripts.admit("acme", "b", 40)[0] == "ok"
    of_budgets = lambda: scripts.redis.hmget("m1:acct:{acme}", "b:a:d", "b:a:t", "w:a:d")  # noqa: E731
    assert of_budgets() == ["100", "100", f"d{day}"]
    for behind in (f"a:d,d{day},60;a:t,t,60;", f"a:d,d{day - 1},900;", ""):  # the books, told again, or yesterday's
        assert scripts.budgets("acme", behind) == "ok" and of_budgets() == ["100", "100", f"d{day}"]
    assert scripts.budgets("acme", f"a:d,d{day + 1},7;a:t,t,130;") == "ok"
    assert of_budgets() == ["7", "130", f"d{day + 1}"]


def test_a_new_window_begins_empty_and_the_old_ones_money_does_not_come_back_into_it(scripts):
    opened(scripts, cfg="active||||100||")
    assert scripts.admit("acme", "a", 90)[0] == "ok"
    scripts.redis.hset("m1:acct:{acme}", "w:a:d", "d1")  # yesterday's
    assert scripts.admit("acme", "b", 90)[0] == "ok"
    assert scripts.redis.hget("m1:acct:{acme}", "b:a:d") == "90"
    row = scripts.keys("acme", "a")[1]
    scripts.redis.set(row, scripts.redis.get(row).replace(scripts.redis.hget("m1:acct:{acme}", "w:a:d"), "d1"))
    assert scripts.settle("acme", "a", 10)[0] == "settled"
    assert scripts.redis.hget("m1:acct:{acme}", "b:a:d") == "90"


def test_recovery_restores_the_books_less_what_is_held(scripts):
    opened(scripts, cfg="active|||5|||")
    scripts.admit("acme", "a", 100)
    scripts.admit("acme", "b", 50)
    rows = {c: scripts.redis.get(scripts.keys("acme", c)[1]) for c in "ab"}
    scripts.redis.flushall()
    for call in "ab":
        acct, hold, holds = scripts.keys("acme", call)
        assert scripts.run["assert"](keys=[hold, holds], args=[call, rows[call], 60000]) == ["asserted"]
        assert scripts.run["assert"](keys=[hold, holds], args=[call, rows[call], 60000]) == ["open"]
    assert scripts.restore("acme", epoch=2, granted=1000, charged=300, cfg="active|||5|||") == "ok"
    assert scripts.money("acme") == (550, 300, 2)
    scripts.key("acme", "k1")
    assert scripts.admit("acme", "c", 1)[0] == "epoch"
    assert scripts.admit("acme", "c", 551, epoch=2)[0] == "balance"
    assert scripts.settle("acme", "a", 30) == ["settled", "30"]
    assert scripts.release("acme", "b") == "released"
    assert scripts.money("acme") == (670, 330, 0)


def test_recovery_finds_what_the_books_have_billed_settled(scripts):
    """A server that came back with an older state has such a hold open."""
    opened(scripts, cfg="active|||5||600|")
    for call in "ab":
        scripts.admit("acme", call, 100)
    window = scripts.redis.hget("m1:acct:{acme}", "w:a:m")
    assert scripts.restore("acme", epoch=2, granted=1000, charged=30, cfg="active|||5||600|", billed={"a": (30, 1)},
                           budgets=f"a:m,{window},30;") == "ok"
    assert scripts.money("acme") == (870, 30, 1)
    assert scripts.redis.hget("m1:acct:{acme}", "b:a:m") == "130"
    assert scripts.settle("acme", "a", 40, attempt=1) == ["again", "30"]
    assert scripts.settle("acme", "a", 40, attempt=0) == ["other", "0"]
    assert 0 < scripts.redis.pttl(scripts.keys("acme", "a")[1]) <= 24 * 3600 * 1000
    assert scripts.release("acme", "b") == "released"
    assert scripts.money("acme") == (970, 30, 0)


def test_recovery_finds_what_the_books_have_billed_late_settled_late(scripts):
    """A server that came back with an older state has it expired; one that did not has it as it was."""
    opened(scripts)
    for call in "abc":
        scripts.admit("acme", call, 100, life_ms=0 if call < "c" else 60000)
    assert [scripts.expire("acme", call) for call in "ab"] == ["expired"] * 2
    assert scripts.settle("acme", "b", 20) == ["late_settled", "20"]
    late = {"a": (30, 1), "b": (20, 0), "gone": (5, 0)}
    assert scripts.restore("acme", epoch=2, granted=1000, charged=55, late=late) == "ok"
    assert scripts.money("acme")[:2] == (845, 55)
    assert scripts.settle("acme", "a", 40, attempt=1) == ["again_late", "30"]
    assert scripts.settle("acme", "b", 20) == ["again_late", "20"] and scripts.settle("acme", "gone", 5) == ["unknown", "0"]
    assert 0 < scripts.redis.pttl(scripts.keys("acme", "a")[1]) <= 24 * 3600 * 1000
    assert scripts.settle("acme", "c", 10) == ["settled", "10"]
    assert scripts.money("acme")[:2] == (935, 65)


def test_budgets_go_on_after_a_recovery_where_the_books_have_them(scripts):
    opened(scripts, cfg="active||||||500")
    scripts.admit("acme", "a", 100, budgets="||300")
    scripts.redis.hset("m1:acct:{acme}", mapping={"w:k:gone:t": "t", "b:k:gone:t": 7})
    assert scripts.restore("acme", epoch=2, granted=1000, charged=250, cfg="active||||||500", budgets="a:t,t,250;k:k1:t,t,190;") == "ok"
    acct = scripts.redis.hgetall("m1:acct:{acme}")
    assert (acct["b:a:t"], acct["b:k:k1:t"], acct.get("b:k:gone:t")) == ("350", "290", None)
    assert scripts.admit("acme", "b", 11, epoch=2, budgets="||300")[:2] == ["budget", "k:k1:t"]
    assert scripts.settle("acme", "a", 20) == ["settled", "20"]
    acct = scripts.redis.hgetall("m1:acct:{acme}")
    assert (acct["b:a:t"], acct["b:k:k1:t"]) == ("270", "210")


def test_a_call_that_was_put_back_counts_in_the_budgets_again(scripts):
    """Its gateway does not know where it was counted: those of its account, project and key."""
    acct, hold, holds = scripts.keys("acme", "a")
    row = "open|100|0|0||gw|k1|p1|12|1000|10|10|0|||m"
    assert scripts.run["assert"](keys=[hold, holds], args=["a", row, 60000]) == ["asserted"]
    of_budgets = lambda: {k: int(v) for k, v in scripts.redis.hgetall(acct).items() if k.startswith("b:")}  # noqa: E731
    before = {"b:a:t": 250, "b:p:p1:m": 9, "b:k:k1:d": 3, "b:k:k1:t": 4, "b:k:p1:t": 5, "b:p:k1:t": 6, "b:p::t": 7}
    budgets = "a:t,t,250;p:p1:m,m683,9;k:k1:d,d20788,3;k:k1:t,t,4;k:p1:t,t,5;p:k1:t,t,6;p::t,t,7;"
    mine = {k: 100 if k in ("b:a:t", "b:p:p1:m", "b:k:k1:d", "b:k:k1:t") else 0 for k in before}
    for epoch in (2, 3):  # an older restoring may be repeated
        assert scripts.restore("acme", epoch=epoch, granted=1000, charged=250, budgets=budgets) == "ok"
        assert of_budgets() == {k: before[k] + mine[k] for k in before}
    assert scripts.settle("acme", "a", 20) == ["settled", "20"]
    assert of_budgets() == {k: before[k] + mine[k] // 5 for k in before}


def test_holds_that_the_books_have_no_money_for_are_cut_and_never_give_back_more(scripts):
    opened(scripts, granted=1000)
    for call, life_ms in (("a", 1000), ("b", 2000), ("c", 3000)):
        scripts.admit("acme", call, 300, life_ms=life_ms)
    assert scripts.restore("acme", epoch=2, granted=1000, charged=600) == "short"
    assert scripts.money("acme")[:2] == (0, 600)
    assert scripts.settle("acme", "b", 250) == ["settled", "100"]
    assert [scripts.release("acme", call) for call in "ac"] == ["released"] * 2
    assert scripts.money("acme")[:2] == (300, 700)


def test_a_charge_tells_the_epoch_that_it_was_made_in_also_when_it_is_told_again(scripts):
    opened(scripts)
    scripts.admit("acme", "a", 100)
    settle = lambda: scripts.run["settle"](keys=scripts.keys("acme", "a"), args=["a", 30, 0, 0, 1000])  # noqa: E731
    assert settle() == ["settled", "30", "1"]
    assert scripts.restore("acme", epoch=2, granted=1000, charged=0) == "ok"
    assert settle() == ["again", "30", "1"]


def test_rows_of_the_version_before_end_like_those_of_now(scripts):
    """They name no epoch; also where the instance is a number and the model has our separator in it, so that fields could be mistaken."""
    opened(scripts, cfg="active|||9|||500")
    calls = "abcdefg"
    for call in calls:
        assert scripts.admit("acme", call, 50, life_ms=0 if call in "ac" else 60000, model="m|1|||", instance="7", tokens=5)[0] == "ok"
    assert scripts.settle("acme", "f", 20) == ["settled", "20"]
    assert scripts.expire("acme", "c") == "expired"
    for call in calls:
        scripts.older("acme", call)
    assert scripts.expire("acme", "a") == "expired"
    assert scripts.settle("acme", "b", 30) == ["settled", "30"]
    assert scripts.settle("acme", "c", 10) == ["late_settled", "10"]
    assert scripts.attempt("acme", "d", 1) == "open" and scripts.settle("acme", "d", 10, attempt=0) == ["other", "0"]
    assert scripts.release("acme", "d") == "released"
    again = scripts.run["settle"](keys=scripts.keys("acme", "f"), args=["f", 20, 0, 0, 1000])
    assert again == ["again", "20", "0"]  # in one that is over, for all that is known
    assert scripts.money("acme") == (1000 - 60 - 100, 60, 2)
    assert scripts.redis.hget("m1:acct:{acme}", "b:a:t") == "160"
    assert scripts.restore("acme", epoch=2, granted=1000, charged=60, cfg="active|||9|||500", billed={"g": (5, 0)}) == "ok"
    assert scripts.money("acme") == (890, 60, 1)
    assert scripts.settle("acme", "g", 5) == ["again", "5"]
    assert scripts.settle("acme", "e", 40) == ["settled", "40"]
    assert scripts.money("acme") == (900, 100, 0)
