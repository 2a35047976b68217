"""Users of Telegram's Mini Apps: init data, signed here as Telegram documents it, becomes a token, and calls with it are paid by who owns
the bot."""

import base64
import hashlib
import hmac
import json
import os
import time
import urllib.parse

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conftest import live_stack
from purse import Purse, Till
from stack import chat, wait_for

CHAT, SIGN_IN = "/v1/chat/completions", "/v1/auth/telegram"
OWN, THIRD, SHORT = 4001, 4002, 4003  # bots: with its token, without, with few requests
TOKEN = f"{OWN}:AAtest-token-of-nobody"
TELEGRAM = Ed25519PrivateKey.generate()
PUBLIC = TELEGRAM.public_key().public_bytes_raw().hex()


def lines(fields, without):
    return "\n".join(f"{k}={v}" for k, v in sorted(fields.items()) if k not in without)


def hashed(fields, token=TOKEN):
    key = hmac.new(b"WebAppData", token.encode(), hashlib.sha256).digest()
    return {**fields, "hash": hmac.new(key, lines(fields, ("hash",)).encode(), hashlib.sha256).hexdigest()}


def signed(fields, bot=THIRD):
    text = f"{bot}:WebAppData\n" + lines(fields, ("hash", "signature"))
    return {**fields, "signature": base64.urlsafe_b64encode(TELEGRAM.sign(text.encode())).rstrip(b"=").decode(), "hash": "00" * 32}


def fields(user=7, age=0, **more):
    said = json.dumps({"id": user, "first_name": "Zoë & <b>", "photo_url": "https:\\/\\/t.me\\/x+y"}, separators=(",", ":"))
    return {"query_id": "AAHdF6IQAAAAAN0XohDhrOrc", "user": said, "auth_date": str(int(time.time()) - age), **more}


def encode(f):
    return urllib.parse.urlencode(f, quote_via=urllib.parse.quote)


def secret_file(stack, name, text):
    path = os.path.join(stack.folder, name)
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as f:
        f.write(text + "\n")
    return path


def bots(stack, key):
    file = secret_file(stack, "payer.key", key)
    return [{"id": OWN, "token_file": secret_file(stack, "bot.token", TOKEN), "key_file": file},
            {"id": THIRD, "key_file": file},
            {"id": SHORT, "key_file": file, "requests_per_minute": 2}]


@pytest.fixture(scope="module")
def apps():
    """A gateway with three bots, all paid by one metered account."""
    for stack in live_stack("apps"):
        purse = Purse(stack)
        stack.payer = purse.key(purse.account("botowner"), replay_answers=True)  # not those of the bots' users
        stack.till = Till(stack, **{"telegram.public_key": PUBLIC, "telegram.bots": bots(stack, stack.payer)})
        yield stack
        stack.till.worker.close()


def sign_in(stack, data, bot=OWN, query=None):
    with stack.raw(key="") as raw:
        query = f"?bot={bot}" if query is None else query
        return raw.ask("POST", SIGN_IN + query, None, headers={"Authorization": f"tma {data}"} if data is not None else {})


def token(stack, user=7, bot=THIRD):
    a = sign_in(stack, encode(signed(fields(user), bot)), bot)
    assert a.status == 200, a.body
    return a.json["access_token"]


def call(stack, bearer, method="POST", path=CHAT, body=None, headers=()):
    with stack.raw(key=bearer) as raw:
        return raw.ask(method, path, body if body is not None or method == "GET" else chat(), headers)


def refused(a, status, code):
    assert (a.status, a.error["code"]) == (status, code), a.body
    return True


def test_init_data_becomes_a_token_of_a_quarter_of_an_hour(apps):
    for bot, data in ((OWN, encode(hashed(fields()))), (THIRD, encode(signed(fields())))):
        a = sign_in(apps, data, bot)
        assert a.status == 200 and a.header("cache-control") == "no-store" and a.header("content-type") == "application/json"
        assert a.json["token_type"] == "Bearer" and a.json["expires_in"] == 900
        assert a.json["access_token"].startswith("tma-cocoon-")


def test_a_users_call_is_paid_by_the_bots_owner(apps):
    purse = apps.till.purse
    before = purse.charged("botowner")
    a = call(apps, token(apps, user=8))
    assert a.status == 200 and int(a.header("cocoon-cost-nano")) > 0, a.body
    assert purse.charged("botowner") == before + int(a.header("cocoon-cost-nano"))
    assert call(apps, token(apps, user=8), "GET", "/v1/models").status == 200


