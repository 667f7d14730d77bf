"""A value as the text of a file, with its format and its sum; and back.

The sum is over what the text says, not how it is written, so that a file may be laid
out anew.  A person who changes what it says takes the sum out.
"""

from __future__ import annotations

import errno
import logging
import zlib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from lib.core import encoding
from lib.core.encoding import Stored
from lib.system.errors import NewerState, StateError, trouble
from lib.system.files import Damaged, NotRead, read_capped

logger = logging.getLogger(__name__)

#: The order of members says nothing.
_SORTED = msgspec.json.Encoder(order="sorted", enc_hook=str)

T = TypeVar("T")

#: To be raised with any change that an older Checker would misread, a new member
#: included.  ``format`` and ``sum`` stay what they are in every format.
FORMAT = 1

#: How ``packed`` lays out where a text begins, and where it ends.
_HEAD = b'{\n "format": %d,\n' % FORMAT
_TAIL = b',\n "sum": "%s"\n}\n'
_TAIL_LENGTH = len(_TAIL % (8 * b"0"))

#: Errors that say nothing of the file that was to be opened.
OUR_OWN_LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def packed(value: Stored) -> bytes:
    """Return a value as the text of a file: JSON that people can read, with its sum."""
    return _laid_out(packed_tightly(value))


def packed_tightly(value: Stored) -> bytes:
    """Return the same as one long line, for what is read by nobody and soon gone."""
    members = encoding.encode(value)[1:-1]
    comma = b"," if members else b""
    digest = _sum(FORMAT, value).encode()
    return b'{"format":%d,%s%s"sum":"%s"}\n' % (FORMAT, members, comma, digest)


def as_part(value: object) -> msgspec.Raw:
    """Return a part of a value as text already: thousands take little room so."""
    return msgspec.Raw(_SORTED.encode(value))


def unpacked(content: bytes) -> tuple[dict[str, Any], bool]:
    """Return what the text of a file says, and whether its sum was there.

    Raise Damaged if it is no such text, or its sum is wrong; StateError if it was
    written by a newer Checker.
    """
    if not content:
        raise Damaged("it is empty")
    try:
        body = encoding.decode(content)
    except ValueError as error:
        raise Damaged(f"it is not JSON: {error}") from error
    if type(body) is not dict:
        raise Damaged("it is no JSON object")
    digest = body.pop("sum", None)
    version = body.pop("format", None)
    # First of all: a format that is merely damaged must not pass for a newer one.
    if digest is not None and digest != _sum(version, body):
        raise Damaged("its sum does not fit its content")
    if type(version) is not int or version < 1:
        raise Damaged("it does not say its format")
    if version > FORMAT:
        raise NewerState(
            f"it was written by a newer Checker (format {version}, this one knows "
            f"{FORMAT}); upgrade this one, or move the file away"
        )
    return body, digest is not None


def value_in(content: bytes, cls: type[T]) -> tuple[T, bool]:
    """Return the ``cls`` in the text of a file, and whether its sum was there.

    Raise as ``unpacked`` does, and ValueError if it holds something else.
    """
    value = _as_written(content, cls)
    if value is not None:
        return value, True
    body, has_sum = unpacked(content)
    return encoding.convert(body, cls), has_sum


def read_value(path: str | Path, cls: type[T]) -> T:
    """Return the ``cls`` that a file of ours holds.

    Raise FileNotFoundError if it is missing; Damaged if it is not whole, NotRead if
    that cannot be told; StateError if it was written by a newer Checker, or if nothing
    at all can be opened.
    """
    try:
        value, has_sum = value_in(read_capped(path), cls)
    except StateError as error:
        raise type(error)(f"{path}: {error}") from error
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in OUR_OWN_LIMITS:
            raise trouble(Path(path), "open it", error) from error
        raise NotRead(f"it cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Damaged(str(error)) from error
    if not has_sum:
        logger.warning("%s has no sum: taken as edited by hand", path)
    return value


def _as_written(content: bytes, cls: type[T]) -> T | None:
    """Return the value in a text that is as ``packed`` lays it out; else None.

    That takes half as long, and there may be thousands of files.
    """
    if not content.startswith(_HEAD):
        return None
    body = b"{%s}" % content[len(_HEAD) : -_TAIL_LENGTH]
    try:
        value = msgspec.json.decode(body, type=cls)
    except (ValueError, RecursionError):
        return None
    is_whole = content.endswith(_TAIL % _sum(FORMAT, value).encode())
    return value if is_whole else None


def _sum(version: object, value: object) -> str:
    """Return the CRC-32 of a format and a value, or of what its text says."""
    try:
        text = _SORTED.encode(value)
    except UnicodeEncodeError:
        # Half a surrogate pair, as in the name of a file that is not UTF-8.
        import json

        body = encoding.builtins(value)
        text = json.dumps(body, sort_keys=True, separators=(",", ":")).encode("ascii")
    except RecursionError as error:
        raise Damaged("it is nested too deeply") from error
    return f"{zlib.crc32(b'%s %s' % (str(version).encode(), text)):08x}"


def _laid_out(text: bytes) -> bytes:
    try:
        return msgspec.json.format(text, indent=1) + b"\n"
    except ValueError:
        import json

        body = json.loads(text)
    return json.dumps(body, indent=1).encode("ascii") + b"\n"
