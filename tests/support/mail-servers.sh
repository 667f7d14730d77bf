#!/usr/bin/env bash
# Mail servers for tests that cannot be installed beside each other: Debian's packages are
# unpacked into build/mail-servers, and each server sees them laid over the system's /usr and
# /etc in a mount namespace of its own.  Nothing is installed, and no mail leaves this machine.
#
#   tests/support/mail-servers.sh --fetch        downloads and unpacks the packages
#   tests/support/mail-servers.sh --why-not      says why none can be started here, or nothing
#   tests/support/mail-servers.sh NAME FOLDER    starts one, says "ready", and stops it when its
#                                        standard input ends
#
# NAME is exim, opensmtpd, msmtpd, sendmail, cyrus or courier.  All it writes is in FOLDER, which others than us
# must be able to enter:
#
#   server.pem, server.key   the certificate
#   port                     its port on 127.0.0.1: exim has STARTTLS, cyrus TLS at once
#   password                 that of checker@example.com for exim, of checker for cyrus and courier
#   options                  lines for imapd.conf of cyrus
#   out                      what it has printed
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin"
here="$(cd "$(dirname "$0")" && pwd)"
unpacked="$here/../../build/mail-servers"
packages=(
    exim4-base exim4-daemon-light libidn12
    opensmtpd
    msmtp msmtp-mta libsecret-1-0
    cyrus-common cyrus-imapd libxapian30 libical3 libsasl2-modules libsasl2-modules-db sasl2-bin libpcre3
    courier-authlib courier-authlib-userdb courier-base courier-imap libcourier-unicode4 libgamin0
    sendmail-base sendmail-bin sendmail-cf m4 libsigsegv2
)

