"""Two instances that watch each other, as processes: what befalls one, the other tells.

Each has its own settings, jobs, state, mail account, admin and endpoint.  Each time the
right admin hears of it within two peer intervals, and of its end.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.approved import REAL
from tests.support.daemon import Daemon, free_port
from tests.support.imapserver import PymapAccount
from tests.support.instance import Instance
from tests.support.listeners import Listener, answer, hear, says
from tests.support.servers import SmtpServer

KEY = "3f1a" * 12
OPTIONS = "[peers]\nevery = minute\n"


@dataclass
class Side:
    """One of the two, and where its admin reads mail."""

    name: str
    instance: Instance
    daemon: Daemon
    server: SmtpServer
    #: Where its own mail arrives, if that can be seen.
    account: PymapAccount | None = None

    @property
    def admin(self) -> str:
        return f"admin@{self.name}.example"

    def heard(self, whose: str) -> list[str]:
        """Return the subjects that this side has mailed to an admin."""
        mails = [mail for mail in self.server.mails if whose in mail.to]
        return [" ".join(mail.subject.split()) for mail in mails]

    def cron(self, times: int = 1) -> None:
        for _ in range(times):
            ran = self.instance.cron()
            assert ran.code == 0, ran


def side(folder, name, email, server, port):
    folder.mkdir()
    general = f"[general]\nservername = {name}\nalertcontact = admin@{name}.example\n"
    instance = Instance(folder, email, general)
    return Side(name, instance, Daemon(instance, port), server)


def introduce(one, other, url="", key=KEY):
    """Have one ask the other."""
    line = f"{other.name} = {url or other.daemon.url},{other.admin}"
    one.instance.add(f"{OPTIONS}{line}{f',key={key}' * bool(key)}\n")


@pytest.fixture
def pair(tmp_path, ca, cafile):
    """Give alpha, whose mail is plain, and beta, which proves that its own arrives."""
    with ExitStack() as stack:
        plain = stack.enter_context(SmtpServer(security="none"))
        account = stack.enter_context(PymapAccount(ca))
        email = account.settings(cafile, "imapevery = minute\nimapgrace = 1\n")
        alpha = side(
            tmp_path / "alpha", "alpha", plain.email_section(), plain, free_port()
        )
        beta = side(tmp_path / "beta", "beta", email, account.smtp, free_port())
        beta.account = account
        stack.enter_context(alpha.daemon)
        stack.enter_context(beta.daemon)
        # Until then each would be right to complain of the other.
        alpha.cron()
        run_until(beta, "True")
        introduce(alpha, beta)
        introduce(beta, alpha)
        yield alpha, beta


def run_until(one, word):
    """Run one of them until its endpoint says so."""
    ends_at = time.monotonic() + 60
    while True:
        one.cron()
        if one.daemon.word() == word:
            return
        assert time.monotonic() < ends_at, one.instance.run("-m", "status").out
        time.sleep(0.2)


def stop_cron(one):
    """Have nobody start it any more: its last run was four minutes ago."""
    long_ago = (datetime.now(UTC) - timedelta(minutes=4)).isoformat()
    one.instance.mend(lambda run: run.update(ended_at=long_ago), "run.json")


def hears_of_the_end(alpha, beta):
    """Have alpha find beta well again, and tell beta's admin and nobody else."""
    run_until(beta, "True")
    alpha.cron(2)
    assert "peer beta is OK again after" in alpha.heard(beta.admin)[1]
    assert alpha.heard(alpha.admin) == []


@pytest.mark.long
def test_two_that_are_well_say_nothing(pair):
    alpha, beta = pair
    alpha.cron(3)
    run_until(beta, "True")
    assert alpha.server.mails == []
    assert set(beta.account.asked_for()) == {beta.account.user}
    for ours, theirs in (pair, reversed(pair)):
        (row,) = ours.instance.run("-m", "peers", "--json").json()
        assert (row["peer"], row["status"]) == (theirs.name, "ok")
        assert row["signed"] and row["signed_by"] == theirs.name


@pytest.mark.long
def test_cron_that_stops_at_one_is_mailed_to_its_admin_and_so_is_its_end(
    pair, approved
):
    alpha, beta = pair
    stop_cron(beta)
    alpha.cron(2)
    approved(alpha.heard(beta.admin), hide=REAL)
    hears_of_the_end(alpha, beta)


