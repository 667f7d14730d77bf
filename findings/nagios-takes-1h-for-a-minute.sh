#!/bin/sh
# Debian nagios4-core 4.4.6: in intervals, what follows the number is left out.
# Seen: `nagios4 -v` of "check_interval 1h", "retry_interval 30s", "notification_interval
# 1d" and "first_notification_delay soon" -> "Things look okay", 0 warnings, exit 0; what
# it has read (-vp) is 1, 30, 1 and 0, in minutes: an hour is a minute, 30 seconds are
# half an hour.
# Surprise: other words that it cannot read are errors ("notification_options x"), and
# Icinga 2, with the same names of options, takes 1h and 30s for what they say.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
(cd "$tmp" && apt-get download nagios4-core >/dev/null 2>&1)
version=$(dpkg-deb -f "$tmp"/nagios4-core_*.deb Version); echo "nagios4-core $version"
case $version in 4.4.6-*) ;; *) exit 1 ;; esac
dpkg-deb -x "$tmp"/nagios4-core_*.deb "$tmp/root"
cat >"$tmp/nagios.cfg" <<EOF
nagios_user=$(id -un)
nagios_group=$(id -gn)
cfg_file=$tmp/objects.cfg
log_file=$tmp/log
check_result_path=$tmp
precached_object_file=$tmp/read
object_cache_file=$tmp/cache
status_file=$tmp/status
temp_file=$tmp/temp
command_file=$tmp/command
lock_file=$tmp/lock
illegal_macro_output_chars=|
EOF
cat >"$tmp/objects.cfg" <<'EOF'
define timeperiod {
 timeperiod_name always
 alias always
 monday 00:00-24:00
}
define command {
 command_name true
 command_line /bin/true
}
define contact {
 contact_name admin
 service_notification_period always
 host_notification_period always
 service_notification_commands true
 host_notification_commands true
 service_notification_options c
 host_notification_options d
}
define host {
 host_name web
 address 127.0.0.1
 check_command true
 max_check_attempts 1
 check_period always
 notification_period always
 contacts admin
}
define service {
 host_name web
 service_description backup
 check_command true
 max_check_attempts 3
 check_period always
 notification_period always
 contacts admin
 check_interval 1h
 retry_interval 30s
 notification_interval 1d
 first_notification_delay soon
}
EOF
nagios() { "$tmp/root/usr/sbin/nagios4" "$@" "$tmp/nagios.cfg" >"$tmp/out" 2>&1; }
nagios -vp || exit 1
grep -E '^Total (Warn|Err)|^Things' "$tmp/out"
sed -n '/^define service/,$p' "$tmp/read" |
    awk '/check_interval|retry_interval|notification_interval|_delay/ {print $1, $2}' |
    tee "$tmp/seen"
cmp - "$tmp/seen" <<'OUT'
check_interval 1.000000
retry_interval 30.000000
notification_interval 1.000000
first_notification_delay 0.000000
OUT
grep -q '^Total Warnings: 0' "$tmp/out"
grep -q '^Things look okay' "$tmp/out"
sed 's/check_interval 1h/notification_options x/' -i "$tmp/objects.cfg"
if nagios -v; then exit 1; fi
