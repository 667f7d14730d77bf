"""What ``-m validate`` says beside the errors: what is right, and hardly meant so.

Here is what concerns several sections; ``lib/plugins/kind.py`` has what concerns one
target, by the table of its kind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from lib.config.hints import no_tag
from lib.config.pings import HEARTBEAT
from lib.config.targets import (
    JOB,
    TEMPLATE,
    hosts_of_no_option,
    hosts_of_no_section,
    is_template,
    names_in,
    repeated_hosts,
)
from lib.core.ini import IniFile
from lib.core.jobs import KIND_FILES, Job
from lib.core.settings import Problem, Settings


def advice(ini: IniFile, kinds: Collection[str]) -> Iterator[Problem]:
    """Yield the warnings about the sections of these kinds and their layers."""
    yield from _unused_templates(ini, kinds)
    for title in ini:
        if is_template(title) or title.startswith("defaults "):
            yield from _former_name_of_many(ini, title)
    for kind in kinds:
        yield from hosts_of_no_section(ini, kind)
        yield from repeated_hosts(ini, kind)
        # A heartbeat is known by its name, and what an own kind does, its class knows.
        if kind in KIND_FILES and kind != HEARTBEAT:
            yield from hosts_of_no_option(ini, kind)


def tags_of_no_job(settings: Settings, jobs: Iterable[Job]) -> Iterator[Problem]:
    """Yield a warning for each tag of the public page that no job has."""
    known = {tag for job in jobs for tag in job.tags}
    where = settings.ini.where("page", "public")
    for tag in settings.page.public:
        if tag not in known:
            text = f"public = {tag}: {no_tag(tag, known)}"
            yield Problem(text, where, "page", warning=True)


def _unused_templates(ini: IniFile, kinds: Collection[str]) -> Iterator[Problem]:
    used: set[str] = set()
    for title in ini:
        options = ini.options(title)
        if "use" in options and title.partition(" ")[0] in (*kinds, JOB, TEMPLATE):
            used |= {f"{TEMPLATE} {name}" for name in names_in(options["use"].raw)}
    for title in ini:
        if is_template(title) and title not in used:
            text = "no section uses this template"
            yield Problem(text, ini.where(title), title, warning=True)


def _former_name_of_many(ini: IniFile, title: str) -> Iterator[Problem]:
    if "was" in ini.options(title):
        text = "was: no two sections had the same name before; put it in its section"
        yield Problem(text, ini.where(title, "was"), title, warning=True)
