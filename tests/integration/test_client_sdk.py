"""The unmodified openai package through cocoon-client, end to end to a real worker: the same cases as straight at the gateway. Between
them stands a relay that knows the wire format and nothing more."""

import hashlib
import json
import os
import subprocess
import tempfile
import threading

import openai
import pytest

pytest.importorskip("h2")
pytest.importorskip("cryptography")

import test_sdk_node  # noqa: E402
import test_sdk_python  # noqa: E402
from client_peer import Client  # noqa: E402
from evil_gateway import EvilGateway, Wire, wait_closed  # noqa: E402
from stack import SLOW, model  # noqa: E402
from test_devtee import DevTee  # noqa: E402
from test_worker_wire import World  # noqa: E402

MODELS = ["fake-model", "org/model:tag-v1"]
KEY = "sk-cocoon-right"


class Relay(EvilGateway):
    """Hands sealed requests to a worker's tunnel."""

    def __init__(self, folder, tunnel):
        super().__init__(folder, None)
        self.tunnel = tunnel

    def serve(self, handler, body):
        allowed = handler.headers.get("Authorization") == f"Bearer {KEY}" or "/confidential/w" in handler.path or "/attestation/" in handler.path
        wire = self.wire(handler)
        if not allowed:
            return wire.problem(401, "invalid_api_key")
        if handler.path == "/v1/confidential/workers?model=nope":
            return wire.problem(404, "model_not_found")
        if handler.path == "/v1/models":
            return wire.reply(None, 200, json.dumps({"object": "list", "data": [self.about(m) for m in MODELS]}).encode(), "application/json")
        if handler.path.startswith("/v1/models/"):
            name = handler.path[11:].replace("%2F", "/").replace("%3A", ":")
            if name in MODELS:
                return wire.reply(None, 200, json.dumps(self.about(name)).encode(), "application/json")
            return wire.problem(404, "model_not_found")
        if "/attestation/" in handler.path:
            return wire.reply(None, 200, self.tunnel.get("/v1/attestation?nonce=" + os.urandom(32).hex()).body)
        return super().serve(handler, body)

    def wire(self, handler):
        return Wire(handler, self, None)

    @staticmethod
    def about(name):
        return {"id": name, "object": "model", "created": 1, "owned_by": "cocoon"}

    def listing(self, name):
        config = bytes.fromhex(self.tunnel.keyset()["hpke"][0])
        return {"model": name, "ttl": 30, "workers": [{"kfp": hashlib.sha256(config).hexdigest()}]}

    def take(self, wire, handler, body):
        outer = {k.lower(): v for k, v in handler.headers.items()}
        self.posts.append(outer)
        names = ("content-type", "accept", "incremental", "cocoon-key", "cocoon-model", "cocoon-max-tokens", "cocoon-max-input")
        fields = [(n, outer[n]) for n in names] + [("cocoon-call", wire.call), ("cocoon-attempt", "0"), ("cocoon-price", "3;1000")]
        s = self.tunnel.request("POST", "/ohttp", fields, body)
        s.call, s.attempt = wire.call, "0"
        threading.Thread(target=lambda: wait_closed(handler, 60) and not s.over and self.tunnel.cancel(s), daemon=True).start()
        s.wait_head()
        if s.headers.get("content-type") != "message/ohttp-chunked-res":
            s.wait_end()
            return wire.reply(None, s.status, s.body)
        wire.headers(None, 200, [("Content-Type", "message/ohttp-chunked-res")])
        sent = 0
        while True:
            s.wait(lambda: len(s.body) > sent or s.over, 60)
            over, part = s.over, s.body[sent:]
            if part:
                wire.data(None, part)
                sent += len(part)
            if over and sent == len(s.body):
                return wire.trailers(None, [("cocoon-usage", s.trailers["cocoon-usage"])] if s.ended_at else [])


class Chain:
    """What the tests of the packages ask of a stack."""

    def __init__(self, client):
        self.cocoon, self.gateways = client, [client]

    def client(self, key=KEY, **kw):
        return self.cocoon.sdk(key, **kw)

    def key_for_all(self):
        return KEY


@pytest.fixture(scope="module")
def world():
    with tempfile.TemporaryDirectory(prefix="cocoon-") as folder:
        tee, w = DevTee(folder), World(folder)
        tee.start()
        w.engine(models=MODELS)
        w.worker(quote_provider="socket:" + tee.socket, collateral_file=tee.path("collateral.json"), max_requests=32,
                 models=[model(m) for m in MODELS])
        relay = Relay(folder, w.peers[0].tunnel()).start()
        client = Client(folder, relay.url, tee).start()
        try:
            yield Chain(client), w, relay
        finally:
            client.stop()
            relay.stop()
            w.stop()
            tee.stop()


@pytest.fixture
def chain(world):
    return world[0]


@pytest.fixture
def client(chain):
    return chain.client()


@pytest.fixture
def engine(world):
    return world[1].engines[0]


globals().update({name: test for name, test in vars(test_sdk_python).items() if name.startswith("test_")})


def test_answers_say_that_they_are_end_to_end(client, world):
    answer = client.chat.completions.with_raw_response.create(model="fake-model", messages=[{"role": "user", "content": "walrus-1"}])
    assert answer.headers["cocoon-privacy"] == "end-to-end" and answer.headers["cocoon-attestation"] == "insecure-dev"
    assert not world[2].saw(b"walrus-1") and not world[2].saw(b"How can I help")


def test_a_context_that_is_too_long_is_told_by_the_worker(client):
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="fake-model", messages=[{"role": "user", "content": test_sdk_python.script(
            "error", status=400, message="the request exceeds the available context size")}])
    assert raised.value.type == "invalid_request_error"


def test_the_same_cases_with_node(chain):
    env = {**os.environ, "OPENAI_BASE_URL": chain.cocoon.base_url, "OPENAI_API_KEY": KEY}
    done = subprocess.run([test_sdk_node.node(), test_sdk_node.CASES], env=env, text=True, capture_output=True, timeout=90 * SLOW,
                          stdin=subprocess.DEVNULL)
    errors = {r["name"]: r["error"] for r in map(json.loads, done.stdout.splitlines())}
    assert set(errors) == set(test_sdk_node.NAMES) and not {k: v for k, v in errors.items() if v is not None}, errors
