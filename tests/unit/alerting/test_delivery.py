"""Sessions, with real servers: what is handed over, and what became of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from lib.alerting import delivery
from lib.alerting.delivery import Outbox, Sent, Unsent
from lib.alerting.planning import Accounts
from lib.alerting.queue import Envelope
from lib.alerting.results import DeliveryFailure, after_failure
from lib.core.enums import MessageKind
from lib.core.messages import Message
from lib.system import process
from tests.support.mailing import settings_for
from tests.support.servers import SmtpStub, server_context, smtp_talk_until
from tests.support.waits import SOON_S

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def message(name, to=("ops@example.com",)):
    return Message(name * 8, MessageKind.ALERT, f"subject {name}", "body", to, NOON)


def envelope(key, name, *ids):
    one = message(name)
    return Envelope(one, ids or (one.message_id,), key, NOON)


def events(box, limit_s=10):
    """Return all that becomes of a session's parcels."""
    found = []
    ends_at = time.monotonic() + limit_s
    while box.is_busy and time.monotonic() < ends_at:
        process.wait(box.children, 0.2)
        found += box.events()
    assert not box.is_busy
    return found


def test_a_session_takes_many_mails(smtp, cafile):
    box = Outbox(settings_for(smtp.port, cafile))
    batch = [envelope(f"k{name}", name) for name in "abc"]
    box.start(batch, 10)
    assert events(box) == [Sent(one) for one in batch]
    assert (smtp.sessions, box.sent) == (1, 3)


def test_after_one_that_was_refused_the_younger_ones_of_its_job_wait(smtp, cafile):
    smtp.answer_data = lambda mail: "554 no" if "subject a" in mail.subject else None
    box = Outbox(settings_for(smtp.port, cafile))
    box.start([envelope("x", "a"), envelope("x", "b"), envelope("y", "c")], 10)
    first, second, third = events(box)
    assert (first.failure.code, first.failure.step) == (554, "end of mail")
    assert first.failure.permanent
    assert second.failure == DeliveryFailure(
        "an earlier mail of this job must be sent first"
    )
    assert isinstance(third, Sent)


def test_what_was_said_to_each_recipient_is_reported(smtp, cafile):
    smtp.answer_rcpt = lambda to: "550 5.1.1 no"
    box = Outbox(settings_for(smtp.port, cafile))
    box.start([envelope("x", "a")], 10)
    (lost,) = events(box)
    assert lost.failure.refused == {"ops@example.com": "550 5.1.1 no"}
    assert (lost.failure.status, lost.failure.in_doubt) == ("5.1.1", False)


def test_a_refused_login_is_the_refusal_of_each_and_none_is_in_doubt(smtp, cafile):
    smtp.password = "another"
    box = Outbox(settings_for(smtp.port, cafile))
    box.start([envelope("x", "a"), envelope("y", "b")], 10)
    lost = events(box)
    assert [one.failure.is_login for one in lost] == [True, True]
    assert [one.failure.in_doubt for one in lost] == [False, False]


def test_a_server_that_says_nothing_costs_the_session_its_time_and_no_more(cafile):
    with SmtpStub("wait 60") as stub:
        box = Outbox(settings_for(stub.port, cafile))
        started = time.monotonic()
        box.start([envelope("x", "a")], 1.5)
        (lost,) = events(box)
    assert isinstance(lost, Unsent)
    assert not lost.failure.in_doubt
    assert time.monotonic() - started < SOON_S


def test_a_server_that_drips_is_ended_by_killing_the_session(cafile):
    with SmtpStub(
        "drip 0.2 220 hello there" + ", this is a long greeting" * 20
    ) as stub:
        box = Outbox(settings_for(stub.port, cafile))
        box.start([envelope("x", "a")], 1)
        started = time.monotonic()
        (lost,) = events(box)
    assert isinstance(lost, Unsent)
    assert time.monotonic() - started < SOON_S


