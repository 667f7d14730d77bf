"""The pages in their folder: when they are written, and what is left alone."""

from __future__ import annotations

import json
import os
import re
from datetime import timedelta

import pytest
from msgspec.structs import replace

from lib.core.settings import Page
from lib.runner import page
from lib.storage.store import TEMPLATES, State
from tests.support.fakes import job
from tests.support.instance import Instance
from tests.support.snapshots import NOON, entry
from tests.support.waits import SOON_S
from tests.unit.report.test_reader import KEY, OTHER, written
from tests.unit.storage.test_history import in_format_2


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Have time for all pages, also where the templates take long to begin."""
    monkeypatch.setattr(page, "SLICE_S", SOON_S)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "page"
    made.mkdir()
    return made


@pytest.fixture
def given(tmp_path, folder):
    (tmp_path / "state").mkdir()
    return replace(written(tmp_path / "state"), page=Page(write=str(folder)))


def names(folder):
    return sorted(os.listdir(folder))


def test_the_pages_are_written_whole_and_for_others_to_read(given, folder):
    page.write(given, NOON, 30.0)
    assert len(names(folder)) == 3
    assert {one.stat().st_mode & 0o777 for one in folder.iterdir()} == {0o644}
    front = (folder / "index.html").read_text()
    for name in names(folder)[1:]:
        assert name in front
        assert (folder / name).read_text().rstrip().endswith("</html>")
    assert "<svg class=g" in front


def test_the_page_of_a_job_that_is_gone_goes_and_files_of_others_stay(given, folder):
    page.write(given, NOON, 30.0)
    foreign = ["notes.txt", "job-mine-0123456789.html", ".index.html.01234567.tmp"]
    for name in foreign:
        (folder / name).write_text("<html>mine</html>")
    left = folder / ".job-a-0123456789.html.0a1b2c3d.tmp"
    left.write_text((folder / "index.html").read_text())
    State(given.state).save_catalog({KEY: entry(KEY)})
    page.write(given, NOON + timedelta(minutes=5), 30.0)
    assert page.link_of(OTHER) not in names(folder)
    assert set(foreign) < set(names(folder)) and left.name not in names(folder)
    assert len(names(folder)) == 2 + len(foreign)


def test_a_front_page_of_others_is_left_alone_with_one_error(given, folder, caplog):
    (folder / "index.html").write_text("<html>mine</html>")
    page.write(given, NOON, 30.0)
    assert names(folder) == ["index.html"]
    assert (folder / "index.html").read_text() == "<html>mine</html>"
    (said,) = caplog.messages
    assert said.startswith("[page] write: ") and "is no page of Checker's" in said


def test_a_front_page_of_others_is_told_by_validate_and_is_no_state_of_before(tmp_path):
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_text("<html>It works!</html>")
    os.utime(tmp_path / "www" / "index.html", (0, 0))
    instance = Instance(tmp_path)
    instance.add(f"[page]\nwrite = {tmp_path}/www\n")
    ran = instance.cron()
    assert "is no page of Checker's" in ran.err and "anew" not in ran.err
    ran = instance.run("-m", "validate")
    assert ran.code == 1
    assert f"write: {tmp_path}/www/index.html is no page of Checker's" in ran.out


def test_the_public_page_has_a_folder_of_its_own(given, folder, tmp_path, caplog):
    public = tmp_path / "public"
    public.mkdir()
    page_ = replace(given.page, public=("group-0",), public_write=str(public))
    for write in (str(folder), ""):
        page.write(replace(given, page=replace(page_, write=write)), NOON, 30.0)
        assert names(public) == ["index.html"]
        text = (public / "index.html").read_text()
        assert "1 of 2 jobs is not OK" in text and "full" not in text
        (public / "index.html").unlink()
    (public / "index.html").write_text("<html>mine</html>")
    page.write(replace(given, page=page_), NOON, 30.0)
    (said,) = caplog.messages
    assert said.startswith("[page] public_write: ")


def test_a_folder_that_is_gone_is_one_error(given, folder, caplog):
    folder.rmdir()
    page.write(given, NOON, 30.0)
    (said,) = caplog.messages
    assert said.startswith("[page] write: ")


def test_without_time_the_front_page_is_written_and_jobs_follow(given, folder):
    page.write(given, NOON, 0.0)
    assert names(folder) == ["index.html"]
    page.write(given, NOON + timedelta(minutes=5), 30.0)
    assert len(names(folder)) == 3


def test_graphs_are_kept_for_the_next_page(given, folder):
    page.write(given, NOON, 30.0)
    page.write(given, NOON + timedelta(minutes=5), 0.0)
    assert "<svg class=g" in (folder / "index.html").read_text()
    (given.state / page.GRAPHS).write_text("{")
    page.write(given, NOON + timedelta(minutes=5), 0.0)
    assert "<svg class=g" not in (folder / "index.html").read_text()


def test_a_run_writes_the_page_when_it_is_due(tmp_path):
    folder = tmp_path / "www"
    folder.mkdir()
    instance = Instance(tmp_path)
    instance.job("Fine", job("Fine"))
    instance.add(f"[page]\nwrite = {folder}\n")
    front = folder / "index.html"
    assert instance.cron().code == 0
    assert "Fine" in front.read_text()
    front.write_text(front.read_text().replace("Fine", "Old"))
    instance.cron()
    assert "Fine" not in front.read_text()
    instance.clock_ahead = timedelta(minutes=5)
    instance.cron()
    assert "Fine" in front.read_text()


@pytest.fixture
def templates(tmp_path, given):
    """Return the settings with templates of somebody's own, and their folder."""
    made = tmp_path / "templates"
    made.mkdir()
    yield replace(given, page=replace(given.page, templates=str(made))), made


