"""``when`` as people have it: a night outside the window, and the morning after it."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.instance import GENERAL, Instance, flag_job
from tests.support.receiver import Receiver, silent

TO_PAGER = GENERAL.replace("ops@example.com", "pager") + "timezone = UTC\n"


def hours(begin, end):
    """Return a window from and to so many hours from now."""
    now = datetime.now(UTC)
    return "-".join(f"{now + timedelta(hours=one):%H:%M}" for one in (begin, end))


NIGHT, DAY = hours(2, 3), hours(-1, 2)


@pytest.fixture
def receiver():
    with Receiver() as it:
        yield it


@pytest.fixture
def instance(tmp_path, receiver):
    it = Instance(tmp_path, "", TO_PAGER)
    set_hours(it, receiver, NIGHT)
    for name in ("Disk", "Shop"):
        it.job(name, flag_job(tmp_path / name).replace("class Flag", f"class {name}"))
    return it


def set_hours(instance, receiver, when, section=""):
    pager = f"[channel pager]\nwebhook = {receiver.url('/pager')}\ntimeout = 5\n"
    pager += f"when = {when}\n" if when else ""
    instance.write(f"{TO_PAGER}{pager}{section}")


def spend_a_night(instance, receiver):
    """Let both fail outside the window, and one of them be OK again."""
    assert instance.cron().silent
    (instance.folder / "Shop").touch()
    assert instance.cron().silent
    assert receiver.received == []
    instance.pass_time(timedelta(hours=3))
    set_hours(instance, receiver, DAY)


def told(receiver):
    return [
        (request.json["type"], request.json["data"]["subject"])
        for request in receiver.at("/pager")
    ]


@pytest.mark.long
def test_a_night_is_one_line_and_what_is_still_failing_an_alert(instance, receiver):
    spend_a_night(instance, receiver)
    assert instance.cron().silent
    # What is still failing does not wait for the last job of the run.
    alert, catch_up = told(receiver)
    assert alert == ("alert", "Disk is failing: the flag is down")
    assert catch_up[0] == "note"
    assert catch_up[1].startswith("Catch-up: Shop is OK again; it ")
    text = " ".join(receiver.at("/pager")[0].json["data"]["text"].split())
    assert text.startswith(f"Delayed 3 hours: it waited for its window, when = {DAY} ")
    assert instance.cron().silent
    assert len(receiver.received) == 2
    assert not any(record.get("queued") for record in instance.records().values())


@pytest.mark.long
def test_what_waits_for_its_window_is_said_and_is_no_trouble(instance, receiver):
    assert instance.cron().silent
    instance.pass_time(timedelta(minutes=20))
    assert instance.cron().silent
    words = "waits for its window until"
    for mode in (["status"], ["why", "Disk"], ["list"]):
        said = " ".join(instance.run("-m", *mode).out.split())
        assert words in said, said
    status = instance.run("-m", "status").out
    assert "stuck" not in status
    assert "MailProblem" not in status
    data = instance.run("-m", "status", "--json").json()
    assert {one["code"] for one in data["deferred"]["messages"]} == {"window"}
    assert (data["health"]["word"], data["health"]["stuck"]) == ("True", 0)
    assert all(one["until"] for one in data["deferred"]["messages"])


@pytest.mark.long
def test_the_window_of_a_section_is_that_of_its_jobs_as_the_settings_have_it(
    instance, receiver
):
    for section, count in (("Disk", 1), ("Shop", 2)):
        set_hours(instance, receiver, "", f"[job {section}]\nwhen = {NIGHT}\n")
        assert instance.cron().silent
        assert len(receiver.received) == count
    policy = instance.run("-m", "list", "--json").json()
    assert {row["policy"]["when"] for row in policy if row["job"] == "Shop"} == {NIGHT}


def until(happened):
    ends_at = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < ends_at, "it never happened"
        time.sleep(0.02)


@pytest.mark.long
def test_kill_9_between_two_in_the_morning_loses_none_and_changes_none(
    instance, receiver
):
    spend_a_night(instance, receiver)
    receiver.answers["/pager"] = silent
    process = instance.start("-m", "cron", "-c", "minute")
    until(lambda: receiver.at("/pager"))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    receiver.answers.clear()
    instance.let_time_pass_for_mails()
    assert instance.cron().silent
    first, again, other = receiver.at("/pager")
    assert (first.body, first.headers["webhook-id"]) == (
        again.body,
        again.headers["webhook-id"],
    )
    assert {kind for kind, _subject in told(receiver)} == {"note", "alert"}
    assert other.body != first.body
    assert not any(record.get("queued") for record in instance.records().values())


def test_a_test_by_a_person_at_a_terminal_does_not_wait(instance, receiver):
    ran = instance.run("-m", "test", "pager")
    assert (ran.code, len(receiver.received)) == (0, 1)
    assert "outside its window" in ran.out


# Test messages.


def with_proof(instance, receiver, every):
    pager = f"[channel pager]\nwebhook = {receiver.url('/pager')}\nproof = {every}\n"
    instance.write(TO_PAGER.replace("pager", "log") + pager + LOG)


LOG = "[channel log]\ncommand = /bin/true\n"


@pytest.mark.long
@pytest.mark.parametrize("every", ["daily", "weekly", "monthly"])
def test_a_proof_is_sent_once_a_period_even_after_missed_days(
    instance, receiver, every
):
    with_proof(instance, receiver, every)
    # The first one comes at the next such time.
    assert instance.cron().silent
    assert receiver.received == []
    instance.pass_time(timedelta(days=70))
    assert instance.cron().silent
    assert instance.cron().silent
    assert told(receiver) == [("proof", "test 1 of channel pager, nothing is wrong")]
    status = " ".join(instance.run("-m", "status").out.split())
    assert "proof of pager the last one was accepted 20" in status
    assert "number 2 is due 20" in status
    (proof,) = instance.run("-m", "status", "--json").json()["proofs"]
    assert (proof["channel"], proof["number"]) == ("pager", 1)
    assert proof["accepted_at"] < proof["next_at"]
    instance.pass_time(timedelta(days=32))
    assert instance.cron().silent
    assert told(receiver)[1][1] == "test 2 of channel pager, nothing is wrong"


@pytest.mark.long
def test_a_proof_that_fails_is_a_failing_way_and_stands_for_the_next(
    instance, receiver
):
    with_proof(instance, receiver, "daily")
    instance.cron()
    instance.pass_time(timedelta(days=2))
    receiver.answers["/pager"] = 500
    assert "1 message to pager not sent" in instance.cron().err
    assert list(instance.last_run()["failing_ways"]) == ["pager"]
    status = " ".join(instance.run("-m", "status").out.split())
    assert "number 1 was queued, none was accepted yet" in status
    instance.pass_time(timedelta(days=2))
    instance.cron()
    receiver.answers.clear()
    instance.let_time_pass_for_mails()
    instance.cron()
    assert instance.cron().silent
    subjects = {subject for kind, subject in told(receiver) if kind == "proof"}
    assert subjects == {"test 1 of channel pager, nothing is wrong"}
