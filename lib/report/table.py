"""Print rows: a table on a terminal, one line per row in a pipe, or JSON.

rich lays a table out for the terminal's width.  Cells may hold text from job authors
and foreign servers: no cell can move the cursor, end a line or reverse the text.
"""

from __future__ import annotations

import enum
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TextIO

from lib.core.sanitize import harmless
from lib.core.text import cut
from lib.report.rows import WORDS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
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
#: The first of these columns is wrapped, or is below each row of a narrow table.
_SENTENCES = ("text", "reason", "details", "says", "decision", "value", "status")
_SENTENCE_WIDTH = 34
#: What most jobs have alike, and the others say for themselves.
_SHARED = ("last_run", "next_check", "every", "notify", "contact")
#: Longer cells are cut on a terminal, but not in a pipe.
_LONGEST_CELL = 500
_LONGEST_ALIGNED = 60
#: Names are wrapped at this share of a terminal's width, and at no more than so many
#: columns, before other columns are left out.
_NAMES = ("job", "section")
_NAME_SHARE, _LONGEST_NAME = 0.4, 40

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
        show_json(rows, out)
        return
    rows = [{**row, **row.get(WORDS, {})} for row in rows]
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


def show_json(value: Any, out: TextIO) -> None:
    """Write a value, or rows without their words, as JSON: ISO 8601, seconds, codes."""
    json.dump(plain(value), out, indent=2)
    out.write("\n")


def say(line: str, out: TextIO, *, indent: int = 0) -> None:
    """Write a line of text; on a terminal it is wrapped between words."""
    line = _printable(line, out)
    if not out.isatty():
        out.write(f"{' ' * indent}{line}".rstrip() + "\n")
        return
    from rich.text import Text

    _print_wrapped(_console(out), Text(line), indent)


