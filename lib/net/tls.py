"""TLS connections: one trust store for all, the same on every Python.

Contexts come from ``trust``, connections from ``secure`` or ``handshake``.  ssl and
cryptography are imported where they are needed.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lib.net.address import ascii_domain
from lib.net.certificates import Certificate, read_certificate
from lib.net.connect import (
    Deadline,
    NotTried,
    TimedSocket,
    Unreachable,
    connect,
    reason,
)
from lib.net.tls_errors import (
    CLOSED,
    NOT_TLS,
    TlsFault,
    certificate_fault,
    distrust_words,
)

if TYPE_CHECKING:
    import ssl


_trust_lock = threading.Lock()


class TlsFailed(Unreachable):
    """There was a connection to ``host``, but no trusted TLS; ``fault`` is the kind."""

    # Copies and pickles need the text only; they carry the rest in __dict__.
    def __init__(  # noqa: B042
        self,
        text: str = "",
        *,
        host: str = "",
        cause: str = "",
        fault: TlsFault = TlsFault.HANDSHAKE,
    ) -> None:
        super().__init__(text, host=host, cause=cause)
        self.fault = fault


def trust(cafile: str = "", verify: bool = True) -> ssl.SSLContext:
    """Return the context that trusts ``cafile``, or the system's store.

    One per store and process: reading the system's store takes 35 ms.  Raise NotTried
    if the file cannot be used.
    """
    # Many threads need it when a run begins; one of them reads the store.
    with _trust_lock:
        return _trust(cafile if verify else "", verify)


@functools.cache
def _trust(cafile: str, verify: bool) -> ssl.SSLContext:
    import ssl

    # Not ssl.create_default_context: its flags differ between versions of Python, and
    # so does what it rejects.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    oldest = ssl.TLSVersion.TLSv1_2
    context.minimum_version = max(context.minimum_version, oldest)
    # OpenSSL's own list, as in Debian's Python and curl; other builds of Python have a
    # shorter one.
    context.set_ciphers("DEFAULT:@SECLEVEL=2")
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    # As curl does: any certificate in the store is trusted, whoever issued it, and a
    # private CA need not have every extension that RFC 5280 requires.
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    if not cafile:
        context.load_default_certs()
        return context
    try:
        if not stat.S_ISREG(os.stat(cafile).st_mode):
            raise NotTried(f"cafile {cafile}: this is not a file")
        context.load_verify_locations(cafile)
    except ssl.SSLError as error:
        raise NotTried(f"cafile {cafile}: this is not a certificate file") from error
    except OSError as error:
        raise NotTried(f"cafile {cafile}: {error.strerror}") from error
    return context


def secure(
    host: str,
    port: int,
    deadline: Deadline,
    context: ssl.SSLContext,
    family: str = "any",
    talk: Callable[[TimedSocket], None] | None = None,
) -> ssl.SSLSocket:
    """Return a TLS connection to ``host``; ``talk`` runs before the handshake.

    Raise Unreachable if there is none; for a certificate that is not trusted the text
    gives the reason and its dates.
    """
    sock = connect(host, port, deadline, family, talk)

    def look_again() -> Certificate | None:
        """Return the untrusted certificate from a second connection; None on errors."""
        try:
            second = connect(host, port, deadline, family, talk)
            with handshake(second, host, deadline, trust(verify=False)) as seen:
                return read_certificate(seen.getpeercert(binary_form=True) or b"")
        except (OSError, Unreachable, ValueError):
            return None

    return handshake(sock, host, deadline, context, look_again)


def handshake(
    sock: socket.socket,
    host: str,
    deadline: Deadline,
    context: ssl.SSLContext,
    look_again: Callable[[], Certificate | None] = lambda: None,
) -> ssl.SSLSocket:
    """Return a TLS connection whose certificate is valid for ``host``.

    Close the socket and raise TlsFailed if there is none.  ``look_again`` returns an
    untrusted certificate, which a failed handshake does not give.
    """
    import ssl

    with sock:  # once wrapped, closing this one has no effect
        try:
            sock.settimeout(deadline.left())
            sock.getpeername()  # raises if it was reset, which confuses Python's ssl
            name = host.partition("%")[0].rstrip(".")
            # A str would load the idna codec, which is slow.
            encoded = ascii_domain(name).encode("ascii")
            wrapped = context.wrap_socket(sock, server_hostname=encoded)
            if wrapped.version() is None:
                # ssl skipped the handshake, and would read plain text.
                wrapped.close()
                raise ConnectionResetError
            return wrapped
        except ssl.SSLCertVerificationError as error:
            code, message, cause = error.verify_code, error.verify_message, error
        except OSError as error:
            words = handshake_words(error, deadline)
            fault = TlsFault.NOT_TLS if words == NOT_TLS else TlsFault.HANDSHAKE
            raise TlsFailed(
                f"{host}: {words}", host=host, cause=words, fault=fault
            ) from error
        except ValueError as error:
            words = "this is not a name that a certificate can have"
            raise TlsFailed(
                f"{host}: {words}", host=host, cause=words, fault=TlsFault.WRONG_NAME
            ) from error
    words = distrust_words(host, code, message, look_again(), datetime.now(UTC))
    raise TlsFailed(words, host=host, fault=certificate_fault(code)) from cause


def handshake_words(error: OSError, deadline: Deadline) -> str:
    """Return why a TLS handshake did not succeed, for people."""
    if isinstance(error, TimeoutError):
        return f"connected, but no TLS handshake within {deadline}"
    words = reason(error, deadline)
    # Some Pythons raise an OSError with errno 0 for a closed connection.
    ended = error.errno in (None, 0, errno.ENOTCONN)
    if ended or words == CLOSED or isinstance(error, ConnectionError):
        return f"{CLOSED} during the TLS handshake"
    return words
