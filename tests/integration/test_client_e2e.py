"""cocoon-client, the real gateway, a real worker with evidence of the dev issuer, and a fake engine: end to end, and what the gateway's
memory holds of it."""

import base64
import os
import re
import threading

import httpx
import openai
import pytest

pytest.importorskip("h2")
pytest.importorskip("cryptography")

import test_sdk_python  # noqa: E402
from client_peer import Client  # noqa: E402
from fake_engine import finish_stream  # noqa: E402
from stack import SLOW, Stack, chat, script, wait_for  # noqa: E402
from test_devtee import DevTee  # noqa: E402

MODELS = ["fake-model", "org/model:tag-v1"]


class World(Stack):
    """A stack with evidence, and a client in front."""

    def begin(self, workers=1, gateways=1, max_requests=None, **settings):
        self.tee = DevTee(self.folder)
        self.tee.start()
        self.engine(models=MODELS)
        with open(self.tee.path("release.pub")) as f:
            policy = {"attestation.policy": self.tee.path("policy.json"), "attestation.release_keys": [f.read().strip()]}
        gateway = self.gateway(**{**policy, **settings})
        for _ in range(1, gateways):  # behind the same port
            self.gateway(**{**policy, **settings, "listen": gateway.listen})
        limits = {"max_requests": max_requests} if max_requests else {}
        for _ in range(workers):
            self.worker(quote_provider="socket:" + self.tee.socket, collateral_file=self.tee.path("collateral.json"), **limits)
        self.wait_ready()
        for g in self.gateways:
            wait_for(lambda g=g: g.accepting == workers, f"{g.name}: all workers", 20)
        self.cocoon = Client(self.folder, f"http://{gateway.listen}", self.tee).start()
        return self

    def end(self):
        cocoon = getattr(self, "cocoon", None)
        if cocoon:
            cocoon.stop()
        self.stop()
        self.tee.stop()
        self.remove()

    # What the packages' tests ask of a chain: everything goes through the client.
    def client(self, gateway=None, key=None, **kw):
        return self.cocoon.sdk(key or self.key_for_all(), **kw)


class Chain:
    def __init__(self, world):
        self.world, self.gateways = world, [world.cocoon]
        self.client, self.key_for_all = world.client, world.key_for_all


@pytest.fixture(scope="module")
def world():
    w = World("world")
    try:
        yield w.begin()
    finally:
        w.end()


@pytest.fixture
def chain(world):
    return Chain(world)


@pytest.fixture
def client(world):
    return world.client()


@pytest.fixture
def engine(world):
    return world.engines[0]


globals().update({name: test for name, test in vars(test_sdk_python).items() if name.startswith("test_")})


def user(text):
    return [{"role": "user", "content": text}]


def test_headers_say_what_this_was(client, world):
    answer = client.chat.completions.with_raw_response.create(model="fake-model", messages=user("Hi"))
    assert answer.headers["cocoon-privacy"] == "end-to-end" and answer.headers["cocoon-attestation"] == "insecure-dev"
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["cocoon-call"])
    kfp = httpx.get(world.gateways[0].base_url + "/confidential/workers?model=fake-model", trust_env=False).json()["workers"][0]["kfp"]
    assert kfp in answer.headers["cocoon-next"]


def test_its_own_state_is_beside_the_api_for_this_machine_alone(client, world):
    client.chat.completions.create(model="fake-model", messages=[{"role": "user", "content": "state-4d1f"}])
    base = world.cocoon.base_url.removesuffix("/v1")
    status = httpx.get(base + "/status.json").json()
    assert status["environment"] == "dev" and status["verified_keys"] >= 1 and status["requests"] == 0
    page = httpx.get(base + "/status")
    assert page.headers["content-type"].startswith("text/plain") and re.search(r"^verified_keys +[1-9]", page.text, re.M)
    assert "state-4d1f" not in page.text and "sk-" not in page.text
    assert httpx.get(base + "/healthz").text == "ok\n"
    assert httpx.head(base + "/status").status_code == 200 and httpx.post(base + "/status").status_code == 404
    assert httpx.get(base + "/status", headers={"host": "evil.example"}).status_code == 403


