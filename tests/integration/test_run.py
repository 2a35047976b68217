"""`make run` itself: what it prints and writes, and that nothing of it stays behind however it ends."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time

import openai
import pytest

from stack import BIN, ROOT, SLOW, die_with_parent, free_port, wait_for

PARTS = {"redis-server", "cocoon-ledger", "engine_serve.py", "cocoon-worker", "cocoon-gateway"}


def arguments(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as f:
            return f.read().replace("\0", " ").strip()
    except OSError:
        return ""  # gone, or a zombie that its reaper has yet to take


def below(pid):
    """All processes below it: pid -> command line."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            found.setdefault(parent, []).append(int(entry))
    todo, all_ = [pid], {}
    while todo:
        for child in found.get(todo.pop(), []):
            all_[child] = arguments(child)
            todo.append(child)
    return all_


class Run:
    def __init__(self, folder, argv=None, more=()):
        self.state = os.path.join(folder, "run")
        self.output = os.path.join(folder, "output")
        self.argv = argv or [sys.executable, os.path.join(ROOT, "scripts/run.py"), "--bin", BIN, "--state", self.state, *more]

    def start(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        with open(self.output, "wb") as out:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT, env=env,
                                            start_new_session=True, preexec_fn=die_with_parent)
        return self

    @property
    def text(self):
        with open(self.output) as f:
            return f.read()

    def path(self, name):
        return os.path.join(self.state, name)

    def ready(self):
        wait_for(lambda: os.path.exists(self.path("env")) or self.process.poll() is not None, "the stack", 60)
        assert self.process.poll() is None, self.text
        self.below = below(self.process.pid)
        for part in PARTS:
            assert any(part in command for command in self.below.values()), f"no {part}: {self.below}"
        return self

    @property
    def env(self):
        with open(self.path("env")) as f:
            return dict(line.strip().split("=", 1) for line in f)

    def pid_of(self, part):
        return next(pid for pid, command in self.below.items() if part in command)

    def check_gone(self):
        """No process, no socket, no env file."""
        wait_for(lambda: not any(arguments(pid) == command != "" for pid, command in self.below.items()), "every process to end", 15)
        assert not os.path.exists(self.path("env"))
        left = [name for name in os.listdir(self.state) if stat.S_ISSOCK(os.stat(self.path(name)).st_mode)]
        assert left == []

    def end(self):
        """After a failed test: whatever is left of it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()


@pytest.fixture
def run(tmp_path):
    run = Run(str(tmp_path))
    yield run
    run.end()


def test_it_serves_and_stops_and_starts_again_with_the_same_key(run):
    run.start().ready()
    env = run.env
    assert set(env) == {"OPENAI_BASE_URL", "OPENAI_API_KEY", "REDIS_URL", "GATEWAY_ADMIN_URL", "COCOON_LEDGER", "COCOON_WORKER_ADMIN",
                        "COCOON_CLIENT_BASE_URL"}
    assert stat.S_IMODE(os.stat(run.path("env")).st_mode) == 0o600
    text = run.text
    for line in (r"engine +loading", r"engine +ready", r"redis +ready", r"worker +connected", r"gateway +ready", r"client +ready",
                 r"answer +sealed .*Paris", r"answer +end to end .*Paris"):
        assert re.search(line, text), text
    assert f"OPENAI_API_KEY={env['OPENAI_API_KEY']}" in text and "curl " in text

    client = openai.OpenAI(base_url=env["OPENAI_BASE_URL"], api_key=env["OPENAI_API_KEY"], max_retries=0)
    answer = client.chat.completions.create(model="smollm2-135m-instruct", temperature=0, max_tokens=20,
                                            messages=[{"role": "user", "content": "What is the capital of France?"}])
    assert "Paris" in answer.choices[0].message.content
    client = openai.OpenAI(base_url=env["COCOON_CLIENT_BASE_URL"], api_key=env["OPENAI_API_KEY"], max_retries=0)
    raw = client.chat.completions.with_raw_response.create(model="smollm2-135m-instruct", temperature=0, max_tokens=20,
                                                           messages=[{"role": "user", "content": "What is the capital of France?"}])
    assert "Paris" in raw.parse().choices[0].message.content and raw.headers["cocoon-privacy"] == "end-to-end"
    listed = subprocess.run([os.path.join(BIN, "cocoonctl"), "keys", "list"], env={**os.environ, **env}, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    assert env["OPENAI_API_KEY"] not in listed.stdout

    second = subprocess.run(run.argv, capture_output=True, text=True, cwd=ROOT, timeout=20)
    assert second.returncode != 0 and "running" in second.stderr and os.path.exists(run.path("env"))

    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(20) == 0
    run.check_gone()

    started = time.monotonic()
    run.start().ready()
    assert time.monotonic() - started < 10 * SLOW
    assert run.env["OPENAI_API_KEY"] == env["OPENAI_API_KEY"]
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(20) == 0
    run.check_gone()


def test_the_commands_of_the_page_on_bills_give_its_figures(run, tmp_path):
    """docs/billing.md, word for word, in a folder that has .run and bin as a checkout has."""
    run.start().ready()
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / ".run").symlink_to(run.state)
    (checkout / "bin").symlink_to(BIN)
    with open(os.path.join(ROOT, "docs/billing.md"), encoding="utf-8") as f:
        page = f.read()
    commands = re.findall(r"```sh\n(.*?)```", page[page.index("## One request by hand"):page.index("## The journey")], re.S)
    assert len(commands) == 5
    done = subprocess.run(["bash", "-euc", "\n".join(commands)], cwd=checkout, text=True, capture_output=True, timeout=60 * SLOW)
    assert done.returncode == 0 and done.stdout.endswith("All files hold and belong together.\n"), done.stdout + done.stderr
    bill = json.loads(next(line for line in done.stdout.splitlines() if '"price_sha256"' in line))
    hashes = [line for line in done.stdout.splitlines() if re.fullmatch(r"[\w-]{43}", line)]
    assert hashes == [bill["price_sha256"], bill["usage"]]
    assert "\n895\n" in done.stdout and f"cocoon-cost-nano: {bill['amount']}\n" in done.stdout.lower()
    priced = (bill["in"] - bill["cached"]) * 20 + bill["cached"] * 5 + bill["out"] * 80 + 100  # of the example's book
    assert int(bill["amount"]) == max(200, priced) and int(bill["fee"]) == int(bill["amount"]) - int(bill["amount"]) * 9500 // 10000


def test_several_gateways_stand_behind_one_port_and_two_stacks_beside_each_other(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    many = Run(str(tmp_path / "a"), more=("--gateways", "3", "--workers", "4")).start()
    one = Run(str(tmp_path / "b")).start()  # in the same second
    try:
        many.ready(), one.ready()
        assert not {v for v in many.env.values() if ":" in v} & {v for v in one.env.values() if ":" in v}
        assert sum("cocoon-gateway" in c for c in many.below.values()) == 3 and sum("cocoon-worker" in c for c in many.below.values()) == 4
        for line in (r"gateway +ready", r"gateway-3 +ready", r"worker-4 +connected", r"answer +sealed .*Paris", r"answer +end to end .*Paris"):
            assert re.search(line, many.text), many.text
        ctl = lambda *words: subprocess.run([os.path.join(BIN, "cocoonctl"), *words], env={**os.environ, **many.env}, check=True,
                                            capture_output=True, text=True).stdout
        assert [len(w["gateways"]) for w in json.loads(ctl("workers", "--json"))] == [3] * 4
        asked = set()
        for _ in range(12):  # each on a connection of its own
            client = openai.OpenAI(base_url=many.env["OPENAI_BASE_URL"], api_key=many.env["OPENAI_API_KEY"], max_retries=0)
            assert client.models.list().data[0].id == "smollm2-135m-instruct"
            client.close()
        for name in ("gateway", "gateway-2", "gateway-3"):
            with open(many.path(f"log/{name}.log")) as f:
                asked |= {name} if "event=request " in f.read() else set()
        assert len(asked) > 1, "the kernel spreads connections"
        for run in (many, one):
            run.process.send_signal(signal.SIGTERM)
        for run in (many, one):
            assert run.process.wait(30) == 0
            run.check_gone()
    finally:
        many.end(), one.end()


def test_busy_ports_make_it_take_others(run):
    taken = []
    for port in (8080, 9090, 8443, 6379, 8081, 10000):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
            s.listen()
        except OSError:
            pass  # somebody else's: as good
        taken.append(s)
    run.start().ready()
    assert ":8080/" not in run.env["OPENAI_BASE_URL"] and "busy" in run.text
    os.killpg(run.process.pid, signal.SIGTERM)  # the group, as a terminal or CI does
    assert run.process.wait(20) == 0
    run.check_gone()
    for s in taken:
        s.close()


def test_a_port_that_a_test_has_is_left_by_who_has_another_folder_for_files(tmp_path):
    ask = f"import run; print(run.Ports().lock({free_port()}))"
    done = subprocess.run([sys.executable, "-c", ask], cwd=os.path.join(ROOT, "scripts"), env={**os.environ, "TMPDIR": str(tmp_path)},
                          capture_output=True, text=True, timeout=20 * SLOW)
    assert done.stdout == "False\n", done.stderr


def test_the_death_of_a_part_ends_all_with_its_last_words(run):
    run.start().ready()
    os.kill(run.pid_of("cocoon-worker"), signal.SIGKILL)
    assert run.process.wait(20) == 1
    assert "worker was ended by SIGKILL" in run.text and "worker.log" in run.text
    run.check_gone()


def test_an_upgraded_gateway_is_still_a_part(run):
    run.start().ready()
    url, old = run.env["OPENAI_BASE_URL"], run.pid_of("cocoon-gateway")
    os.kill(old, signal.SIGUSR2)
    wait_for(lambda: not arguments(old), "the old one has ended", 20)
    wait_for(lambda: re.search(r"gateway +upgraded +process \d+", run.text) or run.process.poll() is not None, "the new one", 5)
    assert run.process.poll() is None, run.text
    run.ready()
    assert openai.OpenAI(base_url=url, api_key=run.env["OPENAI_API_KEY"]).models.list().data[0].id == "smollm2-135m-instruct"
    os.kill(run.pid_of("cocoon-gateway"), signal.SIGUSR2)  # and ended in the middle of the next one
    run.process.send_signal(signal.SIGTERM)
    run.below.update(below(run.process.pid))
    assert run.process.wait(30) == 0
    time.sleep(0.5)
    run.check_gone()
    with pytest.raises(openai.APIConnectionError):
        openai.OpenAI(base_url=url, api_key="none", max_retries=0).models.list()


def test_nothing_stays_behind_when_it_is_killed(run):
    run.start().ready()
    run.process.kill()
    run.process.wait(20)
    run.check_gone()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ending_make_ends_all(tmp_path, number):
    """With a recipe like the one of `make run`: make passes SIGTERM on; of SIGKILL the script must notice by itself."""
    run = Run(str(tmp_path))
    makefile = tmp_path / "Makefile"
    makefile.write_text("run:\n\t@exec " + " ".join(run.argv) + "\n")
    run.argv = ["make", "-s", "-f", str(makefile), "run"]
    try:
        run.start().ready()
        run.process.send_signal(number)
        run.process.wait(20)
        run.check_gone()
    finally:
        run.end()


def test_an_unbuilt_program_is_named(tmp_path):
    done = subprocess.run([sys.executable, os.path.join(ROOT, "scripts/run.py"), "--bin", str(tmp_path), "--state", str(tmp_path / "run")],
                          capture_output=True, text=True)
    assert done.returncode == 1 and "cocoon-gateway is not built" in done.stderr and "make" in done.stderr
