"""Keys against a running gateway: what `cocoonctl keys` does shows at the next request."""

import base64
import hashlib
import json
import os
import stat
import threading
import time

import pytest

from stack import SLOW, chat, script, wait_for

CHAT, TEXT, EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
SOON = 1.0 * SLOW


@pytest.fixture(scope="module")
def keyed():
    from conftest import live_stack
    for stack in live_stack("keyed"):
        stack.engine(models=["fake-model", "org/other"])
        stack.gateway(trusted_proxies=["127.0.0.1"])
        stack.worker()
        yield stack.wait_ready()


def ask(stack, key, body=None, path=CHAT, method="POST", headers=()):
    with stack.raw(key=key) as raw:
        return raw.ask(method, path, body if body is not None or method == "GET" else chat(), headers)


def status(stack, key):
    return ask(stack, key).status


def invalid(answer, key=None):
    assert answer.status == 401 and answer.error["code"] == "invalid_api_key"
    assert answer.header("www-authenticate") == 'Bearer error="invalid_token"'
    assert key is None or key[10:].encode() not in answer.body
    return True


def until_refused(stack, key):
    began = time.monotonic()
    wait_for(lambda: status(stack, key) == 401, "the key is refused", 5)
    assert time.monotonic() - began < SOON


# ---- The life of a key --------------------------------------------------------------------------------

def test_a_new_key_is_good_at_once_also_when_it_was_asked_for_before(keyed):
    for _ in range(5):
        key = keyed.key()
        assert status(keyed, key) == 200


def test_a_revoked_key_ends_within_a_second(keyed):
    key = keyed.key("--name", "ends-soon")
    assert status(keyed, key) == 200
    keyed.ctl("keys", "revoke", "ends-soon")
    until_refused(keyed, key)
    invalid(ask(keyed, key), key)


def test_a_key_that_is_revoked_while_the_body_comes_runs_nothing(keyed):
    key, text = keyed.key("--name", "mid-body"), "never-run-3b1f"
    body = json.dumps(chat(text)).encode()
    assert status(keyed, key) == 200
    with keyed.raw(key=key) as raw:
        raw.request("POST", CHAT, headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
        raw.send(body[:20])
        time.sleep(0.1)
        keyed.ctl("keys", "revoke", "mid-body")
        time.sleep(SOON)
        try:
            raw.send(body[20:])
        except OSError:
            pass  # refused already
        raw.head()
        invalid(raw.rest(), key)
    assert not any(text.encode() in r.body for r in keyed.engines[0].requests)


def test_a_stream_that_runs_is_not_cut_by_a_revocation(keyed):
    """What was admitted is finished; the next request is not."""
    key = keyed.key("--name", "mid-stream")
    with keyed.raw(key=key) as raw:
        raw.request("POST", CHAT, chat(script("slow", seconds=0.25, count=5), stream=True))
        raw.head()
        raw.until(b"t0")
        keyed.ctl("keys", "revoke", "mid-stream")
        answer = raw.rest()
        assert answer.ending == "complete" and answer.body.endswith(b"data: [DONE]\n\n")
    until_refused(keyed, key)


def test_the_old_secret_of_a_rotated_key_lives_for_the_grace(keyed):
    old = keyed.key("--name", "rotates")
    assert status(keyed, old) == 200
    new = keyed.ctl("keys", "rotate", "rotates", "--grace", "2s", "--quiet").stdout.strip()
    assert status(keyed, new) == 200 and status(keyed, old) == 200
    wait_for(lambda: status(keyed, old) == 401, "the grace ends", 5, 0.1)
    assert status(keyed, new) == 200
    again = keyed.ctl("keys", "rotate", "rotates", "--grace", "0s", "--quiet").stdout.strip()
    until_refused(keyed, new)
    assert status(keyed, again) == 200
    keyed.ctl("keys", "revoke", "rotates")
    until_refused(keyed, again)


def test_a_key_expires_by_itself(keyed):
    key = keyed.key("--name", "expires", "--expires", "2s")
    assert status(keyed, key) == 200
    wait_for(lambda: status(keyed, key) == 401, "the key expires", 5, 0.1)
    assert "expired" in keyed.ctl("keys", "list").stdout


def test_a_restore_never_revives_a_revoked_key(keyed):
    dead, alive = keyed.key("--name", "dead"), keyed.key("--name", "alive")
    keyed.ctl("keys", "revoke", "dead")
    until_refused(keyed, dead)
    keyed.redis.flush()
    keyed.ctl("keys", "restore")
    wait_for(lambda: status(keyed, alive) == 200, "the living key", 5)
    invalid(ask(keyed, dead))


# ---- What a key may -----------------------------------------------------------------------------------

def test_scopes_of_models(keyed):
    key = keyed.key("--model", "org/other")
    assert ask(keyed, key, chat(model="org/other")).status == 200
    answer = ask(keyed, key, chat())
    assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
    assert [m["id"] for m in ask(keyed, key, path="/v1/models", method="GET").json["data"]] == ["org/other"]
    assert ask(keyed, key, path="/v1/models/org%2Fother", method="GET").status == 200
    assert ask(keyed, key, path="/v1/models/fake-model", method="GET").status in (403, 404)


def test_scopes_of_endpoints(keyed):
    key = keyed.key("--endpoint", "embeddings")
    assert ask(keyed, key, {"model": "fake-model", "input": "a"}, EMBED).status == 200
    for path, body in ((CHAT, chat()), (TEXT, {"model": "fake-model", "prompt": "a"})):
        answer = ask(keyed, key, body, path)
        assert (answer.status, answer.error["code"]) == (403, "endpoint_not_allowed")


def test_scopes_of_addresses(keyed):
    key = keyed.key("--range", "10.1.0.0/16", "--range", "2001:db8::/32")
    for address, wanted in (("10.1.2.3", 200), ("2001:db8::7", 200), ("10.2.0.1", 403), ("192.0.2.1", 403)):
        answer = ask(keyed, key, headers={"X-Forwarded-For": address})
        assert answer.status == wanted, address
    assert ask(keyed, key).status == 403  # 127.0.0.1 itself
    here = keyed.key("--range", "127.0.0.0/8")
    assert ask(keyed, here).status == 200


def said(jws, typ):
    head, payload, _ = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in jws.split("."))
    assert json.loads(head)["typ"] == typ
    return json.loads(payload)


