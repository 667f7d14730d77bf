"""The program as cron starts it, against real servers: who hears what, and when."""

from __future__ import annotations

import json
import signal
import socket
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.approved import REAL
from tests.support.instance import GENERAL, NO_MAIL, Instance, flag_job
from tests.support.servers import PASSWORD
from tests.support.waits import until

DISK = "[disk root]\npath = /\nlimit = 100\nevery = minute\n"
FULL = "[disk full]\npath = /\nlimit = 1\nevery = minute\n"


@pytest.fixture
def instance(tmp_path):
    return Instance(tmp_path)


# Silence.


def test_a_healthy_run_says_nothing_and_remembers_nothing_of_its_jobs(instance):
    instance.add(DISK)
    assert instance.cron().silent
    assert instance.records() == {}
    assert not (instance.state / "checker.log").exists()


@pytest.mark.long
def test_a_healthy_job_costs_no_write_but_the_runs_own(instance):
    instance.add(DISK)
    catalog = instance.state / "catalog.json"
    # Until the settings, just written, count as settled: then each file has its mark.
    until(lambda: instance.cron().silent and '"mark"' in catalog.read_text())
    before = sorted(path.name for path in instance.state.iterdir())
    written = catalog.stat().st_mtime_ns
    instance.cron()
    assert sorted(path.name for path in instance.state.iterdir()) == before
    assert catalog.stat().st_mtime_ns == written


@pytest.mark.long
def test_what_a_job_says_though_it_is_ok_is_seen_until_it_says_it_no_more(instance):
    program = instance.folder / "program"
    program.write_text("#!/bin/sh\necho no state file >&2\necho OK\n")
    program.chmod(0o755)
    instance.add(f"[plugin log]\ncommand = {program}\n")
    assert instance.cron().code == 0
    note = "on standard error: no state file"
    assert f"  {note}\n" in instance.run("-m", "list").out
    assert f"OK: {note}\n" in instance.run("-m", "why", "plugin log").out
    assert "plugin log; -m list shows it" in instance.run("-m", "status").out
    rows = {row["job"]: row for row in instance.run("-m", "list", "--json").json()}
    assert rows["plugin log"]["note"] == note
    assert rows["EmailChecker"]["note"] == ""
    program.write_text("#!/bin/sh\necho OK\n")
    assert instance.cron().code == 0
    for mode in (["list"], ["why", "plugin log"], ["status"]):
        assert "standard error" not in instance.run("-m", *mode).out
        assert "shows it" not in instance.run("-m", *mode).out


# Alerts.


def test_a_problem_is_reported_once_and_its_end_to_those_who_heard_it(
    mailing, smtp, tmp_path, approved
):
    flag = tmp_path / "flag"
    mailing.job("Flag", flag_job(flag))
    assert [mailing.cron().code for _ in range(3)] == [0, 0, 0]
    (alert,) = smtp.wait_for(1)
    approved(alert.subject, "subject", hide=REAL)
    assert alert.to == ("ops@example.com",)
    flag.touch()
    assert mailing.cron().silent
    _, recovery = smtp.wait_for(2)
    approved(recovery.subject, "subject 2", hide=REAL)
    approved(recovery.body, "body", hide=REAL)
    assert "failures:  3" in recovery.body
    assert recovery.parsed["References"] == alert.parsed["Message-ID"]
    assert mailing.troubled() == {}


@pytest.mark.long
def test_a_recovery_goes_to_those_who_got_the_alert_though_the_contact_changed(
    mailing, smtp, tmp_path
):
    flag = tmp_path / "flag"
    mailing.job("Flag", flag_job(flag))
    mailing.cron()
    mailing.write(mailing.settings.read_text().replace("ops@", "new@"))
    flag.touch()
    mailing.cron()
    assert [mail.to for mail in smtp.wait_for(2)] == [("ops@example.com",)] * 2


