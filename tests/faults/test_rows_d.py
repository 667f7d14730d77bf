"""Rows D: hostile job files.  Each costs itself an alert, and the calm one nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.faults.rows import (
    CALM,
    CALM_ALERT,
    FLAG_ALERT,
    alert,
    is_running,
    job,
    subjects,
)
from tests.support.instance import NOBODYS, Instance, flag_job
from tests.support.servers import PASSWORD
from tests.support.waits import until


@pytest.fixture
def instance(instance):
    instance.job("Calm", CALM)
    return instance


def heard(smtp):
    """Return what was said of the hostile job; the calm one was judged and told."""
    said = subjects(smtp)
    assert said.count(CALM_ALERT) == 1, said
    return [one for one in said if not one.startswith("Calm")]


def notified_status(instance, smtp, text, name="Hostile"):
    """Return the one alert about a job file; the second run has nothing to add."""
    instance.job(name, text)
    assert instance.cron().code == 0
    assert instance.cron().code == 0
    (alert,) = heard(smtp)
    return alert


@pytest.mark.long
@pytest.mark.fault("D1", "syntax error, missing import")
@pytest.mark.parametrize("text", ["def (:\n", "import no_such_library\n"])
def test_d1_a_file_that_does_not_load_is_reported_once_and_when_mended(
    instance, smtp, text
):
    alert = notified_status(instance, smtp, text)
    assert alert.startswith("Hostile.py") and "is failing" in alert
    instance.job("Hostile", job("Hostile", "return True"))
    assert instance.cron().code == 0
    recovery = heard(smtp)[1]
    assert "Hostile.py" in recovery and "OK again" in recovery


@pytest.mark.fault("D2", "sys.exit at import or in execute, os._exit")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import sys\nsys.exit(3)\n", "sys.exit(3)"),
        ("import os\nos._exit(3)\n", "called os._exit(3)"),
        (job("Hostile", "sys.exit(3)"), "sys.exit(3)"),
        (job("Hostile", "os._exit(3)"), "called os._exit(3)"),
    ],
    ids=["exit at import", "_exit at import", "exit", "_exit"],
)
def test_d2_a_job_that_exits_has_failed(instance, smtp, text, says):
    assert says in notified_status(instance, smtp, text)


RAISERS = {
    "execute": job("Hostile", "raise {error}('with {password}' * 99)"),
    "onFailure": job(
        "Hostile",
        "return False",
        more="    def onFailure(self):\n        raise {error}('with {password}' * 99)",
    ),
    "executeEvery": CALM.replace("Calm", "Hostile").replace(
        "return JobFrequency.MINUTE", "raise {error}('with {password}' * 99)"
    ),
    "timeout": job("Hostile", "return True").replace(
        "return 5", "raise {error}('with {password}' * 99)"
    ),
}


@pytest.mark.long
@pytest.mark.fault("D3", "raises BaseException in any hook")
@pytest.mark.parametrize("hook", RAISERS)
def test_d3_whatever_is_raised_in_whatever_hook_is_a_failure(instance, smtp, hook):
    errors = ("BaseException", "KeyboardInterrupt", "GeneratorExit", "RecursionError")
    for number, error in enumerate(errors):
        text = RAISERS[hook].replace("{error}", error).replace("{password}", PASSWORD)
        instance.job(f"Hostile{number}", text.replace("Hostile", f"Hostile{number}"))
    assert instance.cron().code == 0
    assert instance.cron().code == 0
    assert len(heard(smtp)) == 4
    hostile = [mail for mail in smtp.mails if "Hostile" in mail.subject]
    for error in errors:
        assert any(error in mail.subject + mail.body for mail in hostile), error
    for mail in hostile:
        assert PASSWORD not in mail.subject + mail.body
        assert len(mail.body) < 8192


@pytest.mark.long
@pytest.mark.fault("D4", "infinite Python loop; sleep for ever")
@pytest.mark.parametrize("wait", ["while True: pass", "time.sleep(1e6)"])
def test_d4_a_job_without_end_times_out(instance, smtp, wait):
    text = job("Hostile", wait).replace("return 5", "return 1")
    instance.job("Hostile", text)
    began = time.monotonic()
    assert instance.cron().code == 0
    assert heard(smtp) == [alert("Hostile", "timed out after 1 s")]
    assert time.monotonic() - began < 8


DEAF = """\
for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT):
    ctypes.CDLL(None).signal(int(number), 1)
