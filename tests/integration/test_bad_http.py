"""Requests that are wrong before their JSON is looked at: paths, methods, keys, framing, sizes, dribbling; every answer's headers."""

import base64
import contextlib
import gzip
import json
import re
import socket
import threading
import time

import pytest

from raw import Ended
from stack import SLOW, chat, script, wait_for

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
GOOD = json.dumps(chat()).encode()


def check_standard(a):
    """What api.md §3.1 and §3.2 put on every answer of the API."""
    assert re.fullmatch("req_[0-9a-f]{32}", a.header("x-request-id")) and a.header("cocoon-call") == a.header("x-request-id")[4:]
    assert a.header("x-content-type-options") == "nosniff" and a.header("access-control-allow-origin") == "*"
    assert {"x-request-id", "cocoon-call"} < set(a.header("access-control-expose-headers").split(", "))
    assert a.header("access-control-allow-credentials") is None and a.header("openai-organization") is None


def check_error(a, status, code, kind="invalid_request_error"):
    assert a.status == status, (a.status, a.body[:300])
    check_standard(a)
    assert a.header("content-type") == "application/json" and a.header("cache-control") == "no-store"
    assert set(a.error) == {"message", "type", "param", "code"} and a.error["message"]
    assert (a.error["code"], a.error["type"]) == (code, kind)
    assert a.header("x-should-retry") == ("false" if status == 501 else None)
    if status == 503:
        assert int(a.header("retry-after")) == -(-int(a.header("retry-after-ms")) // 1000)
    assert a.header("www-authenticate") == {"invalid_api_key": 'Bearer error="invalid_token"',
                                            None: "Bearer"}.get(code) if status == 401 else True


# ---- Paths and methods --------------------------------------------------------------------------------

FILES = "This service keeps no files; send content inside the request."
ASSISTANTS = "The Assistants API keeps state, which this service does not; use /v1/chat/completions."
TUNING = "Fine-tuning and evals are not offered."
REALTIME = "The Realtime API is not offered; use /v1/chat/completions with stream."
RESPONSES = "Responses and conversations are not stored; send the whole input with each request."
STORED = "Chat completions are not stored by this service, so there is nothing to retrieve."
BATCHES = "Batches are not available yet; send single requests with a key of class batch."
LATER, USE_CHAT = "This endpoint is not available yet.", "Not available yet; use /v1/chat/completions."

REFUSED = [
    *[(p, 404, "not_stored", STORED) for p in ("/chat/completions/chatcmpl-1", "/chat/completions/x/messages")],
    *[(p, 404, "not_stored", RESPONSES) for p in ("/responses/resp_1", "/responses/resp_1/cancel", "/responses/r/input_items",
                                                  "/responses/compact",
                                                  "/conversations", "/conversations/c/items")],
    *[(p, 404, "unsupported_endpoint", FILES) for p in ("/files", "/files/f/content", "/uploads", "/uploads/u/parts",
                                                        "/vector_stores",
                                                        "/vector_stores/v/files", "/containers", "/containers/c")],
    *[(p, 404, "unsupported_endpoint", ASSISTANTS) for p in ("/assistants", "/assistants/a", "/threads", "/threads/t/runs")],
    *[(p, 404, "unsupported_endpoint", TUNING) for p in ("/fine_tuning/jobs", "/fine-tunes", "/fine-tunes/x", "/evals",
                                                         "/evals/e/runs")],
    ("/moderations", 404, "unsupported_endpoint", "No moderation model is offered."),
    *[(p, 404, "unsupported_endpoint", REALTIME) for p in ("/realtime", "/realtime/sessions")],
    *[(p, 501, "not_implemented", BATCHES) for p in ("/batches", "/batches/b/cancel", "/messages/batches", "/messages/batches/b")],
    *[(p, 501, "not_implemented", "Image generation is not available yet.") for p in ("/images/generations", "/images/edits")],
    *[(p, 501, "not_implemented", "Audio is not available yet.") for p in ("/audio/speech", "/audio/transcriptions",
            "/audio/translations")],
    *[(p, 501, "not_implemented", "Video is not available yet.") for p in ("/videos", "/videos/v/content")],
    *[(p, 501, "not_implemented", LATER) for p in ("/rerank", "/reranking", "/v2/rerank", "/score", "/tokenize", "/detokenize")],
    *[(p, 501, "not_implemented", USE_CHAT) for p in ("/responses", "/responses/input_tokens", "/messages",
                                                      "/messages/count_tokens")],
]


@pytest.mark.parametrize("key", ["", None], ids=["stranger", "user"])
@pytest.mark.parametrize("path, status, code, message", REFUSED, ids=[r[0] for r in REFUSED])
def test_what_we_do_not_have_is_said(chain, path, status, code, message, key):
    with chain.raw(key=key) as raw:
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            for prefix in ("/v1", "") if not path.startswith("/v2") else ("",):
                a = raw.ask(method, prefix + path + "?x=1", b"" if method in ("POST", "PUT", "PATCH") else None)
                check_error(a, status, code)
                assert a.error["message"] == message and a.error["param"] is None


def test_a_refusal_does_not_wait_for_the_body(chain):
    with chain.raw(key="") as raw:
        raw.request("POST", "/v1/audio/transcriptions", b"",
                    {"Content-Length": "100000000", "Content-Type": "multipart/form-data; boundary=x"})
        raw.head()
        check_error(raw.rest(), 501, "not_implemented")
        assert raw.answer.header("connection") == "close"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/foo", "/v1/chat", "/v1/chat/", "/v1/chat/completions/",
                                  "/v1/completions/x", "/v1/embeddings/x",
                                  "/v1/models/", "/v2/models", "/v1/v1/models", "//v1/models", "/v1//models", "/v1/../v1/models",
                                  "/V1/models", "/v1/Models",
                                  "/v1/modelsx", "/v1/filesx", "/v1/%6dodels", "/metrics", "/healthz", "/status.json", "/props",
                                  "/slots", "/tools", "/health",
                                  "/ohttp", "/v1/attestation", "/v1/worker", "*", "/v1/models%00", "/" + "x" * 8000])