def test_an_alert_that_could_not_leave_goes_out_once_when_mail_is_back(
    mailing, smtp, tmp_path, approved
):
    mailing.job("Flag", flag_job(tmp_path / "flag"))
    smtp.answer_data = lambda mail: "451 4.7.1 greylisted, come back"
    ran = mailing.cron()
    assert ran.code == 0
    approved(ran.err, hide=REAL)
    assert "greylisted" in ran.err
    assert smtp.mails == []
    assert mailing.records()["Flag"]["queued"][0]["attempts"] == 1
    # Not before its time: no hammering, and no word about it each minute.
    assert mailing.cron().silent
    smtp.answer_data = lambda mail: None
    mailing.let_time_pass_for_mails()
    assert mailing.cron().silent
    assert mailing.cron().silent
    assert len(smtp.wait_for(1)) == 1


@pytest.mark.long
def test_a_repeated_mail_is_the_same_mail(mailing, smtp, tmp_path):
    mailing.job("Flag", flag_job(tmp_path / "flag"))
    smtp.answer_data = lambda mail: "451 4.3.0 not now"
    mailing.cron()
    before = mailing.records()["Flag"]["queued"][0]
    smtp.answer_data = lambda mail: None
    mailing.let_time_pass_for_mails()
    mailing.cron()
    (mail,) = smtp.wait_for(1)
    assert before["message_id"] in mail.parsed["Message-ID"]


@pytest.mark.long
def test_an_alert_and_its_end_that_both_waited_are_one_mail(
    mailing, smtp, tmp_path, approved
):
    flag = tmp_path / "flag"
    mailing.job("Flag", flag_job(flag))
    smtp.answer_data = lambda mail: "451 4.3.0 not now"
    mailing.cron()
    flag.touch()
    smtp.answer_data = lambda mail: None
    # The recovery is new and may go at once; the alert waits for its next attempt.
    mailing.cron()
    assert smtp.mails == []
    mailing.let_time_pass_for_mails()
    assert mailing.cron().silent
    (mail,) = smtp.wait_for(1)
    approved(mail.subject, "subject", hide=REAL)
    approved(mail.body, "body", hide=REAL)
    assert "451 4.3.0 not now" in mail.body
    assert mailing.troubled() == {}


def test_many_mails_go_in_one_session(mailing, smtp):
    for number in range(5):
        mailing.add(FULL.replace("full", f"full{number}"))
    assert mailing.cron().silent
    assert len(smtp.wait_for(5)) == 5
    assert smtp.sessions == 1


def test_where_mail_is_not_set_up_a_queued_alert_is_an_error(tmp_path, approved):
    instance = Instance(tmp_path, FULL)
    ran = instance.cron()
    assert ran.code == 0
    approved(ran.err, hide=REAL)
    assert len(instance.records()["disk full"]["queued"]) == 1


def test_nomail_writes_the_whole_mail_into_the_log(instance, approved):
    instance.add(FULL)
    assert instance.cron().silent
    log = (instance.state / "checker.log").read_text()
    approved(log, hide=REAL)
    instance.cron()
    assert (instance.state / "checker.log").read_text() == log


def test_the_flag_nomail_sends_nothing(mailing, smtp, approved):
    mailing.add(FULL)
    ran = mailing.cron("minute", "--nomail", "-d")
    approved(ran.err, hide=REAL)
    assert "Subject" not in mailing.cron("minute", "--nomail", "-d").err
    assert smtp.mails == []


def test_what_was_only_shown_with_the_flag_nomail_is_still_queued(mailing, smtp):
    mailing.add(FULL)
    mailing.cron("minute", "--nomail")
    assert len(mailing.records()["disk full"]["queued"]) == 1
    assert mailing.cron().silent
    assert len(smtp.wait_for(1)) == 1


def test_v_logs_a_line_per_job_with_its_decision(instance, approved):
    instance.add(DISK + FULL)
    assert instance.cron("minute", "-v").silent
    log = (instance.state / "checker.log").read_text()
    assert "INFO disk root: OK\n" in log
    lines = [line for line in log.splitlines() if "INFO disk full" in line]
    approved(lines, hide=REAL)


