"""The type of passwords, tokens and keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


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


class Secrets:
    """All secrets of the settings, for the one who removes them from a text.

    Iterating yields them plain, the longest first.
    """

    __slots__ = ("_texts",)

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts = tuple(sorted(set(texts), key=lambda text: (-len(text), text)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __bool__(self) -> bool:
        return bool(self._texts)

    def __repr__(self) -> str:
        return "***"


NO_SECRETS = Secrets()
