"""Looks for our round-trip mail over IMAP in every folder, and deletes it.

Folders are opened read-only until the mail is found; only round-trip mails of this
instance are deleted.  The order of folders is in ``lib/mail/folders.py``, the
connection in ``lib/mail/imap.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.parser import BytesHeaderParser
from typing import Any

import msgspec
from imapclient.response_parser import (  # type: ignore[import-untyped]  # unmarked
    parse_fetch_response,
)
from msgspec.structs import replace

from lib.core.settings import Mailbox
from lib.mail.folders import MAX_FOLDERS, Folder, Kind, encoded, in_order, listed
from lib.mail.imap import UNREADABLE, ImapSession, LookFailed, quoted
from lib.mail.proof import FIELDS, RoundTripMail, Seen, hops, longest
from lib.net.connect import Deadline

#: What has just come is among the last; a search of more takes some servers minutes.
MAX_SEARCHED = 2_000
#: So many are looked at one by one, where a server's search finds nothing, or is none.
MAX_READ, MAX_READ_WITHOUT_SEARCH = 20, 200
#: The most of our old round-trip mails that are deleted at once.
MAX_DELETED = 100
#: What we keep of the time for less likely folders.
_RESERVE_S = 5
#: What is read of a mail.
_PARTS = f"(UID INTERNALDATE BODY.PEEK[HEADER.FIELDS ({FIELDS})])"


class Found(msgspec.Struct, frozen=True):
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


class Nowhere(msgspec.Struct, frozen=True):
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
    session = ImapSession(mailbox, deadline)
    try:
        folders = _folders(session, mailbox)
        opened: list[str] = []
        unseen = len(folders[MAX_FOLDERS:])
        for number, folder in enumerate(folders[:MAX_FOLDERS]):
            if opened and folder.kind is Kind.OTHER and not _has_time(deadline):
                unseen = len(folders) - number
                break
            count = _count_in(session, folder, mailbox)
            if count is None:
                continue
            opened.append(folder.name)
            seen = _search(
                session,
                round_trip_mail,
                folder,
                count,
                is_expected=_is_expected(folder, mailbox),
            )
            if seen is not None and keeps:
                return Found(folder.name, folder.kind, seen.arrived_at)
            if seen is not None:
                return _cleared(session, seen, folder, folders, round_trip_mail)
        if not opened:
            raise LookFailed(*_missing(mailbox))
        return Nowhere(tuple(opened), unseen)
    finally:
        session.close()


def folders_of(mailbox: Mailbox, deadline: Deadline) -> list[str]:
    """Return the names of the folders in the order of looking; raise LookFailed."""
    session = ImapSession(mailbox, deadline)
    try:
        folders = _folders(session, mailbox)[:MAX_FOLDERS]
        names = [
            folder.name
            for folder in folders
            if _count_in(session, folder, mailbox) is not None
        ]
        if not names:
            raise LookFailed(*_missing(mailbox))
        return names
    finally:
        session.close()


def _folders(session: ImapSession, mailbox: Mailbox) -> list[Folder]:
    """Return where to look, in this order."""
    done, data = False, list[Any]()
    if session.has("SPECIAL-USE") and session.has("LIST-EXTENDED"):
        done, data = session.list_folders('"*" RETURN (SPECIAL-USE)')
    if not done:
        done, data = session.list_folders('"*"')
    folders = listed(data if done else [])
    chosen = in_order(folders, trash_first=mailbox.trash_first, pinned=mailbox.folder)
    if mailbox.folder and not chosen:
        # Some servers hide folders from LIST and open them all the same.
        return [Folder(encoded(mailbox.folder), hidden=True)]
    return chosen


def _count_in(session: ImapSession, folder: Folder, mailbox: Mailbox) -> int | None:
    """Return how many mails are in a folder, None if one of many cannot be opened.

    Raise LookFailed if it is the one where the mail is expected.
    """
    done, data = session.open(quoted(folder.raw), read_only=True)
    if done:
        return _exists(data)
    if mailbox.folder and folder.hidden:
        why = session.not_done(folder.name, data, "folder missing")
        if why.problem != "folder missing":
            raise why
        text, problem = _missing(mailbox)
        raise LookFailed(f"{text} (the server says: {session.failure(data)})", problem)
    if _is_expected(folder, mailbox):
        raise session.not_done(folder.name, data)
    return None


def _is_expected(folder: Folder, mailbox: Mailbox) -> bool:
    """Return whether nothing can be said without this folder."""
    return bool(mailbox.folder) or folder.kind is Kind.INBOX


def _missing(mailbox: Mailbox) -> tuple[str, str]:
    if mailbox.folder:
        text = f"there is no folder {mailbox.folder!r} in the mailbox"
        return f"{text}; check [email] imapfolder", "folder missing"
    return "no folder of the mailbox can be opened", "folder missing"


def _has_time(deadline: Deadline) -> bool:
    return not deadline.passed and deadline.left() > _RESERVE_S


def _exists(data: list[Any]) -> int:
    """Return how many mails a folder has that was opened."""
    counts = [int(part) for part in data if isinstance(part, bytes) and part.isdigit()]
    return counts[-1] if counts else 0


def _search(
    session: ImapSession,
    round_trip_mail: RoundTripMail,
    folder: Folder,
    count: int,
    *,
    is_expected: bool,
) -> Seen | None:
    """Return the round-trip mail if it is in the folder that is open, else None.

    In a likely folder the last mails are looked at also where the server's search
    finds none.  Raise LookFailed if one where it ``is_expected`` shows nothing.
    """
    if count == 0:
        return None
    done, uids = _uids(session, count, _criteria(round_trip_mail))
    # What a server claims to have found is looked at.
    for seen in _read(session, uids[-10:]):
        if round_trip_mail.is_it(seen):
            return seen
    if done and folder.kind is Kind.OTHER and not is_expected:
        return None
    most = MAX_READ if done else MAX_READ_WITHOUT_SEARCH
    done, data = session.fetch(f"{max(1, count - most + 1)}:*", _PARTS)
    if not done and is_expected:
        raise session.not_done(folder.name, data, what="show")
    mails = seen_in(data if done else [])
    return next((seen for seen in mails if round_trip_mail.is_it(seen)), None)


def _criteria(round_trip_mail: RoundTripMail) -> str:
    """Return what to search for: the token in any of its places."""
    token = round_trip_mail.token
    return (
        f'OR OR HEADER Message-ID "{token}" HEADER X-Checker-Round-Trip "{token}"'
        f' SUBJECT "{token}"'
    )


def _uids(session: ImapSession, count: int, criteria: str) -> tuple[bool, list[str]]:
    """Return whether the server can search, and what it found among the last mails."""
    first = max(1, count - MAX_SEARCHED + 1)
    done, data = session.uid("SEARCH", f"{first}:*", criteria)
    lines = [line for line in data if isinstance(line, bytes)] if done else []
    words = b" ".join(lines).split()
    uids = [int(word) for word in words if re.fullmatch(rb"\d{1,10}", word)]
    return done, [str(uid) for uid in sorted(uids)]


def _read(session: ImapSession, uids: list[str]) -> Iterator[Seen]:
    """Yield the headers of these mails."""
    if uids:
        done, data = session.uid("FETCH", ",".join(uids), _PARTS)
        yield from seen_in(data if done else [])


def seen_in(data: Iterable[Any]) -> Iterator[Seen]:
    """Yield the mails that the answer to FETCH shows, as imaplib gives it.

    What cannot be read is no mail of ours.
    """
    for parts in _mails_in(data):
        text = next(
            (part for name, part in parts.items() if name.startswith(b"BODY[")), None
        )
        if b"UID" in parts and isinstance(text, bytes):
            fields = BytesHeaderParser().parsebytes(text)
            arrived_at = _in_utc(parts.get(b"INTERNALDATE"))
            yield Seen(str(parts[b"UID"]), arrived_at, fields)


def _mails_in(data: Iterable[Any]) -> Iterator[Mapping[bytes, Any]]:
    """Yield what is said of each mail, by name; not what cannot be read."""
    for response in _responses(data):
        try:
            mails = parse_fetch_response(response, False, False)
        except UNREADABLE:
            continue
        yield from mails.values()


def _responses(data: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield the entries of each response; its last one is no literal."""
    response = []
    for entry in data:
        response.append(entry)
        if isinstance(entry, bytes):
            yield response
            response = []


