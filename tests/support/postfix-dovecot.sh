#!/usr/bin/env bash
# Postfix and Dovecot for tests: a pair of our own, in a folder of its own.
#
#   tests/support/postfix-dovecot.sh FOLDER      starts both, says "ready", and stops both when
#                                        its standard input ends
#   tests/support/postfix-dovecot.sh --missing   prints what must be installed first, a package
#                                        a line
#   tests/support/postfix-dovecot.sh --why-not   says why they cannot be started here, or nothing
#
# All of it is in FOLDER: configuration, queue, mails, sockets, logs.  The system's own
# instances and /etc are left alone, and no mail leaves this machine: there is no SMTP
# client in it, and no DNS.  Everybody on the way to FOLDER must be let through by its
# parents' modes, since the daemons are users of their own.
#
#   server.pem, server.key   the certificate; made by trustme where there is none
#   ports                    lines of a name and a port on 127.0.0.1: submission (STARTTLS)
#                            and submissions, imap (STARTTLS) and imaps
#   users/smtp/ADDRESS       ADDRESS:PASSWORD::::::, of whom Postfix takes mail
#   users/imap/ADDRESS       the same of the mailbox, for an ADDRESS @example.com
#   mail/ADDRESS/            Maildir/ and sieve, the filter; rawlog/, where it is there,
#                            gets what is said over IMAP
#   policy                   a socket that Postfix asks about each recipient, where it is
#                            there (policy delegation: DUNNO, HOLD, "451 4.7.1 later")
set -euo pipefail
# The daemons are where only root looks.
PATH="$PATH:/usr/sbin:/sbin"

# The one of the checkout has trustme.
python="$(dirname "$0")/../../.venv/bin/python"
[ -x "$python" ] || python=python3

# Print what is missing; a package is told by a file of it.
missing() {
    [ -x /usr/sbin/postfix ] || echo postfix
    [ -x /usr/lib/dovecot/imap ] || echo dovecot-imapd
    [ -x /usr/lib/dovecot/lmtp ] || echo dovecot-lmtpd
    [ -e /usr/lib/dovecot/modules/lib90_sieve_plugin.so ] || echo dovecot-sieve
}

why_not() {
    local packages version
    packages="$(missing | paste -sd ' ')"
    if [ -n "$packages" ]; then
        echo "Postfix and Dovecot are not all here; as root: apt-get install $packages"
    elif version="$(dovecot --version)" && [[ $version != 2.[34].* ]]; then
        echo "Dovecot $version is not the 2.3 or 2.4 that the configuration is for"
    elif [ "$EUID" -ne 0 ]; then
        echo 'Postfix and Dovecot become users of their own, which takes root'
    fi
}

# Print four ports.  Below those that the kernel gives away, nobody takes them before us.
free_ports() {
    "$python" -c '
import random, socket
taken = []
while len(taken) < 4:
    sock = socket.socket()
    try:
        sock.bind(("127.0.0.1", random.randrange(10_000, 32_000)))
    except OSError:
        continue
    taken.append(sock)
print(*(sock.getsockname()[1] for sock in taken))
'
}

write_postfix() {
    cat >"$folder/postfix/main.cf" <<END
compatibility_level = 3.6
queue_directory = $folder/queue
data_directory = $folder/data
maillog_file = $folder/postfix.log
maillog_file_prefixes = $folder
myhostname = mail.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4

# Nothing leaves, and nobody is asked for names.
mydestination =
alias_maps =
local_recipient_maps =
relay_domains =
default_transport = error:5.1.2 no mail leaves this machine
relay_transport = error:5.1.2 no mail leaves this machine
disable_dns_lookups = yes
smtpd_peername_lookup = no
virtual_mailbox_domains = example.com
virtual_mailbox_maps = static:all
virtual_transport = lmtp:unix:$folder/run/lmtp

smtpd_tls_cert_file = $folder/server.pem
smtpd_tls_key_file = $folder/server.key
smtpd_tls_security_level = encrypt
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = $folder/run/auth-client
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions =
    check_policy_service { unix:$folder/policy, default_action=DUNNO },
    permit_sasl_authenticated, reject
# A test that is refused need not be punished.
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
END
    cat >"$folder/postfix/master.cf" <<END
127.0.0.1:$submission inet n - n - - smtpd
127.0.0.1:$submissions inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
END
}

