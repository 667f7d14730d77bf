"""The options of the sections about Checker itself, and those that every kind has.

A section is one row in SECTIONS.  To add an option, give it a row in its table; the
readers are those of ``lib/config/fields.py`` and those below.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from lib.config.fields import (
    Share,
    absolute_path,
    after,
    anchors,
    base_url,
    clock,
    command,
    contacts,
    depends,
    duration,
    endpoint,
    failure_count,
    failures,
    flapping,
    host,
    host_names,
    link,
    many,
    metrics_file,
    number,
    one_of,
    pending_limit,
    plain,
    port,
    secret,
    sender,
    server_name,
    switch,
    tags,
    text,
    time_zone,
    timeout,
    weekly_clock,
    when,
    whole,
    window_start,
)
from lib.config.hints import nearest, shown
from lib.core import schedule
from lib.core.enums import JobFailureNotificationFrequency, JobFrequency, Severity
from lib.core.jobs import DEFAULT_PENDING_LIMIT_S, MAX_TIMEOUT_S, FlappingRule
from lib.core.results import Threshold, Unit, amount_words
from lib.core.secret import Secret

_SECURITY = ("starttls", "tls", "none")
_NONE = "none is for a server on this machine only"

#: A message that takes longer could not leave in the last seconds of a run.
MAX_CHANNEL_S = 20


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
    help: str = ""
    #: Another name of it, from before.
    also: str = ""
    #: What the number counts, if it is one with a unit.
    unit: Unit | None = None
    #: For a threshold: it is the lowest number that is allowed, not the highest.
    below: bool = False


def read_options(
    given: Mapping[str, str], options: Mapping[str, Option]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of the given options, and the errors, by option.

    An option that is not given is in neither, unless it is required.  A value is under
    the option's own name, also where another name of it is given.
    """
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    names = {option.also: name for name, option in options.items() if option.also}
    unequal: set[str] = set()
    for word, raw in given.items():
        name = names.get(word, word)
        option = options.get(name)
        if option is None:
            if missing := without_equals(word, {**options, **names}):
                unequal.add(names.get(missing, missing))
                wrong[word] = f"there is no = after {missing!r}"
                continue
            # Several words may be such a line, with a password in it.
            first, *more = word.split()
            words = shown("", first) + (" ..." if more else "")
            hint = _elsewhere(word) or nearest(word, [*options, *names])
            wrong[word] = f"unknown option {words!r}{hint}"
            continue
        if word != name and name in given:
            wrong[word] = (
                f"{word} is another name of {name}, which is there too; keep one"
            )
            continue
        try:
            values[name] = option.read(raw.strip())
        except ValueError as error:
            given_as = "***" if option.read is secret else shown(word, raw)
            wrong[word] = f"{word} = {given_as}: {error}"
    for name, option in options.items():
        is_given = name in given or option.also in given
        if option.default is REQUIRED and not is_given and name not in unequal:
            purpose = f": {option.help}" if option.help else ""
            wrong[name] = f"{name} is missing{purpose}"
    return values, wrong


def _elsewhere(word: str) -> str:
    """Return where an option belongs that is known elsewhere; else an empty text."""
    if word in RETRY_OPTIONS:
        return (
            ": a kind has it whose targets can be tried again, in their "
            "sections and in [defaults KIND]"
        )
    of_targets = {**POLICY_OPTIONS, **LAYOUT_OPTIONS}
    if word in of_targets and word not in DEFAULTS:
        return " here: it belongs in the section of a target, or in a template"
    return ""


def without_equals(word: str, known: Container[str]) -> str:
    """Return the first word of a line that lacks its "=", or "" if it is no such line.

    Of ``url https://x`` the part before the colon is taken for the option.
    """
    first, *more = word.split() or [""]
    is_url = bool(more) and more[-1] in ("http", "https")
    return first if more and (first in known or is_url) else ""


def hint_of(raw: str) -> str:
    """Return why a value may differ from how it looks in the file."""
    if "\n" in raw:
        return "; the lines below it that begin with spaces are part of it"
    if re.search(r"\s[#;]", raw):
        return "; a comment needs a line of its own"
    return ""