def test_envelopes_a_broken_session_did_not_reach_are_unsent(cafile, ca):
    script = smtp_talk_until("DATA", instead="drop")
    with SmtpStub(script, context=server_context(ca)) as stub:
        box = Outbox(settings_for(stub.port, cafile))
        box.start([envelope("x", "a"), envelope("y", "b")], 10)
        lost = events(box)
    assert [type(one) for one in lost] == [Unsent, Unsent]
    assert [one.failure.in_doubt for one in lost] == [False, False]
    assert box.sent == 0


def test_a_mail_whose_answer_never_came_is_in_doubt_and_the_next_is_not(cafile, ca):
    script = smtp_talk_until("end of mail", instead="drop")
    with SmtpStub(script, context=server_context(ca)) as stub:
        box = Outbox(settings_for(stub.port, cafile))
        box.start([envelope("x", "a"), envelope("y", "b")], 10)
        lost = events(box)
    assert [one.failure.in_doubt for one in lost] == [True, False]


def talk(*steps):
    """Return the script of a session in which these steps follow the login."""
    login = smtp_talk_until("MAIL", "").removesuffix("\nhear MAIL\n")
    return "\n".join([login, *steps])


TAKEN = (
    "hear MAIL\nsend 250 ok\nhear RCPT\nsend 250 ok\nhear DATA\nsend 354 go\nbody\n"
    "send 250 taken"
)
REFUSED = TAKEN.replace("250 taken", "554 5.6.0 not this one")
NOBODY = "hear MAIL\nsend 250 ok\nhear RCPT\nsend 550 5.1.1 no such user"


@pytest.mark.parametrize("hangs_up", ["drop", "reset", "hear RSET\nsend 421 bye"])
@pytest.mark.parametrize("refused", [REFUSED, NOBODY], ids=["mail", "recipient"])
def test_after_a_refusal_that_ends_the_session_the_others_go_in_a_new_one(
    cafile, ca, refused, hangs_up
):
    scripts = [
        talk(refused, hangs_up),
        talk(TAKEN, refused, hangs_up),
        talk(TAKEN, "hear QUIT"),
    ]
    with SmtpStub(scripts, context=server_context(ca)) as stub:
        box = Outbox(settings_for(stub.port, cafile))
        box.start([envelope(f"k{name}", name) for name in "abcd"], 20)
        found = events(box, 20)
    assert [type(one) for one in found] == [Unsent, Sent, Unsent, Sent]
    assert {one.failure.code for one in found if isinstance(one, Unsent)} <= {550, 554}
    assert (stub.connections, stub.surprises, box.sent) == (3, [], 2)


@pytest.mark.parametrize("step", ["RCPT", "DATA", "end of mail"])
def test_after_a_mail_at_which_the_server_says_421_the_others_go_in_a_new_session(
    cafile, ca, step
):
    bye = smtp_talk_until(step, "send 421 4.3.2 not this one\ndrop")
    scripts = [bye, talk(TAKEN, TAKEN, "hear QUIT")]
    with SmtpStub(scripts, context=server_context(ca)) as stub:
        box = Outbox(settings_for(stub.port, cafile))
        box.start([envelope(f"k{name}", name) for name in "abc"], 20)
        found = events(box, 20)
    assert [type(one) for one in found] == [Unsent, Sent, Sent]
    assert (found[0].failure.code, found[0].failure.in_doubt) == (421, False)
    assert (stub.connections, stub.surprises) == (2, [])


@pytest.mark.parametrize("how", ["send 421 4.7.0 too many messages", "drop"])
def test_the_mail_that_is_one_too_many_for_a_session_goes_in_the_next(cafile, ca, how):
    scripts = [talk(TAKEN, "hear MAIL", how), talk(TAKEN, "hear QUIT")]
    with SmtpStub(scripts, context=server_context(ca)) as stub:
        box = Outbox(settings_for(stub.port, cafile))
        box.start([envelope("x", "a"), envelope("y", "b")], 20)
        assert [type(one) for one in events(box, 20)] == [Sent, Sent]
    assert stub.connections == 2


