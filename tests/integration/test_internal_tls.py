"""Services on the internal listener's TLS side: a certificate that the operator's CA has signed says who pays."""

import datetime
import os
import ssl

import httpx
import openai
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs import Authority
from conftest import live_stack
from purse import Purse, Till
from raw import Raw
from stack import SLOW, Process, chat, free_port, script, wait_for
from test_clients import bulk
from test_telegram import refused, secret_file
from test_upgrade import upgrade

CHAT, MODELS, BALANCE = "/v1/chat/completions", "/v1/models", "/v1/billing/balance"
ASSISTANT, NIGHTLY = "URI:spiffe://example.org/assistant", "DNS:nightly.internal"


class TlsRaw(Raw):
    """certificate: paths of the client's certificate and key; None: it has none."""

    def __init__(self, stack, certificate, version=None, alpn=(), **more):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.load_verify_locations(stack.ca.path)
        if certificate:
            self.context.load_cert_chain(*certificate)
        if version:
            self.context.maximum_version = version
        if alpn:
            self.context.set_alpn_protocols(alpn)
        super().__init__(stack.internal, key="", timeout=20 * SLOW, **more)

    def connect(self):
        super().connect()
        self.socket = self.context.wrap_socket(self.socket, server_hostname="gateway.internal")


def ask(stack, certificate, method="POST", path=CHAT, body=None, headers=()):
    with TlsRaw(stack, certificate) as raw:
        return raw.ask(method, path, body if body is not None or method == "GET" else chat(), headers)