@pytest.mark.parametrize("stream", [False, True])
def test_a_key_may_have_the_workers_receipts_kept(keyed, stream):
    key, plain = keyed.key("--receipts"), keyed.key()
    answer = ask(keyed, key, chat("The Walrus said", stream=stream))
    assert answer.status == 200 and answer.ending == "complete"
    path = "/v1/billing/receipts/" + answer.header("cocoon-call")
    fetched = wait_for(lambda: (lambda a: a if a.status == 200 else None)(ask(keyed, key, path=path, method="GET")), "the receipts").json
    usage, receipt = said(fetched["usage"], "cgw-usage+jwt"), said(fetched["receipt"], "cgw-receipt+jwt")
    assert set(fetched) == {"usage", "receipt"} and usage["call"] == receipt["call"] == answer.header("cocoon-call")
    assert usage["req"] == receipt["req"] and usage["out"] == receipt["out"] > 0
    digest = base64.urlsafe_b64encode(hashlib.sha256(answer.body).digest()).rstrip(b"=").decode()
    assert receipt["resp_body"] == digest  # nothing has been added to this answer: it cost nothing
    # Of nobody else, and of no call of a key that did not ask for it; and nowhere that is read by others.
    assert ask(keyed, plain, path=path, method="GET").status == 404
    other = ask(keyed, plain, chat("The Walrus said"))
    assert ask(keyed, plain, path="/v1/billing/receipts/" + other.header("cocoon-call"), method="GET").status == 404
    redis = keyed.redis.client
    for name in redis.scan_iter("*"):
        kind = redis.type(name)
        held = {"string": redis.get, "hash": redis.hgetall, "stream": redis.xrange}.get(kind, lambda _: "")(name)
        assert receipt["resp_body"] not in str(held) and fetched["receipt"] not in str(held), name


def test_a_strict_key_takes_no_unknown_parameter(keyed):
    strict, plain = keyed.key("--strict"), keyed.key()
    answer = ask(keyed, strict, chat(nonsense=1))
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "unknown_parameter", "nonsense")
    answer = ask(keyed, plain, chat(nonsense=1))
    assert answer.status == 200 and "nonsense" in answer.header("cocoon-ignored")


def test_an_end_to_end_key_sends_no_plain_request(keyed):
    key = keyed.key("--end-to-end-only")
    answer = ask(keyed, key)
    assert (answer.status, answer.error["code"]) == (403, "end_to_end_only")
    assert ask(keyed, key, path="/v1/models", method="GET").status == 200


def test_a_keys_own_cap_of_tokens(keyed):
    key = keyed.key("--max-output", "3")
    answer = ask(keyed, key)
    assert answer.json["choices"][0]["finish_reason"] == "length" and answer.json["usage"]["completion_tokens"] == 3


# ---- How a key comes ----------------------------------------------------------------------------------

