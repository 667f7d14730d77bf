"""Certificates: read, and judged as the chain that a server shows.

    chain = read_chain(ders)                                  the server's own first
    first = first_to_end(chain, lambda: trusted(system_store()))
    days_left(first, now), expiry_words(host, chain, first)

OpenSSL decides on trust; this says how long it lasts, and on which certificate that
depends.  cryptography reads extensions.  It refuses the whole of a certificate with a
Latin-1 name or a serial number of 0, which OpenSSL takes and Debian's store has, so
names and dates are read here.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from lib.core.sanitize import printable

#: Longer names of a certificate are cut.
MAX_NAME = 100
#: A server's chain is four or five certificates long; so many are looked at.
MAX_CHAIN = 32
#: A larger file is no file of certificates; Debian's store has 220 kB.
MAX_FILE_BYTES = 8_000_000

#: Where systems keep the file of the certificates that they trust.
_STORES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
#: The first byte of a certificate as it is, not as PEM.
_DER = b"\x30"
_PEM = re.compile(
    rb"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----\s*(.*?)\s*"
    rb"(-----END \1-----|(?=-----BEGIN )|\Z)",
    re.S,
)


class Certificate(msgspec.Struct, frozen=True):
    """What messages and rules need of a certificate."""

    #: The names and addresses it is for; the subject's name if it has none.
    names: tuple[str, ...]
    #: The name of who issued it, for people.
    issuer: str
    not_before: datetime
    not_after: datetime
    #: The subject's name, for people.
    name: str = ""
    #: Whether it has names in a subjectAltName; one whose extensions cannot be read is
    #: taken to have some.
    has_alt_name: bool = True
    #: Whether it is in logs of Certificate Transparency, as those of public authorities
    #: are.  None of these issues by its root.
    is_public: bool = False
    #: The whole of it, its public key, and both names, as encoded.
    der: bytes = b""
    public_key: bytes = b""
    subject: bytes = b""
    issued_by: bytes = b""
    #: The identifiers of its key and of its issuer's; empty if it does not say.
    key_id: bytes = b""
    issuer_key_id: bytes = b""

    @property
    def is_self_issued(self) -> bool:
        """Return whether its issuer has its own name, as a root's has."""
        return self.subject == self.issued_by


# How long a chain is valid.


def first_to_end(
    chain: Sequence[Certificate],
    roots: Callable[[], Sequence[Certificate]] = tuple,
    *,
    counts_root: bool = False,
) -> Certificate:
    """Return which certificate of a server's chain ends the trust in it.

    That is the first to expire on the way from the server's own to one of ``roots``, on
    the way that is valid for longest if there are several: an expired cross-signed
    certificate beside a root that we trust ourselves ends nothing.  ``roots`` is only
    called if it matters; with ``counts_root`` the root counts as well.
    """
    own, *others = chain[:MAX_CHAIN]
    if not counts_root and all(one.not_after >= own.not_after for one in others):
        return own
    path = longest_valid_path(own, others, roots(), counts_root=counts_root)
    return _first_of(path)


def first_of_bundle(
    bundle: Sequence[Certificate], roots: Callable[[], Sequence[Certificate]] = tuple
) -> Certificate:
    """Return which certificate of a file ends first.

    A file has chains or certificates that have nothing to do with each other; each
    counts that has issued no other one in it, with the way from there to its root.
    """
    first = _first_of(bundle)
    if all(one.is_self_issued for one in bundle) or first is bundle[0]:
        return first
    heads = [
        one
        for one in bundle
        if not any(other is not one and has_issued(one, other) for other in bundle)
    ]
    return _first_of(
        [
            _first_of(longest_valid_path(head, bundle, roots()))
            for head in heads or bundle
        ]
    )


def longest_valid_path(
    own: Certificate,
    others: Sequence[Certificate],
    roots: Sequence[Certificate],
    *,
    counts_root: bool = False,
) -> tuple[Certificate, ...]:
    """Return the way from a certificate to one of ``roots`` that is valid for longest.

    The root is on it only with ``counts_root``.  If no way leads to a root, it is the
    one that is valid for longest of all.
    """
    by_subject: dict[bytes, list[Certificate]] = {}
    for root in roots:
        by_subject.setdefault(root.subject, []).append(root)
    begun: list[tuple[Certificate, ...]] = [(own,)]
    passed: set[bytes] = set()
    rootless: tuple[Certificate, ...] = ()
    while begun:
        path = max(begun, key=lambda one: _first_of(one).not_after)
        begun.remove(path)
        top = path[-1]
        if top.der in passed:
            continue
        passed.add(top.der)
        if any(root.der == top.der for root in by_subject.get(top.subject, ())):
            return path
        anchors = [
            root for root in by_subject.get(top.issued_by, ()) if has_issued(root, top)
        ]
        if anchors:
            anchor = max(anchors, key=lambda root: root.not_after)
            return (*path, anchor) if counts_root else path
        issuers = [
            one for one in others if one.der not in passed and has_issued(one, top)
        ]
        rootless = rootless or (() if issuers else path)
        begun += [(*path, issuer) for issuer in issuers]
    return rootless or (own,)


