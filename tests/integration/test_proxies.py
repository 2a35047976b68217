"""The shipped nginx and HAProxy files before a gateway on a UNIX socket: TLS, streams as they come, ends as they are, quiet logs."""

import json
import os
import shutil
import ssl
import subprocess
import time

import pytest

from raw import Raw
from conftest import live_stack
from stack import ROOT, SLOW, Process, chat, free_port, script, wait_for

WORDS = "plantedSecretWords"


class TlsRaw(Raw):
    def connect(self):
        super().connect()
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket)


class Proxy(Process):
    """A proxy with its shipped file; only names and paths are changed, as the file's head says."""

    def __init__(self, stack, name, socket):
        self.port, self.folder = free_port(), os.path.join(stack.folder, name)
        os.makedirs(self.folder)
        make_certificate(self.folder)
        file, argv, listen = {
            "nginx": ("nginx.conf", ["nginx", "-g", "daemon off;", "-c"], ("listen 443", f"listen 127.0.0.1:{self.port}")),
            "haproxy": ("haproxy.cfg", ["haproxy", "-db", "-f"], ("bind :443", f"bind 127.0.0.1:{self.port}")),
        }[name]
        with open(os.path.join(ROOT, "config", file + ".example")) as f:
            text = f.read()
        for old, new in (listen, ("/etc/cocoon/tls", self.folder), ("/run/cocoon-gateway-1/api.sock", socket),
                         ("/run/cocoon-nginx", self.folder), ("/var/log/nginx", self.folder),
                         ("user www-data;", f"user {'root' if os.getuid() == 0 else 'nobody'};")):
            assert old in text or name == "haproxy"
            text = text.replace(old, new)
        self.config = os.path.join(self.folder, file)
        with open(self.config, "w") as f:
            f.write(text)
        super().__init__(stack, name, [*argv, self.config])

    def start(self):
        super().start()
        wait_for(self.listens, f"{self.name} listens", 10)
        return self

    def listens(self):
        assert self.alive, self.log_text
        try:
            TlsRaw(("127.0.0.1", self.port)).close()
            return True
        except OSError:
            return False

    def raw(self, key):
        return TlsRaw(("127.0.0.1", self.port), key=key)

    @property
    def logs(self):
        texts = [self.log_text]
        for name in os.listdir(self.folder):
            if name.endswith(".log"):
                with open(os.path.join(self.folder, name)) as f:
                    texts.append(f.read())
        return "\n".join(texts)


def make_certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/fullchain.pem"],
                   check=True, capture_output=True)
    with open(f"{folder}/haproxy.pem", "w") as f:
        f.write(open(f"{folder}/fullchain.pem").read() + open(f"{folder}/key.pem").read())


@pytest.fixture(scope="module")
def behind():
    """A chain whose gateway listens on a UNIX socket."""
    for stack in live_stack("behind"):
        stack.engine(models=["fake-model", "org/model:tag-v1"])
        stack.gateway(listen=f"unix:{stack.folder}/api.sock", trusted_proxies=["unix"])
        stack.worker()
        yield stack.wait_ready()


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def proxy(behind, request):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    proxy = behind.start(Proxy(behind, request.param, behind.gateways[0].address))
    yield proxy
    proxy.stop()


@pytest.fixture
def raw(behind, proxy):
    with proxy.raw(behind.key_for_all()) as connection:
        yield connection


def ask(raw, directive, **more):
    raw.request("POST", "/v1/chat/completions", chat(directive, stream=True, **more))
    return raw.head()


def test_every_event_comes_when_it_is_made(behind, raw):
    assert ask(raw, script("answer", pieces=["one ", "two ", "three "], delay=0.3)).status == 200
    times = []
    for word in (b"one ", b"two ", b"three "):
        raw.until(word)
        times.append(time.monotonic())
    assert times[1] - times[0] > 0.2 and times[2] - times[1] > 0.2
    assert raw.rest().ending == "complete" and raw.answer.events[-1] == b"[DONE]"


