#!/bin/sh
# IMAPClient 4.1.0: in a FETCH by UID, a line without UID is filed under its sequence
# number, among the UIDs.
# Seen: "1 (UID 5 FLAGS (\Seen))" and the server's own "5 (FLAGS (\Deleted))", about
# the fifth mail -> UID 5 is deleted, and its own flags are gone.
# Surprise: such lines of the server's own are allowed at any time (RFC 3501, 7.4.2);
# one would expect that they are left out, or kept apart.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check IMAPClient==4.1.0 2>/dev/null
cat > "$tmp/fetch.py" <<'EOF'
from imapclient.response_parser import parse_fetch_response

lines = [rb"1 (UID 5 FLAGS (\Seen))", rb"5 (FLAGS (\Deleted))"]
print(parse_fetch_response(lines)[5])
EOF
"$tmp/venv/bin/python" "$tmp/fetch.py" | tee "$tmp/out"
grep -qF "{b'SEQ': 5, b'FLAGS': (b'\\\\Deleted',)}" "$tmp/out"
