#!/usr/bin/env python3
"""`make run`: a whole stack on this machine: Redis, the ledger, a real engine with a real model, workers, gateways behind one port,
the client.

Everything listens on loopback and keeps its state below .run/. Stays in the foreground; Ctrl-C, SIGTERM or the death of any part
stops every process it started. A guard process does the same should this one be killed.
"""

import argparse
import ctypes
import errno
import fcntl
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPConnection

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODEL = "smollm2-135m-instruct"
CONTEXT = 2048  # tokens a slot of the engine
SLOTS = 4
TRIES = 5  # of the first chat
GATEWAYS_MAX = 16
READY_S = 120  # the whole start may take so long
GRACE_S = 5  # from SIGTERM to SIGKILL
QUESTION = "What is the capital of France?"
ACCOUNT = "default"
CREDIT_TON = 1000  # that the account starts with


class Failure(Exception):
    """Ends the run with a message for people."""


class Stopped(Exception):
    """A signal asked to stop."""


# ---- The guard: stops the parts when this process could not --------------------------------------------

class Guard:
    """A child that holds the other end of a pipe: when that closes, whatever was the reason, it ends every part still alive and
    removes the files of a running stack. Parts are held by pidfd, so a reused process id is never hit."""

    def __init__(self, cleanup):
        reader, self.pipe = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.pipe)
            try:
                self.watch(reader, cleanup)
            finally:
                os._exit(0)
        os.close(reader)

    @staticmethod
    def watch(reader, cleanup):
        os.setsid()  # what is sent to the process group must not end the guard
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        parts = []
        with os.fdopen(reader) as lines:
            for line in lines:
                try:
                    parts.append(os.pidfd_open(int(line)))
                except ProcessLookupError:
                    pass
        end_all(parts)
        cleanup()

    def add(self, pid):
        os.write(self.pipe, b"%d\n" % pid)

    def dismiss(self):
        os.close(self.pipe)
        os.waitpid(self.pid, 0)


def end_all(pidfds, grace=GRACE_S):
    """SIGTERM to each, SIGKILL to what is left after the grace."""
    for fd in pidfds:
        send(fd, signal.SIGTERM)
    until = time.monotonic() + grace
    for fd in pidfds:
        if not ended(fd, max(0.0, until - time.monotonic())):
            send(fd, signal.SIGKILL)
            ended(fd, 5)


def send(pidfd, number):
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        pass


def ended(pidfd, timeout):
    return bool(select.select([pidfd], [], [], timeout)[0])


# ---- Parts ---------------------------------------------------------------------------------------------

class Part:
    """One process of the stack, its output in a log file."""

    def __init__(self, name, argv, log, guard, env=None):
        self.name, self.log = name, log
        self.started = time.monotonic()
        with open(log, "wb") as out:
            # A session of its own: Ctrl-C reaches this script only, which then stops the parts in order.
            self.process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                            start_new_session=True, env={**os.environ, **(env or {})})
        self.argv = [word.encode() for word in argv]
        self.hold(self.process.pid, guard)

    def hold(self, pid, guard):
        guard.add(pid)
        self.pid, self.pidfd, self.code = pid, os.pidfd_open(pid), None

    def wait(self):
        """Its exit code; negative: the signal that ended it."""
        if self.pid == self.process.pid:
            return self.process.wait()
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def follow(self, guard):
        """After it has ended: goes on with its successor, if an upgrade (SIGUSR2) has started one. False: there is none."""
        for pid in children():
            if arguments(pid) == self.argv:
                os.close(self.pidfd)
                self.hold(pid, guard)
                return True
        return False

    @property
    def seconds(self):
        return time.monotonic() - self.started

    def tail(self, lines=12):
        with open(self.log, "rb") as f:
            text = f.read()[-8192:].decode(errors="replace")
        return "".join(f"    {line}\n" for line in text.splitlines()[-lines:])

    def end(self):
        end_all([self.pidfd])
        self.wait()


PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def children():
    """This process's, with those whose parents have ended (PR_SET_CHILD_SUBREAPER)."""
    with open("/proc/thread-self/children") as f:
        return [int(pid) for pid in f.read().split()]


