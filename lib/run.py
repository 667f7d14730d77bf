"""The supervisor: hands jobs to workers, keeps the run's end, commits, has mail sent.

A run reads what is remembered, lets workers find and run what is due, turns each
report into a record, and commits record and owed messages together before anything is
sent.  Job code never runs here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import FrameType

from lib import (
    decide,
    decisions,
    emergency,
    health,
    idle,
    letters,
    process,
    standins,
    statusfile,
    strays,
)
from lib.cautious import CautiousState, NoPostman
from lib.crew import Crew, Event, Lost, Met
from lib.disk import StateError
from lib.journal import Journal
from lib.ledger import Ledger
from lib.model import (
    Condition,
    JobFacts,
    JobFrequency,
    Known,
    Message,
    Outcome,
    Report,
    RunFacts,
    Settings,
    Verdict,
)
from lib.notes import OWN_KEY
from lib.oldstate import read_once
from lib.postman import Postman
from lib.roster import Roster
from lib.state import RUN, State, last_runs
from lib.wording import first_line
from lib.worker import Order

logger = logging.getLogger(__name__)

#: A run ends within this, so that one lock suffices and it is never an old one.
RUN_S = 55.0
#: Jobs get this much of it; the rest is for the mails they caused.
JOBS_S = 50.5
#: What is left when what many records are in is put into files of their own.
SETTLE_BEFORE_S = 3.0
#: A report waits at most this long for others to be committed with it.
COMMIT_AFTER_S = 0.5


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def run(
    settings: Settings,
    ordered: JobFrequency,
    now: Callable[[], datetime] = utc_now,
    command: tuple[list[str], str] | None = None,
) -> int:
    """Carry out one run; return the exit code.

    ``command`` is the command line and the checkout, for the note of ``lib/idle.py``.
    0: it took place, or another one is at work.  1: state cannot be used or written,
    or the run at work is past its end.
    """
    state = CautiousState(settings.state)
    stop = _Stop()
    try:
        holder = state.lock(now(), timedelta(seconds=RUN_S))
        if holder is not None:
            state.count_skip(now())
            late = holder.ends_by is not None and now() > holder.ends_by
            logger.log(
                logging.ERROR if late else logging.INFO,
                "a run (process %d) is in progress since %s%s; this one ends",
                holder.pid,
                holder.began_at or "an unknown time",
                ", past its end: is it stopped, or waiting for a disk?" * late,
            )
            return int(late)
        _Run(settings, state, ordered, now, stop, command).carry_out()
    except StateError as error:
        logger.error("%s", error)
        return 1
    return int(bool(state.frozen))


class _Stop:
    """Whether somebody asked the run to end: SIGTERM, or Ctrl-C."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if not self.asked:
            logger.warning("%s: the run ends early", signal.Signals(number).name)
        self.asked = True


