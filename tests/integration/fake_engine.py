"""A scripted inference engine: speaks OpenAI's API as llama.cpp, vLLM or SGLang do, or fails in the way a test asks for.

    engine = FakeEngine(dialect="llamacpp", models=["fake-model"]).start()
    engine.script("mine", my_script)      # async def my_script(x, **arguments)
    engine.next = my_script               # the next inference request only
    engine.default = my_script            # every request that names none
    engine.requests[-1].body              # what arrived, byte for byte
    engine.requests[-1].closed_at         # when the peer left, time.monotonic(); None while it is there
    engine.stop(); engine.start()         # connections refused, then the same port again

A request picks its script by a JSON object as the whole text of the last user message (or as prompt, or as input), which passes
through every layer untouched:  {"script": "stall", "events": 2}.  The other members are the script's arguments. The scripts there
from the start are the functions below `BUILT_IN`; a script is a coroutine that gets an Exchange.

It runs on a thread of its own, on 127.0.0.1 or a UNIX socket, and by itself:  python fake_engine.py --port 8081
"""

import argparse
import asyncio
import base64
import inspect
import json
import os
import socket
import struct
import threading
import time

JSON_TYPE = "application/json"
STREAM_TYPE = "text/event-stream"
INFERENCE = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests",
           500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable"}


class Request:
    """One request as it arrived."""

    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers, self.body = method, target, headers, body
        self.path = target.split("?")[0]
        self.arrived_at = time.monotonic()
        self.closed_at = None  # the peer left (or the script closed)
        self._closed = asyncio.Event()
        self.answered_at = None  # the whole answer was written
        self.aborted = False  # the peer left before the whole answer was written
        try:
            self.json = json.loads(body) if body else None
        except ValueError:
            self.json = None

    def close(self):
        self.closed_at = self.closed_at or time.monotonic()
        self._closed.set()

    async def gone(self, timeout):
        """Waits until it is closed; whether it is. A thousand may wait here: they take no turns meanwhile."""
        try:
            await asyncio.wait_for(self._closed.wait(), timeout)
        except asyncio.TimeoutError:
            pass
        return self._closed.is_set()

    def header(self, name):
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)

    def __repr__(self):
        return f"<{self.method} {self.target} {len(self.body)} bytes>"


class Exchange:
    """What a script answers with. Every write is one send to the socket."""

    def __init__(self, engine, request, reader, writer):
        self.engine, self.request, self.reader, self.writer = engine, request, reader, writer
        self.dialect = engine.dialect
        self.chunked = False
        self.keep_alive = True
        self.piece = None  # bytes a send for everything after the head; None: one send a write
        self.pause = 0.0  # seconds between such pieces
        self.id = "chatcmpl-" + os.urandom(8).hex()
        self.created = int(time.time())

    # -- bytes --
    async def raw(self, data):
        """Writes the bytes as they are."""
        step = self.piece or max(len(data), 1)
        for at in range(0, len(data), step):
            self.writer.write(data[at:at + step])
            await self.writer.drain()
            if self.piece:
                await asyncio.sleep(self.pause)

    async def head(self, status=200, content_type=STREAM_TYPE, length=None, **headers):
        """The head; without a length the body is chunked, and `write` makes the chunks."""
        self.chunked = length is None
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", f"Content-Type: {content_type}"]
        lines.append("Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {length}")
        lines += [f"{k.replace('_', '-')}: {v}" for k, v in headers.items()]
        lines.append("Connection: keep-alive" if self.keep_alive else "Connection: close")
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await self.writer.drain()

    async def write(self, data):
        if isinstance(data, str):
            data = data.encode()
        if not data:
            return
        if not self.chunked:
            await self.raw(data)
        elif not self.piece:
            await self.raw(b"%x\r\n%b\r\n" % (len(data), data))
        else:  # small pieces are chunks of their own
            step, self.piece = self.piece, None
            for at in range(0, len(data), step):
                part = data[at:at + step]
                await self.raw(b"%x\r\n%b\r\n" % (len(part), part))
                await asyncio.sleep(self.pause)
            self.piece = step

    async def end(self):
        """The end of the body, as HTTP wants it."""
        if self.chunked:
            await self.raw(b"0\r\n\r\n")

    async def reply(self, status, data, content_type=JSON_TYPE, **headers):
        """A whole answer with its length."""
        if not isinstance(data, (bytes, str)):
            data = json.dumps(data, separators=(",", ":"))
        if isinstance(data, str):
            data = data.encode()
        if status >= 400 and self.dialect.name == "llamacpp":
            self.keep_alive = False  # llama.cpp closes after every error
        await self.head(status, content_type, len(data), **headers)
        await self.raw(data)

    def close(self):
        """Closes the connection without ending what was begun."""
        self.keep_alive = False
        self.writer.close()

    def reset(self):
        """The same, with RST."""
        sock = self.writer.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.keep_alive = False
        self.writer.transport.abort()

    async def gone(self, timeout=30):
        """Waits until the peer has left; whether it did."""
        return await self.request.gone(timeout)

    # -- events --
    async def event(self, data):
        """One SSE event: an object as JSON, bytes or text as they are."""
        if not isinstance(data, (bytes, str)):
            data = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogatepass")
        await self.write(b"data: " + data + b"\n\n")

    async def done(self):
        await self.event("[DONE]")

    def chunk(self, **kw):
        """A stream chunk of this request, in the engine's dialect: see Dialect.chunk."""
        return self.dialect.chunk(self, **kw)

    @property
    def asked(self):
        return self.request.json or {}

    @property
    def model(self):
        return self.asked.get("model", "?")

    @property
    def chat(self):
        return self.request.path != "/v1/completions"

    @property
    def include_usage(self):
        return bool((self.asked.get("stream_options") or {}).get("include_usage"))


