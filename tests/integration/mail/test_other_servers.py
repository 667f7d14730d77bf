"""Mail servers that people have beside Postfix and Dovecot, and what they say."""

from __future__ import annotations

import contextlib
import imaplib
import ssl
import time
from datetime import UTC, datetime

import pytest

from lib.alerting import delivery
from lib.alerting.delivery import Outbox, Sent, Unsent
from lib.alerting.queue import Envelope
from lib.alerting.results import DeliveryFailure
from lib.core.enums import MessageKind
from lib.core.messages import Message
from lib.core.secret import Secret
from lib.core.settings import Mailbox
from lib.mail.folders import Kind
from lib.mail.imap import LookFailed
from lib.mail.mailbox import Nowhere, folders_of, look_for
from lib.mail.proof import RoundTripMail
from lib.net.connect import Deadline
from lib.system import process
from tests.support.approved import REAL
from tests.support.mailing import failure, message, send, settings_for
from tests.support.packagedservers import SECRET, PackagedServer
from tests.support.postfixdovecot import PostfixAccount
from tests.support.servers import PASSWORD, USER

pytestmark = pytest.mark.integration
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TOKEN = "0123456789abcdef" * 2
OURS = (
    f"Message-ID: <{TOKEN}@web1>\r\nX-Checker-Round-Trip: {TOKEN}\r\n"
    f"Subject: [web1] round-trip mail {TOKEN}\r\nFrom: {USER}\r\n\r\nbody\r\n"
).encode()
LUNCH = b"Subject: lunch\r\nFrom: a@example.com\r\n\r\nat noon\r\n"


@pytest.fixture(scope="module")
def servers(ca):
    """Return what gives a server, started once for all tests of this file."""
    started = {}
    with contextlib.ExitStack() as stack:

        def server(name, options=""):
            if (name, options) not in started:
                one = PackagedServer(name, ca, options)
                started[name, options] = stack.enter_context(one)
            return started[name, options]

        yield server


def sending(server, cafile, **mail):
    return settings_for(server.port, cafile, **{"password": SECRET, **mail})


def outcome(settings, *recipients):
    """Send a mail to each; return what becomes of it, in order."""
    box = Outbox(settings)
    batch = []
    for number, to in enumerate(recipients):
        name = f"{number:032d}"
        one = Message(name, MessageKind.ALERT, f"no {number}", "body", (to,), NOON)
        batch.append(Envelope(one, (name,), name, NOON))
    box.start(batch, 20)
    found = []
    ends_at = time.monotonic() + 25
    while box.is_busy and time.monotonic() < ends_at:
        process.wait(box.children, 0.2)
        found += box.events()
    return found


def test_an_alert_to_exim_is_taken_and_a_refused_one_leaves_the_others(
    servers, cafile, approved
):
    settings = sending(servers("exim"), cafile)
    found = outcome(settings, "a@example.com", "gone@example.com", "b@example.com")
    assert [type(one) for one in found] == [Sent, Unsent, Sent]
    assert found[1].failure.permanent
    approved(found[1].failure.why, hide=REAL)


def test_opensmtpd_refuses_some_and_takes_the_others(servers, approved):
    settings = sending(servers("opensmtpd"), "", smtpsecurity="none")
    known = ("a@example.com", "known@virtual.example")
    refused = ("gone@example.com", "unknown@virtual.example")
    found = outcome(settings, refused[0], known[0], refused[1], known[1])
    assert [type(one) for one in found] == [Unsent, Sent, Unsent, Sent]
    for number in (0, 2):
        assert found[number].failure.permanent
        approved(found[number].failure.why, str(number), hide=REAL)


@pytest.mark.parametrize("password", ["another", ""])
def test_a_login_that_is_wrong_or_missing_is_named(servers, cafile, password, approved):
    error = failure(sending(servers("exim"), cafile, password=password))
    assert not error.permanent
    approved(str(error), hide=REAL)


def test_a_login_that_exim_cannot_look_up_now_is_no_wrong_password(
    servers, cafile, approved
):
    error = failure(sending(servers("exim"), cafile, user="broken@example.com"))
    why = DeliveryFailure(
        str(error), error.step, error.code, error.status, error.answer
    )
    assert (error.code, why.is_login, why.is_limit) == (435, False, False)
    approved(str(error), hide=REAL)


