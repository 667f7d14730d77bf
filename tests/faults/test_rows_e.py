"""Rows E: mail servers that are away, slow, broken, or say no.

The clock of a run is another where time has to pass; the servers are real ones.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from lib.model import Message, MessageKind, Record
from lib.state import State
from tests.faults.rows import CALM, cron_at, serving, subjects, with_answer, word
from tests.faults.table import LONG, measured
from tests.imapserver import PymapAccount
from tests.instance import GENERAL, Instance, flag_job
from tests.listeners import self_signed_context
from tests.mailing import CANARY, FORMS
from tests.servers import (
    PASSWORD,
    SMTP_TALK,
    USER,
    SmtpMail,
    SmtpServer,
    SmtpStub,
    server_context,
    smtp_talk_until,
)

ALERT = "Flag is failing: the flag is down"
GOOD = "\n".join(SMTP_TALK.values())
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
NOW, HOUR = timedelta(), timedelta(hours=1)
FULL = "[disk full{}]\npath = /\nlimit = 1\nevery = minute\n"


def account(port, cafile="", password=PASSWORD):
    return (
        f"[email]\nsmtpserver = 127.0.0.1\nsmtpport = {port}\nuser = {USER}\n"
        f"pass = {password}\ncafile = {cafile}\n"
    )


def failing(folder, settings):
    """Return an instance in which one job fails."""
    folder.mkdir(exist_ok=True)
    instance = Instance(folder, settings)
    instance.job("Flag", flag_job(folder / "flag"))
    return instance


def move_to(instance, before, after):
    """Let the mail server be another one: the port in the settings."""
    instance.write(instance.settings.read_text().replace(f" {before}\n", f" {after}\n"))


def owed(instance):
    records = instance.records().values()
    return [one for record in records for one in record.get("owed", ())]


def mails_heard(stub):
    """Return the mails that a stub heard, each as its lines."""
    mails, lines = [], None
    for line in stub.heard:
        if line.upper() == b"DATA":
            lines = []
        elif line == b"." and lines is not None:
            mails.append(lines)
            lines = None
        elif lines is not None:
            lines.append(line)
    return mails


# Servers that are away or slow.


@dataclass
class Patient:
    """A run whose mail server made it wait, and what came of it."""

    instance: Instance
    code: int
    err: str
    seconds: float
    stub: SmtpStub | None = None


@contextlib.contextmanager
def deaf_port():
    """Give a port at which nothing but packets get lost: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        place = listener.getsockname()
        others = [socket.socket() for _ in range(4)]
        for one in others:
            one.setblocking(False)
            one.connect_ex(place)
        time.sleep(0.1)
        yield place[1]
        for one in others:
            one.close()


DRIP = "drip 1 220 a greeting that takes longer than anybody is ready to wait for it"
SLOW = {
    "silent": "hush",
    "dripping": DRIP,
    "late": smtp_talk_until("end of mail", "wait 300"),
}


@pytest.fixture(scope="module")
def patients(tmp_path_factory, ca, cafile):
    """Return runs, by what their mail server does; they wait side by side."""
    with contextlib.ExitStack() as stack:
        stubs = {
            name: stack.enter_context(
                SmtpStub([script, GOOD], context=server_context(ca))
            )
            for name, script in SLOW.items()
        }
        ports = {name: stub.port for name, stub in stubs.items()}
        ports["deaf"] = stack.enter_context(deaf_port())
        started = {}
        for name, port in ports.items():
            folder = tmp_path_factory.mktemp(name)
            instance = failing(folder, account(port, cafile))
            instance.job("Calm", CALM)
            run = instance.start("-m", "cron", "-c", "minute")
            started[name] = (instance, run, time.monotonic())
        found = {}
        for name, (instance, run, began) in started.items():
            _out, err = run.communicate(timeout=70)
            seconds = time.monotonic() - began
            found[name] = Patient(
                instance, run.returncode, err, seconds, stubs.get(name)
            )
        yield found


def is_bounded(patient):
    """Return whether a run ended in time, judged its jobs, and keeps its mails."""
    judged = set(patient.instance.records()) >= {"Flag", "Calm"}
    kept = len(owed(patient.instance)) == 2
    return patient.code == 0 and patient.seconds < 55 and judged and kept


