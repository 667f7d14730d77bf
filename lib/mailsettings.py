"""[email] -> Mail, or what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.inifile import IniFile
from lib.model import Mail, Mailbox, Problem
from lib.options import EMAIL
from lib.password import find_password
from lib.readers import nearest
from lib.sections import given_in, read_section

PASSWORDS = ("pass", "pass_file", "pass_env", "pass_command")


def read_mail(
    ini: IniFile, folder: Path, nomail: bool, with_password: bool
) -> tuple[Mail, list[Problem]]:
    """Return how mail leaves, and what is wrong with it.

    ``folder`` is where relative paths start.  Where no mail will be sent, or
    ``with_password`` is False, a password that stands elsewhere is not looked up.
    """
    values, problems = read_section(ini, "email", EMAIL)
    sends = not (nomail or values.get("nomail"))
    problems += _contradictions(ini, values, sends)
    cafile = values.get("cafile", "")
    cafile = str(folder / os.path.expanduser(cafile)) if cafile else ""
    if cafile and not os.path.isfile(cafile):
        problems.append(_fatal(ini, "cafile", f"cafile: there is no file {cafile}"))
    password = ""
    option = next((name for name in PASSWORDS if name in values), "")
    if option == "pass" or (option and sends and with_password):
        try:
            password = find_password(option, values[option], folder)
        except ValueError as error:
            problems.append(_fatal(ini, option, f"{option}: {error}"))
    port = values.get("smtpport")
    security = values.get("smtpsecurity") or ("tls" if port == 465 else "starttls")
    mail = Mail(
        nomail=nomail or values.get("nomail", False),
        holds=nomail and not values.get("nomail", False),
        user=values.get("user", ""),
        password=password,
        smtpserver=values.get("smtpserver", ""),
        smtpport=port or (465 if security == "tls" else 587),
        smtpsecurity=security,
        cafile=cafile,
        bustgmailthreading=values.get("bustgmailthreading", False),
        sender=values.get("sender", ""),
        mailsperhour=values.get("mailsperhour", EMAIL["mailsperhour"].default),
        mailsperday=values.get("mailsperday", EMAIL["mailsperday"].default),
        nomail_is_fine=values.get("nomailisfine", False),
    )
    return replace(mail, mailbox=_mailbox(values, mail)), problems


def _mailbox(values: dict[str, Any], mail: Mail) -> Mailbox | None:
    """Return where our own mail arrives; it is the account that mail leaves by."""
    server = values.get("imapserver")
    if not server:
        return None
    port = values.get("imapport")
    security = values.get("imapsecurity") or ("starttls" if port == 143 else "tls")
    return Mailbox(
        server=server,
        port=port or (143 if security == "starttls" else 993),
        security=security,
        user=mail.user,
        password=mail.password,
        cafile=mail.cafile,
        folder=values.get("imapfolder", ""),
        grace_s=values.get("imapgrace", EMAIL["imapgrace"].default),
        slow_s=values.get("imapslow", EMAIL["imapslow"].default),
        trash_first=values.get("ideletesentmessagesautomatically", False),
    )


def _contradictions(
    ini: IniFile, values: dict[str, Any], sends: bool
) -> Iterator[Problem]:
    """Yield what no option is wrong in alone."""
    given = given_in(ini, "email")
    passwords = [name for name in PASSWORDS if name in given]
    if len(passwords) > 1:
        text = f"{' and '.join(passwords)} are given; keep one"
        yield _fatal(ini, passwords[-1], text)
    if "user" in given and not passwords and sends:
        text = f"user is given without a password: add one of {', '.join(PASSWORDS)}"
        yield _fatal(ini, "user", text)
    if "%%" in given.get("pass", ""):
        yield Problem(
            "pass: there is a %% in it; the older program needed % twice, now one is "
            "written as one",
            ini.where("email", "pass"),
            "email",
            warning=True,
        )
    for protocol in ("smtp", "imap"):
        host = values.get(f"{protocol}server")
        option = f"{protocol}security"
        if values.get(option) == "none" and host and not is_this_machine(host):
            text = (
                f"{option} = none: {host} is not this machine, so the password would "
                "travel in the open; expected starttls or tls"
            )
            yield _fatal(ini, option, text)
    if "smtpserver" not in given and not values.get("nomail"):
        yield _without_server(ini, given)


def _without_server(ini: IniFile, given: dict[str, str]) -> Problem:
    misspelt = any(nearest(one, ["smtpserver"]) for one in given if one not in EMAIL)
    if misspelt or any(name in given for name in ("user", *PASSWORDS)):
        text = "smtpserver is missing: without it no alert can leave"
        return _fatal(ini, None, text)
    text = (
        "mail is not set up, so nobody would hear: "
        "give smtpserver, user and pass in [email], then try: checker.py -m testmail"
    )
    return Problem(text, ini.where("email"), "email", warning=True, note=True)


def is_this_machine(host: str) -> bool:
    """Return whether what is sent to the host cannot leave this machine."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _fatal(ini: IniFile, option: str | None, text: str) -> Problem:
    return Problem(text, ini.where("email", option), "email", fatal=True)
