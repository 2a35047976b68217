"""Traces: whose they are, what is exported of them, and that nobody waits for it."""

import os
import re
import signal
import ssl
import time

import pytest

from collector import Collector
from stack import SLOW, chat, script, wait_for

CHAT = "/v1/chat/completions"
PARENT = "00f067aa0ba902b7"
IDS = (f"{i:032x}" for i in range(0x4bf92f3577b34da6, 1 << 64))
BAD = ["{t}-" + PARENT + "-01", "00-{t}-" + PARENT, "00-{t}-" + PARENT + "-01-more", "00-{u}-" + PARENT + "-01",
       "ff-{t}-" + PARENT + "-01", "00-" + "0" * 32 + "-" + PARENT + "-01", "00-{t}-" + "0" * 16 + "-01", "planted"]


@pytest.fixture
def collector():
    c = Collector().start()
    try:
        yield c
    finally:
        if c.server:
            c.stop()
        assert c.wrong == []


@pytest.fixture
def traced(stack, collector):
    """Only what callers began is recorded."""
    stack.engine(models=["fake-model"])
    stack.gateway(tracing={"otlp": collector.url, "one_in": 0})
    stack.worker()
    return stack.wait_ready()


def ask(stack, text, traceparent=None, key=None, path=CHAT, **body):
    headers = {"traceparent": traceparent} if traceparent else {}
    with stack.raw(key=key) as raw:
        return raw.ask("POST", path, chat(text, **body), headers)


def engines_view(stack, text):
    """The traceparent that the engine got with that text."""
    return stack.engines[0].find(text).header("traceparent")


def parts(traceparent):
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", traceparent)
    return traceparent.split("-")[1:]


def exported(collector, trace, attempts=1):
    """The request's span and its attempts', once they are there."""
    def there():
        own, tries = collector.of(trace)
        return len(own) == 1 and len(tries) == attempts
    wait_for(there, f"the spans of {trace}", 10 * SLOW)
    (own,), tries = collector.of(trace)
    return own, sorted(tries, key=lambda s: int(s["startTimeUnixNano"]))