def _in_utc(moment: datetime | None) -> datetime | None:
    """Return when the mailbox took the mail; None without a zone that there is."""
    try:
        return moment.astimezone(UTC) if moment and moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _cleared(
    session: ImapSession,
    seen: Seen,
    folder: Folder,
    folders: list[Folder],
    round_trip_mail: RoundTripMail,
) -> Found:
    """Return where it was, and how its deletion went: nothing hangs on that."""
    received = [str(line) for line in seen.fields.get_all("Received", ())]
    steps = hops(received, round_trip_mail.sent_at, seen.arrived_at)
    found = Found(folder.name, folder.kind, seen.arrived_at, longest(steps))
    try:
        deletion = _delete(session, folder, folders, round_trip_mail, seen.uid)
    except LookFailed as error:
        return replace(
            found, trouble=f"the round-trip mail could not be deleted: {error}"
        )
    return replace(found, deleted=deletion.gone, trouble=deletion.trouble)


class _Deletion(msgspec.Struct, frozen=True):
    """How many round-trip mails are gone, how many stay, and why."""

    gone: int = 0
    left: int = 0
    why: str = ""

    @property
    def trouble(self) -> str:
        """Return what stays, and why; empty if nothing does."""
        if not self.left:
            return ""
        mails = "mail stays" if self.left == 1 else "mails stay"
        return f"{self.left} round-trip {mails} in the mailbox: {self.why}"


