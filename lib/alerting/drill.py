"""-m drill: send a job's first alert, marked as a drill, to its real contacts.

Nothing of it is recorded.
"""

from __future__ import annotations

import os
import time
from datetime import datetime

from msgspec.structs import replace

from lib.alerting import templates
from lib.core import schedule
from lib.core.enums import Decision, Status
from lib.core.hours import NO_WINDOWS, Windows
from lib.core.jobs import Job
from lib.core.messages import Message
from lib.core.records import Record
from lib.core.results import CheckResult
from lib.core.settings import Settings
from lib.core.text import failures_words

#: How long to look for the mail in our own mailbox.
LOOK_FOR_S = 60.0
LOOK_EVERY_S = 5.0
NOTICE = """\
This is a drill: nothing is wrong.  It was sent by checker.py -m drill on {server}, to
test whether alerts of this job reach you.  A real alert looks like this:

"""


def message(settings: Settings, job: Job, now: datetime) -> Message:
    """Return the default alert of a made-up failure."""
    result = CheckResult(Status.FAILING, "this is a drill, nothing is wrong")
    facts = tuple(templates.page_line(settings, job.key))
    alert = templates.default_message(
        os.urandom(16).hex(),
        job,
        Record(job.key),
        result,
        Decision.FIRST_ALERT,
        templates.MailContext(now, settings.zone, settings.command, facts),
    )
    notice = NOTICE.format(server=settings.servername)
    return replace(
        alert, subject=f"DRILL: {alert.subject}", body=f"{notice}{alert.body}"
    )


def policy_rows(job: Job, windows: Windows = NO_WINDOWS) -> list[dict[str, str]]:
    """Return when a real failure would be notified, and to whom, as rows."""
    names = dict.fromkeys("" if "@" in to else to for to in job.contact)
    within = [job.policy.when] if job.policy.when else []
    within += [
        f"{when}, to {name or 'mail addresses'}"
        for name in names
        if (when := windows.by_name.get(name))
    ]
    after = failures_words(job.policy.failures)
    return [
        {"item": "checked", "value": schedule.words(job.schedule)},
        {"item": "first alert", "value": f"after {after}, to {', '.join(job.contact)}"},
        {"item": "next mail", "value": templates.NEXT_MAIL[job.policy.notify]},
        *({"item": "within", "value": words} for words in within),
    ]


def arrival(settings: Settings, sent: Message, limit_s: float = LOOK_FOR_S) -> str:
    """Return whether the mail arrived in our own mailbox; nothing if it went elsewhere.

    The mail stays there.
    """
    box = settings.mail.mailbox
    ours = {address.lower() for address in (settings.mail.user, settings.mail.sender)}
    seen = [address for address in sent.to if address.lower() in ours]
    if box is None or not seen:
        return ""
    from lib.mail.folders import Kind
    from lib.mail.imap import LookFailed
    from lib.mail.mailbox import Found, look_for
    from lib.mail.proof import RoundTripMail
    from lib.net.connect import Deadline

    round_trip_mail = RoundTripMail(sent.message_id, sent.born_at)
    ends_at = time.monotonic() + limit_s
    who, *_more = seen
    while time.monotonic() < ends_at:
        try:
            left = max(1.0, ends_at - time.monotonic())
            place = look_for(
                box, round_trip_mail, Deadline(min(20.0, left)), keeps=True
            )
        except LookFailed as error:
            return f"{who}: the mailbox cannot be read: {error}"
        if isinstance(place, Found) and place.kind is Kind.JUNK:
            return f"{who}: arrived in the spam folder {place.folder}; alerts will too"
        if isinstance(place, Found):
            return f"{who}: arrived in {place.folder}"
        time.sleep(min(LOOK_EVERY_S, limit_s))
    return f"{who}: not arrived after {limit_s:.0f} s"
