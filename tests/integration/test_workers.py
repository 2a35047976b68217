"""Workers as an owner and an operator meet them: several, dying, draining, refused, full; and the records they are owed."""

import json
import signal
import threading
import time

import pytest

from stack import Operator, SLOW, chat, model, script, wait_for
from wall_clock import WallClock

CHAT = "/v1/chat/completions"


class Pair:
    """Two workers with an engine each, behind one gateway."""

    def __init__(self, stack, **settings):
        self.stack = stack
        self.engines = [stack.engine(), stack.engine()]
        self.gateway = stack.gateway()
        self.workers = [stack.worker(e, **settings) for e in self.engines]
        stack.wait_ready()

    def who(self, marker):
        """Which of the two got the request, once one has."""
        def look():
            return [i for i, e in enumerate(self.engines) if any(marker.encode() in r.body for r in e.requests)]
        return wait_for(look, f"an engine got {marker}", 5)[0]

    def counts(self):
        return [len(e.requests) for e in self.engines]


@pytest.fixture
def pair(stack):
    return Pair(stack)


@pytest.fixture
def one(stack):
    stack.engine()
    stack.gateway()
    stack.worker()
    return stack.wait_ready()


def ask(stack, text="Hi", **more):
    with stack.raw() as raw:
        return raw.ask("POST", CHAT, chat(text, **more))


def together(n, function):
    """n calls at a time; their results."""
    results = [None] * n

    def run(i):
        results[i] = function(i)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def acknowledged(*workers, left=0):
    wait_for(lambda: all(w.status["usage"]["unacknowledged"] <= left for w in workers), "every record is acknowledged", 5)


def owner(stack, worker, *words, check=True):
    return stack.ctl("worker", *words, check=check, COCOON_WORKER_ADMIN=worker.admin_socket)


# ---- Several ------------------------------------------------------------------------------------------

def test_two_workers_share_the_load(pair):
    answers = together(12, lambda i: ask(pair.stack, script("slow", seconds=0.1, count=3, i=i)))
    assert all(a.status == 200 for a in answers)
    assert min(pair.counts()) >= 4, pair.counts()
    acknowledged(*pair.workers)


def test_two_workers_may_have_one_label(stack):
    engines = [stack.engine(), stack.engine()]
    gateway = stack.gateway()
    workers = [stack.worker(e, worker_id="same") for e in engines]
    stack.wait_ready()
    seen = gateway.status["workers"]
    assert [w["worker_id"] for w in seen] == ["same"] * 2 and len({w["iid"] for w in seen}) == 2
    assert len({w["wid"] for w in seen}) == 1  # one owner, one machine
    assert all(a.status == 200 for a in together(8, lambda i: ask(stack, script("slow", seconds=0.1, count=2, i=i))))
    assert all(len(e.requests) > 0 for e in engines)
    workers[0].kill()
    assert all(ask(stack).status == 200 for _ in range(4))


def test_each_model_goes_to_who_has_it(stack):
    engines = [stack.engine(models=["a", "both"]), stack.engine(models=["b", "both"])]
    gateway = stack.gateway()
    for e in engines:
        stack.worker(e)
    stack.wait_ready()
    for name, i in (("a", 0), ("b", 1)):
        before = len(engines[i].requests)
        assert ask(stack, model=name).status == 200
        assert len(engines[i].requests) == before + 1
    with stack.raw() as raw:
        assert {m["id"] for m in raw.ask("GET", "/v1/models").json["data"]} == {"a", "b", "both"}
    stack.workers[0].stop()
    wait_for(lambda: gateway.accepting == 1, "the first has left", 5)
    answer = ask(stack, model="a")
    assert answer.status == 503 and answer.error["code"] == "no_capacity"  # known, but nobody is there
    assert ask(stack, model="both").status == 200


# ---- Death --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_worker_killed_before_the_first_byte_costs_the_client_nothing(pair, stream):
    with pair.stack.raw() as raw:
        raw.request("POST", CHAT, chat(script("late_head", seconds=1.5, marker="first"), stream=stream))
        pair.workers[pair.who("first")].kill()
        assert raw.head().status == 200
        answer = raw.rest()
        assert answer.ending == "complete" and b"error" not in answer.body and answer.body.count(b"help?") + answer.body.count(b" help") >= 1
    assert pair.counts() == [1, 1]
    pair.gateway.wait_log(r"event=request .*attempts=2", 3)
    wait_for(lambda: pair.gateway.accepting == 1, "the dead one is gone", 5)


