#!/bin/sh
# Debian postgresql-15 15.18: `pg_restore -Fd` takes an emptied data file for no rows.
# Seen: with N.dat.gz of 0 bytes (full disk, power cut) it ends with 0, stderr is empty,
# and the table is restored without a row; `gzip -t` of that file says 1.
# Surprise: cut anywhere but within its first bytes, the same file is an error, exit 1;
# so `pg_restore -f /dev/null` looks like a test of the dump, and is none of this.
# Needs root and the package: apt-get install postgresql
set -eu
version=$(dpkg-query -W -f '${Version}' postgresql-15); echo "postgresql-15 $version"
case $version in 15.18-*) ;; *) exit 1 ;; esac
bin=/usr/lib/postgresql/15/bin
tmp=$(mktemp -d); chmod 755 "$tmp"; mkdir "$tmp/db"; chown postgres "$tmp/db"
as() { runuser -u postgres -- "$@"; }
trap 'as $bin/pg_ctl -D "$tmp/db/data" -m immediate stop >/dev/null; rm -rf "$tmp"' EXIT
as $bin/initdb -N -D "$tmp/db/data" >/dev/null
as $bin/pg_ctl -D "$tmp/db/data" -o "-k $tmp/db -h ''" -l "$tmp/db/log" -w start >/dev/null
export PGHOST="$tmp/db" PGUSER=postgres
psql -qc 'create table a as select n from generate_series(1, 1000) as n' postgres
pg_dump -Fd -f "$tmp/dump" postgres
data=$(echo "$tmp"/dump/*.dat.gz)
cp "$data" "$tmp/whole"
head -c 20 "$tmp/whole" >"$data"
if pg_restore -f /dev/null "$tmp/dump" 2>/dev/null; then exit 1; fi
: >"$data"
pg_restore -f "$tmp/out" "$tmp/dump" 2>"$tmp/err" || exit 1
[ ! -s "$tmp/err" ] && ! grep -qx 500 "$tmp/out" && grep -q 'CREATE TABLE' "$tmp/out"
