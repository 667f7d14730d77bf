"""Whoever starts it: a run, a worker and a command start in the same way."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from lib.system.startup import known_environment, raised
from tests.support.instance import Instance
from tests.support.waits import SOON_S, until

CRON = ("-m", "cron", "-c", "minute")

#: Tells how the process is that runs it, but for what differs each time.
TELL = """\
import json, os, resource
def state():
    status = open("/proc/self/status").read().splitlines()
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    # A worker's grows with its threads.
    limits.remove("RLIMIT_DATA")
    return {
        # Without 32 and 33, which belong to the C library.
        "signals": {
            name: int(mask, 16) & ~(3 << 31)
            for name, _colon, mask in (one.partition(":") for one in status)
            if name in ("SigBlk", "SigIgn")
        },
        "limits": {
            name: resource.getrlimit(getattr(resource, name))[0] for name in limits
        },
        "umask": next(one for one in status if one.startswith("Umask")),
        "environment": dict(os.environ),
        "descriptors": [os.readlink(f"/proc/self/fd/{one}")[:5] for one in range(3)],
    }
"""
#: Starts the rest of its command line as odd as can be.
ODD = """\
import os, resource, signal, sys
for number in range(1, signal.NSIG):
    if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
        signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
def soft(name, limit):
    which = getattr(resource, name)
    resource.setrlimit(which, (limit, resource.getrlimit(which)[1]))
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
for name, limit in {
    "RLIMIT_NOFILE": 16, "RLIMIT_FSIZE": 1 << 20, "RLIMIT_CPU": 40, "RLIMIT_CORE": hard,
    "RLIMIT_NPROC": 2, "RLIMIT_STACK": 1 << 20,
}.items():
    soft(name, limit)
