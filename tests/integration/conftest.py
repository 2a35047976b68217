"""Fixtures of the integration tests; the parts they start are described in stack.py, the engine's scripts in fake_engine.py.

    chain       session: one gateway, one worker, one fake engine (chain.gateways[0], .workers[0], .engines[0]) for tests that break
                nothing. Others use it at the same engine, so find your request by a text of its own (engine.find).
    stack       function: an empty Stack to start what the test needs; it is stopped after the test, and the test fails when a
                program does not end in time or a sanitizer spoke.
    client      the openai client on `chain`;  raw: a bare connection to it
    engine      the fake engine of `chain`
    real        session: a stack with the real engine and model of `make run` (test_real_engine.py)

A test says what the engine does through the text of its message:

    def test_x(chain, raw):
        raw.request("POST", "/v1/chat/completions", chat(script("half", events=2), stream=True))
        raw.head(); answer = raw.rest()
        assert answer.ending == "closed" and b'"error"' in answer.events[-1]

A failed test's report ends with the logs of the programs.
"""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from stack import BIN, ROOT, Process, Stack, free_port, wait_for  # noqa: E402

PROGRAMS = ("cocoon-gateway", "cocoon-worker", "cocoonctl")
RUNNING = []  # stacks, for reports


def pytest_configure(config):
    missing = [p for p in PROGRAMS if not os.access(os.path.join(BIN, p), os.X_OK)]
    if missing:
        pytest.exit(f"not built in {BIN}: {', '.join(missing)}; run: make", returncode=2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for stack in (s for s in RUNNING if s.fixture in item.fixturenames):
            for name, tail in stack.tails():
                if tail:
                    report.sections.append((f"the end of {name}.log", tail))
    return report


def live_stack(fixture):
    stack = Stack(fixture)
    RUNNING.append(stack)
    try:
        yield stack
    finally:
        try:
            stack.stop()
        finally:
            RUNNING.remove(stack)
            stack.remove()


@pytest.fixture
def stack():
    yield from live_stack("stack")


@pytest.fixture(scope="session")
def _chain():
    for stack in live_stack("_chain"):
        stack.engine(models=["fake-model", "org/model:tag-v1"])
        stack.gateway()
        stack.worker()
        yield stack.wait_ready()


@pytest.fixture
def chain(_chain):
    """The shared chain; a test that broke a part of it is told so here, not in the next one's failures."""
    yield _chain
    for program in _chain.gateways + _chain.workers:
        assert program.alive, f"{program.name} ended with code {program.process.returncode}"


@pytest.fixture
def engine(chain):
    return chain.engines[0]


@pytest.fixture
def client(chain):
    return chain.client()


@pytest.fixture
def raw(chain):
    with chain.raw() as connection:
        yield connection


class RealEngine:
    """The engine of `make run`, as a stack's worker wants to see an engine."""

    class dialect:
        name = "llamacpp"

    def __init__(self, stack):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.models = ["smollm2-135m-instruct"]
        argv = [os.path.join(ROOT, ".cache/engine/bin/python"), os.path.join(ROOT, "scripts/engine_serve.py"), "--port",
                str(self.port), "--alias", self.models[0], "--template", os.path.join(ROOT, "scripts/chat.jinja")]
        self.process = stack.start(Process(stack, "engine", argv, {"OMP_WAIT_POLICY": "passive"}))
        wait_for(lambda: "LISTEN" in self.process.log_text, "the real engine", 60)


@pytest.fixture(scope="session")
def _real():
    for stack in live_stack("_real"):
        engine = RealEngine(stack)
        stack.gateway()
        stack.worker(engine, max_requests=4, models=[{
            "name": engine.models[0], "context": 2048, "max_output": 2048, "endpoints": ["chat", "completions", "embeddings"]}])
        stack.real_engine = engine
        yield stack.wait_ready()


@pytest.fixture
def real(_real):
    yield _real
    assert all(p.alive for p in _real.processes)
