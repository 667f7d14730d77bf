"""Rows G: peers that are silent, slow, endless, or flap; and what we tell of ourselves.

The endpoint has its rows in test_rows_endpoint.py; G5, G6 and G8 are marked where the
job is tested.
"""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass
from datetime import timedelta

import pytest

from tests.faults.rows import FLAG_ALERT, cron_at, serving, subjects, with_answer, word
from tests.faults.table import measured
from tests.support.imapserver import PymapAccount
from tests.support.instance import GENERAL, Instance, flag_job
from tests.support.listeners import (
    HOLD,
    RESET,
    Listener,
    answer,
    closed_port,
    dripping,
    hear,
    says,
)
from tests.support.servers import SmtpMail, SmtpServer

HEAD = b"HTTP/1.1 200 OK\r\n"
NOW, MINUTE = timedelta(), timedelta(minutes=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def peers(urls, rules="every = minute\n"):
    """Return a [peers] of names and URLs, each with an admin of its own."""
    lines = [f"{name} = {url},{name}@example.org\n" for name, url in urls.items()]
    return f"[peers]\n{rules}{''.join(lines)}"


# Peers that are silent, slow or endless: they are asked side by side.


class Endless:
    """Has 10 GB to say, and begins; counts what it gets rid of."""

    def __init__(self):
        self.pushed = 0

    def __call__(self, connection, listener):
        hear(connection, listener)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection.sendall(HEAD + b"Content-Length: 10737418240\r\n\r\n")
        while not listener.over.is_set():
            self.pushed += connection.send(b"x" * 4096)


@dataclass
class FileScan:
    """What it came to, to ask all of them."""

    #: The mails to each one's admin, by the name of the peer's line.
    notified: dict[str, list[SmtpMail]]
    #: How long a run took that had to wait, and how much the endless one got rid of.
    seconds: float
    pushed: int


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Ask all of them until they are told of, and some once more."""
    endless = Endless()
    talks = {
        "well": says(answer(body=b"True")),
        "hush": says(HOLD),
        "reset": says(RESET),
        "head": dripping(HEAD, b"x"),
        "body": dripping(HEAD + b"\r\n", b"x"),
        "endless": endless,
    }
    with contextlib.ExitStack() as stack:
        smtp = stack.enter_context(SmtpServer(security="none"))
        urls = {
            name: stack.enter_context(Listener(talk)).url()
            for name, talk in talks.items()
        }
        urls["refused"] = f"http://127.0.0.1:{closed_port()}/"
        folder = tmp_path_factory.mktemp("asking")
        instance = Instance(folder, smtp.email_section() + peers(urls))
        assert instance.cron().code == 0
        assert smtp.mails == []
        began = time.monotonic()
        assert instance.cron().code == 0
        seconds = time.monotonic() - began
        quick = {name: urls[name] for name in ("well", "refused", "reset", "endless")}
        instance.write(GENERAL + smtp.email_section() + peers(quick))
        assert instance.cron().code == 0
        notified = {name: [] for name in urls}
        for mail in smtp.mails:
            (to,) = mail.to
            notified[to.partition("@")[0]].append(mail)
        assert notified["well"] == []
        yield FileScan(notified, seconds, endless.pushed)


@pytest.mark.long
@pytest.mark.fault("G1", "refused, timeout, reset")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("refused", "connection refused"),
        ("hush", "no answer within 10 s"),
        ("reset", "the connection was reset"),
    ],
    ids=["refused", "timeout", "reset"],
)
def test_g1_a_peer_that_does_not_answer_is_reported_once_to_its_admin(
    asked, name, words
):
    (mail,) = asked.notified[name]
    assert mail.subject.startswith(f"[web1] peer {name} is failing: no answer: ")
    assert words in mail.body
    assert "in 2 attempts" in " ".join(mail.body.split())


@pytest.mark.long
@pytest.mark.fault("G2", "a slow drip in headers and body")
@pytest.mark.parametrize("name", ["head", "body"])
def test_g2_a_peer_that_drips_is_bounded_by_the_deadline(asked, name):
    (mail,) = asked.notified[name]
    assert mail.subject.startswith(f"[web1] peer {name} is failing: no answer: ")
    assert asked.seconds < 25
    measured(f"{asked.seconds:.0f} s")


@pytest.mark.long
@pytest.mark.fault("G3", "a body of 10 GB")
def test_g3_of_an_endless_answer_no_more_is_read_than_the_first_4_kb(asked):
    (mail,) = asked.notified["endless"]
    assert "not an answer from Checker" in mail.subject
    # What the kernels hold on the way is more than what is read.
    assert asked.pushed < 3 * 2_000_000
    measured(f"{asked.pushed // 3 // 1000} kB left the peer")


# Peers that flap, and that report each other.


@pytest.mark.long
@pytest.mark.fault("G9", "a peer flaps each minute")
def test_g9_a_peer_that_flaps_is_dampened_and_its_last_state_is_reported(tmp_path):
    said = {"changing": b"True", "blinking": b""}

    def talk(name):
        def say(connection, listener):
            hear(connection, listener)
            connection.sendall(answer(body=said[name]) if said[name] else b"")

        return Listener(say)

    with (
        SmtpServer(security="none") as smtp,
        talk("changing") as changing,
        talk("blinking") as blinking,
    ):
        urls = {"changing": changing.url(), "blinking": blinking.url()}
        email = f"{smtp.email_section()}mailsperhour = 4\n"
        instance = Instance(tmp_path, email + peers(urls))
        for minute in range(7):
            ill = minute % 2 == 0
            said.update(changing=b"MailProblem" if ill else b"True")
            said.update(blinking=b"" if ill else b"True")
            cron_at(instance, minute * MINUTE)
        assert len(smtp.mails) <= 4
        said.update(blinking=b"True")
        for later in (70, 71):
            cron_at(instance, later * MINUTE)
        notified = [mail.subject for mail in smtp.mails]
    assert not any("blinking" in one for one in notified)
    assert len(notified) <= 6
    assert notified[-1].startswith(
        "[web1] peer changing is failing: it says that it cannot"
    )
    assert not any(one.get("queued") for one in instance.records().values())
    measured(f"7 changes, {len(notified)} mails")


@pytest.mark.long
@pytest.mark.fault("G10", "both instances report each other")
def test_g10_two_that_report_each_other_mail_each_admin_once_and_each_day(tmp_path):
    with contextlib.ExitStack() as stack:
        smtp = stack.enter_context(SmtpServer(security="none"))
        # Not proven yet: mail leaves, and neither says that it does.
        email = f"{smtp.email_section()}user = me@example.com\npass = x\n"
        email += "imapserver = 127.0.0.1\nimapport = 1\n"
        pair = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            general = GENERAL.replace("web1", name).replace("ops", name)
            pair.append(with_answer(Instance(tmp_path / name, email, general)))
        one, two = pair
        one_url, two_url = (stack.enter_context(serving(each)) for each in pair)
        # Before they ask, both have something to say.
        for each in pair:
            assert cron_at(each, NOW).code == 0
        one.add(f"[peers]\nevery = minute\ntwo = {two_url},two@example.com\n")
        two.add(f"[peers]\nevery = minute\none = {one_url},one@example.com\n")
        for each in (one, two, one, two):
            assert cron_at(each, NOW).code == 0
        ill = "is failing: it says that it cannot send mail"
        assert reported_by_peers(smtp) == {
            "one@example.com": [f"[two] peer one {ill}"],
            "two@example.com": [f"[one] peer two {ill}"],
        }
        # The first to run meets an answer of yesterday, and asks again.
        for each in (one, two, one):
            assert cron_at(each, DAY).code == 0
        assert [len(each) for each in reported_by_peers(smtp).values()] == [2, 2]
        assert "is still failing" in reported_by_peers(smtp)["one@example.com"][1]


def reported_by_peers(smtp):
    """Return the subjects about peers, by who got them."""
    found = {"one@example.com": [], "two@example.com": []}
    for mail in smtp.mails:
        if " peer " in mail.subject:
            (to,) = mail.to
            found[to].append(mail.subject)
    return found


# What we say of ourselves.


@pytest.mark.long
@pytest.mark.fault("G12", "our mail is broken, no alert is due")
def test_g12_while_our_mail_is_broken_the_word_is_mail_problem_until_it_is_proven(
    tmp_path, ca, cafile
):
    with PymapAccount(ca) as account:
        instance = with_answer(Instance(tmp_path, account.settings(cafile)))
        assert cron_at(instance, NOW, "hour").silent
        assert word(instance) == "MailProblem", "it was never proven"
        account.wait_for("INBOX")
        assert cron_at(instance, MINUTE).silent
        assert word(instance) == "True"
        deliver = account.smtp.answer_data
        account.smtp.answer_data = lambda mail: "451 4.3.0 not now"
        cron_at(instance, HOUR, "hour")
        cron_at(instance, HOUR + 11 * MINUTE)
        assert word(instance) == "MailProblem"
        # It takes mails again, alerts too; whether they arrive is not known.
        account.smtp.answer_data = deliver
        account.goes_to(None)
        instance.job("Flag", flag_job(tmp_path / "flag"))
        assert cron_at(instance, HOUR + 20 * MINUTE).silent
        assert FLAG_ALERT in subjects(account.smtp)
        assert word(instance) == "MailProblem"
        cron_at(instance, 2 * HOUR, "hour")
        assert word(instance) == "MailProblem"
        account.goes_to("INBOX")
        cron_at(instance, 3 * HOUR, "hour")
        account.wait_for("INBOX")
        cron_at(instance, 3 * HOUR + MINUTE)
        assert word(instance) == "True"


@pytest.mark.fault("G16", "the list of peers contains ourselves")
def test_g16_a_peer_that_is_ourselves_is_an_error_of_its_line_alone(tmp_path):
    ours = {"a": "127.0.0.1", "b": "localhost", "c": "[::1]", "d": "web1"}
    with (
        SmtpServer(security="none") as smtp,
        Listener(says(answer(body=b"JobProblem"))) as there,
    ):
        urls = {name: f"http://{host}:5000/" for name, host in ours.items()}
        urls["other"] = there.url()
        status = "[status]\nlisten = 0.0.0.0:5000\n"
        instance = Instance(tmp_path, smtp.email_section() + status + peers(urls))
        assert instance.cron().code == 0
        ran = instance.run("-m", "validate")
        notified = subjects(smtp)
    assert ran.code == 1
    for name in ours:
        words = f"{name}: this address is our own [status] listen, port 5000"
        assert words in ran.out
    assert sum("peer other is failing: it says" in one for one in notified) == 1
    assert (
        sum("our own [status] listen" in one for one in notified) == 1
        and len(notified) == 2
    )
