"""What the rows of mail share: an instance with one alert to send, and its server."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.faults.rows import FLAG_ALERT
from tests.support.instance import Instance, flag_job
from tests.support.servers import PASSWORD, SMTP_TALK, USER, SmtpStub

#: What the one job that fails is mailed about with.
ALERT = FLAG_ALERT
#: The script of a server that takes the mail.
GOOD = "\n".join(SMTP_TALK.values())
FULL = "[disk full{}]\npath = /\nlimit = 1\nevery = minute\n"
NOW, SECOND = timedelta(), timedelta(seconds=1)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def account(port: int, cafile: object = "", password: str = PASSWORD) -> str:
    """Return the [email] section for a stub."""
    return (
        f"[email]\nsmtpserver = 127.0.0.1\nsmtpport = {port}\nuser = {USER}\n"
        f"pass = {password}\ncafile = {cafile}\n"
    )


def failing(folder: Path, settings: str) -> Instance:
    """Return an instance in which one job fails."""
    folder.mkdir(exist_ok=True)
    instance = Instance(folder, settings)
    instance.job("Flag", flag_job(folder / "flag"))
    return instance


def move_to(instance: Instance, before: int, after: int) -> None:
    """Let the mail server be another one: the port in the settings."""
    instance.write(instance.settings.read_text().replace(f" {before}\n", f" {after}\n"))


def queued(instance: Instance) -> list[dict[str, Any]]:
    """Return the messages that are owed, as they are kept."""
    records = instance.records().values()
    return [one for record in records for one in record.get("queued", ())]


def mails_heard(stub: SmtpStub) -> list[list[bytes]]:
    """Return the mails that a stub heard, each as its lines."""
    mails: list[list[bytes]] = []
    lines: list[bytes] | None = None
    for line in stub.heard:
        if line.upper() == b"DATA":
            lines = []
        elif line == b"." and lines is not None:
            mails.append(lines)
            lines = None
        elif lines is not None:
            lines.append(line)
    return mails
