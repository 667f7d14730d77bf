#!/bin/sh
# apprise 2.3.0: ntfys://HOST, without a topic, is taken as the public service.
# Seen: "ntfys://push" (a host of one's own, its topic forgotten) -> add() is True, and
# the messages would go to the topic "push" of the public service; with a dot in the
# name, "ntfys://push.example.com" -> add() is True, and there is no topic at all, so
# that each notify() is a FAILURE.
# Surprise: the forgotten topic is no error where the URL is read, and what was meant
# for a server of one's own goes to everybody's.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check apprise==2.3.0 2>/dev/null
cat > "$tmp/ntfy.py" <<'EOF'
import apprise

for url in ("ntfys://push/alerts", "ntfys://push", "ntfys://push.example.com"):
    services = apprise.Apprise()
    assert services.add(url) is True
    print(url, services[0].mode, services[0].topics)
assert not services.notify("nobody gets it")
EOF
HOME=$tmp "$tmp/venv/bin/python" "$tmp/ntfy.py" 2>&1 | tee "$tmp/out"
grep -qx "ntfys://push/alerts private \['alerts'\]" "$tmp/out"
grep -qx "ntfys://push cloud \['push'\]" "$tmp/out"
grep -qx "ntfys://push.example.com cloud \[\]" "$tmp/out"
