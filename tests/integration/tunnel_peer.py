"""Plays a gateway at the tunnel: an independent reading of the wire format (HPKE, chunked OHTTP, Binary HTTP, JWS), for tests
of the worker alone.

    peer = Peer(folder).start()                  # listens with an operator's CA of its own; peer.pin, peer.address
    t = peer.tunnel()                            # the worker has dialled
    t.get("/v1/worker").json()
    a = t.chat({"model": "m", "messages": […]})  # sealed, sent, opened: a.status, a.content, a.usage, a.receipt
    s = t.post_sealed(body, …); s.wait_chunks(2); t.delete(s); s.wait_end()
"""

import base64
import datetime
import hashlib
import hmac
import json
import os
import socket
import ssl
import struct
import threading
import time
from email.utils import formatdate

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ALPN = "cocoon-h2-reverse/1"
CHUNK = 16384
AEADS = {2: AESGCM, 3: ChaCha20Poly1305}


# ---- HPKE (RFC 9180), base mode, X25519, HKDF-SHA256 ---------------------------------------------------

def extract(salt, ikm):
    return hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()


def expand(prk, info, length):
    out, block, i = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([i]), hashlib.sha256).digest()
        out, i = out + block, i + 1
    return out[:length]


class Sender:
    """SetupBaseS and its context."""

    def __init__(self, public_key, aead, info):
        self.aead, self.sequence = aead, 0
        self.suite = b"HPKE" + struct.pack(">HHH", 0x20, 1, aead)
        kem = b"KEM" + struct.pack(">H", 0x20)
        mine = X25519PrivateKey.generate()
        self.enc = mine.public_key().public_bytes_raw()
        dh = mine.exchange(X25519PublicKey.from_public_bytes(public_key))
        prk = extract(b"", b"HPKE-v1" + kem + b"eae_prk" + dh)
        shared = expand(prk, struct.pack(">H", 32) + b"HPKE-v1" + kem + b"shared_secret" + self.enc + public_key, 32)
        context = b"\0" + self.labeled_extract(b"", b"psk_id_hash", b"") + self.labeled_extract(b"", b"info_hash", info)
        secret = self.labeled_extract(shared, b"secret", b"")
        self.key = self.labeled_expand(secret, b"key", context, 32)
        self.base = self.labeled_expand(secret, b"base_nonce", context, 12)
        self.exporter = self.labeled_expand(secret, b"exp", context, 32)

    def labeled_extract(self, salt, label, ikm):
        return extract(salt, b"HPKE-v1" + self.suite + label + ikm)

    def labeled_expand(self, prk, label, info, length):
        return expand(prk, struct.pack(">H", length) + b"HPKE-v1" + self.suite + label + info, length)

    def seal(self, aad, plain):
        sealed = AEADS[self.aead](self.key).encrypt(nonce(self.base, self.sequence), plain, aad)
        self.sequence += 1
        return sealed

    def export(self, label, length):
        return self.labeled_expand(self.exporter, b"sec", label, length)


def nonce(base, sequence):
    return bytes(a ^ b for a, b in zip(base, sequence.to_bytes(12, "big")))


# ---- Varints, Binary HTTP (RFC 9292) -------------------------------------------------------------------

