"""HTTP/1.1 over a bare socket: every byte as it comes, and how the connection ended."""

import json
import socket
import struct
import time


class Ended(Exception):
    """The answer's bytes ended; `how` is complete, closed (FIN before the end) or reset (RST)."""

    def __init__(self, how):
        super().__init__(how)
        self.how = how


class Answer:
    """An answer's head, and its body as far as it was read."""

    def __init__(self, status, reason, headers, head):
        self.status, self.reason, self.headers, self.head = status, reason, headers, head
        self.body = b""
        self.trailers = []
        self.ending = None  # complete, closed, reset; None: still open

    def header(self, name):
        values = [v for k, v in self.headers if k.lower() == name.lower()]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    @property
    def lines(self):
        return self.body.split(b"\n")

    @property
    def events(self):
        """The data of all events that came whole."""
        return [line[6:] for line in self.lines[:-1] if line.startswith(b"data: ")]

    @property
    def chunks(self):
        """The same as objects, without [DONE]."""
        return [json.loads(e) for e in self.events if e != b"[DONE]"]

    @property
    def text(self):
        """The text of choice 0."""
        parts = []
        for chunk in self.chunks:
            for choice in chunk.get("choices", []):
                if choice["index"] == 0:
                    parts.append(choice.get("delta", {}).get("content") or choice.get("text") or "")
        return "".join(parts)


class Raw:
    """One connection. `address` is (host, port) or the path of a UNIX socket."""

    def __init__(self, address, timeout=20, key=None, receive_buffer=None):
        self.address, self.timeout, self.key, self.receive_buffer = address, timeout, key, receive_buffer
        self.answer = None
        self.connect()

    def connect(self):
        address = self.address
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        if self.receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        self.socket.settimeout(self.timeout)
        self.socket.connect(address)
        if not isinstance(address, str):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.left = None  # bytes of the body or chunk still to come; None: until the end; "chunk": a chunk's size comes next

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- out --
    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def request(self, method, target, body=None, headers=(), close=False):
        """Sends a request; a dict as body becomes JSON. headers: pairs, or a dict; they replace what would be sent anyway."""
        own = dict(headers)
        given = {k.lower() for k in own}
        lines = [f"{method} {target} HTTP/1.1"]
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            if "content-type" not in given:
                lines.append("Content-Type: application/json")
        if isinstance(body, str):
            body = body.encode()
        if "host" not in given:
            lines.append("Host: test")
        if self.key and "authorization" not in given:
            lines.append(f"Authorization: Bearer {self.key}")
        if body is not None and not given & {"content-length", "transfer-encoding"}:
            lines.append(f"Content-Length: {len(body)}")
        if close:
            lines.append("Connection: close")
        lines += [f"{k}: {v}" for k, v in own.items() if v is not None]
        return self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))

    def finish_sending(self):
        self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        self.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # -- in --
    def _more(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            raise Ended("reset") from None
        if not data:
            raise Ended("closed")
        self.buffer += data

    def _until(self, mark):
        while mark not in self.buffer:
            self._more()
        part, self.buffer = self.buffer.split(mark, 1)
        return part + mark

    def _exactly(self, n):
        while len(self.buffer) < n:
            self._more()
        part, self.buffer = self.buffer[:n], self.buffer[n:]
        return part

    def head(self, informational=False):
        """Reads a head (those of 1xx are skipped unless wanted)."""
        while True:
            head = self._until(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            version, status, *reason = lines[0].split(" ", 2)
            assert version == "HTTP/1.1", lines[0]
            if informational or int(status) >= 200:
                break
        headers = [tuple(p.strip() for p in line.split(":", 1)) for line in lines[1:] if line]
        self.answer = Answer(int(status), (reason or [""])[0], headers, head)
        length = self.answer.header("content-length")
        if (self.answer.header("transfer-encoding") or "") == "chunked":
            assert length is None
            self.left = "chunk"
        else:
            self.left = int(length) if length is not None else None
            if int(status) in (204, 304):
                self.left = 0
        return self.answer

    def piece(self):
        """The next bytes of the body, as they were sent; raises Ended."""
        a = self.answer
        try:
            if self.left == "chunk":
                size = int(self._until(b"\r\n")[:-2].split(b";")[0], 16)
                data = self._exactly(size)
                if size == 0:
                    while (line := self._until(b"\r\n")) != b"\r\n":
                        a.trailers.append(tuple(p.strip() for p in line.decode("latin-1").split(":", 1)))
                    raise Ended("complete")
                assert self._exactly(2) == b"\r\n"
            else:
                if self.left == 0:
                    raise Ended("complete")
                if not self.buffer:
                    self._more()
                data = self.buffer[:self.left] if self.left is not None else self.buffer
                self.buffer = self.buffer[len(data):]
                if self.left is not None:
                    self.left -= len(data)
        except Ended as e:
            if e.how == "closed" and self.left is None:
                e.how = "complete"  # a body without any length ends with the connection
            a.ending = e.how
            raise
        a.body += data
        return data

    def until(self, mark, timeout=None):
        """Reads on until the body holds the bytes."""
        deadline = time.monotonic() + timeout if timeout else None
        while mark not in self.answer.body:
            if deadline and time.monotonic() > deadline:
                raise TimeoutError(mark)
            self.piece()
        return self.answer

    def rest(self):
        """Reads to the end, whatever it is like; see answer.ending."""
        try:
            while True:
                self.piece()
        except Ended:
            return self.answer

    def ask(self, method, target, body=None, headers=(), close=False):
        """A request and its whole answer; on a new connection when the last answer said that it closes this one."""
        if self.answer and self.answer.header("connection") == "close":
            self.close()
            self.connect()
        self.request(method, target, body, headers, close)
        self.head()
        if method == "HEAD":
            self.answer.ending = "complete"
            return self.answer
        return self.rest()

    def is_open(self, wait=0.3):
        """False once the peer has closed or reset."""
        old = self.socket.gettimeout()
        self.socket.settimeout(wait)
        try:
            data = self.socket.recv(65536)
            self.buffer += data
            return bool(data)
        except TimeoutError:
            return True
        except ConnectionError:
            return False
        finally:
            self.socket.settimeout(old)
