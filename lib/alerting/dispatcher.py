"""Send what is queued during a run: what goes next, and when.

``planning`` has the rules, ``delivery`` does the sending, and ``bookkeeping`` saves
the results.  Mail and each way of a channel have a dispatcher of their own: the rules
are the same, and none waits for another.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from functools import partial

from lib.alerting import delivery, planning, queue, routing
from lib.alerting.bookkeeping import Bookkeeper
from lib.alerting.delivery import (
    ChannelOutbox,
    Event,
    Outbox,
    PrimaryFailed,
    Sent,
    Unsent,
)
from lib.alerting.planning import Progress
from lib.alerting.queue import Envelope
from lib.alerting.results import DeliveryFailure
from lib.core import decisions, deferral
from lib.core.deferral import Deferred
from lib.core.hours import windows_of
from lib.core.ratelimit import SendLog
from lib.core.records import FailingWay, Record
from lib.core.settings import MAIL, Channel, Settings
from lib.core.text import first_line
from lib.storage.auditlog import AuditLog
from lib.storage.session import StoreSession
from lib.system import process

logger = logging.getLogger(__name__)

#: How often the queue is checked while jobs are running.
LOOK_EVERY_S = 0.5
#: Looking takes at most one part in so many of the time that jobs are running.
LOOK_SHARE = 20


class WayDispatcher:
    """What one run sends by mail, or by one way of a channel."""

    def __init__(
        self,
        settings: Settings,
        session: StoreSession,
        now: Callable[[], datetime],
        audit_log: AuditLog,
        queued_before: Collection[str] = (),
        way: str = "",
        records: Callable[[], Iterable[Record]] | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        """``queued_before``: the ids of the messages that --nomail does not show.

        ``records`` returns those with messages of this way.  ``outbox`` does the
        sending; by default by SMTP or the channel, in a child process.
        """
        self._way = way
        self._records = records or session.records.values
        self._settings = settings
        self._mail = settings.mail
        self._windows = windows_of(settings)
        self._session = session
        self._now = now
        self._audit_log = audit_log
        self._calls = ChannelOutbox(settings, way)
        self._outbox: Outbox = outbox or (self._calls if way else Outbox(settings))
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
        records, books = self._records(), self._bookkeeper
        if books is None:
            return deferral.deferred(records, (), SendLog(), self._now(), self._windows)
        bundles = books.bundles.values()
        return deferral.deferred(
            records, bundles, books.send_log, self._now(), self._windows
        )

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
                self._settings, self._session, self._now, self._audit_log, self._way
            )
        return self._bookkeeper

    @property
    def bundled_ways(self) -> set[str]:
        """Return the ways of the bundles on disk that are not of this one."""
        return self._books.bundled_ways

    @property
    def other_ways(self) -> set[str]:
        """Return the ways other than this one of which anything is on disk."""
        return self._books.other_ways

    def forget(self) -> None:
        """Forget all about a way that is gone; what it did send is noted before."""
        while self._books.remove_sent_bundles():
            pass
        self._books.forget()

    def why_failing(self) -> str:
        """Return why the last attempt failed; empty if it succeeded."""
        log = self._books.send_log
        return log.last_error if log.failing_since is not None else ""

    @property
    def was_used(self) -> bool:
        """Return whether this run has looked at what was sent by it."""
        return self._bookkeeper is not None

    @property
    def failing(self) -> FailingWay | None:
        """Return since when this way has failed; None if the last attempt succeeded."""
        if self._bookkeeper is None:
            return None
        log = self._bookkeeper.send_log
        if log.failing_since is None:
            return None
        return FailingWay(log.failing_since, log.last_error)

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
        channel = routing.channel_of(self._way, self._settings.channels)
        if channel is not None and left_s < channel.timeout_s:
            # Begun now, it would be ended before its time.
            return
        batch = self._batch(progress)
        # Of thousands of messages a look takes long.
        looked = time.monotonic()
        self._next_look = looked + max(LOOK_EVERY_S, LOOK_SHARE * (looked - moment))
        if not batch:
            return
        self.is_idle = False
        if not self._mail.holds:
            self._books.count(batch)
        if self._way:
            self._call(channel, batch)
            return
        if self._mail.nomail or self._mail.is_set_up:
            self._outbox.start(batch, left_s, self._accounts())
            return
        failure = DeliveryFailure(self._mail.trouble or delivery.NOT_SET_UP)
        self._settle([Unsent(envelope, failure) for envelope in batch])

    def _call(self, channel: Channel | None, batch: list[Envelope]) -> None:
        """Start the call for the envelope of a batch, or settle why there is none."""
        (envelope,) = batch
        if channel is None or channel.problem:
            problem = channel.problem if channel else "there is none of its name"
            failure = DeliveryFailure(f"the channel cannot be used: {problem}")
        else:
            key = envelope.key and self._session.key_now(envelope.key)
            job = self._session.records[key].name if key else ""
            try:
                self._calls.call(channel, envelope, job)
                return
            except OSError as error:
                failure = DeliveryFailure(str(error.strerror))
        self._settle([Unsent(envelope, failure)])

    # What is sent.

    def _batch(self, progress: Progress) -> list[Envelope]:
        records = list(self._records())
        if self._mail.holds:
            return [
                Envelope(message, (message.message_id,), record.key, message.born_at)
                for record in records
                for message in record.queued
                if message.message_id not in self._shown
            ][: delivery.MAX_AT_ONCE]
        now = self._now()
        several = [record for record in records if len(record.queued) > 1]
        self._drop_stale(several, now)
        for record in [] if self._way else several:
            whole = self._session.records[record.key]
            split_by_recipient = queue.split_by_recipient(whole, now)
            self._session.keep(split_by_recipient)
            self._audit_log.note(decisions.merged(whole, split_by_recipient, now))
        plan = self._plan(now, progress)
        if plan.held:
            is_changed = self._books.notify_deferred(plan.held, now)
        else:
            is_changed = self._books.drop_deferral_note(now)
        if is_changed:
            plan = self._plan(now, progress)
            # The note may leave by a way that is met at the next look.
            self.is_idle = False
        return list(plan.envelopes[: self._outbox.max_at_once])

    def _drop_stale(self, records: Iterable[Record], now: datetime) -> None:
        """Drop reminders that wait for a window behind what says the same."""
        for record in records:
            whole = self._session.records[record.key]
            left, stale = queue.without_stale(whole, self._windows, now)
            self._session.keep(left)
            self._audit_log.note(
                decisions.superseded(record, old, new, now) for old, new in stale
            )

    def _plan(self, now: datetime, progress: Progress) -> planning.Plan:
        return planning.plan(
            self._records(),
            self._books.bundles,
            self._books.send_log,
            self._books.limits,
            now,
            progress=progress,
            zone=self._settings.zone,
            command=self._settings.command,
            windows=self._windows,
            has_backup=not self._way and self._accounts().backup is not None,
        )

    def _accounts(self) -> planning.Accounts:
        records = self._session.records.values()
        return planning.accounts(
            self._mail, self._books.send_log, records, self._now(), self._settings.zone
        )

    def _settle(self, events: Iterable[Event]) -> None:
        """Save and log the results, one after the other."""
        unsent: list[Unsent] = []
        rejected: list[Unsent] = []
        for event in events:
            if isinstance(event, PrimaryFailed):
                self._refusals.append(event.failure)
                logger.error("the primary account failed: %s", event.failure.why)
            elif self._mail.holds:
                self._shown.add(event.envelope.message.message_id)
            elif isinstance(event, Sent):
                self._books.save_sent(event)
            else:
                is_queued = self._books.save_failed(event)
                (unsent if is_queued else rejected).append(event)
        # A failure of the backup account says nothing about the primary.
        failed = [*unsent, *rejected]
        self._refusals += [event.failure for event in failed if not event.by_backup]
        if any(event.by_backup and event.failure.is_about_us for event in failed):
            self._books.hold_backup()
        if not (self._mail.holds or self._outbox.is_busy):
            for line in self._books.end_session(self._refusals):
                logger.error("%s", line)
            self._refusals = []
        zone, way = self._settings.zone, self._way
        for line in delivery.failure_lines(unsent, zone, way):
            logger.error("%s", line)
        for line in delivery.failure_lines(rejected, zone, way, is_queued=False):
            logger.error("%s", line)


class Dispatcher:
    """All that one run sends, by mail and by each channel."""

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
        self._windows = windows_of(settings)
        self._session = session
        self._now = now
        self._audit_log = audit_log
        records = self._queued()
        # With --nomail all is shown as mail, with the names of channels.
        self._splits = not settings.mail.holds and (
            bool(settings.channels) or routing.needs_ways(records)
        )
        self._mail = WayDispatcher(
            settings,
            session,
            now,
            audit_log,
            queued_before,
            records=partial(self._records_of, "") if self._splits else None,
        )
        self._by_way: dict[str, WayDispatcher] = {}
        self._has_forgotten = False

    @property
    def _all(self) -> list[WayDispatcher]:
        return [self._mail, *self._by_way.values()]

    @property
    def sent(self) -> int:
        """Return how many messages were sent."""
        return sum(dispatcher.sent for dispatcher in self._all)

    def deferred(self) -> Deferred:
        """Return what is left in the queue, and why."""
        if not self._splits:
            return self._mail.deferred()
        return deferral.of_all(dispatcher.deferred() for dispatcher in self._all)

    @property
    def is_busy(self) -> bool:
        """Return whether a session is open."""
        return any(dispatcher.is_busy for dispatcher in self._all)

    @property
    def is_idle(self) -> bool:
        """Return whether the last check found nothing to send or to clean up."""
        return all(dispatcher.is_idle for dispatcher in self._all)

    @property
    def children(self) -> list[process.Child]:
        """Return the processes to wait for."""
        return [child for each in self._all for child in each.children]

    def next_deadline(self) -> float:
        """Return when the next session must end, by the monotonic clock."""
        return min(dispatcher.next_deadline() for dispatcher in self._all)

    def failing(self, before: Mapping[str, FailingWay]) -> dict[str, FailingWay]:
        """Return since when which ways have failed, mail under ``mail``.

        ``before``: what the last run found, which holds for a way that was not used.
        """
        channels = self._settings.channels
        failing = {
            way: was
            for way, was in before.items()
            if way == MAIL or routing.channel_of(way, channels)
        }
        for way, dispatcher in ((MAIL, self._mail), *self._by_way.items()):
            if dispatcher.was_used:
                failing.pop(way, None)
            if (is_failing := dispatcher.failing) is not None:
                failing[way] = is_failing
        return failing

    def save_results(self) -> None:
        """Save the results since the last call; raise StateError."""
        for dispatcher in self._all:
            dispatcher.save_results()

    def stop(self) -> None:
        """End all sessions and save their results; raise StateError."""
        for dispatcher in self._all:
            dispatcher.stop()

    def log_deferred(self, since: datetime) -> None:
        """Log why messages queued since then were not sent."""
        for dispatcher in self._all:
            dispatcher.log_deferred(since)

    def send(self, progress: Progress, left_s: float) -> None:
        """Start what is to be sent now, if anything; raise StateError."""
        if self._splits:
            self._split()
        for dispatcher in self._all:
            dispatcher.send(progress, left_s)

    def _split(self) -> None:
        """Split what goes several ways, and be ready for each of these ways."""
        channels, now = self._settings.channels, self._now()
        self._redirect_gone_ways()
        for record in self._queued():
            self._session.keep(routing.split_by_way(record, channels))
        self._meet_ways()
        failing = {
            way: dispatcher.why_failing() for way, dispatcher in self._by_way.items()
        }
        for record in self._queued():
            record = routing.with_fallbacks(
                record, channels, failing, now, self._windows
            )
            record = routing.split_by_way(record, channels)
            record, minor = routing.without_minor(record, channels)
            self._session.keep(record)
            self._audit_log.note(
                decisions.skipped(record, message, now) for message in minor
            )
        self._meet_ways()

    def _redirect_gone_ways(self) -> None:
        """Let others get what waits for ways that the settings no longer have.

        What was in a bundle that has not left is queued still.
        """
        channels, now = self._settings.channels, self._now()
        if not self._has_forgotten:
            self._has_forgotten = True
            for way in self._mail.other_ways:
                if routing.is_gone(way, channels):
                    WayDispatcher(
                        self._settings,
                        self._session,
                        self._now,
                        self._audit_log,
                        way=way,
                    ).forget()
        if not any(routing.is_gone(way, channels) for way in self._ways):
            return
        for before in self._queued():
            record, gone = routing.without_gone(
                before, channels, self._settings.alertcontact
            )
            self._session.keep(record)
            for message, why in gone:
                logger.warning("%r is not sent: %s", first_line(message.subject), why)
                self._audit_log.note([decisions.redirected(record, message, why, now)])

    def _meet_ways(self) -> None:
        channels = self._settings.channels
        for way in self._ways - {*self._by_way}:
            if routing.is_gone(way, channels):
                continue
            self._by_way[way] = WayDispatcher(
                self._settings,
                self._session,
                self._now,
                self._audit_log,
                way=way,
                records=partial(self._records_of, way),
            )

    @property
    def _ways(self) -> set[str]:
        """Return the ways of channels by which something is to leave."""
        return routing.ways_of(self._queued()) | self._mail.bundled_ways

    def _queued(self) -> list[Record]:
        return [record for record in self._session.records.values() if record.queued]

    def _records_of(self, way: str) -> list[Record]:
        return list(routing.of_way(self._queued(), way))