@pytest.mark.fault("E1", "packets to the server are dropped")
def test_e1_where_packets_are_dropped_the_run_ends_and_the_mail_is_kept(patients):
    patient = patients["deaf"]
    assert is_bounded(patient)
    assert "connect: no answer within" in patient.err
    measured(f"{patient.seconds:.0f} s at most")


@pytest.mark.fault("E1", "the server refuses connections")
def test_e1_a_refused_mail_is_tried_again_later_and_later(
    tmp_path, smtp, cafile, clock
):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    instance = failing(tmp_path / "it", account(port, cafile))
    attempts = []
    for seconds in (0, 30, 60, 120):
        ran = cron_at(instance, clock, seconds * SECOND)
        assert ran.code == 0
        assert ("connection refused" in ran.err) == (seconds in (0, 60))
        attempts.append(owed(instance)[0]["attempts"])
    assert attempts == [1, 1, 2, 2]
    move_to(instance, port, smtp.port)
    assert cron_at(instance, clock, 200 * SECOND).silent
    assert subjects(smtp) == [ALERT]


@pytest.mark.fault("E2", "accepts and stays silent")
def test_e2_a_silent_server_costs_a_run_its_time_and_no_more(patients):
    assert is_bounded(patients["silent"])
    assert "greeting: no answer within" in patients["silent"].err
    measured(f"{patients['silent'].seconds:.0f} s at most")


@pytest.mark.fault("E2", "a banner of one byte per second")
def test_e2_a_banner_that_drips_costs_a_run_its_time_and_no_more(patients):
    assert is_bounded(patients["dripping"])
    measured(f"{patients['dripping'].seconds:.0f} s at most")


@pytest.mark.fault("E18", "250 comes five minutes late")
def test_e18_a_mail_whose_250_is_late_is_in_doubt_and_comes_as_the_same_mail(
    patients, clock
):
    patient = patients["late"]
    assert is_bounded(patient)
    assert [one.get("in_doubt") for one in owed(patient.instance)].count(True) == 1
    cron_at(patient.instance, clock, 120 * SECOND)
    first, again = mails_heard(patient.stub)[:2]
    assert first == again


# Servers that drop.


@pytest.mark.fault("E4", "drops at each step, from the greeting to mid-body")
def test_e4_whatever_step_is_dropped_the_mail_is_tried_again_and_comes_once(
    tmp_path, ca, cafile
):
    steps = list(SMTP_TALK)[: list(SMTP_TALK).index("body")]
    scripts = [smtp_talk_until(step) for step in steps]
    scripts.append(smtp_talk_until("body", "take 300\ndrop"))
    with SmtpStub([*scripts, GOOD], context=server_context(ca)) as stub:
        instance = failing(tmp_path / "it", account(stub.port, cafile))
        for number in range(len(scripts)):
            ran = instance.cron()
            assert ran.code == 0 and "1 mail not sent" in ran.err
            assert owed(instance)[0]["attempts"] == number + 1
            instance.let_time_pass_for_mails()
        assert instance.cron().silent
        assert instance.cron().silent
    assert stub.connections == len(scripts) + 1
    assert len(mails_heard(stub)) == 1
    measured(f"{len(scripts)} steps")


@pytest.mark.fault("E5", "drops after the final dot, before 250")
def test_e5_a_drop_after_the_final_dot_repeats_the_mail_with_the_same_message_id(
    tmp_path, ca, cafile, clock
):
    dropping = smtp_talk_until("end of mail")
    with SmtpStub([dropping, GOOD], context=server_context(ca)) as stub:
        instance = failing(tmp_path / "it", account(stub.port, cafile))
        assert "1 mail not sent" in instance.cron().err
        assert cron_at(instance, clock, 70 * SECOND).silent
        assert cron_at(instance, clock, HOUR).silent
    first, again = mails_heard(stub)
    assert any(line.startswith(b"Message-ID: <") for line in first)
    assert first == again


# Servers that say no, for now.


