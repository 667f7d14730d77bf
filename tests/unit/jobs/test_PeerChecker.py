"""Peers that are well, ill, silent, and not who they say they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.core.enums import Health
from lib.core.secret import Secret
from lib.peers.answer import Answer, PeerStatus, Reading, composed
from tests.support.approved import REAL
from tests.support.instance import Instance
from tests.support.listeners import Listener, answer, closed_port, dripping, says
from tests.support.servers import SmtpServer
from tests.support.waits import SOON_S

KEY = "what the two of us share"
ADMIN = "admin@example.org"


def saying(word=Health.OK, key="", **more):
    said = Answer(word, datetime.now(UTC), datetime.now(UTC), 60, server="friend")
    return composed(replace(said, **more), [key])


def peer_line(url, key="", name="friend"):
    return f"{name} = {url},{ADMIN}{f',key={key}' * bool(key)}\n"


@pytest.fixture
def server():
    with SmtpServer(security="none") as it:
        yield it


def instance_of(tmp_path, server, lines, options=""):
    folder = tmp_path / "ours"
    folder.mkdir()
    peers = f"[peers]\nevery = minute\n{options}{lines}"
    return Instance(folder, server.email_section() + peers)


def mails_after(instance, server, runs=1):
    for _ in range(runs):
        assert instance.cron().code == 0
    return [mail for mail in server.mails]


@pytest.mark.long
def test_a_peer_that_is_ok_is_no_news(tmp_path, server):
    with Listener(says(answer(body=saying()))) as there:
        instance = instance_of(tmp_path, server, peer_line(there.url()))
        assert mails_after(instance, server, 3) == []


@pytest.mark.parametrize("word", [Health.MAIL_PROBLEM, Health.JOB_PROBLEM])
def test_a_peer_that_says_it_is_ill_is_reported_at_once_and_when_it_is_well(
    tmp_path, server, word, approved
):
    with Listener(says(answer(body=saying(word)))) as there:
        instance = instance_of(tmp_path, server, peer_line(there.url()))
        (mail,) = mails_after(instance, server)
        assert mail.to == (ADMIN,)
        approved(mail.subject, "subject", hide=REAL)
        approved(mail.body, "body", hide=REAL)
        # He has no such job: what shows it there is another mode.
    with Listener(says(answer(body=saying()))) as again:
        instance.write(instance.settings.read_text().replace(there.url(), again.url()))
        approved(mails_after(instance, server)[1].subject, "end", hide=REAL)


def test_a_peer_may_be_at_an_ipv6_address(tmp_path, server, approved):
    with Listener(says(answer(body=b"JobProblem")), host="::1") as there:
        instance = instance_of(tmp_path, server, peer_line(there.url()))
        (mail,) = mails_after(instance, server)
    approved(mail.subject, hide=REAL)


def test_our_people_get_a_copy_if_they_want_one(tmp_path, server):
    with Listener(says(answer(body=b"JobProblem"))) as there:
        lines = peer_line(there.url())
        instance = instance_of(tmp_path, server, lines, "copy = yes\n")
        # Who hears of jobs is not who hears of peers.
        instance.add("[defaults]\ncontact = others@example.com\n")
        (mail,) = mails_after(instance, server)
    assert set(mail.to) == {ADMIN, "ops@example.com"}


def test_an_older_peer_says_a_word_and_is_sent_no_question(tmp_path, server):
    with Listener(says(answer(body=b"True"))) as there:
        instance = instance_of(tmp_path, server, peer_line(there.url("/x")))
        assert mails_after(instance, server, 2) == []
        assert b"GET /x HTTP" in there.heard[0]


def signed_long_ago():
    return saying(key=KEY, time=datetime.now(UTC) - timedelta(hours=1))


def signed_ahead():
    return saying(key=KEY, time=datetime.now(UTC) + timedelta(minutes=30))


# Made when the test runs, so that a test's name holds no time.
@pytest.mark.fault("G5", "an HTML page with True, ok, fine")
@pytest.mark.fault("G6", "another's answer, old, of the future, wrong or no MAC")
@pytest.mark.parametrize(
    "make",
    [
        lambda: b"<html>True, ok, fine</html>",
        saying,
        lambda: b"True",
        lambda: saying(key="another"),
        lambda: saying(key=KEY).replace(b"True", b"JobProblem"),
        signed_long_ago,
        signed_ahead,
        lambda: saying(key=KEY, nonce="abcd"),
        lambda: saying(key=KEY, server="web1"),
    ],
    ids=[
        "a page",
        "not signed",
        "a word alone",
        "another key",
        "forged",
        "old",
        "ahead",
        "another nonce",
        "reflected",
    ],
)
def test_a_wrong_answer_is_an_error_of_its_own_if_it_stays(
    tmp_path, server, make, approved
):
    with Listener(says(answer(body=make()))) as there:
        instance = instance_of(tmp_path, server, peer_line(there.url(), KEY))
        assert mails_after(instance, server) == []
        (mail,) = mails_after(instance, server)
    assert KEY not in mail.body + instance.everything_written()
    approved([mail.subject, mail.body], hide=REAL)


def test_a_signed_answer_is_believed(tmp_path, server):
    with Listener(says(answer(body=saying(key=KEY)))) as there:
        instance = instance_of(tmp_path, server, peer_line(there.url(), KEY))
        assert mails_after(instance, server, 3) == []
        assert b"nonce=" in there.heard[0] and KEY.encode() not in there.heard[0]


@pytest.mark.long
def test_another_that_has_the_key_is_not_taken_for_the_peer(tmp_path, server, approved):
    with Listener(
        says(answer(body=saying(key=KEY))),
        says(answer(body=saying(key=KEY, server="other"))),
    ) as there:
        instance = instance_of(tmp_path, server, peer_line(there.url(), KEY))
        assert mails_after(instance, server) == []
        (mail,) = mails_after(instance, server, 2)
        approved(mail.subject, hide=REAL)
        # Whoever has another name for good gets another line; the failure of the
        # line that is gone is closed, and is no recovery.
        text = instance.settings.read_text()
        instance.write(text.replace("friend = ", "renamed = "))
        failing, closed = mails_after(instance, server, 2)
        assert failing.subject == mail.subject
        assert "peer friend is no longer checked; it was failing" in closed.subject
        assert closed.to == (ADMIN,)
        assert instance.records()["peer renamed"]["memory"]["signer"]["server"] == (
            "other"
        )


@pytest.mark.long
def test_a_silent_peer_is_asked_again_and_then_reported_once(
    tmp_path, server, approved
):
    gone = f"http://127.0.0.1:{closed_port()}/"
    instance = instance_of(tmp_path, server, peer_line(gone))
    assert mails_after(instance, server) == []
    (mail,) = mails_after(instance, server)
    assert mail.to == (ADMIN,)
    approved(mail.subject, hide=REAL)
    assert len(mails_after(instance, server, 3)) == 1


def test_how_many_silences_is_for_the_settings_to_say(tmp_path, server):
    gone = f"http://127.0.0.1:{closed_port()}/"
    instance = instance_of(tmp_path, server, peer_line(gone), "after = 3\n")
    assert mails_after(instance, server, 2) == []
    assert len(mails_after(instance, server)) == 1


@pytest.mark.long
@pytest.mark.fault("G8", "our own network is down, all peers are silent")
def test_when_nothing_answers_it_is_our_line_and_no_peer_hears_of_it(
    tmp_path, server, approved
):
    names = [f"friend{number}" for number in range(20)]
    lines = [
        peer_line(f"http://127.0.0.1:{closed_port()}/{name}", name=name)
        for name in names
    ]
    instance = instance_of(tmp_path, server, "".join(lines))
    (mail,) = mails_after(instance, server, 4)
    assert mail.to == ("ops@example.com",)
    approved(mail.subject, hide=REAL)
    with Listener(says(answer(body=saying()))) as there:
        back = "".join(peer_line(there.url(f"/{name}"), name=name) for name in names)
        text = instance.settings.read_text().partition("every = minute\n")
        instance.write(text[0] + text[1] + back)
        assert len(mails_after(instance, server, 2)) == 1


@pytest.mark.long
def test_after_our_line_was_down_silence_is_counted_anew(tmp_path, server, approved):
    gone = peer_line(f"http://127.0.0.1:{closed_port()}/", name="gone")
    away = peer_line(f"http://127.0.0.1:{closed_port()}/", name="away")
    instance = instance_of(tmp_path, server, gone + away)
    (note,) = mails_after(instance, server, 3)
    with Listener(says(answer(body=saying()))) as there:
        text = instance.settings.read_text().partition("every = minute\n")
        back = peer_line(there.url(), name="away")
        instance.write(text[0] + text[1] + gone + back)
        assert mails_after(instance, server) == [note]
        approved(mails_after(instance, server)[1].subject, hide=REAL)


def test_where_all_get_the_page_of_somebody_in_between_it_is_our_line(
    tmp_path, server, approved
):
    page = answer(body=b"<html>The connection is down, True!</html>")
    with Listener(says(page)) as portal:
        names = ("one", "two")
        lines = [peer_line(portal.url(f"/{name}"), name=name) for name in names]
        instance = instance_of(tmp_path, server, "".join(lines))
        (mail,) = mails_after(instance, server, 3)
    approved(mail.subject, hide=REAL)


def test_one_that_is_silent_while_others_answer_is_reported(tmp_path, server, approved):
    with Listener(says(answer(body=saying()))) as there:
        gone = f"http://127.0.0.1:{closed_port()}/"
        lines = peer_line(there.url(), name="well") + peer_line(gone, name="gone")
        instance = instance_of(tmp_path, server, lines)
        (mail,) = mails_after(instance, server, 2)
    approved(mail.subject, hide=REAL)


def test_a_drip_and_an_endless_body_end_at_the_deadline_and_the_cap(monkeypatch):
    from lib.core.settings import Peer
    from lib.peers.client import ask

    with Listener(dripping(b"HTTP/1.1 200 OK\r\n\r\n", every_s=0.05)) as there:
        asked = ask(Peer("x", there.url(), ADMIN), limit_s=1.0)
        assert asked.reading is None and asked.seconds < SOON_S
    endless = answer(body=b"x" * 2_000_000)
    with Listener(says(endless)) as there:
        asked = ask(Peer("x", there.url(), ADMIN), limit_s=5.0)
    assert asked.reading is not None and asked.reading.answer is None


def test_a_redirect_is_not_followed(tmp_path):
    from lib.core.settings import Peer
    from lib.peers.client import ask

    to = "Location: https://user:pw@example.org/x?y=z"
    with Listener(says(answer("302 Found", b"", to))) as there:
        asked = ask(Peer("x", there.url(), ADMIN), limit_s=5.0)
    assert (asked.reading, asked.why) == (
        None,
        "status 302 Found; it redirects to https://example.org/x?..., which is not "
        "followed",
    )


# Modes.


def test_peers_asks_each_now(tmp_path, server):
    with Listener(says(answer(body=saying(key=KEY)))) as there:
        lines = peer_line(there.url(), KEY)
        lines += peer_line(f"http://127.0.0.1:{closed_port()}/", name="gone")
        rows = instance_of(tmp_path, server, lines).run("-m", "peers", "--json").json()
    assert [row["status"] for row in rows] == ["ok", "no_answer"]
    assert rows[0]["signed"] and rows[0]["signed_by"] == "friend"
    assert rows[0]["age_s"] >= 0
    # A file was made before it was asked for.
    assert rows[0]["clock_s"] is None


@pytest.mark.parametrize(
    ("ahead_s", "shown"), [(0.0, "0 s"), (-0.4, "0 s"), (90.2, "+90 s"), (-7.0, "-7 s")]
)
def test_how_the_clocks_differ_is_said_as_well_as_whole_seconds_tell(ahead_s, shown):
    from lib.cli.peers import WORDS, row_of
    from lib.core.settings import Peer
    from lib.peers.client import PeerReply

    now = datetime(2026, 11, 22, 12, 0, 0, 500_000, tzinfo=UTC)
    time = (now + timedelta(seconds=ahead_s)).replace(microsecond=0)
    said = Answer(Health.OK, time, nonce="ab", server="friend")
    # It took 2 s to ask, and the answer was made half-way.
    reading = Reading(PeerStatus.OK, said, signed=True)
    asked = PeerReply(reading, "", 2.0, now + timedelta(seconds=1))
    row = row_of(Peer("x", "https://example.org/", ADMIN, Secret(KEY)), asked, UTC)
    assert row[WORDS]["clock"] == shown


def test_peers_without_any_says_so(tmp_path, server):
    ran = instance_of(tmp_path, server, "").run("-m", "peers")
    assert ran.code == 0 and "[peers] names nobody" in ran.out


def test_peerkey_prints_a_line_for_both_sides_with_one_new_key(tmp_path, server):
    lines = peer_line("https://example.org/c.txt")
    instance = instance_of(tmp_path, server, lines)
    first = instance.run("-m", "peerkey", "friend").out
    keys = [word.partition("key=")[2] for word in first.split() if "key=" in word]
    assert len(keys) == 2 and len(set(keys)) == 1 and len(keys[0]) == 48
    assert f"friend = https://example.org/c.txt,{ADMIN},key={keys[0]}" in first
    assert f"web1 = URL-OF-OUR-ANSWER,ops@example.com,key={keys[0]}" in first
    assert instance.run("-m", "peerkey", "friend").out != first
    assert instance.run("-m", "peerkey").code == 2
    assert f"Friend = https://example.org/c.txt,{ADMIN},key=" in (
        instance.run("-m", "peerkey", "Friend").out
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a = b", "expected a name of letters, digits, dots and dashes"),
        ("copy", "copy is an option of [peers]; expected the name of a peer"),
        ("WEB1", "WEB1 is our own name; expected that of the other side"),
    ],
)
def test_peerkey_makes_no_line_that_could_not_be_one(tmp_path, server, name, said):
    ran = instance_of(tmp_path, server, "").run("-m", "peerkey", name)
    assert (ran.code, ran.out) == (2, "") and said in ran.err
