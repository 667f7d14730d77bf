#!/bin/sh
# Debian sqlite3 3.40.1: `sqlite3 x.sqlar -Ac FILES` changes nothing if one of them is
# missing, exit 0.
# Seen: "ERROR: cannot stat file: gone" on stdout, exit 0; an archive of before still has
# the old contents of the other file, and a new one has not even its table (`-At` of it
# says so, exit 0, too).
# Surprise: -A is made like tar, which archives the rest and says 2; with -c one expects
# a new archive, or a failure, not the one of last night.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download sqlite3 >/dev/null 2>&1)
version=$(dpkg-deb -f "$tmp"/sqlite3_*.deb Version); echo "sqlite3 $version"
case $version in 3.40.1-*) ;; *) exit 1 ;; esac
dpkg-deb -x "$tmp"/sqlite3_*.deb "$tmp/root"
sqlite3() { "$tmp/root/usr/bin/sqlite3" "$@"; }
cd "$tmp"; echo old >here; echo old >gone
sqlite3 nightly.sqlar -Ac here gone
rm gone; echo new >here
for archive in nightly fresh; do
    sqlite3 $archive.sqlar -Ac here gone >out 2>err || exit 1
    cat out; grep -q 'cannot stat file: gone' out && [ ! -s err ] || exit 1
done
status=0; tar cf fresh.tar here gone 2>/dev/null || status=$?
[ "$status" = 2 ]
[ "$(tar tf fresh.tar)" = here ]
sqlite3 nightly.sqlar -Ax here
echo "nightly: $(cat here)"; [ "$(cat here)" = old ]
sqlite3 fresh.sqlar -At 2>err || exit 1
echo "fresh: $(cat err)"; grep -q "does not contain an 'sqlar' table" err
