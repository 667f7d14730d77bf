#!/bin/sh
# icalendar 7.3.2: a DURATION in hours is added to the reading of the clock.
# Seen: 22:00 in Berlin on the evening before summer time, DURATION:PT8H -> end 06:00, 7
# hours later; before winter time 06:00 too, 9 hours later.
# Surprise: RFC 5545, 3.3.6: hours are exact, only days and weeks follow the calendar; so
# it should be 07:00 and 05:00.  A maintenance window ends an hour early, or late.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check icalendar==7.3.2 2>/dev/null
cat > "$tmp/window.py" <<'PY'
import icalendar

for night in ("20260328", "20261024"):
    event = icalendar.Event.from_ical(
        "BEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n"
        f"DTSTART;TZID=Europe/Berlin:{night}T220000\r\nDURATION:PT8H\r\nEND:VEVENT\r\n"
    )
    print(event.end, event.end.timestamp() - event.start.timestamp(), "s")
PY
"$tmp/venv/bin/python" "$tmp/window.py" | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
2026-03-29 06:00:00+02:00 25200.0 s
2026-10-25 06:00:00+01:00 32400.0 s
TXT
cmp "$tmp/expected" "$tmp/out"
