"""A short case of each kind of scenario of `make sim`: what must be so on any machine, under any load.

Needs the programs of sim.mk in the folder SIM, and the gateway's in BIN, as scripts/test.py sets them.
"""

import argparse
import os

import pytest

import soak
import virtual
from pool import BIN, ROOT

SIM = os.path.abspath(os.environ.get("SIM", os.path.join(ROOT, "build/release/tests/sim")))
ARGS = argparse.Namespace(programs=SIM, seed=1)

without_sanitizers = pytest.mark.skipif("asan" in BIN or "tsan" in BIN, reason="sanitizers cannot carry the load")


def judge(found):
    checks = found[1]
    assert all(c.ok for c in checks), "\n".join(map(str, checks))


def test_a_mixed_pool_in_virtual_time():
    judge(virtual.mixed(ARGS, "azure_conv.csv", 1.25, count=6000))


def test_a_pool_above_its_capacity_in_virtual_time():
    judge(virtual.above_capacity(ARGS, count=8000))


def test_one_account_that_asks_for_ten_times_its_share_in_virtual_time():
    judge(virtual.greedy_account(ARGS))


@without_sanitizers
def test_random_faults_under_load_leave_nothing_behind():
    judge(soak.soaked(ARGS, 6, gateways=1, speeds=[2, 4, 4], accounts=4, rate=12))
