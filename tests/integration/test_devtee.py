"""cocoon-devtee, and the worker's evidence with it: what is issued verifies by a reading of its own, and is bound to keys and nonce."""

import base64
import hashlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time

import pytest

pytest.importorskip("h2")
pytest.importorskip("cryptography")

from cryptography import x509  # noqa: E402
from cryptography.exceptions import InvalidSignature  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils  # noqa: E402
from cryptography.hazmat.primitives.hashes import SHA256  # noqa: E402

from test_worker_wire import BIN, SLOW, Worker, World, chat, wait_for  # noqa: E402

NONCE = "5a" * 32
NOBODY = 65534


def devtee(*args):
    return subprocess.run([os.path.join(BIN, "cocoon-devtee"), *args], capture_output=True, text=True, timeout=30 * SLOW)


class DevTee:
    """An issuer's folder, and its socket while it serves."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, "devtee")
        os.makedirs(self.folder, exist_ok=True)
        self.seed, self.socket, self.process = self.path("seed"), self.path("s"), None
        done = devtee("init", "--seed-file", self.seed, "--out", self.folder)
        assert done.returncode == 0, done.stderr

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def start(self, *faults):
        args = [a for f in faults for a in ("--fault", f)]
        self.process = subprocess.Popen([os.path.join(BIN, "cocoon-devtee"), "serve", "--seed-file", self.seed, "--socket", self.socket,
                                         *args], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.answers)
        return self

    def answers(self):
        assert self.process.poll() is None
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.socket) == 0

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(10)


@pytest.fixture
def tee():
    with tempfile.TemporaryDirectory(prefix="cocoon-") as folder:
        t = DevTee(folder)
        yield t
        t.stop()


@pytest.fixture
def world(tee):
    with tempfile.TemporaryDirectory(prefix="cocoon-") as folder:
        w = World(folder)
        try:
            yield w
        finally:
            w.stop()


def raw_verify(xy, signature, message):
    """ECDSA on P-256 over raw numbers."""
    key = ec.EllipticCurvePublicNumbers(int.from_bytes(xy[:32], "big"), int.from_bytes(xy[32:], "big"), ec.SECP256R1()).public_key()
    der = utils.encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    key.verify(der, message, ec.ECDSA(SHA256()))


def xy_of(certificate):
    n = certificate.public_key().public_numbers()
    return n.x.to_bytes(32, "big") + n.y.to_bytes(32, "big")


def check_quote(q, root):
    """Every signature of a v4 quote up to the root; its report data."""
    assert struct.unpack_from("<HHI", q) == (4, 2, 0x81)
    ak, qe = q[700:764], q[770:1154]
    raw_verify(ak, q[636:700], q[:632])
    n, = struct.unpack_from("<H", q, 1218)
    assert qe[320:352] == hashlib.sha256(ak + q[1220:1220 + n]).digest() and qe[352:384] == bytes(32)
    leaf, ca, top = x509.load_pem_x509_certificates(q[1226 + n:].rstrip(b"\0"))
    raw_verify(xy_of(leaf), q[1154:1218], qe)
    for certificate, issuer in ((leaf, ca), (ca, top), (top, top)):
        certificate.verify_directly_issued_by(issuer)
    assert top == root
    return q[568:632]


def ask_quote(tee, report_data):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(tee.socket)
        s.sendall(report_data)
        f = s.makefile("rb")
        return f.read(struct.unpack(">I", f.read(4))[0])


# ---- The issuer ------------------------------------------------------------------------------------

def test_what_is_issued_verifies_by_another_reading(tee):
    root = x509.load_pem_x509_certificate(tee.read("root.pem"))
    assert "O=INSECURE DEV" in root.subject.rfc4514_string()
    tee.start()
    data = os.urandom(64)
    assert check_quote(ask_quote(tee, data), root) == data
    c = json.loads(tee.read("collateral.json"))
    for name, chain in (("tcb_info", "tcb_info_issuer_chain"), ("qe_identity", "qe_identity_issuer_chain")):
        signer, top = x509.load_pem_x509_certificates(c[chain].encode())
        signer.verify_directly_issued_by(root)
        assert top == root
        raw_verify(xy_of(signer), bytes.fromhex(c[name + "_signature"]), c[name].encode())
    ca = x509.load_pem_x509_certificates(c["pck_crl_issuer_chain"].encode())[0]
    assert x509.load_der_x509_crl(base64.b64decode(c["pck_crl"])).is_signature_valid(ca.public_key())
    assert x509.load_der_x509_crl(base64.b64decode(c["root_ca_crl"])).is_signature_valid(root.public_key())


def test_the_policy_is_signed_names_the_root_and_the_measurement(tee):
    text, sig = tee.read("policy.json"), tee.read("policy.json.sig").split()
    key = bytes.fromhex(tee.read("release.pub").decode())
    unb64 = lambda b: base64.urlsafe_b64decode(b + b"=" * (-len(b) % 4))  # noqa: E731
    assert unb64(sig[0]) == hashlib.sha256(key).digest()[:16]
    ed25519.Ed25519PublicKey.from_public_bytes(key).verify(unb64(sig[1]), b"cgw/policy/v1\0" + text)
    policy = json.loads(text)
    assert policy["environment"] == "dev" and os.path.samefile(policy["insecure_dev_root"], tee.path("root.pem"))
    tee.start()
    assert policy["measurements"][0]["mrtd"] == ask_quote(tee, bytes(64))[184:232].hex()


def test_the_event_log_leads_to_the_quotes_registers(tee):
    log, at, registers = tee.read("event_log.bin"), 0, {n: bytes(48) for n in range(4)}
    at = 32 + struct.unpack_from("<I", log, 28)[0]
    while at < len(log):
        register, _, count, algorithm = struct.unpack_from("<IIIH", log, at)
        size, = struct.unpack_from("<I", log, at + 62)
        digest, event = log[at + 14:at + 62], log[at + 66:at + 66 + size]
        assert count == 1 and algorithm == 12 and digest == hashlib.sha384(event).digest()
        registers[register - 1] = hashlib.sha384(registers[register - 1] + digest).digest()
        at += 66 + size
    tee.start()
    assert b"".join(registers.values()) == ask_quote(tee, bytes(64))[376:568]


def test_init_again_keeps_the_seed_and_so_the_root(tee):
    before = tee.read("root.pem"), tee.read("seed")
    assert devtee("init", "--seed-file", tee.seed, "--out", tee.folder).returncode == 0
    assert (tee.read("root.pem"), tee.read("seed")) == before
    assert os.stat(tee.seed).st_mode & 0o777 == 0o600


def test_faults_are_listed_and_break_what_they_name(tee):
    listed = devtee("--list-faults").stdout
    assert re.search(r"^invalid_quote_signature +QUOTE_SIGNATURE_INVALID ", listed, re.M) and len(listed.splitlines()) > 100
    root = x509.load_pem_x509_certificate(tee.read("root.pem"))
    tee.start("invalid_quote_signature")
    with pytest.raises(InvalidSignature):
        check_quote(ask_quote(tee, bytes(64)), root)


@pytest.mark.parametrize("args, code, said", [
    ((), 2, "one command is needed"),
    (("fly", "--seed-file", "x"), 2, "no such command: fly"),
    (("init",), 2, "--seed-file"),
    (("serve", "--seed-file", "x"), 2, "--socket"),
    (("quote", "--seed-file", "x", "--fault", "gravity"), 2, "no such fault"),
    (("init", "--seed-file", "x", "--out", "/", "--config-sha256", "1"), 2, "64 hex digits"),
    (("serve", "--seed-file", "/nonexistent", "--socket", "x"), 1, "/nonexistent"),
])
def test_a_wrong_call_is_told(args, code, said):
    done = devtee(*args)
    assert done.returncode == code and said in done.stderr and done.stdout == ""


def test_help_and_version_are_there():
    assert "Insecure by design" in devtee("--help").stdout
    assert re.match(r"cocoon-devtee \d", devtee("--version").stdout)


# ---- The worker's evidence -------------------------------------------------------------------------

def ask_document(tunnel, nonce=NONCE):
    answer = tunnel.get(f"/v1/attestation?nonce={nonce}")
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/vnd.cgw.attestation+json"
    return answer.json()


def report_data(document):
    digest = lambda name: hashlib.sha256(base64.b64decode(document[name])).digest()  # noqa: E731
    return hashlib.sha256(b"cgw/report-data/v1\0" + bytes.fromhex(document["nonce"]) + digest("keyset")
                          + digest("device_evidence")).digest() + bytes(32)


def test_the_workers_quote_binds_its_keyset_and_the_nonce(world, tee):
    tee.start()
    folder = os.path.join(world.folder, "model")
    os.makedirs(os.path.join(folder, "sub"))
    for name, content in (("b.bin", b"weights"), ("sub/a.json", b"{}")):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(content)
    measured = os.path.join(world.folder, "image.yaml")
    with open(measured, "wb") as f:
        f.write(b"engine: x\n")
    world.worker(quote_provider="socket:" + tee.socket, collateral_file=tee.path("collateral.json"), model_dir=folder,
                 measured_config=measured)
    t = world.peers[0].tunnel()
    document = ask_document(t)
    assert document["nonce"] == NONCE and document["tee"] == "insecure-dev" and document["device_evidence"] == ""
    root = x509.load_pem_x509_certificate(tee.read("root.pem"))
    assert check_quote(base64.b64decode(document["quote"]), root) == report_data(document)
    assert document["collateral"] == json.loads(tee.read("collateral.json"))
    keyset = json.loads(base64.b64decode(document["keyset"]))
    assert keyset["config_sha256"] == hashlib.sha256(b"engine: x\n").hexdigest()
    lines = "".join(f"{hashlib.sha256(c).hexdigest()}  {n}\n" for n, c in (("b.bin", b"weights"), ("sub/a.json", b"{}")))
    assert keyset["model_digest"] == "sha256:" + hashlib.sha256(lines.encode()).hexdigest()
    assert keyset["gpu"] == "none"
    s = t.chat(chat("Hello"))
    assert s.usage["env"] == "insecure-dev"


def test_a_models_image_is_named_by_its_root_hash(world, tee):
    """No dm-verity device is here: a warning with dev evidence, where a trust domain would refuse to start."""
    tee.start()
    worker = world.worker(quote_provider="socket:" + tee.socket, collateral_file=tee.path("collateral.json"), model_dir=world.folder,
                          model_verity="ab" * 32)
    keyset = json.loads(base64.b64decode(ask_document(world.peers[0].tunnel())["keyset"]))
    assert keyset["model_digest"] == "verity:" + "ab" * 32
    assert "part=model_verity" in worker.text and "event=model reading=" not in worker.text


def test_a_link_that_leads_out_of_the_model_is_told(world, tee):
    tee.start()
    folder = os.path.join(world.folder, "model")
    os.makedirs(folder)
    os.symlink("/etc/hostname", os.path.join(folder, "weights"))
    worker = world.worker(quote_provider="socket:" + tee.socket, model_dir=folder)
    wait_for(lambda: "leads out of the model's folder" in worker.text)


def test_a_provider_that_is_away_is_told_and_comes_back(world, tee):
    world.worker(quote_provider="socket:" + tee.socket)
    t = world.peers[0].tunnel()
    answer = t.get(f"/v1/attestation?nonce={NONCE}")
    assert answer.status == 503 and answer.json()["code"] == "no_quote"
    tee.start()
    ask_document(t)


def test_a_quote_for_other_report_data_is_not_published(world, tee):
    tee.start("report_data_mismatch")
    worker = world.worker(quote_provider="socket:" + tee.socket)
    assert world.peers[0].tunnel().get(f"/v1/attestation?nonce={NONCE}").status == 503
    assert "other report data" in worker.text


def test_a_provider_that_hangs_holds_nothing_up_but_its_own_answer(world, tee):
    tee.start()
    world.worker(quote_provider="socket:" + tee.socket)
    t = world.peers[0].tunnel()
    keyset = t.keyset()
    tee.process.send_signal(signal.SIGSTOP)
    late = t.request("GET", f"/v1/attestation?nonce={NONCE}")
    assert t.chat(chat("Hello")).status == 200 and keyset
    assert late.wait_end(15).status in (503, 504)
    tee.process.send_signal(signal.SIGCONT)
    ask_document(t)


def test_a_worker_without_a_tee_says_none(world):
    world.worker(quote_provider="none")
    t = world.peers[0].tunnel()
    document = ask_document(t)
    assert document["tee"] == "none" and document["quote"] == ""
    assert t.chat(chat("Hello")).usage["env"] == "unattested"


def refused(world, **settings):
    """A worker that does not start: its log."""
    engine, peer = world.engine(), world.peer()
    worker = Worker(world.folder, engine, [peer], **settings)
    worker.write()
    done = subprocess.run([os.path.join(BIN, "cocoon-worker"), "--config", worker.file], capture_output=True, text=True,
                          timeout=20 * SLOW)
    assert done.returncode == 1
    assert not os.path.exists(worker.socket)
    return done.stderr


@pytest.mark.skipif(os.path.isdir("/sys/kernel/config/tsm/report"), reason="this kernel has configfs-tsm")
def test_a_kernel_without_configfs_tsm_is_told_at_start(world):
    assert "Linux 6.7 or later" in refused(world, quote_provider="tsm")


def test_a_missing_model_or_gpu_is_told_at_start(world):
    assert "part=model_dir" in refused(world, model_dir="/nonexistent")
    assert "part=measured_config" in refused(world, measured_config="/nonexistent")
    assert "part=gpu" in refused(world, gpu="nvidia-cc")
    if not os.path.isdir("/sys/devices/virtual/misc/tdx_guest"):
        assert "Linux 6.16" in refused(world, extend_rtmr3=True)


def test_a_worker_that_reads_a_large_model_stops_when_told(world):
    folder = os.path.join(world.folder, "model")
    os.makedirs(folder)
    with open(os.path.join(folder, "zeroes"), "wb") as f:
        f.truncate(1 << 40)
    worker = Worker(world.folder, world.engine(), [world.peer()], model_dir=folder)
    worker.write()
    with open(worker.log, "ab") as log:
        worker.process = subprocess.Popen([os.path.join(BIN, "cocoon-worker"), "--config", worker.file], stderr=log)
    wait_for(lambda: "event=model reading=" in worker.text)
    began = time.monotonic()
    assert worker.stop() == 0 and time.monotonic() - began < 5 * SLOW
    assert not os.path.exists(worker.socket)


# ---- The worker's memory ---------------------------------------------------------------------------

def proc(worker, name):
    with open(f"/proc/{worker.process.pid}/{name}") as f:
        return f.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look at a process that keeps itself to itself")
def test_keys_can_reach_neither_core_nor_swap(world):
    worker = world.worker()
    assert re.search(r"^Max core file size +0 +0 ", proc(worker, "limits"), re.M)
    assert int(proc(worker, "coredump_filter"), 16) == 0
    heaps = [m for m in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", proc(worker, "smaps"))
             if {"dd", "lo"} <= set(re.search(r"VmFlags: (.*)", m).group(1).split())]
    assert any("Size:                256 kB" in m and "Locked:" in m for m in heaps), "no locked heap for keys"
    assert int(re.search(r"VmLck:\s+(\d+)", proc(worker, "status")).group(1)) >= 256
    assert "keys_locked=yes" in worker.text
    if "all_locked=yes" in worker.text:
        assert re.search(r"^Max locked memory +unlimited", proc(worker, "limits"), re.M)
        assert all("lo" in re.search(r"VmFlags: (.*)", m).group(1).split() for m in
                   re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", proc(worker, "smaps")) if "[heap]" in m)


@pytest.mark.skipif(os.geteuid() != 0, reason="starts the worker as another user")
def test_its_own_user_may_not_look_into_the_process(world):
    """PR_SET_DUMPABLE 0: the process's files in /proc belong to root, whoever runs it."""
    worker = Worker(world.folder, world.engine(), [world.peer()])
    worker.write()
    for path in (world.folder, worker.file):
        os.chown(path, NOBODY, NOBODY)
    look = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if subprocess.run([*look, os.path.join(BIN, "cocoon-worker"), "--version"], capture_output=True).returncode != 0:
        pytest.skip("the program is out of another user's reach")
    with open(worker.log, "ab") as log:
        worker.process = subprocess.Popen([*look, os.path.join(BIN, "cocoon-worker"), "--config", worker.file], stderr=log)
    world.workers.append(worker)
    wait_for(lambda: "event=started" in worker.text)
    assert re.search(rf"^Uid:\s+{NOBODY}", proc(worker, "status"), re.M)
    assert os.stat(f"/proc/{worker.process.pid}/maps").st_uid == 0
    tried = subprocess.run([*look, "cat", f"/proc/{worker.process.pid}/maps"], capture_output=True)
    assert tried.returncode != 0 and tried.stdout == b""