class _Run:
    """One run, from what is remembered to what is to be remembered."""

    def __init__(
        self,
        settings: Settings,
        state: CautiousState,
        ordered: JobFrequency,
        now: Callable[[], datetime],
        stop: _Stop,
        command: tuple[list[str], str] | None,
    ) -> None:
        self._settings = settings
        self._command = command
        self._state = state
        self._now = now
        self._ends_at = time.monotonic() + RUN_S
        self._jobs_end_at = time.monotonic() + JOBS_S
        self._stop = stop
        state.clear_leftovers()
        found = state.load()
        self._due = decide.due_frequencies(ordered, last_runs(found.run), now())
        self._missed = self._due - set(decide.INCLUDES[ordered])
        self._facts = _beginning(state, found.run, ordered, now())
        old = read_once(
            settings.old_statefile, found.run, run_is_lost=RUN in found.lost
        )
        self._has_read_old_state = old is not None
        self._ledger = Ledger(state, found, old or (), now())
        self._journal = Journal(settings.state, settings.secrets)
        self._met: dict[str, JobFacts] = {}
        self._roster = Roster(
            settings, *state.load_met(), self._facts.began_at or now()
        )
        self._judged: dict[str, Condition] = {}
        self._adopts = False
        self._ended: RunFacts | None = None
        self._postman: Postman | NoPostman = (
            NoPostman()
            if state.frozen
            else Postman(settings, self._ledger, now, self._journal)
        )
        self._crew = Crew(
            settings.config,
            Order(
                due=self._due,
                records=dict(self._ledger.records),
                lost=self._ledger.lost,
                old_entries=self._ledger.old_entries,
                contact=settings.alertcontact,
                secrets=settings.secrets,
                limits=settings.limits,
                mail=settings.mail,
                # What hooks would say could not be kept.
                speaks=not state.frozen,
            ),
            lambda file: standins.facts_of_file(file, settings),
        )

    def carry_out(self) -> None:
        """Do all of it, or what can be done where state cannot be written."""
        try:
            self._trying(self._begin)
            self._set_to_work()
            while not self._is_over():
                self._trying(self._turn)
        finally:
            # Whatever happened, nobody is left at work.
            not_done = list(self._crew.stop())
            self._trying(self._postman.stop)
            if self._adopts:
                strays.end_all(process.at_work)
        for lost in not_done:
            self._put_off(lost)
        self._trying(self._end)
        if self._settings.status.write:
            self._say_how_we_are()
        if self._state.frozen and not self._stop.asked:
            emergency.tell(
                self._settings,
                self._state.frozen,
                self._ledger.records.values(),
                self._facts.began_at or self._now(),
                self._ends_at - time.monotonic(),
            )

    def _trying(self, step: Callable[[], None]) -> None:
        """Do a step that writes; where that fails, write and send no more."""
        try:
            step()
        except StateError as error:
            self._state.freeze(error)
            postman, self._postman = self._postman, NoPostman()
            with contextlib.suppress(StateError):
                postman.stop()

    def _begin(self) -> None:
        # First of all: run.json may itself be among what is lost.
        now = self._now()
        lost = self._ledger.tell_of_lost(self._settings.alertcontact, now)
        self._journal.note(decisions.lost(OWN_KEY, lost, now))
        # This also proves that state can be written, before anything is sent.
        self._state.save_run(self._facts)
        if self._missed:
            words = ", ".join(sorted(self._missed))
            logger.warning("a run of %s was missed, and is caught up now", words)

    def _set_to_work(self) -> None:
        settings = self._settings
        ledger = self._ledger
        files, resting = self._roster.to_load(
            list(ledger.records.values()),
            self._due,
            all_of_them=bool(ledger.lost or ledger.old_entries),
        )
        self._met.update({job.key: job for job in resting})
        # What ships leaves nothing behind.
        self._adopts = not all(file.ships for file in files) and strays.adopt()
        self._crew.start(files)
        records = list(self._ledger.records.values())
        for facts, outcome in (
            *standins.stand_ins(settings),
            *standins.mended(settings, records),
        ):
            self._judge(facts, outcome)

    def _is_over(self) -> bool:
        if self._stop.asked or time.monotonic() >= self._ends_at:
            return True
        at_work = not self._crew.is_done or self._postman.is_busy
        if at_work or self._ledger.waiting_since is not None:
            return False
        return self._postman.is_idle

    def _turn(self) -> None:
        """Wait for something to happen, and deal with it."""
        children = self._crew.children + self._postman.children
        if children:
            process.wait(children, self._until_next())
        for event in self._crew.events():
            self._hear(event)
        if time.monotonic() >= self._jobs_end_at:
            for lost in self._crew.stop():
                self._put_off(lost)
        self._postman.hear()
        since = self._ledger.waiting_since
        if since is not None and (
            self._crew.is_done or time.monotonic() >= since + COMMIT_AFTER_S
        ):
            self._ledger.commit()
        is_durable = self._ledger.waiting_since is None
        if not self._stop.asked:
            self._postman.send(
                jobs_done=self._crew.is_done,
                jobs_left=self._crew.left,
                left_s=self._ends_at - time.monotonic(),
            )
        # After the mails, which must not wait for it.
        if is_durable:
            self._journal.write()

    def _until_next(self) -> float:
        moments = [
            self._crew.next_deadline(),
            self._postman.next_deadline(),
            self._ends_at if self._crew.is_done else self._jobs_end_at,
        ]
        if (since := self._ledger.waiting_since) is not None:
            moments.append(since + COMMIT_AFTER_S)
        # A child that died with its pipe held open by another tells nobody.
        return max(0.0, min(1.0, min(moments) - time.monotonic()))

    # What workers say.

    def _hear(self, event: Event) -> None:
        if isinstance(event, Lost):
            self._judge(event.job, event.outcome)
        elif isinstance(event, Met):
            for warning in event.warnings:
                logger.warning("%s", warning)
            self._roster.hear(event.jobs, is_odd=bool(event.warnings))
            for job in event.jobs:
                self._met[job.key] = job
                self._ledger.meet(job)
        else:
            self._take(event.report)

    def _judge(self, job: JobFacts, outcome: Outcome) -> None:
        """Judge what no worker could: its job is lost, or is one of Checker's own."""
        record, now = self._ledger.record_of(job), self._now()
        verdict = decide.decide(record, outcome, job.policy, now)
        messages: tuple[Message, ...] = ()
        if verdict.speaks:
            identity = os.urandom(16).hex()
            messages = (
                letters.default_message(identity, job, record, outcome, verdict, now),
            )
        self._take(Report(job, outcome, verdict, messages))

    def _put_off(self, lost: Lost) -> None:
        """Have a job asked again next minute, since this run had no time for it.

        Once is nothing to alarm people with, a reboot does it; twice is not fine.
        """
        twice = self._ledger.record_of(lost.job).pending and not self._stop.asked
        condition = Condition.UNKNOWN if twice else Condition.PENDING
        self._judge(lost.job, replace(lost.outcome, condition=condition))

    def _take(self, report: Report) -> None:
        job = report.job
        self._met[job.key] = job
        before, now = self._ledger.record_of(job), self._now()
        after = decide.advance(before, report, now)
        self._ledger.keep(after)
        self._journal.note(decisions.judged(report, before, after, now))
        if job.is_own and report.verdict is Verdict.FINE:
            return
        self._judged[job.key] = report.outcome.condition
        reason = first_line(report.outcome.detail)
        logger.info("%s: %s%s", job.name, report.verdict, f": {reason}" * bool(reason))

    # The end.

    def _end(self) -> None:
        now = self._now()
        if not self._stop.asked:
            for record in self._ledger.forget_unmet(self._met, now):
                self._journal.note([decisions.forgotten(record, now)])
        self._ledger.commit()
        self._journal.write()
        listed, gone = self._ledger.drop_plain(self._met)
        self._state.settle(self._ends_at - SETTLE_BEFORE_S)
        ended = self._ending(listed, now)
        self._state.save_run(ended)
        self._ended = None if self._state.frozen else ended
        # Listed no more, so that a crash here does not make them lost ones.
        self._state.forget(gone)
        self._save_catalogue()
        self._note_idle(listed, now)

    def _say_how_we_are(self) -> None:
        """Write our answer to peers, the last thing of all."""
        # A run that could not be written down has not finished for anybody.
        facts = self._ended or replace(self._facts, ended_at=None)
        statusfile.write(self._settings, facts, self._now())

    def _note_idle(self, listed: list[str], now: datetime) -> None:
        """Let the next run be told by a note if it would do nothing either."""
        worked = bool(
            self._stop.asked
            or self._state.frozen
            or not self._state.is_settled
            or self._due != {JobFrequency.MINUTE}
            or self._roster.has_loaded
            or self._judged
        )
        run, records = self._ending(listed, now), self._ledger.records.values()
        if self._command and idle.is_idle(self._settings, run, records, worked=worked):
            until = idle.idle_until(self._roster.asked, last_runs(run))
            if until is not None:
                idle.write_note(self._settings, run, until, *self._command)

    def _ending(self, listed: list[str], now: datetime) -> RunFacts:
        found = list(self._judged.values())
        # When it began: that is the slot it stands for.
        began = (self._facts.began_at or now).isoformat()
        ran_now = {frequency.value: began for frequency in self._due}
        records = self._ledger.records.values()
        facts = self._facts
        ended = replace(
            facts,
            ended_at=now,
            last_runs={**facts.last_runs, **ran_now},
            jobs=len([job for job in self._met.values() if not job.is_own]),
            ran=len(found),
            failing=found.count(Condition.FAILING),
            unknown=found.count(Condition.UNKNOWN),
            pending=found.count(Condition.PENDING),
            sent=self._postman.sent,
            owed=sum(len(record.owed) for record in records),
            records=tuple(listed),
            lost_records=tuple(self._ledger.still_lost(self._met)),
            old_statefile=(
                str(self._settings.old_statefile)
                if self._has_read_old_state
                else facts.old_statefile
            ),
        )
        return health.witnessed(ended, records)

    def _save_catalogue(self) -> None:
        roster = self._roster
        before = roster.catalogue
        jobs = {
            key: Known(
                job.name,
                job.file,
                job.frequency,
                job.policy,
                job.contact,
                judged=key in self._judged or (key in before and before[key].judged),
            )
            for key, job in self._met.items()
            if not job.is_own
        }
        if (jobs, roster.asked) != (before, roster.asked_before):
            self._state.save_catalogue(jobs, roster.asked)


def _beginning(
    state: State, before: RunFacts, ordered: JobFrequency, now: datetime
) -> RunFacts:
    skips, skipped_at = state.take_skips(before.skipped_at)
    return replace(
        before,
        began_at=now,
        ordered=ordered,
        skipped=before.skipped + skips,
        skipped_at=skipped_at or before.skipped_at,
    )
