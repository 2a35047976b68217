"""The short case of `make bench`: it runs to its end and nothing is lost. Figures are not judged here.

Needs the programs of bench.mk in the folder BENCH, and the gateway's in BIN, as scripts/test.py sets them.
"""

import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BIN = os.environ.get("BIN", os.path.join(ROOT, "bin"))
BENCH = os.environ.get("BENCH", os.path.join(ROOT, "build/release/tests/bench"))

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif("asan" in BIN or "tsan" in BIN, reason="sanitizers cannot carry the bench's load"),
]


def test_a_short_bench_loses_nothing():
    argv = [sys.executable, os.path.join(HERE, "bench.py"), "--quick", "--targets", "client", "--bin", BIN, "--programs", BENCH]
    done = subprocess.run(argv, text=True, timeout=100, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
