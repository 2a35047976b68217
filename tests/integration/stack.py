"""Starts the real programs for a test: Redis, gateways, workers, beside a scripted engine. See conftest.py for the fixtures.

    stack.redis.stop() .start() .pause() .resume() .flush() .client     one Redis, started at first use
    engine = stack.engine(dialect="vllm", models=["m"])                 fake_engine.FakeEngine, started
    gateway = stack.gateway("a", **{"limits.body_bytes": 1000})         any setting by its dotted name
    worker = stack.worker(engine, [gateway], max_requests=2)
    key = stack.key("--name", "strict", "--strict")                     what `cocoonctl keys create` takes
    stack.client(gateway, key)                                          the openai package's client
    stack.raw(gateway)                                                  raw.Raw: byte by byte, with the stack's key
    stack.stop()                                                        everything, by process id

gateway and worker start and return once they answer /healthz; wait_ready() waits for /readyz. Everything listens on 127.0.0.1 on
free ports or on UNIX sockets in stack.folder, where the logs are too (gateway.log, worker.log). The programs come from $BIN.
"""

import atexit
import collections
import ctypes
import errno
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

import httpx
import openai
import redis as redis_package
import yaml

from fake_engine import FakeEngine
from raw import Raw

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.abspath(os.environ.get("BIN", os.path.join(ROOT, "bin")))
SLOW = 4 if "asan" in BIN or "tsan" in BIN else 1  # sanitizers slow everything down
PAYOUT = "0:" + "0" * 64
LIBC = ctypes.CDLL(None)


def die_with_parent():
    """In a child, before its program: SIGKILL when pytest is gone."""
    LIBC.prctl(1, signal.SIGKILL)


def ports():
    """Each port of this pytest process's share once, then again; below those that the kernel gives to connections and binds to 0."""
    share, which = 2000, int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 10
    first, start = 12000 + which * share, random.randrange(share)
    while True:
        for i in range(share):
            yield first + (start + i) % share


PORTS = ports()
LOCKS = collections.deque()  # of the ports given last; the oldest ones have been let go by their tests


def lock_port(port):
    """As scripts/run.py does: tests of another checkout may run on this machine."""
    s = socket.socket(socket.AF_UNIX)
    try:
        s.bind(f"\0cocoon-port-{port}")
    except OSError as e:
        s.close()
        if e.errno != errno.EADDRINUSE:
            raise
        return False
    LOCKS.append(s)
    if len(LOCKS) > 200:
        LOCKS.popleft().close()
    return True


def free_port():
    """A free port on 127.0.0.1 that no test beside this one takes before it is listened on."""
    while True:
        port = next(PORTS)
        if not lock_port(port):
            continue
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def wait_for(check, what, timeout=10.0, step=0.01):
    """Polls until check() is true; its value."""
    until = time.monotonic() + timeout * SLOW
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"{what}: not within {timeout * SLOW:.0f} s")
        time.sleep(step)


def nested(settings, overrides):
    """Puts dotted names into nested maps; None removes a setting."""
    for name, value in overrides.items():
        at, (*path, last) = settings, name.split(".")
        for part in path:
            at = at.setdefault(part, {})
        if value is None:
            at.pop(last, None)
        else:
            at[last] = value
    return settings