# ---- Dialects: how the engines differ ---------------------------------------------------------------

class Dialect:
    name = "generic"

    def envelope(self, x, choices):
        kind = "chat.completion.chunk" if x.chat else "text_completion"
        return {"id": x.id, "object": kind, "created": x.created, "model": x.model, "choices": choices}

    def chunk(self, x, text=None, role=None, index=0, finish=None, tool=None, usage=None, delta=None, **more):
        """One chunk: a role, a piece of text, a piece of a tool call, a finish_reason, usage (then without choices)."""
        if usage is not None and text is None and finish is None:
            return {**self.envelope(x, []), "usage": usage, **more}
        if x.chat:
            d = dict(delta or {})
            if role:
                d.update({"role": role, "content": ""})
            if text is not None:
                d["content"] = text
            if tool is not None:
                d["tool_calls"] = [tool]
            choice = {"index": index, "delta": d, "logprobs": None, "finish_reason": finish}
        else:
            choice = {"index": index, "text": text or "", "logprobs": None, "finish_reason": finish}
        chunk = {**self.envelope(x, [choice]), **more}
        if usage is not None:
            chunk["usage"] = usage
        return chunk

    def usage(self, prompt, completion, cached=0):
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
                "prompt_tokens_details": {"cached_tokens": cached}}

    def error(self, status, message, kind="invalid_request_error", **more):
        return {"error": {"message": message, "type": kind, "param": None, "code": status, **more}}

    def event_error(self, status, message, kind):
        """The error as an event of a stream."""
        return self.error(status, message, kind)

    def overflow(self):
        return 400, self.error(400, "This model's maximum context length is 2048 tokens. However, you requested 5000 tokens.",
                               "BadRequestError")

    def metrics(self, engine):
        return ""


