"""The server of the endpoints: waitress, with limits against slow or many clients.

No connection lives long.  If there are too many, the oldest one without a request is
closed, so that a peer that asks at once is always answered.  Who asks again before the
answer gets the first one only, since answers that nobody reads would fill memory.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import time
from types import FrameType
from typing import Any, cast

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

#: The most connections at once; each is a descriptor, of 1,024 that are usual.
MAX_CONNECTIONS = 500
#: How long a connection may last.
LONGEST_S = 10.0
#: How often the age of connections is checked.
LOOK_EVERY_S = 1.0
#: The most connections accepted at a time.
AT_A_TIME = 200
#: The request line and all headers.
MAX_HEADER = 4096
#: The body of a form.
MAX_FORM = 10_000
#: The bytes of bodies that are being sent at once; a body goes on disk before it is
#: read, whoever sends it.
MAX_BODIES = 50_000_000
#: How long answers under way may take after SIGTERM.
SHUTDOWN_S = 2.0

#: Linux queues at most net.core.somaxconn connections, by default 4,096.
BACKLOG = 4096
#: What to do about an error, for people.
HINTS = {
    errno.EADDRINUSE: "is another daemon running?  Stop it, or set another port",
    errno.EACCES: "ports below 1024 need root; set a higher one, such as 5000",
    errno.EADDRNOTAVAIL: "this machine has no such address; 0.0.0.0 is every address",
}


class CannotListen(Exception):
    """The address cannot be listened on; the text says why, and what to do."""


class Server:
    """The endpoints, each on its address, and their event loop."""

    def __init__(self) -> None:
        # It says at each request that waits that it does, and which paths strangers ask
        # for, as they are.
        logging.getLogger("waitress").setLevel(logging.ERROR)
        self._map: dict[int, Any] = {}
        self._threads: list[ThreadedTaskDispatcher] = []
        self._listeners: list[_Listener] = []
        self._ends = False

    def add(
        self, application: Any, host: str, port: int, *, max_body: int = 1
    ) -> list[tuple[str, int]]:
        """Have an application answer here, in threads of its own; return where.

        A request with a body of more than ``max_body`` bytes is answered with 413.
        Raise CannotListen.
        """
        sockets = listening(host, port)
        # Who asks one of them much delays no other.
        threads = ThreadedTaskDispatcher()
        threads.set_thread_count(4)
        self._threads.append(threads)
        self._listeners += [
            _Listener(
                application,
                self._map,
                True,
                sock,
                threads,
                _adjustments(max_body),
                (sock.family, sock.type, sock.proto, sock.getsockname()),
                bind_socket=False,
            )
            for sock in sockets
        ]
        self._allow_descriptors(MAX_CONNECTIONS * len(self._listeners) + 100)
        return [sock.getsockname()[:2] for sock in sockets]

    def serve(self) -> None:
        """Answer until SIGTERM or SIGINT, then finish what is under way."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        while not self._ends:
            self._turn(LOOK_EVERY_S)
        for listener in self._listeners:
            listener.shut()
        until = time.monotonic() + SHUTDOWN_S
        while time.monotonic() < until and any(
            listener.is_busy for listener in self._listeners
        ):
            self._turn(0.05)
        for threads in self._threads:
            threads.shutdown(cancel_pending=True, timeout=1)
        wasyncore.close_all(self._map)

    def _turn(self, wait_s: float) -> None:
        # Between the turns: within one, a descriptor that is closed is given to the
        # next connection, which then gets what was meant for the old one and is closed.
        for listener in self._listeners:
            listener.close_old()
            listener.close_senders()
        wasyncore.loop(timeout=wait_s, use_poll=True, map=self._map, count=1)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ends = True
        for listener in self._listeners:
            listener.pull_trigger()

    @staticmethod
    def _allow_descriptors(wanted: int) -> None:
        """Raise the descriptor limit if it is lower than needed."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Connection(HTTPChannel):
    """One connection, which knows its age."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self.opened_at = time.monotonic()
        super().__init__(*given, **named)

    def received(self, data: bytes) -> bool:
        """Take what a client sent; of several requests at once the first alone."""
        taken = bool(super().received(data))
        # The stubs of waitress have less than it has.
        channel = cast(Any, self)
        with channel.requests_lock:
            for request in channel.requests[1:]:
                channel.requests[0].headers["CONNECTION"] = "close"
                request.close()
            del channel.requests[1:]
        if self.held > MAX_FORM:
            cast(_Listener, self.server).has_bodies = True
        return taken

    @property
    def held(self) -> int:
        """Return how many bytes of a body have come, as long as it is not answered."""
        one = self.request or next(iter(list(self.requests)), None)
        return 0 if one is None else int(cast(Any, one).body_bytes_received)

    @property
    def is_busy(self) -> bool:
        """Return whether an answer to it is under way."""
        return bool(self.requests or self.total_outbufs_len)


