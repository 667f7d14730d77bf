"""Decide which queued messages are sent now: each as one mail, or many as a bundle.

And by which account: the primary one, or the backup while that one fails.

Messages are collected per tuple of recipients.  The rules are told as stories in
``tests/unit/alerting/test_planning.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import partial

import msgspec
from msgspec.structs import replace

from lib.alerting import bundling, results
from lib.alerting.bundling import bundle_id, bundle_message
from lib.alerting.merge import MergedMessage, merged
from lib.alerting.queue import (
    BundledIds,
    Envelope,
    JobQueue,
    bundled_ids,
    pop_deferral_notes,
    pop_ids,
    pop_kinds,
    queues,
)
from lib.core import health, policy, ratelimit
from lib.core.enums import MessageKind, Status
from lib.core.hours import NO_WINDOWS, Windows
from lib.core.jobs import JobKey
from lib.core.messages import Bundle, Message
from lib.core.ratelimit import Limits, SendLog
from lib.core.records import Record
from lib.core.settings import Command, Mail, bare_command
from lib.core.text import duration, mail_time, wrapped

#: Up to this many are sent as single mails; more become a bundle.
MAX_SINGLE = 5
#: The most messages of a bundle, the oldest; the rest come in the next one.
MAX_IN_BUNDLE = 20_000
#: How long the first message waits for others to be bundled with it.
GATHER = timedelta(seconds=5)
#: How long a run may be at work while one that is tried in an outage waits for it; the
#: rest of its time is for the session.
LONGEST_WAIT = timedelta(seconds=25)
#: What has waited for so long leaves at once, to keep what is promised.
PRESSING_AFTER = ratelimit.PROMISE - timedelta(seconds=10)
#: Kinds that are useless if late: they are sent before others.
URGENT = frozenset({MessageKind.ROUND_TRIP})
#: Kinds that are never bundled: their numbers show if one is missing.
NEVER_BUNDLED = frozenset({MessageKind.SUMMARY, MessageKind.PROOF})
#: What the primary account puts off for so long leaves by the backup: at the third
#: attempt, so that it is within PROMISE.
PUT_OFF = timedelta(minutes=2, seconds=30)
#: Why the primary account is not used.
HELD = "it refused the login too often, or is rate-limiting us"


class Held(msgspec.Struct, frozen=True):
    """A message that the rate limit defers."""

    key: JobKey
    #: The name of its job.
    name: str
    message: Message


class Plan(msgspec.Struct, frozen=True):
    """What is sent now, and what the rate limit defers."""

    envelopes: tuple[Envelope, ...] = ()
    held: tuple[Held, ...] = ()


class Progress(msgspec.Struct, frozen=True):
    """How far the run is whose messages are sent."""

    #: None: there is no such run.
    began_at: datetime | None = None
    jobs_done: bool = True
    #: Many jobs are still running.
    many_to_come: bool = False
    #: The jobs that it has judged.
    judged: Collection[JobKey] = ()
    #: When it found that this machine is blind no more; None: it was not blind.
    sees_since: datetime | None = None

    def outdates(self, send_log: SendLog) -> bool:
        """Return whether the last attempt says nothing of how it is now."""
        if self.sees_since is None or send_log.failed_at is None:
            return False
        return send_log.failed_at < self.sees_since


NO_RUN = Progress()


# The plan.


def plan(
    records: Iterable[Record],
    bundles: Mapping[str, Bundle],
    send_log: SendLog,
    limits: Limits | None,
    now: datetime,
    *,
    progress: Progress = NO_RUN,
    zone: tzinfo | None = None,
    has_backup: bool = False,
    command: Command = bare_command,
    windows: Windows = NO_WINDOWS,
) -> Plan:
    """Return what is sent now, the oldest first.

    The arguments are those of one way of delivery: of mail, or of a channel.  A part of
    its rate limit is reserved for messages about Checker itself.  ``has_backup``: there
    is a backup account, so that a hold on the primary one defers round-trip mails only.
    ``zone`` is for the times in mails, ``command`` for what to paste.  ``windows``:
    when messages may leave.
    """
    if ratelimit.is_held(send_log, now):
        if not has_backup:
            return Plan()
        records = [_without_kinds(record, URGENT) for record in records]
    attempt_at = ratelimit.next_attempt_at(send_log)
    is_early = attempt_at is not None and now < attempt_at
    if is_early and not progress.outdates(send_log):
        records = [_with_kinds(record, URGENT) for record in records]
        bundles = {}
    planner = _Planner(send_log, limits, now, zone, progress, command, windows)
    live = [
        bundle
        for bundle in bundles.values()
        if bundle.sent_at is None and windows.opens_at(bundle.message, now) is None
    ]
    refused: dict[tuple[str, ...], list[Bundle]] = {}
    for bundle in live:
        if bundle.message.in_doubt:
            planner.resend(bundle)
        else:
            refused.setdefault(bundle.message.to, []).append(bundle)
    by_contact: dict[tuple[str, ...], list[JobQueue]] = {to: [] for to in refused}
    waiting = bundled_ids(bundles.values())
    for record in records:
        if record.queued:
            for to, queue in planner.queues(record, waiting).items():
                by_contact.setdefault(to, []).append(queue)
    for job_queues in by_contact.values():
        job_queues.sort(key=lambda queue: queue.oldest_at)
    in_order = sorted(
        (to for to, job_queues in by_contact.items() if job_queues),
        key=lambda to: by_contact[to][0].oldest_at,
    )
    for to in in_order:
        planner.add(to, by_contact[to], refused.get(to, []))
    return planner.plan()


def _without_kinds(record: Record, kinds: Collection[MessageKind]) -> Record:
    queued = tuple(message for message in record.queued if message.kind not in kinds)
    return (
        replace(record, queued=queued) if len(queued) < len(record.queued) else record
    )


def _with_kinds(record: Record, kinds: Collection[MessageKind]) -> Record:
    queued = tuple(message for message in record.queued if message.kind in kinds)
    return (
        replace(record, queued=queued) if len(queued) < len(record.queued) else record
    )


def _tried(message: Message) -> tuple[int, bool]:
    """Return how often a message was tried; of two alike, one in doubt is last."""
    return message.attempts, message.in_doubt


#: A message to send, possibly merged from several, with the queue of its job.
_Choice = tuple[JobQueue, MergedMessage]


class _Planner:
    """Builds a plan, one tuple of recipients after the other."""

    def __init__(
        self,
        send_log: SendLog,
        limits: Limits | None,
        now: datetime,
        zone: tzinfo | None,
        progress: Progress,
        command: Command,
        windows: Windows,
    ) -> None:
        self._send_log = send_log
        self._limits = limits
        self._now = now
        self._zone = zone
        self._command = command
        self._progress = progress
        self._windows = windows
        #: During an outage only one message is tried, whichever is the next.
        self._is_outage = send_log.failing_since is not None
        self._counted = {mail.name for mail in send_log.counted}
        self._notified = ratelimit.notified_lately(send_log, now)
        self._envelopes: list[Envelope] = []
        self._new = 0
        self._held: list[Held] = []
        #: What is sent once this run knows more.
        self._coming: list[JobQueue] = []
        #: What the messages of a queue, up to a number of them, are merged into.
        self._merged: dict[tuple[int, int], list[_Choice]] = {}

    def plan(self) -> Plan:
        """Return the plan so far."""
        held = tuple(self._held)
        if self._is_outage:
            return Plan(self._only_one(), held)
        # One that has ended its session before takes no other with it.
        envelopes = sorted(
            self._envelopes,
            key=lambda envelope: (envelope.message.in_doubt, envelope.oldest),
        )
        return Plan(tuple(envelopes), held)

    def _only_one(self) -> tuple[Envelope, ...]:
        """Return the message that is tried during an outage, and round-trip mails.

        It is the one with the fewest attempts, so that one that is always refused does
        not keep the others from being tried; of one job it is the oldest.  If that one
        comes later in this run, it is waited for.
        """
        urgent: list[Envelope] = []
        first: dict[object, Envelope] = {}
        for envelope in self._envelopes:
            message = envelope.message
            if message.kind in URGENT:
                urgent.append(envelope)
            else:
                about = envelope.key or message.message_id
                first.setdefault((about, message.to), envelope)
        others = sorted(
            first.values(),
            key=lambda envelope: (_tried(envelope.message), envelope.oldest),
        )
        for next_one in others[:1]:
            tried = _tried(next_one.message)
            if any(_tried(queue.messages[0]) < tried for queue in self._coming):
                return tuple(urgent)
        return (*urgent, *others[:1])

    def queues(
        self, record: Record, waiting: BundledIds
    ) -> dict[tuple[str, ...], JobQueue]:
        """Return a record's messages that may be sent now, by contact."""
        return queues(
            record,
            waiting,
            self._now,
            windows=self._windows,
            ignores_retry=self._is_outage,
        )

    def _is_sendable(self, message: Message) -> bool:
        return self._is_outage or policy.is_sendable(message, self._now)

    def resend(self, bundle: Bundle) -> None:
        """Add a bundle that may have been accepted, unchanged."""
        if self._is_sendable(bundle.message):
            self._add_as_it_is(bundle.message, bundle.ids, None)

    def add(
        self,
        to: tuple[str, ...],
        job_queues: list[JobQueue],
        refused: Sequence[Bundle],
    ) -> None:
        """Add what is sent to one contact now; ``refused`` are bundles to retry."""
        for queue in job_queues:
            self._add_doubtful(queue)
            self._add_urgent(queue)
            self._add_deferral_notes(queue)
            self._add_apart(queue)
        job_queues = [queue for queue in job_queues if queue.messages]
        ready = [queue for queue in job_queues if queue.ready]
        if refused:
            if self._is_due(refused, job_queues):
                self._add_bundle(job_queues, refused)
        elif ready and self._is_gathered(ready):
            self._add_ready(to, job_queues, ready)
        else:
            self._coming += ready

    def _add_doubtful(self, queue: JobQueue) -> None:
        """Add a message that may have been accepted, unchanged."""
        message = queue.doubtful
        if message is not None and self._is_sendable(message):
            self._add_as_it_is(message, (message.message_id,), queue.key)

    def _add_urgent(self, queue: JobQueue) -> None:
        for message in pop_kinds(queue, URGENT):
            if policy.is_sendable(message, self._now):
                self._add_as_it_is(message, (message.message_id,), queue.key)

    def _add_deferral_notes(self, queue: JobQueue) -> None:
        """Add the notes about deferred messages: they leave beside the limits.

        They take nothing of the reserve, since there is one each QUIET at most.
        """
        self._envelopes += [
            Envelope(
                message,
                (message.message_id,),
                queue.key,
                message.born_at,
                beside_limits=True,
            )
            for message in pop_deferral_notes(queue)
            if self._is_sendable(message)
        ]

    def _add_apart(self, queue: JobQueue) -> None:
        """Add what may not be bundled, in order."""
        for message in pop_kinds(queue, NEVER_BUNDLED):
            has_room = message.message_id in self._counted or self._room(own=True)
            if not (has_room and self._is_sendable(message)):
                return
            self._add(message, (message.message_id,), queue.key, message.born_at)

    def _is_due(self, refused: Sequence[Bundle], job_queues: list[JobQueue]) -> bool:
        if any(self._is_sendable(bundle.message) for bundle in refused):
            return True
        tried_at = max(bundle.tried_at or bundle.message.born_at for bundle in refused)
        if self._now < ratelimit.after_quiet(tried_at):
            return False
        known = {message_id for bundle in refused for message_id in bundle.ids}
        return any(
            message.message_id not in known
            for queue in job_queues
            for message in queue.messages
        )

    # What waits for the run.

    def _is_gathered(self, ready: list[JobQueue]) -> bool:
        """Return whether the first of these has waited long enough for others."""
        oldest = min(self._due_at(queue.messages[0]) for queue in ready)
        return self._progress.jobs_done or self._now - oldest >= GATHER

    def _due_at(self, message: Message) -> datetime:
        """Return since when a message may leave: its event, or its window opened."""
        return self._windows.due_at(message, self._now)

    def _await_result(self, ready: list[JobQueue]) -> list[JobQueue]:
        """Return the queues whose job this run has not judged yet.

        If it finds the job OK, one message tells both.  Nothing waits for that if it
        would leave too late, or if little time would be left to try it.
        """
        began_at = self._progress.began_at
        if self._progress.jobs_done or began_at is None:
            return []
        if self._is_outage and self._now - began_at >= LONGEST_WAIT:
            return []
        awaited = [
            queue
            for queue in ready
            if queue.key not in self._progress.judged
            and queue.messages[0].born_at < began_at
            and any(message.kind.is_about_trouble for message in queue.messages)
        ]
        in_time = self._is_outage or self._is_over
        if not in_time and any(map(self._is_pressing, awaited)):
            return []
        return awaited

    def _is_pressing(self, queue: JobQueue) -> bool:
        """Return whether it has something that would break a promise if it waited."""
        waited = self._now - self._due_at(queue.messages[0])
        return waited >= PRESSING_AFTER and any(
            self._is_promised(*choice) for choice in self._choices(queue, queue.ready)
        )

    @property
    def _is_over(self) -> bool:
        """Return whether an outage ended in this run."""
        outage, began_at = self._send_log.outage, self._progress.began_at
        return bool(outage and began_at and outage.until >= began_at)

    # What is sent.

    def _add_ready(
        self, to: tuple[str, ...], job_queues: list[JobQueue], ready: list[JobQueue]
    ) -> None:
        awaited = self._await_result(ready)
        self._coming += awaited
        is_quiet = ratelimit.is_quiet(self._send_log, to, self._now)
        if over := self._pop_over(ready, awaited):
            self._add_catch_up(over, is_quiet=is_quiet)
            job_queues = [queue for queue in job_queues if queue.messages]
            ready = [queue for queue in ready if queue.ready]
        if not self._room(own=False):
            self._add_without_room(ready, may_bundle=not (awaited or is_quiet))
            return
        if is_quiet:
            self._add_while_quiet([queue for queue in ready if queue not in awaited])
            return
        if self._are_too_many(job_queues):
            if not awaited:
                self._add_bundle(job_queues, [])
            return
        singly = [
            choice
            for queue in ready
            if queue not in awaited
            for choice in self._choices(queue, queue.ready)
        ]
        if self._should_be_one(singly):
            if not awaited:
                self._add_bundle(job_queues, [])
            return
        self._add_each(singly)

    # What waited for its window and is over.

    def _pop_over(
        self, ready: Iterable[JobQueue], awaited: Collection[JobQueue]
    ) -> list[_Choice]:
        """Remove from the queues, and return, what began and ended outside a window."""
        over: list[_Choice] = []
        has_room = self._room(own=False) > 0
        for queue in [queue for queue in ready if queue not in awaited]:
            if not self._windows.has_waited(queue.messages[0], self._now):
                continue
            choices = [
                choice
                for choice in self._choices(queue, queue.ready)
                if self._is_over_in_window(choice[1])
            ]
            for choice in choices:
                if not has_room:
                    self._hold(*choice)
                pop_ids(queue, choice[1].ids)
                self._merged.pop((id(queue), len(queue.messages)), None)
            over += choices
        return over

    def _is_over_in_window(self, merged_message: MergedMessage) -> bool:
        begins, *more = merged_message.parts
        return (
            bool(more or begins.merged is not None)
            and merged_message.kind.ends_trouble
            and merged_message.parts[-1].status is not Status.WARNING
            and _begins_trouble(begins)
            and self._windows.has_waited(begins, self._now)
        )

    def _add_catch_up(self, over: list[_Choice], *, is_quiet: bool) -> None:
        """Add one message with a line for each of these.

        While jobs are running, more may be found to be over.
        """
        if self._room(own=False) and self._progress.jobs_done and not is_quiet:
            window = self._windows.words(over[0][1].parts[0])
            self._add_bundle_of(over, [], waited_for=window)

    def _should_be_one(self, choices: Sequence[_Choice]) -> bool:
        """Return whether a few messages are better sent as one.

        That is so if the server is rate-limiting us, if our own limit is near, or if
        these may be the first of thousands.
        """
        short = len(choices) > self._room(own=False)
        short = short or self._send_log.held_until is not None
        return len(choices) > 1 and (short or self._progress.many_to_come)

    def _add_while_quiet(self, ready: list[JobQueue]) -> None:
        """Add first alerts; the others wait for the next bundle."""
        if not self._progress.jobs_done:
            # The bundle before may have been the first of many of this run.
            return
        first = [
            choice
            for queue in ready
            for choice in self._choices(queue, queue.ready)
            if self._is_first_alert(*choice)
        ]
        if len(first) > MAX_SINGLE or self._should_be_one(first):
            self._add_bundle_of(first, [])
        else:
            self._add_each(first)

    def _add_without_room(self, ready: list[JobQueue], *, may_bundle: bool) -> None:
        """Add what is sent although the limit is reached.

        That is what was counted before, what is left of the reserve for Checker's own,
        and first alerts and recoveries: they share one bundle each QUIET, which does
        not count.
        """
        promised = []
        for queue in ready:
            is_own = queue.key.is_about_checker
            for choice in self._choices(queue, queue.ready):
                known = choice[1].message_id in self._counted
                if known or (is_own and self._room(own=True)):
                    self._add_each([choice])
                elif self._is_promised(*choice):
                    promised.append(choice)
                elif not is_own:
                    self._hold(*choice)
        if promised and may_bundle:
            self._add_promised(promised, [])

    def _add_promised(
        self, choices: Sequence[_Choice], refused: Sequence[Bundle]
    ) -> None:
        if len(choices) > 1 or refused:
            self._add_bundle_of(choices, refused, beside=True)
        else:
            self._add_each(choices, beside=True)

    def _is_promised(self, queue: JobQueue, merged_message: MergedMessage) -> bool:
        """Return whether it may wait for the next bundle only, whatever the limits."""
        if self._is_first_alert(queue, merged_message):
            return True
        # The last that people heard is the failure that it ends.
        is_over = merged_message.kind.ends_trouble
        return is_over and not _begins_trouble(merged_message.parts[0])

    def _is_first_alert(self, queue: JobQueue, merged_message: MergedMessage) -> bool:
        """Return whether it has an alert of a job about which none was sent lately."""
        severity = merged_message.severity
        is_known = ratelimit.is_known(self._notified, queue.key, severity)
        return not is_known and any(map(ratelimit.alerts_in, merged_message.parts))

    def _hold(self, queue: JobQueue, merged_message: MergedMessage) -> None:
        self._held += [
            Held(queue.key, queue.name, message) for message in merged_message.parts
        ]

    def _are_too_many(self, job_queues: list[JobQueue]) -> bool:
        count = 0
        for queue in job_queues:
            count += len(self._choices(queue, len(queue.messages)))
            if count > MAX_SINGLE:
                return True
        return False

    def _add_each(self, choices: Iterable[_Choice], *, beside: bool = False) -> None:
        for queue, merged_message in choices:
            message = merged_message.message
            self._add(
                message, merged_message.ids, queue.key, message.born_at, beside=beside
            )

    def _add_bundle(
        self, job_queues: list[JobQueue], refused: Sequence[Bundle]
    ) -> None:
        chosen: list[_Choice] = []
        count = 0
        for queue in job_queues:
            if count < MAX_IN_BUNDLE:
                chosen += self._choices(queue, len(queue.messages))
                count += len(queue.messages)
        if not chosen:
            return
        if self._room(own=False) or any(
            bundle.message.message_id in self._counted for bundle in refused
        ):
            self._add_bundle_of(chosen, refused)
            return
        promised = []
        for choice in chosen:
            if self._is_promised(*choice):
                promised.append(choice)
            else:
                self._hold(*choice)
        if promised:
            self._add_promised(promised, refused)

    def _add_bundle_of(
        self,
        chosen: Sequence[_Choice],
        refused: Sequence[Bundle],
        *,
        beside: bool = False,
        waited_for: str = "",
    ) -> None:
        """Add one mail for these, in parts if it is too long.

        ``refused`` are the bundles that it replaces.  ``waited_for``: it is a catch-up
        message, of what was over before this window opened.
        """
        chosen = sorted(chosen, key=lambda choice: choice[1].born_at)
        entries = [
            (queue.name, merged_message.message) for queue, merged_message in chosen
        ]
        parts = bundling.split(entries)
        for number, part in enumerate(parts):
            before = refused[number].message if number < len(refused) else None
            ids = tuple(
                message_id for place in part for message_id in chosen[place][1].ids
            )
            message = bundle_message(
                before.message_id if before else bundle_id(ids),
                [entries[place] for place in part],
                self._now,
                self._zone,
                (number + 1, len(parts)),
                self._command,
                waited_for,
            )
            if before:
                message = replace(
                    message, attempts=before.attempts, last_error=before.last_error
                )
                if before.shortened:
                    message = results.shortened(message, before.last_error)
            oldest = entries[part[0]][1].born_at
            # A catch-up message says itself why it comes now.
            told = self._now if waited_for else oldest
            self._add(message, ids, None, oldest, beside=beside, told=told)

    def _choices(self, queue: JobQueue, count: int) -> list[_Choice]:
        if (id(queue), count) not in self._merged:
            messages = queue.messages[:count]
            why = self._why_late(_last_tried(messages)) if count > 1 else ""
            self._merged[id(queue), count] = [
                (queue, merged_message)
                for merged_message in merged(queue.name, messages, self._zone, why)
            ]
        return self._merged[id(queue), count]

    def _add(
        self,
        message: Message,
        ids: tuple[str, ...],
        key: JobKey | None,
        oldest: datetime,
        *,
        beside: bool = False,
        told: datetime | None = None,
    ) -> None:
        """Add a message; ``told`` is since when it is late, by default ``oldest``."""
        since = told or oldest
        preface = self._preface(message, since, is_bundle=key is None, beside=beside)
        if message.shortened:
            preface = results.plain(preface)
        message = replace(message, preface=preface)
        self._envelopes.append(
            Envelope(message, ids, key, oldest, beside_limits=beside)
        )
        if message.message_id not in self._counted and not beside:
            self._new += 1

    def _add_as_it_is(
        self, message: Message, ids: tuple[str, ...], key: JobKey | None
    ) -> None:
        """Add a message that needs no room, or has it from an attempt before."""
        self._envelopes.append(Envelope(message, ids, key, message.born_at))

    def _preface(
        self, message: Message, oldest: datetime, *, is_bundle: bool, beside: bool
    ) -> str:
        """Return the lines that say that it is late, and that a limit is reached."""
        lines = []
        late = self._now - oldest
        if late > ratelimit.PROMISE:
            why = self._why_late(replace(message, born_at=oldest))
            what = "Its oldest message is delayed" if is_bundle else "Delayed"
            words = f"{what} {duration(late)}"
            lines.append(wrapped(f"{words}: {why}" if why else f"{words}."))
            if message.kind.is_about_trouble and not is_bundle:
                at = mail_time(message.born_at, self._zone)
                lines.append(f"This is how it was at {at}:")
        if beside and self._limits is not None:
            lines.append(
                wrapped(
                    "The rate limit is reached ([email] mailsperhour and mailsperday "
                    f"allow {self._limits.per_hour} mails an hour and "
                    f"{self._limits.per_day} a day), so first alerts and recoveries "
                    "leave in one mail each 5 minutes."
                )
            )
        return "\n".join(lines)

    def _why_late(self, message: Message) -> str:
        others = []
        waited = ""
        if (due_at := self._due_at(message)) > message.born_at:
            waited = f"it waited for its window, {self._windows.words(message)}"
            others.append((due_at, waited))
        why = ratelimit.why_late(
            message,
            self._send_log,
            self._now,
            is_reached=not ratelimit.room(
                self._send_log, self._limits, self._now, own=False
            ),
            others=others,
        )
        if not waited or why == waited:
            return why
        opened = mail_time(due_at, self._zone)
        return f"{why.rstrip('.')}; until {opened} {waited}"

    def _room(self, *, own: bool) -> int:
        room = ratelimit.room(self._send_log, self._limits, self._now, own=own)
        return max(0, room - self._new)


