"""What a gateway still counts while it stops: the records of the answers that were on their way."""

import json
import signal

from stack import chat, script

STREAMS = 150


def ending_together(gate):
    """A script whose answers all end when the gate opens, each with one write."""
    async def together(x):
        await x.head()
        await x.event(x.chunk(text="t0 "))
        await gate.wait()
        usage = x.dialect.usage(3, 4)
        await x.write("".join(f"data: {json.dumps(p)}\n\n" for p in (x.chunk(finish="stop"), x.chunk(usage=usage))) + "data: [DONE]\n\n")
        await x.end()
    return together


def begin(raw):
    raw.request("POST", "/v1/chat/completions", chat(script("together"), stream=True))
    assert raw.head().status == 200
    raw.until(b"t0")
    return raw


def test_answers_that_end_while_it_stops_are_counted(stack):
    engine = stack.engine()
    stopping = engine.gate()
    engine.script("together", ending_together(stopping))
    gateway = stack.gateway()
    stack.worker(max_requests=2 * STREAMS)
    stack.wait_ready()
    streams = [begin(stack.raw()) for _ in range(STREAMS)]
    gateway.signal(signal.SIGTERM)
    gateway.wait_log("event=draining")
    stopping.open()
    for raw in streams:
        assert raw.rest().ending == "complete"
    assert gateway.wait(5) == 0
    (row,) = [stack.redis.client.hgetall(key) for key in stack.redis.client.keys("usage:*")]
    assert (int(row["requests"]), int(row["completion"])) == (STREAMS, 4 * STREAMS)