def test_the_record_can_be_fetched_with_the_same_key_alone(client, world):
    answer = client.chat.completions.with_raw_response.create(model="fake-model", messages=user("Hi"))
    url = f"{world.gateways[0].base_url}/billing/receipts/{answer.headers['cocoon-call']}"
    mine = httpx.get(url, headers={"Authorization": "Bearer " + world.key_for_all()}, trust_env=False)
    assert mine.status_code == 200 and mine.json()["usage"].count(".") == 2
    other = httpx.get(url, headers={"Authorization": "Bearer " + world.key("--name", "other")}, trust_env=False)
    assert other.status_code == 404


def test_a_key_that_is_end_to_end_only_serves_here_and_not_there(world):
    key = world.key("--end-to-end-only")
    assert world.client(key=key).chat.completions.create(model="fake-model", messages=user("Hi")).choices
    with pytest.raises(openai.PermissionDeniedError):
        Stack.client(world, key=key).chat.completions.create(model="fake-model", messages=user("Hi"))


def test_a_key_is_taken_in_each_form_that_the_gateway_takes(world):
    key = world.key_for_all()
    basic = "Basic " + base64.b64encode(f"{key}:".encode()).decode()
    for header in ({"Authorization": "bearer " + key}, {"x-api-key": key}, {"Authorization": basic}):
        with world.cocoon.raw(key=None) as raw:
            assert raw.ask("POST", "/v1/chat/completions", chat(), header).status == 200, header
            assert raw.ask("GET", "/v1/models", headers=header).status == 200, header
    with world.cocoon.raw(key=None) as raw:
        assert raw.ask("POST", "/v1/chat/completions", chat(), {"x-api-key": "wrong"}).status == 401


def told(connection, method, path, headers=None):
    """What an application sees of the answer to a head; the wrong method's sentence names the gateway's row."""
    with connection as raw:
        a = raw.ask(method, path, chat() if method == "POST" else None, headers or {})
        error = a.error if a.body and "error" in a.json else {}
        message = error.get("message", "").split(". (HINT")[0]
        return a.status, error.get("code"), error.get("param"), message, a.header("allow"), a.header("x-should-retry"), a.header("content-type")


@pytest.mark.parametrize("method, path, headers", [
    *[(m, p, None) for p in ("/v1/chat/completions", "/embeddings", "/v1/models", "/models", "/v1/models/org/model:tag-v1", "/v1/models/none",
                             "/v1/models/", "/v1/responses", "/v1/files/x", "/v1/foo", "/v1/chat/completions/x") for m in ("GET", "HEAD", "DELETE")
      if (m, p[:11]) != ("DELETE", "/v1/models/")],
    *[("POST", "/v1/chat/completions", {"Content-Type": kind, name: value}) for kind, name, value in (
        ("text/plain", "X-Nothing", "1"), ("application/json", "Content-Encoding", "gzip"), ("application/json", "Content-Encoding", "identity"),
        ("application/json", "Cocoon-Require", "zz"))]])
def test_what_a_head_tells_is_answered_as_by_the_gateway(world, method, path, headers):
    key = world.key_for_all()
    assert told(world.cocoon.raw(key=key), method, path, headers) == told(world.raw(key=key), method, path, headers)


def again(world, name, body, key=None):
    with world.cocoon.raw(key=key or world.key_for_all()) as raw:
        return raw.ask("POST", "/v1/chat/completions", body, {"Idempotency-Key": name})


def test_the_same_request_runs_once_though_its_key_never_leaves_the_client(world, engine):
    for i, stream in enumerate((False, True)):
        name, body = f"once-{i}", chat(f"Once end to end {i}", stream=stream)
        assert again(world, name, body).status == 200
        a = again(world, name, body)
        assert a.status == 409 and a.error["code"] == "idempotency_no_replay" and a.header("x-should-retry") == "false"
        b = again(world, name, chat("Another"))
        assert b.status == 400 and b.error["code"] == "idempotency_key_reused"
        assert again(world, name, body, world.key("--name", f"other-{i}")).status == 200  # another caller's
        assert sum(f"Once end to end {i}".encode() in r.body for r in engine.requests) == 2
    assert not any(r.header("idempotency-key") for r in engine.requests)
    for bad in ("", "x" * 256, "a b"):
        a = again(world, bad, chat())
        assert a.status == 400 and a.error["code"] == "invalid_header" and "Idempotency-Key" in a.error["message"]


