"""-m drill: a failure that is none, told by a job's real policy to its real people.

Nothing of it is kept: no record, no history, no count.  The mail is the default one of
a first alert and says at its head and in its subject that it is a drill.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from lib.alerting import templates
from lib.core.enums import Decision, Status
from lib.core.jobs import Job
from lib.core.messages import Message
from lib.core.records import Record
from lib.core.results import CheckResult
from lib.core.settings import Settings

#: How long is looked for the mail in our own mailbox.
LOOK_FOR_S = 60.0
LOOK_EVERY_S = 5.0
NOTICE = """\
This is a drill: nothing is wrong.  Somebody at {server} tried whether an alert of this
job reaches you.  A real one would look like what follows.

"""


def message(settings: Settings, job: Job, now: datetime) -> Message:
    """Return the first alert of a failure that is none."""
    result = CheckResult(Status.FAILING, "this is a drill, nothing is wrong")
    found = templates.default_message(
        os.urandom(16).hex(), job, Record(job.key), result, Decision.FIRST_ALERT, now
    )
    notice = NOTICE.format(server=settings.servername)
    return replace(
        found, subject=f"DRILL: {found.subject}", body=f"{notice}{found.body}"
    )


def policy_lines(job: Job) -> Iterator[str]:
    """Yield when people would hear of a real failure, and who."""
    count = job.policy.failures
    in_a_row = "the first failure" if count == 1 else f"{count} failures in a row"
    yield f"{job.name} is looked at {templates.EVERY[job.frequency]}."
    yield f"People hear after {in_a_row}: {', '.join(job.contact)}."
    yield f"The next mail would come {templates.NEXT_MAIL[job.policy.notify]}."


def arrival(settings: Settings, sent: Message, limit_s: float = LOOK_FOR_S) -> str:
    """Return whether the mail arrived where we can see it; nothing if we cannot.

    That is in the mailbox of our own account.  The mail stays there.
    """
    box = settings.mail.mailbox
    ours = {one.lower() for one in (settings.mail.user, settings.mail.sender)}
    seen = [one for one in sent.to if one.lower() in ours]
    if box is None or not seen:
        return ""
    from lib.mail.folders import Kind
    from lib.mail.imap import LookFailed
    from lib.mail.mailbox import Found, look_for
    from lib.mail.roundtrip import RoundTripMail
    from lib.net.connect import Deadline

    round_trip_mail = RoundTripMail(sent.message_id, sent.born_at)
    ends_at = time.monotonic() + limit_s
    who, *_more = seen
    while time.monotonic() < ends_at:
        try:
            left = max(1.0, ends_at - time.monotonic())
            found = look_for(
                box, round_trip_mail, Deadline(min(20.0, left)), keeps=True
            )
        except LookFailed as error:
            return f"{who}: the mailbox could not be looked into: {error}"
        if isinstance(found, Found) and found.kind is Kind.JUNK:
            return f"{who}: it arrived as spam, in {found.folder}; so would an alert"
        if isinstance(found, Found):
            return f"{who}: it arrived, in {found.folder}"
        time.sleep(min(LOOK_EVERY_S, limit_s))
    return f"{who}: it is not there yet, after {limit_s:.0f} s"
