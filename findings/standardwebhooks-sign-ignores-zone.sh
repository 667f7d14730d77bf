#!/bin/sh
# standardwebhooks 1.1.0: sign() takes the clock reading of an aware datetime and
# drops its zone.
# Seen: the same moment as 10:00+00:00 and as 12:00+02:00 -> two signatures, and
# verify() of the second, under the timestamp of that moment, raises
# "No matching signature found".
# Surprise: both datetimes are equal and have the same timestamp(), which is what the
# standard signs; only a datetime in UTC gives a signature that holds.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check standardwebhooks==1.1.0 2>/dev/null
cat > "$tmp/sign.py" <<'EOF'
from datetime import UTC, datetime, timedelta, timezone
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

webhook = Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
utc = datetime.now(UTC).replace(microsecond=0)
local = utc.astimezone(timezone(timedelta(hours=2)))
assert utc == local

def verified(moment):
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": webhook.sign("msg_1", moment, "{}"),
    }
    try:
        return webhook.verify("{}", headers) == {}
    except WebhookVerificationError as error:
        return str(error)

print("UTC:", verified(utc))
print("+02:00:", verified(local))
EOF
"$tmp/venv/bin/python" "$tmp/sign.py" | tee "$tmp/out"
printf 'UTC: True\n+02:00: No matching signature found\n' | cmp - "$tmp/out"
