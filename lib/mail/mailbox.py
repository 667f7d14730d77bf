"""Looks for our round-trip mail over IMAP in every folder, and deletes it.

Folders are opened read-only until the mail is found; only round-trip mails of this
instance are deleted.  The order of folders is in ``lib/mail/folders.py``, the
connection in ``lib/mail/imap.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from lib.core.settings import Mailbox
from lib.mail import roundtrip
from lib.mail.folders import (
    MAX_FOLDERS,
    Folder,
    Kind,
    encoded,
    in_order,
    listed,
    quoted,
)
from lib.mail.imap import Line, LookFailed
from lib.mail.roundtrip import FIELDS, RoundTripMail, Seen, seen_in
from lib.net.connect import Deadline

#: What has just come is among the last; a search of more takes some servers minutes.
MAX_SEARCHED = 2_000
#: So many are looked at one by one, where a server's search finds nothing, or is none.
MAX_READ, MAX_READ_WITHOUT_SEARCH = 20, 200
#: The most of our old round-trip mails that are deleted at once.
MAX_DELETED = 100
#: What we keep of the time for less likely folders.
_RESERVE_S = 5


@dataclass(frozen=True)
class Found:
    """The mail, and where and when it arrived."""

    folder: str
    kind: Kind
    #: By the mailbox's clock; None if it does not say.
    arrived_at: datetime | None
    #: Which step of its way took longest, in words.
    hop: str = ""
    #: How many mails were deleted, and why they could not be.
    deleted: int = 0
    trouble: str = ""


@dataclass(frozen=True)
class Nowhere:
    """It is in none of these folders; ``unseen``: so many were not looked into."""

    folders: tuple[str, ...]
    unseen: int = 0


def look_for(
    mailbox: Mailbox,
    round_trip_mail: RoundTripMail,
    deadline: Deadline,
    *,
    keeps: bool = False,
) -> Found | Nowhere:
    """Return where the round-trip mail is, or where it is not; raise LookFailed.

    Once found it is deleted, with our older round-trip mails beside it, unless the
    mail is one that somebody ``keeps``.
    """
    line = Line(mailbox, deadline)
    try:
        folders = _folders(line, mailbox)
        opened: list[str] = []
        unseen = len(folders[MAX_FOLDERS:])
        for at, folder in enumerate(folders[:MAX_FOLDERS]):
            if opened and folder.kind is Kind.OTHER and not _has_time(deadline):
                unseen = len(folders) - at
                break
            exists = _open(line, folder, "EXAMINE")
            if exists is None:
                continue
            opened.append(folder.name)
            is_likely = folder.kind is not Kind.OTHER or bool(mailbox.folder)
            seen = _search(line, round_trip_mail, exists, thoroughly=is_likely)
            if seen is not None and keeps:
                return Found(folder.name, folder.kind, seen.arrived_at)
            if seen is not None:
                return _cleared(line, seen, folder, folders, round_trip_mail)
        if not opened:
            raise LookFailed(*_missing(mailbox))
        return Nowhere(tuple(opened), unseen)
    finally:
        line.close()


def folders_of(mailbox: Mailbox, deadline: Deadline) -> list[str]:
    """Return the names of the folders in the order of looking; raise LookFailed."""
    line = Line(mailbox, deadline)
    try:
        folders = _folders(line, mailbox)
        tried = folders[:MAX_FOLDERS]
        found = [one for one in tried if _open(line, one, "EXAMINE") is not None]
        if not found:
            raise LookFailed(*_missing(mailbox))
        return [one.name for one in found]
    finally:
        line.close()


def _folders(line: Line, mailbox: Mailbox) -> list[Folder]:
    """Return where to look, in this order."""
    done, data = False, list[Any]()
    if line.has("SPECIAL-USE") and line.has("LIST-EXTENDED"):
        done, data = line.ask("LIST", '""', '"*"', "RETURN (SPECIAL-USE)")
    if not done:
        done, data = line.ask("LIST", '""', '"*"')
    folders = listed(data if done else [])
    chosen = in_order(folders, trash_first=mailbox.trash_first, pinned=mailbox.folder)
    if mailbox.folder and not chosen:
        # Some servers hide folders from LIST and open them all the same.
        return [Folder(encoded(mailbox.folder))]
    return chosen


def _missing(mailbox: Mailbox) -> tuple[str, str]:
    if mailbox.folder:
        text = f"there is no folder {mailbox.folder!r} in the mailbox"
        return f"{text}; check [email] imapfolder", "folder missing"
    return "no folder of the mailbox can be opened", "folder missing"


def _has_time(deadline: Deadline) -> bool:
    return not deadline.passed and deadline.left() > _RESERVE_S


def _open(line: Line, folder: Folder, how: str) -> int | None:
    """Return how many mails are in a folder, None if it cannot be opened."""
    done, data = line.ask(how, quoted(folder.raw))
    if not done:
        return None
    counts = [int(one) for one in data if isinstance(one, bytes) and one.isdigit()]
    return counts[-1] if counts else 0


def _search(
    line: Line, round_trip_mail: RoundTripMail, exists: int, *, thoroughly: bool
) -> Seen | None:
    """Return the round-trip mail if it is in the folder that is open, else None.

    ``thoroughly``: look at the last mails also where the server's search finds none.
    """
    if exists == 0:
        return None
    done, uids = _uids(line, exists, _that_is(round_trip_mail))
    # What a server claims to have found is looked at.
    for seen in _read(line, "FETCH", uids[-10:]):
        if round_trip_mail.is_it(seen):
            return seen
    if done and not thoroughly:
        return None
    most = MAX_READ if done else MAX_READ_WITHOUT_SEARCH
    numbers = [f"{max(1, exists - most + 1)}:*"]
    return next(
        (one for one in _read(line, "", numbers) if round_trip_mail.is_it(one)), None
    )


def _that_is(round_trip_mail: RoundTripMail) -> str:
    """Return what to search for: the token in any of its places."""
    token = round_trip_mail.token
    return (
        f'OR OR HEADER Message-ID "{token}" HEADER X-Checker-Round-Trip "{token}"'
        f' SUBJECT "{token}"'
    )


def _uids(line: Line, exists: int, criteria: str) -> tuple[bool, list[str]]:
    """Return whether the server can search, and what it found among the last mails."""
    first = max(1, exists - MAX_SEARCHED + 1)
    done, data = line.ask("SEARCH", f"{first}:*", criteria)
    words = b" ".join(one for one in data if isinstance(one, bytes)) if done else b""
    found = [int(word) for word in words.split() if re.fullmatch(rb"\d{1,10}", word)]
    return done, [str(uid) for uid in sorted(found)]


def _read(line: Line, by: str, numbers: list[str]) -> Iterator[Seen]:
    """Yield the headers of these mails; ``by``: FETCH by UID, else by number."""
    if not numbers:
        return
    what = f"(UID INTERNALDATE BODY.PEEK[HEADER.FIELDS ({FIELDS})])"
    done, data = line.ask(by or "NUMBERED FETCH", ",".join(numbers), what)
    if not done:
        return
    yield from seen_in(data)


def _found(seen: Seen, folder: Folder, round_trip_mail: RoundTripMail) -> Found:
    received = [str(one) for one in seen.fields.get_all("Received", ())]
    steps = roundtrip.hops(received, round_trip_mail.sent_at, seen.arrived_at)
    return Found(folder.name, folder.kind, seen.arrived_at, roundtrip.longest(steps))


def _cleared(
    line: Line,
    seen: Seen,
    folder: Folder,
    folders: list[Folder],
    round_trip_mail: RoundTripMail,
) -> Found:
    """Return what was found, and how its deletion went: nothing hangs on that."""
    found = _found(seen, folder, round_trip_mail)
    try:
        count = _delete(line, folder, folders, round_trip_mail, seen.uid)
    except LookFailed as error:
        return replace(
            found, trouble=f"the round-trip mail could not be deleted: {error}"
        )
    return replace(found, deleted=count)


def _delete(
    line: Line,
    folder: Folder,
    folders: list[Folder],
    round_trip_mail: RoundTripMail,
    uid: str = "",
) -> int:
    """Delete our round-trip mails, this and older ones; return how many."""
    exists = _open(line, folder, "SELECT")
    if not exists:
        return 0
    can_expunge = line.has("UIDPLUS")
    new = [uid] if uid else _uids(line, exists, _that_is(round_trip_mail))[1]
    # What cannot be expunged stays where it is, marked.
    undeleted = "" if can_expunge else "UNDELETED "
    old = _uids(line, exists, f'{undeleted}HEADER X-Checker-Round-Trip ""')[1]
    uids = sorted({*new, *old[:MAX_DELETED]}, key=int)
    ours = [
        one.uid for one in _read(line, "FETCH", uids) if round_trip_mail.is_ours(one)
    ]
    if not ours:
        return 0
    trash = next((one for one in folders if one.kind is Kind.TRASH), None)
    if folder.kind in (Kind.INBOX, Kind.ALL, Kind.OTHER) and trash is not None:
        # What is expunged elsewhere is archived there, and never deleted.
        if line.has("X-GM-EXT-1") and line.has("MOVE"):
            _do(line, "MOVE", ",".join(ours), quoted(trash.raw))
            return _delete(line, trash, folders, round_trip_mail)
    _do(line, "STORE", ",".join(ours), "+FLAGS.SILENT", r"(\Deleted)")
    if can_expunge:
        _do(line, "EXPUNGE", ",".join(ours))
    # Without UIDPLUS an EXPUNGE would take what others have marked, too.
    return len(ours)


def _do(line: Line, name: str, *words: str | bytes) -> None:
    """Have the server do something; raise LookFailed if it will not."""
    done, data = line.ask(name, *words)
    if not done:
        raise LookFailed(f"{name} was refused: {line.failure(data)}")