# Job files and sections that are wrong.


@pytest.mark.long
def test_a_broken_job_file_alerts_once_the_others_run_and_it_recovers(
    mailing, smtp, tmp_path, approved
):
    flag = tmp_path / "flag"
    flag.touch()
    mailing.job("Flag", flag_job(flag))
    broken = mailing.job("Broken", "import no_such_module\n")
    assert [mailing.cron().silent for _ in range(3)] == [True] * 3
    (alert,) = smtp.wait_for(1)
    # How much of it there is room for depends on the folder's name.
    approved(alert.subject, "subject", hide={"FOLDER/.*": "FOLDER/..."})
    assert "No module named 'no_such_module'" in alert.body
    assert mailing.last_run()["ran"] == 2
    broken.write_text(flag_job(flag).replace("Flag", "Broken"))
    mailing.cron()
    approved(smtp.wait_for(2)[1].subject, "subject 2", hide=REAL)


@pytest.mark.long
def test_a_broken_job_file_that_is_removed_is_closed(mailing, smtp, approved):
    broken = mailing.job("Broken", "(")
    mailing.cron()
    broken.unlink()
    # Minutes later no file is loaded: the folder had time to settle.
    mailing.clock_ahead = timedelta(minutes=2)
    mailing.cron()
    assert len(smtp.mails) == 1
    mailing.clock_ahead = timedelta(minutes=3)
    mailing.cron()
    approved(smtp.wait_for(2)[1].subject, hide=REAL)


@pytest.mark.long
def test_a_wrong_section_is_a_failing_job_of_its_name_and_the_rest_runs(
    mailing, smtp, approved
):
    mailing.add(DISK + "[http home]\nurll = http://127.0.0.1/\n[htpp x]\nurl = x\n")
    assert mailing.cron().code == 0
    mailing.cron()
    subjects = sorted(mail.subject for mail in smtp.wait_for(2))
    approved(subjects[0], "1", hide=REAL)
    approved(subjects[1], "2", hide=REAL)
    assert len(smtp.mails) == 2
    text = mailing.settings.read_text()
    with socket.create_server(("127.0.0.1", 0)):
        mailing.write(text.replace("urll", "url").replace("[htpp x]\nurl = x\n", ""))
        mailing.cron()
        mailing.cron()
    approved(smtp.wait_for(3)[2].subject, "subject", hide=REAL)


def test_settings_that_make_a_run_impossible_stop_it_with_every_problem(
    tmp_path, approved
):
    instance = Instance(tmp_path, "[email]\nsmtpport = x\n", general="[general]\n")
    ran = instance.cron()
    assert (ran.code, ran.out) == (1, "")
    approved(ran.err, hide=REAL)
    assert not (instance.state / "run.json").exists()


def test_missing_settings_name_the_way_out(tmp_path, approved):
    instance = Instance(tmp_path)
    instance.settings.unlink()
    ran = instance.cron()
    assert ran.code == 1
    approved(ran.err, hide=REAL)


# Due.


@pytest.fixture
def counting(instance):
    """One job of each frequency; ``ran`` tells which ran since it was last asked."""
    trace = instance.folder / "trace"
    for frequency in ("MINUTE", "HOUR", "DAY", "DAY_NOON"):
        name = frequency.title().replace("_", "")
        note = f"open({str(trace)!r}, 'a').write('{frequency.lower()} ') and True"
        text = flag_job(trace).replace("Flag", name).replace("MINUTE", frequency)
        text = text.split("        if not")[0] + f"        return bool({note})\n"
        instance.job(name, text)

    def ran():
        found = sorted(trace.read_text().split()) if trace.exists() else []
        trace.unlink(missing_ok=True)
        return found

    return instance, ran