def test_an_unknown_path_is_said(raw, path):
    for method in ("GET", "POST"):
        check_error(raw.ask(method, path, b"" if method == "POST" else None), 404, "unknown_url")
        shown = re.fullmatch(r"Invalid URL \((.*)\)", raw.answer.error["message"]).group(1)
        assert shown.startswith(f"{method} {path[:50]}") and len(shown) < 100


@pytest.mark.parametrize("method, path, allow", [
    ("GET", CHAT, "POST"), ("HEAD", CHAT, "POST"), ("PUT", CHAT, "POST"), ("DELETE", CHAT, "POST"), ("PATCH", CHAT, "POST"),
    ("BREW", CHAT, "POST"),
    ("post", CHAT, "POST"), ("GET", "/chat/completions", "POST"), ("GET", "/v1/completions", "POST"),
    ("GET", "/v1/embeddings", "POST"),
    ("POST", "/v1/models", "GET"), ("DELETE", "/v1/models", "GET"), ("DELETE", "/v1/models/fake-model", "GET"),
    ("PUT", "/models/org/m", "GET"),
    ("TRACE", "/v1/models", "GET"), ("PROPFIND", CHAT, "POST"), ("M" * 300, CHAT, "POST")])
def test_a_wrong_method_names_the_right_one(raw, method, path, allow):
    a = raw.ask(method, path)
    assert a.status == 405 and a.header("allow") == allow
    if method != "HEAD":
        check_error(a, 405, "method_not_supported")
        message = a.error["message"]
        if (method, allow) == ("GET", "POST") and path.endswith("chat/completions"):
            assert message == "Not allowed to GET on /v1/chat/completions; completions are not stored."
        else:
            assert message.startswith(f"Not allowed to {method[:16]} on /v1/") and message.endswith(
                "(HINT: Perhaps you meant to use a different HTTP method?)")


def test_head_is_answered_like_get_without_a_body(raw):
    get = raw.ask("GET", "/v1/models")
    head = raw.ask("HEAD", "/v1/models")
    assert head.status == 200 and head.header("content-length") == get.header("content-length")
    assert raw.ask("HEAD", "/v1/models/fake-model").status == 200
    assert raw.ask("HEAD", "/v1/models/none").status == 404
    assert raw.ask("HEAD", "/v1/foo").status == 404
    assert raw.ask("GET", "/v1/models").status == 200  # nothing of a body lies in between


def test_connect_and_options_star_do_no_harm(chain):
    with chain.raw() as raw:
        raw.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n")
        assert raw.head().status in (404, 405)
    with chain.raw(key="") as raw:
        assert raw.ask("OPTIONS", "*").status == 204


@pytest.mark.parametrize("target", ["http://test{}", "https://api.example.com{}", "http://[::1]:80{}", "HTTP://test{}"])
def test_absolute_urls_mean_their_path(chain, target):
    with chain.raw() as raw:
        assert raw.ask("GET", target.format("/v1/models?x=1")).status == 200
        assert raw.ask("POST", target.format(CHAT), chat()).status == 200
        check_error(raw.ask("GET", target.format("/v1/foo")), 404, "unknown_url")
        check_error(raw.ask("GET", target.format("")), 404, "unknown_url")


@pytest.mark.parametrize("path, found", [
    ("org%2Fmodel%3Atag-v1", "org/model:tag-v1"), ("org/model:tag-v1", "org/model:tag-v1"),
    ("org%2fmodel:tag%2Dv1", "org/model:tag-v1"),
    ("%66ake-model", "fake-model"), ("fake-model?x=y", "fake-model"), ("fake-model/", None), ("org%252Fmodel:tag-v1", None),
    ("fake-model%", None),
    ("fake-model%0", None), ("fake-model%zz", None), ("fake-model%00", None), ("..%2F..%2Fetc", None),
    ("%0d%0aSet-Cookie:%20a=b", None),
    ("x" * 9000, None), ("%ff%fe", None)])
def test_model_ids_are_decoded_once(raw, path, found):
    a = raw.ask("GET", "/v1/models/" + path)
    if found:
        assert a.status == 200 and a.json["id"] == found
    else:
        check_error(a, 404, "model_not_found")
        assert a.header("set-cookie") is None


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                                  "application/xml", "json",
                                  "application/jsonx", "application/json2; charset=utf-8", "text/json"])
def test_a_body_that_is_not_json_is_415(raw, kind):
    check_error(raw.ask("POST", CHAT, GOOD, {"Content-Type": kind}), 415, "unsupported_media_type")


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip"])
def test_a_packed_body_is_415(raw, coding):
    check_error(raw.ask("POST", CHAT, gzip.compress(GOOD), {**JSON, "Content-Encoding": coding}), 415, "unsupported_media_type")


def test_a_body_packed_in_no_way_is_good(raw):
    assert raw.ask("POST", CHAT, GOOD, {**JSON, "Content-Encoding": "Identity"}).status == 200


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON", "application/json; charset=utf-8",
                                  "application/json;charset=UTF-8",
                                  "application/vnd.api+json", None])
def test_json_by_all_its_names_is_good(raw, kind):
    assert raw.ask("POST", CHAT, GOOD, {"Content-Type": kind}).status == 200


