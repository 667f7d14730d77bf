#!/bin/sh
# ntplib 0.4.0: a server's refusal (kiss-o'-death) is an answer, with an offset of 0.
# Seen: stratum 0, leap 3, code RATE, the three times those of the request, as ntpd sends
# it -> no error, an offset of a few milliseconds; stratum_to_text(0) is a TypeError
# (not all arguments converted), though its table has a text for 0.
# Surprise: one expects an error, or no offset: RFC 5905, 7.3 and 7.4, calls stratum 0
# "unspecified or invalid".  A check that compares the offset finds a perfect clock.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check ntplib==0.4.0 2>/dev/null
cat > "$tmp/kiss.py" <<'PY'
import socket
import threading

import ntplib


def refuse(server):
    request, client = server.recvfrom(1024)
    sent = request[40:48]
    head = bytes([3 << 6 | 4 << 3 | 4, 0, 6, 0])
    server.sendto(head + bytes(8) + b"RATE" + bytes(8) + 3 * sent, client)


server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
threading.Thread(target=refuse, args=(server,), daemon=True).start()
port = server.getsockname()[1]
answer = ntplib.NTPClient().request("127.0.0.1", version=4, port=port)
print("offset below 1 s:", abs(answer.offset) < 1)
print(answer.stratum, ntplib.ref_id_to_text(answer.ref_id, answer.stratum))
try:
    print(ntplib.stratum_to_text(answer.stratum))
except TypeError as error:
    print("TypeError:", error)
PY
"$tmp/venv/bin/python" "$tmp/kiss.py" | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
offset below 1 s: True
0 Unidentified reference source 'RATE'
TypeError: not all arguments converted during string formatting
TXT
cmp "$tmp/expected" "$tmp/out"
