"""TLS connections: one trust store for all, the same on every Python.

Contexts come from ``trust``, connections from ``secure`` or ``handshake``.  ssl and
cryptography are imported where they are needed.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket
import stat
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lib.net.address import ascii_domain
from lib.net.certificates import Certificate, read_chain
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
    WANTS_CERTIFICATE,
    TlsFault,
    distrust,
    wants_certificate,
)

if TYPE_CHECKING:
    import ssl

    from lib.net.bulk import Steps


#: A certificate of ours and its key are no longer than this.
MAX_KEY_BYTES = 1_000_000
_trust_lock = threading.Lock()


#: After so long without a greeting it is tried whether a server begins with TLS.  Mail
#: servers may wait for 5 or 6 s before they greet, mostly at port 25, and take it ill
#: if somebody speaks before: there it is never tried.
GREETS_WITHIN_S = 8.0
SMTP_PORT = 25


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
        shown: Sequence[bytes] = (),
        said: str = "",
    ) -> None:
        super().__init__(text, host=host, cause=cause)
        self.fault = fault
        #: The certificates that the server sent, if it ended the handshake because of
        #: ours, or for want of one; and what it said of it, for people.
        self.shown = tuple(shown)
        self.said = said


def trust(
    cafile: str = "", verify: bool = True, certificate: str = "", key: str = ""
) -> ssl.SSLContext:
    """Return the context that trusts ``cafile``, or the system's store.

    One per store and process: reading the system's store takes 35 ms.  ``certificate``
    and ``key`` are the files of what is shown to a server that wants a certificate; the
    key may be in the file of the certificate.  Raise NotTried if a file cannot be used.
    """
    # Many threads need it when a run begins; one of them reads the store.
    with _trust_lock:
        return _trust(cafile if verify else "", verify, certificate, key)


@functools.cache
def _trust(cafile: str, verify: bool, certificate: str, key: str) -> ssl.SSLContext:
    import ssl

    # Not ssl.create_default_context: its flags differ between versions of Python, and
    # so does what it rejects.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    oldest = ssl.TLSVersion.TLSv1_2
    context.minimum_version = max(context.minimum_version, oldest)
    # OpenSSL's own list, as in Debian's Python and curl; other builds of Python have a
    # shorter one.
    context.set_ciphers("DEFAULT:@SECLEVEL=2")
    if certificate:
        _show(context, certificate, key or certificate)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    # As browsers do: a certificate is for the names in its subjectAltName, and for no
    # other one in its subject.
    context.hostname_checks_common_name = False
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


def _show(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Have a certificate of ours shown; raise NotTried if its files cannot be used."""
    import ssl

    text = b""
    for option, path in (("certificate", certificate), ("key", key)):
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise NotTried(f"{option} {path}: this is not a file")
            with open(path, "rb") as file:
                text += file.read(MAX_KEY_BYTES)
        except OSError as error:
            raise NotTried(f"{option} {path}: {error.strerror}") from error
    try:
        # Without a password of ours OpenSSL would ask the terminal for it.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        words = "it or its key cannot be read"
        if error.reason == "KEY_VALUES_MISMATCH":
            words = "the key is that of another certificate"
        elif b"ENCRYPTED" in text:
            words = "its key needs a password, which cannot be given"
        raise NotTried(f"certificate {certificate}: {words}") from error


def client_hello(host: str) -> bytes:
    """Return with what a TLS session begins, for a server of this name."""
    import ssl

    hello = ssl.MemoryBIO()
    session = trust(verify=False).wrap_bio(
        ssl.MemoryBIO(), hello, server_hostname=ascii_domain(host)
    )
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return hello.read()


def is_of_tls(answer: bytes) -> bool:
    """Return whether an answer begins as a message of TLS does, or an alert."""
    return answer[:1] in (b"\x15", b"\x16") and answer[1:2] == b"\x03"


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
    return handshake(sock, host, deadline, context)


def handshake(
    sock: socket.socket, host: str, deadline: Deadline, context: ssl.SSLContext
) -> ssl.SSLSocket:
    """Return a TLS connection whose certificate is valid for ``host``.

    Close the socket and raise TlsFailed if there is none.
    """
    with sock:  # once wrapped, closing this one has no effect
        wrapped = None
        try:
            sock.settimeout(deadline.left())
            wrapped = _wrapped(sock, host, context)
            wrapped.do_handshake()
            return wrapped
        except (OSError, ValueError) as error:
            raise _given_up(host, error, deadline, wrapped) from error


