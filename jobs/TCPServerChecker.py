r"""Watch that a port answers, and says what it should.

One job per section ``[tcp NAME]``; its options are in ``lib/config/kinds.py``.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterator

from lib.jobbase import CheckFailed, JobBase, JobSpawner, TargetJob, targets
from lib.net import connect

#: As much as is read while waiting for what is expected.
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
        """Return a glob over the names the older program had for this port."""
        import glob

        kind = "<class 'jobs.TCPServerChecker.TCPServerChecker.ServerChecker'>"
        host, port = self.values["host"], self.values["port"]
        rest = f"({host}:{port})|{host}|{port}|"
        return f"{glob.escape(kind)} for *{glob.escape(rest)}*"

    def execute(self) -> bool:
        """Fail unless one address of the host answers as expected."""
        deadline = connect.Deadline(self.timeout())
        host, port = self.values["host"], self.values["port"]
        try:
            connect.connect(
                host, port, deadline, self.values["family"], self._talk
            ).close()
        except connect.Unreachable as error:
            raise CheckFailed(str(error)) from error
        return True

    def _talk(self, sock: connect.TimedSocket) -> None:
        """Send and wait for what the section says; raise Unreachable if it fails."""
        if self.values["send"]:
            sock.sendall(self.values["send"])
        if self.values["expect"]:
            wait_for(sock, self.values["expect"])


def wait_for(sock: connect.TimedSocket, wanted: bytes) -> None:
    """Return once ``wanted`` has come; raise Unreachable if it does not."""
    came = b""
    while wanted not in came:
        if len(came) >= MAX_BYTES:
            raise connect.Unreachable(missing(wanted, came, "in the first 64 KB"))
        try:
            more = sock.recv(4096)
        except TimeoutError:
            within = f"within {sock.deadline}"
            raise connect.Unreachable(missing(wanted, came, within)) from None
        except ConnectionError as error:
            words = connect.reason(error, sock.deadline)
            raise connect.Unreachable(missing(wanted, came, f"({words})")) from error
        if not more:
            closed = "before the connection was closed"
            raise connect.Unreachable(missing(wanted, came, closed))
        came += more


def missing(wanted: bytes, came: bytes, when: str) -> str:
    """Return the words for what did not come, and what came instead."""
    what = f"{len(came)} bytes came: {shown(came)}" if came else "nothing came"
    return f"connected, but {shown(wanted)} did not come {when}; {what}"


def shown(data: bytes) -> str:
    r"""Return bytes as people can read them, control characters as ``\r \n \xNN``."""
    start = repr(data[:60])[1:]
    return start if len(data) <= 60 else f"{start}..."
