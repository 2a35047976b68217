"""A thousand streams on one tunnel, and what happens when all their clients leave at once."""

import time

import pytest

from stack import SLOW, chat, script, wait_for

pytestmark = pytest.mark.alone

CHAT = "/v1/chat/completions"
STREAMS = 1000 // SLOW


@pytest.fixture
def crowded(stack):
    stack.engine(dialect="vllm", slots=2 * STREAMS)
    stack.gateway()
    stack.worker(max_requests=2 * STREAMS)
    return stack.wait_ready()


def open_streams(stack, count):
    raws = [stack.raw() for _ in range(count)]
    for raw in raws:
        raw.request("POST", CHAT, chat(script("stall", events=1), stream=True))
    begun, late = time.monotonic(), []
    for i, raw in enumerate(raws):
        since = time.monotonic()
        assert raw.head().status == 200
        if time.monotonic() - since > 1:
            late.append((i, round(since - begun, 1), round(time.monotonic() - begun, 1), raw.answer.header("cocoon-call")))
    assert time.monotonic() - begun < 15 * SLOW, late_ones(stack, late)
    return raws


def late_ones(stack, late):
    """Who waited, from when to when, and what gateway and worker say of it; when the engine heard of each of the crowd."""
    logs = [line for _, _, _, call in late for p in (*stack.gateways, *stack.workers) for line in p.log_text.splitlines() if call in line]
    first = stack.engines[0].requests[0].arrived_at
    arrived = [round(r.arrived_at - first, 1) for r in stack.engines[0].requests]
    return "\n".join(map(str, [late, arrived, *logs]))


def running(stack):
    return stack.gateways[0].status["workers"][0]["streams"]


def test_a_crowd_that_leaves_at_once_costs_neither_the_tunnel_nor_the_next_call(crowded):
    for _ in range(2):
        raws = open_streams(crowded, STREAMS)
        assert running(crowded) == STREAMS
        for raw in raws:
            raw.close()
        begun = time.monotonic()
        answer = crowded.client().chat.completions.create(model="fake-model", messages=[{"role": "user", "content": "Hi"}])
        assert answer.choices[0].message.content and time.monotonic() - begun < 3 * SLOW
        wait_for(lambda: running(crowded) == 0, "every slot is free", 8)
    log = crowded.gateways[0].log_text
    assert "worker_gone" not in log and "usage_refused" not in log
