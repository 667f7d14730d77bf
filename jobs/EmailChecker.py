"""Mail ourselves, and find the mail again: proof that alerts leave and arrive.

A probe is one job over many runs: it is sent by the road of every alert, and looked
for each minute until it is there, or ``imapgrace`` is over.  In between it is a few
lines in ``self.memory``.  What each verdict says is in ``lib/mail/proof.py``.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from lib.jobbase import (
    CheckFailed,
    CheckPending,
    JobBase,
    JobFrequency,
    email_option,
    send_round_trip,
)
from lib.mail import proof
from lib.net import connect

#: So many probes may still lie around.
MAX_TOKENS = 48
INTERVAL_S = {
    JobFrequency.MINUTE: 60,
    JobFrequency.HOUR: 3600,
    JobFrequency.DAY: 86400,
    JobFrequency.DAY_NOON: 86400,
}

BODY = """\
Checker mails itself to see that its alerts arrive.  It finds this mail
again over IMAP and deletes it; you need not do anything.
"""


class EmailChecker(JobBase):
    """One round trip after the other."""

    def executeEvery(self) -> JobFrequency:
        """Return ``imapevery``."""
        return JobFrequency(email_option(self.config, "imapevery"))

    def timeout(self) -> float:
        """Return how long one look into the mailbox may take."""
        return 40

    def execute(self) -> bool:
        """Send a probe, or look for the one that is under way."""
        why_not = self._why_not()
        if why_not:
            return self._not_set_up(why_not)
        if self._checker.is_trial:
            return self._try()
        if self._checker.mail.holds:  # type: ignore[union-attr]  # see _why_not
            raise CheckPending("--nomail: no probe is sent in this run")
        now = datetime.now(UTC)
        round_trip_mail = self.memory.get("probe")
        if not isinstance(round_trip_mail, dict) or self._is_lost(round_trip_mail):
            self._begin(now)
        if "taken" not in round_trip_mail:
            self._leave(round_trip_mail, now)
        return self._look(round_trip_mail, now)

    # How a probe comes and goes.

    def _begin(self, now: datetime) -> NoReturn:
        token = os.urandom(16).hex()
        send_round_trip(self, token, f"probe {token}", BODY, self._address())
        self.memory["probe"] = {"token": token, "sent": now.isoformat()}
        sent = [*self.memory.get("tokens", ()), token]
        self.memory["tokens"] = sent[-MAX_TOKENS:]
        raise CheckPending("a mail to ourselves is about to leave")

    def _is_lost(self, round_trip_mail: dict[str, Any]) -> bool:
        """Return whether nothing is known any more of a probe that had not left."""
        job_context = self._checker
        known = {one.message_id for one in job_context.queued}
        known |= {one.message_id for one in job_context.round_trips}
        return (
            "taken" not in round_trip_mail and round_trip_mail.get("token") not in known
        )

    def _leave(self, round_trip_mail: dict[str, Any], now: datetime) -> None:
        """Note that the probe has left; else fail, or ask to be asked again."""
        token = str(round_trip_mail["token"])
        for gone in self._checker.round_trips:
            if gone.message_id == token:
                if gone.error:
                    self._fail(
                        "send failed", f"refused: {gone.error}", round_trip_mail, now
                    )
                round_trip_mail["taken"] = gone.at.isoformat()
                return
        waits = [one for one in self._checker.queued if one.message_id == token]
        why = waits[0].last_error or "it waits for its turn"
        age = now - _moment(round_trip_mail["sent"])
        if age > timedelta(seconds=self._mailbox().grace_s):
            seen = f"{why} (for {age.total_seconds():.0f} s now)"
            self._fail("send failed", seen, round_trip_mail, now, over=False)
        raise CheckPending(f"a mail to ourselves is to leave: {why}")

    def _look(self, round_trip_mail: dict[str, Any], now: datetime) -> bool:
        from lib.mail import folders, imap, mailbox, roundtrip

        taken, grace_s = _moment(round_trip_mail["taken"]), self._mailbox().grace_s
        is_over = now - taken > timedelta(seconds=grace_s)
        what = roundtrip.RoundTripMail(
            token=str(round_trip_mail["token"]),
            sent_at=taken,
            servername=self.config.get("general", "servername"),
            address=self._comes_from(),
            earlier=tuple(map(str, self.memory.get("tokens", ()))),
        )
        try:
            found = mailbox.look_for(self._mailbox(), what, self._deadline())
        except imap.LookFailed as error:
            if error.verdict == "unreachable" and not is_over:
                raise CheckPending(f"the mailbox cannot be read: {error}") from error
            self._fail(error.verdict, str(error), round_trip_mail, now)
        if isinstance(found, mailbox.Nowhere):
            if not is_over:
                raise CheckPending("a mail to ourselves is under way")
            seen = proof.nowhere(grace_s, found.folders, found.unseen)
            self._fail("never", seen, round_trip_mail, now)
        # The mailbox counts whole seconds, by a clock of its own.
        arrived = min(max(found.arrived_at or now, taken), now)
        seconds = round((arrived - taken).total_seconds(), 1)
        round_trip_mail.update(
            arrived=arrived.isoformat(), seconds=seconds, hop=found.hop
        )
        if found.kind is folders.Kind.JUNK:
            self._fail("spam", repr(found.folder), round_trip_mail, now)
        return self._proven(round_trip_mail, found.folder, found.trouble, now)

    # What is kept of it.

    def _proven(
        self, round_trip_mail: dict[str, Any], folder: str, trouble: str, now: datetime
    ) -> bool:
        seconds, most_s = float(round_trip_mail["seconds"]), self._mailbox().slow_s
        verdict = "late" if seconds > most_s else "arrived"
        self.memory["proof"] = proof.proven(
            verdict,
            round_trip_mail,
            self._interval_s(),
            now,
            folder=folder,
            trouble=trouble,
        )
        self._close(round_trip_mail, verdict)
        if verdict == "late":
            seen = proof.late(seconds, most_s, round_trip_mail["hop"])
            raise CheckFailed(proof.reason("late", seen))
        return True

    def _fail(
        self,
        verdict: str,
        seen: str,
        round_trip_mail: dict[str, Any],
        now: datetime,
        *,
        over: bool = True,
    ) -> NoReturn:
        """Keep what failed, and raise it; ``over``: the next probe is another one."""
        self.memory["proof"] = proof.failed(
            verdict, round_trip_mail, self._interval_s(), now, self.memory.get("proof")
        )
        if over:
            self._close(round_trip_mail, verdict)
        raise CheckFailed(proof.reason(verdict, seen))

    def _close(self, round_trip_mail: dict[str, Any], verdict: str) -> None:
        self.memory["history"] = proof.with_line(
            self.memory.get("history"), round_trip_mail, verdict
        )
        self.memory.pop("probe", None)

    # What it works with.

    def _mailbox(self) -> Any:
        return self._checker.mail.mailbox  # type: ignore[union-attr]  # see _why_not

    def _deadline(self) -> connect.Deadline:
        return connect.Deadline(self.timeout() - 2)

    def _interval_s(self) -> int:
        """Return how far apart two proofs may be."""
        # The next probe leaves when the one before is there, or can come no more.
        every_s = INTERVAL_S[self.executeEvery()]
        return max(every_s, int(self._mailbox().grace_s))

    def _address(self) -> str:
        """Return the account's own address, empty if there is none."""
        mail = self._checker.mail
        given = (mail.user, mail.sender) if mail else ()
        return next((one for one in given if "@" in one), "")

    def _comes_from(self) -> str:
        mail = self._checker.mail
        return (mail.sender or mail.user) if mail else ""

    # Where it cannot work.

    def _why_not(self) -> str:
        """Return why nothing can be proven here; empty if it can."""
        mail = self._checker.mail
        if mail is None or (mail.nomail and not mail.holds):
            return "nomail = yes: no mail leaves"
        if not mail.smtpserver:
            return "no smtpserver: no mail leaves"
        if mail.mailbox is None:
            return "there is no imapserver"
        if not mail.user:
            return "there is no user, and a mailbox wants a login"
        if not self._address():
            return "neither user nor sender is an address to mail ourselves at"
        return ""

    def _not_set_up(self, why: str) -> bool:
        """Say so once, where anybody can hear it; it is no trouble of each hour."""
        print(f"not set up: {why}")
        mail = self._checker.mail
        self.memory.pop("probe", None)
        self.memory["proof"] = {"verdict": "not set up", "why": why}
        can_hear = mail is not None and mail.smtpserver and not mail.nomail
        if can_hear and not self.memory.get("said") and not self._checker.is_trial:
            server = self.config.get("email", "smtpserver")
            every = self.executeEvery().partition("_")[0]
            note = proof.not_set_up(why, server, f"each {every}")
            self.memory["said"] = self.sendEmail(*note)
        return True

    def _try(self) -> bool:
        """Log in and look at the folders; what needs state and mail is not done."""
        from lib.mail import imap, mailbox

        try:
            names = mailbox.folders_of(self._mailbox(), self._deadline())
        except imap.LookFailed as error:
            raise CheckFailed(proof.reason(error.verdict, str(error))) from error
        print(
            f"This run sends nothing: cron's mails {self._address()} and looks for the "
            f"mail in these folders, in this order:\n{', '.join(names)}"
        )
        return True


def _moment(text: Any) -> datetime:
    return datetime.fromisoformat(str(text))
