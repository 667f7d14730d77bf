"""The options of the sections that are about Checker itself, not about a target.

A section is one row in SECTIONS.  To add an option, give it a row in its table; the
readers are those of ``lib/config/kinds.py`` and those below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lib.config.fields import (
    absolute_path,
    addresses,
    failures,
    host,
    number,
    one_of,
    port,
    switch,
    text,
    whole,
)
from lib.config.kinds import POLICY_OPTIONS, Option
from lib.core.enums import JobFrequency

MAX_NAME = 100
_SECURITY = ("starttls", "tls", "none")


def plain(value: str) -> str:
    """Return one line of text without control characters."""
    if not value or not value.isprintable():
        raise ValueError("expected one line of printable text")
    return value


def server_name(value: str) -> str:
    """Return what the mails call this machine."""
    if not value.isprintable() or not 0 < len(value) <= MAX_NAME:
        raise ValueError(f"expected one line of 1 to {MAX_NAME} printable characters")
    return value


def sender(value: str) -> str:
    """Return one mail address."""
    found = addresses(value)
    if len(found) > 1:
        raise ValueError("expected one mail address")
    return found[0]


def many(value: str) -> tuple[str, ...]:
    """Return the parts of a list with commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def command(value: str) -> tuple[str, ...]:
    """Return a command's words; no shell reads it."""
    import shlex

    try:
        words = tuple(shlex.split(value))
    except ValueError as error:
        raise ValueError("expected a command with its quotes closed") from error
    if not words:
        raise ValueError("expected a command")
    return words


def endpoint(value: str) -> tuple[str, int]:
    """Return the host and the port of ``host:port``."""
    before, colon, after = value.rpartition(":")
    if not colon or (":" in before and not before.startswith("[")):
        raise ValueError("expected host:port, such as 127.0.0.1:5000 or [::1]:5000")
    return host(before), port(after)


def clock(value: str) -> str:
    """Return a time of day, ``HH:MM``."""
    if not re.fullmatch(r"([01]?[0-9]|2[0-3]):[0-5][0-9]", value, re.ASCII):
        raise ValueError("expected a time of day such as 08:00")
    return value.rjust(5, "0")


def weekly_clock(value: str) -> tuple[str, str]:
    """Return a day of the week and a time of day, ``mon 08:00``."""
    day, _space, time = value.partition(" ")
    if day.lower() not in ("mon", "tue", "wed", "thu", "fri", "sat", "sun"):
        raise ValueError("expected a day and a time such as mon 08:00")
    return day.lower(), clock(time.strip())


GENERAL = {
    "servername": Option(server_name, why="what the mails call this machine"),
    "alertcontact": Option(addresses, why="who is told, commas between"),
    "jobs": Option(many, (), "folders of job files of your own, commas between"),
    "include": Option(text, "", "further settings, such as conf.d/*.cfg"),
    "state": Option(plain, "state", "where Checker remembers"),
    "logfile": Option(plain, "state/checker.log", "what -v writes to"),
    "statefile": Option(plain, "", "the older program's state file, read once"),
    "workermemory": Option(whole(64, 1_000_000), 1024, "MB that a worker may take"),
    "workerfiles": Option(whole(64, 1_000_000), 1024, "files it may have open"),
    "workerprocesses": Option(
        whole(64, 1_000_000), 4096, "processes and threads of its user, all told"
    ),
}

EMAIL = {
    "smtpserver": Option(host, "", "the server that takes our mail"),
    "smtpport": Option(port, 587, "465 where smtpsecurity = tls"),
    "smtpsecurity": Option(one_of(_SECURITY), "starttls", "tls where the port is 465"),
    "user": Option(plain, "", "the account, if the server wants a login"),
    "sender": Option(sender, "", "the mails' From, where the account is no address"),
    "pass": Option(plain, "", "the account's password"),
    "pass_file": Option(plain, "", "a file whose first line is the password"),
    "pass_env": Option(plain, "", "the environment variable that holds the password"),
    "pass_command": Option(command, (), "a command that prints the password"),
    "cafile": Option(plain, "", "trust this CA file instead of the system's store"),
    "nomail": Option(switch, False, "yes: log the mails instead of sending them"),
    "bustgmailthreading": Option(switch, False, "yes: do not thread the mails"),
    "mailsperhour": Option(whole(1, 1_000_000), 20, "more are held back"),
    "mailsperday": Option(whole(1, 1_000_000), 100, "more are held back"),
    "imapserver": Option(host, "", "where our own mail arrives"),
    "imapport": Option(port, 993, "143 where imapsecurity = starttls"),
    "imapsecurity": Option(one_of(_SECURITY), "tls", "starttls where the port is 143"),
    "imapfolder": Option(plain, "", "the folder to look in, where not found by itself"),
    "imapgrace": Option(
        number(1, 86_400, "seconds"), 600, "how long a mail may be under way"
    ),
    "imapslow": Option(
        number(1, 86_400, "seconds"), 120, "a warning where our own mail takes longer"
    ),
    "imapevery": Option(
        one_of(JobFrequency), JobFrequency.HOUR, "how often to mail ourselves"
    ),
    "ideletesentmessagesautomatically": Option(
        switch, False, "yes: a filter throws our own mail away; look in the trash first"
    ),
    "nomailisfine": Option(switch, False, "yes: tell peers that no mail is no trouble"),
}

#: A second account.  What is not about the account is said in [email], for both.
BACKUP = {
    name: EMAIL[name]
    for name in (
        "smtpserver",
        "smtpport",
        "smtpsecurity",
        "user",
        "sender",
        "pass",
        "pass_file",
        "pass_env",
        "pass_command",
        "cafile",
    )
}

#: Any other option of [peers] is a peer: lib/config/peers.py.
PEERS = {
    "every": Option(one_of(JobFrequency), JobFrequency.HOUR, "how often to ask"),
    "after": Option(failures, 2, "how many silences in a row come first"),
    "copy": Option(switch, False, "yes: alertcontact hears of peers, too"),
}


STATUS = {
    "listen": Option(endpoint, ("0.0.0.0", 5000), "where peers may ask"),
    "write": Option(absolute_path, "", "a file for a web server to serve"),
    "runage": Option(
        whole(120, 86_400, "seconds"), 180, "since when a run must have finished"
    ),
}

SUMMARY = {
    "daily": Option(clock, "", "a summary each day at this time"),
    "weekly": Option(weekly_clock, "", "a summary each week, such as mon 08:00"),
}

SECTIONS: Mapping[str, Mapping[str, Option]] = {
    "general": GENERAL,
    "email": EMAIL,
    "email backup": BACKUP,
    "defaults": POLICY_OPTIONS,
    "peers": PEERS,
    "status": STATUS,
    "summary": SUMMARY,
}
#: By the section's name in settings that were written before: its name now.
OLD_NAMES = {"digest": "summary"}
