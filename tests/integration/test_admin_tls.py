"""The ledger's admin API for operators on other machines, who come with a certificate; and the group that may use its socket."""

import grp
import os
import shutil
import signal
import socket
import ssl
import stat

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs import DAY, Authority
from ledger_stack import Ledger, start_ledger
from stack import free_port, wait_for

ROLES = [{"san": "DNS:viewer.test", "role": "viewer"}, {"san": "DNS:alice.test", "role": "support"},
         {"san": "URI:spiffe://test/treasury", "role": "treasurer"}, {"san": "DNS:root.test", "role": "admin"}]


@pytest.fixture
def desk(stack):
    stack.authority = Authority(stack.folder)
    chain, key = stack.authority.issue("ledger", ["DNS:localhost"], usage=ExtendedKeyUsageOID.SERVER_AUTH)
    port = free_port()
    stack.ledger = start_ledger(stack, roles=ROLES, admin_tls={
        "listen": f"127.0.0.1:{port}", "chain": chain, "key": key, "client_ca": stack.authority.path})
    stack.https = f"https://localhost:{port}"
    return stack


def ask(desk, certificate, method, path, body=None):
    context = ssl.create_default_context(cafile=desk.authority.path)
    if certificate:
        context.load_cert_chain(*certificate)
    with httpx.Client(verify=context, timeout=30) as c:
        return c.request(method, desk.https + path, json=body).status_code


def test_each_certificate_may_what_its_name_s_role_may(desk):
    certificates = {n: desk.authority.issue(n, names) for n, names in {
        "viewer": ["DNS:viewer.test"], "alice": ["DNS:other.test", "DNS:alice.test"], "treasurer": ["URI:spiffe://test/treasury"],
        "root": ["DNS:root.test"], "stranger": ["DNS:stranger.test"], "nameless": []}.items()}
    tries = [("GET", "/v1/accounts", None), ("POST", "/v1/accounts", {"id": "x"}),
             ("POST", "/v1/credit", {"account": "x", "amount": "1", "id": "c"}), ("POST", "/v1/recover", {"without": "gw-9"})]
    may = {n: [ask(desk, certificates[n], *t) for t in tries] for n in ("alice", "treasurer", "viewer", "stranger", "nameless", "root")}
    assert may["alice"] == [200, 200, 403, 403]
    assert may["treasurer"] == [200, 403, 200, 403]
    assert may["viewer"] == [200, 403, 403, 403]
    assert may["stranger"] == may["nameless"] == [403] * 4
    assert may["root"][0] == may["root"][3] == 200
    assert [ask(desk, certificates[n], "GET", "/status.json") for n in ("viewer", "stranger", "nameless")] == [200, 404, 404]
    who = [(a["who"], a["role"]) for a in desk.ledger.good("GET", "/v1/audit")["data"]]
    assert ("DNS:alice.test", "support") in who and ("URI:spiffe://test/treasury", "treasurer") in who and ("DNS:root.test", "admin") in who


def test_nobody_joins_its_port(desk):
    """Part of the operators' connections would be the other's."""
    with socket.socket() as other:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            other.setsockopt(socket.SOL_SOCKET, option, 1)
        with pytest.raises(OSError, match="Address already in use"):
            other.bind(("127.0.0.1", int(desk.https.rpartition(":")[2])))


@pytest.mark.parametrize("issue", [
    lambda desk: Authority(desk.folder, "other").issue("theirs", ["DNS:root.test"]),  # of another CA
    lambda desk: desk.authority.issue("old", ["DNS:root.test"], begins=-2 * DAY, ends=-DAY),
    lambda desk: desk.authority.issue("server", ["DNS:root.test"], usage=ExtendedKeyUsageOID.SERVER_AUTH),
    lambda desk: None])
def test_who_has_no_good_certificate_is_not_heard(desk, issue):
    with pytest.raises(httpx.HTTPError):
        ask(desk, issue(desk), "POST", "/v1/accounts", {"id": "x"})
    assert desk.ledger.good("GET", "/v1/accounts")["data"] == []
    assert ask(desk, desk.authority.issue("root", ["DNS:root.test"]), "GET", "/v1/accounts") == 200