def noted(settings):
    return json.loads((settings.state / TEMPLATES).read_bytes())


def test_pages_of_their_templates_are_ours_to_replace(templates, folder):
    changed, made = templates
    (made / "base.html").write_text("<!doctype html>\n<h1>Mine</h1>")
    for minute in (0, 5):
        page.write(changed, NOON + timedelta(minutes=minute), 30.0)
        assert len(names(folder)) == 3 and noted(changed) == []
        assert {"Mine" in one.read_text() for one in folder.iterdir()} == {True}
    # Those of before are still ours.
    page.write(replace(changed, page=Page(write=str(folder))), NOON, 30.0)
    assert {"Mine" in one.read_text() for one in folder.iterdir()} == {False}
    assert not (changed.state / TEMPLATES).exists()


def test_what_is_wrong_with_a_template_is_noted_for_the_next_run(
    templates, folder, caplog
):
    changed, made = templates
    (made / "job.html").write_text("{{ foo }}")
    page.write(changed, NOON, 30.0)
    # One line, though there are two jobs.
    (said,) = caplog.messages
    assert said == f"[page] templates: {noted(changed)[0]}"
    assert len(names(folder)) == 3 and "foo" in said
    assert page.trouble_with_templates(changed, NOON) == noted(changed)
    (made / "job.html").unlink()
    page.write(changed, NOON, 30.0)
    assert noted(changed) == []


@pytest.mark.long
def test_templates_are_tried_where_only_the_daemon_shows_the_page(templates, folder):
    changed, made = templates
    only_shown = Page(templates=str(made), public=("group-0",))
    for name in ("page.html", "job.html", "public.html"):
        (made / name).write_text(f"{{{{ {name[0]}oo }}}}")
    page.write(replace(changed, page=only_shown), NOON, 30.0)
    assert names(folder) == []
    assert sorted(line.split("'")[1] for line in noted(changed)) == [
        "joo",
        "poo",
        "poo",
    ]


@pytest.mark.long
def test_a_broken_template_is_a_failing_item_of_the_next_run_and_no_more(tmp_path):
    (tmp_path / "www").mkdir()
    (tmp_path / "mine").mkdir()
    template = tmp_path / "mine" / "page.html"
    template.write_text("{% if %}")
    instance = Instance(tmp_path)
    instance.add(f"[page]\nwrite = {tmp_path}/www\ntemplates = {tmp_path}/mine\n")
    first = instance.cron()
    assert first.code == 0 and f"{template}, line 1: " in first.err
    assert "<!doctype html>" in (tmp_path / "www" / "index.html").read_text()
    instance.cron()
    (row,) = instance.run("-m", "status", "--json").json()["down"]
    assert row["reason"].startswith("settings.cfg:")
    assert f"[page] templates: {template}, line 1: Expected" in row["reason"]
    assert f"{template}, line 1" in instance.run("-m", "validate").out
    template.unlink()
    (tmp_path / "www" / "index.html").unlink()
    instance.cron()
    instance.cron()
    assert instance.run("-m", "status", "--json").json()["down"] == []


def test_a_page_of_a_job_that_is_not_ours_is_left_alone(given, folder, caplog):
    foreign = folder / page.link_of(KEY)
    foreign.write_text("<html>mine</html>")
    page.write(given, NOON, 30.0)
    assert foreign.read_text() == "<html>mine</html>"
    assert len(names(folder)) == 3
    (said,) = caplog.messages
    assert "is no page of Checker's" in said