class Process:
    """A program with its log, in a session of its own."""

    def __init__(self, stack, name, argv, env=None):
        self.stack, self.name, self.argv, self.env = stack, name, argv, env
        self.log = os.path.join(stack.folder, name + ".log")
        self.process = None

    def start(self):
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.stack.folder,
                                            start_new_session=True, preexec_fn=die_with_parent, env={**os.environ, **(self.env or {})})
        return self

    @property
    def pid(self):
        return self.process.pid

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.process.wait(10)

    def stop(self, timeout=10.0):
        """SIGTERM; its exit code. One that does not end in time is killed, and the test fails."""
        if not self.alive:
            return self.process.returncode if self.process else None
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {timeout * SLOW} s of SIGTERM") from None

    def wait(self, timeout=10.0):
        return self.process.wait(timeout * SLOW)

    @property
    def log_text(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def wait_log(self, pattern, timeout=10.0):
        """Waits until the log has a line that matches; the match."""
        return wait_for(lambda: re.search(pattern, self.log_text), f"{self.name}: no log line like {pattern}", timeout)

    # Figures of the process, for tests of leaks.
    @property
    def rss_kib(self):
        with open(f"/proc/{self.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))

    @property
    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Redis(Process):
    def __init__(self, stack):
        self.port = free_port()
        argv = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir",
                stack.folder]
        super().__init__(stack, "redis", argv)
        self.url = f"redis://127.0.0.1:{self.port}"
        self.client = redis_package.Redis(port=self.port, decode_responses=True, socket_timeout=5)

    def start(self):
        super().start()
        wait_for(self.answers, "redis")
        return self

    def answers(self):
        assert self.alive, self.log_text
        try:
            return self.client.ping()
        except redis_package.RedisError:
            return False

    def flush(self):
        self.client.flushall()


class Program(Process):
    """A gateway or worker: a process with settings and an admin listener."""

    def __init__(self, stack, name, binary, settings):
        self.config = os.path.join(stack.folder, f"{name}.yaml")
        super().__init__(stack, name, [os.path.join(BIN, binary), "--config", self.config])
        self.settings = settings

    def write_config(self):
        with open(self.config, "w") as f:
            yaml.safe_dump(self.settings, f, sort_keys=False)

    def start(self):
        self.write_config()
        super().start()
        wait_for(self.healthy, f"{self.name}: /healthz", 10)
        return self

    def reload(self, **overrides):
        """Changes settings and sends SIGHUP."""
        nested(self.settings, overrides)
        self.write_config()
        self.signal(signal.SIGHUP)

    def admin(self, path):
        """A GET on the admin listener: an httpx response."""
        address = self.settings["admin"]
        if address.startswith("unix:"):
            with httpx.Client(transport=httpx.HTTPTransport(uds=address[5:])) as c:
                return c.get("http://admin" + path, timeout=5 * SLOW)
        with httpx.Client(trust_env=False) as c:
            return c.get(f"http://{address}{path}", timeout=5 * SLOW)

    def healthy(self):
        assert self.alive, f"{self.name} ended with code {self.process.returncode}:\n{self.log_text[-4000:]}"
        try:
            return self.admin("/healthz").status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def ready(self):
        try:
            return self.admin("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def wait_ready(self, timeout=15.0):
        wait_for(lambda: self.ready or not self.alive, f"{self.name}: /readyz", timeout)
        assert self.alive, f"{self.name} ended with code {self.process.returncode}:\n{self.log_text[-4000:]}"
        return self

    @property
    def status(self):
        return self.admin("/status.json").json()

    @property
    def metrics(self):
        """name{labels} -> value."""
        found = {}
        for line in self.admin("/metrics").text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                found[name] = float(value)
        return found

    def metric(self, name, **labels):
        """Sum over the series of that name whose labels include the given ones."""
        wanted = [f'{k}="{v}"' for k, v in labels.items()]
        return sum(v for k, v in self.metrics.items() if k.split("{")[0] == name and all(w in k for w in wanted))


class Gateway(Program):
    @property
    def listen(self):
        return self.settings["listen"]

    @property
    def address(self):
        """What Raw connects to."""
        if self.listen.startswith("unix:"):
            return self.listen[5:]
        host, port = self.listen.rsplit(":", 1)
        return host, int(port)

    @property
    def base_url(self):
        return "http://gateway/v1" if self.listen.startswith("unix:") else f"http://{self.listen}/v1"

    @property
    def accepting(self):
        """How many workers it would use now."""
        return sum(w["state"] == "ready" and w["accepting"] for w in self.status["workers"])

    @property
    def admin_url(self):
        return f"http://{self.settings['admin']}"

    @property
    def tunnel(self):
        return self.settings["tunnel"]["listen"]


class Worker(Program):
    @property
    def admin_socket(self):
        return self.settings["admin"]


class Evidence:
    """The dev issuer (cocoon-devtee), one for all stacks of a test run: its socket makes quotes, its files make them good."""

    made = None

    @classmethod
    def shared(cls):
        if cls.made is None:
            cls.made = cls()
        return cls.made

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="cocoon-tee-")
        self.socket, seed = self.path("s"), self.path("seed")
        program = os.path.join(BIN, "cocoon-devtee")
        subprocess.run([program, "init", "--seed-file", seed, "--out", self.folder], check=True, timeout=30 * SLOW)
        self.process = subprocess.Popen([program, "serve", "--seed-file", seed, "--socket", self.socket], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                                        preexec_fn=die_with_parent)
        atexit.register(self.stop)
        wait_for(self.answers, "the dev issuer")
        with open(self.path("release.pub")) as f:
            self.release_key = f.read().strip()
        with open(self.path("collateral.json")) as f:
            self.collateral = json.load(f)

    def path(self, name):
        return os.path.join(self.folder, name)

    def answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.socket) == 0

    def quote(self, report_data):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10 * SLOW)
            s.connect(self.socket)
            s.sendall(report_data)
            f = s.makefile("rb")
            return f.read(int.from_bytes(f.read(4), "big"))

    def stop(self):
        self.process.kill()
        self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


