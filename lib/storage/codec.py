"""A value as the text of a file, with its format and its sum; and back.

The sum is over what the text says, not how it is written, so that a file may be laid
out anew.  A person who changes what it says takes the sum out.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from pathlib import Path
from typing import Any, TypeVar

from lib.core import plain
from lib.system.errors import NewerState, StateError, trouble
from lib.system.files import Damaged, NotRead, read_capped

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: To be raised with any change that an older Checker would misread, a new member
#: included.  ``format`` and ``sum`` stay what they are in every format.
FORMAT = 1

#: Errors that say nothing of the file that was to be opened.
OUR_OWN_LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def packed(value: Any) -> bytes:
    """Return a value as the text of a file: JSON that people can read, with its sum."""
    body = {"format": FORMAT, **plain.to_plain(value)}
    body["sum"] = _sum(body)
    text = json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair, as in the name of a file that is not UTF-8, is escaped.
    return f"{text}\n".encode("utf-8", "backslashreplace")


def packed_tightly(value: Any) -> bytes:
    """Return the same as one long line, for what is read by nobody and soon gone."""
    text = _canonical({"format": FORMAT, **plain.to_plain(value)})
    return f'{text[:-1]},"sum":"{_sum_of(text)}"}}\n'.encode("ascii")


def unpacked(content: bytes) -> tuple[dict[str, Any], bool]:
    """Return what the text of a file says, and whether its sum was there.

    Raise Damaged if it is no such text, or its sum is wrong; StateError if it was
    written by a newer Checker.
    """
    if not content:
        raise Damaged("it is empty")
    try:
        body = plain.loads(content.decode("utf-8"))
    except ValueError as error:
        raise Damaged(f"it is not JSON: {error}") from error
    if type(body) is not dict:
        raise Damaged("it is no JSON object")
    found = body.pop("sum", None)
    # First of all: a format that is merely damaged must not pass for a newer one.
    if found is not None and found != _sum(body):
        raise Damaged("its sum does not fit its content")
    version = body.pop("format", None)
    if type(version) is not int or version < 1:
        raise Damaged("it does not say its format")
    if version > FORMAT:
        raise NewerState(
            f"it was written by a newer Checker (format {version}, this one knows "
            f"{FORMAT}); upgrade this one, or move the file away"
        )
    return body, found is not None


def read_value(path: Path, cls: type[T]) -> T:
    """Return the ``cls`` that a file of ours holds.

    Raise FileNotFoundError if it is missing; Damaged if it is not whole, NotRead if
    that cannot be told; StateError if it was written by a newer Checker, or if nothing
    at all can be opened.
    """
    try:
        body, has_sum = unpacked(read_capped(path))
        value = plain.from_plain(cls, body)
    except StateError as error:
        raise type(error)(f"{path}: {error}") from error
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in OUR_OWN_LIMITS:
            raise trouble(path, "open it", error) from error
        raise NotRead(f"it cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Damaged(str(error)) from error
    if not has_sum:
        logger.warning("%s has no sum: taken as edited by hand", path)
    return value


def _sum(body: dict[str, Any]) -> str:
    return _sum_of(_canonical(body))


def _canonical(body: dict[str, Any]) -> str:
    try:
        return json.dumps(body, sort_keys=True, separators=(",", ":"))
    except RecursionError as error:
        raise Damaged("it is nested too deeply") from error


def _sum_of(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]
