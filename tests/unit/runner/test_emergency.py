"""When nothing can be written: who is told, how often, and by what memory."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lib.core.enums import Status
from lib.core.jobs import JobKey
from lib.core.records import Record
from lib.runner import emergency
from lib.runner.emergency import (
    Stamp,
    emit,
    may_tell,
    message_of,
    next_stamp,
    read_stamp,
)
from tests.support.mailing import settings_for

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
STATE = Path("/var/lib/checker")
NAME = "a1" * 16


def after(**time):
    return NOON + timedelta(**time)


@pytest.mark.parametrize(
    ("stamp", "now", "notified"),
    [
        (None, NOON, True),
        (Stamp(NOON, NAME, taken=True), after(minutes=1), False),
        (Stamp(NOON, NAME, taken=True), after(minutes=59), False),
        (Stamp(NOON, NAME, taken=True), after(hours=1), True),
        # A server that said no is asked again, four times an hour.
        (Stamp(NOON, NAME), after(minutes=14), False),
        (Stamp(NOON, NAME), after(minutes=15), True),
        # The clock was set back.
        (Stamp(after(days=365), NAME, taken=True), NOON, True),
    ],
)
def test_one_mail_an_hour(stamp, now, notified):
    assert may_tell(stamp, now) is notified


def test_what_was_perhaps_not_taken_goes_out_as_the_same_mail():
    first = next_stamp(None, STATE, NOON)
    again = next_stamp(first, STATE, after(minutes=15))
    assert again.message_id == first.message_id
    other = next_stamp(Stamp(NOON, NAME, taken=True), STATE, after(hours=1))
    assert other.message_id != NAME


@pytest.mark.parametrize("taken", [True, False])
def test_a_stamp_is_read_as_it_was_written(taken):
    stamp = Stamp(NOON, NAME, taken)
    assert read_stamp(str(stamp)) == stamp


@pytest.mark.parametrize(
    "text", ["", "x", "yesterday a True", f"2026-11-22 {NAME} True", f"{NOON} x True"]
)
def test_what_is_no_stamp_counts_as_none(text):
    assert read_stamp(text) is None


def test_the_mail_names_the_cause_and_what_is_failing(approved):
    since = after(minutes=-5)
    records = [
        Record(
            JobKey("B", "b"),
            "Web",
            Status.FAILING,
            3,
            since,
            last_reason="404\nmore",
        ),
        Record(JobKey("A", "a"), "Disk", Status.UNKNOWN, 1),
        Record(JobKey("C", "c"), "Calm"),
    ]
    stamp = next_stamp(None, STATE, NOON)
    mail = message_of(stamp, "/x: disk full", records, ("ops@example.com",), UTC)
    approved(mail.subject)
    assert "/x: disk full" in mail.body
    assert "Disk: unknown\n" in mail.body
    assert "Web: failing since" in mail.body and ": 404\n" in mail.body
    assert "Calm" not in mail.body


def test_a_long_list_is_cut_with_a_count():
    records = [
        Record(JobKey("X", str(one)), status=Status.FAILING) for one in range(205)
    ]
    stamp = next_stamp(None, STATE, NOON)
    assert "and 5 more" in message_of(stamp, "why", records, (), UTC).body


def test_where_nothing_fails_the_mail_says_so():
    stamp = next_stamp(None, STATE, NOON)
    mail = message_of(stamp, "why", [], (), UTC)
    assert (mail.subject, "No job is failing." in mail.body) == (
        "cannot write state",
        True,
    )


def test_what_is_only_shown_with_the_flag_nomail_keeps_no_mail_from_leaving(
    tmp_path,
):
    settings = settings_for(1, nomail=True, holds=True)
    for _run in range(2):
        emit(settings, "disk full", [], NOON, 30.0, [tmp_path / "own"])
    assert not (tmp_path / "own").exists()


# Where it is remembered.


def only(about, *places):
    return next(emergency.slots(about, places), None)


def test_a_slot_keeps_what_is_written(tmp_path):
    slot = only(STATE, tmp_path / "own")
    assert slot.write("first words") and slot.write("second")
    slot.close()
    again = only(STATE, tmp_path / "own")
    assert again.text == "second"
    again.close()
    other = only(Path("/another"), tmp_path / "own")
    assert other.text == ""
    other.close()
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("how", ["open", "link", "file", "missing above"])
def test_a_place_that_is_not_ours_alone_is_passed_over(tmp_path, how):
    place, good = tmp_path / "place", tmp_path / "good"
    if how == "open":
        place.mkdir()
        place.chmod(0o777)
    elif how == "link":
        (tmp_path / "target").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "target")
    elif how == "file":
        place.write_text("")
    else:
        place = place / "below" / "it"
    slot = only(STATE, place, good)
    slot.close()
    assert len(list(good.iterdir())) == 1
    assert not (tmp_path / "target").exists() or not os.listdir(tmp_path / "target")


@pytest.mark.skipif(os.geteuid() != 0, reason="another owner needs root")
def test_a_place_of_another_owner_is_passed_over(tmp_path):
    place = tmp_path / "place"
    place.mkdir(mode=0o700)
    os.chown(place, 54321, 54321)
    assert only(STATE, place) is None


def test_a_slot_that_is_a_link_is_passed_over(tmp_path):
    slot = only(STATE, tmp_path / "own")
    slot.close()
    (file,) = (tmp_path / "own").iterdir()
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    assert only(STATE, tmp_path / "own") is None
    assert not (tmp_path / "elsewhere").exists()


def test_a_slot_that_another_process_holds_is_in_use(tmp_path):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        held = only(STATE, tmp_path / "own")
        os.write(write, b"x")
        while held:
            signal.pause()
    try:
        assert os.read(read, 1) == b"x"
        with pytest.raises(emergency.InUse):
            only(STATE, tmp_path / "own")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)


def test_the_usual_places_begin_with_what_the_session_names(monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert emergency.usual_places()[0] == Path("/run/user/7/checker")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    user = os.geteuid()
    assert emergency.usual_places()[0] == Path(f"/run/user/{user}/checker")
