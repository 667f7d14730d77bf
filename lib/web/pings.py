"""Takes pings of other people's jobs, as Healthchecks does: for ``[heartbeat NAME]``.

``/ping/TOKEN`` says that a run has ended well, ``/start`` behind it that one begins,
``/fail`` that it failed, ``/log`` neither, ``/EXIT`` with which code it ended, or by
which signal (systemd's ``$EXIT_STATUS``).  ``?rid=UUID`` joins a start and its end.
The paths, methods and answers are those that Healthchecks documents as its pinging API,
so that its clients work unchanged.

A ping is answered with 200 when it lies in the inbox as an event; the next run applies
it.  Nothing here makes a heartbeat: an unknown token gets 404.
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from msgspec.structs import replace

from lib.config.pings import tokens_of
from lib.core.heartbeats import Event, What, encoded
from lib.core.settings import Settings
from lib.storage import spool
from lib.storage.store import PINGS
from lib.web.routes import Application, StartResponse

logger = logging.getLogger(__name__)

#: The most bytes of a body that are taken, and how much of its end is kept.
MAX_BODY, KEPT_BODY = 10_000_000, 10_000
#: The most pings that wait for a run, and how often that is counted.
MAX_WAITING, COUNT_EVERY_S = 10_000, 1.0
#: How many pings of one token are taken at once, and how many a second later on.
BURST, PER_SECOND = 30, 0.5
#: The same of all that name no token of ours.
STRANGERS_BURST, STRANGERS_PER_SECOND = 100, 5.0
MAX_PATH, MAX_QUERY = 400, 512
MAX_EXIT = 255
METHODS = ("GET", "HEAD", "POST")

#: The end of what came with a ping, and whether there was more before it.
Body = tuple[str, bool]
#: The status, and the text that goes with it.
Reply = tuple[str, str]
OK: Reply = ("200 OK", "OK")
UNKNOWN: Reply = ("404 Not Found", "not found")
MALFORMED: Reply = ("400 Bad Request", "invalid url format")
NO_UUID: Reply = ("400 Bad Request", "invalid uuid format")
TOO_MANY: Reply = ("429 Too Many Requests", "rate limited")
NOT_STORED: Reply = ("503 Service Unavailable", "cannot be stored, try again")


class Bucket:
    """A rate limit: ``burst`` at once, then ``per_second``."""

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst, self._per_second = burst, per_second
        self._left, self._at = burst, 0.0

    def has_some(self, now: float) -> bool:
        """Return whether one more is within the limit; ``now`` is a monotonic time."""
        passed = max(0.0, now - self._at)
        self._left = min(self._burst, self._left + passed * self._per_second)
        self._at = now
        return self._left >= 1

    def take(self, now: float) -> bool:
        """Return the same, and count one."""
        if not self.has_some(now):
            return False
        self._left -= 1
        return True


class Pings:
    """What becomes of a ping."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._clock, self._monotonic = clock, monotonic
        self._lock = threading.Lock()
        self._read: Settings | None = None
        self._names: dict[bytes, str] = {}
        self._limits: dict[str, Bucket] = {}
        self._strangers = Bucket(STRANGERS_BURST, STRANGERS_PER_SECOND)
        self._waiting, self._counted_at = 0, float("-inf")

    def reply(self, path: str, query: str, body: Callable[[], Body]) -> Reply:
        """Return the answer to a ping, which is stored if that is 200.

        ``body`` returns the end of what came with it.
        """
        parts = path[:MAX_PATH].removeprefix("/ping/").split("/")
        settings = self._settings()
        name, is_within = self._who(settings, parts[0])
        if not is_within:
            return TOO_MANY
        if not name or len(parts) > 2:
            return UNKNOWN
        run = _run_of(query)
        if run is None:
            return NO_UUID
        event = event_of(name, parts[1] if len(parts) == 2 else "", self._clock(), run)
        if not isinstance(event, Event):
            return event
        return self._store(settings.state / PINGS, event, body())

    def _who(self, settings: Settings, token: str) -> tuple[str, bool]:
        """Return whose token it is, empty if nobody's, and whether it may ping now."""
        # By its hash, so that how long it takes says nothing of the tokens.
        key = digest_of(token)
        with self._lock:
            if settings is not self._read:
                self._names, self._read = self._all_names(settings), settings
            name = self._names.get(key, "")
            limit = self._strangers
            if name:
                limit = self._limits.setdefault(name, Bucket(BURST, PER_SECOND))
            return name, limit.take(self._monotonic())

    @staticmethod
    def _all_names(settings: Settings) -> dict[bytes, str]:
        tokens, problems = tokens_of(settings.ini, settings.path.parent)
        for problem in problems:
            logger.error("%s", problem)
        return {digest_of(token.reveal()): name for token, name in tokens.items()}

    def _store(self, folder: Path, event: Event, body: Body) -> Reply:
        output, was_cut = body
        event = replace(event, output=output or None, cut=was_cut)
        try:
            if not self._has_room(folder):
                logger.error(
                    "%s holds %d pings that no run has applied; does cron start "
                    "checker.py?",
                    folder,
                    MAX_WAITING,
                )
                return NOT_STORED
            spool.write(str(folder), encoded(event))
        except OSError as error:
            logger.error("%s: a ping cannot be stored: %s", folder, error.strerror)
            return NOT_STORED
        return OK

    def _has_room(self, folder: Path) -> bool:
        """Return whether one more may wait; make the folder; raise OSError."""
        now = self._monotonic()
        with self._lock:
            if now - self._counted_at >= COUNT_EVERY_S:
                os.makedirs(folder, mode=0o700, exist_ok=True)
                self._waiting, self._counted_at = len(os.listdir(folder)), now
            self._waiting += 1
            return self._waiting <= MAX_WAITING


