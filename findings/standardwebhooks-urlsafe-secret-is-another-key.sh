#!/bin/sh
# standardwebhooks 1.1.0: a secret in URL-safe base64 is taken, and gives another key.
# Seen: the letters "-" and "_" are dropped and the others read as if they were all, so
# that the same 24 bytes in the two alphabets sign differently, without a word.
# Surprise: one would expect an error, or the key that was meant; no signature holds
# then, and nothing says why.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check standardwebhooks==1.1.0 2>/dev/null
cat > "$tmp/key.py" <<'EOF'
import base64
from datetime import UTC, datetime
from standardwebhooks.webhooks import Webhook

key = bytes(range(200, 224))
moment = datetime(2026, 1, 1, tzinfo=UTC)
signatures = [
    Webhook("whsec_" + encode(key).decode()).sign("msg_1", moment, "{}")
    for encode in (base64.b64encode, base64.urlsafe_b64encode)
]
print("the same signature:", signatures[0] == signatures[1])
EOF
"$tmp/venv/bin/python" "$tmp/key.py" | tee "$tmp/out"
grep -qx 'the same signature: False' "$tmp/out"
