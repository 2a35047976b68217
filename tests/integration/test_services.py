"""Services that call with a token which an issuer of the operator's has signed, here by an independent implementation."""

import base64
import hashlib
import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conftest import live_stack
from purse import Purse, Till
from stack import wait_for
from test_telegram import call, refused, secret_file

ISSUER, NEXT, FEATURE, STRANGER = (Ed25519PrivateKey.generate() for _ in range(4))
MODELS = "/v1/models"


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def public(key):
    return key.public_key().public_bytes_raw()


def token(key=ISSUER, account="assistant", age=0, life=600, header=(), **claims):
    now = int(time.time()) - age
    head = {"alg": "EdDSA", "kid": b64(hashlib.sha256(public(key)).digest()[:16]), "typ": "cgw-service+jwt", **dict(header)}
    claims = {"account": account, "jti": "t-17", "iat": now, "exp": now + life, **claims}
    text = ".".join(b64(json.dumps(part).encode()) for part in (head, claims))
    return f"{text}.{b64(key.sign(text.encode()))}"


def issuers(stack, key):
    file = secret_file(stack, "assistant.key", key)
    return [{"public_key": public(ISSUER).hex(), "account": "assistant", "key_file": file},
            {"public_key": public(ISSUER).hex(), "account": "misfiled", "key_file": file},
            {"public_key": public(NEXT).hex(), "account": "assistant", "key_file": file},
            {"public_key": public(FEATURE).hex(), "account": "assistant", "key_file": file, "internal": True}]


@pytest.fixture(scope="module")
def served():
    for stack in live_stack("served"):
        purse = Purse(stack)
        stack.payer = purse.key(purse.account("assistant"))
        stack.till = Till(stack, **{"service_tokens.issuers": issuers(stack, stack.payer)})
        yield stack
        stack.till.worker.close()


def test_a_services_call_is_paid_by_the_account_of_its_token(served):
    purse, t = served.till.purse, token()
    for _ in range(2):  # within its life a token is good for many calls
        before = purse.charged("assistant")
        a = call(served, t)
        assert a.status == 200 and int(a.header("cocoon-cost-nano")) > 0, a.body
        assert purse.charged("assistant") == before + int(a.header("cocoon-cost-nano"))
    assert call(served, token(NEXT)).status == 200  # keys are replaced one after the other


def test_scopes_only_narrow(served):
    assert call(served, token(scopes={"models": ["fake-model"], "endpoints": ["chat"]})).status == 200
    refused(call(served, token(scopes={"endpoints": ["embeddings"]})), 403, "endpoint_not_allowed")
    refused(call(served, token(scopes={"models": ["other"]})), 403, "model_not_allowed")
    assert call(served, token(scopes={"models": ["other"]}), "GET", MODELS).json["data"] == []
    refused(call(served, token(), "GET", "/v1/billing/balance"), 403, "endpoint_not_allowed")


def test_class_internal_needs_the_operators_grant(served):
    assert call(served, token(**{"class": "batch"})).status == 200
    assert call(served, token(FEATURE, **{"class": "internal"})).status == 200
    refused(call(served, token(**{"class": "internal"})), 403, None)


def test_a_token_of_nobody_or_of_another_kind_is_no_key(served):
    t = token()
    for bad in (token(STRANGER), t[:-4] + "AAAA", t + ".x", token(header={"typ": "JWT"}), token(header={"alg": "none"}),
                token(header={"jwk": {}}), token(life=601), token(**{"class": "root"}), token(scopes={"model": []}), token(jti="")):
        refused(call(served, bad, "GET", MODELS), 401, "invalid_api_key")
    refused(call(served, token(age=601), "GET", MODELS), 401, "token_expired")
    refused(call(served, token(age=-120), "GET", MODELS), 401, "token_expired")


def test_an_issuer_acts_for_the_accounts_it_is_given_only(served):
    refused(call(served, token(account="other"), "GET", MODELS), 403, None)
    refused(call(served, token(account="misfiled"), "GET", MODELS), 403, None)  # its key is of another account
    refused(call(served, token(NEXT, account="misfiled"), "GET", MODELS), 403, None)


def test_a_token_is_not_in_the_log_and_its_name_is(served):
    t = token(jti="seen-in-the-log")
    assert call(served, t).status == 200
    log = served.till.gateway.log_text
    assert "account=assistant jti=seen-in-the-log" in log and t[-40:] not in log and served.payer not in log


def test_a_token_for_another_gateway_is_none(stack):
    gateway = stack.gateway(**{"service_tokens": {"issuers": issuers(stack, stack.key("--account", "assistant")), "audience": "https://here.test"}})
    good, other, nobody = token(aud=["https://elsewhere.test", "https://here.test"]), token(aud="https://elsewhere.test"), token()
    wait_for(lambda: call(stack, good, "GET", MODELS).status == 200, "the gateway has read the keys")
    assert [call(stack, t, "GET", MODELS).status for t in (other, nobody)] == [401, 401]
    gateway.reload(**{"service_tokens.audience": ""})
    wait_for(lambda: call(stack, nobody, "GET", MODELS).status == 200, "the gateway has no name")
    assert [call(stack, t, "GET", MODELS).status for t in (good, other)] == [401, 401]


def test_a_key_that_is_revoked_or_an_issuer_that_is_gone_ends_the_tokens(stack):
    key = stack.key("--account", "assistant", "--name", "for-service")
    gateway = stack.gateway(**{"service_tokens.issuers": issuers(stack, key)})
    assert call(stack, token(), "GET", MODELS).status == call(stack, token(NEXT), "GET", MODELS).status == 200
    gateway.reload(**{"service_tokens.issuers": gateway.settings["service_tokens"]["issuers"][2:]})
    wait_for(lambda: call(stack, token(), "GET", MODELS).status == 401, "the issuer is gone")
    assert call(stack, token(NEXT), "GET", MODELS).status == 200
    stack.ctl("keys", "revoke", "for-service")
    wait_for(lambda: call(stack, token(NEXT), "GET", MODELS).status == 401, "the key is revoked")
