"""A spool of heartbeats: what wrapped commands and the daemon report to the next run.

An event is one small file of a random name, written whole: ``write`` makes it,
``waiting`` reads what lies there.  Nothing here removes one: a run does so after the
commit that applied it.  Writing imports next to nothing, since each command that
``-m wrap`` starts pays for it.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lib.core.heartbeats import Event

#: Where ``-m wrap`` writes unless it is told otherwise.
DEFAULT_SPOOL = "/var/spool/checker"
#: The most bytes of one event, and the most events of one user that are read at once.
MAX_BYTES, MAX_OF_A_USER = 64 * 1024, 1000
#: The most names that are looked at.
MAX_NAMES = 20_000
#: What a writer that was killed left half written is removed after this.
LEFTOVER_S = 3600.0
#: Who belongs to the group of the folder may read it, whatever the umask is.
MODE = 0o640
_ENDING, _UNFINISHED = ".json", ".tmp"


def write(folder: str, content: bytes, *, sync: bool = True) -> str:
    """Write an event, whole or not at all; return its path.

    Raise OSError if it cannot be taken.  Without ``sync`` a power cut may lose it.
    """
    name = os.urandom(16).hex()
    temporary = os.path.join(folder, f".{name}{_UNFINISHED}")
    path = os.path.join(folder, name + _ENDING)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        try:
            write_whole(descriptor, content)
            os.fchmod(descriptor, MODE)
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        _remove_quietly(temporary)
        raise
    return path


def write_whole(descriptor: int, content: bytes) -> None:
    """Write all of the content; raise OSError if the last byte cannot be written."""
    left = memoryview(content)
    while left:
        count = os.write(descriptor, left)
        if count == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        left = left[count:]


def _remove_quietly(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


class Found:
    """A file of the spool that may be an event."""

    def __init__(
        self,
        path: str,
        uid: int,
        written_at: float,
        event: Event | None,
        wrong: str = "",
    ) -> None:
        self.path = path
        #: The user who wrote it.
        self.uid = uid
        #: When it was written, in seconds of the epoch; nobody can set it.
        self.written_at = written_at
        #: None: it is none; and why.
        self.event = event
        self.wrong = wrong


class Waiting:
    """What lies in a spool."""

    def __init__(
        self, found: list[Found], too_many: dict[int, int], leftovers: list[str]
    ) -> None:
        self.found = found
        #: The users of whom there is more than is read at once, and how many files.
        self.too_many = too_many
        #: What killed writers left half written, to be removed.
        self.leftovers = leftovers


def waiting(folder: str, now: float, decode: Callable[[bytes], Event]) -> Waiting:
    """Return what lies in a spool, the oldest of each user first; raise OSError.

    ``decode`` returns the event of a text, or raises ValueError.  A link, a pipe, and a
    file that has two names or is too large are no events.
    """
    by_user: dict[int, list[tuple[int, str]]] = {}
    leftovers: list[str] = []
    for path, status in _listed(folder):
        if not path.endswith(_ENDING):
            if path.endswith(_UNFINISHED) and now - status.st_ctime > LEFTOVER_S:
                leftovers.append(path)
            continue
        by_user.setdefault(status.st_uid, []).append((status.st_ctime_ns, path))
    found: list[Found] = []
    too_many: dict[int, int] = {}
    for uid, files in by_user.items():
        files.sort()
        if len(files) > MAX_OF_A_USER:
            too_many[uid] = len(files)
        found += _read_all(files[:MAX_OF_A_USER], uid, decode)
    return Waiting(found, too_many, leftovers)


def _listed(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number >= MAX_NAMES:
                return
            try:
                yield entry.path, entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                # Its writer has renamed it just now.
                continue


def _read_all(
    files: list[tuple[int, str]], uid: int, decode: Callable[[bytes], Event]
) -> Iterator[Found]:
    for written_ns, path in files:
        written_at = written_ns / 1e9
        try:
            content = _read(path, uid)
            yield Found(path, uid, written_at, decode(content))
        except FileNotFoundError:
            continue
        except ValueError as error:
            yield Found(path, uid, written_at, None, str(error))
        except OSError as error:
            # A link gives ELOOP, a socket ENXIO.
            yield Found(path, uid, written_at, None, error.strerror or str(error))


def _read(path: str, uid: int) -> bytes:
    """Return what a file holds; raise ValueError if it is not as ``write`` makes it."""
    # A pipe has no writer, and must not be waited for.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        if status.st_nlink != 1 or status.st_uid != uid:
            raise ValueError("it has another name, too")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"it has {status.st_size} bytes, too many for an event")
        content = os.read(descriptor, MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise ValueError("it grows while it is read")
    return content


def why_not_usable(folder: str) -> str:
    """Return why a spool cannot be read or emptied, and what to do; empty if it can."""
    import shlex

    shown = shlex.quote(folder)
    try:
        status = os.stat(folder)
    except FileNotFoundError:
        return f"{folder} is not there; as root: {_install(shown)}"
    except OSError as error:
        return f"{folder}: {error.strerror}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{folder} is not a folder; move it away"
    if status.st_uid != os.geteuid() and os.geteuid() != 0:
        return f"{folder} belongs to another user; as root: {_install(shown)}"
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if others_write and not status.st_mode & stat.S_ISVTX:
        return (
            f"{folder} lets each user remove what others wrote; type: chmod 3733 "
            f"{shown}"
        )
    return ""


def _install(shown: str) -> str:
    import grp
    import pwd

    def name(entry: Callable[[], str], number: int) -> str:
        try:
            return entry()
        except KeyError:
            return str(number)

    uid, gid = os.geteuid(), os.getegid()
    user = name(lambda: pwd.getpwuid(uid).pw_name, uid)
    group = name(lambda: grp.getgrgid(gid).gr_name, gid)
    return f"install -d -o {user} -g {group} -m 3733 {shown}"
