"""Save what happens to messages, in an order in which no crash can lose or repeat one.

An attempt is counted on disk before it is made, and a sent message is marked at once.
A bundle is marked as sent with one rename; after that its messages are removed from
their records, some at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice

from msgspec.structs import replace

from lib.alerting import bundling, notices, queue, results, routing
from lib.alerting.delivery import Sent, Unsent
from lib.alerting.planning import Held
from lib.alerting.queue import Envelope
from lib.alerting.results import AttemptResult, DeliveryFailure
from lib.alerting.store import AlertStore
from lib.core import decisions, deferral, policy, ratelimit
from lib.core.enums import DeliveryResult, MessageKind, Severity
from lib.core.hours import windows_of
from lib.core.jobs import OWN_KEY, JobKey
from lib.core.messages import Bundle, Message, RoundTripDelivery
from lib.core.ratelimit import Limits, SendLog
from lib.core.records import Record
from lib.core.settings import Settings
from lib.core.text import mail_time
from lib.storage.auditlog import AuditLog
from lib.storage.session import StoreSession

logger = logging.getLogger(__name__)

#: From how many records a sent bundle is removed in one step.
MAX_IN_TURN = 1000


class Bookkeeper:
    """Saves the queue, the bundles and the send log of one run."""

    def __init__(
        self,
        settings: Settings,
        session: StoreSession,
        now: Callable[[], datetime],
        audit_log: AuditLog,
        way: str = "",
    ) -> None:
        """Read the send log and the bundles; raise StateError.

        ``way``: that of a channel; empty: mail.
        """
        self._way = way
        self._settings = settings
        self._session = session
        self._now = now
        self._audit_log = audit_log
        self.limits: Limits | None = ratelimit.limits_of(settings.mail, way)
        self._store = AlertStore(settings.state, now(), session.writer, way)
        self.send_log: SendLog = ratelimit.settled(self._store.send_log, now())
        #: Of the session that is open: whether something was accepted, and why nothing.
        self._has_succeeded = False
        self._why_failed = ""
        #: Of that session: the attempts that failed.  When the next ones come is known
        #: at its end.
        self._failed: list[decisions.Entry] = []

    @property
    def bundled_ways(self) -> set[str]:
        """Return the ways of the bundles on disk that are not of this one."""
        return self._store.bundled_ways

    @property
    def other_ways(self) -> set[str]:
        """Return the ways other than this one of which anything is on disk."""
        return self._store.bundled_ways | self._store.logged_ways()

    def forget(self) -> None:
        """Forget the send log and the bundles; raise StateError."""
        self._store.forget()

    @property
    def bundles(self) -> Mapping[str, Bundle]:
        """Return the bundles on disk."""
        return self._store.bundles

    def notify_deferred(self, held: Sequence[Held], now: datetime) -> bool:
        """Queue the note about deferred mail if it is due; return whether it was.

        It is due each hour, and when another job joins.
        """
        if self.limits is None:
            return False
        until = ratelimit.room_at(self.send_log, self.limits, now)
        self.send_log = replace(self.send_log, limited_until=until)
        before = self.send_log.deferral_note
        self.send_log, note = notices.deferral_note(
            self.send_log,
            self.limits,
            held,
            self._settings.alertcontact,
            now,
            self._settings.zone,
            self._settings.command,
        )
        self._store.save_send_log(self.send_log)
        if note is None:
            return False
        logger.warning("%s", note.subject)
        self._enqueue(note, in_place_of=before)
        return True

    def drop_deferral_note(self, now: datetime) -> bool:
        """Drop the note about deferred mail if it is obsolete; return whether it was.

        That is so if there is room again and it has not left.
        """
        name, own = self.send_log.deferral_note, self._session.records.get(OWN_KEY)
        if not name or own is None:
            return False
        if not ratelimit.room(self.send_log, self.limits, now, own=False):
            return False
        left = tuple(
            message
            for message in own.queued
            if message.in_doubt or not routing.is_of(message, name)
        )
        if len(left) == len(own.queued):
            return False
        self._session.keep(replace(own, queued=left))
        self.send_log = replace(
            self.send_log, deferral_notified_at=None, deferral_note="", deferral_jobs=()
        )
        self._store.save_send_log(self.send_log)
        return True

    def count(self, batch: list[Envelope]) -> None:
        """Save that these are tried now; raise StateError."""
        session, now = self._session, self._now()
        singly: dict[JobKey, list[Envelope]] = {}
        for envelope in batch:
            if envelope.key is not None:
                singly.setdefault(envelope.key, []).append(envelope)
        for key, envelopes in singly.items():
            record = queue.with_attempts(session.records[key], envelopes, now)
            session.keep(record)
        session.commit()
        for envelope in batch:
            if envelope.key is None:
                bundle = Bundle(envelope.message, envelope.ids)
                self._store.save_bundle(bundling.attempted(bundle, now))
            # What is repeated has started it before; all else is due when it is taken.
            if envelope.starts_cool_down and not envelope.message.in_doubt:
                self.send_log = ratelimit.after_bundle(
                    self.send_log, envelope.message.to, now
                )
        if self.limits is not None:
            ids = [
                envelope.message.message_id
                for envelope in batch
                if not envelope.beside_limits
            ]
            self.send_log = ratelimit.with_counted(self.send_log, ids, now)
        self._store.save_send_log(self.send_log)

    # Results.

    def save_sent(self, event: Sent) -> None:
        """Save that an envelope was accepted; raise StateError."""
        message = self._message_of(event.envelope)
        attempt_result = results.after_acceptance(message, event.refused)
        attempt_result = results.put_off(attempt_result, self._now())
        result = self._taken
        self._has_succeeded = True
        self.send_log = ratelimit.with_taken(self.send_log, result)
        if message.kind is MessageKind.PROOF and result is DeliveryResult.SENT:
            self.send_log = replace(self.send_log, proof_accepted_at=self._now())
        # With nomail nothing is known about the server.
        if result is DeliveryResult.SENT and not event.by_backup:
            self.send_log = replace(self.send_log, held_until=None, refused_logins=())
        for address, said in event.refused.items():
            # Of those refused for good the dead letter has a line.
            if address not in attempt_result.dead:
                line = "mail to %s alone not sent: %s; queued, a later run tries again"
                logger.error(line, address, said)
        self._save_dead_letter(message, attempt_result)
        self._keep(event.envelope, attempt_result, taken=True)
        if result is DeliveryResult.SENT:
            logger.info("sent: %s", message.subject)
        key, name, now = *self._job_of(event.envelope), self._now()
        taken = tuple(to for to in message.to if to not in event.refused)
        if taken:
            notified = replace(message, to=taken)
            decision = (
                decisions.sent(key, name, notified, now, by_backup=event.by_backup)
                if result is DeliveryResult.SENT
                else decisions.logged(key, name, notified, now)
            )
            self._audit_log.note([decision])
        self._failed += [
            decisions.failed(
                key, name, replace(attempt_result.left, to=(address,)), said, now
            )
            for address, said in event.refused.items()
            if attempt_result.left is not None and address not in attempt_result.dead
        ]
        self._note_dropped(event.envelope, message, attempt_result)

    def save_failed(self, event: Unsent) -> bool:
        """Save that an envelope was not accepted, and why; return whether it is queued.

        It is not if no retry can help.  Raise StateError.
        """
        envelope, failure = event.envelope, event.failure
        message = self._message_of(envelope)
        in_doubt = envelope.message.in_doubt
        count = self.send_log.failed_count + 1
        self.send_log = replace(self.send_log, failed_count=count)
        attempt_result = results.after_failure(message, failure, was_in_doubt=in_doubt)
        attempt_result = results.put_off(attempt_result, self._now())
        # A round-trip mail never goes by the backup account, which may do.
        is_round_trip = envelope.message.kind is MessageKind.ROUND_TRIP
        has_backup = self._settings.mail.backup is not None
        if failure.is_about_all and not (is_round_trip and has_backup):
            self._why_failed = self._why_failed or failure.why
        self._save_dead_letter(message, attempt_result)
        self._keep(envelope, attempt_result, taken=False)
        if not (in_doubt or failure.in_doubt):
            self.send_log = ratelimit.without_counted(
                self.send_log, [message.message_id]
            )
            if envelope.starts_cool_down:
                self.send_log = ratelimit.without_bundle(self.send_log, message.to)
        key, name, now = *self._job_of(envelope), self._now()
        if attempt_result.left is not None:
            tried = decisions.failed(key, name, attempt_result.left, failure.why, now)
            self._failed.append(tried)
        self._note_dropped(envelope, message, attempt_result)
        return attempt_result.left is not None

    @property
    def _taken(self) -> DeliveryResult:
        """Return the result of a mail that the channel accepted."""
        nomail = self._settings.mail.nomail and not self._way
        return DeliveryResult.LOGGED if nomail else DeliveryResult.SENT

    def hold_backup(self) -> None:
        """Note that the backup account failed."""
        self.send_log = ratelimit.holding_backup(self.send_log, self._now())

    def end_session(self, refusals: list[DeliveryFailure]) -> list[str]:
        """Save the send log after a session; return lines to log."""
        now, was_failing = self._now(), False
        self.send_log, lines = notices.after_session(self.send_log, refusals, now)
        if self._has_succeeded:
            was_failing = self.send_log.failing_since is not None
            self.send_log = ratelimit.after_success(self.send_log, now)
            if was_failing:
                self._make_all_due()
        elif self._why_failed:
            why = self._why_failed
            self.send_log = ratelimit.after_failure(self.send_log, why, now)
        self._has_succeeded, self._why_failed = False, ""
        self._store.save_send_log(self.send_log)
        self._note_failed(all_are_due=was_failing)
        return lines

    def _note_failed(self, *, all_are_due: bool) -> None:
        """Note the failed attempts of a session that has ended, and when the next come.

        ``all_are_due``: an outage ended with it.
        """
        # The backup account does not wait for the primary one.
        held = None
        if self._settings.mail.backup is None:
            held = ratelimit.held_until(self.send_log, self._now())
        outage = ratelimit.next_attempt_at(self.send_log)
        self._audit_log.note(
            decisions.with_retry(entry, held, outage, all_are_due=all_are_due)
            for entry in self._failed
        )
        self._failed = []

    def _make_all_due(self) -> None:
        """Have all that waits for its next attempt sent now: an outage is over."""
        for record in list(self._session.records.values()):
            self._session.keep(policy.all_due(record, self._way))
        self._session.commit()
        for bundle in list(self.bundles.values()):
            if bundle.sent_at is None and bundle.message.retry_at is not None:
                due = replace(bundle.message, retry_at=None)
                self._store.save_bundle(replace(bundle, message=due))

    def _job_of(self, envelope: Envelope) -> tuple[JobKey, str]:
        """Return the key and the name of an envelope's job."""
        record = self._session.records.get(self._key_of(envelope) or OWN_KEY)
        return (record.key, record.name) if record else (OWN_KEY, "state")

    def _note_dropped(
        self, envelope: Envelope, message: Message, attempt_result: AttemptResult
    ) -> None:
        key, name, now = *self._job_of(envelope), self._now()
        self._audit_log.note(
            decisions.dropped(key, name, message, address, said, now)
            for address, said in attempt_result.dead.items()
        )

    def _key_of(self, envelope: Envelope) -> JobKey | None:
        """Return the key of the record that queues an envelope's message.

        Its job may have been renamed while it was under way.
        """
        return envelope.key and self._session.key_now(envelope.key)

    def _message_of(self, envelope: Envelope) -> Message:
        """Return the message as it is saved, with its attempt counted."""
        name = envelope.message.message_id
        key = self._key_of(envelope)
        if key is None:
            return self._store.bundles[name].message
        queued = self._session.records[key].queued
        return next(message for message in queued if message.message_id == name)

    def _keep(
        self, envelope: Envelope, attempt_result: AttemptResult, *, taken: bool
    ) -> None:
        key = self._key_of(envelope)
        if key is None:
            self._keep_bundle(envelope, attempt_result, taken=taken)
            return
        record = self._session.records[key]
        name = envelope.message.message_id
        record = policy.with_left(record, name, attempt_result.left)
        record = policy.without_dead(record, envelope.message, attempt_result.dead)
        if (
            envelope.message.kind is MessageKind.ROUND_TRIP
            and attempt_result.left is None
        ):
            why = "; ".join(dict.fromkeys(attempt_result.dead.values()))
            if taken and self._taken is DeliveryResult.LOGGED:
                why = f"it was {decisions.NOT_MAILED}"
            record = policy.with_round_trip(
                record, RoundTripDelivery(name, self._now(), why)
            )
        elif taken and ratelimit.alerts_in(envelope.message):
            self._notified({key: envelope.message.severity}, self._now())
        kinds = [] if envelope.message.way else [envelope.message.kind]
        if taken:
            record = policy.delivered(record, kinds, self._taken)
        elif attempt_result.left is None:
            end = DeliveryResult.REFUSED
            record = policy.delivered(record, kinds, end, attempt_result.dead)
        self._session.keep(record)
        if taken or attempt_result.left is None:
            # At once: a sent message must not be sent again.
            self._session.commit()

    def _notified(self, jobs: Mapping[JobKey, Severity], at: datetime) -> None:
        """Note that alerts about these jobs were sent."""
        if self.limits is not None:
            self.send_log = ratelimit.with_notified(self.send_log, jobs, at)

    def _keep_bundle(
        self, envelope: Envelope, attempt_result: AttemptResult, *, taken: bool
    ) -> None:
        bundle = self._store.bundles[envelope.message.message_id]
        if taken and attempt_result.left is not None:
            # Some recipients have it; for the others it is an ordinary mail.
            self._enqueue(attempt_result.left)
            self._session.commit()
        if taken or attempt_result.left is None:
            result = self._taken if taken else DeliveryResult.REFUSED
            bundle = replace(bundle, sent_at=self._now(), result=result)
        else:
            left = replace(attempt_result.left, to=bundle.message.to)
            bundle = replace(bundle, message=left)
        self._store.save_bundle(bundle)

    def _save_dead_letter(
        self, message: Message, attempt_result: AttemptResult
    ) -> None:
        """Save a dead letter and notify the other recipients, once a day."""
        if not attempt_result.dead:
            return
        now = self._now()
        self._store.save_dead_letter(message, attempt_result.dead, now)
        if attempt_result.content:
            why = next(iter(attempt_result.dead.values()))
            logger.error(
                "the mail %r was rejected, also when shortened; it is kept in %s: %s",
                message.subject,
                self._settings.state / "dead",
                why,
            )
            return
        contact = self._settings.alertcontact
        self.send_log, notified = notices.rejection_notices(
            self.send_log, message, attempt_result, contact, now
        )
        for address, said in attempt_result.dead.items():
            logger.error(
                "mail to %s is rejected: %s; correct the address", address, said
            )
        for notice in notified:
            self._enqueue(notice)

    def log_deferred(self, since: datetime) -> None:
        """Log why messages queued since then were not sent."""
        time_text = partial(mail_time, zone=self._settings.zone)
        now = self._now()
        in_bundle = deferral.by_message_id(self.bundles.values())
        for record in self._session.records.values():
            for message in record.queued:
                bundle = in_bundle.get(message.message_id)
                # A message that was tried by itself has a line already.
                is_ours = message.way == self._way and message.born_at >= since
                if is_ours and not message.attempts:
                    why = deferral.why_deferred(
                        record,
                        message,
                        bundle,
                        self.send_log,
                        now,
                        windows_of(self._settings),
                    )
                    words = deferral.words(why, time_text)
                    self._audit_log.note(
                        [decisions.deferred(record, message, words, now)]
                    )

    # Cleaning up.

    def remove_sent_bundles(self) -> bool:
        """Remove messages of sent bundles from records; return whether more is left."""
        self._tidy_up()
        bundles = self._store.bundles.values()
        bundle = next((one for one in bundles if one.sent_at is not None), None)
        if bundle is None:
            return False
        ids = frozenset(bundle.ids)
        some = list(islice(self._records_with(ids), MAX_IN_TURN))
        for record in some:
            self._remove(record, bundle, ids)
        self._session.commit()
        if bundle.result is DeliveryResult.SENT:
            self._count_alerts(some, bundle, ids)
        if len(some) < MAX_IN_TURN:
            self._store.drop_bundle(bundle.message.message_id)
        return True

    def _tidy_up(self) -> None:
        """Correct a send log that is ahead of the clock; drop obsolete bundles."""
        if ratelimit.is_ahead(self._store.send_log, self._now()):
            # Saved, or each run until then would correct it again.
            self._store.save_send_log(self.send_log)
        records = self._session.records.values()
        for name in bundling.obsolete(records, self._store.bundles):
            self._store.drop_bundle(name)

    def _records_with(self, ids: frozenset[str]) -> Iterator[Record]:
        """Yield the records in which messages of these ids are queued."""
        for record in self._session.records.values():
            if ids.intersection(message.message_id for message in record.queued):
                yield record

    def _remove(self, record: Record, bundle: Bundle, ids: frozenset[str]) -> None:
        """Remove the messages of a sent bundle, which have these ids, from a record."""
        messages = [one for one in record.queued if one.message_id in ids]
        left = record
        if bundle.result is DeliveryResult.REFUSED:
            for message in messages:
                left = policy.not_shared(left, message, message.to)
        left = policy.without(left, ids)
        kinds = [message.kind for message in messages if not message.way]
        left = policy.delivered(left, kinds, bundle.result, bundle.message.to)
        self._session.keep(left)
        entry = decisions.bundled(
            record, left, bundle.message, bundle.sent_at, bundle.result
        )
        self._audit_log.note(entry)

    def _count_alerts(
        self, records: Iterable[Record], bundle: Bundle, ids: frozenset[str]
    ) -> None:
        """Note that the alerts of these records were sent in a bundle."""
        assert bundle.sent_at is not None
        alerted = {
            record.key: message.severity
            for record in records
            for message in record.queued
            if message.message_id in ids and ratelimit.alerts_in(message)
        }
        self._notified(alerted, bundle.sent_at)
        self._store.save_send_log(self.send_log)

    def _enqueue(self, message: Message, in_place_of: str = "") -> None:
        """Queue a message of Checker itself, in the place of one that has not left.

        It is split by way at once: this run may send it before it looks for ways again.
        """
        own = self._session.records.get(OWN_KEY, Record(OWN_KEY, "state"))
        others = (
            other
            for other in own.queued
            if other.in_doubt or not routing.is_of(other, in_place_of)
        )
        own = replace(own, queued=(*others, message))
        self._session.keep(routing.split_by_way(own, self._settings.channels))