def handshake_steps(
    sock: socket.socket, host: str, deadline: Deadline, context: ssl.SSLContext
) -> Steps[ssl.SSLSocket]:
    """Return a TLS connection as ``handshake`` does, as steps of a bulk."""
    with sock:
        wrapped = None
        try:
            wrapped = _wrapped(sock, host, context)
            yield from waited(wrapped, deadline, wrapped.do_handshake)
            return wrapped
        except (OSError, ValueError) as error:
            raise _given_up(host, error, deadline, wrapped) from error
        except GeneratorExit:
            if wrapped is not None:
                wrapped.close()
            raise


def _wrapped(sock: socket.socket, host: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    sock.getpeername()  # raises if it was reset, which confuses Python's ssl
    # A str would load the idna codec, which is slow.
    name = ascii_domain(host.partition("%")[0].rstrip(".")).encode("ascii")
    return context.wrap_socket(
        sock, server_hostname=name, do_handshake_on_connect=False
    )


def _given_up(
    host: str, error: Exception, deadline: Deadline, wrapped: ssl.SSLSocket | None
) -> TlsFailed:
    """Return what to raise for a handshake that did not succeed; close it."""
    failed = failure(host, error, deadline, wrapped)
    if wrapped is not None:
        wrapped.close()
    return failed


def refusal(sock: ssl.SSLSocket, deadline: Deadline) -> Steps[str]:
    """Return what a server says against the certificate of ours; empty if nothing.

    With TLS 1.3 that comes after the handshake; a server that goes on, or is silent
    until the deadline, has accepted it.
    """
    import ssl

    from lib.net import bulk

    while sock.version() == "TLSv1.3" and not (
        sock.session and sock.session.has_ticket
    ):
        try:
            sock.recv(1)
            break
        except ssl.SSLWantReadError:
            if not (yield bulk.Ready(sock, bulk.READ, deadline)):
                break
        except OSError as error:
            return reason(error, deadline) if wants_certificate(error) else ""
    return ""


def waited(
    sock: socket.socket, deadline: Deadline, call: Callable[..., Any], *args: Any
) -> Steps[Any]:
    """Return what a call of a TLS socket returns, once it need not wait.

    Raise TimeoutError at the deadline.
    """
    import ssl

    from lib.net import bulk

    while True:
        try:
            return call(*args)
        except ssl.SSLWantReadError:
            events = bulk.READ
        except ssl.SSLWantWriteError:
            events = bulk.WRITE
        if not (yield bulk.Ready(sock, events, deadline)):
            raise TimeoutError


def failure(
    host: str, error: Exception, deadline: Deadline, seen: ssl.SSLSocket | None
) -> TlsFailed:
    """Return what to raise for a handshake that did not succeed.

    ``seen`` has what the server showed until then.
    """
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        code, message = error.verify_code, error.verify_message
        chain = verified_path(seen)
        fault, words = distrust(host, code, message, chain, datetime.now(UTC))
        return TlsFailed(words, host=host, fault=fault)
    shown: Sequence[bytes] = ()
    said = ""
    if isinstance(error, OSError):
        words = handshake_words(error, deadline)
        fault = TlsFault.NOT_TLS if words == NOT_TLS else TlsFault.HANDSHAKE
        # Ours comes after the server's, which is verified by then.
        if seen is not None and wants_certificate(error):
            shown = shown_chain(seen)
        if shown:
            said, words = words, WANTS_CERTIFICATE
            fault = TlsFault.NO_CLIENT_CERTIFICATE
    else:
        words = "this is not a name that a certificate can have"
        fault = TlsFault.WRONG_NAME
    return TlsFailed(
        f"{host}: {words}",
        host=host,
        cause=words,
        fault=fault,
        shown=shown,
        said=said,
    )


def shown_chain(connection: ssl.SSLSocket) -> list[bytes]:
    """Return the certificates that the server sent, its own first.

    They are known once it has sent them, even if the handshake failed.
    """
    return _certificates(connection, "get_unverified_chain")


def verified_path(connection: ssl.SSLSocket | None) -> tuple[Certificate, ...]:
    """Return the way from the server's certificate to a root, as far as it was found.

    It is OpenSSL's.  Empty if there is no certificate that can be read.
    """
    if connection is None:
        return ()
    try:
        return read_chain(_certificates(connection, "get_verified_chain"))
    except ValueError:
        return ()


def _certificates(connection: ssl.SSLSocket, method: str) -> list[bytes]:
    import _ssl

    if hasattr(connection, method):
        return list(getattr(connection, method)())
    # Before Python 3.13 only the C part has it.
    inner = getattr(connection, "_sslobj", None)
    found = getattr(inner, method)() if inner else None
    return [one.public_bytes(_ssl.ENCODING_DER) for one in found or ()]


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
