"""What a worker does with job code: captures it, keeps its deadlines, survives it."""

from __future__ import annotations

import logging
import os
import time
from datetime import timedelta

import pytest
from msgspec.structs import replace

from lib.core.enums import Decision, JobFrequency, Status
from lib.core.jobs import Job, JobKey, file_stem
from lib.core.records import KnownRecords, Record
from lib.core.schedule import Due
from lib.system import process
from lib.system.clock import utc_now
from lib.workers import worker
from lib.workers.worker import Order
from tests.support.approved import REAL
from tests.support.fakes import (
    CONTACT,
    NOON,
    Folder,
    failing_record,
    ini,
    job,
    older_record,
    spawner,
)
from tests.support.waits import SOON_S

FAILING, OK = Status.FAILING, Status.OK
UNKNOWN = Status.UNKNOWN


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def output(folder, execute, **order):
    return folder.run_one("Job", job("Job", execute), **order).outcomes["Job"].output


# What runs.


@pytest.mark.parametrize(
    ("due", "runs"),
    [
        ([], []),
        (["minute"], ["Many minute"]),
        (["minute", "hour"], ["Many hour", "Many minute"]),
        (["minute", "hour", "day_noon"], ["Many day_noon", "Many hour", "Many minute"]),
    ],
)
def test_those_that_are_due_run(folder, due, runs):
    jobs = (
        "for every in ('minute', 'hour', 'day', 'day_noon'): yield One(config, every)"
    )
    more = "def executeEvery(self): return self.getName().split()[1]"
    folder.add("Many", spawner("Many", jobs, more=more))
    notified = folder.run(due=Due(frozenset(map(JobFrequency, due))))
    assert sorted(notified.conditions) == runs
    assert len(notified.jobs) == 5


def test_a_job_that_is_under_way_runs_whatever_its_frequency_and_first(folder):
    jobs = "for n in range(300): yield One(config, n)"
    one = "import time; self.memory['at'] = time.monotonic(); return True"
    more = "def executeEvery(self): return 'day'"
    folder.add("Many", spawner("Many", jobs, one, more))
    before = {
        JobKey("Many", "One|299"): Record(
            JobKey("Many", "One|299"), pending_since=utc_now()
        )
    }
    notified = folder.run(due=Due(frozenset({JobFrequency.MINUTE})), stored=before)
    assert list(notified.conditions) == ["Many 299"]
    notified = folder.run(stored=before)
    at = {name: notified.reports[name].memory["at"] for name in notified.conditions}
    assert sorted(at, key=lambda name: at[name]).index("Many 299") < 10


def test_only_those_named_run_due_or_not(folder):
    folder.add("Many", spawner("Many", "for n in range(9): yield One(config, n)"))
    notified = folder.run(only=frozenset({JobKey("Many", "One|3")}), due=Due())
    assert list(notified.conditions) == ["Many 3"]


def test_a_job_that_cannot_say_what_it_is_fails_each_minute(folder):
    text = job("Job", more="def executeEvery(self): return 'weekly'")
    notified = folder.run_one("Job", text, due=Due())
    assert notified.conditions == {"Job": FAILING}


@pytest.mark.parametrize(
    ("minutes", "decision"), [(58, Decision.TOO_SOON), (60, Decision.REMINDER)]
)
def test_jobs_are_judged_by_the_clock_of_the_run(folder, minutes, decision):
    clock = NOON + timedelta(minutes=minutes)
    hourly = "def notifyOnFailureEvery(self): return 'hour'"
    notified = folder.run_one(
        "Job",
        job("Job", "return False", more=hourly),
        stored=failing_record(JobKey("Job", "Job")),
        now=lambda: clock,
    )
    assert notified.reports["Job"].decision is decision
    assert {one.born_at for one in notified.mails("Job")} <= {clock}


def test_what_is_remembered_of_a_job():
    key = JobKey("X", "X")
    older = older_record("<class 'jobs.X.X'>|", failures=4)
    stored = {key: Record(key, failures=2)}
    lost = frozenset({file_stem(key)})
    x = Job(key, "X", "X.py", JobFrequency.MINUTE, contact=CONTACT, formerly=older.name)
    assert KnownRecords(stored, lost, (older,)).of(x) is stored[key]
    assert KnownRecords({}, lost, (older,)).of(x).status is UNKNOWN
    assert KnownRecords({}, (), (older,)).of(x).failures == 4
    assert KnownRecords({}, (), (older,)).of(x).notified == CONTACT


# What a job prints.


@pytest.mark.parametrize(
    "prints",
    [
        "print('hello there')",
        "import sys; sys.stderr.write('hello there')",
        "import sys; sys.stdout.buffer.write(b'hello there')",
        "import os; os.write(1, b'hello there')",
        "import os; os.system('echo hello there')",
        "import subprocess; subprocess.run(['echo', 'hello there'])",
        "import sys, subprocess; subprocess.run('echo hello there', shell=1,"
        " stdout=sys.stdout)",
        "import logging; logging.warning('hello %s', 'there')",
        "import logging; logging.getLogger('x.y').info('hello there')",
        "import threading as t; x = t.Thread(target=print, args=('hello there',));"
        " x.start(); x.join()",
    ],
)
def test_whatever_a_job_prints_is_shown_with_its_failure(folder, prints):
    found = output(folder, f"{prints}\nreturn False")
    assert found.startswith("It printed:\n")
    assert "hello there" in found


