#!/bin/sh
# jsonpath-rust-bindings 1.1.1: a member that holds "", [] or {} does not exist.
# Seen: $.jobs[?!@.error].name, on jobs with no error, with null, 0, false, "", [] and {}
# -> none, "", [] and {}; jsonpath-rfc9535 1.0.1 -> none.
# Surprise: that expression asks whether the member is there, whatever it holds (RFC
# 9535, 2.3.5.2.1); it is taken so for null, 0 and false, which programmers know as
# "false", but not for what is empty.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check jsonpath-rust-bindings==1.1.1 \
    jsonpath-rfc9535==1.0.1 2>/dev/null
cat > "$tmp/exists.py" <<'PY'
import jsonpath_rfc9535
from jsonpath_rust_bindings import Finder

held = {"null": None, "zero": 0, "false": False, "string": "", "array": [], "object": {}}
jobs = [{"name": "none"}, *({"name": name, "error": held[name]} for name in held)]
path = "$.jobs[?!@.error].name"
print([match.data for match in Finder({"jobs": jobs}).find(path)])
print(jsonpath_rfc9535.find(path, {"jobs": jobs}).values())
PY
"$tmp/venv/bin/python" "$tmp/exists.py" | tee "$tmp/out"
printf "['none', 'string', 'array', 'object']\n['none']\n" | cmp - "$tmp/out"
