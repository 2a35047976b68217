"""Strangers and malicious workers at the tunnel port: the gateway stays up and serves others, the offender is closed."""

import contextlib
import datetime
import os
import socket
import ssl
import struct
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from conftest import live_stack
from stack import SLOW, chat, wait_for

CHAT = "/v1/chat/completions"
ALPN = "cocoon-h2-reverse/1"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
HANDSHAKE_S = 10


@pytest.fixture(scope="module")
def port():
    """A chain; since its start, 200 connections to the tunnel port that say nothing."""
    for stack in live_stack("port"):
        stack.engine()
        stack.gateway()
        stack.worker()
        stack.wait_ready()
        stack.port = stack.gateways[0].tunnel.rsplit(":", 1)
        stack.idle_since = time.monotonic()
        stack.idle = [dial(stack) for _ in range(200)]
        yield stack
        for s in stack.idle:
            s.close()


@pytest.fixture(autouse=True)
def others_are_served(port):
    """Before, meanwhile and after."""
    serve(port)
    worker = port.gateways[0].status["workers"][0]["iid"]
    yield
    serve(port)
    status = port.gateways[0].status
    ready = [w["iid"] for w in status["workers"] if w["state"] == "ready"]
    assert ready == [worker] and port.gateways[0].alive


def serve(port):
    with port.raw() as raw:
        began = time.monotonic()
        assert raw.ask("POST", CHAT, chat()).status == 200
        assert time.monotonic() - began < 0.5 * SLOW


def dial(port):
    s = socket.create_connection((port.port[0], int(port.port[1])), 5)
    s.settimeout(5 * SLOW)
    return s


def certificate(folder, kind="p256"):
    """A self-signed one; the path of certificate and key in one file."""
    path = os.path.join(folder, f"client-{kind}.pem")
    if os.path.exists(path):
        return path
    key = {"p256": lambda: ec.generate_private_key(ec.SECP256R1()), "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
           "rsa": lambda: rsa.generate_private_key(65537, 2048), "ed25519": ed25519.Ed25519PrivateKey.generate}[kind]()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "worker")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
    signed = builder.sign(key, None if kind == "ed25519" else hashes.SHA256())
    with open(path, "wb") as f:
        f.write(signed.public_bytes(serialization.Encoding.PEM))
        f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return path


def context(port, kind="p256", alpn=(ALPN,), most=ssl.TLSVersion.TLSv1_3):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    c.maximum_version = most
    if alpn:
        c.set_alpn_protocols(list(alpn))
    if kind:
        c.load_cert_chain(certificate(port.folder, kind))
    return c


def is_closed(s, seconds=3.0):
    """Whether the peer closes within the time; what it still says is thrown away."""
    s.settimeout(seconds * SLOW)
    until = time.monotonic() + seconds * SLOW
    try:
        while time.monotonic() < until:
            if not s.recv(65536):
                return True
    except TimeoutError:
        return False
    except (OSError, ssl.SSLError):
        return True
    return False


# ---- Before TLS is done -------------------------------------------------------------------------------

@pytest.mark.parametrize("said", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 100, b"\xff" * 20_000,
    b"\x16\x03\x01\xff\xff" + b"a" * 70_000,
    b"\x16\x03\x03\x00\x04\x01\xff\xff\xff" + b"b" * 1000, b"\x15\x03\x03\x00\x02\x02\x28", b"\x14\x03\x03\x00\x01\x01",
    b"\x17\x03\x03\x00\x10" + b"c" * 16,
    b"\x80\x2e\x01\x03\x01" + b"d" * 100], ids=lambda b: repr(b[:14]))
def test_what_is_no_tls_is_closed(port, said):
    with dial(port) as s:
        with contextlib.suppress(OSError):
            s.sendall(said)
        assert is_closed(s)


