"""Mail servers for tests, on 127.0.0.1 and a port of their own.

SmtpServer is a real one: TLS, login, mails kept.  SmtpStub follows a script.  Both are
context managers and serve any process.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, TypeVar

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from tests.support.smtpstub import SMTP_TALK, SmtpStub, smtp_talk_until

__all__ = [
    "PASSWORD",
    "SMTP_TALK",
    "SmtpMail",
    "SmtpServer",
    "SmtpStub",
    "USER",
    "server_context",
    "smtp_talk_until",
]

Result = TypeVar("Result")

#: Names a certificate of ``server_context`` is good for, unless told otherwise.
OWN_NAMES = ("localhost", "127.0.0.1", "::1")
#: The only login an SmtpServer knows.
USER, PASSWORD = "checker@example.com", "pass%word-with-ümläut"


def server_context(ca: trustme.CA, *names: str, **issued: Any) -> ssl.SSLContext:
    """Return a server's TLS context with a certificate of ``ca`` for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*(names or OWN_NAMES), **issued).configure_cert(context)
    return context


@dataclass(frozen=True)
class SmtpMail:
    """A mail that a server took: the envelope, the bytes, and what a person reads."""

    sender: str
    to: tuple[str, ...]
    data: bytes
    user: str

    @property
    def parsed(self) -> EmailMessage:
        """Return the mail as the email package reads it."""
        mail = message_from_bytes(self.data, _class=EmailMessage, policy=default)
        assert isinstance(mail, EmailMessage)
        return mail

    @property
    def subject(self) -> str:
        """Return the subject as a person reads it."""
        return str(self.parsed["Subject"])

    @property
    def body(self) -> str:
        """Return the body as a person reads it."""
        return str(self.parsed.get_content()).replace("\r\n", "\n")


class SmtpServer:
    """A mail server that wants TLS and a login, and keeps what it takes in ``mails``.

        with SmtpServer(ca) as server:          # security="tls" for implicit TLS
            ... smtpserver = 127.0.0.1, smtpport = server.port ...
            server.wait_for(1)
            assert server.mails[0].subject == "[web1] disk full"

    ``answer_rcpt(address)`` and ``answer_data(mail)`` may return "550 why" or "451 why"
    instead of None, and may be set at any time; ``password`` likewise.  Options of
    aiosmtpd's SMTP (``enable_SMTPUTF8``, ``data_size_limit``) are passed on.
    ``security="none"``: no TLS, and a login is neither wanted nor offered.
    ``go_away()``: nobody listens any more, until ``come_back()``.
    """

    def __init__(
        self,
        ca: trustme.CA | None = None,
        *,
        security: str = "starttls",
        context: ssl.SSLContext | None = None,
        answer_rcpt: Callable[[str], str | None] = lambda address: None,
        answer_data: Callable[[SmtpMail], str | None] = lambda mail: None,
        **smtp_options: Any,
    ) -> None:
        self.security = security
        self.password = PASSWORD
        self.answer_rcpt = answer_rcpt
        self.answer_data = answer_data
        self.mails: list[SmtpMail] = []
        #: How many sessions were begun, and how many logins were tried.
        self.sessions = 0
        self.logins = 0
        self.port = 0
        #: Keeps the port from others while nobody listens.
        self._place: socket.socket | None = None
        if security != "none" and context is None:
            assert ca is not None, "a server with TLS needs a ca or a context"
            context = server_context(ca)
        self._context = context
        self._smtp_options = smtp_options
        self._arrived = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> SmtpServer:
        self._thread.start()
        self._server = self._await(self._listen())
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._await(self._stop())
        self._free_place()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def go_away(self) -> None:
        """Have nobody listen: who connects is refused."""
        self._await(self._close())
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", self.port))

    def come_back(self) -> None:
        """Listen again, at the same port."""
        self._free_place()
        self._server = self._await(self._listen())

    def wait_for(self, count: int, timeout_s: float = 10) -> list[SmtpMail]:
        """Return the mails once there are ``count`` of them; fail if that is late."""
        with self._arrived:
            came = self._arrived.wait_for(lambda: len(self.mails) >= count, timeout_s)
            assert came, f"{len(self.mails)} mails came, not {count}"
            return list(self.mails)

    def email_section(self, cafile: object = "") -> str:
        """Return the [email] section of a settings.cfg that uses this server."""
        lines = [
            "[email]",
            "smtpserver = 127.0.0.1",
            f"smtpport = {self.port}",
            f"smtpsecurity = {self.security}",
        ]
        if self.security != "none":
            lines += [f"user = {USER}", f"pass = {PASSWORD}", f"cafile = {cafile}"]
        return "\n".join(lines) + "\n"

    # What aiosmtpd calls; it finds the hooks by their names.

    async def handle_MAIL(
        self, server: SMTP, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if self.security != "none" and not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        failure = self.answer_rcpt(address)
        if failure:
            return failure
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:
        login = session.auth_data
        user = login.login.decode() if isinstance(login, LoginPassword) else ""
        mail = SmtpMail(
            envelope.mail_from, tuple(envelope.rcpt_tos), envelope.content, user
        )
        failure = self.answer_data(mail)
        if failure:
            return failure
        with self._arrived:
            self.mails.append(mail)
            self._arrived.notify_all()
        return f"250 2.0.0 OK queued as {len(self.mails)}"

    def _authenticate(
        self, server: SMTP, session: Any, envelope: Any, mechanism: str, login: Any
    ) -> AuthResult:
        self.logins += 1
        known = login == LoginPassword(USER.encode(), self.password.encode())
        return AuthResult(success=known, handled=False, auth_data=login)

    def _session(self) -> SMTP:
        self.sessions += 1
        own_tls = self._context if self.security == "starttls" else None
        return SMTP(
            self,
            hostname="mail.test",
            loop=self._loop,
            tls_context=own_tls,
            require_starttls=own_tls is not None,
            auth_require_tls=self.security != "tls",
            authenticator=self._authenticate,
            **self._smtp_options,
        )

    def _await(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    def _free_place(self) -> None:
        if self._place is not None:
            self._place.close()
            self._place = None

    async def _listen(self) -> asyncio.Server:
        around = self._context if self.security == "tls" else None
        return await self._loop.create_server(
            self._session, "127.0.0.1", self.port, ssl=around
        )

    async def _close(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _stop(self) -> None:
        await self._close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
