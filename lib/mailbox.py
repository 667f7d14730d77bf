"""Look for one mail of ours over IMAP, wherever it landed, and take it away again.

Folders are opened read-only until the mail is found.  What is deleted are probes of
this instance and nothing else.  The rules of folders are in lib/folders.py, the line
is lib/imapline.py's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from lib import hops
from lib.folders import Folder, Kind, encoded, in_order, listed, quoted
from lib.imapline import Line, LookFailed
from lib.model import Mailbox
from lib.reach import Deadline

__all__ = ["Found", "Kind", "LookFailed", "Probe", "folders_of", "look_for"]

#: What has just come is among the last; a search of more takes some servers minutes.
MOST_SEARCHED = 2_000
#: So many are looked at one by one, where a server's search finds nothing, or is none.
MOST_READ, MOST_READ_WITHOUT_SEARCH = 20, 200
#: Of own probes that have piled up, so many go each time.
MOST_DELETED = 100
#: Another instance with our name may wait for a younger one.
LEFT_ALONE = timedelta(days=2)
#: What we keep of the time for less likely folders.
_RESERVE_S = 5

_FIELDS = "MESSAGE-ID X-CHECKER-PROBE SUBJECT FROM RECEIVED"
_TOKEN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Probe:
    """The mail that is looked for, and what tells ours from others'."""

    token: str
    sent_at: datetime
    #: As subjects begin: ``[web1]``.
    servername: str = ""
    #: Where it was sent to, which is also what it comes from.
    address: str = ""
    #: Tokens of those sent before, which may lie there still.
    earlier: tuple[str, ...] = ()


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
class _Seen:
    """A mail's header, as far as we asked for it."""

    uid: str
    arrived_at: datetime | None
    fields: Any

    def says(self, name: str) -> str:
        return " ".join(str(self.fields.get(name, "")).split())

    def has(self, token: str) -> bool:
        """Return whether it is the mail with this token."""
        return (
            token in self.says("Message-ID")
            or token == self.says("X-Checker-Probe")
            or token in self.says("Subject")
        )


def look_for(
    mailbox: Mailbox, probe: Probe, deadline: Deadline, *, keeps: bool = False
) -> Found | None:
    """Return where the probe is, None if it is not there; raise LookFailed.

    Once found it is deleted, and so are older probes of ours beside it, unless the
    mail is one that somebody ``keeps``.
    """
    line = Line(mailbox, deadline)
    try:
        folders = _folders(line, mailbox)
        opened = 0
        for folder in folders:
            if opened and folder.kind is Kind.OTHER and not _has_time(deadline):
                break
            exists = _open(line, folder, "EXAMINE")
            if exists is None:
                continue
            opened += 1
            seen = _search(line, probe.token, exists, folder)
            if seen is not None and keeps:
                return Found(folder.name, folder.kind, seen.arrived_at)
            if seen is not None:
                return _cleared(line, seen, folder, folders, probe)
        if not opened:
            raise LookFailed(*_missing(mailbox))
        return None
    finally:
        line.close()


def folders_of(mailbox: Mailbox, deadline: Deadline) -> list[str]:
    """Return the names of the folders in the order of looking; raise LookFailed."""
    line = Line(mailbox, deadline)
    try:
        folders = _folders(line, mailbox)
        found = [one for one in folders if _open(line, one, "EXAMINE") is not None]
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


def _search(line: Line, token: str, exists: int, folder: Folder) -> _Seen | None:
    """Return the mail with the token in the folder that is open, or None."""
    if exists == 0:
        return None
    done, uids = _uids(
        line,
        exists,
        f'OR OR HEADER Message-ID "{token}" HEADER X-Checker-Probe "{token}"'
        f' SUBJECT "{token}"',
    )
    # What a server claims to have found is looked at.
    for seen in _read(line, "FETCH", uids[-10:]):
        if seen.has(token):
            return seen
    if done and folder.kind is Kind.OTHER:
        return None
    most = MOST_READ if done else MOST_READ_WITHOUT_SEARCH
    numbers = [f"{max(1, exists - most + 1)}:*"]
    return next((one for one in _read(line, "", numbers) if one.has(token)), None)


def _uids(line: Line, exists: int, criteria: str) -> tuple[bool, list[str]]:
    """Return whether the server can search, and what it found among the last mails."""
    first = max(1, exists - MOST_SEARCHED + 1)
    done, data = line.ask("SEARCH", f"{first}:*", criteria)
    words = b" ".join(one for one in data if isinstance(one, bytes)) if done else b""
    found = [int(word) for word in words.split() if re.fullmatch(rb"\d{1,10}", word)]
    return done, [str(uid) for uid in sorted(found)]


