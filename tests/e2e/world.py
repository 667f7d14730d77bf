"""What a story happens in: an instance, servers on loopback, and what is done to them.

The words of a story's second column, ``what: how`` with ``;`` between:

    NAME: open, closed          the port {tcp:NAME}
    NAME: 503 Away, True, silent    what {http:NAME} answers, a peer too
    NAME: gets all, gets nothing    the mailbox {imap:NAME} of our own account
    NAME: 40 days               how long the certificate of {tls:NAME} lasts from now
    NAME: ok, no, failed WHY    what the job NAME comes to; see JOBS for all
    mail: takes, closed, 451 WHY, 550 ADDRESS, login refused
    settings: NAME              settings.cfg has what stands in ``texts`` at NAME
    NAME: gone, TEXT            the file {path:NAME} is gone, or has what ``texts`` has
    file NAME: gone, TEXT       a job file is gone, or has what stands in ``texts``
    state: lost, lose NAME, spoil NAME     all of state; the record of one job
    type: mute Flag --for 1h    what somebody types behind -m, before the run
    order: hour                 what this start is told, if not what the time says
    flags: --nomail             and what stands behind that
"""

from __future__ import annotations

import re
import shlex
import shutil
import socket
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.e2e.story import Minute, Story
from tests.support.imapstub import ImapStub, StubMail
from tests.support.instance import GENERAL, Instance
from tests.support.listeners import Listener, answer, authority, hear, write_authority
from tests.support.program import Program
from tests.support.servers import PASSWORD, USER, SmtpMail, SmtpServer, server_context

NEVER = datetime.min.replace(tzinfo=UTC)

#: The defaults that the stories were first told with, for programs that have others.
FIRST_DEFAULTS = """
[defaults http]
failures = 1
recoveries = 1
[defaults tcp]
failures = 1
recoveries = 1
[defaults disk]
recheck = no
"""

#: What the job files of a story share: a job does what the story says of its name.
JOBS = """\
import os, time
from pathlib import Path
from lib.jobbase import *

WORLD = Path({world!r})


class Told(JobBase):
    def executeEvery(self):
        return JobFrequency.MINUTE

    def execute(self):
        return do_as_told(self.getName())


def do_as_told(name):
    path = WORLD / name.replace("/", "_")
    word, _space, why = (path.read_text() if path.exists() else "ok").partition(" ")
    if word == "exit":
        os._exit(3)
    if word == "hang":
        time.sleep(60)
    raised = {{
        "failed": CheckFailed,
        "unknown": CheckUnknown,
        "pending": CheckPending,
        "raise": ValueError,
    }}
    if word in raised:
        raise raised[word](why)
    return {{"ok": True, "no": False}}[word]
"""


class World:
    """One story's world."""

    def __init__(
        self,
        folder: Path,
        story: Story,
        program: Program,
        mail: SmtpServer,
        second: SmtpServer,
        defaults: str = "",
    ) -> None:
        self._story = story
        self._program = program
        self._defaults = "" if story.has_own_defaults else defaults
        self._servers = ExitStack()
        self._mail = MailServer(mail)
        self._things: dict[str, Any] = {
            "mail": self._mail,
            "second": MailServer(second),
        }
        self._email = mail.email_section(write_authority(folder)) + story.email
        self._told = folder / "world"
        self._told.mkdir()
        self._instance = Instance(folder, "")
        self._instance.job("_told", JOBS.format(world=str(self._told)))
        for name, text in story.jobs.items():
            self._write_job(name, text)
        self._write_settings(story.settings)

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self._mail.become("takes", NEVER)
        self._servers.close()

    def pass_minute(self, minute: Minute) -> str:
        """Let things happen, then start what the crontab says; return what it said."""
        ordered, flags, said = minute.ordered, "", ""
        for what, how in minute.events:
            if what == "order":
                ordered = how
            elif what == "type":
                said += self._run(["-m", *shlex.split(how)], minute.at)
            elif what == "flags":
                flags = how
            else:
                self._become(what, how, minute.at)
        words = ["-m", "cron", "-c", ordered, *flags.split()]
        return said + self._run(words, minute.at)

    def _run(self, words: list[str], at: datetime) -> str:
        """Start the program, and return what it said."""
        home = {
            "XDG_RUNTIME_DIR": str(self._instance.folder),
            "TZ": self._story.zone,
        }
        command = self._instance.command(*words)[2:]
        _code, out, err = self._program.run(command, home, at)
        return out + err

    # What is there at the beginning.

    def _write_job(self, name: str, text: str) -> None:
        if not re.match(r"(from|import|class) ", text):
            hooks = "".join(f"    {line}\n" for line in text.splitlines()) or "    pass"
            text = f"class {name}(Told):\n{hooks}"
        if not re.match(r"(from|import) ", text):
            text = f"from _told import *\n\n{text}"
        self._instance.job(name, text)

    def _write_settings(self, text: str) -> None:
        text = f"{GENERAL}{self._story.general}\n{self._email}\n{text}{self._defaults}"
        text = re.sub(r"\{(\w+):(\w+)\}", self._fill, text)
        text = text.replace("{cafile}", str(self._instance.folder / "authority.pem"))
        self._instance.write(text)

    def _fill(self, found: re.Match[str]) -> str:
        """Return the port of a server, or a path, in the place of {kind:name}."""
        kind, name = found[1], found[2]
        if kind == "path":
            return str(self._told / name)
        if name not in self._things:
            thing = THINGS[kind]()
            self._servers.callback(thing.close)
            self._things[name] = thing
            if isinstance(thing, Mailbox):
                self._mail.mailboxes.append(thing)
        return str(self._things[name].port)

    # What happens.

    def _become(self, what: str, how: str, now: datetime) -> None:
        first, _space, name = what.partition(" ")
        if what == "settings":
            self._write_settings(self._story.texts.get(how, self._story.settings))
        elif first == "file" and how == "gone":
            (self._instance.jobs / f"{name}.py").unlink()
        elif first == "file":
            text = self._story.texts.get(how, self._story.jobs.get(name, ""))
            self._write_job(name, text)
        elif what == "state":
            self._harm_state(*how.split(maxsplit=1))
        elif what in self._things:
            self._things[what].become(how, now)
        elif how == "gone":
            (self._told / what).unlink()
        else:
            text = re.sub(
                r"\{(\w+):(\w+)\}", self._fill, self._story.texts.get(how, how)
            )
            (self._told / what.replace("/", "_")).write_text(text)

    def _harm_state(self, how: str, name: str = "") -> None:
        state = self._instance.state
        if how == "lost":
            shutil.rmtree(state)
            state.mkdir(mode=0o700)
            return
        (path,) = (state / "jobs").glob(f"{name.lower()}*.json")
        if how == "lose":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:40])


