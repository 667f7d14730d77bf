"""[clock NAME]: checks that this machine's clock follows one that is right."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import NamedTuple

from lib.jobbase import (
    CheckFailed,
    CheckPending,
    CheckUnknown,
    Deadline,
    Options,
    Target,
    TargetJob,
    Value,
    Values,
    one_of,
    option,
    seconds,
    switch,
)
from lib.net import bulk

#: A daemon that has just been started has not heard of its sources yet.
SETTLES_S = 300.0
#: From here on a stratum means that there is none.
NO_STRATUM = 16
#: From the beginning of the era of NTP to that of Unix.
NTP_TO_UNIX_S = 2_208_988_800
#: The file that systemd-timesyncd touches each time it has set the clock.
TIMESYNCD = "/run/systemd/timesync/synchronized"


class Clock(NamedTuple):
    """What a daemon says of the clock that it keeps."""

    #: The leap status is a normal one, and there is a stratum.
    is_synchronised: bool
    #: It follows nothing but itself.
    is_local: bool = False
    #: When it last heard of a source that it uses, as Unix time; None: not known.
    heard_at: float | None = None
    #: How far the clock is off, in seconds; None: not known.
    offset_s: float | None = None
    #: Which of the sources have answered one of the last eight questions.
    reachable: Sequence[str] = ()
    sources: Sequence[str] | None = None


class ClockChecker(bulk.InBulk, TargetJob):
    """The clock of this machine, as chrony, ntpd or systemd-timesyncd keeps it."""

    kind = "clock"
    recheck = "5min"
    guide = r"""
        A daemon goes on to say "synchronised" long after its last source has died:
        chrony for as long as it runs. So the sources decide: one must have answered one
        of the last eight questions (its *reach* is not 0), and the last answer that
        counted must not be older than `fail_age`.

        A daemon that follows nothing but this machine's own clock (`local` of chrony)
        is failing unless `local = yes`. Within 5 minutes after a boot a clock that is
        not synchronised yet is pending.

        systemd-timesyncd says only when it last set the clock; if it never did, that is
        failing. It asks every 34 minutes at most, so an age of more than 2 hours means
        that it gets no answers. How far the clock is off is not known of it.
        """
    options: Options = {
        "daemon": option(
            one_of(("any", "chrony", "ntpd", "timesyncd")),
            "any",
            help="who keeps the clock; any: the first of these that answers",
        ),
        "local": option(
            switch, False, help="yes: it may follow this machine's own clock"
        ),
        "fail_offset": option(seconds, 1.0, help="failing if it is off by more"),
        "warn_offset": option(
            seconds, 0.1, help="a warning if it is off by more than this"
        ),
        "fail_age": option(
            seconds, 7200.0, help="failing if the last answer of a source is older"
        ),
        "warn_age": option(seconds, None, help="a warning if it is older"),
    }
    #: What is asked, and where timesyncd leaves its mark; tests have others.
    chronyc: Sequence[str] = ("chronyc",)
    ntpq: Sequence[str] = ("ntpq",)
    timesyncd = TIMESYNCD

    def shown_target(self) -> str:
        """Return who keeps the clock."""
        return str(self.target.daemon)

    def steps(self, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
        """Return how far the clock is off, and how old the last answer is."""
        ways = {"chrony": self._of_chrony, "ntpd": self._of_ntpd}
        why = []
        for name, ask in ways.items():
            if target.daemon not in ("any", name):
                continue
            try:
                clock = yield from ask(deadline)
            except CheckUnknown as error:
                why.append(str(error))
                continue
            return self._judged(target, name, clock)
        if target.daemon in ("any", "timesyncd"):
            kept = clock_of_timesyncd(self.timesyncd)
            if kept is not None:
                return self._judged(target, "systemd-timesyncd", kept)
            why.append(f"systemd-timesyncd: there is no {self.timesyncd}")
        if len(why) > 1:
            why.insert(0, "no daemon says how it keeps the clock")
        raise CheckUnknown("\n".join(why))

    def _judged(self, target: Target, name: str, clock: Clock) -> Values:
        up_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        if wrong := why_wrong(clock, allows_local=target.local):
            if up_s < SETTLES_S:
                raise CheckPending(f"{name}: {wrong}; this machine has just started")
            raise CheckFailed(f"{name}: {wrong}")
        values: dict[str, Value | float] = {}
        if clock.offset_s is not None:
            values["offset"] = seconds(
                abs(clock.offset_s), warn=target.warn_offset, fail=target.fail_offset
            )
        # The age of a clock that is its own source says nothing.
        if clock.heard_at is not None and not clock.is_local:
            values["age"] = seconds(
                round(max(0.0, time.time() - clock.heard_at)),
                warn=target.warn_age,
                fail=target.fail_age,
            )
        if clock.sources is not None:
            values["sources"] = len(clock.reachable)
        self.note = f"{name}: {source_words(clock)}"
        return values

    def _of_chrony(self, deadline: Deadline) -> bulk.Steps[Clock]:
        from lib.jobbase import output_of

        ask = (*self.chronyc, "-n", "-c")
        tracking = yield from output_of((*ask, "tracking"), deadline)
        # Without a source there is no line.
        ask = (*ask, "sources")
        sources = yield from output_of(ask, deadline, may_be_silent=True)
        return clock_of_chrony(tracking, sources)

    def _of_ntpd(self, deadline: Deadline) -> bulk.Steps[Clock]:
        from lib.jobbase import output_of

        # ntpq ends with 0 where no daemon listens, and prints nothing.
        variables = yield from output_of((*self.ntpq, "-c", "rv"), deadline)
        peers = yield from output_of((*self.ntpq, "-pn"), deadline)
        return clock_of_ntpd(variables, peers)


def why_wrong(clock: Clock, *, allows_local: bool) -> str:
    """Return why a clock cannot be right for long; empty if it may be."""
    if clock.is_local:
        return "" if allows_local else "it follows only its own clock (local)"
    if clock.sources is not None and not clock.sources:
        return "it has no source"
    if clock.sources is not None and not clock.reachable:
        names = ", ".join(clock.sources[:5])
        return (
            f"no source has answered one of the last 8 questions ({names}), so the "
            "clock runs free"
        )
    return "" if clock.is_synchronised else "the clock is not synchronised"


def source_words(clock: Clock) -> str:
    """Return how many sources answer, for people."""
    if clock.sources is None:
        return "it does not say how far the clock is off"
    return f"{len(clock.reachable)} of {len(clock.sources)} sources answer"


def clock_of_timesyncd(path: str) -> Clock | None:
    """Return what systemd-timesyncd's mark says; None if it does not run.

    Its folder is there while the daemon runs, the mark since it has set the clock.
    """
    try:
        return Clock(True, heard_at=os.stat(path).st_mtime)
    except OSError:
        return Clock(False) if os.path.isdir(os.path.dirname(path)) else None


def clock_of_chrony(tracking: str, sources: str) -> Clock:
    """Return what ``chronyc -c tracking`` and ``sources`` say; raise CheckUnknown."""
    try:
        line = tracking.strip().splitlines()[-1].split(",")
        reference, stratum, leap = line[0], int(line[2]), line[-1]
        heard_at, offset_s = float(line[3]), float(line[4])
        known = [each.split(",") for each in sources.split() if each.count(",") >= 6]
        # The reach is a register of eight bits, in octal digits.
        reachable = [each[2] for each in known if int(each[5], 8)]
    except (ValueError, IndexError) as error:
        raise CheckUnknown(f"chronyc printed something else: {error}") from error
    return Clock(
        leap != "Not synchronised" and 0 < stratum < NO_STRATUM,
        reference.upper() == "7F7F0101",
        heard_at or None,
        offset_s,
        reachable,
        [each[2] for each in known],
    )


def clock_of_ntpd(variables: str, peers: str) -> Clock:
    """Return what ``ntpq -c rv`` and ``ntpq -pn`` say; raise CheckUnknown."""
    parts = variables.replace("\n", " ").split(",")
    pairs = (part.strip().partition("=") for part in parts)
    known = {name: value.strip('"') for name, equals, value in pairs if equals}
    rows = [line[1:].split() for line in peers.splitlines() if len(line.split()) >= 10]
    rows = [row for row in rows if row[6].isdigit()]
    try:
        stratum, offset_ms = int(known["stratum"]), float(known["offset"])
        heard_at = ntp_time(known.get("reftime", ""))
        # A pool is no source itself, but what it has named.
        rows = [row for row in rows if row[1] != ".POOL."]
        reachable = [row[0] for row in rows if int(row[6], 8)]
    except (KeyError, ValueError, IndexError) as error:
        raise CheckUnknown(f"ntpq printed something else: {error}") from error
    return Clock(
        "leap_alarm" not in variables and 0 < stratum < NO_STRATUM,
        known.get("refid") in ("LOCAL", "LOCL", "127.127.1.0"),
        heard_at,
        offset_ms / 1000,
        reachable,
        [row[0] for row in rows],
    )


def ntp_time(shown: str) -> float | None:
    """Return the Unix time of ``ecc0a1b2.80000000 Sun, ...``; None if there is none."""
    whole, _dot, part = shown.partition(" ")[0].partition(".")
    number = int(whole, 16) if whole else 0
    if not number:
        return None
    # The era that began in 2036 counts from 0 again.
    era_s = 0 if number >= NTP_TO_UNIX_S else 1 << 32
    return number + era_s - NTP_TO_UNIX_S + int(part or "0", 16) / (1 << 32)
