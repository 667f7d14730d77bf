"""[systemd NAME]: checks one unit of systemd, or that none of all has failed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from fnmatch import fnmatchcase

from lib.jobbase import (
    CheckFailed,
    CheckPending,
    CheckUnknown,
    CheckWarning,
    Clash,
    Deadline,
    Options,
    Target,
    TargetJob,
    Value,
    Values,
    count,
    option,
    seconds,
)
from lib.net import bulk

#: What is asked of each unit.
PROPERTIES = (
    "Id LoadState LoadError ActiveState SubState Result NRestarts Type Unit "
    "RemainAfterExit ExecMainStatus ExecMainExitTimestamp ConditionResult "
    "ConditionTimestamp AssertResult LastTriggerUSec"
).split()
#: While a unit is in one of these it is about to be something else.
ON_THE_WAY = {"activating", "deactivating"}
#: Substates of a service that systemd starts again and again.
RESTARTING = {"auto-restart", "auto-restart-queued"}
MAX_NAMED = 5
#: What a unit is known by: the properties of ``systemctl show``.
Unit = Mapping[str, str]


def unit_name(value: str) -> str:
    """Return the name of a unit, with ``.service`` where it has no suffix."""
    if not value or value.startswith("-") or any(sign in value for sign in " \t*?[]/"):
        raise ValueError("expected the name of one unit, such as nginx or backup.timer")
    return value if "." in value else f"{value}.service"


def patterns(value: str) -> tuple[str, ...]:
    """Return names and shell patterns of units, separated by commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