@pytest.mark.parametrize(
    ("ordered", "runs"),
    [
        ("minute", ["minute"]),
        ("hour", ["hour", "minute"]),
        ("day", ["day", "hour", "minute"]),
        ("day_noon", ["day_noon", "hour", "minute"]),
    ],
)
def test_an_order_runs_the_jobs_of_its_frequencies(counting, ordered, runs):
    instance, ran = counting
    # The first run of all runs each job once.
    assert instance.cron(ordered).silent
    assert ran() == ["day", "day_noon", "hour", "minute"]
    assert instance.cron(ordered).silent
    assert ran() == runs
    assert instance.cron(ordered).silent
    assert ran() == runs, "an order is an order, however soon it comes again"


@pytest.mark.long
def test_a_missed_hour_is_caught_up_once(counting):
    instance, ran = counting
    instance.cron("hour")
    ran()
    late = (datetime.now(UTC) - timedelta(minutes=67)).isoformat()
    instance.mend(lambda run: run["last_runs"].update(hour=late), "run.json")
    instance.cron()
    assert ran() == ["hour", "minute"]
    instance.cron()
    assert ran() == ["minute"]


@pytest.mark.long
def test_a_job_under_way_is_asked_again_in_the_next_minute_run(instance):
    instance.job(
        "Slow",
        flag_job(instance.folder / "x", frequency="DAY")
        .replace("Flag", "Slow")
        .split("        if not")[0]
        + "        self.memory['asked'] = self.memory.get('asked', 0) + 1\n"
        "        if self.memory['asked'] < 3:\n"
        "            raise CheckPending('not yet')\n"
        "        raise CheckFailed(f\"asked {self.memory['asked']} times\")\n",
    )
    instance.cron("day")
    instance.cron("minute")
    instance.cron("minute")
    assert instance.records()["Slow"]["last_reason"] == "asked 3 times"
    instance.cron("minute")
    assert instance.records()["Slow"]["memory"] == {"asked": 3}


# Overlap.


def test_a_run_that_finds_another_at_work_ends_at_once_and_is_counted(
    instance, approved
):
    over = instance.folder / "over"
    instance.job(
        "Slow",
        flag_job(instance.folder / "x").replace("Flag", "Slow").split("        if")[0]
        + "        import os, time\n"
        + f"        while not os.path.exists({str(over)!r}): time.sleep(0.05)\n"
        + "        return True\n",
    )
    first = instance.start("-m", "cron", "-c", "minute")
    lock = instance.state / "lock"
    until(lambda: lock.exists() and lock.read_text())
    second = instance.cron("minute", "-v")
    assert first.poll() is None, "it waited for the first one's end"
    over.touch()
    assert second.silent
    approved((instance.state / "checker.log").read_text(), hide=REAL)
    assert first.communicate(timeout=20) == ("", "")
    instance.cron()
    assert instance.last_run()["skipped"] == 1


@pytest.mark.long
def test_a_run_that_finds_one_past_its_end_says_so(instance, approved):
    instance.job(
        "Slow",
        flag_job(instance.folder / "x").replace("Flag", "Slow").split("        if")[0]
        + "        import time; time.sleep(30); return True\n",
    )
    first = instance.start("-m", "cron", "-c", "minute")
    lock = instance.state / "lock"
    until(lambda: lock.exists() and lock.read_text())
    first.send_signal(signal.SIGSTOP)
    try:
        holder = json.loads(lock.read_text())
        holder["ends_by"] = (datetime.now(UTC) - timedelta(minutes=3)).isoformat()
        lock.write_text(json.dumps(holder))
        ran = instance.cron()
        assert ran.code == 1
        approved(ran.err, hide=REAL)
    finally:
        first.send_signal(signal.SIGCONT)
        first.terminate()
        assert first.wait(timeout=5) == 0
        first.communicate()


# State that cannot be used.


def test_a_missing_state_folder_is_an_error_that_names_the_mkdir(instance):
    instance.state.rmdir()
    ran = instance.cron()
    assert ran.code == 1
    assert f"mkdir -m 700 -p {instance.state}" in ran.err


