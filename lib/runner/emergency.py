"""The hourly mail that is sent while state cannot be written.

Nothing queued is sent meanwhile, and the run ends with exit code 1.  A stamp outside
the state folder, in a folder that only this user can enter, remembers that the mail was
sent; without one, the first run of each hour sends it.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import msgspec

from lib.core.enums import MessageKind
from lib.core.messages import Message
from lib.core.records import Record
from lib.core.settings import Settings
from lib.core.text import first_line, mail_time
from lib.system.files import open_to_write, overwrite

logger = logging.getLogger(__name__)

#: How long after a mail that was taken, or after one that was not, the next may go.
AGAIN_AFTER = {True: timedelta(hours=1), False: timedelta(minutes=15)}
#: As much of what is failing as the mail lists.
MAX_LINES = 200
#: With less time left the next run is the better one to send.
LEAST_S = 3.0


class Stamp(msgspec.Struct, frozen=True):
    """What is remembered of the last such mail."""

    at: datetime
    message_id: str
    #: A server took it.
    taken: bool = False

    def __str__(self) -> str:
        return f"{self.at.isoformat()} {self.message_id} {self.taken}\n"


def read_stamp(text: str) -> Stamp | None:
    """Return the stamp that the text is; None if it is none."""
    try:
        moment, message_id, taken = text.split()
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None or len(message_id) != 32 or not message_id.isalnum():
            return None
    except ValueError:
        return None
    return Stamp(at, message_id, taken == "True")


def may_tell(stamp: Stamp | None, now: datetime) -> bool:
    """Return whether another mail may go out; a stamp of the future counts not."""
    if stamp is None or now < stamp.at:
        return True
    return now - stamp.at >= AGAIN_AFTER[stamp.taken]


def next_stamp(stamp: Stamp | None, folder: Path, now: datetime) -> Stamp:
    """Return the stamp of the mail that goes out now.

    One that was perhaps not taken goes out under its own name again.
    """
    if stamp is not None and not stamp.taken:
        return Stamp(now, stamp.message_id)
    seed = f"{folder} {now.isoformat()}"
    return Stamp(now, hashlib.sha256(seed.encode("utf-8", "replace")).hexdigest()[:32])


def message_of(
    stamp: Stamp,
    why: str,
    records: Iterable[Record],
    to: tuple[str, ...],
    zone: tzinfo | None,
) -> Message:
    """Return the mail: what cannot be written and why, and what is failing."""
    records = list(records)
    bad = [record for record in records if record.status.is_failure]
    queued = sum(len(record.queued) for record in records)
    body = [
        "Checker cannot write its state:",
        "",
        f"    {why}",
        "",
        "Jobs still run, but no other mail is sent: without a record that a mail was",
        "sent, every run would send it again.  You get a mail like this once an hour",
        "until the state can be written.  Queued messages are sent then"
        + (f" ({queued} so far)." if queued else "."),
        "",
        *_failing_now(bad, zone),
    ]
    return Message(
        message_id=stamp.message_id,
        kind=MessageKind.NOTE,
        subject="cannot write state" + (f", {len(bad)} failing" if bad else ""),
        body="\n".join(body) + "\n",
        to=to,
        born_at=stamp.at,
    )


def _failing_now(bad: Sequence[Record], zone: tzinfo | None) -> list[str]:
    if not bad:
        return ["No job is failing."]
    lines = []
    for record in sorted(bad, key=_name)[:MAX_LINES]:
        start = record.failing_since
        since = f" since {mail_time(start, zone)}" if start else ""
        reason = first_line(record.last_reason)
        name = _name(record)
        lines.append(f"    {name}: {record.status}{since}: {reason}".rstrip(": "))
    if len(bad) > MAX_LINES:
        lines.append(f"    and {len(bad) - MAX_LINES} more")
    return ["Failing now:", "", *lines]


def _name(record: Record) -> str:
    return record.name or str(record.key)


def emit(
    settings: Settings,
    why: str,
    records: Iterable[Record],
    began_at: datetime,
    left_s: float,
    places: Iterable[Path] | None = None,
) -> None:
    """Send the mail, if this run is the one to send it."""
    from lib.alerting.delivery import send_now

    mail = settings.mail
    if left_s < LEAST_S or not (mail.is_set_up or mail.nomail or settings.channels):
        return
    if mail.holds:
        # It is only shown, and the next run with mail is free to send it.
        shown = message_of(
            next_stamp(None, settings.state, began_at),
            why,
            records,
            settings.alertcontact,
            settings.zone,
        )
        send_now(settings, shown, logger.debug, left_s)
        return
    places = usual_places() if places is None else places
    try:
        slot, stamp = _claim(settings.state, began_at, places)
    except InUse:
        return
    if stamp is None:
        return
    message = message_of(stamp, why, records, settings.alertcontact, settings.zone)
    why_not = send_now(settings, message, logger.debug, left_s)
    if why_not:
        logger.error("%s: not sent: %s", message.subject, why_not)
    if slot is not None:
        slot.write(str(Stamp(stamp.at, stamp.message_id, not why_not)))
        slot.close()


def _claim(
    folder: Path, now: datetime, places: Iterable[Path]
) -> tuple[Slot | None, Stamp | None]:
    """Return where the mail is noted already, and its stamp; None: no mail now."""
    for slot in slots(folder, places):
        before = read_stamp(slot.text)
        stamp = next_stamp(before, folder, now)
        if not may_tell(before, now):
            slot.close()
            return None, None
        # Before it is sent, as everything: what cannot be noted is not sent.
        if slot.write(str(stamp)):
            return slot, stamp
        slot.close()
    # Nothing can be remembered anywhere.
    return None, (next_stamp(None, folder, now) if now.minute == 0 else None)


#: Nothing that is kept here is longer.
MAX_BYTES = 4096


def usual_places() -> list[Path]:
    """Return the folders to try, the best first; each is gone when its machine is."""
    user = os.geteuid()
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{user}"
    return [
        Path(runtime) / "checker",
        # Only root may make this one.
        Path(f"/run/checker-{user}"),
        Path(f"/dev/shm/checker-{user}"),
        Path(f"/tmp/checker-{user}"),
    ]


class Slot(msgspec.Struct, frozen=True):
    """A small file that we hold, and nobody else while we do."""

    descriptor: int
    text: str

    def write(self, text: str) -> bool:
        """Replace what it holds; return whether that could be done."""
        data = text.encode("ascii", "replace")[:MAX_BYTES]
        try:
            overwrite(self.descriptor, data)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let others have it."""
        os.close(self.descriptor)


