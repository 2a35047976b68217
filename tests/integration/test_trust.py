"""What a gateway judges workers by: the signed policy, collateral of its own or the worker's, what callers demand on top, and what
happens to workers when any of it changes. Evidence is the dev issuer's."""

import base64
import http.server
import json
import os
import shutil
import threading
import urllib.parse

import pytest

pytest.importorskip("h2")
pytest.importorskip("cryptography")

from stack import Process, chat, script, wait_for  # noqa: E402
from test_devtee import DevTee, devtee, tee  # noqa: E402, F401
from test_end_to_end import Client, problem  # noqa: E402

CHAT = "/v1/chat/completions"


class Trusting:
    """A gateway with a dev policy, and workers with quotes of its issuer."""

    def __init__(self, stack, tee, start=True, **settings):  # noqa: F811
        self.stack, self.tee = stack, tee
        stack.engine()
        self.gateway = stack.gateway(start=start, **{
            "attestation": {"policy": tee.path("policy.json"), "release_keys": [self.release_key], "state": tee.path("gateway.state")},
            **{f"attestation.{k}": v for k, v in settings.items()}})

    @property
    def release_key(self):
        return self.tee.read("release.pub").decode().strip()

    def worker(self, **settings):
        return self.stack.worker(quote_provider="socket:" + self.tee.socket,
                                 **{"collateral_file": self.tee.path("collateral.json"), **settings})

    def ask(self, headers=(), text="Hi", **more):
        with self.stack.raw() as raw:
            return raw.ask("POST", CHAT, chat(text, **more), headers)

    def policy_again(self, sequence=None, seed=None, **changes):
        """A policy signed anew by the issuer: of a later second, or from another seed."""
        done = devtee("init", "--seed-file", seed or self.tee.seed, "--out", self.tee.folder, *[a for p in changes.items() for a in p])
        assert done.returncode == 0, done.stderr


@pytest.fixture
def trusting(stack, tee):  # noqa: F811
    return Trusting(stack, tee.start())


def refusal(gateway):
    return gateway.wait_log(r"event=worker_refused .*reason=(\S+)", 10).group(1)


def test_a_worker_with_good_evidence_serves_and_its_label_follows_from_the_root(trusting):
    trusting.worker()
    trusting.stack.wait_ready()
    answer = trusting.ask()
    assert answer.status == 200 and answer.header("cocoon-attestation") == "insecure-dev"
    status = Client(trusting.stack).get("/v1/confidential/status").json
    assert status["environment"] == "dev" and status["policy_sequence"] == json.loads(trusting.tee.read("policy.json"))["sequence"]
    assert trusting.gateway.metric("cocoon_policy_sequence") == status["policy_sequence"]
    assert trusting.gateway.metric("cocoon_collateral_expires_seconds") > 0 and trusting.gateway.metric("cocoon_collateral_ending") == 0
    assert Client(trusting.stack).chat().sealed.complete


@pytest.mark.parametrize("fault, reason", [("foreign_root", "ROOT_CA_UNTRUSTED"), ("revoked_leaf", "PCK_REVOKED"),
                                           ("qe_debug", "QE_DEBUG")])
def test_a_worker_with_bad_evidence_is_refused_and_told_why(stack, tee, fault, reason):  # noqa: F811
    t = Trusting(stack, tee)
    if fault == "revoked_leaf":
        done = devtee("collateral", "--seed-file", tee.seed, "--fault", fault)
        with open(tee.path("collateral.json"), "w") as f:
            f.write(done.stdout)
        tee.start()
    else:
        tee.start(fault)
    worker = t.worker()
    assert refusal(t.gateway) == reason == worker.wait_log(r"event=refused .*code=(\S+)", 10).group(1)
    assert not t.gateway.ready and t.ask().status == 503


def test_without_a_policy_no_evidence_is_good_enough(stack, tee):  # noqa: F811
    t = Trusting(stack, tee.start(), policy="")
    t.worker()
    assert refusal(t.gateway) == "POLICY_MISSING"
    assert Client(stack).get("/v1/confidential/status").json["environment"] == "production"


def test_a_worker_without_evidence_is_taken_only_where_that_is_set_and_never_end_to_end(stack, tee):  # noqa: F811
    t = Trusting(stack, tee.start(), accept_unattested=True)
    stack.worker(quote_provider="none")
    stack.wait_ready()
    answer = t.ask()
    assert answer.status == 200 and answer.header("cocoon-attestation") == "unattested"
    assert Client(stack).workers() == []
    t.gateway.reload(**{"attestation.accept_unattested": False})
    assert refusal(t.gateway) == "UNATTESTED_REFUSED"


