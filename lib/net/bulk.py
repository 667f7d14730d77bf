"""Many checks in one thread, each waiting for its own sockets until its own deadline.

A check that mostly waits is a generator.  It yields what it waits for, and gets what
came of that:

    def steps(host: str, port: int, deadline: Deadline) -> Steps[str]:
        addresses = yield from resolved(host, port, "any", deadline)
        ...
        if not (yield Ready(sock, READ, deadline)):
            raise Unreachable(...)
        return "what it found"

``run`` carries out many of them, ``run_one`` a single one.  For something else to wait
for, write a subclass of ``Wait``; transfers by libcurl are in ``lib/net/curl.py``.
"""

from __future__ import annotations

import errno
import heapq
import os
import queue
import resource
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, Self, TypeVar

from lib.net import connect
from lib.net.connect import Address, Deadline, NotTried
from lib.system import limits
from lib.system.errors import shortage

T = TypeVar("T")
Item = TypeVar("Item")
Steps = Generator["Wait", Any, T]

_NONBLOCK = getattr(socket, "SOCK_NONBLOCK", 0)
#: What a socket is waited for; poll and epoll have the same numbers.
READ, WRITE = 1, 4
#: How many checks are under way at first.
FIRST = 64
#: While all of these only wait, their number doubles: after waiting this long without
#: an event, or without a result.  To be busy is not to wait: more would take longer.
GROW_AFTER_S, GROW_ANYHOW_AFTER_S = 0.02, 0.1
#: How many are under way at most, since each open connection takes memory: more only
#: where none of them has a result for long, or where the others would begin too late,
#: which is after this part of the longest time limit.  So even if nothing answers, all
#: end within 1.1 times that limit.  Long is a sixth of that: after six times there may
#: be thousands.
MANY = 256
BEGIN_WITHIN = 0.1
LOOKS = 6
#: Where most of these do answer, it must have helped to have more under way: they
#: bring so many times the results.
FASTER = 1.25
#: Without an event for so long it is a pause, in which the caller may do his part.
PAUSE_S = 0.02
#: Descriptors left to the rest of the process.
SPARE = 200
#: Checks for which there was no descriptor for so long are given up.
PATIENCE_S = 20.0
#: Threads for what would block, such as the C library's resolver.
MAX_THREADS = 100


def run(
    items: Iterable[Item],
    steps: Callable[[Item, Deadline], Steps[T]],
    deadline: Callable[[Sequence[Item]], Sequence[Deadline]],
    *,
    patience_s: float = PATIENCE_S,
    first: int = FIRST,
    most: int = 0,
    grow_after_s: float = GROW_AFTER_S,
) -> Iterator[tuple[Item, T | Exception] | None]:
    """Yield each item with what its steps returned or raised, as soon as it is known.

    ``deadline`` is called with the items that begin now, and returns when each must
    end.  ``first`` are under way at a time, more while all of them wait, at most
    ``most``; 0: as many as there may be sockets.  None is yielded before a pause.
    """
    waiting = deque(items)
    # Each item is to be freed as soon as its result is taken.
    del items
    loop = Loop()
    most = most or room()
    window = _Window(min(first, most), most, grow_after_s)
    short_since = time.monotonic()

    def begin(free: int) -> None:
        group = [waiting.popleft() for _ in range(free)]
        deadlines = deadline(group)
        window.count(deadlines)
        for item, own in zip(group, deadlines, strict=True):
            loop.start(item, steps(item, own))

    try:
        while waiting or loop.live:
            free = min(window.size, loop.live + len(waiting)) - loop.live
            # Not one by one, since telling that one has begun has a price.
            if free >= window.size // 4 or free == len(waiting) > 0 or not loop.live:
                begin(free)
            if not loop.turn(PAUSE_S):
                yield None
                loop.turn(GROW_AFTER_S if waiting else 1.0)
            now = time.monotonic()
            window.adapt(loop, len(waiting), now)
            while loop.results:
                yield loop.results.popleft()
            if not waiting or loop.live < most:
                short_since = now
            elif now - short_since > patience_s:
                yield from ((item, _no_descriptor(most)) for item in waiting)
                waiting.clear()
    finally:
        loop.close()


