"""The nouns of Checker: enums for choices, frozen dataclasses for facts.

Nothing here acts, and nothing of ours is imported.  A value that two rooms pass
to each other has its class here; one of which there may be thousands has slots.

The text of every mail that Checker writes itself.

Pure: facts in, subject and body out.  A mail is read by somebody who was woken by it:
the subject says what and why, the first lines since when and how often, then what
comes next and how to look.

One mail for many: how it is kept, and what it says.

Pure.  While a digest waits to be sent its messages are not sent otherwise; once it is
marked as sent they only have to leave their records.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from lib.core.enums import Decision, DeliveryResult, MessageKind
from lib.core.sanitize import fit, scrubbed


@dataclass(frozen=True, slots=True)
class Merged:
    """What a message stands for beside its own news."""

    #: How many problems it tells of, since the first began.
    times: int
    since: datetime
    #: The moment and the subject of each message that it stands for.
    lines: tuple[str, ...] = ()
    #: Somebody had heard of the first of them.
    notified: bool = False
    #: One of them may have been taken after all.
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """Something somebody is owed, from the moment it is committed.

    ``message_id`` is random and stays: a mail that is sent again is the same mail.
    """

    message_id: str
    kind: MessageKind
    subject: str
    body: str
    to: tuple[str, ...]
    #: The time of the event; the mail's Date.
    born_at: datetime
    #: The first alert of the same trouble, for threading.
    thread: str | None = None
    #: Counted on disk before each attempt, so that a crash cannot hide one.
    attempts: int = 0
    retry_at: datetime | None = None
    #: Why the last attempt did not succeed.
    last_error: str = ""
    #: Attempted, and it is not known that it was not taken.
    in_doubt: bool = False
    #: Cut down because the server would not have it as it was.
    shortened: bool = False
    #: Since when the job was failing; None where it tells of no problem.
    since: datetime | None = None
    merged: Merged | None = None
    #: Why the job is failing, in one line; empty where it tells of no problem.
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Gone:
    """What became of a probe: a server took it, or refused it for good."""

    message_id: str
    at: datetime
    #: Why it was refused; empty where it was taken.
    error: str = ""


KIND_OF = {
    Decision.FIRST_ALERT: MessageKind.ALERT,
    Decision.REMINDER: MessageKind.REMINDER,
    Decision.RECOVERY: MessageKind.RECOVERY,
}


@dataclass(frozen=True)
class Bundle:
    """One mail for many messages, as it is kept: digests/ID.json.

    While it waits to be sent its messages are not sent otherwise.
    """

    message: Message
    #: The ids of the messages, which lie in the records.
    ids: tuple[str, ...]
    tried_at: datetime | None = None
    #: Nobody is owed it any more; its messages may leave their records.
    sent_at: datetime | None = None
    #: What became of it then.
    result: DeliveryResult = DeliveryResult.SENT


#: As much of a mail's subject and of its text as is sent.
MAX_SUBJECT = 1000
MAX_BODY = 256 * 1024


def fit_mail(message: Message, secrets: tuple[str, ...]) -> Message:
    """Return a mail as it may be sent."""
    body = scrubbed(message.body, secrets)
    if len(body) > MAX_BODY:
        body = f"{body[:MAX_BODY]}\n... (cut)\n"
    return replace(
        message,
        subject=fit(message.subject, secrets, MAX_SUBJECT),
        reason=fit(message.reason, secrets, MAX_SUBJECT),
        # Halves of surrogate pairs are in no mail.
        body=body.encode("utf-8", "replace").decode(),
    )
