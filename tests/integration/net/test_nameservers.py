"""dns against Debian's own name servers: Knot with DNSSEC, Unbound, dnsmasq.

Knot signs a zone, Unbound validates it by the zone's own key, dnsmasq knows what it is
told and validates nothing.  Each is a process of the test in a folder of its own.
"""

from __future__ import annotations

import contextlib
import time

import dns.exception
import dns.message
import dns.query
import pytest

from jobs.DNSChecker import DNSChecker
from tests.support.daemon import free_port
from tests.support.debian import daemon, hanging, program
from tests.support.listeners import closed_port, found_by
from tests.support.waits import SOON_S

pytestmark = pytest.mark.integration

ZONE = """\
$ORIGIN example.
$TTL 300
@ SOA ns1 admin {serial} 3600 600 86400 300
@ NS ns1
@ NS ns2
ns1 A 127.0.0.1
ns2 A {second}
www A 192.0.2.7
alias CNAME www
dangling CNAME nowhere
big TXT {big}
"""
KNOT = """\
server:
    rundir: "{folder}"
    listen: {address}@{port}
log:
  - target: stdout
    any: info
database:
    storage: "{folder}/keys"
policy:
  - id: ours
    algorithm: ecdsap256sha256
zone:
  - domain: example
    storage: "{folder}"
    file: zone
    zonefile-sync: -1
    dnssec-signing: on
    dnssec-policy: ours
"""
UNBOUND = """\
server:
    interface: 127.0.0.1
    port: {port}
    do-daemonize: no
    username: ""
    chroot: ""
    directory: "{folder}"
    pidfile: ""
    use-syslog: no
    do-not-query-localhost: no
    module-config: "validator iterator"
    trust-anchor: "{anchor}"
stub-zone:
    name: "example."
    stub-addr: 127.0.0.1@{knot}
"""


def answers(address, port, name):
    """Return the answer of a server; nothing while it does not listen."""
    query = dns.message.make_query(*name.split())
    with contextlib.suppress(OSError, dns.exception.Timeout):
        return dns.query.udp(query, address, port=port, timeout=1)


@contextlib.contextmanager
def knot(folder, port, *, address="127.0.0.1", serial=7, second="127.0.0.2"):
    """Run Knot with a signed zone."""
    path = program("knotd", "knot")
    (folder / "keys").mkdir(parents=True)
    big = " ".join(f'"{"x" * 200}"' for _ in range(12))
    text = ZONE.format(serial=serial, second=second, big=big)
    (folder / "zone").write_text(text)
    conf = folder / "knot.conf"
    conf.write_text(KNOT.format(folder=folder, address=address, port=port))
    words = [path, "-c", str(conf)]
    with daemon(words, lambda: answers(address, port, "example SOA")) as process:
        yield process


@pytest.fixture
def primary(tmp_path):
    """The port of Knot, and its process."""
    port = free_port()
    with knot(tmp_path / "knot", port) as process:
        yield port, process


@contextlib.contextmanager
def unbound(folder, knot_port, anchor):
    path, port = program("unbound", "unbound"), free_port()
    folder.mkdir()
    conf = folder / "unbound.conf"
    conf.write_text(
        UNBOUND.format(folder=folder, port=port, anchor=anchor, knot=knot_port)
    )
    words = [path, "-d", "-c", str(conf)]
    with daemon(words, lambda: answers("127.0.0.1", port, "www.example A")) as process:
        yield port, process


def anchor_of(port):
    """Return the key of the zone that signs the others, as a trust anchor."""
    response = answers("127.0.0.1", port, "example DNSKEY")
    keys = [key.to_text() for rrset in response.answer for key in rrset]
    (key,) = [key for key in keys if key.startswith("257 ")]
    return f"example. DNSKEY {key}"


def of_dns(at, host="www.example", **options):
    given = {"host": host, "servers": f"127.0.0.1:{at}", "timeout": 2, **options}
    return found_by(DNSChecker, **given)


