"""Looking for one mail over IMAP."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lib.core.secret import Secret
from lib.core.settings import Mailbox
from lib.mail.folders import Kind
from lib.mail.imap import LookFailed
from lib.mail.mailbox import Nowhere, folders_of, look_for
from lib.mail.proof import RoundTripMail
from lib.net.connect import Deadline
from tests.support.imapstub import ImapStub, StubMail
from tests.support.servers import PASSWORD, USER
from tests.unit.mail.test_folders import NAME_SETS

TOKEN = "0123456789abcdef" * 2
SENT = datetime(2026, 11, 23, 0, 59, 50, tzinfo=UTC)
ROUND_TRIP = RoundTripMail(TOKEN, SENT, "web1", USER)


def own_mail(
    token=TOKEN, subject="[web1] round-trip mail", came="23-Nov-2026 01:00:00 +0000"
):
    return StubMail(
        f"Message-ID: <{token}@web1>\r\nX-Checker-Round-Trip: {token}\r\n"
        f"Subject: {subject} {token}\r\nFrom: {USER}\r\n\r\n",
        came,
    )


def other_mail(number=0):
    return StubMail(f"Message-ID: <{number}@x>\r\nSubject: lunch {number}\r\n\r\n")


def mailbox(stub, cafile, **options):
    return Mailbox(
        "127.0.0.1",
        stub.port,
        options.pop("security", stub.security),
        USER,
        Secret(options.pop("password", PASSWORD)),
        str(cafile),
        **options,
    )


def look(stub, cafile, limit_s=8, round_trip_mail=ROUND_TRIP, **options):
    return look_for(
        mailbox(stub, cafile, **options), round_trip_mail, Deadline(limit_s)
    )


def failure(stub, cafile, **options):
    with pytest.raises(LookFailed) as caught:
        look(stub, cafile, **options)
    return caught.value


def test_a_round_trip_mail_is_found_in_the_inbox_and_deleted_without_others(
    ca, cafile, approved
):
    inbox = [other_mail(1), own_mail(), other_mail(2)]
    with ImapStub(ca, mails={"INBOX": inbox}) as stub:
        found = look(stub, cafile)
    assert (found.folder, found.kind, found.deleted) == ("INBOX", Kind.INBOX, 1)
    assert found.arrived_at == datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
    approved(found.hop)
    assert [one.deleted for one in inbox] == [False, True, False]
    assert "UID EXPUNGE 2" in stub.heard


def header(**fields):
    words = {"Message-ID": "<another@relay>", "From": USER, **fields}
    lines = (f"{name.replace('_', '-')}: {said}\r\n" for name, said in words.items())
    return StubMail("".join(lines) + "\r\n")


@pytest.mark.parametrize(
    "fields",
    [
        {"X_Checker_Round_Trip": TOKEN},
        {"Message-ID": f"<{TOKEN}@example.com>"},
        {"Subject": f"[web1] round-trip mail {TOKEN}"},
        {"Subject": f"[web1] round-trip mail {TOKEN} (a1b2c3)"},
        {"Subject": f"*** SPAM *** [web1] round-trip mail {TOKEN}"},
        {"Subject": f"[EXTERNAL] [web1] round-trip mail {TOKEN}"},
        {
            "Subject": f"=?utf-8?q?=5Bw=C3=A9b1=5D_round-trip_mail_{TOKEN[:9]}?=\r\n"
            f" =?utf-8?q?{TOKEN[9:]}?="
        },
    ],
    ids=["header", "id", "subject", "not threaded", "spam", "external", "encoded"],
)
def test_whatever_relays_left_of_it_it_is_found_and_deleted(ca, cafile, fields):
    inbox = [header(**fields)]
    with ImapStub(ca, mails={"INBOX": inbox}) as stub:
        assert look(stub, cafile).deleted == 1
    assert inbox[0].deleted


@pytest.mark.parametrize(
    "fields",
    [
        {
            "Subject": f"Undeliverable: [web1] round-trip mail {TOKEN}",
            "From": "postmaster@x.org",
        },
        {"Subject": f"[web1] round-trip mail {TOKEN}", "From": "postmaster@x.org"},
        {"Subject": f"Re: [web1] round-trip mail {TOKEN}"},
        {"Subject": f"[web1] round-trip mail {TOKEN} bounced"},
        {"References": f"<{TOKEN}@example.com>"},
        {"X_Checker_Round_Trip": "0" * 32},
    ],
    ids=["bounce", "another's", "reply", "more", "thread", "another token"],
)
def test_what_came_in_its_place_is_no_proof_and_stays(ca, cafile, fields):
    inbox = [header(**fields)]
    # Whatever the server's search finds.
    instead = {"UID SEARCH": b"* SEARCH 1\r\nTAG OK done\r\n"}
    with ImapStub(ca, mails={"INBOX": inbox}, instead=instead) as stub:
        assert look(stub, cafile) == Nowhere(("INBOX",))
    assert not inbox[0].deleted


def test_folders_are_opened_read_only_until_it_is_found(ca, cafile):
    folders = ('(\\Trash) "/" "Bin"', '() "/" "x"')
    with ImapStub(ca, folders, {"x": [own_mail()]}) as stub:
        assert look(stub, cafile).folder == "x"
    opened = [one for one in stub.heard if one.startswith(("EXAMINE", "SELECT"))]
    assert opened == [
        'EXAMINE "INBOX"',
        'EXAMINE "Bin"',
        'EXAMINE "x"',
        'SELECT "x"',
    ]


def test_what_is_not_there_is_not_found_and_nothing_is_written(ca, cafile):
    with ImapStub(ca, mails={"INBOX": [other_mail()]}) as stub:
        assert look(stub, cafile) == Nowhere(("INBOX",))
    assert not [one for one in stub.heard if one.startswith(("SELECT", "UID STORE"))]


def test_without_uidplus_nobodys_deleted_mails_are_expunged(ca, cafile):
    inbox = [own_mail()]
    with ImapStub(ca, mails={"INBOX": inbox}, capabilities="IMAP4rev1") as stub:
        assert look(stub, cafile).deleted == 1
    assert inbox[0].deleted
    assert not [one for one in stub.heard if "EXPUNGE" in one]


def test_what_is_marked_already_is_not_marked_again(ca, cafile):
    with ImapStub(ca, mails={"INBOX": [own_mail()]}, capabilities="IMAP4rev1") as it:
        look(it, cafile)
    assert [
        one for one in it.heard if 'UNDELETED HEADER X-Checker-Round-Trip ""' in one
    ]


@pytest.mark.parametrize("step", ["UID STORE", "UID EXPUNGE"])
def test_a_mailbox_that_lets_nothing_be_deleted_is_named_and_yet_a_proof(
    ca, cafile, step, approved
):
    instead = {step: b"TAG NO you may only read\r\n"}
    with ImapStub(ca, mails={"INBOX": [own_mail()]}, instead=instead) as stub:
        found = look(stub, cafile)
    assert (found.folder, found.deleted) == ("INBOX", 0)
    approved(found.trouble)


def test_in_a_pinned_folder_it_is_looked_at_what_a_search_does_not_find(ca, cafile):
    instead = {"UID SEARCH": b"* SEARCH\r\nTAG OK done\r\n"}
    folders = ('() "/" "x"',)
    with ImapStub(ca, folders, {"x": [own_mail()]}, instead=instead) as stub:
        assert look(stub, cafile, folder="x") is not None


def test_at_google_it_is_moved_to_the_trash_to_be_deleted(ca, cafile):
    folders = ('(\\Trash) "/" "[Gmail]/Bin"',)
    more = "IMAP4rev1 AUTH=PLAIN UIDPLUS MOVE X-GM-EXT-1"
    with ImapStub(ca, folders, {"INBOX": [own_mail()]}, more) as stub:
        look(stub, cafile)
    assert 'UID MOVE 1 "[Gmail]/Bin"' in stub.heard
    assert stub.heard.index('SELECT "[Gmail]/Bin"') > stub.heard.index(
        'UID MOVE 1 "[Gmail]/Bin"'
    )


def test_old_round_trip_mails_of_ours_go_and_those_of_others_stay(ca, cafile):
    old = "20-Nov-2026 01:00:00 +0000"
    inbox = [
        own_mail("a" * 32, came=old),
        own_mail("b" * 32),
        own_mail("c" * 32, "[web2] round-trip mail", old),
        own_mail("d" * 32),
        StubMail("X-Checker-Round-Trip: e\r\nSubject: [web1] e\r\n\r\n", old),
        own_mail(),
    ]
    round_trip_mail = RoundTripMail(TOKEN, SENT, "web1", USER, earlier=("b" * 32,))
    with ImapStub(ca, mails={"INBOX": inbox}) as stub:
        assert look(stub, cafile, round_trip_mail=round_trip_mail).deleted == 3
    assert "".join("x" if one.deleted else "." for one in inbox) == "xx...x"


@pytest.mark.parametrize(
    "search",
    [
        b"TAG BAD what is SEARCH?\r\n",
        b"TAG NO not today\r\n",
        b"* SEARCH\r\nTAG OK done\r\n",
        b"* SEARCH 1 2\r\nTAG OK done\r\n",
        b"* SEARCH x -1 99999999999999\r\nTAG OK done\r\n",
    ],
)
def test_a_server_whose_search_lies_is_not_believed(ca, cafile, search):
    inbox = [other_mail(1), other_mail(2), own_mail()]
    instead = {"UID SEARCH": search}
    with ImapStub(ca, mails={"INBOX": inbox}, instead=instead) as stub:
        assert look(stub, cafile).folder == "INBOX"
    assert [one.deleted for one in inbox] == [False, False, True]


@pytest.mark.parametrize(
    "mails", [3_000, pytest.param(100_000, marks=pytest.mark.long)]
)
def test_in_a_full_mailbox_the_work_is_bounded(ca, cafile, mails):
    inbox = [other_mail(number) for number in range(mails)] + [own_mail()]
    with ImapStub(ca, mails={"INBOX": inbox}) as stub:
        assert look(stub, cafile).deleted == 1
    searches = [one for one in stub.heard if one.startswith("UID SEARCH")]
    assert all(one.startswith(f"UID SEARCH {mails - 1998}:*") for one in searches)


def test_of_many_folders_so_many_are_looked_into_and_the_rest_are_counted(ca, cafile):
    folders = tuple(f'() "/" "x{number}"' for number in range(100))
    with ImapStub(ca, folders, {"x99": [own_mail()]}) as stub:
        found = look(stub, cafile)
        assert (len(found.folders), found.unseen) == (60, 41)
        assert len([one for one in stub.heard if one.startswith("EXAMINE")]) == 60
        assert look(stub, cafile, folder="x99").folder == "x99"


def test_where_time_runs_out_the_less_likely_folders_are_not_looked_into(ca, cafile):
    folders = ('() "/" "x"', '() "/" "y"', '(\\Trash) "/" "Bin"')
    with ImapStub(ca, folders, {"x": [own_mail()]}) as stub:
        assert look(stub, cafile, limit_s=5) == Nowhere(("INBOX", "Bin"), 2)


# The stub says no literals; tests/unit/mail/test_folders.py has them.
@pytest.mark.parametrize(
    "provider",
    [name for name, one in NAME_SETS.items() if isinstance(one[0][0], bytes)],
)
def test_it_is_found_in_the_last_folder_of_each_provider(ca, cafile, provider):
    lines, order = NAME_SETS[provider]
    last = lines[-1].rpartition(b'"')[0].rpartition(b' "')[2].decode()
    if provider == "spaces, quotes, slashes":
        last = "a/b c"
    elif not lines[-1].endswith(b'"'):
        last = lines[-1].split()[-1].decode()
    if last == "Sent":
        last = "Junk"
    folders = tuple(one.decode() for one in lines)
    with ImapStub(ca, folders, {last: [own_mail()]}) as stub:
        assert look(stub, cafile).folder in order.split(",")
        assert folders_of(mailbox(stub, cafile), Deadline(8)) == order.split(",")


def test_a_pinned_folder_that_list_hides_is_opened_all_the_same(ca, cafile):
    with ImapStub(ca, mails={"M&APw-ll": [own_mail()]}) as stub:
        assert look(stub, cafile, folder="Müll").folder == "Müll"


def test_a_pinned_folder_that_is_not_there_is_named(ca, cafile, approved):
    instead = {"EXAMINE": b"TAG NO no such folder\r\n"}
    with ImapStub(ca, instead=instead) as stub:
        found = failure(stub, cafile, folder="Nowhere")
    approved(found.problem)
    assert "'Nowhere'" in str(found) and "[email] imapfolder" in str(found)
