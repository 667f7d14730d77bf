"""A mail in a few words that stay the same however the mails are worded.

What it is about is told by the jobs that it names, whether it begins a conversation,
and by words that are no wording: options, paths, addresses.  What is left to English
stands in OVER and GONE alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.message import EmailMessage

from tests.support.servers import USER, SmtpMail

OPS = "ops@example.com"
#: In the subject of a mail about a job: that it is not failing any more.
OVER = re.compile(r"\b(is fine again|recovered|OK again|is OK)\b", re.I)
#: And that it is not checked any more.
GONE = re.compile(r"\bno longer checked\b")
#: How the authors of job files begin their own subjects in the stories.
OWN = "Own:"


class Reader:
    """Reads the mails of one story, in the order in which they came."""

    def __init__(self, names: Sequence[str], folder: str) -> None:
        self._names = sorted(names, key=len, reverse=True)
        self._folder = folder
        #: When a mail came, by its Message-ID.
        self._came: dict[str, str] = {}

    def read(self, mail: SmtpMail, when: str) -> str:
        """Return a mail in a few words; ``when`` it came."""
        parsed = mail.parsed
        self._came.setdefault(str(parsed["Message-ID"]), when)
        words = self._what(mail, parsed)
        to = ", ".join(sorted(mail.to))
        if to != OPS and words != "proof":
            words += f" > {to}"
        if parsed["In-Reply-To"]:
            words += f" ^{self._came.get(str(parsed['In-Reply-To']), 'nothing')}"
        return words

    def _what(self, mail: SmtpMail, parsed: EmailMessage) -> str:
        subject = mail.subject.strip().removeprefix("[web1]").strip()
        body = mail.body
        about = self._named(subject)
        if mail.to == (USER,) and not about:
            return "proof"
        period = re.search(r"\b(daily|weekly)\b\D*(\d+)", subject)
        if period:
            return f"summary: {period[1]} {period[2]}"
        if subject.startswith(OWN):
            return f"own: {subject.removeprefix(OWN).strip()}"
        if len(about) == 1:
            if GONE.search(subject):
                return f"closing: {about[0]}"
            if OVER.search(subject):
                return f"recovery: {about[0]}"
            kind_of = "reminder" if parsed["In-Reply-To"] else "alert"
            return f"{kind_of}: {about[0]}"
        return self._note(subject, body) or f"bundle: {', '.join(self._named(body))}"

    def _note(self, subject: str, body: str) -> str:
        """Return what Checker says of itself; nothing if it is about jobs."""
        lines = body.splitlines()
        # A command to paste names the folder as well.
        if any(self._folder in line and "checker.py -m" not in line for line in lines):
            return "note: state"
        if "imapserver" in body:
            return "note: imapserver"
        address = re.search(r"[\w.]+@[\w.]+", subject)
        if address:
            return f"note: {address[0]}"
        # It names the jobs whose messages it is about.
        if "mailsperhour" in body:
            return "note: mailsperhour"
        if self._named(body):
            return ""
        return "note"

    def _named(self, text: str) -> list[str]:
        """Return the jobs that a text names."""
        found = []
        for name in self._names:
            text, count = re.subn(rf"(?<![\w/-]){re.escape(name)}(?![\w/-])", "", text)
            if count:
                found.append(name)
        return sorted(found)
