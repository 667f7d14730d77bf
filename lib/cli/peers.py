"""-m peers and -m peerkey: ask the peers now, and make a key for one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from lib.core.sanitize import harmless
from lib.core.settings import Peer, Settings
from lib.core.text import first_line
from lib.peers.client import PeerReply, ask

COLUMNS = ("peer", "says", "age", "round_trip", "signature", "clock", "last_run", "url")


def rows(settings: Settings) -> list[dict[str, Any]]:
    """Return what each peer answers now, as rows for a table."""
    peers = settings.peers.peers
    if not peers:
        return []
    with ThreadPoolExecutor(min(32, len(peers))) as pool:
        found = pool.map(partial(ask, us=settings.servername), peers)
        return [row_of(peer, asked) for peer, asked in zip(peers, found)]


def row_of(peer: Peer, asked: PeerReply) -> dict[str, Any]:
    """Return what a peer has answered just now."""
    reading = asked.reading
    said = reading.answer if reading else None
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row |= {"peer": peer.name, "url": peer.url.partition("?")[0].rpartition("@")[2]}
    row["round_trip"] = f"{asked.seconds:.2f} s"
    row["signature"] = "no key is shared"
    if peer.key:
        is_good = reading is not None and reading.signed
        by = f", by {harmless(said.server)[:60]}" if is_good and said else ""
        row["signature"] = f"good{by}" if is_good else "not proven"
    what = reading.peer_status.value if reading else "no answer"
    row["says"] = f"{what}: {first_line(asked.why)}" if asked.why else what
    if said is not None and asked.at is not None:
        ahead_s = (said.time - asked.at).total_seconds()
        row["age"] = f"{max(0, -ahead_s):.0f} s"
        # A file was made before it was asked for, and tells nothing of the clock.
        # Times are cut to seconds, and made half-way between question and answer.
        difference = round(ahead_s + 0.5 + asked.seconds / 2)
        row["clock"] = (f"{difference:+d} s" if difference else "0 s") * bool(
            said.nonce
        )
        if said.last_run is not None:
            row["last_run"] = f"{said.last_run:%Y-%m-%d %H:%M} UTC"
    return row


def key_lines(settings: Settings, name: str) -> Iterator[str]:
    """Yield what to do with a new key, for both sides."""
    key = secrets.token_hex(24)
    known = next(
        (one for one in settings.peers.peers if one.name == name.lower()), None
    )
    url = known.url if known else f"https://URL-OF-{name.upper()}/"
    contact = known.contact if known else f"ADMIN-OF-{name.upper()}@example.com"
    ours = settings.alertcontact[0]
    yield f"Here, in [peers] of {settings.path}:"
    yield ""
    yield f"{name} = {url},{contact},key={key}"
    yield ""
    yield f"At {name}, in [peers] of its settings.cfg, with the URL of our answer:"
    yield ""
    yield f"{_word(settings.servername)} = URL-OF-OUR-ANSWER,{ours},key={key}"
    yield ""
    yield "Send it by a way that others cannot read; settings.cfg must be chmod 600."


def _word(name: str) -> str:
    return "".join(one if one.isalnum() else "-" for one in name) or "checker"
