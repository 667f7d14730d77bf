"""The workers of one run: what kills them is named, and nobody else suffers for it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib.core.enums import JobFrequency, Status
from lib.core.ini import PackedSections
from lib.core.jobs import Job, JobKey
from lib.core.schedule import Due
from lib.runner import manager
from lib.runner.manager import MAX_ATTEMPTS, Work, WorkerHandle, attribute_crash
from lib.system import process
from lib.workers.worker import Order
from tests.support.fakes import Folder, Told, ini, job, listen, spawner
from tests.support.waits import SOON_S, until

FAILING, OK = Status.FAILING, Status.OK
UNKNOWN = Status.UNKNOWN


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def impatient(monkeypatch):
    """Have a stalled worker killed sooner than is wise outside of tests."""
    monkeypatch.setattr(manager, "STALL_AFTER_S", 0.5)
    monkeypatch.setattr(manager, "SILENCE_S", 1.2)


#: What takes a worker down, and what is said of the job that did.
DEADLY = {
    "os._exit(3)": "called os._exit(3)",
    "os._exit(0)": "called os._exit(0)",
    "ctypes.string_at(0)": "killed by SIGSEGV",
    "os.kill(os.getpid(), 9)": "killed by SIGKILL (out of memory?)",
    "os.kill(os.getpid(), 15)": "killed by SIGTERM",
    "os.killpg(0, 9)": "killed by SIGKILL (out of memory?)",
    "os.abort()": "killed by SIGABRT",
    "os.closerange(3, 1024)": "closed file descriptors of others",
}
IMPORTS = "import ctypes, os, re, signal, time\n"


@pytest.fixture(scope="module")
def deadly(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("deadly"))
    for number, code in enumerate(DEADLY):
        execute = f"print('last words', flush=True)\n{code}\nreturn True"
        folder.add(f"Deadly{number}", IMPORTS + job(f"Deadly{number}", execute))
    folder.add("Fine", job("Fine"))
    return folder.run()


@pytest.mark.parametrize("code", DEADLY)
def test_what_takes_its_worker_down_is_named(deadly, code):
    result = deadly.lost[f"Deadly{list(DEADLY).index(code)}"]
    assert (result.status, result.reason) == (FAILING, DEADLY[code])
    assert result.output.startswith("It printed:\nlast words")


def test_a_crash_in_c_says_in_which_line_of_the_job(deadly):
    number = list(DEADLY).index("ctypes.string_at(0)")
    output = deadly.lost[f"Deadly{number}"].output
    assert "Fatal Python error: Segmentation fault" in output
    assert f"Deadly{number}.py" in output


def test_the_sections_are_packed_before_a_worker_shares_them(folder):
    folder.add("Fine", job("Fine"))
    content = ini("[Mine]\ncount = 3\n")
    assert folder.run(content).outcomes["Fine"].status is OK
    assert isinstance(content.sections, PackedSections)


def test_other_files_do_not_suffer(deadly):
    assert deadly.outcomes["Fine"].status is OK
    assert len(deadly.conditions) == len(DEADLY) + 1


@pytest.mark.long
def test_the_guilty_one_among_many_is_found_and_the_others_run(folder, approved):
    jobs = "for n in range(40): yield One(config, n)"
    one = """
        time.sleep(0.2)
        if self.n == 7: os._exit(3)
        return True
    """
    more = "def __init__(self, c, n): super().__init__(c, n); self.n = n"
    notified = folder.run_one("Many", IMPORTS + spawner("Many", jobs, one, more))
    approved(notified.lost["Many 7"].reason)
    found = list(notified.conditions.values())
    assert (found.count(FAILING), found.count(OK)) == (1, 39)


@pytest.mark.long
def test_each_of_several_guilty_ones_is_named(folder):
    jobs = "for n in range(12): yield One(config, n)"
    one = "os._exit(self.n) if self.n % 3 == 2 else time.sleep(0.1)\nreturn True"
    more = "def __init__(self, c, n): super().__init__(c, n); self.n = n"
    notified = folder.run_one("Many", IMPORTS + spawner("Many", jobs, one, more))
    assert {name: result.reason for name, result in notified.lost.items()} == {
        f"Many {n}": f"called os._exit({n})" for n in (2, 5, 8, 11)
    }
    assert list(notified.conditions.values()).count(OK) == 8


#: Loops in C that hold the interpreter's lock: no thread of ours gets its turn.
STUCK = [
    pytest.param(
        "re.match(r'(a+)+$', 'a' * 64 + 'b')",
        id="a regular expression",
        marks=pytest.mark.long,
    ),
    pytest.param("sum(range(10**12))", id="a sum"),
    pytest.param("ctypes.PyDLL(None).sleep(60)", id="a sleep that locks"),
]


@pytest.mark.parametrize("loop", STUCK)
def test_a_loop_in_c_that_is_deaf_is_killed_at_its_deadline(
    folder, impatient, loop, approved
):
    text = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    text += "signal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
    text += job("Stuck", loop, "def timeout(self): return 0.4")
    folder.add("Fine", job("Fine"))
    notified = folder.run_one("Stuck", IMPORTS + text)
    approved(notified.lost["Stuck"].reason)
    assert notified.outcomes["Fine"].status is OK
    assert notified.seconds < SOON_S


@pytest.mark.long
def test_one_that_lets_no_other_have_its_turn_is_found_among_many(
    folder, impatient, approved
):
    jobs = "for n in range(30): yield One(config, n)"
    one = """
        time.sleep(0.3)
        if self.n == 7: re.match(r'(a+)+$', 'a' * 64 + 'b')
        return True
    """
    more = """
        def __init__(self, c, n): super().__init__(c, n); self.n = n
        def timeout(self): return 2
    """
    notified = folder.run_one("Many", IMPORTS + spawner("Many", jobs, one, more))
    approved(notified.lost["Many 7"].reason)
    assert list(notified.conditions.values()).count(OK) == 29
    assert notified.seconds < SOON_S


@pytest.mark.long
def test_a_hook_that_is_stuck_in_c_has_the_default_mail_in_its_place(
    folder, impatient, approved
):
    more = "def onFailure(self): re.match(r'(a+)+$', 'a' * 64 + 'b')"
    text = IMPORTS + job("Job", "raise CheckFailed('it is down')", more)
    result = folder.run_one("Job", text, hook_timeout_s=0.4).lost["Job"]
    assert (result.status, result.reason) == (FAILING, "it is down")
    approved(result.output)


def test_jobs_that_share_a_worker_run_again_where_one_file_kills_it(folder, approved):
    folder.add("Bad", "import os\nos._exit(3)\n", ships=True)
    folder.add("Good", job("Good"), ships=True)
    notified = folder.run()
    assert notified.conditions == {"Bad.py": FAILING, "Good": OK}
    approved(notified.lost["Bad.py"].reason)


def test_shipped_files_share_a_worker_and_others_have_their_own(folder):
    for name in ("One", "Two"):
        folder.add(name, job(name), ships=True)
    folder.add("Three", job("Three"))
    workers = folder.workers()
    assert len(workers.children) == 2
    list(workers.stop())


def test_a_job_that_is_not_there_any_more_is_unknown(folder, tmp_path, approved):
    jobs = """
        yield One(config, "dies")
        if not os.path.exists(config.get("x", "flag")):
            open(config.get("x", "flag"), "w").close()
            yield One(config, "goes")
    """
    one = "time.sleep(0.3)\nif 'dies' in self.getName(): os._exit(3)\ntime.sleep(3)"
    folder.add("Many", IMPORTS + spawner("Many", jobs, one))
    notified = folder.run(ini(f"[x]\nflag = {tmp_path}/flag\n"))
    approved(notified.lost["Many dies"].reason)
    assert notified.lost["Many goes"].status is UNKNOWN
    assert notified.lost["Many goes"].ask_again


def test_a_worker_that_dies_before_its_jobs_begin_is_not_tried_for_ever(folder):
    # The file loads; a thread of its own then takes the process down at once.
    text = "import os, threading, time\n"
    text += "threading.Thread(target=lambda: (time.sleep(.3), os._exit(4))).start()\n"
    jobs = "for n in range(3): yield One(config, n)"
    notified = folder.run_one(
        "Many", text + spawner("Many", jobs, "import time; time.sleep(2)")
    )
    assert set(notified.lost) == {"Many 0", "Many 1", "Many 2"}
    assert notified.seconds < SOON_S


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("killed by SIGSEGV", "its worker was killed by SIGSEGV before it began"),
        ("called os._exit(4)", "its worker called os._exit(4) before it began"),
        ("", "its worker got stuck before it began"),
    ],
)
def test_what_became_of_a_worker_is_a_sentence(how, reason):
    job = Job(JobKey("Many", "a"), "Many a", "Many.py", "minute")
    work = Work((), Order(), {job.key: job}, attempts=MAX_ATTEMPTS - 1)
    handle = WorkerHandle(None, work, 0.0, 0.0, jobs=work.jobs)
    (lost,) = attribute_crash(handle, how, 0.0, 20.0).lost
    assert lost.result.reason == reason


def test_a_daemon_that_holds_the_pipes_does_not_hold_up_the_run(folder, tmp_path):
    execute = f"""
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                with open({str(tmp_path / "pid")!r}, "w") as file:
                    file.write(str(os.getpid()))
                time.sleep(60)
            os._exit(0)
        os.wait()
        time.sleep(0.2)
        return True
    """
    notified = folder.run_one("Daemon", IMPORTS + job("Daemon", execute))
    pid = int((tmp_path / "pid").read_text())
    try:
        assert notified.conditions == {"Daemon": OK}
        assert notified.seconds < SOON_S
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_child_that_keeps_the_output_pipe_does_not_hold_up_the_run(folder):
    execute = "import subprocess; subprocess.Popen(['sleep', '60'])\nreturn False"
    notified = folder.run_one("Parent", job("Parent", execute))
    assert notified.conditions == {"Parent": FAILING}
    assert notified.seconds < SOON_S


def test_a_flood_of_output_from_a_child_is_bounded(folder, approved):
    execute = "import subprocess; subprocess.run(['yes'], timeout=60)\nreturn True"
    more = "def timeout(self): return 0.5"
    notified = folder.run_one("Flood", job("Flood", execute, more))
    approved(notified.outcomes["Flood"].reason)
    assert len(notified.outcomes["Flood"].output) < 75_000
    assert notified.seconds < SOON_S


@pytest.mark.long
def test_memory_without_end_costs_its_own_worker_only(folder, approved):
    text = "import resource\n"
    execute = """
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
        self.hoard = []
        while True: self.hoard.append(bytearray(2**26))
    """
    folder.add("Fine", job("Fine"))
    more = "def timeout(self): return 30"
    notified = folder.run_one("Greedy", text + job("Greedy", execute, more))
    assert notified.conditions == {"Greedy": FAILING, "Fine": OK}
    approved(notified.outcomes["Greedy"].reason)


@pytest.mark.long
def test_a_worker_that_has_said_all_and_does_not_end_is_ended(folder):
    # As one without memory for its last step; its pulse goes on.
    execute = "import threading\nthreading.Event.set = lambda self: None\nreturn True"
    notified = folder.run_one("Endless", job("Endless", execute))
    assert notified.conditions == {"Endless": OK}
    assert notified.seconds < 30


@pytest.mark.long
def test_no_more_workers_are_at_work_than_may_be(folder):
    for number in range(12):
        folder.add(
            f"Job{number}",
            job(f"Job{number}", "import time; time.sleep(.1)\nreturn True"),
        )
    workers = folder.workers(at_once=3)
    notified, most = Told(), 0
    while not workers.is_done:
        most = max(most, len(workers.children))
        listen(workers, notified)
    assert most == 3
    assert list(notified.conditions.values()) == [OK] * 12


def test_a_run_that_has_to_end_leaves_nobody_at_work_and_no_job_unsaid(folder):
    execute = "import time; time.sleep(60)"
    folder.add("Slow", job("Slow", execute))
    folder.add("Loading", "import time; time.sleep(60)\n")
    folder.add("Waiting", job("Waiting"))
    workers = folder.workers(at_once=2)
    notified = Told()
    while "Slow" not in notified.jobs:
        listen(workers, notified)
    time.sleep(0.2)
    listen(workers, notified)
    pids = [child.pid for child in workers.children]
    lost = {one.job.name: one.result for one in workers.stop()}
    assert workers.is_done
    assert {name: result.reason for name, result in lost.items()} == {
        "Slow": "the run had to end before it was done",
        "Loading.py": "the run had to end before it began",
        "Waiting.py": "the run had to end before it began",
    }
    assert all(one.status is UNKNOWN and one.ask_again for one in lost.values())
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_where_no_process_can_be_started_the_jobs_are_unknown(tmp_path, approved):
    Folder(tmp_path).add("Job", job("Job"))
    program = f"""