class _Window:
    """How many checks may be under way at once."""

    def __init__(self, size: int, most: int, grow_after_s: float) -> None:
        self.size = size
        self._most = most
        self._grow_after_s = grow_after_s
        self._began_at = time.monotonic()
        #: How many have begun, and the longest time limit of these.
        self._begun = 0
        self._limit_s = 0.0
        #: How long the loop had waited at the last result, and at the last look.
        self._at_result_s = self._at_look_s = 0.0
        #: How many results there were since that look, and when it was.
        self._results = 0
        self._looked_at = self._began_at
        #: The most results that there were in a second before this grew.
        self._pace = 0.0

    def count(self, deadlines: Sequence[Deadline]) -> None:
        """Count the checks that begin, which have these deadlines."""
        self._begun += len(deadlines)
        self._limit_s = max({self._limit_s, *(own.limit_s for own in set(deadlines))})

    def adapt(self, loop: Loop, left: int, now: float) -> None:
        """Grow where all that is under way waits; ``left`` have not begun."""
        if loop.results:
            self._at_result_s = loop.waited_s
            self._results += len(loop.results)
        if self.size >= self._most:
            return
        quiet_s = self._grow_after_s if loop.was_idle else GROW_ANYHOW_AFTER_S
        since_s = self._at_look_s
        is_late = self._is_late(left, now)
        if not is_late:
            # Those whose targets answer make room for the others.
            since_s = max(since_s, self._at_result_s)
        if self.size >= MANY and (self._pace or not is_late):
            # Where some do answer silence may be a pause: a busy machine makes some.
            quiet_s = max(GROW_ANYHOW_AFTER_S, BEGIN_WITHIN * self._limit_s / LOOKS)
        if loop.waited_s - since_s >= quiet_s:
            self._look(loop.waited_s, now)

    def _look(self, waited_s: float, now: float) -> None:
        """Grow, unless that has just been of no use."""
        pace = self._results / (now - self._looked_at)
        # What answers, and no sooner than with fewer, is busy or on a busy machine.
        is_busy = self._results >= self.size / 2 and pace <= FASTER * self._pace
        if not (is_busy and self.size >= MANY):
            self.size = min(2 * self.size, self._most)
            self._pace = max(self._pace, pace)
        self._at_look_s, self._looked_at, self._results = waited_s, now, 0

    def _is_late(self, left: int, now: float) -> bool:
        """Return whether some would begin too late if it goes on at this pace."""
        took_s = now - self._began_at
        left_s = self._began_at + BEGIN_WITHIN * self._limit_s - now
        return self._begun * left_s < left * took_s


def run_one(steps: Steps[T]) -> T:
    """Return what the steps return, or raise what they raise."""
    loop = Loop()
    loop.start(None, steps)
    try:
        while loop.live:
            loop.turn(1.0)
        _item, result = loop.results.popleft()
    finally:
        loop.close()
    if isinstance(result, Exception):
        raise result
    return result  # type: ignore[no-any-return]  # of the one generator that ran


def room() -> int:
    """Return how many sockets may be open at once."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, soft - SPARE, soft // 2)


def _no_descriptor(most: int) -> NotTried:
    return NotTried(f"not checked: all of {most} connections are in use; {_remedy()}")


def no_socket(error: OSError) -> Exception:
    """Return what to raise if a socket cannot be made; our own trouble is NotTried."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return NotTried(f"not checked: {shortage(error)}; {_remedy()}")
    return error


def _remedy() -> str:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"raise the hard limit of open files (ulimit -Hn), which is {hard}\n"
        "for this user in limits.conf, or by LimitNOFILE in the unit of the timer; or "
        "check fewer targets each minute"
    )


