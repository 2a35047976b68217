"""Plays a worker that dials a gateway: an independent reading of the wire format, for tests of the gateway alone. It records all
that comes out of the tunnel's TLS.

    w = WorkerPeer(stack.folder, gateway.tunnel).dial()
    w.answer = my_answer               # def my_answer(call): see Call; default: plain_answer
    w.calls[-1].outer, .fields, .body  # what the gateway sealed, opened here
    w.asked                            # [(method, path)] of all requests, oldest first
    w.text                             # everything that arrived: raw bytes, decoded headers, bodies

Every answer of `answer` runs on a thread of its own.
"""

import base64
import datetime
import hashlib
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
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.x509.oid import NameOID

from stack import Evidence
from tunnel_peer import AEADS, ALPN, CHUNK, Sender, b64u, expand, extract, nonce, pem, read_varint, text, varint

REPLY = "message/ohttp-chunked-res"


def digest(data):
    return b64u(hashlib.sha256(data).digest())


class Receiver(Sender):
    """SetupBaseR and its context."""

    def __init__(self, private_key, enc, aead, info):
        self.aead, self.sequence, self.enc = aead, 0, enc
        self.suite = b"HPKE" + struct.pack(">HHH", 0x20, 1, aead)
        kem = b"KEM" + struct.pack(">H", 0x20)
        mine = private_key.public_key().public_bytes_raw()
        prk = extract(b"", b"HPKE-v1" + kem + b"eae_prk" + private_key.exchange(X25519PublicKey.from_public_bytes(enc)))
        shared = expand(prk, struct.pack(">H", 32) + b"HPKE-v1" + kem + b"shared_secret" + enc + mine, 32)
        context = b"\0" + self.labeled_extract(b"", b"psk_id_hash", b"") + self.labeled_extract(b"", b"info_hash", info)
        secret = self.labeled_extract(shared, b"secret", b"")
        self.key = self.labeled_expand(secret, b"key", context, 32)
        self.base = self.labeled_expand(secret, b"base_nonce", context, 12)
        self.exporter = self.labeled_expand(secret, b"exp", context, 32)

    def open(self, aad, sealed):
        plain = AEADS[self.aead](self.key).decrypt(nonce(self.base, self.sequence), sealed, aad)
        self.sequence += 1
        return plain


class Key:
    """An HPKE key with its configuration."""

    def __init__(self, number):
        self.private = X25519PrivateKey.generate()
        self.config = bytes([number]) + b"\0\x20" + self.private.public_key().public_bytes_raw() + bytes.fromhex("000800010002" "00010003")
        self.kfp = hashlib.sha256(self.config).digest()


