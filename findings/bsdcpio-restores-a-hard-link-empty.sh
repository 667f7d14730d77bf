#!/bin/sh
# Debian libarchive-tools 3.6.2: bsdcpio restores one of several names of a file as an
# empty file, exit 0.
# Seen, with an archive of GNU cpio (-H newc) of a, b, c, which are one file: `-i a` ->
# a of 0 bytes, no message, exit 0; `-i c` -> no file at all, a message, exit 0. GNU cpio,
# with the same archive: a and c whole, exit 0.
# Surprise: newc has the contents at the last name only, so that the pattern leaves out
# what the others need; one would expect the contents, as from GNU cpio, or exit 1.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download libarchive-tools cpio >/dev/null 2>&1)
for package in libarchive-tools cpio; do
    version=$(dpkg-deb -f "$tmp/$package"_*.deb Version); echo "$package $version"
    case $package-$version in libarchive-tools-3.6.2-1*|cpio-2.13+*) ;; *) exit 1 ;; esac
    dpkg-deb -x "$tmp/$package"_*.deb "$tmp/root"
done
mkdir "$tmp/source"; cd "$tmp/source"
echo content >a; ln a b; ln a c
# GNU cpio keeps back the first name until the last: the archive has a, b, c.
printf 'b\na\nc\n' | "$tmp/root/bin/cpio" -o -H newc >"$tmp/archive" 2>/dev/null
restore() { # program, name
    rm -rf "$tmp/restored"; mkdir "$tmp/restored"; cd "$tmp/restored"
    status=0; "$1" -i "$2" <"$tmp/archive" 2>/dev/null || status=$?
    echo "${1##*/} -i $2: $status, $(find . -type f -size +0 | wc -l) whole," \
        "$(find . -type f -empty | wc -l) empty"
}
for program in "$tmp/root/usr/bin/bsdcpio" "$tmp/root/bin/cpio"; do
    restore "$program" a
    restore "$program" c
done | tee "$tmp/out"
cmp - "$tmp/out" <<'OUT'
bsdcpio -i a: 0, 0 whole, 1 empty
bsdcpio -i c: 0, 0 whole, 0 empty
cpio -i a: 0, 1 whole, 0 empty
cpio -i c: 0, 1 whole, 0 empty
OUT
