#!/bin/sh
# Debian mariadb-backup 10.11: `mbstream -x` of a stream that ends early ends with 0.
# Seen: cut behind a chunk of 10 MiB, in the middle of a table's file, with two more
# files to come -> exit 0, stderr empty, a part of one file of three; an empty stream
# -> 0. Cut anywhere else: 1.
# Surprise: each file has an end mark in the stream, which is not missed; mariadb-backup
# writes chunk by chunk, so that where it is killed leaves just such a stream.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download mariadb-backup >/dev/null 2>&1)
version=$(dpkg-deb -f "$tmp"/mariadb-backup_*.deb Version); echo "mariadb-backup $version"
case $version in 1:10.11.*) ;; *) exit 1 ;; esac
dpkg-deb -x "$tmp"/mariadb-backup_*.deb "$tmp/root"
mbstream="$tmp/root/usr/bin/mbstream"
mkdir "$tmp/tables"; cd "$tmp/tables"
for table in a b c; do head -c 25M /dev/urandom >$table.ibd; done
"$mbstream" -c a.ibd b.ibd c.ibd >../whole
second=$(grep -aob XBSTCK01 ../whole | sed -n '2s/:.*//p')
restore() { # bytes of the stream
    rm -rf ../restored; mkdir ../restored
    status=0; head -c "$1" ../whole | "$mbstream" -x -C ../restored 2>../err || status=$?
    echo "cut at $1: $status, $(wc -c <../err) bytes on stderr"
    find ../restored -type f -printf '%f %s\n'
}
restore "$second" | tee ../out
[ "$(head -1 ../out)" = "cut at $second: 0, 0 bytes on stderr" ] || exit 1
[ "$(sed 1d ../out)" != "a.ibd 26214400" ] && [ "$(sed 1d ../out | wc -l)" = 1 ] || exit 1
restore 0 | grep 'cut at 0: 0' && restore $((second - 5)) | grep ': 1,'
