"""The answer between peers: what is sent, and what is believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lib.core.enums import Health
from lib.peers.answer import MAX_BYTES, Answer, PeerStatus, composed, judged, key_id

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEY, OTHER = "shared secret of two", "another secret"
STUCK = Answer(
    Health.MAIL_PROBLEM,
    NOW,
    deferred=7,
    deferred_since=NOW - timedelta(minutes=25),
)
GOOD = Answer(Health.OK, NOW, NOW - timedelta(seconds=5), 1200, server="web1")
BAD = replace(GOOD, word=Health.MAIL_PROBLEM)


def peer_status(content, key="", nonce="", now=NOW):
    return judged(content, key=key, nonce=nonce, now=now).peer_status


def test_without_a_key_it_is_the_word_times_and_digits():
    assert composed(replace(GOOD, nonce="ab12")) == (
        b"True\ntime: 1795348800\nlast-run: 1795348795\nmail-proof-age: 1200\n"
        b"nonce: ab12\n"
    )


@pytest.mark.parametrize("word", list(Health))
@pytest.mark.parametrize("key", ["", KEY])
def test_what_is_composed_is_what_is_read(word, key):
    said = replace(GOOD, word=word, nonce="0f" * 16)
    read = judged(composed(said, [OTHER, key]), key=key, nonce="0f" * 16, now=NOW)
    assert read.answer == said
    assert read.signed is bool(key)
    assert read.peer_status.is_an_answer


@pytest.mark.parametrize(
    ("first", "found"),
    [
        (b"True", PeerStatus.OK),
        (b"True\r\n", PeerStatus.OK),
        (b"MailProblem\n", PeerStatus.MAIL_PROBLEM),
        (b"JobProblem", PeerStatus.JOB_PROBLEM),
        (b"", PeerStatus.WRONG),
        (b"true", PeerStatus.WRONG),
        (b" True", PeerStatus.WRONG),
        (b"True ", PeerStatus.WRONG),
        (b"<html>True</html>", PeerStatus.WRONG),
        (b"\nTrue", PeerStatus.WRONG),
        (b"It is True", PeerStatus.WRONG),
        (b"ok", PeerStatus.WRONG),
        (b"Tru\xc3\xa9", PeerStatus.WRONG),
    ],
)
def test_an_older_peer_says_a_word_and_nothing_but_the_word_counts(first, found):
    assert peer_status(first) is found


@pytest.mark.parametrize("word", [Health.MAIL_PROBLEM, Health.JOB_PROBLEM])
@pytest.mark.parametrize("keys", [(), (KEY, OTHER)])
def test_a_bad_answer_never_has_the_letters_that_older_peers_look_for(word, keys):
    said = replace(STUCK, word=word, server="TrueTrue of True", nonce="ab")
    content = composed(said, keys)
    assert b"True" not in content
    if keys:
        read = judged(content, key=KEY, now=NOW).answer
        assert read is not None and read.server == "TrueTrue of True"


def test_what_is_stuck_is_in_the_lines_below_the_word():
    content = composed(STUCK)
    assert content.startswith(b"MailProblem\n")
    assert b"\ndeferred: 7\ndeferred-since: " in content
    assert judged(content, now=NOW).answer == STUCK
    odd = content.replace(b"deferred: 7", b"deferred: many")
    assert judged(odd, now=NOW).answer == replace(STUCK, deferred=0)


def test_a_peer_with_a_key_must_sign():
    assert peer_status(composed(GOOD), KEY) is PeerStatus.UNSIGNED
    assert peer_status(b"True", KEY) is PeerStatus.UNSIGNED
    assert peer_status(composed(GOOD, [OTHER]), KEY) is PeerStatus.UNSIGNED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"MailProblem", b"True"),
        (b"time: 1795348800", b"time: 1795348801"),
        (b"mail-proof-age: 1200", b"mail-proof-age: 12"),
        (b"server: web1", b"server: web2"),
        (b"server: web1\n", b"server: web1\nserver: web2\n"),
    ],
)
def test_whatever_is_changed_the_signature_is_wrong(old, new):
    content = composed(BAD, [KEY])
    assert peer_status(content, KEY) is PeerStatus.MAIL_PROBLEM
    assert old in content
    assert peer_status(content.replace(old, new, 1), KEY) is PeerStatus.FORGED


def test_what_stands_below_the_signature_is_not_believed():
    long_ago = replace(GOOD, time=NOW - timedelta(hours=3))
    added = b"time: 1795348800\nnonce: bb\nserver: web9\n"
    read = judged(composed(long_ago, [KEY]) + added, key=KEY, nonce="bb", now=NOW)
    assert read.peer_status is PeerStatus.STALE
    assert read.answer == long_ago


def test_letters_that_no_answer_has_are_forged_where_they_are_signed():
    content = composed(BAD, [KEY]).replace(b"web1", b"w\xc3\xa9b1")
    assert peer_status(content, KEY) is PeerStatus.FORGED


def test_a_mac_of_another_length_or_case_is_none():
    content = composed(BAD, [KEY])
    assert peer_status(content[:-2] + b"\n", KEY) is PeerStatus.UNSIGNED
    assert peer_status(content.upper(), KEY) is PeerStatus.WRONG


@pytest.mark.parametrize(
    ("later", "found"),
    [
        (timedelta(minutes=4, seconds=59), PeerStatus.OK),
        (timedelta(minutes=5, seconds=1), PeerStatus.STALE),
        (timedelta(minutes=-4), PeerStatus.OK),
        (timedelta(minutes=-6), PeerStatus.AHEAD),
    ],
)
@pytest.mark.parametrize("key", ["", KEY])
def test_an_answer_has_an_age(later, found, key):
    assert peer_status(composed(GOOD, [KEY]), key, now=NOW + later) is found


def test_an_answer_to_another_question_is_an_old_one():
    content = composed(replace(GOOD, nonce="aa"), [KEY])
    assert peer_status(content, KEY, nonce="aa") is PeerStatus.OK
    assert peer_status(content, KEY, nonce="bb") is PeerStatus.STALE


def test_our_own_answer_is_not_our_peers():
    content = composed(replace(GOOD, nonce="aa"), [KEY])
    read = judged(content, key=KEY, nonce="aa", now=NOW, us="web1")
    assert (read.peer_status, read.why) == (PeerStatus.OURS, "signed by 'web1'")
    assert not read.peer_status.is_an_answer


def test_who_signs_with_another_name_than_before_is_another(approved):
    content = composed(GOOD, [KEY])
    assert judged(content, key=KEY, now=NOW, before="web1").peer_status is PeerStatus.OK
    read = judged(content, key=KEY, now=NOW, us="web3", before="web2")
    assert read.peer_status is PeerStatus.ANOTHERS
    approved(read.why)


def test_whose_it_is_must_be_signed_too():
    content = composed(replace(GOOD, server=""), [KEY])
    assert peer_status(content, KEY) is PeerStatus.WRONG


@pytest.mark.parametrize(
    "content",
    [
        composed(GOOD),
        composed(GOOD, [OTHER]),
        composed(replace(GOOD, time=NOW - timedelta(hours=3)), [KEY]),
        composed(replace(GOOD, time=NOW + timedelta(hours=3)), [KEY]),
        composed(replace(GOOD, nonce="aa"), [KEY]),
    ],
    ids=["no mac", "another mac", "old", "ahead", "nonce"],
)
def test_what_is_not_believed_says_why(content, approved):
    approved(judged(content, key=KEY, nonce="bb", now=NOW).why)


@pytest.mark.parametrize("apart", [timedelta(days=-1), timedelta(days=1)])
def test_who_signs_our_nonce_has_just_answered_whatever_the_clocks_say(apart):
    content = composed(replace(GOOD, nonce="aa"), [KEY])
    assert peer_status(content, KEY, nonce="aa", now=NOW + apart) is PeerStatus.OK
    assert peer_status(content, KEY, nonce="bb", now=NOW + apart) is PeerStatus.STALE


def test_a_file_has_no_nonce_and_is_judged_by_its_time():
    assert peer_status(composed(GOOD, [KEY]), KEY, nonce="bb") is PeerStatus.OK


def test_a_nonce_that_is_none_is_not_said():
    assert b"nonce" not in composed(replace(GOOD, nonce="True\nTrue"))


def test_the_name_of_a_key_does_not_give_it_away():
    assert key_id(KEY) != key_id(OTHER)
    assert len(key_id(KEY)) == 16
    assert KEY.encode() not in composed(GOOD, [KEY])


def test_more_than_the_cap_is_not_looked_at():
    assert peer_status(b"x" * MAX_BYTES + b"\nTrue") is PeerStatus.WRONG


@given(st.binary(max_size=6000), st.sampled_from(["", KEY]))
def test_whatever_comes_is_judged(content, key):
    assert judged(content, key=key, nonce="ab", now=NOW).peer_status in PeerStatus


@pytest.mark.long
@given(st.text(max_size=300), st.sampled_from(list(Health)))
def test_any_name_is_carried(name, word):
    said = Answer(word, NOW, server=name.encode("utf-8", "replace").decode())
    assert judged(composed(said, [KEY]), key=KEY, now=NOW).answer == said
