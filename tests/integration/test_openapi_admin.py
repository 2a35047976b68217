"""openapi-admin.yaml: a valid document, of exactly the paths that the code has; what the ledger answers is what it says."""

import os
import re

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from ledger_stack import PRICES, start_ledger
from stack import ROOT, document

DOCUMENT = document("openapi-admin.yaml")
ROLES = {"MAY_VIEW": "viewer, support, treasurer, admin", "MAY_SUPPORT": "support, admin", "MAY_TREASURE": "treasurer, admin",
         "MAY_ADMIN": "admin"}


def schema(of):
    return {**of, "components": DOCUMENT["components"]}


def test_the_document_is_openapi_3_1():
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_paths_and_roles_are_those_of_the_code():
    with open(os.path.join(ROOT, "ledger/routes.c"), encoding="utf-8") as f:
        code = {(m.lower(), p): ROLES[r] for m, p, r in re.findall(r'\{"(\w+)", "(/[^"]+)", (MAY_\w+),', f.read())}
    told = {(m, re.sub(r"\{\w+\}", "{}", p)): re.search(r"Roles: (.*)\.$", o["description"])[1]
            for p, item in DOCUMENT["paths"].items() for m, o in item.items() if m != "parameters"}
    assert told == code


@pytest.fixture
def ledger(stack):
    return start_ledger(stack, **{"bill_keys.pinned": ["07" * 32]})


def test_answers_are_as_described(ledger):
    """A story through every path; each answer, refusals too, has the schema of its path and status."""
    seen = set()

    def call(method, path, template, body=None, status=200, **kw):
        got, answer = ledger.api(method, path, body, **kw)
        assert got == status, (method, path, got, answer)
        told = DOCUMENT["paths"][template][method.lower()]["responses"][str(status)]
        if "$ref" in told:
            told = DOCUMENT["components"]["responses"][told["$ref"].rsplit("/", 1)[1]]
        jsonschema.validate(answer, schema(told["content"]["application/json"]["schema"]))
        seen.add((method.lower(), template))
        return answer

    yaml_type = {"content": PRICES, "headers": {"content-type": "application/yaml"}}
    call("POST", "/v1/accounts", "/v1/accounts", {"id": "acme", "limits": {"streams": 4}, "budgets": {"day": "5"}, "per_model": {"m": {"streams": 1}}})
    call("POST", "/v1/accounts", "/v1/accounts", {"id": "acme"}, 409)
    call("POST", "/v1/accounts", "/v1/accounts", {"id": "acme", "limit": 1}, 400)
    call("GET", "/v1/accounts", "/v1/accounts")
    call("GET", "/v1/accounts/acme", "/v1/accounts/{account}")
    call("PATCH", "/v1/accounts/acme", "/v1/accounts/{account}", {"name": "Acme"})
    call("PATCH", "/v1/accounts/none", "/v1/accounts/{account}", {"name": "Acme"}, 404)
    call("GET", "/v1/accounts/acme/bills", "/v1/accounts/{account}/bills")
    call("GET", "/v1/accounts/acme/receipts/0", "/v1/accounts/{account}/receipts/{call}", status=404)
    call("POST", "/v1/projects", "/v1/projects", {"account": "acme", "id": "web"})
    call("GET", "/v1/projects", "/v1/projects")
    call("GET", "/v1/projects/acme/web", "/v1/projects/{account}/{project}")
    call("PATCH", "/v1/projects/acme/web", "/v1/projects/{account}/{project}", {"state": "suspended"})
    key = call("POST", "/v1/keys", "/v1/keys", {"account": "acme", "project": "web", "scopes": {"models": ["m"]}, "limits": {"max_output": 9}})
    call("GET", "/v1/keys?account=acme", "/v1/keys")
    call("GET", f"/v1/keys/{key['id']}", "/v1/keys/{key}")
    call("PATCH", f"/v1/keys/{key['id']}", "/v1/keys/{key}", {"strict": True})
    call("POST", f"/v1/keys/{key['id']}/rotate", "/v1/keys/{key}/rotate", {"grace_s": 5})
    call("POST", f"/v1/keys/{key['id']}/revoke", "/v1/keys/{key}/revoke")
    call("POST", f"/v1/keys/{key['id']}/revoke", "/v1/keys/{key}/revoke", status=409)
    call("POST", "/v1/credit", "/v1/credit", {"account": "acme", "amount": "9007199254740990", "id": "c"})
    call("GET", "/v1/purses", "/v1/purses")
    call("GET", "/v1/transfers?purse=world", "/v1/transfers")
    call("POST", "/v1/prices?dry_run=true", "/v1/prices", **yaml_type)
    call("POST", "/v1/prices", "/v1/prices", **yaml_type)
    call("GET", "/v1/prices", "/v1/prices")
    call("GET", "/v1/prices/current", "/v1/prices/{version}")
    call("GET", "/v1/usage?by=account,hour", "/v1/usage")
    call("GET", "/v1/receipts/0", "/v1/receipts/{call}", status=404)
    call("GET", "/v1/days", "/v1/days")
    invite = call("POST", "/v1/invites", "/v1/invites", {"uses": 2, "credit": "7", "account": {"limits": {"streams": 1}}})
    call("GET", "/v1/invites", "/v1/invites")
    call("POST", "/v1/invites/redeem", "/v1/invites/redeem", {"code": invite["code"], "id": "dev"})
    call("POST", f"/v1/invites/{invite['id']}/revoke", "/v1/invites/{invite}/revoke")
    hook = call("POST", "/v1/webhooks", "/v1/webhooks", {"account": "acme", "url": "https://127.0.0.1:1/", "events": ["key.revoked"]})
    call("GET", "/v1/webhooks", "/v1/webhooks")
    call("GET", f"/v1/webhooks/{hook['id']}/deliveries", "/v1/webhooks/{webhook}/deliveries")
    call("DELETE", f"/v1/webhooks/{hook['id']}", "/v1/webhooks/{webhook}")
    (kid,) = [k["kid"] for k in call("GET", "/v1/bill-keys", "/v1/bill-keys")["data"]]
    call("POST", f"/v1/bill-keys/{kid}/reinstate", "/v1/bill-keys/{kid}/reinstate", status=409)
    assert call("POST", f"/v1/bill-keys/{kid}/revoke", "/v1/bill-keys/{kid}/revoke")["revoked"] > 0
    call("POST", "/v1/bill-keys/none/revoke", "/v1/bill-keys/{kid}/revoke", status=404)
    assert call("POST", f"/v1/bill-keys/{kid}/reinstate", "/v1/bill-keys/{kid}/reinstate")["revoked"] == 0
    call("GET", "/v1/audit", "/v1/audit")
    call("GET", "/v1/status", "/v1/status")
    call("GET", "/v1/verify", "/v1/verify")
    call("POST", "/v1/intake", "/v1/intake", {"path": "/nowhere"}, 400)
    call("POST", "/v1/restore", "/v1/restore")
    call("POST", "/v1/recover", "/v1/recover", {"without": "gw-9"})
    assert seen == {(m, p) for p, item in DOCUMENT["paths"].items() for m in item if m != "parameters"}
