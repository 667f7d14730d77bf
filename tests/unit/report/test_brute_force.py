"""Every number that is shown equals what a brute-force reading of the results says.

Histories are drawn: results at odd moments, of every status, held back or not, with
gaps of days, around changes of the clocks, thinned or not.  They are written by the
code that runs use; ``tests/support/bruteforce.py`` has what is expected.
"""

from __future__ import annotations

import html
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lib.core.decisions import Entry, Event, MailDetails, People
from lib.core.enums import Decision, MessageKind, Status
from lib.core.jobs import CatalogEntry, JobKey
from lib.core.records import Record, RunRecord
from lib.core.results import Threshold, Unit, Value, amount_words
from lib.core.secret import Secret
from lib.core.settings import HistoryAges, Page
from lib.core.text import duration, table_time
from lib.report import glance, month, past
from lib.report.page import link_of, overview
from lib.report.reader import Reader
from lib.storage import historylog, historythin
from lib.storage.auditlog import AuditLog
from lib.storage.history import History, Result
from lib.storage.store import State
from tests.support import snapshots
from tests.support.bruteforce import (
    BAD,
    DAY_MS,
    IN_THE_WAY,
    BruteForce,
    Fed,
    Trouble,
    hundredths,
    part_up,
)
from tests.unit.web.test_pages import TOKEN, Asked

#: Where clocks change, and about when: by an hour, by half of one, at midnight.
PLACES = [
    ("UTC", "2026-11-22T12:00"),
    ("Europe/Berlin", "2026-10-26T09:30"),
    ("Europe/Berlin", "2027-03-28T23:10"),
    ("America/New_York", "2026-11-02T03:00"),
    ("Australia/Lord_Howe", "2026-10-04T20:00"),
    ("Asia/Beirut", "2026-03-29T12:00"),
    ("America/Havana", "2026-11-02T01:00"),
]
#: What the jobs are called, and how often they run, as far as that is said.
JOBS = {"disk root": "hour", "http shop": "minute"}
KEYS = {"disk root": JobKey("DiskSpace", "disk root")}
KEYS["http shop"] = JobKey("HTTPServerChecker", "http shop")
#: How many days ago the first job got another name: never, once, twice.
RENAMES = st.sampled_from([(), (), (8.3,), (61, 1.7), (3.1, 0.01)])
FORMER = [JobKey("DiskSpace", "disk first"), JobKey("DiskSpace", "disk second")]
#: What is measured, and the thresholds: free is bad where it is low.
VALUES = {
    "used": Value(0, Unit.PERCENT, fail=Threshold(high=90.0)),
    "free": Value(0, Unit.BYTES, warn=Threshold(low=500.0)),
}
AGES = HistoryAges(2 * 86_400.0, 4 * 86_400.0)


class Step(NamedTuple):
    """A run: how long after the one before, and what it found of each job."""

    after_ms: int
    found: tuple[tuple[str, str, int, int, int] | None, ...]
    thins: bool


#: Status, code, milliseconds, for how long it stands, what is used.
RESULTS = st.none() | st.tuples(
    st.sampled_from(["ok", "ok", "ok", "failing", "warning", "unknown", "pending"]),
    st.sampled_from(
        ["", "", "", "maintenance", "unreachable", "blind", "muted", "acknowledged"]
    ),
    st.integers(0, 9_000),
    st.sampled_from([150, 150, 4_044, 95_124, 700_000]),
    st.integers(0, 9_999),
)
STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from([60_000, 60_001, 900_000, 3_600_000, 20_000_000])
        | st.sampled_from([86_400_000, 400_000_000])
        # To the end of an hour, and a second after it.
        | st.sampled_from([3_570_000, 3_569_000]),
        st.tuples(RESULTS, RESULTS),
        st.booleans(),
    ),
    min_size=2,
    max_size=25,
)