def test_a_worker_killed_with_streams_open_breaks_them(pair):
    raws = [pair.stack.raw() for _ in range(6)]
    for i, raw in enumerate(raws):
        raw.request("POST", CHAT, chat(script("slow", seconds=0.15, count=10, marker=f"open-{i}."), stream=True))
    for raw in raws:
        raw.head()
        raw.until(b"t0")
    at = [pair.who(f"open-{i}.") for i in range(6)]
    assert set(at) == {0, 1}
    pair.workers[0].kill()
    for raw, where in zip(raws, at):
        answer = raw.rest()
        if where == 1:
            assert answer.ending == "complete" and answer.body.endswith(b"data: [DONE]\n\n")
            continue
        last = json.loads(answer.events[-1])
        assert answer.ending != "complete" and last["error"]["code"] == "worker_error" and b"[DONE]" not in answer.body
        raw.close()
    assert ask(pair.stack).status == 200


def test_a_frozen_worker_is_given_up(stack):
    """Neither dead nor alive: SIGSTOP."""
    engines = [stack.engine(), stack.engine()]
    stack.gateway(**{"timeouts.head_ms": 800 * SLOW, "timeouts.silence_ms": 800 * SLOW})
    for e in engines:
        stack.worker(e)
    stack.wait_ready()
    stack.workers[0].pause()
    try:
        answers = together(4, lambda i: ask(stack, stream=i % 2 == 0))
        assert all(a.status == 200 and a.ending == "complete" for a in answers)
        assert all(a.body.endswith(b"data: [DONE]\n\n") for a in answers[::2])
    finally:
        stack.workers[0].resume()


# ---- What the owner sets ------------------------------------------------------------------------------

def test_a_worker_that_is_stopped_finishes_what_runs(pair):
    with pair.stack.raw() as raw:
        raw.request("POST", CHAT, chat(script("slow", seconds=0.25, count=4, marker="finishes"), stream=True))
        raw.head()
        raw.until(b"t0")
        i = pair.who("finishes")
        pair.workers[i].signal(signal.SIGTERM)
        wait_for(lambda: pair.gateway.accepting == 1, "the gateway knows", 3)
        before = pair.counts()
        assert all(ask(pair.stack).status == 200 for _ in range(4))
        assert pair.counts()[i] == before[i]
        answer = raw.rest()
        assert answer.ending == "complete" and answer.text == "t0 t1 t2 t3 "
    assert pair.workers[i].wait(5) == 0


def test_a_drained_worker_takes_nothing_until_it_resumes(pair):
    first = pair.workers[0]
    owner(pair.stack, first, "drain")
    wait_for(lambda: pair.gateway.accepting == 1, "the gateway knows of the drain", 3)
    together(6, lambda i: ask(pair.stack))
    assert pair.counts()[0] == 0
    assert first.status["reason"] == "drain" and first.admin("/readyz").status_code == 503
    owner(pair.stack, first, "resume")
    wait_for(lambda: pair.gateway.accepting == 2, "the gateway knows that it is back", 3)
    together(8, lambda i: ask(pair.stack, script("slow", seconds=0.1, count=2, i=i)))
    assert pair.counts()[0] > 0


def test_a_drain_that_the_gateway_has_not_heard_of_costs_nothing(pair):
    """The worker refuses before it reads the body; the call goes elsewhere at once."""
    for _ in range(2):
        owner(pair.stack, pair.workers[0], "drain")
        assert all(a.status == 200 for a in together(6, lambda i: ask(pair.stack)))
        assert pair.gateway.metric("cocoon_answers_total", status="503") == 0
        owner(pair.stack, pair.workers[0], "resume")


def test_hours_and_a_ceiling_of_watts_drain(stack, tmp_path):
    stack.engine()
    stack.gateway()
    watts = tmp_path / "watts"
    watts.write_text("100\n")
    worker = stack.worker(max_watts=300, watts_command=f"cat {watts}")
    stack.wait_ready()
    owner(stack, worker, "set", "hours=")
    wait_for(lambda: worker.status["reason"] == "hours", "outside of the hours", 3)
    wait_for(lambda: stack.gateways[0].accepting == 0, "the gateway knows", 3)
    assert ask(stack).error["code"] == "no_capacity"
    owner(stack, worker, "set", "hours=always", "max_watts=50")
    wait_for(lambda: worker.status["reason"] == "watts", "above the ceiling", 8)
    owner(stack, worker, "set", "max_watts=0")
    wait_for(lambda: stack.gateways[0].accepting == 1, "it serves again", 8)
    assert owner(stack, worker, "set", "hours=25:00-26:00", check=False).returncode != 0
    assert ask(stack).status == 200


