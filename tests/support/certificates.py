"""Certificates as people make them, which trustme does not."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.listeners import days_from_now

PEM = serialization.Encoding.PEM
#: A list of one timestamp of a log, as certificates of public authorities have it (RFC
#: 6962, section 3.3): version, log, time, no extensions, a signature that is none.
_TIMESTAMP = b"\0" + bytes(32) + bytes(8) + bytes(2) + b"\4\3" + b"\0\0"
_TIMESTAMPS = b"".join(
    len(part).to_bytes(2) for part in (b"xx" + _TIMESTAMP, _TIMESTAMP)
)
LOGGED = x509.UnrecognizedExtension(
    x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"),
    bytes((4, len(_TIMESTAMPS + _TIMESTAMP))) + _TIMESTAMPS + _TIMESTAMP,
)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        """Return the certificate as it is sent."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def context(self, folder: Path, *others: Issued) -> ssl.SSLContext:
        """Return the context of a server that shows it, and others after it."""
        path = folder / "served.pem"
        path.write_bytes(
            self.key.private_bytes(
                PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        write_chain(path, self, *others)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def issued(
    name: str,
    *,
    by: Issued | None = None,
    ca: bool = False,
    extensions: bool = True,
    begins: float = -1,
    ends: float = 30,
    key: ec.EllipticCurvePrivateKey | None = None,
    alt_names: Sequence[str] | None = None,
    is_public: bool = False,
) -> Issued:
    """Return a certificate for ``name``, self-signed or issued ``by`` another.

    Without ``extensions`` it is what a plain ``openssl req -x509`` and ``openssl x509
    -req`` make: no keyUsage, no identifiers of keys.  It is valid from and to so many
    days from now.  With the ``key`` of another one it is a cross-signed certificate.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(
        by.certificate.subject if by else subject,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        days_from_now(begins),
        days_from_now(ends),
    )
    alt_names = [name] if alt_names is None else alt_names
    if ca:
        basic = x509.BasicConstraints(ca=True, path_length=None)
        builder = builder.add_extension(basic, critical=extensions)
    elif alt_names:
        names = x509.SubjectAlternativeName([x509.DNSName(one) for one in alt_names])
        builder = builder.add_extension(names, critical=False)
    if extensions:
        issuer = (by.key if by else key).public_key()
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False
        ).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), False
        )
    if is_public:
        builder = builder.add_extension(LOGGED, critical=False)
    return Issued(builder.sign(by.key if by else key, hashes.SHA256()), key)


def write_chain(path: Path, *chain: Issued) -> None:
    """Write certificates to the end of a file."""
    with path.open("ab") as file:
        for one in chain:
            file.write(one.certificate.public_bytes(PEM))
