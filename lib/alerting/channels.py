"""Channels: the ways in which a message leaves.

A channel is a session for many mails: enter it, ``send`` each, leave it.  ``send``
returns when the mail was accepted and raises DeliveryError when it was not.  To add a
channel, write the class and give it a row in CHANNELS.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol, Self

from lib.core.sanitize import harmless
from lib.core.settings import Mail, Settings
from lib.mail.connection import ignore
from lib.mail.smtp import DEADLINE_S, SmtpChannel

logger = logging.getLogger(__name__)


class Channel(Protocol):
    """What a delivery session needs of a channel."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...

    @property
    def usable(self) -> bool:
        """Return whether the session can take another mail."""

    def send(self, sender: str, to: Iterable[str], data: bytes) -> dict[str, str]:
        """Return the reply for each rejected recipient.

        Raise DeliveryError if the mail was accepted for nobody.
        """


class LogChannel:
    """The channel of nomail: whole mails go to the log."""

    usable = True

    def __init__(
        self,
        _mail: Mail,
        on_step: Callable[[str], None] = ignore,
        _deadline_s: float = DEADLINE_S,
    ) -> None:
        self._on_step = on_step

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Leave; nothing was opened."""

    def send(self, sender: str, to: Iterable[str], data: bytes) -> dict[str, str]:
        """Log the mail as a person would read it."""
        from email import message_from_bytes
        from email.message import EmailMessage
        from email.policy import default

        mail = message_from_bytes(data, _class=EmailMessage, policy=default)
        lines = [f"{name}: {value}" for name, value in mail.items()]
        lines += ["", *mail.get_content().splitlines()]
        # Indented, so that no line of a mail looks like a line of the log.
        text = "\n".join(
            f"    {harmless(line.expandtabs())}".rstrip() for line in lines
        )
        who = ", ".join(to)
        logger.info("nomail: this mail to %s was not sent:\n%s", who, text)
        self._on_step(f"nomail: the mail to {who} was written to the log, not sent")
        return {}


#: Channels by name.
CHANNELS: dict[str, type[SmtpChannel] | type[LogChannel]] = {
    "smtp": SmtpChannel,
    "log": LogChannel,
}


def channel_for(
    settings: Settings,
    on_step: Callable[[str], None] = ignore,
    deadline_s: float = DEADLINE_S,
    account: Mail | None = None,
) -> Channel:
    """Return the channel for these settings, not yet open."""
    name = "log" if settings.mail.nomail else "smtp"
    return CHANNELS[name](account or settings.mail, on_step, deadline_s)
