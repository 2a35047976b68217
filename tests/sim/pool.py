"""A real pool for scenarios: the stack of the integration tests (gateways, Redis, workers) beside simulated engines, and a replay of
a trace against it.

    pool = Pool(programs, gateways=1, speeds=[4, 4, 4, 4])
    with pool.replay(rate=20, count=200) as run:      # goes on beside what the block does
        run.until(3); pool.workers[0].kill()
    run.requests                                      # a Request for each line of the replay's log
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests/integration"))

from stack import BIN, Process, Stack, free_port, model, wait_for  # noqa: E402

TRACES = os.path.join(ROOT, "../shared/vectors/traces")
STAND_INS = {"azure_conv.csv": "conv", "azure_code.csv": "code", "mooncake_conv.jsonl": "chat"}


def trace(name):
    """The trace's file, or the name of what stands in for it; and how to call it."""
    path = os.path.join(TRACES, name)
    if os.path.exists(path):
        return path, name
    return STAND_INS[name], f"{STAND_INS[name]} (made up: {name} is not here)"


class Engine(Process):
    """A simulated engine, as a stack's worker wants to see an engine."""

    class dialect:
        name = "vllm"

    models = ["sim"]

    def __init__(self, stack, programs, name, **options):
        self.port, self.control = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        argv = [os.path.join(programs, "engine"), "--listen", f"127.0.0.1:{self.port}", "--control", f"127.0.0.1:{self.control}",
                "--name", name]
        for option, value in options.items():
            argv += [f"--{option}", str(value)]
        super().__init__(stack, f"engine-{name}", argv)

    def start(self):
        super().start()
        wait_for(self.answers, self.name)
        return self

    def ask(self, path, body=None):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.control}{path}", data=body, timeout=10) as answer:
            return answer.read()

    def answers(self):
        assert self.alive, self.log_text
        try:
            return self.figures
        except OSError:
            return False

    def fault(self, **fault):
        self.ask("/sim/faults", json.dumps(fault).encode())

    @property
    def figures(self):
        return json.loads(self.ask("/sim/figures"))


@dataclasses.dataclass
class Request:
    at: float  # seconds from the replay's begin
    account: int
    conversation: str
    gateway: int
    end: str  # ok, error (an error event), or how it was lost: connect closed protocol status short timeout
    status: int
    code: str
    first_ms: float  # -1: no event came
    over_ms: float
    gap_ms: float
    events: int
    engine: str
    prompt: int
    made: int
    cached: int

    @property
    def ok(self):
        return self.end == "ok"

    @property
    def began(self):
        return self.first_ms >= 0

    @property
    def over_at(self):
        return self.at + self.over_ms / 1000


class Replay:
    finished = []  # for pictures

    def __init__(self, pool, rate, count, source="azure_conv.csv", gateways=None, **options):
        self.log = os.path.join(pool.stack.folder, "replay.jsonl")
        name, self.trace = trace(source)
        options = {"trace": name, "log": self.log, "keys": pool.keys_file, "accounts": len(pool.keys), "rate": rate, "count": count,
                   "prompt-max": 1000, "output-max": 120, **options}
        self.argv = [os.path.join(pool.programs, "replay")]
        for gateway in gateways or pool.gateways:
            self.argv += ["--to", gateway.listen]
        for option, value in options.items():
            self.argv += [f"--{option}", str(value)]
        self.requests = []
        self.process = self.begun = None

    def __enter__(self):
        self.begun = time.monotonic()
        self.process = subprocess.Popen(self.argv)
        return self

    def __exit__(self, kind, error, where):
        if kind:
            self.process.kill()
        code = self.process.wait(900)
        if not kind:
            assert code == 0, f"replay ended with code {code}"
            with open(self.log) as f:
                self.requests = [Request(**json.loads(line)) for line in f]
            Replay.finished.append(self)

    def until(self, s):
        """Sleeps until that time of the replay."""
        time.sleep(max(0.0, self.begun + s - time.monotonic()))


class Pool:
    def __init__(self, programs, gateways=1, speeds=(4, 4, 4, 4), accounts=8, max_requests=8, engine=None, settings=None, redis=None,
                 worker=None):
        self.programs = programs
        self.stack = Stack("sim")
        try:
            self.start(gateways, speeds, accounts, max_requests, engine or {}, settings or {}, redis, worker or {})
        except BaseException:
            self.stop()
            raise

    def start(self, gateways, speeds, accounts, max_requests, engine, settings, redis, worker):
        if redis:
            redis(self.stack)
        self.keys = [self.stack.key() for _ in range(accounts)]
        self.keys_file = os.path.join(self.stack.folder, "replay-keys")
        with open(self.keys_file, "w") as f:
            f.writelines(key + "\n" for key in self.keys)
        os.chmod(self.keys_file, 0o600)
        self.engines = [self.stack.start(Engine(self.stack, self.programs, f"w{i + 1}", speed=speed, batch=max_requests, **engine))
                        for i, speed in enumerate(speeds)]
        self.gateways = [self.stack.gateway(f"gateway-{i + 1}", **{"log_level": "warn", **settings}) for i in range(gateways)]
        self.workers = [self.stack.worker(e, self.gateways, name=f"w{i + 1}", max_requests=max_requests, log_level="warn", **worker)
                        for i, e in enumerate(self.engines)]
        self.stack.wait_ready()

    def replay(self, **options):
        return Replay(self, **options)

    def warm(self, rate=20, count=60):
        """Keys are cached, speeds are known, connections are open."""
        with self.replay(rate=rate, count=count, first=1000) as run:
            pass
        Replay.finished.remove(run)
        assert all(r.ok for r in run.requests), [r for r in run.requests if not r.ok][:3]

    def in_flight(self):
        """What the gateways that live count at each worker, by name."""
        found = {}
        for gateway in self.gateways:
            for w in gateway.status["workers"] if gateway.alive else ():
                found[w["worker_id"]] = found.get(w["worker_id"], 0) + w["streams"]
        return found

    def stop(self):
        """Ends everything; what the stack has to say against it, as a text."""
        try:
            self.stack.stop()
        except AssertionError as e:
            return str(e)
        finally:
            self.stack.remove()
        return ""


__all__ = ["BIN", "ROOT", "Engine", "Pool", "Request", "Stack", "free_port", "model", "trace", "wait_for"]
