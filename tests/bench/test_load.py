"""The load generator tells the truth: servers that lose, merge, delay or break answers in known ways, and what it reports of them.

Needs the programs of bench.mk in the folder that the environment's BENCH names (build/release/tests/bench without it).
"""

import json
import os
import socket
import subprocess
import threading
import time

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOAD = os.path.join(os.environ.get("BENCH", os.path.join(ROOT, "build/release/tests/bench")), "load")
REQUESTS, EVENTS = 6, 2

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(sent_ns=None):
    return b'data: {"choices":[{"delta":{"content":"@%019d#"}}]}\n\n' % (sent_ns or time.monotonic_ns())


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


END = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Server:
    """Answers each request with script(send); what it returns as true closes the connection."""

    def __init__(self, script):
        self.script = script
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:  # closed
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            try:
                while self.read_request(connection) and not self.script(connection.sendall):
                    pass
            except OSError:
                pass

    @staticmethod
    def read_request(connection):
        data = b""
        while not data.endswith(b'"stream":true}'):
            part = connection.recv(65536)
            if not part:
                return False
            data += part
        return True


def load(script):
    server = Server(script)
    argv = [LOAD, "--to", f"127.0.0.1:{server.port}", "--rate", "20", "--count", str(REQUESTS), "--events", str(EVENTS),
            "--timeout-ms", "600", "--late-us", "200000"]
    try:
        return json.loads(subprocess.run(argv, check=True, timeout=20, stdout=subprocess.PIPE).stdout)
    finally:
        server.listener.close()


def whole(send):
    send(HEAD + chunk(event()))
    time.sleep(0.03)
    send(chunk(event()) + END)


def test_a_whole_answer_is_counted_once_and_its_connection_kept():
    report = load(whole)
    assert (report["ok"], report["lost"], report["events"]) == (REQUESTS, 0, REQUESTS * EVENTS)
    assert (report["merged"], report["late"]) == (0, 0)
    assert report["connections"] < REQUESTS
    assert 30_000 < report["latency_us"]["p50"] < 200_000


def test_an_answer_byte_by_byte_is_the_same_answer():
    def script(send):
        for byte in HEAD + chunk(event()) + chunk(event()) + END:
            send(bytes([byte]))
    report = load(script)
    assert (report["ok"], report["events"]) == (REQUESTS, REQUESTS * EVENTS)


def test_events_that_come_together_are_merged():
    def script(send):
        send(HEAD + chunk(event() + event()))
        time.sleep(0.005)
        send(END)
    report = load(script)
    assert (report["ok"], report["merged"]) == (REQUESTS, REQUESTS)


def test_an_event_that_was_held_back_is_late():
    def script(send):
        send(HEAD + chunk(event(time.monotonic_ns() - 300_000_000)))
        time.sleep(0.005)
        send(chunk(event()) + END)
    report = load(script)
    assert (report["ok"], report["late"]) == (REQUESTS, REQUESTS)
    assert report["delay_us"]["max"] > 300_000


def test_time_counts_from_the_schedule_while_the_server_accepts_nobody():
    begun = time.monotonic()

    def script(send):
        time.sleep(max(0.0, begun + 0.4 - time.monotonic()))
        whole(send)
    report = load(script)
    assert report["ok"] == REQUESTS
    assert report["first_us"]["max"] > 200_000


@pytest.mark.parametrize("kind, script", [
    ("closed", lambda send: send(HEAD + chunk(event())) or True),
    ("short", lambda send: send(HEAD + chunk(event()) + END)),
    ("short", lambda send: send(HEAD + chunk(event()) + chunk(event()) + b"0\r\n\r\n")),
    ("short", lambda send: send(HEAD + chunk(event()) + chunk(event()) + chunk(b'data: {"error":{}}\n\n') + END)),
    ("status", lambda send: send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno")),
    ("protocol", lambda send: send(b"hello\r\n\r\n")),
    ("timeout", lambda send: time.sleep(3)),
], ids=["cut", "an event missing", "no end mark", "an error event", "503", "no HTTP", "silence"])
def test_a_broken_answer_is_a_lost_request(kind, script):
    report = load(script)
    assert (report["ok"], report["lost"]) == (0, REQUESTS)
    assert report["losses"][kind] == REQUESTS


def test_a_kept_connection_that_was_closed_costs_no_request():
    def script(send):
        whole(send)
        return True
    report = load(script)
    assert (report["ok"], report["lost"]) == (REQUESTS, 0)


def test_nobody_listening_is_a_lost_request():
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    argv = [LOAD, "--to", f"127.0.0.1:{port}", "--rate", "100", "--count", "3"]
    report = json.loads(subprocess.run(argv, check=True, timeout=20, stdout=subprocess.PIPE).stdout)
    assert (report["ok"], report["losses"]["connect"]) == (0, 3)
