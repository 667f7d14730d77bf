"""[log NAME]: tells of new lines of a log that match a pattern."""

from __future__ import annotations

import os
import re
import select
import stat
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lib.jobbase import (
    CheckFailed,
    CheckPending,
    CheckUnknown,
    CheckWarning,
    Deadline,
    Options,
    Target,
    TargetJob,
    Threshold,
    Values,
    absolute_path,
    bytes_pattern,
    count,
    one_of,
    option,
    text,
)

#: How much is read, and searched, at once.
BLOCK = 1024 * 1024
#: Of a longer line only the start is searched.
MAX_LINE = 1024 * 1024
#: A file is known again by so many of its first bytes, and of those before the offset.
HEAD, TAIL = 1024, 256
#: A line without an end counts as whole if nothing has come for so long.
HALF_LINE_S = 60.0
#: How many lines an alert shows, how long each, and how long all of them.
MAX_LINES, MAX_SHOWN, MAX_TEXT = 20, 300, 3000
#: The most files of a pattern, and rotated ones of a file.
MAX_FILES, MAX_ROTATED = 100, 200
#: Of so many rotated files that were read whole the first bytes are remembered.
MAX_DONE = 20
#: Fewer first bytes are found in other files, too.
FEW = 64
#: What is left of a file that is gone says nothing if it was older than this.
RECENT_S = 3600.0
#: A block for which a search takes longer at the deadline has a line without end.
SLOW_S = 2.0
#: A part of the time is for what else is to be done.
READING = 0.8
#: By how much the time of a compressed file may be earlier than the original's.
ROUNDED_NS = 2_000_000_000

#: What a rotated file has behind the name of the log, or before its extension.
_ROTATED = re.compile(
    r"[-._]?(?P<mark>\d[\d._T:-]*|old|bak|prev)(?P<packed>\.(?:gz|xz|lzma|bz2|zst))?"
)
#: In these a match may depend on what is around its line, or run over its end.
_OF_ONE_LINE = re.compile(r"\\[AZ]|\(\?[=!>]|\(\?<[=!]|[*+?}]\+|\(\?[a-z]*[s-]")
#: Which status a result is if lines were lost.
_LOST_WORDS = ("warn", "ok", "fail")


class LogChecker(TargetJob):
    """The new lines of one log, of several, or of a unit's journal."""

    kind = "log"
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
        were removed before they were read are named (`lost`), but for those of a log
        that was empty at one check and truncated again before the next. A log that
        repeats the same bytes from its start on cannot be told from itself.

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
    def wrong_together(cls, target: Target) -> Iterator[str]:
        """Yield that there is not just one of a path and a unit."""
        if bool(target.path) == bool(target.unit):
            yield "give either path or unit"
        if target.unit and target.olddir:
            yield "olddir is for a path, not for a unit"
        if target.path and target.journal:
            yield "journal is for a unit, not for a path"

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return how many new lines match; raise what there is to tell of them."""
        within = deadline.within(self.timeout() * READING)
        report = Report(self._scrub)
        before = _plain_dict(self.memory.get("log"))
        read = _read_journal if target.unit else _read_files
        with Search(target.match, target.ignore, within) as search:
            after = read(Look(target, search, report, within, self.now()), before)
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

    def _is_lost(self) -> bool:
        record = self._checker.record
        return record is not None and record.status == "unknown" and not record.failures

    def _scrub(self, line: str) -> str:
        """Return a line without secrets; it is cut afterwards, so not through one."""
        for secret in (*self._checker.known_secrets, *self._checker.secrets):
            line = line.replace(secret, "***")
        return line

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
        earlier = _plain_dict(self.memory.get("waiting"))
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


def _plain_dict(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


class Report:
    """What a check has to tell."""

    def __init__(self, scrub: Callable[[str], str]) -> None:
        self._scrub = scrub
        #: The new lines that match.
        self.count = 0
        #: These, and those of earlier checks that nobody was notified of.
        self.total = 0
        self.lines: list[str] = []
        self._length = 0
        #: It only looks where the logs end.
        self.is_first = False
        #: What was lost, is missing, cannot be checked, and goes on later: a line each.
        self.lost: list[str] = []
        self.missing: list[str] = []
        self.unknown: list[str] = []
        self.pending: list[str] = []

    def take(self, found: Found, source: str = "") -> None:
        """Add what was found in one file, of several if ``source`` is given."""
        self.count += found.count
        self.total += found.count
        for line in found.lines:
            words = self._scrub(line.decode("utf-8", "replace").strip("\0 \t\r\n"))
            words = words if len(words) <= MAX_SHOWN else f"{words[:MAX_SHOWN]} ..."
            self._show(f"{source}: {words}" if source else words)

    def _show(self, line: str) -> None:
        self._length += len(line)
        if len(self.lines) < MAX_LINES and (self._length <= MAX_TEXT or not self.lines):
            self.lines.append(line)

    def put_before(self, earlier: Mapping[str, Any]) -> None:
        """Add what earlier checks have found."""
        lines, self.lines, self._length = self.lines, [], 0
        for line in (*map(str, earlier.get("lines", ())), *lines):
            self._show(line)
        self.total += int(earlier.get("count", 0))
        self.lost = [*map(str, earlier.get("lost", ())), *self.lost][:MAX_LINES]

    def to_keep(self) -> dict[str, Any]:
        """Return what the next check is to tell if nobody is notified now."""
        return {"count": self.total, "lines": self.lines, "lost": self.lost}

    def notes(self) -> Iterator[str]:
        """Yield what else is to be said."""
        yield from self.missing
        yield from self.unknown
        yield from self.lost
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


class Look(NamedTuple):
    """All that one check needs to read on."""

    target: Target
    search: Search
    report: Report
    within: Deadline
    #: The time, in seconds.
    now: float


# Searching.


class Found:
    """How many lines match, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.lines: list[bytes] = []

    def add(self, line: bytes) -> None:
        """Count a line."""
        self.count += 1
        if len(self.lines) < MAX_LINES:
            # Longer than what is shown, so that a secret in it is whole.
            self.lines.append(line[: 16 * MAX_SHOWN])


