"""What `make install` puts under a prefix, and whether it works from there."""

import os
import re
import shlex
import subprocess

import pytest

from stack import BIN, ROOT, SLOW

PREFIX = "/opt/cocoon"
PROGRAMS = {"cocoon-client", "cocoon-gateway", "cocoon-ledger", "cocoon-worker", "cocoonctl"}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("image"))
    # -o all: what is tested is what was built, and others run it meanwhile.
    done = subprocess.run(["make", "-o", "all", "install", f"BIN={BIN}", f"DESTDIR={folder}", f"PREFIX={PREFIX}"], cwd=ROOT, capture_output=True,
                          text=True, timeout=60 * SLOW)
    assert done.returncode == 0, done.stderr
    return folder


def under(image, *names):
    return os.path.join(image + PREFIX, *names)


def test_programs_are_there_and_nothing_that_issues_evidence(image):
    assert set(os.listdir(under(image, "bin"))) == PROGRAMS
    for program in PROGRAMS:
        done = subprocess.run([under(image, "bin", program), "--version"], capture_output=True, text=True, timeout=20 * SLOW)
        assert done.returncode == 0 and done.stdout, done.stderr


def test_units_start_what_was_installed(image):
    units = under(image, "lib/systemd/system")
    started = set()
    for name in os.listdir(units):
        with open(os.path.join(units, name)) as f:
            started.update(re.findall(r"^Exec\w+=(/\S*cocoon\S*)", f.read(), re.M))
    assert started == {f"{PREFIX}/bin/{p}" for p in PROGRAMS}


@pytest.mark.skipif(os.path.basename(os.path.dirname(BIN)) in ("asan", "tsan", "cover"),
                    reason="the library needs the sanitizer it was built with")
def test_the_example_is_built_with_the_installed_library_as_it_says(image, tmp_path):
    example = os.path.join(ROOT, "docs/examples/chat.c")
    with open(example) as f:
        (command,) = re.findall(r"^ \*   (cc .*)$", f.read(), re.M)
    paths = [f"-I{under(image, 'include')}", f"-L{under(image, 'lib')}"]
    argv = [arg.replace("docs/examples/chat.c", example) for arg in shlex.split(command)]
    done = subprocess.run([*argv, *paths, "-std=c11", "-Wall", "-Wextra", "-Werror"], cwd=tmp_path, capture_output=True, text=True, timeout=60 * SLOW)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([tmp_path / "chat"], capture_output=True, text=True, timeout=20 * SLOW)
    assert done.returncode == 2 and "usage" in done.stderr, done.stderr


def test_the_header_is_one_for_cpp_too(image, tmp_path):
    source = tmp_path / "a.cc"
    source.write_text("#include <cocoon.h>\nint main() { cocoon_close(nullptr); }\n")
    done = subprocess.run(["c++", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{under(image, 'include')}", str(source)], capture_output=True,
                          text=True, timeout=60 * SLOW)
    assert done.returncode == 0, done.stderr
