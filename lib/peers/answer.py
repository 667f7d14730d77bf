"""The answer between peers: compose, sign, read, judge its age.  Pure.

It is text: the word alone on the first line, then a line for each fact:

    True
    time: 1763856000
    last-run: 1763855995
    mail-proof-age: 1200
    nonce: 5e0c...              what the asker sent along; a file has none
    server: web1                only where it is signed
    mac 3f1a...: 9b2e...        a line for each key that is shared

Times are seconds (of 1970, or of age) in digits.  A mac is HMAC-SHA256 in hex over all
the lines above the first of them; before it stands which key it is made with, a hash of
the key, so that endpoint and file give the same bytes and each peer finds its own line.

Programs of the older kind look for the letters ``True`` anywhere in the text, so no bad
answer has them: hex has no such letters, and a server's name that has is written with
``%54`` in the place of its T.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

from lib.core.enums import Health
from lib.core.sanitize import harmless
from lib.core.text import duration

#: Of an answer no more is read.
MAX_BYTES = 4096
#: Three minutes without a run are a problem; the rest is for the way of a file, which
#: may be carried elsewhere each minute, and for two clocks.
MAX_AGE = timedelta(minutes=5)
#: So much may two clocks differ.
MAX_AHEAD = timedelta(minutes=5)
_NONCE = re.compile(r"[0-9a-f]{1,64}")


@dataclass(frozen=True)
class Answer:
    """What an instance says of itself."""

    word: Health
    time: datetime
    last_run: datetime | None = None
    #: Seconds since the last proof that our mail arrives; None: there is none.
    mail_proof_age_s: int | None = None
    nonce: str = ""
    server: str = ""


class PeerStatus(enum.StrEnum):
    """What an answer comes to."""

    OK = "fine"
    MAIL_PROBLEM = "cannot send mail"
    JOB_PROBLEM = "running no jobs"
    WRONG = "no answer of a Checker"
    UNSIGNED = "not signed with our key"
    FORGED = "the signature is wrong"
    OURS = "our own answer"
    ANOTHERS = "the answer of another server"
    STALE = "an old answer"
    AHEAD = "an answer from the future"

    @property
    def is_an_answer(self) -> bool:
        """Return whether the peer itself has said how it is."""
        return self in _BY_WORD.values()


_BY_WORD = {
    Health.OK: PeerStatus.OK,
    Health.MAIL_PROBLEM: PeerStatus.MAIL_PROBLEM,
    Health.JOB_PROBLEM: PeerStatus.JOB_PROBLEM,
}


@dataclass(frozen=True)
class Reading:
    """An answer, judged."""

    peer_status: PeerStatus
    #: As much of it as could be read; None where it is none, or a word alone.
    answer: Answer | None = None
    signed: bool = False
    #: What shows it, in words, where the finding does not say all.
    why: str = ""


def key_id(key: str) -> str:
    """Return what names a key without giving it away."""
    return hashlib.sha256(b"checker key " + key.encode()).hexdigest()[:16]


def composed(answer: Answer, keys: Iterable[str] = ()) -> bytes:
    """Return the text of an answer, signed with each of the keys."""
    keys = list(dict.fromkeys(key for key in keys if key))
    lines = [answer.word.value, f"time: {_seconds(answer.time)}"]
    if answer.last_run is not None:
        lines.append(f"last-run: {_seconds(answer.last_run)}")
    if answer.mail_proof_age_s is not None:
        lines.append(f"mail-proof-age: {max(0, answer.mail_proof_age_s)}")
    if _NONCE.fullmatch(answer.nonce):
        lines.append(f"nonce: {answer.nonce}")
    if keys:
        name = quote(answer.server, safe=" ").replace("True", "%54rue")
        lines.append(f"server: {name}")
    text = "".join(f"{line}\n" for line in lines)
    macs = "".join(f"mac {key_id(key)}: {_mac(text, key)}\n" for key in keys)
    return f"{text}{macs}".encode("ascii")


def judged(
    content: bytes,
    *,
    key: str = "",
    nonce: str = "",
    now: datetime,
    us: str = "",
    before: str = "",
) -> Reading:
    """Return what an answer comes to.

    ``key`` is what we share with the peer; without one the word alone will do, as
    instances of the older kind give it.  ``nonce`` is what we asked with: an answer
    that has one must have this, one that has none is judged by its time alone.  ``us``
    is our own name, and ``before`` the one that the peer has signed with before: who
    has the key, or stands between, could give us our own answer or another's.
    """
    text = content[:MAX_BYTES].decode("ascii", "replace").replace("\r\n", "\n")
    first, _end, _rest = text.partition("\n")
    if first not in tuple(Health):
        return Reading(PeerStatus.WRONG)
    # What stands below a signature is not signed, and may be anybody's.
    above, _mac_begins, macs = text.partition("\nmac ")
    facts = dict(re.findall(r"(?m)^([a-z-]+): ([^\n]*)$", above))
    answer = _answer(Health(first), facts)
    doubt = _unsigned(f"{above}\n", f"mac {macs}", key) if key else None
    if key and doubt is None:
        doubt = _not_theirs(answer, us, before)
    if doubt is None and answer is not None:
        doubt = _too_old_or_new(answer, nonce, now)
    if doubt is not None:
        return Reading(doubt[0], answer, why=doubt[1])
    return Reading(_BY_WORD[Health(first)], answer, signed=bool(key))


#: What is wrong with an answer, and what shows it.
_Doubt = tuple[PeerStatus, str]


def _unsigned(text: str, macs: str, key: str) -> _Doubt | None:
    """Return why the text is not to be believed; None if it is signed with the key."""
    found = dict(re.findall(r"(?m)^mac ([0-9a-f]{16}): ([0-9a-f]{64})$", macs))
    given = found.get(key_id(key))
    if given is None:
        return PeerStatus.UNSIGNED, (
            "with others only" if found else "it has no signature"
        )
    right = hmac.compare_digest(given, _mac(text, key))
    return None if right else (PeerStatus.FORGED, "")


def _not_theirs(answer: Answer | None, us: str, before: str) -> _Doubt | None:
    """Return why what is signed with the key is not the peer's own; None if it is."""
    if answer is None or not answer.server:
        return PeerStatus.WRONG, "it does not say of whom and when it is"
    if answer.server == us:
        return PeerStatus.OURS, f"signed by {_named(us)}"
    if before and answer.server != before:
        whose = f"signed by {_named(answer.server)}, and before by {_named(before)}"
        return PeerStatus.ANOTHERS, whose
    return None