def no_good(stack, certificate, **more):
    """Refused in the handshake, which a TLS 1.3 client hears of when it reads."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with TlsRaw(stack, certificate, **more) as raw:
            raw.request("GET", MODELS)
            raw.socket.recv(1)
            raise AssertionError("it was answered")


def services(stack):
    return [{"san": ASSISTANT, "account": "assistant", "key_file": stack.files["assistant"], "class": "internal"},
            {"san": NIGHTLY, "account": "nightly", "key_file": stack.files["nightly"]}]


def prepare(stack, keys=None):
    stack.keys = keys or {name: stack.key("--account", name) for name in ("assistant", "nightly")}
    stack.files = {name: secret_file(stack, f"payer-{name}.key", key) for name, key in stack.keys.items()}
    stack.ca = Authority(stack.folder)
    chain, key = stack.ca.issue("gateway-internal", ["DNS:gateway.internal"], ExtendedKeyUsageOID.SERVER_AUTH)
    stack.assistant, stack.nightly = stack.ca.issue("assistant", [ASSISTANT]), stack.ca.issue("nightly", ["DNS:Nightly.INTERNAL"])
    stack.internal = ("127.0.0.1", free_port())
    return {"internal.tls": {"listen": "127.0.0.1:%d" % stack.internal[1], "chain": chain, "key": key, "client_ca": stack.ca.path},
            "internal.services": services(stack)}


@pytest.fixture(scope="module")
def inside():
    for stack in live_stack("inside"):
        purse = Purse(stack)
        stack.till = Till(stack, **prepare(stack, {name: purse.key(purse.account(name)) for name in ("assistant", "nightly")}))
        yield stack
        stack.till.worker.close()


def test_the_certificates_name_says_which_account_pays(inside):
    purse = inside.till.purse
    for certificate, account, other in ((inside.assistant, "assistant", "nightly"), (inside.nightly, "nightly", "assistant")):
        before, untouched = purse.charged(account), purse.charged(other)
        a = ask(inside, certificate, headers={"Authorization": f"Bearer {inside.keys[other]}"})  # is not looked at
        assert a.status == 200 and int(a.header("cocoon-cost-nano")) > 0, a.body
        assert purse.charged(account) == before + int(a.header("cocoon-cost-nano")) and purse.charged(other) == untouched
    refused(ask(inside, inside.nightly, "GET", BALANCE), 403, "endpoint_not_allowed")
    assert f"account=assistant san={ASSISTANT}" in inside.till.gateway.log_text


def test_a_name_that_is_not_listed_is_refused_with_an_answer(inside):
    for names in (["DNS:stranger.internal"], [], ["DNS:*.internal"], ["DNS:nightly.internal.example.org"], ["URI:nightly.internal"],
                  ["DNS:xnightly.internal"], ["DNS:nightly.internal\0.example.org"], ["URI:x\n" + NIGHTLY], ["DNS:nightly.internal\n"],
                  [ASSISTANT + "/x"], [ASSISTANT.replace("org", "ORG")]):
        a = ask(inside, inside.ca.issue("stranger", names), headers={"Authorization": f"Bearer {inside.keys['assistant']}"})
        refused(a, 403, None)
    refused(ask(inside, inside.ca.issue("both", [ASSISTANT, NIGHTLY])), 403, None)  # whose call would it be
    assert ask(inside, inside.ca.issue("more", ["DNS:else.internal", NIGHTLY]), "GET", MODELS).status == 200


def test_what_no_ca_of_ours_has_signed_for_now_is_no_certificate(inside):
    day = datetime.timedelta(days=1)
    before = inside.till.gateway.metric("cocoon_internal_handshakes_refused_total")
    other = Authority(inside.folder, "other")
    twin = Authority(inside.folder + "/operator", "ca")  # of the same name, with another key
    bad = [None, other.issue("foreign", [ASSISTANT]), twin.issue("twin", [ASSISTANT]),
           inside.ca.issue("expired", [ASSISTANT], begins=-2 * day, ends=-day / 1000),
           inside.ca.issue("early", [ASSISTANT], begins=day, ends=2 * day),
           inside.ca.issue("server", [ASSISTANT], ExtendedKeyUsageOID.SERVER_AUTH)]
    for certificate in bad:
        no_good(inside, certificate)
    no_good(inside, inside.assistant, version=ssl.TLSVersion.TLSv1_2)
    no_good(inside, inside.assistant, alpn=["h2"])
    with Raw(inside.internal, key="") as raw:  # no TLS at all
        raw.request("GET", MODELS)
        with pytest.raises(Exception):
            raw.head()
    wait_for(lambda: inside.till.gateway.metric("cocoon_internal_handshakes_refused_total") == before + len(bad) + 3, "all are counted")
    assert "event=tls_client_refused peer=127.0.0.1:" in inside.till.gateway.log_text and "verify=10\n" in inside.till.gateway.log_text
    with TlsRaw(inside, inside.assistant, alpn=["h2", "http/1.1"]) as raw:
        assert raw.socket.selected_alpn_protocol() == "http/1.1" and raw.ask("GET", MODELS).status == 200


def test_the_public_listener_believes_no_header_about_certificates(inside):
    with open(inside.assistant[0]) as f:
        pem = "".join(f.read().split("\n")[1:-2])
    for header, value in (("Client-Cert", f":{pem}:"), ("X-Forwarded-Client-Cert", f"URI={ASSISTANT[4:]}"), ("X-SSL-Client-Cert", pem),
                          ("X-SSL-Client-Verify", "SUCCESS"), ("X-Client-SAN", ASSISTANT)):
        with inside.raw(key="") as raw:
            assert raw.ask("GET", MODELS, headers={header: value}).status == 401
        refused(ask(inside, inside.ca.issue("stranger", ["DNS:stranger"]), headers={header: value}), 403, None)
    refused(ask(inside, inside.assistant, headers={"X-Forwarded-For": "192.0.2.1"}), 403, None)


def test_a_certificate_that_ends_ends_the_connections_rights(inside):
    soon = datetime.timedelta(seconds=6 * SLOW)
    with TlsRaw(inside, inside.ca.issue("short", [NIGHTLY], ends=soon)) as raw:
        assert raw.ask("GET", MODELS).status == 200
        wait_for(lambda: raw.ask("GET", MODELS).status == 403, "its time is over", 60)


def test_the_openai_package_comes_with_a_certificate(inside):
    tls = ssl.create_default_context(cafile=inside.ca.path)
    tls.load_cert_chain(*inside.assistant)
    tls.check_hostname = False  # its certificate names no address
    with httpx.Client(verify=tls, trust_env=False) as http:
        client = openai.OpenAI(base_url="https://%s:%d/v1" % inside.internal, api_key="none", http_client=http, max_retries=0)
        assert client.chat.completions.create(**chat()).choices[0].message.content
        assert list(client.chat.completions.create(**chat(stream=True)))


def test_large_requests_and_answers_pass_whole(stack):
    stack.engine()
    stack.gateway(**prepare(stack))
    stack.worker()
    stack.wait_ready()
    with TlsRaw(stack, stack.assistant) as raw:
        for size in (1, 16 << 10, 1 << 20):
            a = raw.ask("POST", CHAT, chat("x" * size))
            assert a.status == 200, a.body[:200]
        raw.request("POST", CHAT, chat(script("slow", seconds=0, count=3000), stream=True))
        assert raw.head().status == 200
        a = raw.rest()
        assert a.ending == "complete" and a.text == "".join(f"t{i} " for i in range(3000))


def test_a_refusal_reaches_who_still_sends_its_body(inside):
    """The answer is there before the body is: no reset overtakes it."""
    for _ in range(5):
        with TlsRaw(inside, inside.assistant) as raw:
            raw.request("POST", "/v1/nowhere", "y" * (8 << 20), {"Content-Type": "application/json"})
            assert raw.head().status == 404
            assert raw.rest().ending == "complete"


def test_who_does_not_read_holds_nobody_up_and_loses_nothing(stack):
    stack.engine()
    stack.gateway(**prepare(stack))
    stack.worker()
    stack.wait_ready()
    with TlsRaw(stack, stack.assistant, receive_buffer=4096) as late:
        late.request("POST", CHAT, chat(script("slow", seconds=0, count=4000), stream=True))
        assert late.head().status == 200
        assert ask(stack, stack.nightly).status == 200
        a = late.rest()
        assert a.ending == "complete" and a.text == "".join(f"t{i} " for i in range(4000))


def test_who_leaves_is_noticed(stack):
    stack.engine()
    gateway = stack.gateway(**prepare(stack))
    stack.worker()
    stack.wait_ready()
    leaver = TlsRaw(stack, stack.assistant)
    leaver.request("POST", CHAT, chat(script("slow", seconds=0.2, count=200), stream=True))
    assert leaver.head().status == 200
    leaver.until(b"t0")
    leaver.reset()
    wait_for(lambda: gateway.status["calls"] == 0, "the call is over")
    wait_for(lambda: gateway.metric("cocoon_internal_connections") == 0, "no connection is left")
    assert ask(stack, stack.assistant).status == 200


def test_who_never_reads_is_let_go(stack):
    """The server has given it up: what still waits for the client's socket does not keep the connection."""
    stack.engine().script("bulk", bulk)
    gateway = stack.gateway(**prepare(stack), **{"timeouts.stalled_ms": 600, "server.idle_s": 2})
    stack.worker()
    stack.wait_ready()
    with TlsRaw(stack, stack.assistant, receive_buffer=4096) as stalled:
        stalled.request("POST", CHAT, chat(script("bulk", events=1000, size=16384), stream=True))
        wait_for(lambda: gateway.status["calls"] == 1, "it runs")
        wait_for(lambda: gateway.status["calls"] == 0, "the call is given up", 20)
        wait_for(lambda: gateway.metric("cocoon_internal_connections") == 0, "and so is the connection", 30)
    assert ask(stack, stack.assistant).status == 200


