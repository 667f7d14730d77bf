"""[tcp NAME]: checks that a port accepts connections and sends what is expected."""

from __future__ import annotations

import socket
import time

from lib.jobbase import (
    Deadline,
    Options,
    Target,
    TargetJob,
    Values,
    escaped,
    host,
    one_of,
    option,
    port,
    seconds,
)
from lib.net import bulk, connect

#: The most that is read while waiting for the expected bytes.
MAX_BYTES = 65_536


class TCPServerChecker(bulk.InBulk, TargetJob):
    """One port of one host."""

    kind = "tcp"
    recheck = "5min"
    is_across_network = True
    options: Options = {
        "host": option(host, help="a name or an address"),
        "port": option(port, help="1 to 65535"),
        "send": option(escaped, b"", help=r"text to send; \r \n \t \xNN work"),
        "expect": option(escaped, b"", help="text that must be in the answer"),
        "family": option(
            one_of(("any", "ipv4", "ipv6")),
            "any",
            help="ipv4 or ipv6: try only such addresses",
        ),
        "fail_time": option(
            seconds, None, help="failing if it takes longer than this: 2s, 500ms"
        ),
        "warn_time": option(
            seconds, None, help="a warning if it takes longer than this"
        ),
    }

    def formerly(self) -> str:
        """Return a glob that matches the older program's names for this port."""
        import glob

        kind = "<class 'jobs.TCPServerChecker.TCPServerChecker.ServerChecker'>"
        host, port = self.target.host, self.target.port
        rest = f"({host}:{port})|{host}|{port}|"
        return f"{glob.escape(kind)} for *{glob.escape(rest)}*"

    def steps(self, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
        """Return how long it took until one address of the host had responded."""
        return steps(self, target, deadline)


def steps(job: TargetJob, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
    """Return how long it took until one address of the host had responded."""

    def talk(sock: socket.socket, own: Deadline) -> bulk.Steps[None]:
        if target.send:
            yield from bulk.send(sock, target.send, own)
        if target.expect:
            yield from wait_for(sock, target.expect, own)

    began = time.monotonic()
    talks = talk if target.send or target.expect else None
    address = yield from bulk.connected(
        target.host, target.port, deadline, target.family, talks
    )
    job.answered_by = connect.shown_address(address)
    took = time.monotonic() - began
    return {"time": seconds(took, warn=target.warn_time, fail=target.fail_time)}


def wait_for(
    sock: socket.socket, wanted: bytes, deadline: Deadline
) -> bulk.Steps[None]:
    """Return once ``wanted`` was received; raise Unreachable if it is not."""
    received = b""
    while wanted not in received:
        if len(received) >= MAX_BYTES:
            raise connect.Unreachable(missing(wanted, received, "in the first 64 KB"))
        try:
            more = yield from bulk.receive(sock, 4096, deadline)
        except TimeoutError:
            within = f"within {deadline}"
            raise connect.Unreachable(missing(wanted, received, within)) from None
        except ConnectionError as error:
            cause = connect.reason(error, deadline)
            raise connect.Unreachable(
                missing(wanted, received, f"({cause})")
            ) from error
        if not more:
            closed = "before the connection was closed"
            raise connect.Unreachable(missing(wanted, received, closed))
        received += more


def missing(wanted: bytes, received: bytes, when: str) -> str:
    """Return the reason: what was not received, and what was received instead."""
    got = "nothing"
    if received:
        got = f"{len(received)} bytes: {shown(received)}"
    return f"connected, but did not receive {shown(wanted)} {when}; received {got}"


def shown(data: bytes) -> str:
    r"""Return bytes as readable text, with control characters as ``\r \n \xNN``."""
    start = repr(data[:60])[1:]
    return start if len(data) <= 60 else f"{start}..."
