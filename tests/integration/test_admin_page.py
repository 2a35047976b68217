"""docs/admin.md against the running programs."""

import json
import os
import re

from stack import ROOT, chat, wait_for

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


def test_every_metric_of_the_dashboard_exists(chain, raw):
    raw.ask("POST", "/v1/chat/completions", chat("Hello"))
    with open(os.path.join(ROOT, "docs/ops/grafana.json"), encoding="utf-8") as f:
        dashboard = json.load(f)
    expressions = [t["expr"] for p in dashboard["panels"] for t in p.get("targets", [])]
    used = {re.sub(r"_(bucket|sum|count)$", "", m) for e in expressions for m in re.findall(r"cocoon_\w+", e)}
    there = names(chain.gateways[0].metrics) | names(chain.workers[0].metrics)
    assert len(used) > 30 and used <= there, used - there
    labels = {label for m in list(chain.gateways[0].metrics) + list(chain.workers[0].metrics) for label in re.findall(r"(\w+)=\"", m)}
    grouped = {label.strip() for e in expressions for by in re.findall(r"by \(([^)]+)\)", e) for label in by.split(",")}
    assert grouped <= labels | {"le"} and labels <= {"status", "class", "model", "state", "outcome", "step", "how", "what", "why", "reason", "le"}, (grouped, labels)


def test_the_page_for_people_shows_the_pool_and_escapes_what_workers_say(stack):
    stack.engine(models=["<b>bold</b>&co"])
    gateway = stack.gateway()
    stack.worker()
    stack.wait_ready()
    wait_for(lambda: gateway.status["gateways"] == 1, "it knows of itself", 5)
    page = gateway.admin("/status").text
    assert "<b>" not in page and "&#60;b&#62;bold&#60;/b&#62;&#38;co" in page
    for words in ("Gateway gateway: ready", "<h2>Models</h2>", "<h2>Workers</h2>", "Redis<td>up", "Live gateways<td>1", "Bans<td>0", "insecure-dev"):
        assert words in page, words
    assert "<td>0.00<td>-<td>-<td>0<td>0" in page  # its pace is not known yet
    stack.wait_listed()
    stack.ctl("drain", "worker")
    wait_for(lambda: "drained by the operator" in gateway.admin("/status").text, "the drain is shown", 3)
    assert gateway.status["drains"] == 1 and gateway.status["models"][0]["ready"] == 0
    assert gateway.metrics["cocoon_drained_workers"] == 1
    stack.redis.stop()
    wait_for(lambda: "Redis<td>away" in gateway.admin("/status").text, "Redis' absence is shown", 5)