class SystemdChecker(bulk.InBulk, TargetJob):
    """One unit of systemd; without ``unit``, that none has failed."""

    kind = "systemd"
    recheck = "5min"
    guide = r"""
        A unit must be active. A service of `Type=oneshot` that has ended must have
        ended well: its last run is known by the time at which its program ended, and
        its result. A run that was skipped by a condition, or whose dependency failed,
        is none. Checker remembers the last success, since systemd forgets it at a boot.
        Of a oneshot that no timer starts systemd forgets it at once: that is a warning.

        Of a `.timer` the last run of its service is judged, and the timer must be able
        to elapse again. `fail_age` and `warn_age` say how old the last success may be.

        A unit that is not there, masked or cannot be loaded is failing. One that
        systemd starts again and again is failing too, though `systemctl --failed` does
        not list it. One that is starting is pending.

        Without `unit`, every loaded unit is looked at: none may have failed, or be
        started again and again. Without systemd the result is unknown.
        """
    options: Options = {
        "unit": option(unit_name, "", help="its name; without it, all units"),
        "ignore": option(
            patterns, (), help="of all units, those that may have failed; * and ? work"
        ),
        "fail_restarts": option(
            count, 3, help="failing if restarted more often since the last check"
        ),
        "warn_restarts": option(count, None, help="a warning if restarted more often"),
        "fail_age": option(
            seconds, None, help="failing if the last success of a oneshot is older"
        ),
        "warn_age": option(seconds, None, help="a warning if it is older"),
    }
    #: The program that is asked, and a folder that is there if systemd is at work.
    systemctl: tuple[str, ...] = ("systemctl",)
    booted = "/run/systemd/system"

    @classmethod
    def wrong_together(cls, target: Target) -> Iterable[Clash]:
        """Return options that are about something else."""
        if not target.unit and (target.fail_age or target.warn_age):
            yield Clash(
                "fail_age and warn_age need unit: the last success of which one?",
                ("fail_age", "warn_age"),
            )
        if target.unit and target.ignore:
            words = "ignore is for all units, so leave out unit or ignore"
            yield Clash(words, ("ignore", "unit"))

    def shown_target(self) -> str:
        """Return the unit."""
        return self.target.unit or "all units"

    def steps(self, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
        """Return how often it was restarted, and how old its last success is."""
        if not os.path.isdir(self.booted):
            raise CheckUnknown(
                f"systemd does not run this machine: there is no {self.booted}"
            )
        if not target.unit:
            return self._judge_all(target, (yield from self._ask("*", deadline)))
        units = yield from self._ask(target.unit, deadline)
        unit = units[0] if units else {}
        if not target.unit.endswith(".timer"):
            return self._judge(target, unit, unit, time.time())
        wrong = why_wrong(target.unit, unit) or why_timer_wrong(unit)
        if wrong:
            raise CheckFailed(wrong)
        service = yield from self._ask(unit.get("Unit", ""), deadline)
        return self._judge(target, service[0] if service else {}, unit, time.time())

    def _ask(self, name: str, deadline: Deadline) -> bulk.Steps[list[Unit]]:
        from lib.jobbase import output_of

        words = [*self.systemctl, "show", "--no-pager", "--all"]
        words += [f"--property={','.join(PROPERTIES)}", "--", name]
        return units_in((yield from output_of(words, deadline, {"TZ": "UTC"})))

    def _judge_all(self, target: Target, units: list[Unit]) -> Values:
        """Return how often the most restarted was; raise if a unit has failed."""
        if not units:
            raise CheckUnknown("systemctl names no unit")
        units = [
            unit
            for unit in units
            if not any(fnmatchcase(unit.get("Id", ""), each) for each in target.ignore)
        ]
        restarts = self._restarts(units)
        wrong = [words for unit in units if (words := why_failed(unit))]
        if wrong:
            raise CheckFailed(listed(wrong))
        most = max(restarts.items(), key=lambda item: item[1], default=("", 0))
        self.note = f"{most[0]} was restarted" if most[1] else ""
        return {
            "restarts": count(
                most[1], warn=target.warn_restarts, fail=target.fail_restarts
            )
        }

    def _judge(self, target: Target, unit: Unit, asked: Unit, now: float) -> Values:
        """Return what was measured of one unit; raise if it is not as it should be."""
        name = unit.get("Id") or target.unit
        restarts = self._restarts([unit])
        if wrong := why_wrong(name, unit) or why_failed(unit):
            raise CheckFailed(wrong)
        if unit.get("LoadState") == "not-found":
            raise CheckWarning(f"{name} still runs, but its file is gone")
        state = unit.get("ActiveState", "")
        if state in ON_THE_WAY and unit.get("Type") != "oneshot":
            raise CheckPending(f"{name} is {state} ({unit.get('SubState')})")
        values: dict[str, Value | float] = {
            "restarts": count(
                restarts.get(name, 0),
                warn=target.warn_restarts,
                fail=target.fail_restarts,
            )
        }
        is_run = unit.get("Type") == "oneshot" and unit.get("RemainAfterExit") != "yes"
        is_up = state in ("active", "reloading", "refreshing")
        has_timer = unit is not asked
        if has_timer and is_up and unit.get("RemainAfterExit") == "yes":
            raise CheckFailed(
                f"{name} has RemainAfterExit=yes and is active, so its timer never "
                "starts it again"
            )
        if is_run or (has_timer and not is_up):
            values["age"] = seconds(
                self._age(target, name, unit, asked, now),
                warn=target.warn_age,
                fail=target.fail_age,
            )
        elif not is_up:
            raise CheckFailed(f"{name} is {state}{ended_words(unit)}")
        return values

    def _age(
        self, target: Target, name: str, unit: Unit, asked: Unit, now: float
    ) -> float:
        """Return how old the last success is; raise if there is none."""
        ended_at = moment(unit.get("ExecMainExitTimestamp", ""))
        if ended_at is not None and unit.get("Result") == "success":
            self.memory["success_at"] = ended_at
        last = self.memory.get("success_at")
        why = why_not_run(unit, asked)
        if unit.get("ActiveState") in ON_THE_WAY and last is None:
            raise CheckPending(f"{name} is running; no run of it has ended yet")
        if why and unit.get("ActiveState") not in ON_THE_WAY:
            raise CheckFailed(f"{name}: {why}")
        if isinstance(last, int | float):
            return float(max(0.0, round(now - last)))
        up_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        if target.fail_age is not None and up_s > (target.fail_age.high or 0):
            raise CheckFailed(f"{name} has not run since this machine started")
        raise CheckWarning(
            f"{name} has not run since this machine started, or has no timer: systemd "
            "then forgets at once how it ended"
        )

    def _restarts(self, units: Iterable[Unit]) -> dict[str, int]:
        """Return how often each unit was restarted since the last check."""
        now = {
            unit["Id"]: int(unit["NRestarts"])
            for unit in units
            if unit.get("Id") and unit.get("NRestarts", "").isdecimal()
        }
        before = self.memory.get("restarts")
        self.memory["restarts"] = {name: times for name, times in now.items() if times}
        if not isinstance(before, dict):
            # What happened before the first check is not known to be new.
            return dict.fromkeys(now, 0)
        # After reset-failed or a boot it begins anew.
        return {
            name: (
                number - before.get(name, 0)
                if number >= before.get(name, 0)
                else number
            )
            for name, number in now.items()
        }


def units_in(output: str) -> list[Unit]:
    """Return the properties of each unit that ``systemctl show`` printed."""
    units: list[Unit] = []
    for block in output.split("\n\n"):
        pairs = (line.partition("=") for line in block.splitlines() if "=" in line)
        unit = {name: value for name, _equals, value in pairs}
        if unit:
            units.append(unit)
    return units


def why_wrong(name: str, unit: Unit) -> str:
    """Return why a unit cannot be what it should be; empty if it can."""
    load = unit.get("LoadState", "")
    if load == "not-found":
        still_runs = unit.get("ActiveState") == "active"
        return "" if still_runs else f"there is no unit {name}"
    if load == "masked":
        return f"{name} is masked (or its file is empty), so it cannot be started"
    if load != "loaded":
        return f"{name} cannot be loaded: {load or 'nothing is known of it'}"
    return ""


def why_failed(unit: Unit) -> str:
    """Return that a unit has failed or is in a loop; empty: it is not."""
    name = unit.get("Id", "")
    if unit.get("ActiveState") == "failed":
        return f"{name} has failed{ended_words(unit)}"
    if unit.get("SubState") in RESTARTING:
        return (
            f"{name} ended and is started again and again{ended_words(unit)}, "
            f"{unit.get('NRestarts', '?')} times so far"
        )
    return ""


def why_timer_wrong(unit: Unit) -> str:
    """Return why a timer does not elapse again; empty if it does."""
    name, state, sub = (
        unit.get(each, "") for each in ("Id", "ActiveState", "SubState")
    )
    if state == "failed":
        return f"{name} has failed{ended_words(unit)}"
    if state != "active":
        return f"{name} is {state}, so it starts nothing"
    is_over = unit.get("SubState") == "elapsed"
    return f"{name} has elapsed for the last time" if is_over else ""


def why_not_run(unit: Unit, timer: Unit) -> str:
    """Return why the last start of a oneshot came to nothing; empty if it ran well.

    ``Result`` says success for what was skipped, too, so the times decide.
    """
    ended_at = moment(unit.get("ExecMainExitTimestamp", ""))
    if unit.get("Result", "success") != "success":
        return f"its last run was no success{ended_words(unit)}"
    asked_at = moment(unit.get("ConditionTimestamp", ""))
    if unit.get("ConditionResult") == "no" and asked_at and asked_at > (ended_at or 0):
        return "its last start was skipped, since a condition of it does not hold"
    if unit.get("AssertResult") == "no" and asked_at and asked_at > (ended_at or 0):
        return "its last start was refused, since an assertion of it does not hold"
    started_at = moment(timer.get("LastTriggerUSec", ""))
    is_over = unit.get("ActiveState") not in ("active", *ON_THE_WAY)
    # Both have whole seconds.
    if started_at and is_over and started_at > (ended_at or 0) + 1:
        return "its timer has started it, but it never ran; did a dependency fail?"
    return ""


def ended_words(unit: Unit) -> str:
    """Return how a unit ended, in brackets; empty if nothing is known."""
    result, status = unit.get("Result", ""), unit.get("ExecMainStatus", "0")
    words = [result] if result and result != "success" else []
    if status not in ("", "0"):
        words.append(f"status {status}")
    return f" ({', '.join(words)})" if words else ""


def moment(shown: str) -> float | None:
    """Return the Unix time of ``Sun 2026-11-29 07:35:02 UTC``; None if it is none."""
    _day, _space, rest = shown.partition(" ")
    day_and_time, zone = rest[:-4], rest[-4:]
    if zone != " UTC":
        return None
    try:
        # Not time.strptime, which imports calendar and locale.
        return datetime.fromisoformat(f"{day_and_time}+00:00").timestamp()
    except ValueError:
        return None


def listed(wrong: list[str]) -> str:
    """Return what is wrong, one in the first line, each of the first few below it."""
    if len(wrong) == 1:
        return wrong[0]
    more = [f"and {len(wrong) - MAX_NAMED} more"] if len(wrong) > MAX_NAMED else []
    return "\n".join([f"{len(wrong)} units have failed", *wrong[:MAX_NAMED], *more])
