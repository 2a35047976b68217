"""openapi.yaml by itself: a valid document that leaves out no error, whose examples are what they are examples of."""

import json
import os
import re

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from stack import ROOT, document

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
SOURCES = ("gateway", "auth", "backends", "worker", "lib/openai")


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


DOCUMENT = document("openapi.yaml")


def resolve(value):
    """The value itself where it is a reference."""
    while isinstance(value, dict) and "$ref" in value:
        at = DOCUMENT
        for part in value["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        value = at
    return value


def error_table():
    """name -> (status, code, message) of each line of errors.def."""
    text = r'"(?:[^"\\]|\\.)*"'
    rows = re.findall(rf'^API_ERROR\((\w+), (\d+), {text}, (NULL|{text}),\s*((?:{text}\s*)+),', read("lib/openai/errors.def"), re.M)
    return {name: (int(status), None if code == "NULL" else code.strip('"'), "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', message)))
            for name, status, code, message in rows}


def errors_in_use():
    """Names of the errors that the sources name: the others are there for what is still to come."""
    used = set()
    for folder in SOURCES:
        for at, _, files in os.walk(os.path.join(ROOT, folder)):
            for file in files:
                if file.endswith((".c", ".h")):
                    used.update(re.findall(r"\bERR_(\w+)", read(at, file)))
                    used.update(re.findall(r"\bREFUSE\([^()]*, (\w+)\)", read(at, file)))
    return used & set(error_table())


def operations():
    for path, item in DOCUMENT["paths"].items():
        item = resolve(item)
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def responses():
    """(operation, status, response) of every operation."""
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            yield f"{method.upper()} {path}", int(status), resolve(response)


def media_with_examples():
    """(where, schema, example) of every request and response."""
    for path, method, operation in operations():
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            yield from ((f"{method} {path} {n}", kind, media["schema"], e["value"]) for n, e in media["examples"].items())
    seen = set()
    for where, status, response in responses():
        for kind, media in response.get("content", {}).items():
            if id(media) in seen:
                continue
            seen.add(id(media))
            yield from ((f"{where} {status} {n}", kind, media["schema"], e["value"]) for n, e in media["examples"].items())


def check(schema, value):
    jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


PROBLEM = "application/problem+json"
# Codes of problem documents that stand for an error without a code in the OpenAI API, or that it does not have (gateway/problem.c).
PROBLEM_CODES = {(400, "ohttp_key"), (400, "bad_message"), (409, "replay"), (401, "no_api_key"), (403, "forbidden")}


def code_and_message(example):
    """Of an error of the OpenAI API, or of a problem document."""
    value = example["value"]
    if "error" not in value:
        return value["code"], value["title"]
    error = value["error"]
    return error["code"], error["message"]


def test_the_document_is_openapi_3_1():
    OpenAPIV31SpecValidator(DOCUMENT).validate()


@pytest.mark.parametrize("where, kind, schema, value", media_with_examples(), ids=lambda v: v if isinstance(v, str) else "")
def test_an_example_obeys_its_schema(where, kind, schema, value):
    if kind == "text/event-stream":
        assert value.endswith("data: [DONE]\n\n")
        for event in value.split("\n\n")[:-1]:
            assert event.startswith("data: ")
            check(schema, {"data": event.removeprefix("data: ")})
            if event != "data: [DONE]":
                check(event_schema(schema), json.loads(event.removeprefix("data: ")))
    else:
        check(schema, value)


def event_schema(schema):
    """What the data of an event is, as JSON."""
    return resolve(schema)["properties"]["data"]["anyOf"][1]["contentSchema"]


def test_every_request_has_an_example_for_the_model_of_make_run():
    bodies = [value for _, _, _, value in media_with_examples()
              if isinstance(value, dict) and {"messages", "prompt", "input"} & set(value)]
    assert len(bodies) >= 3 and all(body["model"] == "smollm2-135m-instruct" for body in bodies)


def test_every_error_that_can_be_sent_is_there_with_its_status():
    table = error_table()
    assert len(table) > 50
    told = {(int(status), code_and_message(e)[0]) for _, status, response in responses()
            for kind, media in response.get("content", {}).items() for e in media["examples"].values()
            if kind == PROBLEM or isinstance(e["value"], dict) and "error" in e["value"]}
    unknown = DOCUMENT["components"]["responses"]["UnknownUrl"]["content"]["application/json"]["examples"]
    told |= {(404, code_and_message(e)[0]) for e in unknown.values()}  # of the paths that are not listed
    missing = {name for name in errors_in_use() if table[name][:2] not in told}
    assert missing == set()


def test_no_error_is_there_that_is_never_sent():
    table, used = error_table(), errors_in_use()
    sendable = {table[name][:2] for name in used}
    told = {(status, code_and_message(e)[0]) for _, status, response in responses() if status >= 400
            for media in response["content"].values() for e in media["examples"].values()}
    assert told - sendable - PROBLEM_CODES == set()


def test_an_errors_example_says_what_the_program_says():
    texts = [(status, code, re.compile(re.escape(message).replace(r"\{\}", ".+"))) for status, code, message in error_table().values()]
    worded = ("invalid_type", "invalid_value", "unsupported_value", "array_above_max_length", "string_above_max_length", "no_capacity")
    for where, status, response in responses():
        for example in response.get("content", {}).get("application/json", {}).get("examples", {}).values():
            if status < 400:
                continue
            code, message = code_and_message(example)
            if code in worded or code and code.endswith(("_max_value", "_min_value")):
                continue  # they name what was expected and what came
            assert any((s, c) == (status, code) and t.fullmatch(message) for s, c, t in texts), (where, code, message)


def test_the_list_of_codes_is_that_of_the_responses():
    listed = resolve(DOCUMENT["components"]["schemas"]["ErrorResponse"])["properties"]["error"]["properties"]["code"]["enum"]
    used = {code_and_message(e)[0] for response in DOCUMENT["components"]["responses"].values()
            for e in response.get("content", {}).get("application/json", {}).get("examples", {}).values()}
    assert set(listed) == used and len(listed) == len(used)


def test_every_refused_path_of_the_routes_is_there():
    paths = set(DOCUMENT["paths"])
    refused = re.findall(r'\{\{"([^"]+)", &ERR_\w+\}, (\w+)\}', read("lib/openai/paths.c"))
    assert len(refused) > 20
    for path, match in refused:
        own = {path, "/v1" + path} & paths
        below = any(p.startswith(f"/v1{path}/{{") for p in paths)
        assert {"EXACT": own, "UNDER": below, "BOTH": own or below}[match], path


def test_every_path_that_is_served_is_there():
    served = re.findall(r'\{"([^"]+)", ROUTE_(\w+), "([A-Z, ]+)",', read("gateway/routes.c"))
    assert len(served) > 15
    for path, match, methods in served:
        path = path if path.startswith("/.well-known/") else "/v1" + path
        shown = [p for p in DOCUMENT["paths"] if (p == path if match == "EXACT" else p.startswith(path + "/{"))]
        assert shown and all(m.lower() in DOCUMENT["paths"][p] for p in shown for m in methods.split(", ")), path


def test_the_parameters_that_engines_may_not_get_are_those_of_the_code():
    source = read("lib/openai/request_fields.c")
    denied = set(re.findall(r'"([\w*]+)"', re.search(r"extras_denied\[\] = \{(.*?)NULL", source, re.S)[1]))
    for name, endpoint in (("ChatRequest", "chat"), ("CompletionRequest", "completions"), ("EmbeddingRequest", "embeddings")):
        properties = DOCUMENT["components"]["schemas"][name]["properties"]
        told = {p for p, schema in properties.items() if schema.get("$ref", "").endswith("/Denied")}
        assert told == denied - ({"echo"} if endpoint == "completions" else set())


def test_every_member_that_the_code_knows_is_described():
    source = read("lib/openai/request_fields.c")
    common = {m: set(re.findall(r'\.name = "(\w+)"', re.search(rf"#define {m}(.*?)\n\n", source, re.S)[1]))
              for m in ("OUR_RULES", "SAMPLER_RULES")}
    assert all(common.values())
    tables = {"ChatRequest": "chat_rules", "CompletionRequest": "completions_rules", "EmbeddingRequest": "embeddings_rules"}
    for name, table in tables.items():
        body = re.search(rf"struct rule {table}\[\] = \{{(.*?)\n\}};", source, re.S)[1]
        known = set(re.findall(r'\.name = "(\w+)"', body))
        known = known.union(*(names for macro, names in common.items() if macro in body))
        assert known <= set(DOCUMENT["components"]["schemas"][name]["properties"])
