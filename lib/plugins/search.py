"""Search: finds the lines of a log that match, and News, what is found beside them.

A pattern that may take for ever on one line is searched for in a process of its own.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from lib.net.connect import Deadline

if TYPE_CHECKING:
    from lib.plugins.child import Child

#: How many lines an alert shows, and how long each.
MAX_LINES, MAX_SHOWN = 20, 300
#: A block for which a search takes longer at the deadline has a line without end.
SLOW_S = 2.0
#: In these a match may depend on what is around its line, or run over its end.
_OF_ONE_LINE = re.compile(r"\\[AZ]|\(\?[=!>]|\(\?<[=!]|[*+?}]\+|\(\?[a-z]*[s-]")


class News:
    """What a check finds in logs; a kind says what becomes of the lines."""

    def __init__(self) -> None:
        #: What was lost, is missing, cannot be checked, and goes on later: a line each.
        self.lost: list[str] = []
        #: What may have been lost, of which there is no sign but this.
        self.unsure: list[str] = []
        self.missing: list[str] = []
        self.unknown: list[str] = []
        self.pending: list[str] = []

    def take(self, found: Found, source: str = "") -> None:
        """Add what was found in one log, of several if ``source`` is given."""
        raise NotImplementedError


class Look(NamedTuple):
    """All that one check needs to read on."""

    search: Search
    news: News
    within: Deadline
    #: The time, in seconds.
    now: float
    #: The first check begins at the end, not at the start.
    is_from_end: bool = True
    #: What is to be read need not be there.
    may_be_missing: bool = False


class Found:
    """How many lines match, and the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.lines: list[bytes] = []

    @property
    def is_full(self) -> bool:
        """Return whether no more lines are kept; others are but counted."""
        return len(self.lines) >= MAX_LINES

    def add(self, line: bytes) -> None:
        """Count a line."""
        self.count += 1
        if not self.is_full:
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
        self._word = word_of(pattern)
        self._by_line = bool(_OF_ONE_LINE.search(pattern.pattern.decode()))
        self._child: SearchChild | None = None
        if may_run_on(pattern) or (ignore is not None and may_run_on(ignore)):
            self._child = SearchChild(pattern, ignore, deadline)

    def __enter__(self) -> Search:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.end()

    def lines(
        self, data: bytes | bytearray, found: Found, start: int = 0, end: int = -1
    ) -> None:
        """Add the lines that match, of ``data`` from ``start`` up to ``end``.

        Each of them ends with a line feed, and follows one if anything is before it.
        """
        end = len(data) if end < 0 else end
        if self._child is not None:
            self._child.lines(data, found, start, end)
        elif self._word:
            self._with_word(data, found, start, end)
        elif self._by_line:
            self._one_by_one(data, found, start, end)
        else:
            self._at_once(data, found, start, end)

    def _with_word(
        self, data: bytes | bytearray, found: Found, at: int, end: int
    ) -> None:
        # Twice as quick as a regular expression of the same letters.
        word, ignore = self._word, self._ignore
        is_only_counted = ignore is None and found.is_full
        while (start := data.find(word, at, end)) >= 0:
            line_end = data.find(b"\n", start)
            if is_only_counted:
                found.count += 1
            else:
                line = bytes(data[_line_start(data, at, start) : line_end])
                if not (ignore and ignore(line)):
                    found.add(line)
                    is_only_counted = ignore is None and found.is_full
            at = line_end + 1

    def _one_by_one(
        self, data: bytes | bytearray, found: Found, at: int, end: int
    ) -> None:
        find, ignore = self._find, self._ignore
        for line in bytes(memoryview(data)[at:end]).split(b"\n")[:-1]:
            if find(line) and not (ignore and ignore(line)):
                found.add(line)

    def _at_once(
        self, data: bytes | bytearray, found: Found, at: int, end: int
    ) -> None:
        # Only lines that are shown are copied: that costs more than most searches.
        find, ignore = self._find, self._ignore
        is_only_counted = ignore is None and found.is_full
        while at < end and (match := find(data, at, end)):
            start, stop = match.span()
            if start >= end:
                return
            line_end = data.find(b"\n", start)
            if is_only_counted and stop <= line_end:
                found.count += 1
                at = line_end + 1
                continue
            line = bytes(data[_line_start(data, at, start) : line_end])
            at = line_end + 1
            # A match over the end of a line counts only if the line has one by itself.
            if stop > line_end and not find(line):
                continue
            if not (ignore and ignore(line)):
                found.add(line)
                is_only_counted = ignore is None and found.is_full


def _line_start(data: bytes | bytearray, at: int, place: int) -> int:
    """Return where the line of a place begins, in what begins at ``at``."""
    return data.rfind(b"\n", at, place) + 1 or at


def word_of(pattern: re.Pattern[bytes]) -> bytes:
    """Return the bytes that a pattern stands for if it stands for just these.

    Return no bytes for any other pattern.
    """
    from re import _constants, _parser  # type: ignore[attr-defined]

    parts = list(_parser.parse(pattern.pattern, pattern.flags))
    is_word = all(operator is _constants.LITERAL for operator, _ in parts)
    if not is_word or pattern.flags & re.IGNORECASE:
        return b""
    word = bytes(argument for _, argument in parts)
    return b"" if b"\n" in word else word


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

    def lines(
        self, data: bytes | bytearray, found: Found, start: int, end: int
    ) -> None:
        """Add the lines from ``start`` up to ``end`` that match.

        Raise TooSlow at the deadline.
        """
        import subprocess
        import sys

        from lib.plugins.child import Child

        if self._child is None:
            program = [sys.executable, "-I", "-S", "-c", PROGRAM, *self._words]
            self._child = Child(program, self._deadline, stdin=subprocess.PIPE)
        pipe = self._child.process.stdin
        assert pipe is not None
        began = time.monotonic()
        try:
            # It reads all of a block before it searches, so that this ends.
            for part in (b"%d\n" % (end - start), memoryview(data)[start:end]):
                while part:
                    part = part[pipe.write(part) or 0 :]
            number, *spans = self._child.readline().split()
        except (BrokenPipeError, ValueError) as error:
            raise TooSlow from error
        except TimeoutError as error:
            if time.monotonic() - began > SLOW_S:
                raise TooSlow from error
            raise
        found.count += int(number) - len(spans)
        for span in spans:
            first, _colon, last = span.partition(b":")
            found.add(bytes(data[start + int(first) : start + int(last)]))

    def end(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.end()
