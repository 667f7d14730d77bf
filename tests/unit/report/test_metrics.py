"""What Prometheus reads: names, units, labels, and what a label may hold."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.core.enums import Decision, Status
from lib.core.jobs import CatalogEntry, JobKey
from lib.core.records import Record, RunRecord
from lib.core.results import Unit, Value
from lib.report.metrics import METRICS, Facts, Sent, exposition, read_sent
from lib.storage.history import Row
from tests.support.benchserver import ROOT
from tests.support.daemon import free_port
from tests.support.fakes import job
from tests.support.instance import Instance
from tests.support.mailing import settings_for
from tests.support.waits import until

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SHOP = JobKey("HTTPServerChecker", "http shop")
HOSTILE = JobKey("Own", 'a "quoted" \\ name\nof two lines')


def entry(name, file="Own", **more):
    path = f"/opt/checker/jobs/{file}.py"
    return CatalogEntry(name, path, "minute", judged=True, **more)


def facts_of(tmp_path, **more):
    given = {
        "run": RunRecord(
            began_at=NOON - timedelta(seconds=1.5), ended_at=NOON, skipped=3, queued=2
        ),
        "catalog": {SHOP: entry("http shop", SHOP.file)},
        "records": {},
        "values": {},
        "sent": {"mail": Sent(5, 4, 1)},
    }
    return Facts(settings_for(tmp_path), "0.1.0", now=NOON, **{**given, **more})


_LINE = re.compile(r'(\w+)\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\} (\S+)')
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def samples_of(text):
    samples = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, number = _LINE.fullmatch(line).groups()
            samples[(name, *sorted(_LABEL.findall(labels)))] = float(number)
    return samples


def labels_of(samples, name="checker_job_status"):
    return [dict(labels) for one, *labels in samples if one == name]


def found(facts, name, /, **labels):
    """Return the only sample of that name with these labels, beside that of ours."""
    (value,) = (
        value
        for (sample, *found), value in samples_of(exposition(facts)).items()
        if sample == name and labels.items() <= dict(found).items()
    )
    return value


def test_when_and_for_how_long_a_job_was_checked_is_said(tmp_path):
    at = NOON.timestamp() - 30
    last = Row(at, Status.OK, "", 0.25, {}, "", "", 150.0)
    facts = facts_of(tmp_path, latest={SHOP: last})
    name = "checker_job_last_check_timestamp_seconds"
    assert found(facts, name, name="http shop") == at
    assert found(facts, "checker_job_duration_seconds", name="http shop") == 0.25
    # Of a job without a result nothing is known.
    assert "checker_job_duration" not in exposition(facts_of(tmp_path))


def test_what_is_said_of_ourselves(tmp_path):
    facts = facts_of(tmp_path)
    assert found(facts, "checker_last_run_timestamp_seconds") == NOON.timestamp()
    assert found(facts, "checker_last_run_duration_seconds") == 1.5
    assert found(facts, "checker_skipped_runs_total") == 3
    assert found(facts, "checker_queued_messages") == 2
    name = "checker_notifications_total"
    assert found(facts, name, channel="mail", result="sent") == 5
    assert found(facts, name, channel="mail", result="logged") == 4
    assert found(facts, name, channel="mail", result="failed") == 1
    assert found(facts, "checker_healthy", word="True") == 1
    silent = facts_of(tmp_path, run=RunRecord())
    assert found(silent, "checker_healthy", word="JobProblem") == 0
    assert "checker_last_run_timestamp_seconds" not in exposition(silent)


@pytest.mark.parametrize(
    ("status", "number", "severity"),
    [
        (Status.OK, 0, 0),
        (Status.WARNING, 1, 1),
        (Status.FAILING, 2, 2),
        (Status.UNKNOWN, 3, 2),
        (Status.PENDING, 4, 0),
    ],
)
def test_the_status_of_a_job_is_a_number(tmp_path, status, number, severity):
    record = Record(SHOP, "http shop", status)
    if status is Status.PENDING:
        # It has the status of before.
        record = Record(SHOP, "http shop", pending_since=datetime.now(UTC))
    facts = facts_of(tmp_path, records={SHOP: record})
    assert found(facts, "checker_job_status", name="http shop", kind="http") == number
    assert found(facts, "checker_job_severity", name="http shop") == severity
    assert found(facts, "checker_jobs", status=status.value) == 1


def test_one_without_record_is_ok_and_one_that_never_ran_is_not_there(tmp_path):
    assert found(facts_of(tmp_path), "checker_job_status", name="http shop") == 0
    new = {SHOP: CatalogEntry("http shop", SHOP.file, "day")}
    off = {SHOP: entry("http shop", SHOP.file, enabled=False)}
    for catalog in (new, off):
        text = exposition(facts_of(tmp_path, catalog=catalog))
        assert "checker_job_status" not in text
    assert found(facts_of(tmp_path, catalog=new), "checker_jobs", status="not_run_yet")
    assert found(facts_of(tmp_path, catalog=off), "checker_jobs", status="disabled")


def test_why_alerts_are_held_back(tmp_path):
    record = Record(SHOP, "http shop", Status.FAILING, held=Decision.MUTED)
    facts = facts_of(tmp_path, records={SHOP: record})
    assert found(facts, "checker_job_held", name="http shop", reason="muted") == 1


@pytest.mark.parametrize(
    ("value", "name", "number"),
    [
        (Value(0.25, Unit.SECONDS), "checker_job_value_seconds", 0.25),
        (Value(1e9, Unit.BYTES), "checker_job_value_bytes", 1e9),
        (Value(12.5, Unit.PERCENT), "checker_job_value_ratio", 0.125),
        (Value(-3, Unit.COUNT), "checker_job_value", -3),
        (Value(0.5, Unit.PER_SECOND), "checker_job_value_per_second", 0.5),
    ],
)
def test_a_value_has_its_base_unit(tmp_path, value, name, number):
    facts = facts_of(tmp_path, values={SHOP: {"time": value}})
    assert found(facts, name, name="http shop", value="time") == number


def test_a_hostile_name_is_one_label(tmp_path):
    facts = facts_of(tmp_path, catalog={HOSTILE: entry(HOSTILE.identity)})
    assert found(facts, "checker_job_status", kind="Own") == 0
    assert r'name="a \"quoted\" \\ name' in exposition(facts)


def test_no_series_is_there_twice(tmp_path):
    one, other = JobKey("One", "same"), JobKey("Other", "same")
    facts = facts_of(
        tmp_path,
        catalog={one: entry("same", "One"), other: entry("same", "Other")},
        values={one: {"a": Value(1)}, other: {"a": Value(2)}},
    )
    text = exposition(facts)
    series = [line.rpartition(" ")[0] for line in text.splitlines() if line[0] != "#"]
    assert len(series) == len(set(series))
    assert found(facts, "checker_job_value", name="One/same") == 1
    assert found(facts, "checker_job_value", name="Other/same") == 2


def test_a_run_writes_the_file_for_everybody_to_read(tmp_path):
    instance = Instance(tmp_path)
    path = tmp_path / "checker.prom"
    instance.add(f"[metrics]\nwrite = {path}\n[disk root]\npath = /\nevery = minute\n")
    instance.job("Mine", job("Mine"))
    assert instance.cron().silent
    assert path.stat().st_mode & 0o777 == 0o644
    samples = samples_of(path.read_text())
    names = {name for name, *_labels in samples}
    assert {"checker_job_status", "checker_job_value_ratio"} <= names
    assert names <= METRICS.keys()
    kinds = {labels["name"]: labels["kind"] for labels in labels_of(samples)}
    assert kinds == {"disk root": "disk", "Mine": "Mine"}
    assert not list(tmp_path.glob(".*"))


def test_a_mail_that_was_only_logged_counts_as_logged(tmp_path):
    instance = Instance(tmp_path)
    path = tmp_path / "checker.prom"
    instance.add(f"[metrics]\nwrite = {path}\n[file a]\npath = {tmp_path}/missing\n")
    assert instance.cron().silent
    counted = {
        dict(labels)["result"]: number
        for (name, *labels), number in samples_of(path.read_text()).items()
        if name == "checker_notifications_total"
    }
    assert counted == {"sent": 0, "logged": 1, "failed": 0}


def test_a_counter_that_cannot_be_read_is_not_said_to_be_0(tmp_path):
    settings = replace(settings_for(25), state=tmp_path)
    assert read_sent(settings) == {"mail": Sent(0, 0, 0)}
    (settings.state / "outbox.json").write_text("{")
    assert read_sent(settings) == {}


def test_no_label_is_one_that_prometheus_gives_itself():
    # Else it is there as exported_job, and job is that of the scrape.
    labels = {label for metric in METRICS.values() for label in metric.labels}
    assert not labels & {"job", "instance"}


# contrib/ refers to what there is.

RULES = ("checker.rules.yml", "checker-jobs.rules.yml")


@pytest.mark.parametrize("name", [*RULES, "checker-dashboard.json"])
def test_what_contrib_refers_to_exists(name):
    text = (ROOT / "contrib" / name).read_text()
    used = set(re.findall(r"\bchecker_[a-z_]+", text))
    assert used
    assert used <= METRICS.keys()
    if name.endswith(".json"):
        assert json.loads(text)["panels"]
    for expression in re.findall(r"checker_[a-z_]+\{([^}]*)\}", text):
        for label in re.findall(r"(\w+)\s*[=!]", expression):
            known = {label for metric in METRICS.values() for label in metric.labels}
            assert label in {"server", *known}


def test_the_documents_have_every_metric():
    text = (ROOT / "docs" / "operations.md").read_text()
    for name, metric in METRICS.items():
        assert f"| `{name}` | {metric.help[0].lower()}{metric.help[1:]}" in text


# Prometheus itself.


@pytest.mark.integration
def test_promtool_has_nothing_to_say(tmp_path):
    facts = facts_of(
        tmp_path,
        catalog={SHOP: entry("http shop", SHOP.file), HOSTILE: entry(HOSTILE.identity)},
        records={SHOP: Record(SHOP, "", Status.FAILING, failing_since=NOON)},
        values={HOSTILE: {unit.name: Value(1.5, unit) for unit in Unit}},
    )
    for command, text in (
        (["check", "metrics"], exposition(facts)),
        *((["check", "rules", str(ROOT / "contrib" / name)], "") for name in RULES),
    ):
        said = subprocess.run(
            ["promtool", *command], input=text, text=True, capture_output=True
        )
        assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.integration
def test_node_exporter_and_prometheus_read_it(tmp_path):
    folder = tmp_path / "textfiles"
    folder.mkdir()
    instances = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        instance = Instance(tmp_path / name)
        text = instance.settings.read_text()
        instance.write(re.sub("(?m)^servername = .*", f"servername = {name}", text))
        instance.add(
            f"[metrics]\nwrite = {folder}/{name}.prom\n"
            "[disk root]\npath = /\nevery = minute\n"
        )
        assert instance.cron().silent
        instances.append(instance)
    exporter, scraper = free_port(), free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n- job_name: node\n  static_configs:\n"
        f"  - targets: ['127.0.0.1:{exporter}']\n"
    )
    commands = [
        [
            "prometheus-node-exporter",
            f"--web.listen-address=127.0.0.1:{exporter}",
            "--collector.disable-defaults",
            "--collector.textfile",
            f"--collector.textfile.directory={folder}",
        ],
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{scraper}",
        ],
    ]
    with ExitStack() as stack:
        for command in commands:
            process = stack.enter_context(
                subprocess.Popen(
                    command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
            stack.callback(process.kill)
        asked = f"http://127.0.0.1:{scraper}/api/v1/query?query="

        def numbers(query):
            try:
                with urllib.request.urlopen(asked + query, timeout=5) as answer:
                    content = json.load(answer)
            except OSError:
                return {}
            return {
                one["metric"].get("server", ""): float(one["value"][1])
                for one in content["data"]["result"]
            }

        until(lambda: numbers("checker_job_status").keys() == {"one", "other"}, 30)
        assert numbers("checker_job_status") == {"one": 0, "other": 0}
        assert numbers("checker_job_duration_seconds").keys() == {"one", "other"}
        assert numbers("node_textfile_scrape_error") == {"": 0}
        ratio, _other = numbers("checker_job_value_ratio").values()
        assert 0 < ratio <= 1
