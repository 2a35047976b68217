"""What schemathesis may not send as it drew it, with the reasons: loaded by test_openapi.py.

Every change keeps a valid body valid and an invalid one invalid, so that all checks stay on.
"""

import os
import re

import schemathesis

MODEL = os.environ["MODEL"]
MOST_ANSWERS = 2048
MOST_TOKENS = 2147483647
ASK = 1000  # of the tests' workers
START, END_OF_TIME = 1750000000, 253402300799
PAIR = "one limit of tokens"


def is_number(value, kind=(int, float)):
    return isinstance(value, kind) and not isinstance(value, bool)


def in_range(value, low, high):
    return is_number(value, int) and low <= value <= high


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Of the five rules that join two members its generator manages four; one_limit obeys the fifth."""
    rules = raw_schema["components"]["schemas"]["ChatRequest"]["allOf"]
    rules[:] = [rule for rule in rules if rule["$comment"] != PAIR]


def one_limit(body):
    if in_range(body.get("max_tokens"), 1, MOST_TOKENS) and in_range(body.get("max_completion_tokens"), 1, MOST_TOKENS):
        body["max_tokens"] = None


def few_answers(body):
    """best_of against n, and how many answers there are in all: a JSON schema cannot compare."""
    n, best_of, prompt = body.get("n"), body.get("best_of"), body.get("prompt")
    if in_range(best_of, 1, 20) and (n is None or in_range(n, 1, 128)):
        n = 1 if n is None else n
        if best_of < n or best_of > n and body.get("stream") is True:
            body["best_of"] = None
    many = isinstance(prompt, list) and len(prompt) > MOST_ANSWERS // 128
    for name, most in (("n", 128), ("best_of", 20)):
        if many and in_range(body.get(name), 1, most):
            body[name] = None


def plain(value):
    """1.0 as 1: an integer to JSON Schema, but not to the gateway, which passes numbers on byte for byte. And names without NUL,
    which is refused in names at any depth: a schema says so of one object only."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k.replace("\0", "?"): plain(v) for k, v in value.items()}
    return value


def plain_body(body):
    """The names of the body itself and of these two members are described, so a NUL in them stays."""
    def member(name, value):
        described = name in ("metadata", "logit_bias") and isinstance(value, dict)
        return {k: plain(v) for k, v in value.items()} if described else plain(value)

    return {name: member(name, value) for name, value in body.items()}


def number_of(value):
    """A query's value as a number; -1: it is none."""
    return int(value) if re.fullmatch(r"[0-9]{1,12}", str(value)) else -1


def one_span_of_time(query):
    """An end behind the start, a page inside, and as many buckets as their width allows: a description cannot compare."""
    start, end = number_of(query.get("start_time")), number_of(query.get("end_time", END_OF_TIME))
    if 0 <= start <= END_OF_TIME and 0 <= end <= END_OF_TIME:
        query["start_time"] = START
        if "end_time" in query:
            query["end_time"] = START + 86400
    if 1 <= number_of(query.get("limit")) <= 180:
        query["limit"] = min(number_of(query["limit"]), 31)
    if re.fullmatch(r"page_[0-9]+", str(query.get("page"))):
        del query["page"]


@schemathesis.hook
def before_call(context, case, kwargs):
    # The worker here has no evidence: any demand is answered 503 no_attested_worker.
    for name in [n for n in case.headers or {} if n.lower() == "cocoon-require"]:
        del case.headers[name]
    if case.path.startswith("/v1/organization/") and isinstance(case.query, dict):
        one_span_of_time(case.query)
    body = case.body
    if not isinstance(body, dict):
        return
    body = case.body = plain_body(body)
    one_limit(body)
    few_answers(body)
    # A drawn name is nobody's model: every valid request would end as model_not_found before it reaches a worker.
    if isinstance(body.get("model"), str) and 0 < len(body["model"]) <= 256 and "\0" not in body["model"]:
        body["model"] = MODEL
    # A deadline of microseconds is answered 504, as it should be.
    if is_number(body.get("timeout")) and 0 < body["timeout"] < 30:
        body["timeout"] = 30
    # A bid below what the worker here asks is answered 503 no_capacity, as it should be.
    if in_range(body.get("max_coefficient"), 0, ASK - 1):
        body["max_coefficient"] = ASK
    # The engine here makes vectors of one length: any other is refused.
    if in_range(body.get("dimensions"), 1, MOST_TOKENS):
        body["dimensions"] = None
