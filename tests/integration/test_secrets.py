"""Secrets planted in requests and answers are looked for where they must not be: the bytes inside the tunnel's TLS in both
directions, all of Redis, every log, the admin pages. A control string planted in the clear is found by the same search."""

import base64
import json
import os
import re
import time

import pytest

pytest.importorskip("h2")
pytest.importorskip("cryptography")

from stack import PAYOUT, chat, script, wait_for  # noqa: E402
from tunnel_peer import Peer  # noqa: E402
from worker_peer import WorkerPeer, plain_answer  # noqa: E402

CHAT, TEXT, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
MODEL = "control-model-5d1e"  # travels outside, so it is found

# Each is long enough to be no accident, and in no alphabet's favour.
WORDS = {name: f"{name}-secret-{i}f7c3a9e1b" for i, name in enumerate((
    "prompt", "answer", "system", "toolname", "toolargument", "schema", "user", "cachekey", "safety", "metadata", "rid", "stopword",
    "badjson", "ignored", "queryword", "cookie", "useragent", "input", "completion", "cancelled", "bigbody", "engineerror",
    "traceparent", "header", "reasoning", "badmodel"))}


def forms(word):
    """The word, and what a careless program would make of it."""
    raw = word.encode()
    yield raw
    yield raw[::-1]
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for shift in range(3):  # base64 at every alignment
        coded = base64.b64encode(b"\0" * shift + raw)
        yield coded[4 if shift else 0:-4]
        yield coded[4 if shift else 0:-4].replace(b"+", b"-").replace(b"/", b"_")
    yield json.dumps(word)[1:-1].replace("-", "\\u002d").encode()


def found(place, data, words):
    """Which of the words are in the data, in any form."""
    return [(place, name) for name, word in words.items() if any(f in data for f in forms(word))]


def all_of_redis(redis):
    """Every key with its whole value, the raw dump too."""
    out = []
    redis.client.config_set("save", "")
    for key in redis.client.scan_iter(count=1000):
        kind = redis.client.type(key)
        value = redis.client.get(key) if kind == "string" else redis.client.hgetall(key) if kind == "hash" else redis.client.object("encoding", key)
        out.append(f"{key} {value} {redis.client.ttl(key)}")
    redis.client.config_set("rdbcompression", "no")
    redis.client.save()
    with open(os.path.join(redis.stack.folder, "dump.rdb"), "rb") as f:
        return "\n".join(out).encode() + f.read()


def logs(stack):
    return {p.name + ".log": p.log_text.encode() for p in stack.processes}


def pages(program):
    return b"".join(program.admin(path).content for path in ("/metrics", "/status.json", "/status", "/readyz"))


def everything(key, model=MODEL):
    """A request with a secret in each place."""
    w = WORDS
    tools = [{"type": "function", "function": {"name": w["toolname"], "description": w["prompt"], "parameters": {
        "type": "object", "properties": {w["schema"]: {"type": "string"}}}}}]
    messages = [{"role": "system", "content": w["system"]}, {"role": "user", "content": w["prompt"]},
                {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {
                    "name": w["toolname"], "arguments": json.dumps({"a": w["toolargument"]})}}]},
                {"role": "tool", "tool_call_id": "c1", "content": w["prompt"]}, {"role": "user", "content": w["prompt"]}]
    return {"model": model, "messages": messages, "tools": tools, "user": w["user"], "prompt_cache_key": w["cachekey"],
            "safety_identifier": w["safety"], "metadata": {"m": w["metadata"]}, "stop": [w["stopword"]], w["ignored"]: w["ignored"],
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"title": w["schema"]}}}}


HEADERS = {"X-Client-Request-Id": WORDS["rid"], "Cookie": f"a={WORDS['cookie']}", "User-Agent": WORDS["useragent"],
           "X-Other": WORDS["header"], "Traceparent": f"00-{WORDS['traceparent']}"}


