"""A listening socket that outlives the gateway, as a service manager keeps it: upgrades that refuse nobody."""

import fcntl
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from raw import Ended, Raw
from stack import LIBC, Process, chat, script, wait_for

CHAT = "/v1/chat/completions"


def hand_over(gateway, *sockets, pid="$$", count=None, names=""):
    """Starts the gateway with the sockets as descriptors 3 and up, as sd_listen_fds(3) describes it."""
    high = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 100) for s in sockets]  # above those of place()

    def place():
        LIBC.prctl(1, signal.SIGKILL)
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i)

    gateway.write_config()
    argv = ["sh", "-c", f'LISTEN_PID={pid} LISTEN_FDS={len(sockets) if count is None else count} LISTEN_FDNAMES={names} exec "$0" "$@"', *gateway.argv]
    with open(gateway.log, "ab") as out:
        gateway.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=gateway.stack.folder,
                                           preexec_fn=place,
                                           pass_fds=tuple(range(3, 3 + len(high))), start_new_session=True)
    gateway.stack.processes.append(gateway)
    for fd in high:
        os.close(fd)
    return gateway


def started(gateway):
    wait_for(gateway.healthy, f"{gateway.name}: /healthz", 10)
    return gateway


@pytest.fixture(params=["tcp", "unix"])
def listening(request, stack):
    if request.param == "tcp":
        with socket.create_server(("127.0.0.1", 0), backlog=512) as s:
            yield s, f"127.0.0.1:{s.getsockname()[1]}"
    else:
        path = f"{stack.folder}/kept.sock"
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen(512)
            yield s, "unix:" + path


def ask(address, key):
    with Raw(address, key=key, timeout=15) as raw:
        return raw.ask("POST", CHAT, chat(), close=True)


def test_a_gateway_serves_an_inherited_socket(stack, listening):
    sock, listen = listening
    stack.engine()
    gateway = started(hand_over(stack.gateway(start=False, listen=listen), sock))
    stack.worker()
    stack.wait_ready()
    assert ask(gateway.address, stack.key_for_all()).status == 200
    gateway.stop()
    # The socket is the parent's: it still takes connections, and the file is still there.
    with Raw(gateway.address, timeout=0.3) as waiting:
        waiting.request("GET", "/v1/models")
        with pytest.raises(TimeoutError):
            waiting.head()


def test_a_successor_takes_over_without_a_refused_connection(stack, listening):
    sock, listen = listening
    stack.engine(slots=64)
    old = started(hand_over(stack.gateway("old", start=False, listen=listen, **{"timeouts.drain_ms": 8000}), sock))
    new = stack.gateway("new", start=False, listen=listen)
    stack.worker(max_requests=64)
    key = stack.key_for_all()
    wait_for(lambda: old.ready, "the old one is ready")
    failures, answers, stop = [], [], threading.Event()

    def hammer():
        while not stop.is_set():
            try:
                a = ask(old.address, key)
                answers.append(a.status)
                if a.status != 200:
                    failures.append((a.status, a.body))
            except (OSError, Ended) as e:
                failures.append((repr(e), b""))

    threads = [threading.Thread(target=hammer) for _ in range(6)]
    for t in threads:
        t.start()
    with Raw(old.address, key=key) as stream:
        stream.request("POST", CHAT, chat(script("slow", seconds=0.1, count=20), stream=True))
        assert stream.head().status == 200
        stream.until(b"t0")
        started(hand_over(new, sock))
        wait_for(lambda: new.accepting == 1, "the worker has dialled the successor", 20)
        before = len(answers)
        old.signal(signal.SIGTERM)
        wait_for(lambda: len(answers) > before + 50, "requests go on", 10)
        assert old.alive  # drains: the stream is still running
        a = stream.rest()
        assert a.ending == "complete" and a.text == "".join(f"t{i} " for i in range(20))
    assert old.wait(5) == 0
    time.sleep(0.1)
    stop.set()
    for t in threads:
        t.join()
    assert failures == [] and answers.count(200) > 50
    assert ask(new.address, key).status == 200


def test_connections_wait_until_a_gateway_could_serve_them(stack):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as sock:
        listen = f"127.0.0.1:{sock.getsockname()[1]}"
        stack.engine()
        gateway = stack.gateway(start=False, listen=listen)
        early = [Raw(gateway.address, key=stack.key_for_all()) for _ in range(10)]
        for raw in early:
            raw.request("POST", CHAT, chat())
        started(hand_over(gateway, sock))
        time.sleep(0.2)  # nobody is told that there is no such model, only because no worker has dialled yet
        stack.worker()
        for raw in early:
            assert raw.head().status == 200
            raw.close()


@pytest.mark.parametrize("pid, count", [("1", 1), ("$$", 0), ("", 1), ("$$", "many"), ("$$", "-1")])
def test_what_is_not_meant_for_it_is_not_used(stack, pid, count):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        gateway = started(hand_over(stack.gateway(start=False), sock, pid=pid, count=count))
        with stack.raw(gateway) as raw:  # its own address
            assert raw.ask("GET", "/v1/models").status == 200


@pytest.mark.parametrize("kind", ["file", "unconnected", "datagram"])
def test_an_inherited_descriptor_that_cannot_listen_is_said(stack, kind):
    thing = {"file": lambda: open("/dev/null"), "unconnected": lambda: socket.socket(),
             "datagram": lambda: socket.socket(type=socket.SOCK_DGRAM)}[kind]()
    with thing:
        gateway = hand_over(stack.gateway(start=False), thing)
        wait_for(lambda: not gateway.alive, "it ends", 5)
        assert gateway.process.returncode == 1 and "event=start_failed what=listen" in gateway.log_text
