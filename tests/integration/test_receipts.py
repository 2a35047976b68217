"""cocoon-client --save-receipts and cocoonctl receipts verify: what a user keeps of an answer proves it later, offline, and nothing else."""

import glob
import json
import os
import stat
import subprocess

import httpx
import openai
import pytest

pytest.importorskip("h2")
pytest.importorskip("cryptography")

from client_peer import Client  # noqa: E402
from stack import BIN, SLOW, script, wait_for  # noqa: E402
from test_client_e2e import World, user  # noqa: E402
from test_devtee import DevTee  # noqa: E402
from test_trust import Service  # noqa: E402


class Saving(World):
    def begin(self, **settings):
        super().begin(**settings)
        self.saved = os.path.join(self.folder, "saved")
        self.cocoon.stop()
        self.cocoon = Client(self.folder, f"http://{self.gateways[0].listen}", self.tee, "--save-receipts", self.saved, name="saving").start()
        return self

    def files(self, call):
        wait_for(lambda: os.path.isdir(os.path.join(self.saved, call)), "saved files")
        return sorted(glob.glob(os.path.join(self.saved, call, "*")))

    def path(self, name):
        return os.path.join(self.folder, name)

    def verify(self, *args):
        """Without a network: nothing of it may be asked for."""
        return subprocess.run([*offline(), os.path.join(BIN, "cocoonctl"), "receipts", "verify", "--policy", self.tee.path("policy.json"),
                               "--release-key", self.tee.read("release.pub").decode().strip(), *args], capture_output=True, text=True, timeout=20 * SLOW)

    def ask(self, text="Hi", **kw):
        with self.client().chat.completions.with_streaming_response.create(model="fake-model", messages=user(text), **kw) as answer:
            return answer.headers["cocoon-call"], answer.read().decode()


def offline():
    """What to put before a command that is to have no network: root needs no user namespace for it, which a chroot refuses."""
    argv = ["unshare", "-n" if os.getuid() == 0 else "-rn"]
    if subprocess.run([*argv, "true"], capture_output=True).returncode != 0:
        pytest.skip("this machine allows no network namespace")
    return argv


@pytest.fixture(scope="module")
def world():
    w = Saving("world")
    try:
        yield w.begin()
    finally:
        w.end()