class TooSlow(Exception):
    """A pattern takes too long on some line."""


class Search:
    """Finds the lines that match, in blocks of whole lines."""

    def __init__(
        self,
        pattern: re.Pattern[bytes],
        ignore: re.Pattern[bytes] | None,
        deadline: Deadline,
    ) -> None:
        self._find, self._ignore = pattern.search, ignore.search if ignore else None
        self._by_line = bool(_OF_ONE_LINE.search(pattern.pattern.decode()))
        self._child: SearchChild | None = None
        if may_run_on(pattern) or (ignore is not None and may_run_on(ignore)):
            self._child = SearchChild(pattern, ignore, deadline)

    def __enter__(self) -> Search:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.end()

    def lines(self, data: bytes, found: Found) -> None:
        """Add the lines of ``data`` that match; each ends with a line feed."""
        if self._child is not None:
            self._child.lines(data, found)
        elif self._by_line:
            self._one_by_one(data, found)
        else:
            self._at_once(data, found)

    def _one_by_one(self, data: bytes, found: Found) -> None:
        find, ignore = self._find, self._ignore
        for line in data.split(b"\n")[:-1]:
            if find(line) and not (ignore and ignore(line)):
                found.add(line)

    def _at_once(self, data: bytes, found: Found) -> None:
        find, ignore, end, at = self._find, self._ignore, len(data), 0
        while at < end and (match := find(data, at)):
            start, stop = match.span()
            if start >= end:
                return
            line_end = data.find(b"\n", start)
            line = data[data.rfind(b"\n", at, start) + 1 or at : line_end]
            at = line_end + 1
            # A match over the end of a line counts only if the line has one by itself.
            if stop > line_end and not find(line):
                continue
            if not (ignore and ignore(line)):
                found.add(line)


def may_run_on(pattern: re.Pattern[bytes]) -> bool:
    """Return whether a pattern repeats what repeats, or branches, without a limit.

    Only such a pattern can take years for one short line.
    """
    if not re.search(rb"\)[*+{]", pattern.pattern):
        return False
    from re import _constants, _parser  # type: ignore[attr-defined]

    repeats = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)

    def walk(part: Any, *, inside: bool) -> bool:
        for operator, argument in part:
            is_repeat = operator in repeats and argument[1] > 10
            if inside and (is_repeat or operator is _constants.BRANCH):
                return True
            if any(
                walk(inner, inside=inside or is_repeat) for inner in _parts(argument)
            ):
                return True
        return False

    def _parts(argument: Any) -> Iterator[Any]:
        for one in argument if isinstance(argument, tuple | list) else ():
            if isinstance(one, _parser.SubPattern):
                yield one
            elif isinstance(one, tuple | list):
                yield from _parts(one)

    return walk(_parser.parse(pattern.pattern, pattern.flags), inside=False)


#: Longer than any check may take.
MAX_SEARCH_S = 60
#: What searches in a process of its own: blocks come with their length, and for each
#: the number of lines that match is answered, and where the first of them are.  If the
#: worker is killed in between, the kernel ends it.
PROGRAM = f"""
import re, signal, sys
signal.signal(signal.SIGALRM, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
signal.alarm({MAX_SEARCH_S})
pattern, ignore = [re.compile(word.encode("utf-8", "surrogateescape"), re.M)
                   if word else None for word in sys.argv[1:]]
take, say = sys.stdin.buffer, sys.stdout
while head := take.readline():
    data, at, count, spans = take.read(int(head)), 0, 0, []
    for line in data.split(b"\\n")[:-1]:
        if pattern.search(line) and not (ignore and ignore.search(line)):
            count += 1
            if len(spans) < {MAX_LINES}:
                spans.append(f"{{at}}:{{at + len(line)}}")
        at += len(line) + 1
    print(count, *spans, flush=True)
"""