def varint(n):
    for bits, size in ((6, 1), (14, 2), (30, 4), (62, 8)):
        if n < 1 << bits:
            return (n | (size.bit_length() - 1) << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(n)


def read_varint(data, at):
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        raise IndexError
    return int.from_bytes(data[at:at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def text(s):
    s = s if isinstance(s, bytes) else str(s).encode()
    return varint(len(s)) + s


def bhttp_request(path, fields, content, method="POST"):
    lines = b"".join(text(k) + text(v) for k, v in fields)
    return b"\0" + text(method) + text("https") + text("worker") + text(path) + text(lines) + text(content) + b"\0"


class Inner:
    """An indeterminate-length response, read as it comes."""

    def __init__(self):
        self.data = b""
        self.status = None
        self.fields, self.trailers = {}, None
        self.parts = []  # content chunks

    def feed(self, plain):
        self.data += plain
        at = 0
        try:
            if self.status is None:
                framing, at = read_varint(self.data, 0)
                assert framing == 3
                status, at = read_varint(self.data, at)
                fields, at = self.section(at)
                self.status, self.fields = status, fields
                self.data, at = self.data[at:], 0
            while self.trailers is None:
                length, at = read_varint(self.data, 0)
                if length == 0:
                    self.trailers, at = self.section(at)
                elif at + length > len(self.data):
                    return
                else:
                    self.parts.append(self.data[at:at + length])
                    at += length
                self.data = self.data[at:]
        except IndexError:
            return

    def section(self, at):
        fields = {}
        while True:
            length, at = read_varint(self.data, at)
            if length == 0:
                return fields, at
            name, at = self.data[at:at + length].decode(), at + length
            length, at = read_varint(self.data, at)
            if at + length > len(self.data):
                raise IndexError
            fields[name], at = self.data[at:at + length].decode(), at + length

    @property
    def content(self):
        return b"".join(self.parts)


# ---- Chunked OHTTP -------------------------------------------------------------------------------------

class Sealed:
    """One encapsulated request, and the reader of its answer."""

    def __init__(self, key_config, bhttp, aead=2):
        hdr = key_config[:3] + struct.pack(">HH", 1, aead)
        self.aead = aead
        self.sender = Sender(key_config[3:35], aead, b"message/bhttp chunked request\0" + hdr)
        out = hdr + self.sender.enc
        while len(bhttp) > CHUNK:
            sealed = self.sender.seal(b"", bhttp[:CHUNK])
            out, bhttp = out + varint(len(sealed)) + sealed, bhttp[CHUNK:]
        self.bytes = out + b"\0" + self.sender.seal(b"final", bhttp)
        self.received = b""
        self.buffer = b""
        self.key = self.base = None
        self.sequence = 0
        self.final_begun = False
        self.complete = False
        self.chunks = []  # plaintext
        self.inner = Inner()

    def feed(self, data):
        self.received += data
        self.buffer += data
        if self.key is None:
            if len(self.buffer) < 32:
                return
            rnonce, self.buffer = self.buffer[:32], self.buffer[32:]
            prk = extract(self.sender.enc + rnonce, self.sender.export(b"message/bhttp chunked response", 32))
            self.key, self.base = AEADS[self.aead](expand(prk, b"key", 32)), expand(prk, b"nonce", 12)
        while not self.final_begun:
            try:
                length, at = read_varint(self.buffer, 0)
            except IndexError:
                return
            if length == 0:
                self.final_begun, self.buffer = True, self.buffer[at:]
                return
            assert 17 <= length <= CHUNK + 16
            if len(self.buffer) < at + length:
                return
            self.open(b"", self.buffer[at:at + length])
            self.buffer = self.buffer[at + length:]

    def open(self, aad, sealed):
        plain = self.key.decrypt(nonce(self.base, self.sequence), sealed, aad)
        self.sequence += 1
        self.chunks.append(plain)
        self.inner.feed(plain)

    def end(self):
        if self.final_begun:
            try:
                self.open(b"final", self.buffer)
                self.complete = True
            except InvalidTag:
                pass


# ---- JWS -----------------------------------------------------------------------------------------------

def unb64u(s):
    return base64.urlsafe_b64decode(s + "=" * (-len(s) % 4))


def b64u(b):
    return base64.urlsafe_b64encode(b).rstrip(b"=").decode()


def jws(token, key_hex, typ):
    """The payload, after every check of wire.md §12."""
    header, payload, signature = token.split(".")
    public = bytes.fromhex(key_hex)
    kid = b64u(hashlib.sha256(public).digest()[:16])
    assert unb64u(header) == ('{"alg":"EdDSA","kid":"%s","typ":"%s"}' % (kid, typ)).encode()
    Ed25519PublicKey.from_public_bytes(public).verify(unb64u(signature), f"{header}.{payload}".encode())
    return json.loads(unb64u(payload))


# ---- The operator's certificates -----------------------------------------------------------------------

def certificate(name, issuer, key, issuer_key, ca):
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    b = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject).public_key(key.public_key())
    b = b.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)
    b = b.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if not ca:
        b = b.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return b.sign(issuer_key, hashes.SHA256())


def pem(thing):
    if isinstance(thing, x509.Certificate):
        return thing.public_bytes(serialization.Encoding.PEM)
    return thing.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


# ---- The peer ------------------------------------------------------------------------------------------

class Peer:
    """A gateway's tunnel port."""

    def __init__(self, folder, name="peer"):
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca = certificate("test CA", None, ca_key, ca_key, True)
        leaf = certificate("tunnel", ca.subject, key, ca_key, False)
        spki = ca.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.op = hashlib.sha256(spki).digest()
        self.pin = self.op.hex()
        chain, key_file = os.path.join(folder, name + ".pem"), os.path.join(folder, name + ".key")
        with open(chain, "wb") as f:
            f.write(pem(leaf) + pem(ca))
        with open(key_file, "wb") as f:
            f.write(pem(key))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.num_tickets = 0
        self.context.set_alpn_protocols([ALPN])
        self.context.load_cert_chain(chain, key_file)
        self.tunnels = []
        self.dialled = 0
        self.new = threading.Condition()

    def start(self, port=0):
        self.socket = socket.create_server(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def accept(self):
        while True:
            try:
                sock, _ = self.socket.accept()
                self.dialled += 1
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(10)
                tunnel = Tunnel(self, sock)
            except OSError:
                if self.socket.fileno() < 0:
                    return
                continue
            with self.new:
                self.tunnels.append(tunnel)
                self.new.notify_all()

    def tunnel(self, index=None, timeout=20):
        """The newest tunnel that is open, or the one of that index, once it is there."""
        until = time.monotonic() + timeout
        with self.new:
            while True:
                live = [t for t in self.tunnels if not t.closed] if index is None else self.tunnels[index:index + 1]
                if live:
                    return live[-1]
                assert self.new.wait(until - time.monotonic()), "no worker has dialled"

    def stop(self):
        self.socket.close()
        for t in self.tunnels:
            t.close()


class Stream:
    def __init__(self, tunnel, id, sealed=None, consume=True):
        self.tunnel, self.id, self.sealed, self.consume = tunnel, id, sealed, consume
        self.headers, self.trailers = {}, {}
        self.body, self.unconsumed = b"", 0
        self.head_at = self.ended_at = None
        self.reset = None
        self.arrivals = []  # when each piece of the body came

    @property
    def status(self):
        return int(self.headers[":status"])

    def wait(self, what, timeout=20):
        until = time.monotonic() + timeout
        with self.tunnel.event:
            while not what():
                left = until - time.monotonic()
                assert left > 0 and self.tunnel.event.wait(left), "nothing came in time"
        return self

    def wait_head(self, timeout=20):
        return self.wait(lambda: self.headers or self.over, timeout)

    def wait_end(self, timeout=20):
        return self.wait(lambda: self.over, timeout)

    def wait_chunks(self, n, timeout=20):
        return self.wait(lambda: len(self.sealed.chunks) >= n or self.over, timeout)

    @property
    def over(self):
        return self.ended_at is not None or self.reset is not None or self.tunnel.closed

    def json(self):
        return json.loads(self.body)

    # -- of sealed ones --
    @property
    def inner(self):
        return self.sealed.inner

    @property
    def content(self):
        return self.inner.content

    @property
    def events(self):
        """The data of the SSE events."""
        return [line[6:] for part in self.content.decode().split("\n\n") for line in part.split("\n") if line.startswith("data: ")]

    @property
    def usage(self):
        return jws(self.trailers["cocoon-usage"], self.tunnel.keyset()["receipt_ed25519"], "cgw-usage+jwt")

    @property
    def receipt(self):
        return jws(self.inner.trailers["cocoon-receipt"], self.tunnel.keyset()["receipt_ed25519"], "cgw-receipt+jwt")


class Tunnel:
    """One worker's connection; its HTTP/2 client is here."""

    def __init__(self, peer, sock):
        self.peer, self.socket = peer, sock
        # Over memory, since a TLS object may not be used by two threads at a time.
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = peer.context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.handshake()
        assert self.tls.selected_alpn_protocol() == ALPN and self.tls.version() == "TLSv1.3"
        self.lock = threading.RLock()
        self.event = threading.Condition(self.lock)
        self.streams = {}
        self.closed = self.goaway = False
        self.partial = b""
        self.failure = None  # what ended it on this side
        self._keyset = None
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(16 << 20)
        self.flush()
        sock.settimeout(None)
        threading.Thread(target=self.read, daemon=True).start()

    def handshake(self):
        while True:
            try:
                return self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.socket.sendall(self.outgoing.read())
                data = self.socket.recv(65536)
                if not data:
                    raise OSError("closed in the handshake") from None
                self.incoming.write(data)
            finally:
                self.socket.sendall(self.outgoing.read())

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.tls.write(data)
        self.socket.sendall(self.outgoing.read())

    def decrypt(self, data):
        self.incoming.write(data)
        plain = b""
        while True:
            try:
                part = self.tls.read(65536)
            except ssl.SSLWantReadError:
                return plain
            if not part:
                return plain  # the socket's end follows
            plain += part

    def read(self):
        while True:
            try:
                data = self.socket.recv(65536)
            except OSError:
                data = b""
            with self.event:
                if data:
                    try:
                        for e in self.h2.receive_data(self.without_goaway(self.decrypt(data))):
                            self.handle(e)
                        self.flush()
                    except (OSError, h2.exceptions.ProtocolError) as e:
                        self.failure, data = e, b""
                if not data:
                    self.closed = True
                self.event.notify_all()
            if not data:
                return

    def without_goaway(self, data):
        """Whole frames only, and no GOAWAY among them: h2 would take it for the end of what runs."""
        self.partial += data
        out = b""
        while len(self.partial) >= 9 and len(self.partial) >= 9 + int.from_bytes(self.partial[:3], "big"):
            length = 9 + int.from_bytes(self.partial[:3], "big")
            frame, self.partial = self.partial[:length], self.partial[length:]
            if frame[3] == 7:
                self.goaway = True
            else:
                out += frame
        return out

    def handle(self, e):
        s = self.streams.get(getattr(e, "stream_id", None))
        if isinstance(e, h2.events.ResponseReceived):
            s.headers, s.head_at = dict(e.headers), time.monotonic()
        elif isinstance(e, h2.events.TrailersReceived):
            s.trailers = dict(e.headers)
        elif isinstance(e, h2.events.DataReceived):
            s.arrivals.append(time.monotonic())
            s.body += e.data
            if s.sealed and s.headers.get("content-type") == "message/ohttp-chunked-res":
                s.sealed.feed(e.data)
            if s.consume:
                self.h2.acknowledge_received_data(e.flow_controlled_length, s.id)
            else:  # the connection's window stays open
                s.unconsumed += e.flow_controlled_length
                self.h2.increment_flow_control_window(e.flow_controlled_length)
        elif isinstance(e, h2.events.StreamEnded):
            if s.sealed:
                s.sealed.end()
            s.ended_at = time.monotonic()
        elif isinstance(e, h2.events.StreamReset):
            s.reset = e.error_code

    def close(self):
        with self.event:
            self.closed = True
            try:
                self.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.event.notify_all()

    def request(self, method, path, headers=(), body=None, sealed=None, end=True, consume=True):
        with self.event:
            assert not self.closed, f"the tunnel is closed: {self.failure!r}"
            id = self.h2.get_next_available_stream_id()
            stream = self.streams[id] = Stream(self, id, sealed, consume)
            base = [(":method", method), (":scheme", "https"), (":authority", "worker"), (":path", path)]
            self.h2.send_headers(id, base + list(headers), end_stream=body is None and end)
            self.flush()
        if body is not None:
            self.send(stream, body, end)
        return stream

    def send(self, stream, body, end=True):
        while True:
            with self.event:
                if stream.over:
                    return
                room = min(self.h2.local_flow_control_window(stream.id), self.h2.max_outbound_frame_size, len(body))
                if room == 0 and body:
                    self.event.wait(0.2)
                    continue
                part, body = body[:room], body[room:]
                self.h2.send_data(stream.id, part, end_stream=end and not body)
                self.flush()
                if not body:
                    return

    def reset(self, stream):
        with self.event:
            self.h2.reset_stream(stream.id, 8)
            self.flush()

    def consumed(self, stream, n=None):
        """The caller has drained what it got: opens the stream's window."""
        with self.event:
            n = stream.unconsumed if n is None else n
            if n == 0 or stream.over:
                return
            stream.unconsumed -= n
            self.h2.increment_flow_control_window(n, stream.id)
            self.flush()

    # -- plain endpoints --
    def get(self, path, **headers):
        return self.request("GET", path, [(k.replace("_", "-"), v) for k, v in headers.items()]).wait_end()

    def put(self, path, data):
        return self.request("PUT", path, [("content-type", "application/json")], json.dumps(data).encode()).wait_end()

    def post(self, path, data=None):
        body = b"" if data is None else data if isinstance(data, bytes) else json.dumps(data).encode()
        return self.request("POST", path, [("content-type", "application/json")], body).wait_end()

    def keyset(self, fresh=False):
        """What the attestation document says, checked against its own nonce and hash."""
        if self._keyset is None or fresh:
            asked = os.urandom(32).hex()
            answer = self.get(f"/v1/attestation?nonce={asked}")
            document = answer.json()
            assert document["nonce"] == asked and document["format"] == "cgw/attestation/v1"
            raw = base64.b64decode(document["keyset"])
            assert hashlib.sha256(raw).hexdigest() == answer.headers["cocoon-keyset"]
            self._keyset = {**json.loads(raw), "sha256": hashlib.sha256(raw).digest(), "tee": document["tee"]}
        return self._keyset

    # -- sealed requests --
    def seal(self, body, path="/v1/chat/completions", aead=2, key_config=None, inner=(), drop=(), padding=0, method="POST"):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"content-type": "application/json", "date": formatdate(usegmt=True), "cocoon-request-id": "rid-1",
                  "cocoon-model": "fake-model", "cocoon-max-tokens": "1000", "cocoon-max-input": "5000", **dict(inner)}
        fields = [(k, v) for k, v in fields.items() if k not in drop]
        config = key_config or bytes.fromhex(self.keyset()["hpke"][0])
        sealed = Sealed(config, bhttp_request(path, fields, body, method) + bytes(padding), aead)
        sealed.request_body, sealed.kfp = body, hashlib.sha256(config).hexdigest()
        return sealed

    def post_sealed(self, body=None, sealed=None, outer=(), wait=None, consume=True, **kw):
        """Sends one request and returns its stream at once."""
        sealed = sealed or self.seal(body, **kw)
        inner = dict(kw.get("inner", ()))
        call = os.urandom(16).hex()
        headers = {"content-type": "message/ohttp-chunked-req", "accept": "message/ohttp-chunked-res", "incremental": "?1",
                   "cocoon-key": sealed.kfp, "cocoon-model": inner.get("cocoon-model", "fake-model"),
                   "cocoon-max-tokens": inner.get("cocoon-max-tokens", "1000"),
                   "cocoon-max-input": inner.get("cocoon-max-input", "5000"), "cocoon-call": call, "cocoon-attempt": "0",
                   "cocoon-price": "0;1000", **dict(outer)}
        stream = self.request("POST", "/ohttp", list(headers.items()), sealed.bytes, sealed=sealed, consume=consume)
        stream.call, stream.attempt = headers["cocoon-call"], headers["cocoon-attempt"]
        return stream

    def chat(self, body, timeout=20, **kw):
        """The whole of it, with every check that a gateway and a client would make of a complete answer."""
        stream = self.post_sealed(body, **kw).wait_end(timeout)
        if stream.status == 200 and stream.sealed.complete:
            check_answer(self, stream)
        return stream

    def cancel(self, stream):
        return self.request("DELETE", f"/ohttp/{stream.call}/{stream.attempt}").wait_end()


def check_answer(tunnel, s):
    """Record and receipt agree with what passed."""
    keyset, u, c = tunnel.keyset(), s.usage, s.receipt
    digest = lambda b: b64u(hashlib.sha256(b).digest())
    assert u["req"] == digest(s.sealed.bytes) and u["resp"] == digest(s.body) and u["final"] is True
    assert u["call"] == s.call and u["attempt"] == int(s.attempt) and u["op"] == b64u(tunnel.peer.op)
    assert u["kfp"] == b64u(bytes.fromhex(s.sealed.kfp)) and u["ks"] == b64u(keyset["sha256"])
    assert u["total"] == u["in"] + u["out"] and u["cached"] <= u["in"] and u["reasoning"] <= u["out"]
    assert c["req_body"] == digest(s.sealed.request_body) and c["resp_body"] == digest(s.content)
    assert c["model_digest"] == keyset["model_digest"] and c["config_sha256"] == keyset["config_sha256"]
    assert c["rid"] == s.inner.fields["cocoon-request-id"]
    assert "resp" not in c and "final" not in c
    for name in ("call", "attempt", "op", "kfp", "ks", "model", "in", "cached", "out", "reasoning", "total", "price", "outcome",
                 "req", "env"):
        assert u[name] == c[name], name
