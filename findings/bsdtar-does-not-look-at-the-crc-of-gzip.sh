#!/bin/sh
# Debian libarchive-tools 3.6.2: bsdtar restores a changed file from a damaged .tar.gz,
# exit 0.
# Seen, with one byte of the compressed data changed: `bsdtar tf` 0, `bsdtar xf` 0, and
# the file differs in that byte, without a word; bsdcat, which reads to the end, 0.
# gzip -t 1, GNU tar 2, and for the same damage in a .tar.xz bsdtar has 1.
# Surprise: gzip keeps a CRC of the contents (RFC 1952, section 2.3.1) for this only;
# tar itself has none, so that nothing else would tell.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download libarchive-tools libarchive13 >/dev/null 2>&1)
for package in libarchive-tools libarchive13; do
    version=$(dpkg-deb -f "$tmp/$package"_*.deb Version); echo "$package $version"
    case $version in 3.6.2-1*) ;; *) exit 1 ;; esac
    dpkg-deb -x "$tmp/$package"_*.deb "$tmp/root"
done
libraries=$(echo "$tmp"/root/usr/lib/*-linux-gnu)
bsd() { program=$1; shift; LD_LIBRARY_PATH=$libraries "$tmp/root/usr/bin/$program" "$@"; }
cd "$tmp"; mkdir restored; head -c 300000 /dev/urandom >file
for format in gzip xz; do
    tar -c --$format -f whole.$format file
    python3 - $format <<'EOF'
import sys

data = bytearray(open(f"whole.{sys.argv[1]}", "rb").read())
data[150_000] ^= 1
open(f"changed.{sys.argv[1]}", "wb").write(data)
EOF
done
if gzip -t <changed.gzip || tar xzf changed.gzip -C restored; then exit 1; fi
bsd bsdtar tf changed.gzip
bsd bsdtar xf changed.gzip -C restored 2>err || exit 1
bsd bsdcat changed.gzip >/dev/null 2>>err || exit 1
echo "bsdtar: 0, changed: $(cmp -l file restored/file)"
[ ! -s err ]
[ "$(cmp -l file restored/file | wc -l)" = 1 ]
if bsd bsdtar xf changed.xz -C restored; then exit 1; fi
