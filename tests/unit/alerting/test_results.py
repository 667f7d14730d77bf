"""What a server's answer means for a mail."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from lib.alerting import results
from lib.alerting.results import DeliveryFailure
from lib.core import policy
from tests.support.mailing import message

OPS, GONE, FULL = "ops@example.com", "gone@example.com", "full@example.com"
NO_SUCH_USER, MAILBOX_FULL = "550 5.1.1 no such user", "452 4.2.2 mailbox full"
MINUTE = timedelta(minutes=1)
ALERT = message(to=(OPS, GONE, FULL))


def test_what_all_took_is_gone():
    assert results.after_acceptance(ALERT, {}) == results.AttemptResult(None)


def test_who_is_refused_for_good_never_gets_it_and_who_is_put_off_can_still_get_it():
    attempt_result = results.after_acceptance(
        ALERT, {GONE: NO_SUCH_USER, FULL: MAILBOX_FULL}
    )
    assert attempt_result.left.to == (FULL,)
    assert attempt_result.left.last_error == f"{FULL}: {MAILBOX_FULL}"
    assert attempt_result.dead == {GONE: NO_SUCH_USER}


def test_what_was_put_off_waits_longer_after_each_attempt_but_not_when_shortened():
    now = ALERT.born_at
    tried = policy.attempted(replace(ALERT, attempts=4), now)
    failure = DeliveryFailure("x", "RCPT TO", refused={FULL: MAILBOX_FULL})
    again = results.put_off(results.after_failure(tried, failure), now)
    assert again.left.retry_at - now >= 15 * MINUTE > tried.retry_at - now
    too_long = DeliveryFailure("552 too long", "end of mail", 552, permanent=True)
    short = results.put_off(results.after_failure(tried, too_long), now)
    assert short.left.retry_at is None
    assert results.put_off(results.AttemptResult(None), now).left is None


def test_where_nobody_took_it_those_that_were_only_put_off_can_still_get_it():
    refused = {OPS: "451 4.7.1 greylisted", GONE: NO_SUCH_USER, FULL: MAILBOX_FULL}
    failure = DeliveryFailure(
        "smtp: RCPT TO: ...", "RCPT TO", 451, "4.7.1", refused=refused
    )
    attempt_result = results.after_failure(ALERT, failure)
    assert attempt_result.left.to == (OPS, FULL)
    assert attempt_result.dead == {GONE: NO_SUCH_USER}


def test_where_nobody_will_ever_take_it_nothing_is_left():
    refused = {to: NO_SUCH_USER for to in ALERT.to}
    failure = DeliveryFailure(
        "no", "RCPT TO", 550, "5.1.1", permanent=True, refused=refused
    )
    attempt_result = results.after_failure(ALERT, failure)
    assert (attempt_result.left, set(attempt_result.dead)) == (None, set(ALERT.to))


def test_what_was_not_taken_for_now_stays_with_the_reason():
    attempt_result = results.after_failure(
        ALERT, DeliveryFailure("no route", "connect")
    )
    assert attempt_result.left == replace(ALERT, last_error="no route")


@pytest.mark.parametrize(
    ("answer", "code"), [("552 5.3.4 too big", 552), ("554 5.7.1 spam", 554)]
)
def test_a_mail_that_is_refused_itself_is_cut_down_once_and_then_dead(answer, code):
    long = replace(ALERT, body="ünïcode " * 10_000, subject="ü" * 500)
    failure = DeliveryFailure(answer, "end of mail", code, permanent=True, begun=True)
    attempt_result = results.after_failure(long, failure)
    short = attempt_result.left
    assert short.shortened and short.body.isascii() and short.subject.isascii()
    assert len(short.body) < 2000 and len(short.subject) <= 100
    assert answer in short.body
    assert (short.message_id, short.retry_at) == (long.message_id, None)
    again = results.after_failure(short, failure)
    assert again.left is None
    assert again.content and set(again.dead) == set(ALERT.to)


@pytest.mark.parametrize(
    ("failure", "in_doubt"),
    [
        (DeliveryFailure("hung up", "end of mail", begun=True), True),
        (DeliveryFailure("hung up", "mail text", begun=True), True),
        (DeliveryFailure("the session took too long", begun=True), True),
        (DeliveryFailure("the session took too long"), False),
        (DeliveryFailure("451 not now", "end of mail", 451, begun=True), False),
        (DeliveryFailure("hung up", "DATA", begun=True), False),
        (DeliveryFailure("hung up", "AUTH"), False),
    ],
)
def test_a_mail_is_in_doubt_only_where_the_server_may_have_taken_it(failure, in_doubt):
    assert results.after_failure(ALERT, failure).left.in_doubt is in_doubt


@pytest.mark.parametrize(
    ("failure", "is_about_all"),
    [
        (DeliveryFailure("refused", "connect"), True),
        (DeliveryFailure("451 4.3.0 not now", "end of mail", 451), True),
        (DeliveryFailure("x", "RCPT TO", refused={"a": "451 4.3.0 lookup"}), True),
        (DeliveryFailure("x", "RCPT TO", refused={"a": "452 4.2.2 full"}), False),
        (DeliveryFailure("x", "RCPT TO", refused={"a": "550 5.1.1 no"}), False),
        (
            DeliveryFailure(
                "x",
                "RCPT TO",
                550,
                "5.1.8",
                "550 5.1.8 Sender address rejected",
                refused={"a": "550 5.1.8 Sender address rejected"},
            ),
            True,
        ),
        (DeliveryFailure("554 content", "end of mail", 554, permanent=True), False),
        (DeliveryFailure(results.NOT_YET), False),
    ],
)
def test_an_outage_is_what_may_hold_for_any_mail(failure, is_about_all):
    assert failure.is_about_all is is_about_all


def test_a_later_no_does_not_take_back_an_earlier_yes():
    tried = replace(ALERT, in_doubt=True)
    failure = DeliveryFailure("no route", "connect")
    assert results.after_failure(tried, failure, was_in_doubt=True).left.in_doubt
    assert not results.after_failure(tried, failure).left.in_doubt


@pytest.mark.parametrize(
    ("step", "code", "is_login"),
    [
        ("AUTH", 535, True),
        ("MAIL FROM", 535, True),
        # RFC 4954: not now, not this way, not without TLS; no password is doubted.
        ("AUTH", 454, False),
        ("AUTH", 504, False),
        ("AUTH", None, False),
        ("MAIL FROM", 530, False),
        ("MAIL FROM", 550, False),
        ("connect", None, False),
    ],
)
def test_which_answers_are_about_our_login(step, code, is_login):
    assert DeliveryFailure("no", step, code).is_login is is_login


@pytest.mark.parametrize(
    ("code", "answer", "status", "refused", "is_limit"),
    [
        (550, "550 5.4.5 Daily sending quota exceeded", "5.4.5", {}, True),
        (421, "421 4.7.28 unusual rate of mail", "4.7.28", {}, True),
        (450, "450 too many messages from you", "", {}, True),
        (451, "451 4.7.1 greylisted, come back", "4.7.1", {}, False),
        (451, "451 4.3.0 not now", "4.3.0", {}, False),
        (452, "452 4.2.2 over quota", "4.2.2", {OPS: "452 4.2.2 over quota"}, False),
        (452, "452 4.2.2 over quota", "4.2.2", {}, False),
        (552, "552 5.2.3 size limit", "5.2.3", {}, False),
        (None, "no route, rate, limit", "", {}, False),
    ],
)
def test_which_answers_say_that_the_server_has_had_too_much(
    code, answer, status, refused, is_limit
):
    failure = DeliveryFailure(
        "no", "end of mail", code, status, answer, refused=refused
    )
    assert failure.is_limit is is_limit


def test_a_host_named_relay_with_a_limit_in_its_remedy_says_nothing_about_us():
    why = "relay.example:25: MAIL FROM: 451 not now; the rate limit lifts"
    failure = DeliveryFailure(why, "MAIL FROM", 451, answer="451 not now")
    assert not failure.is_about_us and not failure.is_limit
    assert replace(failure, answer="451 relay denied").is_about_us
