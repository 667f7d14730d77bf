"""Reads [email] and [email backup] as Mail, with their problems."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from lib.config.fields import is_this_machine
from lib.config.hints import nearest
from lib.config.ini import VITAL
from lib.config.options import BACKUP, EMAIL, secret_options
from lib.config.secrets import find_secret
from lib.config.sections import read_section
from lib.core.ini import IniFile
from lib.core.secret import Secret
from lib.core.settings import Mail, Mailbox, Problem

_PASSWORDS = tuple(secret_options("pass", ""))
_BACKUP = "email backup"


def read_mail(
    ini: IniFile, folder: Path, nomail: bool, with_password: bool
) -> tuple[Mail, list[Problem]]:
    """Return the mail settings, and their problems.

    ``folder`` is where relative paths start.  If no mail will be sent, or
    ``with_password`` is False, a password in a file, variable or command is not read.
    """
    values, problems = read_section(ini, "email", EMAIL)
    sends = not (nomail or values.get("nomail"))
    problems += _contradictions(ini, values, sends)
    account = _Account(ini, "email", values, folder)
    mail = account.mail(looks_up=sends and with_password)
    mail = replace(
        mail,
        nomail=nomail or values.get("nomail", False),
        holds=nomail and not values.get("nomail", False),
        bustgmailthreading=values.get("bustgmailthreading", False),
        mailsperhour=values.get("mailsperhour", EMAIL["mailsperhour"].default),
        mailsperday=values.get("mailsperday", EMAIL["mailsperday"].default),
        when=values.get("when", ""),
        nomail_is_ok=values.get("nomailisfine", False),
    )
    mail = replace(mail, mailbox=_mailbox(values, mail))
    backup, wrong = _read_backup(ini, folder, sends, with_password)
    return replace(mail, backup=backup), [*problems, *account.problems, *wrong]


def _read_backup(
    ini: IniFile, folder: Path, sends: bool, with_password: bool
) -> tuple[Mail | None, list[Problem]]:
    """Return the backup account; None if there is none that can be used."""
    if _BACKUP not in ini:
        return None, []
    values, problems = read_section(ini, _BACKUP, BACKUP)
    problems += _account_contradictions(ini, _BACKUP, values, sends)
    if "smtpserver" not in ini.given(_BACKUP):
        text = "smtpserver is missing: without it there is no backup account"
        problems.append(_wrong(ini, _BACKUP, "", text))
    account = _Account(ini, _BACKUP, values, folder)
    mail = account.mail(looks_up=sends and with_password)
    problems += account.problems
    is_wrong = any(not problem.warning for problem in problems)
    return (None if is_wrong else mail), problems


class _Account(msgspec.Struct):
    """A section with an account that sends mail."""

    ini: IniFile
    section: str
    values: dict[str, Any]
    folder: Path
    problems: list[Problem] = []

    def mail(self, *, looks_up: bool) -> Mail:
        """Return the account; ``looks_up``: read also a password that is elsewhere."""
        values = self.values
        port = values.get("smtpport")
        security = values.get("smtpsecurity") or ("tls" if port == 465 else "starttls")
        return Mail(
            user=values.get("user", ""),
            password=self._password(looks_up),
            smtpserver=values.get("smtpserver", ""),
            smtpport=port or (465 if security == "tls" else 587),
            smtpsecurity=security,
            cafile=self._cafile(),
            sender=values.get("sender", ""),
        )

    def _cafile(self) -> str:
        given = self.values.get("cafile", "")
        path = str(self.folder / os.path.expanduser(given)) if given else ""
        if path and not os.path.isfile(path):
            self._add("cafile", f"cafile: there is no file {path}")
        return path

    def _password(self, looks_up: bool) -> Secret:
        option = next((name for name in _PASSWORDS if name in self.values), "")
        if not (option == "pass" or (option and looks_up)):
            return Secret()
        try:
            return find_secret(option, self.values[option], self.folder)
        except ValueError as error:
            self._add(option, f"{option}: {error}")
            return Secret()

    def _add(self, option: str, text: str) -> None:
        self.problems.append(_wrong(self.ini, self.section, option, text))


def _mailbox(values: dict[str, Any], mail: Mail) -> Mailbox | None:
    """Return the mailbox of our own mail: the account that also sends it."""
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
    """Yield the problems of options of [email] that do not fit together."""
    yield from _account_contradictions(ini, "email", values, sends)
    given = ini.given("email")
    if "%%" in given.get("pass", ""):
        yield Problem(
            "pass: it contains %%; the older program needed % doubled, this one does "
            "not",
            ini.where("email", "pass"),
            "email",
            warning=True,
        )
    yield from _unencrypted(ini, "email", values, "imap")
    if values.get("imapserver") and "user" not in given:
        yield Problem(
            "imapserver: reading a mailbox needs user and pass",
            ini.where("email", "imapserver"),
            "email",
            warning=True,
            note=True,
        )
    # Where only channels are notified, mail may be missing.
    needs_mail = given or "@" in ini.get("general", "alertcontact", "@")
    if "smtpserver" not in given and not values.get("nomail") and needs_mail:
        yield _without_server(ini, given)


def _account_contradictions(
    ini: IniFile, section: str, values: dict[str, Any], sends: bool
) -> Iterator[Problem]:
    """Yield the problems of options of an account that do not fit together."""
    given = ini.given(section)
    passwords = [name for name in _PASSWORDS if name in given]
    if len(passwords) > 1:
        text = f"{' and '.join(passwords)} are given; keep one"
        yield _wrong(ini, section, passwords[-1], text)
    if "user" in given and not passwords and sends:
        text = f"user is given without a password: add one of {', '.join(_PASSWORDS)}"
        yield _wrong(ini, section, "user", text)
    yield from _unencrypted(ini, section, values, "smtp")


def _unencrypted(
    ini: IniFile, section: str, values: dict[str, Any], protocol: str
) -> Iterator[Problem]:
    host = values.get(f"{protocol}server")
    option = f"{protocol}security"
    if values.get(option) == "none" and host and not is_this_machine(host):
        text = (
            f"{option} = none: {host} is not this machine, so the password would "
            "be sent unencrypted; expected starttls or tls"
        )
        yield _wrong(ini, section, option, text)


def _without_server(ini: IniFile, given: dict[str, str]) -> Problem:
    misspelt = any(nearest(name, ["smtpserver"]) for name in given if name not in EMAIL)
    if misspelt or any(name in given for name in ("user", *_PASSWORDS)):
        text = "smtpserver is missing: without it no alert can be sent"
        return _wrong(ini, "email", "", text)
    text = (
        "mail is not set up, so nobody is notified: "
        "set smtpserver, user and pass in [email], then try: checker.py -m testmail"
    )
    return Problem(text, ini.where("email"), "email", warning=True, note=True)


def _wrong(ini: IniFile, section: str, option: str, text: str) -> Problem:
    where = ini.where(section, option)
    return Problem(text, where, section, fatal=section in VITAL)