class InBulk:
    """What a kind whose check is a generator of steps derives from.

    It is checked alone by ``check``, and with many others by ``check_many``; both are
    described in ``lib/plugins/target.py``.
    """

    #: What is checked, and the tries of its check (Tries in the same file).
    target: Any
    tries: Any

    def steps(self, target: Any, deadline: Deadline) -> Steps[Any]:
        """Return the steps of one check, which return its values."""
        raise NotImplementedError

    def check(self, target: Any, deadline: Deadline) -> Any:
        """Return what the steps return, or raise what they raise."""
        return run_one(self.steps(target, deadline))

    @classmethod
    def check_many(
        cls,
        jobs: Sequence[Self],
        deadline: Callable[[Sequence[Self]], Sequence[Deadline]],
    ) -> Iterator[tuple[Self, Any] | None]:
        """Check the targets of many jobs at once."""
        return run(jobs, cls.all_steps, deadline)

    def all_steps(self, deadline: Deadline) -> Steps[Any]:
        """Return the steps of a check, and of those that try again."""
        if self.target.retries:
            return self._steps_of_tries(deadline)
        return self.steps(self.target, deadline)

    def _steps_of_tries(self, deadline: Deadline) -> Steps[Any]:
        tries = self.tries(deadline)
        while True:
            try:
                outcome = yield from self.steps(self.target, tries.deadline())
            except Exception as error:
                outcome = error
            pause = tries.pause_after(outcome)
            if pause is not None:
                yield Pause(pause)
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                return outcome


class Wait:
    """What a check waits for."""

    __slots__ = ()

    def begin(self, loop: Loop, task: Task) -> None:
        """Begin to wait; call ``loop.resume`` once it is over."""
        raise NotImplementedError

    def expire(self, loop: Loop, task: Task) -> None:
        """End the wait, since its deadline has passed."""


class Task:
    """A check under way."""

    __slots__ = ("item", "steps", "wait", "turn")

    def __init__(self, item: Any, steps: Steps[Any]) -> None:
        self.item = item
        self.steps = steps
        self.wait: Wait | None = None
        #: How often it was resumed, by which a timer knows that it comes too late.
        self.turn = 0


