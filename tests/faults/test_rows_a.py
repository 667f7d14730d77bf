"""Rows A: processes die, hang, start together, or leave others behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.faults import rows
from tests.faults.rows import (
    CALM,
    CALM_ALERT,
    FLAG_ALERT,
    alert,
    is_running,
    job,
)
from tests.faults.table import LONG, measured
from tests.support.instance import Instance, flag_job
from tests.support.servers import SmtpStub
from tests.support.waits import SOON_S, until


def subjects(smtp):
    return sorted(rows.subjects(smtp))


@pytest.mark.long
@pytest.mark.fault("A3", "SIGTERM while jobs are at work")
def test_a3_a_terminated_run_keeps_what_is_done_sends_nothing_and_ends_soon(
    instance, smtp
):
    instance.job("Calm", CALM)
    instance.job("Slow", job("Slow", "time.sleep(30)").replace("return 5", "return 40"))
    run = instance.start("-m", "cron", "-c", "minute")
    until(lambda: "Calm" in instance.records())
    run.terminate()
    # The job would go on for 30 s.
    run.communicate(timeout=SOON_S)
    assert run.returncode == 0
    records = instance.records()
    assert (records["Calm"]["failures"], len(records["Calm"]["queued"])) == (1, 1)
    assert "pending_since" in records["Slow"]
    assert "ended_at" in instance.last_run()
    assert smtp.mails == []


@pytest.mark.long
@pytest.mark.fault("A3", "SIGTERM while a mail is on its way")
def test_a3_a_run_that_is_terminated_while_it_sends_keeps_the_mail(tmp_path):
    with SmtpStub("hush") as stub:
        mail = f"[email]\nsmtpserver = 127.0.0.1\nsmtpport = {stub.port}\n"
        instance = Instance(tmp_path, mail)
        instance.job("Calm", CALM)
        run = instance.start("-m", "cron", "-c", "minute")
        until(lambda: stub.connections == 1)
        run.terminate()
        run.communicate(timeout=SOON_S)
    assert run.returncode == 0
    assert len(instance.records()["Calm"]["queued"]) == 1


@pytest.mark.long
@pytest.mark.fault("A4", "a job takes all memory: address space limit")
@pytest.mark.fault("D11", "a job allocates all memory")
def test_a4_a_job_that_takes_all_memory_fails_alone(instance, smtp):
    instance.write(
        instance.settings.read_text().replace("[email]", "workermemory = 64\n[email]")
    )
    instance.job("Calm", CALM)
    instance.job(
        "Greedy", job("Greedy", "hoard = []\nwhile True: hoard.append(' ' * 2**24)")
    )
    assert instance.cron().code == 0
    assert instance.cron().code == 0
    reason = "out of memory: [general] workermemory is 64 MB"
    assert subjects(smtp) == [CALM_ALERT, alert("Greedy", reason)]


@pytest.mark.fault("A4", "a job's worker is killed for memory")
def test_a4_a_worker_killed_for_memory_fails_its_job_only(instance, smtp):
    instance.job("Calm", CALM)
    # As the kernel does it.
    instance.job("Victim", job("Victim", "os.kill(os.getpid(), signal.SIGKILL)"))
    assert instance.cron().code == 0
    assert instance.cron().code == 0
    reason = "killed by SIGKILL (out of memory?)"
    assert subjects(smtp) == [CALM_ALERT, alert("Victim", reason)]


@pytest.mark.long
@pytest.mark.fault("A5", "the supervisor is killed for memory")
def test_a5_a_killed_supervisor_leaves_no_child_and_no_lock(instance, smtp):
    pids = instance.folder / "pids"
    instance.job(
        "Slow",
        job(
            "Slow",
            f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')\ntime.sleep(4)",
        ),
    )
    run = instance.start("-m", "cron", "-c", "minute")
    until(lambda: pids.exists() and pids.read_text().endswith(" "))
    run.kill()
    run.communicate()
    (worker,) = map(int, pids.read_text().split())
    until(lambda: not is_running(worker))
    instance.job("Slow", CALM.replace("Calm", "Slow"))
    assert instance.cron().code == 0
    assert subjects(smtp) == [CALM_ALERT.replace("Calm", "Slow")]


@pytest.mark.long
@pytest.mark.fault("A6", "2, 5, 20 runs start in the same second")
def test_a6_of_runs_that_start_together_one_works_and_one_alert_leaves(instance, smtp):
    rounds, counts = (67, (2, 5, 20)) if LONG else (1, (5,))
    # Each has an alert of its own.
    text = instance.settings.read_text()
    instance.write(
        text.replace("[email]", "[email]\nmailsperhour = 1000\nmailsperday = 1000")
    )
    flag = instance.folder / "flag"
    instance.job(
        "Flag",
        flag_job(
            flag, hooks="    def onStateChangeSuccess(self):\n        return True"
        ),
    )
    for _round in range(rounds):
        for count in counts:
            smtp.mails.clear()
            flag.unlink(missing_ok=True)
            runs = [
                instance.start("-m", "cron", "-c", "minute", "-d") for _ in range(count)
            ]
            ended = [run.communicate(timeout=60) for run in runs]
            assert {run.returncode for run in runs} == {0}
            assert subjects(smtp) == [FLAG_ALERT]
            turned_away = [err for _out, err in ended if "is in progress since" in err]
            assert all("sent: " not in err for err in turned_away)
            flag.touch()
            assert instance.cron().silent
    measured(f"{rounds * len(counts)} rounds, 1 alert each")


@pytest.mark.long
@pytest.mark.fault("A8", "an earlier run is stuck (stopped)")
def test_a8_a_stuck_run_is_named_and_not_killed(instance):
    begun = instance.folder / "begun"
    instance.job("Slow", job("Slow", f"open({str(begun)!r}, 'w')\ntime.sleep(3)"))
    stuck = instance.start("-m", "cron", "-c", "minute")
    try:
        until(begun.exists)
        os.kill(stuck.pid, signal.SIGSTOP)
        lock = instance.state / "lock"
        began = datetime.now(UTC) - timedelta(minutes=3)
        holder = json.loads(lock.read_text())
        holder["began_at"] = began.isoformat()
        holder["ends_by"] = (began + timedelta(seconds=55)).isoformat()
        with lock.open("r+") as file:
            file.write(json.dumps(holder))
            file.truncate()
        ran = instance.cron()
        assert ran.code == 1
        assert f"a run (process {stuck.pid}) is in progress since" in ran.err
        assert "past its end: is it stopped, or waiting for a disk?" in ran.err
        assert is_running(stuck.pid)
        instance.clock_ahead = timedelta(minutes=3)
        health = instance.run("-m", "status", "--json").json()["health"]
        assert health["word"] == "JobProblem"
        assert health["reason"].startswith("no run has finished")
        instance.clock_ahead = timedelta()
    finally:
        os.kill(stuck.pid, signal.SIGCONT)
        stuck.communicate(timeout=20)
    assert instance.last_run().get("skipped", 0) == 0
    instance.cron()
    assert instance.last_run().get("skipped", 0) == 1


DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open({pid!r}, "w").write(f"{{os.getpid()}} ")
        time.sleep(60)
    os._exit(0)
# It is only a daemon once it has said so.
while not os.path.exists({pid!r}) or not open({pid!r}).read():
    time.sleep(0.01)
return True
"""


