"""Lets job files written for the older public Checker run unchanged.

They say ``from . import JobBase`` or ``import JobBase`` and then use
``JobBase.JobBase``, ``JobBase.JobFrequency.MINUTE``, ``JobSpawner.JobSpawner`` and
``JobBase.sendEmail(config, subject, body, to)``.  ``build`` creates modules of these
names before any job file is imported, so they win over old copies on disk.
"""

from __future__ import annotations

import sys
import threading
import types
from pathlib import Path
from typing import TYPE_CHECKING

from lib import jobbase

if TYPE_CHECKING:
    import configparser


class JobBase(jobbase.JobBase):
    """JobBase of the older program, where anything true means success."""

    truth_is_enough = True


class JobSpawner(jobbase.JobSpawner):
    """JobSpawner of the older program."""


def sendEmail(  # noqa: N802  # the older program's name
    config: configparser.ConfigParser, subject: str, body: str, to: str = ""
) -> bool:
    """Queue a mail as ``sendEmail`` of the running job does; return True."""
    if _current.job is None:
        raise RuntimeError("sendEmail was called while no job is running")
    return _current.job.sendEmail(subject, body, to)


class _CurrentJob(threading.local):
    """The job that runs in this thread."""

    job: jobbase.JobBase | None = None


_current = _CurrentJob()


def set_current_job(job: jobbase.JobBase | None) -> None:
    """Set the job that runs in this thread from here on."""
    _current.job = job


def build(folder: Path) -> None:
    """Create the package ``jobs`` for the job files in ``folder``."""
    base = types.ModuleType("jobs.JobBase", __doc__)
    for name in jobbase.__all__:
        # But for what is only imported where it is asked for.
        if name in vars(jobbase):
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
    # A helper beside the job file can be imported by its bare name.  The folder comes
    # last, so that a helper cannot shadow a library.
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
