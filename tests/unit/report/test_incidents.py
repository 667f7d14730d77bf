"""Incidents: when they begin and end, and which messages are about which."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from msgspec.structs import replace

from lib.core.decisions import Entry, Event, MailDetails, People
from lib.core.enums import Decision, DeliveryResult, MessageKind, Status
from lib.core.jobs import OWN_KEY, JobKey
from lib.core.records import Record
from lib.core.text import table_time
from lib.report.incidents import incidents, with_sendings
from lib.storage.history import Change

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY, OTHER = JobKey("Own", "a"), JobKey("Own", "b")
TIME_TEXT = partial(table_time, zone=UTC, now=NOON)
STATUSES = {
    "o": Status.OK,
    "w": Status.WARNING,
    "f": Status.FAILING,
    "u": Status.UNKNOWN,
    "p": Status.PENDING,
}


def at(minutes):
    return NOON + timedelta(minutes=minutes)


def changes(letters, key=KEY, before=None, code=""):
    found = []
    for minute, letter in enumerate(letters):
        status = STATUSES[letter]
        moment = at(minute).timestamp()
        found.append(Change(key, moment, status, code, f"why {minute}", before))
        before = status
    return found


def told(those):
    return [
        (
            one.status.value,
            (one.began_at - NOON) // timedelta(minutes=1),
            one.ended_at and (one.ended_at - NOON) // timedelta(minutes=1),
            one.reason,
        )
        for one in those
    ]


def test_an_incident_lasts_from_the_first_bad_result_to_the_next_that_is_ok():
    assert told(incidents(changes("offo"))) == [("failing", 1, 3, "why 1")]
    assert told(incidents(changes("owfwo"))) == [("failing", 1, 4, "why 2")]
    assert told(incidents(changes("ofpfo"))) == [("failing", 1, 4, "why 1")]
    assert told(incidents(changes("of"))) == [("failing", 1, None, "why 1")]
    assert incidents(changes("opo")) == []


@pytest.mark.parametrize(
    ("letters", "code", "more", "shown"),
    [
        ("ff", "unreachable", "", "unreachable"),
        ("ff", "blind", "", "blind"),
        ("ff", "unreachable", "o", "failing"),
        ("wf", "unreachable", "o", "warning"),
        ("wf", "unreachable", "f", "failing"),
    ],
)
def test_what_is_out_of_reach_now_is_shown_as_that_and_judged_when_over(
    letters, code, more, shown
):
    first, second, *rest = changes(letters + more)
    (found,) = incidents([first, second._replace(code=code), *rest])
    assert (found.began_at, found.shown_status) == (at(0), shown)


def test_one_that_nothing_judged_is_unreachable_when_it_is_over_too():
    (found,) = incidents([*changes("f", code="unreachable"), *changes("oo")[1:]])
    assert (found.shown_status, found.ended_at) == ("unreachable", at(1))


def test_how_a_job_is_now_its_record_says_first():
    record = Record(
        KEY, "a", Status.FAILING, failing_since=at(0), held=Decision.UNREACHABLE
    )
    (found,) = incidents(changes("f"), {KEY: record})
    assert found.shown_status == "unreachable"


def test_the_latest_comes_first_and_jobs_are_kept_apart():
    those = [*changes("ofofo"), *changes("ooow", OTHER)]
    found = incidents(sorted(those, key=lambda change: change.at))
    assert told(found) == [
        ("warning", 3, None, "why 3"),
        ("failing", 3, 4, "why 3"),
        ("failing", 1, 2, "why 1"),
    ]


def test_one_that_began_before_what_is_on_record_says_so():
    (found,) = incidents(changes("uo", before=Status.FAILING))
    assert found.began_before
    (found,) = incidents(changes("uo", before=Status.OK))
    assert not found.began_before


def test_one_of_a_job_that_was_removed_is_over():
    removed = {KEY: at(7).timestamp()}
    assert told(incidents(changes("of"), removed=removed)) == [
        ("failing", 1, 7, "why 1")
    ]
    assert told(incidents(changes("ofo"), removed=removed)) == [
        ("failing", 1, 2, "why 1")
    ]


def test_what_is_not_ok_now_is_an_incident_without_any_history():
    record = Record(KEY, "a", Status.FAILING, failing_since=NOON, last_reason="no")
    own = Record(OWN_KEY, "", Status.FAILING, failing_since=NOON)
    assert told(incidents([], {KEY: record, OWN_KEY: own})) == [
        ("failing", 0, None, "no")
    ]
    assert told(incidents(changes("of"), {KEY: record})) == [
        ("failing", 1, None, "why 1")
    ]


def test_one_that_has_not_recovered_for_good_lasts_under_the_moment_it_began():
    record = Record(
        KEY, "a", Status.FAILING, failing_since=at(1), first_bad_at=at(1), recovering=1
    )
    found = incidents(changes("ofo"), {KEY: record})
    assert told(found) == [("failing", 1, None, "")]


def mail(minute, code, number="1", to=("ops@example.com",), key=KEY):
    details = MailDetails(number, MessageKind.ALERT, People(to), "it fails")
    return Entry(at(minute), key, "a", code, details)


def test_each_message_is_told_once_with_what_became_of_it_last():
    entries = [
        mail(1, Event.QUEUED),
        mail(2, Event.FAILED),
        mail(3, Event.SENT),
        mail(5, Event.QUEUED, "2"),
        mail(5, Event.SENT, "2", to=("oncall",)),
        mail(5, Event.SENT, "3", key=OTHER),
    ]
    later, earlier = with_sendings(
        incidents(changes("ofoof")), entries, TIME_TEXT, at(4)
    )
    assert [one.code for one in earlier.sendings] == [Event.SENT]
    assert earlier.sendings[0].proved_at == at(4)
    assert "alert to ops@example.com was sent" in earlier.sendings[0].words
    assert {one.code for one in later.sendings} == {Event.QUEUED, Event.SENT}


def test_a_mail_after_the_last_proof_and_a_channel_are_not_proved_to_arrive():
    entries = [mail(1, Event.SENT), mail(1, Event.SENT, "2", to=("oncall",))]
    (found,) = with_sendings(incidents(changes("of")), entries, TIME_TEXT, at(0))
    assert [one.proved_at for one in found.sendings] == [None, None]
    (found,) = with_sendings(incidents(changes("of")), entries, TIME_TEXT, at(9))
    assert [one.proved_at for one in found.sendings] == [at(9), None]


@pytest.mark.parametrize("code", [Event.LOGGED, Event.BUNDLED])
def test_what_was_only_logged_is_not_proved_to_arrive(code):
    entry = mail(1, code)
    details = replace(entry.details, into_delivery=DeliveryResult.LOGGED)
    entries = [replace(entry, details=details)]
    (found,) = with_sendings(incidents(changes("of")), entries, TIME_TEXT, at(9))
    (sending,) = found.sendings
    assert sending.proved_at is None
    assert "was logged, not mailed (nomail)" in sending.words


def test_a_recovery_after_its_end_is_about_the_incident_that_is_over():
    entries = [mail(1, Event.SENT), mail(2, Event.SENT, "2")]
    (found,) = with_sendings(incidents(changes("ofo")), entries, TIME_TEXT)
    assert len(found.sendings) == 2