def test_connections_above_the_limit_are_told_so(stack):
    gateway = stack.gateway(**prepare(stack), **{"internal.connections": 1})
    with TlsRaw(stack, stack.assistant) as first:
        assert first.ask("GET", MODELS).status == 200
        a = ask(stack, stack.nightly, "GET", MODELS)
        assert a.status == 503 and a.error["code"] == "overloaded"
        assert first.ask("GET", MODELS).status == 200
    assert gateway.metric("cocoon_internal_connections_refused_total") == 1
    wait_for(lambda: ask(stack, stack.nightly, "GET", MODELS).status == 200, "there is room again")


def test_strangers_leave_room_for_services(stack):
    """Neither who never begins its handshake, nor who has another's certificate, takes a service's place."""
    gateway = stack.gateway(**prepare(stack), **{"internal.connections": 1})
    crowd = [Raw(stack.internal, key="") for _ in range(200)]
    crowd.append(TlsRaw(stack, stack.ca.issue("other", ["DNS:other.internal"])))
    try:
        assert ask(stack, stack.assistant, "GET", MODELS).status == 200
        assert gateway.metric("cocoon_internal_handshakes_refused_total") > 0
        a = crowd[-1].ask("GET", MODELS)
        refused(a, 403, None)
        assert a.header("connection") == "close"
    finally:
        for raw in crowd:
            raw.close()


