"""Work of a check that may hang or take long, in child processes.

A file on a server that does not answer holds whoever touches it, and cannot be waited
for in a thread: the thread would outlive the worker.  A child is killed at its
deadline, with all it has started; where the kernel does not let go of it, it is left
behind.  Children hold nothing open of their parent's, and die with it.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from lib.net.connect import Deadline
from lib.plugins import kernel
from lib.plugins.base import CheckFailed, CheckUnknown, CheckWarning
from lib.plugins.errors import described
from lib.system import process
from lib.system.errors import shortage

#: How many children compute at once; one that hangs is not counted.
AT_ONCE = 2 * (os.cpu_count() or 1)
#: The most children, those that hang among them.
MOST_AT_ONCE = 32
#: So many short pieces of work are given to one child.
IN_A_ROW = 50
#: A child that says nothing for so long hangs: others are begun in its place.
SILENT_S = 1.0
#: How long to wait for the end of one that is killed, while others wait.
KILL_TIMEOUT_S = 0.3
#: How often work that takes long says how far it is.
TELL_S = 0.3

Job = TypeVar("Job")
#: Says how far the work is, in words; may be called as often as one likes.
Progress = Callable[[Callable[[], str]], None]
#: Returns plain values, or raises CheckFailed, CheckWarning or CheckUnknown.
Work = Callable[[Progress], Any]

_ERRORS = {
    "CheckFailed": CheckFailed,
    "CheckWarning": CheckWarning,
    "CheckUnknown": CheckUnknown,
}


class Hung(CheckUnknown):
    """A piece of work has not ended in time, and its child was killed."""

    #: Pid and start of the child, if the kernel does not let go of it; else empty.
    left_behind: tuple[int, ...] = ()


class Piece(NamedTuple):
    """A piece of work: for which job, what, and what it is about, for people."""

    job: Any
    work: Work
    what: str
    #: It only looks, and reads no contents: a child does many such.
    is_short: bool


def do_many(
    pieces: Sequence[Piece],
    deadline: Callable[[Sequence[Any]], Sequence[Deadline]],
) -> Iterator[tuple[Any, Any] | None]:
    """Yield the job of each piece with what its work returned or raised.

    ``deadline`` is called with the jobs that begin now.  None is yielded before a
    pause.
    """
    short = deque(piece for piece in pieces if piece.is_short)
    long = deque(piece for piece in pieces if not piece.is_short)
    ends: dict[int, Deadline] = {}
    children: list[_Child] = []
    try:
        while short or long or children:
            while (short or long) and _is_room(children):
                batch = _next_batch(short, long)
                fresh = [piece.job for piece in batch if id(piece.job) not in ends]
                if fresh:
                    ends.update(zip(map(id, fresh), deadline(fresh), strict=True))
                try:
                    children.append(_Child(batch, ends))
                except OSError as error:
                    yield from ((one.job, _not_started(error)) for one in batch)
            yield None
            _wait(children, is_more=bool(short or long))
            for child in list(children):
                yield from child.answers()
                if child.hangs and len(child.pieces) > 1:
                    short.extendleft(reversed(child.give_back()))
                if not child.pieces:
                    children.remove(child)
                    child.end()
    finally:
        for child in children:
            child.end()


def do(work: Work, what: str, deadline: Deadline) -> Any:
    """Return what the work returns, or raise what it raises.

    Raise CheckUnknown, which says how far it was, if it takes longer than the deadline.
    """
    piece = Piece(None, work, what, is_short=False)
    for answer in do_many([piece], lambda _jobs: [deadline]):
        if answer is None:
            continue
        if isinstance(answer[1], Exception):
            raise answer[1]
        return answer[1]


def _next_batch(short: deque[Piece], long: deque[Piece]) -> list[Piece]:
    """Take the pieces for one child from those that wait, the short ones first."""
    waiting, most = (short, IN_A_ROW) if short else (long, 1)
    return [waiting.popleft() for _ in range(min(most, len(waiting)))]


def _is_room(children: Sequence[_Child]) -> bool:
    at_work = sum(not child.hangs for child in children)
    return at_work < AT_ONCE and len(children) < MOST_AT_ONCE


def _wait(children: Sequence[_Child], *, is_more: bool) -> None:
    """Return when a child has something to say, or at the next deadline."""
    moments = [child.ends_at for child in children]
    if is_more or any(len(child.pieces) > 1 for child in children):
        moments += [child.heard_at + SILENT_S for child in children if not child.hangs]
    at = min(moments, default=0.0)
    process.wait([child.process for child in children], max(0.0, at - time.monotonic()))


def _not_started(error: OSError) -> CheckUnknown:
    return CheckUnknown(f"not checked: {error.strerror or error}")


class _Child:
    """A child and the pieces that it has not done; the first one is under way."""

    def __init__(self, pieces: Sequence[Piece], ends: dict[int, Deadline]) -> None:
        self.pieces = deque(pieces)
        self._ends = ends
        self._how_far = ""
        self.heard_at = time.monotonic()
        self.process = process.start(lambda emit: _serve(pieces, emit), alone=True)

    @property
    def ends_at(self) -> float:
        """Return when the piece that is under way must end."""
        return self._ends[id(self.pieces[0].job)].ends_at

    @property
    def hangs(self) -> bool:
        """Return whether it has not been heard of for a while."""
        return time.monotonic() - self.heard_at > SILENT_S

    def give_back(self) -> list[Piece]:
        """Return the pieces that are not begun; it does no more than it has begun."""
        first, *others = self.pieces
        self.pieces = deque([first])
        return others

    def answers(self) -> Iterator[tuple[Any, Any]]:
        """Yield the jobs that are done, each with what came of it."""
        # Before the frames are read: what ended has sent all of them.
        has_ended = self.process.has_ended()
        self.process.read_printed()
        for kind, told in self.process.frames():
            self.heard_at = time.monotonic()
            if kind == "far":
                self._how_far = told
            elif self.pieces:
                self._how_far = ""
                yield self.pieces.popleft().job, _outcome(kind, told)
        if self.pieces and has_ended:
            yield self.pieces[0].job, self._died()
            # The others are not begun, and are not to be lost.
            others = self.give_back()
            self.pieces.clear()
            yield from ((one.job, self._died()) for one in others)
        elif self.pieces and time.monotonic() >= self.ends_at:
            first, *others = self.pieces
            self.pieces.clear()
            hung = self._too_late(first)
            hung.left_behind = self.end()
            yield first.job, hung
            yield from ((one.job, self._too_late(one)) for one in others)

    def _died(self) -> CheckUnknown:
        printed = self.process.printed.decode("utf-8", "replace").strip()
        if self.process.was_short:
            return CheckUnknown(f"not checked: {printed}")
        how = process.how_it_ended(self.process.status or 0)
        return CheckUnknown(f"the process that looked at it {how}\n{printed}".strip())

    def _too_late(self, piece: Piece) -> Hung:
        limit = self._ends[id(piece.job)]
        if self._how_far:
            return Hung(
                f"{piece.what} took longer than {limit}: {self._how_far}; a longer "
                "timeout gives it more time"
            )
        return Hung(
            f"{piece.what} did not answer within {limit}: its file system may hang"
        )

    def end(self) -> tuple[int, ...]:
        """Kill it if it still runs; return what tells it apart if it does not end."""
        pid, began_at = self.process.pid, started_at(self.process.pid)
        self.process.end(KILL_TIMEOUT_S)
        return (pid, began_at) if self.process.status is None else ()


def _outcome(kind: str, told: Any) -> Any:
    return told if kind == "done" else _ERRORS[kind](told)


def started_at(pid: int) -> int:
    """Return when a process started, in ticks since the boot; -1 if there is none."""
    stat = kernel.read_if_there("/", f"proc/{pid}/stat")
    words = stat.rpartition(")")[2].split()
    return int(words[19]) if len(words) > 19 and words[0] not in "ZX" else -1


def is_still_there(child: Sequence[int]) -> bool:
    """Return whether a child that an earlier run left behind has not ended."""
    pid, began_at = child
    return started_at(pid) == began_at != -1


# In the child.


def _serve(pieces: Sequence[Piece], emit: process.Emit) -> None:
    told_at = time.monotonic()

    def progress(words: Callable[[], str]) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= TELL_S:
            told_at = time.monotonic()
            emit(["far", words()])

    for piece in pieces:
        emit(_answer(piece.work, progress))


def _answer(work: Work, progress: Progress) -> list[Any]:
    try:
        return ["done", work(progress)]
    except (CheckFailed, CheckWarning, CheckUnknown) as error:
        return [type(error).__name__, str(error)]
    except Exception as error:
        words = shortage(error)
        return ["CheckUnknown", f"not checked: {words or described(error)}"]
