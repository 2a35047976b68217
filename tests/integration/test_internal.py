"""Services on the internal listener: who is at the other end of the socket says who pays, whatever the request says."""

import contextlib
import os
import socket
import stat

import httpx
import openai
import pytest

from conftest import live_stack
from purse import Purse, Till
from raw import Raw
from stack import Process, chat, wait_for
from test_listen_fds import hand_over
from test_services import issuers, token
from test_telegram import refused, secret_file
from test_upgrade import upgrade

CHAT, MODELS, BALANCE = "/v1/chat/completions", "/v1/models", "/v1/billing/balance"
OWN, ASSISTANT, NIGHTLY, MISFILED, STRANGER = os.geteuid(), 4201, 4202, 4203, 4204

pytestmark = pytest.mark.skipif(OWN != 0, reason="takes other users' part, as root may")


@contextlib.contextmanager
def as_user(uid):
    """SO_PEERCRED tells whose process it was at connect(2)."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(OWN)


def connect(stack, uid, path=None):
    with as_user(uid):
        return Raw(path or stack.internal, key="")


def ask(stack, uid, method="POST", path=CHAT, body=None, headers=()):
    with connect(stack, uid) as raw:
        return raw.ask(method, path, body if body is not None or method == "GET" else chat(), headers)


def services(stack):
    return [{"uid": ASSISTANT, "account": "assistant", "key_file": stack.files["assistant"], "class": "internal"},
            {"uid": NIGHTLY, "account": "nightly", "key_file": stack.files["nightly"]},
            {"uid": MISFILED, "account": "assistant", "key_file": stack.files["nightly"]}]


def prepare(stack, keys=None):
    """Two accounts with a key each, in files, and a socket in a folder that everybody may look for it in."""
    os.chmod(stack.folder, 0o711)
    stack.keys = keys or {name: stack.key("--account", name) for name in ("assistant", "nightly")}
    stack.files = {name: secret_file(stack, f"payer-{name}.key", key) for name, key in stack.keys.items()}
    stack.internal = f"{stack.folder}/internal.sock"
    return {"internal.listen": "unix:" + stack.internal, "internal.services": services(stack)}


@pytest.fixture(scope="module")
def inside():
    for stack in live_stack("inside"):
        purse = Purse(stack)
        settings = prepare(stack, {name: purse.key(purse.account(name)) for name in ("assistant", "nightly")})
        stack.till = Till(stack, **settings, **{"service_tokens.issuers": issuers(stack, stack.keys["nightly"])})
        yield stack
        stack.till.worker.close()


def test_the_user_of_the_peer_says_which_account_pays(inside):
    purse = inside.till.purse
    for uid, account, other in ((ASSISTANT, "assistant", "nightly"), (NIGHTLY, "nightly", "assistant")):
        before, untouched = purse.charged(account), purse.charged(other)
        a = ask(inside, uid)
        assert a.status == 200 and int(a.header("cocoon-cost-nano")) > 0, a.body
        assert purse.charged(account) == before + int(a.header("cocoon-cost-nano")) and purse.charged(other) == untouched
    assert ask(inside, NIGHTLY, "GET", MODELS).status == 200


def test_who_is_not_listed_is_refused_whatever_it_brings(inside):
    for uid in (STRANGER, OWN):
        for headers in ({}, {"Authorization": f"Bearer {inside.keys['assistant']}"}, {"x-api-key": inside.till.key},
                        {"Authorization": f"Bearer {token()}"}):
            a = ask(inside, uid, headers=headers)
            refused(a, 403, None)
            assert a.error["type"] == "invalid_request_error" and a.header("cocoon-call")
        assert ask(inside, uid, "GET", "/v1/prices").status == 403  # nor what anybody may read elsewhere
    assert inside.till.gateway.metric("cocoon_internal_refused_total") >= 10


def test_a_key_or_token_in_the_request_is_not_looked_at(inside):
    purse = inside.till.purse
    for headers in ({"Authorization": f"Bearer {inside.keys['assistant']}"}, {"x-api-key": inside.keys["assistant"]},
                    {"Authorization": "Bearer unused"}, {"Authorization": f"Bearer {token(account='assistant')}"}):
        before, other = purse.charged("nightly"), purse.charged("assistant")
        a = ask(inside, NIGHTLY, headers=headers)
        assert a.status == 200, a.body
        assert purse.charged("nightly") == before + int(a.header("cocoon-cost-nano")) and purse.charged("assistant") == other
    # What the account has and does is its owner's to see, with the owner's own key too.
    for headers in ({}, {"Authorization": f"Bearer {inside.keys['nightly']}"}):
        refused(ask(inside, NIGHTLY, "GET", BALANCE, headers=headers), 403, "endpoint_not_allowed")


def test_a_key_that_is_not_of_the_account_pays_nothing(inside):
    before = inside.till.purse.charged("nightly")
    refused(ask(inside, MISFILED), 403, None)
    assert inside.till.purse.charged("nightly") == before


def test_what_a_proxy_passes_on_is_refused(inside):
    for header in ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"):
        refused(ask(inside, ASSISTANT, headers={header: "for=192.0.2.1"}), 403, None)


def test_the_public_listener_knows_no_such_caller(inside):
    """Neither by a header, nor by whose process it is, nor over a UNIX socket of its own."""
    with as_user(ASSISTANT):
        raw = inside.raw(key="")
    with raw:
        for headers in ({}, {"Cocoon-Account": "assistant"}, {"X-Client-Cert": "assistant"}, {"Client-Cert": ":AAAA:"},
                        {"X-SSL-Client-S-DN": "CN=assistant"}, {"Cocoon-Internal": "1"}):
            assert raw.ask("GET", MODELS, headers=headers).status == 401


def test_one_connection_carries_many_calls_and_streams(inside):
    with connect(inside, ASSISTANT) as raw:
        for _ in range(3):
            assert raw.ask("POST", CHAT, chat()).status == 200
        raw.request("POST", CHAT, chat(stream=True))
        assert raw.head().status == 200
        assert raw.rest().ending == "complete"


def test_the_openai_package_needs_no_key_of_its_own(inside):
    transport = httpx.HTTPTransport(uds=inside.internal)
    with httpx.Client(transport=transport) as http:
        client = openai.OpenAI(base_url="http://gateway/v1", api_key="none", http_client=http, max_retries=0)
        completions = client.chat.completions  # read from its files here: the other user may not see them
        with as_user(NIGHTLY):
            assert completions.create(**chat()).choices[0].message.content
            assert list(completions.create(**chat(stream=True)))


def test_the_log_says_which_service_called_and_no_key(inside):
    assert ask(inside, ASSISTANT).status == 200
    log = inside.till.gateway.log_text
    assert f"account=assistant uid={ASSISTANT}" in log
    assert not any(key in log for key in inside.keys.values())


def test_the_class_of_the_list_is_the_calls(stack):
    """All of the model's slots are kept for class internal; both keys are of class interactive."""
    stack.engine()
    stack.gateway(**prepare(stack), **{"scheduler.reserve_internal_percent": 100, "timeouts.queue_ms": 0})
    stack.worker()
    stack.wait_ready()
    assert ask(stack, ASSISTANT).status == 200
    refused(ask(stack, NIGHTLY), 503, "no_capacity")