def has_issued(issuer: Certificate, certificate: Certificate) -> bool:
    """Return whether one has issued the other, by their names and identifiers of keys.

    Signatures are for OpenSSL to verify.
    """
    if issuer.subject != certificate.issued_by:
        return False
    ids = (issuer.key_id, certificate.issuer_key_id)
    return not all(ids) or ids[0] == ids[1]


def days_left(certificate: Certificate, now: datetime) -> float:
    """Return how many days are left, with one digit, rounded down."""
    return (certificate.not_after - now) // timedelta(days=0.1) / 10


def percent_left(certificate: Certificate, now: datetime) -> float:
    """Return how much of its lifetime is left, in per cent with one digit."""
    lifetime = certificate.not_after - certificate.not_before
    if lifetime <= timedelta(0):
        return 0.0
    left = max(certificate.not_after - now, timedelta(0))
    return min(100.0, left * 1000 // lifetime / 10)


def expiry_words(host: str, chain: Sequence[Certificate], first: Certificate) -> str:
    """Return when the trust in a server's chain ends, and which certificate ends it."""
    own = chain[0]
    if first.der == own.der:
        return f"the certificate of {host} expires on {own.not_after:%Y-%m-%d}"
    # A server may send the root, too.
    is_sent = any(first.der == one.der for one in chain)
    which = "intermediate" if is_sent and not first.is_self_issued else "root"
    return (
        f"the {which} certificate {first.name} expires on "
        f"{first.not_after:%Y-%m-%d}, before that of {host} on "
        f"{own.not_after:%Y-%m-%d}"
    )


def _first_of(certificates: Sequence[Certificate]) -> Certificate:
    return min(certificates, key=lambda one: one.not_after)


# Fingerprints.


def fingerprints(certificate: Certificate) -> tuple[str, str]:
    """Return the SHA-256 of a certificate and of its public key, in hex."""
    import hashlib

    return (
        hashlib.sha256(certificate.der).hexdigest(),
        hashlib.sha256(certificate.public_key).hexdigest(),
    )


# Files.


@functools.cache
def system_store() -> str:
    """Return the file of the certificates that this system trusts; empty if unknown."""
    named = os.environ.get("SSL_CERT_FILE", "")
    return next((path for path in (named, *_STORES) if os.path.isfile(path)), "")


@functools.cache
def trusted(path: str) -> tuple[Certificate, ...]:
    """Return the certificates of a trust store; those that cannot be read are left out.

    One that does not exist has none.  Read once in a process.
    """
    try:
        return tuple(_readable(certificates_in(path)))
    except (OSError, ValueError):
        return ()


def _readable(ders: Sequence[bytes]) -> Iterator[Certificate]:
    for der in ders:
        try:
            yield read_certificate(der)
        except ValueError:
            continue


def certificates_in(path: str) -> list[bytes]:
    """Return the certificates of a PEM file, or that of a file of one in DER.

    Whatever else is in it, such as a key, is not looked at.  One that is cut off is
    there without its content.

    Raise OSError if it cannot be read, and ValueError if it is no file, or has what is
    called a certificate and is not base64.
    """
    from binascii import a2b_base64

    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not os.path.isfile(file.fileno()):
            raise ValueError("this is not a file")
        data = file.read(MAX_FILE_BYTES)
    if data[:1] == _DER:
        return [data]
    return [a2b_base64(match[2]) if match[3] else b"" for match in _PEM.finditer(data)]


# Reading.


class Element(NamedTuple):
    """An element of DER (ITU-T X.690): its tag, its content, and the whole of it."""

    tag: int
    content: bytes
    whole: bytes


#: Tags: of the version of a certificate, and of a time with two digits for the year.
_VERSION, _UTC_TIME = 0xA0, 0x17
#: Encodings of text that are neither UTF-8 nor Latin-1, by tag.
_WIDE = {0x1C: "utf-32-be", 0x1E: "utf-16-be"}
#: The attributes of a name that people know somebody by: commonName, organizationName.
_KNOWN_BY = (b"\x55\x04\x03", b"\x55\x04\x0a")


_LOGGED = "PrecertificateSignedCertificateTimestamps"


def read_chain(ders: Sequence[bytes]) -> tuple[Certificate, ...]:
    """Return the certificates of a chain; only the first one must be readable.

    Raise ValueError if it is not, or if there is none.
    """
    own, *others = ders[:MAX_CHAIN] or (b"",)
    return (read_certificate(own), *_readable(others))


def read_certificate(der: bytes) -> Certificate:
    """Return the parts of a certificate; raise ValueError if it is not one.

    By RFC 5280, section 4.1; what follows the certificate is left out.
    """
    try:
        outer = next(elements(der))
        signed = next(elements(outer.content))
        fields = list(elements(signed.content))
        if fields[0].tag == _VERSION:
            fields = fields[1:]
        serial, _algorithm, issuer, validity, subject, public_key = fields[:6]
        not_before, not_after = (_moment(one) for one in elements(validity.content))
        names_of = [_name_of(one.content) for one in (subject, issuer)]
    except (IndexError, StopIteration, OverflowError) as error:
        raise ValueError("this is not a certificate") from error
    is_positive = any(serial.content) and serial.content[0] < 0x80
    extensions = _extensions(outer.whole) if is_positive else None
    names = _alt_names(extensions)
    return Certificate(
        names=names or (names_of[0],),
        issuer=names_of[1],
        not_before=not_before,
        not_after=not_after,
        name=names_of[0],
        has_alt_name=bool(names) or extensions is None,
        is_public=bool(_extension(extensions, _LOGGED)),
        der=outer.whole,
        public_key=public_key.whole,
        subject=subject.whole,
        issued_by=issuer.whole,
        key_id=_key_id(extensions, "SubjectKeyIdentifier", "key_identifier"),
        issuer_key_id=_key_id(extensions, "AuthorityKeyIdentifier", "key_identifier"),
    )


def elements(data: bytes) -> Iterator[Element]:
    """Yield the elements of DER; raise ValueError or IndexError if it is none."""
    at = 0
    while at < len(data):
        tag, length, start = data[at], data[at + 1], at + 2
        if length >= 0x80:
            size = length - 0x80
            length = int.from_bytes(data[start : start + size])
            start += size
        end = start + length
        if end > len(data):
            raise ValueError("this is not a certificate")
        yield Element(tag, data[start:end], data[at:end])
        at = end


def _moment(element: Element) -> datetime:
    text = element.content.decode("ascii")
    if element.tag == _UTC_TIME:
        text = ("19" if text >= "5" else "20") + text
    if not re.fullmatch(r"\d{14}Z", text):
        raise ValueError("this is not a certificate: it has no valid dates")
    return datetime.fromisoformat(f"{text[:8]}T{text[8:]}")


def issuer_words(certificate: Certificate) -> str:
    """Return all that the name of a certificate's issuer says, for people."""
    (name,) = elements(certificate.issued_by)
    return ", ".join(words for _kind, words in _attributes(name.content))


def _name_of(name: bytes) -> str:
    """Return how people know somebody: the common name, else the organization."""
    attributes = list(_attributes(name))
    for wanted in _KNOWN_BY:
        for kind, words in attributes:
            if kind == wanted and words:
                return words
    return next((words for _kind, words in attributes if words), "(no name)")


def _attributes(name: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield the parts of a name, each with its object identifier."""
    for part in elements(name):
        for attribute in elements(part.content):
            kind, value = elements(attribute.content)
            yield kind.content, printable(_text(value), MAX_NAME)


def _text(element: Element) -> str:
    """Return a text in whatever encoding it is, which may not be the one it says."""
    if element.tag in _WIDE:
        return element.content.decode(_WIDE[element.tag], "replace")
    try:
        return element.content.decode("utf-8")
    except UnicodeDecodeError:
        return element.content.decode("latin-1")


def _extensions(der: bytes) -> Any:
    """Return the extensions, as cryptography has them; None if it cannot read them."""
    from cryptography import x509

    try:
        return x509.load_der_x509_certificate(der).extensions
    except (
        ValueError,
        TypeError,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ):
        return None


def _extension(extensions: Any, kind: str) -> Any:
    """Return the value of an extension; None if there is none."""
    from cryptography import x509

    if extensions is None:
        return None
    try:
        return extensions.get_extension_for_class(getattr(x509, kind)).value
    except x509.ExtensionNotFound:
        return None


def _alt_names(extensions: Any) -> tuple[str, ...]:
    from cryptography import x509

    names = _extension(extensions, "SubjectAlternativeName")
    if names is None:
        return ()
    domains = names.get_values_for_type(x509.DNSName)
    addresses = names.get_values_for_type(x509.IPAddress)
    return tuple(printable(str(name), MAX_NAME) for name in (*domains, *addresses))


def _key_id(extensions: Any, kind: str, attribute: str) -> bytes:
    value = getattr(_extension(extensions, kind), attribute, None)
    return bytes(value or b"")
