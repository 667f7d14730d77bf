"""The options of the sections about Checker itself, and those that every kind has.

A section is one row in SECTIONS.  To add an option, give it a row in its table; the
readers are those of ``lib/config/fields.py`` and those below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from lib.config.fields import (
    absolute_path,
    addresses,
    failures,
    host,
    nearest,
    number,
    one_of,
    port,
    shown,
    switch,
    text,
    timeout,
    whole,
)
from lib.core.enums import JobFailureNotificationFrequency, JobFrequency
from lib.core.jobs import MAX_TIMEOUT_S

MAX_NAME = 100
_SECURITY = ("starttls", "tls", "none")
_NONE = "none is for a server on this machine only"


class _Required:
    """The default of an option that must be given."""

    def __repr__(self) -> str:
        return "(must be given)"


REQUIRED = _Required()


class Option(msgspec.Struct, frozen=True):
    """One option: how to read it, and its value if it is not given."""

    read: Callable[[str], Any]
    default: Any = REQUIRED
    #: What it is for, in a line; docs/settings.md is generated from these.
    why: str = ""


def read_options(
    given: Mapping[str, str], options: Mapping[str, Option]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of the given options, and the errors, by option.

    An option that is not given is in neither, unless it is required.
    """
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, raw in given.items():
        option = options.get(name)
        if option is None:
            # Several words may be a line without its "=", with a password in it.
            word, *more = name.split()
            words = shown("", word) + (" ..." if more else "")
            wrong[name] = f"unknown option {words!r}{nearest(name, options)}"
            continue
        try:
            values[name] = option.read((raw or "").strip())
        except ValueError as error:
            wrong[name] = f"{name} = {shown(name, raw)}: {error}"
    for name, option in options.items():
        if option.default is REQUIRED and name not in given:
            purpose = f": {option.why}" if option.why else ""
            wrong[name] = f"{name} is missing{purpose}"
    return values, wrong


def plain(value: str) -> str:
    """Return one line of text without control characters."""
    if not value or not value.isprintable():
        raise ValueError("expected one line of printable text")
    return value


def server_name(value: str) -> str:
    """Return the name of this machine in mails."""
    if not value.isprintable() or not 0 < len(value) <= MAX_NAME:
        raise ValueError(f"expected one line of 1 to {MAX_NAME} printable characters")
    return value


def sender(value: str) -> str:
    """Return one mail address."""
    senders = addresses(value)
    if len(senders) > 1:
        raise ValueError("expected one mail address")
    return senders[0]


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


#: The options of every kind, and of [defaults].
POLICY_OPTIONS = {
    "every": Option(
        one_of(JobFrequency), None, "minute, hour, day (midnight) or day_noon"
    ),
    "notify": Option(
        one_of(JobFailureNotificationFrequency),
        JobFailureNotificationFrequency.ONSTATECHANGE,
        "reminders: every (each time), 5min, 10min, hour or day; or state_change: one "
        "alert and one recovery",
    ),
    "failures": Option(failures, 1, "consecutive failures before the first alert"),
    "contact": Option(addresses, None, "who is notified, separated by commas"),
    "timeout": Option(
        timeout, 30.0, f"seconds for the whole check, at most {MAX_TIMEOUT_S}"
    ),
}

GENERAL = {
    "servername": Option(server_name, why="what the mails call this machine"),
    "alertcontact": Option(addresses, why="who is notified, separated by commas"),
    "jobs": Option(many, (), "folders with your own job files, separated by commas"),
    "include": Option(
        text, "", "more settings files, such as conf.d/*.cfg, read in sorted order"
    ),
    "state": Option(
        plain, "state", "the state folder, on a local disk; starts beside checker.py"
    ),
    "logfile": Option(
        plain, "state/checker.log", "the log file of -v; in the state folder by default"
    ),
    "statefile": Option(plain, "", "state file of the older program, read once"),
    "workermemory": Option(
        whole(64, 1_000_000),
        1024,
        "memory limit of one worker in MB, without the stacks of its threads",
    ),
    "workerfiles": Option(whole(64, 1_000_000), 1024, "open files per worker"),
    "workerprocesses": Option(
        whole(64, 1_000_000), 4096, "process limit for the user; not enforced for root"
    ),
}

EMAIL = {
    "smtpserver": Option(
        host, "", "the server that sends our mail; without it nobody is notified"
    ),
    "smtpport": Option(port, 587, "465 if smtpsecurity = tls"),
    "smtpsecurity": Option(
        one_of(_SECURITY), "starttls", f"tls if the port is 465; {_NONE}"
    ),
    "user": Option(plain, "", "the account, if the server needs a login"),
    "sender": Option(sender, "", "the From address, if the account is not an address"),
    "pass": Option(plain, "", "the account's password"),
    "pass_file": Option(plain, "", "a file with the password in its first line"),
    "pass_env": Option(
        plain, "", "an environment variable with the password; set it in the crontab"
    ),
    "pass_command": Option(command, (), "a command that prints the password"),
    "cafile": Option(plain, "", "trust this CA file instead of the system's store"),
    "nomail": Option(switch, False, "yes: log the mails instead of sending them"),
    "bustgmailthreading": Option(
        switch, False, "yes: do not thread reminders and recoveries"
    ),
    "mailsperhour": Option(
        whole(1, 1_000_000), 20, "rate limit; see docs/alerting.md for what is exempt"
    ),
    "mailsperday": Option(whole(1, 1_000_000), 100, "the same for any 24 hours"),
    "imapserver": Option(
        host, "", "where the mail of user is read, to prove that mail arrives"
    ),
    "imapport": Option(port, 993, "143 if imapsecurity = starttls"),
    "imapsecurity": Option(
        one_of(_SECURITY), "tls", f"starttls if the port is 143; {_NONE}"
    ),
    "imapfolder": Option(
        plain, "", "look in this folder only; by default all folders are searched"
    ),
    "imapgrace": Option(
        number(1, 86_400, "seconds"),
        600,
        "seconds that our own mail may take before it counts as lost",
    ),
    "imapslow": Option(
        number(1, 86_400, "seconds"),
        120,
        "warn if delivery takes longer than this, in seconds",
    ),
    "imapevery": Option(
        one_of(JobFrequency), JobFrequency.HOUR, "how often we mail ourselves"
    ),
    "ideletesentmessagesautomatically": Option(
        switch, False, "yes: a filter deletes our own mail; look in the trash first"
    ),
    "nomailisfine": Option(
        switch, False, "yes: without mail we still answer True to peers"
    ),
}

#: The backup account.  The other options of [email] apply to both accounts.
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
    "every": Option(
        one_of(JobFrequency), JobFrequency.HOUR, "how often to ask each peer"
    ),
    "after": Option(
        failures, 2, "consecutive unanswered requests before its admin is notified"
    ),
    "copy": Option(switch, False, "yes: also notify alertcontact"),
}


STATUS = {
    "listen": Option(
        endpoint,
        ("0.0.0.0", 5000),
        "address of -m daemon; [::]:5000 is every address, IPv6 too",
    ),
    "write": Option(
        absolute_path, "", "write our answer to this file, for a web server to serve"
    ),
    "runage": Option(
        whole(120, 86_400, "seconds"),
        180,
        "answer JobProblem if no run has finished for this many seconds",
    ),
}

SUMMARY = {
    "daily": Option(clock, "", "a summary each day at this time, such as 08:00"),
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
#: Old names of sections, and the present ones.
OLD_NAMES = {"digest": "summary"}