def test_a_reload_brings_other_certificates_and_keeps_whole(stack):
    stack.engine()
    gateway = stack.gateway(**prepare(stack))
    next_ca = Authority(stack.folder, "next")
    renewed = next_ca.issue("assistant-next", [ASSISTANT])
    no_good(stack, renewed)
    with TlsRaw(stack, stack.nightly) as kept:
        assert kept.ask("GET", MODELS).status == 200
        before = gateway.log_text.count("event=reload_refused")
        gateway.reload(**{"internal.tls.client_ca": "/nowhere.pem"})
        wait_for(lambda: gateway.log_text.count("event=reload_refused") > before, "it is refused")
        assert ask(stack, stack.assistant, "GET", MODELS).status == 200
        gateway.reload(**{"internal.tls.client_ca": next_ca.path})
        gateway.wait_log("event=reloaded")
        assert ask(stack, renewed, "GET", MODELS).status == 200
        no_good(stack, stack.assistant)
        assert kept.ask("GET", MODELS).status == 200  # until it closes, or is taken off the list
        gateway.reload(**{"internal.services": services(stack)[:1]})
        wait_for(lambda: kept.ask("GET", MODELS).status == 403, "who was taken off the list is refused")


def test_an_upgrade_and_the_end_cut_nobody_off(stack):
    stack.engine()
    gateway = stack.gateway(**prepare(stack), **{"timeouts.drain_ms": 20000})
    stack.worker()
    stack.wait_ready()
    with TlsRaw(stack, stack.assistant) as stream:
        stream.request("POST", CHAT, chat(script("slow", seconds=0.1, count=20), stream=True))
        assert stream.head().status == 200
        stream.until(b"t0")
        successor = upgrade(gateway, gateway.pid, 1)
        try:
            assert ask(stack, stack.assistant).status == 200
            a = stream.rest()
            assert a.ending == "complete" and a.text == "".join(f"t{i} " for i in range(20))
            assert gateway.wait(15) == 0
            with TlsRaw(stack, stack.assistant) as last:
                last.request("POST", CHAT, chat(script("slow", seconds=0.1, count=10), stream=True))
                assert last.head().status == 200
                last.until(b"t0")
                os.kill(successor.pid, 15)
                assert last.rest().ending == "complete"
        finally:
            successor.end()


def test_what_is_missing_of_the_certificates_does_not_start(stack):
    settings = prepare(stack)
    for i, change in enumerate(({"chain": ""}, {"key": stack.assistant[1]}, {"client_ca": ""}, {"client_ca": stack.files["assistant"]},
                                {"listen": f"unix:{stack.folder}/x.sock"})):
        gateway = stack.gateway(f"g{i}", start=False, **{**settings, "internal.tls": {**settings["internal.tls"], **change}})
        gateway.write_config()
        Process.start(gateway)
        assert gateway.wait() in (1, 2) and "internal.tls" in gateway.log_text, change