def written(value: Any, unit: Unit | None = None) -> str:
    """Return a value as settings.cfg has it; empty if there is none."""
    if value in (None, "", (), b"", frozenset(), Secret()):
        return ""
    if isinstance(value, Threshold):
        ends = [end for end in (value.low, value.high) if end is not None]
        return "..".join(
            amount_words(
                end, Unit.PERCENT if isinstance(end, Share) else unit or Unit.COUNT
            )
            for end in ends
        )
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return amount_words(value, unit) if unit else f"{value:g}"
    if isinstance(value, tuple) and isinstance(value[0], tuple):
        return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in value)
    if isinstance(value, tuple):
        # An address has a port, and anything else is a list of words.
        separator = ", " if isinstance(value[-1], str) else ":"
        return separator.join(map(str, value))
    return str(value)


#: The ways to give an option of type secret: itself, or where it is.
SECRET_SUFFIXES = ("", "_file", "_env", "_command")


def secret_options(name: str, what: str) -> dict[str, Option]:
    """Return the four options that may give a secret.

    ``read_secret`` of ``lib/config/secrets.py`` gets it from the one that is given.
    """
    return {
        name: Option(secret, Secret(), what),
        f"{name}_file": Option(plain, "", "a file with it in its first line"),
        f"{name}_env": Option(
            plain, "", "an environment variable with it; set it in the crontab"
        ),
        f"{name}_command": Option(command, (), "a command that prints it"),
    }


#: The options of every job, and of [defaults].
DEFAULTS = {
    "every": Option(
        schedule.read,
        None,
        "minute, hour, day (midnight), day_noon, an interval such as 5min, or cron",
    ),
    "notify": Option(
        one_of(JobFailureNotificationFrequency),
        JobFailureNotificationFrequency.ONSTATECHANGE,
        "reminders: every (each time), 5min, 10min, hour or day; or state_change: one "
        "alert and one recovery",
    ),
    "failures": Option(
        failures,
        None,
        "before the first alert: consecutive failures, 3/4 of the results, or 15min",
    ),
    "recoveries": Option(
        whole(1, 1_000_000), None, "consecutive OK results that end a failure"
    ),
    "recheck": Option(
        schedule.read_recheck,
        None,
        "how soon a failing job that runs less often runs again, such as 5min; or no",
    ),
    "flapping": Option(
        flapping,
        FlappingRule(),
        "6/20: one alert in place of many from six changes within 20 checks on; or no",
    ),
    "pendinglimit": Option(
        pending_limit,
        DEFAULT_PENDING_LIMIT_S,
        "pending for longer than this is unknown",
        unit=Unit.SECONDS,
    ),
    "notify_warnings": Option(
        switch, True, "no: a warning is shown, and nobody is notified of it"
    ),
    "contact": Option(
        contacts, None, "who is notified: mail addresses, names of channels"
    ),
    "when": Option(
        when,
        "",
        "when its messages may leave, such as mon-fri 08:00-20:00; or always",
    ),
    "timeout": Option(
        timeout,
        30.0,
        f"time for the whole check, at most {MAX_TIMEOUT_S}s",
        unit=Unit.SECONDS,
    ),
    "tags": Option(tags, (), "words to group jobs by, separated by commas"),
    "runbook": Option(
        link,
        "",
        "a link (http, https, mailto) to what to do about it, shown in alerts",
    ),
}

#: The options of every kind of target.
POLICY_OPTIONS = {
    **DEFAULTS,
    "description": Option(plain, "", "what it is, for people, in one line"),
    "enabled": Option(switch, True, "no: it is not run, and listed as disabled"),
    "invert": Option(switch, False, "yes: OK if the check fails, failing if it is OK"),
    "was": Option(
        plain, "", "the name it had before; its history is kept, and depends may say it"
    ),
    "depends": Option(
        depends,
        (),
        "names of jobs; while one is failing, nobody is notified of this one",
    ),
}

#: Those of every kind whose targets may be looked at twice in one run.
RETRY_OPTIONS = {
    "retries": Option(
        whole(0, 5), 0, "so often what is failing or unknown is tried again in the run"
    ),
    "retry_pause": Option(
        duration(0, MAX_TIMEOUT_S),
        1.0,
        "the pause before each of these tries",
        unit=Unit.SECONDS,
    ),
}


