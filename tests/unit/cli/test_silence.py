"""-m mute, unmute and ack, as a person types them; the runs are those of cron."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from lib.cli.silence import until_of, who_asks
from lib.core.silences import MAX_MUTE, MAX_MUTES, Mute, Scope
from lib.storage import inbox
from tests.support.approved import REAL
from tests.support.instance import NO_MAIL, Instance, flag_job

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OK = "[disk root]\npath = /\nlimit = 100\nevery = minute\ntags = base\n"
LENGTH = timedelta(hours=2)
LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def instance(tmp_path):
    """Return an instance with a job that is OK, and Flag, which a run found failing."""
    instance = Instance(tmp_path, NO_MAIL + OK)
    instance.job("Flag", flag_job(tmp_path / "flag"))
    assert instance.cron().code == 0
    return instance


def typed(instance, *words):
    """Return exit code, what was said, and what was complained of."""
    ran = instance.run("-m", *words)
    return ran.code, ran.out, ran.err


# Until when.


@pytest.mark.parametrize(
    ("length", "until", "end"),
    [
        ("2h", None, NOON + LENGTH),
        ("90min", None, NOON + timedelta(minutes=90)),
        ("30d", None, NOON + MAX_MUTE),
        # The next time it is so late, in the zone of the settings.
        (None, "18:00", NOON + timedelta(hours=5)),
        (None, "6:00", NOON + timedelta(hours=17)),
        # It is 13:00 there.
        (None, "13:00", NOON + timedelta(days=1)),
        (None, "13:01", NOON + timedelta(minutes=1)),
        (None, "2026-12-01 06:00", datetime(2026, 12, 1, 5, tzinfo=UTC)),
        (None, "2026-12-01T06:00Z", datetime(2026, 12, 1, 6, tzinfo=UTC)),
    ],
)
def test_a_mute_has_a_length_or_an_end(length, until, end):
    assert until_of(length, until, ZoneInfo("Europe/Berlin"), NOON) == end


@pytest.mark.parametrize(
    ("length", "until"),
    [
        (None, None),
        ("2h", "06:00"),
        ("ever", None),
        ("2", None),
        ("40d", None),
        ("-1h", None),
        ("pass=hunter", None),
        (None, "25:00"),
        (None, "tonight"),
        (None, "0 2 * * *"),
        (None, "2026-11-22 12:59"),
        (None, "2027-11-22 12:00"),
        (None, ""),
    ],
)
def test_a_mute_without_an_end_says_what_to_type_in_its_place(length, until, approved):
    with pytest.raises(ValueError) as caught:
        until_of(length, until, ZoneInfo("Europe/Berlin"), NOON)
    approved(str(caught.value))
    assert "hunter" not in str(caught.value)


def test_in_the_night_of_an_odd_hour_a_mute_ends_at_the_next_such_time():
    berlin = ZoneInfo("Europe/Berlin")
    # 02:30 twice: by now it was once.
    between = datetime(2027, 10, 31, 1, 0, tzinfo=UTC)
    next_night = datetime(2027, 11, 1, 1, 30, tzinfo=UTC)
    assert until_of(None, "02:30", berlin, between) == next_night
    # 02:30 not at all: it is 03:30.
    before = datetime(2027, 3, 28, 0, 0, tzinfo=UTC)
    assert until_of(None, "02:30", berlin, before) == before + timedelta(minutes=90)


# Which jobs.


@pytest.mark.parametrize(
    "words",
    [
        ("mute", "Flga", "--for", "2h"),
        ("mute", "Flag", "tcp *", "--for", "2h"),
        ("mute", "--tag", "bsae", "--for", "2h"),
        ("ack", "Flga"),
        ("unmute", "Flga"),
        ("mute", "Flag", "--for", "ever"),
    ],
    ids=" ".join,
)
def test_what_means_no_job_is_one_line_and_nothing_is_asked_for(
    words, instance, approved
):
    code, out, err = typed(instance, *words)
    # A job that is not there is no wrong command line, here as in other modes.
    assert (code, out) == (2 if "ever" in words else 1, "")
    approved(err)
    assert inbox.waiting(instance.state) == inbox.Waiting()


@pytest.mark.parametrize(
    "words",
    [
        ("mute", "--for", "2h"),
        ("list", "--for", "2h"),
        ("why", "Flag", "--tag", "base"),
        ("unmute", "Flag", "--until", "06:00"),
    ],
    ids=" ".join,
)
def test_a_flag_belongs_to_its_modes(words, instance, approved):
    code, _out, err = typed(instance, *words)
    assert code == 2
    approved(err.splitlines()[-1])


@pytest.mark.parametrize("mode", ["ack", "unmute"])
def test_where_there_is_nothing_to_end_or_to_acknowledge_it_says_so(
    mode, instance, approved
):
    code, _out, err = typed(instance, mode, "disk root")
    assert code == 1
    approved(err)


def test_before_the_first_run_no_job_is_known(tmp_path, approved):
    instance = Instance(tmp_path, NO_MAIL + OK)
    code, _out, err = typed(instance, "mute", "disk root", "--for", "2h")
    assert code == 1
    approved(err)


# From the command to the alert.


def codes(instance, name="Flag"):
    """Return what was decided about a job, in its order."""
    (story,) = instance.run("-m", "why", name, "--json").json()
    return [one["code"] for one in story["decisions"] if one["code"] != "logged"]


def test_a_mute_holds_alerts_back_until_it_ends(instance, tmp_path, approved):
    code, out, err = typed(
        instance, "mute", "F*", "--tag", "base", "--for", "2h", "--why", "new\ndisk"
    )
    assert (code, err) == (0, "")
    approved(out, "mute", hide=REAL)
    # It is told before a run has applied it.
    rows = instance.run("-m", "list", "--json").json()
    held = {row["job"]: row["held"] and row["held"]["code"] for row in rows}
    assert held == {"Flag": "muted", "disk root": "muted", "EmailChecker": None}
    assert inbox.waiting(instance.state).requests
    assert instance.cron().code == 0
    assert not inbox.waiting(instance.state).requests
    approved(instance.run("-m", "why", "Flag").out, "why", hide=REAL)
    (mute,) = instance.run("-m", "status", "--json").json()["silent"]["mutes"]
    assert (mute["jobs"], mute["why"]) == ("F*, tag base", "new disk")
    instance.clock_ahead = LENGTH
    instance.cron()
    # The record remembers who held it back, for the alert.
    said = instance.run("-m", "why", "Flag").out
    assert re.search(r"until now it was muted by \S+: new disk$", said, re.M)
    assert codes(instance) == [
        "first_alert",
        "queued",
        "mute",
        "muted",
        "first_alert",
        "queued",
    ]


@pytest.mark.long
def test_what_an_earlier_mute_keeps_muted_for_longer_is_named(instance, approved):
    assert typed(instance, "mute", "disk root", "--for", "9h")[0] == 0
    # It replaces the one of the same words.
    code, out, _err = typed(instance, "mute", "disk root", "--for", "8h")
    assert (code, "stays muted" in out) == (0, False)
    instance.cron()
    code, out, err = typed(instance, "mute", "*", "--for", "1h")
    assert (code, err) == (0, "")
    approved(out, hide=REAL)
    # It ends before the new one does.
    code, out, _err = typed(instance, "mute", "d*", "--for", "9h")
    assert (code, "stays muted" in out) == (0, False)


@pytest.mark.long
def test_an_unmute_and_an_acknowledgement(instance, tmp_path, approved):
    typed(instance, "mute", "*", "--for", "2h")
    instance.cron()
    code, out, err = typed(instance, "unmute", "Flag", "--why", "it is done")
    assert (code, err) == (0, "")
    approved(out, "unmute", hide=REAL)
    code, out, err = typed(instance, "ack", "*", "--why", "on it")
    assert (code, err) == (0, "")
    approved(out, "ack", hide=REAL)
    instance.cron()
    # Both come to what was asked for last.
    assert codes(instance)[-2:] == ["acknowledge", "acknowledged"]
    (tmp_path / "flag").touch()
    instance.cron()
    assert codes(instance)[-2:] == ["recovery", "queued"]
    (disk,) = instance.run("-m", "why", "disk root", "--json").json()
    assert disk["held"]["code"] == "muted"


@pytest.mark.long
def test_what_is_acknowledged_already_is_said_with_since_when_and_by_whom(
    instance, tmp_path, approved
):
    typed(instance, "ack", "Flag", "--why", "on it")
    code, out, err = typed(instance, "ack", "Flag")
    assert (code, err) == (0, "")
    approved(out, "at once", hide=REAL)
    assert len(list((instance.state / "inbox").iterdir())) == 1
    instance.cron()
    instance.add("[disk gone]\npath = /nowhere\nevery = minute\n")
    instance.cron()
    code, out, err = typed(instance, "ack", "*")
    assert (code, err) == (0, "")
    approved(out, "with another one", hide=REAL)


@pytest.mark.long
def test_a_window_that_is_open_is_not_for_a_command_to_end(instance, approved):
    instance.add("[maintenance all]\njobs = Flag\nstart = * * * * *\nlength = 1h\n")
    code, _out, err = typed(instance, "unmute", "Flag")
    assert code == 1
    approved(err, hide=REAL)
    instance.cron()
    assert codes(instance)[-1] == "maintenance"
    # It holds what nobody mutes any more, and only that.
    typed(instance, "mute", "*", "--for", "2h")
    code, out, _err = typed(instance, "unmute", "*")
    assert code == 0
    approved(out, "unmute", hide=REAL)


@pytest.mark.long
def test_no_more_mutes_are_taken_than_are_kept(instance, approved):
    for number in range(MAX_MUTES):
        scope = Scope((f"job {number}",))
        mute = Mute(f"{number}", datetime.now(UTC), scope, until=LATER)
        inbox.submit(instance.state, mute)
    code, _out, err = typed(instance, "mute", "Flag", "--for", "2h")
    assert code == 1
    approved(err)


# Who.


def test_who_asks_is_who_called_sudo(monkeypatch):
    monkeypatch.setenv("SUDO_USER", "ann\x1b[31m")
    assert who_asks().startswith("ann")
    assert who_asks().isprintable()
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setattr(os, "getlogin", lambda: "bob")
    assert who_asks() == "bob"


def test_without_a_terminal_it_is_the_user(monkeypatch):
    import pwd

    def no_terminal():
        raise OSError(25, "Inappropriate ioctl for device")

    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(os, "getlogin", no_terminal)
    assert who_asks() == pwd.getpwuid(os.getuid()).pw_name