@pytest.mark.fault("A9", "a job leaves a daemonised grandchild")
def test_a9_a_daemon_that_a_job_leaves_behind_is_killed_and_named(instance):
    pid = instance.folder / "pid"
    instance.job("Daemon", job("Daemon", DAEMON.format(pid=str(pid)).strip()))
    began = time.monotonic()
    ran = instance.cron("minute", "-d")
    assert (ran.code, time.monotonic() - began < 15) == (0, True)
    until(lambda: pid.exists() and pid.read_text().endswith(" "))
    daemon = int(pid.read_text())
    assert f"a job left process {daemon} (python" in ran.err
    assert not is_running(daemon)
    assert instance.cron().code == 0
    assert instance.last_run().get("skipped", 0) == 0


#: A program whose daemon has nothing of it: no session, no output, no environment.
FORGETFUL = """
setsid env -i sh -c 'echo $$ > "$1"; exec >&- 2>&- sleep 60' - {pid} &
while ! test -s {pid}; do sleep 0.01; done
"""


@pytest.mark.fault("A9", "a job leaves a daemonised grandchild")
@pytest.mark.parametrize("how", ["cron", "run"])
def test_a9_so_is_one_that_the_program_of_a_section_leaves_behind(instance, how):
    pid, program = instance.folder / "pid", instance.folder / "program"
    program.write_text("#!/bin/sh" + FORGETFUL.format(pid=pid))
    program.chmod(0o755)
    instance.add(f"[command forgetful]\ncommand = {program}\n")
    if how == "cron":
        assert instance.cron().code == 0
    else:
        assert instance.run("-m", "run", "command forgetful").code == 0
    assert not is_running(int(pid.read_text()))


@pytest.mark.long
@pytest.mark.fault("A7", "cron catches up: 5 starts at once")
def test_a7_of_a_burst_of_starts_one_judges_and_the_others_end(instance, smtp):
    ran = instance.folder / "ran"
    skipped = instance.state / "skipped"
    # At work until the others have come and gone, however slowly they start.
    body = f"""
open({str(ran)!r}, "a").write("x")
skipped = {str(skipped)!r}
while not os.path.exists(skipped) or open(skipped).read().count("\\n") < 4:
    time.sleep(0.05)
return False
"""
    instance.job("Once", job("Once", body).replace("return 5", "return 50"))
    started = [instance.start("-m", "cron", "-c", "minute") for _ in range(5)]
    for process in started:
        process.communicate(timeout=60)
    assert [process.returncode for process in started] == [0] * 5
    assert ran.read_text() == "x"
    assert len(smtp.wait_for(1)) == 1
    assert instance.cron().code == 0
    assert len(smtp.mails) == 1


@pytest.mark.fault("A12", "reboot with alerts queued")
def test_a12_what_was_queued_before_a_reboot_leaves_with_its_own_time(instance, smtp):
    smtp.answer_data = lambda mail: "451 4.3.0 not now"
    instance.job("Lamp", flag_job(instance.folder / "lamp").replace("Flag", "Lamp"))
    instance.cron()
    assert not smtp.mails
    (record,) = [one for one in instance.records().values() if one.get("queued")]
    born_at = datetime.fromisoformat(record["queued"][0]["born_at"])
    # The machine comes up again: another boot, the processes of before are gone.
    before = instance.state.rename(instance.folder / "disk")
    shutil.copytree(before, instance.state)
    instance.state.chmod(0o700)
    lock = json.loads((instance.state / "lock").read_text() or "{}")
    (instance.state / "lock").write_text(json.dumps({**lock, "boot_id": "another"}))
    instance.let_time_pass_for_mails()
    smtp.answer_data = lambda mail: None
    assert instance.cron().code == 0
    (mail,) = smtp.wait_for(1)
    sent = mail.parsed["Date"].datetime
    assert abs(sent - born_at) < timedelta(seconds=1)