def variety(stack, gateway, key):
    """Good calls, bad calls, cancelled ones; every answer's own text is secret too."""
    def ask(path, body, headers=HEADERS, key=key, method="POST", target=None):
        with stack.raw(gateway, key=key) as raw:
            return raw.ask(method, target or path, body, headers)

    w = WORDS
    statuses = set()
    for stream in (False, True):
        statuses.add(ask(CHAT, {**everything(key), "stream": stream}).status)
        statuses.add(ask(TEXT, {"model": MODEL, "prompt": w["completion"], "stream": stream}).status)
        statuses.add(ask(CHAT, chat(w["bigbody"] + "x" * 600_000 + w["bigbody"], model=MODEL, stream=stream)).status)
    statuses.add(ask(EMBED, {"model": MODEL, "input": w["input"]}).status)
    assert statuses == {200}
    for body in ({**everything(key), "temperature": w["prompt"]}, {**everything(key), "messages": w["prompt"]},
                 {**everything(key), "tools": [{"type": w["toolname"]}]}, {**everything(key), "n": 99999}):
        assert ask(CHAT, body).status == 400
    assert ask(CHAT, everything(key, w["badmodel"])).status == 404
    assert ask(CHAT, ('{"model":"%s","messages":[{"role":"user","content":"%s"' % (MODEL, w["badjson"])).encode(),
               {**HEADERS, "Content-Type": "application/json"}).status == 400
    assert ask(CHAT, ('{"model":"%s", %s' % (MODEL, w["badjson"])).encode(), {**HEADERS, "Content-Type": "text/" + w["badjson"]}).status in (400, 415)
    assert ask(CHAT, everything(key), key=key[:-1] + ("A" if key[-1] != "A" else "B")).status == 401
    assert ask(CHAT, everything(key), target=f"{CHAT}?q={w['queryword']}").status == 200
    assert ask("/v1/" + w["queryword"], {}).status == 404
    assert ask("/v1/models/" + w["badmodel"], None, method="GET").status == 404


@pytest.fixture
def planted(stack):
    """The real chain with an engine that answers in secrets."""
    async def talk(x, **_):
        from fake_engine import answer, embeddings
        if x.request.path == EMBED:
            return await embeddings(x)
        await answer(x, pieces=[WORDS["answer"], " ", WORDS["answer"]])

    async def refuse(x):
        await x.reply(400, x.dialect.error(400, f"bad {WORDS['engineerror']}"))

    async def blow(x):
        await x.reply(500, x.dialect.error(500, f"cannot {WORDS['engineerror']}"))

    async def call_tool(x):
        from fake_engine import tool_call
        await tool_call(x, name=WORDS["toolname"], arguments=json.dumps({"a": WORDS["toolargument"]}))

    async def broken(x):
        await x.head()
        await x.event(x.chunk(role="assistant"))
        await x.event(x.chunk(text=WORDS["answer"]))
        await x.event(x.chunk(delta={"reasoning_content": WORDS["reasoning"]}))
        await x.event('{"error": "' + WORDS["engineerror"])
        await x.end()

    engine = stack.engine(models=[MODEL])
    engine.default = talk
    for name, function in (("refuse", refuse), ("blow", blow), ("call", call_tool), ("broken", broken)):
        engine.script(name, function)
    stack.gateway()
    stack.worker()
    return stack.wait_ready()


def test_nothing_of_a_call_is_kept_or_logged(planted):
    stack, gateway, worker = planted, planted.gateways[0], planted.workers[0]
    key = stack.key("--name", "planted", "--account", "control-account-77")
    variety(stack, gateway, key)
    for name in ("refuse", "blow", "call", "broken"):
        for stream in (False, True):
            with stack.raw(key=key) as raw:
                raw.ask("POST", CHAT, chat(script(name, secret=WORDS["prompt"]), model=MODEL, stream=stream))
    for text in (script("stall", events=2, secret=WORDS["cancelled"]), script("mute", secret=WORDS["cancelled"])):
        with stack.raw(key=key) as raw:
            raw.request("POST", CHAT, chat(text, model=MODEL, stream=True))
            time.sleep(0.15)
    wait_for(lambda: worker.status["usage"]["unacknowledged"] == 0 and gateway.status["calls"] == 0, "all is settled", 5)
    time.sleep(0.4)  # the counters' next round
    seen_by_engine = b"".join(r.body for r in stack.engines[0].requests)
    assert WORDS["prompt"].encode() in seen_by_engine and WORDS["toolargument"].encode() in seen_by_engine
    kept = all_of_redis(stack.redis)
    places = {"redis": kept, "gateway's pages": pages(gateway), "worker's pages": pages(worker), **logs(stack)}

    words = {**WORDS, "key": key[10:], "key's middle": key[20:40]}
    leaks = [leak for place, data in places.items() for leak in found(place, data, words)]
    assert leaks == []
    # The same search finds what is meant to be there, in the same places.
    control = {"model": MODEL}
    for place in ("redis", "gateway.log", "worker.log", "gateway's pages", "worker's pages"):
        assert found(place, places[place], control), place
    assert found("redis", kept, {"account": "control-account-77"})
    # Nothing was written beside the logs either.
    for name in os.listdir(stack.folder):
        path = os.path.join(stack.folder, name)
        if os.path.isfile(path) and not name.endswith(".log"):
            with open(path, "rb") as f:
                assert found(name, f.read(), words) == []


