"""Heartbeats: what other people's cron jobs report, and what it means.

``Event`` is one report: a run has started or ended, or has something to say.
``applied`` makes of what is remembered and of new events what is to be remembered,
``judge`` says what it amounts to at a moment.  The stories are in
``tests/unit/core/test_heartbeats.py``.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import timedelta, tzinfo
from typing import Annotated, Any

import msgspec
from msgspec.structs import replace

from lib.core import schedule
from lib.core.encoding import Stored, builtins, convert
from lib.core.enums import Status as Status
from lib.core.text import duration, mail_time, utc

#: The longest name of a heartbeat; the most of a text that is kept, in characters.
MAX_NAME, MAX_TEXT = 200, 200
#: The most of an output that an event has, in characters.
MAX_OUTPUT = 10 * 1024
#: The most seconds that a run may say it took, and the last moment there is.
MAX_SECONDS, MAX_MOMENT = 1e9, 2**40

Short = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
EpochSeconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_MOMENT)]


class What(enum.StrEnum):
    """What an event says."""

    START = "start"
    END = "end"
    #: Something to keep, which says neither.
    LOG = "log"


class Event(Stored, frozen=True):
    """What a run of somebody's job has reported.

    ``-m wrap`` writes the same as JSON, without this class.
    """

    #: That of the section: ``[heartbeat NAME]``.
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
    what: What
    #: When it happened, in seconds of the epoch.
    at: EpochSeconds
    #: What its start and its end have in common; empty: not known.
    run: Short = ""
    #: When its run began, and how long it took; None: not known.
    started_at: EpochSeconds | None = None
    seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)] | None = None
    #: The exit code; None: it was ended by a signal, or said only that it ended.
    code: Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)] | None = None
    #: The signal that ended it, such as ``SIGKILL``.
    signal: Short = ""
    #: It said that it failed, with no code.
    failed: bool = False
    #: Why the command could not be started, or its output not be written.
    trouble: Short = ""
    host: Short = ""
    #: The command's own name, and the programs before it that change its exit code.
    program: Short = ""
    through: tuple[Short, ...] = ()
    #: The last of its output; None: it was not kept.
    output: Annotated[str, msgspec.Meta(max_length=MAX_OUTPUT)] | None = None
    #: There was more of it before that.
    cut: bool = False
    #: The process that is to report the end: its number, when it began in ticks of the
    #: boot, and in which boot and namespace of processes that is; 0 and "": not known.
    pid: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    ticks: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    boot: Short = ""
    namespace: Short = ""


_DECODER = msgspec.json.Decoder(Event)


def encoded(event: Event) -> bytes:
    """Return an event as the text of a file."""
    return msgspec.json.encode(event)


def decoded(content: bytes) -> Event:
    """Return the event of a text; raise ValueError if it is none."""
    try:
        return _DECODER.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is not an event: {error}") from error


#: The most runs that are remembered as under way, and as ended.
MOST_OPEN, MOST_ENDED = 20, 20
#: A start may be so much early, by another machine's clock, and is still that one.
EARLY_S = 30.0
#: By so much the clock may be off what it was without having been set.
CLOCK_S = 60.0
#: What was due this early after a boot was due too early.
BOOT_S = 120.0
#: The most that a run which was due while the machine was off is waited for.
CAUGHT_UP_S = 3600.0


class Clock(msgspec.Struct, frozen=True):
    """The time, and what shows whether it went on undisturbed."""

    #: Now, in seconds of the epoch.
    now: float
    #: The same without the seconds that the machine was awake since its boot: it
    #: changes when the clock is set, and while the machine sleeps or is off.
    offset: float = 0.0
    booted_at: float = 0.0


class Memory(Stored, frozen=True):
    """What is remembered of a heartbeat between two checks."""

    #: When it was first checked.
    since: EpochSeconds
    #: When its last run began; if that is not known, when it ended.
    seen_at: EpochSeconds | None = None
    #: The runs that are under way, by their ``start``.
    open: tuple[Event, ...] = ()
    #: The last that ended, and the last that has vanished without an end.
    last: Event | None = None
    vanished: Event | None = None
    #: The runs that ended lately: an end may be read before its start.
    ended: tuple[str, ...] = ()
    #: The files whose events are in here, as long as they may still lie in the spool.
    applied: tuple[str, ...] = ()
    #: See ``Clock``; and since when it has gone on undisturbed.
    offset: float | None = None
    steady_since: float = 0.0
    #: The start that was due and did not come, of which this is failing.
    missed: float | None = None
    #: A user whose event was not believed.
    refused: Short = ""


def remembered(memory: Mapping[str, Any]) -> Memory:
    """Return a memory from plain values; raise ValueError."""
    return convert(dict(memory), Memory)


def plain(memory: Memory) -> dict[str, Any]:
    """Return a memory as plain values, which a job keeps."""
    values: dict[str, Any] = builtins(memory)
    return values


def read_cron(text: str) -> str:
    """Return a cron expression as it is kept; raise ValueError."""
    return schedule.read(text)


def begun(clock: Clock) -> Memory:
    """Return the memory of a heartbeat that is checked for the first time."""
    return Memory(clock.now, offset=clock.offset, steady_since=clock.booted_at)


def steadied(memory: Memory, clock: Clock) -> Memory:
    """Return the memory, aware of a clock that was set, and of a sleep or a boot.

    Nothing in it is later than now, then.
    """
    offset = memory.offset
    if offset is not None and abs(clock.offset - offset) <= CLOCK_S:
        return memory
    seen_at = memory.seen_at
    return replace(
        memory,
        since=min(memory.since, clock.now),
        seen_at=None if seen_at is None else min(seen_at, clock.now),
        offset=clock.offset,
        steady_since=clock.now,
    )


def applied(
    memory: Memory,
    events: Mapping[str, Event],
    now: float,
    gone: Collection[str] = (),
    present: Collection[str] = (),
) -> Memory:
    """Return the memory with new events, by the names of their files.

    ``gone`` are the runs under way whose process was no longer there before the events
    were read, ``present`` all files that are still in the spool.  An event whose file
    was applied before changes nothing.
    """
    new = {name: event for name, event in events.items() if name not in memory.applied}
    if not (new or gone):
        return memory
    # All starts first: in the order of time an end may come before its own start.
    for event in sorted(new.values(), key=lambda one: (one.what is What.END, one.at)):
        memory = _with_event(memory, event, now)
    for start in [start for start in memory.open if start.run in gone]:
        memory = replace(memory, open=_without(memory.open, start.run), vanished=start)
    still = [name for name in memory.applied if name in present]
    return replace(memory, applied=(*still, *new))


def _with_event(memory: Memory, event: Event, now: float) -> Memory:
    if event.what is What.START:
        return _with_start(memory, event, now)
    if event.what is What.END:
        return _with_end(memory, event, now)
    if memory.last is None:
        return memory
    return replace(memory, last=replace(memory.last, output=event.output))


def _with_start(memory: Memory, event: Event, now: float) -> Memory:
    memory = replace(memory, seen_at=_latest(memory.seen_at, event.at, now))
    if event.run and event.run in memory.ended:
        return memory
    others = _without(memory.open, event.run)
    return replace(memory, open=(*others, event)[-MOST_OPEN:])


def _with_end(memory: Memory, event: Event, now: float) -> Memory:
    start = next((one for one in memory.open if one.run == event.run), None)
    started_at = event.started_at
    if started_at is None and start is not None:
        started_at = start.at
    if event.seconds is None and started_at is not None:
        event = replace(event, seconds=max(0.0, event.at - started_at))
    vanished = memory.vanished
    if vanished is not None and vanished.at <= (started_at or event.at):
        # It, or one after it, did end.
        vanished = None
    return replace(
        memory,
        seen_at=_latest(memory.seen_at, started_at or event.at, now),
        open=_without(memory.open, event.run),
        last=event,
        vanished=vanished,
        ended=(*memory.ended, *filter(None, [event.run]))[-MOST_ENDED:],
    )


def _without(runs: tuple[Event, ...], run: str) -> tuple[Event, ...]:
    return tuple(one for one in runs if one.run != run)


def _latest(before: float | None, at: float, now: float) -> float:
    # What another clock says of the future was now.
    at = min(at, now)
    return at if before is None else max(before, at)


class State(enum.StrEnum):
    """What a heartbeat is, for people."""

    NEW = "new"
    STARTED = "started"
    UP = "up"
    LATE = "late"
    DOWN = "down"


class Words(msgspec.Struct, frozen=True):
    """Words in an output that mean trouble although the exit code says none."""

    pattern: re.Pattern[str]
    status: Status
    #: What they mean, for people; empty: nothing more.
    meaning: str = ""


class Rule(msgspec.Struct, frozen=True):
    """How a heartbeat is judged."""

    #: Seconds, or a cron expression in a zone; None: that of this machine.
    period: float | str
    zone: tzinfo | None = None
    #: How late it may be, in seconds; None: see ``grace_of``.
    grace: float | None = None
    #: Exit codes that are OK, and that are a warning, as ranges.
    exit_ok: tuple[tuple[int, int], ...] = ((0, 0),)
    exit_warn: tuple[tuple[int, int], ...] = ()
    #: What codes mean, for people.
    meanings: Mapping[int, str] = {}
    words: tuple[Words, ...] = ()
    #: What must be in the output.
    expected: tuple[re.Pattern[str], ...] = ()
    #: The most seconds that a run may take; None: until the next is due.
    longest: float | None = None
    warn_longest: float | None = None


class Judgement(msgspec.Struct, frozen=True):
    """What a heartbeat amounts to."""

    state: State
    status: Status
    reason: str = ""
    #: When the next start is due, in seconds of the epoch; None: never again.
    due_at: float | None = None
    #: What is to be remembered.
    missed: float | None = None


def judge(memory: Memory, rule: Rule, clock: Clock) -> Judgement:
    """Return what a heartbeat amounts to now; the worst of all that is wrong."""
    due_at = next_due(memory, rule, clock.now)
    found = [
        *_of_vanished(memory, rule),
        *_of_open(memory, rule, clock.now),
        *_of_last(memory.last, rule),
    ]
    missed = None
    if due_at is not None and due_at <= clock.now:
        until = _until(memory, rule, due_at, clock)
        if memory.missed == due_at or until < clock.now:
            missed = due_at
            found.append((Status.FAILING, _not_come(memory, rule, due_at)))
    if found:
        found.sort(key=lambda one: one[0] is not Status.FAILING)
        status = found[0][0]
        reason = "\n".join(text for _status, text in found)
        state = State.DOWN if status is Status.FAILING else State.UP
        return Judgement(state, status, reason, due_at, missed)
    return Judgement(_quiet_state(memory, due_at, clock), Status.OK, "", due_at)


def _quiet_state(memory: Memory, due_at: float | None, clock: Clock) -> State:
    if memory.open:
        return State.STARTED
    if due_at is not None and due_at <= clock.now:
        return State.LATE
    return State.NEW if memory.seen_at is None else State.UP


# When it is due.


def next_due(memory: Memory, rule: Rule, now: float) -> float | None:
    """Return when the next start is, or was, due; None: never again."""
    seen_at = memory.since if memory.seen_at is None else memory.seen_at
    seen_at = min(seen_at, now)
    if not isinstance(rule.period, str):
        return seen_at + rule.period
    early = EARLY_S if memory.seen_at is not None else 0.0
    return _next_by_cron(rule, seen_at + early)


def _next_by_cron(rule: Rule, after: float) -> float | None:
    moment = schedule.next_after(str(rule.period), utc(after), rule.zone)
    return None if moment is None else moment.timestamp()


def _period_at(rule: Rule, moment: float) -> float:
    """Return the seconds between the starts that are due around a moment."""
    if not isinstance(rule.period, str):
        return rule.period
    first = _next_by_cron(rule, moment)
    second = None if first is None else _next_by_cron(rule, first)
    if first is None or second is None:
        return 86_400.0
    return second - first


def grace_of(rule: Rule, due_at: float) -> float:
    """Return how late a start may be: a quarter of the period, 5 minutes to an hour."""
    if rule.grace is not None:
        return rule.grace
    return min(max(_period_at(rule, due_at) / 4, 300.0), 3600.0)


def _until(memory: Memory, rule: Rule, due_at: float, clock: Clock) -> float:
    """Return until when a start that is due may come.

    Whatever was due while the machine was off or asleep, or before its clock was set,
    may come by the next time that one is due, which is waited for up to an hour.
    """
    grace = grace_of(rule, due_at)
    steady = max(memory.steady_since, clock.booted_at)
    if due_at > steady + BOOT_S:
        return due_at + grace
    if isinstance(rule.period, str):
        upcoming = _next_by_cron(rule, steady)
        wait = CAUGHT_UP_S if upcoming is None else upcoming - steady
    else:
        wait = rule.period
    return max(due_at, steady + min(wait, CAUGHT_UP_S)) + grace


# What is wrong.

Found = tuple[Status, str]


def _of_vanished(memory: Memory, rule: Rule) -> Iterator[Found]:
    if memory.vanished is not None:
        at = _shown(memory.vanished.at, rule)
        yield Status.FAILING, (
            f"started {at} and never ended: its process is gone, so it was killed or "
            "the machine was restarted"
        )


def _of_open(memory: Memory, rule: Rule, now: float) -> Iterator[Found]:
    """Yield what is wrong with the oldest run that is under way."""
    if not memory.open:
        return
    start = memory.open[0]
    took = now - start.at
    at = _shown(start.at, rule)
    if rule.longest is not None and took > rule.longest:
        most = duration(timedelta(seconds=rule.longest))
        yield Status.FAILING, (
            f"too long: started {at}, it has not ended within {most}"
        )
    elif rule.longest is None and not start.pid:
        # Of a process that is known it is seen when it is gone.
        due_at = next_due(replace(memory, seen_at=start.at), rule, now)
        if due_at is not None and now > due_at + grace_of(rule, due_at):
            yield Status.FAILING, (
                f"started {at} and never ended: the next one was due "
                f"{_shown(due_at, rule)}"
            )
    elif rule.warn_longest is not None and took > rule.warn_longest:
        most = duration(timedelta(seconds=rule.warn_longest))
        yield Status.WARNING, (
            f"too long: started {at}, it has not ended within {most}"
        )


def _of_last(last: Event | None, rule: Rule) -> Iterator[Found]:
    if last is None:
        return
    what = last.program or "it"
    if last.trouble:
        yield Status.FAILING, f"{last.trouble} ({_when(last, rule)})"
    elif last.signal:
        yield Status.FAILING, f"{what} was ended by {last.signal} {_when(last, rule)}"
    elif last.failed:
        yield Status.FAILING, f"{what} said that it failed {_when(last, rule)}"
    elif last.code is not None and not _is_in(last.code, rule.exit_ok):
        is_partial = _is_in(last.code, rule.exit_warn)
        meaning = rule.meanings.get(last.code, "")
        more = f": {meaning}" if meaning else ""
        yield (
            Status.WARNING if is_partial else Status.FAILING,
            f"{what} ended with {last.code} {_when(last, rule)}{more}",
        )
    elif last.output is not None:
        # Most have nothing to say, and need no words for it.
        for status, but in _of_output(last.output, rule):
            yield status, f"{what} ended well {_when(last, rule)}, but its output {but}"


def _when(last: Event, rule: Rule) -> str:
    at = _shown(last.at, rule)
    if last.seconds is None:
        return at
    return f"{at} after {duration(timedelta(seconds=last.seconds))}"


def _of_output(output: str, rule: Rule) -> Iterator[Found]:
    """Yield what an output says that the exit code does not; the worst only."""
    for pattern in rule.expected:
        if not pattern.search(output):
            yield Status.FAILING, f"lacks {pattern.pattern!r}"
            return
    for words in sorted(rule.words, key=lambda one: one.status is not Status.FAILING):
        match = words.pattern.search(output)
        if match is not None:
            line = _line_around(output, match.start())
            more = f": {words.meaning}" if words.meaning else ""
            yield words.status, f"says {line!r}{more}"
            return


def _line_around(text: str, at: int) -> str:
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    return text[start : len(text) if end < 0 else end].strip()[:MAX_TEXT]


def _not_come(memory: Memory, rule: Rule, due_at: float) -> str:
    due = f"it was due {_shown(due_at, rule)}"
    late = duration(timedelta(seconds=grace_of(rule, due_at)))
    if memory.seen_at is None:
        text = f"down: it has never run; {due} and {late} of grace are over"
    else:
        last = _shown(memory.seen_at, rule)
        text = f"down: no run since {last}; {due} and {late} of grace are over"
    if memory.refused:
        text += (
            f"\nwhat the user {memory.refused} reported is not believed; if that is "
            f"right, set user = {memory.refused}"
        )
    return text


def _is_in(code: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(low <= code <= high for low, high in ranges)


def _shown(at: float, rule: Rule) -> str:
    return mail_time(utc(at), rule.zone)
