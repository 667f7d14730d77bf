"""``[job NAME]``: the policy of jobs whose class is in a job file.

NAME is that of the job file, for all its jobs, or that of one job as ``-m list`` has
it, which goes first.  What a section says goes before what the class says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from lib.config.hints import nearest, shown
from lib.config.options import LAYOUT_OPTIONS, POLICY_OPTIONS
from lib.config.targets import JOB, LayerError, Layers, TargetSection, typed
from lib.core.ini import IniFile
from lib.core.jobs import Job
from lib.core.settings import Problem

#: What a section may say: not ``was``, because a class has ``former_identity``.
OPTIONS = {
    **{name: option for name, option in POLICY_OPTIONS.items() if name != "was"},
    "use": LAYOUT_OPTIONS["use"],
}


class JobSections:
    """The sections ``[job NAME]``, typed where they are asked for."""

    def __init__(self, ini: IniFile) -> None:
        self._ini = ini
        self._layers = Layers(ini)
        #: The options of each section that are right, by its NAME.
        self._values: dict[str, dict[str, Any]] = {}
        #: The titles by NAME; one with other spaces is wrong, and reported as such.
        self.titles: dict[str, str] = {}
        for title in ini:
            name = title.removeprefix(f"{JOB} ")
            if name != title and name == name.strip() != "":
                self.titles[name] = title

    def of(self, file: str, name: str) -> Mapping[str, Any]:
        """Return what the settings say of a job, typed, without what is wrong there.

        ``file`` is the name of its job file, ``name`` its own.
        """
        if not self.titles:
            return {}
        return {**self._of(file), **self._of(name)}

    def _of(self, name: str) -> dict[str, Any]:
        if name not in self.titles:
            return {}
        if name not in self._values:
            self._values[name] = self._read(name)[0]
        return self._values[name]

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong in the sections, each with its line."""
        for name in self.titles:
            yield from self._read(name)[1]

    def _read(self, name: str) -> tuple[dict[str, Any], list[Problem]]:
        title = self.titles[name]
        where, problems = self._ini.where(title), []
        try:
            options = self._layers.of(title)
        except LayerError as error:
            options = self._ini.options(title)
            problems = [error.problem(title)]
        section = TargetSection(title, where, options)
        values, wrong = typed(section, OPTIONS)
        return values, [*problems, *wrong]

    def unused(
        self,
        jobs: Iterable[Job],
        files: Collection[str],
        kinds: Mapping[str, str],
        *,
        knows_all: bool,
    ) -> Iterator[Problem]:
        """Yield a problem for each section that is about no job.

        ``files`` are the names of all job files; ``kinds`` has the kind of those that
        are one.  Unless ``knows_all``, NAME may be a job of a file that is not loaded.
        """
        targets = {job.name for job in jobs if job.key.file in kinds}
        names = {job.name for job in jobs if not job.key.is_section} - targets
        names |= {file for file in files if file not in kinds}
        for name, title in self.titles.items():
            if name in names:
                continue
            if name in targets:
                text = f"[{shown('', name)}] is a section itself; put the options there"
            elif name in kinds:
                title_of_defaults = f"[defaults {kinds[name]}]"
                text = f"its jobs are targets; put the options in {title_of_defaults}"
            elif knows_all:
                hint = nearest(name, names) or "; see -m list"
                text = f"no job and no job file is called {shown('', name)!r}{hint}"
            else:
                continue
            yield Problem(text, self._ini.where(title), title)