# What the two languages of configuration have in common.
dovecot_common() {
    cat <<END
base_dir = $folder/run
state_dir = $folder/run
log_path = $folder/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
hostname = mail.test
postmaster_address = postmaster@example.com
first_valid_uid = 1
# Tests survive no power cut.
mail_fsync = never

ssl = required
# A test that is refused need not be punished.
auth_failure_delay = 0
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
namespace inbox {
  inbox = yes
  separator = /
  mailbox Trash {
    auto = create
    special_use = \Trash
  }
  mailbox Junk {
    auto = create
    special_use = \Junk
  }
  # Only its mark says what it is for.
  mailbox "Zurückgehalten" {
    special_use = \Junk
  }
}
service imap-login {
  inet_listener imap {
    port = $imap
  }
  inet_listener imaps {
    port = $imaps
    ssl = yes
  }
}
service lmtp {
  unix_listener lmtp {
    mode = 0666
  }
}
service auth {
  unix_listener auth-client {
    mode = 0666
  }
}
END
}

dovecot_23() {
    cat <<END
mail_location = maildir:~/Maildir
ssl_cert = <$folder/server.pem
ssl_key = <$folder/server.key
passdb {
  driver = passwd-file
  args = scheme=PLAIN $folder/users/%s/%u
}
userdb {
  driver = passwd-file
  args = $folder/users/imap/%u
  default_fields = uid=mail gid=mail home=$folder/mail/%u
}
protocol imap {
  rawlog_dir = %h/rawlog
}
protocol lmtp {
  mail_plugins = sieve
}
plugin {
  sieve = file:~/sieve
  sieve_extensions = +editheader
}
END
}

# Dovecot 2.4, of Debian 13; its version comes first.
dovecot_24() {
    cat <<END
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
mail_driver = maildir
mail_path = ~/Maildir
ssl_server_cert_file = $folder/server.pem
ssl_server_key_file = $folder/server.key
passdb passwd-file {
  passwd_file_path = $folder/users/%{protocol}/%{user}
  default_password_scheme = PLAIN
}
userdb passwd-file {
  passwd_file_path = $folder/users/imap/%{user}
  fields {
    uid:default = mail
    gid:default = mail
    home:default = $folder/mail/%{user}
  }
}
protocol imap {
  rawlog_dir = %{home}/rawlog
}
protocol lmtp {
  mail_plugins {
    sieve = yes
  }
}
sieve_script personal {
  path = ~/scripts
  active_path = ~/sieve
}
sieve_extensions {
  editheader = yes
}
END
}

write_dovecot() {
    {
        case "$(dovecot --version)" in
            2.3.*) dovecot_23 ;;
            *) dovecot_24 ;;
        esac
        dovecot_common
    } >"$folder/dovecot.conf"
}

answers() {
    local port
    for port in "$submission" "$submissions" "$imap" "$imaps"; do
        (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 1
    done
}

stop() {
    local _try
    trap - EXIT
    for _try in {1..100}; do
        [ -n "$(jobs -rp)" ] || return 0
        # One that is only just starting hears it the next time.
        postfix -c "$folder/postfix" stop >/dev/null 2>&1 || true
        doveadm -c "$folder/dovecot.conf" stop >/dev/null 2>&1 || true
        sleep 0.1
    done
    echo 'postfix-dovecot.sh: they do not stop' >&2
}

give_up() {
    echo "postfix-dovecot.sh: $1" >&2
    tail -n 20 "$folder"/*.log 2>/dev/null >&2 || true
    exit 1
}

case "${1:-}" in
    --missing) missing; exit ;;
    --why-not) why_not; exit ;;
esac
[ $# -eq 1 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
folder="$(realpath "$1")"
[ -z "$(why_not)" ] || give_up "$(why_not)"

mkdir -p "$folder"/{postfix,queue,data,run,mail,users/smtp,users/imap}
chmod 755 "$folder"
chown postfix "$folder/data"
chown mail:mail "$folder/mail"
[ -e "$folder/server.pem" ] || "$python" -m trustme -q -d "$folder"
read -r submission submissions imap imaps < <(free_ports)
printf '%s %s\n' submission "$submission" submissions "$submissions" \
    imap "$imap" imaps "$imaps" >"$folder/ports"
write_postfix
write_dovecot

trap stop EXIT
trap 'exit 1' INT TERM HUP
dovecot -F -c "$folder/dovecot.conf" >>"$folder/dovecot.log" 2>&1 </dev/null &
postfix -c "$folder/postfix" start-fg >>"$folder/postfix.log" 2>&1 </dev/null &
for _try in {1..300}; do
    if answers; then
        echo ready
        while read -r _line; do :; done
        exit
    fi
    [ "$(jobs -rp | wc -l)" -eq 2 ] || give_up 'one of them has ended'
    sleep 0.1
done
give_up 'they do not answer'