def test_a_state_folder_that_cannot_be_written_is_an_error(instance, approved):
    instance.state.chmod(0o500)
    ran = instance.cron()
    assert ran.code == 1
    approved(ran.err, hide=REAL)


@pytest.mark.long
def test_a_damaged_record_is_unknown_and_reported_in_one_mail(
    mailing, smtp, tmp_path, approved
):
    mailing.job("Flag", flag_job(tmp_path / "flag"))
    mailing.add(FULL)
    mailing.cron()
    smtp.wait_for(2)
    for path in (mailing.state / "jobs").iterdir():
        path.write_bytes(path.read_bytes()[:-20])
    mailing.cron()
    mailing.cron()
    mails = smtp.wait_for(5)
    assert len(mails) == 5
    summary = [mail for mail in mails if "lost or damaged" in mail.subject]
    assert len(summary) == 1
    approved(summary[0].subject, hide=REAL)
    assert len(list((mailing.state / "quarantine").iterdir())) == 2


@pytest.mark.long
def test_the_older_programs_state_is_taken_over_once(mailing, smtp, tmp_path, approved):
    flag = tmp_path / "flag"
    old = mailing.folder / "statefile"
    text = flag_job(flag).replace("from lib.jobbase import *", "from . import JobBase")
    text = text.replace("(JobBase)", "(JobBase.JobBase)").replace(
        "JobFrequency.", "JobBase.JobFrequency."
    )
    text = text.replace('raise CheckFailed("the flag is down")', "return False")
    mailing.job("Flag", text)
    import base64

    name = base64.b64encode(b"<class 'jobs.Flag.Flag'>|").decode()
    since = time.time() - 3600
    old.write_text(f"{name}|Failing|{since}|{since}|{name}|7\n")
    mailing.write(
        mailing.settings.read_text().replace(
            "[email]", f"statefile = {old}\n[email]", 1
        )
    )
    assert mailing.cron().silent
    assert smtp.mails == [], "the older program told of it"
    assert mailing.records()["Flag"]["failures"] == 8
    flag.touch()
    mailing.cron()
    (recovery,) = smtp.wait_for(1)
    approved(recovery.subject, hide=REAL)
    mailing.cron()
    assert mailing.troubled() == {}
    # What the file says may have been overtaken since.
    (mailing.state / "run.json").write_text("damaged")
    mailing.cron("minute", "-v")
    log = (mailing.state / "checker.log").read_text()
    assert f"{old} is not read again: run.json was lost" in log
    assert mailing.troubled() == {}


# Secrets.


def test_no_secret_is_in_any_output(mailing, smtp, tmp_path):
    mailing.add(
        "[http secret]\nurl = http://joe:canary-4711@127.0.0.1:1/?q\n"
        "[http worse]\nurl = http://joe:canary-4711@127.0.0.1:1 /\n"
    )
    mailing.job(
        "Flag",
        flag_job(tmp_path / "flag").replace(
            "the flag is down", f"{PASSWORD} and canary-4711"
        ),
    )
    ran = [mailing.cron("minute", "-v"), mailing.cron("minute", "-d")]
    ran += [mailing.run("-m", mode) for mode in ("list", "validate")]
    ran += [mailing.run("-m", "run", "*"), mailing.run("-m", "testmail")]
    written = mailing.everything_written()
    mails = "\n".join(mail.subject + mail.body for mail in smtp.wait_for(3))
    for text in (written, mails, *(one.out + one.err for one in ran)):
        assert "canary-4711" not in text
        assert PASSWORD not in text


def test_general_and_nomail_are_enough_for_a_run(tmp_path):
    assert Instance(tmp_path, NO_MAIL, general=GENERAL).cron().silent


# A section that is disabled.


