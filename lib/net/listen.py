"""Sockets that listen on an address of the settings, or why that cannot be."""

from __future__ import annotations

import errno
import os
import socket

#: Linux keeps at most net.core.somaxconn waiting, 4,096 where nobody changed it.
BACKLOG = 4096
#: What to do about it, for a person.
REMEDIES = {
    errno.EADDRINUSE: "is another daemon running?  Stop it, or set another port",
    errno.EACCES: "ports below 1024 need root; set a higher one, such as 5000",
    errno.EADDRNOTAVAIL: "this machine has no such address; 0.0.0.0 is every address",
}


class CannotListen(Exception):
    """The address cannot be listened on; the text says why, and what to do."""


def listening(host: str, port: int) -> list[socket.socket]:
    """Return a socket for each address of the host; raise CannotListen."""
    found: list[socket.socket] = []
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        resolved = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, address in dict.fromkeys((one[0], one[4]) for one in resolved):
            both = family is socket.AF_INET6 and host == "::"
            one = socket.create_server(
                (str(address[0]), int(address[1])),
                family=family,
                backlog=BACKLOG,
                dualstack_ipv6=both and socket.has_dualstack_ipv6(),
            )
            one.setblocking(False)
            found.append(one)
    except OSError as error:
        for one in found:
            one.close()
        raise CannotListen(f"{where}: {_why(error)}") from error
    return found


def _why(error: OSError) -> str:
    # What create_server adds to it says the address once more.
    said = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    remedy = REMEDIES.get(error.errno or 0, "")
    return f"{said}: {remedy}" if remedy else said
