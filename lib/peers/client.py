"""Asks a peer for its health over HTTP."""

from __future__ import annotations

import os
import time
from datetime import datetime
from urllib.parse import urlsplit

import msgspec

from lib.core.sanitize import printable
from lib.core.settings import Peer
from lib.net import http
from lib.net.address import shown_url, without_credentials
from lib.net.connect import Deadline, NotTried, Unreachable
from lib.peers import answer
from lib.peers.answer import PeerStatus, Reading
from lib.system.clock import utc_now

#: The limit in seconds for the whole request: DNS, connection, TLS, headers, body.
ASK_S = 10.0


class PeerReply(msgspec.Struct, frozen=True):
    """A peer's answer to a request, or why there is none."""

    #: None if there is no response with status 200.
    reading: Reading | None = None
    #: Why there is no answer, or why it is not valid.
    why: str = ""
    seconds: float = 0.0
    #: When the answer was received.
    at: datetime | None = None


def ask(
    peer: Peer, limit_s: float = ASK_S, *, us: str = "", before: str = ""
) -> PeerReply:
    """Return a peer's answer within ``limit_s`` seconds; errors are returned, too.

    If a key is shared, the request has a nonce and the id of the key.  Redirects are
    not followed, and at most 4 KB are read.  ``us`` and ``before`` are those of
    ``answer.judged``.
    """
    nonce = os.urandom(16).hex() if peer.key else ""
    deadline = Deadline(limit_s)
    began = time.monotonic()
    try:
        with http.ask("get", _request_url(peer, nonce), deadline) as response:
            if response.status != 200:
                why = f"status {response.status} {response.phrase}".strip()
                if response.location:
                    url = shown_url(response.location)
                    why += f"; it redirects to {url}, which is not followed"
                return PeerReply(None, why, time.monotonic() - began)
            content = response.read(answer.MAX_BYTES)
    except (Unreachable, NotTried) as error:
        why = without_credentials(str(error), peer.address)
        return PeerReply(None, why, time.monotonic() - began)
    now = utc_now()
    reading = answer.judged(
        content,
        key=peer.key.reveal(),
        nonce=nonce,
        now=now,
        us=us,
        before=before,
    )
    why = reading.why
    if reading.peer_status is PeerStatus.WRONG and not why:
        why = printable(content[:200].decode("utf-8", "replace"), 100)
    return PeerReply(reading, why, time.monotonic() - began, now)


def _request_url(peer: Peer, nonce: str) -> str:
    if not nonce:
        return peer.address
    separator = "&" if urlsplit(peer.url).query else "?"
    return (
        f"{peer.address}{separator}nonce={nonce}&key={answer.key_id(peer.key.reveal())}"
    )
