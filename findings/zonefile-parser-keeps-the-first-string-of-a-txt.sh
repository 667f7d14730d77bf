#!/bin/sh
# zonefile-parser 0.1.20: of a TXT record with several strings on one line only the first
# is kept.
# Seen: key TXT "v=DKIM1; p=AAAA" "BBBB" -> "v=DKIM1; p=AAAA"; with brackets around the
# two strings, on two lines, -> "v=DKIM1; p=AAAABBBB".
# Surprise: a string has at most 255 bytes, so every DKIM key of 2048 bits is written in
# two (RFC 6376, 3.6.2.2); what is read is half a key, or an SPF record cut short.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check zonefile-parser==0.1.20 2>/dev/null
cat > "$tmp/txt.py" <<'PY'
import zonefile_parser

HEAD = """$ORIGIN example.com.
$TTL 3600
@ IN SOA ns1 hostmaster 1 7200 3600 1209600 3600
@ IN NS ns1
"""
for txt in ('"v=DKIM1; p=AAAA" "BBBB"', '( "v=DKIM1; p=AAAA"\n  "BBBB" )'):
    record = zonefile_parser.parse(f"{HEAD}key IN TXT {txt}\n")[-1]
    print(record.rtype, record.rdata["value"])
PY
"$tmp/venv/bin/python" -W ignore "$tmp/txt.py" | tee "$tmp/out"
printf 'TXT v=DKIM1; p=AAAA\nTXT v=DKIM1; p=AAAABBBB\n' | cmp - "$tmp/out"