@pytest.mark.parametrize("how", ["tls 1.2", "no certificate", "wrong alpn", "no alpn", "rsa", "p384"])
def test_a_stranger_to_the_protocol_is_closed(port, how):
    c = {"tls 1.2": lambda: context(port, most=ssl.TLSVersion.TLSv1_2), "no certificate": lambda: context(port, None),
         "wrong alpn": lambda: context(port, alpn=["h2", "http/1.1"]), "no alpn": lambda: context(port, alpn=None),
         "rsa": lambda: context(port, "rsa"), "p384": lambda: context(port, "p384")}[how]()
    with dial(port) as s:
        try:
            with c.wrap_socket(s) as t:  # in TLS 1.3 the client is done before its certificate is judged
                assert is_closed(t)
        except (ssl.SSLError, OSError):
            pass


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_a_certificate_of_the_right_kind_gets_to_be_asked_who_it_is(port, kind):
    with Malicious(port, kind) as w:
        assert w.wait_preface()
        assert port.gateways[0].status["workers_ready"] == 1


def test_connections_that_come_and_go_leave_nothing(port):
    gateway = port.gateways[0]
    before, memory = gateway.fds, gateway.rss_kib
    hello = client_hello(port)
    for i in range(300):
        with dial(port) as s:
            s.sendall(hello[:i])
            if i % 2:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: gateway.fds <= before, "all are closed", 5)
    assert gateway.rss_kib - memory < (8 << 10) * SLOW


def client_hello(port):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(port).wrap_bio(incoming, outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


# ---- As a worker --------------------------------------------------------------------------------------

def frame(kind, flags=0, stream=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Malicious:
    """A worker's TLS, and HTTP/2 frames made by hand."""

    def __init__(self, port, kind="p256", settings=True):
        self.port = port
        self.socket, self.incoming, self.outgoing = dial(port), ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context(port, kind).wrap_bio(self.incoming, self.outgoing)
        self.inside, self.writing = threading.Lock(), threading.Lock()  # a flood is sent beside the reading
        self.data = b""
        self.handshake()
        if settings:
            self.send(frame(SETTINGS))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def handshake(self):
        while True:
            try:
                self.tls.do_handshake()
                return self.socket.sendall(self.outgoing.read())
            except ssl.SSLWantReadError:
                self.socket.sendall(self.outgoing.read())
                data = self.socket.recv(65536)
                if not data:
                    raise OSError("closed in the handshake") from None
                self.incoming.write(data)

    def send(self, data):
        with self.writing, contextlib.suppress(OSError):
            with self.inside:
                self.tls.write(data)
                sealed = self.outgoing.read()
            self.socket.sendall(sealed)
        return self

    def recv(self):
        """What came, decrypted; nothing at the end."""
        while True:
            with self.inside, contextlib.suppress(ssl.SSLWantReadError):
                return self.tls.read(65536)
            data = self.socket.recv(65536)
            if not data:
                return b""
            with self.inside:
                self.incoming.write(data)

    def frames(self):
        """The whole frames received so far."""
        data, found = self.data[24:], []
        while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
            length = int.from_bytes(data[:3], "big")
            found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:9 + length]))
            data = data[9 + length:]
        return found

    def wait_request(self):
        """The stream of the gateway's first request."""
        while True:
            for kind, _, stream, _ in self.frames():
                if kind == HEADERS:
                    self.send(frame(SETTINGS, 1))
                    return stream
            part = self.recv()
            assert part, "closed before it asked anything"
            self.data += part

    def wait_preface(self):
        self.wait_request()
        return self.data.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

    def is_closed(self, seconds=3.0):
        """Whether it is sent away; it says politely that it has heard so (POST /v1/refused)."""
        told, until = 1, time.monotonic() + seconds * SLOW
        self.socket.settimeout(seconds * SLOW)
        try:
            while time.monotonic() < until:
                part = self.recv()
                if not part:
                    return True
                self.data += part
                for kind, _, stream, _ in self.frames():
                    if kind == HEADERS and stream > told:
                        told = stream
                        self.send(frame(HEADERS, 5, stream, NO_CONTENT))
        except TimeoutError:
            pass
        except OSError:
            return True
        return False


