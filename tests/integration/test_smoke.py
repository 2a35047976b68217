"""The whole chain, thinly: SDK or socket, gateway, sealed tunnel, worker, engine and back."""

import json
import re
import time

import pytest

from stack import SLOW, chat, quote, script, wait_for

CHAT = "/v1/chat/completions"


def test_a_chat_is_answered_in_openais_shape(raw):
    a = raw.ask("POST", CHAT, chat("Hello there"))
    assert a.status == 200 and a.ending == "complete"
    body = a.json
    assert re.fullmatch(r"chatcmpl-.+", body["id"]) and body["object"] == "chat.completion"
    assert body["model"] == "fake-model" and isinstance(body["created"], int)
    (choice,) = body["choices"]
    assert choice == {"index": 0, "message": {"role": "assistant", "content": "Hello! How can I help?", "refusal": None},
                      "logprobs": None, "finish_reason": "stop"}
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] and usage["completion_tokens"] == 7
    assert "timings" not in body


def test_metrics_tell_what_the_time_of_calls_went_to(chain):
    gateway = chain.gateways[0]
    steps = ("auth", "recv", "admit", "queue", "route", "worker")

    def count(name, **labels):
        return gateway.metric(f"cocoon_{name}_seconds_count", **labels)

    before = {s: count("step", step=s) for s in steps}, count("event_gap"), gateway.metric("cocoon_event_gap_seconds_sum")
    with chain.raw() as raw:  # t0 to t3, and the end
        assert raw.ask("POST", CHAT, chat(script("slow", seconds=0.1, count=4), stream=True)).ending == "complete"
    wait_for(lambda: all(count("step", step=s) == before[0][s] + 1 for s in steps), "each step is counted once", 3)
    assert count("event_gap") - before[1] >= 3 and gateway.metric("cocoon_event_gap_seconds_sum") - before[2] >= 0.25
    with chain.raw() as raw:
        assert raw.ask("POST", "/v1/nowhere", b"{}").status == 404
    assert count("step", step="route") == before[0]["route"] + 1  # what was not passed is not counted


def test_metrics_tell_how_calls_of_each_model_ended(chain):
    count = lambda model, outcome: chain.gateways[0].metric("cocoon_requests_total", model=model, outcome=outcome)  # noqa: E731
    before = count("fake-model", "OK"), count("-", "MODEL_NOT_FOUND")
    with chain.raw() as raw:
        assert raw.ask("POST", CHAT, chat("Hi")).status == 200
    with chain.raw() as raw:
        assert raw.ask("POST", CHAT, {**chat("Hi"), "model": 'strange"} 1'}).status == 404
    wait_for(lambda: (count("fake-model", "OK"), count("-", "MODEL_NOT_FOUND")) == (before[0] + 1, before[1] + 1), "both are counted", 3)
    assert not any("strange" in name for name in chain.gateways[0].metrics)  # what a stranger writes is no label


def test_every_answer_names_its_call(raw):
    a = raw.ask("POST", CHAT, chat())
    call = a.header("cocoon-call")
    assert re.fullmatch(r"[0-9a-f]{32}", call)
    assert a.header("x-request-id") == "req_" + call
    assert a.header("content-type") == "application/json"
    assert a.header("cocoon-privacy") == "sealed"
    assert a.header("cocoon-attestation") == "insecure-dev"
    assert a.header("openai-version") == "2020-10-01"
    assert a.header("openai-processing-ms").isdigit()
    assert a.header("x-content-type-options") == "nosniff"
    assert a.header("cache-control") == "no-store"
    other = raw.ask("GET", "/v1/models")
    assert other.header("x-request-id") != a.header("x-request-id")


def test_a_stream_ends_with_done(raw):
    raw.request("POST", CHAT, chat("stream please", stream=True))
    head = raw.head()
    assert head.status == 200 and head.header("content-type") == "text/event-stream; charset=utf-8"
    a = raw.rest()
    assert a.ending == "complete" and a.events[-1] == b"[DONE]"
    assert a.text == "Hello! How can I help?"