class MailServer:
    """A mail server that takes, refuses, or is away."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._is_away = False
        self._refuses: str | None = None
        #: Who gets what is taken.
        self.mailboxes: list[Mailbox] = []
        self.become("takes", NEVER)

    @property
    def port(self) -> int:
        return self._server.port

    def become(self, how: str, _now: datetime) -> None:
        server = self._server
        word, _space, rest = how.partition(" ")
        if self._is_away is not (word == "closed"):
            self._is_away = not self._is_away
            server.go_away() if self._is_away else server.come_back()
        server.password = "another" if how == "login refused" else PASSWORD
        self._refuses = how if word.isdigit() and not rest.count("@") else None
        server.answer_data = self._take
        gone = rest if rest.count("@") else None
        server.answer_rcpt = lambda address: (
            "550 5.1.1 no such user" if address == gone else None
        )

    def _take(self, mail: SmtpMail) -> str | None:
        for mailbox in self.mailboxes:
            mailbox.take(mail)
        return self._refuses


class Mailbox:
    """An IMAP server with the mail of our own account, or without."""

    def __init__(self) -> None:
        self._server = ImapStub(authority()).__enter__()
        self._gets_all = True
        self.port = self._server.port

    def become(self, how: str, _now: datetime) -> None:
        self._gets_all = how == "gets all"

    def take(self, mail: SmtpMail) -> None:
        if self._gets_all and mail.to == (USER,):
            header = mail.data.decode().partition("\r\n\r\n")[0]
            inbox = self._server.mails.setdefault("INBOX", [])
            inbox.append(StubMail(f"{header}\r\n\r\n"))

    def close(self) -> None:
        self._server.__exit__()


class Port:
    """A port that is open or closed; nobody needs to answer there."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]

    def become(self, how: str, _now: datetime) -> None:
        self._socket.close()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", self.port))
        if how == "open":
            self._socket.listen()

    def close(self) -> None:
        self._socket.close()


class Website:
    """A web server that says what it is told to, or hangs up."""

    def __init__(self) -> None:
        self._how = "True"
        self._listener = Listener(self._talk)
        self.port = self._listener.port
        self._listener.__enter__()

    def become(self, how: str, _now: datetime) -> None:
        self._how = how

    def close(self) -> None:
        self._listener.__exit__()

    def _talk(self, connection: socket.socket, listener: Listener) -> None:
        hear(connection, listener)
        if self._how == "silent":
            return
        status = self._how if self._how[:3].isdigit() else "200 OK"
        connection.sendall(answer(status, self._how.encode()))


class Certificate:
    """A TLS server whose certificate ends some days from when that is said."""

    def __init__(self) -> None:
        self._listener = Listener(lambda _connection, _listener: None)
        self.port = self._listener.port
        self._listener.__enter__()

    def become(self, how: str, now: datetime) -> None:
        days = timedelta(days=float(how.split()[0]))
        self._listener._context = server_context(authority(), not_after=now + days)

    def close(self) -> None:
        self._listener.__exit__()


THINGS = {"imap": Mailbox, "tcp": Port, "http": Website, "tls": Certificate}
