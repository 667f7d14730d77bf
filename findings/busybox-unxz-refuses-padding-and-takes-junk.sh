#!/bin/sh
# Debian busybox 1.35.0: `unxz -t` calls a .xz file with padding at its end damaged, and
# one with junk at its end whole.
# Seen: four zeros (or 1024) behind the stream -> "corrupted data", 1, after all of the
# contents were written; a line of text behind it -> 0. xz -t: 0 and 1.
# Surprise: it is just the other way round in the format (The .xz File Format, section
# 2.2: stream padding is zeros, a multiple of four; anything else is an error); tapes
# and copies in blocks leave such zeros.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download busybox >/dev/null 2>&1)
version=$(dpkg-deb -f "$tmp"/busybox_*.deb Version); echo "busybox $version"
case $version in 1:1.35.0-4*) ;; *) exit 1 ;; esac
dpkg-deb -x "$tmp"/busybox_*.deb "$tmp/root"
cd "$tmp"; seq 10000 >file; xz -k file
{ cat file.xz; head -c 4 /dev/zero; } >padded.xz
{ cat file.xz; echo junk; } >junk.xz
for name in file padded junk; do
    ours=0; root/bin/busybox unxz -t $name.xz 2>err || ours=$?
    theirs=0; xz -qt $name.xz 2>/dev/null || theirs=$?
    echo "$name: busybox $ours, xz $theirs $(cat err)"
done | tee out
cmp - out <<'OUT'
file: busybox 0, xz 0 
padded: busybox 1, xz 0 unxz: corrupted data
junk: busybox 0, xz 1 
OUT