@pytest.mark.long
def test_mail_that_vanishes_at_one_is_mailed_to_its_admin_and_so_is_its_end(
    pair, approved
):
    alpha, beta = pair
    beta.account.goes_to(None)
    # The server takes beta's mails, that one too: still nobody reads them.
    run_until(beta, "MailProblem")
    alpha.cron(2)
    approved(alpha.heard(beta.admin), hide=REAL)
    beta.account.goes_to("INBOX")
    hears_of_the_end(alpha, beta)


@pytest.mark.long
def test_an_endpoint_that_is_gone_is_mailed_to_its_admin_and_so_is_its_end(
    pair, approved
):
    alpha, beta = pair
    beta.daemon.process.terminate()
    assert beta.daemon.process.wait(10) == 0
    # Something else still answers, or it would be alpha's own line that is down.
    with Listener(says(answer(body=b"True"))) as third:
        line = f"third = {third.url()},admin@third.example\n"
        alpha.instance.add(line)
        alpha.cron()
        assert alpha.heard(beta.admin) == []
        alpha.cron()
        (subject,) = alpha.heard(beta.admin)
        approved(subject, "subject", hide=REAL)
        with Daemon(beta.instance, beta.daemon.port):
            run_until(beta, "True")
            alpha.cron(2)
        approved(alpha.heard(beta.admin)[1], "2", hide=REAL)
    assert alpha.heard(alpha.admin) == []


@pytest.mark.long
def test_an_old_answer_that_is_said_again_is_reported_and_so_is_its_end(pair, approved):
    alpha, beta = pair
    recorded = []

    def relay(conn, listener):
        asked = hear(conn, listener).split()[1].decode()
        if not recorded:
            recorded.append(beta.daemon.ask(asked)[1])
        if len(listener.heard) <= 3:
            conn.sendall(answer(body=recorded[0]))
        else:
            conn.sendall(answer(body=beta.daemon.ask(asked)[1]))

    with Listener(relay) as between:
        text = alpha.instance.settings.read_text()
        alpha.instance.write(text.replace(beta.daemon.url, between.url()))
        alpha.cron()
        assert alpha.heard(beta.admin) == []
        alpha.cron(2)
        (subject,) = alpha.heard(beta.admin)
        approved(subject, "subject", hide=REAL)
        alpha.cron(2)
        approved(alpha.heard(beta.admin)[1], "2", hide=REAL)
    assert alpha.heard(alpha.admin) == []


# One of them of the older kind: a word alone, and it looks for True in the text.


def as_the_older_program_reads(content):
    text = content.decode("utf-8")
    words = ("True", "MailProblem", "JobProblem")
    return next((word for word in words if word in text), "unexpected")


def test_one_of_the_older_kind_is_understood(tmp_path, approved):
    with SmtpServer(security="none") as server, ExitStack() as stack:
        alpha = side(
            tmp_path / "alpha", "alpha", server.email_section(), server, free_port()
        )
        older = Side("older", alpha.instance, alpha.daemon, server)
        said = [b"True", b"MailProblem", b"JobProblem", b"True"]

        def talk(conn, listener):
            hear(conn, listener)
            conn.sendall(answer(body=said[0]))

        there = stack.enter_context(Listener(talk))
        introduce(alpha, older, there.url("/status"), key="")
        alpha.cron()
        assert alpha.heard(older.admin) == []
        del said[0]
        alpha.cron()
        approved(alpha.heard(older.admin)[0], "1", hide=REAL)
        del said[0], said[0]
        alpha.cron()
        approved(alpha.heard(older.admin)[1], "2", hide=REAL)
        assert b"nonce" not in b"".join(there.heard)


@pytest.mark.long
def test_one_of_the_older_kind_understands_us(pair):
    alpha, beta = pair
    assert as_the_older_program_reads(beta.daemon.ask("/")[1]) == "True"
    stop_cron(alpha)
    beta.account.goes_to(None)
    run_until(beta, "MailProblem")
    assert as_the_older_program_reads(beta.daemon.ask("/")[1]) == "MailProblem"
    assert as_the_older_program_reads(alpha.daemon.ask("/")[1]) == "JobProblem"
