"""The answer between peers: compose, sign, parse and verify it, without side effects.

An answer is text: the health word alone on the first line, then one line per field:

    True
    time: 1763856000
    last-run: 1763855995
    mail-proof-age: 1200
    deferred: 7                 messages stuck: queued for 15 minutes or more
    deferred-since: 1763854200  when the oldest was queued
    nonce: 5e0c...              as in the request; a file has none
    server: web1                only in a signed answer
    mac 3f1a...: 9b2e...        one line per shared key

Times are Unix timestamps and ages in seconds, in digits.  A mac is the HMAC-SHA256 in
hex over all lines above the first mac.  It is preceded by a hash that identifies the
key, so endpoint and file hold the same bytes and each peer finds its own line.

The older program looks for ``True`` anywhere in the text, so an answer that reports a
problem must not contain it: hex cannot, and a server name with ``True`` is written with
``%54`` for the T.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

import msgspec

from lib.core.enums import Health
from lib.core.sanitize import harmless
from lib.core.text import duration

#: The most bytes of an answer that are read.
MAX_BYTES = 4096
#: Three minutes without a run are a problem.  The rest allows for a file that is copied
#: elsewhere once a minute, and for clocks that differ.
MAX_AGE = timedelta(minutes=5)
#: How far the peer's clock may be ahead of ours.
MAX_AHEAD = timedelta(minutes=5)
_NONCE = re.compile(r"[0-9a-f]{1,64}")


class Answer(msgspec.Struct, frozen=True):
    """What an instance reports about itself."""

    word: Health
    time: datetime
    last_run: datetime | None = None
    #: Seconds since the last proof that its mail arrives; None if there is none.
    mail_proof_age_s: int | None = None
    nonce: str = ""
    server: str = ""
    #: How many messages are stuck, and since when the oldest is queued.
    deferred: int = 0
    deferred_since: datetime | None = None


class PeerStatus(enum.StrEnum):
    """What we know of a peer from its answer."""

    OK = "OK"
    MAIL_PROBLEM = "cannot send mail"
    JOB_PROBLEM = "running no jobs"
    WRONG = "not an answer from Checker"
    UNSIGNED = "not signed with our key"
    FORGED = "the signature is wrong"
    OURS = "our own answer"
    ANOTHERS = "the answer of another server"
    STALE = "an old answer"
    AHEAD = "an answer from the future"

    @property
    def is_an_answer(self) -> bool:
        """Return whether this is the peer's own, valid report."""
        return self in _BY_WORD.values()


_BY_WORD = {
    Health.OK: PeerStatus.OK,
    Health.MAIL_PROBLEM: PeerStatus.MAIL_PROBLEM,
    Health.JOB_PROBLEM: PeerStatus.JOB_PROBLEM,
}


class Reading(msgspec.Struct, frozen=True):
    """An answer that was parsed and verified."""

    peer_status: PeerStatus
    #: None if the answer is not valid, or has no fields below the word.
    answer: Answer | None = None
    signed: bool = False
    #: More about the status, for people; empty if there is nothing to add.
    why: str = ""


def key_id(key: str) -> str:
    """Return a hash that identifies a key without revealing it."""
    return hashlib.sha256(b"checker key " + key.encode()).hexdigest()[:16]