@pytest.mark.parametrize("how", ["close", "finish_sending", "reset"])
def test_a_client_that_leaves_a_stream_is_noticed_at_the_engine(behind, raw, how):
    seconds = 40 + len(how)  # tells the request from others
    ask(raw, script("stall", seconds=seconds))
    raw.until(b"word0")
    request = behind.engines[0].find(f'\\"seconds\\": {seconds}')
    left = time.monotonic()
    getattr(raw, how)()
    wait_for(lambda: request.closed_at, "the engine's connection closes", 5)
    assert request.closed_at - left < 0.5


def test_a_client_that_leaves_before_the_first_byte_is_noticed(behind, raw):
    raw.request("POST", "/v1/chat/completions", chat(script("mute", seconds=31), stream=True))
    request = behind.engines[0].find('\\"seconds\\": 31')
    left = time.monotonic()
    raw.close()
    wait_for(lambda: request.closed_at, "the engine's connection closes", 5)
    assert request.closed_at - left < 0.5


def test_a_broken_answer_has_an_error_event_and_no_done(raw):
    ask(raw, script("half", events=2))
    answer = raw.rest()
    assert b'"error"' in answer.events[-1] and b"[DONE]" not in answer.body
    assert answer.ending != "complete"


def test_a_large_body_passes(raw):
    raw.request("POST", "/v1/chat/completions", chat("x" * 4_000_000))
    assert raw.head().status == 200
    assert raw.rest().ending == "complete"


def test_errors_keep_the_apis_form(behind, proxy):
    with proxy.raw("sk-cocoon-wrong") as raw:
        raw.request("GET", "/v1/models")
        assert raw.head().status == 401
        raw.rest()
        assert raw.answer.error["code"] == "invalid_api_key"


def test_http2_is_spoken_to_clients_where_it_shows_what_broke(behind, proxy):
    done = subprocess.run(["curl", "-sk", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "-H",
                           f"Authorization: Bearer {behind.key_for_all()}", f"https://127.0.0.1:{proxy.port}/v1/models"],
                          capture_output=True, text=True, timeout=30)
    assert done.stdout == {"nginx": "2 200", "haproxy": "1.1 200"}[proxy.name]  # haproxy.cfg.example says why


def curl(proxy, key, body, *options, **kw):
    """A client that speaks HTTP/2 where it is offered; its output is a pipe."""
    argv = ["curl", "-skN", "--http2", "-H", f"Authorization: Bearer {key}", "-H", "Content-Type: application/json", "-d",
            json.dumps(body),
            *options, f"https://127.0.0.1:{proxy.port}/v1/chat/completions"]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, **kw)


def test_http2_streams_come_event_by_event(behind, proxy):
    client = curl(proxy, behind.key_for_all(), chat(script("answer", pieces=["one ", "two ", "three "], delay=0.3), stream=True))
    times = {}
    for line in client.stdout:
        times.update({word: time.monotonic() for word in (b"one ", b"two ", b"three ") if word in line})
    assert client.wait(10) == 0 and times[b"two "] - times[b"one "] > 0.2 and times[b"three "] - times[b"two "] > 0.2


def test_an_http2_client_that_leaves_is_noticed_at_the_engine(behind, proxy):
    client = curl(proxy, behind.key_for_all(), chat(script("stall", seconds=57), stream=True))
    while b"word0" not in client.stdout.readline():
        pass
    request = behind.engines[0].find('\\"seconds\\": 57')
    left = time.monotonic()
    client.kill()
    client.wait(5)
    client.stdout.close()
    wait_for(lambda: request.closed_at, "the engine's connection closes", 5)
    assert request.closed_at - left < 1.0 * SLOW


def test_an_http2_client_sees_a_broken_answer_as_broken(behind, proxy):
    for text in (script("half", events=2), script("stall", events=2)):
        client = curl(proxy, behind.key_for_all(), chat(text, stream=True, timeout=0.5))
        out, _ = client.communicate(timeout=10)
        assert client.returncode != 0 and b'"error"' in out and b"[DONE]" not in out