def test_what_is_too_big_for_exim_is_so_for_good(servers, cafile, approved):
    error = failure(sending(servers("exim"), cafile), message(body="x" * 200_000))
    assert error.permanent
    approved(str(error), hide={**REAL, r"SIZE=\d+": "SIZE=N"})


def test_without_tls_the_remedy_is_named(servers, approved):
    approved(str(failure(sending(servers("exim"), "", smtpsecurity="none"))))


def test_after_msmtpd_has_refused_and_hung_up_the_others_go_in_a_new_session(
    servers, approved
):
    server = servers("msmtpd")
    settings = sending(server, "", smtpsecurity="none")
    found = outcome(
        settings,
        "gone@example.com",
        "a@example.com",
        "later@example.com",
        "b@example.com",
    )
    assert [type(one) for one in found] == [Unsent, Sent, Unsent, Sent]
    for number in (0, 2):
        approved(found[number].failure.why, str(number), hide=REAL)
        assert found[number].failure.why != delivery.SESSION_ENDED
    assert [found[0].failure.code, found[2].failure.code] == [554, 451]
    assert len(list((server.folder / "taken").iterdir())) == 2


def test_many_mails_to_msmtpd_share_a_session(servers):
    settings = sending(servers("msmtpd"), "", smtpsecurity="none")
    assert send(settings, *(message(f"no {number}") for number in range(5))) == [{}] * 5


def test_sendmail_refuses_some_and_takes_the_others(servers, approved):
    settings = sending(servers("sendmail"), "", smtpsecurity="none")
    refused = ("gone@example.com", "later@example.com")
    found = outcome(settings, refused[0], "a@example.com", refused[1], "b@example.com")
    assert [type(one) for one in found] == [Unsent, Sent, Unsent, Sent]
    assert [found[number].failure.permanent for number in (0, 2)] == [True, False]
    for number in (0, 2):
        approved(found[number].failure.why, str(number), hide=REAL)


def test_what_is_too_big_for_sendmail_is_so_for_good(servers, approved):
    settings = sending(servers("sendmail"), "", smtpsecurity="none")
    error = failure(settings, message(body="x" * 200_000))
    assert error.permanent
    approved(str(error), hide={**REAL, r"\b\d{6}\b": "N"})


# Dovecot.


def test_too_many_connections_to_dovecot_are_no_wrong_password(
    ca, cafile, postfix_dovecot, approved
):
    with PostfixAccount(
        ca, postfix_dovecot
    ) as account, contextlib.ExitStack() as stack:
        for _number in range(10):
            stack.enter_context(account.opened())
        box = Mailbox(
            "127.0.0.1",
            account.imapport,
            "tls",
            account.user,
            Secret(PASSWORD),
            str(cafile),
        )
        with pytest.raises(LookFailed) as caught:
            folders_of(box, Deadline(20))
    assert caught.value.problem == "unreachable"
    approved(str(caught.value), hide=REAL)


# Cyrus.

LAYOUTS = [
    f"altnamespace: {alt}\nunixhierarchysep: {slash}\n"
    for alt in ("no", "yes")
    for slash in ("no", "yes")
]


def box_of(server, cafile, **options):
    password = Secret(options.pop("password", SECRET))
    return Mailbox(
        "127.0.0.1", server.port, "tls", "checker", password, str(cafile), **options
    )


@pytest.fixture
def owner(ca):
    """Return what opens the mailbox as its owner does."""
    trusted = ssl.create_default_context()
    ca.configure_trust(trusted)

    @contextlib.contextmanager
    def opened(server):
        session = imaplib.IMAP4_SSL("127.0.0.1", server.port, ssl_context=trusted)
        login = f"\0checker\0{SECRET}".encode()
        session.authenticate("PLAIN", lambda _challenge: login)
        yield session
        session.logout()

    return opened


def look(server, cafile, **options):
    wanted = RoundTripMail(TOKEN, datetime.now(UTC), "web1", USER)
    return look_for(box_of(server, cafile, **options), wanted, Deadline(20))