class Loop:
    """The checks under way, and what they wait for."""

    def __init__(self) -> None:
        self._poller = _poller()
        self._watchers: dict[int, Callable[[int, int], None]] = {}
        self._timers: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = count()
        self._soon: deque[Callable[[], None]] = deque()
        self._resumed: deque[tuple[Task, Any]] = deque()
        self._tasks: set[Task] = set()
        #: What the checks that are done came to.
        self.results: deque[tuple[Any, Any]] = deque()
        #: Whether nothing happened in the last turn.
        self.was_idle = False
        #: How long nothing could be done but wait.
        self.waited_s = 0.0
        #: What was found of names, by host, port and family.
        self.names: dict[tuple[str, int, str], _Lookup] = {}
        self._threads: _Threads | None = None
        self._drivers: dict[Callable[[Loop], Any], Any] = {}

    @property
    def live(self) -> int:
        """Return how many checks are under way."""
        return len(self._tasks)

    def start(self, item: Any, steps: Steps[Any]) -> None:
        """Begin a check."""
        task = Task(item, steps)
        self._tasks.add(task)
        self._resumed.append((task, None))

    def resume(self, task: Task, value: Any) -> None:
        """Have a check go on with ``value``; an exception is raised in it."""
        task.turn += 1
        task.wait = None
        self._resumed.append((task, value))

    def expire_at(self, task: Task, deadline: Deadline) -> None:
        """Have what the task waits for now end at a deadline."""
        self.call_at(deadline.ends_at, self._expire, task, task.turn)

    def _expire(self, task: Task, turn: int) -> None:
        if task.turn == turn and task.wait is not None:
            task.wait.expire(self, task)

    def watch(self, fd: int, events: int, call: Callable[[int, int], None]) -> None:
        """Call with a descriptor and what has happened to it, whenever it has."""
        if fd in self._watchers:
            self._poller.modify(fd, events)
        else:
            self._poller.register(fd, events)
        self._watchers[fd] = call

    def unwatch(self, fd: int) -> None:
        """Watch a descriptor no more."""
        if self._watchers.pop(fd, None) is not None:
            try:
                self._poller.unregister(fd)
            except (OSError, KeyError):
                return  # closed already

    def call_at(self, at: float, call: Callable[..., None], *args: Any) -> None:
        """Call at a moment of the monotonic clock."""
        heapq.heappush(self._timers, (at, next(self._numbers), call, args))

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call in this turn, after what has happened to descriptors."""
        self._soon.append(call)

    def in_thread(self, work: Callable[[], T], done: Callable[[Any], None]) -> _Work:
        """Do work in a thread; then call with what it returned or raised."""
        if self._threads is None:
            self._threads = _Threads(self)
        return self._threads.start(work, done)

    def driver(self, make: Callable[[Loop], T]) -> T:
        """Return what ``make`` makes of this loop, once: where it is first asked."""
        if make not in self._drivers:
            self._drivers[make] = make(self)
        return self._drivers[make]  # type: ignore[no-any-return]  # by what made it

    def turn(self, most_s: float) -> bool:
        """Wait for what happens next, act on it; return whether anything has."""
        if self._resumed or self._soon:
            most_s = 0.0
        elif self._timers:
            most_s = min(most_s, max(0.0, self._timers[0][0] - time.monotonic()))
        has_acted = bool(self._resumed or self._soon)
        began = time.monotonic()
        happened = self._poller.poll(most_s)
        if most_s:
            self.waited_s += time.monotonic() - began
        for fd, events in happened:
            has_acted = True
            call = self._watchers.get(fd)
            if call is not None:
                call(fd, events)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _at, _number, call_late, args = heapq.heappop(self._timers)
            call_late(*args)
            has_acted = True
        while self._resumed or self._soon:
            while self._soon:
                self._soon.popleft()()
            for _ in range(len(self._resumed)):
                self._advance(*self._resumed.popleft())
        self.was_idle = not has_acted
        return has_acted

    def _advance(self, task: Task, value: Any) -> None:
        try:
            if isinstance(value, Exception):
                wait = task.steps.throw(value)
            else:
                wait = task.steps.send(value)
            task.wait = wait
            wait.begin(self, task)
        except StopIteration as over:
            self._finish(task, over.value)
        except Exception as error:
            # It may be the wait that did not begin.
            task.steps.close()
            self._finish(task, error)

    def _finish(self, task: Task, result: Any) -> None:
        task.turn += 1
        self._tasks.discard(task)
        self.results.append((task.item, result))
        # A timer may hold the task for much longer.
        task.item = None

    def close(self) -> None:
        """End what is under way; close every socket."""
        for task in self._tasks:
            task.steps.close()
        self._tasks.clear()
        for driver in self._drivers.values():
            driver.close()
        if self._threads is not None:
            self._threads.close()
        close = getattr(self._poller, "close", None)
        if close:
            close()


class _Poll:
    """Where there is no epoll: poll, with a timeout in seconds."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self.register = self._poll.register
        self.modify = self._poll.modify
        self.unregister = self._poll.unregister

    def poll(self, timeout_s: float) -> list[tuple[int, int]]:
        """Return the descriptors to which something has happened."""
        return self._poll.poll(timeout_s * 1000)


def _poller() -> Any:
    return select.epoll() if hasattr(select, "epoll") else _Poll()


class Ready(Wait):
    """Until a socket can be read or written: True; False at the deadline."""

    __slots__ = ("_fd", "_events", "_deadline")

    def __init__(self, sock: socket.socket, events: int, deadline: Deadline) -> None:
        self._fd = sock.fileno()
        self._events = events
        self._deadline = deadline

    def begin(self, loop: Loop, task: Task) -> None:
        """Watch the socket."""

        def is_ready(fd: int, _events: int) -> None:
            loop.unwatch(fd)
            loop.resume(task, True)

        loop.watch(self._fd, self._events, is_ready)
        loop.expire_at(task, self._deadline)

    def expire(self, loop: Loop, task: Task) -> None:
        """Watch it no more."""
        loop.unwatch(self._fd)
        loop.resume(task, False)


class Pause(Wait):
    """Until a deadline, whatever happens."""

    __slots__ = ("_deadline",)

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def begin(self, loop: Loop, task: Task) -> None:
        """Have it end at the deadline."""
        loop.expire_at(task, self._deadline)

    def expire(self, loop: Loop, task: Task) -> None:
        """Go on."""
        loop.resume(task, True)


