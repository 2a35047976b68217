"""cocoonctl as operators, owners and scripts use it: what it prints, records and brings to Redis."""

import json
import os
import re
import stat
import subprocess
import time

import pytest

from stack import BIN, wait_for

KEY = re.compile(r"sk-cocoon-[0-9A-Za-z]{57}")


def keys(stack):
    return {k: stack.redis.client.get(k) for k in stack.redis.client.keys("key:*")}


def record(stack, name):
    found = [json.loads(v) for v in keys(stack).values() if json.loads(v)["name"] == name]
    return found[0] if len(found) == 1 else found


def test_a_created_key_is_printed_once_and_its_hash_is_everywhere_else(stack):
    out = stack.ctl("keys", "create", "--name", "build", "--account", "acme").stdout
    assert len(KEY.findall(out)) == 1
    stored = open(stack.keys_file).read() + str(keys(stack)) + stack.ctl("keys", "list").stdout + stack.ctl("keys", "show", "build").stdout
    assert "acme" in stored and "sk-cocoon-" not in stored
    assert stat.S_IMODE(os.stat(stack.keys_file).st_mode) == 0o600


def test_quiet_prints_the_key_alone_and_json_is_json(stack):
    assert KEY.fullmatch(stack.ctl("keys", "create", "--quiet").stdout.strip())
    made = json.loads(stack.ctl("keys", "create", "--json", "--model", "a/b", "--endpoint", "chat", "--range", "10.0.0.0/8",
                                "--expires", "90d", "--max-output", "9", "--strict", "--end-to-end-only", "--class", "batch").stdout)
    assert KEY.fullmatch(made["key"])
    assert made["scopes"] == {"models": ["a/b"], "endpoints": ["chat"], "ranges": ["10.0.0.0/8"]}
    assert (made["strict"], made["privacy"], made["class"], made["limits"]) == (True, "end-to-end", "batch", {"max_output": 9})
    assert 89 * 86400 < made["expires"] - made["created"] <= 90 * 86400
    assert [k["id"] for k in json.loads(stack.ctl("keys", "list", "--json").stdout)][1] == made["id"]


def test_a_revoked_key_stays_as_revoked_and_is_published(stack):
    stack.ctl("keys", "create", "--name", "k")
    with stack.redis.client.pubsub() as heard:
        heard.subscribe("keys:changed")
        heard.get_message(timeout=5)
        stack.ctl("keys", "revoke", "k")
        lookup = heard.get_message(timeout=5)["data"]
    assert keys(stack).keys() == {"key:{%s}" % lookup}
    assert record(stack, "k")["state"] == "revoked" and record(stack, "k")["version"] == 2


def test_a_rotated_key_has_two_secrets_and_the_old_one_ends(stack):
    old = stack.key("--name", "k")
    new = KEY.search(stack.ctl("keys", "rotate", "k", "--grace", "30m").stdout).group()
    assert old != new
    ends = sorted(r["expires"] for r in record(stack, "k"))
    assert ends[0] == 0 and ends[1] > 0
    assert json.loads(stack.ctl("keys", "show", "k", "--json").stdout)["live_secrets"] == 2


def test_an_emptied_redis_is_restored(stack):
    stack.key("--name", "one")
    stack.key("--name", "two")
    before, marker = keys(stack), stack.redis.client.get("keys:epoch")
    stack.redis.flush()
    stack.ctl("keys", "restore")
    assert keys(stack) == before and stack.redis.client.get("keys:epoch") == marker


def test_a_change_after_redis_was_emptied_restores_the_others_too(stack):
    stack.key("--name", "one")
    stack.redis.flush()
    stack.key("--name", "two")
    assert len(keys(stack)) == 2


def test_a_key_made_while_redis_is_away_is_recorded_and_says_what_to_do(stack):
    stack.redis.stop()
    done = stack.ctl("keys", "create", "--name", "late", check=False)
    assert done.returncode == 1
    assert KEY.search(done.stdout) and "cocoonctl keys restore" in done.stderr
    stack.redis.start()
    assert "1 keys restored" in stack.ctl("keys", "restore").stdout
    assert record(stack, "late")["state"] == "active"


