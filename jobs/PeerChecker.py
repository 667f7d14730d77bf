"""Checks other instances of Checker, the peers, and mails their admins.

One job per line of ``[peers]``.  A peer that reports a problem with mail or jobs is
failing at once.  A peer without a valid answer is asked again in the next minute runs
and is failing after ``after`` attempts.  If no other target answers either, our own
network connection is down: we get one mail, and the peers' admins none.
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
    JobSpawner,
    Peer,
    Peers,
    peers_of,
)
from lib.net.address import shown_url
from lib.peers import templates
from lib.peers.answer import PeerStatus, key_id
from lib.peers.client import PeerReply, ask
from lib.peers.uplink import Uplink


class PeerChecker(JobSpawner):
    """One job per line of [peers]."""

    def get_sub_jobs(self, config: configparser.ConfigParser) -> Iterator[JobBase]:
        """Yield a job for each peer."""
        peers = peers_of(config)
        uplink = Uplink(peers.peers)
        for number, peer in enumerate(peers.peers):
            yield PeerJob(config, peer, peers, uplink, is_first=number == 0)


class PeerJob(JobBase):
    """One peer."""

    #: The peer's admin is notified of the recovery too.
    notifies_recovery = True
    is_across_network = True
    #: The peer's admin does not have this job, so "run" would not help.
    check_now = "status"

    def __init__(
        self,
        config: configparser.ConfigParser,
        peer: Peer,
        peers: Peers,
        uplink: Uplink,
        *,
        is_first: bool,
    ) -> None:
        super().__init__(config, peer.name)
        self.peer = peer
        self.peers = peers
        self.uplink = uplink
        self.is_first = is_first

    def getStateName(self) -> str:
        """Return the name of the peer's line in [peers]."""
        return self.peer.name

    def getName(self) -> str:
        """Return the name for people: peer, and the name of its line."""
        return f"peer {self.peer.name}"

    def executeEvery(self) -> str:
        """Return ``every`` of [peers]."""
        return self.peers.every

    def notifyOnFailureEvery(self) -> JobFailureNotificationFrequency:
        """Return EVERYDAY: the peer's admin gets a reminder every day."""
        return JobFailureNotificationFrequency.EVERYDAY

    def numberFailuresBeforeNotification(self) -> int:
        """Return one: a peer without an answer is asked again before it is failing."""
        return 1

    def contact(self) -> tuple[str, ...]:
        """Return the peer's admin, and alertcontact where ``copy`` says so."""
        own = self._alertcontact().split(",") if self.peers.copy else ()
        addresses = (self.peer.contact, *(address.strip() for address in own))
        return tuple(dict.fromkeys(addresses))

    def timeout(self) -> float:
        """Return how many seconds asking and checking our own connection may take."""
        return 25.0

    def execute(self) -> bool:
        """Fail if the peer reports a problem, or has not answered for some time."""
        asked = ask(self.peer, us=self._us(), before=self._signed_before())
        reading = asked.reading
        if reading is not None and reading.peer_status is not PeerStatus.WRONG:
            self.uplink.note_answer()
        if reading is None or not reading.peer_status.is_an_answer:
            self._not_answered(asked, reading.peer_status if reading else None)
        self.memory.pop("silent", None)
        self.memory.pop("uplink_down", None)
        if reading.signed and reading.answer is not None:
            self._note_signer(reading.answer.server)
        if reading.peer_status is PeerStatus.OK:
            return True
        raise CheckFailed(
            templates.problem(
                reading.peer_status, reading.answer, us=self._us(), url=self._url()
            )
        )

    def onFailure(self) -> bool:
        """Return False, so that the default mail goes out with the reason."""
        return False

    def _not_answered(
        self, asked: PeerReply, peer_status: PeerStatus | None
    ) -> NoReturn:
        if peer_status in (None, PeerStatus.WRONG) and self._uplink_is_down():
            self._notify_of_uplink()
            # Failed attempts count only while our own connection works.
            self.memory.pop("silent", None)
            raise CheckPending("nothing answers: our own network connection is down")
        self.memory.pop("uplink_down", None)
        silent = self.memory.get("silent")
        count = (silent if isinstance(silent, int) else 0) + 1
        self.memory["silent"] = min(count, self.peers.after)
        times = self.peers.after
        if count < times:
            what = templates.answer_line(peer_status, asked.why)
            raise CheckPending(f"{what}; trying again ({count} of {times} attempts)")
        raise CheckFailed(
            templates.not_answered(
                peer_status, asked.why, us=self._us(), url=self._url(), times=times
            )
        )

    # The names of both sides.

    def _us(self) -> str:
        return self.config.get("general", "servername", fallback="")

    def _alertcontact(self) -> str:
        return self.config.get("general", "alertcontact")

    def _url(self) -> str:
        return shown_url(self.peer.url)

    def _signed_before(self) -> str:
        """Return the name with which the peer signed last; empty if it never did.

        Forgotten when the key or the name of the line changes.
        """
        signer = self.memory.get("signer")
        if not isinstance(signer, dict) or signer.get("key") != key_id(
            self.peer.key.reveal()
        ):
            return ""
        return str(signer.get("server", ""))

    def _note_signer(self, server: str) -> None:
        self.memory["signer"] = {
            "key": key_id(self.peer.key.reveal()),
            "server": server,
        }

    # Our own connection.

    def _uplink_is_down(self) -> bool:
        """Return whether nothing answers; with anchors, the run asks these instead."""
        context = self._checker
        if self.config.get("general", "anchors", fallback=""):
            return False
        return self.uplink.is_down(self.peer, context.mail, context.ini)

    def _notify_of_uplink(self) -> None:
        """Mail alertcontact once; only the job of the first peer does."""
        if not self.is_first or self.memory.get("uplink_down"):
            return
        now = datetime.now(UTC)
        self.memory["uplink_down"] = now.isoformat()
        self.sendEmail(
            *templates.uplink_down(now, self._checker.zone), self._alertcontact()
        )
