"""Values as JSON and back: for a record on disk, a report in a pipe.

msgspec does the work and checks every type.  A class whose values leave their process
derives from ``Stored``.
"""

from __future__ import annotations

import math
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, TypeVar

import msgspec

# The module random does the same: hashlib loads all of OpenSSL.
try:
    from _sha2 import sha256  # type: ignore[import-not-found]  # of Python 3.12
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]  # of 3.11
    except ImportError:
        from hashlib import sha256

T = TypeVar("T")

#: Deeper than anything we write or a job should, and far from Python's own limit.
MAX_DEPTH = 20
#: A job's memory is written whole whenever it changes; it is meant to be small.
MAX_MEMORY = 1024 * 1024
#: Larger numbers are not the same in every reader of JSON.
MAX_NUMBER = 2**53

#: A whole number that counts something.
Count = Annotated[int, msgspec.Meta(ge=0, lt=MAX_NUMBER)]
#: A duration in seconds.
Seconds = Annotated[float, msgspec.Meta(gt=-MAX_NUMBER, lt=MAX_NUMBER)]
#: A time with its offset from UTC.
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Stored(
    msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A value that can be written as JSON; fields with their default are left out.

    Modules of many do without ``from __future__ import annotations``: a run that reads
    the values would compile the text of each annotation.
    """


def digest(text: bytes) -> str:
    """Return the SHA-256 of a short text, in hex digits."""
    return str(sha256(text).hexdigest())


def encode(value: Any) -> bytes:
    """Return ``value`` as JSON in one line; raise ValueError if it is too deep."""
    try:
        return msgspec.json.encode(value, enc_hook=str)
    except UnicodeEncodeError:
        # Half a surrogate pair, as in the name of a file that is not UTF-8.
        import json

        return json.dumps(builtins(value), separators=(",", ":")).encode("ascii")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def decode(text: bytes) -> Any:
    """Return what the JSON ``text`` holds; raise ValueError if it is not JSON."""
    try:
        return msgspec.json.decode(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError:
        if b"\\ud" not in text.lower():
            raise
    # msgspec refuses half a surrogate pair, which ``encode`` may have written.
    return _decode_surrogates(text)


def _decode_surrogates(text: bytes) -> Any:
    import json

    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def plain(value: Any) -> Any:
    """Return ``value`` as dicts, lists, text, numbers, bools and None."""
    return decode(encode(value))


def builtins(value: Any) -> Any:
    """Return the same with tuples where ``value`` has some; for text of any kind."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=str)


def convert(body: Any, cls: type[T]) -> T:
    """Return the ``cls`` that ``plain`` made ``body`` of.

    Raise ValueError if a member is unknown, missing, or not of its type.
    """
    return msgspec.convert(body, cls)


@lru_cache
def same(value: T) -> T:
    """Return the same object for all equal values, of which thousands may be read."""
    return value


def check_moments(*moments: datetime | None) -> None:
    """Raise ValueError if a time does not exist in every time zone.

    That is so in the first and the last year that Python knows.
    """
    for moment in moments:
        if moment is not None and not 1970 <= moment.year < 9999:
            raise ValueError("Expected a time from 1970 to 9998")


def check_depth(memory: Any) -> None:
    """Raise ValueError if a job's memory is nested too deeply."""
    if _is_too_deep(memory):
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")


def plain_memory(memory: Any) -> dict[str, Any]:
    """Return a job's memory as it is read back from JSON.

    Raise ValueError or TypeError if it is not a small dict of plain values.
    """
    import json

    if not isinstance(memory, dict):
        raise TypeError(f"memory is not a dict but {type(memory).__name__}")
    try:
        text = json.dumps(memory, allow_nan=False)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if len(text) > MAX_MEMORY:
        raise ValueError(f"it is {len(text)} bytes long; the limit is {MAX_MEMORY}")
    copy: dict[str, Any] = json.loads(text)
    check_depth(copy)
    return copy


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is not a number in JSON")
    return number


def _is_too_deep(part: Any, left: int = MAX_DEPTH) -> bool:
    if type(part) is dict:
        return not left or any(_is_too_deep(value, left - 1) for value in part.values())
    if type(part) is list:
        return not left or any(_is_too_deep(value, left - 1) for value in part)
    return False