# ---- CORS ---------------------------------------------------------------------------------------------

FIXED = ("authorization, content-type, accept, user-agent, openai-organization, openai-project, openai-beta, "
         "idempotency-key, x-api-key, anthropic-version, anthropic-beta, anthropic-dangerous-direct-browser-access, "
         "x-client-request-id, traceparent, incremental").split(", ")


def preflight(raw, path=CHAT, asked=None, origin="https://app.example"):
    return raw.ask("OPTIONS", path, headers={"Origin": origin, "Access-Control-Request-Method": "POST",
                                             "Access-Control-Request-Headers": asked, "Authorization": None})


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/v1/foo", "/", "/v1/audio/speech"])
def test_a_preflight_needs_no_key(chain, path):
    with chain.raw(key="") as raw:
        a = preflight(raw, path)
        assert a.status == 204 and a.body == b"" and a.header("content-type") is None
        assert a.header("access-control-allow-origin") == "*"
        assert a.header("access-control-allow-methods") == "GET, POST, DELETE, OPTIONS"
        assert a.header("access-control-max-age") == "7200" and a.header("vary") == "Origin, Access-Control-Request-Headers"
        assert a.header("access-control-allow-headers").split(", ") == FIXED
        assert a.header("access-control-allow-credentials") is None and a.header("x-request-id").startswith("req_")
        assert preflight(raw, path).status == 204  # on the same connection


def test_a_preflight_allows_the_sdks_headers(raw):
    a = preflight(raw, asked="Authorization,X-Stainless-Lang, x-stainless-package-version ,Cocoon-Require,"
                        "x-evil,x-stainless-a b,x-stainless-é,cocoon-<script>")
    assert a.header("access-control-allow-headers").split(", ") == [*FIXED, "x-stainless-lang", "x-stainless-package-version",
                                                                    "cocoon-require"]
    a = preflight(raw, asked=",".join(f"x-stainless-n{i}" for i in range(100)))
    assert a.header("access-control-allow-headers").split(", ") == [*FIXED, *(f"x-stainless-n{i}" for i in range(32))]


def test_every_exposed_header_is_named(raw):
    exposed = set(raw.ask("GET", "/v1/foo").header("access-control-expose-headers").split(", "))
    assert exposed == {"x-request-id", "openai-processing-ms", "openai-version", "retry-after", "retry-after-ms", "x-should-retry",
                       "www-authenticate",
                       "server-timing", *(f"x-ratelimit-{a}-{b}" for a in ("limit", "remaining", "reset") for b in ("requests",
                               "tokens")),
                       "cocoon-call", "cocoon-privacy", "cocoon-attestation", "cocoon-ignored", "cocoon-cost-nano", "cocoon-replayed", "cocoon-price",
                       "cocoon-keyset",
                       "cocoon-next"}


# ---- Keys ---------------------------------------------------------------------------------------------

def basic(user, password=""):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


FORMS = {
    "bearer": lambda k: {"Authorization": "Bearer " + k},
    "bearer in any case": lambda k: {"Authorization": "bEaReR " + k},
    "x-api-key": lambda k: {"X-Api-Key": k},
    "basic user": lambda k: {"Authorization": basic(k)},
    "basic password": lambda k: {"Authorization": basic("", k)},
}


def mistyped(key):
    return key[:-5] + ("A" if key[-5] != "A" else "B") + key[-4:]


@pytest.fixture(scope="module")
def keys(_chain):
    good, revoked = _chain.key("--name", "http"), _chain.key("--name", "revoked")
    expired = _chain.key("--name", "expired", "--expires", "1s")
    shown = _chain.ctl("keys", "list").stdout
    row = next(line for line in shown.splitlines() if "revoked" in line)
    _chain.ctl("keys", "revoke", row.split()[0])
    time.sleep(1.1)
    return {"good": good, "revoked": revoked, "expired": expired, "mistyped": mistyped(good), "truncated": good[:-1],
            "longer": good + "A",
            "foreign": "sk-proj-" + "a" * 40, "short": "x", "unknown": "sk-cocoon-" + "A" * (len(good) - 10), "long": "k" * 3000}


@pytest.mark.parametrize("form", FORMS)
def test_a_good_key_is_taken_in_each_form(chain, keys, form):
    with chain.raw(key="") as raw:
        assert raw.ask("POST", CHAT, GOOD, {**JSON, **FORMS[form](keys["good"])}).status == 200


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", ["revoked", "expired", "mistyped", "truncated", "longer", "foreign", "short", "unknown", "long"])
def test_a_bad_key_is_refused_in_each_form(chain, keys, form, which):
    with chain.raw(key="") as raw:
        for method, path, body in (("POST", CHAT, GOOD), ("GET", "/v1/models", None)):
            a = raw.ask(method, path, body, {**JSON, **FORMS[form](keys[which])})
            check_error(a, 401, "invalid_api_key")
            assert a.error["message"] == "Incorrect API key provided: sk-***."
            assert keys[which][-12:].encode() not in a.head + a.body if which != "short" else True


@pytest.mark.parametrize("headers", [
    {}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}, {"Authorization": "Basic"},
    {"Authorization": "Basic !!!"},
    {"Authorization": "Digest username=x"}, {"Authorization": "Token abc"}, {"X-Api-Key": ""}, {"Authorization": basic("", "")},
    {"Cookie": "key={}"},
    {"Authorization": "Basic " + "A" * 8000}, {"Proxy-Authorization": "Bearer {}"}, {"Api-Key": "{}"}], ids=str)
