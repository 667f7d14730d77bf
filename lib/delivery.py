"""Parcels -> the mail server, in the child process of the outbox.

What the first account cannot take goes by the second one, ``[email backup]``, if there
is one.  A probe does not: it is to prove the first.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from lib.channels import Channel, NotSent, channel_for, compose, sender_of
from lib.child import Tell
from lib.fates import Refusal
from lib.model import Mail, MessageKind, Settings
from lib.owed import Parcel
from lib.ways import Ways
from lib.wording import first_line, wrapped

#: The end of a mail that went by the second account.
BY_SECOND = (
    "This mail came by the second account, [email backup].  Why not by the first: {why}"
)


def deliver(
    settings: Settings,
    parcels: Iterable[Parcel],
    tell: Tell,
    limit_s: float,
    ways: Ways | None = None,
) -> None:
    """Hand parcels to the channel, in the child; tell of each step and each fate.

    What the first account cannot take goes by the second, if there is one that may be
    used, and says so.  A probe is handed to the first one whatever is known against it:
    only that can show that its mail arrives again.
    """
    ends_at = time.monotonic() + limit_s
    left = list(parcels)
    ways = ways or Ways(settings.mail.backup)
    backup = ways.second
    if backup is None:
        _Session(settings, tell, limit_s).carry_out(left)
        return
    passed = [one for one in left if ways.why_not_first and not _is_probe(one)]
    tried = [one for one in left if one not in passed]
    over: list[Parcel] = []
    why_not_first = ways.why_not_first
    if tried:
        first = _Session(settings, tell, limit_s / 2, has_another=True)
        over = first.carry_out(tried)
        why_not_first = why_not_first or first.why
        if first.refusal:
            tell(["refused", first.refusal])
        probes = [one for one in over if _is_probe(one)]
        _tell_unsent(probes, {"why": first.why}, tell)
    others = [*passed, *(one for one in over if not _is_probe(one))]
    if others:
        left_s = ends_at - time.monotonic()
        second = _Session(settings, tell, left_s, account=backup)
        second.note = BY_SECOND.format(why=first_line(why_not_first))
        second.carry_out(others)


def _is_probe(parcel: Parcel) -> bool:
    return parcel.message.kind is MessageKind.PROBE


class _Session:
    """One session of one account, in the child.

    After a mail that was not taken, the younger ones of its job to the same people
    wait for it.
    """

    def __init__(
        self,
        settings: Settings,
        tell: Tell,
        limit_s: float,
        *,
        account: Mail | None = None,
        has_another: bool = False,
    ) -> None:
        self._settings = settings
        self._tell = tell
        self._limit_s = limit_s
        self._account = account
        self._via = "second" if account else ""
        #: What is not taken because of the account is left to another one.
        self._has_another = has_another
        #: What the mails say of this account.
        self.note = ""
        #: Why the account would not do, and as a frame can hold it.
        self.why = ""
        self.refusal: dict[str, Any] = {}

    def carry_out(self, parcels: list[Parcel]) -> list[Parcel]:
        """Return what is left to another account, its fate not told."""
        self._left = list(parcels)
        self._over: list[Parcel] = []
        why: dict[str, Any] = {"why": "the server ended the session"}
        try:
            channel = channel_for(
                self._settings,
                lambda line: self._tell(["step", line]),
                self._limit_s,
                self._account,
            )
            with channel as session:
                why = self._speak(session) or why
        except NotSent as error:
            why = _told(error)
        if self._left and self._has_another:
            self._leave(self._left, why)
        else:
            # What was said to the recipients of one mail is nothing to the others.
            only = {**why, "refused": {}, "permanent": False}
            _tell_unsent(self._left, only, self._tell, self._via)
        return self._over

    def _speak(self, session: Channel) -> dict[str, Any]:
        """Hand over while the session lasts; return the last refusal."""
        sender = sender_of(self._settings, self._account)
        why: dict[str, Any] = {}
        held_back: dict[Any, bool] = {}
        while self._left and session.usable:
            parcel = self._left.pop(0)
            message = parcel.message
            name = message.message_id
            job = (parcel.key or name, message.to)
            if job in held_back:
                if held_back[job]:
                    self._over.append(parcel)
                else:
                    later = {"why": "an earlier mail comes first"}
                    self._tell(["unsent", name, later, self._via])
                continue
            if self.note:
                body = f"{message.body.rstrip()}\n\n{wrapped(self.note)}\n"
                message = replace(message, body=body)
            try:
                data = compose(message, self._settings, self._account)
                self._tell(["begun", name])
                refused = session.send(sender, message.to, data)
                self._tell(["sent", name, refused, self._via])
            except NotSent as error:
                why = _told(error)
                is_ours = Refusal(**why, begun=True).is_about_us
                held_back[job] = self._has_another and is_ours
                if held_back[job]:
                    self._leave([parcel], why)
                else:
                    self._tell(["unsent", name, {**why, "begun": True}, self._via])
        return why

    def _leave(self, parcels: Iterable[Parcel], why: dict[str, Any]) -> None:
        self._over += parcels
        self.why = str(why["why"])
        self.refusal = {**why, "refused": {}, "permanent": False}


def _tell_unsent(
    parcels: Iterable[Parcel], why: Mapping[str, Any], tell: Tell, via: str = ""
) -> None:
    for parcel in parcels:
        tell(["unsent", parcel.message.message_id, dict(why), via])


def _told(error: Any) -> dict[str, Any]:
    """Return a NotSent as a frame can hold it."""
    return {
        "why": str(error),
        "step": error.step,
        "code": error.code,
        "status": error.status,
        "permanent": error.permanent,
        "refused": error.refused,
    }