def policy_options(
    every: str, recheck: str, *, retries: bool = True
) -> dict[str, Option]:
    """Return POLICY_OPTIONS with the defaults of a kind, and RETRY_OPTIONS."""
    more = RETRY_OPTIONS if retries else {}
    return {
        **POLICY_OPTIONS,
        "every": replace(POLICY_OPTIONS["every"], default=every),
        "recheck": replace(POLICY_OPTIONS["recheck"], default=recheck),
        **more,
    }


#: What a target takes from elsewhere, and how many it stands for.
LAYOUT_OPTIONS = {
    "use": Option(many, (), "templates to take options from; the first one wins"),
    "hosts": Option(many, (), "one target for each host; {host} stands for it"),
    "hosts_file": Option(plain, "", "a file with one host a line; # begins a comment"),
}

GENERAL = {
    "servername": Option(server_name, help="what the mails call this machine"),
    "alertcontact": Option(
        contacts, help="who is notified: mail addresses, names of channels"
    ),
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
    "timezone": Option(
        time_zone,
        None,
        "such as Europe/Berlin: for times in mails, tables, log, [summary]",
    ),
    "anchors": Option(
        anchors,
        (),
        "host:port, ... elsewhere; if none answers, network checks are unknown",
    ),
    **secret_options(
        "ping",
        "URL of an outside service that expects it after each run; url/fail if we "
        "are not well",
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
    **secret_options("pass", "the account's password"),
    "cafile": Option(plain, "", "trust this CA file instead of the system's store"),
    "nomail": Option(switch, False, "yes: log the mails instead of sending them"),
    "bustgmailthreading": Option(
        switch, False, "yes: do not thread reminders and recoveries"
    ),
    "mailsperhour": Option(
        whole(1, 1_000_000), 20, "rate limit; see docs/alerting.md for what is exempt"
    ),
    "mailsperday": Option(whole(1, 1_000_000), 100, "the same for any 24 hours"),
    "when": Option(
        when,
        "",
        "when mails may leave, such as mon-fri 08:00-20:00; else they wait",
    ),
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
        *secret_options("pass", ""),
        "cafile",
    )
}

#: Any other option of [peers] is a peer: lib/config/peers.py.
PEERS = {
    "every": Option(schedule.read, JobFrequency.HOUR, "how often to ask each peer"),
    "after": Option(
        failure_count, 2, "consecutive unanswered requests before its admin is notified"
    ),
    "copy": Option(switch, False, "yes: also notify alertcontact"),
}