class Call:
    """One POST /ohttp, opened; and the means to answer it piece by piece."""

    def __init__(self, tunnel, stream, outer, body, key):
        self.tunnel, self.worker, self.stream, self.outer, self.sealed, self.key = tunnel, tunnel.worker, stream, outer, body, key
        self.aead = struct.unpack(">H", body[5:7])[0]
        self.receiver = Receiver(key.private, body[7:39], self.aead, b"message/bhttp chunked request\0" + body[:7])
        self.plain = self.open(body[39:])
        self.read(self.plain)
        self.sent = b""  # encapsulated answer
        self.content = b""
        self.sequence = 0
        self.cancelled = threading.Event()
        self.begun = False  # the head of the answer is out
        rnonce = os.urandom(32)
        prk = extract(self.receiver.enc + rnonce, self.receiver.export(b"message/bhttp chunked response", 32))
        self.aes, self.base = AEADS[self.aead](expand(prk, b"key", 32)), expand(prk, b"nonce", 12)
        self.rnonce = rnonce

    def open(self, data):
        plain, at = b"", 0
        while True:
            length, at = read_varint(data, at)
            if length == 0:
                return plain + self.receiver.open(b"final", data[at:])
            assert 17 <= length <= CHUNK + 16
            plain, at = plain + self.receiver.open(b"", data[at:at + length]), at + length

    def read(self, b):
        """Binary HTTP of known length."""
        def string():
            nonlocal at
            length, at = read_varint(b, at)
            at += length
            assert at <= len(b)
            return b[at - length:at]
        assert b[0] == 0
        at = 1
        self.method, self.scheme, self.authority, self.path = (string().decode() for _ in range(4))
        fields, whole, at = string(), at, 0
        b_, b = b, fields
        self.fields = []
        while at < len(fields):
            self.fields.append((string().decode(), string().decode()))
        b, at = b_, whole
        self.body = string()

    @property
    def asked(self):
        return json.loads(self.body)

    @property
    def message(self):
        return self.asked["messages"][-1]["content"] if "messages" in self.asked else str(self.asked.get("prompt", self.asked.get("input")))

    # -- the answer --
    def seal(self, plain, final=False):
        sealed = self.aes.encrypt(nonce(self.base, self.sequence), plain, b"final" if final else b"")
        self.sequence += 1
        return (b"\0" if final else varint(len(sealed))) + sealed

    def raw(self, data):
        """Encapsulated bytes as they are."""
        self.sent += data
        self.tunnel.data(self.stream, data)

    def begin(self, outer_type=REPLY, outer=200):
        with self.tunnel.lock:
            self.begun = True
            self.tunnel.headers(self.stream, outer, [("content-type", outer_type), ("incremental", "?1"), ("cache-control", "no-store")])

    def head(self, status=200, content_type="text/event-stream; charset=utf-8", outer_type=REPLY, outer=200):
        self.begin(outer_type, outer)
        lines = text("content-type") + text(content_type) + text("cocoon-request-id") + text(dict(self.fields)["cocoon-request-id"])
        self.raw(self.rnonce + self.seal(b"\x03" + varint(status) + lines + b"\0"))

    def write(self, content):
        content = content.encode() if isinstance(content, str) else content
        self.content += content
        self.raw(self.seal(text(content)))

    def event(self, data):
        self.write("data: " + (data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))) + "\n\n")

    def chunk(self, delta=None, finish=None, **more):
        choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        return {"id": "chatcmpl-peer", "object": "chat.completion.chunk", "created": 1, "model": dict(self.fields)["cocoon-public-model"],
                "choices": choices, **more}

    def record(self, prompt=9, completion=2, outcome="stop", final=True, **more):
        w, o = self.worker, self.outer
        return {"v": 1, "call": o["cocoon-call"], "attempt": int(o["cocoon-attempt"]), "op": b64u(w.op), "kfp": b64u(self.key.kfp),
                "ks": b64u(self.key.keyset), "model": o["cocoon-model"], "in": prompt, "cached": 0, "out": completion,
                "reasoning": 0, "total": prompt + completion, "price": o["cocoon-price"], "outcome": outcome, "req": digest(self.sealed),
                "resp": digest(self.sent), "final": final, "t0": int(time.time() * 1000), "t1": int(time.time() * 1000),
                "env": "insecure-dev", **more}

    def finish(self, record=None, usage=True, receipt=True, jws=None, **more):
        """Trailers of the inner message in the final chunk, then the usage record."""
        self.raw(self.seal(b"\0" + (text("cocoon-receipt") + text(self.worker.content_receipt) if receipt else b"") + b"\0", True))
        self.trailers((jws or self.worker.sign(record or self.record(**more))) if usage else None)

    def trailers(self, jws):
        self.tunnel.trailers(self.stream, [("cocoon-usage", jws)] if jws else [])

    def problem(self, status, code):
        body = json.dumps({"type": "about:blank", "title": "x", "status": status, "code": code}).encode()
        self.tunnel.reply(self.stream, status, body, "application/problem+json")

    def reset(self):
        self.tunnel.reset(self.stream)


def plain_answer(call, pieces=("Hello", " there")):
    """What a healthy worker says."""
    if call.path == "/v1/embeddings":
        body = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "m",
                "usage": {"prompt_tokens": 3, "total_tokens": 3}}
        call.head(content_type="application/json")
        call.write(json.dumps(body))
        return call.finish(prompt=3, completion=0)
    if not call.asked.get("stream"):
        call.head(content_type="application/json")
        message = {"role": "assistant", "content": "".join(pieces), "refusal": None}
        call.write(json.dumps({"id": "chatcmpl-peer", "object": "chat.completion", "created": 1, "model": call.asked["model"],
                               "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
                               "usage": {"prompt_tokens": 9, "completion_tokens": len(pieces), "total_tokens": 9 + len(pieces)}}))
        return call.finish()
    call.head()
    call.event(call.chunk({"role": "assistant", "content": ""}))
    for piece in pieces:
        call.event(call.chunk({"content": piece}))
    call.event(call.chunk({}, "stop"))
    if dict(call.fields)["cocoon-include-usage"] == "?1":
        call.event(call.chunk(usage={"prompt_tokens": 9, "completion_tokens": len(pieces), "total_tokens": 9 + len(pieces)}))
    call.event("[DONE]")
    call.finish()