def test_reloading_takes_the_list_as_a_whole_or_not_at_all(stack):
    stack.engine()
    gateway = stack.gateway(**prepare(stack))
    with connect(stack, NIGHTLY) as kept:
        assert kept.ask("GET", MODELS).status == 200
        for bad in ({"uid": ASSISTANT, "san": "a.example"}, {}, {"uid": ASSISTANT}, {"uid": 65534}, {"key_file": "/nowhere"}):
            before = gateway.log_text.count("event=reload_refused")
            broken = {"uid": 4300, "account": "assistant", "key_file": stack.files["assistant"], **bad}
            if not bad:
                del broken["uid"]
            gateway.reload(**{"internal.services": services(stack)[:1] + [broken]})
            wait_for(lambda: gateway.log_text.count("event=reload_refused") > before, f"{bad} is refused")
            assert kept.ask("GET", MODELS).status == 200
        assert stack.keys["assistant"] not in gateway.log_text
        gateway.reload(**{"internal.services": services(stack)[:1]})
        wait_for(lambda: kept.ask("GET", MODELS).status == 403, "who was taken off the list is refused, on a kept connection too")
    assert ask(stack, ASSISTANT, "GET", MODELS).status == 200


def test_what_would_not_be_safe_does_not_start(stack):
    path = f"unix:{stack.folder}/internal.sock"
    nobody = [{"uid": 65534, "account": "a", "key_file": "none"}]
    for i, settings in enumerate(({"internal.listen": "127.0.0.1:1"}, {"internal.listen": path, "listen": path},
                                  {"internal.listen": path, "admin": path},
                                  {"internal.listen": path, "internal.services": nobody})):
        gateway = stack.gateway(f"g{i}", start=False, **settings)
        gateway.write_config()
        Process.start(gateway)
        assert gateway.wait() in (1, 2) and "internal." in gateway.log_text, settings


