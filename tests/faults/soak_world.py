"""The instance of the soak, all that is started on it, and what that leaves behind."""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lib.config.load import load_settings
from lib.core.enums import JobFrequency
from lib.core.settings import Settings
from tests.faults.rows import faked_clock
from tests.faults.soak_jobs import COUNTING, write_jobs
from tests.faults.soak_plan import JOBS, ZONE, Mail
from tests.faults.soak_result import Held
from tests.support.instance import CHECKER, GENERAL, Instance
from tests.support.powers import as_anybody
from tests.support.servers import SmtpServer

#: A run ends within 55 s.
RUN_LIMIT_S = 70.0
#: What a run that was killed had started is killed by the kernel, at once.
ENDS_WITHIN_S = 5.0

#: What is held back comes later, and how late it came would say nothing any more.
BUDGET = "mailsperhour = 60\nmailsperday = 300\n"

#: So that the C library counts all objects.  Python's own pools come by the mebibyte,
#: and each stays as long as one object in it does.
COUNTED = {"PYTHONMALLOC": "malloc"}


@dataclass(frozen=True)
class Ran:
    """What came of a start."""

    code: int
    said: str
    #: Processes that it left behind.
    left: int = 0


class Minutes:
    """The process in which one run after the other is carried out."""

    def __init__(self, instance: Instance, env: dict[str, str]) -> None:
        program = instance.checker.parent
        words = [instance.settings, instance.jobs, instance.state, program]
        script = Path(__file__).parent / "soak_minutes.py"
        self._process = subprocess.Popen(
            as_anybody([sys.executable, str(script), *map(str, words)]),
            env={**env, **COUNTED, "PYTHONPATH": str(program)},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.pid = self._process.pid

    def run(self, order: JobFrequency, at: datetime) -> Ran:
        """Have one run carried out."""
        return Ran(**self._ask(f"{order} {at.isoformat()}"))

    def held(self) -> dict[str, int]:
        """Return the descriptors, threads and bytes that it has between two runs."""
        return dict(self._ask("held"))

    def _ask(self, words: str) -> Any:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{words}\n")
        ready, _, _ = select.select([process.stdout], [], [], RUN_LIMIT_S)
        assert ready, f"no answer to {words}"
        line = process.stdout.readline()
        assert line, f"the process broke down: {words}"
        return json.loads(line)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


class World:
    """An instance with its jobs, its mail server, and its cron."""

    def __init__(self, folder: Path, server: SmtpServer, program: Path | None) -> None:
        self.server = server
        self.instance = Instance(folder, server.email_section() + BUDGET, GENERAL)
        self.instance.checker = (program or CHECKER.parent) / "checker.py"
        self._lit = folder / "lit"
        self._ran = folder / "ran"
        for name in (self._lit, self._ran, folder / "tmp"):
            name.mkdir()
        self._mail = Mail.TAKES
        self._dark = frozenset(JOBS)
        write_jobs(self.instance, self._lit, self._ran, server.port)
        common = {"TZ": str(ZONE), "TMPDIR": str(folder / "tmp")}
        self._faked = {**faked_clock(folder), "NO_FAKE_STAT": "1", **common}
        cron = {"PATH": "/usr/bin:/bin", "HOME": "/", "XDG_RUNTIME_DIR": str(folder)}
        self._minutes = Minutes(self.instance, {**cron, **common})

    def stop(self) -> None:
        self._minutes.stop()

    # What happens.

    def become(self, dark: frozenset[str], mail: Mail) -> None:
        """Have these dark, and the mail server like this."""
        for name in self._dark ^ dark:
            path = self._lit / name
            path.unlink() if name in dark else path.touch()
        self._dark = dark
        if mail is self._mail:
            return
        if self._mail is Mail.GONE:
            self.server.come_back()
        failure = "451 4.3.0 not now" if mail is Mail.REFUSES else None
        self.server.answer_data = lambda _mail: failure
        if mail is Mail.GONE:
            self.server.go_away()
        self._mail = mail

    def run(self, order: JobFrequency, at: datetime) -> Ran:
        """Carry out a run in the process that is there."""
        return self._minutes.run(order, at)

    def start(self, order: JobFrequency, at: datetime) -> subprocess.Popen[str]:
        """Start a run as cron does, when the clock shows this minute."""
        ahead_s = math.ceil(at.timestamp() - time.time())
        self.instance.environment = {**self._faked, "FAKETIME": f"{ahead_s:+d}s"}
        return self.instance.start("-m", "cron", "-c", order.value)

    def finish(self, process: subprocess.Popen[str], after_s: float | None) -> Ran:
        """Wait for a start to end, or kill it after a while."""
        if after_s is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(after_s)
            process.kill()
        out, err = process.communicate(timeout=RUN_LIMIT_S)
        return Ran(process.returncode, out + err, len(self._left_behind()))

    def _left_behind(self) -> list[int]:
        """Return the processes of a start that is over which do not end with it."""
        ends_at = time.monotonic() + ENDS_WITHIN_S
        while True:
            left = [pid for pid in self.processes() if pid != self._minutes.pid]
            if not left or time.monotonic() > ends_at:
                return left
            time.sleep(0.01)

    # What it leaves behind.

    def counts(self) -> dict[str, int]:
        """Return how often each job that counts was executed."""
        return {name: (self._ran / name).stat().st_size for name in COUNTING}

    def records(self) -> dict[str, dict[str, Any]]:
        return self.instance.records()

    def settings(self) -> Settings:
        instance = self.instance
        base, jobs = instance.checker.parent, [instance.jobs]
        return load_settings(
            instance.settings, base=base, jobs=jobs, state=instance.state
        )

    def last_run(self) -> dict[str, Any]:
        return self.instance.last_run()

    def processes(self) -> list[int]:
        """Return the processes of the instance: each has its folder in its words."""
        mark = os.fsencode(self.instance.settings)
        found = []
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            with suppress(OSError):
                if mark in Path(entry.path, "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def memory_mib(self) -> float:
        """Return the memory of the process of the minutes that is its own alone."""
        text = Path(f"/proc/{self._minutes.pid}/status").read_text()
        found = dict(line.split(":", 1) for line in text.splitlines())
        return sum(int(found[name].split()[0]) for name in ("RssAnon", "VmSwap")) / 1024

    def held(self) -> Held:
        """Return what is there now, between two runs."""
        return Held(
            **self._minutes.held(),
            memory_mib=self.memory_mib(),
            processes=len(self.processes()),
            files=dict(self._files()),
        )

    def _files(self) -> Iterable[tuple[str, int]]:
        folder = self.instance.folder
        for path in folder.rglob("*"):
            if path.is_file() and self._ran not in path.parents:
                yield str(path.relative_to(folder)), path.stat().st_size
