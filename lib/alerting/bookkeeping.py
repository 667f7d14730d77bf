"""What is known of sending, kept in the order in which no crash can do harm.

What is tried is counted on disk before; what was taken is marked at once.  A digest is
marked with one rename; its messages leave their records after that, some at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import islice

from lib.alerting import bundling, notices, queue, results
from lib.alerting.delivery import Sent, Unsent
from lib.alerting.queue import Parcel
from lib.alerting.results import Fate, Refusal
from lib.alerting.store import Mailbag
from lib.core import decisions, deferral, ratelimit
from lib.core.enums import DeliveryResult, MessageKind
from lib.core.jobs import OWN_KEY, JobKey
from lib.core.messages import Digest, Gone, Message
from lib.core.ratelimit import Limits, Postbook
from lib.core.records import Record
from lib.core.settings import Settings
from lib.storage.auditlog import Journal
from lib.storage.session import Ledger

logger = logging.getLogger(__name__)

#: As many messages of a digest that was sent leave their records in one turn.
MOST_IN_TURN = 1000


class Bookkeeper:
    """Records, digests and the postbook of one run, as far as they are about mail."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        now: Callable[[], datetime],
        journal: Journal,
    ) -> None:
        """Read what is remembered of sending; raise StateError."""
        self._settings = settings
        self._ledger = ledger
        self._now = now
        self._journal = journal
        self.limits: Limits | None = ratelimit.limits_of(settings.mail)
        self._bag = Mailbag(settings.state, now())
        self.book: Postbook = ratelimit.settled(self._bag.book, now())

    @property
    def digests(self) -> Mapping[str, Digest]:
        """Return the digests that are on disk."""
        return self._bag.digests

    def tell_held(self, count: int, now: datetime) -> bool:
        """Owe the one mail of this hour that says that others have no room."""
        contact = self._settings.alertcontact
        if self.limits is not None:
            full_until = ratelimit.room_at(self.book, self.limits, now)
            self.book = replace(self.book, full_until=full_until)
        book, message = notices.of_held(self.book, self.limits, count, contact, now)
        if message is None:
            self._bag.save_book(self.book)
            return False
        logger.warning("%s", message.subject)
        self.book = book
        self._bag.save_book(book)
        self._owe(message)
        return True

    def count(self, batch: list[Parcel]) -> None:
        """Make durable that these are tried now."""
        ledger, now = self._ledger, self._now()
        singly: dict[JobKey, list[Parcel]] = {}
        for parcel in batch:
            if parcel.key is not None:
                singly.setdefault(parcel.key, []).append(parcel)
        for key, those in singly.items():
            ledger.keep(queue.with_attempts(ledger.records[key], those, now))
        ledger.commit()
        for parcel in batch:
            if parcel.key is None:
                digest = Digest(parcel.message, parcel.ids)
                self._bag.save_digest(bundling.attempted(digest, now))
            if parcel.key is None or parcel.starts_cool_down:
                self.book = ratelimit.after_digest(self.book, parcel.message.to, now)
        if self.limits is not None:
            ids = [parcel.message.message_id for parcel in batch]
            beside = [one.message.message_id for one in batch if one.beside_limits]
            self.book = ratelimit.counting(self.book, ids, now, beside)
        self._bag.save_book(self.book)

    # What became of it.

    def take_sent(self, event: Sent) -> None:
        """Keep that a parcel was taken; raise StateError."""
        message = self._message_of(event.parcel)
        fate = results.after_taken(message, event.refused)
        result = self._taken
        # That a log takes mail says nothing of the server.
        if result is DeliveryResult.SENT and not event.by_second:
            self.book = replace(self.book, held_until=None, refused_logins=())
        for address, said in event.refused.items():
            logger.error("%s was refused: %s", address, said)
        self._bury(message, fate)
        self._keep(event.parcel, fate, taken=True)
        if result is DeliveryResult.SENT:
            logger.info("sent: %s", message.subject)
        key, name, now = *self._whose(event.parcel), self._now()
        taken = tuple(to for to in message.to if to not in event.refused)
        if taken:
            told = replace(message, to=taken)
            decision = (
                decisions.sent(key, name, told, now, by_second=event.by_second)
                if result is DeliveryResult.SENT
                else decisions.logged(key, name, told, now)
            )
            self._journal.note([decision])
        self._journal.note(
            decisions.failed(key, name, replace(fate.left, to=(address,)), said, now)
            for address, said in event.refused.items()
            if fate.left is not None and address not in fate.dead
        )
        self._note_dropped(event.parcel, message, fate)

    def take_unsent(self, event: Unsent) -> None:
        """Keep that a parcel was not taken, and why; raise StateError."""
        parcel, refusal = event.parcel, event.refusal
        message = self._message_of(parcel)
        in_doubt = parcel.message.in_doubt
        fate = results.after_refusal(message, refusal, was_in_doubt=in_doubt)
        self._bury(message, fate)
        self._keep(parcel, fate, taken=False)
        if not (in_doubt or refusal.in_doubt):
            self.book = ratelimit.uncounting(self.book, [message.message_id])
            if parcel.key is None or parcel.starts_cool_down:
                self.book = ratelimit.without_digest(self.book, message.to)
        key, name, now = *self._whose(parcel), self._now()
        if fate.left is not None:
            tried = decisions.failed(key, name, fate.left, refusal.why, now)
            self._journal.note([tried])
        self._note_dropped(parcel, message, fate)

    @property
    def _taken(self) -> DeliveryResult:
        """Return what has become of a mail that the channel took."""
        nomail = self._settings.mail.nomail
        return DeliveryResult.LOGGED if nomail else DeliveryResult.SENT

    def hold_second(self) -> None:
        """Keep that the second account would not do."""
        self.book = ratelimit.holding_second(self.book, self._now())

    def end_session(self, refusals: list[Refusal]) -> list[str]:
        """Keep what a session came to; return what it says of us, for the log."""
        self.book, lines = notices.learnt(self.book, refusals, self._now())
        self._bag.save_book(self.book)
        return lines

    def _whose(self, parcel: Parcel) -> tuple[JobKey, str]:
        """Return the key and the name of the job that a parcel is about."""
        record = self._ledger.records.get(parcel.key or OWN_KEY)
        return (record.key, record.name) if record else (OWN_KEY, "state")

    def _note_dropped(self, parcel: Parcel, message: Message, fate: Fate) -> None:
        key, name, now = *self._whose(parcel), self._now()
        self._journal.note(
            decisions.dropped(key, name, message, address, said, now)
            for address, said in fate.dead.items()
        )

    def _message_of(self, parcel: Parcel) -> Message:
        """Return the message as it is kept, its attempt counted."""
        name = parcel.message.message_id
        if parcel.key is None:
            return self._bag.digests[name].message
        there = self._ledger.records[parcel.key].owed
        return next(one for one in there if one.message_id == name)

    def _keep(self, parcel: Parcel, fate: Fate, *, taken: bool) -> None:
        if parcel.key is None:
            self._keep_digest(parcel, fate, taken=taken)
            return
        record = self._ledger.records[parcel.key]
        name = parcel.message.message_id
        record = queue.with_left(record, name, fate.left)
        record = queue.unheard(record, parcel.message, fate.dead)
        if parcel.message.kind is MessageKind.PROBE and fate.left is None:
            why = "; ".join(dict.fromkeys(fate.dead.values()))
            if taken and self._taken is DeliveryResult.LOGGED:
                why = f"it was {decisions.NOT_MAILED}"
            record = queue.with_gone(record, Gone(name, self._now(), why))
        elif taken:
            self._notified([parcel.key], self._now())
        if taken:
            record = queue.delivered(record, [parcel.message.kind], self._taken)
        elif fate.left is None:
            kind, end = parcel.message.kind, DeliveryResult.REFUSED
            record = queue.delivered(record, [kind], end, fate.dead)
        self._ledger.keep(record)
        if taken or fate.left is None:
            # First of all: what was taken must not be sent again.
            self._ledger.commit()

    def _notified(self, keys: Iterable[JobKey], at: datetime) -> None:
        """Remember that mail about these jobs has left."""
        if self.limits is not None:
            self.book = ratelimit.notifying(self.book, keys, at)

    def _keep_digest(self, parcel: Parcel, fate: Fate, *, taken: bool) -> None:
        digest = self._bag.digests[parcel.message.message_id]
        if taken and fate.left is not None:
            # Some of its people have it; it is an ordinary mail to the others.
            self._owe(fate.left)
            self._ledger.commit()
        if taken or fate.left is None:
            result = self._taken if taken else DeliveryResult.REFUSED
            digest = replace(digest, sent_at=self._now(), result=result)
        else:
            left = replace(fate.left, to=digest.message.to)
            digest = replace(digest, message=left)
        self._bag.save_digest(digest)

    def _bury(self, message: Message, fate: Fate) -> None:
        """Keep what somebody will never get, and tell the others once a day."""
        if not fate.dead:
            return
        now = self._now()
        self._bag.bury(message, fate.dead, now)
        if fate.content:
            why = next(iter(fate.dead.values()))
            logger.error(
                "the mail %r was refused, also cut down, and is kept in %s: %s",
                message.subject,
                self._settings.state / "dead",
                why,
            )
            return
        contact = self._settings.alertcontact
        self.book, told = notices.of_refused(self.book, message, fate, contact, now)
        for address, said in fate.dead.items():
            logger.error("%s gets no mail: %s; correct the address", address, said)
        for one in told:
            self._owe(one)

    def note_waiting(self, since: datetime) -> None:
        """Note of each mail born since, and not left, why it has not."""
        now = self._now()
        in_digest = {
            name: digest
            for digest in self.digests.values()
            if digest.sent_at is None
            for name in digest.ids
        }
        for record in self._ledger.records.values():
            for message in record.owed:
                digest = in_digest.get(message.message_id)
                # What was tried by itself has left a line.
                if message.born_at >= since and not message.attempts:
                    why = deferral.why_waits(message, digest, self.book, now)
                    self._journal.note([decisions.deferred(record, message, why, now)])

    # Order.

    def put_in_order(self) -> bool:
        """Let messages of sent digests leave their records; return if more is left."""
        if ratelimit.is_ahead(self._bag.book, self._now()):
            # Kept, or it would be now again in each run until then.
            self._bag.save_book(self.book)
        for name in bundling.pointless(
            self._ledger.records.values(), self._bag.digests
        ):
            self._bag.drop_digest(name)
        sent = (one for one in self._bag.digests.values() if one.sent_at is not None)
        digest = next(sent, None)
        if digest is None:
            return False
        ids = set(digest.ids)
        records = self._ledger.records.values()
        found = (
            one
            for one in records
            if ids.intersection(message.message_id for message in one.owed)
        )
        some = list(islice(found, MOST_IN_TURN))
        for record in some:
            kinds = [one.kind for one in record.owed if one.message_id in ids]
            left = queue.without(record, ids)
            left = queue.delivered(left, kinds, digest.result, digest.message.to)
            self._ledger.keep(left)
            self._journal.note(
                decisions.bundled(
                    record, left, digest.message, digest.sent_at, digest.result
                )
            )
        self._ledger.commit()
        if digest.sent_at and digest.result is DeliveryResult.SENT:
            self._notified((record.key for record in some), digest.sent_at)
            self._bag.save_book(self.book)
        if len(some) < MOST_IN_TURN:
            self._bag.drop_digest(digest.message.message_id)
        return True

    def _owe(self, message: Message) -> None:
        """Owe a message of Checker's own."""
        own = self._ledger.records.get(OWN_KEY, Record(OWN_KEY, "state"))
        self._ledger.keep(replace(own, owed=(*own.owed, message)))
