"""openapi.yaml against the running gateway: schemathesis makes requests from it and checks every answer against it.

Short here; SCHEMATHESIS_EXAMPLES=500 makes it long. What it may not send or must not expect, with the reasons, is in
schemathesis.toml and schemathesis_hooks.py.
"""

import os
import re
import subprocess
import sys

import httpx
import pytest

from stack import ROOT, SLOW, document

OPENAPI = os.path.join(ROOT, "openapi.yaml")
HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "15")
MODEL = "smollm2-135m-instruct"  # as in the examples of openapi.yaml
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")

DOCUMENT = document("openapi.yaml")


def run_schemathesis(gateway, key, folder):
    config = folder / "schemathesis.toml"
    with open(os.path.join(HERE, "schemathesis.toml")) as f:
        config.write_text(f.read() + '\n[auth.openapi.bearer]\nbearer = "${TEST_KEY}"\n')
    argv = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", OPENAPI, "--url", f"http://{gateway.listen}",
            "--max-examples", EXAMPLES, "--seed", SEED, "--generation-database", "none", "--request-timeout", str(10 * SLOW),
            "--no-color"]
    env = {**os.environ, "TEST_KEY": key, "MODEL": MODEL, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": HERE}
    return subprocess.run(argv, capture_output=True, text=True, cwd=folder, env=env)


@pytest.mark.timeout(3600)
def test_the_gateway_answers_as_its_description_says(stack, tmp_path):
    stack.engine(models=[MODEL])
    gateway = stack.gateway(**{"limits.public_per_minute": 100000})
    stack.worker()
    stack.wait_ready()
    done = run_schemathesis(gateway, stack.key_for_all(), tmp_path)
    assert done.returncode == 0, (done.stdout + done.stderr)[-15000:]
    assert re.search(r"(\d+) generated, \1 passed", done.stdout), done.stdout[-3000:]
    assert gateway.metric("cocoon_answers_total", status="200") > 100  # it did not only compare refusals
    assert gateway.alive and all(w.alive for w in stack.workers)


def refusals():
    """(path, status, error) of each path that has one answer only."""
    for path, item in DOCUMENT["paths"].items():
        if "$ref" in item:
            item = DOCUMENT["components"]["pathItems"][item["$ref"].rsplit("/", 1)[1]]
            status, response = next((s, r) for s, r in item["get"]["responses"].items() if s in ("404", "501"))
            response = DOCUMENT["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
            (example,) = response["content"]["application/json"]["examples"].values()
            yield path.replace("{rest}", "some/thing"), int(status), example["value"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_what_is_not_offered_says_so_to_every_method_without_a_key(chain, method):
    with httpx.Client(base_url=f"http://{chain.gateways[0].listen}", trust_env=False) as client:
        told = list(refusals())
        assert len(told) > 40
        for path, status, body in told:
            for alias in {path, path.removeprefix("/v1")}:
                answer = client.request(method, alias)
                assert (answer.status_code, answer.json()) == (status, body), (method, alias)
                assert answer.headers.get("x-should-retry") == ("false" if status == 501 else None)


def test_models_are_found_without_v1_too_and_by_ids_with_slashes(chain):
    with chain.raw() as raw:
        assert raw.ask("GET", "/models").json == raw.ask("GET", "/v1/models").json
        assert raw.ask("GET", "/models/org/model:tag-v1").json == raw.ask("GET", "/v1/models/org%2Fmodel%3Atag-v1").json


def test_every_example_is_answered_by_the_real_engine(real):
    headers = {"authorization": f"Bearer {real.key_for_all()}"}
    with httpx.Client(base_url=f"http://{real.gateways[0].listen}", trust_env=False, timeout=60 * SLOW, headers=headers) as client:
        for path, item in DOCUMENT["paths"].items():
            for name, example in item.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {}).get(
                    "examples", {}).items():
                answer = client.post(path, json=example["value"])
                assert answer.status_code == 200, (path, name, answer.text)
                if example["value"].get("stream"):
                    assert answer.text.endswith("data: [DONE]\n\n"), (path, name)
