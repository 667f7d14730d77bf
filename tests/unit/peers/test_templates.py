"""What the admin of a peer reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lib.core.enums import Health
from lib.peers import templates
from lib.peers.answer import Answer, PeerStatus

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
WHO = {"us": "web1", "url": "https://example.org/checker.txt"}
NO_ANSWERS = [None, *(one for one in PeerStatus if not one.is_an_answer)]


def test_there_is_advice_for_all_that_is_no_answer():
    assert set(templates.ADVICE) == set(NO_ANSWERS)


@pytest.mark.parametrize("peer_status", NO_ANSWERS)
def test_who_asks_and_where_and_what_to_do_is_said(peer_status, approved):
    text = templates.not_answered(peer_status, "since noon", times=2, **WHO)
    first, *more = text.splitlines()
    assert first == f"{peer_status or 'no answer'}: since noon"
    assert max(map(len, more)) <= 76
    words = " ".join(" ".join(more).split())
    approved(words)
    assert words.endswith(" ".join(templates.ADVICE[peer_status].split()))


def test_once_is_not_counted():
    text = templates.not_answered(None, "", times=1, **WHO)
    assert text.startswith("no answer\n") and "it asked" not in text


def test_a_peer_whose_mail_is_stuck_says_how_much_and_since_when(approved):
    since = NOON - timedelta(minutes=25)
    said = Answer(Health.MAIL_PROBLEM, NOON, deferred=7, deferred_since=since)
    approved(templates.problem(PeerStatus.MAIL_PROBLEM, said, **WHO))


def test_a_peer_without_mail_is_named_with_since_when(approved):
    said = Answer(Health.MAIL_PROBLEM, NOON, NOON, mail_proof_age_s=7500)
    text = templates.problem(PeerStatus.MAIL_PROBLEM, said, **WHO)
    approved(text, "text")
    approved(templates.problem(PeerStatus.MAIL_PROBLEM, None, **WHO), "2")


def test_a_peer_without_runs_is_named_with_since_when(approved):
    said = Answer(Health.JOB_PROBLEM, NOON, NOON)
    text = templates.problem(PeerStatus.JOB_PROBLEM, said, **WHO)
    approved(text, "text")
    never = templates.problem(PeerStatus.JOB_PROBLEM, Answer(said.word, NOON), **WHO)
    approved(never, "never")
    # A word alone says nothing of runs.
    assert "finished " not in templates.problem(PeerStatus.JOB_PROBLEM, None, **WHO)