def _delete(
    session: ImapSession,
    folder: Folder,
    folders: list[Folder],
    round_trip_mail: RoundTripMail,
    uid: str = "",
) -> _Deletion:
    """Delete our round-trip mails, this and older ones; look again; return how many."""
    done, data = session.open(quoted(folder.raw), read_only=False)
    if not done:
        raise session.not_done(folder.name, data)
    count = _exists(data)
    if count == 0:
        return _Deletion()
    can_expunge = session.has("UIDPLUS")
    new = [uid] if uid else _uids(session, count, _criteria(round_trip_mail))[1]
    # What cannot be expunged stays where it is, marked.
    undeleted = "" if can_expunge else "UNDELETED "
    old = _uids(session, count, f'{undeleted}HEADER X-Checker-Round-Trip ""')[1]
    uids = sorted({*new, *old[:MAX_DELETED]}, key=int)
    ours = [seen.uid for seen in _read(session, uids) if round_trip_mail.is_ours(seen)]
    if not ours:
        return _Deletion()
    chosen = ",".join(ours)
    trash = next((other for other in folders if other.kind is Kind.TRASH), None)
    if folder.kind in (Kind.INBOX, Kind.ALL, Kind.OTHER) and trash is not None:
        # What is expunged elsewhere is archived there, and never deleted.
        if session.has("X-GM-EXT-1") and session.has("MOVE"):
            why = _do(session, "MOVE", chosen, quoted(trash.raw))
            if why:
                return _Deletion(left=len(ours), why=why)
            return _delete(session, trash, folders, round_trip_mail)
    why = _do(session, "STORE", chosen, "+FLAGS.SILENT", r"(\Deleted)")
    if can_expunge and not why:
        why = _do(session, "EXPUNGE", chosen)
    # Without UIDPLUS an EXPUNGE would take what others have marked, too.
    still = _left(session, ours, is_marked_enough=not can_expunge)
    left = len(still if still is not None else ours if why else [])
    return _Deletion(
        len(ours) - left, left, why or "the server said OK and did not do it"
    )


def _left(
    session: ImapSession, uids: list[str], *, is_marked_enough: bool
) -> list[str] | None:
    """Return which of the mails are still there: not all servers do what they say.

    None: the server does not say.
    ``is_marked_enough``: what is marked as deleted is as good as gone.
    """
    done, data = session.uid("FETCH", ",".join(uids), "(UID FLAGS)")
    if not done:
        return None
    left = []
    for parts in _mails_in(data):
        is_marked = b"\\Deleted" in tuple(parts.get(b"FLAGS") or ())
        uid = str(parts.get(b"UID"))
        if uid in uids and not (is_marked and is_marked_enough):
            left.append(uid)
    return left


def _do(session: ImapSession, command: str, *words: str | bytes) -> str:
    """Have the server do something; return why it will not, or nothing."""
    done, data = session.uid(command, *words)
    return "" if done else f"{command} was refused: {session.failure(data)}"
