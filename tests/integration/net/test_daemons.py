"""tcp, udp, unix and ping against Debian's own daemons: well, gone, hanging, lying.

Each is started in a folder of its own, as a process of the test: OpenSSH's sshd and
agent, dnsmasq, the ping command.  The exact words are those that people read.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from jobs.PingChecker import PingChecker
from jobs.TCPServerChecker import TCPServerChecker
from jobs.UDPServerChecker import UDPServerChecker
from jobs.UnixSocketChecker import UnixSocketChecker
from tests.support.daemon import free_port
from tests.support.debian import daemon, hanging, program, takes
from tests.support.listeners import closed_port, found_by

pytestmark = pytest.mark.integration

#: What a DNS server is asked: A of NAME.example, by the number 0x1234.
QUERY = (
    r"\x124\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00{}\x07example\x00\x00\x01\x00\x01"
)
WELL, OTHER = r"\x04well", r"\x05other"
#: The answer: the same number, NOERROR, and the address 192.0.2.7.
NOERROR, ADDRESS = r"^\x124\x85\x80", r"\xc0\x00\x02\x07"
#: What an SSH agent is asked for its keys, and says while it has none.
LIST, NO_KEYS = r"\x00\x00\x00\x01\x0b", r"\x00\x00\x00\x05\x0c\x00\x00\x00\x00"


# tcp: sshd.


@pytest.fixture
def sshd(tmp_path):
    """A port of OpenSSH's sshd, and its process."""
    path, keygen = program("sshd", "openssh-server"), program(
        "ssh-keygen", "openssh-client"
    )
    key = tmp_path / "key"
    making = [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(making, check=True)
    if os.geteuid() == 0:
        # Where its processes without rights are; Debian makes it when it is started.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = free_port()
    options = [f"Port={port}", "ListenAddress=127.0.0.1", f"HostKey={key}"]
    options += ["PidFile=none", "UsePAM=no", "MaxStartups=100"]
    words = [path, "-D", "-e", "-f", "/dev/null"]
    words += [part for option in options for part in ("-o", option)]
    with daemon(words, lambda: takes(port)) as process:
        yield port, process


def of_ssh(port, **options):
    given = {"host": "127.0.0.1", "port": port, "timeout": 1, **options}
    return found_by(TCPServerChecker, **given)


def test_sshd_is_checked_by_its_banner(sshd):
    port, process = sshd
    assert of_ssh(port, banner="SSH-2.0-", timeout=10) == "fine"
    assert of_ssh(port, expect_regex="^SSH-2.0-OpenSSH_[0-9]", timeout=10) == "fine"
    dialog = "expect SSH-2.0-\n  send SSH-2.0-checker\\r\\n\n  expect curve25519-sha256"
    assert of_ssh(port, dialog=dialog, timeout=10) == "fine"
    with hanging(process):
        place = f"127.0.0.1:{port}: connected, but did not receive"
        assert of_ssh(port, banner="SSH-2.0-") == (
            f"{place} 'SSH-2.0-' as its banner within 1 s; received nothing"
        )
    said = of_ssh(port, banner="220")
    assert said.startswith(f"{place} '220' as its banner within 1 s; received ")
    assert "bytes: 'SSH-2.0-OpenSSH_" in said
    assert of_ssh(port, tls="yes", timeout=10) == (
        f"127.0.0.1:{port}: the server does not speak TLS"
    )
    gone = closed_port()
    assert of_ssh(gone, banner="SSH-2.0-") == f"127.0.0.1:{gone}: connection refused"
    assert of_ssh(gone, expect="closed") == "fine"


# udp: dnsmasq.


@pytest.fixture
def dnsmasq(tmp_path):
    """A port of dnsmasq, and its process."""
    path, port = program("dnsmasq", "dnsmasq-base"), free_port()
    words = [path, "--keep-in-foreground", f"--port={port}", "--conf-file=/dev/null"]
    words += ["--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv"]
    words += ["--no-hosts", "--address=/well.example/192.0.2.7", "--pid-file="]
    words += ["--user=", "--log-facility=-"]
    with daemon(words, lambda: takes(port)) as process:
        yield port, process


def of_dns(port, name=WELL, **options):
    given = {"host": "127.0.0.1", "port": port, "timeout": 1, **options}
    return found_by(UDPServerChecker, send=QUERY.format(name), **given)


def test_dnsmasq_is_checked_by_its_answer(dnsmasq):
    port, process = dnsmasq
    place = f"127.0.0.1:{port}"
    assert of_dns(port, timeout=10) == "fine"
    assert of_dns(port, expect=ADDRESS, expect_regex=NOERROR, timeout=10) == "fine"
    said = of_dns(port, OTHER, expect=ADDRESS, timeout=10)
    assert said.startswith(
        f"{place}: did not receive '\\xc0\\x00\\x02\\x07' in the answer; received 31 "
        "bytes: '\\x124\\x81"
    )
    with hanging(process):
        assert of_dns(port, expect=ADDRESS).split("\n") == [
            f"{place}: no answer within 1 s",
            "what was sent or its answer may be lost or filtered, or the service does "
            "not answer that",
        ]
        # Nobody says that it is closed.
        assert of_dns(port, wait="100ms") == "fine"
    process.kill()
    process.wait(10)
    closed = f"{place}: the port is closed (port unreachable)"
    assert of_dns(port) == of_dns(port, expect=ADDRESS) == closed
    assert of_dns(port, expect="closed") == "fine"


# unix: an agent of OpenSSH.


@pytest.fixture
def agent(tmp_path):
    """The socket of an SSH agent, and its process."""
    path = tmp_path / "agent"
    words = [program("ssh-agent", "openssh-client"), "-D", "-a", str(path)]
    with daemon(words, path.exists) as process:
        yield str(path), process


def of_agent(path, **options):
    return found_by(UnixSocketChecker, **{"path": path, "timeout": 1, **options})


def test_an_agent_is_checked_by_its_answer(agent):
    path, process = agent
    place = f"{path}: connected, but did not receive"
    assert of_agent(path, send=LIST, expect=NO_KEYS, timeout=10) == "fine"
    assert of_agent(path, send=LIST, expect=r"\x0c\x00\x00\x00\x01") == (
        f"{place} '\\x0c\\x00\\x00\\x00\\x01' within 1 s; received 9 bytes: "
        "'\\x00\\x00\\x00\\x05\\x0c\\x00\\x00\\x00\\x00'"
    )
    with hanging(process):
        # The system takes connections for it.
        assert of_agent(path) == "fine"
        assert of_agent(path, send=LIST, expect=NO_KEYS) == (
            f"{place} '{NO_KEYS}' within 1 s; received nothing"
        )
    assert of_agent(path, type="datagram") == (
        f"{path}: this is no socket of type datagram; set type = stream or seqpacket"
    )
    process.kill()
    process.wait(10)
    assert of_agent(path) == f"{path}: connection refused: nobody listens there"
    os.unlink(path)
    assert of_agent(path) == f"{path}: there is no such socket"


# ping: this machine, by whatever way this user may take.


def test_this_machine_answers_pings_and_nobody_answers_at_a_broadcast_address():
    options = {"count": 1, "timeout": 5}
    assert found_by(PingChecker, host="127.0.0.1", **options) == "fine"
    said = found_by(PingChecker, host="255.255.255.255", **options)
    assert said.startswith("unknown: not checked: ")
