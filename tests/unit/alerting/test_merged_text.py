"""Mail about mail, as a person reads it; for folded mails see test_fold.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lib.alerting import notices
from lib.core.enums import MessageKind

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OPS = ("ops@example.com",)


def test_the_mail_about_mail_deferred_says_until_when_and_by_which_limits(approved):
    until = NOON + timedelta(minutes=35)
    message = notices.deferred_message("h", 12, until, (20, 100), OPS, NOON, UTC)
    approved(message.subject, "subject")
    approved(message.body, "body")


def test_the_mail_about_a_refused_address_names_it_and_what_it_missed(approved):
    message = notices.rejected_message(
        "r", "gone@example.com", "550 no such user", "disk is full", OPS, NOON
    )
    approved(message.subject)
    assert "disk is full" in message.body
    assert message.kind is MessageKind.NOTE
