"""The job files of the soak: each job looks whether a file of its own is there."""

from __future__ import annotations

from pathlib import Path

from tests.faults.soak_plan import DESK, JOBS, LAMPS, REMINDS
from tests.support.instance import Instance

REMEMBERING = ("Hourly", "Daily", "Noon")
#: The jobs that leave a mark each time they run.
COUNTING = (REMINDS, *REMEMBERING)

#: Each says itself how often it notifies, so that none is called flapping.
LAMPS_FILE = """\
import os
from lib.jobbase import *

class Lamps(JobSpawner):
    def get_sub_jobs(self, config):
        for name, lit in config.items("Lamps"):
            yield Lamp(config, name, lit)
        yield Reminds(config)

class Minutely(JobBase):
    def executeEvery(self):
        return JobFrequency.MINUTE

    def execute(self):
        if not os.path.exists(self.lit):
            raise CheckFailed("it is dark")
        return True

class Lamp(Minutely):
    def __init__(self, config, name, lit):
        super().__init__(config, name)
        self.name = name
        self.lit = lit

    def getName(self):
        return f"Lamp {{self.name}}"

    def notifyOnFailureEvery(self):
        return JobFailureNotificationFrequency.ONSTATECHANGE

class Reminds(Minutely):
    lit = {lit!r}

    def getName(self):
        return "Reminds"

    def notifyOnFailureEvery(self):
        return JobFailureNotificationFrequency.EVERYTENMINUTES

    def execute(self):
        with open({ran!r}, "a") as file:
            file.write("x")
        return super().execute()
"""
#: A job that also remembers how often it ran.
REMEMBERING_FILE = """\
import os
from lib.jobbase import *

class {name}(JobBase):
    def executeEvery(self):
        return JobFrequency.{frequency}

    def notifyOnFailureEvery(self):
        return JobFailureNotificationFrequency.ONSTATECHANGE

    def execute(self):
        self.memory["count"] = self.memory.get("count", 0) + 1
        with open({ran!r}, "a") as file:
            file.write("x")
        if not os.path.exists({lit!r}):
            raise CheckFailed("it is dark")
        return True
"""


def write_jobs(instance: Instance, lit: Path, ran: Path, port: int) -> None:
    """Write the job files, and the settings of the jobs.

    ``lit`` is the folder of the files that are looked for, ``ran`` that of the marks,
    ``port`` that of the mail server.
    """
    paths = {
        name: {"ran": str(ran / name), "lit": str(lit / name)} for name in COUNTING
    }
    for name in COUNTING:
        (ran / name).touch()
    instance.job("Lamps", LAMPS_FILE.format(**paths[REMINDS]))
    for name in REMEMBERING:
        frequency = JOBS[name].name
        text = REMEMBERING_FILE.format(name=name, frequency=frequency, **paths[name])
        instance.job(name, text)
    lamps = "".join(f"{one.split()[1]} = {lit / one}\n" for one in LAMPS)
    job_context = f"host = 127.0.0.1\nport = {port}\n"
    instance.add(f"\n[Lamps]\n{lamps}\n[{DESK}]\n{job_context}")