def test_a_policy_that_no_longer_fits_drains_its_workers_and_tells_them(trusting):
    worker = trusting.worker()
    trusting.stack.wait_ready()
    with trusting.stack.raw() as raw:
        raw.request("POST", CHAT, chat(script("slow", events=20, delay=0.1), stream=True))
        assert raw.head().status == 200
        raw.piece()
        done = devtee("init", "--seed-file", trusting.tee.seed, "--out", trusting.tee.folder, "--model-digest", "sha256:" + "7" * 64)
        assert done.returncode == 0, done.stderr
        trusting.gateway.signal(1)
        assert refusal(trusting.gateway) == "POLICY_MODEL" == worker.wait_log(r"event=refused .*code=(\S+)", 10).group(1)
        assert trusting.ask().status == 503
        assert raw.rest().ending == "complete" and raw.answer.events[-1] == b"[DONE]"


def test_a_policy_that_still_fits_changes_nothing(trusting):
    trusting.worker()
    trusting.stack.wait_ready()
    before = trusting.gateway.status["workers"][0]["iid"]
    trusting.policy_again()
    trusting.gateway.signal(1)
    trusting.gateway.wait_log("event=reloaded")
    assert trusting.ask().status == 200 and trusting.gateway.status["workers"][0]["iid"] == before


def test_after_a_hangup_evidence_is_asked_for_with_a_fresh_nonce_too(trusting):
    trusting.worker()
    trusting.stack.wait_ready()

    def shown():
        return Client(trusting.stack).workers()[0]["attestation_sha256"]
    before = shown()
    trusting.gateway.signal(1)
    wait_for(lambda: shown() != before, "another document", 20)
    assert trusting.ask().status == 200


@pytest.mark.parametrize("spoil", ["signature", "key", "json", "missing"])
def test_a_policy_that_cannot_be_trusted_is_not_loaded_and_the_old_one_stays(trusting, spoil):
    trusting.worker()
    trusting.stack.wait_ready()
    path = trusting.tee.path("policy.json")
    more = {}
    if spoil == "signature":
        with open(path, "a") as f:
            f.write("\n")
    elif spoil == "key":
        more = {"attestation.release_keys": ["0" * 64]}
    elif spoil == "json":
        with open(path, "w") as f:
            f.write("{}")
    else:
        os.unlink(path)
    trusting.gateway.reload(**more)
    trusting.gateway.wait_log("event=reload_refused")
    assert trusting.ask().status == 200


def test_an_older_policy_is_refused_also_after_a_restart(stack, tee):  # noqa: F811
    old = tee.path("old")
    os.makedirs(old)
    for name in ("policy.json", "policy.json.sig"):
        shutil.copy(tee.path(name), old)
    first = json.loads(tee.read("policy.json"))["sequence"]

    def newer():
        assert devtee("init", "--seed-file", tee.seed, "--out", tee.folder).returncode == 0
        return json.loads(tee.read("policy.json"))["sequence"] > first
    wait_for(newer, "a later second", step=0.2)
    t = Trusting(stack, tee)
    state = json.loads(tee.read("gateway.state"))
    assert state["sequence"] > first and state["floor"]["qe"] == 0
    for name in ("policy.json", "policy.json.sig"):
        shutil.copy(os.path.join(old, name), tee.path(name))
    t.gateway.signal(1)
    t.gateway.wait_log("event=reload_refused .*sequence")
    t.gateway.stop()
    Process.start(t.gateway)
    assert t.gateway.wait() != 0 and "event=policy_refused" in t.gateway.log_text


# ---- Demands of callers --------------------------------------------------------------------------------

def test_a_caller_may_demand_more_and_is_told_what_is_missing(trusting):
    trusting.worker()
    trusting.stack.wait_ready()
    for demand, part in (("tee=tdx", "tee"), ("gpu=nvidia-cc", "gpu"), ("measurement=" + "0" * 96, "measurement")):
        answer = trusting.ask({"Cocoon-Require": demand})
        assert (answer.status, answer.error["code"]) == (503, "no_attested_worker") and f"right {part}." in answer.error["message"]
        assert "right " + part in problem(Client(trusting.stack).chat(headers={"Cocoon-Require": demand}), 503,
                                          "no_attested_worker")["detail"]
    assert trusting.ask({"Cocoon-Require": "tcb=up-to-date"}).status == 200
    mrtd = json.loads(trusting.tee.read("policy.json"))["measurements"][0]["mrtd"]
    assert trusting.ask({"Cocoon-Require": f"tcb=up-to-date, measurement={mrtd}"}).status == 200
    for wrong in ("tee", "tee=sgx", "x=y", "tee=tdx,", "measurement=00"):
        assert trusting.ask({"Cocoon-Require": wrong}).error["code"] == "invalid_header"


