#!/bin/sh
# Debian qemu-utils 7.2: `qemu-img check` of half a VDI image finds no errors.
# Seen: cut in half -> "No errors were found on the image.", exit 0, and `convert` reads
# zeros for the rest, 0. Of the same disk, cut in the same way: qcow2 2 (errors found),
# vhdx 2, vmdk 1, vpc 1.
# Surprise: that the blocks in the map of a VDI lie behind the end of the file is as
# easy to see as with the other four; a backup of VirtualBox's disks so checked may be
# half empty.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download qemu-utils >/dev/null 2>&1)
version=$(dpkg-deb -f "$tmp"/qemu-utils_*.deb Version); echo "qemu-utils $version"
case $version in 1:7.2+dfsg-7*) ;; *) exit 1 ;; esac
dpkg-deb -x "$tmp"/qemu-utils_*.deb "$tmp/root"
qemu() { "$tmp/root/usr/bin/qemu-img" "$@" >"$tmp/out" 2>&1; }
head -c 20M /dev/urandom >"$tmp/disk"
for format in vdi qcow2 vhdx vmdk vpc; do
    qemu convert -f raw -O $format "$tmp/disk" "$tmp/whole"
    qemu check -f $format "$tmp/whole" || [ $format = vpc ]
    head -c 10M "$tmp/whole" >"$tmp/half"
    status=0; qemu check -f $format "$tmp/half" || status=$?
    echo "$format $status"
    if [ $format = vdi ]; then
        cat "$tmp/out"
        qemu convert -f vdi -O raw "$tmp/half" "$tmp/restored" || exit 1
        tail -c 5M "$tmp/restored" | tr -d '\0' | wc -c
    fi
done | tee "$tmp/seen"
cmp - "$tmp/seen" <<'OUT'
vdi 0
No errors were found on the image.
0
qcow2 2
vhdx 2
vmdk 1
vpc 1
OUT
