#!/bin/sh
# Debian monit 5.33.0: a check with `every "* * * * 7"` passes `monit -t`, and never runs.
# Seen: -t "Control file syntax OK", 0, for day 7, for 1-7, for the hours 22-4 and for
# minute 61; on a Sunday at 12:30 "* * * * 0" is checked, "7" and "1-7" are not, and at
# 23:30 "* 22-4 * * *" is not, either.
# Surprise: the manual calls this cron-style; in cron 7 is Sunday. What is out of range
# (its manual has 0-6) one would expect -t to refuse, as it does "*/5" and "mon".
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download monit libfaketime >/dev/null 2>&1)
version=$(dpkg-deb -f "$tmp"/monit_*.deb Version); echo "monit $version"
case $version in 1:5.33.0-*) ;; *) exit 1 ;; esac
for package in "$tmp"/*.deb; do dpkg-deb -x "$package" "$tmp/root"; done
monit="$tmp/root/usr/bin/monit"
faketime=$(echo "$tmp"/root/usr/lib/*-linux-gnu/faketime/libfaketimeMT.so.1)
cd "$tmp"; echo data >file
check() { # every, at
    rm -f ran state
    (umask 077 && cat >control) <<EOF
set daemon 60
set log $tmp/log
set idfile $tmp/id
set statefile $tmp/state
check file backup with path $tmp/file
    every "$1"
    if size > 1 B then exec "/bin/touch $tmp/ran"
EOF
    "$monit" -t -c control | grep -q 'syntax OK' || return 1
    TZ=UTC LD_PRELOAD=$faketime FAKETIME="@2026-06-14 $2:00" \
        "$monit" -c control validate >/dev/null 2>&1 || true
    sleep 0.5
    if [ -e ran ]; then echo "$1 at $2: ran"; else echo "$1 at $2: no"; fi
}
{
    check '* * * * 0' 12:30; check '* * * * 7' 12:30; check '* * * * 1-7' 12:30
    check '* 22-23 * * *' 23:30; check '* 22-4 * * *' 23:30; check '61 * * * *' 12:30
} | tee out
cmp - out <<'OUT'
* * * * 0 at 12:30: ran
* * * * 7 at 12:30: no
* * * * 1-7 at 12:30: no
* 22-23 * * * at 23:30: ran
* 22-4 * * * at 23:30: no
61 * * * * at 12:30: no
OUT
if check '* * * * mon' 12:30; then exit 1; fi
