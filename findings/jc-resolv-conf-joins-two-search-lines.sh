#!/bin/sh
# jc 1.26.1: --resolve-conf joins the search lists of two lines.
# Seen: "search a.example b.example", later "search c.example" -> a, b and c, in this order;
# "domain d.example" behind them is given beside the list.  dnspython 2.9.2 has c.example
# alone, or d.example.
# Surprise: of search and domain the last line counts, and nothing before it
# (resolv.conf(5)).  Files that two programs write to have several; the names that are
# tried are not those that jc lists, while its list of nameservers is right.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q --disable-pip-version-check jc==1.26.1 dnspython==2.9.2 2>/dev/null
cat > "$tmp/look.py" <<'PY'
import io

import dns.resolver
import jc

BOTH = "nameserver 192.0.2.53\nsearch a.example b.example\nsearch c.example\n"
for text in (BOTH, BOTH + "domain d.example\n"):
    found = jc.parse("resolve_conf", text)
    asked = dns.resolver.Resolver(io.StringIO(text))
    searched = asked.search or [asked.domain]
    print(found["search"], found.get("domain"), found["nameservers"])
    print("dnspython:", *(name.to_text(omit_final_dot=True) for name in searched))
PY
"$tmp/venv/bin/python" "$tmp/look.py" | tee "$tmp/out"
cat > "$tmp/expected" <<'TXT'
['a.example', 'b.example', 'c.example'] None ['192.0.2.53']
dnspython: c.example
['a.example', 'b.example', 'c.example'] d.example ['192.0.2.53']
dnspython: d.example
TXT
cmp "$tmp/expected" "$tmp/out"