def test_no_key_is_no_access(chain, keys, headers):
    with chain.raw(key="") as raw:
        a = raw.ask("POST", CHAT, GOOD, {**JSON, **{k: v.replace("{}", keys["good"]) for k, v in headers.items()}})
        assert a.status == 401 and a.error["code"] in (None, "invalid_api_key")
        check_error(a, 401, a.error["code"])


@pytest.mark.parametrize("query", ["api_key={}", "key={}", "api-key={}", "authorization=Bearer%20{}", "access_token={}", "{}"])
def test_a_key_in_the_query_is_no_key(chain, keys, query):
    with chain.raw(key="") as raw:
        a = raw.ask("GET", "/v1/models?" + query.format(keys["good"]))
        check_error(a, 401, None)
        assert keys["good"].encode() not in a.head + a.body
    assert keys["good"] not in chain.gateways[0].log_text


def test_a_key_in_the_path_is_not_logged_nor_taken(chain, keys):
    with chain.raw(key="") as raw:
        check_error(raw.ask("GET", f"/v1/{keys['good']}/models"), 404, "unknown_url")
    assert keys["good"] not in chain.gateways[0].log_text


def test_no_key_of_these_tests_is_in_the_logs(chain, keys):
    logs = "".join(p.log_text for p in chain.gateways + chain.workers)
    assert "event=request" in logs and not [w for w, k in keys.items() if len(k) > 20 and k[10:40] in logs]


def test_a_strangers_key_error_does_not_wait_for_the_body(chain):
    with chain.raw(key="sk-cocoon-wrong") as raw:
        raw.request("POST", CHAT, b'{"model":', {**JSON, "Content-Length": "30000000"})
        began = time.monotonic()
        raw.head()
        check_error(raw.rest(), 401, "invalid_api_key")
        assert raw.answer.header("connection") == "close" and time.monotonic() - began < 1 * SLOW


# ---- Sizes --------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def small():
    """A gateway with small limits, without a worker."""
    from conftest import live_stack
    for stack in live_stack("small"):
        stack.gateway(**{"limits.body_bytes": 100_000, "limits.bodies_in_flight_bytes": 250_000, "limits.header_ms": 500,
                         "limits.body_ms": 600,
                         "limits.body_ms_per_64k": 100, "limits.connections": 40, "server.idle_s": 2,
                         "trusted_proxies": ["127.0.0.1"], "cors_origins": ["https://one.example", "https://two.example"]})
        stack.key_for_all()
        yield stack


def calls(stack):
    return stack.gateways[0].status["calls"]


@pytest.fixture(autouse=True)
def small_is_left_idle(request):
    yield
    if "small" in request.fixturenames:
        stack = request.getfixturevalue("small")
        wait_for(lambda: stack.gateways[0].status["calls"] == 0, "no call is left", 3)
        wait_for(lambda: stack.gateways[0].metric("cocoon_bodies_bytes") == 0, "no body is held", 3)


def test_a_body_over_the_limit_is_refused_by_its_length(small):
    with small.raw() as raw:
        raw.request("POST", CHAT, b"{", {**JSON, "Content-Length": "100001"})
        raw.head()
        check_error_small(raw.rest(), 413, "request_too_large")
        assert raw.answer.header("connection") == "close" and not raw.is_open(1)


@pytest.mark.parametrize("length", ["9223372036854775807", "9223372036854775808", "18446744073709551616",
                                    "99999999999999999999999", "-1", "+5", "5x",
                                    "0x10", "", " ", "5,5", "5 5"])
def test_absurd_lengths_are_refused_and_closed(small, length):
    with small.raw() as raw:
        raw.request("POST", CHAT, b"", {**JSON, "Content-Length": length})
        with contextlib.suppress(Ended):  # some libmicrohttpd refuses by itself
            assert raw.head().status in (400, 413)
        with contextlib.suppress(Ended):
            raw.rest()
        assert not raw.is_open(1)


def chunked(raw, target=CHAT, **headers):
    return raw.request("POST", target, b"", {**JSON, "Transfer-Encoding": "chunked", **headers})


def test_a_chunked_body_over_the_limit_is_refused_as_it_comes(small):
    with small.raw() as raw:
        chunked(raw)
        for _ in range(11):
            raw.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        assert raw.head().status == 413  # before the last chunk
        check_error_small(raw.rest(), 413, "request_too_large")
        assert not raw.is_open(1)


def test_a_chunked_body_is_read(chain):
    with chain.raw() as raw:
        chunked(raw)
        for i in range(0, len(GOOD), 7):
            part = GOOD[i:i + 7]
            raw.send(b"%x;ext=1\r\n%b\r\n" % (len(part), part))
        raw.send(b"0\r\nTrailer: x\r\n\r\n")
        assert raw.head().status == 200
        raw.rest()
        assert raw.ask("GET", "/v1/models").status == 200


@pytest.mark.parametrize("size", [b"ffffffffffffffff", b"7fffffffffffffff", b"10000000000000000", b"fffffffffffffffff", b"-1",
                                  b"x", b"", b" 5", b"0x5", b"5\n\n"])
def test_absurd_chunk_sizes_end_the_connection(small, size):
    with small.raw() as raw:
        chunked(raw).send(size + b"\r\nabc")
        began = time.monotonic()
        with contextlib.suppress(Ended):
            assert raw.head().status in (400, 408, 413)
            raw.rest()
        assert not raw.is_open(1) and time.monotonic() - began < 3 * SLOW


def expect(raw, length, body=b"", key=True):
    return raw.request("POST", CHAT, body, {**JSON, "Expect": "100-continue", "Content-Length": str(length),
                                            **({} if key else {"Authorization": "Bearer sk-cocoon-wrong"})})


