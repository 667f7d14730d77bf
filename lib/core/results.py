"""What the execution of a job came to, and how the values it measured are judged."""

import enum
from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple

from lib.core.encoding import Moment, Seconds, Stored
from lib.core.enums import Decision, Status
from lib.core.jobs import Job, JobKey
from lib.core.messages import Message


class Unit(enum.StrEnum):
    """What a value is measured in."""

    SECONDS = "s"
    BYTES = "B"
    PERCENT = "%"
    COUNT = "count"
    PER_SECOND = "1/s"


#: How people write each unit, and how much each of these words stands for.
UNIT_WORDS: Mapping[Unit, Mapping[str, float]] = {
    Unit.SECONDS: {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0},
    Unit.BYTES: {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12},
    Unit.PERCENT: {"%": 1.0},
    Unit.COUNT: {"": 1.0},
    Unit.PER_SECOND: {"/s": 1.0},
}


class Threshold(Stored, frozen=True):
    """The range that is allowed; a number below ``low`` or above ``high`` is not."""

    low: float | None = None
    high: float | None = None
    #: The option of the settings that says so; empty if none does.
    option: str = ""
    #: False: somebody else's, such as a plugin's; it is shown, and judges nothing.
    judges: bool = True

    def allows(self, number: float) -> bool:
        """Return whether a number is within the range."""
        if self.low is not None and number < self.low:
            return False
        return self.high is None or number <= self.high

    def forbids(self, number: float) -> bool:
        """Return whether it judges a number, and finds it outside of the range."""
        return self.judges and not self.allows(number)


class Value(Stored, frozen=True, gc=False):
    """A number that a check measured, and what it is measured against."""

    number: float
    unit: Unit = Unit.COUNT
    #: Outside of these ranges the result is a warning, or failing.
    warn: Threshold | None = None
    fail: Threshold | None = None

    @property
    def is_outside(self) -> bool:
        """Return whether it is outside of a threshold, be it somebody else's."""
        limits = (self.fail, self.warn)
        return any(
            limit is not None and not limit.allows(self.number) for limit in limits
        )

    @property
    def is_low_bad(self) -> bool:
        """Return whether it is measured against a low number alone, as what is free."""
        limits = [limit for limit in (self.warn, self.fail) if limit is not None]
        return bool(limits) and all(limit.high is None for limit in limits)


Values = Mapping[str, Value]


def judge(values: Values, *, need_all: bool = False) -> tuple[Status, str]:
    """Return the status that measured values amount to, and the reason in one line.

    That is FAILING if one is outside its ``fail`` range, else WARNING if one is outside
    its ``warn`` range, else OK.  With ``need_all``, every value that has such a range
    must be outside of it.
    """
    for value in values.values():
        if value.fail or value.warn:
            break
    else:
        return Status.OK, ""
    for status in (Status.FAILING, Status.WARNING):
        limits = {
            name: threshold
            for name, value in values.items()
            if (threshold := value.fail if status is Status.FAILING else value.warn)
            and threshold.judges
        }
        exceeded = [
            _exceeded(name, values[name], threshold)
            for name, threshold in limits.items()
            if not threshold.allows(values[name].number)
        ]
        if need_all and len(exceeded) < len(limits):
            continue
        if exceeded:
            return status, (" and " if need_all else "; ").join(exceeded)
    return Status.OK, ""


class Worst(NamedTuple):
    """The values of several places, of each the worst; and which place each is of."""

    values: dict[str, Value]
    places: dict[str, str]


def worst(
    each: Mapping[str, Values], *, need_all: bool = False, least: Container[str] = ()
) -> Worst:
    """Return the worst values of several places; of equal ones that of the first.

    Without a threshold that is the most, or of the names ``least`` the least.

    With ``need_all`` they are all of one place, since no two are exceeded together at
    two of them.
    """
    if need_all:
        place = max(each, key=lambda one: _severity(judge(each[one], need_all=True)[0]))
        each = {place: each[place]}
    values: dict[str, Value] = {}
    places: dict[str, str] = {}
    for place, of_place in each.items():
        for name, value in of_place.items():
            is_low_bad = name in least
            if name not in values or (
                _badness(value, is_low_bad) > _badness(values[name], is_low_bad)
            ):
                values[name], places[name] = value, place
    return Worst(values, places)


def _severity(status: Status) -> int:
    return (Status.OK, Status.WARNING, Status.FAILING).index(status)


def _badness(value: Value, is_low_bad: bool) -> tuple[int, float]:
    """Return what is more the worse a value is among those of one name."""
    status = _severity(judge({"": value})[0])
    limit = value.fail or value.warn
    if limit is not None and limit.low is not None and limit.high is not None:
        return status, max(limit.low - value.number, value.number - limit.high)
    if limit is not None:
        is_low_bad = limit.high is None
    return status, -value.number if is_low_bad else value.number


#: What stands for a job that measures nothing: how long its check took.
DURATION = "duration"


