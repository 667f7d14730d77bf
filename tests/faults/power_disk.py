"""A disk and its cache: what was written, what is synced, what a crash may leave."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product

#: More unsynced changes than this at a moment are sampled, not all combined.
MAX_COMBINED = 64

#: Ends of names of files on whose bytes nothing relies.
IDLE = (".tmp", "/lock", "/decisions.log")


@dataclass(frozen=True)
class Operation:
    """What the supervisor did to the state folder, and when."""

    at: float
    name: str
    paths: tuple[str, ...] = ()
    data: bytes = b""
    offset: int | None = None
    #: Which file it is about: a number for each file ever opened.
    file: int = -1


@dataclass
class File:
    """The bytes of a file: what is synced, and what is not yet."""

    synced: bytes = b""
    now: bytes = b""

    def after_a_crash(self) -> list[bytes]:
        """Return what may be left."""
        if self.now == self.synced:
            return [self.now]
        if self.now.startswith(self.synced):
            # Appended to, or new.
            more = self.now[len(self.synced) :]
            half = more[: len(more) // 2]
            return [self.synced + end for end in (b"", half, bytes(len(more)), more)]
        return [self.synced, self.now]


#: A tree: path below the state folder -> number of a file, None for a folder.
Tree = dict[str, int | None]
#: What a crash leaves: path -> content, None for a folder.
Left = dict[str, bytes | None]


@dataclass
class Disk:
    """The state folder as the disk has it, and what is on its way there."""

    tree: Tree
    files: dict[int, File]
    #: Changes of names that are not synced, in order, each with its file.
    changes: list[tuple[str, tuple[str, ...], int | None]] = field(default_factory=list)

    def do(self, one: Operation, number_of: dict[str, int]) -> None:
        """Carry out an operation."""
        if one.name == "create":
            self.files[one.file] = File()
            self.changes.append(("create", one.paths, one.file))
        elif one.name == "write":
            file = self.files[one.file]
            offset = len(file.now) if one.offset is None else one.offset
            end = offset + len(one.data)
            file.now = (
                file.now[:offset].ljust(offset, b"\0") + one.data + file.now[end:]
            )
        elif one.name == "ftruncate":
            file = self.files[one.file]
            file.now = file.now[: one.offset]
        elif one.name == "fsync":
            if one.file in self.files:
                file = self.files[one.file]
                file.synced = file.now
            else:
                self._sync_folder(one.paths[0])
        else:
            self.changes.append((one.name, one.paths, number_of.get(one.paths[0])))

    def _sync_folder(self, folder: str) -> None:
        left = []
        for change in self.changes:
            if any(_folder(path) == folder for path in change[1]):
                _apply(self.tree, change)
            else:
                left.append(change)
        self.changes = left

    def after_a_crash(self, chance: random.Random) -> Iterator[Left]:
        """Yield what may be left, all or a sample of it."""
        # A temporary file that is left over is removed: its presence is no matter.
        choices = [
            (
                (True,)
                if change[1][0].endswith(".tmp") and change[0] == "create"
                else (False, True)
            )
            for change in self.changes
        ]
        subsets: Iterable[tuple[bool, ...]] = product(*choices)
        if sum(len(one) - 1 for one in choices) > MAX_COMBINED.bit_length() - 1:
            subsets = [tuple(map(chance.choice, choices)) for _ in range(MAX_COMBINED)]
        for subset in subsets:
            tree = dict(self.tree)
            for happened, change in zip(subset, self.changes, strict=True):
                if happened:
                    _apply(tree, change)
            yield from self._with_bytes(tree, chance)

    def _with_bytes(self, tree: Tree, chance: random.Random) -> Iterator[Left]:
        folders = {path for path, number in tree.items() if number is None} | {""}
        tree = {path: one for path, one in tree.items() if _folder(path) in folders}
        numbers = sorted({number for number in tree.values() if number is not None})
        choices = [tuple(self.files[number].after_a_crash()) for number in numbers]
        # What nobody relies on is one of its possibilities, not times each of them.
        idle = {number for path, number in tree.items() if path.endswith(IDLE)}
        choices = [
            (chance.choice(those),) if number in idle else those
            for number, those in zip(numbers, choices, strict=True)
        ]
        combined: Iterable[tuple[bytes, ...]] = product(*choices)
        if math.prod(map(len, choices)) > MAX_COMBINED:
            combined = [tuple(map(chance.choice, choices)) for _ in range(MAX_COMBINED)]
        for contents in combined:
            by_number = dict(zip(numbers, contents, strict=True))
            yield {
                path: None if number is None else by_number[number]
                for path, number in tree.items()
            }


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _apply(tree: Tree, change: tuple[str, tuple[str, ...], int | None]) -> None:
    name, paths, number = change
    if name == "rename":
        tree.pop(paths[0], None)
        tree[paths[1]] = number
    elif name == "unlink":
        tree.pop(paths[0], None)
    else:
        tree[paths[0]] = number if name == "create" else None
