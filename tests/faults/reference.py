"""What people must be told, stated naively: the model that the program is held against.

A lamp is judged dark or lit by each run.  People hear of each change: that it is
failing when it goes dark, that it is fine again when it is lit; nothing of a lamp that
was lit from the beginning.  When mail is refused the news waits, and several may come
in one mail, but none is left out, none is told twice, and each in its turn.

What a run that was killed has judged nobody can know from outside, so it is read from
the record on disk, whose rename is the commit: from then on it must be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.support.servers import SmtpMail

FAILING, OK = "is failing", "is OK again"


class Reference:
    """What has been judged of each lamp, and so what must have been told."""

    def __init__(self, names: Iterable[str]) -> None:
        self._dark = dict.fromkeys(names, False)
        self._told: dict[str, list[str]] = {name: [] for name in self._dark}

    def judge(self, dark: dict[str, bool]) -> None:
        """Note what a run has judged."""
        for name, is_dark in dark.items():
            if is_dark != self._dark[name]:
                self._told[name].append(FAILING if is_dark else OK)
            self._dark[name] = is_dark

    @property
    def to_tell(self) -> dict[str, list[str]]:
        """Return what people must hear of each lamp, in order."""
        return {name: list(notified) for name, notified in self._told.items()}


def heard(mails: Iterable[SmtpMail], names: Iterable[str]) -> dict[str, list[str]]:
    """Return what these mails told of each lamp, in order.

    One that was repeated with its Message-ID counts once; one that stands for others
    tells what they would have told.
    """
    found: dict[str, list[str]] = {name: [] for name in names}
    seen: set[str] = set()
    for mail in mails:
        identity = str(mail.parsed["Message-ID"])
        if identity in seen:
            continue
        seen.add(identity)
        for line in _lines(mail):
            event = re.search(r"\bLamp (\w+) (is failing|is OK again)", line)
            if event and event[1] in found:
                found[event[1]].append(event[2])
    return found


def _lines(mail: SmtpMail) -> list[str]:
    before, title, listed = mail.body.partition("Messages merged into this mail:")
    return listed.splitlines() if title else [mail.subject]


def collapsed(notified: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return it with what was said twice in a row as once.

    Where a run was killed between the server's yes and its own mark, what follows may
    come together with what may have been told; the mail says so.
    """
    return {
        name: [
            word
            for number, word in enumerate(words)
            if not number or words[number - 1] != word
        ]
        for name, words in notified.items()
    }
