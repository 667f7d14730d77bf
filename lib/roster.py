"""The job files of a run: which are asked for their jobs, and what is noted of that.

The rule is in ``lib/rota.py``; here it is held against the files there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path

from lib import rota
from lib.model import (
    Asked,
    JobFacts,
    JobFile,
    JobFrequency,
    JobKey,
    Known,
    Record,
    Settings,
)


class Roster:
    """What is known of the job files from the runs before, and from this one."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Mapping[JobKey, Known],
        asked: Mapping[str, Asked],
        now: datetime,
    ) -> None:
        #: As the last run left it.
        self.catalogue = catalogue
        self.asked_before = asked
        #: The job files that were asked in this run, or need not be.
        self.asked: dict[str, Asked] = {}
        self._settings = settings
        self._now = now
        self._files = [file for file in settings.job_files if not file.refused]
        folders = dict.fromkeys(file.path.parent for file in self._files)
        #: Before any file is loaded, so that a change meanwhile shows the next time.
        self._marks = {
            str(folder): rota.mark_of(folder, settings.files, now) for folder in folders
        }

    def to_load(
        self,
        records: Collection[Record],
        due: Collection[JobFrequency],
        *,
        all_of_them: bool,
    ) -> tuple[list[JobFile], list[JobFacts]]:
        """Return the files that this run loads, and the jobs of the others."""
        known = rota.by_file(self.catalogue)
        files: list[JobFile] = []
        resting: list[JobFacts] = []
        for file in self._files:
            path, mark = str(file.path), self._marks[str(file.path.parent)]
            before, jobs = self.asked_before.get(path), known.get(path, {})
            if (
                all_of_them
                or before is None
                or rota.why_load(file, mark, before, jobs, records, due, self._now)
            ):
                files.append(file)
                continue
            self.asked[path] = before
            resting += [_facts(key, job) for key, job in jobs.items()]
        return files, resting

    def hear(self, jobs: Iterable[JobFacts], *, is_odd: bool) -> None:
        """Note the files of these jobs as asked; odd ones are asked again each time."""
        for job in jobs:
            mark = self._marks.get(str(Path(job.file).parent))
            if job.is_own and mark and not is_odd:
                before = self.asked_before.get(job.file)
                self.asked[job.file] = rota.to_note(before, mark, self._now)


def _facts(key: JobKey, job: Known) -> JobFacts:
    return JobFacts(key, job.name, job.file, job.frequency, job.policy, job.contact)
