"""Plays gateway and worker at once against cocoon-client: honest by default, and as malicious as a test wants. Evidence is the dev
issuer's (cocoon-devtee), so it passes a dev policy unless a test spoils it.

    g = EvilGateway(folder, tee).start()   # tee: DevTee, started; g.url
    g.answer = my_answer                   # def my_answer(call): see worker_peer.Call, honest(), finish()
    g.post = lambda wire, headers, body: … # instead of opening it at all
    g.workers_say / g.document_says        # change what the lists and documents say
    g.calls[-1].fields, .body              # what was sealed, opened here
    g.posts, g.asked, g.saw(b"canary")     # all that came in clear
"""

import base64
import hashlib
import http.server
import json
import os
import socket
import struct
import threading
import time
import urllib.parse

from tunnel_peer import text
from worker_peer import REPLY, Call, WorkerPeer, digest

PRICE = "3;1000"


class Wire:
    """The connection to the client, as the tunnel that Call writes to."""

    def __init__(self, handler, gateway, worker):
        self.handler, self.gateway, self.worker = handler, gateway, worker
        self.call = os.urandom(16).hex()
        self.extra = []
        self.closing = [] if gateway.keep_alive else [("Connection", "close")]
        self.usage_in_trailer = True
        self.lock = threading.RLock()

    def write(self, data):
        self.handler.wfile.write(data)
        self.handler.wfile.flush()

    def headers(self, stream, status, fields, end=False):
        lines = [("Cocoon-Call", self.call), ("x-request-id", "req_" + self.call), ("Cocoon-Price", PRICE), ("Cocoon-Privacy", "end-to-end"),
                 ("Transfer-Encoding", "chunked"), ("Trailer", "Cocoon-Usage"), *fields, *self.closing, *self.extra]
        last = {k.lower(): (k, v) for k, v in lines}  # the later ones win
        self.write(f"HTTP/1.1 {status} X\r\n".encode() + b"".join(f"{k}: {v}\r\n".encode() for k, v in last.values() if v is not None) + b"\r\n")

    def data(self, stream, data):
        self.write(b"%x\r\n%s\r\n" % (len(data), data))

    def trailers(self, stream, fields):
        if fields:
            self.gateway.receipts[self.call] = dict(fields)["cocoon-usage"]
        shown = fields if self.usage_in_trailer else []
        self.write(b"0\r\n" + b"".join(f"{k}: {v}\r\n".encode() for k, v in shown) + b"\r\n")

    def reply(self, stream, status, body=b"", content_type="application/problem+json", more=()):
        lines = [("Cocoon-Call", self.call), ("x-request-id", "req_" + self.call), ("Content-Type", content_type),
                 ("Content-Length", str(len(body))), *self.closing, *more]
        self.write(f"HTTP/1.1 {status} X\r\n".encode() + b"".join(f"{k}: {v}\r\n".encode() for k, v in lines) + b"\r\n" + body)

    def problem(self, status, code, more=()):
        self.reply(None, status, json.dumps({"type": "about:blank", "title": "x", "status": status, "code": code}).encode(), more=more)

    def cut(self):
        self.handler.connection.shutdown(socket.SHUT_RDWR)


# ---- What a worker does ------------------------------------------------------------------------------

def receipt(call, /, **more):
    """The content receipt's payload."""
    fields = dict(call.fields)
    keyset = json.loads(call.worker.keyset)
    payload = call.record()
    for name in ("resp", "final"):
        del payload[name]
    payload.update({"rid": fields["cocoon-request-id"], "req_body": digest(call.body), "resp_body": digest(call.content),
                    "model_digest": keyset["model_digest"], "config_sha256": keyset["config_sha256"]})
    counted = {k: more[k] for k in ("in", "out", "cached") if k in more}
    payload.update(more)
    if counted and "total" not in more:
        payload["total"] = payload["in"] + payload["out"]
    return payload


def finish(call, in_receipt=None, in_record=None, signer=None, final=True, with_receipt=True, with_record=True, record_signer=None):
    """The end of an honest answer, but for what is given."""
    worker = call.worker
    jws = worker.sign(receipt(call, **(in_receipt or {})), typ="cgw-receipt+jwt", key=signer)
    if final:
        call.raw(call.seal(b"\0" + (text("cocoon-receipt") + text(jws) if with_receipt else b"") + b"\0", True))
    payload = call.record(final=final)
    payload.update(in_record or {})
    payload["total"] = payload["in"] + payload["out"]
    call.trailers(worker.sign(payload, key=record_signer) if with_record else None)