def test_legacy_completions_are_answered(raw):
    a = raw.ask("POST", "/v1/completions", {"model": "fake-model", "prompt": "Say hello"})
    assert a.status == 200
    assert a.json["object"] == "text_completion" and a.json["choices"][0]["text"] == "Hello! How can I help?"
    assert a.json["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings_come_in_both_encodings(raw, encoding):
    a = raw.ask("POST", "/v1/embeddings", {"model": "fake-model", "input": ["a", "b"], "encoding_format": encoding})
    assert a.status == 200
    assert [d["index"] for d in a.json["data"]] == [0, 1]
    assert isinstance(a.json["data"][0]["embedding"], str if encoding == "base64" else list)
    assert a.json["model"] == "fake-model" and a.json["usage"]["prompt_tokens"] > 0


def test_models_are_listed_and_found(raw):
    a = raw.ask("GET", "/v1/models")
    assert a.status == 200 and a.json["object"] == "list"
    models = {m["id"]: m for m in a.json["data"]}
    assert set(models) == {"fake-model", "org/model:tag-v1"}
    assert all(m["object"] == "model" and isinstance(m["created"], int) and m["owned_by"] for m in models.values())
    for path in (quote("org/model:tag-v1"), "org/model:tag-v1"):
        assert raw.ask("GET", "/v1/models/" + path).json["id"] == "org/model:tag-v1"


@pytest.mark.parametrize("path", ["/chat/completions", "/completions", "/embeddings"])
def test_a_base_url_without_v1_works(raw, path):
    body = {"model": "fake-model"}
    body.update({"/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]}, "/completions": {"prompt": "Hi"},
                 "/embeddings": {"input": "Hi"}}[path])
    assert raw.ask("POST", path, body).status == 200
    assert raw.ask("GET", "/models").status == 200


def check_error(a, status, code, kind="invalid_request_error"):
    assert a.status == status, a.body
    assert set(a.error) == {"message", "type", "param", "code"}
    assert a.error["code"] == code and a.error["type"] == kind and a.error["message"]
    assert a.header("content-type") == "application/json" and a.header("x-request-id").startswith("req_")


def test_a_request_without_key_is_refused(chain):
    with chain.raw(key="") as raw:
        a = raw.ask("POST", CHAT, chat())
        check_error(a, 401, None)
        assert a.header("www-authenticate") == "Bearer"


def test_a_wrong_key_is_refused_without_being_echoed(chain):
    wrong = "sk-cocoon-" + "A" * 60
    with chain.raw(key=wrong) as raw:
        a = raw.ask("POST", CHAT, chat())
        check_error(a, 401, "invalid_api_key")
        assert a.header("www-authenticate") == 'Bearer error="invalid_token"'
        assert wrong.encode() not in a.body


def test_an_unknown_model_is_404(raw):
    check_error(raw.ask("POST", CHAT, chat(model="no-such-model")), 404, "model_not_found")


def test_an_unknown_path_and_a_wrong_method_say_so(raw):
    check_error(raw.ask("POST", "/v1/nothing", {}), 404, "unknown_url")
    a = raw.ask("GET", CHAT)
    check_error(a, 405, "method_not_supported")
    assert a.header("allow") == "POST"


def test_malformed_json_is_400(raw):
    check_error(raw.ask("POST", CHAT, '{"model": ', {"Content-Type": "application/json"}), 400, None)


def test_a_missing_parameter_is_named(raw):
    a = raw.ask("POST", CHAT, {"model": "fake-model"})
    check_error(a, 400, "missing_required_parameter")
    assert a.error["param"] == "messages"


def test_what_the_client_sent_reaches_the_engine_byte_for_byte(raw, engine):
    marker = "bytes-7f3a"
    schema = '{"type":"object","properties":{"z":{"type":"number","maximum":0.7},"a":{"const":"\\u0000\\ud83d\\ude00 é"}}}'
    body = ('{"messages":[{"role":"user","content":"%s"}],"seed":-9223372036854775808,"temperature":0.7,"model":"fake-model",'
            '"tools":[{"type":"function","function":{"name":"f","parameters":%s}}],"top_p":1.0}' % (marker, schema))
    a = raw.ask("POST", CHAT, body.encode(), {"Content-Type": "application/json"})
    assert a.status == 200, a.body
    got = engine.find(marker).body
    for part in (schema, '"seed":-9223372036854775808', '"temperature":0.7', '"top_p":1.0', f'"content":"{marker}"'):
        assert part.encode() in got
    assert json.loads(got)["stream"] is True and json.loads(got)["stream_options"]["include_usage"] is True


def test_an_engine_error_becomes_ours(raw):
    check_error(raw.ask("POST", CHAT, chat(script("error", status=500))), 502, "worker_error", "server_error")
    check_error(raw.ask("POST", CHAT, chat(script("overflow"))), 400, "context_length_exceeded")


def test_a_broken_stream_ends_with_an_error_event(raw):
    raw.request("POST", CHAT, chat(script("half", events=3), stream=True))
    raw.head()
    a = raw.rest()
    assert a.text == "word0 word1 word2 "
    error = json.loads(a.events[-1])["error"]
    assert error["type"] == "server_error" and set(error) == {"message", "type", "param", "code"}
    assert b"[DONE]" not in a.body


def test_the_engine_is_told_when_the_client_leaves(chain, engine):
    text = script("stall", events=2, marker="leaves-51c2")
    with chain.raw() as raw:
        raw.request("POST", CHAT, chat(text, stream=True))
        raw.head()
        raw.until(b"word1")
        request = engine.find("leaves-51c2")
        assert request.closed_at is None
    left = time.monotonic()
    wait_for(lambda: request.closed_at, "the engine's connection to close", 5)
    assert request.closed_at - left < 0.1 * SLOW


def test_workers_and_gateways_report_ready(chain):
    for program in chain.gateways + chain.workers:
        assert program.admin("/healthz").status_code == 200
        assert program.admin("/readyz").status_code == 200
        assert program.admin("/metrics").headers["content-type"].startswith("text/plain")
        assert isinstance(program.status, dict)
