"""A machine to play: a folder with files such as /proc/meminfo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lib.core.enums import JobFrequency
from lib.core.jobs import Job, JobKey
from lib.core.records import Record
from lib.plugins.discover import LoadedJob
from lib.plugins.target import TargetJob
from lib.workers.execute import execute
from tests.support.listeners import job_of


def write_files(root: Path, files: dict[str, str]) -> None:
    """Write files by their path below a root folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class Machine:
    """What a kind finds on a machine whose /proc and /sys are files to play."""

    def __init__(self, kind: type[TargetJob], root: Path, **options: object) -> None:
        self.root = root
        self.job = job_of(kind, **options)
        self.job.root = str(root)  # type: ignore[attr-defined]
        self.memory: dict[str, Any] = {}
        self.now = 1_000_000.0
        self.job.clock = lambda: self.now  # type: ignore[attr-defined]

    def found(self, files: dict[str, str], *, after_s: float = 60.0) -> str:
        """Return status and reason of a run, some time after the one before."""
        self.now += after_s
        write_files(self.root, files)
        self.job.values = {}
        facts = Job(JobKey("X", "it"), "it", "X.py", JobFrequency.MINUTE)
        record = Record(facts.key, memory=self.memory)
        self.result = execute(LoadedJob(facts, self.job), record)
        self.memory = json.loads(json.dumps(self.job.memory))
        reason = self.result.reason.split("\n")[0]
        return f"{self.result.status.value}: {reason}".rstrip(": ")

    def number(self, name: str) -> float:
        """Return what the last run measured."""
        return self.result.values[name].number
