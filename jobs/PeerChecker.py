"""Ask the instances of friends how they are, and mail their admins when that is bad.

One job per line of ``[peers]``.  A peer that says that it cannot send mail or runs no
jobs is believed at once; one that does not answer, or answers what is none, is asked
again in the next minute runs, ``after`` times in all.  If nothing else answers either,
it is our own line that is down: that is one note to us, and no mail to anybody else.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NoReturn

from lib.jobbase import (
    CheckFailed,
    CheckPending,
    JobBase,
    JobFailureNotificationFrequency,
    JobFrequency,
    JobSpawner,
    Peer,
    Peers,
    peers_of,
    targets,
)
from lib.net import http
from lib.peers import templates
from lib.peers.answer import PeerStatus, key_id
from lib.peers.client import FileScan, ask
from lib.peers.uplink import OwnLine


class PeerChecker(JobSpawner):
    """One job per line of [peers]."""

    def get_sub_jobs(self, config: configparser.ConfigParser) -> Iterator[JobBase]:
        """Yield a job for each peer."""
        peers = peers_of(config)
        line = OwnLine(peers.peers, lambda kind: targets(config, kind))
        for number, peer in enumerate(peers.peers):
            yield PeerJob(config, peer, peers, line, is_first=number == 0)


class PeerJob(JobBase):
    """One peer."""

    #: Its admin hears of the end as well as of each day of it.
    notifies_recovery = True
    #: That also helps who has no such job: the peer's admin.
    check_now = "status"

    def __init__(
        self,
        config: configparser.ConfigParser,
        peer: Peer,
        peers: Peers,
        line: OwnLine,
        *,
        is_first: bool,
    ) -> None:
        super().__init__(config, peer.name)
        self.peer = peer
        self.peers = peers
        self.line = line
        self.is_first = is_first

    def getStateName(self) -> str:
        """Return the name of its line: by it the peer is found again."""
        return self.peer.name

    def getName(self) -> str:
        """Return what people read: peer, and the name of its line."""
        return f"peer {self.peer.name}"

    def executeEvery(self) -> JobFrequency:
        """Return ``every`` of [peers]."""
        return self.peers.every

    def notifyOnFailureEvery(self) -> JobFailureNotificationFrequency:
        """Remind the peer's admin each day."""
        return JobFailureNotificationFrequency.EVERYDAY

    def numberFailuresBeforeNotification(self) -> int:
        """Return one: what must last is asked again before it fails."""
        return 1

    def contact(self) -> tuple[str, ...]:
        """Return the peer's admin, and alertcontact where ``copy`` says so."""
        own = self._alertcontact().split(",") if self.peers.copy else ()
        return tuple(dict.fromkeys((self.peer.contact, *(one.strip() for one in own))))

    def timeout(self) -> float:
        """Return what asking and looking at our own line take at most."""
        return 25.0

    def execute(self) -> bool:
        """Ask; fail for what the peer says, or for what it has not said for long."""
        asked = ask(self.peer, us=self._us(), before=self._signed_before())
        reading = asked.reading
        if reading is not None and reading.peer_status is not PeerStatus.WRONG:
            self.line.hear()
        if reading is None or not reading.peer_status.is_an_answer:
            self._not_answered(asked, reading.peer_status if reading else None)
        self.memory.pop("silent", None)
        self.memory.pop("line_down", None)
        if reading.signed and reading.answer is not None:
            self._note_signer(reading.answer.server)
        if reading.peer_status is PeerStatus.OK:
            return True
        raise CheckFailed(
            templates.ill(
                reading.peer_status, reading.answer, us=self._us(), url=self._where()
            )
        )

    def onFailure(self) -> bool:
        """Leave it to the default mail: the reason says who we are, and what to do."""
        return False

    def _not_answered(
        self, asked: FileScan, peer_status: PeerStatus | None
    ) -> NoReturn:
        if peer_status in (None, PeerStatus.WRONG) and self._line_is_down():
            self._tell_of_line()
            # What we could not hear is no silence of theirs.
            self.memory.pop("silent", None)
            raise CheckPending("nothing at all answers: our own line is down")
        self.memory.pop("line_down", None)
        silent = self.memory.get("silent")
        count = (silent if isinstance(silent, int) else 0) + 1
        self.memory["silent"] = min(count, self.peers.after)
        times = self.peers.after
        if count < times:
            what = templates.briefly(peer_status, asked.why)
            raise CheckPending(f"{what}; asked again ({count} of {times})")
        raise CheckFailed(
            templates.not_answered(
                peer_status, asked.why, us=self._us(), url=self._where(), times=times
            )
        )

    # Who signs.

    def _us(self) -> str:
        return self.config.get("general", "servername", fallback="")

    def _alertcontact(self) -> str:
        return self.config.get("general", "alertcontact")

    def _where(self) -> str:
        return http.shown_url(self.peer.url)

    def _signed_before(self) -> str:
        """Return by what name the peer has signed with this key; nothing if it has not.

        A new key, or another name for its line, and it is known anew.
        """
        signer = self.memory.get("signer")
        if not isinstance(signer, dict) or signer.get("key") != key_id(self.peer.key):
            return ""
        return str(signer.get("server", ""))

    def _note_signer(self, server: str) -> None:
        self.memory["signer"] = {"key": key_id(self.peer.key), "server": server}

    # Our own line.

    def _line_is_down(self) -> bool:
        return self.line.is_down(self.peer, self._checker.mail)

    def _tell_of_line(self) -> None:
        """Tell our own people, once, and by one of the peers' jobs only."""
        if not self.is_first or self.memory.get("line_down"):
            return
        now = datetime.now(UTC)
        self.memory["line_down"] = now.isoformat()
        self.sendEmail(*templates.line_down(now), self._alertcontact())
