"""Mail ourselves, and find the mail again: proof that alerts leave and arrive.

A probe is one job over many runs: it is sent by the road of every alert, and looked
for each minute until it is there, or ``imapgrace`` is over.  In between it is a few
lines in ``self.memory``.  What each verdict says is in ADVICE.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from lib.jobbase import (
    CheckFailed,
    CheckPending,
    JobBase,
    JobFrequency,
    email_option,
    reach,
    send_probe,
)

#: So many proofs are remembered, and so many probes that may still lie around.
MOST_HISTORY = 48
INTERVAL_S = {
    JobFrequency.MINUTE: 60,
    JobFrequency.HOUR: 3600,
    JobFrequency.DAY: 86400,
    JobFrequency.DAY_NOON: 86400,
}

#: What to do, by the verdict.
ADVICE = {
    "late": (
        "Alerts come as late as this.  The step that took longest is named above; if "
        "such delays are usual, raise [email] imapslow."
    ),
    "spam": (
        "Alerts probably go there too.  Mark the mail as no spam, or give the mailbox "
        "a filter that keeps mail from this sender, and check SPF and DKIM of its "
        "domain."
    ),
    "never": (
        "Alerts may be lost as well.  Send one with -m testmail and look for it in the "
        "mailbox by hand: a filter may delete or forward it, the account may be full, "
        "or its folder may be hidden from IMAP (in Gmail: Settings, Labels, Show in "
        "IMAP).  If mail often takes longer, raise [email] imapgrace."
    ),
    "send failed": (
        "No alert leaves either, unless there is a second account in [email backup].  "
        "-m testmail shows each step."
    ),
    "login failed": (
        "Whether mail arrives is not known until this works.  For Gmail: [email] pass "
        "is an app password, from https://myaccount.google.com/apppasswords"
    ),
    "folder missing": (
        "Whether mail arrives is not known until this works.  Without imapfolder every "
        "folder is looked into."
    ),
    "unreachable": (
        "Mail leaves, but whether it arrives is not known until the mailbox can be "
        "read."
    ),
}

NOT_SET_UP_NOTE = """\
Checker hands its mails to {server}, but nothing proves that they arrive.

Say in [email] where this account's own mail can be read, for Gmail:

    imapserver = imap.gmail.com

Then each hour one mail is sent to {user}, found there again, and deleted;
if it does not arrive, you hear of it, and your peers do.

