"""Conversion of our values to what JSON can hold, and back, with every type checked.

Used where a value leaves its process: a record on disk, a report in a pipe.
``from_plain`` raises ValueError for anything that the class would not hold.  To add a
type without fields, give it a row in SCALARS.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import math
import typing
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from lib.core.jobs import JobKey

T = TypeVar("T")
Reader = Callable[[Any], Any]

#: Deeper than anything we write or a job should, and far from Python's own limit.
MAX_DEPTH = 20
#: A job's memory is written whole whenever it changes; it is meant to be small.
MAX_MEMORY = 1024 * 1024


def to_plain(value: Any) -> Any:
    """Return ``value`` as dicts, lists, text, numbers, bools and None.

    Fields of a dataclass that have their default are left out.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): to_plain(part) for key, part in value.items()}
    if type(value) is JobKey:
        return str(value)
    if isinstance(value, tuple | list):
        return [to_plain(part) for part in value]
    cls: Any = type(value)
    if dataclasses.is_dataclass(value):
        return {
            name: to_plain(part)
            for name, default in _fields(cls)
            if (part := getattr(value, name)) != default
        }
    # A path, or a job author's own subclass of str.
    return str(value)


def from_plain(cls: type[T], plain: Any) -> T:
    """Return the ``cls`` that ``to_plain`` made ``plain`` of.

    Raise ValueError if a member is unknown, missing, or not of its type.
    """
    reader = _reader(typing.cast(Any, cls), cls.__name__)
    return typing.cast(T, reader(plain))


def dumps(value: Any) -> str:
    """Return ``value`` as JSON in one line; what JSON cannot hold raises ValueError."""
    try:
        return json.dumps(to_plain(value), ensure_ascii=True, allow_nan=False)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def loads(text: str | bytes) -> Any:
    """Return what the JSON ``text`` holds; raise ValueError if it is not JSON.

    NaN and infinite numbers, which Python's reader accepts, are not JSON.
    """
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def plain_memory(memory: Any) -> dict[str, Any]:
    """Return a job's memory as it is read back from JSON.

    Raise ValueError or TypeError if it is not a small dict of plain values.
    """
    if not isinstance(memory, dict):
        raise TypeError(f"memory is not a dict but {type(memory).__name__}")
    try:
        text = json.dumps(memory, allow_nan=False)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if len(text) > MAX_MEMORY:
        raise ValueError(f"it is {len(text)} bytes long; the limit is {MAX_MEMORY}")
    plain: dict[str, Any] = json.loads(text)
    if _is_too_deep(plain):
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
    return plain


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is not a number in JSON")
    return number


def _is_too_deep(plain: Any, left: int = MAX_DEPTH) -> bool:
    if type(plain) is dict:
        return not left or any(_is_too_deep(part, left - 1) for part in plain.values())
    if type(plain) is list:
        return not left or any(_is_too_deep(part, left - 1) for part in plain)
    return False


@functools.cache
def _fields(cls: Any) -> tuple[tuple[str, Any], ...]:
    """Return each field's name and default; MISSING where it must be given."""
    return tuple((part.name, _default(part)) for part in dataclasses.fields(cls))


def _default(part: dataclasses.Field[Any]) -> Any:
    if part.default_factory is not dataclasses.MISSING:
        return part.default_factory()
    return part.default


# The reader of each type is made once, since a run may read ten thousand records.


@functools.cache
def _reader(wanted: Any, where: str) -> Reader:
    """Return the function that reads a ``wanted``; ``where`` names it in errors."""
    arguments = typing.get_args(wanted)
    if type(None) in arguments:
        (inner,) = (part for part in arguments if part is not type(None))
        return _optional_reader(_reader(inner, where))
    origin = typing.get_origin(wanted)
    if origin is tuple:
        return _tuple_reader(_reader(arguments[0], where), where)
    if origin is Mapping:
        return _mapping_reader(where)
    if dataclasses.is_dataclass(wanted):
        return _dataclass_reader(wanted, where)
    if issubclass(wanted, enum.Enum):
        return _enum_reader(wanted, where)
    return functools.partial(SCALARS[wanted], where)


def _optional_reader(inner: Reader) -> Reader:
    return lambda plain: None if plain is None else inner(plain)


def _tuple_reader(inner: Reader, where: str) -> Reader:
    def read(plain: Any) -> tuple[Any, ...]:
        if type(plain) is not list:
            raise ValueError(f"{where} is not a list")
        return tuple([inner(part) for part in plain])

    return read


def _mapping_reader(where: str) -> Reader:
    def read(plain: Any) -> dict[str, Any]:
        if type(plain) is not dict or _is_too_deep(plain):
            raise ValueError(f"{where} is not an object, or is nested too deeply")
        return plain

    return read


def _dataclass_reader(cls: Any, where: str) -> Reader:
    types = typing.get_type_hints(cls)
    readers = {
        name: _reader(types[name], f"{cls.__name__}.{name}")
        for name, _default in _fields(cls)
    }
    needed = [name for name, part in _fields(cls) if part is dataclasses.MISSING]

    def read(plain: Any) -> Any:
        if type(plain) is not dict:
            raise ValueError(f"{where} is not an object")
        for name in needed:
            if name not in plain:
                raise ValueError(f"{where} lacks {name!r}")
        for name in plain:
            if name not in readers:
                raise ValueError(f"{where} has an unknown member {name[:40]!r}")
        return cls(**{name: readers[name](part) for name, part in plain.items()})

    return read


def _enum_reader(cls: type[enum.Enum], where: str) -> Reader:
    def read(plain: Any) -> enum.Enum:
        try:
            return cls(plain)
        except ValueError as error:
            known = ", ".join(str(member.value) for member in cls)
            raise ValueError(f"{where} is not one of {known}") from error

    return read


def _read_text(where: str, plain: Any) -> str:
    if type(plain) is not str:
        raise ValueError(f"{where} is not text")
    return plain


def _read_bool(where: str, plain: Any) -> bool:
    if type(plain) is not bool:
        raise ValueError(f"{where} is neither true nor false")
    return plain


def _read_whole(where: str, plain: Any) -> int:
    if type(plain) is not int or not 0 <= plain < 2**53:
        raise ValueError(f"{where} is not a whole number from 0 to 2**53")
    return plain


def _read_number(where: str, plain: Any) -> float:
    if type(plain) not in (int, float) or not abs(plain) < 2**53:
        raise ValueError(f"{where} is not a number, or too large")
    return float(plain)


def _read_moment(where: str, plain: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(_read_text(where, plain))
    except ValueError as error:
        raise ValueError(f"{where} is not a time") from error
    # The first and last years do not exist in every time zone.
    if moment.tzinfo is None or not 1970 <= moment.year < 9999:
        raise ValueError(f"{where} is not a time from 1970 to 9998 with a time zone")
    return moment


def _read_key(where: str, plain: Any) -> JobKey:
    text = _read_text(where, plain)
    try:
        return JobKey.parse(text)
    except ValueError as error:
        raise ValueError(f"{where} is not a job key") from error


#: The readers of types without fields.
SCALARS: dict[Any, Callable[[str, Any], Any]] = {
    str: _read_text,
    JobKey: _read_key,
    bool: _read_bool,
    int: _read_whole,
    float: _read_number,
    datetime: _read_moment,
}
