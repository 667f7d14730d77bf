#!/bin/sh
# Debian redis 7.0.15: redis-check-aof calls an append-only file valid whose base is
# emptied.
# Seen: *.base.rdb of 0 bytes -> "All AOF files and manifest are valid", exit 0, and a
# server starts with it, the keys of the base gone; redis-check-rdb of the same file: 1.
# Surprise: a base in the format of RDB has at least a header and a checksum; with its
# first bytes left, or with the file gone, it is an error (1).
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download redis-server redis-tools >/dev/null 2>&1)
for package in redis-server redis-tools; do
    version=$(dpkg-deb -f "$tmp/$package"_*.deb Version); echo "$package $version"
    case $version in 5:7.0.15-*) ;; *) exit 1 ;; esac
    dpkg-deb -x "$tmp/$package"_*.deb "$tmp/root"
done
PATH="$tmp/root/usr/bin:$PATH"; cd "$tmp"
cli() { redis-cli -s "$tmp/socket" "$@"; }
serve() {
    redis-server --port 0 --unixsocket "$tmp/socket" --dir "$tmp" --save '' \
        --appendonly yes --daemonize yes --logfile "$tmp/log" >/dev/null
    until cli ping 2>/dev/null | grep -q PONG; do sleep 0.1; done
}
serve
cli set old 1 >/dev/null; cli bgrewriteaof >/dev/null
until [ -e appendonlydir/appendonly.aof.2.base.rdb ] &&
    cli info persistence | grep -q aof_rewrite_in_progress:0; do sleep 0.1; done
cli set new 1 >/dev/null; echo "keys: $(cli dbsize)"; cli shutdown
base=$(echo appendonlydir/*.base.rdb); manifest=appendonlydir/appendonly.aof.manifest
cp "$base" whole
head -c 20 whole >"$base"
if redis-check-aof $manifest >out 2>&1; then exit 1; fi
: >"$base"
redis-check-aof $manifest | tee out
grep -q 'All AOF files and manifest are valid' out
if redis-check-rdb "$base" >out; then exit 1; fi
serve; keys=$(cli dbsize); cli shutdown
echo "keys with the base emptied: $keys"; [ "$keys" = 1 ]