os.umask(0)
odd = {
    "LD_PRELOAD": "/nowhere/lib.so", "BASH_ENV": "/nowhere", "ENV": "/nowhere",
    "PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "2", "PYTHONVERBOSE": "",
    "PYTHONIOENCODING": "ascii", "SSLKEYLOGFILE": "/nowhere/keys", "CDPATH": "/",
    "BASH_FUNC_echo%%": "() { false; }", "NOTIFY_SOCKET": "/nowhere",
    "PYTHONSAFEPATH": "1",
}
os.closerange(0, 3)
os.execve(sys.argv[1], sys.argv[1:], {**os.environ, **odd})
"""


def started(starter, instance, tmp_path, *before):
    """Return how a worker, a command of a job and ``pass_command`` were started."""
    emit = tmp_path / "tell.py"
    emit.write_text(
        TELL + "import sys; json.dump(state(), open(sys.argv[1], 'w')); print('pw')\n"
    )
    instance.write(
        "[general]\nservername = web1\nalertcontact = ops@example.com\n"
        "[email]\nsmtpserver = 127.0.0.1\nsmtpport = 1\nuser = me\n"
        f"pass_command = {sys.executable} {emit} {tmp_path}/pass_command\n"
    )
    instance.job(
        "Tell",
        TELL + "import subprocess, sys\nfrom lib.jobbase import *\n"
        "class Tell(JobBase):\n"
        "    def executeEvery(self): return JobFrequency.MINUTE\n"
        "    def execute(self):\n"
        f"        json.dump(state(), open('{tmp_path}/worker', 'w'))\n"
        f"        subprocess.run([sys.executable, '{emit}', '{tmp_path}/command'])\n"
        "        return True\n",
    )
    ran = starter.run(instance, CRON, {}, before, limit_s=30)
    assert ran.silent, ran
    found = {}
    for name in ("worker", "command", "pass_command"):
        path = tmp_path / name
        found[name] = json.loads(path.read_text())
        path.unlink()
    return found


@pytest.mark.long
def test_a_worker_and_commands_start_the_same_way_whoever_starts_the_run(
    starter, tmp_path
):
    instance = Instance(tmp_path)
    instance.environment = {"MY_TOKEN": "hunter2"}
    usual = ("sh", "-c", 'ulimit -Sn 1024; exec "$@"', "sh")
    by_cron = started(starter, instance, tmp_path, *usual)
    odd = started(starter, instance, tmp_path, sys.executable, "-c", ODD)
    for name, one in odd.items():
        for what in one:
            assert (name, what, one[what]) == (name, what, by_cron[name][what])
    for one in odd.values():
        # SIGPIPE and SIGXFSZ are Python's own to ignore.
        assert one["signals"] == {"SigBlk": 0, "SigIgn": 1 << 12 | 1 << 24}
        assert one["limits"]["RLIMIT_CORE"] == 0
        assert one["umask"] == "Umask:\t0022"
        assert one["environment"]["MY_TOKEN"] == "hunter2"
        assert one["environment"]["USER"] == "checker"


@pytest.mark.parametrize("code", [0, 3])
def test_with_sigchld_ignored_a_command_that_fails_has_failed(starter, tmp_path, code):
    instance = Instance(
        tmp_path,
        "[email]\nuser = me\nsmtpserver = 127.0.0.1\n"
        f"pass_command = sh -c 'echo pw; exit {code}'\n",
    )
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    ran = starter.run(instance, CRON, {}, (sys.executable, "-c", ignoring))
    assert "Traceback" not in ran.err
    assert ("exit code 3" in ran.err) == bool(code)


def test_with_sigterm_blocked_a_run_can_be_ended(starter, tmp_path):
    instance = Instance(tmp_path)
    begun = tmp_path / "begun"
    instance.job(
        "Slow",
        "import time\nfrom lib.jobbase import *\nclass Slow(JobBase):\n"
        "    def executeEvery(self): return JobFrequency.MINUTE\n"
        f"    def execute(self):\n        open({str(begun)!r}, 'w').close()\n"
        "        time.sleep(40)\n        return True\n",
    )
    blocking = (
        "import os, signal, sys;"
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals());"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    process = starter.start(instance, CRON, {}, (sys.executable, "-c", blocking))
    until(begun.exists)
    process.terminate()
    assert process.wait(SOON_S) == 0


def test_nohup_is_heeded(starter, tmp_path):
    instance = Instance(tmp_path)
    instance.job(
        "Hang",
        "import os, signal\nfrom lib.jobbase import *\nclass Hang(JobBase):\n"
        "    def executeEvery(self): return JobFrequency.MINUTE\n"
        "    def execute(self):\n"
        "        os.kill(os.getppid(), signal.SIGHUP)\n        return True\n",
    )
    ran = starter.run(instance, CRON, {}, ("nohup",))
    assert ran.code == 0
    assert instance.last_run()["ran"] == 1


@pytest.mark.long
def test_children_of_the_shell_that_became_the_run_are_left_alone(starter, tmp_path):
    instance = Instance(tmp_path)
    instance.job(
        "Own",
        "from lib.jobbase import *\nclass Own(JobBase):\n"
        "    def executeEvery(self): return JobFrequency.MINUTE\n"
        "    def execute(self): return True\n",
    )
    script = f'sleep 30 >/dev/null 2>&1 & echo $! >{tmp_path}/pid; exec "$@"'
    ran = starter.run(
        instance, ("-m", "cron", "-c", "minute", "-d"), {}, ("sh", "-c", script, "sh")
    )
    assert ran.code == 0
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    assert "left process" not in ran.err


GIVEN = {
    "HOME": "/root",
    "LOGNAME": "root",
    "PATH": "/usr/bin:/bin",
    "SHELL": "/bin/sh",
}


def test_what_cron_gives_and_a_crontab_sets_stays():
    given = {
        **GIVEN,
        "TZ": "Europe/Vienna",
        "LC_ALL": "C",
        "TOKEN": "x",
        "PYTHONPATH": "/j",
    }
    assert known_environment(given) == {**given, "USER": "root"}


def test_what_changes_programs_goes():
    odd = dict.fromkeys(
        ("PYTHONWARNINGS", "PYTHONINSPECT", "LD_PRELOAD", "BASH_ENV", "SSLKEYLOGFILE")
        + ("LISTEN_FDS", "BASH_FUNC_ls%%"),
        "1",
    )
    assert known_environment({**GIVEN, **odd}) == {**GIVEN, "USER": "root"}


def test_what_every_program_needs_is_there_even_from_nothing():
    found = known_environment({"HOME": "", "PATH": ""})
    assert found["PATH"] == "/usr/bin:/bin" and found["SHELL"] == "/bin/sh"
    assert found["HOME"].startswith("/") and found["USER"] == found["LOGNAME"] != ""


@pytest.mark.parametrize(
    ("soft", "hard", "least", "found"),
    [
        (100, -1, -1, -1),
        (100, 200, -1, 200),
        (100, 200, 150, 150),
        (180, 200, 150, 180),
        (10, 10, 1024, 10),
        (-1, -1, 1024, -1),
    ],
)
def test_a_limit_is_raised_as_far_as_the_system_allows(soft, hard, least, found):
    assert raised(soft, hard, least) == found


@pytest.mark.parametrize(
    ("umask", "found"),
    [
        ("777", "077"),
        pytest.param("0", "022", marks=pytest.mark.long),
        pytest.param("027", "027", marks=pytest.mark.long),
    ],
)
def test_the_umask_is_never_looser_than_crons_nor_locks_us_out(
    starter, tmp_path, umask, found
):
    instance = Instance(tmp_path)
    instance.job(
        "Mask",
        "import os\nfrom lib.jobbase import *\nclass Mask(JobBase):\n"
        "    def executeEvery(self): return JobFrequency.MINUTE\n"
        "    def execute(self): raise CheckFailed(f'{os.umask(0):03o}')\n",
    )
    before = ("sh", "-c", f'umask {umask}; exec "$@"', "sh")
    for _minute in range(2):
        ran = starter.run(instance, CRON, {}, before)
        assert (ran.code, ran.err) == (0, "")
    assert instance.records()["Mask"]["last_reason"] == found
