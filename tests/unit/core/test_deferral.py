"""Why a mail that is owed has not left: each reason, with when it may leave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from msgspec.structs import replace

from lib.core.enums import MessageKind
from lib.core.messages import Bundle
from lib.core.ratelimit import SendLog, TimedName, why_deferred
from lib.core.text import mail_time
from tests.support.mailing import message

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
in_utc = partial(mail_time, zone=UTC)
SOON = NOON + timedelta(minutes=3)
MAIL = replace(message(), to=("ops@example.com",))
ROUND_TRIP = replace(MAIL, kind=MessageKind.ROUND_TRIP)
TRIED = replace(MAIL, attempts=2, retry_at=SOON, last_error="451 later\nmore")
NOBODY = SendLog()
FULL = SendLog(limited_until=SOON)
QUIET = SendLog(bundles=(TimedName("ops@example.com", NOON - timedelta(minutes=2)),))


@pytest.mark.parametrize(
    ("mail", "send_log"),
    [
        (MAIL, NOBODY),
        (TRIED, NOBODY),
        (MAIL, SendLog(held_until=SOON)),
        (MAIL, SendLog(refused_logins=(NOON - timedelta(minutes=57),) * 4)),
        (MAIL, QUIET),
        (MAIL, FULL),
        (replace(MAIL, to=("boss@example.com",)), QUIET),
        (ROUND_TRIP, QUIET),
        (ROUND_TRIP, FULL),
        (MAIL, SendLog(limited_until=NOON)),
    ],
    ids=(
        "nothing, tried before, server, login, quiet, full, other people,"
        " probe while quiet, probe while full, full until now"
    ).split(", "),
)
def test_a_mail_says_what_it_waits_for(mail, send_log, approved):
    approved(
        (
            why_deferred(mail, None, send_log, NOON, in_utc).replace(
                "2026-11-22 12:03 UTC", "TIME"
            )
        )
    )


def test_a_part_of_a_bundle_waits_with_it(approved):
    bundle = Bundle(replace(TRIED, subject="8 failing"), (MAIL.message_id,))
    approved(why_deferred(MAIL, bundle, NOBODY, NOON, in_utc))