class Child:
    """A program whose output is read, killed at a deadline."""

    def __init__(self, words: Sequence[str], deadline: Deadline, **more: Any) -> None:
        """Start it; raise OSError if that cannot be done."""
        import subprocess

        self._deadline = deadline
        self._rest = b""
        self.process = subprocess.Popen(
            words,
            bufsize=0,
            stdout=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
            **{"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **more},
        )

    def read(self, most: int = BLOCK) -> bytes:
        """Return what comes next, nothing at the end; raise TimeoutError."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        if not select.select([descriptor], [], [], self._deadline.left())[0]:
            raise TimeoutError
        return os.read(descriptor, most)

    def readline(self) -> bytes:
        """Return the next line, with its end; nothing at the end of the output."""
        while b"\n" not in self._rest:
            part = self.read()
            if not part:
                line, self._rest = self._rest, b""
                return line
            self._rest += part
        line, _end, self._rest = self._rest.partition(b"\n")
        return line + b"\n"

    def end(self) -> int:
        """Kill it if it runs; return how it has ended."""
        import signal

        if self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return self.process.wait()

    def ended(self) -> int:
        """Return how it has ended by itself; raise TimeoutError if it has not."""
        import subprocess

        try:
            return self.process.wait(self._deadline.left())
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error


class SearchChild:
    """Searches in a process of its own, which may take for ever."""

    def __init__(
        self,
        pattern: re.Pattern[bytes],
        ignore: re.Pattern[bytes] | None,
        deadline: Deadline,
    ) -> None:
        self._words = [
            os.fsdecode(one.pattern if one is not None else b"")
            for one in (pattern, ignore)
        ]
        self._deadline = deadline
        self._child: Child | None = None

    def lines(self, data: bytes, found: Found) -> None:
        """Add the lines that match; raise TooSlow at the deadline."""
        import subprocess
        import sys

        if self._child is None:
            program = [sys.executable, "-I", "-S", "-c", PROGRAM, *self._words]
            self._child = Child(program, self._deadline, stdin=subprocess.PIPE)
        pipe = self._child.process.stdin
        assert pipe is not None
        began = time.monotonic()
        try:
            # It reads all of a block before it searches, so that this ends.
            block = memoryview(b"%d\n%s" % (len(data), data))
            while block:
                block = block[pipe.write(block) or 0 :]
            number, *spans = self._child.readline().split()
        except (BrokenPipeError, ValueError) as error:
            raise TooSlow from error
        except TimeoutError as error:
            if time.monotonic() - began > SLOW_S:
                raise TooSlow from error
            raise
        found.count += int(number) - len(spans)
        for span in spans:
            start, _colon, stop = span.partition(b":")
            found.add(data[int(start) : int(stop)])

    def end(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.end()


# Files.


class Place(NamedTuple):
    """How far a file was read, and how it is known again."""

    offset: int = 0
    #: The number of its file system and its own.
    file: tuple[int, int] = (0, 0)
    #: How many of its first bytes, and of those before the offset, and their checksums.
    head: tuple[int, int] = (0, 0)
    tail: tuple[int, int] = (0, 0)
    #: When it was last changed, in ns.
    changed_ns: int = 0
    #: Since when half a line waits, and how long it is.
    half: tuple[float, int] = (0.0, 0)
    #: Within a line that is too long, the rest of which is not searched.
    is_in_line: bool = False

    @classmethod
    def of(cls, stored: Any) -> Place | None:
        """Return a place as it was stored; None if it is none."""
        try:
            offset, file, head, tail, changed_ns, half, is_in_line = stored
            return cls(
                int(offset),
                (int(file[0]), int(file[1])),
                (int(head[0]), int(head[1])),
                (int(tail[0]), int(tail[1])),
                int(changed_ns),
                (float(half[0]), int(half[1])),
                bool(is_in_line),
            )
        except (TypeError, ValueError, IndexError):
            return None


def checksum(data: bytes) -> tuple[int, int]:
    """Return the length of some bytes, and their checksum."""
    return len(data), zlib.crc32(data)


class Source:
    """Something that is read like a file, from its start or from a place in it."""

    #: Its bytes are not its content.
    is_packed = False
    #: Nothing is appended to it any more.
    is_final = False

    def __init__(self, path: str, info: os.stat_result) -> None:
        self.path = path
        self.info = info
        self.number = (info.st_dev, info.st_ino)

    def begins_as(self, place: Place) -> bool:
        """Return whether it has the first bytes of a file, which had some."""
        start = self.head()[: place.head[0]]
        return bool(start) and checksum(start) == place.head

    def head(self) -> bytes:
        """Return its first bytes."""
        raise NotImplementedError

    def rewind(self) -> None:
        """Go to its start."""
        raise NotImplementedError

    def at(self, place: Place) -> bool:
        """Go to a place; return whether this is the file that it is in."""
        raise NotImplementedError

    def read(self) -> bytes:
        """Return the next bytes; raise OSError, or TimeoutError if there is no time."""
        raise NotImplementedError

    def close(self) -> None:
        """Close it."""
        raise NotImplementedError


class PlainFile(Source):
    """A file as it is."""

    def __init__(self, path: str) -> None:
        """Open it; raise OSError."""
        # A pipe must not block.
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        super().__init__(path, os.fstat(self._fd))
        self._read_at = 0
        self._head: bytes | None = None

    @property
    def is_regular(self) -> bool:
        """Return whether it is a file, not a folder or a pipe."""
        return stat.S_ISREG(self.info.st_mode)

    def head(self) -> bytes:
        """Return its first bytes, as they were when it was opened or a little later."""
        if self._head is None:
            self._head = os.pread(self._fd, HEAD, 0)
        return self._head

    def at(self, place: Place) -> bool:
        """Go to a place; return whether this is the file that it is in."""
        # One that was empty is known by nothing else.
        is_it = self.begins_as(place) if place.head[0] else self.number == place.file
        if not is_it or self.info.st_size < place.offset:
            return False
        self._read_at = place.offset
        size = place.tail[0]
        return checksum(os.pread(self._fd, size, place.offset - size)) == place.tail

    def rewind(self) -> None:
        """Go to its start."""
        self._read_at = 0

    def read(self) -> bytes:
        """Return the next bytes."""
        data = os.pread(self._fd, BLOCK, self._read_at)
        self._read_at += len(data)
        return data

    def end(self) -> Place:
        """Return the place where its last line begins that has no end, or its end."""
        size = self.info.st_size
        start = max(0, size - MAX_LINE)
        last = os.pread(self._fd, size - start, start)
        offset = start + last.rfind(b"\n") + 1
        tail = os.pread(self._fd, min(TAIL, offset), max(0, offset - TAIL))
        return Place(
            offset,
            self.number,
            checksum(self.head()),
            checksum(tail),
            self.info.st_mtime_ns,
        )

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


class PackedFile(Source):
    """A rotated file that is compressed; offsets are those of its content."""

    is_packed = is_final = True

    def __init__(self, path: str, deadline: Deadline) -> None:
        """Remember it; raise OSError if it is not there."""
        super().__init__(path, os.stat(path))
        self._deadline = deadline
        self._stream: Any = None
        self._ahead = self._head = b""

    def _open(self) -> None:
        """Begin at its start, with the first bytes read."""
        self.close()
        ending = self.path.rpartition(".")[2]
        if ending == "gz":
            import gzip

            self._stream = gzip.open(self.path)
        elif ending == "bz2":
            import bz2

            self._stream = bz2.open(self.path)
        elif ending == "zst":
            self._stream = Child(["zstd", "-dcq", "--", self.path], self._deadline)
        else:
            import lzma

            self._stream = lzma.open(self.path)
        start = b""
        while len(start) < HEAD and (data := self._next()):
            start += data
        self._ahead, self._head = start, start[:HEAD]

    def _next(self) -> bytes:
        if self._deadline.passed:
            raise TimeoutError
        try:
            data = bytes(self._stream.read(BLOCK))
        except OSError:
            raise
        except Exception as error:  # each of the formats has errors of its own
            raise OSError(0, f"it is damaged: {error}") from error
        if not data and isinstance(self._stream, Child) and self._stream.ended():
            raise OSError(0, "zstd cannot read it")
        return data

    def rewind(self) -> None:
        """Go to its start."""
        self._open()

    def head(self) -> bytes:
        """Return the first bytes of its content."""
        if self._stream is None:
            self._open()
        return self._head

    def at(self, place: Place) -> bool:
        """Go to a place; return whether this is the file that it is in."""
        self._open()
        if not self.begins_as(place):
            return False
        left, tail = place.offset, b""
        while left:
            data = self.read()
            if not data:
                return False
            data, self._ahead = data[:left], data[left:]
            left -= len(data)
            tail = (tail + data)[-TAIL:]
        size = place.tail[0]
        return checksum(tail[len(tail) - size :]) == place.tail

    def read(self) -> bytes:
        """Return the next bytes; raise OSError if it is damaged."""
        if self._stream is None:
            self._open()
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        return self._next()

    def close(self) -> None:
        """Close it."""
        if isinstance(self._stream, Child):
            self._stream.end()
        elif self._stream is not None:
            self._stream.close()
        self._stream = None


def _read_on(source: Source, place: Place, found: Found, look: Look) -> Place:
    """Return how far a source was read and searched, from a place that it is at.

    Raise Stopped, with that, if there was no time for all of it.
    """
    reader = _Reader(source, place, found, look)
    try:
        reader.read()
    except (TimeoutError, TooSlow) as error:
        raise Stopped(reader.place()) from error
    except OSError as error:
        why = error.strerror or str(error)
        look.report.lost.append(f"{source.path} cannot be read to its end: {why}")
    return reader.place()


class Stopped(Exception):
    """There was no time to read all of a file."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.place = place


class _Reader:
    """Reads a source to its end, in whole lines."""

    def __init__(self, source: Source, place: Place, found: Found, look: Look) -> None:
        self._source, self._before, self._found, self._look = source, place, found, look
        self._offset = place.offset
        self._is_in_line = place.is_in_line
        self._half = (0.0, 0)
        self._tail = b""
        # Before anything is read: it may be truncated meanwhile.
        self._head = source.head()

    def read(self) -> None:
        """Read and search all that there is."""
        rest = b""
        while True:
            if self._look.within.passed:
                raise TimeoutError
            data = self._source.read()
            if not data:
                break
            if not self._head and not self._offset:
                self._head = data[:HEAD]
            rest = self._take(rest + data if rest else data)
        self._take_half(rest)

    def _take(self, data: bytes) -> bytes:
        """Search the whole lines; return what is left, half a line."""
        if self._is_in_line:
            end = data.find(b"\n") + 1
            self._pass(data[: end or len(data)])
            self._is_in_line = not end
            data = data[end:] if end else b""
        if data.startswith(b"\0"):
            # What a program writes on at its offset after copytruncate.
            left = data.lstrip(b"\0")
            self._pass(data[: len(data) - len(left)])
            data = left
        end = data.rfind(b"\n") + 1
        if end:
            lines = data[:end] if end < len(data) else data
            self._look.search.lines(lines, self._found)
            self._pass(lines)
            data = data[end:]
        if len(data) > MAX_LINE:
            self._look.search.lines(data[:MAX_LINE] + b"\n", self._found)
            self._is_in_line = True
            self._look.report.lost.append(
                f"{self._source.path}: a line is longer than {MAX_LINE // 1024**2} MB; "
                "its start was searched"
            )
            self._pass(data)
            return b""
        return data

    def _take_half(self, line: bytes) -> None:
        """Search half a line if nothing more is to come."""
        if not line:
            return
        since, length = self._before.half
        now = self._look.now
        is_same = length == len(line) and self._offset == self._before.offset
        is_whole = is_same and now - since >= HALF_LINE_S
        if self._source.is_final or is_whole:
            self._look.search.lines(line + b"\n", self._found)
            self._pass(line)
        else:
            self._half = (min(since, now) if is_same else now, len(line))

    def _pass(self, data: bytes) -> None:
        self._offset += len(data)
        self._tail = (self._tail + data[-TAIL:])[-TAIL:]

    def place(self) -> Place:
        """Return how far all was searched."""
        tail = checksum(self._tail) if self._tail else self._before.tail
        return Place(
            self._offset,
            self._source.number,
            checksum(self._head),
            tail,
            self._source.info.st_mtime_ns,
            self._half,
            self._is_in_line,
        )


# Which files there are.


def _read_files(look: Look, before: Mapping[str, Any]) -> dict[str, Any]:
    """Read on in all files of a target; return how far."""
    stored = before.get("files")
    is_first = not isinstance(stored, dict)
    known = _plain_dict(stored)
    pattern = look.target.path
    is_one = not any(sign in pattern for sign in "*?[")
    paths = [pattern] if is_one else _matching(look, known)
    after: dict[str, Any] = {}
    for path in paths:
        log = _Log(path, look, is_one=is_one)
        kept = log.read(known.get(path), is_first=is_first)
        if kept is not None:
            after[path] = kept
        source = "" if is_one else os.path.basename(path)
        look.report.take(log.found, source)
    if not (is_one or after) and look.target.missing == "fail":
        look.report.missing.append(f"no file matches {pattern}")
    return {"files": after}


def _matching(look: Look, known: Mapping[str, Any]) -> list[str]:
    """Return the files of a pattern, without rotated ones, and those known before."""
    import glob

    paths = set(glob.glob(look.target.path))
    every = {*paths, *known}
    folders: dict[str, list[str]] = {}
    for path in every:
        folders.setdefault(os.path.dirname(path), []).append(os.path.basename(path))
    rotated = {
        os.path.join(folder, name)
        for folder, names in folders.items()
        for base in names
        for name in names
        if name != base and mark_of(name, base)
    }
    live = sorted(path for path in every - rotated if path in known or _is_log(path))
    if len(live) > MAX_FILES:
        look.report.unknown.append(
            f"{len(live)} files match {look.target.path}; the first {MAX_FILES} are "
            "read"
        )
    return live[:MAX_FILES]


def _is_log(path: str) -> bool:
    """Return whether it may be a log: a file that is not compressed."""
    is_packed = path.endswith((".gz", ".xz", ".lzma", ".bz2", ".zst"))
    return not is_packed and not os.path.isdir(path)


def mark_of(name: str, base: str) -> re.Match[str] | None:
    """Return what tells a rotated file from its log; None if it is none of it."""
    if name.startswith(base):
        return _ROTATED.fullmatch(name, len(base))
    stem, extension = os.path.splitext(base)
    if not (extension and name.startswith(stem)):
        return None
    # The number may be before the extension.
    at = name.rfind(extension)
    if at < len(stem):
        return None
    return _ROTATED.fullmatch(name[len(stem) : at] + name[at + len(extension) :])


class _Rotated(NamedTuple):
    path: str
    is_packed: bool
    mark: str
    changed_ns: int

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(map(int, re.findall(r"\d+", self.mark)))

    @property
    def is_dated(self) -> bool:
        return len(re.sub(r"\D", "", self.mark)) > 4


def rotated_files(path: str, olddir: str, since_ns: int) -> list[_Rotated]:
    """Return what is rotated of a log and was changed since a time, newest first."""
    folder, base = os.path.split(path)
    files: dict[str, _Rotated] = {}
    try:
        with os.scandir(olddir or folder) as entries:
            for entry in entries:
                mark = mark_of(entry.name, base) if entry.name != base else None
                if mark is None:
                    continue
                one = _rotated(entry, mark)
                if one is None or one.changed_ns < since_ns:
                    continue
                # Beside a file that is just being compressed its copy is not whole.
                if not (one.is_packed and one.mark in files):
                    files[one.mark] = one
    except OSError:
        return []
    every = list(files.values())
    if any(one.is_dated for one in every) and not all(one.is_dated for one in every):
        every.sort(key=lambda one: -one.changed_ns)
    else:
        is_dated = bool(every) and every[0].is_dated
        every.sort(key=lambda one: one.numbers, reverse=is_dated)
    return every[:MAX_ROTATED]


def _rotated(entry: os.DirEntry[str], mark: re.Match[str]) -> _Rotated | None:
    """Return a rotated file; None if it is no file."""
    try:
        info = entry.stat()
    except OSError:
        return None
    if not stat.S_ISREG(info.st_mode):
        return None
    is_packed = bool(mark["packed"])
    # Who compresses a file gives it the time of the original, and may round it.
    changed_ns = info.st_mtime_ns + (ROUNDED_NS if is_packed else 0)
    return _Rotated(entry.path, is_packed, mark["mark"], changed_ns)


class _Log:
    """One log with what is rotated of it."""

    def __init__(self, path: str, look: Look, *, is_one: bool) -> None:
        self.found = Found()
        self._path, self._look, self._is_one = path, look, is_one
        self._open: list[Source] = []
        #: How often in a row it was not there before.
        self._gone = 0
        self._is_waiting = False
        #: The first bytes of rotated files that were read whole.
        self._done: list[tuple[int, int]] = []

    def read(self, stored: object, *, is_first: bool) -> dict[str, Any] | None:
        """Read on; return what to remember of it, None for nothing."""
        kept = _plain_dict(stored)
        places = [place for one in kept.get("places", ()) if (place := Place.of(one))]
        self._gone = int(kept.get("gone", 0))
        self._done = [(int(size), int(sum_)) for size, sum_ in kept.get("done", ())]
        try:
            current = self._current()
        except OSError as error:
            self._look.report.unknown.append(_why_not_read(self._path, error))
            return kept or {"first": True}
        is_first = kept.get("first") is True or (is_first and not kept)
        try:
            if is_first:
                places = self._first(current)
            else:
                places = self._read_all(current, places)
        finally:
            for source in self._open:
                source.close()
        gone = 0 if current else self._missing(places, kept)
        if current is None and not self._is_one and gone > 1:
            return None
        return {
            "places": [list(place) for place in places],
            "gone": gone,
            "done": self._done[-MAX_DONE:],
        }

    def _current(self) -> PlainFile | None:
        """Return the log itself; None if it is not there."""
        try:
            source = PlainFile(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        self._open.append(source)
        if not source.is_regular:
            source.close()
            raise OSError(0, "it is not a file")
        return source

    def _missing(self, places: Sequence[Place], kept: Mapping[str, Any]) -> int:
        """Say that it is not there; return how many times in a row that was so."""
        gone = self._gone + 1
        report, is_expected = self._look.report, self._look.target.missing == "ok"
        if is_expected or not self._is_one:
            return gone
        if gone == 1 and kept:
            report.pending.append(f"{self._path} is not there: it may just be rotated")
        else:
            report.missing.append(f"{self._path} is not there")
        return gone

    def _first(self, current: PlainFile | None) -> list[Place]:
        if current is None:
            return []
        if self._look.target.first == "end":
            return [current.end()]
        return self._read_each([(current, Place())])

    def _read_all(
        self, current: PlainFile | None, places: Sequence[Place]
    ) -> list[Place]:
        """Read all that is new, in the order in which it was written."""
        if not places:
            return self._read_each([(current, Place())] if current else [])
        try:
            steps = self._steps(current, places)
        except TimeoutError:
            self._say_pending()
            return list(places)
        return list(places) if self._is_waiting else self._read_each(steps)

    def _steps(
        self, current: PlainFile | None, places: Sequence[Place]
    ) -> list[tuple[Source, Place]]:
        """Return what to read, and from where."""
        last = places[-1]
        if not last.offset:
            return self._steps_from_start(current, places)
        earliest_ns = min(place.changed_ns for place in places)
        is_it = current is not None and current.at(last)
        is_same = current is not None and current.number == last.file
        if current is not None and is_it and is_same and len(places) == 1:
            return [(current, last)]
        rotated = [
            source
            for one in rotated_files(self._path, self._look.target.olddir, earliest_ns)
            if (source := self._opened(one))
        ]
        steps: list[tuple[Source, Place]] = []
        former = None
        if len(places) > 1:
            number = _holder(rotated, places[0])
            former = None if number is None else rotated[number]
            self._say_former(former, places[0])
        others = [one for one in rotated if one is not former]
        if is_it and not is_same:
            # The same bytes in another file: it is new if the old one is there.
            is_it = not any(one.at(last) for one in others)
        newer: list[Source] = []
        if former is not None:
            steps.append((former, places[0]))
        if not is_it:
            newer, held = self._newer(others, last, current)
            if held is not None:
                steps.append((held, last))
        steps += [(one, Place()) for one in reversed(newer)]
        if current is not None:
            steps.append((current, last if is_it else Place()))
            if is_it:
                current.at(last)
        return steps

    def _steps_from_start(
        self, current: PlainFile | None, places: Sequence[Place]
    ) -> list[tuple[Source, Place]]:
        """Return what to read where nothing was read yet of the log as it was.

        It was empty, or had half a line.  All is unread that is newer than what was
        read before it.
        """
        last, former, is_found = places[-1], None, False
        newer: list[Source] = []
        for one in rotated_files(self._path, self._look.target.olddir, 0):
            source = self._opened(one)
            if source is None:
                continue
            if len(places) > 1 and source.at(places[0]):
                former, is_found = source, True
                break
            if self._done and checksum(source.head()) == self._done[-1]:
                is_found = True
                break
            newer.append(source)
        if len(places) > 1:
            self._say_former(former, places[0])
        if not is_found:
            newer = [one for one in newer if _changed_ns(one) >= last.changed_ns]
            is_there = any(
                one is not None and (one.number == last.file or one.is_packed)
                for one in (current, *newer)
            )
            if not is_there:
                self._say_lost(last)
        steps: list[tuple[Source, Place]] = []
        if former is not None:
            steps.append((former, places[0]))
        steps += [(one, Place()) for one in reversed(newer)]
        if current is not None:
            steps.append((current, Place() if newer else last))
        self._is_waiting = not steps and not self._gone
        return steps

    def _say_former(self, former: Source | None, place: Place) -> None:
        """Remember a rotated file of which nothing more is to come."""
        if former is None and place.head[0]:
            self._done.append(place.head)

    def _newer(
        self, rotated: Sequence[Source], last: Place, current: Source | None
    ) -> tuple[list[Source], Source | None]:
        """Return what is unread, newest first, and the file of the last place."""
        number = _holder(rotated, last)
        if number is not None:
            return list(rotated[:number]), rotated[number]
        if last.head[0] >= FEW:
            for number, one in enumerate(rotated):
                # A copy from before the last check, all of which was read.
                if one.begins_as(last):
                    return list(rotated[:number]), None
        # It may just be moved: the next check says that it is lost.
        self._is_waiting = current is None and not self._gone
        if not self._is_waiting:
            self._say_lost(last)
        unread = [
            one
            for one in rotated
            if _changed_ns(one) >= last.changed_ns
            and not one.begins_as(last)
            and checksum(one.head()) not in self._done
        ]
        return unread, None

    def _opened(self, one: _Rotated) -> Source | None:
        try:
            source: Source = (
                PackedFile(one.path, self._look.within)
                if one.is_packed
                else PlainFile(one.path)
            )
            self._open.append(source)
            source.head()
        except TimeoutError:
            raise
        except OSError as error:
            self._look.report.lost.append(_why_not_read(one.path, error))
            return None
        return source

    def _say_lost(self, last: Place) -> None:
        is_old = self._look.now - last.changed_ns / 1e9 > RECENT_S
        if is_old and not os.path.exists(self._path):
            return
        self._look.report.lost.append(
            f"{self._path} was replaced or truncated, and what was written to it after "
            f"the last check, behind byte {last.offset}, is not there any more"
        )

    def _read_each(self, steps: Sequence[tuple[Source, Place]]) -> list[Place]:
        """Read the sources; return the places of the last two."""
        places: list[Place] = []
        for number, (source, place) in enumerate(steps):
            is_last_two = number >= len(steps) - 2
            if not is_last_two:
                source.is_final = True
            try:
                if not place.offset:
                    source.rewind()
                place = _read_on(source, place, self.found, self._look)
                # Nothing is to come of one that is final.
                if not source.is_final or number == len(steps) - 1:
                    places.append(place)
                elif place.head[0]:
                    self._done.append(place.head)
            except Stopped as stopped:
                places.append(stopped.place)
                if isinstance(stopped.__cause__, TooSlow):
                    self._look.report.unknown.append(
                        f"the pattern takes too long on a line of {source.path} behind "
                        f"byte {stopped.place.offset}; write it without repeats of "
                        "what repeats"
                    )
                else:
                    self._say_pending(source.path, stopped.place.offset)
                break
        return places[-2:]

    def _say_pending(self, path: str = "", offset: int = 0) -> None:
        where = f"{path or self._path} was read up to byte {offset}"
        self._look.report.pending.append(
            f"there is more than could be read in time: {where}; it goes on in the "
            "next check"
        )


def _holder(rotated: Sequence[Source], place: Place) -> int | None:
    """Return which file a place is in; None if it is in none of them."""
    numbers = [number for number, one in enumerate(rotated) if one.at(place)]
    same = [number for number in numbers if rotated[number].number == place.file]
    every = same or numbers
    return every[-1] if every else None


def _changed_ns(source: Source) -> int:
    return source.info.st_mtime_ns + (ROUNDED_NS if source.is_packed else 0)


def _why_not_read(path: str, error: OSError) -> str:
    why = error.strerror or str(error)
    if isinstance(error, PermissionError):
        why += "; add Checker's user to the group of the log, on Debian adm"
    return f"{path} cannot be read: {why}"


# The journal.


def _read_journal(look: Look, before: Mapping[str, Any]) -> dict[str, Any]:
    """Read on in the journal of a unit; return how far."""
    journal = _Journal(look, before)
    try:
        journal.read()
    except (TimeoutError, TooSlow) as error:
        if isinstance(error, TooSlow):
            look.report.unknown.append(
                "the pattern takes too long on an entry of the journal; write it "
                "without repeats of what repeats"
            )
        else:
            look.report.pending.append(
                "there is more in the journal than could be read in time; it goes on "
                "in the next check"
            )
    except OSError as error:
        look.report.unknown.append(
            f"journalctl cannot be run: {error.strerror or error}"
        )
    look.report.take(journal.found)
    return {"cursor": journal.cursor, "since_us": journal.since_us}


class _Journal:
    """The entries of a unit behind a cursor."""

    def __init__(self, look: Look, before: Mapping[str, Any]) -> None:
        self.found = Found()
        self._look = look
        self.cursor = str(before.get("cursor", ""))
        since_us = before.get("since_us", 0)
        self.since_us = since_us if isinstance(since_us, int) else 0

    def read(self) -> None:
        """Read and search the entries that are new; raise OSError or TimeoutError."""
        target = self._look.target
        is_at_end = not (self.cursor or self.since_us) and target.first == "end"
        if self.cursor:
            more = [f"--cursor={self.cursor}"]
        elif is_at_end:
            more = ["--lines=1"]
        else:
            more = [f"--since=@{self.since_us // 1_000_000}"]
        folder = [f"--directory={target.journal}"] if target.journal else []
        words = ["journalctl", "--no-pager", "--output=json", "--all", *folder]
        words += [f"--unit={target.unit}", "--output-fields=MESSAGE", *more]
        import subprocess

        child = Child(words, self._look.within, stderr=subprocess.PIPE)
        try:
            entries = iter(child.readline, b"")
            for number, line in enumerate(entries):
                self._take(_entry(line), is_first=not number, is_at_end=is_at_end)
            self._judge_end(child)
        finally:
            child.end()
        if not self.cursor:
            self.since_us = self.since_us or int(self._look.now * 1e6)
            if target.missing == "fail" and not self._look.report.unknown:
                self._look.report.missing.append(
                    f"the journal has no entry of the unit {target.unit}"
                )

    def _take(
        self, entry: tuple[str, int, bytes], *, is_first: bool, is_at_end: bool
    ) -> None:
        cursor, at_us, message = entry
        if is_first and self.cursor:
            if cursor == self.cursor:
                return
            # journalctl then begins anywhere, and says nothing.
            self._look.report.lost.append(
                "the journal has no longer the last entry that was read: entries may "
                "have been removed before they were searched"
            )
        is_known = bool(self.since_us) and at_us <= self.since_us
        is_behind = cursor and _is_same_journal(cursor, self.cursor)
        if is_known and not is_behind:
            return
        if not is_at_end:
            found = Found()
            self._look.search.lines(message + b"\n", found)
            if found.count:
                self.found.add(found.lines[0])
        self.cursor, self.since_us = cursor, at_us

    def _judge_end(self, child: Child) -> None:
        assert child.process.stderr is not None
        code = child.ended()
        said = child.process.stderr.read(4096).decode("utf-8", "replace").strip()
        if code or "insufficient permissions" in said or "No journal files" in said:
            why = said.splitlines()[0] if said else f"journalctl ended with {code}"
            self._look.report.unknown.append(f"the journal cannot be read: {why}")


def _is_same_journal(cursor: str, other: str) -> bool:
    """Return whether two cursors count on in one sequence."""
    return cursor.partition(";")[0] == other.partition(";")[0]


def _entry(line: bytes) -> tuple[str, int, bytes]:
    """Return the cursor, the time in us, and the message of an entry."""
    import json

    entry = json.loads(line)
    message = entry.get("MESSAGE")
    if isinstance(message, list) and message and not isinstance(message[0], int):
        message = message[0]
    if isinstance(message, list):
        message = bytes(message)
    elif isinstance(message, str):
        message = message.encode("utf-8", "replace")
    at_us = int(entry.get("__REALTIME_TIMESTAMP", 0))
    return str(entry.get("__CURSOR", "")), at_us, message or b""