@pytest.fixture
def keeper(world):
    """A client that keeps a few answers."""
    cocoon = Client(world.folder, f"http://{world.gateways[0].listen}", world.tee, name="keeper", settings="limits: {replay_bytes: 4000}\n").start()
    try:
        yield cocoon
    finally:
        cocoon.stop()


def test_what_a_workers_engine_does_not_get_is_named_or_refused_end_to_end(world, engine):
    body, extras = {**chat("dropped-9e03"), "own_speed": 2, "tomorrow": 1}, "extras: {allowed: [own_*]}\n"
    for strict in ("false", "true"):
        cocoon = Client(world.folder, f"http://{world.gateways[0].listen}", world.tee, name=f"strict-{strict}",
                        settings=f"strict: {strict}\n" + extras).start()
        try:
            with cocoon.raw(key=world.key_for_all()) as raw:
                if strict == "true":
                    del body["tomorrow"]
                    a = raw.ask("POST", "/v1/chat/completions", body)
                    assert (a.status, a.error["code"], a.error["param"]) == (400, "unknown_parameter", "own_speed"), a.body
                    continue
                for asked in (body, {**body, "stream": True}):
                    a = raw.ask("POST", "/v1/chat/completions", asked)
                    assert a.status == 200 and a.header("cocoon-ignored") == "tomorrow,own_speed", a.body
                assert "own_speed" not in engine.requests[-1].json
        finally:
            cocoon.stop()


def told_again(keeper, key, name, body, **headers):
    with keeper.raw(key=key) as raw:
        return raw.ask("POST", "/v1/chat/completions", body, {"Idempotency-Key": name, **headers})


@pytest.mark.parametrize("stream", (False, True))
def test_an_answer_is_given_again_from_the_clients_memory_alone(world, engine, keeper, stream):
    key, body = world.key_for_all(), chat(f"Kept {stream} 🦩 цапля", stream=stream)
    first = told_again(keeper, key, "kept", body)
    a = told_again(keeper, key, "kept", body)
    assert first.status == a.status == 200 and first.ending == a.ending == "complete" and a.body == first.body
    assert (a.header("cocoon-replayed"), first.header("cocoon-replayed")) == ("true", None)
    for same in ("cocoon-call", "cocoon-attestation", "cocoon-privacy", "content-type", "transfer-encoding"):
        assert a.header(same) == first.header(same), same
    assert sum(f"Kept {stream} ".encode() in r.body for r in engine.requests) == 1
    other = told_again(keeper, key, "kept", {**body, "stream": not stream})
    assert (other.status, other.error["code"]) == (400, "idempotency_key_reused")
    more = told_again(keeper, key, "kept", body, **{"Cocoon-Require": "tee=tdx"})
    assert (more.status, more.error["code"]) == (409, "idempotency_no_replay")
    assert told_again(keeper, key, "kept", body).body == first.body
    assert told_again(keeper, world.key("--name", f"not-{stream}"), "kept", body).header("cocoon-replayed") is None  # another caller's
    assert "цапля" not in keeper.text


def test_the_oldest_kept_answers_go_first_and_a_long_one_is_not_kept(world, engine, keeper):
    key = world.key_for_all()
    size = len(told_again(keeper, key, "r0", chat("Room 0")).body)
    count = 4000 // size + 2
    assert 3 < count
    for i in range(1, count):
        assert told_again(keeper, key, f"r{i}", chat(f"Room {i}")).status == 200
    codes = [told_again(keeper, key, f"r{i}", chat(f"Room {i}")).status for i in range(count)]
    assert codes[0] == 409 and codes[-2:] == [200, 200] and codes == sorted(codes, reverse=True)
    long = chat(script("slow", seconds=0.01, count=60), stream=True)
    assert len(told_again(keeper, key, "long", long).body) > 4000
    a = told_again(keeper, key, "long", long)
    assert (a.status, a.error["code"], a.header("x-should-retry")) == (409, "idempotency_no_replay", "false")


