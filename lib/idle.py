"""The note by which the runs after this one can be told to have nothing to do.

It is written by a whole run that found nothing to do itself, and read by
``lib/tick.py``.  Whatever a run does in each minute, due or not, must be one of the
reasons here not to write it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from lib import aside, tick
from lib.decide import MISSED_AFTER
from lib.disk import listed
from lib.model import Asked, JobFrequency, Record, RunFacts, Settings
from lib.rota import ASK_AGAIN_AFTER, SETTLED_AFTER_S
from lib.sealed import packed

logger = logging.getLogger(__name__)


def is_idle(
    settings: Settings, run: RunFacts, records: Iterable[Record], *, worked: bool
) -> bool:
    """Return whether a run like this one, a minute later, would do nothing either.

    ``run`` is what is kept of this one; ``worked``: it loaded a file, judged a job, or
    spoke with a mail server.
    """
    if worked or run.ordered is not JobFrequency.MINUTE:
        return False
    if settings.status.write:
        # Each run dates it anew.
        return False
    if any(not one.warning for one in settings.problems):
        return False
    if any(file.refused for file in settings.job_files):
        return False
    if run.owed or run.pending or run.lost_records or run.sent:
        return False
    if any(one.pending or one.owed for one in records):
        return False
    # One that may have been sent is sent again, even if its records were lost; what
    # could not be read is tried again.
    return not any(listed(settings.state / name) for name in ("digests", aside.UNREAD))


def idle_until(
    asked: Mapping[str, Asked],
    last_runs: Mapping[JobFrequency, datetime],
    bulletin_at: datetime | None = None,
) -> datetime | None:
    """Return until when nothing can become due; None: never mind.

    ``asked`` says when each job file was asked for its jobs, ``bulletin_at`` when the
    next summary of ``[digest]`` is to be written.
    """
    moments = [one.at + ASK_AGAIN_AFTER for one in asked.values()]
    moments += [
        last_runs[frequency] + patience
        for frequency, patience in MISSED_AFTER.items()
        if frequency in last_runs
    ]
    if moments and bulletin_at is not None:
        moments.append(bulletin_at)
    return min(moments, default=None)


def write_note(
    settings: Settings,
    run: RunFacts,
    until: datetime,
    arguments: list[str],
    here: str,
) -> None:
    """Leave the note beside the records; where that fails, no harm is done.

    It holds run.json twice, as it is summed up and as it is written, with marks where
    its moments stand.
    """
    folder = str(settings.state)
    began = run.began_at
    if tick.state_folder(arguments, here) != os.path.abspath(folder) or began is None:
        return
    paths = [str(path) for path in settings.files]
    paths += dict.fromkeys(str(file.path.parent) for file in settings.job_files)
    # A file that a pattern would include tomorrow is on no list of today.
    odd = any("\t" in path or "\n" in path for path in paths)
    if odd or settings.config.has_option("general", "include"):
        return
    try:
        facts, newest = tick.looked_at(folder, paths, arguments)
        if newest > began.timestamp() - SETTLED_AFTER_S:
            return
        canonical, pretty = _template(run)
        rest = "\n".join(
            (
                str(began.timestamp()),
                str(until.timestamp()),
                facts,
                "\t".join(paths),
                canonical,
                pretty,
            )
        )
        text = f"{tick.TITLE}\n{tick.digest(rest)}\n{rest}"
        _write(os.path.join(folder, tick.NAME), text.encode())
    except (OSError, ValueError) as error:
        logger.debug("no note for idle runs: %s", error)


def _template(run: RunFacts) -> tuple[str, str]:
    """Return run.json of an idle run, with marks for its moments and its sum."""
    marked = replace(
        run,
        began_at=datetime.fromisoformat(tick.BEGAN),
        ended_at=datetime.fromisoformat(tick.ENDED),
        last_runs={**run.last_runs, JobFrequency.MINUTE.value: tick.BEGAN},
    )
    pretty = packed(marked).decode()
    body = json.loads(pretty)
    checksum = body.pop("sum")
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    if tick.digest(canonical) != checksum or tick.SUM in pretty:
        raise ValueError("the sum is another one")
    return canonical, pretty.replace(checksum, tick.SUM)


def _write(path: str, content: bytes) -> None:
    """Write the note whole or not at all; a sum in it shows which."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)
