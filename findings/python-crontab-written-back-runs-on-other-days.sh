#!/bin/sh
# python-crontab 3.4.0: a crontab that is read and written back runs on other days.
# Seen: "0 9 1-31/2 * 1" is written as "0 9 */2 * 1", and "0 9 1-31 * 1" as "0 9 * * 1".
# With both fields of days restricted either is enough (crontab(5)), and a field that
# begins with "*" is none: so "odd days and Mondays" becomes "Mondays with an odd day",
# and "every day" becomes "Mondays"; cronsim 2.8 shows the days.
# Surprise: the job was not touched; a tool that adds another one to the table takes
# runs away from this one.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check python-crontab==3.4.0 cronsim==2.8 2>/dev/null
cat > "$tmp/written.py" <<'PY'
from datetime import datetime

from cronsim import CronSim
from crontab import CronTab


def days(expression):
    times = CronSim(expression, datetime(2026, 11, 29))
    return [next(times).day for _ in range(5)]


for expression in ("0 9 1-31/2 * 1", "0 9 1-31 * 1"):
    table = CronTab(tab=f"{expression} /job\n")
    table.new(command="/other").minute.on(0)
    written = table.render().splitlines()[0].removesuffix(" /job")
    print(expression, days(expression), "->", written, days(written))
PY
"$tmp/venv/bin/python" "$tmp/written.py" | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
0 9 1-31/2 * 1 [29, 30, 1, 3, 5] -> 0 9 */2 * 1 [7, 21, 11, 25, 1]
0 9 1-31 * 1 [29, 30, 1, 2, 3] -> 0 9 * * 1 [30, 7, 14, 21, 28]
TXT
cmp "$tmp/expected" "$tmp/out"