def test_a_saved_answer_is_proven_offline(world):
    call, text = world.ask()
    files = world.files(call)
    assert [os.path.basename(f) for f in files] == ["answer.json", "attestation.json", "receipt.jws", "request.json", "usage.jws"]
    assert all(stat.S_IMODE(os.stat(f).st_mode) == 0o600 for f in files)
    done = world.verify(*files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout and call in done.stdout and "DEVELOPMENT evidence" in done.stdout
    assert "Not proven:" in done.stdout and "not attacked physically" in done.stdout
    with open(files[0]) as f:
        assert f.read() == text


def test_a_saved_stream_is_proven_as_json_says(world):
    call, _ = world.ask(stream=True, stream_options={"include_usage": True})
    files = world.files(call)
    assert os.path.basename(files[0]) == "answer.sse"
    done = world.verify("--json", *files)
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["verified"] is True
    kinds = {f["kind"]: f for f in told["files"]}
    assert set(kinds) == {"contents", "content receipt", "usage record", "attestation document"}
    assert kinds["content receipt"]["call"] == call and kinds["content receipt"]["environment"] == "insecure-dev"
    assert kinds["attestation document"]["reason"] == "OK" and any("answer" in s for s in told["proven"]) and told["not_proven"]


def test_a_changed_answer_or_another_calls_is_not_proven(world):
    one, _ = world.ask()
    two, _ = world.ask(script("answer", text="another"))
    files = world.files(one)
    others = world.files(two)
    with open(files[0], "rb") as f:
        answer = f.read()
    forged = world.path("forged.json")
    with open(forged, "wb") as f:
        f.write(answer.replace(b"Hello", b"Hallo"))
    assert world.verify(forged, *files[1:]).returncode == 1
    mixed = world.verify(others[0], *files[1:])
    assert mixed.returncode == 1 and "No receipt here names these bytes" in mixed.stdout
    assert world.verify(*files, *others).returncode == 0


def test_the_gateways_copy_of_the_record_is_taken_apart(world):
    call, _ = world.ask()
    url = f"{world.gateways[0].base_url}/billing/receipts/{call}"
    handed = world.path("handed.json")
    with open(handed, "wb") as f:
        f.write(httpx.get(url, headers={"Authorization": "Bearer " + world.key_for_all()}, trust_env=False).content)
    done = world.verify(handed, world.files(call)[1])
    assert done.returncode == 0 and "its content receipt is not here" in done.stdout


def test_what_is_missing_or_not_readable_is_said(world):
    call, _ = world.ask()
    files = world.files(call)
    lone = world.verify(files[2])
    assert lone.returncode == 1 and "No attestation document here holds the key" in lone.stdout
    assert world.verify(world.path("nowhere")).returncode == 1
    done = subprocess.run([os.path.join(BIN, "cocoonctl"), "receipts", "verify", *files], capture_output=True, text=True, timeout=20 * SLOW)
    assert done.returncode == 2 and "--policy" in done.stderr


def test_nothing_is_kept_unless_asked_for_and_a_folder_that_cannot_be_is_told(world):
    before = set(os.listdir(world.saved))
    plain = Client(world.folder, f"http://{world.gateways[0].listen}", world.tee, name="plain").start()
    try:
        assert plain.sdk(world.key_for_all()).chat.completions.create(model="fake-model", messages=user("Hi")).choices
    finally:
        plain.stop()
    assert set(os.listdir(world.saved)) == before
    done = Client(world.folder, "http://127.0.0.1:1", world.tee, "--save-receipts", world.path("no/such"), name="none").run()
    assert done.returncode == 1 and "no/such" in done.stderr


# ---- Collateral of the client's own ------------------------------------------------------------------

class Fetching(Saving):
    """Workers bring no collateral; gateway and client get it from a service."""

    def begin(self):
        self.tee = DevTee(self.folder)
        self.tee.start()
        self.service = Service(self.tee)
        self.engine(models=["fake-model"])
        gateway = self.gateway(**{"attestation.policy": self.tee.path("policy.json"), "attestation.release_keys": [self.tee.read("release.pub").decode().strip()],
                                  "attestation.collateral_url": self.service.url, "attestation.root_crl_url": self.service.url + "/root.der"})
        self.worker(quote_provider="socket:" + self.tee.socket, collateral_file="")
        self.wait_ready()
        self.saved = os.path.join(self.folder, "saved")
        self.url, self.clients = f"http://{gateway.listen}", []
        return self

    def fetched(self, name):
        """A client that asks the service."""
        return self.start_client(name, f"collateral_url: {self.service.url}\nroot_crl_url: {self.service.url}/root.der\ncollateral_cache: {self.folder}\n"
                                 f"save_receipts: {self.saved}\n")

    def start_client(self, name, settings):
        self.cocoon = Client(self.folder, self.url, self.tee, name=name, settings=settings).start()
        self.clients.append(self.cocoon)
        return self.cocoon

    def answer(self, cocoon):
        return cocoon.sdk(self.key_for_all()).chat.completions.with_raw_response.create(model="fake-model", messages=user("Hi"))

    def end(self):
        for c in self.clients:
            c.stop()
        self.cocoon = None
        super().end()
        self.service.stop()


@pytest.fixture
def fetching():
    w = Fetching("fetching")
    try:
        yield w.begin()
    finally:
        w.end()


def test_a_client_fetches_collateral_keeps_the_floor_and_takes_nothing_older(fetching):
    world = fetching
    call = world.answer(world.fetched("one")).headers["cocoon-call"]
    with open(world.cocoon.key_file + ".trust") as f:
        assert json.load(f)["floor"] == {"tcb": {"00dec0de0000": 18}, "qe": 18}
    assert os.path.exists(world.path("00dec0de0000-p.json"))
    # The document brings none, so what was fetched is saved beside it.
    files = world.files(call)
    assert [os.path.basename(f) for f in files] == ["answer.json", "attestation.json", "collateral.json", "receipt.jws", "request.json", "usage.jws"]
    assert world.verify(*files).returncode == 0
    without = world.verify(*[f for f in files if not f.endswith("collateral.json")])
    assert without.returncode == 1 and "COLLATERAL_MISSING" in without.stdout
    # A newer number seen once is the least from then on, also after a restart.
    world.cocoon.stop()
    with open(world.cocoon.key_file + ".trust", "w") as f:
        json.dump({"sequence": 1, "floor": {"tcb": {"00dec0de0000": 19}, "qe": 18}}, f)
    with pytest.raises(openai.APIStatusError) as e:
        world.answer(world.fetched("one"))
    assert "TCB_EVAL_DATA_NUMBER_TOO_LOW" in str(e.value)


def test_a_client_without_a_service_needs_what_is_stapled_or_a_bundle(fetching):
    world = fetching
    with pytest.raises(openai.APIStatusError) as e:
        world.answer(world.start_client("none", "strict: false\n"))
    assert "COLLATERAL_MISSING" in str(e.value)
    bundle = world.start_client("bundle", f"collateral_bundle: {world.tee.path('collateral.json')}\n")
    assert world.answer(bundle).parse().choices
    with open(bundle.key_file + ".trust") as f:
        assert json.load(f)["floor"] == {"tcb": {}, "qe": 0}
    done = Client(world.folder, world.url, world.tee, name="bad", settings="collateral_bundle: /dev/null\n").run()
    assert done.returncode == 1 and "/dev/null" in done.stderr
