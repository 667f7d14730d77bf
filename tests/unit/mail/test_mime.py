"""Tests of lib/mail/mime.py: what a mail's bytes say, whatever a message holds."""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from lib.core.enums import MessageKind
from lib.core.messages import Message
from lib.core.secret import Secret
from lib.core.settings import Mail, Settings
from lib.mail.mime import compose, one_line, sender_of, wire_address

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SETTINGS = Settings(
    path=Path("settings.cfg"),
    servername="web1",
    alertcontact=("ops@example.com",),
    logfile=Path("log"),
    state=Path("state"),
    mail=Mail(user="me@example.com", password=Secret("x")),
)
MESSAGE = Message(
    message_id="a1" * 16,
    kind=MessageKind.ALERT,
    subject="disk / is full",
    body="since noon",
    to=("ops@example.com",),
    born_at=NOON,
)


def read(message=MESSAGE, settings=SETTINGS, **mail):
    data = compose(
        message,
        replace(settings, mail=replace(settings.mail, **mail)),
    )
    assert data.isascii()
    assert not re.search(rb"[^\r]\n|\r[^\n]", data)
    assert max(map(len, data.split(b"\r\n"))) <= 998
    return message_from_bytes(data, _class=EmailMessage, policy=default)


def raw_header(mail, name):
    return next(value for key, value in mail.raw_items() if key == name)


def body_of(mail):
    return mail.get_content().replace("\r\n", "\n")


def test_a_mail_says_who_speaks_of_what_and_since_when():
    mail = read()
    assert mail["Subject"] == "[web1] disk / is full"
    assert mail["From"] == '"web1 (Checker)" <me@example.com>'
    assert mail["To"] == "ops@example.com"
    assert mail["Date"].datetime == NOON
    assert mail["Message-ID"] == f"<{'a1' * 16}@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["References"] is mail["In-Reply-To"] is None
    assert body_of(mail) == "since noon\n"


def test_the_same_message_is_the_same_bytes():
    assert compose(MESSAGE, SETTINGS) == compose(replace(MESSAGE), replace(SETTINGS))


def test_retries_do_not_change_the_mail():
    tried = replace(MESSAGE, attempts=3, retry_at=NOON, last_error="no")
    assert compose(tried, SETTINGS) == compose(MESSAGE, SETTINGS)


def test_a_recovery_is_threaded_to_its_alert():
    mail = read(replace(MESSAGE, message_id="b2" * 16, thread="a1" * 16))
    assert mail["References"] == mail["In-Reply-To"] == f"<{'a1' * 16}@example.com>"


def test_a_first_alert_is_no_answer_to_itself():
    assert read(replace(MESSAGE, thread=MESSAGE.message_id))["References"] is None


def test_gmail_threading_can_be_broken_up():
    message = replace(MESSAGE, thread="b2" * 16)
    mail = read(message, bustgmailthreading=True)
    assert mail["References"] is mail["In-Reply-To"] is None
    assert mail["Subject"] == "[web1] disk / is full (a1a1a1)"


@pytest.mark.parametrize("domain", ["x" * 63 + "." + "y" * 63 + ".example", "a.b"])
def test_ids_stay_whole_however_long_the_domain(domain):
    message = replace(MESSAGE, thread="b2" * 16)
    data = compose(message, replace(SETTINGS, mail=Mail(user=f"me@{domain}")))
    for header in ("Message-ID: ", "References: ", "In-Reply-To: "):
        assert re.search(rf"(?m)^{header}\s*<\w+@{domain}>\r$", data.decode())


@pytest.mark.parametrize(
    ("servername", "user", "sender"),
    [
        ("web1", "me@example.com", "me@example.com"),
        ("web1.example.net", "me@example.com", "me@example.com"),
        ("web1.example.net", "apikey", "checker@web1.example.net"),
        ("web1.example.net", "", "checker@web1.example.net"),
        ("bücher.example", "", "checker@xn--bcher-kva.example"),
        ("web1", "me@straße.example", "me@xn--strae-oqa.example"),
        ("web1", "jürgen@example.com", "checker@example.com"),
    ],
)
def test_the_sender_is_the_login_or_checker_at_the_server(servername, user, sender):
    settings = replace(SETTINGS, servername=servername, mail=Mail(user=user))
    assert sender_of(settings) == sender
    assert read(settings=settings)["From"].addresses[0].addr_spec == sender


@pytest.mark.parametrize("servername", ["web1", "v1.2", "my server", "x@y", "日本"])
def test_a_name_that_is_no_domain_still_gives_a_sender(servername):
    settings = replace(SETTINGS, servername=servername, mail=Mail())
    assert re.fullmatch(r"checker@[\w.-]+", sender_of(settings))
    assert read(settings=settings)["From"].addresses[0].domain


