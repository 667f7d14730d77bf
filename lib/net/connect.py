"""Connections to other machines: every address of a name, within one deadline.

A library's timeout is per read, and a server that sends a byte now and then never
exceeds it.  A Deadline covers a whole check: name, connection, handshake, every byte.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from lib.net.address import ascii_domain

#: What is killed at a limit ends this long before it, so that it can give the reason.
MARGIN_S = 0.2
#: For more addresses than this the reasons are counted, not listed.
MAX_REASONS = 10
#: A longer first line than this only says how many addresses there were.
MAX_FIRST_LINE = 120

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FAMILIES = {
    "any": socket.AF_UNSPEC,
    "ipv4": socket.AF_INET,
    "ipv6": socket.AF_INET6,
}

Address = tuple[Any, ...]


class Unreachable(Exception):
    """The target did not answer as it should; the first line of the text is the reason.

    ``host`` is the target, ``cause`` the reason without it, ``addresses`` those that
    were tried.  ``step`` is resolve or connect, or empty once there was a connection.
    Not an OSError, so that no library catches it and wraps it.
    """

    # Copies and pickles need the text only; they carry the rest in __dict__.
    def __init__(  # noqa: B042
        self,
        text: str = "",
        *,
        host: str = "",
        cause: str = "",
        addresses: Sequence[str] = (),
        step: str = "",
    ) -> None:
        super().__init__(text)
        self.host = host
        self.cause = cause or text.partition("\n")[0]
        self.addresses = tuple(addresses)
        self.step = step


class NotTried(Exception):
    """The check was not made because of a problem on our side; the text says which."""


class Deadline:
    """The end of a check, ``limit_s`` seconds after it began."""

    def __init__(
        self,
        limit_s: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        margin_s: float = 0.0,
    ) -> None:
        """It ends ``margin_s`` earlier where that is no large part of the time."""
        self.limit_s = limit_s
        self._clock = clock
        self._ends_at = clock() + limit_s - min(margin_s, limit_s / 5)

    def __str__(self) -> str:
        return f"{self.limit_s:.3g} s"

    @property
    def ends_at(self) -> float:
        """Return when it ends, by its clock."""
        return self._ends_at

    @property
    def passed(self) -> bool:
        """Return whether the time is over."""
        return self._clock() >= self._ends_at

    def left(self) -> float:
        """Return the seconds left; raise TimeoutError if there are none."""
        left = self._ends_at - self._clock()
        if left <= 0:
            raise TimeoutError(f"timed out after {self}")
        return left

    def within(self, limit_s: float) -> Deadline:
        """Return a deadline ``limit_s`` from now, or this one if that is earlier."""
        ends_at = self._clock() + limit_s
        if ends_at >= self._ends_at:
            return self
        part = Deadline(limit_s, self._clock)
        part._ends_at = ends_at
        return part

    def shared(self, among: Sequence[T]) -> Iterator[tuple[T, Deadline]]:
        """Yield each of these with its deadline, when its turn comes.

        That is after an equal part of what is left then; for the last it is this one.
        """
        for left, one in zip(range(len(among), 0, -1), among, strict=True):
            yield one, self.share(left) if left > 1 else self

    def share(self, of: int) -> Deadline:
        """Return a deadline after one of ``of`` equal parts of what is left."""
        part = Deadline(max(0.0, self._ends_at - self._clock()) / of, self._clock)
        part._ends_at = self._clock() + part.limit_s
        return part


class TimedSocket(socket.socket):
    """A socket whose reads all end at one deadline, however slowly bytes arrive."""

    deadline: Deadline
    #: How many bytes were received.
    received = 0

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Return how many bytes were read; raise TimeoutError at the deadline."""
        self.settimeout(self.deadline.left())
        count = super().recv_into(*args, **kwargs)
        self.received += count
        return count

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        """Return the data read; raise TimeoutError at the deadline."""
        self.settimeout(self.deadline.left())
        data = super().recv(*args, **kwargs)
        self.received += len(data)
        return data


def connect(
    host: str,
    port: int,
    deadline: Deadline,
    family: str = "any",
    talk: Callable[[TimedSocket], None] | None = None,
) -> TimedSocket:
    """Return a connection to the first address of ``host`` that answers.

    An address answers if ``talk`` succeeds on the connection; it raises Unreachable or
    OSError if not.  Raise Unreachable, naming each address and why, if none did.
    """
    addresses = resolve(host, port, deadline, family)
    return connect_first(host, port, addresses, deadline, talk)