def composed(answer: Answer, keys: Iterable[str] = ()) -> bytes:
    """Return the text of an answer, signed with each of the keys."""
    keys = list(dict.fromkeys(key for key in keys if key))
    lines = [answer.word.value, f"time: {_seconds(answer.time)}"]
    if answer.last_run is not None:
        lines.append(f"last-run: {_seconds(answer.last_run)}")
    if answer.mail_proof_age_s is not None:
        lines.append(f"mail-proof-age: {max(0, answer.mail_proof_age_s)}")
    if answer.deferred and answer.deferred_since is not None:
        lines.append(f"deferred: {answer.deferred}")
        lines.append(f"deferred-since: {_seconds(answer.deferred_since)}")
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
    """Return an answer parsed and verified.

    ``key`` is shared with the peer; without a key the word alone is enough, as the
    older program sends it.  ``nonce`` is the one of our request: an answer with a nonce
    must have the same one, an answer without is verified by its time.  ``us`` is our
    own server name and ``before`` the name with which the peer signed last: they detect
    an answer that is our own or another server's.
    """
    text = content[:MAX_BYTES].decode("ascii", "replace").replace("\r\n", "\n")
    first, _end, _rest = text.partition("\n")
    if first not in tuple(Health):
        return Reading(PeerStatus.WRONG)
    # Lines below the first mac are not signed, so they are not parsed.
    signed_text, _mac_begins, macs = text.partition("\nmac ")
    fields = dict(re.findall(r"(?m)^([a-z-]+): ([^\n]*)$", signed_text))
    answer = _answer(Health(first), fields)
    problem = (
        _signature_problem(f"{signed_text}\n", f"mac {macs}", key) if key else None
    )
    if key and problem is None:
        problem = _sender_problem(answer, us, before)
    if problem is None and answer is not None:
        problem = _time_problem(answer, nonce, now)
    if problem is not None:
        return Reading(problem[0], answer, why=problem[1])
    return Reading(_BY_WORD[Health(first)], answer, signed=bool(key))


#: What is wrong with an answer, and more about it.
_Problem = tuple[PeerStatus, str]


def _signature_problem(text: str, macs: str, key: str) -> _Problem | None:
    """Return what is wrong with the signature; None if it is made with the key."""
    mac_of = dict(re.findall(r"(?m)^mac ([0-9a-f]{16}): ([0-9a-f]{64})$", macs))
    mac = mac_of.get(key_id(key))
    if mac is None:
        return PeerStatus.UNSIGNED, (
            "only with other keys" if mac_of else "it has no signature"
        )
    valid = hmac.compare_digest(mac, _mac(text, key))
    return None if valid else (PeerStatus.FORGED, "")


def _sender_problem(answer: Answer | None, us: str, before: str) -> _Problem | None:
    """Return why a signed answer is not the peer's own; None if it is."""
    if answer is None or not answer.server:
        return PeerStatus.WRONG, "it has no server name or no time"
    if answer.server == us:
        return PeerStatus.OURS, f"signed by {_named(us)}"
    if before and answer.server != before:
        signers = f"signed by {_named(answer.server)}, before by {_named(before)}"
        return PeerStatus.ANOTHERS, signers
    return None


def _time_problem(answer: Answer, nonce: str, now: datetime) -> _Problem | None:
    if answer.nonce and nonce and answer.nonce != nonce:
        return PeerStatus.STALE, "it is the answer to another request"
    if answer.nonce and nonce:
        # Our nonce proves that the answer is new, whatever either clock says.  So a
        # wrong clock here does not send mails to every peer's admin.
        return None
    if now - answer.time > MAX_AGE:
        return PeerStatus.STALE, f"made {duration(now - answer.time)} ago"
    if answer.time - now > MAX_AHEAD:
        return PeerStatus.AHEAD, f"made {duration(answer.time - now)} from now"
    return None


def _named(server: str) -> str:
    return f"'{harmless(server)[:100]}'"


def _answer(word: Health, fields: Mapping[str, str]) -> Answer | None:
    """Return the fields typed; None if there is no time, as with the word alone."""
    time = _moment(fields.get("time", ""))
    if time is None:
        return None
    return Answer(
        word,
        time,
        _moment(fields.get("last-run", "")),
        _count(fields.get("mail-proof-age", "")),
        fields.get("nonce", ""),
        unquote(fields.get("server", "")),
        _count(fields.get("deferred", "")) or 0,
        _moment(fields.get("deferred-since", "")),
    )


def _count(digits: str) -> int | None:
    return int(digits) if re.fullmatch(r"[0-9]{1,12}", digits) else None


def _mac(text: str, key: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _moment(digits: str) -> datetime | None:
    if not re.fullmatch(r"[0-9]{1,11}", digits):
        return None
    return datetime.fromtimestamp(int(digits), UTC)