def test_a_broken_or_cancelled_answer_is_not_kept_end_to_end(world, engine, keeper):
    key = world.key_for_all()
    body = chat(script("stall", events=1), stream=True, seed=434343)
    with keeper.raw(key=key) as first:
        first.request("POST", "/v1/chat/completions", body, {"Idempotency-Key": "left"})
        assert first.head().status == 200
        first.until(b"data: ")
    wait_for(lambda: told_again(keeper, key, "left", body).error["code"] == "idempotency_no_replay", "it is over", 20)


def test_while_the_first_runs_the_second_is_told_to_wait_end_to_end(world, engine):
    body = chat(script("stall", events=1), stream=True, seed=424242)
    with world.cocoon.raw(key=world.key_for_all()) as first:
        first.request("POST", "/v1/chat/completions", body, {"Idempotency-Key": "waits"})
        engine.find('"seed":424242')
        a = again(world, "waits", body)
        assert a.status == 409 and a.error["code"] == "idempotency_in_progress" and a.header("retry-after-ms") == "1000"
        assert first.head().status == 200
        first.until(b"data: ")
    # Who leaves has had some of it.
    wait_for(lambda: again(world, "waits", body).error["code"] == "idempotency_no_replay", "it is over", 20)


def test_what_did_not_run_may_come_again_end_to_end(world):
    body = chat(script("error", status=400))
    for _ in range(2):
        assert again(world, "refused", body).status == 400
    assert again(world, "unknown-model", {**chat(), "model": "none"}).status == 404
    assert again(world, "unknown-model", chat()).status == 200


def test_a_bid_below_every_ask_is_told_the_lowest(client):
    with pytest.raises(openai.InternalServerError, match="The lowest price asked is 1000/1000") as refused:
        client.chat.completions.create(model="fake-model", messages=user("Hi"), extra_body={"max_coefficient": 999})
    assert refused.value.status_code == 503 and refused.value.code == "no_capacity"


