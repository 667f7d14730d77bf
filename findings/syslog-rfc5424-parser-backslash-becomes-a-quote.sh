#!/bin/sh
# syslog-rfc5424-parser 0.2.0: an escaped backslash in structured data comes back as a
# quotation mark.
# Seen: path="C:\\logs" (RFC 5424, 6.3.3: "\\" stands for one backslash) -> 'C:"logs';
# the escaped quotation mark itself, "\"", is a ParseError of the whole message.
# Surprise: of the three escapes that the RFC demands only "\]" comes back right; one
# changes the value without a word, one costs the message.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check syslog-rfc5424-parser==0.2.0 2>/dev/null
cat > "$tmp/escapes.py" <<'PY'
from syslog_rfc5424_parser import ParseError, SyslogMessage

for value in (r"C:\\logs", r"the \"new\" one", r"[x\]"):
    line = f'<165>1 2026-11-29T09:00:00Z host app - - [a@32473 path="{value}"] text'
    try:
        print(value, "->", SyslogMessage.parse(line).sd["a@32473"]["path"])
    except ParseError:
        print(value, "-> ParseError")
PY
"$tmp/venv/bin/python" "$tmp/escapes.py" | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
C:\\logs -> C:"logs
the \"new\" one -> ParseError
[x\] -> [x]
TXT
cmp "$tmp/expected" "$tmp/out"