#: How many days ago there was a run as well: at the ends of what is added up, and often
#: enough that no job is forgotten, as one is after two weeks without a result.  Nothing
#: is wrong when the 90 days begin.
FAR_DAYS = (
    *(91, 90, 89, 80, 70, 60, 50, 40, 31, 30, 29, 20, 14),
    # One each day, in the midst of a bucket of five minutes, and of one of an hour.
    *(8, 7, 6, 5, 4.4, 3.2, 2.3, 1.5),
)
FAR = st.lists(
    st.sampled_from(["ok", "failing", "warning"]),
    min_size=len(FAR_DAYS) - 2,
    max_size=len(FAR_DAYS) - 2,
).map(lambda far: ["ok", "ok", *far])


def fed_of(job: str, at: int, found: tuple[str, str, int, int, int]) -> Fed:
    """Return a result of a job; the disk measures something, most of the time."""
    status, code, ms, holds_s, used = found
    values = {"used": used / 100, "free": float(used)}
    values = values if job == "disk root" and used % 5 else {}
    reason = f"it is {status} of {used}" if status != "ok" else ""
    return Fed(job, at, status, code, ms, holds_s, values, reason)


class World:
    """A state folder with a history, and what was fed into it."""

    def __init__(
        self,
        folder: Any,
        place: tuple[str, str],
        far: list[str],
        steps: list[Step],
        is_thinned: bool,
        renamed: tuple[float, ...] = (),
    ) -> None:
        self.zone = ZoneInfo(place[0])
        self.now = datetime.fromisoformat(place[1]).replace(tzinfo=UTC)
        self.now_ms = round(self.now.timestamp() * 1000)
        self.folder, self.is_thinned = folder, is_thinned
        self.renamed = [self.now_ms - round(ago * DAY_MS) for ago in renamed]
        self.entries: dict[Trouble, list[Entry]] = {}
        self.brute = BruteForce(self._fed(far, steps), self.zone)
        self.jobs = [job for job in JOBS if self.brute.rows(job)]
        self._write_the_rest()
        self.settings = snapshots.settings(
            page=Page(token=Secret(TOKEN)), state=folder, zone=self.zone
        )

    def _fed(self, far: list[str], steps: list[Step]) -> Iterator[Fed]:
        runs = [
            (
                self.now_ms - round(ago * DAY_MS),
                ((status, "", 7, 95_124, 4_201),) * 2,
                False,
            )
            for ago, status in zip(FAR_DAYS, far, strict=True)
        ]
        # The last run was half a minute ago.
        at = self.now_ms - 30_000
        for number, step in enumerate(reversed(steps)):
            found = step.found
            if not number:
                found = tuple(one or ("ok", "", 7, 150, 42) for one in found)
            runs.append((at, found, step.thins))
            at -= step.after_ms
        for at, found, thins in sorted(runs):
            fed = [
                fed_of(job, at, one)
                for job, one in zip(JOBS, found, strict=True)
                if one is not None
            ]
            results = [
                Result.of(
                    self.key_at(one.job, at),
                    Status(one.status),
                    one.code,
                    one.ms / 1000,
                    one.values,
                    one.reason,
                    b"{}",
                    float(one.holds_s),
                )
                for one in fed
            ]
            renames = self._renames_until(at)
            historylog.record(self.folder, self.zone, at / 1000, results, renames)
            yield from fed
            if self.is_thinned and thins:
                self._thin(slices=2)
        if self.is_thinned:
            self._thin(slices=1000)

    def key_at(self, job: str, at: int) -> JobKey:
        """Return the key that a job had at a moment."""
        if job != "disk root":
            return KEYS[job]
        keys = [*FORMER[: len(self.renamed)], KEYS[job]]
        return keys[sum(moment <= at for moment in self.renamed)]

    def _renames_until(self, at: int) -> list[tuple[JobKey, JobKey]]:
        """Return the old key and the new one that the job's section says."""
        before = [moment - 1 for moment in self.renamed if moment <= at][-1:]
        job = "disk root"
        return [(self.key_at(job, one), self.key_at(job, at)) for one in before]

    def _thin(self, slices: int) -> None:
        """Thin in slices of a few jobs each, as many of them as are given."""
        for _ in range(slices):
            ticks = itertools.count(0.0)
            if historythin.thin(self.folder, AGES, 4.0, ticks.__next__, self.zone):
                return

    def _write_the_rest(self) -> None:
        """Write what a run keeps beside the history: how each job is now."""
        state, now = State(self.folder), self.now
        log = AuditLog(self.folder, ())
        catalog, records, values = {}, [], {}
        for job in self.jobs:
            key, last = KEYS[job], self.brute.last(job)
            catalog[key] = CatalogEntry(
                job, key.file, JOBS[job], judged=True, tags=("site",)
            )
            values[key] = self.values_of(job)
            troubles = self.brute.troubles(job)
            records.append(self._record(job, last, troubles))
            for number, trouble in enumerate(troubles):
                then = self.key_at(job, trouble.began)
                self.entries[trouble] = self._told(then, number, trouble)
        log.note(
            sorted(
                (entry for those in self.entries.values() for entry in those),
                key=lambda entry: entry.at,
            )
        )
        log.write()
        state.save(records)
        state.save_run(RunRecord(began_at=now, ended_at=now))
        state.save_catalog(catalog)
        state.save_values(values, dict.fromkeys(catalog), {}, set(catalog))

    def values_of(self, job: str) -> dict[str, Value]:
        """Return the last values of a job, with their thresholds."""
        last = self.brute.last(job).values
        return {name: replace(VALUES[name], number=last[name]) for name in last}

    @staticmethod
    def _record(job: str, last: Fed, troubles: list[Trouble]) -> Record:
        record = Record(KEYS[job], job)
        if last.status == "pending":
            return replace(record, pending_since=_moment(last.at))
        if last.status == "ok":
            return record
        since = _moment(troubles[0].began)
        held = Decision(last.code) if last.code in IN_THE_WAY else None
        record = replace(
            record, status=Status(last.status), last_reason=last.reason, held=held
        )
        if last.status == "warning":
            return replace(record, warnings=1, warning_since=since)
        return replace(record, failures=1, failing_since=since)

    @staticmethod
    def _told(key: JobKey, number: int, trouble: Trouble) -> list[Entry]:
        """Return what was sent about a trouble: an alert, and one that failed."""
        if trouble.code:
            return []
        at = _moment(trouble.began - trouble.began % 1000 + 1000)
        people = People(("ann@example.com",))
        return [
            Entry(
                at,
                key,
                key.identity,
                code,
                MailDetails(f"{key}{number}{code}", MessageKind.ALERT, people),
            )
            for code in (Event.SENT, Event.FAILED)[: 1 + number % 2]
        ]


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


