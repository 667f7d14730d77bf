"""[tcp NAME]: checks that a port accepts connections and says what is expected."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from lib.jobbase import (
    ADDRESS_OPTIONS,
    DIALOG_OPTIONS,
    SERVER_NAME,
    TRUST_OPTIONS,
    CheckFailed,
    CheckUnknown,
    Clash,
    Deadline,
    Options,
    Target,
    TargetJob,
    Value,
    Values,
    anything_or_text,
    dialog,
    escaped,
    host,
    option,
    port,
    seconds,
    switch,
    talk_with_nobody,
)
from lib.net import bulk, connect
from lib.net.connect import Address

if TYPE_CHECKING:
    from lib.net.dialog import Line, Round

#: What ``expect`` may say of the port itself: nobody listens, or nothing comes back.
CLOSED, FILTERED = "closed", "filtered"
#: What a firewall, or a host that is down, makes of an attempt to connect.
_NOTHING_CAME_BACK = (errno.EHOSTUNREACH, errno.EACCES, errno.EPERM, errno.ETIMEDOUT)
#: The parts of the time that have thresholds of their own.
PARTS = {
    "": "all of it",
    "_connect": "connecting",
    "_tls": "the TLS handshake",
}


#: The thresholds of the parts; and what there is only with TLS.
_OF_THE_PARTS = tuple(
    f"{word}_time{part}" for part in PARTS if part for word in ("warn", "fail")
)
_OF_TLS = ("server_name", "cafile", "fail_time_tls", "warn_time_tls")


def expected(value: str) -> bytes | tuple[str, ...] | re.Pattern[bytes]:
    """Return what must come: bytes, anything, or how the port itself must be."""
    words = tuple(word.strip() for word in value.lower().split(","))
    if {*words} <= {CLOSED, FILTERED}:
        return words
    return anything_or_text(value)


class TCPServerChecker(bulk.InBulk, TargetJob):
    """One port of one host."""

    kind = "tcp"
    recheck = "5min"
    yields = (*_OF_TLS, "verify", *_OF_THE_PARTS)
    is_across_network = True
    guide = r"""
        `banner` comes first, then `send`, then `expect` and `expect_regex` in any
        order, then the lines of `dialog` one by one. A round looks at what the one
        before has not matched. Texts know `\r \n \t \\ \0 \xNN`; a blank at an end of
        a line is `\x20`. Patterns are Python's, of bytes; `^` and `$` are those of a
        line. At most 64 KB are read.

        `expect = closed` is OK if each address refuses connections, `filtered` if none
        of them answers at all, and `closed, filtered` if one of both is so; a host that
        is down looks filtered. The text itself is `\x63losed`.
        """
    options: Options = {
        "host": option(host, help="a name or an address"),
        "port": option(port, help="1 to 65535"),
        "banner": option(
            escaped, b"", help="text that the server must say before anything is sent"
        ),
        "send": option(escaped, b"", help=r"text to send; \r \n \t \xNN work"),
        "expect": option(
            expected,
            b"",
            help="text that must be in the answer, or anything; or the port must be "
            "closed, filtered, or one of both: closed, filtered",
        ),
        **DIALOG_OPTIONS,
        "dialog": option(
            dialog("send", "expect", "expect_regex", "tls"),
            (),
            help="more rounds, one in a line: send TEXT, expect TEXT, "
            "expect_regex PATTERN; tls begins TLS",
        ),
        "tls": option(switch, False, help="yes: the server speaks TLS from the start"),
        "server_name": SERVER_NAME,
        **TRUST_OPTIONS,
        **ADDRESS_OPTIONS,
        **{
            f"{status}_time{part}": option(
                seconds, None, help=f"{words} if {what} takes longer than this"
            )
            for part, what in PARTS.items()
            for status, words in (("fail", "failing"), ("warn", "a warning"))
        },
    }

    @classmethod
    def wrong_together(cls, target: Target) -> Iterator[Clash]:
        """Yield that nobody is to be talked to, or that TLS is to begin twice."""
        if type(target.expect) is tuple:
            talk = ("banner", "send", "expect_regex", "dialog", "tls")
            of_tls = ("server_name", "cafile", *_OF_THE_PARTS)
            expected = ", ".join(target.expect)
            yield from talk_with_nobody(target, expected, *talk, *of_tls)
            return
        tls = target.tls + [word for word, _value in target.dialog].count("tls")
        if tls > 1:
            words = "TLS begins twice; keep one of tls = yes and the lines of dialog"
            yield Clash(words, ("tls", "dialog"))
        idle = [name for name in _OF_TLS if getattr(target, name)]
        if not target.verify:
            idle.append("verify")
        for name in idle if not tls else ():
            words = f"{name} is about TLS; set tls = yes, or leave it out"
            yield Clash(words, (name, "tls"))

    def formerly(self) -> str:
        """Return a glob that matches the older program's names for this port."""
        import glob

        kind = "<class 'jobs.TCPServerChecker.TCPServerChecker.ServerChecker'>"
        host, port = self.target.host, self.target.port
        rest = f"({host}:{port})|{host}|{port}|"
        return f"{glob.escape(kind)} for *{glob.escape(rest)}*"

    def steps(self, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
        """Return how long it took until an address had responded as expected."""
        if type(target.expect) is tuple:
            return must_be_unreached(self, target, deadline)
        is_more = not _MORE.isdisjoint(target.given_options)
        if target.addresses == "every" or (is_more and _says_more(target)):
            return talked(self, target, deadline)
        return connected(self, target, deadline)


def _says_more(target: Target) -> bool:
    return any(getattr(target, one) for one in _MORE)


#: With one of these there is more to do than to connect to one address.
_MORE = frozenset(
    {
        "send",
        "expect",
        "expect_regex",
        "banner",
        "dialog",
        "tls",
        "warn_time_connect",
        "fail_time_connect",
    }
)


def connected(job: TargetJob, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
    """Return how long it took to connect to one address of the host."""
    began = time.monotonic()
    address = yield from bulk.connected(
        target.host, target.port, deadline, target.family
    )
    job.answered_by = connect.shown_address(address)
    took = time.monotonic() - began
    return {"time": seconds(took, warn=target.warn_time, fail=target.fail_time)}


class Times(NamedTuple):
    """The address that responded as expected, and the seconds of each part."""

    address: Address
    time: float
    time_connect: float
    #: None where there was no TLS.
    time_tls: float | None


def talked(job: TargetJob, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
    """Return how long it took until one address, or each, responded as expected."""
    from lib.net import dialog

    began = time.monotonic()
    rounds = dialog.rounds_of(target)

    def reach(address: tuple[int, Address], own: Deadline) -> bulk.Steps[Times]:
        return _talk(target, rounds, address, own)

    addresses = yield from bulk.resolved(
        target.host, target.port, target.family, deadline
    )
    if target.addresses == "every":
        each = yield from dialog.each_address(target.host, addresses, deadline, reach)
        return job.worst_of(
            {connect.shown_address(one.address): _values(target, one) for one in each}
        )
    times = yield from dialog.first_address(
        target.host, target.port, addresses, deadline, reach
    )
    times = times._replace(time=time.monotonic() - began)
    job.answered_by = connect.shown_address(times.address)
    return _values(target, times)


def _values(target: Target, times: Times) -> dict[str, Value]:
    """Return the time, and its parts that have a threshold."""
    values = {"time": seconds(times.time, warn=target.warn_time, fail=target.fail_time)}
    for name in ("time_connect", "time_tls"):
        warn, fail = getattr(target, f"warn_{name}"), getattr(target, f"fail_{name}")
        took = getattr(times, name)
        if took is not None and (warn or fail):
            values[name] = seconds(took, warn=warn, fail=fail)
    return values


def _talk(
    target: Target,
    rounds: Sequence[Round],
    address: tuple[int, Address],
    deadline: Deadline,
) -> bulk.Steps[Times]:
    """Return how long it took until an address had responded as expected."""
    from lib.net import dialog, tls

    began = time.monotonic()
    connect_s, tls_s = 0.0, None

    def secure(line: Line) -> bulk.Steps[None]:
        nonlocal tls_s
        secure_began = time.monotonic()
        name = target.server_name or target.host
        trust = partial(tls.trust, target.cafile, target.verify)
        yield from line.secure(name, trust)
        tls_s = time.monotonic() - secure_began

    sock = bulk.open_socket(address[0])
    line = dialog.Line(sock, deadline)
    try:
        yield from bulk.connect_socket(sock, address[1], deadline)
        connect_s = time.monotonic() - began
        if target.tls:
            yield from secure(line)
        yield from dialog.hold(line, rounds, secure)
    finally:
        line.close()
    return Times(address[1], time.monotonic() - began, connect_s, tls_s)


# A port that must not be reached.


def must_be_unreached(
    job: TargetJob, target: Target, deadline: Deadline
) -> bulk.Steps[Values]:
    """Return how long it took to see that each address is as ``expect`` says."""
    began = time.monotonic()
    addresses = yield from bulk.resolved(
        target.host, target.port, target.family, deadline
    )
    wrong: list[str] = []
    unknown: list[str] = []
    for (kind, address), own in deadline.shared(addresses):
        place = connect.shown_address(address)
        try:
            state, words = yield from _state(kind, address, own)
        except CheckUnknown as error:
            unknown.append(f"{place}: {error}")
            continue
        if state not in target.expect:
            wrong.append(f"{place}: {words}; expected {' or '.join(target.expect)}")
    if wrong:
        raise CheckFailed("\n".join(wrong), host=target.host)
    if len(unknown) == len(addresses):
        raise CheckUnknown("\n".join(unknown))
    took = time.monotonic() - began
    return {"time": seconds(took, warn=target.warn_time, fail=target.fail_time)}


def _state(
    kind: int, address: Address, deadline: Deadline
) -> bulk.Steps[tuple[str, str]]:
    """Return whether a port is open, closed or filtered, and the words for it.

    Raise CheckUnknown if this machine cannot find out.
    """
    try:
        with bulk.open_socket(kind) as sock:
            yield from bulk.connect_socket(sock, address, deadline)
        return "open", "the port is open"
    except ConnectionRefusedError:
        return CLOSED, "connection refused, so the port is closed"
    except TimeoutError:
        return FILTERED, f"no answer within {deadline}, so it is filtered or down"
    except OSError as error:
        words = connect.reason(error, deadline)
        if error.errno in _NOTHING_CAME_BACK:
            return FILTERED, f"{words}, so it is filtered or down"
        raise CheckUnknown(f"not known: {words}") from error
