"""Files that are put aside: what could not be read counts again once it can be."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from lib.core.enums import MessageKind, Status
from lib.core.jobs import JobKey, file_stem
from lib.core.messages import Message
from lib.core.records import Record
from lib.storage import quarantine
from lib.storage.quarantine import Quarantine, rejoined
from lib.storage.store import State
from lib.storage.writer import Writer
from lib.system.files import Damaged, NotRead
from tests.support.kills import each_kill
from tests.support.powers import as_anybody

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = JobKey("Lamps", "Lamp|ant")
ROOT = Path(__file__).resolve().parents[3]


def queued(name: str) -> Message:
    return Message(name, MessageKind.ALERT, name, "", ("ops@example.com",), NOON)


OLD = Record(
    KEY,
    "Lamp ant",
    status=Status.FAILING,
    failures=3,
    failing_since=NOON,
    notified_at=NOON,
    memory={"seen": 1},
    queued=(queued("old"),),
)
UNKNOWN = Record(KEY, "Lamp ant", status=Status.UNKNOWN)


@pytest.fixture
def state(tmp_path):
    return State(tmp_path, batch_from=2)


def put_aside(state: State) -> list[str]:
    """Put all that was saved aside, as what cannot be read; return the new names."""
    aside = Quarantine(state.folder, Writer())
    paths = [*state.folder.glob("jobs/*.json"), *state.folder.glob("batch-*.json")]
    for path in paths:
        aside.noted(path, NotRead("it cannot be read: Input/output error"))
    aside.put(paths, NOON)
    return sorted(path.name for path in (state.folder / "unread").iterdir())


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (None, OLD),
        (UNKNOWN, OLD),
        (replace(UNKNOWN, pending_since=NOON), replace(OLD, pending_since=NOON)),
        (replace(UNKNOWN, memory={"seen": 2}), replace(OLD, memory={"seen": 2})),
        (Record(KEY), Record(KEY, queued=OLD.queued)),
        (
            replace(UNKNOWN, failures=1, queued=(queued("new"),)),
            replace(UNKNOWN, failures=1, queued=(queued("old"), queued("new"))),
        ),
        # It was taken back before, and the run ended before its file was removed.
        (OLD, OLD),
    ],
    ids=(
        "no record since, not judged since, under way since, with a memory since,"
        " fine since, failing since, taken back already"
    ).split(", "),
)
def test_what_was_queued_is_queued_again_and_the_rest_counts_unless_judged_since(
    since, expected
):
    assert rejoined(since, OLD) == expected


def test_what_can_be_read_again_is_there_until_it_is_saved(state):
    state.save([OLD])
    assert put_aside(state) == [f"{file_stem(KEY)}.20260301T120000.000000.json"]
    for _run in range(2):
        found = state.with_read_again(state.load(), NOON)
        (record,) = found.records.values()
        assert (record.queued, found.read_again) == (OLD.queued, {KEY})
    state.save(found.records.values())
    state.drop_read_again()
    assert state.with_read_again(state.load(), NOON).read_again == frozenset()
    assert state.load().records[KEY].queued == OLD.queued


def test_the_records_of_a_batch_are_taken_back_too(state):
    other = replace(OLD, key=JobKey("Lamps", "Lamp|bee"), queued=(queued("other"),))
    state.save([OLD, other])
    assert put_aside(state) == ["batch-00000001.20260301T120000.000000.json"]
    found = state.with_read_again(state.load(), NOON)
    assert found.read_again == {OLD.key, other.key}
    assert found.lost == {}


def test_what_can_be_read_and_is_damaged_goes_into_quarantine(state):
    state.save([OLD])
    (name,) = put_aside(state)
    (state.folder / "unread" / name).write_text("{}")
    assert state.with_read_again(state.load(), NOON).read_again == frozenset()
    assert list((state.folder / "unread").iterdir()) == []
    (kept,) = (state.folder / "quarantine").iterdir()
    assert kept.read_text() == "{}"


def test_a_damaged_file_is_in_quarantine_from_the_start(state, approved):
    state.save([OLD])
    aside = Quarantine(state.folder, Writer())
    (path,) = state.folder.glob("jobs/*.json")
    approved(aside.noted(path, Damaged("it is empty")))
    aside.put([path], NOON)
    assert not (state.folder / "unread").exists()


@pytest.mark.parametrize(
    ("days", "there"), [(1, "unread"), (31, "quarantine")], ids=["1 day", "31 days"]
)
def test_what_cannot_be_read_for_a_month_is_given_up(state, days, there):
    state.save([OLD])
    (name,) = put_aside(state)
    (state.folder / "unread" / name).chmod(0)
    code = (
        "import sys; from datetime import datetime; from pathlib import Path;"
        "from lib.storage.quarantine import Quarantine, Writer;"
        "folder, now = sys.argv[1:];"
        "aside = Quarantine(Path(folder), Writer());"
        "print(aside.read_again(datetime.fromisoformat(now)))"
    )
    now = NOON + timedelta(days=days)
    done = subprocess.run(
        as_anybody([sys.executable, "-c", code, str(state.folder), now.isoformat()]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == "[]\n", done.stderr
    (kept,) = (state.folder / there).iterdir()
    assert kept.name.startswith(file_stem(KEY))


# Its bound.


def damaged_files(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"damaged-{number}.json" for number in range(count)]
    for path in paths:
        path.write_text(f"{path.name} {'x' * 5000}")
    return paths


def put_away(state: Path, path: Path) -> None:
    Quarantine(state, Writer()).put([path], NOON)


@pytest.mark.parametrize(
    "bound", [{"MAX_FILES": 3}, {"MAX_BYTES": 3 * 8192}], ids=["count", "size"]
)
def test_the_oldest_of_many_damaged_files_goes(tmp_path, monkeypatch, bound):
    for name, value in bound.items():
        monkeypatch.setattr(quarantine, name, value)
    for path in damaged_files(tmp_path, 6):
        put_away(tmp_path, path)
        # Files of one tick of the clock have no order of age.
        time.sleep(0.01)
    names = sorted(
        path.name.split(".")[0] for path in (tmp_path / "quarantine").iterdir()
    )
    assert names == ["damaged-3", "damaged-4", "damaged-5"]


def test_the_newest_damaged_file_stays_whatever_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(quarantine, "MAX_BYTES", 1)
    for path in damaged_files(tmp_path, 2):
        put_away(tmp_path, path)
        time.sleep(0.01)
    (kept,) = (tmp_path / "quarantine").iterdir()
    assert kept.name.startswith("damaged-1.")


def test_killed_at_any_step_what_is_damaged_is_in_one_place(tmp_path, monkeypatch):
    monkeypatch.setattr(quarantine, "MAX_FILES", 2)
    folder = tmp_path / "quarantine"
    path = tmp_path / "damaged.json"

    def begin():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for number in range(3):
            (folder / f"old{number}.json").touch()
            time.sleep(0.01)
        path.write_text("newest")

    kills = 0
    for was_killed in each_kill(begin, lambda: put_away(tmp_path, path)):
        there = [each for each in (path, *folder.iterdir()) if each.exists()]
        assert [each.read_text() for each in there].count("newest") == 1
        assert (folder / "old2.json").exists()
        kills += was_killed
    assert kills > 2


def test_a_quarantine_that_is_read_only_costs_nothing_but_the_place(tmp_path):
    folder = tmp_path / "quarantine"
    folder.mkdir()
    (path,) = damaged_files(tmp_path, 1)
    folder.chmod(0o555)
    code = (
        "import sys; from datetime import *; from pathlib import Path;"
        "from lib.storage.quarantine import Quarantine, Writer;"
        "folder = Path(sys.argv[1]); path = folder / 'damaged-0.json';"
        "Quarantine(folder, Writer()).put([path], datetime.now(UTC))"
    )
    done = subprocess.run(
        as_anybody([sys.executable, "-c", code, str(tmp_path)]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    folder.chmod(0o755)
    assert "Permission denied" in done.stderr
    assert path.exists()