def arguments(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        return f.read().split(b"\0")[:-1]


def say(name, state, detail="", seconds=None):
    took = f"  ({seconds:.1f} s)" if seconds is not None else ""
    print(f"{name:<10} {state:<10} {detail}{took}".rstrip(), flush=True)


class Ports:
    """Ports of 127.0.0.1 for the whole life of this process. Nobody can bind a port for another process without a moment in which
    a third may take it, and gateways share theirs (SO_REUSEPORT) even with strangers: so a name stands for each port, and whoever
    starts our programs on this machine, the tests too, binds it first. Abstract names are shared where ports are, by all that is in
    one network namespace, whatever files it sees."""

    def __init__(self):
        self.locks = []

    def lock(self, port):
        s = socket.socket(socket.AF_UNIX)
        try:
            s.bind(f"\0cocoon-port-{port}")
        except OSError as e:
            s.close()
            if e.errno != errno.EADDRINUSE:
                raise
            return False
        self.locks.append(s)
        return True

    def take(self, preferred):
        """The preferred port, or a free one when it is taken."""
        for port in (preferred, *[0] * 50):
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    s.bind(("127.0.0.1", port))
                    s.listen(1)  # a listener of someone else on all addresses shows here
                except OSError:
                    continue
                port = s.getsockname()[1]
                if self.lock(port):
                    return port
        raise Failure("no free port on 127.0.0.1")


class UnixConnection(HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def probe(address, path="/readyz", most=4096):
    """Status and body of a GET on an admin listener, host:port or unix:/path; (None, why) when nobody answers."""
    if address.startswith("unix:"):
        connection = UnixConnection(address[5:], 2)
    else:
        connection = HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(most).decode(errors="replace").strip()
    except OSError as e:
        return None, str(e)
    except Exception as e:  # what is no HTTP
        return None, repr(e)
    finally:
        connection.close()


# ---- The stack -----------------------------------------------------------------------------------------

class Stack:
    def __init__(self, args):
        self.args = args
        self.state = os.path.abspath(args.state)
        self.parts = []
        self.sockets = None
        self.parent = None
        self.signal = None

    # -- waiting --
    def listen_signals(self):
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.wake = reader
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if s == signal.SIGHUP and signal.getsignal(s) == signal.SIG_IGN:
                continue  # nohup
            signal.signal(s, lambda number, frame: setattr(self, "signal", number))
        if "MAKELEVEL" in os.environ:
            # make may be killed without being able to pass that on.
            self.parent = os.pidfd_open(os.getppid())

    def wait(self, timeout=None):
        """Sleeps; raises when a part died, a signal came or make is gone."""
        fds = [self.wake] + [p.pidfd for p in self.parts] + ([self.parent] if self.parent else [])
        ready = select.select(fds, [], [], timeout)[0]
        if self.wake in ready:
            os.read(self.wake, 512)
        if self.signal is not None or (self.parent in ready):
            raise Stopped()
        for part in self.parts:
            if part.pidfd in ready:
                self.follow(part)

    def follow(self, part):
        code = part.wait()
        if code != 0 or not part.follow(self.guard):
            raise Failure(died(part, code))
        say(part.name, "upgraded", f"process {part.pid}")

    def until(self, part, what, check, deadline):
        """Waits until check() returns None; it returns what is missing."""
        while (missing := check()) is not None:
            if time.monotonic() > deadline:
                raise Failure(f"{part.name}: not {what} in time: {missing}\n{part.tail()}")
            self.wait(0.03)

    # -- files --
    def path(self, *names):
        return os.path.join(self.state, *names)

    def write(self, name, text, mode=0o600):
        path = self.path(name)
        with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as f:
            f.write(text)
        os.replace(path + ".new", path)
        return path

    def lock(self):
        os.makedirs(self.path("log"), mode=0o700, exist_ok=True)
        os.chmod(self.state, 0o700)
        self.lock_file = open(self.path("lock"), "a+")
        until = time.monotonic() + GRACE_S + 2
        while True:
            try:
                fcntl.flock(self.lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                self.lock_file.seek(0)
                pid = self.lock_file.read().strip()
                if pid and os.path.exists(f"/proc/{pid}"):
                    raise Failure(f"one is running in this checkout already (process {pid}); see {self.path('env')}")
                if time.monotonic() > until:  # a killed run's guard still cleans up
                    raise Failure("the stack that ran before is still being stopped; try again in a moment")
                time.sleep(0.1)
        self.lock_file.seek(0)
        self.lock_file.truncate()
        self.lock_file.write(str(os.getpid()))
        self.lock_file.flush()

    def remove_run_files(self):
        for path in [self.path("env"), self.tee_socket(), self.ledger_socket()] + [self.worker_socket(i) for i in range(self.args.workers)]:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
        if self.sockets and self.sockets != self.state:
            shutil.rmtree(self.sockets, ignore_errors=True)

    def choose_sockets(self):
        """UNIX socket paths are short: a deep checkout needs another folder for them."""
        self.sockets = self.state
        if len(self.worker_socket(self.args.workers - 1)) > 100:
            self.sockets = tempfile.mkdtemp(prefix="cocoon-")

    def worker_socket(self, i):
        return os.path.join(self.sockets or self.state, f"{part_name('worker', i)}.sock")

    def ledger_socket(self):
        return os.path.join(self.sockets or self.state, "ledger.sock")

    def tee_socket(self):
        return os.path.join(self.sockets or self.state, "tee.sock")

    # -- starting --
    def once(self, program, *args):
        """Runs one of our programs to its end; its output."""
        env = {**os.environ, "REDIS_URL": self.redis_url, "COCOON_LEDGER": "unix:" + self.ledger_socket()}
        done = subprocess.run([os.path.join(self.args.bin, program), *args], cwd=ROOT, env=env, text=True, timeout=30,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        if self.signal is not None:
            raise Stopped()
        if done.returncode:
            raise Failure(f"{program} {' '.join(args[:2])} failed:\n    {(done.stderr or done.stdout).strip()}")
        return done.stdout.strip()

    def ctl(self, *args):
        return self.once("cocoonctl", *args)

    def start(self, name, argv, **kw):
        part = Part(name, argv, self.path("log", name + ".log"), self.guard, **kw)
        self.parts.append(part)
        return part

    def choose_ports(self):
        ports = Ports()
        wanted = {"redis": 6379, "engine": 8081, "api": 8080, "client": 10000}
        for i in range(self.args.gateways):
            wanted |= {f"admin{i}": 9090 + i, f"tunnel{i}": 8443 + i}
        self.ports = ports  # locked as long as this lives
        self.port = {name: ports.take(port) for name, port in wanted.items()}
        busy = [str(wanted[n]) for n in wanted if self.port[n] != wanted[n]]
        if busy:
            say("ports", "busy", ", ".join(busy) + ": free ones are taken instead")
        self.redis_url = f"redis://127.0.0.1:{self.port['redis']}"
        self.base_url = f"http://127.0.0.1:{self.port['api']}/v1"
        self.client_url = f"http://127.0.0.1:{self.port['client']}/v1"

    def admin(self, i):
        return f"127.0.0.1:{self.port[f'admin{i}']}"

    def tunnel(self, i):
        return f"127.0.0.1:{self.port[f'tunnel{i}']}"

    def start_redis(self):
        """As it has to be where money is; each start of a stack begins with an empty one, which the ledger fills."""
        shutil.rmtree(os.path.join(self.state, "appendonlydir"), ignore_errors=True)
        return self.start("redis", ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port["redis"]), "--save", "",
                                    "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
                                    "--daemonize", "no", "--dir", self.state, "--logfile", ""])

    def start_engine(self):
        python = os.path.join(ROOT, ".cache", "engine", "bin", "python")
        if not os.path.exists(python):
            raise Failure("the engine is not installed; run: scripts/setup.sh run")
        argv = [python, "scripts/engine_serve.py", "--port", str(self.port["engine"]), "--alias", MODEL, "--template",
                "scripts/chat.jinja", "--context", str(CONTEXT), "--slots", str(SLOTS)]
        # OpenMP's threads must sleep when idle: spinning ones starve whatever else runs on the machine.
        part = self.start("engine", argv, env={"OMP_WAIT_POLICY": "passive"})
        say("engine", "loading …", f"{MODEL} on 127.0.0.1:{self.port['engine']}")
        return part

    def start_gateway(self, i):
        """All listen on the same port: the kernel spreads connections over them."""
        name = part_name("gateway", i)
        config = self.write(f"{name}.yaml", f"""\
# Written by scripts/run.py at each start.
instance: {name}
listen: 127.0.0.1:{self.port['api']}
admin: {self.admin(i)}
tunnel:
  listen: {self.tunnel(i)}
  chain: operator/tunnel.pem
  key: operator/tunnel.key
redis:
  url: {self.redis_url}
cluster_secret_file: operator/cluster.secret
operator_key_file: operator/operator.key
attestation:
  policy: tee/policy.json
  state: {name}.state
  release_keys: ["{self.release_key}"]
timeouts:
  drain_ms: 2000
billing:
  journal: {name}.journal
  required: true
""")
        return self.start(name, [os.path.join(self.args.bin, "cocoon-gateway"), "--config", config])

    def start_worker(self, i):
        tunnels = json.dumps([self.tunnel(g) for g in range(self.args.gateways)])
        config = self.write(f"{part_name('worker', i)}.yaml", f"""\
# Written by scripts/run.py at each start.
worker_id: {part_name('worker', i)}
payout: "0:{'0' * 64}"
admin: {json.dumps('unix:' + self.worker_socket(i))}
operators:
  - name: local
    gateways: {tunnels}
    pins: ["{self.pin}"]
models:
  - name: {MODEL}
    context: {CONTEXT}
    max_output: {CONTEXT}
    endpoints: [chat, completions, embeddings]
engine:
  url: http://127.0.0.1:{self.port['engine']}
  kind: llamacpp
quote_provider: {json.dumps('socket:' + self.tee_socket())}
collateral_file: tee/collateral.json
event_log_file: tee/event_log.bin
max_requests: {max(1, SLOTS // self.args.workers)}
drain_ms: 2000
""")
        return self.start(part_name('worker', i), [os.path.join(self.args.bin, "cocoon-worker"), "--config", config])

    def make_evidence(self):
        """The root, collateral and signed policy of development's evidence; its seed is made once, kept."""
        os.makedirs(self.path("tee"), mode=0o700, exist_ok=True)
        self.once("cocoon-devtee", "init", "--seed-file", self.path("tee", "seed"), "--out", self.path("tee"))
        with open(self.path("tee", "release.pub")) as f:
            self.release_key = f.read().strip()

    def start_tee(self):
        argv = [os.path.join(self.args.bin, "cocoon-devtee"), "serve", "--seed-file", self.path("tee", "seed"), "--socket",
                self.tee_socket()]
        return self.start("tee", argv)

    def start_client(self):
        config = self.write("client.yaml", f"""\
# Written by scripts/run.py at each start.
listen: 127.0.0.1:{self.port['client']}
gateway: http://127.0.0.1:{self.port['api']}
policy: tee/policy.json
release_keys: ["{self.release_key}"]
insecure_dev: true
key_file: client.key
""")
        return self.start("client", [os.path.join(self.args.bin, "cocoon-client"), "--config", config])

    def make_operator(self):
        """The operator's certificates and secrets: made once, kept."""
        if not os.path.exists(self.path("operator", "cluster.secret")):
            self.ctl("operator", "init", self.path("operator"))
        self.pin = self.ctl("operator", "pin", self.path("operator", "ca.pem")).split()[-1]
        if not os.path.exists(self.path("operator", "operator.pub")):
            if os.path.exists(self.path("operator", "operator.key")):  # an earlier start ended between the two
                os.unlink(self.path("operator", "operator.key"))
            self.write(os.path.join("operator", "operator.pub"), self.ctl("operator", "key", self.path("operator", "operator.key")))
        with open(self.path("operator", "operator.pub")) as f:
            self.operator_key = f.read().strip()

    def start_ledger(self):
        config = self.write("ledger.yaml", f"""\
# Written by scripts/run.py at each start.
books: {json.dumps(self.path("books.sqlite"))}
admin: {json.dumps("unix:" + self.ledger_socket())}
redis:
  url: {self.redis_url}
bill_keys:
  operators: ["{self.operator_key}"]
""")
        return self.start("ledger", [os.path.join(self.args.bin, "cocoon-ledger"), "--config", config])

    def ledger_missing(self, path="/readyz"):
        status, text = probe("unix:" + self.ledger_socket(), path)
        return None if status == 200 else text or f"status {status}"

    def settle_stopped_gateways(self):
        """Bills of gateways that an earlier run had and this one has not: from their journals; nobody waits for them then."""
        here = {part_name("gateway", i) for i in range(self.args.gateways)}
        for status in json.loads(self.ctl("ledger", "status", "--json"))["gateways"]:
            if status["instance"] in here:
                continue
            if os.path.exists(self.path(status["instance"] + ".journal")):
                self.ctl("ledger", "intake", self.path(status["instance"] + ".journal"))
            self.ctl("ledger", "recover", "--without", status["instance"])

    def make_key(self):
        """The account with its credit, the price book, and the same key at every start: its record is in the ledger, its secret in
        a file of ours."""
        self.ctl("prices", "apply", os.path.join(ROOT, "config", "prices.example.yaml"))
        if not any(a["id"] == ACCOUNT for a in json.loads(self.ctl("accounts", "list", "--json"))):
            self.ctl("accounts", "create", ACCOUNT, "--name", "make run")
        self.ctl("credit", ACCOUNT, "--ton", str(CREDIT_TON), "--id", "make-run", "--reference", "what make run gives")
        known = any(k["name"] == "make run" and k["state"] == "active" for k in json.loads(self.ctl("keys", "list", "--json")))
        if known and os.path.exists(self.path("api-key")):
            with open(self.path("api-key")) as f:
                self.key = f.read().strip()
        else:
            self.key = self.ctl("keys", "create", "--account", ACCOUNT, "--name", "make run", "--quiet").split()[-1]
            self.write("api-key", self.key + "\n")

    def start_all(self):
        deadline = time.monotonic() + READY_S
        self.choose_sockets()
        self.choose_ports()
        engine = self.start_engine()
        redis = self.start_redis()
        self.make_operator()
        self.make_evidence()
        tee = self.start_tee()
        self.until(redis, "ready", self.redis_missing, deadline)
        say("redis", "ready", f"127.0.0.1:{self.port['redis']}", redis.seconds)
        ledger = self.start_ledger()
        self.until(ledger, "ready", lambda: self.ledger_missing("/healthz"), deadline)
        self.settle_stopped_gateways()
        self.make_key()
        self.until(tee, "ready", lambda: None if os.path.exists(self.tee_socket()) else "no socket", deadline)
        gateways = [self.start_gateway(i) for i in range(self.args.gateways)]
        workers = [self.start_worker(i) for i in range(self.args.workers)]
        self.until(engine, "ready", self.engine_missing, deadline)
        say("engine", "ready", f"127.0.0.1:{self.port['engine']}", engine.seconds)
        for i, worker in enumerate(workers):
            self.until(worker, "connected", lambda: readiness("unix:" + self.worker_socket(i)), deadline)
            tunnels = ", ".join(self.tunnel(g) for g in range(self.args.gateways))
            say(worker.name, "connected", f"gateway {tunnels}, attestation insecure-dev", worker.seconds)
        for i, gateway in enumerate(gateways):
            self.until(gateway, "ready", lambda: self.gateway_missing(i), deadline)
            say(gateway.name, "ready", self.base_url, gateway.seconds)
        self.until(ledger, "ready", self.ledger_missing, deadline)
        say("ledger", "ready", f"{CREDIT_TON} TON on account {ACCOUNT}", ledger.seconds)
        client = self.start_client()
        self.until(client, "ready", self.client_missing, deadline)
        say("client", "ready", self.client_url, client.seconds)

    def gateway_missing(self, i):
        """Behind one port any of them may be asked first: each waits for all workers."""
        missing = readiness(self.admin(i))
        if missing is None:
            status, text = probe(self.admin(i), "/status.json", 1 << 20)
            ready = json.loads(text)["workers_ready"] if status == 200 else 0
            missing = None if ready == self.args.workers else f"{ready} of {self.args.workers} workers"
        return missing

    def client_missing(self):
        status, text = probe(f"127.0.0.1:{self.port['client']}", "/v1/nothing")
        return None if status == 404 else text or f"status {status}"

    def redis_missing(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port["redis"]), 2) as s:
                s.sendall(b"PING\r\n")
                answer = s.recv(64)
                return None if answer.startswith(b"+PONG") else answer.decode(errors="replace")
        except OSError as e:
            return str(e)

    def engine_missing(self):
        status, text = probe(f"127.0.0.1:{self.port['engine']}", "/health")
        return None if status == 200 else text

    # -- the proof, and what the user needs --
    def chat(self, mode, base_url):
        """One real chat through the whole chain, on a thread so that signals and deaths are noticed meanwhile."""
        result = []

        def ask():
            try:
                result.append(complete(base_url, self.key))
            except Exception as e:
                result.append(e)

        started = time.monotonic()
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        while thread.is_alive():
            self.wait(0.02)
        if isinstance(result[0], Exception):
            raise Failure(f"the chat through the whole chain failed: {result[0]}")
        say("answer", mode, result[0], time.monotonic() - started)

    def write_env(self):
        values = {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": self.key, "REDIS_URL": self.redis_url,
                  "GATEWAY_ADMIN_URL": f"http://{self.admin(0)}", "COCOON_LEDGER": "unix:" + self.ledger_socket(),
                  "COCOON_WORKER_ADMIN": "unix:" + self.worker_socket(0),
                  "COCOON_CLIENT_BASE_URL": self.client_url}
        self.write("env", "".join(f"{k}={shlex.quote(v)}\n" for k, v in values.items()))

    def print_usage(self):
        print(f"""
  OPENAI_BASE_URL={self.base_url}
  OPENAI_API_KEY={self.key}
  COCOON_CLIENT_BASE_URL={self.client_url}   the same API, encrypted end to end

  curl {self.base_url}/chat/completions -H 'Content-Type: application/json' -H 'Authorization: Bearer {self.key}' \\
    -d '{{"model": "{MODEL}", "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}'

All of it as variables: set -a; . {os.path.relpath(self.path('env'))}   Logs: {os.path.relpath(self.path('log'))}/   \
Status: http://{self.admin(0)}/status
Ctrl-C stops everything.""", flush=True)

    # -- the life of the stack --
    def run(self):
        self.lock()
        self.remove_run_files()
        self.listen_signals()
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # an upgraded gateway's successor is ours when that has ended
        self.guard = Guard(self.remove_run_files)
        code = 0
        try:
            self.start_all()
            say("asked", "", QUESTION)
            self.chat("sealed", self.base_url)
            self.chat("end to end", self.client_url)
            self.write_env()
            self.print_usage()
            while True:
                self.wait()
        except Stopped:
            pass
        except Failure as e:
            print(f"\n{e}", file=sys.stderr, flush=True)
            code = 1
        finally:
            self.stop()
        return code

    def end(self, part):
        send(part.pidfd, signal.SIGTERM)
        until = time.monotonic() + GRACE_S
        while self.signal is None and time.monotonic() < until and not ended(part.pidfd, 0.05):
            pass
        send(part.pidfd, signal.SIGKILL)
        part.wait()

    def stop(self):
        """In the order of a request's way, so that each can finish what it has; a second Ctrl-C does not wait."""
        order = sorted(self.parts, key=lambda p: ("client", "gateway", "worker", "tee", "engine", "ledger", "redis").index(p.name.split("-")[0]))
        self.signal = None
        for part in order:
            self.end(part)
            while part.follow(self.guard):
                self.end(part)
        self.remove_run_files()
        self.guard.dismiss()
        if order:
            say("stopped", "", "all parts")


def died(part, code):
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return f"{part.name} {how}; the end of {os.path.relpath(part.log)}:\n{part.tail()}"


def readiness(address):
    status, text = probe(address)
    return None if status == 200 else text or f"status {status}"


def part_name(kind, i):
    return kind if i == 0 else f"{kind}-{i + 1}"


def complete(base_url, key):
    """Asks again where it is told to, as the SDKs do: a busy machine's Redis may answer late."""
    for again in range(TRIES):
        try:
            return ask_once(base_url, key)
        except urllib.error.HTTPError as e:
            if e.code != 503 or again == TRIES - 1:
                raise Failure(f"{e.code} {e.read(2048).decode(errors='replace')}") from None
            time.sleep(min(float(e.headers.get("retry-after", 1)), 2))


def ask_once(base_url, key):
    body = {"model": MODEL, "temperature": 0, "max_tokens": 32, "messages": [{"role": "user", "content": QUESTION}]}
    request = urllib.request.Request(base_url + "/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json", "Authorization": f"Bearer {key}"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=90) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--bin", default=os.path.join(ROOT, "bin"), help="folder of the programs")
    a.add_argument("--state", default=os.path.join(ROOT, ".run"), help="folder of what a run keeps and writes")
    a.add_argument("--gateways", type=int, default=1, help="how many share the public port (1 to 16)")
    a.add_argument("--workers", type=int, default=1, help="how many share the engine (1 to 4)")
    args = a.parse_args()
    args.bin = os.path.abspath(args.bin)
    if not 1 <= args.workers <= SLOTS:
        a.error(f"--workers is 1 to {SLOTS}")
    if not 1 <= args.gateways <= GATEWAYS_MAX:
        a.error(f"--gateways is 1 to {GATEWAYS_MAX}")
    for tool in ("cocoon-gateway", "cocoon-ledger", "cocoon-worker", "cocoon-client", "cocoon-devtee", "cocoonctl"):
        if not os.access(os.path.join(args.bin, tool), os.X_OK):
            sys.exit(f"run: {os.path.join(args.bin, tool)} is not built; run: make")
    if not shutil.which("redis-server"):
        sys.exit("run: redis-server is not installed; run: scripts/setup.sh run")
    try:
        code = Stack(args).run()
    except Failure as e:
        sys.exit(f"run: {e}")
    sys.stdout.flush()
    os._exit(code)  # a chat's thread may still wait


if __name__ == "__main__":
    main()