class InThread(Wait):
    """Until a call has returned: what it returned; TimeoutError at the deadline."""

    def __init__(self, call: Callable[[], Any], deadline: Deadline) -> None:
        self._call = call
        self._deadline = deadline

    def begin(self, loop: Loop, task: Task) -> None:
        """Hand it to a thread, which is left alone where it takes too long."""
        turn = task.turn

        def is_done(result: Any) -> None:
            if task.turn == turn:
                loop.resume(task, result)

        loop.in_thread(self._call, is_done)
        loop.expire_at(task, self._deadline)

    def expire(self, loop: Loop, task: Task) -> None:
        """Wait for it no longer."""
        loop.resume(task, TimeoutError(f"timed out after {self._deadline}"))


class Resolve(Wait):
    """Until a name's addresses are known: as ``connect.resolve``.

    Each name is looked up once, however many ask for it.
    """

    def __init__(self, host: str, port: int, family: str, deadline: Deadline) -> None:
        self._key = (host, port, family)
        self._deadline = deadline

    def begin(self, loop: Loop, task: Task) -> None:
        """Answer at once where the answer is known."""
        lookup = loop.names.get(self._key)
        if lookup is None:
            lookup = loop.names[self._key] = _Lookup(connect.numeric(*self._key))
            if not lookup.answer:
                lookup.work = loop.in_thread(
                    lambda: connect.look_up(*self._key),
                    lambda answer: lookup.found(loop, answer),
                )
        if lookup.answer:
            loop.resume(task, lookup.answer)
            return
        lookup.asking.append((task, task.turn))
        loop.expire_at(task, self._deadline)

    def expire(self, loop: Loop, task: Task) -> None:
        """Say that the resolver was too slow, or was never asked."""
        work = loop.names[self._key].work
        if work is not None and not work.has_begun:
            words = f"not checked: {MAX_THREADS} names before it wait for the resolver"
            loop.resume(task, NotTried(words))
        else:
            loop.resume(task, connect.no_name(self._key[0], self._deadline))


class _Lookup:
    """What is known of a name: its addresses, or why it has none."""

    def __init__(self, answer: Any) -> None:
        self.answer: list[tuple[int, Address]] | Exception | None = answer or None
        self.asking: list[tuple[Task, int]] = []
        self.work: _Work | None = None

    def found(self, loop: Loop, answer: Any) -> None:
        """Tell all that ask."""
        self.answer = answer
        for task, turn in self.asking:
            if task.turn == turn:
                loop.resume(task, answer)
        self.asking.clear()


class _Work:
    """A call in a thread."""

    __slots__ = ("call", "done", "has_begun")

    def __init__(self, call: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self.call = call
        self.done = done
        self.has_begun = False


class _Threads:
    """Threads for what would block the loop; they are abandoned if it blocks them."""

    def __init__(self, loop: Loop) -> None:
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[_Work, Any]] = queue.SimpleQueue()
        self._count = 0
        #: Work that was handed over and is not done.
        self._busy = 0
        #: What a thread sends wakes the loop.
        self._woken, self._waking = socket.socketpair()
        self._woken.setblocking(False)
        self._waking.setblocking(False)
        loop.watch(self._woken.fileno(), READ, self._collect)

    def start(self, call: Callable[[], Any], done: Callable[[Any], None]) -> _Work:
        work = _Work(call, done)
        self._busy += 1
        self._waiting.put(work)
        if self._count < min(self._busy, MAX_THREADS) and not self._add_thread():
            if not self._count:
                # No thread can be started: do it here, however long it takes.
                self._do(self._waiting.get())
        return work

    def _add_thread(self) -> bool:
        limits.make_room_for_a_thread()
        try:
            threading.Thread(target=self._serve, daemon=True).start()
        except RuntimeError:
            return False
        self._count += 1
        return True

    def _serve(self) -> None:
        while (work := self._waiting.get()) is not None:
            self._do(work)

    def _do(self, work: _Work | None) -> None:
        if work is None:
            return
        work.has_begun = True
        result: Any
        try:
            result = work.call()
        except Exception as error:
            result = error
        self._done.put((work, result))
        try:
            self._waking.send(b".")
        except OSError:
            return  # the loop is awake, or over

    def _collect(self, _fd: int, _events: int) -> None:
        self._woken.recv(4096)
        while True:
            try:
                work, result = self._done.get_nowait()
            except queue.Empty:
                return
            self._busy -= 1
            work.done(result)

    def close(self) -> None:
        """Let idle threads end."""
        for _ in range(self._count):
            self._waiting.put(None)
        # A thread that is stuck finds it closed, later.
        self._woken.close()
        self._waking.close()