This is said once.
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
        probe = self.memory.get("probe")
        if not isinstance(probe, dict) or self._is_lost(probe):
            return self._begin(now)
        return self._follow(probe, now)

    # How a probe comes and goes.

    def _begin(self, now: datetime) -> bool:
        token = os.urandom(16).hex()
        body = (
            "Checker mails itself to see that its alerts arrive.  It finds this mail\n"
            "again over IMAP and deletes it; you need not do anything.\n"
        )
        send_probe(self, token, f"probe {token}", body, self._address())
        self.memory["probe"] = {"token": token, "sent": now.isoformat()}
        sent = [*self.memory.get("tokens", ()), token]
        self.memory["tokens"] = sent[-MOST_HISTORY:]
        raise CheckPending("a mail to ourselves is about to leave")

    def _is_lost(self, probe: dict[str, Any]) -> bool:
        """Return whether nothing is known any more of a probe that had not left."""
        desk = self._checker
        known = {one.message_id for one in desk.owed}
        known |= {one.message_id for one in desk.gone}
        return "taken" not in probe and probe.get("token") not in known

    def _follow(self, probe: dict[str, Any], now: datetime) -> bool:
        token = str(probe["token"])
        grace_s = self._mailbox().grace_s
        gone = next(
            (one for one in self._checker.gone if one.message_id == token), None
        )
        if "taken" not in probe and gone is not None:
            if gone.error:
                return self._fail("send failed", f"refused: {gone.error}", probe, now)
            probe["taken"] = gone.at.isoformat()
        if "taken" not in probe:
            waits = next(
                one for one in self._checker.owed if one.message_id == token
            ).last_error
            age = now - _moment(probe["sent"])
            words = waits or "it waits for its turn"
            if age > timedelta(seconds=grace_s):
                text = f"it could not be sent for {age.total_seconds():.0f} s: {words}"
                return self._fail("send failed", text, probe, now, over=False)
            raise CheckPending(f"a mail to ourselves is to leave: {words}")
        return self._look(probe, now)

    def _look(self, probe: dict[str, Any], now: datetime) -> bool:
        from lib import mailbox

        taken = _moment(probe["taken"])
        is_over = now - taken > timedelta(seconds=self._mailbox().grace_s)
        what = mailbox.Probe(
            token=str(probe["token"]),
            sent_at=taken,
            servername=self.config.get("general", "servername"),
            address=self._comes_from(),
            earlier=tuple(map(str, self.memory.get("tokens", ()))),
        )
        deadline = reach.Deadline(self.timeout() - 2)
        try:
            found = mailbox.look_for(self._mailbox(), what, deadline)
        except mailbox.LookFailed as error:
            if error.verdict == "unreachable" and not is_over:
                raise CheckPending(f"the mailbox cannot be read: {error}") from error
            return self._fail(error.verdict, str(error), probe, now)
        if found is None:
            if not is_over:
                raise CheckPending("a mail to ourselves is under way")
            late = f"within {self._mailbox().grace_s:.0f} s"
            return self._fail("never", f"it did not arrive {late}", probe, now)
        if found.trouble:
            print(found.trouble)
        # The mailbox counts whole seconds, by a clock of its own.
        arrived = min(max(found.arrived_at or now, taken), now)
        seconds = round((arrived - taken).total_seconds(), 1)
        probe.update(arrived=arrived.isoformat(), seconds=seconds, hop=found.hop)
        if found.kind is mailbox.Kind.JUNK:
            return self._fail(
                "spam", f"it arrived in the spam folder {found.folder!r}", probe, now
            )
        return self._proven(probe, found.folder, now)

    def _proven(self, probe: dict[str, Any], folder: str, now: datetime) -> bool:
        seconds = float(probe["seconds"])
        slow_s = self._mailbox().slow_s
        verdict = "late" if seconds > slow_s else "arrived"
        self.memory["proof"] = {
            "proved_at": now.isoformat(),
            "verdict": verdict,
            "interval_s": self._interval_s(),
            "seconds": seconds,
            "hop": probe["hop"],
            "folder": folder,
        }
        self._close(probe, verdict)
        if verdict == "late":
            longest = f"; the longest step: {probe['hop']}" if probe["hop"] else ""
            raise CheckFailed(
                f"our own mail arrived late, after {seconds:.0f} s (limit "
                f"{slow_s:.0f}){longest}\n{ADVICE['late']}"
            )
        return True

    def _fail(
        self,
        verdict: str,
        text: str,
        probe: dict[str, Any],
        now: datetime,
        *,
        over: bool = True,
    ) -> bool:
        """Keep what failed, and raise it; ``over``: the next probe is another one."""
        kept = self.memory.get("proof") or {}
        proof = {name: kept[name] for name in ("proved_at",) if name in kept}
        self.memory["proof"] = {
            **proof,
            "failed_at": now.isoformat(),
            "verdict": verdict,
            "interval_s": self._interval_s(),
            "seconds": probe.get("seconds"),
            "hop": probe.get("hop", ""),
        }
        if over:
            self._close(probe, verdict)
        words = f"our own mail did not come through: {verdict}: {text}"
        raise CheckFailed(f"{words}\n{ADVICE[verdict]}")

    def _close(self, probe: dict[str, Any], verdict: str) -> None:
        line = [
            probe.get("taken") or probe.get("sent"),
            probe.get("arrived"),
            probe.get("seconds"),
            verdict,
            probe.get("hop", ""),
        ]
        history = [*self.memory.get("history", ()), line]
        self.memory["history"] = history[-MOST_HISTORY:]
        self.memory.pop("probe", None)

    # What it works with.

    def _mailbox(self) -> Any:
        return self._checker.mail.mailbox  # type: ignore[union-attr]  # see _why_not

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

    def _why_not(self) -> str:
        """Return why nothing can be proven here; empty if it can."""
        mail = self._checker.mail
        if mail is None or (mail.nomail and not mail.holds):
            return "nomail = yes: no mail leaves"
        if not mail.smtpserver:
            return "no smtpserver: no mail leaves"
        if mail.mailbox is None:
            return "no imapserver: nothing proves that mail arrives"
        if not self._address():
            return "neither user nor sender is an address to mail ourselves at"
        return ""

    def _not_set_up(self, why: str) -> bool:
        """Say so once, where anybody can hear it; it is no trouble of each hour."""
        print(f"not set up: {why}")
        mail = self._checker.mail
        said = bool(self.memory.get("said"))
        self.memory.clear()
        self.memory["proof"] = {"verdict": "not set up", "why": why}
        can_hear = mail is not None and mail.smtpserver and not mail.nomail
        if can_hear and not said and not self._checker.is_trial:
            server, user = self.config.get("email", "smtpserver"), self._address()
            words = NOT_SET_UP_NOTE.format(server=server, user=user or "the account")
            said = self.sendEmail("nothing proves that mails arrive", words)
        if said:
            self.memory["said"] = True
        return True

    def _try(self) -> bool:
        """Log in and look at the folders; what needs state and mail is not done."""
        from lib import mailbox

        try:
            names = mailbox.folders_of(
                self._mailbox(), reach.Deadline(self.timeout() - 2)
            )
        except mailbox.LookFailed as error:
            text = f"{error.verdict}: {error}"
            raise CheckFailed(f"{text}\n{ADVICE[error.verdict]}") from error
        print(
            f"This run sends nothing: cron's mails {self._address()} and looks for the "
            f"mail in these folders, in this order:\n{', '.join(names)}"
        )
        return True


def _moment(text: Any) -> datetime:
    return datetime.fromisoformat(str(text))
