"""Many records in one file, until each has its own again."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from lib.core.enums import MessageKind, Status
from lib.core.jobs import JobKey, file_stem
from lib.core.messages import Message
from lib.core.records import Record, RunRecord
from lib.storage import records
from lib.storage.store import State
from tests.support.instance import Instance
from tests.support.servers import SmtpServer

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = timedelta(seconds=55)


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path


def state_in(folder, batch_from=3):
    state = State(folder, batch_from=batch_from)
    assert state.lock(NOW, LATER) is None
    state.save_run(RunRecord())
    return state


def record(name, **more):
    message = Message("a1" * 16, MessageKind.ALERT, name, "why", ("ops@x.org",), NOW)
    return Record(JobKey("X", name), name, Status.FAILING, 1, queued=(message,), **more)


MANY = [record(f"job {number}") for number in range(5)]


def batch_files(folder):
    return sorted(path.name for path in folder.glob("batch-*.json"))


def job_files(folder):
    return sorted(path.stem for path in folder.glob("jobs/*.json"))


def found(folder):
    loaded = State(folder).load()
    assert not loaded.lost
    return loaded.records


def for_ever():
    return time.monotonic() + 60


def test_many_are_one_file_and_then_each_has_its_own(folder):
    state = state_in(folder)
    state.save(MANY)
    assert (len(batch_files(folder)), job_files(folder)) == (1, [])
    assert list(found(folder).values()) == MANY
    assert not state.is_settled
    state.settle(for_ever())
    assert batch_files(folder) == []
    assert job_files(folder) == sorted(file_stem(one.key) for one in MANY)
    assert list(found(folder).values()) == MANY
    assert state.is_settled


def test_few_go_into_their_own_files_at_once(folder):
    state_in(folder).save(MANY[:2])
    assert (batch_files(folder), len(job_files(folder))) == ([], 2)


def test_of_a_record_in_both_the_later_one_is_the_truth(folder):
    state = state_in(folder)
    state.save(MANY)
    later = replace(MANY[0], failures=7, queued=())
    state.save([later])
    assert found(folder)[later.key] == later
    state.save([replace(one, failures=9) for one in MANY])
    assert {one.failures for one in found(folder).values()} == {9}
    state.settle(for_ever())
    assert {one.failures for one in found(folder).values()} == {9}


def test_the_next_run_goes_on_with_what_there_was_no_time_for(folder, monkeypatch):
    monkeypatch.setattr(records, "AT_ONCE", 2)
    state = state_in(folder)
    state.save(MANY)
    state.settle(time.monotonic() - 1)
    assert (len(batch_files(folder)), job_files(folder)) == (1, [])
    again = State(folder, batch_from=3)
    assert list(again.load().records.values()) == MANY
    again.settle(for_ever())
    assert (batch_files(folder), len(job_files(folder))) == ([], 5)


def test_a_batch_that_is_read_again_takes_nothing_back(folder):
    state = state_in(folder)
    state.save(MANY)
    kept = {path: path.read_bytes() for path in folder.glob("batch-*.json")}
    state.save([replace(MANY[0], failures=7)])
    state.settle(for_ever())
    for path, content in kept.items():
        path.write_bytes(content)
    assert found(folder)[MANY[0].key].failures == 7


def test_no_record_is_forgotten_while_a_batch_could_bring_it_back(folder):
    state = state_in(folder)
    state.save(MANY)
    state.save([Record(MANY[0].key)])
    state.forget([file_stem(MANY[0].key)])
    assert found(folder)[MANY[0].key].is_default
    state.settle(for_ever())
    state.forget([file_stem(MANY[0].key)])
    assert MANY[0].key not in found(folder)


def test_a_batch_is_divided_where_it_would_be_too_large(folder, monkeypatch):
    monkeypatch.setattr(records, "MAX_BYTES", 2500)
    state_in(folder).save(MANY)
    assert len(batch_files(folder)) == 3
    assert list(found(folder).values()) == MANY


@pytest.mark.parametrize("damage", [b"", b"{", b"zeros"])
def test_a_damaged_batch_is_named_and_the_files_are_what_is_left(folder, damage):
    state = state_in(folder)
    state.save([MANY[0]])
    state.save(MANY)
    (path,) = folder.glob("batch-*.json")
    path.write_bytes(bytes(100) if damage == b"zeros" else damage)
    loaded = State(folder).load()
    assert list(loaded.lost) == [path.stem]
    assert str(path) in loaded.lost[path.stem]
    assert list(loaded.records) == [MANY[0].key]


def test_a_damaged_file_whose_record_is_in_a_batch_is_no_loss(folder):
    state = state_in(folder)
    state.save([MANY[0]])
    state.save(MANY)
    (path,) = folder.glob("jobs/*.json")
    path.write_bytes(b"{")
    again = State(folder, batch_from=3)
    loaded = again.load()
    assert (loaded.lost, list(loaded.records.values())) == ({}, MANY)
    again.settle(for_ever())
    assert list(found(folder).values()) == MANY


def test_a_damaged_batch_goes_into_quarantine(folder):
    state = state_in(folder)
    state.save(MANY)
    (path,) = folder.glob("batch-*.json")
    path.write_bytes(b"")
    state.quarantine([path.stem], NOW)
    assert batch_files(folder) == []
    assert len(list((folder / "quarantine").iterdir())) == 1


def test_a_batch_has_a_sum_and_its_records_a_revision(folder):
    state = state_in(folder)
    state.save(MANY[:1])
    state.save(MANY)
    (path,) = folder.glob("batch-*.json")
    content = json.loads(path.read_text())
    assert {one["revision"] for one in content["records"]} == {2}
    assert len(content["sum"]) == 8


# The program.

LAMPS = """
import os
from lib.jobbase import *

class Lamps(JobSpawner):
    def get_sub_jobs(self, config):
        for number in range(250):
            yield Lamp(config, number)

class Lamp(JobBase):
    def executeEvery(self):
        return JobFrequency.MINUTE

    def execute(self):
        return os.path.exists({flag!r})
"""


@pytest.fixture
def lamps(tmp_path):
    with SmtpServer(security="none") as server:
        instance = Instance(tmp_path, server.email_section())
        instance.job("Lamps", LAMPS.format(flag=str(tmp_path / "flag")))
        yield instance, server


@pytest.mark.long
def test_after_a_run_in_which_many_failed_each_has_its_own_file(lamps):
    instance, server = lamps
    assert instance.cron().silent
    server.wait_for(1)
    assert len(instance.records()) == 250
    assert batch_files(instance.state) == []


@pytest.mark.long
def test_a_lost_batch_is_reported_once_and_every_job_that_fails_is_heard(lamps):
    instance, server = lamps
    (instance.folder / "flag").touch()
    assert instance.cron().silent
    batch = instance.state / "batch-00000007.json"
    batch.write_bytes(b"{")
    batch.chmod(0o600)
    instance.cron()
    assert "batch-00000007.json" in server.wait_for(1)[0].body
    (instance.folder / "flag").unlink()
    instance.cron()
    instance.cron()
    assert len(server.wait_for(2)) == 2
    assert "250" in server.mails[1].subject
