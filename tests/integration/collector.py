"""An OpenTelemetry collector: takes OTLP/HTTP in JSON, and judges each span by the rules of that encoding.

    collector = Collector().start()
    collector.spans            # dicts as they came, with .attributes as a plain dict under "attrs"
    collector.answer = 500     # a status; "hang": no answer; "drip": slower than anybody waits
    collector.stop()           # connections refused; start() again: the same port
"""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from stack import free_port

TRACE, SPAN, NANOS = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{16}"), re.compile(r"[1-9][0-9]{18}")


def plain(attributes):
    """The list of keys and typed values as a dict; 64-bit numbers are strings in the encoding."""
    out = {}
    for a in attributes:
        assert set(a) == {"key", "value"} and a["key"] not in out and len(a["value"]) == 1
        (kind, value), = a["value"].items()
        assert kind in ("stringValue", "intValue") and isinstance(value, str)
        out[a["key"]] = int(value) if kind == "intValue" else value
    return out


def judged(span):
    """A span of the encoding, or an AssertionError."""
    assert set(span) - {"parentSpanId", "status"} == {"traceId", "spanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano", "attributes"}
    assert TRACE.fullmatch(span["traceId"]) and SPAN.fullmatch(span["spanId"]) and int(span["traceId"], 16) and int(span["spanId"], 16)
    assert "parentSpanId" not in span or SPAN.fullmatch(span["parentSpanId"])
    assert type(span["kind"]) is int and span["kind"] in (2, 3)
    begun, ended = span["startTimeUnixNano"], span["endTimeUnixNano"]
    assert NANOS.fullmatch(begun) and NANOS.fullmatch(ended) and int(begun) <= int(ended)
    assert abs(int(ended) / 1e9 - time.time()) < 120
    assert span.get("status", {"code": 2}) == {"code": 2}
    return {**span, "attrs": plain(span["attributes"])}


class Collector:
    def __init__(self, tls=None):
        """tls: an ssl.SSLContext of a certificate for localhost."""
        self.port, self.tls = free_port(), tls
        self.url = f"https://localhost:{self.port}/v1/traces" if tls else f"http://127.0.0.1:{self.port}/v1/traces"
        self.answer, self.wrong = 200, []
        self.bodies, self.headers, self.spans, self.resources = [], [], [], []
        self.server = None

    def take(self, handler):
        body = handler.rfile.read(int(handler.headers["content-length"]))
        self.bodies.append(body)
        self.headers.append(handler.headers)
        try:
            assert handler.path == "/v1/traces" and handler.headers["content-type"] == "application/json"
            for resource in json.loads(body)["resourceSpans"]:
                self.resources.append(plain(resource["resource"]["attributes"]))
                for scope in resource["scopeSpans"]:
                    assert scope["scope"]["name"] == "cocoon-gateway"
                    self.spans.extend([judged(s) for s in scope["spans"]])
        except (AssertionError, KeyError, ValueError, TypeError) as e:
            self.wrong.append(repr(e))
        if self.answer == "hang":
            self.stopped.wait(60)
            return
        handler.send_response(self.answer)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    def start(self):
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                collector.take(self)

            def log_message(self, *_):
                pass

        self.stopped = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        if self.tls:
            self.server.socket = self.tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self):
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()

    def of(self, trace):
        """The spans of a trace: (the request's, the attempts')."""
        own = [s for s in self.spans if s["traceId"] == trace]
        return [s for s in own if s["kind"] == 2], [s for s in own if s["kind"] == 3]