class LlamaCpp(Dialect):
    name = "llamacpp"

    def chunk(self, x, role=None, finish=None, text=None, usage=None, **kw):
        chunk = super().chunk(x, role=role, finish=finish, text=text, usage=usage, **kw)
        chunk["system_fingerprint"] = "b0-unknown"
        for choice in chunk["choices"]:
            choice.pop("logprobs", None)
            if role and x.chat:
                choice["delta"] = {"role": role, "content": None}
        if usage is not None:
            chunk["timings"] = {"cache_n": 0, "prompt_n": 1, "prompt_ms": 31.585, "predicted_n": 3}
        return chunk

    def error(self, status, message, kind="invalid_request_error", **more):
        return {"error": {"code": status, "message": message, "type": kind, **more}}

    def overflow(self):
        return 400, self.error(400, "request (20031 tokens) exceeds the available context size (2048 tokens), try increasing it",
                               "exceed_context_size_error", n_prompt_tokens=20031, n_ctx=2048)

    def metrics(self, engine):
        return (f"# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing {engine.running}\n"
                f"# TYPE llamacpp:requests_deferred gauge\nllamacpp:requests_deferred {engine.waiting}\n")


class Vllm(Dialect):
    name = "vllm"

    def chunk(self, x, **kw):
        chunk = super().chunk(x, **kw)
        for choice in chunk["choices"]:
            if choice["finish_reason"]:
                choice["stop_reason"] = None
            choice["token_ids"] = None
        return chunk

    def usage(self, prompt, completion, cached=0):
        return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}

    def error(self, status, message, kind="BadRequestError", **more):
        return {"error": {"message": message, "type": kind, "param": None, "code": status, **more}}

    def overflow(self):
        return 400, self.error(400, "This model's maximum context length is 2048 tokens. However, your prompt contains 20031 input "
                               "tokens, which exceeds this limit even without any output tokens. Please reduce the length of the "
                               "input prompt.", param="input_tokens")

    def metrics(self, engine):
        label = '{engine="0",model_name="%s"}' % engine.models[0]
        return (f"vllm:num_requests_running{label} {float(engine.running)}\n"
                f"vllm:num_requests_waiting{label} {float(engine.waiting)}\nvllm:kv_cache_usage_perc{label} 0.25\n")


class Sglang(Dialect):
    name = "sglang"

    def chunk(self, x, **kw):
        chunk = super().chunk(x, **kw)
        for choice in chunk["choices"]:
            choice["matched_stop"] = None
            if x.chat:
                choice["delta"].setdefault("reasoning_content", None)
        return chunk

    def error(self, status, message, kind="BadRequestError", **more):
        return {"object": "error", "message": message, "type": kind, "param": None, "code": status, **more}

    def event_error(self, status, message, kind):
        return {"error": self.error(status, message, kind)}

    def metrics(self, engine):
        label = '{model_name="%s"}' % engine.models[0]
        return (f"sglang:num_running_reqs{label} {float(engine.running)}\nsglang:num_queue_reqs{label} {float(engine.waiting)}\n"
                f"sglang:token_usage{label} 0.25\n")


DIALECTS = {d.name: d for d in (Dialect, LlamaCpp, Vllm, Sglang)}


# ---- Built-in scripts --------------------------------------------------------------------------------

DEFAULT_TEXT = ["Hello", "!", " How", " can", " I", " help", "?"]


