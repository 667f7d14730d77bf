"""Each no that an IMAP server knows, at the login and at the folder."""

from __future__ import annotations

import time

import pytest

from lib.mail import connection, imap
from lib.mail.imap import LookFailed
from lib.mail.mailbox import Nowhere, folders_of
from lib.mail.replies import IMAP_CODES
from lib.net.connect import Deadline
from tests.support.imapstub import ImapStub, hush
from tests.support.listeners import HOLD, Listener, says
from tests.support.servers import USER, server_context
from tests.support.waits import SOON_S
from tests.unit.mail.test_mailbox import failure, look, mailbox, own_mail

#: RFC 5530, section 3, and TRYCREATE of RFC 3501: what passes by itself, what is
#: about user and password, and what is neither.
PASS = {"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "EXPUNGEISSUED"}
LOGIN = {"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED"}
OTHERS = {"PRIVACYREQUIRED", "CONTACTADMIN", "NOPERM", "CORRUPTION", "CLIENTBUG"}
OTHERS |= {"CANNOT", "OVERQUOTA", "ALREADYEXISTS", "NONEXISTENT", "TRYCREATE"}


def test_all_response_codes_of_the_rfc_are_known():
    assert set(IMAP_CODES) == PASS | LOGIN | OTHERS
    assert {code for code, row in IMAP_CODES.items() if row[0] == "unreachable"} == PASS
    assert {code for code, row in IMAP_CODES.items() if row[0] == "login failed"} == (
        LOGIN
    )


@pytest.mark.parametrize("code", IMAP_CODES)
def test_a_login_that_is_refused_says_what_the_code_says(ca, cafile, code, approved):
    no = f"TAG NO [{code}] not so\r\n".encode()
    with ImapStub(ca, instead={"AUTHENTICATE": no, "LOGIN": no}) as stub:
        found = failure(stub, cafile)
    assert found.problem == IMAP_CODES[code][0]
    assert ("user and pass" in str(found)) is (code in LOGIN - {"EXPIRED"})
    approved(str(found))


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("Maximum number of connections from user+IP exceeded", "unreachable"),
        ("[ALERT] Too many simultaneous connections. (Failure)", "unreachable"),
        ("[LIMIT] Maximum number of connections exceeded", "unreachable"),
        ("Temporary authentication failure", "unreachable"),
        ("[ALERT] Internal server error, please try again", "unreachable"),
        ("mailbox is in use by another process", "unreachable"),
        ("System busy", "unreachable"),
        ("[ALERT] Account exceeded command or bandwidth limits.", "unreachable"),
        ("User is authenticated but not connected.", "unreachable"),
        ("Invalid login: the limit of tries is exceeded", "login failed"),
        ("[AUTHENTICATIONFAILED] failed, please try again", "login failed"),
        ("Invalid credentials, try again", "login failed"),
        ("LOGIN failed.", "login failed"),
    ],
)
@pytest.mark.parametrize("answer", ["NO", "BYE"])
def test_what_passes_never_doubts_the_password(ca, cafile, words, problem, answer):
    said = f"TAG NO {words}\r\n" if answer == "NO" else f"* BYE {words}\r\n"
    with ImapStub(ca, instead={"AUTHENTICATE": said.encode()}) as stub:
        found = failure(stub, cafile)
    assert found.problem == (problem if answer == "NO" else "unreachable")
    assert words in str(found)
    assert ("check [email] user and pass" in str(found)) is (
        found.problem == "login failed"
    )


@pytest.mark.parametrize("code", [*IMAP_CODES, ""])
@pytest.mark.parametrize("pinned", ["", "Alerts"])
def test_the_folder_where_mail_is_expected_and_not_opened_is_the_verdict(
    ca, cafile, code, pinned, approved
):
    no = f"TAG NO [{code}] not this one\r\n" if code else "TAG NO not this one\r\n"
    folders = ('() "/" "INBOX"', '() "/" "Alerts"')
    with ImapStub(ca, folders, instead={"EXAMINE": no.encode()}) as stub:
        found = failure(stub, cafile, folder=pinned)
        with pytest.raises(LookFailed, match="not this one"):
            folders_of(mailbox(stub, cafile, folder=pinned), Deadline(8))
    assert found.problem == (IMAP_CODES[code][0] if code else "refused")
    if not pinned:
        approved(str(found))


