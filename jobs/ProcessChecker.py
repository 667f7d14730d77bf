"""[process NAME]: checks that processes are alive, how many, how old and how large."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from lib.jobbase import (
    CheckFailed,
    CheckUnknown,
    CheckWarning,
    Clash,
    Deadline,
    Options,
    Quantity,
    Target,
    TargetJob,
    Threshold,
    Unit,
    Value,
    Values,
    absolute_path,
    bytes_,
    count,
    one_of,
    option,
    pattern,
    percent_up_to,
    seconds,
    switch,
    text,
)

if TYPE_CHECKING:
    from lib.jobbase import processes

    Process = processes.Process

#: Of one core; a process with many threads has more.
percent_of_a_core = Quantity(Unit.PERCENT, percent_up_to(100_000))
NOT_ALIVE = {"zombie", "dead"}
#: A process may be so much younger than the file that names it: start times have
#: hundredths, and the time of the boot is known to a second.
START_SLACK_S = 2.0
#: The longest pid file that is read.
MAX_PIDFILE = 64
#: So many processes are named in a reason, and their CPU time kept.
MAX_NAMED, MAX_KEPT = 5, 1000


def states(value: str) -> frozenset[str]:
    """Return psutil's words for letters such as ``Z`` or ``D, Z``."""
    from lib.jobbase import processes

    letters = [part.strip() for part in value.split(",") if part.strip()]
    if not letters or not all(letter in processes.STATES for letter in letters):
        raise ValueError(f"expected one or more of {', '.join(processes.STATES)}")
    return frozenset(processes.STATES[letter] for letter in letters)


