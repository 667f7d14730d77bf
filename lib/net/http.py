"""One HTTP request within a deadline, reading no more of the response than needed.

``Adapter`` makes requests open its connections with ``lib.net.connect`` and
``lib.net.tls``: every address is tried, and no read outlasts the deadline.  Errors are
raised as Unreachable, in words, without the credentials of the URL.
"""

from __future__ import annotations

import contextlib
import ssl
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection
from urllib3.util import parse_url

from lib.net.address import place_of, printable, shown_url
from lib.net.connect import (
    Deadline,
    TimedSocket,
    Unreachable,
    connect,
    reason,
    shown_address,
)
from lib.net.tls import secure, trust

if TYPE_CHECKING:
    import requests


USER_AGENT = "Checker"


class Answer(msgspec.Struct):
    """A response whose headers were received."""

    status: int
    #: The server's own words for the status, printable and short.
    phrase: str
    #: The target of a redirect, as the server wrote it.
    location: str
    #: Who answered, as ``address:port``.
    peer: str
    _response: requests.Response
    _deadline: Deadline
    #: The address in ``peer``.
    address: str = ""

    def read(self, most: int) -> bytes:
        """Return the beginning of the body, at most ``most`` bytes.

        Raise Unreachable if that is not there by the deadline.
        """
        import urllib3

        content = b""
        try:
            while len(content) < most:
                self._deadline.left()
                chunk = self._response.raw.read1(most - len(content))
                if not chunk:
                    break
                content += chunk
        except (OSError, urllib3.exceptions.HTTPError, zlib.error) as error:
            raise Unreachable(
                body_words(error, len(content), self._deadline)
            ) from error
        return content


@contextmanager
def ask(
    method: str, url: str, deadline: Deadline, *, cafile: str = "", verify: bool = True
) -> Iterator[Answer]:
    """Yield the answer to one request, redirects not followed; close it at the end.

    A user and password in the URL are sent as basic authentication.  Raise Unreachable
    if there is no answer by the deadline, NotTried if ``cafile`` cannot be used.
    """
    import requests
    import urllib3

    context = trust(cafile, verify) if url.lower().startswith("https:") else None
    wire = Wire()
    adapter = Adapter(deadline, context, wire)
    # Compressed responses are decoded; requesting them costs more than it saves.
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close"}
    try:
        request = requests.Request(method.upper(), url, headers=headers).prepare()
    except (requests.RequestException, ValueError):
        # The library's error contains the whole URL, and so does its cause.
        raise Unreachable(f"{shown_url(url)}: this URL cannot be requested") from None
    try:
        response = adapter.send(request, stream=True)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        words = no_answer_words(_innermost(error), wire, deadline)
        raise Unreachable(
            f"{place_of(url)}: {words}",
            host=urlsplit(url).hostname or "",
            cause=words,
            addresses=wire.peer[:1],
        ) from None
    try:
        yield Answer(
            status=response.status_code,
            phrase=printable(str(response.reason or ""), 60),
            location=response.headers.get("location", ""),
            peer=shown_address(wire.peer),
            address=wire.peer[0],
            _response=response,
            _deadline=deadline,
        )
    finally:
        response.close()
        if wire.sock:
            wire.sock.close()


def no_answer_words(error: BaseException, wire: Wire, deadline: Deadline) -> str:
    """Return why there was no response although there was a connection."""
    import http.client

    came = f"{wire.received} bytes came"
    where = f"connected to {shown_address(wire.peer)}, " if wire.peer else ""
    if isinstance(error, TimeoutError):
        return f"no answer within {deadline} ({where}sent the request, {came})"
    if isinstance(error, (http.client.RemoteDisconnected, BrokenPipeError)):
        return "the connection was closed without a response"
    if isinstance(error, ConnectionResetError):
        return f"the connection was reset ({came})"
    if isinstance(error, http.client.BadStatusLine):
        return f"the server does not speak HTTP ({came})"
    if isinstance(error, http.client.HTTPException):
        return f"the headers are malformed: {printable(str(error), 100)}"
    if isinstance(error, OSError):
        return f"{reason(error, deadline)} ({where}{came})"
    return f"the response is malformed: {printable(str(error), 100)}"


