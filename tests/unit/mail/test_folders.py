"""The folders of a mailbox, and where to look first."""

from __future__ import annotations

import pytest

from lib.mail.folders import Kind, decoded, encoded, in_order, listed
from lib.mail.imap import quoted

#: As providers list them: the lines, and the order in which to look.
NAME_SETS = {
    "Gmail": (
        [
            rb'(\HasNoChildren) "/" "INBOX"',
            rb'(\HasChildren \Noselect) "/" "[Gmail]"',
            rb'(\All \HasNoChildren) "/" "[Gmail]/All Mail"',
            rb'(\Drafts \HasNoChildren) "/" "[Gmail]/Drafts"',
            rb'(\HasNoChildren \Sent) "/" "[Gmail]/Sent Mail"',
            rb'(\HasNoChildren \Junk) "/" "[Gmail]/Spam"',
            rb'(\HasNoChildren \Trash) "/" "[Gmail]/Trash"',
            rb'(\HasNoChildren) "/" "Work/Old"',
        ],
        "INBOX,[Gmail]/Trash,[Gmail]/Spam,[Gmail]/All Mail,Work/Old",
    ),
    "Gmail in German": (
        [
            rb'(\All) "/" "[Gmail]/Alle Nachrichten"',
            rb'(\Junk) "/" "[Gmail]/Spam"',
            rb'(\Trash) "/" "[Gmail]/Papierkorb"',
        ],
        "INBOX,[Gmail]/Papierkorb,[Gmail]/Spam,[Gmail]/Alle Nachrichten",
    ),
    "Gmail in Japanese": (
        [
            rb'(\All) "/" "[Gmail]/&MFkweTBmMG4w4TD8MOs-"',
            rb'(\Junk) "/" "[Gmail]/&j,dg0TDhMPww6w-"',
            rb'(\Trash) "/" "[Gmail]/&MLQw33ux-"',
        ],
        "INBOX,[Gmail]/ゴミ箱,[Gmail]/迷惑メール,[Gmail]/すべてのメール",
    ),
    "older Gmail": (
        [rb'(\AllMail) "/" "[Gmail]/X"', rb'(\Spam) "/" "[Gmail]/Y"'],
        "INBOX,[Gmail]/Y,[Gmail]/X",
    ),
    "Dovecot, flags": (
        [
            rb'(\HasNoChildren \UnMarked \Trash) "." Trash',
            rb'(\HasNoChildren \Junk) "." Junk',
            rb'(\HasNoChildren) "." INBOX',
            rb'(\HasNoChildren \Sent) "." Sent',
        ],
        "INBOX,Trash,Junk",
    ),
    "Courier, below INBOX": (
        [
            rb'(\HasChildren) "." "INBOX"',
            rb'(\HasNoChildren) "." "INBOX.Trash"',
            rb'(\HasNoChildren) "." "INBOX.Sent"',
            rb'(\HasNoChildren) "." "INBOX.spam"',
            rb'(\HasNoChildren) "." "INBOX.Lists"',
        ],
        "INBOX,INBOX.Trash,INBOX.spam,INBOX.Lists",
    ),
    "Exchange in German": (
        [
            rb'(\HasNoChildren) "/" "Gel&APY-schte Elemente"',
            rb'(\HasNoChildren) "/" "Junk-E-Mail"',
            rb'(\HasNoChildren) "/" INBOX',
        ],
        "INBOX,Gelöschte Elemente,Junk-E-Mail",
    ),
    "Outlook": (
        [
            rb'(\HasNoChildren \Trash) "/" Deleted',
            rb'(\HasNoChildren \Junk) "/" Junk',
            rb'(\HasNoChildren) "/" Archive',
        ],
        "INBOX,Deleted,Junk,Archive",
    ),
    "in French, without flags": (
        [
            rb'() "/" "&AMk-l&AOk-ments supprim&AOk-s"',
            rb'() "/" "Courrier ind&AOk-sirable"',
        ],
        "INBOX,Éléments supprimés,Courrier indésirable",
    ),
    "in Russian, without flags": (
        [
            rb'() "|" "&BBoEPgRABDcEOAQ9BDA-"',
            rb'() "|" "&BCEEPwQwBDw-"',
        ],
        "INBOX,Корзина,Спам",
    ),
    "spaces, quotes, slashes": (
        [
            rb'(\Trash) "/" "my \"old\" mail\\bin"',
            rb'() NIL "a/b c"',
        ],
        'INBOX,my "old" mail\\bin,a/b c',
    ),
    "a name as a literal": (
        [(rb'(\Trash) "/" {9}', b'Bin "one"'), b""],
        'INBOX,Bin "one"',
    ),
}


