"""A real worker's keys rotate under load; and what its records need when both it and the gateway were started again."""

import hashlib
import json
import threading
import time

import pytest

pytest.importorskip("h2")
pytest.importorskip("cryptography")

from client_peer import Client as CocoonClient  # noqa: E402
from stack import Evidence, Stack, chat, script, wait_for  # noqa: E402
from test_end_to_end import Client, problem  # noqa: E402

CHAT = "/v1/chat/completions"
LIFE = 12  # seconds of a keyset: the next key comes after 10, the old one is dead after 13


class Tee:
    """The shared issuer as client_peer wants it."""

    path = staticmethod(lambda name: Evidence.shared().path(name))

    @staticmethod
    def read(name):
        with open(Evidence.shared().path(name), "rb") as f:
            return f.read()


@pytest.fixture
def rotating():
    stack = Stack("rotating")
    try:
        stack.engine()
        gateway = stack.gateway(**{"limits.public_per_minute": 100000})
        stack.worker(keyset_s=LIFE, max_requests=16)
        stack.wait_ready()
        stack.cocoon = CocoonClient(stack.folder, f"http://{gateway.listen}", Tee).start()
        yield stack
    finally:
        if getattr(stack, "cocoon", None):
            stack.cocoon.stop()
        stack.stop()
        stack.remove()


def test_a_rotation_under_load_costs_no_request_and_a_dead_key_is_refused_as_one(rotating):
    stack, over, failed, served = rotating, threading.Event(), [], {"sealed": 0, "end-to-end": 0}
    outside = Client(stack)
    old = outside.seal(chat("too late"))
    assert outside.post(outside.seal(chat("in time"), worker=old.worker)).status == 200

    def load(mode, client):
        while not over.is_set():
            try:
                text = script("slow", seconds=0.1, count=15)
                with client.chat.completions.create(model="fake-model", messages=[{"role": "user", "content": text}], stream=True) as stream:
                    last = [c.choices[0].finish_reason for c in stream if c.choices][-1]
                assert last == "stop"
                served[mode] += 1
            except Exception as e:  # noqa: BLE001 - each is a lost request, whatever it is
                failed.append((mode, repr(e)))
                return
    threads = [threading.Thread(target=load, args=(mode, client))
               for mode, client in (("sealed", stack.client()), ("end-to-end", stack.cocoon.sdk(stack.key_for_all()))) for _ in range(3)]
    for t in threads:
        t.start()
    wait_for(lambda: failed or outside.workers()[0]["kfp"] != old.worker["kfp"], "the next key", 2 * LIFE, 0.1)
    at_rotation = dict(served)
    # Still accepted while it dies; and dead afterwards, in words a client knows.
    assert failed or outside.post(outside.seal(chat("still"), worker=old.worker)).status == 200
    time.sleep(max(0, old.worker["not_after"] + LIFE / 12 + 1.5 - time.time()))
    answer = outside.post(old)
    over.set()
    for t in threads:
        t.join()
    assert failed == []
    told = problem(answer, 400, "ohttp_key")
    assert told["type"] == "https://iana.org/assignments/http-problem-types#ohttp-key"
    assert all(served[mode] > at_rotation[mode] > 0 for mode in served), (served, at_rotation)
    usage = stack.workers[0].status["calls"]
    assert usage["error"] == usage["client_abort"] == 0
    assert "event=usage_refused" not in stack.gateways[0].log_text


def test_records_outlive_gateway_and_worker_together(stack):
    """The worker has other keys then; the keyset that its record names is in Redis alone."""
    engine = stack.engine()
    gateway = stack.gateway()
    worker = stack.worker(engine, usage_file=stack.folder + "/usage")
    stack.wait_ready()
    with stack.raw() as raw:
        raw.request("POST", CHAT, chat(script("slow", seconds=0.2, count=10, marker="dies"), stream=True))
        raw.head()
        raw.until(b"t1")
        gateway.kill()
    wait_for(lambda: worker.status["calls"]["client_abort"] == 1, "the call has ended", 5)
    assert worker.status["usage"]["unacknowledged"] == 1
    worker.stop()
    with open(stack.folder + "/usage") as f:
        (line,) = [json.loads(line) for line in f if "jws" in line]
    worker.start()
    assert worker.status["usage"]["unacknowledged"] == 1
    gateway.start()
    wait_for(lambda: gateway.accepting == 1, "the worker is back", 20)
    wait_for(lambda: worker.status["usage"]["unacknowledged"] == 0, "the record was taken", 5)
    assert line["jws"].count(".") == 2


def test_a_record_whose_keyset_is_nowhere_stays_with_its_worker(stack):
    stack.engine()
    gateway = stack.gateway()
    worker = stack.worker(usage_file=stack.folder + "/usage")
    stack.wait_ready()
    with stack.raw() as raw:
        raw.request("POST", CHAT, chat(script("slow", seconds=0.2, count=10, marker="dies"), stream=True))
        raw.head()
        raw.until(b"t1")
        gateway.kill()
    wait_for(lambda: worker.status["usage"]["unacknowledged"] == 1, "the call has ended", 5)
    worker.stop()
    redis = stack.redis.client
    keys = redis.keys("evidence:*")
    assert keys and all(hashlib.sha256(redis.get(k).encode()).hexdigest() == k.split(":")[1] for k in keys)
    redis.delete(*keys)
    worker.start()
    gateway.start()
    wait_for(lambda: gateway.accepting == 1, "the worker is back", 20)
    assert stack.client().chat.completions.create(model="fake-model", messages=[{"role": "user", "content": "Hi"}]).choices
    time.sleep(0.6)
    assert worker.status["usage"]["unacknowledged"] == 1
