#!/usr/bin/env python3
"""`make bench`: what the gateway costs, beside nginx as a plain reverse proxy and beside no proxy at all, and what end to end costs.

Starts a fake engine, nginx, Redis, a worker, the gateway and cocoon-client on free ports of 127.0.0.1, sends each the same load in
turn, and prints tables of medians: "gateway" is the sealed path, "client" the end-to-end one (cocoon-client, then the same gateway). Every figure stands beside a primitive of the crypto library timed in the same run, since the machine's speed
changes. Figures are printed, not judged; the exit code is 1 only when something did not work: a request or an event was lost.
"""

import argparse
import ctypes
import json
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
READY_S = 20
STREAMS = 1000
LEAVE_S = 3  # a tunnel carries 1,000 streams: as many that left at once must have gone before as many more come
SHOWN_WHOLE, PATH_PHASES = ("nginx", "gateway"), ("small", "large", "first", "streams")  # what the tables show of whom
BUSY_MAX, LATE_MAX = 0.9, 0.01  # what "can carry" means: share of the machine that the bench takes, share of the events late


class Failure(Exception):
    """Ends the bench with a message for people."""


# ---- The load ------------------------------------------------------------------------------------------

class Plan:
    """How long each measurement lasts; all in one place, so that the whole run's time can be read off."""

    def __init__(self, quick):
        self.repeats = 1 if quick else 3
        self.rated_s = 1 if quick else 3  # a phase at a request rate
        self.first_s = 1 if quick else 2
        self.events_per_s = 5 if quick else 20  # a stream; halved until the machine can carry it
        self.window_ms = 1200 if quick else 3000  # of the 1,000 streams
        self.park_ms = 1800 if quick else 3000

    def phases(self, events_per_s):
        """Name, title and arguments of the load generator, in the order of a repetition."""
        return [
            ("small", "1 KB prompt, 300/s", self.rated(300, 1024)),
            ("busy", "1 KB prompt, 1,200/s", self.rated(1200, 1024)),
            ("large", "100 KB prompt, 150/s", self.rated(150, 100 * 1024)),
            ("first", "4 events a stream, 100 streams/s", {"rate": 100, "count": 100 * self.first_s, "events": 4,
                                                           "interval-us": 20000}),
            ("streams", f"{STREAMS:,} streams, {STREAMS * events_per_s:,} events/s", self.streams(events_per_s, self.window_ms)),
        ]

    def rated(self, rate, prompt_bytes):
        return {"rate": rate, "count": rate * self.rated_s, "prompt-bytes": prompt_bytes}

    @staticmethod
    def streams(events_per_s, window_ms):
        """All streams open within a second; the window begins when that has settled and ends before the first stream does."""
        lead_ms, tail_ms = 1400, 300
        return {"rate": STREAMS, "count": STREAMS, "events": (lead_ms + window_ms + tail_ms) * events_per_s // 1000,
                "interval-us": 1000000 // events_per_s, "from-ms": lead_ms, "until-ms": lead_ms + window_ms}

    def parked(self):
        """Streams that have got one event and then stay silent."""
        return {"rate": STREAMS, "count": STREAMS, "events": 2, "interval-us": 3600 * 1000000, "until-ms": self.park_ms}


# ---- Processes -----------------------------------------------------------------------------------------

def free_ports(count):
    held = [socket.socket() for _ in range(count)]
    for s in held:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def die_with_parent():
    """Children end with this process, however it ends (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(child) for child in f.read().split()]


def rss_kb(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def wait_for(what, check, process):
    until = time.monotonic() + READY_S
    while not check():
        if process.poll() is not None:
            raise Failure(f"{what} ended at once")
        if time.monotonic() > until:
            raise Failure(f"{what} was not ready within {READY_S} s")
        time.sleep(0.05)


def accepts(port):
    def check():
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0
    return check


class Target:
    """What requests are sent to, and the processes whose cost is theirs."""

    def __init__(self, name, port, key=None, watch=None):
        self.name, self.port, self.key = name, port, key
        self.watch = watch or {}
        self.idle_kb = {}

    def chats(self):
        """Whether one chat goes through."""
        body = json.dumps({"model": "bench", "max_tokens": 1, "seed": 0, "messages": [{"role": "user", "content": "Hello"}]})
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/chat/completions", body.encode(),
                                         {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"})
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
                return answer.status == 200
        except OSError:  # refused, or an HTTP error
            return False


class Stack:
    """Everything that runs beside the load generator."""

    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.running = []

    def start(self, name, argv):
        with open(os.path.join(self.folder, name + ".log"), "wb") as log:
            process = subprocess.Popen(argv, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                       preexec_fn=die_with_parent)
        self.running.append((name, process))
        return process

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def log(self, name):
        with open(os.path.join(self.folder, name + ".log"), errors="replace") as f:
            return f.read()[-1500:].strip()

    def start_engine(self):
        self.engine_port, = free_ports(1)
        engine = self.start("engine", [os.path.join(self.args.programs, "engine"), "--listen", f"127.0.0.1:{self.engine_port}"])
        wait_for("the fake engine", accepts(self.engine_port), engine)
        self.engine_pid = engine.pid
        return Target("direct", self.engine_port, watch={"engine": engine.pid})

    def start_nginx(self):
        port, = free_ports(1)
        config = self.write("nginx.conf", f"""\
{"user root;" if os.geteuid() == 0 else ""}
daemon off;
worker_processes 1;
worker_rlimit_nofile {resource.getrlimit(resource.RLIMIT_NOFILE)[1]};
pid {self.folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 10240; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 10000000;
    client_max_body_size 64m;
    client_body_temp_path {self.folder}/nginx-body;
    proxy_temp_path {self.folder}/nginx-proxy;
    fastcgi_temp_path {self.folder}/nginx-fastcgi;
    uwsgi_temp_path {self.folder}/nginx-uwsgi;
    scgi_temp_path {self.folder}/nginx-scgi;
    upstream engine {{
        server 127.0.0.1:{self.engine_port};
        keepalive 2048;
        keepalive_requests 10000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://engine;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_request_buffering off;
        }}
    }}
}}
""")
        nginx = self.start("nginx", ["nginx", "-p", self.folder, "-c", config])
        wait_for("nginx", lambda: accepts(port)() and children(nginx.pid), nginx)
        return Target("nginx", port, watch={"nginx": children(nginx.pid)[0], "engine": self.engine_pid})

    def cocoonctl(self, *argv):
        env = {**os.environ, "REDIS_URL": self.redis_url, "COCOON_KEYS_FILE": os.path.join(self.folder, "keys.json")}
        done = subprocess.run([os.path.join(self.args.bin, "cocoonctl"), *argv], cwd=self.folder, env=env, text=True, timeout=30,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode:
            raise Failure(f"cocoonctl {' '.join(argv[:2])}: {(done.stderr or done.stdout).strip()}")
        return done.stdout.strip()

    def start_redis(self):
        port, = free_ports(1)
        redis = self.start("redis", ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no",
                                     "--dir", self.folder])
        wait_for("redis-server", accepts(port), redis)
        self.redis_url = f"redis://127.0.0.1:{port}"
        return redis

    def start_issuer(self):
        """Evidence for the worker: the issuer's folder, and the key that signed its policy."""
        folder = os.path.join(self.folder, "tee")
        os.makedirs(folder)
        program, seed, path = os.path.join(self.args.bin, "cocoon-devtee"), os.path.join(folder, "seed"), os.path.join(folder, "s")
        subprocess.run([program, "init", "--seed-file", seed, "--out", folder], check=True, timeout=30)
        issuer = self.start("devtee", [program, "serve", "--seed-file", seed, "--socket", path])
        wait_for("the issuer of evidence", lambda: os.path.exists(path), issuer)
        with open(os.path.join(folder, "release.pub")) as f:
            return folder, f.read().strip()

    def start_gateway(self):
        redis = self.start_redis()
        port, admin, tunnel = free_ports(3)
        operator = os.path.join(self.folder, "operator")
        self.cocoonctl("operator", "init", operator)
        pin = self.cocoonctl("operator", "pin", os.path.join(operator, "ca.pem")).split()[-1]
        key = self.cocoonctl("keys", "create", "--quiet").split()[-1]
        tee, release_key = self.start_issuer()
        gateway = self.start("gateway", [os.path.join(self.args.bin, "cocoon-gateway"), "--config", self.write("gateway.yaml", f"""\
listen: 127.0.0.1:{port}
admin: 127.0.0.1:{admin}
tunnel:
  listen: 127.0.0.1:{tunnel}
  chain: operator/tunnel.pem
  key: operator/tunnel.key
redis:
  url: {self.redis_url}
cluster_secret_file: operator/cluster.secret
attestation:
  policy: {tee}/policy.json
  release_keys: ["{release_key}"]
timeouts:
  drain_ms: 500
""")])
        worker = self.start("worker", [os.path.join(self.args.bin, "cocoon-worker"), "--config", self.write("worker.yaml", f"""\
worker_id: bench
payout: "0:{"0" * 64}"
admin: unix:{self.folder}/worker.sock
operators:
  - name: bench
    gateways: ["127.0.0.1:{tunnel}"]
    pins: ["{pin}"]
models:
  - name: bench
    context: 1000000
    max_output: 100000
engine:
  url: http://127.0.0.1:{self.engine_port}
  kind: vllm
quote_provider: socket:{tee}/s
collateral_file: {tee}/collateral.json
max_requests: 10000
drain_ms: 500
""")])
        self.tee, self.release_key = tee, release_key
        target = Target("gateway", port, key, {"gateway": gateway.pid, "worker": worker.pid, "redis": redis.pid,
                                                  "engine": self.engine_pid})
        wait_for("the gateway", accepts(port), gateway)
        wait_for("a chat through the gateway", target.chats, worker)
        return target

    def start_client(self, gateway):
        port, = free_ports(1)
        client = self.start("client", [os.path.join(self.args.bin, "cocoon-client"), "--config", self.write("client.yaml", f"""\
listen: 127.0.0.1:{port}
gateway: http://127.0.0.1:{gateway.port}
policy: {self.tee}/policy.json
release_keys: ["{self.release_key}"]
insecure_dev: true
key_file: client.key
limits:
  connections: 10000
""")])
        target = Target("client", port, gateway.key, {"client": client.pid, **gateway.watch})
        wait_for("cocoon-client", accepts(port), client)
        wait_for("a chat through cocoon-client", target.chats, client)
        return target

    def stop(self):
        """In the order of a request's way."""
        for _, process in reversed(self.running):
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + 5
        for _, process in self.running:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