@pytest.mark.fault("E6", "451 greylisting three times, then 421")
def test_e6_a_greylisted_mail_comes_once_after_the_delay(tmp_path, ca, cafile, clock):
    later = "send 451 4.7.1 greylisted\nhear RSET\nsend 250 ok\nhear QUIT"
    greylisted = smtp_talk_until("RCPT", later)
    busy = "send 421 4.3.2 not now"
    scripts = [*[greylisted] * 3, busy, GOOD]
    with SmtpStub(scripts, context=server_context(ca)) as stub:
        instance = failing(tmp_path / "it", account(stub.port, cafile))
        heard = []
        for minutes in (0, 1, 2, 4, 9, 12, 18):
            heard.append(stub.connections)
            cron_at(instance, clock, minutes * MINUTE)
            heard[-1] = stub.connections - heard[-1]
    assert heard == [1, 1, 0, 1, 1, 0, 1]
    assert len(mails_heard(stub)) == 1
    assert stub.surprises == []
    assert owed(instance) == []


@pytest.mark.fault("E9", "535, the login has expired")
def test_e9_a_login_that_has_expired_is_tried_four_times_an_hour(instance, smtp, clock):
    with_answer(instance)
    smtp.password = "another"
    said = []
    for number in range(6):
        # News each minute is no reason to try more often.
        instance.add(FULL.format(number))
        said.append(cron_at(instance, clock, number * MINUTE).err)
    assert smtp.logins == 4
    renewals = [text.count("renew the (app) password") for text in said]
    assert (sum(renewals), renewals[-2:]) == (4, [0, 0])
    assert PASSWORD not in "".join(said)
    cron_at(instance, clock, 16 * MINUTE)
    assert (smtp.logins, word(instance)) == (4, "MailProblem")
    smtp.password = PASSWORD
    cron_at(instance, clock, 64 * MINUTE)
    assert subjects(smtp)[0].startswith("6 failing") and len(smtp.mails) == 1
    assert word(instance) == "True"


@pytest.mark.fault("E10", "550 5.4.5, the daily limit")
def test_e10_a_daily_limit_holds_all_mail_and_then_it_comes_in_one(
    instance, smtp, clock
):
    with_answer(instance)
    instance.add(FULL.format(0) + FULL.format(1))
    smtp.answer_data = lambda mail: "550 5.4.5 Daily user sending quota exceeded"
    assert "mail waits an hour" in cron_at(instance, clock, NOW).err
    smtp.answer_data = lambda mail: None
    instance.add(FULL.format(2))
    assert cron_at(instance, clock, 50 * MINUTE).silent
    assert (smtp.mails, smtp.sessions) == ([], 1)
    assert word(instance) == "MailProblem"
    assert cron_at(instance, clock, 70 * MINUTE).silent
    assert subjects(smtp)[0].startswith("3 failing") and len(smtp.mails) == 1
    assert word(instance) == "True"


# Servers that say no, for good.


@pytest.mark.fault("E7", "550 for one of two recipients")
def test_e7_one_refused_recipient_does_not_cost_the_others_their_mail(
    tmp_path, smtp, cafile
):
    instance = failing(tmp_path / "it", smtp.email_section(cafile))
    instance.write(
        instance.settings.read_text().replace("ops@", "gone@example.com, ops@")
    )
    smtp.answer_rcpt = lambda to: "550 5.1.1 no" if to.startswith("gone") else None
    ran = instance.cron()
    alert, note = smtp.wait_for(2)
    assert (alert.to, note.to) == (("ops@example.com",), ("ops@example.com",))
    assert note.subject == "[web1] mail to gone@example.com is refused: 550 5.1.1 no"
    assert ALERT in note.body
    assert "gone@example.com was refused: 550 5.1.1 no" in ran.err
    assert owed(instance) == []
    (dead,) = (instance.state / "dead").iterdir()
    assert json.loads(dead.read_text())["why"] == {"gone@example.com": "550 5.1.1 no"}
    assert instance.cron().silent
    assert len(smtp.mails) == 2


@pytest.mark.fault("E8", "552 too big, 554 content")
@pytest.mark.parametrize("says", ["552 5.3.4 too big", "554 5.6.0 content"])
def test_e8_a_mail_the_server_will_not_have_is_sent_cut_down(instance, smtp, says):
    instance.add(FULL.format(0))
    smtp.answer_data = lambda mail: None if "cut down" in mail.body else says
    assert says in instance.cron().err
    (mail,) = smtp.wait_for(1)
    assert mail.subject.startswith("[web1] disk full0 is failing")
    assert says in mail.body
    assert owed(instance) == []


