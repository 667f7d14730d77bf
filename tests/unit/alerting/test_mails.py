"""docs/mails.md shows every mail as it is written."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from lib.mail import proof
from lib.peers import templates
from tests.support import mails

SHOWN = Path(__file__).resolve().parents[3] / "docs" / "mails.md"


@pytest.fixture(autouse=True)
def _clock_on_the_wall(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_each_mail_is_shown_as_it_is_written(approved):
    approved(mails.page(), file=SHOWN)


def test_each_way_in_which_our_own_mail_or_a_peer_fails_is_there():
    assert set(mails.SEEN) == set(proof.RESULTS)
    assert set(mails.WHY) == set(templates.ADVICE)


def test_a_reader_of_the_subject_knows_who_and_what():
    subjects = re.findall(r"(?m)^Subject: (.*)$", mails.page())
    assert len(subjects) > 30
    assert all(re.match(r"\[web1\] \w", one) for one in subjects)
