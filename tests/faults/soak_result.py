"""What came of a soak, and what it holds between two runs, at first and in the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from lib.storage.auditlog import MAX_BYTES as MAX_JOURNAL
from tests.faults.soak_mails import Comparison

#: By how much a file may be longer in the end: a reason, the mails of the last day.
FILE_BYTES = 16 * 1024
#: What is kept to a size of its own.
MAX_BYTES = {"state/decisions.log": MAX_JOURNAL}

#: It is to grow, by a file a day, until rows are old enough to be removed.
HISTORY = "state/history/"


@dataclass(frozen=True)
class Held:
    """What is there between two runs, and must not grow."""

    #: Of the process that carries out one run after the other.
    descriptors: int
    threads: int
    #: Bytes of what it has allocated and not freed.
    in_use: int
    #: What it has in memory: also what is free in pages that are partly in use.
    memory_mib: float
    #: All that belong to the instance, that one included.
    processes: int
    files: dict[str, int]

    @property
    def memory(self) -> str:
        """Return in words how much memory it is."""
        in_use_mib = self.in_use / 2**20
        return f"{in_use_mib:.2f} MiB in use, {self.memory_mib:.1f} MiB in memory"

    def growth(self, first: Held, most_mib: float) -> list[str]:
        """Return what has grown since, beyond what may be."""
        grown = [
            f"{name}: {before} at first, {now} in the end"
            for name in ("descriptors", "threads", "processes")
            if (now := getattr(self, name)) > (before := getattr(first, name))
        ]
        more_mib = (self.in_use - first.in_use) / 2**20
        if more_mib > most_mib:
            grown.append(f"memory: {more_mib:.2f} MiB more in use, at most {most_mib}")
        for name, size in sorted(self.files.items()):
            if name.startswith(HISTORY):
                continue
            before = first.files.get(name)
            if before is None:
                grown.append(f"a file more: {name}")
            elif size > MAX_BYTES.get(name, before + FILE_BYTES):
                grown.append(f"{name}: {before} bytes at first, {size} in the end")
        return grown


@dataclass
class Result:
    """What came of it."""

    #: From when to when mail was away.
    outage: tuple[datetime, datetime]
    minutes: int = 0
    in_process: int = 0
    real: int = 0
    #: When a start was killed.
    killed: list[datetime] = field(default_factory=list)
    #: Of two that cron started at once, those that found the other at work.
    skipped: int = 0
    #: Ordered runs that did not take place, and were not killed.
    missed: int = 0
    #: Who was executed, as often as the model says.
    runs: Counter[str] = field(default_factory=Counter)
    news: int = 0
    notified: Comparison = field(default_factory=Comparison)
    #: How many notifications the audit log has, and how many of these a replay has.
    decided: int = 0
    replayed: int = 0
    held: list[Held] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