def telling_value(values: Values) -> str:
    """Return the name of the value that stands for a job; empty if it has none.

    That is the first one that is failing, else the first that is a warning, else the
    first that is outside of somebody else's threshold, else the first that has one,
    else the first.  So it changes only with a status, and a graph is of the same value
    from one hour to the next.
    """

    def rank(name: str) -> int:
        value = values[name]
        if value.fail is not None and value.fail.forbids(value.number):
            return 0
        if value.warn is not None and value.warn.forbids(value.number):
            return 1
        if value.is_outside:
            return 2
        return 3 if value.fail or value.warn else 4

    return min(values, key=rank, default="")


def _exceeded(name: str, value: Value, threshold: Threshold) -> str:
    """Return that a value is outside a range: ``used is 93%, over limit = 90%``."""
    low, high = threshold.low, threshold.high
    if low is not None and high is not None:
        side = "outside"
    elif low is not None:
        side = "under"
    else:
        side = "over"
    option = f"{threshold.option} = " if threshold.option else ""
    measured = amount_words(value.number, value.unit)
    return f"{name} is {measured}, {side} {option}{_range(threshold, value.unit)}"


def _range(threshold: Threshold, unit: Unit) -> str:
    ends = (threshold.low, threshold.high)
    return "..".join(amount_words(end, unit) for end in ends if end is not None)


def amount_words(number: float, unit: Unit) -> str:
    """Return a number as the settings write it: ``93%``, ``1.5GB``, ``250ms``."""
    if unit is Unit.COUNT:
        return f"{number:.15g}"
    sizes = UNIT_WORDS[unit]
    fitting = [word for word, size in sizes.items() if size <= abs(number)]
    if fitting:
        word = fitting[-1]
    elif number == 0:
        word = next(word for word, size in sizes.items() if size == 1)
    else:
        word = next(iter(sizes))
    # Four digits: 2.001s is not the 2s that it exceeds.
    return f"{float(f'{number / sizes[word]:.4g}'):.15g}{word}"


def spread_words(low: float, high: float, unit: Unit) -> str:
    """Return from which number to which a value went: ``61%..93%``; one if equal."""
    words = [amount_words(number, unit) for number in (low, high)]
    return "..".join(dict.fromkeys(words))


def value_lines(values: Values) -> Iterator[str]:
    """Yield a line for each value, such as ``used: 93% (failing above 90%)``."""
    for name, value in values.items():
        limits = [
            f"{status} {_allowed(threshold, value.unit)}"
            for status, threshold in (("warning", value.warn), ("failing", value.fail))
            if threshold is not None
        ]
        more = f" ({', '.join(limits)})" if limits else ""
        yield f"{name}: {amount_words(value.number, value.unit)}{more}"


def _allowed(threshold: Threshold, unit: Unit) -> str:
    """Return on which side of a range the trouble is: ``above 90%``."""
    if threshold.low is not None and threshold.high is not None:
        return f"outside {_range(threshold, unit)}"
    side = "below" if threshold.low is not None else "above"
    return f"{side} {_range(threshold, unit)}"


class CheckResult(Stored, frozen=True):
    """What one execution of one job found."""

    status: Status
    #: The reason, for people; its first line goes into subjects.
    reason: str = ""
    #: More for people: a traceback, what the job printed.
    output: str = ""
    seconds: Seconds = 0.0
    #: What the failure is about, for grouping: the reason without the host in one line,
    #: the host, and its addresses that were tried.  Empty if there is none.
    cause: str = ""
    host: str = ""
    addresses: tuple[str, ...] = ()
    #: What was checked, for people: a URL without credentials, host and port, or path;
    #: and the address that answered.  Empty if it is OK, or has none.
    target: str = ""
    answered_by: str = ""
    #: Check again in the next minute run, whatever the job's frequency.
    ask_again: bool = False
    #: What was measured, by name.
    values: Values = {}
    #: Since when it has failed, if that is known; None: since this result.
    since: Moment | None = None
    #: What it found is news in itself, such as lines of a log: each such result is
    #: notified, and nobody of the end of it.
    is_event: bool = False


class JobReport(Stored, frozen=True):
    """A result, its decision and its messages, as a worker sends them."""

    job: Job
    result: CheckResult
    decision: Decision
    messages: tuple[Message, ...] = ()
    #: The job's memory after the run; None: unchanged.
    memory: Mapping[str, Any] | None = None
    #: The hook did not notify although it is due: send the default mail.
    default_mail: bool = False
    #: What went wrong in the hook, with the traceback; empty if nothing did.
    hook_trouble: str = ""
    #: Which parents are failing, if alerts are held back for it.
    held_by: str = ""
    #: Files of a spool that the job has read: to be removed after the commit.
    consumed: tuple[str, ...] = ()


class Timing(Stored, frozen=True):
    """How long a check took, and when."""

    key: JobKey
    name: str
    seconds: Seconds
    at: Moment
