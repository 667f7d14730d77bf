"""The files in state/ about sending: outbox.json, channels/, bundles/ and dead/.

Only the run that holds the lock writes them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from lib.alerting import bundling
from lib.core.encoding import Moment, Stored
from lib.core.messages import Bundle, Message
from lib.core.ratelimit import SendLog
from lib.storage.codec import packed, read_value
from lib.storage.quarantine import Quarantine
from lib.storage.store import BUNDLES, CHANNELS, send_log_path
from lib.storage.writer import Writer
from lib.system.files import Damaged, listed

logger = logging.getLogger(__name__)

#: The most in dead/.
MAX_DEAD, MAX_DEAD_BYTES = 1000, 50 * 1024 * 1024


class Dead(Stored, frozen=True):
    """A dead letter: a mail that was rejected for good for some addresses."""

    died_at: Moment
    #: The addresses, and the reply for each.
    why: Mapping[str, str] = {}
    message: Message | None = None


class AlertStore:
    """The send log, the bundles and the dead letters."""

    def __init__(
        self, state: Path, now: datetime, writer: Writer, way: str = ""
    ) -> None:
        """Read the files; move damaged ones to quarantine, with a line in the log.

        The messages of a lost bundle are sent again.  ``way``: only its bundles, and
        its own send log; empty: those of mail.
        """
        self._writer = writer
        self._quarantine = Quarantine(state, writer)
        self._way = way
        self._send_log_path = send_log_path(state, way)
        #: The ways of the other bundles on disk.
        self.bundled_ways: set[str] = set()
        self._channels = state / CHANNELS
        self._folder = state / BUNDLES
        self._dead = state / "dead"
        for folder in (self._folder, self._dead, self._send_log_path.parent):
            writer.remove_leftovers(folder)
        #: As it is on disk.
        self.send_log = self._read_send_log(now)
        self.bundles = self._read_bundles(now)

    def logged_ways(self) -> set[str]:
        """Return the ways of channels that have a send log."""
        names = (name.removesuffix(".json") for name in listed(self._channels))
        return {name.replace(".", "/", 1) for name in names if name[:1] != "."}

    def forget(self) -> None:
        """Remove the send log and the bundles of a way that is gone.

        Raise StateError.
        """
        for name in list(self.bundles):
            self.drop_bundle(name)
        if self._send_log_path.exists():
            self._writer.remove([self._send_log_path])
        self.send_log = SendLog()

    def save_send_log(self, send_log: SendLog) -> None:
        """Save the send log; raise StateError."""
        if send_log != self.send_log:
            if self._way:
                self._writer.make_folder(self._send_log_path.parent)
            self._writer.replace([(self._send_log_path, packed(send_log))])
            self.send_log = send_log

    def save_bundle(self, bundle: Bundle) -> None:
        """Save a bundle; raise StateError."""
        name = bundle.message.message_id
        self._writer.make_folder(self._folder)
        self._writer.replace([(self._folder / f"{name}.json", packed(bundle))])
        self.bundles[name] = bundle

    def drop_bundle(self, name: str) -> None:
        """Remove a bundle whose messages are removed from their records.

        Raise StateError.
        """
        self._writer.remove([self._folder / f"{name}.json"])
        del self.bundles[name]

    def save_dead_letter(
        self, message: Message, why: Mapping[str, str], now: datetime
    ) -> None:
        """Save a dead letter; raise StateError.

        The file name is made from the content, so that it is saved once.
        """
        self._writer.make_folder(self._dead)
        who = hashlib.sha256(" ".join(sorted(why)).encode()).hexdigest()[:8]
        name = f"{message.born_at:%Y%m%dT%H%M%S}-{message.message_id[:16]}-{who}.json"
        content = packed(Dead(now, dict(why), message))
        self._writer.replace([(self._dead / name, content)])
        self._writer.thin(self._dead, most_files=MAX_DEAD, most_bytes=MAX_DEAD_BYTES)

    def _read_send_log(self, now: datetime) -> SendLog:
        try:
            return read_value(self._send_log_path, SendLog)
        except FileNotFoundError:
            return SendLog()
        except Damaged as error:
            self._quarantine_file(self._send_log_path, error, now)
            return SendLog()

    def _read_bundles(self, now: datetime) -> dict[str, Bundle]:
        bundles = {}
        for name in listed(self._folder):
            path = self._folder / name
            if path.suffix != ".json" or name.startswith("."):
                continue
            try:
                bundle = bundling.settled(read_value(path, Bundle), now)
                if bundle.message.message_id != path.stem:
                    raise Damaged("it holds another bundle")
                if bundle.message.way == self._way:
                    bundles[path.stem] = bundle
                else:
                    self.bundled_ways.add(bundle.message.way)
            except FileNotFoundError:
                continue
            except Damaged as error:
                self._quarantine_file(path, error, now)
        return bundles

    def _quarantine_file(self, path: Path, error: Damaged, now: datetime) -> None:
        logger.warning("%s: %s; moved to quarantine", path, error)
        self._quarantine.put([path], now)
