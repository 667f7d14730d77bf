"""An instance of Checker that watches lamps, and all that is around it.

State files, mail server, receiver of webhooks and the program are real ones.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from lib.core.heartbeats import Event, What, encoded
from lib.storage.spool import write
from tests.support.instance import CHECKER, GENERAL, Instance
from tests.support.program import Program, our_program
from tests.support.receiver import Receiver
from tests.support.servers import SmtpMail, SmtpServer

#: The last line of settings that are half written.
HALF_WRITTEN = "[Lam"
CHANGE = "# changed\n"
NAMES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")

LAMPS = """\
import os
from lib.jobbase import *

class Lamps(JobSpawner):
    def get_sub_jobs(self, config):
        for name, path in config.items("Lamps"):
            yield Lamp(config, name, path)

class Lamp(JobBase):
    def __init__(self, config, name, path):
        super().__init__(config, name)
        self.name = name
        self.path = path

    def getName(self):
        return f"Lamp {self.name}"

    def executeEvery(self):
        return JobFrequency.MINUTE

    def notifyOnFailureEvery(self):
        return JobFailureNotificationFrequency.ONSTATECHANGE

    def execute(self):
        if not os.path.exists(self.path):
            raise CheckFailed("it is dark")
        return True
"""


#: A program that hands what it is told to the receiver of webhooks.
TELL = """\
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
connection.request("POST", "/", sys.stdin.buffer.read())
sys.exit(connection.getresponse().status != 200)
"""
#: What is under way when its run is killed ends within this.
ENDS_WITHIN_S = 10.0


class World:
    """An instance of Checker, its lamps and its mail server.

    ``program`` is the folder with checker.py; another one than ours for a design that
    is meant to fail.
    """

    def __init__(self, folder: Path, server: SmtpServer, program: Path | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.server = server
        self.program = program or CHECKER.parent
        self.instance = Instance(folder, server.email_section(), GENERAL)
        self.state = self.instance.state
        self.spool = folder / "spool"
        self._settings = self.instance.settings.read_text()
        self._kept = folder / "kept"
        runtime = folder / "runtime"
        runtime.mkdir(mode=0o700, exist_ok=True)
        # What is remembered where state cannot be written is left in no real place.
        self.instance.environment = {"XDG_RUNTIME_DIR": str(runtime)}
        self._receiver: Receiver | None = None
        self._copy: Program | None = None
        #: The moment at which the history of a scenario is looked back from.
        self.history_at = 0.0

    def close(self) -> None:
        """Stop what was started."""
        if self._receiver is not None:
            self._receiver.__exit__()
        if self._copy is not None:
            self._copy.stop()

    def lamps(self, count: int, *, reminds: bool = False, channel: str = "") -> None:
        """Have so many lamps; ``channel``: by which kind of it alerts leave."""
        often = "EVERYDAY" if reminds else "ONSTATECHANGE"
        self.instance.job("Lamps", LAMPS.replace("ONSTATECHANGE", often))
        paths = "".join(f"{name} = {self.folder / name}\n" for name in NAMES[:count])
        settings = self._settings
        if channel:
            settings = settings.replace("ops@example.com", "oncall")
            settings += f"\n[channel oncall]\n{self._channel(channel)}\ntimeout = 5\n"
        self.instance.write(f"{settings}\n[Lamps]\n{paths}")

    def _channel(self, kind: str) -> str:
        """Return the line of a channel by which messages come to the mails."""
        if self._receiver is None:
            self._receiver = Receiver({"/": self._take}).__enter__()
        if kind == "webhook":
            return f"webhook = {self._receiver.url('/')}"
        tell = self.folder / "tell.py"
        tell.write_text(TELL)
        return f"command = {sys.executable} -IS {tell} {self._receiver.port}"

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        """Keep a message with the mails, unless mail is down."""
        assert self._receiver is not None
        data = self._receiver.received.pop().json["data"]
        mail = EmailMessage()
        mail["Subject"] = data["subject"]
        mail["Message-ID"] = f"<{data['id']}@channel>"
        mail.set_content(data["text"])
        taken = SmtpMail("", (data["channel"],), mail.as_bytes(), "")
        failure = self.server.answer_data(taken)
        if not failure:
            self.server.mails.append(taken)
        with suppress(OSError):
            handler.send_response(503 if failure else 200)
            handler.end_headers()

    def settings(self, *, usable: bool) -> None:
        """Let the settings be usable, or half written."""
        text = self.instance.settings.read_text().removesuffix(HALF_WRITTEN)
        self.instance.write(text if usable else f"{text}{HALF_WRITTEN}")

    def change_settings(self) -> None:
        """Let the settings differ from those that were copied."""
        text = self.instance.settings.read_text().removesuffix(CHANGE)
        self.instance.write(f"{text}{CHANGE}")

    def make_batches(self) -> None:
        """Have the program put two records that change at once into one file first."""
        copy = self.folder / "program"
        if self.program == copy:
            return
        for name in ("lib", "jobs"):
            shutil.copytree(self.program / name, copy / name, dirs_exist_ok=True)
        shutil.copy(self.program / "checker.py", copy)
        path = copy / "lib" / "storage" / "records.py"
        text = path.read_text()
        assert text.count("FROM = 200\n") == 1
        path.write_text(text.replace("FROM = 200\n", "FROM = 2\n"))
        self.program = copy

    def light(self, *, on: bool) -> None:
        for name in NAMES:
            path = self.folder / name
            path.touch() if on else path.unlink(missing_ok=True)

    def await_beats(self, count: int) -> None:
        """Have so many heartbeats; ``beat`` has something happen."""
        for name in NAMES[:count]:
            self.instance.add(
                f"[heartbeat {name}]\nperiod = 300d\nspool = {self.spool}\n"
            )

    def beat(self, count: int, code: int) -> None:
        """Have so many wrapped commands end with a code, and nothing else wait."""
        shutil.rmtree(self.spool, ignore_errors=True)
        self.spool.mkdir()
        for name in NAMES[:count]:
            event = Event(name, What.END, time.time(), run=name, code=code)
            write(str(self.spool), encoded(event))

    def follow_logs(self, count: int) -> None:
        """Have so many logs followed."""
        for name in NAMES[:count]:
            log = self.folder / f"{name}.log"
            self.instance.add(f"[log {name}]\npath = {log}\nmatch = ERROR\n")

    def write_logs(self, count: int, *, goes_on: bool) -> None:
        """Let logs be as they were first; ``goes_on``: with two lines more in each.

        In between one of them is renamed, and another one copied and truncated.
        """
        for name in NAMES[:count]:
            log, rotated = (self.folder / f"{name}.log{end}" for end in ("", ".1"))
            rotated.unlink(missing_ok=True)
            log.write_text(f"the {name} is well\n")
            if not goes_on:
                continue
            with log.open("a") as file:
                file.write(f"ERROR {name} 1\n")
            if name == "ant":
                log.rename(rotated)
            elif name == "bee":
                shutil.copy(log, rotated)
                os.truncate(log, 0)
            with log.open("a") as file:
                file.write(f"ERROR {name} 2\n")

    def mail(self, *, up: bool) -> None:
        failure = None if up else "451 4.3.0 not now"
        self.server.answer_data = lambda mail: failure

    def command(self) -> list[str]:
        command = self.instance.command("-m", "cron", "-c", "minute")
        return [sys.executable, str(self.program / "checker.py"), *command[2:]]

    def start(self, before: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start a run, ``before`` being a program that watches over it."""
        env = {
            # The same calls in each run: nothing is compiled anew, no order is random.
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            **self.instance.environment,
        }
        return subprocess.Popen(
            [*before, *self.command()],
            env={"PATH": "/usr/bin:/bin", **env},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, before: Sequence[str] = (), *, watch: Sequence[str] = ()
    ) -> tuple[int, str]:
        """Carry out a run; return its exit code and what it said.

        ``before`` is a program that starts it anew.  ``watch`` is strace, which follows
        it from its first step on: its calls are those of the run and no others, and
        the same ones each time.
        """
        if before:
            process = self.start(before)
            out, err = process.communicate(timeout=70)
            return process.returncode, out + err
        words = self.instance.command("-m", "cron", "-c", "minute")[2:]
        environment = self.instance.environment
        code, out, err = self._started().run(words, environment, watch=watch)
        return code, out + err

    def _started(self) -> Program:
        """Return what starts the program."""
        if self.program == CHECKER.parent:
            return our_program()
        if self._copy is None:
            self._copy = Program(self.program)
        return self._copy

    def keep(self) -> None:
        """Keep the state, to come back to it."""
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self.state, self._kept)

    def restore(self) -> None:
        """Go back to the state that was kept, with nothing heard."""
        if self._receiver is not None:
            self._await_calls()
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.copytree(self._kept, self.state)
        self.state.chmod(0o700)
        self.server.mails.clear()

    def _await_calls(self) -> None:
        """Wait until nothing is under way any more of a run that was killed."""
        mark = os.fsencode(self.folder)
        ends_at = time.monotonic() + ENDS_WITHIN_S
        while any(mark in words for words in _command_lines()):
            assert time.monotonic() < ends_at, "a process of a killed run goes on"
            time.sleep(0.01)

    def pass_time(self, length: timedelta) -> None:
        """Let all that is remembered be older, as if so much time had passed."""
        self.instance.pass_time(length)

    def queued(self) -> int:
        """Return how many messages are owed; what cannot be read counts as one."""
        count = 0
        for path in (self.state / "jobs").glob("*.json"):
            try:
                count += len(json.loads(path.read_text()).get("queued", ()))
            except (OSError, ValueError):
                count += 1
        return count


def _command_lines() -> list[bytes]:
    """Return the command line of each process but this one."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                found.append(Path(entry.path, "cmdline").read_bytes())
    return found
