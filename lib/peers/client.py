"""Ask a peer how it is."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from lib.core.settings import Peer
from lib.net import http
from lib.net.connect import Deadline, NotTried, Unreachable
from lib.peers import answer
from lib.peers.answer import PeerStatus, Reading

#: For all of it: name, connection, TLS, headers, body.
ASK_S = 10.0


@dataclass(frozen=True)
class FileScan:
    """What became of a question."""

    #: None where nothing came that could be read.
    reading: Reading | None = None
    #: Why nothing came, what came instead, or what shows that it is not to be believed.
    why: str = ""
    seconds: float = 0.0
    #: When an answer was there.
    at: datetime | None = None


def ask(
    peer: Peer, limit_s: float = ASK_S, *, us: str = "", before: str = ""
) -> FileScan:
    """Return what a peer answers, within the time; nothing is raised.

    A peer that shares a key is sent a nonce and which key to sign with; redirects are
    not followed, and no more than 4 KB are read.  ``us`` and ``before``: as
    ``answer.judged`` has them.
    """
    nonce = os.urandom(16).hex() if peer.key else ""
    deadline = Deadline(limit_s)
    began = time.monotonic()
    try:
        with http.ask("get", _question(peer, nonce), deadline) as said:
            if said.status != 200:
                why = f"status {said.status} {said.phrase}".strip()
                if said.location:
                    place = http.shown_url(said.location)
                    why += f"; it redirects to {place}, which is not followed"
                return FileScan(None, why, time.monotonic() - began)
            content = said.read(answer.MAX_BYTES)
    except (Unreachable, NotTried) as error:
        why = http.without_credentials(str(error), peer.url)
        return FileScan(None, why, time.monotonic() - began)
    now = datetime.now(UTC)
    reading = answer.judged(
        content,
        key=peer.key,
        nonce=nonce,
        now=now,
        us=us,
        before=before,
    )
    why = reading.why
    if reading.peer_status is PeerStatus.WRONG and not why:
        why = http.printable(content[:200].decode("utf-8", "replace"), 100)
    return FileScan(reading, why, time.monotonic() - began, now)


def _question(peer: Peer, nonce: str) -> str:
    if not nonce:
        # One of the older kind knows of no questions.
        return peer.url
    separator = "&" if urlsplit(peer.url).query else "?"
    return f"{peer.url}{separator}nonce={nonce}&key={answer.key_id(peer.key)}"
