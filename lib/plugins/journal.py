"""Follows the journal of a unit of systemd, by journalctl's cursor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.plugins.child import Child
from lib.plugins.search import Found, Look, TooSlow


def follow(
    look: Look, unit: str, folder: str, before: Mapping[str, Any]
) -> dict[str, Any]:
    """Read on in the journal of a unit; return how far.

    ``before`` is what the last check returned, empty in the first one.  The journal is
    that of this machine if ``folder`` is empty.
    """
    journal = _Journal(look, unit, folder, before)
    try:
        journal.read()
    except (TimeoutError, TooSlow) as error:
        if isinstance(error, TooSlow):
            look.news.unknown.append(
                "the pattern takes too long on an entry of the journal; write it "
                "without repeats of what repeats"
            )
        else:
            look.news.pending.append(
                "there is more in the journal than could be read in time; it goes on "
                "in the next check"
            )
    except OSError as error:
        look.news.unknown.append(f"journalctl cannot be run: {error.strerror or error}")
    look.news.take(journal.found)
    return {"cursor": journal.cursor, "since_us": journal.since_us}


class _Journal:
    """The entries of a unit behind a cursor."""

    def __init__(
        self, look: Look, unit: str, folder: str, before: Mapping[str, Any]
    ) -> None:
        self.found = Found()
        self._look, self._unit, self._folder = look, unit, folder
        self.cursor = str(before.get("cursor", ""))
        since_us = before.get("since_us", 0)
        self.since_us = since_us if isinstance(since_us, int) else 0

    def read(self) -> None:
        """Read and search the entries that are new; raise OSError or TimeoutError."""
        is_at_end = not (self.cursor or self.since_us) and self._look.is_from_end
        if self.cursor:
            more = [f"--cursor={self.cursor}"]
        elif is_at_end:
            more = ["--lines=1"]
        else:
            more = [f"--since=@{self.since_us // 1_000_000}"]
        folder = [f"--directory={self._folder}"] if self._folder else []
        words = ["journalctl", "--no-pager", "--output=json", "--all", *folder]
        words += [f"--unit={self._unit}", "--output-fields=MESSAGE", *more]
        import subprocess

        child = Child(words, self._look.within, stderr=subprocess.PIPE)
        try:
            entries = iter(child.readline, b"")
            for number, line in enumerate(entries):
                self._take(_entry(line), is_first=not number, is_at_end=is_at_end)
            self._judge_end(child)
        finally:
            child.end()
        if not self.cursor:
            self.since_us = self.since_us or int(self._look.now * 1e6)
            if not self._look.may_be_missing and not self._look.news.unknown:
                self._look.news.missing.append(
                    f"the journal has no entry of the unit {self._unit}"
                )

    def _take(
        self, entry: tuple[str, int, bytes], *, is_first: bool, is_at_end: bool
    ) -> None:
        cursor, at_us, message = entry
        if is_first and self.cursor:
            if cursor == self.cursor:
                return
            # journalctl then begins anywhere, and says nothing.
            self._look.news.lost.append(
                "the journal has no longer the last entry that was read: entries may "
                "have been removed before they were searched"
            )
        is_known = bool(self.since_us) and at_us <= self.since_us
        is_behind = cursor and _is_same_journal(cursor, self.cursor)
        if is_known and not is_behind:
            return
        if not is_at_end:
            found = Found()
            self._look.search.lines(message + b"\n", found)
            if found.count:
                self.found.add(found.lines[0])
        self.cursor, self.since_us = cursor, at_us

    def _judge_end(self, child: Child) -> None:
        assert child.process.stderr is not None
        code = child.ended()
        said = child.process.stderr.read(4096).decode("utf-8", "replace").strip()
        if code or "insufficient permissions" in said or "No journal files" in said:
            why = said.splitlines()[0] if said else f"journalctl ended with {code}"
            self._look.news.unknown.append(f"the journal cannot be read: {why}")


def _is_same_journal(cursor: str, other: str) -> bool:
    """Return whether two cursors count on in one sequence."""
    return cursor.partition(";")[0] == other.partition(";")[0]


def _entry(line: bytes) -> tuple[str, int, bytes]:
    """Return the cursor, the time in us, and the message of an entry."""
    import json

    entry = json.loads(line)
    message = entry.get("MESSAGE")
    if isinstance(message, list) and message and not isinstance(message[0], int):
        message = message[0]
    if isinstance(message, list):
        message = bytes(message)
    elif isinstance(message, str):
        message = message.encode("utf-8", "replace")
    at_us = int(entry.get("__REALTIME_TIMESTAMP", 0))
    return str(entry.get("__CURSOR", "")), at_us, message or b""
