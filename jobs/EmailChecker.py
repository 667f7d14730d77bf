"""Checks that alerts arrive: mails ourselves and looks for the mail over IMAP.

A round trip takes several runs.  The round-trip mail is queued like every alert; each
minute the mailbox is searched for it, until it is found or ``imapgrace`` is over.
``self.memory`` keeps it in between.  The texts are in ``lib/mail/proof.py``.
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

#: How many of our earlier round-trip mails are remembered, to delete them later.
MAX_TOKENS = 48
INTERVAL_S = {
    JobFrequency.MINUTE: 60,
    JobFrequency.HOUR: 3600,
    JobFrequency.DAY: 86400,
    JobFrequency.DAY_NOON: 86400,
}

BODY = """\
Checker sends this mail to itself to check that its alerts arrive.  It looks
for the mail over IMAP and deletes it.  You do not need to do anything.
"""


class EmailChecker(JobBase):
    """Sends round-trip mails, one after the other."""

    #: ``imapgrace`` ends each search, and with --nomail there is none.
    has_pending_limit = False
    is_across_network = True

    def executeEvery(self) -> JobFrequency:
        """Return ``imapevery``."""
        return JobFrequency(email_option(self.config, "imapevery"))

    def timeout(self) -> float:
        """Return how many seconds a search of the mailbox may take."""
        return 40

    def execute(self) -> bool:
        """Queue a round-trip mail, or look for the one that was sent."""
        missing = self._missing_setup()
        if missing:
            return self._not_set_up(missing)
        if self._checker.is_trial:
            return self._try()
        if self._checker.mail.holds:  # type: ignore[union-attr]  # see _missing_setup
            raise CheckPending("--nomail: this run sends no round-trip mail")
        now = datetime.now(UTC)
        round_trip_mail = self.memory.get("round_trip")
        if not isinstance(round_trip_mail, dict) or self._is_lost(round_trip_mail):
            self._queue_mail(now)
        if "taken" not in round_trip_mail:
            self._check_delivery(round_trip_mail, now)
        return self._look(round_trip_mail, now)

    def _missing_setup(self) -> str:
        """Return why round trips are not possible; empty if they are."""
        mail = self._checker.mail
        if mail is None or (mail.nomail and not mail.holds):
            return "nomail = yes: no mail is sent"
        if not mail.smtpserver:
            return "smtpserver is not set: no mail is sent"
        if mail.mailbox is None:
            return "imapserver is not set"
        if not mail.user:
            return "user is not set; the mailbox needs a login"
        if not self._address():
            return "neither user nor sender is a mail address"
        return ""

    def _not_set_up(self, why: str) -> bool:
        """Send one mail about it, if mail can be sent; the check itself is OK."""
        print(f"not set up: {why}")
        mail = self._checker.mail
        self.memory.pop("round_trip", None)
        self.memory["proof"] = {"result": "not set up", "why": why}
        can_send = mail is not None and mail.smtpserver and not mail.nomail
        if can_send and not self.memory.get("notified") and not self._checker.is_trial:
            server = self.config.get("email", "smtpserver")
            every = self.executeEvery().partition("_")[0]
            note = proof.not_set_up(why, server, f"every {every}")
            self.memory["notified"] = self.sendEmail(*note)
        return True

    def _try(self) -> bool:
        """Log in and list the folders; send nothing and change nothing."""
        from lib.mail import imap, mailbox

        try:
            names = mailbox.folders_of(self._mailbox(), self._deadline())
        except imap.LookFailed as error:
            raise CheckFailed(proof.reason(error.problem, str(error))) from error
        print(
            "The login works.  This run sends nothing.  Runs started by cron mail "
            f"{self._address()} and look for it in these folders, in this order:\n"
            f"{', '.join(names)}"
        )
        return True

    def _is_lost(self, round_trip_mail: dict[str, Any]) -> bool:
        """Return whether an unsent round-trip mail is no longer in the queue."""
        job_context = self._checker
        known = {message.message_id for message in job_context.queued}
        known |= {delivery.message_id for delivery in job_context.round_trips}
        return (
            "taken" not in round_trip_mail and round_trip_mail.get("token") not in known
        )

    def _queue_mail(self, now: datetime) -> NoReturn:
        token = os.urandom(16).hex()
        send_round_trip(self, token, f"round-trip mail {token}", BODY, self._address())
        self.memory["round_trip"] = {"token": token, "sent": now.isoformat()}
        sent = [*self.memory.get("tokens", ()), token]
        self.memory["tokens"] = sent[-MAX_TOKENS:]
        raise CheckPending("the round-trip mail is queued")

    def _check_delivery(self, round_trip_mail: dict[str, Any], now: datetime) -> None:
        """Keep when the round-trip mail was sent; raise if it was not sent yet."""
        token = str(round_trip_mail["token"])
        for delivery in self._checker.round_trips:
            if delivery.message_id == token:
                if delivery.error:
                    self._fail(
                        "send failed",
                        f"refused: {delivery.error}",
                        round_trip_mail,
                        now,
                    )
                round_trip_mail["taken"] = delivery.at.isoformat()
                return
        queued = [
            message for message in self._checker.queued if message.message_id == token
        ]
        why = queued[0].last_error or "it is queued"
        age = now - _moment(round_trip_mail["sent"])
        if age > timedelta(seconds=self._mailbox().grace_s):
            detail = f"{why} (for {age.total_seconds():.0f} s)"
            self._fail("send failed", detail, round_trip_mail, now, over=False)
        raise CheckPending(f"the round-trip mail was not sent yet: {why}")

    def _look(self, round_trip_mail: dict[str, Any], now: datetime) -> bool:
        from lib.mail import folders, imap, mailbox

        taken, grace_s = _moment(round_trip_mail["taken"]), self._mailbox().grace_s
        is_over = now - taken > timedelta(seconds=grace_s)
        wanted = proof.RoundTripMail(
            token=str(round_trip_mail["token"]),
            sent_at=taken,
            servername=self.config.get("general", "servername"),
            address=self._sender(),
            earlier=tuple(map(str, self.memory.get("tokens", ()))),
        )
        try:
            found = mailbox.look_for(self._mailbox(), wanted, self._deadline())
        except imap.LookFailed as error:
            if error.problem == "unreachable" and not is_over:
                raise CheckPending(f"the mailbox cannot be read: {error}") from error
            # The mail may be there already: it is looked for until the mailbox is back.
            is_away = error.problem == "unreachable"
            self._fail(
                error.problem,
                str(error),
                round_trip_mail,
                now,
                over=not is_away,
                ask_again=is_away,
            )
        if isinstance(found, mailbox.Nowhere):
            if not is_over:
                raise CheckPending("the round-trip mail was sent and not found yet")
            detail = proof.nowhere(grace_s, found.folders, found.unseen)
            self._fail("never", detail, round_trip_mail, now)
        # The mail server's clock may differ from ours, and counts whole seconds.
        arrived = min(max(found.arrived_at or now, taken), now)
        seconds = round((arrived - taken).total_seconds(), 1)
        round_trip_mail.update(
            arrived=arrived.isoformat(), seconds=seconds, hop=found.hop
        )
        if found.kind is folders.Kind.JUNK:
            self._fail("spam", repr(found.folder), round_trip_mail, now)
        return self._proven(round_trip_mail, found.folder, found.trouble, now)

    def _proven(
        self, round_trip_mail: dict[str, Any], folder: str, trouble: str, now: datetime
    ) -> bool:
        seconds, most_s = float(round_trip_mail["seconds"]), self._mailbox().slow_s
        result = "late" if seconds > most_s else "arrived"
        self.memory["proof"] = proof.proven(
            result,
            round_trip_mail,
            self._interval_s(),
            now,
            folder=folder,
            trouble=trouble,
        )
        self._close(round_trip_mail, result)
        if result == "late":
            detail = proof.late(seconds, most_s, round_trip_mail["hop"])
            raise CheckFailed(proof.reason("late", detail))
        return True

    def _fail(
        self,
        result: str,
        detail: str,
        round_trip_mail: dict[str, Any],
        now: datetime,
        *,
        over: bool = True,
        ask_again: bool = False,
    ) -> NoReturn:
        """Keep the failed proof and raise CheckFailed.

        With ``over`` the round trip has ended, and the next run starts another one.
        With ``ask_again`` that is the next minute run.
        """
        self.memory["proof"] = proof.failed(
            result, round_trip_mail, self._interval_s(), now, self.memory.get("proof")
        )
        if over:
            self._close(round_trip_mail, result)
        raise CheckFailed(proof.reason(result, detail), ask_again=ask_again)

    def _close(self, round_trip_mail: dict[str, Any], result: str) -> None:
        self.memory["history"] = proof.with_line(
            self.memory.get("history"), round_trip_mail, result
        )
        self.memory.pop("round_trip", None)

    # Settings.

    def _mailbox(self) -> Any:
        mail = self._checker.mail
        return mail.mailbox  # type: ignore[union-attr]  # see _missing_setup

    def _deadline(self) -> connect.Deadline:
        return connect.Deadline(self.timeout() - 2)

    def _interval_s(self) -> int:
        """Return the longest time in seconds between two proofs."""
        # A round trip starts when the one before has ended, after ``grace_s`` at most.
        every_s = INTERVAL_S[self.executeEvery()]
        return max(every_s, int(self._mailbox().grace_s))

    def _address(self) -> str:
        """Return the account's own address, empty if there is none."""
        mail = self._checker.mail
        names = (mail.user, mail.sender) if mail else ()
        return next((name for name in names if "@" in name), "")

    def _sender(self) -> str:
        mail = self._checker.mail
        return (mail.sender or mail.user) if mail else ""


def _moment(text: Any) -> datetime:
    return datetime.fromisoformat(str(text))
