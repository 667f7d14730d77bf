#!/bin/sh
# pycron 3.3.0: 7 is no day of the week.
# Seen: over one week "0 9 * * 5-7" is due on Friday and Saturday, "0 9 * * 7" never;
# with 0 or "sun" it is due on Sunday.  crontab(5): 0 or 7 is Sunday, and so cronsim 2.8.
# Surprise: nothing is raised, is_now() is just False; the job of the weekend does not
# run on Sundays.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check pycron==3.3.0 cronsim==2.8 2>/dev/null
cat > "$tmp/week.py" <<'PY'
from datetime import datetime, timedelta

import pycron
from cronsim import CronSim

week = [datetime(2026, 12, 7, 9) + timedelta(days=n) for n in range(7)]
for expression in ("0 9 * * 5-7", "0 9 * * 7", "0 9 * * 0", "0 9 * * sun"):
    due = [time for time in week if pycron.is_now(expression, time)]
    times = CronSim(expression, week[0] - timedelta(minutes=1))
    expected = [time for time in (next(times) for _ in range(7)) if time in week]
    print(expression, *(f"{time:%a}" for time in due), end="")
    print(" | cronsim:", *(f"{time:%a}" for time in expected))
PY
"$tmp/venv/bin/python" "$tmp/week.py" | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
0 9 * * 5-7 Fri Sat | cronsim: Fri Sat Sun
0 9 * * 7 | cronsim: Sun
0 9 * * 0 Sun | cronsim: Sun
0 9 * * sun Sun | cronsim: Sun
TXT
cmp "$tmp/expected" "$tmp/out"
