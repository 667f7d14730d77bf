"""[tcp NAME]: checks that a port accepts connections and sends what is expected.

The options of the section are in ``lib/config/kinds.py``.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterator

from lib.jobbase import CheckFailed, JobBase, JobSpawner, TargetJob, targets
from lib.net import connect

#: The most that is read while waiting for the expected bytes.
MAX_BYTES = 65_536


class TCPServerChecker(JobSpawner):
    """One job per section [tcp NAME]."""

    def get_sub_jobs(self, config: configparser.ConfigParser) -> Iterator[JobBase]:
        """Yield a job for each section."""
        for target in targets(config, "tcp"):
            yield Port(config, target)


class Port(TargetJob):
    """One port of one host."""

    def formerly(self) -> str:
        """Return a glob that matches the older program's names for this port."""
        import glob

        kind = "<class 'jobs.TCPServerChecker.TCPServerChecker.ServerChecker'>"
        host, port = self.given["host"], self.given["port"]
        rest = f"({host}:{port})|{host}|{port}|"
        return f"{glob.escape(kind)} for *{glob.escape(rest)}*"

    def execute(self) -> bool:
        """Fail unless one address of the host responds as expected."""
        deadline = connect.Deadline(self.timeout())
        host, port = self.given["host"], self.given["port"]
        try:
            connect.connect(
                host, port, deadline, self.given["family"], self._talk
            ).close()
        except connect.Unreachable as error:
            raise CheckFailed.about(error) from error
        return True

    def _talk(self, sock: connect.TimedSocket) -> None:
        """Send ``send`` and wait for ``expect``; raise Unreachable if that fails."""
        if self.given["send"]:
            sock.sendall(self.given["send"])
        if self.given["expect"]:
            wait_for(sock, self.given["expect"])


def wait_for(sock: connect.TimedSocket, wanted: bytes) -> None:
    """Return once ``wanted`` was received; raise Unreachable if it is not."""
    received = b""
    while wanted not in received:
        if len(received) >= MAX_BYTES:
            raise connect.Unreachable(missing(wanted, received, "in the first 64 KB"))
        try:
            more = sock.recv(4096)
        except TimeoutError:
            within = f"within {sock.deadline}"
            raise connect.Unreachable(missing(wanted, received, within)) from None
        except ConnectionError as error:
            cause = connect.reason(error, sock.deadline)
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