@pytest.mark.parametrize("what", ["it is told to reload", "its keyset ends"])
def test_what_comes_while_its_end_waits_for_its_command_does_no_harm(stack, tmp_path, what):
    """It is asked nothing any more that needs its engine."""
    begun = tmp_path / "begun"
    stack.engine()
    stack.gateway()
    worker = stack.worker(start=False, max_watts=300, watts_command=f"touch {begun}; sleep 2; echo 100")
    clock = WallClock(worker)
    stack.start(worker)
    stack.wait_ready()
    begun.unlink(missing_ok=True)
    wait_for(begun.exists, "the command to run", 15)
    worker.signal(signal.SIGTERM)
    worker.wait_log("event=stopping")
    if what == "its keyset ends":
        clock.jump(3500)
    else:
        wait_for(lambda: worker.signal(signal.SIGHUP) or not worker.alive, "its end", 10)
    assert worker.wait() == 0


def test_a_reload_changes_what_is_given(one):
    worker, gateway = one.workers[0], one.gateways[0]
    worker.reload(max_requests=3, models=[model("fake-model"), model("second")])
    wait_for(lambda: gateway.status["workers"][0]["max"] == 3, "the new limit", 3)
    wait_for(lambda: gateway.status["workers"][0]["models"] == ["fake-model", "second"], "the new model", 5)
    assert ask(one, model="second").status == 200
    worker.reload(max_requests=0)
    worker.wait_log("event=reload .*max_requests", 3)
    assert gateway.status["workers"][0]["max"] == 3 and ask(one).status == 200


def test_a_full_worker_leaves_the_rest_to_the_other_and_to_the_queue(stack):
    pair = Pair(stack, max_requests=1)
    raws = [stack.raw() for _ in range(4)]
    for i, raw in enumerate(raws):
        raw.request("POST", CHAT, chat(script("slow", seconds=0.2, count=3, marker=f"full-{i}.")))
    wait_for(lambda: pair.gateway.status["queue"] == 2, "two wait", 3)
    assert pair.counts() == [1, 1]
    for raw in raws:
        assert raw.head().status == 200 and raw.rest().text is not None
        raw.close()
    assert pair.counts() == [2, 2]
    assert pair.gateway.metric("cocoon_queue") == 0 and sum(w.status["calls"]["stop"] for w in pair.workers) == 4


def test_who_waits_and_leaves_is_forgotten(stack):
    stack.engine()
    gateway = stack.gateway()
    stack.worker(max_requests=1)
    stack.wait_ready()
    with stack.raw() as first, stack.raw() as second:
        first.request("POST", CHAT, chat(script("slow", seconds=0.2, count=4)))
        stack.engines[0].wait_request()
        second.request("POST", CHAT, chat("leaves-the-queue"))
        wait_for(lambda: gateway.status["queue"] == 1, "it waits", 3)
        second.close()
        wait_for(lambda: gateway.status["queue"] == 0, "it is forgotten", 1)
        assert first.head().status == 200
        first.rest()
    assert ask(stack).status == 200
    assert not any(b"leaves-the-queue" in r.body for r in stack.engines[0].requests)


# ---- Price --------------------------------------------------------------------------------------------

def test_a_worker_that_asks_for_too_much_is_passed_over(pair):
    first = pair.workers[0]
    owner(pair.stack, first, "set", "ask=1500")
    # The gateway may not know yet: whoever is refused goes elsewhere at once.
    assert all(a.status == 200 for a in together(6, lambda i: ask(pair.stack)))
    assert pair.counts()[0] == 0 and first.status["refused"]["price"] <= 6
    before = first.status["refused"]["price"]
    assert all(a.status == 200 for a in together(6, lambda i: ask(pair.stack)))
    assert first.status["refused"]["price"] == before
    owner(pair.stack, pair.workers[1], "set", "ask=1200")
    wait_for(lambda: ask(pair.stack).status == 503, "nobody serves at this price", 3)
    # Until it was asked again nothing is known but that it refused.
    wait_for(lambda: "1200/1000" in (ask(pair.stack).error or {}).get("message", ""), "its new price", 3)
    error = ask(pair.stack).error
    assert error["code"] == "no_capacity" and "2 ask for more" in error["message"] and "1200/1000" in error["message"]
    assert all(w["failures"] == 0 for w in pair.gateway.status["workers"])
    owner(pair.stack, first, "set", "ask=1000")
    wait_for(lambda: ask(pair.stack).status == 200, "a price that is paid", 3)
    assert pair.counts()[0] == 1


# ---- Refused ------------------------------------------------------------------------------------------