import os, resource, pathlib
from tests.support.fakes import Folder
from lib.core.jobs import JobFile
from lib.workers import worker
worker.prepare(())
folder = Folder(pathlib.Path({str(tmp_path)!r}))
folder.files["Job"] = JobFile(folder.path / "Job.py", "Job")
resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))
told = folder.run()
for name, one in told.lost.items():
    print(f"{{name}}: {{one.status}}: {{one.reason}}")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    approved(done.stdout)


@pytest.mark.parametrize(
    "loop", ["time.sleep(60)", "re.match(r'(a+)+$', 'a' * 64 + 'b')"]
)
def test_workers_end_soon_when_the_supervisor_dies(tmp_path, loop):
    Folder(tmp_path).add(
        "Job", IMPORTS + job("Job", f"os.system('sleep 60 &')\n{loop}")
    )
    program = f"""
import os, pathlib, signal, time
from tests.support.fakes import Folder, Told, listen
from lib.core.jobs import JobFile
from lib.core.schedule import Due
folder = Folder(pathlib.Path({str(tmp_path)!r}))
folder.files["Job"] = JobFile(folder.path / "Job.py", "Job")
workers = folder.workers()
told = Told()
while not told.jobs: listen(workers, told)
time.sleep(0.3)
print(workers.children[0].pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    # What the worker started holds no pipe of ours, or this would wait for it.
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20
    )
    pid = int(done.stdout)
    until(lambda: _members_of_group(pid) == [])


def _members_of_group(group: int) -> list[str]:
    """Return the processes of a group that are not dead yet."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, its_group, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(its_group) == group and state != "Z":
            found.append(path.parent.name)
    return found


