#!/bin/sh
# apprise 2.3.0: a recipient in mailto:// that is no address is left out, with add()
# True.
# Seen: "?to=ops@example.com,oncall" -> one recipient; "?to=oncall" -> none; add() is
# True for both.
# Surprise: a misspelt address shows only in the log of each notify(); where the URL
# is read, and in the result for those who do get the mail, all is well.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check apprise==2.3.0 2>/dev/null
cat > "$tmp/to.py" <<'EOF'
import apprise

for to in ("ops@example.com,oncall", "oncall"):
    services = apprise.Apprise()
    added = services.add(f"mailto://user:secret@example.com?to={to}")
    print(to, added, [address for _name, address in services[0].targets])
EOF
HOME=$tmp "$tmp/venv/bin/python" "$tmp/to.py" 2>/dev/null | tee "$tmp/out"
printf "ops@example.com,oncall True ['ops@example.com']\noncall True []\n" | cmp - "$tmp/out"
