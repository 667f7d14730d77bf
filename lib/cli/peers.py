"""-m peers and -m peerkey: ask all peers now, and make a key for one."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any

from lib.cli.arguments import OK, WRONG_USE, settings_of
from lib.core.sanitize import harmless
from lib.core.settings import Peer, Settings
from lib.core.text import first_line, offset_words, table_time
from lib.peers.client import PeerReply, ask
from lib.report import table
from lib.report.rows import WORDS
from lib.system.clock import utc_now

if TYPE_CHECKING:
    import argparse

COLUMNS = ("peer", "age", "round_trip", "signature", "clock", "last_run", "url", "says")


def peers(args: argparse.Namespace) -> int:
    """Ask each peer now, and show what it answers."""
    settings = settings_of(args)
    if not settings.peers.peers and not args.json:
        print(f"{settings.path}: [peers] names nobody")
        return OK
    table.show(
        COLUMNS,
        rows(settings),
        as_json=args.json,
        out=sys.stdout,
        headings={"last_run": f"last run {offset_words(settings.zone, utc_now())}"},
    )
    return OK


def peerkey(args: argparse.Namespace) -> int:
    """Print what to do with a new key for a peer."""
    from lib.config.peers import peer_name

    settings = settings_of(args)
    try:
        name = peer_name("".join(args.words), settings.servername)
    except ValueError as error:
        print(f"checker: -m peerkey: {error}", file=sys.stderr)
        return WRONG_USE
    for line in key_lines(settings, name):
        print(line)
    return OK


def rows(settings: Settings) -> list[dict[str, Any]]:
    """Return what each peer answers now, as rows for a table."""
    peers = settings.peers.peers
    if not peers:
        return []
    with ThreadPoolExecutor(min(32, len(peers))) as pool:
        replies = pool.map(partial(ask, us=settings.servername), peers)
        return [
            row_of(peer, reply, settings.zone)
            for peer, reply in zip(peers, replies, strict=True)
        ]


def row_of(peer: Peer, reply: PeerReply, zone: tzinfo | None) -> dict[str, Any]:
    """Return the reply of a peer as a row."""
    reading = reply.reading
    answer = reading.answer if reading else None
    is_signed = (reading is not None and reading.signed) if peer.key else None
    row: dict[str, Any] = {
        "peer": peer.name,
        "url": peer.url.partition("?")[0],
        "status": reading.peer_status.name.lower() if reading else "no_answer",
        "reason": first_line(reply.why),
        "seconds": reply.seconds,
        "signed": is_signed,
        "signed_by": harmless(answer.server)[:60] if is_signed and answer else "",
        "age_s": None,
        "clock_s": None,
        "last_run_at": answer.last_run if answer else None,
    }
    if answer is not None and reply.at is not None:
        ahead_s = (answer.time - reply.at).total_seconds()
        row["age_s"] = max(0.0, -ahead_s)
        # A file was made before it was asked for, and tells nothing of the clock.
        # Times are cut to seconds, and made half-way between question and answer.
        if answer.nonce:
            row["clock_s"] = round(ahead_s + 0.5 + reply.seconds / 2)
    return {**row, WORDS: _words(row, reply, zone)}


def _words(
    row: Mapping[str, Any], reply: PeerReply, zone: tzinfo | None
) -> dict[str, str]:
    """Return what the table says of a reply."""
    age_s, clock_s, last_run_at = row["age_s"], row["clock_s"], row["last_run_at"]
    signature = {True: "good", False: "not proven", None: "no key is shared"}
    by = f", by {row['signed_by']}" if row["signed_by"] else ""
    clock = f"{clock_s:+d} s" if clock_s else "0 s"
    last_run = ""
    if last_run_at is not None and reply.at is not None:
        last_run = table_time(last_run_at, zone, reply.at)
    what = reply.reading.peer_status.value if reply.reading else "no answer"
    return {
        "age": "" if age_s is None else f"{age_s:.0f} s",
        "round_trip": f"{reply.seconds:.2f} s",
        "signature": f"{signature[row['signed']]}{by}",
        "clock": "" if clock_s is None else clock,
        "last_run": last_run,
        "says": f"{what}: {row['reason']}" if row["reason"] else what,
    }


def key_lines(settings: Settings, name: str) -> Iterator[str]:
    """Yield what to do with a new key, for both sides."""
    key = secrets.token_hex(24)
    known = next(
        (peer for peer in settings.peers.peers if peer.name == name.lower()), None
    )
    url = known.address if known else f"https://URL-OF-{name.upper()}/"
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
    return "".join(letter if letter.isalnum() else "-" for letter in name) or "checker"
