"""[log NAME]: tells of new lines of a log that match a pattern."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

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
    Threshold,
    Values,
    absolute_path,
    bytes_pattern,
    count,
    logfiles,
    one_of,
    option,
    search,
    text,
)

#: How long all the lines of an alert are.
MAX_TEXT = 3000
#: A part of the time is for what else is to be done.
READING = 0.8
#: Which status a result is if lines were lost.
_LOST_WORDS = ("warn", "ok", "fail")


class LogChecker(TargetJob):
    """The new lines of one log, of several, or of a unit's journal."""

    kind = "log"
    can_retry = False
    flaps = False
    options: Options = {
        "path": option(
            absolute_path,
            "",
            help="the log; with * ? or [ all files of that name, without rotated ones",
        ),
        "olddir": option(
            absolute_path, "", help="the folder of rotated files; else that of the log"
        ),
        "unit": option(
            text, "", help="the journal of this unit of systemd, in place of a path"
        ),
        "journal": option(
            absolute_path, "", help="the folder of the journal, if not this machine's"
        ),
        "match": option(bytes_pattern, help="a regular expression, for single lines"),
        "ignore": option(
            bytes_pattern, None, help="lines that match this as well do not count"
        ),
        "fail_count": option(
            count,
            None,
            help="failing if more new lines match; 0 if there is no warn_count",
        ),
        "warn_count": option(
            count, None, help="a warning if more new lines match than this"
        ),
        "first": option(
            one_of(("end", "start")),
            "end",
            help="where the first check begins; later files are read from their start",
        ),
        "missing": option(
            one_of(("fail", "ok")), "fail", help="ok: the file need not be there"
        ),
        "lost": option(
            one_of(_LOST_WORDS),
            "warn",
            help="warn, fail, or ok if lines were lost before they could be searched",
        ),
    }
    guide = r"""
        Each check reads what is new since the last one, and counts lines that match.
        A match is news in itself: each check that finds some sends an alert with the
        lines, at once, also if the last one did. There is no recovery mail.
        `notify = 5min` sends at most one alert in five minutes, with the lines of the
        meantime. When a mute ends, you get the lines that came while it lasted; it
        is failing until then. An acknowledgement says nothing of later lines.

        Rotated files are found beside the log (`NAME.1`, `NAME-20260101.gz`,
        `NAME.old`, or with the number before the extension). What is unread of them is
        read first, in both manners of logrotate, compressed or not; `.zst` needs the
        program zstd. A file is known by its first bytes and by those before the place
        that was reached, not by its number, which the next file may get. Lines that
        were removed before they were read are named (`lost`), and what may have been
        lost is noted. An empty log that was truncated, or touched, may have had lines
        and is named, too; only what was truncated away before more was written to it
        leaves no trace. A log that repeats the same bytes from its
        start on cannot be told from itself. If a line comes after `copytruncate` has
        made its copy, and is read before the log is truncated, what may have come
        behind it is noted; a log of less than 64 bytes is named as lost then. A file
        that cannot be read is tried again by the next check, and then named.

        Patterns are Python's, over bytes (UTF-8), each line by itself. Of a line over
        1 MB the start is searched. Half a line waits a minute for the rest. What
        cannot be read within 80% of `timeout` is read by the next check.
        """

    #: The clock, in seconds.
    now = staticmethod(time.time)

    def shown_target(self) -> str:
        """Return the log, or the unit."""
        unit = f"journal of {self.target.unit}" if self.target.unit else ""
        return unit or str(self.target.path)

    @classmethod
    def wrong_together(cls, target: Target) -> Iterator[Clash]:
        """Yield that there is not just one of a path and a unit."""
        if bool(target.path) == bool(target.unit):
            yield Clash("give either path or unit", ("path", "unit"))
        if target.unit and target.olddir:
            yield Clash("olddir is for a path, not for a unit", ("olddir", "unit"))
        if target.path and target.journal:
            yield Clash("journal is for a unit, not for a path", ("journal", "path"))

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return how many new lines match; raise what there is to tell of them."""
        within = deadline.within(self.timeout() * READING)
        report = Report(self._checker.scrubbed)
        before = logfiles.plain_dict(self.memory.get("log"))
        with search.Search(target.match, target.ignore, within) as searching:
            look = search.Look(
                searching,
                report,
                within,
                self.now(),
                is_from_end=target.first == "end",
                may_be_missing=target.missing == "ok",
            )
            after = self._follow(target, look, before)
        if not before and self._is_lost():
            report.unknown.append(
                "what was read before is not known any more, since the state was lost; "
                "lines that were new were not searched"
            )
        self.memory["log"] = after
        if not before and target.first == "end":
            # Nothing was searched, so that too few lines are no news either.
            report.is_first = True
        return self._judged(target, report)

    @staticmethod
    def _follow(
        target: Target, look: search.Look, before: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Read on; return how far."""
        if not target.unit:
            return logfiles.follow(look, target.path, target.olddir, before)
        from lib.jobbase import journal

        return journal.follow(look, target.unit, target.journal, before)

    def _is_lost(self) -> bool:
        record = self._checker.record
        return record is not None and record.status == "unknown" and not record.failures

    def _judged(self, target: Target, report: Report) -> Values:
        """Return what was counted, or raise the worst that there is to tell."""
        fail = target.fail_count
        if fail is None and target.warn_count is None:
            fail = Threshold(high=0, option="fail_count")
        values = {"matches": count(report.count, warn=target.warn_count, fail=fail)}
        if report.is_first:
            values = {"matches": count(report.count)}
        self.values = dict(values)
        status = ""
        if _exceeds(report.count, target.warn_count):
            status = "warning"
        if _exceeds(report.count, fail):
            status = "failing"
        if target.lost != "ok" and report.lost:
            status = "failing" if target.lost == "fail" else status or "warning"
        status = self._with_earlier(report, status)
        self.note = "\n".join(report.notes())
        self.remark = "\n".join((*report.lost, *report.unsure))
        if status == "failing":
            raise CheckFailed(report.text(), event=True)
        if report.missing:
            raise CheckFailed(report.text())
        if report.unknown:
            raise CheckUnknown(report.text())
        if status == "warning":
            raise CheckWarning(report.text(), event=True)
        if report.pending:
            raise CheckPending(report.text())
        return values

    def _with_earlier(self, report: Report, status: str) -> str:
        """Add the lines that nobody was notified of yet; return the status.

        While some wait for an alert that is due later, or for the end of a mute, the
        job stays as it was.
        """
        record = self._checker.record
        earlier = logfiles.plain_dict(self.memory.get("waiting"))
        moment = record.notified_at if record is not None else None
        notified_at = moment.isoformat() if moment is not None else ""
        if notified_at and earlier.get("at") != notified_at or self.target.invert:
            earlier = {}
        if earlier:
            report.put_before(earlier)
            was = str(earlier.get("status", ""))
            status = max(status, was, key=lambda word: _SEVERITY.get(word, 0))
        if (status and not self.target.invert) or earlier:
            self.memory["waiting"] = {
                "at": notified_at,
                "status": status or earlier.get("status", ""),
                **report.to_keep(),
            }
        else:
            self.memory.pop("waiting", None)
        return status