ctypes.PyDLL(None).sleep(60)
"""


@pytest.mark.fault("D5", "loop in C code, SIGTERM and SIGALRM ignored")
def test_d5_a_loop_in_c_that_is_deaf_is_killed(instance, smtp):
    instance.job(
        "Hostile", job("Hostile", DEAF.strip()).replace("return 5", "return 1")
    )
    began = time.monotonic()
    assert instance.cron().code == 0
    (alert,) = heard(smtp)
    assert "timed out after 1 s, and had to be killed" in alert
    assert time.monotonic() - began < 12


@pytest.mark.long
@pytest.mark.fault("D7", "returns what is no answer")
@pytest.mark.parametrize(
    ("answer", "says"), [("None", "None"), ("'yes'", "'yes'"), ("Odd()", "Odd")]
)
def test_d7_what_is_no_answer_is_a_failure_that_says_so(instance, smtp, answer, says):
    odd = "class Odd:\n    def __bool__(self): raise ValueError\n"
    odd += "    __repr__ = __bool__\n"
    alert = notified_status(
        instance, smtp, job("Hostile", f"return {answer}", head=odd)
    )
    assert "execute returned" in alert and "neither True nor False" in alert


HOLDING = """\
import subprocess
subprocess.Popen(['/bin/sh', '-c', 'trap "" TERM HUP INT; echo $$ > {pid}; sleep 60'])
subprocess.Popen(['/bin/sh', '-c', 'while :; do echo noise; done'])
return True
"""


@pytest.mark.fault("D8", "starts children that keep the output pipe")
def test_d8_children_that_keep_the_pipe_hold_nobody_up(instance, smtp):
    pid = instance.folder / "pid"
    instance.job("Hostile", job("Hostile", HOLDING.format(pid=pid).strip()))
    began = time.monotonic()
    assert instance.cron().code == 0
    assert time.monotonic() - began < 12
    assert heard(smtp) == []
    if pid.exists() and pid.read_text().strip():
        until(lambda: not is_running(int(pid.read_text())))


MEDDLING = """\
os.chdir('/')
os.umask(0)
os.environ['PATH'] = '/nowhere'
import locale; locale.setlocale(locale.LC_ALL, 'C')
socket.setdefaulttimeout(0.000001)
socket.socket = None
time.time = None
raise CheckFailed('meddled')
"""
SOUND = """\
assert os.getcwd() == {cwd!r}, os.getcwd()
assert os.environ['PATH'] == {path!r}
assert socket.getdefaulttimeout() is None
assert socket.socket and time.time()
old = os.umask(0o22)
assert old == {umask}, old
raise CheckFailed('sound')
"""


@pytest.mark.long
@pytest.mark.fault("D12", "changes directory, umask, environment, locale, socket")
def test_d12_a_job_that_meddles_meddles_with_itself(instance, smtp):
    umask = os.umask(0)
    os.umask(umask)
    sound = SOUND.format(cwd="/", path="/usr/bin:/bin", umask=umask)
    instance.job("Hostile", job("Hostile", MEDDLING.strip()))
    for number in range(3):
        instance.job(f"Sound{number}", job(f"Sound{number}", sound.strip()))
    assert instance.cron().code == 0
    assert sorted(heard(smtp)) == [alert("Hostile", "meddled")] + [
        alert(f"Sound{number}", "sound") for number in range(3)
    ]


BOMB = """\
began = time.monotonic()
while time.monotonic() - began < 3:
    if os.fork() == 0:
        time.sleep(30)
        os._exit(0)
