#!/bin/sh
# Debian bup 0.33.7: `bup fsck` of a repository whose older pack is gone ends with 0.
# Seen: pack-*.pack of the first save removed, its .idx left -> fsck 0, and not a word of it;
# the next save 0, too; then nothing can be restored (1), of any save. `git fsck` of the
# same folder names what is missing.
# Surprise: fsck looks at the packs that are there, and save believes the index: both
# say that all is well for as long as nobody restores.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download bup >/dev/null 2>&1)
version=$(dpkg-deb -f "$tmp"/bup_*.deb Version); echo "bup $version"
case $version in 0.33.7-*) ;; *) exit 1 ;; esac
dpkg-deb -x "$tmp"/bup_*.deb "$tmp/root"
export BUP_DIR="$tmp/repository"
bup() { "$tmp/root/usr/lib/bup/cmd/bup" "$@" >"$tmp/out" 2>&1; }
save() { bup index "$tmp/source" && bup save -n home "$tmp/source"; }
mkdir "$tmp/source"
bup init
head -c 300000 /dev/urandom >"$tmp/source/first"; save
pack=$(echo "$BUP_DIR"/objects/pack/*.pack)
head -c 300000 /dev/urandom >"$tmp/source/second"; save
bup fsck
bup restore -C "$tmp/before" /home/latest/
rm "$pack"
bup fsck || exit 1
# (that par2 or xattr are not installed)
if grep -viE '^(fsck: )?warning: ' "$tmp/out"; then exit 1; fi
head -c 300000 /dev/urandom >"$tmp/source/third"
save || exit 1
if bup restore -C "$tmp/after" /home/latest/; then exit 1; fi
git --git-dir="$BUP_DIR" fsck >"$tmp/out" 2>&1 || true
grep -m 1 '^missing blob' "$tmp/out"
echo "without its pack: fsck 0, save 0, restore fails"