def string(text):
    """An HPACK string without Huffman."""
    n = len(text)
    if n < 127:
        return bytes([n]) + text
    n, out = n - 127, b"\x7f"
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n]) + text


def field(name, value):
    return b"\0" + string(name) + string(value)


OK, NO_CONTENT = b"\x88", b"\x89"  # :status 200 and 204 of the static table
GARBAGE = os.urandom(5000)

ATTACKS = {
    "settings": lambda s: frame(SETTINGS, payload=b"\0\4\0\1\0\0") * 2000,
    "empty settings": lambda s: frame(SETTINGS) * 5000,
    "settings acks": lambda s: frame(SETTINGS, 1) * 5000,
    "pings": lambda s: frame(PING, payload=b"12345678") * 60_000,
    "ping acks": lambda s: frame(PING, 1, payload=b"12345678") * 60_000,
    "resets of one stream": lambda s: frame(RST_STREAM, stream=s, payload=b"\0\0\0\x08") * 5000,
    "resets of idle streams": lambda s: b"".join(frame(RST_STREAM, stream=i, payload=b"\0\0\0\x08") for i in range(101, 3001, 2)),
    "window updates": lambda s: frame(WINDOW_UPDATE, payload=b"\0\0\0\1") * 50_000,
    "a window too large": lambda s: frame(WINDOW_UPDATE, payload=b"\x7f\xff\xff\xff") * 3,
    "a window of nothing": lambda s: frame(WINDOW_UPDATE, payload=b"\0\0\0\0"),
    "priorities": lambda s: frame(PRIORITY, stream=s, payload=b"\0\0\0\0\x10") * 50_000,
    "empty data": lambda s: frame(HEADERS, 4, s, OK) + frame(DATA, 0, s) * 50_000,
    "a push": lambda s: frame(PUSH_PROMISE, 4, s, b"\0\0\0\2" + OK),
    "a request of its own": lambda s: frame(HEADERS, 5, 2, b"\x82\x86\x84"),
    "an answer nobody asked for": lambda s: frame(HEADERS, 5, 99, OK),
    "data before a head": lambda s: frame(DATA, 0, s, b"x"),
    "a frame too large": lambda s: frame(DATA, 0, s, b"x" * 16385),
    "a frame of 16 MiB": lambda s: b"\xff\xff\xff" + bytes([DATA, 0]) + s.to_bytes(4, "big") + b"x" * 100_000,
    "headers without end": lambda s: frame(HEADERS, 0, s, OK) + frame(CONTINUATION, 0, s, field(b"x-a", b"b" * 100)) * 20_000,
    "headers too large": lambda s: frame(HEADERS, 0, s, OK + field(b"x-a", b"b" * 12_000)) + frame(CONTINUATION, 0, s,
            field(b"x-b", b"c" * 12_000)) * 20,
    "an hpack bomb": lambda s: frame(HEADERS, 0, s, OK + b"\x40" + string(b"x-a") + string(b"b" * 4000)) + frame(CONTINUATION, 0,
            s, b"\xbe" * 16_000) * 50,
    "bad hpack": lambda s: frame(HEADERS, 4, s, b"\xff\xff\xff\xff\xff\xff"),
    "padding longer than the frame": lambda s: frame(DATA, 8, s, b"\xff"),
    "more than the window": lambda s: frame(HEADERS, 4, s, OK) + frame(DATA, 0, s, b"x" * 16384) * 2000,
    "goaways": lambda s: frame(GOAWAY, payload=b"\0\0\0\0\0\0\0\0") * 5000,
    "garbage": lambda s: GARBAGE,
    "text": lambda s: b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_worker_that_floods_or_breaks_the_protocol_is_closed(port, attack):
    gateway = port.gateways[0]
    memory = gateway.rss_kib
    with Malicious(port) as w:
        stream = w.wait_request()
        flood = threading.Thread(target=w.send, args=(ATTACKS[attack](stream),))
        flood.start()
        serve(port)
        assert w.is_closed(), "it may go on"
        flood.join(5)
    assert gateway.rss_kib - memory < (8 << 10) * SLOW


def test_frames_of_kinds_that_nobody_knows_are_passed_over(port):
    with Malicious(port) as w:
        w.wait_request()
        flood = threading.Thread(target=w.send, args=(frame(0xbe, payload=b"x" * 100) * 50_000,))
        flood.start()
        while flood.is_alive():
            serve(port)
        flood.join()


def answer(stream, body, status=OK, end=True):
    head = frame(HEADERS, 4, stream, status + field(b"content-type", b"application/json"))
    return head + b"".join(frame(DATA, 0, stream, body[i:i + 16384]) for i in range(0, len(body), 16384)) + (frame(DATA, 1,
            stream) if end else b"")


@pytest.mark.parametrize("body", [
    b"", b"{}", b"[]", b"not json", b"\xff" * 100, b"[" * 1_000_000, b'{"format":"cgw/attestation/v1"}', b"x" * 60_000,
    b'{"format":"cgw/attestation/v1","nonce":"' + b"0" * 64 + b'","keyset":"' + b"A" * 50_000 +
    b'","tee":"insecure-dev","quote":""}'],
    ids=lambda b: repr(b[:20]))
def test_a_worker_whose_evidence_is_worthless_is_sent_away(port, body):
    with Malicious(port) as w:
        w.send(answer(w.wait_request(), body))
        assert w.is_closed(5)


@pytest.mark.parametrize("status", [b"\x8d", b"\x8e", b"\x08" + string(b"999"), b"\x08" + string(b"abc"),
                                    b"\x08" + string(b"200") * 2])
def test_a_worker_that_answers_with_a_failure_is_sent_away(port, status):
    with Malicious(port) as w:
        w.send(answer(w.wait_request(), b"{}", status))
        assert w.is_closed(5)


def test_a_worker_that_resets_the_question_is_sent_away(port):
    with Malicious(port) as w:
        w.send(frame(RST_STREAM, stream=w.wait_request(), payload=b"\0\0\0\x07"))
        assert w.is_closed(5)


def test_fifty_offenders_at_a_time_do_not_keep_others_from_being_served(port):
    closed = {}

    def offend(i):
        name = list(ATTACKS)[i % len(ATTACKS)]
        with Malicious(port) as w:
            w.send(ATTACKS[name](w.wait_request()))
            closed[i, name] = w.is_closed(5)

    threads = [threading.Thread(target=offend, args=(i,)) for i in range(50)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        serve(port)
    assert len(closed) == 50 and [k for k, v in closed.items() if not v] == []


def test_handshakes_that_stand_still_are_closed(port):
    """In the middle of the client's first flight, or after the server's."""
    hello = client_hello(port)
    with dial(port) as half, dial(port) as whole:
        half.sendall(hello[:len(hello) // 2])
        whole.sendall(hello)
        assert not is_closed(half, 0.2 / SLOW) and not is_closed(whole, 0.2 / SLOW)


def test_who_said_nothing_since_the_beginning_is_closed(port):
    left = port.idle_since + HANDSHAKE_S - time.monotonic()
    if left > 0.5:
        assert not is_closed(port.idle[-1], 0.1 / SLOW)
    wait_for(lambda: time.monotonic() > port.idle_since + HANDSHAKE_S + 0.5, "the handshake's time is over", HANDSHAKE_S + 2)
    for s in port.idle:
        assert is_closed(s, 1)
    assert not [w for w in port.gateways[0].status["workers"] if w["state"] != "ready"]