fetch() {
    local folder="$unpacked.new"
    rm -rf "$folder"
    mkdir -p "$folder/debs" "$folder/root"
    (cd "$folder/debs" && apt-get download -qq "${packages[@]}" 2>/dev/null)
    local package
    for package in "$folder"/debs/*.deb; do
        dpkg-deb -x "$package" "$folder/root"
    done
    # In Debian /lib is /usr/lib, of which some packages know nothing yet.
    if [ -d "$folder/root/lib" ]; then
        cp -a "$folder/root/lib" "$folder/root/usr/"
    fi
    rm -rf "$folder/debs" "$unpacked"
    mv "$folder" "$unpacked"
}

why_not() {
    if [ ! -d "$unpacked/root/usr" ]; then
        echo 'the mail servers are not unpacked; as root: tests/support/mail-servers.sh --fetch'
    elif [ "$EUID" -ne 0 ]; then
        echo 'mail servers become users of their own, which takes root'
    elif ! unshare -m mount -t overlay -o "lowerdir=$unpacked/root/usr:/usr" overlay /usr \
        2>/dev/null; then
        echo 'this machine lets nobody lay the mail servers over /usr (overlay)'
    fi
}

# Run the rest of the arguments where the packages are installed.
installed() {
    local name number=64001
    mkdir -p "$folder/etc"
    cp /etc/passwd /etc/group "$folder/etc"
    # sendmail waits for a minute where this machine has no full name.
    echo "127.0.0.1 mail.test localhost $(uname -n)" >"$folder/etc/hosts"
    for name in Debian-exim opensmtpd opensmtpq cyrus courier smmsp; do
        if ! grep -q "^$name:" /etc/passwd; then
            echo "$name:x:$number:$number::/nonexistent:/bin/false" >>"$folder/etc/passwd"
            echo "$name:x:$number:" >>"$folder/etc/group"
        fi
        number=$((number + 1))
    done
    # The shell has these as its arguments.
    # shellcheck disable=SC2016
    exec unshare -m bash -c '
        mount -t overlay -o "lowerdir=$1/usr:/usr" overlay /usr
        mount -t overlay -o "lowerdir=$2/etc:$1/etc:/etc" overlay /etc
        mount -t tmpfs none /run
        mount -t tmpfs none /var/spool
        mount -t tmpfs none /var/lib
        mkdir -p /var/lib/opensmtpd/empty
        shift 2
        exec "$@"
    ' bash "$unpacked/root" "$folder" "$@"
}

free_port() {
    python3 -c '
import random, socket
while True:
    try:
        port = random.randrange(10_000, 32_000)
        socket.socket().bind(("127.0.0.1", port))
        break
    except OSError:
        pass
print(port)
'
}

exim() {
    mkdir -p "$folder"/{spool,log}
    chown 64001:64001 "$folder"/{spool,log}
    cat >"$folder/exim.conf" <<END
primary_hostname = mail.test
spool_directory = $folder/spool
log_file_path = $folder/log/%s
keep_environment =
# What is taken stays in the queue.
queue_only = true
host_lookup =
tls_advertise_hosts = *
tls_certificate = $folder/server.pem
tls_privatekey = $folder/server.key
auth_advertise_hosts = \${if eq {\$tls_in_cipher}{}{}{*}}
message_size_limit = 100K
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  deny !authenticated = *
       message = relay not permitted
  deny local_parts = gone
       message = no such user
  accept
begin authenticators
# A lookup that is not possible now is 435.
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = \${if eq{\$auth2}{broken@example.com}\\
    {\${lookup{x}lsearch{$folder/nothing}}}\\
    {\${if and{{eq{\$auth2}{checker@example.com}}{eq{\$auth3}{$password}}}}}}
  server_set_id = \$auth2
END
    installed /usr/sbin/exim4 -C "$folder/exim.conf" -bdf -oX "127.0.0.1.$port"
}

opensmtpd() {
    # Debian 12's fails in each handshake: it does not fit its OpenSSL.  So there is no TLS here,
    # and therefore no login.
    cat >"$folder/smtpd.conf" <<END
table virtuals { "known@virtual.example" = "root" }
listen on 127.0.0.1 port $port hostname mail.test
# What is taken stays in the queue: nobody listens there.
action "keep" relay host smtp://127.0.0.1:1
action "virtual" maildir "$folder/taken" virtual <virtuals>
match from any rcpt-to "gone@example.com" for any reject
match from any for domain "virtual.example" action "virtual"
match from any for any action "keep"
END
    installed /usr/sbin/smtpd -d -f "$folder/smtpd.conf"
}

msmtpd() {
    cat >"$folder/take" <<'END'
#!/bin/sh
# 67 and 75 are no such user, and later (sysexits.h).
mail="$(cat)"
case "$*" in *gone@*) exit 67 ;; *later@*) exit 75 ;; esac
printf '%s\n' "$mail" >"$(dirname "$0")/taken/$$"
END
    mkdir -p "$folder/taken"
    chmod 755 "$folder/take"
    installed /usr/bin/msmtpd --interface=127.0.0.1 --port="$port" \
        --command="$folder/take -f %F --"
}

cyrus() {
    mkdir -p "$folder"/{lib,mail,sieve}
    cat >"$folder/imapd.conf" <<END
configdirectory: $folder/lib
defaultpartition: default
partition-default: $folder/mail
sievedir: $folder/sieve
cyrus_user: cyrus
servername: mail.test
admins: cyrus
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: $folder/logins
sasl_mech_list: PLAIN
allowplaintext: no
failedloginpause: 0
tls_server_cert: $folder/server.pem
tls_server_key: $folder/server.key
autocreate_quota: 0
autocreate_inbox_folders: Trash|Junk
xlist-trash: Trash
xlist-junk: Junk
END
    [ ! -e "$folder/options" ] || cat "$folder/options" >>"$folder/imapd.conf"
    cat >"$folder/cyrus.conf" <<END
START {
    recover cmd="/usr/lib/cyrus/bin/ctl_cyrusdb -C $folder/imapd.conf -r"
}
SERVICES {
    imaps cmd="/usr/lib/cyrus/bin/imapd -C $folder/imapd.conf -s" listen="127.0.0.1:$port"
}
END
    # shellcheck disable=SC2016
    installed bash -c '
        printf %s "$1" | saslpasswd2 -p -f "$2/logins" -c -u mail.test checker
        chown -R cyrus:mail "$2"/{lib,mail,sieve,logins,server.key}
        exec /usr/lib/cyrus/bin/master -C "$2/imapd.conf" -M "$2/cyrus.conf" -p "$2/lib/pid"
    ' bash "$password" "$folder"
}

courier() {
    mkdir -p "$folder/etc/courier" "$folder/home"
    cat >"$folder/etc/courier/authdaemonrc" <<END
authmodulelist="authuserdb"
authmodulelistorig="authuserdb"
daemons=1
authdaemonvar=/run/courier/authdaemon
DEBUG_LOGIN=0
DEFAULTOPTIONS=""
LOGGEROPTS=""
END
    (
        umask 077
        printf 'checker\tuid=8|gid=8|home=%s|shell=/bin/false|imappw=%s\n' "$folder/home" \
            "$(openssl passwd -6 "$password")" >"$folder/etc/courier/userdb"
    )
    (installed makeuserdb -f "$folder/etc/courier/userdb")
    # shellcheck disable=SC2016
    installed bash -c '
        mkdir -p /run/courier/authdaemon
        maildirmake.courier "$1/home/Maildir"
        chown -R mail:mail "$1/home"
        /usr/lib/courier/courier-authlib/authdaemond &
        set -a
        . /etc/courier/imapd
        IMAP_STARTTLS=NO IMAP_TLS_REQUIRED=0
        exec couriertcpd -address=127.0.0.1 -nodnslookup -noidentlookup -maxprocs=20 -maxperip=3 \
            "$2" /usr/lib/courier/courier/imaplogin /usr/bin/imapd Maildir
    ' bash "$folder" "$port"
}

sendmail() {
    mkdir -p "$folder/queue"
    cat >"$folder/sendmail.mc" <<END
include(\`/usr/share/sendmail/cf/m4/cf.m4')
OSTYPE(\`linux')
define(\`QUEUE_DIR', \`$folder/queue')
define(\`STATUS_FILE', \`$folder/statistics')
define(\`confPID_FILE', \`$folder/pid')
define(\`confDOMAIN_NAME', \`mail.test')
define(\`confDELIVERY_MODE', \`queueonly')
define(\`confMAX_MESSAGE_SIZE', \`100000')
define(\`confTO_IDENT', \`0')
define(\`confDONT_PROBE_INTERFACES', \`True')
undefine(\`ALIAS_FILE')
FEATURE(\`no_default_msa')
FEATURE(\`nocanonify')
FEATURE(\`accept_unresolvable_domains')
DAEMON_OPTIONS(\`Port=$port, Addr=127.0.0.1, Name=MTA')
MAILER(\`smtp')
LOCAL_RULESETS
SLocal_check_rcpt
R\$*gone@\$*	\$#error \$@ 5.1.1 \$: 550 User unknown
R\$*later@\$*	\$#error \$@ 4.2.1 \$: 450 Mailbox busy
END
    (installed m4 "$folder/sendmail.mc" >"$folder/sendmail.cf")
    installed /usr/libexec/sendmail/sendmail -C "$folder/sendmail.cf" -bD
}

give_up() {
    echo "mail-servers.sh: $1" >&2
    tail -n 20 "$folder/out" 2>/dev/null >&2 || true
    exit 1
}

stop() {
    trap - EXIT
    kill -TERM -- "-$server" 2>/dev/null || true
    for _try in {1..50}; do
        kill -0 -- "-$server" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL -- "-$server" 2>/dev/null || true
}

case "${1:-}" in
    --fetch) fetch; exit ;;
    --why-not) why_not; exit ;;
    exim | opensmtpd | msmtpd | sendmail | cyrus | courier) ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
name="$1"
folder="$(realpath "$2")"
[ -z "$(why_not)" ] || give_up "$(why_not)"
chmod 755 "$folder"
password="$(cat "$folder/password")"
port="$(free_port)"
echo "$port" >"$folder/port"
set -m
("$name") >"$folder/out" 2>&1 </dev/null &
server=$!
trap stop EXIT
trap 'exit 1' INT TERM HUP
for _try in {1..300}; do
    if (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo ready
        while read -r _line; do :; done
        exit
    fi
    kill -0 "$server" 2>/dev/null || give_up 'it has ended'
    sleep 0.1
done
give_up 'it does not answer'
