"""Whether this machine has a network at all: do its anchors answer?

An anchor is a host and a port elsewhere, such as a router and two servers of others.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial

from lib.net.connect import (
    Deadline,
    Unreachable,
    nobody_answered,
    reason,
    resolve,
    shown_address,
)
from lib.system.errors import shortage

Anchor = tuple[str, int]

#: The most seconds that an anchor may take to answer.
ANSWER_S = 5.0


def why_silent(
    anchors: Sequence[Anchor],
    limit_s: float = ANSWER_S,
    try_one: Callable[[Anchor, Deadline], str] | None = None,
) -> dict[str, str]:
    """Return why none of the anchors answers, by each; nothing if one does.

    A connection that is refused is an answer.  All are asked at once.  If something of
    our own is missing, such as descriptors, nothing is known, so one may answer.
    """
    deadline, answers = Deadline(limit_s), queue.SimpleQueue[tuple[Anchor, str]]()
    ask = try_one or why_no_answer

    def put(anchor: Anchor) -> None:
        answers.put((anchor, ask(anchor, deadline)))

    for anchor in anchors:
        try:
            threading.Thread(target=partial(put, anchor), daemon=True).start()
        except RuntimeError:
            put(anchor)
    reasons = {
        shown_address(anchor): f"no answer within {deadline}" for anchor in anchors
    }
    for _anchor in anchors:
        try:
            anchor, why = answers.get(timeout=deadline.left())
        except (queue.Empty, TimeoutError):
            break
        if not why:
            return {}
        reasons[shown_address(anchor)] = why
    return reasons


def why_no_answer(anchor: Anchor, deadline: Deadline) -> str:
    """Return why an anchor gives no answer; nothing if it does, or if we cannot ask."""
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
