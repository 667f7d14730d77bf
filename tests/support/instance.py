"""An instance of Checker as its admin has it: settings, jobs, state, and cron."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.support.powers import as_anybody
from tests.support.program import our_program

CHECKER = Path(__file__).resolve().parents[2] / "checker.py"

GENERAL = """\
[general]
servername = web1
alertcontact = ops@example.com
"""

#: The jobs that are there whatever the settings say.
OWN_JOBS = ("EmailChecker",)

NO_MAIL = "[email]\nnomail = True\n"

#: A user of nobody's, so that no process but ours counts: nor one of another pytest.
NOBODYS = 1_000_000 + os.getpid()

#: What in an environment is read where a process begins.
NOT_FOR_A_FORK = re.compile("LD_|PYTHON|FAKETIME")


@dataclass
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def silent(self) -> bool:
        return (self.code, self.out, self.err) == (0, "", "")

    def json(self) -> Any:
        return json.loads(self.out)


class Instance:
    """A folder with settings.cfg, jobs/ and state/, and the program run on them."""

    #: What the program finds in its environment, beside what cron gives it.
    environment: Mapping[str, str] = MappingProxyType({"TZ": "UTC"})
    #: The program: another one than ours for a design that is meant to fail.
    checker: Path = CHECKER
    #: How far ahead of the time its clock is, in what is ``run``.
    clock_ahead = timedelta()
    #: Have each ``run`` be a ``start`` as well, seen by ``ps`` as cron's is.
    is_started_whole = False

    def __init__(self, folder: Path, settings: str = NO_MAIL, general: str = GENERAL):
        self.folder = folder
        self.settings = folder / "settings.cfg"
        self.jobs = folder / "my jobs"
        self.state = folder / "state"
        self.jobs.mkdir(mode=0o755)
        self.state.mkdir(mode=0o700)
        self.write(general + settings)

    def write(self, settings: str) -> None:
        self.settings.write_text(settings)
        self.settings.chmod(0o600)

    def add(self, settings: str) -> None:
        self.write(self.settings.read_text() + settings)

    def job(self, name: str, text: str) -> Path:
        path = self.jobs / f"{name}.py"
        path.write_text(text)
        path.chmod(0o644)
        return path

    def command(self, *arguments: str) -> list[str]:
        return [
            sys.executable,
            str(self.checker),
            *arguments,
            "-f",
            str(self.settings),
            "--jobs",
            str(self.jobs),
            "--state",
            str(self.state),
        ]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start as cron does: by /bin/sh, in the home folder, with next to no
        environment."""
        command = shlex.join(self.command(*arguments))
        return subprocess.Popen(
            as_anybody(["/bin/sh", "-c", f"exec {command}"]),
            env={
                "PATH": "/usr/bin:/bin",
                "SHELL": "/bin/sh",
                "HOME": "/",
                "XDG_RUNTIME_DIR": str(self.folder),
                **self.environment,
            },
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> Ran:
        """Run to the end, in a process that costs a tenth of a ``start``."""
        if self._needs_a_whole_start():
            assert not self.clock_ahead
            process = self.start(*arguments)
            out, err = process.communicate(timeout=70)
            return Ran(process.returncode, out, err)
        here = {"XDG_RUNTIME_DIR": str(self.folder), **self.environment}
        at = datetime.now(UTC) + self.clock_ahead
        return Ran(*our_program().run(self.command(*arguments)[2:], here, at))

    def _needs_a_whole_start(self) -> bool:
        if self.is_started_whole or self.checker != CHECKER:
            return True
        return any(map(NOT_FOR_A_FORK.match, self.environment))

    def cron(self, ordered: str = "minute", *arguments: str) -> Ran:
        return self.run("-m", "cron", "-c", ordered, *arguments)

    # What it remembers.

    def records(self) -> dict[str, dict[str, Any]]:
        """Return the records on disk by job name."""
        found = {}
        for path in sorted((self.state / "jobs").glob("*.json")):
            record = json.loads(path.read_text())
            found[record.get("name", record["key"])] = record
        return found

    def troubled(self) -> dict[str, dict[str, Any]]:
        """Return the records that say more than when a job last changed."""
        quiet = {"format", "key", "name", "changes", "checks", "revision", "sum"}
        return {
            name: record
            for name, record in self.records().items()
            if set(record) - quiet
        }

    def listed(self) -> list[dict[str, Any]]:
        """Return the rows of ``-m list``, without the jobs that are always there."""
        rows = self.run("-m", "list", "--json").json()
        return [row for row in rows if row["job"] not in OWN_JOBS]

    def last_run(self) -> dict[str, Any]:
        return dict(json.loads((self.state / "run.json").read_text()))

    def mend(self, change: Any, which: str = "jobs/*.json") -> None:
        """Edit state files by hand, as docs/operations.md tells people to."""
        for path in sorted(self.state.glob(which)):
            content = json.loads(path.read_text())
            content.pop("sum", None)
            change(content)
            path.write_text(json.dumps(content))

    def let_time_pass_for_mails(self) -> None:
        """Let no message wait any longer for its next attempt."""

        def forget_waits(content: dict[str, Any]) -> None:
            content.pop("failed_at", None)
            for message in content.get("queued", ()):
                message.pop("retry_at", None)

        self.mend(forget_waits)
        if (self.state / "outbox.json").exists():
            self.mend(forget_waits, "outbox.json")
        self.mend(forget_waits, "channels/*.json")

    def pass_time(self, length: timedelta) -> None:
        """Let all that is remembered be older, as if so much time had passed."""
        for path in self.state.rglob("*.json"):
            if path.parent.name == "quarantine":
                continue
            try:
                content = json.loads(path.read_text())
            except ValueError:
                continue
            content.pop("sum", None)
            path.write_text(json.dumps(_older(content, length)))
        for path in self.state.glob("decisions.log*"):
            text = path.read_text()
            path.write_text(_MOMENT.sub(lambda one: _older(one[0], length), text))

    def everything_written(self) -> str:
        """Return all text below the folder but the settings, their copy, and the jobs.

        The copy has each password, as the settings have.
        """
        found = []
        for path in sorted(self.state.rglob("*")):
            if path.is_file() and path.parent.name != "settings":
                found.append(path.read_text(errors="replace"))
        return "\n".join(found)


_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[0-9.]*(\+\d\d:\d\d|Z)?")


def _older(value: Any, length: timedelta) -> Any:
    if isinstance(value, dict):
        return {key: _older(one, length) for key, one in value.items()}
    if isinstance(value, list):
        return [_older(one, length) for one in value]
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        return (datetime.fromisoformat(value) - length).isoformat()
    return value


def flag_job(flag: Path, hooks: str = "", frequency: str = "MINUTE") -> str:
    """Return a job file that is fine while ``flag`` exists."""
    return f"""\
import os
from lib.jobbase import *

class Flag(JobBase):
    def executeEvery(self):
        return JobFrequency.{frequency}

    def execute(self):
        if not os.path.exists({str(flag)!r}):
            raise CheckFailed("the flag is down")
        return True
{hooks}
"""
