"""[maintenance NAME]: windows as the settings have them, and odd ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lib.config.load import load_settings
from lib.config.maintenance import odd_windows
from lib.core.jobs import Job, JobKey

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BASE = Path(__file__).resolve().parents[3]
HEAD = (
    "[general]\nservername = web1\nalertcontact = ops@example.com\n"
    "timezone = Europe/Berlin\n[email]\nnomail = yes\n"
)
JOBS = [
    Job(JobKey("HTTPServerChecker", name), name, "h.py", "minute", tags=("web",))
    for name in ("http shop", "http blog", "http farm/a", "http farm/b")
]


@pytest.fixture
def load(tmp_path):
    def loaded(text):
        path = tmp_path / "settings.cfg"
        path.write_text(HEAD + text)
        path.chmod(0o600)
        return load_settings(path, base=BASE)

    return loaded


def section(start="0 2 * * *", length="2h", jobs="http *"):
    return f"[maintenance night]\njobs = {jobs}\nstart = {start}\nlength = {length}\n"


def odd(settings):
    return [str(problem) for problem in odd_windows(settings, JOBS, NOON)]


@pytest.mark.parametrize(
    ("start", "kept"),
    [
        ("0 2 * * SUN", "0 2 * * sun"),
        # Local times of the zone, with the offset of that day.
        ("2026-12-24 22:00", "2026-12-24T21:00:00+00:00"),
        ("2027-07-01 6:30", "2027-07-01T04:30:00+00:00"),
        ("2026-12-24T22:00", "2026-12-24T21:00:00+00:00"),
        ("2026-12-24 22:00 +00:00", "2026-12-24T22:00:00+00:00"),
        ("2026-12-24T22:00Z", "2026-12-24T22:00:00+00:00"),
        # An hour that summer time leaves out.
        ("2027-03-28 02:30", "2027-03-28T01:30:00+00:00"),
        # One that comes twice: the first.
        ("2027-10-31 02:30", "2027-10-31T00:30:00+00:00"),
    ],
)
def test_a_start_is_kept_as_cron_or_as_a_moment(load, start, kept):
    (window,) = load(section(start)).maintenance
    assert (window.name, window.start) == ("night", kept)
    assert window.length_s == timedelta(hours=2).total_seconds()


def test_a_wrong_window_is_left_out_and_the_others_count(load):
    right = section().replace("night", "day")
    settings = load(section(length="ever") + right)
    assert [window.name for window in settings.maintenance] == ["day"]
    assert [problem.section for problem in settings.problems] == ["maintenance night"]


def test_an_ordinary_window_is_not_odd(load):
    assert odd(load(section())) == []
    assert odd(load(section(jobs="HTTPServerChecker\ntags = web"))) == []
    # It is over at some time of each day.
    assert odd(load(section("* 8-17 * * *"))) == []
    assert odd(load(section("2026-12-24 22:00"))) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            section(jobs="http *, htp shop"),
            "settings.cfg:8: [maintenance night] jobs = htp shop: no job has this "
            "name; did you mean 'http shop'?",
        ),
        (
            section(jobs="tcp *"),
            "settings.cfg:8: [maintenance night] jobs = tcp *: no job has this name; "
            "see -m list",
        ),
        (
            section(jobs="http farm"),
            "settings.cfg:8: [maintenance night] jobs = http farm: no job has this "
            "name; it has hosts, each a job: 'http farm/*'",
        ),
        (
            section(jobs="http *\ntags = db"),
            "settings.cfg:9: [maintenance night] tags = db: no job has this tag; give "
            "it to jobs with tags = in their section",
        ),
        (
            section("2026-11-21 22:00"),
            "settings.cfg:9: [maintenance night] it has been over since "
            "2026-11-22 00:00; remove the section",
        ),
        (
            section(length="24h"),
            "settings.cfg:10: [maintenance night] length = 1 day: the next window "
            "begins before this one ends, so no alert ever leaves; shorten it, or "
            "write enabled = no in the jobs' sections",
        ),
        (
            section("*/30 * * * *", length="30min"),
            "settings.cfg:10: [maintenance night] length = 30 minutes: the next window "
            "begins before this one ends, so no alert ever leaves; shorten it, or "
            "write enabled = no in the jobs' sections",
        ),
    ],
)
def test_what_nobody_means_is_a_warning(load, text, why):
    assert odd(load(text)) == [why]