def test_what_a_worker_says_that_it_must_not_is_not_believed(folder, caplog):
    # Job code that found the pipe, and reports for another, twice, and nonsense.
    text = """
import gc
def the_pipe():
    gc.unfreeze()
    names = ((getattr(f, "__qualname__", ""), f) for f in gc.get_objects())
    return next(f for name, f in names if name == "_emitter.<locals>.emit")
"""
    execute = """
        say = the_pipe()
        say(["fine", "Other/Other", 0.1], ["fine"], [], {"a": 1}, ["what"], 5)
        say(["report", "Job/Job", {}, "ok", [], None])
        say(["fine", "Job/", 0.1])
        return True
    """
    notified = folder.run_one("Job", text + job("Job", execute))
    assert notified.conditions == {"Job": OK}
    said = [one for one in caplog.records if "said what it must not" in one.message]
    assert len(said) == 8


@pytest.mark.long
def test_a_worker_of_many_thousand_jobs_is_quick(folder):
    jobs = "for n in range(3000): yield One(config, n)"
    before = _cpu_of_children()
    notified = folder.run_one("Many", spawner("Many", jobs))
    assert len(notified.conditions) == 3000
    # A tenth of this as a rule.
    assert _cpu_of_children() - before < 8


def _cpu_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_nothing_is_started_for_no_file(folder):
    workers = folder.workers(due=Due(frozenset({JobFrequency.MINUTE})))
    assert workers.is_done
    assert list(workers.events()) == []
    assert workers.next_deadline() == float("inf")


def test_the_limits_fit_into_a_run():
    # A worker that is silent, and then its guilty job alone for the usual timeout.
    assert manager.SILENCE_S + 30 + manager.STALL_AFTER_S < 50
    assert process.KILL_TIMEOUT_S <= 1