# Servers that cannot be trusted.


@pytest.mark.fault("E11", "STARTTLS is not offered, or refused")
@pytest.mark.parametrize(
    ("offer", "says"),
    [
        ("send 250-stub\nsend 250 AUTH PLAIN", "the server does not offer it"),
        (
            "send 250-stub\nsend 250-AUTH PLAIN\nsend 250 STARTTLS\n"
            "hear STARTTLS\nsend 454 4.7.0 not now",
            "454 4.7.0 not now",
        ),
    ],
    ids=["not offered", "refused"],
)
def test_e11_without_tls_the_password_is_never_said(tmp_path, offer, says):
    with SmtpStub(f"send 220 stub\nhear EHLO\n{offer}\nhush") as stub:
        instance = failing(tmp_path / "it", account(stub.port, password=CANARY))
        ran = [instance.cron("minute", "-d"), instance.run("-m", "testmail")]
    for one in ran:
        assert f"127.0.0.1:{stub.port}: STARTTLS: " in one.err and says in one.err
    assert [one.code for one in ran] == [0, 1]
    assert len(owed(instance)) == 1
    texts = [one.out + one.err for one in ran] + [instance.everything_written()]
    texts.append(b"\n".join(stub.heard).decode("latin-1"))
    for text in texts:
        assert not any(form in text for form in FORMS)
    assert not any(line.startswith(b"AUTH") for line in stub.heard)


def year(number):
    return datetime(number, 1, 1, tzinfo=UTC)


@pytest.mark.fault("E13", "expired, wrong name, self-signed, unknown issuer")
def test_e13_a_certificate_that_is_not_right_is_refused_in_clear_text(
    tmp_path, ca, cafile, smtp
):
    expired = server_context(ca, not_before=year(2020), not_after=year(2021))
    own = tmp_path / "own"
    own.mkdir()
    servers = {
        "the certificate has expired": expired,
        "not for the address 127.0.0.1": server_context(ca, "other.example"),
        "the certificate is self-signed": self_signed_context(own),
        "the certificate's issuer is unknown here": server_context(trustme.CA()),
    }
    instance = failing(tmp_path / "it", smtp.email_section(cafile))
    port = smtp.port
    for words, context in servers.items():
        with SmtpServer(context=context) as wrong:
            move_to(instance, port, wrong.port)
            port = wrong.port
            ran = instance.cron()
        assert f"127.0.0.1:{port}: STARTTLS: " in ran.err and words in ran.err
        assert (wrong.logins, wrong.mails, len(owed(instance))) == (0, [], 1)
        instance.let_time_pass_for_mails()
    move_to(instance, port, smtp.port)
    assert instance.cron().silent
    assert subjects(smtp) == [ALERT]


@pytest.mark.fault("E14", "250, and the mail vanishes")
def test_e14_mails_that_vanish_are_noticed_within_an_interval_and_peers_are_told(
    tmp_path, ca, cafile, smtp, clock
):
    for name in ("ours", "friend"):
        (tmp_path / name).mkdir()
    with PymapAccount(ca) as mails:
        mails.goes_to(None)
        instance = with_answer(Instance(tmp_path / "ours", mails.settings(cafile)))
        cron_at(instance, clock, NOW, "hour")
        assert len(mails.smtp.wait_for(1)) == 1
        cron_at(instance, clock, MINUTE)
        cron_at(instance, clock, 11 * MINUTE)
        assert word(instance) == "MailProblem"
        reason = instance.records()["EmailChecker"]["last_reason"]
        assert "never: it did not arrive within 600 s" in reason
    with serving(instance) as url:
        peer = f"[peers]\nevery = minute\nweb1 = {url},ops@example.com\n"
        general = GENERAL.replace("web1", "web2")
        settings = smtp.email_section(cafile) + peer
        friend = Instance(tmp_path / "friend", settings, general)
        cron_at(friend, clock, 11 * MINUTE)
    (mail,) = smtp.mails
    assert mail.to == ("ops@example.com",)
    assert mail.subject == (
        "[web2] peer web1 is failing: it says that it cannot send mail"
    )


# Much mail.

