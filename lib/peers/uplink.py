"""Is it our own line that is down?  So it is where nobody at all answers us.

The peers' jobs of a run find that out together, once: the other peers are asked, and
all that is checked elsewhere.  Where there is nobody else, the mail servers will do.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from lib.config.fields import is_this_machine
from lib.core.jobs import Target
from lib.core.settings import Mail, Peer
from lib.net import http
from lib.net.connect import Deadline, NotTried, Unreachable, connect
from lib.peers.answer import PeerStatus
from lib.peers.client import ask

#: Long enough to hear of somebody who is there.
TRY_S = 8.0
#: One of so many will do.
MAX_ASKED = 40

#: Returns whether somebody answers.
Try = Callable[[], bool]


class OwnLine:
    """What the peers' jobs of one run know of it; they run side by side."""

    def __init__(
        self,
        peers: Sequence[Peer],
        targets: Callable[[str], Iterable[Target]],
        is_here: Callable[[str], bool] = is_this_machine,
    ) -> None:
        self._peers = peers
        self._targets = targets
        self._is_here = is_here
        self._lock = threading.Lock()
        self._nobody_answers: bool | None = None
        self._heard = False

    def hear(self) -> None:
        """Note that a peer has answered."""
        self._heard = True

    def is_down(self, silent: Peer, mail: Mail | None) -> bool:
        """Return whether nobody else answers us either.

        ``silent`` is who does not; ``mail`` how our mail leaves.
        """
        with self._lock:
            if self._nobody_answers is None and not self._heard:
                tries = [
                    *(_by_asking(one) for one in self._peers if one != silent),
                    *self._by_targets(),
                ] or list(self._by_mail(mail))
                # Of one alone, with nobody to compare it with, nothing follows.
                self._nobody_answers = bool(tries) and not any_answers(tries)
            return bool(self._nobody_answers) and not self._heard

    def _by_targets(self) -> Iterator[Try]:
        for one in self._targets("http"):
            values = one.values
            if not self._is_here(urlsplit(values["url"]).hostname or ""):
                yield _by_fetching(values["url"], values["cafile"], values["verify"])
        for kind in ("tcp", "tls"):
            for one in self._targets(kind):
                if not self._is_here(one.values["host"]):
                    yield _by_connecting(one.values["host"], one.values["port"])

    def _by_mail(self, mail: Mail | None) -> Iterator[Try]:
        for one in (mail, mail.backup) if mail else ():
            if one is not None and one.smtpserver and not self._is_here(one.smtpserver):
                yield _by_connecting(one.smtpserver, one.smtpport)


def any_answers(tries: Sequence[Try], limit_s: float = TRY_S) -> bool:
    """Return whether one of these, tried side by side, succeeds within the time."""
    found: queue.SimpleQueue[bool] = queue.SimpleQueue()
    tries = tries[:MAX_ASKED]
    for one in tries:
        try:
            threading.Thread(target=lambda t=one: found.put(t()), daemon=True).start()
        except RuntimeError:
            # There are no more threads: one after the other, then.
            found.put(one())
    ends_at = time.monotonic() + limit_s + 1
    for _one in tries:
        try:
            if found.get(timeout=max(0.01, ends_at - time.monotonic())):
                return True
        except queue.Empty:
            return False
    return False


def _by_asking(peer: Peer) -> Try:
    def answers() -> bool:
        reading = ask(peer, TRY_S).reading
        # What is no answer of a Checker may be a page of whoever is in between.
        return reading is not None and reading.peer_status is not PeerStatus.WRONG

    return answers


def _by_fetching(url: str, cafile: str, verify: bool) -> Try:
    def answers() -> bool:
        try:
            with http.ask("get", url, Deadline(TRY_S), cafile=cafile, verify=verify):
                return True
        except (OSError, Unreachable, NotTried):
            return False

    return answers


def _by_connecting(host: str, port: int) -> Try:
    def answers() -> bool:
        try:
            connect(host, port, Deadline(TRY_S)).close()
        except (OSError, Unreachable):
            return False
        return True

    return answers
