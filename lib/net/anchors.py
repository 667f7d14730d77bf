"""Whether this machine has a network at all: do its anchors answer?

An anchor is a host and a port elsewhere, such as a router and two servers of others.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from functools import partial

from lib.net.connect import (
    MARGIN_S,
    Deadline,
    Unreachable,
    nobody_answered,
    reason,
    resolve,
    shown_address,
    side_by_side,
)
from lib.system.errors import shortage

Anchor = tuple[str, int]

#: The most seconds that an anchor may take to answer.
ANSWER_S = 5.0


def why_silent(anchors: Sequence[Anchor]) -> dict[str, str]:
    """Return why none of the anchors answers, by each; nothing if one does."""
    reasons = {}
    for anchor, why in answers(anchors):
        if not why:
            return {}
        reasons[anchor] = why
    return {shown_address(anchor): reasons[anchor] for anchor in anchors}


def answers(anchors: Sequence[Anchor]) -> Iterator[tuple[Anchor, str]]:
    """Yield each anchor, as soon as it is known, with why it gives no answer.

    That is empty if it does.  All are asked at once.
    """
    deadline = Deadline(ANSWER_S)
    calls = [partial(why_no_answer, anchor, deadline) for anchor in anchors]
    silent = set(range(len(anchors)))
    for number, why in side_by_side(calls, deadline.left() + MARGIN_S):
        silent.remove(number)
        yield anchors[number], why
    for number in silent:
        yield anchors[number], f"no answer within {deadline}"


def why_no_answer(anchor: Anchor, deadline: Deadline) -> str:
    """Return why an anchor gives no answer; nothing if it does.

    A connection that is refused is an answer.  If something of our own is missing, such
    as descriptors, nothing is known, so it may answer.
    """
    host, port = anchor
    reasons = []
    try:
        addresses = resolve(host, port, deadline)
    except Unreachable as error:
        return error.cause
    for tried, (family, address) in enumerate(addresses):
        own = deadline.share(len(addresses) - tried)
        try:
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.settimeout(own.left())
                sock.connect(address)
        except ConnectionRefusedError:
            return ""
        except OSError as error:
            if shortage(error):
                return ""
            reasons.append((address, reason(error, own)))
        else:
            return ""
    return nobody_answered(host, port, reasons).cause
