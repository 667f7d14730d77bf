"""Errors of TLS connections and certificates in words.

Errors are recognised by class and number: their text differs between versions of
Python and OpenSSL.  To add one, give it a row in CERTIFICATE_FAULTS or HANDSHAKE_WORDS.
"""

from __future__ import annotations

import enum
import errno
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

    from lib.net.certificates import Certificate


class TlsFault(enum.StrEnum):
    """The kind of TLS problem, as far as it matters for the fix."""

    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"
    SELF_SIGNED = "self-signed"
    UNKNOWN_ISSUER = "unknown issuer"
    MISSING_INTERMEDIATE = "missing intermediate"
    WRONG_NAME = "wrong name"
    #: Any other reason why OpenSSL rejects a certificate.
    NOT_TRUSTED = "not trusted"
    NO_CLIENT_CERTIFICATE = "no client certificate"
    NOT_TLS = "not TLS"
    #: Anything else that ends a handshake.
    HANDSHAKE = "handshake"


#: By OpenSSL's X509_V_ERR_*, see ``man openssl-verification-options``.
CERTIFICATE_FAULTS = {
    2: TlsFault.UNKNOWN_ISSUER,
    9: TlsFault.NOT_YET_VALID,
    10: TlsFault.EXPIRED,
    18: TlsFault.SELF_SIGNED,
    19: TlsFault.UNKNOWN_ISSUER,
    20: TlsFault.UNKNOWN_ISSUER,
    21: TlsFault.UNKNOWN_ISSUER,
    62: TlsFault.WRONG_NAME,
    64: TlsFault.WRONG_NAME,
}

#: "The certificate ...", if nothing more is known.
_CERTIFICATE_WORDS = {
    TlsFault.EXPIRED: "has expired",
    TlsFault.NOT_YET_VALID: "is not valid yet",
    TlsFault.SELF_SIGNED: "is self-signed",
    TlsFault.UNKNOWN_ISSUER: "is from an unknown issuer",
    TlsFault.WRONG_NAME: "is for another name",
}
_OTHER_WORDS = {
    13: "has no valid date in it",
    14: "has no valid date in it",
    22: "has too long a chain",
    23: "is revoked",
    24: "is from an issuer that is not a CA",
    26: "is not meant for a server",
    66: "has a key that is too weak",
    67: "is from an issuer whose key is too weak",
    68: "is signed in a way that is too weak",
    79: "is from an issuer that is not a CA",
}

CLOSED = "the connection was closed"
NOT_TLS = "the server does not speak TLS"
_TOO_OLD = "its TLS version is too old (at least 1.2 is needed)"
_NO_PROTOCOL = "it has no TLS version in common with us"
_NO_CIPHER = "it has no TLS cipher in common with us"
_OLD_SIGNATURE = "its TLS signature algorithm is too old"
_WEAK_KEY = "its TLS key is too weak"
_DAMAGED = "a record could not be decrypted"
WANTS_CERTIFICATE = "it requires a client certificate"

#: By OpenSSL's name of the error; ALERT_ are errors that the other side reports.
HANDSHAKE_WORDS = {
    "WRONG_VERSION_NUMBER": NOT_TLS,
    "HTTP_REQUEST": NOT_TLS,
    "HTTPS_PROXY_REQUEST": NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": NOT_TLS,
    "RECORD_LAYER_FAILURE": NOT_TLS,
    "UNKNOWN_PROTOCOL": NOT_TLS,
    "UNSUPPORTED_PROTOCOL": _TOO_OLD,
    "UNSUPPORTED_SSL_VERSION": _TOO_OLD,
    "WRONG_SSL_VERSION": _TOO_OLD,
    "VERSION_TOO_LOW": _TOO_OLD,
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED": "its TLS is too old: its renegotiation is "
    "not secure",
    "ALERT_PROTOCOL_VERSION": _NO_PROTOCOL,
    "NO_PROTOCOLS_AVAILABLE": _NO_PROTOCOL,
    # Before TLS 1.3, OpenSSL sends the same if it requires a client certificate.
    "ALERT_HANDSHAKE_FAILURE": f"{_NO_CIPHER}, or requires a client certificate",
    "ALERT_INSUFFICIENT_SECURITY": _NO_CIPHER,
    "NO_CIPHERS_AVAILABLE": _NO_CIPHER,
    "UNKNOWN_CIPHER_RETURNED": _NO_CIPHER,
    "WRONG_CIPHER_RETURNED": _NO_CIPHER,
    "LEGACY_SIGALG_DISALLOWED_OR_UNSUPPORTED": _OLD_SIGNATURE,
    "NO_COMMON_SIGNATURE_ALGORITHMS": _OLD_SIGNATURE,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": _OLD_SIGNATURE,
    "WRONG_SIGNATURE_TYPE": _OLD_SIGNATURE,
    "DH_KEY_TOO_SMALL": _WEAK_KEY,
    "EE_KEY_TOO_SMALL": _WEAK_KEY,
    "CA_KEY_TOO_SMALL": _WEAK_KEY,
    "CA_MD_TOO_WEAK": _WEAK_KEY,
    "MODULUS_TOO_SMALL": _WEAK_KEY,
    "ALERT_CERTIFICATE_REQUIRED": WANTS_CERTIFICATE,
    "ALERT_UNRECOGNIZED_NAME": "it does not know that name",
    "ALERT_INTERNAL_ERROR": "it has an internal error",
    "ALERT_BAD_RECORD_MAC": _DAMAGED,
    "BAD_RECORD_MAC": _DAMAGED,
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": _DAMAGED,
    "UNEXPECTED_EOF_WHILE_READING": CLOSED,
}

