"""cocoonctl canaries: a worker that gives its model's answers gains by it, one that serves another model or counts more loses by it, and
nobody loses by what the operator did wrong."""

import contextlib
import json
import os
import re
import time

import pytest
import yaml

pytest.importorskip("h2")
pytest.importorskip("cryptography")

from fake_engine import answer  # noqa: E402
from purse import Purse  # noqa: E402
from stack import BIN, Evidence, Process, chat, script, wait_for  # noqa: E402

PROMPTS = ["What is the capital of France?", "Count to three."]
RIGHT, WRONG, MISTAKE = 0, 3, 1


def payout(n):
    """Machines of their own: the dev issuer's evidence names one platform, so the owners differ."""
    return f"0:{n:064x}"


class Canaries:
    """The operator's file, for a stack whose workers are ready."""

    def __init__(self, stack):
        self.stack, self.gateway = stack, stack.gateways[0]
        stack.wait_listed()
        wait_for(lambda: len(json.loads(self.ctl("workers", "--json").stdout)) == len(stack.workers), "cocoonctl knows all workers", 10)
        self.file = os.path.join(stack.folder, "canaries.yaml")
        self.key_file = os.path.join(stack.folder, "canaries.key")
        self.write_key(stack.key("--end-to-end-only"))

    def ctl(self, *args, check=True):
        return self.stack.ctl(*args, check=check)

    def write_key(self, key):
        with open(os.open(self.key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
            f.write(key + "\n")

    def write(self, canaries, mode=0o600, **settings):
        tee = Evidence.shared()
        whole = {"gateway": f"http://{self.gateway.listen}", "policy": tee.path("policy.json"), "release_keys": [tee.release_key],
                 "insecure_dev": True, "key_file": os.path.join(self.stack.folder, "canaries.secret"), "api_key_file": self.key_file,
                 "timeout_s": 30, "canaries": canaries, **settings}
        with open(os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as f:
            json.dump({k: v for k, v in whole.items() if v is not None}, f)
        os.chmod(self.file, mode)

    def record(self, worker="worker"):
        """The file with this worker's answers in it."""
        done = self.ctl("canaries", "record", "--file", self.file, "--worker", worker)
        canaries = yaml.safe_load(done.stdout)["canaries"]
        self.write(canaries)
        return canaries

    def run(self, *args):
        return self.ctl("canaries", "run", "--once", "--file", self.file, *args, check=False)

    def rows(self, expected=RIGHT):
        done = self.run("--json")
        assert done.returncode == expected, done.stdout + done.stderr
        return {r["worker"]: r for r in json.loads(done.stdout)}


class Coop(Canaries):
    """A gateway, and workers each with an engine and an owner of its own."""

    def __init__(self, stack, workers=3, max_requests=8, **gateway):
        for _ in range(workers):
            stack.engine()
        stack.gateway(**{"scheduler.standing_s": 1, **gateway})
        for i, engine in enumerate(stack.engines):
            stack.worker(engine, payout=payout(i + 1), max_requests=max_requests)
        super().__init__(stack.wait_ready())
        self.write(self.canaries())

    def canaries(self, **more):
        return [{"model": "fake-model", "prompt": p, **more} for p in PROMPTS]

    def wid(self, worker):
        return next(w["wid"] for w in self.gateway.status["workers"] if w["worker_id"] == worker.name)

    def marks(self, worker):
        said = self.stack.redis.client.hgetall("standing:" + self.wid(worker))
        return int(said.get("canary_good", 0)), int(said.get("canary_bad", 0))

    def nobody_is_marked(self):
        return all(self.marks(w) == (0, 0) for w in self.stack.workers)


@pytest.fixture
def coop(stack):
    return Coop(stack)


def serve_another_model(engine):
    async def other(x):
        await answer(x, text="I am a far smaller model.")
    engine.default = other


def count_twice(engine, prompt=1, out=1):
    real = engine.dialect.usage
    engine.dialect.usage = lambda p, c, cached=0: real(p * prompt, c * out, cached)


def test_every_worker_is_asked_and_gains_by_a_right_answer(coop):
    engines, workers = coop.stack.engines, coop.stack.workers
    recorded = coop.record()
    assert [c["prompt"] for c in recorded] == PROMPTS and all(len(c["answers"]) == 1 and c["prompt_tokens"] > 0 for c in recorded)
    before = [len(e.requests) for e in engines]
    rows = coop.rows()
    assert set(rows) == {w.name for w in workers}
    assert [len(e.requests) - b for e, b in zip(engines, before)] == [1, 1, 1]
    for w in workers:
        row = rows[w.name]
        assert (row["result"], row["mark"], row["wid"], row["model"]) == ("right", "good", coop.wid(w), "fake-model")
        assert row["prompt_tokens"] == recorded[row["canary"]]["prompt_tokens"]
        assert coop.marks(w) == (1, 0)
    shown = json.loads(coop.ctl("standing", "--json").stdout)
    assert [row["canary_good"] for row in shown.values()] == [1, 1, 1]


def test_a_canary_is_a_users_call_to_all_who_carry_it(coop):
    coop.record()
    assert coop.rows()["worker-2"]["mark"] == "good"
    (asked,) = coop.stack.engines[1].requests
    body = asked.json
    assert body["temperature"] == 0 and "seed" not in body and body["messages"][0]["content"] in PROMPTS
    log = coop.gateway.log_text
    assert not any(p in log for p in PROMPTS) and "canar" not in log
    everything = str([coop.stack.redis.client.dump(k) for k in coop.stack.redis.client.keys("canary:*")])
    assert "France" not in everything and len(coop.stack.redis.client.keys("canary:*")) >= 1


def test_another_model_is_found_and_its_share_falls(coop):
    coop.record()
    false = coop.stack.workers[2]
    serve_another_model(coop.stack.engines[2])
    for n in range(3):
        rows = coop.rows(WRONG)
        assert {name: r["mark"] for name, r in rows.items()} == {"worker": "good", "worker-2": "good", "worker-3": "bad"}
        assert rows["worker-3"]["result"] == "other text"
    assert [coop.marks(w) for w in coop.stack.workers] == [(3, 0), (3, 0), (0, 3)]
    standing = lambda: {w["worker_id"]: w["standing"] for w in coop.gateway.status["workers"]}  # noqa: E731
    wait_for(lambda: standing()[false.name] < 0.6, "the gateway has heard of it", 5)
    assert standing()["worker"] == standing()["worker-2"] == 1
    listed = coop.run("--json").stdout
    assert "smaller model" not in listed and PROMPTS[0] not in listed


@pytest.mark.parametrize("more, result", [({"out": 2}, "other answer count"), ({"prompt": 2}, "other prompt count")])
def test_who_counts_twice_is_found(coop, more, result):
    coop.record()
    count_twice(coop.stack.engines[1], **more)
    row = coop.rows(WRONG)["worker-2"]
    assert (row["result"], row["mark"]) == (result, "bad")
    assert [coop.marks(w) for w in coop.stack.workers] == [(1, 0), (0, 1), (1, 0)]


def test_a_worker_alone_is_judged_by_what_it_answered_before(stack):
    coop = Coop(stack, workers=1)
    coop.record()
    serve_another_model(stack.engines[0])
    assert coop.rows(WRONG)["worker"]["mark"] == "bad" and coop.marks(stack.workers[0]) == (0, 1)


def test_who_does_not_answer_is_not_marked(coop):
    recorded = coop.record()
    coop.write(recorded, timeout_s=2)
    engines = coop.stack.engines

    async def mute(x):
        await x.gone(30)
        x.close()

    async def broken(x):
        await x.reply(500, x.dialect.error(500, "engine exploded", "server_error"))

    engines[0].default, engines[1].default = mute, broken
    rows = coop.rows()
    assert [rows[w.name]["result"] for w in coop.stack.workers] == ["no answer", "no answer", "right"]
    assert rows["worker"]["why"] and rows["worker-2"]["why"] and rows["worker"]["mark"] == "-"
    assert [coop.marks(w) for w in coop.stack.workers] == [(0, 0), (0, 0), (1, 0)]


def test_a_canary_that_a_full_worker_cannot_take_goes_to_no_other(stack):
    coop = Coop(stack, max_requests=1)
    coop.record()
    with stack.raw() as user:
        user.request("POST", "/v1/chat/completions", chat(script("mute", seconds=60), stream=True))
        wait_for(lambda: any(e.requests and b"mute" in e.requests[-1].body for e in stack.engines), "somebody is full", 10)
        full = next(w for w, e in zip(stack.workers, stack.engines) if e.requests and b"mute" in e.requests[-1].body)
        before = [len(e.requests) for e in stack.engines]
        rows = coop.rows()
        assert {w.name: rows[w.name]["result"] for w in stack.workers} == {w.name: "no answer" if w is full else "right" for w in stack.workers}
        assert [len(e.requests) - b for e, b in zip(stack.engines, before)] == [w is not full for w in stack.workers]
    assert coop.marks(full) == (0, 0)


def test_who_is_away_or_drained_is_not_asked(coop):
    coop.record()
    coop.ctl("drain", "worker-2")
    coop.stack.workers[2].stop()
    wait_for(lambda: coop.gateway.accepting == 2, "one has left", 10)
    wait_for(lambda: set(coop.rows()) == {"worker"}, "Redis says so too", 10)
    assert [coop.marks(w)[1] for w in coop.stack.workers[:2]] == [0, 0]


def test_a_wrong_file_marks_nobody(coop):
    """The known answer is nobody's; or the model has changed under all of them."""
    good = coop.record()
    bad = [{**c, "answers": [{"text": "Nobody says this.", "tokens": 3}]} for c in good]
    coop.write(bad)
    done = coop.run("--json")
    assert done.returncode == MISTAKE and "in doubt" in done.stderr and {r["mark"] for r in json.loads(done.stdout)} == {"unproven"}
    coop.write([{**c, "prompt_tokens": c["prompt_tokens"] + 1} for c in good])
    assert {r["mark"] for r in coop.rows(MISTAKE).values()} == {"unproven"}
    assert coop.nobody_is_marked()
    coop.write(good)
    coop.rows()
    for engine in coop.stack.engines:
        serve_another_model(engine)
    assert {r["mark"] for r in coop.rows(MISTAKE).values()} == {"in doubt"}
    assert [coop.marks(w) for w in coop.stack.workers] == [(1, 0)] * 3


def test_the_operators_mistakes_mark_nobody(coop):
    good = coop.record()
    coop.write(good + [{**good[0], "model": "no-such-model"}])
    done = coop.run("--json")
    assert done.returncode == MISTAKE and 'no worker here has a model of the name "no-such-model"' in done.stderr
    assert len(json.loads(done.stdout)) == 3
    marks = [coop.marks(w) for w in coop.stack.workers]
    assert all(bad == 0 for _, bad in marks)

    def run(expected, asked):
        done = coop.run("--json")
        said = done.stdout + done.stderr
        assert done.returncode == MISTAKE and all(text in said for text in expected), said
        rows = json.loads(done.stdout or "[]")
        assert len(rows) == asked and all(r["mark"] == "-" for r in rows)
        assert [coop.marks(w) for w in coop.stack.workers] == marks

    coop.write(good)
    key = open(coop.key_file).read().strip()
    coop.write_key(key[:-4] + "0000")
    run(["Incorrect API key", "not asked after that"], 1)
    coop.write_key(coop.stack.key("--model", "other"))
    run(["may not use the model"], 3)
    coop.write_key(key)
    coop.write(good, gateway="http://127.0.0.1:1")
    run(["cannot be reached"], 1)
    coop.write(good, insecure_dev=False)
    run(["one for development"], 0)
    coop.write([{**c, "answers": []} for c in good])
    run(["no known answer"], 3)


def test_without_a_balance_nobody_is_marked_and_with_one_it_is_paid(stack):
    coop = Coop(stack, **{"billing.journal": os.path.join(stack.folder, "journal")})
    purse = Purse(stack)
    purse.account("acme", granted=10**9)
    coop.write_key(purse.key("acme"))
    coop.record()
    coop.rows()
    purse.account("poor", granted=0)
    coop.write_key(purse.key("poor"))
    done = coop.run("--json")
    assert done.returncode == MISTAKE and "no balance left" in done.stdout, done.stdout + done.stderr
    assert [coop.marks(w) for w in stack.workers] == [(1, 0)] * 3
    wait_for(lambda: len(purse.bills()) == 3 + 2 * len(PROMPTS), "all of them were billed", 10)


def test_redis_that_is_away_is_said(coop):
    coop.record()
    done = coop.ctl("canaries", "run", "--once", "--file", coop.file, "--redis", "redis://127.0.0.1:1", check=False)
    assert done.returncode == MISTAKE and "Redis does not answer" in done.stderr


BAD_FILES = [
    ({"canaries": []}, "canaries: must list 1 to 1000 items"),
    ({"canaries": [{"model": "m"}]}, r"canaries\[0\].prompt: is required"),
    ({"canaries": [{"model": "m", "prompt": "p", "answer": "x"}]}, r"no such setting; did you mean answers\?"),
    ({"canaries": [{"model": "m", "prompt": "p", "answers": [{"text": " ", "tokens": 1}]}]}, r"answers\[0\].text: must not be empty"),
    ({"canaries": [{"model": "m", "prompt": "p", "max_tokens": 4, "answers": [{"text": "a", "tokens": 5}]}]}, "is above max_tokens"),
    ({"gateway": None}, "gateway: is required and missing"),
    ({"api_key_file": "/nowhere"}, "/nowhere: no API key can be read there"),
    ({"policy": "/nowhere"}, "The policy is refused"),
    ({"mode": 0o644}, "others than its owner and group may read it"),
]


def test_a_bad_file_is_explained(stack):
    coop = Coop(stack, workers=1)
    for change, expected in BAD_FILES:
        coop.write(**{"canaries": coop.canaries(), **change})
        done = coop.run()
        assert done.returncode == MISTAKE and re.search(expected, done.stderr), done.stderr
    done = coop.ctl("canaries", "run", "--file", coop.file, "--every", "9s", check=False)
    assert done.returncode == MISTAKE and re.search(expected, done.stderr), "it does not wait for a file that is wrong at first"
    assert coop.nobody_is_marked() and not stack.engines[0].requests


def test_bad_options_are_explained(stack):
    coop = Coop(stack, workers=1)
    for args, expected in ((["run"], "--file is missing"), (["record", "--file", coop.file], "--worker is missing"),
                           (["run", "--file", coop.file, "--every", "0s"], "from 1s to 30d")):
        done = coop.ctl("canaries", *args, check=False)
        assert done.returncode == 2 and expected in done.stderr
    done = coop.ctl("canaries", "record", "--file", coop.file, "--worker", "nobody", check=False)
    assert done.returncode == MISTAKE and 'iid or label "nobody"' in done.stderr


def test_what_is_recorded_is_read_again_as_it_was(coop):
    text = 'a "quoted" \\ line\nand\ttab, é 🌍 \u2028 \u0085 \ufeff \x7f end'

    async def odd(x):
        await answer(x, text=text)
    for engine in coop.stack.engines:
        engine.default = odd
    coop.write(coop.canaries(prefix=0, tolerance=1, system="Say: \u2029 \"yes\"")[:1])
    done = coop.ctl("canaries", "record", "--file", coop.file, "--worker", "worker-2")
    with open(coop.file) as f:
        whole = json.load(f)
    whole.pop("canaries")
    with open(coop.file, "w") as f:
        f.write(yaml.safe_dump(whole) + done.stdout)
    assert {r["mark"] for r in coop.rows().values()} == {"good"}
    again = coop.ctl("canaries", "record", "--file", coop.file, "--worker", "worker-3")
    assert again.stdout == done.stdout


def test_what_is_drawn_anew_each_time_is_no_canary(coop):
    async def unsteady(x):
        await answer(x, text=f"{time.monotonic_ns()}")
    coop.stack.engines[0].default = unsteady
    done = coop.ctl("canaries", "record", "--file", coop.file, "--worker", "worker", check=False)
    assert done.returncode == MISTAKE and "answers something else" in done.stderr
    assert [c["answers"] for c in yaml.safe_load(done.stdout)["canaries"]] == [[], []]


@contextlib.contextmanager
def rounds(coop, every):
    """Runs until it is left, with exit code 0."""
    argv = [os.path.join(BIN, "cocoonctl"), "canaries", "run", "--file", coop.file, "--every", every, "--json"]
    running = Process(coop.stack, "rounds", argv, env={"REDIS_URL": coop.stack.redis.url}).start()
    try:
        yield running
    finally:
        code = running.stop()
    assert code == 0, running.log_text


def test_a_round_that_is_ended_early_counts_what_was_answered(coop):
    coop.record()
    before = sum(len(e.requests) for e in coop.stack.engines)
    asked = lambda: sum(len(e.requests) for e in coop.stack.engines) - before  # noqa: E731
    with rounds(coop, "9s") as running:
        wait_for(lambda: asked() > 0, "one was asked", 20)
    rows = json.loads(running.log_text)
    assert len(rows) == asked() and {r["mark"] for r in rows} == {"good"}
    assert sum(coop.marks(w)[0] for w in coop.stack.workers) == asked()


def test_rounds_go_on_and_read_the_file_again(coop):
    good = coop.record()
    with rounds(coop, "2s") as running:
        lines = lambda: running.log_text.splitlines()  # noqa: E731
        wait_for(lambda: len(lines()) >= 1, "a round", 10)
        assert [r["mark"] for r in json.loads(lines()[0])] == ["good"] * 3
        coop.write(good, mode=0o644)
        wait_for(lambda: "others than its owner" in running.log_text, "it is read again", 10)
        coop.write(good)
        wait_for(lambda: lines()[-1].startswith("[{"), "and is right again", 15)