@pytest.mark.parametrize(
    "how", ["send 421 4.3.2 shutting down", "send 451 4.7.1 rate limit exceeded\ndrop"]
)
def test_a_server_that_wants_no_mail_now_gets_one_session(cafile, ca, how):
    with SmtpStub(talk("hear MAIL", how), context=server_context(ca)) as stub:
        box = Outbox(settings_for(stub.port, cafile))
        box.start([envelope("x", "a"), envelope("y", "b")], 20)
        lost = events(box, 20)
    assert [one.failure.code for one in lost] == [int(how[5:8])] * 2
    assert stub.connections == 1


def test_a_server_that_refuses_each_mail_and_hangs_up_gets_so_many_sessions(cafile, ca):
    with SmtpStub(talk(NOBODY, "drop"), context=server_context(ca)) as stub:
        box = Outbox(settings_for(stub.port, cafile))
        box.start([envelope(f"k{name}", name) for name in "abcdefghijkl"], 20)
        lost = events(box, 20)
    assert [one.failure.code for one in lost] == [550] * 10 + [None] * 2
    assert {one.failure.why for one in lost[10:]} == {delivery.SESSION_ENDED}
    assert not any(one.failure.in_doubt for one in lost)
    assert stub.connections == 10


@pytest.mark.parametrize(
    "nobody", [NOBODY, NOBODY.replace("550 5.1.1 no such user", "450 4.2.0 not now")]
)
@pytest.mark.parametrize(
    "ends", ["drop", "hear RCPT\nsend 421 4.7.0 mx Error: too many errors\ndrop"]
)
def test_a_server_that_ends_the_session_after_one_refused_recipient_leaves_the_other(
    cafile, ca, ends, nobody
):
    scripts = [talk(nobody, ends), talk(TAKEN, TAKEN, "hear QUIT")]
    with SmtpStub(scripts, context=server_context(ca)) as stub:
        box = Outbox(settings_for(stub.port, cafile))
        one = message("a", ("gone@example.com", "ops@example.com"))
        both = [Envelope(one, (one.message_id,), "x", NOON), envelope("y", "b")]
        box.start(both, 20)
        sent, other = events(box, 20)
    assert sent.refused == {"gone@example.com": nobody.rpartition("send ")[2]}
    assert isinstance(other, Sent)
    assert (stub.connections, stub.surprises) == (2, [])
    assert [line for line in stub.heard if b"gone@" in line and b"rcpt" in line.lower()]


def test_where_each_recipient_ends_the_session_all_are_reported(cafile, ca):
    with SmtpStub(talk(NOBODY, "drop"), context=server_context(ca)) as stub:
        box = Outbox(settings_for(stub.port, cafile))
        one = message("a", ("gone@example.com", "ops@example.com"))
        box.start([Envelope(one, (one.message_id,), "x", NOON)], 20)
        (lost,) = events(box, 20)
    assert lost.failure.refused == dict.fromkeys(one.to, "550 5.1.1 no such user")


LATER = "hear MAIL\nsend 250 ok\nhear RCPT\nsend 450 4.2.0 not now"


@pytest.mark.parametrize(
    ("nobody", "then"),
    [
        (NOBODY, "drop"),
        (NOBODY, "send 421 4.7.0 too many connections"),
        (NOBODY, smtp_talk_until("MAIL", "send 421 4.7.0 too many connections")),
        (NOBODY, "hush"),
        (LATER, "drop"),
    ],
)
def test_what_a_recipient_was_told_is_known_if_no_other_session_follows(
    cafile, ca, nobody, then
):
    scripts = [talk(nobody, "drop"), then]
    with SmtpStub(scripts, context=server_context(ca)) as stub:
        box = Outbox(settings_for(stub.port, cafile))
        one = message("a", ("gone@example.com", "ops@example.com"))
        box.start([Envelope(one, (one.message_id,), "x", NOON)], 4)
        (lost,) = events(box, 8)
    assert lost.failure.refused == {"gone@example.com": nobody.rpartition("send ")[2]}
    assert not lost.failure.in_doubt
    left = after_failure(one, lost.failure)
    assert ("gone@example.com" in left.dead) == (nobody is NOBODY)
    assert "ops@example.com" in left.left.to