def connect_first(
    host: str,
    port: int,
    addresses: Sequence[tuple[int, Address]],
    deadline: Deadline,
    talk: Callable[[TimedSocket], None] | None = None,
    emit: Callable[[str], None] = lambda _line: None,
) -> TimedSocket:
    """Return a connection to the first of ``addresses``, those of ``host``, as connect.

    The time left is shared among the remaining addresses.  Addresses that did not
    answer are logged, and ``emit`` gets a line for each.
    """
    reasons: list[tuple[Address, str]] = []
    for tried, (kind, address) in enumerate(addresses):
        own = (
            deadline if len(addresses) == 1 else deadline.share(len(addresses) - tried)
        )
        sock = TimedSocket(kind, socket.SOCK_STREAM)
        sock.deadline = own
        try:
            sock.settimeout(own.left())
            sock.connect(address)
            # A request is written in several parts, none of which should be delayed.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if talk:
                talk(sock)
        except (OSError, Unreachable) as error:
            sock.close()
            reasons.append((address, reason(error, own)))
        except BaseException:
            sock.close()
            raise
        else:
            sock.deadline = deadline
            log_silent(host, address, reasons)
            for silent, why in reasons:
                emit(f"{shown_address(silent)}: {why}")
            return sock
    raise nobody_answered(host, port, reasons)


def log_silent(
    host: str, address: Address, reasons: Sequence[tuple[Address, str]]
) -> None:
    """Log which addresses did not answer, although this one does."""
    answers = shown_address(address)
    for silent, why in reasons[:MAX_REASONS]:
        other = shown_address(silent)
        logger.info("%s: %s answers, but not %s: %s", host, answers, other, why)


def nobody_answered(
    host: str, port: int, reasons: Sequence[tuple[Address, str]]
) -> Unreachable:
    """Return what to raise if none of the addresses answered, each given with why."""
    place = shown_address((host, port))
    tried = [(shown_address(address), why) for address, why in reasons]
    cause = ", ".join(dict.fromkeys(why for _address, why in reasons))
    lines: list[str] = []
    if [where for where, _why in tried] != [place]:
        lines = [f"tried {where}: {why}" for where, why in tried[:MAX_REASONS]]
        if len(tried) > MAX_REASONS:
            lines.append(f"tried {len(tried) - MAX_REASONS} more addresses")
        if len(f"{place}: {cause}") > MAX_FIRST_LINE:
            cause = f"none of {len(tried)} addresses answered"
    return Unreachable(
        "\n".join([f"{place}: {cause}", *lines]),
        host=host,
        cause=cause,
        addresses=[address[0] for address, _why in reasons],
        step="connect",
    )


#: What the kernel says where it has no route, and what it says for routers.
_NO_ROUTE = (
    *(errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN),
    # It has no address of this family.
    errno.EADDRNOTAVAIL,
)


def why_unanswered(
    host: str, port: int, reasons: Sequence[tuple[Address, str]], of: int = 0
) -> Unreachable | NotTried:
    """Return what a check raises if none of the addresses answered, each with why.

    That this machine has no route to any of them is our own trouble.  There may be more
    addresses, which did answer: so many ``of`` all.
    """
    no_route = {_words(number) for number in _NO_ROUTE}
    if all(why in no_route for _address, why in reasons):
        trouble = without_route(host, [address for address, _why in reasons], of)
        if trouble:
            return trouble
    return nobody_answered(host, port, reasons)


def without_route(
    host: str, addresses: Sequence[Address], of: int = 0
) -> NotTried | None:
    """Return what to raise if this machine has no route to any of the addresses.

    None if it has one.  A router that has none, or a host that is down, is no trouble
    of this machine.  They may be some ``of`` so many.
    """
    if not all(map(_has_no_route, addresses)):
        return None
    remedy = "is its network up? see ip addr and ip route"
    if len(addresses) < of:
        host = f"{len(addresses)} of {of} addresses of {host}"
        named = ", ".join(address[0] for address in addresses[:MAX_REASONS])
        host = f"{host}: {named}"
        remedy += "; family = ipv4, or ipv6, asks such addresses only"
    return NotTried(f"not checked: this machine has no route to {host}\n{remedy}")


