"""-m replay: who would have been notified of what, by other settings than there were.

The results that history has are judged again by the rules of ``lib/core/policy.py``, by
the terms that runs recorded with what the settings say on top.  What is on record comes
from ``lib/alerting/onrecord.py``.  No job's code is asked, and nothing is written.

What held alerts back then holds them back now.  How messages leave is not replayed:
rate limits, bundles, outages, fallbacks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec.structs import replace

from lib.alerting import routing, templates
from lib.alerting.onrecord import TO_CONTACT, Past, PastResult, Ways
from lib.core import flapping, policy
from lib.core.decisions import Entry, Event, MailDetails, People, people_of
from lib.core.enums import Decision, Status
from lib.core.jobs import SETTINGS_KEY, Job, JobKey, Terms
from lib.core.messages import Message
from lib.core.records import Record
from lib.core.replay import Notification, Told, What, what_of
from lib.core.results import CheckResult, JobReport
from lib.core.settings import Settings
from lib.core.text import utc

#: Returns the terms of a job by the settings; None: it is disabled.
TermsBy = Callable[[JobKey, str, Terms], Terms | None]
#: Returns the status of a result of a job by its numbers.
StatusBy = Callable[[JobKey, Status, Mapping[str, float]], Status]

#: What holds alerts back whatever the decision would be.
_SILENT = frozenset({Decision.MUTED, Decision.ACKNOWLEDGED, Decision.MAINTENANCE})


class Replay:
    """Judges what is on record of jobs by the settings."""

    def __init__(
        self,
        settings: Settings,
        terms_by: TermsBy,
        run_times: Sequence[float] = (),
        status_by: StatusBy | None = None,
    ) -> None:
        """``run_times``: when runs began, for escalations.

        ``status_by``: None: each result has the status that it had.
        """
        self._status_by = status_by
        self._settings = settings
        self._ways = Ways.by(settings)
        self._terms_by = terms_by
        self._run_times = run_times
        self._escalates = any(one.escalate for one in settings.channels.values())

    def told(self, past: Past) -> Told:
        """Return the notifications that the settings would have made of a job."""
        one = _Judged(past, self._settings, self._ways)
        recorded: Terms | None = None
        terms: Terms | None = None
        for number, step in enumerate(past.steps):
            if isinstance(step, Entry):
                one.take(step)
                continue
            if step.terms is not recorded:
                # Most results have those of the one before.
                recorded = step.terms
                terms = self._terms_by(past.key, past.name, recorded)
            if terms is None:
                one.forget()
                continue
            if self._status_by is not None:
                status = self._status_by(past.key, step.status, step.numbers)
                step = step._replace(status=status)
            if one.is_default and step.status is Status.OK:
                # As nearly all results of nearly all jobs.
                continue
            one.judge(step, terms)
            if self._escalates and one.record.alerted_at is not None:
                following = past.steps[number + 1 : number + 2]
                until = following[0].at.timestamp() if following else step.run_at + 1
                self._escalate(one, step, terms, until)
        return Told(one.notifications, one.ends)

    def _escalate(
        self, one: _Judged, step: PastResult, terms: Terms, until: float
    ) -> None:
        """Have each run up to the next result of the job look whether it is due."""
        first = bisect_left(self._run_times, step.run_at)
        times = self._run_times[first : bisect_left(self._run_times, until, first)]
        for run_at in times or [step.run_at]:
            at = max(step.at, utc(run_at))
            if one.escalate(at, terms):
                return


class _Judged:
    """One job while its results are judged one after the other."""

    def __init__(self, past: Past, settings: Settings, ways: Ways) -> None:
        self.record = past.before
        self.notifications: list[Notification] = []
        self.ends: list[datetime] = []
        self.is_default = past.before.is_default
        self._past, self._settings, self._ways = past, settings, ways
        self._nothing = Record(past.key, past.name)

    def judge(self, step: PastResult, terms: Terms) -> None:
        now, record = step.at, policy.settled(self.record, step.at)
        job = Job(
            self._past.key,
            self._past.name,
            "",
            terms.schedule,
            terms.policy,
            terms.contact,
            recheck=terms.recheck,
        )
        result = CheckResult(step.status, step.reason, is_event=terms.is_event)
        decision, memory = _decided(job, record, result, step, terms)
        report = JobReport(job, result, decision, memory=memory)
        if decision.notifies:
            context = templates.MailContext(now, None)
            message = templates.default_message(
                f"{step.run_at}", job, record, result, decision, context
            )
            report = replace(report, messages=(message,))
            phase = flapping.phase_of(record, step.status, decision, job.policy, now)
            message = replace(message, when=terms.policy.when)
            what = what_of(decision, step.status, phase)
            has_own = self._past.has_own_people and what in TO_CONTACT
            if has_own and terms.contact == step.terms.contact:
                own = self._past.own_people(now)
                self._note(what, message, own)
                message = replace(message, to=own.addresses)
                report = replace(report, messages=(message,))
            else:
                self._note(what, message)
        if decision in (Decision.RECOVERY, Decision.QUIET_RECOVERY):
            self.ends.append(now)
        # Whatever is queued has left before the next result.
        self.record = replace(policy.advance(record, report, now), queued=())
        self.is_default = self.record.is_default

    def escalate(self, now: datetime, terms: Terms) -> bool:
        """Queue an alert for those to whom it is escalated; return whether any are."""
        record, channels = self.record, self._settings.channels
        zone, when = self._settings.zone, terms.policy.when
        names = routing.escalations(record, channels, now, zone, when)
        if not names:
            return False
        context = templates.MailContext(now, zone)
        message = templates.escalation_message("", record, names, context)
        self._note(What.ESCALATION, replace(message, when=when))
        self.record = replace(record, notified=(*record.notified, *names))
        return True

    def take(self, entry: Entry) -> None:
        """Take what the audit log says of the job beside its results."""
        mail = entry.details
        if entry.code is Event.STATE_LOST:
            self.record = replace(self._nothing, status=Status.UNKNOWN)
            self.is_default = False
        elif not isinstance(mail, MailDetails):
            self._end(entry)
        elif entry.code is Event.DROPPED:
            message = Message(mail.message_id, mail.kind, "", "", (), entry.at)
            dead = mail.to.addresses
            self.record = policy.without_dead(self.record, message, dead)
        elif self.record.notified_at is not None:
            names = (to.partition("/")[0] for to in mail.to.addresses)
            everybody = dict.fromkeys((*self.record.notified, *names))
            self.record = replace(self.record, notified=tuple(everybody))

    def _end(self, entry: Entry) -> None:
        """Have the job gone; who knew of trouble hears of it."""
        record, now = self.record, entry.at
        is_gone = entry.code is Event.JOB_GONE and not record.key.is_way
        is_known = record.notified_at is not None and record.status is not Status.OK
        if is_gone and is_known:
            contact = self._settings.alertcontact
            message = templates.closing_message(
                "", record, contact, templates.MailContext(now, None)
            )
            self._note(What.CLOSING, message)
        self.ends.append(now)
        self.forget()

    def forget(self) -> None:
        """Have nothing on record of the job."""
        self.record, self.is_default = self._nothing, True

    def _note(self, what: What, message: Message, own: People | None = None) -> None:
        people, leaves_at = self._ways.of(message)
        at = message.born_at
        is_silent = at in self._past.silent_at or own == People()
        if leaves_at is None or is_silent:
            return
        key, name = self._past.key, self._past.name
        to = own or people_of(people)
        self.notifications.append(Notification(key, name, what, at, leaves_at, to))


def _decided(
    job: Job, record: Record, result: CheckResult, step: PastResult, terms: Terms
) -> tuple[Decision, Mapping[str, str] | None]:
    """Return the decision about a result, and what its job is to remember."""
    held = Decision(step.code) if step.code else None
    decision = policy.decide(
        record,
        result,
        job.policy,
        step.at,
        held if held in _SILENT else None,
        is_recheck=terms.ran_apart and record.status.is_failure and not record.pending,
    )
    if held is not None and held not in _SILENT:
        decision = policy.out_of_reach(decision, held)
    if job.key != SETTINGS_KEY:
        return decision, None
    decision = policy.settings_decision(record, decision, step.at)
    return decision, policy.settings_memory(decision, step.at)