@pytest.mark.parametrize("provider", NAME_SETS)
def test_the_likeliest_folder_comes_first(provider):
    lines, order = NAME_SETS[provider]
    assert ",".join(one.name for one in in_order(listed(lines))) == order


def names(lines, **how):
    return [one.name for one in in_order(listed(lines), **how)]


LINES = [rb'() "/" INBOX', rb'(\Trash) "/" "Bin"', rb'() "/" "&BCEEPwQwBDw-"']


def test_where_a_filter_throws_mail_away_the_trash_comes_first():
    assert names(LINES, trash_first=True) == ["Bin", "INBOX", "Спам"]


@pytest.mark.parametrize("pinned", ["Спам", "&BCEEPwQwBDw-", "спам"])
def test_a_pinned_folder_is_the_only_one(pinned):
    assert names(LINES, pinned=pinned) == ["Спам"]


def test_a_pinned_folder_that_is_not_there_is_none():
    assert names(LINES, pinned="Nowhere") == []


def test_of_a_thousand_folders_the_likeliest_come_first():
    lines = [b'() "/" "folder %d"' % number for number in range(1000)] + LINES
    assert names(lines)[:3] == ["INBOX", "Bin", "Спам"]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"garbage",
        b'(\\Noselect) "/" X',
        b'() "/" ',
        None,
        (b'() "/" {3}', b"a\rb"),
        b"(" * 10_000,
        b'NIL "/" X',
        b'(5) "/" X',
        b'() "/" X Y',
        b'() "/" "X',
        b'() "/" [X',
        b'() "/" NIL',
        b'() "/" {3}',
    ],
)
def test_what_is_no_folder_is_left_out(line):
    assert listed([line]) == []


@pytest.mark.parametrize(
    "name", ["INBOX", "Papierkorb", "A & B", "ゴミ箱", "é/ü", "😀", "~peter"]
)
def test_a_name_goes_to_the_wire_and_back(name):
    raw = encoded(name)
    assert raw.isascii() and decoded(raw) == name


@pytest.mark.parametrize(
    "raw", [b"&", b"&x", b"&AAA-", b"&===-", b"\xff\xfe", b"a\x07"]
)
def test_a_name_that_is_none_harms_nobody(raw):
    assert decoded(raw).isprintable()


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b'() "/" 2026', "2026"),
        (b"() 5 X", "X"),
        ('() "/" "Gelöscht"'.encode(), "Gelöscht"),
        (b'() "/" "{5}"', "{5}"),
        (b'() "/" "NIL"', "NIL"),
    ],
)
def test_a_folder_of_an_unusual_name_is_one(line, name):
    (folder,) = listed([line])
    assert folder.name == name


def test_a_name_is_quoted_as_a_command_takes_it():
    assert quoted(b'a "b" \\c') == b'"a \\"b\\" \\\\c"'


def test_sent_mail_has_not_arrived():
    assert names([rb'(\Sent) "/" Kopien', rb'() "/" "Sent Items"']) == ["INBOX"]
    # Where no folder is marked it goes by the name, as with the trash.
    french = encoded("INBOX/Éléments envoyés")
    assert names([b'() "/" "Gesendet"', b'() "/" "' + french + b'"']) == ["INBOX"]


def test_the_kind_is_known_by_flag_before_name():
    (found,) = [one for one in listed([rb'(\Junk) "/" Trash'])]
    assert found.kind is Kind.JUNK