# ---- Measuring -----------------------------------------------------------------------------------------

class Bench:
    def __init__(self, args):
        self.args = args
        self.plan = Plan(args.quick)
        self.events_per_s = self.plan.events_per_s
        self.results = {}  # (phase, target name) → one report of the load generator a repetition
        self.primitives = []
        self.notes = []
        self.broken = []

    def load(self, target, arguments, hold=False):
        argv = [os.path.join(self.args.programs, "load"), "--to", f"127.0.0.1:{target.port}"]
        argv += [text for name, value in arguments.items() for text in ("--" + name, str(value))]
        argv += [text for name, pid in target.watch.items() for text in ("--watch", f"{name}={pid}")]
        argv += ["--hold"] if hold else []
        argv += ["--key", target.key] if target.key else []
        done = subprocess.run(argv, text=True, timeout=60, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=die_with_parent)
        if done.returncode:
            raise Failure(f"the load generator failed: {done.stderr.strip()}")
        report = json.loads(done.stdout)
        report["events_lost"] = 0 if hold else report["started"] * arguments.get("events", 1) - report["events"]
        return report

    def measure(self, phase, title, target, arguments, hold=False):
        """Runs the load and keeps the report; says what was lost."""
        report = self.load(target, arguments, hold)
        self.results.setdefault((phase, target.name), []).append(report)
        if report["lost"] or report["events_lost"] or not report["watched"]:
            losses = ", ".join(f"{k} {v}" for k, v in report["losses"].items() if v)
            self.broken.append(f"{target.name}, {title}: {report['lost']} requests lost ({losses or 'none'}; last bad status "
                               f"{report['bad_status']}), {report['events_lost']} events lost"
                               + ("" if report["watched"] or report["lost"] else "; a process died"))
        return report

    def time_primitives(self):
        out = subprocess.run([os.path.join(self.args.programs, "primitives")], check=True, stdout=subprocess.PIPE, timeout=30).stdout
        self.primitives.append(json.loads(out))

    def fit_streams(self, target):
        """Halves the rate until the heaviest target's run leaves the machine some air: a saturated one measures its scheduler."""
        while self.events_per_s > 2:
            report = self.measure("fit", f"{STREAMS:,} streams for the first time", target,
                                  self.plan.streams(self.events_per_s, 1000))
            if report["lost"]:
                return
            used_us = sum(p["cpu_us"] for p in report["machine"]["processes"].values())
            busy = used_us / 1e6 / report["window_s"] / os.cpu_count()
            late = report["late"] / max(1, report["window_events"])
            if busy <= BUSY_MAX and late <= LATE_MAX:
                return
            self.notes.append(f"{STREAMS:,} streams at {STREAMS * self.events_per_s:,} events/s through {target.name}: {busy:.0%} of the "
                              f"machine in use, {late:.1%} of the events late; the rate was halved")
            self.events_per_s //= 2

    def run(self, targets):
        for target in targets:
            if target.name in SHOWN_WHOLE:
                # Fresh processes: what they take before anything else has run through them.
                target.idle_kb = {name: rss_kb(pid) for name, pid in target.watch.items()}
                self.measure("parked", f"{STREAMS:,} parked streams", target, self.plan.parked(), hold=True)
                time.sleep(LEAVE_S)
        self.fit_streams(targets[-1])
        for repetition in range(self.plan.repeats):
            self.time_primitives()
            for phase, title, arguments in self.plan.phases(self.events_per_s):
                for i in range(len(targets)):
                    target = targets[(i + repetition) % len(targets)]
                    if target.name == "client" and phase not in PATH_PHASES:
                        continue
                    say(f"{repetition + 1}/{self.plan.repeats}  {title}  {target.name}")
                    self.measure(phase, title, target, arguments)
        self.time_primitives()