def test_many_at_a_time(world):
    texts, errors = [], []

    def one(i):
        try:
            s = world.client().chat.completions.create(model="fake-model", messages=user(f"Hi {i}"), stream=True)
            texts.append("".join(c.choices[0].delta.content or "" for c in s))
        except openai.APIError as e:
            errors.append(e)
    threads = [threading.Thread(target=one, args=(i,)) for i in range(24)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors and set(texts) == {"Hello! How can I help?"}


CROWD, ROUNDS = 24, 3


@pytest.mark.parametrize("gateways, left", [(1, 0), (3, 5)])
def test_a_crowd_far_above_the_slots_waits_for_them(gateways, left, request):
    """Nobody tries again but cocoon-client, three times a request. What one gateway has promised another does not know: of its crowd
    a few may have no try left, where a fifth had."""
    w = World("crowd")
    request.addfinalizer(w.end)
    w.begin(workers=4, gateways=gateways, max_requests=1)
    errors = [e for n in range(ROUNDS) for e in crowd(w, lambda i, n=n: script("slow", seconds=0.02 * (i % 4), count=3, marker=f"{n}-{i}."))]
    assert len(errors) <= left, errors


def crowd(world, text):
    """All at a time, each a conversation of its own; the errors that they end with."""
    texts, errors = [], []

    def one(i):
        try:
            s = world.client(timeout=60 * SLOW).chat.completions.create(model="fake-model", messages=user(text(i)), stream=True)
            texts.append("".join(c.choices[0].delta.content or "" for c in s))
        except openai.APIError as e:
            errors.append(e)
    threads = [threading.Thread(target=one, args=(i,)) for i in range(CROWD)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(texts) + len(errors) == CROWD and all(texts)
    return errors


# ---- What the gateway's memory holds -----------------------------------------------------------------

CHUNK, OVERLAP = 1 << 24, 1 << 10


def memory_holds(pid, *needles):
    """Which of them stand in the process's writable memory."""
    found, looked_at = set(), 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if not rights.startswith("rw") or "[vvar" in line:
                continue
            begin, end = (int(x, 16) for x in span.split("-"))
            if end - begin > 1 << 32:
                continue  # a sanitizer's shadow
            for at in range(begin, end, CHUNK):
                try:
                    memory.seek(at)
                    data = memory.read(min(CHUNK + OVERLAP, end - at))
                except (OSError, ValueError):
                    continue
                looked_at += len(data)
                found |= {n for n in needles if n in data}
    assert looked_at > 0, "none of its memory could be read"
    return found


PROMPT, ANSWER = b"planted-prompt-5b1f-walrus", b"planted-answer-77c2-heron"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read another process's memory")
def test_planted_texts_are_nowhere_in_the_gateways_memory_end_to_end_and_are_in_sealed_mode(world):
    gateway = world.gateways[0]

    def through(base_url):
        seen = set()
        text = script("answer", marker=PROMPT.decode(), pieces=[ANSWER.decode()] * 40, delay=0.02)
        client = openai.OpenAI(base_url=base_url, api_key=world.key_for_all(), max_retries=0, timeout=20 * SLOW)
        with client.chat.completions.create(model="fake-model", messages=user(text), stream=True) as stream:
            for n, _ in enumerate(stream):
                if n % 4 == 0:
                    seen |= memory_holds(gateway.pid, PROMPT, ANSWER)
        whole = client.chat.completions.create(model="fake-model", messages=user(script("answer", text=ANSWER.decode(), marker=PROMPT.decode())))
        assert whole.choices[0].message.content == ANSWER.decode()
        return seen | memory_holds(gateway.pid, PROMPT, ANSWER)
    assert through(world.cocoon.base_url) == set()
    assert through(gateway.base_url) == {PROMPT, ANSWER}
    for file in (gateway.log, world.workers[0].log, world.cocoon.log, world.redis.log):
        with open(file, "rb") as f:
            assert PROMPT not in (content := f.read()) and ANSWER not in content, file


def held(gate):
    """A script that ends when the gate opens."""
    async def answer(x, **_):
        await x.head()
        for _ in range(10):
            await x.event(x.chunk(text=ANSWER.decode()))
        await gate.wait()
        await x.event(x.chunk(finish="stop"))
        await finish_stream(x, x.dialect.usage(3, 10))
    return answer


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read another process's memory")
def test_planted_texts_are_wiped_from_worker_and_client_when_their_calls_have_ended(world):
    """The libraries' buffers too, whatever their size. While a call runs the worker has its texts: so the same look finds them."""
    processes = {"client": world.cocoon.process.pid, "worker": world.workers[0].process.pid}
    engine, while_it_ran = world.engines[0], set()
    for base_url in (world.cocoon.base_url, world.gateways[0].base_url):
        client = openai.OpenAI(base_url=base_url, api_key=world.key_for_all(), max_retries=0, timeout=20 * SLOW)
        for long in ("", "x" * 300_000):
            looked = engine.gate()
            engine.script("held", held(looked))
            ask = {"model": "fake-model", "messages": user(script("held", marker=long + PROMPT.decode()))}
            with client.chat.completions.create(**ask, stream=True) as stream:
                next(chunk for chunk in stream if chunk.choices[0].delta.content)
                while_it_ran |= memory_holds(processes["worker"], PROMPT, ANSWER)
                looked.open()
                assert list(stream)
            ask["messages"] = user(script("answer", text=ANSWER.decode(), marker=long + PROMPT.decode()))
            assert client.chat.completions.create(**ask).choices[0].message.content == ANSWER.decode()
            ask["messages"].append({"role": "nobody", "content": PROMPT.decode()})
            with pytest.raises(openai.BadRequestError):
                client.chat.completions.create(**ask)
    assert while_it_ran == {PROMPT, ANSWER}
    left = {}

    def is_clean():
        left.update({name: memory_holds(pid, PROMPT, ANSWER) for name, pid in processes.items()})
        return not any(left.values())
    try:
        wait_for(is_clean, "nothing is left", 5)
    except AssertionError:
        pytest.fail(f"left: {left}")