def test_100_continue_is_sent_only_to_who_may_go_on(chain, small):
    with chain.raw() as raw:
        expect(raw, len(GOOD))
        assert raw.head(informational=True).status == 100
        raw.send(GOOD)
        assert raw.head().status == 200
        raw.rest()
    with small.raw() as raw:
        expect(raw, 100_001)
        assert raw.head(informational=True).status == 413
    with chain.raw() as raw:
        expect(raw, 5000, key=False)
        assert raw.head(informational=True).status == 401
    with chain.raw() as raw:
        raw.request("POST", "/v1/images/edits", b"", {"Expect": "100-continue", "Content-Length": "5000"})
        assert raw.head(informational=True).status == 501
    with chain.raw() as raw:
        raw.request("POST", CHAT, b"", {"Expect": "100-continue", "Content-Length": "5000", "Content-Type": "text/plain"})
        assert raw.head(informational=True).status == 415


def test_an_unknown_expectation_does_no_harm(chain):
    with chain.raw() as raw:
        raw.request("POST", CHAT, GOOD, {**JSON, "Expect": "200-ok"})
        assert raw.head().status in (200, 417)


def flood(raw, megabytes):
    part = b"x" * 65536
    with contextlib.suppress(OSError):
        for _ in range(megabytes * 16):
            raw.send(part)


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_nothing_of_a_strangers_body_is_kept(chain, how):
    gateway = chain.gateways[0]
    strangers = [chain.raw(key="sk-cocoon-" + "A" * 50) for _ in range(6)]
    before = gateway.rss_kib
    threads = []
    for raw in strangers:
        if how == "length":
            raw.request("POST", CHAT, b"", {**JSON, "Content-Length": str(30 << 20)})
        else:
            chunked(raw).send(b"1e00000\r\n")
        threads.append(threading.Thread(target=flood, args=(raw, 30)))
    for t in threads:
        t.start()
    most = 0
    while any(t.is_alive() for t in threads):
        most = max(most, gateway.rss_kib)
        assert gateway.metric("cocoon_bodies_bytes") == 0
        time.sleep(0.02)
    assert most - before < 8 << 10, (before, most)
    for raw in strangers:
        with contextlib.suppress(Ended):
            assert raw.head().status == 401
        raw.close()


def test_all_bodies_together_are_bounded(small):
    holders = []
    for _ in range(2):
        raw = small.raw()
        raw.request("POST", CHAT, b"x" * 90_000, {**JSON, "Content-Length": "99000"})
        holders.append(raw)
    wait_for(lambda: small.gateways[0].metric("cocoon_bodies_bytes") >= 180_000, "both bodies are held", 2)
    with small.raw() as raw:
        raw.request("POST", CHAT, b"", {**JSON, "Content-Length": "99000"})
        assert raw.head().status == 503
        check_error_small(raw.rest(), 503, "overloaded", "server_error")
    with small.raw() as raw:
        chunked(raw)
        with contextlib.suppress(OSError):
            raw.send(b"13880\r\n" + b"x" * 80_000 + b"\r\n")
        assert raw.head().status == 503
        check_error_small(raw.rest(), 503, "overloaded", "server_error")
    for raw in holders:
        raw.close()
    wait_for(lambda: small.gateways[0].metric("cocoon_bodies_bytes") == 0, "what left is forgotten", 2)


def check_error_small(a, status, code, kind="invalid_request_error"):
    assert a.status == status and (a.error["code"], a.error["type"]) == (code, kind)
    assert int(a.header("retry-after")) >= 1 if status == 503 else True


def test_origins_of_a_list_are_named_singly(small):
    with small.raw() as raw:
        for origin, allowed in (("https://one.example", True), ("https://two.example", True), ("https://evil.example", False),
                                ("null", False),
                                ("https://one.example.evil", False)):
            a = raw.ask("GET", "/v1/models", headers={"Origin": origin})
            assert a.header("access-control-allow-origin") == (origin if allowed else None) and "Origin" in a.header("vary")
            a = preflight(raw, origin=origin)
            assert a.status == 204 and a.header("access-control-allow-origin") == (origin if allowed else None)


# ---- Slowness -----------------------------------------------------------------------------------------

def ends_within(raw, seconds):
    """Reads to the connection's end."""
    began = time.monotonic()
    raw.socket.settimeout(seconds * SLOW)
    data = b""
    try:
        while part := raw.socket.recv(65536):
            data += part
    except ConnectionError:
        pass
    return time.monotonic() - began, data


def dribble(raw, data, pause, stop):
    with contextlib.suppress(OSError):
        for i in range(len(data)):
            if stop.is_set():
                break
            raw.send(data[i:i + 1])
            time.sleep(pause)


@pytest.mark.parametrize("data", [b"", b"G", b"GET /v1/models HTTP/1.1\r\n",
                                  b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 1000, b"\r\n" * 200],
                         ids=["nothing", "a byte", "a line", "a header", "empty lines"])
def test_slow_headers_are_cut(small, data):
    with small.raw() as raw:
        stop = threading.Event()
        sender = threading.Thread(target=dribble, args=(raw, data, 0.05, stop))
        sender.start()
        took, _ = ends_within(raw, 4)
        stop.set()
        sender.join()
        assert 0.3 < took < 1.5 * SLOW


def test_slow_headers_of_a_second_request_are_cut(small):
    with small.raw() as raw:
        assert raw.ask("GET", "/v1/models").status == 200
        stop = threading.Event()
        sender = threading.Thread(target=dribble, args=(raw, b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 1000, 0.05,
                                                        stop))
        sender.start()
        took, _ = ends_within(raw, 4)
        stop.set()
        sender.join()
        assert 0.3 < took < 1.5 * SLOW


