"""Which owed messages go out now, and how: singly, or many as one digest.

Pure.  Gathered per contact, that is per tuple of addresses.  The rules are told in
``tests/unit/alerting/test_planning.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from lib.alerting import results
from lib.alerting.bundling import digest_id, digest_message
from lib.alerting.merge import Piece, folded
from lib.alerting.queue import Lot, Parcel, lots, taken_out, waiting_in
from lib.core import policy, ratelimit
from lib.core.enums import MessageKind
from lib.core.jobs import JobKey
from lib.core.messages import Digest, Message
from lib.core.ratelimit import Limits, Postbook
from lib.core.records import Record

#: So many go out singly; more become one digest.
MOST_SINGLY = 5
#: A digest stands for so many at most, the oldest; the rest come in the next one.
MOST_IN_DIGEST = 20_000
#: The first message waits this long for others that will go with it.
GATHER = timedelta(seconds=5)
#: News pulls a digest that waits for its next attempt forward, this often at most.
PULL_AFTER = timedelta(minutes=5)
#: Late they are worth nothing: they pass what others wait for.
MUST_NOT_WAIT = frozenset({MessageKind.PROBE})
#: In a digest nobody would see by their numbers that one is missing.
GOES_APART = frozenset({MessageKind.BULLETIN})


@dataclass(frozen=True)
class Plan:
    """What goes out now, and what has no room."""

    parcels: tuple[Parcel, ...] = ()
    #: How many messages are held back.
    held: int = 0


# The plan.


def plan(
    records: Iterable[Record],
    digests: Mapping[str, Digest],
    book: Postbook,
    limits: Limits | None,
    now: datetime,
    *,
    jobs_done: bool = True,
    many_to_come: bool = False,
    has_second: bool = False,
) -> Plan:
    """Return what goes out now, the oldest first.

    Some room is kept for what is about Checker itself.
    While jobs are at work, what is new waits a little for company; ``many_to_come``:
    many of them are at work.
    ``has_second``: what holds the first account holds nothing but probes, which are
    to prove it.
    """
    if ratelimit.is_held(book, now):
        if not has_second:
            return Plan()
        records = [_without_probes(one) for one in records]
    planner = _Planner(book, limits, now, jobs_done, many_to_come)
    live = [one for one in digests.values() if one.sent_at is None]
    for digest in live:
        if digest.message.in_doubt:
            planner.resend(digest)
    rebuilt = {one.message.to: one for one in live if not one.message.in_doubt}
    by_contact: dict[tuple[str, ...], list[Lot]] = {to: [] for to in rebuilt}
    waiting = waiting_in(digests.values())
    for record in records:
        if record.owed:
            for to, lot in lots(record, waiting, now).items():
                by_contact.setdefault(to, []).append(lot)
    for those in by_contact.values():
        those.sort(key=lambda lot: lot.messages[0].born_at)
    in_order = sorted(
        (to for to, those in by_contact.items() if those),
        key=lambda to: by_contact[to][0].messages[0].born_at,
    )
    for to in in_order:
        planner.add(to, by_contact[to], rebuilt.get(to))
    return planner.plan()


def _without_probes(record: Record) -> Record:
    owed = tuple(one for one in record.owed if one.kind not in MUST_NOT_WAIT)
    return replace(record, owed=owed) if len(owed) < len(record.owed) else record


class _Planner:
    """A plan in the making; room is given to one contact after the other."""

    def __init__(
        self,
        book: Postbook,
        limits: Limits | None,
        now: datetime,
        jobs_done: bool,
        many_to_come: bool,
    ) -> None:
        self._book = book
        self._limits = limits
        self._now = now
        self._jobs_done = jobs_done
        self._many_to_come = many_to_come
        self._counted = {one.name for one in (*book.counted, *book.beside)}
        self._notified = ratelimit.notified_lately(book, now)
        self._first_alerts_left = ratelimit.first_alerts_left(book, now)
        self._parcels: list[Parcel] = []
        self._new = 0
        self._held = 0

    def plan(self) -> Plan:
        """Return the plan as it stands."""
        parcels = sorted(self._parcels, key=lambda parcel: parcel.oldest)
        return Plan(tuple(parcels), self._held)

    def resend(self, digest: Digest) -> None:
        """Add a digest that may have been taken, as it is."""
        if policy.is_sendable(digest.message, self._now):
            self._add(digest.message, digest.ids, None, digest.message.born_at)

    def add(self, to: tuple[str, ...], those: list[Lot], digest: Digest | None) -> None:
        """Add what goes to one contact now; ``digest`` waits for its next attempt."""
        for lot in those:
            self._add_pressing(lot)
            self._add_apart(lot)
        ready = [lot for lot in those if lot.ready]
        if digest is not None:
            if self._is_due(digest, those):
                self._add_digest(those, digest)
            return
        if not (ready and self._is_gathered(ready)):
            return
        if ratelimit.is_quiet(self._book, to, self._now):
            return
        self._add_ready(those, ready)

    def _add_pressing(self, lot: Lot) -> None:
        for one in taken_out(lot, MUST_NOT_WAIT):
            if policy.is_sendable(one, self._now):
                self._add(one, (one.message_id,), lot.key, one.born_at)

    def _add_apart(self, lot: Lot) -> None:
        """Add what no digest may hold, each after the ones before it."""
        for one in taken_out(lot, GOES_APART):
            has_room = one.message_id in self._counted or self._room(own=True)
            if not (has_room and policy.is_sendable(one, self._now)):
                return
            self._add(one, (one.message_id,), lot.key, one.born_at)

    def _is_due(self, digest: Digest, those: list[Lot]) -> bool:
        if policy.is_sendable(digest.message, self._now):
            return True
        tried_at = digest.tried_at
        if tried_at is not None and self._now - tried_at < PULL_AFTER:
            return False
        known = set(digest.ids)
        return any(one.message_id not in known for lot in those for one in lot.messages)

    def _is_gathered(self, ready: list[Lot]) -> bool:
        oldest = min(lot.messages[0].born_at for lot in ready)
        return self._jobs_done or self._now - oldest >= GATHER

    def _add_ready(self, those: list[Lot], ready: list[Lot]) -> None:
        room = self._room(own=False)
        if not room:
            first = [piece for lot in ready for piece in self._add_without_room(lot)]
            self._add_first_alerts(first)
            return
        if self._are_too_many(those):
            self._add_digest(those, None)
            return
        singly = [(lot, self._pieces(lot, lot.ready)) for lot in ready]
        count = sum(len(pieces) for _lot, pieces in singly)
        # Where the server has had too much of us, or room is short, or these may be
        # the first of thousands, one mail does.
        short = count > room or self._book.held_until is not None
        if count > 1 and (short or self._many_to_come):
            self._add_digest(those, None)
            return
        for lot, pieces in singly:
            self._add_singly(lot, pieces)

    def _add_without_room(self, lot: Lot) -> list[tuple[Lot, Piece]]:
        """Add what may go all the same: Checker's own, and what was counted before.

        Return the first alerts among what may not: they go beside the limits.
        """
        first = []
        is_own = lot.key.is_about_checker
        for piece in self._pieces(lot, lot.ready):
            known = piece.message.message_id in self._counted
            if known or (is_own and self._room(own=True)):
                self._add_singly(lot, [piece])
            elif self._is_first_alert(lot, piece):
                first.append((lot, piece))
            elif not is_own:
                self._held += len(piece.ids)
        return first

    def _is_first_alert(self, lot: Lot, piece: Piece) -> bool:
        """Return whether it tells of a job of which people have not heard lately."""
        return lot.key not in self._notified and any(
            one.kind is MessageKind.ALERT and one.message_id in piece.ids
            for one in lot.messages
        )

    def _add_first_alerts(self, first: list[tuple[Lot, Piece]]) -> None:
        """Add one contact's first alerts beside the limits, singly or as one mail."""
        left = self._first_alerts_left
        wants_one = self._many_to_come or self._book.held_until is not None
        if len(first) > (1 if wants_one else max(1, min(left, MOST_SINGLY))):
            self._first_alerts_left -= 1
            self._add_digest_of(first, None, beside=True)
            return
        for lot, piece in first:
            message = piece.message
            parcel = Parcel(
                message,
                piece.ids,
                lot.key,
                message.born_at,
                beside_limits=True,
                starts_cool_down=left <= 0,
            )
            self._parcels.append(parcel)
            self._first_alerts_left -= 1

    def _are_too_many(self, those: list[Lot]) -> bool:
        count = 0
        for lot in those:
            count += len(self._pieces(lot, len(lot.messages)))
            if count > MOST_SINGLY:
                return True
        return False

    def _add_singly(self, lot: Lot, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            self._add(piece.message, piece.ids, lot.key, piece.message.born_at)

    def _add_digest(self, those: list[Lot], digest: Digest | None) -> None:
        chosen: list[tuple[Lot, Piece]] = []
        count = 0
        for lot in those:
            if lot.messages and count < MOST_IN_DIGEST:
                pieces = self._pieces(lot, len(lot.messages))
                chosen += [(lot, piece) for piece in pieces]
                count += len(lot.messages)
        known = digest is not None and digest.message.message_id in self._counted
        if not chosen:
            return
        if known or self._room(own=False):
            self._add_digest_of(chosen, digest)
            return
        first = [one for one in chosen if self._is_first_alert(*one)]
        self._held += count - sum(len(piece.ids) for _lot, piece in first)
        if first:
            self._first_alerts_left -= 1
            self._add_digest_of(first, digest, beside=True)

    def _add_digest_of(
        self,
        those: list[tuple[Lot, Piece]],
        digest: Digest | None,
        *,
        beside: bool = False,
    ) -> None:
        """Add one mail for these; ``digest`` is the one that it takes the place of."""
        ids = tuple(name for _lot, piece in those for name in piece.ids)
        before = digest.message if digest else None
        message_id = before.message_id if before else digest_id(ids)
        entries = [(lot.name, piece.message) for lot, piece in those]
        entries.sort(key=lambda entry: entry[1].born_at)
        message = digest_message(message_id, entries, self._now)
        if before:
            message = replace(
                message, attempts=before.attempts, last_error=before.last_error
            )
            if before.shortened:
                message = results.shortened(message, before.last_error)
        self._add(message, ids, None, entries[0][1].born_at, beside=beside)

    def _pieces(self, lot: Lot, count: int) -> list[Piece]:
        return folded(lot.name, lot.messages[:count])

    def _add(
        self,
        message: Message,
        ids: tuple[str, ...],
        key: JobKey | None,
        oldest: datetime,
        *,
        beside: bool = False,
    ) -> None:
        self._parcels.append(Parcel(message, ids, key, oldest, beside_limits=beside))
        if message.message_id not in self._counted and not beside:
            self._new += 1

    def _room(self, *, own: bool) -> int:
        room = ratelimit.room(self._book, self._limits, self._now, own=own)
        return max(0, room - self._new)