def test_each_job_has_what_it_printed_itself(folder):
    one = "import time\nfor n in range(20): print(self.getName()); time.sleep(0.001)"
    jobs = "for n in range(30): yield One(config, n)"
    notified = folder.run_one("Many", spawner("Many", jobs, one))
    for number in range(30):
        lines = notified.outcomes[f"Many {number}"].output.splitlines()
        assert lines == ["It printed:"] + [f"Many {number}"] * 20


def test_what_several_may_have_printed_is_shown_with_each(folder, approved):
    both = "import os, threading\nboth = threading.Barrier(2)\n"
    one = "both.wait(4); os.write(1, b'who?'); both.wait(4)"
    jobs = "yield One(config, 1)\nyield One(config, 2)"
    notified = folder.run_one("Many", both + spawner("Many", jobs, one))
    for name in ("Many 1", "Many 2"):
        found = notified.outcomes[name].output
        approved(found[: found.index("who?")])


def test_what_a_job_prints_is_kept_up_to_a_limit_and_holds_nobody_up(folder):
    flood = "import subprocess\nprint('first')\n"
    flood += "subprocess.run('head -c 20000000 /dev/zero | tr \\\\\\\\0 x', shell=True)"
    found = output(folder, f"{flood}\nprint('last')")
    assert found.startswith("It printed:\nfirst\nxxxx")
    assert 65_000 < len(found) < 66_000
    assert found.endswith("x ...")


def test_a_job_that_is_ok_has_no_evidence(folder):
    assert output(folder, "print('hello'); return True") == ""


def test_a_log_line_whose_arguments_do_not_fit_fails_no_job(folder):
    notified = folder.run_one(
        "Job", job("Job", "import logging; logging.info('%d', 'x', 3)\nreturn True")
    )
    assert notified.conditions == {"Job": OK}


def test_what_a_job_logs_is_in_the_log_and_no_error_of_checkers(folder, caplog):
    caplog.set_level(logging.INFO)
    execute = (
        "import logging; logging.critical('the sky \\x1b[2J falls s3cret')\nreturn True"
    )
    folder.run_one("Job", job("Job", execute), secrets=("s3cret",))
    (record,) = (one for one in caplog.records if "the sky" in one.message)
    assert record.levelno == logging.INFO
    assert record.message.endswith(
        "Job.py printed:\nCRITICAL the sky \\x1b[2J falls ***"
    )


def test_what_is_printed_is_cleaned_for_the_screen(folder):
    found = output(
        folder, "print('a\\x1b[2J\\r\\nb\\ud800 s3cret')", secrets=("s3cret",)
    )
    assert found == "It printed:\na\\x1b[2J\nb\\ud800 ***"


# Deadlines.


def test_a_job_that_takes_too_long_has_timed_out_and_says_where_it_was(
    folder, approved
):
    execute = "import time\nprint('begun')\ntime.sleep(60)"
    more = "def timeout(self): return 0.3"
    notified = folder.run_one("Slow", job("Slow", execute, more))
    result = notified.outcomes["Slow"]
    assert (result.status, result.reason) == (FAILING, "timed out after 0.3 s")
    assert "time.sleep(60)" in result.output
    approved(result.output, hide=REAL)
    assert result.output.endswith("It printed:\nbegun")
    assert notified.seconds < SOON_S


@pytest.mark.parametrize(
    "execute",
    [
        "while True: pass",
        "import time\nwhile True:\n    try: time.sleep(9)\n    finally: continue",
        "import threading; threading.Event().wait()",
        "import socket; socket.create_server(('127.0.0.1', 0)).accept()",
        "import subprocess; subprocess.run(['sleep', '60'])",
        "import os; r, w = os.pipe(); os.read(r, 1)",
    ],
)
def test_whatever_a_job_waits_for_its_deadline_holds(folder, execute, approved):
    more = "def timeout(self): return 0.4"
    notified = folder.run_one("Slow", job("Slow", execute, more))
    approved(notified.outcomes["Slow"].reason)
    assert notified.seconds < SOON_S


def test_a_hook_of_a_job_that_timed_out_has_what_was_set(folder, approved):
    execute = "import time; self.host = 'web1'; time.sleep(60)"
    more = """
        def timeout(self): return 0.2
        def onFailure(self): return self.sendEmail(f"{self.host} hangs", "")
    """
    (mail,) = folder.run_one("Slow", job("Slow", execute, more)).mails("Slow")
    assert mail.subject == "web1 hangs"
    approved(mail.body, hide=REAL)