def test_a_name_server_of_the_zone_answers_in_each_way(primary):
    port, process = primary
    assert of_dns(port, expect="192.0.2.7", authoritative="yes") == "fine"
    assert of_dns(port, "alias.example", expect="192.0.2.7") == "fine"
    assert of_dns(port, expect="192.0.2.8").splitlines()[0] == (
        "www.example A: 192.0.2.8 is missing; 192.0.2.7 is not expected"
    )
    # Too long for a datagram: asked for again by TCP.
    assert of_dns(port, "big.example", type="TXT") == "fine"
    first = {
        name: of_dns(port, name).splitlines()[0]
        for name in ("no.example", "dangling.example", "big.example", "example.org")
    }
    assert first == {
        "no.example": "no.example A: there is no such name (NXDOMAIN)",
        "dangling.example": (
            "dangling.example A: it is an alias of nowhere.example, which does not "
            "exist (NXDOMAIN)"
        ),
        "big.example": "big.example A: it has no A record (the answer is empty)",
        "example.org": "example.org A: the server refuses to answer (REFUSED)",
    }
    assert of_dns(port, "no.example", expect_status="NXDOMAIN") == "fine"
    assert of_dns(port, authentic="yes").splitlines()[0] == (
        "www.example A: the server has not validated the answer (no AD flag)"
    )
    with hanging(process):
        assert of_dns(port, timeout=1).splitlines()[0] == (
            "www.example A: no answer within 1 s"
        )


def test_a_closed_port_is_seen_at_once():
    began = time.monotonic()
    assert of_dns(closed_port(), timeout=2 * SOON_S).splitlines()[0] == (
        "www.example A: nobody listens there (connection refused)"
    )
    assert time.monotonic() - began < SOON_S


def test_a_resolver_that_validates_and_one_that_is_lied_to(primary, tmp_path):
    port, _process = primary
    anchor = anchor_of(port)
    with unbound(tmp_path / "good", port, anchor) as (good, _):
        assert of_dns(good, authentic="yes", expect="192.0.2.7") == "fine"
        assert of_dns(good, "no.example", expect_status="NXDOMAIN") == "fine"
    # Who has another key for the zone takes all that its servers say for forged.
    other = f"example. DNSKEY 257 3 13 {'A' * 86}=="
    with unbound(tmp_path / "lied", port, other) as (lied, _):
        assert of_dns(lied, timeout=10).splitlines()[0] == (
            "www.example A: the server failed (SERVFAIL)"
        )


def test_name_servers_with_the_same_serial_and_with_another(tmp_path):
    port = free_port()
    for serial in (7, 9):
        folder = tmp_path / str(serial)
        with (
            knot(folder / "1", port),
            knot(folder / "2", port, address="127.0.0.2", serial=serial) as second,
        ):
            ask = {"port": port, "same_serial": "yes", "type": "SOA", "timeout": 5}
            said = of_dns(port, "example", **ask)
            if serial == 7:
                assert said == "fine"
                with hanging(second):
                    assert "a name server fails: ns1.example has 8; ns2.example: " in (
                        of_dns(port, "example", **ask)
                    )
            else:
                assert said == (
                    "example: the serial numbers differ: ns1.example has 8; "
                    "ns2.example has 10"
                )


def test_dnsmasq_lies_and_is_caught(tmp_path):
    path, port = program("dnsmasq", "dnsmasq-base"), free_port()
    words = [path, "--keep-in-foreground", "--no-resolv", "--no-hosts", "--no-daemon"]
    words += [f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces"]
    words += ["--address=/www.example/192.0.2.66", "--user=", "--pid-file="]
    ready = "www.example A"
    with daemon(words, lambda: answers("127.0.0.1", port, ready)) as process:
        assert of_dns(port, expect="192.0.2.66") == "fine"
        assert of_dns(port, expect="192.0.2.7").splitlines()[0] == (
            "www.example A: 192.0.2.7 is missing; 192.0.2.66 is not expected"
        )
        assert of_dns(port, "other.example").splitlines()[0] == (
            "other.example A: the server refuses to answer (REFUSED)"
        )
        with hanging(process):
            said = of_dns(port, servers=f"127.0.0.1:{port}, 127.0.0.1", timeout=1)
            assert f"asked 127.0.0.1:{port}: no answer within" in said