def _read(line: Line, by: str, numbers: list[str]) -> Iterator[_Seen]:
    """Yield the headers of these mails; ``by``: FETCH by UID, else by number."""
    if not numbers:
        return
    what = f"(UID INTERNALDATE BODY.PEEK[HEADER.FIELDS ({_FIELDS})])"
    done, data = line.ask(by or "NUMBERED FETCH", ",".join(numbers), what)
    if not done:
        return
    from email.parser import BytesHeaderParser

    for at, entry in enumerate(data):
        if not (isinstance(entry, tuple) and len(entry) == 2):
            continue
        head, text = entry
        after = data[at + 1] if at + 1 < len(data) else b""
        words = head + b" " + (after if isinstance(after, bytes) else b"")
        uid = re.search(rb"\bUID (\d{1,10})\b", words)
        if uid:
            fields = BytesHeaderParser().parsebytes(text)
            yield _Seen(uid[1].decode(), _moment(words), fields)


def _moment(words: bytes) -> datetime | None:
    """Return INTERNALDATE: when the mailbox took the mail."""
    found = re.search(rb'INTERNALDATE "([^"]{1,40})"', words)
    try:
        text = found[1].decode("ascii").strip() if found else ""
        return datetime.strptime(text, "%d-%b-%Y %H:%M:%S %z").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _found(seen: _Seen, folder: Folder, probe: Probe) -> Found:
    received = [str(one) for one in seen.fields.get_all("Received", ())]
    steps = hops.hops(received, probe.sent_at, seen.arrived_at)
    return Found(folder.name, folder.kind, seen.arrived_at, hops.longest(steps))


def _cleared(
    line: Line, seen: _Seen, folder: Folder, folders: list[Folder], probe: Probe
) -> Found:
    """Return what was found, and how its deletion went: nothing hangs on that."""
    found = _found(seen, folder, probe)
    try:
        count = _delete(line, folder, folders, probe, seen.uid)
    except LookFailed as error:
        return replace(found, trouble=f"the probe could not be deleted: {error}")
    return replace(found, deleted=count)


def _delete(
    line: Line, folder: Folder, folders: list[Folder], probe: Probe, uid: str = ""
) -> int:
    """Delete this probe and older ones of ours in a folder; return how many."""
    exists = _open(line, folder, "SELECT")
    if not exists:
        return 0
    new = [uid] if uid else _uids(line, exists, f'HEADER Message-ID "{probe.token}"')[1]
    old = _uids(line, exists, 'HEADER X-Checker-Probe ""')[1]
    uids = sorted({*new, *old[:MOST_DELETED]}, key=int)
    ours = [one.uid for one in _read(line, "FETCH", uids) if _is_ours(one, probe)]
    if not ours:
        return 0
    trash = next((one for one in folders if one.kind is Kind.TRASH), None)
    if folder.kind in (Kind.INBOX, Kind.ALL, Kind.OTHER) and trash is not None:
        # What is expunged elsewhere is archived there, and never deleted.
        if line.has("X-GM-EXT-1") and line.has("MOVE"):
            line.ask("MOVE", ",".join(ours), quoted(trash.raw))
            return _delete(line, trash, folders, probe)
    line.ask("STORE", ",".join(ours), "+FLAGS.SILENT", r"(\Deleted)")
    if line.has("UIDPLUS"):
        line.ask("EXPUNGE", ",".join(ours))
    # Without UIDPLUS an EXPUNGE would take what others have marked, too.
    return len(ours)


def _is_ours(seen: _Seen, probe: Probe) -> bool:
    """Return whether it is a probe that this instance has sent, and is done with."""
    token = seen.says("X-Checker-Probe")
    if not (_TOKEN.fullmatch(token) and seen.says("Message-ID")[1:33] == token):
        return False
    if token == probe.token or token in probe.earlier:
        return True
    # What state has forgotten is known by its words, once nobody can wait for it.
    by_name = seen.says("Subject").startswith(f"[{probe.servername}] ")
    by_us = probe.address != "" and probe.address in seen.says("From")
    age = probe.sent_at - (seen.arrived_at or probe.sent_at)
    return by_name and by_us and age > LEFT_ALONE