def _too_old_or_new(answer: Answer, nonce: str, now: datetime) -> _Doubt | None:
    if answer.nonce and nonce and answer.nonce != nonce:
        return PeerStatus.STALE, "it answers another question than ours"
    if answer.nonce and nonce:
        # Who signs what we have just asked has just answered, whatever its clock says,
        # or ours: else a wrong clock here would trouble every peer's admin.
        return None
    if now - answer.time > MAX_AGE:
        return PeerStatus.STALE, f"made {duration(now - answer.time)} ago"
    if answer.time - now > MAX_AHEAD:
        return PeerStatus.AHEAD, f"made {duration(answer.time - now)} from now"
    return None


def _named(server: str) -> str:
    return f"'{harmless(server)[:100]}'"


def _answer(word: Health, facts: Mapping[str, str]) -> Answer | None:
    """Return the facts typed; None where there is no time, as with a word alone."""
    time = _moment(facts.get("time", ""))
    if time is None:
        return None
    age = facts.get("mail-proof-age", "")
    return Answer(
        word,
        time,
        _moment(facts.get("last-run", "")),
        int(age) if re.fullmatch(r"[0-9]{1,12}", age) else None,
        facts.get("nonce", ""),
        unquote(facts.get("server", "")),
    )


def _mac(text: str, key: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(digits: str) -> datetime | None:
    if not re.fullmatch(r"[0-9]{1,11}", digits):
        return None
    return datetime.fromtimestamp(int(digits), UTC)