@pytest.mark.parametrize("options", LAYOUTS)
def test_cyrus_shows_our_mail_in_each_folder_and_lets_it_be_deleted(
    servers, cafile, owner, options
):
    server = servers("cyrus", options)
    names = folders_of(box_of(server, cafile), Deadline(20))
    assert names[0] == "INBOX" and len(names) == 3
    kinds = []
    for name in names:
        with owner(server) as session:
            for mail in (LUNCH, OURS):
                assert session.append(f'"{name}"', "", None, mail)[0] == "OK"
        found = look(server, cafile)
        kinds.append(found.kind)
        assert (found.folder, found.deleted, found.trouble) == (name, 1, "")
        with owner(server) as session:
            assert session.select(f'"{name}"', readonly=True)[1] == [b"1"]
    assert kinds == [Kind.INBOX, Kind.TRASH, Kind.JUNK]
    assert isinstance(look(server, cafile), Nowhere)


def test_a_login_that_cyrus_refuses_is_named(servers, cafile, approved):
    with pytest.raises(LookFailed) as caught:
        look(servers("cyrus", LAYOUTS[0]), cafile, password="another")
    assert caught.value.problem == "login failed"
    approved(str(caught.value), hide=REAL)


def test_a_folder_that_cyrus_has_not_is_named_in_its_words(servers, cafile, approved):
    with pytest.raises(LookFailed) as caught:
        look(servers("cyrus", LAYOUTS[0]), cafile, folder="Alerts")
    assert caught.value.problem == "folder missing"
    approved(str(caught.value), hide=REAL)


def test_what_cyrus_lets_nobody_delete_is_counted(servers, cafile, owner, approved):
    server = servers("cyrus", LAYOUTS[0])
    with owner(server) as session:
        assert session.create("INBOX.Kept")[0] == "OK"
        assert session.append("INBOX.Kept", "", None, OURS)[0] == "OK"
        assert session.setacl("INBOX.Kept", "checker", "lra")[0] == "OK"
    try:
        found = look(server, cafile, folder="INBOX.Kept")
    finally:
        with owner(server) as session:
            session.setacl("INBOX.Kept", "checker", "lrswipkxtecda")
            session.delete("INBOX.Kept")
    assert found.deleted == 0
    approved(found.trouble, hide=REAL)


# Courier.


def courier_box(server, password=SECRET):
    return Mailbox("127.0.0.1", server.port, "none", "checker", Secret(password), "")


@contextlib.contextmanager
def courier_session(server):
    session = imaplib.IMAP4("127.0.0.1", server.port)
    session.login("checker", SECRET)
    yield session
    session.logout()


def test_courier_shows_our_mail_in_each_folder_and_lets_it_be_deleted(servers):
    server = servers("courier")
    wanted = RoundTripMail(TOKEN, datetime.now(UTC), "web1", USER)
    with courier_session(server) as session:
        for folder in ("INBOX.Trash", "INBOX.Spam"):
            session.create(folder)
    for folder in ("INBOX", "INBOX.Trash", "INBOX.Spam"):
        with courier_session(server) as session:
            for mail in (LUNCH, OURS):
                assert session.append(folder, "", None, mail)[0] == "OK"
        found = look_for(courier_box(server), wanted, Deadline(20))
        assert (found.folder, found.deleted, found.trouble) == (folder, 1, "")
        with courier_session(server) as session:
            assert session.select(folder, readonly=True)[1] == [b"1"]


def test_a_login_that_courier_refuses_is_named(servers, approved):
    with pytest.raises(LookFailed) as caught:
        folders_of(courier_box(servers("courier"), "another"), Deadline(20))
    assert caught.value.problem == "login failed"
    approved(str(caught.value), hide=REAL)


def test_a_courier_that_is_full_is_no_wrong_password(servers, approved):
    server = servers("courier")
    with contextlib.ExitStack() as stack:
        for _number in range(3):
            stack.enter_context(courier_session(server))
        with pytest.raises(LookFailed) as caught:
            folders_of(courier_box(server), Deadline(20))
    assert caught.value.problem == "unreachable"
    approved(str(caught.value))
