"""The pages in their folder: when they are written, and what is left alone."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from msgspec.structs import replace

from lib.core.settings import Page
from lib.runner import page
from lib.storage.store import State
from tests.support.fakes import job
from tests.support.instance import Instance
from tests.support.snapshots import NOON, entry
from tests.unit.report.test_reader import KEY, OTHER, written


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
