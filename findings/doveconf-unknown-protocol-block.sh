#!/bin/sh
# Debian dovecot-core 1:2.3.19.1+dfsg1-2.1: `protocol NAME {` takes any name.
# Seen: "protocol imapp { mail_max_userip_connections = 3 }" -> doveconf -n exits 0
# without a word, and the value for imap stays 10; a misspelt setting, one
# level up, is Fatal, exit 89.
# Surprise: names of settings are checked strictly, the name of a block is not.
# Needs the package installed: apt-get install dovecot-core
set -eu
version=$(dpkg-query -W -f '${Version}' dovecot-core); echo "dovecot-core $version"
case $version in 1:2.3.19.1+dfsg1-2.1*) ;; *) exit 1 ;; esac
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
printf 'protocols =\nprotocol imapp {\n  mail_max_userip_connections = 3\n}\n' > "$tmp/block"
printf 'protocols =\nmail_max_userip_connectionz = 3\n' > "$tmp/setting"
doveconf -n -c "$tmp/block" > "$tmp/out" 2> "$tmp/err"
value=$(doveconf -c "$tmp/block" -f protocol=imap -h mail_max_userip_connections)
status=0; doveconf -n -c "$tmp/setting" > /dev/null 2>&1 || status=$?
echo "block: exit 0, imap has $value; setting: exit $status"
[ ! -s "$tmp/err" ] && [ "$value" = 10 ] && [ "$status" = 89 ] || exit 1
