#!/bin/sh
# Debian p7zip-full 16.02+really26.02, cpio 2.13, Python 3.11 (tarfile): in an incremental
# archive of GNU tar each name begins with a number.
# Seen: `tar -c -g snapshot -f archive data` -> "15303062502/data/file" in all three; 7z
# restores into that folder, 0. GNU tar and bsdtar have "data/file".
# Surprise: the number is the access time in octal, which GNU tar keeps where ustar has
# the prefix of a long name; GNU's archives say so in their magic ("ustar  "). Each file
# read between two backups is in another folder then.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download p7zip-full cpio libarchive-tools >/dev/null 2>&1)
for package in p7zip-full cpio libarchive-tools; do
    version=$(dpkg-deb -f "$tmp/$package"_*.deb Version); echo "$package $version"
    case $version in 16.02+really26.02*|2.13+*|3.6.2-1*) ;; *) exit 1 ;; esac
    dpkg-deb -x "$tmp/$package"_*.deb "$tmp/root"
done
cd "$tmp"; mkdir data restored
echo data >data/file; touch -a -d @1795974466 data/file
tar -c -g snapshot --atime-preserve=system -f archive data
{
    echo "tar: $(tar tf archive | grep file)"
    echo "bsdtar: $(root/usr/bin/bsdtar tf archive | grep file)"
    echo "cpio: $(root/bin/cpio -t <archive 2>/dev/null | grep file)"
    python3 -c 'import tarfile; print("python:", tarfile.open("archive").getnames()[-1])'
    root/usr/lib/p7zip/7z x -orestored archive >/dev/null || exit 1
    echo "7z: $(cd restored && find . -name file)"
} | tee out
cmp - out <<'OUT'
tar: data/file
bsdtar: data/file
cpio: 15303062502/data/file
python: 15303062502/data/file
7z: ./15303062502/data/file
OUT