def test_a_redis_with_a_password_takes_it_from_a_private_file(stack, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("p@ss:word\n")
    secret.chmod(0o600)
    stack.redis.client.config_set("requirepass", "p@ss:word")
    assert stack.ctl("keys", "create", check=False).returncode == 1
    stack.ctl("keys", "restore", "--redis-password-file", str(secret))
    assert len(keys(stack)) == 1
    secret.chmod(0o644)
    done = stack.ctl("keys", "restore", "--redis-password-file", str(secret), check=False)
    assert done.returncode == 1 and "only you may read" in done.stderr


def test_two_keys_of_one_name_are_told_apart_by_id(stack):
    stack.key("--name", "twin")
    second = json.loads(stack.ctl("keys", "create", "--name", "twin", "--json").stdout)["id"]
    done = stack.ctl("keys", "revoke", "twin", check=False)
    assert done.returncode == 1 and "use the id" in done.stderr
    stack.ctl("keys", "revoke", second)


@pytest.mark.parametrize("line, says", [
    ("", "Usage: cocoonctl"),
    ("nonsense", "no such command: nonsense"),
    ("keys nonsense", "no such command: keys nonsense"),
    ("keys create --nonsense", "no such option: --nonsense"),
    ("keys create stray", 'what is "stray"?'),
    ("keys create --expires soon", "--expires must be a date"),
    ("keys create --max-output many", "--max-output must be a whole number"),
    ("keys create --name", "--name needs a value"),
    ("keys create --strict=yes", "--strict takes no value"),
    ("keys create --endpoint all", "--endpoint must be chat"),
    ("keys create --range here", "--range must be an address"),
    ("keys create --class gold", "--class must be interactive"),
    ("keys create --account {a}", "is not usable"),
    ("keys revoke", "KEY is missing"),
    ("operator init", "DIR is missing"),
    ("operator init x --days 0", "--days must be"),
    ("worker set max_requests", "write NAME=VALUE"),
    ("worker set max_requests=0", "from 1 to 10000"),
    ("worker set hours=9-17", "hours.mon must be"),
    ("worker set worker_id=x", "cannot be set"),
    ("gateway status --admin a/b", "--admin must be"),
    ("credit acme --ton 0.0000000001", "--ton must be an amount"),
    ("credit acme --ton 1e3", "--ton must be an amount"),
    ("credit acme --ton -1", "--ton must be an amount"),
    ("credit acme", "--ton is missing"),
    ("projects create acme", "ACCOUNT PROJECT is missing"),
    ("statements acme --month 2027", "--month must be"),
    ("drain", "WORKER is missing"),
    ("workers --every 0", "--every must be"),
    ("demand --hours 841", "--hours must be"),
])
def test_usage_errors_say_what_to_do(tmp_path, line, says):
    done = subprocess.run([os.path.join(BIN, "cocoonctl"), *line.split()], cwd=tmp_path, text=True, capture_output=True, timeout=30)
    assert done.returncode == 2 and says in done.stderr, done.stderr
    assert not (tmp_path / "keys.json").exists()


@pytest.mark.parametrize("words", ["", "keys create", "keys list", "keys show", "keys revoke", "keys rotate", "keys restore",
                                   "operator init", "operator pin", "operator key", "policy key", "policy sign", "worker status", "worker drain", "worker resume", "worker set",
                                   "gateway status", "gateways", "workers", "drain", "ban", "enable", "decisions", "standing", "demand",
                                   "keys set", "accounts list", "accounts create", "accounts set", "accounts limit", "projects create", "credit",
                                   "prices apply", "prices show", "usage", "statements", "receipts list", "receipts show",
                                   "invites create", "invites redeem", "webhooks create", "audit", "ledger status", "ledger verify",
                                   "ledger recover", "ledger intake", "ledger purses", "ledger transfers", "ledger days", "projects show"])
def test_help_and_version_are_everywhere(words):
    for option, says in (("--help", "Usage: cocoonctl"), ("--version", "cocoonctl 0.")):
        done = subprocess.run([os.path.join(BIN, "cocoonctl"), *words.split(), option], text=True, capture_output=True, timeout=30)
        assert done.returncode == 0 and done.stdout.startswith(says)


@pytest.mark.parametrize("program", ["cocoon-gateway", "cocoon-worker", "cocoon-client", "cocoon-ledger", "cocoon-devtee", "cocoonctl"])
def test_every_program_says_what_it_takes_and_which_commit_it_is(program):
    def run(option):
        return subprocess.run([os.path.join(BIN, program), option], text=True, capture_output=True, timeout=30)
    for short, long in (("-h", "--help"), ("-v", "--version")):
        assert run(short).returncode == run(long).returncode == 0 and run(short).stdout == run(long).stdout
    assert re.fullmatch(program + r" [0-9.]+ \(commit [0-9a-z.-]+\)\n", run("-v").stdout)
    bad = run("--no-such-option")
    assert bad.returncode == 2 and ("--help" in bad.stderr or "Usage" in bad.stderr)


def test_an_operators_files_are_made_once_and_private(stack, tmp_path):
    folder = str(tmp_path / "operator")
    out = stack.ctl("operator", "init", folder).stdout
    pin = re.search(r"^[0-9a-f]{64}$", out, re.M).group()
    assert stack.ctl("operator", "pin", folder + "/ca.pem").stdout.strip() == pin
    assert re.fullmatch(r"[0-9a-f]{64}\n", open(folder + "/cluster.secret").read())
    for name in ("ca.key", "tunnel.key", "cluster.secret"):
        assert stat.S_IMODE(os.stat(f"{folder}/{name}").st_mode) == 0o600
    public = stack.ctl("operator", "key", folder + "/operator.key").stdout.strip()
    seed = open(folder + "/operator.key").read().strip()
    assert stat.S_IMODE(os.stat(folder + "/operator.key").st_mode) == 0o600 and len(seed) == len(public) == 64 and seed != public
    done = stack.ctl("operator", "key", folder + "/operator.key", check=False)
    assert done.returncode == 1 and "already" in done.stderr and open(folder + "/operator.key").read().strip() == seed
    before = open(folder + "/ca.pem").read()
    done = stack.ctl("operator", "init", folder, check=False)
    assert done.returncode == 1 and "already" in done.stderr and open(folder + "/ca.pem").read() == before


def test_an_admin_listener_that_is_not_there_is_said(stack):
    for words in (("worker", "status", "--socket", stack.folder + "/none.sock"), ("workers", "--admin", "127.0.0.1:1")):
        done = stack.ctl(*words, check=False)
        assert done.returncode == 1 and "does not listen" in done.stderr


def test_gateways_and_workers_are_shown(chain):
    gateway, worker = chain.gateways[0], chain.workers[0]
    env = {"GATEWAY_ADMIN_URL": "http://" + gateway.settings["admin"], "COCOON_WORKER_ADMIN": worker.admin_socket}
    assert json.loads(chain.ctl("gateway", "status", "--json", **env).stdout)["ready"] is True
    assert re.search(r"^ready +true$", chain.ctl("gateway", "status", **env).stdout, re.M)
    admin = ("--admin", gateway.settings["admin"])
    wait_for(lambda: json.loads(chain.ctl("workers", "--json").stdout), "the registry follows")
    for words in ((), admin):  # by what Redis holds, and as one gateway says
        table = chain.ctl("workers", *words).stdout.splitlines()
        assert table[0].split()[:3] == ["iid", "label", "state"]
        assert table[1].split()[:3] == [worker.status["iid"][:12], worker.settings["worker_id"], "ready"]
        assert json.loads(chain.ctl("workers", *words, "--json").stdout)[0]["attestation"] == "insecure-dev"
    assert json.loads(chain.ctl("worker", "status", "--json", **env).stdout)["worker_id"] == worker.settings["worker_id"]


def test_counts_that_are_none_are_not_added_up(stack):
    """What stands in Redis is somebody else's: it may say anything, and is added to what others say."""
    redis = stack.redis.client
    most = 2**62 - 1
    for name, load in (("a", {"served": 1e300, "failures": -1e300, "in_flight": 3}), ("b", {"served": 7, "failures": 1.5, "in_flight": 2}),
                       ("c", {"served": 2**63 - 1, "failures": 2, "in_flight": most}), ("d", {"served": "9", "failures": 4, "in_flight": most})):
        redis.zadd("gateways", {f"{name} 127.0.0.1:1": time.time() * 1000})
        redis.hset("load:" + name, "ab" * 16, json.dumps({"format": "cgw/load/v1", "state": "ready", **load}))
    (worker,) = json.loads(stack.ctl("workers", "--json").stdout)
    assert (worker["served"], worker["failures"], worker["in_flight"]) == (7, 6, most)
    for name, seen in (("a", 1e300), ("b", -5), ("c", 1.5)):
        redis.set("gw:" + name, json.dumps({"format": "cgw/gateway-entry/v1", "seen": seen}))
    assert stack.ctl("gateways").stdout.count("never") == 4


def test_an_owner_sets_drains_and_resumes_a_running_worker(stack):
    stack.engine()
    stack.gateway()
    worker = stack.worker()
    stack.wait_ready()
    env = {"COCOON_WORKER_ADMIN": worker.admin_socket}

    def seen():
        return json.loads(stack.ctl("workers", "--json", "--admin", stack.gateways[0].settings["admin"]).stdout)[0]

    stack.ctl("worker", "set", "max_requests=3", "ask=1200", **env)
    wait_for(lambda: (seen()["max"], seen()["ask"]) == (3, 1200), "the new limits at the gateway", 10)
    stack.ctl("worker", "drain", **env)
    wait_for(lambda: not seen()["accepting"], "the drain at the gateway", 10)
    stack.ctl("worker", "resume", **env)
    wait_for(lambda: seen()["accepting"], "the resumed worker at the gateway", 10)
    done = stack.ctl("worker", "set", "hours=", **env)
    wait_for(lambda: seen()["reason"] == "hours", "the hours at the gateway", 10)
    assert done.returncode == 0
