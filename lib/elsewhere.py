"""A few bytes kept outside the state folder, for when nothing can be written there.

They lie in memory where the system offers that, in a folder that is ours alone: one
that others own, may enter, or have put a link in the place of is passed over.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.disk import open_to_write, overwrite

#: Nothing that is kept here is longer.
MAX_BYTES = 4096


def usual_places() -> list[Path]:
    """Return the folders to try, the best first; each is gone when its machine is."""
    user = os.geteuid()
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{user}"
    return [
        Path(runtime) / "checker",
        # Only root may make this one.
        Path(f"/run/checker-{user}"),
        Path(f"/dev/shm/checker-{user}"),
        Path(f"/tmp/checker-{user}"),
    ]


@dataclass(frozen=True)
class Slot:
    """A small file that we hold, and nobody else while we do."""

    descriptor: int
    text: str

    def write(self, text: str) -> bool:
        """Replace what it holds; return whether that could be done."""
        data = text.encode("ascii", "replace")[:MAX_BYTES]
        try:
            overwrite(self.descriptor, data)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let others have it."""
        os.close(self.descriptor)


class InUse(Exception):
    """Another process holds the slot."""


def slots(about: Path, places: Iterable[Path]) -> Iterator[Slot]:
    """Yield our slot for a folder in each of the places that can be had.

    Raise InUse where another process of ours holds it.
    """
    name = hashlib.sha256(os.fsencode(about)).hexdigest()[:32]
    for place in places:
        try:
            folder = _private_folder(place)
        except OSError:
            # There are others, and doing without all of them is provided for.
            continue
        try:
            slot = _slot(folder, name)
        except OSError:
            continue
        finally:
            os.close(folder)
        yield slot


def _private_folder(place: Path) -> int:
    """Return a descriptor of the folder, made if missing; raise OSError."""
    try:
        os.mkdir(place, 0o700)
    except FileExistsError:
        # Whose it is shows in the descriptor, which nobody can exchange.
        pass
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(place, flags)
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        os.close(descriptor)
        raise PermissionError(f"{place} is not ours alone")
    return descriptor


def _slot(folder: int, name: str) -> Slot:
    descriptor = open_to_write(name, folder=folder)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        text = os.pread(descriptor, MAX_BYTES, 0).decode("ascii", "replace")
    except (BlockingIOError, PermissionError) as error:
        os.close(descriptor)
        raise InUse from error
    except OSError:
        os.close(descriptor)
        raise
    return Slot(descriptor, text)
