#!/bin/sh
# cron-descriptor 2.2.1: a day of the month together with a range of weekdays is told
# without "or".
# Seen: "0 9 1 * 1" -> "..., on day 1 of the month, or on Monday", but "0 9 1 * 1-5" ->
# "..., on day 1 of the month, Monday through Friday".  By cron (crontab(5): the command
# runs when either field matches; cronsim 2.8 shows the days) it runs on every weekday.
# Surprise: the text reads as "on the 1st, if that is a weekday", 12 runs a year at the
# most; the job runs more than 260 times.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check cron-descriptor==2.2.1 cronsim==2.8 2>/dev/null
cat > "$tmp/days.py" <<'PY'
from datetime import datetime

from cron_descriptor import get_description
from cronsim import CronSim

for expression in ("0 9 1 * 1", "0 9 1 * 1-5"):
    times = CronSim(expression, datetime(2026, 11, 29))
    print(get_description(expression), [next(times).day for _ in range(4)])
PY
"$tmp/venv/bin/python" "$tmp/days.py" | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
At 09:00 AM, on day 1 of the month, or on Monday [30, 1, 7, 14]
At 09:00 AM, on day 1 of the month, Monday through Friday [30, 1, 2, 3]
TXT
cmp "$tmp/expected" "$tmp/out"