def body_words(error: BaseException, size: int, deadline: Deadline) -> str:
    """Return why the body is not complete."""
    cause = _innermost(error)
    if isinstance(cause, TimeoutError):
        return f"timed out after {deadline} with {shown_size(size)} of the body"
    if isinstance(cause, zlib.error):
        return f"the body is damaged: it cannot be unpacked after {shown_size(size)}"
    return f"the connection broke after {shown_size(size)} of the body"


def shown_size(size: int) -> str:
    """Return a number of bytes in bytes or kB."""
    return f"{size} bytes" if size < 1000 else f"{size // 1000} kB"


def _innermost(error: BaseException) -> BaseException:
    """Return the original error, which libraries wrapped in their own."""
    for _depth in range(10):
        # urllib3's error about TLS has the original one as its only argument.
        inside = [arg for arg in error.args if isinstance(arg, BaseException)]
        within = error.__cause__ or error.__context__ or next(iter(inside), None)
        if within is None:
            break
        error = within
    return error


class TimedTlsSocket(ssl.SSLSocket):
    """A TLS socket whose reads all end at one deadline."""

    deadline: Deadline | None = None
    received = 0

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Return how many bytes were read; raise TimeoutError at the deadline."""
        if self.deadline:
            self.settimeout(self.deadline.left())
        count = super().recv_into(*args, **kwargs)
        self.received += count
        return count


class Wire:
    """What is known of a connection, also if the request failed."""

    def __init__(self) -> None:
        self.sock: TimedSocket | ssl.SSLSocket | None = None
        #: Where it went, as (host, port, ...).
        self.peer: tuple[Any, ...] = ()

    @property
    def received(self) -> int:
        """Return how many bytes were received."""
        return getattr(self.sock, "received", 0)


class _Connection(HTTPConnection):
    """A connection opened by lib.net, with TLS if there is a context."""

    def __init__(
        self,
        *args: Any,
        deadline: Deadline,
        context: ssl.SSLContext | None,
        wire: Wire,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._deadline, self._context, self._wire = deadline, context, wire

    def connect(self) -> None:
        """Open the connection; raise Unreachable or NotTried."""
        sock: TimedSocket | ssl.SSLSocket
        if self._context is None:
            sock = connect(self.host, self.port, self._deadline)
        else:
            sock = secure(self.host, self.port, self._deadline, self._context)
            assert isinstance(sock, TimedTlsSocket)
            sock.deadline = self._deadline
        self.sock = self._wire.sock = sock
        with contextlib.suppress(OSError):  # reset already: the read will report it
            self._wire.peer = sock.getpeername()


class _TlsConnection(_Connection):
    #: The Host header names any other port.
    default_port = 443  # type: ignore[misc]  # as in urllib3's own class for TLS


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPConnectionPool):
    ConnectionCls = _TlsConnection


class Adapter(HTTPAdapter):
    """Sends one request, within a deadline."""

    def __init__(
        self, deadline: Deadline, context: ssl.SSLContext | None, wire: Wire
    ) -> None:
        super().__init__()
        if context is not None:
            context.sslsocket_class = TimedTlsSocket
        self._options: dict[str, Any] = {
            "deadline": deadline,
            "context": context,
            "wire": wire,
        }

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: Any,
        proxies: Mapping[str, str] | None = None,
        cert: Any = None,
    ) -> HTTPConnectionPool:
        """Return a pool for this request alone; no proxy, whatever the environment."""
        parts = parse_url(request.url or "")
        kind = _TlsPool if self._options["context"] else _Pool
        port = parts.port or kind.ConnectionCls.default_port
        return kind(parts.host or "", port, **self._options)

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: our context has the certificates already."""
