#!/bin/sh
# nagiosplugin 1.4.0: a value of NaN is OK by every range.
# Seen: NaN against warning 10:30 and critical 15:20 -> "TEMPERATURE OK - value is nan",
# exit 0, performance data "value=nan"; 35 against the same -> CRITICAL, exit 2.
# Surprise: NaN is how a sensor or a division says that there is no value; one expects
# UNKNOWN, since it lies inside no range, and the plugin guidelines write it as "U".
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check nagiosplugin==1.4.0 2>/dev/null
cat > "$tmp/check_temperature.py" <<'PY'
import sys

import nagiosplugin


class Temperature(nagiosplugin.Resource):
    def probe(self):
        return nagiosplugin.Metric("value", float(sys.argv[1]))


context = nagiosplugin.ScalarContext("value", warning="10:30", critical="15:20")
nagiosplugin.Check(Temperature(), context).main()
PY
for value in nan 35; do
    status=0; "$tmp/venv/bin/python" "$tmp/check_temperature.py" $value || status=$?
    echo "exit $status"
done | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
TEMPERATURE OK - value is nan | value=nan;10:30;15:20
exit 0
TEMPERATURE CRITICAL - value is 35 (outside range 15:20) | value=35.0;10:30;15:20
exit 2
TXT
cmp "$tmp/expected" "$tmp/out"