@pytest.mark.long
def test_a_failing_section_that_is_disabled_is_closed_and_fails_no_more(mailing, smtp):
    mailing.add(FULL)
    assert mailing.cron().silent
    mailing.add("enabled = no\n")
    for _ in range(2):
        assert mailing.cron().silent
    _alert, closing = smtp.mails
    assert "disk full is no longer checked; it was failing since" in closing.subject
    assert mailing.records() == {}
    (row,) = mailing.listed()
    assert (row["status"], row["failing_since"], row["failures"]) == (
        "disabled",
        None,
        0,
    )
    assert "it is disabled; it was failing" in mailing.run("-m", "why", "disk full").out
    # When it is checked again, that is a first alert.
    mailing.write(mailing.settings.read_text().replace("enabled = no\n", ""))
    assert mailing.cron().silent
    assert "disk full is failing" in smtp.mails[-1].subject and len(smtp.mails) == 3


# A section that is renamed.


def renamed(instance, old, new, **options):
    """Rename a section, with the option that keeps its history."""
    text = instance.settings.read_text()
    more = "".join(f"{name} = {value}\n" for name, value in options.items())
    text = text.replace(f"[disk {old}]\n", f"[disk {new}]\nwas = {old}\n{more}")
    instance.write(text)


@pytest.mark.long
def test_a_failing_section_that_is_renamed_is_not_alerted_again(mailing, smtp):
    mailing.add(FULL)
    assert mailing.cron().silent
    first = smtp.wait_for(1)[0]
    renamed(mailing, "full", "root", contact="new@example.com")
    for _ in range(2):
        assert mailing.cron().silent
    assert len(smtp.mails) == 1
    assert list(mailing.records()) == ["disk root"]
    assert mailing.records()["disk root"]["failures"] == 3
    mailing.write(mailing.settings.read_text().replace("limit = 1\n", "limit = 100\n"))
    assert mailing.cron().silent
    alert, recovery = smtp.mails
    assert "disk root is OK again" in recovery.subject
    # It goes to those who were notified before, in the thread of the alert.
    assert recovery.to == first.to
    assert alert.parsed["Message-ID"] in recovery.parsed["References"]
    assert mailing.troubled() == {}
    entries = (mailing.state / "decisions.log").read_text()
    assert entries.count("job_renamed") == 1
    said = mailing.run("-m", "why", "disk root")
    assert "job_renamed" in said.out and "it was 'disk full' before" in said.out
    (story,) = mailing.run("-m", "why", "disk root", "--json").json()
    codes = [entry["code"] for entry in story["decisions"]]
    # What was decided under the old name comes first.
    assert codes.index("first_alert") < codes.index("job_renamed")
    assert codes.index("job_renamed") < codes.index("recovery")


@pytest.mark.long
def test_a_mail_that_is_queued_when_its_section_is_renamed_leaves_once(mailing, smtp):
    mailing.add(FULL)
    smtp.answer_data = lambda mail: "451 4.3.0 not now"
    mailing.cron()
    smtp.answer_data = lambda mail: None
    renamed(mailing, "full", "root")
    mailing.let_time_pass_for_mails()
    for _ in range(3):
        assert mailing.cron().silent
    assert len(smtp.mails) == 1
    assert list(mailing.records()) == ["disk root"]


@pytest.mark.long
def test_a_name_that_another_section_has_by_now_is_not_taken_from_it(mailing, smtp):
    mailing.add(DISK.replace("root", "new") + "was = full\n" + FULL)
    for _ in range(2):
        assert mailing.cron().silent
    assert list(mailing.records()) == ["disk full"]
    assert len(smtp.mails) == 1


@pytest.mark.long
def test_a_renamed_section_whose_record_is_lost_is_unknown_until_it_ran(mailing, smtp):
    mailing.add(FULL)
    mailing.cron()
    (record,) = (mailing.state / "jobs").iterdir()
    record.write_bytes(b"")
    renamed(mailing, "full", "root")
    assert mailing.cron().silent
    alerts = [mail.subject for mail in smtp.mails if "is failing" in mail.subject]
    # It is alerted once more, for nobody knows who was notified.
    assert [alert.split(": ")[0] for alert in alerts] == [
        "[web1] disk full is failing",
        "[web1] disk root is failing",
    ]
    mailing.cron()
    assert len(smtp.mails) == 3
