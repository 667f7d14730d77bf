#!/bin/sh
# timelength 3.0.4: "1D" is a decade.
# Seen: 1S, 1H, 1W and 1Y are what 1s, 1h, 1w and 1y are; 1D is 315360000 s, 1d 86400 s.
# So it is with every FailureFlag set: a success, nothing among the invalid parts.
# Surprise: upper case is read as lower case for all but D (and M, the month), and the
# other unit is 3650 times as long: a retention or a limit of "7D" never ends.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check timelength==3.0.4 2>/dev/null
cat > "$tmp/units.py" <<'PY'
from timelength import English, FailureFlags, TimeLength

for unit in "sShHdDwWyY":
    result = TimeLength(f"1{unit}", locale=English(flags=FailureFlags.ALL)).result
    print(f"1{unit}", result.success, result.invalid, f"{result.seconds:.0f}")
PY
"$tmp/venv/bin/python" "$tmp/units.py" | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
1s True () 1
1S True () 1
1h True () 3600
1H True () 3600
1d True () 86400
1D True () 315360000
1w True () 604800
1W True () 604800
1y True () 31536000
1Y True () 31536000
TXT
cmp "$tmp/expected" "$tmp/out"
