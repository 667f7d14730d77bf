"""Wrong designs, planted into a copy of the program: what a harness must catch.

A harness that cannot fail proves nothing.  Each mutant replaces a passage of the source
by another; if a passage is no longer there as it was, planting fails aloud, and the
mutant is to be written anew.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults import harness_errors, harness_kill, harness_power
from tests.faults.scenarios import SCENARIOS, Deadline, Tally
from tests.faults.table import seed
from tests.faults.world import World
from tests.support.instance import CHECKER

#: What is caught at all is caught within this.
CATCH_WITHIN_S = 60.0

_SAVE = """\
        contents = (
            (f"{self.folder}/{file_stem(record.key)}.json", packed(record))
            for record in records
        )
        self._writer.make_folder(self.folder)
        self._writer.replace(one for one in contents if not _is_too_large(*one))
"""
_SAVE_TWO_FILES = """\
        self._writer.make_folder(self.folder)
        records = list(records)
        states = [
            (self.path(file_stem(one.key)), packed(replace(one, queued=())))
            for one in records
        ]
        queued = [
            (
                self.folder / (file_stem(one.key) + ".queued"),
                packed(Record(one.key, one.name, queued=one.queued)),
            )
            for one in records
        ]
        self._writer.replace({first})
        self._writer.replace({second})
"""
_LOADED = "                damaged[stem] = error\n        return found, damaged\n"
_LOADING, _RETURN = _LOADED.splitlines(keepends=True)
_LOAD_TWO_FILES = """\
        for path in sorted(self.folder.glob("*.queued")):
            message = read_value(path, Record)
            if message.queued:
                fresh = Record(message.key, message.name)
                before = found.get(path.stem, fresh)
                both = replace(before, queued=message.queued)
                found[path.stem] = both
"""
_IMPORTS = "import logging\nimport os\n"
_KEPT = '.json", packed(record))\n'


@dataclass(frozen=True)
class Planted:
    """A passage of the source that is wrong, and where it is planted."""

    name: str
    file: str
    changes: tuple[tuple[str, str], ...]

    def plant(self, folder: Path) -> Path:
        """Return a copy of the program, in ``folder``, that has this design."""
        source = CHECKER.parent
        for name in ("lib", "jobs"):
            shutil.copytree(source / name, folder / name)
        shutil.copy(source / "checker.py", folder)
        (folder / self.file).write_text(self.text())
        return folder

    def text(self) -> str:
        """Return what its file has with this design."""
        text = (CHECKER.parent / self.file).read_text()
        for old, new in self.changes:
            count = text.count(old)
            assert count == 1, f"{self.file} has {count} times, not once:\n{old}"
            text = text.replace(old, new)
        return text


@dataclass(frozen=True)
class Mutant(Planted):
    """A wrong design, and who catches it."""

    #: How it shows: one of these counts of a Tally.
    shows: tuple[str, ...]
    caught_by: Callable[[World], Tally]

    def is_caught(self, tally: Tally) -> bool:
        """Return whether what was found shows this design."""
        return any(getattr(tally, name) for name in self.shows)


def works_undisturbed(world: World) -> bool:
    """Return whether nothing is wrong where nothing goes wrong.

    Else what is found is no fault of the design.
    """
    scenario = SCENARIOS["first alert"]
    scenario.set_up(world)
    world.run()
    return not scenario.judge(world, "nothing").faults


def _by_power(world: World) -> Tally:
    return harness_power.lose_power(
        SCENARIOS["first alert"],
        world,
        _chance(),
        Deadline(CATCH_WITHIN_S),
        until_caught=True,
    )


def _by_kill(world: World) -> Tally:
    scenario = SCENARIOS["first alert"]
    scenario.set_up(world)
    tasks: list[Callable[[], Tally | None]] = [
        partial(harness_kill.kill_before, scenario, world, call)
        for call in harness_kill.points(scenario, world)
        if call.name == "rename"
    ]
    return harness_kill.sampled(
        tasks, _chance(), Deadline(CATCH_WITHIN_S), until_caught=True
    )


def _by_server(world: World) -> Tally:
    scenario = SCENARIOS["first alert"]
    scenario.set_up(world)
    return harness_kill.sampled(
        list(harness_kill.kill_when_asked(scenario, world)),
        _chance(),
        Deadline(CATCH_WITHIN_S),
        until_caught=True,
    )


def _by_errors(world: World) -> Tally:
    scenario = SCENARIOS["first alert"]
    scenario.set_up(world)
    return harness_errors.read_only_once_taken(scenario, world)


def _chance() -> random.Random:
    return random.Random(seed())


def _kept_without(queued: str) -> tuple[tuple[str, str], ...]:
    """Return the changes that write records with other messages than they queue."""
    return (
        (_IMPORTS, "from msgspec.structs import replace\n" + _IMPORTS),
        (
            _KEPT,
            f'.json", packed(replace(record, queued=tuple({queued}))))\n',
        ),
    )


def _in_two_files(first: str, second: str) -> tuple[tuple[str, str], ...]:
    return (
        (_IMPORTS, "from msgspec.structs import replace\n" + _IMPORTS),
        (_SAVE, _SAVE_TWO_FILES.format(first=first, second=second)),
        (_LOADED, _LOADING + _LOAD_TWO_FILES + _RETURN),
    )


MUTANTS = {
    one.name: one
    for one in (
        Mutant(
            "no file fsync",
            "lib/system/files.py",
            (("            if sync:\n", "            if False:\n"),),
            ("unreadable", "lost", "new_id"),
            _by_power,
        ),
        Mutant(
            "no directory fsync",
            "lib/system/files.py",
            (
                (
                    '        _step(folder, "fsync", os.fsync, descriptor)\n',
                    "        pass\n",
                ),
            ),
            ("unreadable", "lost", "new_id"),
            _by_power,
        ),
        Mutant(
            "state, then message, in two files",
            "lib/storage/records.py",
            _in_two_files("states", "queued"),
            ("lost",),
            _by_kill,
        ),
        Mutant(
            "message, then state, in two files",
            "lib/storage/records.py",
            _in_two_files("queued", "states"),
            # Both messages may also be folded into one that says it in other words.
            ("new_id", "lost"),
            _by_kill,
        ),
        Mutant(
            "mark before send",
            "lib/storage/records.py",
            _kept_without("one for one in record.queued if not one.attempts"),
            ("lost",),
            _by_server,
        ),
        Mutant(
            "attempt not counted",
            "lib/storage/records.py",
            _kept_without(
                "replace(one, attempts=0, retry_at=None, in_doubt=False)"
                " for one in record.queued"
            ),
            ("hammered",),
            _by_errors,
        ),
    )
}
