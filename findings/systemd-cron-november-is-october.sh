#!/bin/sh
# Debian systemd-cron 1.15.19-5: `nov` in a crontab is October, `dec` is November.
# Seen: "0 3 1 nov *" -> OnCalendar=*-10-1 3:0:00, "0 3 1 dec *" -> *-11-1; a line with
# `oct` gets no timer (its log says "garbled time"); `sep` and those before are right.
# Surprise: its crontab(5) allows the names of months; the jobs of the year's end run,
# and leave their traces, a month early.
# Needs root: a folder is mounted over /etc/cron.d, for the generator alone.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download systemd-cron >/dev/null 2>&1)
version=$(dpkg-deb -f "$tmp"/systemd-cron_*.deb Version); echo "systemd-cron $version"
[ "$version" = 1.15.19-5 ] || exit 1
dpkg-deb -x "$tmp"/systemd-cron_*.deb "$tmp/root"
mkdir "$tmp/cron.d" "$tmp/units"
for month in sep oct nov dec; do
    echo "0 3 1 $month * root true the job of $month"
done >"$tmp/cron.d/months"
export generator="$tmp/root/lib/systemd/system-generators/systemd-crontab-generator" tmp
unshare -m sh -c 'mount --bind "$tmp/cron.d" /etc/cron.d &&
    /usr/bin/python3 "$generator" "$tmp/units"' 2>/dev/null
for month in sep oct nov dec; do
    timer=$(grep -l "job of $month" "$tmp"/units/*.timer) || timer=/dev/null
    echo "$month: $(grep OnCalendar "$timer")"
done | tee "$tmp/out"
cmp - "$tmp/out" <<'OUT'
sep: OnCalendar=*-9-1 3:0:00
oct: 
nov: OnCalendar=*-10-1 3:0:00
dec: OnCalendar=*-11-1 3:0:00
OUT
