"""Requests as a run applies them: once, whenever it is killed, and with a word."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from lib.core import decisions
from lib.core.decisions import Event
from lib.core.enums import Status
from lib.core.ini import IniFile
from lib.core.jobs import CatalogEntry, JobKey
from lib.core.records import Record
from lib.core.schedule import Due, is_due
from lib.core.silences import Acknowledge, CheckNow, Mute, Scope, Unmute, Window
from lib.runner import requests
from lib.storage import inbox
from lib.storage.session import StoreSession, mutes_of, notes_in
from lib.storage.store import State
from tests.support.fakes import ini
from tests.support.kills import each_kill

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
A, B = JobKey("Web", "a"), JobKey("Web", "b")
CATALOG = {
    A: CatalogEntry("a", "Web.py", "minute", tags=("eu",)),
    B: CatalogEntry("b", "Web.py", "minute"),
}
MUTE = Mute("m1", NOON, Scope(("b",)), "ann", "deploy", until=NOON + HOUR)
ACK = Acknowledge("k1", NOON + MINUTE / 8, Scope(tags=("eu",)), "bob")


class Settings(msgspec.Struct):
    """What is asked of the settings."""

    state: Path
    maintenance: tuple[Window, ...] = ()
    zone: None = None
    ini: IniFile = IniFile(Path("/"))


def failing(key, since=NOON - HOUR):
    return Record(key, key.identity, Status.FAILING, 3, since)


@pytest.fixture
def folder(tmp_path):
    """Return a state folder in which A and B are failing."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    state = State(folder)
    StoreSession(state, state.load(), (), NOON)
    state.save([])
    session = StoreSession(state, state.load(), (), NOON)
    for key in (A, B):
        session.keep(failing(key))
    session.commit()
    return folder


def a_run(folder, now=NOON + MINUTE):
    """Go through the stages of lib/runner/run.py that concern requests."""
    state = State(folder)
    session = StoreSession(state, state.load(), (), now)
    settings = Settings(folder)
    taken = requests.take(settings, session.notes, CATALOG, session.records, now)
    for record in taken.records:
        session.keep(record)
    requests.finish(taken, session, state, now)
    return taken


def mutes(folder):
    return mutes_of(notes_in(State(folder).load().records))


def record_of(folder, key):
    return State(folder).load().records[key]


def test_a_run_applies_what_waits_and_removes_it(folder):
    for request in (MUTE, ACK):
        inbox.submit(folder, request)
    taken = a_run(folder)
    assert taken.silences.mutes == mutes(folder) == (MUTE,)
    assert record_of(folder, A).acknowledged.who == "bob"
    assert record_of(folder, B).acknowledged is None
    assert inbox.waiting(folder) == inbox.Waiting()
    assert [(one.code, one.name) for one in taken.entries] == [
        (Event.MUTE, "b"),
        (Event.ACKNOWLEDGE, "a"),
    ]
    assert decisions.sentence(taken.entries[0], str) == (
        f"muted until {MUTE.until} by ann (b): deploy"
    )
    # The next one has nothing to do but to forget the ids.
    assert notes_in(State(folder).load().records).applied == ("m1", "k1")
    assert a_run(folder).entries == ()
    assert notes_in(State(folder).load().records).applied == ()
    assert mutes(folder) == (MUTE,)


def test_a_mute_from_the_page_is_told_by_the_name_of_its_job(folder):
    inbox.submit(folder, replace(MUTE, scope=Scope((str(B),))))
    (entry,) = a_run(folder).entries
    assert (entry.key, entry.details.jobs) == (B, "b")


@pytest.mark.parametrize(
    ("scope", "lifted", "is_muted"),
    [
        (Scope(("http old",)), (), True),
        (Scope(("http o*",)), (), True),
        (Scope(("Web/http old",)), (), True),
        (Scope(("http *",)), (Scope(("http old",)),), False),
        (Scope(("http other",)), (), False),
    ],
)
def test_a_mute_follows_a_target_that_is_renamed(folder, scope, lifted, is_muted):
    key, now = JobKey("Web", "http new"), NOON + MINUTE
    catalog = {JobKey("Web", "http old"): CatalogEntry("http old", "Web.py", "minute")}
    inbox.submit(folder, replace(MUTE, scope=scope, lifted=lifted))
    settings = Settings(folder, ini=ini("[http new]\nwas = old\n"))
    state = State(folder)
    session = StoreSession(state, state.load(), (), now)
    taken = requests.take(settings, session.notes, catalog, {}, now)
    held = taken.silences.holding(key, "http new", (), now)
    assert (held is not None) is is_muted
    # Where the old name is that of another target, the mute is about that one.
    settings = Settings(folder, ini=ini("[http old]\n[http new]\nwas = old\n"))
    taken = requests.take(settings, session.notes, catalog, {}, now)
    assert [one.scope for one in taken.silences.mutes] == [scope]


