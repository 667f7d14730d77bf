"""Print rows: a table on a terminal, aligned text in a pipe, or JSON.

Cells may hold text from job authors and foreign servers.  Control characters are
replaced, so that no cell can move the cursor, end a line or reverse the text.
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
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TextIO

from lib.core.sanitize import harmless

if TYPE_CHECKING:
    from rich.text import Text


#: The colour of a cell of _COLOURED that begins with this word.
COLOURS = {
    "ok": "green",
    "failing": "red",
    "error": "red",
    "unknown": "yellow",
    "pending": "yellow",
    "warning": "yellow",
    "not run yet": "yellow",
}

#: The first of these columns is wrapped on a narrow terminal; columns that do not fit
#: move below it.
_SENTENCES = ("text", "reason", "details", "status")
_SENTENCE_WIDTH = 34
#: Longer cells are cut on a terminal, but not in a pipe.
_LONGEST_CELL = 240
#: Longer cells do not widen their column in a pipe.
_LONGEST_ALIGNED = 60
#: The columns that have colours.
_COLOURED = ("status", "problem")


def show(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    *,
    as_json: bool,
    out: TextIO,
    title: str = "",
    headings: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write rows to ``out``: every key as JSON, or these columns as a table.

    A terminal gets a table with a title and colours (none if NO_COLOR is set), anything
    else one aligned line per row.  Empty columns are left out.  ``headings`` are for
    columns whose name is not enough.
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
        [_harmless(_cell(column, row.get(column, "")), out) for column in columns]
        for row in rows
    ]
    if out.isatty():
        numbers = {
            column
            for column in columns
            if any(isinstance(row.get(column), float) for row in rows)
        }
        _show_table(columns, cells, out, title, numbers, headings)
    else:
        out.writelines(
            _aligned([[_heading(name, headings) for name in columns], *cells])
        )


def width(text: str) -> int:
    """Return how many columns the text takes on a terminal, as far as can be known."""
    if text.isascii():
        return len(text)
    taken, before = 0, ""
    for letter in text:
        # Emoji after a zero-width joiner are drawn as one.
        if before != "\u200d" and unicodedata.category(letter) not in _NO_WIDTH:
            taken += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        before = letter
    return taken


_NO_WIDTH = ("Mn", "Me", "Cf")


def _harmless(text: str, out: TextIO) -> str:
    encoding = out.encoding or "utf-8"
    return harmless(text).encode(encoding, "backslashreplace").decode(encoding)


def _heading(column: str, headings: Mapping[str, str] = MappingProxyType({})) -> str:
    return headings.get(column, column.replace("_", " "))


def _cell(column: str, value: Any) -> str:
    text = _text(value)
    # JSON has the code, a table has words: not_run_yet, not run yet.
    return text.replace("_", " ") if column == "status" else text


def _text(value: Any) -> str:
    """Return a value as the text of a cell."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}"
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
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return (
        value if value is None or isinstance(value, str | int | float) else str(value)
    )


def _aligned(lines: Sequence[Sequence[str]]) -> Iterable[str]:
    """Yield the lines, each column as wide as its widest cell up to a limit."""
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
    headings: Mapping[str, str],
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    # rich would use the width of stdin.
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
                _heading(name, headings),
                justify="right" if name in numbers else "left",
                overflow="fold",
                no_wrap=name not in (sentence, columns[0]),
                max_width=None if name == sentence else room // 3,
            )
    for row in cells:
        texts = dict(zip(columns, row, strict=True))
        shown = {name: _coloured(name, text) for name, text in texts.items()}
        own = {name: texts[name] for name in below if name not in alike and texts[name]}
        if own:
            shown[sentence].append(f"\n{_details(own)}", "dim")
        table.add_row(*(text for name, text in shown.items() if name not in below))
    console.print(table)


def _columns_below(
    columns: Sequence[str], cells: Sequence[Sequence[str]], sentence: str, room: int
) -> list[str]:
    """Return the columns that move below the sentence on a terminal of this width."""
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


def _details(cells: Mapping[str, str]) -> str:
    return "; ".join(f"{_heading(name)} {_cut(text)}" for name, text in cells.items())


def _coloured(column: str, text: str) -> Text:
    from rich.text import Text

    cell = Text(_cut(text))
    for word, colour in COLOURS.items():
        if column in _COLOURED and re.match(rf"{word}\b", text):
            cell.stylize(colour, 0, len(word))
    return cell


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL - 3]}..."