def _has_no_route(address: Address) -> bool:
    """Return whether the kernel says so at once; nothing is sent."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address[0], 9, *address[2:]))
    except OSError as error:
        return error.errno in _NO_ROUTE
    return False


def resolve(
    host: str, port: int, deadline: Deadline, family: str = "any"
) -> list[tuple[int, Address]]:
    """Return the addresses of ``host``, each with its family, at least one.

    Raise Unreachable if there are none, or the resolver fails.
    """
    if known := numeric(host, port, family):
        return known
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(look_up(host, port, family))
        except Unreachable as error:
            answers.put(error)

    # The C library knows no deadline of ours; a thread can be abandoned.
    try:
        threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    except RuntimeError:
        # No thread can be started: ask without a deadline.
        ask()
    try:
        answer = answers.get(timeout=deadline.left())
    except (queue.Empty, TimeoutError):
        raise no_name(host, deadline) from None
    if isinstance(answer, Unreachable):
        raise answer
    return list(answer)


def side_by_side(
    calls: Sequence[Callable[[], T]], limit_s: float
) -> Iterator[tuple[int, T]]:
    """Yield the number and the result of each of these calls, as soon as it is there.

    They are made at once, in threads that are abandoned after ``limit_s``; where no
    thread can be started, in this one.
    """
    results: queue.SimpleQueue[tuple[int, T]] = queue.SimpleQueue()

    def make(number: int) -> None:
        results.put((number, calls[number]()))

    for number in range(len(calls)):
        try:
            threading.Thread(target=make, args=(number,), daemon=True).start()
        except RuntimeError:
            make(number)
    ends_at = time.monotonic() + limit_s
    for _call in calls:
        try:
            yield results.get(timeout=max(0.01, ends_at - time.monotonic()))
        except queue.Empty:
            return


def known(host: str, port: int, family: str) -> list[tuple[int, Address]]:
    """Return what ``numeric`` does of IPv4, which costs next to nothing."""
    if family == "ipv6" or not host[-1:].isdigit():
        return []
    try:
        # A tenth of what getaddrinfo costs, which thousands of checks ask.
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        return []
    return [(socket.AF_INET, (host, port))]


def numeric(host: str, port: int, family: str) -> list[tuple[int, Address]]:
    """Return the address that ``host`` is, with its family; nothing if it is a name."""
    if of_ipv4 := known(host, port, family):
        return of_ipv4
    if not host.isascii():
        return []
    # A str would load the idna codec, which is slow.
    asked = (host.encode("ascii"), port, _FAMILIES[family], socket.SOCK_STREAM, 0)
    try:
        return _distinct(socket.getaddrinfo(*asked, socket.AI_NUMERICHOST))
    except (OSError, UnicodeError):
        return []


def look_up(host: str, port: int, family: str) -> list[tuple[int, Address]]:
    """Return the addresses of a name, each with its family; this may take long.

    Raise Unreachable if there are none, or the resolver fails.
    """
    try:
        name = ascii_domain(host).encode("ascii")
        asked = (name, port, _FAMILIES[family], socket.SOCK_STREAM, 0)
        return _distinct(socket.getaddrinfo(*asked))
    except (OSError, ValueError) as error:
        raise _unresolved(host, resolver_words(error, family)) from error


def no_name(host: str, deadline: Deadline) -> Unreachable:
    """Return what to raise if the resolver gave no answer in time."""
    return _unresolved(host, f"the resolver gave no answer within {deadline}")


def _unresolved(host: str, why: str) -> Unreachable:
    return Unreachable(
        f"cannot resolve {host}: {why}",
        host=host,
        cause=f"cannot resolve: {why}",
        step="resolve",
    )


def resolver_words(error: Exception, family: str) -> str:
    """Return why a name has no address, for people."""
    if not isinstance(error, socket.gaierror):
        return "this is not a host name"
    kind = {"ipv4": "IPv4 ", "ipv6": "IPv6 "}.get(family, "")
    return {
        socket.EAI_NONAME: f"no such name{f', or no {kind}address' if kind else ''}",
        socket.EAI_AGAIN: "the resolver has no answer now; is DNS working here?",
        socket.EAI_FAIL: "the name server failed",
        getattr(socket, "EAI_NODATA", None): f"the name has no {kind}address",
        getattr(socket, "EAI_ADDRFAMILY", None): f"it has no {kind}address",
    }.get(error.errno, str(error.strerror))


def reason(error: Exception, deadline: Deadline) -> str:
    """Return why a connection failed or broke, for people."""
    if isinstance(error, TimeoutError):
        return f"no answer within {deadline}"
    # If ssl is not loaded this is no TLS error, whose errno is not the system's.
    tls = sys.modules.get("ssl")
    if tls and isinstance(error, tls.SSLError):
        from lib.net.tls_errors import ssl_words

        return ssl_words(error)
    if not isinstance(error, OSError) or not error.errno:
        return str(error) or type(error).__name__
    return _words(error.errno)


def _words(number: int) -> str:
    words = os.strerror(number)
    return words[:1].lower() + words[1:]


def shown_address(address: Address) -> str:
    """Return an address and its port as people write them."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _distinct(infos: list[Any]) -> list[tuple[int, Address]]:
    return list(dict.fromkeys((kind, address) for kind, _, _, _, address in infos))