class WorkerPeer:
    def __init__(self, folder, address, op, models=("fake-model",), name="peer-worker"):
        self.folder, self.address, self.op, self.models, self.name = folder, address, op, models, name
        self.receipt = Ed25519PrivateKey.generate()
        tls = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "worker")])
        now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
        cert = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(tls.public_key()).serial_number(7)
        cert = cert.not_valid_before(now - day).not_valid_after(now + day).sign(tls, hashes.SHA256())
        self.certificate = os.path.join(folder, f"{name}-{os.urandom(4).hex()}.pem")
        with open(self.certificate, "wb") as f:
            f.write(pem(cert) + pem(tls))
        spki = tls.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.spki = hashlib.sha256(spki).digest()
        self.iid = self.spki[:16].hex()
        self.keys = [Key(17)]
        self.settings = {}  # members of the keyset that differ
        self.about = {}  # members of /v1/worker that differ
        self.document = {}  # members of the attestation document that differ
        self.not_before = int(time.time()) - 5
        self.make_keyset()
        self.date_offset = 0
        self.max = 8
        self.records = []  # kept: what GET /v1/usage says
        self.documents = []  # as given
        self.content_receipt = "not.read.here"
        self.answer = plain_answer
        self.on_cancel = self.plain_cancel
        self.asked, self.calls, self.acks, self.refused, self.etags = [], [], [], [], []
        self.asking = threading.Condition()
        self.parts = []  # all that arrived
        self.running = 0
        self.tunnel = None

    def make_keyset(self):
        value = {"format": "cgw/keyset/v1", "worker_id": self.name, "payout": "0:" + "ab" * 32, "hpke": [k.config.hex() for k in self.keys[:1]],
                 "tls_spki_sha256": self.spki.hex(), "receipt_ed25519": self.receipt.public_key().public_bytes_raw().hex(),
                 "models": list(self.models), "model_digest": "sha256:" + "0" * 64, "config_sha256": "0" * 64, "engine": "peer 1",
                 "gpu": "none", "not_before": self.not_before, "not_after": self.not_before + 3600, **self.settings}
        self.keyset = json.dumps(value).encode()
        self.keys[0].keyset = hashlib.sha256(self.keyset).digest()  # records name the keyset their key came with

    def rotate(self):
        """A new key in a new keyset; the old ones stay good."""
        fresh = Key((self.keys[0].config[0] + 1) % 256)
        self.keys = [fresh, *self.keys]
        self.not_before = int(time.time()) - 1
        self.make_keyset()

    def sign(self, payload, typ="cgw-usage+jwt", key=None, header=None):
        key = key or self.receipt
        kid = b64u(hashlib.sha256(key.public_key().public_bytes_raw()).digest()[:16])
        header = header or '{"alg":"EdDSA","kid":"%s","typ":"%s"}' % (kid, typ)
        payload = payload if isinstance(payload, bytes) else json.dumps(payload, separators=(",", ":")).encode()
        message = b64u(header.encode()) + "." + b64u(payload)
        return message + "." + b64u(key.sign(message.encode()))

    def dial(self):
        self.tunnel = PeerTunnel(self)
        return self

    def close(self):
        if self.tunnel:
            self.tunnel.close()

    @property
    def text(self):
        return b"".join(self.parts)

    def wait_asked(self, method, path, count=1, timeout=10):
        """Until the gateway has asked for it so often; those requests."""
        def enough():
            found = [a for a in self.asked if a[0] == method and a[1].startswith(path)]
            return len(found) >= count and found
        with self.asking:
            found = self.asking.wait_for(enough, timeout)
        assert found, f"the gateway never asked {method} {path}: {self.asked[-10:]}"
        return found

    @staticmethod
    def plain_cancel(call):
        """Trailers only, no final chunk; before its head 200 and no body (wire.md §11)."""
        with call.tunnel.lock:
            if not call.begun:
                call.begin()
            call.trailers(call.worker.sign(call.record(outcome="client_abort", final=False)))

    def attestation(self, nonce):
        """The attestation document for a nonce, with a quote of the dev issuer."""
        tee = Evidence.shared()
        data = hashlib.sha256(b"cgw/report-data/v1\0" + nonce + hashlib.sha256(self.keyset).digest() + hashlib.sha256(b"").digest()).digest()
        return {"format": "cgw/attestation/v1", "tee": "insecure-dev", "nonce": nonce.hex(), "keyset": base64.b64encode(self.keyset).decode(),
                "device_evidence": "", "quote": base64.b64encode(tee.quote(data + bytes(32))).decode(), "collateral": tee.collateral,
                **self.document}

    # -- endpoints --
    def serve(self, tunnel, stream, headers, body):
        method, path = headers[":method"], headers[":path"]
        with self.asking:
            self.asked.append((method, path, time.monotonic()))
            self.asking.notify_all()
        if path.startswith("/v1/attestation?nonce="):
            self.documents.append(json.dumps(self.attestation(bytes.fromhex(path.split("=")[1]))).encode())
            tunnel.reply(stream, 200, self.documents[-1], "application/vnd.cgw.attestation+json")
        elif path == "/v1/worker":
            self.etags.append(headers.get("if-none-match"))
            models = [{"name": m, "context": 4096, "max_output": 1024, "endpoints": ["chat", "completions", "embeddings"]} for m in self.models]
            about = json.dumps({"format": "cgw/worker/v1", "worker_id": self.name, "version": "1", "models": models,
                                "max_requests": self.max, "ask": 1000, "accepting": True, "reason": None, **self.about}).encode()
            etag = '"%s"' % hashlib.sha256(about).hexdigest()[:16]
            if headers.get("if-none-match") == etag:
                tunnel.reply(stream, 304, b"", None, [("etag", etag)])
            else:
                tunnel.reply(stream, 200, about, "application/json", [("etag", etag)])
        elif path.startswith("/v1/usage?"):
            records = [{"seq": i + 1, "jws": r} for i, r in enumerate(self.records)]
            tunnel.reply(stream, 200, json.dumps({"records": records, "more": False}).encode(), "application/json")
        elif path == "/v1/usage/ack":
            self.acks += json.loads(body)["acks"]
            tunnel.reply(stream, 204)
        elif path == "/v1/refused":
            self.refused.append(json.loads(body))
            tunnel.reply(stream, 204)
        elif method == "DELETE" and path.startswith("/ohttp/"):
            _, _, call, attempt = path.split("/")
            found = [c for c in self.calls if c.outer["cocoon-call"] == call and c.outer["cocoon-attempt"] == attempt]
            tunnel.reply(stream, 204 if found else 404)
            for c in found:
                c.cancelled.set()
                self.cancel(c)
        elif path == "/ohttp":
            self.take(tunnel, stream, headers, body)
        elif path in ("/v1/gateways", "/v1/drain"):
            tunnel.reply(stream, 204)
        else:
            tunnel.reply(stream, 404)

    def take(self, tunnel, stream, headers, body):
        key = next((k for k in self.keys if k.kfp.hex() == headers["cocoon-key"]), None)
        if key is None:
            problem = {"type": "https://iana.org/assignments/http-problem-types#ohttp-key", "title": "x", "status": 400, "code": "ohttp_key"}
            return tunnel.reply(stream, 400, json.dumps(problem).encode(), "application/problem+json")
        call = Call(tunnel, stream, headers, body, key)
        self.calls.append(call)
        threading.Thread(target=self.run, args=(call,), daemon=True).start()

    def cancel(self, call):
        try:
            self.on_cancel(call)
        except h2.exceptions.ProtocolError:
            pass  # the answer has ended meanwhile

    def run(self, call):
        self.running += 1
        try:
            self.answer(call)
        except (OSError, h2.exceptions.ProtocolError):
            pass  # the gateway reset the stream, or is gone
        finally:
            self.running -= 1


