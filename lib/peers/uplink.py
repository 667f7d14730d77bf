"""Decides whether our own network connection is down: nothing else answers either.

The other peers and all remote targets are tried, or the mail servers if there are none.
The jobs of a run share one result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from urllib.parse import urlsplit

from lib.config import fields
from lib.config.fields import is_this_machine
from lib.config.options import Option
from lib.config.targets import target_sections, typed
from lib.core.ini import IniFile
from lib.core.settings import Mail, Peer
from lib.net import http
from lib.net.connect import (
    Deadline,
    NotTried,
    Unreachable,
    connect,
    side_by_side,
)
from lib.peers.answer import PeerStatus
from lib.peers.client import ask

#: The limit in seconds for one attempt.
TRY_S = 8.0
#: The most attempts that are made; one answer is enough.
MAX_TRIES = 40

#: What is read of a target to reach it; its own job reads the rest.
_HTTP = {
    "url": Option(fields.url),
    "cafile": Option(fields.absolute_path, ""),
    "verify": Option(fields.switch, True),
}
_PORT = {"host": Option(fields.host), "port": Option(fields.port, 0)}

#: An attempt: returns whether there was an answer.
Try = Callable[[], bool]


class Uplink:
    """The state of our connection, shared by the parallel peer jobs of one run."""

    def __init__(
        self,
        peers: Sequence[Peer],
        is_here: Callable[[str], bool] = is_this_machine,
    ) -> None:
        self._peers = peers
        self._is_here = is_here
        self._lock = threading.Lock()
        self._nothing_answers: bool | None = None
        self._has_answer = False

    def note_answer(self) -> None:
        """Note that a peer has answered."""
        self._has_answer = True

    def is_down(
        self, silent: Peer, mail: Mail | None, ini: IniFile | None = None
    ) -> bool:
        """Return whether nothing but ``silent`` answers either.

        ``ini`` has the targets, ``mail`` the mail servers to try if there is nothing
        else.
        """
        with self._lock:
            if self._nothing_answers is None and not self._has_answer:
                tries = [
                    *(_ask_peer(peer) for peer in self._peers if peer != silent),
                    *islice(self._target_tries(ini), MAX_TRIES),
                ] or list(self._mail_server_tries(mail))
                # Without anything to try, we cannot know, so it counts as up.
                self._nothing_answers = bool(tries) and not any_answers(tries)
            return bool(self._nothing_answers) and not self._has_answer

    def _target_tries(self, ini: IniFile | None) -> Iterator[Try]:
        """Yield an attempt for each target of the settings that is elsewhere."""
        if ini is None:
            return
        for section in target_sections(ini, "http"):
            values, _wrong = typed(section, _HTTP)
            if "url" in values and not self._is_here(
                urlsplit(values["url"]).hostname or ""
            ):
                yield _fetch(
                    values["url"], values.get("cafile", ""), values.get("verify", True)
                )
        for kind in ("tcp", "tls"):
            for section in target_sections(ini, kind):
                values, _wrong = typed(section, _PORT)
                port = values.get("port", 443 if kind == "tls" else 0)
                if port and "host" in values and not self._is_here(values["host"]):
                    yield _connect_to(values["host"], port)

    def _mail_server_tries(self, mail: Mail | None) -> Iterator[Try]:
        for account in (mail, mail.backup) if mail else ():
            if account is None or not account.smtpserver:
                continue
            if not self._is_here(account.smtpserver):
                yield _connect_to(account.smtpserver, account.smtpport)


def any_answers(tries: Sequence[Try], limit_s: float = TRY_S) -> bool:
    """Return whether one of these parallel attempts succeeds within the time."""
    results = side_by_side(tries[:MAX_TRIES], limit_s + 1)
    return any(is_there for _number, is_there in results)


def _ask_peer(peer: Peer) -> Try:
    def answers() -> bool:
        reading = ask(peer, TRY_S).reading
        # An invalid answer may be the page of a proxy or of a captive portal.
        return reading is not None and reading.peer_status is not PeerStatus.WRONG

    return answers


def _fetch(url: str, cafile: str, verify: bool) -> Try:
    def answers() -> bool:
        try:
            with http.ask("get", url, Deadline(TRY_S), cafile=cafile, verify=verify):
                return True
        except (OSError, Unreachable, NotTried):
            return False

    return answers


def _connect_to(host: str, port: int) -> Try:
    def answers() -> bool:
        try:
            connect(host, port, Deadline(TRY_S)).close()
        except (OSError, Unreachable):
            return False
        return True

    return answers
