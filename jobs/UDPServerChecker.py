"""[udp NAME]: checks that a port is not closed and answers what is expected."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from lib.jobbase import (
    ADDRESS_OPTIONS,
    DIALOG_OPTIONS,
    Clash,
    Deadline,
    Options,
    Target,
    TargetJob,
    Values,
    anything_or_text,
    escaped,
    host,
    option,
    port,
    seconds,
    talk_with_nobody,
)
from lib.net import bulk, connect
from lib.net.connect import Address, Unreachable

if TYPE_CHECKING:
    from lib.net.dialog import Line, Round

CLOSED = "closed"
#: What ICMP says of it.
PORT_CLOSED = "the port is closed (port unreachable)"


def expected(value: str) -> bytes | str | re.Pattern[bytes]:
    """Return what must come: bytes, anything, or that the port is closed."""
    word = value.lower()
    if word == CLOSED:
        return CLOSED
    if word == "filtered":
        raise ValueError(
            "expected closed, anything or text: a port of udp that is silent may be "
            "open or filtered"
        )
    return anything_or_text(value)


class UDPServerChecker(bulk.InBulk, TargetJob):
    """One port of one host."""

    kind = "udp"
    recheck = "5min"
    is_across_network = True
    guide = r"""
        A closed port is failing at once, if the host says so by ICMP. Silence is OK
        unless an answer is expected, by `expect`, `expect_regex`, `dialog` or a
        threshold: it means that the service does not answer what was sent, or that
        something is lost or filtered. Nobody can tell which.

        A packet may be lost: with `retries = 2` the whole is sent up to three times.

        Texts and patterns are as those of [tcp](#tcp-name). An answer must be in one
        packet; one that is not as expected is failing at once.
        """
    options: Options = {
        "host": option(host, help="a name or an address"),
        "port": option(port, help="1 to 65535"),
        "send": option(
            escaped, b"", help=r"what to send; \r \n \t \xNN work; else an empty packet"
        ),
        "expect": option(
            expected,
            b"",
            help="text that must be in the answer, or anything; or the port must be "
            "closed.  Without it silence is OK, and only a closed port is failing",
        ),
        **DIALOG_OPTIONS,
        "wait": option(
            seconds, 1.0, help="where no answer is expected: wait so long for one"
        ),
        **ADDRESS_OPTIONS,
        "fail_time": option(
            seconds, None, help="failing if the answer takes longer, or none comes"
        ),
        "warn_time": option(
            seconds, None, help="a warning if it takes longer; failing if none comes"
        ),
    }

    @classmethod
    def wrong_together(cls, target: Target) -> Iterator[Clash]:
        """Yield that an answer is expected of a port that is to be closed."""
        if target.expect == CLOSED:
            yield from talk_with_nobody(target, CLOSED, "expect_regex", "dialog")

    def steps(self, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
        """Return how long the answer took, nothing if none is expected or came."""
        return steps(self, target, deadline)


class Heard(NamedTuple):
    """The address that was asked, and how long its answer took; None: it was silent."""

    address: Address
    time: float | None


def steps(job: TargetJob, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
    """Return how long the answer took, nothing if none is expected or came."""
    from lib.net import dialog

    rounds = rounds_of(target)

    def reach(address: tuple[int, Address], own: Deadline) -> bulk.Steps[Heard]:
        return _ask(target, rounds, address, own)

    addresses = yield from bulk.resolved(
        target.host, target.port, target.family, deadline
    )
    if target.addresses == "every" or target.expect == CLOSED:
        each = yield from dialog.each_address(target.host, addresses, deadline, reach)
    else:
        each = [
            (
                yield from dialog.first_address(
                    target.host, target.port, addresses, deadline, reach
                )
            )
        ]
    values = {
        connect.shown_address(one.address): {
            "time": seconds(one.time, warn=target.warn_time, fail=target.fail_time)
        }
        for one in each
        if one.time is not None
    }
    return job.worst_of(values) if values else {}


def rounds_of(target: Target) -> tuple[Round, ...]:
    """Return the rounds of a target; one that expects an answer where a time must be
    judged."""
    from lib.net import dialog

    if target.expect == CLOSED:
        return (dialog.Round(send=target.send),)
    rounds = dialog.rounds_of(target)
    if not any(one.send for one in rounds):
        rounds = (dialog.Round(), *rounds)
    is_judged = target.warn_time is not None or target.fail_time is not None
    if is_judged and not any(one.expect for one in rounds):
        rounds = (*rounds, dialog.Round(expect=(dialog.ANYTHING,)))
    return rounds


def _ask(
    target: Target,
    rounds: Sequence[Round],
    address: tuple[int, Address],
    deadline: Deadline,
) -> bulk.Steps[Heard]:
    """Return what an address does; raise Unreachable if it is not as expected."""
    from lib.net import dialog, icmp

    sock = bulk.open_socket(address[0], socket.SOCK_DGRAM)
    line = dialog.Line(sock, deadline)
    began = time.monotonic()
    try:
        icmp.ask_for_refusals(sock)
        sock.connect(address[1])
        yield from dialog.hold(line, rounds)
        if not any(one.expect for one in rounds):
            yield from _hear(line, target, deadline)
        took = time.monotonic() - began
    except TimeoutError:
        raise
    except OSError as error:
        is_closed = isinstance(error, ConnectionRefusedError)
        if is_closed and target.expect == CLOSED:
            return Heard(address[1], time.monotonic() - began)
        said = next(icmp.refusals(sock), None)
        words = str(said or connect.reason(error, deadline))
        raise Unreachable(PORT_CLOSED if is_closed else words) from error
    finally:
        line.close()
    if target.expect == CLOSED:
        raise Unreachable(_not_closed(line, target))
    return Heard(address[1], took if line.was_answered else None)


def _hear(line: Line, target: Target, deadline: Deadline) -> bulk.Steps[None]:
    """Wait a while, in which a closed port says so."""
    with suppress(TimeoutError):
        yield from line.receive(deadline.within(target.wait))


def _not_closed(line: Line, target: Target) -> str:
    if line.was_answered:
        return "an answer came, so the port is open; expected closed"
    return (
        f"nobody says within {target.wait:g} s that the port is closed, so it is open "
        "or filtered; expected closed"
    )