class PeerTunnel:
    """The connection; its HTTP/2 server is here."""

    def __init__(self, worker):
        self.worker = worker
        self.lock = threading.Condition()
        self.closed = False
        self.resets = []  # streams that the gateway reset, with the time
        self.pending = {}  # stream -> [headers, body]
        host, port = worker.address.rsplit(":", 1)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols([ALPN])
        context.load_cert_chain(worker.certificate)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.sock = socket.create_connection((host, int(port)), 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=None)
        self.handshake()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        self.h2.increment_flow_control_window(16 << 20)
        self.flush()
        threading.Thread(target=self.read, daemon=True).start()

    def handshake(self):
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                data = self.sock.recv(65536)
                if not data:
                    raise ConnectionError("closed in the handshake") from None
                self.incoming.write(data)
        self.sock.sendall(self.outgoing.read())
        assert self.tls.selected_alpn_protocol() == ALPN and self.tls.version() == "TLSv1.3"

    def flush(self):
        with self.lock:
            data = self.h2.data_to_send()
            if data:
                self.tls.write(data)
            data = self.outgoing.read()
            if data and not self.closed:
                self.sock.sendall(data)

    def read(self):
        self.sock.settimeout(None)
        while not self.closed:
            try:
                data = self.sock.recv(1 << 18)
            except OSError:
                data = b""
            if not data:
                break
            with self.lock:
                self.incoming.write(data)
                try:
                    while True:
                        plain = self.tls.read(1 << 18)
                        if not plain:
                            break
                        self.worker.parts.append(plain)
                        for event in self.h2.receive_data(plain):
                            self.handle(event)
                except ssl.SSLWantReadError:
                    pass
                except (OSError, h2.exceptions.ProtocolError):  # the gateway has left
                    break
                try:
                    self.flush()
                except OSError:
                    break
                self.lock.notify_all()  # a window may be open again
        self.close()

    def handle(self, e):
        if isinstance(e, h2.events.RequestReceived):
            self.pending[e.stream_id] = [dict(e.headers), b""]
            for name, value in e.headers:
                self.worker.parts.append(f"\n{name}: {value}\n".encode())
        elif isinstance(e, h2.events.DataReceived):
            self.pending[e.stream_id][1] += e.data
            self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
        elif isinstance(e, h2.events.StreamEnded):
            headers, body = self.pending.pop(e.stream_id)
            self.worker.parts.append(b"\n" + body + b"\n")
            self.worker.serve(self, e.stream_id, headers, body)
        elif isinstance(e, h2.events.StreamReset):
            self.resets.append((e.stream_id, time.monotonic()))

    def close(self):
        self.closed = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    # -- out --
    def common(self):
        w = self.worker
        return [("date", formatdate(time.time() + w.date_offset, usegmt=True)), ("cocoon-keyset", hashlib.sha256(w.keyset).hexdigest()),
                ("cocoon-load", f"running={w.running},waiting=0,max={w.max},kv=0.00")]

    def headers(self, stream, status, fields, end=False):
        with self.lock:
            self.h2.send_headers(stream, [(":status", str(status)), *self.common(), *fields], end_stream=end)
            self.flush()

    def reply(self, stream, status, body=b"", content_type=None, more=()):
        with self.lock:
            self.headers(stream, status, ([("content-type", content_type)] if content_type else []) + list(more), end=not body)
            if body:
                self.h2.send_data(stream, body, end_stream=True)
                self.flush()

    def data(self, stream, data):
        while data:
            with self.lock:
                room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(data))
                if room > 0:
                    self.h2.send_data(stream, data[:room])
                    self.flush()
                    data = data[room:]
                elif self.closed:
                    raise ConnectionError("the gateway has left")
                else:
                    self.lock.wait(0.2)

    def trailers(self, stream, fields):
        with self.lock:
            if fields:
                self.h2.send_headers(stream, fields, end_stream=True)
            else:
                self.h2.end_stream(stream)
            self.flush()

    def reset(self, stream):
        with self.lock:
            self.h2.reset_stream(stream, 8)
            self.flush()