@pytest.mark.parametrize(
    "text",
    [
        "Grüße aus Köln",
        "💥 down 👩‍👩‍👧",
        "日本語の件名" * 12,
        'quotes " and \\ and (comments), <brackets>; commas: [x]',
        "x" * 150,
        ("ab " * 60).strip(),
        "é" * 150,
        "100% =3D ?= _",
    ],
)
def test_subject_name_and_body_come_out_as_they_went_in(text):
    mail = read(
        replace(MESSAGE, subject=text, body=text),
        replace(SETTINGS, servername=text),
    )
    # Python's parser puts blanks between encoded words, where other programs do not.
    sender = str(make_header(decode_header(raw_header(mail, "From"))))
    name, length = sender.partition(" (Checker)")[0].strip('"'), len(text)
    assert name.replace("\\", "") == (
        text if length <= 60 else one_line(text, 60)
    ).replace("\\", "")
    assert sender.endswith("<me@example.com>")
    assert len(mail["From"].addresses) == 1
    assert body_of(mail) == f"{text}\n"
    assert read(replace(MESSAGE, subject=text))["Subject"] == f"[web1] {text}"


@pytest.mark.parametrize(
    "evil",
    [
        "a\nBcc: evil@example.com",
        "a\r\nBcc: evil@example.com\r\n\r\nbody",
        "a\rBcc: evil@example.com",
        "a\0b\x0bBcc: evil@example.com\x0c\x1c\x85\u2028Bcc: evil@example.com",
        "=?utf-8?q?a=0ABcc:_evil=40example.com?=",
        "=?utf-8?b?YQpCY2M6IGV2aWxAZXhhbXBsZS5jb20=?= ü",
        "==??utf-8?q?a=0ABcc:_evil=40example.com?=",
        "\ud800 \udcff\ude00",
        "",
        "\n",
        '"',
        "x@y, evil@example.com",
    ],
)
def test_no_text_can_become_a_header(evil):
    mail = read(
        replace(MESSAGE, subject=evil, message_id=evil, thread=f"{evil}x", body=evil),
        replace(SETTINGS, servername=evil),
    )
    assert sorted(mail.keys()) == sorted(
        read(replace(MESSAGE, thread="b", body=evil)).keys()
    )
    assert [address.addr_spec for address in mail["To"].addresses] == [MESSAGE.to[0]]
    assert [address.addr_spec for address in mail["From"].addresses] == [
        "me@example.com"
    ]


@given(st.text(st.characters(), max_size=300), st.text(st.characters(), max_size=80))
def test_any_text_at_all_leaves_the_headers_alone(subject, servername):
    message = replace(MESSAGE, subject=subject, body=subject)
    mail = read(message, replace(SETTINGS, servername=servername))
    assert mail["To"] == "ops@example.com"
    assert mail["From"].addresses[0].addr_spec == "me@example.com"
    assert len(mail.keys()) == 9
    assert len(mail["Subject"]) <= 200


WORDS = (
    "Größe überschritten: Platte voll, Zertifikat für läuft ab Störung an der Gänse "
    "сервер недоступен диск заполнен ошибка проверки сертификат истекает через день "
    "is at 97 % of /srv ✓ = _ ? =20 日本語"
).split()
#: An encoded word, and what may be between two (RFC 2047, sections 2, 5 and 6.2).
ENCODED = r"=\?utf-8\?(?:b\?[A-Za-z0-9+/]+=*|q\?(?:[!-<>@-~]|=[0-9A-F]{2})+)\?="


def independently_decoded(header):
    """Return an unfolded header as RFC 2047 says that it is read, without Python's."""

    def word(match):
        _start, _charset, encoding, text, _end = match[0].split("?")
        if encoding == "b":
            return b64decode(text, validate=True).decode()
        hexed = re.sub("=(..)", lambda code: f"%{code[1]}", text.replace("%", "%25"))
        return unquote(hexed.replace("_", " "), errors="strict")

    joined = re.sub(rf"(?<=\?=)[ \t]+(?={ENCODED}(?:\s|$))", "", header)
    return re.sub(r"=\?utf-8\?[bq]\?[^?]*\?=", word, joined)


