#!/bin/sh
# zonefile-parser 0.1.20: a line that begins with a blank is filed under the zone's own
# name, and a TTL that stands behind the class is taken as the type.
# Seen: below "www IN A 192.0.2.1" the line "  IN AAAA 2001:db8::1" -> the AAAA is of
# example.com.; "mail IN 300 A 192.0.2.2" -> type "300", value "A".  dnspython 2.9.2
# reads both as RFC 1035, 5.1 says: the last stated owner; class and TTL in any order.
# Surprise: nothing is raised, and the zone's own name has an address that it has not.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check zonefile-parser==0.1.20 dnspython==2.9.2 2>/dev/null
cat > "$tmp/zone.py" <<'PY'
import dns.zone
import zonefile_parser

ZONE = """$ORIGIN example.com.
$TTL 3600
@ IN SOA ns1 hostmaster 1 7200 3600 1209600 3600
@ IN NS ns1
www IN A 192.0.2.1
  IN AAAA 2001:db8::1
mail IN 300 A 192.0.2.2
"""
for record in zonefile_parser.parse(ZONE)[2:]:
    print("zonefile-parser", record.name, record.rtype, record.rdata["value"])
zone = dns.zone.from_text(ZONE, "example.com.", relativize=False)
for name, _ttl, data in list(zone.iterate_rdatas())[2:]:
    print("dnspython", name, data.rdtype.name, data)
PY
"$tmp/venv/bin/python" -W ignore "$tmp/zone.py" | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
zonefile-parser www.example.com. A 192.0.2.1
zonefile-parser example.com. AAAA 2001:db8::1
zonefile-parser mail.example.com. 300 A
dnspython www.example.com. A 192.0.2.1
dnspython www.example.com. AAAA 2001:db8::1
dnspython mail.example.com. A 192.0.2.2
TXT
cmp "$tmp/expected" "$tmp/out"
