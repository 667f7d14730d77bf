"""The bridge to job files written for the older public Checker.

They say ``from . import JobBase`` or ``import JobBase`` and then use
``JobBase.JobBase``, ``JobBase.JobFrequency.MINUTE``, ``JobSpawner.JobSpawner``,
``JobBase.sendEmail(config, subject, body, to)``.  ``build`` makes modules of these
names, before any job file is imported and so in front of any old copy on disk.
"""

from __future__ import annotations

import configparser
import sys
import threading
import types
from pathlib import Path

from lib import jobbase


class JobBase(jobbase.JobBase):
    """JobBase as it was: whatever is true counts as success."""

    truth_is_enough = True


class JobSpawner(jobbase.JobSpawner):
    """JobSpawner as it was."""


def sendEmail(  # noqa: N802  # the older program's name
    config: configparser.ConfigParser, subject: str, body: str, to: str = ""
) -> bool:
    """Take a mail to send, as ``sendEmail`` of the job at work would; return True."""
    if _speaking.job is None:
        raise RuntimeError("sendEmail was called where no job is at work")
    return _speaking.job.sendEmail(subject, body, to)


class _Speaking(threading.local):
    """Which job is at work in this thread."""

    job: jobbase.JobBase | None = None


_speaking = _Speaking()


def set_speaking_job(job: jobbase.JobBase | None) -> None:
    """Say whose code runs in this thread from here on."""
    _speaking.job = job


def build(folder: Path) -> None:
    """Make the package ``jobs`` of job files in ``folder``, the bridge in it."""
    base = types.ModuleType("jobs.JobBase", __doc__)
    for name in jobbase.__all__:
        setattr(base, name, getattr(jobbase, name))
    base.__dict__.update(JobBase=JobBase, sendEmail=sendEmail)
    spawner = types.ModuleType("jobs.JobSpawner", __doc__)
    spawner.__dict__.update(JobSpawner=JobSpawner)
    package = types.ModuleType("jobs", "Job files.")
    package.__path__ = [str(folder)]
    package.__dict__.update(JobBase=base, JobSpawner=spawner)
    sys.modules.update(
        {
            "jobs": package,
            "jobs.JobBase": base,
            "jobs.JobSpawner": spawner,
            "JobBase": base,
            "JobSpawner": spawner,
        }
    )
    # A helper beside the job file can be imported by its bare name too; last, so
    # that it cannot stand in front of a library.
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