def say(call, pieces=("Hello", " there")):
    """All of an answer but its end."""
    if call.path == "/v1/embeddings":
        call.head(content_type="application/json")
        call.write(json.dumps({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "m",
                               "usage": {"prompt_tokens": 9, "total_tokens": 9}}))
    elif not call.asked.get("stream"):
        call.head(content_type="application/json")
        message = {"role": "assistant", "content": "".join(pieces), "refusal": None}
        call.write(json.dumps({"id": "chatcmpl-peer", "object": "chat.completion", "created": 1, "model": dict(call.fields)["cocoon-public-model"],
                               "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
                               "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}}))
    else:
        call.head()
        call.event(call.chunk({"role": "assistant", "content": ""}))
        for piece in pieces:
            call.event(call.chunk({"content": piece}))
        call.event(call.chunk({}, "stop"))
        if dict(call.fields)["cocoon-include-usage"] == "?1":
            call.event(call.chunk(usage={"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}))
        call.event("[DONE]")


def honest(call):
    say(call)
    if call.path == "/v1/embeddings":
        zero = {"out": 0, "in": 9, "total": 9}
        return finish(call, in_receipt=zero, in_record={"out": 0})
    finish(call)


class EvilWorker(WorkerPeer):
    """A WorkerPeer that does not dial: its documents are asked for here."""

    def __init__(self, folder, tee, models, name):
        super().__init__(folder, "", hashlib.sha256(b"operator").digest(), models, name)
        self.tee = tee
        self.cached = None

    def attest(self):
        """The attestation document, with a quote of the dev issuer."""
        if self.cached and self.cached[0] == self.keyset:
            return self.cached[1]
        nonce = os.urandom(32)
        data = hashlib.sha256(b"cgw/report-data/v1\0" + nonce + hashlib.sha256(self.keyset).digest() + hashlib.sha256(b"").digest()).digest()
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(self.tee.socket)
            s.sendall(data + bytes(32))
            f = s.makefile("rb")
            quote = f.read(struct.unpack(">I", f.read(4))[0])
        document = {"format": "cgw/attestation/v1", "tee": "insecure-dev", "nonce": nonce.hex(), "device_evidence": "",
                    "keyset": base64.b64encode(self.keyset).decode(), "quote": base64.b64encode(quote).decode(),
                    "collateral": json.loads(self.tee.read("collateral.json")), **self.document}
        self.cached = self.keyset, document
        return document


# ---- The gateway -------------------------------------------------------------------------------------

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *_):
        pass

    def do(self):
        g = self.server.gateway
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        g.heard.append(f"{self.command} {self.path}\n{self.headers}".encode() + body)
        g.asked.append((self.command, self.path))
        try:
            g.serve(self, body)
        except (OSError, ValueError):
            self.close_connection = True

    do_GET = do_POST = do


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        pass


class EvilGateway:
    def __init__(self, folder, tee, models=("fake-model",), workers=1):
        self.workers = [EvilWorker(folder, tee, models, f"evil-{i}") for i in range(workers)]
        self.answer, self.post = honest, None
        self.workers_say = self.document_says = None
        self.heard, self.asked, self.calls, self.posts, self.receipts = [], [], [], [], {}
        self.ttl, self.extra, self.usage_in_trailer, self.serve_receipts = 30, [], True, True
        self.keep_alive = True
        self.prices, self.prices_take = {}, 0  # version → bytes of a book
        self.gone = threading.Event()  # the client closed a connection of a call

    def start(self, context=None):
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.gateway = self
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def saw(self, canary):
        return any(canary in h for h in self.heard)

    def listing(self, model):
        return {"model": model, "ttl": self.ttl, "workers": [
            {"worker_id": w.name, "kfp": w.keys[0].kfp.hex(), "key_config": w.keys[0].config.hex(),
             "keyset_sha256": hashlib.sha256(w.keyset).hexdigest(), "not_after": w.not_before + 3600, "attestation_sha256": "0" * 64,
             "load": 0.1} for w in self.workers]}

    def serve(self, handler, body):
        url = urllib.parse.urlsplit(handler.path)
        wire = Wire(handler, self, self.workers[0])
        wire.extra, wire.usage_in_trailer = list(self.extra), self.usage_in_trailer
        if url.path == "/v1/confidential/workers":
            listing = self.listing(urllib.parse.parse_qs(url.query)["model"][0])
            status, listing = self.workers_say(listing) if self.workers_say else (200, listing)
            wire.reply(None, status, json.dumps(listing).encode(), "application/json")
        elif url.path.startswith("/v1/confidential/attestation/"):
            kfp = url.path.rsplit("/", 1)[1]
            found = next((w for w in self.workers if any(k.kfp.hex() == kfp for k in w.keys)), None)
            document = found and found.attest()
            document = self.document_says(document, kfp) if self.document_says else document
            if document is None:
                wire.problem(404, "not_found")
            else:
                wire.reply(None, 200, json.dumps(document).encode(), "application/vnd.cgw.attestation+json")
        elif url.path.startswith("/v1/billing/receipts/"):
            jws = self.receipts.get(url.path.rsplit("/", 1)[1])
            if jws and self.serve_receipts:
                wire.reply(None, 200, json.dumps({"usage": jws}).encode(), "application/json")
            else:
                wire.problem(404, "not_found")
        elif url.path.startswith("/v1/prices/") and url.path.rsplit("/", 1)[1] in self.prices:
            time.sleep(self.prices_take)
            wire.reply(None, 200, self.prices[url.path.rsplit("/", 1)[1]], "application/json")
        elif url.path.startswith("/v1/models"):
            wire.reply(None, 200, json.dumps({"object": "list", "data": [{"id": "fake-model", "object": "model", "created": 1,
                                                                          "owned_by": "cocoon"}]}).encode(), "application/json")
        elif url.path == "/v1/confidential/ohttp":
            self.take(wire, handler, body)
        else:
            wire.problem(404, "unknown_url")

    def take(self, wire, handler, body):
        outer = {k.lower(): v for k, v in handler.headers.items()}
        self.posts.append(outer)
        if self.post:
            return self.post(wire, outer, body)
        outer.update({"cocoon-call": wire.call, "cocoon-attempt": "0", "cocoon-price": PRICE})
        for worker in self.workers:
            for key in worker.keys:
                if key.kfp.hex() == outer["cocoon-key"]:
                    wire.worker = worker
                    call = Call(wire, None, outer, body, key)
                    self.calls.append(call)
                    try:
                        self.answer(call)
                    except OSError:
                        self.gone.set()
                        raise
                    return None
        return wire.problem(400, "ohttp_key")


def wait_closed(handler, seconds=10):
    """Until the other side has closed; True when it did."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if handler.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"":
                return True
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            return True
    return False


assert REPLY
