"""Proxies on loopback, as talks of a Listener: HTTP with CONNECT, and SOCKS.

They ask no resolver: every name is 127.0.0.1 to them.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct

from tests.support.listeners import Listener, Talk, answer, hear


def tunnels(login: str = "") -> Talk:
    """Return a talk that hands on what it is asked for; ``login`` is what it wants."""

    def talk(conn: socket.socket, listener: Listener) -> None:
        said = hear(conn, listener)
        if not said:
            return  # it did not like the certificate, say
        if login and f"Proxy-Authorization: {login}\r\n".encode() not in said:
            asks = 'Proxy-Authenticate: Basic realm="r"'
            conn.sendall(answer("407 Proxy Authentication Required", b"", asks))
            return
        method, where, _version = said.split(None, 2)
        place = where.removeprefix(b"http://").partition(b"/")[0]
        there = _connected(int(place.rpartition(b":")[2]))
        if there is None:
            conn.sendall(answer("502 Bad Gateway"))
            return
        if method == b"CONNECT":
            conn.sendall(b"HTTP/1.1 200 OK\r\nVia: 1.1 proxy\r\n\r\n")
        else:
            there.sendall(said)
        _hand_on(conn, there, listener)

    return talk


def socks5(conn: socket.socket, listener: Listener) -> None:
    """Hand on to where SOCKS 5 says, and note that as ``host:port``."""
    methods = _exactly(conn, 2)[1]
    _exactly(conn, methods)
    conn.sendall(b"\x05\x00")
    form = _exactly(conn, 4)[3]
    size = {1: 4, 4: 16}.get(form) or _exactly(conn, 1)[0]
    host = _exactly(conn, size)
    (port,) = struct.unpack(">H", _exactly(conn, 2))
    name = host.decode() if form == 3 else socket.inet_ntop(_FAMILIES[form], host)
    listener.heard.append(f"{name}:{port}".encode())
    there = _connected(port)
    conn.sendall(bytes([5, 0 if there else 5, 0, 1]) + bytes(6))
    if there is not None:
        _hand_on(conn, there, listener)


_FAMILIES = {1: socket.AF_INET, 4: socket.AF_INET6}


def _connected(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), 5)
    except OSError:
        return None


def _exactly(conn: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = conn.recv(size - len(data))
        if not more:
            raise ConnectionResetError
        data += more
    return data


def _hand_on(conn: socket.socket, there: socket.socket, listener: Listener) -> None:
    """Hand on between two connections until one of them ends."""
    other = {conn: there, there: conn}
    with there, contextlib.suppress(OSError):
        while not listener.over.is_set():
            for one in select.select(list(other), [], [], 0.1)[0]:
                data = one.recv(65_536)
                if not data:
                    return
                other[one].sendall(data)
