"""cocoonctl attest: a document with dev evidence, shown and judged; over a file and a URL; and what it says of bad ones."""

import base64
import hashlib
import http.server
import json
import os
import re
import subprocess
import threading
import time

import pytest

from stack import BIN

NONCE = bytes(range(32))
LABEL = b"cgw/report-data/v1\0"


def run(program, *args):
    return subprocess.run([os.path.join(BIN, program), *map(str, args)], capture_output=True, text=True, timeout=30)


def made(program, *args):
    done = run(program, *args)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dev(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dev")
    made("cocoon-devtee", "init", "--seed-file", folder / "seed", "--out", folder)
    return folder


def keyset(now):
    return json.dumps({
        "format": "cgw/keyset/v1", "worker_id": "w-1", "payout": "0:" + "ab" * 32, "hpke": ["07" + "0020" + "00" * 32 + "0008" + "00010002" + "00010003"],
        "tls_spki_sha256": "11" * 32, "receipt_ed25519": "22" * 32, "models": ["m"], "model_digest": "sha256:" + "33" * 32,
        "config_sha256": "44" * 32, "engine": "fake 1", "gpu": "none", "gpu_count": 0, "not_before": now - 10, "not_after": now + 3590}).encode()


def document(dev, *faults, signed=True, **changed):
    keys = keyset(int(time.time()))
    bound = hashlib.sha256(LABEL + NONCE + hashlib.sha256(keys).digest() + hashlib.sha256(b"").digest()).digest()
    data = (bound if signed else bytes(32)).hex() + "00" * 32
    options = [word for f in faults for word in ("--fault", f)]
    quote = bytes.fromhex(made("cocoon-devtee", "quote", "--seed-file", dev / "seed", "--report-data", data, *options).strip())
    stapled = json.loads(made("cocoon-devtee", "collateral", "--seed-file", dev / "seed", *options))
    return {"format": "cgw/attestation/v1", "tee": "tdx", "nonce": NONCE.hex(), "keyset": base64.b64encode(keys).decode(),
            "device_evidence": "", "quote": base64.b64encode(quote).decode(), "collateral": stapled, **changed}


def saved(tmp_path, doc):
    file = tmp_path / "document.json"
    file.write_text(json.dumps(doc))
    return file


def verify(dev, where, *more):
    key = (dev / "release.pub").read_text().strip()
    return run("cocoonctl", "attest", "verify", where, "--policy", dev / "policy.json", "--release-key", key, *more)


def test_good_evidence_is_accepted_and_named_insecure_dev(dev, tmp_path):
    done = verify(dev, saved(tmp_path, document(dev)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "accepted, insecure-dev" in done.stdout and "Not proven" in done.stdout and "FAIL" not in done.stdout
    assert done.stdout.count("pass ") == 14


def lines(text):
    """The lines that have a name and a value."""
    return dict(re.split(r"  +", line, maxsplit=1) for line in text.splitlines() if "  " in line)


def test_a_verdict_says_what_was_measured_and_until_when_it_holds(dev, tmp_path):
    doc = document(dev)
    said = lines(verify(dev, saved(tmp_path, doc), "--at", "2026-07-01").stdout)
    # Which machine it is, in the form that a policy's ppid_sha256 has it; the dev issuer's PPID is zero.
    assert said["ppid sha256"] == hashlib.sha256(bytes(16)).hexdigest()
    assert said["judged at"].startswith("2026-07-01") and said["tcb date"].startswith("2025-03-12")
    assert said["collateral until"].startswith("2045-01-01") and said["evaluation"] == "18 (quoting enclave 18)"
    policy = json.loads((dev / "policy.json").read_text())
    assert said["mrtd"] == policy["measurements"][0]["mrtd"]
    # It was refused, for the keys' time; what had been found by then stands there all the same.
    assert said["measurement"] == policy["measurements"][0]["name"] and "KEYSET_EXPIRED" in said["verdict"]
    said = json.loads(verify(dev, saved(tmp_path, doc), "--json").stdout)
    assert said["ppid_sha256"] == hashlib.sha256(bytes(16)).hexdigest() and said["tcb_date"] == 1741737600
    assert said["collateral_until"] == 2366841600 and said["qe_evaluation"] == 18 and abs(said["judged_at"] - time.time()) < 60
    assert said["keys_until"] == json.loads(base64.b64decode(doc["keyset"]))["not_after"]


def test_a_refusal_names_its_step_and_reason(dev, tmp_path):
    done = verify(dev, saved(tmp_path, document(dev, "revoked_leaf")), "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert not said["accepted"] and said["reason"] == "PCK_REVOKED"
    assert [s["state"] for s in said["steps"]][:4] == ["pass", "pass", "FAIL", "not reached"]


@pytest.mark.parametrize("change, reason", [
    (dict(signed=False), "REPORT_DATA_MISMATCH"), (dict(tee="sev-snp"), "TEE_UNSUPPORTED"), (dict(tee="none"), "UNATTESTED_REFUSED"),
    (dict(quote=""), "QUOTE_TRUNCATED"), (dict(keyset=""), "KEYSET_INVALID"), (dict(format="x"), "DOCUMENT_INVALID")])
def test_each_change_of_a_good_document_is_refused(dev, tmp_path, change, reason):
    done = verify(dev, saved(tmp_path, document(dev, **change)), "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["reason"] == reason


def test_another_nonce_and_a_later_time_are_refused(dev, tmp_path):
    file = saved(tmp_path, document(dev))
    assert "NONCE_MISMATCH" in verify(dev, file, "--nonce", "00" * 32).stdout
    assert "accepted" in verify(dev, file, "--nonce", NONCE.hex()).stdout
    assert "KEYSET_EXPIRED" in verify(dev, file, "--at", "2030-01-01").stdout


def test_collateral_may_come_from_a_file(dev, tmp_path):
    doc = document(dev)
    del doc["collateral"]
    file = saved(tmp_path, doc)
    assert "COLLATERAL_MISSING" in verify(dev, file).stdout
    assert verify(dev, file, "--collateral", dev / "collateral.json").returncode == 0


def test_a_document_is_shown_and_fetched(dev, tmp_path):
    body = json.dumps(document(dev)).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path == "/document"
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(body) if found else 0))
            self.end_headers()
            self.wfile.write(body if found else b"")

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        shown = made("cocoonctl", "attest", "show", url + "/document")
        assert "w-1" in shown and "TDX v4" in shown and "Nothing of this is verified" in shown
        assert verify(dev, url + "/document").returncode == 0
        missing = run("cocoonctl", "attest", "show", url + "/other")
        assert missing.returncode == 1 and "404" in missing.stderr
    finally:
        server.shutdown()
        server.server_close()


def test_a_document_cannot_command_the_terminal(dev, tmp_path):
    """U+009B begins an escape sequence as ESC [ does."""
    evil = json.loads(keyset(int(time.time()))) | {"engine": "m\u009b2J\u0085x", "models": ["\u00e9\u4e2d"]}
    doc = document(dev, keyset=base64.b64encode(json.dumps(evil).encode()).decode(), tee="\u009b31m\u007f\u001b")
    shown = made("cocoonctl", "attest", "show", saved(tmp_path, doc))
    assert "m?2J?x" in shown and "?31m??" in shown and "\u00e9\u4e2d" in shown
    assert not any(0x7f <= ord(c) < 0xa0 or ord(c) < 0x20 and c != "\n" for c in shown)


def test_what_is_wrong_with_the_call_is_said(dev, tmp_path):
    file = saved(tmp_path, document(dev))
    assert "--policy" in run("cocoonctl", "attest", "verify", file).stderr
    stranger = run("cocoonctl", "attest", "verify", file, "--policy", dev / "policy.json", "--release-key", "00" * 32)
    assert stranger.returncode == 1 and "signature" in stranger.stderr
    file.write_text("{}")
    shown = run("cocoonctl", "attest", "show", file)
    assert shown.returncode == 1 and "no attestation document" in shown.stderr
    assert "cannot be read" in run("cocoonctl", "attest", "show", tmp_path / "nothing").stderr
    assert "cannot be read" in run("cocoonctl", "attest", "show", tmp_path).stderr
    assert "longer than 1048576 bytes" in run("cocoonctl", "attest", "show", "/dev/zero").stderr


# ---- Policies ------------------------------------------------------------------------------------------

def policy_of(dev, tmp_path, **changed):
    policy = {**json.loads((dev / "policy.json").read_text()), "insecure_dev_root": str(dev / "root.pem"), **changed}
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({k: v for k, v in policy.items() if v is not None}, indent=1))
    return file


def judged(where, policy, key):
    return run("cocoonctl", "attest", "verify", where, "--policy", policy, "--release-key", key)


def test_a_release_key_is_made_once_and_signs_policies(dev, tmp_path):
    key = tmp_path / "release.key"
    public = made("cocoonctl", "policy", "key", key).strip()
    seed = key.read_text()
    assert re.fullmatch("[0-9a-f]{64}", public) and re.fullmatch("[0-9a-f]{64}\n", seed) and public not in seed
    assert key.stat().st_mode & 0o777 == 0o600
    again = run("cocoonctl", "policy", "key", key)
    assert again.returncode == 1 and "already" in again.stderr and key.read_text() == seed
    where, policy = saved(tmp_path, document(dev)), policy_of(dev, tmp_path)
    unsigned = judged(where, policy, public)
    assert (unsigned.returncode, unsigned.stderr) == (1, f"cocoonctl attest verify: {policy}.sig: No such file or directory\n")
    out = made("cocoonctl", "policy", "sign", "--key", key, policy)
    assert public in out and "dev" in out and str(json.loads(policy.read_text())["sequence"]) in out
    assert judged(where, policy, public).returncode == 0
    policy.write_text(policy.read_text() + "\n")
    changed = judged(where, policy, public)
    assert changed.returncode == 1 and "no signature by a release key" in changed.stderr
    made("cocoonctl", "policy", "sign", "--key", key, policy)
    assert judged(where, policy, public).returncode == 0


def test_several_keys_sign_and_each_is_enough(dev, tmp_path):
    keys = [tmp_path / f"{n}.key" for n in range(2)]
    public = [made("cocoonctl", "policy", "key", key).strip() for key in keys]
    where, policy = saved(tmp_path, document(dev)), policy_of(dev, tmp_path)
    made("cocoonctl", "policy", "sign", "--key", keys[0], "--key", keys[1], policy)
    assert [judged(where, policy, key).returncode for key in public] == [0, 0]
    assert len((tmp_path / "policy.json.sig").read_text().splitlines()) == 2


@pytest.mark.parametrize("changed, says", [
    ({"environment": "production"}, "insecure_dev_root: has no place in a production policy"),
    ({"measurments": []}, "policy: has a member that this version does not know"),
    ({"expires": None}, "expires: is missing"),
    ({"environment": "production", "insecure_dev_root": None}, "a production policy pins config_sha256 and model_digest"),
    ({"expires": 1700000000}, "has ended (2023-11-14T22:13:20Z)"),
    ({"expires": 0}, "has ended (1970-01-01T00:00:00Z)"),
])
def test_what_no_program_would_load_is_not_signed(dev, tmp_path, changed, says):
    key = tmp_path / "release.key"
    made("cocoonctl", "policy", "key", key)
    done = run("cocoonctl", "policy", "sign", "--key", key, policy_of(dev, tmp_path, **changed))
    assert done.returncode == 1 and says in done.stderr
    assert not (tmp_path / "policy.json.sig").exists()


def test_a_key_that_is_none_or_that_others_read_signs_nothing(dev, tmp_path):
    key, policy = tmp_path / "release.key", policy_of(dev, tmp_path)
    for text, mode, says in (("nonsense", 0o600, "is no key"), ("ab" * 32, 0o644, "others")):
        key.write_text(text)
        key.chmod(mode)
        done = run("cocoonctl", "policy", "sign", "--key", key, policy)
        assert done.returncode == 1 and says in done.stderr
    assert run("cocoonctl", "policy", "sign", policy).returncode == 2
    assert not (tmp_path / "policy.json.sig").exists()


def test_the_documented_policy_is_one(tmp_path):
    with open(os.path.join(os.path.dirname(__file__), "../../docs/image.md")) as f:
        (text,) = re.findall(r"```json\n(.*?)```", f.read(), re.S)
    key, policy = tmp_path / "release.key", tmp_path / "policy.json"
    made("cocoonctl", "policy", "key", key)
    policy.write_text(text)
    assert "production" in made("cocoonctl", "policy", "sign", "--key", key, policy)


def test_what_a_policy_pins_of_a_gpu_is_shown(dev, tmp_path):
    block = b"\1\1\x33\0\0\x30\0" + bytes(range(48))
    opaque = b"\3\0\6\0" + b"550.1\0" + b"\6\0\x08\0\0\x9f\0\x96\1\0\0\0"
    report = (b"\x11\xe0\1\xff" + bytes(33) + b"\x11\x60\0\0\1" + len(block).to_bytes(3, "little") + block + bytes(32)
              + len(opaque).to_bytes(2, "little") + opaque + bytes(96))
    evidence = {"format": "nvidia-spdm/v1", "items": [{"report": base64.b64encode(report).decode(), "chain": ""}]}
    shown = made("cocoonctl", "attest", "show",
                 saved(tmp_path, {**document(dev), "device_evidence": base64.b64encode(json.dumps(evidence).encode()).decode()}))
    (line,) = re.findall(r"^gpu pin +(.*)$", shown, re.M)
    assert json.loads(line) == {"driver": "550.1", "vbios": "96.00.9F.00.01", "blocks": [bytes(range(48)).hex()]}
    odd = made("cocoonctl", "attest", "show", saved(tmp_path, {**document(dev), "device_evidence": "bm8="}))
    assert "not well-formed" in odd
