#!/bin/sh
# Debian etcd-client 3.4.23: `etcdctl snapshot status` does not look at the checksum of
# the snapshot.
# Seen: one byte of a key changed -> status 0, and the table as always, with another
# hash; `etcdctl snapshot restore` of it: "expected sha256 ...", 1. The 32 bytes of the
# checksum cut off -> status 0, restore 1.
# Surprise: status prints a hash, and guides use it to verify a snapshot after a
# transfer; that hash is computed anew of whatever is there, and compared with nothing.
set -eu
tmp=$(mktemp -d); trap 'kill "$server" 2>/dev/null || true; rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download etcd-client etcd-server >/dev/null 2>&1)
for package in etcd-client etcd-server; do
    version=$(dpkg-deb -f "$tmp/$package"_*.deb Version); echo "$package $version"
    case $version in 3.4.23-*) ;; *) exit 1 ;; esac
    dpkg-deb -x "$tmp/$package"_*.deb "$tmp/root"
done
export ETCDCTL_API=3; cd "$tmp"
client="unix://localhost:$$" peer="unix://localhost:$$1"
"$tmp/root/usr/bin/etcd" --data-dir data --listen-client-urls "$client" \
    --advertise-client-urls http://localhost:1 --listen-peer-urls "$peer" \
    --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" \
    >log 2>&1 &
server=$!
etcdctl() { "$tmp/root/usr/bin/etcdctl" --endpoints "$client" "$@"; }
until etcdctl put the-key value >/dev/null 2>&1; do
    kill -0 $server; sleep 0.2
done
etcdctl snapshot save whole 2>/dev/null
sed 's/the-key/The-key/' whole >changed
head -c -32 whole >cut
for file in whole changed cut; do
    printf '%s: ' $file; etcdctl snapshot status $file
    status=0; etcdctl snapshot restore $file --data-dir "of-$file" >out 2>&1 || status=$?
    echo "$file: restore $status"
done | tee seen
[ "$(grep -c ': restore 0' seen)" = 1 ]
grep -q 'whole: restore 0' seen
[ "$(grep -c ': restore 1' seen)" = 2 ]
