#!/bin/sh
# jsonpath-python 1.1.6: a path that it does not understand finds nothing.
# Seen: $[?@.state == "down"].job, as RFC 9535 writes a filter -> []; with && between two
# comparisons -> [], with "and" -> the job; $[-1] -> [], and an unclosed bracket -> [].
# Surprise: it sends those who need RFC 9535 elsewhere, and has an ExprSyntaxError, so one
# expects to be told; [] is just what a check for bad states hopes for.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check jsonpath-python==1.1.6 2>/dev/null
cat > "$tmp/paths.py" <<'PY'
from jsonpath import JSONPath

jobs = [{"job": "a", "state": "up"}, {"job": "b", "state": "down", "tries": 3}]
for path in (
    '$[?(@.state == "down")].job',
    '$[?@.state == "down"].job',
    '$[?(@.state == "down" and @.tries > 2)].job',
    '$[?(@.state == "down" && @.tries > 2)].job',
    "$[1].job",
    "$[-1].job",
    '$[?(@.state == "down")',
):
    print(path, JSONPath(path).parse(jobs))
PY
"$tmp/venv/bin/python" "$tmp/paths.py" | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
$[?(@.state == "down")].job ['b']
$[?@.state == "down"].job []
$[?(@.state == "down" and @.tries > 2)].job ['b']
$[?(@.state == "down" && @.tries > 2)].job []
$[1].job ['b']
$[-1].job []
$[?(@.state == "down") []
TXT
cmp "$tmp/expected" "$tmp/out"