def _last_tried(messages: Sequence[Message]) -> Message:
    """Return the last one that was tried, if any was, as old as the first one."""
    first = messages[0]
    tried = (message for message in reversed(messages) if message.last_error)
    return replace(next(tried, first), born_at=first.born_at)


def _begins_trouble(message: Message) -> bool:
    """Return whether nobody was notified before of what a message is about."""
    return message.kind is MessageKind.ALERT or (
        message.merged is not None and not message.merged.notified
    )


# By which account.


class Accounts(msgspec.Struct, frozen=True):
    """The accounts that a session may use."""

    #: None if there is no backup account, or it is not to be used now.
    backup: Mail | None = None
    #: Why the primary account is skipped; empty: it is tried.
    why_not_primary: str = ""
    #: What is older is late; what the primary account puts off leaves by the backup.
    late_before: datetime | None = None


def accounts(
    mail: Mail,
    send_log: SendLog,
    records: Iterable[Record],
    now: datetime,
    zone: tzinfo | None,
) -> Accounts:
    """Return the accounts to use now.

    The primary account is skipped while it is held, and if its last round-trip mail
    failed or is too old.  Before the first round-trip mail it is used.
    """
    if mail.backup is None or ratelimit.backup_is_held(send_log, now):
        return Accounts()
    late_before = now - PUT_OFF
    if send_log.failing_since is not None and send_log.failing_since <= late_before:
        # It has taken nothing for so long, whose turn it is now.
        late_before = now
    if ratelimit.is_held(send_log, now):
        return Accounts(mail.backup, HELD, late_before)
    time_text = partial(mail_time, zone=zone)
    why = health.trouble(health.proof_in(records), now, time_text)
    return Accounts(mail.backup, why, late_before)