WAVES = """\
import os
from lib.jobbase import *

class Wave(JobSpawner):
    def get_sub_jobs(self, config):
        for number in range({count}):
            yield One(config, f"n{{number:03}}")

class One(JobBase):
    def __init__(self, config, name):
        super().__init__(config, name)
        self.trouble = os.path.join({folder!r}, name)

    def executeEvery(self):
        return JobFrequency.MINUTE

    def execute(self):
        if os.path.exists(self.trouble):
            raise CheckFailed("no route to host")
        return True
"""


@pytest.mark.fault("E15", "an outage of 8 hours with 200 changes")
def test_e15_after_eight_hours_all_changes_come_in_one_digest_in_time_order(
    instance, smtp, tmp_path, clock
):
    waves, each = (16, 10) if LONG else (4, 40)
    passing = [f"n{number:03}" for number in range(160, 180)]
    instance.job("Wave", WAVES.format(count=180, folder=str(tmp_path)))
    smtp.answer_data = lambda mail: "451 4.3.0 not now"
    for wave in range(waves):
        for number in range(wave * each, (wave + 1) * each):
            (tmp_path / f"n{number:03}").touch()
        for name in passing:
            if wave == waves // 4:
                (tmp_path / name).touch()
            elif wave == waves // 2:
                (tmp_path / name).unlink()
        assert cron_at(instance, clock, wave * 8 * HOUR / waves).code == 0
    assert smtp.mails == []
    smtp.answer_data = lambda mail: None
    for minutes in (480, 550):
        assert cron_at(instance, clock, minutes * MINUTE).code == 0
    (mail,) = smtp.mails
    lasting = re.findall(r"One n(\d+) is failing: no route to host", mail.body)
    order = [int(number) // each for number in lasting]
    assert (order, len(set(lasting))) == (sorted(order), 160)
    over = re.findall(r"One (n\d+) was failing for .*, it is fine again", mail.body)
    assert sorted(over) == passing
    assert owed(instance) == []
    measured("200 changes in 1 mail")


@pytest.mark.fault("E16", "no 8BITMIME or SMTPUTF8; Unicode subject and body")
def test_e16_unicode_reaches_a_server_that_knows_ascii_only(tmp_path, ca, cafile):
    words = "Grüße aus 東京 💥"
    assert "8BITMIME" not in GOOD and "SMTPUTF8" not in GOOD
    with SmtpStub(GOOD, context=server_context(ca)) as stub:
        instance = failing(tmp_path / "it", account(stub.port, cafile))
        text = flag_job(tmp_path / "flag").replace("the flag is down", f"{words}\\n.")
        instance.job("Flag", text)
        assert instance.cron().silent
        (lines,) = mails_heard(stub)
    data = b"\r\n".join(lines)
    assert data.isascii()
    mail = SmtpMail(USER, ("ops@example.com",), data, USER)
    assert mail.subject == f"[web1] Flag is failing: {words}"
    assert f"    {words}\n" in mail.body


@pytest.mark.fault("E19", "50,000 queued mails")
def test_e19_a_long_queue_is_bounded_work_and_leaves_the_oldest_first(
    instance, smtp, clock
):
    count, each = (50_000, 100) if LONG else (2_000, 100)
    began = datetime.now(UTC) - timedelta(days=2)
    State(instance.state).save(
        Record(
            f"queue/{first}",
            f"queue {first}",
            owed=tuple(
                Message(
                    f"{number:032x}",
                    MessageKind.NOTE,
                    f"number {number:05}",
                    "news",
                    ("ops@example.com",),
                    began + number * SECOND,
                )
                for number in range(first, first + each)
            ),
        )
        for first in range(0, count, each)
    )
    longest = 0.0
    for minutes in (0, 6, 12):
        started = time.monotonic()
        assert cron_at(instance, clock, minutes * MINUTE).code == 0
        longest = max(longest, time.monotonic() - started)
    sizes = [int(one.split()[0].replace(",", "")) for one in subjects(smtp)]
    assert sizes == [20_000, 20_000, 10_000] if LONG else [count]
    first = re.findall(r"number (\d{5})", smtp.mails[0].body)
    assert first == sorted(first) and first[0] == "00000"
    assert owed(instance) == []
    assert longest < 55
    measured(f"{count:,} in {len(sizes)} mails, {longest:.1f} s the longest run")