def test_an_answer_that_a_dying_gateway_leaves_is_broken(stack, proxy):
    """It can say nothing any more: only the broken connection tells."""
    engine, gateway = stack.engine(), stack.gateway(listen=f"unix:{stack.folder}/api.sock", trusted_proxies=["unix"])
    stack.worker()
    stack.wait_ready()
    own = stack.start(Proxy(stack, proxy.name, gateway.address))
    client = curl(own, stack.key_for_all(), chat(script("stall", events=2), stream=True))
    while b"word1" not in client.stdout.readline():
        pass
    gateway.kill()
    rest, _ = client.communicate(timeout=10)
    assert client.returncode != 0 and b"[DONE]" not in rest and engine.requests


def test_many_http2_streams_at_a_time(behind, proxy):
    url = f"https://127.0.0.1:{proxy.port}/v1/chat/completions"
    client = curl(proxy, behind.key_for_all(), chat(script("answer", pieces=["a", "b", "c"], delay=0.05), stream=True),
                  "--parallel",
                  "--parallel-max", "32", "-w", "%{http_code} %{exitcode}\n", *[url] * 31)
    out, _ = client.communicate(timeout=20)
    assert client.returncode == 0 and out.count(b"200 0\n") == 32 and out.count(b"data: [DONE]\n\n") == 32


@pytest.fixture(scope="module")
def ranged(behind):
    return {allowed: behind.key("--range", allowed) for allowed in ("127.0.0.0/8", "10.0.0.0/8")}


@pytest.mark.parametrize("said", [None, "10.1.2.3", "127.0.0.1, 10.1.2.3", "10.1.2.3, 127.0.0.1"])
def test_a_keys_addresses_are_those_the_proxy_sees(ranged, proxy, said):
    headers = {"X-Forwarded-For": said, "Forwarded": said and f"for={said.split(',')[0]}", "X-Real-IP": said}
    for allowed, status in (("127.0.0.0/8", 200), ("10.0.0.0/8", 403)):
        with proxy.raw(ranged[allowed]) as raw:
            assert raw.ask("GET", "/v1/models", headers=headers).status == status


def test_what_the_gateway_says_passes_unchanged(behind, raw):
    a = raw.ask("POST", "/v1/chat/completions", chat())
    assert a.header("x-request-id") == "req_" + a.header("cocoon-call") and a.header("cocoon-privacy") == "sealed"
    assert a.header("server-timing") and a.header("access-control-allow-origin") == "*"
    assert a.header("content-type") == "application/json"
    a = raw.ask("OPTIONS", "/v1/chat/completions", headers={"Origin": "https://x.example"})
    assert a.status == 204 and a.header("access-control-max-age") == "7200"
    a = raw.ask("GET", "/v1/models/org%2Fmodel:tag-v1")
    assert a.status == 200 and a.json["id"] == "org/model:tag-v1"
    a = raw.ask("GET", "/v1/chat/completions")
    assert a.status == 405 and a.header("allow") == "POST"


def test_a_body_over_the_limit_is_the_gateways_413(behind, proxy):
    with proxy.raw(behind.key_for_all()) as raw:
        raw.request("POST", "/v1/chat/completions", b"{", {"Content-Type": "application/json", "Content-Length": str(64 << 20)})
        assert raw.head().status == 413 and raw.rest().error["code"] == "request_too_large"


def test_nothing_of_a_request_but_its_path_is_logged(behind, proxy, raw):
    raw.request("POST", f"/v1/chat/completions?q={WORDS}", chat(WORDS), headers={"X-Planted": WORDS})
    raw.head()
    raw.rest()
    wait_for(lambda: "/v1/chat/completions" in proxy.logs, "the request's line", 5)
    assert WORDS not in proxy.logs and behind.key_for_all() not in proxy.logs
    left = [os.path.join(d, f) for d, _, files in os.walk(proxy.folder) for f in files if not f.endswith((".pem", ".log", ".pid"))]
    assert left == [proxy.config]


def test_a_gateway_that_is_away_is_an_error_of_the_api(stack):
    for name in ("nginx", "haproxy"):
        if not shutil.which(name):
            continue
        proxy = stack.start(Proxy(stack, name, f"{stack.folder}/none.sock"))
        with proxy.raw("any") as raw:
            raw.request("GET", "/v1/models")
            assert raw.head().status == 503 and raw.answer.header("retry-after") == "2"
            raw.rest()
            assert raw.answer.error["code"] == "service_unavailable"
