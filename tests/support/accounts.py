"""A mail account for tests: what is common to those on servers of any kind.

The servers come in pairs, one that takes mail and one that shows it: aiosmtpd and pymap
(tests/support/imapserver.py), Postfix and Dovecot (tests/support/postfixdovecot.py).
Whoever speaks to them cannot tell: TLS with a certificate of the tests' own authority,
a login, folders.
"""

from __future__ import annotations

import contextlib
import imaplib
import re
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import trustme

from lib.mail.folders import encoded
from lib.mail.imap import quoted
from tests.support.servers import PASSWORD, USER, SmtpMail


class Account:
    """An account, ``user``, whose mail goes where it is told to.

    ``answer``: what the server says to each mail for ``user`` instead of taking it, as
    in "451 4.7.1 later".  ``contact`` is somebody else, whose mail arrives at once.
    """

    name = ""
    user, contact = USER, "ops@example.com"
    answer: str | None = None
    smtpport = imapport = 0
    smtpsecurity, imapsecurity = "starttls", "tls"

    def __init__(self, ca: trustme.CA) -> None:
        self._trusted = ssl.create_default_context()
        ca.configure_trust(self._trusted)

    def settings(self, cafile: object, more: str = "") -> str:
        """Return the [email] section of an instance that has this account."""
        return (
            "[email]\n"
            f"smtpserver = 127.0.0.1\nsmtpport = {self.smtpport}\n"
            f"smtpsecurity = {self.smtpsecurity}\n"
            f"imapserver = 127.0.0.1\nimapport = {self.imapport}\n"
            f"imapsecurity = {self.imapsecurity}\n"
            f"user = {self.user}\npass = {PASSWORD}\ncafile = {cafile}\n{more}"
        )

    # What each kind of server has its own way for.

    def goes_to(self, folder: str | None, after_s: float = 0.0) -> None:
        """Say where mail for ``user`` lands; None: it is taken, and vanishes."""
        raise NotImplementedError

    def let_smtp_know(self, password: str) -> None:
        """Let the server that takes mail want another password than the mailbox."""
        raise NotImplementedError

    def asked_for(self) -> list[str]:
        """Return to whom somebody wanted to send, a line for each mail."""
        raise NotImplementedError

    def notified(self, count: int = 1) -> list[SmtpMail]:
        """Return the mails to ``contact``, once there are so many."""
        raise NotImplementedError

    # The mailbox, as its owner sees it.

    def put(
        self,
        folder: str,
        data: bytes,
        when: datetime | None = None,
        flags: str = "",
    ) -> None:
        """Lay a mail into a folder, making it if need be."""
        raw = quoted(encoded(folder)).decode()
        moment = f'"{(when or datetime.now(UTC)):%d-%b-%Y %H:%M:%S +0000}"'
        with self.opened() as session:
            if folder != "INBOX":
                session.create(raw)
            assert session.append(raw, flags, moment, data)[0] == "OK"

    def subjects(self, folder: str = "INBOX", which: str = "UNDELETED") -> list[str]:
        """Return the subjects of the mails in a folder that are not deleted."""
        with self.opened() as session:
            if session.select(quoted(encoded(folder)).decode(), readonly=True)[0] != (
                "OK"
            ):
                return []
            what = "BODY.PEEK[HEADER.FIELDS (SUBJECT)]"
            found = session.search(None, which)[1][0].split()
            texts = [session.fetch(one.decode(), f"({what})")[1][0] for one in found]
        return [" ".join(one[1].decode().split())[9:] for one in texts]

    def count(self, folder: str = "INBOX") -> int:
        """Return how many mails are in a folder; none where there is no folder."""
        raw = quoted(encoded(folder)).decode()
        with self.opened() as session:
            found = session.status(raw, "(MESSAGES)")[1][0] or b""
        number = re.search(rb"MESSAGES (\d+)", found)
        return int(number[1]) if number else 0

    def wait_for(self, folder: str, count: int = 1) -> None:
        """Return once so many mails are in a folder."""
        ends_at = time.monotonic() + 30
        while self.count(folder) < count:
            assert time.monotonic() < ends_at, f"no mail in {folder}"
            time.sleep(0.05)

    @contextlib.contextmanager
    def opened(self, user: str = "") -> Iterator[imaplib.IMAP4_SSL]:
        """Give a session with the mailbox of ``user``, who is its owner."""
        login = f"\0{user or self.user}\0{PASSWORD}".encode()
        session = imaplib.IMAP4_SSL(
            "127.0.0.1", self.imapport, ssl_context=self._trusted, timeout=20
        )
        session.authenticate("PLAIN", lambda _: login)
        try:
            yield session
        finally:
            session.logout()