def test_every_form_of_a_key_is_taken(keyed):
    key = keyed.key()
    basic = [base64.b64encode(pair.encode()).decode() for pair in (f"{key}:", f"user:{key}", f":{key}")]
    for header in ({"Authorization": f"Bearer {key}"}, {"authorization": f"bearer {key}"}, {"x-api-key": key},
                   *({"Authorization": f"Basic {b}"} for b in basic)):
        assert ask(keyed, "", headers=header).status == 200, header


def test_no_other_form_is(keyed):
    key = keyed.key()
    for header in ({"Authorization": key}, {"Authorization": f"Token {key}"}, {"Authorization": f"Bearer {key}x"},
                   {"Authorization": f"Bearer {key[:-1]}"}, {"Authorization": "Bearer "}, {"Authorization": "Basic !!!"},
                   {"Authorization": f"Bearer {key[:20]}{'A' if key[20] != 'A' else 'B'}{key[21:]}"},
                   {"x-api-key": key.lower()}, {"Cookie": f"key={key}"}):
        answer = ask(keyed, "", headers=header)
        assert answer.status == 401 and key[10:].encode() not in answer.body, header
    assert ask(keyed, "", path=f"{CHAT}?api_key={key}").status == 401


def test_a_guesser_is_slowed_down_and_told_nothing_else(stack):
    stack.engine()
    stack.gateway(**{"auth.failures_per_minute": 3})
    stack.worker()
    stack.wait_ready()
    times = []
    for i in range(4):
        began = time.monotonic()
        invalid(ask(stack, f"sk-cocoon-guess{i}"))
        times.append(time.monotonic() - began)
    assert times[-1] > 0.5 and times[0] < 0.3 * SLOW, times


def test_many_at_once_with_one_new_key(keyed):
    key, answers = keyed.key(), []

    def one():
        answers.append(status(keyed, key))
    threads = [threading.Thread(target=one) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert answers.count(200) == 20


# ---- The file -----------------------------------------------------------------------------------------

def test_the_keys_file_is_private_and_has_no_secret(keyed):
    keys = [keyed.key("--name", "in-file"), keyed.ctl("keys", "rotate", "in-file", "--quiet").stdout.strip()]
    assert stat.S_IMODE(os.stat(keyed.keys_file).st_mode) == 0o600
    with open(keyed.keys_file) as f:
        stored = f.read()
    shown = keyed.ctl("keys", "list", "--json").stdout + keyed.ctl("keys", "show", "in-file").stdout
    for key in keys:
        for n in range(10, len(key) - 8):
            assert key[n:n + 9] not in stored and key[n:n + 9] not in shown
    assert not [f for f in os.listdir(keyed.folder) if f.startswith("keys.json") and stat.S_IMODE(os.stat(f"{keyed.folder}/{f}").st_mode) & 0o077]


def test_a_keys_file_that_others_may_read_is_refused(stack):
    stack.key()
    os.chmod(stack.keys_file, 0o644)
    done = stack.ctl("keys", "list", check=False)
    assert done.returncode != 0 and "chmod 600" in done.stderr


def test_a_broken_keys_file_is_said_and_left_alone(stack):
    stack.key()
    with open(stack.keys_file, "w") as f:
        f.write('{"format":')
    for words in (("keys", "list"), ("keys", "create"), ("keys", "restore")):
        done = stack.ctl(*words, check=False)
        assert done.returncode != 0 and stack.keys_file in done.stderr
    assert open(stack.keys_file).read() == '{"format":'


def test_two_changes_at_once_lose_nothing(stack):
    stack.redis
    threads = [threading.Thread(target=stack.key, args=("--name", f"k{i}")) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert {k["name"] for k in json.loads(stack.ctl("keys", "list", "--json").stdout)} == {f"k{i}" for i in range(6)}
    assert len(stack.redis.client.keys("key:*")) == 6


@pytest.mark.parametrize("words, says", [
    (("keys", "revoke"), "KEY"), (("keys", "revoke", "nobody"), "cocoonctl keys list"), (("keys", "create", "--expires", "soon"), "--expires"),
    (("keys", "create", "--model", ""), "--model"), (("keys", "rotate", "nobody", "--grace", "-1s"), "--grace"), (("keys", "frob"), "frob"),
    (("keys", "create", "--endpoint", "audio"), "--endpoint"), (("keys", "create", "--range", "10.0.0.0/99"), "--range"),
    (("keys", "create", "--class", "vip"), "--class"), (("keys", "list", "extra"), "extra")])
def test_wrong_usage_says_what_to_do(stack, words, says):
    done = stack.ctl(*words, check=False)
    assert done.returncode in (1, 2) and says in done.stderr and not done.stdout, done
    assert not os.path.exists(stack.keys_file) or json.load(open(stack.keys_file))["keys"] == []
