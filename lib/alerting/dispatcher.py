"""The conversation of a run with its outbox: what goes next, and when.

The rules are those of ``parcels``; what is known is kept by ``bookkeeper``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime

from lib.alerting import accounts, bundling, delivery, planning, queue
from lib.alerting.bookkeeping import Bookkeeper
from lib.alerting.delivery import Declined, Event, Outbox, Sent, Unsent
from lib.alerting.queue import Envelope
from lib.alerting.results import DeliveryFailure
from lib.core import decisions
from lib.core.settings import Settings
from lib.storage.auditlog import AuditLog
from lib.storage.session import StoreSession
from lib.system import process

logger = logging.getLogger(__name__)

#: While jobs are at work, what to send is looked for this often.
LOOK_EVERY_S = 0.5
#: While so many jobs are still at work, the first to fail may be the first of many.
MANY = 20
NOT_SET_UP = "mail is not set up: set smtpserver in [email] of settings.cfg"


class Dispatcher:
    """All that one run sends."""

    def __init__(
        self,
        settings: Settings,
        session: StoreSession,
        now: Callable[[], datetime],
        audit_log: AuditLog,
    ) -> None:
        self._settings = settings
        self._mail = settings.mail
        self._session = session
        self._now = now
        self._audit_log = audit_log
        self._outbox = Outbox(settings)
        # Made when it is first needed: jobs run, whatever is wrong with its files.
        self._bookkeeper: Bookkeeper | None = None
        self._refusals: list[DeliveryFailure] = []
        self._next_look = 0.0
        #: There was nothing to send, and nothing to put in order, at the last look.
        self.is_idle = False
        #: With --nomail: what was shown already, which is all that was owed before.
        self._shown: set[str] = set()
        if self._mail.holds:
            for record in session.records.values():
                self._shown.update(one.message_id for one in record.queued)

    @property
    def sent(self) -> int:
        """Return how many mails were taken."""
        return self._outbox.sent

    @property
    def tried_in_bundles(self) -> frozenset[str]:
        """Return the ids of the messages that one mail for many was tried for."""
        books = self._bookkeeper
        return bundling.tried_in_vain(books.bundles.values()) if books else frozenset()

    @property
    def is_busy(self) -> bool:
        """Return whether a session is open."""
        return self._outbox.is_busy

    @property
    def children(self) -> list[process.Child]:
        """Return the processes to wait for."""
        return self._outbox.children

    def next_deadline(self) -> float:
        """Return when, by the monotonic clock, the session is over."""
        return self._outbox.next_deadline()

    @property
    def _books(self) -> Bookkeeper:
        if self._bookkeeper is None:
            self._bookkeeper = Bookkeeper(
                self._settings, self._session, self._now, self._audit_log
            )
        return self._bookkeeper

    def hear(self) -> None:
        """Keep what has become of what was handed over; raise StateError."""
        if self._outbox.is_busy:
            self._settle(self._outbox.events())

    def stop(self) -> None:
        """End the session, and keep what is known of it; raise StateError."""
        if self._outbox.is_busy:
            self._settle(list(self._outbox.stop()))

    def note_waiting(self, since: datetime) -> None:
        """Note why mails that were born since have not left."""
        if self._bookkeeper is not None and not self._mail.holds:
            self._bookkeeper.note_waiting(since)

    def send(self, *, jobs_done: bool, jobs_left: int, left_s: float) -> None:
        """Hand over what is to go now, if anything; raise StateError."""
        if self._outbox.is_busy:
            return
        self.is_idle = not self._books.put_in_order()
        moment = time.monotonic()
        if not jobs_done and moment < self._next_look:
            return
        self._next_look = moment + LOOK_EVERY_S
        batch = self._batch(jobs_done, jobs_left > MANY)
        if not batch:
            return
        self.is_idle = False
        if not self._mail.holds:
            self._books.count(batch)
        if self._mail.nomail or self._mail.is_set_up:
            self._outbox.start(batch, left_s, self._accounts())
            return
        failure = DeliveryFailure(NOT_SET_UP)
        self._settle([Unsent(envelope, failure) for envelope in batch])

    # What goes out.

    def _batch(self, jobs_done: bool, many_to_come: bool) -> list[Envelope]:
        records = self._session.records.values()
        if self._mail.holds:
            return [
                Envelope(one, (one.message_id,), record.key, one.born_at)
                for record in records
                for one in record.queued
                if one.message_id not in self._shown
            ][: delivery.MAX_AT_ONCE]
        now = self._now()
        for record in [one for one in records if len(one.queued) > 1]:
            parted = queue.parted(record, now)
            self._session.keep(parted)
            self._audit_log.note(decisions.merged(record, parted, now))
        plan = self._plan(now, jobs_done, many_to_come)
        if plan.held and self._books.tell_held(plan.held, now):
            plan = self._plan(now, jobs_done, many_to_come)
        return list(plan.envelopes[: delivery.MAX_AT_ONCE])

    def _plan(
        self, now: datetime, jobs_done: bool, many_to_come: bool
    ) -> planning.Plan:
        return planning.plan(
            self._session.records.values(),
            self._books.bundles,
            self._books.send_log,
            self._books.limits,
            now,
            jobs_done=jobs_done,
            many_to_come=many_to_come,
            has_second=self._accounts().second is not None,
        )

    def _accounts(self) -> accounts.Accounts:
        records = self._session.records.values()
        return accounts.accounts(self._mail, self._books.send_log, records, self._now())

    def _settle(self, events: Iterable[Event]) -> None:
        """Keep what has become of parcels, each in its turn, and say it."""
        unsent = []
        for event in events:
            if isinstance(event, Declined):
                self._refusals.append(event.failure)
                logger.error("the first account would not do: %s", event.failure.why)
            elif self._mail.holds:
                self._shown.add(event.envelope.message.message_id)
            elif isinstance(event, Sent):
                self._books.take_sent(event)
            else:
                self._books.take_unsent(event)
                unsent.append(event)
        # What the second account says is nothing against the first.
        self._refusals += [one.failure for one in unsent if not one.by_backup]
        if any(one.by_backup and one.failure.is_about_us for one in unsent):
            self._books.hold_second()
        if not (self._mail.holds or self._outbox.is_busy):
            for line in self._books.end_session(self._refusals):
                logger.error("%s", line)
            self._refusals = []
        for line in delivery.explained(unsent):
            logger.error("%s", line)
