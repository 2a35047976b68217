"""Redis in the forms that operators run it in, for a stack: TLS with a password, Sentinel, Cluster; and a proxy that makes one slow.

    use(stack, Sentinel(stack))        before the stack's first key; stack.redis is it then
    form.url, form.settings            what a gateway's settings need;  form.flags: what `cocoonctl keys` needs beside it
    form.client                        the redis package's client
"""

import os
import re
import socket
import subprocess
import threading
import time

import redis as redis_package
from redis.cluster import RedisCluster

from stack import ROOT, Process, free_port, wait_for


def server(stack, name, *options, port=None):
    """A redis-server in a folder of its own."""
    port = free_port() if port is None else port
    folder = os.path.join(stack.folder, name)
    os.makedirs(folder, exist_ok=True)
    process = Process(stack, name, ["redis-server", "--bind", "127.0.0.1", "--save", "", "--dir", folder, *options, "--port", str(port)])
    process.port = port
    return process


def answers(client):
    try:
        return client.ping()
    except redis_package.RedisError:
        return False


class Form:
    settings, flags = {}, ()

    def start_all(self, stack, *processes):
        self.processes = list(processes)
        for process in processes:
            stack.start(process)


class Tls(Form):
    """One server with TLS for both sides, and a user with a password who may do what docs/redis.md says."""

    def __init__(self, stack):
        port, at = free_port(), lambda name: os.path.join(stack.folder, name)
        for name in "server", "client":
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                            "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", at(f"r-{name}.key"),
                            "-out", at(f"r-{name}.pem")], check=True, capture_output=True)
        with open(os.open(at("r-password"), os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
            f.write("p@ss:word\n")
        process = server(stack, "redis", "--tls-cert-file", at("r-server.pem"), "--tls-key-file", at("r-server.key"),
                         "--tls-ca-cert-file", at("r-client.pem"), "--requirepass", "p@ss:word", "--tls-port", str(port), port=0)
        self.url = f"rediss://127.0.0.1:{port}"
        self.settings = {"redis.user": "gateway", "redis.password_file": at("r-password"), "redis.ca_file": at("r-server.pem"),
                         "redis.cert_file": at("r-client.pem"), "redis.key_file": at("r-client.key")}
        config = at("cocoonctl.yaml")
        with open(config, "w") as f:  # cocoonctl takes what it needs from a gateway's settings
            f.write(f"cluster_secret_file: x\ntunnel: {{chain: x, key: x}}\nredis:\n  url: {self.url}\n")
            f.writelines(f"  {name.split('.')[1]}: {value}\n" for name, value in self.settings.items())
        self.flags = ("--gateway-config", config)
        self.client = redis_package.Redis("127.0.0.1", port, password="p@ss:word", decode_responses=True, ssl=True,
                                          ssl_ca_certs=at("r-server.pem"), ssl_certfile=at("r-client.pem"), ssl_keyfile=at("r-client.key"))
        self.start_all(stack, process)
        wait_for(lambda: answers(self.client), "redis with TLS")
        with open(os.path.join(ROOT, "docs", "redis.md")) as f:  # what the page says is enough
            rules = re.search(r"ACL SETUSER (gateway .*)", f.read())[1].replace("<password>", "p@ss:word")
        self.client.execute_command("ACL", "SETUSER", *rules.split())


class Sentinel(Form):
    """A primary, a replica, three Sentinels."""

    def __init__(self, stack):
        fast = ("--repl-diskless-sync-delay", "0", "--appendonly", "yes")
        self.primary = server(stack, "primary", *fast)
        self.replica = server(stack, "replica", *fast, "--replicaof", "127.0.0.1", str(self.primary.port))
        self.start_all(stack, self.primary, self.replica)
        self.clients = {p.port: redis_package.Redis(port=p.port, decode_responses=True, socket_timeout=5) for p in self.processes}
        wait_for(lambda: all(answers(c) for c in self.clients.values()), "primary and replica")
        replica = self.clients[self.replica.port]
        wait_for(lambda: replica.info("replication")["master_link_status"] == "up", "the replica follows")
        self.sentinels = [self.sentinel(stack, i) for i in range(3)]
        for sentinel in self.sentinels:
            client = redis_package.Redis(port=sentinel.port, decode_responses=True)
            wait_for(lambda: answers(client) and client.info("sentinel")["master0"]["sentinels"] == 3, "the Sentinels know each other", 15)
        self.url = "redis+sentinel://" + ",".join(f"127.0.0.1:{s.port}" for s in self.sentinels) + "/main"

    def sentinel(self, stack, i):
        port = free_port()
        path = os.path.join(stack.folder, f"sentinel-{i}.conf")
        with open(path, "w") as f:
            f.write(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {self.primary.port} 2\n"
                    "sentinel down-after-milliseconds main 200\nsentinel failover-timeout main 2000\n")
        process = Process(stack, f"sentinel-{i}", ["redis-server", path, "--sentinel"])
        process.port = port
        self.processes.append(stack.start(process))
        return process

    @property
    def client(self):
        """Of the present primary."""
        sentinel = redis_package.Redis(port=self.sentinels[0].port, decode_responses=True)
        return self.clients[sentinel.sentinel_get_master_addr_by_name("main")[1]]


class Cluster(Form):
    """Three primaries, and a replica of the first."""

    def __init__(self, stack):
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "500", "--cluster-require-full-coverage", "no",
                   "--repl-diskless-sync-delay", "0", "--appendonly", "yes")
        self.nodes, buses = [], [free_port() for _ in range(4)]
        for i in range(4):
            self.nodes.append(server(stack, f"node-{i}", *options, "--cluster-port", str(buses[i])))
        self.start_all(stack, *self.nodes)
        clients = [redis_package.Redis(port=n.port, decode_responses=True, socket_timeout=5) for n in self.nodes]
        wait_for(lambda: all(answers(c) for c in clients), "the nodes")
        ids = [c.execute_command("CLUSTER MYID") for c in clients]
        for i, c in enumerate(clients):
            c.execute_command("CLUSTER SET-CONFIG-EPOCH", i + 1)
            if i < 3:
                c.execute_command("CLUSTER ADDSLOTSRANGE", i * 16384 // 3, (i + 1) * 16384 // 3 - 1)
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", self.nodes[i].port, buses[i])
        wait_for(lambda: all(c.cluster("info")["cluster_known_nodes"] == "4" for c in clients), "the nodes know each other", 15)
        clients[3].execute_command("CLUSTER REPLICATE", ids[0])
        wait_for(lambda: clients[3].info("replication").get("master_link_status") == "up", "the replica follows", 15)
        wait_for(lambda: all(c.cluster("info")["cluster_state"] == "ok" for c in clients), "the Cluster is whole", 15)
        self.url = f"redis+cluster://127.0.0.1:{self.nodes[1].port},127.0.0.1:{self.nodes[2].port}"
        self.client = RedisCluster(host="127.0.0.1", port=self.nodes[1].port, decode_responses=True)


def use(stack, form):
    """The stack's Redis from now on, for gateways and cocoonctl."""
    plain, gateway = stack.ctl, stack.gateway

    def ctl(*args, **kw):
        return plain(*args, *(form.flags if args[0] == "keys" else ()), **kw)
    stack._redis, stack.ctl = form, ctl
    stack.gateway = lambda *args, **overrides: gateway(*args, **{**form.settings, **overrides})


class Proxy:
    """TCP to a server: each way's bytes come later by `delay` s. `says`: bytes that answer every command in the server's place."""

    def __init__(self, port):
        self.target, self.delay, self.says = port, 0.0, None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            for pair in ((near, far, True), (far, near, False)):
                threading.Thread(target=self.carry, args=pair, daemon=True).start()

    def carry(self, source, sink, commands):
        try:
            while data := source.recv(65536):
                due, says = time.monotonic() + self.delay, self.says
                if commands and says:
                    source.sendall(says * len(re.findall(rb"\*\d+\r\n", data)))
                    continue
                time.sleep(max(0, due - time.monotonic()))
                sink.sendall(data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
