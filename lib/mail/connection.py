"""Connects to an SMTP server, and starts TLS, before one deadline.

Every error is a DialFailed whose text says what to do.
"""

from __future__ import annotations

import io
import ipaddress
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lib.core.settings import Mail
from lib.mail.replies import tls_remedy, with_remedy
from lib.net.address import ascii_domain
from lib.net.connect import Deadline, NotTried, Unreachable, reason, resolve
from lib.net.tls import TlsFailed, handshake, trust

if TYPE_CHECKING:
    import ssl


#: No answer is longer, unless somebody wants to fill our memory.
MAX_ANSWER_BYTES = 64 * 1024


class DialFailed(Exception):
    """The server was not reached; the text says why, and what to do about it."""


class Answers(io.RawIOBase):
    """What the server says; each wait for more of it ends at the deadline.

    A socket's own timeout begins anew with every byte.
    """

    def __init__(
        self, sock: socket.socket, deadline: Deadline, most: int = MAX_ANSWER_BYTES
    ) -> None:
        super().__init__()
        self._sock = sock
        self._deadline = deadline
        self._most = most
        #: Bytes since somebody set this to 0.
        self.taken = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Take what is there; raise OSError if it is late, or too much."""
        self._sock.settimeout(self._deadline.left())
        count = self._sock.recv_into(buffer)
        self.taken += count
        if self.taken > self._most:
            raise OSError("the answer has no end")
        return count


def host_of(mail: Mail) -> str:
    """Return the server's name or address, an IPv6 address without brackets."""
    return mail.smtpserver.strip("[]")


def connect(
    mail: Mail, deadline: Deadline, emit: Callable[[str], None]
) -> socket.socket:
    """Return a connection to the first address of ``mail.smtpserver`` that answers."""
    host = host_of(mail)
    try:
        places = resolve(ascii_domain(host), mail.smtpport, deadline)
    except (Unreachable, ValueError) as error:
        remedy = "check [email] smtpserver, and this machine's DNS"
        raise DialFailed(with_remedy(str(error), remedy)) from error
    names = ", ".join(dict.fromkeys(str(address[0]) for _family, address in places))
    if names != host:
        emit(f"{host} is {names}")
    if mail.smtpsecurity == "none" and not all(
        _is_own(place[1][0]) for place in places
    ):
        raise DialFailed(
            "smtpsecurity = none is for a server on this machine only, and "
            f"{host} is {names}; use starttls or tls"
        )
    trouble = ""
    for count, (family, address) in enumerate(places):
        # An address that does not answer leaves time for those after it.
        share = deadline.share(len(places) - count)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(share.left())
            sock.connect(address)
        except OSError as error:
            sock.close()
            trouble = reason(error, share)
            emit(f"connect to {address[0]} port {address[1]}: {trouble}")
            continue
        emit(f"connected to {address[0]} port {address[1]}")
        return sock
    remedy = "check [email] smtpserver and smtpport, and the network between"
    raise DialFailed(with_remedy(trouble, remedy))


def secured(sock: socket.socket, mail: Mail, deadline: Deadline) -> ssl.SSLSocket:
    """Return the connection in TLS 1.2 or newer, its certificate good for the host.

    Trusted are the system's authorities, or those in ``cafile`` where it is given.
    """
    host = ascii_domain(host_of(mail))
    try:
        return handshake(sock, host, deadline, trust(mail.cafile))
    except NotTried as error:
        raise DialFailed(f"[email] {error}") from error
    except TlsFailed as error:
        remedy = tls_remedy(error.fault, "smtpserver")
        if not remedy and mail.smtpsecurity == "tls" and mail.smtpport != 465:
            remedy = "most ports but 465 want smtpsecurity = starttls"
        raise DialFailed(with_remedy(error.why, remedy)) from error


def _is_own(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
