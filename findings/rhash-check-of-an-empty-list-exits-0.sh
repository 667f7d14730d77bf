#!/bin/sh
# Debian rhash 1.4.3: `rhash -c` of a list with nothing in it ends with 0.
# Seen: a list of 0 bytes (full disk, `rhash ... | false`), or with a comment only ->
# "Nothing to verify", exit 0; sha256sum -c, md5sum -c and shasum -c of the same: 1.
# Surprise: the others say that no checksum was found, as a check that has checked
# nothing; with rhash the backup of a night without a list counts as verified.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download rhash librhash0 >/dev/null 2>&1)
version=$(dpkg-deb -f "$tmp"/rhash_*.deb Version); echo "rhash $version"
case $version in 1.4.3-*) ;; *) exit 1 ;; esac
for package in "$tmp"/*.deb; do dpkg-deb -x "$package" "$tmp/root"; done
LD_LIBRARY_PATH=$(echo "$tmp"/root/usr/lib/*-linux-gnu); export LD_LIBRARY_PATH
cd "$tmp"; echo data >file; : >empty; echo '# of tonight' >comment
root/usr/bin/rhash --sha256 file >list
root/usr/bin/rhash -c list | grep 'Everything OK'
for list in empty comment; do
    root/usr/bin/rhash -c $list >out || exit 1
    grep 'Nothing to verify' out
    if sha256sum -c $list 2>/dev/null || md5sum -c $list 2>/dev/null; then exit 1; fi
done
