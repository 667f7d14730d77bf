#!/bin/sh
# Debian systemd-cron 1.15.19-5: a crontab line with a day of the month and a day of the
# week runs only when both hold.
# Seen: "30 4 1,15 * 5" -> OnCalendar=Fri *-*-1,15 4:30:00: only on a 1st or 15th that
# is a Friday.
# Surprise: its own crontab(5) has this very line, to say that it runs when either field
# matches: on the 1st and the 15th, and each Friday; so does cron, which it replaces.
# Needs root: a folder is mounted over /etc/cron.d, for the generator alone.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download systemd-cron >/dev/null 2>&1)
version=$(dpkg-deb -f "$tmp"/systemd-cron_*.deb Version); echo "systemd-cron $version"
[ "$version" = 1.15.19-5 ] || exit 1
dpkg-deb -x "$tmp"/systemd-cron_*.deb "$tmp/root"
gzip -dc "$tmp/root/usr/share/man/man5/crontab.5.gz" >"$tmp/manual"
grep -A1 '^\.I either' "$tmp/manual"; grep -A3 -F '30 4 1,15 * 5' "$tmp/manual"
mkdir "$tmp/cron.d" "$tmp/units"
echo '30 4 1,15 * 5 root true the job of days' >"$tmp/cron.d/days"
export generator="$tmp/root/lib/systemd/system-generators/systemd-crontab-generator" tmp
unshare -m sh -c 'mount --bind "$tmp/cron.d" /etc/cron.d &&
    /usr/bin/python3 "$generator" "$tmp/units"'
grep -h OnCalendar "$(grep -l 'job of days' "$tmp"/units/*.timer)" | tee "$tmp/out"
[ "$(cat "$tmp/out")" = 'OnCalendar=Fri *-*-1,15 4:30:00' ]
