"""Decide which queued messages are sent now: each as one mail, or many as a bundle.

And by which account: the primary one, or the backup while that one fails.

Messages are collected per tuple of recipients.  The rules are told as stories in
``tests/unit/alerting/test_planning.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import partial

import msgspec
from msgspec.structs import replace

from lib.alerting import results
from lib.alerting.bundling import bundle_id, bundle_message
from lib.alerting.merge import MergedMessage, merged
from lib.alerting.queue import Envelope, JobQueue, bundled_ids, pop_kinds, queues
from lib.core import health, policy, ratelimit
from lib.core.enums import MessageKind
from lib.core.jobs import JobKey
from lib.core.messages import Bundle, Message
from lib.core.ratelimit import Limits, SendLog
from lib.core.records import Record
from lib.core.settings import Mail
from lib.core.text import mail_time

#: Up to this many are sent as single mails; more become a bundle.
MAX_SINGLE = 5
#: The most messages of a bundle, the oldest; the rest come in the next one.
MAX_IN_BUNDLE = 20_000
#: How long the first message waits for others to be bundled with it.
GATHER = timedelta(seconds=5)
#: A new message makes a deferred bundle due at once, at most this often.
PULL_AFTER = timedelta(minutes=5)
#: Kinds that are useless if late: they are sent before others.
URGENT = frozenset({MessageKind.ROUND_TRIP})
#: Kinds that are never bundled: their numbers show if one is missing.
NEVER_BUNDLED = frozenset({MessageKind.SUMMARY})
#: Why the primary account is not used.
HELD = "it refused the login too often, or is rate-limiting us"


class Plan(msgspec.Struct, frozen=True):
    """What is sent now, and how many messages the rate limit defers."""

    envelopes: tuple[Envelope, ...] = ()
    #: How many messages are deferred.
    held: int = 0


# The plan.


def plan(
    records: Iterable[Record],
    bundles: Mapping[str, Bundle],
    send_log: SendLog,
    limits: Limits | None,
    now: datetime,
    *,
    zone: tzinfo | None = None,
    jobs_done: bool = True,
    many_to_come: bool = False,
    has_backup: bool = False,
) -> Plan:
    """Return what is sent now, the oldest first.

    A part of the rate limit is reserved for messages about Checker itself.  While jobs
    are running, new messages wait a little to be bundled; ``many_to_come``: many jobs
    are running.  ``has_backup``: there is a backup account, so that a hold on the
    primary one defers round-trip mails only.  ``zone`` is for the times in mails.
    """
    if ratelimit.is_held(send_log, now):
        if not has_backup:
            return Plan()
        records = [_without_round_trips(record) for record in records]
    planner = _Planner(send_log, limits, now, zone, jobs_done, many_to_come)
    live = [bundle for bundle in bundles.values() if bundle.sent_at is None]
    for bundle in live:
        if bundle.message.in_doubt:
            planner.resend(bundle)
    rebuilt = {
        bundle.message.to: bundle for bundle in live if not bundle.message.in_doubt
    }
    by_contact: dict[tuple[str, ...], list[JobQueue]] = {to: [] for to in rebuilt}
    waiting = bundled_ids(bundles.values())
    for record in records:
        if record.queued:
            for to, queue in queues(record, waiting, now).items():
                by_contact.setdefault(to, []).append(queue)
    for job_queues in by_contact.values():
        job_queues.sort(key=lambda queue: queue.messages[0].born_at)
    in_order = sorted(
        (to for to, job_queues in by_contact.items() if job_queues),
        key=lambda to: by_contact[to][0].messages[0].born_at,
    )
    for to in in_order:
        planner.add(to, by_contact[to], rebuilt.get(to))
    return planner.plan()


def _without_round_trips(record: Record) -> Record:
    queued = tuple(message for message in record.queued if message.kind not in URGENT)
    return (
        replace(record, queued=queued) if len(queued) < len(record.queued) else record
    )


class _Planner:
    """Builds a plan, one tuple of recipients after the other."""

    def __init__(
        self,
        send_log: SendLog,
        limits: Limits | None,
        now: datetime,
        zone: tzinfo | None,
        jobs_done: bool,
        many_to_come: bool,
    ) -> None:
        self._send_log = send_log
        self._limits = limits
        self._now = now
        self._zone = zone
        self._jobs_done = jobs_done
        self._many_to_come = many_to_come
        self._counted = {
            mail.name for mail in (*send_log.counted, *send_log.outside_limits)
        }
        self._notified = ratelimit.notified_lately(send_log, now)
        self._first_alerts_left = ratelimit.first_alerts_left(send_log, now)
        self._envelopes: list[Envelope] = []
        self._new = 0
        self._held = 0

    def plan(self) -> Plan:
        """Return the plan so far."""
        envelopes = sorted(self._envelopes, key=lambda envelope: envelope.oldest)
        return Plan(tuple(envelopes), self._held)

    def resend(self, bundle: Bundle) -> None:
        """Add a bundle that may have been accepted, unchanged."""
        if policy.is_sendable(bundle.message, self._now):
            self._add(bundle.message, bundle.ids, None, bundle.message.born_at)

    def add(
        self, to: tuple[str, ...], job_queues: list[JobQueue], bundle: Bundle | None
    ) -> None:
        """Add what is sent to one contact now; ``bundle`` is queued for a retry."""
        for queue in job_queues:
            self._add_urgent(queue)
            self._add_apart(queue)
        ready = [queue for queue in job_queues if queue.ready]
        if bundle is not None:
            if self._is_due(bundle, job_queues):
                self._add_bundle(job_queues, bundle)
            return
        if not (ready and self._is_gathered(ready)):
            return
        if ratelimit.is_quiet(self._send_log, to, self._now):
            return
        self._add_ready(job_queues, ready)

    def _add_urgent(self, queue: JobQueue) -> None:
        for message in pop_kinds(queue, URGENT):
            if policy.is_sendable(message, self._now):
                self._add(message, (message.message_id,), queue.key, message.born_at)

    def _add_apart(self, queue: JobQueue) -> None:
        """Add what may not be bundled, in order."""
        for message in pop_kinds(queue, NEVER_BUNDLED):
            has_room = message.message_id in self._counted or self._room(own=True)
            if not (has_room and policy.is_sendable(message, self._now)):
                return
            self._add(message, (message.message_id,), queue.key, message.born_at)

    def _is_due(self, bundle: Bundle, job_queues: list[JobQueue]) -> bool:
        if policy.is_sendable(bundle.message, self._now):
            return True
        tried_at = bundle.tried_at
        if tried_at is not None and self._now - tried_at < PULL_AFTER:
            return False
        known = set(bundle.ids)
        return any(
            message.message_id not in known
            for queue in job_queues
            for message in queue.messages
        )

    def _is_gathered(self, ready: list[JobQueue]) -> bool:
        oldest = min(queue.messages[0].born_at for queue in ready)
        return self._jobs_done or self._now - oldest >= GATHER

    def _add_ready(self, job_queues: list[JobQueue], ready: list[JobQueue]) -> None:
        room = self._room(own=False)
        if not room:
            first = [
                merged_message
                for queue in ready
                for merged_message in self._add_without_room(queue)
            ]
            self._add_first_alerts(first)
            return
        if self._are_too_many(job_queues):
            self._add_bundle(job_queues, None)
            return
        singly = [(queue, self._merged_messages(queue, queue.ready)) for queue in ready]
        count = sum(len(merged_messages) for _queue, merged_messages in singly)
        # Send one mail if the server is rate-limiting us, if our own limit is near,
        # or if these may be the first of thousands.
        short = count > room or self._send_log.held_until is not None
        if count > 1 and (short or self._many_to_come):
            self._add_bundle(job_queues, None)
            return
        for queue, merged_messages in singly:
            self._add_each(queue, merged_messages)

    def _add_without_room(
        self, queue: JobQueue
    ) -> list[tuple[JobQueue, MergedMessage]]:
        """Add what is sent at the limit: Checker's own, and what was counted before.

        Return the first alerts among the rest: they are sent outside the limits.
        """
        first = []
        is_own = queue.key.is_about_checker
        for merged_message in self._merged_messages(queue, queue.ready):
            known = merged_message.message.message_id in self._counted
            if known or (is_own and self._room(own=True)):
                self._add_each(queue, [merged_message])
            elif self._is_first_alert(queue, merged_message):
                first.append((queue, merged_message))
            elif not is_own:
                self._held += len(merged_message.ids)
        return first

    def _is_first_alert(self, queue: JobQueue, merged_message: MergedMessage) -> bool:
        """Return whether it has an alert of a job without a recent mail."""
        return queue.key not in self._notified and any(
            message.kind is MessageKind.ALERT
            and message.message_id in merged_message.ids
            for message in queue.messages
        )

    def _add_first_alerts(self, first: list[tuple[JobQueue, MergedMessage]]) -> None:
        """Add the first alerts to one contact outside the limits, singly or bundled."""
        left = self._first_alerts_left
        wants_one = self._many_to_come or self._send_log.held_until is not None
        if len(first) > (1 if wants_one else max(1, min(left, MAX_SINGLE))):
            self._first_alerts_left -= 1
            self._add_bundle_of(first, None, beside=True)
            return
        for queue, merged_message in first:
            message = merged_message.message
            envelope = Envelope(
                message,
                merged_message.ids,
                queue.key,
                message.born_at,
                beside_limits=True,
                starts_cool_down=left <= 0,
            )
            self._envelopes.append(envelope)
            self._first_alerts_left -= 1

    def _are_too_many(self, job_queues: list[JobQueue]) -> bool:
        count = 0
        for queue in job_queues:
            count += len(self._merged_messages(queue, len(queue.messages)))
            if count > MAX_SINGLE:
                return True
        return False

    def _add_each(
        self, queue: JobQueue, merged_messages: Sequence[MergedMessage]
    ) -> None:
        for merged_message in merged_messages:
            self._add(
                merged_message.message,
                merged_message.ids,
                queue.key,
                merged_message.message.born_at,
            )

    def _add_bundle(self, job_queues: list[JobQueue], bundle: Bundle | None) -> None:
        chosen: list[tuple[JobQueue, MergedMessage]] = []
        count = 0
        for queue in job_queues:
            if queue.messages and count < MAX_IN_BUNDLE:
                merged_messages = self._merged_messages(queue, len(queue.messages))
                chosen += [
                    (queue, merged_message) for merged_message in merged_messages
                ]
                count += len(queue.messages)
        known = bundle is not None and bundle.message.message_id in self._counted
        if not chosen:
            return
        if known or self._room(own=False):
            self._add_bundle_of(chosen, bundle)
            return
        first = [pair for pair in chosen if self._is_first_alert(*pair)]
        self._held += count - sum(
            len(merged_message.ids) for _queue, merged_message in first
        )
        if first:
            self._first_alerts_left -= 1
            self._add_bundle_of(first, bundle, beside=True)

    def _add_bundle_of(
        self,
        chosen: list[tuple[JobQueue, MergedMessage]],
        bundle: Bundle | None,
        *,
        beside: bool = False,
    ) -> None:
        """Add one mail for these; ``bundle`` is the one that it replaces."""
        ids = tuple(
            name for _queue, merged_message in chosen for name in merged_message.ids
        )
        before = bundle.message if bundle else None
        message_id = before.message_id if before else bundle_id(ids)
        entries = [
            (queue.name, merged_message.message) for queue, merged_message in chosen
        ]
        entries.sort(key=lambda entry: entry[1].born_at)
        message = bundle_message(message_id, entries, self._now, self._zone)
        if before:
            message = replace(
                message, attempts=before.attempts, last_error=before.last_error
            )
            if before.shortened:
                message = results.shortened(message, before.last_error)
        self._add(message, ids, None, entries[0][1].born_at, beside=beside)

    def _merged_messages(self, queue: JobQueue, count: int) -> list[MergedMessage]:
        return merged(queue.name, queue.messages[:count], self._zone)

    def _add(
        self,
        message: Message,
        ids: tuple[str, ...],
        key: JobKey | None,
        oldest: datetime,
        *,
        beside: bool = False,
    ) -> None:
        self._envelopes.append(
            Envelope(message, ids, key, oldest, beside_limits=beside)
        )
        if message.message_id not in self._counted and not beside:
            self._new += 1

    def _room(self, *, own: bool) -> int:
        room = ratelimit.room(self._send_log, self._limits, self._now, own=own)
        return max(0, room - self._new)


# By which account.


class Accounts(msgspec.Struct, frozen=True):
    """The accounts that a session may use."""

    #: None if there is no backup account, or it is not to be used now.
    backup: Mail | None = None
    #: Why the primary account is skipped; empty: it is tried.
    why_not_primary: str = ""


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
    if ratelimit.is_held(send_log, now):
        return Accounts(mail.backup, HELD)
    time_text = partial(mail_time, zone=zone)
    why = health.trouble(health.proof_in(records), now, time_text)
    return Accounts(mail.backup, why)
