"""-m status of jobs: the command line, and what it prints."""

from __future__ import annotations

import io

import pytest

from lib.cli import look
from tests.support.instance import NO_MAIL, Instance

SETTINGS = f"""\
{NO_MAIL}
[disk root]
path = /
limit = 100
every = minute
[disk gone]
path = /nowhere
every = minute
"""


@pytest.fixture(scope="module")
def instance(tmp_path_factory):
    instance = Instance(tmp_path_factory.mktemp("look"), SETTINGS)
    instance.cron()
    return instance


def test_named_jobs_are_listed_what_is_failing_first(instance):
    ran = instance.run("-m", "status", "disk*")
    lines = ran.out.splitlines()
    assert (ran.code, ran.err) == (0, "")
    assert lines[0].split("  ")[0] == "job"
    assert [line.split("  ")[0] for line in lines[1:3]] == ["disk gone", "disk root"]
    assert "0.00%" in lines[1] or "-" in lines[1]
    assert "/nowhere does not exist" in lines[1]
    assert lines[3].startswith("Checker: last run ")
    assert len(lines) == 4


def test_a_name_of_no_job_is_said_and_the_others_are_shown(instance):
    ran = instance.run("-m", "status", "disk rot", "disk root")
    assert ran.code == 1
    assert "there is no job 'disk rot'" in ran.err and "disk root" in ran.err
    assert "disk root" in ran.out


def test_a_pipe_is_not_watched(instance):
    ran = instance.run("-m", "status", "--watch")
    assert (ran.code, ran.out) == (1, "")
    assert "it needs a terminal" in ran.err
    assert "--json" in instance.run("-m", "status", "--watch", "--json").err


def test_what_is_watched_is_drawn_again_until_ctrl_c():
    out, drawn, pauses = io.StringIO(), [], []

    def draw():
        drawn.append(1)
        out.write("table")
        return 1

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    assert look.watch(draw, out, pause) == 1
    assert (len(drawn), pauses) == (2, [look.WATCH_S] * 2)
    assert out.getvalue() == "\x1b[2J\x1b[Htable" * 2


@pytest.mark.parametrize(("encoding", "expected"), [("utf-8", False), ("ascii", True)])
def test_bars_are_written_where_they_can_be(encoding, expected):
    assert look.has_no_bars(io.TextIOWrapper(io.BytesIO(), encoding)) is expected
