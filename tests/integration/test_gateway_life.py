"""A gateway that starts, waits, reloads, drains, dies and comes back, with requests on their way."""

import contextlib
import json
import signal
import socket
import time

import pytest

from stack import SLOW, Process, chat, script, wait_for

CHAT = "/v1/chat/completions"


def begin_stream(raw, text, until=b"word1"):
    raw.request("POST", CHAT, chat(text, stream=True))
    assert raw.head().status == 200
    raw.until(until)
    return raw


def refused(gateway):
    """Whether nobody listens on the API's port."""
    try:
        socket.create_connection(gateway.address, 1).close()
        return False
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it came just as the port was closed; only a refusal says that it is
        return False


@pytest.fixture
def trio(stack):
    stack.engine()
    stack.gateway()
    stack.worker()
    return stack.wait_ready()


def test_it_is_ready_only_with_redis_and_a_worker(stack):
    stack.engine()
    gateway = stack.gateway()
    answer = gateway.admin("/readyz")
    assert (answer.status_code, answer.text) == (503, "no worker is ready\n")
    with stack.raw() as raw:
        assert raw.ask("GET", "/v1/models").json == {"object": "list", "data": []}
        assert raw.ask("POST", CHAT, chat()).error["code"] == "no_capacity"
    stack.worker()
    stack.wait_ready()
    assert gateway.admin("/readyz").text == "ready\n"
    stack.redis.stop()
    wait_for(lambda: gateway.admin("/readyz").text == "redis is away\n", "readiness follows Redis", 5)
    stack.redis.start()
    wait_for(lambda: gateway.ready, "readiness comes back", 5)


def test_a_killed_gateway_breaks_streams_and_its_worker_comes_back(trio):
    gateway, engine = trio.gateways[0], trio.engines[0]
    with begin_stream(trio.raw(), script("stall", events=2, marker="killed")) as raw:
        request = engine.find("killed")
        gateway.kill()
        answer = raw.rest()
        assert answer.ending in ("closed", "reset") and b"[DONE]" not in answer.body
    wait_for(lambda: request.closed_at, "the worker stops the engine", 5)
    wait_for(lambda: trio.workers[0].status["running"] == 0, "the slot is free", 5)
    gateway.start()
    wait_for(lambda: gateway.accepting == 1, "the worker has dialled again", 20)
    with trio.raw() as raw:
        assert raw.ask("POST", CHAT, chat()).status == 200


def test_a_worker_dials_a_silent_gateway_with_growing_patience(trio):
    gateway = trio.gateways[0]
    port = int(gateway.tunnel.rsplit(":", 1)[1])
    gateway.kill()
    dials = []
    with socket.create_server(("127.0.0.1", port)) as listener:  # accepts, and closes at once
        listener.settimeout(10 * SLOW)
        while len(dials) < 3:
            connection, _ = listener.accept()
            connection.close()
            dials.append(time.monotonic())
    gaps = [b - a for a, b in zip(dials, dials[1:])]
    assert all(g > 0.2 for g in gaps), gaps  # never a storm
    assert gaps[-1] > 0.5 and gaps[-1] < 10 * SLOW, gaps


def test_sigterm_lets_streams_finish_and_takes_nothing_new(trio):
    gateway = trio.gateways[0]
    idle = trio.raw()
    assert idle.ask("GET", "/v1/models").status == 200
    with begin_stream(trio.raw(), script("slow", seconds=0.3, count=4), b"t0") as raw:
        gateway.signal(signal.SIGTERM)
        wait_for(lambda: refused(gateway), "nobody listens", 2)
        assert gateway.admin("/readyz").text == "draining\n"
        late = idle.ask("POST", CHAT, chat())  # whoever kept his connection could not know: it is served, and is the last one
        assert late.status == 200 and late.header("connection") == "close"
        answer = raw.rest()
        assert answer.ending == "complete" and answer.text == "t0 t1 t2 t3 " and answer.body.endswith(b"data: [DONE]\n\n")
    assert gateway.wait(3) == 0
    idle.close()


def test_what_outlives_the_drain_ends_with_an_error(stack):
    stack.engine()
    gateway = stack.gateway(**{"timeouts.drain_ms": 700})
    stack.worker()
    stack.wait_ready()
    with begin_stream(stack.raw(), script("stall", events=2)) as stream, stack.raw() as whole:
        whole.request("POST", CHAT, chat(script("mute", marker="mute")))
        request = stack.engines[0].find("mute")
        gateway.signal(signal.SIGTERM)
        began = time.monotonic()
        answer = stream.rest()
        assert 0.5 < time.monotonic() - began < 2 * SLOW
        assert answer.ending != "complete" and json.loads(answer.events[-1])["error"]["code"] == "overloaded"
        assert "stopping" in json.loads(answer.events[-1])["error"]["message"]
        assert answer.text == "word0 word1 "
        whole.head()
        answer = whole.rest()
        assert answer.status == 503 and answer.error["code"] == "overloaded" and "stopping" in answer.error["message"]
    assert gateway.wait(5) == 0
    wait_for(lambda: request.closed_at, "the worker was told", 5)
    counted = [stack.redis.client.hgetall(key) for key in stack.redis.client.keys("standing:*")]
    assert not any("failed" in row for row in counted), counted  # it was not the worker that left


