"""Rows C: what state and settings hold, damaged in every way."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from datetime import timedelta

import pytest

from lib.storage.settingscopy import find
from lib.storage.store import State
from lib.system.files import MAX_FILE
from tests.faults.rows import FLAG_ALERT, subjects, with_answer, word
from tests.faults.table import LONG, measured, seed
from tests.support.instance import GENERAL, flag_job


@pytest.fixture
def instance(instance):
    instance.job("Flag", flag_job(instance.folder / "flag"))
    return instance


LOST = "a state file was lost or damaged"


def the_record(instance):
    (record,) = (instance.state / "jobs").glob("flag-*.json")
    return record


def notified_after(instance, smtp, damage):
    """Return what is told of a failing job after its record was damaged."""
    assert instance.cron().code == 0
    record = the_record(instance)
    whole = record.read_bytes()
    damage(record, whole)
    assert instance.cron().code == 0
    assert instance.cron().code == 0
    kept = list((instance.state / "quarantine").glob(f"{record.stem}.*"))
    assert kept or damage is os.unlink
    # The first is that from before.
    return subjects(smtp)[1:]


def offsets(length, step):
    first = random.Random(seed()).randrange(step)
    return range(length) if LONG else range(first, length, step)


@pytest.mark.fault("C1", "state truncated at each byte")
def test_c1_a_truncated_record_is_lost_whatever_is_left_of_it(instance, smtp):
    def damage(record, whole):
        record.write_bytes(whole[: len(whole) // 2])

    assert sorted(notified_after(instance, smtp, damage)) == sorted([FLAG_ALERT, LOST])
    record = the_record(instance)
    whole = record.read_bytes()
    # Without the line end after it, it is still whole.
    where = offsets(len(whole) - 1, 7)
    for length in where:
        record.write_bytes(whole[:length])
        found = State(instance.state).load()
        assert list(found.lost) == [record.stem], length
        assert not found.records
    measured(f"{len(where)} lengths, all noticed")


@pytest.mark.long
@pytest.mark.fault("C2", "each bit flipped (sampled), zeros, another file's content")
def test_c2_a_flipped_bit_is_noticed(instance, smtp):
    def damage(record, whole):
        record.write_bytes(bytes(len(whole)))

    assert sorted(notified_after(instance, smtp, damage)) == sorted([FLAG_ALERT, LOST])
    record = the_record(instance)
    whole = record.read_bytes()
    sample = offsets(8 * len(whole), 41)
    silent = 0
    before = State(instance.state).load().records
    for bit in sample:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        record.write_bytes(damaged)
        found = State(instance.state).load()
        if not found.lost:
            # In the white space, or the name of the sum: what it says is the same.
            assert found.records == before, bit
            silent += 1
    assert silent < len(sample) / 4
    record.write_bytes((instance.state / "run.json").read_bytes())
    assert list(State(instance.state).load().lost) == [record.stem]
    other = record.with_name("other-0123456789.json")
    other.write_bytes(whole)
    assert "other-0123456789" in State(instance.state).load().lost
    measured(f"{len(sample)} bits")


def without_sum(change):
    def damage(record, whole):
        content = json.loads(whole)
        del content["sum"]
        text = json.dumps({**content, **change})
        record.write_text(text)

    return damage


def huge(record, _whole):
    with record.open("r+b") as file:
        file.truncate(2 * 1024**3)


CONTENTS = {
    "empty": lambda record, _whole: record.write_bytes(b""),
    "binary": lambda record, _whole: record.write_bytes(os.urandom(5000)),
    "2 GB": huge,
    "too large": lambda record, _whole: os.truncate(record, MAX_FILE + 1),
    "deep": lambda record, _whole: record.write_text("[" * 200_000),
    "a list": lambda record, _whole: record.write_text("[]"),
    "wrong type": without_sum({"failures": "many"}),
    "NaN": lambda record, whole: record.write_bytes(
        whole.replace(b'"failures": 1', b'"failures": NaN')
    ),
    "huge number": lambda record, whole: record.write_bytes(
        whole.replace(b'"failures": 1', b'"failures": 1e400')
    ),
}


@pytest.mark.long
@pytest.mark.fault("C3", "empty, binary, 2 GB, deep JSON, wrong types, numbers")
def test_c3_whatever_a_record_holds_instead_is_noticed(instance, smtp):
    assert instance.cron().code == 0
    record = the_record(instance)
    whole = record.read_bytes()
    for damage in CONTENTS.values():
        record.write_bytes(whole)
        damage(record, whole)
        assert list(State(instance.state).load().lost) == [record.stem]
    record.write_bytes(whole)
    notified = notified_after(instance, smtp, CONTENTS["2 GB"])
    assert sorted(notified) == sorted([FLAG_ALERT, LOST])


@pytest.mark.fault("C4", "written by a newer version")
def test_c4_what_a_newer_checker_wrote_is_left_alone(instance, smtp):
    assert instance.cron().code == 0
    record = the_record(instance)
    text = json.dumps({**json.loads(record.read_text()), "format": 99, "sum": None})
    record.write_text(text)
    ran = instance.cron()
    assert ran.code == 1
    assert f"{record}: it was written by a newer Checker" in ran.err
    assert record.read_text() == text
    assert subjects(smtp) == [FLAG_ALERT]


def in_place_of(path, how):
    """Put something else in the place of settings."""
    if how == "unreadable":
        path.chmod(0)
        return
    path.unlink()
    if how == "empty":
        path.write_text("")
    elif how == "a directory":
        path.mkdir()
    elif how == "a pipe":
        os.mkfifo(path)
    elif how == "huge":
        path.write_text("#" * 99 + "\n")
        os.truncate(path, 2 * 1024**3)


HOW = ["missing", "empty", "a directory", "unreadable", "a pipe", "huge"]
#: The mail about settings that cannot be used, up to the reason.
UNUSABLE = re.compile("settings.cfg is (still )?failing: ")


def about_settings(smtp):
    return [one for one in subjects(smtp) if UNUSABLE.match(one)]


@pytest.mark.fault("C6", "settings.cfg missing, empty, a directory, unreadable")
@pytest.mark.parametrize("how", HOW)
def test_c6_settings_that_cannot_be_read_name_the_way_out(instance, how):
    path = instance.settings
    in_place_of(path, how)
    ran = instance.cron()
    assert ran.code == 1
    assert str(path) in ran.err or path.name in ran.err
    assert "settings.cfg.example" in ran.err or how not in ("missing", "empty")
    assert "there is no copy of earlier settings" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.long
@pytest.mark.fault("C6", "the same, with the last usable settings")
@pytest.mark.parametrize("how", HOW)
def test_c6_runs_go_on_with_the_last_usable_settings(instance, smtp, how):
    assert instance.cron().silent
    text = instance.settings.read_text()
    in_place_of(instance.settings, how)
    (instance.folder / "flag").touch()
    ran = [instance.cron(), instance.cron()]
    assert [one.code for one in ran] == [1, 1]
    assert "Traceback" not in ran[0].err
    assert len(about_settings(smtp)) == 1
    assert len(smtp.mails) == 3 and "Flag is OK again" in str(subjects(smtp))
    if instance.settings.is_dir():
        instance.settings.rmdir()
    else:
        instance.settings.unlink(missing_ok=True)
    instance.write(text)
    assert instance.cron().silent


WRITTEN = {
    "no section": b"servername = web1\n",
    "bracket": b"[general\nservername = web1\n",
    "no equals sign": GENERAL.encode() + b"[email]\nnomail\n",
    "twice": GENERAL.encode() + b"servername = web2\n",
    "NUL": GENERAL.encode() + b"state = a\0b\n",
    "not UTF-8": GENERAL.encode() + b"state = \xff\n",
}


@pytest.mark.fault("C7", "bad syntax, duplicate keys, BOM, CRLF, NUL, not UTF-8, %")
def test_c7_a_mistake_in_the_settings_is_named_with_its_line(instance):
    for how, content in WRITTEN.items():
        instance.settings.write_bytes(content)
        ran = instance.cron()
        assert ran.code == 1, how
        assert "settings.cfg:" in ran.err, (how, ran.err)
        assert "Traceback" not in ran.err


@pytest.mark.long
@pytest.mark.fault("C7", "the same, with the last usable settings")
def test_c7_a_mistake_is_mailed_with_its_line_once_an_hour(instance, smtp):
    assert instance.cron().silent
    for content in WRITTEN.values():
        instance.settings.write_bytes(content)
        ran = instance.cron()
        assert ran.code == 1
        assert "Traceback" not in ran.err
    (mail,) = about_settings(smtp)
    assert UNUSABLE.sub("", mail).startswith("settings.cfg:1: ")
    instance.clock_ahead = timedelta(minutes=61)
    assert instance.cron().code == 1
    assert len(about_settings(smtp)) == 2


@pytest.mark.fault("C7", "BOM, CRLF, % in a password")
def test_c7_what_is_no_mistake_just_works(instance, smtp):
    text = instance.settings.read_text()
    assert "pass = pass%word" in text
    instance.settings.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert instance.cron().silent
    assert subjects(smtp) == [FLAG_ALERT]


@pytest.mark.long
@pytest.mark.fault("C8", "settings.cfg half written while cron fires")
def test_c8_with_half_written_settings_a_run_uses_the_last_ones(instance, smtp):
    with_answer(instance)
    assert instance.cron().code == 0
    text = instance.settings.read_text()
    codes, words = [], []
    for minute, length in enumerate((0, 5, len("[general]\nservername = we"), 15)):
        instance.settings.write_text(text[:length])
        instance.clock_ahead = timedelta(minutes=6 * minute)
        codes.append(instance.cron().code)
        words.append(word(instance))
    assert codes == [1] * 4
    # After 15 minutes peers hear of it.
    assert words[2:] == ["True", "JobProblem"]
    instance.write(text)
    assert instance.cron().silent
    assert word(instance) == "True"
    alert, mistake, mended = subjects(smtp)
    assert (alert, len(about_settings(smtp))) == (FLAG_ALERT, 1)
    assert mistake.startswith("settings.cfg is failing: ")
    assert mended.startswith("settings.cfg is OK again after ")


@pytest.mark.long
@pytest.mark.fault("C10", "unknown key in a target, unknown kind, unread section")
def test_c10_a_wrong_target_is_a_failing_job_with_the_nearest_name(instance, smtp):
    instance.add("[http a]\nurl = http://127.0.0.1:1/\nexpect_staus = 200\n")
    instance.add("[htpp b]\nurl = http://127.0.0.1:1/\n")
    assert instance.cron().code == 0
    assert instance.cron().code == 0
    assert len([one for one in subjects(smtp) if one.startswith("http a is")]) == 1
    said = instance.run("-m", "validate").out
    assert "expect_status" in said and "http" in said


@pytest.mark.fault("C11", "admin address invalid or with CR/LF")
@pytest.mark.parametrize("contact", ["nobody", "a@b@c", "ops@example.com\n\tX: y@z"])
def test_c11_an_address_that_is_none_is_refused(instance, contact):
    text = instance.settings.read_text()
    instance.write(text.replace("ops@example.com", contact))
    ran = instance.cron()
    assert ran.code == 1
    assert "alertcontact" in ran.err


@pytest.mark.fault("C12", "settings mode 0644 or other owner while holding a password")
def test_c12_a_password_others_can_read_is_refused(instance):
    instance.settings.chmod(0o644)
    ran = instance.cron()
    assert ran.code == 1
    assert "chmod 600" in ran.err
    instance.settings.chmod(0o600)
    if os.geteuid() == 0 and shutil.which("setpriv"):
        os.chown(instance.settings, 54321, 54321)
        assert instance.cron().code == 1


@pytest.mark.long
@pytest.mark.fault("C12", "settings that others may write are never loaded")
def test_c12_what_others_may_have_written_is_not_read(instance, smtp):
    assert instance.cron().silent
    text = instance.settings.read_text()
    instance.write(text.replace("ops@example.com", "mallory@example.com"))
    instance.settings.chmod(0o666)
    ran = instance.cron()
    assert ran.code == 1 and "chmod" in ran.err
    assert len(about_settings(smtp)) == 1
    assert all(mail.to == ("ops@example.com",) for mail in smtp.mails)


@pytest.mark.fault("C12", "a copy of the settings that others may read or write")
@pytest.mark.parametrize("mode", [0o640, 0o602, 0o604])
def test_c12_a_copy_that_others_may_read_or_write_is_not_used(instance, mode):
    assert instance.cron().silent
    copy = instance.state / "settings" / "last.json"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert copy.parent.stat().st_mode & 0o777 == 0o700
    instance.settings.unlink()
    os.chown(copy, -1, 12) if os.geteuid() == 0 else None
    copy.chmod(mode)
    ran = instance.cron()
    assert ran.code == 1 and f"{copy} is not used: " in ran.err


@pytest.mark.long
@pytest.mark.fault("C12", "a copy of the settings that is damaged")
@pytest.mark.parametrize("how", ["empty", "binary", "2 GB", "deep", "a list"])
def test_c12_a_damaged_copy_is_not_used_and_made_anew(instance, how):
    assert instance.cron().silent
    copy, text = (
        instance.state / "settings" / "last.json",
        instance.settings.read_text(),
    )
    CONTENTS[how](copy, copy.read_bytes())
    instance.settings.unlink()
    ran = instance.cron()
    assert ran.code == 1 and f"{copy} cannot be used: " in ran.err, ran.err
    assert "Traceback" not in ran.err
    instance.write(text)
    # The copy is looked at once an hour.
    assert instance.cron("hour").code == 0
    assert find(instance.state, instance.settings)[0]
