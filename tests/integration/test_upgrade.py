"""One process of a gateway takes over from another, or leaves others alone behind the port, and no client notices."""

import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import threading
import time

import httpx
import pytest

from purse import Till
from raw import Ended, Raw
from stack import chat, script, wait_for

CHAT = "/v1/chat/completions"


class Load:
    """Clients that never stop asking: some keep their connection, some make a new one each time."""

    def __init__(self, gateway, key, keeping=3, fresh=3):
        self.gateway, self.key = gateway, key
        self.answers, self.failures = 0, []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=f) for f in [self.keep] * keeping + [self.renew] * fresh]

    def note(self, status, body=b""):
        if status == 200:
            self.answers += 1
        else:
            self.failures.append((status, body))

    def keep(self):
        """As SDKs do: a pool of connections that are used again unless the answer says close."""
        uds = self.gateway.address if isinstance(self.gateway.address, str) else None
        with httpx.Client(timeout=20, transport=httpx.HTTPTransport(uds=uds) if uds else None) as client:
            while not self.stopping.is_set():
                try:
                    a = client.post(self.gateway.base_url + "/chat/completions", json=chat(), headers={"authorization": f"Bearer {self.key}"})
                    self.note(a.status_code, a.content)
                except httpx.HTTPError as e:
                    self.failures.append((repr(e), b""))

    def renew(self):
        while not self.stopping.is_set():
            try:
                with Raw(self.gateway.address, key=self.key, timeout=20) as raw:
                    a = raw.ask("POST", CHAT, chat(), close=True)
                    self.note(a.status, a.body)
            except (OSError, Ended) as e:
                self.failures.append((repr(e), b""))

    def __enter__(self):
        for t in self.threads:
            t.start()
        wait_for(lambda: self.answers > 20, "the load runs", 10)
        return self

    def more(self, count=40):
        before = self.answers
        wait_for(lambda: self.answers >= before + count, "requests go on", 15)

    def __exit__(self, *e):
        self.stopping.set()
        for t in self.threads:
            t.join()


class Successor:
    """The process that a gateway has started in its place."""

    def __init__(self, pid):
        self.pid, self.fd = pid, os.pidfd_open(pid)

    def ended(self, timeout=0):
        return bool(select.select([self.fd], [], [], timeout)[0])

    def end(self):
        if not self.ended():
            os.kill(self.pid, signal.SIGTERM)
        assert self.ended(15), "the successor ends"
        os.close(self.fd)


@pytest.fixture(params=["tcp", "unix"])
def served(request, stack):
    stack.engine(slots=64)
    more = {"listen": f"unix:{stack.folder}/api.sock"} if request.param == "unix" else {}
    gateway = stack.gateway(**more, **{"timeouts.drain_ms": 8000})
    stack.worker(max_requests=64)
    return stack.wait_ready()


def upgrade(gateway, pid, count):
    os.kill(pid, signal.SIGUSR2)
    wait_for(lambda: len(re.findall(r"event=handed_over", gateway.log_text)) == count, "the hand-over", 20)
    return Successor(int(re.findall(r"event=handed_over pid=(\d+)", gateway.log_text)[-1]))


def test_an_upgrade_under_load_refuses_and_fails_nobody(served):
    gateway = served.gateways[0]
    key = served.key_for_all()
    successors = []
    try:
        with Load(gateway, key) as load, Raw(gateway.address, key=key) as stream:
            stream.request("POST", CHAT, chat(script("slow", seconds=0.2, count=15), stream=True))
            assert stream.head().status == 200
            stream.until(b"t0")
            successors.append(upgrade(gateway, gateway.pid, 1))
            load.more()
            assert gateway.alive  # drains: the stream is still running
            a = stream.rest()
            assert a.ending == "complete" and a.text == "".join(f"t{i} " for i in range(15))
            assert gateway.wait(8) == 0
            load.more()
            successors.append(upgrade(gateway, successors[0].pid, 2))  # and the successor's successor
            load.more()
            assert successors[0].ended(10)
            load.more()
        assert load.failures == []
        status = gateway.status
        assert status["ready"] and status["instance"] == "gateway" and len(status["workers"]) == 1
        redis = served.redis.client
        wait_for(lambda: redis.exists("gw:gateway", "load:gateway") == 2, "its entries are there", 7)
        assert [g["state"] for g in served.workers[0].status["gateways"]] == ["eligible"]
        assert len(os.listdir(f"/proc/{successors[1].pid}/fd")) < 200
    finally:
        for s in successors:
            s.end()
    if isinstance(gateway.address, str):
        assert stat.S_ISSOCK(os.stat(gateway.address).st_mode)  # it was inherited: whoever starts next replaces it


def test_no_money_goes_astray_in_an_upgrade(stack):
    stack.engine(slots=64)
    till = Till(stack, worker=False, **{"timeouts.drain_ms": 8000})
    gateway = till.gateway
    stack.worker(max_requests=64)
    stack.wait_ready()
    successors = []
    try:
        with Load(gateway, till.key) as load, Raw(gateway.address, key=till.key) as stream:
            stream.request("POST", CHAT, chat(script("slow", seconds=0.2, count=10), stream=True))
            assert stream.head().status == 200
            stream.until(b"t0")
            successors.append(upgrade(gateway, gateway.pid, 1))
            load.more()
            assert stream.rest().ending == "complete"
            assert gateway.wait(10) == 0
            load.more()
            successors.append(upgrade(gateway, successors[0].pid, 2))
            load.more()
            assert successors[0].ended(15)
        assert load.failures == []
        bills = till.settled(load.answers + 1)
        assert len({b["call"] for b in bills}) == load.answers + 1 and [b["n"] for b in bills] == [str(i + 1) for i in range(len(bills))]
    finally:
        for s in successors:
            s.end()


