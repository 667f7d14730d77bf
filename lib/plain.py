"""Our values as what JSON can hold, and back, with every type checked.

Used where a value leaves its process: a record on disk, a report in a pipe.  What
comes back is never half right: ``from_plain`` raises ValueError for anything that the
class would not hold.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

T = TypeVar("T")

#: Deeper than anything we write, and far from Python's own limit.
MAX_DEPTH = 20


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
    if isinstance(value, tuple | list):
        return [to_plain(part) for part in value]
    if dataclasses.is_dataclass(value):
        return {
            name: to_plain(part)
            for name, default in _fields(type(value))
            if (part := getattr(value, name)) != default
        }
    return str(value)


def from_plain(cls: type[T], plain: Any) -> T:
    """Return the ``cls`` that ``to_plain`` made ``plain`` of.

    Raise ValueError if a member is unknown, missing, or not of its type.
    """
    return typing.cast(T, _read(cls, plain, cls.__name__))


def dumps(value: Any) -> str:
    """Return ``value`` as JSON in one line; what JSON cannot hold raises ValueError."""
    try:
        return json.dumps(to_plain(value), ensure_ascii=True, allow_nan=False)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def loads(text: str | bytes) -> Any:
    """Return what the JSON ``text`` holds; raise ValueError if it is not JSON.

    NaN and Infinity, which Python's reader would take, are not JSON.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def plain_memory(memory: Any) -> dict[str, Any]:
    """Return a job's memory as JSON would give it back.

    Raise ValueError or TypeError if it is no dict of plain values.
    """
    if not isinstance(memory, dict):
        raise TypeError(f"memory is no dict but {type(memory).__name__}")
    try:
        found = json.loads(json.dumps(memory, allow_nan=False))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return typing.cast(dict[str, Any], found)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_known_fields: dict[type[Any], tuple[tuple[str, Any], ...]] = {}
_known_types: dict[type[Any], dict[str, Any]] = {}


def _fields(cls: type[Any]) -> tuple[tuple[str, Any], ...]:
    if cls not in _known_fields:
        _known_fields[cls] = tuple(
            (part.name, _default(part)) for part in dataclasses.fields(cls)
        )
    return _known_fields[cls]


def _default(part: dataclasses.Field[Any]) -> Any:
    if part.default_factory is not dataclasses.MISSING:
        return part.default_factory()
    return part.default


def _types(cls: type[Any]) -> dict[str, Any]:
    if cls not in _known_types:
        _known_types[cls] = typing.get_type_hints(cls)
    return _known_types[cls]


def _read(wanted: Any, plain: Any, where: str, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"{where} is nested too deeply")
    origin = typing.get_origin(wanted)
    if wanted is Any:
        return plain
    if origin in (types.UnionType, typing.Union):
        return _read_optional(wanted, plain, where, depth)
    if origin is tuple:
        return _read_tuple(typing.get_args(wanted)[0], plain, where, depth)
    if origin is Mapping or origin is types.MappingProxyType:
        return _expect(dict, plain, where)
    if dataclasses.is_dataclass(wanted):
        return _read_dataclass(typing.cast(type[Any], wanted), plain, where, depth)
    return _read_scalar(wanted, plain, where)


def _read_optional(wanted: Any, plain: Any, where: str, depth: int) -> Any:
    if plain is None:
        return None
    (inner,) = (part for part in typing.get_args(wanted) if part is not type(None))
    return _read(inner, plain, where, depth)


def _read_tuple(inner: Any, plain: Any, where: str, depth: int) -> tuple[Any, ...]:
    parts = _expect(list, plain, where)
    return tuple(_read(inner, part, where, depth + 1) for part in parts)


def _read_dataclass(cls: type[Any], plain: Any, where: str, depth: int) -> Any:
    members = _expect(dict, plain, where)
    wanted = _types(cls)
    defaults = dict(_fields(cls))
    for name in members:
        if name not in defaults:
            raise ValueError(f"{where} has an unknown member {name[:40]!r}")
    for name, default in defaults.items():
        if default is dataclasses.MISSING and name not in members:
            raise ValueError(f"{where} lacks {name!r}")
    return cls(
        **{
            name: _read(wanted[name], part, f"{where}.{name}", depth + 1)
            for name, part in members.items()
        }
    )


def _read_scalar(wanted: Any, plain: Any, where: str) -> Any:
    if wanted is datetime:
        moment = datetime.fromisoformat(_expect(str, plain, where))
        if moment.tzinfo is None:
            raise ValueError(f"{where} has no time zone")
        return moment
    if wanted is float:
        if type(plain) not in (int, float) or not math.isfinite(plain):
            raise ValueError(f"{where} is not a number")
        return float(plain)
    if wanted is int:
        if type(plain) is not int or not 0 <= plain < 2**53:
            raise ValueError(f"{where} is not a whole number, or negative")
        return plain
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        return wanted(plain)
    return _expect(wanted, plain, where)


def _expect(wanted: type[Any], plain: Any, where: str) -> Any:
    if type(plain) is not wanted:
        raise ValueError(f"{where} is not a {wanted.__name__}")
    return plain
