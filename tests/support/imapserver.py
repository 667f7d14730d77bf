"""A mail account on aiosmtpd and pymap, in this process: no test need be without."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from argparse import Namespace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import trustme

from tests.support.accounts import Account
from tests.support.servers import PASSWORD, USER, SmtpMail, SmtpServer, server_context


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
        from pysasl.hashing import BuiltinHash

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
            # What keeps a thief out for long costs a fifth of a second for each login.
            hash_context=BuiltinHash(rounds=1),
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


class PymapAccount(Account):
    """The account there is on a pair of aiosmtpd and pymap, which live as long."""

    name = "aiosmtpd and pymap"

    def __init__(self, ca: trustme.CA) -> None:
        super().__init__(ca)
        self.goes_to("INBOX")
        self.imap = PymapServer(ca)
        self.smtp = SmtpServer(ca, answer_rcpt=self._answer, answer_data=self._deliver)
        self._asked: list[str] = []
        self._timers: list[threading.Timer] = []

    def __enter__(self) -> PymapAccount:
        self.imap.__enter__()
        self.smtp.__enter__()
        self.smtpport, self.imapport = self.smtp.port, self.imap.port
        return self

    def __exit__(self, *exc_info: object) -> None:
        for timer in self._timers:
            timer.cancel()
            timer.join(10)
        self.smtp.__exit__()
        self.imap.__exit__()

    def goes_to(self, folder: str | None, after_s: float = 0.0) -> None:
        self._folder, self._after_s = folder, after_s

    def let_smtp_know(self, password: str) -> None:
        self.smtp.password = password

    def asked_for(self) -> list[str]:
        return list(self._asked)

    def notified(self, count: int = 1) -> list[SmtpMail]:
        ends_at = time.monotonic() + 20
        while len(found := [m for m in self.smtp.mails if self.contact in m.to]) < (
            count
        ):
            assert time.monotonic() < ends_at, f"{len(found)} mails came, not {count}"
            time.sleep(0.05)
        return found

    def _answer(self, address: str) -> str | None:
        self._asked.append(address)
        return self.answer if address == self.user else None

    def _deliver(self, mail: SmtpMail) -> None:
        if self._folder is None or self.user not in mail.to:
            return
        stamp = format_datetime(datetime.now(UTC))
        head = f"Received: from web1 by mail.test with ESMTPSA; {stamp}\r\n".encode()
        # The server waits for no answer of its own loop's making.
        arguments = (self._folder, head + mail.data)
        timer = threading.Timer(self._after_s, self.put, arguments)
        self._timers.append(timer)
        timer.start()
