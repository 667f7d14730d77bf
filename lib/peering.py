"""Ask a peer how it is, and find out whether it is our own line that is down."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from lib import answer, fetch
from lib.answer import Finding, Reading
from lib.model import Peer
from lib.reach import Deadline, NotTried, Unreachable, connect

#: For all of it: name, connection, TLS, headers, body.
ASK_S = 10.0
#: Long enough to connect to something that is there.
TRY_S = 4.0
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Asked:
    """What became of a question."""

    #: None where nothing came that could be read.
    reading: Reading | None = None
    #: Why nothing came, what came instead, or what shows that it is not to be believed.
    why: str = ""
    seconds: float = 0.0


def ask(peer: Peer, limit_s: float = ASK_S, *, us: str = "", before: str = "") -> Asked:
    """Return what a peer answers, within the time; nothing is raised.

    A peer that shares a key is sent a nonce and which key to sign with; redirects are
    not followed, and no more than 4 KB are read.  ``us`` and ``before``: as
    ``answer.judged`` has them.
    """
    nonce = os.urandom(16).hex() if peer.key else ""
    deadline = Deadline(limit_s)
    began = time.monotonic()
    try:
        with fetch.ask("get", _question(peer, nonce), deadline) as said:
            if said.status != 200:
                why = f"status {said.status} {said.phrase}".strip()
                return Asked(None, why, time.monotonic() - began)
            content = said.read(answer.MOST_BYTES)
    except (Unreachable, NotTried) as error:
        why = fetch.without_credentials(str(error), peer.url)
        return Asked(None, why, time.monotonic() - began)
    reading = answer.judged(
        content,
        key=peer.key,
        nonce=nonce,
        now=datetime.now(UTC),
        us=us,
        before=before,
    )
    why = reading.why
    if reading.finding is Finding.WRONG and not why:
        why = fetch.printable(content[:200].decode("utf-8", "replace"), 100)
    return Asked(reading, why, time.monotonic() - began)


def place(url: str) -> tuple[str, int]:
    """Return the host and the port of a URL."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)


def any_answers(places: Iterable[tuple[str, int]], limit_s: float = TRY_S) -> bool:
    """Return whether a connection to one of these comes about, within the time."""
    found: queue.SimpleQueue[bool] = queue.SimpleQueue()
    distinct = list(dict.fromkeys(places))[:20]

    def try_one(host: str, port: int) -> None:
        try:
            connect(host, port, Deadline(limit_s)).close()
        except (OSError, Unreachable):
            found.put(False)
        else:
            found.put(True)

    for host, port in distinct:
        threading.Thread(target=try_one, args=(host, port), daemon=True).start()
    ends_at = time.monotonic() + limit_s + 1
    for _place in distinct:
        try:
            if found.get(timeout=max(0.01, ends_at - time.monotonic())):
                return True
        except queue.Empty:
            return False
    return False


def _question(peer: Peer, nonce: str) -> str:
    if not nonce:
        # One of the older kind knows of no questions.
        return peer.url
    separator = "&" if urlsplit(peer.url).query else "?"
    return f"{peer.url}{separator}nonce={nonce}&key={answer.key_id(peer.key)}"
