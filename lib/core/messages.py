"""Messages to people: one about one job, or a bundle of many in one mail.

A message lies in its job's record until a server has accepted it.  While a bundle is
queued, the messages in it are not sent on their own; once it is marked as sent, they
are removed from their records.
"""

from msgspec.structs import replace

from lib.core.encoding import Count, Moment, Stored, check_moments
from lib.core.enums import (
    Decision,
    DeferralCode,
    DeliveryResult,
    MessageKind,
    Severity,
    Status,
)
from lib.core.sanitize import fit, scrubbed
from lib.core.secret import Secrets

#: The most of a mail's subject and body that is sent.
MAX_SUBJECT = 1000
MAX_BODY = 256 * 1024
#: The kind of message that each notifying decision queues.
KIND_OF = {
    Decision.FIRST_ALERT: MessageKind.ALERT,
    Decision.REMINDER: MessageKind.REMINDER,
    Decision.RECOVERY: MessageKind.RECOVERY,
}


class Merged(Stored, frozen=True):
    """The older messages that a merged message replaces."""

    #: How many times the job failed and recovered since the first message.
    times: Count
    since: Moment
    #: The time and the subject of each message it replaces.
    lines: tuple[str, ...] = ()
    #: True if a recipient was already notified of the first alert.
    notified: bool = False
    #: True if the job was OK, or only a warning, in between.
    recovered: bool = False
    #: True if it could not be checked, and never failed.
    is_unknown: bool = False


class Message(Stored, frozen=True):
    """A message that is queued from the moment its record is committed.

    ``message_id`` is random and never changes, so that a retry is the same mail.
    """

    message_id: str
    kind: MessageKind
    subject: str
    body: str
    to: tuple[str, ...]
    #: The time of the event; the mail's Date.
    born_at: Moment
    #: The message_id of the first alert of the same failure, for threading.
    thread: str | None = None
    #: Stored before each attempt, so that a crash cannot hide one.
    attempts: Count = 0
    retry_at: Moment | None = None
    #: Why the last attempt did not succeed.
    last_error: str = ""
    #: An attempt may have been accepted; its result is not known.
    in_doubt: bool = False
    #: Lines that come before the body: that it is late, and why.  Those of the last
    #: attempt.
    preface: str = ""
    #: Shortened because the server rejected it at full length.
    shortened: bool = False
    #: Since when the job is failing; None if the message is about no failure.
    since: Moment | None = None
    merged: Merged | None = None
    #: Why the job is failing, in one line and without the host; empty if it is about
    #: no failure.
    reason: str = ""
    #: The host that it is about, and its addresses that were tried, if there is one.
    host: str = ""
    addresses: tuple[str, ...] = ()
    #: How many jobs are unreachable meanwhile.
    dependents: Count = 0
    severity: Severity = Severity.CRITICAL
    #: The status of the job that it reports; None if it is about no failure or warning.
    status: Status | None = None
    #: The fallback of its channel has got it, too, or gets it as a contact.
    fell_back: bool = False
    #: It tells what no other message does, such as lines of a log: it is never merged.
    is_event: bool = False
    #: The window of its job, ``when``; that of its way holds as well.
    when: str = ""
    #: For what is split from another message, its id: what channels are told as the id.
    origin: str = ""
    #: It is the note that lists what the rate limit defers.
    lists_deferred: bool = False
    #: The addresses, and the ways of channels, that the other parts and copies of the
    #: same message are or were for, without those that will not take it.
    shared_with: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError if it holds what nothing of ours writes."""
        check_moments(self.born_at, self.retry_at, self.since)

    @property
    def text(self) -> str:
        """Return the body as it is sent."""
        return f"{self.preface}\n\n{self.body}" if self.preface else self.body

    @property
    def public_id(self) -> str:
        """Return the id that webhooks and commands get: a thread names it."""
        return self.origin or self.message_id

    @property
    def way(self) -> str:
        """Return the way it leaves: that of a channel (``oncall/ntfy``), or "": mail.

        A message whose contact names channels beside addresses is split before it
        leaves, and has none until then.
        """
        if len(self.to) != 1 or "@" in self.to[0]:
            return ""
        return self.to[0]


class RoundTripDelivery(Stored, frozen=True):
    """What became of a round-trip mail: a server accepted it, or rejected it."""

    message_id: str
    at: Moment
    #: Why it was rejected; empty if it was accepted.
    error: str = ""


class Bundle(Stored, frozen=True):
    """One mail for many messages, as the state folder keeps it."""

    message: Message
    #: The ids of its messages, which lie in their records.
    ids: tuple[str, ...]
    tried_at: Moment | None = None
    #: When it was finished; its messages may be removed from their records.
    sent_at: Moment | None = None
    #: How it ended.
    result: DeliveryResult = DeliveryResult.SENT


class Deferral(Stored, frozen=True):
    """Why a message is still queued; ``lib/core/deferral.py`` has the words."""

    code: DeferralCode = DeferralCode.NEXT_RUN
    #: When it is over; None if that is not known.
    until: Moment | None = None
    attempts: Count = 0
    #: Why the last attempt did not succeed.
    error: str = ""
    #: The subject of the bundle that the message is part of.
    bundle: str = ""


class DeferredMessage(Stored, frozen=True):
    """A message that a run left in the queue, as run.json lists it."""

    job: str
    kind: MessageKind
    subject: str
    to: tuple[str, ...]
    #: The time of its event, when it was queued.
    since: Moment
    why: Deferral = Deferral()
    #: Since when it may leave, or from when on: its window opens then; None: ``since``.
    due_at: Moment | None = None


def fit_mail(message: Message, secrets: Secrets) -> Message:
    """Return a message without secrets, its subject and body within limits."""
    body = scrubbed(message.body, secrets)
    if len(body) > MAX_BODY:
        body = f"{body[:MAX_BODY]}\n... (cut)\n"
    return replace(
        message,
        subject=fit(message.subject, secrets, MAX_SUBJECT),
        reason=fit(message.reason, secrets, MAX_SUBJECT),
        host=fit(message.host, secrets, MAX_SUBJECT),
        addresses=tuple(
            fit(address, secrets, MAX_SUBJECT) for address in message.addresses
        ),
        # A mail cannot hold lone surrogates.
        body=body.encode("utf-8", "replace").decode(),
    )