def prompt_tokens(x):
    return max(1, len(x.request.body) // 4)


async def answer(x, text=None, pieces=None, delay=0.0, head_delay=0.0, prompt=None, cached=0, finish="stop"):
    """The plain, healthy answer. `text`, or `pieces` of it: a token each. Obeys n, max_tokens and include_usage."""
    pieces = pieces or ([text] if text is not None else DEFAULT_TEXT)
    limit = x.asked.get("max_completion_tokens") or x.asked.get("max_tokens")
    if isinstance(limit, int) and 0 < limit < len(pieces):
        pieces, finish = pieces[:limit], "length"
    n = x.asked.get("n") or 1
    usage = x.dialect.usage(prompt or prompt_tokens(x), len(pieces) * (1 if x.dialect.name == "llamacpp" else n), cached)
    await asyncio.sleep(head_delay)
    if not x.asked.get("stream"):
        return await x.reply(200, whole(x, "".join(pieces), finish, usage, n))
    await x.head()
    if x.chat:
        for i in range(n):
            await x.event(x.chunk(role="assistant", index=i))
    for at, piece in enumerate(pieces):
        if at and delay:
            await asyncio.sleep(delay)
        last = finish if x.dialect.name == "vllm" and at == len(pieces) - 1 else None
        for i in range(n):
            await x.event(x.chunk(text=piece, index=i, finish=last))
    if x.dialect.name != "vllm":
        for i in range(n):
            await x.event(x.chunk(finish=finish, index=i))
    await finish_stream(x, usage)


def whole(x, text, finish, usage, n=1, message=None):
    choices = []
    for i in range(n):
        if x.chat:
            choices.append({"index": i, "message": {"role": "assistant", "content": text, **(message or {})},
                            "finish_reason": finish})
        else:
            choices.append({"index": i, "text": text, "logprobs": None, "finish_reason": finish})
    kind = "chat.completion" if x.chat else "text_completion"
    return {"id": x.id, "object": kind, "created": x.created, "model": x.model, "choices": choices, "usage": usage}


async def finish_stream(x, usage):
    if x.include_usage:
        await x.event(x.chunk(usage=usage))
    await x.done()
    await x.end()


async def echo(x):
    """Answers with the last user message's text, which need not be a directive: register it under the name you like."""
    await answer(x, text=last_text(x.asked) or "")


async def tool_call(x, name="get_weather", arguments='{"city": "Paris"}', id="abc123", pieces=4):
    """One tool call, its arguments in pieces."""
    usage = x.dialect.usage(prompt_tokens(x), 12)
    if not x.asked.get("stream"):
        call = {"type": "function", "id": id, "function": {"name": name, "arguments": arguments}}
        return await x.reply(200, whole(x, "", "tool_calls", usage, message={"tool_calls": [call]}))
    await x.head()
    await x.event(x.chunk(role="assistant"))
    await x.event(x.chunk(tool={"index": 0, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}))
    step = max(1, -(-len(arguments) // pieces))
    for at in range(0, len(arguments), step):
        await x.event(x.chunk(tool={"index": 0, "function": {"arguments": arguments[at:at + step]}}))
    await x.event(x.chunk(finish="tool_calls"))
    await finish_stream(x, usage)


async def embeddings(x, size=8):
    """A vector an input; the same text gives the same numbers."""
    given = x.asked.get("input")
    inputs = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    data = []
    for i, text in enumerate(inputs):
        seed = sum(str(text).encode())
        vector = [((seed + 7 * k) % 100) / 128 for k in range(size)]  # exact in binary
        if x.asked.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        data.append({"object": "embedding", "index": i, "embedding": vector})
    usage = {"prompt_tokens": 4 * len(data), "total_tokens": 4 * len(data)}
    await x.reply(200, {"object": "list", "model": x.model, "data": data, "usage": usage})


async def error(x, status=500, message="something broke", kind="server_error", **more):
    await x.reply(status, x.dialect.error(status, message, kind, **more))


async def overflow(x):
    await x.reply(*x.dialect.overflow())


async def html(x, status=502):
    await x.reply(status, "<html><body><h1>Bad Gateway</h1></body></html>", "text/html")


async def garbage(x, status=200, content_type=JSON_TYPE):
    await x.reply(status, b"\x00\xff\xfe{{{not json" * 8, content_type)


async def not_http(x):
    await x.raw(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    x.close()


async def nothing(x):
    """Takes the request and closes without a byte."""
    x.close()


async def mute(x, seconds=60):
    """Takes the request and says nothing until the peer leaves."""
    await x.gone(seconds)
    x.close()


async def begin(x, events):
    await x.head()
    await x.event(x.chunk(role="assistant"))
    for i in range(events):
        await x.event(x.chunk(text=f"word{i} "))


async def stall(x, events=3, seconds=60):
    """A stream that stops in the middle and stays open until the peer leaves."""
    await begin(x, events)
    await x.gone(seconds)
    x.close()


async def half(x, events=3, reset=False):
    """A stream whose connection dies without the last chunk."""
    await begin(x, events)
    x.reset() if reset else x.close()


async def clean_cut(x, events=3, done=False):
    """A stream that ends as HTTP wants it, but without finish_reason, and without [DONE] unless asked."""
    await begin(x, events)
    if done:
        await x.done()
    await x.end()


async def no_done(x, events=3):
    """Finished in every way but for [DONE]."""
    await begin(x, events)
    await x.event(x.chunk(finish="stop"))
    if x.include_usage:
        await x.event(x.chunk(usage=x.dialect.usage(prompt_tokens(x), events)))
    await x.end()


async def no_usage(x, events=3):
    """Finished, but the usage that was asked for never comes."""
    await begin(x, events)
    await x.event(x.chunk(finish="stop"))
    await x.done()
    await x.end()


async def cut_in_event(x, events=3, clean=True):
    """Ends in the middle of an event's bytes."""
    await begin(x, events)
    await x.write(b'data: {"id":"chatcmpl-1","object":"chat.comp')
    if clean:
        await x.end()
    else:
        x.close()


async def error_event(x, events=0, status=500, message="engine exploded", done=False):
    """200, then (after `events` events) an error as an event."""
    if events:
        await begin(x, events)
    else:
        await x.head()
    await x.event(x.dialect.event_error(status, message, "server_error"))
    if done:
        await x.done()
    await x.end()


async def slow(x, seconds=1.0, count=5):
    """`count` tokens, `seconds` apart."""
    await answer(x, pieces=[f"t{i} " for i in range(count)], delay=seconds)


async def late_head(x, seconds=1.0):
    await answer(x, head_delay=seconds)


async def pieces(x, size=1, pause=0.0, text="Grüße aus Köln 🌍"):
    """The answer's bytes in chunks of `size`."""
    x.piece, x.pause = size, pause
    await answer(x, pieces=list(text))


async def one_write(x):
    """All events in one chunk."""
    parts = [x.chunk(role="assistant"), *(x.chunk(text=t) for t in DEFAULT_TEXT), x.chunk(finish="stop"),
             x.chunk(usage=x.dialect.usage(prompt_tokens(x), len(DEFAULT_TEXT)))]
    await x.head()
    await x.write("".join(f"data: {json.dumps(p)}\n\n" for p in parts) + "data: [DONE]\n\n")
    await x.end()


async def comments(x):
    """Pings, comments, CRLF and events of no use among the real ones."""
    await x.head()
    await x.write(": connected\r\n\r\n: ping\n")
    await x.event(x.chunk(role="assistant"))
    await x.write("retry: 3000\nid: 7\nevent: message\n")
    await x.event(x.chunk(text="ok"))
    await x.write(":\n\n")
    await x.event(x.chunk(finish="stop"))
    await finish_stream(x, x.dialect.usage(prompt_tokens(x), 1))


async def invalid_utf8(x):
    await x.head()
    await x.event(x.chunk(role="assistant"))
    await x.event(json.dumps(x.chunk(text="@")).encode().replace(b"@", b"\xff\xc0\x80"))
    await x.event(x.chunk(finish="stop"))
    await finish_stream(x, x.dialect.usage(prompt_tokens(x), 1))


async def bad_json(x):
    """An event that is no JSON among good ones."""
    await begin(x, 1)
    await x.event('{"id": "chatcmpl-1", "choices": [')
    await x.event(x.chunk(finish="stop"))
    await x.done()
    await x.end()


async def huge(x, bytes=1 << 20):
    """One event of so many bytes of text."""
    await answer(x, pieces=["x" * bytes])


async def endless(x, pause=0.001, limit=1_000_000):
    """Tokens until the peer leaves."""
    await x.head()
    await x.event(x.chunk(role="assistant"))
    for i in range(limit):
        if x.request.closed_at:
            break
        await x.event(x.chunk(text=f"{i} "))
        await asyncio.sleep(pause)


BUILT_IN = {f.__name__: f for f in (
    answer, echo, tool_call, error, overflow, html, garbage, not_http, nothing, mute, stall, half, clean_cut, no_done, no_usage,
    cut_in_event, error_event, slow, late_head, pieces, one_write, comments, invalid_utf8, bad_json, huge, endless)}


# ---- The server --------------------------------------------------------------------------------------

def last_text(asked):
    """The text of the last user message, the prompt or the input; None where there is none."""
    for message in reversed(asked.get("messages") or []):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, list):
                content = "".join(p.get("text", "") for p in content if isinstance(p, dict))
            return content if isinstance(content, str) else None
    given = asked.get("prompt", asked.get("input"))
    if isinstance(given, list) and given and isinstance(given[0], str):
        given = given[0]
    return given if isinstance(given, str) else None


def directive(asked):
    text = last_text(asked) or ""
    if '"script"' not in text:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("script"), str) else None


class Gate:
    def __init__(self, loop):
        self._loop, self._opened = loop, asyncio.Event()
        self.wait = self._opened.wait

    def open(self):
        self._loop.call_soon_threadsafe(self._opened.set)


class FakeEngine:
    def __init__(self, dialect="llamacpp", models=("fake-model",), unix=None, port=0, keep_alive=5.0, slots=8):
        self.dialect = DIALECTS[dialect]()
        self.models = list(models)
        self.unix, self.port, self.keep_alive, self.slots = unix, port, keep_alive, slots
        self.scripts = dict(BUILT_IN)
        self.by_model = {}  # model name -> script
        self.default = answer
        self.counts, self.slow_count = False, 0  # it has a tokenizer: a word is a token; seconds that an answer of it takes
        self.next = None  # script of the next inference request only
        self.loading = False  # /health answers 503 as llama.cpp does while it loads
        self.everything = []  # every request, health checks included
        self.running = self.waiting = 0
        self.connections = 0
        self._arrived = threading.Condition()
        self._open = set()
        self._loop = self._thread = self._server = None

    # -- for tests --
    @property
    def url(self):
        return f"unix:{self.unix}" if self.unix else f"http://127.0.0.1:{self.port}"

    @property
    def requests(self):
        """Requests for inference, oldest first."""
        return [r for r in self.everything if r.path in INFERENCE]

    def script(self, name, function):
        self.scripts[name] = function
        return json.dumps({"script": name})

    def gate(self):
        """What scripts wait at until the test opens it: `await gate.wait()`, gate.open()."""
        return Gate(self._loop)

    def start(self):
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait(10)
        if self._server is None:
            raise OSError(f"the fake engine cannot listen on {self.url}")
        return self

    def stop(self):
        """Refuses connections and cuts those there are. start() listens on the same port again."""
        if self._loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._loop = self._server = None

    def wait_request(self, count=1, timeout=10):
        """The newest inference request, once there are `count` of them."""
        with self._arrived:
            enough = self._arrived.wait_for(lambda: len(self.requests) >= count, timeout)
        assert enough, f"the engine got {len(self.requests)} requests, not {count}, in {timeout} s"
        return self.requests[-1]

    def find(self, text, timeout=10):
        """The newest inference request whose body holds the text."""
        with self._arrived:
            found = self._arrived.wait_for(lambda: next((r for r in reversed(self.requests) if text.encode() in r.body), None), timeout)
        assert found, "the engine got no request with that text"
        return found

    # -- inside --
    def _run(self, ready):
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._listen())
        finally:
            ready.set()
        if self._server:
            self._loop.run_forever()

    async def _listen(self):
        # A backlog for a crowd that comes at once: where it is full, the kernel tries again after 1, 3, 7, … 63 s.
        how = {"limit": 1 << 26, "backlog": 4096}
        if self.unix:
            self._server = await asyncio.start_unix_server(self._serve, self.unix, **how)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, **how)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self):
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        if self.unix and os.path.exists(self.unix):
            os.unlink(self.unix)

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._open.add(task)
        self.connections += 1
        if not self.unix:
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            # The watcher owns the reader: it notices that the peer left while a script is at work.
            inbox = asyncio.Queue()
            watcher = asyncio.ensure_future(self._watch(reader, writer, inbox))
            while True:
                request = await asyncio.wait_for(inbox.get(), self.keep_alive)
                if request is None or not await self._answer(request, reader, writer):
                    break
        except (asyncio.TimeoutError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            watcher.cancel()
            writer.close()
            self._open.discard(task)

    async def _watch(self, reader, writer, inbox):
        request = None
        try:
            while True:
                request = await self._read(reader, writer)
                with self._arrived:
                    self.everything.append(request)
                    self._arrived.notify_all()
                inbox.put_nowait(request)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            pass
        if request is not None:
            request.close()
            request.aborted = request.answered_at is None
        inbox.put_nowait(None)

    async def _read(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = [tuple(line.split(":", 1)) for line in head[1:] if line]
        headers = [(k.strip(), v.strip()) for k, v in headers]
        lower = {k.lower(): v for k, v in headers}
        if "100-continue" in lower.get("expect", ""):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = b""
        if "chunked" in lower.get("transfer-encoding", ""):
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readuntil(b"\r\n")
        elif length := int(lower.get("content-length", 0)):
            body = await reader.readexactly(length)
        return Request(method, target, headers, body)

    async def _answer(self, request, reader, writer):
        """Answers; whether the connection stays open."""
        x = Exchange(self, request, reader, writer)
        self.running += request.path in INFERENCE
        try:
            if request.path in INFERENCE and request.method == "POST":
                await self._infer(x)
            else:
                await self._inform(x)
            request.answered_at = request.answered_at or time.monotonic()
        except ConnectionError:
            request.close()
            request.aborted = True
            return False
        finally:
            self.running -= request.path in INFERENCE
        return x.keep_alive and not writer.is_closing()

    async def _infer(self, x):
        if x.request.json is None:
            return await x.reply(400, x.dialect.error(400, "[json.exception.parse_error.101] parse error at line 1"))
        found = directive(x.asked) or {}
        arguments = {k: v for k, v in found.items() if k != "script"}
        script, self.next = self.next, None
        script = script or self.scripts.get(found.get("script")) or self.by_model.get(x.model)
        if script is None:
            script = embeddings if x.request.path == "/v1/embeddings" else self.default
        known = inspect.signature(script).parameters
        await script(x, **{k: v for k, v in arguments.items() if k in known})

    async def _inform(self, x):
        path = x.request.path
        if path in ("/health", "/v1/health"):
            if self.loading:
                return await x.reply(503, x.dialect.error(503, "Loading model", "unavailable_error"))
            return await x.reply(200, {"status": "ok"} if self.dialect.name == "llamacpp" else b"")
        if path == "/v1/models":
            if self.loading:
                return await x.reply(503, x.dialect.error(503, "Loading model", "unavailable_error"))
            models = [{"id": m, "object": "model", "created": x.created, "owned_by": self.dialect.name} for m in self.models]
            return await x.reply(200, {"object": "list", "data": models})
        if path == "/metrics":
            return await x.reply(200, self.dialect.metrics(self), "text/plain; version=0.0.4")
        if path == "/slots" and self.dialect.name == "llamacpp":
            busy = self.running
            return await x.reply(200, [{"id": i, "is_processing": i < busy} for i in range(self.slots)])
        if path in ("/apply-template", "/tokenize"):
            await asyncio.sleep(self.slow_count)
        if self.counts and path == "/apply-template" and self.dialect.name == "llamacpp":
            return await x.reply(200, {"prompt": "<s>" + (last_text(x.asked) or "")})
        if self.counts and path == "/tokenize" and self.dialect.name == "llamacpp":
            text = x.asked["content"]
            words = (text if isinstance(text, str) else " ".join(str(t) for t in text)).split()
            return await x.reply(200, {"tokens": list(range(len(words)))})
        if self.counts and path == "/tokenize" and self.dialect.name == "vllm":
            words = (last_text(x.asked) or "").split()
            return await x.reply(200, {"count": len(words), "max_model_len": 4096, "tokens": list(range(len(words)))})
        await x.reply(404, x.dialect.error(404, "File Not Found", "not_found_error"))


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--port", type=int, default=8081)
    a.add_argument("--dialect", choices=sorted(DIALECTS), default="llamacpp")
    a.add_argument("--model", action="append")
    args = a.parse_args()
    engine = FakeEngine(args.dialect, args.model or ["fake-model"], port=args.port).start()
    print("LISTEN", engine.url, flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        engine.stop()


if __name__ == "__main__":
    main()