def digest_of(token: str) -> bytes:
    """Return what a token is looked up by."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _run_of(query: str) -> str | None:
    """Return the ``rid`` of a query, empty if there is none; None if it is no UUID."""
    try:
        given = parse_qs(query[:MAX_QUERY]).get("rid", [""])[0]
        return str(uuid.UUID(given)) if given else ""
    except ValueError:
        return None


def event_of(name: str, said: str, at: float, run: str) -> Event | Reply:
    """Return the event of a ping; ``said`` is what stands behind the token."""
    end = Event(name=name, what=What.END, at=at, run=run)
    if not said:
        return end
    if said.isascii() and said.isdigit():
        if len(said) > 3 or int(said) > MAX_EXIT:
            return MALFORMED
        return replace(end, code=int(said))
    if f"SIG{said}" in signal.Signals.__members__:
        return replace(end, signal=f"SIG{said}")
    if said == "fail":
        return replace(end, failed=True)
    return replace(end, what=What(said)) if said in ("start", "log") else UNKNOWN


def pings(settings: Callable[[], Settings]) -> Application:
    """Return the WSGI application (PEP 3333) that takes pings."""
    taken = Pings(settings)

    def app(
        environ: Mapping[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        method, path = environ.get("REQUEST_METHOD"), str(environ.get("PATH_INFO", ""))
        if not path.startswith("/ping/"):
            status, text = UNKNOWN
        elif method not in METHODS:
            status, text = "405 Method Not Allowed", "use GET, HEAD or POST"
        else:
            query = str(environ.get("QUERY_STRING", ""))
            status, text = taken.reply(path, query, lambda: _end_of_body(environ))
        content = text.encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("Ping-Body-Limit", str(KEPT_BODY)),
        ]
        if status == TOO_MANY[0]:
            headers.append(("Retry-After", "2"))
        start_response(status, headers)
        return () if method == "HEAD" else (content,)

    return app


def _end_of_body(environ: Mapping[str, Any]) -> Body:
    """Return the last KEPT_BODY bytes of the body as text, and whether it had more."""
    end = b""
    while part := environ["wsgi.input"].read(65_536):
        end = (end + part)[-KEPT_BODY - 1 :]
    return end[-KEPT_BODY:].decode("utf-8", "replace"), len(end) > KEPT_BODY
