#!/bin/sh
# Debian cpio 2.13: `cpio -i --only-verify-crc` of a damaged archive ends with 0.
# Seen, with one byte of a file changed in an archive of `cpio -o -H crc`: "file: checksum
# error", exit 0; `cpio -i` restores the changed file, the same message, 0. 7z t says 2,
# pax -r 1.
# Surprise: this option does nothing but compare checksums, so that a script can only
# ask for its exit status; an archive cut in half is 2.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download cpio pax >/dev/null 2>&1)
for package in cpio pax; do
    version=$(dpkg-deb -f "$tmp/$package"_*.deb Version); echo "$package $version"
    case $package-$version in cpio-2.13+*|pax-1:20201030-*) ;; *) exit 1 ;; esac
    dpkg-deb -x "$tmp/$package"_*.deb "$tmp/root"
done
cpio="$tmp/root/bin/cpio"
cd "$tmp"; yes data | head -c 100000 >file; mkdir restored
echo file | "$cpio" -o -H crc 2>/dev/null >whole
sed '1000s/data/date/' whole >changed
head -c 50000 whole >half
"$cpio" -i --only-verify-crc <changed 2>&1 | tee out
grep -q 'file: checksum error' out
"$cpio" -i --only-verify-crc <changed 2>/dev/null || exit 1
(cd restored && "$cpio" -i <../changed 2>/dev/null) || exit 1
[ "$(cmp -l file restored/file | wc -l)" = 1 ]
status=0; "$cpio" -i --only-verify-crc <half 2>/dev/null || status=$?
[ "$status" = 2 ]
pax=$(find "$tmp/root" -name pax -type f -perm -1 | head -1)
if (cd restored && "$pax" -r <../changed 2>../out); then exit 1; fi
echo "cpio 0, of half 2; pax 1: $(tail -1 out)"