def say(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


# ---- The table -----------------------------------------------------------------------------------------

PRIMITIVES = {"hpke_encapsulate": "HPKE encapsulation", "ed25519_verify": "Ed25519 verification",
              "aes_256_gcm_seal_256": "AES-256-GCM seal of 256 B", "sha256_1024": "SHA-256 of 1 KiB",
              "p256_verify": "P-256 verification", "tdx_verify": "verification of a TDX quote",
              "tdx_verify_cached": "the same with its collateral cached"}
PATHS = "{:<40}{:>12}{:>12}{:>10}{:>14}{:>10}{:>10}"
COLUMNS = "{:<40}{:>12}{:>16}{:>16}{:>10}  {:<9}{:<17}{}"


def number(value, digits=1):
    return "-" if value is None else f"{value:,.{digits}f}"


class Table:
    def __init__(self, bench, targets):
        self.bench = bench
        self.names = [t.name for t in targets]
        self.targets = {t.name: t for t in targets}
        self.primitive = {name: statistics.median(p[name] for p in bench.primitives) for name in PRIMITIVES}

    def median(self, phase, name, value):
        """Median over the repetitions; None where this target did not run."""
        values = [value(r) for r in self.bench.results.get((phase, name), [])]
        return statistics.median(values) if values else None

    def cpu(self, phase, target, process, per):
        return self.median(phase, target, lambda r: r["machine"]["processes"][process]["cpu_us"] / max(1, r[per]))

    def added(self, phase, name, figure, rank):
        """Over the direct way in the same repetition."""
        pairs = zip(self.bench.results.get((phase, name), []), self.bench.results[(phase, "direct")])
        values = [r[figure][rank] - direct[figure][rank] for r, direct in pairs]
        return statistics.median(values) if values else None

    def row(self, title, direct, nginx, gateway, worker=None, budget="", unit=None, digits=1):
        comparable = unit and gateway is not None and nginx is not None and min(gateway, nginx) > 0
        ratio = f"{gateway / nginx:.2f} ×" if comparable else "-"
        beside = ""
        if unit and gateway is not None:
            beside = f"{gateway / self.primitive[unit]:.1f} × {PRIMITIVES[unit].split()[0]}"
        print(COLUMNS.format("  " + title, number(direct, digits), number(nginx, digits), number(gateway, digits), ratio, budget,
                             beside, number(worker, digits)).rstrip())

    def cpu_row(self, phase, title, per, budget, unit):
        self.row(title, None, self.cpu(phase, "nginx", "nginx", per), self.cpu(phase, "gateway", "gateway", per),
                 self.cpu(phase, "gateway", "worker", per), budget, unit)

    def time_row(self, phase, title, figure, rank, unit):
        self.row(title, self.median(phase, "direct", lambda r: r[figure][rank]), self.added(phase, "nginx", figure, rank),
                 self.added(phase, "gateway", figure, rank), unit=unit)

    def count_row(self, phase, title, count):
        self.row(title, *(self.median_or_none(phase, name, count) for name in ("direct", "nginx", "gateway")), digits=0)

    def median_or_none(self, phase, name, count):
        reports = self.bench.results.get((phase, name))
        return sum(count(r) for r in reports) if reports else None

    def request_phase(self, phase, title, budget):
        print(title)
        self.cpu_row(phase, "CPU µs a request", "ok", budget, "hpke_encapsulate")
        for rank in ("p50", "p99"):
            self.time_row(phase, f"latency {rank}, µs (proxies: added)", "latency_us", rank, "hpke_encapsulate")
        self.losses(phase)

    def losses(self, phase):
        self.count_row(phase, "requests lost", lambda r: r["lost"])

    def first_phase(self, phase, title):
        print(title)
        for rank in ("p50", "p99"):
            self.time_row(phase, f"first event {rank}, µs (proxies: added)", "first_us", rank, "hpke_encapsulate")
        self.losses(phase)

    def streams_phase(self, phase, title):
        print(title)
        self.cpu_row(phase, "CPU µs a relayed event", "window_events", "≤ 1.5 ×", "sha256_1024")
        for rank in ("p50", "p99"):
            self.time_row(phase, f"delay of an event {rank}, µs (added)", "delay_us", rank, "sha256_1024")
        self.count_row(phase, "events measured", lambda r: r["window_events"])
        self.count_row(phase, "events merged", lambda r: r["merged"])
        self.count_row(phase, "events later than 25 ms", lambda r: r["late"])
        self.count_row(phase, "events lost", lambda r: r["events_lost"])
        self.losses(phase)

    def memory(self):
        print(f"Memory, {STREAMS:,} parked streams")

        def idle(target, process):
            return self.targets[target].idle_kb[process] / 1024 if target in self.targets else None

        def per_stream(target, process):
            def grown(r):
                p = r["machine"]["processes"][process]
                return (p["rss_kb"] - p["rss_begin_kb"]) / STREAMS
            return self.median("parked", target, grown)

        self.row("RSS idle, MiB", None, idle("nginx", "nginx"), idle("gateway", "gateway"), idle("gateway", "worker"), "≤ 16 MiB")
        self.row("RSS an open stream, KiB", None, per_stream("nginx", "nginx"), per_stream("gateway", "gateway"),
                 per_stream("gateway", "worker"))
        self.losses("parked")

    def path_row(self, phase, title, per):
        paths = (("nginx", "nginx"), ("gateway", "gateway"), ("gateway", "worker"), ("client", "client"), ("client", "gateway"),
                 ("client", "worker"))
        print(PATHS.format("  " + title, *(number(self.cpu(phase, *path, per)) for path in paths)).rstrip())

    def wait_row(self, phase, title, figure):
        unsealed, sealed, end_to_end = (number(self.added(phase, name, figure, "p50")) for name in ("nginx", "gateway", "client"))
        print(PATHS.format("  " + title, unsealed, sealed, "", end_to_end, "", "").rstrip())

    def paths(self):
        print("What encryption costs")
        print(PATHS.format("", "unsealed", "sealed", "", "end to end", "", "").rstrip())
        print(PATHS.format("", "nginx", "gateway", "worker", "client", "gateway", "worker"))
        self.path_row("small", "CPU µs a request, 1 KB prompt", "ok")
        self.path_row("large", "CPU µs a request, 100 KB prompt", "ok")
        self.path_row("streams", "CPU µs a relayed event", "window_events")
        self.wait_row("small", "latency p50 added, µs, 1 KB prompt", "latency_us")
        self.wait_row("large", "latency p50 added, µs, 100 KB prompt", "latency_us")
        self.wait_row("first", "first event p50 added, µs", "first_us")
        self.wait_row("streams", "delay of an event p50 added, µs", "delay_us")
        for phase, title, _ in self.bench.plan.phases(self.bench.events_per_s):
            lost = self.median_or_none(phase, "client", lambda r: r["lost"] + r["events_lost"])
            if lost:
                print(f"  end to end, {title}: {lost} requests or events lost")

    def show(self):
        times = ", ".join(f"{title} {self.primitive[name]:.2f}" for name, title in PRIMITIVES.items())
        print(f"Medians of {self.bench.plan.repeats}, interleaved; {os.cpu_count()} cores shared by all.\nPrimitives in this run, µs: {times}\n")
        print(COLUMNS.format("", "direct", "nginx", "gateway", "gateway/", "budget", "gateway beside", "worker"))
        print(COLUMNS.format("", "", "", "", "nginx", "", "a primitive", ""))
        for phase, title, _ in self.bench.plan.phases(self.bench.events_per_s):
            if phase == "streams":
                self.streams_phase(phase, title)
            elif phase == "first":
                self.first_phase(phase, title)
            else:
                self.request_phase(phase, title, "" if phase == "large" else "≤ 14 ×")
        self.memory()
        if "client" in self.targets:
            self.paths()
        for note in self.bench.notes:
            print(f"note: {note}")
        for line in self.bench.broken:
            print(f"broken: {line}")


# ---- Money ---------------------------------------------------------------------------------------------

def money(args, folder):
    """Admissions and settlements by the gateway's own parts on a Redis of their own."""
    stack = Stack(args, os.path.join(folder, "money"))
    os.mkdir(stack.folder)
    try:
        redis = stack.start_redis()
        argv = [os.path.join(args.programs, "money"), stack.redis_url.rsplit(":", 1)[1], str(redis.pid), stack.folder, "01"[args.quick]]
        done = subprocess.run(argv, text=True, timeout=120, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        stack.stop()
    if done.returncode:
        raise Failure(f"money: {done.stdout}{done.stderr[-1500:]}")
    m = json.loads(done.stdout)
    print(f"\nMoney: an admission is one round trip and takes {m['admit_own_us']:.1f} µs of the gateway's CPU (budget: ≤ 15) and "
          f"{m['admit_redis_us']:.1f} µs of Redis', {m['admit_redis_us'] / m['hincrby_redis_us']:.1f} × an HINCRBY's {m['hincrby_redis_us']:.1f} "
          f"(≤ 8 ×); {m['admits_per_s']:,.0f}/s.\nA settlement, with verification, bill and journal: {m['settles_per_s']:,.0f}/s (≥ 2,000).")


# ---- The program ---------------------------------------------------------------------------------------

def start_targets(stack, wanted):
    starts = {"direct": stack.start_engine, "nginx": stack.start_nginx, "gateway": stack.start_gateway}
    targets = [starts[name]() for name in starts if name in wanted]
    if "client" in wanted:
        targets.append(stack.start_client(targets[-1]))
    for target in targets:
        if not target.chats():
            raise Failure(f"no chat goes through {target.name}")
    return targets


def read_arguments():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--bin", default=os.path.join(ROOT, "bin"), help="folder of the programs measured")
    a.add_argument("--programs", required=True, help="folder of engine, load and primitives")
    a.add_argument("--targets", default="direct,nginx,gateway,client", help="which of direct, nginx, gateway, client; direct is always there, and "
                   "client brings gateway")
    a.add_argument("--quick", action="store_true", help="one short repetition")
    a.add_argument("--json", help="also write every report to this file")
    args = a.parse_args()
    args.bin, args.programs = os.path.abspath(args.bin), os.path.abspath(args.programs)
    args.wanted = {"direct", *args.targets.split(",")}
    if args.wanted - {"direct", "nginx", "gateway", "client"}:
        a.error("--targets names something else than direct, nginx, gateway, client")
    if "client" in args.wanted:
        args.wanted.add("gateway")
    for tool, target in (("nginx", "nginx"), ("redis-server", "gateway")):
        if target in args.wanted and not shutil.which(tool):
            a.error(f"{tool} is not installed; run: scripts/setup.sh run test")
    for program in ("cocoon-gateway", "cocoon-worker", "cocoon-client", "cocoonctl") if "gateway" in args.wanted else ():
        if not os.access(os.path.join(args.bin, program), os.X_OK):
            a.error(f"{program} is not built in {args.bin}; run: make")
    return args


def bench(args, folder):
    run, stack = Bench(args), Stack(args, folder)
    try:
        targets = start_targets(stack, args.wanted)
        run.run(targets)
    except Failure as e:
        logs = "".join(f"\n--- {name}:\n{stack.log(name)}" for name, _ in stack.running)
        raise Failure(f"{e}{logs}") from None
    finally:
        stack.stop()
        say("")
    Table(run, targets).show()
    if "gateway" in args.wanted:
        money(args, folder)
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"primitives": run.primitives, "results": {f"{p} {t}": r for (p, t), r in run.results.items()}}, f, indent=1)
    return 1 if run.broken else 0


def main():
    args = read_arguments()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cocoon-bench-") as folder:
        try:
            code = bench(args, folder)
        except Failure as e:
            sys.exit(f"bench: {e}")
    print(f"\n{time.monotonic() - begun:.0f} s")
    sys.exit(code)


if __name__ == "__main__":
    main()
