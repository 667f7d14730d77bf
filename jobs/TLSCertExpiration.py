"""[tls NAME]: checks that a certificate is trusted and how long it is valid.

The options of the section are in ``lib/config/kinds.py``.  To support STARTTLS of
another protocol, write a function that talks up to the handshake and give it a row in
STARTTLS.
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

#: The most that is read before the TLS handshake.
MAX_BYTES = 16_384
#: A date of expiry within this is kept for the summary, which lists certificates that
#: expire within 30 days; longer, since a summary may come between two checks.
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
        """Return a glob that matches the older program's names for this host."""
        import glob

        kind = "<class 'jobs.TLSCertExpiration.TLSCertExpiration.CertChecker'>"
        host = self.given["host"]
        return glob.escape(f"{kind} for {host}|{host}") + "*"

    def execute(self) -> bool:
        """Fail if the certificate is not trusted or expires in less than ``days``."""
        deadline = connect.Deadline(self.timeout())
        host = self.given["host"]
        try:
            with tls.secure(
                host,
                self.given["port"],
                deadline,
                tls.trust(self.given["cafile"]),
                self.given["family"],
                STARTTLS[self.given["starttls"]],
            ) as sock:
                der = sock.getpeercert(binary_form=True) or b""
        except connect.Unreachable as error:
            raise CheckFailed.about(error) from error
        except connect.NotTried as error:
            raise CheckUnknown(str(error)) from error
        ends_at, now = tls.read_certificate(der).not_after, datetime.now(UTC)
        self._remember(ends_at, now)
        trouble = ends_too_soon(ends_at, now, self.given["days"])
        if trouble:
            raise CheckFailed(
                f"the certificate of {host} {trouble}",
                host=host,
                cause=f"the certificate {trouble}",
            )
        return True

    def _remember(self, ends_at: datetime, now: datetime) -> None:
        """Keep when the certificate expires, but only if that is soon.

        A job without a memory needs no file in state/.
        """
        if ends_at - now < REMEMBERED:
            self.memory["expires"] = ends_at.isoformat()
        else:
            self.memory.pop("expires", None)


def ends_too_soon(ends_at: datetime, now: datetime, days: int) -> str:
    """Return that a certificate expires in less than ``days``; empty if it does not."""
    left = ends_at - now
    if left >= timedelta(days=days):
        return ""
    if left.days == 0:
        when = "less than a day"
    elif left.days == 1:
        when = "1 day"
    else:
        when = f"{left.days} days"
    return f"expires in {when}, on {ends_at:%Y-%m-%d} (limit: {days} days)"


def smtp_starttls(sock: connect.TimedSocket) -> None:
    """Talk SMTP up to the TLS handshake; raise Unreachable if the server refuses."""
    lines = Lines(sock)
    _smtp(lines, "", 220)
    _smtp(lines, "EHLO checker.invalid", 250)
    _smtp(lines, "STARTTLS", 220)
    lines.expect_silence()


def imap_starttls(sock: connect.TimedSocket) -> None:
    """Talk IMAP up to the TLS handshake; raise Unreachable if the server refuses."""
    lines = Lines(sock)
    greeting = lines.read()
    if not greeting.upper().startswith("* OK"):
        raise connect.Unreachable(f"expected an IMAP greeting, got {greeting!r}")
    sock.sendall(b"a STARTTLS\r\n")
    answer = lines.read()
    while answer.startswith("* "):
        answer = lines.read()
    if not answer.upper().startswith("A OK"):
        raise connect.Unreachable(f"the server refused STARTTLS: {answer!r}")
    lines.expect_silence()


#: The functions that talk up to the handshake, by the values of ``starttls``.
STARTTLS = {"": None, "smtp": smtp_starttls, "imap": imap_starttls}


class Lines:
    """The lines that a server sends."""

    def __init__(self, sock: connect.TimedSocket) -> None:
        self.sock = sock
        self._unread = b""
        self._size = 0

    def read(self) -> str:
        """Return the next line without its end, printable and short."""
        while b"\n" not in self._unread:
            more = self.sock.recv(4096)
            self._size += len(more)
            if not more or self._size > MAX_BYTES:
                did = "sent too much" if more else "closed the connection"
                raise connect.Unreachable(f"the server {did} before the TLS handshake")
            self._unread += more
        line, _end, self._unread = self._unread.partition(b"\n")
        return line.decode("ascii", "replace").strip()[:200]

    def expect_silence(self) -> None:
        """Raise Unreachable if the server sent more than its reply to STARTTLS."""
        if self._unread:
            raise connect.Unreachable(
                "the server sent data between STARTTLS and the TLS handshake"
            )


def _smtp(lines: Lines, command: str, wanted: int) -> None:
    if command:
        lines.sock.sendall(f"{command}\r\n".encode())
    answer = lines.read()
    while answer[3:4] == "-":
        answer = lines.read()
    if answer[:3] != str(wanted):
        step = command or "the greeting"
        raise connect.Unreachable(f"{step}: expected {wanted}, got {answer!r}")
