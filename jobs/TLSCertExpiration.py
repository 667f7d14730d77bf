"""[tls NAME]: checks that a certificate is trusted and how long its chain is valid."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from lib.jobbase import (
    ADDRESS_OPTIONS,
    SERVER_NAME,
    TRUST_OPTIONS,
    CheckFailed,
    CheckUnknown,
    Clash,
    Deadline,
    JobFrequency,
    Options,
    Target,
    TargetJob,
    Value,
    Values,
    absolute_path,
    count,
    endpoint,
    host,
    one_of,
    option,
    percent,
    plain,
    port,
    switch,
    whole,
)
from lib.net import bulk, certificates, connect, starttls, tls
from lib.net.certificates import Certificate
from lib.net.connect import Address, Unreachable
from lib.net.tls_errors import TlsFault, date_words

#: A date of expiry within this is kept for the summary, which lists certificates that
#: expire within 30 days; longer, since a summary may come between two checks.
REMEMBERED = timedelta(days=32)
#: How long a server may take to say that it does not accept our certificate.
ACCEPTS_WITHIN_S = 3.0
#: The port if there is no STARTTLS.
HTTPS = 443


_OF_A_HOST = ("port", "starttls", "server_name", "connect_to", "family", "addresses")


def fingerprints(value: str) -> tuple[str, ...]:
    """Return SHA-256 fingerprints in hex, as openssl, browsers and curl write them."""
    return tuple(_fingerprint(part.strip()) for part in value.split(","))


def _fingerprint(value: str) -> str:
    plain_hex = value.removeprefix("sha256:").replace(":", "").replace(" ", "").lower()
    if re.fullmatch("[0-9a-f]{64}", plain_hex):
        return plain_hex
    base64 = re.fullmatch(r"sha256//?([A-Za-z0-9+/]{43}=)", value)
    if base64:
        return b64decode(base64[1]).hex()
    raise ValueError(
        "expected a SHA-256 fingerprint of 64 hex digits, such as AB:CD:..., or "
        "sha256//BASE64=; several with commas between"
    )


class TLSCertExpiration(bulk.InBulk, TargetJob):
    """The certificates of one port of one host, or of one file."""

    kind = "tls"
    every = JobFrequency.DAY
    yields = _OF_A_HOST
    is_across_network = True
    options: Options = {
        "host": option(host, "", help="a name or an address"),
        "port": option(
            port, None, help=f"1 to 65535; {HTTPS}, or the usual one of starttls"
        ),
        "file": option(
            absolute_path, "", help="a PEM file on this machine, in place of a host"
        ),
        "fail_days": option(
            whole(0, 3650, "days"),
            7,
            below=True,
            also="days",
            help="failing if the first certificate of the chain to expire has fewer "
            "days left",
        ),
        "warn_days": option(
            whole(0, 3650, "days"),
            21,
            below=True,
            help="a warning if it has fewer days left",
        ),
        "fail_percent": option(
            percent,
            None,
            below=True,
            help="failing if less of its lifetime is left; fail_days and warn_days are "
            "then left out unless they are given",
        ),
        "warn_percent": option(
            percent, None, below=True, help="a warning if less of its lifetime is left"
        ),
        "starttls": option(
            one_of(starttls.PROTOCOLS),
            "",
            help=f"the server starts without TLS: {', '.join(starttls.PROTOCOLS)}",
        ),
        "server_name": SERVER_NAME,
        "connect_to": option(
            endpoint, None, help="connect to this host:port in place of host and port"
        ),
        **ADDRESS_OPTIONS,
        **TRUST_OPTIONS,
        # In words of its own: dates are what this kind is for.
        "verify": option(
            switch, True, help="no: any name and any issuer; dates are checked"
        ),
        "expect_fingerprint": option(
            fingerprints,
            (),
            help="SHA-256 of the certificate or of its public key; several with commas",
        ),
        "expect_issuer": option(
            plain, "", help="text that must be in the name of the issuer"
        ),
        "certificate": option(absolute_path, "", help="a certificate to show, as PEM"),
        "key": option(absolute_path, "", help="its key, if it is not in the same file"),
    }

    @classmethod
    def wrong_together(cls, target: Target) -> Iterator[Clash]:
        """Yield that there is not one of host and file, or a key of nothing."""
        if not (target.host or target.file):
            words = "host is missing: a name or an address; or give file"
            yield Clash(words, ("host", "file"))
        if target.host and target.file:
            yield Clash("host and file are given; keep one", ("host", "file"))
        if target.key and not target.certificate:
            yield Clash("key is given without certificate", ("key",))
        of_host = [name for name in _OF_A_HOST if target.gives(name)]
        if target.file and not target.host and of_host:
            words = f"{of_host[0]} is of a host, not of a file; leave it out"
            yield Clash(words, (of_host[0], "file"))

    def formerly(self) -> str:
        """Return a glob that matches the older program's names for this host."""
        import glob

        host = self.target.host
        if not host:
            return ""
        kind = "<class 'jobs.TLSCertExpiration.TLSCertExpiration.CertChecker'>"
        return glob.escape(f"{kind} for {host}|{host}") + "*"

    def shown_target(self) -> str:
        """Return the host and its port, or the file."""
        target = self.target
        if target.file:
            return str(target.file)
        return connect.shown_address((target.host, port_of(target)))

    def steps(self, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
        """Return how long the certificates are valid, if they are as expected."""
        now = datetime.now(UTC)
        if target.file:
            first = in_file(self, target)
            self._remember(first.not_after, now)
            return values_of(target, first, now)
        name = target.server_name or target.host
        each = yield from at_server(target, name, deadline)
        self._remember(min(shown.first.not_after for shown in each), now)
        by_place = {connect.shown_address(shown.address): shown for shown in each}
        return self.worst_of(
            {
                place: values_of(target, shown.first, now)
                for place, shown in by_place.items()
            },
            {
                place: certificates.expiry_words(name, shown.chain, shown.first)
                for place, shown in by_place.items()
            },
            least=("days",),
        )

    def _remember(self, ends_at: datetime, now: datetime) -> None:
        """Keep when the certificate expires, but only if that is soon.

        A job without a memory needs no file in state/.
        """
        if ends_at - now < REMEMBERED:
            self.memory["expires"] = ends_at.isoformat()
        else:
            self.memory.pop("expires", None)


def port_of(target: Target) -> int:
    """Return the port, which is the usual one of the protocol if none is given."""
    usual = starttls.PROTOCOLS[target.starttls].port if target.starttls else HTTPS
    return int(target.port or usual)


def values_of(target: Target, first: Certificate, now: datetime) -> dict[str, Value]:
    """Return what is left of the certificate that expires first, with its thresholds.

    Fixed days are too many for a certificate of six days, so a threshold in per cent
    takes the place of the defaults.
    """
    by_percent = bool(target.warn_percent or target.fail_percent)
    warn, fail = (
        None if by_percent and not target.gives(name) else getattr(target, name)
        for name in ("warn_days", "fail_days")
    )
    values = {"days": count(certificates.days_left(first, now), warn=warn, fail=fail)}
    if by_percent:
        left = certificates.percent_left(first, now)
        values["lifetime"] = percent(
            left, warn=target.warn_percent, fail=target.fail_percent
        )
    return values


# A server.


class Shown(NamedTuple):
    """What an address showed: its certificates, and that which expires first."""

    address: Address
    chain: Sequence[Certificate]
    first: Certificate


def at_server(
    target: Target, name: str, deadline: Deadline
) -> bulk.Steps[Sequence[Shown]]:
    """Return what one address shows, or each of them."""
    from lib.net import dialog

    host, port = target.connect_to or (target.host, port_of(target))
    addresses = yield from bulk.resolved(host, port, target.family, deadline)

    def reach(address: tuple[int, Address], own: Deadline) -> bulk.Steps[Shown]:
        chain = yield from shown_by(target, name, address, own)
        if isinstance(chain, tls.TlsFailed):
            raise Unreachable(chain.cause)
        return judged(target, name, address[1], chain)

    def ask(
        address: tuple[int, Address], own: Deadline
    ) -> bulk.Steps[tuple[Address, Sequence[Certificate] | tls.TlsFailed]]:
        return address[1], (yield from shown_by(target, name, address, own))

    if target.addresses == "every":
        return (yield from dialog.each_address(host, addresses, deadline, reach))
    # A certificate that is no good is a result; nobody is asked for a better one.
    address, chain = yield from dialog.first_address(
        host, port, addresses, deadline, ask
    )
    if isinstance(chain, tls.TlsFailed):
        raise chain
    return [judged(target, name, address, chain)]


def shown_by(
    target: Target, name: str, address: tuple[int, Address], deadline: Deadline
) -> bulk.Steps[Sequence[Certificate] | tls.TlsFailed]:
    """Return the certificates of one address, or why there is no trusted TLS.

    Raise Unreachable or OSError if it does not get as far as the handshake.
    """
    context = tls.trust(target.cafile, target.verify, target.certificate, target.key)
    with bulk.open_socket(address[0]) as sock:
        yield from bulk.connect_socket(sock, address[1], deadline)
        if target.starttls:
            yield from starttls.begin(sock, target.starttls, name, deadline)
        try:
            secured = yield from tls.handshake_steps(sock, name, deadline, context)
        except tls.TlsFailed as error:
            if error.fault is TlsFault.NO_CLIENT_CERTIFICATE:
                if target.certificate:
                    return _refused(name, error.said)
                return _read(name, error.shown)
            return error
    with secured:
        shown = tls.shown_chain(secured)
        if target.certificate:
            soon = Deadline(min(ACCEPTS_WITHIN_S, deadline.left()))
            if said := (yield from tls.refusal(secured, soon)):
                return _refused(name, said)
        return _read(name, shown)


def _read(name: str, ders: Sequence[bytes]) -> Sequence[Certificate]:
    try:
        return certificates.read_chain(ders)
    except ValueError as error:
        raise Unreachable(f"the certificate of {name} cannot be read") from error


def _refused(name: str, why: str) -> tls.TlsFailed:
    words = f"the server does not accept our certificate: {why}"
    fault = TlsFault.NO_CLIENT_CERTIFICATE
    return tls.TlsFailed(f"{name}: {words}", host=name, cause=words, fault=fault)


def judged(
    target: Target, name: str, address: Address, chain: Sequence[Certificate]
) -> Shown:
    """Return what ends first; raise Unreachable if a certificate is not as expected."""
    first = certificates.first_to_end(
        chain,
        lambda: certificates.trusted(target.cafile or certificates.system_store()),
        # A root of one's own is one's own to renew.
        counts_root=bool(target.verify and target.cafile),
    )
    if words := date_words(name, [chain[0], first], datetime.now(UTC)):
        raise Unreachable(words, host=name)
    expect(target, name, chain[0])
    return Shown(address, chain, first)


def expect(target: Target, name: str, own: Certificate) -> None:
    """Raise Unreachable if a certificate is not the one that is expected."""
    its = f"the certificate of {name}"
    has = certificates.fingerprints(own)
    if target.expect_fingerprint and not {*has} & {*target.expect_fingerprint}:
        raise Unreachable(
            f"{its} is not that of expect_fingerprint\n"
            f"its SHA-256 is {_colons(has[0])}\n"
            f"that of its public key is {_colons(has[1])}",
            host=name,
        )
    issuer = certificates.issuer_words(own)
    if target.expect_issuer not in issuer:
        words = f"{its} is issued by {issuer}, not by {target.expect_issuer}"
        raise Unreachable(words, host=name)


def _colons(digits: str) -> str:
    return ":".join(re.findall("..", digits.upper()))


# A file.


def in_file(job: TargetJob, target: Target) -> Certificate:
    """Return which certificate of a file expires first."""
    path, now = target.file, datetime.now(UTC)
    bundle = read_file(path)
    store = certificates.system_store()
    first = certificates.first_of_bundle(bundle, lambda: certificates.trusted(store))
    for one in (first, *bundle):
        if one is first or one.not_before > now:
            if words := date_words(f"{one.name} in {path}", [one], now):
                raise CheckFailed(words)
    expect(target, f"{bundle[0].name} in {path}", bundle[0])
    ends = f"{first.not_after:%Y-%m-%d}"
    job.note = f"the certificate of {first.name} in {path} expires on {ends}"
    return first


def read_file(path: str) -> list[Certificate]:
    """Return the certificates of a file, at least one.

    Raise CheckFailed if there is none, CheckUnknown if the file cannot be read.
    """
    try:
        ders = certificates.certificates_in(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckFailed(f"{path} does not exist") from error
    except OSError as error:
        raise CheckUnknown(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CheckFailed(f"{path}: {error}") from error
    bundle = []
    for number, der in enumerate(ders, 1):
        try:
            bundle.append(certificates.read_certificate(der))
        except ValueError as error:
            words = f"{path}: certificate {number} in it cannot be read"
            raise CheckFailed(words) from error
    if not bundle:
        raise CheckFailed(f"{path}: there is no certificate in it")
    return bundle
