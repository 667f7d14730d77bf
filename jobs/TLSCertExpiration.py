"""[tls NAME]: checks that a certificate is trusted and how long it is valid.

To support STARTTLS of another protocol, write a function that talks up to the handshake
and give it a row in STARTTLS.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lib.jobbase import (
    Deadline,
    JobFrequency,
    Options,
    Target,
    TargetJob,
    Values,
    absolute_path,
    count,
    host,
    one_of,
    option,
    port,
    whole,
)
from lib.net import certificates, connect, tls

#: The most that is read before the TLS handshake.
MAX_BYTES = 16_384
#: A date of expiry within this is kept for the summary, which lists certificates that
#: expire within 30 days; longer, since a summary may come between two checks.
REMEMBERED = timedelta(days=32)


class TLSCertExpiration(TargetJob):
    """The certificate of one port of one host."""

    kind = "tls"
    every = JobFrequency.DAY
    is_across_network = True
    options: Options = {
        "host": option(host, help="a name or an address"),
        "port": option(port, 443, help="1 to 65535"),
        "fail_days": option(
            whole(0, 3650, "days"),
            14,
            below=True,
            also="days",
            help="failing if the certificate has fewer days left",
        ),
        "warn_days": option(
            whole(0, 3650, "days"),
            None,
            below=True,
            help="a warning if it has fewer days left",
        ),
        "starttls": option(
            one_of(("smtp", "imap")),
            "",
            help="smtp or imap: the server starts without TLS",
        ),
        "cafile": option(
            absolute_path, "", help="trust this CA file instead of the system's store"
        ),
        "family": option(
            one_of(("any", "ipv4", "ipv6")),
            "any",
            help="ipv4 or ipv6: try only such addresses",
        ),
    }

    def formerly(self) -> str:
        """Return a glob that matches the older program's names for this host."""
        import glob

        kind = "<class 'jobs.TLSCertExpiration.TLSCertExpiration.CertChecker'>"
        host = self.target.host
        return glob.escape(f"{kind} for {host}|{host}") + "*"

    def check(self, target: Target, deadline: Deadline) -> Values:
        """Return how many days a trusted certificate has left."""
        with tls.secure(
            target.host,
            target.port,
            deadline,
            tls.trust(target.cafile),
            target.family,
            STARTTLS[target.starttls],
        ) as sock:
            der = sock.getpeercert(binary_form=True) or b""
            self.answered_by = connect.shown_peer(sock)
        ends_at, now = certificates.read_certificate(der).not_after, datetime.now(UTC)
        self._remember(ends_at, now)
        self.note = f"the certificate of {target.host} expires on {ends_at:%Y-%m-%d}"
        left = days_left(ends_at, now)
        return {"days": count(left, warn=target.warn_days, fail=target.fail_days)}

    def _remember(self, ends_at: datetime, now: datetime) -> None:
        """Keep when the certificate expires, but only if that is soon.

        A job without a memory needs no file in state/.
        """
        if ends_at - now < REMEMBERED:
            self.memory["expires"] = ends_at.isoformat()
        else:
            self.memory.pop("expires", None)


def days_left(ends_at: datetime, now: datetime) -> float:
    """Return how many days are left, with one digit, rounded down."""
    return (ends_at - now) // timedelta(days=0.1) / 10


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