def test_an_idle_connection_is_kept_and_then_closed(small):
    with small.raw() as raw:
        assert raw.ask("GET", "/v1/models").status == 200
        time.sleep(0.8)  # longer than a header block may take
        assert raw.ask("GET", "/v1/models").status == 200
        took, _ = ends_within(raw, 8)
        assert 1 < took < 5 * SLOW


@pytest.mark.parametrize("how", ["silent", "dribble", "chunked"])
def test_a_slow_body_is_408(small, how):
    with small.raw() as raw:
        stop, sender = threading.Event(), None
        if how == "chunked":
            chunked(raw).send(b"5\r\n{\"a\"")
        else:
            raw.request("POST", CHAT, b"{", {**JSON, "Content-Length": "5000"})
        if how == "dribble":
            sender = threading.Thread(target=dribble, args=(raw, b" " * 1000, 0.02, stop))
            sender.start()
        began = time.monotonic()
        assert raw.head().status == 408
        took = time.monotonic() - began
        a = raw.rest()
        stop.set()
        if sender:
            sender.join()
        assert 0.4 < took < 1.5 * SLOW and a.error["code"] == "request_timeout" and a.header("connection") == "close"
        assert not raw.is_open(1)


def test_dribblers_do_not_slow_others(small):
    slow = [small.raw() for _ in range(20)]
    for raw in slow:
        raw.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n")
    times = []
    with small.raw() as raw:
        for _ in range(20):
            began = time.monotonic()
            assert raw.ask("GET", "/v1/models").status == 200
            times.append(time.monotonic() - began)
    # The machine may be busy for a moment: one of them may be late, not most.
    assert sorted(times)[len(times) // 2] < 0.1 * SLOW and max(times) < 2 * SLOW, times
    for raw in slow:
        raw.close()


# ---- Framing ------------------------------------------------------------------------------------------

def closed_with(raw, status):
    assert raw.head().status == status
    a = raw.rest()
    assert a.header("connection") == "close" and not raw.is_open(1)
    return a


SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: smuggled\r\n\r\n"


@pytest.mark.parametrize("lines", [
    b"Content-Length: 5\r\nContent-Length: 6\r\n", b"Content-Length: 5\r\nContent-Length: 5\r\n",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Content-Length : 5\r\n", b"Transfer-Encoding : chunked\r\n", b"content-length: 5\r\nCONTENT-LENGTH: 7\r\n"])
@pytest.mark.parametrize("known", [True, False], ids=["user", "stranger"])
def test_doubtful_lengths_are_refused_and_closed(chain, lines, known):
    key = chain.key_for_all() if known else "wrong"
    with chain.raw() as raw:
        raw.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                 b"Authorization: Bearer " + key.encode() + b"\r\n" + lines +
                 b"\r\n" + SMUGGLED)
        a = closed_with(raw, 400)
        if a.header("content-type") == "application/json":
            check_error(a, 400, "invalid_framing")
        assert raw.buffer == b""  # what followed was not taken for a request


def test_a_doubtful_length_is_refused_on_any_path(chain):
    for target in ("/v1/models", "/v1/foo", "/v1/files"):
        with chain.raw() as raw:
            raw.send(b"GET %b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n%b" % (
                target.encode(), SMUGGLED))
            closed_with(raw, 400)


HOSTS = [b"Host: x\r\nHost: y\r\n", b"Host: x\r\nX-Between: 1\r\nhost: x\r\n", b"Host: x\r\nHOST:\r\n", b"X-Other: 1\r\n"]


@pytest.mark.parametrize("lines", HOSTS)
@pytest.mark.parametrize("line, body", [(b"GET /v1/models", b""), (b"POST /v1/chat/completions", GOOD), (b"OPTIONS /v1/models", b"")])
def test_two_hosts_or_none_are_refused_and_closed(chain, lines, line, body):
    with chain.raw() as raw:
        raw.send(line + b" HTTP/1.1\r\n" + lines + b"Authorization: Bearer " + chain.key_for_all().encode() +
                 b"\r\nContent-Type: application/json\r\n" + (b"Content-Length: %d\r\n" % len(body) if body else b"") + b"\r\n" +
                 body + SMUGGLED)
        a = closed_with(raw, 400)
        if b"ost:" in lines.lower():
            check_error(a, 400, "invalid_framing")
            assert raw.buffer == b""
        else:  # libmicrohttpd's own refusal, which no call of ours follows
            assert b"x-request-id" not in (a.head + a.body + raw.buffer).lower()


def test_folded_headers_do_no_harm(chain):
    with chain.raw() as raw:
        raw.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n " +
                 chain.key_for_all().encode() +
                 b"\r\nContent-Length:\r\n 5\r\n\r\nabcde")
        with contextlib.suppress(Ended):
            assert raw.head().status in (400, 401)
    with chain.raw() as raw:
        raw.send(b"POST /v1/models HTTP/1.1\r\nHost: x\r\nX-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n")
        with contextlib.suppress(Ended):
            assert raw.head().status in (400, 405)


@pytest.mark.parametrize("line", [
    b"\r\n\r\n\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x11" * 500, b"GET\r\n\r\n",
    b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1 x\r\nHost: x\r\n\r\n", b" GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"x" * 100_000, b"GET /" + b"a" * 100_000,
    b"GET / HTTP/1.1\r\n: novalue\r\n\r\n", b"GET / HTTP/1.1\r\nnocolon\r\nHost: x\r\n\r\n",
    b"GET /v1/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\nHost: x\n\n", b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", b"\r" * 5000, b"{}\n" * 100],
    ids=lambda b: repr(b[:24]))
def test_garbage_ends_without_harm(small, line):
    with small.raw() as raw:
        with contextlib.suppress(OSError):
            raw.send(line)
        with contextlib.suppress(Ended, TimeoutError, AssertionError):
            raw.socket.settimeout(3 * SLOW)
            raw.head()
            assert 400 <= raw.answer.status < 506
    with small.raw() as raw:
        assert raw.ask("GET", "/v1/models").status == 200


def test_old_http_is_answered_and_closed(chain):
    with chain.raw() as raw:
        raw.send(b"GET /v1/models HTTP/1.0\r\nAuthorization: Bearer " + chain.key_for_all().encode() + b"\r\n\r\n")
        _, data = ends_within(raw, 3)
        assert data.split(b"\r\n")[0].endswith(b"200 OK") and b'"fake-model"' in data
    with chain.raw() as raw:  # a stream has no chunks there, and its end is the connection's
        body = json.dumps(chat(stream=True)).encode()
        raw.send(b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\nAuthorization: Bearer %b\r\n\r\n%b" % (
            len(body), chain.key_for_all().encode(), body))
        _, data = ends_within(raw, 5)
        assert b"transfer-encoding" not in data.lower() and data.endswith(b"data: [DONE]\n\n")


def test_pipelined_requests_are_answered_in_order(chain):
    with chain.raw() as raw:
        head = f"HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {chain.key_for_all()}\r\n"
        body = json.dumps(chat(script("answer", text="piped", head_delay=0.2)))
        raw.send(f"POST {CHAT} {head}Content-Length: {len(body)}\r\n\r\n{body}"
                 f"GET /v1/models/fake-model {head}\r\nGET /v1/foo {head}\r\n"
                 f"POST {CHAT} {head}Content-Length: {len(GOOD)}\r\n\r\n{GOOD.decode()}")
        found = []
        for _ in range(4):
            raw.head()
            found.append((raw.answer.status, raw.rest().json))
        assert [s for s, _ in found] == [200, 200, 404, 200]
        assert found[0][1]["choices"][0]["message"]["content"] == "piped" and found[1][1]["id"] == "fake-model"


def test_a_pipeline_behind_a_refused_body_is_not_read(chain):
    with chain.raw(key="wrong") as raw:
        raw.request("POST", CHAT, GOOD + SMUGGLED, {**JSON, "Content-Length": str(len(GOOD) + len(SMUGGLED))})
        closed_with(raw, 401)
        assert raw.buffer == b""


@pytest.mark.parametrize("count, size, status", [(1, 16_000, 401), (100, 250, 401), (1, 33 << 10, 431), (340, 100, 431),
                                                 (1, 60_000, 431), (3000, 10, 431), (20, 10_000, 431)])
def test_the_header_block_is_bounded(chain, count, size, status):
    with chain.raw(key="wrong") as raw:
        lines = "".join(f"X-{i}: {'v' * (size - 10)}\r\n" for i in range(count))
        with contextlib.suppress(OSError):
            raw.send(f"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n{lines}\r\n")
        assert raw.head().status == status
        raw.rest()


# ---- Connections --------------------------------------------------------------------------------------

def test_connections_are_bounded_and_those_there_go_on(small):
    first = small.raw()
    assert first.ask("GET", "/v1/models").status == 200
    limit, have = 40, small.gateways[0].status["connections"]
    others = [small.raw() for _ in range(limit - have)]
    wait_for(lambda: small.gateways[0].status["connections"] == limit, "all are connected", 2)
    with small.raw() as one_too_many:
        one_too_many.request("POST", CHAT, chat("x" * 500_000))
        a = one_too_many.head()
        assert a.status == 503 and a.header("retry-after") == "1" and a.header("content-type") == "application/json"
        error = one_too_many.rest().error
        assert error["code"] == "overloaded" and error["type"] == "server_error" and error["param"] is None and error["message"]
        assert not one_too_many.is_open(0.5)
    assert small.gateways[0].metric("cocoon_connections_refused_total") == 1
    assert first.ask("GET", "/v1/models").status == 200
    for raw in others:
        raw.close()
    wait_for(lambda: small.gateways[0].status["connections"] < limit, "there is room again", 2)
    with small.raw() as raw:
        assert raw.ask("GET", "/v1/models").status == 200
    first.close()


def test_nothing_is_left_of_many_connections(chain):
    gateway = chain.gateways[0]
    with chain.raw() as raw:
        raw.ask("GET", "/v1/models")
    time.sleep(0.05)
    before = gateway.fds
    for i in range(300):
        raw = chain.raw(key="wrong" if i % 3 else None)
        raw.request("POST", CHAT, GOOD[:i % len(GOOD)], {**JSON, "Content-Length": str(len(GOOD))})
        raw.reset() if i % 2 else raw.close()
    wait_for(lambda: gateway.fds <= before and gateway.status["calls"] == 0, "all descriptors are closed", 8)


# ---- Headers of each kind of answer -------------------------------------------------------------------

def test_request_ids_are_unique(chain):
    seen = set()
    with chain.raw() as raw, chain.raw(key="") as stranger:
        for _ in range(20):
            for a in (raw.ask("GET", "/v1/models"), raw.ask("GET", "/v1/foo"), raw.ask("POST", CHAT, b"{"),
                      stranger.ask("GET", "/v1/models"),
                      raw.ask("OPTIONS", CHAT), raw.ask("GET", CHAT), raw.ask("HEAD", "/v1/models"), raw.ask("POST", CHAT, GOOD)):
                assert re.fullmatch("req_[0-9a-f]{32}", a.header("x-request-id"))
                seen.add(a.header("x-request-id"))
    assert len(seen) == 160


@pytest.mark.parametrize("sent", ["chosen-id", "x" * 64, "x" * 65, "two words", "é"])
def test_the_clients_own_request_id_does_not_replace_ours(raw, sent):
    a = raw.ask("POST", CHAT, GOOD, {**JSON, "X-Client-Request-Id": sent, "X-Request-Id": "mine", "Cocoon-Call": "0" * 32})
    assert a.status == 200
    check_standard(a)
    assert a.header("cocoon-call") != "0" * 32


def check_inference(a):
    check_standard(a)
    assert a.header("openai-version") == "2020-10-01" and a.header("openai-processing-ms").isdigit()
    assert a.header("cocoon-privacy") == "sealed" and a.header("cocoon-attestation") == "insecure-dev"
    times = dict(re.fullmatch(r"(\w+);dur=([0-9.]+)", part).groups() for part in a.header("server-timing").split(", "))
    assert list(times) == ["auth", "admit", "queue", "route", "worker"] and all(0 <= float(t) < 60_000 for t in times.values())
    assert not [k for k, _ in a.headers if k.lower() in ("x-ratelimit-limit-requests", "retry-after", "x-should-retry",
                                                         "set-cookie", "server")]


@pytest.mark.parametrize("path, body", [(CHAT, chat()), ("/v1/completions", {"model": "fake-model", "prompt": "x"}),
                                        ("/v1/embeddings", {"model": "fake-model", "input": "x"})])
def test_the_headers_of_whole_answers(raw, path, body):
    a = raw.ask("POST", path, body)
    assert a.status == 200 and a.header("content-type") == "application/json" and a.header("cache-control") == "no-store"
    assert a.header("content-length") == str(len(a.body))
    check_inference(a)


def test_the_headers_of_streams(raw):
    raw.request("POST", CHAT, chat(stream=True))
    a = raw.head()
    assert a.status == 200 and a.header("content-type") == "text/event-stream; charset=utf-8"
    assert a.header("cache-control") == "no-cache" and a.header("x-accel-buffering") == "no"
    assert a.header("cocoon-cost-nano") is None
    check_inference(a)
    raw.rest()


def test_the_headers_of_models(raw):
    for path in ("/v1/models", "/v1/models/fake-model"):
        a = raw.ask("GET", path)
        check_standard(a)
        assert a.header("content-type") == "application/json" and a.header("cache-control") == "no-store"
        assert a.header("openai-version") is None and a.header("cocoon-privacy") is None


def test_the_clients_headers_reach_neither_engine_nor_logs(chain, raw, engine):
    planted = {"User-Agent": "planted-agent", "X-Stainless-Lang": "planted-lang", "OpenAI-Organization": "planted-org",
               "OpenAI-Project": "planted-project",
               "X-Codex-Window": "planted-codex", "Session-Id": "planted-session", "Cookie": "planted=cookie",
               "Traceparent": "planted-trace",
               "X-Client-Request-Id": "planted-rid", "Idempotency-Key": "planted-idem", "Referer": "https://planted.example"}
    assert raw.ask("POST", CHAT + "?planted=query", chat("no-headers-1"), planted).status == 200
    got = engine.find("no-headers-1")
    assert not [h for h in got.headers if "planted" in str(h)] and got.target == CHAT
    assert "planted" not in "".join(p.log_text for p in chain.gateways + chain.workers)


def test_the_address_a_trusted_proxy_names_is_the_clients(stack):
    stack.gateway(trusted_proxies=["127.0.0.0/8"])
    gateway, office = stack.gateways[0], stack.key("--name", "office", "--range", "10.1.0.0/16", "--range", "2001:db8::/32")
    far = stack.gateway("far", trusted_proxies=["10.0.0.1"])
    for address, status in (("10.1.2.3", 200), ("10.2.0.1", 403), ("2001:db8::7", 200), ("2001:db9::7", 403),
                            ("10.1.2.3, 8.8.8.8", 403), ("8.8.8.8, 10.1.2.3", 200),
                            (None, 403), ("", 403), ("nonsense", 403), ("10.1.2.3:80", 200), ("::ffff:10.1.2.3", 200),
                            ("10.1.2.3, 127.0.0.9", 200), ("8.8.8.8, 10.1.2.3, 127.0.0.9, 127.0.0.8", 200),
                            ("10.1.2.3, unknown", 403)):
        with stack.raw(gateway, office) as raw:
            assert raw.ask("GET", "/v1/models", headers={"X-Forwarded-For": address}).status == status, address
    for said, x, status in (("for=10.1.2.3", None, 200), ('For="[2001:db8::7]:4711";proto=https', None, 200), ("for=8.8.8.8", None, 403),
                            ("for=8.8.8.8, for=10.1.2.3, for=127.0.0.9", None, 200), ("for=10.1.2.3, for=_hidden", None, 403),
                            ('for="10.1.2.3', None, 403), ("for=10.1.2.3", "10.1.2.3", 200),
                            ("for=10.1.2.3", "8.8.8.8", 403), ("for=8.8.8.8", "10.1.2.3", 403), ("for=_hidden", "10.1.2.3", 403)):
        with stack.raw(gateway, office) as raw:
            headers = {"Forwarded": said, "X-Forwarded-For": x}
            assert raw.ask("GET", "/v1/models", headers=headers).status == status, headers
    with stack.raw(gateway, office) as raw:  # two fields: the last one is the proxy's
        raw.send(f"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {office}\r\n"
                 "X-Forwarded-For: 10.1.2.3\r\nX-Forwarded-For: 8.8.8.8\r\n\r\n")
        assert raw.head().status == 403
    with stack.raw(far, office) as raw:
        a = raw.ask("GET", "/v1/models", headers={"X-Forwarded-For": "10.1.2.3", "Forwarded": "for=10.1.2.3"})
        assert a.status == 403 and a.error["code"] is None
