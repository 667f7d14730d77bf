"""What other thresholds make of the values that history has, for ``-m replay``.

The thresholds that there were are those of the values that a job measured last; each
knows its option.  An option of a section that differs is read by the unit of its value.
What cannot be told apart without the kind's own table is left to new checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from lib.config import fields
from lib.config.policies import needs_checks, raw_options
from lib.core.enums import Status
from lib.core.ini import IniFile
from lib.core.jobs import JobKey
from lib.core.results import Threshold, Unit, Value, Values, judge

_MOST = 1e18
#: How the options of thresholds are read, by the unit of their value.
_READERS = {
    Unit.SECONDS: fields.duration(0, _MOST),
    Unit.PERCENT: fields.percent(0, _MOST),
    Unit.BYTES: fields.size(0, _MOST),
    Unit.COUNT: fields.number(0, _MOST),
    Unit.PER_SECOND: fields.number(0, _MOST),
}
#: The other names that kinds have for such an option.
_ALSO = {"limit": "fail_percent", "days": "fail_days"}
_WORDS = ("warn", "fail")
#: What values decide.  Where a check could not be made, no threshold changes that.
_BY_VALUES = frozenset({Status.OK, Status.WARNING, Status.FAILING})


class Thresholds:
    """The thresholds of settings beside those of the runs."""

    def __init__(
        self, before: IniFile, after: IniFile, measured: Mapping[JobKey, Values]
    ) -> None:
        """``measured``: what each job measured last."""
        self._before, self._after = before, after
        self._measured = measured
        self._known: dict[JobKey, tuple[Values, Values, bool]] = {}
        #: The options that can be replayed, with their sections, and those that cannot.
        self.replayed: list[tuple[str, str]] = []
        self.not_replayed: list[tuple[str, str]] = []

    def take(self, key: JobKey) -> bool:
        """Take what differs for a job; return whether its values are to be judged."""
        was = self._measured.get(key, {})
        now = was
        for option, title in needs_checks(self._before, self._after, key):
            changed = self._changed(now, option, title, key)
            if changed is None:
                self.not_replayed.append((option, title))
            else:
                self.replayed.append((option, title))
                now = changed
        if now is was:
            return False
        raw = raw_options(self._before, key)
        self._known[key] = was, now, raw.get("need") == "all"
        return True

    def status(
        self, key: JobKey, status: Status, numbers: Mapping[str, float]
    ) -> Status:
        """Return the status of a result by the thresholds of the settings.

        It stays what it was, unless the thresholds that there were explain it.
        """
        if key not in self._known or status not in _BY_VALUES:
            return status
        was, now, need_all = self._known[key]
        if judge(_with(was, numbers), need_all=need_all)[0] is not status:
            return status
        return judge(_with(now, numbers), need_all=need_all)[0]

    def _changed(
        self, values: Values, option: str, title: str, key: JobKey
    ) -> Values | None:
        """Return the values with the threshold of an option; None: it is not known."""
        name = _ALSO.get(option, option)
        word, _underscore, rest = name.partition("_")
        raw = raw_options(self._after, key).get(option)
        if word not in _WORDS or raw is None:
            return None
        for measured, value in values.items():
            sides = {"warn": value.warn, "fail": value.fail}
            like = next(
                (
                    limit
                    for other in (word, *_WORDS)
                    if (limit := sides[other]) is not None
                    and limit.option == f"{other}_{rest}"
                ),
                None,
            )
            limit = None if like is None else _read(raw, value.unit, like, name)
            if limit is not None:
                changes: dict[str, Any] = {word: limit}
                return {**values, measured: replace(value, **changes)}
        return None


def _read(raw: str, unit: Unit, like: Threshold, option: str) -> Threshold | None:
    """Return a threshold on the side of another one; None: it has another form."""
    try:
        limit = fields.or_range(_READERS[unit])(raw)
    except ValueError:
        return None
    if isinstance(limit, fields.Range):
        return Threshold(limit.low, limit.high, option)
    if like.low is not None and like.high is not None:
        return None
    is_low = like.low is not None
    return Threshold(limit if is_low else None, None if is_low else limit, option)


def _with(values: Values, numbers: Mapping[str, float]) -> dict[str, Value]:
    """Return the numbers of a result with these thresholds."""
    return {
        name: replace(value, number=numbers[name])
        for name, value in values.items()
        if name in numbers
    }
