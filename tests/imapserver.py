"""A mail account for tests: what a real SMTP server takes lies in a real mailbox.

``PymapAccount`` is aiosmtpd and pymap in this process.  Whoever speaks to it cannot
tell: TLS, a login, folders.
"""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import ssl
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import trustme

from lib.folders import encoded, quoted
from tests.servers import PASSWORD, USER, SmtpMail, SmtpServer, server_context


class PymapServer:
    """An IMAP server that keeps mails in memory: implicit TLS, one account."""

    def __init__(self, ca: trustme.CA, context: ssl.SSLContext | None = None) -> None:
        self._context = context or server_context(ca)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def __enter__(self) -> PymapServer:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(20)
        return self

    def __exit__(self, *exc_info: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        from proxyprotocol.sock import SocketInfoLocal
        from pymap.backend.dict import Config, Login
        from pymap.imap import IMAPServer
        from pymap.user import Passwords, UserMetadata

        config = Config(
            Namespace(passlib_cfg=None, proxy_protocol=None),
            demo_data=False,
            demo_user=USER,
            demo_password=PASSWORD,
            host="127.0.0.1",
            port=0,
            ssl_context=self._context,
            tls_enabled=False,
            invalid_user_sleep=0.0,
        )

        login = Login(config)
        hashed = await Passwords(config).hash_password(PASSWORD)
        await login.demo_user_identity.set(UserMetadata(config, USER, password=hashed))
        server = IMAPServer(login, config)

        async def serve(reader: Any, writer: Any) -> None:
            config.apply_context()
            await server(reader, writer, SocketInfoLocal(writer))

        self._server = await asyncio.start_server(
            serve, "127.0.0.1", 0, ssl=self._context
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@contextlib.contextmanager
def opened(port: int, ca: trustme.CA) -> Iterator[imaplib.IMAP4_SSL]:
    """Give a session with the mailbox, as its owner has one."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    session = imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=context, timeout=20)
    session.authenticate("PLAIN", lambda _: f"\0{USER}\0{PASSWORD}".encode())
    try:
        yield session
    finally:
        session.logout()


class PymapAccount:
    """An account whose mail goes where ``folder`` says, ``after_s`` seconds later.

    ``folder`` None: the server takes the mail, and it vanishes.
    """

    name = "pymap"

    def __init__(self, ca: trustme.CA) -> None:
        self._ca = ca
        self.imap = PymapServer(ca)
        self.smtp = SmtpServer(ca, answer_data=self._deliver)
        self.folder: str | None = "INBOX"
        self.after_s = 0.0
        self._timers: list[threading.Timer] = []

    def __enter__(self) -> PymapAccount:
        self.imap.__enter__()
        self.smtp.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for timer in self._timers:
            timer.cancel()
            timer.join(10)
        self.smtp.__exit__()
        self.imap.__exit__()

    def settings(self, cafile: object, more: str = "") -> str:
        """Return the [email] section of an instance that has this account."""
        return (
            self.smtp.email_section(cafile)
            + f"imapserver = 127.0.0.1\nimapport = {self.imap.port}\n{more}"
        )

    def put(self, folder: str, data: bytes, when: datetime | None = None) -> None:
        """Lay a mail into a folder, making it if need be."""
        raw = quoted(encoded(folder)).decode()
        moment = f'"{(when or datetime.now(UTC)):%d-%b-%Y %H:%M:%S +0000}"'
        with opened(self.imap.port, self._ca) as session:
            if folder != "INBOX":
                session.create(raw)
            assert session.append(raw, "", moment, data)[0] == "OK"

    def taken(self) -> list[SmtpMail]:
        """Return the mails the server took, but the probes."""
        found = [one for one in self.smtp.mails if "X-Checker-Probe" not in one.parsed]
        return [one for one in found if "nothing proves" not in one.subject]

    def subjects(self, folder: str = "INBOX") -> list[str]:
        """Return the subjects of the mails in a folder that are not deleted."""
        with opened(self.imap.port, self._ca) as session:
            if session.select(quoted(encoded(folder)).decode(), readonly=True)[0] != (
                "OK"
            ):
                return []
            what = "BODY.PEEK[HEADER.FIELDS (SUBJECT)]"
            found = session.search(None, "UNDELETED")[1][0].split()
            texts = [session.fetch(one.decode(), f"({what})")[1][0] for one in found]
        return [" ".join(one[1].decode().split())[9:] for one in texts]

    def wait_for(self, folder: str, count: int = 1) -> None:
        """Return once so many mails are in a folder."""
        ends_at = time.monotonic() + 20
        while len(self.subjects(folder)) < count:
            assert time.monotonic() < ends_at, f"no mail in {folder}"
            time.sleep(0.05)

    def _deliver(self, mail: SmtpMail) -> None:
        if self.folder is None:
            return
        stamp = format_datetime(datetime.now(UTC))
        head = f"Received: from web1 by mail.test with ESMTPSA; {stamp}\r\n".encode()
        # The server waits for no answer of its own loop's making.
        arguments = (self.folder, head + mail.data)
        timer = threading.Timer(self.after_s, self.put, arguments)
        self._timers.append(timer)
        timer.start()
