"""The endpoint for peers: answers as the file of [status] write does.

Each answer is made from ``state/run.json`` and the settings.  Nothing is kept between
answers, so a restart changes nothing and failing runs show.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from lib.core.records import RunRecord
from lib.core.settings import Settings
from lib.peers import answer, publish
from lib.storage.store import State
from lib.system.clock import utc_now
from lib.system.errors import StateError

logger = logging.getLogger(__name__)

#: The length of a query that is read; our longest has 109 characters.
MAX_QUESTION = 512

HEADERS = (
    ("Content-Type", "text/plain; charset=us-ascii"),
    ("Cache-Control", "no-store"),
    ("Allow", "GET, HEAD"),
)

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Application = Callable[[Mapping[str, Any], StartResponse], Iterable[bytes]]


def application(
    settings: Callable[[], Settings], now: Callable[[], datetime] = utc_now
) -> Application:
    """Return the WSGI application (PEP 3333) that answers peers.

    ``settings`` returns those of now.  Every path is answered, as the older program
    does: a proxy in front may keep a prefix.
    """

    def app(
        environ: Mapping[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        method = environ.get("REQUEST_METHOD")
        if method in ("GET", "HEAD"):
            query = str(environ.get("QUERY_STRING", ""))
            status, content = "200 OK", reply(settings(), query, now())
        else:
            status, content = "405 Method Not Allowed", b"ask with GET\n"
        start_response(status, [*HEADERS, ("Content-Length", str(len(content)))])
        return () if method == "HEAD" else (content,)

    return app


def reply(settings: Settings, query: str, now: datetime) -> bytes:
    """Return the answer to a question: ``nonce=...&key=...``, or nothing.

    ``key`` names a key by its hash (``answer.key_id``).  Who does not name one of ours
    is a stranger, or a program of the older kind: what is bad then has no letters in it
    but the word.
    """
    try:
        asked = parse_qs(query[:MAX_QUESTION], max_num_fields=8)
    except ValueError:
        asked = {}
    known = {answer.key_id(key) for key in publish.keys_of(settings)}
    is_known = asked.get("key", [""])[0] in known
    nonce = asked.get("nonce", [""])[0]
    run = _run_of(settings)
    return publish.own_answer(settings, run, now, nonce=nonce, signed=is_known)


def _run_of(settings: Settings) -> RunRecord:
    """Return the record of the last run; an empty one if it cannot be read."""
    state = State(settings.state)
    try:
        if why := state.why_not_safe():
            raise StateError(why)
        return state.load_run()
    except StateError as error:
        logger.warning("%s", error)
        return RunRecord()
