"""Why a mail that is owed has not left: each reason, with when it may leave."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lib.core.deferral import why_waits
from lib.core.enums import MessageKind
from lib.core.messages import Digest
from lib.core.ratelimit import At, Postbook
from tests.support.mailing import message

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SOON = NOON + timedelta(minutes=3)
MAIL = replace(message(), to=("ops@example.com",))
PROBE = replace(MAIL, kind=MessageKind.PROBE)
TRIED = replace(MAIL, attempts=2, retry_at=SOON, last_error="451 later\nmore")
NOBODY = Postbook()
FULL = Postbook(full_until=SOON)
QUIET = Postbook(digests=(At("ops@example.com", NOON - timedelta(minutes=2)),))


@pytest.mark.parametrize(
    ("mail", "book", "why"),
    [
        (MAIL, NOBODY, ""),
        (
            TRIED,
            NOBODY,
            "tried 2 times, the last time: 451 later;"
            " the next attempt comes after TIME",
        ),
        (
            MAIL,
            Postbook(held_until=SOON),
            "the mail server wants no more before TIME",
        ),
        (
            MAIL,
            Postbook(refused_logins=(NOON - timedelta(minutes=57),) * 4),
            "the login was refused too often; the next attempt comes after TIME",
        ),
        (
            MAIL,
            QUIET,
            "a mail that stood for many has gone to the same people;"
            " the next one comes after TIME",
        ),
        (
            MAIL,
            FULL,
            "as many mails have left as mailsperhour and mailsperday allow;"
            " there is room after TIME",
        ),
        (replace(MAIL, to=("boss@example.com",)), QUIET, ""),
        (PROBE, QUIET, ""),
        (PROBE, FULL, ""),
        (MAIL, Postbook(full_until=NOON), ""),
    ],
    ids=(
        "nothing, tried before, server, login, quiet, full, other people,"
        " probe while quiet, probe while full, full until now"
    ).split(", "),
)
def test_a_mail_says_what_it_waits_for(mail, book, why):
    assert why_waits(mail, None, book, NOON).replace(
        "2026-11-22 12:03 UTC", "TIME"
    ) == (why)


def test_a_part_of_a_digest_waits_with_it():
    digest = Digest(replace(TRIED, subject="8 failing"), (MAIL.message_id,))
    assert why_waits(MAIL, digest, NOBODY, NOON).startswith(
        "a part of the mail '8 failing'; tried 2 times, the last time: 451 later; the"
    )