#: The prefix of an alert; OpenSSL 3.2 and later write ``ssl/tls alert ...``.
_ALERT = re.compile(r"^(?:(?:SSLV3|TLSV1|TLSV13|SSL/TLS)_ALERT|TLSV1|TLSV13)_(?=[A-Z])")


#: The alerts of a server that does not like the certificate it was shown, or none.
_ABOUT_OURS = (
    "ALERT_HANDSHAKE_FAILURE",
    "ALERT_NO_CERTIFICATE",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_UNSUPPORTED_CERTIFICATE",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_UNKNOWN_CA",
    "ALERT_ACCESS_DENIED",
    "ALERT_CERTIFICATE_REQUIRED",
)


def wants_certificate(error: OSError) -> bool:
    """Return whether a server rejects our certificate, or that we show none."""
    import ssl

    if not isinstance(error, ssl.SSLError):
        return False
    return error_name(error.reason, str(error)) in _ABOUT_OURS


def ssl_words(error: ssl.SSLError) -> str:
    """Return why TLS failed or broke, for people."""
    import ssl

    ended = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
    # ENOTCONN: Python found it reset before the handshake began.
    if isinstance(error, ended) or error.errno == errno.ENOTCONN:
        return CLOSED
    if isinstance(error, ssl.SSLSyscallError):
        return "the connection broke"
    name = error_name(error.reason, str(error))
    if name in HANDSHAKE_WORDS:
        return HANDSHAKE_WORDS[name]
    words = name.lower().replace("_", " ")
    if name.startswith("ALERT_"):
        return f"it ended TLS: {words.removeprefix('alert ')}"
    return f"TLS: {words}"


def error_name(reason: str | None, text: str) -> str:
    """Return OpenSSL's name of an error, such as UNSUPPORTED_PROTOCOL.

    Python has names for the errors of the OpenSSL it was written for.  For those of a
    later one ``reason`` is None, and ``text`` has the words of the name.
    """
    if not reason:
        words = re.sub(r"^\[[^\]]*\] | \(_ssl\.c:\d+\)$", "", text)
        reason = words.upper().replace(" ", "_")
    return _ALERT.sub("ALERT_", reason)


def distrust(
    host: str, code: int, message: str, chain: Sequence[Certificate], now: datetime
) -> tuple[TlsFault, str]:
    """Return why a certificate is not trusted: the kind, and words with its dates.

    ``code`` and ``message`` are OpenSSL's; the message is quoted for a rare code.
    ``chain`` is as far as OpenSSL found it, the server's certificate first; it may be
    empty.
    """
    its = f"the certificate of {host}"
    fault = certificate_fault(code)
    words = _CERTIFICATE_WORDS.get(fault) or _OTHER_WORDS.get(code)
    words = words or f"is not trusted: {message}"
    if not chain:
        return fault, f"{its} {words}"
    own, top = chain[0], chain[-1]
    until = f"valid until {own.not_after:%Y-%m-%d}"
    if own.not_after < now:
        until = f"expired on {own.not_after:%Y-%m-%d}"
    match fault:
        case TlsFault.EXPIRED | TlsFault.NOT_YET_VALID:
            return fault, date_words(host, chain, now) or f"{its} {words}; {until}"
        case TlsFault.WRONG_NAME if not own.has_alt_name:
            return fault, f"{its} names no host in a subjectAltName; {until}"
        case TlsFault.WRONG_NAME:
            names = ", ".join(own.names[:3]) + (", ..." if len(own.names) > 3 else "")
            return fault, f"{its} is for {names}, not for {host}; {until}"
        case TlsFault.UNKNOWN_ISSUER if own.is_public and len(chain) == 1:
            words = f"is from {own.issuer}, whose certificate the server does not send"
            return TlsFault.MISSING_INTERMEDIATE, f"{its} {words}; {until}"
        case TlsFault.UNKNOWN_ISSUER:
            return fault, f"{its} {words}, {top.issuer}; {until}"
    return fault, f"{its} {words}; {until}"


def date_words(host: str, chain: Sequence[Certificate], now: datetime) -> str:
    """Return which certificate of a chain is not valid now, and since when or until.

    Empty if all are; the server's own goes first.
    """
    its = f"the certificate of {host}"
    for one in chain:
        begins, ends = f"{one.not_before:%Y-%m-%d}", f"{one.not_after:%Y-%m-%d}"
        if one.not_after < now:
            words = f"expired {ago(now - one.not_after)}, on {ends}"
        elif one.not_before > now:
            words = f"is not valid before {begins}"
        else:
            continue
        if one is chain[0]:
            more = "" if one.not_after < now else f"; valid until {ends}"
            return f"{its} {words}{more}"
        kind = "root" if one.is_self_issued else "intermediate"
        own = f"its own is valid until {chain[0].not_after:%Y-%m-%d}"
        return f"{its} is not trusted: the {kind} {one.name} {words}; {own}"
    return ""


def certificate_fault(code: int) -> TlsFault:
    """Return the kind of problem that OpenSSL's code stands for."""
    return CERTIFICATE_FAULTS.get(code, TlsFault.NOT_TRUSTED)


def ago(past: timedelta) -> str:
    """Return how long ago in words, by days."""
    if past.days < 1:
        return "less than a day ago"
    unit = "day" if past.days == 1 else "days"
    return f"{past.days} {unit} ago"
