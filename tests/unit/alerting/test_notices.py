"""What Checker says of mail itself: told with values, and never in a loop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from lib.alerting import notices
from lib.alerting.planning import Held
from lib.alerting.results import AttemptResult, DeliveryFailure
from lib.core import ratelimit
from lib.core.jobs import JobKey
from lib.core.ratelimit import Limits, SendLog
from tests.support.mailing import message

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OPS, BOSS, GONE = "ops@example.com", "boss@example.com", "gone@example.com"
NO = "550 5.1.1 no such user"


def refused(one, *addresses, send_log=SendLog(), contact=(OPS,)):  # noqa: B008
    attempt_result = AttemptResult(None, {address: NO for address in addresses})
    return notices.rejection_notices(send_log, one, attempt_result, contact, NOON)


def test_the_others_who_got_the_mail_are_notified_or_else_the_contact():
    _, (note,) = refused(message(to=(GONE, BOSS)), GONE)
    assert note.to == (BOSS,)
    _, (note,) = refused(message(to=(GONE,)), GONE)
    assert note.to == (OPS,)


def test_nobody_is_notified_where_all_who_could_be_are_refused():
    assert refused(message(to=(OPS,)), OPS) == (SendLog(), [])
    assert refused(message(to=(GONE, OPS)), GONE, OPS) == (SendLog(), [])


def test_an_address_is_reported_once_a_day():
    send_log, (_note,) = refused(message(to=(GONE,)), GONE)
    assert refused(message(to=(GONE,)), GONE, send_log=send_log) == (send_log, [])
    tomorrow = ratelimit.settled(send_log, NOON + timedelta(days=1))
    assert len(refused(message(to=(GONE,)), GONE, send_log=tomorrow)[1]) == 1


def test_two_dead_addresses_never_mail_each_other_about_it():
    send_log, (first,) = refused(message(to=(GONE,)), GONE, contact=(OPS, BOSS))
    assert first.to == (OPS, BOSS)
    send_log, (second,) = refused(first, OPS, send_log=send_log, contact=(OPS, BOSS))
    assert second.to == (BOSS,)
    assert refused(second, BOSS, send_log=send_log, contact=(OPS, BOSS)) == (
        send_log,
        [],
    )


def held(*names):
    return [Held(JobKey("X", name), name, message(to=(OPS,))) for name in names]


def notes(minutes):
    """Return the jobs that the note of each minute lists, where these are deferred."""
    send_log, found = SendLog(), []
    for minute, names in minutes.items():
        now = NOON + timedelta(minutes=minute)
        send_log, note = notices.deferral_note(
            send_log, Limits(5, 100), held(*names), (OPS,), now, UTC
        )
        listed = note.body.split("\n\n")[1] if note else ""
        found.append("".join(name for name in "abc" if f"    {name}: " in listed))
    return found


def test_what_is_deferred_is_listed_each_hour_and_when_another_job_joins():
    assert notes({0: "a", 1: "aa", 59: "a", 60: "a"}) == ["a", "", "", "a"]
    assert notes({0: "a", 1: "ab", 4: "ab", 5: "ab", 6: "a"}) == ["a", "", "", "ab", ""]
    assert notes({0: "ab", 10: "b", 20: "a"}) == ["ab", "", ""]


def test_a_session_whose_login_is_refused_counts_once():
    login = DeliveryFailure("535 no", "AUTH", 535)
    send_log, lines = notices.after_session(SendLog(), [login, login, login], NOON)
    assert (send_log.refused_logins, lines) == ((NOON,), [notices.LOGIN_REFUSED])


def test_a_limit_of_the_server_holds_all_mail_for_an_hour():
    limit = DeliveryFailure("550 5.4.5 quota", "end of mail", 550, "5.4.5")
    send_log, lines = notices.after_session(SendLog(), [limit], NOON)
    assert send_log == replace(SendLog(), held_until=NOON + timedelta(hours=1))
    assert lines == [notices.RATE_LIMITED]


def test_what_is_about_one_mail_teaches_nothing():
    failure = DeliveryFailure("451 4.3.0 not now", "end of mail", 451, "4.3.0")
    assert notices.after_session(SendLog(), [failure], NOON) == (SendLog(), [])