def test_nothing_of_a_call_leaves_the_gateway_in_the_clear(stack):
    """Recorded by a worker of our own, that ends the tunnel's TLS and holds the keys."""
    gateway = stack.gateway()
    w = WorkerPeer(stack.folder, gateway.tunnel, bytes.fromhex(stack.operator.pin), models=(MODEL,)).dial()
    try:
        wait_for(lambda: gateway.accepting == 1, "the peer is ready", 5)
        key = stack.key("--account", "account-name-31c7")
        w.answer = lambda call: plain_answer(call, (WORDS["answer"], WORDS["reasoning"]))
        variety(stack, gateway, key)

        def endless(call):
            call.head()
            call.event(call.chunk({"role": "assistant", "content": WORDS["answer"]}))
            call.cancelled.wait(5)
        w.answer = endless
        with stack.raw(key=key) as raw:
            raw.request("POST", CHAT, {**everything(key), "stream": True})
            raw.head()
            raw.until(WORDS["answer"].encode())
        wait_for(lambda: gateway.status["calls"] == 0 and w.acks, "all is over", 5)
        opened = b"".join(c.plain for c in w.calls)
        for name in ("prompt", "system", "toolname", "toolargument", "schema", "stopword", "rid", "completion", "input", "bigbody"):
            assert WORDS[name].encode() in opened, name  # they did travel, inside
        # Of these nothing travels at all, not even inside.
        absent = {n: WORDS[n] for n in ("user", "cachekey", "safety", "metadata", "ignored", "cookie", "useragent", "header", "queryword")}
        absent.update({"key": key[10:], "key's middle": key[20:40], "account": "account-name-31c7"})
        assert found("sealed messages", opened, absent) == []
        words = {**WORDS, **absent}
        assert found("tunnel", w.text, words) == []
        assert found("tunnel", w.text, {"model": MODEL, "path": "/ohttp/", "call": w.calls[0].outer["cocoon-call"]}) == [
            ("tunnel", "model"), ("tunnel", "path"), ("tunnel", "call")]
        assert len(w.text) > 1_200_000  # the big bodies are among it
        leaks = [leak for place, data in {"redis": all_of_redis(stack.redis), "pages": pages(gateway), **logs(stack)}.items()
                 for leak in found(place, data, {**WORDS, "key": key[10:]})]
        assert leaks == []
    finally:
        w.close()


def test_nothing_of_a_call_leaves_the_worker_in_the_clear(stack):
    """Recorded by a gateway of our own."""
    engine = stack.engine(models=[MODEL])

    async def talk(x):
        from fake_engine import answer
        await answer(x, pieces=[WORDS["answer"], WORDS["reasoning"]])
    engine.default = talk
    peer = Peer(stack.folder).start()
    recorded = []
    try:
        worker = stack.worker(operators=[{"name": "peer", "gateways": [peer.address], "pins": [peer.pin]}], gateways=[], payout=PAYOUT)
        tunnel = peer.tunnel()
        receive = tunnel.h2.receive_data

        def record(data):
            recorded.append(data)
            return receive(data)
        tunnel.h2.receive_data = record
        wait_for(lambda: tunnel.get("/v1/worker").json()["accepting"], "the worker accepts", 5)
        inner = {"cocoon-model": MODEL, "cocoon-request-id": WORDS["rid"]}
        streams = []
        for stream in (False, True):
            for body in (everything(""), {**everything(""), "messages": []}, {**everything(""), "model": WORDS["badmodel"]},
                         b'{"' + WORDS["badjson"].encode()):
                body = {**body, "stream": stream} if isinstance(body, dict) else body
                streams.append(tunnel.chat(body, inner=inner))
        assert WORDS["answer"].encode() in streams[0].content and WORDS["answer"].encode() in streams[4].content
        assert {s.usage["outcome"] for s in streams} >= {"stop", "rejected"}
        streams.append(tunnel.post_sealed(sealed=tunnel.seal(everything(""), inner={**inner, "cocoon-max-tokens": "7"})).wait_end())
        damaged = tunnel.seal(everything(""), inner=inner)
        damaged.bytes = damaged.bytes[:-1] + bytes([damaged.bytes[-1] ^ 1])
        tunnel.post_sealed(sealed=damaged, outer={"cocoon-model": MODEL}).wait_end()
        tunnel.get("/v1/usage?after=0")
        clear = b"".join(recorded) + b"".join(f"\n{k}: {v}\n".encode() + s.body for s in tunnel.streams.values()
                                              for k, v in {**s.headers, **s.trailers}.items())
        # The records are base64url of JSON: read them too.
        for part in re.findall(rb"[A-Za-z0-9_-]{40,}", clear):
            clear += b"\n" + base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)) if len(part) % 4 != 1 else b""
        assert sum(map(len, recorded)) > 5000 and found("tunnel", clear, WORDS) == []
        assert found("tunnel", clear, {"model": MODEL, "label": "worker"}) == [("tunnel", "model"), ("tunnel", "label")]
        leaks = [leak for place, data in {"pages": pages(worker), **logs(stack)}.items() for leak in found(place, data, WORDS)]
        assert leaks == []
    finally:
        peer.stop()
