"""/metrics of the daemon, read by Debian's Prometheus, and its alert rules."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.benchserver import ROOT
from tests.support.daemon import Daemon, free_port
from tests.support.fakes import job
from tests.support.instance import NO_MAIL, Instance, flag_job
from tests.support.waits import until
from tests.unit.report.test_metrics import RULES, samples_of

pytestmark = pytest.mark.integration

TOKEN = "0123456789abcdef!x"
#: The labels that Prometheus gives itself.
OF_PROMETHEUS = {"__name__", "job", "instance"}


class Prometheus:
    """A Prometheus, asked over its API."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, path, **query):
        asked = f"{self._base}/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)["data"]

    def numbers(self, query):
        """Return the samples of a query, by name and labels; none if it is not up."""
        try:
            found = self.ask("query", query=query)["result"]
        except OSError:
            return {}
        return {
            (one["metric"].get("__name__", ""), *sorted(one["metric"].items())): float(
                one["value"][1]
            )
            for one in found
        }

    def alerts(self):
        """Return what fires: the name of each alert, and of the job it is about."""
        return {
            (one["labels"]["alertname"], one["labels"].get("name", ""))
            for one in self.ask("alerts")["alerts"]
            if one["state"] == "firing"
        }


@contextmanager
def prometheus(folder, text):
    """Run one with these settings until the end."""
    config, port = folder / "prometheus.yml", free_port()
    config.write_text(text)
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (
        open(folder / "prometheus.log", "wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            yield Prometheus(port)
        finally:
            process.kill()


def checked(text):
    said = subprocess.run(
        ["promtool", "check", "metrics"], input=text, text=True, capture_output=True
    )
    assert (said.returncode, said.stderr) == (0, "")
    return text


def documented(port, folder):
    """Return the settings that docs/operations.md has, with our port and files."""
    text = (ROOT / "docs" / "operations.md").read_text()
    found = re.search(r"(?s)    scrape_configs:\n.*?\n\n", text)[0]
    lines = "\n".join(line[4:] for line in found.splitlines())
    lines = lines.replace("127.0.0.1:5001", f"127.0.0.1:{port}")
    lines = lines.replace("/etc/prometheus/checker.token", str(folder / "token"))
    rules = [str(ROOT / "contrib" / name) for name in RULES]
    return (
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: {json.dumps(rules)}\n{lines}\n"
    )


def test_prometheus_reads_every_series_and_its_rules_fire(tmp_path):
    instance, port = Instance(tmp_path, NO_MAIL), free_port()
    instance.job("Bad", flag_job(tmp_path / "flag").replace("Flag", "Bad"))
    instance.job("Fine", job("Fine"))
    token = tmp_path / "token"
    # As openssl writes it, with a line feed.
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    instance.add(
        f"[page]\nlisten = 127.0.0.1:{port}\ntoken_file = {token}\n"
        "[disk root]\npath = /\nevery = minute\n"
    )
    instance.cron()
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon(instance))
        assert "shows the page" in daemon.process.stdout.readline()
        one = stack.enter_context(prometheus(tmp_path, documented(port, tmp_path)))
        until(lambda: one.numbers("up == 1"), 30)

        request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics")
        request.add_header("Authorization", f"Bearer {TOKEN}")
        with urllib.request.urlopen(request) as answer:
            expected = samples_of(checked(answer.read().decode()))
        found = {
            (name, *(pair for pair in labels if pair[0] not in OF_PROMETHEUS)): number
            for (name, *labels), number in one.numbers(
                '{__name__=~"checker_.*"}'
            ).items()
        }
        assert found == expected
        assert any(("name", "Bad") in key for key in found)
        (target,) = one.ask("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        assert target["labels"]["job"] == "checker"

        until(lambda: ("CheckerJobCritical", "Bad") in one.alerts(), 30)
        assert one.alerts() == {("CheckerJobCritical", "Bad")}
        # As if that run had been six minutes ago.
        old = (datetime.now(UTC) - timedelta(minutes=6)).isoformat()
        instance.mend(lambda run: run.update(ended_at=old), "run.json")
        until(lambda: ("CheckerRunsNotAtAll", "") in one.alerts(), 30)
        (tmp_path / "flag").touch()
        instance.cron()
        until(lambda: not one.alerts(), 30)
        for group in one.ask("rules")["groups"]:
            assert {rule["health"] for rule in group["rules"]} == {"ok"}


def test_prometheus_with_a_wrong_token_is_told_so(tmp_path):
    instance, port = Instance(tmp_path, NO_MAIL), free_port()
    instance.add(f"[page]\nlisten = 127.0.0.1:{port}\ntoken = {TOKEN}\n")
    (tmp_path / "token").write_text("another one than that")
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon(instance))
        assert "shows the page" in daemon.process.stdout.readline()
        one = stack.enter_context(prometheus(tmp_path, documented(port, tmp_path)))
        until(lambda: one.numbers("up == 0"), 30)
        (target,) = one.ask("targets")["activeTargets"]
        assert "401" in target["lastError"]
        assert one.numbers('{__name__=~"checker_.*"}') == {}


#: Of each rule what makes it fire at 20 minutes of the epoch, and what does not.
FIRES = {
    "CheckerRunsNotAtAll": (
        'checker_last_run_timestamp_seconds{server="a"}',
        500,
        1000,
    ),
    "CheckerUnhealthy": ('checker_healthy{server="a",word="MailProblem"}', 0, 1),
    "CheckerMailNotProven": (
        'checker_mail_proof_timestamp_seconds{server="a"}',
        -10_000,
        -9_000,
    ),
    "CheckerMessagesStuck": ('checker_stuck_messages{server="a"}', 3, 0),
    "CheckerChannelFails": (
        'checker_notifications_total{server="a",channel="mail",result="failed"}',
        "0+1x20",
        "0+0x20",
    ),
    "CheckerSkipsRuns": ('checker_skipped_runs_total{server="a"}', "0+1x20", "5+0x20"),
    "CheckerJobCritical": ('checker_job_severity{server="a",name="b",kind="c"}', 2, 1),
    "CheckerJobWarning": ('checker_job_severity{server="a",name="b",kind="c"}', 1, 2),
}


def case(series, alert, fires):
    """Return a test of promtool: whether an alert fires after 20 minutes."""
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    return {
        "name": alert,
        "interval": "1m",
        "input_series": [
            {"series": one, "values": said if isinstance(said, str) else f"{said}x30"}
            for one, said in series
        ],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": "20m",
                "exp_samples": [{"labels": "{}", "value": 1}] * fires,
            }
        ],
    }