class _Listener(TcpWSGIServer):
    """One listening socket."""

    channel_class = _Connection
    _looked_at = 0.0
    #: Some connection has sent more than a form since that was last looked at.
    has_bodies = False

    @property
    def connections(self) -> dict[int, _Connection]:
        """Return the connections, in the order in which they came."""
        return cast("dict[int, _Connection]", self.active_channels)

    @property
    def is_busy(self) -> bool:
        """Return whether an answer to anybody is under way."""
        return any(connection.is_busy for connection in self.connections.values())

    def readable(self) -> bool:
        """Return whether it accepts more."""
        return bool(self.accepting)

    def close_old(self) -> None:
        """Close connections that have lasted too long without a request."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        for connection in list(self.connections.values()):
            if now - connection.opened_at > LONGEST_S and not connection.requests:
                connection.handle_close()

    def close_senders(self) -> None:
        """Close the oldest connections with a body while there is too much of them."""
        if not self.has_bodies:
            return
        self.has_bodies = False
        sending = [one for one in self.connections.values() if one.held > MAX_FORM]
        held = sum(one.held for one in sending)
        for one in sending:
            if held <= MAX_BODIES:
                return
            if not one.requests:
                held -= one.held
                one.handle_close()

    def handle_accept(self) -> None:
        """Accept all waiting connections at once: each turn of the loop costs time."""
        for _ in range(AT_A_TIME):
            before = len(self.connections)
            super().handle_accept()
            if len(self.connections) <= before:
                return
            if before >= MAX_CONNECTIONS:
                self._make_room()

    def _make_room(self) -> None:
        for connection in self.connections.values():
            if not connection.is_busy:
                connection.handle_close()
                return

    def shut(self) -> None:
        """Accept no more connections; open ones are answered."""
        self.accepting = False
        self.del_channel()
        if self.socket is not None:
            self.socket.close()


def _adjustments(max_body: int) -> Adjustments:
    return Adjustments(
        ident="",
        backlog=BACKLOG,
        # _Listener has the real limit.
        connection_limit=100 * MAX_CONNECTIONS,
        recv_bytes=MAX_HEADER,
        max_request_header_size=MAX_HEADER,
        max_request_body_size=max_body,
        log_socket_errors=False,
        asyncore_use_poll=True,
    )


def listening(host: str, port: int) -> list[socket.socket]:
    """Return a socket for each address of the host; raise CannotListen."""
    sockets: list[socket.socket] = []
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        resolved = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, address in dict.fromkeys((info[0], info[4]) for info in resolved):
            both = family is socket.AF_INET6 and host == "::"
            sock = socket.create_server(
                (str(address[0]), int(address[1])),
                family=family,
                backlog=BACKLOG,
                dualstack_ipv6=both and socket.has_dualstack_ipv6(),
            )
            sock.setblocking(False)
            sockets.append(sock)
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise CannotListen(f"{where}: {_why(error)}") from error
    return sockets


def _why(error: OSError) -> str:
    # create_server adds the address to its own text.
    words = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    hint = HINTS.get(error.errno or 0, "")
    return f"{words}: {hint}" if hint else words
