"""What a run remembers survives the run, wherever it is cut off.

``a_run`` goes through the stages of lib/runner/run.py in their order, without the
workers.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from lib.alerting.templates import lost_records_message
from lib.core import policy
from lib.core.calendar import SummarySeries
from lib.core.enums import Decision, JobFrequency, MessageKind, Status
from lib.core.jobs import NEVER_FLAPPING, OWN_KEY, Job, JobKey, Policy, file_stem
from lib.core.messages import Message
from lib.core.records import Record, RunRecord
from lib.core.results import CheckResult, JobReport
from lib.storage.lost import OWN_STEM, RUN
from lib.storage.session import UNCLAIMED_KEPT, StoreSession
from lib.storage.store import State
from tests.support.fakes import older_record
from tests.support.kills import each_kill

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OPS = ("ops@example.com",)
DAY = timedelta(days=1)

OK, FAILING = CheckResult(Status.OK), CheckResult(Status.FAILING, "why")


def job(name: str, formerly: str = "") -> Job:
    return Job(
        JobKey("Web", name),
        name,
        "/Web.py",
        JobFrequency.DAY,
        Policy(flapping=NEVER_FLAPPING),
        contact=OPS,
        formerly=formerly,
    )


A, B = job("a"), job("b")


def failing(facts: Job, **more: object) -> Record:
    return Record(facts.key, facts.name, Status.FAILING, failures=3, **more)


class Stopped(BaseException):
    """The run was killed."""


class Dying(State):
    """A state folder whose run is killed at a step: before it, in it, or after it."""

    def __init__(self, folder: Path, last_step: int) -> None:
        super().__init__(folder)
        self._left = last_step

    def _step(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Stopped

    def save(self, records: Iterable[Record]) -> None:
        self._step()
        # Each file changes in one step; together they do not.
        for record in list(records):
            super().save([record])
            self._step()

    def quarantine(self, stems: Iterable[str], now: datetime) -> None:
        for stem in list(stems):
            self._step()
            super().quarantine([stem], now)
        self._step()

    def save_run(self, run: RunRecord) -> None:
        self._step()
        super().save_run(run)
        self._step()

    def forget(self, stems: Iterable[str]) -> None:
        for stem in list(stems):
            self._step()
            super().forget([stem])
        self._step()


def a_run(
    state: State,
    jobs: Iterable[Job] = (A, B),
    judged: Mapping[str, CheckResult] | None = None,
    old: Iterable[Record] = (),
    now: datetime = NOON,
) -> dict[str, Record]:
    """Return the records as the jobs were met, after a run with these outcomes."""
    met = {facts.key: facts for facts in jobs}
    found = state.load()
    session = StoreSession(state, found, tuple(old), now)
    session.notify_of_lost(
        lambda lines, at: lost_records_message(os.urandom(16).hex(), lines, OPS, at),
        now,
    )
    state.save_run(found.run)
    for facts in met.values():
        session.meet(facts)
    as_met = {facts.key: session.record_of(facts) for facts in met.values()}
    for name, result in (judged or {}).items():
        facts = met[JobKey("Web", name)]
        record = session.record_of(facts)
        decision = policy.decide(record, result, facts.policy, now)
        report = JobReport(facts, result, decision)
        session.keep(policy.advance(record, report, now))
    session.commit()
    session.forget_unmet(met, now)
    session.commit()
    listed, gone = session.drop_default(met)
    state.settle(time.monotonic() + 60)
    state.save_run(
        replace(found.run, records=tuple(listed), old_statefile="read" if old else "")
    )
    state.forget(gone)
    return as_met


@pytest.fixture
def state(tmp_path):
    """Return a state folder in which A and B are failing."""
    state = State(tmp_path / "state")
    state.folder.mkdir()
    a_run(state, judged={"a": FAILING, "b": FAILING})
    return state


def files(state: State) -> set[str]:
    return {path.name.removesuffix(".json") for path in _jobs(state).iterdir()}


def _jobs(state: State) -> Path:
    return state.folder / "jobs"


def damage(state: State, *stems: str) -> None:
    for stem in stems:
        folder = state.folder if stem == RUN else _jobs(state)
        path = folder / f"{stem}.json"
        path.write_bytes(path.read_bytes()[:-30])


def summaries(state: State) -> list[Message]:
    """Return what is owed of what was lost."""
    own = state.load().records.get(OWN_KEY)
    return list(own.queued) if own else []


def sent(state: State) -> None:
    """Let everything that is owed leave."""
    for record in state.load().records.values():
        state.save([replace(record, queued=())])


def stem(facts: Job) -> str:
    return file_stem(facts.key)


# Which jobs have a file.


def test_a_job_that_is_plainly_ok_never_gets_a_file(tmp_path):
    state = State(tmp_path)
    a_run(state, judged={"a": OK, "b": OK})
    assert not _jobs(state).exists()
    assert state.load_run().records == ()


def test_a_job_that_fails_has_a_file_and_is_listed(state):
    assert files(state) == {stem(A), stem(B)}
    assert set(state.load_run().records) == {stem(A), stem(B)}


def test_a_job_that_is_ok_again_loses_its_file(state):
    a_run(state, judged={"a": OK})
    assert files(state) == {stem(B)}
    assert state.load_run().records == (stem(B),)


def test_a_file_is_removed_only_when_it_is_listed_no_more(state):
    class Watching(State):
        def forget(self, stems):
            stems = list(stems)
            assert not set(stems) & set(self.load_run().records)
            self.forgotten = stems

    watching = Watching(state.folder)
    a_run(watching, judged={"a": OK})
    assert watching.forgotten == [stem(A)]
    # Cut off there, what is left says nothing, and goes with the next run.
    assert state.load().lost == {}
    a_run(state)
    assert files(state) == {stem(B)}


def test_nothing_new_costs_no_write(state):
    class ReadOnly(State):
        def save(self, records):
            raise AssertionError("something was written")

    assert set(a_run(ReadOnly(state.folder))) == {A.key, B.key}


def test_what_waits_to_be_durable_is_known_until_it_is(state):
    session = StoreSession(state, state.load(), (), NOON)
    assert session.waiting_since is None
    session.keep(failing(A, pending_since=NOON))
    assert session.waiting_since is not None
    session.commit()
    assert session.waiting_since is None
    assert state.load().records[A.key].pending


def test_what_is_queued_is_known_whatever_becomes_of_its_record(state):
    message = Message("ab", MessageKind.ALERT, "s", "b", OPS, NOON)
    session = StoreSession(state, state.load(), (), NOON)
    assert not session.has_queued
    session.keep(failing(A, queued=(message,)))
    assert session.has_queued
    session.meet(RENAMED)
    assert session.has_queued
    session.keep(failing(RENAMED))
    assert not session.has_queued
    session.keep(failing(B, queued=(message,)))
    session.commit()
    later = StoreSession(state, state.load(), (), NOON)
    assert later.has_queued
    later.keep(failing(B))
    assert not later.has_queued
    later.keep(failing(B, queued=(message,)))
    later.keep(Record(B.key, B.name))
    assert not later.has_queued


def test_a_job_that_failed_and_was_ok_again_before_it_was_durable_has_no_file(
    tmp_path,
):
    session = StoreSession(State(tmp_path), State(tmp_path).load(), (), NOON)
    session.keep(failing(A))
    session.keep(Record(A.key, A.name))
    assert session.waiting_since is None
    assert session.records == {}


def test_a_clock_that_was_set_back_is_made_good_at_once(state):
    state.save([failing(A, notified_at=NOON + DAY, unseen_since=NOON + DAY)])
    a_run(state)
    record = state.load().records[A.key]
    assert (record.notified_at, record.unseen_since) == (NOON, None)


# Jobs that are gone.


def test_a_job_that_no_run_meets_is_dropped_after_thirty_days(state):
    a_run(state, [A])
    assert state.load().records[B.key].unseen_since == NOON
    a_run(state, [A], now=NOON + 30 * DAY)
    assert files(state) == {stem(A), stem(B)}
    a_run(state, [A], now=NOON + 31 * DAY)
    assert files(state) == {stem(A)}
    assert state.load_run().records == (stem(A),)


def test_what_is_queued_is_never_dropped(state):
    message = Message("ab", MessageKind.ALERT, "s", "b", OPS, NOON)
    state.save([failing(B, queued=(message,), unseen_since=NOON)])
    a_run(state, [A], now=NOON + 99 * DAY)
    assert state.load().records[B.key].queued == (message,)
    sent(state)
    a_run(state, [A], now=NOON + 100 * DAY)
    assert files(state) == {stem(A)}


def test_a_job_that_is_met_again_starts_its_thirty_days_anew(state):
    a_run(state, [A])
    a_run(state, [A, B], now=NOON + 29 * DAY)
    assert state.load().records[B.key].unseen_since is None
    a_run(state, [A], now=NOON + 40 * DAY)
    assert files(state) == {stem(A), stem(B)}


# What is lost.


#: Where a text that was cut is no JSON any more.
CUT_AT = {r"line \d+ column \d+ \(char \d+\)": "line N"}


def test_what_is_lost_is_unknown_and_reported_in_one_mail(state, approved):
    damage(state, stem(A))
    (_jobs(state) / f"{stem(B)}.json").unlink()
    as_met = a_run(state)
    assert {record.status for record in as_met.values()} == {Status.UNKNOWN}
    (summary,) = summaries(state)
    assert summary.to == OPS
    approved(summary.subject, "subject")
    approved(summary.body, "body", hide=CUT_AT)
    assert len(list((state.folder / "quarantine").iterdir())) == 1


def test_it_is_reported_once_though_its_job_is_not_due_for_hours(state):
    damage(state, stem(A))
    for hour in range(5):
        as_met = a_run(state, now=NOON + timedelta(hours=hour))
        assert as_met[A.key].status is Status.UNKNOWN
        assert len(summaries(state)) == 1
    sent(state)
    a_run(state)
    assert summaries(state) == []


def test_it_is_reported_once_though_its_job_is_never_met_again(state):
    damage(state, stem(A))
    a_run(state, [B])
    sent(state)
    for day in range(1, 40):
        a_run(state, [B], now=NOON + day * DAY)
        assert summaries(state) == []
    # By then it is forgotten, and so is that somebody was told.
    assert files(state) == {stem(B)}
    assert state.load_run().records == (stem(B),)


def test_a_job_that_is_met_again_after_days_is_still_unknown(state):
    damage(state, stem(A))
    a_run(state, [B])
    assert a_run(state, now=NOON + 20 * DAY)[A.key].status is Status.UNKNOWN


def test_a_lost_job_that_is_ok_is_a_job_without_a_file_again(state):
    damage(state, stem(A))
    a_run(state, judged={"a": OK})
    sent(state)
    assert a_run(state)[A.key] == Record(A.key)
    assert files(state) == {stem(B)}
    assert state.load_run().records == (stem(B),)


def test_a_lost_job_that_fails_is_reported_again_at_once(state):
    damage(state, stem(A))
    a_run(state, judged={"a": FAILING})
    assert state.load().records[A.key].notified_at == NOON


def test_what_is_lost_later_is_reported_in_a_mail_of_its_own(state, approved):
    damage(state, stem(A))
    a_run(state)
    damage(state, stem(A), stem(B))
    a_run(state)
    first, second = summaries(state)
    approved(first.subject, "subject")
    approved(second.subject, "subject 2")


def test_run_json_is_part_of_the_summary_and_made_anew(state, approved):
    damage(state, RUN)
    a_run(state)
    (summary,) = summaries(state)
    approved(summary.subject, "subject")
    approved(summary.body, "body", hide=CUT_AT)
    assert set(state.load_run().records) >= {stem(A), stem(B)}
    sent(state)
    a_run(state)
    a_run(state)
    assert summaries(state) == []
    assert files(state) == {stem(A), stem(B)}


def test_the_record_of_our_own_may_be_lost_too(state, approved):
    damage(state, stem(A))
    a_run(state, [B])
    damage(state, OWN_STEM)
    a_run(state, [B])
    (summary,) = summaries(state)
    approved(summary.body, hide=CUT_AT)
    # That it was told of A is forgotten with it; that A is lost is not.
    assert len(list((state.folder / "quarantine").iterdir())) == 2
    sent(state)
    a_run(state, [B])
    assert summaries(state) == []
    assert a_run(state)[A.key].status is Status.UNKNOWN


def test_notes_that_make_no_sense_are_passed_over(state, caplog, approved):
    state.save([Record(OWN_KEY, "state", memory={"lost": 5})])
    a_run(state)
    approved(caplog.messages)
    assert files(state) == {stem(A), stem(B)}


@pytest.mark.parametrize("since", [None, 5, "soon", "2026-01-01", "9999-01-01T00:00"])
def test_a_note_without_a_time_counts_as_new(state, since):
    state.save([Record(OWN_KEY, "state", memory={"lost": {stem(job("c")): since}})])
    a_run(state)
    assert state.load_run().records.count(stem(job("c"))) == 1


@pytest.mark.long
@pytest.mark.parametrize("lost", [[A], [A, B]], ids=["one", "all"])
@pytest.mark.parametrize("others", [[], [RUN]], ids=["", "run.json"])
@pytest.mark.parametrize("judged", [{}, {"a": OK}], ids=["not due", "due"])
def test_killed_at_any_step_one_summary_is_queued_and_no_lost_job_is_ok(
    state, lost, others, judged
):
    stems = [*others, *(stem(facts) for facts in lost)]
    unknown = {facts.key for facts in lost if facts.name not in judged}
    damage(state, *stems)
    begin = state.folder.parent / "begin"
    state.folder.rename(begin)
    for last_step in range(100):
        shutil.rmtree(state.folder, ignore_errors=True)
        shutil.copytree(begin, state.folder)
        try:
            a_run(Dying(state.folder, last_step), judged=judged)
            killed = False
        except Stopped:
            killed = True
        as_met = a_run(state)
        assert {as_met[key].status for key in unknown} <= {Status.UNKNOWN}
        a_run(state)
        (summary,) = summaries(state)
        assert all(f"{line}.json: it is not JSON" in summary.body for line in stems)
        assert {path.name.split(".")[0] for path in _quarantine(state)} == set(stems)
        if not killed:
            break
    assert 8 < last_step < 99


def _quarantine(state: State) -> list[Path]:
    return list((state.folder / "quarantine").iterdir())


# What the older program remembered.

SINCE = NOON - DAY
OLD = older_record("Web for c|c", SINCE, SINCE, 7)
C = job("c", formerly="Web for c|*")


def test_what_failed_under_the_older_program_is_not_reported_again(tmp_path):
    state = State(tmp_path)
    as_met = a_run(state, [C], {"c": FAILING}, old=[OLD])
    assert as_met[C.key].failures == 7
    record = state.load().records[C.key]
    assert (record.failures, record.notified_at, record.notified) == (8, SINCE, OPS)
    assert files(state) == {stem(C)}


def test_it_is_taken_over_though_it_is_not_due_for_hours(tmp_path):
    state = State(tmp_path)
    a_run(state, [C], old=[OLD])
    assert state.load().records[C.key].failing_since == SINCE


def test_what_is_ok_by_now_is_not_taken_over_twice(tmp_path):
    state = State(tmp_path)
    a_run(state, [C], {"c": OK}, old=[OLD])
    assert a_run(state, [C])[C.key] == Record(C.key)
    assert not _jobs(state).exists() or files(state) == set()


def test_a_job_with_a_record_of_its_own_keeps_it(tmp_path):
    state = State(tmp_path)
    state.save([failing(C)])
    state.save_run(RunRecord())
    assert a_run(state, [C], old=[OLD])[C.key].failures == 3
    assert files(state) == {stem(C)}


def test_a_job_whose_file_was_broken_at_the_upgrade_is_waited_for(
    tmp_path, caplog, approved
):
    state = State(tmp_path)
    a_run(state, [A], old=[OLD])
    approved(caplog.messages)
    caplog.clear()
    a_run(state, [A], now=NOON + DAY)
    assert caplog.text == ""
    assert a_run(state, [A, C], now=NOON + 2 * DAY)[C.key].failures == 7
    assert files(state) == {stem(C)}


def test_a_job_that_never_turns_up_is_forgotten_with_a_word(tmp_path, caplog, approved):
    state = State(tmp_path)
    a_run(state, [A], old=[OLD])
    caplog.clear()
    a_run(state, [A], now=NOON + UNCLAIMED_KEPT + DAY)
    approved(caplog.messages)
    assert files(state) == set()


def test_killed_at_any_step_an_upgrade_neither_repeats_nor_forgets(tmp_path):
    for last_step in range(100):
        folder = tmp_path / str(last_step)
        folder.mkdir()
        state = State(folder)
        try:
            a_run(Dying(folder, last_step), [A], old=[OLD])
            killed = False
        except Stopped:
            killed = True
        # The older program's file is read again unless run.json says that it was.
        again = [] if state.load_run().old_statefile else [OLD]
        a_run(state, [A, C], {"c": FAILING}, old=again)
        record = state.load().records[C.key]
        assert (record.failures, record.notified_at) == (8, SINCE)
        assert summaries(state) == []
        if not killed:
            break
    assert 4 < last_step < 99


# Bulletins.


def a_summary(session: StoreSession, number: int) -> Message:
    subject = f"daily summary {number}"
    message = Message(f"b{number}", MessageKind.SUMMARY, subject, "b", OPS, NOON)
    series = SummarySeries("daily", number, NOON, NOON)
    session.keep_summaries((series,), message)
    return message


def test_a_number_outlives_what_else_is_noted_and_the_mail_that_bears_it(state):
    session = StoreSession(state, state.load(), (), NOON)
    message = a_summary(session, 12)
    session.commit()
    assert state.load().records[OWN_KEY].queued == (message,)
    damage(state, stem(A))
    a_run(state)
    sent(state)
    a_run(state, judged={"a": OK}, old=[OLD])
    a_run(state, now=NOON + 99 * DAY)
    again = StoreSession(state, state.load(), (), NOON)
    assert [one.number for one in again.summaries] == [12]
    assert state.load().records[OWN_KEY].queued == ()


def test_nothing_new_of_summaries_costs_no_write(state):
    session = StoreSession(state, state.load(), (), NOON)
    session.keep_summaries(())
    assert session.waiting_since is None
    session.keep_summaries((SummarySeries("daily", 1),))
    assert session.waiting_since is not None


def test_killed_at_any_step_no_number_is_there_without_its_mail(state):
    for last_step in range(100):
        dying = Dying(state.folder, last_step)
        try:
            session = StoreSession(dying, dying.load(), (), NOON)
            number = 1 + sum(one.number for one in session.summaries)
            a_summary(session, number)
            session.keep(failing(C))
            session.commit()
            killed = False
        except Stopped:
            killed = True
        after = StoreSession(state, state.load(), (), NOON)
        reached = sum(one.number for one in after.summaries)
        own = state.load().records.get(OWN_KEY, Record(OWN_KEY))
        queued = [one.message_id for one in own.queued]
        assert queued == [f"b{each}" for each in range(1, reached + 1)]
        if not killed:
            break
    assert 1 < last_step < 99


# A section that is renamed.

MESSAGE = Message("ab", MessageKind.ALERT, "s", "b", OPS, NOON)
RENAMED = replace(job("z"), was="a")


def test_a_renamed_job_has_the_record_of_its_old_name(state):
    as_met = a_run(state, [RENAMED, B])
    assert as_met[RENAMED.key] == replace(failing_now(A), key=RENAMED.key, name="z")
    assert files(state) == {stem(RENAMED), stem(B)}
    assert set(state.load_run().records) == {stem(RENAMED), stem(B)}


def failing_now(facts):
    record = Record(facts.key, facts.name)
    report = JobReport(facts, FAILING, Decision.FIRST_ALERT)
    return policy.advance(record, report, NOON)


def test_a_record_is_moved_once_and_its_own_is_not_replaced(state):
    a_run(state, [RENAMED, B], {"z": OK})
    assert files(state) == {stem(B)}
    a_run(state, [A, RENAMED, B], {"a": FAILING, "z": FAILING})
    a_run(state, [RENAMED, A, B])
    assert files(state) == {stem(A), stem(B), stem(RENAMED)}


def test_a_mail_that_is_under_way_is_found_under_the_new_name(state):
    session = StoreSession(state, state.load(), (), NOON)
    assert session.meet(RENAMED) == failing_now(A)
    assert session.meet(RENAMED) is None
    assert session.key_now(A.key) == RENAMED.key
    assert session.key_now(B.key) == B.key


@pytest.mark.long
def test_killed_at_any_step_a_record_is_under_one_name(tmp_path):
    state = State(tmp_path / "state")

    def begin():
        shutil.rmtree(state.folder, ignore_errors=True)
        state.folder.mkdir()
        a_run(State(state.folder), [A, B], {"a": FAILING, "b": FAILING})
        State(state.folder).save([failing(A, queued=(MESSAGE,))])

    kills = 0
    for was_killed in each_kill(
        begin, lambda: a_run(State(state.folder), [RENAMED, B])
    ):
        kills += was_killed
        found = State(state.folder).load()
        records = found.records.values()
        (record,) = [record for record in records if record.queued]
        assert (record.failures, record.queued) == (3, (MESSAGE,))
        assert found.lost == {}
        as_met = a_run(State(state.folder), [RENAMED, B])
        assert as_met[RENAMED.key].queued == (MESSAGE,)
        assert set(State(state.folder).load().records) >= {RENAMED.key, B.key}
    assert kills > 5
    assert files(state) == {stem(RENAMED), stem(B)}