"""


@pytest.mark.long
@pytest.mark.fault("D14", "fork bomb (not root)")
def test_d14_a_fork_bomb_is_stopped_by_the_limit():
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("another user than root needs root and setpriv")
    # Where another user gets to, which is not so with the folders of tests.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        _drop_a_bomb(Path(folder))


def _drop_a_bomb(folder):
    instance = Instance(folder, "[email]\nnomail = True\n")
    instance.write(
        instance.settings.read_text().replace(
            "[email]", "workerprocesses = 100\n[email]"
        )
    )
    instance.job("Calm", CALM)
    instance.job("Hostile", job("Hostile", BOMB.strip()))
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODYS, NOBODYS)
    read = "+dac_read_search"
    anybody = ["setpriv", f"--reuid={NOBODYS}", f"--regid={NOBODYS}", "--clear-groups"]
    anybody += [
        f"--inh-caps={read}",
        f"--ambient-caps={read}",
        f"--bounding-set=-all,{read}",
    ]
    command = instance.command("-m", "cron", "-c", "minute")
    ran = subprocess.run(
        [*anybody, *command], capture_output=True, text=True, timeout=60, cwd="/"
    )
    assert ran.returncode == 0, ran.stderr
    found = {name: one["last_reason"] for name, one in instance.records().items()}
    assert found["Calm"] == "calm was judged"
    assert "Resource temporarily unavailable" in found["Hostile"], found
    users = [
        entry
        for entry in os.listdir("/proc")
        if entry.isdigit() and _owner(entry) == NOBODYS and is_running(int(entry))
    ]
    assert users == []


def _owner(entry):
    try:
        return os.stat(f"/proc/{entry}").st_uid
    except OSError:
        return None


@pytest.mark.long
@pytest.mark.fault("D15", "crashes by segfault")
def test_d15_a_segfault_is_named(instance, smtp):
    alert = notified_status(instance, smtp, job("Hostile", "ctypes.string_at(0)"))
    assert alert == "Hostile is failing: killed by SIGSEGV"


@pytest.mark.long
@pytest.mark.fault("D16", "onFailure raises, returns None, or does not send")
@pytest.mark.parametrize("hook", ["raise ValueError('oh')", "return None", "pass"])
def test_d16_where_a_hook_tells_nobody_the_default_alert_goes_out(instance, smtp, hook):
    more = f"    def onFailure(self):\n        {hook}"
    text = job("Hostile", "raise CheckFailed('down')", more=more)
    assert notified_status(instance, smtp, text) == alert("Hostile", "down")


@pytest.mark.fault("D19", "a job file writable by others, or of another owner")
@pytest.mark.parametrize("how", ["writable", "foreign", "folder"])
def test_d19_a_job_file_others_may_write_is_refused_and_reported_once(
    instance, smtp, how, tmp_path
):
    ran_mark = tmp_path / "it ran"
    path = instance.job("Hostile", f"open({str(ran_mark)!r}, 'w')\n")
    if how == "writable":
        path.chmod(0o666)
    elif how == "foreign":
        if os.geteuid() != 0:
            pytest.skip("another owner needs root")
        os.chown(path, 54321, 54321)
    else:
        instance.jobs.chmod(0o777)
    for _ in range(2):
        instance.cron()
    assert not ran_mark.exists()
    said = subjects(smtp)
    assert len([one for one in said if "Hostile" in one or "jobs" in one]) >= 1
    assert len(said) == len(set(said)), said


@pytest.mark.long
@pytest.mark.fault("D20", "a job takes most of a minute, each minute; 30 slow jobs")
def test_d20_slow_jobs_make_nobody_late_and_never_overlap(instance, smtp, tmp_path):
    log = tmp_path / "log"
    slow = f"""\
with open({str(log)!r}, 'a') as file: file.write('begin {{0}}\\n')
time.sleep(2)
with open({str(log)!r}, 'a') as file: file.write('end {{0}}\\n')
return True"""
    for number in range(30):
        instance.job(f"Slow{number}", job(f"Slow{number}", slow.format(number)))
    runs = [instance.start("-m", "cron", "-c", "minute") for _ in range(2)]
    began = time.monotonic()
    for run in runs:
        run.communicate(timeout=60)
    assert time.monotonic() - began < 20
    assert {run.returncode for run in runs} == {0}
    lines = log.read_text().splitlines()
    for number in range(30):
        own = [line.split()[0] for line in lines if line.split()[1] == str(number)]
        assert own == ["begin", "end"]
    assert heard(smtp) == []


@pytest.mark.long
@pytest.mark.fault("D21", "a job rewrites state of others")
def test_d21_state_that_a_job_has_rewritten_is_noticed(instance, smtp, tmp_path):
    flag = tmp_path / "flag"
    instance.job("Flag", flag_job(flag))
    assert instance.cron().code == 0
    (record,) = (instance.state / "jobs").glob("flag-*.json")
    content = json.loads(record.read_text())
    content["notified_at"] = None
    forged = json.dumps({**content, "status": "ok"})
    write = f"open({str(record)!r}, 'w').write({forged!r})\nreturn True"
    path = instance.job("Hostile", job("Hostile", write))
    assert instance.cron().code == 0
    path.unlink()
    assert instance.cron().code == 0
    # Made good by the run itself, or noticed by the next one.
    notified = heard(smtp)
    assert notified.count(FLAG_ALERT) == 1
    assert notified[1:] == ["a state file was lost or damaged"] * (len(notified) - 1)
    assert instance.records()["Flag"]["status"] == "failing"
