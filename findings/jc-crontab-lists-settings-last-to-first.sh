#!/bin/sh
# jc 1.26.1: --crontab gives the settings of a crontab from the last to the first, apart
# from its jobs.
# Seen: two jobs, each below a MAILTO of its own -> variables: the second MAILTO, then the
# first; schedule: the jobs as they stand.  A dict made of the variables in turn has
# MAILTO of the first.
# Surprise: a setting counts for the lines below it, the later one replaces the earlier
# (crontab(5)); jobs keep their order, so one expects the last of two to come last.  In the
# sections of a file it cannot be told any more who is mailed for which job.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check jc==1.26.1 2>/dev/null
cat > "$tmp/crontab" <<'TXT'
MAILTO=backup@example.com
0 3 * * * backup
MAILTO=web@example.com
0 4 * * * rotate
TXT
cat > "$tmp/look.py" <<'PY'
import sys

import jc

found = jc.parse("crontab", open(sys.argv[1]).read())
for one in found["variables"]:
    print(one["name"], one["value"])
for one in found["schedule"]:
    print(one["command"])
print({one["name"]: one["value"] for one in found["variables"]})
PY
"$tmp/venv/bin/python" "$tmp/look.py" "$tmp/crontab" | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
MAILTO web@example.com
MAILTO backup@example.com
backup
rotate
{'MAILTO': 'backup@example.com'}
TXT
cmp "$tmp/expected" "$tmp/out"
