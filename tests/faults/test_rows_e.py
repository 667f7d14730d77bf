"""Rows E1, E2, E4, E5, E18: mail servers that are away, slow, or drop the line.

The clock of a run is another where time has to pass; the servers are real ones.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from dataclasses import dataclass

import pytest

from tests.faults.mailed import (
    ALERT,
    GOOD,
    HOUR,
    SECOND,
    account,
    failing,
    mails_heard,
    move_to,
    queued,
)
from tests.faults.rows import CALM, cron_at, subjects
from tests.faults.table import measured
from tests.support.instance import Instance
from tests.support.listeners import closed_port
from tests.support.servers import SMTP_TALK, SmtpStub, server_context, smtp_talk_until

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
    kept = len(queued(patient.instance)) == 2
    return patient.code == 0 and patient.seconds < 55 and judged and kept


@pytest.mark.long
@pytest.mark.fault("E1", "packets to the server are dropped")
def test_e1_where_packets_are_dropped_the_run_ends_and_the_mail_is_kept(patients):
    patient = patients["deaf"]
    assert is_bounded(patient)
    assert re.search("connect: no answer within|session took too long", patient.err)
    measured(f"{patient.seconds:.0f} s at most")


@pytest.mark.long
@pytest.mark.fault("E1", "the server refuses connections")
def test_e1_a_refused_mail_is_tried_again_later_and_later(tmp_path, smtp, cafile):
    port = closed_port()
    instance = failing(tmp_path / "it", account(port, cafile))
    attempts = []
    for seconds in (0, 30, 60, 120):
        ran = cron_at(instance, seconds * SECOND)
        assert ran.code == 0
        assert ("connection refused" in ran.err) == (seconds in (0, 60))
        attempts.append(queued(instance)[0]["attempts"])
    assert attempts == [1, 1, 2, 2]
    move_to(instance, port, smtp.port)
    assert cron_at(instance, 200 * SECOND).silent
    assert subjects(smtp) == [ALERT]


@pytest.mark.long
@pytest.mark.fault("E2", "accepts and stays silent")
def test_e2_a_silent_server_costs_a_run_its_time_and_no_more(patients):
    assert is_bounded(patients["silent"])
    words = "greeting: no answer within|session took too long"
    assert re.search(words, patients["silent"].err)
    measured(f"{patients['silent'].seconds:.0f} s at most")


@pytest.mark.long
@pytest.mark.fault("E2", "a banner of one byte per second")
def test_e2_a_banner_that_drips_costs_a_run_its_time_and_no_more(patients):
    assert is_bounded(patients["dripping"])
    measured(f"{patients['dripping'].seconds:.0f} s at most")


@pytest.mark.long
@pytest.mark.fault("E18", "250 comes five minutes late")
def test_e18_a_mail_whose_250_is_late_is_in_doubt_and_comes_as_the_same_mail(patients):
    patient = patients["late"]
    assert is_bounded(patient)
    assert [one.get("in_doubt") for one in queued(patient.instance)].count(True) == 1
    cron_at(patient.instance, 120 * SECOND)
    first, *others = mails_heard(patient.stub)
    # The other mail goes first.
    assert others.index(first) == 1


# Servers that drop.


@pytest.mark.long
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
            assert queued(instance)[0]["attempts"] == number + 1
            instance.let_time_pass_for_mails()
        assert instance.cron().silent
        assert instance.cron().silent
    assert stub.connections == len(scripts) + 1
    assert len(mails_heard(stub)) == 1
    measured(f"{len(scripts)} steps")


@pytest.mark.fault("E5", "drops after the final dot, before 250")
def test_e5_a_drop_after_the_final_dot_repeats_the_mail_with_the_same_message_id(
    tmp_path, ca, cafile
):
    dropping = smtp_talk_until("end of mail")
    with SmtpStub([dropping, GOOD], context=server_context(ca)) as stub:
        instance = failing(tmp_path / "it", account(stub.port, cafile))
        assert "1 mail not sent" in instance.cron().err
        assert cron_at(instance, 70 * SECOND).silent
        assert cron_at(instance, HOUR).silent
    first, again = mails_heard(stub)
    assert any(line.startswith(b"Message-ID: <") for line in first)
    assert first == again
