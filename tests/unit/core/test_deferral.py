"""Why a mail that is owed has not left: each reason, with when it may leave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from msgspec.structs import replace

from lib.core import deferral, ratelimit
from lib.core.enums import DeferralCode, MessageKind
from lib.core.jobs import JobKey
from lib.core.messages import Bundle
from lib.core.ratelimit import NotifiedJob, SendLog, TimedName
from lib.core.records import Record
from lib.core.text import mail_time
from tests.support.mailing import message

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
in_utc = partial(mail_time, zone=UTC)
MINUTE = timedelta(minutes=1)
SOON = NOON + 3 * MINUTE
OPS = ("ops@example.com",)
MAIL = replace(message(), kind=MessageKind.ALERT, to=OPS)
ROUND_TRIP = replace(MAIL, kind=MessageKind.ROUND_TRIP)
REMINDER = replace(MAIL, kind=MessageKind.REMINDER)
TRIED = replace(MAIL, attempts=2, retry_at=SOON, last_error="451 later\nmore")
NOBODY = SendLog()
OUTAGE = ratelimit.after_failure(NOBODY, "connection refused", SOON - MINUTE)
FLAP = JobKey("X", "flap")
NOISY = (NotifiedJob(FLAP, NOON),)
FULL = SendLog(limited_until=SOON, notified=NOISY)
QUIET = SendLog(bundles=(TimedName("ops@example.com", NOON - timedelta(minutes=2)),))


def why(mail, bundle, send_log):
    record = Record(FLAP, queued=(mail,))
    found = deferral.why_deferred(record, mail, bundle, send_log, NOON)
    return deferral.words(found, in_utc)


@pytest.mark.parametrize(
    ("mail", "send_log"),
    [
        (MAIL, NOBODY),
        (TRIED, NOBODY),
        (MAIL, SendLog(held_until=SOON)),
        (MAIL, SendLog(refused_logins=(NOON - timedelta(minutes=57),) * 4)),
        (MAIL, QUIET),
        (MAIL, FULL),
        (MAIL, replace(FULL, notified=())),
        (REMINDER, FULL),
        (replace(MAIL, to=("boss@example.com",)), QUIET),
        (ROUND_TRIP, QUIET),
        (ROUND_TRIP, FULL),
        (MAIL, SendLog(limited_until=NOON)),
        (MAIL, OUTAGE),
    ],
    ids=(
        "nothing, tried before, server, login, quiet, full, full and first,"
        " full and reminder, other people,"
        " probe while quiet, probe while full, full until now, outage"
    ).split(", "),
)
def test_a_mail_says_what_it_waits_for(mail, send_log, approved):
    approved(why(mail, None, send_log).replace("2026-11-22 12:03 UTC", "TIME"))


def test_a_part_of_a_bundle_waits_with_it(approved):
    bundle = Bundle(replace(TRIED, subject="8 failing"), (MAIL.message_id,))
    approved(why(MAIL, bundle, NOBODY))


def test_the_oldest_are_listed_with_their_job_and_round_trip_mails_are_not():
    def queued(name, minutes, mail=MAIL):
        at = NOON - timedelta(minutes=minutes)
        mail = replace(mail, message_id=name, born_at=at)
        return Record(JobKey("X", name), f"job {name}", queued=(mail,))

    limited = replace(FULL, notified=(NotifiedJob(JobKey("X", "old"), NOON),))
    records = [
        queued("new", 1),
        queued("old", 30),
        queued("probe", 60, ROUND_TRIP),
        *(queued(f"n{number}", 5) for number in range(deferral.MAX_LISTED)),
    ]
    left = deferral.deferred(records, (), limited, NOON)
    assert left.count == deferral.MAX_LISTED + 2
    assert left.stuck == 1
    assert len(left.messages) == deferral.MAX_LISTED
    oldest = left.messages[0]
    assert (oldest.job, oldest.since) == ("job old", NOON - timedelta(minutes=30))
    assert (oldest.why.code, oldest.why.until) == (DeferralCode.RATE_LIMIT, SOON)
    assert deferral.deferred([queued("probe", 60, ROUND_TRIP)], (), FULL, NOON) == (
        deferral.Deferred()
    )