@pytest.mark.parametrize("stream", [False, True])
def test_a_callers_trace_goes_through_to_the_engine_and_to_the_collector(traced, collector, stream):
    trace, text = next(IDS), f"a question to trace {stream}"
    answer = ask(traced, text, f"00-{trace}-{PARENT}-01", stream=stream)
    assert answer.status == 200
    own, (attempt,) = exported(collector, trace)
    assert own["parentSpanId"] == PARENT and attempt["parentSpanId"] == own["spanId"]
    assert parts(engines_view(traced, text)) == [trace, attempt["spanId"], "01"]
    assert len({PARENT, own["spanId"], attempt["spanId"]}) == 3
    assert own["name"] == "POST /v1/chat/completions" and "status" not in own and "status" not in attempt
    assert int(own["startTimeUnixNano"]) <= int(attempt["startTimeUnixNano"]) <= int(attempt["endTimeUnixNano"]) <= int(own["endTimeUnixNano"])
    tokens = {k: own["attrs"].pop(k) for k in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")}
    assert all(n > 0 for n in tokens.values())
    assert own["attrs"] == {"http.request.method": "POST", "http.route": "/v1/chat/completions", "http.response.status_code": 200,
                            "cocoon.call": answer.header("cocoon-call"), "gen_ai.operation.name": "chat", "gen_ai.request.model": "fake-model"}
    assert set(attempt["attrs"]) == {"cocoon.attempt", "cocoon.worker", "gen_ai.request.model"}
    assert collector.resources[0]["service.name"] == "cocoon-gateway" and collector.resources[0]["service.instance.id"] == "gateway"
    assert set(collector.resources[0]) == {"service.name", "service.instance.id", "service.version"}
    assert f" trace={trace}" in traced.gateways[0].log_text
    assert trace not in traced.gateways[0].admin("/metrics").text


def test_what_the_caller_does_not_record_is_passed_on_and_not_exported(traced, collector):
    trace = next(IDS)
    assert ask(traced, "an unsampled question", f"00-{trace}-{PARENT}-00").status == 200
    assert parts(engines_view(traced, "an unsampled question")) == [trace, PARENT, "00"]
    assert ask(traced, "a question of nobody's trace").status == 200
    assert engines_view(traced, "a question of nobody's trace") is None
    seen = next(IDS)
    ask(traced, "a sampled one", f"00-{seen}-{PARENT}-01")
    exported(collector, seen)
    assert {s["traceId"] for s in collector.spans} == {seen}


def test_bad_traceparents_are_as_if_absent(traced, collector):
    for i, form in enumerate(BAD):
        text, trace = f"a bad traceparent {i} of eight", next(IDS)
        assert ask(traced, text, form.format(t=trace, u=trace.upper())).status == 200
        assert engines_view(traced, text) is None
    twice = {name: f"00-{next(IDS)}-{PARENT}-01" for name in ("traceparent", "Traceparent")}
    with traced.raw() as raw:
        assert raw.ask("POST", CHAT, chat("two traceparents"), twice).status == 200
    assert engines_view(traced, "two traceparents") is None
    assert len(re.findall(r" trace=-\n", traced.gateways[0].log_text)) >= len(BAD)
    assert "planted" not in traced.gateways[0].log_text
    seen = next(IDS)
    assert ask(traced, "a good traceparent", f"00-{seen}-{PARENT}-01").status == 200
    exported(collector, seen)
    assert {s["traceId"] for s in collector.spans} == {seen}


def test_without_a_collector_a_trace_is_passed_on_as_it_came(stack):
    stack.engine(models=["fake-model"])
    stack.gateway()
    stack.worker()
    stack.wait_ready()
    trace = next(IDS)
    assert ask(stack, "no collector", f"00-{trace}-{PARENT}-01").status == 200
    assert parts(engines_view(stack, "no collector")) == [trace, PARENT, "01"]
    # From a version that is to come goes on what this one knows.
    assert ask(stack, "a later version", f"cc-{trace}-{PARENT}-01-and-more").status == 200
    assert parts(engines_view(stack, "a later version")) == [trace, PARENT, "01"]


def test_strangers_begin_and_continue_nothing(traced, collector):
    trace = next(IDS)
    key = traced.key()
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    for _ in range(3):
        assert ask(traced, "who are you", f"00-{trace}-{PARENT}-01", key=wrong).status == 401
    seen = next(IDS)
    ask(traced, "someone known", f"00-{seen}-{PARENT}-01", key=key)
    exported(collector, seen)
    assert collector.of(trace) == ([], [])


def test_a_failed_attempt_has_a_span_of_its_own(traced, collector):
    async def blow(x):
        x.engine.blown = getattr(x.engine, "blown", 0) + 1
        if x.engine.blown == 1:
            await x.reply(500, x.dialect.error(500, "no"))
        else:
            from fake_engine import answer
            await answer(x)
    traced.engines[0].script("blow_once", blow)
    traced.worker(name="other")
    wait_for(lambda: traced.gateways[0].accepting == 2, "both workers", 10 * SLOW)
    trace = next(IDS)
    assert ask(traced, script("blow_once"), f"00-{trace}-{PARENT}-01").status == 200
    own, (first, second) = exported(collector, trace, attempts=2)
    assert first["status"] == {"code": 2} and first["attrs"]["error.type"] == "WORKER_ERROR"
    assert "status" not in second and "error.type" not in second["attrs"] and "status" not in own
    assert [first["attrs"]["cocoon.attempt"], second["attrs"]["cocoon.attempt"]] == [0, 1]
    assert first["attrs"]["cocoon.worker"] != second["attrs"]["cocoon.worker"] and first["spanId"] != second["spanId"]


def test_a_request_that_failed_says_so_and_one_that_was_wrong_does_not(traced, collector):
    failed, wrong = next(IDS), next(IDS)

    async def die(x):
        await x.reply(500, x.dialect.error(500, "no"))
    traced.engines[0].script("die", die)
    status = ask(traced, script("die"), f"00-{failed}-{PARENT}-01").status
    own, tries = exported(collector, failed, attempts=1)
    assert status >= 500 and own["status"] == {"code": 2} and own["attrs"]["http.response.status_code"] == status
    assert own["attrs"]["error.type"] in traced.gateways[0].log_text and "gen_ai.usage.output_tokens" not in own["attrs"]
    assert ask(traced, "Hi", f"00-{wrong}-{PARENT}-01", temperature="warm").status == 400
    own, _ = exported(collector, wrong, attempts=0)
    assert "status" not in own and "error.type" not in own["attrs"] and own["attrs"]["http.response.status_code"] == 400


def test_a_caller_that_leaves_ends_its_spans(traced, collector):
    trace = next(IDS)
    with traced.raw() as raw:
        raw.request("POST", CHAT, chat(script("stall", events=2), stream=True), {"traceparent": f"00-{trace}-{PARENT}-01"})
        raw.head()
    own, (attempt,) = exported(collector, trace)
    assert own["attrs"]["http.response.status_code"] == 499 and attempt["attrs"]["error.type"] == "client_gone"


def test_requests_without_a_trace_begin_one_by_chance(stack, collector):
    stack.engine(models=["fake-model"])
    gateway = stack.gateway(tracing={"otlp": collector.url, "one_in": 1})
    stack.worker()
    stack.wait_ready()
    assert ask(stack, "drawn").status == 200
    trace, span, sampled = parts(engines_view(stack, "drawn"))
    own, (attempt,) = exported(collector, trace)
    assert "parentSpanId" not in own and attempt["spanId"] == span and sampled == "01"
    # What a caller does not record stays unrecorded; and SIGHUP ends it all.
    unsampled = next(IDS)
    ask(stack, "unsampled", f"00-{unsampled}-{PARENT}-00")
    gateway.reload(**{"tracing.otlp": ""})
    gateway.wait_log("event=reloaded")
    assert ask(stack, "not drawn any more").status == 200
    assert engines_view(stack, "not drawn any more") is None
    assert collector.of(unsampled) == ([], [])


def test_the_rate_of_recording_is_bounded(stack, collector):
    stack.engine(models=["fake-model"])
    gateway = stack.gateway(tracing={"otlp": collector.url, "one_in": 0, "per_second": 1})
    stack.worker()
    stack.wait_ready()
    key, begun = stack.key(), time.monotonic()
    with stack.raw(key=key) as raw:
        for _ in range(40):
            assert raw.ask("GET", "/v1/models", None, {"traceparent": f"00-{next(IDS)}-{PARENT}-01"}).status == 200
    seconds = int(time.monotonic() - begun) + 2
    limited = gateway.metric("cocoon_trace_limited_total")
    gateway.stop()  # what waits is sent before its end
    assert 1 <= len(collector.spans) <= seconds < 40 and limited == 40 - len(collector.spans)


def spans_metric(gateway, outcome):
    return gateway.metric("cocoon_trace_spans_total", outcome=outcome)


def test_a_collector_that_fails_loses_spans_and_nothing_else(traced, collector):
    gateway = traced.gateways[0]
    collector.answer = 500
    assert ask(traced, "to one that fails", f"00-{next(IDS)}-{PARENT}-01").status == 200
    wait_for(lambda: spans_metric(gateway, "lost") == 2, "two are lost", 10 * SLOW)
    collector.stop()
    assert ask(traced, "to one that is away", f"00-{next(IDS)}-{PARENT}-01").status == 200
    wait_for(lambda: spans_metric(gateway, "lost") == 4, "two more are lost", 10 * SLOW)
    assert gateway.log_text.count("collector_away") == 1
    collector.answer = 200
    collector.start()
    trace = next(IDS)
    assert ask(traced, "to one that is back", f"00-{trace}-{PARENT}-01").status == 200
    exported(collector, trace)
    wait_for(lambda: spans_metric(gateway, "exported") == 2, "two are counted", 10 * SLOW)
    assert "collector_back" in gateway.log_text


def test_a_collector_that_hangs_costs_no_request_anything(stack, collector):
    """While it hangs the queue fills; what does not fit is dropped and counted, and a batch that was not taken is lost."""
    stack.engine(models=["fake-model"])
    gateway = stack.gateway(tracing={"otlp": collector.url, "one_in": 0, "per_second": 100000})
    stack.worker()
    stack.wait_ready()
    key = stack.key()
    collector.answer = "hang"
    with stack.raw(key=key) as raw:
        def some(count):
            for _ in range(count):
                assert raw.ask("GET", "/v1/models", None, {"traceparent": f"00-{next(IDS)}-{PARENT}-01"}).status == 200
        some(1)
        wait_for(lambda: collector.bodies, "the first batch", 10 * SLOW)
        sent = 1
        while not spans_metric(gateway, "dropped") and sent < 20000:
            some(300)
            sent += 300
        assert 0 < spans_metric(gateway, "dropped") <= sent - 2049 < 20000
    begun = time.monotonic()
    assert ask(stack, "meanwhile", key=key).status == 200
    assert time.monotonic() - begun < 3 * SLOW
    # Every span ends as one of three.
    collector.answer = 200
    collector.stopped.set()
    wait_for(lambda: sum(spans_metric(gateway, r) for r in ("exported", "dropped", "lost")) == sent, "all are accounted for", 30 * SLOW)
    assert spans_metric(gateway, "lost") >= 1 and spans_metric(gateway, "exported") >= 2048


def test_at_the_end_the_rest_is_sent(traced, collector):
    trace = next(IDS)
    assert ask(traced, "the last words", f"00-{trace}-{PARENT}-01").status == 200
    traced.gateways[0].stop()
    own, tries = collector.of(trace)
    assert len(own) == len(tries) == 1


def test_a_hanging_collector_does_not_keep_the_gateway(traced, collector):
    collector.answer = "hang"
    assert ask(traced, "the last words", f"00-{next(IDS)}-{PARENT}-01").status == 200
    begun = time.monotonic()
    traced.gateways[0].stop()
    assert time.monotonic() - begun < 8 * SLOW


def test_redis_that_comes_back_while_the_last_spans_go_out_finds_no_pool_any_more(stack, collector, monkeypatch):
    monkeypatch.setenv("MALLOC_PERTURB_", "165")  # what was freed is no empty list
    stack.engine(models=["fake-model"])
    gateway = stack.gateway(**{"tracing.otlp": collector.url})
    stack.worker()
    stack.wait_ready()
    collector.answer = "hang"
    assert ask(stack, "the last words", f"00-{next(IDS)}-{PARENT}-01").status == 200
    wait_for(lambda: collector.bodies, "the collector to be asked", 5 * SLOW)
    stack.redis.stop()
    gateway.signal(signal.SIGTERM)
    stack.redis.start()
    assert gateway.wait(10 * SLOW) == 0


def test_a_reload_that_is_asked_for_while_the_last_spans_go_out_changes_nothing_any_more(traced, collector):
    gateway = traced.gateways[0]
    collector.answer = "hang"
    assert ask(traced, "the last words", f"00-{next(IDS)}-{PARENT}-01").status == 200
    wait_for(lambda: collector.bodies, "the collector to be asked", 5 * SLOW)
    gateway.signal(signal.SIGTERM)
    wait_for(lambda: gateway.signal(signal.SIGHUP) or not gateway.alive, "its end", 10)
    assert gateway.wait() == 0


def test_the_collectors_token_comes_from_a_file_and_is_read_again(stack, collector):
    stack.engine(models=["fake-model"])
    token = os.path.join(stack.folder, "collector.headers")

    def write(text, mode=0o600):
        with open(token, "w") as f:
            f.write(text)
        os.chmod(token, mode)
    write("Authorization: Bearer token-one\nX-Scope: cocoon\n")
    gateway = stack.gateway(tracing={"otlp": collector.url, "one_in": 0, "headers_file": token})
    stack.worker()
    stack.wait_ready()

    def heard():
        trace = next(IDS)
        ask(stack, "with a token", f"00-{trace}-{PARENT}-01")
        exported(collector, trace)
        return collector.headers[-1]
    assert heard()["authorization"] == "Bearer token-one" and collector.headers[-1]["x-scope"] == "cocoon"
    write("Authorization: Bearer token-two\n")
    gateway.reload()
    gateway.wait_log("event=reloaded")
    assert heard()["authorization"] == "Bearer token-two"
    for text, mode in (("Authorization: Bearer token-three\n", 0o644), ("no header\n", 0o600), ("A: b\n" * 9, 0o600), ("A: \x01\n", 0o600)):
        write(text, mode)
        refused = gateway.log_text.count("reload_refused")
        gateway.reload()
        wait_for(lambda: gateway.log_text.count("reload_refused") > refused, "it is refused", 10 * SLOW)
    assert heard()["authorization"] == "Bearer token-two"
    assert "token-" not in gateway.log_text


def test_over_tls_the_collectors_certificate_must_be_of_the_named_authority(stack):
    pytest.importorskip("cryptography")
    from certs import Authority
    from cryptography.x509.oid import ExtendedKeyUsageOID
    stack.engine(models=["fake-model"])
    ca, other = Authority(stack.folder), Authority(stack.folder, "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ca.issue("collector", ["DNS:localhost"], ExtendedKeyUsageOID.SERVER_AUTH))
    collector = Collector(context).start()
    try:
        gateway = stack.gateway(tracing={"otlp": collector.url, "one_in": 0, "ca_file": other.path})
        stack.worker()
        stack.wait_ready()
        assert ask(stack, "to a stranger", f"00-{next(IDS)}-{PARENT}-01").status == 200
        wait_for(lambda: spans_metric(gateway, "lost") == 2, "they are lost", 10 * SLOW)
        assert collector.bodies == []
        gateway.reload(**{"tracing.ca_file": ca.path})
        gateway.wait_log("event=reloaded")
        trace = next(IDS)
        assert ask(stack, "to ours", f"00-{trace}-{PARENT}-01").status == 200
        exported(collector, trace)
        assert collector.wrong == []
    finally:
        collector.stop()


def test_nothing_of_content_or_callers_is_exported(traced, collector):
    key = traced.key("--name", "name-6d1f", "--account", "account-77c2")
    trace = next(IDS)

    async def tell(x):
        from fake_engine import answer
        await answer(x, pieces=["planted-answer-9e", " more"])
    traced.engines[0].default = tell
    for path in (CHAT, CHAT + "?q=planted-query-31"):
        answer = ask(traced, "planted-prompt-5b", f"00-{trace}-{PARENT}-01", key=key, path=path, user="planted-user-8d")
        assert answer.status == 200 and b"planted-answer-9e" in answer.body
    assert ask(traced, "planted-prompt-5b", f"00-{trace}-{PARENT}-01", key=key, model="planted-model-0c").status == 404
    with traced.raw(key=key) as raw:
        raw.ask("GET", "/v1/models/planted-tail-44", None, {"traceparent": f"00-{trace}-{PARENT}-01"})
    wait_for(lambda: len(collector.of(trace)[0]) == 4, "all are exported", 10 * SLOW)
    out = b"".join(collector.bodies)
    assert b"/v1/chat/completions" in out
    for word in (b"planted", key[10:].encode(), key[3:12].encode(), b"name-6d1f", b"account-77c2", b"127.0.0.1"):
        assert word not in out, word


def test_end_to_end_a_trace_goes_through_the_client_and_outside_of_what_is_sealed(collector):
    pytest.importorskip("h2")
    from test_client_e2e import World
    world = World("traces")
    try:
        world.begin(tracing={"otlp": collector.url, "one_in": 0})
        key, trace, text = world.key(), next(IDS), "planted-end-to-end-2f"
        with world.cocoon.raw(key=key) as raw:
            assert raw.ask("POST", CHAT, chat(text), {"traceparent": f"00-{trace}-{PARENT}-01"}).status == 200
        own, (attempt,) = exported(collector, trace)
        assert own["parentSpanId"] == PARENT and attempt["parentSpanId"] == own["spanId"]
        assert parts(engines_view(world, text)) == [trace, attempt["spanId"], "01"]
        assert own["attrs"]["http.route"] == "/v1/confidential/ohttp" and own["attrs"]["gen_ai.usage.output_tokens"] > 0
        with world.cocoon.raw(key=key) as raw:
            assert raw.ask("POST", CHAT, chat("a bad one"), {"traceparent": f"ff-{trace}-{PARENT}-01"}).status == 200
        assert engines_view(world, "a bad one") is None
        assert not any(b"planted" in b for b in collector.bodies)
    finally:
        world.end()
