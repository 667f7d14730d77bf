"""Watch how long a certificate is still valid, and that it is trusted.

One job per section ``[tls NAME]``; its options are in ``lib/config/kinds.py``.  A
service that begins without TLS gets a row in STARTTLS: what is said, up to where TLS
begins.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from lib.jobbase import (
    CheckFailed,
    CheckUnknown,
    JobBase,
    JobSpawner,
    TargetJob,
    targets,
)
from lib.net import connect, tls

#: As much as a server may say before TLS begins.
MAX_BYTES = 16_384
#: What ends within this is remembered, for the certificates that a summary of
#: ``[summary]`` names: for its 30 days, and for when it comes between two looks.
REMEMBERED = timedelta(days=32)


class TLSCertExpiration(JobSpawner):
    """One job per section [tls NAME]."""

    def get_sub_jobs(self, config: configparser.ConfigParser) -> Iterator[JobBase]:
        """Yield a job for each section."""
        for target in targets(config, "tls"):
            yield Cert(config, target)


class Cert(TargetJob):
    """The certificate of one port of one host."""

    def formerly(self) -> str:
        """Return a glob over the names the older program had for this host."""
        import glob

        kind = "<class 'jobs.TLSCertExpiration.TLSCertExpiration.CertChecker'>"
        host = self.values["host"]
        return glob.escape(f"{kind} for {host}|{host}") + "*"

    def execute(self) -> bool:
        """Fail when the certificate is not trusted, or ends in less than ``days``."""
        deadline = connect.Deadline(self.timeout())
        host = self.values["host"]
        try:
            with tls.secure(
                host,
                self.values["port"],
                deadline,
                tls.trust(self.values["cafile"]),
                self.values["family"],
                STARTTLS[self.values["starttls"]],
            ) as sock:
                der = sock.getpeercert(binary_form=True) or b""
        except connect.Unreachable as error:
            raise CheckFailed(str(error)) from error
        except connect.NotTried as error:
            raise CheckUnknown(str(error)) from error
        ends_at, now = tls.read_certificate(der).not_after, datetime.now(UTC)
        self._remember(ends_at, now)
        trouble = ends_too_soon(ends_at, now, self.values["days"])
        if trouble:
            raise CheckFailed(f"the certificate of {host} {trouble}")
        return True

    def _remember(self, ends_at: datetime, now: datetime) -> None:
        """Remember when the certificate ends, but only if that is soon.

        So that the others go on without a file in state/.
        """
        if ends_at - now < REMEMBERED:
            self.memory["expires"] = ends_at.isoformat()
        else:
            self.memory.pop("expires", None)


def ends_too_soon(ends_at: datetime, now: datetime, days: int) -> str:
    """Return what to say if a certificate ends in less than ``days``, or nothing."""
    left = ends_at - now
    if left >= timedelta(days=days):
        return ""
    when = f"{left.days} day{'s' * (left.days != 1)}"
    soon = when if left.days > 0 else "less than a day"
    return f"expires in {soon}, on {ends_at:%Y-%m-%d} (limit {days})"


def smtp_starttls(sock: connect.TimedSocket) -> None:
    """Take an SMTP conversation to where TLS begins; raise Unreachable if it stops."""
    lines = Lines(sock)
    _smtp(lines, "", 220)
    _smtp(lines, "EHLO checker.invalid", 250)
    _smtp(lines, "STARTTLS", 220)
    lines.expect_silence()


def imap_starttls(sock: connect.TimedSocket) -> None:
    """Take an IMAP conversation to where TLS begins; raise Unreachable if it stops."""
    lines = Lines(sock)
    greeting = lines.read()
    if not greeting.upper().startswith("* OK"):
        raise connect.Unreachable(f"no IMAP greeting but {greeting!r}")
    sock.sendall(b"a STARTTLS\r\n")
    answer = lines.read()
    while answer.startswith("* "):
        answer = lines.read()
    if not answer.upper().startswith("A OK"):
        raise connect.Unreachable(f"STARTTLS was refused: {answer!r}")
    lines.expect_silence()


#: What comes before TLS, by the words of ``starttls =``.
STARTTLS = {"": None, "smtp": smtp_starttls, "imap": imap_starttls}


class Lines:
    """The lines a server says."""

    def __init__(self, sock: connect.TimedSocket) -> None:
        self.sock = sock
        self._came = b""
        self._size = 0

    def read(self) -> str:
        """Return the next line without its end, printable and short."""
        while b"\n" not in self._came:
            more = self.sock.recv(4096)
            self._size += len(more)
            if not more or self._size > MAX_BYTES:
                trouble = "went on and on" if more else "closed the connection"
                raise connect.Unreachable(f"the server {trouble} before TLS began")
            self._came += more
        line, _end, self._came = self._came.partition(b"\n")
        return line.decode("ascii", "replace").strip()[:200]

    def expect_silence(self) -> None:
        """Raise Unreachable if more was said than the answer to STARTTLS."""
        if self._came:
            raise connect.Unreachable("something was said between STARTTLS and TLS")


def _smtp(lines: Lines, command: str, wanted: int) -> None:
    if command:
        lines.sock.sendall(f"{command}\r\n".encode())
    answer = lines.read()
    while answer[3:4] == "-":
        answer = lines.read()
    if answer[:3] != str(wanted):
        said = command or "the greeting"
        raise connect.Unreachable(f"{said}: expected {wanted}, got {answer!r}")
