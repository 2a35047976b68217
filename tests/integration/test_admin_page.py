"""docs/admin.md against the running programs."""

import os
import re

from stack import ROOT, chat

with open(os.path.join(ROOT, "docs/admin.md"), encoding="utf-8") as f:
    PAGE = f.read()


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)[1]


def names(metrics):
    return {re.sub(r"_(bucket|sum|count)$", "", name.split("{")[0]) for name in metrics}


def described(title):
    return set(re.findall(r"`(cocoon_\w+)", section(title)))


def test_every_metric_of_the_gateway_is_described(chain, raw):
    raw.ask("GET", "/v1/models")  # no status is counted before the first answer
    assert names(chain.gateways[0].metrics) == described("The gateway's metrics")


def test_every_metric_of_the_worker_is_described(chain):
    assert names(chain.workers[0].metrics) == described("The worker's metrics")


def test_every_member_of_the_status_is_described(chain):
    for program, title in ((chain.gateways[0], "Gateway"), (chain.workers[0], "Worker")):
        told = set(re.findall(r"`(\w+)`", section(title)))
        status = program.status
        assert set(status) <= told
        if title == "Gateway":
            assert set(status["workers"][0]) <= told


def test_every_member_of_the_access_line_is_described(chain, raw):
    call = raw.ask("POST", "/v1/chat/completions", chat("Hello")).header("cocoon-call")
    line = chain.gateways[0].wait_log(rf"call={call} .*")[0]
    assert set(re.findall(r"(\w+)=", line)) == set(re.findall(r"`(\w+)`(?=[^|]*\|)", access_table()))


def access_table():
    """The first column of the table in the section on logs."""
    return "\n".join(row.split("|")[1] + "|" for row in section("Logs").splitlines() if row.startswith("| `"))


def test_the_pages_are_there(chain):
    for path in ("/healthz", "/readyz", "/metrics", "/status", "/status.json"):
        assert chain.gateways[0].admin(path).status_code == 200
        assert chain.workers[0].admin(path).status_code == 200
    assert chain.gateways[0].admin("/other").status_code == 404
