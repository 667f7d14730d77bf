"""-m report: a month as text, CSV, JSON and HTML equals what the history says."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lib.core.decisions import Entry, Event, MailDetails, People, StateDetails
from lib.core.enums import MessageKind, Status
from lib.core.jobs import JobKey
from lib.core.records import Record
from lib.core.secret import NO_SECRETS
from lib.core.settings import HistoryAges
from lib.report import month
from lib.report.rows import WORDS
from lib.storage import historylog, historythin
from lib.storage.auditlog import AuditLog
from lib.storage.history import History, Result, Share, share_of

BERLIN = ZoneInfo("Europe/Berlin")
DISK, SITE = JobKey("DiskSpace", "disk root"), JobKey("HTTPServerChecker", "http a")
NAMES = {DISK: "disk root"}
#: The end of a month.
END = datetime(2026, 11, 1, tzinfo=BERLIN)
OCTOBER = month.period_of("2026-10", END, BERLIN)
DAY_S = 86_400.0


def result(status=Status.OK, key=DISK, code="", seconds=0.25, holds_s=DAY_S + 3600):
    return Result.of(key, status, code, seconds, {}, f"it is {status}", b"p", holds_s)


def record(folder, at, *results):
    historylog.record(folder, BERLIN, at.timestamp(), results or [result()])


def there(day, hour=0, minute=0):
    return datetime(2026, 10, day, hour, minute, tzinfo=BERLIN)


def report(folder, names=NAMES, period=OCTOBER):
    return month.report(History(folder, BERLIN), folder, names, period)


def sent(folder, at, key=DISK, kind=MessageKind.ALERT, code=Event.SENT):
    log = AuditLog(folder, NO_SECRETS)
    details = MailDetails("m", kind, People(("ann@example.com",)))
    log.note([Entry(at, key, "x", code, details)])
    log.write()


@pytest.fixture
def october(tmp_path):
    """A job that failed for an hour on the 25th, which has 25 hours."""
    for day in range(1, 32):
        record(tmp_path, there(day, 0, 1))
        if day == 25:
            record(tmp_path, there(day, 6), result(Status.FAILING, seconds=3.5))
            record(tmp_path, there(day, 7))
    # What was the last day is counted when the next one begins.
    record(tmp_path, END + timedelta(minutes=1))
    sent(tmp_path, there(25, 6, 2))
    return tmp_path


def test_outages_of_a_time_that_was_lost_are_of_no_known_length(october):
    (october / "history" / "bars.log").write_bytes(b"x")
    found = report(october)
    assert month.headline(found, BERLIN) == (
        "2026-10: 1 job, uptime not known, 1 outage, of a length that is not known."
    )
    (row,) = month.job_rows(found, BERLIN)
    assert (row[WORDS]["failing"], row[WORDS]["longest"]) == ("not known", "not known")
    (outage,) = month.outage_rows(found, BERLIN)
    assert outage["lasted"] == "not known"
    assert (row["longest_s"], row["outages"][0]["failing_s"]) == (None, None)
    (cells,) = csv.DictReader(io.StringIO(month.csv_text(found, BERLIN)))
    assert (cells["outages"], cells["failing_s"], cells["longest_s"]) == ("1", "", "")


def test_the_longest_outage_lasted_at_least_what_is_known(october):
    record(october, END + timedelta(hours=1), result(Status.FAILING))
    record(october, END + timedelta(hours=2))
    record(october, END + timedelta(days=1))
    november = END + timedelta(days=2)
    bars = october / "history" / "bars.log"
    content = bars.read_bytes()
    record(october, november - timedelta(hours=3), result(Status.FAILING))
    record(october, november - timedelta(hours=2))
    record(october, november + timedelta(minutes=1))
    bars.write_bytes(content)
    found = report(october, period=month.period_of("2026-11", november, BERLIN))
    (row,) = month.job_rows(found, BERLIN)
    assert row["longest_s"] == 3600
    assert row[WORDS]["longest"] == "at least 1 hour"
    assert sorted(one["failing_s"] or 0 for one in row["outages"]) == [0, 3600]


def test_a_month_has_its_days_and_one_that_is_not_over_ends_now():
    assert (len(OCTOBER.days), OCTOBER.is_over) == (31, True)
    assert OCTOBER.length_s == 31 * DAY_S + 3600
    now = there(25, 12)
    for text in ("this", "2026-10"):
        part = month.period_of(text, now, BERLIN)
        assert (len(part.days), part.is_over) == (25, False)
        assert part.edges[-1] == now.timestamp()
    last = month.period_of("last", now, BERLIN)
    assert (last.month, last.is_over) == ("2026-09", True)
    assert month.period_of("last", datetime(2026, 1, 5, tzinfo=UTC), UTC).month == (
        "2025-12"
    )
    # In UTC it is October still.
    assert month.period_of("this", END, BERLIN).month == "2026-11"
    assert month.period_of("this", END, UTC).month == "2026-10"
    midnight = month.period_of("this", END, BERLIN)
    assert (len(midnight.days), midnight.length_s) == (1, 0)


@pytest.mark.parametrize(
    "text", ["2026-13", "2026", "x", "", "0000-01", "0001-01", "1970-12", "26-10"]
)
def test_what_is_no_month_is_said_with_examples(text):
    with pytest.raises(ValueError, match="expected a month such as 2026-11"):
        month.period_of(text, END, BERLIN)


def test_a_month_that_has_not_begun_is_refused():
    with pytest.raises(ValueError, match="2026-12: that has not begun yet"):
        month.period_of("2026-12", END, BERLIN)


def test_an_alert_that_was_only_logged_notified_nobody(october):
    (october / "decisions.log").unlink()
    sent(october, there(25, 6, 2), code=Event.LOGGED)
    (told,) = report(october).jobs[0].outages
    assert told.is_known and told.after_s is None


@pytest.mark.parametrize("is_disabled", [True, False])
def test_an_outage_ends_when_its_job_is_removed(tmp_path, is_disabled):
    failing = result(Status.FAILING, holds_s=2 * DAY_S)
    record(tmp_path, there(25, 6), failing)
    record(tmp_path, there(29, 6), result(key=SITE))
    at = there(25, 9)
    removed = {DISK: Record(DISK, "disk", unseen_since=None if is_disabled else at)}
    if is_disabled:
        log = AuditLog(tmp_path, NO_SECRETS)
        log.note([Entry(at, DISK, "disk", Event.JOB_GONE, StateDetails("failing"))])
        log.write()
    found = month.report(
        History(tmp_path, BERLIN),
        tmp_path,
        NAMES if is_disabled else {},
        OCTOBER,
        disabled=[DISK] if is_disabled else (),
        records=removed,
    )
    (job,) = (job for job in found.jobs if job.key == DISK)
    assert job.share.failing == 3 * 3600
    assert sum(job.share) == pytest.approx(OCTOBER.length_s)
    (told,) = job.outages
    assert (told.outage.ended, told.outage.seconds) == (at.timestamp(), 3 * 3600)


def test_what_a_month_says_of_a_job(october):
    found = report(october)
    (job,) = found.jobs
    assert sum(job.share) == pytest.approx(OCTOBER.length_s)
    assert job.share.failing == 3600
    # Before the first result of all there was a minute.
    assert job.share.nothing == pytest.approx(60)
    (one,) = job.outages
    assert (one.outage.began, one.outage.ended, one.outage.seconds) == (
        there(25, 6).timestamp(),
        there(25, 7).timestamp(),
        3600,
    )
    assert one.after_s == 120
    (row,) = month.job_rows(found, BERLIN)
    assert row[WORDS] == {
        "job": "disk root",
        "uptime": "99.86%",
        "outages": "1",
        "failing": "1 hour",
        "longest": "1 hour",
        "notified_after": "2 minutes",
        "slowest": "3.5s at 2026-10-25 06:00",
        "not_counted": "",
    }
    assert month.outage_rows(found, BERLIN) == [
        {
            "began": "2026-10-25 06:00",
            "job": "disk root",
            "lasted": "1 hour",
            "notified_after": "2 minutes",
            "reason": "it is failing",
        }
    ]
    assert month.headline(found, BERLIN) == (
        "2026-10: 1 job, uptime 99.86%, 1 outage, failing for 1 hour in all."
    )


def test_of_old_results_the_slowest_is_known_to_five_minutes(october):
    """They are thinned, and then gone; the time of each day and the changes stay."""
    ages = HistoryAges(results=DAY_S)
    while not historythin.thin(october, ages, zone=BERLIN):
        pass
    found = report(october)
    (row,) = month.job_rows(found, BERLIN)
    assert row[WORDS]["slowest"] == "3.5s at 2026-10-25 06:00"
    assert History(october, BERLIN).rows_since() > there(25, 6).timestamp()
    for path in (october / "history").glob("2026-*"):
        path.unlink()
    (job,) = report(october).jobs
    assert (job.slowest, job.share.failing, len(job.outages)) == (None, 3600, 1)


def test_a_month_has_its_own_offset_and_not_that_of_today(tmp_path):
    record(tmp_path, datetime(2026, 7, 31, 23, tzinfo=BERLIN), result(Status.FAILING))
    july = month.period_of("2026-07", datetime(2026, 12, 24, tzinfo=BERLIN), BERLIN)
    found = report(tmp_path, period=july)
    (row,) = month.outage_rows(found, BERLIN)
    assert row["began"] == "2026-07-31 23:00"
    assert month.began_heading(found, BERLIN) == "began +02:00"


def test_an_outage_that_goes_on_counts_in_both_months(tmp_path):
    record(tmp_path, there(31, 22), result(Status.FAILING))
    record(tmp_path, END + timedelta(hours=1), result(Status.FAILING))
    october = report(tmp_path)
    (one,) = october.jobs[0].outages
    assert (one.outage.seconds, one.outage.ended) == (7200, None)
    (row,) = month.outage_rows(october, BERLIN)
    assert row["lasted"] == "2 hours, not over by its end"
    now = END + timedelta(hours=1)
    november = month.period_of("2026-11", now, BERLIN)
    found = report(tmp_path, period=november)
    (one,) = found.jobs[0].outages
    assert (one.outage.seconds, one.outage.ended) == (3600, None)
    (row,) = month.outage_rows(found, BERLIN)
    assert row["lasted"] == "1 hour of this month, not over"
    assert row["notified_after"] == "nobody"
    assert month.headline(found, BERLIN).startswith("2026-11 until 2026-11-01 01:00: ")


def test_one_message_for_a_failure_and_its_end_has_notified_of_it(tmp_path):
    record(tmp_path, there(5), result(Status.FAILING))
    record(tmp_path, there(6))
    log = AuditLog(tmp_path, NO_SECRETS)
    ann = People(("ann@example.com",))
    alert = MailDetails("a", MessageKind.ALERT, ann, into="r")
    over = MailDetails("r", MessageKind.RECOVERY, ann)
    log.note(
        [
            Entry(there(6, 0, 3), DISK, "x", Event.MERGED, alert),
            Entry(there(6, 0, 3), DISK, "x", Event.SENT, over),
            Entry(there(6, 1), DISK, "x", Event.SENT, replace(over, message_id="s")),
        ]
    )
    log.write()
    (one,) = report(tmp_path).jobs[0].outages
    assert one.after_s == DAY_S + 180


def test_a_recovery_alone_has_notified_nobody_of_the_failure(tmp_path):
    record(tmp_path, there(5), result(Status.FAILING))
    record(tmp_path, there(6))
    sent(tmp_path, there(6), kind=MessageKind.RECOVERY)
    (one,) = report(tmp_path).jobs[0].outages
    assert one.after_s is None


def test_nobody_is_told_of_what_was_muted_and_the_report_says_so(tmp_path):
    record(tmp_path, there(5), result(Status.FAILING, code="muted"))
    record(tmp_path, there(6))
    found = report(tmp_path)
    assert found.jobs[0].share.failing == DAY_S
    (row,) = month.outage_rows(found, BERLIN)
    assert row["notified_after"] == "nobody: muted"
    assert month.job_rows(found, BERLIN)[0][WORDS]["notified_after"] == "1 not notified"


def test_maintenance_and_time_without_a_result_are_not_counted(tmp_path):
    record(tmp_path, there(5), result(Status.FAILING, code="maintenance", holds_s=3600))
    record(tmp_path, there(6), result(holds_s=3600))
    record(tmp_path, there(7), result(holds_s=3600))
    share = report(tmp_path).jobs[0].share
    assert (share.maintenance, share.ok, share.failing) == (3600, 3600, 0)
    assert sum(share) == pytest.approx(OCTOBER.length_s)
    assert report(tmp_path).jobs[0].outages == []


def test_what_the_audit_log_does_not_reach_back_to_is_not_known(tmp_path):
    record(tmp_path, there(5), result(Status.FAILING))
    record(tmp_path, there(6))
    line = f"{there(20).astimezone(UTC).isoformat()}\tX/x\tx\tsent\t{{}}\n"
    (tmp_path / "decisions.log.1").write_text(line)
    found = report(tmp_path)
    (row,) = month.job_rows(found, BERLIN)
    assert (row["outages"][0]["notified"], row["not_notified"]) == (None, 0)
    assert month.outage_rows(found, BERLIN)[0]["notified_after"] == "not on record"


def test_a_removed_job_and_one_without_history_are_in_it(tmp_path):
    record(tmp_path, there(5), result(key=SITE))
    record(tmp_path, there(6), result(key=SITE))
    found = report(tmp_path)
    words = [row[WORDS]["job"] for row in month.job_rows(found, BERLIN)]
    assert words == ["http a (removed)", "disk root"]
    assert found.jobs[1].share == Share(nothing=OCTOBER.length_s)
    assert month.job_rows(found, BERLIN)[1]["uptime"] is None
    own = {JobKey("EmailChecker", "EmailChecker"): "EmailChecker"}
    assert [job.name for job in report(tmp_path / "none", own).jobs] == ["EmailChecker"]
    empty = report(tmp_path / "none", {})
    assert (
        month.headline(empty, BERLIN) == "2026-10: 0 jobs, uptime not known, 0 outages."
    )
    assert month.csv_text(empty, BERLIN) == ""


def test_what_was_wrong_with_settings_is_no_job_once_it_is_mended(tmp_path):
    page = JobKey.of_section("page")
    record(tmp_path, there(5), result(Status.FAILING, key=page))
    record(tmp_path, there(6), result(Status.FAILING, key=page))
    assert report(tmp_path, {}).jobs == []
    assert [job.key for job in report(tmp_path, {page: "[page]"}).jobs] == [page]


STEPS = st.lists(
    st.tuples(
        st.sampled_from([60.0, 900.0, 40_000.0, 3 * DAY_S]),
        st.sampled_from(list(Status)),
        st.sampled_from(["", "", "muted", "maintenance", "blind"]),
    ),
    min_size=1,
    max_size=15,
)


@settings(max_examples=15)
@given(STEPS, st.sampled_from([150.0, 100_000.0]))
def test_a_month_equals_what_the_rows_say(tmp_path_factory, steps, holds_s):
    folder = tmp_path_factory.mktemp("month")
    at = there(20)
    for step, status, code in steps:
        at += timedelta(seconds=step)
        record(folder, at, result(status, code=code, holds_s=holds_s))
    period = month.period_of("2026-10", max(at, END), BERLIN)
    until = min(at.timestamp(), period.edges[-1])
    rows = History(folder, BERLIN).rows(DISK, 0, at.timestamp() + 1)
    expected = share_of(rows, rows[0].at, max(until, rows[0].at))
    (job,) = report(folder, period=period).jobs
    assert job.share[:-1] == pytest.approx(expected[:-1], abs=0.01)
    assert sum(one.outage.seconds for one in job.outages) == pytest.approx(
        expected.failing, abs=0.01
    )


# The formats.


def test_csv_has_a_line_per_job(october):
    (first,) = csv.DictReader(io.StringIO(month.csv_text(report(october), BERLIN)))
    assert (first["month"], first["job"]) == ("2026-10", "disk root")
    assert (first["outages"], first["failing_s"], first["longest_s"]) == (
        "1",
        "3600",
        "3600",
    )
    assert float(first["uptime"]) == pytest.approx(1 - 3600 / (31 * DAY_S + 3540), 1e-5)
    assert first["slowest_at"] == "2026-10-25T05:00:00+00:00"


def test_csv_has_no_formula_and_nothing_where_nothing_is_known(tmp_path):
    names = {JobKey("X", "x"): "=1+1"}
    (row,) = csv.DictReader(
        io.StringIO(month.csv_text(report(tmp_path, names), BERLIN))
    )
    assert (row["job"], row["uptime"], row["notified_after_s"]) == ("'=1+1", "", "")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += [name for name, _value in attrs]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_whole_asks_for_nothing_and_shows_no_tag_of_a_job(tmp_path):
    evil = JobKey("X", "<script>alert(1)</script>")
    record(tmp_path, there(5), result(Status.FAILING, key=evil, seconds=3.5))
    record(tmp_path, there(6), result(key=evil))
    record(tmp_path, there(9))
    sent(tmp_path, there(5, 0, 2), evil)
    text = month.html(report(tmp_path), "web<1>", BERLIN)
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert not {"script", "img", "link", "iframe"} & set(tags.seen)
    assert not {"src", "href", "onload"} & set(tags.attributes)
    assert "&lt;script&gt;" in text and "<script" not in text
    assert "<title>web&lt;1&gt;, 2026-10</title>" in text
    for words in ("51.02%", "3.5s at 2026-10-05 00:00 +02:00", "2 minutes"):
        assert words in text