def test_a_pinned_folder_that_is_not_listed_and_not_opened_is_missing(
    ca, cafile, approved
):
    no = b"TAG NO Mailbox does not exist (0.001 + 0.000 + 0.002 secs)\r\n"
    with ImapStub(ca, instead={"EXAMINE": no}) as stub:
        found = failure(stub, cafile, folder="Alerts")
    assert found.problem == "folder missing"
    approved(str(found))


@pytest.mark.parametrize(
    ("no", "problem"),
    [
        ("NO [SERVERBUG] index damaged", "unreachable"),
        ("NO [LIMIT] too much of that", "unreachable"),
        ("NO [CORRUPTION] damaged", "refused"),
        ("NO not that", "refused"),
        ("BAD what", "refused"),
    ],
)
@pytest.mark.parametrize("search", ["OK done", "NO [UNAVAILABLE] no index"])
def test_an_inbox_whose_mails_are_not_shown_is_no_empty_one(
    ca, cafile, no, problem, search
):
    instead = {name: f"TAG {no}\r\n".encode() for name in ("FETCH", "UID FETCH")}
    instead["UID SEARCH"] = f"TAG {search}\r\n".encode()
    with ImapStub(ca, mails={"INBOX": [own_mail()]}, instead=instead) as stub:
        found = failure(stub, cafile)
    assert found.problem == problem
    assert "the server does not show 'INBOX': " in str(found)


def test_another_folder_that_is_not_opened_is_passed_over(ca, cafile):
    def open_inbox_only(sock, tag):
        answer = "* 0 EXISTS\r\nTAG OK done\r\n"
        if "Junk" in stub.heard[-1]:
            answer = "TAG NO not this one\r\n"
        sock.sendall(answer.replace("TAG", tag).encode())

    folders = (r'(\Junk) "/" "Junk"', '() "/" "INBOX"')
    with ImapStub(ca, folders, instead={"EXAMINE": open_inbox_only}) as stub:
        assert look(stub, cafile) == Nowhere(("INBOX",))


@pytest.mark.parametrize(
    "step", ["greeting", "CAPABILITY", "AUTHENTICATE", "LIST", "EXAMINE", "UID SEARCH"]
)
def test_the_words_of_a_goodbye_are_shown(ca, cafile, step, approved):
    def leave(sock, _tag):
        sock.sendall(b"* BYE [UNAVAILABLE] closing for the night\r\n")
        raise EOFError

    inbox = {"INBOX": [own_mail()]}
    with ImapStub(ca, mails=inbox, instead={step: leave}) as stub:
        found = failure(stub, cafile)
    assert found.problem == "unreachable"
    approved(str(found))


def test_a_server_that_wants_to_know_who_we_are_is_told(ca, cafile):
    capabilities = "IMAP4rev1 AUTH=PLAIN ID"
    with ImapStub(ca, capabilities=capabilities) as stub:
        look(stub, cafile)
    names = [line.split()[0] for line in stub.heard]
    assert names.index("ID") < names.index("EXAMINE")
    assert 'ID ("name" "Checker")' in stub.heard


def test_a_server_that_wants_it_and_does_not_say_so_is_told(ca, cafile):
    def open_to_friends(sock, tag):
        known = any(line.startswith("ID ") for line in stub.heard)
        answer = "* 0 EXISTS\r\nTAG OK done" if known else "TAG NO Unsafe Login."
        sock.sendall(f"{answer}\r\n".replace("TAG", tag).encode())

    with ImapStub(ca, instead={"EXAMINE": open_to_friends}) as stub:
        assert look(stub, cafile) == Nowhere(("INBOX",))


# The ways to log in.


@pytest.mark.parametrize(
    ("capabilities", "heard"),
    [
        ("IMAP4rev1 AUTH=PLAIN", ["AUTHENTICATE PLAIN"]),
        ("IMAP4rev1", [f'LOGIN "{USER}"']),
        ("IMAP4rev1 LOGINDISABLED AUTH=LOGIN", ["AUTHENTICATE LOGIN"]),
        ("IMAP4rev1 LOGINDISABLED AUTH=CRAM-MD5", ["AUTHENTICATE CRAM-MD5"]),
        ("IMAP4rev1 LOGINDISABLED AUTH=GSSAPI AUTH=PLAIN", ["AUTHENTICATE PLAIN"]),
    ],
)
def test_each_way_to_log_in_is_taken_that_the_server_has(
    ca, cafile, capabilities, heard
):
    with ImapStub(ca, capabilities=capabilities) as stub:
        assert look(stub, cafile) == Nowhere(("INBOX",))
    ways = [line for line in stub.heard if line.startswith(("LOGIN ", "AUTH"))]
    assert [way[: len(one)] for way, one in zip(ways, heard, strict=True)] == heard