def test_what_is_not_signed_so_is_refused(apps):
    other = signed(fields(), bot=OWN)
    changed = {**hashed(fields(user=7)), "user": fields(user=9)["user"]}
    for data in (encode(hashed(fields(), token=f"{OWN}:other")), encode(changed), encode(hashed(fields(age=3700))),
                 encode(hashed(fields(age=-120))), encode(hashed(fields())) + "&auth_date=1", "", None, "x"):
        refused(sign_in(apps, data), 401, "invalid_init_data")
    refused(sign_in(apps, encode(other), THIRD), 401, "invalid_init_data")
    refused(sign_in(apps, encode(hashed(fields())), THIRD), 401, "invalid_init_data")
    refused(sign_in(apps, encode(hashed(fields())), 4999), 404, "not_found")
    refused(sign_in(apps, encode(hashed(fields())), query=""), 400, "missing_required_parameter")


def test_a_token_opens_models_and_nothing_of_the_account(apps):
    t = token(apps)
    for path in ("/v1/billing/balance", "/v1/billing/receipts", "/v1/organization/costs?start_time=1750000000"):
        refused(call(apps, t, "GET", path), 403, "endpoint_not_allowed")
        assert call(apps, apps.payer, "GET", path).status == 200


def test_a_changed_token_is_no_key_and_init_data_none_either(apps):
    t = token(apps)
    refused(call(apps, t[:-3] + ("AAA" if t[-3:] != "AAA" else "BBB")), 401, "invalid_api_key")
    with apps.raw(key="") as raw:
        a = raw.ask("POST", CHAT, chat(), headers={"Authorization": f"tma {encode(hashed(fields()))}"})
        assert a.status == 401


def test_each_user_has_a_minutes_allowance_of_his_own(apps):
    one, two = token(apps, 21, SHORT), token(apps, 22, SHORT)
    assert [call(apps, one).status for _ in range(2)] == [200, 200]
    a = call(apps, token(apps, 21, SHORT))  # a new token is the same user
    assert refused(a, 429, "rate_limit_exceeded") and a.header("retry-after") == "60"
    assert call(apps, two).status == 200


def test_two_users_with_one_idempotency_key_are_not_one_request(apps):
    key = {"Idempotency-Key": os.urandom(8).hex()}
    assert call(apps, token(apps, 31), headers=key).status == 200
    assert call(apps, token(apps, 32), headers=key).status == 200
    refused(call(apps, token(apps, 31), headers=key), 409, "idempotency_no_replay")
    wait_for(lambda: apps.till.purse.open_holds("botowner") == 0, "all is settled")
    assert not apps.redis.client.keys("m1:answer*")


def test_neither_token_nor_init_data_nor_the_payers_key_is_in_the_log(apps):
    data = encode(hashed(fields(user=41)))
    t = sign_in(apps, data).json["access_token"]
    assert call(apps, t).status == 200
    log = apps.gateways[0].log_text
    assert t not in log and apps.payer not in log and TOKEN not in log and data[:40] not in log


def test_without_bots_there_is_no_such_endpoint(chain):
    refused(sign_in(chain, encode(hashed(fields())), query=""), 404, "unsupported_endpoint")
    refused(sign_in(chain, None, query=""), 401, "invalid_init_data")


def test_a_reload_takes_a_bot_away_and_a_wrong_one_changes_nothing(stack):
    gateway = stack.gateway(**{"telegram.public_key": PUBLIC, "telegram.bots": bots(stack, stack.key())})
    t = token(stack, bot=THIRD)
    assert call(stack, t, "GET", "/v1/models").status == 200
    good = gateway.settings["telegram"]["bots"]
    gateway.reload(**{"telegram.bots": [{"id": THIRD, "token_file": good[0]["token_file"], "key_file": good[0]["key_file"]}]})
    gateway.wait_log(r'reload_refused .*4002: token_file')
    assert call(stack, t, "GET", "/v1/models").status == 200
    gateway.reload(**{"telegram.bots": good[:1]})
    wait_for(lambda: call(stack, t, "GET", "/v1/models").status == 401, "the bot is gone")
    refused(call(stack, t, "GET", "/v1/models"), 401, "token_expired")
