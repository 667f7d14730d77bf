#!/bin/sh
# python-whois 0.9.6: of a .rs domain, day and month are swapped up to the 12th.
# Seen: "Expiration date: 03.02.2027 12:31:19", as the registry writes day, month and
# year -> 2 March; "26.08.2027 17:01:07" -> 26 August.  whoisdomain 2.20260806.3 reads
# both right.
# Surprise: there is a parser for .rs, and others of this package take the day first; a
# watch on the end of a domain is up to eleven months off, for the first days of each
# month only.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check python-whois==0.9.6 \
    whoisdomain==2.20260806.3 2>/dev/null
cat > "$tmp/ends.py" <<'PY'
from whois.parser import WhoisEntry
from whoisdomain.handleDateStrings import str_to_date

for end in ("26.08.2027 17:01:07", "03.02.2027 12:31:19"):
    text = f"Domain name: example.rs\nDomain status: Active\nExpiration date: {end}\n"
    entry = WhoisEntry.load("example.rs", text)
    print(type(entry).__name__, end, entry["expiration_date"].date())
    print("whoisdomain", end, str_to_date(end).date())
PY
"$tmp/venv/bin/python" "$tmp/ends.py" | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
WhoisRs 26.08.2027 17:01:07 2027-08-26
whoisdomain 26.08.2027 17:01:07 2027-08-26
WhoisRs 03.02.2027 12:31:19 2027-03-02
whoisdomain 03.02.2027 12:31:19 2027-02-03
TXT
cmp "$tmp/expected" "$tmp/out"
