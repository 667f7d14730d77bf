"""A network of one's own: loopback alone, in which pings are answered as a test says.

Root only.  What runs in it is a child process; it may be a user who may do little.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pickle
import socket
import struct
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS, _UP = 0x8914, 0x1 | 0x8 | 0x40
_NO_NEW_PRIVS = 38
_IGNORE = (
    "/proc/sys/net/ipv4/icmp_echo_ignore_all",
    "/proc/sys/net/ipv6/icmp/echo_ignore_all",
)
EVERYBODY, NOBODY = "0 2147483647", "1 0"

#: Gets the destination and the number of a ping; returns what is to be done.
Answer = Callable[[str, int], str]


def in_network(
    call: Callable[[], Any],
    *,
    answer: Answer | None = None,
    may_ping: str = EVERYBODY,
    is_root: bool = False,
    is_confined: bool = False,
) -> Any:
    """Return what a call returns in a network of its own.

    Without ``answer`` the system answers pings.  Without ``is_root`` the call is made
    by nobody; ``is_confined`` keeps commands from having more rights than that.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            result: Any = _inside(call, answer, may_ping, is_root, is_confined)
        except Exception:
            result = traceback.format_exc()
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(result, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(said)


def _inside(
    call: Callable[[], Any],
    answer: Answer | None,
    may_ping: str,
    is_root: bool,
    is_confined: bool,
) -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _UP))
    Path("/proc/sys/net/ipv4/ping_group_range").write_text(may_ping)
    if answer:
        for path in _IGNORE:
            with contextlib.suppress(FileNotFoundError):
                Path(path).write_text("1")
        Answering(answer).start()
    if not is_root:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    if is_confined:
        libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    return call()


class Answering:
    """Answers pings over IPv4 as ``answer`` says of each: one or several words.

    ``well``; ``silent``; ``late``, after 0.3 s; ``twice``; ``other``, from another
    host; ``garbled``, with other content; ``unreachable``, said by 127.0.0.99.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._counts: dict[str, int] = {}
        self._hears = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
        self._says = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)

    def start(self) -> None:
        """Begin to answer, until the process ends."""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            packet = self._hears.recv(65_535)
            header, content = packet[:20], packet[20:]
            if content[0] != 8:
                continue
            source, to = (socket.inet_ntoa(header[at : at + 4]) for at in (12, 16))
            number = self._counts[to] = self._counts.get(to, 0) + 1
            what = self._answer(to, number)
            reply = b"\0" + content[1:]
            if what == "garbled":
                reply = reply[:8] + bytes(len(reply) - 8)
            if what == "late":
                said = (to, source, reply)
                threading.Timer(0.3, self._say, said).start()
            elif what == "other":
                self._say("127.0.0.98", source, reply)
            elif what == "unreachable":
                quoted = packet[:28]
                self._say("127.0.0.99", source, b"\x03\x01\0\0\0\0\0\0" + quoted)
            elif what != "silent":
                for _ in range(2 if what == "twice" else 1):
                    self._say(to, source, reply)

    def _say(self, source: str, to: str, content: bytes) -> None:
        content = content[:2] + b"\0\0" + content[4:]
        content = content[:2] + _sum(content) + content[4:]
        addresses = socket.inet_aton(source) + socket.inet_aton(to)
        header = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, 1, 0) + addresses
        self._says.sendto(header + content, (to, 0))


def _sum(content: bytes) -> bytes:
    padded = content + b"\0" * (len(content) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