def test_certificates_that_were_renewed_count_after_a_reload_all_or_none(desk):
    """Of a new CA, in the files' places; with a key that is none nothing changes."""
    before = desk.authority, desk.authority.issue("root", ["DNS:root.test"])
    renewed = Authority(desk.folder, "next")
    after = renewed, renewed.issue("next-root", ["DNS:root.test"])
    mine, theirs = (renewed.issue("next-ledger", ["DNS:localhost"], usage=ExtendedKeyUsageOID.SERVER_AUTH), renewed.path), desk.ledger.settings["admin_tls"]

    def may(authority, certificate):
        desk.authority = authority
        return ask(desk, certificate, "GET", "/v1/accounts")

    said = lambda event: wait_for(lambda: f"event={event} " in desk.ledger.log_text, event)  # noqa: E731
    for file, name in (mine[0][0], "chain"), (mine[1], "client_ca"):
        shutil.copy(file, theirs["client_ca"] + ".new")
        os.replace(theirs["client_ca"] + ".new", theirs[name])
    desk.ledger.signal(signal.SIGHUP)
    said("reload_refused")
    before[0].path = before[0].write("before.pem", before[0].certificate.public_bytes(serialization.Encoding.PEM))
    assert may(*before) == 200
    with pytest.raises(httpx.HTTPError):
        may(*after)
    shutil.copy(mine[0][1], theirs["key"])
    desk.ledger.signal(signal.SIGHUP)
    said("reloaded")
    renewed.path = mine[1]
    assert may(*after) == 200
    with pytest.raises(httpx.HTTPError):
        may(*before)


def test_the_longest_names_are_told_apart_in_the_audit(stack):
    """Whole in the log, too, of those that have no role as of those that have one."""
    long = "URI:spiffe://test/" + "x" * (255 - len("spiffe://test/?"))
    stack.authority = Authority(stack.folder)
    chain, key = stack.authority.issue("ledger", ["DNS:localhost"], usage=ExtendedKeyUsageOID.SERVER_AUTH)
    port = free_port()
    stack.ledger = start_ledger(stack, roles=[{"san": long + end, "role": "admin"} for end in "ab"], admin_tls={
        "listen": f"127.0.0.1:{port}", "chain": chain, "key": key, "client_ca": stack.authority.path})
    stack.https = f"https://localhost:{port}"
    assert [ask(stack, stack.authority.issue(end, [long + end]), "POST", "/v1/accounts", {"id": end}) for end in "abc"] == [200, 200, 403]
    assert [a["who"] for a in stack.ledger.good("GET", "/v1/audit")["data"]] == [long + "b", long + "a"]
    assert f'who="{long}c"' in stack.ledger.log_text


def test_cocoonctl_comes_with_its_certificate(desk):
    cert, key = desk.authority.issue("alice", ["DNS:alice.test"])
    flags = ["--ledger", desk.https, "--ca", desk.authority.path, "--cert", cert, "--cert-key", key]
    desk.ctl("accounts", "create", "acme", *flags)
    assert "acme" in desk.ctl("accounts", "list", COCOON_LEDGER=desk.https, COCOON_LEDGER_CA=desk.authority.path,
                              COCOON_LEDGER_CERT=cert, COCOON_LEDGER_CERT_KEY=key).stdout
    done = desk.ctl("credit", "acme", "--ton", "1", "--id", "x", *flags, check=False)
    assert done.returncode == 1 and "role" in done.stderr
    done = desk.ctl("accounts", "list", "--ledger", desk.https, check=False)
    assert done.returncode == 2 and "--cert-key" in done.stderr
    done = desk.ctl("accounts", "list", *flags[:2], *flags[4:], check=False)  # the system's CAs do not know this one
    assert done.returncode == 1 and "certificate" in done.stderr
    entry = desk.ledger.good("GET", "/v1/audit")["data"][0]
    assert (entry["action"], entry["who"], entry["role"]) == ("account.create", "DNS:alice.test", "support")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives the socket to another group")
def test_the_socket_is_its_group_s_at_every_start(stack):
    ledger = start_ledger(stack, admin_group="daemon")

    def shared():
        s = os.stat(ledger.where[5:])
        return stat.S_IMODE(s.st_mode), s.st_gid

    assert shared() == (0o660, grp.getgrnam("daemon").gr_gid)
    ledger.stop()
    ledger.start()
    ledger.wait_ready()
    assert shared() == (0o660, grp.getgrnam("daemon").gr_gid)


@pytest.mark.parametrize("settings, why", [
    ({"roles": [{"role": "admin"}]}, "user_or_san"), ({"roles": [{"user": "root", "san": "DNS:a.test", "role": "admin"}]}, "user_or_san"),
    ({"roles": [{"user": "no-such-user", "role": "admin"}]}, "no_such_user"), ({"admin_group": "no-such-group"}, "no_such_group"),
    ({"admin_tls": {"listen": "127.0.0.1:0"}}, "chain_key_or_client_ca")])
def test_settings_that_would_let_in_others_than_meant_start_no_ledger(stack, settings, why):
    ledger = Ledger(stack, **settings)
    with pytest.raises(AssertionError):
        stack.start(ledger).wait_ready()
    assert f"why={why}" in ledger.log_text
