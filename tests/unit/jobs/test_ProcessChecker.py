"""[process NAME] against real processes and zombies, and its judgement of values."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

import psutil
import pytest

from jobs import ProcessChecker as module  # noqa: N813  # the module
from jobs.ProcessChecker import ProcessChecker
from lib.core.enums import Status
from lib.plugins import processes
from tests.support.listeners import found_by, job_of, result_of
from tests.support.waits import until

#: Longer than all tests here may take; it is killed behind them.
SLEEPS = "import time; time.sleep(1000)"


@contextlib.contextmanager
def running(*arguments, **options):
    """Have a child run meanwhile, whose command line others see."""
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, **options) as child:
        try:
            # The kernel ends the wait for exec a moment before it has set this.
            until(lambda: psutil.Process(child.pid).cmdline() == [*arguments])
            yield child
        finally:
            child.kill()


@pytest.fixture(scope="module")
def mark():
    """A word in the command line of one process only."""
    word = f"mark-of-{os.getpid()}"
    with running("/bin/sleep", "1000"), running(sys.executable, "-c", SLEEPS, word):
        yield word


#: No other process has this name.
ENDED = f"ended-{os.getpid()}"


@pytest.fixture(scope="module")
def zombie(tmp_path_factory):
    program = tmp_path_factory.mktemp("zombie") / ENDED
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    child = subprocess.Popen([program])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    yield child.pid
    child.wait()


@pytest.fixture
def pidfile(tmp_path, mark):
    def written(content, mode=0o644):
        path = tmp_path / "it.pid"
        path.write_text(str(content))
        path.chmod(mode)
        return path

    return written


def found(**options):
    return found_by(ProcessChecker, **options)


def pid_of(word):
    return next(
        one.pid
        for one in psutil.process_iter()
        if one.status() != "zombie" and word in one.cmdline()
    )


def test_a_pattern_is_searched_in_the_whole_command_line(mark):
    assert found(command_regex=f"sleep.*{mark}$") == "fine"
    said = found(command_regex=f"{mark}-not")
    assert said == f"no such process runs: command line {mark}-not"


def test_a_process_has_the_name_of_its_program(mark):
    assert found(program="sleep") == "fine"
    assert found(program="slee[p]") == "fine"
    assert found(program="slee") == "no such process runs: program slee"


@pytest.mark.parametrize(
    ("kernels", "arguments", "names"),
    [
        ("nginx", ["nginx: master process", "x"], {"nginx"}),
        ("python3", ["python3", "/opt/collector-of-things", "-v"],
         {"python3", "collector-of-things"}),
        ("collector-of-th", ["/bin/sh", "/opt/collector-of-things"],
         {"collector-of-th", "sh", "collector-of-things"}),
        ("python3", ["python3", "-m", "http.server"], {"python3"}),
        ("sshd", ["sshd: root@pts/0"], {"sshd"}),
        ("bash", ["-bash"], {"bash"}),
        ("gunicorn: maste", ["gunicorn: master [a]"], {"gunicorn: maste", "gunicorn"}),
        ("averylongnameof", [], {"averylongnameof"}),
    ],
)  # fmt: skip
def test_a_process_has_these_names(kernels, arguments, names):
    assert set(processes.names_of(kernels, arguments)) == names


def test_a_name_that_the_kernel_cut_is_known_as_a_whole():
    assert module.is_called(("averylongnameof",), "averylongnameofmine")
    assert not module.is_called(("averylongnameof", "x"), "averylongnameofmine")


def test_a_zombie_is_not_alive(zombie):
    assert psutil.Process(zombie).status() == "zombie"
    assert "only a zombie is left" in found(program=ENDED, user=str(os.geteuid()))
    assert found(program=ENDED, state="Z") == "fine"


def test_all_processes_are_meant_where_nothing_is_named(zombie):
    assert found(state="Z", fail_count="100000") == "fine"
    assert "over fail_count = 0\n" in found(state="Z", fail_count="0")


def test_a_count_alone_decides(mark):
    assert found(command_regex=mark, fail_count="1..1") == "fine"
    assert found(command_regex=mark, fail_count="2..3").startswith(
        "count is 1, outside fail_count = 2..3"
    )
    assert found(command_regex="no-such-thing", fail_count="0") == "fine"
    assert "over fail_count = 0" in found(command_regex=mark, fail_count="0")
    assert "over warn_count = 0" in found(command_regex=mark, warn_count="0")


def test_a_user_has_processes_of_his_own(mark):
    assert found(command_regex=mark, user=str(os.geteuid())) == "fine"
    assert found(command_regex=mark, user="12345").startswith("no such process")
    assert found(command_regex=mark, user="nobody-at-all").startswith("unknown: ")


def test_a_pid_file_names_a_process(pidfile, mark, zombie):
    assert found(pidfile=pidfile(pid_of(mark))) == "fine"
    assert found(pidfile=pidfile(f"{pid_of(mark)}\n/var/lib/postgresql\n")) == "fine"
    assert "only a zombie" in found(pidfile=pidfile(zombie))


def test_a_pid_file_may_name_another_process_than_is_meant(pidfile, mark):
    path = pidfile(pid_of(mark))
    assert found(pidfile=path, command_regex=mark) == "fine"
    assert found(pidfile=path, program="postgres").endswith("or is another one")


def test_a_pid_that_was_given_away_is_no_process(pidfile, mark):
    path = pidfile(pid_of(mark))
    before = time.time() - 3600
    os.utime(path, (before, before))
    assert "its pid is now that of" in found(pidfile=path)


@pytest.mark.parametrize("content", ["", "0", "-1", "abc", "1 2", "9" * 12, "\0"])
def test_a_pid_file_without_a_pid_is_failing(pidfile, content):
    assert "contains" in found(pidfile=pidfile(content))


def test_a_pid_file_that_says_nothing(pidfile, tmp_path):
    assert found(pidfile=pidfile(4194304)).endswith("which does not run")
    assert found(pidfile=tmp_path / "no").endswith("so its daemon does not run")
    assert found(pidfile=pidfile(1, 0o666)).startswith("unknown: ")
    os.mkfifo(tmp_path / "pipe")
    assert found(pidfile=tmp_path / "pipe").endswith("is no ordinary file")


def test_age_has_two_ends(mark):
    only = {"command_regex": mark}
    assert found(**only, fail_age="1d", warn_age="1d") == "fine"
    while psutil.Process(pid_of(mark)).create_time() > time.time() - 1:
        time.sleep(0.1)
    assert "age is " in found(**only, fail_age="0s")
    assert "youngest is " in found(**only, fail_age="1h..2h")
    assert found(**only, fail_age="0s..2h") == "fine"
    assert "under warn_age = 1h" in found(**only, warn_age="1h..2h")


def test_memory_is_that_of_all_and_of_children_if_asked():
    program = f"x = b'x' * 30_000_000\nprint(1, flush=True)\n{SLEEPS}"
    parent = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', "
        "sys.argv[2]], stdout=subprocess.PIPE); child.stdout.read(1); "
        "print(1, flush=True); time.sleep(1000)"
    )
    word = f"tree-{os.getpid()}"
    with running(sys.executable, "-c", parent, word, program) as child:
        child.stdout.read(1)
        only = {"command_regex": word}
        assert found(**only, fail_memory="25MB", warn_memory="25MB") == "fine"
        over = found(**only, fail_memory="25MB", children="yes")
        assert "over fail_memory = 25MB" in over
        assert "over warn_memory" in found(**only, warn_memory="1MB")
        for one in psutil.Process(child.pid).children():
            one.kill()


def test_cpu_is_that_since_the_last_check():
    word = f"busy-{os.getpid()}"
    with running(sys.executable, "-c", "while True: pass", word) as child:
        job = job_of(ProcessChecker, command_regex=word, fail_cpu="1%", warn_cpu="1%")
        assert job.check(job.target, None).keys() == {"count", "age", "memory"}
        used_s = sum(psutil.Process(child.pid).cpu_times()) + 0.2
        until(lambda: sum(psutil.Process(child.pid).cpu_times()) > used_s)
        result = job.check(job.target, None)["cpu"]
        assert 1 < result.number <= 150 and result.fail.high == 1


@pytest.mark.parametrize(
    ("before", "times", "used"),
    [
        (None, {"1/5": 3.0}, None),
        ({"at": 100.0, "times": {"1/5": 3.0}}, {"1/5": 6.0}, 50.0),
        # It started since; and the pid is another's now.
        ({"at": 100.0, "times": {}}, {"1/5": 3.0}, 50.0),
        ({"at": 100.0, "times": {"1/5": 9.0}}, {"1/99": 3.0}, 50.0),
        # The machine was started since.
        ({"at": 900.0, "times": {"1/5": 3.0}}, {"1/5": 6.0}, None),
        ("garbage", {"1/5": 6.0}, None),
    ],
)
def test_cpu_counts_what_was_used_since(before, times, used):
    assert module.cpu_percent(before, times, 106.0) == used


@pytest.mark.parametrize(
    ("changed", "status"),
    [("no", Status.OK), ("tell", Status.WARNING), ("fail", Status.FAILING)],
)
def test_another_process_than_at_the_last_check_is_told_once(mark, changed, status):
    job = job_of(ProcessChecker, command_regex=mark, changed=changed)
    assert job.execute()
    if changed != "no":
        job.memory["oldest"] = [1, 0.0]
    memory = dict(job.memory)
    from lib.workers.execute import _result

    result = _result(job, job.execute)
    assert result.status is status
    assert changed == "no" or " was 1 at the last check" in result.reason
    assert changed == "no" or memory != job.memory
    assert _result(job, job.execute).status is Status.OK


def test_this_run_is_none_of_the_processes():
    # As -m check "process pytest" is in the command line of Checker itself.
    pids = {one.pid for one in processes.processes_of(processes.all_pids())}
    assert os.getpid() not in pids


def test_where_others_are_hidden_nothing_is_known():
    assert "hidepid" in module._is_hidden([77], None)
    assert not module._is_hidden([1, 77], None)
    assert not module._is_hidden([77], os.geteuid())


def test_a_process_that_ends_meanwhile_is_no_error(mark):
    gone = processes.Process(2**22 - 1, ("x",), "x", "running", 1, 0.0, 0.0, 0.0)
    assert processes.memory_of(gone) == 0 and processes.user_of(gone) is None
    assert processes.with_children([gone]) == [gone]
    assert [*processes.processes_of([gone.pid, 2**40])] == []


def facts_of(process):
    return (process.pid, process.names, process.command, process.parent)


def test_psutil_has_the_same_of_each_process(mark, zombie):
    booted_at = processes._booted_at()
    assert booted_at == psutil.boot_time()
    compared = 0
    for pid in (pid_of(mark), zombie, os.getpid(), os.getppid(), *psutil.pids()[:20]):
        ours = processes._of_proc(pid, booted_at)
        theirs = processes._of_psutil(pid, booted_at)
        later = processes._of_proc(pid, booted_at)
        # One that begins, becomes another or ends meanwhile differs rightly.
        if None not in (ours, theirs, later) and facts_of(ours) == facts_of(later):
            assert facts_of(ours) == facts_of(theirs)
            assert abs(ours.since_boot - theirs.since_boot) < 0.02
            assert ours.cpu_s - 0.02 <= theirs.cpu_s <= later.cpu_s + 0.02
            compared += 1
    of_zombie = (processes._of_proc(zombie, 0), processes._of_psutil(zombie, 0))
    assert [one.state for one in of_zombie] == ["zombie", "zombie"]
    assert compared > 3


def test_without_proc_psutil_answers(monkeypatch, mark):
    monkeypatch.setattr(processes, "HAS_PROC", False)
    test_what_is_measured_has_its_thresholds(mark)
    test_a_user_has_processes_of_his_own(mark)
    test_memory_is_that_of_all_and_of_children_if_asked()
    test_cpu_is_that_since_the_last_check()


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        (b"", []),
        (b"/bin/sleep\x0060\x00", ["/bin/sleep", "60"]),
        (b"nginx: master process /usr/sbin/nginx\x00",
         ["nginx:", "master", "process", "/usr/sbin/nginx"]),
        (b"sshd: root [priv]", ["sshd:", "root", "[priv]"]),
        (b"a\x00\x00b\x00", ["a", "", "b"]),
        (b"caf\xe9\x00x\x00", ["caf\udce9", "x"]),
    ],
)  # fmt: skip
def test_a_command_line_is_read_as_psutil_does(line, arguments):
    assert processes._arguments(line) == arguments


def test_what_is_measured_has_its_thresholds(mark):
    result = result_of(job_of(ProcessChecker, command_regex=mark, fail_memory="1GB"))
    assert result.values["count"].number == 1
    assert result.values["memory"].fail.high == 1e9
