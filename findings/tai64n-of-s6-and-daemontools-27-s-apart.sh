#!/bin/sh
# Debian s6 2.11, daemontools 0.76 and runit 2.1.2: their TAI64N stamps of one moment
# are 27 s apart.
# Seen: `s6-tai64n | tai64nlocal` shows the time 27 s ahead; a log of multilog or svlogd
# read by s6-tai64nlocal is 27 s behind; each pair of one maker is right.
# Surprise: the label is the second of TAI (TAI64 of D. J. Bernstein), 37 s ahead of UTC
# since 2017; daemontools and runit add 10 s, the difference of 1970. The stamps look
# alike, and logs of two services of one host, merged, are in the wrong order.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download s6 libs6-2.11 libskarnet2.13 libexecline2.9 \
    daemontools runit >/dev/null 2>&1)
for package in s6 daemontools runit; do
    version=$(dpkg-deb -f "$tmp/$package"_*.deb Version); echo "$package $version"
    case $version in 2.11.*|1:0.76-*|2.1.2-*) ;; *) exit 1 ;; esac
done
for package in "$tmp"/*.deb; do dpkg-deb -x "$package" "$tmp/root"; done
LD_LIBRARY_PATH=$(echo "$tmp"/root/usr/lib/*-linux-gnu):$(echo "$tmp"/root/lib/*-linux-gnu)
PATH="$tmp/root/usr/bin:$tmp/root/bin:$PATH"
export LD_LIBRARY_PATH PATH TZ=UTC
cd "$tmp"; mkdir log
ahead() { # what a program makes of a stamp, against the clock
    read -r stamp
    local_time=$(echo "$stamp" | "$1" | cut -c1-19)
    echo "$(($(date -d "$local_time" +%s) - $(date +%s)))"
}
close_to() { [ $(($1 - $2)) -ge -3 ] && [ $(($1 - $2)) -le 3 ]; }
s6_by_daemontools=$(echo line | s6-tai64n | ahead tai64nlocal)
daemontools_by_s6=$(echo line | tai64n | ahead s6-tai64nlocal)
echo line | svlogd -t log
runit_by_s6=$(ahead s6-tai64nlocal <log/current)
s6_by_s6=$(echo line | s6-tai64n | ahead s6-tai64nlocal)
runit_by_daemontools=$(ahead tai64nlocal <log/current)
echo "s6 read by daemontools: $s6_by_daemontools s; by s6: $s6_by_s6 s"
echo "daemontools read by s6: $daemontools_by_s6 s"
echo "runit read by s6: $runit_by_s6 s; by daemontools: $runit_by_daemontools s"
close_to "$s6_by_daemontools" 27
close_to "$daemontools_by_s6" -27
close_to "$runit_by_s6" -27
close_to "$s6_by_s6" 0
close_to "$runit_by_daemontools" 0