class Stack:
    def __init__(self, fixture="stack"):
        self.fixture = fixture  # whose it is: a failed test shows the logs of its own stacks
        self.folder = tempfile.mkdtemp(prefix="cocoon-")  # short: UNIX socket paths are
        self.processes = []
        self.engines = []
        self.gateways, self.workers = [], []
        self._redis = self._operator = self._operator_key = self._key = None
        self._clients = []

    # -- parts --
    def start(self, process):
        self.processes.append(process)
        return process.start()

    @property
    def redis(self):
        if self._redis is None:
            self._redis = self.start(Redis(self))
        return self._redis

    @property
    def operator(self):
        """The operator's folder of keys and certificates, with its pin."""
        if self._operator is None:
            self._operator = Operator(self, os.path.join(self.folder, "operator"))
        return self._operator

    @property
    def operator_key(self):
        """Public half of the key that vouches for the bill keys of all gateways that are started afterwards."""
        if self._operator_key is None:
            self._operator_key = self.ctl("operator", "key", os.path.join(self.folder, "operator.key")).stdout.strip()
        return self._operator_key

    def engine(self, dialect="llamacpp", **kw):
        engine = FakeEngine(dialect, **kw).start()
        self.engines.append(engine)
        return engine

    def gateway(self, name=None, start=True, **overrides):
        name = name or unique("gateway", self.gateways)
        self.key_for_all()
        tee = Evidence.shared()
        settings = nested({
            "listen": f"127.0.0.1:{free_port()}",
            "admin": f"127.0.0.1:{free_port()}",
            "tunnel": {"listen": f"127.0.0.1:{free_port()}", "chain": self.operator.path("tunnel.pem"),
                       "key": self.operator.path("tunnel.key")},
            "redis": {"url": self.redis.url},
            "cluster_secret_file": self.operator.path("cluster.secret"),
            "instance": name,
            "log_level": "debug",
            "attestation": {"policy": tee.path("policy.json"), "release_keys": [tee.release_key],
                            "state": os.path.join(self.folder, f"{name}.state")},
            "timeouts": {"drain_ms": 3000},
            "auth": {"failures_per_minute": 100000},  # tests fail on purpose, all from one address
            "operator_key_file": os.path.join(self.folder, "operator.key") if self._operator_key else "",
        }, overrides)
        gateway = Gateway(self, name, "cocoon-gateway", settings)
        self.gateways.append(gateway)
        return self.start(gateway) if start else gateway

    def worker(self, engine=None, gateways=None, name=None, models=None, start=True, **overrides):
        """models: names, or maps as in the settings; default: the engine's, with every endpoint."""
        name = name or unique("worker", self.workers)
        engine = engine or self.engines[0]
        gateways = gateways if gateways is not None else self.gateways
        models = [m if isinstance(m, dict) else model(m) for m in (models or engine.models)]
        tee = Evidence.shared()
        settings = nested({
            "worker_id": name,
            "payout": PAYOUT,
            "admin": f"unix:{self.folder}/{name}.sock",
            "log_level": "debug",
            "operators": [{"name": "test", "gateways": [g.tunnel for g in gateways], "pins": [self.operator.pin]}],
            "models": models,
            "engine": {"url": engine.url, "kind": engine.dialect.name},
            "quote_provider": "socket:" + tee.socket,
            "collateral_file": tee.path("collateral.json"),
            "max_requests": 8,
            "drain_ms": 3000,
        }, overrides)
        worker = Worker(self, name, "cocoon-worker", settings)
        self.workers.append(worker)
        return self.start(worker) if start else worker

    def wait_ready(self):
        for program in self.workers + self.gateways:
            if program.alive:
                program.wait_ready()
        # A gateway hears once a second of a worker that became ready meanwhile.
        for gateway in self.gateways:
            tunnel = gateway.tunnel
            expected = sum(w.alive and any(tunnel in o["gateways"] for o in w.settings["operators"]) for w in self.workers)
            if gateway.alive:
                wait_for(lambda: gateway.accepting >= expected, f"{gateway.name}: {expected} workers")
        return self

    def wait_listed(self):
        """Until cocoonctl knows every worker by name: a gateway writes of one to Redis up to 250 ms after it became ready."""
        known = self.redis.client.exists
        wait_for(lambda: all(known("worker:" + w.status["iid"]) for w in self.workers if w.alive), "the workers are in Redis", 5)
        return self

    # -- keys --
    def ctl(self, *args, check=True, **env):
        """Runs cocoonctl on this stack; a CompletedProcess with text."""
        env = {**os.environ, "REDIS_URL": self.redis.url, "COCOON_KEYS_FILE": self.keys_file, **env}
        done = subprocess.run([os.path.join(BIN, "cocoonctl"), *args], env=env, text=True, capture_output=True, timeout=30 * SLOW,
                              cwd=self.folder, stdin=subprocess.DEVNULL)
        if check:
            assert done.returncode == 0, f"cocoonctl {' '.join(args)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    @property
    def keys_file(self):
        return os.path.join(self.folder, "keys.json")

    def key(self, *args):
        """A new key."""
        return self.ctl("keys", "create", "--quiet", *args).stdout.split()[-1]

    def key_for_all(self):
        """The key that client() and raw() use when none is given."""
        if self._key is None:
            self._key = self.key()
        return self._key

    # -- clients --
    def client(self, gateway=None, key=None, **kw):
        """The unmodified openai package; retries are off unless asked for."""
        gateway = gateway or self.gateways[0]
        kw.setdefault("max_retries", 0)
        kw.setdefault("timeout", 30 * SLOW)
        client = openai.OpenAI(base_url=gateway.base_url, api_key=key or self.key_for_all(), **kw)
        self._clients.append(client)
        return client

    def raw(self, gateway=None, key=None, **kw):
        """A bare connection to the gateway. key="" sends none."""
        gateway = gateway or self.gateways[0]
        kw.setdefault("timeout", 20 * SLOW)
        return Raw(gateway.address, key=self.key_for_all() if key is None else key, **kw)

    # -- the end --
    def stop(self):
        """Everything, in the order of a request's way; the folder stays for remove()."""
        for client in self._clients:
            client.close()
        failures = []
        rank = {Gateway: 0, Worker: 1}
        for process in sorted(self.processes, key=lambda p: rank.get(type(p), 2)):
            try:
                process.stop()
            except AssertionError as e:
                failures.append(str(e))
        for engine in self.engines:
            engine.stop()
        for program in self.gateways + self.workers:
            if re.search(r"(ERROR: \w+Sanitizer|runtime error:|CHECK failed)", program.log_text):
                failures.append(f"{program.name}: a sanitizer or a check spoke:\n{program.log_text[-6000:]}")
        assert not failures, "\n".join(failures)

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def tails(self, size=3000):
        """The ends of all logs, for a failed test's report."""
        return [(p.name, p.log_text[-size:]) for p in self.processes]


class Operator:
    def __init__(self, stack, folder):
        self.folder = folder
        stack.ctl("operator", "init", folder)
        self.pin = stack.ctl("operator", "pin", self.path("ca.pem")).stdout.split()[-1]

    def path(self, name):
        return os.path.join(self.folder, name)


def model(name, **kw):
    """A worker's model with every endpoint."""
    return {"name": name, "context": 32768, "max_output": 8192, "endpoints": ["chat", "completions", "embeddings"], **kw}


def unique(kind, taken):
    return kind if not taken else f"{kind}-{len(taken) + 1}"


def chat(text="Hi", **kw):
    """A chat request's body."""
    return {"model": "fake-model", "messages": [{"role": "user", "content": text}], **kw}


def script(name, **arguments):
    """The user message that makes the fake engine run a script."""
    return json.dumps({"script": name, **arguments})


def document(name):
    """A YAML file of the repository; by libyaml, since PyYAML's own reader takes a second of every process for openapi.yaml."""
    with open(os.path.join(ROOT, name), "rb") as f:
        return yaml.load(f, yaml.CSafeLoader)


def quote(model_id):
    return urllib.parse.quote(model_id, safe="")
