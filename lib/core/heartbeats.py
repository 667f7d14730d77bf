"""Heartbeats: what other people's cron jobs report, and what it means.

``Event`` is one report: a run has started or ended, or has something to say.
``applied`` makes of what is remembered and of new events what is to be remembered,
``judge`` says what it amounts to at a moment.  The stories are in
``tests/unit/core/test_heartbeats.py``.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from lib.core.encoding import Stored

#: The longest name of a heartbeat; the most of a text that is kept, in characters.
MAX_NAME, MAX_TEXT = 200, 200
#: The most of an output that an event has, in characters.
MAX_OUTPUT = 10 * 1024
#: The most seconds that a run may say it took, and the last moment there is.
MAX_SECONDS, MAX_MOMENT = 1e9, 2**40

Short = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
EpochSeconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_MOMENT)]


class What(enum.StrEnum):
    """What an event says."""

    START = "start"
    END = "end"
    #: Something to keep, which says neither.
    LOG = "log"


class Event(Stored, frozen=True):
    """What a run of somebody's job has reported.

    ``-m wrap`` writes the same as JSON, without this class.
    """

    #: That of the section: ``[heartbeat NAME]``.
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
    what: What
    #: When it happened, in seconds of the epoch.
    at: EpochSeconds
    #: What its start and its end have in common; empty: not known.
    run: Short = ""
    #: When its run began, and how long it took; None: not known.
    started_at: EpochSeconds | None = None
    seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)] | None = None
    #: The exit code; None: it was ended by a signal, or said only that it ended.
    code: Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)] | None = None
    #: The signal that ended it, such as ``SIGKILL``.
    signal: Short = ""
    #: It said that it failed, with no code.
    failed: bool = False
    #: Why the command could not be started, or its output not be written.
    trouble: Short = ""
    host: Short = ""
    #: The command's own name, and the programs before it that change its exit code.
    program: Short = ""
    through: tuple[Short, ...] = ()
    #: The last of its output; None: it was not kept.
    output: Annotated[str, msgspec.Meta(max_length=MAX_OUTPUT)] | None = None
    #: The process that reports the end, and the boot and namespace in which it runs.
    pid: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    boot: Short = ""


_DECODER = msgspec.json.Decoder(Event)


def encoded(event: Event) -> bytes:
    """Return an event as the text of a file."""
    return msgspec.json.encode(event)


def decoded(content: bytes) -> Event:
    """Return the event of a text; raise ValueError if it is none."""
    try:
        return _DECODER.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is not an event: {error}") from error
