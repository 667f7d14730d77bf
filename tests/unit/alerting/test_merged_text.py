"""Mail about mail, as a person reads it; for folded mails see test_fold.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from lib.alerting import notices
from lib.alerting.planning import Held
from lib.core.enums import MessageKind
from lib.core.jobs import JobKey
from lib.core.messages import Message
from lib.core.ratelimit import Limits

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OPS = ("ops@example.com",)


def test_the_mail_about_mail_deferred_says_until_when_and_by_which_limits(approved):
    until = NOON + timedelta(minutes=35)
    flaps = Message("f", MessageKind.ALERT, "web is failing: 503", "", OPS, NOON)
    held = [
        Held(JobKey("W", "web"), "web", flaps),
        Held(JobKey("D", "disk"), "disk root", replace(flaps, subject="disk is full")),
        Held(JobKey("W", "web"), "web", replace(flaps, subject="web is OK again")),
    ]
    limits = Limits(20, 100)
    message = notices.deferred_message("h", held, until, limits, OPS, NOON, UTC)
    approved(message.subject, "subject")
    approved(message.body, "body")


def test_the_mail_about_a_refused_address_names_it_and_what_it_missed(approved):
    message = notices.rejected_message(
        "r", "gone@example.com", "550 no such user", "disk is full", OPS, NOON
    )
    approved(message.subject)
    assert "disk is full" in message.body
    assert message.kind is MessageKind.NOTE