def test_a_key_may_demand_more_for_all_its_requests(trusting):
    trusting.worker()
    trusting.stack.wait_ready()
    stack = trusting.stack
    for args, status in ((["--require", "tcb=up-to-date"], 200), (["--require", "tee=tdx"], 503)):
        key = stack.key(*args)
        with stack.raw(key=key) as raw:
            assert raw.ask("POST", CHAT, chat("Hi")).status == status
            assert raw.ask("POST", CHAT, chat("Hi"), {"Cocoon-Require": "gpu=nvidia-cc"}).error["code"] == "no_attested_worker"
        assert Client(stack, key=key).chat().status == status
    done = stack.ctl("keys", "create", "--require", "tee=best", check=False)
    assert done.returncode != 0 and "--require" in done.stderr


# ---- Collateral ----------------------------------------------------------------------------------------

class Service:
    """Intel's certification service, as far as the gateway asks it, with the dev issuer's collateral."""

    def __init__(self, tee):  # noqa: F811
        self.c = json.loads(tee.read("collateral.json"))
        self.asked, self.broken = [], False
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, h):
        self.asked.append(h.path)
        c, quote = self.c, urllib.parse.quote
        path = h.path.split("?")[0]
        header = None
        if self.broken:
            body = None
        elif path == "/tdx/certification/v4/tcb":
            body = ('{"tcbInfo":%s,"signature":"%s"}' % (c["tcb_info"], c["tcb_info_signature"])).encode()
            header = ("TCB-Info-Issuer-Chain", quote(c["tcb_info_issuer_chain"], safe="+/="))
        elif path == "/tdx/certification/v4/qe/identity":
            body = ('{"enclaveIdentity":%s,"signature":"%s"}' % (c["qe_identity"], c["qe_identity_signature"])).encode()
            header = ("SGX-Enclave-Identity-Issuer-Chain", quote(c["qe_identity_issuer_chain"], safe="+/="))
        elif path == "/sgx/certification/v4/pckcrl":
            body, header = base64.b64decode(c["pck_crl"]), ("SGX-PCK-CRL-Issuer-Chain", quote(c["pck_crl_issuer_chain"], safe="+/="))
        elif path == "/root.der":
            body = base64.b64decode(c["root_ca_crl"])
        else:
            body = None
        h.send_response(200 if body is not None else 404)
        if header:
            h.send_header(*header)
        h.send_header("Content-Length", str(len(body or b"")))
        h.end_headers()
        h.wfile.write(body or b"")

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def service(tee):  # noqa: F811
    s = Service(tee)
    yield s
    s.stop()


def test_collateral_is_fetched_once_for_all_workers_of_a_platform_and_kept_on_disk(stack, tee, service):  # noqa: F811
    os.makedirs(tee.path("cache"))
    t = Trusting(stack, tee.start(), collateral_url=service.url, root_crl_url=service.url + "/root.der", collateral_cache=tee.path("cache"))
    workers = [t.worker(collateral_file="") for _ in range(3)]
    stack.wait_ready()
    assert len(workers) == 3 and t.gateway.accepting == 3
    assert sorted(a.split("?")[0] for a in service.asked) == ["/root.der", "/sgx/certification/v4/pckcrl", "/tdx/certification/v4/qe/identity",
                                                              "/tdx/certification/v4/tcb"]
    assert any(a.endswith("fmspc=00dec0de0000") for a in service.asked) and any("ca=platform" in a for a in service.asked)
    kept = [n for n in os.listdir(tee.path("cache")) if n.endswith(".json")]
    assert kept == ["00dec0de0000-p.json"]
    state = json.loads(tee.read("gateway.state"))
    assert state["floor"] == {"tcb": {"00dec0de0000": 18}, "qe": 18}
    # Without the service, what is on disk does.
    service.broken = True
    t.gateway.stop()
    t.gateway.start()
    stack.wait_ready()
    assert t.ask().status == 200


def test_where_the_service_is_away_what_the_worker_brings_does(stack, tee, service):  # noqa: F811
    service.broken = True
    t = Trusting(stack, tee.start(), collateral_url=service.url, root_crl_url=service.url + "/root.der")
    t.worker()
    stack.wait_ready()
    assert t.ask().status == 200
    assert json.loads(tee.read("gateway.state"))["floor"] == {"tcb": {}, "qe": 0}


def test_without_any_collateral_a_worker_is_refused(stack, tee, service):  # noqa: F811
    service.broken = True
    t = Trusting(stack, tee.start(), collateral_url=service.url, root_crl_url=service.url + "/root.der")
    t.worker(collateral_file="")
    assert refusal(t.gateway) == "COLLATERAL_MISSING"


@pytest.mark.parametrize("form", ["object", "list"])
def test_a_bundle_file_does_where_there_is_no_network(stack, tee, form):  # noqa: F811
    path = tee.path("bundle.json")
    with open(path, "w") as f:
        one = json.loads(tee.read("collateral.json"))
        json.dump(one if form == "object" else {"bundle": [one]}, f)
    t = Trusting(stack, tee.start(), collateral_bundle=path)
    t.worker(collateral_file="")
    stack.wait_ready()
    assert t.ask().status == 200