STATUS = {
    "listen": Option(
        endpoint,
        ("127.0.0.1", 5000),
        "address of -m daemon; 0.0.0.0:5000 is every address, [::]:5000 IPv6 too",
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

PAGE = {
    "title": Option(text, "", "its heading; if it is not given, servername"),
    "url": Option(
        base_url, "", "where people find it, such as https://status.example.com/"
    ),
    "write": Option(
        absolute_path, "", "a folder that runs write it into, for a web server to serve"
    ),
    "every": Option(
        duration(60, 86_400), 300.0, "how often it is written", unit=Unit.SECONDS
    ),
    "listen": Option(
        endpoint,
        ("127.0.0.1", 5001),
        "address of -m daemon for the page and pings; not that of [status]",
    ),
    "hosts": Option(
        host_names,
        (),
        "names by which it may be asked for, beside localhost and that of url",
    ),
    **secret_options("token", "the password of the page; without it it is not served"),
    "open": Option(
        switch, False, "yes: without a password, where listen is this machine only"
    ),
    "public": Option(
        tags,
        (),
        "tags whose jobs anybody may see, at /public, without hosts or reasons",
    ),
    "public_write": Option(
        absolute_path, "", "a folder that runs write the public page into"
    ),
    "templates": Option(
        absolute_path, "", "a folder of your own templates of jinja2, in place of ours"
    ),
    "ping": Option(
        switch,
        False,
        "yes: take pings at /ping/TOKEN, as Healthchecks does, for [heartbeat NAME]",
    ),
}

METRICS = {
    "write": Option(
        metrics_file,
        "",
        "a file ending in .prom that each run replaces, for node_exporter to read",
    ),
}

HISTORY = {
    "results": Option(
        duration(2 * 86_400, 3650 * 86_400, "d"),
        14 * 86_400.0,
        "how long each result is kept",
        unit=Unit.SECONDS,
    ),
    "five_minutes": Option(
        duration(2 * 86_400, 3650 * 86_400, "d"),
        90 * 86_400.0,
        "how long the mean, lowest and highest of each five minutes are kept",
        unit=Unit.SECONDS,
    ),
    "hours": Option(
        duration(2 * 86_400, 36_500 * 86_400, "d"),
        1825 * 86_400.0,
        "how long those of each hour are kept",
        unit=Unit.SECONDS,
    ),
}

SUMMARY = {
    "daily": Option(clock, "", "a summary each day at this time, such as 08:00"),
    "weekly": Option(weekly_clock, "", "a summary each week, such as mon 08:00"),
}

#: The options of ``[maintenance NAME]``.
MAINTENANCE = {
    "jobs": Option(many, (), "names of jobs or patterns such as http *, with commas"),
    "tags": Option(tags, (), "and the jobs that have one of these tags"),
    "start": Option(
        window_start,
        help="once, such as 2026-12-24 22:00, or again and again, such as 0 2 * * sun",
    ),
    "length": Option(duration(60, 30 * 86_400, ""), help="how long, such as 2h"),
}
MAINTENANCE_WORD = "maintenance"
#: The options of ``[channel NAME]``; one of the first three must be given.
CHANNEL = {
    **secret_options("url", "services of Apprise, separated by spaces"),
    **secret_options("webhook", "the address that gets JSON by POST"),
    "command": Option(command, (), "a program that gets JSON on its standard input"),
    **secret_options("secret", "whsec_..., which signs what a webhook gets"),
    **secret_options("token", "sent to a webhook as Authorization: Bearer"),
    "cafile": Option(plain, "", "trust this CA file instead of the system's store"),
    "insecure": Option(
        switch, False, "yes: also http to another host, or TLS without verification"
    ),
    "timeout": Option(
        duration(1, MAX_CHANNEL_S),
        10.0,
        f"time for one message, at most {MAX_CHANNEL_S}s",
        unit=Unit.SECONDS,
    ),
    "level": Option(
        one_of(Severity), Severity.WARNING, "critical: no warnings and no summaries"
    ),
    "fallback": Option(
        after,
        None,
        "NAME after 10min: the channel that gets what this one does not take",
    ),
    "escalate": Option(
        after, None, "NAME after 30min: who hears of what is failing for so long"
    ),
    "when": Option(
        when,
        "",
        "when messages may leave by it, such as mon-fri 08:00-20:00; else they wait",
    ),
    "proof": Option(
        one_of(("daily", "weekly", "monthly")),
        "",
        "a numbered test message at 09:00: daily, weekly (Monday) or monthly (the 1st)",
    ),
}

SECTIONS: Mapping[str, Mapping[str, Option]] = {
    "general": GENERAL,
    "email": EMAIL,
    "email backup": BACKUP,
    "defaults": DEFAULTS,
    "peers": PEERS,
    "status": STATUS,
    "page": PAGE,
    "metrics": METRICS,
    "history": HISTORY,
    "summary": SUMMARY,
}
#: How the title of a channel begins.
CHANNEL_WORD = "channel"
#: The sections of which there may be several, by the word before their NAME.
NAMED_SECTIONS: Mapping[str, Mapping[str, Option]] = {
    CHANNEL_WORD: CHANNEL,
    MAINTENANCE_WORD: MAINTENANCE,
}


def channels_in(titles: Iterable[str]) -> list[str]:
    """Return the names of the channels among the titles of sections."""
    parts = (title.partition(" ") for title in titles)
    return [name for word, _space, name in parts if word == CHANNEL_WORD and name]


def unknown_channels(names: Iterable[str], titles: Container[str]) -> list[str]:
    """Return the names that are those of no channel, by the titles of the settings.

    Not by a list of all channels: thousands of targets may each have a contact.
    """
    return [name for name in names if f"{CHANNEL_WORD} {name}" not in titles]


def table_of(section: str) -> Mapping[str, Option]:
    """Return the options of a section about Checker itself; empty if it is none."""
    word, _space, name = section.partition(" ")
    if word in NAMED_SECTIONS and name.strip():
        return NAMED_SECTIONS[word]
    return SECTIONS.get(section, {})
