"""What is said with a server over one connection: sent and expected, in rounds.

A round is what a line of the option ``dialog`` says: a word of ``send``, ``expect``,
``expect_regex`` or ``tls``, and what belongs to it.  ``Line`` is the connection: a
stream, with or without TLS, or datagrams.  ``hold`` carries the rounds out.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from lib.net import bulk, connect
from lib.net.connect import Address, Deadline, NotTried, Unreachable

#: The most that is read while waiting for what is expected.
MAX_BYTES = 65_536
#: The most that is shown of what was received.
MAX_SHOWN = 60
#: Matches whatever is received.
ANYTHING = re.compile(b"")

#: What is to be received: these bytes, or a match of this pattern.
Wanted = bytes | re.Pattern[bytes]


class Round(NamedTuple):
    """What is sent, or what must be received then: all of it, in any order."""

    send: bytes = b""
    expect: tuple[Wanted, ...] = ()
    #: Begin TLS.
    secures: bool = False
    #: What says so, for people; empty: the options themselves.
    place: str = ""


def rounds_of(target: Any) -> tuple[Round, ...]:
    """Return the rounds that a target's options ask for, in their order.

    That is ``banner``, then ``send``, then ``expect`` and ``expect_regex`` as one, then
    the lines of ``dialog``.  A kind without a banner has no such option.
    """
    rounds = []
    if banner := getattr(target, "banner", b""):
        rounds.append(Round(expect=(banner,), place="as its banner"))
    if target.send:
        rounds.append(Round(send=target.send))
    wanted = tuple(one for one in (target.expect, target.expect_regex) if one)
    if wanted:
        rounds.append(Round(expect=wanted))
    for number, (word, value) in enumerate(target.dialog, 1):
        place = f"(line {number} of dialog)"
        if word == "send":
            rounds.append(Round(send=value, place=place))
        elif word == "tls":
            rounds.append(Round(secures=True, place=place))
        else:
            rounds.append(Round(expect=(value,), place=place))
    return tuple(rounds)


class Line:
    """A connection, and what was received over it."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        """Keep the connection, until ``close``."""
        self.sock = sock
        self.deadline = deadline
        self.is_datagrams = sock.type == socket.SOCK_DGRAM
        self.is_secure = False
        #: Whether anything was received.
        self.was_answered = False
        #: What was received, and no round has expected yet.
        self._unread = b""
        #: Whether what was expected last ends a line.
        self._ends_line = False
        #: Answers to rounds that are over; one of them may come twice.
        self._used: set[bytes] = set()

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def send(self, data: bytes) -> bulk.Steps[None]:
        """Send all of it."""
        if self.is_secure:
            from lib.net.tls import waited

            while data:
                sent = yield from waited(self.sock, self.deadline, self.sock.send, data)
                data = data[sent:]
        elif self.is_datagrams:
            yield from self._send_datagram(data, self.deadline)
        else:
            yield from bulk.send(self.sock, data, self.deadline)

    def _send_datagram(self, data: bytes, deadline: Deadline) -> bulk.Steps[None]:
        # Not bulk.send, which sends nothing where there is nothing to send.
        while True:
            try:
                self.sock.send(data)
                return
            except BlockingIOError:
                if not (yield bulk.Ready(self.sock, bulk.WRITE, deadline)):
                    raise TimeoutError from None

    def receive(self, deadline: Deadline) -> bulk.Steps[bytes]:
        """Return what is received next, b"" at the end of a stream."""
        most = MAX_BYTES if self.is_datagrams else 4096
        if self.is_secure:
            from lib.net.tls import waited

            data = yield from waited(self.sock, deadline, self.sock.recv, most)
        else:
            data = yield from bulk.receive(self.sock, most, deadline)
        self.was_answered = self.was_answered or bool(data) or self.is_datagrams
        return data  # type: ignore[no-any-return]  # what a wait gives is Any

    def expect(self, wanted: Sequence[Wanted], place: str = "") -> bulk.Steps[None]:
        """Return once all of ``wanted`` was received; raise Unreachable if not."""
        if self.is_datagrams:
            yield from self._expect_datagram(wanted, place)
            return
        ends = _ends(wanted, self._unread)
        # Also a pattern that matches where there is nothing asks for an answer.
        while None in ends or not self._unread:
            missing = wanted[ends.index(None) if None in ends else 0]
            if len(self._unread) >= MAX_BYTES:
                raise self._missing(missing, place, "in the first 64 KB")
            try:
                more = yield from self.receive(self.deadline)
            except TimeoutError:
                raise self._missing(missing, place, f"within {self.deadline}") from None
            except OSError as error:
                cause = connect.reason(error, self.deadline)
                raise self._missing(missing, place, f"({cause})") from error
            if not more:
                closed = "before the connection was closed"
                raise self._missing(missing, place, closed)
            self._unread += more
            ends = _ends(wanted, self._unread)
        self._take(max(end or 0 for end in ends))

    def _take(self, count: int) -> None:
        """Count so many bytes as expected."""
        self._ends_line = self._unread[count - 1 : count] == b"\n"
        self._unread = self._unread[count:]

    def _expect_datagram(self, wanted: Sequence[Wanted], place: str) -> bulk.Steps[Any]:
        """Expect it in the next datagram."""
        try:
            answer = yield from self.receive(self.deadline)
            while answer in self._used:
                answer = yield from self.receive(self.deadline)
        except TimeoutError:
            raise Unreachable(
                f"no answer within {self.deadline}{_behind(place)}\n"
                "what was sent or its answer may be lost or filtered, or the "
                "service does not answer that"
            ) from None
        self._unread = answer
        ends = _ends(wanted, answer)
        if None in ends:
            raise self._missing(wanted[ends.index(None)], place, "in the answer")
        self._used.add(answer)

    def _missing(self, wanted: Wanted, place: str, when: str) -> Unreachable:
        """Return what to raise: what was not received, and what was instead."""
        got = "nothing"
        if self._unread or self.is_datagrams:
            got = f"{len(self._unread)} bytes: {shown(self._unread)}"
        opening = "did" if self.is_datagrams else "connected, but did"
        return Unreachable(
            f"{opening} not receive {shown_wanted(wanted)}{_behind(place)} {when}; "
            f"received {got}"
        )

    def secure(self, name: str, trust: Callable[[], Any]) -> bulk.Steps[None]:
        """Begin TLS with the server ``name``, whose certificate must be valid for it.

        ``trust`` returns the context.
        """
        from lib.net import tls

        self._expect_no_more()
        try:
            self.sock = yield from tls.handshake_steps(
                self.sock, name, self.deadline, trust()
            )
        except tls.TlsFailed as error:
            raise Unreachable(error.cause) from error
        self.is_secure = True

    def _expect_no_more(self) -> None:
        """Raise Unreachable if there is more than the line that ends the plain text."""
        _rest, _end, more = self._unread.partition(b"\n")
        if more or (self._unread and self._ends_line):
            raise Unreachable("the server sent more before the TLS handshake")
        self._unread = b""


def hold(
    line: Line, rounds: Sequence[Round], secure: Callable[[Line], Any] | None = None
) -> bulk.Steps[None]:
    """Carry out the rounds; raise Unreachable or OSError if one does not succeed."""
    for one in rounds:
        if one.secures:
            assert secure is not None
            yield from secure(line)
        elif one.expect:
            yield from line.expect(one.expect, one.place)
        else:
            yield from line.send(one.send)


def _ends(wanted: Sequence[Wanted], received: bytes) -> list[int | None]:
    """Return where each of ``wanted`` ends in what was received, None if not there."""
    return [_end(one, received) for one in wanted]


def _end(wanted: Wanted, received: bytes) -> int | None:
    if isinstance(wanted, bytes):
        at = received.find(wanted)
        return None if at < 0 else at + len(wanted)
    match = wanted.search(received)
    return match.end() if match else None


def _behind(place: str) -> str:
    return f" {place}" if place else ""


def shown_wanted(wanted: Wanted) -> str:
    """Return what is expected, for people."""
    if isinstance(wanted, bytes):
        return shown(wanted)
    if wanted is ANYTHING:
        return "anything"
    return f"a match of {shown(wanted.pattern)}"


def shown(data: bytes) -> str:
    r"""Return bytes as readable text, with control characters as ``\r \n \xNN``."""
    start = repr(data[:MAX_SHOWN])[1:]
    return start if len(data) <= MAX_SHOWN else f"{start}..."


# Addresses.

Reach = Callable[[tuple[int, Address], Deadline], Any]


def first_address(
    host: str,
    port: int,
    addresses: Sequence[tuple[int, Address]],
    deadline: Deadline,
    reach: Reach,
) -> bulk.Steps[Any]:
    """Return what ``reach`` returns for the first address that answers as expected.

    Raise Unreachable, naming each and why, if none does; NotTried if this machine has
    no route to them.
    """
    reasons: list[tuple[Address, str]] = []
    for address, own in deadline.shared(addresses):
        try:
            result = yield from reach(address, own)
        except (OSError, Unreachable) as error:
            reasons.append((address[1], connect.reason(error, own)))
        else:
            connect.log_silent(host, address[1], reasons)
            return result
    raise connect.why_unanswered(host, port, reasons)


def each_address(
    host: str,
    addresses: Sequence[tuple[int, Address]],
    deadline: Deadline,
    reach: Reach,
) -> bulk.Steps[list[Any]]:
    """Return what ``reach`` returns for each address; the time is shared among them.

    Raise Unreachable, naming each that does not answer as expected, if one does not;
    NotTried if this machine has no route to any of those.
    """
    results: list[Any] = []
    dead: list[tuple[Address, str]] = []
    for address, own in deadline.shared(addresses):
        try:
            results.append((yield from reach(address, own)))
        except (OSError, Unreachable) as error:
            dead.append((address[1], connect.reason(error, own)))
    if dead:
        raise _dead(host, len(addresses), dead)
    return results


def _dead(
    host: str, count: int, dead: Sequence[tuple[Address, str]]
) -> Unreachable | NotTried:
    why = connect.why_unanswered(host, dead[0][0][1], dead, count)
    if count == 1 or isinstance(why, NotTried):
        return why
    first = f"{len(dead)} of {count} addresses of {host} fail"
    return Unreachable(
        "\n".join([first, *_lines(dead)]),
        host=host,
        cause=", ".join(dict.fromkeys(why.partition("\n")[0] for _, why in dead)),
        addresses=[address[0] for address, _why in dead],
    )


def _lines(dead: Sequence[tuple[Address, str]]) -> Iterator[str]:
    for address, why in dead[: connect.MAX_REASONS]:
        yield f"{connect.shown_address(address)}: {why}"
    if len(dead) > connect.MAX_REASONS:
        yield f"and {len(dead) - connect.MAX_REASONS} more addresses"