def height(drawn: str, columns: int) -> int:
    """Return how many lines of a terminal it takes, which breaks those too long."""
    from rich.cells import cell_len

    plain_lines = _STYLE.sub("", drawn).splitlines()
    return sum(max(1, -(-cell_len(line) // columns)) for line in plain_lines)


def top(drawn: str, columns: int, lines: int) -> str:
    """Return as much of the beginning as takes so many lines; the first line stays."""
    first, *others = drawn.splitlines(keepends=True)
    while others and height(first + "".join(others), columns) > lines:
        others.pop()
    return first + "".join(others)


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


def plain(value: Any) -> Any:
    """Return a value as JSON holds it: times in ISO 8601, lengths in seconds."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items() if key != WORDS}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
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


#: What turns colours on and off.
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
#: Around and between columns.
_AROUND, _BETWEEN = 2, 3
#: What is below a row begins here.
_INDENT = 6


def _show_table(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    names: Mapping[str, str],
    out: TextIO,
    title: str,
) -> None:
    """Print a table; no word is broken that fits in a line, but in long names.

    Where the sentence has no room beside the other columns it is below each row, with
    the columns that do not fit.  What all rows have alike in such a column is below the
    table; so is what most have of what jobs share, and the others show theirs.
    """
    console = _console(out)
    sentence = next((name for name in _SENTENCES if name in columns), columns[-1])
    needed = _needed(sentence, rows)
    widths = _widths(columns, rows, names)
    if len(columns) > 1 and _beside(widths, sentence, console.width) < needed:
        widths = _with_names_wrapped(widths, console.width)
    if len(columns) == 1 or _beside(widths, sentence, console.width) >= needed:
        table = _table(console, widths, rows, names, sentence, title)
        console.print(table)
        return
    kept = _fitting(columns, widths, sentence, console.width - _AROUND)
    below = [name for name in columns if name not in kept and name != sentence]
    common = {name: _alike(name, [row[name] for row in rows]) for name in below}
    _show_with_lines_below(console, kept, rows, names, sentence, common, title)


def _widths(
    columns: Iterable[str],
    rows: Sequence[Mapping[str, str]],
    names: Mapping[str, str],
) -> dict[str, int]:
    """Return the width of each column."""
    from rich.cells import cell_len

    return {
        name: max(map(cell_len, (names[name], *(row[name] for row in rows))))
        for name in columns
    }


def _beside(widths: Mapping[str, int], sentence: str, room: int) -> int:
    """Return how much the others leave to the sentence."""
    others = [width for name, width in widths.items() if name != sentence]
    return room - _AROUND - _taken(others) - _BETWEEN


def _with_names_wrapped(widths: Mapping[str, int], room: int) -> dict[str, int]:
    most = min(_LONGEST_NAME, int(room * _NAME_SHARE))
    return {
        name: min(width, most) if name in _NAMES else width
        for name, width in widths.items()
    }


def _taken(widths: Iterable[int]) -> int:
    """Return how much columns of these widths take, with what is between them."""
    return sum(width + _BETWEEN for width in widths) - _BETWEEN


def _needed(column: str, rows: Iterable[Mapping[str, str]]) -> int:
    """Return the least width of a column that wraps: some words, or its longest."""
    from rich.cells import cell_len

    cells = [cut(row[column], _LONGEST_CELL) for row in rows]
    words = [cell_len(word) for cell in cells for word in cell.split()]
    longest = max(map(cell_len, cells), default=0)
    return min(longest, max(_SENTENCE_WIDTH, *words, 0))


def _fitting(
    columns: Sequence[str], widths: Mapping[str, int], sentence: str, room: int
) -> dict[str, int]:
    """Return the columns that fit, with their widths; the last ones are left out.

    The first one and coloured ones stay; the first one is wrapped if need be.
    """
    kept = {name: width for name, width in widths.items() if name != sentence}
    for name in reversed(columns):
        if _taken(kept.values()) <= room:
            break
        if name in kept and name not in (columns[0], *_COLOURED):
            del kept[name]
    too_much = max(0, _taken(kept.values()) - room)
    if columns[0] in kept:
        kept[columns[0]] = max(10, kept[columns[0]] - too_much)
    return kept


def _alike(column: str, cells: Sequence[str]) -> str:
    """Return the cell of all rows, or of most where jobs share such; or nothing.

    A job's own, such as its last 24 hours, would read as that of all.
    """
    ((cell, count),) = Counter(cells).most_common(1)
    is_told_once = count > 1 and (column in _SHARED or count == len(cells))
    return cell if is_told_once else ""


def _table(
    console: Console,
    widths: Mapping[str, int],
    rows: Iterable[Mapping[str, str]],
    names: Mapping[str, str],
    sentence: str,
    title: str,
) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        box=SIMPLE_HEAD,
        title=title or None,
        title_justify="left",
        title_style="bold",
    )
    for name, width in widths.items():
        is_name = name in _NAMES and name != sentence
        table.add_column(
            names[name],
            justify="right" if name == "seconds" else "left",
            overflow="fold",
            no_wrap=not (is_name or name == sentence),
            width=width if is_name else None,
        )
    for row in rows:
        table.add_row(*(_text(name, row[name]) for name in widths))
    return table


def _show_with_lines_below(
    console: Console,
    widths: Mapping[str, int],
    rows: Sequence[Mapping[str, str]],
    names: Mapping[str, str],
    sentence: str,
    common: Mapping[str, str],
    title: str,
) -> None:
    """Print rows of these columns; the sentence and the others below each of them."""
    from rich.padding import Padding
    from rich.rule import Rule
    from rich.text import Text

    if title:
        console.print(Text(title, "bold"))
    heading = {name: Text(names[name], "bold") for name in widths}
    console.print(Padding(_line(widths, heading), (1, 1, 0, 1)))
    # rich itself draws the one that ASCII has not.
    characters = "-" if console.options.ascii_only else "─"
    console.print(Rule(characters=characters, style="none"))
    for row in rows:
        cells = {name: _text(name, row[name]) for name in widths}
        console.print(Padding(_line(widths, cells), (0, 1)))
        differing = {
            name: row[name] or "-" for name, cell in common.items() if row[name] != cell
        }
        for text in (
            _text(sentence, row[sentence]),
            Text(_details(differing, names), "dim"),
        ):
            if text:
                _print_wrapped(console, text, _INDENT, 1)
    if said := _details(common, names):
        alike = all(row[name] == cell for row in rows for name, cell in common.items())
        said = f"each: {said}" if alike else f"{said}, unless a line says otherwise"
        console.print()
        _print_wrapped(console, Text(said, "dim"), 1, 1)


def _print_wrapped(console: Console, text: Text, left: int, right: int = 0) -> None:
    """Print text, wrapped between words, with so much space around it.

    A word that is longer than a line, such as a URL, stays whole: the terminal breaks
    it, and it can be copied.
    """
    room = console.width - left - right
    for paragraph in text.split(allow_blank=True):
        for line in paragraph.divide(_line_starts(paragraph.plain, room)):
            line.rstrip()
            line.pad_left(left)
            console.print(line, soft_wrap=True)


def _line_starts(text: str, room: int) -> Iterator[int]:
    """Yield where a line begins, but the first, if none is longer than ``room``."""
    from rich.cells import cell_len

    taken = 0
    for word in re.finditer(r"\S+\s*", text):
        if taken and taken + cell_len(word[0].rstrip()) > room:
            yield word.start()
            taken = 0
        taken += cell_len(word[0])


def _line(widths: Mapping[str, int], cells: Mapping[str, Text]) -> Table:
    from rich.table import Table

    line = Table.grid(padding=(0, _BETWEEN, 0, 0))
    for name, width in widths.items():
        justify: Literal["left", "right"] = "right" if name == "seconds" else "left"
        line.add_column(justify=justify, width=width, overflow="fold")
    line.add_row(*cells.values())
    return line


def _details(cells: Mapping[str, str], names: Mapping[str, str]) -> str:
    return "; ".join(f"{names[name]} {cell}" for name, cell in cells.items() if cell)


def _text(column: str, cell: str) -> Text:
    from rich.text import Text

    text = Text(cut(cell, _LONGEST_CELL))
    if column in _COLOURED:
        for word, colour in COLOURS.items():
            if cell.startswith(word):
                text.stylize(colour, 0, len(word))
    return text