@pytest.mark.fault("C14", "history written by a newer version, and the page")
def test_with_history_of_a_newer_checker_there_is_a_page(given, folder, caplog):
    summary = given.state / "history" / "now.bin"
    newer = in_format_2(summary.read_bytes())
    summary.write_bytes(newer)
    page.write(given, NOON, 30.0)
    assert len(names(folder)) == 3 and summary.read_bytes() == newer
    assert {"newer Checker" in line for line in caplog.messages} == {True}


def test_a_folder_that_cannot_be_written_is_one_line_and_the_run_goes_on(tmp_path):
    instance = Instance(tmp_path)
    instance.job("Fine", job("Fine"))
    (tmp_path / "file").write_text("mine")
    instance.add(f"[page]\nwrite = {tmp_path}/file\n")
    ran = instance.cron()
    assert ran.code == 0 and ran.err.count("[page] write: ") == 1
    assert (tmp_path / "file").read_text() == "mine"
    (row,) = instance.run("-m", "status", "--json").json()["down"]
    assert "file is no folder; there is no page" in row["reason"]


def gone(state):
    state.rename(f"{state}.away")


def no_folder(state):
    gone(state)
    state.write_text("")


def no_records(state):
    (state / "jobs").rename(state / "jobs.away")
    (state / "jobs").write_text("")


@pytest.fixture
def shown(tmp_path):
    """Return an instance that has run, and the content of its files for people."""
    (tmp_path / "www").mkdir()
    instance = Instance(tmp_path)
    instance.job("Down", job("Down", "return False"))
    instance.add(f"[page]\nwrite = {tmp_path}/www\n")
    instance.add(f"[metrics]\nwrite = {tmp_path}/checker.prom\n")
    assert instance.cron().code == 0
    return instance


def for_people(instance):
    folder = instance.folder
    paths = (*(folder / "www").iterdir(), folder / "checker.prom")
    return {path.name: path.read_bytes() for path in paths}


@pytest.mark.parametrize("spoil", [gone, no_folder, no_records])
def test_page_and_metrics_stay_as_they_are_where_state_cannot_be_read(shown, spoil):
    before = for_people(shown)
    assert len(before) == 4
    spoil(shown.state)
    shown.clock_ahead = timedelta(minutes=5)
    ran = shown.cron()
    assert ran.code == 1 and for_people(shown) == before
    (line,) = [line for line in ran.err.splitlines() if "stay as they are" in line]
    assert "[page] write (" in line and "[metrics] write (" in line


def test_state_that_is_empty_where_there_was_some_is_one_line(shown):
    gone(shown.state)
    shown.state.mkdir(mode=0o700)
    ran = shown.cron()
    assert ran.code == 0 and ran.err.count("\n") == 1
    assert "is empty, though" in ran.err and "is its disk mounted?" in ran.err
    assert shown.cron().silent


def test_state_that_goes_while_a_run_is_at_work_costs_no_page(given, folder, caplog):
    page.write(given, NOON, 30.0)
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    gone(given.state)
    page.write(given, NOON + timedelta(minutes=5), 30.0)
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before
    (said,) = caplog.messages
    assert said.startswith("[page] write: the folder ") and "is missing: " in said


def numbers_of_jobs(instance):
    """Return how many jobs there are by each that counts them."""
    front = (instance.folder / "www" / "index.html").read_text()
    metrics = (instance.folder / "checker.prom").read_text()
    said = re.search(r" of (\d+) jobs? (?:is|are|can)", front)
    assert said is not None
    return {
        "status": instance.run("-m", "status", "--json").json()["jobs"]["total"],
        "report": len(instance.run("-m", "report", "--json").json()["jobs"]),
        "page": int(said[1]),
        "metrics": sum(map(int, re.findall(r"checker_jobs\{.*\} (\d+)", metrics))),
    }


def test_each_that_counts_jobs_has_the_same_number(shown):
    # Down, and EmailChecker, which has not run yet.
    assert set(numbers_of_jobs(shown).values()) == {2}
    whole = shown.settings.read_text()
    off = "[disk off]\npath = /\nenabled = no\n"
    shown.write(f"{whole}{off}[disk wrong]\npath = x\n[history]\nresults = 1m\n")
    shown.clock_ahead = timedelta(minutes=5)
    shown.cron()
    # What is wrong with the settings is to be mended, and counts as long.
    assert set(numbers_of_jobs(shown).values()) == {5}
    shown.write(whole + off)
    for minutes in (10, 11, 16):
        shown.clock_ahead = timedelta(minutes=minutes)
        shown.cron()
    numbers = numbers_of_jobs(shown)
    # A job that was removed was one in this month.
    assert numbers.pop("report") == 4 and set(numbers.values()) == {3}
