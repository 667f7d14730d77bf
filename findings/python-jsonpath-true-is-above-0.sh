#!/bin/sh
# python-jsonpath 2.2.2: true is more than 0, and false is less than 1.
# Seen: $[?@.errors > 0].job on errors of 3, 0, true and "n/a" -> those of 3 and of true;
# > 0 holds for true and >= 1 does not; with strict=True the same.  jsonpath-rfc9535
# 1.0.1, by the same author: 3 only.
# Surprise: "<" and ">" are for two numbers or two strings and false for all else (RFC
# 9535, 2.3.5.2.2), and "==" keeps true and 1 apart here.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check python-jsonpath==2.2.2 \
    jsonpath-rfc9535==1.0.1 2>/dev/null
cat > "$tmp/compare.py" <<'PY'
import jsonpath
import jsonpath_rfc9535

jobs = [{"job": str(errors), "errors": errors} for errors in (3, 0, True, "n/a")]
strict = jsonpath.JSONPathEnvironment(strict=True)
for sign in ("> 0", ">= 1", "== 1", "< 1"):
    path = f"$[?@.errors {sign}].job"
    found = strict.findall(path, jobs)
    assert found == jsonpath.findall(path, jobs)
    print(sign, found, jsonpath_rfc9535.find(path, jobs).values())
PY
"$tmp/venv/bin/python" "$tmp/compare.py" | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
> 0 ['3', 'True'] ['3']
>= 1 ['3'] ['3']
== 1 [] []
< 1 ['0'] ['0']
TXT
cmp "$tmp/expected" "$tmp/out"
