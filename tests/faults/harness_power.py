"""Harness R: the power fails, and what was not synced may be there or not.

One run is traced: each operation on the state folder and on the spool of heartbeats,
with its bytes, and when.  For each moment between two operations all directories that
a file system may leave are built: of what was not synced, each new name, rename and
removal has happened or not, in every subset, and the bytes of each file are as before,
half, zeros, or all there.  Normal runs then go on from each that
differs.
"""

from __future__ import annotations

import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.faults.harness_kill import sampled
from tests.faults.power_disk import Disk, File, Left, Operation, Tree
from tests.faults.scenarios import Deadline, Scenario, Tally
from tests.faults.world import World
from tests.support.servers import SmtpMail

#: The folders of a world that are looked at.
_FOLDERS = ("state", "spool")
_TRACED = "openat,write,pwrite64,ftruncate,fsync,fdatasync,rename,unlink,mkdir,close"
_CALL = re.compile(r"(\d+\.\d+) (\w+)\((.*)\) += (-?\d+)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def recorded(
    scenario: Scenario, world: World
) -> tuple[Disk, list[Operation], list[tuple[float, SmtpMail]]]:
    """Return the disk before a run, what the run did, and what mails left when."""
    scenario.begin(world)
    disk = _disk(world.folder)
    heard: list[tuple[float, SmtpMail]] = []
    answer = world.server.answer_data

    def take(mail: SmtpMail) -> str | None:
        failure = answer(mail)
        if not failure:
            heard.append((time.time(), mail))
        return failure

    world.server.answer_data = take
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace")
        watch = ["strace", "-xx", "-ttt", "-s", "10000000", "-o", str(path)]
        code, said = world.run(watch=[*watch, "-e", f"trace={_TRACED}"])
        lines = path.read_text().splitlines()
    world.server.answer_data = answer
    assert code == scenario.code, said
    return disk, list(_operations(lines, world.folder, disk)), heard


def _disk(folder: Path) -> Disk:
    tree: Tree = {}
    files: dict[int, File] = {}
    tops = [folder / name for name in _FOLDERS if (folder / name).exists()]
    for path in sorted(path for top in tops for path in (top, *top.rglob("*"))):
        name = "/" + str(path.relative_to(folder))
        if path.is_dir():
            tree[name] = None
        else:
            tree[name] = len(files)
            content = path.read_bytes()
            files[len(files)] = File(content, content)
    return Disk(tree, files)


def _operations(lines: list[str], folder: Path, disk: Disk) -> Iterator[Operation]:
    names = {path: one for path, one in disk.tree.items() if one is not None}
    folders = {path for path, one in disk.tree.items() if one is None} | {""}
    opened: dict[int, tuple[int, str]] = {}
    appends: set[int] = set()
    count = len(disk.files)
    for line in lines:
        match = _CALL.match(line)
        if match is None or int(match[4]) < 0:
            continue
        at, name, inside, result = float(match[1]), match[2], match[3], int(match[4])
        texts = [
            bytes.fromhex(one.replace("\\x", "")) for one in _STRING.findall(inside)
        ]
        if name in ("openat", "rename", "unlink", "mkdir"):
            paths = tuple(_below(text, folder) for text in texts)
            if any(path is None for path in paths):
                if name == "openat":
                    opened.pop(result, None)
                continue
            path = str(paths[0])
            if name == "openat":
                if path not in names and path not in folders:
                    names[path] = count
                    yield Operation(at, "create", (path,), file=count)
                    count += 1
                opened[result] = (names.get(path, -1), path)
                appends.discard(result)
                if "O_APPEND" in inside:
                    appends.add(result)
                continue
            yield Operation(at, name, tuple(map(str, paths)), file=names.get(path, -1))
            if name == "rename":
                names[str(paths[1])] = names.pop(path)
            elif name == "unlink":
                names.pop(path, None)
            else:
                folders.add(path)
            continue
        descriptor = int(inside.partition(",")[0])
        if descriptor not in opened:
            continue
        file, path = opened[descriptor]
        if name == "close":
            del opened[descriptor]
        elif name == "write":
            yield Operation(at, name, (path,), texts[0][:result], file=file)
        elif name == "pwrite64":
            offset = int(inside.rpartition(",")[2])
            yield Operation(at, "write", (path,), texts[0][:result], offset, file)
        elif name == "ftruncate":
            yield Operation(
                at, name, (path,), offset=int(inside.split(",")[1]), file=file
            )
        else:
            yield Operation(at, "fsync", (path,), file=file)


def _below(text: bytes, folder: Path) -> str | None:
    """Return a path below the folder of a world; None if it is not looked at."""
    path = Path(text.decode())
    tops = [folder / name for name in _FOLDERS]
    if any(path.is_relative_to(top) for top in tops):
        return f"/{path.relative_to(folder)}"
    return None


def crashes(
    scenario: Scenario, world: World, chance: random.Random
) -> dict[tuple[object, ...], tuple[str, Left, tuple[SmtpMail, ...]]]:
    """Return all that differs of what a crash may leave, and what was heard by then."""
    disk, operations, heard = recorded(scenario, world)
    found: dict[tuple[object, ...], tuple[str, Left, tuple[SmtpMail, ...]]] = {}
    names = {path: one for path, one in disk.tree.items() if one is not None}
    ends = [one.at for one in operations] + [time.time()]
    for number in range(len(operations) + 1):
        if number:
            one = operations[number - 1]
            disk.do(one, names)
            if one.name == "create":
                names[one.paths[0]] = one.file
            elif one.name == "rename":
                names[one.paths[1]] = names.pop(one.paths[0])
            elif one.name == "unlink":
                names.pop(one.paths[0], None)
            began = one.at
        else:
            began = 0.0
        # The earliest and the latest moment at which this is all that was done.
        for moment in {began, ends[number]}:
            mails = tuple(mail for at, mail in heard if at <= moment)
            for left in disk.after_a_crash(chance):
                key = (tuple(sorted(left.items(), key=str)), len(mails))
                found.setdefault(key, (f"power lost after {number}", left, mails))
    return found


def recover(
    scenario: Scenario,
    world: World,
    point: str,
    left: Left,
    heard: tuple[SmtpMail, ...],
) -> Tally:
    """Return what becomes of what a crash left."""
    scenario.begin(world)
    for name in _FOLDERS:
        shutil.rmtree(world.folder / name, ignore_errors=True)
    for name, content in sorted(left.items()):
        path = world.folder / name[1:]
        if content is None:
            path.mkdir(mode=0o700)
        else:
            path.write_bytes(content)
            path.chmod(0o600)
    return scenario.judge(world, point, heard)


def lose_power(
    scenario: Scenario,
    world: World,
    chance: random.Random,
    deadline: Deadline,
    *,
    until_caught: bool = False,
) -> Tally:
    """Return what becomes of all that a crash may leave, or as much as time allows."""
    scenario.set_up(world)
    tasks: list[Callable[[], Tally | None]] = [
        partial(recover, scenario, world, point, left, heard)
        for point, left, heard in crashes(scenario, world, chance).values()
    ]
    return sampled(tasks, chance, deadline, until_caught=until_caught)
