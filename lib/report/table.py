"""How rows are shown: a table on a terminal, plain text in a pipe, JSON for machines.

What is shown comes from job authors, settings and strangers' servers, so nothing in
it may move a cursor, end a line, or turn the reading direction.
"""

from __future__ import annotations

import enum
import json
import math
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TextIO

from lib.core.sanitize import harmless
from lib.core.text import in_zone, local

if TYPE_CHECKING:
    from rich.text import Text


#: The words that have a colour where a cell begins with them.
COLOURS = {
    "ok": "green",
    "failing": "red",
    "error": "red",
    "unknown": "yellow",
    "pending": "yellow",
    "warning": "yellow",
    "not run yet": "yellow",
}

#: The column that holds sentences: broken into lines where a terminal is narrow,
#: and what has no place of its own moves below it.
_SENTENCES = ("text", "reason", "verdict")
_SENTENCE_WIDTH = 34
#: A cell on a terminal is cut there; one in a pipe is not cut.
_LONGEST_CELL = 240
#: Longer cells in a pipe do not push what is right of them in every other row.
_LONGEST_ALIGNED = 60
#: The columns whose first words are coloured.
_JUDGED = ("verdict", "problem")


def show(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    *,
    as_json: bool,
    out: TextIO,
    title: str = "",
) -> None:
    """Write rows to ``out``: as JSON, all of each; or its ``columns``, in that order.

    A terminal gets a table with colours (none if NO_COLOR is set), anything else one
    row a line in aligned columns, without the title.
    """
    if as_json:
        json.dump([_plain(row) for row in rows], out, indent=2)
        out.write("\n")
        return
    if rows:
        columns = [
            name
            for name in columns
            if any(row.get(name) not in ("", None, ()) for row in rows)
        ]
    cells = [
        [_harmless(_text(row.get(column, "")), out) for column in columns]
        for row in rows
    ]
    if out.isatty():
        numbers = {
            column
            for column in columns
            if any(isinstance(row.get(column), float) for row in rows)
        }
        _show_table(columns, cells, out, title, numbers)
    else:
        out.writelines(_aligned([[_heading(name) for name in columns], *cells]))


def width(text: str) -> int:
    """Return how many columns of a terminal the text takes, as well as can be known."""
    if text.isascii():
        return len(text)
    taken, before = 0, ""
    for letter in text:
        # What a joiner joins is drawn in one place: a family, a flag on a pole.
        if before != "\u200d" and unicodedata.category(letter) not in _NO_WIDTH:
            taken += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        before = letter
    return taken


_NO_WIDTH = ("Mn", "Me", "Cf")


def _harmless(text: str, out: TextIO) -> str:
    encoding = out.encoding or "utf-8"
    return harmless(text).encode(encoding, "backslashreplace").decode(encoding)


def _heading(column: str) -> str:
    return column.replace("_", " ")


def _text(value: Any) -> str:
    """Return a value as a cell says it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, datetime):
        return local(value)
    if isinstance(value, list | tuple):
        return ", ".join(_text(part) for part in value)
    return str(value)


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it: times in ISO 8601, lengths in seconds."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, datetime):
        return (value if value.tzinfo else in_zone(value)).isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return (
        value if value is None or isinstance(value, str | int | float) else str(value)
    )


def _aligned(lines: Sequence[Sequence[str]]) -> Iterable[str]:
    """Yield the lines with each column as wide as its widest cell, within reason."""
    widths = [
        max(taken for taken in map(width, cells) if taken <= _LONGEST_ALIGNED)
        for cells in zip(*lines, strict=True)
    ]
    for line in lines:
        padded = (
            cell + " " * (wide - width(cell))
            for cell, wide in zip(line, widths, strict=True)
        )
        yield "  ".join(padded).rstrip() + "\n"


def _show_table(
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    out: TextIO,
    title: str,
    numbers: set[str],
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    # rich would ask stdin how wide it is.
    room = os.get_terminal_size(out.fileno()).columns or 80
    console = Console(file=out, width=room, highlight=False, emoji=False)
    sentence = next((name for name in _SENTENCES if name in columns), columns[-1])
    below = _columns_below(columns, cells, sentence, room)
    alike = {
        name: own[0]
        for name, *own in zip(columns, *cells, strict=True)
        if name in below and len(own) > 1 and len(set(own)) == 1
    }
    table = Table(
        box=SIMPLE_HEAD,
        title=title or None,
        title_justify="left",
        title_style="bold",
        caption=f"each: {_details(alike)}" if alike else None,
        caption_justify="left",
    )
    for name in columns:
        if name not in below:
            table.add_column(
                _heading(name),
                justify="right" if name in numbers else "left",
                overflow="fold",
                no_wrap=name not in (sentence, columns[0]),
                max_width=None if name == sentence else room // 3,
            )
    for row in cells:
        said = dict(zip(columns, row, strict=True))
        shown = {name: _coloured(name, text) for name, text in said.items()}
        own = {name: said[name] for name in below if name not in alike and said[name]}
        if own:
            shown[sentence].append(f"\n{_details(own)}", "dim")
        table.add_row(*(text for name, text in shown.items() if name not in below))
    console.print(table)


def _columns_below(
    columns: Sequence[str], cells: Sequence[Sequence[str]], sentence: str, room: int
) -> list[str]:
    """Return the columns that move below the sentence on a terminal ``room`` wide."""
    widths = {
        name: max(min(width(text), room // 3) for text in (name, *own)) + 3
        for name, *own in zip(columns, *cells, strict=True)
    }
    widths[sentence] = min(widths[sentence], _SENTENCE_WIDTH)
    below: list[str] = []
    for name in sorted(columns[1:], key=lambda name: widths[name], reverse=True):
        if sum(widths.values()) <= room:
            break
        if name != sentence:
            below.append(name)
            widths[name] = 0
    return [name for name in columns if name in below]


def _details(said: Mapping[str, str]) -> str:
    return "; ".join(f"{_heading(name)} {_cut(text)}" for name, text in said.items())


def _coloured(column: str, text: str) -> Text:
    from rich.text import Text

    found = Text(_cut(text))
    for word, colour in COLOURS.items():
        if column in _JUDGED and re.match(rf"{word}\b", text):
            found.stylize(colour, 0, len(word))
    return found


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL - 3]}..."