_SEVERITY = {"": 0, "warning": 1, "failing": 2}


def _exceeds(number: int, limit: Threshold | None) -> bool:
    """Return whether there are more than a threshold allows; fewer is no news."""
    return limit is not None and limit.high is not None and number > limit.high


class Report(search.News):
    """What a check has to tell."""

    def __init__(self, scrub: Callable[[str], str]) -> None:
        super().__init__()
        self._scrub = scrub
        #: The new lines that match.
        self.count = 0
        #: These, and those of earlier checks that nobody was notified of.
        self.total = 0
        self.lines: list[str] = []
        self._length = 0
        #: It only looks where the logs end.
        self.is_first = False

    def take(self, found: search.Found, source: str = "") -> None:
        """Add what was found in one file, of several if ``source`` is given."""
        self.count += found.count
        self.total += found.count
        for line in found.lines:
            words = self._scrub(line.decode("utf-8", "replace").strip("\0 \t\r\n"))
            words = (
                words
                if len(words) <= search.MAX_SHOWN
                else f"{words[:search.MAX_SHOWN]} ..."
            )
            self._show(f"{source}: {words}" if source else words)

    def _show(self, line: str) -> None:
        self._length += len(line)
        if len(self.lines) < search.MAX_LINES and (
            self._length <= MAX_TEXT or not self.lines
        ):
            self.lines.append(line)

    def put_before(self, earlier: Mapping[str, Any]) -> None:
        """Add what earlier checks have found."""
        lines, self.lines, self._length = self.lines, [], 0
        for line in (*map(str, earlier.get("lines", ())), *lines):
            self._show(line)
        self.total += int(earlier.get("count", 0))
        self.lost = [*map(str, earlier.get("lost", ())), *self.lost][: search.MAX_LINES]

    def to_keep(self) -> dict[str, Any]:
        """Return what the next check is to tell if nobody is notified now."""
        return {"count": self.total, "lines": self.lines, "lost": self.lost}

    def notes(self) -> Iterator[str]:
        """Yield what else is to be said."""
        yield from self.missing
        yield from self.unknown
        yield from self.lost
        yield from self.unsure
        yield from self.pending

    def text(self) -> str:
        """Return the reason, for people."""
        notes = list(self.notes())
        if not self.total:
            return "\n".join(notes)
        verb = "1 line matches" if self.total == 1 else f"{self.total} lines match"
        first = self.lines[0] if self.lines else ""
        head = [f"{verb}: {first[:160]}"]
        left = self.total - len(self.lines)
        more = [f"and {left} more"] if left > 0 and self.lines else []
        shown = self.lines if self.total > 1 or len(first) > 160 else []
        return "\n".join((*head, *shown, *more, *notes))
