"""Print rows: a table on a terminal, one line per row in a pipe, or JSON.

rich lays a table out for the terminal's width.  Cells may hold text from job authors
and foreign servers: no cell can move the cursor, end a line or reverse the text.
"""

from __future__ import annotations

import enum
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TextIO

from lib.core.sanitize import harmless
from lib.core.text import cut

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: The colour of a status or problem that begins with this.
COLOURS = {
    "ok": "green",
    "failing": "red",
    "error": "red",
    "unknown": "yellow",
    "pending": "yellow",
    "warning": "yellow",
    "not run yet": "yellow",
}
_COLOURED = ("status", "problem")
#: The first of these columns is wrapped on a narrow terminal; columns that do not fit
#: move below it.
_SENTENCES = ("text", "reason", "details", "says", "decision", "value", "status")
_SENTENCE_WIDTH = 34
#: Longer cells are cut on a terminal, but not in a pipe.
_LONGEST_CELL = 240
_LONGEST_ALIGNED = 60

_AS_NAMED: Mapping[str, str] = MappingProxyType({})


def show(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    *,
    as_json: bool,
    out: TextIO,
    title: str = "",
    headings: Mapping[str, str] = _AS_NAMED,
) -> None:
    """Write rows to ``out``: every key as JSON, or these columns as a table.

    A terminal gets a table with a title and colours (none if NO_COLOR is set), without
    the columns that are empty in every row.  Anything else gets one line per row, with
    two spaces between columns and ``-`` for an empty cell.  ``headings`` are for
    columns whose name is not enough.
    """
    if as_json:
        json.dump([_plain(row) for row in rows], out, indent=2)
        out.write("\n")
        return
    if out.isatty() and rows:
        columns = [
            name
            for name in columns
            if any(row.get(name) not in ("", None, ()) for row in rows)
        ]
    names = {name: headings.get(name, name.replace("_", " ")) for name in columns}
    cells = [
        {name: _printable(_cell(name, row.get(name)), out) for name in columns}
        for row in rows
    ]
    if out.isatty():
        _show_table(columns, cells, names, out, title)
    else:
        out.writelines(_lines([names, *cells]))


def say(line: str, out: TextIO, *, indent: int = 0) -> None:
    """Write a line of text; on a terminal it is wrapped between words."""
    line = _printable(line, out)
    if not out.isatty():
        out.write(f"{' ' * indent}{line}".rstrip() + "\n")
        return
    from rich.padding import Padding
    from rich.text import Text

    _console(out).print(Padding(Text(line), (0, 0, 0, indent)))


def _printable(text: str, out: TextIO) -> str:
    encoding = out.encoding or "utf-8"
    return harmless(text).encode(encoding, "backslashreplace").decode(encoding)


def _cell(column: str, value: Any) -> str:
    """Return a value as the text of a cell."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    # JSON has the code, a table has words: not_run_yet, not run yet.
    return str(value).replace("_", " ") if column == "status" else str(value)


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


# In a pipe.


def _lines(rows: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """Yield a line per row; longer cells than _LONGEST_ALIGNED widen no other row."""
    from rich.cells import cell_len

    lines = [[cell or "-" for cell in row.values()] for row in rows]
    widths = [
        max(width for width in map(cell_len, cells) if width <= _LONGEST_ALIGNED)
        for cells in zip(*lines, strict=True)
    ]
    for row in lines:
        *padded, last = (
            cell + " " * (width - cell_len(cell))
            for cell, width in zip(row, widths, strict=True)
        )
        yield "  ".join((*padded, last.rstrip())) + "\n"


# On a terminal.


def _console(out: TextIO) -> Console:
    from rich.console import Console

    # rich would take the width of standard input.
    width = os.get_terminal_size(out.fileno()).columns or 80
    return Console(file=out, width=width, highlight=False, emoji=False)


#: rich puts this around and between columns.
_AROUND, _BETWEEN = 2, 3


def _show_table(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    names: Mapping[str, str],
    out: TextIO,
    title: str,
) -> None:
    """Print a table: the first column and the sentence wrap, the others do not.

    Columns that do not fit, the last first, move below the sentence, or once below the
    table if all rows have the same.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console = _console(out)
    sentence = next((name for name in _SENTENCES if name in columns), columns[-1])
    widths = _widths(columns, rows, names, sentence, console.width)
    below: list[str] = []
    for name in reversed(columns):
        if sum(widths.values()) + _BETWEEN * len(widths) - 1 + _AROUND <= console.width:
            break
        if name not in (columns[0], sentence, *_COLOURED):
            below.insert(0, name)
            del widths[name]
            widths[sentence] = _SENTENCE_WIDTH
    alike = [
        name for name in below if len({row[name] for row in rows}) == 1 < len(rows)
    ]
    caption = f"each: {_details(alike, rows[0], names)}" if alike else None
    table = Table(
        box=SIMPLE_HEAD,
        title=title or None,
        title_justify="left",
        title_style="bold",
        caption=caption,
        caption_justify="left",
    )
    for name, width in widths.items():
        table.add_column(
            names[name],
            justify="right" if name == "seconds" else "left",
            overflow="fold",
            no_wrap=name not in (columns[0], sentence),
            max_width=width if name == columns[0] else None,
        )
    for row in rows:
        texts = {name: _text(name, row[name]) for name in widths}
        if more := _details([name for name in below if name not in alike], row, names):
            start = "\n" if row[sentence] else ""
            texts[sentence].append(f"{start}{more}", "dim")
        table.add_row(*texts.values())
    console.print(table)


def _widths(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    names: Mapping[str, str],
    sentence: str,
    room: int,
) -> dict[str, int]:
    """Return the width that each column needs; those that wrap need less."""
    from rich.cells import cell_len

    widths = {
        name: max(map(cell_len, (names[name], *(row[name] for row in rows))))
        for name in columns
    }
    first = columns[0]
    words = [cell_len(word) for row in rows for word in row[first].split()]
    most = max(room // 3, min(room // 2, max(words, default=0)))
    widths[first] = min(widths[first], most)
    widths[sentence] = min(widths[sentence], _SENTENCE_WIDTH)
    return widths


def _details(
    columns: Iterable[str], row: Mapping[str, str], names: Mapping[str, str]
) -> str:
    return "; ".join(f"{names[name]} {row[name]}" for name in columns if row[name])


def _text(column: str, cell: str) -> Text:
    from rich.text import Text

    text = Text(cut(cell, _LONGEST_CELL))
    if column in _COLOURED:
        for word, colour in COLOURS.items():
            if cell.startswith(word):
                text.stylize(colour, 0, len(word))
    return text
