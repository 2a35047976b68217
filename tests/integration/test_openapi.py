"""openapi.yaml against the running gateway: schemathesis makes requests from it and checks every answer against it.

Short here; SCHEMATHESIS_EXAMPLES=500 makes it long. The exceptions, with their reasons, are in schemathesis.toml.
"""

import os
import subprocess
import sys

import pytest
import yaml

from stack import ROOT, SLOW

OPENAPI = os.path.join(ROOT, "openapi.yaml")
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "12")

pytestmark = pytest.mark.skipif(not os.path.exists(OPENAPI), reason="there is no openapi.yaml yet")


def bearer_schemes():
    with open(OPENAPI, encoding="utf-8") as f:
        schemes = yaml.safe_load(f).get("components", {}).get("securitySchemes", {})
    return [name for name, s in schemes.items() if s.get("type") == "http" and s.get("scheme") == "bearer"]


@pytest.mark.timeout(1800)
def test_the_gateway_answers_as_its_description_says(stack, tmp_path):
    stack.engine()
    gateway = stack.gateway()
    stack.worker()
    stack.wait_ready()
    schemes = bearer_schemes()
    assert schemes, "openapi.yaml has no bearer scheme"
    config = tmp_path / "schemathesis.toml"
    with open(os.path.join(ROOT, "tests/integration/schemathesis.toml")) as f:
        auth = "".join(f'\n[auth.openapi.{name}]\nbearer = "${{TEST_KEY}}"\n' for name in schemes)
        config.write_text(f.read() + auth)
    argv = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", OPENAPI, "--origin", f"http://{gateway.listen}",
            "--max-examples", EXAMPLES, "--seed", "1", "--generation-database", "none", "--request-timeout", str(10 * SLOW),
            "--no-color"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "TEST_KEY": stack.key_for_all()})
    assert done.returncode == 0, (done.stdout + done.stderr)[-15000:]
    assert gateway.alive and all(w.alive for w in stack.workers)
