"""The type of passwords, tokens and keys."""

from __future__ import annotations


class Secret:
    """A password, token or key, which shows as ``***`` wherever it goes.

    msgspec refuses to encode it, unless a hook says how: then ``***`` with ``str``.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret itself, for the one who logs in with it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)
