"""tls against Debian's own servers: good, bad, hanging, and lying about its name.

The exact words are those that people read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.TLSCertExpiration import TLSCertExpiration
from lib.net.certificates import read_certificate
from tests.support import tlsservers
from tests.support.certificates import issued, write_chain
from tests.support.listeners import found_by

pytestmark = pytest.mark.integration

ROOT = issued("Test root", ca=True, begins=-900, ends=900)
MIDDLE = issued("Test intermediate", by=ROOT, ca=True, begins=-90, ends=90)
LEAF = issued("localhost", by=MIDDLE, begins=-10, ends=30.5)
ENDS = f"{read_certificate(LEAF.der).not_after:%Y-%m-%d}"
#: What is waited for while a server is stopped.
FIRST_STEP = {
    "smtp": "the greeting",
    "imap": "the greeting",
    "pop3": "the greeting",
    "ftp": "the greeting",
    "ldap": "STARTTLS",
    "postgres": "SSLRequest",
    "mysql": "the greeting",
    "xmpp": "the stream",
}


@pytest.fixture(scope="module", params=tlsservers.SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, object]]:
    """Return the protocol, and a server of it; skip what wants one that is not here."""
    if reason := tlsservers.why_not(request.param):
        pytest.skip(reason)
    with tlsservers.TlsServer(request.param, LEAF, MIDDLE) as it:
        yield request.param, it


@pytest.fixture(scope="module")
def cafile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of the root that has issued the certificates."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    write_chain(path, ROOT)
    return path


def found(server, cafile, **options):
    protocol, it = server
    given = {
        "host": "localhost",
        "port": it.port,
        "starttls": protocol,
        "cafile": cafile,
        "timeout": 20,
        **options,
    }
    return found_by(TLSCertExpiration, **given)


def test_a_good_server_is_ok_and_its_days_are_judged(server, cafile):
    assert found(server, cafile) == "fine"
    assert found(server, cafile, fail_days=31) == (
        "days is 30.4, under fail_days = 31\n"
        f"the certificate of localhost expires on {ENDS}"
    )


def test_a_bad_one_is_named_in_words(server, cafile):
    # XMPP has a certificate for each domain, and none for others.
    name = "other.example" if server[0] != "xmpp" else "127.0.0.1"
    said = found(server, cafile, server_name=name)
    if server[0] == "xmpp":
        assert "the server refused: 'error host-unknown" in said
    else:
        assert said == (
            f"the certificate of {name} is for localhost, not for {name}; valid until "
            f"{ENDS}"
        )


def test_an_issuer_that_is_not_trusted_is_named(server, cafile, tmp_path):
    write_chain(tmp_path / "other.pem", issued("Other root", ca=True))
    assert found(server, tmp_path / "other.pem") == (
        "the certificate of localhost is from an unknown issuer, Test root; valid "
        f"until {ENDS}"
    )


def test_a_hanging_one_is_named_with_the_step(server, cafile):
    protocol, it = server
    with it.hanging():
        said = found(server, cafile, timeout=1)
    assert f": {FIRST_STEP[protocol]}: no answer within " in said


def test_another_protocol_is_named_with_what_it_said(server, cafile):
    protocol, _it = server
    other = "pop3" if protocol not in ("pop3", "postgres", "ldap") else "ftp"
    said = found(server, cafile, starttls=other, timeout=2)
    assert "the greeting: " in said, said


@pytest.mark.parametrize(
    ("protocol", "port"), [("smtp", "submission"), ("imap", "imap")]
)
def test_mail_servers_begin_tls(postfix_dovecot, ca, tmp_path, protocol, port):
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    options = {
        "host": "localhost",
        "port": postfix_dovecot.ports[port],
        "starttls": protocol,
        "family": "ipv4",
        "cafile": path,
        "timeout": 20,
    }
    assert found_by(TLSCertExpiration, **options) == "fine"
    said = found_by(TLSCertExpiration, **{**options, "server_name": "other.example"})
    assert said.startswith("the certificate of other.example is for ")
