#!/bin/sh
# Debian systemd-cron 1.15.19-5: in the command of a crontab line, each run of blanks and
# tabs becomes one blank, within quotes, too.
# Seen: a command of cut with a tab in quotes as its -d, on the line "a b<tab>c": run by
# sh as it stands -> "c"; as the generator writes it -> "b<tab>c", 0.
# Surprise: its crontab(5) has that "the entire command portion of the line" is run by
# the shell, and cron does so; other fields are cut out, or a pattern with two blanks
# never matches, and nothing says so.
# Needs root: a folder is mounted over /etc/cron.d, for the generator alone.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download systemd-cron >/dev/null 2>&1)
version=$(dpkg-deb -f "$tmp"/systemd-cron_*.deb Version); echo "systemd-cron $version"
[ "$version" = 1.15.19-5 ] || exit 1
dpkg-deb -x "$tmp"/systemd-cron_*.deb "$tmp/root"
mkdir "$tmp/cron.d" "$tmp/units"
printf 'a b\tc\n' >"$tmp/table"
printf "cut -d'\t' -f2 %s\n" "$tmp/table" >"$tmp/command"
printf '0 3 * * * root %s\n' "$(cat "$tmp/command")" >"$tmp/cron.d/columns"
export generator="$tmp/root/lib/systemd/system-generators/systemd-crontab-generator" tmp
unshare -m sh -c 'mount --bind "$tmp/cron.d" /etc/cron.d &&
    /usr/bin/python3 "$generator" "$tmp/units"'
script=$(grep -l "$tmp/table" "$tmp"/units/*.sh)
for file in "$tmp/command" "$script"; do
    sh "$file" | sed "s/\t/<tab>/"
done | tee "$tmp/out"
printf 'c\nb<tab>c\n' | cmp - "$tmp/out"
