"""Which mails are ours.  With a server: tests/unit/mail/test_mailbox.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lib.mail.mailbox import seen_in
from lib.mail.proof import LEFT_ALONE, RoundTripMail

TOKEN, OTHER = "0123456789abcdef" * 2, "f" * 32
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
US = "checker@example.com"
ROUND_TRIP = RoundTripMail(TOKEN, NOON, "web1", US, earlier=("e" * 32,))


def mail(came=NOON, **fields):
    words = {"From": f'"web1 (Checker)" <{US}>', **fields}
    text = "".join(
        f"{name.replace('_', '-')}: {said}\r\n" for name, said in words.items()
    )
    size = len(text)
    date = f"{came:%d-%b-%Y %H:%M:%S +0000}"
    head = f'1 (UID 7 INTERNALDATE "{date}" BODY[] {{{size}}}'
    (seen,) = seen_in([(head.encode(), text.encode()), b")"])
    return seen


@pytest.mark.parametrize(
    ("fields", "is_it"),
    [
        ({"X_Checker_Round_Trip": TOKEN}, True),
        ({"X_Checker_Round_Trip": f"{TOKEN}0"}, False),
        ({"Message_ID": f"<{TOKEN}@mx>"}, True),
        ({"Message_ID": f"<x{TOKEN}@mx>"}, False),
        ({"Subject": f"[web1] round-trip mail {TOKEN}"}, True),
        ({"Subject": f"{{Spam?}} [web1] round-trip mail {TOKEN}"}, True),
        ({"Subject": f"AW: [web1] round-trip mail {TOKEN}"}, False),
        (
            {"Subject": f"[web1] round-trip mail {TOKEN}", "From": "mailer-daemon@mx"},
            False,
        ),
        ({"Subject": f"[web1] round-trip mail {OTHER}"}, False),
        ({}, False),
    ],
)
def test_it_is_the_round_trip_mail_by_any_of_its_three_places(fields, is_it):
    assert ROUND_TRIP.is_it(mail(**fields)) is is_it


def test_whoever_does_not_know_its_own_address_goes_by_the_others():
    round_trip_mail = RoundTripMail(TOKEN, NOON)
    assert not round_trip_mail.is_it(mail(Subject=f"[web1] round-trip mail {TOKEN}"))
    assert round_trip_mail.is_it(mail(Message_ID=f"<{TOKEN}@mx>"))


OLD = NOON - LEFT_ALONE - timedelta(minutes=1)


@pytest.mark.parametrize(
    ("came", "fields", "is_ours"),
    [
        (NOON, {"X_Checker_Round_Trip": TOKEN}, True),
        (NOON, {"X_Checker_Round_Trip": "e" * 32}, True),
        (
            OLD,
            {"X_Checker_Round_Trip": OTHER, "Subject": "[web1] round-trip mail"},
            True,
        ),
        (
            NOON,
            {"X_Checker_Round_Trip": OTHER, "Subject": "[web1] round-trip mail"},
            False,
        ),
        (
            OLD,
            {"X_Checker_Round_Trip": OTHER, "Subject": "[web2] round-trip mail"},
            False,
        ),
        (
            OLD,
            {"X_Checker_Round_Trip": "x", "Subject": "[web1] round-trip mail"},
            False,
        ),
        (OLD, {"Subject": f"[web1] round-trip mail {OTHER}"}, False),
        (
            OLD,
            {
                "X_Checker_Round_Trip": OTHER,
                "Subject": "[web1] round-trip mail",
                "From": "a@b.org",
            },
            False,
        ),
    ],
)
def test_ours_are_those_we_know_of_and_old_ones_in_our_words(came, fields, is_ours):
    assert ROUND_TRIP.is_ours(mail(came, **fields)) is is_ours


def test_a_header_that_cannot_be_decoded_is_taken_as_it_stands():
    seen = mail(Subject="=?nonsense?q?x?=")
    assert seen.says("Subject") == "=?nonsense?q?x?="
    assert seen.says("To") == ""


@pytest.mark.parametrize(
    "data",
    [[b"1 (UID 7)"], [(b"1 (BODY[] {1}", b"x")], [(b"1", b"x", b"y")], [None], []],
)
def test_what_shows_no_mail_yields_none(data):
    assert list(seen_in(data)) == []


@pytest.mark.parametrize(
    "date",
    [
        "yesterday",
        "",
        "23-Nov-2026 12:00:00",
        "23-Nov-2026 12:00:00 +9999",
        "31-Feb-2026 12:00:00 +0000",
    ],
)
def test_a_date_that_is_none_is_not_known(date):
    head = f'1 (UID 7 INTERNALDATE "{date}" BODY[] {{0}}'
    (seen,) = seen_in([(head.encode(), b""), b")"])
    assert seen.arrived_at is None