# Connections.

Talk = Callable[[socket.socket, Deadline], Steps[None]]


def resolved(
    host: str, port: int, family: str, deadline: Deadline
) -> Steps[list[tuple[int, Address]]]:
    """Return the addresses of ``host``, each with its family; raise as Resolve does.

    An address stands for itself: of IPv4 at once, of IPv6 without asking the resolver.
    """
    addresses: Any = connect.known(host, port, family)
    if not addresses:
        addresses = yield Resolve(host, port, family, deadline)
    return addresses  # type: ignore[no-any-return]  # what a wait gives is Any


def connected(
    host: str,
    port: int,
    deadline: Deadline,
    family: str = "any",
    talk: Talk | None = None,
) -> Steps[Address]:
    """Return the first address of ``host`` that answers, as ``connect.connect`` does.

    An address answers if ``talk`` succeeds on the connection; it raises Unreachable or
    OSError if not.  Raise Unreachable, naming each address and why, if none did, and
    NotTried if this machine has no route to them.
    """
    addresses = yield from resolved(host, port, family, deadline)
    reasons: list[tuple[Address, str]] = []
    for tried, (kind, address) in enumerate(addresses):
        left = len(addresses) - tried
        own = deadline if len(addresses) == 1 else deadline.share(left)
        try:
            with open_socket(kind) as sock:
                yield from connect_socket(sock, address, own)
                if talk:
                    yield from talk(sock, own)
        except (OSError, connect.Unreachable) as error:
            reasons.append((address, connect.reason(error, own)))
        else:
            connect.log_silent(host, address, reasons)
            return address
    raise connect.why_unanswered(host, port, reasons)


def note_silent(
    host: str,
    addresses: Sequence[tuple[int, Address]],
    answers: Address,
    deadline: Deadline,
) -> Steps[None]:
    """Log which of these addresses do not answer and why, although ``answers`` does."""
    reasons: list[tuple[Address, str]] = []
    for tried, (kind, address) in enumerate(addresses):
        own = deadline.share(len(addresses) - tried)
        try:
            with open_socket(kind) as sock:
                yield from connect_socket(sock, address, own)
        except OSError as error:
            reasons.append((address, connect.reason(error, own)))
        except NotTried:
            break
    connect.log_silent(host, answers, reasons)


def open_socket(
    kind: int, form: int = socket.SOCK_STREAM, protocol: int = 0
) -> socket.socket:
    """Return a socket for steps; raise NotTried if there is no descriptor for it."""
    try:
        # Where it is asked for with the socket this saves a call of the system.
        sock = socket.socket(kind, form | _NONBLOCK, protocol)
    except OSError as error:
        raise no_socket(error) from error
    if not _NONBLOCK:
        sock.setblocking(False)
    return sock


def connect_socket(
    sock: socket.socket, address: Address, deadline: Deadline
) -> Steps[None]:
    """Connect a socket; raise OSError if that fails, TimeoutError at the deadline."""
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        # On this machine it is there already: to ask again costs less than to wait.
        code = sock.connect_ex(address)
    if code in (errno.EALREADY, errno.EINPROGRESS):
        if not (yield Ready(sock, WRITE, deadline)):
            raise TimeoutError
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code and code != errno.EISCONN:
        raise OSError(code, os.strerror(code))


def send(sock: socket.socket, data: bytes, deadline: Deadline) -> Steps[None]:
    """Send all of ``data``; raise TimeoutError at the deadline."""
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            if not (yield Ready(sock, WRITE, deadline)):
                raise TimeoutError from None


def receive(sock: socket.socket, most: int, deadline: Deadline) -> Steps[bytes]:
    """Return what was received, b"" at its end; raise TimeoutError at the deadline."""
    while True:
        if not (yield Ready(sock, READ, deadline)):
            raise TimeoutError
        try:
            return sock.recv(most)
        except BlockingIOError:
            continue