def test_a_successor_that_fails_changes_nothing(served, tmp_path):
    gateway = served.gateways[0]
    program = str(tmp_path / "cocoon-gateway")
    shutil.copy(gateway.argv[0], program)
    gateway.stop()
    gateway.argv[0] = program
    gateway.start()
    served.wait_ready()
    for broken in ("#!/bin/sh\nexit 3\n", "no program\n", None):
        os.unlink(program)
        if broken:
            with open(program, "w") as f:
                f.write(broken)
            os.chmod(program, 0o755)
        failed = gateway.log_text.count("event=upgrade_failed")
        gateway.signal(signal.SIGUSR2)
        wait_for(lambda: gateway.log_text.count("event=upgrade_failed") > failed, "it is said", 5)
        with Raw(gateway.address, key=served.key_for_all()) as raw:
            assert raw.ask("POST", CHAT, chat()).status == 200
    assert gateway.ready and gateway.accepting == 1
    served.worker(name="late")  # it still takes workers
    wait_for(lambda: gateway.accepting == 2, "a worker that dials now", 10)


def test_bad_settings_keep_the_old_process(served):
    gateway = served.gateways[0]
    with open(gateway.config, "a") as f:
        f.write("nonsense: true\n")
    gateway.signal(signal.SIGUSR2)
    gateway.wait_log("event=upgrade_failed .*why=ended", 5)
    with Raw(gateway.address, key=served.key_for_all()) as raw:
        assert raw.ask("POST", CHAT, chat()).status == 200


def test_stopping_in_the_middle_of_an_upgrade_stops_both(stack):
    stack.engine()
    gateway = stack.gateway()  # no worker: the successor waits for one for a while
    gateway.signal(signal.SIGUSR2)
    pid = int(gateway.wait_log(r"event=upgrading pid=(\d+)", 5).group(1))
    successor = os.pidfd_open(pid)
    gateway.signal(signal.SIGUSR2)
    gateway.wait_log("event=upgrade_refused why=under_way", 5)
    assert gateway.stop() == 0
    assert select.select([successor], [], [], 10)[0], "the successor ends too"
    os.close(successor)


def test_a_killed_predecessor_leaves_the_service_to_its_successor(stack):
    stack.engine()
    gateway = stack.gateway()
    gateway.signal(signal.SIGUSR2)
    pid = int(gateway.wait_log(r"event=upgrading pid=(\d+)", 5).group(1))
    successor = Successor(pid)
    try:
        gateway.wait_log(rf"event=redis_up", 5)
        wait_for(lambda: gateway.log_text.count("event=listening") == 2, "the successor listens", 5)
        gateway.kill()
        stack.worker()
        wait_for(lambda: gateway.ready, "the successor serves", 15)
        with stack.raw(gateway) as raw:
            assert raw.ask("POST", CHAT, chat()).status == 200
    finally:
        successor.end()


def test_the_service_manager_is_told_whom_to_watch(stack):
    path = f"{stack.folder}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(15)
        stack.engine()
        gateway = stack.gateway(start=False)
        gateway.env = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000"}
        stack.start(gateway)
        stack.worker()
        stack.wait_ready()
        successor = upgrade(gateway, gateway.pid, 1)
        try:
            said = []
            while f"MAINPID={successor.pid}" not in said:
                said.append(manager.recv(256).decode())
            assert "STOPPING=1" not in said
            assert gateway.wait(5) == 0
            manager.setblocking(False)
            try:
                while True:  # what is left of the old one's
                    manager.recv(256)
            except BlockingIOError:
                pass
            manager.settimeout(3)
            assert manager.recv(256).decode() == "WATCHDOG=1"  # the successor's
        finally:
            successor.end()


def test_one_of_several_behind_a_port_leaves_and_nobody_is_refused(stack):
    stack.engine(slots=64)
    one = stack.gateway("one")
    two = stack.gateway("two", listen=one.listen)
    stack.worker(max_requests=64)
    stack.wait_ready()
    key = stack.key_for_all()
    with Load(two, key, keeping=3, fresh=5) as load:
        load.more()
        assert one.status["connections"] + two.status["connections"] > 0
        one.signal(signal.SIGTERM)
        load.more()
        assert one.wait(6) == 0
        load.more()
        one.start()
        wait_for(lambda: one.accepting == 1, "it is back", 10)
        load.more()
    assert load.failures == []
    assert all(re.search(r"event=request .*status=200", g.log_text) for g in (one, two))


def test_a_killed_one_of_several_behind_a_port_takes_only_its_own_streams(stack):
    stack.engine(slots=64)
    gateways = [stack.gateway("one")]
    gateways += [stack.gateway(name, listen=gateways[0].listen) for name in ("two", "three")]
    stack.worker(max_requests=64)
    stack.wait_ready()
    key = stack.key_for_all()
    streams = []
    for i in range(12):
        raw = Raw(gateways[0].address, key=key)
        raw.request("POST", CHAT, chat(script("slow", seconds=0.3, count=18, marker=f"stream {i}"), stream=True))
        call = raw.head().header("cocoon-call")
        raw.until(b"t0")
        streams.append((raw, call))
    wait_for(lambda: sum(g.status["calls"] for g in gateways) == 12, "all run", 3)
    victim = max(gateways, key=lambda g: g.status["calls"])
    lost = victim.status["calls"]
    victim.kill()
    time.sleep(0.05)  # the kernel has closed its sockets
    for _ in range(60):
        with Raw(gateways[0].address, key=key, timeout=10) as raw:
            assert raw.ask("POST", CHAT, chat(), close=True).status == 200
    endings = [raw.rest().ending for raw, call in streams]
    assert endings.count("complete") == 12 - lost and lost > 0
    for raw, call in streams:
        raw.close()
