"""[unix NAME]: checks that a daemon listens at a unix socket, and what it says."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import time
from collections.abc import Iterator

from lib.jobbase import (
    DIALOG_OPTIONS,
    CheckUnknown,
    Clash,
    Deadline,
    Options,
    Target,
    TargetJob,
    Values,
    anything_or_text,
    escaped,
    one_of,
    option,
    seconds,
    socket_path,
    talk_with_nobody,
)
from lib.net import bulk, connect
from lib.net.connect import Unreachable

#: The types of sockets, by the words of the option.
TYPES = {
    "stream": socket.SOCK_STREAM,
    "datagram": socket.SOCK_DGRAM,
    "seqpacket": socket.SOCK_SEQPACKET,
}
CLOSED = "closed"
#: What it means that a connection cannot be made: there is nobody.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED)
#: While a queue of connections is full, it is tried again after this long.
TRY_AGAIN_AFTER_S = 0.05


def expected(value: str) -> bytes | str | re.Pattern[bytes]:
    """Return what must come: bytes, anything, or that nobody listens."""
    word = value.lower()
    if word == CLOSED:
        return CLOSED
    return anything_or_text(value)


class UnixSocketChecker(bulk.InBulk, TargetJob):
    """One socket of this machine."""

    kind = "unix"
    recheck = "5min"
    guide = r"""
        A socket that is missing, or at which nobody listens, is failing. One that the
        user of Checker may not connect to is unknown. A full queue of connections is
        tried again until `timeout`. Texts and patterns are as those of
        [tcp](#tcp-name).
        """
    options: Options = {
        "path": option(socket_path, help="its path; @NAME for an abstract one"),
        "type": option(one_of(TYPES), "stream", help="stream, datagram or seqpacket"),
        "banner": option(
            escaped, b"", help="text that the daemon must say before anything is sent"
        ),
        "send": option(escaped, b"", help=r"text to send; \r \n \t \xNN work"),
        "expect": option(
            expected,
            b"",
            help="text that must be in the answer, or anything; or nobody may listen: "
            "closed",
        ),
        **DIALOG_OPTIONS,
        "fail_time": option(
            seconds, None, help="failing if all of it takes longer than this"
        ),
        "warn_time": option(
            seconds, None, help="a warning if all of it takes longer than this"
        ),
    }

    @classmethod
    def wrong_together(cls, target: Target) -> Iterator[Clash]:
        """Yield that nobody is to be talked to."""
        if target.expect == CLOSED:
            talk = ("banner", "send", "expect_regex", "dialog")
            yield from talk_with_nobody(target, CLOSED, *talk)

    def steps(self, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
        """Return how long it took until the daemon had said what is expected."""
        return steps(self, target, deadline)


def steps(job: TargetJob, target: Target, deadline: Deadline) -> bulk.Steps[Values]:
    """Return how long it took until the daemon had said what is expected."""
    began = time.monotonic()
    try:
        yield from _talk(target, deadline)
    except (OSError, Unreachable) as error:
        is_absent = isinstance(error, OSError) and error.errno in _ABSENT
        if target.expect != CLOSED or not is_absent:
            raise _failure(target, error, deadline) from error
    else:
        job.answered_by = target.path
        if target.expect == CLOSED:
            words = "somebody listens; expected closed"
            raise Unreachable(f"{target.path}: {words}", cause=words)
    took = time.monotonic() - began
    return {"time": seconds(took, warn=target.warn_time, fail=target.fail_time)}


def _talk(target: Target, deadline: Deadline) -> bulk.Steps[None]:
    """Connect, and carry out the rounds."""
    from lib.net import dialog

    sock = bulk.open_socket(socket.AF_UNIX, TYPES[target.type])
    line = dialog.Line(sock, deadline)
    try:
        yield from _connect(sock, target.path, deadline)
        if target.expect == CLOSED:
            return
        if line.is_datagrams:
            # Without an address of ours no answer could be sent; the system gives one.
            sock.bind("")
        yield from dialog.hold(line, dialog.rounds_of(target))
    finally:
        line.close()


def _connect(sock: socket.socket, path: str, deadline: Deadline) -> bulk.Steps[None]:
    """Connect; wait while the queue is full, of which the system gives no notice."""
    address = f"\0{path[1:]}" if path.startswith("@") else path
    while True:
        code = sock.connect_ex(address)
        if code != errno.EAGAIN:
            break
        yield bulk.Pause(deadline.within(TRY_AGAIN_AFTER_S))
        if deadline.passed:
            words = f"it takes no connection within {deadline}, as its queue is full"
            raise Unreachable(words)
    if code:
        raise OSError(code, os.strerror(code))


def _failure(
    target: Target, error: OSError | Unreachable, deadline: Deadline
) -> Exception:
    """Return what to raise for a socket that does not answer as expected."""
    number = error.errno if isinstance(error, OSError) else 0
    if number in (errno.EACCES, errno.EPERM):
        return CheckUnknown(_not_allowed(target.path))
    words = connect.reason(error, deadline)
    if number in (errno.ENOENT, errno.ENOTDIR):
        words = "there is no such socket"
    elif number == errno.ECONNREFUSED:
        words = _refused(target.path)
    elif number == errno.EPROTOTYPE:
        others = " or ".join(name for name in TYPES if name != target.type)
        words = f"this is no socket of type {target.type}; set type = {others}"
    return Unreachable(f"{target.path}: {words}", cause=words)


def _refused(path: str) -> str:
    """Return why a connection is refused: nobody listens, or it is no socket."""
    try:
        is_socket = path.startswith("@") or stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        is_socket = True
    if is_socket:
        return "connection refused: nobody listens there"
    return "this is not a socket"


def _not_allowed(path: str) -> str:
    """Return that we may not connect, and what to do about it."""
    import grp
    import pwd

    def user(number: int) -> str:
        try:
            return pwd.getpwuid(number).pw_name
        except KeyError:
            return str(number)

    us = user(os.geteuid())
    first = f"not checked: the user {us} may not connect to {path}"
    try:
        found = os.stat(path)
    except OSError:
        return f"{first}\n{us} may not enter its folder"
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    mode = stat.S_IMODE(found.st_mode)
    remedy = f"have its daemon make it so that {us} may write to it"
    if mode & stat.S_IWGRP and found.st_gid:
        remedy = f"as root: usermod -a -G {group} {us}"
    return (
        f"{first}\nit belongs to {user(found.st_uid)} and the group {group}, with mode "
        f"{mode:03o}; {remedy}"
    )
