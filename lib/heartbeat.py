"""What a run is on record for: the slots it stands for, and run.json.

It says when the run began, from before its first job, and that it has ended.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from lib import decide, health
from lib.cautious import CautiousState
from lib.findings import Findings
from lib.model import JobFrequency, Record, RunFacts
from lib.state import last_runs


class Heartbeat:
    """One run, as those after it know of it."""

    def __init__(
        self,
        state: CautiousState,
        before: RunFacts,
        ordered: JobFrequency,
        now: datetime,
        read_from: str | None,
    ) -> None:
        self._state = state
        self.began_at = now
        #: The frequencies whose jobs it runs.
        self.due = decide.due_frequencies(ordered, last_runs(before), now)
        #: Those of them that should have run before.
        self.missed = self.due - set(decide.INCLUDES[ordered])
        skips, skipped_at = state.take_skips(before.skipped_at)
        #: What is on record of it by now.
        self.facts = replace(
            before,
            began_at=now,
            ordered=ordered,
            skipped=before.skipped + skips,
            skipped_at=skipped_at or before.skipped_at,
        )
        #: The older program's state file, if it was read by now.
        self._read_from = read_from or before.old_statefile

    def begin(self) -> None:
        """Put on record that it is at work; raise StateError."""
        self._state.save_run(self.facts)

    def end(
        self,
        findings: Findings,
        records: Collection[Record],
        listed: Collection[str],
        still_lost: Collection[str],
        sent: int,
        tried: Collection[str],
        now: datetime,
    ) -> None:
        """Put on record that it has ended, and what it found; raise StateError.

        ``listed`` are the file stems of the jobs that have a record, ``tried`` the ids
        of messages for which one mail was tried in vain.
        """
        # When it began: that is the slot it stands for.
        ran_now = dict.fromkeys(map(str, self.due), self.began_at.isoformat())
        ended = replace(
            findings.counted(self.facts),
            ended_at=now,
            last_runs={**self.facts.last_runs, **ran_now},
            sent=sent,
            owed=sum(len(record.owed) for record in records),
            records=tuple(listed),
            lost_records=tuple(still_lost),
            old_statefile=self._read_from,
        )
        ended = health.witnessed(ended, records, tried)
        self._state.save_run(ended)
        # A run that could not be written down has not ended for anybody.
        if not self._state.frozen:
            self.facts = ended