def test_a_check_that_was_asked_for_is_due_once(folder):
    inbox.submit(folder, CheckNow("c1", NOON, Scope(("b",)), "ann"))
    taken = a_run(folder)
    assert taken.checks == {B} and mutes(folder) == ()
    (entry,) = taken.entries
    assert decisions.sentence(entry, str) == "a check now was asked for by ann (b)"
    due = Due(asked=taken.checks)
    assert is_due("day", B, due) and not is_due("day", A, due)
    assert a_run(folder).checks == frozenset()


def test_a_mute_is_forgotten_when_it_is_over(folder):
    inbox.submit(folder, MUTE)
    a_run(folder)
    a_run(folder, NOON + HOUR)
    assert mutes(folder) == ()


def test_what_is_damaged_goes_to_quarantine_with_one_line(folder, caplog):
    inbox.submit(folder, MUTE)
    (folder / "inbox" / "0.json").write_bytes(b"{")
    a_run(folder)
    (line,) = caplog.messages
    assert line.startswith(f"{folder}/inbox/0.json: it is not JSON")
    assert line.endswith("the request is not applied, make it again")
    assert [path.name[:2] for path in (folder / "quarantine").iterdir()] == ["0."]
    assert mutes(folder) == (MUTE,)
    caplog.clear()
    a_run(folder)
    assert caplog.messages == []


def test_requests_that_cannot_be_listed_stop_no_run(folder, caplog):
    (folder / "inbox").write_text("")
    assert a_run(folder).waiting == inbox.Waiting()
    (line,) = caplog.messages
    assert "cannot list it" in line and "requests wait" in line


def test_a_broken_job_file_may_be_muted_too(folder):
    key = JobKey("Flag")
    state = State(folder)
    state.save([replace(failing(key), name="Flag.py")])
    inbox.submit(folder, replace(ACK, scope=Scope(("Flag.py",))))
    a_run(folder)
    assert record_of(folder, key).acknowledged is not None


@pytest.mark.long
@pytest.mark.fault("A13", "kill -9 at any step while requests are applied")
def test_a_run_that_is_killed_anywhere_applies_each_request_once(folder):
    kept = folder.parent / "kept"
    for request in (
        MUTE,
        ACK,
        Mute("m2", NOON + MINUTE / 4, Scope(("a",)), "ann", until=NOON + HOUR),
        Unmute("u1", NOON + MINUTE / 2, Scope(("a",)), "ann"),
    ):
        inbox.submit(folder, request)
    shutil.copytree(folder, kept)

    def begin():
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)

    kills = 0
    for was_killed in each_kill(begin, lambda: a_run(folder)):
        kills += was_killed
        # Meanwhile a is OK, and fails again: that is another failure.
        acknowledged = record_of(folder, A).acknowledged
        State(folder).save([failing(A, NOON + MINUTE)])
        a_run(folder, NOON + 2 * MINUTE)
        # Taken back, as the last one asked.
        assert acknowledged is None
        assert record_of(folder, A).acknowledged is None
        assert mutes(folder) == (MUTE,)
        assert inbox.waiting(folder) == inbox.Waiting()
        assert not (folder / "quarantine").exists()
    assert kills > 5


@pytest.mark.fault("A13", "a power cut brings a request back that was applied")
def test_a_request_that_a_power_cut_brings_back_is_not_applied_again(folder):
    inbox.submit(folder, MUTE)
    (path,) = inbox.waiting(folder).paths
    content = path.read_bytes()
    inbox.submit(folder, Unmute("u1", NOON + MINUTE / 2, Scope(("b",)), "ann"))
    a_run(folder)
    assert mutes(folder) == ()
    # The removal of one was durable, that of the other was not.
    path.write_bytes(content)
    a_run(folder)
    assert mutes(folder) == ()
    assert inbox.waiting(folder) == inbox.Waiting()


def test_an_acknowledgement_outlives_a_run_that_is_killed_anywhere(folder):
    kept = folder.parent / "kept"
    inbox.submit(folder, ACK)
    shutil.copytree(folder, kept)

    def begin():
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)

    for was_killed in each_kill(begin, lambda: a_run(folder)):
        a_run(folder)
        assert record_of(folder, A).acknowledged.who == "bob"
        assert inbox.waiting(folder) == inbox.Waiting()
        # It is OK before the next run, or not: a request is of one failure.
        if was_killed:
            begin()
            State(folder).save([failing(A, NOON + MINUTE)])
            a_run(folder)
            assert record_of(folder, A).acknowledged is None


@pytest.mark.fault("A13", "kill -9 at any step of the command that asks")
def test_a_command_that_is_killed_leaves_a_whole_request_or_none(folder):
    def begin():
        shutil.rmtree(folder / "inbox", ignore_errors=True)

    found = []
    for _ in each_kill(begin, lambda: inbox.submit(folder, MUTE)):
        waiting = inbox.waiting(folder)
        assert waiting.damaged == {}
        found.append(waiting.requests)
    assert found[0] == () and found[-1] == (MUTE,)
    assert set(found) == {(), (MUTE,)}
