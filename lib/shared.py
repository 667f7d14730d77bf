"""What many mails have in common, as far as their words tell: reason, host, address.

Pure.  A digest is grouped by it, so that one host or one line that is down is seen as
that.  What shares nothing else is grouped by kind.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lib.model import Message, MessageKind

#: What a message of a kind is counted as.
WORDS = {
    MessageKind.ALERT: "failing",
    MessageKind.REMINDER: "still failing",
    MessageKind.RECOVERY: "fine again",
    MessageKind.NOTE: "other",
    MessageKind.PROBE: "other",
    MessageKind.BULLETIN: "other",
}
_HOST = r"(?P<host>\[[0-9a-fA-F:.]+\]|[\w.-]+)"
#: How a reason begins that is about a place.
_AT = re.compile(rf"{_HOST}(?P<port>:\d{{1,5}})?: (?P<why>.+)")
_UNRESOLVED = re.compile(rf"cannot resolve {_HOST}: (?P<why>.+)")
_ADDRESS = re.compile(r"\b(?:tried|answered by|connected to) \[?([0-9a-fA-F.:]+)\]?:\d")


@dataclass(frozen=True)
class Trait:
    """Something that many messages may be about."""

    what: str
    value: str

    def __str__(self) -> str:
        return self.value if self.what == "reason" else f"{self.what} {self.value}"


@dataclass(frozen=True)
class Group:
    """Some messages, and what they share."""

    title: str
    messages: tuple[Message, ...]
    #: They share nothing but their kind.
    is_kind: bool = False


def grouped(entries: Sequence[tuple[str, Message]]) -> list[Group]:
    """Return the messages, each given with its job's name, by what they share.

    Each is where most others are.  The groups are in the order of their first ones.
    """
    about = [traits(one) for _name, one in entries]
    counts = Counter(trait for those in about for trait in those)
    groups: dict[Trait | str, list[int]] = {}
    for number, ((name, one), those) in enumerate(zip(entries, about, strict=True)):
        most = max(those, key=lambda trait: counts[trait], default=None)
        if most is None or counts[most] < 2:
            word = name.split(" ")[0] if name else ""
            groups.setdefault(f"{word}, {WORDS[one.kind]}", []).append(number)
        else:
            groups.setdefault(most, []).append(number)
    return [
        Group(
            _title(key, [about[number] for number in numbers]),
            tuple(entries[number][1] for number in numbers),
            is_kind=isinstance(key, str),
        )
        for key, numbers in groups.items()
    ]


def traits(message: Message) -> tuple[Trait, ...]:
    """Return what a message is about: the reason, then the place."""
    if message.kind not in (MessageKind.ALERT, MessageKind.REMINDER):
        return ()
    return tuple(dict.fromkeys(_traits(message)))


def _traits(message: Message) -> Iterator[Trait]:
    reason, host = message.reason, ""
    if match := _UNRESOLVED.match(reason):
        host, reason = match["host"], f"cannot resolve: {match['why']}"
    elif (match := _AT.match(reason)) and _is_place(match["host"], match["port"]):
        host, reason = match["host"], match["why"]
    if reason:
        yield Trait("reason", reason)
    if host := host.strip("[]"):
        yield Trait("address" if _is_address(host) else "host", host)
    for address in _ADDRESS.findall(message.body):
        if _is_address(address):
            yield Trait("address", address)


def _is_place(host: str, port: str | None) -> bool:
    """Return whether these are a host's, and no other words before a colon."""
    if host.isdecimal():
        return False
    # Without a port it needs a dot, so that no mere word is taken for a host.
    return bool(port) or "." in host


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _title(key: Trait | str, those: Sequence[tuple[Trait, ...]]) -> str:
    """Return what all of a group share, the reason first."""
    if isinstance(key, str):
        return key
    everybody = set(those[0]).intersection(*those)
    return ", ".join(str(trait) for trait in those[0] if trait in everybody)
