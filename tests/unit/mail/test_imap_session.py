"""Whatever an IMAP server does, time and memory are bounded."""

from __future__ import annotations

import resource
import time

import pytest

from lib.mail.imap import LookFailed
from tests.support.imapstub import ImapStub, drip, flood, hush
from tests.support.waits import SOON_S
from tests.unit.mail.test_mailbox import failure, look, own_mail


@pytest.mark.fault("F6", "IMAP is silent mid-command, or drips")
@pytest.mark.parametrize("step", ["greeting", "CAPABILITY", "LIST", "EXAMINE"])
@pytest.mark.parametrize("how", [hush(), drip(b"* OK still here\r\n")])
def test_silence_and_drips_end_at_the_deadline(ca, cafile, step, how, approved):
    began = time.monotonic()
    with ImapStub(ca, instead={step: how}) as stub:
        found = failure(stub, cafile, limit_s=1)
        assert time.monotonic() - began < SOON_S
    approved(str(found))


@pytest.mark.parametrize(
    "said",
    [
        b"\x00\xff garbage\r\n",
        b"no line end",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"* BYE busy\r\n",
        b"* LIST {-5}\r\nTAG OK done\r\n",
        b"* 1 FETCH (X {2147483648}\r\nabc",
        b"* 1 FETCH (X {99999999999999999999999}\r\nabc",
        b"* 1 FETCH (X {1" + b"0" * 5000 + b"}\r\nabc",
        flood(b"x"),
        pytest.param(flood(b"* 1 EXISTS\r\n"), marks=pytest.mark.long),
        pytest.param(flood(b"+ more\r\n"), marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("step", ["greeting", "LIST", "UID SEARCH", "UID FETCH"])
@pytest.mark.fault("F5", "garbage, a flood, a literal of 2 GB or less than none")
def test_whatever_a_server_says_memory_and_time_are_bounded(ca, cafile, said, step):
    def say(sock, tag):
        if callable(said):
            said(sock, tag)
        sock.sendall(said.replace(b"TAG", tag.encode()))
        raise EOFError

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    inbox = {"INBOX": [own_mail()]}
    began = time.monotonic()
    with ImapStub(ca, mails=inbox, instead={step: say}) as stub:
        try:
            look(stub, cafile, limit_s=4)
        except LookFailed as error:
            assert len(str(error)) < 700 and str(error).isprintable()
    assert time.monotonic() - began < SOON_S
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 60_000, f"{grown} KB more"