WORLDS = st.tuples(st.sampled_from(PLACES), FAR, STEPS, st.booleans(), RENAMES)


def check_everything(folder: Any, world: World) -> None:
    """Hold every surface against the brute-force reading."""
    asked = Asked(world.settings, world.now)
    for job in world.jobs:
        check_job_page(world, job, asked)
        check_api_of_job(world, job, asked)
        check_api_history(world, job, asked)
        check_badge(world, job, asked)
        check_status_command(world, job)
        check_history_command(world, job)
    check_front_page(world)
    check_api_status(world, asked)
    check_metrics(world, asked)
    check_feed(world, asked)
    check_tag_badge(world, asked)
    for text in ("this", "last"):
        check_report(world, text)


@settings(max_examples=3)
@given(WORLDS)
def test_every_number_equals_a_brute_force_reading(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("brute")
    check_everything(folder, World(folder, *drawn))


@pytest.mark.long
@settings(max_examples=100)
@given(WORLDS)
def test_many_numbers_equal_a_brute_force_reading(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("brute")
    check_everything(folder, World(folder, *drawn))


# Words.


def percent(part: Fraction | None) -> str:
    if part is None:
        return "–"
    return f"{float(hundredths(part)):.4g} %" if part < 1 else "100 %"


def length(ms: int) -> str:
    return duration(timedelta(milliseconds=ms)) if ms else "–"


def left_out(times: dict[str, int]) -> int:
    return sum(times.values()) - sum(
        times.get(kind, 0) for kind in ("ok", "warning", "failing")
    )


def text_of(fragment: str) -> str:
    """Return what stands in HTML without its tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", fragment)).strip()


# The page.


def letters_in(drawing: str, days: int = 90) -> str:
    """Return the letters of a bar as it is drawn."""
    letters = ["n"] * days
    for letter, path in re.findall(r'<path class=(\w) d="([^"]*)"', drawing):
        for begin, run in re.findall(r"M(\d+) 10h(\d+)", path):
            for place in range(int(begin), int(begin) + int(run)):
                letters[place] = letter
    return "".join(letters)


def heights_in(path: str, parts: int) -> list[int | None]:
    """Return how high a graph is in each of its parts, from its path."""
    heights: list[int | None] = [None] * parts
    place = height = 0
    for letter, first, second in re.findall(
        r"([Mlh ])(\d*\.?\d+|-\d+)(?:[ ]?(-?\d+))?", path
    ):
        if letter == "M":
            place, height = int(first), int(second)
        elif letter == "h":
            if first == ".5":
                continue
            for _ in range(int(first)):
                place += 1
                heights[place] = height
            continue
        else:
            place, height = place + int(first), height + int(second)
        heights[place] = height
    return heights


def check_bar(world: World, job: str, drawing: str) -> None:
    days = world.brute.last_days(90, world.now_ms)
    expected = "".join(world.brute.letter(job, day) for day in days)
    assert letters_in(drawing) == expected, job


def expected_troubles(world: World, job: str, ago_ms: int) -> list[Trouble]:
    since = world.now_ms - ago_ms
    return [
        one
        for one in world.brute.troubles(job)
        if one.ended is None or one.ended >= since
    ]


def check_incidents(world: World, those: list[Trouble], shown: str) -> None:
    """Hold the incidents of a page: when, for how long, why, and what was sent."""
    found = re.findall(r"(?s)<li class=\"(\w)\"><p>(.*?)</p>(.*?)\n</li>", shown)
    assert len(found) == len(those)
    for (letter, head, more), trouble in zip(found, those, strict=True):
        began = table_time(_moment(trouble.began), world.zone, world.now)
        ms = (trouble.ended or world.now_ms) - trouble.began
        if trouble.ended is None:
            when = f"since {began}, for {length(ms)}"
        else:
            ended = table_time(_moment(trouble.ended), world.zone, world.now)
            when = f"{began} to {ended}, {duration(timedelta(milliseconds=ms))}"
        assert letter == ("r" if trouble.in_the_way else trouble.status[0])
        assert text_of(head).endswith(f"{trouble.shown} {when}")
        assert trouble.reason in text_of(more)
        sent = [text_of(one) for one in re.findall(r"<li>(.*?)</li>", more)]
        told = world.entries[trouble]
        assert len(sent) == len(told)
        for words, entry in zip(sent, told, strict=True):
            assert words.startswith(table_time(entry.at, world.zone, world.now))
            assert "ann@example.com" in words
        assert ("Nobody was notified" in more) is not told


def section(text: str, name: str) -> str:
    found = re.search(rf'(?s)<section aria-labelledby="{name}">(.*?)</section>', text)
    assert found, name
    return found[1]


def check_job_page(world: World, job: str, asked: Asked) -> None:
    brute, now = world.brute, world.now_ms
    status, text = asked(f"/{link_of(KEYS[job])}")
    assert status == 200
    shown = dict(re.findall(r"<dt>(\d+ (?:days|hours))</dt><dd>(.*?)</dd>", text))
    assert shown == {
        "24 hours": percent(brute.uptime(job, now - DAY_MS, now)),
        **{
            f"{days} days": percent(part_up(brute.days_times(job, days, now)))
            for days in (7, 30, 90)
        },
    }
    check_bar(world, job, section(text, "days"))
    rows = re.findall(r"<tr><th>(.*?)<td>(.*?)<td>(.*?)<td>(.*)", text)
    expected = []
    for day in reversed(brute.last_days(90, now)):
        times = brute.day_times(job, day)
        if times and (brute.letter(job, day) != "o" or left_out(times) >= 1000):
            expected.append(
                (
                    day.isoformat(),
                    percent(part_up(times)),
                    length(times.get("failing", 0)),
                    length(left_out(times)),
                )
            )
    assert rows == expected
    check_incidents(
        world, expected_troubles(world, job, 90 * DAY_MS), section(text, "incidents")
    )
    check_graphs(world, job, section(text, "graphs"))


def check_graphs(world: World, job: str, shown: str) -> None:
    """Hold the graphs of a job's page: their ends in words, and each height."""
    brute, now = world.brute, world.now_ms
    values = world.values_of(job) or {"duration": Value(0, Unit.SECONDS)}
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", shown)
    paths = re.findall(r"(?s)<figure>(.*?)</figure>", shown)
    assert len(captions) == len(values)
    for (name, value), caption, figure in zip(
        values.items(), captions, paths, strict=True
    ):
        is_time = name == "duration"
        numbers = brute.worst(
            job, "" if is_time else name, now - DAY_MS, now, 96, name == "free"
        )
        known = [number for number in numbers if number is not None]
        if not known:
            assert caption == f"{name}: no number in the last 24 hours"
            continue
        low, high = (amount_words(end(known), value.unit) for end in (min, max))
        assert html.unescape(caption) == (
            f"{name}: from {low} to {high} in the last 24 hours"
        )
        limits = [one.high or one.low for one in (value.warn, value.fail) if one]
        check_heights(numbers, limits, figure)


def check_heights(
    numbers: list[float | None], limits: list[float | None], figure: str
) -> None:
    """Hold a graph: what is greater is higher, zero or the least is at the bottom."""
    (path,) = re.findall(r'<path d="(.*?)"', figure)
    known = [number for number in [*numbers, *limits] if number is not None]
    top, least = max(known), min(known)
    bottom = 0.0 if 0 <= least < top / 2 else least
    for number, height in zip(numbers, heights_in(path, len(numbers)), strict=True):
        if number is None:
            assert height is None
            continue
        expected = 59 - (58 * (number - bottom) / (top - bottom) if top > bottom else 0)
        assert height is not None and abs(height - expected) <= 0.51


def check_front_page(world: World) -> None:
    """Hold the front page: the sentence, each job's line, the last incidents."""
    brute, now = world.brute, world.now_ms
    reader = Reader(world.settings, world.now)
    graphs = {
        link_of(KEYS[job]): reader.graph(KEYS[job], reader.rows(KEYS[job]), 96)
        for job in world.jobs
    }
    text = overview(reader.snapshot(graphs))
    bad = [job for job in world.jobs if brute.last(job).status in BAD]
    sentence = text_of(re.findall(r'<p class="sentence \w">(.*?)</p>', text)[0])
    if bad:
        assert sentence.startswith(f"{len(bad)} of {len(world.jobs)} job")
    else:
        assert "OK" in sentence and "not OK" not in sentence
    cells = re.findall(r"<tr class=\w><th>(.*)", text)
    assert len(cells) == len(world.jobs)
    for line in cells:
        name, status, uptime, bar, graph, value = line.split("<td>")
        job = text_of(name)
        assert status == shown_status(brute.last(job))
        assert uptime == percent(part_up(brute.days_times(job, 30, now)))
        check_bar(world, job, bar)
        values = world.values_of(job)
        chief = chief_of(brute.last(job), values)
        if chief:
            assert value == amount_words(values[chief].number, values[chief].unit)
        else:
            assert value == amount_words(brute.last(job).ms / 1000, Unit.SECONDS)
        numbers = brute.worst(job, chief, now - DAY_MS, now, 96, chief == "free")
        drawn = re.findall(r'<path d="(.*?)"', graph)
        heights = heights_in(drawn[0], 96) if drawn else [None] * 96
        assert [height is None for height in heights] == [
            one is None for one in numbers
        ]
    those = [
        one for job in world.jobs for one in expected_troubles(world, job, 7 * DAY_MS)
    ]
    those.sort(key=lambda one: (one.began, KEYS[one.job]), reverse=True)
    check_incidents(world, those, section(text, "incidents"))


def shown_status(last: Fed) -> str:
    return "OK" if last.status == "ok" else code_of(last)


def code_of(last: Fed) -> str:
    """Return a status as JSON and the metrics have it."""
    if last.status in BAD and last.code in IN_THE_WAY:
        return last.code
    return last.status


def chief_of(last: Fed, values: dict[str, Value]) -> str:
    """Return what stands for a job: used, but free alone is outside its threshold."""
    if not values:
        return ""
    return "free" if last.values["used"] <= 90 and last.values["free"] < 500 else "used"


# The API.


def check_api_of_job(world: World, job: str, asked: Asked) -> None:
    brute, now, last = world.brute, world.now_ms, world.brute.last(job)
    status, data = asked.json(f"/api/v1/jobs/{job}")
    assert status == 200
    for days in (7, 30, 90):
        expected = part_up(brute.days_times(job, days, now))
        assert data["uptime"][f"{days}d"] == near(expected)
    assert datetime.fromisoformat(data["last_run_at"]) == _moment(last.at)
    assert data["seconds"] == last.ms / 1000
    assert {name: one["number"] for name, one in data["values"].items()} == last.values
    assert data["status"] == code_of(last)
    assert data["reason"] == ("" if last.status == "pending" else last.reason)
    shown = data["incidents"]
    those = expected_troubles(world, job, 90 * DAY_MS)
    assert len(shown) == len(those)
    for one, trouble in zip(shown, those, strict=True):
        assert datetime.fromisoformat(one["began_at"]) == _moment(trouble.began)
        ended = one["ended_at"] and datetime.fromisoformat(one["ended_at"])
        assert ended == (None if trouble.ended is None else _moment(trouble.ended))
        assert (one["status"], one["reason"]) == (trouble.shown, trouble.reason)
        assert [message["code"] for message in one["messages"]] == [
            entry.code.value for entry in world.entries[trouble]
        ]


def kept_days(world: World) -> list[int]:
    """Return the days of UTC of which each result is kept."""
    days = sorted({one.at // DAY_MS for one in world.brute.fed})
    return days[-2:] if world.is_thinned else days


def check_api_history(world: World, job: str, asked: Asked) -> None:
    since = world.now - timedelta(days=120)
    query = f"job={quote(job)}&since={quote(since.isoformat())}"
    status, data = asked.json("/api/v1/history", query)
    assert status == 200
    days = kept_days(world)
    expected = [one for one in world.brute.rows(job) if one.at // DAY_MS in days]
    assert len(data["results"]) == len(expected)
    for shown, one in zip(data["results"], expected, strict=True):
        assert datetime.fromisoformat(shown["at"]) == _moment(one.at)
        assert (shown["status"], shown["held"]) == (one.status, one.code)
        assert (shown["seconds"], shown["values"]) == (one.ms / 1000, one.values)
        assert shown["reason"] == one.reason
    assert data["next"] is None


def check_api_status(world: World, asked: Asked) -> None:
    _status, data = asked.json("/api/v1/status")
    expected = {job: code_of(world.brute.last(job)) for job in world.jobs}
    assert {one["job"]: one["status"] for one in data["all"]} == expected
    counts = Counter(expected.values())
    for code in (*BAD, *IN_THE_WAY):
        assert data["jobs"][code] == counts[code]
    down = {one["job"]: one["status"] for one in data["down"] + data["warnings"]}
    assert down == {
        job: code for job, code in expected.items() if code in (*BAD, *IN_THE_WAY)
    }
    for one in data["all"]:
        troubles = world.brute.troubles(one["job"])
        is_bad = world.brute.last(one["job"]).status in BAD
        since = _moment(troubles[0].began) if is_bad else None
        assert since == (one["since"] and datetime.fromisoformat(one["since"]))
    assert {one["job"]: one["status"] for one in data["listed"]} == expected
    for one in data["listed"]:
        times = world.brute.times(one["job"], world.now_ms - DAY_MS, world.now_ms)
        assert {kind: s for kind, s in one["time_s"]["24h"].items() if s} == {
            kind: pytest.approx(ms / 1000) for kind, ms in times.items() if ms
        }
    files = [path for path in world.folder.rglob("*") if path.is_file()]
    assert data["state_bytes"] >= sum(path.stat().st_size for path in files)


def near(part: Fraction | None) -> Any:
    return None if part is None else pytest.approx(float(part), abs=1e-9)


# Badges, feed, metrics.


def check_badge(world: World, job: str, asked: Asked) -> None:
    _status, text = asked(f"/badge/job/{job}.svg")
    title = ElementTree.fromstring(text)[0].text
    assert title == f"{job}: {shown_status(world.brute.last(job))}"


def check_tag_badge(world: World, asked: Asked) -> None:
    _status, text = asked("/badge/tag/site.svg")
    count, bad = len(world.jobs), 0
    for job in world.jobs:
        bad += world.brute.last(job).status in BAD
    words = f"{bad} of {count} not OK" if bad else f"{count} OK"
    assert ElementTree.fromstring(text)[0].text == f"site: {words}"


def check_feed(world: World, asked: Asked) -> None:
    _status, text = asked("/feed.atom")
    atom = "{http://www.w3.org/2005/Atom}"
    shown = [
        (one.find(f"{atom}title").text, one.find(f"{atom}published").text[:19])
        for one in ElementTree.fromstring(text).iter(f"{atom}entry")
    ]
    those = [
        one for job in world.jobs for one in expected_troubles(world, job, 7 * DAY_MS)
    ]
    expected = [
        (
            f"{one.job} {'is' if one.ended is None else 'was'} {one.shown}",
            _moment(one.began).isoformat()[:19],
        )
        for one in those
    ]
    assert Counter(shown) == Counter(expected)


def check_metrics(world: World, asked: Asked) -> None:
    _status, text = asked("/metrics")
    lines = re.findall(r'(?m)^(\w+)\{server="web1"(?:,(.*?))?\} (.*)$', text)
    shown = {
        (name, dict(re.findall(r'(\w+)="(.*?)"', labels)).get("name"), labels): number
        for name, labels, number in lines
    }
    numbers: dict[tuple[str, str | None], list[float]] = {}
    for (name, job, _labels), number in shown.items():
        numbers.setdefault((name, job), []).append(float(number))
    for job in world.jobs:
        last, troubles = world.brute.last(job), world.brute.troubles(job)
        is_bad = last.status in BAD
        order = ("ok", "warning", "failing", "unknown", "pending")
        severity = {"warning": 1, "failing": 2, "unknown": 2}.get(code_of(last), 0)
        expected: dict[str, list[float]] = {
            "checker_job_status": [order.index(last.status)],
            "checker_job_severity": [severity],
            "checker_job_last_check_timestamp_seconds": [last.at / 1000],
            "checker_job_duration_seconds": [last.ms / 1000],
            "checker_job_failing_since_timestamp_seconds": (
                [troubles[0].began / 1000] if is_bad else []
            ),
            "checker_job_value_bytes": [
                last.values[name] for name in last.values if name == "free"
            ],
            "checker_job_value_ratio": [
                last.values[name] / 100 for name in last.values if name == "used"
            ],
        }
        for name, those in expected.items():
            assert numbers.get((name, job), []) == pytest.approx(those), name
    counts = Counter(code_of(world.brute.last(job)) for job in world.jobs)
    for (name, _job, labels), number in shown.items():
        if name == "checker_jobs":
            assert int(number) == counts[re.findall('"(.*)"', labels)[0]]


# The command line.


def check_status_command(world: World, job: str) -> None:
    brute, now, key = world.brute, world.now_ms, KEYS[job]
    values = world.values_of(job)
    history = History(world.folder, world.zone)
    found = glance.looks(history, [key], {key: values}, history.latest(), world.now)[
        key
    ]
    expected = brute.times(job, now - DAY_MS, now)
    day = {kind: seconds for kind, seconds in found.day._asdict().items() if seconds}
    assert day == {
        kind: pytest.approx(ms / 1000) for kind, ms in expected.items() if ms
    }
    assert found.week.uptime == near(part_up(brute.days_times(job, 7, now)))
    assert found.month.uptime == near(part_up(brute.days_times(job, 30, now)))
    chief = chief_of(brute.last(job), values)
    assert found.name == (chief or "duration")
    assert list(found.numbers) == brute.worst(
        job, chief, now - DAY_MS, now, 24, chief == "free"
    )


def check_history_command(world: World, job: str) -> None:
    """Hold ``-m history --since``, thinned or not.

    Of a bucket that is cut it is not known what was when, unless it is all the same.
    """
    brute, now = world.brute, world.now_ms
    since = min(now - 9 * DAY_MS, brute.rows(job)[0].at)
    since -= since % 3_600_000
    if world.is_thinned:
        # Of a day without a run there is no bucket of what stood before it.
        run_days = {one.at // DAY_MS for one in brute.fed}
        first = now // DAY_MS
        while first - 1 in run_days:
            first -= 1
        since = first * DAY_MS
        if len(brute.times(job, since, since + 3_600_000)) == 1:
            since += 1_234_000
    history = History(world.folder, world.zone)
    found = past.past(history, KEYS[job], job, since / 1000, now / 1000)
    assert found is not None
    times = {kind: s for kind, s in found.share._asdict().items() if s > 1e-6}
    assert times == {
        kind: pytest.approx(ms / 1000, abs=1e-5)
        for kind, ms in brute.times(job, since, now).items()
    }
    shown = [_moment(round(row.at * 1000)) for row in found.rows]
    days = kept_days(world)
    rows = [one for one in brute.rows(job) if one.at // DAY_MS in days]
    assert shown == [_moment(one.at) for one in rows if one.at >= since]


def check_report(world: World, text: str) -> None:
    """Hold ``-m report`` of a month, over or not; the first job was removed since."""
    brute, names = world.brute, {KEYS[job]: job for job in world.jobs[1:]}
    period = month.period_of(text, world.now, world.zone)
    found = month.report(History(world.folder, world.zone), world.folder, names, period)
    data = json.loads(json.dumps(month.data(found, world.zone), default=str))
    today = brute.day_of(world.now_ms)
    last = today if text == "this" else today.replace(day=1) - timedelta(days=1)
    days = [last.replace(day=number + 1) for number in range(last.day)]
    begin = brute.span_of(days[0])[0]
    end = min(brute.span_of(days[-1])[1], world.now_ms)
    assert [datetime.fromisoformat(data[name]) for name in ("since", "until")] == [
        _moment(begin),
        _moment(end),
    ]
    assert sorted(row["job"] for row in data["jobs"]) == world.jobs
    for row in data["jobs"]:
        job = row["job"]
        assert row["exists"] == (job != world.jobs[0])
        total: Counter[str] = Counter()
        for day in days:
            total.update(brute.day_times(job, day))
        for kind, seconds in row["time_s"].items():
            if kind != "nothing":
                assert seconds == pytest.approx(total[kind] / 1000, abs=1e-6)
        assert sum(row["time_s"].values()) == pytest.approx((end - begin) / 1000)
        assert row["uptime"] == near(part_up(total))
        outages = brute.outages(job, begin, end)
        if not row["exists"] and outages and brute.last(job).at < end:
            # What a removed job had when it was last checked was over then.
            *others, last_one = outages
            ended = last_one.ended or brute.last(job).at
            outages = [*others, last_one._replace(ended=ended)]
        check_outages(world, outages, row["outages"])
        failing = sum(one["failing_s"] or 0 for one in row["outages"])
        assert failing == pytest.approx(total["failing"] / 1000, abs=1e-5)
        checks = [one.ms for one in brute.rows(job, begin, end)]
        # A bucket of older results may lie partly in the next month.
        if text == "this" or not world.is_thinned:
            assert row["slowest_s"] == (max(checks) / 1000 if checks else None)


def check_outages(
    world: World, those: list[Trouble], shown: list[dict[str, Any]]
) -> None:
    """Hold the outages of a month: when, why, and how long until people knew."""
    assert [
        (one["began_at"], one["ended_at"], one["reason"], one["held"]) for one in shown
    ] == [
        (
            str(_moment(one.began)),
            str(_moment(one.ended)) if one.ended else None,
            one.reason,
            one.code or None,
        )
        for one in those
    ]
    next_began = [*(float(one.began) for one in those), math.inf][1:]
    for one, outage, end in zip(shown, those, next_began, strict=True):
        sent = [
            entry.at.timestamp() * 1000
            for trouble, entries in world.entries.items()
            for entry in entries
            if trouble.job == outage.job and entry.code is Event.SENT
        ]
        within = [at for at in sent if outage.began - outage.began % 1000 <= at < end]
        after_s = (min(within) - outage.began) / 1000 if within else None
        assert one["notified_after_s"] == (
            None if after_s is None else pytest.approx(after_s, abs=1e-3)
        )
