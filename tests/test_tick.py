"""Runs that a note says have nothing to do; and all that makes a run a whole one."""

from __future__ import annotations

import fcntl
import json
import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from lib import rota, tick
from lib.state import State, last_runs
from tests.instance import NO_MAIL, OWN_JOBS, Instance, flag_job


class Watched(Instance):
    """One whose Python tells on standard error what it loads."""

    def command(self, *arguments):
        python, *rest = super().command(*arguments)
        return [python, "-X", "importtime", *rest]

    def is_whole(self, *arguments):
        """Run; return whether it was more than a tick."""
        ran = self.cron(*arguments or ("minute",))
        assert (ran.code, ran.out) == (0, "")
        return "lib.modes" in ran.err


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """An instance whose next run is a tick."""
    folder = tmp_path_factory.mktemp("idle")
    instance = Watched(folder, NO_MAIL)
    flag = folder / "flag"
    instance.job("Flag", flag_job(flag, frequency="HOUR"))
    flag.touch()
    return instance


@pytest.fixture
def instance(prepared):
    """The same one, brought back to where the next run is a tick."""
    ends_at = time.monotonic() + 30
    while prepared.is_whole():
        assert time.monotonic() < ends_at, "no run was a tick"
        time.sleep(0.2)
    return prepared


def test_a_run_like_the_one_before_is_a_tick_and_leaves_what_a_whole_one_would(
    instance,
):
    began = datetime.now(UTC)
    before = instance.last_run()
    assert not instance.is_whole()
    after = instance.last_run()
    moments = ("began_at", "ended_at", "last_runs", "sum")
    assert {name for name in after if after[name] != before.get(name)} == {*moments}
    # What it wrote is read without a complaint.
    run = State(instance.state).load().run
    assert began <= run.began_at <= run.ended_at <= datetime.now(UTC)
    assert {each.value for each in last_runs(run)} == {"minute"}
    assert run.jobs == 1 + len(OWN_JOBS)


def test_a_tick_is_quick(instance):
    began = time.monotonic()
    instance.is_whole()
    assert time.monotonic() - began < 2


def touch_a_job(instance):
    (instance.jobs / "Flag.py").touch()


def add_a_job(instance):
    instance.job("Other", flag_job(instance.folder / "flag").replace("Flag", "Other"))


def change_the_settings(instance):
    instance.add("\n")


def change_a_mode(instance):
    instance.jobs.chmod(0o750)
    instance.jobs.chmod(0o755)


def edit_the_last_hour(instance):
    late = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    instance.mend(lambda run: run["last_runs"].update(hour=late), "run.json")


def lose_the_catalogue(instance):
    (instance.state / "catalogue.json").unlink()


def leave_something_half_written(instance):
    (instance.state / ".run.json.0123abcd.tmp").write_text("x")


def skip_a_run(instance):
    (instance.state / "skipped").write_text(f"{datetime.now(UTC).isoformat()}\n")


def put_a_record_there(instance):
    (instance.state / "jobs").mkdir(mode=0o700, exist_ok=True)
    (instance.state / "jobs" / "flag-0123456789.json").write_text("{}")


def lose_a_note_of_the_outbox(instance):
    (instance.state / "outbox.json").write_text("{}")


def damage_the_note(instance):
    path = instance.state / "idle"
    path.write_bytes(path.read_bytes()[:-30] + b"x" * 30)


def cut_the_note_off(instance):
    path = instance.state / "idle"
    path.write_bytes(path.read_bytes()[:50])


def let_the_note_be_over(instance):
    path = instance.state / "idle"
    title, _sum, since, _until, rest = path.read_text().split("\n", 4)
    rest = "\n".join((since, str(time.time()), rest))
    path.write_text("\n".join((title, tick.digest(rest), rest)))


def end_in_the_future(instance):
    later = (datetime.now(UTC) + timedelta(hours=3)).isoformat()
    instance.mend(lambda run: run.update(ended_at=later), "run.json")


@pytest.mark.parametrize(
    "change",
    [
        touch_a_job,
        edit_the_last_hour,
        lose_the_catalogue,
        leave_something_half_written,
        skip_a_run,
        damage_the_note,
        cut_the_note_off,
        let_the_note_be_over,
        end_in_the_future,
    ],
)
def test_whatever_changed_the_next_run_is_a_whole_one(instance, change):
    change(instance)
    assert instance.is_whole()


@pytest.mark.parametrize(
    "change",
    [
        touch_a_job,
        add_a_job,
        change_the_settings,
        change_a_mode,
        lose_the_catalogue,
        leave_something_half_written,
        skip_a_run,
        put_a_record_there,
        lose_a_note_of_the_outbox,
    ],
)
def test_any_change_shows(tmp_path, change):
    instance = Instance(tmp_path, NO_MAIL)
    instance.job("Flag", "")
    (instance.state / "catalogue.json").write_text("{}")

    def facts():
        paths = [str(instance.settings), str(instance.jobs)]
        return tick.looked_at(str(instance.state), paths, ["-m", "cron"])[0]

    before = facts()
    assert facts() == before
    time.sleep(0.02)
    change(instance)
    assert facts() != before


def test_run_json_that_is_missing_is_for_a_whole_run(instance):
    (instance.state / "run.json").unlink()
    assert instance.is_whole()


@pytest.mark.parametrize(
    "arguments",
    [("hour",), ("minute", "-v"), ("minute", "--nomail")],
)
def test_another_order_is_a_whole_run(instance, arguments):
    assert instance.is_whole(*arguments)


def test_a_tick_that_finds_a_run_at_work_is_counted_as_skipped(instance):
    descriptor = os.open(instance.state / "lock", os.O_RDWR)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        holder = {
            "pid": os.getpid(),
            "ends_by": (datetime.now(UTC) + timedelta(minutes=1)).isoformat(),
        }
        # Any other descriptor that is closed would drop the lock.
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        assert instance.is_whole()
    finally:
        os.close(descriptor)
    assert (instance.state / "skipped").exists()


def test_with_a_job_each_minute_there_is_no_tick(tmp_path):
    instance = Watched(tmp_path, NO_MAIL)
    (tmp_path / "flag").touch()
    instance.job("Flag", flag_job(tmp_path / "flag"))
    time.sleep(rota.SETTLED_AFTER_S + 0.1)
    assert [instance.is_whole() for _ in range(3)] == [True] * 3
    assert not (instance.state / "idle").exists()


def test_while_something_is_owed_there_is_no_tick(tmp_path):
    instance = Watched(tmp_path, "[disk full]\npath = /\nlimit = 1\n")
    time.sleep(rota.SETTLED_AFTER_S + 0.1)
    instance.cron("hour")
    assert [instance.is_whole() for _ in range(2)] == [True] * 2


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        ("-m cron -c minute", "/here/state"),
        ("-m cron -c minute -f /x/settings.cfg --state /y", "/y"),
        ("-m cron -c minute --jobs /a --jobs /b", "/here/state"),
        ("-m cron -c hour", ""),
        ("-m cron -c minute -v", ""),
        ("-m cron -c minute --state", ""),
        ("-c minute -m cron", ""),
        ("", ""),
    ],
)
def test_only_the_plain_order_can_be_a_tick(arguments, folder):
    assert tick.state_folder(arguments.split(), "/here") == folder


def test_a_moment_is_written_as_everywhere_else():
    for seconds in (0.0, 1795388083.240577, 1795388083.999999, 1795388084.0):
        text = tick.moment(seconds)
        assert len(text) == len(tick.BEGAN)
        found = datetime.fromisoformat(text).timestamp()
        assert found == pytest.approx(seconds, abs=2e-6)
