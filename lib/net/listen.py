"""Listening sockets on an address of the settings, or why there can be none."""

from __future__ import annotations

import errno
import os
import socket

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
