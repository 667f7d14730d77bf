#!/bin/sh
# rich 15.0.0: Console.measure(table).minimum is never more than the console's width.
# A table of one unwrapped word of 50 characters, on a console 20 wide:
#   console.measure(table).minimum                       20
#   ... with options=console.options.update_width(1000)  54
# Surprise: "minimum" reads as what the table needs, so comparing it with the width
# looks like the way to ask whether it fits; the answer is always yes.  And a column
# with no_wrap=True counts with its longest word, though it cannot be broken there.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check rich==15.0.0 2>/dev/null
"$tmp/venv/bin/python" - <<'PY'
import sys
from rich.console import Console
from rich.table import Table
console = Console(width=20)
wide = console.options.update_width(1000)
table = Table()
table.add_column("a", no_wrap=True)
table.add_row("x" * 50)
words = Table()
words.add_column("a", no_wrap=True)
words.add_row("two words of a column")
found = (console.measure(table).minimum, console.measure(table, options=wide).minimum,
         console.measure(words, options=wide).minimum)
print(found)
sys.exit(found != (20, 54, 10))
PY