def test_of_more_recipients_than_sessions_the_others_are_asked_next_time(cafile, ca):
    with SmtpStub(talk(NOBODY, "drop"), context=server_context(ca)) as stub:
        box = Outbox(settings_for(stub.port, cafile))
        one = message("a", tuple(f"gone{n}@example.com" for n in range(12)))
        box.start([Envelope(one, (one.message_id,), "x", NOON)], 20)
        (lost,) = events(box, 20)
    assert len(lost.failure.refused) == 10
    assert after_failure(one, lost.failure).left.to == one.to[10:]


def test_a_mail_that_is_rejected_is_so_also_where_a_recipient_was_before(cafile, ca):
    scripts = [talk(LATER, "drop"), talk(REFUSED, "hear QUIT")]
    with SmtpStub(scripts, context=server_context(ca)) as stub:
        box = Outbox(settings_for(stub.port, cafile))
        one = message("a", ("later@example.com", "ops@example.com"))
        box.start([Envelope(one, (one.message_id,), "x", NOON)], 20)
        (lost,) = events(box, 20)
    assert after_failure(one, lost.failure).left.shortened


def test_what_the_first_account_was_told_is_not_said_of_the_second(cafile, ca):
    dead = talk(NOBODY, "drop")
    with (
        SmtpStub([dead, "drop"], context=server_context(ca)) as first,
        SmtpStub("drop", context=server_context(ca)) as second,
    ):
        settings = settings_for(first.port, cafile)
        backup = settings_for(second.port, cafile).mail
        box = Outbox(settings)
        one = message("a", ("gone@example.com", "ops@example.com"))
        batch = [Envelope(one, (one.message_id,), "x", NOON)]
        box.start(batch, 20, Accounts(backup))
        *_failed, lost = events(box, 20)
    assert (lost.by_backup, lost.failure.refused) == (True, {})


def test_a_session_that_is_stopped_leaves_its_mails_queued(cafile, approved):
    with SmtpStub("wait 60") as stub:
        box = Outbox(settings_for(stub.port, cafile))
        box.start([envelope("x", "a")], 30)
        (lost,) = box.stop()
    approved(lost.failure.why)
    assert not box.is_busy


def test_a_mail_for_a_person_who_waits_tells_each_step(smtp, cafile):
    steps = []
    why = delivery.send_now(settings_for(smtp.port, cafile), message("a"), steps.append)
    assert why == ""
    assert any("STARTTLS" in step for step in steps)
    assert len(smtp.wait_for(1)) == 1


def test_a_mail_for_a_person_who_waits_says_why_it_was_not_taken(smtp, cafile):
    smtp.answer_data = lambda mail: "451 4.3.0 not now"
    settings = settings_for(smtp.port, cafile)
    assert "451 4.3.0 not now" in delivery.send_now(settings, message("a"), print, 5)


def test_unsent_mails_are_explained_in_a_line_per_reason(approved):
    lost = [Unsent(envelope("x", "a"), DeliveryFailure("no route")) for _ in range(3)]
    lost.append(Unsent(envelope(None, "b", "c", "d"), DeliveryFailure("550 no")))
    first, second = delivery.failure_lines(lost, UTC)
    approved(first, "first")
    approved(second, "second")


def test_a_rejected_mail_is_not_said_to_be_tried_again(approved):
    lost = [Unsent(envelope("x", "a"), DeliveryFailure("550 no", permanent=True))]
    approved(list(delivery.failure_lines(lost, UTC, is_queued=False)))
