"""Send what is queued during a run: what goes next, and when.

``planning`` has the rules, ``delivery`` does the sending, and ``bookkeeping`` saves
the results.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from datetime import datetime

from lib.alerting import delivery, planning, queue
from lib.alerting.bookkeeping import Bookkeeper
from lib.alerting.delivery import Event, Outbox, PrimaryFailed, Sent, Unsent
from lib.alerting.planning import Progress
from lib.alerting.queue import Envelope
from lib.alerting.results import DeliveryFailure
from lib.core import decisions, deferral
from lib.core.deferral import Deferred
from lib.core.ratelimit import SendLog
from lib.core.settings import Settings
from lib.storage.auditlog import AuditLog
from lib.storage.session import StoreSession
from lib.system import process

logger = logging.getLogger(__name__)

#: How often the queue is checked while jobs are running.
LOOK_EVERY_S = 0.5
NOT_SET_UP = "mail is not set up: set smtpserver in [email] of settings.cfg"


class Dispatcher:
    """All that one run sends."""

    def __init__(
        self,
        settings: Settings,
        session: StoreSession,
        now: Callable[[], datetime],
        audit_log: AuditLog,
        queued_before: Collection[str] = (),
    ) -> None:
        """``queued_before``: the ids of the messages that --nomail does not show."""
        self._settings = settings
        self._mail = settings.mail
        self._session = session
        self._now = now
        self._audit_log = audit_log
        self._outbox = Outbox(settings)
        # Made when first needed, so that damaged files do not stop the jobs.
        self._bookkeeper: Bookkeeper | None = None
        self._refusals: list[DeliveryFailure] = []
        self._next_look = 0.0
        #: The last check found nothing to send and nothing to clean up.
        self.is_idle = False
        #: With --nomail: the messages that were shown or were queued before this run.
        self._shown = set(queued_before)

    @property
    def sent(self) -> int:
        """Return how many mails were sent."""
        return self._outbox.sent

    def deferred(self) -> Deferred:
        """Return what is left in the queue, and why."""
        records, books = self._session.records.values(), self._bookkeeper
        if books is None:
            return deferral.deferred(records, (), SendLog(), self._now())
        bundles = books.bundles.values()
        return deferral.deferred(records, bundles, books.send_log, self._now())

    @property
    def is_busy(self) -> bool:
        """Return whether a session is open."""
        return self._outbox.is_busy

    @property
    def children(self) -> list[process.Child]:
        """Return the processes to wait for."""
        return self._outbox.children

    def next_deadline(self) -> float:
        """Return when the session must end, by the monotonic clock."""
        return self._outbox.next_deadline()

    @property
    def _books(self) -> Bookkeeper:
        if self._bookkeeper is None:
            self._bookkeeper = Bookkeeper(
                self._settings, self._session, self._now, self._audit_log
            )
        return self._bookkeeper

    def save_results(self) -> None:
        """Save the results since the last call; raise StateError."""
        if self._outbox.is_busy:
            self._settle(self._outbox.events())

    def stop(self) -> None:
        """End the session and save its results; raise StateError."""
        if self._outbox.is_busy:
            self._settle(list(self._outbox.stop()))

    def log_deferred(self, since: datetime) -> None:
        """Log why messages queued since then were not sent."""
        if self._bookkeeper is not None and not self._mail.holds:
            self._bookkeeper.log_deferred(since)

    def send(self, progress: Progress, left_s: float) -> None:
        """Start a session for what is to be sent now, if anything; raise StateError."""
        if self._outbox.is_busy:
            return
        self.is_idle = not self._books.remove_sent_bundles()
        moment = time.monotonic()
        if not progress.jobs_done and moment < self._next_look:
            return
        self._next_look = moment + LOOK_EVERY_S
        batch = self._batch(progress)
        if not batch:
            return
        self.is_idle = False
        if not self._mail.holds:
            self._books.count(batch)
        if self._mail.nomail or self._mail.is_set_up:
            self._outbox.start(batch, left_s, self._accounts())
            return
        failure = DeliveryFailure(self._mail.trouble or NOT_SET_UP)
        self._settle([Unsent(envelope, failure) for envelope in batch])

    # What is sent.

    def _batch(self, progress: Progress) -> list[Envelope]:
        records = self._session.records.values()
        if self._mail.holds:
            return [
                Envelope(message, (message.message_id,), record.key, message.born_at)
                for record in records
                for message in record.queued
                if message.message_id not in self._shown
            ][: delivery.MAX_AT_ONCE]
        now = self._now()
        for record in [record for record in records if len(record.queued) > 1]:
            split_by_recipient = queue.split_by_recipient(record, now)
            self._session.keep(split_by_recipient)
            self._audit_log.note(decisions.merged(record, split_by_recipient, now))
        plan = self._plan(now, progress)
        if plan.held and self._books.notify_deferred(plan.held, now):
            plan = self._plan(now, progress)
        return list(plan.envelopes[: delivery.MAX_AT_ONCE])

    def _plan(self, now: datetime, progress: Progress) -> planning.Plan:
        return planning.plan(
            self._session.records.values(),
            self._books.bundles,
            self._books.send_log,
            self._books.limits,
            now,
            progress=progress,
            zone=self._settings.zone,
            has_backup=self._accounts().backup is not None,
        )

    def _accounts(self) -> planning.Accounts:
        records = self._session.records.values()
        return planning.accounts(
            self._mail, self._books.send_log, records, self._now(), self._settings.zone
        )

    def _settle(self, events: Iterable[Event]) -> None:
        """Save and log the results, one after the other."""
        unsent = []
        for event in events:
            if isinstance(event, PrimaryFailed):
                self._refusals.append(event.failure)
                logger.error("the primary account failed: %s", event.failure.why)
            elif self._mail.holds:
                self._shown.add(event.envelope.message.message_id)
            elif isinstance(event, Sent):
                self._books.save_sent(event)
            else:
                self._books.save_failed(event)
                unsent.append(event)
        # A failure of the backup account says nothing about the primary.
        self._refusals += [event.failure for event in unsent if not event.by_backup]
        if any(event.by_backup and event.failure.is_about_us for event in unsent):
            self._books.hold_backup()
        if not (self._mail.holds or self._outbox.is_busy):
            for line in self._books.end_session(self._refusals):
                logger.error("%s", line)
            self._refusals = []
        for line in delivery.failure_lines(unsent, self._settings.zone):
            logger.error("%s", line)
