"""TLS to a target: one trust store for all, and what is wrong in words.

ssl and cryptography are imported where they are needed: a run without such a target
does not pay for them.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from lib.reach import Deadline, NotTried, TimedSocket, Unreachable, connect, reason

if TYPE_CHECKING:
    import ssl

    from cryptography import x509

_trust_lock = threading.Lock()


@dataclass(frozen=True)
class Certificate:
    """What a certificate says of itself."""

    names: tuple[str, ...]
    issuer: str
    not_before: datetime
    not_after: datetime


def trust(cafile: str = "", verify: bool = True) -> ssl.SSLContext:
    """Return the context that trusts ``cafile``, or the system's store.

    One per store and process: reading the system's store takes 35 ms.  Raise NotTried
    if the file cannot be used.
    """
    # Many threads ask at once when a run begins; one of them does the reading.
    with _trust_lock:
        return _trust(cafile, verify)


@functools.lru_cache(maxsize=64)
def _trust(cafile: str, verify: bool) -> ssl.SSLContext:
    import ssl

    if not verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        return ssl.create_default_context(cafile=cafile or None)
    except ssl.SSLError as error:
        raise NotTried(f"cafile {cafile}: this is no file of certificates") from error
    except OSError as error:
        raise NotTried(f"cafile {cafile}: {error.strerror}") from error


def secure(
    host: str,
    port: int,
    deadline: Deadline,
    context: ssl.SSLContext,
    family: str = "any",
    talk: Callable[[TimedSocket], None] | None = None,
) -> ssl.SSLSocket:
    """Return a TLS connection to ``host``, ``talk`` being what comes before TLS.

    Raise Unreachable if there is none; of a certificate that is not to be trusted the
    text gives the reason and its dates.
    """
    import ssl

    try:
        return _handshake(host, port, deadline, context, family, talk)
    except ssl.SSLCertVerificationError as error:
        seen = _look_again(host, port, deadline, family, talk)
        now = datetime.now(UTC)
        raise Unreachable(
            distrust_words(host, error.verify_code, error.verify_message, seen, now)
        ) from error
    except OSError as error:
        raise Unreachable(f"{host}: {handshake_words(error, deadline)}") from error
    except ValueError as error:
        raise Unreachable(f"{host}: no certificate can be for that name") from error


def _handshake(
    host: str,
    port: int,
    deadline: Deadline,
    context: ssl.SSLContext,
    family: str,
    talk: Callable[[TimedSocket], None] | None,
) -> ssl.SSLSocket:
    sock = connect(host, port, deadline, family, talk)
    with sock:  # wrapped, it is the TLS socket's to close
        sock.settimeout(deadline.left())
        name = host.partition("%")[0].rstrip(".")
        return context.wrap_socket(sock, server_hostname=name)


def _look_again(
    host: str,
    port: int,
    deadline: Deadline,
    family: str,
    talk: Callable[[TimedSocket], None] | None,
) -> Certificate | None:
    """Return the certificate of a server that is not trusted; None if it hides it."""
    try:
        anyone = trust(verify=False)
        with _handshake(host, port, deadline, anyone, family, talk) as sock:
            return read_certificate(sock.getpeercert(binary_form=True) or b"")
    except (OSError, Unreachable, ValueError):
        return None


def read_certificate(der: bytes) -> Certificate:
    """Return what the certificate says; raise ValueError if it is none."""
    from cryptography import x509

    found = x509.load_der_x509_certificate(der)
    names: tuple[str, ...] = ()
    try:
        kind = x509.SubjectAlternativeName
        others = found.extensions.get_extension_for_class(kind).value
        names = (
            *others.get_values_for_type(x509.DNSName),
            *(str(ip) for ip in others.get_values_for_type(x509.IPAddress)),
        )
    except x509.ExtensionNotFound:
        pass
    return Certificate(
        names=tuple(_printable(name) for name in names) or (_called(found.subject),),
        issuer=_called(found.issuer),
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
    )


def distrust_words(
    host: str, code: int, message: str, seen: Certificate | None, now: datetime
) -> str:
    """Return why a certificate is not trusted, with its dates if they were seen.

    ``code`` and ``message`` are OpenSSL's: see ``man openssl-verification-options``.
    """
    its = f"the certificate of {host}"
    if seen is None:
        return f"{its} is not trusted: {message}"
    until = f"valid until {seen.not_after:%Y-%m-%d}"
    if seen.not_after < now:
        until = f"expired on {seen.not_after:%Y-%m-%d}"
    if code == 10 and seen.not_after < now:
        return (
            f"{its} expired {ago(now - seen.not_after)}, on {seen.not_after:%Y-%m-%d}"
        )
    if code == 9 and seen.not_before > now:
        return f"{its} is not valid before {seen.not_before:%Y-%m-%d}; {until}"
    if code in (62, 64):
        names = ", ".join(seen.names[:3]) + (", ..." if len(seen.names) > 3 else "")
        return f"{its} is for {names}, not for {host}; {until}"
    if code == 18:
        return f"{its} is self-signed; {until}"
    if code in (2, 19, 20, 21):
        return f"{its} is from an unknown issuer, {seen.issuer}; {until}"
    return f"{its} is not trusted: {message} (in its chain); its own is {until}"


def handshake_words(error: OSError, deadline: Deadline) -> str:
    """Return why a TLS handshake did not succeed, for people."""
    import ssl

    if isinstance(error, TimeoutError):
        return f"connected, but no TLS handshake within {deadline}"
    if isinstance(error, (ssl.SSLEOFError, ConnectionError)):
        return "the connection was closed during the TLS handshake"
    if not isinstance(error, ssl.SSLError):
        return reason(error, deadline)
    known = {
        "WRONG_VERSION_NUMBER": "what answers does not speak TLS",
        "HTTP_REQUEST": "what answers does not speak TLS",
        "RECORD_LAYER_FAILURE": "what answers does not speak TLS",
        "UNSUPPORTED_PROTOCOL": "its TLS protocol is too old (1.2 is the least)",
        "TLSV1_ALERT_PROTOCOL_VERSION": "it has no TLS protocol in common with us",
        "NO_PROTOCOLS_AVAILABLE": "it has no TLS protocol in common with us",
        "SSLV3_ALERT_HANDSHAKE_FAILURE": "it has no TLS cipher in common with us",
        "DH_KEY_TOO_SMALL": "its TLS key is too weak",
        "TLSV1_UNRECOGNIZED_NAME": "it does not know that name",
    }
    return known.get(error.reason or "", f"TLS: {(error.reason or str(error)).lower()}")


def ago(past: timedelta) -> str:
    """Return how long ago in words, by days."""
    if past.days < 1:
        return "less than a day ago"
    return f"{past.days} day{'s' * (past.days > 1)} ago"


def _called(name: x509.Name) -> str:
    from cryptography.x509.oid import NameOID

    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for attribute in name.get_attributes_for_oid(kind):
            return _printable(str(attribute.value))
    return _printable(name.rfc4514_string()) or "(no name)"


def _printable(words: str) -> str:
    return "".join(mark if mark.isprintable() else "?" for mark in words[:100])