class InUse(Exception):
    """Another process holds the slot."""


def slots(about: Path, places: Iterable[Path]) -> Iterator[Slot]:
    """Yield our slot for a folder in each of the places that can be had.

    Raise InUse where another process of ours holds it.
    """
    name = hashlib.sha256(os.fsencode(about)).hexdigest()[:32]
    for place in places:
        try:
            folder = private_folder(place)
        except OSError:
            # There are others, and doing without all of them is provided for.
            continue
        try:
            slot = _slot(folder, name)
        except OSError:
            continue
        finally:
            os.close(folder)
        yield slot


def private_folder(place: Path) -> int:
    """Return a descriptor of the folder, made if missing; raise OSError."""
    try:
        os.mkdir(place, 0o700)
    except FileExistsError:
        # Whose it is shows in the descriptor, which nobody can exchange.
        pass
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(place, flags)
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        os.close(descriptor)
        raise PermissionError(f"{place} is not ours alone")
    return descriptor


def _slot(folder: int, name: str) -> Slot:
    descriptor = open_to_write(name, folder=folder)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        text = os.pread(descriptor, MAX_BYTES, 0).decode("ascii", "replace")
    except (BlockingIOError, PermissionError) as error:
        os.close(descriptor)
        raise InUse from error
    except OSError:
        os.close(descriptor)
        raise
    return Slot(descriptor, text)
