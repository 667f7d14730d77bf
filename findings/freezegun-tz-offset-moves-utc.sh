#!/bin/sh
# freezegun 1.5.5: tz_offset also shifts the *aware* UTC clock.
# freeze_time("2026-11-28 12:00", tz_offset=2) gives
#   datetime.now(timezone.utc)  2026-11-28 14:00:00+00:00
#   time.time()                 1795867200.0, which is 12:00 UTC
# Surprise: tz_offset stands for the local zone, so one expects only the naive
# now() to move.  The two clocks of one frozen moment are 7200 s apart.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check freezegun==1.5.5 2>/dev/null
TZ=UTC "$tmp/venv/bin/python" - <<'PY'
import datetime, sys, time
from freezegun import freeze_time
with freeze_time("2026-11-28 12:00", tz_offset=2):
    aware, seconds = datetime.datetime.now(datetime.timezone.utc), time.time()
print(aware, seconds, aware.timestamp() - seconds)
sys.exit(not (str(aware) == "2026-11-28 14:00:00+00:00"
              and seconds == 1795867200.0 and aware.timestamp() - seconds == 7200))
PY