def test_an_upgrade_hands_the_socket_over(stack):
    stack.engine()
    gateway = stack.gateway(**prepare(stack), **{"timeouts.drain_ms": 8000})
    stack.worker()
    stack.wait_ready()
    with connect(stack, NIGHTLY) as kept:
        assert kept.ask("GET", MODELS).status == 200
        successor = upgrade(gateway, gateway.pid, 1)
        try:
            assert gateway.wait(15) == 0
            assert ask(stack, ASSISTANT, "GET", MODELS).status == 200
            refused(ask(stack, STRANGER, "GET", MODELS), 403, None)
        finally:
            successor.end()


def test_an_upgrade_hands_over_every_socket_that_was_given(stack):
    stack.engine()
    settings = prepare(stack)
    paths = [stack.internal, stack.internal + ".second"]
    with contextlib.ExitStack() as ours:
        sockets = [ours.enter_context(socket.socket(socket.AF_UNIX)) for _ in paths]
        for s, path in zip(sockets, paths):
            s.bind(path)
            os.chmod(path, 0o666)
            s.listen()
        gateway = hand_over(stack.gateway(start=False, **settings), *sockets, names="internal:internal")
    stack.worker()
    stack.wait_ready()
    successor = upgrade(gateway, gateway.pid, 1)
    try:
        assert gateway.wait(15) == 0
        for path in paths:
            with connect(stack, ASSISTANT, path) as raw:
                assert raw.ask("GET", MODELS).status == 200
    finally:
        successor.end()


def test_an_upgrade_to_settings_without_it_closes_it(stack):
    stack.engine()
    gateway = stack.gateway(**prepare(stack))
    stack.worker()
    stack.wait_ready()
    del gateway.settings["internal"]
    gateway.write_config()
    successor = upgrade(gateway, gateway.pid, 1)
    try:
        assert gateway.wait(15) == 0
        with pytest.raises(ConnectionRefusedError):
            connect(stack, ASSISTANT)
    finally:
        successor.end()


def test_the_end_takes_the_socket_away(stack):
    gateway = stack.gateway(**prepare(stack))
    mode = os.stat(stack.internal).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o666  # everybody may knock: the kernel says who it is
    assert gateway.stop() == 0 and not os.path.exists(stack.internal)


def test_services_are_no_strangers(stack):
    """What strangers may ask so often a minute, a service that is known may ask as it needs."""
    gateway = stack.gateway(**prepare(stack), **{"limits.public_per_minute": 2})
    with connect(stack, ASSISTANT) as service, stack.raw(gateway) as stranger:
        assert [service.ask("GET", "/v1/gateways").status for _ in range(6)] == [200] * 6
        assert [stranger.ask("GET", "/v1/gateways").status for _ in range(4)].count(429) == 2


def test_public_crowds_leave_room_for_services(stack):
    stack.engine()
    stack.gateway(**prepare(stack), **{"limits.connections": 2})
    crowd = [stack.raw(key="") for _ in range(4)]
    try:
        assert ask(stack, ASSISTANT, "GET", MODELS).status == 200
    finally:
        for raw in crowd:
            raw.close()


def test_strangers_leave_room_for_services(stack):
    """They have few places, none of them a service's, and keep none once they are answered."""
    stack.engine()
    gateway = stack.gateway(**prepare(stack), **{"internal.connections": 1})
    crowd = [connect(stack, STRANGER) for _ in range(80)]
    try:
        wait_for(lambda: gateway.metric("cocoon_internal_connections_refused_total") > 0, "they are too many")
        assert ask(stack, ASSISTANT, "GET", MODELS).status == 200
        a = crowd[0].ask("GET", MODELS)
        refused(a, 403, None)
        assert a.header("connection") == "close" and crowd[0].socket.recv(1) == b""
    finally:
        for raw in crowd:
            raw.close()
