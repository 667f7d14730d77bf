"""When a job is due: by frequency, by interval, or by a cron expression.

A schedule is a text as ``every`` has it: minute, hour, day, day_noon, an interval such
as ``5min``, or a cron expression of five fields.  ``read`` checks it, ``is_due``
decides.  The cases, the nights in which clocks are changed among them, are in
``tests/unit/core/test_schedule.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zlib import crc32

import msgspec

from lib.core.enums import JobFrequency
from lib.core.jobs import CatalogEntry, Job, JobKey, job_of, period_text
from lib.core.records import Record
from lib.core.text import duration, in_zone

#: A run of ``-c hour`` also runs the minute jobs, and so on.
INCLUDES = {
    JobFrequency.MINUTE: (JobFrequency.MINUTE,),
    JobFrequency.HOUR: (JobFrequency.MINUTE, JobFrequency.HOUR),
    JobFrequency.DAY: (JobFrequency.MINUTE, JobFrequency.HOUR, JobFrequency.DAY),
    JobFrequency.DAY_NOON: (
        JobFrequency.MINUTE,
        JobFrequency.HOUR,
        JobFrequency.DAY_NOON,
    ),
}

#: Longer than the slot by a little, so that a late run is not a missed one.
MISSED_AFTER = {
    JobFrequency.HOUR: timedelta(minutes=66),
    JobFrequency.DAY: timedelta(hours=26, minutes=30),
    JobFrequency.DAY_NOON: timedelta(hours=26, minutes=30),
}

_FREQUENCIES = frozenset(JobFrequency)
_WORDS = {
    "minute": "every minute",
    "hour": "every hour",
    "day": "every day at midnight",
    "day_noon": "every day at noon",
}
_PERIODS = {"minute": 1, "hour": 60, "day": 1440, "day_noon": 1440}
_MINUTES = {"min": 1, "h": 60, "d": 1440}
#: When cron starts the run of each frequency, by the lines that README has.
_AS_CRON = {
    JobFrequency.HOUR: "0 * * * *",
    JobFrequency.DAY: "0 0 * * *",
    JobFrequency.DAY_NOON: "0 12 * * *",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The longest interval, in minutes: 30 days.
_LONGEST = 30 * 1440


class Due(msgspec.Struct, frozen=True):
    """What a run runs: the jobs of some frequencies, and those due in some minutes."""

    frequencies: frozenset[JobFrequency] = frozenset()
    #: The minutes after ``since`` up to ``now``: those since the last run.
    since: datetime = _EPOCH
    now: datetime = _EPOCH
    #: The zone of cron expressions; None: that of this machine.
    zone: tzinfo | None = None
    #: The jobs that somebody asked for, whatever their schedule.
    asked: frozenset[JobKey] = frozenset()


def due_in(
    ordered: JobFrequency,
    last_runs: Mapping[JobFrequency, datetime],
    now: datetime,
    zone: tzinfo | None = None,
) -> Due:
    """Return what a run runs that begins now.

    These are the ordered frequencies, and those whose slot was missed: the last run on
    record is older than MISSED_AFTER, or in the future.  No record means not missed.
    Intervals and cron expressions are due in each minute since the last run: one that
    did not take place, as while another was at work, is caught up once.
    """
    missed = {
        frequency
        for frequency, patience in MISSED_AFTER.items()
        if (last := last_runs.get(frequency)) is not None
        and (last > now or now - last > patience)
    }
    last = last_runs.get(JobFrequency.MINUTE)
    before = now - timedelta(minutes=1)
    since = before if last is None or last > now else last
    return Due(frozenset(INCLUDES[ordered]) | missed, since, now, zone)


def is_due(schedule: str, key: JobKey, due: Due) -> bool:
    """Return whether a job of this schedule runs now, or was asked for."""
    if key in due.asked:
        return True
    if schedule in _FREQUENCIES:
        return schedule in due.frequencies
    if " " in schedule:
        return _is_cron_due(schedule, due)
    return _is_interval_due(schedule, key, due)


def is_recheck(job: Job, record: Record, due: Due) -> bool:
    """Return whether a job runs now only because it is failing."""
    return (
        bool(job.recheck)
        and record.status.is_failure
        and not record.pending
        and _is_recheck_due(job.schedule, job.recheck, job.key, due)
        and not is_due(job.schedule, job.key, due)
    )


def is_wanted(job: Job, record: Record, due: Due) -> bool:
    """Return whether a job runs now: it is due, pending, or failing and rechecked."""
    return (
        record.pending
        or is_due(job.schedule, job.key, due)
        or is_recheck(job, record, due)
    )


def _is_recheck_due(schedule: str, recheck: str, key: JobKey, due: Due) -> bool:
    return _is_slower(schedule, recheck) and _is_interval_due(recheck, key, due)


def _is_slower(schedule: str, recheck: str) -> bool:
    """Return whether a job of this schedule runs less often than its recheck."""
    if " " in schedule:
        return True
    return _period(schedule) > _minutes(recheck)


def next_check(
    job: Job,
    record: Record,
    now: datetime,
    zone: tzinfo | None,
    *,
    is_new: bool = False,
) -> datetime | None:
    """Return when a job runs next, if cron starts Checker as it should; in UTC.

    For a job of a frequency that is the next whole minute, hour or day of this machine.
    ``is_new``: it is still to have its first run.  None: its cron expression has no
    time in the next 50 years.
    """
    if is_new or record.pending or job.schedule == JobFrequency.MINUTE:
        return _next_interval("1min", job.key, now)
    by_schedule = _next_by_schedule(job.schedule, job.key, now, zone)
    if not record.status.is_failure or not job.recheck:
        return by_schedule
    recheck = _next_interval(job.recheck, job.key, now)
    return min(by_schedule or recheck, recheck)


def _next_by_schedule(
    schedule: str, key: JobKey, now: datetime, zone: tzinfo | None
) -> datetime | None:
    if schedule in _AS_CRON:
        return next_after(_AS_CRON[JobFrequency(schedule)], now, None)
    if " " in schedule:
        return next_after(schedule, now, zone)
    return _next_interval(schedule, key, now)


def _next_interval(schedule: str, key: JobKey, now: datetime) -> datetime:
    minute = now.replace(second=0, microsecond=0)
    left = _minutes(schedule) - _since_interval(schedule, key, now)
    return minute + timedelta(minutes=left)


def last_run(
    job: Job,
    record: Record,
    ran_at: datetime | None,
    last_runs: Mapping[JobFrequency, datetime],
    zone: tzinfo | None,
) -> datetime | None:
    """Return when a job that has had a result last ran; None if that is not known.

    By its schedule, because it is pending or failing, or apart from both: ``ran_at``.
    """
    last = last_runs.get(JobFrequency.MINUTE)
    times = [ran_at, _last_by_schedule(job.schedule, job.key, last_runs, zone)]
    if last is not None and record.pending:
        times.append(last)
    elif last is not None and record.status.is_failure and job.recheck:
        at = last - timedelta(minutes=_since_interval(job.recheck, job.key, last))
        # There was none before the failure.
        if _is_slower(job.schedule, job.recheck) and at >= (record.since or last):
            times.append(at)
    return max((time for time in times if time is not None), default=None)


def ok_by_record(
    key: JobKey,
    entry: CatalogEntry | None,
    record: Record | None,
    last_runs: Mapping[JobFrequency, datetime],
    zone: tzinfo | None,
) -> datetime | None:
    """Return when a job that is OK on record was found so; None if it is not known."""
    record = record or Record(key)
    if entry is None or not entry.enabled or entry.is_new or record.pending:
        return None
    return last_run(job_of(key, entry), record, entry.ran_at, last_runs, zone)


def _last_by_schedule(
    schedule: str,
    key: JobKey,
    last_runs: Mapping[JobFrequency, datetime],
    zone: tzinfo | None,
) -> datetime | None:
    if schedule in _FREQUENCIES:
        return last_runs.get(JobFrequency(schedule))
    last = last_runs.get(JobFrequency.MINUTE)
    if last is None:
        return None
    if " " not in schedule:
        return last - timedelta(minutes=_since_interval(schedule, key, last))
    from cronsim import CronSim

    # From the next minute on, because that one is left out.
    start = in_zone(last, zone or _MACHINE).replace(second=0, microsecond=0)
    times = CronSim(schedule, start + timedelta(minutes=1), reverse=True)
    return in_zone(next(times), UTC)


def words(schedule: str) -> str:
    """Return how often a job runs, for people: ``every 5 minutes``."""
    if schedule in _FREQUENCIES:
        return _WORDS[schedule]
    if " " in schedule:
        return f"by cron, {schedule}"
    length = duration(timedelta(minutes=_minutes(schedule)))
    return f"every {length.removeprefix('1 ') if length.count(' ') == 1 else length}"


def read(text: str) -> str:
    """Return the schedule that a text asks for, as it is kept.

    Raise ValueError that says what was expected, and the right form of what cron
    programs read differently.
    """
    fields = text.lower().split()
    if len(fields) == 1 and fields[0] in _FREQUENCIES:
        return fields[0]
    if fields and fields[0].startswith("@"):
        raise ValueError(f"{fields[0]} is no schedule here; {_AT}")
    if len(fields) == 5:
        return _read_cron(fields)
    minutes = _minutes("".join(fields))
    if minutes == 1:
        return JobFrequency.MINUTE.value
    if 1 < minutes <= _LONGEST:
        return period_text(60 * minutes)
    raise ValueError(
        "expected minute, hour, day, day_noon, an interval from 1min to 30d such as "
        "5min or 2h, or the five fields of cron such as 30 2 * * mon-fri"
    )


def read_recheck(text: str) -> str:
    """Return how soon a failing job runs again: an interval, or ``no``.

    Raise ValueError that says what was expected.
    """
    word = "".join(text.lower().split())
    minutes = _minutes(word)
    if 1 <= minutes <= _LONGEST:
        return period_text(60 * minutes)
    if word in ("no", "false", "off", "0"):
        return "no"
    raise ValueError("expected a time from 1min to 30d such as 5min, or no")


_AT = "write minute, hour or day, or five fields: 0 0 * * sun for each week"


# Intervals.


def holds_s(schedule: str) -> float:
    """Return for how many seconds a result of a job stands if no other follows.

    That is until the next one is missed: a minute run may be a minute and a half late.
    An interval or a frequency has a tenth of itself on top.
    """
    if schedule.count(" ") >= 4:
        # A cron expression may name any minutes: those of a day and a little.
        return MISSED_AFTER[JobFrequency.DAY].total_seconds()
    minutes = _period(schedule)
    return minutes * 66.0 + 84.0


def _minutes(schedule: str) -> int:
    """Return the minutes of an interval; 0 if it is none."""
    match = re.fullmatch(r"([0-9]{1,6})(min|h|d)", schedule, re.ASCII)
    return int(match[1]) * _MINUTES[match[2]] if match else 0


def _period(schedule: str) -> int:
    """Return the minutes between two runs of a job that has no cron expression."""
    return _PERIODS.get(schedule) or _minutes(schedule)


def _is_interval_due(schedule: str, key: JobKey, due: Due) -> bool:
    """Return whether a minute of the epoch, plus a number of the key, is a multiple.

    So the load is spread, and nothing has to be remembered.
    """
    minutes = _epoch_minute(due.now) - _epoch_minute(due.since)
    return _since_interval(schedule, key, due.now) < minutes


def _since_interval(schedule: str, key: JobKey, now: datetime) -> int:
    """Return how many minutes ago a job was last due."""
    spread = crc32(str(key).encode("utf-8", "surrogatepass"))
    return (_epoch_minute(now) + spread) % _minutes(schedule)


def _epoch_minute(moment: datetime) -> int:
    return int(moment.timestamp() // 60)


# Cron expressions.


# Cached, since thousands of jobs may have the same expression.
@lru_cache(maxsize=256)
def _is_cron_due(schedule: str, due: Due) -> bool:
    moment = next_after(schedule, due.since, due.zone)
    return moment is not None and moment <= due.now


def next_after(schedule: str, moment: datetime, zone: tzinfo | None) -> datetime | None:
    """Return the first time of a cron expression after the minute of ``moment``.

    In UTC.  None: it has none in the next 50 years.
    """
    return _next_after(schedule, moment.replace(second=0, microsecond=0), zone)


@lru_cache(maxsize=256)
def _next_after(
    schedule: str, minute: datetime, zone: tzinfo | None
) -> datetime | None:
    from cronsim import CronSim

    for local in CronSim(schedule, in_zone(minute, zone or _MACHINE)):
        # Within one zone datetimes are compared without their offset.
        found = in_zone(local, UTC)
        # In the hour that is repeated in autumn, CronSim begins with the first one.
        if found > minute:
            return found
    return None


class _MachineZone(tzinfo):
    """The zone of this machine, with its changes to summer time."""

    def fromutc(self, moment: datetime) -> datetime:
        local = in_zone(moment.replace(tzinfo=UTC))
        wall = local.replace(tzinfo=self)
        # Python says of no time of this machine that it comes a second time.
        is_second = wall.utcoffset() != local.utcoffset()
        return wall.replace(fold=int(is_second))

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        # Without a zone the wall clock of this machine is meant.
        wall = moment.replace(tzinfo=None) if moment else None
        offset = in_zone(wall).utcoffset() if wall else None
        # None where UTC stands in for a zone that cannot be used.
        return offset or timedelta(0)

    def dst(self, moment: datetime | None) -> None:
        return None

    def tzname(self, moment: datetime | None) -> None:
        return None


_MACHINE = _MachineZone()

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class _Field(msgspec.Struct, frozen=True):
    """One of the five fields: its name, its numbers and their names."""

    name: str
    low: int
    high: int
    names: Mapping[str, int] = {}

    def number(self, text: str) -> int:
        """Return the number of a text; raise ValueError."""
        if text in self.names:
            return self.names[text]
        if re.fullmatch("[0-9]{1,2}", text, re.ASCII):
            if self.low <= int(text) <= self.high:
                return int(text)
        elif text in ("l", "lw") or re.search("[#?~]|[0-9][lw]$", text):
            raise ValueError(
                f"{self.name} {text}: L, W, #, ? and ~ are not read; write the days by "
                "number or name, such as 28 or 1-7 or mon"
            )
        names = f" or {next(iter(self.names))}" if self.names else ""
        what = f"{self.name} {text}" if text else f"the {self.name} is empty"
        raise ValueError(f"{what}: expected * or {self.low} to {self.high}{names}")


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, {name: at for at, name in enumerate((*_MONTHS, "dec"), 1)}),
    # Both 0 and 7 are Sunday.
    _Field("weekday", 0, 7, {name: at for at, name in enumerate(_DAYS)}),
)


def _read_cron(texts: list[str]) -> str:
    """Return a cron expression; raise ValueError if cron programs differ on it.

    Debian's cron never runs 22-2, though it says that it is right.
    """
    for field, text in zip(_FIELDS, texts, strict=True):
        for part in text.split(","):
            _check_part(field, part)
    from cronsim import CronSim, CronSimError

    schedule = " ".join(texts)
    try:
        CronSim(schedule, datetime(2000, 1, 1))
    except CronSimError:
        text = f"day {texts[2]}: month {texts[3]} never has that day"
        raise ValueError(text) from None
    return schedule


def _check_part(field: _Field, part: str) -> None:
    span, slash, step = part.partition("/")
    low, dash, high = span.partition("-")
    if span != "*":
        first = field.number(low)
        last = field.number(high) if dash else first
        if dash and first == last:
            raise ValueError(f"{field.name} {part}: write {low}")
        if slash and not dash:
            right = low if first == field.high else f"{low}-{field.high}/{step}"
            raise ValueError(f"{field.name} {part}: write {right}")
        if first > last:
            if slash and step != "1":
                raise ValueError(f"{field.name} {part} is reversed: write each number")
            right = ",".join(_unwrapped(field, first, last))
            raise ValueError(f"{field.name} {part} is reversed: write {right}")
    if slash:
        _check_step(field, part, step)


def _check_step(field: _Field, part: str, step: str) -> None:
    longest = field.high - field.low
    is_number = re.fullmatch("[0-9]{1,2}", step, re.ASCII)
    if not is_number or not 1 <= int(step) <= longest:
        raise ValueError(
            f"{field.name} {part}: expected a step from 1 to {longest}; or write an "
            "interval such as 90min"
        )


def _unwrapped(field: _Field, first: int, last: int) -> Iterator[str]:
    """Yield the two ranges that a range across the end of a field means."""
    is_weekday = field.high == 7
    yield _span(first, field.high)
    # Sunday is the 7 of the first range.
    low = 1 if is_weekday else field.low
    if last >= low:
        yield _span(low, last)


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"
