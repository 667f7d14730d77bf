#!/bin/sh
# Debian postfix 3.7.11: `postconf -h NAME` of an unknown parameter exits 0.
# Seen: stdout empty, stderr "warning: nosuch: unknown parameter", exit 0.
# Surprise: one expects 1, as for a missing key in postmap -q; in a script
# $(postconf -h NAME) under `set -e` goes on with an empty value.
# Needs the package installed: apt-get install postfix
set -eu
version=$(dpkg-query -W -f '${Version}' postfix); echo "postfix $version"
case $version in 3.7.11-*) ;; *) exit 1 ;; esac
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
echo 'compatibility_level = 3.6' > "$tmp/main.cf"; : > "$tmp/master.cf"
postconf -c "$tmp" -h nosuch > "$tmp/out" 2> "$tmp/err" || exit 1
cat "$tmp/err"
[ ! -s "$tmp/out" ] && grep -q 'nosuch: unknown parameter' "$tmp/err" || exit 1