def test_a_second_sigterm_does_no_harm(trio):
    gateway = trio.gateways[0]
    with begin_stream(trio.raw(), script("slow", seconds=0.3, count=3), b"t0") as raw:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            gateway.signal(number)
            time.sleep(0.05)
        assert raw.rest().ending == "complete"
    assert gateway.wait(3) == 0


def test_its_admin_pages_are_whole_to_its_end(stack):
    """More requests a connection than it takes in a turn of its loop, so that some come when it ends its servers."""
    gateway = stack.gateway()
    asking = [socket.create_connection(("127.0.0.1", int(gateway.settings["admin"].rpartition(":")[2]))) for _ in range(3)]
    gateway.pause()
    for s in asking:
        s.settimeout(30 * SLOW)
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: g\r\n\r\n" * 50)
    gateway.signal(signal.SIGTERM)
    gateway.resume()
    for s in asking:
        came = b""
        with s, contextlib.suppress(ConnectionResetError):
            while part := s.recv(1 << 20):
                came += part
        assert came.startswith(b"HTTP/1.1 200 ") and came.count(b"HTTP/1.1 ") == came.count(b"HTTP/1.1 200 ") < 50
    assert gateway.wait(10) == 0


def test_a_reload_takes_what_is_good(trio):
    gateway = trio.gateways[0]
    body = chat("x" * 3000)
    with trio.raw() as raw, begin_stream(trio.raw(), script("slow", seconds=0.3, count=3), b"t0") as stream:
        assert raw.ask("POST", CHAT, body).status == 200
        gateway.reload(**{"limits.body_bytes": 2000})
        gateway.wait_log("event=reloaded", 3)
        assert raw.ask("POST", CHAT, body).error["code"] == "request_too_large"
        assert stream.rest().ending == "complete"  # a call keeps the settings it began with
    gateway.reload(**{"limits.body_bytes": None})
    wait_for(lambda: gateway.log_text.count("event=reloaded") == 2, "the second reload", 3)
    with trio.raw() as raw:
        assert raw.ask("POST", CHAT, body).status == 200


def test_operator_and_worker_say_which_extras_an_engine_gets(trio):
    """The gateway's word first, for long bodies too, which are read elsewhere; the worker's last."""
    gateway, worker, engine = trio.gateways[0], trio.workers[0], trio.engines[0]
    own = {"grammar": "root ::= x", "own_speed": 2, "top_k": 5}

    def ask(padding=0):
        with trio.raw() as raw:
            return raw.ask("POST", CHAT, {**chat("extras-51ce" + "x" * padding), **own})

    assert (ask().error["code"], ask().error["param"]) == ("unsupported_parameter", "grammar")
    gateway.reload(**{"extras.allowed": ["grammar", "own_*"]})
    gateway.wait_log("event=reloaded", 3)
    assert (ask().status, ask().error["param"]) == (400, "grammar")  # the worker still says no
    worker.reload(**{"extras.allowed": ["grammar", "own_*"], "extras.denied": ["top_k"]})
    wait_for(lambda: ask().error["param"] == "top_k", "the worker's new word", 3)
    del own["top_k"]
    for padding in (0, 300_000):
        assert ask(padding).status == 200
        assert own.items() <= engine.requests[-1].json.items()


def test_what_a_workers_engine_does_not_get_is_named_or_refused(trio):
    """The gateway lets it pass, the worker does not: it is dropped there, and nobody must think that it counted."""
    gateway, worker, engine = trio.gateways[0], trio.workers[0], trio.engines[0]
    body = {**chat("dropped-77d1"), "own_speed": 2, "tomorrow": 1}
    gateway.reload(**{"extras.allowed": ["own_*"]})
    gateway.wait_log("event=reloaded", 3)
    with trio.raw() as raw:
        for asked in (body, {**body, "stream": True}):
            answer = raw.ask("POST", CHAT, asked)
            assert answer.status == 200 and answer.header("cocoon-ignored") == "tomorrow,own_speed"
        assert "own_speed" not in engine.requests[-1].json
    del body["tomorrow"]
    with trio.raw(key=trio.key("--name", "strict", "--strict")) as raw:
        refused = raw.ask("POST", CHAT, body)
        assert (refused.status, refused.error["code"], refused.error["param"]) == (400, "unknown_parameter", "own_speed")
        worker.reload(**{"extras.allowed": ["own_*"]})
        wait_for(lambda: raw.ask("POST", CHAT, body).status == 200, "the worker's new word", 3)
        answer = raw.ask("POST", CHAT, body)
        assert answer.header("cocoon-ignored") is None and engine.requests[-1].json["own_speed"] == 2


