"""First alerts are never late: drawn histories against a model, and what it catches."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.faults import promise_play
from tests.faults.mutants import Planted
from tests.faults.promise_world import History, JobStory, World
from tests.faults.table import LONG, measured, seed

EXAMPLES = 5000 if LONG else 5
#: So many histories show each planted fault.
CATCH_WITHIN = 150
OPS = ("ops@x.org",)


@pytest.mark.fault("X8", "model: first alerts among noise, storms and outages")
def test_no_first_alert_or_its_recovery_is_late():
    seen = promise_play.play(EXAMPLES, seed())
    measured(
        f"{seen['histories']:,} histories, {seen['queued']:,} messages, "
        f"{seen['kills']} runs killed: the longest wait {seen['longest_s']} s"
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("noise", "most_minutes"), [(1, 0), (20, 5)], ids=["one flaps", "twenty flap"]
)
def test_a_disk_that_fills_among_noise_is_told_of_in_time(
    tmp_path, noise, most_minutes
):
    flaps = [
        JobStory(f"job{number}x", OPS, frozenset(range(0, 40, 2)))
        for number in range(noise)
    ]
    disk = JobStory("job99x", OPS, frozenset(range(33, 37)))
    model = World(tmp_path, History((*flaps, disk), 45)).play()
    assert model.faults == []
    waits = [
        model.left_at[one.message_id] - one.at
        for one in model.queued
        if one.job == "job99x"
    ]
    # Its end waits for the next bundle.
    assert waits[0] <= timedelta(minutes=most_minutes, seconds=5)
    assert waits[1] <= timedelta(minutes=5, seconds=5)


def test_what_killed_runs_were_sending_leaves_soon_once_mail_leaves_again(tmp_path):
    first = JobStory("job1x", OPS, frozenset(range(3, 40)))
    second = JobStory("job2x", OPS, frozenset(range(13, 40)))
    kills = dict.fromkeys(range(3, 13), 0)
    model = World(tmp_path, History((first, second), 40, kills=kills)).play()
    assert model.faults == []


#: What is planted: its name, where, what instead of what.
WRONG = [
    Planted(name, file, ((old, new),))
    for name, file, old, new in (
        (
            "bundles each 15 minutes",
            "lib/core/ratelimit.py",
            "QUIET = timedelta(minutes=5)\n",
            "QUIET = timedelta(minutes=15)\n",
        ),
        (
            "after a bundle first alerts wait as well",
            "lib/alerting/planning.py",
            "        if not self._progress.jobs_done:\n"
            "            # The bundle before",
            "        if True:\n            # The bundle before",
        ),
        (
            "first alerts keep to the limits",
            "lib/alerting/planning.py",
            "        if promised and may_bundle:\n",
            "        if False:\n",
        ),
        (
            "recoveries keep to the limits",
            "lib/alerting/planning.py",
            "        return is_over and not _begins",
            "        return False and not _begins",
        ),
        (
            "a back-off that grows",
            "lib/core/ratelimit.py",
            "OUTAGE_RETRY_AFTER = (1, 2, 4)",
            "OUTAGE_RETRY_AFTER = (1, 2, 4, 30)",
        ),
        (
            "after an outage not all are due",
            "lib/alerting/bookkeeping.py",
            "            self._session.keep(policy.all_due(record, self._way))\n",
            "            pass\n",
        ),
        (
            "what may have been accepted is merged",
            "lib/alerting/queue.py",
            "        if message.in_doubt and",
            "        if False and",
        ),
        (
            "nothing says that it is late",
            "lib/alerting/planning.py",
            "        if late > ratelimit.PROMISE:\n",
            "        if late > 100 * ratelimit.PROMISE:\n",
        ),
        (
            "an alert leaves before its job is judged",
            "lib/alerting/planning.py",
            "        if self._progress.jobs_done or began_at is None:\n",
            "        if True:\n",
        ),
        (
            "mails are not counted",
            "lib/core/ratelimit.py",
            "    return replace(send_log, counted=(*others, *mails))\n",
            "    return replace(send_log, counted=(*others, *mails)[:1])\n",
        ),
        (
            "a bundle leaves out a name",
            "lib/alerting/planning.py",
            "[entries[place] for place in part],\n",
            "[entries[place] for place in part][:2],\n",
        ),
        (
            "an alert counts as first again at once",
            "lib/core/ratelimit.py",
            "notified=(*others, *notified)[-MAX_NOTIFIED:])\n",
            "notified=())\n",
        ),
    )
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda one: one.name)
def test_what_is_wrong_can_be_planted(wrong):
    compile(wrong.text(), wrong.file, "exec")


if LONG:

    @pytest.mark.fault("X8", "model of first alerts: a wrong rule is found")
    @pytest.mark.parametrize("wrong", WRONG, ids=lambda one: one.name)
    def test_what_is_wrong_is_found(tmp_path, wrong):
        program = wrong.plant(tmp_path)
        words = [sys.executable, "-m", "tests.faults.promise_play"]
        ran = subprocess.run(
            [*words, str(CATCH_WITHIN), str(seed()), str(program)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 1, f"nobody notices: {wrong.name}: {ran.stdout}"
        assert "AssertionError" in ran.stderr, ran.stderr[-2000:]
        measured(wrong.name)