@pytest.mark.parametrize(
    "no",
    ["BAD unknown", "NO [CANNOT] not this way", "NO [ALERT] Unsupported mechanism"],
)
def test_a_mechanism_that_is_none_leaves_the_others(ca, cafile, no):
    instead = {"AUTHENTICATE": f"TAG {no}\r\n".encode()}
    with ImapStub(ca, instead=instead) as stub:
        assert look(stub, cafile) == Nowhere(("INBOX",))
    assert [line for line in stub.heard if line.startswith("LOGIN ")]


def test_a_wrong_password_is_not_said_twice(ca, cafile):
    instead = {"AUTHENTICATE": b"TAG NO [AUTHENTICATIONFAILED] wrong\r\n"}
    with ImapStub(ca, instead=instead) as stub:
        failure(stub, cafile)
    assert not [line for line in stub.heard if line.startswith("LOGIN ")]


def test_where_no_way_to_log_in_fits_those_on_offer_are_listed(ca, cafile, approved):
    capabilities = "IMAP4rev1 LOGINDISABLED AUTH=GSSAPI AUTH=SCRAM-SHA-256"
    with ImapStub(ca, capabilities=capabilities) as stub:
        found = failure(stub, cafile)
    assert found.problem == "refused"
    approved(str(found))


def test_a_server_that_wants_tls_before_the_login_names_the_option(ca, approved):
    began = time.monotonic()
    capabilities = "IMAP4rev1 LOGINDISABLED STARTTLS"
    with ImapStub(ca, security="none", capabilities=capabilities) as stub:
        found = failure(stub, "", limit_s=38)
    assert found.problem == "refused" and time.monotonic() - began < SOON_S
    approved(str(found))


@pytest.mark.parametrize("security", ["starttls", "none"])
def test_a_port_where_tls_comes_first_is_not_waited_for(
    ca, monkeypatch, security, approved
):
    # The port can be one of the tests' own only, and 5 s need not pass.
    monkeypatch.setattr(connection, "GREETING_S", 0.3)
    with ImapStub(ca, security="none", instead={"greeting": hush()}) as stub:
        monkeypatch.setattr(imap, "PORT_OF_TLS", stub.port)
        began = time.monotonic()
        found = failure(stub, "", security=security, limit_s=38)
    assert found.problem == "unreachable" and time.monotonic() - began < SOON_S
    approved(str(found))


@pytest.mark.parametrize("security", ["starttls", "none"])
def test_at_any_port_a_server_that_speaks_tls_only_is_known(ca, monkeypatch, security):
    monkeypatch.setattr(connection, "GREETS_WITHIN_S", 0.3)
    began = time.monotonic()
    with Listener(says(HOLD, first=True), context=server_context(ca)) as it:
        it.security = security
        found = failure(it, "", limit_s=38)
    assert found.problem == "unreachable" and time.monotonic() - began < SOON_S
    assert str(found).endswith("no greeting; this port wants imapsecurity = tls")


# What is deleted.


@pytest.mark.parametrize("capabilities", ["IMAP4rev1 AUTH=PLAIN", "IMAP4rev1 UIDPLUS"])
def test_what_stays_although_the_server_says_ok_is_counted(
    ca, cafile, capabilities, approved
):
    ok = b"TAG OK done\r\n"
    inbox = {"INBOX": [own_mail(), own_mail()]}
    lies = {"UID STORE": ok, "UID EXPUNGE": ok}
    with ImapStub(ca, mails=inbox, capabilities=capabilities, instead=lies) as stub:
        found = look(stub, cafile)
    assert found.deleted == 0
    approved(found.trouble)


def test_what_is_gone_is_not_said_to_stay(ca, cafile):
    with ImapStub(ca, mails={"INBOX": [own_mail(), own_mail()]}) as stub:
        found = look(stub, cafile)
    assert (found.deleted, found.trouble) == (2, "")