def test_a_job_that_comes_back_too_late_is_not_heard_again(folder, approved):
    execute = """
        import time
        self.memory["half"] = True
        time.sleep(0.4)
        self.sendEmail("too late", "")
        return True
    """
    more = "def timeout(self): return 0.2"
    folder.add("Slow", job("Slow", execute, more))
    notified = folder.run_one(
        "Other", job("Other", "import time; time.sleep(0.8)\nreturn True")
    )
    report = notified.reports["Slow"]
    approved(report.result.reason, "detail", hide=REAL)
    assert report.memory is None
    approved([mail.subject for mail in report.messages], "2", hide=REAL)


def test_two_hundred_jobs_of_which_half_hang_take_little_longer_than_one(folder):
    jobs = "for n in range(200): yield One(config, n)"
    one = "import time\nif self.n % 2: time.sleep(60)\nreturn True"
    more = """
        def __init__(self, c, n): super().__init__(c, n); self.n = n
        def timeout(self): return 1
    """
    notified = folder.run_one("Many", spawner("Many", jobs, one, more))
    found = list(notified.conditions.values())
    assert (found.count(OK), found.count(FAILING)) == (100, 100)
    assert notified.seconds < SOON_S


def test_jobs_that_wait_do_so_side_by_side(folder):
    jobs = "for n in range(100): yield One(config, n)"
    one = "import time; time.sleep(0.5)\nreturn True"
    notified = folder.run_one("Many", spawner("Many", jobs, one))
    assert list(notified.conditions.values()) == [OK] * 100
    assert notified.seconds < SOON_S


# What it does to its own process stays there.

MEDDLERS = {
    "Chdir": "import os; os.chdir('/tmp'); os.umask(0o777)",
    "Environ": "import os; os.environ.clear(); os.environ['PATH'] = '/nowhere'",
    "Sockets": "import socket; socket.socket = None; socket.setdefaulttimeout(1e-9)",
    "Locale": "import locale; locale.setlocale(locale.LC_ALL, 'C')",
    "Streams": "import sys; sys.stdout = sys.stderr = None",
    "Closes": "import os; os.close(1); os.close(2); os.close(0)",
    "Threads": "import threading as t; t.excepthook = None; t.stack_size(32768)",
    "Modules": "import sys; sys.modules.pop('json'); sys.path.clear()",
    "Clock": "import time; time.sleep = None",
    "Limits": "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (3, 3))",
    "Logs": "import logging; logging.disable(); logging.shutdown()",
    "Recursion": "import sys; sys.setrecursionlimit(200)",
    "Collector": "import gc; gc.disable(); gc.freeze()",
}


@pytest.mark.parametrize("name", MEDDLERS)
def test_a_job_that_meddles_harms_no_other_file(folder, name):
    folder.add(name, job(name, f"{MEDDLERS[name]}\nreturn True"))
    check = """
        import os, socket, subprocess, sys
        subprocess.run(["true"], check=True)
        socket.create_server(("127.0.0.1", 0)).close()
        return [os.getcwd(), os.umask(0o22)] == [self.config.get("x", "cwd"), 0o22]
    """
    folder.add("Zero", job("Zero", check))
    umask = os.umask(0o022)
    try:
        notified = folder.run(ini(f"[x]\ncwd = {os.getcwd()}\n"))
    finally:
        os.umask(umask)
    assert notified.conditions == {name: OK, "Zero": OK}


def test_a_signal_handler_can_only_be_set_where_it_harms_its_own_file(folder):
    text = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    text += "signal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
    folder.add(
        "Deaf", text + job("Deaf", "while True: pass", "def timeout(self): return 0.3")
    )
    notified = folder.run_one("Fine", job("Fine"))
    assert notified.conditions == {"Deaf": FAILING, "Fine": OK}
    assert notified.seconds < SOON_S


def test_a_job_that_sees_one_problem_again_is_known_by_its_record(folder):
    before = failing_record(JobKey("Job", "Job"))
    notified = folder.run_one("Job", job("Job", "return False"), stored=before)
    assert notified.reports["Job"].decision is Decision.ALREADY_NOTIFIED
    untold = {key: replace(record, notified_at=None) for key, record in before.items()}
    assert folder.run(stored=untold).reports["Job"].decision is Decision.FIRST_ALERT


def test_a_lost_record_makes_a_failing_job_alert(folder):
    folder.add("Job", job("Job", "return False"))
    notified = folder.run(lost=frozenset({file_stem(JobKey("Job", "Job"))}))
    assert notified.reports["Job"].decision is Decision.FIRST_ALERT


def test_a_worker_with_nothing_to_do_ends_at_once(folder):
    began = time.monotonic()
    notified = folder.run_one("Job", job("Job"), due=Due())
    assert notified.conditions == {}
    assert time.monotonic() - began < SOON_S


@pytest.mark.long
def test_what_a_worker_lacks_is_said_though_its_own_output_was_captured():
    def without_threads(*_frames):
        raise RuntimeError("can't start new thread")

    for _ in range(10):
        child = process.start(
            lambda _emit: worker.work((), ini(""), Order(), without_threads), alone=True
        )
        while not child.has_ended():
            process.wait([child], SOON_S)
        child.read_printed()
        child.end()
        assert child.was_short
        assert b"no thread can be started" in child.printed