def test_a_worker_without_evidence_is_refused_and_told_why(stack):
    stack.engine()
    gateway = stack.gateway()
    worker = stack.worker(quote_provider="none", collateral_file="")
    told = worker.wait_log(r"event=refused .*code=(\S+)", 5).group(1)
    assert told == gateway.wait_log(r"event=worker_refused .*reason=(\S+)", 5).group(1)
    assert not gateway.ready and gateway.accepting == 0 and not worker.ready
    assert ask(stack).status in (404, 503)
    assert told == "UNATTESTED_REFUSED"


def test_a_worker_that_began_with_a_wrong_clock_serves_once_it_is_right(stack):
    """Its first keyset begins in an hour, for everybody else."""
    stack.engine()
    stack.gateway()
    worker = stack.worker(start=False)
    clock = WallClock(worker)
    clock.jump(3600)
    stack.start(worker)
    worker.wait_log("event=refused .*code=KEYSET_EXPIRED", 10)
    assert ask(stack).status == 503
    clock.jump(0)
    wait_for(lambda: ask(stack).status == 200, "it is taken", 10, 0.05)


def test_a_worker_takes_no_gateway_whose_key_it_does_not_know(stack):
    stack.engine()
    gateway = stack.gateway()
    stranger = Operator(stack, stack.folder + "/stranger")
    worker = stack.worker(operators=[{"name": "test", "gateways": [gateway.tunnel], "pins": [stranger.pin]}])
    worker.wait_log("event=tunnel_closed .*E_AUTH", 5)
    assert not worker.ready and gateway.accepting == 0
    worker.reload(operators=[{"name": "test", "gateways": [gateway.tunnel], "pins": [stranger.pin, stack.operator.pin]}])
    wait_for(lambda: gateway.accepting == 1, "with the right pin beside it", 10)
    assert ask(stack).status == 200


def test_a_worker_waits_for_its_engine(stack):
    engine = stack.engine()
    stack.gateway()
    engine.stop()
    worker = stack.worker()
    worker.wait_log("event=engine_wait", 5)
    wait_for(lambda: stack.gateways[0].status["workers"] and stack.gateways[0].status["workers"][0]["reason"] == "engine",
             "the gateway knows why", 5)
    assert worker.status["missing"] == "engine" and ask(stack).error["code"] == "no_capacity"
    engine.loading = True
    engine.start()
    time.sleep(1.2)
    assert worker.status["reason"] == "engine"
    engine.loading = False
    wait_for(lambda: stack.gateways[0].accepting == 1, "it serves", 6)
    assert ask(stack).status == 200


# ---- Records ------------------------------------------------------------------------------------------

def test_every_record_is_acknowledged(one):
    for text in ("Hi", script("error"), script("overflow"), script("half"), script("clean_cut")):
        for stream in (False, True):
            ask(one, text, stream=stream)
    for text, until in ((script("stall", events=2), b"word1"), (script("endless"), b"20 "), (script("mute"), None)):
        with one.raw() as raw:
            raw.request("POST", CHAT, chat(text, stream=True))
            if until:
                raw.head()
                raw.until(until)
            else:
                time.sleep(0.1)
    with one.raw() as raw:
        raw.request("POST", CHAT, chat(script("mute", marker="whole")))
        one.engines[0].find("whole")
    acknowledged(one.workers[0])
    calls = one.workers[0].status["calls"]
    assert calls["stop"] == 2 and calls["rejected"] == 2 and calls["client_abort"] == 4 and calls["error"] >= 6, calls
    assert one.workers[0].status["usage"]["acknowledged"] == sum(calls.values())
    assert "event=usage_refused" not in one.gateways[0].log_text


def test_clients_that_leave_at_the_last_moment_owe_no_record(one):
    """The cancel and the answer's end cross."""
    for i in range(40):
        with one.raw() as raw:
            raw.request("POST", CHAT, chat(f"crossing {i}", stream=i % 2 == 0))
            if i % 4 < 2:
                raw.head()
            time.sleep(0.0005 * (i % 5))
    wait_for(lambda: one.gateways[0].status["calls"] == 0, "no call is left", 5)
    acknowledged(one.workers[0])


def test_records_outlive_a_gateway(one):
    gateway, worker = one.gateways[0], one.workers[0]
    with one.raw() as raw:
        raw.request("POST", CHAT, chat(script("slow", seconds=0.2, count=10, marker="dies"), stream=True))
        raw.head()
        raw.until(b"t1")
        gateway.kill()
    wait_for(lambda: worker.status["calls"]["client_abort"] == 1, "the call has ended", 5)
    assert worker.status["usage"]["unacknowledged"] == 1
    gateway.start()
    wait_for(lambda: gateway.accepting == 1, "the worker is back", 20)
    acknowledged(worker)