class ProcessChecker(TargetJob):
    """The processes of this machine that are as the section says."""

    kind = "process"
    guide = r"""
        What is given of `program`, `command_regex`, `pidfile` and `user` must all be
        so. If nothing is, all processes of the machine are meant. A zombie is not
        alive: it counts only with `state = Z`.

        Without `fail_count` and `warn_count` at least one process must be there. With
        one of them it alone decides: `fail_count = 1..15` is failing below 1 and above
        15, `fail_count = 0` is failing if there is one, and `fail_count = 15` is OK
        with none.

        A script is known by its own name as well as by that of its interpreter. The
        kernel cuts names to 15 characters, so longer ones are looked for in the
        command line. Checker's own processes never count.

        A pid file names a process if that is not younger than the file. Otherwise the
        pid has been given to another process since. A pid file that others may write to
        proves nothing, so the result is unknown.

        Memory is the resident set, the CPU is in per cent of one core since the last
        check, so the first one has none. Both are of all these processes together, with
        `children = yes` of all that they started, too.
        """
    options: Options = {
        "program": option(text, "", help="its name; * and ? work: php-fpm*"),
        "command_regex": option(
            pattern, None, help="a pattern that must match in the whole command line"
        ),
        "pidfile": option(
            absolute_path, "", help="the file in which a daemon notes its process"
        ),
        "user": option(text, "", help="the effective user: a name or a number"),
        "state": option(
            states,
            frozenset(),
            help="only such: letters of ps such as Z or D, T",
        ),
        "children": option(
            switch, False, help="yes: memory and CPU are those of children, too"
        ),
        "fail_count": option(
            count, None, help="failing if more of them run, or outside: 1..15"
        ),
        "warn_count": option(count, None, help="a warning if more of them run"),
        "fail_age": option(
            seconds,
            None,
            help="failing if one runs for longer; 60s..1d: or for less",
        ),
        "warn_age": option(seconds, None, help="a warning if one runs for longer"),
        "fail_memory": option(
            bytes_, None, help="failing if they use more, such as 2GB"
        ),
        "warn_memory": option(bytes_, None, help="a warning if they use more"),
        "fail_cpu": option(
            percent_of_a_core,
            None,
            help="failing if they use more since the last check; 100% is one core",
        ),
        "warn_cpu": option(percent_of_a_core, None, help="a warning if they use more"),
        "changed": option(
            one_of(("no", "tell", "fail")),
            "no",
            help="the oldest is another than at the last check: tell warns, fail fails",
        ),
    }

    @classmethod
    def wrong_together(cls, target: Target) -> Iterable[Clash]:
        """Return that nothing is asked."""
        is_asked = any(
            getattr(target, name) is not None
            for name in cls.options
            if name.startswith(("warn_", "fail_"))
        )
        if not is_asked and not _is_selective(target):
            yield Clash(
                "give program, command_regex, pidfile or user, or a threshold such as "
                "fail_count",
                (),
            )

    def shown_target(self) -> str:
        """Return which processes are meant."""
        return wanted_words(self.target)

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return how many there are, and what they use."""
        from lib.jobbase import processes

        uid = uid_of(target.user)
        pid = pid_in(target.pidfile) if target.pidfile else None
        pids = processes.all_pids()
        hidden = _is_hidden(pids, uid)
        candidates = processes.processes_of([pid] if pid else pids)
        matching = [one for one in candidates if is_wanted(one, target, uid)]
        if target.pidfile:
            matching = [self._if_not_reused(one, target.pidfile) for one in matching]
        found = [one for one in matching if is_in_state(one, target.state)]
        if hidden and not target.pidfile:
            raise CheckUnknown(hidden)
        if not found and not _counts(target):
            raise CheckFailed(_none(target, pid, matching))
        self.note = shown(found)
        self._compare(target, found)
        return self._measured(target, found)

    def _if_not_reused(self, one: Process, pidfile: str) -> Process:
        """Return a process; raise CheckFailed if its pid was another's before."""
        written_at = os.stat(pidfile).st_mtime
        if one.started_at > written_at + START_SLACK_S:
            raise CheckFailed(
                f"{pidfile} names process {one.pid}, which started "
                f"{one.started_at - written_at:.0f} s after the file was written: the "
                f"daemon is gone, and its pid is now that of {one.name}"
            )
        return one

    def _compare(self, target: Target, found: Sequence[Process]) -> None:
        """Keep which process is the oldest; raise if it is another than before."""
        if target.changed == "no" or not found:
            return
        oldest = min(found, key=lambda one: (one.since_boot, one.pid))
        before = self.memory.get("oldest")
        self.memory["oldest"] = [oldest.pid, round(oldest.since_boot, 2)]
        if before is None or is_same(before, oldest):
            return
        words = (
            f"{oldest.name} was restarted: its process is {oldest.pid}, and was "
            f"{before[0]} at the last check"
        )
        raise CheckFailed(words) if target.changed == "fail" else CheckWarning(words)

    def _measured(self, target: Target, found: Sequence[Process]) -> Values:
        from lib.jobbase import processes

        values: dict[str, Value | float] = {
            "count": count(len(found), warn=target.warn_count, fail=target.fail_count)
        }
        if not found:
            return values
        now = time.time()
        ages = [max(0.0, now - one.started_at) for one in found]
        warn, fail = target.warn_age, target.fail_age
        values["age"] = seconds(round(max(ages)), warn=_upper(warn), fail=_upper(fail))
        if _lower(warn) or _lower(fail):
            values["youngest"] = seconds(
                round(min(ages)), warn=_lower(warn), fail=_lower(fail)
            )
        tree = processes.with_children(found) if target.children else found
        values["memory"] = bytes_(
            sum(processes.memory_of(one) for one in tree),
            warn=target.warn_memory,
            fail=target.fail_memory,
        )
        if target.fail_cpu or target.warn_cpu:
            used = self._cpu(tree)
            if used is not None:
                values["cpu"] = percent_of_a_core(
                    used, warn=target.warn_cpu, fail=target.fail_cpu
                )
        return values

    def _cpu(self, tree: Sequence[Process]) -> float | None:
        """Return per cent of a core since the last check; None if there was none."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        before = self.memory.get("cpu")
        times = {f"{one.pid}/{one.since_boot:.0f}": one.cpu_s for one in tree}
        most = sorted(times.items(), key=lambda item: -item[1])[:MAX_KEPT]
        self.memory["cpu"] = {"at": round(now, 2), "times": dict(most)}
        return cpu_percent(before, times, now)


def _is_hidden(pids: Sequence[int], uid: int | None) -> str:
    """Return why not all processes can be seen; empty if they can."""
    if 1 in pids or uid == os.geteuid():
        return ""
    return (
        "/proc shows this user only its own processes (hidepid), so it is not known "
        "which others run: give user, or let the user of Checker see them (gid=)"
    )


def uid_of(user: str) -> int | None:
    """Return the number of a user; None if any will do; raise CheckUnknown."""
    if not user:
        return None
    if user.isascii() and user.isdigit():
        return int(user)
    import pwd

    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError) as error:
        raise CheckUnknown(f"this machine has no user {user!r}") from error


def pid_in(path: str) -> int:
    """Return the pid that a file names; raise CheckFailed if it names none."""
    try:
        # A pipe of that name would wait for somebody who writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise CheckFailed(
            f"{path} does not exist, so its daemon does not run"
        ) from error
    except OSError as error:
        raise CheckUnknown(f"{path} cannot be read: {error.strerror}") from error
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CheckUnknown(f"{path} is no ordinary file")
        if status.st_mode & stat.S_IWOTH:
            raise CheckUnknown(
                f"{path} proves nothing, since all users may write to it; chmod o-w"
            )
        lines = file.read(MAX_PIDFILE).split(b"\n")
    first = lines[0].strip().decode("utf-8", "replace")
    if re.fullmatch("[0-9]{1,10}", first, re.ASCII) and int(first) > 0:
        return int(first)
    what = f"{first[:30]!r}, which is no pid" if first else "nothing"
    raise CheckFailed(f"{path} contains {what}")


def is_wanted(one: Process, target: Target, uid: int | None) -> bool:
    """Return whether a process is one of those that a section means."""
    if target.program and not is_called(one.names, target.program):
        return False
    if target.command_regex and not target.command_regex.search(one.command):
        return False
    if uid is None:
        return True
    from lib.jobbase import processes

    return processes.user_of(one) == uid


def is_called(names: Sequence[str], wanted: str) -> bool:
    """Return whether one of the names is this one, or matches this shell pattern."""
    if wanted in names:
        return True
    from lib.jobbase import processes

    length = processes.NAME_LENGTH
    if len(wanted) > length and names == (wanted[:length],):
        # Nothing but the cut name is known, as of a zombie.
        return True
    return any(fnmatchcase(name, wanted) for name in names)


def is_in_state(one: Process, wanted: frozenset[str]) -> bool:
    """Return whether a process is in one of these states, or alive if none is given."""
    return one.state in wanted if wanted else one.state not in NOT_ALIVE


def cpu_percent(before: Any, times: dict[str, float], now: float) -> float | None:
    """Return per cent of a core since ``before``, the memory of the last check.

    A process that started since counts whole, one that has ended not at all.  None: it
    was the first check, or the machine was started since.
    """
    if not isinstance(before, dict) or not before.get("at", now) < now:
        return None
    known = before.get("times", {})
    used = sum(max(0.0, cpu - known.get(key, 0.0)) for key, cpu in times.items())
    return float(round(100 * used / (now - before["at"]), 1))


def is_same(before: Sequence[float], one: Process) -> bool:
    """Return whether a process is the one that was kept: its pid, and its start."""
    pid, since_boot = before
    return pid == one.pid and abs(since_boot - one.since_boot) < START_SLACK_S


def shown(found: Sequence[Process]) -> str:
    """Return which processes there are: ``12 nginx, 13 nginx and 2 more``."""
    words = ", ".join(f"{one.pid} {one.name}" for one in found[:MAX_NAMED])
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return f"processes: {words}{more}" if found else ""


def wanted_words(target: Target) -> str:
    """Return which processes a section means: ``program nginx, user www-data``."""
    words = [f"program {target.program}"] if target.program else []
    if target.command_regex:
        words.append(f"command line {target.command_regex.pattern}")
    if target.pidfile:
        words.append(target.pidfile)
    if target.user:
        words.append(f"user {target.user}")
    return ", ".join(words) or "all processes"


def _none(target: Target, pid: int | None, matching: Sequence[Process]) -> str:
    """Return that no process is as it should be, and what there is instead."""
    zombies = [one for one in matching if one.state in NOT_ALIVE]
    if zombies and not target.state:
        return (
            f"only a zombie is left ({shown(zombies)}): it has ended, and its parent "
            "does not take note"
        )
    if matching:
        there = ", ".join(sorted({one.state for one in matching}))
        return f"none is in this state, but {there} ({shown(matching)})"
    if pid is not None:
        other = _other_words(target)
        return f"{target.pidfile} names process {pid}, which does not run{other}"
    return f"no such process runs: {wanted_words(target)}"


def _other_words(target: Target) -> str:
    is_more = target.program or target.command_regex or target.user
    return " or is another one" if is_more else ""


def _is_selective(target: Target) -> bool:
    return bool(target.program or target.command_regex or target.pidfile or target.user)


def _counts(target: Target) -> bool:
    """Return whether a threshold alone says how many there may be."""
    return target.fail_count is not None or target.warn_count is not None


def _upper(limit: Threshold | None) -> Threshold | None:
    if limit is None or limit.high is None:
        return None
    return Threshold(high=limit.high, option=limit.option)


def _lower(limit: Threshold | None) -> Threshold | None:
    if limit is None or limit.low is None:
        return None
    return Threshold(low=limit.low, option=limit.option)
