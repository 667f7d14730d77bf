#!/bin/sh
# icalevents 0.3.1: the dates of an RDATE are left out.
# Seen: an event on 2 March with RDATE for 10 and 11 March -> 2 March only; after RRULE
# the same.  recurring-ical-events 3.8.2 gives all three.
# Surprise: RDATE is how a calendar tells dates that follow no rule (RFC 5545, 3.8.5.2),
# as maintenance windows often do; EXDATE, its opposite, is kept, and nothing is raised.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check icalevents==0.3.1 \
    recurring-ical-events==3.8.2 2>/dev/null
cat > "$tmp/dates.py" <<'PY'
from datetime import UTC, datetime

import icalendar
import recurring_ical_events
from icalevents.icalparser import parse_events

start, end = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
HEAD = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//a//b//EN\r\nBEGIN:VEVENT\r\nUID:1\r\n"
HEAD += "DTSTAMP:20260101T000000Z\r\nDTSTART:20260302T200000Z\r\nDURATION:PT1H\r\n"
for more in (
    "RDATE:20260310T200000Z,20260311T200000Z",
    "RRULE:FREQ=DAILY;COUNT=3\r\nEXDATE:20260303T200000Z\r\nRDATE:20260310T200000Z",
):
    text = f"{HEAD}{more}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    calendar = icalendar.Calendar.from_ical(text)
    events = parse_events(text, start=start, end=end)
    print("icalevents", sorted(event.start.day for event in events))
    events = recurring_ical_events.of(calendar).between(start, end)
    print("recurring-ical-events", sorted(event.start.day for event in events))
PY
"$tmp/venv/bin/python" "$tmp/dates.py" | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
icalevents [2]
recurring-ical-events [2, 10, 11]
icalevents [2, 4]
recurring-ical-events [2, 4, 10]
TXT
cmp "$tmp/expected" "$tmp/out"