@given(
    st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)
    | st.lists(
        st.text("aZ09_.:-äößÜяёж€😀=?", min_size=1, max_size=20), max_size=12
    ).map(" ".join),
    st.sampled_from(["web1", "Büro", "почта сервер"]),
)
@example("0 00ÜÜ😀Ü 0 0 0 00000Ü", "почта сервер")
@example("?=?Ü", "web1")
def test_a_subject_keeps_its_words_and_blanks_whoever_reads_it(subject, servername):
    settings = replace(SETTINGS, servername=servername)
    raw = compose(replace(MESSAGE, subject=subject), settings)
    lines = raw.split(b"\r\n\r\n")[0].decode().split("\r\n")
    assert max(map(len, lines)) <= 78 and all(line.strip() for line in lines)
    head = "\n".join(lines)
    stuck = rf"\S=\?utf-8\?|{ENCODED}[^\s:,>]"
    assert not re.search(stuck, head), "words stick together"
    for encoded in re.findall(r"=\?\S*", head):
        assert re.fullmatch(ENCODED + "[:,;]*", encoded) and len(encoded) <= 77
    (line,) = (
        line for line in head.replace("\n ", " ").split("\n") if line[:2] == "Su"
    )
    expected = one_line(f"[{servername}] {subject}", 200)
    assert independently_decoded(line.removeprefix("Subject: ")) == expected
    assert message_from_bytes(raw, policy=default)["Subject"] == expected
    legacy = message_from_bytes(raw)
    assert str(make_header(decode_header(legacy["Subject"]))) == expected
    from_name = message_from_bytes(raw, policy=default)["From"].addresses[0]
    assert from_name.display_name == f"{servername} (Checker)"


@pytest.mark.parametrize(
    "address", ["a..b@x.example", 'a"b@x.example', "a(b)@x.example"]
)
def test_an_address_that_could_be_read_as_another_is_quoted(address):
    mail = read(replace(MESSAGE, to=(address, "ops@example.com")))
    first, second = mail["To"].addresses
    assert (first.username, first.domain) == tuple(address.split("@"))
    assert second.addr_spec == "ops@example.com"


def test_message_ids_end_in_the_domain_of_the_sender():
    mail = read(user="me@login.example", sender="alerts@ours.example")
    assert mail["Message-ID"].endswith("@ours.example>")
    assert mail["From"].addresses[0].domain == "ours.example"


def test_a_lone_surrogate_is_shown_not_fatal():
    mail = read(replace(MESSAGE, subject="caf\udce9", body="caf\udce9"))
    assert mail["Subject"] == r"[web1] caf\udce9"
    assert body_of(mail) == "caf\\udce9\n"


def test_a_subject_of_10_kb_is_cut_at_a_word():
    subject = read(replace(MESSAGE, subject="many words " * 1000))["Subject"]
    assert len(subject) <= 200
    assert subject.endswith(("words…", "many…"))
    assert len(read(replace(MESSAGE, subject="x" * 10_000))["Subject"]) == 200


@pytest.mark.parametrize(
    "body",
    [
        ".\n..\n.leading dot\nFrom the start\n",
        "x" * 100_000 + "\n",
        "trailing space \n\ttab\t\n",
        "ü" * 5000 + "\nplain\n",
        "=?utf-8?q?x?=\n=20\n",
        "\n\n\n",
    ],
)
def test_any_body_arrives_whole(body):
    assert body_of(read(replace(MESSAGE, body=body))) == body


def test_line_ends_are_made_one_kind_and_nul_is_shown():
    mail = read(replace(MESSAGE, body="a\r\nb\rc\0"))
    assert body_of(mail) == "a\nb\nc\ufffd\n"


def test_each_recipient_is_named():
    to = ("ops@example.com", "a..b@x.example", "me@bücher.example", "x@[127.0.0.1]")
    addresses = read(replace(MESSAGE, to=to))["To"].addresses
    assert [f"{one.username}@{one.domain}" for one in addresses] == [
        "ops@example.com",
        "a..b@x.example",
        "me@xn--bcher-kva.example",
        "x@[127.0.0.1]",
    ]


def test_a_recipient_beyond_ascii_is_named_without_harm_to_the_others():
    mail = read(replace(MESSAGE, to=("jürgen@example.com", "ops@example.com")))
    assert [one.addr_spec for one in mail["To"].addresses] == ["ops@example.com"]
    assert mail["To"].groups[0].display_name == "jürgen@example.com"
    assert read(replace(MESSAGE, to=("jürgen@example.com",)))["To"].addresses == ()
    assert read(replace(MESSAGE, to=()))["To"] == "undisclosed-recipients:;"


@pytest.mark.parametrize(
    "address",
    ["", "ops", "@x", "ops@", "a@b\r\nDATA", "a b@c", "<a@b>", "a@b,c@d", "a\0@b"],
)
def test_what_is_no_address_does_not_reach_the_wire(address, approved):
    with pytest.raises(ValueError) as caught:
        wire_address(address)
    approved(str(caught.value))


def test_a_domain_that_dns_cannot_have_is_no_address(approved):
    with pytest.raises(ValueError) as caught:
        wire_address("a@\u2028b.example".replace("\u2028", "☃\u0301.."))
    approved(str(caught.value))


def test_the_sender_of_the_settings_goes_before_the_account():
    mail = read(user="apikey", sender="alerts@example.com")
    assert mail["From"].addresses[0].addr_spec == "alerts@example.com"