def test_each_rule_fires_when_it_should_and_not_otherwise(tmp_path):
    names = re.findall(
        r"alert: (\w+)",
        "".join((ROOT / "contrib" / name).read_text() for name in RULES),
    )
    assert {*FIRES, "CheckerMetricsGone"} == set(names)
    cases = [case([], "CheckerMetricsGone", True)]
    for alert, (series, bad, good) in FIRES.items():
        cases.append(case([(series, bad)], alert, True))
        cases.append(case([(series, good)], alert, False))
    severity = FIRES["CheckerJobCritical"][0]
    held = 'checker_job_held{server="a",name="b",kind="c",reason="muted"}'
    cases.append(case([(severity, 2), (held, 1)], "CheckerJobCritical", False))
    # What is wrong changes, and nothing is well meanwhile.
    words = [
        ('checker_healthy{server="a",word="JobProblem"}', "0x9 stale _x9 0x30"),
        ('checker_healthy{server="a",word="MailProblem"}', "_x10 0x9 stale _x30"),
    ]
    cases.append(case(words, "CheckerUnhealthy", True))
    path = tmp_path / "tests.yml"
    rules = [str(ROOT / "contrib" / name) for name in RULES]
    path.write_text(json.dumps({"rule_files": rules, "tests": cases}))
    said = subprocess.run(
        ["promtool", "test", "rules", str(path)], text=True, capture_output=True
    )
    assert said.returncode == 0, said.stdout + said.stderr