def test_denied_members_of_the_api_are_refused_and_some_cannot_be_denied(trio):
    gateway, worker = trio.gateways[0], trio.workers[0]
    with trio.raw() as raw:
        worker.reload(**{"extras.denied": ["logit_bias"]})
        wait_for(lambda: raw.ask("POST", CHAT, chat(logit_bias={})).status == 400, "the worker's new word", 3)
        gateway.reload(**{"extras.denied": ["stop"]})
        gateway.wait_log("event=reloaded", 3)
        for name, value in (("logit_bias", {}), ("stop", "x")):
            answer = raw.ask("POST", CHAT, chat(**{name: value}))
            assert (answer.error["code"], answer.error["param"]) == ("unsupported_parameter", name)
        assert raw.ask("POST", CHAT, chat()).status == 200
        gateway.reload(**{"extras.denied": ["mess*"]})
        gateway.wait_log("must leave model, messages, prompt and input", 3)
        assert raw.ask("POST", CHAT, chat()).status == 200


def test_what_a_reload_cannot_change_stays(trio):
    gateway, keys = trio.gateways[0], trio.redis.client
    gateway.reload(**{"tunnel.public": "gateway.test:1"})  # told at the start: to the registry and to workers
    gateway.wait_log("event=reloaded", 3)
    keys.delete("gw:gateway")
    assert json.loads(wait_for(lambda: keys.get("gw:gateway"), "the registry is written again", 8))["tunnel"] == gateway.tunnel
    trio.worker()
    trio.wait_ready()


@pytest.mark.parametrize("change", [{"limits.body_bytes": "many"}, {"limits.bdy_bytes": 5000}, {"limits.body_bytes": -1}],
                         ids=["type", "name", "range"])
def test_a_bad_reload_changes_nothing(trio, change):
    gateway = trio.gateways[0]
    good = {**gateway.settings, "timeouts": {**gateway.settings["timeouts"]}}
    gateway.reload(**{**change, "timeouts.drain_ms": 1})
    why = gateway.wait_log("event=reload_refused.*", 3).group()
    assert "bdy_bytes" in why or "body_bytes" in why
    gateway.settings = good
    with begin_stream(trio.raw(), script("slow", seconds=0.2, count=3), b"t0") as raw:
        gateway.signal(signal.SIGTERM)  # with the old time to drain
        assert raw.rest().ending == "complete"
    assert gateway.wait(3) == 0


def test_a_reload_whose_policy_is_refused_takes_nothing_else_either(trio):
    gateway = trio.gateways[0]
    gateway.reload(**{"limits.body_bytes": 2000, "attestation.release_keys": ["0" * 64]})
    gateway.wait_log("event=reload_refused", 3)
    with trio.raw() as raw:
        assert raw.ask("POST", CHAT, chat("x" * 3000)).status == 200


def test_a_settings_file_that_is_gone_changes_nothing(trio):
    gateway = trio.gateways[0]
    with open(gateway.config, "w") as f:
        f.write("listen: [\n")
    gateway.signal(signal.SIGHUP)
    gateway.wait_log("event=reload_refused", 3)
    with trio.raw() as raw:
        assert raw.ask("POST", CHAT, chat()).status == 200


def test_two_gateways_share_one_worker(stack):
    engine = stack.engine()
    one, two = stack.gateway("one"), stack.gateway("two")
    worker = stack.worker(max_requests=2)
    stack.wait_ready()
    assert {g["state"] for g in worker_gateways(worker)} == {"eligible"} and len(worker_gateways(worker)) == 2
    keys = stack.redis.client
    wait_for(lambda: keys.exists("gw:one", "gw:two") == 2, "both are in the registry", 5)
    with begin_stream(stack.raw(one), script("stall", events=2, marker="one")), \
            begin_stream(stack.raw(two), script("stall", events=2, marker="two")):
        assert worker.status["running"] == 2
        wait_for(lambda: all(g.status["workers"][0]["running"] == 2 for g in (one, two)), "each knows of the other's load", 5)
        with stack.raw(one) as third:  # full: it waits in the queue
            third.request("POST", CHAT, chat("third"))
            wait_for(lambda: one.status["queue"] == 1, "the third waits", 5)
            two.kill()  # its stream dies with it, and frees the slot
            wait_for(lambda: engine.find("two").closed_at, "the other's stream is stopped", 5)
            assert third.head().status == 200
            assert third.rest().ending == "complete"
        assert engine.find("one").closed_at is None
    wait_for(lambda: one.status["calls"] == 0 and worker.status["running"] == 0, "all is free", 5)
    wait_for(lambda: worker.status["usage"]["unacknowledged"] <= 1, "the living gateway's records are acknowledged", 5)
    two.start()  # an instance of the same operator fetches what the dead one left
    wait_for(lambda: worker.status["usage"]["unacknowledged"] == 0, "all records are acknowledged", 15)


def worker_gateways(worker):
    return worker.status["gateways"]


@pytest.mark.parametrize("what", ["listen", "tunnel.listen", "admin"])
def test_a_port_that_is_taken_is_said(stack, what):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gateway = stack.gateway(start=False, **{what: f"127.0.0.1:{taken.getsockname()[1]}"})
        gateway.write_config()
        Process.start(gateway)
        assert gateway.wait(5) == 1
    assert f"event=start_failed what={what.split('.')[0]}" in gateway.log_text
