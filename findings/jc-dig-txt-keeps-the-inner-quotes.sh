#!/bin/sh
# jc 1.26.1: --dig leaves the quotes in the middle of a TXT record of several strings.
# Seen: dig prints "k=rsa; p=MIIB" "IjAN" -> data is k=rsa; p=MIIB" "IjAN; of
# a record of one string it has the text without its quotes.
# Surprise: the quotes at both ends are taken off, so one takes it for the text; a DKIM
# key is longer than one string can be, and always comes in several, which are joined
# without a blank (RFC 6376, 3.6.2.2).
# Needs dig: apt-get install bind9-dnsutils; a server of dnspython 2.9.2 answers it.
set -eu
tmp=$(mktemp -d); server=
trap 'rm -rf "$tmp"; [ -z "$server" ] || kill "$server"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check jc==1.26.1 dnspython==2.9.2 2>/dev/null
cat > "$tmp/server.py" <<'PY'
import socket

import dns.message
import dns.rrset

TEXTS = {"one.example.": '"v=spf1 -all"', "two.example.": '"k=rsa; p=MIIB" "IjAN"'}
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
while True:
    data, peer = sock.recvfrom(4096)
    query = dns.message.from_wire(data)
    name = query.question[0].name
    answer = dns.message.make_response(query)
    answer.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", TEXTS[name.to_text()]))
    sock.sendto(answer.to_wire(), peer)
PY
"$tmp/venv/bin/python" "$tmp/server.py" > "$tmp/port" & server=$!
while [ ! -s "$tmp/port" ]; do sleep 0.1; done
for name in one.example two.example; do
    dig -p "$(cat "$tmp/port")" @127.0.0.1 "$name" TXT > "$tmp/said"
    awk '$4 == "TXT" && !/^;/ { $1 = $2 = $3 = $4 = ""; print substr($0, 5) }' "$tmp/said"
    "$tmp/venv/bin/jc" --dig < "$tmp/said" | "$tmp/venv/bin/python" -c '
import json, sys
print(json.load(sys.stdin)[0]["answer"][0]["data"])'
done | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
"v=spf1 -all"
v=spf1 -all
"k=rsa; p=MIIB" "IjAN"
k=rsa; p=MIIB" "IjAN
TXT
cmp "$tmp/expected" "$tmp/out"
