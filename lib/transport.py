"""requests, made to keep a deadline.

The adapter opens its connections with ``lib.reach`` and ``lib.tls``: every address is
tried, the trust store is read once, and no read outlasts the deadline.  Imported when
the first HTTP target is due.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Mapping
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection
from urllib3.util import parse_url

from lib.reach import Deadline, TimedSocket, connect
from lib.tls import secure


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
    """What is known of a connection, also when nothing came of it."""

    def __init__(self) -> None:
        self.sock: TimedSocket | ssl.SSLSocket | None = None
        #: Where it went, as (host, port, ...).
        self.peer: tuple[Any, ...] = ()

    @property
    def received(self) -> int:
        """Return how many bytes came."""
        return getattr(self.sock, "received", 0)


class _Connection(HTTPConnection):
    """A connection that is opened our way, with TLS if there is a context."""

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
        with contextlib.suppress(OSError):  # a reset came already: the read will say so
            self._wire.peer = sock.getpeername()


class _TlsConnection(_Connection):
    #: The Host header names any other.
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
        self._how: dict[str, Any] = {
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
        kind = _TlsPool if self._how["context"] else _Pool
        port = parts.port or kind.ConnectionCls.default_port
        return kind(parts.host or "", port, **self._how)

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Leave the trust to our context: requests would load certificates again."""
