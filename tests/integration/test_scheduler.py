"""The scheduler as callers and operators meet it: queues, bids, conversations that stay, classes, breakers, retries, limits on silence.
The rules themselves, in virtual time: tests/unit/backends/pool/test_{chooser,queue,breaker,budget}.c."""

import json
import signal
import time

import pytest

from conftest import live_stack
from stack import SLOW, chat, script, wait_for
from test_workers import CHAT, ask, owner, together


def begin(stack, text, key=None, **body):
    raw = stack.raw(key=key)
    raw.request("POST", CHAT, chat(text, **body))
    return raw


def answered(raw):
    answer = raw.head()
    raw.rest()
    raw.close()
    return answer


def waiting(gateway):
    return gateway.status["queue"]


def retry_after(answer):
    """Both headers, the one being the other rounded up; milliseconds."""
    ms = int(answer.header("retry-after-ms"))
    assert int(answer.header("retry-after")) == -(-ms // 1000)
    return ms


def steady(engine):
    """Every answer takes the same time, so that workers are seen to be equally fast."""
    async def answer(x):
        await engine.scripts["answer"](x, head_delay=0.05)
    engine.default = answer
    return engine


# ---- Queue --------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def two_models():
    """A worker with one slot for model a, another for model b."""
    for stack in live_stack("two_models"):
        stack.gateway(**{"scheduler.queue": 3})
        for name in ("a", "b"):
            stack.worker(stack.engine(models=[name]), max_requests=1)
        yield stack.wait_ready()


def test_a_queue_of_one_model_holds_up_no_other(two_models):
    gateway = two_models.gateways[0]
    held = [begin(two_models, script("late_head", seconds=1.0), model="a") for _ in range(3)]
    wait_for(lambda: waiting(gateway) == 2, "two wait for a", 3)
    assert gateway.metric("cocoon_queue_waiting", model="a", **{"class": "interactive"}) == 2
    assert gateway.metric("cocoon_queue_waiting", model="b") == 0
    assert gateway.metric("cocoon_slots", model="a", state="busy") == 1
    before = time.monotonic()
    assert ask(two_models, model="b").status == 200
    assert time.monotonic() - before < 0.9 * SLOW
    assert waiting(gateway) >= 1
    assert all(answered(raw).status == 200 for raw in held)


def test_a_full_queue_says_when_to_come_back(two_models):
    gateway = two_models.gateways[0]
    for _ in range(10):  # so that it is known how long a slot is taken
        assert ask(two_models, script("late_head", seconds=0.1), model="a").status == 200
    held = [begin(two_models, script("late_head", seconds=1.0), model="a")]
    two_models.engines[0].wait_request()
    held += [begin(two_models, script("late_head", seconds=0.1), model="a") for _ in range(3)]
    wait_for(lambda: waiting(gateway) == 3, "three wait", 3)
    before = time.monotonic()
    answer = ask(two_models, model="a")
    assert answer.status == 503 and answer.error["code"] == "no_capacity" and "3 requests wait" in answer.error["message"]
    assert time.monotonic() - before < 0.5 * SLOW
    assert 250 <= retry_after(answer) <= 5000  # four slots of 0.1 to 1 s, one after the other
    assert gateway.metric("cocoon_queue_refused_total") >= 1
    assert all(answered(raw).status == 200 for raw in held)


def test_a_wait_beyond_the_deadline_is_not_begun(two_models):
    gateway = two_models.gateways[0]
    for _ in range(10):
        assert ask(two_models, script("late_head", seconds=0.25), model="a").status == 200
    held = [begin(two_models, script("late_head", seconds=0.5), model="a") for _ in range(3)]
    wait_for(lambda: waiting(gateway) == 2, "two wait", 3)
    before = time.monotonic()
    answer = ask(two_models, model="a", timeout=0.4)
    assert answer.status == 503 and answer.error["code"] == "no_capacity"
    assert time.monotonic() - before < 0.3 * SLOW and retry_after(answer) > 400
    assert all(answered(raw).status == 200 for raw in held)


def test_who_waits_too_long_is_told_so(stack):
    stack.engine()
    gateway = stack.gateway(**{"timeouts.queue_ms": 700})
    stack.worker(max_requests=1)
    stack.wait_ready()
    held = begin(stack, script("stall"), stream=True)
    stack.engines[0].wait_request()
    before = time.monotonic()
    answer = ask(stack, "never")
    assert answer.status == 503 and answer.error["code"] == "no_capacity" and "1 are full" in answer.error["message"]
    assert 0.65 < time.monotonic() - before < 0.7 + SLOW and retry_after(answer) > 0
    assert gateway.metric("cocoon_queue_late_total") == 1 and waiting(gateway) == 0
    held.close()


def test_nobody_waits_for_a_worker_that_leaves(stack):
    """Not even while what it began goes on: its slot will be nobody's."""
    stack.engine()
    gateway, worker = stack.gateway(), stack.worker(max_requests=1)
    stack.wait_ready()
    held = begin(stack, script("stall"), stream=True)
    stack.engines[0].wait_request()
    left = [begin(stack, "left behind") for _ in range(3)]
    wait_for(lambda: waiting(gateway) == 3, "three wait", 3)
    before = time.monotonic()
    worker.signal(signal.SIGTERM)
    for raw in left:
        answer = answered(raw)
        assert answer.status == 503 and retry_after(answer) > 0
    assert time.monotonic() - before < SLOW and waiting(gateway) == 0
    held.close()


def test_nobody_waits_for_a_worker_that_is_gone(stack):
    """It ran another gateway's call: nothing of this one's ends with it."""
    stack.engine()
    first, second = stack.gateway(), stack.gateway()
    worker = stack.worker(max_requests=1)
    stack.wait_ready()
    held = stack.raw(gateway=second)
    held.request("POST", CHAT, chat(script("stall"), stream=True))
    stack.engines[0].wait_request()
    wait_for(lambda: first.status["workers"][0]["running"] == 1, "the first has heard of it", 3)
    left = begin(stack, "left behind")
    wait_for(lambda: waiting(first) == 1, "one waits", 3)
    before = time.monotonic()
    worker.kill()
    answer = answered(left)
    assert answer.status == 503 and time.monotonic() - before < SLOW and waiting(first) == 0
    held.close()


def test_a_tunnel_carries_as_many_calls_as_the_gateway_allows(stack):
    stack.engine()
    gateway = stack.gateway(**{"limits.tunnel_streams": 2, "timeouts.queue_ms": 700})
    stack.worker(max_requests=8)
    stack.wait_ready()
    held = [begin(stack, script("stall"), stream=True) for _ in range(2)]
    wait_for(lambda: sum(w["streams"] for w in gateway.status["workers"]) == 2, "two are under way", 3)
    answer = ask(stack, "one more")
    assert answer.status == 503 and "1 are full" in answer.error["message"]
    for raw in held:
        raw.close()
    assert ask(stack, "and again").status == 200


def test_an_account_with_a_long_queue_lets_others_pass(stack):
    engine = stack.engine()
    gateway = stack.gateway()
    greedy, modest = stack.key("--account", "greedy"), stack.key("--account", "modest")
    stack.worker(max_requests=2)
    stack.wait_ready()
    raws = [begin(stack, script("late_head", seconds=0.4, marker=f"greedy-{i}."), greedy) for i in range(10)]
    wait_for(lambda: waiting(gateway) >= 7, "eight wait", 3)
    raws += [begin(stack, script("late_head", seconds=0.4, marker=f"modest-{i}."), modest) for i in range(3)]
    assert all(answered(raw).status == 200 for raw in raws)
    order = ["m" if b"modest" in r.body else "g" for r in engine.requests]
    assert "".join(order).rindex("m") <= 9, order  # of 13: 0 to 12


def test_a_crowd_that_only_a_full_worker_would_do_for_keeps_nobody_from_the_others(stack):
    cheap, dear = stack.engine(), stack.engine()
    gateway = stack.gateway()
    first, thrifty, other = (stack.key("--account", name) for name in ("first", "thrifty", "other"))
    stack.worker(cheap, max_requests=1, ask=1000)
    stack.worker(dear, max_requests=1, ask=1500)
    stack.wait_ready()
    held = [begin(stack, script("stall"), first, stream=True, max_coefficient=1000)]
    cheap.wait_request()
    held += [begin(stack, f"thrifty-{i}", thrifty, max_coefficient=1000) for i in range(150)]
    wait_for(lambda: waiting(gateway) == 150, "the crowd waits", 10)
    assert answered(begin(stack, "other", other, max_coefficient=2000)).status == 200
    assert len(dear.requests) == 1 and waiting(gateway) == 150
    for raw in held:
        raw.close()
    wait_for(lambda: waiting(gateway) == 0, "nobody waits", 10)


@pytest.fixture
def narrow(stack):
    """A full worker for which three calls of one account wait, as many as may, and a dearer one that none of them pays; the queue
    is its gateway's."""
    cheap, stack.dear = stack.engine(), stack.engine()
    gateway = stack.gateway(**{"scheduler.queue": 3})
    first, stack.thrifty = stack.key("--account", "first"), stack.key("--account", "thrifty")
    stack.worker(cheap, max_requests=1, ask=1000)
    stack.worker(stack.dear, max_requests=1, ask=1500)
    stack.wait_ready()
    stack.held = [begin(stack, script("stall"), first, stream=True, max_coefficient=1000)]
    cheap.wait_request()
    for i in range(3):
        stack.held.append(begin(stack, f"thrifty-{i}", stack.thrifty, max_coefficient=1000))
        wait_for(lambda: waiting(gateway) == i + 1, "it waits", 10)
    yield stack
    for raw in stack.held:
        raw.close()


def test_a_full_queue_refuses_nobody_whom_a_free_worker_takes(narrow):
    gateway, other = narrow.gateways[0], narrow.key("--account", "other")
    for key in (other, narrow.thrifty):
        answer = answered(begin(narrow, "now", key, max_coefficient=2000))
        assert answer.status == 200, answer.body
    assert waiting(gateway) == 3 and gateway.metric("cocoon_queue_refused_total") == 0


def test_one_accounts_calls_leave_others_a_place_in_the_queue(narrow):
    gateway, other = narrow.gateways[0], narrow.key("--account", "other")
    running = begin(narrow, script("late_head", seconds=1.0), other, max_coefficient=2000)
    narrow.dear.wait_request()
    refused = answered(begin(narrow, "one too many", narrow.thrifty, max_coefficient=2000))
    assert refused.status == 503 and refused.error["code"] == "no_capacity" and "3 requests wait" in refused.error["message"]
    modest = begin(narrow, "modest", narrow.key("--account", "modest"), max_coefficient=2000)
    gone = answered(narrow.held.pop())
    assert gone.status == 503 and gone.error["code"] == "no_capacity" and retry_after(gone) > 0
    assert waiting(gateway) == 3 and gateway.metric("cocoon_queue_refused_total") == 2
    assert answered(running).status == 200 and answered(modest).status == 200
    assert waiting(gateway) == 2


# ---- Bids ---------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def asking():
    """Two workers, one of which asks for 1500 and the other for 1200. Prices count for more than whose conversation it is, which is a draw."""
    for stack in live_stack("asking"):
        stack.gateway(**{"scheduler.affinity_percent": 0, "scheduler.price_percent": 400})
        for ask_ in (1500, 1200):
            stack.worker(stack.engine(), ask=ask_)
        yield stack.wait_ready()


def test_a_bid_below_every_ask_is_told_the_lowest(asking):
    for more in ({}, {"max_coefficient": 1000}, {"max_coefficient": 1199}):
        answer = ask(asking, **more)
        assert answer.status == 503 and answer.error["code"] == "no_capacity"
        assert "2 ask for more" in answer.error["message"] and "1200/1000" in answer.error["message"]
    answer = ask(asking, max_coefficient=0)
    assert answer.status == 503 and "1200/1000" in answer.error["message"]


def test_a_bid_is_run_by_who_asks_for_no_more_at_the_price_that_is_asked(asking):
    def counts():
        return [len(e.requests) for e in asking.engines]
    before = counts()
    lasting = script("slow", seconds=0.3, count=2)  # so that prices say more than how busy this machine is
    for i in range(4):
        assert ask(asking, lasting, max_coefficient=1200 + 100 * (i % 2)).status == 200
    assert counts() == [before[0], before[1] + 4]
    assert all(w.status["refused"]["price"] == 0 for w in asking.workers)
    # Who could have either takes the cheaper one, as both are as fast; both when one is not enough.
    for _ in range(6):
        assert ask(asking, lasting, max_coefficient=999_999_999).status == 200
    assert counts()[0] == before[0]
    assert all(a.status == 200 for a in together(12, lambda i: ask(asking, script("slow", seconds=0.1, count=2), max_coefficient=1500)))
    assert counts()[0] > before[0]


def test_a_request_that_names_no_bid_has_its_keys(asking):
    key = asking.key("--max-coefficient", "1200")
    with asking.raw(key=key) as raw:
        assert raw.ask("POST", CHAT, chat("Hi")).status == 200
        assert raw.ask("POST", CHAT, chat("Hi", max_coefficient=1000)).status == 503


def test_an_ask_that_is_raised_costs_the_caller_nothing_he_has_not_bid(asking):
    worker = asking.workers[1]
    owner(asking, worker, "set", "ask=1300")
    assert all(a.status == 200 for a in together(4, lambda i: ask(asking, max_coefficient=1350)))
    answer = wait_for(lambda: (a := ask(asking, max_coefficient=1299)).status == 503 and a, "too little", 3)
    assert "1300/1000" in answer.error["message"]
    owner(asking, worker, "set", "ask=1200")
    wait_for(lambda: ask(asking, max_coefficient=1200).status == 200, "enough again", 3)


# ---- Conversations ------------------------------------------------------------------------------------

def turns(stack, name, count, **more):
    """Which engines got the turns of a conversation."""
    messages = [{"role": "user", "content": f"conversation {name}"}]
    for i in range(count):
        with stack.raw() as raw:
            assert raw.ask("POST", CHAT, {"model": "fake-model", "messages": messages, **more}).status == 200
        messages += [{"role": "assistant", "content": f"answer {i}"}, {"role": "user", "content": f"turn {i}"}]
    wanted = f"conversation {name}".encode()
    return {i for i, e in enumerate(stack.engines) for r in e.requests if wanted in r.body}


def test_a_conversation_stays_at_one_worker_and_moves_when_that_is_loaded(stack):
    gateway = stack.gateway()
    for slots in (4, 4, 40):  # the last has room when the others are full
        stack.worker(steady(stack.engine()), max_requests=slots)
    stack.wait_ready()
    together(24, lambda i: ask(stack, f"warm-up {i}"))  # how fast they are is known
    homes = [turns(stack, f"number {i}.", 4) for i in range(8)]
    stayed = [i for i, h in enumerate(homes) if len(h) == 1]
    assert len(stayed) >= 6, homes  # on a busy machine one may look slow for a moment
    assert len(set.union(*homes)) > 1  # and they are spread
    assert gateway.metric("cocoon_choices_total", how="warm") >= 24
    # Its own worker is full of others' work.
    narrow = [i for i in stayed if 2 not in homes[i]]
    assert narrow, homes  # some have stayed at a worker that others can fill
    name, (home,) = f"number {narrow[0]}.", homes[narrow[0]]
    held = []
    while sum(1 for r in stack.engines[home].requests if b"late_head" in r.body) < 4:
        held.append(begin(stack, script("late_head", seconds=1.5, marker=f"load-{len(held)}.")))
        time.sleep(0.02)
        assert len(held) < 40  # another has room
    messages = [{"role": "user", "content": f"conversation {name}"}]
    before = len(stack.engines[home].requests)
    with stack.raw() as raw:
        assert raw.ask("POST", CHAT, {"model": "fake-model", "messages": messages}).status in (200, 503)
    assert len(stack.engines[home].requests) == before
    assert all(answered(raw).status == 200 for raw in held)


# ---- Classes ------------------------------------------------------------------------------------------

def test_batch_leaves_room_for_the_other_classes(stack):
    engine = stack.engine()
    gateway = stack.gateway(**{"scheduler.reserve_interactive_percent": 50, "scheduler.queue": 2})
    batch = stack.key("--class", "batch")
    stack.worker(max_requests=4)
    stack.wait_ready()
    held = [begin(stack, script("late_head", seconds=0.8, marker=f"batch-{i}."), batch) for i in range(4)]
    wait_for(lambda: gateway.metric("cocoon_queue_waiting", **{"class": "batch"}) == 2, "two wait", 3)
    assert gateway.metric("cocoon_running", **{"class": "batch"}) == 2
    before = time.monotonic()
    assert ask(stack, "now").status == 200  # the queue is full, but of those who come after it
    assert time.monotonic() - before < 0.6 * SLOW
    assert all(answered(raw).status == 200 for raw in held)
    assert len(engine.requests) == 5


def test_batch_that_waits_for_what_is_kept_from_it_is_not_tried_at_every_event(stack):
    """The worker has free slots all the while."""
    engine, crowd, calls = stack.engine(), 50, 20
    gateway = stack.gateway(**{"scheduler.reserve_interactive_percent": 50, "scheduler.reserve_internal_percent": 0})
    batch = stack.key("--class", "batch")
    stack.worker(max_requests=8)
    stack.wait_ready()
    held = [begin(stack, script("late_head", seconds=20.0, marker=f"batch-{i}."), batch) for i in range(4 + crowd)]
    wait_for(lambda: gateway.metric("cocoon_queue_waiting", **{"class": "batch"}) == crowd, "the crowd waits", 10)
    before = gateway.metric("cocoon_choices_total", how="none")
    for _ in range(calls):
        assert ask(stack, "now").status == 200
    tried = gateway.metric("cocoon_choices_total", how="none") - before
    assert tried < 10 * calls, tried  # not all of the crowd each time
    assert len(engine.requests) == 4 + calls and waiting(gateway) == crowd
    for raw in held:
        raw.close()
    wait_for(lambda: waiting(gateway) == 0, "nobody waits", 10)


def test_several_gateways_batch_leaves_the_reserve_of_the_worker_that_they_share(stack):
    """Both begin at the same moment, when none has heard what the other's worker runs."""
    engine, slots = stack.engine(), 20
    for _ in range(2):
        stack.gateway(**{"scheduler.reserve_interactive_percent": 50, "scheduler.reserve_internal_percent": 0})
    batch = stack.key("--class", "batch")
    stack.worker(max_requests=slots)
    stack.wait_ready()
    wait_for(lambda: "gateways count=2" in stack.gateways[0].log_text, "each knows the other")
    held = []
    for i in range(slots):
        for gateway in stack.gateways:
            raw = stack.raw(gateway, key=batch)
            raw.request("POST", CHAT, chat(script("late_head", seconds=6.0, marker=f"batch-{i}-{gateway.name}.")))
            held.append(raw)
    half = slots // 2
    wait_for(lambda: len(engine.requests) >= half, "batch has what it may have", 10)
    time.sleep(2.5)  # workers have said what they run
    assert half <= len(engine.requests) <= half + 1
    for gateway in stack.gateways:
        before = time.monotonic()
        with stack.raw(gateway) as raw:
            assert raw.ask("POST", CHAT, chat("now")).status == 200
        assert time.monotonic() - before < 0.6 * SLOW
    for raw in held:
        raw.close()


# ---- Breakers, retries --------------------------------------------------------------------------------

def test_a_breaker_opens_and_recovers(stack):
    gateway = stack.gateway()
    for _ in range(2):
        stack.worker(steady(stack.engine()), max_requests=4)
    stack.wait_ready()
    bad = stack.engines[0]
    bad.default = bad.scripts["error"]

    def breakers(state):
        return gateway.metric("cocoon_breakers", model="fake-model", state=state)
    assert breakers("closed") == 2
    assert all(a.status == 200 for a in together(8, lambda i: ask(stack, f"first-{i}")))
    assert breakers("open") + breakers("half_open") == 1 and gateway.metric("cocoon_breakers_opened_total") >= 1
    count = len(bad.requests)
    assert all(ask(stack, f"later-{i}").status == 200 for i in range(4))
    assert len(bad.requests) <= count + 1  # at most a probe
    steady(bad)

    def healed():
        assert all(a.status == 200 for a in together(6, lambda i: ask(stack, "once more")))
        return breakers("closed") == 2
    wait_for(healed, "the breaker is closed", 12)
    count = len(bad.requests)
    assert all(a.status == 200 for a in together(8, lambda i: ask(stack, "healthy")))
    assert len(bad.requests) > count


def test_an_engine_that_dies_in_the_middle_does_not_attract(stack):
    stack.gateway()
    for _ in range(2):
        stack.worker(steady(stack.engine()))
    stack.wait_ready()
    bad, good = stack.engines
    bad.default = bad.scripts["half"]
    for i in range(12):
        with stack.raw() as raw:
            raw.ask("POST", CHAT, chat(f"half-{i}", stream=True))
    assert len(bad.requests) <= 3 and len(good.requests) >= 9


def test_a_retry_budget_ends_what_would_fail_anyway(stack):
    gateway = stack.gateway(**{"scheduler.retry_percent": 0, "scheduler.retry_least": 2})
    for _ in range(3):
        e = stack.engine()
        e.default = e.scripts["error"]
        stack.worker(e)
    stack.wait_ready()
    for i in range(3):
        assert ask(stack, f"fails-{i}").status >= 500
    assert gateway.metric("cocoon_retries_total") == 2 and gateway.metric("cocoon_retries_refused_total") >= 1
    assert sum(len(e.requests) for e in stack.engines) == 5


# ---- Silence ------------------------------------------------------------------------------------------

def test_pings_without_events_are_waited_for_only_so_long(stack):
    engine = stack.engine()
    gateway = stack.gateway(**{"timeouts.token_ms": 1300, "timeouts.first_token_ms": 1400, "ping_ms": 1000, "attempts": 1})
    stack.worker(engine, **{"head_ms": 300})
    stack.wait_ready()
    for text, least in ((script("stall"), 1.25), (script("mute"), 1.35)):
        before = time.monotonic()
        with stack.raw() as raw:
            answer = raw.ask("POST", CHAT, chat(text, stream=True))
        took = time.monotonic() - before
        assert least < took < least + 1.5 * SLOW
        error = answer.error if answer.status != 200 else json.loads(answer.events[-1])["error"]
        assert error["code"] == "upstream_timeout" and b": ping\n" in answer.body
    assert sum(w["failures"] for w in gateway.status["workers"]) == 2
