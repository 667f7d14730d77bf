"""Whatever has happened to a file, the others load, and its own job is not fine."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from lib.core.enums import JobFrequency, MessageKind, Status
from lib.core.jobs import CatalogEntry, JobKey, file_stem
from lib.core.messages import Message
from lib.core.records import Record, RunRecord
from lib.core.results import Threshold, Unit, Value
from lib.storage.codec import as_part, packed
from lib.storage.lost import RUN
from lib.storage.records import FROM
from lib.storage.store import Measured, Remembered, State, last_runs, pairs_of
from lib.system.errors import NewerState, StateError
from lib.system.files import MAX_FILE
from tests.support.powers import as_anybody

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[3]
BAD, GOOD = JobKey("Web", "http bad"), JobKey("Web", "http good")


def failing(key: JobKey, **more: object) -> Record:
    return Record(
        key, key.identity, Status.FAILING, failures=3, failing_since=NOON, **more
    )


def alert(number: int = 0, body: str = "why\n") -> Message:
    return Message(f"{number:032x}", MessageKind.ALERT, "s", body, ("a@b.c",), NOON)


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path)
    state.save([failing(BAD), failing(GOOD)])
    state.save_run(RunRecord(records=(file_stem(BAD), file_stem(GOOD))))
    return state


def path_of(state: State, key: JobKey = BAD) -> Path:
    return state.folder / "jobs" / f"{file_stem(key)}.json"


def test_what_is_saved_is_loaded(state):
    state.save([failing(BAD, queued=(alert(),), memory={"x": 1})])
    found = state.load()
    assert found.records == {
        BAD: failing(BAD, queued=(alert(),), memory={"x": 1}),
        GOOD: failing(GOOD),
    }
    assert found.lost == {}


def test_files_are_private_and_named_after_their_jobs(state):
    names = sorted(path.name for path in (state.folder / "jobs").iterdir())
    assert [name[:-16] for name in names] == ["http-bad", "http-good"]
    assert {path.stat().st_mode for path in (state.folder / "jobs").iterdir()} == {
        0o100600
    }
    assert (state.folder / "jobs").stat().st_mode & 0o777 == 0o700


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def made_huge(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(2 * 1024**3)


def of_another_job(path: Path) -> None:
    path.write_bytes(packed(failing(JobKey("Other", "job"))))


def without_a_key(path: Path) -> None:
    path.write_text('{"format": 1, "failures": 2}')


def deep(path: Path) -> None:
    path.write_text("[" * 100_000)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").touch()


def a_link(path: Path) -> None:
    path.rename(path.with_suffix(".bak"))
    path.symlink_to(path.with_suffix(".bak"))


def edited(**changes: object) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        body = {**json.loads(path.read_text()), **changes}
        del body["sum"]
        path.write_text(json.dumps(body))

    return edit


WAYS_TO_BE_LOST = [
    (Path.unlink, "it is missing"),
    (emptied, "it is empty"),
    (made_huge, "it has 2147483648 bytes, too many for a file of ours"),
    (of_another_job, "it is the record of another job, 'Other/job'"),
    (without_a_key, "Object missing required field `key`"),
    (deep, "it is not JSON: it is nested too deeply"),
    (a_pipe, "it is not a regular file"),
    (a_folder, "it is not a regular file"),
    (a_link, "it is a symbolic link"),
    (edited(failures=-1), "Expected `int` >= 0 - at `$.failures`"),
    (edited(failures=1e400), "it is not JSON: JSON is malformed"),
    (edited(failures=10**30), "Expected `int` <= 9007199254740991"),
    (edited(queued="nothing"), "Expected `array`, got `str` - at `$.queued`"),
]


@pytest.mark.parametrize(("damage", "why"), WAYS_TO_BE_LOST)
def test_a_record_is_lost_by_itself_and_named(state, damage, why):
    damage(path_of(state))
    found = state.load()
    assert found.records == {GOOD: failing(GOOD)}
    assert list(found.lost) == [file_stem(BAD)]
    assert found.lost[file_stem(BAD)].startswith(f"{path_of(state)}: {why}")


@pytest.mark.parametrize(
    ("damage", "why"), [way for way in WAYS_TO_BE_LOST if way[0] is not Path.unlink]
)
def test_what_is_damaged_goes_into_quarantine_and_can_be_replaced(state, damage, why):
    damage(path_of(state))
    status = os.lstat(path_of(state))
    state.quarantine(state.load().lost, NOON)
    (kept,) = (state.folder / "quarantine").iterdir()
    assert kept.name == f"{file_stem(BAD)}.20260301T120000.000000.json"
    assert os.lstat(kept).st_ino == status.st_ino
    state.save([failing(BAD, pending_since=NOON)])
    assert state.load().records[BAD].pending


def test_a_file_that_may_not_be_read_is_lost_for_now(state, approved):
    path_of(state).chmod(0)
    code = (
        "import sys; from pathlib import Path; from lib.storage.store import State;"
        "found = State(Path(sys.argv[1])).load();"
        "print([*map(str, found.records)], *found.lost.values())"
    )
    done = subprocess.run(
        as_anybody([sys.executable, "-c", code, str(state.folder)]),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    approved(done.stdout)


def test_a_record_that_is_not_listed_is_loaded_all_the_same(state):
    state.save_run(RunRecord())
    assert set(state.load().records) == {BAD, GOOD}
    assert state.load().lost == {}


@pytest.mark.parametrize(
    "name", ["README", "notes.json", "http-bad.json", ".x.json", "a-0123456789.json~"]
)
def test_a_file_of_somebody_else_is_left_alone(state, name):
    path = state.folder / "jobs" / name
    path.write_text("mine")
    assert state.load().lost == {}
    state.clear_leftovers()
    assert path.read_text() == "mine"


def test_a_record_of_a_newer_checker_stops_everything_and_is_not_touched(
    state, approved
):
    path_of(state).write_text('{"format": 9, "key": "Web/http bad", "x": 1}')
    with pytest.raises(StateError) as caught:
        state.load()
    approved(str(caught.value))
    assert "9" in path_of(state).read_text()


@pytest.mark.parametrize(
    "damage", [emptied, made_huge, deep, a_pipe, a_folder, a_link, Path.unlink]
)
def test_the_record_of_runs_may_be_lost_too(state, damage):
    damage(state.folder / "run.json")
    found = state.load()
    assert list(found.lost) == [RUN]
    assert found.lost[RUN].startswith(f"{state.folder}/run.json: it ")
    assert found.run == state.load_run() == RunRecord()
    assert set(found.records) == {BAD, GOOD}
    state.quarantine(found.lost, NOON)
    state.save_run(RunRecord(jobs=2))
    assert state.load().lost == {}


def test_the_record_of_runs_of_a_newer_checker_stops_everything(state, approved):
    (state.folder / "run.json").write_text('{"format": 9}')
    with pytest.raises(StateError) as caught:
        state.load()
    approved(str(caught.value))


def test_an_empty_folder_is_a_fresh_start(tmp_path, caplog, approved):
    with caplog.at_level(logging.INFO):
        found = State(tmp_path).load()
    assert (found.records, found.lost, found.run) == ({}, {}, RunRecord())
    approved(caplog.messages)


def test_a_folder_with_the_list_of_jobs_only_is_no_fresh_start(tmp_path):
    state = State(tmp_path)
    state.save_catalog({})
    assert list(state.load().lost) == [RUN]


KNOWN = {
    JobKey("Web", "http a"): CatalogEntry(
        "http a", "/x.py", JobFrequency.HOUR, judged=True
    )
}


def test_the_list_of_jobs_is_kept(state):
    assert state.load_catalog() == {}
    state.save_catalog(KNOWN)
    assert state.load_catalog() == KNOWN


def test_what_jobs_have_in_common_is_written_once(state):
    """Of those alike only names are added, and of one that is not, all of it."""
    one = KNOWN[JobKey("Web", "http a")]
    alike = {
        JobKey("Web", f"http {number}"): replace(one, name=f"http {number}")
        for number in range(99)
    }
    # Jobs of a class of one's own have names that are not their identities.
    named = {
        JobKey("Web", f"One|{number}"): replace(one, name=f"Web {number // 2}")
        for number in range(99)
    }
    others = {
        JobKey("Other", "http 1"): replace(one, name="http 1"),
        JobKey("Web", "z"): replace(one, name="z", ran_at=NOON),
    }
    state.save_catalog(alike | named | others)
    assert state.load_catalog() == alike | named | others
    text = (state.folder / "catalog.json").read_text()
    assert text.count('"schedule"') == 2 + len(others)


def test_a_list_of_jobs_that_lacks_a_name_is_made_anew(state, caplog):
    one = KNOWN[JobKey("Web", "http a")]
    state.save_catalog({JobKey("Web", f"x{n}"): replace(one, name="a") for n in "12"})
    path = state.folder / "catalog.json"
    body = json.loads(path.read_text())
    body["jobs"][0]["names"].pop()
    del body["sum"]
    path.write_text(json.dumps(body))
    assert state.load_catalog() == {}
    assert "it is made anew" in caplog.text


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"format": 1}', '{"format": 1, "jobs": {}}']
    + ['{"format": 1, "jobs": [5]}', '{"format": 1, "jobs": [{"b": 1}]}']
    + ['{"format":1,"jobs":[{"file":"a","identities":[],"entry":{}}]}'],
)
def test_a_damaged_list_of_jobs_is_made_anew(state, text, caplog, approved):
    (state.folder / "catalog.json").write_text(text)
    assert state.load_catalog() == {}
    assert "catalog.json: " in caplog.text
    approved(caplog.messages)


def test_a_list_of_jobs_of_a_newer_checker_is_named(state, approved):
    (state.folder / "catalog.json").write_text('{"format": 9}')
    with pytest.raises(StateError) as caught:
        state.load_catalog()
    approved(str(caught.value))


def test_a_file_that_is_forgotten_is_gone_and_a_missing_one_is_no_trouble(state):
    state.forget([file_stem(BAD), file_stem(JobKey("Web", "none"))])
    assert list(state.load().records) == [GOOD]
    state.forget([])


def test_something_that_cannot_be_forgotten_is_named(state, approved):
    a_folder(path_of(state))
    with pytest.raises(StateError) as caught:
        state.forget([file_stem(BAD)])
    approved(str(caught.value))


@pytest.mark.long
def test_what_could_not_be_read_again_is_not_written(state, caplog, approved):
    much = tuple(alert(number, "x" * 8_000_000) for number in range(9))
    assert sum(len(message.body) for message in much) > MAX_FILE
    state.save([replace(failing(BAD), queued=much), replace(failing(GOOD), failures=4)])
    found = state.load()
    assert found.records == {
        BAD: failing(BAD),
        GOOD: replace(failing(GOOD), failures=4),
    }
    approved(caplog.messages)


@pytest.mark.parametrize("name", ["", "jobs"])
def test_a_folder_that_cannot_be_used_is_reported_before_anything(tmp_path, name):
    folder = tmp_path / "state"
    folder.mkdir()
    if name:
        (folder / name).touch()
    else:
        folder.rmdir()
    with pytest.raises(StateError, match=r"mkdir -m 700"):
        State(folder).lock(NOON, timedelta(seconds=55))
    assert not (folder / "lock").exists()


def test_a_folder_of_jobs_that_is_none_is_reported_when_reading(tmp_path, approved):
    (tmp_path / "jobs").touch()
    with pytest.raises(StateError) as caught:
        State(tmp_path).load()
    approved(str(caught.value))


def test_a_folder_of_jobs_that_cannot_be_made_is_named(tmp_path, approved):
    state = State(tmp_path / "gone")
    with pytest.raises(StateError) as caught:
        state.save([failing(BAD)])
    approved(str(caught.value))


def test_the_lock_and_the_skips_are_those_of_the_folder(state):
    assert state.why_not_usable() == ""
    assert state.lock(NOON, timedelta(seconds=55)) is None
    state.count_skip(NOON)
    assert state.take_skips() == (1, NOON)


def test_a_folder_that_is_frozen_is_read_and_not_written(state, caplog, approved):
    damaged = path_of(state, JobKey("Web", "damaged"))
    for path in (
        damaged,
        state.folder / "unread" / "x.json",
        damaged.parent / TEMPORARY,
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_text("{")
    before = content_of(state.folder)
    state.writer.freeze(StateError("no space"))
    state.writer.freeze(StateError("the second error"))
    found = state.load()
    assert set(found.records) == {BAD, GOOD}
    state.clear_leftovers()
    assert state.take_skips() == (0, None)
    assert state.with_read_again(found, NOON) is found
    state.drop_read_again()
    state.quarantine(found.lost, NOON)
    state.save([failing(BAD, pending_since=NOON)])
    state.save([failing(JobKey("Web", str(number))) for number in range(FROM)])
    state.settle(time.monotonic() + 9)
    state.forget([file_stem(GOOD)])
    state.save_run(RunRecord(jobs=7))
    state.save_catalog(KNOWN)
    assert content_of(state.folder) == before
    assert state.writer.frozen == "no space"
    approved(caplog.messages)


TEMPORARY = ".x.json.0123abcd.tmp"


def content_of(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.read_text() for path in paths}


def test_what_cannot_be_read_freezes_the_folder_and_newer_state_ends_the_run(state):
    path_of(state).write_text('{"format": 9}')
    with pytest.raises(NewerState):
        state.writer.read_or_freeze(state.load, Remembered())
    assert state.writer.frozen == ""
    (state.folder / "jobs").rename(state.folder / "gone")
    (state.folder / "jobs").touch()
    found = state.writer.read_or_freeze(state.load, Remembered())
    assert (found, "jobs" in state.writer.frozen) == (Remembered(), True)


def test_times_of_last_runs_that_cannot_be_read_are_left_out(caplog, approved):
    facts = RunRecord(
        last_runs={
            "minute": NOON.isoformat(),
            "weekly": NOON.isoformat(),
            "hour": 12,
            "day": "2026-03-01T12:00:00",
        }
    )
    assert last_runs(facts) == {JobFrequency.MINUTE: NOON}
    approved(caplog.messages)


@pytest.mark.long
def test_two_thousand_records_are_saved_and_loaded_in_good_time(tmp_path):
    state = State(tmp_path)
    many = [
        failing(JobKey("Web", f"http {number}"), queued=(alert(),))
        for number in range(2000)
    ]
    began = time.monotonic()
    state.save(many)
    saved = time.monotonic()
    found = state.load()
    loaded = time.monotonic()
    assert len(found.records) == 2000
    # Ten times what they take on a disk in good health.
    assert saved - began < 6
    assert loaded - saved < 2


def test_what_was_measured_is_kept_for_the_jobs_that_are_still_met(state):
    a, b, gone = (JobKey("Web", name) for name in "abc")
    first = {"z": Value(1.5), "a": Value(3e20, Unit.BYTES, fail=Threshold(high=9))}
    state.save_values({key: pairs_of(first) for key in (a, b, gone)}, {a, b, gone})
    state.save_values({a: pairs_of({"z": Value(2)})}, {a, b})
    assert state.load_values() == {a: {"z": Value(2)}, b: first}
    (state.folder / "values.json").write_text("damaged")
    state.save_values({a: pairs_of(first)}, {a, b})
    assert state.load_values() == {a: first}


def test_what_was_measured_is_read_in_the_order_of_the_check(state):
    key, values = JobKey("Web", "a"), {"z": Value(1), "a": Value(2), "m": Value(3)}
    state.save_values({key: pairs_of(values)}, {key})
    assert list(state.load_values()[key]) == ["z", "a", "m"]


def test_what_jobs_measured_in_a_run_is_what_was_measured_last_of_each():
    a, b, c = (JobKey("Web", name) for name in "abc")
    limited = {"z": Value(0.1, Unit.SECONDS, fail=Threshold(high=9)), "a": Value(-2.0)}
    measured = Measured()
    measured.add(a, {"z": Value(1e-9)})
    measured.add(b, limited)
    measured.add(c, {name: replace(one, number=7.0) for name, one in limited.items()})
    measured.add(a, {"z": Value(3e20, Unit.BYTES), "m": Value(4.0)})
    assert measured.texts() == {
        a: pairs_of({"z": Value(3e20, Unit.BYTES), "m": Value(4.0)}),
        b: pairs_of(limited),
        c: pairs_of({name: replace(one, number=7.0) for name, one in limited.items()}),
    }


def test_what_an_earlier_checker_wrote_of_values_is_read_and_kept(state):
    old, new = JobKey("Web", "old"), JobKey("Web", "new")
    state.save_values({old: as_part({"a": Value(1)})}, {old})
    assert state.load_values() == {old: {"a": Value(1)}}
    state.save_values({new: pairs_of({"b": Value(2)})}, {old, new})
    assert state.load_values() == {old: {"a": Value(1)}, new: {"b": Value(2)}}


def test_a_note_is_kept_until_its_job_is_judged_again(state):
    a, b, gone = (JobKey("Web", name) for name in "abc")
    notes = {a: "on standard error: x", b: "y", gone: "z"}
    state.save_values({}, {a, b, gone}, notes, {a, b, gone})
    assert state.load_values_and_notes() == ({}, notes)
    state.save_values({}, {a, b}, {b: "y2"}, {b})
    assert state.load_values_and_notes()[1] == {a: notes[a], b: "y2"}
    state.save_values({}, {a, b}, {}, {a})
    assert state.load_values_and_notes()[1] == {b: "y2"}
    written = (state.folder / "values.json").stat().st_mtime_ns
    state.save_values({}, {a, b}, {b: "y2"}, {b})
    assert (state.folder / "values.json").stat().st_mtime_ns == written
