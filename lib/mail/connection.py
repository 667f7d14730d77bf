"""The connection to a mail server, as smtplib and imaplib use it.

Every wait ends at one deadline, and what a server says has a limit.  Both libraries
take a MailSocket for a socket, and StartTls for an SSLContext.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lib.net.address import ascii_domain
from lib.net.connect import (
    Deadline,
    TimedSocket,
    Unreachable,
    connect,
    connect_first,
    resolve,
)
from lib.net.tls import (
    GREETS_WITHIN_S,
    SMTP_PORT,
    client_hello,
    handshake,
    is_of_tls,
    trust,
)

if TYPE_CHECKING:
    import ssl

#: How long the server may take to answer a goodbye.
GOODBYE_S = 2
#: How long a greeting without TLS may take at a port where TLS comes first: there none
#: comes at all.
GREETING_S = 5


class NoEnd(OSError):
    """The server said more than anybody asked for."""


class MailSocket(io.RawIOBase):
    """A connection whose waits end at ``deadline``.

    A socket's own timeout begins anew with each byte.  The answer to what was sent may
    have ``max_answer`` bytes; more would only fill our memory.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline, max_answer: int):
        super().__init__()
        self.sock = sock
        self.deadline = deadline
        self._max_answer = max_answer
        self._reads_no_more = False
        #: Bytes since something was sent.
        self._received = 0
        #: What the libraries read from.
        self.reader = io.BufferedReader(self)

    def makefile(self, *_mode: str) -> io.BufferedReader[MailSocket]:
        """Return what to read from."""
        return self.reader

    def sendall(self, data: bytes) -> None:
        """Send it all; raise OSError if the deadline comes first."""
        self._received = 0
        self.sock.settimeout(self.deadline.left())
        self.sock.sendall(data)

    def is_heard_within(self, limit_s: float) -> bool:
        """Return whether the server says something so soon, or hangs up.

        For the greeting, before there is TLS.
        """
        import select

        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        left = self.deadline.ends_at - time.monotonic()
        return bool(poll.poll(1000 * max(0.0, min(limit_s, left))))

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there; raise OSError if it comes late, or NoEnd."""
        if self._reads_no_more:
            return None
        if isinstance(self.sock, TimedSocket):
            # It has one of its own, which is that of connecting.
            self.sock.deadline = self.deadline
        self.sock.settimeout(self.deadline.left())
        count = self.sock.recv_into(buffer)
        self._received += count
        if self._received > self._max_answer:
            raise NoEnd("the answer has no end")
        return count

    def read_exactly(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end; raise NoEnd before it takes them."""
        if size > self._max_answer:
            raise NoEnd(f"the server announced {size} bytes, and we take no more")
        return self.reader.read(size)

    def in_tls(self, host: str, context: ssl.SSLContext) -> MailSocket:
        """Return the connection in TLS.

        Raise TlsFailed if there is none that can be trusted.  Raise Unreachable if the
        server said something after its answer to STARTTLS: somebody on the way may
        have, for it to be taken as said in TLS.
        """
        if self._has_read_ahead():
            raise Unreachable(
                "the server said more than its answer before TLS began; somebody on "
                "the way may have put it in, so the session is not used",
                host=host,
                step="STARTTLS",
            )
        sock = handshake(self.sock, host, self.deadline, context)
        return MailSocket(sock, self.deadline, self._max_answer)

    def _has_read_ahead(self) -> bool:
        self._reads_no_more = True
        try:
            return bool(self.reader.peek())
        finally:
            self._reads_no_more = False

    def shutdown(self, how: int) -> None:
        """End the conversation."""
        self.sock.shutdown(how)

    def close(self) -> None:
        """Hang up."""
        self.sock.close()
        super().close()


class StartTls:
    """Begins TLS where ``starttls`` of smtplib and imaplib asks an SSLContext to.

    Theirs knows no deadline, and gives the name no form that a certificate has.
    """

    def __init__(self, host: str, cafile: str = "") -> None:
        self._host, self._cafile = host, cafile

    def wrap_socket(self, sock: MailSocket, server_hostname: str = "") -> MailSocket:
        """Return the connection in TLS, its certificate valid for the host.

        Raise TlsFailed or NotTried if there is none.
        """
        return sock.in_tls(ascii_domain(self._host), trust(self._cafile))


def silent_for_tls(
    connection: MailSocket, host: str, port: int, usual_port: int
) -> float:
    """Return how long a server that waits for TLS to begin has greeted nobody.

    0: it has greeted, or waits for something else.  At ``usual_port`` TLS comes first.
    """
    is_usual = port == usual_port
    limit_s = GREETING_S if is_usual else GREETS_WITHIN_S
    if connection.is_heard_within(limit_s):
        return 0.0
    is_of_it = is_usual or _speaks_tls(host, port, connection.deadline)
    return limit_s if is_of_it else 0.0


def _speaks_tls(host: str, port: int, deadline: Deadline) -> bool:
    """Return whether a server answers where TLS begins at once, in a connection of it.

    Not asked at port 25, where servers take it ill if somebody speaks before them.
    """
    if port == SMTP_PORT:
        return False
    own = deadline.within(GREETING_S)
    try:
        with connect(ascii_domain(host), port, own) as sock:
            sock.sendall(client_hello(host))
            return is_of_tls(sock.recv(5))
    except (OSError, ValueError, Unreachable):
        return False


def ignore(_line: str) -> None:
    """Take the line of a step and do nothing with it."""


def reach(
    host: str,
    port: int,
    deadline: Deadline,
    *,
    without_tls: str = "",
    emit: Callable[[str], None] = ignore,
) -> socket.socket:
    """Return a connection to the first address of ``host`` that answers.

    ``without_tls``: the option that says that there is no TLS.  Then the host must be
    this machine.  Raise Unreachable if it is not, or if no address answers.
    """
    try:
        name = ascii_domain(host)
    except ValueError as error:
        raise Unreachable(str(error), host=host, step="resolve") from error
    addresses = resolve(name, port, deadline)
    names = ", ".join(dict.fromkeys(str(address[0]) for _family, address in addresses))
    if names != host:
        emit(f"{host} is {names}")
    if without_tls and not all(_is_own(address[0]) for _family, address in addresses):
        raise Unreachable(
            f"{without_tls} = none is for a server on this machine only, and {host} is "
            f"{names}; use starttls or tls",
            host=host,
        )
    sock = connect_first(name, port, addresses, deadline, emit=emit)
    with contextlib.suppress(OSError):  # reset already: the first read says so
        emit(f"connected to {sock.getpeername()[0]} port {port}")
    return sock


def _is_own(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
