"""What people read where our own mail does not arrive as it should."""

from __future__ import annotations

import pytest

from lib.mail import proof


@pytest.mark.parametrize("result", proof.RESULTS)
def test_each_result_has_its_own_words_and_its_own_advice(result):
    words, advice = proof.RESULTS[result]
    text = proof.reason(result, "{what} was seen\nand where")
    first, where, *more = text.split("\n")
    assert (first, where) == (words.format("{what} was seen"), "and where")
    assert " ".join(" ".join(more).split()) == " ".join(advice.split())
    assert max(map(len, more)) <= 76
    others = [words for words, _advice in proof.RESULTS.values()]
    assert others.count(words) == 1 and len(advice) > 60


def test_how_late_it_was_is_said_with_the_step_that_took_longest(approved):
    approved(proof.late(299.6, 120, "290 s to mx1"))
    assert proof.late(130, 120, "") == "after 130 s (limit 120)"


def test_where_it_was_looked_for_is_said(approved):
    approved(proof.nowhere(600, ("INBOX", "Trash"), 0), "1")
    many = proof.nowhere(60, tuple("abcdefg"), 40)
    approved(many, "many")


def test_what_is_missing_and_what_to_write_is_said(approved):
    subject, text = proof.not_set_up("there is no x", "smtp.x.org", "each day")
    approved(subject, "subject")
    assert "mails to smtp.x.org" in text and "there is no x.\n" in text
    approved(text, "text")
