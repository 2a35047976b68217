#!/usr/bin/env python3
"""Runs the unit tests (cmocka programs) and the integration tests (pytest), and sums them up.

The last line printed is "N passed, N failed, N skipped"; the exit code is 0 only when nothing failed and something passed.
"""

import argparse
import concurrent.futures
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
UNIT_TIMEOUT_S = 120
PYTEST_TIMEOUT_S = 1500
PYTEST_NO_TESTS = 5  # its exit code
AT_A_TIME = min(4, 2 * os.cpu_count())  # tests mostly wait

SANITIZERS = {
    "ASAN_OPTIONS": "abort_on_error=0:detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1",
}


class Count:
    def __init__(self, passed=0, failed=0, skipped=0):
        self.passed, self.failed, self.skipped = passed, failed, skipped

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def run(argv, timeout, env=None, capture=True):
    """Exit code and output. What the process leaves running is ended with it."""
    with tempfile.TemporaryFile() as out:  # not a pipe: one that a child left behind keeps open would hang us
        process = subprocess.Popen(argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, start_new_session=True,
                                   stdout=out if capture else None, stderr=subprocess.STDOUT if capture else None)
        try:
            code, note = process.wait(timeout), ""
        except subprocess.TimeoutExpired:
            code, note = -signal.SIGKILL, f"\n(ended after {timeout} s)\n"
        finally:  # Ctrl-C too
            kill_group(process)
            process.wait()
        out.seek(0)
        return code, out.read().decode(errors="replace") + note


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


# ---- cmocka --------------------------------------------------------------------------------------------

def count_cmocka(output, code):
    """What a cmocka program's closing lines say; a program that crashed or ran nothing is one failure."""
    def total(word):
        return sum(int(n) for n in re.findall(rf"^\[ +{word} +\] (\d+) test\(s\)", output, re.M))

    errors = len(re.findall(r"^\[ +ERROR +\] \w+$", output, re.M))  # a fixture's failure is not among the FAILED
    count = Count(total("PASSED"), total("FAILED") + errors, total("SKIPPED"))
    if code != 0 and count.failed == 0 or count.passed + count.failed + count.skipped == 0:
        count.failed += 1
    return count


def run_program(program):
    """Its exit code, output and seconds."""
    started = time.monotonic()
    code, output = run([os.path.abspath(program)], UNIT_TIMEOUT_S, {**SANITIZERS, **os.environ})
    return code, output, time.monotonic() - started


def run_unit(programs, build):
    """Several at a time; told in their order."""
    sum_ = Count()
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        for program, (code, output, seconds) in zip(programs, pool.map(run_program, programs)):
            count = count_cmocka(output, code)
            sum_.add(count)
            name = os.path.relpath(program, os.path.join(build, "tests"))
            print(f"{name:<52} {count}  ({seconds:.1f} s)", flush=True)
            if count.failed:
                print(output[-20000:], f"\n{name}: exit code {code}", flush=True)
    return sum_


# ---- pytest --------------------------------------------------------------------------------------------

def run_pytest(args):
    """The tests that may run beside others, a file a process; then those marked alone."""
    count = run_marked(args, "not alone", "beside", "-n", str(AT_A_TIME), "--dist", "loadfile", "--max-worker-restart", "0")
    count.add(run_marked(args, "alone", "alone"))
    if not count.passed + count.failed + count.skipped:
        print("pytest found no test", flush=True)
        count.failed = 1
    return count


def run_marked(args, marks, name, *more):
    report = os.path.abspath(os.path.join(args.build, f"integration-{name}.xml"))
    os.makedirs(os.path.dirname(report), exist_ok=True)
    if os.path.exists(report):
        os.unlink(report)
    env = {**SANITIZERS, **os.environ, "BIN": os.path.abspath(args.bin), "PYTHONDONTWRITEBYTECODE": "1",
           "BENCH": os.path.abspath(os.path.join(args.build, "tests/bench")),
           "SIM": os.path.abspath(os.path.join(args.build, "tests/sim"))}
    argv = [os.path.join(ROOT, ".cache/test/bin/python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}",
            "-m", marks, *more, *shlex.split(args.tests), *shlex.split(args.pytest)]
    code, _ = run(argv, PYTEST_TIMEOUT_S, env, capture=False)
    count = count_report(report)
    if count is None or code not in (0, PYTEST_NO_TESTS) and count.failed == 0:  # a timeout, a crash, an error outside tests
        print(f"pytest ended with code {code}", flush=True)
        return Count(failed=1)
    return count


def count_report(report):
    """What a JUnit report counts; None when there is none, which pytest writes last."""
    try:
        suites = xml.etree.ElementTree.parse(report).getroot().iter("testsuite")
    except (OSError, xml.etree.ElementTree.ParseError):
        return None
    count = Count()
    for suite in suites:
        tests, failures, errors, skipped = (int(suite.get(k, 0)) for k in ("tests", "failures", "errors", "skipped"))
        count.add(Count(tests - failures - errors - skipped, failures + errors, skipped))
    return count


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--bin", default="bin", help="folder of the programs that the integration tests run")
    a.add_argument("--build", default="build/release", help="folder for reports")
    a.add_argument("--tests", default="tests/integration", help="what pytest runs; nothing when empty")
    a.add_argument("--pytest", default="", help="more arguments for pytest")
    a.add_argument("programs", nargs="*", help="unit test programs")
    args = a.parse_args()
    started = time.monotonic()
    total = run_unit(args.programs, args.build)
    if args.programs:
        print(f"unit tests: {total}\n", flush=True)
    if args.tests:
        count = run_pytest(args)
        print(f"\nintegration tests: {count}")
        total.add(count)
    print(f"all in {time.monotonic() - started:.0f} s\n{total}", flush=True)
    sys.exit(0 if total.failed == 0 and total.passed > 0 else 1)


if __name__ == "__main__":
    main()
