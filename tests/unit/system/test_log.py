"""Where the log goes, in the program as it is started."""

from __future__ import annotations

import os

import pytest

from tests.support.approved import REAL
from tests.support.instance import GENERAL, NO_MAIL, Instance

FULL = "[disk full]\npath = /\nlimit = 1\nevery = minute\n"


@pytest.fixture
def instance(tmp_path):
    return Instance(tmp_path, NO_MAIL + FULL)


def test_a_logfile_can_be_named(tmp_path):
    general = GENERAL + f"logfile = {tmp_path}/my.log\n"
    instance = Instance(tmp_path, NO_MAIL + FULL, general)
    assert instance.cron("minute", "-v").silent
    assert "INFO disk full" in (tmp_path / "my.log").read_text()
    assert not (instance.state / "checker.log").exists()


def test_d_logs_to_standard_error_and_to_no_file(instance):
    ran = instance.cron("minute", "-d")
    assert "INFO disk full: failing" in ran.err
    assert not (instance.state / "checker.log").exists()


def test_a_log_that_cannot_be_written_is_said_and_monitoring_goes_on(
    tmp_path, approved
):
    general = GENERAL + f"logfile = {tmp_path}/missing/my.log\n"
    instance = Instance(tmp_path, NO_MAIL + FULL, general)
    ran = instance.cron("minute", "-v")
    assert ran.code == 0
    approved(ran.err, hide=REAL)
    assert ran.err.count("cannot be written") <= 3
    assert instance.last_run()["failing"] == 1


def test_a_full_disk_under_the_log_costs_no_run(tmp_path):
    general = GENERAL + "logfile = /dev/full\n"
    instance = Instance(tmp_path, NO_MAIL + FULL, general)
    assert instance.cron("minute", "-v").code == 0
    assert instance.last_run()["failing"] == 1


def test_a_log_that_grew_is_moved_aside_once(instance):
    log = instance.state / "checker.log"
    log.touch()
    os.truncate(log, 11 * 1024 * 1024)
    instance.cron("minute", "-v")
    assert log.stat().st_size < 100_000
    assert (instance.state / "checker.log.1").stat().st_size > 10 * 1024 * 1024


def test_what_a_job_logs_is_not_an_error_of_checkers(instance):
    instance.job(
        "Loud",
        "import logging\nfrom lib.jobbase import *\n\n"
        "class Loud(JobBase):\n"
        "    def executeEvery(self): return JobFrequency.MINUTE\n"
        "    def execute(self):\n"
        "        logging.critical('the sky falls')\n"
        "        return True\n",
    )
    assert instance.cron().silent
